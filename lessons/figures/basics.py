"""Charts of numbers: lines, bars, dots and matrices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter, StrMethodFormatter

from lessons.figures.style import (
    AMOUNT,
    FAINT,
    INK,
    PALETTE,
    RULE,
    VERMILION,
    house_style,
    new_figure,
    to_numpy,
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
    logy: bool = False,
    powers: bool = False,
    ylim: tuple[float, float] | None = None,
    title: str | None = None,
    width: float = 7.5,
    height: float = 3.4,
) -> Figure:
    """Curves with their names at their ends.

    Args:
        runs: name -> values. Values of shape (N,) give a line; (seeds, N) give the mean as a line and the
            range from the worst to the best seed as a band; a pair ``(steps, values)`` brings its own steps.
        steps: (N,) the horizontal axis of all runs that bring none; by default 0 … N-1.
        plateau: (start, end) on the horizontal axis, shaded and named ``plateau_label``.
        level: a dashed horizontal line, such as chance, named ``level_label``.
        logy: a logarithmic axis; means are still taken of the values themselves.
        powers: the values are logarithms to base 10, and the axis reads 10^k. Unlike with ``logy``, means are
            taken of the logarithms, so that one large seed does not hide the others.
    """
    if not runs:
        raise ValueError("runs: empty, expected at least one named curve")
    if len(runs) > len(PALETTE):
        raise ValueError(
            f"runs: {len(runs)} curves, expected at most {len(PALETTE)}: more cannot be told apart"
        )
    fig = new_figure(width, height)
    ax = fig.add_subplot()
    if plateau is not None:
        ax.axvspan(*plateau, color=RULE, alpha=0.5, lw=0)
        ax.text(
            sum(plateau) / 2, 0.03, plateau_label, transform=ax.get_xaxis_transform(),
            ha="center", va="bottom", fontsize=9, color=FAINT,
        )  # fmt: skip
    ends = []
    for (name, values), color in zip(runs.items(), PALETTE, strict=False):
        own = isinstance(values, tuple)
        x = values[0] if own else steps
        y = np.atleast_2d(to_numpy(values[1] if own else values, f"runs[{name!r}]", (1, 2)))  # (seeds, N)
        x = np.arange(y.shape[1]) if x is None else to_numpy(x, "steps", 1)
        if len(x) != y.shape[1]:
            raise ValueError(f"steps: {len(x)} of them for the {y.shape[1]} values of {name!r}")
        if len(y) > 1:
            ax.fill_between(x, y.min(axis=0), y.max(axis=0), color=color, alpha=0.18, lw=0)
        ax.plot(x, y.mean(axis=0), color=color, label=name)
        ends.append((x[-1], y.mean(axis=0)[-1], name, color))
    if logy:
        ax.set_yscale("log")
    if powers:
        ax.yaxis.set_major_locator(MaxNLocator(integer=True))
        ax.yaxis.set_major_formatter(lambda k, _: "1" if k == 0 else f"$10^{{{k:.0f}}}$")
    if ylim is not None:
        ax.set_ylim(*ylim)
    if level is not None:
        ax.axhline(level, color=FAINT, lw=1, ls=(0, (4, 3)), zorder=0)
        ax.annotate(
            level_label, (0, level), xycoords=ax.get_yaxis_transform(), xytext=(5, -4),
            textcoords="offset points", va="top", fontsize=9, color=FAINT,
        )  # fmt: skip
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.margins(x=0.01)
    name_the_ends(ax, ends)
    if title:
        ax.set_title(title)
    return fig


def name_the_ends(ax, ends: list[tuple[float, float, str, str]]) -> None:
    """Write each run's name in its color to the right of its last point, moved apart where they crowd."""
    ax.autoscale_view()  # else the limits are still 0 to 1 when nothing has asked for them
    heights = [
        float(ax.transAxes.inverted().transform(ax.transData.transform((x, y)))[1]) for x, y, _, _ in ends
    ]
    gap, floor = 0.075, -1.0
    for i in sorted(range(len(ends)), key=heights.__getitem__):
        floor = max(heights[i], floor + gap)
        ax.text(
            1.015, floor, ends[i][2], transform=ax.transAxes, va="center", fontsize=9, color=ends[i][3]
        )  # fmt: skip


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
    """Bars with each series' name above its highest bar.

    Args:
        series: name -> {number: how often}.
        mark: a number on the horizontal axis to point out, and what to call it.
    """
    if not series or len(series) > len(PALETTE):
        raise ValueError(f"series: {len(series)} of them, expected 1 to {len(PALETTE)}")
    fig = new_figure(width, height)
    ax = fig.add_subplot()
    for (name, occurs), color in zip(series.items(), PALETTE, strict=False):
        if not occurs or min(occurs.values()) < 0:
            raise ValueError(f"series[{name!r}]: expected at least one number, and no count below 0")
        ax.bar(list(occurs), list(occurs.values()), width=0.85, color=color, label=name)
        top = max(occurs, key=occurs.__getitem__)
        ax.annotate(
            name,
            (top, occurs[top]),
            (0, 4),
            textcoords="offset points",
            ha="center",
            color=color,
            fontsize=9,
        )
    if mark is not None:
        ax.axvline(mark[0], color=INK, lw=1.2)
        ax.annotate(
            mark[1], (mark[0], 0.6), (-5, 0), xycoords=ax.get_xaxis_transform(), textcoords="offset points",
            ha="right", color=INK, fontsize=9,
        )  # fmt: skip
    ax.margins(y=0.15)
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    ax.tick_params(color=FAINT)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if title:
        ax.set_title(title)
    return fig


@house_style()
def dot_plot(
    names: Sequence[str],
    series: Mapping[str, Any],
    *,
    xlabel: str = "",
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """A dot plot of shares, from zero, rows from top to bottom.

    Args:
        names: N rows.
        series: name -> (N,) shares, at least 0; drawn as per cent, with the figure beside the dot.
    """
    if not series or len(series) > len(PALETTE):
        raise ValueError(f"series: {len(series)} of them, expected 1 to {len(PALETTE)}")
    fig = new_figure(width, 0.34 * len(names) + 1.0)
    ax = fig.add_subplot()
    rows = range(len(names))
    ax.hlines(rows, 0, 1, color=RULE, lw=0.6, transform=ax.get_yaxis_transform(), zorder=0)
    offsets = (
        [0.0] if len(series) == 1 else [0.17 * (2 * i / (len(series) - 1) - 1) for i in range(len(series))]
    )
    most = 0.0
    for (name, values), color, offset in zip(series.items(), PALETTE, offsets, strict=False):
        x = to_numpy(values, f"series[{name!r}]", 1)
        if len(x) != len(names):
            raise ValueError(f"series[{name!r}]: {len(x)} values for {len(names)} names")
        if x.min() < 0:
            raise ValueError(f"series[{name!r}]: smallest {x.min():g}, expected shares of at least 0")
        most = max(most, float(x.max()))
        ax.plot(x, [row + offset for row in rows], "o", ms=6, color=color, label=name, clip_on=False)
        for row, value in zip(rows, x, strict=True):
            ax.annotate(
                f"{100 * value:.1f}", (value, row + offset), (7, 0), textcoords="offset points",
                va="center", fontsize=8, color=color,
            )  # fmt: skip
    ax.set_yticks(rows, names)
    ax.set(ylim=(len(names) - 0.5, -0.5), xlim=(0, 1.12 * most or 1), xlabel=xlabel)
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0 if most > 0.05 else 1))
    ax.tick_params(axis="y", length=0)
    ax.spines[["left"]].set_visible(False)
    if len(series) > 1:
        ax.legend(loc="lower right")
    if title:
        ax.set_title(title)
    return fig


@house_style()
def seed_spread(
    runs: Mapping[str, Any],
    *,
    xlabel: str = "",
    percent: bool = False,
    level: float | None = None,
    level_label: str = "",
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """Rows from top to bottom, the axis from zero; the mean is a tick, with its value above it.

    Args:
        runs: name -> (seeds,) values, at least 0.
        percent: the values are shares, drawn as per cent.
        level: a dashed line, such as a floor, named ``level_label``.

    Raises:
        ValueError: no runs, or a value below 0.
    """
    if not runs:
        raise ValueError("runs: empty, expected at least one name")
    fig = new_figure(width, 0.5 * len(runs) + 1.0)
    ax = fig.add_subplot()
    most = 0.0
    for row, (name, values) in enumerate(runs.items()):
        x = to_numpy(values, f"runs[{name!r}]", 1)
        if x.min() < 0:
            raise ValueError(f"runs[{name!r}]: smallest {x.min():g}, expected values of at least 0")
        most, color = max(most, float(x.max())), PALETTE[row % len(PALETTE)]
        ax.hlines(row, 0, 1, color=RULE, lw=0.6, transform=ax.get_yaxis_transform(), zorder=0)
        ax.plot([x.min(), x.max()], [row, row], color=color, lw=5, alpha=0.25, solid_capstyle="butt")
        ax.plot(x, np.full(len(x), row), "o", ms=5, color=color, alpha=0.8, mew=0)
        ax.plot([x.mean()] * 2, [row - 0.22, row + 0.22], color=INK, lw=1.4)
        label = f"{100 * x.mean():.1f}" if percent else f"{x.mean():.3g}"
        ax.text(x.mean(), row - 0.24, label, ha="center", va="bottom", fontsize=8.5)
    if level is not None:
        ax.axvline(level, color=FAINT, lw=1, ls=(0, (4, 3)), zorder=0)
        ax.text(level, -0.62, f" {level_label}", ha="left", va="center", fontsize=9, color=FAINT)
    ax.set_yticks(range(len(runs)), list(runs))
    ax.set(ylim=(len(runs) - 0.5, -0.8), xlim=(0, 1.08 * max(most, level or 0) or 1), xlabel=xlabel)
    ax.tick_params(axis="y", length=0)
    ax.spines[["left"]].set_visible(False)
    if percent:
        ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    if title:
        ax.set_title(title)
    return fig


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
    """A strip plot: values of each group along one axis, spread in height so that none hides another.

    Args:
        groups: name -> (N,) values, rows from top to bottom.
        threshold: a dashed line across all rows, named ``threshold_label``.
    """
    if not groups or len(groups) > len(PALETTE):
        raise ValueError(f"groups: {len(groups)} of them, expected 1 to {len(PALETTE)}")
    fig = new_figure(width, 0.55 * len(groups) + 1.15)
    ax = fig.add_subplot()
    for row, ((name, values), color) in enumerate(zip(groups.items(), PALETTE, strict=False)):
        x = to_numpy(values, f"groups[{name!r}]", 1)
        ax.axhline(row, color=RULE, lw=0.6, zorder=0)
        # Height by a fixed low-discrepancy sequence: no chance, and neighbors lie apart.
        lift = (np.arange(len(x)) * 0.618034) % 1 - 0.5
        ax.plot(x, row + 0.6 * lift, "o", ms=4, color=color, alpha=0.65, mew=0)
    ax.set_yticks(range(len(groups)), list(groups))
    ax.set(ylim=(len(groups) - 0.4, -0.6), xlabel=xlabel)
    ax.set_xlim(left=0)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    if threshold is not None:
        ax.axvline(threshold, color=FAINT, lw=1, ls=(0, (4, 3)))
        ax.annotate(
            threshold_label, (threshold, 1), xycoords=ax.get_xaxis_transform(), xytext=(4, -1),
            textcoords="offset points", va="bottom", fontsize=9, color=FAINT,
        )  # fmt: skip
    if title:
        ax.set_title(title, pad=16 if threshold is not None else 8)
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
    """Bars from zero, each with its value above it.

    Args:
        groups: G names, from left to right.
        bars: name -> (G, 3) the rate, and the low and the high end of where it may be, as shares.
        neutral: bars in gray, such as a floor; the others take the palette in turn.

    Raises:
        ValueError: bars of another shape, a rate below 0 or outside its own range.
    """
    if not groups or not bars:
        raise ValueError("groups, bars: expected at least one of each")
    fig = new_figure(width, height)
    ax = fig.add_subplot()
    palette, wide, top = iter(PALETTE * len(bars)), 0.8 / len(bars), 0.0
    for k, (name, values) in enumerate(bars.items()):
        rate, low, high = to_numpy(values, f"bars[{name!r}]", 2).T if len(values) else ((), (), ())
        if len(rate) != len(groups):
            raise ValueError(
                f"bars[{name!r}]: {len(rate)} of them, expected {len(groups)}, one for each group"
            )
        if not ((low >= 0) & (low <= rate) & (rate <= high)).all():
            raise ValueError(f"bars[{name!r}]: expected 0 <= low <= rate <= high, found {values}")
        x = np.arange(len(groups)) - 0.4 + wide * (k + 0.5)
        ax.bar(x, rate, 0.9 * wide, color=FAINT if name in neutral else next(palette), label=name)
        ax.vlines(x, low, high, color=INK, lw=1.2)
        for at, value, end in zip(x, rate, high, strict=True):
            ax.text(at, end, f"{100 * value:.0f}", ha="center", va="bottom", fontsize=8.5)
        top = max(top, high.max())
    ax.set_xticks(range(len(groups)), groups)
    ax.tick_params(axis="x", length=0)
    ax.set(ylim=(0, 1.12 * top or 1), ylabel=ylabel)
    ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    fig.legend(loc="outside lower center", ncols=len(bars), handlelength=1.0)
    return fig


@house_style()
def confusion_matrix(
    matrix: Any, labels: Sequence[str], *, title: str | None = None, width: float | None = None
) -> Figure:
    """A confusion matrix: row = what was said, column = what was read, each row as a share of its sum.

    Args:
        matrix: (V, V) counts, at least 0. A row without counts stays empty.
        labels: V names, in the order of rows and columns.
    """
    counts = to_numpy(matrix, "matrix", 2).astype(float)  # (V, V)
    size = len(labels)
    if counts.shape != (size, size):
        raise ValueError(f"matrix: shape {counts.shape}, expected ({size}, {size}) for {size} labels")
    if counts.min() < 0:
        raise ValueError(f"matrix: smallest count {counts.min():g}, expected at least 0")
    sums = counts.sum(axis=1, keepdims=True)  # (V, 1)
    share = np.divide(counts, sums, out=np.zeros_like(counts), where=sums > 0)
    side = width or float(np.clip(0.3 * size + 1.6, 3.2, 8.5))
    fig = new_figure(side + 0.6, side)
    ax = fig.add_subplot()
    image = ax.imshow(share, cmap=AMOUNT, vmin=0, vmax=1)
    ax.set_xticks(range(size), labels, rotation=90 if max(map(len, labels)) > 2 else 0)
    ax.set_yticks(range(size), labels)
    ax.tick_params(length=0)
    ax.set(xlabel="read as", ylabel="said")
    ax.spines[["left", "bottom"]].set_visible(False)
    if size <= 12:  # larger ones have no room for figures
        for row, column in np.argwhere(share >= 0.005):
            value = share[row, column]
            ax.text(
                column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=8.5,
                color="white" if value > 0.6 else INK,
            )  # fmt: skip
    bar = fig.colorbar(image, ax=ax, fraction=0.04, pad=0.02, aspect=25)
    bar.set_ticks([0, 0.5, 1], labels=["0", "50", "100 %"])
    bar.outline.set(edgecolor=FAINT, linewidth=0.5)
    if title:
        ax.set_title(title)
    return fig


@house_style()
def distance_matrix(
    matrix: Any,
    labels: Sequence[str],
    *,
    unit: str = "",
    title: str | None = None,
    width: float | None = None,
) -> Figure:
    """A square of distances, dark where near. Pairs at distance 0, the diagonal apart, get a red frame.

    Args:
        matrix: (N, N) distances, at least 0.
        labels: N names, in the order of rows and columns.
        unit: written at the color bar.
    """
    values = to_numpy(matrix, "matrix", 2).astype(float)
    size = len(labels)
    if values.shape != (size, size):
        raise ValueError(f"matrix: shape {values.shape}, expected ({size}, {size}) for {size} labels")
    if values.min() < 0:
        raise ValueError(f"matrix: smallest entry {values.min():g}, expected distances of at least 0")
    side = width or float(np.clip(0.26 * size + 1.2, 3.2, 8.0))
    fig = new_figure(side + 0.8, side)
    ax = fig.add_subplot()
    image = ax.imshow(values, cmap="Blues_r", vmin=0)
    for row, column in np.argwhere(values == 0):
        if row != column:
            ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec=VERMILION, lw=1.6))
    ax.set_xticks(range(size), labels)
    ax.set_yticks(range(size), labels)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    bar = fig.colorbar(image, ax=ax, fraction=0.04, pad=0.02, aspect=25, label=unit)
    bar.outline.set(edgecolor=FAINT, linewidth=0.5)
    if title:
        ax.set_title(title)
    return fig
