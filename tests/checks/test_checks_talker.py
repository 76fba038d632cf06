"""What learners write by mistake in the exercises of notebook 08 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import groupby

import numpy as np
import torch

from tests.checks.exercises import answer_tests

NAN = float("nan")


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


def by_first_word(lexicon, visemes):
    groups = []
    for word, shown in looks(lexicon, visemes).items():
        for group in groups:
            if looks(lexicon, visemes)[group[0]] == shown:
                group.append(word)
                break
        else:
            groups.append([word])
    return groups


def sorted_by_look(lexicon, visemes):
    """Sort by look, run through, sort back."""
    shown, order = looks(lexicon, visemes), list(lexicon)
    runs = [list(run) for _, run in groupby(sorted(order, key=shown.get), key=shown.get)]
    return sorted(runs, key=lambda run: order.index(run[0]))


def as_strings(lexicon, visemes):
    """A separator that no viseme holds."""
    found = {}
    for word, phonemes in lexicon.items():
        key = "|".join("|".join(visemes[p]) for p in phonemes.split())
        found[key] = [*found.get(key, []), word]
    return tuple(tuple(group) for group in found.values())


def of_unique_looks(lexicon, visemes):
    shown = looks(lexicon, visemes)
    return [[w for w in lexicon if shown[w] == look] for look in dict.fromkeys(shown.values())]


def observer(right=max, over=None, slot=lambda errors, prior, groups: errors, change=lambda wer: wer):
    """bayes_wer with one slip."""

    def function(priors, groups):
        errors = []
        for prior, of_slot in zip(priors, groups, strict=True):
            error = 1 - sum(right([prior[word] for word in group]) for group in of_slot)
            errors.append(slot(error, prior, of_slot))
        return change(sum(errors) / (over(priors, groups) if over else len(errors)))

    return function


def by_size(priors, groups):
    """Only for uniform priors."""
    wrong = [
        sum(len(g) - 1 for g in of_slot) / len(prior) for prior, of_slot in zip(priors, groups, strict=True)
    ]
    return sum(wrong) / len(wrong)


def lost_probability(priors, groups):
    lost = 0
    for prior, of_slot in zip(priors, groups, strict=True):
        for group in of_slot:
            p = sorted(prior[word] for word in group)
            lost += sum(p[:-1])
    return lost / len(priors)


def with_numpy(priors, groups):
    right = [
        np.sum([np.max([float(prior[word]) for word in group]) for group in of_slot])
        for prior, of_slot in zip(priors, groups, strict=True)
    ]
    return 1 - np.mean(right)


def with_torch(priors, groups):
    right = torch.tensor(0.0, dtype=torch.float64)
    for prior, of_slot in zip(priors, groups, strict=True):
        for group in of_slot:
            right += torch.tensor([float(prior[word]) for word in group], dtype=torch.float64).max()
    return 1 - right / len(priors)


def exactly(priors, groups):
    errors = Fraction(0)
    for prior, of_slot in zip(priors, groups, strict=True):
        errors += 1 - sum(Fraction(max(prior[word] for word in group)) for group in of_slot)
    return errors / len(priors)


def empties_the_groups(priors, groups):
    wer = observer()(priors, groups)
    groups.clear()
    return wer


WRONG = {
    "homopheme_groups": [
        ("three words at most", lambda words, table: [
            group[:3] for group in grouped(lambda shown, sounds: flat(shown))(words, table)],
         "exactly one group"),
        ("by both ends", grouped(lambda shown, sounds: (flat(shown)[:1], flat(shown)[-1:], len(flat(shown)))),
         "in the middle"),
        ("by the first three", grouped(lambda shown, sounds: flat(shown)[:3]), "and the last, too"),
        ("by phonemes", grouped(lambda shown, sounds: sounds), "differ in their phonemes, not"),
        ("by length", grouped(lambda shown, sounds: len(flat(shown))), "p and t show different"),
        ("by the set", grouped(lambda shown, sounds: frozenset(flat(shown))), "order of the visemes"),
        ("sorted", grouped(lambda shown, sounds: tuple(sorted(flat(shown)))), "order of the visemes"),
        ("first visemes", grouped(lambda s, _: tuple(v[0] for v in s)), "diphthong|One phoneme of two"),
        ("last viseme of each", grouped(lambda s, _: tuple(v[-1] for v in s)), "two visemes"),
        ("first phoneme", grouped(lambda shown, sounds: shown[0]), "whole word counts"),
        ("no repeats", grouped(lambda shown, _: tuple(dict.fromkeys(flat(shown)))), "twice is not"),
        ("tuples of tuples", grouped(lambda shown, sounds: tuple(shown)), "looks like two phonemes"),
        ("glued", grouped(lambda shown, _: "".join(flat(shown))), "do not concatenate"),
        ("no single", grouped(lambda s, _: flat(s), lambda g: [x for x in g if x[1:]]), "exactly one group"),
        ("backwards", grouped(lambda s, _: flat(s), lambda g: g[::-1]), "in another order"),
        ("words sorted", grouped(lambda s, _: flat(s), lambda g: [sorted(x) for x in g]), "in another order"),
        ("larger groups first", grouped(lambda s, _: flat(s), lambda g: sorted(g, key=len, reverse=True)),
         "in another order"),
        ("sets", grouped(lambda s, _: flat(s), lambda g: [set(x) for x in g]), "of length 2|exactly one"),
        ("a word twice", grouped(lambda s, _: flat(s), lambda g: g + g[:1]), "exactly one group"),
        ("neighbors only", runs_of_neighbors, "in the order of the lexicon"),
        ("a group for every word", for_every_word, "exactly one group"),
        ("one word a group", lambda lexicon, visemes: [[word] for word in lexicon], "p and b differ"),
        ("one group", lambda lexicon, visemes: [list(lexicon)], "p and t show different"),
        ("a dictionary", lambda lexicon, visemes: {"p": ["p"]}, "expected a list"),
        ("numbers", lambda lexicon, visemes: [[1.0], [NAN]], "of length 2|exactly one"),
        ("no return", lambda lexicon, visemes: None, "gave None"),
    ],
    "bayes_wer": [
        ("accuracy", observer(change=lambda wer: 1 - wer), "No homophemes: no errors"),
        ("the least probable word", observer(right=min), "more probable word"),
        ("the first word", observer(right=lambda p: p[0]), "need not be the first"),
        ("the last word", observer(right=lambda p: p[-1]), "more probable word|need not"),
        ("the mean of a group", observer(right=lambda p: sum(p) / len(p)), "more probable word"),
        ("guesses like the prior", observer(right=lambda p: sum(x * x for x in p) / (sum(p) or 1)),
         "more probable word"),
        ("uniform priors", by_size, "more probable word"),
        ("errors per sentence", observer(over=lambda p, g: 1), "mean over the slots"),
        ("always six slots", observer(over=lambda p, g: 6), "half of the guesses"),
        ("over the groups", observer(over=lambda p, g: sum(map(len, g))), "need not be the first"),
        ("over the words", observer(over=lambda p, g: sum(map(len, p))), "half of the guesses"),
        ("one slot only", lambda p, g: observer()(p[:1], g[:1]), "mean over the slots"),
        ("weighted by the words of a slot", lambda p, g: sum(len(a) * observer()([a], [b]) for a, b in
         zip(p, g, strict=True)) / sum(map(len, p)), "mean over the slots"),
        ("percent", observer(change=lambda wer: 100 * wer), "half of the guesses"),
        ("float32", observer(change=lambda wer: float(np.float32(wer))), "right formula, but an error of"),
        ("four digits", observer(change=lambda wer: round(float(wer), 4)), "two thirds"),
        ("rounded", observer(change=lambda wer: round(float(wer), 2)), "two thirds"),
        ("only groups of two", observer(right=lambda p: max(p) if len(p) < 3 else sum(p)), "two thirds"),
        ("some word of each slot wrong", observer(change=lambda wer: wer > 0), "expected a number"),
        ("a list per slot", lambda p, g: [observer()([a], [b]) for a, b in zip(p, g, strict=True)], "number"),
        ("empties the groups", empties_the_groups, "changed groups"),
        ("text", observer(change=str), "expected a number"),
        ("NaN", observer(change=lambda wer: NAN), "wrong"),
        ("no return", lambda p, g: None, "gave None"),
    ],
}  # fmt: skip

RIGHT = {
    "homopheme_groups": [
        grouped(lambda shown, sounds: flat(shown)),
        by_first_word,
        sorted_by_look,
        as_strings,
        of_unique_looks,
    ],
    "bayes_wer": [observer(), lost_probability, with_numpy, with_torch, exactly],
}


TestAnswers = answer_tests("08", WRONG, RIGHT)
