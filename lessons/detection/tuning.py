"""Tuning of the methods without training, on validation clips that no test uses.

Grids are small and stated; the tracker, with thirteen settings, gets a random search. What is maximized is
the mean AP50 over the validation conditions, the same for all methods.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace

import numpy as np
import torch

from lessons.data.synthetic.moving import MovingClips
from lessons.detection.baselines import average_maps, hold_boxes
from lessons.detection.boxes import Detections
from lessons.detection.center_points import decode
from lessons.detection.detector import Detector, to_input
from lessons.detection.scores import ap50, detect
from lessons.detection.tracker import TrackerSettings, track

Videos = list[list[Detections]]
DECAYS, THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9), (0.1, 0.3, 0.5)  # of held boxes
NEWEST = (0.2, 0.3, 0.5, 0.7, 0.85)  # of averaged maps
TRACKER = {
    "min_score": (0.03, 0.05, 0.1, 0.15, 0.2, 0.3),
    "gate": (2.0, 2.5, 3.0, 4.0),
    "process_noise": (0.3, 0.5, 0.8, 1.2, 2.0),
    "measurement_noise": (0.5, 0.8, 1.2, 2.0),
    "start_speed": (1.5, 2.5, 3.5),
    "forget": (0.6, 0.7, 0.8, 0.9, 1.0),
    "hit": (0.0, 0.5, 1.0, 1.5, 2.0, 3.0),
    "miss": (0.1, 0.3, 0.6, 1.0, 1.5),
    "weight": (0.3, 0.6, 1.0),
    "max_misses": (3, 5, 8, 12),
    "min_speed": (0.0, 0.5, 0.8, 1.2, 1.6, 2.0),
    "still": (1.0, 2.0, 3.0, 5.0),
    "young": (0.0, 0.5, 1.0, 2.0),
}
METHODS = ("held boxes", "averaged maps", "kalman tracker")  # all behind a detector without memory


@torch.no_grad()
def averaged(model: Detector, frames: np.ndarray, newest: float) -> Videos:
    """Detections of the moving average of a detector's maps."""
    maps, _ = model.eval()(to_input(torch.from_numpy(frames)))  # (T, N, classes + 4, H', W')
    smooth = average_maps(maps, newest)
    return [decode(smooth[:, i], frames.shape[2:]) for i in range(len(frames))]


def apply(method: str, settings: Mapping, model: Detector, frames: np.ndarray, found: Videos) -> Videos:
    """What one of ``METHODS`` reports in videos (N, T, H, W) in which ``model`` has ``found`` this."""
    size = frames.shape[2:]
    if method == "averaged maps":
        return averaged(model, frames, **settings)
    if method == "held boxes":
        return [hold_boxes(video, **settings) for video in found]
    if method == "kalman tracker":
        return [track(video, size, TrackerSettings(**settings)) for video in found]
    raise ValueError(f"method={method!r}: expected one of {', '.join(METHODS)}")


def tune(
    model: Detector, validation: Mapping[str, MovingClips], trials: int, seed: int = 0
) -> dict[str, dict]:
    """method -> ``{"settings", "ap50", "trials"}``, the best on the validation clips.

    Args:
        model: a detector without memory.
        validation: name of a condition -> its clips.
        trials: of the tracker: the first half at random, the other changes two settings of the best so far.
        seed: of the random search.
    """
    found = {name: detect(model, clips.frames) for name, clips in validation.items()}

    def value(method: str, settings: Mapping) -> float:
        values = [
            ap50(apply(method, settings, model, clips.frames, found[name]), clips)
            for name, clips in validation.items()
        ]
        return float(np.mean(values))

    grids = {
        "held boxes": [dict(decay=d, threshold=t) for d, t in itertools.product(DECAYS, THRESHOLDS)],
        "averaged maps": [dict(newest=newest) for newest in NEWEST],
    }
    best = {}
    for method, grid in grids.items():
        values = [value(method, settings) for settings in grid]
        k = int(np.argmax(values))
        best[method] = {"settings": grid[k], "ap50": round(values[k], 4), "trials": len(grid)}
    settings, highest = search(lambda s: value("kalman tracker", asdict(s)), trials, seed)
    best["kalman tracker"] = {"settings": asdict(settings), "ap50": round(highest, 4), "trials": trials}
    return best


def search(
    value: Callable[[TrackerSettings], float], trials: int, seed: int
) -> tuple[TrackerSettings, float]:
    """The best of ``trials`` settings from ``TRACKER``, the default first, and its value."""
    rng = np.random.default_rng(seed)
    best = TrackerSettings()
    highest = value(best)
    for i in range(1, trials):
        far = i < trials // 2
        names = list(TRACKER) if far else rng.choice(list(TRACKER), 2, replace=False)
        changes = {name: TRACKER[name][rng.integers(len(TRACKER[name]))] for name in names}
        settings = replace(best, **changes)
        if (now := value(settings)) > highest:
            best, highest = settings, now
    return best, highest
