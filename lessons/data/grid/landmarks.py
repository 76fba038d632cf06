"""Landmarks of GRID's mouths: how thousands of clips of many people move, without their videos.

A folder of landmarks holds one ``sN.npz`` for each speaker: for each word of each clip, and each of its
frames, the places of nine points that MediaPipe's FaceMesh found. Frames of silence are not in it. They come
from the authors of github.com/voR789/Lip-Reading, computed on GRID's videos.
"""

from __future__ import annotations

import gzip
import itertools
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lessons.data.grid.align import SILENCES, Segment, check_segments, to_frames, transcript
from lessons.data.motions import POINTS, Motion, mouth_measures

# Of a speaker's file: what it holds, the type of the numbers, and how many axes.
ARRAYS = {
    "names": ("U", 1),  # (C,) clip ids
    "words_per_clip": ("iu", 1),  # (C,)
    "word_len": ("iu", 1),  # (W,) frames of each word
    "coords": ("f", 2),  # (N, 18) x, y of the nine points in each frame of a word
}


class LandmarkError(ValueError):
    """A file of landmarks that cannot be used; the message names it."""


class Timings(NamedTuple):
    """Who says a clip, and when each word, in thousandths of a frame."""

    speaker: str
    segments: tuple[Segment, ...]


def read_word_timings(path: str | Path) -> dict[str, Timings]:
    """Return the word timings of many speakers by clip id: a line of JSON each, ``{"speaker", "id", "seg"}``.

    Raises:
        LandmarkError: a missing or damaged file, or a line that is something else.
        AlignError: timings that no clip of GRID can have.
    """
    path = Path(path)
    timings = {}
    try:
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").splitlines()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise LandmarkError(f"{path}: expected gzipped lines of word timings ({error})") from error
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
            name, speaker = row["id"], row["speaker"]
            segments = [(start, end, word) for start, end, word in row["seg"]]
            types = {(type(start), type(end), type(word)) for start, end, word in segments}
            sound = (type(name), type(speaker)) == (str, str) and types <= {(int, int, str)}
        except (ValueError, TypeError, KeyError, RecursionError):
            sound = False
        if not sound:
            raise LandmarkError(
                f'{where}: {line[:50]!r}; expected {{"speaker": ..., "id": ..., "seg": [...]}}'
            )
        checked = check_segments(enumerate(segments, start=1), f"{where} ({name})")
        timings[name] = Timings(speaker, checked)
    return timings


def read_motions(
    path: str | Path, timings: Mapping[str, Timings], leave_out: frozenset[str] = frozenset()
) -> Iterator[Motion]:
    """Yield the motions in ``sN.npz`` of all clips whose frames agree with their word timings.

    About 7 % do not (a word's frames are missing, or its timings were corrected later): which row belongs to
    which frame is then unknown.

    Args:
        path: of one speaker; the file's name is the speaker's.
        timings: of :func:`read_word_timings`.
        leave_out: ids of clips.

    Raises:
        LandmarkError: not such a file, or somebody else's, or one in which no clip can be used.
    """
    path = Path(path)
    names, counts, lengths, coords = _read_arrays(path)
    points = coords.astype(np.float32).reshape(-1, len(POINTS), 2)
    first_words = np.cumsum([0, *counts.tolist()]).tolist()  # of each clip, and where the last one ends
    first_frames = np.cumsum([0, *lengths.tolist()]).tolist()  # the same of each word
    wanted = [name for name in names.tolist() if name not in leave_out]
    n_used = 0
    for name, (word, next_word) in zip(names.tolist(), itertools.pairwise(first_words), strict=True):
        if name not in timings:
            continue
        if timings[name].speaker != path.stem:
            raise LandmarkError(
                f"{path}: {name} is a clip of {timings[name].speaker}, as the word timings say; name "
                "each file after its speaker, and keep one of each"
            )
        if name in leave_out:
            continue
        segments = to_frames(timings[name].segments)
        spoken = [(round(start), round(stop)) for start, stop, text in segments if text != SILENCES[0]]
        gapless = all(before[1] == after[0] for before, after in itertools.pairwise(spoken))
        if not gapless or [stop - start for start, stop in spoken] != lengths[word:next_word].tolist():
            continue
        mouth = points[first_frames[word] : first_frames[next_word]]  # (N, 9, 2)
        if np.isfinite(mouth).all():
            n_used += 1
            yield Motion(name, path.stem, transcript(segments), segments, spoken[0][0], mouth_measures(mouth))
    if wanted and not n_used:
        raise LandmarkError(
            f"{path}: none of its {len(wanted)} clips has finite coordinates and word timings of as many "
            f"frames (alignments_*.jsonl.gz beside {path.parent.name}/); complete them, or remove the file"
        )


def _read_arrays(path: Path) -> list[np.ndarray]:
    """Return the ``ARRAYS`` of a speaker's file, which fit each other."""
    try:
        with np.load(path) as data:
            arrays = [data[key] for key in ARRAYS]
    except Exception as error:  # a damaged archive raises a dozen kinds
        raise LandmarkError(f"{path}: expected the landmarks of a speaker ({error})") from error
    for array, (key, (kinds, axes)) in zip(arrays, ARRAYS.items(), strict=True):
        if array.dtype.kind not in kinds or array.ndim != axes:
            raise LandmarkError(
                f"{path}: {key} is {array.dtype} {array.shape}, expected {axes} axes of {kinds!r}"
            )
    names, counts, lengths, coords = arrays
    if (lengths < 0).any() or (counts < 0).any():
        raise LandmarkError(
            f"{path}: word_len or words_per_clip below 0, expected numbers of frames and words"
        )
    if coords.shape[1] != 2 * len(POINTS):
        raise LandmarkError(f"{path}: coords {coords.shape}, expected ({len(coords)}, {2 * len(POINTS)})")
    pairs = (
        ("words_per_clip", len(counts), "clips", len(names)),
        ("word_len", len(lengths), "words", int(counts.sum())),
        ("coords", len(coords), "frames", int(lengths.sum())),
    )
    for key, found, what, expected in pairs:
        if found != expected:
            raise LandmarkError(f"{path}: {key} has {found} rows, expected one for each of {expected} {what}")
    return arrays
