"""What several designs cost as one size grows, and where the cheapest of them changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from lessons.figures.curves import name_the_ends
from lessons.figures.shape_ladder import human
from lessons.figures.style import FAINT, INK, PALETTE, house_style, new_figure, to_numpy


@house_style()
def break_even(
    sizes: Any,
    costs: Mapping[str, Any],
    *,
    line: float,
    line_label: str,
    at: float | None = None,
    xlabel: str = "",
    ylabel: str = "weights",
    title: str | None = None,
    width: float = 7.5,
    height: float = 3.6,
) -> Figure:
    """One line a design on axes in powers, an upright line at the break-even, and the costs at one size.

    Args:
        sizes: (N,) rising, above 0.
        costs: name -> (N,) what the design costs at each size, above 0.
        line, line_label: the size at which it breaks even, and what to call it.
        at: one of ``sizes``, whose costs are marked and written out.

    Raises:
        ValueError: sizes that do not rise from above 0, costs of another length or not above 0, too many
            designs, or ``at`` that is not among the sizes.
    """
    x = to_numpy(sizes, "sizes", 1)
    if x[0] <= 0 or np.any(np.diff(x) <= 0):
        raise ValueError("sizes: expected numbers above 0 that rise")
    if not 1 <= len(costs) <= len(PALETTE):
        raise ValueError(f"costs: {len(costs)} designs, expected 1 to {len(PALETTE)}")
    if at is not None and at not in x:
        raise ValueError(f"at: {at}, expected one of the sizes")
    fig = new_figure(width, height)
    ax = fig.add_subplot()
    ax.set(xscale="log", yscale="log")
    ends, marked = [], []
    for (name, values), color in zip(costs.items(), PALETTE, strict=False):
        y = to_numpy(values, f"costs[{name!r}]", 1)
        if len(y) != len(x) or y.min() <= 0:
            raise ValueError(f"costs[{name!r}]: expected {len(x)} numbers above 0, one for each size")
        ax.plot(x, y, color=color)
        ends.append((x[-1], y[-1], name, color))
        if at is not None:
            marked.append((float(y[np.flatnonzero(x == at)[0]]), color))
    for cost, color in marked:
        below = cost == min(marked)[0]  # under the lowest line there is room
        ax.plot([at], [cost], "o", ms=6, color=color)
        ax.annotate(
            human(cost), (at, cost), (6, -4) if below else (-6, 3), textcoords="offset points",
            ha="left" if below else "right", va="top" if below else "bottom", fontsize=9, color=color,
        )  # fmt: skip
    if x[0] <= line <= x[-1]:
        ax.axvline(line, color=INK, lw=1.2, ls=(0, (4, 3)), zorder=0)
        ax.annotate(
            line_label, (line, 0.04), (5, 0), xycoords=ax.get_xaxis_transform(), textcoords="offset points",
            fontsize=9, color=FAINT,
        )  # fmt: skip
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.margins(x=0.01)
    name_the_ends(ax, ends)
    if title:
        ax.set_title(title)
    return fig
