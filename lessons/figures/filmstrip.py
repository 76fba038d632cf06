"""A film as a strip of frames, with a caption under each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lessons.figures.style import FAINT, RULE, house_style, new_figure, to_numpy


def spread(total: int, count: int) -> list[int]:
    """``count`` frame numbers, evenly spread from the first to the last of ``total``."""
    return [int(i) for i in np.linspace(0, total - 1, min(count, total)).round()]


def check_frames(frames: Any, chosen: Sequence[int] | None, captions: Sequence[str] | None):
    """The frames as numpy and the chosen frame numbers, or a ValueError that says what is wrong."""
    frames = to_numpy(frames, "frames", (3, 4))  # (T, H, W) or (T, H, W, 3)
    if frames.ndim == 4 and frames.shape[3] != 3:
        raise ValueError(f"frames: shape {frames.shape}, expected (T, H, W) or (T, H, W, 3)")
    chosen = spread(len(frames), 8) if chosen is None else [int(i) for i in chosen]
    if not chosen or min(chosen) < 0 or max(chosen) >= len(frames):
        raise ValueError(f"chosen: {chosen}, expected frame numbers from 0 to {len(frames) - 1}")
    if captions is not None and len(captions) != len(chosen):
        raise ValueError(f"captions: {len(captions)} of them for {len(chosen)} chosen frames")
    return frames, chosen


def grid_of_axes(count: int, columns: int, aspect: float, width: float, extra: float):
    """A figure and its axes, row by row, for ``count`` pictures of height/width ``aspect``."""
    columns = min(columns, count)
    rows = -(-count // columns)
    fig = new_figure(width, rows * (width / columns * aspect + extra) + 0.1)
    fig.set_layout_engine("compressed", w_pad=0.02, h_pad=0.03, wspace=0.02, hspace=0.02)
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[count:]:
        ax.set_axis_off()
    for ax in axes[:count]:
        ax.set(xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set(visible=True, color=RULE)
    return fig, axes[:count]


@house_style()
def filmstrip(
    frames: Any,
    chosen: Sequence[int] | None = None,
    captions: Sequence[str] | None = None,
    *,
    columns: int = 8,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """Chosen frames side by side, the frame number above and a caption (a letter, a word) below.

    Args:
        frames: (T, H, W) gray or (T, H, W, 3) RGB; uint8 as it is, floats scaled by the darkest and the
            brightest value of the whole film, so that brightness can be compared between frames.
        chosen: frame numbers; by default eight, evenly spread.
        captions: one string for each chosen frame.
    """
    frames, chosen = check_frames(frames, chosen, captions)
    if frames.dtype != np.uint8 and frames.ndim == 4:  # matplotlib shows RGB floats only within 0..1
        frames = (frames - frames.min()) / max(float(np.ptp(frames)), 1e-12)
    low, high = (0, 255) if frames.dtype == np.uint8 else (float(frames.min()), float(frames.max()))
    _, height, wide = frames.shape[:3]
    fig, axes = grid_of_axes(len(chosen), columns, height / wide, width, 0.62 if captions else 0.3)
    for i, (ax, t) in enumerate(zip(axes, chosen, strict=True)):
        ax.imshow(frames[t], cmap="gray", vmin=low, vmax=high)
        ax.set_title(f"{t}", fontsize=8, color=FAINT, loc="center", pad=3)
        if captions is not None:
            ax.set_xlabel(captions[i], fontsize=13, labelpad=4)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig
