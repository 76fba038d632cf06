"""What learners write by mistake in the exercises of notebook 11 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from lessons.checks import check
from lessons.checks.bottleneck import CHECKS
from tests.checks.exercises import each_wrong_answer, from_notebook


def test_other_right_answers_pass():
    def by_matrices(narrow, around, widen):
        inner = torch.einsum("om,mnij->onij", widen[:, :, 0, 0], around)
        return torch.einsum("onij,nc->ocij", inner, narrow[:, :, 0, 0])

    def by_one_convolution(x, depthwise, pointwise):
        return F.conv2d(x, pointwise * depthwise.transpose(0, 1), padding=depthwise.shape[2] // 2)

    check("11.waist_for_ratio", lambda c, o, ratio: int(root(c, o, ratio)))
    check("11.as_one_convolution", by_matrices)
    check("11.depthwise_separable", by_one_convolution)


# Wrong answers


def waist(fits):
    """The largest waist m (at most 1000) for which ``fits(m, c, o, ratio)``."""
    return lambda c, o, ratio: max((m for m in range(1000) if fits(m, c, o, ratio)), default=0)


def root(c, o, ratio):
    """The waist, not yet whole, that meets the budget exactly."""
    return (math.sqrt((c + o) ** 2 + 36 * 9 * c * o / ratio) - (c + o)) / 18


def work(rule, *, filters=lambda c, o, k, groups: o * (c // groups) * k * k):
    """Multiply-adds with a slip in the size of the output, ``rule(n, k, s, p)``, or in the weights."""

    def function(size, c, o, k, stride=1, padding=0, groups=1):
        height, width = (rule(n, k, stride, padding) for n in size)
        return filters(c, o, k, groups) * height * width

    return function


def size_of(n, k, s, p):
    return (n + 2 * p - k) // s + 1


def one(equation):
    return lambda narrow, around, widen: torch.einsum(
        equation, widen[:, :, 0, 0], around, narrow[:, :, 0, 0]
    ).contiguous()


right_one = one("om,mnij,nc->ocij")


def pair(depthwise_padding=lambda k: k // 2, pointwise_padding=0, change=lambda d, p: (d, p)):
    def function(x, depthwise, pointwise):
        d, p = change(depthwise, pointwise)
        x = F.conv2d(x, d, padding=depthwise_padding(d.shape[2]), groups=x.shape[1])
        return F.conv2d(x, p, padding=pointwise_padding)

    return function


WRONG = {
    "conv_weights": [
        ("k, not k squared", lambda c, o, k, g=1, b=False: o * (c // g) * k + b * o, "which is too few"),
        ("one channel deep", lambda c, o, k, g=1, b=False: o * k * k + b * o, "every channel of the input"),
        ("one filter", lambda c, o, k, g=1, b=False: c * k * k, "There are O filters"),
        ("c for o", lambda c, o, k, g=1, b=False: c * c // g * k * k, "every channel|O filters"),
        ("always a bias", lambda c, o, k, g=1, b=False: o * (c // g * k * k + 1), "too many"),
        ("never a bias", lambda c, o, k, g=1, b=False: o * (c // g) * k * k, "only with bias=True"),
        ("bias for each input", lambda c, o, k, g=1, b=False: o * (c // g) * k * k + b * c, "each output"),
        ("one bias", lambda c, o, k, g=1, b=False: o * (c // g) * k * k + b, "each output channel"),
        ("no groups", lambda c, o, k, g=1, b=False: o * c * k * k + b * o, "less deep"),
        ("groups twice", lambda c, o, k, g=1, b=False: (o // g) * (c // g) * k * k + b * o, "All O"),
        ("bias by group", lambda c, o, k, g=1, b=False: o * (c // g) * k * k + b * o // g, "biases do not"),
        ("times groups", lambda c, o, k, g=1, b=False: o * c * g * k * k + b * o, "less deep"),
        ("a float", lambda c, o, k, g=1, b=False: o * c / g * k * k + b * o, "whole number"),
        ("NaN", lambda c, o, k, g=1, b=False: math.nan, "whole number"),
        ("no return", lambda c, o, k, g=1, b=False: None, "gave None"),
        ("a string", lambda c, o, k, g=1, b=False: "9", "whole number"),
    ],
    "waist_for_ratio": [
        ("must be less", waist(lambda m, c, o, r: r * (c * m + 9 * m * m + m * o) < 9 * c * o),
         "exactly"),
        ("one too many", lambda c, o, r: waist(lambda m, *_: r * (c * m + 9 * m * m + m * o) <= 9 * c * o)(
            c, o, r) + 1, "too wide"),
        ("no 3 x 3", waist(lambda m, c, o, r: r * (c * m + m * o) <= 9 * c * o), "too wide"),
        ("3 x 3 without its kernel", waist(lambda m, c, o, r: r * (c * m + m * m + m * o) <= 9 * c * o),
         "too wide"),
        ("last layer 3 x 3", waist(lambda m, c, o, r: r * (c * m + 9 * m * m + 9 * m * o) <= 9 * c * o),
         "too narrow"),
        ("both ends C", waist(lambda m, c, o, r: r * (2 * c * m + 9 * m * m) <= 9 * c * o),
         "sees C channels"),
        ("both ends O", waist(lambda m, c, o, r: r * (2 * o * m + 9 * m * m) <= 9 * c * o),
         "sees C channels"),
        ("against 1 x 1", waist(lambda m, c, o, r: r * (c * m + 9 * m * m + m * o) <= c * o), "too narrow"),
        ("the formula, rounded", lambda c, o, r: round(root(c, o, r)), "too wide"),
        ("the formula, rounded up", lambda c, o, r: math.ceil(root(c, o, r)), "too wide"),
        ("never below 1", lambda c, o, r: max(1, from_notebook("11", "waist_for_ratio_solution")(c, o, r)),
         "the answer is 0"),
        ("at most C", lambda c, o, r: min(c, from_notebook("11", "waist_for_ratio_solution")(c, o, r)),
         "stay below C"),
        ("channels over ratio", lambda c, o, r: int(c / r), "too"),
        ("whole ratios", lambda c, o, r: from_notebook("11", "waist_for_ratio_solution")(c, o, int(r)),
         "need not be a whole number"),
        ("a float", lambda c, o, r: 61.0, "whole number"),
        ("no return", lambda c, o, r: None, "gave None"),
        ("NaN", lambda c, o, r: math.nan, "whole number"),
    ],
    "multiply_adds": [
        ("places of the input", work(lambda n, k, s, p: n), "OUTPUT map"),
        ("weights only", work(lambda n, k, s, p: 1), "how many places"),
        ("forgets the first place", work(lambda n, k, s, p: (n + 2 * p - k) // s), "how many places"),
        ("pads one end", work(lambda n, k, s, p: (n + p - k) // s + 1), "both ends"),
        ("no padding", work(lambda n, k, s, p: (n - k) // s + 1), "both ends"),
        ("no stride", work(lambda n, k, s, p: size_of(n, k, 1, p)), "rows AND along columns"),
        ("rounds up", work(lambda n, k, s, p: -((k - n - 2 * p) // s) + 1), "round down"),
        ("stride on rows only", lambda size, c, o, k, s=1, p=0, g=1: o * (c // g) * k * k
         * size_of(size[0], k, s, p) * size_of(size[1], k, 1, p), "rows AND along columns"),
        ("square maps", lambda size, c, o, k, s=1, p=0, g=1: o * (c // g) * k * k
         * size_of(size[0], k, s, p) ** 2, "own sizes"),
        ("no groups", work(size_of, filters=lambda c, o, k, g: o * c * k * k), "C / groups"),
        ("groups twice", work(size_of, filters=lambda c, o, k, g: (o // g) * (c // g) * k * k), "C / groups"),
        ("one channel", work(size_of, filters=lambda c, o, k, g: o * k * k), "a filter sees C channels"),
        ("biases as well", work(size_of, filters=lambda c, o, k, g: o * (c // g * k * k + 1)), "too many"),
        ("two operations", work(size_of, filters=lambda c, o, k, g: 2 * o * (c // g) * k * k), "too many"),
        ("a float", work(lambda n, k, s, p: (n + 2 * p - k) / s + 1), "whole number"),
        ("no return", lambda *arguments: None, "gave None"),
        ("NaN", lambda *arguments: math.nan, "whole number"),
    ],
    "as_one_convolution": [
        ("waist swapped", lambda n, a, w: right_one(n, a.transpose(0, 1), w),
         "come into the 3 x 3|which order"),
        ("axes of the kernel swapped", lambda n, a, w: right_one(n, a.transpose(2, 3), w), "which is|kernel"),
        ("flipped", lambda n, a, w: right_one(n, a.flip(2, 3), w), "times two numbers|no flip"),
        ("in and out swapped", lambda n, a, w: right_one(n, a, w).transpose(0, 1), "Like any weight"),
        ("without the 3 x 3", lambda n, a, w: torch.einsum("om,mc->oc", w[:, :, 0, 0], n[:, :, 0, 0])[
            :, :, None, None].expand(-1, -1, *a.shape[2:]), "times two numbers"),
        ("without widening", lambda n, a, w: torch.einsum("mnij,nc->mcij", a, n[:, :, 0, 0]), "times two"),
        ("sums of the waist apart", one("om,pnij,qc->ocij"), "which order"),
        ("the waist's diagonal", one("om,mmij,mc->ocij"), "which order"),
        ("a matrix", lambda n, a, w: w[:, :, 0, 0] @ n[:, :, 0, 0], "has shape"),
        ("as numpy", lambda n, a, w: right_one(n, a, w).detach().numpy(), "expected a tensor"),
        ("detached", lambda n, a, w: right_one(n, a, w).detach(), "no gradient"),
        ("NaN", lambda n, a, w: right_one(n, a, w) * math.nan, "NaN"),
        ("matrix product of four axes", lambda n, a, w: w @ a @ n, "stopped with|has shape|right shape"),
        ("no return", lambda n, a, w: None, "gave None"),
    ],
    "depthwise_separable": [
        ("no padding", pair(depthwise_padding=lambda k: 0), "keeps its size"),
        ("padding of 1", pair(depthwise_padding=lambda k: 1), "keeps its size"),
        ("pads the 1 x 1", pair(pointwise_padding=1), "keeps its size"),
        ("pads the 1 x 1 instead", pair(depthwise_padding=lambda k: 0, pointwise_padding=1), "keeps|filter"),
        ("no groups", lambda x, d, p: F.conv2d(F.conv2d(x, d, padding=d.shape[2] // 2), p), "stopped with"),
        ("one filter for all", pair(change=lambda d, p: (d[:1].expand_as(d), p)), "own number|own filter"),
        ("a ReLU between", lambda x, d, p: F.conv2d(
            F.conv2d(x, d, padding=d.shape[2] // 2, groups=x.shape[1]).relu(), p), "right shape"),
        ("flipped", pair(change=lambda d, p: (d.flip(2, 3), p)), "times one number"),
        ("rows and columns", pair(change=lambda d, p: (d.transpose(2, 3), p)), "times one number"),
        ("all channels mixed alike", pair(change=lambda d, p: (d, p[:, :1].expand_as(p))), "then mixed"),
        ("order of filters", pair(change=lambda d, p: (d.flip(0), p)), "own number"),
        ("depthwise only", lambda x, d, p: F.conv2d(x, d, padding=d.shape[2] // 2, groups=x.shape[1]),
         "times one number"),
        ("first picture only", lambda x, d, p: pair()(x[:1], d, p).expand(len(x), -1, -1, -1),
         "picture of the batch"),
        ("detached", lambda x, d, p: pair()(x, d, p).detach(), "no gradient"),
        ("NaN", lambda x, d, p: pair()(x, d, p) * math.nan, "NaN"),
        ("a list", lambda x, d, p: [1.0], "expected a tensor"),
        ("no return", lambda x, d, p: None, "gave None"),
    ],
}  # fmt: skip


@each_wrong_answer(WRONG)
def test_a_wrong_answer_is_told_where_to_look(exercise, wrong, message):
    with pytest.raises(AssertionError, match=message):
        check(f"11.{exercise}", wrong)


def test_every_exercise_is_tried_with_at_least_eight_wrong_answers():
    assert WRONG.keys() == CHECKS.keys()
    assert all(len(answers) >= 8 for answers in WRONG.values())
