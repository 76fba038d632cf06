"""Checks of notebook 05, decoding: prefix beam search, the language model in it, and edit distance.

Beams are dictionaries, in any order; a prefix of probability 0 may be there or not.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

from lessons.checks.battery import Case, Exercise

Ends = tuple[float, float]  # probability of the paths that end in a blank, and of those that end in a letter
Beams = dict[str, Ends]
LM = Callable[[str, str], float]

WHICH = ("a blank", "their last letter")

# ---- one frame of prefix beam search, right and with slips -------------------------------------------------


def _extend(
    beams: Beams,
    frame: dict[str, float],
    *,
    held: str = "letter",
    new: str = "blank",
    blanks: str = "both",
    others: str = "both",
    merge: str = "add",
    anywhere: bool = False,
    swap: bool = False,
    factor: Callable[[str, str], float] = lambda prefix, letter: 1.0,
    held_factor: Callable[[str, str], float] = lambda prefix, letter: 1.0,
) -> Beams:
    """One frame of prefix beam search. The arguments say which paths take part."""
    after: Beams = {}

    def add(prefix: str, blank: float, letter: float) -> None:
        before = after.get(prefix, (0.0, 0.0))
        if merge == "overwrite":
            before = (0.0, 0.0)
        sums = (before[0] + blank, before[1] + letter)
        after[prefix] = (max(before[0], blank), max(before[1], letter)) if merge == "max" else sums

    for prefix, (blank, letter) in beams.items():
        paths = {"blank": blank, "letter": letter, "both": blank + letter, "none": 0.0}
        for symbol, y in frame.items():
            if symbol == "-":
                p = paths[blanks] * y
                add(prefix, *((0.0, p) if swap else (p, 0.0)))
                continue
            grown = paths[others]
            if symbol in prefix if anywhere else prefix.endswith(symbol):
                add(prefix, 0.0, paths[held] * y * held_factor(prefix, symbol))
                grown = paths[new]
            add(prefix + symbol, 0.0, grown * y * factor(prefix, symbol))
    return after


def extend_beams_right(beams: Beams, frame: dict[str, float]) -> Beams:
    """The beams one frame later."""
    return _extend(beams, frame)


# A slip, and where to look. A result that equals the slip's is told so.
SLIPS: dict[str, dict[str, str]] = {
    "An entry was overwritten: what several prefixes send to one prefix has to be added, whatever the order "
    "of the beams.": {"merge": "overwrite"},
    "Only the largest contribution was kept. Paths that spell the same prefix add up.": {"merge": "max"},
    "Only the *last* letter can be held; one further back makes the prefix longer.": {"anywhere": True},
    "A repeated letter makes a new one only after a blank. Which of the two numbers may grow so?": {
        "new": "both"
    },
    "A repeated letter after itself is the same letter, held. Which paths make it a new one?": {
        "new": "letter"
    },
    "A repeated letter after a blank is a new letter: the prefix grows.": {"new": "none"},
    "Only paths that end in the letter can hold it. The others make it a new letter.": {"held": "both"},
    "Held where it should be new: paths that end in a blank cannot hold a letter.": {"held": "blank"},
    "A letter that is held leaves the prefix as it is. Where did that probability go?": {"held": "none"},
    "A different letter makes the prefix longer after a blank and after a letter.": {"others": "blank"},
    "A different letter makes the prefix longer, after a blank, too.": {"others": "letter"},
    "A blank may follow both kinds of path.": {"blanks": "blank"},
    "A blank may follow a blank, too.": {"blanks": "letter"},
    "A blank leaves the prefix as it is.": {"blanks": "none"},
    "After the blank, the paths end in a blank: which of the two numbers is that?": {"swap": True},
}  # fmt: skip


# ---- results -----------------------------------------------------------------------------------------------


def _number(value: Any) -> float | None:
    """A number of Python or NumPy as a float, else None; a tensor is none, since a search of them crawls."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.item() if value.size == 1 else None
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else None


def _read(found: Any, name: str) -> Beams:
    """What a learner's function gave, as prefix -> two floats, or an AssertionError that says what it is."""
    if not isinstance(found, dict):
        raise AssertionError(f"{name} gave a {type(found).__name__}, expected a dictionary like beams")
    beams = {}
    for prefix, ends in found.items():
        pair = list(ends) if isinstance(ends, tuple | list | np.ndarray) else [ends]
        numbers = [_number(p) for p in pair]
        if not isinstance(prefix, str) or len(numbers) != 2 or None in numbers:
            raise AssertionError(
                f"{name} holds {prefix!r}: {ends!r}, "
                "expected prefix: (ends in a blank, ends in its last letter), two numbers"
            )
        beams[prefix] = (numbers[0], numbers[1])
    return beams


def _equal(found: Beams, expected: Beams) -> bool:
    return _first_wrong(found, expected) is None


def _first_wrong(found: Beams, expected: Beams) -> tuple[str, int, float, float] | None:
    """The first prefix, short ones first, that has the wrong probability: it, which end, found, expected."""
    for prefix in sorted({*found, *expected}, key=lambda prefix: (len(prefix), prefix)):
        ours, theirs = found.get(prefix, (0.0, 0.0)), expected.get(prefix, (0.0, 0.0))
        for end, (p, q) in enumerate(zip(ours, theirs, strict=True)):
            if not math.isclose(p, q, rel_tol=1e-9, abs_tol=1e-290):  # NaN is close to nothing
                return prefix, end, p, q
    return None


def _shown(value: Any) -> str:
    """Beams or a frame in a message, rounded, the first few of many."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, tuple):
        return f"({', '.join(map(_shown, value))})"
    if isinstance(value, dict):
        items = [f"{key!r}: {_shown(one)}" for key, one in value.items()]
        return f"{{{', '.join(items[:6])}{', …' if len(items) > 6 else ''}}}"
    return str(value)


def _compare_beams(
    name: str, slips: Callable[[Case], Iterator[tuple[str, Beams]]], found: Any, expected: Beams, case: Case
) -> None:
    beams, frame, *_ = case.arguments
    name = f"{name} for beams {_shown(beams)} and frame {_shown(frame)}"
    found = _read(found, name)
    wrong = _first_wrong(found, expected)
    if wrong is None:
        return
    prefix, end, p, q = wrong
    matching = {hint for hint, slip in slips(case) if _equal(found, slip)}
    # On a small case several slips look alike.
    known = " Or: ".join(sorted(matching)) if 1 <= len(matching) <= 2 else case.hint
    if math.isnan(p):
        what = "NaN"
    elif p < 0:
        what = f"{p:.3g}: a logarithm? Here probabilities are kept as they are"
    else:
        what = f"{p:.3g}, which is too {'little' if p < q else 'much'}"
    raise AssertionError(f"{name}: for “{prefix}”, the paths that end in {WHICH[end]} have {what}. {known}")


# ---- extend_beams ------------------------------------------------------------------------------------------

HINTS = {
    "start": "At the start there is one path, the empty one. It counts as ending in a blank.",
    "held": "The last letter again, after itself: it is held, and the prefix stays.",
    "new": "The last letter again, after a blank: a new letter, and the prefix grows.",
    "last": "Only the *last* letter can be held; one further back makes the prefix longer.",
    "merge": "Several prefixes send probability to the same prefix: it adds up.",
    "alone": "Extend the prefixes that the beam has, and only those; what is missing stays missing.",
    "sum": "Nothing is normalized here: the sum of all numbers stays what it was, times that of the frame.",
    "space": "Every symbol of the frame takes part. The space is a letter like the others.",
    "case": "Symbols are compared as they are: a capital is another letter than the small one.",
    "zero": "A probability of 0 is a probability: nothing arrives, nothing breaks.",
    "tiny": "Small probabilities matter on long clips: is one clipped, rounded or padded by an epsilon?",
    "any": "Give each prefix every symbol in turn: where does it lead, and does the path end in a blank?",
}


def _random_beams(rng: random.Random, letters: str, count: int) -> Beams:
    """Prefixes with parents, children and double letters among them, in any order."""
    prefixes = {""}
    while len(prefixes) < count:
        prefixes.add(rng.choice(sorted(prefixes)) + rng.choice(letters))
    return {
        prefix: (rng.uniform(0.1, 1), rng.uniform(0.1, 1) if prefix else 0.0)
        for prefix in rng.sample(sorted(prefixes), len(prefixes))
    }


def _random_frame(rng: random.Random, symbols: str) -> dict[str, float]:
    weights = [rng.uniform(0.1, 1.0) for _ in symbols]
    return {symbol: weight / sum(weights) for symbol, weight in zip(symbols, weights, strict=True)}


def _beams_and_frames() -> Iterator[Case]:
    start: Beams = {"": (1.0, 0.0)}
    two = {"-": 0.5, "a": 0.3, "b": 0.2}
    last = {"b": 0.2, "a": 0.5, "-": 0.3}  # the blank is not always the first symbol
    yield Case(({"ab": (0.24, 0.4)}, two), HINTS["any"])  # on this one, no two slips look alike
    yield Case((start, {"-": 0.6, "a": 0.4}), HINTS["start"])
    yield Case(({"x": (0.0, 0.5)}, {"-": 0.75, "x": 0.25}), HINTS["held"])
    yield Case(({"x": (0.5, 0.0)}, {"-": 0.75, "x": 0.25}), HINTS["new"])
    yield Case(({"a": (0.24, 0.4)}, two), HINTS["any"])
    yield Case(({"ab": (0.1, 0.3)}, two), HINTS["last"])
    yield Case(({"aa": (0.3, 0.1)}, last), HINTS["any"])
    yield Case(({"": (0.6, 0.0), "a": (0.0, 0.4)}, two), HINTS["merge"])
    yield Case(({"a": (0.0, 0.4), "": (0.6, 0.0)}, two), HINTS["merge"])  # the child before its parent
    yield Case(({"aab": (0.1, 0.2), "aa": (0.3, 0.05), "a": (0.02, 0.1)}, last), HINTS["merge"])
    yield Case(({"b": (0.1, 0.2), "ba": (0.2, 0.1), "bab": (0.3, 0.1)}, last), HINTS["alone"])
    yield Case(
        ({"a": (0.05, 0.1), "cab": (0.2, 0.1)}, {"c": 0.5, " ": 0.2, "-": 0.1, "b": 0.2}), HINTS["space"]
    )
    yield Case(({"a ": (0.2, 0.3), "a": (0.1, 0.1)}, {" ": 0.6, "-": 0.4}), HINTS["any"])
    yield Case(({"a": (0.2, 0.3), "ab": (0.0, 0.0)}, {"-": 0.0, "a": 1.0, "b": 0.0}), HINTS["zero"])
    yield Case(({"a": (0.2, 0.3)}, {"-": 1.0}), HINTS["zero"])
    yield Case(({"ba": (3e-150, 2e-140), "b": (1e-145, 0.0)}, last), HINTS["tiny"])
    unequal = {"a": 0.9, "-": 0.5, "b": 0.4}  # as where weights are in the frame: its sum is not 1
    yield Case(({"a": (0.3, 0.2), "ab": (0.1, 0.4)}, unequal), HINTS["sum"])
    yield Case(({"aA": (0.3, 0.2), "A": (0.1, 0.4)}, {"A": 0.3, "-": 0.5, "a": 0.2}), HINTS["case"])
    rng = random.Random(0)
    for letters, count in (
        ("abc", 5),
        ("zyx", 9),
        ("no ", 14),
        ("q", 4),
        ("abcdefghijklmnopqrstuvwxyz ", 20),
    ):
        symbols = "".join(rng.sample(f"{letters}-", len(letters) + 1))
        yield Case((_random_beams(rng, letters, count), _random_frame(rng, symbols)), HINTS["any"])


def _slips_of_extension(case: Case) -> Iterator[tuple[str, Beams]]:
    beams, frame = case.arguments
    return ((hint, _extend(beams, frame, **slip)) for hint, slip in SLIPS.items())


def _without_normalizing(case: Case) -> Iterator[tuple[str, Beams]]:
    yield from _slips_of_extension(case)
    right = extend_beams_right(*case.arguments)
    total = sum(map(sum, right.values()))
    if total > 0:
        scaled = {prefix: (a / total, b / total) for prefix, (a, b) in right.items()}
        yield HINTS["sum"], scaled


EXTEND = Exercise(
    extend_beams_right,
    _beams_and_frames,
    compare=partial(_compare_beams, "extend_beams", _without_normalizing),
)

# ---- extend_with_lm ----------------------------------------------------------------------------------------


def extend_with_lm_right(beams: Beams, frame: dict[str, float], p_lm: LM, alpha: float, beta: float) -> Beams:
    """The beams one frame later, each new character charged by the language model and paid the bonus."""
    return _extend(beams, frame, factor=lambda p, c: p_lm(p, c) ** alpha * math.exp(beta))


def _toy_lm(prefix: str, letter: str) -> float:
    """Another probability for each prefix and letter; 0 after "z"; the blank is no letter."""
    if letter == "-":
        raise AssertionError(
            "extend_with_lm asked p_lm for the blank. A language model knows characters only: ask it where a "
            "prefix grows."
        )
    if not isinstance(prefix, str) or not isinstance(letter, str) or len(letter) != 1:
        raise AssertionError(
            f"extend_with_lm asked p_lm({prefix!r}, {letter!r}), expected a prefix and the letter after it"
        )
    if prefix.endswith("z"):
        return 0.0
    return 1 / (2 + sum(map(ord, prefix)) % 5 + ord(letter) % 3)


def _other_lm(prefix: str, letter: str) -> float:
    """Another language model, which the same prefixes and letters must not be confused with."""
    return _toy_lm(prefix, letter) ** 2


LM_HINTS = {
    "off": "With alpha = 0 and beta = 0 it must do what extend_beams does.",
    "lm": "Each letter that a prefix grows by has one factor. Which letter, after which prefix?",
    "alpha": "alpha is the exponent of p_lm: a weight of the logarithm.",
    "beta": "beta is paid in nats: what is its factor for one new character?",
    "zero": "p_lm may be 0, which forbids the letter; 0 to the power of 0 is 1, but 0 has no logarithm.",
    "first": "The first letter, after the empty prefix, is charged, too.",
    "twice": "What a parent sends to a prefix that is in the beam already is charged, too.",
    "whole": "p_lm takes the whole prefix, not its end.",
    "other": "This p_lm is another function than before. Ask the one that you are given, in every call.",
    "blank": "A blank adds no character: it is not charged, and there is no bonus for it.",
    "merge": "As in extend_beams, what several prefixes send to one prefix adds up.",
    "tiny": HINTS["tiny"],
}


def _beams_with_lm() -> Iterator[Case]:
    frame = {"b": 0.2, "-": 0.5, "a": 0.3}
    pair = {"a": (0.2, 0.4), "": (0.4, 0.0)}
    yield Case(({"ab": (0.3, 0.4)}, frame, _toy_lm, 0.5, 0.7), LM_HINTS["lm"])  # no two slips look alike
    yield Case((pair, frame, _toy_lm, 0.0, 0.0), LM_HINTS["off"])
    yield Case(({"": (1.0, 0.0)}, frame, _toy_lm, 1.0, 0.4), LM_HINTS["lm"])
    yield Case(({"a": (0.0, 0.5)}, {"-": 0.4, "a": 0.6}, _toy_lm, 1.0, 0.0), LM_HINTS["lm"])
    yield Case(({"a": (0.5, 0.0)}, {"-": 0.4, "a": 0.6}, _toy_lm, 1.0, 0.0), LM_HINTS["lm"])
    yield Case(({"ab": (0.3, 0.2)}, frame, _toy_lm, 2.0, 0.0), LM_HINTS["alpha"])
    yield Case(({"ab": (0.3, 0.2)}, frame, _toy_lm, 0.5, 0.0), LM_HINTS["alpha"])
    yield Case((pair, frame, _toy_lm, 0.0, 1.5), LM_HINTS["beta"])
    yield Case((pair, frame, _toy_lm, 0.5, -0.5), LM_HINTS["beta"])
    yield Case((pair, frame, _toy_lm, 1, 3), LM_HINTS["merge"])
    yield Case(
        ({"z": (0.3, 0.2), "a": (0.1, 0.1)}, {"z": 0.3, "a": 0.3, "-": 0.4}, _toy_lm, 1.0, 0.5),
        LM_HINTS["zero"],
    )
    yield Case(({"z": (0.3, 0.2)}, {"-": 0.4, "a": 0.6}, _toy_lm, 0.0, 0.5), LM_HINTS["zero"])
    yield Case(({"ba": (3e-150, 2e-140), "b": (1e-145, 0.0)}, frame, _toy_lm, 1.5, 1.0), LM_HINTS["tiny"])
    yield Case(({"ab": (0.3, 0.4)}, frame, _other_lm, 0.5, 0.7), LM_HINTS["other"])  # the first case's beams
    yield Case(
        ({"lay white in b": (0.1, 0.2), "bin blue a": (0.3, 0.1)}, frame, _toy_lm, 1.0, 0.2),
        LM_HINTS["whole"],
    )
    rng = random.Random(1)
    for letters, count, alpha, beta in (("abc", 6, 0.7, 0.3), ("yz ", 12, 1.3, -0.2), ("mnopq", 9, 2.0, 2.0)):
        symbols = "".join(rng.sample(f"{letters}-", len(letters) + 1))
        case = (_random_beams(rng, letters, count), _random_frame(rng, symbols), _toy_lm, alpha, beta)
        yield Case(case, LM_HINTS["lm"])


def _slips_with_lm(case: Case) -> Iterator[tuple[str, Beams]]:
    beams, frame, p_lm, alpha, beta = case.arguments

    def lm(prefix: str, letter: str) -> float:
        return p_lm(prefix, letter) ** alpha

    bonus = math.exp(beta)

    def right(prefix: str, letter: str) -> float:
        return lm(prefix, letter) * bonus

    def one(prefix: str, letter: str) -> float:
        return 1.0

    for hint, factor, held in (
        ("A letter that is held adds no character: there is nothing new to charge.", right, right),
        ("A letter that is held adds no character: there is nothing new to charge.", right,
         lambda p, c: right(p[:-1], c)),
        ("A letter that is held adds no character: there is no bonus for it.", right, lambda p, c: bonus),
        ("Where are the language model and the bonus?", one, one),
        ("Where is the bonus beta?", lm, one),
        ("Where is the language model?", lambda p, c: bonus, one),
        (LM_HINTS["alpha"], lambda p, c: alpha * p_lm(p, c) * bonus, one),
        (LM_HINTS["alpha"], lambda p, c: p_lm(p, c) * bonus, one),
        (LM_HINTS["beta"], lambda p, c: lm(p, c) * beta, one),
        (LM_HINTS["beta"], lambda p, c: lm(p, c) + beta, one),
        (LM_HINTS["beta"], lambda p, c: lm(p, c) / bonus, one),
        (LM_HINTS["beta"], lambda p, c: lm(p, c) * 10**beta, one),
        (LM_HINTS["beta"], lambda p, c: lm(p, c) * bonus**alpha, one),
        (LM_HINTS["zero"], lambda p, c: right(p, c) if p_lm(p, c) > 0 else 0.0, one),
        (LM_HINTS["twice"], lambda p, c: right(p, c) if p + c not in beams else 1.0, one),
        (LM_HINTS["first"], lambda p, c: right(p, c) if p else bonus, one),
        (LM_HINTS["beta"], lambda p, c: lm(p, c) * (1 + beta), one),
        (LM_HINTS["beta"], lambda p, c: lm(p, c) * bonus ** (len(p) + 1), one),
        ("Probabilities are multiplied, not divided.", lambda p, c: bonus / (lm(p, c) or math.inf), one),
        ("p_lm takes the prefix *before* it grows.", lambda p, c: right(p + c, c), one),
        (LM_HINTS["whole"], lambda p, c: right(p[-1:], c), one),
        ("Does p_lm take the prefix, or the empty text?", lambda p, c: right("", c), one),
        ("A repeated letter that grows is a new character and is charged, too.",
         lambda p, c: 1.0 if p.endswith(c) else right(p, c), one),
    ):  # fmt: skip
        yield hint, _extend(beams, frame, factor=factor, held_factor=held)
    paid = {symbol: y * bonus if symbol == "-" else y for symbol, y in frame.items()}
    yield LM_HINTS["blank"], _extend(beams, paid, factor=right)
    for hint, slip in SLIPS.items():
        yield hint, _extend(beams, frame, factor=right, **slip)


EXTEND_LM = Exercise(
    extend_with_lm_right, _beams_with_lm, compare=partial(_compare_beams, "extend_with_lm", _slips_with_lm)
)

# ---- edit_distance -----------------------------------------------------------------------------------------


def edit_distance_right(reference: Any, hypothesis: Any) -> int:
    """The cheapest of all ways to pair units in order; what is not paired is deleted or inserted."""
    best = len(reference) + len(hypothesis)
    for k in range(1, min(len(reference), len(hypothesis)) + 1):
        for left in itertools.combinations(reference, k):
            for right in itertools.combinations(hypothesis, k):
                wrong = sum(a != b for a, b in zip(left, right, strict=True))
                best = min(best, len(reference) + len(hypothesis) - 2 * k + wrong)
    return best


def _pairs_of_texts() -> Iterator[Case]:
    yield Case(("bin", "bin"), "Equal characters cost nothing.")
    yield Case(("bin", "pin"), "A substitution is one edit, not a deletion and an insertion.")
    yield Case(("bin", "bi"), "A deletion is one edit.")
    yield Case(("bi", "bin"), "An insertion is one edit.")
    yield Case(("", "bin"), "With an empty reference all is inserted. What is in the table's first row?")
    yield Case(("bin", ""), "With an empty hypothesis all is deleted. What is in the table's first column?")
    yield Case(("", ""), "Two empty texts are equal.")
    yield Case(("abc", "bc"), "After a deletion the rest moves up: comparing position by position fails.")
    yield Case(("ab", "ba"), "Two neighbors that change places cost two edits here.")
    yield Case(("place", "lazce"), "Greedy from the left does not find the fewest: take the least of three.")
    yield Case((["at", "b", "two"], ["at", "two", "by"]), "The units may be words: take lists, too.")
    yield Case((["a", "bc"], ["ab", "c"]), "The units may be words: joining them loses their borders.")
    yield Case((("bin", "a"), ("bin", "a", "b")), "Tuples are sequences, too.")
    yield Case(("a", "bcdaef"), "Each insertion is one edit, on both sides of a match.")
    yield Case(("se t", "set"), "A space is a character: losing it is one edit.")
    yield Case((" set", "set "), "A space is a character, at both ends, too.")
    yield Case(("Bin", "bin"), "Units are compared as they are: a capital differs from a small letter.")
    yield Case((["two ", "a"], ["two", "a "]), "Units are compared as they are: a space makes another word.")
    yield Case((["a", "", "b"], ["a", "b"]), "An empty string in a list is a word like the others: one edit.")
    words = "lay blue at two", "lay blue by two"
    yield Case(
        tuple(text.split() for text in words), "Two words are equal if they are spelled the same (`==`)."
    )
    yield Case(
        ("lay white in k two now again", "to"),
        "In a long text, each character that has no partner costs one edit.",
    )
    rng = random.Random(0)
    for _ in range(40):
        texts = tuple("".join(rng.choices("abc", k=rng.randint(0, 6))) for _ in range(2))
        yield Case(texts, "Each cell is the least of three: from above, from the left, and diagonally.")


EDITS = Exercise(edit_distance_right, _pairs_of_texts)


CHECKS: dict[str, Callable[[Callable], None]] = {
    "extend_beams": EXTEND,
    "extend_with_lm": EXTEND_LM,
    "edit_distance": EDITS,
}
