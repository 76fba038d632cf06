"""People whom a lip reader never saw: nine points of a mouth, the course of its measures, the bottleneck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from lessons.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PALETTE,
    RULE,
    VERMILION,
    as_clip,
    colored,
    draw_rounded_box,
    finish,
    frame_axes,
    gray_scale,
    grid,
    house_style,
    listed,
    new_figure,
    plural,
    to_numpy,
    write,
)


@house_style()
def mouth_points(
    frames: Mapping[str, Any],
    points: Mapping[str, Any],
    names: Sequence[str],
    *,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """A frame per person, with numbered points on it; the numbers are explained below.

    Args:
        frames: person -> (H, W) gray.
        points: the same persons -> (P, 2) x to the right and y down, in pixels.
        names: of the P points.
    """
    if not frames or list(points) != list(frames):
        raise ValueError(f"points: {list(points)}, expected those of frames, {list(frames)}, at least one")
    clip = as_clip(np.stack([to_numpy(frame, name, 2) for name, frame in frames.items()]), "frames")
    lowest = max(float(np.asarray(places)[..., 1].max()) for places in points.values())
    rows = max(clip.shape[1], lowest + 3)  # a point may lie below the frame
    fig, axes = grid(len(clip), len(clip), width, width / len(clip) * rows / clip.shape[2], 1.0)
    for ax, (name, frame) in zip(axes, frames.items(), strict=True):
        places = to_numpy(points[name], f"points[{name!r}]", 2)
        if places.shape != (len(names), 2):
            raise ValueError(f"points[{name!r}]: shape {places.shape}, expected ({len(names)}, 2)")
        frame_axes(ax)
        ax.spines[:].set_visible(False)
        ax.imshow(frame, **gray_scale(clip))
        ax.plot(*places.T, "o", ms=11, color=ORANGE, mec="white", mew=0.8)
        for number, (x, y) in enumerate(places, start=1):
            write(ax, x, y, str(number), fontsize=7, color=INK)
        ax.set_title(name, fontsize=9, loc="center")
        ax.set(xlim=(-0.5, frame.shape[1] - 0.5), ylim=(rows - 0.5, -0.5))
    told = "   ".join(f"{number} {name}" for number, name in enumerate(names, start=1))
    half = told.find("   ", len(told) // 2)
    fig.supxlabel(f"{told[:half]}\n{told[half:].strip()}", fontsize=8.5, color=INK)
    return finish(fig, f"{plural(len(names), 'point')} on the mouths of {listed(frames)}: {told}.", title)


@house_style()
def measure_courses(
    courses: Mapping[str, Any],
    names: Sequence[str],
    *,
    columns: int = 3,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """A small line chart per measure: its course over time, a line per person.

    Args:
        courses: person -> (T, M) values, the same T and M for all.
        names: of the M measures.
    """
    items = [
        (name, to_numpy(values, f"courses[{name!r}]", 2), color)
        for name, values, color in colored(courses, "courses")
    ]
    shape = (len(items[0][1]), len(names))
    for name, values, _ in items:
        if values.shape != shape:
            raise ValueError(f"courses[{name!r}]: shape {values.shape}, expected {shape}")
    fig, axes = grid(len(names), columns, width, 1.25, 0.7, sharex=True)
    for m, (ax, measure) in enumerate(zip(axes, names, strict=True)):
        for name, values, color in items:
            first = {"lw": 5, "alpha": 0.4} if name == items[0][0] else {"lw": 1.5}  # seen under the others
            ax.plot(values[:, m], color=color, label=name, **first)
        ax.set_title(measure, fontsize=9)
        ax.set_yticks([])
        ax.spines["left"].set_color(RULE)
    for ax in axes[-columns:]:
        ax.set_xlabel("frame")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower right", ncols=len(items))
    one, other = items[0], items[-1]
    alike = [
        f"{measure} {np.corrcoef(one[1][:, m], other[1][:, m])[0, 1]:.2f}"
        for m, measure in enumerate(names)
        if min(np.ptp(values[:, m]) for _, values, _ in items) > 1e-6  # what stands still has none
    ]
    end = f"; correlation of {one[0]} and {other[0]}: {', '.join(alike)}" if len(items) > 1 else ""
    return finish(fig, f"Line charts of {plural(len(names), 'measure')} for {listed(courses)}{end}.", title)


# label, (x, y), color, where the shape stands under the box
BOXES = {
    "x": ("clip", (0, 1), FAINT),
    "features": ("3 STCNN,\nnarrow", (1, 1), BLUE),
    "measures": ("nine\nmeasures", (2, 1.5), GREEN),
    "adapter": ("adapter", (3, 1.5), GREEN),
    "neck": ("noisy neck", (2.5, 0.5), ORANGE),
    "sum": ("+", (4, 1), INK),
    "logits": ("2 Bi-GRU,\nhead", (5, 1), BLUE),
    "motions": ("motions of\nmany people", (2, 2.6), VERMILION),
}
ARROWS = (
    ("x", "features"),
    ("features", "measures"),
    ("features", "neck"),
    ("measures", "adapter"),
    ("motions", "adapter"),
    ("adapter", "sum"),
    ("neck", "sum"),
    ("sum", "logits"),
)


@house_style()
def stranger_diagram(shapes: Mapping[str, Sequence[int]], *, width: float = 9.5) -> Figure:
    """The bottleneck of a StrangerLipNet: what it lets through, and where motions without a video come in.

    Args:
        shapes: what a box gives, for each of x, features, measures, adapter, neck, sum, logits, motions.
    """
    if set(shapes) != set(BOXES):
        raise ValueError(f"shapes: {sorted(shapes)}, expected {sorted(BOXES)}")
    fig = new_figure(width, 0.33 * width)
    ax = fig.add_subplot()
    ax.set(xlim=(-0.5, 5.5), ylim=(-0.1, 3.1))
    ax.set_axis_off()
    for name, (label, at, color) in BOXES.items():
        draw_rounded_box(ax, at, (0.72, 0.5), lw=0, fc=color)
        write(ax, *at, label, fontsize=8.5, color="white", linespacing=1.2)
        write(ax, at[0], at[1] - 0.3, str(tuple(shapes[name])), va="top", fontsize=8, color=INK)
    for a, b in ARROWS:
        (xa, ya), (xb, yb) = BOXES[a][1], BOXES[b][1]
        arrow = {"arrowstyle": "-|>", "color": FAINT, "lw": 1}
        ax.annotate("", (xb - 0.37, yb), (xa + 0.37, ya), arrowprops=arrow)
    told = listed((f"{BOXES[a][0]} to {BOXES[b][0]}".replace("\n", " ") for a, b in ARROWS), 20)
    sizes = listed((f"{BOXES[k][0]} {tuple(v)}".replace("\n", " ") for k, v in shapes.items()), 20)
    return finish(fig, f"Diagram of the bottleneck, arrows from {told}; shapes: {sizes}.")


@house_style()
def intervals(
    rows: Mapping[str, Any],
    *,
    xlabel: str = "WER",
    title: str | None = None,
    width: float = 7.5,
) -> Figure:
    """A row per name: a dot, and a line for its confidence interval, in percent.

    Args:
        rows: name -> (value, low, high), fractions with low <= value <= high.
    """
    if not rows:
        raise ValueError("rows: empty, expected at least one name")
    fig = new_figure(width, 0.42 * len(rows) + 1.1)
    ax = fig.add_subplot()
    told, most = [], 0.0
    for row, (name, numbers) in enumerate(rows.items()):
        value, low, high = (float(number) for number in numbers)
        if not 0 <= low <= value <= high:
            raise ValueError(f"rows[{name!r}]: {numbers}, expected 0 <= low <= value <= high")
        color, most = PALETTE[row % len(PALETTE)], max(most, high)
        ax.plot([low, high], [row, row], color=color, lw=3, alpha=0.5, solid_capstyle="butt")
        ax.plot([value], [row], "o", ms=7, color=color)
        words = f"{100 * value:.1f} ({100 * low:.1f} to {100 * high:.1f})"
        write(ax, value, row - 0.2, words, va="bottom", fontsize=8.5)
        told.append(f"{name} {words}")
    ax.set_yticks(range(len(rows)), list(rows))
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set(ylim=(len(rows) - 0.4, -0.7), xlim=(0, 1.12 * most or 1), xlabel=xlabel)
    ax.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return finish(fig, f"{xlabel} in percent with intervals: {listed(told)}.", title, ax)
