"""Who is taken for whom."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lessons.figures.style import AMOUNT, FAINT, INK, house_style, new_figure, to_numpy


@house_style()
def confusion(
    matrix: Any, labels: Sequence[str], *, title: str | None = None, width: float | None = None
) -> Figure:
    """A confusion matrix: row = what was said, column = what was read, each row as a share of its sum.

    Args:
        matrix: (V, V) counts, at least 0. A row without counts stays empty.
        labels: V names, in the order of rows and columns.
    """
    counts = to_numpy(matrix, "matrix", 2).astype(float)  # (V, V)
    size = len(labels)
    if counts.shape != (size, size):
        raise ValueError(f"matrix: shape {counts.shape}, expected ({size}, {size}) for {size} labels")
    if counts.min() < 0:
        raise ValueError(f"matrix: smallest count {counts.min():g}, expected at least 0")
    sums = counts.sum(axis=1, keepdims=True)  # (V, 1)
    share = np.divide(counts, sums, out=np.zeros_like(counts), where=sums > 0)
    side = width or float(np.clip(0.3 * size + 1.6, 3.2, 8.5))
    fig = new_figure(side + 0.6, side)
    ax = fig.add_subplot()
    image = ax.imshow(share, cmap=AMOUNT, vmin=0, vmax=1)
    ax.set_xticks(range(size), labels, rotation=90 if max(map(len, labels)) > 2 else 0)
    ax.set_yticks(range(size), labels)
    ax.tick_params(length=0)
    ax.set(xlabel="read as", ylabel="said")
    ax.spines[["left", "bottom"]].set_visible(False)
    if size <= 12:  # larger ones have no room for figures
        for row, column in np.argwhere(share >= 0.005):
            value = share[row, column]
            ax.text(
                column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8.5,
                color="white" if value > 0.6 else INK,
            )  # fmt: skip
    bar = fig.colorbar(image, ax=ax, fraction=0.04, pad=0.02, aspect=25)
    bar.set_ticks([0, 0.5, 1], labels=["0", "50", "100 %"])
    bar.outline.set(edgecolor=FAINT, linewidth=0.5)
    if title:
        ax.set_title(title)
    return fig
