"""Memory is one row of places; a tensor is a way of walking through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lessons.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    PALETTE,
    PAPER,
    RULE,
    VERMILION,
    house_style,
    new_figure,
    to_numpy,
)

COLORS = {"R": VERMILION, "G": GREEN, "B": BLUE}  # red, green and blue, as color-blind readers see them too


@house_style()
def memory_walk(
    walks: Mapping[str, Any],
    memory: Sequence[str],
    *,
    width: float = 10.0,
) -> Figure:
    """Which place of memory a tensor visits at each step, one panel a tensor.

    Along the top lies the memory, place 0 at the left. Every row below is one step of the walk: the cell
    under the place that is visited is filled in the color of what is stored there.

    Args:
        walks: name -> whole numbers of the tensor's own shape, the place of each of its elements. The walk
            goes through them with the last index fastest; bands mark the entries of the first axis.
        memory: a letter for each place: what is stored there.

    Raises:
        ValueError: nothing to draw, or a place outside the memory.
    """
    if not walks or not len(memory):
        raise ValueError(f"walks: {len(walks)}, memory: {len(memory)} places; expected at least one of each")
    kinds = list(dict.fromkeys(memory))
    colors = {kind: COLORS.get(kind, PALETTE[i % len(PALETTE)]) for i, kind in enumerate(kinds)}
    places = {name: to_numpy(walk, f"walks[{name!r}]", (1, 2, 3, 4, 5)) for name, walk in walks.items()}
    for name, walk in places.items():
        if walk.min() < 0 or walk.max() >= len(memory):
            raise ValueError(f"walks[{name!r}]: goes to {walk.max()}, expected 0 to {len(memory) - 1}")
    steps, cells = max(walk.size for walk in places.values()), len(memory)
    side = width / len(places)
    fig = new_figure(width, side * (steps + 3.5) / (cells + 2.5) + 0.55)
    axes = fig.subplots(1, len(places), squeeze=False)[0]
    for ax, (name, walk) in zip(axes, places.items(), strict=True):
        size = walk.size // len(walk)
        for g in range(len(walk)):
            face = PAPER if g % 2 == 0 else "white"
            ax.add_patch(Rectangle((0, g * size), cells, size, facecolor=face, edgecolor=RULE, lw=0.8))
            ax.text(cells + 0.4, (g + 0.5) * size, f"[{g}]", fontsize=8, color=FAINT, va="center")
        for place, kind in enumerate(memory):
            ax.add_patch(Rectangle((place, -1.9), 1, 1.2, facecolor=colors[kind], edgecolor="white", lw=0.6))
            ax.text(
                place + 0.5, -1.3, kind, ha="center", va="center", fontsize=6, color="white", weight="bold"
            )
        for step, place in enumerate(walk.ravel()):
            kind = memory[int(place)]
            ax.add_patch(
                Rectangle(
                    (place, step), 1, 1, facecolor=colors[kind], edgecolor="white", lw=0.6, label="step"
                )
            )
        for place in range(0, cells, 4):
            ax.text(place + 0.5, -2.2, f"{place}", ha="center", va="bottom", fontsize=7, color=FAINT)
        ax.set(xlim=(-0.3, cells + 2.6), ylim=(steps + 0.3, -3.4), aspect="equal", xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.set_title(name, fontsize=10, color=INK)
    axes[0].set_ylabel("step of the walk, downwards", fontsize=9)
    return fig
