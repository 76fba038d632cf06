"""Checks of notebook 00: collapsing a path, counting wrong words, and the frames that a sentence needs."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from lessons import ctc
from lessons.checks.battery import Case, Exercise
from lessons.ctc.alphabet import ALPHABET


def collapse(path: str) -> str:
    """A path of characters, ``-`` for the blank -> the text that it spells."""
    labels = [0 if c == "-" else int(ALPHABET.encode(c)[0]) for c in path]
    return ALPHABET.decode(ctc.collapse(labels))


def frames_needed(sentence: str) -> int:
    """The fewest frames from which CTC can spell the sentence."""
    return ctc.min_frames(ALPHABET.encode(sentence))


def word_errors(said: str, read: str) -> int:
    """How many words differ between two sentences of equally many words."""
    return sum(a != b for a, b in zip(said.split(), read.split(), strict=True))


def _paths() -> Iterator[Case]:
    for path, hint in {
        "bbb-iin": "Equal neighbors are merged into one character.",
        "--bin--": "Blanks are dropped at both ends.",
        "aabaa": "Only neighbors are merged: the same character may come again later.",
        "thr-e-ee": "A blank between two equal characters keeps them apart.",
        "bin  blue": "A space is a character like any other: two neighbors become one.",
        "s-s-s": "No blank may be dropped before equal neighbors are merged.",
        "b": "A path may have a single frame.",
        " - ": "Spaces at the ends stay.",
        " ": "Spaces at the ends stay, also alone.",
        "----": "Blanks alone spell nothing.",
        "": "A path without frames spells nothing.",
        "b-i-n-" * 40: "A path may be longer than a clip of GRID.",
    }.items():
        yield Case((path,), hint)
    rng = random.Random(0)
    for _ in range(20):
        yield Case(("".join(rng.choice("-ab e") for _ in range(rng.randint(1, 12))),), "Try it on paper.")


def _about_collapse(found: Any, expected: Any, case: Case) -> str | None:
    (path,) = case.arguments
    dropped_first = [c for c in path if c != "-"]
    merged = "".join(c for i, c in enumerate(dropped_first) if i == 0 or dropped_first[i - 1] != c)
    if found == merged != expected:
        return "The blanks were dropped before the neighbors were compared. Which step comes first?"
    return None


def _sentences() -> Iterator[Case]:
    for sentence, hint in {
        "bin": "Three different letters need no blank between them.",
        "bin blue at f two now": "Spaces are characters, too.",
        "three": "Two equal neighbors need something between them.",
        "aaa": "Three equal neighbors have two gaps.",
        "eve": "The two e are not neighbors.",
        "a  b": "Two spaces are two equal neighbors.",
        "see green": "Each pair of equal neighbors counts.",
        "soon will all carry": "Any letter may be doubled.",
        "lay green " * 60: "A long sentence may need more frames than a clip of GRID has.",
        "a": "One letter, one frame.",
        "": "Nothing to spell, no frame needed.",
    }.items():
        yield Case((sentence,), hint)
    rng = random.Random(0)
    for _ in range(20):
        yield Case(("".join(rng.choice("ab e") for _ in range(rng.randint(1, 12))),), "Try it on paper.")


def _pairs() -> Iterator[Case]:
    for said, read, hint in (
        ("bin blue at f two now", "bin blue at f two now", "The two sentences are the same."),
        ("bin blue at f two now", "bin blue at s two now", "One letter, one word."),
        ("bin blue at f two now", "lay red by s one soon", "All six words differ."),
        ("set white in p", "set white in b", "A sentence may have any number of words."),
        ("red", "green", "A sentence may have one word."),
        ("set white in b nine again", "set white in p nine a", "Words are compared, not characters."),
        ("bin blue at f two now", "blue bin at f two now", "Words are compared position by position."),
        ("a a b", "a b b", "The same word may come twice."),
        ("in at by with", "at by with in", "Word k is compared with word k: nothing is aligned here."),
        ("lay red in a", "lay red in at", "Words are compared as a whole."),
        ("b b b b b b b", "p p p p p p p", "Each wrong word counts, the same one again, too."),
        ("one two three four five six seven", "one too three for five six even", "Compare up to the end."),
    ):
        yield Case((said, read), hint)


CHECKS: dict[str, Exercise] = {
    "collapse": Exercise(collapse, _paths, diagnose=_about_collapse),
    "word_errors": Exercise(word_errors, _pairs),
    "frames_needed": Exercise(frames_needed, _sentences),
}
