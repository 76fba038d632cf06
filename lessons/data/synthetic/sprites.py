"""Drawings of the objects that move: four shapes, and ten digits in a 5 x 7 dot matrix of our own.

A sprite is a small square picture of how much of each cell it fills, 0 to 1. It touches all four sides of
its square, so the box around it is known exactly, wherever and however large it is drawn.
"""

from __future__ import annotations

import functools

import numpy as np

SHAPES = ("disc", "square", "triangle", "cross")
DIGITS = tuple("0123456789")
KINDS = SHAPES + DIGITS
CELLS = 24  # rows and columns of a sprite
ASPECT = {kind: 5 / 7 if kind in DIGITS else 1.0 for kind in KINDS}  # width / height

# Each digit touches every side of its matrix; so the 1 has a foot.
DOTS = {
    "0": ".###. #...# #..## #.#.# ##..# #...# .###.",
    "1": "..#.. .##.. #.#.. ..#.. ..#.. ..#.. #####",
    "2": ".###. #...# ....# ...#. ..#.. .#... #####",
    "3": "##### ...#. ..#.. ...#. ....# #...# .###.",
    "4": "...#. ..##. .#.#. #..#. ##### ...#. ...#.",
    "5": "##### #.... ####. ....# ....# #...# .###.",
    "6": "..##. .#... #.... ####. #...# #...# .###.",
    "7": "##### ....# ...#. ..#.. ..#.. .#... #....",
    "8": ".###. #...# #...# .###. #...# #...# .###.",
    "9": ".###. #...# #...# .#### ....# ...#. .##..",
}


def coverage(starts: np.ndarray, lengths: np.ndarray, n_cells: int, n_pixels: int) -> np.ndarray:
    """What share of each pixel of a line each of some equal cells fills.

    The cells lie side by side from ``start`` to ``start + length`` on a line whose pixel i goes from i to
    i + 1. With one such matrix for the rows and one for the columns, ``rows @ sprite @ columns.T`` draws the
    sprite at any place and size, every pixel filled by the area that falls into it: no jagged edges, and
    nothing outside the box.

    Args:
        starts, lengths: (...) in pixels.

    Returns:
        (..., n_pixels, n_cells), the numbers of a row adding up to at most 1.
    """
    edges = starts[..., None] + lengths[..., None] * np.arange(n_cells + 1) / n_cells  # (..., cells + 1)
    pixels = np.arange(n_pixels)[:, None]  # (pixels, 1)
    left_of_edge = np.clip(edges[..., None, :] - pixels, 0, 1)  # (..., pixels, cells + 1)
    return np.diff(left_of_edge, axis=-1)  # (..., pixels, cells)


@functools.cache
def sprite(kind: str) -> np.ndarray:
    """The picture (24, 24) of one of ``KINDS``, float32, 0 to 1; read-only.

    Raises:
        ValueError: a kind that is not drawn here.
    """
    if kind in DIGITS:
        dots = np.array([[dot == "#" for dot in row] for row in DOTS[kind].split()], float)  # (7, 5)
        rows, columns = (
            coverage(np.array(0.0), np.array(float(CELLS)), n_dots, CELLS) for n_dots in dots.shape
        )
        picture = rows @ dots @ columns.T  # (24, 24)
    elif kind in SHAPES:
        fine = 8  # points a cell, each way: their mean is the share of the cell that is filled
        line = (np.arange(CELLS * fine) + 0.5) / (CELLS * fine) * 2 - 1  # from -1 to 1
        y, x = np.meshgrid(line, line, indexing="ij")
        filled = {
            "disc": x**2 + y**2 <= 1,
            "square": np.ones_like(x, bool),
            "triangle": np.abs(x) <= (y + 1) / 2,
            "cross": (np.abs(x) <= 1 / 3) | (np.abs(y) <= 1 / 3),
        }[kind]
        picture = filled.reshape(CELLS, fine, CELLS, fine).mean((1, 3))  # (24, 24)
    else:
        raise ValueError(f"kind: {kind!r}, expected one of {', '.join(KINDS)}")
    picture = picture.astype(np.float32)
    picture.flags.writeable = False  # shared by all callers
    return picture
