"""A drawn face that OpenCV's detector takes for one: a video to crop a mouth from, where no real one is."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np


def draw_face(
    height: int = 288,
    width: int = 360,
    x: float = 180,
    y: float = 150,
    size: float = 130,
    opening: float = 0.02,
) -> np.ndarray:
    """(H, W, 3) uint8 RGB: a face about ``size`` wide around (x, y), its mouth open by ``opening`` sizes.

    The default picture is of GRID's size.
    """
    picture = np.full((height, width, 3), (70, 120, 150), np.uint8)

    def oval(right: float, down: float, half_width: float, half_height: float, color: tuple) -> None:
        middle = (round((x + right * size) * 16), round((y + down * size) * 16))  # in sixteenths of a pixel
        axes = (round(half_width * size * 16), round(half_height * size * 16))
        cv2.ellipse(picture, middle, axes, 0, 0, 360, color, -1, cv2.LINE_AA, shift=4)

    oval(0, -0.10, 0.52, 0.68, (60, 45, 35))  # hair
    oval(0, 0.05, 0.45, 0.62, (215, 170, 145))  # skin
    for side in (-1, 1):
        oval(0.2 * side, -0.14, 0.12, 0.035, (90, 60, 45))  # brow
        oval(0.2 * side, -0.02, 0.11, 0.06, (120, 85, 70))  # socket
        oval(0.2 * side, -0.02, 0.07, 0.035, (235, 235, 235))  # eye
        oval(0.2 * side, -0.02, 0.035, 0.035, (30, 20, 15))  # pupil
    oval(0, 0.16, 0.035, 0.14, (228, 185, 160))  # nose
    oval(0, 0.22, 0.08, 0.03, (150, 105, 90))  # its shadow
    oval(0, 0.51, 0.16, 0.05 + opening / 2, (170, 80, 80))  # lips
    oval(0, 0.51, 0.10, opening, (60, 20, 20))  # between them
    return cv2.GaussianBlur(picture, (0, 0), size / 60)


def face_video(openings: Sequence[float], path: np.ndarray | None = None, **place: float) -> np.ndarray:
    """(T, H, W, 3) uint8: the face, its mouth open by ``openings[t]`` in frame t.

    Args:
        openings: (T,) as in :func:`draw_face`; 0.02 is shut, 0.12 wide open.
        path: (T, 2) where the head is, (x, y) in pixels; None leaves it in its ``place``.
        place: height, width, x, y and size, as in :func:`draw_face`.
    """
    places = [place] * len(openings) if path is None else [place | {"x": x, "y": y} for x, y in path]
    return np.stack([draw_face(opening=gap, **here) for gap, here in zip(openings, places, strict=True)])


def talk(n: int = 20, **place: float) -> np.ndarray:
    """(T, H, W, 3) uint8: ``n`` frames of the face opening and closing its mouth."""
    return face_video(0.02 + 0.03 * (1 - np.cos(np.arange(n) / 2)), **place)
