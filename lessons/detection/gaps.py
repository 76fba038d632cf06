"""Where a box is while its object cannot be seen: nearer the true place, or where it was last seen?"""

from __future__ import annotations

import numpy as np

from lessons.data.synthetic.moving import MovingClips
from lessons.detection.boxes import Detections
from lessons.detection.scores import MIN_VISIBLE

REACH = 24.0  # pixels: a box further from where the object was last seen is another object's
GAPS = (1, 2, 3, 4, 5, 6)  # frames since the object was last seen


def frames_since_seen(clips: MovingClips) -> np.ndarray:
    """(N, T, objects) frames since each object was last seen; 0 while it is, -1 before its first sight."""
    seen = clips.visible >= MIN_VISIBLE
    since = np.full(seen.shape, -1)
    for t in range(seen.shape[1]):
        before = since[:, t - 1] if t else since[:, 0]
        since[:, t] = np.where(seen[:, t], 0, np.where(before >= 0, before + 1, -1))
    return since


def gap_errors(found: list[list[Detections]], clips: MovingClips) -> list[dict]:
    """Per gap length, how far the reported box is from the true center, and the last-seen center from it.

    The box of an object is the one with the highest score among those of its class within ``REACH`` of where
    it was last seen: the truth of the hidden frames plays no part in the choice. Objects with another one of
    their class in the clip are left out, since either's box could be meant.

    Returns:
        a row per gap: ``gap``, ``cases``, ``reported`` (the fraction with a box at all), ``nearer`` (the
        fraction of these in which the box is nearer the true center than the last-seen one is), ``error`` and
        ``last_seen_error`` (median distances in pixels, of these).
    """
    since = frames_since_seen(clips)
    centers = (clips.boxes[..., :2] + clips.boxes[..., 2:]) / 2  # (N, T, objects, 2)
    rows = []
    for gap in GAPS:
        pairs, cases = [], 0
        for i, t, k in np.argwhere(since == gap):
            label = clips.labels[i, k]
            if (clips.labels[i] == label).sum() != 1:
                continue
            cases += 1
            last, true, frame = centers[i, t - gap, k], centers[i, t, k], found[i][t]
            boxes = frame.boxes[frame.labels == int(label)].numpy()
            places = (boxes[:, :2] + boxes[:, 2:]) / 2
            near = np.flatnonzero(np.hypot(*(places - last).T) <= REACH)
            if len(near):
                scores = frame.scores[frame.labels == int(label)].numpy()
                place = places[near[scores[near].argmax()]]
                pairs.append((np.hypot(*(place - true)), np.hypot(*(last - true))))
        errors = np.array(pairs).reshape(-1, 2)
        rows.append(
            {
                "gap": gap,
                "cases": cases,
                "reported": len(errors) / cases if cases else np.nan,
                "nearer": float((errors[:, 0] < errors[:, 1]).mean()) if len(errors) else np.nan,
                "error": float(np.median(errors[:, 0])) if len(errors) else np.nan,
                "last_seen_error": float(np.median(errors[:, 1])) if len(errors) else np.nan,
            }
        )
    return rows
