"""How often each whole number occurs: bars, several series on one axis."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from lessons.figures.style import FAINT, INK, PALETTE, house_style, new_figure


@house_style()
def counts(
    series: Mapping[str, Mapping[int, int]],
    *,
    xlabel: str = "",
    ylabel: str = "",
    mark: tuple[float, str] | None = None,
    title: str | None = None,
    width: float = 7.5,
    height: float = 2.7,
) -> Figure:
    """Bars with each series' name above its highest bar.

    Args:
        series: name -> {number: how often}.
        mark: a number on the horizontal axis to point out, and what to call it.
    """
    if not series or len(series) > len(PALETTE):
        raise ValueError(f"series: {len(series)} of them, expected 1 to {len(PALETTE)}")
    fig = new_figure(width, height)
    ax = fig.add_subplot()
    for (name, occurs), color in zip(series.items(), PALETTE, strict=False):
        if not occurs or min(occurs.values()) < 0:
            raise ValueError(f"series[{name!r}]: expected at least one number, and no count below 0")
        ax.bar(list(occurs), list(occurs.values()), width=0.85, color=color, label=name)
        top = max(occurs, key=occurs.__getitem__)
        ax.annotate(
            name,
            (top, occurs[top]),
            (0, 4),
            textcoords="offset points",
            ha="center",
            color=color,
            fontsize=9,
        )
    if mark is not None:
        ax.axvline(mark[0], color=INK, lw=1.2)
        ax.annotate(
            mark[1], (mark[0], 0.6), (-5, 0), xycoords=ax.get_xaxis_transform(), textcoords="offset points",
            ha="right", color=INK, fontsize=9,
        )  # fmt: skip
    ax.margins(y=0.15)
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.tick_params(color=FAINT)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if title:
        ax.set_title(title)
    return fig
