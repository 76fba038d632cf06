"""Where the two directions of a recurrent layer start, in a batch of clips of unequal length."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lessons.figures.style import BLUE, FAINT, INK, RULE, VERMILION, house_style, new_figure


@house_style()
def reading_order(lengths: Sequence[int], *, width: float = 9.0) -> Figure:
    """Two panels, without lengths and with them: a row a clip, a box a frame, padding hollow.

    Args:
        lengths: valid frames of each clip; the longest gives the number of frames.

    Raises:
        ValueError: no clips, or a length below 1.
    """
    lengths = [int(length) for length in lengths]
    if not lengths or min(lengths) < 1:
        raise ValueError(f"lengths: {lengths}, expected at least one clip, each of 1 frame or more")
    fig = new_figure(width, 0.62 * len(lengths) + 0.9)
    panels = fig.subplots(1, 2, sharey=True)
    for ax, title, padded in zip(panels, ("Without lengths", "With lengths"), (True, False), strict=True):
        _panel(ax, lengths, padded)
        ax.set_title(title)
    panels[0].set_yticks(range(len(lengths)), [f"clip {clip}" for clip in range(len(lengths))])
    return fig


def _panel(ax: Axes, lengths: list[int], padded: bool) -> None:
    n_frames = max(lengths)
    for clip, length in enumerate(lengths):
        for t in range(n_frames):
            valid = t < length
            ax.add_patch(
                Rectangle(
                    (t - 0.42, clip - 0.17), 0.84, 0.34, facecolor="#DCEBF6" if valid else "none",
                    edgecolor=FAINT if valid else RULE, lw=0.8,
                )
            )  # fmt: skip
        start = n_frames if padded else length
        for y, begin, end, color in (
            (clip - 0.3, -0.4, n_frames - 0.6 if padded else length - 0.6, BLUE),
            (clip + 0.3, start - 0.6, -0.4, VERMILION),
        ):
            ax.annotate(
                "",
                xy=(end, y),
                xytext=(begin, y),
                arrowprops={"arrowstyle": "->", "color": color, "lw": 1.6},
            )
            ax.plot([begin], [y], "o", ms=4, color=color)
        if padded and length < n_frames:
            ax.text(
                (length + n_frames - 1) / 2, clip, "padding", ha="center", va="center", fontsize=8.5,
                color=INK, bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5},
            )  # fmt: skip
    ax.set(xlim=(-0.7, n_frames - 0.3), ylim=(len(lengths) - 0.5, -0.5), xlabel="frame")
    ax.tick_params(axis="y", length=0)
    ax.spines[["left", "bottom"]].set_visible(False)
