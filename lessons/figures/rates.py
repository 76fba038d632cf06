"""Error rates side by side: a group of bars for each setting, a line for how far each may be off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from lessons.figures.style import FAINT, INK, PALETTE, house_style, new_figure, to_numpy


@house_style()
def rates(
    groups: Sequence[str],
    bars: Mapping[str, Any],
    *,
    ylabel: str = "WER",
    inked: Sequence[str] = (),
    width: float = 8.0,
    height: float = 3.4,
) -> Figure:
    """Bars from zero, each with its value above it.

    Args:
        groups: G names, from left to right.
        bars: name -> (G, 3) the rate, and the low and the high end of where it may be, as shares.
        inked: bars in gray, such as a floor; the others take the palette in turn.

    Raises:
        ValueError: bars of another shape, a rate below 0 or outside its own range.
    """
    if not groups or not bars:
        raise ValueError("groups, bars: expected at least one of each")
    fig = new_figure(width, height)
    ax = fig.add_subplot()
    palette, wide, top = iter(PALETTE * len(bars)), 0.8 / len(bars), 0.0
    for k, (name, values) in enumerate(bars.items()):
        rate, low, high = to_numpy(values, f"bars[{name!r}]", 2).T if len(values) else ((), (), ())
        if len(rate) != len(groups):
            raise ValueError(
                f"bars[{name!r}]: {len(rate)} of them, expected {len(groups)}, one for each group"
            )
        if not ((low >= 0) & (low <= rate) & (rate <= high)).all():
            raise ValueError(f"bars[{name!r}]: expected 0 <= low <= rate <= high, found {values}")
        x = np.arange(len(groups)) - 0.4 + wide * (k + 0.5)
        ax.bar(x, rate, 0.9 * wide, color=FAINT if name in inked else next(palette), label=name)
        ax.vlines(x, low, high, color=INK, lw=1.2)
        for at, value, end in zip(x, rate, high, strict=True):
            ax.text(at, end, f"{100 * value:.0f}", ha="center", va="bottom", fontsize=8.5)
        top = max(top, high.max())
    ax.set_xticks(range(len(groups)), groups)
    ax.tick_params(axis="x", length=0)
    ax.set(ylim=(0, 1.12 * top or 1), ylabel=ylabel)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    fig.legend(loc="outside lower center", ncols=len(bars), handlelength=1.0)
    return fig
