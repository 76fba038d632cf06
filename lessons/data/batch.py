"""From clips of bytes to what one step of training needs: normalised floats, targets, lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lessons.data.augmentation import augment, jitter_frames
from lessons.data.clips import ClipSet
from lessons.data.timings import frame_labels
from lessons.text import Alphabet

ALPHABET = Alphabet()
CPU = torch.device("cpu")


def normalise(clips: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Give every clip mean 0 and standard deviation 1 over its own valid pixels; padding becomes 0.

    One mean and one deviation a clip, not a frame: light and camera go, movement and its size stay. The
    scale also decides whether the published LipNet's gates can move at all: raw 0-255 pixels saturate nearly
    all of them (notebook 01).

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
    broken = ~torch.isfinite(clips).flatten(1).all(1)  # (B,)
    if broken.any():
        raise ValueError(f"clip {int(broken.nonzero()[0])} of the batch holds NaN or infinite pixels")
    if lengths is None:
        lengths = torch.full((n_clips,), n_frames, device=clips.device)
    valid = torch.arange(n_frames, device=clips.device) < lengths.to(clips.device)[:, None]  # (B, T)
    valid = valid[:, :, None, None].float()  # (B, T, 1, 1)
    n_pixels = valid.sum((1, 2, 3), keepdim=True) * clips[0, 0].numel()  # (B, 1, 1, 1)
    mean = (clips * valid).sum((1, 2, 3), keepdim=True) / n_pixels  # (B, 1, 1, 1)
    clips = (clips - mean) * valid  # (B, T, H, W)
    deviation = (clips.square().sum((1, 2, 3), keepdim=True) / n_pixels).sqrt()  # (B, 1, 1, 1)
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


def training_batch(
    clips: ClipSet,
    indices: Sequence[int],
    rng: np.random.Generator | None,
    channels: int = 1,
    places: Sequence[int] | None = None,
    device: torch.device = CPU,
) -> Batch:
    """Collect the clips at ``indices`` on ``device``, augmented by ``rng`` or as they are when it is None.

    Bytes travel to the device and become floats there: a twelfth of the traffic that three channels of floats
    would be, and the device, not the core that feeds it, moves, mirrors and normalises them.

    A model with three input ``channels`` is shown the grey picture three times. With ``places`` only the
    clips at these places of ``indices`` are collected, but chance is drawn for all of them: so several
    processes that share a batch change each clip just as one process would.
    """
    n_clips = len(indices)
    places = range(n_clips) if places is None else places
    lengths = [int(clips.lengths[i]) for i in indices]
    shown = [np.arange(n) if rng is None else jitter_frames(n, rng) for n in lengths]
    indices = [indices[place] for place in places]
    frames, labels = [], []
    for i, chosen in zip(indices, (shown[place] for place in places), strict=True):
        n_frames = len(chosen)
        padding = (0, clips.frames.shape[1] - n_frames)
        frames.append(np.pad(clips.frames[i, chosen], (padding, (0, 0), (0, 0))))
        labels.append(np.pad(frame_labels(clips.segments[i], n_frames, ALPHABET)[chosen], padding))
    x = torch.from_numpy(np.stack(frames)).to(device).float()  # (B, T, H, W)
    if rng is not None:
        x = augment(x, rng, places, n_clips)
    lengths = torch.from_numpy(clips.lengths[indices]).to(device)  # (B,)
    x = normalise(x, lengths)[:, None].expand(-1, channels, -1, -1, -1)  # (B, C, T, H, W)
    targets = [ALPHABET.encode(clips.transcripts[i]) for i in indices]
    return Batch(
        x,
        lengths,
        torch.cat(targets).to(device),
        torch.tensor([len(target) for target in targets], device=device),
        torch.from_numpy(np.stack(labels)).to(device),
    )
