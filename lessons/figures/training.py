"""Training runs: loss and blanks, throughput, schedules, number formats, all-reduce."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from lessons.figures.style import (
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


@house_style()
def training_run(
    loss: Mapping[str, Any],
    blank_share: Mapping[str, Any],
    *,
    shaded: tuple[float, float] | None = None,
    levels: Mapping[str, float] | None = None,
    texts: Sequence[tuple[int, str]] = (),
    title: str | None = None,
    width: float = 7.5,
) -> Figure:
    """Loss above, share of blanks below it, and readings of one clip at several steps.

    The loss is on a logarithmic axis, where a plateau is flat and the fall after it steep.

    Args:
        loss: name of a run -> (N,) values, one a step.
        blank_share: the same names -> (N,) shares, 0 to 1.
        shaded: (first, last) step of the blank plateau of the first run.
        levels: name -> a loss to draw as a dashed line.
        texts: (step, reading), in the order of the steps; an empty reading is drawn as "nothing".

    Raises:
        ValueError: the two do not hold the same runs, a run has two lengths, or a share is no share.
    """
    if not loss or list(loss) != list(blank_share):
        raise ValueError(f"blank_share: runs {list(blank_share)}, expected those of loss, {list(loss)}")
    fig = new_figure(width, 4.2 + (0.75 if texts else 0))
    heights = [2.6, 1.1, *([0.75] if texts else [])]
    above, below, *lane = fig.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    n_steps = 0
    for (name, values), color in zip(loss.items(), PALETTE, strict=False):
        y = to_numpy(values, f"loss[{name!r}]", 1)
        share = to_numpy(blank_share[name], f"blank_share[{name!r}]", 1)
        if len(share) != len(y):
            raise ValueError(f"blank_share[{name!r}]: {len(share)} steps, loss has {len(y)}")
        if share.min() < 0 or share.max() > 1:
            raise ValueError(
                f"blank_share[{name!r}]: from {share.min():g} to {share.max():g}, expected 0 to 1"
            )
        n_steps = max(n_steps, len(y))
        above.plot(np.arange(len(y)), y, color=color, label=name)
        below.plot(np.arange(len(y)), share, color=color)
    if len(loss) > 1:
        above.legend(loc="upper center")
    for name, level in (levels or {}).items():
        above.axhline(level, color=FAINT, lw=1, ls=(0, (4, 3)), zorder=0)
        above.text(
            0.995, level, name, transform=above.get_yaxis_transform(), ha="right", va="bottom",
            fontsize=9, color=FAINT,
        )  # fmt: skip
    if shaded is not None:
        for ax in (above, below):
            ax.axvspan(*shaded, color=RULE, alpha=0.5, lw=0, zorder=-1)
        above.text(
            shaded[0], 0.03, " blank plateau", transform=above.get_xaxis_transform(),
            ha="left", va="bottom", fontsize=9, color=INK,
        )  # fmt: skip
    above.set(ylabel="loss a character", yscale="log")
    above.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    above.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    above.yaxis.set_minor_formatter(NullFormatter())
    below.set(ylabel="share of blanks", ylim=(0, 1.05), yticks=[0, 0.5, 1])
    for ax in lane:
        ax.set(ylim=(0, 1), yticks=[])
        ax.spines[["left"]].set_visible(False)
        ax.tick_params(axis="x", length=0)
        for i, (step, text) in enumerate(texts):
            ax.plot([step], [0.97], marker="v", ms=4, color=INK, clip_on=False)
            ax.text(
                step, 0.62 - 0.42 * (i % 2), text or "nothing", ha="left" if i == 0 else "center",
                va="center", fontsize=9, color=INK if text else FAINT, style="normal" if text else "italic",
            )  # fmt: skip
    (lane or [below])[-1].set(xlabel="step", xlim=(-0.01 * n_steps, 1.01 * n_steps))
    if title:
        above.set_title(title)
    return fig


@house_style()
def throughput(
    settings: Mapping[str, Any],
    *,
    unit: str = "clips a second",
    title: str | None = None,
    width: float = 8.5,
) -> Figure:
    """One bar a setting, from top to bottom; the first is what the others are measured against.

    Args:
        settings: name -> (N,) measured rates, above 0. The bar is their median, the thin line goes from the
            lower to the upper quartile; behind it stand the median and how many times the first one it is.

    Raises:
        ValueError: no settings, or a rate that is not above 0.
    """
    if not settings:
        raise ValueError("settings: expected at least one")
    rates = {name: to_numpy(values, f"settings[{name!r}]", 1) for name, values in settings.items()}
    for name, values in rates.items():
        if values.min() <= 0:
            raise ValueError(f"settings[{name!r}]: smallest {values.min():g}, expected above 0")
    quartiles = np.array([np.quantile(values, (0.25, 0.5, 0.75)) for values in rates.values()])  # (N, 3)
    medians, longest = quartiles[:, 1], quartiles.max()
    fig = new_figure(width, 0.5 * len(rates) + 0.95)
    ax = fig.subplots()
    places = range(len(rates))
    ax.barh(places, medians, height=0.6, color=[FAINT] + [BLUE] * (len(rates) - 1))
    ax.hlines(places, quartiles[:, 0], quartiles[:, 2], color=VERMILION, linewidth=2.2)
    for place, (_, median, high) in zip(places, quartiles, strict=True):
        told = f"{median:.1f}" + (f"   {median / medians[0]:.1f} ×" if place else "")
        ax.text(max(median, high) + 0.015 * longest, place, told, va="center", color=INK)
    ax.set_yticks(places, list(rates))
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(0, 1.18 * longest), ylim=(len(rates) - 0.5, -0.5), xlabel=unit)
    ax.spines["left"].set_visible(False)
    if title:
        ax.set_title(title)
    return fig


@house_style()
def gantt_chart(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float, int]]]],
    *,
    xlabel: str = "milliseconds",
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """One panel a plan, one lane a worker.

    Args:
        panels: plan -> worker -> pieces (begin, end, number of the batch); a batch has one color everywhere.

    Raises:
        ValueError: nothing to draw, or a piece that ends before it begins.
    """
    pieces = [piece for lanes in panels.values() for lane in lanes.values() for piece in lane]
    if not pieces:
        raise ValueError("panels: no piece of work to draw")
    for begin, end, number in pieces:
        if end < begin:
            raise ValueError(f"batch {number}: ends at {end:g}, before it begins at {begin:g}")
    rows = sum(len(lanes) for lanes in panels.values())
    fig = new_figure(width, 0.45 * rows + 0.45 * len(panels) + 0.7)
    axes = fig.subplots(
        len(panels), 1, sharex=True, squeeze=False, height_ratios=[len(lanes) for lanes in panels.values()]
    )[:, 0]
    last = max(end for _, end, _ in pieces)
    for ax, (name, lanes) in zip(axes, panels.items(), strict=True):
        for row, lane in enumerate(lanes.values()):
            for begin, end, number in lane:
                color = PALETTE[number % len(PALETTE)]
                ax.add_patch(
                    Rectangle((begin, row - 0.36), end - begin, 0.72, facecolor=color, edgecolor="white")
                )
                if end - begin > 0.03 * last:
                    told = str(number)
                    ax.text((begin + end) / 2, row, told, ha="center", va="center", color="white", fontsize=9)
        ends = max((end for lane in lanes.values() for _, end, _ in lane), default=0)
        ax.axvline(ends, color=INK, linewidth=1, linestyle="--")
        ax.set_yticks(range(len(lanes)), list(lanes))
        ax.tick_params(axis="y", length=0)
        ax.set(xlim=(0, 1.05 * last), ylim=(len(lanes) - 0.45, -0.55))
        ax.spines["left"].set_visible(False)
        ax.set_title(f"{name}: {ends:.0f}")
    axes[-1].set_xlabel(xlabel)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


@house_style()
def ring_all_reduce(rounds: Sequence[Any], *, title: str | None = None, width: float = 9.0) -> Figure:
    """One panel a round, one box for each piece of each process, darker the more of its sum is there.

    Args:
        rounds: one (N, K) a round, the start included: how many processes' numbers are added up in piece k
            of process n, 1 to N.

    Raises:
        ValueError: no round, rounds of different shapes, or a count that is not 1 to N.
    """
    if not len(rounds):
        raise ValueError("rounds: expected at least one")
    tables = [to_numpy(table, f"rounds[{i}]", 2) for i, table in enumerate(rounds)]  # (N, K) each
    n, k = tables[0].shape
    for i, table in enumerate(tables):
        if table.shape != (n, k):
            raise ValueError(f"rounds[{i}]: shape {table.shape}, expected {(n, k)} like the first")
        if table.min() < 1 or table.max() > n:
            raise ValueError(f"rounds[{i}]: from {table.min():g} to {table.max():g}, expected 1 to {n}")
    fig = new_figure(width, width / len(tables) * n / k + 0.75)
    axes = fig.subplots(1, len(tables), squeeze=False)[0]
    for i, (ax, table) in enumerate(zip(axes, tables, strict=True)):
        ax.imshow(table, cmap="Blues", vmin=0, vmax=1.25 * n)
        for row, column in np.ndindex(n, k):
            count = table[row, column]
            ax.text(
                column, row, f"{count:g}", ha="center", va="center", fontsize=8.5,
                color="white" if count > 0.7 * n else INK, fontweight="bold" if count == n else "normal",
            )  # fmt: skip
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"round {i}" if i else "start")
        ax.spines[:].set_visible(False)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


SIGN, EXPONENT, FRACTION = FAINT, VERMILION, BLUE


@house_style()
def number_bits(
    formats: Mapping[str, tuple[int, int]], *, title: str | None = None, width: float = 9.0
) -> Figure:
    """One row a format, one box a bit: sign, exponent (how large), fraction (how exact).

    Args:
        formats: name -> (bits of the exponent, bits of the fraction).

    Raises:
        ValueError: no format, or one without exponent or fraction.
    """
    if not formats or any(exponent < 1 or fraction < 1 for exponent, fraction in formats.values()):
        raise ValueError(f"formats: {dict(formats)}, expected at least one, each with 1 bit or more of both")
    fig = new_figure(width, 0.55 * len(formats) + 0.75)
    ax = fig.subplots()
    for row, (exponent, fraction) in enumerate(formats.values()):
        for bit in range(1 + exponent + fraction):
            color = SIGN if bit == 0 else EXPONENT if bit <= exponent else FRACTION
            ax.add_patch(Rectangle((bit, row - 0.32), 0.86, 0.64, facecolor=color, edgecolor="none"))
        told = f"{exponent} for the size, {fraction} for the digits"
        ax.text(1 + exponent + fraction + 0.4, row, told, va="center", fontsize=9, color=INK)
    longest = max(1 + exponent + fraction for exponent, fraction in formats.values())
    ax.set(xlim=(-0.3, longest + 12), ylim=(len(formats) - 0.5, -0.5), xticks=[])
    ax.set_yticks(range(len(formats)), list(formats))
    ax.tick_params(axis="y", length=0)
    ax.spines[["left", "bottom"]].set_visible(False)
    names = (("sign", SIGN), ("exponent", EXPONENT), ("fraction", FRACTION))
    handles = [Rectangle((0, 0), 1, 1, facecolor=color) for _, color in names]
    fig.legend(handles, [name for name, _ in names], loc="outside lower left", ncols=3, handlelength=1.0)
    if title:
        ax.set_title(title)
    return fig


@house_style()
def number_range(
    panels: Mapping[str, Any],
    *,
    smallest: float,
    normal: float,
    largest: float,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """One panel a name: how many numbers are of which size, over what a format holds.

    Args:
        panels: name -> (N,) numbers of any sign; zeros are left out.
        smallest: what is closer to 0 than half of this becomes 0.
        normal: from here up the format has all its digits; below, fewer and fewer.
        largest: what is beyond becomes infinity.

    Raises:
        ValueError: no panel, or one that holds nothing but zeros.
    """
    if not panels:
        raise ValueError("panels: expected at least one")
    fig = new_figure(width, 1.75 * len(panels) + 0.75)
    axes = fig.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    edges = np.arange(-48, 25)  # powers of two
    for ax, (name, values) in zip(axes, panels.items(), strict=True):
        sizes = np.abs(to_numpy(values, f"panels[{name!r}]", 1))
        sizes = sizes[sizes > 0]
        if not len(sizes):
            raise ValueError(f"panels[{name!r}]: nothing but zeros")
        powers = np.clip(np.log2(sizes), edges[0], edges[-1])
        counts, _ = np.histogram(powers, edges)
        inside = (edges[:-1] >= np.log2(smallest) - 1) & (edges[:-1] < np.log2(largest))
        colors = np.where(inside, BLUE, VERMILION)
        ax.axvspan(np.log2(normal), np.log2(largest), color=GREEN, alpha=0.16, linewidth=0)
        ax.axvspan(np.log2(smallest), np.log2(normal), color=GREEN, alpha=0.07, linewidth=0)
        ax.bar(edges[:-1], counts / len(sizes), width=0.9, align="edge", color=colors)
        lost = float((sizes < smallest / 2).mean())
        beyond = int((sizes > largest).sum())
        ax.set_title(f"{name}: {100 * lost:.0f} % become 0, {beyond:,} become infinite")
        ax.set(yticks=[], xlim=(edges[0], edges[-1]))
        ax.spines["left"].set_visible(False)
        ax.axvline(np.log2(smallest), color=RULE, linewidth=1)
        top = 1.25 * ax.get_ylim()[1]  # room for the words
        ax.set_ylim(0, top)
        for left, right, words in ((normal, largest, "all digits"), (smallest, normal, "fewer digits")):
            middle = (np.log2(left) + np.log2(right)) / 2
            ax.text(middle, 0.94 * top, words, ha="center", va="top", fontsize=8.5, color=INK)
    ticks = range(-48, 25, 8)
    axes[-1].set_xticks(ticks, [f"$2^{{{tick}}}$" for tick in ticks])
    axes[-1].set_xlabel("size of a number")
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig
