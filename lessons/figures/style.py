"""What all figures share: colors that color-blind readers can tell apart, axes, labels, alt texts, checks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

# The palette of Okabe and Ito, "Color Universal Design" (2008), yellow left out: too pale on white.
BLUE, VERMILION, GREEN = "#0072B2", "#D55E00", "#009E73"
PURPLE, ORANGE, SKY = "#CC79A7", "#E69F00", "#56B4E9"
PALETTE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)

INK = "#22272E"  # text and axes
FAINT = "#8B949E"  # secondary text
RULE = "#D0D7DE"  # hairlines
PAPER = "#F6F8FA"  # quiet areas
PALE_BLUE = "#DCEBF6"  # areas that stand out a little

DASHES = (0, (4, 3))
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


# Alt texts: what a screen reader says of a figure


def describe(fig: Figure, text: str) -> Figure:
    """Store ``text`` as the alt text of ``fig``; in a notebook it goes into the output's metadata.

    Raises:
        ValueError: no text.
    """
    fig.alt_text = " ".join(text.split())
    if not fig.alt_text:
        raise ValueError(f"text={text!r}: expected a sentence; say what the figure shows")
    return fig


def finish(fig: Figure, alt: str, title: str | None = None, ax: Axes | None = None) -> Figure:
    """``fig`` with its title (over ``ax``, or over the whole figure) and its alt text."""
    if title and ax is not None:
        ax.set_title(title)
    elif title:
        fig.suptitle(title, x=0.01, ha="left")
    if title:
        alt = f"{title}{'' if title[-1] in '.!?' else ':'} {alt}"
    return describe(fig, alt)


def listed(names: Iterable[Any], most: int = 8) -> str:
    """ "a, b, c", and how many more there are."""
    words = [str(name) or "(empty)" for name in names]
    rest = [f"and {len(words) - most} more"] if len(words) > most else []
    return ", ".join(words[:most] + rest)


def plural(count: int, noun: str) -> str:
    """ "1 row", "2 rows", "2 boxes"."""
    return f"{count} {noun}" + ("" if count == 1 else "es" if noun[-1] in "sx" else "s")


def short(value: float) -> str:
    """A number for an alt text, in two or three digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2g}"


def trend(values: Sequence[float]) -> str:
    """ "falls from 3.1 to 0.4": the first and the last value; a millionth of the largest counts as 0."""
    values = np.asarray(values, float)
    values = np.where(abs(values) > 1e-6 * abs(values).max(), values, 0.0)
    first, last = short(values[0]), short(values[-1])
    if first == last:
        return f"stays at {first}" if len(set(map(short, values))) == 1 else f"starts and ends at {first}"
    return f"{'falls' if values[-1] < values[0] else 'rises'} from {first} to {last}"


# Axes


def frame_axes(ax: Axes, color: str = RULE, **style: Any) -> None:
    """No ticks, and a line around the axes."""
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=color, **style)


def name_rows(ax: Axes, names: Iterable[str], spines: Sequence[str] = ("left",)) -> None:
    """Names at 0, 1, 2 … of the vertical axis, without ticks and spines."""
    names = list(names)
    ax.set_yticks(range(len(names)), names)
    ax.tick_params(axis="y", length=0)
    ax.spines[list(spines)].set_visible(False)


def write(ax: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """``text`` with its middle at (x, y)."""
    ax.text(x, y, text, **{"ha": "center", "va": "center"} | style)


def note(ax: Axes, text: str, at: tuple[float, float], shift: tuple[float, float], **style: Any) -> None:
    """``text`` beside the point ``at``, shifted by points."""
    ax.annotate(text, at, shift, textcoords="offset points", **{"fontsize": 9} | style)


def draw_box(ax: Axes, box: Sequence[float], color: str, lw: float = 1.6, **style: Any) -> None:
    """The outline of a box (left, top, right, bottom)."""
    left, top, right, bottom = box
    ax.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, ec=color, lw=lw, **style))


def draw_rounded_box(
    ax: Axes, middle: tuple[float, float], size: tuple[float, float], rounding: float = 0.08, **style: Any
) -> None:
    """A filled box with rounded corners around ``middle``, of ``size`` (width, height)."""
    corner = (middle[0] - size[0] / 2, middle[1] - size[1] / 2)
    ax.add_patch(FancyBboxPatch(corner, *size, boxstyle=f"round,pad=0,rounding_size={rounding}", **style))


def color_bar(fig: Figure, image: Any, ax: Any, ticks: Sequence[float] = (), **style: Any) -> None:
    """A slim color bar beside ``ax``."""
    labels = style.pop("labels", None)
    bar = fig.colorbar(image, ax=ax, **{"fraction": 0.02, "pad": 0.01, "aspect": 20} | style)
    if len(ticks):
        bar.set_ticks(list(ticks), labels=labels)
    bar.outline.set(edgecolor=FAINT, linewidth=0.5)


def grid(count: int, columns: int, width: float, row_height: float, extra: float = 0, **options: Any):
    """A figure and the axes of ``count`` panels, row by row; what the last row has left is invisible."""
    columns = min(columns, count)
    rows = -(-count // columns)
    fig = new_figure(width, rows * row_height + extra)
    axes = list(fig.subplots(rows, columns, squeeze=False, **options).flat)
    for ax in axes[count:]:
        ax.set_visible(False)
    return fig, axes[:count]


def visible(symbol: str) -> str:
    """A symbol as it is drawn: a space as ␣, nothing as “”."""
    return {" ": "␣", "": "“”"}.get(symbol, symbol)


def human(count: float) -> str:
    """A count in three digits: 7.23 k, 5.11 M, 1.59 G."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= size:
            return f"{float(f'{count / size:.3g}'):#.3g}".rstrip(".") + letter
    return f"{count:g}"


# Checks of arguments


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


def at_least(array: np.ndarray, low: float, name: str, what: str = "values") -> np.ndarray:
    """``array``, or a ValueError when one of its values lies below ``low``."""
    if array.min() < low:
        raise ValueError(f"{name}: smallest {array.min():g}, expected {what} of at least {low:g}")
    return array


def probabilities(array: Any, name: str, ndim: int = 2) -> np.ndarray:
    """An array of values from 0 to 1 as numpy, or a ValueError."""
    p = to_numpy(array, name, ndim).astype(float)
    if p.min() < -1e-6 or p.max() > 1 + 1e-6:
        raise ValueError(
            f"{name}: from {p.min():.3g} to {p.max():.3g}, expected 0 to 1; take exp of log_probs"
        )
    return p


def colored(items: Mapping[str, Any], name: str) -> list[tuple[str, Any, str]]:
    """(name, value, color) of each item, or a ValueError when there is none or there are too few colors."""
    if not 1 <= len(items) <= len(PALETTE):
        raise ValueError(f"{name}: {len(items)} of them, expected 1 to {len(PALETTE)}, the number of colors")
    return [(key, value, color) for (key, value), color in zip(items.items(), PALETTE, strict=False)]


def as_clip(frames: Any, name: str) -> np.ndarray:
    """Frames (T, H, W) or (T, H, W, 3) as numpy, or a ValueError."""
    clip = to_numpy(frames, name, (3, 4))
    if clip.ndim == 4 and clip.shape[3] != 3:
        raise ValueError(f"{name}: shape {clip.shape}, expected (T, H, W) or (T, H, W, 3)")
    return clip


def gray_scale(frames: np.ndarray) -> dict[str, Any]:
    """How imshow draws frames: bytes as they are, floats from the darkest to the brightest of all frames."""
    low, high = (0, 255) if frames.dtype == np.uint8 else (float(frames.min()), float(frames.max()))
    return {"cmap": "gray", "vmin": low, "vmax": high}
