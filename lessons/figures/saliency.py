"""Where the network looked: a saliency map laid over the frames."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from lessons.figures.filmstrip import check_frames, grid_of_axes
from lessons.figures.style import FAINT, house_style, to_numpy

# From clear to opaque: where the saliency is nothing, the frame is seen untouched.
STOPS = np.array(
    [[0.90, 0.62, 0.0, 0.0], [0.90, 0.62, 0.0, 0.45], [0.84, 0.37, 0.0, 0.8], [0.60, 0.05, 0.1, 0.95]]
)
HEAT = LinearSegmentedColormap.from_list("heat", STOPS)
# The same over white, for the color bar, which has no frame behind it.
HEAT_ON_WHITE = LinearSegmentedColormap.from_list("heat on white", 1 - STOPS[:, 3:] * (1 - STOPS[:, :3]))


@house_style()
def saliency(
    frames: Any,
    saliency: Any,
    chosen: Sequence[int] | None = None,
    captions: Sequence[str] | None = None,
    *,
    columns: int = 6,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """Frames with a saliency map over them, one color scale for the whole film.

    Args:
        frames: (T, H, W) gray or (T, H, W, 3) RGB.
        saliency: (T, H, W), at least 0: for example the size of the gradient at each pixel. The scale ends
            at the 99.5th percentile of the film, so that one hot pixel does not hide all others.
        chosen, captions: as in :func:`lessons.figures.filmstrip`.
    """
    frames, chosen = check_frames(frames, chosen, captions)
    heat = to_numpy(saliency, "saliency", 3).astype(float)  # (T, H, W)
    if heat.shape != frames.shape[:3]:
        raise ValueError(f"saliency: shape {heat.shape}, expected that of the frames, {frames.shape[:3]}")
    if heat.min() < 0:
        raise ValueError(f"saliency: smallest value {heat.min():.3g}; take the absolute value first")
    heat = np.clip(heat / max(float(np.quantile(heat, 0.995)), 1e-12), 0, 1)
    low, high = (0, 255) if frames.dtype == np.uint8 else (float(frames.min()), float(frames.max()))
    _, height, wide = frames.shape[:3]
    fig, axes = grid_of_axes(len(chosen), columns, height / wide, width, 0.62 if captions else 0.3)
    for i, (ax, t) in enumerate(zip(axes, chosen, strict=True)):
        ax.imshow(frames[t], cmap="gray", vmin=low, vmax=high)
        ax.imshow(heat[t], cmap=HEAT, vmin=0, vmax=1, interpolation="bilinear")
        ax.set_title(f"{t}", fontsize=8, color=FAINT, loc="center", pad=3)
        if captions is not None:
            ax.set_xlabel(captions[i], fontsize=13, labelpad=4)
    bar = fig.colorbar(ScalarMappable(cmap=HEAT_ON_WHITE), ax=list(axes), fraction=0.02, pad=0.01, aspect=18)
    bar.set_ticks([0, 1], labels=["none", "most"])
    bar.outline.set_visible(False)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig
