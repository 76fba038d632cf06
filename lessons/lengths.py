"""Lengths in a batch of sequences: how many of the T frames belong to each clip."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def check_lengths(name: str, lengths: Tensor | Sequence[int], batch: int, least: int, most: int) -> Tensor:
    """Return ``lengths`` as integers (B,), on the device where they are.

    Raises:
        ValueError: not one integer from ``least`` to ``most`` per sample; ``name`` is what to call them.
    """
    lengths = torch.as_tensor(lengths, dtype=None if len(lengths) else torch.long)
    if lengths.is_floating_point() or lengths.shape != (batch,):
        raise ValueError(
            f"{name} is {lengths.dtype} of shape {tuple(lengths.shape)}: "
            f"expected {batch} integers, one per sample; B is the second axis of (T, B, ...)"
        )
    wrong = (lengths < least) | (lengths > most)
    if wrong.any():
        sample = int(wrong.nonzero()[0])
        raise ValueError(f"{name} of sample {sample} is {int(lengths[sample])}: expected {least} to {most}")
    return lengths.long()


def valid_frames(lengths: Tensor, n_frames: int) -> Tensor:
    """Return for each frame whether it belongs to the clip: (B,) lengths -> (T, B) bool."""
    return torch.arange(n_frames, device=lengths.device)[:, None] < lengths
