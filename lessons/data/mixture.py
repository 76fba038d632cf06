"""What a step of training learns from when many people's motions are known and few people's videos.

Two kinds of example: clips, and motions without a picture. Everybody has a say: a speaker of n clips is drawn
in proportion to the square root of n, so one with a thousand does not drown one with ten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from lessons.data.batch import encode_labels, normalize, send
from lessons.data.clips import SILENCES, ClipSet
from lessons.data.disguise import disguise
from lessons.data.grid.align import transcript
from lessons.data.motions import FRAMES, MEASURES, Motion, spoken_span, varied, warped_time
from lessons.data.synthetic.talker import TALKER

Item = TypeVar("Item")
Disguise = Callable[[Tensor, np.random.Generator], Tensor]  # clips (B, T, H, W), 0 to 255, and the same again
SHARE = 0.5  # a speaker of n clips is drawn in proportion to n ** SHARE
SLOWEST = 2.0  # a slow camera takes at least one frame of so many


class Example(NamedTuple):
    """One sentence in T frames.

    frames: (T, H, W) uint8, or None of a motion alone.
    measures: (T, 9) float32.
    known: (T,) in which frames the measures are known.
    target: (L,) its classes.
    labels: (T,) the class of each frame by the word timings.
    """

    frames: np.ndarray | None
    measures: np.ndarray
    known: np.ndarray
    target: Tensor
    labels: np.ndarray


@dataclass(frozen=True)
class MixedBatch:
    """B clips and M motions of T frames. Lengths are on the CPU, all else on the device.

    motions: (T, M, 9) measures.
    targets: (sum of target_lengths,) classes of the B + M sentences.
    target_lengths: (B + M,).
    frame_labels: (B + M, T) the class of each frame by the word timings.
    x: (B, 1, T, H, W) clips, normalized; None, like the rest, where there are only motions.
    measures: (T, B, 9) of the mouths in the clips, at any scale.
    known: (T, B) in which frames they are known.
    """

    motions: Tensor
    targets: Tensor
    target_lengths: Tensor
    frame_labels: Tensor
    x: Tensor | None = None
    measures: Tensor | None = None
    known: Tensor | None = None


@dataclass(frozen=True)
class Examples:
    """The clips and motions of a step, on the CPU as bytes and numbers.

    rng: what the disguise of the clips draws from next.
    """

    clips: list[Example]
    motions: list[Example]
    rng: np.random.Generator

    def to(self, device: torch.device, disguise: Disguise = disguise) -> MixedBatch:
        """Send them to ``device``, and disguise and normalize the clips there."""
        both = self.clips + self.motions
        seen = {}
        if self.clips:
            frames = _stack([example.frames for example in self.clips], device)  # (B, T, H, W)
            seen = {
                "x": normalize(disguise(frames, self.rng), check=False)[:, None],  # (B, 1, T, H, W)
                "measures": _stack([example.measures for example in self.clips], device).transpose(0, 1),
                "known": _stack([example.known for example in self.clips], device).transpose(0, 1),
            }
        return MixedBatch(
            motions=_stack([example.measures for example in self.motions], device).transpose(0, 1),
            targets=send(torch.cat([example.target for example in both]), device),
            target_lengths=torch.tensor([len(example.target) for example in both]),
            frame_labels=_stack([example.labels for example in both], device),
            **seen,
        )


def _stack(arrays: list[np.ndarray], device: torch.device) -> Tensor:
    return send(torch.from_numpy(np.stack(arrays)), device)


class Said(NamedTuple):
    """A sentence in a video.

    frames: (T, H, W) uint8.
    measures: (T, 9) float32.
    known: (T,) in which frames the measures are known.
    segments: its words in time, as in :class:`lessons.data.clips.ClipSet`.
    """

    frames: np.ndarray
    measures: np.ndarray
    known: np.ndarray
    segments: tuple[tuple[float, float, str], ...]

    @property
    def words(self) -> list[tuple[float, float, str]]:
        """The segments that are no silence."""
        return [segment for segment in self.segments if segment[2] not in SILENCES]


def spliced(one: Said, other: Said, rng: np.random.Generator) -> Said:
    """Replace some words in a row by those at the same places of another sentence, pictures and all.

    A hundred sentences of a speaker become thousands, so their words and not the sentences are learned. Cuts
    are where words begin and end. Sentences of different numbers of words have no places in common: then
    ``one`` is returned.
    """
    words, others = one.words, other.words
    if len(words) != len(others):
        return one
    first, last = np.sort(rng.integers(0, len(words), 2))
    begin, end = round(words[first][0]), round(words[last][1])  # what goes
    start, stop = round(others[first][0]), min(round(others[last][1]), len(other.frames))  # what comes
    parts = (
        np.concatenate((mine[:begin], theirs[start:stop], mine[end:]))
        for mine, theirs in zip(one[:3], other[:3], strict=True)
    )
    here, later = begin - start, begin + (stop - start) - end
    segments = (
        *(segment for segment in one.segments if segment[1] <= words[first][0]),
        *((a + here, b + here, w) for a, b, w in other.segments if others[first][0] <= a < others[last][1]),
        *((a + later, b + later, w) for a, b, w in one.segments if a >= words[last][1]),
    )
    return Said(*parts, segments)


class Mixture:
    """Draws examples.

    Args:
        clips: of any speakers.
        motions: by clip id; of these clips and of others.
        n_frames: T, of every example.
        spliced: how often a clip gets words of another, see :func:`spliced`.
        slow: how often a clip looks as if a slower camera had taken it.

    Raises:
        ValueError: no clips, or no motions; when one is drawn, a motion that does not fit in ``n_frames``.
    """

    def __init__(
        self,
        clips: ClipSet,
        motions: Mapping[str, Motion],
        n_frames: int = FRAMES,
        *,
        spliced: float = 0.0,
        slow: float = 0.0,
    ) -> None:
        if not len(clips) or not motions:
            raise ValueError(f"{len(clips)} clips, {len(motions)} motions: expected at least one of each")
        self.clips, self.motions, self.n_frames = clips, motions, n_frames
        self.spliced, self.slow = spliced, slow
        self._clips = _by_speaker(range(len(clips)), clips.speakers or ("",) * len(clips))
        self._motions = _by_speaker(list(motions.values()), [motion.speaker for motion in motions.values()])

    def draw(self, clips: int, motions: int, rng: np.random.Generator) -> Examples:
        """Draw so many examples of each kind."""
        return Examples(
            [self.clip(rng) for _ in range(clips)], [self.motion(rng) for _ in range(motions)], rng
        )

    def clip(self, rng: np.random.Generator) -> Example:
        """A clip, timed anew; often with words of another one of the same speaker, if that is one person."""
        speaker = _draw_speaker(self._clips, rng)
        group = self._clips[speaker]
        said = self._said(group[rng.integers(len(group))])
        one_person = speaker not in ("", TALKER)  # these names stand for many faces
        if one_person and self.spliced and rng.random() < self.spliced:
            said = spliced(said, self._said(group[rng.integers(len(group))]), rng)
        length = len(said.frames)
        shown = self._shown(said.segments, length, rng)  # (T,)
        labels = encode_labels(transcript(said.segments), said.segments, length, shown)  # (L,), (T,)
        return Example(said.frames[shown], said.measures[shown], said.known[shown], *labels)

    def _said(self, i: int) -> Said:
        """Clip i with its measures, where they are known."""
        length, segments = int(self.clips.lengths[i]), self.clips.segments[i]
        measures, known = np.zeros((length, len(MEASURES)), np.float32), np.zeros(length, bool)
        if self.clips.ids[i] in self.motions:
            motion = self.motions[self.clips.ids[i]]
            spoken = motion.measures[: max(0, length - motion.start)]  # (N, 9)
            there = slice(motion.start, motion.start + len(spoken))
            measures[there], known[there] = spoken, True
        return Said(self.clips.frames[i, :length], measures, known, segments)

    def motion(self, rng: np.random.Generator) -> Example:
        """A motion without a picture."""
        motion = _draw(self._motions, rng)
        measures, shown = varied(motion, rng, self.n_frames)  # (T, 9), (T,)
        labels = encode_labels(motion.transcript, motion.segments, self.n_frames, shown)  # (L,), (T,)
        return Example(None, measures, np.ones(self.n_frames, bool), *labels)

    def _shown(self, segments: tuple, length: int, rng: np.random.Generator) -> np.ndarray:
        """(T,) which of ``length`` frames to show when the sentence is timed anew."""
        moments = warped_time(spoken_span(segments), rng, length, self.n_frames)  # (T,)
        if self.slow and rng.random() < self.slow:
            # Each frame is shown until the next is taken.
            every, ahead = rng.uniform(1, SLOWEST), rng.uniform()
            frame = np.arange(self.n_frames)
            taken = (np.floor(frame / every + ahead) - ahead) * every  # (T,)
            moments = moments[np.round(taken).clip(0).astype(int)]
        return np.round(moments).astype(int)


def _by_speaker(items: Sequence[Item], speakers: Sequence[str]) -> dict[str, list[Item]]:
    groups: dict[str, list[Item]] = {}
    for item, speaker in zip(items, speakers, strict=True):
        groups.setdefault(speaker, []).append(item)
    return groups


def _draw_speaker(groups: Mapping[str, Sequence], rng: np.random.Generator) -> str:
    """One of the speakers, each in proportion to the power ``SHARE`` of how much there is of them."""
    names = sorted(groups)
    weight = np.array([len(groups[name]) for name in names]) ** SHARE
    return names[rng.choice(len(names), p=weight / weight.sum())]


def _draw(groups: Mapping[str, Sequence[Item]], rng: np.random.Generator) -> Item:
    """Something of one of the speakers."""
    group = groups[_draw_speaker(groups, rng)]
    return group[rng.integers(len(group))]
