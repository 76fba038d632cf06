"""ConvGRU: a GRU whose hidden state is a map (Ballas et al., arXiv 1511.06432)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lessons.layers.bottleneck import Conv
from lessons.layers.checks import check_channels, check_map, check_state
from lessons.layers.conv_lstm import OverFrames


class ConvGRUCell(nn.Module):
    """One step of a ConvGRU: the equations of :mod:`lessons.layers.gru`, with the reset gate applied before
    the product.

        r, z = σ(W * [x, h] + b)
        n    = tanh(W_n * [x, r ⊙ h] + b_n)
        h'   = (1 - z) ⊙ n + z ⊙ h

    Three convolutions' worth of output channels instead of four, and one state instead of two. (Ballas et
    al. exchange z and 1 - z, which gives the same network.)

    Args:
        input_channels, hidden_channels, kernel_size, bias: as :class:`ConvLSTMCell`.

    Raises:
        ValueError: as :class:`ConvLSTMCell`.
    """

    def __init__(
        self, input_channels: int, hidden_channels: int, kernel_size: int = 3, *, bias: bool = True
    ) -> None:
        super().__init__()
        check_channels(input_channels, hidden_channels)
        self.input_channels, self.hidden_channels = input_channels, hidden_channels
        both = input_channels + hidden_channels
        self.gates = Conv(both, 2 * hidden_channels, kernel_size).build(bias)
        self.candidate = Conv(both, hidden_channels, kernel_size).build(bias)

    def forward(self, x: Tensor, h: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), h (B, D, H, W) or None for zeros -> the new hidden state (B, D, H, W)."""
        h = self.start(x, h)
        gates = self.gates(torch.cat([x, h], dim=1))  # (B, 2D, H, W)
        r, z = torch.sigmoid(gates).chunk(2, dim=1)  # (B, D, H, W) each
        n = torch.tanh(self.candidate(torch.cat([x, r * h], dim=1)))  # (B, D, H, W)
        return (1 - z) * n + z * h

    def start(self, x: Tensor, h: Tensor | None) -> Tensor:
        """Return the hidden state for the frame x (B, C, H, W): the one given, after checks, or zeros."""
        weight = self.gates.weight
        check_map("x", x, weight, self.input_channels)
        if h is None:
            return weight.new_zeros(x.shape[0], self.hidden_channels, *x.shape[2:])  # (B, D, H, W)
        check_state("h", h, weight, self.hidden_channels, x)
        return h


class ConvGRU(OverFrames):
    """A :class:`ConvGRUCell` run over the frames of a clip; takes the cell's arguments."""

    def __init__(self, *arguments: int, **options: int | bool) -> None:
        super().__init__(ConvGRUCell(*arguments, **options))
