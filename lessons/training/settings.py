"""The hyperparameters of the two trainings: all that decides a run's numbers, beside model and data."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True)
class Settings:
    """How to train LipNet.

    Attributes:
        epochs: passes over the training clips.
        batch_size: clips per step.
        learning_rate: the highest, see ``lessons.training.schedule``.
        warmup_steps: steps of the rise.
        weight_decay: of AdamW, on matrices and filters, not on biases and norms.
        clip_norm: gradients are clipped to this norm.
        average: the weights that are kept are a running mean over about 1 / (1 - average) steps.
        start: ``"plain"`` learns from CTC alone; ``"timings"`` adds, over the first half of the run and ever
            less, a cross-entropy with the class each frame has by the word timings.
        augmented: change the clips at every step, see ``lessons.data.augmentation``.
        seed: of everything.

    Raises:
        ValueError: a number that is out of range.
    """

    epochs: int = 90
    batch_size: int = 8
    learning_rate: float = 2e-3
    warmup_steps: int = 150
    weight_decay: float = 0.02
    clip_norm: float = 5.0
    average: float = 0.999
    start: Literal["timings", "plain"] = "timings"
    augmented: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"warmup_steps": 0, "motion_epochs": 0, "seed": 0}
        for name, value in asdict(self).items():
            if type(value) is int and value < least.get(name, 1):
                raise ValueError(f"{name}={value}: expected {least.get(name, 1)} or more")
            if name in ("average", "keep", "spliced", "slow") and not 0 <= value <= 1:
                raise ValueError(f"{name}={value}: expected a fraction from 0 to 1")
            if name in ("learning_rate", "clip_norm") and not value > 0:
                raise ValueError(f"{name}={value}: expected more than 0")


@dataclass(frozen=True)
class StrangerSettings(Settings):
    """How to train a LipNet that reads people it never saw; ``batch_size`` counts the clips of a step.

    Clips are always changed, see ``lessons.data.disguise``; ``augmented`` says nothing here.

    Attributes:
        epochs: here an epoch is ``steps_per_epoch`` steps, for examples are drawn, not used up.
        motion_epochs: of these, so many at first learn from motions alone, as many as a step has examples.
        motions: of a step, without a picture.
        keep: fraction of the clips whose neck is open; of the others the measures alone are read.
        spliced: fraction of the clips that get words of another sentence of their speaker.
        slow: fraction of the clips that look as if a slower camera had taken them.
    """

    epochs: int = 240
    batch_size: int = 12
    steps_per_epoch: int = 100
    motion_epochs: int = 50
    motions: int = 14
    keep: float = 0.6
    spliced: float = 0.0
    slow: float = 0.0


@dataclass(frozen=True)
class Recipe:
    """How to train and to test a video detector; the memory is not part of it.

    Attributes:
        frame_steps, frame_batch: of stage 1: its steps, and the frames in each.
        steps, clips, n_frames: of stage 2: its steps, and the clips in each and their length.
        vanish: each clip of stage 2 hides each object in its own fraction of the frames, from 0 to this.
        learning_rate: the highest, of both stages; it rises to it at once and falls to nothing.
        hidden_channels: D of the memory.
        test_clips, test_frames: what to test on.
        seed: of weights and training clips. The test clips are always the same.

    Raises:
        ValueError: a count below 1, a learning rate that is not positive, a fraction outside 0 … 1.
    """

    frame_steps: int = 800
    frame_batch: int = 20
    steps: int = 3600
    clips: int = 4
    n_frames: int = 10
    vanish: float = 0.75
    learning_rate: float = 6e-3
    hidden_channels: int = 64
    test_clips: int = 80
    test_frames: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = 0 if name == "seed" else 1
            if isinstance(value, int) and name not in ("vanish", "burst", "learning_rate") and value < least:
                raise ValueError(f"{name}={value}: expected {least} or more")
        if not 0 <= self.vanish <= 1:
            raise ValueError(f"vanish={self.vanish}: expected a fraction from 0 to 1")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate={self.learning_rate}: expected more than 0")


@dataclass(frozen=True)
class DetectorRecipe(Recipe):
    """A :class:`Recipe` for the course's detectors, which are compared with methods without training.

    Attributes:
        burst: every other step of stage 2 hides objects for so many frames in a row, on average.
        tuning_clips, trials: what to tune the methods without training on, and how many settings to try.
    """

    burst: float = 4.0
    tuning_clips: int = 12
    trials: int = 200
