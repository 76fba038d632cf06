"""What learners write by mistake in the exercises of notebook 04 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lessons import ctc
from lessons.checks import ctc_loss as references
from lessons.checks.ctc_loss import CHECKS
from tests.checks.exercises import answer_tests, sizes_that_never_vary

NEVER = -math.inf


# ---- forward and backward, with one slip each --------------------------------------------------------------


def moved(row, by, fill=NEVER):
    """A row (S,) moved to the right by ``by`` states."""
    return F.pad(row, (by, -by), value=fill)


def added(ways):
    return ways.logsumexp(0)


def forward(
    stay=True, step=1, jump=2, fill=NEVER, mask=lambda j, z: j, mask_first=False, join=added, starts=2,
    emit=lambda row, e: row + e, first=lambda e: e, after=lambda x: x,
):  # fmt: skip
    """The forward recursion with a slip in one of its parts."""

    def function(log_probs, states, jumps):
        e, jumps = log_probs[:, states], mask(jumps, states)
        rows = [first(e[0]).masked_fill(torch.arange(len(states)) >= starts, fill)]
        for t in range(1, len(log_probs)):
            last = rows[-1]
            if mask_first:
                leap = moved(last.masked_fill(~jumps, NEVER), jump, fill)
            else:
                leap = moved(last, jump, fill).masked_fill(~jumps, NEVER)
            ways = torch.stack(([last] if stay else []) + [moved(last, step, fill), leap])
            rows.append(emit(join(ways), e[t]))
        return after(torch.stack(rows))

    return function


def backward(
    stay=True, step=1, jump=2, fill=NEVER, mask=lambda j, z: j, mask_last=False, join=added, ends=2,
    emit=lambda row, e: row + e, own=0, first=0.0, after=lambda x: x, reverse=True,
):  # fmt: skip
    """The backward recursion with a slip in one of its parts."""

    def function(log_probs, states, jumps):
        e, jumps = log_probs[:, states], mask(jumps, states)
        end = torch.arange(len(states)) >= len(states) - ends
        rows = [torch.full_like(e[0], first).masked_fill(~end, fill)]
        for t in reversed(range(len(log_probs) - 1)):
            onward = emit(rows[-1], e[t + 1 - own])
            if mask_last:
                leap = moved(onward, -jump, fill).masked_fill(~jumps, NEVER)
            else:
                leap = moved(onward.masked_fill(~jumps, NEVER), -jump, fill)
            rows.append(join(torch.stack(([onward] if stay else []) + [moved(onward, -step, fill), leap])))
        return after(torch.stack(rows[::-1] if reverse else rows))

    return function


def row_maximum(ways):
    """One maximum for all states of a frame: the small ones underflow."""
    top = ways.max()
    top = torch.where(top.isfinite(), top, 0.0)
    return top + (ways - top).exp().sum(0).log()


def naive_maximum(ways):
    """The maximum of three -inf is -inf, and -inf - (-inf) is NaN."""
    top = ways.max(0).values
    return top + (ways - top).exp().sum(0).log()


def own_maximum(ways):
    """As it is right: a maximum for each state, replaced by 0 where it is -inf."""
    top = ways.max(0).values
    top = torch.where(top.isfinite(), top, 0.0)
    return top + (ways - top).exp().sum(0).log()


def pairwise_sum(ways):
    return torch.logaddexp(torch.logaddexp(ways[0], ways[1]), ways[2])


def floored(ways):
    return ways.logsumexp(0).clamp(min=-1e4)


def leaves_log_space(ways):
    return ways.exp().sum(0).log()


def from_states(jumps, states):
    """The rule from the states, whatever jumps says."""
    return ctc.may_skip(states)


def into_letters(jumps, states):
    return (states != 0) & (torch.arange(len(states)) >= 2)


def by_roll(log_probs, states, jumps):
    e = log_probs[:, states]
    rows = [e[0].masked_fill(torch.arange(len(states)) >= 2, NEVER)]
    for t in range(1, len(e)):
        leap = rows[-1].roll(2).masked_fill(~jumps, NEVER)
        rows.append(torch.stack([rows[-1], rows[-1].roll(1), leap]).logsumexp(0) + e[t])
    return torch.stack(rows)


def backward_by_roll(log_probs, states, jumps):
    e = log_probs[:, states]
    rows = [torch.zeros_like(e[0]).masked_fill(torch.arange(len(states)) < len(states) - 2, NEVER)]
    for t in reversed(range(len(e) - 1)):
        onward = rows[-1] + e[t + 1]
        leap = onward.masked_fill(~jumps, NEVER).roll(-2)
        rows.append(torch.stack([onward, onward.roll(-1), leap]).logsumexp(0))
    return torch.stack(rows[::-1])


def writes_into_log_probs(function):
    def wrong(log_probs, states, jumps):
        result = function(log_probs, states, jumps)
        log_probs[0].sub_(1.0)
        return result

    return wrong


def writes_into_jumps(function):
    def wrong(log_probs, states, jumps):
        jumps[:2] = True
        jumps[2:] = jumps[2:].clone()
        return function(log_probs, states, jumps.masked_fill(torch.arange(len(jumps)) < 2, False))

    return wrong


def in_float32(function):
    return lambda log_probs, states, jumps: function(log_probs.float(), states, jumps)


def in_float64(function):
    return lambda log_probs, states, jumps: function(log_probs.double(), states, jumps)


def by_one_row(log_probs, states, jumps):
    """One row, changed in each frame and appended again."""
    e = log_probs[:, states]
    row = e[0].masked_fill(torch.arange(len(states)) >= 2, NEVER)
    rows = [row]
    for t in range(1, len(e)):
        ways = [row, moved(row, 1), moved(row, 2).masked_fill(~jumps, NEVER)]
        row.copy_(torch.stack(ways).logsumexp(0) + e[t])
        rows.append(row)
    return torch.stack(rows)


def backward_by_one_row(log_probs, states, jumps):
    e = log_probs[:, states]
    row = torch.zeros_like(e[0]).masked_fill(torch.arange(len(states)) < len(states) - 2, NEVER)
    rows = [row]
    for t in reversed(range(len(e) - 1)):
        row += e[t + 1]
        ways = [row, moved(row, -1), moved(row.masked_fill(~jumps, NEVER), -2)]
        row.copy_(torch.stack(ways).logsumexp(0))
        rows.append(row)
    return torch.stack(rows)


def only_where_a_path_can_end(log_probs, states, jumps):
    """p is right, alpha is not: states from which no path can end are left out."""
    unfinished = references.backward(log_probs, states, jumps).isinf()
    return forward()(log_probs, states, jumps).masked_fill(unfinished, NEVER)


def emission_of_the_frame_before(log_probs, states, jumps):
    return forward()(torch.cat((log_probs[:1], log_probs[:-1])), states, jumps)


def by_memory(log_probs, states, jumps):
    """Plain recursion over numbers, with a cache."""
    e, allowed = log_probs[:, states].tolist(), jumps.tolist()

    @functools.cache
    def alpha(t, s):
        if s < 0 or (t == 0 and s > 1):
            return NEVER
        if t == 0:
            return e[0][s]
        ways = [alpha(t - 1, s - by) for by in ((0, 1, 2) if allowed[s] else (0, 1))]
        top = max(ways)
        return top if top == NEVER else top + math.log(sum(math.exp(w - top) for w in ways)) + e[t][s]

    rows = [[alpha(t, s) for s in range(len(states))] for t in range(len(e))]
    return torch.tensor(rows, dtype=log_probs.dtype)


def backward_by_matrix(log_probs, states, jumps):
    size = len(states)
    barrier = torch.full((size, size), NEVER).to(log_probs)  # from, to
    for s, to in itertools.product(range(size), repeat=2):
        if to - s in (0, 1) or (to - s == 2 and jumps[to]):
            barrier[s, to] = 0
    beta = [log_probs.new_full((size,), NEVER)]
    beta[0][-2:] = 0
    for row in reversed(log_probs[1:, states].unbind()):
        beta.insert(0, torch.logsumexp(barrier + row + beta[0], dim=1))
    return torch.stack(beta)


def through_a_float32_buffer(function):
    def wrong(log_probs, states, jumps):
        result = torch.zeros(len(log_probs), len(states))
        result[:] = function(log_probs, states, jumps)
        return result

    return wrong


def squeezed(function):
    return lambda log_probs, states, jumps: function(log_probs, states, jumps).squeeze()


def forward_by_loops(log_probs, states, jumps):
    frames, size = len(log_probs), len(states)
    alpha = log_probs.new_full((frames, size), NEVER)
    for t in range(frames):
        for s in range(size):
            e = log_probs[t, states[s]]
            if t == 0:
                alpha[t, s] = e if s < 2 else NEVER
                continue
            ways = [alpha[t - 1, s]] + [alpha[t - 1, s - 1]] * (s >= 1)
            ways += [alpha[t - 1, s - 2]] * bool(s >= 2 and jumps[s])
            alpha[t, s] = torch.stack(ways).logsumexp(0) + e
    return alpha


def backward_by_loops(log_probs, states, jumps):
    frames, size = len(log_probs), len(states)
    beta = log_probs.new_full((frames, size), NEVER)
    beta[-1, -2:] = 0
    for t in range(frames - 2, -1, -1):
        for s in range(size):
            ways = [
                beta[t + 1, to] + log_probs[t + 1, states[to]]
                for to in (s, s + 1, s + 2)
                if to < size and (to < s + 2 or jumps[to])
            ]
            beta[t, s] = torch.stack(ways).logsumexp(0)
    return beta


def by_matrix(log_probs, states, jumps):
    """All moves in one matrix of log 0 and log 1."""
    size = len(states)
    s = torch.arange(size)
    by = s[None, :] - s[:, None]  # from, to
    allowed = (by == 0) | (by == 1) | ((by == 2) & jumps[None, :])
    barrier = torch.where(allowed, 0.0, NEVER).to(log_probs)
    e = log_probs.index_select(1, states)
    alpha = e.clone()
    alpha[0, 2:] = NEVER
    for t in range(1, len(e)):
        alpha[t] = (alpha[t - 1][:, None] + barrier).logsumexp(0) + e[t]
    return alpha


def in_numpy(log_probs, states, jumps):
    e = log_probs.numpy()[:, states.numpy()]
    alpha = np.full_like(e, NEVER)
    alpha[0, :2] = e[0, :2]
    for t in range(1, len(e)):
        new = alpha[t - 1].copy()
        new[1:] = np.logaddexp(new[1:], alpha[t - 1, :-1])
        leap = np.where(jumps.numpy()[2:], alpha[t - 1, :-2], NEVER)
        new[2:] = np.logaddexp(new[2:], leap)
        alpha[t] = new + e[t]
    return torch.from_numpy(alpha)


def backward_by_forward(function):
    """Backward is forward on reversed frames and states, without each frame's own class."""

    def right(log_probs, states, jumps):
        e = log_probs[:, states].flip(0, 1)  # (T, S) reversed
        size = len(states)
        leave = torch.cat((jumps[2:], jumps.new_zeros(2))).flip(0)  # (S,)
        start = torch.full_like(e[:1], NEVER)
        start[0, :2] = 0
        rows = [start[0]]
        for t in range(1, len(e)):
            given = rows[-1] + e[t - 1]
            ways = [given, moved(given, 1), moved(given, 2).masked_fill(~leave, NEVER)]
            rows.append(function(torch.stack(ways)))
        assert rows[0].shape == (size,)
        return torch.stack(rows).flip(0, 1)

    return right


# ---- loss and gradient, with one slip each -----------------------------------------------------------------


def total(
    log_p=lambda a, b: (a + b)[0].logsumexp(0), posterior=lambda a, b, p: (a + b - p).exp(), add=True,
    given=torch.exp, sign=1, loss=lambda p: -p, occupancy=lambda o: o, gradient=lambda g, x: g,
    classes=lambda z: z, change=lambda g: g,
):  # fmt: skip
    """Loss, occupancy and gradient with a slip in one of its parts."""

    def function(log_probs, states, alpha, beta):
        p, z = log_p(alpha, beta), classes(states)
        gamma = change(posterior(alpha, beta, p))
        o = torch.zeros_like(log_probs)
        if add:
            o.index_add_(1, z, gamma.to(o))
        else:
            o[:, z] = gamma
        o = occupancy(o)
        return loss(p), o, gradient(sign * (given(log_probs) - o), log_probs)

    return function


def hard(gamma):
    return F.one_hot(gamma.argmax(1), gamma.shape[1]).to(gamma)


def letters_only(gamma):
    return gamma * (torch.arange(gamma.shape[1]) % 2)


def total_in_place(log_probs, states, alpha, beta):
    alpha += beta
    return total()(log_probs, states, alpha, torch.zeros_like(beta))


def total_in_place_of_log_probs(log_probs, states, alpha, beta):
    loss, occupancy, _ = total()(log_probs, states, alpha, beta)
    return loss, occupancy, log_probs.exp_().sub_(occupancy)


def per_letter(log_probs, states, alpha, beta):
    loss, *others = total()(log_probs, states, alpha, beta)
    return loss / (len(states) // 2), *others


def gradient_from(rule):
    """Right loss and occupancy; the gradient by a rule from softmax and occupancy."""

    def wrong(log_probs, states, alpha, beta):
        loss, occupancy, _ = total()(log_probs, states, alpha, beta)
        return loss, occupancy, rule(log_probs.exp(), occupancy)

    return wrong


def total_by_loops(log_probs, states, alpha, beta):
    p = torch.logsumexp(alpha[-1, -2:], 0)
    occupancy = torch.zeros_like(log_probs)
    for s, c in enumerate(states.tolist()):
        occupancy[:, c] += (alpha[:, s] + beta[:, s] - p).exp()
    return [-p, occupancy, log_probs.exp() - occupancy]


def total_by_matrix(log_probs, states, alpha, beta):
    gamma = (alpha + beta).softmax(1)
    occupancy = gamma @ F.one_hot(states, log_probs.shape[1]).to(gamma)
    return -(alpha + beta).logsumexp(1).mean(), occupancy, log_probs.softmax(-1) - occupancy


def total_by_log_space(log_probs, states, alpha, beta):
    rows = []
    for c in range(log_probs.shape[1]):
        those = (alpha + beta)[:, states == c]
        rows.append(those.logsumexp(1) if those.shape[1] else torch.full_like(log_probs[:, 0], NEVER))
    p = (alpha + beta)[-1].logsumexp(0)
    occupancy = (torch.stack(rows, 1) - p).exp()
    return -p, occupancy, log_probs.exp() - occupancy


def total_by_scatter(log_probs, states, alpha, beta):
    p = torch.logaddexp(alpha[-1, -1], alpha[-1, -2])
    gamma = torch.exp(alpha + beta - p)
    occupancy = torch.zeros_like(log_probs).scatter_add_(1, states.expand(len(gamma), -1), gamma)
    return p.neg(), occupancy, torch.exp(log_probs) - occupancy


def total_by_definition_of_torch(log_probs, states, alpha, beta):
    leaf = log_probs.clone().requires_grad_()
    log_probs = leaf.log_softmax(-1)
    target = states[1::2][None]
    loss = F.ctc_loss(log_probs[:, None], target, [len(leaf)], [target.shape[1]], reduction="sum")
    (gradient,) = torch.autograd.grad(loss, leaf)
    return loss.detach(), leaf.detach().exp() - gradient, gradient


# ---- shortest path -----------------------------------------------------------------------------------------


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


def pops_the_label(label):
    found = []
    while label:
        letter = label.pop(0)
        found += [0, letter] if found and found[-1] == letter else [letter]
    return found


def by_zip(label):
    return [c for a, b in itertools.zip_longest(label, label[1:]) for c in ([a, 0] if a == b else [a])]


def recursive(label):
    if len(label) < 2:
        return tuple(label)
    return (label[0], *([0] if label[0] == label[1] else []), *recursive(label[1:]))


RIGHT = {
    "forward": [
        forward(),
        forward(join=own_maximum),
        forward(join=pairwise_sum),
        forward_by_loops,
        by_matrix,
        by_memory,
        in_numpy,
        lambda x, z, j: (
            ctc.forward_backward(x, z[1::2]).alpha
            if torch.equal(j, ctc.may_skip(z)) and len(z) > 1
            else forward()(x, z, j)
        ),
    ],
    "backward": [
        backward(),
        backward(join=own_maximum),
        backward(join=pairwise_sum),
        backward_by_loops,
        backward_by_forward(added),
        backward_by_matrix,
        lambda x, z, j: references.backward(x, z, j).clone(),
    ],
    "loss_and_gradient": [
        total(),
        total_by_loops,
        total_by_matrix,
        total_by_log_space,
        total_by_scatter,
        lambda *a: tuple(x.clone() for x in total()(*a)),
    ],
    "shortest_path": [
        shortest,
        by_zip,
        recursive,
        lambda label: torch.tensor(by_zip(label), dtype=torch.long),
        lambda label: np.array(by_zip(label), dtype=np.int64),
        lambda label: [torch.tensor(c) for c in by_zip(label)],
    ],
}


# ---- wrong answers -----------------------------------------------------------------------------------------

WRONG = {
    "forward": [
        ("no stay", forward(stay=False), "state 0 of frame 1, .* from s only"),
        ("no step", forward(step=2), "state 1 of frame 1, .* s - 1"),
        ("step the wrong way", forward(step=-1), "of frame 1, where probability comes in from s only"),
        ("jump of three", forward(jump=3), "s - 2"),
        ("no jumps", forward(mask=lambda j, z: j & False), "s - 2"),
        ("jumps everywhere", forward(mask=lambda j, z: j | True), "frame 1, .* from s and s - 1 only"),
        ("jumps into every letter", forward(mask=into_letters), "Equal letters"),
        ("the rule from states, not from jumps", forward(mask=from_states), "read jumps, not states"),
        ("mask before the move", forward(mask_first=True), "comes in from s, s - 1 and s - 2 only"),
        ("starts in the first state only", forward(starts=1), "starts in the first two states"),
        ("starts anywhere", forward(starts=99), "starts in the first two states"),
        ("starts at ln 1", forward(first=torch.zeros_like), "starts in the first two states|own class"),
        ("fills with 0, that is ln 1", forward(fill=0.0), "starts in the first two states"),
        ("a large number for ln 0", forward(fill=-1e9), "expected -inf"),
        ("a floor", forward(join=floored), "expected -inf"),
        ("the best path only", forward(join=lambda w: w.max(0).values), "of frame 1, "),
        ("adds logarithms", forward(join=lambda w: w.sum(0)), "frame 1, "),
        ("leaves log space", forward(join=leaves_log_space), "stay in log space"),
        ("one maximum for a whole frame", forward(join=row_maximum), "one maximum for all|log space"),
        ("the maximum of three -inf", forward(join=naive_maximum), "NaN comes from"),
        ("forgets the emission", forward(emit=lambda row, e: row), "of frame 1, "),
        ("multiplies by the emission", forward(emit=torch.mul), "of frame 1, "),
        ("plain probabilities", lambda *a: forward()(*a).exp(), "These are probabilities"),
        ("without its own class", lambda x, z, j: forward()(x, z, j) - x[:, z], "own class included"),
        ("the last state rolls in at the front", by_roll, "state 0 of frame .* from s only"),
        ("reversed frames", forward(after=lambda a: a.flip(0)), "starts in the first two states|frame 1"),
        ("transposed", forward(after=lambda a: a.T), "gave shape"),
        ("one row short", forward(after=lambda a: a[1:]), "gave shape"),
        ("the last row only", forward(after=lambda a: a[-1]), "gave shape"),
        ("drops an axis of one frame", squeezed(forward()), "gave shape"),
        ("the classes for the states", lambda x, z, j: x, "gave shape"),
        ("writes into log_probs", writes_into_log_probs(forward()), "changed log_probs"),
        ("writes into jumps", writes_into_jumps(forward()), "changed jumps"),
        ("float32", in_float32(forward()), "wrong dtype|float32 where the arguments are float64"),
        ("always float64", in_float64(forward()), "float64, where the arguments are float32"),
        ("one row, appended again", by_one_row, "All rows are equal"),
        ("only where a path can end", only_where_a_path_can_end, "state 0 of frame 3, .* from s only"),
        ("the emission of the frame before", emission_of_the_frame_before, "of frame 1, .* y of this frame"),
        ("normalized rows", forward(after=lambda a: a.log_softmax(1)), "in frame 0, ln alpha is ln y"),
        ("logarithms to base 2", forward(after=lambda a: a / math.log(2)), "in frame 0, ln alpha is ln y"),
        ("a float32 buffer", through_a_float32_buffer(forward()), "wrong dtype|float32 where the arguments"),
        ("NaN", forward(after=lambda a: a * math.nan), "NaN"),
        ("a list", lambda *a: forward()(*a).tolist(), "expected a tensor"),
        ("no return", lambda *a: None, "gave None"),
        ("crashes", lambda *a: a["x"], "stopped with TypeError"),
    ],
    "backward": [
        ("no stay", backward(stay=False), "counted from the end, in state . of frame 4, .* goes on to s"),
        ("no step", backward(step=2), "of frame 4, .* to s, s \\+ 1 and s \\+ 2 only"),
        ("moved the wrong way", backward(step=-1), "of frame 4, "),
        ("jump of three", backward(jump=3), "goes on to s and s \\+ 1 only"),
        ("no jumps", backward(mask=lambda j, z: j & False), "s \\+ 2"),
        ("jumps everywhere", backward(mask=lambda j, z: j | True), "counted from the end, .* s \\+ 1 only"),
        ("the rule from states, not from jumps", backward(mask=from_states), "read jumps, not states"),
        ("jumps into every letter", backward(mask=into_letters), "Equal letters"),
        ("mask after the move", backward(mask_last=True), "counted from the end"),
        ("ends in the last state only", backward(ends=1), "for the last two states"),
        ("ends anywhere", backward(ends=99), "for the last two states"),
        ("ends at 1, not at ln 1", backward(first=1.0), "for the last two states"),
        ("fills with 0", backward(fill=0.0), "for the last two states"),
        ("a large number for ln 0", backward(fill=-1e9), "expected -inf"),
        ("a floor", backward(join=floored), "expected -inf"),
        ("the best path only", backward(join=lambda w: w.max(0).values), "counted from the end"),
        ("leaves log space", backward(join=leaves_log_space), "stay in log space"),
        ("one maximum for a whole frame", backward(join=row_maximum), "one maximum for all|log space"),
        ("the maximum of three -inf", backward(join=naive_maximum), "NaN comes from"),
        ("this frame's class, not the next one's", backward(own=1), "counted from the end"),
        ("forgets the emission", backward(emit=lambda row, e: row), "counted from the end"),
        ("with its own class", lambda x, z, j: backward()(x, z, j) + x[:, z], "own class is to be left out"),
        ("plain probabilities", lambda *a: backward()(*a).exp(), "These are probabilities"),
        ("rows in reverse", backward(reverse=False), "in reverse order"),
        ("the first state rolls in at the end", backward_by_roll, "counted from the end, .* to s only"),
        ("it is forward", references.forward, "for the last two states|counted from the end"),
        ("transposed", backward(after=lambda a: a.T), "gave shape"),
        ("drops an axis of one frame", squeezed(backward()), "gave shape"),
        ("writes into log_probs", writes_into_log_probs(backward()), "changed log_probs"),
        ("writes into jumps", writes_into_jumps(backward()), "changed jumps"),
        ("float32", in_float32(backward()), "wrong dtype|float32 where the arguments are float64"),
        ("always float64", in_float64(backward()), "float64, where the arguments are float32"),
        ("one row, appended again", backward_by_one_row, "All rows are equal"),
        ("a float32 buffer", through_a_float32_buffer(backward()), "wrong dtype|float32 where the arguments"),
        ("a list", lambda *a: backward()(*a).tolist(), "expected a tensor"),
        ("no return", lambda *a: None, "gave None"),
    ],
    "loss_and_gradient": [
        ("plus ln p", total(loss=lambda p: p), "minus the logarithm"),
        ("p for the loss", total(loss=lambda p: p.exp()), "This is p"),
        ("p from the whole last row", total(log_p=lambda a, b: a[-1].logsumexp(0)), "sum over the states"),
        ("p from the last state only", total(log_p=lambda a, b: a[-1, -1]), "sum over the states"),
        ("p summed over all frames", total(log_p=lambda a, b: (a + b).logsumexp((0, 1))), "at any one frame"),
        ("not divided by p", total(posterior=lambda a, b, p: (a + b).exp()), "sums to 1"),
        ("alpha alone", total(posterior=lambda a, b, p: (a - p).exp()), "sums to 1"),
        ("alpha minus beta", total(posterior=lambda a, b, p: (a - b - p).exp()), "sums to 1|NaN|sum over"),
        ("alpha as a fraction", total(posterior=lambda a, b, p: a.softmax(1)), "Which class|sums"),
        ("leaves log space too early",
         total(posterior=lambda a, b, p: a.exp() * b.exp() / p.exp()), "sums to 1|NaN|underflow"),
        ("p outside of log space", total(log_p=lambda a, b: (a + b)[0].exp().sum().log()), "finite number"),
        ("overwrites instead of adding", total(add=False), "must be added up"),
        ("the blanks are left out", total(change=letters_only), "sums to 1"),
        ("the most probable state, hard", total(change=hard), "Which class"),
        ("states reversed", total(change=lambda g: g.flip(1)), "Which class"),
        ("frames reversed", total(change=lambda g: g.flip(0)), "Which class"),
        ("all states blank", total(classes=torch.zeros_like), "Which class"),
        ("normalized over time", total(change=lambda g: g / g.sum(0).clamp(min=1e-300)), "sums to 1"),
        ("the other sign", total(sign=-1), "The sign"),
        ("with respect to ln y", total(given=torch.zeros_like), "step 2"),
        ("log_probs for softmax", total(given=lambda x: x), "sums to 0|finite"),
        ("softmax of the exponentials", total(given=lambda x: x.exp().softmax(-1)), "the gradient has"),
        ("softmax over time", total(given=lambda x: x.softmax(0)), "sums to 0"),
        ("divided by T", total(gradient=lambda g, x: g / len(x)), "the gradient has"),
        ("divided by V", total(gradient=lambda g, x: g / x.shape[1]), "the gradient has"),
        ("occupancy transposed", total(occupancy=lambda o: o.T, given=lambda x: x.exp().T), "gave shape"),
        ("the posteriors for the occupancy",
         lambda x, z, a, b: (-(a + b)[0].logsumexp(0), (a + b).softmax(1), x), "gave shape"),
        ("a loss of shape (1,)", total(loss=lambda p: -p[None]), "gave shape"),
        ("the mean over the letters", per_letter, "the loss .* but its value is wrong by [0-9.]+[.] p is"),
        ("gradient before occupancy", lambda *a: [total()(*a)[i] for i in (0, 2, 1)], "is the order right"),
        ("a one-hot target", gradient_from(lambda y, o: y - hard(o)), "the occupancy are right; step 2"),
        ("softmax times 1 minus occupancy", gradient_from(lambda y, o: y * (1 - o)), "sums to 0"),
        ("a number for the loss", total(loss=lambda p: -p.item()), "the loss gave .* expected a tensor"),
        ("gradient only", lambda *a: total()(*a)[2], "expected a list or tuple of length 3"),
        ("no occupancy", lambda *a: total()(*a)[::2], "gave 2 values, expected 3"),
        ("changes alpha", total_in_place, "changed alpha"),
        ("changes log_probs", total_in_place_of_log_probs, "changed log_probs"),
        ("float32", lambda x, z, a, b: total()(x.float(), z, a.float(), b.float()), "wrong dtype|float32"),
        ("occupancy in a float32 buffer", total(occupancy=lambda o: o.float()), "wrong dtype|float32"),
        ("adds a small number to p",
         total(posterior=lambda a, b, p: (a + b).exp() / ((a + b).exp().sum(1, keepdim=True) + 1e-6)),
         "sums to 1"),
        ("NaN", total(occupancy=lambda o: o * math.nan), "NaN"),
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
        ("empties the label", pops_the_label, "changed label"),
        ("a number", lambda x: len(shortest(x)), "expected a list of classes"),
        ("a batch of one path", lambda x: torch.tensor([shortest(x)], dtype=torch.long), "gave shape"),
        ("a tensor of one number", lambda x: torch.tensor(len(shortest(x))), "gave shape"),
        ("a generator", lambda x: (c for c in shortest(x)), "expected a list of classes"),
        ("another mark for the blank", lambda x: [c or -1 for c in shortest(x)], "collapses to"),
        ("a string", lambda x: "a-a", "expected a list of classes"),
        ("floats", lambda x: [float(c) for c in shortest(x)], "which are integers"),
        ("no return", lambda x: None, "gave None"),
    ],
}  # fmt: skip


TestAnswers = answer_tests("04", WRONG, RIGHT)


@pytest.mark.parametrize("exercise", ["forward", "backward", "loss_and_gradient"])
def test_every_size_varies(exercise):
    assert sizes_that_never_vary(CHECKS[exercise]) == []


def test_the_references_are_the_packages_recursion_and_torchs_loss():
    for case in CHECKS["loss_and_gradient"].cases():
        log_probs, states, alpha, beta = case.arguments
        if log_probs.isinf().any():
            continue  # torch's gradient is NaN there
        package = ctc.forward_backward(log_probs, states[1::2])
        assert torch.allclose(alpha, package.alpha) and torch.allclose(beta, package.beta)
        for found, right in zip(
            references.loss_and_gradient(*case.arguments),
            total_by_definition_of_torch(*case.arguments),
            strict=True,
        ):
            assert torch.allclose(found, right, rtol=1e-9, atol=1e-9)
