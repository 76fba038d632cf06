"""Lip reading on a stream: convolutions once per frame, GRUs on every reading, words once they are stable.

Two parts of LipNet look ahead, and a third has to deal with it.

- Each convolution looks one frame ahead. Its features never change afterwards, so they are kept: the features
  of a frame are known 3 frames after it (:class:`FrontEnd`).
- The backward GRUs start from the end. With each new piece they run again over the kept features, which costs
  little beside the convolutions. The transcript may change with each reading, most of all in its newest
  frames (:class:`Stream`).
- So a word is emitted only when several readings in a row agree on it (:func:`agreement`). This is called
  local agreement (Liu, Spanakis, Niehues 2020, arXiv 2005.11185).
"""

from __future__ import annotations

import copy
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.ctc.alphabet import ALPHABET
from lessons.ctc.grammar import SLOTS
from lessons.layers.stcnn import STCNN
from lessons.lipreading.cascade import Cascade
from lessons.lipreading.lipnet import LipNet

WINDOW = 150  # frames that the GRUs read at once: 6 seconds, twice the length of a training clip
PAST = 750  # frames, 30 seconds: logits of older frames are dropped, their brightness fades


Reading = list[tuple[str, int, int]]  # the words of one transcript: text, first frame, end (exclusive)
Rule = Callable[[list[Reading], int, int], Reading]  # see agreement
Words = Callable[[list[int], int, bool], Reading]  # see complete_words


@dataclass(frozen=True)
class StableWord:
    """A word that was emitted.

    Attributes:
        text: the word.
        start, end: the frames of its letters, end exclusive.
        emitted_at: how many frames had arrived when it was emitted; its latency is ``emitted_at - end``.
    """

    text: str
    start: int
    end: int
    emitted_at: int


class StreamingBlock:
    """One convolution block over pieces of a clip: the same frames as the block gives on the whole clip.

    A kernel of kt = 2r + 1 frames reaches r frames back and r ahead. So the last 2r frames of a piece are
    held for the next, whose first answers need them. The block's padding in time becomes ours: zeros before
    the first frame and after the last, and nowhere between.

    Args:
        block: in ``eval`` mode, of stride 1 in time and with r frames of padding.
    """

    def __init__(self, block: STCNN) -> None:
        stride, padding = block.conv.stride[0], block.conv.padding[0]
        self.reach = block.conv.kernel_size[0] // 2  # r
        if stride != 1 or padding != self.reach:
            raise ValueError(
                f"block has stride {stride} and padding {padding} in time: expected 1 and {self.reach}, "
                "so that it gives a frame for each frame"
            )
        self.block = block
        self.conv = copy.copy(block.conv)  # the same weights
        self.conv.padding = (0, *block.conv.padding[1:])
        self.held: Tensor | None = None  # (1, C, N, H, W)

    def __call__(self, x: Tensor | None, last: bool) -> Tensor | None:
        """The next piece (1, C, N, H, W) -> the answers that are known by it (1, O, N', H', W').

        None is a piece without frames. ``last``: nothing follows.
        """
        x = torch.cat([piece for piece in (self.held, x) if piece is not None], dim=2)  # (1, C, N, H, W)
        before = self.reach if self.held is None else 0
        after = self.reach if last else 0
        x = F.pad(x, (0, 0, 0, 0, before, after))  # (1, C, N, H, W)
        self.held = x[:, :, -2 * self.reach :]
        if x.shape[2] <= 2 * self.reach:
            return None
        block = self.block
        return block.pool(block.relu(block.norm(self.conv(x))))  # (1, O, N', H', W')


class FrontEnd:
    """The convolutions of a LipNet, or of both in a cascade, over a clip that arrives in pieces.

    Each frame is computed once.

    Args:
        model: in ``eval`` mode.
    """

    def __init__(self, model: LipNet | Cascade) -> None:
        parts = [model.familiar, model.general] if isinstance(model, Cascade) else [model]
        self.parts = [
            (part, [StreamingBlock(block) for block in (part.stcnn1, part.stcnn2, part.stcnn3)])
            for part in parts
        ]

    def __call__(self, x: Tensor | None, last: bool = False) -> Tensor:
        """The next piece (1, C, N, H, W), or None -> the features that are known by it (N', 1, F)."""
        return torch.cat([_features(part, blocks, x, last) for part, blocks in self.parts], dim=-1)


def _features(model: LipNet, blocks: list[StreamingBlock], x: Tensor | None, last: bool) -> Tensor:
    """The features of one model that are known by the next piece: (N', 1, F)."""
    for block in blocks:
        x = block(x, last) if x is not None or last else None
    if x is None:
        weight = model.gru1.weight_ih_l0
        return weight.new_empty(0, 1, weight.shape[1])  # (0, 1, F)
    return model.flatten(x)  # (N', 1, F)


class RunningNormalizer:
    """Mean 0 and standard deviation 1 over all pixels so far, the new ones included; old ones fade.

    On the last frame this equals ``lessons.data.batch.normalize``. Most of the variance is between the pixels
    of one frame, so even the first frame gives a good estimate.
    """

    def __init__(self) -> None:
        self.count, self.sum, self.squares = 0, 0.0, 0.0

    def __call__(self, frames: Tensor) -> Tensor:
        """(N, H, W) gray values -> (N, H, W) float32."""
        wide = frames.cpu().double()  # in this order, for mps has no float64
        self.count += wide.numel()
        self.sum += wide.sum().item()
        self.squares += wide.square().sum().item()
        if len(frames) and self.count > (limit := PAST * wide[0].numel()):
            fade = limit / self.count
            self.count, self.sum, self.squares = limit, self.sum * fade, self.squares * fade
        mean = self.sum / self.count
        std = max(0.0, self.squares / self.count - mean**2) ** 0.5
        return ((wide - mean) / (std + 1e-5)).float().to(frames.device)


class Stream:
    """A LipNet that reads a mouth piece by piece and emits each word once it is stable.

    An emitted word is never taken back, even if the whole clip reads otherwise in the end. If you need the
    best transcript, read the whole clip again when it is complete.

    Measured on 40 clips of GRID's speaker s1 in pieces of 5 frames, beside readings of the whole clips:

    | readings that agree | 1 | 2 | 3 | 4 |
    |---|---|---|---|---|
    | clips emitted as the whole clip reads | 33 % | 75 % | 93 % | 95 % |
    | latency in frames, from a word's end, median | 6 | 12 | 17 | 22 |

    Emitting every word 15 frames after its end, without any agreement, has the latency of 3 readings and
    gives 78 %.

    Args:
        model: in ``eval`` mode, as ``lessons.training.checkpoint.load`` gives it.
        agree: how many readings in a row must agree on a word. More readings mean more latency and fewer
        errors. rule: which words the last readings agree on, by default :func:`agreement`. words: the words
        of a best path, by default :func:`complete_words`.

    Attributes:
        frames: T, the frames that arrived.
        skipped: of these, the ones at the start that the model was not shown.
        emitted: all words emitted so far.

    Raises:
        ValueError: a model in training mode, or fewer than 1 reading.
    """

    def __init__(
        self, model: LipNet | Cascade, agree: int = 3, rule: Rule | None = None, words: Words | None = None
    ) -> None:
        if model.training:
            raise ValueError("model is in training mode: call model.eval() first")
        if agree < 1:
            raise ValueError(f"agree is {agree}: expected at least 1")
        self.model, self.rule, self.words = model, rule or agreement, words or complete_words
        self.frames = 0  # T, the frames that arrived
        self.emitted: list[StableWord] = []
        self._normalize = RunningNormalizer()
        self._front = FrontEnd(model)
        classes = model.config["num_classes"]
        # Of the T' = T - 3 frames that are known while the clip goes on, only the newest are kept:
        self._features = self._front(None)  # (N, 1, F), N <= WINDOW
        self._logits = self._features.new_empty(0, classes)  # (T' * upsample, V), T' <= PAST
        self._known = 0  # T'
        self._first = 0  # the frame that self._logits begins with
        self._new = 0  # of those, the frames that the last push made known
        self.skipped = 0  # frames at the start that were not shown
        self._ended = False
        self._readings: deque[Reading] = deque(maxlen=agree)

    @torch.inference_mode()
    def push(self, frames: Tensor, last: bool = False) -> list[StableWord]:
        """Look at the next frames and read all that is known by now.

        Args:
            frames: (N, H, W) gray, of the model's frame size; N may be 0.
            last: the clip ends here.

        Returns:
            the words that are newly emitted.

        Raises:
            ValueError: frames of another shape, frames with NaN or infinity, or frames after the last.
        """
        self._check(frames)
        self._ended = last
        self.frames += len(frames)
        x = None
        if len(frames):
            x = self._normalize(frames).expand(1, self.model.in_channels, -1, -1, -1)  # (1, C, N, H, W)
        if self.frames:
            new = self._front(x, last)  # (N', 1, F)
            self._new = len(new)
            self._known += len(new)
            self._features = torch.cat((self._features, new))  # (N, 1, F)
        if len(self._features):
            self._read_again()
            self._features = self._features[-WINDOW:]
            forgotten = max(0, len(self._logits) // self.model.upsample - PAST)
            self._logits = self._logits[forgotten * self.model.upsample :]
            self._first += forgotten
        words = self.words(self._logits.argmax(-1).tolist(), self.model.upsample, last)
        self._readings.append([(text, self._first + start, self._first + end) for text, start, end in words])
        return self._emit(last)

    def skip(self, n: int) -> None:
        """Count n frames that are not shown, for one because no mouth is in them, before the first that is.

        Raises:
            ValueError: frames were shown already.
        """
        if self.frames > self.skipped:
            raise ValueError(f"n={n}: expected no skipped frames after the first that was shown")
        self.skipped += n
        self.frames += n
        self._first += n

    def log_probs(self) -> Tensor:
        """(T' * upsample, V): what the newest readings say of each frame, of the last 30 s."""
        return self._logits.log_softmax(-1)

    def _read_again(self) -> None:
        """Run the GRUs over the newest features; they replace what was said of the newer half of them.

        The older half keeps its logits from when it was the newer: by then the GRUs had read enough of what
        follows it, and in the window's first frames the forward GRU has not read what came before.
        """
        features = self._features[-max(WINDOW, self._new + WINDOW // 2) :]  # (N, 1, F)
        logits = self.model.classify(features)[:, 0]  # (N * upsample, V)
        if self._known == len(features):  # nothing came before them
            self._logits = logits
            return
        begin = len(self._logits) + self._new * self.model.upsample - len(logits)
        newer = (len(features) - max(self._new, len(features) // 2)) * self.model.upsample
        self._logits = torch.cat((self._logits[: begin + newer], logits[newer:]))  # (T' * upsample, V)

    def _emit(self, last: bool) -> list[StableWord]:
        """The words that the last readings agree on; after the last frame, the rest of the last reading."""
        after = self.emitted[-1].end if self.emitted else 0
        k = 1 if last else self._readings.maxlen
        new = [StableWord(*word, self.frames) for word in self.rule(list(self._readings), k, after)]
        self.emitted += new
        return new

    def _check(self, frames: Tensor) -> None:
        height, width = self.model.frame_size
        if self._ended:
            raise ValueError("frames: the clip has ended, expected none after its last; start a new Stream")
        if frames.dim() != 3 or tuple(frames.shape[1:]) != (height, width):
            raise ValueError(f"frames has shape {tuple(frames.shape)}, expected (N, {height}, {width})")
        if not torch.isfinite(frames).all():
            raise ValueError("frames: NaN or infinity in them, expected finite gray values")


def agreement(readings: list[Reading], k: int, after: int) -> Reading:
    """The words that the last k readings agree on, without those that start before frame ``after``.

    Of each reading the earlier words are dropped; of what is left the longest common prefix is taken, word by
    word. Its frames are those of the newest reading. Fewer than k readings agree on nothing.

    Args:
        readings: oldest first; each is a list of words (text, start, end) in order.
        k: how many readings must agree, 1 or more.
        after: words that start earlier have been emitted already.
    """
    if len(readings) < k:
        return []
    rest = [[word for word in words if word[1] >= after] for words in readings[-k:]]
    agreed = []
    for words in zip(*rest, strict=False):
        if len({text for text, _, _ in words}) > 1:
            break
        agreed.append(words[-1])
    return agreed


def complete_words(path: list[int], upsample: int = 1, last: bool = False) -> list[tuple[str, int, int]]:
    """(text, start, end) of each word that the best path spells and a space, or the last frame, ends.

    Args:
        path: (T * upsample,) the best class of each frame, 0 the blank.
        upsample: entries of the path for each frame of the clip.
        last: the path is complete.
    """
    words, letters, at = [], [], 0
    for label, run in itertools.groupby(path):
        begin, at = at, at + len(list(run))
        if label == 0:
            continue
        character = ALPHABET.decode([label])
        if character != " ":
            letters.append((character, begin, at))
        elif letters:
            words.append(letters)
            letters = []
    if last and letters:
        words.append(letters)
    return [
        ("".join(c for c, _, _ in word), word[0][1] // upsample, -(-word[-1][2] // upsample))
        for word in words
    ]


def grid_words(path: list[int], upsample: int = 1, last: bool = False) -> Reading:
    """As :func:`complete_words`, for one sentence of GRID, whose i-th word is from the i-th list of words.

    While the clip goes on, the newest word is complete as soon as only one word of its list starts with its
    letters, and a word that is not in its list ends the reading.
    """
    words = complete_words(path, upsample, last=True)
    if last:
        return words
    finished = len(complete_words(path, upsample))  # a space follows them
    known = []
    for i, ((text, start, end), slot) in enumerate(zip(words, SLOTS, strict=False)):
        possible = [word for word in slot if word == text or (i >= finished and word.startswith(text))]
        if len(possible) != 1:
            break
        known.append((possible[0], start, end))
    return known
