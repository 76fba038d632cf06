"""How far apart everything is from everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lessons.figures.style import FAINT, VERMILION, house_style, new_figure, to_numpy


@house_style()
def distances(
    matrix: Any,
    labels: Sequence[str],
    *,
    unit: str = "",
    title: str | None = None,
    width: float | None = None,
) -> Figure:
    """A square of distances, dark where near. Pairs at distance 0, the diagonal apart, get a red frame.

    Args:
        matrix: (N, N) distances, at least 0.
        labels: N names, in the order of rows and columns.
        unit: written at the color bar.
    """
    values = to_numpy(matrix, "matrix", 2).astype(float)
    size = len(labels)
    if values.shape != (size, size):
        raise ValueError(f"matrix: shape {values.shape}, expected ({size}, {size}) for {size} labels")
    if values.min() < 0:
        raise ValueError(f"matrix: smallest entry {values.min():g}, expected distances of at least 0")
    side = width or float(np.clip(0.26 * size + 1.2, 3.2, 8.0))
    fig = new_figure(side + 0.8, side)
    ax = fig.add_subplot()
    image = ax.imshow(values, cmap="Blues_r", vmin=0)
    for row, column in np.argwhere(values == 0):
        if row != column:
            ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec=VERMILION, lw=1.6))
    ax.set_xticks(range(size), labels)
    ax.set_yticks(range(size), labels)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    bar = fig.colorbar(image, ax=ax, fraction=0.04, pad=0.02, aspect=25, label=unit)
    bar.outline.set(edgecolor=FAINT, linewidth=0.5)
    if title:
        ax.set_title(title)
    return fig
