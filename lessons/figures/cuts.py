"""One clip cut along each of its axes: a frame, a row at all times, a column at all times."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lessons.figures.style import BLUE, GREEN, VERMILION, house_style, new_figure, to_numpy


@house_style()
def cuts(
    frames: Any, t: int, row: int, column: int, *, title: str | None = None, width: float = 8.0
) -> Figure:
    """A frame, below it one row of all frames (x-t), to its right one column of all frames (y-t).

    The x axis of the frame goes on in the cut below it, the y axis in the cut beside it. Lines of one color
    are the same place: orange the row, blue the column, green the moment.

    Args:
        frames: (T, H, W) gray or (T, H, W, 3) RGB; uint8 as it is, floats from the darkest to the brightest.
        t, row, column: where to cut.

    Raises:
        ValueError: other axes, or a cut outside the clip.
    """
    film = to_numpy(frames, "frames", (3, 4))
    if film.ndim == 4 and film.shape[3] != 3:
        raise ValueError(f"frames: shape {film.shape}, expected (T, H, W) or (T, H, W, 3)")
    T, H, W = film.shape[:3]
    if not (0 <= t < T and 0 <= row < H and 0 <= column < W):
        raise ValueError(f"cut: t={t}, row={row}, column={column} lies outside the clip, {T} x {H} x {W}")
    if film.dtype != np.uint8:
        film = (film - film.min()) / max(float(np.ptp(film)), 1e-12)
    top = 255 if film.dtype == np.uint8 else 1.0
    fig = new_figure(width, width * (H + T) / (W + T) + 0.5)
    axes = fig.subplots(2, 2, width_ratios=(W, T), height_ratios=(H, T))
    (frame, right), (below, note) = axes
    look = {"cmap": "gray", "vmin": 0, "vmax": top, "aspect": "auto"}
    frame.imshow(film[t], **look)
    below.imshow(film[:, row], **look)  # (T, W)
    right.imshow(film[:, :, column].swapaxes(0, 1), **look)  # (H, T)
    line = {"lw": 1.3, "ls": (0, (5, 3))}
    frame.axhline(row, color=VERMILION, **line)
    frame.axvline(column, color=BLUE, **line)
    below.axhline(t, color=GREEN, **line)
    right.axvline(t, color=GREEN, **line)
    for ax, color in ((frame, GREEN), (below, VERMILION), (right, BLUE)):
        ax.spines[:].set(visible=True, color=color, linewidth=1.6)
    frame.set_title(f"frame {t}", color=GREEN)
    right.set_title(f"y–t cut: column {column}", color=BLUE)
    below.set_title(f"x–t cut: row {row}", color=VERMILION)
    frame.set(ylabel="row y", xlabel="column x")
    below.set(ylabel="frame t", xlabel="column x")
    right.set(xlabel="frame t")
    note.set_axis_off()
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig
