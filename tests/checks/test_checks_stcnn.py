"""What learners write by mistake in the exercises of notebook 02 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F

from lessons.checks import agree, find
from lessons.checks.stcnn import CHECKS
from lessons.layers.conv3d import conv3d_loops, conv3d_matmul
from tests.checks.exercises import answer_tests, from_notebook, sizes_that_never_vary

# ---- the forward pass --------------------------------------------------------------------------------------


def by_offsets(
    x, weight, bias, stride, padding, *, pad_order=(2, 1, 0), update=None, bias_in_loop=False, **fill
):
    """The forward pass with places for slips."""
    p = padding
    x = F.pad(x, [p[axis] for axis in pad_order for _ in range(2)], **fill)
    T, H, W = ((n - k) // s + 1 for n, k, s in zip(x.shape[2:], weight.shape[2:], stride, strict=True))
    y = x.new_zeros(len(x), len(weight), T, H, W)
    b = bias.view(-1, 1, 1, 1)
    for offset in itertools.product(*map(range, weight.shape[2:])):
        at = [slice(o, o + s * (n - 1) + 1, s) for o, s, n in zip(offset, stride, (T, H, W), strict=True)]
        product = torch.einsum("bcthw,oc->bothw", x[:, :, at[0], at[1], at[2]], weight[(..., *offset)])
        y = product if update == "overwrite" else y + product
        y = y + b if bias_in_loop else y
    return y if bias_in_loop else y + b


def slip(change=lambda *arguments: arguments, after=lambda y, bias: y):
    """torch's convolution with a slip in what goes in or comes out."""

    def function(x, weight, bias, stride, padding):
        return after(F.conv3d(*change(x, weight, bias, stride, padding)), bias)

    return function


def pads_in_place(x, weight, bias, stride, padding):
    y = F.conv3d(x, weight, bias, stride, padding)
    x[:, :, 0] = 0
    return y


def bias_changed_in_place(x, weight, bias, stride, padding):
    y = F.conv3d(x, weight, None, stride, padding)
    bias.data.mul_(2)
    return y + bias.view(-1, 1, 1, 1) / 2


def float32_buffer(x, weight, bias, stride, padding):
    y = F.conv3d(x, weight, bias, stride, padding)
    out = torch.zeros(y.shape)
    out[:] = y
    return out


def without_grad(x, weight, bias, stride, padding):
    with torch.no_grad():
        return F.conv3d(x, weight, bias, stride, padding)


def forward_with_data(x, weight, bias, stride, padding):
    return F.conv3d(x, weight.data, bias, stride, padding)


def squeezed(x, weight, bias, stride, padding):
    return F.conv3d(x, weight, bias, stride, padding).squeeze(0)


def stride_before_padding(x, weight, bias, stride, padding):
    """Right only where the padded clip is cut before it is strided: the stride of the width for all."""
    return F.conv3d(x, weight, bias, (stride[0], stride[2], stride[1]), padding)


def swapped_kernel(x, weight, bias, stride, padding):
    return F.conv3d(x, weight.transpose(3, 4), bias, stride, padding)


def for_few(x, weight, bias, stride, padding):
    """Right for batches of up to three clips, with up to three channels."""
    return F.conv3d(x[:3, :3], weight[:, :3], bias, stride, padding)


def for_little_padding(x, weight, bias, stride, padding):
    return F.conv3d(x, weight, bias, stride, tuple(min(p, 3) for p in padding))


def without_last_column(x, weight, *rest):
    kept = weight[..., :-1] if weight.shape[-1] > 1 else weight
    return x, F.pad(kept, (0, weight.shape[-1] - kept.shape[-1])), *rest


FORWARD_WRONG = [
    ("flips the kernel", slip(lambda x, w, *rest: (x, w.flip(2, 3, 4), *rest)), "flipped"),
    ("flips the kernel in time only",
     slip(lambda x, w, *rest: (x, w.flip(2), *rest)), "flipped along time. Deep"),
    ("leaves out the last column", slip(without_last_column), "every offset from 0 to k - 1"),
    ("no bias", slip(lambda x, w, b, s, p: (x, w, None, s, p)), "without the bias"),
    ("bias at every offset", lambda *a: by_offsets(*a, bias_in_loop=True), "more than once"),
    ("bias doubled", slip(after=lambda y, b: y + b.view(-1, 1, 1, 1)), "more than once"),
    ("overwrites", lambda *a: by_offsets(*a, update="overwrite"), "Only the last offset"),
    ("pads in the wrong order", lambda *a: by_offsets(*a, pad_order=(0, 1, 2)), "F.pad counts axes"),
    ("pads height and width swapped", lambda *a: by_offsets(*a, pad_order=(1, 2, 0)), "F.pad counts axes"),
    ("pads with ones", lambda *a: by_offsets(*a, value=1.0), "Zeros go around"),
    ("no padding", slip(lambda x, w, b, s, p: (x, w, b, s, 0)), "Zeros go around|own padding"),
    ("pads one end",
     lambda x, w, b, s, p: F.conv3d(F.pad(x, (0, p[2], 0, p[1], 0, p[0])), w, b, s), "around"),
    ("no stride", slip(lambda x, w, b, s, p: (x, w, b, 1, p)), "own stride"),
    ("one stride for all", slip(lambda x, w, b, s, p: (x, w, b, s[:1] * 3, p)), "own stride"),
    ("strides of height and width swapped", stride_before_padding, "own stride"),
    ("kernel's height and width swapped", swapped_kernel, "own kernel size|kernel"),
    ("the first clip for all", slip(lambda x, *a: (x[:1].expand_as(x), *a)), "output of the first"),
    ("batch of one squeezed", squeezed, "gave shape"),
    ("mean over the kernel", slip(lambda x, w, *a: (x, w / w[0].numel(), *a)), "mean over the kernel"),
    ("mean over the channels", slip(lambda x, w, *a: (x, w / w.shape[1], *a)), "mean over the channels"),
    ("first filter only", slip(lambda x, w, *a: (x, w[:1].expand_as(w), *a)), "Each filter o has its own"),
    ("first channel only", slip(lambda x, w, *a: (x[:, :1].expand_as(x), w, *a)), "sum over c"),
    ("three clips and three channels at most", for_few, "Read every size off"),
    ("four filters at most", slip(after=lambda y, b: y[:, :4]), "Read every size off"),
    ("padding of three at most", for_little_padding, "Read every size off"),
    ("ReLU on top", slip(after=lambda y, b: y.relu()), "of its values are wrong"),
    ("changes x", pads_in_place, "changed x"),
    ("changes bias behind autograd", bias_changed_in_place, "changed bias"),
    ("float32", slip(after=lambda y, b: y.float()), "float32"),
    ("a float32 buffer", float32_buffer, "wrong dtype|float32"),
    ("no gradient", without_grad, "no gradient reaches x"),
    ("weight detached", forward_with_data, "no gradient reaches weight"),
    ("NaN", slip(after=lambda y, b: y * float("nan")), "NaN"),
    ("no return", lambda *a: None, "gave None"),
    ("a list", slip(after=lambda y, b: y.tolist()), "expected a tensor"),
    ("crashes", lambda x, *a: x + "1", "stopped with TypeError"),
]  # fmt: skip


def one_position_at_a_time(x, weight, bias, stride, padding):
    return conv3d_loops(x, weight, bias, stride, padding)


def as_a_matrix_product(x, weight, bias, stride, padding):
    return conv3d_matmul(x, weight, bias, stride, padding)


def windows_and_einsum(x, weight, bias, stride, padding):
    (pt, ph, pw), windows = padding, x
    windows = F.pad(windows, (pw, pw, ph, ph, pt, pt))
    for axis in range(3):
        windows = windows.unfold(axis + 2, weight.shape[axis + 2], stride[axis])
    return torch.einsum("bcthwijk,ocijk->bothw", windows, weight) + bias[:, None, None, None]


def in_place_on_zeros(x, weight, bias, stride, padding):
    pt, ph, pw = padding
    padded = x.new_zeros(*x.shape[:2], *(n + 2 * p for n, p in zip(x.shape[2:], padding, strict=True)))
    padded[:, :, pt : pt + x.shape[2], ph : ph + x.shape[3], pw : pw + x.shape[4]] = x
    sizes = [(n - k) // s + 1 for n, k, s in zip(padded.shape[2:], weight.shape[2:], stride, strict=True)]
    y = torch.zeros(len(x), len(weight), *sizes, dtype=x.dtype)
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            for k in range(weight.shape[4]):
                met = padded[:, :, i :: stride[0], j :: stride[1], k :: stride[2]]
                met = met[:, :, : sizes[0], : sizes[1], : sizes[2]]
                for o in range(len(weight)):
                    y[:, o] += (met * weight[o, :, i, j, k].view(1, -1, 1, 1, 1)).sum(1)
    return y + bias.reshape(1, -1, 1, 1, 1)


def frame_by_frame(x, weight, bias, stride, padding):
    """Image convolutions, added over the frames that a filter covers."""
    x = F.pad(x, (0, 0, 0, 0, padding[0], padding[0]))
    frames = []
    for t in range(0, x.shape[2] - weight.shape[2] + 1, stride[0]):
        parts = (
            F.conv2d(x[:, :, t + i], weight[:, :, i], None, stride[1:], padding[1:])
            for i in range(weight.shape[2])
        )
        frames.append(sum(parts) + bias[None, :, None, None])
    return torch.stack(frames, dim=2)


# ---- the detector ------------------------------------------------------------------------------------------


def drawn(fill):
    """A detector made by ``fill(frame, t, dy, dx)`` on each frame's 3 x 3 weights; t is -1, 0, 1."""

    def function(dy, dx):
        weight = torch.zeros(1, 1, 3, 3, 3)
        for t in (-1, 0, 1):
            fill(weight[0, 0, t + 1], t, dy, dx)
        return weight

    return function


def dot(value=1.0, row=lambda t, dy, dx: t * dy, column=lambda t, dy, dx: t * dx):
    def fill(frame, t, dy, dx):
        frame[1 + row(t, dy, dx), 1 + column(t, dy, dx)] = value

    return drawn(fill)


def bar(frame, t, dy, dx):
    if dx:
        frame[:, 1 + t * dx] = 1.0
    else:
        frame[1 + t * dy] = 1.0


def bar_with_surround(frame, t, dy, dx):
    frame.fill_(-0.5)
    bar(frame, t, dy, dx)


def from_solution(change):
    solution = dot()
    return lambda dy, dx: change(solution(dy, dx))


def blurred_dot(dy, dx):
    grid = torch.arange(3) - 1.0
    distance = [(grid[:, None] - t * dy) ** 2 + (grid - t * dx) ** 2 for t in (-1, 0, 1)]
    return torch.exp(-torch.stack(distance))[None, None]


def from_a_corner(dy, dx):
    """Starts at (0, 0), so that a negative step counts from the end."""
    weight = torch.zeros(1, 1, 3, 3, 3)
    for t in range(3):
        weight[0, 0, t, t * dy, t * dx] = 1.0
    return weight


def refilled():
    weight = torch.zeros(1, 1, 3, 3, 3)

    def function(dy, dx):
        return weight.copy_(dot()(dy, dx))

    return function


DETECTOR_WRONG = [
    ("always to the right", lambda dy, dx: dot()(0, 1), "opposite direction"),
    ("flipped as in mathematics", lambda dy, dx: dot()(-dy, -dx), "opposite direction"),
    ("rows and columns swapped", lambda dy, dx: dot()(dx, dy), "Rows and columns"),
    ("rows upside down", lambda dy, dx: dot()(-dy, dx), "row 0 is at the top"),
    ("at rest", lambda dy, dx: dot()(0, 0), "stands still|match what stands|at least 1.5"),
    ("a bar", drawn(bar), "aperture problem"),
    ("a bar with surround", drawn(bar_with_surround), "aperture problem"),
    ("all ones", drawn(lambda frame, t, dy, dx: frame.fill_(1.0)), "stands still|at least 1.5"),
    ("all zeros", drawn(lambda *a: None), "all of its weights zero"),
    ("middle frame only",
     from_solution(lambda w: w * torch.tensor([0.0, 1, 0]).view(3, 1, 1)), "at least 1.5"),
    ("two frames only", from_solution(lambda w: w * torch.tensor([0.0, 1, 1]).view(3, 1, 1)), "at least 1.5"),
    ("difference in time",
     from_solution(lambda w: w * torch.tensor([-1.0, 0, 1]).view(3, 1, 1)), "at least 1.5"),
    ("a difference in time along the path",
     from_solution(lambda w: w * torch.tensor([-1.0, 1, -1]).view(3, 1, 1)), "different signs cancel"),
    ("the opposite direction subtracted",
     lambda dy, dx: dot()(dy, dx) - dot()(-dy, -dx), "alike to opposite directions"),
    ("a blurred dot", blurred_dot, "not by enough.*A wide shape"),
    ("starts in a corner", from_a_corner, "Where is the moving point in each"),
    ("one tensor for all calls", refilled(), "changed the weights that"),
    ("clamped at the border", dot(row=lambda t, dy, dx: max(t * dy, 0)), "at least 1.5|opposite"),
    ("time and width swapped", from_solution(lambda w: w.transpose(2, 4)), "at least 1.5"),
    ("without batch axes", from_solution(lambda w: w[0, 0]), "out, in, time"),
    ("integers", from_solution(lambda w: w.long()), "floating-point"),
    ("NaN", from_solution(lambda w: w * float("nan")), "NaN"),
    ("a list", from_solution(lambda w: w.tolist()), "expected a tensor"),
    ("no return", lambda dy, dx: None, "gave None"),
    ("crashes on the diagonal",
     lambda dy, dx: {(0, 1): dot()(0, 1), (0, -1): dot()(0, -1)}[dy, dx], "KeyError"),
]  # fmt: skip


def by_indices(dy, dx):
    weight, t = torch.zeros(3, 3, 3), torch.arange(3)
    weight[t, 1 + (t - 1) * dy, 1 + (t - 1) * dx] = 1 / 3
    return weight[None, None]


def with_a_dark_rest(dy, dx):
    return dot()(dy, dx) - 1 / 9


def by_rolling(dy, dx):
    frame = torch.zeros(3, 3, dtype=torch.float64)
    frame[1, 1] = 2.0
    return torch.stack([frame.roll((t * dy, t * dx), dims=(0, 1)) for t in (-1, 0, 1)]).reshape(1, 1, 3, 3, 3)


def as_a_parameter(dy, dx):
    return torch.nn.Parameter(dot()(dy, dx))


# ---- the backward pass -------------------------------------------------------------------------------------


def right_backward(x, weight, grad_output, stride):
    return CHECKS["conv3d_backward"].reference(x, weight, grad_output, stride)


def backward(change_x=lambda g, *a: g, change_weight=lambda g, *a: g):
    """The right gradients, with a slip in one of them."""

    def function(x, weight, grad_output, stride):
        grad_x, grad_weight = right_backward(x, weight, grad_output, stride)
        arguments = (x, weight, grad_output)
        return change_x(grad_x, *arguments), change_weight(grad_weight, *arguments)

    return function


def with_other(change):
    return lambda x, w, g, s: right_backward(*change(x, w, g, s))


def no_stride(x, weight, grad_output, stride):
    """Takes neighbors where the stride skips some."""
    T, H, W = grad_output.shape[2:]
    x = x[:, :, : T + weight.shape[2] - 1, : H + weight.shape[3] - 1, : W + weight.shape[4] - 1]
    return right_backward(x, weight, grad_output, (1, 1, 1))


def strides_swapped_if_square(x, weight, grad_output, stride):
    if x.shape[3] == x.shape[4]:
        stride = (stride[0], stride[2], stride[1])
        return right_backward(x, weight, grad_output.transpose(3, 4), stride)
    return right_backward(x, weight, grad_output, stride)


def overwrites_x(x, weight, grad_output, stride):
    grad_x = torch.zeros_like(x)
    for offset in itertools.product(*map(range, weight.shape[2:])):
        zipped = zip(offset, stride, grad_output.shape[2:], strict=True)
        at = (..., *(slice(o, o + s * (n - 1) + 1, s) for o, s, n in zipped))
        grad_x[at] = torch.einsum("bothw,oc->bcthw", grad_output, weight[(..., *offset)])
    return grad_x, right_backward(x, weight, grad_output, stride)[1]


def changes_weight(x, weight, grad_output, stride):
    result = right_backward(x, weight, grad_output, stride)
    weight.zero_()
    return result


def changes_grad_output(x, weight, grad_output, stride):
    result = right_backward(x, weight, grad_output, stride)
    grad_output *= 2
    return result


def nan_where_unreached(x, weight, grad_output, stride):
    grad_x, grad_weight = right_backward(x, weight, grad_output, stride)
    return torch.where(grad_x == 0, float("nan"), grad_x), grad_weight


BACKWARD_WRONG = [
    ("the order swapped", lambda *a: right_backward(*a)[::-1], "grad_x gave shape"),
    ("only the weight's", lambda *a: right_backward(*a)[1], "expected a list or tuple"),
    ("three values", lambda *a: (*right_backward(*a), a[2]), "gave 3 values"),
    ("weight's gradient flipped", backward(change_weight=lambda g, *a: g.flip(2, 3, 4)), "flipped"),
    ("x's with a flipped kernel", lambda x, w, g, s: (
        right_backward(x, w.flip(2, 3, 4), g, s)[0], right_backward(x, w, g, s)[1]), "flipped"),
    ("mean over the batch", backward(change_weight=lambda g, x, *a: g / len(x)), "mean over the batch"),
    ("mean over positions",
     backward(change_weight=lambda g, x, w, d: g / d[0, 0].numel()), "over the positions"),
    ("first clip only", with_other(lambda x, w, g, s: (x, w, torch.cat([g[:1], 0 * g[1:]]), s)), "over b"),
    ("x's gradient summed over b", backward(lambda g, *a: g.sum(0, keepdim=True).expand_as(g)), "not x's"),
    ("all filters alike", with_other(lambda x, w, g, s: (x, w, g[:, :1].expand_as(g), s)), "own grad_output"),
    ("all channels alike",
     with_other(lambda x, w, g, s: (x[:, :1].expand_as(x), w, g, s)), "one input channel"),
    ("grad_output ignored", with_other(lambda x, w, g, s: (x, w, torch.ones_like(g), s)), "are wrong"),
    ("overwrites x's gradient", overwrites_x, "which inputs did it multiply"),
    ("no stride", no_stride, "gave shape|With a stride"),
    ("strides swapped in square frames", strides_swapped_if_square, "its own stride"),
    ("time and height swapped", backward(change_weight=lambda g, *a: g.transpose(2, 3)), "gave shape"),
    ("axes o and c swapped", backward(change_weight=lambda g, *a: g.transpose(0, 1)), "gave shape"),
    ("NaN where nothing reached", nan_where_unreached, "NaN.*gradient 0"),
    ("changes weight", changes_weight, "changed weight"),
    ("changes grad_output", changes_grad_output, "changed grad_output"),
    ("float32", lambda *a: tuple(g.float() for g in right_backward(*a)), "float32"),
    ("no return", lambda *a: None, "gave None"),
    ("a batch of one squeezed", backward(lambda g, *a: g.squeeze(0)), "gave shape"),
]  # fmt: skip


def by_torch_nn_grad(x, weight, grad_output, stride):
    return (
        torch.nn.grad.conv3d_input(x.shape, weight, grad_output, stride),
        torch.nn.grad.conv3d_weight(x, weight.shape, grad_output, stride),
    )


def a_list(x, weight, grad_output, stride):
    return list(right_backward(x, weight, grad_output, stride))


def by_autograd_of_unfold(x, weight, grad_output, stride):
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    y = windows_and_einsum(x, weight, torch.zeros(len(weight), dtype=x.dtype), stride, (0, 0, 0))
    y.backward(grad_output)
    return x.grad, weight.grad


def by_positions(x, weight, grad_output, stride):
    grad_x, grad_weight = torch.zeros_like(x), torch.zeros_like(weight)
    for at in itertools.product(*map(range, grad_output.shape[2:])):
        zipped = zip(at, stride, weight.shape[2:], strict=True)
        window = (..., *(slice(a * s, a * s + k) for a, s, k in zipped))
        delta = grad_output[(..., *at)]
        grad_x[window] += torch.einsum("bo,ocijk->bcijk", delta, weight)
        grad_weight += torch.einsum("bo,bcijk->ocijk", delta, x[window])
    return grad_x, grad_weight


WRONG = {
    "conv3d_forward": FORWARD_WRONG,
    "motion_detector": DETECTOR_WRONG,
    "conv3d_backward": BACKWARD_WRONG,
}
RIGHT = {
    "conv3d_forward": [
        slip(), one_position_at_a_time, as_a_matrix_product,
        windows_and_einsum, in_place_on_zeros, frame_by_frame,
    ],
    "motion_detector": [dot(), dot(-2.0), by_indices, with_a_dark_rest, by_rolling, as_a_parameter],
    "conv3d_backward": [right_backward, by_torch_nn_grad, a_list, by_autograd_of_unfold, by_positions],
}  # fmt: skip


TestAnswers = answer_tests("02", WRONG, RIGHT)


@pytest.mark.parametrize("exercise", ["conv3d_forward", "conv3d_backward"])
def test_every_size_varies(exercise):
    assert sizes_that_never_vary(CHECKS[exercise]) == []


def test_the_shown_detector_leaves_a_margin_in_every_direction_and_for_other_textures():
    detector = from_notebook("02", "motion_detector_solution")
    steps = list(itertools.product((-1, 0, 1), repeat=2))
    for seed in range(3):
        texture = torch.randn(40, 40, generator=torch.Generator().manual_seed(100 + seed))
        clips = torch.stack(
            [torch.stack([texture.roll((t * dy, t * dx), (0, 1)) for t in range(6)]) for dy, dx in steps]
        )
        for i, step in enumerate(steps):
            if step == (0, 0):
                continue
            responses = F.conv3d(clips[:, None], detector(*step)).relu().mean((1, 2, 3, 4))
            others = torch.cat([responses[:i], responses[i + 1 :]])
            assert responses[i] > 1.55 * others.max()


@pytest.mark.parametrize("name", ["99.conv3d_forward", "02.nothing", "conv3d_forward"])
def test_an_unknown_check_is_an_error(name):
    with pytest.raises(ValueError, match="expected"):
        find(name)


def test_agree_prints_once_it_has_looked(capsys):
    agree("same", torch.ones(2, 3), torch.ones(2, 3) + 1e-12)
    assert capsys.readouterr().out.startswith("same: equal, shape (2, 3)")


@pytest.mark.parametrize(
    ("ours", "message"),
    [
        (torch.ones(3, 2), "expected \\(2, 3\\)"),
        (torch.ones(2, 3) + 1e-3, "100% of its values are wrong"),
        (torch.full((2, 3), float("nan")), "NaN"),
    ],
)
def test_agree_refuses_what_differs(ours, message):
    with pytest.raises(AssertionError, match=message):
        agree("name", ours, torch.ones(2, 3))
