"""Schedules: the learning rate (linear warm-up, cosine decay) and the weight of the timing loss."""

from __future__ import annotations

import math

from lessons.training.settings import Settings


def cosine(step: int, total: int, highest: float, warmup_steps: int, floor: float = 0.0) -> float:
    """The learning rate at ``step``: linear warm-up to ``highest``, cosine decay to ``floor`` times that."""
    warm = min(1.0, (step + 1) / warmup_steps)
    return highest * warm * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * step / total)))


def learning_rate(step: int, total: int, settings: Settings) -> float:
    """LipNet's learning rate at ``step``: it decays to 2 % of the highest."""
    return cosine(step, total, settings.learning_rate, settings.warmup_steps, floor=0.02)


def timing_weight(step: int, total: int, settings: Settings) -> float:
    """The weight of the timing loss at ``step``: from 1 to 0 at the middle of the run, then CTC alone."""
    return max(0.0, 1 - 2 * step / total) if settings.start == "timings" else 0.0
