"""A memory that is a picture, as a film: the frames that come in above the maps that they leave behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lessons.figures.style import (
    AMOUNT,
    FAINT,
    INK,
    RULE,
    SIGNED,
    VERMILION,
    house_style,
    new_figure,
    to_numpy,
)


@house_style()
def memory_film(
    rows: Mapping[str, Any],
    captions: Sequence[str] | None = None,
    *,
    limits: Mapping[str, float] | None = None,
    marks: Any = None,
    hidden: Any = None,
    squares: Any = None,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """One row for each film, its name on the left; column k shows moment k of every film.

    Bytes are drawn as a camera saw them, in gray. Numbers of both signs go from blue (below 0) over white to
    red (above); numbers that are nowhere below 0 go from white to blue.

    Args:
        rows: name -> (K, H, W), the same K for all; H and W may differ from row to row.
        captions: K strings above the columns.
        limits: name -> the number that gets the full color; by default the largest of the row.
        marks: (K, 2) a place in every map, (row, column) as shares of its height and width: a small ring.
        hidden: (K,) bool, moments whose frame and caption are set off by color.
        squares: (K,) sides of a square around the middle of each map, in places, drawn as an outline.

    Raises:
        ValueError: no rows, or lengths that differ.
    """
    if not rows:
        raise ValueError("rows: empty, expected at least one named film")
    films = {name: to_numpy(film, f"rows[{name!r}]", 3) for name, film in rows.items()}
    count = len(next(iter(films.values())))
    places = None if marks is None else to_numpy(marks, "marks", 2)
    gone = np.zeros(count, bool) if hidden is None else to_numpy(hidden, "hidden", 1).astype(bool)
    sides = None if squares is None else to_numpy(squares, "squares", 1)
    lengths = {name: len(film) for name, film in films.items()} | {"hidden": len(gone)}
    lengths |= {
        name: len(values)
        for name, values in (("captions", captions), ("marks", places), ("squares", sides))
        if values is not None
    }
    for name, length in lengths.items():
        if length != count:
            raise ValueError(f"{name}: {length} moments, expected {count} as in the first film")

    margin = 0.08 * max(map(len, films)) + 0.15  # inches for the names
    aspects = [film.shape[1] / film.shape[2] for film in films.values()]
    column = (width - margin) / count
    fig = new_figure(width, sum(aspects) * column + 0.05 * len(films) + (0.55 if title else 0.25))
    fig.set_layout_engine("compressed", w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    axes = fig.subplots(len(films), count, squeeze=False, height_ratios=aspects)
    for line, (name, film) in zip(axes, films.items(), strict=True):
        camera = film.dtype == np.uint8
        most = (limits or {}).get(name) or float(np.abs(film.astype(float)).max()) or 1.0
        if camera:
            look = dict(cmap="gray", vmin=0, vmax=255)
        elif film.min() < 0:
            look = dict(cmap=SIGNED, vmin=-most, vmax=most)
        else:
            look = dict(cmap=AMOUNT, vmin=0, vmax=most)
        for k, ax in enumerate(line):
            ax.imshow(film[k], **look)
            ax.set(xticks=[], yticks=[])
            for spine in ax.spines.values():
                spine.set(visible=True, color=RULE)
                if gone[k] and camera:
                    spine.set(color=VERMILION, linewidth=2)
            height, width_of_map = film.shape[1:]
            if places is not None:
                y, x = places[k, 0] * height - 0.5, places[k, 1] * width_of_map - 0.5
                color = VERMILION if camera else INK
                ax.plot(x, y, "o", ms=5, mfc="none", mec=color, mew=0.9)
            if sides is not None:
                corner = (width_of_map / 2 - sides[k] / 2 - 0.5, height / 2 - sides[k] / 2 - 0.5)
                ax.add_patch(Rectangle(corner, sides[k], sides[k], fill=False, ec=VERMILION, lw=1.4))
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10, labelpad=6)
    for k, caption in enumerate(captions or ()):
        color = VERMILION if gone[k] else FAINT
        axes[0, k].set_title(caption, fontsize=8, color=color, loc="center", pad=3)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig
