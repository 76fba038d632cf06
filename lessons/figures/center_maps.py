"""A frame cut into the cells of a detector's map, and maps beside it, their numbers written in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lessons.figures.style import AMOUNT, ORANGE, RULE, VERMILION, house_style, new_figure, to_numpy


@house_style()
def center_maps(
    frame: Any,
    boxes: Any,
    maps: Mapping[str, Any],
    *,
    marked: Mapping[str, Sequence[tuple[int, int]]] | None = None,
    least: float = 0.01,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """The frame with the cells' borders, boxes and their centers; then each map, all of one size.

    Args:
        frame: (H, W).
        boxes: (n, 4) left, top, right, bottom in pixels.
        maps: name -> (H', W') from 0 to 1; a number is written where it is at least ``least``.
        marked: name of a map -> cells (row, column) to frame.
    """
    picture = to_numpy(frame, "frame", 2)
    drawn = {name: to_numpy(values, f"maps[{name!r}]", 2) for name, values in maps.items()}
    if not drawn:
        raise ValueError("maps: empty, expected at least one")
    shape = next(iter(drawn.values())).shape
    for name, values in drawn.items():
        if values.shape != shape:
            raise ValueError(f"maps[{name!r}]: shape {values.shape}, expected {shape} as the first")
    fig = new_figure(width, width / (len(drawn) + 1) + 0.35 + (0.3 if title else 0))
    first, *others = fig.subplots(1, len(drawn) + 1)
    height, breadth = picture.shape
    # The axes are in pixels from edge to edge, so that a box of 0 to 8 is exactly one cell.
    first.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=(0, breadth, height, 0))
    for edge in range(1, shape[1]):
        first.axvline(edge * breadth / shape[1], color="white", lw=0.5, alpha=0.6)
    for edge in range(1, shape[0]):
        first.axhline(edge * height / shape[0], color="white", lw=0.5, alpha=0.6)
    for left, top, right, bottom in to_numpy(boxes, "boxes", 2) if len(boxes) else ():
        first.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, lw=1.6, ec=VERMILION))
        first.plot((left + right) / 2, (top + bottom) / 2, "+", color=VERMILION, ms=9, mew=1.8)
    first.set_title("frame", loc="center")
    for ax, (name, values) in zip(others, drawn.items(), strict=True):
        ax.imshow(values, cmap=AMOUNT, vmin=0, vmax=1)
        for row in range(shape[0]):
            for column in range(shape[1]):
                value = float(values[row, column])
                if value >= least:
                    text = "1" if value > 0.995 else f"{value:.2f}".lstrip("0")
                    ax.text(
                        column, row, text, ha="center", va="center", fontsize=7.5,
                        color="white" if value > 0.6 else "black",
                    )  # fmt: skip
        for row, column in (marked or {}).get(name, ()):
            ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec=ORANGE, lw=2.2))
        ax.set_title(name, loc="center")
    for ax in (first, *others):
        ax.set(xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set(visible=True, color=RULE)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig
