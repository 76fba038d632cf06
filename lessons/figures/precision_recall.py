"""Precision against recall: the saw, its hull, and the area that is the average precision."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lessons.figures.style import BLUE, FAINT, GREEN, VERMILION, house_style, new_figure, to_numpy


@house_style()
def precision_recall(
    precision: Any, recall: Any, right: Any = None, *, title: str | None = None, width: float = 5.5
) -> Figure:
    """The curve of one class.

    Args:
        precision, recall: (n,) after each detection, the surest first.
        right: (n,) bool, drawn as a dot (right) or a cross (false alarm) at each detection; with few.

    Raises:
        ValueError: lengths that differ, or a recall that falls.
    """
    p, r = to_numpy(precision, "precision", 1), to_numpy(recall, "recall", 1)
    if len(p) != len(r) or (right is not None and len(right) != len(p)):
        raise ValueError(f"precision: {len(p)} values, recall {len(r)}: expected as many, and as many marks")
    if (np.diff(r) < 0).any():
        raise ValueError("recall: falls, expected the surest detection first")
    hull = np.maximum.accumulate(p[::-1])[::-1]
    fig = new_figure(width, 0.62 * width)
    ax = fig.add_subplot()
    edges = np.concatenate([[0.0], r])
    ax.stairs(hull, edges, fill=True, color=GREEN, alpha=0.2, lw=0)
    ax.stairs(hull, edges, color=GREEN, lw=1.8, baseline=None)
    ax.plot(r, p, color=BLUE, lw=1.0)
    if right is not None:
        marks = np.asarray(right, bool)
        ax.plot(r[marks], p[marks], "o", color=BLUE, ms=7)
        ax.plot(r[~marks], p[~marks], "x", color=VERMILION, ms=7, mew=2)
        for k, (x, y) in enumerate(zip(r, p, strict=True), start=1):
            ax.annotate(f"{k}", (x, y), (7, 5), textcoords="offset points", fontsize=9, color=FAINT)
    area = float((np.diff(edges) * hull).sum())
    ax.text(0.03, 0.06, f"area {area:.3f}", color=GREEN, transform=ax.transAxes, weight="bold")
    ax.set(xlim=(0, 1.04), ylim=(0, 1.08), xlabel="recall", ylabel="precision")
    if title:
        ax.set_title(title)
    return fig
