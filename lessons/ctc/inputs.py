"""What CTC accepts: labels and lengths that fit the frames and the classes, and true log probabilities.

torch checks little of this on the CPU: a label outside the classes makes it read its neighbor's numbers.
Each function raises ValueError that names the sample and the position.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lessons.lengths import check_lengths, valid_frames


def as_integers(labels: Tensor | Iterable[int]) -> list[int]:
    """Return labels or a path as a plain list."""
    return labels.tolist() if isinstance(labels, Tensor) else [int(label) for label in labels]


def check_single(log_probs: Tensor, target: Tensor | Iterable[int], blank: int) -> list[int]:
    """Check the arguments of the one-label functions; return the target as a list."""
    check_log_probs_type(log_probs, "TV", blank)
    check_log_probs(log_probs[:, None], torch.tensor([len(log_probs)], device=log_probs.device))
    labels = as_integers(target)
    one = torch.tensor([labels], dtype=torch.long)  # (1, L)
    check_labels(one, torch.tensor([len(labels)]), log_probs.shape[-1], blank)
    return labels


def check_shape(log_probs: Tensor, axes: str, blank: int) -> None:
    """Check that log_probs is a tensor of these axes, "TV" or "TBV", and that blank is one of V classes."""
    if not isinstance(log_probs, Tensor):
        raise TypeError(f"log_probs is a {type(log_probs).__name__}: expected a tensor; use torch.as_tensor")
    if log_probs.dim() != len(axes):
        expected = f"{len(axes)} dimensions ({', '.join(axes)})"
        raise ValueError(f"log_probs has shape {tuple(log_probs.shape)}: expected {expected}")
    if not 0 <= blank < log_probs.shape[-1]:
        raise ValueError(f"blank is {blank}: expected one of the {log_probs.shape[-1]} classes, from 0")


def check_log_probs_type(log_probs: Tensor, axes: str, blank: int) -> None:
    """Check shape and blank, that log_probs is not empty, and that its type and its device will do."""
    check_shape(log_probs, axes, blank)
    if log_probs.numel() == 0:
        raise ValueError(f"log_probs of shape {tuple(log_probs.shape)} is empty: expected at least one frame")
    if log_probs.device.type == "mps":
        raise ValueError("log_probs is on mps, which has no float64, and CTC needs it: use log_probs.cpu()")
    if log_probs.dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"log_probs is {log_probs.dtype}: expected float32 or float64; convert before log_softmax"
        )


def check_log_probs(log_probs: Tensor, input_lengths: Tensor, tolerance: float = 0.01) -> None:
    """Check that the classes of each valid frame of log_probs (T, B, V) sum to 1.

    Raw logits would give a loss below 0 without a word. The tolerance lets half-precision rounding pass.

    Raises:
        ValueError: naming the first sample and frame that hold NaN or another sum.
    """
    totals = log_probs.detach().exp().sum(dim=2)  # (T, B)
    valid = valid_frames(input_lengths, len(totals))  # (T, B)
    wrong = valid & ~((totals - 1).abs() <= tolerance)  # written so that NaN is wrong
    if wrong.any():
        frame, sample = wrong.nonzero()[0].tolist()
        row = log_probs[frame, sample]
        found = "NaN" if row.isnan().any() else f"probabilities that sum to {row.exp().sum().item():.4g}"
        raise ValueError(
            f"log_probs of sample {sample}, frame {frame} holds {found}: expected log probabilities that sum "
            "to 1; apply log_softmax over the classes (the last dimension)"
        )


def pad_targets(
    targets: Tensor, target_lengths: Tensor | Sequence[int], batch: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return targets as (B, Lmax) and their lengths (B,), from either layout, on ``device``."""
    targets = torch.as_tensor(targets)
    if (
        targets.is_floating_point()
        or targets.dim() not in (1, 2)
        or (targets.dim() == 2 and len(targets) != batch)
    ):
        raise ValueError(
            f"targets is {targets.dtype} of shape {tuple(targets.shape)}: expected integers of shape "
            f"({batch}, L), or one after the other in one dimension"
        )
    targets = targets.to(device, torch.long)
    target_lengths = check_lengths("target_lengths", target_lengths, batch, 0, targets.shape[-1]).to(device)
    if targets.dim() == 2:
        return targets[:, : int(target_lengths.max())], target_lengths  # (B, Lmax)
    total = int(target_lengths.sum())
    if total != len(targets):
        raise ValueError(
            f"targets holds {len(targets)} labels, target_lengths sum to {total}: expected the same"
        )
    pieces = targets.split(target_lengths.tolist())
    return torch.nn.utils.rnn.pad_sequence(list(pieces), batch_first=True), target_lengths  # (B, Lmax)


def check_labels(targets: Tensor, target_lengths: Tensor, classes: int, blank: int) -> Tensor:
    """Return targets (B, Lmax) with its valid labels checked and blanks for whatever stood in the padding."""
    padding = ~valid_frames(target_lengths, targets.shape[1]).T  # (B, Lmax)
    wrong = ~padding & ((targets < 0) | (targets >= classes) | (targets == blank))
    if wrong.any():
        sample, position = wrong.nonzero()[0].tolist()
        label = int(targets[sample, position])
        what = "is the blank, which no target may hold" if label == blank else "is outside the classes"
        raise ValueError(
            f"label {label} of sample {sample}, position {position} {what}: "
            f"expected 0 to {classes - 1} other than the blank {blank}"
        )
    return targets.masked_fill(padding, blank)
