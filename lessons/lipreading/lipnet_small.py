"""The LipNet that trains on a CPU: strides for pools, batch normalization, and narrow features.

Three changes to :class:`lessons.lipreading.lipnet.LipNet`, each for speed: the convolutions stride where
LipNet pools (the last map is an eighth of the frame high and wide, LipNet's a sixteenth), each convolution
is normalized over the batch, and a linear layer narrows the features before the GRUs, where LipNet has 77 %
of its weights.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

from lessons.layers import stcnn
from lessons.lipreading.lipnet import Layers, LipNet

KERNELS = ((3, 5, 5), (3, 3, 3), (3, 3, 3))  # (time, height, width)


class SmallLipNet(LipNet):
    """LipNet for gray frames of 32 x 64 pixels: 925,068 weights.

    Args:
        projection: F, the width of the features after narrowing. All others as in
            :class:`lessons.lipreading.lipnet.LipNet`.
    """

    def __init__(
        self,
        in_channels: int = 1,
        frame_size: tuple[int, int] = (32, 64),
        channels: tuple[int, int, int] = (16, 32, 64),
        hidden_size: int = 128,
        num_classes: int = 28,
        dropout: float = 0.3,
        head: Literal["linear", "mlp"] = "linear",
        upsample: int = 1,
        projection: int = 160,
        layers: Layers = "torch",
    ) -> None:
        self.width = projection
        super().__init__(
            in_channels, frame_size, channels, hidden_size, num_classes, dropout, head, upsample, layers
        )
        self.config |= {"compact": True, "projection": projection}

    def block(self, i: int, in_channels: int, out_channels: int, dropout: float, layers: str) -> stcnn.STCNN:
        """Convolution block i = 0, 1, 2: each halves height and width by its stride."""
        return stcnn.STCNN(
            in_channels,
            out_channels,
            KERNELS[i],
            stride=(1, 2, 2),
            padding=tuple(k // 2 for k in KERNELS[i]),
            pool=False,
            norm=True,
            dropout=dropout / 3,  # a channel is half of what a narrow layer knows, so fewer are dropped
            layers=layers,
        )

    def narrow(self, features: int) -> tuple[nn.Module, int]:
        """A linear layer to ``projection`` values per frame, normalized."""
        layers = nn.Linear(features, self.width), nn.LayerNorm(self.width), nn.ReLU()
        return nn.Sequential(*layers), self.width
