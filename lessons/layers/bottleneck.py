"""The bottleneck: reduce the channels by 1x1, convolve by 3x3, expand by 1x1. And what each of them costs.

A 3x3 convolution from 256 to 256 channels has 589,824 weights. Through a bottleneck of 64 channels,

    1x1: 256 -> 64        16,384
    3x3:  64 -> 64        36,864
    1x1:  64 -> 256       16,384

the same receptive field costs 69,632: a 1x1 mixes channels and sees no neighboring pixels, the 3x3 sees
neighbors and has few channels to mix (He et al., arXiv 1512.03385, figure 5, right).

A depthwise-separable convolution separates the two completely: a depthwise 3x3 sees neighbors and mixes no
channels, and a 1x1, then called pointwise, does all of the mixing (MobileNet, arXiv 1704.04861, §3.1).

:class:`Conv` is the specification of a convolution: it counts before anything is built. :class:`Bottleneck`
and :class:`DepthwiseSeparable` are the modules.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from lessons.layers.checks import check_count

RESNET50 = ((3, 64, 56), (4, 128, 28), (6, 256, 14), (3, 512, 7))
"""Four stages: number of blocks, channels of their 3x3, side of their maps (He et al., Table 1)."""


@dataclass(frozen=True)
class Conv:
    """The specification of a convolution without bias, with stride 1 and padding that keeps the map's size.

    Attributes:
        in_channels, out_channels: C and O.
        kernel_size: kh = kw; odd, or the padding could not be the same on both sides.
        groups: input and output channels are split into this many groups, and each group of outputs sees its
            own group of inputs only. As many groups as channels is a depthwise convolution.

    Raises:
        ValueError: not an integer of 1 or more, an even kernel, or groups that do not divide the channels.
    """

    in_channels: int
    out_channels: int
    kernel_size: int = 1
    groups: int = 1

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            check_count(name, value)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={self.kernel_size} is even: expected an odd one, 1, 3, 5, ...")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise ValueError(
                f"groups={self.groups} must divide in_channels={self.in_channels} "
                f"and out_channels={self.out_channels}"
            )

    @property
    def weights(self) -> int:
        """O filters, each of C / groups channels by kh by kw."""
        return self.out_channels * (self.in_channels // self.groups) * self.kernel_size**2

    def multiply_adds(self, height: int, width: int) -> int:
        """Each weight is used once at each position of the output map, ``height`` x ``width``.

        Raises:
            ValueError: not an integer of 1 or more.
        """
        check_count("height", height)
        check_count("width", width)
        return self.weights * height * width

    def build(self, bias: bool = False) -> nn.Conv2d:
        """The module: (B, C, H, W) -> (B, O, H, W)."""
        return nn.Conv2d(
            self.in_channels,
            self.out_channels,
            self.kernel_size,
            padding=self.kernel_size // 2,
            groups=self.groups,
            bias=bias,
        )


def weights(*convs: Conv) -> int:
    """Weights of several convolutions together."""
    return sum(conv.weights for conv in convs)


def multiply_adds(*convs: Conv, height: int, width: int) -> int:
    """Multiply-adds of several convolutions whose output maps are all ``height`` x ``width``."""
    return sum(conv.multiply_adds(height, width) for conv in convs)


def depthwise(channels: int, kernel_size: int = 3) -> Conv:
    """A depthwise convolution: one filter per channel, which sees no other channel."""
    return Conv(channels, channels, kernel_size, groups=channels)


def bottleneck(in_channels: int, narrow: int, out_channels: int) -> tuple[Conv, ...]:
    """Reduce to ``narrow`` channels by 1x1, convolve by 3x3, expand by 1x1."""
    return Conv(in_channels, narrow), Conv(narrow, narrow, 3), Conv(narrow, out_channels)


def separable(in_channels: int, out_channels: int, kernel_size: int = 3) -> tuple[Conv, ...]:
    """A depthwise convolution, then a pointwise one.

    It has C k² + O C weights, a fraction 1/O + 1/k² of the O C k² of the ordinary convolution. With k = 3
    that is always more than a ninth (arXiv 1704.04861, §3.1, where O is N and k is D_K).
    """
    return depthwise(in_channels, kernel_size), Conv(in_channels, out_channels)


def resnet50() -> tuple[tuple[Conv, ...], ...]:
    """The convolutions of ResNet-50: the 7x7 at the input, then four stages.

    Each of the 3 + 4 + 6 + 3 blocks is a bottleneck with four times as many output channels as its 3x3 has.
    The first block of a stage changes the number of channels, so its shortcut has a 1x1 convolution, too
    (He et al., arXiv 1512.03385, Table 1, option B). Batch normalization and the final linear layer are not
    convolutions and are left out.
    """
    stages, channels = [(Conv(3, 64, kernel_size=7),)], 64
    for blocks, narrow, _ in RESNET50:
        stage, wide = [], 4 * narrow
        for block in range(blocks):
            stage += bottleneck(channels, narrow, wide)
            if block == 0:
                stage.append(Conv(channels, wide))  # the shortcut
            channels = wide
        stages.append(tuple(stage))
    return tuple(stages)


class Block(nn.Sequential):
    """A sequence of layers whose constructor takes numbers, not layers."""

    def __getitem__(self, i: int | slice) -> nn.Module:
        """One layer, or a plain ``nn.Sequential`` of some of them: a part of a block is not a block."""
        if isinstance(i, slice):
            return nn.Sequential(OrderedDict(list(self.named_children())[i]))
        return super().__getitem__(i)


class Bottleneck(Block):
    """:func:`bottleneck` as a module, with a ReLU between its convolutions.

    ResNet's block also normalizes after each convolution and adds its input to its output.

    Args:
        in_channels, narrow, out_channels: C, the bottleneck width m, and O.

    Shape:
        (B, C, H, W) -> (B, O, H, W)

    Raises:
        ValueError: as :class:`Conv`.
    """

    def __init__(self, in_channels: int, narrow: int, out_channels: int) -> None:
        reduce, conv, expand = bottleneck(in_channels, narrow, out_channels)
        layers = OrderedDict(
            reduce=reduce.build(),  # (B, narrow, H, W)
            relu1=nn.ReLU(),
            conv=conv.build(),  # (B, narrow, H, W)
            relu2=nn.ReLU(),
            expand=expand.build(),  # (B, O, H, W)
        )
        super().__init__(layers)


class DepthwiseSeparable(Block):
    """:func:`separable` as a module: two convolutions with nothing between them.

    MobileNet has batch normalization and a ReLU after each of the two. Here there are none, so that the pair
    is one linear map, as the convolution that it replaces is.

    Args:
        in_channels, out_channels, kernel_size: C, O and kh = kw.

    Shape:
        (B, C, H, W) -> (B, O, H, W)

    Raises:
        ValueError: as :class:`Conv`.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3) -> None:
        around, across = separable(in_channels, out_channels, kernel_size)
        layers = OrderedDict(
            depthwise=around.build(),  # (B, C, H, W)
            pointwise=across.build(),  # (B, O, H, W)
        )
        super().__init__(layers)
