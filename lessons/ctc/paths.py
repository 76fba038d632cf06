"""Paths and labels: which sequences of classes, one per frame, spell a label.

A path picks one class per frame, one of them the blank. Collapsing it merges equal neighbors, then drops the
blanks: "bb-i-n" spells "bin".

Source: Graves, Fernandez, Gomez, Schmidhuber, "Connectionist temporal classification", ICML 2006, section 3.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from torch import Tensor

from lessons.ctc.inputs import as_integers
from lessons.ctc.trellis import extend, may_skip

NEVER = float("-inf")  # log 0


def collapse(path: Tensor | Iterable[int], blank: int = 0) -> list[int]:
    """Return the label that a path spells: merge equal neighbors, then drop blanks (the paper's map B)."""
    return [label for label, _ in itertools.groupby(as_integers(path)) if label != blank]


def min_frames(target: Tensor | Iterable[int]) -> int:
    """Return the fewest frames that can spell ``target``: its length, and a blank between each equal pair.

    It is not 2L+1, the number of states of the extended label: a path may skip most blanks.
    """
    labels = as_integers(target)
    return len(labels) + sum(left == right for left, right in itertools.pairwise(labels))


def count_paths(frames: int, target: Tensor | Iterable[int]) -> int:
    """Return how many paths of ``frames`` frames spell ``target``, exactly.

    It is C(T+L, T-L) when no two neighbors of the target are equal, however many classes there are.

    Raises:
        ValueError: when ``frames`` is below 0.
    """
    if frames < 0:
        raise ValueError(f"frames is {frames}: expected at least 0")
    states = extend(target, blank=-1)
    if frames == 0:
        return int(len(states) == 1)  # the empty path spells the empty label
    skip = may_skip(states).tolist()
    ways = [int(s < 2) for s in range(len(states))]  # paths of one frame that end in state s
    for _ in range(1, frames):
        ways = [
            ways[s] + (ways[s - 1] if s >= 1 else 0) + (ways[s - 2] if skip[s] else 0)
            for s in range(len(states))
        ]
    return sum(ways[-2:])
