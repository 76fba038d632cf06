"""Checks of notebook 02, STCNN. What is right is computed by torch, not by a copy of the solution."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.checks.battery import Case, Exercise, by_properties
from lessons.checks.tools import call, expect_tensor

Size3 = tuple[int, int, int]

# ---- Exercise 1: the forward pass --------------------------------------------------------------------------


def conv3d_forward(x: Tensor, weight: Tensor, bias: Tensor, stride: Size3, padding: Size3) -> Tensor:
    return F.conv3d(x, weight, bias, stride, padding)


def _forward_cases() -> Iterator[Case]:
    one, none = (1, 1, 1), (0, 0, 0)
    shape = "Work out (T', H', W') on paper, one axis at a time."
    pads = "Each axis has its own padding, on both of its ends. F.pad counts axes from the last."
    sizes = "Each axis has its own kernel size, and every offset from 0 to k - 1 adds one product."
    strides = "Each axis has its own stride: how far apart are the inputs that one weight multiplies?"
    listed = [  # (B, C, T, H, W), (O, kt, kh, kw), stride, padding: simple to mixed, so one idea fails first
        ((1, 1, 4, 5, 6), (1, 1, 1, 1), one, none, "A kernel of one weight: y = weight * x + bias."),
        ((1, 1, 4, 5, 6), (1, 2, 3, 2), one, none, f"{sizes} {shape}"),
        ((1, 1, 4, 5, 6), (1, 4, 5, 6), one, none, "The kernel is as large as the clip: one output value."),
        ((1, 3, 3, 5, 4), (1, 2, 2, 3), one, none, "Each input channel has its own weights: sum over c."),
        ((1, 2, 4, 4, 5), (3, 3, 2, 2), one, none, "Each filter o has its own weights and its own bias."),
        ((3, 2, 4, 5, 4), (2, 2, 3, 2), one, none, "Each clip of the batch gives its own output."),
        ((2, 1, 5, 7, 8), (2, 2, 3, 3), (2, 2, 2), none, f"{strides} {shape}"),
        ((1, 2, 6, 7, 9), (2, 1, 3, 2), (3, 1, 2), none, f"{strides} {shape}"),
        ((2, 2, 5, 6, 7), (1, 1, 1, 2), (2, 3, 4), none, f"The stride may exceed the kernel. {strides}"),
        ((1, 1, 3, 4, 5), (2, 3, 3, 3), one, one, f"Zeros go around the clip. {pads}"),
        ((2, 1, 3, 4, 5), (1, 2, 2, 2), one, (0, 1, 2), pads),
        ((1, 2, 4, 3, 3), (2, 2, 2, 3), one, (2, 0, 1), pads),
        ((1, 1, 1, 1, 1), (1, 3, 3, 3), one, one, pads),
        (
            (2, 3, 5, 8, 9),
            (4, 3, 5, 5),
            (1, 2, 2),
            (1, 2, 2),
            "All at once: stride counts in the padded clip.",
        ),
        (
            (1, 2, 7, 6, 8),
            (3, 2, 4, 3),
            (2, 1, 3),
            (1, 2, 0),
            "All at once: stride counts in the padded clip.",
        ),
        (
            (2, 1, 4, 9, 5),
            (1, 3, 2, 5),
            (3, 2, 1),
            (0, 3, 1),
            "All at once: stride counts in the padded clip.",
        ),
        ((4, 6, 3, 5, 5), (7, 2, 2, 6), (1, 5, 1), (4, 4, 4), f"Read every size off the arguments. {shape}"),
    ]
    generator = torch.Generator().manual_seed(0)
    for (b, c, *size), (o, *kernel), stride, padding, hint in listed:
        shapes = (b, c, *size), (o, c, *kernel), (o,)
        tensors = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in shapes)
        yield Case((*tensors, stride, padding), hint)


def _diagnose_forward(found: object, expected: Tensor, case: Case) -> str | None:
    x, weight, bias, stride, padding = case.arguments
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        return None
    found = found.detach().double()
    per_filter = bias.view(-1, 1, 1, 1)

    def is_like(other: Tensor) -> bool:
        return other.shape == found.shape and torch.allclose(found, other, rtol=0, atol=1e-4)

    if is_like(expected - per_filter):
        return "It is the sum of the products without the bias."
    extra = (found - expected) / per_filter
    if extra.std(correction=0) < 1e-4 and extra.mean().round().item() >= 1:
        return "The bias is added more than once. Does it stand inside the loop over the offsets?"
    for axes in ((2, 3, 4), (2,), (3,), (4,), (2, 3), (2, 4), (3, 4)):
        if is_like(F.conv3d(x, weight.flip(axes), bias, stride, padding)):
            return (
                "The kernel is flipped along "
                f"{' and '.join({2: 'time', 3: 'height', 4: 'width'}[axis] for axis in axes)}. Deep learning "
                "does not flip it: offset i multiplies the input at t + i."
            )
    last = torch.zeros_like(weight)
    last[..., -1, -1, -1] = weight[..., -1, -1, -1]
    if is_like(F.conv3d(x, last, bias, stride, padding)):
        return (
            "Only the last offset is left. Are the products added up, or does each overwrite the one before?"
        )
    if is_like(F.conv3d(x[:1], weight, bias, stride, padding).expand_as(expected)):
        return "Every clip has the output of the first one."
    for reduced, scale in (("kernel", weight[0].numel()), ("channels", x.shape[1])):
        if scale > 1 and is_like((expected - per_filter) / scale + per_filter):
            return f"It is a mean over the {reduced}, where the equation has a sum."
    return None


# ---- Exercise 2: a detector of motion ----------------------------------------------------------------------

STEPS = [
    (dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)
]  # rows and columns per frame; (0, 0) stands still
TIMES_STRONGER = 1.5


@cache
def _textures() -> Tensor:
    """Random textures under each of STEPS, (9 * 3, 1, T, H, W); three textures per step."""
    generator = torch.Generator().manual_seed(0)
    textures = [torch.randn(40, 40, generator=generator, dtype=torch.float64) for _ in range(3)]
    clips = [
        torch.stack([texture.roll((t * dy, t * dx), dims=(0, 1)) for t in range(6)])
        for dy, dx in STEPS
        for texture in textures
    ]
    return torch.stack(clips)[:, None]


def _described(step: tuple[int, int]) -> str:
    return "a texture that stands still" if step == (0, 0) else f"motion by {step}"


def _where_to_look(wanted: tuple[int, int], right: float, others: dict[tuple[int, int], float]) -> str:
    """Where to look if ``right``, the response to the motion that is wanted, does not exceed the others."""
    dy, dx = wanted
    strongest = max(others, key=others.get)
    if right < 0.8 * min(others.values()):
        return (
            "It responds less to this motion than to any other: along the path of the moving point, weights "
            "of different signs cancel each other."
        )
    if strongest == (-dy, -dx) and 0.9 * others[strongest] < right:
        return (
            "It responds alike to opposite directions: a texture is bright and dark, so a negative weight "
            "along the opposite path is matched as well as a positive one."
        )
    if right > others[strongest]:
        return (
            "It prefers the right direction, but not by enough. Where is the moving point in each of the "
            "three frames? A wide shape also matches next to its place, and a shape that is long in one "
            "direction hardly changes when it moves along itself (the aperture problem)."
        )
    if strongest == (0, 0):
        return "Three frames that look at the same pixels match what stands still. Where is a point in each?"
    if strongest == (-dy, -dx) and dx == 0:
        return "That is the opposite direction. Remember that row 0 is at the top, so dy > 0 moves down."
    if strongest == (-dy, -dx):
        return (
            "That is the opposite direction. Where is the moving point in the first frame, where in the last?"
        )
    if strongest in ((dx, dy), (-dx, -dy)):
        return "Rows and columns: dy moves along the axis of height, dx along that of width, the last one."
    if strongest in ((-dy, dx), (dy, -dx)):
        return "One of the two axes runs the other way: row 0 is at the top, and dy > 0 moves down."
    return (
        "A shape that is long in one direction hardly changes when it moves along itself (the aperture "
        "problem). Which shape is matched in its own place only?"
    )


def motion_detector(function: Callable) -> None:
    """function(dy, dx) -> weight (1, 1, 3, 3, 3) that responds most to motion by (dy, dx)."""
    earlier: list[tuple[str, Tensor, Tensor]] = []
    for dy, dx in [(0, 1), (0, -1), (1, 0), (-1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1)]:
        name = f"motion_detector({dy}, {dx})"
        found = call(function, dy, dx)
        hint = "Its axes are (out, in, time, height, width)."
        weight = expect_tensor(found, (1, 1, 3, 3, 3), name, hint)
        if not weight.is_floating_point():
            raise AssertionError(f"{name} is a tensor of {weight.dtype}, expected floating-point numbers")
        with torch.no_grad():
            y = F.relu(F.conv3d(_textures(), weight.detach().double()))  # (27, 1, T - 2, H - 2, W - 2)
        responses = dict(zip(STEPS, y.flatten(1).mean(1).view(len(STEPS), 3).mean(1).tolist(), strict=True))
        right = responses.pop((dy, dx))
        if not max(right, *responses.values()) > 1e-12:
            raise AssertionError(f"{name}: no response to any motion. Are all of its weights zero?")
        strongest = max(responses, key=responses.get)
        if right < TIMES_STRONGER * responses[strongest]:
            raise AssertionError(
                f"{name}: the mean response to {_described((dy, dx))} is {right:.3g}, to "
                f"{_described(strongest)} {responses[strongest]:.3g}. The first must be at least "
                f"{TIMES_STRONGER} times the second. {_where_to_look((dy, dx), right, responses)}"
            )
        for name_before, before, copy in earlier:
            if not torch.equal(before, copy):
                raise AssertionError(
                    f"{name} changed the weights that {name_before} had returned. Make a new tensor per call."
                )
        earlier.append((name, weight.detach(), weight.detach().clone()))


# ---- Exercise 3: the backward pass -------------------------------------------------------------------------


def conv3d_backward(x: Tensor, weight: Tensor, grad_output: Tensor, stride: Size3) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
        y = F.conv3d(x, weight, stride=stride)
    return torch.autograd.grad(y, (x, weight), grad_output.detach())


def _backward_cases() -> Iterator[Case]:
    one = (1, 1, 1)
    listed = [  # (B, C, T, H, W), (O, kt, kh, kw), stride, where to look
        ((1, 1, 4, 5, 6), (1, 1, 1, 1), one, "A kernel of one weight: y = weight * x."),
        ((1, 1, 4, 5, 6), (1, 2, 3, 2), one, "For each offset of the kernel: which inputs did it multiply?"),
        ((1, 1, 2, 3, 4), (1, 2, 3, 4), one, "One output value: what did each weight multiply?"),
        ((1, 1, 5, 4, 5), (3, 3, 2, 3), one, "Each filter o has its own grad_output[:, o]."),
        ((1, 3, 4, 5, 4), (1, 3, 2, 2), one, "Each weight belongs to one input channel c."),
        (
            (3, 2, 3, 6, 5),
            (2, 2, 4, 3),
            one,
            "All clips share the weights: sum their gradient over b, not x's.",
        ),
        ((2, 1, 5, 7, 9), (2, 3, 3, 3), (2, 2, 2), "With a stride: which inputs did this weight multiply?"),
        ((1, 2, 7, 6, 8), (2, 2, 3, 2), (1, 2, 3), "Inputs that no window reached have gradient 0."),
        (
            (2, 3, 6, 8, 5),
            (1, 1, 2, 1),
            (2, 3, 2),
            "The stride may exceed the kernel: such inputs have gradient 0.",
        ),
        (
            (4, 5, 3, 6, 6),
            (6, 2, 3, 3),
            (1, 1, 3),
            "Each axis has its own stride, in square frames, too.",
        ),
    ]
    generator = torch.Generator().manual_seed(1)
    for (b, c, *size), (o, *kernel), stride, hint in listed:
        out = ((n - k) // s + 1 for n, k, s in zip(size, kernel, stride, strict=True))
        shapes = (b, c, *size), (o, c, *kernel), (b, o, *out)
        tensors = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in shapes)
        yield Case((*tensors, stride), hint)


def _diagnose_backward(found: object, expected: tuple[Tensor, Tensor], case: Case) -> str | None:
    if not isinstance(found, list | tuple) or len(found) != 2:
        return None
    if not all(isinstance(f, Tensor) and f.shape == e.shape for f, e in zip(found, expected, strict=True)):
        return None
    x, weight, grad_output, stride = case.arguments
    grad_x, grad_weight = (part.detach().double() for part in found)

    def alike(a: Tensor, b: Tensor) -> bool:
        return torch.allclose(a, b, rtol=0, atol=1e-4)

    batch = len(x)
    mirrored = conv3d_backward(x, weight.flip(2, 3, 4), grad_output, stride)[0]
    flipped = alike(grad_weight, expected[1].flip(2, 3, 4)) or alike(grad_x, mirrored)
    if flipped and weight[0, 0].numel() > 1:  # a kernel of one weight has no order
        return "A kernel is flipped somewhere: the offset that you read and the one that you write differ."
    if batch > 1 and alike(grad_weight * batch, expected[1]):
        return "The gradient of the weight is a mean over the batch, where it is a sum."
    values = math.prod(grad_output.shape[2:])
    if values > 1 and alike(grad_weight * values, expected[1]):
        return "The gradient of the weight is a mean over the positions, where it is a sum."
    return None


CHECKS: dict[str, Callable[[Callable], None]] = {
    "conv3d_forward": Exercise(conv3d_forward, _forward_cases, diagnose=_diagnose_forward),
    "motion_detector": by_properties(motion_detector),
    "conv3d_backward": Exercise(
        conv3d_backward,
        _backward_cases,
        gradients=False,  # the result is a gradient; nothing differentiates it again
        diagnose=_diagnose_backward,
        parts=("grad_x", "grad_weight"),
    ),
}
