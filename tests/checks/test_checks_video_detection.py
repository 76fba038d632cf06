"""What learners write by mistake in the exercises of notebook 14 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lessons.checks.video_detection import CHECKS
from lessons.detection import tracker
from tests.checks.exercises import answer_tests, sizes_that_never_vary

# ---- center_target -----------------------------------------------------------------------------------------


def target(center=lambda a, b: (a + b) / 2, whole=math.floor, side=math.log, change=lambda *six: six):
    """The six numbers with a slip."""

    def function(box, stride):
        x0, y0, x1, y1 = (v / stride for v in box)
        y, x = center(y0, y1), center(x0, x1)
        row, column = whole(y), whole(x)
        return change(row, column, y - row, x - column, side(y1 - y0), side(x1 - x0))

    return function


def by_pixels(box, stride):
    x0, y0, x1, y1 = box
    y, x = (y0 + y1) / 2, (x0 + x1) / 2
    row, column = int(y // stride), int(x // stride)
    return [row, column, y / stride - row, x / stride - column,
            math.log(y1 - y0) - math.log(stride), math.log(x1 - x0) - math.log(stride)]  # fmt: skip


def by_tensor(box, stride):
    corners = torch.tensor(box, dtype=torch.float64).view(2, 2).flip(1) / stride  # y, x
    center, sides = corners.mean(0), (corners[1] - corners[0]).log()
    cell = center.floor()
    return (*cell.long(), *(center - cell), *sides)


def by_numpy(box, stride):
    corners = np.reshape(box, (2, 2))[:, ::-1] / stride
    part, cell = np.modf(corners.mean(0))
    return (*cell.astype(int), *part, *np.log(corners[1] - corners[0]))


def by_divmod(box, stride):
    x0, y0, x1, y1 = box
    row, y = divmod(y0 + y1, 2 * stride)
    column, x = divmod(x0 + x1, 2 * stride)
    return (
        int(row), int(column), y / 2 / stride, x / 2 / stride,
        math.log((y1 - y0) / stride), math.log((x1 - x0) / stride),
    )  # fmt: skip


def in_pixels(row, column, y, x, high, wide):
    return row, column, 8 * y, 8 * x, high, wide


# ---- average_precision -------------------------------------------------------------------------------------


def ranked(videos):
    """All verdicts, the highest score first."""
    pairs = [(s, r) for scores, right in videos for s, r in zip(scores.tolist(), right.tolist(), strict=True)]
    return [r for _, r in sorted(pairs, key=lambda pair: -pair[0])]


def saw(right, n_true):
    hits = [sum(right[: n + 1]) for n in range(len(right))]
    return [h / (n + 1) for n, h in enumerate(hits)], [h / n_true for h in hits]


def right_envelope(precision):
    return [max(precision[n:]) for n in range(len(precision))]


def left_envelope(precision):
    return [max(precision[: n + 1]) for n in range(len(precision))]


def area(rank=ranked, envelope=right_envelope, n=None, empty=0.0, whole=1.0):
    """The area with a slip: another ranking, envelope, or number of true boxes."""

    def function(videos, n_true):
        right = rank(videos)
        if not right:
            return empty
        precision, recall = saw(right, n(right, n_true) if n else n_true)
        steps = [b - a for a, b in pairwise([0.0, *recall])]
        return whole * sum(s * p for s, p in zip(steps, envelope(precision), strict=True))

    return function


def as_given(videos):
    return [r for _, right in videos for r in right.tolist()]


def lowest_first(videos):
    return ranked(videos)[::-1]


def rounded(videos):
    return ranked([((100 * scores).round(), right) for scores, right in videos])


def by_dict(videos):
    best = {}
    for scores, right in videos:
        best |= dict(zip(scores.tolist(), right.tolist(), strict=True))
    return [best[score] for score in sorted(best, reverse=True)]


def without_zero(videos):
    return ranked([(scores[scores > 0.05], right[scores > 0.05]) for scores, right in videos])


def change_scores(change):
    """The right area of scores that were changed before ranking."""
    return lambda videos, n_true: area()([(change(scores), right) for scores, right in videos], n_true)


def top(count):
    return area(rank=lambda videos: ranked(videos)[:count])


def only_positive(videos):
    return ranked([(scores[scores > 0], right[scores > 0]) for scores, right in videos])


def per_video(videos, n_true):
    return sum(area()([video], n_true) for video in videos) / max(len(videos), 1)


def summed_over_videos(videos, n_true):
    return sum((area()([video], n_true) for video in videos), 0.0)


def first_video(videos, n_true):
    return area()(videos[:1], n_true)


def trapezoid(videos, n_true):
    right = ranked(videos)
    precision, recall = saw(right, n_true) if right else ([], [])
    points = list(zip([0.0, *recall], [1.0, *precision], strict=True))
    return sum(((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points)), 0.0)


def points(count):
    def function(videos, n_true):
        right = ranked(videos)
        precision, recall = saw(right, n_true) if right else ([], [])
        levels = np.linspace(0, 1, count)
        best = [max((p for p, r in zip(precision, recall, strict=True) if r >= v), default=0) for v in levels]
        return float(np.mean(best))

    return function


def sorts_in_place(videos, n_true):
    videos.sort(key=len)
    for scores, right in videos:
        order = scores.argsort(descending=True)
        scores.copy_(scores[order])
        right.copy_(right[order])
    return area()(videos, n_true)


def float32(videos, n_true):
    return area()([(s.float(), r) for s, r in videos], n_true) * float(np.float32(1.0000001))


def by_cumsum(videos, n_true):
    if not videos:
        return 0.0
    scores, right = (torch.cat(parts) for parts in zip(*videos, strict=True))
    right = right[scores.argsort(descending=True)].double()
    precision = right.cumsum(0) / torch.arange(1, len(right) + 1)
    envelope = precision.flip(0).cummax(0).values.flip(0) if len(right) else precision
    return (envelope * right).sum() / n_true


def from_the_end(videos, n_true):
    right = ranked(videos)
    hits, best, total = sum(right), 0.0, 0.0
    for n in range(len(right), 0, -1):
        best = max(best, hits / n)
        if right[n - 1]:
            total, hits = total + best, hits - 1
    return total / n_true


def by_numpy_areas(videos, n_true):
    scores = np.concatenate([np.zeros(0), *(s.numpy() for s, _ in videos)])
    right = np.concatenate([np.zeros(0, bool), *(r.numpy() for _, r in videos)])
    hits = np.cumsum(right[np.argsort(-scores)])
    envelope = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return np.sum(np.diff(hits / n_true, prepend=0) * envelope)


def by_levels(videos, n_true):
    right = ranked(videos)
    precision, recall = saw(right, n_true) if right else ([], [])
    levels = sorted(set(recall) - {0.0})
    return sum(
        (high - low) * max(p for p, r in zip(precision, recall, strict=True) if r >= high)
        for low, high in pairwise([0.0, *levels])
    )


# ---- kalman_correct ----------------------------------------------------------------------------------------


def kalman(variance=lambda noise: noise**2, sign=1, minus=-1, gain=lambda k: k, residual=lambda z, x: z - x):
    """The update with a slip."""

    def function(state, covariance, measured, noise):
        k = gain(covariance[:, :, 0] / (covariance[:, :1, 0] + variance(noise)))  # (n, 2)
        new = state + sign * k[:, :, None] * residual(measured, state[:, 0])[:, None]
        return new, covariance + minus * k[:, :, None] * covariance[:, :1]

    return function


def writes_into_state(state, covariance, measured, noise):
    new, smaller = kalman()(state, covariance, measured, noise)
    state[:], covariance[:] = new, smaller
    return state, covariance


def covariance_first(state, covariance, measured, noise):
    k = covariance[:, :, 0] / (covariance[:, :1, 0] + noise**2)
    covariance = covariance - k[:, :, None] * covariance[:, :1]
    k = covariance[:, :, 0] / (covariance[:, :1, 0] + noise**2)
    return state + k[:, :, None] * (measured - state[:, 0])[:, None], covariance


def second_row(state, covariance, measured, noise):
    k = covariance[:, :, 0] / (covariance[:, :1, 0] + noise**2)
    return kalman()(state, covariance, measured, noise)[0], covariance - k[:, :, None] * covariance[:, 1:]


def one_gain_for_all(state, covariance, measured, noise):
    mean = np.broadcast_to(covariance.mean(0, keepdims=True), covariance.shape) if len(state) else covariance
    k = mean[:, :, 0] / (mean[:, :1, 0] + noise**2)
    new = state + k[:, :, None] * (measured - state[:, 0])[:, None]
    return new, covariance - k[:, :, None] * covariance[:, :1]


def wrong_axis(state, covariance, measured, noise):
    k = covariance[:, :, 0] / (covariance[:, :1, 0] + noise**2)
    new = state + k[:, None, :] * (measured - state[:, 0])[:, :, None]
    return new, kalman()(state, covariance, measured, noise)[1]


def clipped(state, covariance, measured, noise):
    near = state[:, 0] + np.clip(measured - state[:, 0], -10, 10)  # an outlier must not pull too far
    return kalman()(state, covariance, near, noise)


def in_the_frame(state, covariance, measured, noise):
    new, smaller = kalman()(state, covariance, measured, noise)
    return np.clip(new, -100, 100), smaller


def only_center(k):
    return k * np.array([1.0, 0.0])


def first_track_only(state, covariance, measured, noise):
    new, smaller = state.copy(), covariance.copy()
    if len(state):
        a, b = kalman()(state[:1], covariance[:1], measured[:1], noise)
        new[:1], smaller[:1] = a, b
    return new, smaller


def textbook(state, covariance, measured, noise):
    h = np.array([[1.0, 0.0]])
    s = h @ covariance @ h.T + noise**2  # (n, 1, 1)
    k = covariance @ h.T / s  # (n, 2, 1)
    return state + k @ (measured[:, None] - h @ state), (np.eye(2) - k @ h) @ covariance


def joseph(state, covariance, measured, noise):
    h = np.array([[1.0, 0.0]])
    k = covariance @ h.T / (covariance[:, :1, :1] + noise**2)
    left = np.eye(2) - k @ h
    new = left @ covariance @ left.transpose(0, 2, 1) + noise**2 * k @ k.transpose(0, 2, 1)
    return [state + k * (measured - state[:, 0])[:, None], new]


def by_einsum(state, covariance, measured, noise):
    k = np.einsum("ni,n->ni", covariance[:, :, 0], 1 / (covariance[:, 0, 0] + noise**2))
    new = state + np.einsum("ni,na->nia", k, measured - state[:, 0])
    return new, covariance - np.einsum("ni,nj->nij", k, covariance[:, 0])


def one_by_one(state, covariance, measured, noise):
    new, smaller = state.copy(), covariance.copy()
    for n, p in enumerate(covariance):
        k = p[:, 0] / (p[0, 0] + noise**2)
        new[n] += np.outer(k, measured[n] - state[n, 0])
        smaller[n] -= np.outer(k, p[0])
    return new, smaller


def of_the_package(state, covariance, measured, noise):
    return tracker.kalman_correct(state, covariance, measured, noise)


# ---- peaks -------------------------------------------------------------------------------------------------


def by_pool(kernel=3, padding=1, strict=False, pad=None):
    def function(heat):
        if pad is not None:
            highest = F.max_pool2d(F.pad(heat, (1, 1, 1, 1), value=pad), 3, stride=1)
        else:
            highest = F.max_pool2d(heat, kernel, stride=1, padding=padding)
        return heat > highest if strict else heat == highest

    return function


def cross(heat):
    """Four neighbors instead of eight."""
    rows = F.max_pool2d(heat, (3, 1), stride=1, padding=(1, 0))
    columns = F.max_pool2d(heat, (1, 3), stride=1, padding=(0, 1))
    return heat == torch.maximum(rows, columns)


def rolled(heat):
    shifts = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return heat == torch.stack([heat.roll(s, (1, 2)) for s in shifts]).amax(0)


def windows(heat):
    return F.pad(heat, (1, 1, 1, 1), value=-math.inf).unfold(1, 3, 1).unfold(2, 3, 1).flatten(3)


def strictly(heat):
    wide = windows(heat)
    return heat > torch.cat([wide[..., :4], wide[..., 5:]], -1).amax(-1)


def by_shifts(heat):
    wide = F.pad(heat, (1, 1, 1, 1), value=-math.inf)
    yes = torch.ones_like(heat, dtype=torch.bool)
    for i in range(3):
        for j in range(3):
            yes &= heat >= wide[:, i : i + heat.shape[1], j : j + heat.shape[2]]
    return yes


def by_loops(heat):
    yes = torch.zeros(heat.shape, dtype=torch.bool)
    for k in range(len(heat)):
        for i in range(heat.shape[1]):
            for j in range(heat.shape[2]):
                near = heat[k, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2]
                yes[k, i, j] = bool((near <= heat[k, i, j]).all())
    return yes


def writes_into_heat(heat):
    heat[heat < F.max_pool2d(heat, 3, 1, 1)] = -20
    return heat > -20


WRONG = {
    "center_target": [
        ("the corner", target(center=lambda a, b: a), "CENTER|center lies"),
        ("rounded", target(whole=round), "rounded down"),
        ("rounded up", target(whole=math.ceil), "rounded down"),
        ("rows and columns swapped", target(change=lambda *n: (n[1], n[0], n[3], n[2], n[5], n[4])), "top"),
        ("y and x swapped", target(change=lambda r, c, y, x, h, w: (r, c, x, y, h, w)), "0 .top. to 1"),
        ("width first", target(change=lambda r, c, y, x, h, w: (r, c, y, x, w, h)), "Height is y1 - y0"),
        ("no logarithm", target(side=float), "logarithm"),
        ("base 2", target(side=math.log2), "natural"),
        ("log1p", target(side=math.log1p), "natural"),
        ("half of the side", target(side=lambda v: math.log(v / 2)), "Height is y1 - y0"),
        ("sides in pixels", target(side=lambda v: math.log(8 * v)), "in cells, not in pixels"),
        ("offset in pixels", target(change=in_pixels), "in cells, not in pixels"),
        ("offset from the middle", target(change=lambda r, c, y, x, h, w: (r, c, y - 0.5, x - 0.5, h, w)),
         "0 .top. to 1"),
        ("always 8", lambda box, stride: target()(box, 8), "stride 16.*row|row.*"),
        ("x0, y0, width, height", lambda b, s: target()((*b[:2], b[0] + b[2], b[1] + b[3]), s), "CENTER"),
        ("float cells", target(whole=lambda v: float(math.floor(v))), "expected an integer"),
        ("rounded numbers", target(change=lambda r, c, *n: (r, c, *(round(v, 3) for v in n))),
         "natural|lies"),
        ("float32", target(change=lambda r, c, *n: (r, c, *map(float, np.float32(n)))), "round nothing"),
        ("four numbers", target(change=lambda *six: six[2:]), "gave 4 values"),
        ("one number", lambda box, stride: 3, "expected a list or tuple"),
        ("NaN", lambda box, stride: (1, 1, *[math.nan] * 4), "is wrong"),
        ("no return", lambda box, stride: None, "gave None"),
    ],
    "average_precision": [
        ("no envelope", area(envelope=list), "as counted|best precision"),
        ("envelope to the left", area(envelope=left_envelope), "this recall or a higher one"),
        ("trapezoids", trapezoid, "best precision|step"),
        ("eleven points", points(11), "TRUE boxes|step"),
        ("101 points", points(101), "TRUE boxes|step"),
        ("not ranked", area(rank=as_given), "any order|ranked by score"),
        ("lowest score first", area(rank=lowest_first), "LOWEST"),
        ("scores rounded", area(rank=rounded), "round nothing"),
        ("scores as keys", area(rank=by_dict), "every detection counts"),
        ("low scores dropped", area(rank=without_zero), "every detection counts|Rank all"),
        ("the best hundred only", top(100), "however long"),
        ("scores clipped to 0 … 1", change_scores(lambda s: s.clamp(0, 1)), "logits"),
        ("size of the score", change_scores(abs), "logits"),
        ("positive scores only", area(rank=only_positive), "every detection counts|logits"),
        ("mean over videos", per_video, "not a mean over videos|Not a mean over videos"),
        ("sum over videos", summed_over_videos, "Not a sum over videos"),
        ("first video only", first_video, "ALL videos|LOWEST|true boxes"),
        ("detections for true boxes", area(n=lambda right, n: len(right)), "true boxes"),
        ("found for true boxes", area(n=lambda right, n: max(sum(right), 1)), "ALL true boxes"),
        ("precision at the end", lambda v, n: sum(ranked(v)) / max(len(ranked(v)), 1), "true boxes"),
        ("recall at the end", lambda v, n: sum(ranked(v)) / n, "best precision"),
        ("per cent", area(whole=100.0), "is wrong"),
        ("empty is 1", area(empty=1.0), "No detections"),
        ("empty fails", lambda v, n: area()(v, n) if len(v) else [][0], "IndexError"),
        ("empty is NaN", area(empty=math.nan), "No detections"),
        ("sorts its videos", sorts_in_place, "changed videos"),
        ("float32", float32, "round nothing"),
        ("a pair", lambda v, n: (area()(v, n), n), "expected a number"),
        ("no return", lambda v, n: None, "gave None"),
    ],
    "kalman_correct": [
        ("noise not squared", kalman(variance=lambda noise: noise), "standard deviation"),
        ("noise doubled", kalman(variance=lambda noise: 2 * noise**2), "variance over"),
        ("no noise", kalman(variance=lambda noise: 0.0), "variance over|standard deviation"),
        ("away from the measurement", kalman(residual=lambda z, x: x - z), "measured minus predicted"),
        ("no prediction", kalman(residual=lambda z, x: z), "variance over"),
        ("center only", kalman(gain=only_center), "velocity was not corrected"),
        ("gain of 1", kalman(gain=np.ones_like), "variance over"),
        ("gain of one half", kalman(gain=lambda k: 0 * k + 0.5), "variance over"),
        ("covariance stays", kalman(minus=0), "covariance was not corrected"),
        ("covariance grows", kalman(minus=1), "A measurement lowers it"),
        ("covariance first", covariance_first, "variance over"),
        ("second row", second_row, "Which row of P"),
        ("one gain for all tracks", one_gain_for_all, "its own gain"),
        ("axes of gain and residual", wrong_axis, "variance over|correlated"),
        ("first track only", first_track_only, "its own gain"),
        ("residual clipped", clipped, "nothing is clipped"),
        ("center clipped", in_the_frame, "nothing is clipped"),
        ("squeezed", lambda *a: tuple(part.squeeze() for part in kalman()(*a)), "gave shape"),
        ("no tracks", lambda s, *a: kalman()(s, *a) if len(s) else (None, None), "expected an array"),
        ("writes into its arguments", writes_into_state, "changed state"),
        ("float32", lambda *a: tuple(part.astype(np.float32) for part in kalman()(*a)), "wrong dtype"),
        ("swapped results", lambda *a: kalman()(*a)[::-1], "is wrong|are wrong"),
        ("the state only", lambda *a: kalman()(*a)[0], "expected a list or tuple"),
        ("no return", lambda *a: None, "gave None"),
    ],
    "peaks": [
        ("four neighbors", cross, "eight neighbors"),
        ("across the border", rolled, "other border"),
        ("strictly higher", strictly, "equally high"),
        ("padded with zeros", by_pool(pad=0.0), "below zero"),
        ("padded with −20", by_pool(pad=-20.0), "Far below zero"),
        ("padded with −1e9", by_pool(pad=-1e9), "Far below zero"),
        ("nearly as high", lambda heat: torch.isclose(heat, F.max_pool2d(heat, 3, 1, 1)), "a little higher"),
        ("half precision", lambda heat: by_pool()(heat.half()), "higher|whole map|below zero"),
        ("of exponentials", lambda heat: by_pool()(heat.exp()), "below zero"),
        ("higher than itself", by_pool(strict=True), "its highest"),
        ("two cells away", by_pool(kernel=5, padding=2), "two rows away"),
        ("no padding", by_pool(padding=0), "stopped with|gave shape"),
        ("highest of the map", lambda heat: heat == heat.amax((1, 2), keepdim=True), "whole map"),
        ("a threshold", lambda heat: by_pool()(heat) & (heat > 0.3), "below zero|may be low"),
        ("all classes together", lambda heat: by_pool()(heat.amax(0, keepdim=True)).expand(heat.shape),
         "of its own"),
        ("neighbors in other classes", lambda heat: heat == F.max_pool3d(heat[None], 3, 1, 1)[0],
         "of its own"),
        ("first class only", lambda heat: by_pool()(heat)[0], "gave shape"),
        ("floats", lambda heat: by_pool()(heat).float(), "True and False"),
        ("heat at peaks", lambda heat: heat * by_pool()(heat), "True and False"),
        ("along rows only", lambda heat: heat == F.max_pool2d(heat, (1, 3), 1, (0, 1)), "eight neighbors"),
        ("positions", lambda heat: by_pool()(heat).nonzero(), "gave shape"),
        ("writes into heat", writes_into_heat, "changed heat"),
        ("a list", lambda heat: by_pool()(heat).tolist(), "expected a tensor"),
        ("no return", lambda heat: None, "gave None"),
    ],
}  # fmt: skip

RIGHT = {
    "center_target": [target(), by_pixels, by_tensor, by_numpy, by_divmod],
    "average_precision": [area(), by_cumsum, from_the_end, by_numpy_areas, by_levels],
    "kalman_correct": [kalman(), textbook, joseph, by_einsum, one_by_one, of_the_package],
    "peaks": [
        by_pool(),
        by_shifts,
        by_loops,
        lambda heat: heat >= windows(heat).amax(-1),
        lambda heat: ~(F.max_pool2d(heat[None], (3, 3), 1, 1)[0] > heat),
    ],
}


TestAnswers = answer_tests("14", WRONG, RIGHT)


@pytest.mark.parametrize("exercise", CHECKS)
def test_no_size_is_the_same_in_all_cases(exercise):
    assert sizes_that_never_vary(CHECKS[exercise]) == []
