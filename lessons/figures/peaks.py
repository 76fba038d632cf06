"""What a network says at each frame, at several moments of its training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from lessons.figures.style import FAINT, PALETTE, RULE, house_style, new_figure, to_numpy


@house_style()
def peaks(
    snapshots: Mapping[str, Any],
    symbols: Sequence[str],
    *,
    columns: int = 3,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """Small multiples: the probability of each class over the frames, the blank as a gray area.

    Args:
        snapshots: title -> (T, V) probabilities.
        symbols: V names, the blank first. A class that is never above 0.1 in any snapshot gets no line.
    """
    if not snapshots:
        raise ValueError("snapshots: empty, expected at least one")
    tables = {name: to_numpy(p, f"snapshots[{name!r}]", 2).astype(float) for name, p in snapshots.items()}
    for name, p in tables.items():
        if p.shape[1] != len(symbols):
            raise ValueError(f"symbols: {len(symbols)} names for the {p.shape[1]} classes of {name!r}")
        if p.min() < -1e-6 or p.max() > 1 + 1e-6:
            raise ValueError(f"{name!r}: from {p.min():.3g} to {p.max():.3g}; expected probabilities")
    used = [v for v in range(1, len(symbols)) if any(p[:, v].max() > 0.1 for p in tables.values())]
    if len(used) > len(PALETTE):
        raise ValueError(f"snapshots: {len(used)} classes above 0.1, expected at most {len(PALETTE)}")
    columns = min(columns, len(tables))
    rows = -(-len(tables) // columns)
    fig = new_figure(width, 1.55 * rows + 0.55 + (0.3 if title else 0))
    axes = list(fig.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for i, (ax, (name, p)) in enumerate(zip(axes, tables.items(), strict=False)):
        ax.fill_between(range(len(p)), p[:, 0], color=RULE, alpha=0.6, lw=0, label="blank")
        for v, color in zip(used, PALETTE, strict=False):
            ax.plot(p[:, v], color=color, lw=1.6, label="␣" if symbols[v] == " " else symbols[v])
        ax.set_title(name, fontsize=10)
        ax.set(ylim=(0, 1.03), yticks=[0, 0.5, 1], xlim=(0, len(p) - 1))
        ax.set_xlabel("frame" if i + columns >= len(tables) else "")
        ax.tick_params(colors=FAINT)
    for ax in axes[len(tables) :]:
        ax.set_visible(False)
    handles, names = axes[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside right center")
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig
