"""What learners write by mistake in the exercises of notebook 05 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections import Counter, defaultdict
from functools import cache

import numpy as np
import pytest
import torch

from lessons.checks.ctc_decoding import CHECKS
from lessons.ctc import metrics
from tests.checks.exercises import answer_tests, sizes_that_never_vary

# ---- one frame of prefix beam search, with slips -----------------------------------------------------------


def beams(
    held="letter", anew="blank", other="both", stay="both", merge=True, grows=True, ends_in_blank=True,
    charge=lambda prefix, symbol, lm: lm(prefix, symbol), charge_held=lambda prefix, symbol, lm: 1.0,
):  # fmt: skip
    """One frame with a slip; each argument says which paths take part, or what is charged."""

    def function(old, frame, p_lm=lambda prefix, letter: 1.0, alpha=1.0, beta=0.0):
        new: dict = {}

        def lm(prefix, letter):
            return p_lm(prefix, letter) ** alpha * math.exp(beta)

        def add(prefix, blank, letter):
            before = new.get(prefix, (0.0, 0.0)) if merge else (0.0, 0.0)
            new[prefix] = (before[0] + blank, before[1] + letter)

        for prefix, (blank, letter) in old.items():
            paths = {"blank": blank, "letter": letter, "both": blank + letter, "none": 0.0}
            for symbol, y in frame.items():
                if symbol == "-":
                    p = paths[stay] * y
                    add(prefix, *((p, 0.0) if ends_in_blank else (0.0, p)))
                elif prefix.endswith(symbol):
                    add(prefix, 0.0, paths[held] * y * charge_held(prefix, symbol, lm))
                    if grows:
                        add(prefix + symbol, 0.0, paths[anew] * y * charge(prefix, symbol, lm))
                else:
                    add(prefix + symbol, 0.0, paths[other] * y * charge(prefix, symbol, lm))
        return new

    return function


def holds_any_letter(old, frame):
    new = dict.fromkeys(beams()(old, frame), (0.0, 0.0))
    for prefix, (blank, letter) in old.items():
        for symbol, y in frame.items():
            held = symbol != "-" and symbol in prefix
            for child, p_blank, p_letter in (
                (prefix, (blank + letter) * y * (symbol == "-"), letter * y * held),
                (prefix + symbol, 0.0, (blank if held else blank + letter) * y * (symbol != "-")),
            ):
                before = new.get(child, (0.0, 0.0))
                new[child] = (before[0] + p_blank, before[1] + p_letter)
    return new


def takes_the_larger(old, frame):
    new: dict = {}
    for prefix, ends in old.items():
        for child, sent in beams()({prefix: ends}, frame).items():
            new[child] = tuple(map(max, new.get(child, (0.0, 0.0)), sent))
    return new


def sorted_then_overwritten(old, frame):
    """Right as long as parents come before their children: an entry that grows replaces."""
    new: dict = {}
    for prefix, ends in old.items():
        for child, (blank, letter) in beams()({prefix: ends}, frame).items():
            if child == prefix:
                before = new.get(prefix, (0.0, 0.0))
                new[prefix] = (before[0] + blank, before[1] + letter)
            else:
                new[child] = (blank, letter)
    return new


def overwritten_by_its_own(old, frame):
    """Right as long as children come before their parents: an entry that stays replaces."""
    new: dict = {}
    for prefix, ends in old.items():
        for child, (blank, letter) in beams()({prefix: ends}, frame).items():
            before = (0.0, 0.0) if child == prefix else new.get(child, (0.0, 0.0))
            new[child] = (before[0] + blank, before[1] + letter)
    return new


def changes_its_input(old, frame):
    new = beams()(old, frame)
    old.clear()
    return new


def changes_the_frame(old, frame):
    new = beams()(old, frame)
    frame.pop("-")
    return new


def paths_instead(old, frame):
    return {
        prefix + symbol: (0.0, sum(ends) * y) for prefix, ends in old.items() for symbol, y in frame.items()
    }


def one_number(old, frame):
    return {prefix: sum(ends) for prefix, ends in beams()(old, frame).items()}


def changed(function, change):
    """``function`` with each pair of its result changed."""

    def wrong(*arguments):
        return {prefix: change(a, b) for prefix, (a, b) in function(*arguments).items()}

    return wrong


def logs(a, b):
    return math.log(a + 1e-300), math.log(b + 1e-300)


def normalized(old, frame):
    new = beams()(old, frame)
    total = sum(map(sum, new.values()))
    return {prefix: (a / total, b / total) for prefix, (a, b) in new.items()}


def normalizes_the_frame(old, frame):
    """Right as long as the frame is a distribution already."""
    total = sum(frame.values())
    return beams()(old, {symbol: y / total for symbol, y in frame.items()})


def in_small_letters(old, frame):
    new: dict = {}
    for prefix, (a, b) in beams()(old, frame).items():
        before = new.get(prefix.lower(), (0.0, 0.0))
        new[prefix.lower()] = (before[0] + a, before[1] + b)
    return new


def blank_is_first(old, frame):
    """Takes the first symbol of the frame for the blank."""
    first = next(iter(frame))
    swap = {first: "-", "-": first}
    return beams()(old, {swap.get(symbol, symbol): y for symbol, y in frame.items()})


def remembers(new={}):  # noqa: B006
    def function(old, frame):
        for prefix, (a, b) in beams()(old, frame).items():
            before = new.get(prefix, (0.0, 0.0))
            new[prefix] = (before[0] + a, before[1] + b)
        return dict(new)

    return function


def drops_improbable(old, frame):
    return {prefix: ends for prefix, ends in beams()(old, frame).items() if sum(ends) > 1e-8}


def keeps_three(old, frame):
    new = beams()(old, frame)
    return {prefix: new[prefix] for prefix in sorted(new, key=lambda p: -sum(new[p]))[:3]}


def last_letter_by_index(old, frame):
    new: dict = defaultdict(lambda: (0.0, 0.0))
    for prefix, (blank, letter) in old.items():
        for symbol, y in frame.items():
            if symbol == "-":
                new[prefix] = (new[prefix][0] + (blank + letter) * y, new[prefix][1])
            elif prefix[-1] == symbol:
                new[prefix] = (new[prefix][0], new[prefix][1] + letter * y)
                new[prefix + symbol] = (new[prefix + symbol][0], new[prefix + symbol][1] + blank * y)
            else:
                new[prefix + symbol] = (0.0, new[prefix + symbol][1] + (blank + letter) * y)
    return new


def keeps_the_old(old, frame):
    """Adds to the old beams, not to new ones."""
    new = dict(old)
    for prefix, (a, b) in beams()(old, frame).items():
        before = new.get(prefix, (0.0, 0.0))
        new[prefix] = (before[0] + a, before[1] + b)
    return new


def collapses_again(old, frame):
    """Merges equal neighbors of a label, as if it were a path."""
    new: dict = {}
    for prefix, (a, b) in beams()(old, frame).items():
        label = "".join(letter for letter, _ in itertools.groupby(prefix))
        before = new.get(label, (0.0, 0.0))
        new[label] = (before[0] + a, before[1] + b)
    return new


def first_letter(old, frame):
    """Holds the first letter of a prefix: its prefixes are read backwards."""
    turned = beams()({prefix[::-1]: ends for prefix, ends in old.items()}, frame)
    return {prefix[::-1]: ends for prefix, ends in turned.items()}


def pays_held_letters(old, frame, p_lm, alpha, beta):
    return beams(charge_held=lambda p, c, lm: math.exp(beta))(old, frame, p_lm, alpha, beta)


def pays_blanks(old, frame, p_lm, alpha, beta):
    paid = {symbol: y * math.exp(beta) if symbol == "-" else y for symbol, y in frame.items()}
    return beams()(old, paid, p_lm, alpha, beta)


def charges_the_new(old, frame, p_lm, alpha, beta):
    """Charges an entry, not what arrives there."""

    def charge(prefix, letter, lm):
        return 1.0 if prefix + letter in old else p_lm(prefix, letter) ** alpha * math.exp(beta)

    return beams(charge=charge)(old, frame)


def remembers_the_lm():
    """Remembers what a language model said, and not which one said it."""
    known: dict = {}

    def charge(prefix, letter, p_lm, alpha, beta):
        return known.setdefault((prefix, letter), p_lm(prefix, letter)) ** alpha * math.exp(beta)

    return with_lm(charge)


def not_solved_for_more_than_one(old, frame):
    prefix = next(iter(old))
    return beams()({prefix: old[prefix]}, frame)


# ---- the same, right ---------------------------------------------------------------------------------------


def by_targets(old, frame):
    """For each new prefix, what arrives there."""
    new = {}
    for prefix in {*old, *(p + c for p in old for c in frame if c != "-")}:
        b, n = old.get(prefix, (0.0, 0.0))
        blank, letter = (b + n) * frame["-"], 0.0
        if prefix:
            letter = n * frame.get(prefix[-1], 0.0)
            parent = old.get(prefix[:-1])
            if parent:
                same = prefix[-2:-1] == prefix[-1]
                letter += (parent[0] if same else sum(parent)) * frame.get(prefix[-1], 0.0)
        new[prefix] = (blank, letter)
    return new


def with_counters(old, frame):
    blank, letter = Counter(), Counter()
    for prefix, (b, n) in old.items():
        blank[prefix] += (b + n) * frame["-"]
        for symbol in frame.keys() - {"-"}:
            same = prefix[-1:] == symbol
            letter[prefix + symbol] += (b if same else b + n) * frame[symbol]
            if same:
                letter[prefix] += n * frame[symbol]
    return {prefix: [blank[prefix], letter[prefix]] for prefix in blank.keys() | letter.keys()}


def with_arrays(old, frame):
    new = defaultdict(lambda: np.zeros(2))
    for prefix, ends in old.items():
        for symbol, y in frame.items():
            if symbol == "-":
                new[prefix] += (sum(ends) * y, 0)
                continue
            held = prefix != "" and prefix[-1] == symbol
            if held:
                new[prefix] += (0, ends[1] * y)
            new[prefix + symbol] += (0, (ends[0] if held else sum(ends)) * y)
    return dict(new)


def without_zeros(old, frame):
    return {prefix: ends for prefix, ends in beams()(old, frame).items() if ends[0] or ends[1]}


def in_tensors(old, frame):
    return {p: tuple(torch.tensor(ends, dtype=torch.float64)) for p, ends in beams()(old, frame).items()}


def with_lm_by_parents(old, frame, p_lm, alpha, beta):
    """Extends one prefix at a time, and charges what has grown."""
    new: dict = {}
    for prefix, ends in old.items():
        for child, (blank, letter) in beams()({prefix: ends}, frame).items():
            factor = 1.0
            if len(child) > len(prefix):
                factor = math.e**beta * p_lm(prefix, child[-1]) ** alpha
            before = new.setdefault(child, [0.0, 0.0])
            before[0] += blank
            before[1] += factor * letter
    return new


def with_lm_in_logs(old, frame, p_lm, alpha, beta):
    def factor(prefix, letter, lm):
        p = p_lm(prefix, letter)
        if alpha == 0:
            return math.exp(beta)
        return math.exp(alpha * math.log(p) + beta) if p > 0 else 0.0

    return beams(charge=factor)(old, frame, p_lm, 1.0, 0.0)


def with_lm_remembered(old, frame, p_lm, alpha, beta):
    return beams()(old, frame, cache(p_lm), alpha, beta)


def with_lm_and_numpy(old, frame, p_lm, alpha, beta):
    charge = lambda p, c, lm: np.float64(p_lm(p, c)) ** alpha * np.exp(beta)  # noqa: E731
    return beams(charge=charge)(old, frame)


def lm_first(old, frame, p_lm, alpha, beta):
    """As in the bug hunt: the frame's distribution is changed before the branches."""
    new: dict = {}
    for prefix, ends in old.items():
        fused = {
            c: y if c == "-" else y * p_lm(prefix, c) ** alpha * math.exp(beta) for c, y in frame.items()
        }
        for child, (blank, letter) in beams()({prefix: ends}, fused).items():
            before = new.get(child, (0.0, 0.0))
            new[child] = (before[0] + blank, before[1] + letter)
    return new


def with_lm(charge=None, **slip):
    """Extension with a slip in the charge: (prefix, letter, p_lm, alpha, beta) -> factor."""

    def function(old, frame, p_lm, alpha, beta):
        if charge is None:
            return beams(**slip)(old, frame, p_lm, alpha, beta)
        factor = lambda p, c, lm: charge(p, c, p_lm, alpha, beta)  # noqa: E731
        return beams(charge=factor, **slip)(old, frame)

    return function


# ---- edit distance -----------------------------------------------------------------------------------------


def table(edges=True, wrong=1, delete=1, insert=1, corner=True, shift=1):
    def function(reference, hypothesis):
        R, H = len(reference), len(hypothesis)
        D = [[i + j if edges else 0 for j in range(H + 1)] for i in range(R + 1)]
        for i in range(1, R + 1):
            for j in range(1, H + 1):
                paired = D[i - 1][j - 1] + wrong * (reference[i - shift] != hypothesis[j - 1])
                D[i][j] = min(D[i - 1][j] + delete, D[i][j - 1] + insert, paired)
        return D[-1][-1] if corner else D[max(0, R - 1)][max(0, H - 1)]

    return function


def by_position(reference, hypothesis):
    return sum(a != b for a, b in zip(reference, hypothesis, strict=False)) + abs(
        len(reference) - len(hypothesis)
    )


def from_the_left(reference, hypothesis):
    """Deletes as long as the next unit of the hypothesis is not there."""
    i = j = edits = 0
    while i < len(reference) and j < len(hypothesis):
        if reference[i] == hypothesis[j]:
            i, j = i + 1, j + 1
        elif hypothesis[j] in reference[i:]:
            i, edits = i + 1, edits + 1
        else:
            i, j, edits = i + 1, j + 1, edits + 1
    return edits + len(reference) - i + len(hypothesis) - j


def identical(reference, hypothesis):
    """Compares with `is`, which is right for single letters only."""
    units: list = []
    for unit in [*reference, *hypothesis]:
        if not any(unit is known for known in units):
            units.append(unit)
    index = [[next(i for i, known in enumerate(units) if known is unit) for unit in text]
             for text in (reference, hypothesis)]  # fmt: skip
    return metrics.edit_distance(*index)


def adapted(change):
    """The distance of changed texts."""
    return lambda reference, hypothesis: metrics.edit_distance(change(reference), change(hypothesis))


def with_difflib(reference, hypothesis):
    codes = difflib.SequenceMatcher(None, reference, hypothesis).get_opcodes()
    return sum(max(i1 - i0, j1 - j0) for kind, i0, i1, j0, j1 in codes if kind != "equal")


def pops(reference, hypothesis):
    distance = metrics.edit_distance(reference, hypothesis)
    if isinstance(reference, list):
        reference.pop()
    return distance


def with_swaps(a, b):
    """Damerau: two neighbors that change places are one edit."""
    D = [[i + j for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i, j in itertools.product(range(1, len(a) + 1), range(1, len(b) + 1)):
        D[i][j] = min(D[i - 1][j] + 1, D[i][j - 1] + 1, D[i - 1][j - 1] + (a[i - 1] != b[j - 1]))
        if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
            D[i][j] = min(D[i][j], D[i - 2][j - 2] + 1)
    return D[-1][-1]


def recursive(reference, hypothesis):
    @cache
    def distance(i, j):
        if i == 0 or j == 0:
            return i + j
        if reference[i - 1] == hypothesis[j - 1]:
            return distance(i - 1, j - 1)
        return 1 + min(distance(i - 1, j), distance(i, j - 1), distance(i - 1, j - 1))

    return distance(len(reference), len(hypothesis))


def in_numpy(reference, hypothesis):
    D = np.zeros((len(reference) + 1, len(hypothesis) + 1), dtype=int)
    D[:, 0], D[0] = np.arange(len(D)), np.arange(D.shape[1])
    for i, j in itertools.product(range(1, len(D)), range(1, D.shape[1])):
        unequal = reference[i - 1] != hypothesis[j - 1]
        D[i, j] = min(D[i - 1, j] + 1, D[i, j - 1] + 1, D[i - 1, j - 1] + unequal)
    return D[-1, -1]


def backwards(reference, hypothesis):
    return metrics.edit_distance(reference[::-1], hypothesis[::-1])


def in_a_tensor(reference, hypothesis):
    return torch.tensor(metrics.edit_distance(reference, hypothesis))


WRONG = {
    "extend_beams": [
        ("grows from all paths", beams(anew="both"), "only after a blank"),
        ("grows from held paths", beams(anew="letter"), "same letter, held"),
        ("never grows a double", beams(grows=False), "after a blank is a new letter"),
        ("holds all paths", beams(held="both"), "Only paths that end in the letter"),
        ("holds paths that end in a blank", beams(held="blank"), "cannot hold"),
        ("never holds", beams(held="none"), "leaves the prefix as it is"),
        ("does not merge", beams(merge=False), "overwritten"),
        ("merges only parents before children", sorted_then_overwritten, "overwritten|adds up"),
        ("merges only children before parents", overwritten_by_its_own, "adds up"),
        ("every letter of the prefix can be held", holds_any_letter, "Only the \\*last\\* letter"),
        ("the larger instead of the sum", takes_the_larger, "Only the largest|adds up"),
        ("another letter only after a blank", beams(other="blank"), "after a blank and after a letter"),
        ("another letter only after a letter", beams(other="letter"), "after a blank, too"),
        ("a blank after a blank only", beams(stay="blank"), "both kinds of path"),
        ("a blank after a letter only", beams(stay="letter"), "may follow a blank"),
        ("a blank drops the path", beams(stay="none"), "A blank leaves the prefix"),
        ("a blank counts as the letter", beams(ends_in_blank=False), "which of the two numbers"),
        ("swapped numbers", changed(beams(), lambda a, b: (b, a)), "path end in a blank"),
        ("paths, not prefixes", paths_instead, "where does it lead"),
        ("one number per prefix", one_number, "expected prefix"),
        ("three numbers per prefix", changed(beams(), lambda a, b: (a, b, a + b)), "expected prefix"),
        ("logarithms", changed(beams(), logs), "a logarithm"),
        ("divides by the total", normalized, "Nothing is normalized"),
        ("divides the frame by its sum", normalizes_the_frame, "Nothing is normalized"),
        ("turns capitals into small letters", in_small_letters, "a capital is another letter"),
        ("changes the old beams", changes_its_input, "changed beams"),
        ("changes the frame", changes_the_frame, "changed frame"),
        ("the blank is the first symbol", blank_is_first, "which is too"),
        ("one dictionary for all calls", remembers(), "too much"),
        ("drops what is improbable", drops_improbable, "Small probabilities"),
        ("prunes", keeps_three, "too little"),
        ("drops spaces", lambda b, f: beams()(b, {k: y for k, y in f.items() if k != " "}), "The space is a"),
        ("keeps the old beams", keeps_the_old, "too much"),
        ("collapses the label again", collapses_again, "too much"),
        ("the first letter of the prefix", first_letter, "too much"),
        ("clips", changed(beams(), lambda a, b: (max(a, 1e-12), max(b, 1e-12))), "too much"),
        ("rounds", changed(beams(), lambda a, b: (round(a, 6), round(b, 6))), "which is too"),
        ("float32", changed(beams(), lambda a, b: (float(np.float32(a)), float(np.float32(b)))), "too"),
        ("the last letter of nothing", last_letter_by_index, "stopped with IndexError"),
        ("the first prefix only", not_solved_for_more_than_one, "which is too little"),
        ("NaN", changed(beams(), lambda a, b: (math.nan, math.nan)), "NaN"),
        ("tensors", in_tensors, "two numbers"),
        ("text", changed(beams(), lambda a, b: (str(a), str(b))), "expected prefix"),
        ("a list", lambda b, f: list(beams()(b, f).items()), "expected a dictionary"),
        ("no return", lambda b, f: None, "gave None"),
    ],
    "extend_with_lm": [
        ("no language model", with_lm(lambda p, c, lm, a, b: 1.0), "Where are the language model"),
        ("no bonus", with_lm(lambda p, c, lm, a, b: lm(p, c) ** a), "Where is the bonus"),
        ("the bonus only", with_lm(lambda p, c, lm, a, b: math.exp(b)), "Which letter|Where is the language"),
        ("before the branches", lm_first, "adds no character"),
        (
            "held letters are charged",
            with_lm(charge_held=lambda p, c, lm: lm(p[:-1], c)),
            "adds no character",
        ),
        ("held letters are paid", pays_held_letters, "no bonus for it"),
        (
            "doubles are free",
            with_lm(lambda p, c, lm, a, b: 1.0 if p.endswith(c) else lm(p, c) ** a * math.exp(b)),
            "repeated letter that grows",
        ),
        ("the blank is charged", lambda o, f, lm, a, b: [lm(p, c) for p in o for c in f], "for the blank"),
        (
            "the grown prefix",
            with_lm(lambda p, c, lm, a, b: lm(p + c, c) ** a * math.exp(b)),
            "before\\* it grows",
        ),
        (
            "the last letter of the prefix",
            with_lm(lambda p, c, lm, a, b: lm(p[-1:], c) ** a * math.exp(b)),
            "whole prefix",
        ),
        (
            "the empty prefix",
            with_lm(lambda p, c, lm, a, b: lm("", c) ** a * math.exp(b)),
            "whole prefix|empty text",
        ),
        (
            "the last four letters",
            with_lm(lambda p, c, lm, a, b: lm(p[-4:], c) ** a * math.exp(b)),
            "whole prefix",
        ),
        (
            "the last word",
            with_lm(lambda p, c, lm, a, b: lm(p.split(" ")[-1], c) ** a * math.exp(b)),
            "whole prefix",
        ),
        ("the language model of the first call", remembers_the_lm(), "another function"),
        (
            "the first letter is free",
            with_lm(lambda p, c, lm, a, b: (lm(p, c) ** a if p else 1) * math.exp(b)),
            "first letter",
        ),
        ("only what is not in the beam is charged", charges_the_new, "in the beam already"),
        ("the blank is paid", pays_blanks, "A blank adds no character"),
        ("the bonus is subtracted", with_lm(lambda p, c, lm, a, b: lm(p, c) ** a * math.exp(-b)), "in nats"),
        ("a bonus in powers of 10", with_lm(lambda p, c, lm, a, b: lm(p, c) ** a * 10**b), "in nats"),
        ("alpha weighs beta", with_lm(lambda p, c, lm, a, b: (lm(p, c) * math.exp(b)) ** a), "in nats"),
        (
            "0 is never raised to a power",
            with_lm(lambda p, c, lm, a, b: lm(p, c) ** a * math.exp(b) if lm(p, c) else 0.0),
            "0 to the power of 0",
        ),
        ("alpha as a factor", with_lm(lambda p, c, lm, a, b: a * lm(p, c) * math.exp(b)), "exponent"),
        ("no alpha", with_lm(lambda p, c, lm, a, b: lm(p, c) * math.exp(b)), "exponent"),
        (
            "beta as a factor",
            with_lm(lambda p, c, lm, a, b: lm(p, c) ** a * b),
            "what is its factor|Which letter|beta",
        ),
        ("1 + beta", with_lm(lambda p, c, lm, a, b: lm(p, c) ** a * (1 + b)), "what is its factor"),
        ("beta as a probability", with_lm(lambda p, c, lm, a, b: lm(p, c) ** a + b), "what is its factor"),
        (
            "beta per length",
            with_lm(lambda p, c, lm, a, b: lm(p, c) ** a * math.exp(b * (len(p) + 1))),
            "factor",
        ),
        (
            "logarithm of 0",
            with_lm(lambda p, c, lm, a, b: math.exp(a * math.log(lm(p, c)) + b)),
            "stopped with",
        ),
        (
            "log instead of p",
            with_lm(lambda p, c, lm, a, b: a * math.log(lm(p, c) or 1) + b),
            "which is too|logarithm",
        ),
        ("divides", with_lm(lambda p, c, lm, a, b: math.exp(b) / (lm(p, c) ** a or math.inf)), "not divided"),
        (
            "swapped arguments",
            with_lm(lambda p, c, lm, a, b: lm(c, p) ** a * math.exp(b)),
            "expected a prefix and the",
        ),
        ("a slip of exercise 1", with_lm(anew="both"), "only after a blank"),
        ("does not merge", with_lm(merge=False), "overwritten"),
        (
            "epsilon",
            with_lm(lambda p, c, lm, a, b: (lm(p, c) + 1e-6) ** a * math.exp(b)),
            "Which letter|which is too",
        ),
        (
            "changes the beams",
            lambda o, f, lm, a, b: (beams()(o, f, lm, a, b), o.clear())[0],
            "changed beams",
        ),
        ("a number", lambda o, f, lm, a, b: 1.0, "expected a dictionary"),
        ("no return", lambda o, f, lm, a, b: None, "gave None"),
    ],
    "edit_distance": [
        ("by position", by_position, "moves up"),
        ("substitution costs 2", table(wrong=2), "one edit, not"),
        ("no substitution", table(wrong=9), "one edit, not"),
        ("deletion is free", table(delete=0), "Equal|one edit"),
        ("insertion is free", table(insert=0), "Equal|one edit"),
        ("edges left at 0", table(edges=False), "first row|Equal|one edit"),
        ("not the last corner", table(corner=False), "first row|one edit"),
        ("off by one", table(shift=0), "stopped with IndexError"),
        ("from the left", from_the_left, "change places|from the left|moves up|insertion"),
        ("only the length", lambda a, b: abs(len(a) - len(b)), "one edit, not"),
        (
            "sets",
            lambda a, b: max(len(set(a) - set(b)), len(set(b) - set(a))),
            "change places|is one edit|least",
        ),
        ("swaps are one edit", with_swaps, "change places"),
        ("a rate", lambda a, b: metrics.edit_distance(a, b) / max(1, len(a)), "expected an integer"),
        ("joins lists", lambda a, b: metrics.edit_distance("".join(a), "".join(b)), "units may be words"),
        (
            "words of strings",
            lambda a, b: metrics.edit_distance(a.split(), b.split()),
            "first row|one edit|stopped",
        ),
        ("compares with is", identical, "spelled the same"),
        ("drops spaces", adapted(lambda text: [u for u in text if u != " "]), "A space is a character"),
        ("strips", adapted(lambda text: text.strip() if isinstance(text, str) else text), "at both ends"),
        ("strips each word", adapted(lambda text: [unit.strip() or unit for unit in text]), "a space makes"),
        ("ignores capitals", adapted(lambda text: [unit.lower() for unit in text]), "as they are"),
        ("drops empty words", adapted(lambda text: [unit for unit in text if unit]), "An empty string"),
        ("at most 9", lambda a, b: min(9, metrics.edit_distance(a, b)), "long text"),
        ("difflib", with_difflib, "least of three"),
        ("changes its argument", pops, "changed reference"),
        ("a string", lambda a, b: str(metrics.edit_distance(a, b)), "expected an integer"),
        ("NaN", lambda a, b: math.nan, "expected an integer"),
        ("no return", lambda a, b: None, "gave None"),
    ],
}

RIGHT = {
    "extend_beams": [
        beams(), by_targets, with_counters, with_arrays, without_zeros,
        changed(beams(), lambda a, b: [a, b]), changed(beams(), lambda a, b: np.array([a, b])),
    ],
    "extend_with_lm": [
        with_lm(), with_lm_by_parents, with_lm_in_logs, with_lm_remembered, with_lm_and_numpy,
        changed(with_lm(), lambda a, b: [a, b]),
    ],
    "edit_distance": [metrics.edit_distance, recursive, in_numpy, backwards, in_a_tensor, table()],
}  # fmt: skip


TestAnswers = answer_tests("05", WRONG, RIGHT)


@pytest.mark.parametrize("exercise", CHECKS)
def test_sizes_vary(exercise):
    assert sizes_that_never_vary(CHECKS[exercise]) == []  # no tensors; so, what varies instead:
    firsts = {len(case.arguments[0]) for case in CHECKS[exercise].cases()}
    seconds = {len(case.arguments[1]) for case in CHECKS[exercise].cases()}
    assert len(firsts) >= 4 and len(seconds) >= 4


@pytest.mark.parametrize("exercise", ["extend_beams", "extend_with_lm"])
def test_beams_come_in_every_order(exercise):
    orders, blanks = set(), set()
    for case in CHECKS[exercise].cases():
        old, frame, *_ = case.arguments
        prefixes = list(old)
        blanks.add(list(frame).index("-"))
        orders |= {prefixes.index(p[:-1]) < i for i, p in enumerate(prefixes) if p and p[:-1] in prefixes}
    assert orders == {True, False} and len(blanks) >= 3
