"""Checks of notebook 15, the capstone. What is right is counted out pixel by pixel or frame by frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lessons.checks.tools import call, expect_close, expect_tensor


def _weighted(found: list[Tensor | None], share: float) -> Tensor | None:
    """The smoothed box as one sum: the k-th newest weighs share (1 - share)^k, the oldest what is left."""
    boxes = [box for box in found if box is not None]
    if not boxes:
        return None
    weights = [share * (1 - share) ** k for k in reversed(range(len(boxes)))]
    weights[0] = (1 - share) ** (len(boxes) - 1)
    return sum(weight * box for weight, box in zip(weights, boxes, strict=True))


def smooth_boxes(function: Callable) -> None:
    """function(found, share) -> for each frame the smoothed box, or None before the first."""
    a, b, c, d = torch.tensor(
        [[8.0, 4, 40, 20], [12, 4, 44, 20], [10, 8, 42, 24], [30, 0, 70, 20]], dtype=torch.float64
    )
    cases = [
        ([a, a, a], 0.25, "A box that stands still: the smoothed one does too, from the first frame on."),
        ([a, b], 0.25, "The newest box has the share, what was smoothed so far has the rest."),
        ([a, b, c, d], 0.5, "Go on from the smoothed box before, not from the one found before."),
        ([a, b, c, d], 1.0, "With a share of 1 the smoothed box is the one found."),
        ([a, None, None, b], 0.25, "A frame without a box changes nothing: the box stays where it was."),
        ([None, None, c, None, d], 0.4, "Before the first box there is None; the first is taken as it is."),
        ([None, None], 0.4, "No box at all: None in each frame."),
        ([], 0.4, "No frames: an empty list."),
    ]  # fmt: skip
    for found, share, hint in cases:
        names = ", ".join("None" if box is None else "abcd"[i] for i, box in _named(found, (a, b, c, d)))
        where = f"smooth_boxes([{names}], {share})"
        given = [None if box is None else box.clone() for box in found]
        answer = call(function, given, share)
        if not isinstance(answer, list | tuple):
            raise AssertionError(f"{where} gave {type(answer).__name__}, expected a list. {hint}")
        if len(answer) != len(found):
            raise AssertionError(f"{where} gave {len(answer)} boxes for {len(found)} frames. {hint}")
        for old, new in zip(found, given, strict=True):
            if old is not None and not torch.equal(old, new):
                raise AssertionError(f"{where} changed the boxes that it was given: make new ones. {hint}")
        for t in range(len(found)):
            expected = _weighted(found[: t + 1], share)
            name = f"{where}, frame {t}"
            if expected is None or answer[t] is None:
                if not (expected is None and answer[t] is None):
                    says, wanted = ("None", "a box") if expected is not None else ("a box", "None")
                    raise AssertionError(f"{name} is {says}, expected {wanted}. {hint}")
                continue
            expect_close(expect_tensor(answer[t], (4,), name, hint), expected, name, hint)


def _named(found: list[Tensor | None], boxes: tuple[Tensor, ...]) -> list[tuple[int, Tensor | None]]:
    return [(next((i for i, one in enumerate(boxes) if one is box), 0), box) for box in found]


def cut(function: Callable) -> None:
    """function(frame, left, top, right, bottom) -> (bottom - top, right - left), edges repeated."""
    frame = torch.randint(0, 256, (6, 9), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    corner = "What lies outside takes the value of the nearest pixel of the picture."
    cases = [
        ((0, 0, 9, 6), "The whole picture: rows come first, bottom - top of them."),
        ((2, 1, 7, 4), "Rows go with y, columns with x. The crop ends before right and bottom."),
        ((3, 2, 4, 3), "A box of one pixel."),
        ((-3, 1, 4, 5), "Left of the picture: Python counts an index below 0 from the end. " + corner),
        ((4, 2, 13, 5), "Right of the picture. The crop is as wide as the box. " + corner),
        ((1, -2, 5, 3), "Rows above the picture. " + corner),
        ((1, 4, 5, 9), "Rows below the picture. " + corner),
        ((-2, -2, 12, 9), "Over all four borders. " + corner),
        ((12, 8, 15, 10), "Wholly outside. " + corner),
    ]  # fmt: skip
    for (left, top, right, bottom), hint in cases:
        where = f"cut(frame of 6 x 9, {left}, {top}, {right}, {bottom})"
        given = frame.clone()
        found = call(function, given, left, top, right, bottom)
        found = expect_tensor(found, (bottom - top, right - left), where, hint)
        if not torch.equal(given, frame):
            raise AssertionError(f"{where} changed the frame that it was given. {hint}")
        expected = torch.tensor(
            [
                [int(frame[min(max(y, 0), 5), min(max(x, 0), 8)]) for x in range(left, right)]
                for y in range(top, bottom)
            ]
        )
        expect_close(found, expected, where, hint)


class _Witness:
    """A finder, a pair of scissors and a reader that note what they are asked for."""

    def __init__(self, first: int | None) -> None:
        self.first = first  # the frame of the first box
        self.seen: list[int] = []
        self.read_pieces: list[tuple[list, bool]] = []

    def find(self, frame: Any) -> str | None:
        if not isinstance(frame, int):
            raise AssertionError(f"find was given {frame!r}, expected one frame")
        self.seen.append(frame)
        return None if self.first is None or frame < self.first else f"box {frame}"

    def cut(self, frame: Any, box: Any) -> tuple:
        if box is None:
            raise AssertionError(
                f"cut(frame {frame}, None): there is no box yet. Let the frame wait for one."
            )
        return frame, box

    def read(self, crops: Any, last: Any) -> list[str]:
        crops = list(crops)
        if self.read_pieces and self.read_pieces[-1][1]:
            raise AssertionError("read was called again after last=True: the film had ended")
        self.read_pieces.append((crops, bool(last)))
        return [f"word {len(self.read_pieces)}"]


def live_words(function: Callable) -> None:
    """function(frames, find, cut, read, every) -> all words of the film."""
    cases = [
        (10, 0, 5, "A mouth from the first frame on: 5 crops as soon as they are there, and the end."),
        (7, 0, 5, "What is left over at the end is read too, with last=True."),
        (3, 0, 5, "A film shorter than a piece is read once, with last=True."),
        (12, 3, 4, "Frames before the first box wait for it, and are cut out where it is, each frame once."),
        (9, 8, 3, "The box comes with the last frame: all frames have waited for it."),
        (6, None, 5, "No mouth in the whole film: nothing to read, no words."),
    ]  # fmt: skip
    for n, first, every, hint in cases:
        where = f"{n} frames, first box in frame {first}, every {every}"
        witness = _Witness(first)
        words = call(function, list(range(n)), witness.find, witness.cut, witness.read, every)
        if witness.seen != list(range(n)):
            raise AssertionError(
                f"{where}: find saw the frames {witness.seen}, expected each once, in order."
            )
        crops = [crop for piece, _ in witness.read_pieces for crop in piece]
        expected = [] if first is None else [(t, f"box {max(t, first)}") for t in range(n)]
        if [frame for frame, _ in crops] != [frame for frame, _ in expected]:
            found = [frame for frame, _ in crops]
            raise AssertionError(f"{where}: read was shown the crops of the frames {found}. {hint}")
        for (t, box), (_, right) in zip(crops, expected, strict=True):
            if box != right:
                raise AssertionError(f"{where}: frame {t} was cut out at the box of frame {box[4:]}. {hint}")
        if first is None:
            if witness.read_pieces or len(words):
                raise AssertionError(f"{where}: read was called {len(witness.read_pieces)} times. {hint}")
            continue
        lasts = [last for _, last in witness.read_pieces]
        if not lasts[-1] or any(lasts[:-1]):
            raise AssertionError(f"{where}: last was {lasts}, expected True in the last call only. {hint}")
        sizes = [len(piece) for piece, _ in witness.read_pieces]
        if sizes[:-1] != [every] * (n // every) or sizes[-1] != n % every:
            raise AssertionError(f"{where}: read was shown pieces of {sizes} crops. {hint}")
        if list(words) != [f"word {k + 1}" for k in range(len(sizes))]:
            raise AssertionError(
                f"{where}: the words are {list(words)}, expected those of all readings, in order."
            )


def _told(end: int, reach: int, every: int, agree: int) -> int:
    """Let frames arrive one by one; a reading knows a frame when ``reach`` more have come."""
    readings, arrived = 0, 0
    while readings < agree:
        arrived += 1
        if arrived % every == 0 and arrived - reach >= end:
            readings += 1
    return arrived


def earliest_telling(function: Callable) -> None:
    """function(end, reach, every, agree) -> how many frames have arrived when the word can be told."""
    cases = [
        ((10, 0, 5, 1), "Nothing looks ahead, one reading is enough: told with the frame that ends it."),
        ((11, 0, 5, 1), "Readings come only with every 5th frame: wait for the next one."),
        ((10, 3, 1, 1), "What is read knows a frame when `reach` more frames have come."),
        ((10, 3, 5, 1), "First the frames that the reader looks ahead, then the wait for the next reading."),
        ((10, 3, 5, 3), "The first reading that knows the word is one of those that must agree."),
        ((12, 3, 5, 3), "A reading that comes just in time counts: no frame more."),
        ((31, 3, 10, 2), "Slower readings: both the wait and the agreement take longer."),
        ((1, 0, 1, 4), "One reading a frame."),
    ]  # fmt: skip
    for numbers, hint in cases:
        found, expected = call(function, *numbers), _told(*numbers)
        where = f"earliest_telling{numbers}"
        if isinstance(found, bool) or not isinstance(found, int | float | Tensor) or found != found:
            raise AssertionError(f"{where} gave {found!r}, expected a whole number. {hint}")
        if found != expected:
            size = "many" if found > expected else "few"
            raise AssertionError(f"{where} gave {found:g}, too {size} frames. {hint}")


CHECKS: dict[str, Callable[[Callable], None]] = {
    "smooth_boxes": smooth_boxes,
    "cut": cut,
    "live_words": live_words,
    "earliest_telling": earliest_telling,
}
