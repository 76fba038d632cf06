"""Checks of notebook 12, ConvLSTM. What is right comes from torch's LSTM cell, from reading each video by
itself, from marks that spread over a map, and from each piece of a clip alone."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lessons.checks.battery import Case, Exercise, same
from lessons.checks.tools import call

OPEN, SHUT = 50.0, -50.0  # the sigmoid gives 1 and 0 up to the rounding of float64
State = tuple[Tensor, Tensor]


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _words(value: Any) -> str:
    """An argument in a message: tensors by their shape, a state by the shapes of h and c, a cell by D."""
    if isinstance(value, Tensor):
        return str(tuple(value.shape))
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_words, value))})"
    if isinstance(value, _Cell):
        return f"with C = {value.gates.in_channels - value.hidden}, D = {value.hidden}"
    return repr(value) if isinstance(value, int | float | str | bool | None) else type(value).__name__


class InWords(Exercise):
    """Messages name a state by the shapes of h and c, and a cell by its channels."""

    def _called(self, function: Callable, case: Case) -> str:
        given = [f"{self._name(i)} {_words(value)}" for i, value in enumerate(case.arguments)]
        return f"{function.__name__} for {', '.join(given)}"


# ---- one step ----------------------------------------------------------------------------------------------


def conv_lstm_step(x: Tensor, state: State | None, weight: Tensor, bias: Tensor) -> State:
    """x (B, C, H, W), state (h, c) or None for zeros -> the new (h, c): torch's LSTM cell at each position.

    At every position it reads the window of [x, h] around it as one list of numbers.
    """
    size, hidden, (n, _, height, width) = weight.shape[-1], len(bias) // 4, x.shape
    h, c = (x.new_zeros(n, hidden, height, width),) * 2 if state is None else state
    windows = F.unfold(torch.cat([x, h], 1), size, padding=size // 2)  # (B, (C + D) k², HW)
    cell = nn.LSTMCell(windows.shape[1], hidden, device="meta")  # its numbers are given below
    values = (weight.flatten(1), weight.new_zeros(4 * hidden, hidden), bias, torch.zeros_like(bias))

    def to_rows(maps: Tensor) -> Tensor:
        return maps.flatten(2).transpose(1, 2).flatten(0, 1)  # (B, D, H, W) -> (B HW, D)

    def to_maps(rows: Tensor) -> Tensor:
        return rows.unflatten(0, (n, -1)).transpose(1, 2).unflatten(2, (height, width))

    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    parameters = dict(zip(names, values, strict=True))
    new = torch.func.functional_call(cell, parameters, (to_rows(windows), (to_rows(h), to_rows(c))))
    return to_maps(new[0]), to_maps(new[1])


def _by_hand(i: float, f: float, g: float, o: float, c: int, d: int) -> tuple[Tensor, Tensor]:
    """A weight of zeros and a bias that sets the pre-activations: at every position the same."""
    bias = torch.tensor([i, f, g, o], dtype=torch.float64).repeat_interleave(d)
    return torch.zeros(4 * d, c + d, 3, 3, dtype=torch.float64), bias


def _step_cases() -> Iterator[Case]:
    g = torch.Generator().manual_seed(0)

    def case(
        weight: Tensor, bias: Tensor, size: tuple[int, int, int], hint: str, *, state: bool = True, scale=1.0
    ) -> Case:
        (n, height, width), hidden = size, len(bias) // 4
        x = scale * _normal(n, weight.shape[1] - hidden, height, width, generator=g)
        h, c = (_normal(n, hidden, height, width, generator=g) for _ in range(2))
        return Case((x, (h, c) if state else None, weight, bias), hint)

    def random(c: int, d: int, k: int) -> tuple[Tensor, Tensor]:
        return _normal(4 * d, c + d, k, k, generator=g), _normal(4 * d, generator=g)

    yield case(
        *_by_hand(SHUT, OPEN, 0.7, OPEN, 2, 3), (2, 4, 5),
        "The forget gate is 1 and the input gate 0 here, so c must stay as it was. Which quarter of the "
        "channels is which gate?",
    )  # fmt: skip
    yield case(
        *_by_hand(OPEN, SHUT, 0.7, OPEN, 1, 2), (1, 3, 6),
        "The input gate is 1 and the forget gate 0 here: the new c is the candidate. Through which function "
        "does g go, and c on its way to h?",
    )  # fmt: skip
    yield case(
        *_by_hand(0.3, -0.4, 0.7, 1.1, 3, 2), (3, 2, 4),
        "Only the bias is not 0: four pre-activations, four functions.",
    )  # fmt: skip
    # The reference pads with zeros, so one position of the border tells where the padding comes from.
    reads_x, reads_h = random(3, 3, 1), random(3, 3, 1)
    reads_x[0][:, 3:] = 0
    reads_h[0][:, :3] = 0
    order = "The weight's input channels are the C channels of x, then the D of h. Only those of"
    yield case(*reads_x, (1, 1, 1), f"{order} x are not 0.")
    yield case(*reads_h, (1, 1, 1), f"{order} h are not 0, and it is the OLD h.")
    yield case(*random(2, 3, 1), (2, 4, 5), "A kernel of 1 × 1: every position is an LSTM of its own.")
    yield case(*random(2, 3, 3), (2, 4, 5), "A kernel of 3 × 3 on a map of 4 × 5.")
    yield case(*random(1, 2, 5), (3, 5, 3), "A kernel of 5 × 5: does the padding depend on the kernel?")
    yield case(*random(4, 1, 7), (1, 2, 3), "A kernel of 7 × 7, larger than the map.")
    yield case(*random(2, 1, 3), (1, 1, 1), "A map of one position is a map.")
    yield case(*random(2, 3, 3), (2, 3, 4), "No state: h and c are zeros, of which shape?", state=False)
    yield case(
        *random(3, 1, 1), (1, 5, 2),
        "No state, and D = 1: how do you learn D from the weight or the bias?", state=False,
    )  # fmt: skip
    yield case(
        *random(2, 2, 3), (1, 3, 3),
        "The input is a thousand times as large here: exp overflows, torch.sigmoid and torch.tanh do not.",
        scale=1000.0,
    )  # fmt: skip


class OnAnyDevice(InWords):
    """Runs the cases once more on a device without numbers, in bfloat16: where are the zeros made?"""

    def __call__(self, function: Callable) -> None:
        super().__call__(function)
        for case in self.cases():
            x, state, *rest = case.arguments
            if state is not None:
                continue
            given = [tensor.to("meta", torch.bfloat16) for tensor in (x, *rest)]
            try:
                found = function(given[0], None, *given[1:])
            except RuntimeError as error:
                raise AssertionError(
                    f"{function.__name__} works in float64 on the CPU, but not in bfloat16 on another "
                    f"device: {str(error)[:120]}. On which device and with which dtype is the zero state "
                    "made? x.new_zeros(...) takes both from x."
                ) from None
            if any(part.device.type != "meta" or part.dtype != torch.bfloat16 for part in found):
                raise AssertionError(
                    f"{function.__name__}, without a state: the new state has another device or dtype than "
                    "x. x.new_zeros(...) takes both from x."
                )


# ---- streams -----------------------------------------------------------------------------------------------


class _Cell(nn.Module):
    """A ConvLSTM cell that has the call ``cell(x, state) -> (h, c)`` and nothing else to rely on."""

    def __init__(self, channels: int, hidden: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden = hidden
        with torch.random.fork_rng(devices=[]):  # the caller's random state stays as it was
            self.gates = nn.Conv2d(channels + hidden, 4 * hidden, size, dtype=torch.float64)
        for parameter in self.parameters():  # large enough for a state left behind to be seen
            parameter.data = 0.7 * _normal(*parameter.shape, generator=generator)

    def forward(self, x: Tensor, state: State | None = None) -> State:
        return conv_lstm_step(x, state, self.gates.weight, self.gates.bias)


def read_stream(cell: nn.Module, x: Tensor, new: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """x (T, B, C, H, W), new (T, B) bool, state (h, c) or None -> h of every frame, and the last state.

    Each stream is cut where a video starts, and each video is read by itself.
    """
    streams, last = [], []
    for b in range(x.shape[1]):
        cuts = [0, *(t for t in range(1, len(x)) if new[t, b]), len(x)]
        frames = []
        for start, end in pairwise(cuts):
            goes_on = start == 0 and state is not None and not new[0, b]
            now = tuple(part[b : b + 1] for part in state) if goes_on else None
            for t in range(start, end):
                now = cell(x[t, b : b + 1], now)
                frames.append(now[0])
        streams.append(torch.cat(frames))  # (T, D, H, W)
        last.append(now)
    h, c = (torch.cat(part) for part in zip(*last, strict=True))  # (B, D, H, W) each
    return torch.stack(streams, dim=1), (h, c)  # (T, B, D, H, W)


def _flags(n_frames: int, n_streams: int, *starts: tuple[int, int]) -> Tensor:
    new = torch.zeros(n_frames, n_streams, dtype=torch.bool)
    for t, b in starts:
        new[t, b] = True
    return new


def _stream_cases() -> Iterator[Case]:
    g = torch.Generator().manual_seed(0)

    def case(
        shape: Sequence[int], hidden: int, new: Tensor, hint: str, *, state: bool = False, size: int = 3
    ) -> Case:
        _, n, channels, height, width = shape
        cell, x = _Cell(channels, hidden, size, g), _normal(*shape, generator=g)
        given = tuple(_normal(n, hidden, height, width, generator=g) for _ in range(2)) if state else None
        return Case((cell, x, new, given), hint)

    yield case(
        (4, 1, 2, 3, 4), 3, _flags(4, 1, (0, 0)),
        "One video, from its first frame to its last: the state of each frame goes into the next.",
    )  # fmt: skip
    yield case((1, 2, 1, 2, 2), 1, _flags(1, 2), "One frame, and no state: the cell starts from zeros.")
    yield case(
        (3, 2, 1, 3, 2), 2, _flags(3, 2),
        "A state is given and no video starts: the first frame goes on from that state.", state=True,
    )  # fmt: skip
    both = [(2, b) for b in range(3)]
    yield case(
        (5, 3, 2, 4, 3), 2, _flags(5, 3, *both),
        "At frame 2 a new video starts in all streams: frame 2 itself is read with h and c of zeros, and "
        "the outputs before it stay as they are.",
    )  # fmt: skip
    yield case(
        (5, 3, 2, 4, 3), 3, _flags(5, 3, (2, 1), (3, 0), (4, 1)),
        "A new video starts in one stream while the others go on: reset the state of that one only. And "
        "what is already in the output must not change.",
    )  # fmt: skip
    square = _flags(3, 2, (1, 0), (2, 1))
    yield case((3, 2, 2, 2, 2), 2, square, "B, C, D, H and W are equal here: which axis has the streams?")
    yield case(
        (3, 3, 1, 2, 5), 2, _flags(3, 3, (0, 2), (2, 0)),
        "A state is given, and a video starts at frame 0 in one stream: that stream must not see the state.",
        state=True,
    )  # fmt: skip
    large = case((2, 2, 3, 2, 4), 1, _flags(2, 2, (1, 1)), "The cell state is large here.", state=True)
    large.arguments[3][1].mul_(100)
    yield large
    yield case(
        (4, 2, 3, 1, 1), 4, _flags(4, 2, (1, 0), (2, 0)),
        "Videos of one frame: a stream may be reset in frame after frame.", state=True, size=1,
    )  # fmt: skip

    broken = "The {} at the reset holds NaN and infinity here. 0 · NaN is NaN: select, do not multiply."
    given = case((3, 2, 1, 3, 3), 2, _flags(3, 2, (0, 1)), broken.format("state"), state=True)
    h, c = given.arguments[3]
    h[1, 0, 0, 0], c[1, 1, 2, 2] = math.nan, math.inf
    yield given
    frame = case(
        (5, 2, 1, 2, 3), 1, _flags(5, 2, (3, 0)),
        "Frame 1 of stream 0 holds NaN, and so does the state until the reset at frame 3. 0 · NaN is NaN: "
        "select, do not multiply.",
    )  # fmt: skip
    frame.arguments[1][1, 0, 0, 0, 0] = math.nan
    yield frame
    three = case((2, 2, 1, 2, 3), 2, _flags(2, 2, (1, 1)), "state is None by default.")
    yield Case(three.arguments[:3], three.hint)


class Streams(InWords):
    """Names the parts of the result, and asks twice: is anything kept from one call to the next?"""

    def __call__(self, function: Callable) -> None:
        try:
            super().__call__(function)
        except AssertionError as error:
            message = str(error)
            for element, name in (
                ("element 1, element 0", "h of the last state"),
                ("element 1, element 1", "c of the last state"),
                ("element 0", "h of every frame"),
                ("element 1", "the last state"),
            ):
                message = message.replace(f", {element}", f", {name}")
            raise AssertionError(message) from None


# ---- peepholes ---------------------------------------------------------------------------------------------


def with_peepholes(gates: Tensor, c: Tensor, w_i: Tensor, w_f: Tensor, w_o: Tensor) -> State:
    """gates (B, 4D, H, W) in the order i, f, g, o; c (B, D, H, W) -> the new (h, c), stream by stream."""
    n_hidden, new_h, new_c = c.shape[1], [], []
    for b in range(len(c)):
        i, f, g, o = (gates[b, k * n_hidden : (k + 1) * n_hidden] for k in range(4))  # (D, H, W) each
        new = c[b] * (f + c[b] * w_f).sigmoid() + (i + c[b] * w_i).sigmoid() * g.tanh()
        new_c.append(new)
        new_h.append((o + new * w_o).sigmoid() * new.tanh())
    return torch.stack(new_h), torch.stack(new_c)


def _peephole_cases() -> Iterator[Case]:
    g = torch.Generator().manual_seed(0)

    def case(size: tuple[int, ...], on: str, hint: str, *, per_position: bool = True, scale=1.0) -> Case:
        n, hidden, height, width = size
        gates = _normal(n, 4 * hidden, height, width, generator=g)
        c = 2 * scale * _normal(n, hidden, height, width, generator=g)
        shape = (hidden, height, width) if per_position else (hidden, 1, 1)
        weights = [(name in on) * (_normal(*shape, generator=g) + 1.5) for name in "ifo"]
        return Case((gates, c, *weights), hint)

    comes_in = "It multiplies the c that comes in, inside the sigmoid."
    yield case((2, 3, 3, 4), "", "All peepholes are 0 here: it is the cell of exercise 1.")
    yield case((2, 3, 3, 4), "i", f"Only w_i is not 0. {comes_in}")
    yield case((1, 2, 4, 3), "f", f"Only w_f is not 0. {comes_in}")
    yield case(
        (3, 1, 2, 2), "o",
        "Only w_o is not 0. Which cell state does o read, the one before the step or the one after it?",
    )  # fmt: skip
    yield case((2, 4, 1, 5), "ifo", "All three are on. Does one of them reach g?")
    yield case(
        (2, 3, 3, 4), "ifo", "Peepholes of shape (D, 1, 1), one weight per channel.", per_position=False
    )
    yield case((3, 3, 3, 3), "ifo", "B, D, H and W are equal here: w has no axis for the batch.")
    yield case((1, 1, 1, 1), "ifo", "A map of one position is a map.")
    yield case(
        (2, 2, 3, 2), "ifo",
        "c is a thousand times as large here: exp overflows, torch.sigmoid and torch.tanh do not.", scale=1e3,
    )  # fmt: skip


# ---- how far the state sees --------------------------------------------------------------------------------


def propagation_delay(kernel_size: int, rows: int, columns: int) -> float:
    """How many frames old the information is, at least; math.inf if it never arrives.

    Put a mark on a map, spread it as far as one convolution reaches, and again; count the frames.
    """
    side = 2 * max(rows, columns, kernel_size) + 3
    reached = torch.zeros(1, 1, side, side)
    start = side // 2 - max(rows, columns) // 2
    reached[0, 0, start, start] = 1
    for frames in range(side + 1):
        reached = F.max_pool2d(reached, kernel_size, stride=1, padding=kernel_size // 2)
        if reached[0, 0, start + rows, start + columns]:
            return float(frames)
    return math.inf


def _delay_cases() -> Iterator[Case]:
    square = "A kernel is a square: its corner is reached as soon as its side."
    part = "Part of a step takes a whole frame: round up."
    for kernel_size, rows, columns, hint in (
        (3, 0, 0, "Distance 0: a position reads itself in the same frame."),
        (3, 0, 1, "The convolution of the current frame reads the neighbors of x."),
        (3, 0, 2, "One frame ago the neighbor read its own neighbor."),
        (3, 5, 0, "Each frame further back adds as many positions as half a kernel covers."),
        (3, 2, 5, square),
        (3, 5, 2, square),
        (3, 4, 4, square),
        (5, 0, 1, part),
        (5, 0, 2, "A kernel of 5 reads two positions to each side at once."),
        (5, 0, 3, part),
        (5, 7, 4, part),
        (7, 9, 9, "A kernel of 7 reads three positions to each side."),
        (9, 1, 30, "A kernel of 9 reads four positions to each side."),
        (1, 0, 0, "A kernel of 1 reads its own position."),
        (1, 0, 1, "A kernel of 1 never reads a neighbor: the answer is math.inf."),
        (1, 3, 0, "A kernel of 1 never reads a neighbor: the answer is math.inf."),
    ):
        yield Case((kernel_size, rows, columns), hint)


def _early_or_late(found: Any, expected: float, case: Case) -> str | None:
    return f"That is too {'late' if found > expected else 'early'}. {case.hint}"


# ---- truncated backpropagation through time ----------------------------------------------------------------


class _Loss:
    """A loss of one frame's h, which counts how often it is called."""

    def __init__(self, target: Tensor) -> None:
        self.target, self.calls = target, 0

    def __call__(self, h: Tensor) -> Tensor:
        self.calls += 1
        if h.shape[1:] != self.target.shape:
            raise AssertionError(
                f"loss_of was called with a tensor of shape {tuple(h.shape)}: expected one frame's h, "
                f"(B, {', '.join(map(str, self.target.shape))})."
            )
        return (h - self.target.to(h.dtype)).square().sum()


def backward_in_pieces(cell: nn.Module, x: Tensor, loss_of: Callable, piece: int) -> tuple:
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
    return total.item(), list(torch.autograd.grad(total, list(cell.parameters())))


def _piece_cases() -> Iterator[Case]:
    g = torch.Generator().manual_seed(0)
    for n_frames, piece, (n, channels, hidden, height, width), hint in (
        (1, 1, (2, 2, 3, 4, 3), "One frame, one piece: its loss, its gradient."),
        (4, 4, (1, 1, 2, 3, 4), "One piece for all frames: the whole gradient."),
        (
            4, 2, (2, 2, 3, 2, 3),
            "Two pieces: the second starts from the state of the first, and its gradient stops there. Both h "
            "and c.",
        ),
        (4, 1, (3, 1, 1, 2, 2), "Every frame is a piece: the state goes on, the gradient does not."),
        (5, 2, (2, 3, 2, 1, 3), "The last piece is shorter: its frames count as well."),
        (3, 8, (1, 2, 2, 3, 1), "A piece longer than the clip: it is the whole clip."),
        (6, 3, (2, 1, 4, 2, 2), "Two pieces of three frames."),
    ):  # fmt: skip
        cell = _Cell(channels, hidden, 1 if n_frames == 6 else 3, g)
        x = _normal(n_frames, n, channels, height, width, generator=g)
        target = _normal(hidden, height, width, generator=g)
        yield Case((cell, x, _Loss(target), piece), hint)


class GradientsLeft(InWords):
    """Looks at what the function leaves in ``parameter.grad``, beside the loss that it returns."""

    def __call__(self, function: Callable) -> None:
        @wraps(function)
        def loss_and_gradients(cell: nn.Module, x: Tensor, loss_of: _Loss, piece: int) -> tuple:
            given = cell
            cell, loss_of = copy.deepcopy((cell, loss_of))  # gradients and counts begin at nothing
            total = call(function, cell, x, loss_of, piece)
            if not same(cell, given):
                raise AssertionError(f"{function.__name__} changed cell, which belongs to its caller.")
            if loss_of.calls != len(x):
                raise AssertionError(
                    f"{function.__name__}, {len(x)} frames in pieces of {piece}: loss_of was called "
                    f"{loss_of.calls} times, expected once per frame. Is the last piece shorter?"
                )
            for name, parameter in cell.named_parameters():
                if parameter.grad is None:
                    raise AssertionError(
                        f"{function.__name__}: no gradient has arrived at {name}. Who calls backward?"
                    )
            return total, [parameter.grad.clone() for parameter in cell.parameters()]

        super().__call__(loss_and_gradients)


CHECKS: dict[str, Callable[[Callable], None]] = {
    "conv_lstm_step": OnAnyDevice(conv_lstm_step, _step_cases, parts=("h", "c")),
    "read_stream": Streams(read_stream, _stream_cases),
    "with_peepholes": InWords(with_peepholes, _peephole_cases, parts=("h", "c")),
    "propagation_delay": Exercise(
        propagation_delay, _delay_cases, gradients=False, float32=None, diagnose=_early_or_late
    ),
    "backward_in_pieces": GradientsLeft(
        backward_in_pieces, _piece_cases, gradients=False, parts=("the loss", "the gradients")
    ),
}
