"""The Bottleneck-LSTM: its published numbers, its equations written out, and the defects of public ports."""

import copy
import math

import pytest
import torch
import torchinfo
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lessons.layers.bottleneck import Conv, multiply_adds, separable, weights
from lessons.layers.bottleneck_lstm import (
    VARIANTS,
    BottleneckLSTM,
    BottleneckLSTMCell,
    convolutions,
    gates_apart,
)
from lessons.layers.conv_lstm import ConvLSTMCell
from lessons.measure.counting import count

F64 = dict(rtol=1e-10, atol=1e-10)
PHI = {"tanh": torch.tanh, "relu": lambda x: x.clamp(min=0), "relu6": lambda x: x.clamp(0, 6)}


@st.composite
def cases(draw):
    """A cell in doubles, and x (B, C, H, W), h and c (B, D, H, W) for it."""
    channels, hidden = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    n_clips, height, width = draw(st.integers(1, 3)), draw(st.integers(1, 5)), draw(st.integers(1, 5))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    cell = BottleneckLSTMCell(
        channels,
        hidden,
        activation=draw(st.sampled_from(list(PHI))),
        forget_bias=draw(st.sampled_from([0.0, 1.0, -0.5])),
        peepholes=draw(st.booleans()),
        variant=draw(st.sampled_from(VARIANTS)),
    ).double()
    for name, parameter in cell.named_parameters():
        if "peephole" in name:
            nn.init.normal_(parameter)
    x = 3 * torch.randn(n_clips, channels, height, width, dtype=torch.float64)
    h, c = 3 * torch.randn(2, n_clips, hidden, height, width, dtype=torch.float64)
    return cell, x, h, c


def weigh(*tensors):
    """A fixed weighted sum of everything, so that no two errors cancel."""
    return sum((y * torch.arange(y.numel()).sin().reshape(y.shape).to(y)).sum() for y in tensors)


def with_gradients(function, leaves, parameters=()):
    """What ``function`` returns at ``leaves``, and the gradient of a weighted sum at them and parameters."""
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    results = function(*leaves)
    return [*results, *torch.autograd.grad(weigh(*results), [*leaves, *parameters])]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **F64)


# Against the equations, written out


def around(x, weight):
    """A depthwise 3x3 as nine shifted products of each channel with its own filter."""
    height, width = x.shape[2:]
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    places = [(dh, dw) for dh in range(3) for dw in range(3)]
    return sum(
        padded[:, :, dh : dh + height, dw : dw + width] * weight[:, 0, dh, dw, None, None]
        for dh, dw in places
    )


def across(x, weight):
    """A 1x1: at every place a matrix times the channels."""
    return torch.einsum("bchw,oc->bohw", x, weight[:, :, 0, 0])


def written_out(cell, x, h, c):
    """One frame, gate by gate."""
    hidden, phi = cell.hidden_channels, PHI[cell.activation]

    def see(gate, memory):
        peephole = getattr(cell.update, f"peephole_{gate}")
        return 0 if peephole is None else peephole * memory

    if cell.variant in ("paper", "blog"):
        xh = torch.cat([around(x, cell.depthwise.weight), h], 1)
    else:
        xh = around(torch.cat([x, h], 1), cell.depthwise.weight)
    b = across(xh, cell.bottleneck.weight)
    if cell.variant != "blog":
        b = phi(b)

    def gate(k):
        rows = slice(k * hidden, (k + 1) * hidden)
        own = rows if cell.variant == "equation" else slice(None)  # a depthwise convolution of its own
        return across(around(b, cell.spatial.weight[own]), cell.gates.weight[rows])

    i = torch.sigmoid(gate(0) + see("i", c))
    f = torch.sigmoid(gate(1) + see("f", c) + cell.update.forget_bias)
    c = f * c + i * phi(gate(2))
    o = torch.sigmoid(gate(3) + see("o", c))
    return o * phi(c), c


@settings(max_examples=20, deadline=None)
@given(cases())
def test_the_cell_is_its_equations(case):
    cell, *leaves = case
    parameters = list(cell.parameters())
    assert_same(
        with_gradients(lambda x, h, c: cell(x, (h, c)), leaves, parameters),
        with_gradients(lambda x, h, c: written_out(cell, x, h, c), leaves, parameters),
    )


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("activation", list(PHI))
def test_four_gates_from_one_product_are_four_gates_apart(variant, activation):
    torch.manual_seed(0)
    cell = BottleneckLSTMCell(3, 2, variant=variant, activation=activation).double()
    leaves = [torch.randn(2, n, 4, 5, dtype=torch.float64) for n in (3, 2, 2)]
    parameters = list(cell.parameters())
    assert_same(
        with_gradients(lambda x, h, c: cell(x, (h, c)), leaves, parameters),
        with_gradients(lambda x, h, c: gates_apart(cell, x, h, c), leaves, parameters),
    )


def test_gates_apart_refuse_what_they_do_not_write_out():
    with pytest.raises(ValueError, match="expected one without"):
        gates_apart(BottleneckLSTMCell(3, 2, peepholes=True), X, H, H)


def test_the_gate_stage_is_torchs_lstm_cell_that_does_not_see_h():
    """After the bottleneck h is not read again: nn.LSTMCell of s at every place, with weight_hh = 0."""
    torch.manual_seed(0)
    cell = BottleneckLSTMCell(3, 4, activation="tanh").double()
    x, h, c = (torch.randn(2, n, 5, 6, dtype=torch.float64) for n in (3, 4, 4))
    theirs = nn.LSTMCell(4, 4).double()
    with torch.no_grad():
        theirs.weight_ih.copy_(cell.gates.weight[:, :, 0, 0])
        theirs.weight_hh.zero_()
        theirs.bias_ih.zero_()
        theirs.bias_hh.zero_()
        theirs.bias_ih[4:8] = 1  # f

    def rows(map_):
        return map_.permute(0, 2, 3, 1).reshape(-1, 4)  # (B*H*W, D)

    s = cell.spatial(cell.squeeze(x, h))
    ours = [rows(y) for y in cell(x, (h, c))]
    assert_same(ours, theirs(rows(s), (rows(h), rows(c))))
    cell.spatial.weight.data.zero_()
    cell.spatial.weight.data[:, 0, 1, 1] = 1  # looks only at its own place: then s is b
    b = cell.squeeze(x, h)
    assert_same([rows(y) for y in cell(x, (h, c))], theirs(rows(b), (rows(h), rows(c))))


# Published weights


def test_the_weights_of_table_3():
    for m, n, side, printed in ((1024, 256, 10, (0.60, 601_344)), (512, 128, 8, (0.15, 153_216))):
        parts = convolutions(m, n)
        by_hand = [9 * m, (m + n) * n, 9 * n, 4 * n * n]
        assert [conv.weights for conv in parts.values()] == by_hand
        assert list(parts) == ["depthwise", "bottleneck", "spatial", "gates"]
        with torch.device("meta"):
            counted = count(BottleneckLSTMCell(m, n), torch.zeros(1, m, side, side))
        assert weights(*parts.values()) == counted.weights == printed[1]
        assert round(counted.weights / 1e6, 2) == printed[0]
        assert counted.multiply_adds == printed[1] * side * side
        assert {row.name: row.weights for row in counted.rows if row.weights} == {
            name: conv.weights for name, conv in parts.items()
        }
    assert [9 * 1024, 1280 * 256, 9 * 256, 4 * 256 * 256] == [9_216, 327_680, 2_304, 262_144]


@pytest.mark.parametrize(
    ("variant", "expected"),
    [("paper", 601_344), ("blog", 601_344), ("released", 603_648), ("equation", 610_560)],
)
def test_the_weights_of_every_variant(variant, expected):
    with torch.device("meta"):
        cell = BottleneckLSTMCell(1024, 256, variant=variant)
    assert sum(p.numel() for p in cell.parameters()) == expected
    assert weights(*convolutions(1024, 256, variant).values()) == expected


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_the_equations_of_the_paper(m, n):
    """Eq. 4 and the sums of Table 1 and of the released code."""
    cost = {variant: weights(*convolutions(m, n, variant).values()) for variant in VARIANTS}
    assert cost["equation"] == 9 * (m + n) + (m + n) * n + 4 * (9 * n + n * n)
    assert cost["paper"] == cost["blog"] == 9 * m + (m + n) * n + 9 * n + 4 * n * n
    assert cost["released"] == cost["paper"] + 9 * n


def test_the_published_multiply_adds_miss_one_layer():
    """Table 3 prints 34 M and 5.6 M; the four convolutions of Table 1 need 60.1 M and 9.8 M."""
    for m, n, side, printed, whole in ((1024, 256, 10, 34, 60.1), (512, 128, 8, 5.6, 9.8)):
        parts = convolutions(m, n)
        total = multiply_adds(*parts.values(), height=side, width=side)
        assert round(total / 1e6, 1) == whole
        without_last = total - parts["gates"].multiply_adds(side, side)
        assert round(without_last / 1e6, 1 if side == 8 else 0) == printed
    assert round((601_344 - 262_144) * 100 / 1e6, 2) == 33.92
    assert round((153_216 - 65_536) * 64 / 1e6, 2) == 5.61
    # Table 4 adds a second LSTM, 256 -> 256, and counts it whole: 0.04 B
    second = multiply_adds(*convolutions(256, 256).values(), height=10, width=10)
    assert second == 39_782_400 and round(second / 1e9, 2) == 0.04


def test_fourteen_and_nineteen_point_six():
    """What is compared with what: the paper's own baseline is as wide as its input."""
    ours = weights(*convolutions(1024, 256).values())
    wide, narrow = (weights(*separable(1024 + n, 4 * n)) for n in (1024, 256))
    assert (wide, narrow, ours) == (8_407_040, 1_322_240, 601_344)
    assert round(wide / ours, 1) == 14.0
    assert round(wide / narrow, 1) == 6.4  # from 1024 channels of memory to 256
    assert round(narrow / ours, 1) == 2.2  # the bottleneck
    assert round(840 / 34, 1) == 24.7  # as printed, with the layer missing
    dense = Conv(1024 + 256, 4 * 256, 3).weights
    assert dense == 11_796_480 and round(dense / ours, 1) == 19.6


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_where_the_bottleneck_breaks_even(m, n):
    """Against a separable LSTM of the same width. Which bound depends on what is compared with what."""
    lstm = weights(*separable(m + n, 4 * n))
    cost = {variant: weights(*convolutions(m, n, variant).values()) for variant in VARIANTS}
    assert (cost["released"] < lstm) == (n + 9 < 3 * m)
    assert (cost["paper"] < lstm) == (n < 3 * m)  # Table 1 saves the 9 N of a depthwise over h
    with_four_depthwise = 4 * (9 * (m + n) + (m + n) * n)  # eq. 3
    assert (cost["equation"] < with_four_depthwise) == (n < 3 * m)


@pytest.mark.parametrize("variant", VARIANTS)
def test_counting_and_torchinfo_agree_on_a_clip(variant):
    network = BottleneckLSTM(3, 2, variant=variant, peepholes=True)
    convs = weights(*convolutions(3, 2, variant).values())
    x = torch.zeros(5, 2, 3, 4, 6)
    counted = count(network, x)
    assert counted.weights == convs + 3 * 2
    assert counted.multiply_adds == convs * 5 * 2 * 4 * 6
    assert all(row.multiply_adds is not None for row in counted.rows)
    without = torchinfo.summary(BottleneckLSTM(3, 2, variant=variant), input_data=x, verbose=0)
    assert (without.total_params, without.total_mult_adds) == (convs, counted.multiply_adds)


# First values


def rms(x):
    return x.pow(2).mean().sqrt().item()


def after_ten_frames(cell, channels, side=10):
    with torch.no_grad():
        state = None
        for _ in range(10):
            state = cell(torch.randn(1, channels, side, side).relu(), state)
    return rms(state[0])


def fan_out(cell, convs):
    """The blog's first values: normal, of variance 2 / (k² O), with O all of the output channels."""
    for conv in convs:
        k, n_out = conv.kernel_size[0], conv.out_channels
        nn.init.normal_(conv.weight, std=math.sqrt(2 / (k * k * n_out)))


def test_first_values_keep_a_signals_size():
    torch.manual_seed(0)
    cell = BottleneckLSTMCell(1024, 256)
    stds = [
        layer.weight.std().item() for layer in (cell.depthwise, cell.bottleneck, cell.spatial, cell.gates)
    ]
    expected = [math.sqrt(2 / 9), math.sqrt(1 / 1280), math.sqrt(2 / 9), math.sqrt(1 / 256)]
    assert stds == pytest.approx(expected, rel=0.05)
    x = torch.randn(1, 1024, 10, 10).relu()
    assert rms(x) == pytest.approx(math.sqrt(0.5), rel=0.02)
    with torch.no_grad():
        inner = x[:, :, 1:-1, 1:-1]
        seen = cell.depthwise(x)[:, :, 1:-1, 1:-1]
        assert rms(seen) == pytest.approx(rms(inner) * math.sqrt(2), rel=0.1)
        gates = cell.gates(cell.spatial(cell.squeeze(x, torch.zeros(1, 256, 10, 10))))
    assert 0.5 < rms(gates) < 2


def test_the_blogs_first_values_leave_the_memory_silent():
    """Its depthwise filters start 32 times too small: the 9 inputs of a filter counted once a channel."""
    torch.manual_seed(0)
    ours = BottleneckLSTMCell(1024, 256)
    blog = BottleneckLSTMCell(1024, 256, activation="relu", forget_bias=0, variant="blog")
    fan_out(blog, (blog.depthwise, blog.bottleneck, blog.spatial))
    nn.init.normal_(blog.gates.weight, std=math.sqrt(2 / 256))  # four convolutions of 256 channels
    assert blog.depthwise.weight.std().item() == pytest.approx(0.0147, rel=0.05)
    assert math.sqrt(2 / 9) / math.sqrt(2 / (9 * 1024)) == pytest.approx(32)
    loud, silent = after_ten_frames(ours, 1024), after_ten_frames(blog, 1024)
    assert 0.2 < loud < 1.0
    assert 0.001 < silent < 0.005
    assert loud > 50 * silent


def test_without_phi_bottleneck_and_gates_are_one_linear_map():
    torch.manual_seed(0)
    x, h = 9 * torch.randn(1, 3, 4, 4), 9 * torch.randn(1, 2, 4, 4)
    blog, paper = (BottleneckLSTMCell(3, 2, variant=variant) for variant in ("blog", "paper"))
    paper.load_state_dict(blog.state_dict(), strict=True)
    torch.testing.assert_close(blog.squeeze(2 * x, 2 * h), 2 * blog.squeeze(x, h))
    torch.testing.assert_close(blog.squeeze(-x, -h), -blog.squeeze(x, h))
    assert not torch.allclose(paper.squeeze(-x, -h), -paper.squeeze(x, h))
    assert blog.squeeze(x, h).max() > 6
    torch.testing.assert_close(paper.squeeze(x, h), blog.squeeze(x, h).clamp(0, 6))  # ReLU6


def test_relu6_bounds_what_the_memory_shows_and_relu_does_not():
    torch.manual_seed(0)
    loud = 100 * torch.rand(1, 3, 4, 4)
    for activation, bound in (("relu6", 6), ("tanh", 1), ("relu", math.inf)):
        torch.manual_seed(1)
        layer = BottleneckLSTM(3, 8, activation=activation)
        out, _ = layer(loud.expand(30, -1, -1, -1, -1))
        assert out.max() <= bound
    assert out.max() > 60  # relu


# State


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_layer_is_its_cell_frame_after_frame_and_keeps_nothing(variant):
    torch.manual_seed(0)
    layer = BottleneckLSTM(3, 2, variant=variant, peepholes=True).double()
    x = torch.randn(5, 2, 3, 4, 6, dtype=torch.float64)

    def by_layer(x):
        out, (h, c) = layer(x)
        return out, h, c

    def by_cell(x):
        state, outs = None, []
        for frame in x:
            state = layer.cell(frame, state)
            outs.append(state[0])
        return torch.stack(outs), *state

    parameters = list(layer.parameters())
    assert_same(with_gradients(by_layer, (x,), parameters), with_gradients(by_cell, (x,), parameters))
    out, state = layer(x)
    assert out.shape == (5, 2, 2, 4, 6) and state[1].shape == (2, 2, 4, 6)
    first, between = layer(x[:2])
    second, after = layer(x[2:], between)  # a stream, piece by piece
    torch.testing.assert_close((torch.cat([first, second]), after), (out, state), **F64)
    torch.testing.assert_close(layer(x), (out, state), **F64)  # the same video twice
    assert {name.rsplit(".", 1)[1] for name in layer.state_dict()} == {"weight", *PEEPHOLES}
    assert list(layer.buffers()) == []


PEEPHOLES = ["peephole_i", "peephole_f", "peephole_o"]


def test_no_state_is_a_state_of_zeros():
    cell = BottleneckLSTMCell(3, 2)
    x, zeros = torch.randn(2, 3, 4, 5), torch.zeros(2, 2, 4, 5)
    torch.testing.assert_close(cell(x), cell(x, (zeros, zeros)))


def test_a_module_in_use_can_be_copied_moved_and_trained_frame_by_frame():
    """Each of these fails where the state is an attribute of the module."""
    torch.manual_seed(0)
    layer = BottleneckLSTM(3, 2)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    state = None
    for _ in range(3):
        h, c = layer.cell(torch.randn(2, 3, 4, 4), state)
        optimizer.zero_grad()
        h.pow(2).sum().backward()
        optimizer.step()
        state = (h.detach(), c.detach())
    twin = copy.deepcopy(layer)
    x = torch.randn(2, 1, 3, 5, 3)  # another batch, another map
    torch.testing.assert_close(twin(x), layer(x))
    out, (_, c) = twin.double()(x.double())
    assert out.dtype == c.dtype == torch.float64
    out, (_, c) = twin.to("meta")(x.double().to("meta"))
    assert out.device.type == c.device.type == "meta" and out.shape == (2, 1, 2, 5, 3)


def test_peepholes_are_learned_saved_and_silent_at_first():
    torch.manual_seed(0)
    cell, without = BottleneckLSTMCell(3, 2, peepholes=True), BottleneckLSTMCell(3, 2)
    missing = cell.load_state_dict(without.state_dict(), strict=False).missing_keys
    assert sorted(missing) == sorted(f"update.{name}" for name in PEEPHOLES)
    x, h, c = torch.rand(2, 3, 4, 5), torch.rand(2, 2, 4, 5), torch.rand(2, 2, 4, 5)
    torch.testing.assert_close(cell(x, (h, c)), without(x, (h, c)))
    weigh(*cell(x, (h, c))).backward()
    for name in missing:
        assert cell.get_parameter(name).grad.abs().max() > 0, f"{name} does not learn"


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 1, 7), (1, 5, 1), (3, 5, 3), (0, 4, 4)])
def test_any_batch_and_any_map(variant, shape):
    n_clips, height, width = shape
    network = BottleneckLSTM(3, 5, variant=variant)  # an odd memory too
    x = torch.randn(2, n_clips, 3, height, width, requires_grad=True)
    out, (h, _) = network(x)
    assert out.shape == (2, n_clips, 5, height, width)
    torch.testing.assert_close(out[-1], h)
    out.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("activation", list(PHI))
def test_nan_is_not_hidden(activation):
    network = BottleneckLSTM(3, 2, activation=activation)
    x = torch.ones(3, 2, 3, 5, 5)
    x[0, 0, 1, 2, 2] = math.nan
    out, _ = network(x)
    assert out[:, 0].isnan().flatten(1).any(1).all() and not out[:, 1].isnan().any()


def test_under_autocast_the_memory_keeps_its_precision():
    torch.manual_seed(0)
    network, x = BottleneckLSTM(3, 2), torch.randn(6, 2, 3, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, (h, c) = network(x.bfloat16())
    assert out.dtype == h.dtype == c.dtype == torch.float32
    torch.testing.assert_close(out, network(x)[0], rtol=0.1, atol=0.1)


# Export


def test_the_exported_cell_gives_the_same_at_another_batch_and_map():
    """The cell, for a phone reads a stream: a frame and a state in, a state out."""
    cell = BottleneckLSTMCell(3, 2, peepholes=True)
    varies = {0: torch.export.Dim.AUTO, 2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}

    def frame(n_clips, height, width):
        h, c = torch.randn(2, n_clips, 2, height, width)
        return torch.randn(n_clips, 3, height, width), (h, c)

    exported = torch.export.export(cell, frame(2, 4, 5), dynamic_shapes=(varies, (varies, varies))).module()
    x, state = frame(5, 7, 6)
    torch.testing.assert_close(exported(x, state), cell(x, state))


# Bad input

CELL = BottleneckLSTMCell(3, 2)
X, H = torch.zeros(2, 3, 4, 5), torch.zeros(2, 2, 4, 5)


@pytest.mark.parametrize(
    ("x", "state", "message"),
    [
        (torch.zeros(2, 4, 4, 5), None, r"x has shape \(2, 4, 4, 5\), expected \(B, 3, H, W\)"),
        (torch.zeros(3, 4, 5), None, r"x has shape \(3, 4, 5\), expected \(B, 3, H, W\)"),
        (X[:, :, :0], None, "expected H and W of 1 or more"),
        (X.double(), None, "x is torch.float64, the parameters are torch.float32"),
        (X.long(), None, "x is torch.int64, the parameters are torch.float32"),
        (X.to("meta"), None, "x is on meta, the parameters on cpu"),
        (X, (H[:1], H), r"h has shape \(1, 2, 4, 5\), expected .* \(2, 2, 4, 5\).*start with no state"),
        (X, (H, H[..., 1:]), r"c has shape \(2, 2, 4, 4\), expected .* \(2, 2, 4, 5\)"),
        (X, (H[:, :1], H), r"h has shape \(2, 1, 4, 5\)"),
        (X, (H, H.double()), "c is torch.float64, the parameters are torch.float32"),
        (X, (H.to("meta"), H), "h is on meta, the parameters on cpu"),
        (X, H, "state is a Tensor, expected the pair"),
        (X, (H,), "state is a tuple of 1, expected the pair"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(x, state, message):
    with pytest.raises(ValueError, match=message):
        CELL(x, state)


def test_what_is_no_clip_is_refused():
    network = BottleneckLSTM(3, 2)
    with pytest.raises(ValueError, match="x has no frames"):
        network(torch.zeros(0, 2, 3, 4, 5))
    with pytest.raises(ValueError, match=r"expected \(T, B, C, H, W\)"):
        network(X)
    _, state = network(torch.zeros(1, 2, 3, 4, 5))
    with pytest.raises(ValueError, match="start with no state"):
        network(torch.zeros(1, 2, 3, 6, 5), state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_channels": 0}, "input_channels=0"),
        ({"hidden_channels": 0}, "hidden_channels=0"),
        ({"variant": "fast"}, "variant='fast' must be one of 'paper', 'equation', 'released', 'blog'"),
        ({"activation": "gelu"}, "activation='gelu' must be"),
    ],
)
def test_bad_arguments_are_refused_by_name(options, message):
    with pytest.raises(ValueError, match=message):
        BottleneckLSTM(**{"input_channels": 3, "hidden_channels": 2} | options)


def test_a_whole_conv_lstm_has_the_same_face():
    """Either can stand where the other stood."""
    for cell in (CELL, ConvLSTMCell(3, 2)):
        h, c = cell(X, (H, H))
        assert h.shape == c.shape == H.shape
