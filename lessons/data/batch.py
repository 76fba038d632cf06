"""Mini-batches for training: clips of bytes become normalized floats, with targets and lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lessons.ctc.alphabet import ALPHABET
from lessons.data.augmentation import augment, jitter_frames
from lessons.data.clips import ClipSet
from lessons.data.grid.timings import frame_labels
from lessons.lengths import check_lengths, valid_frames

CPU = torch.device("cpu")


def normalize(clips: Tensor, lengths: Tensor | None = None, *, check: bool = True) -> Tensor:
    """Standardize every clip: mean 0, standard deviation 1 over its own valid pixels; padding becomes 0.

    One mean and one standard deviation per clip, not per frame: this removes differences of light and
    camera, and keeps motion. It also fixes the scale of the input (notebook 01).

    Args:
        clips: (B, T, H, W) gray values, bytes or floats of any scale.
        lengths: (B,) valid frames; None means all.
        check: raise an error for NaN. Clips made of bytes have none, and this check would make the CPU wait
            for a GPU at every step.

    Returns:
        (B, T, H, W) float32.

    Raises:
        ValueError: wrong rank, no clips, lengths out of range, or a clip with NaN or infinite pixels.
    """
    if clips.dim() != 4 or 0 in clips.shape:
        raise ValueError(f"clips has shape {tuple(clips.shape)}, expected (B, T, H, W), each at least 1")
    clips = clips.float()
    n_clips, n_frames = clips.shape[:2]
    if check and not torch.isfinite(clips).all():
        broken = ~torch.isfinite(clips).flatten(1).all(1)  # (B,)
        raise ValueError(f"clip {int(broken.nonzero()[0])} of the batch holds NaN or infinite pixels")
    lengths = torch.full((n_clips,), n_frames) if lengths is None else lengths
    lengths = check_lengths("lengths", lengths, n_clips, 1, n_frames) if check else lengths
    valid = valid_frames(lengths.to(clips.device), n_frames).T[:, :, None, None].float()  # (B, T, 1, 1)
    n_pixels = valid.sum((1, 2, 3), keepdim=True) * clips[0, 0].numel()  # (B, 1, 1, 1)
    mean = (clips * valid).sum((1, 2, 3), keepdim=True) / n_pixels  # (B, 1, 1, 1)
    clips = (clips - mean) * valid  # (B, T, H, W)
    std = (clips.square().sum((1, 2, 3), keepdim=True) / n_pixels).sqrt()  # (B, 1, 1, 1)
    return clips / (std + 1e-5)  # a clip of one flat gray becomes zeros, not NaN


@dataclass(frozen=True)
class Batch:
    """A mini-batch for one training step.

    Lengths stay on the CPU: they determine shapes and loops, and reading one from a GPU would make the
    program wait for all work that is queued there.

    Attributes:
        x: (B, C, T, H, W) float, normalized, on the device.
        lengths: (B,) valid frames, on the CPU.
        targets: (sum of target_lengths,) classes of all sentences, one after the other, on the device.
        target_lengths: (B,) characters of each sentence, on the CPU.
        frame_labels: (B, T) the class of each frame by the word timings (``lessons.data.grid.timings``), on
            the device.
    """

    x: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    frame_labels: Tensor


@dataclass(frozen=True)
class Collected:
    """The clips of a mini-batch as bytes on the CPU, before they are sent to the device.

    Attributes:
        frames: (B, T, H, W) uint8.
        lengths, targets, target_lengths, frame_labels: as in :class:`Batch`, all on the CPU.
        rng: the generator of the augmentation on the device; None for no augmentation.
        places, n_clips: these clips are those at ``places`` of a batch of ``n_clips``.
    """

    frames: Tensor
    lengths: Tensor
    targets: Tensor
    target_lengths: Tensor
    frame_labels: Tensor
    rng: np.random.Generator | None
    places: Sequence[int]
    n_clips: int

    def to(self, device: torch.device, channels: int) -> Batch:
        """Send the bytes to ``device``, and augment and normalize them there.

        Gray bytes are a twelfth of the size of three channels of floats, and the device does the arithmetic.
        A model with three input ``channels`` gets the gray image three times.
        """
        x = send(self.frames, device).float()  # (B, T, H, W)
        if self.rng is not None:
            x = augment(x, self.rng, self.places, self.n_clips)
        x = normalize(x, self.lengths, check=False)[:, None].expand(
            -1, channels, -1, -1, -1
        )  # (B, C, T, H, W)
        targets, frame_labels = (send(labels, device) for labels in (self.targets, self.frame_labels))
        return Batch(x, self.lengths, targets, self.target_lengths, frame_labels)


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to ``device``; to a GPU from page-locked memory, so that the program does not wait for it."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def encode_labels(
    transcript: str, segments: Sequence[tuple[float, float, str]], n_frames: int, shown: np.ndarray
) -> tuple[Tensor, np.ndarray]:
    """Return the classes of a sentence (L,), and the class of each shown frame by the word timings (T',).

    Args:
        transcript: what was said.
        segments: its words in time, as in :class:`lessons.data.clips.ClipSet`.
        n_frames: T, of the clip.
        shown: (T',) which of its frames are shown.
    """
    return ALPHABET.encode(transcript), frame_labels(segments, n_frames, ALPHABET)[shown]


def collect(
    clips: ClipSet,
    indices: Sequence[int],
    rng: np.random.Generator | None,
    places: Sequence[int] | None = None,
) -> Collected:
    """Return the clips at ``indices``, with frames dropped and repeated by ``rng`` unless it is None.

    With ``places`` only the clips at these positions of ``indices`` are collected, but random numbers are
    drawn for all of them. So several processes that share a batch augment each clip as one process would.
    """
    n_clips = len(indices)
    if n_clips == 0 or not 0 <= min(indices) <= max(indices) < len(clips):
        raise ValueError(
            f"indices={list(indices)[:9]}: expected at least one, each from 0 to {len(clips) - 1}"
        )
    places = range(n_clips) if places is None else places
    lengths = [int(clips.lengths[i]) for i in indices]
    shown = [np.arange(n) if rng is None else jitter_frames(n, rng) for n in lengths]  # (T,) each
    indices = [indices[place] for place in places]
    frames = np.zeros((len(indices), *clips.frames.shape[1:]), np.uint8)  # (B, T, H, W)
    labels, targets = np.zeros(frames.shape[:2], np.int64), []  # (B, T)
    for n, (i, chosen) in enumerate(zip(indices, (shown[place] for place in places), strict=True)):
        frames[n, : len(chosen)] = clips.frames[i, chosen]
        target, labels[n, : len(chosen)] = encode_labels(
            clips.transcripts[i], clips.segments[i], len(chosen), chosen
        )
        targets.append(target)  # (L,)
    return Collected(
        torch.from_numpy(frames),
        torch.from_numpy(clips.lengths[indices]),
        torch.cat(targets),
        torch.tensor([len(target) for target in targets]),
        torch.from_numpy(labels),
        rng,
        places,
        n_clips,
    )


def training_batch(
    clips: ClipSet,
    indices: Sequence[int],
    rng: np.random.Generator | None,
    channels: int = 1,
    places: Sequence[int] | None = None,
    device: torch.device = CPU,
) -> Batch:
    """Return the clips at ``indices`` on ``device``, augmented by ``rng`` unless it is None.

    :func:`collect`, then :meth:`Collected.to`. A training loop calls the two separately, to collect the next
    batch while the device computes.
    """
    return collect(clips, indices, rng, places).to(device, channels)
