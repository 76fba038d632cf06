"""Landmarks of GRID's mouths: how thousands of clips of many people move, without their videos.

A folder of landmarks holds one ``sN.npz`` for each speaker: for each word of each clip, and each of its
frames, the places of nine points that MediaPipe's FaceMesh found. Frames of silence are not in it. They come
from the authors of github.com/voR789/Lip-Reading, computed on GRID's videos.
"""

from __future__ import annotations

import gzip
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from lessons.data.grid.align import SILENCES, Segment, check_segments, to_frames, transcript
from lessons.data.motions import POINTS, Motion, mouth_measures


class LandmarkError(ValueError):
    """A file of landmarks that cannot be used; the message names it."""


def read_word_timings(path: str | Path) -> dict[str, tuple[Segment, ...]]:
    """Return the word timings of many speakers by clip id: a line of JSON each, ``{"speaker", "id", "seg"}``.

    Raises:
        LandmarkError: a missing file, or a line that is something else.
        AlignError: timings that no clip of GRID can have.
    """
    path = Path(path)
    timings = {}
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                row = json.loads(line)
                segments = [(start, end, word) for start, end, word in row["seg"]]
                timings[row["id"]] = check_segments(enumerate(segments, start=1), f"{path}, line {number}")
    except (OSError, EOFError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise LandmarkError(f"{path}: expected gzipped lines of word timings ({error})") from error
    return timings


def read_motions(
    path: str | Path, timings: Mapping[str, tuple[Segment, ...]], leave_out: frozenset[str] = frozenset()
) -> Iterator[Motion]:
    """Yield the motions in ``sN.npz`` of all clips whose frames agree with their word timings.

    About 3 % do not (a word's frames are missing, or its timings were corrected later): which row belongs to
    which frame is then unknown.

    Args:
        path: of one speaker; the file's name is the speaker's.
        timings: of :func:`read_word_timings`.
        leave_out: ids of clips.

    Raises:
        LandmarkError: not such a file.
    """
    path = Path(path)
    try:
        with np.load(path) as data:
            keys = ("names", "words_per_clip", "word_len", "coords")
            names, counts, lengths, coords = (data[key] for key in keys)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise LandmarkError(f"{path}: expected the landmarks of a speaker ({error})") from error
    fits = int(lengths.sum()) == len(coords) and int(counts.sum()) == len(lengths)
    if not fits or coords.shape[1:] != (2 * len(POINTS),):
        raise LandmarkError(f"{path}: landmarks {coords.shape} do not fit its words' {lengths.sum()} frames")
    points = coords.astype(np.float32).reshape(-1, len(POINTS), 2)
    words = np.split(lengths.astype(int), np.cumsum(counts)[:-1])  # frames of each word, by clip
    ends = np.cumsum([word.sum() for word in words])
    for name, frames, end in zip(names.tolist(), words, ends.tolist(), strict=True):
        if name in leave_out or name not in timings:
            continue
        segments = to_frames(timings[name])
        spoken = [(round(start), round(stop)) for start, stop, word in segments if word != SILENCES[0]]
        gapless = all(before[1] == after[0] for before, after in itertools.pairwise(spoken))
        if not gapless or [stop - start for start, stop in spoken] != frames.tolist():
            continue
        measures = mouth_measures(points[end - frames.sum() : end])  # (N, 9)
        if np.isfinite(measures).all():
            yield Motion(name, path.stem, transcript(segments), segments, spoken[0][0], measures)
