"""What a video detector finds in videos, and what its memory is worth: AP, hidden objects, flicker."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from lessons.data.synthetic.moving import MovingClips
from lessons.detection.boxes import Detections, iou_numpy
from lessons.detection.center_points import decode
from lessons.detection.detector import Detector, to_input

MIN_SCORE = 0.4  # a detection counts as shown from this score on
MIN_VISIBLE = 0.1  # an object of which a smaller fraction is visible counts as hidden


@dataclass(frozen=True)
class Score:
    """How well objects were found.

    Attributes:
        ap50: mean average precision at an IoU of 0.5, over everything in every frame, hidden or not.
        hidden_recall: of the objects that could not be seen, the fraction found all the same; NaN if none.
        flicker: of the pairs of consecutive frames, the fraction in which an object is found in one and
            missed in the other.
        precision: the fraction of right ones among the detections shown.

    All but the AP look at detections of score 0.4 or more.
    """

    ap50: float
    hidden_recall: float
    flicker: float
    precision: float


@torch.no_grad()
def detect(
    model: Detector, frames: np.ndarray, forget: bool = False, batch_size: int = 16
) -> list[list[Detections]]:
    """Detect objects in videos (N, T, H, W) of bytes: a list per video, of one ``Detections`` per frame.

    With ``forget``, the state is thrown away after every frame: what is found then owes nothing to memory.
    The model may be on any device; what it found comes back to the CPU.

    Raises:
        ValueError: frames that are no such videos or have no frames, or a batch size below 1.
    """
    if frames.ndim != 4 or frames.dtype != np.uint8 or frames.shape[1] == 0:
        raise ValueError(
            f"frames is {frames.dtype} {tuple(frames.shape)}, expected uint8 (N, T, H, W), at least one frame"
        )
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}, expected 1 or more")
    model.eval()
    device = next(model.parameters()).device
    size, n_frames = frames.shape[2:], frames.shape[1]
    found: list[list[Detections]] = []
    for start in range(0, len(frames), batch_size):
        x = to_input(torch.from_numpy(frames[start : start + batch_size]).to(device))  # (T, B, 1, H, W)
        maps = torch.cat([model(frame[None])[0] for frame in x]) if forget else model(x)[0]
        flat = decode(maps.transpose(0, 1).flatten(0, 1).cpu(), size)  # B*T, all frames of a video together
        found += [flat[i : i + n_frames] for i in range(0, len(flat), n_frames)]
    return found


def score(found: list[list[Detections]], clips: MovingClips) -> Score:
    """Compare what was found with what is there.

    Raises:
        ValueError: not as many videos, or frames in them, as the clips have.
    """
    lengths, expected = [len(video) for video in found], [clips.frames.shape[1]] * len(clips)
    if lengths != expected:
        raise ValueError(f"found has videos of {lengths} frames, expected {expected}, as the clips")
    there = clips.labels >= 0  # (N, objects)
    was_found = np.zeros(clips.visible.shape, bool)  # (N, T, objects)
    n_shown = 0
    for i, t, frame in _frames(found):
        n_shown += int((frame.scores >= MIN_SCORE).sum())
        for label in np.unique(clips.labels[i][there[i]]):
            places = np.flatnonzero(clips.labels[i] == label)
            boxes, scores = _of_class(frame, label)
            taken = _match(boxes[scores >= MIN_SCORE], clips.boxes[i, t, places])
            was_found[i, t, places[taken[taken >= 0]]] = True
    switched = (was_found[:, 1:] != was_found[:, :-1])[
        np.repeat(there[:, None], clips.frames.shape[1] - 1, 1)
    ]
    hidden = (clips.visible < MIN_VISIBLE) & there[:, None]  # (N, T, objects)
    return Score(
        ap50=ap50(found, clips),
        hidden_recall=_mean(was_found[hidden]),
        flicker=_mean(switched),
        precision=was_found.sum().item() / n_shown if n_shown else math.nan,
    )


def ap50(found: list[list[Detections]], clips: MovingClips) -> float:
    """The mean average precision at an IoU of 0.5, over everything in every frame; NaN if nothing is there.

    What :func:`lessons.detection.average_precision.mean_average_precision` says, in a tenth of its time.
    """
    areas = []
    for label in np.unique(clips.labels[clips.labels >= 0]):
        n_true = int((clips.labels == label).sum()) * clips.frames.shape[1]
        all_scores, right = [np.zeros(0)], [np.zeros(0, bool)]
        for i, t, frame in _frames(found):
            boxes, scores = _of_class(frame, label)
            all_scores.append(scores)
            right.append(_match(boxes, clips.boxes[i, t, clips.labels[i] == label]) >= 0)
        order = np.argsort(-np.concatenate(all_scores), kind="stable")
        n_right = np.cumsum(np.concatenate(right)[order])
        hull = np.maximum.accumulate((n_right / np.arange(1, len(order) + 1))[::-1])[::-1]
        areas.append(float((np.diff(n_right, prepend=0) * hull).sum() / n_true))
    return float(np.mean(areas)) if areas else math.nan


def _frames(found: list[list[Detections]]) -> Iterator[tuple[int, int, Detections]]:
    """Video, frame, and what was found in it."""
    for i, video in enumerate(found):
        for t, frame in enumerate(video):
            yield i, t, frame


def _of_class(frame: Detections, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, 4) and scores (n,) of one class, the highest score first."""
    mine = frame.labels.numpy() == label
    boxes, scores = frame.boxes.numpy()[mine], frame.scores.numpy()[mine]
    order = np.argsort(-scores, kind="stable")
    return boxes[order], scores[order]


def _match(boxes: np.ndarray, true: np.ndarray) -> np.ndarray:
    """:func:`lessons.detection.average_precision.match` of arrays, at an IoU of 0.5, without checks."""
    overlap, taken = iou_numpy(boxes, true), np.full(len(boxes), -1)
    for i, row in enumerate(overlap):
        if row.size and row.max() >= 0.5:
            taken[i] = row.argmax()
            overlap[:, taken[i]] = -1
    return taken


def _mean(yes: np.ndarray) -> float:
    return float(yes.mean()) if yes.size else math.nan


def evaluate(model: Detector, clips: MovingClips, forget: bool = False) -> Score:
    """:func:`detect`, then :func:`score`."""
    return score(detect(model, clips.frames, forget), clips)
