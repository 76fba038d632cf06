"""Checks of notebook 15, the capstone. What is right is counted out box by box and frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lessons.checks.battery import Case, Exercise
from lessons.checks.tools import call
from lessons.lipreading.streaming import Reading
from lessons.lipreading.streaming import agreement as agreed

Boxes = list[Tensor | None]

# ---- the moving average of boxes ---------------------------------------------------------------------------


def smooth_boxes(found: Boxes, share: float) -> Boxes:
    """The average as one sum: the k-th newest box weighs share (1 - share)^k, the oldest what is left."""
    smoothed: Boxes = []
    for t in range(len(found)):
        boxes = [box for box in found[: t + 1] if box is not None]
        weights = [share * (1 - share) ** k for k in reversed(range(len(boxes)))]
        weights[:1] = [(1 - share) ** (len(boxes) - 1)] if boxes else []
        smoothed.append(sum(w * box for w, box in zip(weights, boxes, strict=True)) if boxes else None)
    return smoothed


class OnePerFrame(Exercise):
    """First looks at the kind of the answer: a list, an entry per frame, None where None is right."""

    def expect_form(self, found: Any, expected: Boxes, name: str, case: Case) -> None:
        if not isinstance(found, list | tuple):
            raise AssertionError(f"{name} gave {type(found).__name__}, expected a list. {case.hint}")
        if len(found) != len(expected):
            raise AssertionError(f"{name} gave {len(found)} boxes for {len(expected)} frames. {case.hint}")
        for t, (box, right) in enumerate(zip(found, expected, strict=True)):
            if (box is None) != (right is None):
                says, wanted = ("None", "a box") if box is None else ("a box", "None")
                raise AssertionError(f"{name}, frame {t}: is {says}, expected {wanted}. {case.hint}")


def _boxes(n: int, seed: int) -> Tensor:
    """(n, 4) boxes that move in all directions, each of another size."""
    generator = torch.Generator().manual_seed(seed)
    corners = 60 * torch.rand(n, 2, generator=generator, dtype=torch.float64) - 10
    sides = 10 + 50 * torch.rand(n, 2, generator=generator, dtype=torch.float64)
    return torch.cat([corners, corners + sides], 1)


def _smooth_cases() -> Iterator[Case]:
    a, b, c, d = _boxes(4, 0)
    yield Case(([a, a, a], 0.25), "A box that stands still: the average does too, from the first frame on.")
    yield Case(([a, b], 0.25), "The newest box has the weight `share`, the average so far has the rest.")
    yield Case(([a, b, c, d], 0.5), "Go on from the average before, not from the box found before.")
    yield Case(([a, b, c, d], 1.0), "With a share of 1 the average is the box found.")
    yield Case(([a, None, None, b], 0.25), "A frame without a box changes nothing: the average stays.")
    yield Case(([a, b, None, c, None, d], 0.6), "A frame without a box changes nothing: the average stays.")
    yield Case(([None, None, c, None, d], 0.4), "Before the first box there is None; it is taken as it is.")
    yield Case(([b, c, a, d, None, a, b, c], 1e-3), "A share near 0: the average hardly moves.")
    outside = [a - 60, b - 60, c - 60]
    yield Case((outside, 0.5), "A box may reach out of the frame. Do not move its corners into it.")
    yield Case(([a], 0.3), "A single frame: its box is taken as it is.")
    yield Case(([None, None], 0.4), "No box at all: None in each frame.")
    yield Case(([], 0.4), "No frames: an empty list.")


# ---- agreement ---------------------------------------------------------------------------------------------


def agreement(readings: list[Reading], k: int, after: int) -> Reading:
    """The words that the last k readings agree on and that have not been emitted yet."""
    return agreed(readings, k, after)


def _reading(text: str, shift: int = 0, start: int = 2) -> Reading:
    """The words of a sentence in time: two frames per letter, and two between words; ``|`` marks none."""
    words, at = [], start + shift
    for word in text.split():
        end = at + 2 * len(word)
        words.append((word, at, end))
        at = end + 2
    return words


def _agreement_cases() -> Iterator[Case]:
    short, longer = _reading("bin green"), _reading("bin green at")
    other, full = _reading("bin green by d"), _reading("bin green at d two now")
    yield Case(([longer, longer], 2, 0), "Both readings are the same: all words are agreed on.")
    yield Case(([short, longer, full], 3, 0), "The shortest reading sets how many words can agree.")
    yield Case(([full, longer, short], 3, 0), "The newest reading may be the shortest one.")
    yield Case(([longer, other], 2, 0), "Stop at the first difference: what follows it is not agreed on.")
    same_later = [_reading("set blue in g"), _reading("set red in g")]
    yield Case((same_later, 2, 0), "Stop at the first difference, even if later words are equal again.")
    yield Case(
        ([full, other, longer, longer], 2, 0), "Only the last k readings count. Older ones may differ."
    )
    yield Case(([longer, longer, other], 2, 0), "The newest reading is one of the k.")
    yield Case(([other, longer, longer], 3, 0), "All of the last k must agree, not only two of them.")
    yield Case(([longer, other, longer], 3, 0), "All k must agree: the one in between counts, too.")
    yield Case(([longer, longer], 3, 0), "Fewer than k readings agree on nothing.")
    yield Case(([], 1, 0), "Fewer than k readings agree on nothing.")
    yield Case(([other, full], 1, 0), "With k = 1 the newest reading is enough.")
    yield Case(([[], longer], 2, 0), "A reading without words agrees on nothing.")
    yield Case(([longer, [], longer], 2, 0), "A reading without words is one of the k, too.")
    alike = [_reading("lay green"), _reading("lay grain")]
    yield Case((alike, 2, 0), "Two words agree if their whole texts are the same.")
    shifted = [_reading("bin green at", 1), _reading("bin green at", -1), _reading("bin green at")]
    yield Case((shifted, 3, 0), "Texts are compared, not frames. The frames are those of the newest reading.")
    shifted = [_reading("lay red", 0), _reading("lay red", 2)]
    yield Case((shifted, 2, 0), "Texts are compared, not frames. The frames are those of the newest reading.")
    yield Case(([full, full], 2, 21), "Words that start before frame `after` were emitted already.")
    yield Case(([full, full], 2, 5), "Words that start before frame `after` were emitted already.")
    yield Case(([full, full], 2, 22), "A word that starts in frame `after` itself is new.")
    yield Case(([full, full], 2, 10), "A word that starts in frame `after` itself is new.")
    yield Case(([full, full, full], 3, 500), "All words were emitted: an empty list.")
    split = [_reading("b in green at d"), _reading("bin green at d"), _reading("bin green at")]
    yield Case(
        (split, 3, 8),
        "Position i of one reading may be another word than position i of the next. Drop the words before "
        "`after` from each reading first, then compare.",
    )
    late = [
        [("set", 2, 8), ("red", 9, 15)],
        [("red", 9, 15), ("at", 18, 22)],
        [("red", 10, 15), ("at", 18, 22)],
    ]
    yield Case(
        (late, 3, 9),
        "A reading may lack a word that was emitted. Drop the words before `after` from each reading first, "
        "then compare.",
    )
    edge = [[("lay", 4, 9), ("red", 11, 16)], [("lay", 4, 10), ("red", 10, 16)]]
    yield Case((edge, 2, 11), "Each reading drops words by its own frames.")
    again = _reading("at at by by")
    yield Case(([again, again], 2, 0), "The same word may come twice in a sentence.")
    yield Case(([again, _reading("at at by")], 2, 8), "The same word may come twice in a sentence.")


def _why(found: Any, expected: Any, case: Case) -> str | None:
    """A known mistake of an agreement rule."""
    *_, after = case.arguments
    if not isinstance(found, list | tuple):
        return None
    found = [tuple(word) if isinstance(word, list) else word for word in found]
    times_differ = [word[0] for word in found if isinstance(word, tuple) and word] == [w[0] for w in expected]
    if times_differ and found != expected and len(found) == len(expected):
        return "The words are right. Their frames are to be those of the newest reading."
    if found and expected and found[-len(expected) :] == expected and len(found) > len(expected):
        if any(isinstance(word, tuple) and word[1] < after for word in found):
            return f"Some of these words start before frame {after}: they were emitted already."
    return None


# ---- the loop ----------------------------------------------------------------------------------------------


class _Witness:
    """A finder, a cropper and a reader that note what they are asked for. Frames and boxes are arrays."""

    def __init__(self, first: int | None, every: int) -> None:
        self.first = first  # the frame of the first box
        self.every = every
        self.seen: list[int] = []
        self.late = ""  # the first time that a piece was due and had not been read
        self.read_pieces: list[tuple[list, bool]] = []

    def find(self, frame: Any) -> np.ndarray | None:
        self.seen.append(self._number(frame, "find"))
        t = self.seen[-1]
        found = self.first is not None and t > self.first  # the frames before t have been cropped
        due, done = t // self.every if found else 0, len(self.read_pieces)
        if done < due and not self.late:
            self.late = f"when find was asked for frame {t}, read had had {done} pieces of {due}"
        return None if self.first is None or t < self.first else np.array([t, 0, t + 8, 4], np.float32)

    def cut(self, frame: Any, box: Any) -> np.ndarray:
        t = self._number(frame, "cut")
        if box is None:
            raise AssertionError(f"cut(frame {t}, None): there is no box yet. Let the frame wait for one.")
        return np.array([[t, box[0]]])

    def read(self, crops: Any, last: Any) -> list[str]:
        crops = [(int(crop[0, 0]), int(crop[0, 1])) for crop in crops]
        if self.read_pieces and self.read_pieces[-1][1]:
            raise AssertionError("read was called again after last=True: the video had ended")
        self.read_pieces.append((crops, bool(last)))
        return [f"word {len(self.read_pieces)}{letter}" for letter in "ab"[: len(self.read_pieces) % 3]]

    @staticmethod
    def _number(frame: Any, name: str) -> int:
        if not isinstance(frame, np.ndarray) or frame.shape != (2, 3):
            raise AssertionError(f"{name} was given {type(frame).__name__}, expected one frame (H, W)")
        return int(frame[0, 0])


def live_words(function: Callable) -> None:
    """function(frames, find, cut, read, every) -> all words of the video."""
    cases = [
        (10, 0, 5, "A mouth from the first frame on: 5 crops as soon as they are there, and the end."),
        (7, 0, 5, "What is left over at the end is read too, with last=True."),
        (3, 0, 5, "A video shorter than a piece is read once, with last=True."),
        (12, 3, 4, "Frames before the first box wait for it, and are cropped at it, each frame once."),
        (11, 6, 2, "So many frames have waited that several pieces are due at once."),
        (9, 8, 3, "The box comes with the last frame: all frames have waited for it."),
        (4, 1, 1, "One crop per reading. At the end read is called with no crop and last=True."),
        (1, 0, 1, "A single frame."),
        (8, 2, 3, "The frames may also be a list."),
        (6, None, 5, "No mouth in the whole video: nothing to read, no words."),
        (0, None, 2, "No frames: nothing to read, no words."),
    ]  # fmt: skip
    for n, first, every, hint in cases:
        where = f"{n} frames, first box in frame {first}, every {every}"
        frames = np.arange(n)[:, None, None] + np.zeros((n, 2, 3), int)  # (T, H, W)
        witness = _Witness(first, every)
        given = list(frames) if n == 8 else frames.copy()
        name = f"{function.__name__} for {where}{', as a list' if n == 8 else ''},"
        words = call(function, given, witness.find, witness.cut, witness.read, every, name=name)
        _expect_calls(witness, n, first, every, where, hint)
        right = [f"word {i + 1}{x}" for i in range(len(witness.read_pieces)) for x in "ab"[: (i + 1) % 3]]
        if not isinstance(words, list | tuple) or list(words) != right:
            raise AssertionError(
                f"{where}: the words are {words!r}, expected one list with those of all readings, in order."
            )


def _expect_calls(witness: _Witness, n: int, first: int | None, every: int, where: str, hint: str) -> None:
    """What find, cut and read were asked for."""
    if witness.seen != list(range(n)):
        raise AssertionError(f"{where}: find saw the frames {witness.seen}, expected each once, in order.")
    crops = [crop for piece, _ in witness.read_pieces for crop in piece]
    if first is None:
        if witness.read_pieces:
            raise AssertionError(f"{where}: read was called {len(witness.read_pieces)} times. {hint}")
        return
    if [frame for frame, _ in crops] != list(range(n)):
        found = [frame for frame, _ in crops]
        raise AssertionError(f"{where}: read was given the crops of the frames {found}. {hint}")
    for t, box in crops:
        if box != max(t, first):
            raise AssertionError(f"{where}: frame {t} was cropped at the box of frame {box}. {hint}")
    lasts = [last for _, last in witness.read_pieces]
    if not lasts[-1] or any(lasts[:-1]):
        raise AssertionError(f"{where}: last was {lasts}, expected True in the last call only. {hint}")
    sizes = [len(piece) for piece, _ in witness.read_pieces]
    if sizes[:-1] != [every] * (n // every) or sizes[-1] != n % every:
        raise AssertionError(f"{where}: read was given pieces of {sizes} crops. {hint}")
    if witness.late:
        raise AssertionError(
            f"{where}: {witness.late}. In a stream the later frames are not there yet: read as soon as there "
            "are `every` crops."
        )


# ---- the crop ----------------------------------------------------------------------------------------------


def cut(frame: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
    """frame (H, W) -> (bottom - top, right - left), edges repeated where the box leaves the frame."""
    height, width = frame.shape
    rows = [[(y, x) for x in range(left, right)] for y in range(top, bottom)]
    near = [[frame[min(max(y, 0), height - 1), min(max(x, 0), width - 1)] for y, x in row] for row in rows]
    return torch.stack([torch.stack(row) for row in near])


def _cut_cases() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)

    def case(size: tuple[int, int], box: tuple[int, int, int, int], hint: str) -> Case:
        return Case((torch.randint(0, 256, size, generator=generator, dtype=torch.uint8), *box), hint)

    corner = "What lies outside takes the value of the nearest pixel of the frame."
    yield case((6, 9), (0, 0, 9, 6), "The whole frame: rows come first, bottom - top of them.")
    yield case((6, 9), (2, 1, 7, 4), "Rows go with y, columns with x. The crop ends before right and bottom.")
    yield case((5, 5), (3, 2, 4, 3), "A box of one pixel.")
    yield case(
        (6, 9), (-3, 1, 4, 5), f"Left of the frame, Python counts an index below 0 from the end. {corner}"
    )
    yield case((6, 9), (4, 2, 13, 5), f"Right of the frame. The crop is as wide as the box. {corner}")
    yield case((7, 4), (1, -2, 3, 3), f"Rows above the frame. {corner}")
    yield case((6, 9), (1, 4, 5, 9), f"Rows below the frame. {corner}")
    yield case((3, 8), (-2, -2, 12, 9), f"Over all four borders. {corner}")
    yield case((6, 9), (12, 8, 15, 10), f"Wholly outside. {corner}")
    yield case((6, 9), (-30, -20, -25, -17), f"Wholly outside, far to the left and above. {corner}")
    yield case((1, 1), (-1, -1, 2, 1), f"A frame of one pixel. {corner}")


CHECKS: dict[str, Callable[[Callable], None]] = {
    "smooth_boxes": OnePerFrame(smooth_boxes, _smooth_cases, gradients=False),
    "agreement": Exercise(agreement, _agreement_cases, diagnose=_why),
    "live_words": live_words,
    "cut": Exercise(cut, _cut_cases),
}
