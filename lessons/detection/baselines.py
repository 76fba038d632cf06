"""Memory without training: what a practitioner tries before a recurrent network.

Each turns what a per-frame detector found into what is reported, frame by frame, with a setting or two to
tune. :mod:`lessons.detection.tracker` is the strongest of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lessons.detection.boxes import Detections, check_share, nms


def hold_boxes(
    found: Sequence[Detections], decay: float = 0.8, threshold: float = 0.5, least: float = 0.02
) -> list[Detections]:
    """Keep the boxes of the frames before, with scores times ``decay`` per frame; NMS chooses.

    Args:
        found: one entry per frame of a video.
        decay: 0 forgets at once.
        threshold: of :func:`lessons.detection.boxes.nms`.
        least: boxes whose score has fallen below it go.
    """
    check_share("decay", decay)
    held, reported = None, []
    for frame in found:
        if held is not None:
            frame = Detections(
                torch.cat([frame.boxes, held.boxes]),
                torch.cat([frame.scores, decay * held.scores]),
                torch.cat([frame.labels, held.labels]),
            )
        kept = nms(frame.boxes, frame.scores, frame.labels, threshold)
        kept = kept[frame.scores[kept] >= least]
        held = Detections(frame.boxes[kept], frame.scores[kept], frame.labels[kept])
        reported.append(held)
    return reported


def average_maps(maps: Tensor, newest: float = 0.5) -> Tensor:
    """The exponential moving average of a detector's maps (T, …) over frames.

    Class logits and box numbers alike are averaged; the result is read by ``center_points.decode``.

    Args:
        maps: (T, …) of one video or of several side by side.
        newest: the weight of the newest frame; 1 averages nothing.
    """
    check_share("newest", newest)
    mean, means = maps[0], []
    for frame in maps:
        mean = mean + newest * (frame - mean)
        means.append(mean)
    return torch.stack(means)
