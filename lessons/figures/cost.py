"""What a design costs: shapes, weights, multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from matplotlib.ticker import StrMethodFormatter

from lessons.figures.basics import name_the_ends
from lessons.figures.style import (
    AMOUNT,
    BLUE,
    FAINT,
    GREEN,
    INK,
    PALETTE,
    RULE,
    VERMILION,
    house_style,
    new_figure,
    to_numpy,
)


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


@house_style()
def layer_costs(
    settings: Sequence[str],
    layers: Sequence[str],
    amounts: Mapping[str, Any],
    *,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """One panel for each kind of amount, one bar for each setting, one color for each layer.

    Args:
        settings: N names, from top to bottom, such as sizes of the crop.
        layers: K names, in the order of the network.
        amounts: what a panel shows, such as "weights" -> (N, K), each at least 0. The share of a layer is
            written into its part of the bar where there is room, the sum behind the bar.

    Raises:
        ValueError: nothing to draw, more layers than colors, or amounts of another shape or below 0.
    """
    if not settings or not amounts:
        raise ValueError("settings, amounts: expected at least one of each")
    if not 1 <= len(layers) <= len(PALETTE):
        raise ValueError(f"layers: {len(layers)} of them, expected 1 to {len(PALETTE)}")
    fig = new_figure(width, 0.42 * len(settings) + 1.25)
    panels = fig.subplots(1, len(amounts), sharey=True, squeeze=False)[0]
    for ax, (name, values) in zip(panels, amounts.items(), strict=True):
        table = to_numpy(values, f"amounts[{name!r}]", 2)  # (N, K)
        if table.shape != (len(settings), len(layers)):
            raise ValueError(
                f"amounts[{name!r}]: shape {table.shape}, expected {len(settings)} settings x "
                f"{len(layers)} layers"
            )
        if table.min() < 0:
            raise ValueError(f"amounts[{name!r}]: smallest {table.min():g}, expected at least 0")
        sums = table.sum(axis=1)  # (N,)
        longest = sums.max() or 1
        for k, color in enumerate(PALETTE[: len(layers)]):
            left = table[:, :k].sum(axis=1)  # (N,)
            ax.barh(range(len(settings)), table[:, k], left=left, height=0.66, color=color, label=layers[k])
            for row, amount in enumerate(table[:, k]):
                share = f"{100 * amount / (sums[row] or 1):.0f} %"
                if amount > max(0.085, 0.021 * len(share)) * longest:
                    ax.text(
                        left[row] + amount / 2,
                        row,
                        share,
                        ha="center",
                        va="center",
                        fontsize=8,
                        color="white" if color in (BLUE, VERMILION, GREEN) else INK,
                    )
        for row, total in enumerate(sums):
            ax.text(total + 0.015 * longest, row, human(total), va="center", fontsize=8.5, color=INK)
        ax.set_title(name)
        ax.set(xlim=(0, 1.17 * longest), xticks=[], ylim=(len(settings) - 0.5, -0.5))
        ax.set_yticks(range(len(settings)), settings)
        ax.tick_params(axis="y", length=0)
        ax.spines[["left", "bottom"]].set_visible(False)
    handles, names = panels[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=len(layers), handlelength=1.0)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


@house_style()
def weight_bars(
    designs: Mapping[str, Sequence[tuple[str, int, int]]],
    *,
    kinds: Sequence[str] = (),
    span: int = 0,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """One row a design, one rectangle a layer: as high as it has outputs, as wide as one output has weights.

    Under a rectangle stand its kind, in the kind's color, and its weights; their sum stands on the right.

    Args:
        designs: name -> layers (kind, outputs, weights of one output), in the order in which they run.
        kinds: those that get the first colors, so that pictures of other designs have the same.
        span: pictures of the same span have the same scale; by default the widest row fills the page.

    Raises:
        ValueError: no design, a design without layers, more kinds than colors, or a size below 1.
    """
    if not designs or not all(designs.values()):
        raise ValueError("designs: expected at least one, each with at least one layer")
    layers = [layer for design in designs.values() for layer in design]
    if min(min(rows, columns) for _, rows, columns in layers) < 1:
        raise ValueError("designs: a layer has fewer than 1 output or 1 weight for it")
    kinds = list(dict.fromkeys([*kinds, *(kind for kind, _, _ in layers)]))
    if len(kinds) > len(PALETTE):
        raise ValueError(f"designs: {len(kinds)} kinds of layer, expected at most {len(PALETTE)}")

    names, totals = 0.085 * max(map(len, designs)) + 0.15, 0.75  # inches on the left and on the right
    gap = 0.62  # inches between two rectangles: room for a count under the smallest
    page = width - names - totals
    most_gaps = max(map(len, designs.values()))
    inch = max(  # weights an inch
        span / (page - most_gaps * gap),
        *(sum(columns for *_, columns in design) / (page - len(design) * gap) for design in designs.values()),
    )
    text = 0.40 * inch  # the two lines under a rectangle
    rows = [max(height for _, height, _ in design) for design in designs.values()]
    whole = sum(rows) + len(rows) * (text + 0.16 * inch)
    fig = new_figure(width, whole / inch + (0.4 if title else 0.1))
    ax = fig.add_subplot()
    top = 0.0
    for (name, design), high in zip(designs.items(), rows, strict=True):
        middle, left = top + high / 2, 0.3 * gap * inch
        ax.text(-0.1 * inch, middle, name, ha="right", va="center", fontsize=9.5)
        for kind, height, columns in design:
            color = PALETTE[kinds.index(kind)]
            ax.add_patch(Rectangle((left, middle - height / 2), columns, height, color=color, lw=0.6))
            for line, label, tint in ((3, kind, color), (14, f"{height * columns:,}", INK)):
                ax.annotate(
                    label, (left + columns / 2, middle + height / 2), (0, -line), va="top", ha="center",
                    textcoords="offset points", fontsize=8.5, color=tint,
                )  # fmt: skip
            left += columns + gap * inch
        total = f"{sum(height * columns for _, height, columns in design):,}"
        ax.text(page * inch, middle, total, ha="left", va="center", fontsize=10, weight="bold")
        top += high + text + 0.16 * inch
    ax.set(xlim=(-names * inch, (page + totals) * inch), ylim=(top, -0.03 * inch), aspect="equal")
    ax.set_axis_off()
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    ax.text(
        1, 0, "area = weights", transform=ax.transAxes, ha="right", va="bottom", fontsize=8, color=FAINT
    )  # fmt: skip
    return fig


@house_style()
def break_even(
    sizes: Any,
    costs: Mapping[str, Any],
    *,
    line: float,
    line_label: str,
    at: float | None = None,
    xlabel: str = "",
    ylabel: str = "weights",
    title: str | None = None,
    width: float = 7.5,
    height: float = 3.6,
) -> Figure:
    """One line a design on axes in powers, an upright line at the break-even, and the costs at one size.

    Args:
        sizes: (N,) rising, above 0.
        costs: name -> (N,) what the design costs at each size, above 0.
        line, line_label: the size at which it breaks even, and what to call it.
        at: one of ``sizes``, whose costs are marked and written out.

    Raises:
        ValueError: sizes that do not rise from above 0, costs of another length or not above 0, too many
            designs, or ``at`` that is not among the sizes.
    """
    x = to_numpy(sizes, "sizes", 1)
    if x[0] <= 0 or np.any(np.diff(x) <= 0):
        raise ValueError("sizes: expected numbers above 0 that rise")
    if not 1 <= len(costs) <= len(PALETTE):
        raise ValueError(f"costs: {len(costs)} designs, expected 1 to {len(PALETTE)}")
    if at is not None and at not in x:
        raise ValueError(f"at: {at}, expected one of the sizes")
    fig = new_figure(width, height)
    ax = fig.add_subplot()
    ax.set(xscale="log", yscale="log")
    ends, marked = [], []
    for (name, values), color in zip(costs.items(), PALETTE, strict=False):
        y = to_numpy(values, f"costs[{name!r}]", 1)
        if len(y) != len(x) or y.min() <= 0:
            raise ValueError(f"costs[{name!r}]: expected {len(x)} numbers above 0, one for each size")
        ax.plot(x, y, color=color)
        ends.append((x[-1], y[-1], name, color))
        if at is not None:
            marked.append((float(y[np.flatnonzero(x == at)[0]]), color))
    for cost, color in marked:
        below = cost == min(marked)[0]  # under the lowest line there is room
        ax.plot([at], [cost], "o", ms=6, color=color)
        ax.annotate(
            human(cost), (at, cost), (6, -4) if below else (-6, 3), textcoords="offset points",
            ha="left" if below else "right", va="top" if below else "bottom", fontsize=9, color=color,
        )  # fmt: skip
    if x[0] <= line <= x[-1]:
        ax.axvline(line, color=INK, lw=1.2, ls=(0, (4, 3)), zorder=0)
        ax.annotate(
            line_label, (line, 0.04), (5, 0), xycoords=ax.get_xaxis_transform(), textcoords="offset points",
            fontsize=9, color=FAINT,
        )  # fmt: skip
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.margins(x=0.01)
    name_the_ends(ax, ends)
    if title:
        ax.set_title(title)
    return fig
