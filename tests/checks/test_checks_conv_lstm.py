"""What learners write by mistake in the exercises of notebook 12 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from lessons.checks import check
from lessons.checks.conv_lstm import CHECKS
from tests.checks.exercises import each_wrong_answer, from_notebook


def test_other_right_answers_pass():
    def two_convolutions(x, h, c, weight, bias):
        inputs, pad = x.shape[1], weight.shape[-1] // 2
        gates = F.conv2d(x, weight[:, :inputs], bias, padding=pad) + F.conv2d(
            h, weight[:, inputs:], padding=pad
        )
        i, f, g, o = gates.unflatten(1, (4, -1)).unbind(1)
        c = c * f.sigmoid() + g.tanh() * i.sigmoid()
        return [o.sigmoid() * c.tanh(), c]

    def by_counting(kernel_size, rows, columns):
        reach, frames = kernel_size // 2, 0
        if max(rows, columns) == 0:
            return 0
        if reach == 0:
            return math.inf
        while reach * (frames + 1) < max(rows, columns):
            frames += 1
        return frames

    def with_where(cell, x, new):
        state, seen = None, []
        for frame, begins in zip(x, new, strict=True):
            if state is not None:
                begins = begins[:, None, None, None]
                state = [torch.where(begins, torch.zeros_like(s), s) for s in state]
            h, c = cell(frame, None if state is None else tuple(state))
            state = (h, c)
            seen.append(h)
        return torch.stack(seen)

    def frame_counter(cell, x, loss_of, piece):
        state, total, waiting = None, 0, 0
        for t, frame in enumerate(x):
            state = cell(frame, state)
            waiting = waiting + loss_of(state[0])
            if (t + 1) % piece == 0 or t + 1 == len(x):
                waiting.backward()
                total, waiting = total + waiting.detach(), 0
                state = (state[0].detach(), state[1].detach())
        return total

    check("12.conv_lstm_step", two_convolutions)
    check("12.frames_to_hear", by_counting)
    check("12.frames_to_hear", lambda *a: float(by_counting(*a)))
    check("12.read_stream", with_where)
    check("12.backward_in_pieces", frame_counter)


# Wrong answers


def step(
    order="ifgo", pad=lambda k: k // 2, first="xh", forget="f", sigmoid=torch.sigmoid, shown=torch.tanh,
    candidate=torch.tanh, swap=False, out=lambda h, c: (h, c), old=lambda c: c, use_bias=True,
):  # fmt: skip
    """A step with one slip."""

    def function(x, h, c, weight, bias):
        xh = torch.cat([x, h] if first == "xh" else [h, x], dim=1)
        gates = F.conv2d(xh, weight, bias if use_bias else None, padding=pad(weight.shape[-1]))
        parts = dict(zip(order, gates.chunk(4, dim=1), strict=True))
        i, f, o = (sigmoid(parts[name]) for name in "ifo")
        if forget == "1-i":
            f = 1 - i
        c = f * old(c) + i * candidate(parts["g"])
        return out(o * shown(c), c)

    return function


def interleaved(x, h, c, weight, bias):
    gates = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2)
    i, f, g, o = (gates[:, k::4] for k in range(4))
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def peep(
    i_sees="old", f_sees="old", o_sees="new", g_sees=False, outside=False, squash=True, weight=lambda w: w
):
    def function(gates, c, w_i, w_f, w_o):
        w_i, w_f, w_o = (weight(w) for w in (w_i, w_f, w_o))
        i, f, g, o = gates.chunk(4, dim=1)
        old = c
        if g_sees:
            g = g + w_i * old
        if outside:
            i, f = i.sigmoid() + w_i * old, f.sigmoid() + w_f * old
        else:
            first = f.sigmoid() * old + i.sigmoid() * g.tanh()
            i = (i + w_i * (old if i_sees == "old" else first)).sigmoid()
            f = (f + w_f * (old if f_sees == "old" else first)).sigmoid()
        c = f * old + i * g.tanh()
        seen = {"new": c, "old": old, "tanh": c.tanh(), "nothing": 0 * c}[o_sees]
        o = (o + w_o * seen).sigmoid()
        return o * (c.tanh() if squash else c), c

    return function


def empty(s, new):
    return s * (~new).to(s.dtype)[:, None, None, None]


def stream(reset=empty, late=False, which="hc", keep=False, stack=torch.stack, detach=False):
    """Reads a stream; ``reset`` empties the states named in ``which``."""
    kept: list = [None]

    def function(cell, x, new):
        state, seen = kept[0] if keep else None, []
        for frame, begins in zip(x, new, strict=True):
            if state is not None and not late:
                state = tuple(reset(s, begins) if n in which else s for n, s in zip("hc", state, strict=True))
            state = cell(frame, state)
            if detach:
                state = tuple(s.detach() for s in state)
            seen.append(state[0])
            if late:
                state = tuple(reset(s, begins) for s in state)
        kept[0] = tuple(s.detach() for s in state)
        return stack(seen)

    return function


def in_place(s, new):
    s[new] = 0
    return s


def changes_new(cell, x, new):
    out = stream()(cell, x, new)
    new[0] = True
    new[1:] = False
    return out


def both_detached(state):
    return tuple(s.detach() for s in state)


def pieces(
    cut=both_detached, retain=False, mean=False, drop=False, zero=False, step=False, give=lambda total: total,
    whole=False,
):  # fmt: skip
    def function(cell, x, loss_of, piece):
        state, total = None, 0.0
        for start in range(0, len(x), piece):
            if drop and start + piece > len(x):
                break
            losses = []
            for frame in x[start : start + piece]:
                state = cell(frame, state)
                losses.append(loss_of(state[0]))
            loss = torch.stack(losses)
            loss = loss.mean() if mean else loss.sum()
            if zero:
                cell.zero_grad()
            if not whole:
                loss.backward(retain_graph=retain)
            total = total + (loss if whole else loss.item())
            if step:
                with torch.no_grad():
                    for p in cell.parameters():
                        p -= 0.1 * p.grad
            state = cut(state)
        if whole:
            total.backward()
        return give(total)

    return function


def last_frames_only(cell, x, loss_of, piece):
    state, total = None, 0.0
    for frames in x.split(piece):
        for frame in frames:
            state = cell(frame, state)
        loss = loss_of(state[0])
        loss.backward()
        total, state = total + loss.item(), tuple(s.detach() for s in state)
    return total


def ceil(value):
    return math.ceil(value)


WRONG = {
    "conv_lstm_step": [
        ("gates in Keras' other order", step(order="figo"), "Which quarter|candidate|four sums"),
        ("o before g", step(order="ifog"), "candidate|Which quarter"),
        ("interleaved", interleaved, "four sums|Which quarter"),
        ("h before x", step(first="hx"), "channels of x"),
        ("no padding", step(pad=lambda k: 0), "Padding|stopped with"),
        ("always a padding of 1", step(pad=lambda k: 1), "Padding"),
        ("forget gate 1 - i", step(forget="1-i"), "four sums"),
        ("no tanh on the candidate", step(candidate=lambda g: g), "candidate"),
        ("sigmoid on the candidate", step(candidate=torch.sigmoid), "candidate"),
        ("no tanh on c", step(shown=lambda c: c), "on its way to h|must stay"),
        ("tanh for the gates", step(sigmoid=torch.tanh), "four sums|Which"),
        ("no bias", step(use_bias=False), "Which quarter"),
        ("c and h swapped", step(out=lambda h, c: (c, h)), "must stay|candidate"),
        ("tanh of the old c", step(old=torch.tanh), "must stay"),
        ("detached", step(out=lambda h, c: (h.detach(), c.detach())), "no gradient"),
        ("h alone", step(out=lambda h, c: h), "expected the pair"),
        ("NaN", step(out=lambda h, c: (h * math.nan, c)), "NaN"),
        ("numpy", step(out=lambda h, c: (h.detach().numpy(), c)), "expected a tensor"),
        ("no return", lambda *a: None, "gave None"),
        ("no cat", lambda x, h, c, w, b: F.conv2d(x, w, b), "stopped with"),
    ],
    "with_peepholes": [
        ("o sees the old c", peep(o_sees="old"), "Which memory does o see"),
        ("o sees tanh(c)", peep(o_sees="tanh"), "Which memory does o see"),
        ("o sees nothing", peep(o_sees="nothing"), "Which memory does o see"),
        ("i sees a new c", peep(i_sees="new"), "the memory that comes in"),
        ("f sees a new c", peep(f_sees="new"), "the memory that comes in"),
        ("g sees c, too", peep(g_sees=True), "Only w_i|reach g"),
        ("outside the sigmoid", peep(outside=True), "inside the sigmoid"),
        ("no tanh on the way out", peep(squash=False), "exercise 1"),
        ("no peepholes", peep(weight=lambda w: 0 * w), "Only w_i"),
        ("w_i and w_f swapped", lambda g, c, i, f, o: peep()(g, c, f, i, o), "Only w_i"),
        ("w_i and w_o swapped", lambda g, c, i, f, o: peep()(g, c, o, f, i), "Only w_i"),
        ("one number for all", peep(weight=lambda w: w.mean()), "Only w_i"),
        ("one number a channel", peep(weight=lambda w: w.mean((-2, -1), keepdim=True)), "Only w_i"),
        ("full size only", peep(weight=lambda w: w.reshape(3, 3, 4)), r"stopped with|\(D, 1, 1\)"),
        ("a matrix product", peep(weight=lambda w: w.transpose(1, 2) @ w), "Only w_i|stopped with"),
                ("detached peepholes", peep(weight=lambda w: w.detach()), "no gradient comes back to w_i"),
        ("detached", lambda *a: tuple(t.detach() for t in peep()(*a)), "has no gradient"),
        ("c and h swapped", lambda *a: peep()(*a)[::-1], "exercise 1"),
        ("c alone", lambda *a: peep()(*a)[1], "expected the pair"),
        ("NaN", lambda *a: tuple(t * math.nan for t in peep()(*a)), "NaN"),
        ("no return", lambda *a: None, "gave None"),
    ],
    "frames_to_hear": [
        ("one too many", lambda k, r, c: ceil(max(r, c) / (k // 2)) if k > 1 else math.inf, "very frame"),
        ("not rounded up", lambda k, r, c: max(max(r, c) // (k // 2) - 1, 0) if k > 1 else
         (math.inf if max(r, c) else 0), "round up"),
        ("rows and columns add up", lambda k, r, c: max(ceil((r + c) / max(k // 2, 0.1)) - 1, 0), "a square"),
        ("straight line", lambda k, r, c: max(ceil(math.hypot(r, c) / max(k // 2, 0.1)) - 1, 0), "a square"),
        ("the nearer", lambda k, r, c: max(ceil(min(r, c) / max(k // 2, 0.1)) - 1, 0), "neighbor"),
        ("rows only", lambda k, r, c: max(ceil(r / max(k // 2, 0.1)) - 1, 0), "neighbor|places"),
        ("k places a frame", lambda k, r, c: max(ceil(max(r, c) / k) - 1, 0), "neighbor|half a kernel"),
        ("a kernel of 3 always", lambda k, r, c: max(max(r, c) - 1, 0), "kernel of 5"),
        ("minus one at distance 0", lambda k, r, c: ceil(max(r, c) / max(k // 2, 0.1)) - 1, "Distance 0"),
        ("a large number for never", lambda k, r, c: max(ceil(max(r, c) / (k // 2)) - 1, 0) if k > 1 else
         (10**9 if max(r, c) else 0), "too early"),
        ("divides by zero", lambda k, r, c: max(ceil(max(r, c) / (k // 2)) - 1, 0), "ZeroDivisionError"),
        ("always never", lambda k, r, c: math.inf, "too late"),
        ("a half", lambda k, r, c: max(max(r, c) / max(k // 2, 0.1) - 1, 0), "whole number"),
        ("NaN", lambda k, r, c: math.nan, "whole number"),
        ("a string", lambda k, r, c: "2", "whole number"),
        ("True", lambda k, r, c: True, "whole number"),
        ("no return", lambda k, r, c: None, "gave None"),
    ],
    "read_stream": [
        ("never empties", stream(reset=lambda s, new: s), "new video begins in all"),
        ("all when any", stream(reset=lambda s, new: s * (not new.any())), "one stream"),
        ("only when all", stream(reset=lambda s, new: s * (not new.all())), "one stream"),
        ("always", stream(reset=lambda s, new: 0 * s), "One video"),
        ("the other way round", stream(reset=lambda s, new: s * new[:, None, None, None]), "One video"),
        ("h only", stream(which="h"), "both h and c"),
        ("c only", stream(which="c"), "both h and c"),
        ("one frame late", stream(late=True), "One video|itself is read"),
        ("in place", stream(reset=in_place), "stay as they are"),
        ("on the wrong axis", stream(reset=lambda s, new: s * (~new)[None, :, None, None]), "one stream"),
        ("keeps it for the next call", stream(keep=True), "nothing before it|called again"),
        ("detached", stream(detach=True), "no gradient|gradient"),
        ("the last frame only", stream(stack=lambda seen: seen[-1]), "has shape"),
        ("a list", stream(stack=lambda seen: seen), "expected a tensor"),
        ("clips first", stream(stack=lambda seen: torch.stack(seen, 1)), "has shape"),
        ("frames joined", stream(stack=torch.cat), "has shape"),
        ("NaN", stream(stack=lambda seen: torch.stack(seen) * math.nan), "NaN"),
        ("changes new", changes_new, "belongs to its caller"),
        ("no return", lambda cell, x, new: None, "gave None"),
    ],
    "backward_in_pieces": [
        ("no detach", pieces(cut=lambda state: state), "stopped with RuntimeError"),
        ("keeps the graph", pieces(cut=lambda state: state, retain=True), "its gradient stops there"),
        ("detaches h only", pieces(cut=lambda s: (s[0].detach(), s[1]), retain=True), "h and c"),
        ("detaches c only", pieces(cut=lambda s: (s[0], s[1].detach()), retain=True), "h and c"),
        ("starts again", pieces(cut=lambda state: None), "sum of the losses"),
        ("mean", pieces(mean=True), "sum of the losses"),
        ("drops the rest", pieces(drop=True), "shorter|once a frame"),
        ("throws gradients away", pieces(zero=True), "the gradient of"),
        ("takes a step", pieces(step=True), "changed the weights"),
        ("one backward at the end", pieces(cut=lambda state: state, whole=True), "its gradient stops there"),
        ("no backward", lambda cell, x, loss_of, piece: sum(
            loss_of(cell(frame)[0]).item() for frame in x), "no gradient has arrived|sum of the losses"),
        ("last frames only", last_frames_only, "once a frame"),
        ("frame by frame", lambda cell, x, loss_of, piece: pieces()(cell, x, loss_of, 1), "the gradient of"),
        ("gives the last loss", pieces(give=lambda total: 0.0), "sum of the losses"),
        ("NaN", pieces(give=lambda total: math.nan), "sum of the losses"),
        ("a word", pieces(give=lambda total: "done"), "expected the sum"),
        ("no return", pieces(give=lambda total: None), "gave None"),
    ],
}  # fmt: skip


@each_wrong_answer(WRONG)
def test_a_wrong_answer_is_told_where_to_look(exercise, wrong, message):
    with pytest.raises(AssertionError, match=message):
        check(f"12.{exercise}", wrong)


def test_every_exercise_is_tried_with_at_least_eight_wrong_answers():
    assert WRONG.keys() == CHECKS.keys()
    assert all(len(answers) >= 8 for answers in WRONG.values())


def test_a_check_leaves_the_chance_of_its_caller_alone():
    torch.manual_seed(3)
    expected = torch.randn(2)
    torch.manual_seed(3)
    for exercise in CHECKS:
        check(f"12.{exercise}", from_notebook("12", f"{exercise}_solution"))
    assert torch.equal(torch.randn(2), expected)
