"""Convolution over space and time against its definition and against torch's own."""

from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lessons.layers import STCNN, Conv3d, MaxPool3d, conv3d, max_pool3d
from lessons.layers import conv3d_fast as conv3d_columns
from lessons.layers.conv3d import conv3d_loops, conv3d_matmul

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}


@st.composite
def convolutions(draw, largest=3):
    """Tensors and arguments of a convolution whose kernel fits."""
    each = lambda low, high: draw(st.tuples(*[st.integers(low, high)] * 3))  # noqa: E731
    kernel, stride, padding, dilation = each(1, 3), each(1, 3), each(0, 2), each(1, 2)
    groups = draw(st.integers(1, 3))
    in_channels, out_channels = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 3))
    size = [
        max(1, d * (k - 1) + 1 - 2 * p) + draw(st.integers(0, largest))
        for k, p, d in zip(kernel, padding, dilation, strict=True)
    ]
    dtype = draw(st.sampled_from([torch.float64, torch.float32]))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    x = torch.randn(draw(st.integers(1, 3)), in_channels, *size, dtype=dtype)
    weight = torch.randn(out_channels, in_channels // groups, *kernel, dtype=dtype)
    bias = torch.randn(out_channels, dtype=dtype) if draw(st.booleans()) else None
    return (x, weight, bias), dict(stride=stride, padding=padding, dilation=dilation, groups=groups)


def with_gradients(function, tensors, options):
    """Output, and the gradient of a fixed random sum of it at every tensor."""
    leaves = [None if t is None else t.clone().requires_grad_() for t in tensors]
    out = function(*leaves, **options)
    weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(out)
    (out * weights).sum().backward()
    return [out.detach(), *(leaf.grad for leaf in leaves if leaf is not None)]


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=TOLERANCE[b.dtype], atol=TOLERANCE[b.dtype])


@settings(max_examples=40, deadline=None)
@given(convolutions(), st.sampled_from([1, 2000, 2**22]))
def test_conv3d_and_its_gradients_equal_torch_however_many_frames_a_chunk_has(case, chunk):
    tensors, options = case
    with patch.dict(conv3d_columns.COLUMN_BYTES, cpu=chunk):
        assert_same(with_gradients(conv3d, tensors, options), with_gradients(F.conv3d, tensors, options))


@settings(max_examples=25, deadline=None)
@given(convolutions())
def test_the_matrix_product_and_its_gradients_equal_torch(case):
    tensors, options = case
    assert_same(with_gradients(conv3d_matmul, tensors, options), with_gradients(F.conv3d, tensors, options))


@settings(max_examples=15, deadline=None)
@given(convolutions(largest=1))
def test_the_loops_and_their_gradients_equal_torch(case):
    tensors, options = case
    assert_same(with_gradients(conv3d_loops, tensors, options), with_gradients(F.conv3d, tensors, options))


@pytest.mark.parametrize("function", [conv3d, conv3d_matmul, conv3d_loops])
def test_a_filter_that_subtracts_the_last_frame_sees_motion_and_not_stillness(function):
    clip = torch.zeros(1, 1, 3, 1, 4)
    clip[0, 0, 0, 0, 1] = clip[0, 0, 1, 0, 1] = clip[0, 0, 2, 0, 2] = 1  # still, still, one step right
    weight = torch.tensor([-1.0, 1.0]).reshape(1, 1, 2, 1, 1)
    out = function(clip, weight)
    assert out.tolist() == [[[[[0, 0, 0, 0]], [[0, -1, 1, 0]]]]]


def test_one_number_means_the_same_for_time_height_and_width():
    x, weight = torch.randn(1, 2, 5, 6, 7), torch.randn(4, 2, 3, 3, 3)
    torch.testing.assert_close(conv3d(x, weight, None, 2, 1), conv3d(x, weight, None, (2, 2, 2), (1, 1, 1)))


def test_an_empty_batch_gives_an_empty_batch():
    assert conv3d(torch.randn(0, 2, 3, 4, 5), torch.randn(6, 2, 1, 1, 1)).shape == (0, 6, 3, 4, 5)


def test_the_chunks_cover_every_frame_once_and_hold_what_they_may():
    x = torch.zeros(1, 4, 10, 6, 6)
    geometry = conv3d_columns.Geometry((3, 3, 3), (1, 1, 1), (1, 1, 1), (1, 1, 1), 1, (10, 6, 6))
    frame = 4 * 3 * 3 * 6 * 6 * 4  # bytes of a frame's columns: C * kh * kw * H' * W' floats
    assert geometry.im2col(x[0, :, 2:4]).nbytes == 2 * frame
    for chunk, sizes in ((1, [1] * 10), (3 * frame, [3, 3, 3, 1]), (99 * frame, [10])):
        with patch.dict(conv3d_columns.COLUMN_BYTES, cpu=chunk):
            chunks = list(geometry.chunks(x))
        assert [c.stop - c.start for c in chunks] == sizes
        assert [f for c in chunks for f in range(c.start, c.stop)] == list(range(10))


@pytest.mark.parametrize("wanted", [(True, False, False), (False, True, False), (False, False, True)])
def test_a_gradient_that_nobody_wants_is_not_computed(wanted):
    tensors = torch.randn(2, 2, 4, 5, 6), torch.randn(3, 2, 3, 3, 3), torch.randn(3)
    leaves = [t.requires_grad_(w) for t, w in zip(tensors, wanted, strict=True)]
    names = ("col2im", "im2col")  # what the gradient of x, and of the weight, is made with
    out = conv3d(*leaves, padding=1)
    expected = torch.autograd.grad(F.conv3d(*leaves, padding=1).square().sum(), leaves[wanted.index(True)])
    with patch.multiple(
        conv3d_columns.Geometry,
        **dict.fromkeys([name for name, used in zip(names, wanted[:2], strict=True) if not used], None),
    ):  # calling None would raise
        out.square().sum().backward()
    assert [leaf.grad is not None for leaf in leaves] == list(wanted)
    torch.testing.assert_close(leaves[wanted.index(True)].grad, expected[0], rtol=1e-4, atol=1e-4)


def test_numerical_differences_agree_with_the_gradient_for_strides_padding_dilation_and_groups():
    torch.manual_seed(0)
    x = torch.randn(1, 2, 4, 4, 3, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(2, dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda *t: conv3d(*t, (2, 1, 2), (1, 0, 1), (2, 1, 2), 2), (x, weight, bias))


@pytest.mark.parametrize("wanted", [(True, True, True), (True, False, False), (False, True, False)])
def test_second_derivatives_are_right(wanted):
    torch.manual_seed(0)
    shapes = (2, 2, 3, 4, 3), (4, 1, 2, 2, 2), (4,)
    tensors = [
        torch.randn(s, dtype=torch.float64, requires_grad=w) for s, w in zip(shapes, wanted, strict=True)
    ]
    assert torch.autograd.gradgradcheck(lambda *t: conv3d(*t, (1, 2, 1), (1, 0, 1), 1, 2), tensors)


def test_a_gradient_penalty_is_torchs():
    """The gradient that arrives at the convolution needs none itself: autograd has no reason to warn."""
    torch.manual_seed(0)
    x, weight = (torch.randn(s, dtype=torch.float64) for s in ((1, 2, 3, 4, 4), (3, 2, 2, 3, 3)))

    def penalty(convolution):
        leaves = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
        (first,) = torch.autograd.grad(convolution(*leaves).sum(), leaves[0], create_graph=True)
        return torch.autograd.grad(first.square().sum(), leaves[1])[0]

    ours, theirs = penalty(conv3d), penalty(F.conv3d)
    torch.testing.assert_close(ours, theirs)
    assert theirs.abs().max() > 0.1


def test_a_single_output_leaves_the_bias_alone():
    bias = torch.ones(2)
    conv3d(torch.ones(1, 1, 1, 1, 1), torch.ones(2, 1, 1, 1, 1), bias)
    assert bias.tolist() == [1, 1]


def test_nothing_but_clip_and_weight_is_kept_for_the_way_back():
    x, weight = torch.randn(1, 2, 4, 5, 6), torch.randn(3, 2, 3, 3, 3, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        conv3d(x, weight, padding=1)
    assert {t.data_ptr() for t in kept} == {x.data_ptr(), weight.data_ptr()}


def test_nan_pixels_come_through():
    x = torch.zeros(1, 1, 1, 3, 3)
    x[..., 1, 1] = float("nan")
    assert conv3d(x, torch.ones(1, 1, 1, 1, 1)).isnan().sum() == 1
    assert max_pool3d(x, (1, 3, 3)).isnan().all()


@pytest.mark.parametrize(
    ("x", "weight", "options", "message"),
    [
        ((2, 5, 6, 7), (4, 2, 1, 1, 1), {}, r"x has shape \(2, 5, 6, 7\), expected five axes"),
        ((1, 2, 5, 6, 7), (4, 2, 1, 1), {}, r"weight has shape .* expected five axes"),
        ((1, 3, 5, 6, 7), (4, 2, 1, 1, 1), {}, r"expects 2 channels .* has 3"),
        ((1, 3, 5, 6, 7), (4, 1, 1, 1, 1), {"groups": 2}, r"groups=2 must divide the 3 channels"),
        ((1, 4, 5, 6, 7), (3, 2, 1, 1, 1), {"groups": 2}, r"groups=2 must divide .* the 3 filters"),
        ((1, 2, 5, 6, 7), (4, 2, 6, 1, 1), {}, r"spans 6 along T.* padded by 0 has only 5"),
        ((1, 2, 5, 6, 7), (4, 2, 1, 5, 1), {"dilation": 2}, r"spans 9 along H"),
        ((1, 2, 5, 6, 7), (4, 2, 1, 1, 1), {"stride": 0}, r"stride is \(0, 0, 0\)"),
        ((1, 2, 5, 6, 7), (4, 2, 1, 1, 1), {"padding": -1}, r"padding is \(-1, -1, -1\)"),
        ((1, 2, 5, 6, 7), (4, 2, 1, 1, 1), {"groups": 0}, r"groups is \(0,\)"),
        ((1, 2, 5, 6, 7), (4, 2, 1, 1, 1), {"stride": (1, 2)}, r"one number or three"),
        ((1, 2, 5, 6, 7), (4, 2, 1, 1, 1), {"bias": torch.zeros(3)}, r"bias has shape \(3,\)"),
    ],
)
@pytest.mark.parametrize("function", [conv3d, conv3d_matmul, conv3d_loops])
def test_what_does_not_fit_is_refused_by_name(function, x, weight, options, message):
    with pytest.raises(ValueError, match=message):
        function(torch.zeros(x), torch.zeros(weight), **options)


def test_mixed_dtypes_and_devices_are_refused():
    x, weight = torch.zeros(1, 1, 2, 2, 2), torch.zeros(1, 1, 1, 1, 1)
    with pytest.raises(ValueError, match=r"weight is torch.float64, x is torch.float32"):
        conv3d(x, weight.double())
    with pytest.raises(ValueError, match=r"bias is torch.float64"):
        conv3d(x, weight, torch.zeros(1).double())
    with pytest.raises(ValueError, match=r"weight is on meta, x on cpu"):
        conv3d(x, weight.to("meta"))


@st.composite
def poolings(draw):
    kernel = draw(st.tuples(*[st.integers(1, 3)] * 3))
    stride = draw(st.none() | st.tuples(*[st.integers(1, 3)] * 3))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    size = [max(1, k - 2 * p) + draw(st.integers(0, 4)) for k, p in zip(kernel, padding, strict=True)]
    dtype = draw(st.sampled_from([torch.float64, torch.float32]))
    torch.manual_seed(draw(st.integers(0, 2**31)))
    # Whole numbers from -2 to 2, so that most windows hold their largest value more than once.
    x = torch.randint(-2, 3, (draw(st.integers(1, 2)), draw(st.integers(1, 2)), *size)).to(dtype)
    return x, dict(kernel_size=kernel, stride=stride, padding=padding)


@settings(max_examples=50, deadline=None)
@given(poolings())
def test_max_pool3d_and_its_gradient_equal_torch_even_at_ties(case):
    x, options = case
    ours, theirs = with_gradients(max_pool3d, [x], options), with_gradients(F.max_pool3d, [x], options)
    assert torch.equal(ours[0], theirs[0])
    assert_same(ours, theirs)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((2, 3, 4, 5), {"kernel_size": 1}, "x has shape"),
        ((1, 2, 3, 4, 5), {"kernel_size": 4}, r"spans 4 along T"),
        ((1, 2, 3, 4, 5), {"kernel_size": 2, "padding": 2}, "more than half"),
        ((1, 2, 3, 4, 5), {"kernel_size": 2, "stride": 0}, "stride is"),
        ((1, 2, 3, 4, 5), {"kernel_size": 0}, "kernel_size is"),
    ],
)
def test_a_pool_that_does_not_fit_is_refused_by_name(shape, options, message):
    with pytest.raises(ValueError, match=message):
        max_pool3d(torch.zeros(shape), **options)


@pytest.mark.parametrize(
    "options",
    [
        dict(kernel_size=(3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2)),
        dict(kernel_size=3, groups=3, bias=False),
        dict(kernel_size=(1, 3, 2), dilation=(1, 2, 1)),
    ],
)
def test_the_module_starts_and_computes_as_nn_conv3d_and_shares_its_state_dict(options):
    torch.manual_seed(0)
    ours = Conv3d(3, 6, **options)
    torch.manual_seed(0)
    theirs = nn.Conv3d(3, 6, **options)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())  # keys and first values
    x = torch.randn(2, 3, 5, 9, 8)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-4)
    nn.Conv3d(3, 6, **options).load_state_dict(ours.state_dict(), strict=True)
    Conv3d(3, 6, **options).load_state_dict(theirs.state_dict(), strict=True)


def test_modules_show_their_arguments_and_refuse_bad_ones():
    assert "kernel_size=(3, 5, 5)" in repr(Conv3d(3, 32, (3, 5, 5)))
    assert "stride=(1, 2, 2)" in repr(MaxPool3d((1, 2, 2)))
    with pytest.raises(ValueError, match="groups=2 must divide in_channels=3"):
        Conv3d(3, 4, 1, groups=2)


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("pool", [False, True])
def test_both_kinds_of_block_have_the_same_state_dict_output_and_gradients(pool, norm):
    options = dict(kernel_size=(3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2), pool=pool, norm=norm)
    ours, theirs = STCNN(3, 8, **options, layers="lessons"), STCNN(3, 8, **options, layers="torch")
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x, grads, outs = torch.randn(2, 3, 4, 16, 12), [], []
    for block in (ours, theirs):
        torch.manual_seed(1)  # the same channels are dropped
        outs.append(block(x))
        outs[-1].square().sum().backward()
        grads.append([p.grad for p in block.parameters()])
    assert outs[0].shape == ((2, 8, 4, 4, 3) if pool else (2, 8, 4, 8, 6))
    torch.testing.assert_close(outs[0], outs[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-3, atol=1e-3)


def test_the_block_keeps_every_frame_drops_whole_channels_and_is_not_in_place():
    block = STCNN(1, 64, 3, padding=1, dropout=0.5)
    seen = []
    block.conv.register_forward_hook(lambda module, args, out: seen.append(out))
    out = block(torch.rand(2, 1, 5, 8, 8) + 0.5)
    assert out.shape == (2, 64, 5, 4, 4)
    zero_pixels = (out == 0).flatten(2).float().mean(-1)  # (B, C)
    assert ((zero_pixels == 1).float().mean() > 0.3) and (zero_pixels == 0).any()
    assert seen[0].min() < 0, "ReLU overwrote the convolution's output"
    assert torch.equal(block.eval()(seen[0][:, :1]), block(seen[0][:, :1])), "dropout is off in eval mode"


def test_the_block_refuses_unknown_layers():
    with pytest.raises(ValueError, match="layers='tensorflow' must be 'lessons' or 'torch'"):
        STCNN(1, 1, 1, layers="tensorflow")


def test_autocast_computes_in_half_precision_as_torch_does():
    block = STCNN(1, 2, 3, padding=1, dropout=0.0, layers="lessons")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert block(torch.randn(1, 1, 3, 4, 4)).dtype == torch.bfloat16


def test_the_gradient_of_a_weight_adds_up_in_single_precision_under_autocast():
    torch.manual_seed(0)
    x, weight = torch.rand(1, 1, 600, 2, 2), torch.rand(1, 1, 1, 3, 3, requires_grad=True)  # nothing cancels
    (exact,) = torch.autograd.grad(conv3d(x, weight, padding=(0, 1, 1)).sum(), weight)
    with patch.dict(conv3d_columns.COLUMN_BYTES, cpu=1):  # 600 parts: the last would not count in bfloat16
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = conv3d(x, weight, padding=(0, 1, 1))
        (grad,) = torch.autograd.grad(out.float().sum(), weight)
    assert out.dtype == torch.bfloat16 and grad.dtype == torch.float32
    torch.testing.assert_close(grad, exact, rtol=0.01, atol=0)


def test_normalization_stands_between_convolution_and_relu_and_replaces_the_bias():
    block = STCNN(2, 4, 3, padding=1, pool=False, norm=True, dropout=0.0)
    seen = []
    block.norm.register_forward_hook(lambda module, args, out: seen.append((args[0], out)))
    out = block(torch.randn(2, 2, 3, 8, 8))
    before, after = seen[0]
    assert before.min() < 0 and torch.equal(out, after.clamp(min=0))
    torch.testing.assert_close(after.mean((0, 2, 3, 4)), torch.zeros(4), rtol=0, atol=1e-5)
    assert block.conv.bias is None and STCNN(2, 4, 3).conv.bias is not None


def test_a_size_for_two_axes_is_refused_by_name():
    with pytest.raises(ValueError, match=r"kernel_size=\(3, 3\): expected one number or three"):
        Conv3d(1, 2, (3, 3))
    with pytest.raises(ValueError, match=r"stride=\(2, 2\): expected one number or three"):
        conv3d(torch.zeros(1, 1, 4, 4, 4), torch.zeros(1, 1, 1, 1, 1), stride=(2, 2))
    with pytest.raises(ValueError, match="x is a list, expected a tensor"):
        conv3d([[0.0]], torch.zeros(1, 1, 1, 1, 1))
