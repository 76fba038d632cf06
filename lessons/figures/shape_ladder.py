"""The shape ladder: what each layer hands on, and where weights and multiply-adds sit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from lessons.figures.style import AMOUNT, BLUE, FAINT, INK, RULE, VERMILION, house_style, new_figure


class Layer(NamedTuple):
    """One rung: its name, the shape that it hands on (without batch), its weights, its multiply-adds."""

    name: str
    shape: tuple[int, ...]
    weights: int = 0
    multiply_adds: int = 0


def human(count: float) -> str:
    """A count in three digits: 7.23 k, 5.11 M, 1.59 G."""
    for size, letter in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if count >= size:
            return f"{float(f'{count / size:.3g}'):#.3g}".rstrip(".") + letter
    return f"{count:g}"


def as_video(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Any layer's shape as (C, T, H, W): (T, F) is F channels of 1 x 1 pixels, (F,) is one frame of that."""
    if len(shape) == 4:
        return shape
    if len(shape) == 2:
        return (shape[1], shape[0], 1, 1)
    if len(shape) == 1:
        return (shape[0], 1, 1, 1)
    raise ValueError(f"shape: {shape}, expected (C, T, H, W), (T, F) or (F,), without the batch")


def _draw_box(ax, x: float, size: tuple[float, float, float], color) -> None:
    """A box standing on y = 0, its front face centered on ``x``: (width, height, depth) on the page."""
    w, h, d = size
    left, right = x - w / 2 - d / 4, x + w / 2 - d / 4
    dx, dy = 0.5 * d, 0.5 * d
    faces = [
        ([(left, 0), (right, 0), (right, h), (left, h)], 1.0),
        ([(left, h), (right, h), (right + dx, h + dy), (left + dx, h + dy)], 0.65),
        ([(right, 0), (right + dx, dy), (right + dx, h + dy), (right, h)], 0.8),
    ]
    for corners, shade in faces:
        face = tuple(1 - shade * (1 - v) for v in color[:3])
        ax.add_patch(
            Polygon(
                corners,
                closed=True,
                facecolor=face,
                edgecolor="white",
                lw=min(0.7, 12 * w),
                joinstyle="round",
            )
        )


@house_style()
def shape_ladder(
    layers: Sequence[Layer | tuple], *, title: str | None = None, width: float | None = None
) -> Figure:
    """Boxes that shrink, and under each the share of all weights and of all multiply-adds that sit there.

    A box's front is one frame, height by width, to scale; its depth is the number of frames; the darker it
    is, the more channels it has (logarithmic). Vectors are drawn as frames of one pixel.

    Args:
        layers: (name, shape, weights, multiply-adds) for each rung, the input first with 0 and 0; shape is
            (C, T, H, W), (T, F) or (F,), without the batch.
    """
    rungs = [Layer(*layer) for layer in layers]
    if not rungs:
        raise ValueError("layers: empty, expected at least one")
    videos = [as_video(tuple(rung.shape)) for rung in rungs]
    n = len(rungs)
    fig = new_figure(width or max(6.0, 1.15 * n), 3.9)
    boxes, weights, work = fig.subplots(3, 1, sharex=True, height_ratios=[1.15, 1, 1])

    most_channels = max(v[0] for v in videos)
    most_frames = max(v[1] for v in videos)
    unit = 0.62 / max(max(v[2], v[3]) for v in videos)  # page units for a pixel
    for i, (channels, frames, high, wide) in enumerate(videos):
        color = colormaps[AMOUNT](0.25 + 0.65 * math.log(channels + 1) / math.log(most_channels + 1))
        smallest = 0.025  # a single pixel must stay visible
        size = (
            max(wide * unit, smallest),
            max(high * unit, smallest),
            max(0.5 * frames / most_frames, smallest),
        )
        _draw_box(boxes, i, size, color)
    boxes.set(xlim=(-0.6, n - 0.4), ylim=(-0.04, 0.66), yticks=[], aspect="equal")
    boxes.spines[["left", "bottom"]].set_visible(False)
    boxes.tick_params(axis="x", length=0)

    for ax, values, color, name in (
        (weights, [r.weights for r in rungs], BLUE, "weights"),
        (work, [r.multiply_adds for r in rungs], VERMILION, "multiply-adds"),
    ):
        total = sum(values)
        shares = [value / total if total else 0.0 for value in values]
        ax.bar(range(n), shares, width=0.56, color=color)
        for i, (value, share) in enumerate(zip(values, shares, strict=True)):
            if value:
                label = f"{human(value)}\n{100 * share:.0f} %" if share >= 0.005 else f"{human(value)}\n< 1 %"
                ax.text(i, share + 0.03 * max(shares), label, ha="center", va="bottom", fontsize=8, color=INK)
        ax.set(ylim=(0, 1.55 * max(shares) or 1), yticks=[])
        ax.set_title(f"{name}: {human(total)}", fontsize=9.5, color=color, pad=2)
        ax.spines[["left"]].set_visible(False)
        ax.spines["bottom"].set_color(RULE)
        ax.tick_params(axis="x", length=0)
    names = [f"{r.name}\n{'×'.join(map(str, r.shape))}" for r in rungs]
    boxes.set_xticks(range(n), names, fontsize=8.5)
    boxes.tick_params(axis="x", labelbottom=True, labelcolor=INK, color=FAINT)
    weights.tick_params(axis="x", labelbottom=False)
    work.tick_params(axis="x", labelbottom=False)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig
