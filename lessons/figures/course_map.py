"""The course on one page: which notebook leads where."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from lessons.figures.style import BLUE, FAINT, GREEN, INK, VERMILION, house_style, new_figure

WIDE, HIGH = 0.86, 0.56  # of a box, where the next one stands 1 further
# Rows from the top: label, its column, color, the notebooks, the column of the first.
LANES = (
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
    for row, (label, at, color, numbers, first) in enumerate(LANES):
        ax.text(at - WIDE / 2, -row + 0.4, label, color=color, fontsize=9.5)
        for column, number in enumerate(numbers, start=first):
            title, written = entries[number]
            x, y = column, -row
            middle[number] = (x, y)
            ax.add_patch(
                FancyBboxPatch(
                    (x - WIDE / 2, y - HIGH / 2),
                    WIDE,
                    HIGH,
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
            start, end = (xa + WIDE / 2, ya), (xb - WIDE / 2, yb)
        else:  # 8 and 12 lead down to 13
            start, end = (xa, ya - HIGH / 2), (xb + (0.2 if xa > xb else -0.2), yb + HIGH / 2)
        ax.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": FAINT, "lw": 0.9})
    return fig
