"""Films one under the other with boxes on them: what is there, what one detector shows, what another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from lessons.figures.film_rows import film_rows
from lessons.figures.style import GREEN, ORANGE, PURPLE, SKY, VERMILION, house_style, to_numpy

COLORS = (VERMILION, GREEN, SKY, PURPLE, ORANGE)  # those that stand out on gray pictures


@house_style()
def box_rows(
    films: Mapping[str, Any],
    boxes: Mapping[str, Sequence[Mapping[str, Any]]],
    captions: Sequence[str] | None = None,
    *,
    dashed: Sequence[str] = (),
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """Rows as in :func:`film_rows`; a kind of box has one color in all of them, and is named below.

    Args:
        films: name -> (K, H, W) or (K, H, W, 3).
        boxes: name of a film -> for each of its K frames: kind -> (n, 4) left, top, right, bottom in pixels.
            A film may have none.
        captions: K strings above the columns.
        dashed: kinds that are drawn with dashes, such as what is there but cannot be seen.

    Raises:
        ValueError: boxes of a film that is not there, or not one entry for each of its frames.
    """
    for name, frames in boxes.items():
        if name not in films:
            raise ValueError(f"boxes[{name!r}]: no film of this name")
        if len(frames) != len(films[name]):
            raise ValueError(f"boxes[{name!r}]: of {len(frames)} frames, the film has {len(films[name])}")
    kinds = list(dict.fromkeys(kind for frames in boxes.values() for frame in frames for kind in frame))
    if len(kinds) > len(COLORS):
        raise ValueError(f"boxes: {len(kinds)} kinds, expected at most {len(COLORS)}")
    colors = dict(zip(kinds, COLORS, strict=False))
    styles = {kind: (0, (2, 1.5)) if kind in dashed else "-" for kind in kinds}
    fig = film_rows(films, captions, title=title, width=width)
    columns = len(next(iter(films.values())))
    for row, name in enumerate(films):
        for k, frame in enumerate(boxes.get(name, ())):
            ax = fig.axes[row * columns + k]
            for kind, corners in frame.items():
                if not len(corners):
                    continue
                for left, top, right, bottom in to_numpy(corners, f"boxes[{name!r}][{k}][{kind!r}]", 2):
                    ax.add_patch(
                        Rectangle(
                            (left - 0.5, top - 0.5),
                            right - left,
                            bottom - top,
                            fill=False,
                            lw=1.5,
                            ec=colors[kind],
                            ls=styles[kind],
                        )
                    )
    handles = [Line2D([], [], color=colors[kind], ls=styles[kind], lw=1.5, label=kind) for kind in kinds]
    if handles:
        fig.set_size_inches(width, fig.get_size_inches()[1] + 0.3)
        fig.legend(handles=handles, loc="outside lower left", ncols=len(handles))
    return fig
