"""Real clips: the GRID corpus, cut to mouths and ready to load.

M. Cooke, J. Barker, S. Cunningham, X. Shao, "An audio-visual corpus for speech perception and automatic
speech recognition", JASA 120(5), 2421-2424, 2006, doi 10.1121/1.2229005.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from lessons.data.cached_frames import cached_frames
from lessons.data.clips import ClipSet
from lessons.data.grid.align import to_frames
from lessons.data.grid.mouth_set import Entry, MouthSetError, check_pair, read_alignments, read_manifest
from lessons.data.image import resize_area, to_gray
from lessons.data.video import read_video

REPOSITORY = Path(__file__).resolve().parents[3]
LARGEST_IN_MEMORY = 2**29  # bytes of frames


def find_mouth_set() -> Path | None:
    """The folder of the compact mouth set, or None.

    Looks at the environment variable LESSONS_GRID, then ``data/grid`` in the repository, then ``shared/grid``
    beside the repository.

    Raises:
        MouthSetError: LESSONS_GRID is set but holds no manifest.csv.
    """
    named = os.environ.get("LESSONS_GRID")
    if named:
        if not (Path(named) / "manifest.csv").is_file():
            raise MouthSetError(f"LESSONS_GRID: {named!r} holds no manifest.csv; unset it or correct it")
        return Path(named)
    for folder in (REPOSITORY / "data" / "grid", REPOSITORY.parent / "shared" / "grid"):
        if (folder / "manifest.csv").is_file():
            return folder
    return None


def load(
    root: str | Path, split: str, size: tuple[int, int] = (32, 64), cache: str | Path | None = None
) -> ClipSet:
    """Load one split of a compact mouth set as gray bytes; one clip at a time is decoded.

    900 clips of 75 frames at 32x64 are 138 MB. More than ``LARGEST_IN_MEMORY`` bytes stay in a file, see
    :mod:`lessons.data.cached_frames`.

    Args:
        root: folder with manifest.csv, alignments.jsonl and mouths/.
        split: a name in the manifest's column ``split``: "train" or "val".
        size: (height, width) of the frames; a mouth is twice as wide as high.
        cache: folder for a large split's frames; by default ``cache`` in ``root``.

    Raises:
        MouthSetError: files missing or contradicting each other, or a split without clips.
        AlignError: bad word timings.
        VideoError: a clip that does not decode.
        OSError: the cache cannot be written.
        ValueError: a size that is not (height, width) of a mouth.
    """
    root = Path(root)
    height, width = size
    if not 1 <= height <= width:
        raise ValueError(f"size: {size}; expected (height, width), height <= width: mouths are wide")
    everything = read_manifest(root / "manifest.csv")
    entries = [entry for entry in everything if entry.split == split]
    if not entries:
        found = sorted({entry.split for entry in everything})
        raise MouthSetError(f"{root / 'manifest.csv'}: no clip in split {split!r}; there are {found}")
    alignments = read_alignments(root / "alignments.jsonl")
    segments = tuple(to_frames(check_pair(entry, alignments, root)) for entry in entries)
    paths = _videos(root, entries)

    def decode(n: int) -> np.ndarray:
        return _decode(paths[n], entries[n].n_frames, size)

    lengths = np.array([entry.n_frames for entry in entries], dtype=np.int64)  # (N,)
    decode(int(lengths.argmax()))  # before there is room for so many frames: a manifest can say anything
    shape = (len(entries), int(lengths.max()), height, width)
    if np.prod(shape) > LARGEST_IN_MEMORY:
        folder = root / "cache" if cache is None else Path(cache)
        frames = cached_frames(folder, paths, lengths.tolist(), size, decode)
    else:
        frames = np.zeros(shape, dtype=np.uint8)  # (N, T, H, W)
        for n in tqdm(range(len(entries)), desc=f"loading {split}", unit="clip"):
            frames[n, : lengths[n]] = decode(n)
    return ClipSet(
        frames=frames,
        lengths=lengths,
        ids=tuple(entry.id for entry in entries),
        transcripts=tuple(entry.transcript for entry in entries),
        segments=segments,
        speakers=tuple(entry.speaker for entry in entries),
    )


def _videos(root: Path, entries: list[Entry]) -> list[Path]:
    """Return the video of each clip."""
    paths = [root / "mouths" / f"{entry.id}.mp4" for entry in entries]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise MouthSetError(
            f"{root / 'mouths'}: {len(missing)} of {len(entries)} clips missing, the first {missing[0]}"
        )
    return paths


def _decode(path: Path, n_frames: int, size: tuple[int, int]) -> np.ndarray:
    """Return a clip of as many frames as the manifest says, (T, H, W) uint8."""
    clip = resize_area(to_gray(read_video(path)), size)  # (T, H, W)
    if len(clip) != n_frames:
        raise MouthSetError(f"{path}: {len(clip)} frames, but manifest.csv says {n_frames}")
    return clip
