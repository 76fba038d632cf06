"""The losses of LipNet: CTC and, early in a run, a cross-entropy with labels from the word timings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.data.batch import Batch
from lessons.lipreading.lipnet import LipNet


def ctc(logits: Tensor, batch: Batch, model: LipNet) -> Tensor:
    """The CTC loss of logits (T, B, V): per character of each clip, averaged over the clips.

    Torch's own: ours is faster from batches of 32 on, and no faster at 16 (``lessons.measure.bench``).
    """
    log_probs = logits.float().log_softmax(-1)  # (T, B, V)
    return F.ctc_loss(log_probs, batch.targets, model.output_lengths(batch.lengths), batch.target_lengths)


def timing_loss(logits: Tensor, batch: Batch, model: LipNet) -> Tensor:
    """The mean cross-entropy between logits (T, B, V) and each valid frame's label from the word timings."""
    labels = batch.frame_labels.repeat_interleave(model.upsample, dim=1)  # (B, T)
    frame = torch.arange(labels.shape[1], device=labels.device)  # (T,)
    beyond = frame >= model.output_lengths(batch.lengths).to(frame)[:, None]  # (B, T)
    labels = labels.masked_fill(beyond, -100)  # -100: ignored by cross_entropy
    return F.cross_entropy(logits.float().permute(1, 2, 0), labels)  # (B, V, T) against (B, T)
