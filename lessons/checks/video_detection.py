"""Checks of notebook 14, video detection. What is right is counted out pixel by pixel or frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lessons.checks.tools import call, expect_number, expect_tensor
from lessons.detection.center_points import STRIDE, targets


def _expect(found: Any, expected: float, where: str, hint: str) -> None:
    found = expect_number(found, where, "Is there a division of 0 by 0?")
    if abs(found - expected) > 1e-6:
        size = "large" if found > expected else "small"
        raise AssertionError(f"{where} gave {found:.4g}, which is too {size}. {hint}")


def _share_of_pixels(a: tuple, b: tuple) -> float:
    """IoU of boxes with whole corners, by counting pixels."""
    one, other = (
        {(x, y) for x in range(int(box[0]), int(box[2])) for y in range(int(box[1]), int(box[3]))}
        for box in (a, b)
    )
    return len(one & other) / len(one | other) if one | other else 0.0


def iou(function: Callable) -> None:
    """function(a, b), two boxes (x0, y0, x1, y1) -> their intersection over union."""
    paper = (
        "Draw both boxes on squared paper. The last two numbers are a corner, a side is x1 - x0 long with "
        "nothing added, and the union counts what both cover once."
    )
    cases = [
        ((2, 3, 7, 9), (2, 3, 7, 9), "A box with itself: what is the union of the two?"),
        ((10, 20, 14, 28), (12, 22, 16, 30), paper),
        ((0, 0, 4, 4), (2, 0, 6, 4), paper),
        ((0, 0, 9, 9), (3, 4, 5, 6), "One box within the other: the union is the larger one."),
        ((0, 0, 4, 4), (6, 0, 9, 4), "Side by side: they share nothing, and nothing is not less than 0."),
        ((0, 0, 4, 4), (6, 7, 9, 9), "Apart in both directions: two negative sides must not make an area."),
        ((6, 7, 9, 9), (0, 0, 4, 4), "The order of the two boxes must not matter."),
        ((1, 5, 9, 7), (3, 0, 5, 12), "A cross: left and right come from the x, top and bottom from the y."),
        ((3, 3, 3, 3), (3, 3, 3, 3), "Boxes without area share nothing: 0, and no division by 0."),
    ]  # fmt: skip
    for a, b, hint in cases:
        _expect(call(function, a, b), _share_of_pixels(a, b), f"iou({a}, {b})", hint)
    halves = tuple(x / 2 for x in (3, 4, 11, 12)), tuple(x / 2 for x in (5, 6, 13, 9))
    _expect(
        call(function, *halves),
        _share_of_pixels((3, 4, 11, 12), (5, 6, 13, 9)),
        f"iou{halves}",
        "Corners need not be whole numbers: round nothing.",
    )


def _target(box: tuple) -> list[float]:
    wanted = targets(torch.tensor([[box]], dtype=torch.float64), torch.zeros(1, 1).long(), 1, (256, 256))
    return [float(wanted.row), float(wanted.column), *wanted.numbers[0].tolist()]


def center_target(function: Callable) -> None:
    """function(box, stride) -> row, column, y, x, log height, log width."""
    names = ("row", "column", "y", "x", "log height", "log width")
    hints = {
        "row": "The cell that holds the box's CENTER, counted from the top: whole cells, so round down.",
        "column": "The cell that holds the box's CENTER, counted from the left: whole cells, so round down.",
        "y": "Where in its cell the center lies, from 0 (top) to 1 (bottom): in cells, not in pixels.",
        "x": "Where in its cell the center lies, from 0 (left) to 1 (right): in cells, not in pixels.",
        "log height": "The natural logarithm of the height in cells, not in pixels. Height is y1 - y0.",
        "log width": "The natural logarithm of the width in cells, not in pixels. Width is x1 - x0.",
    }
    for box, stride in (
        ((8.0, 8.0, 16.0, 16.0), 8),
        ((10.0, 30.0, 24.0, 50.0), 8),
        ((33.5, 2.0, 40.0, 21.0), 8),
        ((20.0, 40.0, 52.0, 80.0), 16),
        ((0.0, 0.0, 15.9, 15.9), 8),
    ):
        where = f"center_target({box}, {stride})"
        found = call(function, box, stride)
        if not isinstance(found, tuple | list | Tensor) or len(found) != 6:
            raise AssertionError(f"{where} gave {found!r}, expected six numbers: {', '.join(names)}")
        expected = _target(tuple(x * STRIDE / stride for x in box))  # the same picture in other units
        for name, mine, right in zip(names, found, expected, strict=True):
            _expect(mine, right, f"{name} of {where}", hints[name])


def _is_peak(heat: Tensor, k: int, row: int, column: int) -> bool:
    around = [
        heat[k, i, j].item()
        for i in range(max(0, row - 1), min(heat.shape[1], row + 2))
        for j in range(max(0, column - 1), min(heat.shape[2], column + 2))
    ]
    return heat[k, row, column].item() == max(around)


def peaks(function: Callable) -> None:
    """function(heat) (classes, H', W') -> bool of the same shape: is no neighbor higher?"""
    generator = torch.Generator().manual_seed(0)
    middle = torch.tensor([[[0.1, 0.2, 0.3], [0.4, 0.9, 0.5], [0.6, 0.7, 0.8]]])
    far = torch.arange(49.0).reshape(1, 7, 7)
    far[0, 3, 0] = 30.5  # higher than its neighbors, not than what is two rows below or at the other border
    cases = [
        (torch.tensor([[[0.1, 0.9, 0.2]]]), "One row: its highest is the middle one."),
        (middle, "A cell has eight neighbors, those at its corners too."),
        (far, "Two peaks far apart are both peaks: compare with neighbors, not with the whole map, and not "
         "with cells two places away or at the other border."),
        (torch.randn(1, 6, 7, generator=generator) - 5, "Values below zero (logits) have peaks too: what "
         "stands outside the map must never be the highest."),
        (torch.rand(3, 6, 5, generator=generator), "Every class has peaks of its own."),
        (torch.rand(1, 9, 8, generator=generator) / 50, "A peak may be low: the score is looked at later."),
        (torch.tensor([[[0.4, 0.4, 0.1, 0.4]]]), "Two neighbors that are equally high are both peaks."),
    ]  # fmt: skip
    for heat, hint in cases:
        name = f"peaks of a map of shape {tuple(heat.shape)}"
        found = call(function, heat)
        found = expect_tensor(found, tuple(heat.shape), name, "One answer for each cell of each class.")
        if found.dtype != torch.bool:
            raise AssertionError(f"{name} is {found.dtype}, expected torch.bool: compare, with == or >=")
        for place in torch.cartesian_prod(*map(torch.arange, heat.shape)).tolist():
            expected = _is_peak(heat, *place)
            if bool(found[tuple(place)]) != expected:
                says = "no peak" if expected else "a peak"
                raise AssertionError(
                    f"{name}: class, row, column {place}, {heat[tuple(place)]:.3g}, is called {says}. {hint}"
                )


def _area_by_levels(right: list[bool], n_true: int) -> float:
    """For the 1st, 2nd … true box found: the best precision of any list that holds so many."""
    total = 0.0
    for level in range(1, n_true + 1):
        lists = [right[:n] for n in range(1, len(right) + 1) if sum(right[:n]) >= level]
        total += max((sum(part) / len(part) for part in lists), default=0.0) / n_true
    return total


def average_precision(function: Callable) -> None:
    """function(right, n_true), the surest first -> the area under the hull."""
    yes, no = True, False
    cases = [
        ([yes, yes], 2, "All found, no false alarm."),
        ([yes], 4, "Recall is the share of the TRUE boxes, found or not."),
        ([yes, no, yes], 2, "At each recall take the best precision at this recall or a higher one, and give "
         "it the width by which recall has grown."),
        ([no, yes, yes, yes], 3, "The hull looks to the right: a false alarm at the top lowers what stands "
         "above it only as far as no better precision comes later."),
        ([yes, no, no, no], 1, "False alarms after the last right one cost nothing: recall grows no more."),
        ([no, yes, no, yes, yes, no, yes, no], 6, "Walk down the list by hand and draw the saw."),
        ([no, no], 3, "Nothing right: 0."),
        ([], 2, "No detections at all: 0, and no division by 0."),
    ]  # fmt: skip
    for right, n_true, hint in cases:
        where = f"average_precision({right}, {n_true})"
        _expect(call(function, list(right), n_true), _area_by_levels(right, n_true), where, hint)


def flicker(function: Callable) -> None:
    """function(found) (things, T) bool -> the share of frame pairs that differ."""
    cases = [
        (
            [[0, 1, 1], [0, 1, 1]],
            "Two things, three frames: how many pairs of frames that follow each other has each? A thing "
            "found anew counts as well.",
        ),
        ([[1, 0, 1, 1]], "Both ways count, lost and found again. Compare each frame with the one before it."),
        ([[1, 0, 0, 0], [1, 1, 1, 1]], "A row is a thing: compare its frames, not the things of a frame."),
        ([[1, 1, 1, 0]], "The last frame and the first do not follow each other."),
        ([[0, 1, 1, 1, 1]], "Compare each frame with the one before it, not with the first."),
        ([[1, 0, 1, 0, 1], [0, 0, 0, 0, 0], [1, 1, 0, 0, 1]], "A share of all pairs of all things, 0 to 1."),
        ([[1]], "A single frame has no pair: 0, and no division by 0."),
    ]
    for rows, hint in cases:
        found = torch.tensor(rows, dtype=torch.bool)
        pairs = [(row[t], row[t + 1]) for row in rows for t in range(len(row) - 1)]
        expected = sum(a != b for a, b in pairs) / len(pairs) if pairs else 0.0
        _expect(call(function, found), expected, f"flicker({rows})", hint)


CHECKS: dict[str, Callable[[Callable], None]] = {
    "iou": iou,
    "center_target": center_target,
    "peaks": peaks,
    "average_precision": average_precision,
    "flicker": flicker,
}
