"""What learners write by mistake in the exercises of notebook 08 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

from itertools import zip_longest

import pytest
import torch
import torch.nn.functional as F

from lessons.checks import check
from lessons.checks.train_lipnet import CHECKS
from lessons.ctc.metrics import edits
from tests.checks.exercises import each_wrong_answer


def length(gradients):
    return torch.stack([g.square().sum() for g in gradients]).sum().sqrt()


def shares(axis=-1, blank=0, mask=True, by_clip=False, collapsed=False, as_count=False):
    """The share of blanks with one slip."""

    def function(log_probs, lengths):
        best = log_probs.argmax(axis)
        counts, totals = [], []
        for b, n in enumerate(lengths.tolist()):
            path = best[: n if mask else None, b].tolist()
            if collapsed:
                path = [c for i, c in enumerate(path) if i == 0 or c != path[i - 1]]
            counts.append(path.count(blank))
            totals.append(len(path))
        if as_count:
            return sum(counts)
        if by_clip:
            return sum(a / n for a, n in zip(counts, totals, strict=True)) / len(counts)
        return sum(counts) / sum(totals)

    return function


def ctc(change_logits=lambda x: x.transpose(0, 1), length_of=None, frames_of=lambda f, x: f, **options):
    """The right loss with one slip."""

    def function(logits, frames, labels):
        lengths = length_of(labels) if length_of else (labels != 0).sum(1)
        log_probs = change_logits(logits).log_softmax(-1)
        return F.ctc_loss(log_probs, labels, frames_of(frames, logits), lengths, **options)

    return function


def pairs(change):
    """The true pairs of words, with one slip."""
    return lambda said, read: change(edits(said.split(), read.split()))


WRONG = {
    "clip_gradients": [
        ("clips each value", lambda g, c: [x.clamp(-c, c) for x in g], "square root of the sum"),
        (
            "clips each tensor",
            lambda g, c: [x * min(1, c / max(x.norm().item(), 1e-9)) for x in g],
            "one long vector",
        ),
        (
            "always scales",
            lambda g, c: [x * c / length(g).clamp(min=1e-9) for x in g],
            "never makes it longer",
        ),
        ("does nothing", lambda g, c: g, "sum of squares"),
        (
            "the square of the length",
            lambda g, c: [x * min(1, c / max(length(g).item() ** 2, 1e-9)) for x in g],
            "sum of squares",
        ),
        (
            "sum of absolute values",
            lambda g, c: [x * min(1, c / max(sum(y.abs().sum().item() for y in g), 1e-9)) for x in g],
            "sum of squares",
        ),
        (
            "the largest value",
            lambda g, c: [x * min(1, c / max(max(y.abs().max().item() for y in g), 1e-9)) for x in g],
            "sum of squares",
        ),
        (
            "divides by zero",
            lambda g, c: [x * (c / length(g)) if length(g) > c or length(g) == 0 else x for x in g],
            "0 long",
        ),
        (
            "loses the sign",
            lambda g, c: [x.abs() * (c / length(g).clamp(min=1e-9)).clamp(max=1) for x in g],
            "direction",
        ),
        (
            "unit length",
            lambda g, c: [x / length(g).clamp(min=1) for x in g],
            "shrink|same factor|any number",
        ),
        ("one tensor", lambda g, c: torch.cat([x.flatten() for x in g]), "expected a list"),
        ("no return", lambda g, c: None, "gave None"),
    ],
    "blank_share": [
        ("argmax over the batch", shares(axis=1), "last axis"),
        ("argmax over time", lambda p, n: (p.argmax(0) == 0).float().mean(), "last axis"),
        ("the space for the blank", shares(blank=1), "last axis|class 0"),
        ("the last class for the blank", shares(blank=6), "most probable|blanks only"),
        ("padding counted", shares(mask=False), "padding"),
        (
            "first clip's length for all",
            lambda p, n: (p.argmax(-1)[: n[0]] == 0).float().mean(),
            "padding|of each clip",
        ),
        ("a mean of clips", shares(by_clip=True), "not of each clip"),
        ("after collapsing", shares(collapsed=True), "collapsed|last axis"),
        ("a count", shares(as_count=True), "expected"),
        ("the probability of the blank", lambda p, n: p.exp()[..., 0].mean(), "most probable"),
        (
            "one share a clip",
            lambda p, n: (p.argmax(-1) == 0).float().mean(0).tolist(),
            "expected a number",
        ),
        ("no return", lambda p, n: None, "gave None"),
    ],
    "mended_loss": [
        ("batch first", ctc(lambda x: x), "stopped with|time|axes"),
        ("a reshape", ctc(lambda x: x.reshape(x.shape[1], x.shape[0], -1)), "reshape mixes"),
        (
            "logits as they are",
            lambda x, f, y: F.ctc_loss(x.transpose(0, 1), y, f, (y != 0).sum(1)),
            "log-probabilities",
        ),
        ("padded lengths", ctc(length_of=lambda y: torch.full((len(y),), y.shape[1])), "zeros are padding"),
        (
            "the longest label's length",
            ctc(length_of=lambda y: (y != 0).sum(1).max().expand(len(y)).contiguous()),
            "length of its own",
        ),
        (
            "all frames valid",
            ctc(frames_of=lambda f, x: torch.full_like(f, x.shape[1])),
            "own number of frames",
        ),
        ("a sum", ctc(reduction="sum"), "expected"),
        ("one loss a clip", ctc(reduction="none"), "one number"),
        ("not per character", lambda x, f, y: ctc(reduction="none")(x, f, y).mean(), "expected"),
        (
            "softmax over time",
            lambda x, f, y: F.ctc_loss(x.log_softmax(1).transpose(0, 1), y, f, (y != 0).sum(1)),
            "expected",
        ),
        ("the blank is the last class", ctc(blank=5), "expected|stopped"),
        ("without a gradient", lambda x, f, y: ctc()(x, f, y).detach(), "no gradient"),
        ("no return", lambda x, f, y: None, "gave None"),
    ],
    "align_words": [
        ("place by place", lambda a, b: list(zip_longest(a.split(), b.split())), "differences"),
        ("stops at the shorter", lambda a, b: list(zip(a.split(), b.split(), strict=False)), "the words"),
        ("only those that agree", pairs(lambda p: [(a, b) for a, b in p if a == b]), "the words"),
        ("insertions dropped", pairs(lambda p: [(a, b) for a, b in p if a is not None]), "the words read"),
        ("deletions dropped", pairs(lambda p: [(a, b) for a, b in p if b is not None]), "the words said"),
        ("back to front", pairs(lambda p: p[::-1]), "the words"),
        ("sides swapped", pairs(lambda p: [(b, a) for a, b in p]), "the words said"),
        (
            "no substitutions",
            pairs(
                lambda p: [
                    q
                    for a, b in p
                    for q in ([(a, b)] if a == b or None in (a, b) else [(a, None), (None, b)])
                ]
            ),
            "one pair",
        ),
        ("letters, not words", lambda a, b: edits(a, b), "the words said"),
        (
            "the number of edits",
            lambda a, b: sum(x != y for x, y in edits(a.split(), b.split())),
            "list of pairs",
        ),
        ("empty strings for None", pairs(lambda p: [(a or "", b or "") for a, b in p]), "the words"),
        ("pairs of nothing", pairs(lambda p: [*p, (None, None)]), "says nothing"),
        ("no return", lambda a, b: None, "gave None"),
    ],
}


@each_wrong_answer(WRONG)
def test_a_wrong_answer_is_told_where_to_look(exercise, wrong, message):
    with pytest.raises(AssertionError, match=message):
        check(f"08.{exercise}", wrong)


def test_every_exercise_is_tried_with_at_least_five_wrong_answers():
    assert WRONG.keys() == CHECKS.keys()
    assert all(len(answers) >= 5 for answers in WRONG.values())


def test_another_way_to_align_at_the_same_cost_is_accepted(capsys):
    def from_the_left(said, read):  # where two ways cost the same, it drops the later word
        return [(a, b) for a, b in edits(said.split()[::-1], read.split()[::-1])][::-1]

    check("08.align_words", from_the_left)
    assert capsys.readouterr().out == "08.align_words: correct\n"
