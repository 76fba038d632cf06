"""The Bottleneck-LSTM cell drawn as a diagram: every layer a box, every tensor an arrow with its shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from lessons.figures.style import BLUE, FAINT, GREEN, INK, ORANGE, PAPER, VERMILION, house_style, new_figure

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
def cell_diagram(
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
