"""Which pixels a reading depends on: gradient of the characters' log-probabilities (LipNet, section 4.4.1).

The paper uses guided backpropagation. Here the gradient is the plain one: guided backpropagation zeroes what
is negative at every ReLU in the backward pass. So its result is the gradient of nothing, and hardly changes
when the upper layers' weights are replaced by random ones (Adebayo et al. 2018, arXiv 1810.03292).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lessons.lipreading.lipnet import LipNet


def saliency(
    model: LipNet,
    clip: Tensor,
    path: Tensor | Sequence[int],
    blank: int = 0,
    samples: int = 1,
    noise: float = 0.1,
    seed: int = 0,
) -> Tensor:
    """How much each pixel moves the characters of an alignment: | d sum_t log p(path_t) / d pixel |.

    The sum runs over the frames where the path holds a character. To ask about one character alone, set the
    path to the blank everywhere else. The model must be in ``eval`` mode; its weights receive no gradient.

    Args:
        model: a trained LipNet.
        clip: (C, T, H, W), normalized, of the model's dtype.
        path: (T * upsample,) the class of each frame, as ``lessons.ctc.forced_align(...).path``.
        blank: the class that does not count.
        samples: above 1, the mean gradient of that many copies under noise (SmoothGrad, Smilkov et al. 2017,
            arXiv 1706.03825): what depends on single gray levels averages out.
        noise: standard deviation of that noise, in units of the clip's own; not used when samples is 1.
        seed: of the noise.

    Returns:
        (T, H, W), at least 0; the largest over the channels.

    Raises:
        ValueError: a model in training mode, a clip or a path of another shape, classes the model does not
            have, a path of blanks only, or no sample.
    """
    if model.training:
        raise ValueError("model is in training mode, where dropout changes every gradient: call model.eval()")
    if clip.dim() != 4:
        raise ValueError(f"clip has shape {tuple(clip.shape)}, expected one clip (C, T, H, W)")
    if samples < 1:
        raise ValueError(f"samples is {samples}, expected 1 or more")
    classes = torch.as_tensor(path, device=clip.device)  # (T',)
    expected = int(model.output_lengths(torch.tensor(clip.shape[1])))
    if classes.shape != (expected,):
        raise ValueError(f"path has shape {tuple(classes.shape)}, expected ({expected},), a class a frame")
    (frames,) = torch.nonzero(classes != blank, as_tuple=True)  # (frames with a character,)
    if len(frames) == 0:
        raise ValueError("path holds the blank alone: there is no character to explain")
    n_classes = model.config["num_classes"]
    if not 0 <= int(classes.min()) <= int(classes.max()) < n_classes:
        raise ValueError(f"path holds {int(classes.max())}, expected classes from 0 to {n_classes - 1}")

    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros_like(clip)  # (C, T, H, W)
    # cuDNN's GRU keeps what its gradient needs in training mode only; torch's own kernels always do.
    with torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):
        for _ in range(samples):
            x = clip.detach().clone()
            if samples > 1:
                x += noise * torch.randn(clip.shape, generator=generator, dtype=clip.dtype).to(clip.device)
            x.requires_grad_()
            log_probs = model(x[None])[:, 0].log_softmax(-1)  # (T', V)
            (gradient,) = torch.autograd.grad(log_probs[frames, classes[frames]].sum(), x)
            total += gradient
    return (total / samples).abs().amax(0)  # (T, H, W)
