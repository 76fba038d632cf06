"""What learners write by mistake in the exercises of notebook 07 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import math
from itertools import groupby, pairwise

import numpy as np
import pytest

from lessons.checks import check
from lessons.checks.lip_data import CHECKS
from tests.checks.exercises import each_wrong_answer

NAN = float("nan")


def parsed(
    unit=1000,
    split=str.splitlines,
    fields=str.split,
    skip=True,
    silences=(),
    number=int,
    careful=True,
    empty=True,
    equal=True,
    negative=True,
):
    """parse_align with one slip."""

    def function(text):
        rows = []
        for line in split(text):
            if skip and not line.strip():
                continue
            parts = fields(line)
            if careful and len(parts) != 3:
                raise ValueError("three fields")
            start, end, word = (*parts, "", "")[:3]
            if word in silences:
                continue
            start, end = number(start) / unit, number(end) / unit
            if negative and start < 0:
                raise ValueError("below 0")
            if equal and start >= end:
                raise ValueError("backwards")
            rows.append((start, end, word))
        if empty and not rows:
            raise ValueError("no line")
        return rows

    return function


right_parse = parsed()


def window(down=0.32, wide=0.60, high=0.30, shift=0.0):
    """crop_window with one slip."""

    def function(x, y, width):
        middle = y + down * width
        return (
            x + shift - wide / 2 * width,
            middle - high / 2 * width,
            x + shift + wide / 2 * width,
            middle + high / 2 * width,
        )

    return function


right_window = window()


def grouped(key, change=lambda groups: groups):
    """homopheme_groups by another idea of what looks alike; the key gets the list of visemes."""

    def function(lexicon, visemes):
        groups: dict = {}
        for word, phonemes in lexicon.items():
            groups.setdefault(key([visemes[p] for p in phonemes.split()], phonemes), []).append(word)
        return change(list(groups.values()))

    return function


def flat(shown):
    return tuple(v for phoneme in shown for v in phoneme)


def looks(lexicon, visemes):
    return {word: flat([visemes[p] for p in sounds.split()]) for word, sounds in lexicon.items()}


def runs_of_neighbors(lexicon, visemes):
    """groupby without sorting first."""
    return [list(run) for _, run in groupby(lexicon, key=looks(lexicon, visemes).get)]


def for_every_word(lexicon, visemes):
    """The group of each word, so that a group of two comes twice."""
    shown = looks(lexicon, visemes)
    return [[b for b in lexicon if shown[a] == shown[b]] for a in lexicon]


def usable(
    need=lambda word: len(word) + sum(a == b for a, b in pairwise(word)),
    frame=lambda moment: math.ceil((moment - 500) / 1000),
    last=None,
    silences=("sil", "sp"),
    row=lambda word, first, end: (word, first, end),
    enough=lambda n, needed: n >= needed,
):
    """usable_words with one slip."""

    def function(segments):
        kept = []
        for start, end, word in segments:
            first, stop = frame(start), (last or frame)(end)
            if word not in silences and enough(stop - first, need(word)):
                kept.append(row(word, first, stop))
        return kept

    return function


WRONG = {
    "parse_align": [
        ("keeps the unit", parsed(unit=1), "1000 times too large"),
        ("takes it for milliseconds", parsed(unit=40), "25 times too large"),
        ("seconds", parsed(unit=25_000), "times of .* are wrong"),
        ("whole frames", lambda t: [(a // 1, b, w) for a, b, w in right_parse(t)], "Keep the fractions"),
        ("rounds", lambda text: [(round(a), round(b), w) for a, b, w in right_parse(text)], "fractions"),
        ("LF only", parsed(split=lambda t: t.split("\n"), fields=lambda r: r.split(" ")), "CRLF"),
        ("stops at an empty line", parsed(skip=False), "stopped with ValueError|Empty lines"),
        ("leaves out sil", parsed(silences=("sil",)), "gave 1 rows, expected 2"),
        ("leaves out sp", parsed(silences=("sp",)), "sil and sp are lines"),
        ("cuts the last line", lambda t: right_parse(t.rpartition("\n")[0] or t), "without a newline"),
        ("word first", lambda t: [(w, a, b) for a, b, w in right_parse(t)], "its word should be"),
        ("text for times", lambda t: [(str(a), str(b), w) for a, b, w in right_parse(t)], "finite numbers"),
        ("a dictionary", lambda t: {w: (a, b) for a, b, w in right_parse(t)}, "gave a dict"),
        ("fractions", parsed(number=float), "no whole number needs a ValueError"),
        ("a length", lambda t: [(a, b - a, w) for a, b, w in right_parse(t)], "times of .* are wrong"),
        ("pairs", lambda t: [(a, w) for a, b, w in right_parse(t)], "expected three things"),
        ("NaN", lambda t: [(NAN, b, w) for a, b, w in right_parse(t)], "finite numbers"),
        ("no check of fields", parsed(careful=False), "A line without a word needs a ValueError"),
        ("ends before it starts", parsed(equal=False), "ends before it starts needs a ValueError"),
        ("below 0", parsed(negative=False), "below 0 needs a ValueError"),
        ("empty is fine", parsed(empty=False), "without a line needs a ValueError"),
        ("returns None for it", lambda t: right_parse(t) if t else None, "without a line needs a ValueError"),
        ("no return", lambda t: None, "gave None"),
        ("other error", lambda t: right_parse(t) if t else [][0], "a file without a line raise a ValueError"),
    ],
    "crop_window": [
        ("around the face", window(down=0.0), "at the middle of the face"),
        ("above the face", window(down=-0.32), "above the middle of the face"),
        ("fixed way down", lambda x, y, w: right_window(x, y + 32 - 0.32 * w, w), "grows with the face"),
        ("square", window(high=0.60), "twice as wide as high"),
        ("sides swapped", window(wide=0.30, high=0.60), "twice as wide as high"),
        ("half sizes for whole", window(wide=1.2, high=0.6), "read its share of the face"),
        ("too small", window(wide=0.3, high=0.15), "read its share of the face"),
        ("from the left edge", lambda x, y, w: right_window(x + 0.3 * w, y, w), "middle is at x"),
        ("top is the mouth", lambda x, y, w: right_window(x, y + 0.15 * w, w), "middle is at y"),
        ("x, y, w, h", lambda x, y, w: (x - 0.3 * w, y + 0.17 * w, 0.6 * w, 0.3 * w), "left must be less"),
        ("order of numpy", lambda x, y, w: tuple(right_window(x, y, w)[i] for i in (1, 0, 3, 2)), "twice as"),
        ("bottom first", lambda *a: tuple(right_window(*a)[i] for i in (0, 3, 2, 1)), "top than bottom"),
        ("whole pixels", lambda x, y, w: tuple(map(round, right_window(x, y, w))), "twice as|share|middle"),
        ("two numbers", lambda x, y, w: (x, y), "a tuple"),
        ("an array", lambda *a: np.array(right_window(*a)), "expected a tuple"),
        ("a share of the window", window(high=0.60 * 0.30), "twice as wide as high"),
        ("NaN", lambda x, y, w: (NAN,) * 4, "finite"),
        ("text", lambda x, y, w: ("0", "0", "1", "1"), "finite"),
        ("no return", lambda x, y, w: None, "gave None"),
        ("crashes", lambda x, y, w: x[0], "stopped with TypeError"),
    ],
    "homopheme_groups": [
        ("by phonemes", grouped(lambda shown, sounds: sounds), "differ in their phonemes, not"),
        ("by length", grouped(lambda shown, sounds: len(flat(shown))), "p and t show different"),
        ("by the set", grouped(lambda shown, sounds: frozenset(flat(shown))), "order of the visemes"),
        ("sorted", grouped(lambda shown, sounds: tuple(sorted(flat(shown)))), "order of the visemes"),
        ("first visemes", grouped(lambda s, _: tuple(v[0] for v in s)), "diphthong|One phoneme of two"),
        ("last viseme of each", grouped(lambda s, _: tuple(v[-1] for v in s)), "two visemes"),
        ("first phoneme", grouped(lambda shown, sounds: shown[0]), "whole word counts"),
        ("no repeats", grouped(lambda shown, _: tuple(dict.fromkeys(flat(shown)))), "twice is not"),
        ("tuples of tuples", grouped(lambda shown, sounds: tuple(shown)), "looks like two phonemes"),
        ("glued", grouped(lambda shown, _: "".join(flat(shown))), "do not glue"),
        ("no single", grouped(lambda s, _: flat(s), lambda g: [x for x in g if x[1:]]), "exactly one group"),
        ("backwards", grouped(lambda s, _: flat(s), lambda g: g[::-1]), "not in order"),
        ("words sorted", grouped(lambda s, _: flat(s), lambda g: [sorted(x) for x in g]), "not in order"),
        ("sets", grouped(lambda s, _: flat(s), lambda g: [set(x) for x in g]), "each a list of words"),
        ("a word twice", grouped(lambda s, _: flat(s), lambda g: g + g[:1]), "exactly one group"),
        ("neighbors only", runs_of_neighbors, "'s' and 't' apart"),
        ("a group for every word", for_every_word, "exactly one group"),
        ("one word a group", lambda lexicon, visemes: [[word] for word in lexicon], "'p' and 'b' apart"),
        ("one group", lambda lexicon, visemes: [list(lexicon)], "together"),
        ("a dictionary", lambda lexicon, visemes: {"p": ["p"]}, "expected a list of groups"),
        ("numbers", lambda lexicon, visemes: [[1.0], [NAN]], "each a list of words"),
        ("no return", lambda lexicon, visemes: None, "gave None"),
    ],
    "usable_words": [
        ("keeps all", usable(need=lambda word: 1), "Two frames cannot spell three"),
        ("no repeats", usable(need=len), "blank between two equal"),
        ("any repeat", usable(need=lambda word: 2 * len(word) - len(set(word))), "not neighbors"),
        ("to the nearest border", usable(frame=lambda m: round(m / 1000)), "3500|middle"),
        ("2 L + 1", usable(need=lambda word: 2 * len(word) + 1), "Three frames, three letters"),
        ("more than needed", usable(enough=lambda n, needed: n > needed), "Three frames, three letters"),
        ("keeps sil", usable(silences=("sp",)), "Silence is no word"),
        ("keeps sp", usable(silences=("sil",)), "pause is no word"),
        ("rounds down", usable(frame=lambda m: m // 1000), "frame 0 lies at 500|middle"),
        ("every frame touched", usable(last=lambda m: -(-m // 1000), frame=lambda m: m // 1000), "middle"),
        ("a frame twice", usable(last=lambda m: math.ceil((m - 500) / 1000) + 1), "not the right|cannot"),
        ("milliseconds", usable(frame=lambda m: round(m / 40)), "not the right frames|`first` counts"),
        ("end at its last frame", usable(row=lambda w, a, b: (w, a, b - 1)), "not the right frames"),
        ("first at 0", usable(row=lambda w, a, b: (w, 0, b - a)), "`first` counts"),
        ("end is a length", usable(row=lambda w, a, b: (w, a, b - a)), "`first` counts"),
        ("floats", usable(row=lambda w, a, b: (w, float(a), float(b))), "whole numbers"),
        ("start first", usable(row=lambda w, a, b: (a, b, w)), "expected \\(word, first, end\\)"),
        ("words only", usable(row=lambda w, a, b: w), "expected three things"),
        ("NaN", usable(row=lambda w, a, b: (w, NAN, NAN)), "whole numbers"),
        ("inclusive end", usable(frame=lambda m: math.floor((m - 500) / 1000) + 1), "middle|3500"),
        ("no return", lambda segments: None, "gave None"),
    ],
}  # fmt: skip


@each_wrong_answer(WRONG)
def test_a_wrong_answer_is_told_where_to_look(exercise, wrong, message):
    with pytest.raises(AssertionError, match=message):
        check(f"07.{exercise}", wrong)


def test_every_exercise_is_tried_with_at_least_eight_wrong_answers():
    assert WRONG.keys() == CHECKS.keys()
    assert all(len(answers) >= 8 for answers in WRONG.values())


def test_the_slips_are_slips_of_something_right():
    for exercise, right in {
        "parse_align": right_parse,
        "crop_window": right_window,
        "homopheme_groups": grouped(lambda shown, sounds: flat(shown)),
        "usable_words": usable(),
    }.items():
        check(f"07.{exercise}", right)
