"""Checks of notebook 00: collapsing a path, counting wrong words, and the frames a sentence needs."""

from __future__ import annotations

from collections.abc import Callable

from lessons import ctc
from lessons.checks.tools import call, expect_whole
from lessons.ctc.alphabet import ALPHABET


def collapse(function: Callable[[str], str]) -> None:
    """A path of characters, ``-`` for the blank -> the text it spells."""
    cases = {
        "bbb-iin": "equal neighbors are one character",
        "--bin--": "blanks vanish at both ends",
        "thr-e-ee": "a blank between two equal characters keeps them apart",
        "bin  blue": "a space is a character like any other: two neighbors become one",
        "s-s-s": "no blank may be dropped before equal neighbors are joined",
        "----": "nothing but blanks spells nothing",
        "": "a path without frames spells nothing",
    }
    for path, hint in cases.items():
        labels = [0 if c == "-" else int(ALPHABET.encode(c)[0]) for c in path]
        expected = ALPHABET.decode(ctc.collapse(labels))
        found = call(function, path)
        if not isinstance(found, str):
            raise AssertionError(f"collapse({path!r}) gave a {type(found).__name__}, expected a string")
        if found != expected:
            raise AssertionError(f"collapse({path!r}) gave {found!r}. Look here: {hint}")


def word_errors(function: Callable[[str, str], int]) -> None:
    """Two sentences of six words -> how many of the words differ."""
    cases = {
        ("bin blue at f two now", "bin blue at f two now"): (0, "the two sentences are the same"),
        ("bin blue at f two now", "bin blue at s two now"): (1, "one letter, one word"),
        ("bin blue at f two now", "lay red by s one soon"): (6, "every word is another"),
        ("set white in b nine again", "set white in p nine a"): (2, "words are compared, not characters"),
        ("bin blue at f two now", "blue bin at f two now"): (2, "it matters where a word stands"),
    }
    for (said, found), (expected, hint) in cases.items():
        count = call(function, said, found)
        expect_whole(count, "word_errors")
        if count != expected:
            raise AssertionError(f"word_errors({said!r}, {found!r}) gave {count}. Look here: {hint}")


def frames_needed(function: Callable[[str], int]) -> None:
    """A sentence -> the fewest frames from which CTC can spell it."""
    cases = {
        "bin": "three different letters, no blank needed between them",
        "bin blue at f two now": "spaces are characters too",
        "three": "two equal neighbors need something between them",
        "green": "two equal neighbors need something between them",
        "aaa": "three equal neighbors have two gaps",
        "eve": "the two e are not neighbors",
        "": "nothing to spell, no frame needed",
    }
    for sentence, hint in cases.items():
        found = call(function, sentence)
        expect_whole(found, "frames_needed")
        if found != ctc.min_frames(ALPHABET.encode(sentence)):
            raise AssertionError(f"frames_needed({sentence!r}) gave {found}. Look here: {hint}")


CHECKS: dict[str, Callable[[Callable], None]] = {
    "collapse": collapse,
    "word_errors": word_errors,
    "frames_needed": frames_needed,
}
