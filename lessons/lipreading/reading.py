"""From a mouth of any length to sentences, in constant memory and at constant cost per second.

1. The network reads windows of 4 s, one every 2 s, each as a clip of its own. Of each window the middle half
   is kept: there it has seen at least 1 s before and after.
2. A sentence ends where no letter is read for 0.6 s.
3. The frames of each sentence are read once more, as a clip of their own, which is what the model was trained
   on, and decoded.

A clip of up to 4 s is one window and one sentence. On 24 clips of GRID's speaker 1 in a row, with pauses of
up to 2 s between them, all sentences were found and 1 of 144 words was wrong; of the windows alone 6 %.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lessons.ctc import forced_align
from lessons.ctc.alphabet import ALPHABET
from lessons.ctc.decode import beam_search_decode, greedy_decode
from lessons.ctc.language_models import GridGrammar
from lessons.data.batch import normalize
from lessons.data.grid.faults import broken_frames
from lessons.data.image import resize_area
from lessons.lipreading.cascade import Cascade
from lessons.lipreading.lipnet import LipNet

WINDOW = 100  # frames read at once, 4 s; a clip that is no longer is one sentence, whatever its pauses
STEP = WINDOW // 2  # frames from one window to the next
SENTENCE_PAUSE = 15  # frames without a letter that end a sentence
LONGEST = 400  # frames, 16 s: a longer sentence is cut at its longest pause
HELD = LONGEST + 2 * WINDOW  # frames that are kept for the second reading
NEVER = -1e4  # the log-probability of what cannot be
SPACE = int(ALPHABET.encode(" ")[0])
GRAMMAR = GridGrammar()  # one for all clips: the decoder keeps what it has asked
Decoder = Literal["greedy", "beam", "grammar"]


@dataclass(frozen=True)
class Word:
    """A word that was read.

    Attributes:
        text: the word.
        start, end: the frames at 25 per second that spell it, end exclusive.
        confidence: the mean over its letters of the probability each has in its best frame, 0 to 1.
    """

    text: str
    start: int
    end: int
    confidence: float


def log_probabilities(model: LipNet | Cascade, gray: np.ndarray) -> Tensor:
    """(T, H, W) uint8 gray frames of a mouth -> (T * upsample, V) log-probabilities of the classes."""
    gray = resize_area(gray, model.frame_size)  # (T, H, W)
    x = normalize(torch.from_numpy(gray)[None])[:, None]  # (1, 1, T, H, W)
    with torch.inference_mode():
        logits = model(x.expand(-1, model.in_channels, -1, -1, -1))  # (T * upsample, 1, V)
    return logits[:, 0].log_softmax(-1)  # (T * upsample, V)


def decode(log_probs: Tensor, decoder: Decoder) -> list[int]:
    """(T, V) -> the classes of the sentence.

    Where the greedy reading has no letter nobody speaks, and no decoder finds a sentence: the grammar has no
    empty one and would invent it.
    """
    greedy = greedy_decode(log_probs[:, None])[0]
    if decoder == "greedy" or not set(greedy) - {SPACE}:
        return greedy
    return beam_search_decode(log_probs, lm=GRAMMAR if decoder == "grammar" else None)[0][0]


def find_words(log_probs: Tensor, labels: list[int], start: int = 0, upsample: int = 1) -> tuple[Word, ...]:
    """Where each word of ``labels`` is spoken, and how sure it is, by the best path through (T*upsample, V).

    Args:
        start: the frame of the clip that the first row belongs to.
    """
    if not labels:
        return ()
    spans = forced_align(log_probs, labels).spans()
    words, first = [], 0
    for text in ALPHABET.decode(labels).split(" "):
        letters = range(first, first + len(text))
        if text:
            best = [log_probs[slice(*spans[i]), labels[i]].max().exp().item() for i in letters]
            begin, end = spans[letters[0]][0] // upsample, -(-spans[letters[-1]][1] // upsample)
            words.append(Word(text, start + begin, start + end, round(sum(best) / len(best), 3)))
        first += len(text) + 1  # the space
    return tuple(words)


class WindowReader:
    """Log-probabilities of a mouth that arrives in pieces, window by window.

    Attributes:
        seen: T, the frames so far.
        broken: those that were damaged; the nearest good frame was read instead.
    """

    def __init__(self, model: LipNet | Cascade) -> None:
        self.model = model
        self.broken: list[int] = []
        self.seen = 0
        self._frames = np.empty((0, *model.frame_size), dtype=np.uint8)  # (N, H, W) the newest
        self._shown = np.empty(0, dtype=bool)  # (N,)
        self._first = 0  # the frame of the clip that self._frames begins with
        self._next = 0  # where the next window begins
        self._done = 0  # frames whose answers were given

    def push(self, gray: np.ndarray, shown: np.ndarray, last: bool = False) -> Iterator[Tensor]:
        """The next frames (N, H, W) uint8 gray; of those not ``shown`` (N,), only blanks are read.

        Yields:
            (N' * upsample, V) log-probabilities of the frames that follow those given before.
        """
        gray = resize_area(gray, self.model.frame_size)  # (N, H, W)
        self._frames = np.concatenate((self._frames, gray))[-HELD - len(gray) :]
        self._shown = np.concatenate((self._shown, shown))[-HELD - len(gray) :]
        self.seen += len(gray)
        end, self._first = self.seen, self.seen - len(self._frames)
        while end > self._next + WINDOW:
            yield self._window(self._next + WINDOW, self._next + WINDOW - STEP // 2)
            self._next += STEP
        if last and end > self._done:
            yield self._window(end, end)

    def again(self, start: int, end: int) -> Tensor:
        """Read the frames from start to end as a clip of their own: (T * upsample, V)."""
        return self._read(slice(start - self._first, end - self._first))[0]

    def _window(self, end: int, until: int) -> Tensor:
        """Read the next window, to frame ``end``; the answers from the first frame not done to ``until``."""
        log_probs, broken = self._read(slice(self._next - self._first, end - self._first))
        new = slice(self._done - self._next, until - self._next)
        self.broken += (np.flatnonzero(broken[new]) + self._done).tolist()
        self._done = until
        upsample = self.model.upsample
        return log_probs[new.start * upsample : new.stop * upsample]

    def _read(self, held: slice) -> tuple[Tensor, np.ndarray]:
        """Held frames -> their log-probabilities (T * upsample, V), and which are damaged (T,)."""
        frames, hidden = self._frames[held], ~self._shown[held]  # (T, H, W), (T,)
        broken = broken_frames(frames)  # (T,)
        good = np.flatnonzero(~broken)
        if 2 * len(good) < len(frames):
            hidden = hidden | broken
        else:
            frames = frames[good[np.abs(np.arange(len(frames))[:, None] - good).argmin(axis=1)]]
        log_probs = log_probabilities(self.model, frames)  # (T * upsample, V)
        rows = torch.from_numpy(hidden).repeat_interleave(len(log_probs) // len(frames))
        log_probs[rows] = NEVER
        log_probs[rows, 0] = 0.0  # surely the blank
        return log_probs, broken


class SentenceSplitter:
    """Log-probabilities that arrive in pieces, cut in the middle of pauses.

    Args:
        upsample: rows per frame.
    """

    def __init__(self, upsample: int = 1) -> None:
        self.upsample = upsample
        self._held: Tensor | None = None  # (N, V)
        self._start = 0  # the row of the clip that self._held begins with

    def push(self, log_probs: Tensor | None, last: bool = False) -> Iterator[tuple[int, Tensor]]:
        """The next rows (N, V) -> the frame of its first row and the rows of each sentence that has ended."""
        if log_probs is not None:
            self._held = log_probs if self._held is None else torch.cat((self._held, log_probs))  # (N, V)
        if self._held is None:
            return
        if last and self._start == 0 and len(self._held) <= WINDOW * self.upsample:
            yield 0, self._held
            return
        while self._start or last or len(self._held) > WINDOW * self.upsample:
            letters = self._letters()
            cut = self._cut(letters, last)
            if cut is None:
                break
            if (letters < cut).any():
                yield self._start // self.upsample, self._held[:cut]
            self._held, self._start = self._held[cut:], self._start + cut
            if not len(self._held):
                break

    def _letters(self) -> np.ndarray:
        """The rows whose best class is a letter."""
        best = self._held.argmax(-1).numpy()  # (N,)
        return np.flatnonzero((best != 0) & (best != SPACE))

    def _cut(self, letters: np.ndarray, last: bool) -> int | None:
        """The row where the first held sentence ends, None while it goes on."""
        pause, n = SENTENCE_PAUSE * self.upsample, len(self._held)
        if not len(letters):
            return n if last else (n - pause if n > 2 * pause else None)
        gaps = np.diff(letters)
        long = np.flatnonzero(gaps > pause)
        if len(long):
            return int(letters[long[0]] + gaps[long[0]] // 2 + 1)
        if last:
            return n
        if n - letters[-1] > pause:
            return int(letters[-1] + pause // 2 + 1)
        if n > LONGEST * self.upsample and len(gaps):
            longest = int(gaps.argmax())
            return int(letters[longest] + gaps[longest] // 2 + 1)
        return None
