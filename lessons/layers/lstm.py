"""The long short-term memory (LSTM): a cell state c with three gates.

With the input x, the previous hidden state h and cell state c, σ the logistic function and ⊙ the
element-wise product (Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000):

    i  = σ(W_ii x + b_ii + W_hi h + b_hi)      input:     how much of the candidate to write
    f  = σ(W_if x + b_if + W_hf h + b_hf)      forget:    how much of the cell state to keep
    g  = tanh(W_ig x + b_ig + W_hg h + b_hg)   candidate
    o  = σ(W_io x + b_io + W_ho h + b_ho)      output:    how much of the cell state to expose
    c' = f ⊙ c + i ⊙ g
    h' = o ⊙ tanh(c')
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lessons.layers.checks import check_cell_input
from lessons.layers.recurrent import Recurrent, State, draw_uniform, gate_parameters


def lstm_step(
    x_gates: Tensor, h: Tensor, c: Tensor, weight_hh: Tensor, bias_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the hidden and the cell state after one step of the equations above.

    Args:
        x_gates: (B, 4D), W_i x + b_i, the input's part of the pre-activations, in blocks i, f, g, o.
        h, c: (B, D), the previous hidden state and cell state.
        weight_hh, bias_hh: (4D, D) and (4D,), with blocks of rows in the same order.

    Returns:
        (B, D) twice, the new hidden state and the new cell state.
    """
    i, f, g, o = (x_gates + F.linear(h, weight_hh, bias_hh)).chunk(4, dim=-1)  # (B, D) each
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return h, c


class LSTMCell(nn.Module):
    """One step with its parameters; the same as ``nn.LSTMCell``.

    Raises:
        ValueError: in forward, shapes, dtypes or devices that do not fit the parameters.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        for name, parameter in gate_parameters(4, input_size, hidden_size).items():
            self.register_parameter(name, parameter)
        draw_uniform(self, hidden_size)

    def forward(self, x: Tensor, hc: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """x (B, F), hc = (h, c), each (B, D), or None for zeros -> the new (h, c)."""
        check_cell_input("x", x, self.weight_ih, self.input_size)
        if hc is None:
            zeros = self.weight_hh.new_zeros(x.shape[0], self.hidden_size)
            hc = (zeros, zeros)
        for name, tensor in zip("hc", hc, strict=True):
            check_cell_input(name, tensor, self.weight_hh, self.hidden_size)
        x_gates = F.linear(x, self.weight_ih, self.bias_ih)  # (B, 4D)
        return lstm_step(x_gates, *hc, self.weight_hh, self.bias_hh)

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}"


class LSTM(Recurrent):
    """Layers of LSTM over a batch of clips; the same as ``nn.LSTM``.

    Args:
        input_size, hidden_size: F and D.
        num_layers: each layer reads the outputs of the one below.
        bidirectional: a second LSTM reads each clip from its end; the outputs are concatenated.
        batch_first: x and out are (B, T, ...) instead of (T, B, ...). States keep their layout.
        dropout: probability of dropping an output between layers, in training.

    Raises:
        ValueError: an argument out of range; in forward, shapes, dtypes, devices or lengths that do not fit.
    """

    GATES = 4

    def step(self, x_gates: Tensor, state: State, weight_hh: Tensor, bias_hh: Tensor) -> State:
        return lstm_step(x_gates, *state, weight_hh, bias_hh)

    def zero_state(self, n_clips: int) -> State:
        return super().zero_state(n_clips) * 2  # h and c

    def forward(
        self,
        x: Tensor,
        hc0: tuple[Tensor, Tensor] | None = None,
        lengths: Tensor | Sequence[int] | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Read the clips.

        Args:
            x: (T, B, F), or (B, T, F) with ``batch_first``.
            hc0: (h0, c0), each (layers * directions, B, D), to start with; None for zeros.
            lengths: (B,), the valid frames of each clip. The backward direction then starts at a clip's last
                valid frame and the outputs past it are zero: padding changes nothing, as with
                ``pack_padded_sequence``. None: all T frames are valid.

        Returns:
            out: (T, B, directions * D), or (B, T, directions * D): the last layer's h at every frame.
            (h_n, c_n): (layers * directions, B, D) each, after the last valid step of each layer and
                direction.
        """
        if hc0 is not None and (isinstance(hc0, Tensor) or len(hc0) != 2):
            raise ValueError(f"hc0 is a {type(hc0).__name__}, expected the pair (h0, c0)")
        out, (h_n, c_n) = self.run(x, hc0, lengths)
        return out, (h_n, c_n)
