"""Checks of notebook 08, the talker: groups pair by pair, the ideal observer word by word."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from lessons.checks.battery import Case, Exercise

# ---- homopheme_groups --------------------------------------------------------------------------------------


def _groups(lexicon: dict[str, str], visemes: dict[str, tuple[str, ...]]) -> list[list[str]]:
    """Each word joins the first earlier word that shows the same."""
    shown = {word: [v for p in phonemes.split() for v in visemes[p]] for word, phonemes in lexicon.items()}
    groups: list[list[str]] = []
    for word in lexicon:
        for group in groups:
            if shown[group[0]] == shown[word]:
                group.append(word)
                break
        else:
            groups.append([word])
    return groups


SMALL = {
    "P": ("p",),
    "B": ("p",),
    "T": ("t",),
    "S": ("t",),
    "IY": ("ee",),
    "EY": ("eh", "ee"),
    "EH": ("eh",),
}
TRICKY = {"A": ("t",), "B": ("h",), "C": ("th",), "D": ("h", "t")}
LEXICONS = [  # lexicon, table, where to look
    ({"p": "P IY", "b": "B IY"}, SMALL, "p and b differ in their phonemes, not in their visemes."),
    ({"p": "P IY", "t": "T IY"}, SMALL, "p and t show different visemes."),
    ({"tea": "T IY", "eat": "IY T"}, SMALL, "The order of the visemes counts."),
    ({"a": "EY", "e": "IY"}, SMALL, "A phoneme may show two visemes: a diphthong glides."),
    ({"see": "S IY", "seep": "S IY P"}, SMALL, "The whole word counts, not only its beginning."),
    ({"tt": "T T", "t": "T"}, SMALL, "A viseme shown twice is not a viseme shown once."),
    ({"x": "EY", "y": "EH IY"}, SMALL, "One phoneme of two visemes looks like two phonemes of one each."),
    (
        {"u": "A B", "v": "C"},
        TRICKY,
        "The names t, h and th are three: do not concatenate them to one string.",
    ),
    (
        {"s": "S EH", "b": "B IY", "t": "T EH", "p": "P IY", "e": "IY"},
        SMALL,
        "Each word in exactly one group, in the order of the lexicon; a word alone is a group of one.",
    ),
    ({"t": "T", "s": "S", "e": "IY", "tt": "T"}, SMALL, "A group may have three words."),
    (dict.fromkeys("uvwxyz", "T IY"), SMALL, "A group may have any number of words."),
    ({"e": "IY", "t": "T", "s": "S"}, SMALL, "A larger group does not come first."),
    (
        {"pep": "P EH P", "pip": "P IY P", "beb": "B EH B", "pepe": "P EH P EH", "pepi": "P EH P IY"},
        SMALL,
        "Two words look alike if every viseme is the same, those in the middle and the last, too.",
    ),
    ({}, SMALL, "No word, no group."),
]


def _known_mistake(found: Any, expected: list[list[str]], case: Case) -> str | None:
    """Words lost or repeated, and right groups in another order."""
    if not isinstance(found, list | tuple) or not all(isinstance(group, list | tuple) for group in found):
        return "Expected a list of groups, each a list of words."
    words = [word for group in found for word in group]
    if sorted(map(str, words)) != sorted(word for group in expected for word in group):
        return "Each word belongs in exactly one group; a word alone is a group of one."
    if {frozenset(group) for group in found} == {frozenset(group) for group in expected}:
        return "The right groups, in another order: they, and their words, are in the order of the lexicon."
    return None


HOMOPHEMES = Exercise(
    _groups,
    lambda: [Case((words, table), hint) for words, table, hint in LEXICONS],
    diagnose=_known_mistake,
)

# ---- bayes_wer ---------------------------------------------------------------------------------------------


def _bayes_wer(priors: list[dict[str, float]], groups: list[list[list[str]]]) -> float:
    """Word by word: an error costs the word's probability, unless it is the answer for its group."""
    errors = 0.0
    for prior, of_slot in zip(priors, groups, strict=True):
        for group in of_slot:
            answer = max(group, key=prior.__getitem__)
            errors += sum(float(prior[word]) for word in group if word != answer)
    return errors / len(priors)


def _bayes_cases() -> Iterator[Case]:
    def uniform(words: str) -> dict[str, float]:
        return {word: 1 / len(words) for word in words}

    yield Case(
        ([uniform("ab")], [[["a", "b"]]]),
        "One slot, two equally likely words that look alike: half of the guesses are wrong.",
    )
    yield Case(([uniform("ab")], [[["a"], ["b"]]]), "No homophemes: no errors.")
    yield Case(([uniform("abc")], [[["a", "b", "c"]]]), "Of three equally likely words two thirds are lost.")
    yield Case(
        ([{"a": 0.75, "b": 0.25}], [[["a", "b"]]]),
        "The ideal observer answers the more probable word, and is wrong for the other one only.",
    )
    yield Case(
        ([{"a": 0.1, "b": 0.6, "c": 0.3}], [[["a", "b"], ["c"]]]),
        "The most probable word need not be the first of its group.",
    )
    yield Case(
        ([uniform("abcde"), uniform("xy")], [[["a", "b"], ["c", "d", "e"]], [["x"], ["y"]]]),
        "The mean over the slots: one word of each sentence comes from each.",
    )
    yield Case(
        (
            [uniform("abcde"), uniform("xyz"), {"k": 1.0}],
            [[["a", "b"], ["c", "d"], ["e"]], [["x", "y"], ["z"]], [["k"]]],
        ),
        "Sum over the groups of a slot, then the mean over slots of different sizes.",
    )
    yield Case(([{"a": 0.5, "b": 0.5, "c": 0.0}], [[["c"], ["a", "b"]]]), "A word may have probability 0.")
    yield Case(
        ([{"a": Fraction(1, 3), "b": Fraction(2, 3)}] * 2, [[["a", "b"]]] * 2),
        "Probabilities may be fractions.",
    )
    rng = np.random.default_rng(0)
    for slots in (1, 4):
        priors, groups = [], []
        for slot in range(slots):
            words = [f"w{i}" for i in range(3 + 2 * slot)]
            p = rng.dirichlet(np.ones(len(words)))
            priors.append(dict(zip(words, p.tolist(), strict=True)))
            cut = len(words) // 2
            groups.append([words[cut:][::-1], words[:cut]])
        yield Case((priors, groups), "Groups, and the words in them, may come in any order.")


BAYES_WER = Exercise(_bayes_wer, _bayes_cases)

CHECKS: dict[str, Callable[[Callable], None]] = {
    "homopheme_groups": HOMOPHEMES,
    "bayes_wer": BAYES_WER,
}
