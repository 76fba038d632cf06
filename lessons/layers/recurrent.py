"""What every recurrent network shares: a cell carried along the frames, in layers, both ways, to each length.

:mod:`lessons.layers.gru` and :mod:`lessons.layers.lstm` say what one step is; this file takes the steps.
Shapes throughout: T frames, B clips, F inputs, D units in the hidden state (`hidden_size`); directions: 1 or
2.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lessons.layers.checks import check_floats
from lessons.lengths import check_lengths, valid_frames

State = tuple[Tensor, ...]  # what a cell remembers: (h,) for a GRU, (h, c) for an LSTM, each (B, D)


class Recurrent(nn.Module):
    """A stack of recurrent layers with torch's parameter names, shapes, order and initialization.

    A subclass sets ``GATES``, the number of D-row blocks in its weights, and writes :meth:`step`.
    """

    GATES: int

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        batch_first: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        for name, value in dict(
            input_size=input_size, hidden_size=hidden_size, num_layers=num_layers
        ).items():
            if value < 1:
                raise ValueError(f"{name}={value}, expected 1 or more")
        if not 0 <= dropout <= 1:
            raise ValueError(f"dropout={dropout}, expected a probability from 0 to 1")
        if dropout and num_layers == 1:
            warnings.warn("dropout acts between layers, so with num_layers=1 it does nothing", stacklevel=3)
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bidirectional, self.batch_first, self.dropout = bidirectional, batch_first, dropout
        self.suffixes = ("", "_reverse") if bidirectional else ("",)
        for layer in range(num_layers):
            inputs = input_size if layer == 0 else hidden_size * len(self.suffixes)
            for suffix in self.suffixes:
                for name, parameter in gate_parameters(self.GATES, inputs, hidden_size).items():
                    self.register_parameter(f"{name}_l{layer}{suffix}", parameter)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter uniformly from ±1/sqrt(D), as torch does."""
        draw_uniform(self, self.hidden_size)

    def step(self, x_gates: Tensor, state: State, weight_hh: Tensor, bias_hh: Tensor) -> State:
        """One frame: ``x_gates`` = W x + b of that frame (B, GATES * D), and the state before it."""
        raise NotImplementedError

    def run(
        self, x: Tensor, first: State | None, lengths: Tensor | Sequence[int] | None
    ) -> tuple[Tensor, State]:
        """All layers over all frames; what ``forward`` does once the state is a tuple.

        ``first`` and the state returned are tuples of (layers * directions, B, D): layer 0 forward, layer 0
        backward, layer 1 forward, and so on.
        """
        check_floats("x", x, self.weight_ih_l0)
        if x.dim() != 3 or x.shape[2] != self.input_size:
            axes = "(B, T, F)" if self.batch_first else "(T, B, F)"
            raise ValueError(f"x has shape {tuple(x.shape)}, expected {axes} with F = {self.input_size}")
        if self.batch_first:
            x = x.transpose(0, 1)  # (T, B, F)
        if x.shape[0] == 0:
            raise ValueError("x has no frames, expected T = 1 or more")
        if first is not None:
            for name, tensor in zip("hc", first, strict=False):  # a GRU has no c
                self._check_state(f"{name}0", tensor, x.shape[1])

        valid = None  # (T, B, 1), or None where every frame is valid
        if lengths is not None:
            lengths = check_lengths("lengths", lengths, x.shape[1], 1, x.shape[0])
            valid = valid_frames(lengths.to(x.device), x.shape[0]).unsqueeze(-1)
            x = x.masked_fill(~valid, 0)  # even a NaN beyond a clip's end must not reach a gradient

        last = []
        for layer in range(self.num_layers):
            if layer > 0:
                x = F.dropout(x, self.dropout, self.training)
            starts = [
                self.zero_state(x.shape[1])
                if first is None
                else tuple(tensor[layer * len(self.suffixes) + direction] for tensor in first)  # (B, D) each
                for direction in range(len(self.suffixes))
            ]
            outs, ends = self.read_both_ways(x, starts, valid, layer)
            last += ends
            x = torch.cat(outs, dim=-1)  # (T, B, directions * D)
        # (layers * directions, B, D) each
        state = tuple(torch.stack(tensors) for tensors in zip(*last, strict=True))
        return (x.transpose(0, 1) if self.batch_first else x), state

    def read_both_ways(
        self, x: Tensor, starts: list[State], valid: Tensor | None, layer: int
    ) -> tuple[list[Tensor], list[State]]:
        """One layer: (T, B, F) -> each direction's outputs (T, B, D), and its state after the last step."""
        read = [
            self._one_direction(x, start, valid, f"_l{layer}{suffix}")
            for suffix, start in zip(self.suffixes, starts, strict=True)
        ]
        return [out for out, _ in read], [end for _, end in read]

    def parameters_of(self, suffix: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """weight_ih, weight_hh, bias_ih, bias_hh of one direction of one layer, such as "_l0_reverse"."""
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weight_ih, weight_hh, bias_ih, bias_hh = (getattr(self, name + suffix) for name in names)
        return weight_ih, weight_hh, bias_ih, bias_hh

    def _one_direction(
        self, x: Tensor, state: State, valid: Tensor | None, suffix: str
    ) -> tuple[Tensor, State]:
        """(T, B, F) -> outputs (T, B, D), in the order of the frames, and the state after the last step."""
        weight_ih, weight_hh, bias_ih, bias_hh = self.parameters_of(suffix)
        n_frames = x.shape[0]
        # W x needs no earlier frame, so one product does all frames: faster than T small ones in the loop.
        # unbind, because indexing x_gates[t] would make the gradient of each frame as large as the whole.
        x_gates = F.linear(x, weight_ih, bias_ih).unbind(0)  # T times (B, GATES * D)
        steps = range(n_frames)
        if suffix.endswith("_reverse"):
            steps = reversed(steps)
        outs = {}
        for t in steps:
            new = self.step(x_gates[t], state, weight_hh, bias_hh)
            if valid is not None:
                # A frame past the end leaves the state alone. Going forward this keeps the last valid state;
                # going backward it holds the first state until the clip's last valid frame.
                new = tuple(torch.where(valid[t], a, b) for a, b in zip(new, state, strict=True))
            state = new
            outs[t] = state[0]
        out = torch.stack([outs[t] for t in range(n_frames)])  # (T, B, D)
        return (out if valid is None else out.masked_fill(~valid, 0)), state

    def zero_state(self, n_clips: int) -> State:
        """The state before the first frame when none is given."""
        return (self.weight_hh_l0.new_zeros(n_clips, self.hidden_size),)

    def _check_state(self, name: str, tensor: Tensor, n_clips: int) -> None:
        check_floats(name, tensor, self.weight_hh_l0)
        expected = (self.num_layers * len(self.suffixes), n_clips, self.hidden_size)
        if tensor.shape != expected:
            raise ValueError(
                f"{name} has shape {tuple(tensor.shape)}, expected (layers * directions, B, D) = {expected}"
            )

    def extra_repr(self) -> str:
        return (
            f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, "
            f"bidirectional={self.bidirectional}, batch_first={self.batch_first}, dropout={self.dropout}"
        )


def gate_parameters(gates: int, inputs: int, hidden: int) -> dict[str, nn.Parameter]:
    """The four parameters of one cell, the gates stacked along the rows."""
    return {
        "weight_ih": nn.Parameter(torch.empty(gates * hidden, inputs)),
        "weight_hh": nn.Parameter(torch.empty(gates * hidden, hidden)),
        "bias_ih": nn.Parameter(torch.empty(gates * hidden)),
        "bias_hh": nn.Parameter(torch.empty(gates * hidden)),
    }


def draw_uniform(module: nn.Module, hidden: int) -> None:
    """Draw every parameter of ``module`` uniformly from ±1/sqrt(hidden)."""
    bound = 1 / math.sqrt(hidden)
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -bound, bound)


def stack(tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    """``torch.stack``, but one tensor alone is not copied."""
    return tensors[0].unsqueeze(dim) if len(tensors) == 1 else torch.stack(tensors, dim)
