"""What learners write by mistake in the exercises of notebook 14 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from lessons.checks import check
from lessons.checks.video_detection import CHECKS


def test_other_right_answers_pass():
    def tensor_iou(a, b):
        a, b = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
        both = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0).prod()
        union = (a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both
        return both / union.clamp(min=1e-9)

    def padded_peaks(heat):
        wide = F.pad(heat, (1, 1, 1, 1), value=-math.inf)
        return heat >= wide.unfold(1, 3, 1).unfold(2, 3, 1).flatten(3).amax(-1)

    def hull_first(right, n_true):
        if not right:
            return 0
        hits = torch.tensor(right).double().cumsum(0)
        hull = (hits / torch.arange(1, len(right) + 1)).flip(0).cummax(0).values.flip(0)
        return (hull * torch.tensor(right)).sum() / n_true

    def as_tensor(box, stride):
        x0, y0, x1, y1 = (torch.tensor(box, dtype=torch.float64) / stride).tolist()
        y, x = (y0 + y1) / 2, (x0 + x1) / 2
        return [int(y), int(x), y % 1, x % 1, math.log(y1 - y0), math.log(x1 - x0)]

    check("14.iou", tensor_iou)
    check("14.peaks", padded_peaks)
    check("14.average_precision", hull_first)
    check("14.center_target", as_tensor)
    check("14.flicker", lambda found: found.int().diff(dim=1).abs().sum() / max(found[:, 1:].numel(), 1))


# Wrong answers


def overlap(plus=0, clamp=max, union="both", corners=lambda box: box, pick=(max, max, min, min), empty=0.0):
    """IoU with a slip."""

    def function(a, b):
        a, b = corners(a), corners(b)
        left, top, right, bottom = (choose(x, y) for choose, x, y in zip(pick, a, b, strict=True))
        both = clamp(0, right - left + plus) * clamp(0, bottom - top + plus)
        areas = [(box[2] - box[0] + plus) * (box[3] - box[1] + plus) for box in (a, b)]
        whole = {"both": sum(areas) - both, "sum": sum(areas), "smaller": min(areas), "first": areas[0]}[
            union
        ]
        return both / whole if whole else empty

    return function


def enclosed(a, b):
    """The smallest box around both in place of their union."""
    union = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return overlap(union="first")(a, b) * (a[2] - a[0]) * (a[3] - a[1]) / union if union else 0.0


def keep(low, value):
    return value


def negative_twice(a, b):
    """The product is cut off at 0, not each side."""
    both = max(0, (min(a[2], b[2]) - max(a[0], b[0])) * (min(a[3], b[3]) - max(a[1], b[1])))
    whole = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - both
    return both / whole if whole else 0.0


def numbers(change):
    """The right six numbers, changed."""

    def function(box, stride):
        x0, y0, x1, y1 = (v / stride for v in box)
        return change(x0, y0, x1, y1, stride)

    return function


def six(row, column, y, x, high, wide):
    return row, column, y, x, high, wide


def centered(x0, y0, x1, y1, whole=math.floor):
    y, x = (y0 + y1) / 2, (x0 + x1) / 2
    return whole(y), whole(x), y - whole(y), x - whole(x)


def by_pool(kernel=3, padding=1, strict=False, pad_zero=False, dims=(0,)):
    def function(heat):
        if pad_zero:
            highest = F.max_pool2d(F.pad(heat, (1, 1, 1, 1)), 3, stride=1)
        else:
            highest = F.max_pool2d(heat, kernel, stride=1, padding=padding)
        return heat > highest if strict else heat == highest

    return function


def cross(heat):
    """Four neighbors in place of eight."""
    rows = F.max_pool2d(heat, (3, 1), stride=1, padding=(1, 0))
    columns = F.max_pool2d(heat, (1, 3), stride=1, padding=(0, 1))
    return heat == torch.maximum(rows, columns)


def rolled(heat):
    shifts = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return heat == torch.stack([heat.roll(s, (1, 2)) for s in shifts]).amax(0)


def strictly(heat):
    wide = F.pad(heat, (1, 1, 1, 1), value=-math.inf).unfold(1, 3, 1).unfold(2, 3, 1).flatten(3)
    others = torch.cat([wide[..., :4], wide[..., 5:]], -1)
    return heat > others.amax(-1)


def saw(right, n_true):
    """(precision, recall) after each box."""
    hits = [sum(right[: n + 1]) for n in range(len(right))]
    return [h / (n + 1) for n, h in enumerate(hits)], [h / n_true for h in hits]


def area(hull=None, n=None, empty=0.0):
    """The area with a slip: another hull, another number of true boxes."""

    def function(right, n_true):
        if not right:
            return empty
        n_true = n(right, n_true) if n else n_true
        precision, recall = saw(right, n_true)
        top = (hull or right_hull)(precision)
        steps = [b - a for a, b in zip([0.0, *recall], recall, strict=False)]
        return sum(s * p for s, p in zip(steps, top, strict=True))

    return function


def right_hull(precision):
    return [max(precision[n:]) for n in range(len(precision))]


def left_hull(precision):
    return [max(precision[: n + 1]) for n in range(len(precision))]


def trapezoid(right, n_true):
    if not right:
        return 0.0
    precision, recall = saw(right, n_true)
    points = list(zip([0.0, *recall], [1.0, *precision], strict=True))
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points))


def eleven_points(right, n_true):
    precision, recall = saw(right, n_true) if right else ([], [])
    levels = [k / 10 for k in range(11)]
    return (
        sum(max((p for p, r in zip(precision, recall, strict=True) if r >= v), default=0) for v in levels)
        / 11
    )


def changed(found):
    return found[:, 1:] != found[:, :-1]


WRONG = [
    ("iou", overlap(plus=1), "too large", "with nothing added"),
    ("iou", overlap(clamp=keep), "too small", "not less than 0"),
    ("iou", overlap(clamp=lambda low, value: abs(value)), "too large", "not less than 0"),
    ("iou", negative_twice, "too large", "must not make an area"),
    ("iou", overlap(union="sum"), "too small", "A box with itself"),
    ("iou", overlap(union="smaller"), "too large", "both cover once"),
    ("iou", overlap(union="first"), "too large", "both cover once"),
    ("iou", overlap(corners=lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])), "too large", "corner"),
    ("iou", overlap(pick=(min, min, max, max)), "too large", "both cover once"),
    ("iou", overlap(pick=(max, max, max, max)), "too large", ""),
    ("iou", overlap(empty=1.0), "too large", "without area"),
    ("iou", lambda a, b: overlap()(a, b) if a != b or a[0] != a[2] else 0 / 0, "ZeroDivisionError", ""),
    ("iou", lambda a, b: overlap()(tuple(map(round, a)), tuple(map(round, b))), "whole", "round nothing"),
    ("iou", lambda a, b: overlap()(a, b) > 0.5, "bool", "expected a number"),
    ("iou", lambda a, b: math.nan, "nan", "0 by 0"),
    ("iou", lambda a, b: None, "None", "return"),
    ("iou", lambda a, b: "1.0", "str", "expected a number"),
    ("center_target", numbers(lambda x0, y0, x1, y1, s: six(*centered(y0, x0, y1, x1), math.log(y1 - y0),
     math.log(x1 - x0))), "row", "from the top"),
    ("center_target", numbers(lambda x0, y0, x1, y1, s: six(math.floor(y0), math.floor(x0), y0 % 1, x0 % 1,
     math.log(y1 - y0), math.log(x1 - x0))), "y of", "center lies"),
    ("center_target", numbers(lambda x0, y0, x1, y1, s: six(*centered(x0, y0, x1, y1, round),
     math.log(y1 - y0), math.log(x1 - x0))), "row", "round down"),
    ("center_target", numbers(lambda x0, y0, x1, y1, s: six(*centered(x0, y0, x1, y1), y1 - y0, x1 - x0)),
     "log height", "logarithm"),
    ("center_target", numbers(lambda x0, y0, x1, y1, s: six(*centered(x0, y0, x1, y1),
     math.log(s * (y1 - y0)),
     math.log(s * (x1 - x0)))), "log height", "in cells, not in pixels"),
    ("center_target", numbers(lambda x0, y0, x1, y1, s: six(*centered(x0, y0, x1, y1), math.log(x1 - x0),
     math.log(y1 - y0))), "log height", "y1 - y0"),
    ("center_target", numbers(lambda x0, y0, x1, y1, s: six(*centered(x0, y0, x1, y1), math.log2(y1 - y0),
     math.log2(x1 - x0))), "log height", "natural"),
    ("center_target", numbers(lambda x0, y0, x1, y1, s: six(*centered(x0, y0, x1, y1)[:2],
     *(s * v for v in centered(x0, y0, x1, y1)[2:]), math.log(y1 - y0), math.log(x1 - x0))), "y of",
     "in cells, not in pixels"),
    ("center_target", numbers(lambda x0, y0, x1, y1, s: six(*centered(x0, y0, x1, y1)[:2],
     *(v - 0.5 for v in centered(x0, y0, x1, y1)[2:]), math.log(y1 - y0), math.log(x1 - x0))), "y of",
     "0 (top) to 1"),
    ("center_target", lambda box, stride: numbers(lambda x0, y0, x1, y1, s: six(*centered(x0, y0, x1, y1),
     math.log(y1 - y0), math.log(x1 - x0)))(box, 8), "row", ", 16)"),
    ("center_target", lambda box, stride: (1, 1, 0.5, 0.5), "six numbers", "log width"),
    ("center_target", lambda box, stride: 3, "six numbers", ""),
    ("center_target", lambda box, stride: (None,) * 6, "NoneType", "expected a number"),
    ("center_target", lambda box, stride: (math.nan,) * 6, "nan", "row"),
    ("peaks", cross, "is called a peak", "eight neighbors"),
    ("peaks", rolled, "is called no peak", "other border"),
    ("peaks", strictly, "is called no peak", "equally high"),
    ("peaks", by_pool(pad_zero=True), "is called no peak", "below zero"),
    ("peaks", by_pool(strict=True), "is called no peak", ""),
    ("peaks", by_pool(kernel=5, padding=2), "is called no peak", "two places away"),
    ("peaks", by_pool(padding=0), "RuntimeError", ""),
    ("peaks", lambda heat: heat == heat.amax((1, 2), keepdim=True), "is called no peak", "whole map"),
    ("peaks", lambda heat: by_pool()(heat) & (heat > 0.3), "is called no peak", ""),
    ("peaks", lambda heat: by_pool()(heat.amax(0, keepdim=True)).expand(heat.shape), "", "class"),
    ("peaks", lambda heat: by_pool()(heat)[0], "has shape", "each cell of each class"),
    ("peaks", lambda heat: by_pool()(heat).float(), "float32", "torch.bool"),
    ("peaks", lambda heat: heat * by_pool()(heat), "float32", "torch.bool"),
    ("peaks", lambda heat: heat == F.max_pool2d(heat, (1, 3), 1, (0, 1)), "is called a peak", ""),
    ("peaks", lambda heat: heat.tolist(), "list", "expected a tensor"),
    ("peaks", lambda heat: None, "None", "return"),
    ("average_precision", area(hull=lambda p: p), "too small", "hull looks to the right"),
    ("average_precision", area(hull=left_hull), "too large", "at this recall or a higher one"),
    ("average_precision", trapezoid, "too small", "width by which recall has grown"),
    ("average_precision", eleven_points, "too large", "share of the TRUE boxes"),
    ("average_precision", area(n=lambda right, n: len(right)), "too large", "TRUE boxes"),
    ("average_precision", area(n=lambda right, n: max(sum(right), 1)), "too large", "TRUE boxes"),
    ("average_precision", lambda right, n: sum(saw(right, n)[0]) / max(len(right), 1), "too large", "TRUE"),
    ("average_precision", lambda right, n: sum(right) / n, "too large", "best precision"),
    ("average_precision", lambda right, n: sum(right) / max(len(right), 1), "too large", "TRUE"),
    ("average_precision", area(empty=1.0), "too large", "No detections"),
    ("average_precision", lambda right, n: area()(right, n) if any(right) else 0 / 0, "ZeroDivision", ""),
    ("average_precision", lambda right, n: area()(sorted(right, reverse=True), n), "too large", ""),
    ("average_precision", lambda right, n: math.nan, "nan", "0 by 0"),
    ("average_precision", lambda right, n: None, "None", "return"),
    ("average_precision", lambda right, n: saw(right, n), "tuple", "expected a number"),
    ("flicker", lambda found: changed(found).sum() / found.numel(), "too small", "frames that follow"),
    ("flicker", lambda found: changed(found).sum(), "too large", "frames that follow"),
    ("flicker", lambda found: (found[:, :-1] & ~found[:, 1:]).float().mean(), "too small", "anew"),
    ("flicker", lambda found: (found != found.roll(1, 1)).float().mean(), "too", ""),
    ("flicker", lambda found: changed(found.T).float().mean() if len(found) > 1 else 0.0, "too", ""),
    ("flicker", lambda found: (found[:, 1:] != found[:, :1]).float().mean() if found.shape[1] > 1 else 0.0,
     "too", "anew"),
    ("flicker", lambda found: changed(found).float().mean(), "nan", "0 by 0"),
    ("flicker", lambda found: changed(found).float().sum(1).mean(), "too large", "how many pairs"),
    ("flicker", lambda found: changed(found).any(1).float().mean(), "too large", ""),
    ("flicker", lambda found: (found[:, 1:].float() - found[:, :-1].float()).mean(), "too small", ""),
    ("flicker", lambda found: 1 - changed(found).float().mean(), "too small", ""),
    ("flicker", lambda found: (~found).float().mean(), "too", ""),
    ("flicker", lambda found: (found[1:] != found[:-1]).float().mean(), "too small", "follow each other"),
    ("flicker", lambda found: (found[:, 2:] != found[:, :-2]).float().mean(), "too large", "follow"),
    ("iou", enclosed, "too small", "both cover once"),
    ("iou", lambda a, b: 100 * overlap()(a, b), "too large", "A box with itself"),
    ("center_target", numbers(lambda x0, y0, x1, y1, s: six(*centered(x0, y0, x1, y1),
     math.log((y1 - y0) / 2),
     math.log((x1 - x0) / 2))), "log height", "y1 - y0"),
    ("center_target", numbers(lambda x0, y0, x1, y1, s: six(*centered(x0, y0, x1, y1)[:2],
     (y0 + y1) * s / 128,
     (x0 + x1) * s / 128, math.log(y1 - y0), math.log(x1 - x0))), "y of", "in its cell"),
    ("peaks", lambda heat: by_pool()(heat).nonzero(), "has shape", "One answer for each cell"),
    ("peaks", lambda heat: heat == F.max_pool3d(heat[None], 3, 1, 1)[0], "no peak", "peaks of its own"),
    ("average_precision", lambda right, n: sum(p for p, r in zip(saw(right, n)[0], right, strict=True) if r)
     / max(sum(right), 1), "too large", "TRUE boxes"),
    ("average_precision", lambda right, n: 2 * sum(right) / (len(right) + n), "too large", "TRUE boxes"),
    ("flicker", lambda found: None, "None", "return"),
    ("flicker", lambda found: changed(found), "Tensor", "expected a number"),
]  # fmt: skip


@pytest.mark.parametrize(("exercise", "wrong", "message", "hint"), WRONG)
def test_wrong_answers_are_told_what_is_wrong_and_where_to_look(exercise, wrong, message, hint):
    with pytest.raises(AssertionError) as told:
        check(f"14.{exercise}", wrong)
    assert message in str(told.value) and hint in str(told.value)


def test_there_are_many_wrong_answers_for_each():
    for exercise in CHECKS:
        assert sum(name == exercise for name, *_ in WRONG) >= 12
