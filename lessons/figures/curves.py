"""Learning curves: one line for each run, or a line and its spread over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lessons.figures.style import FAINT, PALETTE, RULE, house_style, new_figure, to_numpy


@house_style()
def curves(
    runs: Mapping[str, Any],
    steps: Any = None,
    *,
    xlabel: str = "step",
    ylabel: str = "loss",
    plateau: tuple[float, float] | None = None,
    plateau_label: str = "blank plateau",
    level: float | None = None,
    level_label: str = "",
    logy: bool = False,
    powers: bool = False,
    ylim: tuple[float, float] | None = None,
    title: str | None = None,
    width: float = 7.5,
    height: float = 3.4,
) -> Figure:
    """Curves with their names at their ends.

    Args:
        runs: name -> values. Values of shape (N,) give a line; (seeds, N) give the mean as a line and the
            range from the worst to the best seed as a band; a pair ``(steps, values)`` brings its own steps.
        steps: (N,) the horizontal axis of all runs that bring none; by default 0 … N-1.
        plateau: (start, end) on the horizontal axis, shaded and named ``plateau_label``.
        level: a dashed horizontal line, such as chance, named ``level_label``.
        logy: a logarithmic axis; means are still taken of the values themselves.
        powers: the values are logarithms to base 10, and the axis reads 10^k. Unlike with ``logy``, means are
            taken of the logarithms, so that one large seed does not hide the others.
    """
    if not runs:
        raise ValueError("runs: empty, expected at least one named curve")
    if len(runs) > len(PALETTE):
        raise ValueError(
            f"runs: {len(runs)} curves, expected at most {len(PALETTE)}: more cannot be told apart"
        )
    fig = new_figure(width, height)
    ax = fig.add_subplot()
    if plateau is not None:
        ax.axvspan(*plateau, color=RULE, alpha=0.5, lw=0)
        ax.text(
            sum(plateau) / 2, 0.03, plateau_label, transform=ax.get_xaxis_transform(),
            ha="center", va="bottom", fontsize=9, color=FAINT,
        )  # fmt: skip
    ends = []
    for (name, values), color in zip(runs.items(), PALETTE, strict=False):
        own = isinstance(values, tuple)
        x = values[0] if own else steps
        y = np.atleast_2d(to_numpy(values[1] if own else values, f"runs[{name!r}]", (1, 2)))  # (seeds, N)
        x = np.arange(y.shape[1]) if x is None else to_numpy(x, "steps", 1)
        if len(x) != y.shape[1]:
            raise ValueError(f"steps: {len(x)} of them for the {y.shape[1]} values of {name!r}")
        if len(y) > 1:
            ax.fill_between(x, y.min(axis=0), y.max(axis=0), color=color, alpha=0.18, lw=0)
        ax.plot(x, y.mean(axis=0), color=color, label=name)
        ends.append((x[-1], y.mean(axis=0)[-1], name, color))
    if logy:
        ax.set_yscale("log")
    if powers:
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_formatter(lambda k, _: "1" if k == 0 else f"$10^{{{k:.0f}}}$")
    if ylim is not None:
        ax.set_ylim(*ylim)
    if level is not None:
        ax.axhline(level, color=FAINT, lw=1, ls=(0, (4, 3)), zorder=0)
        ax.annotate(
            level_label, (0, level), xycoords=ax.get_yaxis_transform(), xytext=(5, -4),
            textcoords="offset points", va="top", fontsize=9, color=FAINT,
        )  # fmt: skip
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.margins(x=0.01)
    name_the_ends(ax, ends)
    if title:
        ax.set_title(title)
    return fig


def name_the_ends(ax, ends: list[tuple[float, float, str, str]]) -> None:
    """Write each run's name in its color to the right of its last point, moved apart where they crowd."""
    ax.autoscale_view()  # else the limits are still 0 to 1 when nothing has asked for them
    heights = [
        float(ax.transAxes.inverted().transform(ax.transData.transform((x, y)))[1]) for x, y, _, _ in ends
    ]
    gap, floor = 0.075, -1.0
    for i in sorted(range(len(ends)), key=heights.__getitem__):
        floor = max(heights[i], floor + gap)
        ax.text(
            1.015, floor, ends[i][2], transform=ax.transAxes, va="center", fontsize=9, color=ends[i][3]
        )  # fmt: skip
