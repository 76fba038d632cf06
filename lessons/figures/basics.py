"""Charts of numbers: lines, bars, dots and matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from lessons.figures.style import (
    AMOUNT,
    DASHES,
    FAINT,
    INK,
    PALETTE,
    RULE,
    VERMILION,
    at_least,
    color_bar,
    colored,
    draw_box,
    finish,
    house_style,
    listed,
    name_rows,
    new_figure,
    note,
    short,
    to_numpy,
    trend,
    write,
)


@house_style()
def curves(
    runs: Mapping[str, Any],
    steps: Any = None,
    *,
    xlabel: str = "step",
    ylabel: str = "loss",
    plateau: tuple[float, float] | None = None,
    plateau_label: str = "blank plateau",
    level: float | None = None,
    level_label: str = "",
    logx: bool = False,
    logy: bool = False,
    powers: bool = False,
    ylim: tuple[float, float] | None = None,
    title: str | None = None,
    width: float = 7.5,
    height: float = 3.4,
) -> Figure:
    """A line chart, such as learning curves, with the names of the lines at their ends.

    Args:
        runs: name -> values. Values of shape (N,) give a line; (seeds, N) give the mean as a line and the
            range from the worst to the best seed as a band; a pair ``(steps, values)`` brings its own steps.
        steps: (N,) the horizontal axis of all runs that bring none; by default 0 … N-1. Where all steps are
            integers, the axis has no ticks between them.
        plateau: (start, end) on the horizontal axis, shaded and named ``plateau_label``.
        level: a dashed horizontal line, such as a baseline, named ``level_label``.
        logx: a logarithmic horizontal axis, labeled with integers; steps above 0.
        logy: a logarithmic axis; means are still taken of the values themselves.
        powers: the values are logarithms to base 10, and the axis reads 10^k. Unlike with ``logy``, means are
            taken of the logarithms, so that one large seed does not hide the others.
    """
    fig = new_figure(width, height)
    ax = fig.add_subplot()
    if plateau is not None:
        ax.axvspan(*plateau, color=RULE, alpha=0.5, lw=0)
        at = {"transform": ax.get_xaxis_transform(), "va": "bottom"}
        write(ax, sum(plateau) / 2, 0.03, plateau_label, fontsize=9, color=FAINT, **at)
    ends, told, counted = [], [], True
    for name, values, color in colored(runs, "runs"):
        x, y = _points(name, values, steps)  # (N,), (seeds, N)
        counted = counted and bool((x == np.round(x)).all())
        mean = y.mean(axis=0)
        if len(y) > 1:
            ax.fill_between(x, y.min(axis=0), y.max(axis=0), color=color, alpha=0.18, lw=0)
        ax.plot(x, mean, color=color, label=name)
        ends.append((x[-1], mean[-1], name, color))
        told.append(f"{name} {trend(mean)}")
    if logx:
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    if logy:
        ax.set_yscale("log")
    if powers:
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_formatter(lambda k, _: "1" if k == 0 else f"$10^{{{k:.0f}}}$")
    if ylim is not None:
        ax.set_ylim(*ylim)
    if level is not None:
        ax.axhline(level, color=FAINT, lw=1, ls=DASHES, zorder=0)
        note(ax, level_label, (0, level), (5, -4), xycoords=ax.get_yaxis_transform(), va="top", color=FAINT)
        told.append(f"a dashed line at {short(level)}" + (f" ({level_label})" if level_label else ""))
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.margins(x=0.01)
    if counted and not logx:  # there is no frame 2.5
        ax.xaxis.get_major_locator().set_params(integer=True)
    name_the_ends(ax, ends)
    measure = f"log10 of {ylabel}" if powers else ylabel
    return finish(fig, f"Line chart of {measure} over {xlabel}; {'; '.join(told)}.", title, ax)


def _points(name: str, values: Any, steps: Any) -> tuple[np.ndarray, np.ndarray]:
    """The horizontal axis (N,) and the values (seeds, N) of one run."""
    own = isinstance(values, tuple)
    x = values[0] if own else steps
    y = np.atleast_2d(to_numpy(values[1] if own else values, f"runs[{name!r}]", (1, 2)))
    x = np.arange(y.shape[1]) if x is None else to_numpy(x, "steps", 1)
    if len(x) != y.shape[1]:
        raise ValueError(f"steps: {len(x)} of them for the {y.shape[1]} values of {name!r}")
    return x, y


def name_the_ends(ax: Axes, ends: list[tuple[float, float, str, str]]) -> None:
    """Write each run's name in its color to the right of its last point, moved apart where they crowd."""
    ax.autoscale_view()  # else the limits are still 0 to 1 when nothing has asked for them
    to_axes = ax.transData + ax.transAxes.inverted()
    heights = [float(to_axes.transform((x, y))[1]) for x, y, _, _ in ends]
    gap, floor = 0.075, -1.0
    for i in sorted(range(len(ends)), key=heights.__getitem__):
        floor = max(heights[i], floor + gap)
        *_, name, color = ends[i]
        ax.text(1.015, floor, name, transform=ax.transAxes, va="center", fontsize=9, color=color)


@house_style()
def count_bars(
    series: Mapping[str, Mapping[int, int]],
    *,
    xlabel: str = "",
    ylabel: str = "",
    mark: tuple[float, str] | None = None,
    title: str | None = None,
    width: float = 7.5,
    height: float = 2.7,
) -> Figure:
    """A histogram of integers, each series in its color with its name above its highest bar.

    Args:
        series: name -> {integer: how often it occurs}.
        mark: a number on the horizontal axis to point out, and its label.
    """
    fig = new_figure(width, height)
    ax = fig.add_subplot()
    told = []
    for name, occurs, color in colored(series, "series"):
        if not occurs or min(occurs.values()) < 0:
            raise ValueError(f"series[{name!r}]: expected at least one number, and no count below 0")
        ax.bar(list(occurs), list(occurs.values()), width=0.85, color=color, label=name)
        top = max(occurs, key=occurs.__getitem__)
        note(ax, name, (top, occurs[top]), (0, 4), ha="center", color=color)
        told.append(f"{name} from {min(occurs)} to {max(occurs)}, most often {top} ({occurs[top]:,} times)")
    if mark is not None:
        ax.axvline(mark[0], color=INK, lw=1.2)
        note(ax, mark[1], (mark[0], 0.6), (-5, 0), xycoords=ax.get_xaxis_transform(), ha="right", color=INK)
        told.append(f"a line at {mark[0]:g}: {mark[1]}")
    ax.margins(y=0.15)
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.tick_params(color=FAINT)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return finish(fig, f"Histogram of {xlabel or 'integers'}; {'; '.join(told)}.", title, ax)


@house_style()
def dot_plot(
    names: Sequence[str],
    series: Mapping[str, Any],
    *,
    xlabel: str = "",
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """A dot plot of fractions, in percent: one row per name, one dot per series, its value beside it.

    Args:
        names: N rows, from top to bottom.
        series: name -> (N,) fractions, at least 0.
    """
    items = colored(series, "series")
    fig = new_figure(width, 0.34 * len(names) + (1.3 if len(items) > 1 else 1.0))
    ax = fig.add_subplot()
    ax.hlines(range(len(names)), 0, 1, color=RULE, lw=0.6, transform=ax.get_yaxis_transform(), zorder=0)
    offsets = np.linspace(-0.17, 0.17, len(items)) if len(items) > 1 else [0.0]
    most, told = 0.0, []
    for (name, values, color), offset in zip(items, offsets, strict=True):
        x = at_least(to_numpy(values, f"series[{name!r}]", 1), 0, f"series[{name!r}]", "fractions")
        if len(x) != len(names):
            raise ValueError(f"series[{name!r}]: {len(x)} values for {len(names)} names")
        most = max(most, float(x.max()))
        rows = np.arange(len(names)) + offset
        ax.plot(x, rows, "o", ms=6, color=color, label=name, clip_on=False)
        for row, value in zip(rows, x, strict=True):
            note(ax, f"{100 * value:.1f}", (value, row), (7, 0), va="center", fontsize=8, color=color)
        told.append(f"{name} from {100 * x.min():.1f} to {100 * x.max():.1f} percent")
    name_rows(ax, names)
    ax.set(ylim=(len(names) - 0.5, -0.5), xlim=(0, 1.12 * most or 1), xlabel=xlabel)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0 if most > 0.05 else 1))
    if len(items) > 1:
        fig.legend(*ax.get_legend_handles_labels(), loc="outside lower right", ncols=len(items))
    return finish(
        fig, f"Dot plot of {xlabel or 'fractions'} for {listed(names)}; {'; '.join(told)}.", title, ax
    )


@house_style()
def seed_spread(
    runs: Mapping[str, Any],
    *,
    xlabel: str = "",
    percent: bool = False,
    signed: bool = False,
    level: float | None = None,
    level_label: str = "",
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """Results over random seeds: a row per name, a dot per seed, a bar from worst to best, a tick: the mean.

    Args:
        runs: name -> (seeds,) values, at least 0 unless ``signed``, rows from top to bottom.
        percent: the values are fractions, drawn in percent.
        signed: values may be negative; the axis then reaches to the smallest, and a thin line marks 0.
        level: a dashed line, such as the Bayes error, named ``level_label``.
    """
    if not runs:
        raise ValueError("runs: empty, expected at least one name")
    fig = new_figure(width, 0.5 * len(runs) + 1.0)
    ax = fig.add_subplot()
    least, most, told = 0.0, level or 0.0, []
    for row, (name, values) in enumerate(runs.items()):
        x = at_least(to_numpy(values, f"runs[{name!r}]", 1), -np.inf if signed else 0, f"runs[{name!r}]")
        least, most = min(least, float(x.min())), max(most, float(x.max()))
        color = PALETTE[row % len(PALETTE)]
        ax.hlines(row, 0, 1, color=RULE, lw=0.6, transform=ax.get_yaxis_transform(), zorder=0)
        ax.plot([x.min(), x.max()], [row, row], color=color, lw=5, alpha=0.25, solid_capstyle="butt")
        ax.plot(x, np.full(len(x), row), "o", ms=5, color=color, alpha=0.8, mew=0)
        ax.plot([x.mean()] * 2, [row - 0.22, row + 0.22], color=INK, lw=1.4)
        label = f"{100 * x.mean():.1f}" if percent else f"{x.mean():.3g}"
        write(ax, x.mean(), row - 0.24, label, va="bottom", fontsize=8.5)
        told.append(f"{name} {label}")
    if level is not None:
        ax.axvline(level, color=FAINT, lw=1, ls=DASHES, zorder=0)
        ax.text(level, -0.62, f" {level_label}", ha="left", va="center", fontsize=9, color=FAINT)
    if least < 0:
        ax.axvline(0, color=FAINT, lw=1, zorder=0)
    name_rows(ax, runs)
    ax.set(ylim=(len(runs) - 0.5, -0.8), xlim=(1.08 * least, 1.08 * most or 1), xlabel=xlabel)
    if percent:
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    unit = " in percent" if percent else ""
    return finish(
        fig, f"Dots per seed, with the mean of {xlabel or 'each run'}{unit}: {listed(told)}.", title, ax
    )


@house_style()
def strip_plot(
    groups: Mapping[str, Any],
    *,
    threshold: float | None = None,
    threshold_label: str = "",
    xlabel: str = "",
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """A strip plot: a row per group, a dot per value, jittered in height so that none hides another.

    Args:
        groups: name -> (N,) values, rows from top to bottom.
        threshold: a dashed line across all rows, named ``threshold_label``.
    """
    items = colored(groups, "groups")
    fig = new_figure(width, 0.55 * len(groups) + 1.15)
    ax = fig.add_subplot()
    told = []
    for row, (name, values, color) in enumerate(items):
        x = to_numpy(values, f"groups[{name!r}]", 1)
        ax.axhline(row, color=RULE, lw=0.6, zorder=0)
        # Jitter by a fixed low-discrepancy sequence: no randomness, and neighbors lie apart.
        lift = (np.arange(len(x)) * 0.618034) % 1 - 0.5
        ax.plot(x, row + 0.6 * lift, "o", ms=4, color=color, alpha=0.65, mew=0)
        told.append(f"{name} from {short(x.min())} to {short(x.max())}")
    name_rows(ax, groups)
    ax.set(ylim=(len(groups) - 0.4, -0.6), xlabel=xlabel)
    ax.set_xlim(left=0)
    if threshold is not None:
        ax.axvline(threshold, color=FAINT, lw=1, ls=DASHES)
        top = {"xycoords": ax.get_xaxis_transform(), "va": "bottom", "color": FAINT}
        note(ax, threshold_label, (threshold, 1), (4, -1), **top)
        told.append(f"the threshold at {short(threshold)}")
    finish(fig, f"Strip plot of {xlabel or 'values'}; {'; '.join(told)}.", title, ax)
    if title and threshold is not None:
        ax.set_title(title, pad=16)
    return fig


@house_style()
def error_rate_bars(
    groups: Sequence[str],
    bars: Mapping[str, Any],
    *,
    ylabel: str = "WER",
    neutral: Sequence[str] = (),
    width: float = 8.0,
    height: float = 3.4,
) -> Figure:
    """Grouped bars of error rates, each with its value above it and a line for its confidence interval.

    Args:
        groups: G names, from left to right.
        bars: name -> (G, 3) the rate, and the low and the high end of its interval, as fractions.
        neutral: bars in gray, such as a baseline; the others take the palette in turn.

    Raises:
        ValueError: bars of another shape, a rate below 0 or outside its own interval.
    """
    if not groups or not bars:
        raise ValueError("groups, bars: expected at least one of each")
    fig = new_figure(width, height)
    ax = fig.add_subplot()
    palette, wide, top, told = iter(PALETTE * len(bars)), 0.8 / len(bars), 0.0, []
    for k, (name, values) in enumerate(bars.items()):
        rate, low, high = to_numpy(values, f"bars[{name!r}]", 2).T if len(values) else ((), (), ())
        if len(rate) != len(groups):
            raise ValueError(f"bars[{name!r}]: {len(rate)}, expected {len(groups)}, one per group")
        if not ((low >= 0) & (low <= rate) & (rate <= high)).all():
            raise ValueError(f"bars[{name!r}]: expected 0 <= low <= rate <= high, found {values}")
        x = np.arange(len(groups)) - 0.4 + wide * (k + 0.5)
        ax.bar(x, rate, 0.9 * wide, color=FAINT if name in neutral else next(palette), label=name)
        ax.vlines(x, low, high, color=INK, lw=1.2)
        labels = [f"{100 * value:.0f}" for value in rate]
        for at, label, end in zip(x, labels, high, strict=True):
            write(ax, at, end, label, va="bottom", fontsize=8.5)
        top = max(top, high.max())
        told.append(f"{name} {', '.join(labels)}")
    ax.set_xticks(range(len(groups)), groups)
    ax.tick_params(axis="x", length=0)
    ax.set(ylim=(0, 1.12 * top or 1), ylabel=ylabel)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    fig.legend(loc="outside lower center", ncols=len(bars), handlelength=1.0)
    return finish(fig, f"Bars of {ylabel} in percent for {listed(groups)}; {'; '.join(told)}.")


def _square(matrix: Any, labels: Sequence[str]) -> np.ndarray:
    """A matrix of numbers of at least 0, (N, N) for N labels."""
    values = to_numpy(matrix, "matrix", 2).astype(float)
    size = len(labels)
    if values.shape != (size, size):
        raise ValueError(f"matrix: shape {values.shape}, expected ({size}, {size}) for {size} labels")
    return at_least(values, 0, "matrix", "entries")


@house_style()
def confusion_matrix(
    matrix: Any, labels: Sequence[str], *, title: str | None = None, width: float | None = None
) -> Figure:
    """A confusion matrix: row = reference, column = hypothesis, each row as fractions of its sum.

    Args:
        matrix: (V, V) counts, at least 0. A row without counts stays empty.
        labels: V names, in the order of rows and columns.
    """
    counts = _square(matrix, labels)  # (V, V)
    size, sums = len(labels), counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, sums, out=np.zeros_like(counts), where=sums > 0)
    side = width or float(np.clip(0.3 * size + 1.6, 3.2, 8.5))
    fig = new_figure(side + 0.6, side)
    ax = fig.add_subplot()
    image = ax.imshow(share, cmap=AMOUNT, vmin=0, vmax=1)
    ax.set_xticks(range(size), labels, rotation=90 if max(map(len, labels)) > 2 else 0)
    name_rows(ax, labels, ("left", "bottom"))
    ax.tick_params(length=0)
    ax.set(xlabel="hypothesis", ylabel="reference")
    if size <= 12:  # larger ones have no room for numbers
        for row, column in np.argwhere(share >= 0.005):
            value = share[row, column]
            color = "white" if value > 0.6 else INK
            write(ax, column, row, f"{100 * value:.0f}", fontsize=8.5, color=color)
    color_bar(fig, image, ax, [0, 0.5, 1], labels=["0", "50", "100 %"], fraction=0.04, pad=0.02, aspect=25)
    right = np.trace(counts) / max(counts.sum(), 1)
    alt = f"Confusion matrix of {listed(labels)}; {right:.0%} of {counts.sum():g} are on the diagonal"
    wrong = share - np.diag(np.diag(share))
    if wrong.max() > 0:
        row, column = np.unravel_index(wrong.argmax(), wrong.shape)
        alt += f"; most often confused: {labels[row]} read as {labels[column]} ({wrong.max():.0%})"
    return finish(fig, alt + ".", title, ax)


@house_style()
def distance_matrix(
    matrix: Any,
    labels: Sequence[str],
    *,
    unit: str = "",
    title: str | None = None,
    width: float | None = None,
) -> Figure:
    """A matrix of distances, dark where near. Pairs at distance 0, except the diagonal, get a red frame.

    Args:
        matrix: (N, N) distances, at least 0.
        labels: N names, in the order of rows and columns.
        unit: written at the color bar.
    """
    values, size = _square(matrix, labels), len(labels)
    side = width or float(np.clip(0.26 * size + 1.2, 3.2, 8.0))
    fig = new_figure(side + 0.8, side)
    ax = fig.add_subplot()
    image = ax.imshow(values, cmap="Blues_r", vmin=0)
    same = [(row, column) for row, column in np.argwhere(values == 0) if row != column]
    for row, column in same:
        draw_box(ax, (column - 0.5, row - 0.5, column + 0.5, row + 0.5), VERMILION)
    ax.set_xticks(range(size), labels)
    name_rows(ax, labels, ("left", "bottom", "top", "right"))
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    color_bar(fig, image, ax, fraction=0.04, pad=0.02, aspect=25, label=unit)
    pairs = [f"{labels[row]} and {labels[column]}" for row, column in same if row < column]
    alt = f"Matrix of distances between {listed(labels)}, up to {short(values.max())} {unit}".rstrip()
    return finish(fig, f"{alt}; at distance 0: {listed(pairs) if pairs else 'no pair'}.", title, ax)
