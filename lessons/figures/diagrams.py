"""Boxes and arrows: recurrent cells, a pipeline, the map of the course."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lessons.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PALE_BLUE,
    PAPER,
    VERMILION,
    describe,
    draw_rounded_box,
    finish,
    house_style,
    listed,
    new_figure,
    plural,
    write,
)

Point = tuple[float, float]


def _sign(ax: Axes, x: float, y: float, sign: str, drop: float = 0.0) -> None:
    """An operation (⊙, +) in a circle."""
    ax.plot([x], [y], "o", ms=15, color="white", mec=INK, mew=1, zorder=5)
    write(ax, x, y - drop, sign, fontsize=11, color=INK, zorder=6)


def _line(ax: Axes, points: Sequence[Point], color: str, lw: float = 1.4, **style: Any) -> None:
    ax.plot(*zip(*points, strict=True), color=color, lw=lw, zorder=1, solid_capstyle="round", **style)


# The course and its last network

# Rows from the top: label, color; and the notebook that each row starts with.
MAP_ROWS = (("LipNet", BLUE), ("recurrent detector", VERMILION), ("together", GREEN))
MAP_STARTS = "00, 11, 15"


def _map_rows(count: int) -> list[range]:
    """The numbers of the notebooks of each row of the map, of a course of ``count`` notebooks."""
    starts = [int(number) for number in MAP_STARTS.split(", ")]
    return [range(a, b) for a, b in pairwise([*starts, max(count, starts[-1] + 1)])]


def _map_places(rows: Sequence[range]) -> dict[int, Point]:
    """Where each notebook's box stands: the last row is on the right, the middle one ends just before it."""
    top, middle, bottom = map(len, rows)
    joint = max(top, middle + bottom) - bottom  # the column of the last row's first box
    return {
        number: (x, -row)
        for row, (numbers, first) in enumerate(zip(rows, (0, joint - middle, joint), strict=True))
        for x, number in enumerate(numbers, start=first)
    }


@house_style()
def course_map(notebooks: Sequence[tuple[int, str, bool]], *, here: int | None = None) -> Figure:
    """The notebooks in reading order; those not written yet are pale, the present one has a thick edge.

    Args:
        notebooks: (number, short title, written) for each of the numbers from 0 on.
        here: the number of the notebook that shows the map.
    """
    rows = _map_rows(len(notebooks))
    place, last = _map_places(rows), rows[-1][-1]
    if sorted(number for number, _, _ in notebooks) != list(range(last + 1)):
        found = [n for n, _, _ in notebooks]
        raise ValueError(f"notebooks: numbers {found}, expected 0 to {last} or more, each once")
    entries = {number: (title, written) for number, title, written in notebooks}
    columns = max(x for x, _ in place.values()) + 1
    fig = new_figure(9.5, 2.9)
    ax = fig.add_subplot()
    ax.set(xlim=(-0.6, columns - 0.4), ylim=(-2.55, 0.75))
    ax.set_axis_off()
    wide, high = 0.86, 0.56  # of a box, where the next one stands 1 further
    for (label, color), numbers in zip(MAP_ROWS, rows, strict=True):
        x, y = place[numbers[0]]
        shift = numbers is rows[-1]  # arrows come down on its first box: its label stands over the second
        ax.text(x + shift - wide / 2, y + 0.4, label, color=color, fontsize=9.5)
        for number in numbers:
            (x, y), (title, written) = place[number], entries[number]
            face, ink = (color, "white") if written else ("white", FAINT)
            edge = {"edgecolor": INK, "lw": 2.2} if number == here else {"edgecolor": color, "lw": 0.9}
            draw_rounded_box(ax, (x, y), (wide, high), facecolor=face, **edge)
            write(ax, x, y + 0.1, f"{number:02d}", fontsize=9.5, color=ink)
            write(ax, x, y - 0.12, title, fontsize=7, color=ink)
    _map_arrows(ax, rows, place, wide, high)
    one, two, three = (f"{row[0]:02d} to {row[-1]:02d}" for row in rows)
    ends = f"{three} join" if len(rows[-1]) != 2 else f"{rows[-1][0]:02d} and {last:02d} join"
    alt = f"Map of the {last + 1} notebooks: {one} build LipNet, {two} a recurrent detector, {ends} both"
    now = "" if here is None else f"; you are at {here:02d}, {entries[here][0]}"
    return describe(fig, f"{alt}{now}.")


def _map_arrows(
    ax: Axes, rows: Sequence[range], place: Mapping[int, Point], wide: float, high: float
) -> None:
    """From each notebook to the next of its row, and from the end of each upper row down to the last row."""
    along = [step for numbers in rows for step in pairwise(numbers)]
    for a, b in along + [(numbers[-1], rows[-1][0]) for numbers in rows[:-1]]:
        (xa, ya), (xb, yb) = place[a], place[b]
        if ya == yb:
            start, end = (xa + wide / 2, ya), (xb - wide / 2, yb)
        else:
            start, end = (xa, ya - high / 2), (xb + (0.2 if xa > xb else -0.2), yb + high / 2)
        ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": FAINT, "lw": 0.9})


PART_COLORS = {"find": VERMILION, "join": GREEN, "read": BLUE}


@house_style()
def pipeline_diagram(parts: Sequence[tuple[str, str, str, str]], *, width: float = 9.5) -> Figure:
    """A pipeline: boxes from left to right, an arrow between them.

    Args:
        parts: (half, name, its output, where it was built); half is find, join or read.
    """
    if not parts:
        raise ValueError("parts: empty, expected at least one")
    fig = new_figure(width, 1.75)
    ax = fig.add_subplot()
    ax.set(xlim=(-0.5, len(parts) - 0.4), ylim=(-0.95, 0.75))
    ax.set_axis_off()
    for x, (half, name, output, built) in enumerate(parts):
        if half not in PART_COLORS:
            raise ValueError(f"parts[{x}]: half {half!r}, expected one of {', '.join(PART_COLORS)}")
        draw_rounded_box(ax, (x, 0), (0.8, 0.6), lw=0, fc=PART_COLORS[half])
        write(ax, x, 0, name, fontsize=8.5, color="white", linespacing=1.3)
        write(ax, x, 0.38, built, va="bottom", fontsize=8, color=FAINT)
        write(ax, x, -0.4, output, va="top", fontsize=8, color=INK, linespacing=1.3)
        if x:
            arrow = {"arrowstyle": "-|>", "color": FAINT, "lw": 1}
            ax.annotate("", (x - 0.4, 0), (x - 0.6, 0), arrowprops=arrow)
    steps = listed((f"{name} gives {output}" for _, name, output, _ in parts), 20)
    return describe(fig, f"Pipeline of {plural(len(parts), 'part')}: {steps}.")


# The LSTM and the GRU: the state runs along the top, the gates stand below

STATE_Y, MIDDLE_Y, GATE_Y, INPUT_Y = 0.9, 0.64, 0.33, 0.1


@house_style()
def lstm_gru_diagram(*, width: float = 9.0) -> Figure:
    """The wiring of the LSTM and of the GRU: one step of both cells, from left to right."""
    fig = new_figure(width, 0.37 * width)
    left, right = fig.subplots(1, 2)
    _lstm(left)
    _gru(right)
    for ax in (left, right):
        ax.set(xlim=(-0.06, 1.07), ylim=(-0.02, 1.04))
        ax.set_axis_off()
    alt = "Wiring of the LSTM, with states c, h and gates f, i, o; of the GRU, with state h and gates z, r."
    return describe(fig, alt)


def _lstm(ax: Axes) -> None:
    ax.set_title("LSTM: hidden and cell state, three gates")
    _cell(ax, "c", 0.84, {"f": 0.14, "i": 0.36, "g": 0.58, "o": 0.84})
    for points, color, lw in (
        ([(0.14, GATE_Y), (0.14, STATE_Y)], VERMILION, 1.4),
        ([(0.36, GATE_Y), (0.36, MIDDLE_Y)], VERMILION, 1.4),
        ([(0.58, GATE_Y), (0.58, MIDDLE_Y), (0.36, MIDDLE_Y)], GREEN, 1.4),
        ([(0.36, MIDDLE_Y), (0.36, STATE_Y)], GREEN, 1.4),
        ([(0.72, STATE_Y), (0.72, MIDDLE_Y), (0.84, MIDDLE_Y)], BLUE, 1.6),
        ([(0.84, GATE_Y), (0.84, MIDDLE_Y)], VERMILION, 1.4),
        ([(0.84, MIDDLE_Y), (1, MIDDLE_Y)], BLUE, 1.6),
    ):
        _line(ax, points, color, lw)
    write(ax, 1.04, MIDDLE_Y, "h′", fontsize=12, color=BLUE, weight="bold")
    ax.text(0.725, MIDDLE_Y + 0.11, " tanh", fontsize=8.5, color=BLUE, va="center")
    for x, y, sign in (
        (0.14, STATE_Y, "⊙"),
        (0.36, MIDDLE_Y, "⊙"),
        (0.36, STATE_Y, "+"),
        (0.84, MIDDLE_Y, "⊙"),
    ):
        _sign(ax, x, y, sign, 0.004)


def _gru(ax: Axes) -> None:
    ax.set_title("GRU: one hidden state, two gates")
    _cell(ax, "h", 0.76, {"r": 0.38, "z": 0.13, "n": 0.76})
    _line(ax, [(0.13, GATE_Y), (0.13, STATE_Y)], VERMILION)
    _line(ax, [(0.13, MIDDLE_Y), (0.76, MIDDLE_Y)], VERMILION)
    write(ax, 0.45, MIDDLE_Y + 0.05, "1 − z", fontsize=9, color=VERMILION)
    _line(ax, [(0.38, GATE_Y), (0.67, GATE_Y)], VERMILION)
    ax.plot([0.67], [GATE_Y], marker=">", ms=5, color=VERMILION, zorder=1)
    write(ax, 0.56, GATE_Y + 0.05, "⊙ (U h + u)", fontsize=8.5, color=VERMILION)
    _line(ax, [(0.76, GATE_Y), (0.76, STATE_Y)], GREEN)
    for x, y, sign in ((0.13, STATE_Y, "⊙"), (0.76, MIDDLE_Y, "⊙"), (0.76, STATE_Y, "+")):
        _sign(ax, x, y, sign, 0.004)


def _cell(ax: Axes, state: str, last: float, gates: Mapping[str, float]) -> None:
    """The state along the top, the line of x and h below as far as ``last``, and the gates above it."""
    _line(ax, [(0, STATE_Y), (1, STATE_Y)], BLUE, 3)
    for x, name in ((-0.03, state), (1.04, state + "′")):
        write(ax, x, STATE_Y, name, fontsize=12, color=BLUE, weight="bold")
    ax.plot([0.02, last], [INPUT_Y, INPUT_Y], color=FAINT, lw=1.2, zorder=1)
    ax.text(-0.01, INPUT_Y, "x, h", ha="right", va="center", fontsize=11, color=INK)
    for name, x in gates.items():
        color, function = (GREEN, "tanh") if name in "gn" else (VERMILION, "σ")
        draw_rounded_box(
            ax, (x, GATE_Y), (0.14, 0.17), 0.03, facecolor=PAPER, edgecolor=color, lw=1.4, zorder=3
        )
        write(ax, x, GATE_Y + 0.035, name, fontsize=11, color=INK, zorder=4, weight="bold")
        write(ax, x, GATE_Y - 0.045, function, fontsize=8.5, color=color, zorder=4)
        ax.plot([x, x], [INPUT_Y, GATE_Y], color=FAINT, lw=1.2, zorder=1)


# The Bottleneck-LSTM

# The tensors of one frame and what stands above their arrows.
TENSORS = {
    "x": "x", "h": "h", "c": "c", "seen": "x̃", "both": "[x̃, h]", "b": "b", "s": "s", "gates": "four gates",
    "i": "i", "f": "f", "g": "g", "o": "o", "new_c": "c′", "new_h": "h′",
}  # fmt: skip
# Its four convolutions: position, kernel, what follows it, and what it does.
LAYERS = {
    "depthwise": (2.6, "depthwise 3 × 3", "", "mixes neighbors"),
    "bottleneck": (8.4, "1 × 1", "then φ", "reduces channels"),
    "spatial": (11.9, "depthwise 3 × 3", "", "mixes neighbors"),
    "gates": (15.4, "1 × 1", "", "computes gates"),
}
ROW, MEMORY, MIDDLE, GATE, BUS, OLD = 2.0, 8.9, 7.5, 5.7, 4.25, 0.35  # heights
SPLIT = {"f": 5.3, "i": 8.3, "g": 11.3, "o": 14.3}  # where the four gates stand
WIDE, HIGH = 1.75, 1.5  # of a layer's box
JOIN = 5.4  # where x̃ and h meet


# What can be highlighted: the middle and the size of the area behind it.
AREAS = {
    **{name: ((place, ROW - 0.2), (WIDE + 0.7, HIGH + 1.3)) for name, (place, *_) in LAYERS.items()},
    "keep": ((SPLIT["f"] - 0.7, 7.2), (3.4, 4.2)),
    "write": ((SPLIT["i"] + 1.25, 7.2), (7.0, 4.2)),
    "show": ((SPLIT["o"] + 0.2, 6.85), (4.2, 3.5)),
}


@house_style()
def bottleneck_lstm_diagram(
    shapes: Mapping[str, Sequence[int]],
    weights: Mapping[str, int],
    *,
    highlight: str | None = None,
    title: str | None = None,
    width: float = 10.0,
) -> Figure:
    """The Bottleneck-LSTM cell: every layer a box, every tensor an arrow with its shape.

    One frame through the cell of the paper's Table 1, below the four convolutions, above the states.

    Args:
        shapes: the shape of each tensor, as a forward pass had it: "x", "h", "c" come in; "seen" is x after
            its depthwise convolution, "both" that beside h, then "b", "s", "gates", "i", "f", "g", "o", and
            out come "new_c" and "new_h".
        weights: of the convolutions "depthwise", "bottleneck", "spatial" and "gates".
        highlight: a part to set off: one of the four convolutions, or "keep", "write" or "show".
    """
    if highlight is not None and highlight not in AREAS:
        raise ValueError(f"highlight={highlight!r}: expected one of {', '.join(AREAS)}")
    for name, found, expected in (("shapes", shapes, TENSORS), ("weights", weights, LAYERS)):
        if set(found) != set(expected):
            wrong = sorted(set(found) ^ set(expected))
            raise ValueError(f"{name}: {', '.join(wrong)} missing or unknown, expected {', '.join(expected)}")
    fig = new_figure(width, 0.54 * width)
    ax = fig.add_subplot()
    ax.set(xlim=(-0.35, 18.1), ylim=(-0.15, 9.75))
    ax.set_axis_off()
    if highlight is not None:
        middle, size = AREAS[highlight]
        draw_rounded_box(ax, middle, size, 0.3, facecolor=PALE_BLUE, lw=0, zorder=0)
    texts = {name: "×".join(map(str, shape)) for name, shape in shapes.items()}
    _convolutions(ax, texts, weights)
    _gates(ax, texts)
    _states(ax, texts)
    alt = f"The Bottleneck-LSTM cell, from x {texts['x']}, h {texts['h']} and c {texts['c']} to c′ and h′ "
    layers = listed(f"{name} {count:,}" for name, count in weights.items())
    part = "" if highlight is None else f" Highlighted: {highlight}."
    return finish(fig, f"{alt}{texts['new_h']}; weights of its convolutions: {layers}.{part}", title)


def _flow(
    ax: Axes, name: str, texts: Mapping[str, str], points: Sequence[Point], at: Point, **style: Any
) -> None:
    """An arrow for a tensor; its name and shape stand at ``at``."""
    color = style.setdefault("color", INK)
    _arrow(ax, points, **style)
    write(ax, *at, TENSORS[name], va="bottom", fontsize=10, color=color, weight="bold")
    write(ax, at[0], at[1] - 0.12, texts[name], va="top", fontsize=7.5, color=INK)


def _arrow(ax: Axes, points: Sequence[Point], color: str, lw: float = 1.4, head: bool = True) -> None:
    """A line along ``points``, with a head at its end."""
    _line(ax, points, color, lw, solid_joinstyle="round")
    if head:
        arrow = {
            "arrowstyle": "-|>",
            "color": color,
            "lw": 0,
            "shrinkA": 0,
            "shrinkB": 0,
            "mutation_scale": 11,
        }
        ax.annotate("", points[-1], points[-2], zorder=2, arrowprops=arrow)


def _convolutions(ax: Axes, texts: Mapping[str, str], weights: Mapping[str, int]) -> None:
    """Below: four convolutions in a row."""
    half = WIDE / 2
    first, second, third, fourth = (place for place, *_ in LAYERS.values())
    for name, start, end, at in (
        ("x", 0.0, first - half, 0.8),
        ("seen", first + half, JOIN - 0.25, 4.3),
        ("both", JOIN + 0.25, second - half, 6.55),
        ("b", second + half, third - half, (second + third) / 2 - 0.06),
        ("s", third + half, fourth - half, (third + fourth) / 2 - 0.06),
    ):
        _flow(ax, name, texts, [(start, ROW), (end, ROW)], (at, ROW + 0.5))
    _flow(ax, "h", texts, [(0.0, OLD), (JOIN, OLD), (JOIN, ROW - 0.3)], (0.8, OLD + 0.5), color=BLUE)
    for name, (x, kernel, after, does) in LAYERS.items():
        color = ORANGE if "depthwise" in kernel else GREEN
        draw_rounded_box(ax, (x, ROW), (WIDE, HIGH), 0.15, facecolor=PAPER, edgecolor=color, lw=1.6, zorder=3)
        lines = [kernel, f"{weights[name]:,}", *([after] if after else [])]
        for k, line in enumerate(lines):
            size, weight = 7 if k == 0 else 8.5, "bold" if k == 1 else "normal"
            y = ROW + 0.38 * ((len(lines) - 1) / 2 - k)
            write(ax, x, y, line, zorder=4, fontsize=size, color=INK, weight=weight)
        write(ax, x, ROW - HIGH / 2 - 0.12, does, va="top", fontsize=8, color=color)
    _sign(ax, JOIN, ROW, "‖", 0.02)
    ax.text(JOIN + 0.15, ROW - 0.75, "concatenated", ha="left", va="center", fontsize=8, color=FAINT)


def _gates(ax: Axes, texts: Mapping[str, str]) -> None:
    """In the middle: one map of 4D channels is cut into four."""
    fourth = LAYERS["gates"][0]
    points = [(fourth, ROW + HIGH / 2), (fourth, BUS)]
    _flow(ax, "gates", texts, points, (fourth + 1.1, 3.45), head=False)
    _line(ax, [(SPLIT["f"], BUS), (fourth, BUS)], INK)
    for name, x in SPLIT.items():
        color = GREEN if name == "g" else VERMILION
        _arrow(ax, [(x, BUS), (x, GATE - 0.4)], INK)
        draw_rounded_box(ax, (x, GATE), (1.5, 0.8), 0.15, facecolor=PAPER, edgecolor=color, lw=1.6, zorder=3)
        label = {"f": "σ(f + 1)", "g": "φ(g)"}.get(name, f"σ({name})")
        write(ax, x, GATE, label, fontsize=9.5, color=INK, zorder=4)
        ax.text(x + 0.12, (BUS + GATE - 0.4) / 2, texts[name], ha="left", va="center", fontsize=7.5)


def _states(ax: Axes, texts: Mapping[str, str]) -> None:
    """Above: the cell state runs through from left to right."""
    f, i, g, o = SPLIT.values()
    thick = {"color": BLUE, "lw": 2.6}
    _flow(ax, "c", texts, [(0.0, MEMORY), (f - 0.28, MEMORY)], (0.8, MEMORY + 0.5), head=False, **thick)
    _arrow(ax, [(f, MEMORY), (i, MEMORY)], head=False, **thick)
    _flow(ax, "new_c", texts, [(i, MEMORY), (17.9, MEMORY)], (17.0, MEMORY + 0.5), **thick)
    _arrow(ax, [(f, GATE + 0.4), (f, MEMORY - 0.28)], VERMILION)
    _arrow(ax, [(i, GATE + 0.4), (i, MIDDLE - 0.28)], VERMILION)
    _arrow(ax, [(g, GATE + 0.4), (g, MIDDLE), (i + 0.28, MIDDLE)], GREEN)
    _arrow(ax, [(i, MIDDLE + 0.28), (i, MEMORY - 0.28)], GREEN)
    _arrow(ax, [(12.6, MEMORY), (12.6, MIDDLE), (o - 0.28, MIDDLE)], BLUE)
    ax.text(12.75, (MEMORY + MIDDLE) / 2, "φ(c′)", ha="left", va="center", fontsize=9.5, color=BLUE)
    _arrow(ax, [(o, GATE + 0.4), (o, MIDDLE - 0.28)], VERMILION)
    _flow(ax, "new_h", texts, [(o + 0.28, MIDDLE), (17.9, MIDDLE)], (17.0, MIDDLE + 0.5), color=BLUE)
    for x, y, sign in ((f, MEMORY, "⊙"), (i, MEMORY, "+"), (i, MIDDLE, "⊙"), (o, MIDDLE, "⊙")):
        _sign(ax, x, y, sign, 0.02)
    for x, y, words, side in (
        (f - 0.15, MIDDLE, "how much to keep", "right"),
        (i - 0.15, 6.6, "how much to write", "right"),
        (g + 0.15, 6.8, "what to write", "left"),
        (o + 0.15, 6.6, "how much to show", "left"),
        (0.0, 4.7, f"from the gates upwards\nevery arrow is {texts['new_c']}", "left"),
    ):
        ax.text(x, y, words, ha=side, va="center", fontsize=8, color=FAINT)
