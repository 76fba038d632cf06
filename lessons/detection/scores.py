"""What a video detector finds in films, and what its memory is worth: AP, hidden things, flicker."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from lessons.data.synthetic.moving import MovingClips
from lessons.detection.average_precision import Truth, match, mean_average_precision
from lessons.detection.boxes import Detections
from lessons.detection.center_points import decode
from lessons.detection.detector import Detector, to_input

MIN_SCORE = 0.4  # a detection counts as shown from this score on
MIN_VISIBLE = 0.1  # an object of which a smaller fraction is visible counts as hidden


@dataclass(frozen=True)
class Score:
    """How well things were found.

    Attributes:
        ap50: mean average precision at an IoU of 0.5, over everything in every frame, hidden or not.
        hidden_recall: of the things that could not be seen, the share found all the same; NaN if none.
        flicker: of the pairs of frames that follow each other, the share in which a thing is found in one
            and missed in the other.
        precision: the share of right ones among the detections shown.

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
    """Find things in films (N, T, H, W) of bytes: a list for each film, of one ``Detections`` a frame.

    With ``forget``, the state is thrown away after every frame: what is found then owes nothing to memory.
    The model may be on any device; what it found comes back to the CPU.

    Raises:
        ValueError: frames that are no such films or have no frames, or a batch size below 1.
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
        flat = decode(maps.transpose(0, 1).flatten(0, 1).cpu(), size)  # B*T, all frames of a film together
        found += [flat[i : i + n_frames] for i in range(0, len(flat), n_frames)]
    return found


def score(found: list[list[Detections]], clips: MovingClips) -> Score:
    """Compare what was found with what is there.

    Raises:
        ValueError: not as many films, or frames in them, as the clips have.
    """
    lengths, expected = [len(film) for film in found], [clips.frames.shape[1]] * len(clips)
    if lengths != expected:
        raise ValueError(f"found has films of {lengths} frames, expected {expected}, as the clips")
    boxes, labels = torch.from_numpy(clips.boxes), torch.from_numpy(clips.labels)
    there = labels >= 0  # (N, objects)
    truths = [
        Truth(boxes[i, t][there[i]], labels[i][there[i]])
        for i in range(len(boxes))
        for t in range(boxes.shape[1])
    ]
    ap50 = mean_average_precision([frame for film in found for frame in film], truths)

    was_found = torch.zeros(boxes.shape[:3], dtype=torch.bool)  # (N, T, objects)
    n_shown = 0
    for i, film in enumerate(found):
        for t, frame in enumerate(film):
            shown = frame.scores >= MIN_SCORE
            n_shown += int(shown.sum())
            for label in labels[i][there[i]].unique():
                places = (labels[i] == label).nonzero()[:, 0]
                taken = match(frame.boxes[shown & (frame.labels == label)], boxes[i, t, places])
                was_found[i, t, places[taken[taken >= 0]]] = True
    switched = (was_found[:, 1:] != was_found[:, :-1])[there[:, None].expand_as(was_found[:, 1:])]
    hidden = (torch.from_numpy(clips.visible) < MIN_VISIBLE) & there[:, None]  # (N, T, objects)
    return Score(
        ap50=ap50,
        hidden_recall=was_found[hidden].double().mean().item(),
        flicker=switched.double().mean().item(),
        precision=was_found.sum().item() / n_shown if n_shown else math.nan,
    )


def evaluate(model: Detector, clips: MovingClips, forget: bool = False) -> Score:
    """:func:`detect`, then :func:`score`."""
    return score(detect(model, clips.frames, forget), clips)
