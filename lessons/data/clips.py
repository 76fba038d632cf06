"""A set of mouth clips in memory, as bytes. It needs no torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lessons.data.cached_frames import CachedFrames

SILENCES = ("sil", "sp")  # "words" of a ClipSet: silence around the sentence; a short pause inside it


class SelectedFrames:
    """Frames of clips from several arrays, indexed like one array: ``frames[i]``, ``frames[i, some]``.

    Args:
        sources: arrays (N, T, H, W) uint8, of one H and W; shorter clips are padded with zeros when read.
        places: for each clip, which array and which of its clips.

    Raises:
        ValueError: frames of several sizes.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(
        self, sources: Sequence[np.ndarray | CachedFrames], places: Sequence[tuple[int, int]]
    ) -> None:
        sizes = {tuple(source.shape[2:]) for source in sources}
        if len(sizes) != 1:
            raise ValueError(f"sources: frames of {sorted(sizes)}, expected one (H, W)")
        self.sources, self.places = sources, places
        self.shape = (len(places), max(source.shape[1] for source in sources), *sizes.pop())

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: object) -> np.ndarray:
        """Return one clip (T, H, W), parts of it, or several clips (N, T, H, W): a list, a slice, a mask.

        Raises:
            IndexError: no such clip, or parts of several clips.
        """
        which, *part = index if isinstance(index, tuple) else (index,)
        chosen = np.arange(len(self.places))[which]  # as numpy understands it
        if chosen.ndim == 0:
            return self._clip(int(chosen))[tuple(part)]
        if part:
            raise IndexError(f"{index!r}: expected parts of one clip, or several clips whole")
        clips = np.zeros((len(chosen), *self.shape[1:]), self.dtype)  # (N, T, H, W)
        for n, i in enumerate(chosen.tolist()):
            clips[n] = self._clip(i)
        return clips

    def _clip(self, i: int) -> np.ndarray:
        """Return one clip (T, H, W)."""
        source, place = self.places[i]
        clip = self.sources[source][place]  # (T', H, W)
        missing = self.shape[1] - len(clip)
        return np.pad(clip, ((0, missing), (0, 0), (0, 0))) if missing else clip


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
        speakers: N names of who speaks; empty where it is not known.
    """

    frames: np.ndarray | CachedFrames | SelectedFrames
    lengths: np.ndarray
    ids: tuple[str, ...]
    transcripts: tuple[str, ...]
    segments: tuple[tuple[tuple[float, float, str], ...], ...]
    speakers: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, indices: Sequence[int]) -> ClipSet:
        """The clips at ``indices``, in that order."""
        indices = list(indices)
        return ClipSet(
            self.frames[indices],
            self.lengths[indices],
            *(tuple(field[i] for i in indices) for field in (self.ids, self.transcripts, self.segments)),
            tuple(self.speakers[i] for i in indices) if self.speakers else (),
        )


def joined(sets: Sequence[ClipSet], keep: Callable[[str, str], bool] = lambda name, who: True) -> ClipSet:
    """Join sets of clips; of clips with the same id, the last one is kept. No frame is copied.

    Args:
        sets: of clips with frames of one size.
        keep: called with a clip's id and speaker, ``""`` where it is not known.

    Raises:
        ValueError: frames of several sizes.
    """
    names = [clips.speakers or ("",) * len(clips) for clips in sets]
    last = {name: (s, i) for s, clips in enumerate(sets) for i, name in enumerate(clips.ids)}
    places = [(s, i) for name, (s, i) in last.items() if keep(name, names[s][i])]
    fields = [
        tuple(getattr(sets[s], field)[i] for s, i in places) for field in ("ids", "transcripts", "segments")
    ]
    lengths = np.array([sets[s].lengths[i] for s, i in places], np.int64)  # (N,)
    frames = SelectedFrames([clips.frames for clips in sets], places)
    return ClipSet(frames, lengths, *fields, tuple(names[s][i] for s, i in places))


def balanced_order(speakers: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """Return the order of one epoch: as many clips as there are, with every speaker equally often.

    Clips of a speaker with few clips are repeated; of a speaker with many clips, only some are drawn, and
    others in the next epoch. With one speaker, or none named, it is a permutation of all clips.

    Args:
        speakers: N names, one per clip.
        rng: the source of randomness.

    Returns:
        (N,) int64, indices of clips.
    """
    if len(set(speakers)) <= 1:
        return rng.permutation(len(speakers))
    names = np.array(speakers)
    groups = [np.flatnonzero(names == name) for name in sorted(set(speakers))]
    share, extra = divmod(len(names), len(groups))
    lucky = set(rng.permutation(len(groups))[:extra].tolist())  # get one more, so that N come together
    drawn = []
    for g, group in enumerate(groups):
        count = share + (g in lucky)
        rounds = [rng.permutation(group) for _ in range(-(-count // len(group)))]
        drawn.append(np.concatenate(rounds)[:count] if rounds else group[:0])
    return rng.permutation(np.concatenate(drawn))
