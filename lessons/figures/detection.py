"""Object detection: center heat maps, overlaps of boxes, precision and recall, presence per frame."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
    draw_box,
    finish,
    frame_axes,
    house_style,
    listed,
    name_rows,
    new_figure,
    note,
    plural,
    to_numpy,
    write,
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
    """A frame with the detector's grid, the boxes and their centers; then heat maps with their numbers.

    Args:
        frame: (H, W).
        boxes: (n, 4) left, top, right, bottom in pixels.
        maps: name -> (H', W') from 0 to 1; a number is written where it is at least ``least``.
        marked: name of a map -> grid cells (row, column) to frame.
    """
    image = to_numpy(frame, "frame", 2)
    drawn = {name: to_numpy(values, f"maps[{name!r}]", 2) for name, values in maps.items()}
    if not drawn:
        raise ValueError("maps: empty, expected at least one")
    shape = next(iter(drawn.values())).shape
    for name, values in drawn.items():
        if values.shape != shape:
            raise ValueError(f"maps[{name!r}]: shape {values.shape}, expected {shape} as the first")
    fig = new_figure(width, width / (len(drawn) + 1) + 0.35 + (0.3 if title else 0))
    first, *others = fig.subplots(1, len(drawn) + 1)
    height, breadth = image.shape
    # The axes are in pixels from edge to edge, so that a box of 0 to 8 is exactly one grid cell.
    first.imshow(image, cmap="gray", vmin=0, vmax=255, extent=(0, breadth, height, 0))
    for edge in range(1, shape[1]):
        first.axvline(edge * breadth / shape[1], color=BLUE, lw=0.7, alpha=0.8)  # seen on light and dark
    for edge in range(1, shape[0]):
        first.axhline(edge * height / shape[0], color=BLUE, lw=0.7, alpha=0.8)
    for box in to_numpy(boxes, "boxes", 2) if len(boxes) else ():
        draw_box(first, box, VERMILION)
        first.plot((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, "+", color=VERMILION, ms=9, mew=1.8)
    first.set_title("frame", loc="center")
    peaks = []
    for ax, (name, values) in zip(others, drawn.items(), strict=True):
        ax.imshow(values, cmap=AMOUNT, vmin=0, vmax=1)
        for edge in range(1, shape[1]):
            ax.axvline(edge - 0.5, color=RULE, lw=0.6)
        for edge in range(1, shape[0]):
            ax.axhline(edge - 0.5, color=RULE, lw=0.6)
        for (row, column), value in np.ndenumerate(values):
            if value >= least:
                text = "1" if value > 0.995 else f"{value:.2f}".lstrip("0")
                write(ax, column, row, text, fontsize=7.5, color="white" if value > 0.6 else "black")
        for row, column in (marked or {}).get(name, ()):
            draw_box(ax, (column - 0.5, row - 0.5, column + 0.5, row + 0.5), ORANGE, 2.2)
        ax.set_title(name, loc="center")
        row, column = np.unravel_index(values.argmax(), shape)
        peaks.append(f"{name} is largest at row {row}, column {column} ({values.max():.2g})")
    for ax in (first, *others):
        frame_axes(ax)
    count = plural(len(boxes), "box")
    return finish(fig, f"A frame with {count}, beside heat maps: {'; '.join(peaks)}.", title)


@house_style()
def box_overlaps(
    pairs: Mapping[str, tuple[Any, Any]], *, title: str | None = None, width: float = 9.0
) -> Figure:
    """Pairs of boxes, one panel per pair: the first blue, the second red, their intersection filled green.

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
        left, top = np.maximum(a[:2], b[:2])
        right, bottom = np.minimum(a[2:], b[2:])
        if right > left and bottom > top:
            ax.add_patch(Rectangle((left, top), right - left, bottom - top, color=GREEN, alpha=0.35, lw=0))
        draw_box(ax, a, BLUE, 1.8)
        draw_box(ax, b, VERMILION, 1.8)
        ax.set(xlim=(low, high), ylim=(high, low), aspect="equal")
        frame_axes(ax)
        ax.set_title(name, loc="center", fontsize=10)
    return finish(fig, f"Pairs of boxes and their intersections: {listed(pairs)}.", title)


@house_style()
def precision_recall(
    precision: Any, recall: Any, right: Any = None, *, title: str | None = None, width: float = 5.5
) -> Figure:
    """The precision-recall curve of one class, its hull, and the area under it: the average precision.

    Args:
        precision, recall: (n,) after each detection, in the order of falling scores.
        right: (n,) bool, drawn at each detection as a dot (true positive) or a cross (false positive).
    """
    p, r = to_numpy(precision, "precision", 1), to_numpy(recall, "recall", 1)
    if len(p) != len(r) or (right is not None and len(right) != len(p)):
        raise ValueError(f"precision: {len(p)} values, recall {len(r)}: expected as many, and as many marks")
    if (np.diff(r) < 0).any():
        raise ValueError("recall: falls, expected the highest score first")
    hull = np.maximum.accumulate(p[::-1])[::-1]
    edges = np.concatenate([[0.0], r])
    area = float((np.diff(edges) * hull).sum())
    fig = new_figure(width, 0.62 * width)
    ax = fig.add_subplot()
    ax.stairs(hull, edges, fill=True, color=GREEN, alpha=0.2, lw=0)
    ax.stairs(hull, edges, color=GREEN, lw=1.8, baseline=None)
    ax.plot(r, p, color=BLUE, lw=1.0)
    if right is not None:
        marks = np.asarray(right, bool)
        ax.plot(r[marks], p[marks], "o", color=BLUE, ms=7)
        ax.plot(r[~marks], p[~marks], "x", color=VERMILION, ms=7, mew=2)
        for k, at in enumerate(zip(r, p, strict=True), start=1):
            note(ax, f"{k}", at, (7, 5), color=FAINT)
    ax.text(0.03, 0.06, f"area {area:.3f}", color=GREEN, transform=ax.transAxes, weight="bold")
    ax.set(xlim=(0, 1.04), ylim=(0, 1.08), xlabel="recall", ylabel="precision")
    alt = (
        f"Precision-recall curve of {plural(len(p), 'detection')}, up to recall {r[-1]:.2g}; area {area:.3f}."
    )
    return finish(fig, alt, title, ax)


@house_style()
def boolean_timeline(
    rows: Mapping[str, Any],
    *,
    neutral: Sequence[str] = (),
    xlabel: str = "frame",
    title: str | None = None,
    width: float = 8.0,
) -> Figure:
    """Yes or no per frame: one box per frame, filled where the row is true; a tick where it changes.

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
    palette, told = iter(PALETTE * len(values)), []
    for y, (name, row) in enumerate(values.items()):
        color = INK if name in neutral else next(palette)
        for t, yes in enumerate(row):
            look = (
                {"facecolor": color, "edgecolor": color} if yes else {"facecolor": "none", "edgecolor": RULE}
            )
            ax.add_patch(Rectangle((t - 0.46, y - 0.3), 0.92, 0.6, lw=0.8, **look))
        changes = np.flatnonzero(row[1:] != row[:-1])
        ax.plot(changes + 0.5, np.full(len(changes), y + 0.4), "^", color=FAINT, ms=4, clip_on=False)
        changed = plural(len(changes), "change")
        ax.text(count - 0.3, y, changed, va="center", fontsize=9, color=FAINT)
        told.append(f"{name} in {row.sum()} with {changed}")
    ax.set(xlim=(-0.6, count - 0.4), ylim=(len(rows) - 0.4, -0.5), xlabel=xlabel)
    ax.set_xticks(range(count))
    name_rows(ax, rows, ("left", "bottom"))
    ax.tick_params(length=0)
    return finish(fig, f"True or false in {count} {xlabel}s: {'; '.join(told)}.", title, ax)


@house_style()
def scores_with_intervals(
    scores: Mapping[str, Mapping[str, Any]],
    *,
    second: Collection[str] = (),
    xlabel: str = "AP50, %",
    title: str | None = None,
    width: float = 8.5,
) -> Figure:
    """Methods in several tests, a panel per test: a dot, and a line for its confidence interval.

    Args:
        scores: method -> test -> (value, low, high) from 0 to 100; all methods have the same tests.
        second: the methods of a second kind, drawn in a second color.
    """
    if not scores or not next(iter(scores.values())):
        raise ValueError("scores: empty, expected at least one method with one test")
    tests = list(next(iter(scores.values())))
    if wrong := [name for name, each in scores.items() if list(each) != tests]:
        raise ValueError(f"scores[{wrong[0]!r}]: tests {list(scores[wrong[0]])}, expected {tests}")
    if unknown := sorted(set(second) - set(scores)):
        raise ValueError(f"second={unknown!r}: expected names of methods, {list(scores)}")
    fig = new_figure(width, 0.3 * len(scores) + (1.2 if title else 0.9))
    axes = fig.subplots(1, len(tests), squeeze=False, sharey=True)[0]
    told = []
    for ax, test in zip(axes, tests, strict=True):
        means = []
        for y, name in enumerate(scores):
            value, low, high = (float(number) for number in scores[name][test])
            if not low <= value <= high:
                raise ValueError(
                    f"scores[{name!r}][{test!r}]: {(value, low, high)}, expected low <= value <= high"
                )
            color = VERMILION if name in second else BLUE
            ax.plot([low, high], [y, y], color=color, lw=4.5, alpha=0.5, solid_capstyle="butt")
            ax.plot(value, y, "o", color=color, ms=4)
            means.append(f"{name} {value:.0f}")
        told.append(f"{test}: {', '.join(means)}")
        ax.set(xlim=(0, 100), xlabel=xlabel)
        ax.set_title(test, loc="center", fontsize=10)
        ax.grid(axis="x", color=RULE, lw=0.6)
        ax.tick_params(axis="y", length=0)
    axes[0].set_yticks(range(len(scores)), list(scores))
    axes[0].set_ylim(len(scores) - 0.5, -0.5)
    return finish(fig, f"{xlabel}, with intervals. {'; '.join(told)}.", title)
