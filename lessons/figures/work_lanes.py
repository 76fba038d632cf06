"""Who works when: one lane a worker, one box a piece of work, numbered by the batch that it belongs to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lessons.figures.style import INK, PALETTE, house_style, new_figure


@house_style()
def work_lanes(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float, int]]]],
    *,
    xlabel: str = "milliseconds",
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """One panel a plan, one lane a worker.

    Args:
        panels: plan -> worker -> pieces (begin, end, number of the batch); a batch has one color everywhere.

    Raises:
        ValueError: nothing to draw, or a piece that ends before it begins.
    """
    pieces = [piece for lanes in panels.values() for lane in lanes.values() for piece in lane]
    if not pieces:
        raise ValueError("panels: no piece of work to draw")
    for begin, end, number in pieces:
        if end < begin:
            raise ValueError(f"batch {number}: ends at {end:g}, before it begins at {begin:g}")
    rows = sum(len(lanes) for lanes in panels.values())
    fig = new_figure(width, 0.45 * rows + 0.45 * len(panels) + 0.7)
    axes = fig.subplots(
        len(panels), 1, sharex=True, squeeze=False, height_ratios=[len(lanes) for lanes in panels.values()]
    )[:, 0]
    last = max(end for _, end, _ in pieces)
    for ax, (name, lanes) in zip(axes, panels.items(), strict=True):
        for row, lane in enumerate(lanes.values()):
            for begin, end, number in lane:
                color = PALETTE[number % len(PALETTE)]
                ax.add_patch(
                    Rectangle((begin, row - 0.36), end - begin, 0.72, facecolor=color, edgecolor="white")
                )
                if end - begin > 0.03 * last:
                    told = str(number)
                    ax.text((begin + end) / 2, row, told, ha="center", va="center", color="white", fontsize=9)
        ends = max((end for lane in lanes.values() for _, end, _ in lane), default=0)
        ax.axvline(ends, color=INK, linewidth=1, linestyle="--")
        ax.set_yticks(range(len(lanes)), list(lanes))
        ax.tick_params(axis="y", length=0)
        ax.set(xlim=(0, 1.05 * last), ylim=(len(lanes) - 0.45, -0.55))
        ax.spines["left"].set_visible(False)
        ax.set_title(f"{name}: {ends:.0f}")
    axes[-1].set_xlabel(xlabel)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig
