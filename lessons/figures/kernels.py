"""Filters of a spatiotemporal convolution: one image for each time step, and their cut through time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lessons.figures.style import RULE, SIGNED, house_style, new_figure, to_numpy


@house_style()
def kernels(
    weight: Any, names: Sequence[str] | None = None, *, title: str | None = None, width: float | None = None
) -> Figure:
    """One column for each filter: its time steps from top to bottom, and below them its x-t cut.

    The x-t cut is one row of the filter, the one with the largest weights, at all its time steps: time runs
    downwards, so a filter that follows motion to the right is a line from the top left to the bottom right.
    Red is positive, blue negative, white zero; each filter is scaled by its own largest weight.

    Args:
        weight: (O, kt, kh, kw), one input channel.
        names: O strings, written above the columns.
    """
    w = to_numpy(weight, "weight", 4).astype(float)  # (O, kt, kh, kw)
    count, taps = w.shape[:2]
    if names is not None and len(names) != count:
        raise ValueError(f"names: {len(names)} of them for {count} filters")
    fig = new_figure(width or 0.95 * count + 0.9, 0.95 * (taps + 1) + 0.5)
    fig.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.03, hspace=0.03)
    axes = fig.subplots(taps + 1, count, squeeze=False)
    for o in range(count):
        bound = max(float(np.abs(w[o]).max()), 1e-12)
        strongest = int(np.square(w[o]).sum(axis=(0, 2)).argmax())
        for row, picture in enumerate([*w[o], w[o][:, strongest]]):  # kt images (kh, kw), then (kt, kw)
            ax = axes[row, o]
            ax.imshow(picture, cmap=SIGNED, vmin=-bound, vmax=bound)
            ax.set(xticks=[], yticks=[])
            for spine in ax.spines.values():
                spine.set(visible=True, color=RULE)
            if o == 0:
                label = f"frame {row - taps // 2:+d}" if row < taps else "x–t cut"
                label = label.replace("+0", "0").replace("-", "−")
                ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        if names is not None:
            axes[0, o].set_title(names[o], fontsize=9, loc="center", pad=4)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig
