"""The gated recurrent unit (GRU): a hidden state whose gates decide, unit by unit, what to keep.

With the input x, the previous hidden state h, σ the logistic function and ⊙ the element-wise product:

    r  = σ(W_ir x + b_ir + W_hr h + b_hr)             reset gate:  how much of h the candidate sees
    z  = σ(W_iz x + b_iz + W_hz h + b_hz)             update gate: how much of h to keep
    n  = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn))    candidate ("new")
    h' = (1 - z) ⊙ n + z ⊙ h

Here the reset gate acts *after* the product with W_hn, as in ``nn.GRU`` and cuDNN. Then one product W_h h
serves all three blocks. Cho et al. (arXiv 1406.1078) and LipNet (arXiv 1611.01599, §3.2) put it
*before*:

    n  = tanh(W_in x + b_in + W_hn (r ⊙ h) + b_hn)

In this form b_hn stands outside the product and the reset gate does not touch it, so only the sum of the two
biases matters; both are kept, so that the two forms have the same parameters. (Some texts
exchange z and 1 - z: the same network, since the signs of W_iz, W_hz and b are learned.)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lessons.layers.checks import check_cell_input, under_autocast
from lessons.layers.gru_fast import gru_scan
from lessons.layers.recurrent import (
    Recurrent,
    State,
    draw_uniform,
    gate_parameters,
    stack,
)

Reset = Literal["after", "before"]


def gru_step(
    x_gates: Tensor, h: Tensor, weight_hh: Tensor, bias_hh: Tensor, reset: Reset = "after"
) -> Tensor:
    """Return the hidden state after one step of the equations above.

    Args:
        x_gates: (B, 3D), W_i x + b_i, the input's part of the pre-activations, in blocks r, z, n.
        h: (B, D), the previous hidden state.
        weight_hh, bias_hh: (3D, D) and (3D,), with blocks of rows in the same order.
        reset: whether the reset gate acts after the product with W_hn or before it.

    Returns:
        (B, D), the new hidden state.
    """
    size = h.shape[-1]
    x_r, x_z, x_n = x_gates.chunk(3, dim=-1)  # (B, D) each
    if reset == "after":
        h_r, h_z, h_n = F.linear(h, weight_hh, bias_hh).chunk(3, dim=-1)  # (B, D) each
        r = torch.sigmoid(x_r + h_r)
        z = torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + r * h_n)
    else:
        h_r, h_z = F.linear(h, weight_hh[: 2 * size], bias_hh[: 2 * size]).chunk(2, dim=-1)  # (B, D) each
        r = torch.sigmoid(x_r + h_r)
        z = torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + F.linear(r * h, weight_hh[2 * size :], bias_hh[2 * size :]))
    return (1 - z) * n + z * h


class GRUCell(nn.Module):
    """One step with its parameters; with ``reset="after"`` the same as ``nn.GRUCell``.

    Raises:
        ValueError: ``reset`` is neither "after" nor "before"; in forward, shapes, dtypes or devices that do
            not fit the parameters.
    """

    def __init__(self, input_size: int, hidden_size: int, reset: Reset = "after") -> None:
        super().__init__()
        _check_reset(reset)
        self.input_size, self.hidden_size, self.reset = input_size, hidden_size, reset
        for name, parameter in gate_parameters(3, input_size, hidden_size).items():
            self.register_parameter(name, parameter)
        draw_uniform(self, hidden_size)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """x (B, F), h (B, D) or None for zeros -> the new hidden state (B, D)."""
        check_cell_input("x", x, self.weight_ih, self.input_size)
        if h is None:
            h = self.weight_hh.new_zeros(x.shape[0], self.hidden_size)
        check_cell_input("h", h, self.weight_hh, self.hidden_size)
        x_gates = F.linear(x, self.weight_ih, self.bias_ih)  # (B, 3D)
        return gru_step(x_gates, h, self.weight_hh, self.bias_hh, self.reset)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, reset={self.reset!r}"


class GRU(Recurrent):
    """Layers of GRU over a batch of clips; with ``reset="after"`` the same as ``nn.GRU``.

    Args:
        input_size, hidden_size: F and D.
        num_layers: each layer reads the outputs of the one below.
        bidirectional: a second GRU reads each clip from its end; the outputs are concatenated.
        batch_first: x and out are (B, T, ...) instead of (T, B, ...). States keep their layout.
        dropout: probability of dropping an output between layers, in training.
        reset: where the reset gate acts, see above.

    Raises:
        ValueError: an argument out of range; in forward, shapes, dtypes, devices or lengths that do not fit.
    """

    GATES = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        batch_first: bool = False,
        dropout: float = 0.0,
        reset: Reset = "after",
    ) -> None:
        _check_reset(reset)
        super().__init__(input_size, hidden_size, num_layers, bidirectional, batch_first, dropout)
        self.reset = reset

    def step(self, x_gates: Tensor, state: State, weight_hh: Tensor, bias_hh: Tensor) -> State:
        return (gru_step(x_gates, state[0], weight_hh, bias_hh, self.reset),)

    def read_both_ways(
        self, x: Tensor, starts: list[State], valid: Tensor | None, layer: int
    ) -> tuple[list[Tensor], list[State]]:
        """Both directions' steps at once, with their gradient by hand (:mod:`lessons.layers.gru_fast`)."""
        if self.reset == "before":  # no shortcut: the product with W_hn waits for the reset gate
            return super().read_both_ways(x, starts, valid, layer)
        each = [self.parameters_of(f"_l{layer}{suffix}") for suffix in self.suffixes]
        turn = (lambda a: a, lambda a: a.flip(0))  # the backward direction reads the last frame first
        weight_hh, bias_hh = stack([one[1] for one in each]), stack([one[3] for one in each])
        h0 = stack([start[0] for start in starts])  # (directions, B, D)

        def input_gates() -> Tensor:
            both = [turn[d](F.linear(x, w_ih, b_ih)) for d, (w_ih, _, b_ih, _) in enumerate(each)]
            return stack(both, dim=1).to(h0.dtype)  # (T, directions, B, 3D)

        if valid is not None:
            valid = stack([turn[d](valid) for d in range(len(each))], dim=1)  # (T, directions, B, 1)
        # The rounding of 75 steps in half precision would add up.
        exact = torch.autocast(x.device.type, enabled=False) if under_autocast(x) else nullcontext()
        x_gates = input_gates()
        with exact:
            out = gru_scan(x_gates, h0, weight_hh, bias_hh, valid, gru_step, input_gates)
        ends = [(end,) for end in out[-1]]
        if valid is not None:
            out = out.masked_fill(~valid, 0)  # (T, directions, B, D)
        return [turn[d](one) for d, one in enumerate(out.unbind(1))], ends

    def forward(
        self, x: Tensor, h0: Tensor | None = None, lengths: Tensor | Sequence[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read the clips.

        Args:
            x: (T, B, F), or (B, T, F) with ``batch_first``.
            h0: (layers * directions, B, D), the initial hidden states; None for zeros.
            lengths: (B,), the valid frames of each clip. The backward direction then starts at a clip's last
                valid frame and the outputs past it are zero: padding changes nothing, as with
                ``pack_padded_sequence``. None: all T frames are valid.

        Returns:
            out: (T, B, directions * D), or (B, T, directions * D): the last layer's hidden states.
            h_n: (layers * directions, B, D), the hidden state of each layer and direction after its last
                valid step.
        """
        out, (h_n,) = self.run(x, None if h0 is None else (h0,), lengths)
        return out, h_n

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, reset={self.reset!r}"


def _check_reset(reset: str) -> None:
    if reset not in ("after", "before"):
        raise ValueError(f"reset={reset!r} must be 'after' or 'before'")
