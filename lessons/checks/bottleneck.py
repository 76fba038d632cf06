"""Checks of notebook 11, the bottleneck. What is right is read off torch's layers, or tried one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lessons.checks.tools import call, expect_close, expect_tensor, expect_whole

INTEGER_DIVISION = "Use // instead of /."


def _compare(found: Any, expected: int, where: str, hint: str) -> None:
    found = expect_whole(found, where, INTEGER_DIVISION)
    if found != expected:
        size = "many" if found > expected else "few"
        raise AssertionError(f"{where} gave {found:,}, which is too {size}. {hint}")


def conv_weights(function: Callable) -> None:
    """function(in_channels, out_channels, kernel_size, groups, bias) -> parameters of the layer."""
    many = "What does each of the O filters look at?"
    cases = [
        ((1, 1, 3, 1, False), "Draw the kernel: k rows and k columns."),
        ((5, 1, 1, 1, False), "A filter looks at every channel of the input."),
        ((1, 4, 1, 1, False), "There are O filters."),
        ((5, 4, 3, 1, False), many),
        ((5, 4, 3, 1, True), "A bias is one number for each output channel, and only with bias=True."),
        ((6, 4, 3, 2, False), "With groups a filter is less deep: it sees its own part of the input. All O "
         "filters are still there."),
        ((6, 6, 5, 6, False), "As many groups as channels: each filter is one channel deep."),
        ((6, 12, 3, 6, True), "Groups make filters less deep; the biases do not change."),
        ((256, 64, 1, 1, False), many),
    ]  # fmt: skip
    for (c, o, k, groups, bias), hint in cases:
        where = f"conv_weights({c}, {o}, {k}, groups={groups}, bias={bias})"
        found = call(function, c, o, k, groups, bias)
        layer = nn.Conv2d(c, o, k, groups=groups, bias=bias, device="meta")
        _compare(found, sum(p.numel() for p in layer.parameters()), where, hint)


def _largest_waist(c: int, o: int, ratio: float) -> int:
    """By building one bottleneck after the other, without numbers in them, and counting."""

    def weights(*layers: tuple[int, int, int]) -> int:
        return sum(nn.Conv2d(*layer, bias=False, device="meta").weight.numel() for layer in layers)

    waist, budget = 0, weights((c, o, 3))
    while ratio * weights((c, waist + 1, 1), (waist + 1, waist + 1, 3), (waist + 1, o, 1)) <= budget:
        waist += 1
    return waist


def waist_for_ratio(function: Callable) -> None:
    """function(in_channels, out_channels, ratio) -> the largest waist within 1 / ratio of the weights."""
    cases = [
        (256, 256, 9, "Put your waist into C m + 9 m² + m O and compare with 9 C O / r; then try one more."),
        (256, 256, 1, "At r = 1 the bottleneck may have as many weights as the 3 x 3, and no more."),
        (9, 9, 27, "At most: a waist that meets the budget exactly is allowed."),
        (90, 90, 27, "At most: a waist that meets the budget exactly is allowed."),
        (64, 256, 4, "The first 1 x 1 sees C channels, the last one makes O."),
        (256, 32, 4, "The first 1 x 1 sees C channels, the last one makes O."),
        (8, 8, 100, "If even a waist of 1 is too dear, the answer is 0."),
        (3, 200, 1, "Nothing says that the waist must stay below C."),
        (100, 100, 2.5, "The ratio need not be a whole number."),
    ]  # fmt: skip
    for c, o, ratio, hint in cases:
        where = f"waist_for_ratio({c}, {o}, {ratio})"
        found = expect_whole(call(function, c, o, ratio), where, INTEGER_DIVISION)
        expected = _largest_waist(c, o, ratio)
        if found != expected:
            size = "wide" if found > expected else "narrow"
            raise AssertionError(f"{where} gave {found}, which is too {size}. {hint}")


def multiply_adds(function: Callable) -> None:
    """function(size, in_channels, out_channels, kernel_size, stride, padding, groups) -> multiply-adds."""
    cases = [
        ((5, 5), 1, 1, 1, 1, 0, 1, "One weight, used at every place: how many places are there?"),
        ((5, 7), 2, 3, 1, 1, 0, 1, "Rows and columns have their own sizes; a filter sees C channels."),
        ((5, 7), 1, 1, 3, 1, 0, 1, "Without padding a kernel of 3 does not fit everywhere: count the places "
         "of the OUTPUT map."),
        ((5, 7), 1, 1, 3, 1, 1, 1, "Padding is added at both ends of each axis."),
        ((9, 7), 2, 3, 3, 2, 1, 1, "A stride divides the places along rows AND along columns."),
        ((8, 6), 2, 3, 3, 2, 1, 1, "The last step may not fit: round down before you add the first place."),
        ((6, 8), 4, 6, 3, 1, 1, 2, "With groups a filter sees C / groups channels."),
        ((6, 8), 4, 4, 3, 1, 1, 4, "Depthwise: one channel deep, and O filters as before."),
        ((13, 17), 4, 8, 5, 3, 2, 4, "Take the sizes of the output one axis at a time."),
    ]  # fmt: skip
    for (h, w), c, o, k, stride, padding, groups, hint in cases:
        where = (
            f"multiply_adds(({h}, {w}), {c}, {o}, {k}, stride={stride}, padding={padding}, groups={groups})"
        )
        found = call(function, (h, w), c, o, k, stride, padding, groups)
        layer = nn.Conv2d(c, o, k, stride, padding, groups=groups, device="meta")
        places = layer(torch.empty(1, c, h, w, device="meta")).shape[2:].numel()
        _compare(found, places * layer.weight.numel(), where, hint)


def _random(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _impulse_response(narrow: Tensor, around: Tensor, widen: Tensor) -> Tensor:
    """The weight (O, C, k, k) of the three layers together, measured: a single 1 into each channel."""
    c, k = narrow.shape[1], around.shape[2]
    impulses = F.pad(torch.eye(c, dtype=narrow.dtype)[:, :, None, None], (k - 1,) * 4)  # (C, C, 2k-1, 2k-1)
    answers = F.conv2d(F.conv2d(F.conv2d(impulses, narrow), around), widen)  # (C, O, k, k)
    return answers.flip(2, 3).transpose(0, 1)


def as_one_convolution(function: Callable) -> None:
    """function(narrow, around, widen) -> the weight of one convolution that does what the three do."""
    cases = [  # C, m, O, k
        (1, 1, 1, 3, "With one channel everywhere it is the kernel times two numbers."),
        (3, 1, 2, 1, "With a waist of 1: what goes from channel c to channel o?"),
        (3, 2, 4, 1, "With 1 x 1 everywhere it is a product of three matrices. In which order?"),
        (3, 2, 4, 3, "At each place of the kernel it is a product of three matrices: sum over the channels "
         "that come into the 3 x 3, and over those that leave it."),
        (5, 3, 5, 5, "The kernel stays as it is: no flip, no swap of its rows and columns."),
    ]  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    for c, m, o, k, hint in cases:
        weights = [
            _random(shape, generator).requires_grad_() for shape in ((m, c, 1, 1), (m, m, k, k), (o, m, 1, 1))
        ]
        expected = _impulse_response(*weights).detach()
        name = f"as_one_convolution for C={c}, m={m}, O={o}, k={k}"
        found = call(function, *weights)
        found = expect_tensor(found, (o, c, k, k), name, "Like any weight: (O, C, k, k).")
        expect_close(found, expected, name, hint, tolerance=1e-10)
        if not found.requires_grad:
            raise AssertionError(f"{name}: no gradient flows back to the three weights. Stay within torch.")


def _pair(x: Tensor, depthwise: Tensor, pointwise: Tensor) -> Tensor:
    """The pair as one whole convolution, whose filters are products of the two weights."""
    whole = pointwise * depthwise[:, 0]  # (O, C, 1, 1) * (C, k, k) -> (O, C, k, k)
    return F.conv2d(x, whole, padding=depthwise.shape[2] // 2)


def depthwise_separable(function: Callable) -> None:
    """function(x, depthwise, pointwise) -> (B, O, H, W)."""
    size = "The map keeps its size: how much padding does a kernel of k need, and a kernel of 1?"
    cases = [  # B, C, O, H, W, k
        (1, 1, 1, 4, 5, 3, "One channel: a filter, then times one number."),
        (1, 3, 3, 4, 5, 1, "Kernels of 1: each channel times its own number, then mixed."),
        (1, 4, 4, 5, 6, 3, "First each channel with its own filter, then all channels mixed."),
        (2, 3, 5, 5, 6, 3, "Every picture of the batch, every output channel: which one is wrong?"),
        (2, 4, 2, 6, 7, 5, "The padding must follow from the size of the kernel."),
    ]
    generator = torch.Generator().manual_seed(0)
    for b, c, o, h, w, k, hint in cases:
        arguments = [
            _random(shape, generator).requires_grad_() for shape in ((b, c, h, w), (c, 1, k, k), (o, c, 1, 1))
        ]
        name = f"depthwise_separable for x {(b, c, h, w)}, {o} channels out, k={k}"
        found = expect_tensor(call(function, *arguments), (b, o, h, w), name, size)
        expected = _pair(*arguments)
        expect_close(found, expected.detach(), name, hint, tolerance=1e-10)
        if not found.requires_grad:
            raise AssertionError(f"{name}: no gradient flows back through it. Stay within torch.")


CHECKS: dict[str, Callable[[Callable], None]] = {
    "conv_weights": conv_weights,
    "waist_for_ratio": waist_for_ratio,
    "multiply_adds": multiply_adds,
    "as_one_convolution": as_one_convolution,
    "depthwise_separable": depthwise_separable,
}
