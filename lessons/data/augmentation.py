"""Changing a clip without changing what it says: other frames, another place, another size, a mirror.

The paper mirrors clips and drops or doubles frames (arXiv 1611.01599, §4.1). Moves and zooms are ours: a
network that saw every mouth in one place reads only there, and the next face detector's box is a little off.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# How far clips are changed: the mouth box of another detector or another face is off by about this much.
SHIFT_ROWS = 4 / 32  # of the height, up or down
SHIFT_COLUMNS = 6 / 64  # of the width, left or right
ZOOM = 0.12  # larger or smaller by this share
JITTER = 0.05  # of the frames are dropped or doubled, as in the paper
SHIFT_FRAMES = 3  # earlier or later


def jitter_frames(
    n_frames: int, rng: np.random.Generator, jitter: float = JITTER, shift: int = SHIFT_FRAMES
) -> np.ndarray:
    """Which frame to show at each of ``n_frames`` moments when some are dropped, some doubled.

    The answer has as many frames as the question: what a drop leaves over is filled by the last frame, what
    a doubling adds falls off the end. So a sentence that fitted into the clip (T >= L + repeats) still fits,
    and CTC's loss stays finite.

    Args:
        n_frames: T.
        rng: generator of the random numbers.
        jitter: share of the frames changed, half of them dropped, half doubled.
        shift: the whole clip also starts up to this many frames earlier or later.

    Returns:
        (T,) int64 frame numbers, never falling.
    """
    chance = rng.random(n_frames)  # (T,)
    times_shown = 1 - (chance < jitter / 2) + (chance > 1 - jitter / 2)  # (T,) 0, 1 or 2
    shown = np.repeat(np.arange(n_frames), times_shown)  # (about T,)
    if len(shown) == 0:  # every frame of a very short clip was dropped
        shown = np.arange(n_frames)
    moments = np.arange(n_frames) + rng.integers(-shift, shift + 1)  # (T,)
    return shown[np.clip(moments, 0, len(shown) - 1)]  # (T,)


def move(clips: Tensor, rows: Tensor, columns: Tensor, zoom: Tensor, padding: str = "border") -> Tensor:
    """Shift and zoom clips by fractions of a pixel; one grid a clip, bilinear.

    Args:
        clips: (B, T, H, W) float.
        rows: (B,) pixels by which the picture moves down.
        columns: (B,) pixels by which it moves to the right.
        zoom: (B,) 1.1 makes the mouth 10 % larger.
        padding: what fills the edges: ``border``, ``reflection`` or ``zeros``.

    Returns:
        (B, T, H, W) float.
    """
    height, width = clips.shape[2:]
    # theta takes a place in the result to the place in the clip it comes from; -1 to 1 spans a side.
    theta = clips.new_zeros(len(clips), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / zoom
    theta[:, 0, 2] = -2 * columns / width / zoom
    theta[:, 1, 2] = -2 * rows / height / zoom
    grid = F.affine_grid(theta, list(clips.shape), align_corners=False)  # (B, H, W, 2)
    return F.grid_sample(clips, grid, padding_mode=padding, align_corners=False)  # (B, T, H, W)


def augment(
    clips: Tensor, rng: np.random.Generator, places: Sequence[int] | None = None, n_clips: int | None = None
) -> Tensor:
    """Mirror half of the clips, move and zoom each one; the frames of a clip stay together.

    Args:
        clips: (B, T, H, W) float, before normalization.
        rng: generator of the random numbers.
        places, n_clips: the clips are those at ``places`` of a batch of ``n_clips``, for all of which chance
            is drawn: a clip fares the same in any process. None: they are the whole batch.

    Returns:
        (B, T, H, W) float.
    """
    height, width = clips.shape[2:]
    places = list(range(len(clips)) if places is None else places)
    n_clips = n_clips or len(clips)

    def uniform(limit: float) -> Tensor:
        return torch.from_numpy(rng.uniform(-limit, limit, n_clips)[places]).to(clips)  # (B,)

    mirrored = torch.from_numpy(rng.random(n_clips)[places] < 0.5).to(clips.device)  # (B,)
    clips = torch.where(mirrored[:, None, None, None], clips.flip(-1), clips)
    rows, columns = uniform(SHIFT_ROWS * height), uniform(SHIFT_COLUMNS * width)
    zoom = 1 + uniform(ZOOM)
    # What lies outside a crop is unknown, so no one way of filling the edges may become a clue.
    padding = rng.choice(["border", "border", "reflection", "zeros"])
    gray = rng.uniform(0, 200) if padding == "zeros" else 0.0
    return move(clips - gray, rows, columns, zoom, padding) + gray
