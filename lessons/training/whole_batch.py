"""Layers that see the whole batch when several processes share it.

Two kinds of layer look at more than one clip: batch normalization, and dropout, whose random numbers are
drawn for all clips together. With several processes these take their place.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from lessons.training.distributed import Part, Processes


class WholeBatchNorm3d(nn.BatchNorm3d):
    """Batch normalization over the clips of all processes. (``nn.SyncBatchNorm`` does it on GPUs alone.)

    (B, C, T, H, W) -> the same shape; in ``eval`` mode it is ``nn.BatchNorm3d``.
    """

    processes: Processes
    part: Part

    def forward(self, x: Tensor) -> Tensor:
        """Normalize by the mean and variance of the whole batch."""
        if not self.training:
            return super().forward(x)
        wide = x.to(self.weight.dtype)  # under autocast x has too few digits to add many of them up
        counts = float(self.part.counts)
        n = self.part.n_clips * x[0, 0].numel()  # numbers in a channel of the whole batch

        def mean(values: Tensor) -> Tensor:
            share = counts * values.sum((0, 2, 3, 4), keepdim=True) / n  # (1, C, 1, 1, 1)
            return self.processes.add(share)

        average = mean(wide)  # (1, C, 1, 1, 1)
        centered = wide - average  # (B, C, T, H, W)
        variance = mean(centered.square())  # (1, C, 1, 1, 1)
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(average.flatten(), self.momentum)
            self.running_var.lerp_(variance.flatten() * n / (n - 1), self.momentum)
        normal = centered * (variance + self.eps).rsqrt()  # (B, C, T, H, W)
        return (normal * self.weight[:, None, None, None] + self.bias[:, None, None, None]).to(x.dtype)


class WholeDropout(nn.Module):
    """Dropout with the random numbers of the whole batch: every process draws for all clips and uses its own.

    So a clip loses the same features whichever process it falls to. The price is to draw ``size`` times as
    many numbers as are needed.

    Args:
        dropout: what draws; ``nn.Dropout3d`` for (B, C, T, H, W), ``nn.Dropout`` for (T, B, F).
    """

    part: Part

    def __init__(self, dropout: nn.Dropout | nn.Dropout3d) -> None:
        super().__init__()
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        """Drop as the single process would."""
        if not self.training:
            return x
        if isinstance(self.dropout, nn.Dropout3d):
            axis, shape = 0, (self.part.n_clips, x.shape[1], 1, 1, 1)  # whole channels
        else:
            axis, shape = 1, (x.shape[0], self.part.n_clips, *x.shape[2:])
        kept = self.dropout(x.new_ones(shape))
        return x * kept.index_select(axis, torch.tensor(list(self.part.places), device=x.device))


def use_whole_batch(model: nn.Module, processes: Processes) -> Callable[[Part], None]:
    """Give ``model`` layers that see the whole batch, with the same parameters; a no-op for one process.

    Returns:
        a function that tells these layers which part of the batch comes next.
    """
    layers: list[WholeBatchNorm3d | WholeDropout] = []
    for module in list(model.modules()) if processes.size > 1 else []:
        for name, layer in list(module.named_children()):
            if isinstance(layer, nn.BatchNorm3d):
                layers.append(_whole_batch_norm(layer, processes))
            elif isinstance(layer, (nn.Dropout, nn.Dropout3d)):
                layers.append(WholeDropout(layer).train(layer.training))
            else:
                continue
            setattr(module, name, layers[-1])

    def next_part(part: Part) -> None:
        for layer in layers:
            layer.part = part

    return next_part


def _whole_batch_norm(layer: nn.BatchNorm3d, processes: Processes) -> WholeBatchNorm3d:
    """The same layer with the same parameters and statistics, over all processes."""
    whole = WholeBatchNorm3d(layer.num_features, layer.eps, layer.momentum)
    whole.weight, whole.bias, whole.processes = layer.weight, layer.bias, processes
    for name, value in layer.named_buffers():
        setattr(whole, name, value)
    return whole.train(layer.training)
