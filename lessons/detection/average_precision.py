"""Average precision: one number for how well a detector finds the objects of one class.

Sort all detections of all frames, the highest score first, and walk down the list. A detection is right if it
overlaps enough with a true box that none before it has taken. At each place of the list

    precision = right ones so far / detections so far,    recall = right ones so far / true boxes.

Precision as a function of recall is a saw; its hull from above falls steadily, and the area under the hull is
the average precision (AP). The mean over classes is mAP. "AP50" says how much is enough: an IoU of 0.5.

COCO's programs read the hull at 101 recalls, 0, 0.01 … 1, and average; here the area is taken exactly, so the
two differ in the third decimal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lessons.detection.boxes import Detections, check_boxes, check_device, check_share, check_together, iou


@dataclass(frozen=True)
class Truth:
    """What is in one frame: boxes (n, 4) and their classes (n,).

    Raises:
        ValueError: not as many of each, or not both on one device.
    """

    boxes: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        check_together(self.boxes, labels=self.labels)


@dataclass(frozen=True)
class Curve:
    """Precision against recall for one class, one entry per detection, the highest score first.

    Attributes:
        precision: (n,) as counted: the saw.
        recall: (n,).
        scores: (n,).
    """

    precision: Tensor
    recall: Tensor
    scores: Tensor

    @property
    def hull(self) -> Tensor:
        """(n,) at each recall, the best precision at this recall or a higher one."""
        return self.precision.flip(0).cummax(0).values.flip(0)

    @property
    def area(self) -> float:
        """The average precision: the area under the hull, 0 to 1."""
        steps = torch.diff(self.recall, prepend=self.recall.new_zeros(1))  # (n,)
        return float((steps * self.hull).sum())


def match(found: Tensor, true: Tensor, threshold: float = 0.5) -> Tensor:
    """Which true box each found one takes, in one frame and one class.

    Each found box, in turn, takes the true box that it overlaps with most, of those not taken yet, if their
    IoU is at least ``threshold``.

    Args:
        found: (n, 4), the highest score first.
        true: (m, 4).

    Returns:
        (n,) indices into ``true``, or -1: a false alarm.

    Raises:
        ValueError: something that is no box, two devices, or a threshold outside 0 … 1.
    """
    check_share("threshold", threshold)
    if 0 in (len(found), len(true)):  # so it is for most classes in most frames
        return torch.full((len(found),), -1)
    overlap = iou(found, true).tolist()  # (n, m); plain numbers, since one by one they are faster
    free, taken = set(range(len(true))), []
    for row in overlap:
        best = max(free, key=row.__getitem__, default=None)
        if best is not None and row[best] >= threshold:
            free.remove(best)
            taken.append(best)
        else:
            taken.append(-1)
    return torch.tensor(taken, dtype=torch.long)


def precision_recall(
    detections: Sequence[Detections], truths: Sequence[Truth], label: int, threshold: float = 0.5
) -> Curve:
    """The curve of one class over all frames.

    Args:
        detections, truths: one for each frame.
        label: the class.
        threshold: the IoU that counts as found.

    Raises:
        ValueError: not as many detections as truths, no true box of this class (its recall would be 0 / 0),
            something that is no box, a score that is NaN, two devices, or a threshold outside 0 … 1.
    """
    check_share("threshold", threshold)
    if len(detections) != len(truths):
        raise ValueError(f"detections of {len(detections)} frames, truths of {len(truths)}: expected as many")
    n_true, scores, right = 0, [torch.empty(0)], [torch.empty(0, dtype=torch.bool)]
    for found, true in zip(detections, truths, strict=True):
        check_device("detections", found.boxes, "truths", true.boxes)
        check_boxes("truths", true.boxes)
        true_boxes = true.boxes[true.labels == label]
        n_true += len(true_boxes)
        if found.scores.isnan().any():
            raise ValueError("detections holds a score that is NaN: it has no place in the order")
        mine = found.labels == label
        if not mine.any():
            continue
        order = found.scores[mine].argsort(descending=True, stable=True)
        scores.append(found.scores[mine][order].cpu())
        right.append(match(found.boxes[mine][order], true_boxes, threshold) >= 0)
    if n_true == 0:
        raise ValueError(f"label: no true box of class {label}, so there is no recall to speak of")
    all_scores = torch.cat(scores)
    order = all_scores.argsort(descending=True, stable=True)
    n_right = torch.cat(right)[order].cpu().double().cumsum(0)  # (n,) right ones so far
    n_found = torch.arange(1, len(order) + 1)  # (n,) detections so far
    return Curve(n_right / n_found, n_right / n_true, all_scores[order])


def average_precision(
    detections: Sequence[Detections], truths: Sequence[Truth], threshold: float = 0.5
) -> dict[int, float]:
    """The AP of every class of which there is a true box.

    Raises:
        ValueError: see :func:`precision_recall`.
    """
    labels = sorted({int(label) for true in truths for label in true.labels})
    return {label: precision_recall(detections, truths, label, threshold).area for label in labels}


def mean_average_precision(
    detections: Sequence[Detections], truths: Sequence[Truth], threshold: float = 0.5
) -> float:
    """mAP: the mean of :func:`average_precision` over classes; NaN if there is nothing to find."""
    each = average_precision(detections, truths, threshold)
    return sum(each.values()) / len(each) if each else math.nan
