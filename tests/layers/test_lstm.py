"""The LSTM against torch's, and one step against the equations written out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lessons.layers.lstm import LSTM, LSTMCell

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


@st.composite
def networks(draw):
    """Arguments of an LSTM, and x, (h0, c0) (or None) and lengths for it."""
    options = dict(
        input_size=draw(st.integers(1, 4)),
        hidden_size=draw(st.integers(1, 4)),
        num_layers=draw(st.integers(1, 3)),
        bidirectional=draw(st.booleans()),
        batch_first=draw(st.booleans()),
    )
    n_frames, n_clips = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    dtype = draw(st.sampled_from([torch.float64, torch.float32]))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    x = torch.randn(n_frames, n_clips, options["input_size"], dtype=dtype)
    depth = options["num_layers"] * (2 if options["bidirectional"] else 1)
    h0, c0 = torch.randn(2, depth, n_clips, options["hidden_size"], dtype=dtype)
    lengths = torch.tensor(draw(st.lists(st.integers(1, n_frames), min_size=n_clips, max_size=n_clips)))
    x = x.transpose(0, 1).contiguous() if options["batch_first"] else x
    return options, x, (h0, c0) if draw(st.booleans()) else None, lengths


def pair(options, dtype):
    """Ours and torch's with the same weights."""
    theirs = nn.LSTM(**options).to(dtype)
    ours = LSTM(**options).to(dtype)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


def with_gradients(network, function, x, hc0):
    """out, h_n, c_n, and the gradient of a fixed weighted sum of them at x, h0, c0 and every parameter."""
    x = x.clone().requires_grad_()
    hc0 = None if hc0 is None else tuple(tensor.clone().requires_grad_() for tensor in hc0)
    out, (h_n, c_n) = function(x, hc0)
    results = {"out": out, "h_n": h_n, "c_n": c_n}
    sum((y * torch.arange(y.numel()).sin().reshape(y.shape).to(y)).sum() for y in results.values()).backward()
    leaves = {"x": x, **dict(zip(("h0", "c0"), hc0 or (), strict=False)), **dict(network.named_parameters())}
    return results | {f"gradient at {name}": leaf.grad for name, leaf in leaves.items()}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, b in theirs.items():
        torch.testing.assert_close(ours[name], b, rtol=TOLERANCE[b.dtype], atol=TOLERANCE[b.dtype], msg=name)


@settings(max_examples=25, deadline=None)
@given(networks())
def test_outputs_states_and_all_gradients_equal_torch(case):
    options, x, hc0, _ = case
    ours, theirs = pair(options, x.dtype)
    assert_same(with_gradients(ours, ours, x, hc0), with_gradients(theirs, theirs, x, hc0))


@settings(max_examples=20, deadline=None)
@given(networks())
def test_lengths_equal_packed_sequences_in_torch(case):
    options, x, hc0, lengths = case
    ours, theirs = pair(options, x.dtype)
    batch_first = options["batch_first"]

    def packed(x, hc0):
        sequence = pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
        out, state = theirs(sequence, hc0)
        return pad_packed_sequence(out, batch_first, total_length=x.shape[batch_first])[0], state

    assert_same(
        with_gradients(ours, lambda x, hc0: ours(x, hc0, lengths), x, hc0),
        with_gradients(theirs, packed, x, hc0),
    )


@pytest.mark.parametrize("padding", [1e4, math.nan])
def test_padding_changes_no_valid_frame_and_no_gradient(padding):
    torch.manual_seed(0)
    network = LSTM(3, 4, num_layers=2, bidirectional=True)
    clip = torch.randn(5, 1, 3)
    alone = with_gradients(network, network, clip, None)
    network.zero_grad()
    padded = torch.cat([clip, torch.full((2, 1, 3), padding)])
    together = with_gradients(network, lambda x, hc0: network(x, hc0, [5]), padded, None)
    for name in ("out", "gradient at x"):
        assert not together[name][5:].any()
        together[name] = together[name][:5]
    for name in alone:
        torch.testing.assert_close(together[name], alone[name], rtol=1e-5, atol=1e-6, msg=name)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.booleans(), st.integers(0, 2**31))
def test_the_cell_equals_torch(inputs, hidden, n_clips, with_state, seed):
    torch.manual_seed(seed)
    theirs = nn.LSTMCell(inputs, hidden).double()
    ours = LSTMCell(inputs, hidden).double()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(n_clips, inputs, dtype=torch.float64)
    hc = tuple(torch.randn(2, n_clips, hidden, dtype=torch.float64)) if with_state else None

    def step(cell):
        return lambda x, hc: (cell(x, hc)[0], cell(x, hc))

    assert_same(*[with_gradients(cell, step(cell), x, hc) for cell in (ours, theirs)])


def test_one_step_by_hand():
    """One unit, every weight and bias 0 but those of the candidate: i = f = o = 1/2."""
    cell = LSTMCell(1, 1)
    for parameter in cell.parameters():
        parameter.data.zero_()
    cell.weight_ih.data[2] = 1.0  # g = tanh(x)
    h, c = cell(torch.tensor([[0.3]]), (torch.tensor([[9.0]]), torch.tensor([[0.8]])))
    assert c.item() == pytest.approx(0.5 * 0.8 + 0.5 * math.tanh(0.3))
    assert h.item() == pytest.approx(0.5 * math.tanh(c.item()))


def test_parameters_and_first_values_are_torchs():
    options = dict(input_size=3, hidden_size=4, num_layers=2, bidirectional=True)
    torch.manual_seed(0)
    ours = LSTM(**options)
    torch.manual_seed(0)
    theirs = nn.LSTM(**options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (torch.zeros(5, 3), {}, r"x has shape \(5, 3\), expected \(T, B, F\) with F = 3"),
        (torch.zeros(5, 2, 3).double(), {}, "x is torch.float64, the parameters are torch.float32"),
        (
            torch.zeros(5, 2, 3),
            {"hc0": torch.zeros(2, 2, 4)},
            r"hc0 is a Tensor, expected the pair \(h0, c0\)",
        ),
        (torch.zeros(5, 2, 3), {"hc0": (torch.zeros(2, 2, 4),)}, r"hc0 is a tuple, expected the pair"),
        (
            torch.zeros(5, 2, 3),
            {"hc0": (torch.zeros(2, 2, 4), torch.zeros(1, 2, 4))},
            r"c0 has shape \(1, 2, 4\)",
        ),
        (torch.zeros(5, 2, 3), {"lengths": [5, 6]}, "lengths of sample 1 is 6: expected 1 to 5"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(x, options, message):
    with pytest.raises(ValueError, match=message):
        LSTM(3, 4, bidirectional=True)(x, **options)


def test_the_cell_refuses_what_does_not_fit():
    cell = LSTMCell(3, 4)
    with pytest.raises(ValueError, match=r"x has shape \(2, 4\), expected \(B, 3\)"):
        cell(torch.zeros(2, 4))
    with pytest.raises(ValueError, match=r"c has shape \(2, 3\), expected \(B, 4\)"):
        cell(torch.zeros(2, 3), (torch.zeros(2, 4), torch.zeros(2, 3)))
