"""Boxes and arrows: recurrent cells, pipelines and the map of the course."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from lessons.figures.style import BLUE, FAINT, GREEN, INK, ORANGE, PAPER, VERMILION, house_style, new_figure

MAP_WIDE, MAP_HIGH = 0.86, 0.56  # of a box, where the next one stands 1 further
# Rows from the top: label, its column, color, the notebooks, the column of the first.
MAP_ROWS = (
    ("LipNet", 0, BLUE, range(0, 9), 0),
    ("memory for a detector", 3, VERMILION, range(9, 13), 3),
    ("together", 8, GREEN, range(13, 15), 7),
)


@house_style()
def course_map(notebooks: Sequence[tuple[int, str, bool]], *, here: int | None = None) -> Figure:
    """Fifteen boxes in reading order; those not written yet are pale, the one you are in has a thick edge.

    Args:
        notebooks: (number, short title, written) for each of the numbers 0 to 14.
        here: the number of the notebook that shows the map.

    Raises:
        ValueError: the numbers are not 0 to 14, each once.
    """
    if sorted(number for number, _, _ in notebooks) != list(range(15)):
        raise ValueError(f"notebooks: numbers {[n for n, _, _ in notebooks]}, expected 0 to 14, each once")
    entries = {number: (title, written) for number, title, written in notebooks}
    fig = new_figure(9.5, 2.9)
    ax = fig.add_subplot()
    ax.set(xlim=(-0.6, 8.6), ylim=(-2.55, 0.75))
    ax.set_axis_off()
    middle = {}
    for row, (label, at, color, numbers, first) in enumerate(MAP_ROWS):
        ax.text(at - MAP_WIDE / 2, -row + 0.4, label, color=color, fontsize=9.5)
        for column, number in enumerate(numbers, start=first):
            title, written = entries[number]
            x, y = column, -row
            middle[number] = (x, y)
            ax.add_patch(
                FancyBboxPatch(
                    (x - MAP_WIDE / 2, y - MAP_HIGH / 2),
                    MAP_WIDE,
                    MAP_HIGH,
                    boxstyle="round,pad=0,rounding_size=0.08",
                    facecolor=color if written else "white",
                    edgecolor=INK if number == here else color,
                    lw=2.2 if number == here else 0.9,
                )
            )
            ink = "white" if written else FAINT
            ax.text(x, y + 0.1, f"{number:02d}", ha="center", va="center", fontsize=9.5, color=ink)
            ax.text(x, y - 0.12, title, ha="center", va="center", fontsize=7, color=ink)
    for a, b in [(n, n + 1) for n in range(14) if n not in (8, 12)] + [(8, 13), (12, 13)]:
        (xa, ya), (xb, yb) = middle[a], middle[b]
        if ya == yb:
            start, end = (xa + MAP_WIDE / 2, ya), (xb - MAP_WIDE / 2, yb)
        else:  # 8 and 12 lead down to 13
            start, end = (xa, ya - MAP_HIGH / 2), (xb + (0.2 if xa > xb else -0.2), yb + MAP_HIGH / 2)
        ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": FAINT, "lw": 0.9})
    return fig


PART_COLORS = {"find": VERMILION, "join": GREEN, "read": BLUE}


@house_style()
def pipeline_diagram(parts: Sequence[tuple[str, str, str, str]], *, width: float = 9.5) -> Figure:
    """Boxes from left to right, an arrow between them.

    Args:
        parts: (half, name, what comes out of it, where it was built); half is find, join or read.

    Raises:
        ValueError: no parts, or a half that is none of these.
    """
    if not parts:
        raise ValueError("parts: empty, expected at least one")
    fig = new_figure(width, 1.75)
    ax = fig.add_subplot()
    ax.set(xlim=(-0.5, len(parts) - 0.4), ylim=(-0.95, 0.75))
    ax.set_axis_off()
    for x, (half, name, gives, built) in enumerate(parts):
        if half not in PART_COLORS:
            raise ValueError(f"parts[{x}]: half {half!r}, expected one of {', '.join(PART_COLORS)}")
        ax.add_patch(
            FancyBboxPatch(
                (x - 0.4, -0.3),
                0.8,
                0.6,
                boxstyle="round,pad=0,rounding_size=0.08",
                lw=0,
                fc=PART_COLORS[half],
            )
        )
        ax.text(x, 0, name, ha="center", va="center", fontsize=8.5, color="white", linespacing=1.3)
        ax.text(x, 0.38, built, ha="center", va="bottom", fontsize=8, color=FAINT)
        ax.text(x, -0.4, gives, ha="center", va="top", fontsize=8, color=INK, linespacing=1.3)
        if x:
            ax.annotate(
                "", (x - 0.4, 0), (x - 0.6, 0), arrowprops={"arrowstyle": "-|>", "color": FAINT, "lw": 1}
            )
    return fig


CELL_TOP, CELL_MIDDLE, CELL_BOX, CELL_BUS = 0.9, 0.64, 0.33, 0.1  # heights


@house_style()
def lstm_gru_diagram(*, width: float = 9.0) -> Figure:
    """One frame's step of both cells, from left to right."""
    fig = new_figure(width, 0.37 * width)
    left, right = fig.subplots(1, 2)
    _lstm(left)
    _gru(right)
    for ax in (left, right):
        ax.set(xlim=(-0.06, 1.07), ylim=(-0.02, 1.04))
        ax.set_axis_off()
    return fig


def _lstm(ax: Axes) -> None:
    ax.set_title("LSTM: two memories, three gates")
    _line(ax, [(0, CELL_TOP), (1, CELL_TOP)], BLUE, lw=3)
    _state_name(ax, -0.03, CELL_TOP, "c")
    _state_name(ax, 1.04, CELL_TOP, "c′")
    _input_bus(ax, 0.84)
    _gate_box(ax, 0.14, "f", "σ", VERMILION)
    _gate_box(ax, 0.36, "i", "σ", VERMILION)
    _gate_box(ax, 0.58, "g", "tanh", GREEN)
    _gate_box(ax, 0.84, "o", "σ", VERMILION)
    _line(ax, [(0.14, CELL_BOX), (0.14, CELL_TOP)], VERMILION)
    _line(ax, [(0.36, CELL_BOX), (0.36, CELL_MIDDLE)], VERMILION)
    _line(ax, [(0.58, CELL_BOX), (0.58, CELL_MIDDLE), (0.36, CELL_MIDDLE)], GREEN)
    _line(ax, [(0.36, CELL_MIDDLE), (0.36, CELL_TOP)], GREEN)
    _line(ax, [(0.72, CELL_TOP), (0.72, CELL_MIDDLE), (0.84, CELL_MIDDLE)], BLUE, lw=1.6)
    _line(ax, [(0.84, CELL_BOX), (0.84, CELL_MIDDLE)], VERMILION)
    _line(ax, [(0.84, CELL_MIDDLE), (1, CELL_MIDDLE)], BLUE, lw=1.6)
    _state_name(ax, 1.04, CELL_MIDDLE, "h′")
    ax.text(0.725, CELL_MIDDLE + 0.11, " tanh", fontsize=8.5, color=BLUE, va="center")
    for x, y, sign in (
        (0.14, CELL_TOP, "⊙"),
        (0.36, CELL_MIDDLE, "⊙"),
        (0.36, CELL_TOP, "+"),
        (0.84, CELL_MIDDLE, "⊙"),
    ):
        _gate_node(ax, x, y, sign)


def _gru(ax: Axes) -> None:
    ax.set_title("GRU: one memory, two gates")
    _line(ax, [(0, CELL_TOP), (1, CELL_TOP)], BLUE, lw=3)
    _state_name(ax, -0.03, CELL_TOP, "h")
    _state_name(ax, 1.04, CELL_TOP, "h′")
    _input_bus(ax, 0.76)
    _gate_box(ax, 0.38, "r", "σ", VERMILION)
    _gate_box(ax, 0.13, "z", "σ", VERMILION)
    _gate_box(ax, 0.76, "n", "tanh", GREEN)
    _line(ax, [(0.13, CELL_BOX), (0.13, CELL_TOP)], VERMILION)
    _line(ax, [(0.13, CELL_MIDDLE), (0.76, CELL_MIDDLE)], VERMILION)
    ax.text(0.45, CELL_MIDDLE + 0.05, "1 − z", fontsize=9, color=VERMILION, ha="center", va="center")
    _line(ax, [(0.38, CELL_BOX), (0.67, CELL_BOX)], VERMILION, arrow=True)
    ax.text(0.56, CELL_BOX + 0.05, "⊙ (U h + u)", fontsize=8.5, color=VERMILION, ha="center", va="center")
    _line(ax, [(0.76, CELL_BOX), (0.76, CELL_TOP)], GREEN)
    for x, y, sign in ((0.13, CELL_TOP, "⊙"), (0.76, CELL_MIDDLE, "⊙"), (0.76, CELL_TOP, "+")):
        _gate_node(ax, x, y, sign)


def _line(
    ax: Axes, points: list[tuple[float, float]], color: str, lw: float = 1.4, arrow: bool = False
) -> None:
    xs, ys = zip(*points, strict=True)
    ax.plot(xs, ys, color=color, lw=lw, zorder=1, solid_capstyle="round")
    if arrow:
        ax.plot(xs[-1:], ys[-1:], marker=">", ms=5, color=color, zorder=1)


def _gate_box(ax: Axes, x: float, y_name: str, function: str, color: str) -> None:
    size = (0.14, 0.17)
    ax.add_patch(
        FancyBboxPatch(
            (x - size[0] / 2, CELL_BOX - size[1] / 2), *size, boxstyle="round,pad=0,rounding_size=0.03",
            facecolor=PAPER, edgecolor=color, lw=1.4, zorder=3,
        )
    )  # fmt: skip
    ax.text(
        x, CELL_BOX + 0.035, y_name, ha="center", va="center", fontsize=11, color=INK, zorder=4, weight="bold"
    )
    ax.text(x, CELL_BOX - 0.045, function, ha="center", va="center", fontsize=8.5, color=color, zorder=4)
    ax.plot([x, x], [CELL_BUS, CELL_BOX], color=FAINT, lw=1.2, zorder=1)


def _input_bus(ax: Axes, end: float) -> None:
    """x and h, which go into every gate."""
    ax.plot([0.02, end], [CELL_BUS, CELL_BUS], color=FAINT, lw=1.2, zorder=1)
    ax.text(-0.01, CELL_BUS, "x, h", ha="right", va="center", fontsize=11, color=INK)


def _gate_node(ax: Axes, x: float, y: float, sign: str) -> None:
    ax.plot([x], [y], "o", ms=15, color="white", mec=INK, mew=1, zorder=5)
    ax.text(x, y - 0.004, sign, ha="center", va="center", fontsize=11, color=INK, zorder=6)


def _state_name(ax: Axes, x: float, y: float, name: str) -> None:
    ax.text(x, y, name, ha="center", va="center", fontsize=12, color=BLUE, weight="bold")


# The tensors of one frame and what stands above their arrows.
TENSORS = {
    "x": "x", "h": "h", "c": "c", "seen": "x̃", "both": "[x̃, h]", "b": "b", "s": "s", "gates": "four gates",
    "i": "i", "f": "f", "g": "g", "o": "o", "new_c": "c′", "new_h": "h′",
}  # fmt: skip
# Its four convolutions: place, kernel, what follows it, and what it does.
LAYERS = {
    "depthwise": (2.6, "depthwise 3 × 3", "", "looks around"),
    "bottleneck": (8.4, "1 × 1", "then φ", "squeezes"),
    "spatial": (11.9, "depthwise 3 × 3", "", "looks around"),
    "gates": (15.4, "1 × 1", "", "decides"),
}
ROW, MEMORY, MIDDLE, GATE, BUS, OLD = 2.0, 8.9, 7.5, 5.7, 4.25, 0.35  # heights
SPLIT = {"f": 5.3, "i": 8.3, "g": 11.3, "o": 14.3}  # where the four gates stand
WIDE, HIGH = 1.75, 1.5  # of a layer's box
JOIN = 5.4  # where x̃ and h meet


@house_style()
def bottleneck_lstm_diagram(
    shapes: Mapping[str, Sequence[int]],
    weights: Mapping[str, int],
    *,
    title: str | None = None,
    width: float = 10.0,
) -> Figure:
    """One frame through the cell of the paper's Table 1, below the four convolutions, above the memory.

    Args:
        shapes: the shape of each tensor, as a forward pass had it: "x", "h", "c" come in; "seen" is x after
            its depthwise convolution, "both" that beside h, then "b", "s", "gates", "i", "f", "g", "o", and
            out come "new_c" and "new_h".
        weights: of the convolutions "depthwise", "bottleneck", "spatial" and "gates".

    Raises:
        ValueError: a tensor or a layer that is missing, or one that is not in the cell.
    """
    for name, found, expected in (("shapes", shapes, TENSORS), ("weights", weights, LAYERS)):
        if set(found) != set(expected):
            wrong = sorted(set(found) ^ set(expected))
            raise ValueError(f"{name}: {', '.join(wrong)} missing or unknown, expected {', '.join(expected)}")
    fig = new_figure(width, 0.54 * width)
    ax = fig.add_subplot()
    ax.set(xlim=(-0.35, 18.1), ylim=(-0.15, 9.75))
    ax.set_axis_off()

    def shape(name: str) -> str:
        return "×".join(map(str, shapes[name]))

    def flow(name: str, points: Sequence[tuple[float, float]], at: tuple[float, float], **options) -> None:
        """An arrow for a tensor; its name and shape stand at ``at``."""
        color = options.pop("color", INK)
        _arrow(ax, points, color, **options)
        ax.text(*at, TENSORS[name], ha="center", va="bottom", fontsize=10, color=color, weight="bold")
        ax.text(at[0], at[1] - 0.12, shape(name), ha="center", va="top", fontsize=7.5, color=INK)

    # Below: four convolutions in a row.
    half = WIDE / 2
    first, second, third, fourth = (place for place, *_ in LAYERS.values())
    flow("x", [(0.0, ROW), (first - half, ROW)], (0.8, ROW + 0.5))
    flow("seen", [(first + half, ROW), (JOIN - 0.25, ROW)], (4.3, ROW + 0.5))
    flow("h", [(0.0, OLD), (JOIN, OLD), (JOIN, ROW - 0.3)], (0.8, OLD + 0.5), color=BLUE)
    flow("both", [(JOIN + 0.25, ROW), (second - half, ROW)], (6.55, ROW + 0.5))
    flow("b", [(second + half, ROW), (third - half, ROW)], ((second + third) / 2 - 0.06, ROW + 0.5))
    flow("s", [(third + half, ROW), (fourth - half, ROW)], ((third + fourth) / 2 - 0.06, ROW + 0.5))
    for name, (x, kernel, after, does) in LAYERS.items():
        color = ORANGE if "depthwise" in kernel else GREEN
        _box(ax, (x, ROW), (WIDE, HIGH), color)
        lines = [kernel, f"{weights[name]:,}", *([after] if after else [])]
        for k, line in enumerate(lines):
            ax.text(
                x, ROW + 0.38 * ((len(lines) - 1) / 2 - k), line, ha="center", va="center", zorder=4,
                fontsize=7 if k == 0 else 8.5, color=INK, weight="bold" if k == 1 else "normal",
            )  # fmt: skip
        ax.text(x, ROW - HIGH / 2 - 0.12, does, ha="center", va="top", fontsize=8, color=color)
    _node(ax, JOIN, ROW, "‖")
    ax.text(JOIN + 0.15, ROW - 0.75, "side by side", ha="left", va="center", fontsize=8, color=FAINT)

    # In the middle: one map of 4D channels is cut into four.
    flow("gates", [(fourth, ROW + HIGH / 2), (fourth, BUS)], (fourth + 1.1, 3.45), head=False)
    ax.plot([SPLIT["f"], fourth], [BUS, BUS], color=INK, lw=1.4, zorder=1, solid_capstyle="round")
    for name, x in SPLIT.items():
        color = GREEN if name == "g" else VERMILION
        _arrow(ax, [(x, BUS), (x, GATE - 0.4)], INK)
        _box(ax, (x, GATE), (1.5, 0.8), color)
        label = {"f": "σ(f + 1)", "g": "φ(g)"}.get(name, f"σ({name})")
        ax.text(x, GATE, label, ha="center", va="center", fontsize=9.5, color=INK, zorder=4)
        ax.text(x + 0.12, (BUS + GATE - 0.4) / 2, shape(name), ha="left", va="center", fontsize=7.5)

    # Above: the memory runs through from left to right.
    f, i, g, o = SPLIT.values()
    flow("c", [(0.0, MEMORY), (f - 0.28, MEMORY)], (0.8, MEMORY + 0.5), color=BLUE, lw=2.6, head=False)
    _arrow(ax, [(f, MEMORY), (i, MEMORY)], BLUE, lw=2.6, head=False)
    flow("new_c", [(i, MEMORY), (17.9, MEMORY)], (17.0, MEMORY + 0.5), color=BLUE, lw=2.6)
    _arrow(ax, [(f, GATE + 0.4), (f, MEMORY - 0.28)], VERMILION)
    _arrow(ax, [(i, GATE + 0.4), (i, MIDDLE - 0.28)], VERMILION)
    _arrow(ax, [(g, GATE + 0.4), (g, MIDDLE), (i + 0.28, MIDDLE)], GREEN)
    _arrow(ax, [(i, MIDDLE + 0.28), (i, MEMORY - 0.28)], GREEN)
    _arrow(ax, [(12.6, MEMORY), (12.6, MIDDLE), (o - 0.28, MIDDLE)], BLUE)
    ax.text(12.75, (MEMORY + MIDDLE) / 2, "φ(c′)", ha="left", va="center", fontsize=9.5, color=BLUE)
    _arrow(ax, [(o, GATE + 0.4), (o, MIDDLE - 0.28)], VERMILION)
    flow("new_h", [(o + 0.28, MIDDLE), (17.9, MIDDLE)], (17.0, MIDDLE + 0.5), color=BLUE)
    for x, y, sign in ((f, MEMORY, "⊙"), (i, MEMORY, "+"), (i, MIDDLE, "⊙"), (o, MIDDLE, "⊙")):
        _node(ax, x, y, sign)
    for x, y, word in (
        (f - 0.15, MIDDLE, "how much to keep"),
        (i - 0.15, 6.6, "how much to write"),
        (g + 0.15, 6.8, "what to write"),
        (o + 0.15, 6.6, "how much to show"),
    ):
        right = x > f and x in (g + 0.15, o + 0.15)
        ax.text(x, y, word, ha="left" if right else "right", va="center", fontsize=8, color=FAINT)
    ax.text(
        0.0, 6.2, f"from the gates upwards\nevery arrow is {shape('new_c')}", ha="left", va="center",
        fontsize=8, color=FAINT,
    )  # fmt: skip
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


def _arrow(
    ax: Axes, points: Sequence[tuple[float, float]], color: str, lw: float = 1.4, head: bool = True
) -> None:
    """A line along ``points``, with a head at its end."""
    xs, ys = zip(*points, strict=True)
    ax.plot(xs, ys, color=color, lw=lw, zorder=1, solid_capstyle="round", solid_joinstyle="round")
    if head:
        ax.annotate(
            "", points[-1], points[-2], zorder=2,
            arrowprops={"arrowstyle": "-|>", "color": color, "lw": 0, "shrinkA": 0, "shrinkB": 0,
                        "mutation_scale": 11},
        )  # fmt: skip


def _box(ax: Axes, middle: tuple[float, float], size: tuple[float, float], color: str) -> None:
    corner = (middle[0] - size[0] / 2, middle[1] - size[1] / 2)
    ax.add_patch(
        FancyBboxPatch(
            corner, *size, boxstyle="round,pad=0,rounding_size=0.15", facecolor=PAPER, edgecolor=color,
            lw=1.6, zorder=3,
        )
    )  # fmt: skip


def _node(ax: Axes, x: float, y: float, sign: str) -> None:
    ax.plot([x], [y], "o", ms=15, color="white", mec=INK, mew=1, zorder=5)
    ax.text(x, y - 0.02, sign, ha="center", va="center", fontsize=11, color=INK, zorder=6)
