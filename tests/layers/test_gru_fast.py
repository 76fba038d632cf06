"""The scan's values and hand-written gradients against finite differences, the plain loop and autograd."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lessons.layers.gru import GRU, gru_step
from lessons.layers.gru_fast import GRUScan, gru_scan
from lessons.layers.recurrent import Recurrent


def scan(x_gates, h0, weight_hh, bias_hh, valid=None):
    return gru_scan(x_gates, h0, weight_hh, bias_hh, valid, gru_step, lambda: x_gates)


def arguments(n_frames, directions, n_clips, size, seed=0, lengths=None):
    """Random arguments in float64; frames from `lengths` on are not valid."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    valid = None
    if lengths is not None:
        valid = torch.arange(n_frames)[:, None, None, None] < torch.tensor(lengths)[:, None]  # (T, 1, B, 1)
        valid = valid.expand(-1, directions, -1, -1)  # (T, directions, B, 1)
    return (
        draw(n_frames, directions, n_clips, 3 * size),
        draw(directions, n_clips, size),
        draw(directions, 3 * size, size),
        draw(directions, 3 * size),
        valid,
    )


def by_steps(x_gates, h0, weight_hh, bias_hh, valid):
    """The same with lessons.layers.gru.gru_step, one direction and one frame at a time."""
    outs = []
    for d in range(len(h0)):
        h, out = h0[d], []
        for t in range(len(x_gates)):
            new = gru_step(x_gates[t, d], h, weight_hh[d], bias_hh[d])
            h = new if valid is None else torch.where(valid[t, d], new, h)
            out.append(h)
        outs.append(torch.stack(out))
    return torch.stack(outs, dim=1)  # (T, directions, B, D)


@pytest.mark.parametrize("lengths", [None, (3, 1, 2)])
def test_gradients_against_finite_differences(lengths):
    assert torch.autograd.gradcheck(scan, arguments(3, 2, 3, 2, lengths=lengths))


@settings(max_examples=25, deadline=None)
@given(
    n_frames=st.integers(1, 7),
    directions=st.integers(1, 2),
    n_clips=st.integers(0, 4),
    size=st.integers(1, 5),
    data=st.data(),
)
def test_values_and_gradients_against_the_plain_loop(n_frames, directions, n_clips, size, data):
    lengths = data.draw(st.none() | st.lists(st.integers(0, n_frames), min_size=n_clips, max_size=n_clips))
    given = arguments(n_frames, directions, n_clips, size, data.draw(st.integers(0, 99)), lengths)
    ours, theirs = scan(*given), by_steps(*given)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-12)
    above = torch.randn_like(ours)
    for a, b in zip(
        torch.autograd.grad(ours, given[:4], above),
        torch.autograd.grad(theirs, given[:4], above),
        strict=True,
    ):
        assert torch.allclose(a, b, rtol=0, atol=1e-10)


def test_frames_past_the_end_change_nothing():
    x_gates, h0, weight_hh, bias_hh, valid = arguments(5, 1, 2, 3, lengths=(2, 5))
    out = scan(x_gates, h0, weight_hh, bias_hh, valid)
    assert torch.equal(out[1, :, 0], out[4, :, 0])
    (gradient,) = torch.autograd.grad(out.sum(), x_gates)
    assert gradient[2:, :, 0].abs().max() == 0 and gradient[2:, :, 1].abs().min() > 0


def test_second_derivatives_are_right():
    assert torch.autograd.gradgradcheck(scan, arguments(3, 2, 3, 2, lengths=(3, 1, 2)))


def test_a_gradient_penalty_is_that_of_the_plain_loop():
    """The gradient that arrives at the scan needs none itself: autograd has no reason to warn."""

    def penalty(run):
        given = arguments(4, 2, 3, 2)
        (first,) = torch.autograd.grad(run(*given).sum(), given[0], create_graph=True)
        return torch.autograd.grad(first.square().sum(), given[:4])

    for ours, plain in zip(penalty(scan), penalty(by_steps), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-12)
        assert plain.abs().max() > 1e-3


def test_the_layer_takes_it_and_the_plain_loop_agrees(monkeypatch):
    torch.manual_seed(0)
    layer, x = GRU(4, 3, num_layers=2, bidirectional=True).double(), torch.randn(6, 3, 4).double()
    out, h_n = layer(x, lengths=[6, 1, 4])
    monkeypatch.setattr(GRU, "read_both_ways", Recurrent.read_both_ways)
    monkeypatch.setattr(GRUScan, "apply", None)  # it must not be called again
    plain_out, plain_h_n = layer(x, lengths=[6, 1, 4])
    assert torch.allclose(out, plain_out, rtol=0, atol=1e-12)
    assert torch.allclose(h_n, plain_h_n, rtol=0, atol=1e-12)


def test_under_autocast_the_memory_stays_float32():
    torch.manual_seed(0)
    layer, x = GRU(8, 6, bidirectional=True), torch.randn(75, 2, 8)
    exact, _ = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        out, _ = layer(x)
    assert out.dtype == torch.float32
    assert 0 < (out - exact).abs().max() < 0.02  # bfloat16 has 8 bits: W x alone is rounded


def test_second_derivatives_of_the_layer_are_torchs():
    torch.manual_seed(0)
    ours, theirs = GRU(3, 4, bidirectional=True).double(), torch.nn.GRU(3, 4, bidirectional=True).double()
    theirs.load_state_dict(ours.state_dict())

    def penalty(layer):
        x = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        x.requires_grad_()
        (first,) = torch.autograd.grad(layer(x)[0].sum(), x, create_graph=True)
        return torch.autograd.grad(first.square().sum(), [x, *layer.parameters()], allow_unused=True)

    for a, b in zip(penalty(ours), penalty(theirs), strict=True):
        torch.testing.assert_close(*(torch.zeros(()).double() if g is None else g for g in (a, b)))
