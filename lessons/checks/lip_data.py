"""Checks of notebook 07, lip data. What is right is known by construction, by brute force, or by torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from lessons.checks.battery import Case, Exercise, by_properties
from lessons.ctc.alphabet import ALPHABET
from lessons.data.grid.mouth_crop import HEIGHT, MOUTH_BELOW_CENTER, WIDTH, smooth

# ---- parse_align -------------------------------------------------------------------------------------------

FILES = [  # text, its rows, where to look
    ("0 1000 bin\n", [(0.0, 1.0, "bin")], "1000 units are one frame."),
    ("0 19750 sil\n19750 24750 bin\n", [(0.0, 19.75, "sil"), (19.75, 24.75, "bin")], "Keep the fractions."),
    ("0 2000 bin\r\n2000 3500 blue\r\n", [(0.0, 2.0, "bin"), (2.0, 3.5, "blue")], "Its lines end in CRLF."),
    ("0 2000 bin\n2000 3500 at", [(0.0, 2.0, "bin"), (2.0, 3.5, "at")], "The last line has no newline."),
    ("0 2000 bin\n\n2000 3500 at\n \n", [(0.0, 2.0, "bin"), (2.0, 3.5, "at")], "Empty lines are skipped."),
    (
        "\n0 9000 sil\n9000 9500 p\n9500 10250 sp\n10250 15000 two\n15000 74500 sil\n",
        [(0.0, 9.0, "sil"), (9.0, 9.5, "p"), (9.5, 10.25, "sp"), (10.25, 15.0, "two"), (15.0, 74.5, "sil")],
        "sil and sp are lines like any other.",
    ),
    (
        "500 2000 set\n4000 9500 please\n",
        [(0.5, 2.0, "set"), (4.0, 9.5, "please")],
        "A file may start after 0, and between two words there may be a gap.",
    ),
    ("0 12345 sil\n12345 67891 a\n", [(0.0, 12.345, "sil"), (12.345, 67.891, "a")], "Round nothing."),
    (" 0\t1000   a \n", [(0.0, 1.0, "a")], "Fields may be separated by any white space."),
]
BAD_LINES = [
    ("0 1000", "a line without a word"),
    ("0 1000 bin blue", "a line of four fields"),
    ("bin", "a line of one field"),
    ("0 late bin", "a time that is not a number"),
    ("0 1000.5 bin", "a time that is not an integer"),
    ("0 1e3 bin", "a time that is not an integer"),
    ("-500 1000 bin", "a negative time"),
    ("2000 1000 bin", "a word that ends before it starts"),
    ("1000 1000 bin", "a word that ends when it starts"),
    ("bin 0 1000", "a word where the start should be"),
]


def _parsed(text: str) -> list[tuple[float, float, str]]:
    return next(rows for file, rows, _ in FILES if file == text)


ALIGN = Exercise(_parsed, lambda: [Case((text,), hint) for text, _, hint in FILES])


def parse_align(function: Callable) -> None:
    """function(text) -> [(start, end, word), …] in frames, silences included; ValueError for a bad line."""
    ALIGN(function)
    good = "0 9000 sil\n9000 9500 p\n"
    bad = [(line + "\n", why) for line, why in BAD_LINES]
    # A bad line among good ones: skipping it is not enough.
    bad += [(good + line + "\n", f"{why}, after good lines") for line, why in BAD_LINES]
    bad += [(line + "\n" + good, f"{why}, before good lines") for line, why in BAD_LINES]
    for text, why in [*bad, ("", "a file without a line"), ("\n\n", "a file of empty lines")]:
        _expect_value_error(function, text, why)


def _expect_value_error(function: Callable, text: str, why: str) -> None:
    try:
        found = function(text)
    except ValueError as error:
        if not str(error).strip():
            raise AssertionError(
                f"parse_align({text!r}): a ValueError without a message. Say what is wrong: {why}."
            ) from error
        return
    except NotImplementedError:
        raise
    except Exception as error:
        raise AssertionError(
            f"parse_align({text!r}) stopped with {type(error).__name__}: {error}. For {why} raise a "
            "ValueError that says what is wrong"
        ) from error
    raise AssertionError(f"parse_align({text!r}) gave {found!r}. {why.capitalize()} needs a ValueError")


# ---- mouth_windows -----------------------------------------------------------------------------------------


def _windows(at: np.ndarray, boxes: np.ndarray, n_frames: int, sigma: float) -> np.ndarray:
    """at (N,), boxes (N, 3), -> windows (T, 4) by loops."""
    width = float(np.median(boxes[:, 2]))
    across, down = (smooth(np.interp(np.arange(n_frames), at, boxes[:, i]), sigma) for i in (0, 1))
    rows = []
    for x, y in zip(across, down, strict=True):
        middle = y + MOUTH_BELOW_CENTER * width
        half = WIDTH / 2 * width, HEIGHT / 2 * width
        rows.append((x - half[0], middle - half[1], x + half[0], middle + half[1]))
    return np.array(rows)


def _window_cases() -> Iterator[Case]:
    rng = np.random.default_rng(7)

    def still(n: int, width: float) -> np.ndarray:
        return np.tile([100.0, 80.0, width], (n, 1))

    yield Case(
        (np.array([0, 5]), still(2, 100.0), 6, 2.0),
        "A face at rest at (100, 80), 100 wide: its mouth is at (100, 112), its window 60 wide and 30 high.",
    )
    yield Case(
        (np.array([0, 5]), still(2, 40.0), 8, 1.0),
        "The window and the way down to the mouth scale with the width of the face.",
    )
    yield Case(
        (np.array([0, 4]), np.tile([5.0, 3.0, 60.0], (2, 1)), 6, 1.0),
        "A window may reach beyond the edge of the frame: the crop deals with that.",
    )
    yield Case(
        (np.array([2]), still(1, 77.0), 5, 3.0),
        "One detection: every frame gets its position.",
    )
    moving = np.array([[60.0, 90.0, 50.0], [75.0, 70.0, 50.0], [98.0, 95.0, 50.0]])
    yield Case(
        (np.array([0, 5, 10]), moving, 11, 0.5),
        "Between two detections the center moves linearly; σ is an argument.",
    )
    yield Case(
        (np.array([3, 5, 12]), moving, 20, 1.5),
        "Detections may be at any frames; before the first and after the last, the nearest value holds.",
    )
    outlier = np.array([[60.0, 90.0, 50.0], [61.0, 90.0, 52.0], [62.0, 91.0, 140.0], [63.0, 90.0, 51.0]])
    yield Case(
        (np.array([0, 4, 8, 12]), outlier, 13, 5.0),
        "One width for the whole clip, the median of the detected widths: one wrong box must not matter.",
    )
    walk = np.empty((15, 3))
    walk[:, :2] = rng.normal(0, 4, (15, 2)).cumsum(axis=0) + 150
    walk[:, 2] = rng.normal(90, 2, 15)
    long = np.arange(0, 120, 8)
    yield Case((long, walk, 120, 2.0), "A clip may have any number of frames.")
    yield Case((np.arange(0, 75, 5), walk, 75, 5.0), "Smooth x and y, each with smooth(values, sigma).")


MOUTH_WINDOWS = Exercise(_windows, _window_cases)

# ---- usable_words ------------------------------------------------------------------------------------------


def _can_learn(word: str, n_frames: int) -> bool:
    """Whether torch's CTC loss of ``word`` over ``n_frames`` is finite."""
    if n_frames < 1:
        return False
    target = ALPHABET.encode(word)[None]  # (1, L)
    log_probs = torch.zeros(n_frames, 1, 28).log_softmax(-1)  # (T, 1, V)
    lengths = torch.tensor([n_frames]), torch.tensor([target.shape[1]])
    return bool(torch.isfinite(F.ctc_loss(log_probs, target, *lengths, reduction="none"))[0])


def _usable(segments: list[tuple[float, float, str]]) -> list[tuple[str, int, int]]:
    """Frame by frame, and torch says what can be learned."""
    usable = []
    for start, end, word in segments:
        inside = [t for t in range(75) if start <= 1000 * t + 500 < end]
        if word not in ("sil", "sp") and inside and _can_learn(word, len(inside)):
            usable.append((word, inside[0], inside[-1] + 1))
    return usable


SEGMENTS: list[tuple[list[tuple[Any, Any, str]], str]] = [  # in thousandths of a frame, and where to look
    ([(0, 3000, "bin")], "Three frames, three letters: it fits."),
    ([(10_000, 13_000, "bin")], "`first` counts from the first frame of the clip."),
    ([(0, 2000, "bin")], "Two frames cannot spell three letters."),
    ([(0, 5000, "green")], "CTC needs a blank between two equal letters."),
    ([(0, 6000, "green")], "Five letters and one blank fit into six frames."),
    ([(0, 5000, "seven")], "Equal letters that are not neighbors need no blank between them."),
    ([(0, 7000, "coffee")], "Each pair of equal neighbors needs a blank of its own: coffee has two pairs."),
    ([(0, 8000, "coffee")], "Six letters and two blanks fit into eight frames."),
    ([(0, 14_000, "sil"), (14_000, 19_000, "bin"), (19_000, 74_500, "sil")], "Silence is not a word."),
    ([(0, 9000, "two"), (9000, 12_000, "sp"), (12_000, 20_000, "now")], "A short pause is not a word."),
    ([(750, 4000, "bin")], "The center of frame 0 is at 500, before this word starts."),
    ([(250, 3500, "bin")], "The center of frame 3 is at 3500, where this word has just ended."),
    ([(500, 3501, "bin")], "The center of frame 3 is at 3500, just inside this word."),
    ([(1500, 4500, "bin"), (4500, 6250, "at")], "A frame belongs to the one word that contains its center."),
    ([(0, 400, "a"), (400, 1600, "b")], "A word too short to contain the center of a frame has no frame."),
    ([(9000, 12_000, "bin"), (0, 3000, "at")], "In the order given, whatever the times."),
    ([(0, 4000, "bin"), (4000, 8000, "bin")], "A word may occur twice."),
    ([(0.0, 2999.5, "bin"), (2999.5, 5250.25, "at")], "Times may have fractions."),
    ([(70_000, 74_500, "now")], "A word may end with the clip."),
    ([(5000 * i, 5000 * i + 4500, "lay") for i in range(9)], "A clip may have any number of words."),
    ([], "No segment, no word."),
]

USABLE_WORDS = Exercise(_usable, lambda: [Case((segments,), hint) for segments, hint in SEGMENTS])

CHECKS: dict[str, Callable[[Callable], None]] = {
    "parse_align": by_properties(parse_align),
    "mouth_windows": MOUTH_WINDOWS,
    "usable_words": USABLE_WORDS,
}
