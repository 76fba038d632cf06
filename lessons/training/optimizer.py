"""The optimizer of LipNet, and the running mean of the weights, which is what is kept."""

from __future__ import annotations

import torch
from torch import nn

from lessons.training.settings import Settings


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices and filters, not on biases and norms.

    Fused: all weights are moved by one call instead of a dozen for each.
    """
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the running mean a little toward the weights; counts and batch statistics are copied."""
    for mean, new in zip(average.parameters(), model.parameters(), strict=True):
        mean.lerp_(new, 1 - decay)
    for mean, new in zip(average.buffers(), model.buffers(), strict=True):
        mean.copy_(new)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Train on with ``rate``, in all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate
