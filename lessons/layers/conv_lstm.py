"""ConvLSTM: an LSTM whose hidden state and cell state are feature maps.

The matrix products of an LSTM become convolutions; the rest is as in :mod:`lessons.layers.lstm`. With * for
convolution and [x, h] for the concatenation of x and h along the channels:

    i, f, g, o = W * [x, h] + b         pre-activations of the three gates and the candidate, one convolution
    c' = σ(f) ⊙ c + σ(i) ⊙ tanh(g)
    h' = σ(o) ⊙ tanh(c')

With a 1x1 kernel every position of the map is an LSTM of its own. With 3x3 each position also reads the
hidden state of its neighbors, so the receptive field of the state grows by one position per frame.

Source: Shi et al., "Convolutional LSTM network", arXiv 1506.04214, eq. 3, where the gates also read the cell
state ("peepholes", here an option). Shapes throughout: T frames, B clips, C input channels, D channels of
the state, H rows, W columns.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from lessons.layers.bottleneck import Conv, depthwise
from lessons.layers.checks import check_channels, check_clip, check_map, check_state

Activation = Literal["tanh", "relu", "relu6"]
State = Tensor | tuple[Tensor, Tensor]  # h of a ConvGRU; (h, c) of an LSTM


class ConvLSTMCell(nn.Module):
    """One step of a ConvLSTM, called like ``nn.LSTMCell``; with a 1x1 kernel it equals it at every position.

    Args:
        input_channels, hidden_channels: C and D.
        kernel_size: kh = kw; odd, so that the padded map keeps its size.
        peepholes, forget_bias: see :class:`LSTMUpdate`. A forget_bias of 0 is ``nn.LSTMCell``'s.
        bias: whether the convolution has the b above.
        separable: a depthwise and a 1x1 convolution instead of the full convolution. This is the "LSTM" of
            Table 3 of arXiv 1711.06368 (its eq. 3 counts one depthwise per gate, its table one for all four).

    Raises:
        ValueError: channels below 1, or an even kernel; in forward, shapes, dtypes or devices that do not
            fit the parameters, or a state whose batch or map size differs from x's.
    """

    def __init__(
        self,
        input_channels: int,
        hidden_channels: int,
        kernel_size: int = 3,
        *,
        peepholes: bool = False,
        forget_bias: float = 0.0,
        bias: bool = True,
        separable: bool = False,
    ) -> None:
        super().__init__()
        check_channels(input_channels, hidden_channels)
        self.input_channels, self.hidden_channels = input_channels, hidden_channels
        both = input_channels + hidden_channels
        self.depthwise = depthwise(both, kernel_size).build() if separable else nn.Identity()
        self.gates = Conv(both, 4 * hidden_channels, 1 if separable else kernel_size).build(bias)
        self.update = LSTMUpdate(hidden_channels, "tanh", forget_bias, peepholes)

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """x (B, C, H, W), state = (h, c), each (B, D, H, W), or None for zeros -> the new (h, c)."""
        h, c = self.start(x, state)
        xh = torch.cat([x, h], dim=1)  # (B, C + D, H, W)
        gates = self.gates(self.depthwise(xh))  # (B, 4D, H, W)
        return self.update(gates, c)

    def start(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """Return the state for the frame x (B, C, H, W): the one given, after checks, or zeros."""
        return start_lstm(x, state, self.gates.weight, self.input_channels, self.hidden_channels)


class LSTMUpdate(nn.Module):
    """The last two equations of an LSTM: from the pre-activations to the new state, element by element.

    c' = σ(f + forget_bias + w_f ⊙ c) ⊙ c + σ(i + w_i ⊙ c) ⊙ φ(g)
    h' = σ(o + w_o ⊙ c') ⊙ φ(c')

    Args:
        hidden_channels: D.
        activation: φ.
        forget_bias: added to f. With 0, and f near 0, half of c is kept per frame; with 1, σ(1) = 73 %.
        peepholes: learn w_i, w_f and w_o, through which i and f read c and o reads c' (arXiv 1506.04214,
            eq. 3). They are initialized to zero, so they have no effect at first. One weight per channel,
            (D, 1, 1); Shi et al. have one per channel and position, (D, H, W), which ties the weights to one
            map size.

    Raises:
        ValueError: an unknown ``activation``.
    """

    def __init__(
        self,
        hidden_channels: int,
        activation: Activation = "tanh",
        forget_bias: float = 0.0,
        peepholes: bool = False,
    ) -> None:
        super().__init__()
        if activation not in ("tanh", "relu", "relu6"):
            raise ValueError(f"activation={activation!r} must be 'tanh', 'relu' or 'relu6'")
        self.activation, self.forget_bias = activation, float(forget_bias)
        for gate in "ifo":
            w = nn.Parameter(torch.zeros(hidden_channels, 1, 1)) if peepholes else None
            self.register_parameter(f"peephole_{gate}", w)

    def forward(self, gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """gates (B, 4D, H, W), pre-activations in the order i, f, g, o; c (B, D, H, W) -> the new (h, c)."""
        i, f, g, o = gates.chunk(4, dim=1)  # (B, D, H, W) each
        if self.peephole_i is not None:
            i = i + self.peephole_i * c
            f = f + self.peephole_f * c
        c = torch.sigmoid(f + self.forget_bias) * c + torch.sigmoid(i) * phi(g, self.activation)
        if self.peephole_o is not None:
            o = o + self.peephole_o * c  # the new c
        h = torch.sigmoid(o) * phi(c, self.activation)
        return h, c

    def extra_repr(self) -> str:
        peepholes = self.peephole_i is not None
        return f"activation={self.activation!r}, forget_bias={self.forget_bias}, peepholes={peepholes}"


class OverFrames(nn.Module):
    """Runs a cell over the frames of a clip.

    The state is an argument and a result and is never stored: to read a stream in pieces, pass each call the
    state that the previous call returned; to start a new video, pass None.
    """

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Run the cell over a clip.

        Args:
            x: (T, B, C, H, W).
            state: the cell's state, (h, c) or h alone, each (B, D, H, W); None for zeros.

        Returns:
            out: (T, B, D, H, W), h after every frame.
            state: after the last frame.

        Raises:
            ValueError: x has no frames, or as the cell.
        """
        check_clip(x)
        state = self.cell.start(x[0], state)
        outs = []
        for x_t in x.unbind(0):  # (B, C, H, W)
            state = self.cell(x_t, state)
            outs.append(state if isinstance(state, Tensor) else state[0])
        return torch.stack(outs), state  # (T, B, D, H, W)


class ConvLSTM(OverFrames):
    """A :class:`ConvLSTMCell` run over the frames of a clip; takes the cell's arguments."""

    def __init__(self, *arguments: int, **options: float | bool) -> None:
        super().__init__(ConvLSTMCell(*arguments, **options))


def phi(x: Tensor, activation: str) -> Tensor:
    """Apply the activation φ of this name."""
    if activation == "tanh":
        return torch.tanh(x)
    if activation == "relu":
        return torch.relu(x)
    return nn.functional.relu6(x)


def start_lstm(
    x: Tensor, state: tuple[Tensor, Tensor] | None, weight: Tensor, channels: int, hidden: int
) -> tuple[Tensor, Tensor]:
    """Return the state (h, c) for the frame x (B, C, H, W): the one given, after checks, or zeros."""
    check_map("x", x, weight, channels)
    if state is None:
        zeros = weight.new_zeros(x.shape[0], hidden, *x.shape[2:])  # (B, D, H, W)
        return zeros, zeros
    if isinstance(state, Tensor) or len(state) != 2:
        found = "Tensor" if isinstance(state, Tensor) else f"{type(state).__name__} of {len(state)}"
        raise ValueError(f"state is a {found}, expected the pair (h, c) or None")
    for name, tensor in zip("hc", state, strict=True):
        check_state(name, tensor, weight, hidden, x)
    return state
