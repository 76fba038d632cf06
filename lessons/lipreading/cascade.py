"""A cascade of two LipNets: one reads a familiar face, the other everybody whom the first is not sure of.

A network that was trained on one person reads that person best, and is unsure of others. How unsure is the
entropy of its output, a baseline for finding inputs unlike the training data (Hendrycks and Gimpel, "A
baseline for detecting misclassified and out-of-distribution examples", arXiv 1610.02136, which takes the
largest probability instead).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lessons.lengths import check_lengths, valid_frames
from lessons.lipreading.lipnet import LipNet

MAX_ENTROPY = 0.2  # nats


class Cascade(nn.Module):
    """Per clip, the logits of ``familiar`` if its entropy is low enough, else those of ``general``.

    It is used like a :class:`lessons.lipreading.lipnet.LipNet`. Each clip of a batch decides for itself, and
    so does each window of a long video and each sentence that is read again.

    Args:
        familiar: reads one person.
        general: reads anybody.
        max_entropy: in nats, per frame with a letter, see :func:`letter_entropy`. The clip is passed on to
            ``general`` above it, and when ``familiar`` sees no letter at all.

    Raises:
        ValueError: models that take different clips or give different classes, or an entropy that is not
            positive and finite.
    """

    def __init__(self, familiar: LipNet, general: LipNet, max_entropy: float = MAX_ENTROPY) -> None:
        super().__init__()
        for name in ("in_channels", "frame_size", "num_classes", "upsample"):
            one, other = familiar.config[name], general.config[name]
            if one != other:
                raise ValueError(f"{name}: familiar has {one}, general {other}; expected the same in both")
        number = isinstance(max_entropy, (int, float)) and not isinstance(max_entropy, bool)
        if not number or not 0 < max_entropy < math.inf:
            raise ValueError(f"max_entropy={max_entropy!r}: expected a number of nats above 0")
        self.familiar, self.general, self.max_entropy = familiar, general, max_entropy
        self.in_channels, self.frame_size, self.upsample = (
            familiar.in_channels,
            familiar.frame_size,
            familiar.upsample,
        )
        self.config = {
            "familiar": familiar.config,
            "general": general.config,
            "max_entropy": max_entropy,
            "num_classes": familiar.config["num_classes"],
        }

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Frames of logits for clips of ``lengths`` frames."""
        return self.familiar.output_lengths(lengths)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the logits (T * upsample, B, V) of a batch of clips (B, C, T, H, W).

        ``general`` computes only the clips that are passed on to it.
        """
        return self._pass_on(self.familiar(x, lengths), lengths, lambda some, n: self.general(x[some], n))

    def features(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return what both see, side by side: (B, C, T, H, W) -> (T, B, F of familiar + F of general)."""
        return torch.cat((self.familiar.features(x, lengths), self.general.features(x, lengths)), dim=-1)

    def classify(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the logits (T * upsample, B, V) of features as :meth:`features` gives them."""
        width = self.familiar.gru1.input_size  # F of familiar
        familiar, general = features[..., :width], features[..., width:]  # (T, B, F) each
        return self._pass_on(
            self.familiar.classify(familiar, lengths),
            lengths,
            lambda some, n: self.general.classify(general[:, some], n),
        )

    def _pass_on(
        self, logits: Tensor, lengths: Tensor | None, general: Callable[[Tensor, Tensor | None], Tensor]
    ) -> Tensor:
        """Replace the logits (T * upsample, B, V) of the clips that ``familiar`` is not sure of."""
        if lengths is not None:
            lengths = torch.as_tensor(lengths)
        entropy = letter_entropy(logits, None if lengths is None else self.output_lengths(lengths))  # (B,)
        (some,) = torch.nonzero(~(entropy <= self.max_entropy), as_tuple=True)  # (N,), NaN included
        if len(some) == 0:
            return logits
        passed = general(some, None if lengths is None else lengths[some.to(lengths.device)])
        return logits.index_copy(1, some, passed.to(logits.dtype))  # (T * upsample, B, V)


def letter_entropy(logits: Tensor, lengths: Tensor | None = None, blank: int = 0) -> Tensor:
    """Return the mean entropy in nats over the frames whose best class is not the blank: (T, B, V) -> (B,).

    The other frames are left out because most of them are silence, which is easy, and how much of it stands
    around a sentence says nothing of how well it is read. Infinite where no frame has a letter.

    Args:
        logits: (T, B, V).
        lengths: (B,) valid frames of each clip; all T when None.
    """
    probs = logits.detach().float().softmax(-1)  # (T, B, V)
    entropy = torch.special.entr(probs).sum(-1)  # (T, B), entr(p) = -p log p
    letters = probs.argmax(-1) != blank  # (T, B)
    if lengths is not None:
        lengths = check_lengths("lengths", lengths, logits.shape[1], 0, len(logits))
        letters &= valid_frames(lengths.to(logits.device), len(logits))
    total = torch.where(letters, entropy, 0.0).sum(0)  # (B,)
    n_frames = letters.sum(0)  # (B,)
    return torch.where(n_frames > 0, total / n_frames.clamp_min(1), torch.inf)
