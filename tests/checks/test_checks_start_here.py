"""Notebook 00's checks tell a learner what is wrong, and accept right answers in other styles.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import re
from itertools import groupby, pairwise

import numpy as np
import torch

from lessons.ctc.metrics import edit_distance
from tests.checks.exercises import answer_tests


def collapsed(path: str) -> str:
    return "".join(c for c, _ in groupby(path) if c != "-")


def by_loop(path: str) -> str:
    text, before = "", "-"
    for c in path:
        if c != before and c != "-":
            text += c
        before = c
    return text


def by_index(path: str) -> str:
    return "".join(path[i] for i in range(len(path)) if path[i] != "-" and (i == 0 or path[i] != path[i - 1]))


def never_twice(path: str) -> str:
    return "".join(dict.fromkeys(path.replace("-", "")))


def merges_across_blanks(path: str) -> str:
    text = ""
    for c in path:
        if c != "-" and not text.endswith(c):
            text += c
    return text


def pairs_only(path: str) -> str:
    return re.sub(r"(.)\1", r"\1", path).replace("-", "")


def needed(sentence: str) -> int:
    return len(sentence) + sum(a == b for a, b in pairwise(sentence))


def differing(said: str, read: str) -> int:
    return sum(a != b for a, b in zip(said.split(), read.split(), strict=True))


def first_six(said: str, read: str) -> int:
    a, b = said.split(), read.split()
    return sum(a[i] != b[i] for i in range(6))


WRONG = {
    "collapse": [
        ("a space alone is nothing", lambda p: collapsed(p) if p != " " else "", "also alone"),
        ("75 frames at most", lambda p: collapsed(p[:75]), "longer than a clip"),
        ("blanks first", lambda p: "".join(c for c, _ in groupby(p.replace("-", ""))), "step comes first"),
        ("merges across blanks", merges_across_blanks, "step comes first"),
        ("blanks kept", lambda p: "".join(c for c, _ in groupby(p)), "merged into one"),
        ("repeats kept", lambda p: p.replace("-", ""), "merged into one"),
        ("each character once", never_twice, "Only neighbors"),
        ("pairs only", pairs_only, "merged into one"),
        ("spaces dropped", lambda p: collapsed(p).replace(" ", ""), "A space is a character"),
        ("ends stripped", lambda p: collapsed(p).strip(), "Spaces at the ends"),
        ("spaces never merged", lambda p: "".join(
            c for i, c in enumerate(p) if c != "-" and (c == " " or p[i - 1 : i] != c)), "two neighbors"),
        ("first character lost", lambda p: "".join(b for a, b in pairwise(p) if b not in (a, "-")), "wrong"),
        ("last character lost", lambda p: "".join(a for a, b in pairwise(p) if a not in (b, "-")), "wrong"),
        ("spaces for blanks", lambda p: collapsed(p.replace("-", " ")), "is wrong"),
        ("a list", lambda p: list(collapsed(p)), "expected a str"),
        ("its length", lambda p: len(collapsed(p)), "expected a str"),
        ("None for nothing", lambda p: collapsed(p) or None, "gave None"),
        ("stops on nothing", lambda p: p[0] and collapsed(p), "stopped with IndexError"),
        ("prints", lambda p: None, "gave None"),
    ],
    "word_errors": [
        ("characters", lambda s, r: sum(a != b for a, b in zip(s, r, strict=False)), "is wrong"),
        ("right words", lambda s, r: sum(a == b for a, b in zip(s.split(), r.split(), strict=True)), "same"),
        ("sets", lambda s, r: len(set(s.split()) - set(r.split())), "position by position"),
        ("a rate", lambda s, r: differing(s, r) / len(s.split()), "expected an integer"),
        ("a float", lambda s, r: float(differing(s, r)), "expected an integer"),
        ("different or not", lambda s, r: s != r, "expected an integer"),
        ("one at most", lambda s, r: int(s != r), "All six"),
        ("numbers of words", lambda s, r: abs(len(s.split()) - len(r.split())), "One letter, one word"),
        ("first letters", lambda s, r: sum(a[0] != b[0] for a, b in zip(s.split(), r.split(), strict=True)),
         "is wrong"),
        ("aligned first", lambda s, r: edit_distance(s.split(), r.split()), "nothing is aligned"),
        ("a word begun is a word read", lambda s, r: sum(
            not b.startswith(a) for a, b in zip(s.split(), r.split(), strict=True)), "as a whole"),
        ("kinds of errors", lambda s, r: len(
            {(a, b) for a, b in zip(s.split(), r.split(), strict=True) if a != b}), "the same one again"),
        ("six at most", lambda s, r: min(6, differing(s, r)), "the same one again"),
        ("always six words", first_six, "stopped with IndexError"),
        ("the last word left out", lambda s, r: differing(s[: s.rindex(" ")], r[: r.rindex(" ")])
         if " " in s else 0, "is wrong"),
        ("a list of words", lambda s, r: [a for a, b in zip(s.split(), r.split(), strict=True) if a != b],
         "expected an integer"),
        ("no return", lambda s, r: None, "gave None"),
    ],
    "frames_needed": [
        ("characters", len, "need something between"),
        ("2L + 1", lambda s: 2 * len(s) + 1, "no blank between"),
        ("spaces left out", lambda s: needed(s.replace(" ", "")), "Spaces are characters"),
        ("repeats anywhere", lambda s: 2 * len(s) - len(set(s)), "is wrong"),
        ("a blank between all", lambda s: max(0, 2 * len(s) - 1), "no blank between"),
        ("one repeat at most", lambda s: len(s) + any(a == b for a, b in pairwise(s)), "is wrong"),
        ("repeats taken off", lambda s: len(s) - sum(a == b for a, b in pairwise(s)), "need something"),
        ("two blanks per pair", lambda s: 2 * needed(s) - len(s), "need something"),
        ("a run counts once", lambda s: len(s) + sum(len(list(g)) > 1 for _, g in groupby(s)), "two gaps"),
        ("spaces never need a blank", lambda s: len(s) + sum(a == b != " " for a, b in pairwise(s)),
         "Two spaces"),
        ("doubled vowels and spaces only", lambda s: len(s) + len(re.findall(r"(?=([aeou ])\1)", s)),
         "Any letter"),
        ("letters of the examples only", lambda s: len(s) + len(re.findall(r"(?=([abe ])\1)", s)),
         "Any letter"),
        ("a clip at most", lambda s: min(75, needed(s)), "than a clip of GRID"),
        ("a float", lambda s: float(needed(s)), "expected an integer"),
        ("a frame for nothing", lambda s: max(1, needed(s)), "Nothing to spell"),
        ("a string", lambda s: str(needed(s)), "expected an integer"),
        ("no return", lambda s: None, "gave None"),
    ],
}  # fmt: skip

RIGHT = {
    "collapse": [
        collapsed,
        by_loop,
        by_index,
        lambda p: re.sub(r"(.)\1+", r"\1", p).replace("-", ""),
        lambda p: "".join(b for a, b in zip("-" + p, p, strict=False) if b not in ("-", a)),
        lambda p: "".join([c for c, _ in groupby(p)]).replace("-", ""),
    ],
    "word_errors": [
        differing,
        lambda s, r: len([1 for a, b in zip(s.split(), r.split(), strict=True) if a != b]),
        lambda s, r: np.sum(np.array(s.split()) != np.array(r.split())),
        lambda s, r: torch.tensor([a != b for a, b in zip(s.split(), r.split(), strict=True)]).sum(),
        lambda s, r: sum(map(str.__ne__, s.split(" "), r.split(" "))),
    ],
    "frames_needed": [
        needed,
        lambda s: sum(1 + (a == b) for a, b in zip(s, " " * bool(s) + s, strict=False)) - (s[:1] == " "),
        lambda s: len(s) + len(re.findall(r"(?=(.)\1)", s)),
        lambda s: sum(2 * len(list(group)) - 1 for _, group in groupby(s)),
        lambda s: np.int64(len(s) + sum(s[i] == s[i - 1] for i in range(1, len(s)))),
        lambda s: torch.tensor(needed(s)),
    ],
}


TestAnswers = answer_tests("00", WRONG, RIGHT)
