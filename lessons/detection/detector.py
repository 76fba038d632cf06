"""A video detector in three parts: a backbone sees a frame, a memory joins frames, a head points.

    frames (T, B, C, H, W)
      → backbone → features (T, B, 128, H', W')
      → memory → (T, B, D, H', W')
      → head → maps (T, B, classes + 4, H', W')

Backbone and head treat every frame alone; only the memory knows that there was one before. Four memories can
stand in its place: none, a running average, ConvLSTM and Bottleneck-LSTM: the comparison of Liu and Zhu (CVPR
2018, arXiv 1711.06368, Table 3), in small. The layers are depthwise-separable, as in MobileNet.

The detector keeps nothing between calls. State goes in and comes out: a video can be fed frame by frame.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lessons.layers.bottleneck import Block
from lessons.layers.bottleneck_lstm import BottleneckLSTM
from lessons.layers.checks import check_floats
from lessons.layers.conv_lstm import ConvLSTM

Memory = Literal["none", "stack", "averaging", "conv_lstm", "bottleneck_lstm"]
State = Any  # what a memory hands on: None, a tensor, or a pair of tensors


def separable(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 filter on each channel alone, then a 1x1 convolution that mixes channels: MobileNet's block."""
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, 3, stride, padding=1, groups=in_channels, bias=False),
        nn.BatchNorm2d(in_channels),
        nn.ReLU6(),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(),
    )


class Backbone(Block):
    """(B, C, H, W) -> (B, 128, H', W') with H' = H / 8 rounded up, W' alike: one feature map a picture."""

    OUT = 128

    def __init__(self, in_channels: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU6(),
            separable(16, 32, stride=2),
            separable(32, 64),
            separable(64, 128, stride=2),
            separable(128, self.OUT),
        )


class NoMemory(nn.Module):
    """The baseline: a 1x1 convolution on each frame by itself."""

    def __init__(self, in_channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, hidden_channels, 1)

    def forward(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """(T, B, C, H', W') -> (T, B, D, H', W'), and no state.

        Raises:
            ValueError: a state, of which it has no use.
        """
        if state is not None:
            raise ValueError(
                f"state is a {type(state).__name__}, expected None: there is no memory to go on with"
            )
        out = self.conv(x.flatten(0, 1)).relu()  # (T*B, D, H', W')
        return out.unflatten(0, x.shape[:2]), None  # (T, B, D, H', W')


class Stack(nn.Module):
    """A window instead of a state: a 1x1 convolution per frame, then the last three frames side by side."""

    FRAMES = 3

    def __init__(self, in_channels: int, hidden_channels: int) -> None:
        super().__init__()
        stacked = self.FRAMES * hidden_channels
        self.conv = nn.Conv2d(in_channels, hidden_channels, 1)
        self.depthwise = nn.Conv2d(stacked, stacked, 3, padding=1, groups=stacked, bias=False)
        self.mix = nn.Conv2d(stacked, hidden_channels, 1)

    def forward(self, x: Tensor, last: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (T, B, C, H', W'), last (2, B, D, H', W') or None -> (T, B, D, H', W') and the new last two.

        Before a video's first frame stand copies of it.

        Raises:
            ValueError: a state of another shape, type or device than the frames.
        """
        new = self.conv(x.flatten(0, 1)).relu().unflatten(0, x.shape[:2])  # (T, B, D, H', W')
        expected = (self.FRAMES - 1, *new.shape[1:])
        if last is None:
            last = new[:1].expand(expected)
        elif not isinstance(last, Tensor):
            raise ValueError(f"state is a {type(last).__name__}, expected a tensor or None")
        else:
            check_floats("state", last, self.conv.weight)
            if last.shape != expected:
                raise ValueError(
                    f"state has shape {tuple(last.shape)}, expected {expected}: "
                    "another batch or size needs a new state, None"
                )
        frames = torch.cat([last, new])  # (T + 2, B, D, H', W')
        windows = torch.cat([frames[i : i + len(x)] for i in range(self.FRAMES)], 2)  # (T, B, 3D, H', W')
        out = self.mix(self.depthwise(windows.flatten(0, 1))).relu()  # (T*B, D, H', W')
        return out.unflatten(0, x.shape[:2]), frames[len(x) :]


class Averaging(nn.Module):
    """The simplest memory: mean ← 3/4 mean + 1/4 features, not learned; then the 1x1 convolution."""

    SHARE = 0.25  # of the newest frame

    def __init__(self, in_channels: int, hidden_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, hidden_channels, 1)

    def forward(self, x: Tensor, mean: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x (T, B, C, H', W'), mean (B, C, H', W') or None -> (T, B, D, H', W') and the new mean.

        Raises:
            ValueError: a mean of another shape, type or device than the frames.
        """
        if mean is not None:
            if not isinstance(mean, Tensor):
                raise ValueError(f"state is a {type(mean).__name__}, expected a tensor or None")
            check_floats("state", mean, self.conv.weight)
            if mean.shape != x.shape[1:]:
                raise ValueError(
                    f"state has shape {tuple(mean.shape)}, expected {tuple(x.shape[1:])}: "
                    "another batch or size needs a new state, None"
                )
        means = []
        for frame in x:  # (B, C, H', W')
            mean = frame if mean is None else mean + self.SHARE * (frame - mean)
            means.append(mean)
        out = self.conv(torch.cat(means)).relu()  # (T*B, D, H', W')
        return out.unflatten(0, x.shape[:2]), mean  # (T, B, D, H', W')


MEMORIES: dict[str, Callable[[int, int], nn.Module]] = {
    "none": NoMemory,
    "stack": Stack,
    "averaging": Averaging,
    # The forget bias that the Bottleneck-LSTM has by default: the two must differ in nothing but the cell.
    "conv_lstm": partial(ConvLSTM, forget_bias=1.0),
    "bottleneck_lstm": BottleneckLSTM,
}


class Detector(nn.Module):
    """Detect objects in video.

    Args:
        classes: how many kinds of objects.
        memory: what joins the frames, a name in ``MEMORIES``.
        hidden_channels: D, the memory's channels.
        in_channels: C of a frame, 1 for gray.

    Raises:
        ValueError: a memory that is none of these, or a number below 1.
    """

    def __init__(
        self, classes: int, memory: Memory = "none", hidden_channels: int = 64, in_channels: int = 1
    ) -> None:
        super().__init__()
        if memory not in MEMORIES:
            raise ValueError(f"memory={memory!r}, expected one of {', '.join(MEMORIES)}")
        self.config = dict(
            classes=classes, memory=memory, hidden_channels=hidden_channels, in_channels=in_channels
        )
        for name, value in self.config.items():
            if name != "memory" and value < 1:
                raise ValueError(f"{name}={value}, expected 1 or more")
        self.classes, self.in_channels = classes, in_channels
        self.backbone = Backbone(in_channels)
        self.memory = MEMORIES[memory](Backbone.OUT, hidden_channels)
        self.head = nn.Sequential(
            nn.Conv2d(hidden_channels, hidden_channels, 3, padding=1, groups=hidden_channels),
            nn.ReLU6(),
            nn.Conv2d(hidden_channels, classes + 4, 1),
        )
        with torch.no_grad():  # begin by claiming that nearly nothing is there: most cells are empty
            self.head[-1].bias[:classes] = -4.0

    def forward(self, x: Tensor, state: State = None) -> tuple[Tensor, State]:
        """Read the next frames of a video.

        Args:
            x: (T, B, C, H, W), one frame or many, as :func:`to_input` makes it.
            state: what the call for the frames before returned; None at a video's start.

        Returns:
            maps (T, B, classes + 4, H', W'), see ``lessons.detection.center_points``, and the new state.

        Raises:
            ValueError: x of another rank, without frames or pixels, with other channels, of another type or
                device than the weights, or with NaN; a state of another memory, batch or size.
        """
        return self.join(self.see(x), state)

    def see(self, x: Tensor) -> Tensor:
        """The first part of ``forward``: frames (T, B, C, H, W) -> features (T, B, 128, H', W')."""
        check_floats("x", x, self.head[-1].weight)
        if x.dim() != 5 or x.shape[2] != self.in_channels or 0 in (x.shape[0], *x.shape[3:]):
            raise ValueError(
                f"x has shape {tuple(x.shape)}, expected (T, B, C, H, W) with C = {self.in_channels} "
                "and at least one frame and one pixel"
            )
        if not bool(torch.isfinite(x).all()):
            raise ValueError("x holds NaN or infinity: a memory would keep it for the rest of the video")
        frames = x.flatten(0, 1)  # (T*B, C, H, W)
        return self.backbone(frames).unflatten(0, x.shape[:2])  # (T, B, 128, H', W')

    def join(self, features: Tensor, state: State = None) -> tuple[Tensor, State]:
        """The second: features (T, B, 128, H', W') and the state -> maps, and the new state."""
        check_floats("features", features, self.head[-1].weight)
        if features.dim() != 5 or features.shape[2] != Backbone.OUT:
            raise ValueError(
                f"features has shape {tuple(features.shape)}, expected (T, B, {Backbone.OUT}, H', W'), "
                "as see() makes them"
            )
        remembered, state = self.memory(features, state)  # (T, B, D, H', W')
        maps = self.head(remembered.flatten(0, 1))  # (T*B, classes + 4, H', W')
        return maps.unflatten(0, features.shape[:2]), state

    def use_backbone(self, other: Detector) -> None:
        """Take over another detector's backbone and freeze it; training then changes what comes after it.

        Raises:
            ValueError: a backbone for other frames.
        """
        if other.in_channels != self.in_channels:
            raise ValueError(
                f"other reads frames of {other.in_channels} channels, expected {self.in_channels}, as here"
            )
        self.backbone.load_state_dict(other.backbone.state_dict())
        self.backbone.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> Detector:
        """As ``nn.Module.train``, but a frozen backbone keeps its batch statistics."""
        super().train(mode)
        if not any(p.requires_grad for p in self.backbone.parameters()):
            self.backbone.eval()
        return self


def to_input(frames: Tensor) -> Tensor:
    """Bytes of gray clips (B, T, H, W) -> what the detector reads: (T, B, 1, H, W) float, about -2 to 2.

    Raises:
        ValueError: no tensor, wrong rank or type.
    """
    if not isinstance(frames, Tensor):
        raise ValueError(f"frames is a {type(frames).__name__}, expected a tensor: use torch.from_numpy(...)")
    if frames.dim() != 4 or frames.dtype != torch.uint8:
        raise ValueError(f"frames is {frames.dtype} {tuple(frames.shape)}, expected uint8 (B, T, H, W)")
    return (frames.transpose(0, 1)[:, :, None].float() - 128) / 64
