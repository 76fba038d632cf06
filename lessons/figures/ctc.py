"""CTC: posteriors, alignments, trellises, the gradient, beam search, edit distance."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from lessons.figures.style import (
    AMOUNT,
    BLUE,
    FAINT,
    GREEN,
    INK,
    PALE_BLUE,
    PALETTE,
    PAPER,
    RULE,
    SIGNED,
    SKY,
    VERMILION,
    color_bar,
    finish,
    grid,
    house_style,
    listed,
    name_rows,
    new_figure,
    note,
    plural,
    probabilities,
    to_numpy,
    visible,
    write,
)

# Posteriors

Word = tuple[float, float, str]  # start and end in frames, end exclusive, and the word


@house_style()
def alignment(
    posteriors: Any,
    symbols: Sequence[str],
    path: Sequence[int] | None = None,
    words: Sequence[Word] | None = None,
    *,
    only_used: bool = True,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """The posteriors as a heat map over time, the alignment path on them, the words below.

    Args:
        posteriors: (T, V) probabilities of each class at each frame.
        symbols: V names, class 0 (the blank) first; a space is drawn as ␣.
        path: (T,) the class of each frame on the chosen alignment.
        words: (start, end, word) in frames, end exclusive.
        only_used: leave out classes that are neither on the path nor ever above 0.1.
    """
    p = probabilities(posteriors, "posteriors")  # (T, V)
    _same_length(p, symbols, path, "symbols", "classes")
    frames, classes = p.shape
    on_path = set() if path is None else {int(c) for c in path}
    rows = [v for v in range(classes) if not only_used or v == 0 or v in on_path or p[:, v].max() > 0.1]
    lanes = 0.5 if words else 0.0
    fig = new_figure(width, 0.19 * len(rows) + 1.0 + lanes)
    if words:
        ax, lane = fig.subplots(2, 1, sharex=True, height_ratios=[0.19 * len(rows) + 0.3, lanes])
        _word_bars(lane, words, frames)
        ax.tick_params(axis="x", length=0)
    else:
        ax = fig.add_subplot()
        ax.set_xlabel("frame")
    image = ax.imshow(p[:, rows].T, aspect="auto", cmap=AMOUNT, vmin=0, vmax=1, origin="upper")
    name_rows(ax, [visible(symbols[v]) for v in rows], ("left", "bottom"))
    alt = f"Heat map of the posteriors of {plural(len(rows), 'class')} over {frames} frames"
    if path is not None:
        heights = [rows.index(int(c)) for c in path]
        ax.plot(range(frames), heights, color=VERMILION, lw=0.9, alpha=0.55)
        ax.plot(range(frames), heights, color=VERMILION, lw=0, marker="o", ms=2.6, label="path")
        labels = [b for a, b in pairwise([0, *map(int, path)]) if b not in (a, 0)]
        alt += f", with a path that spells “{''.join(symbols[c] for c in labels)}”"
    alt += f"; words below: {listed(word for *_, word in words)}" if words else ""
    color_bar(fig, image, ax, [0, 1])
    return finish(fig, alt + ".", title, ax)


def _word_bars(ax: Axes, words: Sequence[Word], frames: int) -> None:
    """A lane of words over time, drawn as bars from start to end."""
    ax.set(xlim=(-0.5, frames - 0.5), ylim=(0, 1), yticks=[], xlabel="frame")
    ax.spines["left"].set_visible(False)
    for start, end, word in words:
        face, size, color = (PAPER, 7.5, FAINT) if word in ("sil", "sp") else (PALE_BLUE, 9.5, INK)
        ax.broken_barh([(start - 0.5, end - start)], (0.12, 0.76), facecolor=face, edgecolor="white", lw=1.5)
        write(ax, (start + end - 1) / 2, 0.48, word, fontsize=size, color=color, clip_on=True)


@house_style()
def posterior_curves(
    snapshots: Mapping[str, Any],
    symbols: Sequence[str],
    *,
    columns: int = 3,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """The posterior of each class over the frames, one panel per snapshot, the blank as a gray area.

    Args:
        snapshots: title, such as a step of the training -> (T, V) probabilities.
        symbols: V names, the blank first. A class that is never above 0.1 in any snapshot gets no line.
    """
    if not snapshots:
        raise ValueError("snapshots: empty, expected at least one")
    tables = {name: probabilities(p, f"snapshots[{name!r}]") for name, p in snapshots.items()}
    for name, p in tables.items():
        if p.shape[1] != len(symbols):
            raise ValueError(f"symbols: {len(symbols)} names for the {p.shape[1]} classes of {name!r}")
    used = [v for v in range(1, len(symbols)) if any(p[:, v].max() > 0.1 for p in tables.values())]
    if len(used) > len(PALETTE):
        raise ValueError(f"snapshots: {len(used)} classes above 0.1, expected at most {len(PALETTE)}")
    extra = 0.55 + (0.3 if title else 0)
    fig, axes = grid(len(tables), columns, width, 1.55, extra, sharex=True, sharey=True)
    for i, (ax, (name, p)) in enumerate(zip(axes, tables.items(), strict=True)):
        ax.fill_between(range(len(p)), p[:, 0], color=RULE, alpha=0.6, lw=0, label="blank")
        for v, color in zip(used, PALETTE, strict=False):
            ax.plot(p[:, v], color=color, lw=1.6, label=visible(symbols[v]))
        ax.set_title(name, fontsize=10)
        ax.set(ylim=(0, 1.03), yticks=[0, 0.5, 1], xlim=(0, len(p) - 1))
        ax.set_ylabel("probability" if i % columns == 0 else "")
        ax.set_xlabel("frame" if i + columns >= len(tables) else "")
        ax.tick_params(colors=FAINT)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    told = (f"{name} has {p[:, 0].mean():.0%} blank on average" for name, p in tables.items())
    seen = listed(visible(symbols[v]) for v in used)
    return finish(fig, f"Posteriors of the blank and of {seen} over the frames: {listed(told)}.", title)


@house_style()
def ctc_gradient(
    softmax: Any, occupancy: Any, symbols: Sequence[str], *, title: str | None = None, width: float = 9.5
) -> Figure:
    """The gradient of the CTC loss: heat maps of softmax, occupancy and softmax − occupancy over the frames.

    Args:
        softmax: (T, V) probabilities that the network predicts.
        occupancy: (T, V) probabilities given the label.
        symbols: V names, the blank first.
    """
    given = to_numpy(softmax, "softmax", 2).astype(float)
    asked = to_numpy(occupancy, "occupancy", 2).astype(float)
    if given.shape != asked.shape:
        raise ValueError(f"occupancy: shape {asked.shape}, expected that of softmax, {given.shape}")
    _same_length(given, symbols, None, "symbols", "classes")
    fig = new_figure(width, 0.34 * len(symbols) + 1.1)
    axes = fig.subplots(1, 3, sharey=True)
    for ax, name, values, low, ticks in (
        (axes[0], "softmax (prediction)", given, 0, [0, 1]),
        (axes[1], "occupancy (soft target)", asked, 0, [0, 1]),
        (axes[2], "gradient = softmax − occupancy", given - asked, -1, [-1, 0, 1]),
    ):
        image = ax.imshow(values.T, aspect="auto", cmap=SIGNED if low else AMOUNT, vmin=low, vmax=1)
        for (t, v), value in np.ndenumerate(values):
            small = f"{value:.1f}".replace("-0.0", "").replace("0.0", "").replace("-", "−")
            write(ax, t, v, small, fontsize=6.5, color="white" if abs(value) > 0.6 else INK)
        ax.set_title(name, fontsize=10)
        ax.set(xlabel="frame", xticks=range(len(values)))
        ax.tick_params(length=0)
        ax.spines[["left", "bottom"]].set_visible(False)
        color_bar(fig, image, ax, ticks, fraction=0.05, aspect=12, pad=0.02)
    axes[0].set_yticks(range(len(symbols)), [visible(name) for name in symbols])
    t, v = np.unravel_index((given - asked).argmin(), given.shape)
    alt = "Heat maps of softmax, occupancy and their difference, the gradient"
    alt += f"; it is lowest at frame {t} for {visible(symbols[v])} ({(given - asked)[t, v]:.2g})"
    return finish(fig, alt + ".", title)


# Trellises

WIDEST = 7.0  # points, the width of a line along which everything passes
FAINTEST = 0.004  # a smaller fraction would be thinner than the eye sees


@house_style()
def trellis(
    occupancy: Any,
    states: Sequence[str],
    may_skip: Any,
    path: Sequence[int] | None = None,
    *,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """The CTC trellis: one row per state of the extended label, one column per frame.

    The area of a dot is the posterior: the probability of that state at that frame, given the label.
    Thin lines are the moves that CTC allows: stay, step, and skip a blank between two different symbols.

    Args:
        occupancy: (T, S) probabilities, each row summing to 1 (forward-backward posteriors).
        states: S names: blank, first symbol, blank, second symbol, …, blank.
        may_skip: (S,) bool, whether a path may enter state s from s - 2 (:func:`lessons.ctc.may_skip`).
        path: (T,) the state of each frame on the best alignment.
    """
    p = probabilities(occupancy, "occupancy")  # (T, S)
    _same_length(p, states, path, "states", "states")
    frames, count = p.shape
    fig = new_figure(width, 0.32 * count + 0.9)
    ax = fig.add_subplot()
    for move in _moves(frames, _skips(may_skip, count)):
        ax.plot(*zip(*_ends(move), strict=True), color=RULE, lw=0.6, zorder=1)
    across = 72 * min((width - 1) / frames, 0.32)  # points between neighboring dots
    t, s = np.mgrid[:frames, :count]
    sizes = (0.8 * across) ** 2 * p.ravel()
    ax.scatter(t.ravel(), s.ravel(), s=sizes, color=BLUE, alpha=0.85, lw=0, zorder=3)
    ax.scatter(t.ravel(), s.ravel(), s=3, color=FAINT, lw=0, zorder=2)
    if path is not None:
        ax.plot(range(frames), list(path), color=VERMILION, lw=1.6, zorder=4, label="best path")
    _name_states(ax, frames, states)
    ax.set(xlabel="frame")
    return finish(fig, _told(p, states), title, ax)


@house_style()
def trellis_flow(
    panels: Mapping[str, tuple[Any, Any]],
    states: Sequence[str],
    may_skip: Any,
    *,
    columns: int = 1,
    title: str | None = None,
    width: float = 9.0,
    row_height: float = 0.25,
) -> Figure:
    """Trellises of one label: the probability of each state at each frame, and of each move between frames.

    Args:
        panels: title -> (nodes, edges). Nodes (T, S): the fraction in state s at frame t, drawn as area.
            Edges (T - 1, S, 3): the fraction that moves from state s at frame t to s, s + 1, s + 2 at t + 1,
            drawn as width.
        states, may_skip: as for :func:`trellis`.
        columns: how many panels side by side.
        row_height: inches from one state to the next.
    """
    if not panels:
        raise ValueError("panels: empty, expected at least one trellis")
    columns = min(columns, len(panels))
    extra, told = 0.3 if title else 0, []
    fig, axes = grid(len(panels), columns, width, row_height * len(states) + 0.75, extra)
    for i, (ax, (name, (nodes, edges))) in enumerate(zip(axes, panels.items(), strict=True)):
        nodes, edges = _fractions(nodes, edges, states, name)
        _draw_flow(ax, nodes, edges, states, may_skip, width / columns, row_height)
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("frame" if i + columns >= len(panels) else "")
        ax.set_ylabel("state" if i % columns == 0 else "")
        told.append(f"{name}: {_told(nodes, states)}")
    return finish(fig, " ".join(told), title)


@house_style()
def trellis_steps(
    nodes: Any,
    edges: Any,
    states: Sequence[str],
    may_skip: Any,
    frames: Sequence[int],
    *,
    columns: int = 4,
    width: float = 9.0,
    row_height: float = 0.21,
) -> Figure:
    """One trellis at several frames: filled up to frame t, with the moves into frame t in orange.

    Args:
        nodes, edges, states, may_skip: as for :func:`trellis_flow`.
        frames: the frames t, one panel each.
    """
    nodes, edges = _fractions(nodes, edges, states, "nodes")
    for t in frames:
        if not 0 <= t < len(nodes):
            raise ValueError(f"frames: found {t}, expected 0 to {len(nodes) - 1}")
    columns = min(columns, len(frames))
    fig, axes = grid(len(frames), columns, width, row_height * len(states) + 0.62, sharey=True)
    for ax, t in zip(axes, frames, strict=True):
        _draw_flow(ax, nodes, edges, states, may_skip, width / columns, row_height, until=int(t))
        ax.set_title(f"frame {t}", fontsize=10)
    return finish(fig, f"{_told(nodes, states)[:-1]}, filled up to frames {listed(frames)}.")


def _draw_flow(
    ax: Axes, nodes: np.ndarray, edges: np.ndarray, states: Sequence[str], may_skip: Any, inches: float,
    row_height: float, until: int | None = None,
) -> None:  # fmt: skip
    """Dots for states, lines as wide as the probability of their move, all or those up to frame ``until``."""
    frames, count = nodes.shape
    newest = None if until is None else until - 1  # the moves of this frame stand out
    until = frames - 1 if until is None else until
    hairlines, flows, widths, colors = [], [], [], []
    for t, s, jump in _moves(frames, _skips(may_skip, count)):
        if t < until and edges[t, s, jump] > FAINTEST:
            flows.append(_ends((t, s, jump)))
            widths.append(WIDEST * edges[t, s, jump])
            colors.append(VERMILION if t == newest else BLUE)
        elif newest is None and inches > 3.5:  # smaller panels are clearer without
            hairlines.append(_ends((t, s, jump)))
    ax.add_collection(LineCollection(hairlines, colors=RULE, linewidths=0.5, zorder=1))
    look = {"colors": colors, "linewidths": widths, "alpha": 0.55, "zorder": 2, "capstyle": "round"}
    ax.add_collection(LineCollection(flows, **look))
    t, s = np.mgrid[:frames, :count]
    seen = np.where(t <= until, nodes, 0.0)
    across = 72 * min((inches - 0.8) / frames, 1.2 * row_height)  # points that a dot may fill
    ax.scatter(t.ravel(), s.ravel(), s=(0.75 * across) ** 2 * seen.ravel(), color=BLUE, lw=0, zorder=4)
    ax.scatter(t.ravel(), s.ravel(), s=2.5, color=FAINT, lw=0, zorder=3)
    _name_states(ax, frames, states)
    for label, name in zip(ax.get_yticklabels(), states, strict=False):
        label.set(color=FAINT if name == states[0] else INK)
    ax.set_xticks(range(0, frames, 1 if frames <= 12 else 5))


def _moves(frames: int, skips: np.ndarray) -> list[tuple[int, int, int]]:
    """(t, s, jump) of each move from state s at frame t to s + jump at t + 1: stay, step, allowed skip."""
    count = len(skips)
    return [
        (t, s, jump)
        for t in range(frames - 1)
        for s in range(count)
        for jump in (0, 1, 2)
        if s + jump < count and (jump < 2 or skips[s + 2])
    ]


def _ends(move: tuple[int, int, int]) -> list[tuple[int, int]]:
    t, s, jump = move
    return [(t, s), (t + 1, s + jump)]


def _name_states(ax: Axes, frames: int, states: Sequence[str]) -> None:
    name_rows(ax, map(visible, states), ("left", "bottom"))
    ax.tick_params(length=0)
    ax.set(xlim=(-0.6, frames - 0.4), ylim=(len(states) - 0.4, -0.6))


def _told(nodes: np.ndarray, states: Sequence[str]) -> str:
    """The most probable state at a few frames."""
    frames = np.unique(np.linspace(0, len(nodes) - 1, 6).round().astype(int))
    most = listed(f"{visible(states[nodes[t].argmax()])} at frame {t}" for t in frames)
    return f"CTC trellis of {len(states)} states over {len(nodes)} frames, most probable: {most}."


def _same_length(p: np.ndarray, names: Sequence[str], path: Any, name: str, what: str) -> None:
    """A ValueError unless there is a name per column and an entry of the path per row."""
    if len(names) != p.shape[1]:
        raise ValueError(f"{name}: {len(names)} names for {p.shape[1]} {what}")
    if path is not None and len(path) != len(p):
        raise ValueError(f"path: {len(path)} entries for {len(p)} frames")


def _skips(may_skip: Any, count: int) -> np.ndarray:
    skips = to_numpy(may_skip, "may_skip", 1)
    if skips.shape != (count,) or skips.dtype != bool:
        raise ValueError(
            f"may_skip: {skips.dtype} {skips.shape}, expected bool ({count},) as from ctc.may_skip"
        )
    return skips


def _fractions(nodes: Any, edges: Any, states: Sequence[str], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Nodes (T, S) and edges (T - 1, S, 3) as numpy, or a ValueError."""
    nodes, edges = probabilities(nodes, name), probabilities(edges, f"edges of {name}", 3)
    _same_length(nodes, states, None, "states", "states")
    expected = (len(nodes) - 1, len(states), 3)
    if edges.shape != expected:
        raise ValueError(f"edges of {name}: shape {edges.shape}, expected {expected}")
    return nodes, edges


# Beam search

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

    The most probable of all paths is red; with ``dropped``, color tells instead which paths are lost.

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

    A bar is as long as its prefix is probable: blue the paths that end in a blank, red those that end in the
    prefix's last letter. Lines carry probability on: level when the prefix stays as it is, downwards when it
    grows. Where lines from two prefixes meet, their paths are merged: a green frame. Gray bars are dropped.

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
