"""What changes with the step: the learning rate (warm-up, then half a cosine), the weight of the timings."""

from __future__ import annotations

import math

from lessons.training.settings import Settings


def cosine(step: int, total: int, highest: float, warmup_steps: int, floor: float = 0.0) -> float:
    """Up to ``highest`` over the warm-up, then down along half a cosine to ``floor`` of it."""
    warm = min(1.0, (step + 1) / warmup_steps)
    return highest * warm * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / total)))


def learning_rate(step: int, total: int, settings: Settings) -> float:
    """LipNet's: down to 2 % of the highest."""
    return cosine(step, total, settings.learning_rate, settings.warmup_steps, floor=0.02)


def timing_weight(step: int, total: int, settings: Settings) -> float:
    """The weight of the timing loss: frames have labels at first; CTC takes over by the middle of the run."""
    return max(0.0, 1 - 2 * step / total) if settings.start == "timings" else 0.0
