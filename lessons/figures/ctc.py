"""CTC: posteriors, alignments, trellises, the gradient, beam search, edit distance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from lessons.figures.style import (
    AMOUNT,
    BLUE,
    FAINT,
    INK,
    PALE_BLUE,
    PALETTE,
    PAPER,
    RULE,
    SIGNED,
    VERMILION,
    color_bar,
    finish,
    grid,
    house_style,
    listed,
    name_rows,
    new_figure,
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
