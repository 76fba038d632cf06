"""A chain of parts: what goes from one to the next, and where each was built."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from lessons.figures.style import BLUE, FAINT, GREEN, INK, VERMILION, house_style, new_figure

COLORS = {"find": VERMILION, "join": GREEN, "read": BLUE}


@house_style()
def stream_diagram(parts: Sequence[tuple[str, str, str, str]], *, width: float = 9.5) -> Figure:
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
        if half not in COLORS:
            raise ValueError(f"parts[{x}]: half {half!r}, expected one of {', '.join(COLORS)}")
        ax.add_patch(
            FancyBboxPatch(
                (x - 0.4, -0.3), 0.8, 0.6, boxstyle="round,pad=0,rounding_size=0.08", lw=0, fc=COLORS[half]
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
