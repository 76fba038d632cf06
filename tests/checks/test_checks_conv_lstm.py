"""What learners write by mistake in the exercises of notebook 12 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lessons.checks import check
from lessons.checks.conv_lstm import CHECKS
from tests.checks.exercises import answer_tests, from_notebook, sizes_that_never_vary

# ---- one step ----------------------------------------------------------------------------------------------


def zeros(x, bias):
    return (x.new_zeros(len(x), len(bias) // 4, *x.shape[2:]),) * 2


def step(
    order="ifgo", pad=lambda k: k // 2, first="xh", forget="f", sigmoid=torch.sigmoid, shown=torch.tanh,
    candidate=torch.tanh, out=lambda h, c: (h, c), old=lambda c: c, use_bias=True, start=zeros,
    cut=lambda t: t, inputs=lambda h, c: (h, c), kernel=lambda w: w,
):  # fmt: skip
    """A step with one slip."""

    def conv_lstm_step(x, state, weight, bias):
        h, c = inputs(*(start(x, bias) if state is None else state))
        xh = torch.cat([x, cut(h)] if first == "xh" else [cut(h), x], dim=1)
        weight = kernel(weight)
        gates = F.conv2d(xh, weight, bias if use_bias else None, padding=pad(weight.shape[-1]))
        parts = dict(zip(order, gates.chunk(4, dim=1), strict=True))
        i, f, o = (sigmoid(parts[name]) for name in "ifo")
        if forget == "1-i":
            f = 1 - i
        c = f * old(c) + i * candidate(parts["g"])
        return out(o * shown(c), c)

    return conv_lstm_step


def interleaved(x, state, weight, bias):
    h, c = zeros(x, bias) if state is None else state
    gates = F.conv2d(torch.cat([x, h], 1), weight, bias, padding=weight.shape[-1] // 2)
    i, f, g, o = (gates[:, k::4] for k in range(4))
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def without_gradients(*arguments):
    with torch.no_grad():
        return step()(*arguments)


def c_in_place(x, state, weight, bias):
    h, c = step()(x, state, weight, bias)
    if state is not None:
        state[1].data.copy_(c)
    return h, c


def bias_in_place(x, state, weight, bias):
    bias.data[len(bias) // 4 :] += 1e-3
    return step()(x, state, weight, bias)


def squeezed(x, state, weight, bias):
    h, c = step()(x, state, weight, bias)
    return h.squeeze(0), c.squeeze(0)


def float32_inside(x, state, weight, bias):
    h, c = zeros(x, bias) if state is None else state
    new = step()(x.float(), (h.float(), c.float()), weight.float(), bias.float())
    return tuple(t.to(x.dtype) for t in new)


def numpy_step(x, state, weight, bias):
    return tuple(torch.from_numpy(t.detach().numpy().copy()) for t in step()(x, state, weight, bias))


def transposed_map(x, state, weight, bias):
    return tuple(t.transpose(2, 3) for t in step()(x, state, weight, bias))


def by_exp(a):
    e = torch.exp(a)
    return e / (1 + e)


# Right answers in other styles.


def two_convolutions(x, state, weight, bias):
    inputs, pad = x.shape[1], weight.shape[-1] // 2
    h, c = zeros(x, bias) if state is None else state
    gates = F.conv2d(x, weight[:, :inputs], bias, padding=pad) + F.conv2d(h, weight[:, inputs:], padding=pad)
    i, f, g, o = gates.unflatten(1, (4, -1)).unbind(1)
    c = c * f.sigmoid() + g.tanh() * i.sigmoid()
    return [o.sigmoid() * c.tanh(), c]


def same_padding(x, state, weight, bias):
    hidden = weight.shape[0] // 4
    if state is None:
        state = [torch.zeros(len(x), hidden, *x.shape[-2:], dtype=x.dtype, device=x.device) for _ in range(2)]
    a = F.conv2d(torch.cat((x, state[0]), 1), weight, bias, padding="same")
    gates = torch.sigmoid(torch.cat([a[:, : 2 * hidden], a[:, 3 * hidden :]], 1))
    g = a[:, 2 * hidden : 3 * hidden].tanh()
    c = gates[:, hidden : 2 * hidden] * state[1] + gates[:, :hidden] * g
    return gates[:, 2 * hidden :] * torch.tanh(c), c


def by_windows(x, state, weight, bias):
    n, _, rows, columns = x.shape
    h, c = zeros(x, bias) if state is None else state
    k = weight.shape[-1]
    windows = F.unfold(torch.cat([x, h], 1), k, padding=k // 2)
    a = (weight.flatten(1) @ windows + bias[:, None]).view(n, -1, rows, columns)
    i, f, g, o = a.split(len(bias) // 4, dim=1)
    c = torch.addcmul(i.sigmoid() * g.tanh(), f.sigmoid(), c)
    return o.sigmoid().mul(c.tanh()), c


def four_convolutions(x, state, weight, bias):
    h, c = zeros(x, bias) if state is None else state
    xh = F.pad(torch.cat([x, h], 1), (weight.shape[-1] // 2,) * 4)
    i, f, g, o = (F.conv2d(xh, w, b) for w, b in zip(weight.chunk(4), bias.chunk(4), strict=True))
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def clip_by_clip(x, state, weight, bias):
    h, c = zeros(x, bias) if state is None else state
    pairs = [step()(x[b : b + 1], (h[b : b + 1], c[b : b + 1]), weight, bias) for b in range(len(x))]
    return tuple(torch.cat(part) for part in zip(*pairs, strict=True))


# ---- streams -----------------------------------------------------------------------------------------------


def select(s, starts):
    return torch.where(starts[:, None, None, None], torch.zeros_like(s), s)


def stream(
    reset=select, late=False, which="hc", keep=False, stack=torch.stack, detach=False, given=lambda s: s,
    last=lambda s: s, skip_first=False,
):  # fmt: skip
    """Reads a stream; ``reset`` resets the states named in ``which``."""
    kept: list = [None]

    def read_stream(cell, x, new, state=None):
        state, hidden = given(kept[0] if keep and state is None else state), []
        for t, (frame, starts) in enumerate(zip(x, new, strict=True)):
            if state is not None and not late and not (skip_first and t == 0):
                state = tuple(reset(s, starts) if n in which else s for n, s in zip("hc", state, strict=True))
            state = cell(frame, state)
            if detach:
                state = tuple(s.detach() for s in state)
            hidden.append(state[0])
            if late:
                state = tuple(reset(s, starts) for s in state)
        kept[0] = tuple(s.detach()[:1, :1, :1, :1].expand_as(s) for s in state)
        return stack(hidden), last(state)

    return read_stream


def in_place(s, starts):
    s.data[starts] = 0
    return s


def changes_new(cell, x, new, state=None):
    out = stream()(cell, x, new, state)
    new[:] = False
    return out


def mends_the_frames(cell, x, new, state=None):
    out = stream()(cell, x, new, state)
    x.data.nan_to_num_()
    return out


def returns_first_state(cell, x, new, state=None):
    out, _ = stream()(cell, x, new, state)
    return out, cell(x[0], None)


def without_default(cell, x, new, state):
    return stream()(cell, x, new, state)


def knows_d(cell, x, new, state=None):
    if state is None:
        state = (x.new_zeros(x.shape[1], cell.hidden_channels, *x.shape[3:]),) * 2
    return stream()(cell, x, new, state)


# Right answers in other styles.


def with_masked_fill(cell, x, new, state=None):
    outs = []
    for t in range(len(x)):
        if state is not None:
            mask = new[t].view(-1, 1, 1, 1)
            state = [s.masked_fill(mask, 0.0) for s in state]
        h, c = cell(x[t], state)
        state = (h, c)
        outs.append(h)
    return torch.stack(outs), state


def on_a_copy(cell, x, new, state=None):
    outs = []
    for t in range(len(x)):
        if state is not None and new[t].any():
            h, c = state[0].clone(), state[1].clone()
            h[new[t]] = 0
            c[new[t]] = 0
            state = (h, c)
        state = cell(x[t], state)
        outs.append(state[0][None])
    return [torch.cat(outs), state]


def stream_by_stream(cell, x, new, state=None):
    outs, last = [], []
    for b in range(x.shape[1]):
        now, frames = None if state is None else (state[0][b : b + 1], state[1][b : b + 1]), []
        for t in range(len(x)):
            now = cell(x[t, b : b + 1], None if new[t, b] else now)
            frames.append(now[0])
        outs.append(torch.stack(frames))
        last.append(now)
    h, c = zip(*last, strict=True)
    return torch.cat(outs, 1), (torch.cat(h), torch.cat(c))


def both_states_at_once(cell, x, new, state=None):
    hidden, begins = [], new[..., None, None, None]
    for frame, start in zip(x, begins, strict=True):
        if state is not None:
            both = torch.stack(tuple(state))
            state = tuple(torch.where(start, both.new_zeros(()), both).unbind(0))
        state = cell(frame, state)
        hidden += [state[0]]
    return torch.stack(hidden), state


def row_by_row(cell, x, new, state=None):
    hidden = []
    for frame, starts in zip(x, new, strict=True):
        if state is not None:
            state = tuple(
                torch.stack([row.new_zeros(row.shape) if s else row
                             for row, s in zip(part, starts.tolist(), strict=True)])
                for part in state
            )  # fmt: skip
        state = cell(frame, state)
        hidden.append(state[0])
    return torch.stack(hidden), (state[0], state[1])


# ---- peepholes ---------------------------------------------------------------------------------------------


def peep(
    i_reads="old", f_reads="old", o_reads="new", g_reads=False, outside=False, squash=True,
    weight=lambda w: w, sigmoid=torch.sigmoid,
):  # fmt: skip
    def with_peepholes(gates, c, w_i, w_f, w_o):
        w_i, w_f, w_o = (weight(w) for w in (w_i, w_f, w_o))
        i, f, g, o = gates.chunk(4, dim=1)
        old = c
        if g_reads:
            g = g + w_i * old
        if outside:
            i, f = i.sigmoid() + w_i * old, f.sigmoid() + w_f * old
        else:
            first = f.sigmoid() * old + i.sigmoid() * g.tanh()
            i = sigmoid(i + w_i * (old if i_reads == "old" else first))
            f = sigmoid(f + w_f * (old if f_reads == "old" else first))
        c = f * old + i * g.tanh()
        read = {"new": c, "old": old, "tanh": c.tanh(), "nothing": 0 * c}[o_reads]
        o = sigmoid(o + w_o * read)
        return o * (c.tanh() if squash else c), c

    return with_peepholes


def peep_in_place(gates, c, w_i, w_f, w_o):
    out = peep()(gates, c, w_i, w_f, w_o)
    c.data.copy_(out[1])
    return out


def peep_in_float32(*arguments):
    return tuple(t.to(arguments[0].dtype) for t in peep()(*(a.float() for a in arguments)))


def peep_by_unbind(gates, c, w_i, w_f, w_o):
    i, f, g, o = gates.unflatten(1, (4, -1)).unbind(1)
    new = (f + w_f * c).sigmoid() * c + (i + w_i * c).sigmoid() * g.tanh()
    return [(o + w_o * new).sigmoid() * new.tanh(), new]


def peep_by_slices(gates, c, w_i, w_f, w_o):
    D = c.shape[1]
    both = torch.sigmoid(gates[:, : 2 * D] + torch.cat([w_i * c, w_f * c], 1))
    new = both[:, D:] * c + both[:, :D] * torch.tanh(gates[:, 2 * D : 3 * D])
    return torch.sigmoid(gates[:, 3 * D :] + w_o * new) * torch.tanh(new), new


def peep_by_addcmul(gates, c, w_i, w_f, w_o):
    i, f, g, o = gates.split(c.shape[1], 1)
    i, f = torch.addcmul(i, w_i, c).sigmoid(), torch.addcmul(f, w_f, c).sigmoid()
    new = torch.addcmul(f * c, i, g.tanh())
    return torch.addcmul(o, w_o, new).sigmoid() * new.tanh(), new


def peep_by_clips(gates, c, w_i, w_f, w_o):
    pairs = [peep()(gates[b : b + 1], c[b : b + 1], w_i, w_f, w_o) for b in range(len(c))]
    return tuple(torch.cat(part) for part in zip(*pairs, strict=True))


def peep_expanded(gates, c, w_i, w_f, w_o):
    w_i, w_f, w_o = (w.expand_as(c) for w in (w_i, w_f, w_o))
    return peep()(gates, c, w_i, w_f, w_o)


# ---- how far the state sees --------------------------------------------------------------------------------


def by_counting(kernel_size, rows, columns):
    reach, frames = kernel_size // 2, 0
    if max(rows, columns) == 0:
        return 0
    if reach == 0:
        return math.inf
    while reach * (frames + 1) < max(rows, columns):
        frames += 1
    return frames


def by_numpy(kernel_size, rows, columns):
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.ceil(np.float64(max(rows, columns)) / (kernel_size // 2))
    return 0 if max(rows, columns) == 0 else max(steps - 1, 0)


def by_integers(kernel_size, rows, columns):
    d, s = max(rows, columns), (kernel_size - 1) // 2
    return 0 if d <= s else (math.inf if s == 0 else (d - 1) // s)


# ---- truncated backpropagation through time ----------------------------------------------------------------


def both_detached(state):
    return tuple(s.detach() for s in state)


def pieces(
    cut=both_detached, retain=False, mean=False, drop=False, zero=False, update=False,
    give=lambda total: total, whole=False,
):  # fmt: skip
    def backward_in_pieces(cell, x, loss_of, piece):
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
            if update:
                with torch.no_grad():
                    for p in cell.parameters():
                        p -= 0.1 * p.grad
            state = cut(state)
        if whole:
            total.backward()
        return give(total)

    return backward_in_pieces


def last_frames_only(cell, x, loss_of, piece):
    state, total = None, 0.0
    for frames in x.split(piece):
        for frame in frames:
            state = cell(frame, state)
        loss = loss_of(state[0])
        loss.backward()
        total, state = total + loss.item(), both_detached(state)
    return total


def forward_only(cell, x, loss_of, piece):
    state, total = None, 0.0
    for frame in x:
        state = cell(frame, state)
        total += loss_of(state[0]).item()
    return total


def all_frames_in_one_call(cell, x, loss_of, piece):
    state, hidden = None, []
    for frame in x:
        state = cell(frame, state)
        hidden.append(state[0])
    loss = loss_of(torch.stack(hidden))
    loss.backward()
    return loss


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


def loss_by_loss(cell, x, loss_of, piece):
    state, total = None, 0.0
    for start in range(0, len(x), piece):
        losses = []
        for frame in x[start : start + piece]:
            state = cell(frame, state)
            losses.append(loss_of(state[0]))
        for k, loss in enumerate(losses):
            loss.backward(retain_graph=k + 1 < len(losses))
            total += float(loss)
        state = [s.detach() for s in state]
    return total


def with_detached_leaves(cell, x, loss_of, piece):
    state, total = None, torch.zeros(())
    for frames in torch.split(x, piece):
        state = state and tuple(s.detach().clone() for s in state)
        loss = 0
        for frame in frames:
            state = cell(frame, state)
            loss = loss + loss_of(state[0])
        torch.autograd.backward(loss)
        total = total + loss.detach().to(torch.float64)
    return total.item()


def by_autograd_grad(cell, x, loss_of, piece):
    state, total, parameters = None, 0.0, list(cell.parameters())
    for frames in x.split(piece):
        losses = []
        for frame in frames:
            state = cell(frame, state)
            losses.append(loss_of(state[0]))
        for p, g in zip(parameters, torch.autograd.grad(sum(losses), parameters), strict=True):
            p.grad = g if p.grad is None else p.grad + g
        total, state = total + sum(losses).item(), both_detached(state)
    return np.float64(total)


WRONG = {
    "conv_lstm_step": [
        ("gates in Keras' other order", step(order="figo"), "Which quarter|candidate|four functions"),
        ("o before g", step(order="ifog"), "candidate|Which quarter"),
        ("interleaved", interleaved, "four functions|Which quarter"),
        ("h before x", step(first="hx"), "channels are the C channels of x"),
        ("no padding", step(pad=lambda k: 0), "gave shape|stopped with"),
        ("always a padding of 1", step(pad=lambda k: 1), "gave shape|stopped with"),
        ("forget gate 1 - i", step(forget="1-i"), "four functions"),
        ("no tanh on the candidate", step(candidate=lambda g: g), "candidate"),
        ("sigmoid on the candidate", step(candidate=torch.sigmoid), "candidate"),
        ("no tanh on c", step(shown=lambda c: c), "on its way to h|must stay"),
        ("tanh for the gates", step(sigmoid=torch.tanh), "four functions|Which"),
        ("its own sigmoid", step(sigmoid=by_exp), "overflow"),
        ("no bias", step(use_bias=False), "Which quarter"),
        ("c and h swapped", step(out=lambda h, c: (c, h)), "must stay|candidate"),
        ("reads (c, h)", step(inputs=lambda h, c: (c, h)), "must stay"),
        ("tanh of the old c", step(old=torch.tanh), "must stay"),
        ("flipped kernel", step(kernel=lambda w: w.flip(2, 3)), "3 × 3"),
        ("transposed kernel", step(kernel=lambda w: w.transpose(2, 3)), "3 × 3"),
        ("detached", step(out=lambda h, c: (h.detach(), c.detach())), "no gradient"),
        ("no_grad", without_gradients, "no gradient"),
        ("detached h only", step(cut=lambda h: h.detach()), "gradient at state|no gradient reaches state"),
        ("detached c only", step(old=lambda c: c.detach()), "gradient at state|no gradient reaches state"),
        ("writes into the state", c_in_place, "changed state"),
        ("writes into the bias", bias_in_place, "changed bias"),
        ("squeezes", squeezed, "gave shape"),
        ("float32", float32_inside, "wrong dtype"),
        ("zeros on the CPU", step(start=lambda x, b: (torch.zeros(len(x), len(b) // 4, *x.shape[2:]),) * 2),
         "on another device"),
        ("zeros of D + 1", step(start=lambda x, b: (x.new_zeros(len(x), x.shape[1], *x.shape[2:]),) * 2),
         "stopped with|No state"),
        ("ones at the start", step(start=lambda x, b: [t + 1 for t in zeros(x, b)]), "No state"),
        ("zeros of batch 1", step(start=lambda x, b: zeros(x[:1], b)), "stopped with"),
        ("no start", step(start=lambda x, b: None), "stopped with"),
        ("numpy", numpy_step, "no gradient"),
        ("transposed map", transposed_map, "gave shape"),
        ("h alone", step(out=lambda h, c: h), "expected a list or tuple"),
        ("h twice and c", step(out=lambda h, c: (h, h, c)), "expected 2"),
        ("NaN", step(out=lambda h, c: (h * math.nan, c)), "NaN"),
        ("no return", lambda *a: None, "gave None"),
        ("no cat", lambda x, s, w, b: F.conv2d(x, w, b), "stopped with"),
    ],
    "read_stream": [
        ("never resets", stream(reset=lambda s, starts: s), "new video starts in all"),
        ("all when any", stream(reset=lambda s, starts: s * (not starts.any())), "one stream|NaN"),
        ("only when all", stream(reset=lambda s, starts: s * (not starts.all())), "one stream"),
        ("always", stream(reset=lambda s, starts: 0 * s), "One video"),
        ("the other way round", stream(reset=lambda s, starts: select(s, ~starts)), "One video"),
        ("multiplies", stream(reset=lambda s, starts: s * (~starts).to(s.dtype)[:, None, None, None]),
         "0 · NaN"),
        ("subtracts", stream(reset=lambda s, starts: s - s * starts.to(s.dtype)[:, None, None, None]),
         "0 · NaN"),
        ("NaN to zero, then multiplies", stream(reset=lambda s, starts: select(s.nan_to_num(), starts)),
         "expected NaN.*until the reset"),
        ("NaN to zero in the frames", lambda cell, x, new, state=None: stream()(
            cell, x.nan_to_num(), new, state), "expected NaN"),
        ("mends the frames it was given", mends_the_frames, "changed x"),
        ("clamps the state", stream(reset=lambda s, starts: select(s, starts).clamp(-5, 5)), "large here"),
        ("h only", stream(which="h"), "h and c of zeros"),
        ("c only", stream(which="c"), "h and c of zeros"),
        ("one frame late", stream(late=True), "One video|itself is read"),
        ("in place", stream(reset=in_place), "stay as they are|changed state"),
        ("on the wrong axis", stream(reset=lambda s, starts: torch.where(
            starts[None, :, None, None], torch.zeros_like(s), s)), "stopped with|which axis"),
        ("keeps it for the next call", stream(keep=True), "starts from zeros|stopped with|One video"),
        ("ignores the state given", stream(given=lambda s: None), "goes on from that state"),
        ("not at frame 0", stream(skip_first=True), "must not see the state"),
        ("detached", stream(detach=True), "gradient"),
        ("detached state given", stream(given=lambda s: s and tuple(t.detach() for t in s)), "gradient"),
        ("the last frame only", stream(stack=lambda hidden: hidden[-1]), "h of every frame gave shape"),
        ("a list", stream(stack=lambda hidden: hidden), "h of every frame gave|expected a tensor"),
        ("streams first", stream(stack=lambda hidden: torch.stack(hidden, 1)), "gave shape"),
        ("frames joined", stream(stack=torch.cat), "gave shape"),
        ("h alone", lambda *a: stream()(*a)[0], "expected a list or tuple"),
        ("h for the state", stream(last=lambda s: s[0]), "last state gave"),
        ("(c, h)", stream(last=lambda s: s[::-1]), "last state"),
        ("no state", stream(last=lambda s: None), "last state gave"),
        ("detached last state", stream(last=lambda s: tuple(t.detach() for t in s)), "gradient"),
        ("the first state", returns_first_state, "last state"),
        ("NaN", stream(stack=lambda hidden: torch.stack(hidden) * math.nan), "NaN"),
        ("changes new", changes_new, "changed new"),
        ("no default", without_default, "state"),
        ("asks the cell for D", knows_d, "hidden_channels"),
        ("no return", lambda cell, x, new, state=None: None, "gave None"),
    ],
    "with_peepholes": [
        ("o reads the old c", peep(o_reads="old"), "Which cell state does o read"),
        ("o reads tanh(c)", peep(o_reads="tanh"), "Which cell state does o read"),
        ("o reads nothing", peep(o_reads="nothing"), "Which cell state does o read"),
        ("i reads a new c", peep(i_reads="new"), "the c that comes in"),
        ("f reads a new c", peep(f_reads="new"), "the c that comes in"),
        ("g reads c, too", peep(g_reads=True), "Only w_i|reach g"),
        ("outside the sigmoid", peep(outside=True), "inside the sigmoid"),
        ("no tanh on the way out", peep(squash=False), "exercise 1"),
        ("no peepholes", peep(weight=lambda w: 0 * w), "Only w_i"),
        ("w_i and w_f swapped", lambda g, c, i, f, o: peep()(g, c, f, i, o), "Only w_i"),
        ("w_i and w_o swapped", lambda g, c, i, f, o: peep()(g, c, o, f, i), "Only w_i"),
        ("one weight for all", peep(weight=lambda w: w.mean()), "Only w_i"),
        ("one weight per channel", peep(weight=lambda w: w.mean((-2, -1), keepdim=True)), "Only w_i"),
        ("full size only", peep(weight=lambda w: w.flatten(1).view(3, 3, 4)), "stopped with"),
        ("a matrix product", peep(weight=lambda w: w.transpose(1, 2) @ w), "Only w_i|stopped with"),
        ("its own sigmoid", peep(sigmoid=by_exp), "overflow"),
        ("detached peepholes", peep(weight=lambda w: w.detach()), "no gradient reaches w_i"),
        ("detached", lambda *a: tuple(t.detach() for t in peep()(*a)), "no gradient"),
        ("in place", peep_in_place, "changed c"),
        ("float32", peep_in_float32, "wrong dtype"),
        ("c and h swapped", lambda *a: peep()(*a)[::-1], "exercise 1"),
        ("squeezes", lambda *a: tuple(t.squeeze(0) for t in peep()(*a)), "gave shape"),
        ("c alone", lambda *a: peep()(*a)[1], "expected a list or tuple"),
        ("NaN", lambda *a: tuple(t * math.nan for t in peep()(*a)), "NaN"),
        ("no return", lambda *a: None, "gave None"),
    ],
    "propagation_delay": [
        ("one too many", lambda k, r, c: math.ceil(max(r, c) / (k // 2)) if k > 1 else math.inf,
         "current frame"),
        ("not rounded up", lambda k, r, c: max(max(r, c) // (k // 2) - 1, 0) if k > 1 else
         (math.inf if max(r, c) else 0), "round up"),
        ("rows and columns add up", lambda k, r, c: max(math.ceil((r + c) / max(k // 2, 0.1)) - 1, 0),
         "a square"),
        ("straight line", lambda k, r, c: max(math.ceil(math.hypot(r, c) / max(k // 2, 0.1)) - 1, 0),
         "a square"),
        ("the nearer", lambda k, r, c: max(math.ceil(min(r, c) / max(k // 2, 0.1)) - 1, 0), "neighbor"),
        ("rows only", lambda k, r, c: max(math.ceil(r / max(k // 2, 0.1)) - 1, 0), "neighbor|positions"),
        ("columns only", lambda k, r, c: max(math.ceil(c / max(k // 2, 0.1)) - 1, 0), "half a kernel"),
        ("k positions per frame", lambda k, r, c: max(math.ceil(max(r, c) / k) - 1, 0),
         "neighbor|half a kernel"),
        ("a kernel of 3 always", lambda k, r, c: max(max(r, c) - 1, 0), "kernel of 5"),
        ("minus one at distance 0", lambda k, r, c: math.ceil(max(r, c) / max(k // 2, 0.1)) - 1,
         "Distance 0"),
        ("a large number for never", lambda k, r, c: max(math.ceil(max(r, c) / (k // 2)) - 1, 0) if k > 1 else
         (10**9 if max(r, c) else 0), "too early"),
        ("divides by zero", lambda k, r, c: max(math.ceil(max(r, c) / (k // 2)) - 1, 0), "ZeroDivisionError"),
        ("always never", lambda k, r, c: math.inf, "too late"),
        ("a half", lambda k, r, c: max(max(r, c) / max(k // 2, 0.1) - 1, 0), "which is wrong"),
        ("NaN", lambda k, r, c: math.nan, "which is wrong"),
        ("a string", lambda k, r, c: "2", "expected a number"),
        ("True", lambda k, r, c: True, "expected a number"),
        ("no return", lambda k, r, c: None, "gave None"),
    ],
    "backward_in_pieces": [
        ("no detach", pieces(cut=lambda state: state), "stopped with RuntimeError"),
        ("keeps the graph", pieces(cut=lambda state: state, retain=True), "its gradient stops there"),
        ("detaches h only", pieces(cut=lambda s: (s[0].detach(), s[1]), retain=True), "h and c"),
        ("detaches c only", pieces(cut=lambda s: (s[0], s[1].detach()), retain=True), "h and c"),
        ("starts again", pieces(cut=lambda state: None), "the loss"),
        ("mean", pieces(mean=True), "the loss"),
        ("drops the rest", pieces(drop=True), "shorter"),
        ("throws gradients away", pieces(zero=True), "the gradients"),
        ("updates the weights", pieces(update=True), "changed cell"),
        ("one backward at the end", pieces(cut=lambda state: state, whole=True), "its gradient stops there"),
        ("no backward", forward_only, "no gradient has arrived"),
        ("last frames only", last_frames_only, "once per frame"),
        ("frame by frame", lambda cell, x, loss_of, piece: pieces()(cell, x, loss_of, 1), "the gradients"),
        ("all frames in one call", all_frames_in_one_call, "one frame's h|once per frame"),
        ("gives 0", pieces(give=lambda total: 0.0), "the loss"),
        ("asks for gradients of x", lambda cell, x, loss_of, piece: pieces()(
            cell, x.requires_grad_(), loss_of, piece), "changed x.*requires a gradient"),
        ("NaN", pieces(give=lambda total: math.nan), "the loss"),
        ("a word", pieces(give=lambda total: "done"), "expected a number"),
        ("no return", pieces(give=lambda total: None), "gave None"),
    ],
}  # fmt: skip

RIGHT = {
    "conv_lstm_step": [two_convolutions, same_padding, by_windows, four_convolutions, clip_by_clip],
    "read_stream": [with_masked_fill, on_a_copy, stream_by_stream, both_states_at_once, row_by_row],
    "with_peepholes": [peep_by_unbind, peep_by_slices, peep_by_addcmul, peep_by_clips, peep_expanded],
    "propagation_delay": [
        by_counting,
        lambda *a: float(by_counting(*a)),
        by_numpy,
        by_integers,
        lambda *a: torch.tensor(by_counting(*a)),
    ],
    "backward_in_pieces": [
        frame_counter, loss_by_loss, with_detached_leaves, by_autograd_grad,
        pieces(give=lambda total: torch.tensor(total, dtype=torch.float64)),
    ],
}  # fmt: skip


TestAnswers = answer_tests("12", WRONG, RIGHT)


@pytest.mark.parametrize("exercise", CHECKS)
def test_sizes_vary(exercise):
    assert sizes_that_never_vary(CHECKS[exercise]) == []


def test_a_check_leaves_the_random_state_of_its_caller_alone():
    torch.manual_seed(3)
    expected = torch.randn(2)
    torch.manual_seed(3)
    for exercise in CHECKS:
        check(f"12.{exercise}", from_notebook("12", f"{exercise}_solution"))
    assert torch.equal(torch.randn(2), expected)
