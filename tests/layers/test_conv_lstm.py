"""ConvLSTM and ConvGRU: torch's cells at every place for 1x1 kernels, loops and unrolled equations beyond."""

import copy
import math

import pytest
import torch
import torchinfo
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lessons.layers import ConvGRU, ConvGRUCell, ConvLSTM, ConvLSTMCell, gru
from lessons.layers.bottleneck import Conv, separable, weights
from lessons.layers.conv_lstm import LSTMUpdate
from lessons.measure.counting import count

F64 = dict(rtol=1e-10, atol=1e-10)


@st.composite
def maps(draw):
    """C, D and the doubles x (B, C, H, W), h and c (B, D, H, W)."""
    channels, hidden = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    n_clips, height, width = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    x = torch.randn(n_clips, channels, height, width, dtype=torch.float64)
    h, c = torch.randn(2, n_clips, hidden, height, width, dtype=torch.float64)
    return channels, hidden, x, h, c


def weigh(*tensors):
    """A fixed weighted sum of everything, so that no two errors cancel."""
    return sum((y * torch.arange(y.numel()).sin().reshape(y.shape).to(y)).sum() for y in tensors)


def with_gradients(function, leaves, parameters=()):
    """What ``function`` returns at ``leaves``, and the gradient of a weighted sum at them and parameters."""
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    results = function(*leaves)
    results = (results,) if isinstance(results, torch.Tensor) else results
    return [*results, *torch.autograd.grad(weigh(*results), [*leaves, *parameters])]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **F64)


def places(map_):
    """(B, C, H, W) -> (B*H*W, C): every place of the map a row."""
    return map_.permute(0, 2, 3, 1).reshape(-1, map_.shape[1])


def unplace(rows, x):
    """(B*H*W, D) -> (B, D, H, W)."""
    n_clips, _, height, width = x.shape
    return rows.reshape(n_clips, height, width, -1).permute(0, 3, 1, 2)


# Against torch


@settings(max_examples=15, deadline=None)
@given(maps(), st.booleans())
def test_with_a_1x1_kernel_it_is_an_lstm_cell_at_every_place(case, with_state):
    channels, hidden, x, h, c = case
    theirs = nn.LSTMCell(channels, hidden).double()
    ours = ConvLSTMCell(channels, hidden, kernel_size=1).double()
    w = torch.cat([theirs.weight_ih, theirs.weight_hh], dim=1)  # the same order: i, f, g, o
    ours.gates.weight.data.copy_(w[:, :, None, None])
    ours.gates.bias.data.copy_(theirs.bias_ih + theirs.bias_hh)
    leaves = (x, h, c) if with_state else (x,)

    def place_by_place(x, *hc):
        return [unplace(y, x) for y in theirs(places(x), tuple(map(places, hc)) or None)]

    a = with_gradients(lambda x, *hc: ours(x, hc or None), leaves, ours.parameters())
    b = with_gradients(place_by_place, leaves, theirs.parameters())
    w_ih, w_hh, b_ih, b_hh = b[-4:]
    torch.testing.assert_close(b_ih, b_hh, **F64)
    assert_same(a, [*b[:-4], torch.cat([w_ih, w_hh], dim=1)[:, :, None, None], b_ih])


@settings(max_examples=15, deadline=None)
@given(maps())
def test_a_conv_gru_with_a_1x1_kernel_is_a_gru_that_resets_before(case):
    channels, hidden, x, h, _ = case
    theirs = gru.GRUCell(channels, hidden, reset="before").double()
    ours = ConvGRUCell(channels, hidden, kernel_size=1).double()
    w = torch.cat([theirs.weight_ih, theirs.weight_hh], dim=1)[:, :, None, None]  # r, z, n
    b = theirs.bias_ih + theirs.bias_hh
    ours.gates.weight.data.copy_(w[: 2 * hidden])
    ours.gates.bias.data.copy_(b[: 2 * hidden])
    ours.candidate.weight.data.copy_(w[2 * hidden :])
    ours.candidate.bias.data.copy_(b[2 * hidden :])
    assert_same(
        with_gradients(ours, (x, h)),
        with_gradients(lambda x, h: unplace(theirs(places(x), places(h)), x), (x, h)),
    )


# Against the equations, written out


def convolve(x, weight, bias):
    """A 3x3 convolution as nine shifted products: (B, C, H, W) -> (B, O, H, W)."""
    height, width = x.shape[2:]
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    out = bias[:, None, None]
    for dh in range(3):
        for dw in range(3):
            window = padded[:, :, dh : dh + height, dw : dw + width]
            out = out + torch.einsum("bchw,oc->bohw", window, weight[:, :, dh, dw])
    return out


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


@settings(max_examples=15, deadline=None)
@given(maps(), st.booleans(), st.floats(-2, 2))
def test_the_cell_is_equation_3_of_shi_et_al(case, peepholes, forget_bias):
    channels, hidden, x, h, c = case
    cell = ConvLSTMCell(channels, hidden, peepholes=peepholes, forget_bias=forget_bias).double()
    if peepholes:
        for gate in "ifo":
            nn.init.normal_(getattr(cell.update, f"peephole_{gate}"))

    def written_out(x, h, c):
        def product(k):  # of gate k: W_x * x + W_h * h + b
            rows = slice(k * hidden, (k + 1) * hidden)
            w, b = cell.gates.weight[rows], cell.gates.bias[rows]
            return convolve(x, w[:, :channels], b) + convolve(h, w[:, channels:], 0 * b)

        def see(gate, memory):
            return getattr(cell.update, f"peephole_{gate}") * memory if peepholes else 0

        i = sigmoid(product(0) + see("i", c))
        f = sigmoid(product(1) + see("f", c) + forget_bias)
        c = f * c + i * torch.tanh(product(2))
        o = sigmoid(product(3) + see("o", c))  # the new memory
        return o * torch.tanh(c), c

    parameters = list(cell.parameters())
    assert len(parameters) == (5 if peepholes else 2)
    assert_same(
        with_gradients(lambda x, h, c: cell(x, (h, c)), (x, h, c), parameters),
        with_gradients(written_out, (x, h, c), parameters),
    )


@settings(max_examples=15, deadline=None)
@given(maps())
def test_the_conv_gru_written_out(case):
    channels, hidden, x, h, _ = case
    cell = ConvGRUCell(channels, hidden).double()

    def written_out(x, h):
        both = sigmoid(convolve(torch.cat([x, h], 1), cell.gates.weight, cell.gates.bias))
        r, z = both[:, :hidden], both[:, hidden:]
        consulted = torch.cat([x, r * h], 1)
        n = torch.tanh(convolve(consulted, cell.candidate.weight, cell.candidate.bias))
        return (1 - z) * n + z * h

    parameters = list(cell.parameters())
    assert_same(with_gradients(cell, (x, h), parameters), with_gradients(written_out, (x, h), parameters))


def test_separable_is_a_whole_convolution_of_a_special_kind():
    torch.manual_seed(0)
    ours, whole = ConvLSTMCell(3, 2, separable=True).double(), ConvLSTMCell(3, 2).double()
    kernel = torch.einsum("oc,chw->ochw", ours.gates.weight[:, :, 0, 0], ours.depthwise.weight[:, 0])
    whole.gates.weight.data.copy_(kernel)
    whole.gates.bias.data.copy_(ours.gates.bias)
    x, h, c = (torch.randn(2, n, 4, 5, dtype=torch.float64) for n in (3, 2, 2))
    assert_same(ours(x, (h, c)), whole(x, (h, c)))


# What the options do


def test_peepholes_are_learned_saved_and_silent_at_first():
    torch.manual_seed(0)
    cell, without = ConvLSTMCell(2, 3, peepholes=True), ConvLSTMCell(2, 3)
    names = [f"update.peephole_{gate}" for gate in "ifo"]
    assert set(cell.state_dict()) - set(without.state_dict()) == set(names)
    without.load_state_dict({k: v for k, v in cell.state_dict().items() if k not in names}, strict=True)
    x, h, c = torch.randn(2, 2, 4, 5), torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(cell(x, (h, c)), without(x, (h, c)))
    before = copy.deepcopy(cell.state_dict())
    optimizer = torch.optim.SGD(cell.parameters(), lr=0.1)
    weigh(*cell(x, (h, c))).backward()
    optimizer.step()
    for name in names:
        assert (cell.state_dict()[name] != before[name]).all(), f"{name} did not learn"
    other = ConvLSTMCell(2, 3, peepholes=True)
    other.load_state_dict(cell.state_dict(), strict=True)
    assert_same(other(x, (h, c)), cell(x, (h, c)))
    other(torch.randn(1, 2, 7, 1))  # one number a channel fits any map


def test_without_input_the_memory_decays_by_the_forget_bias():
    for bias, kept in ((0.0, 0.5), (1.0, 0.731)):
        update = LSTMUpdate(1, forget_bias=bias)
        c = torch.ones(1, 1, 1, 1)
        for _ in range(10):
            _, c = update(torch.zeros(1, 4, 1, 1), c)
        assert c.item() == pytest.approx(kept**10, rel=1e-2)
    assert round(0.731**10, 3) == 0.044 and round(0.5**10, 3) == 0.001


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
def test_a_memory_hears_from_as_many_places_away_as_it_is_frames_old(kernel_size):
    """One pixel is lit in the first frame: its mark in h spreads by (k - 1) / 2 places a frame."""
    torch.manual_seed(0)
    layer = ConvLSTM(1, 2, kernel_size).double()
    dark = torch.zeros(4, 1, 1, 15, 15, dtype=torch.float64)
    lit = dark.clone()
    lit[0, 0, 0, 7, 7] = 1
    changed = (layer(lit)[0] - layer(dark)[0]).abs().sum((1, 2)) > 0  # (T, H, W)
    for t in range(4):
        reach = min(7, (t + 1) * (kernel_size // 2))
        expected = torch.zeros(15, 15, dtype=torch.bool)
        expected[7 - reach : 8 + reach, 7 - reach : 8 + reach] = True
        assert torch.equal(changed[t], expected)


# Layers and state


@pytest.mark.parametrize("network", [ConvLSTM, ConvGRU])
def test_a_layer_is_its_cell_frame_after_frame(network):
    torch.manual_seed(0)
    layer = network(3, 2).double()
    x = torch.randn(5, 2, 3, 4, 6, dtype=torch.float64)

    def by_cell(x):
        state, outs = None, []
        for frame in x:
            state = layer.cell(frame, state)
            outs.append(state if network is ConvGRU else state[0])
        return (torch.stack(outs), state) if network is ConvGRU else (torch.stack(outs), *state)

    def by_layer(x):
        out, state = layer(x)
        return (out, state) if network is ConvGRU else (out, *state)

    parameters = list(layer.parameters())
    assert_same(with_gradients(by_layer, (x,), parameters), with_gradients(by_cell, (x,), parameters))
    out, state = layer(x)
    assert out.shape == (5, 2, 2, 4, 6)
    first, between = layer(x[:2])
    second, after = layer(x[2:], between)  # a stream, piece by piece
    torch.testing.assert_close((torch.cat([first, second]), after), (out, state), **F64)
    torch.testing.assert_close(layer(x), (out, state), **F64)  # nothing was kept


@pytest.mark.parametrize("network", [ConvLSTM(3, 2), ConvLSTM(3, 2, separable=True), ConvGRU(3, 2)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 7), (1, 5, 1), (3, 5, 3), (0, 4, 4)])
def test_any_batch_and_any_map(network, shape):
    n_clips, height, width = shape
    x = torch.randn(2, n_clips, 3, height, width, requires_grad=True)
    out, state = network(x)
    assert out.shape == (2, n_clips, 2, height, width)
    torch.testing.assert_close(out[-1], state if isinstance(network, ConvGRU) else state[0])
    out.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("network", [ConvLSTM(3, 2), ConvGRU(3, 2)])
def test_nan_is_not_hidden(network):
    x = torch.zeros(3, 2, 3, 5, 5)
    x[0, 0, 1, 2, 2] = math.nan
    out, _ = network(x)
    assert out[:, 0].isnan().any(dim=1).flatten(1).any(1).all() and not out[:, 1].isnan().any()


@pytest.mark.parametrize("network", [ConvLSTM(3, 2, peepholes=True), ConvGRU(3, 2)])
def test_under_autocast_the_memory_keeps_its_precision(network):
    x = torch.randn(6, 2, 3, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, state = network(x.bfloat16())
    assert all(tensor.dtype == torch.float32 for tensor in (out, *state))
    torch.testing.assert_close(out, network(x)[0], rtol=0.1, atol=0.1)


# Export


def state_of(network, shape):
    """A state, and its axes that may vary, as ``torch.export`` wants them."""
    varies = {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    h, c = torch.randn(2, *shape)
    return (h, varies) if isinstance(network, ConvGRU) else ((h, c), (varies, varies))


NETWORKS = [ConvLSTM(3, 2, peepholes=True, forget_bias=1, separable=True), ConvGRU(3, 2)]


@pytest.mark.parametrize("network", NETWORKS)
def test_export_gives_the_same_at_another_batch_and_map(network):
    state, varies = state_of(network, (2, 2, 4, 5))
    x_varies = {1: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO, 4: torch.export.Dim.AUTO}
    exported = torch.export.export(
        network, (torch.randn(2, 2, 3, 4, 5), state), dynamic_shapes=(x_varies, varies)
    ).module()
    x = torch.randn(2, 5, 3, 7, 6)
    state, _ = state_of(network, (5, 2, 7, 6))
    torch.testing.assert_close(exported(x, state), network(x, state))


# Cost


def test_the_published_cost_of_the_baselines():
    """Table 3 of Liu and Zhu: millions of weights, and of multiply-adds (10 x 10 places, α = .5: 8 x 8)."""

    def lstm(m, n):
        return weights(*separable(m + n, 4 * n))

    def gru(m, n):
        return weights(*separable(m + n, 2 * n)) + weights(*separable(m + n, n))

    for m, n in ((1024, 1024), (512, 512), (1024, 256), (3, 5)):
        assert lstm(m, n) == 9 * (m + n) + 4 * n * (m + n)
        assert gru(m, n) == 18 * (m + n) + 3 * n * (m + n)
    assert (lstm(1024, 1024), gru(1024, 1024)) == (8_407_040, 6_328_320)
    assert (lstm(512, 512), gru(512, 512)) == (2_106_368, 1_591_296)
    printed = {
        (lstm, 1024, 100): (8.41, 840),
        (gru, 1024, 100): (6.33, 632),
        (lstm, 512, 64): (2.11, 135),
        (gru, 512, 64): (1.59, 102),
    }
    for (cost, size, n_places), (millions, mult_adds) in printed.items():
        assert round(cost(size, size) / 1e6, 2) == millions
        assert abs(cost(size, size) * n_places / 1e6 - mult_adds) < 1  # some rounded, some cut off


@pytest.mark.parametrize(
    ("channels", "hidden", "side", "options", "expected"),
    [
        (1024, 1024, 10, {"separable": True}, 8_407_040),
        (512, 512, 8, {"separable": True}, 2_106_368),
        (1024, 256, 10, {"separable": True}, 1_322_240),
        (1024, 256, 10, {}, 11_796_480),
        (128, 32, 8, {}, 184_320),
    ],
)
def test_the_modules_have_the_cost_on_paper(channels, hidden, side, options, expected):
    with torch.device("meta"):
        cell = ConvLSTMCell(channels, hidden, bias=False, **options)
        counted = count(cell, torch.zeros(1, channels, side, side))
    assert counted.weights == expected
    assert counted.multiply_adds == expected * side * side
    assert sum(p.numel() for p in cell.parameters()) == expected


def test_a_conv_gru_costs_three_quarters():
    assert Conv(5, 4 * 2, 3).weights * 3 == 4 * sum(p.numel() for p in ConvGRU(3, 2, bias=False).parameters())


@pytest.mark.parametrize(
    ("network", "peepholes"),
    [
        (ConvLSTM(3, 2, bias=False), 0),
        (ConvLSTM(3, 2, bias=False, separable=True), 0),
        (ConvLSTM(3, 2, bias=False, peepholes=True), 6),
        (ConvGRU(3, 2, bias=False), 0),
    ],
)
def test_counting_and_torchinfo_agree_on_a_clip(network, peepholes):
    x = torch.zeros(5, 2, 3, 4, 6)
    convs = sum(p.numel() for p in network.parameters() if p.dim() == 4)
    counted = count(network, x)
    assert counted.weights == convs + peepholes
    assert counted.multiply_adds == convs * 5 * 2 * 4 * 6
    assert all(row.multiply_adds is not None for row in counted.rows)
    theirs = torchinfo.summary(network, input_data=x, verbose=0)
    assert theirs.total_mult_adds == counted.multiply_adds
    assert sum(p.numel() for p in network.parameters()) == counted.weights


# Bad input

CELL, GRU_CELL = ConvLSTMCell(3, 2), ConvGRUCell(3, 2)
X, H = torch.zeros(2, 3, 4, 5), torch.zeros(2, 2, 4, 5)


@pytest.mark.parametrize("cell", [CELL, GRU_CELL])
@pytest.mark.parametrize(
    ("x", "h", "message"),
    [
        (torch.zeros(2, 4, 4, 5), None, r"x has shape \(2, 4, 4, 5\), expected \(B, 3, H, W\)"),
        (torch.zeros(3, 4, 5), None, r"x has shape \(3, 4, 5\), expected \(B, 3, H, W\)"),
        (X[..., :0], None, r"x has shape \(2, 3, 4, 0\), expected H and W of 1 or more"),
        (X.double(), None, "x is torch.float64, the parameters are torch.float32"),
        (X.to("meta"), None, "x is on meta, the parameters on cpu"),
        (X.numpy(), None, "x is a ndarray, expected a tensor"),
        (X, H.numpy(), "h is a ndarray, expected a tensor"),
        (X, H[:1], r"h has shape \(1, 2, 4, 5\), expected .* \(2, 2, 4, 5\).*start with no state"),
        (X, H[..., 1:], r"h has shape \(2, 2, 4, 4\), expected .* \(2, 2, 4, 5\)"),
        (X, H[:, :1], r"h has shape \(2, 1, 4, 5\), expected .* \(2, 2, 4, 5\)"),
        (X, H[0], r"h has shape \(2, 4, 5\)"),
        (X, H.half(), "h is torch.float16, the parameters are torch.float32"),
        (X, H.to("meta"), "h is on meta, the parameters on cpu"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(cell, x, h, message):
    state = h if cell is GRU_CELL or h is None else (h, H)
    with pytest.raises(ValueError, match=message):
        cell(x, state)


def test_c_is_checked_as_h_is():
    with pytest.raises(ValueError, match=r"c has shape \(2, 2, 4, 4\), expected .* \(2, 2, 4, 5\)"):
        CELL(X, (H, H[..., 1:]))
    with pytest.raises(ValueError, match=r"state is a Tensor, expected the pair \(h, c\)"):
        CELL(X, H)
    with pytest.raises(ValueError, match="state is a tuple of 3, expected the pair"):
        CELL(X, (H, H, H))


@pytest.mark.parametrize("network", [ConvLSTM(3, 2), ConvGRU(3, 2)])
def test_what_is_no_clip_is_refused(network):
    with pytest.raises(ValueError, match="x has no frames"):
        network(torch.zeros(0, 2, 3, 4, 5))
    with pytest.raises(ValueError, match="x is a list, expected a tensor"):
        network([X])
    with pytest.raises(ValueError, match=r"x has shape \(2, 3, 4, 5\), expected \(T, B, C, H, W\)"):
        network(X)
    with pytest.raises(ValueError, match=r"expected \(B, 3, H, W\)"):
        network(torch.zeros(5, 2, 4, 4, 5))
    _, state = network(torch.zeros(1, 2, 3, 4, 5))
    with pytest.raises(ValueError, match="start with no state"):
        network(torch.zeros(1, 1, 3, 4, 5), state)


@pytest.mark.parametrize("network", [ConvLSTM, ConvGRU])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 2), "input_channels=0"),
        ((3, 0), "hidden_channels=0"),
        ((3, -1), "hidden_channels=-1"),
        ((3, 0.35 * 256), "hidden_channels=89.6: expected one integer"),
        ((3, 2, 4), "kernel_size=4 is even"),
    ],
)
def test_bad_arguments_are_refused_by_name(network, arguments, message):
    with pytest.raises(ValueError, match=message):
        network(*arguments)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="activation='gelu' must be"):
        LSTMUpdate(2, "gelu")
