"""What learners write by mistake in the exercises of notebook 04 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lessons import ctc
from lessons.checks import check
from lessons.checks.ctc_loss import CHECKS
from tests.checks.exercises import each_wrong_answer

NEVER = -math.inf


# ---- answers that are right in another way -----------------------------------------------------------------


def as_tensors(label):
    states = torch.tensor(ctc.extend(label))
    return states, ctc.may_skip(states)


def step_by_loops(alpha, emission, jumps):
    new = torch.empty_like(alpha)
    for s in range(len(alpha)):
        ways = [alpha[s]] + [alpha[s - 1]] * (s >= 1) + [alpha[s - 2]] * bool(s >= 2 and jumps[s])
        new[s] = torch.stack(ways).logsumexp(0) + emission[s]
    return new


def gradient_by_matrix(log_probs, states, posteriors):
    return log_probs.softmax(-1) - posteriors @ F.one_hot(states, log_probs.shape[1]).to(posteriors)


RIGHT = {
    "extended_label": as_tensors,
    "forward_step": step_by_loops,
    "logits_gradient": gradient_by_matrix,
    "shortest_path": lambda label: torch.tensor(
        [c for a, b in itertools.zip_longest(label, label[1:]) for c in ([a, 0] if a == b else [a])],
        dtype=torch.long,
    ),
}


def test_arrays_are_as_good_as_lists(capsys):
    check("04.extended_label", lambda label: tuple(np.array(x.tolist()) for x in as_tensors(label)))
    check("04.shortest_path", lambda label: RIGHT["shortest_path"](label).numpy())
    assert capsys.readouterr().out.count("correct") == 2


@pytest.mark.parametrize("exercise", CHECKS)
def test_another_right_answer_passes(exercise, capsys):
    check(f"04.{exercise}", RIGHT[exercise])
    assert "correct" in capsys.readouterr().out


# ---- wrong answers -----------------------------------------------------------------------------------------


def extended(states=ctc.extend, jump=lambda z, s: s >= 2 and z[s] != 0 and z[s] != z[s - 2]):
    """The extended label with a slip in the states or in the rule for jumps."""

    def function(label):
        z = states(label)
        return z, [bool(jump(z, s)) for s in range(len(z))]

    return function


def leaves(z, s):
    return s + 2 < len(z) and z[s] != 0 and z[s] != z[s + 2]


def clears_its_label(label):
    result = ctc.extend(label), ctc.may_skip(ctc.extend(label))
    label.clear()
    return result


def stepping(stay=True, step=1, jump=2, fill=NEVER, mask=True, join=None, emit=torch.add):
    """The forward step with a slip in one of its parts."""

    def moved(alpha, by):
        return F.pad(alpha, (by, -by), value=fill)

    def function(alpha, emission, jumps):
        leap = moved(alpha, jump)
        leap = leap.masked_fill(~jumps, NEVER) if mask else leap
        ways = torch.stack(([alpha] if stay else []) + [moved(alpha, step), leap])
        return emit(ways.logsumexp(0) if join is None else join(ways), emission)

    return function


def step_in_place(alpha, emission, jumps):
    alpha += emission
    return alpha


def step_by_roll(alpha, emission, jumps):
    leap = alpha.roll(2).masked_fill(~jumps, NEVER)
    return torch.stack([alpha, alpha.roll(1), leap]).logsumexp(0) + emission


def step_mask_first(alpha, emission, jumps):
    leap = F.pad(alpha.masked_fill(~jumps, NEVER), (2, -2), value=NEVER)
    return torch.stack([alpha, F.pad(alpha, (1, -1), value=NEVER), leap]).logsumexp(0) + emission


def step_own_maximum(alpha, emission, jumps):
    leap = F.pad(alpha, (2, -2), value=NEVER).masked_fill(~jumps, NEVER)
    ways = torch.stack([alpha, F.pad(alpha, (1, -1), value=NEVER), leap])
    top = ways.max(0).values
    return top + (ways - top).exp().sum(0).log() + emission


def gradient(given=torch.exp, sign=1, add=True, classes=lambda z: z, change=lambda p: p, scale=1.0):
    """Softmax minus occupancy with a slip in one of its parts."""

    def function(log_probs, states, posteriors):
        occupancy, states = torch.zeros_like(log_probs), classes(states)
        if add:
            occupancy.index_add_(1, states, change(posteriors))
        else:
            occupancy[:, states] = change(posteriors)
        return sign * scale * (given(log_probs) - occupancy)

    return function


def gradient_in_place(log_probs, states, posteriors):
    return log_probs.exp_().index_add_(1, states, -posteriors)


def largest_state(log_probs, states, posteriors):
    index = states.expand_as(posteriors)
    return log_probs.exp() - torch.zeros_like(log_probs).scatter_reduce(1, index, posteriors, "amax")


def hard_label(log_probs, states, posteriors):
    return log_probs.exp() - F.one_hot(states[posteriors.argmax(1)], log_probs.shape[1])


def letters_only(posteriors):
    posteriors = posteriors.clone()
    posteriors[:, ::2] = 0
    return posteriors


def path(between):
    """The label with ``between(left, right)`` put between each two neighbors."""

    def function(label):
        found = list(label[:1])
        for left, right in itertools.pairwise(label):
            found += [*between(left, right), right]
        return found

    return function


shortest = path(lambda a, b: [0] if a == b else [])


def before_any_repeat(label):
    return [c for i, a in enumerate(label) for c in ([0, a] if a in label[:i] else [a])]


WRONG = {
    "extended_label": [
        ("no blank in front", extended(lambda x: ctc.extend(x)[1:]), "expected 2L \\+ 1"),
        ("no blank at the end", extended(lambda x: ctc.extend(x)[:-1]), "expected 2L \\+ 1"),
        ("no blanks", extended(list), "expected 2L \\+ 1"),
        ("blanks only", extended(lambda x: [0] * (2 * len(x) + 1)), "which letters"),
        ("reversed", extended(lambda x: ctc.extend(x)[::-1]), "which letters"),
        ("no jumps", extended(jump=lambda z, s: False), "collapses to both"),
        ("jumps into every letter", extended(jump=lambda z, s: s >= 2 and z[s] != 0), "'aa' collapse to"),
        ("jumps from the first letter", extended(jump=lambda z, s: z[s] != 0), "no state two before"),
        ("jumps into blanks", extended(jump=lambda z, s: s >= 2 and z[s] == 0), "which letter would be left"),
        ("jumps everywhere", extended(jump=lambda z, s: s >= 2), "which letter would be left out"),
        ("the flag at the state it leaves", extended(jump=leaves), "where the jump lands"),
        ("jumps is a number", lambda x: (ctc.extend(x), 3), "for jumps, gave a int"),
        ("no jumps given", lambda x: (ctc.extend(x), None), "for jumps, gave a NoneType"),
        ("compares with the neighbor", extended(jump=lambda z, s: s and z[s] != z[s - 1]), "two before it"),
        ("compares with all", extended(jump=lambda z, s: s >= 2 and z[s] not in z[:s]), "no neighbors"),
        ("states only", ctc.extend, "expected two lists"),
        ("numbers for jumps", lambda x: (ctc.extend(x), [1] * len(ctc.extend(x))), "only True and False"),
        ("one jump short", lambda x: (ctc.extend(x), ctc.may_skip(ctc.extend(x))[1:]), "One for each state"),
        ("floats", lambda x: ([float(c) for c in ctc.extend(x)], [False]), "whole number"),
        ("a string", lambda x: ("-b-", [False] * 3), "expected a list of classes"),
        ("empties the label", clears_its_label, "changed the label"),
        ("no return", lambda x: None, "gave None"),
        ("crashes", lambda x: x["label"], "stopped with TypeError"),
    ],
    "forward_step": [
        ("no stay", stepping(stay=False), "only stay and step"),
        ("no step", stepping(step=2), "only stay and step"),
        ("jumps are always allowed", stepping(mask=False), "No jump is allowed here|state"),
        ("moved the wrong way", stepping(step=-1), "nor from the end"),
        ("jump of three", stepping(jump=3), "into state 3"),
        ("fills with 0, that is ln 1", stepping(fill=0.0), "nothing comes in from before"),
        ("the best way only", stepping(join=lambda w: w.max(0).values), "is off by"),
        ("adds logarithms", stepping(join=lambda w: w.sum(0)), "cannot|can be reached|off by"),
        ("leaves log space", stepping(join=lambda w: w.exp().sum(0).log()), "do not leave log space"),
        ("its own maximum of -inf", step_own_maximum, "NaN"),
        ("multiplies by the mask", lambda a, e, j: a * j + e, "off by|NaN"),
        ("forgets the emission", stepping(emit=lambda a, e: a), "off by"),
        ("multiplies by the emission", stepping(emit=torch.mul), "off by"),
        ("in place", step_in_place, "changed the alpha"),
        ("plain probabilities", lambda a, e, j: stepping()(a, e, j).exp(), "off by"),
        ("the last state rolls in at the front", step_by_roll, "In state 0 a walk can only stay"),
        ("mask before the move", step_mask_first, "into state 3"),
        ("emission before the move", lambda a, e, j: stepping()(a + e, 0 * e, j), "off by"),
        ("a large number for ln 0", stepping(fill=-1e9), "cannot be reached"),
        ("a list", lambda a, e, j: stepping()(a, e, j).tolist(), "expected a tensor"),
        ("one number", lambda a, e, j: stepping()(a, e, j).logsumexp(0), "gave shape"),
        ("NaN", lambda a, e, j: a * math.nan, "NaN"),
        ("plus infinity", lambda a, e, j: a * 0 + math.inf, "NaN|state 0 is inf"),
        ("no return", lambda a, e, j: None, "gave None"),
    ],
    "logits_gradient": [
        ("the other sign", gradient(sign=-1), "wrong sign"),
        ("minus occupancy", gradient(given=torch.zeros_like), "sums to"),
        ("softmax alone", gradient(change=torch.zeros_like), "sums to"),
        ("log_probs for softmax", gradient(given=lambda x: x), "a logarithm"),
        ("overwrites in place of adding", gradient(add=False), "added up over its states"),
        ("letters, no blanks", gradient(change=letters_only), "sums to"),
        ("divided by T", lambda *a: gradient()(*a) / len(a[0]), "values are wrong"),
        ("divided by V", lambda *a: gradient()(*a) / a[0].shape[1], "values are wrong"),
        ("with respect to y", lambda *a: (gradient()(*a) - a[0].exp()) / a[0].exp(), "sums to"),
        ("the largest of a class's states", largest_state, "added up over its states"),
        ("the likeliest class, hard", hard_label, "values are wrong"),
        ("softmax over time", gradient(given=lambda x: x.softmax(0)), "sums to"),
        ("softmax of the exponentials", gradient(given=lambda x: x.exp().softmax(-1)), "values are wrong"),
        ("frames reversed", gradient(change=lambda p: p.flip(0)), "values are wrong"),
        ("states reversed", gradient(change=lambda p: p.flip(1)), "values are wrong"),
        ("all states blank", gradient(classes=torch.zeros_like), "values are wrong"),
        ("transposed", lambda *a: gradient()(*a).T, "like the logits"),
        ("in place", gradient_in_place, "changed one of its arguments"),
        ("NaN", lambda *a: gradient()(*a) * math.nan, "NaN"),
        ("a list", lambda *a: gradient()(*a).tolist(), "expected a tensor"),
        ("no return", lambda *a: None, "gave None"),
    ],
    "shortest_path": [
        ("the label itself", list, "two equal neighbors collapse"),
        ("a blank between all", path(lambda a, b: [0]), "fewer than"),
        ("the extended label", ctc.extend, "fewer than"),
        ("each letter twice", lambda x: [c for a in x for c in (a, a, 0)], "fewer than"),
        ("a blank where letters differ", path(lambda a, b: [0] if a != b else []), "fewer than"),
        ("repeats the letter", path(lambda a, b: [a] if a == b else []), "collapses to"),
        ("each letter once", lambda x: list(dict.fromkeys(x)), "collapses to"),
        ("a blank before any letter that was there", before_any_repeat, "no neighbors"),
        ("sorts the letters", lambda x: shortest(sorted(x)), "collapses to"),
        ("only one blank", lambda x: shortest(x[:2]) + list(x[2:]), "Three equal letters"),
        ("a blank at the end", lambda x: [*shortest(x), 0], "fewer than"),
        ("a blank for no letters", lambda x: shortest(x) or [0], "no frame"),
        ("a number", lambda x: len(shortest(x)), "expected a list of classes"),
        ("a string", lambda x: "a-a", "expected a list of classes"),
        ("floats", lambda x: [float(c) for c in shortest(x)], "whole number"),
        ("no return", lambda x: None, "gave None"),
    ],
}  # fmt: skip


@each_wrong_answer(WRONG)
def test_a_wrong_answer_is_told_where_to_look(exercise, wrong, message):
    with pytest.raises(AssertionError, match=message):
        check(f"04.{exercise}", wrong)


def test_every_exercise_is_tried_with_at_least_eight_wrong_answers():
    assert WRONG.keys() == CHECKS.keys()
    assert all(len(answers) >= 8 for answers in WRONG.values())
