"""The GRU against torch's, and its reset-before form against the equations written out."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lessons.layers.gru import GRU, GRUCell

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


@st.composite
def networks(draw):
    """Arguments of a GRU, and x, h0 (or None) and lengths for it, time first."""
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
    h0 = torch.randn(depth, n_clips, options["hidden_size"], dtype=dtype) if draw(st.booleans()) else None
    lengths = torch.tensor(draw(st.lists(st.integers(1, n_frames), min_size=n_clips, max_size=n_clips)))
    return options, x.transpose(0, 1).contiguous() if options["batch_first"] else x, h0, lengths


def pair(options, dtype):
    """Ours and torch's with the same weights."""
    theirs = nn.GRU(**options).to(dtype)
    ours = GRU(**options).to(dtype)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return ours, theirs


def with_gradients(network, function, x, h0):
    """out, h_n, and the gradient of a fixed weighted sum of both at x, h0 and every parameter."""
    x = x.clone().requires_grad_()
    h0 = None if h0 is None else h0.clone().requires_grad_()
    out, h_n = function(x, h0)
    weights = [torch.arange(y.numel()).sin().reshape(y.shape).to(y) for y in (out, h_n)]
    sum((y * w).sum() for y, w in zip((out, h_n), weights, strict=True)).backward()
    leaves = {"x": x, "h0": h0, **dict(network.named_parameters())}
    return {"out": out, "h_n": h_n} | {n: leaf.grad for n, leaf in leaves.items() if leaf is not None}


def assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, b in theirs.items():
        torch.testing.assert_close(ours[name], b, rtol=TOLERANCE[b.dtype], atol=TOLERANCE[b.dtype], msg=name)


@settings(max_examples=25, deadline=None)
@given(networks())
def test_outputs_states_and_all_gradients_equal_torch(case):
    options, x, h0, _ = case
    ours, theirs = pair(options, x.dtype)
    assert_same(with_gradients(ours, ours, x, h0), with_gradients(theirs, theirs, x, h0))


@settings(max_examples=20, deadline=None)
@given(networks())
def test_lengths_equal_packed_sequences_in_torch(case):
    options, x, h0, lengths = case
    ours, theirs = pair(options, x.dtype)
    batch_first = options["batch_first"]

    def packed(x, h0):
        sequence = pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
        out, h_n = theirs(sequence, h0)
        n_frames = x.shape[1 if batch_first else 0]
        return pad_packed_sequence(out, batch_first, total_length=n_frames)[0], h_n

    assert_same(
        with_gradients(ours, lambda x, h0: ours(x, h0, lengths), x, h0),
        with_gradients(theirs, packed, x, h0),
    )


@pytest.mark.parametrize("padding", [0.0, 1e4, math.nan, math.inf])
def test_padding_changes_no_valid_frame_and_no_gradient(padding):
    torch.manual_seed(0)
    network = GRU(3, 4, num_layers=2, bidirectional=True)
    clip = torch.randn(5, 1, 3)
    alone = with_gradients(network, network, clip, None)
    network.zero_grad()
    padded = torch.cat([clip, torch.full((2, 1, 3), padding)])
    together = with_gradients(network, lambda x, h0: network(x, h0, [5]), padded, None)
    for name in ("out", "x"):
        assert not together[name][5:].any()
        together[name] = together[name][:5]
    for name in alone:
        torch.testing.assert_close(together[name], alone[name], rtol=1e-5, atol=1e-6, msg=name)
    assert not torch.allclose(network(padded.nan_to_num(9, 9))[0][:5], alone["out"]), (
        "without lengths it does"
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.booleans(), st.integers(0, 2**31))
def test_the_cell_equals_torch(inputs, hidden, n_clips, with_state, seed):
    torch.manual_seed(seed)
    theirs = nn.GRUCell(inputs, hidden).double()
    ours = GRUCell(inputs, hidden).double()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(n_clips, inputs, dtype=torch.float64)
    h = torch.randn(n_clips, hidden, dtype=torch.float64) if with_state else None
    results = [
        with_gradients(cell, lambda x, h, cell=cell: (cell(x, h),) * 2, x, h) for cell in (ours, theirs)
    ]
    assert_same(*results)


def written_out(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """Reset-before, one clip, one number at a time; frames (T, F) -> memories (T, D)."""
    size, outs = h.shape[0], []

    def product(weight, row, vector):
        return sum(weight[row, j] * vector[j] for j in range(len(vector)))

    def gate(row, frame, memory):
        return product(weight_ih, row, frame) + product(weight_hh, row, memory) + bias_ih[row] + bias_hh[row]

    for frame in x:
        r = [1 / (1 + torch.exp(-gate(k, frame, h))) for k in range(size)]
        z = [1 / (1 + torch.exp(-gate(size + k, frame, h))) for k in range(size)]
        consulted = [r[k] * h[k] for k in range(size)]
        n = [torch.tanh(gate(2 * size + k, frame, consulted)) for k in range(size)]
        h = torch.stack([(1 - z[k]) * n[k] + z[k] * h[k] for k in range(size)])
        outs.append(h)
    return torch.stack(outs)


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**31))
def test_reset_before_equals_the_equations_written_out(inputs, hidden, n_frames, seed):
    torch.manual_seed(seed)
    network = GRU(inputs, hidden, bidirectional=True, reset="before").double()
    x = torch.randn(n_frames, 2, inputs, dtype=torch.float64)
    h0 = torch.randn(2, 2, hidden, dtype=torch.float64)

    def plain(x, h0):
        clips, last = [], []
        for b in range(2):
            weights = list(network.parameters())
            forward = written_out(x[:, b], h0[0, b], *weights[:4])
            backward = written_out(x[:, b].flip(0), h0[1, b], *weights[4:])
            clips.append(torch.cat([forward, backward.flip(0)], dim=-1))
            last.append(torch.stack([forward[-1], backward[-1]]))
        return torch.stack(clips, dim=1), torch.stack(last, dim=1)

    ours = with_gradients(network, network, x, h0)
    network.zero_grad()
    assert_same(ours, with_gradients(network, plain, x, h0))


def test_reset_before_in_the_cell_and_in_the_layer_are_the_same():
    torch.manual_seed(0)
    cell, layer = GRUCell(3, 4, reset="before"), GRU(3, 4, reset="before")
    layer.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    x, h = torch.randn(5, 2, 3), None
    for t in range(5):
        h = cell(x[t], h)
        torch.testing.assert_close(layer(x)[0][t], h)


def test_the_two_resets_differ_unless_the_gate_is_open():
    torch.manual_seed(0)
    after, before = GRU(3, 4), GRU(3, 4, reset="before")
    before.load_state_dict(after.state_dict())
    x = torch.randn(6, 2, 3)
    assert (after(x)[0] - before(x)[0]).abs().max() > 1e-3
    for network in (after, before):
        network.bias_ih_l0.data[:4] = 50.0  # r = 1 everywhere
    torch.testing.assert_close(after(x)[0], before(x)[0])


def test_with_reset_before_only_the_sum_of_the_biases_matters():
    torch.manual_seed(0)
    shifts = {}
    for reset in ("after", "before"):
        network = GRU(3, 4, reset=reset)
        x = torch.randn(6, 2, 3)
        out = network(x)[0]
        network.bias_ih_l0.data += 0.7
        network.bias_hh_l0.data -= 0.7
        shifts[reset] = (network(x)[0] - out).abs().max()
    assert shifts["before"] < 1e-6 < 1e-2 < shifts["after"]


@pytest.mark.parametrize("reset", ["after", "before"])
def test_both_resets_share_torchs_parameters_and_first_values(reset):
    options = dict(input_size=3, hidden_size=4, num_layers=2, bidirectional=True)
    torch.manual_seed(0)
    ours = GRU(**options, reset=reset)
    torch.manual_seed(0)
    theirs = nn.GRU(**options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)


def test_dropout_acts_between_layers_in_training_only():
    options = dict(input_size=3, hidden_size=4, num_layers=3, dropout=0.5)
    ours, theirs = pair(options, torch.float32)
    x = torch.randn(5, 2, 3)
    outs = []
    for network in (ours, theirs):
        torch.manual_seed(1)  # the same outputs are dropped
        outs.append(network(x)[0])
    torch.testing.assert_close(*outs)
    assert not torch.allclose(outs[0], ours(x)[0])
    assert torch.equal(ours.eval()(x)[0], ours(x)[0])
    with pytest.warns(UserWarning, match="num_layers=1"):
        GRU(3, 4, dropout=0.5)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (torch.zeros(5, 3), {}, r"x has shape \(5, 3\), expected \(T, B, F\) with F = 3"),
        (torch.zeros(5, 2, 4), {}, r"x has shape \(5, 2, 4\)"),
        (torch.zeros(0, 2, 3), {}, "no frames"),
        (torch.zeros(5, 2, 3).double(), {}, "x is torch.float64, the parameters are torch.float32"),
        (torch.zeros(5, 2, 3, device="meta"), {}, "x is on meta, the parameters on cpu"),
        (torch.zeros(5, 2, 3), {"h0": torch.zeros(2, 4)}, r"h0 has shape \(2, 4\), expected .* \(2, 2, 4\)"),
        (torch.zeros(5, 2, 3), {"h0": torch.zeros(1, 2, 4)}, r"h0 has shape \(1, 2, 4\)"),
        (torch.zeros(5, 2, 3), {"h0": torch.zeros(2, 2, 4).double()}, r"h0 is torch.float64"),
        (torch.zeros(5, 2, 3), {"lengths": [5]}, r"lengths .* expected 2 integers, one per sample"),
        (torch.zeros(5, 2, 3), {"lengths": [5.0, 4.0]}, r"lengths is torch.float32"),
        (torch.zeros(5, 2, 3), {"lengths": [5, 6]}, "lengths of sample 1 is 6: expected 1 to 5"),
        (torch.zeros(5, 2, 3), {"lengths": [0, 5]}, "lengths of sample 0 is 0: expected 1 to 5"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(x, options, message):
    with pytest.raises(ValueError, match=message):
        GRU(3, 4, bidirectional=True)(x, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reset": "never"}, "reset='never' must be 'after' or 'before'"),
        ({"hidden_size": 0}, "hidden_size=0"),
        ({"num_layers": 0}, "num_layers=0"),
        ({"dropout": 1.5}, "dropout=1.5"),
    ],
)
def test_bad_arguments_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        GRU(**{"input_size": 3, "hidden_size": 4} | options)


def test_the_cell_refuses_what_does_not_fit():
    cell = GRUCell(3, 4)
    with pytest.raises(ValueError, match=r"x has shape \(3,\), expected \(B, 3\)"):
        cell(torch.zeros(3))
    with pytest.raises(ValueError, match=r"h has shape \(2, 3\), expected \(B, 4\)"):
        cell(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="reset"):
        GRUCell(3, 4, reset="never")


def test_autocast_computes_the_products_in_half_precision():
    network, x = GRU(3, 4, bidirectional=True), torch.randn(5, 2, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = network(x.bfloat16())[0]  # as another layer under autocast hands it over
    torch.testing.assert_close(out.float(), network(x)[0], rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("x", "h0", "message"),
    [
        ([[[0.0] * 3] * 2] * 5, None, "x is a list, expected a tensor: convert it by torch.as_tensor"),
        (np.zeros((5, 2, 3)), None, "x is a ndarray, expected a tensor: convert it by torch.as_tensor"),
        (list(torch.zeros(5, 2, 3)), None, "x is a list, expected a tensor: join its tensors by torch.stack"),
        (
            pack_padded_sequence(torch.zeros(5, 2, 3), [5, 3]),
            None,
            "x is a PackedSequence, .* unpack it by pad_packed_sequence, and pass its lengths",
        ),
        (torch.zeros(5, 2, 3), [torch.zeros(2, 4)], "h0 is a list, .* join its tensors by torch.stack"),
    ],
)
def test_what_is_no_tensor_is_refused_with_a_hint_that_fits(x, h0, message):
    with pytest.raises(ValueError, match=message):
        GRU(3, 4)(x, h0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_layer_in_half_precision_and_its_copy(dtype):
    torch.manual_seed(0)
    layer, x = GRU(3, 4, bidirectional=True), torch.randn(5, 2, 3)
    exact, _ = layer(x)
    half = copy.deepcopy(layer).to(dtype)
    out, _ = half(x.to(dtype), lengths=[5, 5])
    assert out.dtype == dtype and layer.weight_ih_l0.dtype == torch.float32
    torch.testing.assert_close(out.float(), exact, rtol=0.05, atol=0.05)
