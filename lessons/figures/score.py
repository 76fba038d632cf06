"""A sentence as a score: frames on top, then who sounds when, then how the mouth moves; time runs right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lessons.figures.style import FAINT, INK, PALETTE, PAPER, RULE, house_style, new_figure, to_numpy

Part = tuple[float, float, str]  # begin, end, what
SHOWN = 10  # frames on top
SILENT = ("sil", "sp")


@house_style()
def score(
    rows: Mapping[str, Sequence[Part]],
    curves: Mapping[str, Any] | None = None,
    film: Any = None,
    *,
    span: tuple[float, float] | None = None,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """Words (and phonemes, visemes) as blocks along the frames, with the film above and curves below.

    Args:
        rows: name -> parts (begin, end, label) in frames. ``sil`` and ``sp`` are drawn pale.
        curves: name -> (T,) values, one a frame, drawn at the middle of their frame.
        film: (T, H, W) or (T, H, W, 3); ten of the frames in ``span`` stand where they happen.
        span: the first and the last moment shown, in frames; by default all of the first row.
    """
    if not rows or not all(rows.values()):
        raise ValueError("rows: expected at least one named row with parts (begin, end, label)")
    if curves and len(curves) > len(PALETTE):
        raise ValueError(f"curves: {len(curves)}, expected at most {len(PALETTE)}: more cannot be told apart")
    for name, parts in rows.items():
        for begin, end, label in parts:
            if not begin < end:
                raise ValueError(
                    f"rows[{name!r}]: {label!r} lasts from {begin} to {end}; expected begin < end"
                )
    first = next(iter(rows.values()))
    span = span or (first[0][0], first[-1][1])
    frames = None if film is None else to_numpy(film, "film", (3, 4))
    strip = [] if frames is None else [(width - 0.7) / SHOWN * frames.shape[1] / frames.shape[2]]
    ratios = strip + [0.4 * len(rows)] + [1.7] * bool(curves)
    fig = new_figure(width, sum(ratios) + 0.75 + 0.3 * bool(title))
    axes = list(fig.subplots(len(ratios), 1, sharex=True, height_ratios=ratios, squeeze=False)[:, 0])
    last = axes[-1]
    if frames is not None:
        _frames(axes.pop(0), frames, span)
    _blocks(axes.pop(0), rows, span)
    if curves:
        ax = axes.pop(0)
        for (name, values), color in zip(curves.items(), PALETTE, strict=False):
            y = to_numpy(values, f"curves[{name!r}]", 1)
            ax.plot(np.arange(len(y)) + 0.5, y, color=color, marker="o", ms=2.5, lw=1.4, label=name)
        ax.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1)
    last.set(xlim=span, xlabel="frame")
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


def _blocks(ax, rows: Mapping[str, Sequence[Part]], span: tuple[float, float]) -> None:
    """One line of labeled blocks a row."""
    for y, parts in enumerate(rows.values()):
        for begin, end, label in parts:
            begin, end = max(begin, span[0]), min(end, span[1])
            if end <= begin:
                continue
            quiet = label in SILENT
            ax.barh(
                y, end - begin, left=begin, height=0.86, lw=0.8, edgecolor="white",
                color=PAPER if quiet else RULE,
            )  # fmt: skip
            room = (end - begin) / (span[1] - span[0]) * 85 / max(len(label), 1)  # characters that would fit
            ax.text(
                (begin + end) / 2, y, label, ha="center", va="center", clip_on=True,
                fontsize=9.5 if room > 1.1 else 7, color=FAINT if quiet else INK,
            )  # fmt: skip
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _frames(ax, frames: np.ndarray, span: tuple[float, float]) -> None:
    """Frames of the film above the moments they show, side by side."""
    wide = (span[1] - span[0]) / SHOWN
    low, high = (0, 255) if frames.dtype == np.uint8 else (float(frames.min()), float(frames.max()))
    for i in range(SHOWN):
        left = span[0] + i * wide
        t = min(int(left + wide / 2), len(frames) - 1)
        ax.imshow(
            frames[t], cmap="gray", vmin=low, vmax=high, aspect="auto",
            extent=(left + 0.03 * wide, left + 0.97 * wide, 0, 1),
        )  # fmt: skip
    ax.set(ylim=(0, 1), yticks=[])
    ax.spines[:].set_visible(False)
    ax.tick_params(axis="x", length=0)
