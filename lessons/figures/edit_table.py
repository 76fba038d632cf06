"""The table of edit distances, with the cheapest way through it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from lessons.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    PAPER,
    RULE,
    VERMILION,
    house_style,
    new_figure,
    to_numpy,
)

COLORS = {"same": FAINT, "substituted": VERMILION, "deleted": BLUE, "inserted": GREEN}


def _shown(unit: str) -> str:
    return {" ": "␣", "": "“”"}.get(unit, unit)


@house_style()
def edit_table(
    reference: Sequence[str],
    hypothesis: Sequence[str],
    cost: Any,
    path: Sequence[tuple[int, int]] = (),
    *,
    title: str | None = None,
    width: float | None = None,
) -> Figure:
    """Cell (i, j): the fewest edits that turn i units of the reference into j units of the hypothesis.

    Args:
        reference: what was said: a string, or a list of words; its units are the rows.
        hypothesis: what was read; the columns.
        cost: (R + 1, C + 1) whole numbers.
        path: cells (i, j) from (0, 0) to (R, C), each a step down, right or both from the one before.
    """
    table = to_numpy(cost, "cost", 2)
    rows, columns = len(reference), len(hypothesis)
    if table.shape != (rows + 1, columns + 1):
        raise ValueError(f"cost: shape {table.shape}, expected {(rows + 1, columns + 1)}")
    kinds = _kinds(reference, hypothesis, path)
    cell = max(0.34, 0.11 * max(map(len, hypothesis), default=1) + 0.1)  # inches
    wide = width or max(4.6, cell * (columns + 1) + 0.13 * max(map(len, reference), default=1) + 0.9)
    fig = new_figure(wide, 0.34 * (rows + 1) + 1.25)
    ax = fig.add_subplot()
    for i in range(rows + 1):
        for j in range(columns + 1):
            on_path = (i, j) in path
            color = "#DCEBF6" if on_path else PAPER
            ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=color, edgecolor="white"))
            ax.text(
                j, i, f"{int(table[i, j])}", ha="center", va="center", fontsize=9.5,
                color=INK if on_path else FAINT, weight="bold" if on_path else "normal", zorder=4,
            )  # fmt: skip
    for ((i, j), (k, m)), kind in zip(pairwise(path), kinds, strict=True):
        # Between the two figures, not over them; cells are wider than high.
        ends = np.array([0.38, 0.62] if m == j else [0.27, 0.73])
        ax.plot(
            j + ends * (m - j),
            i + ends * (k - i),
            color=COLORS[kind],
            lw=3,
            solid_capstyle="round",
            zorder=3,
        )
    ax.set_xticks(range(columns + 1), ["", *map(_shown, hypothesis)])
    ax.set_yticks(range(rows + 1), ["", *map(_shown, reference)])
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.set(xlabel="read", ylabel="said", xlim=(-0.5, columns + 0.5), ylim=(rows + 0.5, -0.5))
    ax.tick_params(length=0, labelsize=10)
    for spine in ax.spines.values():
        spine.set(visible=True, color=RULE)
    if path:
        used = [kind for kind in COLORS if kind in kinds]
        handles = [Patch(color=COLORS[kind], label=f"{kind}: {kinds.count(kind)}") for kind in used]
        fig.legend(handles=handles, loc="outside lower left", ncols=4, handlelength=1.0, columnspacing=1.2)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


def _kinds(reference: Sequence[str], hypothesis: Sequence[str], path: Sequence[tuple[int, int]]) -> list[str]:
    """What each step of the path does.

    Raises:
        ValueError: the path does not lead from corner to corner by such steps.
    """
    if not path:
        return []
    if tuple(path[0]) != (0, 0) or tuple(path[-1]) != (len(reference), len(hypothesis)):
        raise ValueError(f"path: from {path[0]} to {path[-1]}, expected from corner to corner")
    kinds = []
    for (i, j), (k, m) in pairwise(path):
        step = (k - i, m - j)
        if step not in ((1, 1), (1, 0), (0, 1)):
            raise ValueError(f"path: from {(i, j)} to {(k, m)} is no step down, right or both")
        if step == (1, 1):
            kinds.append("same" if reference[i] == hypothesis[j] else "substituted")
        else:
            kinds.append("deleted" if step == (1, 0) else "inserted")
    return kinds
