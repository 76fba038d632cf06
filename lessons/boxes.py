"""Boxes: how much two of them overlap, and which of many overlapping ones to keep.

A box is (x0, y0, x1, y1) in pixels: left, top, right, bottom, pixel i going from i to i + 1. So its width is
x1 - x0, with nothing added.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Detections:
    """What a detector found in one frame, the surest first.

    Attributes:
        boxes: (found, 4).
        scores: (found,) from 0 to 1.
        labels: (found,) classes.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.boxes)


def check_boxes(name: str, boxes: Tensor) -> None:
    """Refuse what is no box.

    Raises:
        ValueError: not (..., 4), NaN or infinite, or turned over (x1 < x0 or y1 < y0).
    """
    if boxes.dim() == 0 or boxes.shape[-1] != 4:
        raise ValueError(f"{name} has shape {tuple(boxes.shape)}, expected (..., 4): x0, y0, x1, y1")
    broken = ~torch.isfinite(boxes).all(-1)
    if broken.any():
        raise ValueError(f"{name} holds NaN or infinity: {boxes[broken][0].tolist()}")
    inverted = (boxes[..., 2:] < boxes[..., :2]).any(-1)
    if inverted.any():
        raise ValueError(
            f"{name} holds {boxes[inverted][0].tolist()}, expected x0 <= x1 and y0 <= y1: "
            "is it (x, y, width, height)?"
        )


def area(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...), in pixels²."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every box of ``a`` with every box of ``b``: 1 if equal, 0 if apart.

    Args:
        a, b: (n, 4) and (m, 4).

    Returns:
        (n, m). Boxes without area have nothing in common with any: 0.

    Raises:
        ValueError: something that is no box, see :func:`check_boxes`.
    """
    check_boxes("a", a)
    check_boxes("b", b)
    top_left = torch.maximum(a[:, None, :2], b[None, :, :2])  # (n, m, 2)
    bottom_right = torch.minimum(a[:, None, 2:], b[None, :, 2:])  # (n, m, 2)
    intersection = (bottom_right - top_left).clamp(min=0).prod(-1)  # (n, m)
    union = area(a)[:, None] + area(b)[None] - intersection  # (n, m)
    return torch.where(union > 0, intersection / union, torch.zeros_like(union))


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The part of each box (..., 4) within a picture of ``size`` (H, W); without area if it lies outside."""
    height, width = size
    return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))


def nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float = 0.5) -> Tensor:
    """Non-maximum suppression: of boxes of one class that overlap, keep the surest.

    The surest box stays, and every other of its class whose IoU with it is above ``threshold`` goes; then
    the surest of those left, and so on.

    Args:
        boxes, scores, labels: (n, 4), (n,), (n,).
        threshold: IoU, 0 to 1.

    Returns:
        (kept,) the indices of those that stay, the surest first.

    Raises:
        ValueError: something that is no box, NaN among the scores, or lengths that differ.
    """
    if not len(boxes) == len(scores) == len(labels):
        raise ValueError(
            f"got {len(boxes)} boxes, {len(scores)} scores and {len(labels)} labels: expected as many"
        )
    if scores.isnan().any():
        raise ValueError("scores holds NaN")
    order = scores.argsort(descending=True, stable=True)  # (n,)
    boxes, labels = boxes[order], labels[order]
    rivals = (iou(boxes, boxes) > threshold) & (labels[:, None] == labels[None])  # (n, n)
    rivals = rivals.cpu().numpy()
    kept: list[int] = []
    for i in range(len(order)):
        if not rivals[i, kept].any():
            kept.append(i)
    return order[kept]
