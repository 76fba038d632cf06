"""The LipNet that reads people it never saw: it looks at a mouth through nine measures and a narrow neck.

``clip -> features (T,B,F) -> measures (T,B,9) -> adapter (T,B,F) + neck(features) -> 2 x Bi-GRU -> logits``

What the lips do (how wide, how open) is much the same for everybody, and thousands of clips of many people
are known by it alone: :meth:`StrangerLipNet.classify_mixed` learns from those. The neck lets through a little
more (teeth, tongue), and too little to know who speaks.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lessons.data.motions import MEASURES
from lessons.lengths import valid_frames
from lessons.lipreading.lipnet_small import SmallLipNet

N_MEASURES = len(MEASURES)  # 9
FRONT = ("stcnn", "projection")  # what the names of the weights before the bottleneck begin with


class StrangerLipNet(SmallLipNet):
    """SmallLipNet with a bottleneck between its features and its GRUs.

    Args:
        neck: values per frame that pass beside the measures.
        neck_noise: standard deviation of the noise on them in training, where theirs is 1.
        config: as in :class:`lessons.lipreading.lipnet_small.SmallLipNet`.

    Raises:
        ValueError: a neck of no values, or noise below 0.
    """

    def __init__(self, *, neck: int = 12, neck_noise: float = 0.2, **config: Any) -> None:
        if neck < 1:
            raise ValueError(f"neck={neck}: expected 1 value or more")
        if not neck_noise >= 0:
            raise ValueError(f"neck_noise={neck_noise}: expected a standard deviation of 0 or more")
        super().__init__(**config)
        self.config |= {"neck": neck, "neck_noise": neck_noise}
        self.measures = nn.Sequential(nn.Linear(self.width, 64), nn.ReLU(), nn.Linear(64, N_MEASURES))
        self.adapter = Adapter(self.width)
        self.neck = Neck(self.width, neck, neck_noise)

    def classify(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the logits (T * upsample, B, V) of features (T, B, F); ``lengths`` as in ``forward``."""
        lengths = None if lengths is None else torch.as_tensor(lengths)
        measures = standardize(self.measures(features), lengths)  # (T, B, 9)
        return super().classify(self.adapter(measures, lengths) + self.neck(features, lengths), lengths)

    def take_front(self, other: SmallLipNet) -> None:
        """Start from the convolutions of a model that reads somebody; its GRUs stay behind.

        Raises:
            ValueError: a model of other sizes.
        """
        own, theirs = self.state_dict(), other.state_dict()
        front = {name: value for name, value in own.items() if name.startswith(FRONT)}
        wrong = [name for name, value in front.items() if theirs.get(name, value[None]).shape != value.shape]
        if wrong:
            raise ValueError(f"other: {wrong[0]} has another shape or is missing; expected the same front")
        for name, value in front.items():
            value.copy_(theirs[name])

    def classify_motions(self, motions: Tensor) -> Tensor:
        """Return the logits (T * upsample, M, V) of standardized measures (T, M, 9) without a picture."""
        return super().classify(self.adapter(motions))

    def classify_mixed(self, features: Tensor, measures: Tensor, motions: Tensor, keep: Tensor) -> Tensor:
        """Return the logits (T * upsample, B + M, V) of B clips and of M motions without a picture.

        Args:
            features: (T, B, F) of the clips.
            measures: (T, B, 9) what ``self.measures`` sees in them, at any scale.
            motions: (T, M, 9) standardized measures.
            keep: (B,) 1 where a clip's neck is open, 0 where its measures alone are read.
        """
        through = keep[:, None] * self.neck(features)  # (T, B, F)
        nothing = through.new_zeros(*motions.shape[:2], self.width)  # (T, M, F)
        through = torch.cat((through, nothing), dim=1)  # (T, B + M, F)
        measures = torch.cat((standardize(measures), motions), dim=1)  # (T, B + M, 9)
        return super().classify(self.adapter(measures) + through)


class Adapter(nn.Module):
    """From the measures around a frame to what the GRUs read: (T, B, 9) -> (T, B, F)."""

    def __init__(self, width: int, hidden: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(N_MEASURES, hidden, 5, padding=2)
        self.conv2 = nn.Conv1d(hidden, width, 3, padding=1)

    def forward(self, measures: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Measures past a clip's end must be 0, as :func:`standardize` leaves them."""
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
        """Features past a clip's end have no influence."""
        x = standardize(self.squeeze(features), lengths)  # (T, B, values)
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
    """Give each value mean 0 and standard deviation 1 over its own clip: (T, B, C) -> (T, B, C).

    What hardly changes in a clip stays near 0. Past a clip's end stand zeros.
    """
    if lengths is None:
        x = x - x.mean(0)  # (T, B, C)
        variance = x.square().mean(0)  # (B, C)
    else:
        n_frames = lengths.to(x)[:, None]  # (B, 1)
        x = mask(x - mask(x, lengths).sum(0) / n_frames, lengths)  # (T, B, C)
        variance = x.square().sum(0) / n_frames  # (B, C)
    # The slope of a root is infinite at 0, where a value is the same in all frames.
    return x / (variance.clamp_min(1e-12).sqrt() + 1e-3)
