"""Several films one under the other, moment by moment: what is the same, and what is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lessons.figures.style import FAINT, RULE, house_style, new_figure, to_numpy


@house_style()
def film_rows(
    films: Mapping[str, Any],
    captions: Sequence[str] | None = None,
    *,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """One row a film, its name on the left; column k shows moment k of every film.

    Args:
        films: name -> (K, H, W) gray or (K, H, W, 3) RGB, the same K for all; uint8 as it is, floats scaled
            by the darkest and the brightest value of their own film.
        captions: K strings above the columns, such as frame numbers.
    """
    if not films:
        raise ValueError("films: empty, expected at least one named film")
    rows = {name: to_numpy(film, f"films[{name!r}]", (3, 4)) for name, film in films.items()}
    count = len(next(iter(rows.values())))
    for name, film in rows.items():
        if len(film) != count:
            raise ValueError(f"films[{name!r}]: {len(film)} frames, expected {count} as in the first film")
        if film.ndim == 4 and film.shape[3] != 3:
            raise ValueError(f"films[{name!r}]: shape {film.shape}, expected (K, H, W) or (K, H, W, 3)")
    if captions is not None and len(captions) != count:
        raise ValueError(f"captions: {len(captions)} of them for {count} columns")
    margin = 0.08 * max(map(len, rows)) + 0.15  # inches for the names
    aspects = [film.shape[1] / film.shape[2] for film in rows.values()]
    column = (width - margin) / count
    fig = new_figure(width, sum(aspects) * column + 0.05 * len(rows) + (0.55 if title else 0.25))
    fig.set_layout_engine("compressed", w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    axes = fig.subplots(len(rows), count, squeeze=False, height_ratios=aspects)
    for row, (name, film) in zip(axes, rows.items(), strict=True):
        whole = film.dtype == np.uint8
        low, high = (0, 255) if whole else (float(film.min()), float(film.max()))
        for k, ax in enumerate(row):
            ax.imshow(film[k], cmap="gray", vmin=low, vmax=high)
            ax.set(xticks=[], yticks=[])
            for spine in ax.spines.values():
                spine.set(visible=True, color=RULE)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10, labelpad=6)
    if captions is not None:
        for ax, caption in zip(axes[0], captions, strict=True):
            ax.set_title(caption, fontsize=8, color=FAINT, loc="center", pad=3)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig
