"""Checks of notebook 07, lip data. What is right is known by construction, by brute force, or by torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from lessons.checks.tools import call
from lessons.ctc.alphabet import ALPHABET


def _number(value: Any) -> bool:
    """A finite number; True and False are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _rows(found: Any, name: str, kinds: str) -> list[tuple]:
    """``found`` is a list of triples, or an AssertionError."""
    if not isinstance(found, list | tuple):
        raise AssertionError(f"{name} gave a {type(found).__name__}, expected a list of ({kinds})")
    for row in found:
        if not isinstance(row, list | tuple) or len(row) != 3:
            raise AssertionError(f"{name} has {row!r} in it, expected three things: ({kinds})")
    return [tuple(row) for row in found]


def parse_align(function: Callable) -> None:
    """function(text) -> [(start, end, word), …] in frames, silences included; ValueError for a bad line."""
    cases = [  # text, what stands in it
        ("0 1000 bin\n", [(0, 1, "bin")], "1000 units are one frame."),
        ("0 19750 sil\n19750 24750 bin\n", [(0, 19.75, "sil"), (19.75, 24.75, "bin")], "Keep the fractions."),
        ("0 2000 bin\r\n2000 3500 blue\r\n", [(0, 2, "bin"), (2, 3.5, "blue")], "Its lines end in CRLF."),
        (
            "0 2000 bin\n2000 3500 at",
            [(0, 2, "bin"), (2, 3.5, "at")],
            "The last line ends without a newline.",
        ),
        ("0 2000 bin\n\n2000 3500 at\n\n", [(0, 2, "bin"), (2, 3.5, "at")], "Empty lines are skipped."),
        (
            "0 9000 sil\n9000 9500 p\n9500 10250 sp\n10250 15000 two\n15000 74500 sil\n",
            [(0, 9, "sil"), (9, 9.5, "p"), (9.5, 10.25, "sp"), (10.25, 15, "two"), (15, 74.5, "sil")],
            "sil and sp are lines like any other.",
        ),
    ]
    for text, expected, hint in cases:
        name = f"parse_align({text!r})"
        found = _rows(call(function, text), name, "start, end, word")
        if len(found) != len(expected):
            raise AssertionError(f"{name} gave {len(found)} rows, expected {len(expected)}. {hint}")
        for row, right in zip(found, expected, strict=True):
            start, end, word = row
            if not isinstance(word, str) or word != right[2]:
                raise AssertionError(f"{name}: a row is {row!r}, its word should be {right[2]!r}. {hint}")
            if not _number(start) or not _number(end):
                raise AssertionError(f"{name}: the times of {row!r} should be finite numbers, in frames.")
            if not (math.isclose(start, right[0]) and math.isclose(end, right[1])):
                ratio = end / right[1]
                far = f" They are {ratio:g} times too large." if ratio > 1.5 else ""
                raise AssertionError(f"{name}: the times of {row!r} are wrong.{far} {hint}")
    for text, why in [
        ("0 1000\n", "a line without a word"),
        ("0 1000 bin blue\n", "a line of four fields"),
        ("0 late bin\n", "a time that is no number"),
        ("0 1000.5 bin\n", "a time that is no whole number"),
        ("-500 1000 bin\n", "a time below 0"),
        ("2000 1000 bin\n", "a word that ends before it starts"),
        ("1000 1000 bin\n", "a word that ends when it starts"),
        ("", "a file without a line"),
    ]:
        try:
            found = function(text)
        except ValueError:
            continue
        except NotImplementedError:
            raise
        except Exception as error:
            raise AssertionError(
                f"parse_align({text!r}) stopped with {type(error).__name__}: {error}. For {why} raise a "
                "ValueError that says what is wrong"
            ) from error
        raise AssertionError(f"parse_align({text!r}) gave {found!r}. {why.capitalize()} needs a ValueError")


def crop_window(function: Callable) -> None:
    """function(x, y, width) -> (left, top, right, bottom): the window around the mouth, in pixels."""
    for x, y, width in [
        (100.0, 100.0, 100.0),
        (180.0, 150.0, 100.0),
        (180.0, 150.0, 160.0),
        (31.5, 64.25, 77.0),
    ]:
        name = f"crop_window({x:g}, {y:g}, {width:g})"
        found = call(function, x, y, width)
        if not isinstance(found, list | tuple) or len(found) != 4:
            raise AssertionError(f"{name} gave {found!r}, expected a tuple: (left, top, right, bottom)")
        if not all(map(_number, found)):
            raise AssertionError(f"{name} gave {found!r}, expected four finite numbers")
        left, top, right, bottom = found
        if not (left < right and top < bottom):
            raise AssertionError(
                f"{name} gave {tuple(found)}: left must be less than right, top than bottom."
            )
        wide, high = right - left, bottom - top
        if not math.isclose(wide, 2 * high, rel_tol=1e-6):
            raise AssertionError(
                f"{name}: the window is {wide:g} wide and {high:g} high; it should be twice as wide as high."
            )
        if not math.isclose(wide, 0.6 * width, rel_tol=1e-6):
            raise AssertionError(f"{name}: the window is {wide:g} wide; read its share of the face again.")
        if not math.isclose((left + right) / 2, x, rel_tol=1e-6):
            raise AssertionError(f"{name}: the window's middle is at x = {(left + right) / 2:g}, not {x:g}.")
        middle = (top + bottom) / 2
        if not math.isclose(middle, y + 0.32 * width, rel_tol=1e-6):
            side = "above" if middle < y else "at" if math.isclose(middle, y) else "below"
            raise AssertionError(
                f"{name}: the window's middle is at y = {middle:g}, {side} the middle of the face, "
                "which is not the mouth's height. y counts downwards, and the way down grows with the face."
            )


def homopheme_groups(function: Callable) -> None:
    """function(lexicon, visemes) -> groups of words that look alike, each word in one group."""
    small = {
        "P": ("p",),
        "B": ("p",),
        "T": ("t",),
        "S": ("t",),
        "IY": ("ee",),
        "EY": ("eh", "ee"),
        "EH": ("eh",),
    }
    tricky = {"A": ("t",), "B": ("h",), "C": ("th",), "D": ("h", "t")}
    cases = [  # lexicon, table, what a failure here points at
        ({"p": "P IY", "b": "B IY"}, small, "p and b differ in their phonemes, not in their visemes."),
        ({"p": "P IY", "t": "T IY"}, small, "p and t show different visemes."),
        ({"tea": "T IY", "eat": "IY T"}, small, "The order of the visemes counts."),
        ({"a": "EY", "e": "IY"}, small, "A phoneme may show two visemes: a diphthong glides."),
        ({"see": "S IY", "seep": "S IY P"}, small, "The whole word counts, not only its beginning."),
        ({"tt": "T T", "t": "T"}, small, "A viseme shown twice is not a viseme shown once."),
        ({"x": "EY", "y": "EH IY"}, small, "One phoneme of two visemes looks like two phonemes of one each."),
        ({"u": "A B", "v": "C"}, tricky, "The names t, h and th are three: do not glue them to one string."),
        (
            {"s": "S EH", "b": "B IY", "t": "T EH", "p": "P IY", "e": "IY"},
            small,
            "Group all words, in the order in which they first appear; a word alone is a group of one.",
        ),
    ]
    for lexicon, table, hint in cases:
        name = f"homopheme_groups({lexicon})"
        found = call(function, dict(lexicon), dict(table))
        sound = isinstance(found, list | tuple) and all(isinstance(g, list | tuple) and g for g in found)
        if not sound or not all(isinstance(word, str) for group in found for word in group):
            raise AssertionError(f"{name} gave {found!r}, expected a list of groups, each a list of words")
        told = sorted(word for group in found for word in group)
        if told != sorted(lexicon):
            raise AssertionError(f"{name} gave {found!r}: each word belongs in exactly one group.")
        shown = {
            w: [v for phoneme in sounds.split() for v in table[phoneme]] for w, sounds in lexicon.items()
        }
        where = {word: i for i, group in enumerate(found) for word in group}
        for a in lexicon:  # every pair on its own
            for b in lexicon:
                if (where[a] == where[b]) != (shown[a] == shown[b]):
                    verb = "together" if where[a] == where[b] else "apart"
                    raise AssertionError(f"{name} puts {a!r} and {b!r} {verb}. {hint}")
        order = [[list(lexicon).index(word) for word in group] for group in found]
        if order != sorted(order) or any(places != sorted(places) for places in order):
            raise AssertionError(f"{name} gave {found!r}, not in order. {hint}")


def _can_learn(word: str, n_frames: int) -> bool:
    """Whether torch's CTC loss of ``word`` over ``n_frames`` is finite."""
    if n_frames < 1:
        return False
    target = ALPHABET.encode(word)[None]  # (1, L)
    log_probs = torch.zeros(n_frames, 1, 28).log_softmax(-1)  # (T, 1, V)
    lengths = torch.tensor([n_frames]), torch.tensor([target.shape[1]])
    return bool(torch.isfinite(F.ctc_loss(log_probs, target, *lengths, reduction="none"))[0])


def usable_words(function: Callable) -> None:
    """function(segments) -> [(word, first, end), …]: word clips that CTC can learn from, in whole frames."""
    cases = [  # segments in thousandths of a frame, what a failure here points at
        ([(0, 3000, "bin")], "Three frames, three letters: it fits."),
        ([(10_000, 13_000, "bin")], "`first` counts from the first frame of the clip."),
        ([(0, 2000, "bin")], "Two frames cannot spell three letters."),
        ([(0, 5000, "green")], "CTC needs a blank between two equal letters."),
        ([(0, 6000, "green")], "Five letters and one blank fit into six frames."),
        ([(0, 5000, "seven")], "Equal letters that are not neighbors need no blank between them."),
        ([(0, 14_000, "sil"), (14_000, 19_000, "bin"), (19_000, 74_500, "sil")], "Silence is no word."),
        ([(0, 9000, "two"), (9000, 12_000, "sp"), (12_000, 20_000, "now")], "A short pause is no word."),
        ([(750, 4000, "bin")], "The middle of frame 0 lies at 500, before this word starts."),
        ([(250, 3500, "bin")], "The middle of frame 3 lies at 3500, where this word has just ended."),
        ([(500, 3501, "bin")], "The middle of frame 3 lies at 3500, just inside this word."),
        (
            [(1500, 4500, "bin"), (4500, 6250, "at")],
            "A frame belongs to the word at its middle, to one only.",
        ),
        ([(0, 400, "a"), (400, 1600, "b")], "A word too short to hold the middle of a frame has no frame."),
    ]
    for segments, hint in cases:
        name = f"usable_words({segments})"
        found = _rows(call(function, list(segments)), name, "word, first, end")
        expected = []
        for start, end, word in segments:
            inside = [t for t in range(75) if start <= 1000 * t + 500 < end]
            if word not in ("sil", "sp") and inside and _can_learn(word, len(inside)):
                expected.append((word, inside[0], inside[-1] + 1))
        for row in found:
            word, first, end = row
            if not isinstance(word, str) or isinstance(first, bool) or isinstance(end, bool):
                raise AssertionError(f"{name} has {row!r} in it, expected (word, first, end)")
            if not (isinstance(first, int) and isinstance(end, int)):
                raise AssertionError(f"{name}: the frames of {row!r} should be whole numbers (int).")
        extra = [row for row in found if row[0] not in [word for word, _, _ in expected]]
        if extra:
            raise AssertionError(f"{name} keeps {extra[0]!r}, which should not be there. {hint}")
        missing = [row for row in expected if row[0] not in [word for word, _, _ in found]]
        if missing:
            raise AssertionError(f"{name} leaves out {missing[0][0]!r}. {hint}")
        wrong = [row for row, right in zip(found, expected, strict=False) if row != right]
        if wrong or len(found) != len(expected):
            raise AssertionError(f"{name} gives {found!r}: not the right frames. {hint}")


CHECKS: dict[str, Callable[[Callable], None]] = {
    "parse_align": parse_align,
    "crop_window": crop_window,
    "homopheme_groups": homopheme_groups,
    "usable_words": usable_words,
}
