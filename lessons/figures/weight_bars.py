"""Where the weights went: every convolution a rectangle, all of one scale, so that area is weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lessons.figures.style import FAINT, INK, PALETTE, house_style, new_figure


@house_style()
def weight_bars(
    designs: Mapping[str, Sequence[tuple[str, int, int]]],
    *,
    kinds: Sequence[str] = (),
    span: int = 0,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """One row a design, one rectangle a layer: as high as it has outputs, as wide as one output has weights.

    Under a rectangle stand its kind, in the kind's color, and its weights; their sum stands on the right.

    Args:
        designs: name -> layers (kind, outputs, weights of one output), in the order in which they run.
        kinds: those that get the first colors, so that pictures of other designs have the same.
        span: pictures of the same span have the same scale; by default the widest row fills the page.

    Raises:
        ValueError: no design, a design without layers, more kinds than colors, or a size below 1.
    """
    if not designs or not all(designs.values()):
        raise ValueError("designs: expected at least one, each with at least one layer")
    layers = [layer for design in designs.values() for layer in design]
    if min(min(rows, columns) for _, rows, columns in layers) < 1:
        raise ValueError("designs: a layer has fewer than 1 output or 1 weight for it")
    kinds = list(dict.fromkeys([*kinds, *(kind for kind, _, _ in layers)]))
    if len(kinds) > len(PALETTE):
        raise ValueError(f"designs: {len(kinds)} kinds of layer, expected at most {len(PALETTE)}")

    names, totals = 0.085 * max(map(len, designs)) + 0.15, 0.75  # inches on the left and on the right
    gap = 0.62  # inches between two rectangles: room for a count under the smallest
    page = width - names - totals
    most_gaps = max(map(len, designs.values()))
    inch = max(  # weights an inch
        span / (page - most_gaps * gap),
        *(sum(columns for *_, columns in design) / (page - len(design) * gap) for design in designs.values()),
    )
    text = 0.40 * inch  # the two lines under a rectangle
    rows = [max(height for _, height, _ in design) for design in designs.values()]
    whole = sum(rows) + len(rows) * (text + 0.16 * inch)
    fig = new_figure(width, whole / inch + (0.4 if title else 0.1))
    ax = fig.add_subplot()
    top = 0.0
    for (name, design), high in zip(designs.items(), rows, strict=True):
        middle, left = top + high / 2, 0.3 * gap * inch
        ax.text(-0.1 * inch, middle, name, ha="right", va="center", fontsize=9.5)
        for kind, height, columns in design:
            color = PALETTE[kinds.index(kind)]
            ax.add_patch(Rectangle((left, middle - height / 2), columns, height, color=color, lw=0.6))
            for line, label, tint in ((3, kind, color), (14, f"{height * columns:,}", INK)):
                ax.annotate(
                    label, (left + columns / 2, middle + height / 2), (0, -line), va="top", ha="center",
                    textcoords="offset points", fontsize=8.5, color=tint,
                )  # fmt: skip
            left += columns + gap * inch
        total = f"{sum(height * columns for _, height, columns in design):,}"
        ax.text(page * inch, middle, total, ha="left", va="center", fontsize=10, weight="bold")
        top += high + text + 0.16 * inch
    ax.set(xlim=(-names * inch, (page + totals) * inch), ylim=(top, -0.03 * inch), aspect="equal")
    ax.set_axis_off()
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    ax.text(
        1, 0, "area = weights", transform=ax.transAxes, ha="right", va="bottom", fontsize=8, color=FAINT
    )  # fmt: skip
    return fig
