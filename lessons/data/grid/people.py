"""Many people's clips and motions, some of whom are held out of everything."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lessons.data.clips import ClipSet, joined
from lessons.data.grid.align import to_frames, transcript
from lessons.data.grid.landmarks import LandmarkError, Timings, read_motions, read_word_timings
from lessons.data.grid.loading import load
from lessons.data.grid.mouth_set import MouthSetError, read_manifest
from lessons.data.image import resize_area, to_gray
from lessons.data.motions import Motion, spoken_span
from lessons.data.video import read_video


@dataclass(frozen=True)
class People:
    """What there is to learn from, and who is kept back.

    Attributes:
        training: clips of the speakers who are seen.
        validation: their clips that are held out, and all clips of the speakers who are.
        motions: by clip id, of speakers who are seen; none of a clip in ``validation``.
        held_out: the speakers of whom nothing is in the training.
    """

    training: ClipSet
    validation: ClipSet
    motions: Mapping[str, Motion]
    held_out: frozenset[str]


def load_people(
    roots: Sequence[str | Path], size: tuple[int, int] = (32, 64), held_out: Sequence[str] = ()
) -> People:
    """Load mouth sets of several people; beside their clips may lie ``landmarks/`` and ``roi/``.

    ``landmarks/sN.npz`` with ``alignments_*.jsonl.gz`` beside the folder: :mod:`lessons.data.grid.landmarks`.
    ``roi/``: a ``manifest.csv`` of ``id,speaker,transcript,n_frames`` and square clips ``ID.mp4`` with
    the mouth in their upper half; they need the same word timings. They are for training only.

    Args:
        roots: folders of mouth sets; of clips with one id, the last folder's is taken.
        size: (H, W) of the frames.
        held_out: speakers to keep back; none named means those without a clip in split "train". A clip that
            one of the manifests puts in another split is held out.

    Raises:
        MouthSetError, AlignError, LandmarkError, VideoError: files that are missing, damaged or contradict
            each other; a speaker to be held out of whom there is no clip; nobody left to learn from or to
            test on.
    """
    manifests = {Path(root): read_manifest(Path(root) / "manifest.csv") for root in roots}
    entries = [entry for manifest in manifests.values() for entry in manifest]
    kept = {entry.id for entry in entries if entry.split != "train"}  # in one manifest: held out in all
    speakers = {entry.speaker for entry in entries}
    seen = {entry.speaker for entry in entries if entry.id not in kept}
    back = frozenset(held_out) or frozenset(speakers - seen)
    if unknown := sorted(back - speakers):
        raise MouthSetError(f"hold out {unknown}: no clip of them; expected some of {sorted(speakers)}")
    kept |= {entry.id for entry in entries if entry.speaker in back}
    if not kept:
        raise MouthSetError(f"{', '.join(map(str, roots))}: no clip is held out to test on; name a speaker")
    timings: dict[str, Timings] = {}
    for path in (path for root in manifests for path in sorted(root.glob("alignments_*.jsonl.gz"))):
        timings |= read_word_timings(path)
    for entry in entries:
        other = timings[entry.id].speaker if entry.id in timings else entry.speaker
        if other != entry.speaker:
            raise MouthSetError(
                f"{entry.id}: a clip of {entry.speaker!r} by manifest.csv, of {other!r} by the word timings; "
                "correct one of them, for a speaker must be held out of both"
            )
    motions = {
        motion.id: motion
        for root in manifests
        for path in _landmarks(root)
        if path.stem not in back
        for motion in read_motions(path, timings, frozenset(kept))
    }
    sets = list(_square_clips(manifests, timings, size))
    for root, manifest in manifests.items():
        sets += [load(root, split, size) for split in sorted({entry.split for entry in manifest})]
    training = joined(sets, lambda name, speaker: name not in kept and speaker not in back)
    if not len(training):
        splits = ", ".join(sorted({repr(entry.split) for entry in entries}))
        raise MouthSetError(
            f"{', '.join(map(str, roots))}: no clip left to train on; expected some in split 'train', "
            f"found {splits}"
        )
    return People(training, joined(sets, lambda name, speaker: name in kept), motions, back)


def _landmarks(root: Path) -> list[Path]:
    """The files of landmarks beside a mouth set."""
    folder = root / "landmarks"
    paths = sorted(folder.glob("*.npz"))
    if folder.exists() and not paths:
        raise LandmarkError(f"{folder}: expected a folder of sN.npz; complete or remove it")
    return paths


def _square_clips(
    roots: Iterable[Path], timings: Mapping[str, Timings], size: tuple[int, int]
) -> Iterator[ClipSet]:
    """Yield the clips of each ``roi/``, its rows in the order of its manifest."""
    for path in (root / "roi" / "manifest.csv" for root in roots):
        rows = _square_rows(path, timings) if path.is_file() else []
        if not rows:
            continue
        clips = []
        for name, _, n_frames in rows:
            video = path.with_name(f"{name}.mp4")
            frames = to_gray(read_video(video))  # (T, S, S)
            if len(frames) != n_frames or frames.shape[1] != frames.shape[2]:
                raise LandmarkError(
                    f"{video}: {frames.shape[2]}x{frames.shape[1]}, {len(frames)} frames; expected a square "
                    f"and {n_frames} frames, as {path.name} says"
                )
            clips.append(resize_area(_as_cropped(frames), size))  # (T, H, W)
        lengths = np.array([len(clip) for clip in clips], np.int64)  # (N,)
        frames = np.zeros((len(clips), lengths.max(), *size), np.uint8)  # (N, T, H, W)
        for n, clip in enumerate(clips):
            frames[n, : len(clip)] = clip
        segments = [timings[name].segments for name, *_ in rows]
        yield ClipSet(
            frames=frames,
            lengths=lengths,
            ids=tuple(name for name, *_ in rows),
            transcripts=tuple(transcript(some) for some in segments),
            segments=tuple(to_frames(some) for some in segments),
            speakers=tuple(speaker for _, speaker, _ in rows),
        )


def _as_cropped(squares: np.ndarray) -> np.ndarray:
    """Show as much around the mouth of square clips as a mouth crop does: (T, S, S) -> (T, 0.7 S, 1.4 S).

    A mouth is about 60 % of a square wide, 43 % of a crop; its middle is at 37 % of a square's height. What a
    crop shows beside the square is unknown: there the square's edge is repeated.
    """
    side = squares.shape[1]
    top, beside = round(0.02 * side), round(0.2 * side)
    rows = squares[:, top : top + side // 2 + beside]
    return np.pad(rows, ((0, 0), (0, 0), (beside, beside)), mode="edge")


def _square_rows(path: Path, timings: Mapping[str, Timings]) -> list[tuple[str, str, int]]:
    """Return id, speaker and number of frames of each clip in the manifest of a ``roi/``."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            found = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise LandmarkError(f"{path}: not a CSV text file ({error})") from error
    rows = []
    for row in found:
        name, speaker, n_frames = (row.get(column) or "" for column in ("id", "speaker", "n_frames"))
        if name not in timings or timings[name].speaker != speaker:
            raise LandmarkError(f"{path}: no word timings of clip {name!r} by {speaker!r}; expected them")
        _, end = spoken_span(to_frames(timings[name].segments))
        if not n_frames.isdecimal() or int(n_frames) < end:
            raise LandmarkError(f"{path}: n_frames={n_frames!r} of {name}, expected {math.ceil(end)} or more")
        rows.append((name, speaker, int(n_frames)))
    return rows
