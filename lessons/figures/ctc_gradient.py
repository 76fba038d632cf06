"""The gradient of CTC in pictures: what the network gives, what the label asks for, and the difference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lessons.figures.style import AMOUNT, FAINT, INK, SIGNED, house_style, new_figure, to_numpy


@house_style()
def ctc_gradient(
    softmax: Any,
    occupancy: Any,
    symbols: Sequence[str],
    *,
    title: str | None = None,
    width: float = 9.5,
) -> Figure:
    """Three heat maps over frames: softmax, occupancy, softmax − occupancy.

    Args:
        softmax: (T, V) probabilities that the network gives.
        occupancy: (T, V) probabilities once the label is known.
        symbols: V names, the blank first.
    """
    given = to_numpy(softmax, "softmax", 2).astype(float)
    asked = to_numpy(occupancy, "occupancy", 2).astype(float)
    if given.shape != asked.shape:
        raise ValueError(f"occupancy: shape {asked.shape}, expected that of softmax, {given.shape}")
    if len(symbols) != given.shape[1]:
        raise ValueError(f"symbols: {len(symbols)} names for {given.shape[1]} classes")
    fig = new_figure(width, 0.34 * len(symbols) + 1.1)
    axes = fig.subplots(1, 3, sharey=True)
    names = ("softmax: given", "occupancy: asked for", "gradient = given − asked for")
    for ax, name, values in zip(axes, names, (given, asked, given - asked), strict=True):
        signed = ax is axes[-1]
        image = ax.imshow(
            values.T, aspect="auto", cmap=SIGNED if signed else AMOUNT, vmin=-1 if signed else 0, vmax=1
        )
        for t, v in np.ndindex(*values.shape):
            small = f"{values[t, v]:.1f}".replace("-0.0", "").replace("0.0", "").replace("-", "−")
            ax.text(
                t, v, small, ha="center", va="center", fontsize=6.5,
                color="white" if abs(values[t, v]) > 0.6 else INK,
            )  # fmt: skip
        ax.set_title(name, fontsize=10)
        ax.set(xlabel="frame", xticks=range(len(values)))
        ax.tick_params(length=0)
        ax.spines[["left", "bottom"]].set_visible(False)
        bar = fig.colorbar(image, ax=ax, fraction=0.05, pad=0.02, aspect=12)
        bar.set_ticks([-1, 0, 1] if signed else [0, 1])
        bar.outline.set(edgecolor=FAINT, linewidth=0.5)
    axes[0].set_yticks(range(len(symbols)), ["␣" if name == " " else name for name in symbols])
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig
