"""Clips a second for each setting of a training step, and what each setting gained over the first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lessons.figures.style import BLUE, FAINT, INK, VERMILION, house_style, new_figure, to_numpy


@house_style()
def throughput(
    settings: Mapping[str, Any],
    *,
    unit: str = "clips a second",
    title: str | None = None,
    width: float = 8.5,
) -> Figure:
    """One bar a setting, from top to bottom; the first is what the others are measured against.

    Args:
        settings: name -> (N,) measured rates, above 0. The bar is their median, the thin line goes from the
            lower to the upper quartile; behind it stand the median and how many times the first one it is.

    Raises:
        ValueError: no settings, or a rate that is not above 0.
    """
    if not settings:
        raise ValueError("settings: expected at least one")
    rates = {name: to_numpy(values, f"settings[{name!r}]", 1) for name, values in settings.items()}
    for name, values in rates.items():
        if values.min() <= 0:
            raise ValueError(f"settings[{name!r}]: smallest {values.min():g}, expected above 0")
    quartiles = np.array([np.quantile(values, (0.25, 0.5, 0.75)) for values in rates.values()])  # (N, 3)
    medians, longest = quartiles[:, 1], quartiles.max()
    fig = new_figure(width, 0.5 * len(rates) + 0.95)
    ax = fig.subplots()
    places = range(len(rates))
    ax.barh(places, medians, height=0.6, color=[FAINT] + [BLUE] * (len(rates) - 1))
    ax.hlines(places, quartiles[:, 0], quartiles[:, 2], color=VERMILION, linewidth=2.2)
    for place, (_, median, high) in zip(places, quartiles, strict=True):
        told = f"{median:.1f}" + (f"   {median / medians[0]:.1f} ×" if place else "")
        ax.text(max(median, high) + 0.015 * longest, place, told, va="center", color=INK)
    ax.set_yticks(places, list(rates))
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(0, 1.18 * longest), ylim=(len(rates) - 0.5, -0.5), xlabel=unit)
    ax.spines["left"].set_visible(False)
    if title:
        ax.set_title(title)
    return fig
