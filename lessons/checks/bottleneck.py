"""Checks of notebook 11, the bottleneck. What is right is read off torch's own layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lessons.checks.battery import Case, Exercise


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


# ---- the cost of a convolution -----------------------------------------------------------------------------


def conv_cost(
    size: tuple[int, int],
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    padding: int = 0,
    groups: int = 1,
    bias: bool = False,
) -> tuple[int, int]:
    """size (H, W), C, O, k, … -> weights and multiply-adds for one image, from a layer on meta."""
    layer = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=bias, device="meta"
    )
    positions = layer(torch.empty(1, in_channels, *size, device="meta")).shape[2:].numel()
    return sum(p.numel() for p in layer.parameters()), positions * layer.weight.numel()


OPTIONS = {"stride": 1, "padding": 0, "groups": 1, "bias": False}


class ByKeyword(Exercise):
    """Options that are not at their default are passed by keyword, the others are left out."""

    def __call__(self, function: Callable) -> None:
        @wraps(function)
        def by_keyword(size: tuple[int, int], c: int, o: int, k: int, *options: Any) -> Any:
            given = dict(zip(OPTIONS, options, strict=False))
            return function(size, c, o, k, **{n: v for n, v in given.items() if v != OPTIONS[n]})

        super().__call__(by_keyword)


def _cost_cases() -> Iterator[Case]:
    many = "What does each of the O filters look at, and at how many output positions is it used?"
    without = "Without padding the kernel does not fit everywhere: count the positions of the OUTPUT map."
    strides = "A stride reduces the number of positions along the rows AND along the columns."
    rounding = "The last step may not fit: round down before you add the first position."
    for arguments, hint in (
        (((1, 1), 1, 1, 1), "One weight, used once. (Integers: divide by //, not by /.)"),
        (((5, 7), 1, 1, 1), "One weight, used at every position of an H x W map."),
        (((6, 4), 5, 3, 1), many),
        (((5, 7), 1, 1, 3), without),
        (((8, 11), 2, 3, 3), without),
        (((5, 9), 2, 3, 3, 1, 1), "Padding is added at both ends of each axis."),
        (((9, 12), 2, 5, 1, 2), f"{strides} Round down before you add the first position."),
        (((9, 13), 2, 3, 3, 2), f"{strides} There is no padding here."),
        (((8, 12), 3, 5, 3, 2), f"{rounding} There is no padding here."),
        (((10, 14), 1, 2, 2, 3), f"{rounding} There is no padding here."),
        (((8, 6), 2, 3, 3, 2, 1), rounding),
        (((11, 6), 4, 6, 3, 1, 1, 2), "With groups a filter sees C / groups channels. All O filters remain."),
        (((6, 9), 6, 12, 3, 1, 0, 3), "With groups a filter sees C / groups channels. All O filters remain."),
        (((7, 8), 4, 4, 3, 1, 1, 4), "Depthwise: each filter sees one channel, and there are O of them."),
        (((6, 5), 3, 4, 3, 1, 0, 1, True), "A bias is one more number per filter. It is no multiply-add."),
        (((9, 7), 6, 12, 3, 2, 1, 6, True), "A bias is one per output channel, whatever the groups."),
        (((13, 17), 4, 8, 5, 3, 2, 4), "Take the size of the output one axis at a time."),
        (((3, 3), 2, 2, 3), "The kernel fits exactly once here."),
        (((224, 160), 3, 64, 7, 2, 3), many),
    ):
        yield Case(arguments, hint)


def _options(case: Case) -> tuple[tuple[int, int], int, int, int, dict[str, int]]:
    """size, C, O, k and the options, those that are not given at their default."""
    size, c, o, k, *given = case.arguments
    return size, c, o, k, {**OPTIONS, **dict(zip(OPTIONS, given, strict=False))}


def _weight_slips(case: Case) -> dict[str, set[int]]:
    """Message -> the numbers of weights that this mistake gives."""
    _, c, o, k, options = _options(case)
    g, bias = options["groups"], options["bias"]
    kernels = o * (c // g) * k * k
    slips = {
        "A kernel has k rows and k columns.": {o * (c // g) * k + bias * o},
        "A filter sees every channel of the input (of its group).": {o * k * k + bias * o},
        "There are O filters.": {c // g * k * k, c // g * k * k + bias, c * c // g * k * k + bias * o},
        "With groups a filter sees fewer channels: its own group's.": {o * c * k * k + bias * o},
        "Groups make filters see fewer channels, but all O filters remain.": {
            kernels // g + bias * o, kernels // g + bias * (o // g),
        },
    }  # fmt: skip
    if not bias:
        return slips | {"There is a bias only with bias=True.": {kernels + o}}
    return slips | {
        "With bias=True there is one more number per filter.": {kernels},
        "There is one bias per OUTPUT channel.": {kernels + c},
        "There is one bias per output channel, not one in all.": {kernels + 1},
        "The number of biases does not depend on the groups.": {kernels + o // g},
    }


def _work_slips(case: Case) -> dict[str, set[int]]:
    """Message -> the numbers of multiply-adds that this mistake gives."""
    size, c, o, k, options = _options(case)
    s, p, g, bias = options.values()
    kernels = o * (c // g) * k * k

    def side(n: int, s: int = s, p: int = 2 * p) -> int:
        return (n + p - k) // s + 1

    def work(rule: Callable[[int], int]) -> int:
        return kernels * rule(size[0]) * rule(size[1])

    return {
        "Weights are stored once and used once per output position: how many positions are there?": {
            kernels, kernels + bias * o,
        },
        "Those are the positions of the input. Count those of the output.": {work(lambda n: n)},
        "The first position is missing: its step is of length 0.": {work(lambda n: side(n) - 1)},
        "Padding is added at both ends of each axis.": {
            work(lambda n: side(n, p=p)), work(lambda n: side(n, p=0)),
        },
        "The stride does not count yet.": {work(lambda n: side(n, s=1))},
        "The stride counts along both axes.": {
            kernels * side(size[0]) * side(size[1], s=1), kernels * side(size[0], s=1) * side(size[1]),
        },
        "The last step may not fit: round down before you add the first position.": {
            work(lambda n: -((k - n - 2 * p) // s) + 1),
        },
        "The two axes have their own sizes.": {kernels * side(n) ** 2 for n in size},
        "Adding a bias is no multiplication: leave the biases out of the multiply-adds.": {
            (kernels + bias * o) * side(size[0]) * side(size[1]),
        },
        "Those are FLOPs, two per multiply-add.": {2 * work(side)},
        "With groups a filter sees fewer channels, in the multiply-adds as well.": {g * work(side)},
        "All O filters are used, whatever the groups.": {work(side) // g},
    }  # fmt: skip


def _cost_diagnose(found: Any, expected: tuple[int, int], case: Case) -> str | None:
    """The one known mistake that gives these two numbers; None if several do, or none."""
    try:
        weights, work = (int(value) for value in found)
    except (TypeError, ValueError):
        return None
    if (weights, work) == expected[::-1]:
        return "The two numbers are swapped: weights first, then multiply-adds."
    if weights != expected[0]:
        value, slips = weights, _weight_slips(case)
    else:
        value, slips = work, _work_slips(case)
    matching = [message for message, values in slips.items() if value in values]
    return matching[0] if len(matching) == 1 else None


# ---- three linear layers as one convolution ----------------------------------------------------------------


def as_one_convolution(narrow: Tensor, spatial: Tensor, widen: Tensor) -> Tensor:
    """narrow (m, C, 1, 1), spatial (m, m, kh, kw), widen (O, m, 1, 1) -> one weight (O, C, kh, kw).

    Measured as an impulse response: a single 1 goes into each channel.
    """
    c, (kh, kw) = narrow.shape[1], spatial.shape[2:]
    impulses = F.pad(torch.eye(c, dtype=narrow.dtype)[:, :, None, None], (kw - 1, kw - 1, kh - 1, kh - 1))
    answers = F.conv2d(F.conv2d(F.conv2d(impulses, narrow), spatial), widen)  # (C, O, kh, kw)
    return answers.flip(2, 3).transpose(0, 1)


def _one_cases() -> Iterator[Case]:
    g = torch.Generator().manual_seed(0)
    place = "At each position of the kernel it is a product of three matrices."
    for c, m, o, kh, kw, scale, hint in (
        (1, 1, 1, 3, 3, 1.0, "With one channel everywhere it is the kernel times two numbers."),
        (3, 1, 2, 1, 1, 1.0, "With a bottleneck of one channel: what takes channel c to channel o?"),
        (3, 2, 4, 1, 1, 1.0, "With 1 x 1 everywhere it is a product of three matrices. In which order?"),
        (3, 2, 4, 3, 3, 1.0, f"{place} Sum over the channels that enter the 3 x 3 and those that leave."),
        (2, 4, 3, 2, 5, 1.0, "The kernel is not square here: its rows and columns stay where they are."),
        (5, 3, 5, 5, 3, 1.0, "The kernel stays as it is: no flip, no swap of its rows and columns."),
        (4, 4, 4, 3, 3, 1.0, "All channel counts are equal here: which index belongs to which tensor?"),
        (1, 6, 1, 3, 1, 1.0, "One channel in and out, six in between: sum over all paths through them."),
        (3, 3, 2, 3, 3, 1e3, f"The weights are large here. {place}"),
    ):  # fmt: skip
        shapes = ((m, c, 1, 1), (m, m, kh, kw), (o, m, 1, 1))
        yield Case(tuple(_normal(*shape, generator=g) * scale for shape in shapes), hint)


def _one_diagnose(found: Any, expected: Tensor, case: Case) -> str | None:
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        return None
    narrow, spatial, widen = (t.detach() for t in case.arguments)
    n, w = narrow[:, :, 0, 0], widen[:, :, 0, 0]

    def product(equation: str, kernel: Tensor = spatial) -> Tensor | None:
        try:
            return torch.einsum(equation, w, kernel, n)
        except RuntimeError:
            return None

    flip = spatial.flip(2, 3)
    wrong = {
        "The spatial weight is transposed: its first axis is what comes OUT of it.": product(
            "oq,pqij,pc->ocij"
        ),
        "The kernel is flipped. What deep learning calls convolution does not flip.": product(
            "oq,qpij,pc->ocij", flip
        ),
        "Rows and columns of the kernel are swapped.": product("oq,qpij,pc->ocij", spatial.transpose(2, 3)),
        "Each output channel of the 3 x 3 mixes ALL channels of the bottleneck, not only its own.": product(
            "op,ppij,pc->ocij"
        ),
        "The sums over the bottleneck's channels must run through the same index in both factors.": product(
            "oq,abij,pc->ocij"
        ),
    }
    value = found.detach().double()
    for message, tensor in wrong.items():
        if tensor is None or tensor.shape != value.shape or torch.allclose(tensor, expected.detach()):
            continue
        if torch.allclose(value, tensor, rtol=1e-4, atol=1e-6):
            return message
    return None


# ---- the depthwise-separable convolution -------------------------------------------------------------------


def depthwise_separable(x: Tensor, depthwise: Tensor, pointwise: Tensor) -> Tensor:
    """x (B, C, H, W), depthwise (C, 1, kh, kw), pointwise (O, C, 1, 1) -> (B, O, H, W).

    As one ordinary convolution, whose filters are products of the two weights.
    """
    kh, kw = depthwise.shape[2:]
    whole = pointwise * depthwise[:, 0]  # (O, C, 1, 1) * (C, kh, kw) -> (O, C, kh, kw)
    return F.conv2d(x, whole, padding=(kh // 2, kw // 2))


def _separable_cases() -> Iterator[Case]:
    g = torch.Generator().manual_seed(0)
    for b, c, o, h, w, kh, kw, scale, hint in (
        (1, 1, 1, 4, 5, 3, 3, 1.0, "One channel: a filter, then times one number. The map keeps its size."),
        (1, 3, 3, 4, 5, 1, 1, 1.0, "Kernels of 1: each channel times its own number, then mixed."),
        (1, 4, 4, 5, 6, 3, 3, 1.0, "First each channel with its own filter, then all channels mixed."),
        (2, 3, 5, 5, 6, 3, 3, 1.0, "Every image of the batch, every output channel: which one is wrong?"),
        (3, 4, 2, 6, 7, 5, 5, 1.0, "The padding depends on the size of the kernel; a 1 x 1 needs none."),
        (2, 5, 1, 7, 4, 3, 5, 1.0, "The kernel is not square: rows and columns need their own padding."),
        (1, 2, 6, 8, 3, 7, 1, 1.0, "The kernel is not square: rows and columns need their own padding."),
        (2, 2, 3, 1, 1, 3, 3, 1.0, "A map of one pixel: the rest of the kernel falls on the padding."),
        (2, 3, 4, 5, 3, 3, 3, 1e3, "The numbers are large here. There is nothing between the two layers."),
    ):  # fmt: skip
        shapes = ((b, c, h, w), (c, 1, kh, kw), (o, c, 1, 1))
        yield Case(tuple(_normal(*shape, generator=g) * scale for shape in shapes), hint)


def _separable_diagnose(found: Any, expected: Tensor, case: Case) -> str | None:
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        return None
    x, d, p = (t.detach() for t in case.arguments)
    kh, kw = d.shape[2:]

    def around(filters: Tensor) -> Tensor:
        return F.conv2d(x, filters, padding=(kh // 2, kw // 2), groups=x.shape[1])

    wrong = {
        "There is a nonlinearity between the two layers: leave it out.": lambda: F.conv2d(
            around(d).relu(), p
        ),
        "There is a nonlinearity at the end: leave it out.": lambda: F.conv2d(around(d), p).relu(),
        "The depthwise filters are flipped.": lambda: F.conv2d(around(d.flip(2, 3)), p),
        "All channels were filtered by the first filter. Each has its own.": lambda: F.conv2d(
            around(d[:1].expand_as(d)), p
        ),
        "The pointwise layer is missing.": lambda: around(d),
        "The depthwise layer is missing.": lambda: F.conv2d(x, p),
    }
    for message, make in wrong.items():
        try:
            tensor = make()
        except RuntimeError:
            continue
        if tensor.shape != expected.shape or torch.allclose(tensor, expected.detach()):
            continue
        if torch.allclose(found.detach().double(), tensor, rtol=1e-4, atol=1e-6):
            return message
    return None


CHECKS: dict[str, Callable[[Callable], None]] = {
    "conv_cost": ByKeyword(
        conv_cost,
        _cost_cases,
        gradients=False,
        diagnose=_cost_diagnose,
        parts=("weights", "multiply-adds"),
    ),
    "as_one_convolution": Exercise(as_one_convolution, _one_cases, diagnose=_one_diagnose),
    "depthwise_separable": Exercise(depthwise_separable, _separable_cases, diagnose=_separable_diagnose),
}
