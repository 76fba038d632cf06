"""Notebook 00's checks accept the solutions and reject what a learner may well write instead."""

from __future__ import annotations

from itertools import groupby, pairwise

import pytest

from lessons.checks import check


def solution_collapse(path: str) -> str:
    return "".join(c for c, _ in groupby(path) if c != "-")


def solution_word_errors(said: str, found: str) -> int:
    return sum(a != b for a, b in zip(said.split(), found.split(), strict=True))


def solution_frames_needed(sentence: str) -> int:
    return len(sentence) + sum(a == b for a, b in pairwise(sentence))


SOLUTIONS = {
    "collapse": solution_collapse,
    "word_errors": solution_word_errors,
    "frames_needed": solution_frames_needed,
}

WRONG = {
    "collapse": {
        "blanks first": lambda p: "".join(c for c, _ in groupby(p.replace("-", ""))),
        "blanks kept": lambda p: "".join(c for c, _ in groupby(p)),
        "repeats kept": lambda p: p.replace("-", ""),
        "each character once": lambda p: "".join(dict.fromkeys(p.replace("-", ""))),
        "spaces dropped": lambda p: solution_collapse(p).replace(" ", ""),
        "spaces never joined": lambda p: "".join(
            c for i, c in enumerate(p) if c != "-" and (c == " " or p[i - 1 : i] != c)
        ),
        "first character lost": lambda p: "".join(b for a, b in pairwise(p) if b not in (a, "-")),
        "a list": lambda p: list(solution_collapse(p)),
        "fails on nothing": lambda p: p[0] and solution_collapse(p),
        "no return": lambda p: None,
    },
    "word_errors": {
        "characters": lambda s, f: sum(a != b for a, b in zip(s, f, strict=False)),
        "right words": lambda s, f: sum(a == b for a, b in zip(s.split(), f.split(), strict=True)),
        "sets": lambda s, f: len(set(s.split()) - set(f.split())),
        "a rate": lambda s, f: solution_word_errors(s, f) / 6,
        "any": lambda s, f: s != f,
        "whole sentence": lambda s, f: int(s != f),
        "number of words": lambda s, f: abs(len(s.split()) - len(f.split())),
        "first letters": lambda s, f: sum(a[0] != b[0] for a, b in zip(s.split(), f.split(), strict=True)),
    },
    "frames_needed": {
        "characters": len,
        "2L + 1": lambda s: 2 * len(s) + 1,
        "letters without spaces": lambda s: solution_frames_needed(s.replace(" ", "")),
        "repeats anywhere": lambda s: len(s) + len(s) - len(set(s)),
        "blank between all": lambda s: max(0, 2 * len(s) - 1),
        "one repeat at most": lambda s: len(s) + any(a == b for a, b in pairwise(s)),
        "repeats taken off": lambda s: len(s) - sum(a == b for a, b in pairwise(s)),
        "a float": lambda s: float(solution_frames_needed(s)),
    },
}


@pytest.mark.parametrize("exercise", SOLUTIONS)
def test_the_solution_is_accepted(exercise, capsys):
    check(f"00.{exercise}", SOLUTIONS[exercise])
    assert capsys.readouterr().out == f"00.{exercise}: correct\n"


@pytest.mark.parametrize(("exercise", "wrong"), [(e, w) for e, wrongs in WRONG.items() for w in wrongs])
def test_wrong_answers_are_rejected(exercise, wrong):
    with pytest.raises(AssertionError):
        check(f"00.{exercise}", WRONG[exercise][wrong])


@pytest.mark.parametrize("exercise", SOLUTIONS)
def test_the_stub_is_not_an_error(exercise, capsys):
    def stub(*_arguments):
        raise NotImplementedError

    check(f"00.{exercise}", stub)
    assert "not solved yet" in capsys.readouterr().out
