"""How well LipNet reads a set of clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lessons.ctc.alphabet import ALPHABET
from lessons.ctc.decode import greedy_decode
from lessons.ctc.metrics import cer, wer
from lessons.data.batch import training_batch
from lessons.data.clips import ClipSet
from lessons.lipreading.lipnet import LipNet
from lessons.training.distributed import ALONE, Processes
from lessons.training.losses import ctc


@dataclass(frozen=True)
class Evaluation:
    """What a model made of a set of clips.

    Attributes:
        loss: mean CTC loss per character.
        cer, wer: corpus error rates of the greedy reading, as fractions.
        texts: one sentence per clip.
    """

    loss: float
    cer: float
    wer: float
    texts: tuple[str, ...]


def evaluate(
    model: LipNet, clips: ClipSet, device: torch.device | None = None, processes: Processes = ALONE
) -> Evaluation:
    """Read all clips greedily and compare with what was said; several processes share the reading."""
    indices = processes.share(range(len(clips)))
    log_probs, loss = read_clips(model, clips, device, indices=indices)  # (T, N, V)
    lengths = model.output_lengths(torch.from_numpy(clips.lengths[list(indices)]))
    # Sentences are gathered, not rates: each clip then weighs by its words, as with one process.
    texts = tuple(processes.gather(list(greedy_texts(log_probs, lengths))))
    loss = processes.total(loss * (len(indices) / len(clips)))
    return Evaluation(loss, cer(clips.transcripts, texts), wer(clips.transcripts, texts), texts)


def greedy_texts(log_probs: Tensor, lengths: Tensor) -> tuple[str, ...]:
    """One sentence per clip, from log-probabilities (T, N, V) with (N,) valid frames."""
    return tuple(ALPHABET.decode(labels) for labels in greedy_decode(log_probs, lengths))


@torch.no_grad()
def read_clips(
    model: LipNet,
    clips: ClipSet,
    device: torch.device | None = None,
    batch_size: int = 20,
    indices: Sequence[int] | None = None,
) -> tuple[Tensor, float]:
    """Log-probabilities (T, N, V) of all clips or those at ``indices``; their mean CTC loss per character."""
    device = device or next(model.parameters()).device
    indices = range(len(clips)) if indices is None else indices
    training, log_probs, losses = model.training, [], []
    model.eval()
    for start in range(0, len(indices), batch_size):
        some = indices[start : start + batch_size]
        batch = training_batch(clips, some, None, model.in_channels, device=device)
        logits = model(batch.x, batch.lengths)  # (T, B, V)
        losses.append(ctc(logits, batch, model).item() * len(batch.lengths))
        log_probs.append(logits.float().log_softmax(-1).cpu())
    model.train(training)
    return torch.cat(log_probs, dim=1), sum(losses) / len(indices)
