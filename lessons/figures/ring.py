"""An all-reduce round by round: which process has how much of each piece's sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lessons.figures.style import INK, house_style, new_figure, to_numpy


@house_style()
def ring(rounds: Sequence[Any], *, title: str | None = None, width: float = 9.0) -> Figure:
    """One panel a round, one box for each piece of each process, darker the more of its sum is there.

    Args:
        rounds: one (N, K) a round, the start included: how many processes' numbers are added up in piece k
            of process n, 1 to N.

    Raises:
        ValueError: no round, rounds of different shapes, or a count that is not 1 to N.
    """
    if not len(rounds):
        raise ValueError("rounds: expected at least one")
    tables = [to_numpy(table, f"rounds[{i}]", 2) for i, table in enumerate(rounds)]  # (N, K) each
    n, k = tables[0].shape
    for i, table in enumerate(tables):
        if table.shape != (n, k):
            raise ValueError(f"rounds[{i}]: shape {table.shape}, expected {(n, k)} like the first")
        if table.min() < 1 or table.max() > n:
            raise ValueError(f"rounds[{i}]: from {table.min():g} to {table.max():g}, expected 1 to {n}")
    fig = new_figure(width, width / len(tables) * n / k + 0.75)
    axes = fig.subplots(1, len(tables), squeeze=False)[0]
    for i, (ax, table) in enumerate(zip(axes, tables, strict=True)):
        ax.imshow(table, cmap="Blues", vmin=0, vmax=1.25 * n)
        for row, column in np.ndindex(n, k):
            count = table[row, column]
            ax.text(
                column, row, f"{count:g}", ha="center", va="center", fontsize=8.5,
                color="white" if count > 0.7 * n else INK, fontweight="bold" if count == n else "normal",
            )  # fmt: skip
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"round {i}" if i else "start")
        ax.spines[:].set_visible(False)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig
