"""A set of mouth clips in memory, and the way from there to a batch a network can read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ClipSet:
    """Grey mouth clips with their sentences and word timings, held in memory as bytes.

    900 clips of 75 frames at 32x64 take 138 MB: a float copy would take four times as much, so pixels
    become floats only one batch at a time.

    Attributes:
        frames: (N, T, H, W) uint8, grey; a clip shorter than T is padded with zeros.
        lengths: (N,) int64, the valid frames of each clip.
        ids: N names.
        transcripts: N sentences, words separated by one space.
        segments: for each clip its words in time, ``(start, end, word)`` in frames, end exclusive;
            silence is the word ``sil``, a short pause ``sp``.
    """

    frames: np.ndarray
    lengths: np.ndarray
    ids: tuple[str, ...]
    transcripts: tuple[str, ...]
    segments: tuple[tuple[tuple[float, float, str], ...], ...]

    def __len__(self) -> int:
        return len(self.ids)

    def subset(self, indices: Sequence[int]) -> ClipSet:
        """The clips at ``indices``, in that order."""
        indices = list(indices)
        return ClipSet(
            self.frames[indices],
            self.lengths[indices],
            *(tuple(field[i] for i in indices) for field in (self.ids, self.transcripts, self.segments)),
        )


def normalise(clips: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Give every clip mean 0 and standard deviation 1 over its own valid pixels; padding becomes 0.

    One mean and one deviation a clip, not a frame: light and camera go, movement and its size stay. The
    scale also decides whether GRU gates can move at all: raw 0-255 pixels saturate nearly all of them.

    Args:
        clips: (B, T, H, W) grey values, bytes or floats of any scale.
        lengths: (B,) valid frames; None means all.

    Returns:
        (B, T, H, W) float32.

    Raises:
        ValueError: wrong rank, or a clip with NaN or infinite pixels (it names which).
    """
    if clips.dim() != 4:
        raise ValueError(f"clips has shape {tuple(clips.shape)}, expected (B, T, H, W)")
    clips = clips.float()
    n_clips, n_frames = clips.shape[:2]
    broken = ~torch.isfinite(clips).flatten(1).all(1)                               # (B,)
    if broken.any():
        raise ValueError(f"clip {int(broken.nonzero()[0])} of the batch holds NaN or infinite pixels")
    if lengths is None:
        lengths = torch.full((n_clips,), n_frames, device=clips.device)
    valid = torch.arange(n_frames, device=clips.device) < lengths.to(clips.device)[:, None]  # (B, T)
    valid = valid[:, :, None, None].float()                                         # (B, T, 1, 1)
    n_pixels = valid.sum((1, 2, 3), keepdim=True) * clips[0, 0].numel()             # (B, 1, 1, 1)
    mean = (clips * valid).sum((1, 2, 3), keepdim=True) / n_pixels                  # (B, 1, 1, 1)
    clips = (clips - mean) * valid                                                  # (B, T, H, W)
    deviation = (clips.square().sum((1, 2, 3), keepdim=True) / n_pixels).sqrt()     # (B, 1, 1, 1)
    return clips / (deviation + 1e-5)  # a clip of one flat grey becomes zeros, not NaN


@dataclass(frozen=True)
class Batch:
    """What one training step needs.

    Attributes:
        x: (B, C, T, H, W) float, normalised.
        lengths: (B,) valid frames.
        targets: (sum of target_lengths,) classes of all sentences, one after the other.
        target_lengths: (B,) characters of each sentence.
        frame_labels: (B, T) the class of each frame by the word timings (``lessons.data.timings``).
    """

    x: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    frame_labels: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on ``device``."""
        return Batch(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))
