"""Pairs of boxes, with what they share: what an IoU looks like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lessons.figures.style import BLUE, GREEN, RULE, VERMILION, house_style, new_figure, to_numpy


@house_style()
def overlaps(pairs: Mapping[str, tuple[Any, Any]], *, title: str | None = None, width: float = 9.0) -> Figure:
    """One panel a pair: the first box blue, the second red, what both cover filled green.

    Args:
        pairs: what to write above a panel -> two boxes (left, top, right, bottom). All have one scale.
    """
    if not pairs:
        raise ValueError("pairs: empty, expected at least one")
    both = {name: [to_numpy(box, f"pairs[{name!r}]", 1) for box in pair] for name, pair in pairs.items()}
    low = min(float(box[:2].min()) for pair in both.values() for box in pair) - 1
    high = max(float(box[2:].max()) for pair in both.values() for box in pair) + 1
    fig = new_figure(width, width / len(both) + 0.35 + (0.3 if title else 0))
    for ax, (name, (a, b)) in zip(fig.subplots(1, len(both), squeeze=False)[0], both.items(), strict=True):
        left, top = max(a[0], b[0]), max(a[1], b[1])
        right, bottom = min(a[2], b[2]), min(a[3], b[3])
        if right > left and bottom > top:
            ax.add_patch(Rectangle((left, top), right - left, bottom - top, color=GREEN, alpha=0.35, lw=0))
        for box, color in ((a, BLUE), (b, VERMILION)):
            ax.add_patch(Rectangle(box[:2], box[2] - box[0], box[3] - box[1], fill=False, ec=color, lw=1.8))
        ax.set(xlim=(low, high), ylim=(high, low), aspect="equal", xticks=[], yticks=[])
        ax.set_title(name, loc="center", fontsize=10)
        for spine in ax.spines.values():
            spine.set(visible=True, color=RULE)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig
