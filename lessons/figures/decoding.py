"""Figures of decoding: labels and their paths, prefix beam search, edit distance, hypotheses."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from lessons.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    PALE_BLUE,
    PAPER,
    RULE,
    SKY,
    VERMILION,
    finish,
    house_style,
    listed,
    name_rows,
    new_figure,
    note,
    plural,
    to_numpy,
    visible,
    write,
)

# Prefix beam search

Ends = tuple[float, float]  # probability of the paths that end in a blank, and of those that end in a label
BAR = 0.6  # width of a bar of probability 1, in columns; bars are scaled so that the longest has this width


def _decimal(p: float) -> str:
    """A probability as ".36", or with three decimals when it is small."""
    return f"{p:.2f}".removeprefix("0") if p >= 0.0995 or p == 0 else f"{p:.3f}".removeprefix("0")


@house_style()
def path_probabilities(
    labels: Mapping[str, Mapping[str, float]],
    *,
    dropped: Collection[str] | None = None,
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """The probability of each label as one bar, stacked from the probabilities of the paths that spell it.

    The most probable of all paths is orange; with ``dropped``, color tells instead which paths are lost.

    Args:
        labels: label -> path -> probability, rows from top to bottom; the empty label is drawn as “”.
        dropped: paths that a search has lost: gray, at the end of their bar.
    """
    if not labels or not all(labels.values()):
        raise ValueError("labels: expected at least one label, each with at least one path")
    every = [p for paths in labels.values() for p in paths.values()]
    if min(every) < 0 or sum(every) > 1 + 1e-6:
        raise ValueError(f"labels: probabilities from {min(every):g}, in all {sum(every):g}; at most 1")
    lost = set(dropped or ())
    if strays := lost - {path for paths in labels.values() for path in paths}:
        raise ValueError(f"dropped: {min(strays)!r} is no path of these labels")
    fig = new_figure(width, 0.5 * len(labels) + 1.0)
    ax = fig.add_subplot()
    longest = max(sum(paths.values()) for paths in labels.values())
    told = []
    for row, (label, paths) in enumerate(labels.items()):
        left = 0.0
        for path, p in sorted(paths.items(), key=lambda item: item[0] in lost):
            best = dropped is None and p == max(every)
            color = RULE if path in lost else VERMILION if best else SKY
            ax.barh(row, p, left=left, height=0.66, color=color, edgecolor="white", lw=1.5)
            if p > 0.07 * longest:
                look = {"fontsize": 8, "color": "white" if best else INK, "linespacing": 1.1}
                write(ax, left + p / 2, row, f"{path}\n{_decimal(p)}", **look)
            left += p
        counted = sum(p for path, p in paths.items() if path not in lost)
        total = _decimal(left) if dropped is None else f"{_decimal(counted)} of {_decimal(left)}"
        note(ax, total, (left, row), (5, 0), va="center", fontsize=10)
        told.append(f"{visible(label)} {total}")
    name_rows(ax, [label or visible("") for label in labels])
    ax.tick_params(axis="y", labelsize=11)
    ax.set(ylim=(len(labels) - 0.5, -0.5), xlabel="probability: one box per path")
    ax.set_xlim(0, (1.1 if dropped is None else 1.25) * longest)
    return finish(fig, f"Probability of each label, stacked by paths: {listed(told)}.", title, ax)


@house_style()
def beam_search(
    columns: Sequence[Mapping[str, Ends]],
    kept: Sequence[Collection[str]],
    flows: Sequence[Mapping[tuple[str, str], float]],
    *,
    frames: Sequence[str] = (),
    upto: int | None = None,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """Prefix beam search, frame by frame: a row per prefix, a column after each frame.

    A bar is as long as its prefix is probable: blue the paths that end in a blank, orange those that end in
    the prefix's last letter. Lines carry probability on: level when the prefix stays as it is, downwards when
    it grows. Where lines from two prefixes meet, their paths are merged: a green border. Gray: dropped.

    Args:
        columns: T+1 mappings, prefix -> (probability ending in a blank, ending in the last letter); the first
            is the beam before any frame. Prefixes without probability are left out.
        kept: T+1 collections: the prefixes that stay in the beam.
        flows: T mappings, (prefix before, prefix after) -> probability that goes that way.
        frames: T strings to write under the columns after the first.
        upto: draw only the columns after this many frames, in the same axes; all when None.
    """
    n_frames = len(columns) - 1
    upto = n_frames if upto is None else upto
    _check_beams(columns, kept, flows, frames, upto)
    prefixes = sorted({p for column in columns for p, ends in column.items() if sum(ends) > 0})
    row = {prefix: i for i, prefix in enumerate(prefixes)}
    longest = max(sum(ends) for column in columns[1:] for ends in column.values())
    scale = BAR / max(longest, 1e-12)
    fig = new_figure(width, 0.4 * len(prefixes) + 1.15)
    ax = fig.add_subplot()
    for i in range(0, len(prefixes), 2):
        ax.axhspan(i - 0.5, i + 0.5, color=PAPER, lw=0, zorder=0)
    for t in range(1, upto + 1):
        _draw_flows(ax, t, columns[t - 1], kept[t], flows[t - 1], row, scale)
        sources = [after for (_, after), p in flows[t - 1].items() if p > 0]
        for prefix, ends in columns[t].items():
            if sum(ends) > 0:
                _draw_prefix(ax, t, row[prefix], ends, scale, prefix in kept[t], sources.count(prefix) > 1)
    for prefix, ends in columns[0].items():
        _draw_prefix(ax, 0, row[prefix], ends, min(scale, BAR / max(sum(ends), 1e-12)), True, False)
    name_rows(ax, [prefix or visible("") for prefix in prefixes], ("left", "bottom"))
    below = [f"frame {t}\n{text}" for t, text in enumerate(frames or [""] * n_frames, start=1)]
    ax.set_xticks(range(n_frames + 1), ["start", *below], ha="left")
    ax.tick_params(length=0)
    ax.tick_params(axis="y", labelsize=11)
    ax.set(ylim=(len(prefixes) - 0.5, -0.5), xlim=(-0.08, n_frames + BAR + 0.12))
    handles = [
        Patch(color=BLUE, label="ends in a blank"),
        Patch(color=VERMILION, label="ends in its last letter"),
        Patch(facecolor="white", edgecolor=GREEN, lw=1.8, label="merged"),
        Patch(color=RULE, label="dropped"),
    ]
    fig.legend(handles=handles, loc="outside lower right", ncols=4, handlelength=1.2, columnspacing=1.4)
    last = sorted(((sum(columns[upto][prefix]), prefix) for prefix in kept[upto]), reverse=True)
    told = listed(f"{visible(prefix)} {_decimal(p)}" for p, prefix in last)
    return finish(fig, f"Prefix beam search; kept after {plural(upto, 'frame')}: {told}.", title, ax)


def _draw_flows(
    ax: Axes, t: int, before: Mapping[str, Ends], kept: Collection[str],
    flows: Mapping[tuple[str, str], float], row: Mapping[str, int], scale: float,
) -> None:  # fmt: skip
    """Lines from the bars of column t - 1 to those of column t, as wide as the probability they carry."""
    for (source, after), p in flows.items():
        if p > 0:
            stays = after in kept
            color, alpha, zorder = (INK, 0.45, 2) if stays else (RULE, 0.9, 1)
            start = t - 1 + min(sum(before[source]) * scale, BAR)
            look = {"color": color, "alpha": alpha, "zorder": zorder, "solid_capstyle": "butt"}
            ax.plot([start, t], [row[source], row[after]], lw=max(0.7, 9 * p), **look)


def _draw_prefix(ax: Axes, x: float, y: float, ends: Ends, scale: float, kept: bool, merged: bool) -> None:
    """A prefix: its two probabilities end to end, and their sum."""
    blank, label = ends
    corner, whole = (x, y - 0.2), (blank + label) * scale
    ax.add_patch(Rectangle(corner, blank * scale, 0.4, facecolor=BLUE if kept else RULE, lw=0, zorder=3))
    rest, color = (x + blank * scale, y - 0.2), VERMILION if kept else RULE
    ax.add_patch(Rectangle(rest, label * scale, 0.4, facecolor=color, lw=0, zorder=3))
    if merged:
        edge, lw = (GREEN, 2.2) if kept else (FAINT, 0.8)
        ax.add_patch(Rectangle(corner, whole, 0.4, facecolor="none", edgecolor=edge, lw=lw, zorder=4))
    look = {"fontsize": 8.5, "color": INK if kept else FAINT, "zorder": 5, "va": "center"}
    behind = {"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.6}
    note(ax, _decimal(blank + label), (x + whole, y), (4, 0), bbox=behind, **look)


def _check_beams(columns: Sequence, kept: Sequence, flows: Sequence, frames: Sequence, upto: int) -> None:
    n_frames = len(columns) - 1
    if n_frames < 1 or len(kept) != n_frames + 1 or len(flows) != n_frames:
        counts = f"{len(columns)} with {len(kept)} kept and {len(flows)} flows"
        raise ValueError(f"columns: {counts}; expected T+1, T+1 and T")
    if frames and len(frames) != n_frames:
        raise ValueError(f"frames: {len(frames)} strings for {n_frames} frames")
    if not 0 <= upto <= n_frames:
        raise ValueError(f"upto: {upto}, expected 0 to {n_frames}")
    for column, stay in zip(columns, kept, strict=True):
        if strays := set(stay) - set(column):
            raise ValueError(f"kept: {min(strays)!r} is not in its column")


# Edit distance

EDIT_COLORS = {"same": FAINT, "substituted": VERMILION, "deleted": BLUE, "inserted": GREEN}


@house_style()
def edit_table(
    reference: Sequence[str],
    hypothesis: Sequence[str],
    cost: Any,
    path: Sequence[tuple[int, int]] = (),
    *,
    title: str | None = None,
    width: float | None = None,
) -> Figure:
    """The table of edit distances, with the cheapest path through it.

    Cell (i, j): the fewest edits that turn i units of the reference into j units of the hypothesis.

    Args:
        reference: a string, or a list of words; its units are the rows.
        hypothesis: a string, or a list of words; the columns.
        cost: (R + 1, C + 1) integers.
        path: cells (i, j) from (0, 0) to (R, C), each a step down, right or both from the one before.
    """
    table = to_numpy(cost, "cost", 2)
    rows, columns = len(reference), len(hypothesis)
    if table.shape != (rows + 1, columns + 1):
        raise ValueError(f"cost: shape {table.shape}, expected {(rows + 1, columns + 1)}")
    kinds = _edit_kinds(reference, hypothesis, path)
    cell = max(0.34, 0.11 * max(map(len, hypothesis), default=1) + 0.1)  # inches
    wide = width or max(4.6, cell * (columns + 1) + 0.13 * max(map(len, reference), default=1) + 0.9)
    fig = new_figure(wide, 0.34 * (rows + 1) + 1.25)
    ax = fig.add_subplot()
    for (i, j), edits in np.ndenumerate(table):
        face, ink, weight = (PALE_BLUE, INK, "bold") if (i, j) in path else (PAPER, FAINT, "normal")
        ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=face, edgecolor="white"))
        write(ax, j, i, f"{int(edits)}", fontsize=9.5, color=ink, weight=weight, zorder=4)
    for ((i, j), (k, m)), kind in zip(pairwise(path), kinds, strict=True):
        # Between the two numbers, not over them; cells are wider than high.
        ends = np.array([0.38, 0.62] if m == j else [0.27, 0.73])
        look = {"color": EDIT_COLORS[kind], "lw": 3, "solid_capstyle": "round", "zorder": 3}
        ax.plot(j + ends * (m - j), i + ends * (k - i), **look)
    ax.set_xticks(range(columns + 1), ["", *map(visible, hypothesis)])
    ax.set_yticks(range(rows + 1), ["", *map(visible, reference)])
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.set(xlabel="hypothesis", ylabel="reference", xlim=(-0.5, columns + 0.5), ylim=(rows + 0.5, -0.5))
    ax.tick_params(length=0, labelsize=10)
    ax.spines[:].set(visible=True, color=RULE)
    used = [f"{kind}: {kinds.count(kind)}" for kind in EDIT_COLORS if kind in kinds]
    if path:
        handles = [Patch(color=EDIT_COLORS[label.split(":")[0]], label=label) for label in used]
        fig.legend(handles=handles, loc="outside lower left", ncols=4, handlelength=1.0, columnspacing=1.2)
    before, after = ("".join(u) if isinstance(u, str) else " ".join(u) for u in (reference, hypothesis))
    alt = f"Table of edit distances from “{before}” to “{after}”, {int(table[-1, -1])} in all"
    return finish(fig, f"{alt}; {', '.join(used)}." if path else f"{alt}.", title)


def _edit_kinds(
    reference: Sequence[str], hypothesis: Sequence[str], path: Sequence[tuple[int, int]]
) -> list[str]:
    """What each step of the path does, or a ValueError when it does not lead from corner to corner."""
    if not path:
        return []
    if tuple(path[0]) != (0, 0) or tuple(path[-1]) != (len(reference), len(hypothesis)):
        raise ValueError(f"path: from {path[0]} to {path[-1]}, expected from corner to corner")
    kinds = []
    for (i, j), (k, m) in pairwise(path):
        step = (k - i, m - j)
        if step not in ((1, 1), (1, 0), (0, 1)):
            raise ValueError(f"path: from {(i, j)} to {(k, m)} is no step down, right or both")
        if step == (1, 1):
            kinds.append("same" if reference[i] == hypothesis[j] else "substituted")
        else:
            kinds.append("deleted" if step == (1, 0) else "inserted")
    return kinds


# Hypotheses

Pair = tuple[str | None, str | None]  # (reference word, hypothesis word); None where there is none


@house_style()
def hypotheses(rows: Mapping[str, Sequence[Pair]], *, title: str | None = None, width: float = 9.0) -> Figure:
    """One hypothesis per row, its words colored by how they differ from the reference, with its WER.

    Substituted words are orange, inserted ones green, and a deleted word stands in brackets, blue.

    Args:
        rows: name of the row -> pairs (reference word, hypothesis word), as from ``metrics.edits``.
    """
    if not rows:
        raise ValueError("rows: empty, expected at least one hypothesis")
    words = {name: [_colored_word(*pair) for pair in pairs] for name, pairs in rows.items()}
    letters = max(60, *(sum(len(word) + 1 for word, _ in line) for line in words.values()))
    fig = new_figure(width, 0.3 * len(rows) + 0.75)
    ax = fig.add_subplot()
    told = []
    for row, (name, line) in enumerate(words.items()):
        left = 0.0
        for word, kind in line:
            look = {"color": INK if kind == "same" else EDIT_COLORS[kind], "family": "monospace"}
            write(ax, left, row, word, ha="left", fontsize=9.5, **look)
            left += len(word) + 1
        spoken = sum(wanted is not None for wanted, _ in rows[name])
        wrong = sum(kind != "same" for _, kind in line)
        rate = f"{wrong / spoken:.0%}" if spoken else "–"
        write(ax, letters + 1, row, rate, ha="right", fontsize=9.5)
        told.append(f"{name}: “{' '.join(word for word, _ in line)}”, WER {rate}")
    write(ax, letters + 1, -0.8, "WER", ha="right", fontsize=9, color=FAINT)
    name_rows(ax, list(rows), ("left", "bottom"))
    ax.set(xlim=(-0.5, letters + 1.2), ylim=(len(rows) - 0.5, -1.1), xticks=[])
    ax.tick_params(length=0)
    kinds = [kind for kind in EDIT_COLORS if kind != "same"]
    handles = [Patch(color=EDIT_COLORS[kind], label=kind) for kind in kinds]
    fig.legend(handles=handles, loc="outside lower left", ncols=3, handlelength=1.0, columnspacing=1.2)
    return finish(fig, f"Hypotheses, word by word. {'; '.join(told)}.", title, ax)


def _colored_word(wanted: str | None, found: str | None) -> tuple[str, str]:
    """What is written for a pair of words, and the kind of edit."""
    if found is None:
        return f"[{wanted}]", "deleted"
    if wanted is None:
        return found, "inserted"
    return found, "same" if wanted == found else "substituted"
