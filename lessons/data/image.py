"""From color frames of any size to small gray ones, the same for training and for reading."""

from __future__ import annotations

import numpy as np


def to_gray(frames: np.ndarray) -> np.ndarray:
    """Luma of RGB frames, by the weights of ITU-R BT.601 in 1/256: (77 R + 150 G + 29 B) / 256.

    Integers, so that every machine gives the same bytes.

    Args:
        frames: (..., H, W, 3) uint8.

    Returns:
        (..., H, W) uint8.

    Raises:
        ValueError: another dtype, or a last axis that is not three channels.
    """
    if frames.dtype != np.uint8:
        raise ValueError(f"frames: dtype {frames.dtype}, expected uint8 (0..255)")
    if frames.ndim < 3 or frames.shape[-1] != 3:
        raise ValueError(f"frames: shape {frames.shape}, expected (..., H, W, 3) with RGB on the last axis")
    red, green, blue = (frames[..., c].astype(np.uint16) for c in range(3))
    return ((77 * red + 150 * green + 29 * blue + 128) >> 8).astype(np.uint8)  # (..., H, W)


def area_weights(n_in: int, n_out: int) -> np.ndarray:
    """(n_out, n_in) float32: how much of each old pixel lies under each new one; rows sum to 1.

    New pixel i covers the old ones from i * n_in / n_out to (i + 1) * n_in / n_out. For a whole factor this
    is the mean of a block; a border that falls inside an old pixel shares it between two new ones.
    """
    edges = np.arange(n_out + 1) * (n_in / n_out)
    left, right = edges[:-1, None], edges[1:, None]  # (n_out, 1)
    pixel = np.arange(n_in)[None]  # (1, n_in)
    overlap = np.clip(np.minimum(right, pixel + 1) - np.maximum(left, pixel), 0, None)  # (n_out, n_in)
    return (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)


def resize_area(frames: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Shrink gray frames by averaging areas, against aliasing: one small product for rows, one for columns.

    Args:
        frames: (T, H, W) uint8.
        size: (height, width) wanted.

    Returns:
        (T, height, width) uint8, rounded to the nearest integer (a half to the even one).

    Raises:
        ValueError: wrong dtype or axes, or a size below one pixel.
    """
    if frames.dtype != np.uint8 or frames.ndim != 3:
        raise ValueError(f"frames: {frames.dtype} {frames.shape}, expected uint8 (T, H, W), gray")
    height, width = size
    if height < 1 or width < 1:
        raise ValueError(f"size: {size}, expected (height, width) of at least one pixel each")
    if frames.shape[1:] == (height, width):
        return frames
    rows = area_weights(frames.shape[1], height)  # (height, H)
    columns = area_weights(frames.shape[2], width)  # (width, W)
    small = rows @ frames.astype(np.float32) @ columns.T  # (T, height, width)
    return np.rint(small).astype(np.uint8)
