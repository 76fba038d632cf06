"""The spatiotemporal CNN (STCNN) of LipNet: its block, with convolution and max-pool as modules.

Shapes throughout: B clips, C channels, T frames, H rows, W columns; O filters.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from lessons.layers.conv3d import Size3, check_at_least, check_rank, output_size, pad, triple
from lessons.layers.conv3d_fast import conv3d


class STCNN(nn.Module):
    """One block of LipNet's front: convolution, ReLU, spatial max-pool, channel dropout (Table 3, §A.1).

    The pool halves height and width and keeps every frame, so that the output has one step per frame. Dropout
    takes whole channels, because neighboring pixels of a channel are correlated: the others would give away
    a single one that was dropped. (Channel dropout and max-pool commute; after the pool it is cheaper.)

    Args:
        in_channels, out_channels, kernel_size, stride, padding: of the convolution.
        pool: max-pool by (1, 2, 2) after the ReLU.
        norm: batch normalization between convolution and ReLU. LipNet has none.
        dropout: the probability of dropping a channel.
        layers: ``"lessons"`` computes convolution and pool with this file, ``"torch"`` with torch's own,
            which is faster. Both have the same state_dict and the same output.

    Raises:
        ValueError: ``layers`` is neither of the two.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size3,
        stride: Size3 = 1,
        padding: Size3 = 0,
        *,
        pool: bool = True,
        norm: bool = False,
        dropout: float = 0.5,
        layers: Literal["lessons", "torch"] = "torch",
    ) -> None:
        super().__init__()
        if layers not in ("lessons", "torch"):
            raise ValueError(f"layers={layers!r} must be 'lessons' or 'torch'")
        conv_layer = Conv3d if layers == "lessons" else nn.Conv3d
        pool_layer = MaxPool3d if layers == "lessons" else nn.MaxPool3d
        # Batch normalization subtracts the mean and adds its own bias, so the convolution's would do nothing.
        self.conv = conv_layer(in_channels, out_channels, kernel_size, stride, padding, bias=not norm)
        self.norm = nn.BatchNorm3d(out_channels) if norm else nn.Identity()
        self.relu = nn.ReLU()  # not in place: a hook on conv must see what conv gave
        self.pool = pool_layer((1, 2, 2)) if pool else nn.Identity()
        self.dropout = nn.Dropout3d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, O, T', H', W'), or (B, O, T', H' // 2, W' // 2) with the pool."""
        x = self.relu(self.norm(self.conv(x)))  # (B, O, T', H', W')
        return self.dropout(self.pool(x))  # (B, O, T', H' // 2, W' // 2)


class Conv3d(nn.Module):
    """:func:`conv3d` with its weights: parameters, shapes and initialization are those of ``nn.Conv3d``.

    A state_dict goes both ways between the two; after the same ``torch.manual_seed`` both have equal weights.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size3,
        stride: Size3 = 1,
        padding: Size3 = 0,
        dilation: Size3 = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_at_least(1, in_channels=(in_channels,), out_channels=(out_channels,), groups=(groups,))
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = triple(kernel_size, "kernel_size"), triple(stride, "stride")
        self.padding, self.dilation = triple(padding), triple(dilation)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias uniformly from ±1/sqrt(n), n the number of inputs that one output sees."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, O, T', H', W'), see :func:`conv3d`."""
        return conv3d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"groups={self.groups}, bias={self.bias is not None}"
        )


def max_pool3d(x: Tensor, kernel_size: Size3, stride: Size3 | None = None, padding: Size3 = 0) -> Tensor:
    """The largest value of each window; the same as ``F.max_pool3d``.

    The maximum of a box is the maximum along one edge, then the next, then the last: three passes over
    lines instead of one over boxes. Where values tie, the gradient goes to the first of them in (time,
    height, width) order, as in torch; reducing the width first keeps that order.

    Args:
        x: (B, C, T, H, W), floating point.
        kernel_size, padding: one number, or one for each of (time, height, width).
        stride: the same; None means ``kernel_size``, so that windows do not overlap.

    Returns:
        (B, C, T', H', W') with T' = (T + 2 padding - kernel) // stride + 1; H', W' alike.

    Raises:
        ValueError: wrong rank, a padding of more than half the kernel (some window would hold nothing but
            padding), or a kernel larger than the padded clip.
    """
    kernel = triple(kernel_size)
    strides = kernel if stride is None else triple(stride)
    check_rank("x", x)
    check_at_least(1, kernel_size=kernel, stride=strides)
    check_at_least(0, padding=triple(padding))
    for k, p in zip(kernel, triple(padding), strict=True):
        if 2 * p > k:
            raise ValueError(
                f"padding={padding} is more than half of kernel_size={kernel_size}: use at most half"
            )
    output_size(x, kernel, strides, padding, 1)
    x = pad(x, padding, value=-math.inf)  # (B, C, T+2p, H+2p, W+2p)
    for axis in (4, 3, 2):  # W, then H, then T
        k, s = kernel[axis - 2], strides[axis - 2]
        if (k, s) != (1, 1):
            x = x.unfold(axis, k, s).max(-1).values
    return x  # (B, C, T', H', W')


class MaxPool3d(nn.Module):
    """:func:`max_pool3d` as a module, as ``nn.MaxPool3d``."""

    def __init__(self, kernel_size: Size3, stride: Size3 | None = None, padding: Size3 = 0) -> None:
        super().__init__()
        self.kernel_size, self.padding = triple(kernel_size), triple(padding)
        self.stride = self.kernel_size if stride is None else triple(stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C, T', H', W'), see :func:`max_pool3d`."""
        return max_pool3d(x, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
