"""Cut a box out of a picture and bring it to a size of its own, at places between pixels as well."""

from __future__ import annotations

import math

import numpy as np


def crop_box(frame: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The part of a picture within a box, brought to ``size`` by averaging areas.

    New pixel (i, j) is the mean of what lies under the (i, j)-th of ``size`` equal parts of the box. Outside
    the picture its edge goes on. Two small products do it: rows @ frame @ columns.T.

    Args:
        frame: (H, W) uint8.
        box: (4,) left, top, right, bottom in pixels; need not be integers.
        size: (height, width) of the crop.

    Returns:
        (height, width) uint8.

    Raises:
        ValueError: another dtype or shape, a box without area, or with NaN.
    """
    if not isinstance(frame, np.ndarray) or frame.dtype != np.uint8 or frame.ndim != 2 or 0 in frame.shape:
        raise ValueError(f"frame: {_describe(frame)}, expected uint8 (H, W), gray")
    box = np.asarray(box, np.float64)
    if box.shape != (4,) or not np.isfinite(box).all() or box[2] <= box[0] or box[3] <= box[1]:
        raise ValueError(f"box: {box.tolist()}, expected finite x0, y0, x1, y1 with x0 < x1 and y0 < y1")
    if min(size) < 1:
        raise ValueError(f"size: {size}, expected (height, width) of at least one pixel each")
    left, top, right, bottom = box.tolist()
    rows = box_weights(top, bottom, frame.shape[0], size[0])  # (height, H)
    columns = box_weights(left, right, frame.shape[1], size[1])  # (width, W)
    return np.rint(rows @ frame.astype(np.float32) @ columns.T).astype(np.uint8)  # (height, width)


def box_weights(begin: float, end: float, n_in: int, n_out: int) -> np.ndarray:
    """(n_out, n_in) float32: how much of each old pixel lies under each new one; rows sum to 1.

    New pixel i covers the line from begin + i * step to begin + (i + 1) * step with step =
    (end - begin) / n_out. What falls outside 0 … n_in counts for the first or the last pixel.
    """
    edges = np.linspace(begin, end, n_out + 1)
    pixels = np.arange(math.floor(begin), math.ceil(end))  # also those outside
    left, right = edges[:-1, None], edges[1:, None]  # (n_out, 1)
    overlap = np.clip(np.minimum(right, pixels + 1) - np.maximum(left, pixels), 0, None)  # (n_out, pixels)
    shares = overlap / overlap.sum(axis=1, keepdims=True)
    weights = np.zeros((n_in, n_out), np.float32)
    np.add.at(weights, np.clip(pixels, 0, n_in - 1), shares.T.astype(np.float32))
    return weights.T


def _describe(frame: object) -> str:
    return f"{frame.dtype} {frame.shape}" if isinstance(frame, np.ndarray) else type(frame).__name__
