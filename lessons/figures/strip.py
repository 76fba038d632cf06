"""Every clip a dot, one row a kind, and a threshold between them: does it separate?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lessons.figures.style import FAINT, PALETTE, RULE, house_style, new_figure, to_numpy


@house_style()
def strip(
    groups: Mapping[str, Any],
    *,
    threshold: float | None = None,
    threshold_label: str = "",
    xlabel: str = "",
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """A strip plot: values of each group along one axis, spread in height so that none hides another.

    Args:
        groups: name -> (N,) values, rows from top to bottom.
        threshold: a dashed line across all rows, named ``threshold_label``.
    """
    if not groups or len(groups) > len(PALETTE):
        raise ValueError(f"groups: {len(groups)} of them, expected 1 to {len(PALETTE)}")
    fig = new_figure(width, 0.55 * len(groups) + 1.15)
    ax = fig.add_subplot()
    for row, ((name, values), color) in enumerate(zip(groups.items(), PALETTE, strict=False)):
        x = to_numpy(values, f"groups[{name!r}]", 1)
        ax.axhline(row, color=RULE, lw=0.6, zorder=0)
        # Height by a fixed low-discrepancy sequence: no chance, and neighbors lie apart.
        lift = (np.arange(len(x)) * 0.618034) % 1 - 0.5
        ax.plot(x, row + 0.6 * lift, "o", ms=4, color=color, alpha=0.65, mew=0)
    ax.set_yticks(range(len(groups)), list(groups))
    ax.set(ylim=(len(groups) - 0.4, -0.6), xlabel=xlabel)
    ax.set_xlim(left=0)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    if threshold is not None:
        ax.axvline(threshold, color=FAINT, lw=1, ls=(0, (4, 3)))
        ax.annotate(
            threshold_label, (threshold, 1), xycoords=ax.get_xaxis_transform(), xytext=(4, -1),
            textcoords="offset points", va="bottom", fontsize=9, color=FAINT,
        )  # fmt: skip
    if title:
        ax.set_title(title, pad=16 if threshold is not None else 8)
    return fig
