"""One number of several runs, with its spread: a row a name, a dot a seed, a bar from worst to best."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from lessons.figures.style import FAINT, INK, PALETTE, RULE, house_style, new_figure, to_numpy


@house_style()
def spread(
    runs: Mapping[str, Any],
    *,
    xlabel: str = "",
    percent: bool = False,
    level: float | None = None,
    level_label: str = "",
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """Rows from top to bottom, the axis from zero; the mean is a tick, with its value above it.

    Args:
        runs: name -> (seeds,) values, at least 0.
        percent: the values are shares, drawn as per cent.
        level: a dashed line, such as a floor, named ``level_label``.

    Raises:
        ValueError: no runs, or a value below 0.
    """
    if not runs:
        raise ValueError("runs: empty, expected at least one name")
    fig = new_figure(width, 0.5 * len(runs) + 1.0)
    ax = fig.add_subplot()
    most = 0.0
    for row, (name, values) in enumerate(runs.items()):
        x = to_numpy(values, f"runs[{name!r}]", 1)
        if x.min() < 0:
            raise ValueError(f"runs[{name!r}]: smallest {x.min():g}, expected values of at least 0")
        most, color = max(most, float(x.max())), PALETTE[row % len(PALETTE)]
        ax.hlines(row, 0, 1, color=RULE, lw=0.6, transform=ax.get_yaxis_transform(), zorder=0)
        ax.plot([x.min(), x.max()], [row, row], color=color, lw=5, alpha=0.25, solid_capstyle="butt")
        ax.plot(x, np.full(len(x), row), "o", ms=5, color=color, alpha=0.8, mew=0)
        ax.plot([x.mean()] * 2, [row - 0.22, row + 0.22], color=INK, lw=1.4)
        label = f"{100 * x.mean():.1f}" if percent else f"{x.mean():.3g}"
        ax.text(x.mean(), row - 0.24, label, ha="center", va="bottom", fontsize=8.5)
    if level is not None:
        ax.axvline(level, color=FAINT, lw=1, ls=(0, (4, 3)), zorder=0)
        ax.text(level, -0.62, f" {level_label}", ha="left", va="center", fontsize=9, color=FAINT)
    ax.set_yticks(range(len(runs)), list(runs))
    ax.set(ylim=(len(runs) - 0.5, -0.8), xlim=(0, 1.08 * max(most, level or 0) or 1), xlabel=xlabel)
    ax.tick_params(axis="y", length=0)
    ax.spines[["left"]].set_visible(False)
    if percent:
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    if title:
        ax.set_title(title)
    return fig
