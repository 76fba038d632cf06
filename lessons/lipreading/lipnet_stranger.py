"""The LipNet that reads people it never saw: it looks at a mouth through nine measures and a narrow neck.

``clip -> features (T,B,F) -> nine measures -> adapter -> + neck(features) -> 2 x Bi-GRU -> logits (T,B,V)``

What the lips do (how wide, how open) is much the same for everybody, and thousands of clips of many people
are known by it alone: :meth:`StrangerLipNet.classify_mixed` learns from those. The neck lets through a little
more (teeth, tongue), and too little to know who speaks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lessons.lengths import valid_frames
from lessons.lipreading.lipnet_small import SmallLipNet

N_MEASURES = 9  # lessons.data.grid.landmarks.MEASURES


class StrangerLipNet(SmallLipNet):
    """SmallLipNet with a bottleneck between its features and its GRUs.

    Args:
        neck: values per frame that pass beside the measures.
        neck_noise: standard deviation of the noise on them in training.
        All others as in :class:`lessons.lipreading.lipnet_small.SmallLipNet`.
    """

    def __init__(self, *, neck: int = 12, neck_noise: float = 0.2, **config: Any) -> None:
        super().__init__(**config)
        self.config |= {"neck": neck, "neck_noise": neck_noise}
        self.measures = nn.Sequential(nn.Linear(self.width, 64), nn.ReLU(), nn.Linear(64, N_MEASURES))
        self.adapter = Adapter(self.width)
        self.neck = Neck(self.width, neck, neck_noise)

    def classify(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the logits (T * upsample, B, V) of features (T, B, F)."""
        measures = standardize(self.measures(features), lengths)  # (T, B, 9)
        return super().classify(self.adapter(measures, lengths) + self.neck(features, lengths), lengths)

    def classify_mixed(self, features: Tensor, measures: Tensor, motions: Tensor, keep: Tensor) -> Tensor:
        """Return the logits (T * upsample, P + M, V) of P clips and of M motions without a picture.

        Args:
            features: (T, P, F) of the clips.
            measures: (T, P, 9) what is measured in them, at any scale.
            motions: (T, M, 9) standardized measures.
            keep: (P,) 1 where a clip's neck is open, 0 where its measures alone are read.
        """
        through = keep[:, None] * self.neck(features)  # (T, P, F)
        through = torch.cat(
            (through, through.new_zeros(*motions.shape[:2], self.width)), dim=1
        )  # (T, P+M, F)
        measures = torch.cat((standardize(measures), motions), dim=1)  # (T, P + M, 9)
        return super().classify(self.adapter(measures) + through)


class Adapter(nn.Module):
    """From the measures around a frame to what the GRUs read: (T, B, 9) -> (T, B, F)."""

    def __init__(self, width: int, hidden: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(N_MEASURES, hidden, 5, padding=2)
        self.conv2 = nn.Conv1d(hidden, width, 3, padding=1)

    def forward(self, measures: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = over_time(self.conv1, measures).relu()  # (T, B, 64)
        return over_time(self.conv2, mask(x, lengths)).relu()  # (T, B, F)


class Neck(nn.Module):
    """A few noisy values of each frame: (T, B, F) -> (T, B, F). At first it gives nothing."""

    def __init__(self, width: int, values: int, noise: float) -> None:
        super().__init__()
        self.noise = noise
        self.squeeze = nn.Linear(width, values)
        self.widen = nn.Conv1d(values, width, 3, padding=1)
        nn.init.zeros_(self.widen.weight)
        nn.init.zeros_(self.widen.bias)

    def forward(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = standardize(self.squeeze(features), lengths)  # (T, B, 12)
        if self.training:
            x = x + self.noise * torch.randn_like(x)
        return over_time(self.widen, mask(x, lengths))  # (T, B, F)


def over_time(conv: nn.Conv1d, x: Tensor) -> Tensor:
    """Convolve (T, B, C) over time."""
    return conv(x.permute(1, 2, 0)).permute(2, 0, 1)  # (T, B, C')


def mask(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Zero what lies past the end of each clip: (T, B, C) -> (T, B, C)."""
    if lengths is None:
        return x
    return torch.where(valid_frames(lengths.to(x.device), len(x))[:, :, None], x, 0.0)


def standardize(x: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Give each value mean 0 and standard deviation 1 over its own clip: (T, B, C) -> (T, B, C)."""
    if lengths is None:
        deviation, mean = torch.std_mean(x, dim=0, correction=0)  # (B, C)
        return (x - mean) / (deviation + 1e-3)
    n_frames = lengths.to(x)[:, None]  # (B, 1)
    x = mask(x - mask(x, lengths).sum(0) / n_frames, lengths)  # (T, B, C)
    return x / ((x.square().sum(0) / n_frames).sqrt() + 1e-3)
