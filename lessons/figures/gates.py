"""The gates of a recurrent layer over time: what comes in, what opens and closes, what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lessons.figures.style import (
    AMOUNT,
    BLUE,
    FAINT,
    INK,
    RULE,
    VERMILION,
    house_style,
    new_figure,
    to_numpy,
)


@house_style()
def gates(
    value: Any,
    marks: Any,
    layers: Mapping[str, Any],
    target: Any,
    out: Any,
    *,
    title: str | None = None,
    width: float = 8.0,
) -> Figure:
    """Lanes on one time axis: the input with its marks, one lane a gate, target and output.

    Args:
        value: (T,) the input at each frame.
        marks: (T,) 0 or 1; a marked frame is drawn in color, with a line through all lanes.
        layers: name -> (T, D) gate values, 0 to 1; a row for each unit, the darker the nearer to 1.
        target, out: (T,) what should come out, and what does.

    Raises:
        ValueError: unequal numbers of frames, or a gate outside 0 to 1.
    """
    value, target, out = (
        to_numpy(array, name, 1) for array, name in ((value, "value"), (target, "target"), (out, "out"))
    )
    marked = np.flatnonzero(to_numpy(marks, "marks", 1))
    n_frames = len(value)
    maps = {name: to_numpy(gate, f"layers[{name!r}]", 2) for name, gate in layers.items()}
    lengths = {"target": len(target), "out": len(out)} | {name: len(gate) for name, gate in maps.items()}
    if set(lengths.values()) != {n_frames} or len(to_numpy(marks, "marks", 1)) != n_frames:
        raise ValueError(f"frames: value has {n_frames}, the others {lengths}")
    for name, gate in maps.items():
        if gate.min() < 0 or gate.max() > 1:
            raise ValueError(f"layers[{name!r}]: from {gate.min():g} to {gate.max():g}, expected 0 to 1")

    heights = [1.0, *(0.24 * gate.shape[1] + 0.16 for gate in maps.values()), 1.1]
    fig = new_figure(width, sum(heights) + 1.0)
    top, *middle, bottom = fig.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    for ax in (top, bottom):
        for t in marked:
            ax.axvline(t, color=VERMILION, lw=0.8, alpha=0.5, zorder=0)
    top.vlines(range(n_frames), 0, value, color=RULE, lw=1)
    top.plot(range(n_frames), value, "o", ms=3, color=FAINT)
    top.plot(marked, value[marked], "o", ms=6, color=VERMILION)
    top.axhline(0, color=RULE, lw=0.8, zorder=0)
    top.set(ylabel="input")
    for ax, (name, gate) in zip(middle, maps.items(), strict=True):
        image = ax.imshow(gate.T, aspect="auto", cmap=AMOUNT, vmin=0, vmax=1)
        ax.set(yticks=range(gate.shape[1]), ylabel=name)
        ax.set_yticklabels([str(unit + 1) for unit in range(gate.shape[1])])
        ax.tick_params(axis="y", length=0)
        ax.spines[["left", "bottom"]].set_visible(False)
        for t in marked:
            ax.axvline(t, color=VERMILION, lw=0.8, alpha=0.5)
    bottom.step(range(n_frames), target, where="mid", color=INK, lw=1.2, label="last marked value")
    bottom.plot(range(n_frames), out, color=BLUE, lw=0, marker="o", ms=3.5, label="the network's answer")
    bottom.set(xlabel="frame", ylabel="output", xlim=(-0.6, n_frames - 0.4))
    low, high = min(target.min(), out.min()), max(target.max(), out.max())
    bottom.set_ylim(low - 0.1 * (high - low), high + 0.45 * (high - low))  # room for the legend
    bottom.legend(loc="upper right", ncols=2)
    if middle:
        bar = fig.colorbar(image, ax=middle, fraction=0.02, pad=0.01, aspect=12)
        bar.set_ticks([0, 1])
        bar.outline.set(edgecolor=FAINT, linewidth=0.5)
    if title:
        top.set_title(title)
    return fig
