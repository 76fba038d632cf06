"""A film as it arrives: the mouth that was found, its crop, and under it what had been told by then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from lessons.figures.box_rows import box_rows
from lessons.figures.style import FAINT, INK, house_style


@house_style()
def live_strip(
    frames: Any,
    crops: Any,
    boxes: Sequence[Mapping[str, Any]],
    told: Sequence[str],
    captions: Sequence[str],
    *,
    dashed: Sequence[str] = (),
    width: float = 9.5,
) -> Figure:
    """One column a moment: the picture with its boxes, the crop, the words told so far.

    Args:
        frames: (K, H, W) of the film.
        crops: (K, h, w) what the reader is shown.
        boxes, dashed: as in :func:`lessons.figures.box_rows`, for the frames.
        told: K sentences so far; the newest word of each is the one that the sentence before has not.
        captions: K strings above the columns.

    Raises:
        ValueError: not as many of each.
    """
    if not len(frames) == len(crops) == len(boxes) == len(told) == len(captions):
        counts = [len(part) for part in (frames, crops, boxes, told, captions)]
        raise ValueError(f"frames, crops, boxes, told, captions: {counts} of them, expected as many of each")
    fig = box_rows(
        {"film": frames, "crop": crops}, {"film": boxes}, captions, dashed=dashed, width=width
    )  # (2 * K axes)
    fig.set_size_inches(width, fig.get_size_inches()[1] + 0.45)
    before = ""
    for ax, words in zip(fig.axes[len(frames) :], told, strict=True):
        new = words[len(before) :].strip() if words.startswith(before) else words
        ax.set_xlabel(new or "·", fontsize=10, color=INK if new else FAINT, fontweight="bold", labelpad=4)
        before = words
    return fig
