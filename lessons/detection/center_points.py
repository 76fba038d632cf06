"""Objects as points: what a detector's maps mean, what they should be, and how far off they are.

Every cell of the map stands for a square of STRIDE x STRIDE pixels. Its numbers, the channels of the map, say
per class whether the center of an object lies in it (a logit), and if so where in the cell (y and x, 0 to 1)
and how large the object is (the logarithms of height and width in cells):

    maps (frames, classes + 4, H', W') = classes logits, y, x, log height, log width

The idea, the Gaussian around a center and the loss are those of Zhou, Wang and Krähenbühl, "Objects as
Points" (arXiv 1904.07850), but for two things: sizes are learned as logarithms, so that no box turns over,
and of several cells that found the same object, NMS chooses.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.detection.boxes import (
    Detections,
    area,
    as_floats,
    check_boxes,
    check_device,
    check_share,
    clip_boxes,
    nms,
)

STRIDE = 8  # pixels of the picture to a cell of the map, each way


@dataclass(frozen=True)
class Targets:
    """What the maps should be.

    Attributes:
        heat: (frames, classes, H', W') 1 in the cell that holds a center, less around it, 0 far away.
        frame, row, column: (centers,) each: where the centers lie.
        numbers: (centers, 4) what the four box channels should hold there.
    """

    heat: Tensor
    frame: Tensor
    row: Tensor
    column: Tensor
    numbers: Tensor


def targets(boxes: Tensor, labels: Tensor, classes: int, size: tuple[int, int]) -> Targets:
    """From true boxes to the maps that would describe them.

    The heat around a center is a Gaussian whose standard deviation is a sixth of the box each way. A box that
    reaches over the border counts by its part within the frame; one that lies outside is nothing to be found.

    Args:
        boxes: (frames, objects, 4).
        labels: (frames, objects), -1 where there is nothing.
        classes: how many.
        size: (H, W) of the pictures.

    Raises:
        ValueError: something that is no box, shapes or devices that do not fit, a label that is no integer
            or outside -1 … classes - 1, a picture without pixels.
    """
    rows, columns = cells(size)
    if labels.is_floating_point():
        raise ValueError(f"labels is {labels.dtype}, expected integers: use .long()")
    if labels.shape != boxes.shape[:-1] or labels.dim() != 2:
        raise ValueError(
            f"boxes has shape {tuple(boxes.shape)} and labels {tuple(labels.shape)}, "
            "expected (frames, objects, 4) and (frames, objects)"
        )
    check_device("labels", labels, "boxes", boxes)
    check_boxes("boxes", boxes)
    if labels.numel() and not -1 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(f"labels from {labels.min()} to {labels.max()}, expected -1 to {classes - 1}")
    labels = labels.long()  # what one_hot wants
    boxes = clip_boxes(boxes, size) / STRIDE  # in cells from here on
    there = (labels >= 0) & (area(boxes) > 0)  # (frames, objects)
    center = (boxes[..., :2] + boxes[..., 2:]).flip(-1) / 2  # (frames, objects, 2): y, x
    sides = (boxes[..., 2:] - boxes[..., :2]).flip(-1)  # (frames, objects, 2): height, width

    bells = (
        _bell(center[..., 0], sides[..., 0], rows)[..., :, None]
        * (_bell(center[..., 1], sides[..., 1], columns)[..., None, :])
    )  # (frames, objects, H', W')
    of_class = F.one_hot(labels.clamp(min=0), classes) * there[..., None]  # (frames, objects, classes)
    heat = boxes.new_zeros(len(boxes), classes, rows, columns)
    for k in range(boxes.shape[1]):  # where two objects of a class meet, the higher bell counts
        heat = heat.maximum(of_class[:, k, :, None, None] * bells[:, k, None])

    frame, k = there.nonzero(as_tuple=True)  # (centers,)
    center, sides = center[frame, k], sides[frame, k]  # (centers, 2)
    row = center[:, 0].long().clamp(max=rows - 1)
    column = center[:, 1].long().clamp(max=columns - 1)
    heat[frame, labels[frame, k], row, column] = 1
    within = center - torch.stack([row, column], -1)  # (centers, 2)
    return Targets(heat, frame, row, column, torch.cat([within, sides.log()], -1))


def cells(size: tuple[int, int]) -> tuple[int, int]:
    """(H, W) of a picture -> (H', W') of its map: cells that the border cuts count whole.

    Raises:
        ValueError: a picture without pixels.
    """
    if min(size) < 1:
        raise ValueError(f"size={tuple(size)}, expected (H, W) of 1 pixel or more")
    rows, columns = (-(-pixels // STRIDE) for pixels in size)
    return rows, columns


def _bell(center: Tensor, side: Tensor, n_cells: int) -> Tensor:
    """(...) -> (..., n_cells): a Gaussian at the middles of the cells of a line."""
    middles = torch.arange(n_cells, device=center.device) + 0.5
    sigma = (side / 6).clamp(min=1e-3)
    return torch.exp(-0.5 * ((middles - center[..., None]) / sigma[..., None]) ** 2)


def focal_loss(logits: Tensor, heat: Tensor) -> Tensor:
    """The paper's penalty-reduced focal loss, summed and divided by the number of centers (its eq. 1).

    With y the probability and Y the target, -(1 - y)² log y where Y = 1, and -(1 - Y)⁴ y² log(1 - y)
    elsewhere. The squares turn away from what is already right, of which there is much in a map of few
    centers; the fourth power forgives the neighbors of a center.

    Args:
        logits, heat: (frames, classes, H', W').

    Raises:
        ValueError: shapes or devices that differ.
    """
    if logits.shape != heat.shape:
        raise ValueError(f"logits has shape {tuple(logits.shape)}, heat {tuple(heat.shape)}: expected one")
    check_device("logits", logits, "heat", heat)
    y = logits.sigmoid()
    at_center = heat == 1
    found = (1 - y) ** 2 * F.logsigmoid(logits)
    passed = (1 - heat) ** 4 * y**2 * F.logsigmoid(-logits)  # log(1 - σ(x)) = log σ(-x)
    return -torch.where(at_center, found, passed).sum() / at_center.sum().clamp(min=1)


def detection_loss(maps: Tensor, wanted: Targets) -> Tensor:
    """Focal loss of the heat, plus the mean L1 distance of the box numbers, at centers only.

    Args:
        maps: (frames, classes + 4, H', W').

    Raises:
        ValueError: maps of another shape, or on another device, than the targets.
    """
    n_frames, classes, rows, columns = wanted.heat.shape
    if maps.shape != (n_frames, classes + 4, rows, columns):
        raise ValueError(
            f"maps has shape {tuple(maps.shape)}, expected {(n_frames, classes + 4, rows, columns)}"
        )
    check_device("maps", maps, "the targets", wanted.heat)
    loss = focal_loss(maps[:, :classes], wanted.heat)
    if len(wanted.frame):
        numbers = maps[wanted.frame, classes:, wanted.row, wanted.column]  # (centers, 4)
        loss = loss + (numbers - wanted.numbers).abs().sum(-1).mean()
    return loss


@torch.no_grad()
def decode(
    maps: Tensor, size: tuple[int, int], least: float = 0.02, most: int = 20, threshold: float = 0.5
) -> list[Detections]:
    """Read the boxes off the maps.

    Args:
        maps: (frames, classes + 4, H', W').
        size: (H, W) of the pictures; boxes end at their borders.
        least: scores below it are not worth a box. AP wants a long list.
        most: boxes of a frame before NMS.
        threshold: of :func:`lessons.detection.boxes.nms`.

    Returns:
        one :class:`Detections` a frame.

    Raises:
        ValueError: fewer than five channels, maps with NaN or of another size than such pictures have, or a
            number out of range.
    """
    if maps.dim() != 4 or maps.shape[1] < 5:
        raise ValueError(f"maps has shape {tuple(maps.shape)}, expected (frames, classes + 4, H', W')")
    if maps.shape[2:] != cells(size):
        raise ValueError(
            f"maps has {maps.shape[2]} x {maps.shape[3]} cells, expected {' x '.join(map(str, cells(size)))} "
            f"for pictures of size {tuple(size)}"
        )
    check_share("least", least)
    if most < 1:
        raise ValueError(f"most={most}, expected 1 or more")
    if maps.isnan().any():
        raise ValueError("maps holds NaN: has the training diverged, or was there NaN in the picture?")
    maps = as_floats(maps)  # a box in half precision would be off by some pixels in a large picture
    classes, rows, columns = maps.shape[1] - 4, *maps.shape[2:]
    scores = maps[:, :classes].sigmoid().flatten(1)  # (frames, classes * H' * W')
    scores, places = scores.topk(min(most, scores.shape[1]), dim=1)  # (frames, most), the highest first
    labels, cell = places // (rows * columns), places % (rows * columns)
    numbers = maps[:, classes:].flatten(2)  # (frames, 4, H' * W')
    numbers = numbers.gather(2, cell[:, None].expand(-1, 4, -1)).transpose(1, 2)  # (frames, most, 4)
    corner = torch.stack([cell // columns, cell % columns], -1)  # (frames, most, 2): y, x of the cell
    center = (corner + numbers[..., :2]) * STRIDE
    sides = numbers[..., 2:].clamp(max=8).exp() * STRIDE  # the clamp: a wild guess must not become infinite
    boxes = torch.cat([(center - sides / 2).flip(-1), (center + sides / 2).flip(-1)], -1)  # x0, y0, x1, y1
    boxes = clip_boxes(boxes, size)  # (frames, most, 4)
    found = []
    for box, score, label in zip(boxes, scores, labels, strict=True):
        good = (score >= least) & (area(box) > 0)
        box, score, label = box[good], score[good], label[good]
        kept = nms(box, score, label, threshold)
        found.append(Detections(box[kept], score[kept], label[kept]))
    return found
