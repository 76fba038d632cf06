"""Shares side by side: one row a name, one dot a series. It reads like a table, with the eye."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from lessons.figures.style import PALETTE, RULE, house_style, new_figure, to_numpy


@house_style()
def dots(
    names: Sequence[str],
    series: Mapping[str, Any],
    *,
    xlabel: str = "",
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """A dot plot of shares, from zero, rows from top to bottom.

    Args:
        names: N rows.
        series: name -> (N,) shares, at least 0; drawn as per cent, with the figure beside the dot.
    """
    if not series or len(series) > len(PALETTE):
        raise ValueError(f"series: {len(series)} of them, expected 1 to {len(PALETTE)}")
    fig = new_figure(width, 0.34 * len(names) + 1.0)
    ax = fig.add_subplot()
    rows = range(len(names))
    ax.hlines(rows, 0, 1, color=RULE, lw=0.6, transform=ax.get_yaxis_transform(), zorder=0)
    offsets = (
        [0.0] if len(series) == 1 else [0.17 * (2 * i / (len(series) - 1) - 1) for i in range(len(series))]
    )
    most = 0.0
    for (name, values), color, offset in zip(series.items(), PALETTE, offsets, strict=False):
        x = to_numpy(values, f"series[{name!r}]", 1)
        if len(x) != len(names):
            raise ValueError(f"series[{name!r}]: {len(x)} values for {len(names)} names")
        if x.min() < 0:
            raise ValueError(f"series[{name!r}]: smallest {x.min():g}, expected shares of at least 0")
        most = max(most, float(x.max()))
        ax.plot(x, [row + offset for row in rows], "o", ms=6, color=color, label=name, clip_on=False)
        for row, value in zip(rows, x, strict=True):
            ax.annotate(
                f"{100 * value:.1f}", (value, row + offset), (7, 0), textcoords="offset points",
                va="center", fontsize=8, color=color,
            )  # fmt: skip
    ax.set_yticks(rows, names)
    ax.set(ylim=(len(names) - 0.5, -0.5), xlim=(0, 1.12 * most or 1), xlabel=xlabel)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0 if most > 0.05 else 1))
    ax.tick_params(axis="y", length=0)
    ax.spines[["left"]].set_visible(False)
    if len(series) > 1:
        ax.legend(loc="lower right")
    if title:
        ax.set_title(title)
    return fig
