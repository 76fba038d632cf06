"""A set of mouth clips in memory, as bytes. No torch here: whoever only loads clips stays small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClipSet:
    """Gray mouth clips with their sentences and word timings, held in memory as bytes.

    900 clips of 75 frames at 32x64 take 138 MB: a float copy would take four times as much, so pixels
    become floats only one batch at a time.

    Attributes:
        frames: (N, T, H, W) uint8, gray; a clip shorter than T is padded with zeros.
        lengths: (N,) int64, the valid frames of each clip.
        ids: N names.
        transcripts: N sentences, words separated by one space.
        segments: for each clip its words in time, ``(start, end, word)`` in frames, end exclusive;
            silence is the word ``sil``, a short pause ``sp``.
    """

    frames: np.ndarray
    lengths: np.ndarray
    ids: tuple[str, ...]
    transcripts: tuple[str, ...]
    segments: tuple[tuple[tuple[float, float, str], ...], ...]

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, indices: Sequence[int]) -> ClipSet:
        """The clips at ``indices``, in that order."""
        indices = list(indices)
        return ClipSet(
            self.frames[indices],
            self.lengths[indices],
            *(tuple(field[i] for i in indices) for field in (self.ids, self.transcripts, self.segments)),
        )
