"""Probability flowing through the CTC trellis: dots for states, lines as wide as what passes along them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from lessons.figures.style import BLUE, FAINT, INK, RULE, VERMILION, house_style, new_figure, to_numpy

WIDEST = 7.0  # points, the width of a line along which everything passes
FAINTEST = 0.004  # a smaller share would be thinner than the eye sees


@house_style()
def trellis_flow(
    panels: Mapping[str, tuple[Any, Any]],
    states: Sequence[str],
    *,
    columns: int = 1,
    title: str | None = None,
    width: float = 9.0,
    row: float = 0.25,
) -> Figure:
    """Trellises of one label: where the probability is at each frame, and along which moves it gets there.

    Args:
        panels: title -> (nodes, edges). Nodes (T, S): the share of state s at frame t, drawn as area. Edges
            (T - 1, S, 3): the share that moves from state s at frame t to s, s + 1, s + 2 at t + 1, drawn as
            width.
        states: S names: blank, first label, blank, …, blank.
        columns: how many panels side by side.
        row: inches from one state to the next.
    """
    if not panels:
        raise ValueError("panels: empty, expected at least one trellis")
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    fig = new_figure(width, rows * (row * len(states) + 0.75) + (0.3 if title else 0))
    axes = fig.subplots(rows, columns, squeeze=False).flat
    for i, (ax, (name, (nodes, edges))) in enumerate(zip(axes, panels.items(), strict=False)):
        nodes, edges = _checked(nodes, edges, states, name)
        _draw(ax, nodes, edges, states, width / columns, row)
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("frame" if i + columns >= len(panels) else "")
    for ax in list(axes)[len(panels) :]:
        ax.set_visible(False)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


@house_style()
def trellis_steps(
    nodes: Any,
    edges: Any,
    states: Sequence[str],
    frames: Sequence[int],
    *,
    columns: int = 4,
    width: float = 9.0,
    row: float = 0.21,
) -> Figure:
    """One trellis at several moments: filled up to frame t, and the moves into frame t in orange.

    Args:
        nodes, edges, states: as for ``trellis_flow``.
        frames: the moments t, one panel each.
    """
    nodes, edges = _checked(nodes, edges, states, "nodes")
    for t in frames:
        if not 0 <= t < len(nodes):
            raise ValueError(f"frames: found {t}, expected 0 to {len(nodes) - 1}")
    columns = min(columns, len(frames))
    rows = -(-len(frames) // columns)
    fig = new_figure(width, rows * (row * len(states) + 0.62))
    axes = list(fig.subplots(rows, columns, squeeze=False, sharey=True).flat)
    for ax, t in zip(axes, frames, strict=False):
        _draw(ax, nodes, edges, states, width / columns, row, until=int(t))
        ax.set_title(f"frame {t}", fontsize=10)
        ax.set_xlabel("")
    for ax in axes[len(frames) :]:
        ax.set_visible(False)
    return fig


def _checked(nodes: Any, edges: Any, states: Sequence[str], name: str) -> tuple[np.ndarray, np.ndarray]:
    nodes = to_numpy(nodes, name, 2).astype(float)  # (T, S)
    edges = to_numpy(edges, f"edges of {name}", 3).astype(float)  # (T - 1, S, 3)
    frames, count = nodes.shape
    if len(states) != count:
        raise ValueError(f"states: {len(states)} names for {count} states")
    if edges.shape != (frames - 1, count, 3):
        raise ValueError(f"edges of {name}: shape {edges.shape}, expected {(frames - 1, count, 3)}")
    for what, values in (("nodes", nodes), ("edges", edges)):
        if values.min() < -1e-9 or values.max() > 1 + 1e-6:
            raise ValueError(f"{what} of {name}: from {values.min():.3g} to {values.max():.3g}: no shares")
    return nodes, edges


def _draw(
    ax: Axes,
    nodes: np.ndarray,
    edges: np.ndarray,
    states: Sequence[str],
    inches: float,
    row: float,
    until: int | None = None,
) -> None:
    frames, count = nodes.shape
    newest = None if until is None else until - 1  # the moves of this frame stand out
    until = frames - 1 if until is None else until
    hairlines, flows, widths, colors = [], [], [], []
    for t in range(frames - 1):
        for s in range(count):
            for jump in (0, 1, 2):
                skips = jump == 2 and (s % 2 == 0 or s + 2 >= count or states[s] == states[s + 2])
                if s + jump >= count or skips:
                    continue
                line = [(t, s), (t + 1, s + jump)]
                if t < until and edges[t, s, jump] > FAINTEST:
                    flows.append(line)
                    widths.append(WIDEST * edges[t, s, jump])
                    colors.append(VERMILION if t == newest else BLUE)
                elif newest is None and inches > 3.5:  # smaller panels are clearer without
                    hairlines.append(line)
    ax.add_collection(LineCollection(hairlines, colors=RULE, linewidths=0.5, zorder=1))
    ax.add_collection(
        LineCollection(flows, colors=colors, linewidths=widths, alpha=0.55, zorder=2, capstyle="round")
    )
    t, s = np.mgrid[:frames, :count]
    seen = np.where(t <= until, nodes, 0.0)
    across = 72 * min((inches - 0.8) / frames, 1.2 * row)  # points that a dot may fill
    ax.scatter(t.ravel(), s.ravel(), s=(0.75 * across) ** 2 * seen.ravel(), color=BLUE, lw=0, zorder=4)
    ax.scatter(t.ravel(), s.ravel(), s=2.5, color=FAINT, lw=0, zorder=3)
    ax.set_yticks(range(count), ["␣" if name == " " else name for name in states])
    for label, name in zip(ax.get_yticklabels(), states, strict=False):
        label.set(color=FAINT if name == states[0] else INK)
    ax.set_xticks(range(0, frames, 1 if frames <= 12 else 5))
    ax.tick_params(length=0)
    ax.set(xlim=(-0.6, frames - 0.4), ylim=(count - 0.4, -0.6))
    ax.spines[["left", "bottom"]].set_visible(False)
