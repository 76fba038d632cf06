"""One look for every figure: colors that color-blind readers can tell apart, sizes, and little else."""

from __future__ import annotations

from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

# The palette of Okabe and Ito, "Color Universal Design" (2008), yellow left out: too pale on white.
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY = "#CC79A7", "#E69F00", "#56B4E9"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)

INK = "#22272E"  # text and axes
FAINT = "#8B949E"  # secondary text
RULE = "#D0D7DE"  # hairlines
PAPER = "#F6F8FA"  # quiet areas

AMOUNT = "Blues"  # color map for "how much", from nothing (white) upwards
SIGNED = "RdBu_r"  # color map for values of both signs, white at zero

RC: dict[str, Any] = {
    "figure.dpi": 96,
    "savefig.dpi": 96,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": mpl.cycler(color=PALETTE),
    "figure.titlesize": 12,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "image.interpolation": "nearest",
    "mathtext.fontset": "dejavusans",
}


def house_style():
    """The style as a context manager (``with house_style():``) or a decorator (``@house_style()``)."""
    return mpl.rc_context(RC)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of ``width`` by ``height`` inches that lays itself out.

    pyplot does not know it, so a notebook shows it once: where it is the last line of a cell.
    """
    return Figure(figsize=(width, height), layout="constrained")


def to_numpy(array: Any, name: str, ndim: int | tuple[int, ...]) -> np.ndarray:
    """An array or tensor as numpy, with the right number of axes.

    Raises:
        ValueError: when ``array`` has another number of axes, no elements, or values that are not finite.
    """
    if hasattr(array, "detach"):
        array = array.detach().cpu().numpy()
    array = np.asarray(array)
    allowed = (ndim,) if isinstance(ndim, int) else ndim
    if array.ndim not in allowed:
        wanted = " or ".join(map(str, allowed))
        raise ValueError(f"{name}: shape {array.shape} has {array.ndim} axes, expected {wanted}")
    if array.size == 0:
        raise ValueError(f"{name}: shape {array.shape} holds nothing to draw")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{name}: holds NaN or infinity; look for them with torch.isfinite")
    return array
