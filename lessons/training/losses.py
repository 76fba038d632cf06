"""What LipNet is trained on: CTC and, early in a run, the word timings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.data.batch import Batch
from lessons.lipreading.lipnet import LipNet


def ctc(logits: Tensor, batch: Batch, model: LipNet) -> Tensor:
    """CTC loss per character, averaged over clips, from logits (T, B, V).

    Torch's own: ours is faster from batches of 32 on, and no faster at 16 (``lessons.measure.bench``).
    """
    log_probs = logits.float().log_softmax(-1)  # (T, B, V)
    return F.ctc_loss(log_probs, batch.targets, model.output_lengths(batch.lengths), batch.target_lengths)


def timing_loss(logits: Tensor, batch: Batch, model: LipNet) -> Tensor:
    """Cross-entropy of each valid frame with its class by the word timings, from logits (T, B, V)."""
    labels = batch.frame_labels.repeat_interleave(model.upsample, dim=1)  # (B, T)
    frame = torch.arange(labels.shape[1], device=labels.device)  # (T,)
    beyond = frame >= model.output_lengths(batch.lengths).to(frame)[:, None]  # (B, T)
    labels = labels.masked_fill(beyond, -100)  # -100: not counted
    return F.cross_entropy(logits.float().permute(1, 2, 0), labels)  # (B, V, T) against (B, T)
