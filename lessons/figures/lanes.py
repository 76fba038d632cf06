"""Yes or no, frame by frame: a lane a row, filled where it is yes, and where it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lessons.figures.style import FAINT, INK, PALETTE, RULE, house_style, new_figure, to_numpy


@house_style()
def lanes(
    rows: Mapping[str, Any],
    *,
    inked: Sequence[str] = (),
    xlabel: str = "frame",
    title: str | None = None,
    width: float = 8.0,
) -> Figure:
    """One box a frame, filled where the row says yes; a tick between two frames that differ.

    Args:
        rows: name -> (T,) bool, rows from top to bottom, all of one length.
        inked: rows in the color of text, such as the truth; the others take the palette in turn, and so have
            the colors of :func:`curves`.
    """
    if not rows:
        raise ValueError("rows: empty, expected at least one")
    values = {name: to_numpy(row, f"rows[{name!r}]", 1).astype(bool) for name, row in rows.items()}
    count = len(next(iter(values.values())))
    if any(len(row) != count for row in values.values()):
        raise ValueError(f"rows: of {[len(row) for row in values.values()]} frames, expected one length")
    fig = new_figure(width, 0.42 * len(rows) + (1.0 if title else 0.7))
    ax = fig.add_subplot()
    palette = iter(PALETTE * len(values))
    for y, (name, row) in enumerate(values.items()):
        color = INK if name in inked else next(palette)
        for t, yes in enumerate(row):
            ax.add_patch(
                Rectangle(
                    (t - 0.46, y - 0.3),
                    0.92,
                    0.6,
                    facecolor=color if yes else "none",
                    edgecolor=color if yes else RULE,
                    lw=0.8,
                )
            )
        changes = np.flatnonzero(row[1:] != row[:-1])
        ax.plot(changes + 0.5, np.full(len(changes), y + 0.4), "^", color=FAINT, ms=4, clip_on=False)
        changed = "1 change" if len(changes) == 1 else f"{len(changes)} changes"
        ax.text(count - 0.3, y, changed, va="center", fontsize=9, color=FAINT)
    ax.set(xlim=(-0.6, count - 0.4), ylim=(len(rows) - 0.4, -0.5), xlabel=xlabel)
    ax.set_xticks(range(count))
    ax.set_yticks(range(len(rows)), list(rows))
    ax.tick_params(length=0)
    ax.spines[["left", "bottom"]].set_visible(False)
    if title:
        ax.set_title(title)
    return fig
