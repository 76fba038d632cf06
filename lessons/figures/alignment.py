"""CTC in pictures: what the network says at each frame, and the path that spells the sentence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lessons.figures.style import (
    AMOUNT,
    BLUE,
    FAINT,
    INK,
    PAPER,
    RULE,
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
