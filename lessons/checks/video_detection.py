"""Checks of notebook 14, video detection. What is right comes from counting, from matrices written out, and
from looking at every neighbor."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lessons.checks.battery import Case, Exercise

Verdicts = Sequence[tuple[Tensor, Tensor]]  # per video: scores (n,) and whether each is right (n,)

# ---- center_target -----------------------------------------------------------------------------------------

PARTS = ("row", "column", "y", "x", "log height", "log width")
PART_HINTS = (
    "The grid cell that contains the box's CENTER, counted from the top: an integer, rounded down.",
    "The grid cell that contains the box's CENTER, counted from the left: an integer, rounded down.",
    "Where in its cell the center lies, from 0 (top) to 1 (bottom): in cells, not in pixels.",
    "Where in its cell the center lies, from 0 (left) to 1 (right): in cells, not in pixels.",
    "The natural logarithm of the height in cells, not in pixels. Height is y1 - y0.",
    "The natural logarithm of the width in cells, not in pixels. Width is x1 - x0.",
)


def center_target(box: tuple, stride: int) -> tuple:
    """box (x0, y0, x1, y1) in pixels -> row, column, y, x, log height, log width, in cells of stride."""
    x0, y0, x1, y1 = box
    (row, y), (column, x) = (divmod((a + b) / (2 * stride), 1) for a, b in ((y0, y1), (x0, x1)))
    return int(row), int(column), y, x, math.log((y1 - y0) / stride), math.log((x1 - x0) / stride)


def _center_cases() -> Iterator[Case]:
    yield Case(((8.0, 8.0, 16.0, 16.0), 8))
    yield Case(((10.0, 30.0, 24.0, 50.0), 8))
    yield Case(((33.5, 2.0, 40.0, 21.0), 8))
    yield Case(((20.0, 40.0, 52.0, 80.0), 16))
    yield Case(((0.0, 0.0, 15.9, 15.9), 8))
    yield Case(((0.25, 1.5, 3.0, 2.75), 1))
    yield Case(((100.0, 7.0, 101.0, 62.5), 4))


def _center_mistake(found: Any, expected: tuple, case: Case) -> str | None:
    """The hint for the first part that is wrong."""
    for mine, right, hint in zip(found, expected, PART_HINTS, strict=False):
        if not abs(float(mine) - right) <= 1e-9:
            return hint
    return None


# ---- average_precision -------------------------------------------------------------------------------------


def average_precision(videos: Verdicts, n_true: int) -> float:
    """videos: per video (scores, right); for the 1st, 2nd … true box found, the best precision of any list
    that contains so many of them."""
    pairs = [
        (-s, r) for scores, right in videos for s, r in zip(scores.tolist(), right.tolist(), strict=True)
    ]
    right = [r for _, r in sorted(pairs, key=lambda pair: pair[0])]
    hits = [sum(right[: n + 1]) for n in range(len(right))]
    total = 0.0
    for level in range(1, n_true + 1):
        total += max((h / n for n, h in enumerate(hits, start=1) if h >= level), default=0.0)
    return total / n_true


def _video(scores: Sequence[float], right: str) -> tuple[Tensor, Tensor]:
    """Scores and verdicts, "+" for right and "-" for wrong."""
    return torch.tensor(scores, dtype=torch.float64), torch.tensor(
        [c == "+" for c in right], dtype=torch.bool
    )


def _random_videos(sizes: Sequence[int], generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    scores = [torch.rand(n, generator=generator, dtype=torch.float64) for n in sizes]
    return [(s, torch.rand(len(s), generator=generator) < 0.3 + 0.5 * s) for s in scores]


def _precision_cases() -> Iterator[Case]:
    g = torch.Generator().manual_seed(0)
    yield Case(([_video([0.9, 0.8], "++")], 2), "Both true boxes are found, without a false alarm: 1.")
    yield Case(([_video([0.9], "+")], 4), "Recall is the fraction of the TRUE boxes, found or not.")
    yield Case(
        ([_video([0.9, 0.8, 0.7], "+-+")], 2),
        "At each recall take the best precision at this recall or a higher one, and multiply it by the step "
        "by which recall has grown.",
    )
    yield Case(
        ([_video([0.9, 0.8, 0.7, 0.6], "-+++")], 3),
        "The envelope looks to the right: a false alarm at the top lowers what follows it only as far as no "
        "better precision comes later.",
    )
    yield Case(
        ([_video([0.2, 0.9, 0.5], "+-+")], 2),
        "The scores of a video come in any order: the highest score first.",
    )
    yield Case(
        ([_video([0.6, 0.2], "+-"), _video([0.9, 0.4], "-+")], 3),
        "One ranking for the detections of ALL videos, and one recall over all true boxes.",
    )
    yield Case(
        ([_video([], ""), _video([0.7, 0.3, 0.6], "+--"), _video([], "")], 1),
        "In two of the videos nothing was detected. False alarms after the last right one cost nothing.",
    )
    yield Case(([_video([0.7, 0.3], "--")], 3), "Nothing is right: 0.")
    yield Case(([], 2), "No detections at all: 0, and no division by 0.")
    yield Case(([_video([], "")], 5), "No detections at all: 0, and no division by 0.")
    yield Case(
        ([_video([0.5, 0.9, 0.5, 0.1], "+-++"), _video([0.5, 0.1, 0.0, 1.0], "++-+")], 7),
        "Equal scores: every detection counts, also the second one of the same score.",
    )
    yield Case(
        ([_video([0.5, 0.5 + 1e-6, 0.5 + 2e-6, 0.5 - 1e-6], "--++")], 3),
        "The scores are close together, but their order is clear: round nothing.",
    )
    yield Case(
        ([_video([-0.5, 2.5, -3.0], "+-+"), _video([1.5, -2.0], "+-")], 4),
        "Scores may be logits: below 0, above 1. Only their order counts, and every detection counts.",
    )
    yield Case((_random_videos((7, 1, 12, 0, 4), g), 15), "Rank all detections together.")
    yield Case((_random_videos((30, 2, 5, 9, 3), g), 40), "Rank all detections together.")
    yield Case((_random_videos((90, 120, 45), g), 170), "Every detection counts, however long the list is.")


def _precision_mistake(found: Any, expected: float, case: Case) -> str | None:
    """The sentence for a value that a well-known mistake gives."""
    videos, n_true = case.arguments
    flat = [pair for scores, right in videos for pair in zip(scores.tolist(), right.tolist(), strict=True)]
    ranked = [r for _, r in sorted(flat, key=lambda pair: -pair[0])]

    def area(right: list[bool], n: float, best: Callable[[list[float]], list[float]]) -> float:
        precision = [sum(right[: k + 1]) / (k + 1) for k in range(len(right))]
        return sum(p for p, r in zip(best(precision), right, strict=True) if r) / n if n else 0.0

    def envelope(precision: list[float]) -> list[float]:
        return [max(precision[k:]) for k in range(len(precision))]

    each = [average_precision([video], n_true) for video in videos] if len(videos) > 1 else []
    mistakes = [
        (area(ranked[::-1], n_true, envelope), "Is the LOWEST score first?"),
        (
            area(ranked, n_true, list),
            "This is the area under the curve as counted. At each recall, take the best precision at this "
            "recall or a higher one.",
        ),
        (
            area(ranked, sum(ranked), envelope),
            "Recall is the fraction of ALL true boxes, found or not: n_true.",
        ),
        (
            area(ranked, len(ranked), envelope),
            "Recall is the fraction of the true boxes, not of detections: n_true.",
        ),
        (sum(each) / max(len(each), 1), "Not a mean over videos: one ranking for all of them."),
        (sum(each), "Not a sum over videos: one ranking for all of them."),
        (
            area([r for _, r in flat], n_true, envelope),
            f"Are the detections of all videos ranked by their scores, as they are? {case.hint}",
        ),
    ]
    for value, sentence in mistakes:
        if abs(float(found) - value) <= 1e-6 < abs(expected - value):
            return sentence
    return None


# ---- kalman_correct ----------------------------------------------------------------------------------------


def kalman_correct(
    state: np.ndarray, covariance: np.ndarray, measured: np.ndarray, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Each track by itself, with the matrices of the textbook: H = (1, 0), S = H P Hᵀ + R, K = P Hᵀ / S."""
    h = np.array([[1.0, 0.0]])
    states, covariances = np.empty_like(state), np.empty_like(covariance)
    for i, (x, p, z) in enumerate(zip(state, covariance, measured, strict=True)):
        gain = p @ h.T @ np.linalg.inv(h @ p @ h.T + noise**2)  # (2, 1)
        states[i] = x + gain @ (z[None] - h @ x)
        covariances[i] = (np.eye(2) - gain @ h) @ p
    return states, covariances


def _tracks(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """States, covariances that are symmetric and positive, and measurements near the centers."""
    state = np.stack([rng.uniform(0, 64, (n, 2)), rng.normal(0, 3, (n, 2))], 1)  # (n, 2, 2)
    root = rng.normal(0, 1.5, (n, 2, 2))
    covariance = root @ root.transpose(0, 2, 1) + 0.1 * np.eye(2)
    return state, covariance, state[:, 0] + rng.normal(0, 3, (n, 2))


def _kalman_cases() -> Iterator[Case]:
    rng = np.random.default_rng(0)
    still = np.array([[[10.0, 20.0], [0.0, 0.0]]])  # one track, at rest
    at = np.array([[14.0, 20.0]])  # detected 4 pixels lower
    yield Case(
        (still, np.array([[[3.0, 0.0], [0.0, 2.0]]]), at, 1.0),
        "Center and velocity are uncorrelated here: the velocity stays as it is. The gain is a variance over "
        "a sum of two variances.",
    )
    yield Case(
        (still, np.array([[[3.0, 2.0], [2.0, 5.0]]]), at, 1.0),
        "Center and velocity are correlated here: the velocity is corrected, too, by its own gain.",
    )
    yield Case(
        (still, np.array([[[3.0, 2.0], [2.0, 5.0]]]), at, 2.0),
        "noise is a standard deviation, the covariance holds variances.",
    )
    yield Case((*_tracks(3, rng), 0.8), "Three tracks: each has its own gain.")
    yield Case(
        (*_tracks(2, rng), 1.2), "Two tracks: which axis counts them? Add it to the gain by [..., None]."
    )
    yield Case((*_tracks(1, rng), 0.5), "One track stays an array of one track.")
    yield Case((*_tracks(0, rng), 0.5), "No track was detected: the result has 0 tracks, too.")
    yield Case((*_tracks(7, rng), 3.0), "Seven tracks, all at once.")
    state, covariance, measured = _tracks(4, rng)
    yield Case(
        (state * 20, covariance, state[:, 0] * 20 + np.array([[90.0, -70.0]]), 1.5),
        "Centers and residuals of hundreds of pixels: the update is linear, and nothing is clipped.",
    )
    yield Case(
        (state, covariance, measured, 1e-4), "A detector without noise: the center is what it measured."
    )
    yield Case((state, covariance, measured, 1e4), "A detector of pure noise: nothing is corrected.")


def _kalman_mistake(found: Any, expected: tuple, case: Case) -> str | None:
    state, covariance, measured, noise = case.arguments
    if not isinstance(found, tuple | list) or len(found) != 2:
        return None
    mine = [np.asarray(part, dtype=float) for part in found]
    if any(a.shape != b.shape for a, b in zip(mine, expected, strict=True)):
        return None

    def like(part: int, value: np.ndarray) -> bool:
        return not np.allclose(value, expected[part]) and np.allclose(mine[part], value)

    variance = covariance[:, :1, 0]
    gain = covariance[:, :, 0] / (variance + noise**2)  # (n, 2)
    residual = measured - state[:, 0]  # (n, 2)
    if like(0, state - gain[:, :, None] * residual[:, None]):
        return "The state moves away from what was measured: the residual is measured minus predicted."
    if like(0, state + (covariance[:, :, 0] / (variance + noise))[:, :, None] * residual[:, None]):
        return "noise is a standard deviation; the gain compares variances."
    first = np.stack([state[:, 0] + gain[:, :1] * residual, state[:, 1]], 1)
    if like(0, first):
        return "The velocity was not corrected: it has its own gain, from its covariance with the center."
    if like(1, covariance):
        return "The covariance was not corrected: a measurement makes the track more certain."
    if like(1, covariance + gain[:, :, None] * covariance[:, :1]):
        return "The uncertainty grew. A measurement lowers it: minus."
    if np.allclose(mine[0], expected[0]):
        return f"The state is right, the covariance is not. Which row of P does K multiply? {case.hint}"
    return None


# ---- peaks -------------------------------------------------------------------------------------------------


def peaks(heat: Tensor) -> Tensor:
    """heat (classes, H', W') -> bool of the same shape: is none of the up to eight neighbors higher?"""
    yes = torch.empty(heat.shape, dtype=torch.bool)
    for k, row, column in np.ndindex(*heat.shape):
        around = heat[k, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
        yes[k, row, column] = heat[k, row, column] == around.max()
    return yes


def _peak_cases() -> Iterator[Case]:
    g = torch.Generator().manual_seed(0)
    middle = torch.tensor([[[0.1, 0.2, 0.3], [0.4, 0.9, 0.5], [0.6, 0.7, 0.8]]], dtype=torch.float64)
    far = torch.arange(49.0, dtype=torch.float64).reshape(1, 7, 7)
    far[0, 3, 0] = 30.5  # higher than its neighbors, not than what is two rows below or at the other border
    yield Case((torch.tensor([[[0.1, 0.9, 0.2]]]).double(),), "One row: its highest is the middle one.")
    yield Case((middle,), "A cell has eight neighbors, those at its corners too.")
    yield Case(
        (far,),
        "Two peaks far apart are both peaks: compare with neighbors, not with the whole map, and not with "
        "cells two rows away or at the other border.",
    )
    yield Case(
        (torch.randn(1, 6, 8, generator=g, dtype=torch.float64) - 5,),
        "Values below zero (logits) have peaks too: what stands outside the map must never be the highest.",
    )
    yield Case((torch.rand(3, 6, 5, generator=g, dtype=torch.float64),), "Every class has peaks of its own.")
    yield Case(
        (torch.randn(2, 5, 7, generator=g, dtype=torch.float64) * 1e9 - 1e10,),
        "Far below zero, too: what stands outside the map is −∞, not a number that happens to be low.",
    )
    yield Case(
        (torch.rand(1, 9, 8, generator=g, dtype=torch.float64) / 50,),
        "A peak may be low: the score is looked at later.",
    )
    yield Case(
        (torch.tensor([[[0.4, 0.4, 0.1, 0.4]]]).double(),),
        "Two neighbors that are equally high are both peaks.",
    )
    yield Case(
        (torch.tensor([[[0.5, 0.5 + 1e-6, 0.5], [0.2, 0.5 + 2e-6, 0.1]]]).double(),),
        "A neighbor that is a little higher is higher: compare exactly, and round nothing.",
    )
    yield Case((torch.rand(2, 5, 1, generator=g, dtype=torch.float64),), "A map of one column is a map.")
    yield Case((torch.full((1, 1, 1), -3.0, dtype=torch.float64),), "A cell without neighbors is a peak.")


CHECKS: dict[str, Callable[[Callable], None]] = {
    "center_target": Exercise(
        center_target, _center_cases, diagnose=_center_mistake, parts=PARTS, gradients=False
    ),
    "average_precision": Exercise(
        average_precision, _precision_cases, diagnose=_precision_mistake, gradients=False
    ),
    "kalman_correct": Exercise(
        kalman_correct,
        _kalman_cases,
        diagnose=_kalman_mistake,
        parts=("state", "covariance"),
        gradients=False,
        new=True,
    ),
    "peaks": Exercise(peaks, _peak_cases, gradients=False),
}
