"""What a number format can hold: its bits, and sizes of real numbers laid over the range of a format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lessons.figures.style import BLUE, FAINT, GREEN, INK, RULE, VERMILION, house_style, new_figure, to_numpy

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
