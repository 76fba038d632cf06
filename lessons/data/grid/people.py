"""Many people's clips and motions, some of whom are held out of everything."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lessons.data.clips import ClipSet, joined
from lessons.data.grid.align import Segment, to_frames, transcript
from lessons.data.grid.landmarks import LandmarkError, read_motions, read_word_timings
from lessons.data.grid.loading import load
from lessons.data.grid.mouth_set import MouthSetError, read_manifest
from lessons.data.image import resize_area, to_gray
from lessons.data.motions import Motion
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

    ``landmarks/sN.npz`` with ``alignments_*.jsonl.gz`` beside it: :mod:`lessons.data.grid.landmarks`.
    ``roi/``: a ``manifest.csv`` of ``id,speaker,transcript,n_frames`` and square clips ``ID.mp4``, whose
    middle half is the mouth; they need the same word timings.

    Args:
        roots: folders of mouth sets; of clips with one id, the last folder's is taken.
        size: (H, W) of the frames.
        held_out: speakers to keep back; none named means those with clips in split "val" alone. A clip that
            one of the manifests holds out is held out.

    Raises:
        MouthSetError, AlignError, LandmarkError, VideoError: files that are missing, damaged or contradict
            each other; a speaker to be held out of whom there is no clip; nobody left to learn from.
    """
    roots = [Path(root) for root in roots]
    entries = [entry for root in roots for entry in read_manifest(root / "manifest.csv")]
    kept = {entry.id for entry in entries if entry.split == "val"}  # in one manifest: held out in all
    speakers = {entry.speaker for entry in entries}
    seen = {entry.speaker for entry in entries if entry.id not in kept}
    back = frozenset(held_out) or frozenset(speakers - seen)
    if unknown := sorted(back - speakers):
        raise MouthSetError(f"held out: no clip of {', '.join(unknown)}; there are {sorted(speakers)}")
    kept |= {entry.id for entry in entries if entry.speaker in back}
    timings = {}
    for path in (path for root in roots for path in sorted(root.glob("alignments_*.jsonl.gz"))):
        timings |= read_word_timings(path)
    motions = {
        motion.id: motion
        for root in roots
        for path in sorted((root / "landmarks").glob("*.npz"))
        if path.stem not in back
        for motion in read_motions(path, timings, frozenset(kept))
    }
    sets = list(_square_clips(roots, timings, size))
    sets += [load(root, split, size) for root in roots for split in _splits(root)]
    training = joined(sets, lambda name, speaker: name not in kept and speaker not in back)
    if not len(training):
        raise MouthSetError(f"{', '.join(map(str, roots))}: no clip left to train on")
    return People(training, joined(sets, lambda name, speaker: name in kept), motions, back)


def _splits(root: Path) -> list[str]:
    return sorted({entry.split for entry in read_manifest(root / "manifest.csv")})


def _square_clips(
    roots: Sequence[Path], timings: Mapping[str, tuple[Segment, ...]], size: tuple[int, int]
) -> Iterator[ClipSet]:
    """The clips of each ``roi/``."""
    for folder in (root / "roi" for root in roots if (root / "roi" / "manifest.csv").is_file()):
        with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        names, speakers, clips = [], [], []
        for row in rows:
            name = row.get("id")
            if name not in timings or not row.get("speaker"):
                raise LandmarkError(f"{folder / 'manifest.csv'}: no word timings or speaker of clip {name!r}")
            frames = to_gray(read_video(folder / f"{name}.mp4"))  # (T, H, H)
            rows_cut = frames.shape[1] // 4
            clips.append(resize_area(frames[:, rows_cut:-rows_cut], size))  # (T, H, W)
            names.append(name)
            speakers.append(row["speaker"])
        segments = [timings[name] for name in names]
        yield ClipSet(
            frames=np.stack(clips),
            lengths=np.array([len(clip) for clip in clips]),
            ids=tuple(names),
            transcripts=tuple(transcript(some) for some in segments),
            segments=tuple(to_frames(some) for some in segments),
            speakers=tuple(speakers),
        )
