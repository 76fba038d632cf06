"""Object detection: heat maps, overlaps, precision and recall, presence per frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lessons.figures.style import (
    AMOUNT,
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PALETTE,
    RULE,
    VERMILION,
    house_style,
    new_figure,
    to_numpy,
)


@house_style()
def center_maps(
    frame: Any,
    boxes: Any,
    maps: Mapping[str, Any],
    *,
    marked: Mapping[str, Sequence[tuple[int, int]]] | None = None,
    least: float = 0.01,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """The frame with the cells' borders, boxes and their centers; then each map, all of one size.

    Args:
        frame: (H, W).
        boxes: (n, 4) left, top, right, bottom in pixels.
        maps: name -> (H', W') from 0 to 1; a number is written where it is at least ``least``.
        marked: name of a map -> cells (row, column) to frame.
    """
    picture = to_numpy(frame, "frame", 2)
    drawn = {name: to_numpy(values, f"maps[{name!r}]", 2) for name, values in maps.items()}
    if not drawn:
        raise ValueError("maps: empty, expected at least one")
    shape = next(iter(drawn.values())).shape
    for name, values in drawn.items():
        if values.shape != shape:
            raise ValueError(f"maps[{name!r}]: shape {values.shape}, expected {shape} as the first")
    fig = new_figure(width, width / (len(drawn) + 1) + 0.35 + (0.3 if title else 0))
    first, *others = fig.subplots(1, len(drawn) + 1)
    height, breadth = picture.shape
    # The axes are in pixels from edge to edge, so that a box of 0 to 8 is exactly one cell.
    first.imshow(picture, cmap="gray", vmin=0, vmax=255, extent=(0, breadth, height, 0))
    for edge in range(1, shape[1]):
        first.axvline(edge * breadth / shape[1], color="white", lw=0.5, alpha=0.6)
    for edge in range(1, shape[0]):
        first.axhline(edge * height / shape[0], color="white", lw=0.5, alpha=0.6)
    for left, top, right, bottom in to_numpy(boxes, "boxes", 2) if len(boxes) else ():
        first.add_patch(Rectangle((left, top), right - left, bottom - top, fill=False, lw=1.6, ec=VERMILION))
        first.plot((left + right) / 2, (top + bottom) / 2, "+", color=VERMILION, ms=9, mew=1.8)
    first.set_title("frame", loc="center")
    for ax, (name, values) in zip(others, drawn.items(), strict=True):
        ax.imshow(values, cmap=AMOUNT, vmin=0, vmax=1)
        for row in range(shape[0]):
            for column in range(shape[1]):
                value = float(values[row, column])
                if value >= least:
                    text = "1" if value > 0.995 else f"{value:.2f}".lstrip("0")
                    ax.text(
                        column, row, text, ha="center", va="center", fontsize=7.5,
                        color="white" if value > 0.6 else "black",
                    )  # fmt: skip
        for row, column in (marked or {}).get(name, ()):
            ax.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, ec=ORANGE, lw=2.2))
        ax.set_title(name, loc="center")
    for ax in (first, *others):
        ax.set(xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set(visible=True, color=RULE)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


@house_style()
def box_overlaps(
    pairs: Mapping[str, tuple[Any, Any]], *, title: str | None = None, width: float = 9.0
) -> Figure:
    """One panel a pair: the first box blue, the second red, what both cover filled green.

    Args:
        pairs: what to write above a panel -> two boxes (left, top, right, bottom). All have one scale.
    """
    if not pairs:
        raise ValueError("pairs: empty, expected at least one")
    both = {name: [to_numpy(box, f"pairs[{name!r}]", 1) for box in pair] for name, pair in pairs.items()}
    low = min(float(box[:2].min()) for pair in both.values() for box in pair) - 1
    high = max(float(box[2:].max()) for pair in both.values() for box in pair) + 1
    fig = new_figure(width, width / len(both) + 0.35 + (0.3 if title else 0))
    for ax, (name, (a, b)) in zip(fig.subplots(1, len(both), squeeze=False)[0], both.items(), strict=True):
        left, top = max(a[0], b[0]), max(a[1], b[1])
        right, bottom = min(a[2], b[2]), min(a[3], b[3])
        if right > left and bottom > top:
            ax.add_patch(Rectangle((left, top), right - left, bottom - top, color=GREEN, alpha=0.35, lw=0))
        for box, color in ((a, BLUE), (b, VERMILION)):
            ax.add_patch(Rectangle(box[:2], box[2] - box[0], box[3] - box[1], fill=False, ec=color, lw=1.8))
        ax.set(xlim=(low, high), ylim=(high, low), aspect="equal", xticks=[], yticks=[])
        ax.set_title(name, loc="center", fontsize=10)
        for spine in ax.spines.values():
            spine.set(visible=True, color=RULE)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


@house_style()
def precision_recall(
    precision: Any, recall: Any, right: Any = None, *, title: str | None = None, width: float = 5.5
) -> Figure:
    """The curve of one class.

    Args:
        precision, recall: (n,) after each detection, the surest first.
        right: (n,) bool, drawn as a dot (right) or a cross (false alarm) at each detection; with few.

    Raises:
        ValueError: lengths that differ, or a recall that falls.
    """
    p, r = to_numpy(precision, "precision", 1), to_numpy(recall, "recall", 1)
    if len(p) != len(r) or (right is not None and len(right) != len(p)):
        raise ValueError(f"precision: {len(p)} values, recall {len(r)}: expected as many, and as many marks")
    if (np.diff(r) < 0).any():
        raise ValueError("recall: falls, expected the surest detection first")
    hull = np.maximum.accumulate(p[::-1])[::-1]
    fig = new_figure(width, 0.62 * width)
    ax = fig.add_subplot()
    edges = np.concatenate([[0.0], r])
    ax.stairs(hull, edges, fill=True, color=GREEN, alpha=0.2, lw=0)
    ax.stairs(hull, edges, color=GREEN, lw=1.8, baseline=None)
    ax.plot(r, p, color=BLUE, lw=1.0)
    if right is not None:
        marks = np.asarray(right, bool)
        ax.plot(r[marks], p[marks], "o", color=BLUE, ms=7)
        ax.plot(r[~marks], p[~marks], "x", color=VERMILION, ms=7, mew=2)
        for k, (x, y) in enumerate(zip(r, p, strict=True), start=1):
            ax.annotate(f"{k}", (x, y), (7, 5), textcoords="offset points", fontsize=9, color=FAINT)
    area = float((np.diff(edges) * hull).sum())
    ax.text(0.03, 0.06, f"area {area:.3f}", color=GREEN, transform=ax.transAxes, weight="bold")
    ax.set(xlim=(0, 1.04), ylim=(0, 1.08), xlabel="recall", ylabel="precision")
    if title:
        ax.set_title(title)
    return fig


@house_style()
def boolean_timeline(
    rows: Mapping[str, Any],
    *,
    neutral: Sequence[str] = (),
    xlabel: str = "frame",
    title: str | None = None,
    width: float = 8.0,
) -> Figure:
    """One box a frame, filled where the row says yes; a tick between two frames that differ.

    Args:
        rows: name -> (T,) bool, rows from top to bottom, all of one length.
        neutral: rows in the color of text, such as the ground truth; the others take the palette in turn.
    """
    if not rows:
        raise ValueError("rows: empty, expected at least one")
    values = {name: to_numpy(row, f"rows[{name!r}]", 1).astype(bool) for name, row in rows.items()}
    count = len(next(iter(values.values())))
    if any(len(row) != count for row in values.values()):
        raise ValueError(f"rows: of {[len(row) for row in values.values()]} frames, expected one length")
    fig = new_figure(width, 0.42 * len(rows) + (1.0 if title else 0.7))
    ax = fig.add_subplot()
    palette = iter(PALETTE * len(values))
    for y, (name, row) in enumerate(values.items()):
        color = INK if name in neutral else next(palette)
        for t, yes in enumerate(row):
            ax.add_patch(
                Rectangle(
                    (t - 0.46, y - 0.3),
                    0.92,
                    0.6,
                    facecolor=color if yes else "none",
                    edgecolor=color if yes else RULE,
                    lw=0.8,
                )
            )
        changes = np.flatnonzero(row[1:] != row[:-1])
        ax.plot(changes + 0.5, np.full(len(changes), y + 0.4), "^", color=FAINT, ms=4, clip_on=False)
        changed = "1 change" if len(changes) == 1 else f"{len(changes)} changes"
        ax.text(count - 0.3, y, changed, va="center", fontsize=9, color=FAINT)
    ax.set(xlim=(-0.6, count - 0.4), ylim=(len(rows) - 0.4, -0.5), xlabel=xlabel)
    ax.set_xticks(range(count))
    ax.set_yticks(range(len(rows)), list(rows))
    ax.tick_params(length=0)
    ax.spines[["left", "bottom"]].set_visible(False)
    if title:
        ax.set_title(title)
    return fig
