"""Boxes: how much two of them overlap, and which of many overlapping ones to keep.

A box is (x0, y0, x1, y1) in pixels: left, top, right, bottom, pixel i going from i to i + 1. So its width is
x1 - x0, with nothing added. Boxes may be of any number type; sums are done in float32 at least, for an area
of 300 x 300 fits into few of the smaller ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Detections:
    """What a detector found in one frame, the highest score first.

    Attributes:
        boxes: (found, 4).
        scores: (found,) from 0 to 1.
        labels: (found,) classes.

    Raises:
        ValueError: not as many of each, or not all on one device.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        check_together(self.boxes, scores=self.scores, labels=self.labels)

    def __len__(self) -> int:
        return len(self.boxes)


def check_boxes(name: str, boxes: Tensor) -> None:
    """Refuse what is no box.

    Raises:
        ValueError: no tensor, not (..., 4), NaN or infinite, or turned over (x1 < x0 or y1 < y0).
    """
    if not isinstance(boxes, Tensor):
        raise ValueError(f"{name} is a {type(boxes).__name__}, expected a tensor: use torch.as_tensor(...)")
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


def check_together(boxes: Tensor, **others: Tensor) -> None:
    """Refuse what does not go with boxes (n, 4): each of ``others``, named, must be (n,) on their device.

    Raises:
        ValueError: shapes or devices that do not fit.
    """
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes has shape {tuple(boxes.shape)}, expected (n, 4): x0, y0, x1, y1")
    for name, other in others.items():
        if other.shape != boxes.shape[:1]:
            raise ValueError(
                f"{name} has shape {tuple(other.shape)}, expected ({len(boxes)},), one for each box"
            )
        check_device(name, other, "boxes", boxes)


def check_device(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    """Refuse two tensors that are not on one device."""
    if tensor.device != other.device:
        raise ValueError(
            f"{name} is on {tensor.device}, {other_name} on {other.device}: use .to(...) to bring both to one"
        )


def check_share(name: str, value: float) -> None:
    """Refuse what is no share from 0 to 1."""
    if not 0 <= value <= 1:  # so written, NaN is refused too
        raise ValueError(f"{name}={value}, expected 0 to 1")


def as_floats(boxes: Tensor) -> Tensor:
    """Boxes in float32, or float64 if they are: in uint8, 20 x 20 would be 144."""
    return boxes.to(torch.promote_types(boxes.dtype, torch.float32))


def area(boxes: Tensor) -> Tensor:
    """(..., 4) -> (...), in pixels²."""
    boxes = as_floats(boxes)
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every box of ``a`` with every box of ``b``: 1 if equal, 0 if apart.

    Args:
        a, b: (n, 4) and (m, 4).

    Returns:
        (n, m). Boxes without area have nothing in common with any: 0.

    Raises:
        ValueError: something that is no box, see :func:`check_boxes`, or two devices.
    """
    for name, boxes in (("a", a), ("b", b)):
        if boxes.dim() != 2:
            raise ValueError(
                f"{name} has shape {tuple(boxes.shape)}, expected (n, 4): use [None] for one box"
            )
    check_device("a", a, "b", b)
    check_boxes("a", a)
    check_boxes("b", b)
    a, b = as_floats(a), as_floats(b)
    top_left = torch.maximum(a[:, None, :2], b[None, :, :2])  # (n, m, 2)
    bottom_right = torch.minimum(a[:, None, 2:], b[None, :, 2:])  # (n, m, 2)
    intersection = (bottom_right - top_left).clamp(min=0).prod(-1)  # (n, m)
    union = area(a)[:, None] + area(b)[None] - intersection  # (n, m)
    return torch.where(union > 0, intersection / union, torch.zeros_like(union))


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The part of each box (..., 4) within a picture of ``size`` (H, W); without area if it lies outside."""
    height, width = size
    boxes = as_floats(boxes)
    return boxes.clamp(min=0).minimum(boxes.new_tensor([width, height, width, height]))


def nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float = 0.5) -> Tensor:
    """Non-maximum suppression: of boxes of one class that overlap, keep the one with the highest score.

    The box with the highest score stays, and every other of its class whose IoU with it is above
    ``threshold`` goes; then the highest of those left, and so on.

    Args:
        boxes, scores, labels: (n, 4), (n,), (n,).
        threshold: IoU, 0 to 1.

    Returns:
        (kept,) the indices of those that stay, the highest score first.

    Raises:
        ValueError: something that is no box, NaN among the scores, a threshold out of range, or shapes or
            devices that do not fit.
    """
    check_together(boxes, scores=scores, labels=labels)
    check_share("threshold", threshold)
    check_boxes("boxes", boxes)
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


def nms_numpy(
    boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, threshold: float = 0.5
) -> np.ndarray:
    """:func:`nms` of arrays, without checks: for loops over thousands of frames."""
    order = np.argsort(-scores, kind="stable")
    boxes, labels = boxes[order], labels[order]
    rivals = (iou_numpy(boxes, boxes) > threshold) & (labels[:, None] == labels)
    kept: list[int] = []
    for i in range(len(order)):
        if not rivals[i, kept].any():
            kept.append(i)
    return order[kept]


def iou_numpy(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """:func:`iou` of arrays (n, 4) and (m, 4), each box with an area, without checks."""
    inner = np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])
    both = np.maximum(inner, 0).prod(-1)  # (n, m)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a, b)]
    return both / (areas[0][:, None] + areas[1] - both)
