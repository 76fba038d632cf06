"""What a design costs: tensor shapes, weights, multiply-adds, milliseconds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from matplotlib.ticker import NullFormatter, PercentFormatter, StrMethodFormatter

from lessons.figures.basics import name_the_ends
from lessons.figures.style import (
    AMOUNT,
    BLUE,
    DASHES,
    FAINT,
    GREEN,
    INK,
    RULE,
    VERMILION,
    at_least,
    colored,
    finish,
    house_style,
    human,
    listed,
    name_rows,
    new_figure,
    note,
    short,
    to_numpy,
    write,
)


class Layer(NamedTuple):
    """One rung: its name, its output shape (without batch), its weights, its multiply-adds."""

    name: str
    shape: tuple[int, ...]
    weights: int = 0
    multiply_adds: int = 0


def as_video(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Any layer's shape as (C, T, H, W): (T, F) is F channels of 1 x 1 pixels, (F,) is one frame of that."""
    if len(shape) == 4:
        return shape
    if len(shape) == 2:
        return (shape[1], shape[0], 1, 1)
    if len(shape) == 1:
        return (shape[0], 1, 1, 1)
    raise ValueError(f"shape: {shape}, expected (C, T, H, W), (T, F) or (F,), without the batch")


@house_style()
def shape_ladder(
    layers: Sequence[Layer | tuple], *, title: str | None = None, width: float | None = None
) -> Figure:
    """Boxes that shrink, and under each its fraction of all weights and of all multiply-adds.

    A box's front is one frame, height by width, to scale; its depth is the number of frames; the darker it
    is, the more channels it has (logarithmic). Vectors are drawn as frames of one pixel.

    Args:
        layers: (name, shape, weights, multiply-adds) per layer, the input first with 0 and 0; shape is
            (C, T, H, W), (T, F) or (F,), without the batch.
    """
    rungs = [Layer(*layer) for layer in layers]
    if not rungs:
        raise ValueError("layers: empty, expected at least one")
    n = len(rungs)
    fig = new_figure(width or max(6.0, 1.15 * n), 3.9)
    boxes, weights, work = fig.subplots(3, 1, sharex=True, height_ratios=[1.15, 1, 1])
    _draw_videos(boxes, [as_video(tuple(rung.shape)) for rung in rungs])
    _draw_fractions(weights, [rung.weights for rung in rungs], BLUE, "weights")
    _draw_fractions(work, [rung.multiply_adds for rung in rungs], VERMILION, "multiply-adds")
    boxes.set_xticks(range(n), [f"{r.name}\n{'×'.join(map(str, r.shape))}" for r in rungs], fontsize=8.5)
    boxes.tick_params(axis="x", labelbottom=True, labelcolor=INK, color=FAINT)
    shapes = listed((f"{r.name} {'×'.join(map(str, r.shape))}" for r in rungs), 20)
    totals = f"{human(sum(r.weights for r in rungs))} weights"
    totals += f" and {human(sum(r.multiply_adds for r in rungs))} multiply-adds"
    return finish(fig, f"Layers and their output shapes: {shapes}; {totals} in all.", title)


def _draw_videos(ax: Axes, videos: Sequence[tuple[int, int, int, int]]) -> None:
    """Each video (C, T, H, W) as a box that stands on the axis."""
    most_channels, most_frames = (max(video[i] for video in videos) for i in (0, 1))
    unit = 0.62 / max(max(video[2:]) for video in videos)  # page units per pixel
    smallest = 0.025  # a single pixel must stay visible
    for i, (channels, frames, high, wide) in enumerate(videos):
        color = colormaps[AMOUNT](0.25 + 0.65 * math.log(channels + 1) / math.log(most_channels + 1))
        w, h, d = (max(v, smallest) for v in (wide * unit, high * unit, 0.5 * frames / most_frames))
        left, right = i - w / 2 - d / 4, i + w / 2 - d / 4
        dx, dy = 0.5 * d, 0.5 * d
        for corners, shade in (
            ([(left, 0), (right, 0), (right, h), (left, h)], 1.0),
            ([(left, h), (right, h), (right + dx, h + dy), (left + dx, h + dy)], 0.65),
            ([(right, 0), (right + dx, dy), (right + dx, h + dy), (right, h)], 0.8),
        ):
            face = tuple(1 - shade * (1 - v) for v in color[:3])
            edge = {"edgecolor": "white", "lw": min(0.7, 12 * w), "joinstyle": "round"}
            ax.add_patch(Polygon(corners, closed=True, facecolor=face, **edge))
    ax.set(xlim=(-0.6, len(videos) - 0.4), ylim=(-0.04, 0.66), yticks=[], aspect="equal")
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(axis="x", length=0)


def _draw_fractions(ax: Axes, values: Sequence[int], color: str, name: str) -> None:
    """A bar per layer: its fraction of the sum, with the amount above it."""
    total = sum(values)
    fractions = [value / total if total else 0.0 for value in values]
    ax.bar(range(len(values)), fractions, width=0.56, color=color)
    for i, (value, fraction) in enumerate(zip(values, fractions, strict=True)):
        if value:
            percent = f"{100 * fraction:.0f} %" if fraction >= 0.005 else "< 1 %"
            above = {"va": "bottom", "fontsize": 8, "color": INK}
            write(ax, i, fraction + 0.03 * max(fractions), f"{human(value)}\n{percent}", **above)
    ax.set(ylim=(0, 1.55 * max(fractions) or 1), yticks=[])
    ax.set_title(f"{name}: {human(total)}", fontsize=9.5, color=color, pad=2)
    ax.spines["left"].set_visible(False)
    ax.spines["bottom"].set_color(RULE)
    ax.tick_params(axis="x", length=0, labelbottom=False)


@house_style()
def layer_costs(
    settings: Sequence[str],
    layers: Sequence[str],
    amounts: Mapping[str, Any],
    *,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """Stacked bars: one panel per kind of cost, one bar per setting, one color per layer.

    Args:
        settings: N names, from top to bottom, such as sizes of the crop.
        layers: K names, in the order of the network.
        amounts: what a panel shows, such as "weights" -> (N, K), none negative. The percentage of each
            layer is written into its part of the bar where there is room, the sum behind the bar.
    """
    if not settings or not amounts:
        raise ValueError("settings, amounts: expected at least one of each")
    colors = [color for *_, color in colored(dict.fromkeys(layers), "layers")]
    fig = new_figure(width, 0.42 * len(settings) + 1.25)
    panels = fig.subplots(1, len(amounts), sharey=True, squeeze=False)[0]
    told = []
    for ax, (name, values) in zip(panels, amounts.items(), strict=True):
        table = at_least(to_numpy(values, f"amounts[{name!r}]", 2), 0, f"amounts[{name!r}]")  # (N, K)
        if table.shape != (len(settings), len(layers)):
            expected = f"{len(settings)} settings x {len(layers)} layers"
            raise ValueError(f"amounts[{name!r}]: shape {table.shape}, expected {expected}")
        sums = table.sum(axis=1)  # (N,)
        longest = sums.max() or 1
        for k, (layer, color) in enumerate(zip(layers, colors, strict=True)):
            left = table[:, :k].sum(axis=1)  # (N,)
            ax.barh(range(len(settings)), table[:, k], left=left, height=0.66, color=color, label=layer)
            ink = "white" if color in (BLUE, VERMILION, GREEN) else INK
            for row, amount in enumerate(table[:, k]):
                percent = f"{100 * amount / (sums[row] or 1):.0f} %"
                if amount > max(0.085, 0.021 * len(percent)) * longest:
                    write(ax, left[row] + amount / 2, row, percent, fontsize=8, color=ink)
        for row, total in enumerate(sums):
            ax.text(total + 0.015 * longest, row, human(total), va="center", fontsize=8.5, color=INK)
        ax.set_title(name)
        ax.set(xlim=(0, 1.17 * longest), xticks=[], ylim=(len(settings) - 0.5, -0.5))
        name_rows(ax, settings, ("left", "bottom"))
        told.append(
            f"{name}: {listed(f'{s} {human(total)}' for s, total in zip(settings, sums, strict=True))}"
        )
    handles, names = panels[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=len(layers), handlelength=1.0)
    return finish(fig, f"Stacked bars of {listed(layers)}; {'; '.join(told)}.", title)


@house_style()
def weight_bars(
    designs: Mapping[str, Sequence[tuple[str, int, int]]],
    *,
    kinds: Sequence[str] = (),
    span: int = 0,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """One row per design, one rectangle per layer: its height is outputs, its width weights per output.

    So its area is its weights.

    Under a rectangle are its kind, in the kind's color, and its weights; on the right is the sum.

    Args:
        designs: name -> layers (kind, outputs, weights per output), in the order in which they run.
        kinds: those that get the first colors, so that figures of other designs have the same.
        span: figures of the same span have the same scale; by default the widest row fills the page.
    """
    if not designs or not all(designs.values()):
        raise ValueError("designs: expected at least one, each with at least one layer")
    layers = [layer for design in designs.values() for layer in design]
    if min(min(outputs, weights) for _, outputs, weights in layers) < 1:
        raise ValueError("designs: a layer has fewer than 1 output or 1 weight for it")
    kinds = dict.fromkeys([*kinds, *(kind for kind, _, _ in layers)])
    colors = {kind: color for kind, _, color in colored(kinds, "kinds of layer")}

    names, totals = 0.085 * max(map(len, designs)) + 0.15, 0.75  # inches on the left and on the right
    gap = 0.62  # inches between two rectangles: room for a count under the smallest
    page = width - names - totals
    most_gaps = max(map(len, designs.values()))
    inch = max(  # weights per inch
        span / (page - most_gaps * gap),
        *(sum(columns for *_, columns in design) / (page - len(design) * gap) for design in designs.values()),
    )
    below = 0.56 * inch  # the two lines under a rectangle, and a little air
    heights = [max(height for _, height, _ in design) for design in designs.values()]
    fig = new_figure(width, (sum(heights) + len(heights) * below) / inch + (0.4 if title else 0.1))
    ax = fig.add_subplot()
    top, told = 0.0, []
    for (name, design), high in zip(designs.items(), heights, strict=True):
        middle, left = top + high / 2, 0.3 * gap * inch
        ax.text(-0.1 * inch, middle, name, ha="right", va="center", fontsize=9.5)
        for kind, height, columns in design:
            color, x = colors[kind], left + columns / 2
            ax.add_patch(Rectangle((left, middle - height / 2), columns, height, color=color, lw=0.6))
            under = {"at": (x, middle + height / 2), "va": "top", "ha": "center", "fontsize": 8.5}
            note(ax, kind, shift=(0, -3), color=color, **under)
            note(ax, f"{height * columns:,}", shift=(0, -14), color=INK, **under)
            left += columns + gap * inch
        total = f"{sum(height * columns for _, height, columns in design):,}"
        ax.text(page * inch, middle, total, ha="left", va="center", fontsize=10, weight="bold")
        told.append(f"{name} {total}")
        top += high + below
    ax.set(xlim=(-names * inch, (page + totals) * inch), ylim=(top, -0.03 * inch), aspect="equal")
    ax.set_axis_off()
    corner = {"transform": ax.transAxes, "ha": "right", "va": "bottom"}
    ax.text(1, 0, "area = weights", fontsize=8, color=FAINT, **corner)
    return finish(
        fig, f"Layers as rectangles whose areas are their weights; in all: {'; '.join(told)}.", title
    )


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
    """Costs of several designs over one size, on logarithmic axes, with a vertical line at the break-even.

    Args:
        sizes: (N,) rising, above 0.
        costs: name -> (N,) what the design costs at each size, above 0.
        line, line_label: the size at which it breaks even, and its label.
        at: one of ``sizes``, whose costs are marked and written out.
    """
    x = to_numpy(sizes, "sizes", 1)
    if x[0] <= 0 or np.any(np.diff(x) <= 0):
        raise ValueError("sizes: expected numbers above 0 that rise")
    if at is not None and at not in x:
        raise ValueError(f"at: {at}, expected one of the sizes")
    fig = new_figure(width, height)
    ax = fig.add_subplot()
    ax.set(xscale="log", yscale="log")
    ends, marked = [], []
    for name, values, color in colored(costs, "costs"):
        y = to_numpy(values, f"costs[{name!r}]", 1)
        if len(y) != len(x) or y.min() <= 0:
            raise ValueError(f"costs[{name!r}]: expected {len(x)} numbers above 0, one per size")
        ax.plot(x, y, color=color)
        ends.append((x[-1], y[-1], name, color))
        if at is not None:
            marked.append((float(y[np.flatnonzero(x == at)[0]]), color))
    for cost, color in marked:
        ax.plot([at], [cost], "o", ms=6, color=color)
        lowest = cost == min(marked)[0]  # under the lowest line there is room
        shift, place = ((6, -4), ("left", "top")) if lowest else ((-6, 3), ("right", "bottom"))
        note(ax, human(cost), (at, cost), shift, ha=place[0], va=place[1], color=color)
    if x[0] <= line <= x[-1]:
        ax.axvline(line, color=INK, lw=1.2, ls=DASHES, zorder=0)
        note(ax, line_label, (line, 0.04), (5, 0), xycoords=ax.get_xaxis_transform(), color=FAINT)
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.margins(x=0.01)
    name_the_ends(ax, ends)
    told = listed(f"{name} up to {human(y)}" for _, y, name, _ in ends)
    alt = f"Line chart of {ylabel} over {xlabel or 'size'}: {told}; break-even at {human(line)}."
    return finish(fig, alt, title, ax)


@house_style()
def roofline(
    layers: Mapping[str, tuple[float, float]],
    *,
    peak: float,
    bandwidth: float,
    title: str | None = None,
    width: float = 7.5,
    height: float = 4.0,
) -> Figure:
    """A roofline plot: multiply-adds per second over multiply-adds per byte, both axes logarithmic.

    The roof is the smaller of the peak and intensity times bandwidth: a layer that moves each byte once can
    be no faster. A dotted line joins each layer's point to the roof.

    Args:
        layers: name -> (arithmetic intensity in multiply-adds per byte, multiply-adds per second).
        peak: multiply-adds per second of the machine's fastest arithmetic.
        bandwidth: bytes per second between processor and memory.
    """
    if min(peak, bandwidth, *(value for point in layers.values() for value in point)) <= 0:
        raise ValueError("layers, peak, bandwidth: expected numbers above 0")
    points = colored(layers, "layers")
    ridge = peak / bandwidth
    low = min(0.5, ridge / 4, *(intensity / 2 for intensity, _ in layers.values()))
    high = max(4 * ridge, *(4 * intensity for intensity, _ in layers.values()))
    fig = new_figure(width, height)
    ax = fig.add_subplot()
    ax.set(xscale="log", yscale="log", xlim=(low, high))
    ax.plot([low, ridge, high], [low * bandwidth / 1e9, peak / 1e9, peak / 1e9], color=INK, lw=1.6)
    for label, x, shift, ha in (
        (f"slope: bandwidth, {short(bandwidth / 1e9)} GB per second", low, 4, "left"),
        (f"level: peak, {short(peak / 1e9)} G multiply-adds per second", high, -4, "right"),
    ):
        note(ax, label, (x, peak / 1e9), (shift, 4), ha=ha)
    told = []
    for name, (intensity, speed), color in points:
        roof = min(peak, intensity * bandwidth)
        ax.plot([intensity, intensity], sorted((speed / 1e9, roof / 1e9)), color=color, lw=1, ls=":")
        ax.plot([intensity], [speed / 1e9], "o", ms=7, color=color, label=name)
        told.append(
            f"{name} at {short(intensity)} with {short(speed / 1e9)} G, {speed / roof:.0%} of the roof"
        )
    ax.legend(loc="lower right")
    lowest = min(speed for _, speed in layers.values()) / 1e9
    floor = 10 ** math.floor(
        math.log10(min(lowest, low * bandwidth / 1e9))
    )  # a labeled tick below all points
    ax.set_ylim(floor, 2.2 * max(peak / 1e9, lowest))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axis.set_minor_formatter(NullFormatter())
    ax.set(xlabel="arithmetic intensity (multiply-adds per byte)", ylabel="G multiply-adds per second")
    alt = f"Roofline plot: a slope of {short(bandwidth / 1e9)} GB per second up to a level of "
    alt += f"{short(peak / 1e9)} G multiply-adds per second; {'; '.join(told)}."
    return finish(fig, alt, title, ax)


@house_style()
def width_trade_off(
    widths: Any,
    cost: Any,
    errors: Mapping[str, Any],
    *,
    at: int | None = None,
    trained: Mapping[str, tuple[Any, Any]] | None = None,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """What a bottleneck's width costs (left) and the smallest error that it leaves (right).

    Args:
        widths: (N,) bottleneck widths, rising.
        cost: (N,) weights as a fraction of those without a bottleneck.
        errors: name -> (N,), or (seeds, N): a line for the mean, a band from the smallest to the largest.
        at: one of the widths, marked in both panels, its values written beside it.
        trained: name -> (widths (K,), errors (K, seeds)) of trained networks, as points in the color of the
            line of this name.
    """
    x, y = to_numpy(widths, "widths", 1), to_numpy(cost, "cost", 1)
    if len(x) != len(y):
        raise ValueError(f"cost: {len(y)} values, expected {len(x)}, one per width")
    if at is not None and at not in x:
        raise ValueError(f"at: {at}, expected one of the widths")
    fig = new_figure(width, 3.4)
    left, right = fig.subplots(1, 2)
    place = int(np.flatnonzero(x == at)[0]) if at is not None else None
    panels = [(left, "multiply-adds and weights", y[None], INK)]
    for name, values, color in colored(errors, "errors"):
        lines = np.atleast_2d(to_numpy(values, f"errors[{name!r}]", (1, 2)))  # (seeds, N)
        if lines.shape[1] != len(x):
            raise ValueError(f"errors[{name!r}]: {lines.shape[1]} values, expected {len(x)}, one per width")
        panels.append((right, name, lines, color))
    told, errors_at = [], []
    for ax, name, lines, color in panels:
        mean = lines.mean(axis=0)
        ax.fill_between(x, lines.min(axis=0), lines.max(axis=0), color=color, alpha=0.18, lw=0)
        ax.plot(x, mean, color=color, label=name)
        if place is not None:
            ax.plot([at], [mean[place]], "o", ms=6, color=color)
            told.append(f"{name} {mean[place]:.0%}")
            if ax is right:
                errors_at.append((float(mean[place]), color))
            else:  # the cost rises, errors fall
                beside, side = ((-6, 6), "right") if place > len(x) // 6 else ((6, 6), "left")
                note(ax, f"{mean[place]:.0%}", (at, mean[place]), beside, color=color, ha=side)
    gap, above = 0.07 * max(lines.max() for ax, _, lines, _ in panels if ax is right), -math.inf
    for error, color in sorted(errors_at):  # moved apart where they crowd
        above = max(error, above + gap)
        note(right, f"{error:.0%}", (at, above), (6, 6), color=color, ha="left")
    for name, (where, values) in (trained or {}).items():
        color = next(color for _, line, _, color in panels if line == name)
        values = to_numpy(values, f"trained[{name!r}]", 2)
        for k, at_width in enumerate(where):
            right.plot([at_width] * values.shape[1], values[k], "x", ms=7, mew=1.4, color=color)
    for ax, label in ((left, "cost, relative to no bottleneck"), (right, "smallest relative error")):
        ax.set(xlabel="bottleneck width", ylabel=label, ylim=(0, None))
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        ax.margins(x=0.02)
        if at is not None:
            ax.axvline(at, color=INK, lw=1, ls=DASHES, zorder=0)
    left.axhline(1, color=FAINT, lw=1, ls=DASHES, zorder=0)
    right.legend(loc="upper right")
    more = f"; at width {at}: {', '.join(told)}" if at is not None else ""
    crosses = "; crosses: trained networks" if trained else ""
    alt = f"Two curves over the bottleneck width: cost rises, errors ({listed(errors)}) fall{more}{crosses}."
    return finish(fig, alt, title)
