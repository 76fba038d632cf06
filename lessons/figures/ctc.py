"""CTC: posteriors, alignments, trellises, gradients, beam search and edit distance."""

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
    PALETTE,
    PAPER,
    RULE,
    SIGNED,
    SKY,
    VERMILION,
    house_style,
    new_figure,
    to_numpy,
)

Word = tuple[float, float, str]  # start and end in frames, end exclusive, and the word


def _shown(symbol: str) -> str:
    return "␣" if symbol == " " else symbol


def _probabilities(array: Any, name: str) -> np.ndarray:
    p = to_numpy(array, name, 2).astype(float)
    if p.min() < -1e-6 or p.max() > 1 + 1e-6:
        raise ValueError(
            f"{name}: values from {p.min():.3g} to {p.max():.3g}; expected probabilities (exp of log_probs?)"
        )
    return p


def _word_bars(ax, words: Sequence[Word], frames: int) -> None:
    """A lane of words over time, drawn as bars from start to end."""
    ax.set(xlim=(-0.5, frames - 0.5), ylim=(0, 1), yticks=[], xlabel="frame")
    ax.spines[["left"]].set_visible(False)
    for start, end, word in words:
        quiet = word in ("sil", "sp")
        ax.broken_barh(
            [(start - 0.5, end - start)], (0.12, 0.76), facecolor=PAPER if quiet else "#DCEBF6",
            edgecolor="white", lw=1.5,
        )  # fmt: skip
        ax.text(
            (start + end - 1) / 2, 0.48, word, ha="center", va="center",
            fontsize=7.5 if quiet else 9.5, color=FAINT if quiet else INK, clip_on=True,
        )  # fmt: skip


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
    p = _probabilities(posteriors, "posteriors")  # (T, V)
    frames, classes = p.shape
    if len(symbols) != classes:
        raise ValueError(f"symbols: {len(symbols)} names for {classes} classes")
    if path is not None and len(path) != frames:
        raise ValueError(f"path: {len(path)} entries for {frames} frames")
    on_path = set() if path is None else {int(c) for c in path}
    rows = [v for v in range(classes) if not only_used or v == 0 or v in on_path or p[:, v].max() > 0.1]
    place = {v: i for i, v in enumerate(rows)}
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
    ax.set_yticks(range(len(rows)), [_shown(symbols[v]) for v in rows])
    ax.tick_params(axis="y", length=0)
    ax.spines[["left", "bottom"]].set_visible(False)
    if path is not None:
        heights = [place[int(c)] for c in path]
        ax.plot(range(frames), heights, color=VERMILION, lw=0.9, alpha=0.55)
        ax.plot(range(frames), heights, color=VERMILION, lw=0, marker="o", ms=2.6, label="path")
    bar = fig.colorbar(image, ax=ax, fraction=0.02, pad=0.01, aspect=20)
    bar.set_ticks([0, 1])
    bar.outline.set(edgecolor=FAINT, linewidth=0.5)
    if title:
        ax.set_title(title)
    return fig


@house_style()
def trellis(
    occupancy: Any,
    states: Sequence[str],
    path: Sequence[int] | None = None,
    *,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """The CTC trellis: one row for each state of the extended label, one column for each frame.

    The area and the color of a dot say how probable it is to be in that state at that frame, once the
    label is known. Thin lines are the moves that CTC allows: stay, step, and skip a blank between two
    different symbols.

    Args:
        occupancy: (T, S) probabilities, each row summing to 1 (forward-backward posteriors).
        states: S names: blank, first symbol, blank, second symbol, …, blank.
        path: (T,) the state of each frame on the best alignment.
    """
    p = _probabilities(occupancy, "occupancy")  # (T, S)
    frames, count = p.shape
    if len(states) != count:
        raise ValueError(f"states: {len(states)} names for {count} states")
    if path is not None and len(path) != frames:
        raise ValueError(f"path: {len(path)} entries for {frames} frames")
    fig = new_figure(width, 0.32 * count + 0.9)
    ax = fig.add_subplot()
    for t in range(frames - 1):
        for s in range(count):
            for jump in (0, 1, 2):
                skips = jump == 2 and (s % 2 == 0 or s + 2 >= count or states[s] == states[s + 2])
                if s + jump < count and not skips:
                    ax.plot([t, t + 1], [s, s + jump], color=RULE, lw=0.6, zorder=1)
    t, s = np.mgrid[:frames, :count]
    step = 72 * min((width - 1) / frames, 0.32)  # points between neighboring dots
    ax.scatter(t.ravel(), s.ravel(), s=(0.8 * step) ** 2 * p.ravel(), color=BLUE, alpha=0.85, lw=0, zorder=3)
    ax.scatter(t.ravel(), s.ravel(), s=3, color=FAINT, lw=0, zorder=2)
    if path is not None:
        ax.plot(range(frames), list(path), color=VERMILION, lw=1.6, zorder=4, label="best path")
    ax.set_yticks(range(count), [_shown(name) for name in states])
    ax.tick_params(length=0)
    ax.set(xlabel="frame", xlim=(-0.6, frames - 0.4), ylim=(count - 0.4, -0.6))
    ax.spines[["left", "bottom"]].set_visible(False)
    if title:
        ax.set_title(title)
    return fig


WIDEST = 7.0  # points, the width of a line along which everything passes
FAINTEST = 0.004  # a smaller share would be thinner than the eye sees


@house_style()
def trellis_flow(
    panels: Mapping[str, tuple[Any, Any]],
    states: Sequence[str],
    *,
    columns: int = 1,
    title: str | None = None,
    width: float = 9.0,
    row_height: float = 0.25,
) -> Figure:
    """Trellises of one label: where the probability is at each frame, and along which moves it gets there.

    Args:
        panels: title -> (nodes, edges). Nodes (T, S): the share of state s at frame t, drawn as area. Edges
            (T - 1, S, 3): the share that moves from state s at frame t to s, s + 1, s + 2 at t + 1, drawn as
            width.
        states: S names: blank, first label, blank, …, blank.
        columns: how many panels side by side.
        row_height: inches from one state to the next.
    """
    if not panels:
        raise ValueError("panels: empty, expected at least one trellis")
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    fig = new_figure(width, rows * (row_height * len(states) + 0.75) + (0.3 if title else 0))
    axes = fig.subplots(rows, columns, squeeze=False).flat
    for i, (ax, (name, (nodes, edges))) in enumerate(zip(axes, panels.items(), strict=False)):
        nodes, edges = _checked_flow(nodes, edges, states, name)
        _draw_flow(ax, nodes, edges, states, width / columns, row_height)
        ax.set_title(name, fontsize=10)
        ax.set_xlabel("frame" if i + columns >= len(panels) else "")
    for ax in list(axes)[len(panels) :]:
        ax.set_visible(False)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


@house_style()
def trellis_steps(
    nodes: Any,
    edges: Any,
    states: Sequence[str],
    frames: Sequence[int],
    *,
    columns: int = 4,
    width: float = 9.0,
    row_height: float = 0.21,
) -> Figure:
    """One trellis at several moments: filled up to frame t, and the moves into frame t in orange.

    Args:
        nodes, edges, states: as for ``trellis_flow``.
        frames: the moments t, one panel each.
    """
    nodes, edges = _checked_flow(nodes, edges, states, "nodes")
    for t in frames:
        if not 0 <= t < len(nodes):
            raise ValueError(f"frames: found {t}, expected 0 to {len(nodes) - 1}")
    columns = min(columns, len(frames))
    rows = -(-len(frames) // columns)
    fig = new_figure(width, rows * (row_height * len(states) + 0.62))
    axes = list(fig.subplots(rows, columns, squeeze=False, sharey=True).flat)
    for ax, t in zip(axes, frames, strict=False):
        _draw_flow(ax, nodes, edges, states, width / columns, row_height, until=int(t))
        ax.set_title(f"frame {t}", fontsize=10)
        ax.set_xlabel("")
    for ax in axes[len(frames) :]:
        ax.set_visible(False)
    return fig


def _checked_flow(nodes: Any, edges: Any, states: Sequence[str], name: str) -> tuple[np.ndarray, np.ndarray]:
    nodes = to_numpy(nodes, name, 2).astype(float)  # (T, S)
    edges = to_numpy(edges, f"edges of {name}", 3).astype(float)  # (T - 1, S, 3)
    frames, count = nodes.shape
    if len(states) != count:
        raise ValueError(f"states: {len(states)} names for {count} states")
    if edges.shape != (frames - 1, count, 3):
        raise ValueError(f"edges of {name}: shape {edges.shape}, expected {(frames - 1, count, 3)}")
    for what, values in (("nodes", nodes), ("edges", edges)):
        if values.min() < -1e-9 or values.max() > 1 + 1e-6:
            raise ValueError(f"{what} of {name}: from {values.min():.3g} to {values.max():.3g}: no shares")
    return nodes, edges


def _draw_flow(
    ax: Axes,
    nodes: np.ndarray,
    edges: np.ndarray,
    states: Sequence[str],
    inches: float,
    row_height: float,
    until: int | None = None,
) -> None:
    frames, count = nodes.shape
    newest = None if until is None else until - 1  # the moves of this frame stand out
    until = frames - 1 if until is None else until
    hairlines, flows, widths, colors = [], [], [], []
    for t in range(frames - 1):
        for s in range(count):
            for jump in (0, 1, 2):
                skips = jump == 2 and (s % 2 == 0 or s + 2 >= count or states[s] == states[s + 2])
                if s + jump >= count or skips:
                    continue
                line = [(t, s), (t + 1, s + jump)]
                if t < until and edges[t, s, jump] > FAINTEST:
                    flows.append(line)
                    widths.append(WIDEST * edges[t, s, jump])
                    colors.append(VERMILION if t == newest else BLUE)
                elif newest is None and inches > 3.5:  # smaller panels are clearer without
                    hairlines.append(line)
    ax.add_collection(LineCollection(hairlines, colors=RULE, linewidths=0.5, zorder=1))
    ax.add_collection(
        LineCollection(flows, colors=colors, linewidths=widths, alpha=0.55, zorder=2, capstyle="round")
    )
    t, s = np.mgrid[:frames, :count]
    seen = np.where(t <= until, nodes, 0.0)
    across = 72 * min((inches - 0.8) / frames, 1.2 * row_height)  # points that a dot may fill
    ax.scatter(t.ravel(), s.ravel(), s=(0.75 * across) ** 2 * seen.ravel(), color=BLUE, lw=0, zorder=4)
    ax.scatter(t.ravel(), s.ravel(), s=2.5, color=FAINT, lw=0, zorder=3)
    ax.set_yticks(range(count), ["␣" if name == " " else name for name in states])
    for label, name in zip(ax.get_yticklabels(), states, strict=False):
        label.set(color=FAINT if name == states[0] else INK)
    ax.set_xticks(range(0, frames, 1 if frames <= 12 else 5))
    ax.tick_params(length=0)
    ax.set(xlim=(-0.6, frames - 0.4), ylim=(count - 0.4, -0.6))
    ax.spines[["left", "bottom"]].set_visible(False)


@house_style()
def ctc_gradient(
    softmax: Any,
    occupancy: Any,
    symbols: Sequence[str],
    *,
    title: str | None = None,
    width: float = 9.5,
) -> Figure:
    """Three heat maps over frames: softmax, occupancy, softmax − occupancy.

    Args:
        softmax: (T, V) probabilities that the network gives.
        occupancy: (T, V) probabilities once the label is known.
        symbols: V names, the blank first.
    """
    given = to_numpy(softmax, "softmax", 2).astype(float)
    asked = to_numpy(occupancy, "occupancy", 2).astype(float)
    if given.shape != asked.shape:
        raise ValueError(f"occupancy: shape {asked.shape}, expected that of softmax, {given.shape}")
    if len(symbols) != given.shape[1]:
        raise ValueError(f"symbols: {len(symbols)} names for {given.shape[1]} classes")
    fig = new_figure(width, 0.34 * len(symbols) + 1.1)
    axes = fig.subplots(1, 3, sharey=True)
    names = ("softmax: given", "occupancy: asked for", "gradient = given − asked for")
    for ax, name, values in zip(axes, names, (given, asked, given - asked), strict=True):
        signed = ax is axes[-1]
        image = ax.imshow(
            values.T, aspect="auto", cmap=SIGNED if signed else AMOUNT, vmin=-1 if signed else 0, vmax=1
        )
        for t, v in np.ndindex(*values.shape):
            small = f"{values[t, v]:.1f}".replace("-0.0", "").replace("0.0", "").replace("-", "−")
            ax.text(
                t, v, small, ha="center", va="center", fontsize=6.5,
                color="white" if abs(values[t, v]) > 0.6 else INK,
            )  # fmt: skip
        ax.set_title(name, fontsize=10)
        ax.set(xlabel="frame", xticks=range(len(values)))
        ax.tick_params(length=0)
        ax.spines[["left", "bottom"]].set_visible(False)
        bar = fig.colorbar(image, ax=ax, fraction=0.05, pad=0.02, aspect=12)
        bar.set_ticks([-1, 0, 1] if signed else [0, 1])
        bar.outline.set(edgecolor=FAINT, linewidth=0.5)
    axes[0].set_yticks(range(len(symbols)), ["␣" if name == " " else name for name in symbols])
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


@house_style()
def posterior_curves(
    snapshots: Mapping[str, Any],
    symbols: Sequence[str],
    *,
    columns: int = 3,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """Small multiples: the probability of each class over the frames, the blank as a gray area.

    Args:
        snapshots: title -> (T, V) probabilities.
        symbols: V names, the blank first. A class that is never above 0.1 in any snapshot gets no line.
    """
    if not snapshots:
        raise ValueError("snapshots: empty, expected at least one")
    tables = {name: to_numpy(p, f"snapshots[{name!r}]", 2).astype(float) for name, p in snapshots.items()}
    for name, p in tables.items():
        if p.shape[1] != len(symbols):
            raise ValueError(f"symbols: {len(symbols)} names for the {p.shape[1]} classes of {name!r}")
        if p.min() < -1e-6 or p.max() > 1 + 1e-6:
            raise ValueError(f"{name!r}: from {p.min():.3g} to {p.max():.3g}; expected probabilities")
    used = [v for v in range(1, len(symbols)) if any(p[:, v].max() > 0.1 for p in tables.values())]
    if len(used) > len(PALETTE):
        raise ValueError(f"snapshots: {len(used)} classes above 0.1, expected at most {len(PALETTE)}")
    columns = min(columns, len(tables))
    rows = -(-len(tables) // columns)
    fig = new_figure(width, 1.55 * rows + 0.55 + (0.3 if title else 0))
    axes = list(fig.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for i, (ax, (name, p)) in enumerate(zip(axes, tables.items(), strict=False)):
        ax.fill_between(range(len(p)), p[:, 0], color=RULE, alpha=0.6, lw=0, label="blank")
        for v, color in zip(used, PALETTE, strict=False):
            ax.plot(p[:, v], color=color, lw=1.6, label="␣" if symbols[v] == " " else symbols[v])
        ax.set_title(name, fontsize=10)
        ax.set(ylim=(0, 1.03), yticks=[0, 0.5, 1], xlim=(0, len(p) - 1))
        ax.set_xlabel("frame" if i + columns >= len(tables) else "")
        ax.tick_params(colors=FAINT)
    for ax in axes[len(tables) :]:
        ax.set_visible(False)
    handles, names = axes[0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside right center")
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


Ends = tuple[float, float]  # probability of the paths that end in a blank, and of those that end in a label

EMPTY = "“”"
BAR = 0.6  # width of a bar of probability 1, in columns; bars are scaled so that the longest has this width


def _probability(p: float) -> str:
    """A probability as ".36", or with three places when it is small."""
    return f"{p:.2f}".removeprefix("0") if p >= 0.0995 or p == 0 else f"{p:.3f}".removeprefix("0")


@house_style()
def path_probabilities(
    labels: Mapping[str, Mapping[str, float]],
    *,
    dropped: Collection[str] | None = None,
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """One bar a label, laid together from the probabilities of the paths that spell it.

    The most probable of all paths is red; with ``dropped``, color tells instead which paths are lost.

    Args:
        labels: label -> path -> probability, rows from top to bottom; the empty label is drawn as “”.
        dropped: paths that a search has lost: gray, at the end of their bar.
    """
    if not labels or not all(labels.values()):
        raise ValueError("labels: expected at least one label, each with at least one path")
    shares = [p for paths in labels.values() for p in paths.values()]
    if min(shares) < 0 or sum(shares) > 1 + 1e-6:
        raise ValueError(f"labels: probabilities from {min(shares):g}, in all {sum(shares):g}; at most 1")
    lost = set(dropped or ())
    if strays := lost - {path for paths in labels.values() for path in paths}:
        raise ValueError(f"dropped: {min(strays)!r} is no path of these labels")
    fig = new_figure(width, 0.5 * len(labels) + 1.0)
    ax = fig.add_subplot()
    longest = max(sum(paths.values()) for paths in labels.values())
    for row, paths in enumerate(labels.values()):
        left = 0.0
        for path, p in sorted(paths.items(), key=lambda item: item[0] in lost):
            best = dropped is None and p == max(shares)
            color = RULE if path in lost else VERMILION if best else SKY
            ax.barh(row, p, left=left, height=0.66, color=color, edgecolor="white", lw=1.5)
            if p > 0.07 * longest:
                ax.text(
                    left + p / 2, row, f"{path}\n{_probability(p)}", ha="center", va="center",
                    fontsize=8, color="white" if best else INK, linespacing=1.1,
                )  # fmt: skip
            left += p
        counted = sum(p for path, p in paths.items() if path not in lost)
        total = _probability(left) if dropped is None else f"{_probability(counted)} of {_probability(left)}"
        ax.annotate(total, (left, row), (5, 0), textcoords="offset points", va="center", fontsize=10)
    ax.set_yticks(range(len(labels)), [label or EMPTY for label in labels])
    ax.tick_params(axis="y", length=0, labelsize=11)
    ax.set(
        ylim=(len(labels) - 0.5, -0.5),
        xlim=(0, (1.1 if dropped is None else 1.25) * longest),
        xlabel="probability: one box a path",
    )
    ax.spines[["left"]].set_visible(False)
    if title:
        ax.set_title(title)
    return fig


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
    """Prefix beam search, frame by frame: a row for each prefix, a column after each frame.

    A bar is as long as its prefix is probable: blue the paths that end in a blank, red those that end in the
    prefix's last letter. Lines carry probability on: level when the prefix stays as it is, downwards when it
    grows. Where lines from two prefixes meet, their paths are merged: a green frame. Gray bars are dropped.

    Args:
        columns: T+1 mappings, prefix -> (probability ending in a blank, ending in the last letter); the first
            is the beam before any frame. Prefixes without probability are left out.
        kept: T+1 collections: the prefixes that stay in the beam.
        flows: T mappings, (prefix before, prefix after) -> probability that goes that way.
        frames: T strings to write under the columns after the first.
        upto: draw only the columns after this many frames, in the same frame of axes; all when None.
    """
    n_frames = len(columns) - 1
    if n_frames < 1 or len(kept) != n_frames + 1 or len(flows) != n_frames:
        raise ValueError(
            f"columns: {len(columns)} with {len(kept)} kept and {len(flows)} flows; expected T+1, T+1 and T"
        )
    if frames and len(frames) != n_frames:
        raise ValueError(f"frames: {len(frames)} strings for {n_frames} frames")
    upto = n_frames if upto is None else upto
    if not 0 <= upto <= n_frames:
        raise ValueError(f"upto: {upto}, expected 0 to {n_frames}")
    strays = [
        prefix for column, stay in zip(columns, kept, strict=True) for prefix in set(stay) - set(column)
    ]
    if strays:
        raise ValueError(f"kept: {strays[0]!r} is not in its column")

    prefixes = sorted({p for column in columns for p, ends in column.items() if sum(ends) > 0})
    row = {prefix: i for i, prefix in enumerate(prefixes)}
    longest = max(sum(ends) for column in columns[1:] for ends in column.values())
    scale = BAR / max(longest, 1e-12)
    fig = new_figure(width, 0.4 * len(prefixes) + 1.15)
    ax = fig.add_subplot()
    for i in range(0, len(prefixes), 2):
        ax.axhspan(i - 0.5, i + 0.5, color=PAPER, lw=0, zorder=0)

    for t in range(1, upto + 1):
        total = {}
        for (before, after), p in flows[t - 1].items():
            if p <= 0:
                continue
            total.setdefault(after, []).append(before)
            stays = after in kept[t]
            ax.plot(
                [t - 1 + min(sum(columns[t - 1][before]) * scale, BAR), t], [row[before], row[after]],
                color=INK if stays else RULE, lw=max(0.7, 9 * p), alpha=0.45 if stays else 0.9,
                solid_capstyle="butt", zorder=2 if stays else 1,
            )  # fmt: skip
        for prefix, ends in columns[t].items():
            if sum(ends) > 0:
                _bar(ax, t, row[prefix], ends, scale, prefix in kept[t], len(total.get(prefix, ())) > 1)
    for prefix, ends in columns[0].items():
        _bar(ax, 0, row[prefix], ends, min(scale, BAR / max(sum(ends), 1e-12)), True, False)

    ax.set_yticks(range(len(prefixes)), [prefix or EMPTY for prefix in prefixes])
    below = [f"frame {t}\n{text}" for t, text in enumerate(frames or [""] * n_frames, start=1)]
    ax.set_xticks(range(n_frames + 1), ["start", *below], ha="left")
    ax.tick_params(length=0)
    ax.tick_params(axis="y", labelsize=11)
    ax.set(ylim=(len(prefixes) - 0.5, -0.5), xlim=(-0.08, n_frames + BAR + 0.12))
    ax.spines[["left", "bottom"]].set_visible(False)
    handles = [
        Patch(color=BLUE, label="ends in a blank"),
        Patch(color=VERMILION, label="ends in its last letter"),
        Patch(facecolor="white", edgecolor=GREEN, lw=1.8, label="merged"),
        Patch(color=RULE, label="dropped"),
    ]
    fig.legend(handles=handles, loc="outside lower right", ncols=4, handlelength=1.2, columnspacing=1.4)
    if title:
        ax.set_title(title)
    return fig


def _bar(ax, x: float, y: float, ends: Ends, scale: float, kept: bool, merged: bool) -> None:
    """A prefix: its two probabilities end to end, and their sum."""
    blank, label = ends
    for left, p, color in ((0.0, blank, BLUE), (blank, label, VERMILION)):
        ax.add_patch(
            Rectangle(
                (x + left * scale, y - 0.2),
                p * scale,
                0.4,
                facecolor=color if kept else RULE,
                lw=0,
                zorder=3,
            )
        )
    if merged:
        ax.add_patch(
            Rectangle(
                (x, y - 0.2), (blank + label) * scale, 0.4, facecolor="none",
                edgecolor=GREEN if kept else FAINT, lw=2.2 if kept else 0.8, zorder=4,
            )
        )  # fmt: skip
    ax.annotate(
        _probability(blank + label), (x + (blank + label) * scale, y), (4, 0), textcoords="offset points",
        va="center", fontsize=8.5, color=INK if kept else FAINT, zorder=5,
        bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.6},
    )  # fmt: skip


EDIT_COLORS = {"same": FAINT, "substituted": VERMILION, "deleted": BLUE, "inserted": GREEN}


def _shown_unit(unit: str) -> str:
    return {" ": "␣", "": "“”"}.get(unit, unit)


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
    """Cell (i, j): the fewest edits that turn i units of the reference into j units of the hypothesis.

    Args:
        reference: what was said: a string, or a list of words; its units are the rows.
        hypothesis: what was read; the columns.
        cost: (R + 1, C + 1) whole numbers.
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
    for i in range(rows + 1):
        for j in range(columns + 1):
            on_path = (i, j) in path
            color = "#DCEBF6" if on_path else PAPER
            ax.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=color, edgecolor="white"))
            ax.text(
                j, i, f"{int(table[i, j])}", ha="center", va="center", fontsize=9.5,
                color=INK if on_path else FAINT, weight="bold" if on_path else "normal", zorder=4,
            )  # fmt: skip
    for ((i, j), (k, m)), kind in zip(pairwise(path), kinds, strict=True):
        # Between the two figures, not over them; cells are wider than high.
        ends = np.array([0.38, 0.62] if m == j else [0.27, 0.73])
        ax.plot(
            j + ends * (m - j),
            i + ends * (k - i),
            color=EDIT_COLORS[kind],
            lw=3,
            solid_capstyle="round",
            zorder=3,
        )
    ax.set_xticks(range(columns + 1), ["", *map(_shown_unit, hypothesis)])
    ax.set_yticks(range(rows + 1), ["", *map(_shown_unit, reference)])
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.set(xlabel="read", ylabel="said", xlim=(-0.5, columns + 0.5), ylim=(rows + 0.5, -0.5))
    ax.tick_params(length=0, labelsize=10)
    for spine in ax.spines.values():
        spine.set(visible=True, color=RULE)
    if path:
        used = [kind for kind in EDIT_COLORS if kind in kinds]
        handles = [Patch(color=EDIT_COLORS[kind], label=f"{kind}: {kinds.count(kind)}") for kind in used]
        fig.legend(handles=handles, loc="outside lower left", ncols=4, handlelength=1.0, columnspacing=1.2)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


def _edit_kinds(
    reference: Sequence[str], hypothesis: Sequence[str], path: Sequence[tuple[int, int]]
) -> list[str]:
    """What each step of the path does.

    Raises:
        ValueError: the path does not lead from corner to corner by such steps.
    """
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
