"""Checks of notebook 17, scale and ship: one gradient, one convolution, one exported file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from lessons.checks.battery import Case, Exercise


class ValuesFirst(Exercise):
    """The values of all cases before any gradient: the hint of a case with zeros fits its values only."""

    def __call__(self, function: Callable) -> None:
        Exercise(self.reference, self.cases, gradients=False, parts=self.parts)(function)
        super().__call__(function)


def whole_gradient(gradients: Sequence[Tensor], clips: Sequence[int]) -> Tensor:
    """The gradient of the mean loss over all clips, from each process's gradient of its own mean."""
    return sum(gradient * n for gradient, n in zip(gradients, clips, strict=True)) / sum(clips)


def _gradient_cases() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)
    for clips, shape, hint in (
        ([4], (3, 2), "One process that has all the clips: its gradient is the answer."),
        ([3, 3], (2, 5), "Two equal parts: a mean of means is right here, and a sum is not."),
        ([5, 1], (7,), "Every clip must count the same, whichever process it belongs to."),
        ([1, 2, 6], (1, 3, 2), "Each process's mean stands for as many clips as it had."),
        ([4, 0, 3], (3, 1), "A process without a clip sends zeros: it must not pull the mean down."),
        ([0, 2, 1, 5, 0], (2, 2, 1), "A process without a clip must not pull the mean down."),
        ([1, 0, 3, 2, 4], (3, 1, 4), "Every clip must count the same, whichever process it belongs to."),
    ):
        gradients = [torch.randn(*shape, generator=generator, dtype=torch.float64) * (n > 0) for n in clips]
        yield Case((gradients, clips), hint)


def fold(
    weight: Tensor, bias: Tensor, mean: Tensor, variance: Tensor, gamma: Tensor, beta: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """The weight and the bias of one convolution that does what a convolution and a batch norm do."""
    scale = gamma / (variance + eps).sqrt()  # (O,)
    return weight * scale[:, None, None, None, None], (bias - mean) * scale + beta


def _fold_cases() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    def zero(n: int) -> Tensor:
        return torch.zeros(n, dtype=torch.float64)

    def one(n: int) -> Tensor:
        return torch.ones(n, dtype=torch.float64)

    def positive(n: int) -> Tensor:
        return random(n).abs() + 0.2

    # shape of the weight; bias, mean, variance, gamma, beta: how each is made; eps; hint
    for shape, bias, mean, variance, gamma, beta, eps, hint in (
        ((3, 2, 2, 3, 2), zero, zero, one, lambda n: one(n) * 2, zero, 0.0,
         "γ multiplies a whole channel of the output: a whole filter."),
        ((3, 2, 1, 1, 1), zero, zero, one, random, zero, 0.0,
         "Each output channel, the weight's first axis, has its own γ."),
        ((4, 2, 3, 3, 3), zero, zero, positive, one, zero, 0.0,
         "Divide by the standard deviation, the root of the variance."),
        ((2, 4, 1, 3, 2), zero, random, one, one, zero, 0.0, "The mean is subtracted before anything else."),
        ((3, 1, 2, 1, 3), random, zero, one, lambda n: one(n) * 3, zero, 0.0,
         "The old bias is scaled like everything that comes out."),
        ((3, 2, 1, 2, 2), zero, random, one, lambda n: one(n) * 3, zero, 0.0,
         "The mean is subtracted before the scale: it is scaled, too."),
        ((5, 2, 1, 2, 2), zero, zero, one, lambda n: one(n) * 3, random, 0.0,
         "β is added last: it is not scaled."),
        ((3, 2, 2, 3, 2), random, random, positive, random, random, 0.3,
         "Where does ε go? nn.BatchNorm3d adds it to the variance, under the root."),
        ((1, 1, 1, 1, 1), random, random, positive, random, random, 1e-5, "One channel is a case, too."),
    ):  # fmt: skip
        parts = [make(shape[0]) for make in (bias, mean, variance, gamma, beta)]
        yield Case((random(*shape), *parts, eps), hint)


def export_error(model: Callable, exported: Callable, clips: Sequence[Tensor]) -> float:
    """The largest absolute difference of any output over all clips, or infinity where there is no answer."""
    worst = 0.0
    for x in clips:
        expected = model(x)
        try:
            found = exported(x)
        except ValueError:
            return math.inf
        if found.shape != expected.shape or not found.isfinite().all():
            return math.inf
        worst = max(worst, (found - expected).abs().max().item())
    return worst


def _double(x: Tensor) -> Tensor:
    return 2 * x


def _ten_frames(x: Tensor) -> Tensor:
    return 2 * x[:10]


def _fails_on_seven(x: Tensor) -> Tensor:
    if len(x) == 7:
        raise ValueError("7 frames: expected another number")
    return 2 * x


def _not_a_number(x: Tensor) -> Tensor:
    return 2 * x + torch.where(torch.arange(len(x)) == 2, math.nan, 0.0).to(x)[:, None, None]


def _infinite(x: Tensor) -> Tensor:
    return 2 * x - torch.where(torch.arange(len(x)) == 0, math.inf, 0.0).to(x)[:, None, None]


def _below(x: Tensor) -> Tensor:
    return 2 * x - 0.5


def _one_wrong(x: Tensor) -> Tensor:
    return 2 * x + (torch.arange(len(x)) == len(x) - 1).to(x)[:, None, None]


def _grows(x: Tensor) -> Tensor:
    return 2 * x + len(x)


def _first_clip_only(x: Tensor) -> Tensor:
    return 2 * x[:, :1]


def _most_below(x: Tensor) -> Tensor:
    return 2 * x + torch.where(torch.arange(len(x)) == 1, -3.0, 1.0).to(x)[:, None, None]


def _axes_swapped(x: Tensor) -> Tensor:
    return 2 * x.transpose(0, 1)


def _export_cases() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)

    def clips(*shapes: tuple[int, int, int]) -> list[Tensor]:
        return [torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in shapes]

    for exported, given, hint in (
        (_double, clips((4, 1, 2)), "The two are equal here."),
        (_below, clips((5, 2, 1), (1, 1, 3)), "Every output is 0.5 too small: a difference has a sign."),
        (_one_wrong, clips((6, 1, 2), (3, 3, 1)), "Only the last frame is wrong, by 1: a mean hides it."),
        (_grows, clips((4, 1, 2), (9, 2, 1), (2, 1, 1)),
         "The longest clip, in the middle of the list, has the largest error."),
        (_ten_frames, clips((10, 1, 2), (8, 1, 2), (12, 1, 2)),
         "Twelve frames went in, ten outputs came back: compare the shapes."),
        (_first_clip_only, clips((5, 1, 2), (5, 2, 2)),
         "Two clips went in, one came back: compare the shapes, broadcasting hides it."),
        (_most_below, clips((1, 2, 1), (3, 2, 1)),
         "Some outputs are 1 too large and some 3 too small: which is the largest error?"),
        (_axes_swapped, clips((1, 1, 3), (1, 4, 2)),
         "As many outputs as expected, with the axes in another order: compare the whole shape."),
        (_fails_on_seven, clips((4, 1, 1), (7, 1, 1), (5, 2, 1)), "The exported model raised ValueError."),
        (_not_a_number, clips((2, 1, 2), (5, 1, 2), (2, 1, 1)),
         "One output is NaN: no comparison with NaN is true."),
        (_infinite, clips((3, 1, 1)), "An infinite output is as wrong as can be."),
    ):  # fmt: skip
        yield Case((_double, exported, given), hint)


CHECKS: dict[str, Callable[[Callable], None]] = {
    "whole_gradient": Exercise(whole_gradient, _gradient_cases),
    "fold": ValuesFirst(fold, _fold_cases, parts=("weight", "bias")),
    "export_error": Exercise(export_error, _export_cases, gradients=False),
}
