"""Strong augmentation: what must not matter to a lip reader, said by changing it at random.

Who speaks (the shape of a face, its tone, its beard), the light, the camera, and where the crop lies. Each
stays the same through a clip, as it does in life: only then does it say nothing about the sentence.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.data.batch import send

# Standard deviations, of logarithms where a size is meant.
TURN = 0.07  # radians
ZOOM, ASPECT = 0.13, 0.07
SHIFT = (0.10, 0.15)  # across and down, of half the width and half the height
BEND = 0.05  # of a smooth warp, in the same units
GAMMA, LIGHT = 0.35, 0.25
# How often
DULL, NOISY, COVERED, MISSING = 0.25, 0.25, 0.3, 0.3


def disguise(clips: Tensor, rng: np.random.Generator) -> Tensor:
    """Change how clips look, each in its own way, and leave what they say.

    Args:
        clips: (B, T, H, W) gray values from 0 to 255.
        rng: generator of the random numbers.

    Returns:
        (B, T, H, W) float32, about 0 to 255: light that is too strong is not cut off at once (:func:`relit`),
        and noise goes beyond both ends.
    """
    return damaged(relit(posed(clips.float(), rng), rng), rng)


def posed(clips: Tensor, rng: np.random.Generator) -> Tensor:
    """Another head before another camera: mirrored, turned, nearer, off the middle, with another shape."""
    n, _, height, width = clips.shape
    mirror = _like(clips, rng.choice([-1.0, 1.0], n))  # (B,), as all that follow
    turn, zoom, aspect = (_like(clips, rng.normal(0, std, n)) for std in (TURN, ZOOM, ASPECT))
    zoom, aspect, ratio = zoom.exp(), aspect.exp(), width / height
    # From a place in the result to the place in the clip that it shows. The grid counts in halves of each
    # side, a turn happens in pixels: hence the ratio.
    across = torch.stack((mirror * turn.cos() / zoom / aspect, -turn.sin() / zoom / ratio), 1)  # (B, 2)
    down = torch.stack((mirror * turn.sin() / zoom * ratio, turn.cos() / zoom * aspect), 1)  # (B, 2)
    shift = _like(clips, rng.normal(0, SHIFT, (n, 2)))  # (B, 2)
    theta = torch.cat((torch.stack((across, down), 1), shift[:, :, None]), 2)  # (B, 2, 3)
    grid = F.affine_grid(theta, [n, 1, height, width], align_corners=False)  # (B, H, W, 2)
    bend = _like(clips, rng.normal(0, BEND, (n, 2, 3, 5)))
    bend = F.interpolate(bend, (height, width), mode="bicubic", align_corners=True)  # (B, 2, H, W)
    # What lies outside a crop is unknown, so no one way of filling the edges may become a clue.
    padding = rng.choice(["border", "border", "reflection", "zeros"])
    gray = rng.uniform(0, 200) if padding == "zeros" else 0.0
    grid = grid + bend.permute(0, 2, 3, 1)  # (B, H, W, 2)
    return F.grid_sample(clips - gray, grid, padding_mode=padding, align_corners=False) + gray


def relit(clips: Tensor, rng: np.random.Generator) -> Tensor:
    """Another lamp, another skin, another exposure; gray values from 0 to 1.5 times 255."""
    n, _, height, width = clips.shape
    gamma = _like(clips, np.exp(rng.normal(0, GAMMA, (n, 1, 1, 1))))
    light = _like(clips, rng.normal(0, LIGHT, (n, 1, 2, 3)))  # at two heights and three columns
    light = F.interpolate(light, (height, width), mode="bilinear", align_corners=True).exp()  # (B, 1, H, W)
    return 255 * ((clips / 255).clamp(1e-3, 1) ** gamma * light).clamp(0, 1.5)


def damaged(clips: Tensor, rng: np.random.Generator) -> Tensor:
    """A worse camera: dull or noisy, something before the mouth, frames that are missing."""
    n_frames, height, width = clips.shape[1:]
    clips = clips.clone()
    for clip in clips:  # (T, H, W)
        kind = rng.random()
        if kind < DULL:
            small = F.interpolate(clip[None], scale_factor=rng.uniform(0.3, 0.8), mode="bilinear")
            clip.copy_(F.interpolate(small, (height, width), mode="bilinear")[0])
        elif kind < DULL + NOISY:
            noise = _like(clip, rng.standard_normal(tuple(clip.shape), np.float32))
            clip += rng.uniform(2, 12) * noise
        if rng.random() < COVERED:
            rows, columns = (int(rng.uniform(0.1, 0.4) * side) for side in (height, width))
            top, left = rng.integers(0, height - rows), rng.integers(0, width - columns)
            start, stop = 0, n_frames
            if rng.random() < 0.5:
                start = rng.integers(0, n_frames)
                stop = start + rng.integers(5, 30)
            clip[start:stop, top : top + rows, left : left + columns] = rng.uniform(0, 255)
        if rng.random() < MISSING:
            start = rng.integers(0, n_frames)
            clip[start : start + rng.integers(1, 4)] = clip.mean()
    return clips


def _like(clips: Tensor, numbers: np.ndarray) -> Tensor:
    return send(torch.from_numpy(numbers).to(clips.dtype), clips.device)
