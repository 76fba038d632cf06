"""Training runs: loss and blanks, class probabilities, throughput, schedules, number formats, all-reduce."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from lessons.figures.style import (
    AMOUNT,
    BLUE,
    DASHES,
    FAINT,
    GREEN,
    INK,
    PALETTE,
    RULE,
    VERMILION,
    color_bar,
    colored,
    finish,
    grid,
    house_style,
    listed,
    name_rows,
    new_figure,
    plural,
    probabilities,
    to_numpy,
    trend,
    visible,
    write,
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
    """Training with CTC: the loss, the fraction of blanks, and transcripts of one clip at several steps.

    The loss is on a logarithmic axis, where a plateau is flat and the fall after it steep.

    Args:
        loss: name of a run -> (N,) values, one per step.
        blank_share: the same names -> (N,) fractions, 0 to 1.
        shaded: (first, last) step of the blank plateau of the first run.
        levels: name -> a loss to draw as a dashed line.
        texts: (step, transcript), in the order of the steps; an empty transcript is drawn as "nothing".
    """
    if not loss or list(loss) != list(blank_share):
        raise ValueError(f"blank_share: runs {list(blank_share)}, expected those of loss, {list(loss)}")
    heights = [2.6, 1.1, *([0.75] if texts else [])]
    fig = new_figure(width, 4.2 + (0.75 if texts else 0))
    above, below, *lane = fig.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    n_steps, told = 0, []
    for name, values, color in colored(loss, "loss"):
        y = to_numpy(values, f"loss[{name!r}]", 1)
        blanks = probabilities(blank_share[name], f"blank_share[{name!r}]", 1)
        if len(blanks) != len(y):
            raise ValueError(f"blank_share[{name!r}]: {len(blanks)} steps, loss has {len(y)}")
        n_steps = max(n_steps, len(y))
        above.plot(np.arange(len(y)), y, color=color, label=name)
        below.plot(np.arange(len(y)), blanks, color=color)
        told.append(f"{name}: the loss {trend(y)}, the fraction of blanks {trend(blanks)}")
    if len(loss) > 1:
        above.legend(loc="upper center")
    small = {"va": "bottom", "fontsize": 9}
    for name, level in (levels or {}).items():
        above.axhline(level, color=FAINT, lw=1, ls=DASHES, zorder=0)
        right = {"transform": above.get_yaxis_transform(), "ha": "right", "color": FAINT}
        above.text(0.995, level, name, **right, **small)
    if shaded is not None:
        for ax in (above, below):
            ax.axvspan(*shaded, color=RULE, alpha=0.5, lw=0, zorder=-1)
        left = {"transform": above.get_xaxis_transform(), "ha": "left", "color": INK}
        above.text(shaded[0], 0.03, " blank plateau", **left, **small)
    above.set(ylabel="loss per character", yscale="log")
    above.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    above.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    above.yaxis.set_minor_formatter(NullFormatter())
    below.set(ylabel="fraction of blanks", ylim=(0, 1.05), yticks=[0, 0.5, 1])
    if lane:
        _transcripts(lane[0], texts)
        read = listed(f"“{text}” at step {step}" for step, text in texts)
        told.append(f"transcripts: {read}")
    (lane or [below])[-1].set(xlabel="step", xlim=(-0.01 * n_steps, 1.01 * n_steps))
    return finish(fig, f"Training over {n_steps} steps; {'; '.join(told)}.", title, above)


def _transcripts(ax: Axes, texts: Sequence[tuple[int, str]]) -> None:
    """A triangle at each step, below it the transcript, in two rows in turn."""
    ax.set(ylim=(0, 1), yticks=[])
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="x", length=0)
    for i, (step, text) in enumerate(texts):
        ax.plot([step], [0.97], marker="v", ms=4, color=INK, clip_on=False)
        look = {"color": INK, "style": "normal"} if text else {"color": FAINT, "style": "italic"}
        side = "left" if i == 0 else "center"
        write(ax, step, 0.62 - 0.42 * (i % 2), text or "nothing", ha=side, fontsize=9, **look)


@house_style()
def posterior_maps(
    snapshots: Mapping[str, Any],
    symbols: Sequence[str],
    classes: Sequence[int] | None = None,
    *,
    columns: int = 2,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """Heat maps of one clip's class probabilities over its frames, one panel per snapshot of a training.

    Args:
        snapshots: title, such as the step and the decoded text -> (T, V) probabilities.
        symbols: V names, the blank first; a space is drawn as ␣.
        classes: those that get a row, in this order; by default all.
    """
    if not snapshots:
        raise ValueError("snapshots: empty, expected at least one")
    rows = list(range(len(symbols)) if classes is None else classes)
    tables = {name: probabilities(p, f"snapshots[{name!r}]") for name, p in snapshots.items()}
    for name, p in tables.items():
        if p.shape[1] != len(symbols):
            raise ValueError(f"symbols: {len(symbols)} names for the {p.shape[1]} classes of {name!r}")
    extra = 0.35 + (0.3 if title else 0)
    fig, axes = grid(len(tables), columns, width, 0.17 * len(rows) + 0.55, extra, sharex=True, sharey=True)
    for i, (ax, (name, p)) in enumerate(zip(axes, tables.items(), strict=True)):
        image = ax.imshow(p[:, rows].T, aspect="auto", cmap=AMOUNT, vmin=0, vmax=1, origin="upper")
        name_rows(ax, [visible(symbols[v]) for v in rows], ("left", "bottom"))
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("frame" if i + columns >= len(tables) else "")
    color_bar(fig, image, axes, [0, 1])
    told = listed(f"{name} has {p[:, 0].mean():.0%} blank on average" for name, p in tables.items())
    return finish(fig, f"Heat maps of the class probabilities over the frames: {told}.", title)


@house_style()
def throughput(
    settings: Mapping[str, Any],
    *,
    unit: str = "clips per second",
    title: str | None = None,
    width: float = 8.5,
) -> Figure:
    """Throughput bars, one per setting: the median, a line between the quartiles, the speed-up.

    Args:
        settings: name -> (N,) measured rates, above 0, from top to bottom; the first is the baseline.
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
    rows, told = range(len(rates)), []
    ax.barh(rows, medians, height=0.6, color=[FAINT] + [BLUE] * (len(rates) - 1))
    ax.hlines(rows, quartiles[:, 0], quartiles[:, 2], color=VERMILION, linewidth=2.2)
    for row, (name, (_, median, high)) in enumerate(zip(rates, quartiles, strict=True)):
        label = f"{median:.1f}" + (f"   {median / medians[0]:.1f} ×" if row else "")
        ax.text(max(median, high) + 0.015 * longest, row, label, va="center", color=INK)
        told.append(f"{name} {label.replace('   ', ', ')}")
    name_rows(ax, rates)
    ax.set(xlim=(0, 1.18 * longest), ylim=(len(rates) - 0.5, -0.5), xlabel=unit)
    return finish(fig, f"Bars of {unit}: {'; '.join(told)}.", title, ax)


@house_style()
def gantt_chart(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float, int]]]],
    *,
    xlabel: str = "milliseconds",
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """A Gantt chart per plan: one lane per worker, one box per task, numbered by the batch it belongs to.

    Args:
        panels: plan -> worker -> tasks (start, end, number of the batch); a batch has one color everywhere.
    """
    tasks = [task for lanes in panels.values() for lane in lanes.values() for task in lane]
    if not tasks:
        raise ValueError("panels: no piece of work to draw")
    for start, end, number in tasks:
        if end < start:
            raise ValueError(f"batch {number}: ends at {end:g}, before it starts at {start:g}")
    rows = [len(lanes) for lanes in panels.values()]
    fig = new_figure(width, 0.45 * sum(rows) + 0.45 * len(panels) + 0.7)
    axes = fig.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=rows)[:, 0]
    last, told = max(end for _, end, _ in tasks), []
    for ax, (name, lanes) in zip(axes, panels.items(), strict=True):
        for row, lane in enumerate(lanes.values()):
            for start, end, number in lane:
                color, corner = PALETTE[number % len(PALETTE)], (start, row - 0.36)
                ax.add_patch(Rectangle(corner, end - start, 0.72, facecolor=color, edgecolor="white"))
                if end - start > 0.03 * last:
                    write(ax, (start + end) / 2, row, str(number), color="white", fontsize=9)
        ends = max((end for lane in lanes.values() for _, end, _ in lane), default=0)
        ax.axvline(ends, color=INK, linewidth=1, linestyle="--")
        name_rows(ax, lanes)
        ax.set(xlim=(0, 1.05 * last), ylim=(len(lanes) - 0.45, -0.55))
        ax.set_title(f"{name}: {ends:.0f}")
        told.append(f"{name} ends at {ends:.0f} {xlabel} with {listed(lanes)}")
    axes[-1].set_xlabel(xlabel)
    return finish(fig, f"Gantt charts: {'; '.join(told)}.", title)


@house_style()
def ring_all_reduce(rounds: Sequence[Any], *, title: str | None = None, width: float = 9.0) -> Figure:
    """A ring all-reduce: one panel per round, one box per chunk of each process, darker the more is summed.

    Args:
        rounds: one (N, K) per round, the start included: how many processes' numbers are added up in chunk k
            of process n, 1 to N.
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
        ax.imshow(table, cmap=AMOUNT, vmin=0, vmax=1.25 * n)
        for (row, column), count in np.ndenumerate(table):
            color, weight = "white" if count > 0.7 * n else INK, "bold" if count == n else "normal"
            write(ax, column, row, f"{count:g}", fontsize=8.5, color=color, fontweight=weight)
        ax.set(xticks=[], yticks=[])
        ax.set_title(f"round {i}" if i else "start")
        ax.spines[:].set_visible(False)
    done = (tables[-1] == n).mean()
    alt = (
        f"Ring all-reduce of {k} chunks over {n} processes in {plural(len(tables) - 1, 'round')}; at the end "
    )
    return finish(fig, f"{alt}{done:.0%} of the sums are complete.", title)


SIGN, EXPONENT, FRACTION = FAINT, VERMILION, BLUE


@house_style()
def number_bits(
    formats: Mapping[str, tuple[int, int]], *, title: str | None = None, width: float = 9.0
) -> Figure:
    """Floating-point formats: one row per format, one box per bit: sign, exponent, fraction.

    Args:
        formats: name -> (bits of the exponent, bits of the fraction).
    """
    if not formats or any(exponent < 1 or fraction < 1 for exponent, fraction in formats.values()):
        raise ValueError(f"formats: {dict(formats)}, expected at least one, each with 1 bit or more of both")
    fig = new_figure(width, 0.55 * len(formats) + 0.75)
    ax = fig.subplots()
    for row, (exponent, fraction) in enumerate(formats.values()):
        for bit in range(1 + exponent + fraction):
            color = SIGN if bit == 0 else EXPONENT if bit <= exponent else FRACTION
            ax.add_patch(Rectangle((bit, row - 0.32), 0.86, 0.64, facecolor=color, edgecolor="none"))
        sizes = f"{exponent} for the size, {fraction} for the digits"
        ax.text(1 + exponent + fraction + 0.4, row, sizes, va="center", fontsize=9, color=INK)
    longest = max(1 + exponent + fraction for exponent, fraction in formats.values())
    ax.set(xlim=(-0.3, longest + 12), ylim=(len(formats) - 0.5, -0.5), xticks=[])
    name_rows(ax, formats, ("left", "bottom"))
    handles = [Rectangle((0, 0), 1, 1, facecolor=color) for color in (SIGN, EXPONENT, FRACTION)]
    fig.legend(handles, ["sign", "exponent", "fraction"], loc="outside lower left", ncols=3, handlelength=1.0)
    told = listed(f"{name} {e} exponent and {f} fraction bits" for name, (e, f) in formats.items())
    return finish(fig, f"Bits of number formats: {told}.", title, ax)


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
    """Histograms of magnitudes, one panel per name, over the range of a floating-point format.

    Args:
        panels: name -> (N,) numbers of any sign; zeros are left out.
        smallest: what is closer to 0 than half of this becomes 0.
        normal: from here up the format has all its digits; below, fewer and fewer.
        largest: what is beyond becomes infinity.
    """
    if not panels:
        raise ValueError("panels: expected at least one")
    fig = new_figure(width, 1.75 * len(panels) + 0.75)
    axes = fig.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    edges = np.arange(-48, 25)  # powers of two
    log_smallest, log_normal, log_largest = np.log2([smallest, normal, largest])
    for ax, (name, values) in zip(axes, panels.items(), strict=True):
        sizes = np.abs(to_numpy(values, f"panels[{name!r}]", 1))
        sizes = sizes[sizes > 0]
        if not len(sizes):
            raise ValueError(f"panels[{name!r}]: nothing but zeros")
        counts, _ = np.histogram(np.clip(np.log2(sizes), edges[0], edges[-1]), edges)
        inside = (edges[:-1] >= log_smallest - 1) & (edges[:-1] < log_largest)
        ax.axvspan(log_normal, log_largest, color=GREEN, alpha=0.16, linewidth=0)
        ax.axvspan(log_smallest, log_normal, color=GREEN, alpha=0.07, linewidth=0)
        colors = np.where(inside, BLUE, VERMILION)
        ax.bar(edges[:-1], counts / len(sizes), width=0.9, align="edge", color=colors)
        lost, beyond = float((sizes < smallest / 2).mean()), int((sizes > largest).sum())
        ax.set_title(f"{name}: {100 * lost:.0f} % become 0, {beyond:,} become infinite")
        ax.set(yticks=[], xlim=(edges[0], edges[-1]))
        ax.spines["left"].set_visible(False)
        ax.axvline(log_smallest, color=RULE, linewidth=1)
        top = 1.25 * ax.get_ylim()[1]  # room for the words
        ax.set_ylim(0, top)
        for middle, words in (
            ((log_normal + log_largest) / 2, "all digits"),
            ((log_smallest + log_normal) / 2, "fewer digits"),
        ):
            write(ax, middle, 0.94 * top, words, va="top", fontsize=8.5, color=INK)
    ticks = range(-48, 25, 8)
    axes[-1].set_xticks(ticks, [f"$2^{{{tick}}}$" for tick in ticks])
    axes[-1].set_xlabel("size of a number")
    told = "; ".join(ax.get_title(loc="left") for ax in axes)
    return finish(fig, f"Histograms of the sizes of numbers over a format's range; {told}.", title)
