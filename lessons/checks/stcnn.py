"""Checks of notebook 02, STCNN. What is right is computed by torch, not by a copy of the solution."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.checks.tools import call, expect_close, expect_tensor, expect_whole

Size3 = tuple[int, int, int]


def _torch_shape(size: Size3, kernel: Size3, stride: Size3, padding: Size3) -> Size3:
    """What torch gives; on the meta device nothing is computed but shapes."""
    x, weight = torch.empty(1, 1, *size, device="meta"), torch.empty(1, 1, *kernel, device="meta")
    return tuple(F.conv3d(x, weight, stride=stride, padding=padding).shape[2:])


def output_shape(function: Callable) -> None:
    """function(size, kernel, stride, padding) -> (T', H', W'), each argument (time, height, width)."""
    one, none = (1, 1, 1), (0, 0, 0)
    cases = [  # from simple to mixed, so that the first failure points at one idea
        ((5, 5, 5), (3, 3, 3), one, none, "Slide a kernel of 3 along 5 frames on paper: how many places?"),
        ((5, 6, 7), (1, 2, 3), one, none, "Each axis has its own kernel size: (time, height, width)."),
        ((5, 5, 5), (3, 3, 3), one, one, "Padding is added on both ends of an axis."),
        ((7, 7, 7), (3, 3, 3), (2, 2, 2), none, "The stride divides the places after the first one."),
        ((8, 8, 8), (3, 3, 3), (2, 2, 2), none, "The last step may not fit: does your division round down?"),
    ]
    rng = random.Random(0)
    for _ in range(50):
        size = tuple(rng.randint(5, 40) for _ in range(3))
        kernel, stride, padding = (tuple(rng.randint(a, 4) for _ in range(3)) for a in (1, 1, 0))
        cases.append(
            (size, kernel, stride, padding, "Try the axes one at a time: what is the first wrong one?")
        )
    for *arguments, hint in cases:
        found = call(function, *arguments)
        where = "output_shape(size={}, kernel={}, stride={}, padding={})".format(*arguments)
        if not isinstance(found, tuple | list) or len(found) != 3:
            raise AssertionError(f"{where} gave {found!r}, expected three numbers (T', H', W')")
        if any(isinstance(n, float) for n in found):
            raise AssertionError(f"{where} gave {found!r}: sizes are whole numbers. Use // in place of /.")
        expected = _torch_shape(*arguments)
        wrong = [axis for axis, a, b in zip("THW", found, expected, strict=True) if a != b]
        if wrong:
            raise AssertionError(f"{where} gave {tuple(found)}: wrong along {', '.join(wrong)}. {hint}")


def _measured_field(layers: list[tuple[int, int]]) -> int:
    """Receptive field by experiment: the span of inputs that the gradient of one output reaches."""
    size = 1
    for kernel, stride in reversed(layers):  # the smallest input that yields one output
        size = (size - 1) * stride + kernel
    x = torch.zeros(1, 1, size, requires_grad=True)
    y = x
    for kernel, stride in layers:
        y = F.conv1d(y, torch.ones(1, 1, kernel), stride=stride)
    y.sum().backward()
    reached = x.grad[0, 0].nonzero()
    return int(reached.max() - reached.min()) + 1


def receptive_field(function: Callable) -> None:
    """function(layers) -> number of inputs that one output sees; layers is [(kernel, stride), …]."""
    cases = [
        ([(3, 1)], "One layer sees as many inputs as its kernel is long."),
        ([(3, 1), (3, 1)], "Two layers of 3: draw which inputs the three middle values see; they overlap."),
        ([(3, 1), (5, 2)], "A layer's own stride spreads the layers after it, not its own kernel."),
        ([(5, 2), (3, 1)], "After a stride, neighbors in the next layer lie `stride` inputs apart."),
        ([(3, 2), (3, 2), (3, 2)], "Strides multiply from layer to layer."),
        ([(5, 2), (2, 2), (5, 1), (2, 2), (3, 1), (2, 2)], "A pooling layer counts like any other."),
        ([(1, 1), (1, 3), (2, 1)], "A kernel of 1 adds nothing, but its stride still counts."),
    ]
    for layers, hint in cases:
        found = expect_whole(call(function, list(layers)), f"receptive_field({layers})")
        if found != _measured_field(layers):
            raise AssertionError(f"receptive_field({layers}) gave {found}, which is wrong. {hint}")


def weight_gradient(function: Callable) -> None:
    """function(x, grad_output) -> gradient of the weight, for stride 1 and no padding."""
    cases = [  # (B, C, T, H, W), (O, kt, kh, kw), what a failure here points at
        ((1, 1, 4, 5, 6), (1, 2, 3, 2), "For each place in the kernel: which inputs did it multiply?"),
        ((1, 1, 5, 5, 5), (3, 3, 3, 3), "Each filter o has its own grad_output[:, o]."),
        ((1, 2, 4, 5, 6), (3, 2, 3, 2), "Each weight belongs to one input channel c."),
        ((3, 2, 4, 6, 5), (2, 3, 2, 4), "The weights are shared by all clips of the batch: sum over b."),
    ]
    generator = torch.Generator().manual_seed(0)
    for (b, c, *size), (o, *kernel), hint in cases:
        x = torch.randn(b, c, *size, generator=generator, dtype=torch.float64)
        weight = torch.randn(o, c, *kernel, generator=generator, dtype=torch.float64, requires_grad=True)
        y = F.conv3d(x, weight)
        grad_output = torch.randn(y.shape, generator=generator, dtype=torch.float64)
        (expected,) = torch.autograd.grad(y, weight, grad_output)
        found = call(function, x, grad_output)
        name = f"weight_gradient for x {tuple(x.shape)} and grad_output {tuple(y.shape)}"
        found = expect_tensor(
            found,
            expected.shape,
            name,
            "It must look like the weight: (O, C, kt, kh, kw), with kt = T - T' + 1.",
        )
        expect_close(found, expected, name, hint, tolerance=1e-9)


def moving_texture(step: tuple[int, int], frames: int = 6, size: int = 48) -> Tensor:
    """A random texture that moves by ``step`` = (rows, columns) from frame to frame, as (1, 1, T, H, W)."""
    texture = torch.randn(size, size, generator=torch.Generator().manual_seed(0))
    film = [torch.roll(texture, (t * step[0], t * step[1]), dims=(0, 1)) for t in range(frames)]
    return torch.stack(film)[None, None]


def right_detector(function: Callable) -> None:
    """function() -> weight (1, 1, 3, 3, 3) that answers motion to the right more than any other."""
    weight = call(function)
    weight = expect_tensor(
        weight, (1, 1, 3, 3, 3), "The weight", "Its axes are (out, in, time, height, width)."
    ).float()

    def answer(step: tuple[int, int]) -> float:
        return F.relu(F.conv3d(moving_texture(step), weight)).mean().item()

    right = answer((0, 1))
    if right < 1e-6:
        raise AssertionError(
            "The kernel gives nothing at all on a film that moves to the right. Is it all zeros?"
        )
    hints = {
        (0, 0): ("that stands still", "A texture that stands still must not line up with your weights."),
        (0, -1): (
            "to the left",
            "In which column should the first frame be looked at, and in which the last?",
        ),
        (1, 0): ("downwards", "Rows and columns: the last axis of the weight is the width."),
        (-1, 0): ("upwards", "Rows and columns: the last axis of the weight is the width."),
    }
    for step, (name, hint) in hints.items():
        other = answer(step)
        if right < 1.3 * other:
            raise AssertionError(
                f"Mean answer to a film that moves to the right: {right:.3g}; to one {name}: {other:.3g}. "
                f"The first must be at least 1.3 times the second. {hint}"
            )


CHECKS: dict[str, Callable[[Callable], None]] = {
    "output_shape": output_shape,
    "receptive_field": receptive_field,
    "weight_gradient": weight_gradient,
    "right_detector": right_detector,
}
