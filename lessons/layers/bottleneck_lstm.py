"""Bottleneck-LSTM: a ConvLSTM cheap enough for a phone (Liu and Zhu, CVPR 2018, arXiv 1711.06368).

A ConvLSTM's one large convolution from [x, h] to four gates becomes four small ones in a row:

    x̃ = depthwise 3x3 (x)                      (B, C, H, W)       mixes neighbors, not channels
    b = φ(1x1 ([x̃, h]))                        (B, D, H, W)       the bottleneck: the gates see only this
    s = depthwise 3x3 (b)                      (B, D, H, W)       mixes neighbors, once for all four gates
    i, f, g, o = 1x1 (s)                       (B, 4D, H, W)
    c' = σ(f + 1) ⊙ c + σ(i) ⊙ φ(g)
    h' = σ(o) ⊙ φ(c')

Here no convolution has a bias; f alone has the constant 1, as in the code that the authors released. In that
code the two 1x1 convolutions do have biases, 5 D of them, because its layers add them by default: from 1024
channels to 256 it has 604,928 weights, and 603,648 without biases. (Its first depthwise convolution reads
[x, h].) This cell has 601,344. φ is the released code's ReLU6, which bounds h.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from lessons.layers.bottleneck import Conv, depthwise
from lessons.layers.checks import check_channels
from lessons.layers.conv_lstm import Activation, LSTMUpdate, OverFrames, phi, start_lstm

Variant = Literal["paper", "equation", "released", "blog"]
VARIANTS = ("paper", "equation", "released", "blog")


def convolutions(input_channels: int, hidden_channels: int, variant: Variant = "paper") -> dict[str, Conv]:
    """The cell's four convolutions, to be counted or built; variants: see :class:`BottleneckLSTMCell`."""
    if variant not in VARIANTS:
        raise ValueError(f"variant={variant!r} must be one of {', '.join(map(repr, VARIANTS))}")
    check_channels(input_channels, hidden_channels)
    both = input_channels + hidden_channels
    copies = 4 if variant == "equation" else 1  # a second depthwise convolution per gate
    return {
        "depthwise": depthwise(both if variant in ("equation", "released") else input_channels),
        "bottleneck": Conv(both, hidden_channels),
        "spatial": depthwise(copies * hidden_channels),
        "gates": Conv(copies * hidden_channels, 4 * hidden_channels, groups=copies),
    }


class BottleneckLSTMCell(nn.Module):
    """One frame of a Bottleneck-LSTM, called as ``nn.LSTMCell`` is.

    Args:
        input_channels, hidden_channels: C and D; the paper's M and N.
        activation: φ. ``"relu6"`` is what the released detector sets, ``"tanh"`` the default of its cell,
            ``"relu"`` what the blog's cell has.
        forget_bias: added to f; see :class:`lessons.layers.conv_lstm.LSTMUpdate`.
        peepholes: see :class:`lessons.layers.conv_lstm.LSTMUpdate`. The paper's cell has none.
        variant: which of the four cells that are called Bottleneck-LSTM.

            - ``"paper"``: the paper's Table 1, the equations above.
            - ``"equation"``: its eq. 4 counts a first depthwise convolution of [x, h], not of x alone, and
              a second one per gate.
            - ``"released"``: the authors' code; the first depthwise reads [x, h], the second is shared.
            - ``"blog"``: Table 1 without the φ after the bottleneck, as in public ports of it. Bottleneck
              and gates are then one linear map of [x, h].

    Raises:
        ValueError: an argument out of range; in forward, shapes, dtypes or devices that do not fit the
            parameters, or a state of another batch size or map size.
    """

    def __init__(
        self,
        input_channels: int,
        hidden_channels: int,
        *,
        activation: Activation = "relu6",
        forget_bias: float = 1.0,
        peepholes: bool = False,
        variant: Variant = "paper",
    ) -> None:
        super().__init__()
        convs = convolutions(input_channels, hidden_channels, variant)
        self.input_channels, self.hidden_channels = input_channels, hidden_channels
        self.activation, self.variant = activation, variant
        self.depthwise = convs["depthwise"].build()
        self.bottleneck = convs["bottleneck"].build()
        self.spatial = convs["spatial"].build()
        self.gates = convs["gates"].build()
        self.update = LSTMUpdate(hidden_channels, activation, forget_bias, peepholes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialize with standard deviation √(gain / fan-in), so that the scale of the signal is kept.

        The fan-in is the number of inputs of one output: 9 for a depthwise 3x3, not 9 times the channels. The
        gain is 2 where φ has set half of the input to 0 (He et al., arXiv 1502.01852), and 1 where one
        convolution reads the output of another.
        """
        for conv, gain in ((self.depthwise, 2), (self.bottleneck, 1), (self.spatial, 2), (self.gates, 1)):
            nn.init.normal_(conv.weight, std=math.sqrt(gain / conv.weight[0].numel()))

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """x (B, C, H, W), state = (h, c), each (B, D, H, W), or None for zeros -> the new (h, c)."""
        h, c = self.start(x, state)
        b = self.squeeze(x, h)  # (B, D, H, W)
        if self.variant == "equation":
            b = b.repeat(1, 4, 1, 1)  # (B, 4D, H, W): one copy per gate
        gates = self.gates(self.spatial(b))  # (B, 4D, H, W)
        return self.update(gates, c)

    def squeeze(self, x: Tensor, h: Tensor) -> Tensor:
        """The bottleneck b (B, D, H, W) of a frame x (B, C, H, W) and the hidden state h (B, D, H, W)."""
        if self.variant == "equation" or self.variant == "released":
            xh = self.depthwise(torch.cat([x, h], dim=1))  # (B, C + D, H, W)
        else:
            xh = torch.cat([self.depthwise(x), h], dim=1)  # (B, C + D, H, W)
        b = self.bottleneck(xh)  # (B, D, H, W)
        return b if self.variant == "blog" else phi(b, self.activation)

    def start(self, x: Tensor, state: tuple[Tensor, Tensor] | None) -> tuple[Tensor, Tensor]:
        """The state before the frame x (B, C, H, W): the one given, after a check, or zeros."""
        return start_lstm(x, state, self.gates.weight, self.input_channels, self.hidden_channels)

    def extra_repr(self) -> str:
        return f"{self.input_channels}, {self.hidden_channels}, variant={self.variant!r}"


class BottleneckLSTM(OverFrames):
    """A :class:`BottleneckLSTMCell`, run over the frames of a clip; takes the cell's arguments."""

    def __init__(self, *arguments: int, **options: float | bool | str) -> None:
        super().__init__(BottleneckLSTMCell(*arguments, **options))


def gates_apart(cell: BottleneckLSTMCell, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """One frame with a separate convolution per gate, as a textbook writes it -> the new (h, c).

    It is there to be read and to test the cell, which computes all four gates at once.

    Raises:
        ValueError: a cell with peepholes, which this does not write out.
    """
    if cell.update.peephole_i is not None:
        raise ValueError("cell has peepholes, expected one without")
    conv = nn.functional.conv2d
    b = cell.squeeze(x, h)  # (B, D, H, W)
    if cell.variant == "equation":  # a depthwise convolution per gate
        s = [conv(b, w, padding=1, groups=len(w)) for w in cell.spatial.weight.chunk(4)]  # (B, D, H, W) each
    else:
        s = 4 * [cell.spatial(b)]
    w_i, w_f, w_g, w_o = cell.gates.weight.chunk(4)  # (D, D, 1, 1) each
    i = torch.sigmoid(conv(s[0], w_i))
    f = torch.sigmoid(conv(s[1], w_f) + cell.update.forget_bias)
    g = phi(conv(s[2], w_g), cell.activation)
    o = torch.sigmoid(conv(s[3], w_o))
    c = f * c + i * g
    h = o * phi(c, cell.activation)
    return h, c
