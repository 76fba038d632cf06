"""Where the inputs of a sigmoid lie, against the part of it that has a slope."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

from lessons.figures.style import FAINT, PALETTE, RULE, VERMILION, house_style, new_figure, to_numpy


@house_style()
def saturation(
    values: Mapping[str, Any],
    *,
    edge: float = 3.0,
    limit: float = 12.0,
    title: str | None = None,
    width: float = 7.5,
) -> Figure:
    """The sigmoid and its slope; below them a histogram for each set of values, with the share beyond ±edge.

    Args:
        values: name -> any shape, what goes into the sigmoid.
        edge: beyond it the sigmoid counts as saturated; that region is shaded.
        limit: the axis ends here; what lies further out is counted in the outermost bars.

    Raises:
        ValueError: no values, or more sets than there are colors.
    """
    if not 1 <= len(values) <= len(PALETTE):
        raise ValueError(f"values: {len(values)} sets, expected 1 to {len(PALETTE)}")
    fig = new_figure(width, 2.2 + 0.95 * len(values))
    axes = fig.subplots(1 + len(values), 1, sharex=True, height_ratios=[1.9] + [1] * len(values))
    a = np.linspace(-limit, limit, 481)
    gate = 1 / (1 + np.exp(-a))
    axes[0].plot(a, gate, color=PALETTE[0])
    axes[0].plot(a, gate * (1 - gate), color=VERMILION)
    axes[0].text(edge + 0.4, 0.82, "gate σ(a)", color=PALETTE[0], va="top", fontsize=9)
    axes[0].text(edge + 0.4, 0.08, "its slope, at most ¼", color=VERMILION, va="bottom", fontsize=9)
    axes[0].set(ylim=(0, 1.02), yticks=[0, 0.25, 1])
    bins = np.linspace(-limit, limit, 97)
    for ax, (name, array) in zip(axes[1:], values.items(), strict=True):
        array = np.asarray(array.detach().cpu().numpy() if hasattr(array, "detach") else array)
        array = to_numpy(array.ravel(), f"values[{name!r}]", 1)
        counts, _ = np.histogram(np.clip(array, -limit, limit), bins)
        ax.stairs(counts / len(array), bins, fill=True, color=FAINT)
        share = float((np.abs(array) > edge).mean())
        ax.set(yticks=[], ylim=(0, 1.15 * counts.max() / len(array)))
        ax.text(0.03, 0.92, name, transform=ax.transAxes, va="top", fontsize=9)
        beyond = f"{share:.0%} beyond ±{edge:g}"
        ax.text(0.97, 0.92, beyond, transform=ax.transAxes, va="top", ha="right", fontsize=9)
        ax.spines["left"].set_visible(False)
    for ax in axes:
        for low, high in ((-limit, -edge), (edge, limit)):
            ax.axvspan(low, high, color=RULE, alpha=0.45, lw=0, zorder=0)
    axes[-1].set_xlim(-limit, limit)
    axes[-1].xaxis.set_major_locator(FixedLocator([-limit, -2 * edge, -edge, 0, edge, 2 * edge, limit]))
    axes[-1].set_xlabel(f"a, what goes into the gate; beyond ±{limit:g} counted at the ends")
    if title:
        axes[0].set_title(title)
    return fig
