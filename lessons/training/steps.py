"""The steps of an epoch, and their clips, which a thread collects while the step before is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from lessons.data.clips import ClipSet, balanced_order
from lessons.training.distributed import ALONE, Part, Processes
from lessons.training.settings import Settings

Clips = TypeVar("Clips")  # what a step is fed with


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        number: steps before it, over all epochs.
        indices: the clips of its batch.
        part: this process's part of them.
        rng: what its augmentation draws from; None for clips as they are.
    """

    number: int
    indices: np.ndarray
    part: Part
    rng: np.random.Generator | None


def epoch_steps(epoch: int, clips: ClipSet, settings: Settings, processes: Processes = ALONE) -> list[Step]:
    """The steps of one epoch, drawn from (seed, epoch): each speaker comes equally often."""
    names = clips.speakers or ("",) * len(clips)
    order = balanced_order(names, np.random.default_rng((settings.seed, epoch)))  # (N,)
    starts = range(0, len(clips), settings.batch_size)
    steps = []
    for number, start in enumerate(starts, epoch * len(starts)):
        indices = order[start : start + settings.batch_size]  # (B,)
        rng = np.random.default_rng((settings.seed, epoch, start)) if settings.augmented else None
        steps.append(Step(number, indices, processes.part(len(indices)), rng))
    return steps


def collected_ahead(steps: Sequence[Step], collect: Callable[[Step], Clips]) -> Iterator[tuple[Step, Clips]]:
    """Each step with what ``collect`` gathers for it; a thread does so for the next step meanwhile."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        coming = thread.submit(collect, steps[0])
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            collected = coming.result()
            if following is not None:
                coming = thread.submit(collect, following)
            yield step, collected
