"""Clips that were never filmed: one person's frames in the order of another's motion.

For every frame of a motion, a frame of the person is chosen in which the mouth is much the same, and
preferably the one that follows the frame chosen before, so that pieces of real speech stay together. After
C. Bregler, M. Covell, M. Slaney, "Video Rewrite: Driving Visual Speech with Audio", SIGGRAPH 1997, which
chose by sounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lessons.data.clips import ClipSet
from lessons.data.motions import FRAMES, Motion, standardized, whole_clip

LEAST_CLIPS = 8  # of a person: fewer show too few shapes of a mouth
PIECES = 40  # clips of a person that one made clip is chosen from, so that the next one is another
CANDIDATES = 25  # frames that are weighed for each frame of the motion
JUMP = 0.6  # what a cut costs, in squared deviations of a measure
# How much each measure counts, see lessons.data.motions.MEASURES: the gap between the lips most.
IMPORTANCE = np.array([1.0, 1.0, 1.5, 0.7, 1.0, 0.5, 0.5, 0.7, 0.3], np.float32)


@dataclass(frozen=True)
class Person:
    """Whose frames can be chosen.

    Attributes:
        clips: K indices of this person's clips.
        measures: (K, T, 9) float32, of every frame, standardized over each clip.
    """

    clips: np.ndarray
    measures: np.ndarray


def find_people(clips: ClipSet, motions: Mapping[str, Motion]) -> dict[str, Person]:
    """Return everybody with at least ``LEAST_CLIPS`` clips of 75 frames whose motion is known."""
    found: dict[str, list[int]] = {}
    for i, name in enumerate(clips.ids):
        if name in motions and clips.lengths[i] == FRAMES:
            found.setdefault(clips.speakers[i], []).append(i)
    people = {}
    for speaker, indices in found.items():
        if len(indices) >= LEAST_CLIPS:
            rng = np.random.default_rng(0)  # of the trembling in silence
            measures = [standardized(whole_clip(motions[clips.ids[i]], rng)) for i in indices]
            people[speaker] = Person(np.array(indices), np.stack(measures).astype(np.float32))
    return people


def rewrite(
    motion: np.ndarray, person: Person, clips: ClipSet, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return (T, H, W) uint8 frames of ``person`` that move like ``motion``, and their measures (T, 9).

    Args:
        motion: (T, 9), standardized over the clip.
        person: of :func:`find_people`.
        clips: those that the person's indices count.
        rng: chooses the ``PIECES``.
    """
    some = rng.permutation(len(person.clips))[:PIECES]  # (K,)
    measures = person.measures[some].reshape(-1, motion.shape[1])  # (N, 9)
    chosen = closest_frames(motion, measures)  # (T,)
    source, frame = np.divmod(chosen, person.measures.shape[1])  # (T,) which piece, which of its frames
    frames = np.stack(
        [clips.frames[int(person.clips[some[s]]), f] for s, f in zip(source, frame, strict=True)]
    )
    return frames, measures[chosen]


def closest_frames(motion: np.ndarray, measures: np.ndarray) -> np.ndarray:
    """Return (T,) which rows of ``measures`` (N, 9) are near to ``motion`` (T, 9), with few cuts."""
    weight = np.sqrt(IMPORTANCE)
    wanted, offered = motion * weight, measures * weight
    distance = (
        np.square(wanted).sum(1)[:, None] + np.square(offered).sum(1) - 2 * wanted @ offered.T
    )  # (T, N)
    k = min(CANDIDATES, len(measures))
    candidates = np.argpartition(distance, k - 1, axis=1)[:, :k]  # (T, K)
    cost = np.take_along_axis(distance, candidates, axis=1)  # (T, K)
    total, back = cost[0], np.zeros(candidates.shape, int)
    for t in range(1, len(motion)):
        cut = np.abs(candidates[t] - candidates[t - 1][:, None] - 1) > 1  # (K before, K now)
        through = total[:, None] + JUMP * cut
        back[t] = through.argmin(0)
        total = through.min(0) + cost[t]  # (K,)
    path = [int(total.argmin())]
    for t in range(len(motion) - 1, 0, -1):
        path.append(int(back[t, path[-1]]))
    return candidates[np.arange(len(motion)), path[::-1]]  # (T,)
