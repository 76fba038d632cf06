"""Frames of a film with boxes drawn on them: where a detector found something, and what is cut out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lessons.figures.filmstrip import filmstrip
from lessons.figures.style import PALETTE, house_style, to_numpy


@house_style()
def boxed(
    frames: Any,
    boxes: Mapping[str, Any],
    chosen: Sequence[int] | None = None,
    *,
    columns: int = 4,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """A filmstrip with one box of each kind in every frame, named under it in its color.

    Args:
        frames: (K, H, W) or (K, H, W, 3).
        boxes: kind -> (K, 4): left, top, right, bottom in pixels.
        chosen: the number to write above each frame; by default its place.
    """
    film = to_numpy(frames, "frames", (3, 4))
    if not boxes:
        raise ValueError("boxes: empty, expected at least one named kind")
    corners = {name: to_numpy(kind, f"boxes[{name!r}]", 2) for name, kind in boxes.items()}
    for name, kind in corners.items():
        if kind.shape != (len(film), 4):
            raise ValueError(f"boxes[{name!r}]: shape {kind.shape}, expected ({len(film)}, 4)")
    if chosen is not None and len(chosen) != len(film):
        raise ValueError(f"chosen: {len(chosen)} numbers for {len(film)} frames")
    fig = filmstrip(film, range(len(film)), columns=columns, title=title, width=width)
    for k, ax in enumerate(fig.axes[: len(film)]):
        if chosen is not None:
            ax.title.set_text("")
            ax.set_title(f"{chosen[k]}", fontsize=8, color=ax.title.get_color(), loc="center", pad=3)
        for (name, kind), color in zip(corners.items(), PALETTE[1:] + PALETTE[:1], strict=False):
            left, top, right, bottom = kind[k]
            ax.add_patch(
                Rectangle((left, top), right - left, bottom - top, fill=False, lw=1.8, ec=color, label=name)
            )
    handles = fig.axes[0].get_legend_handles_labels()
    fig.legend(*handles, loc="outside lower left", ncols=len(boxes))
    return fig
