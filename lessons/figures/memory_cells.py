"""The wiring of the LSTM and of the GRU: what is kept runs along the top, what decides stands below."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from lessons.figures.style import BLUE, FAINT, GREEN, INK, PAPER, VERMILION, house_style, new_figure

TOP, MIDDLE, BOX, BUS = 0.9, 0.64, 0.33, 0.1  # heights


@house_style()
def memory_cells(*, width: float = 9.0) -> Figure:
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
    _line(ax, [(0, TOP), (1, TOP)], BLUE, lw=3)
    _name(ax, -0.03, TOP, "c")
    _name(ax, 1.04, TOP, "c′")
    _bus(ax, 0.84)
    _box(ax, 0.14, "f", "σ", VERMILION)
    _box(ax, 0.36, "i", "σ", VERMILION)
    _box(ax, 0.58, "g", "tanh", GREEN)
    _box(ax, 0.84, "o", "σ", VERMILION)
    _line(ax, [(0.14, BOX), (0.14, TOP)], VERMILION)
    _line(ax, [(0.36, BOX), (0.36, MIDDLE)], VERMILION)
    _line(ax, [(0.58, BOX), (0.58, MIDDLE), (0.36, MIDDLE)], GREEN)
    _line(ax, [(0.36, MIDDLE), (0.36, TOP)], GREEN)
    _line(ax, [(0.72, TOP), (0.72, MIDDLE), (0.84, MIDDLE)], BLUE, lw=1.6)
    _line(ax, [(0.84, BOX), (0.84, MIDDLE)], VERMILION)
    _line(ax, [(0.84, MIDDLE), (1, MIDDLE)], BLUE, lw=1.6)
    _name(ax, 1.04, MIDDLE, "h′")
    ax.text(0.725, MIDDLE + 0.11, " tanh", fontsize=8.5, color=BLUE, va="center")
    for x, y, sign in ((0.14, TOP, "⊙"), (0.36, MIDDLE, "⊙"), (0.36, TOP, "+"), (0.84, MIDDLE, "⊙")):
        _node(ax, x, y, sign)


def _gru(ax: Axes) -> None:
    ax.set_title("GRU: one memory, two gates")
    _line(ax, [(0, TOP), (1, TOP)], BLUE, lw=3)
    _name(ax, -0.03, TOP, "h")
    _name(ax, 1.04, TOP, "h′")
    _bus(ax, 0.76)
    _box(ax, 0.38, "r", "σ", VERMILION)
    _box(ax, 0.13, "z", "σ", VERMILION)
    _box(ax, 0.76, "n", "tanh", GREEN)
    _line(ax, [(0.13, BOX), (0.13, TOP)], VERMILION)
    _line(ax, [(0.13, MIDDLE), (0.76, MIDDLE)], VERMILION)
    ax.text(0.45, MIDDLE + 0.05, "1 − z", fontsize=9, color=VERMILION, ha="center", va="center")
    _line(ax, [(0.38, BOX), (0.67, BOX)], VERMILION, arrow=True)
    ax.text(0.56, BOX + 0.05, "⊙ (U h + u)", fontsize=8.5, color=VERMILION, ha="center", va="center")
    _line(ax, [(0.76, BOX), (0.76, TOP)], GREEN)
    for x, y, sign in ((0.13, TOP, "⊙"), (0.76, MIDDLE, "⊙"), (0.76, TOP, "+")):
        _node(ax, x, y, sign)


def _line(
    ax: Axes, points: list[tuple[float, float]], color: str, lw: float = 1.4, arrow: bool = False
) -> None:
    xs, ys = zip(*points, strict=True)
    ax.plot(xs, ys, color=color, lw=lw, zorder=1, solid_capstyle="round")
    if arrow:
        ax.plot(xs[-1:], ys[-1:], marker=">", ms=5, color=color, zorder=1)


def _box(ax: Axes, x: float, y_name: str, function: str, color: str) -> None:
    size = (0.14, 0.17)
    ax.add_patch(
        FancyBboxPatch(
            (x - size[0] / 2, BOX - size[1] / 2), *size, boxstyle="round,pad=0,rounding_size=0.03",
            facecolor=PAPER, edgecolor=color, lw=1.4, zorder=3,
        )
    )  # fmt: skip
    ax.text(x, BOX + 0.035, y_name, ha="center", va="center", fontsize=11, color=INK, zorder=4, weight="bold")
    ax.text(x, BOX - 0.045, function, ha="center", va="center", fontsize=8.5, color=color, zorder=4)
    ax.plot([x, x], [BUS, BOX], color=FAINT, lw=1.2, zorder=1)


def _bus(ax: Axes, end: float) -> None:
    """x and h, which go into every gate."""
    ax.plot([0.02, end], [BUS, BUS], color=FAINT, lw=1.2, zorder=1)
    ax.text(-0.01, BUS, "x, h", ha="right", va="center", fontsize=11, color=INK)


def _node(ax: Axes, x: float, y: float, sign: str) -> None:
    ax.plot([x], [y], "o", ms=15, color="white", mec=INK, mew=1, zorder=5)
    ax.text(x, y - 0.004, sign, ha="center", va="center", fontsize=11, color=INK, zorder=6)


def _name(ax: Axes, x: float, y: float, name: str) -> None:
    ax.text(x, y, name, ha="center", va="center", fontsize=12, color=BLUE, weight="bold")
