"""Mixed precision: the number format of the convolutions."""

from __future__ import annotations

import functools
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.lipreading.lipnet import LipNet


def logits_of(model: LipNet, x: Tensor, lengths: Tensor, precision: torch.dtype) -> Tensor:
    """The model's logits (T, B, V) for clips x (B, C, T, H, W), its convolutions in ``precision``.

    Channels are neighbors in memory: the layout that fast convolutions want.
    """
    x = x.contiguous(memory_format=torch.channels_last_3d)
    with convolutions_in(precision, x.device):
        return model(x, lengths)


def convolutions_in(precision: torch.dtype, device: torch.device) -> torch.autocast:
    """A context in which convolutions compute in ``precision``."""
    return torch.autocast(device.type, precision, enabled=precision != torch.float32)


def best_precision(device: torch.device) -> torch.dtype:
    """The number format the convolutions run fastest in on ``device`` without losing the training.

    bfloat16 where the hardware multiplies it, float16 on older GPUs, float32 elsewhere.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    # Torch tells this only through names it keeps to itself, and not in every version.
    units = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    has_units = device.type == "cpu" and any(getattr(torch.cpu, unit, bool)() for unit in units)
    return torch.bfloat16 if has_units and _uses_bfloat16_units() else torch.float32


@functools.cache
def _uses_bfloat16_units() -> bool:
    """Does a convolution gain by bfloat16? Not where the library is told to leave the units alone.

    With units it takes half of float32's time or less, without them three times and more, so a look at the
    clock tells them apart.
    """
    took: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    for _ in range(4):  # in turn, and the best of each counts: another program may disturb one look
        for dtype, times in took.items():
            x, weight = torch.ones(1, 32, 4, 16, 32, dtype=dtype), torch.ones(64, 32, 3, 5, 5, dtype=dtype)
            began = time.perf_counter()
            F.conv3d(x, weight)  # (1, 64, 2, 12, 28)
            times.append(time.perf_counter() - began)
    return min(took[torch.bfloat16]) < min(took[torch.float32])
