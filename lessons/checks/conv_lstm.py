"""Checks of notebook 12, ConvLSTM. What is right comes from torch's LSTM cell, from sums number by number,
from spreading marks on a map, and from reading each video by itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lessons.checks.tools import call, expect_close, expect_pair, expect_tensor
from lessons.layers.conv_lstm import ConvLSTMCell

OPEN, SHUT = 50.0, -50.0  # the sigmoid gives 1 and 0 to the last bit of a float64


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _lstm_on_windows(x: Tensor, h: Tensor, c: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """torch's LSTM cell, which reads at every place the window of [x, h] around it as one list of numbers."""
    size, (n, hidden, height, width) = weight.shape[-1], c.shape
    windows = F.unfold(torch.cat([x, h], 1), size, padding=size // 2)  # (B, (C + D) k², HW)
    cell = nn.LSTMCell(windows.shape[1], hidden, device="meta")  # its numbers are given below
    values = (weight.flatten(1), weight.new_zeros(4 * hidden, hidden), bias, torch.zeros_like(bias))

    def to_rows(maps: Tensor) -> Tensor:
        return maps.flatten(2).transpose(1, 2).flatten(0, 1)  # (B, D, H, W) -> (B HW, D)

    def to_maps(rows: Tensor) -> Tensor:
        return rows.unflatten(0, (n, -1)).transpose(1, 2).unflatten(2, (height, width))

    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    state = torch.func.functional_call(
        cell, dict(zip(names, values, strict=True)), (to_rows(windows), (to_rows(h), to_rows(c)))
    )
    return to_maps(state[0]), to_maps(state[1])


def conv_lstm_step(function: Callable) -> None:
    """function(x, h, c, weight, bias) -> (h, c); gates in the order i, f, g, o, [x, h] side by side."""
    generator = torch.Generator().manual_seed(0)

    def by_hand(i: float, f: float, g: float, o: float, c: int = 2, d: int = 3) -> tuple[Tensor, Tensor]:
        bias = torch.tensor([i, f, g, o], dtype=torch.float64).repeat_interleave(d)
        return torch.zeros(4 * d, c + d, 3, 3, dtype=torch.float64), bias

    def random(c: int, d: int, k: int) -> tuple[Tensor, Tensor]:
        return _normal(4 * d, c + d, k, k, generator=generator), _normal(4 * d, generator=generator)

    reads_x, reads_h = random(3, 3, 1), random(3, 3, 1)
    reads_x[0][:, 3:] = 0
    reads_h[0][:, :3] = 0
    cases = [
        (by_hand(SHUT, OPEN, 0.7, OPEN), (2, 4, 5), "The forget gate is 1 and the input gate 0 here, so c "
         "must stay as it was. Which quarter of the channels is which gate?"),
        (by_hand(OPEN, SHUT, 0.7, OPEN), (2, 4, 5), "The input gate is 1 and the forget gate 0 here: c is "
         "the candidate. Through which function does g go, and c on its way to h?"),
        (by_hand(0.3, -0.4, 0.7, 1.1), (2, 4, 5), "Only the bias is not 0: four sums, four functions."),
        (reads_x, (1, 1, 1), "The weight's inputs are C channels of x, then D of h. Only those of x are not "
         "0."),
        (reads_h, (1, 1, 1), "The weight's inputs are C channels of x, then D of h. Only those of h are not "
         "0, of the OLD h."),
        (random(2, 3, 1), (2, 4, 5), "A kernel of 1: every place by itself. Compare your lines with the "
         "equations."),
        (random(2, 3, 3), (2, 4, 5), "A kernel of 3 x 3 on a map of 4 x 5."),
        (random(1, 2, 5), (3, 5, 3), "A kernel of 5 x 5: is the padding always half of the kernel?"),
        (random(2, 1, 3), (1, 1, 1), "A map of one pixel is a map."),
    ]  # fmt: skip
    for (weight, bias), (n, height, width), hint in cases:
        hidden = len(bias) // 4
        x = _normal(n, weight.shape[1] - hidden, height, width, generator=generator)
        h, c = (_normal(n, hidden, height, width, generator=generator) for _ in range(2))
        arguments = [t.clone().requires_grad_() for t in (x, h, c, weight, bias)]
        expected = _lstm_on_windows(*arguments)
        found = expect_pair(call(function, *arguments), "conv_lstm_step", "the pair (h, c)")
        for name, ours, theirs in zip(("the new h", "the new c"), found, expected, strict=True):
            name = f"conv_lstm_step: {name}, x {tuple(x.shape)}, kernel {weight.shape[-1]},"
            size = "The state keeps its size: (B, D, H, W). Padding?"
            ours = expect_tensor(ours, tuple(theirs.shape), name, size)
            expect_close(ours, theirs.detach(), name, hint, tolerance=1e-9)
            if not ours.requires_grad:
                raise AssertionError(f"{name} has no gradient: stay within torch, without detach or no_grad.")


def _with_peepholes_by_sums(
    gates: Tensor, c: Tensor, w_i: Tensor, w_f: Tensor, w_o: Tensor
) -> tuple[Tensor, Tensor]:
    """Number by number, with Python's math."""
    new_h, new_c = torch.empty_like(c), torch.empty_like(c)
    n_hidden = c.shape[1]
    w_i, w_f, w_o = (w.expand(c.shape[1:]) for w in (w_i, w_f, w_o))

    def sigmoid(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    for place in torch.cartesian_prod(*(torch.arange(size) for size in c.shape)).tolist():
        b, d, row, column = place
        i, f, g, o = (gates[b, gate * n_hidden + d, row, column].item() for gate in range(4))
        old = c[b, d, row, column].item()
        look_i, look_f, look_o = (w[d, row, column].item() for w in (w_i, w_f, w_o))
        new = sigmoid(f + look_f * old) * old + sigmoid(i + look_i * old) * math.tanh(g)
        new_c[b, d, row, column] = new
        new_h[b, d, row, column] = sigmoid(o + look_o * new) * math.tanh(new)
    return new_h, new_c


def with_peepholes(function: Callable) -> None:
    """function(gates, c, w_i, w_f, w_o) -> (h, c)."""
    generator = torch.Generator().manual_seed(0)
    cases = [  # w_i, w_f, w_o on?, one number a place?
        ((0, 0, 0), True, "All peepholes are 0 here: it is the cell of exercise 1."),
        ((1, 0, 0), True, "Only w_i is not 0. It multiplies the memory that comes in, inside the sigmoid."),
        ((0, 1, 0), True, "Only w_f is not 0. It multiplies the memory that comes in, inside the sigmoid."),
        ((0, 0, 1), True, "Only w_o is not 0. Which memory does o see, the one before the frame or the one "
         "after it?"),
        ((1, 1, 1), True, "All three are on. Does one of them reach g?"),
        ((1, 1, 1), False, "Peepholes of shape (D, 1, 1), one number a channel, must work as well."),
    ]  # fmt: skip
    n, hidden, height, width = 2, 3, 3, 4
    for on, places, hint in cases:
        gates = _normal(n, 4 * hidden, height, width, generator=generator)
        c = 2 * _normal(n, hidden, height, width, generator=generator)
        shape = (hidden, height, width) if places else (hidden, 1, 1)
        peepholes = [switch * (_normal(*shape, generator=generator) + 1.5) for switch in on]
        expected = _with_peepholes_by_sums(gates, c, *peepholes)
        arguments = [t.clone().requires_grad_() for t in (gates, c, *peepholes)]
        kept = arguments[1].detach().clone()
        found = expect_pair(call(function, *arguments), "with_peepholes", "the pair (h, c)")
        if not torch.equal(arguments[1], kept):
            raise AssertionError("with_peepholes changed the c that it was given: write to a new tensor.")
        for name, ours, theirs in zip(("the new c", "the new h"), found[::-1], expected[::-1], strict=True):
            name = f"with_peepholes: {name}"
            ours = expect_tensor(ours, tuple(theirs.shape), name, "It is as large as the old c.")
            expect_close(ours, theirs, name, hint, tolerance=1e-9)
            if not ours.requires_grad:
                raise AssertionError(f"{name} has no gradient: peepholes must be able to learn.")
        reached = torch.autograd.grad(found[0].sum(), arguments, allow_unused=True)
        for name, gradient in zip(("gates", "c", "w_i", "w_f", "w_o"), reached, strict=True):
            if gradient is None:
                raise AssertionError(f"with_peepholes: no gradient comes back to {name}: it could not learn.")


def _spread(kernel_size: int, rows: int, columns: int) -> float:
    """Put a mark on a map, let it spread as far as one convolution reaches, and again; count the frames."""
    side = 2 * max(rows, columns, kernel_size) + 3
    heard = torch.zeros(1, 1, side, side)
    start = side // 2 - max(rows, columns) // 2
    heard[0, 0, start, start] = 1
    for frames in range(side + 1):
        heard = F.max_pool2d(heard, kernel_size, stride=1, padding=kernel_size // 2)
        if heard[0, 0, start + rows, start + columns]:
            return frames
    return math.inf


def frames_to_hear(function: Callable) -> None:
    """function(kernel_size, rows, columns) -> how many frames old what is heard must be, at least."""
    cases = [
        (3, 0, 0, "Distance 0: a place reads itself in the same frame."),
        (3, 0, 1, "The convolution of this very frame reads neighbors of x."),
        (3, 0, 2, "One frame ago the neighbor heard of its own neighbor."),
        (3, 5, 0, "Each frame further back adds as many places as half a kernel covers."),
        (3, 2, 5, "A kernel is a square: its corner is reached as soon as its side."),
        (3, 4, 4, "A kernel is a square: its corner is reached as soon as its side."),
        (5, 0, 2, "A kernel of 5 reads two places to each side at once."),
        (5, 0, 3, "A part of a step needs a whole frame: round up."),
        (5, 7, 4, "A part of a step needs a whole frame: round up."),
        (7, 9, 9, "A kernel of 7 reads three places to each side."),
        (1, 0, 0, "A kernel of 1 reads its own place."),
        (1, 0, 1, "A kernel of 1 never hears of its neighbors: the answer is math.inf."),
    ]
    for kernel_size, rows, columns, hint in cases:
        where = f"frames_to_hear({kernel_size}, {rows}, {columns})"
        found = call(function, kernel_size, rows, columns)
        number = isinstance(found, int | float) and not isinstance(found, bool)
        if not number or math.isnan(found) or (math.isfinite(found) and found != int(found)):
            raise AssertionError(f"{where} gave {found!r}, expected a whole number or math.inf. {hint}")
        expected = _spread(kernel_size, rows, columns)
        if found != expected:
            size = "late" if found > expected else "early"
            raise AssertionError(f"{where} gave {found}, which is too {size}. {hint}")


def _cell() -> ConvLSTMCell:
    """The same small cell each time; the caller's random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ConvLSTMCell(2, 3, 3, forget_bias=2.0).double()


def _each_video_alone(cell: nn.Module, x: Tensor, new: Tensor) -> Tensor:
    """Cut every stream where a video begins and read each video from an empty memory."""
    streams = []
    for b in range(x.shape[1]):
        cuts = [0, *(t for t in range(1, len(x)) if new[t, b]), len(x)]
        frames = []
        for start, end in pairwise(cuts):
            state = None
            for t in range(start, end):
                state = cell(x[t, b : b + 1], state)
                frames.append(state[0])
        streams.append(torch.cat(frames))  # (T, D, H, W)
    return torch.stack(streams, dim=1)  # (T, B, D, H, W)


def read_stream(function: Callable) -> None:
    """function(cell, x, new) -> (T, B, D, H, W), the memory emptied where new[t, b] is True."""
    generator = torch.Generator().manual_seed(0)
    cell = _cell()
    for parameter in cell.parameters():
        parameter.data *= 2  # so that a state left behind is seen
    none = [[1, 1, 1], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]]
    cases = [
        (none, "One video, from its first frame to its last: the state of each frame goes into the next."),
        ([[1, 1, 1], [0, 0, 0], [1, 1, 1], [0, 0, 0], [0, 0, 0]],
         "At frame 2 a new video begins in all streams: frame 2 itself is read with an empty memory, both "
         "h and c, and the answers before it stay as they are."),
        ([[1, 1, 1], [0, 0, 0], [0, 1, 0], [1, 0, 0], [0, 1, 0]],
         "A new video begins in one stream while the others go on: empty the memory of that one only. And "
         "what is already in the answer must not change."),
        ([[0, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0], [0, 0, 1]],
         "The first frame has nothing before it, whatever `new` says of it."),
    ]  # fmt: skip
    for flags, hint in cases:
        new = torch.tensor(flags, dtype=torch.bool)
        x = _normal(5, 3, 2, 4, 3, generator=generator)
        ours_x, theirs_x, given = x.clone().requires_grad_(), x.clone().requires_grad_(), new.clone()
        expected = _each_video_alone(cell, theirs_x, new)
        for turn in ("", " when it is called again"):
            name = f"read_stream{turn}, 5 frames of 3 streams,"
            found = call(function, cell, ours_x, new)
            found = expect_tensor(found, tuple(expected.shape), name, "h after every frame: torch.stack.")
            expect_close(found, expected.detach(), name, hint, tolerance=1e-9)
            if not torch.equal(new, given):
                raise AssertionError("read_stream changed `new`, which belongs to its caller.")
        above = _normal(*expected.shape, generator=generator)
        (theirs,) = torch.autograd.grad(expected, theirs_x, above, retain_graph=True)
        if not found.requires_grad:
            raise AssertionError(f"{name} has no gradient: do not detach the state within a video.")
        (ours,) = torch.autograd.grad(found, ours_x, above)
        why = "Within a video the gradient flows from frame to frame; across a cut it does not."
        expect_close(ours, theirs, f"{name} gradient of x:", why, tolerance=1e-9)


def _pieces_one_by_one(
    cell: nn.Module, x: Tensor, loss_of: Callable, piece: int
) -> tuple[float, dict[str, Tensor]]:
    """First all states without gradients, then each piece alone from the state before it."""
    states, state = [None], None
    with torch.no_grad():
        for frame in x:
            state = cell(frame, state)
            states.append(state)
    total = x.new_zeros(())
    for start in range(0, len(x), piece):
        state = states[start]
        for frame in x[start : start + piece]:
            state = cell(frame, state)
            total = total + loss_of(state[0])
    parameters = dict(cell.named_parameters())
    gradients = torch.autograd.grad(total, list(parameters.values()))
    return total.item(), dict(zip(parameters, gradients, strict=True))


def backward_in_pieces(function: Callable) -> None:
    """function(cell, x, loss_of, piece) -> the sum of the losses; the gradient is left in the parameters."""
    generator = torch.Generator().manual_seed(0)
    cell = _cell()
    cases = [
        (1, 1, "One frame, one piece: its loss, its gradient."),
        (4, 4, "One piece for all frames: the whole gradient."),
        (4, 2, "Two pieces: the second starts with the state of the first, and its gradient stops there. h "
         "and c both."),
        (4, 1, "Every frame is a piece: the state goes on, the gradient does not."),
        (5, 2, "The last piece is shorter: its frames count as well."),
        (3, 8, "A piece longer than the film: it is the whole film."),
    ]  # fmt: skip
    for n_frames, piece, hint in cases:
        x = _normal(n_frames, 2, 2, 4, 3, generator=generator)
        aim = _normal(3, 4, 3, generator=generator)
        reads: list[Tensor] = []

        def loss_of(h: Tensor, aim: Tensor = aim, reads: list[Tensor] = reads) -> Tensor:
            reads.append(h)
            return (h - aim).square().sum()

        expected, gradients = _pieces_one_by_one(cell, x, loss_of, piece)
        reads.clear()
        weights = {name: p.detach().clone() for name, p in cell.named_parameters()}
        cell.zero_grad()
        name = f"backward_in_pieces, {n_frames} frames in pieces of {piece}:"
        found = call(function, cell, x, loss_of, piece)
        if any(not torch.equal(p, weights[key]) for key, p in cell.named_parameters()):
            raise AssertionError(f"{name} it changed the weights. Leave the step to the caller's optimizer.")
        if len(reads) != n_frames:
            times = f"{len(reads)} times, expected once a frame"
            raise AssertionError(f"{name} loss_of was called {times}. {hint}")
        try:
            found = float(found.detach() if isinstance(found, Tensor) else found)
        except (TypeError, ValueError):
            raise AssertionError(f"{name} it gave {found!r}, expected the sum of the losses") from None
        if not math.isclose(found, expected, rel_tol=1e-9):
            raise AssertionError(f"{name} it gave {found:.6g}, expected the sum of the losses of all frames.")
        for key, parameter in cell.named_parameters():
            if parameter.grad is None:
                raise AssertionError(f"{name} no gradient has arrived at {key}. Who calls backward?")
            expect_close(parameter.grad, gradients[key], f"{name} the gradient of {key}", hint, 1e-9)


CHECKS: dict[str, Callable[[Callable], None]] = {
    "conv_lstm_step": conv_lstm_step,
    "with_peepholes": with_peepholes,
    "frames_to_hear": frames_to_hear,
    "read_stream": read_stream,
    "backward_in_pieces": backward_in_pieces,
}
