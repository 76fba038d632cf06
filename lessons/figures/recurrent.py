"""Recurrent layers: gates, hidden states, directions, saturation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator

from lessons.figures.style import (
    AMOUNT,
    BLUE,
    FAINT,
    INK,
    PALETTE,
    RULE,
    SIGNED,
    VERMILION,
    house_style,
    new_figure,
    to_numpy,
)


@house_style()
def gate_activations(
    value: Any,
    marks: Any,
    layers: Mapping[str, Any],
    target: Any,
    out: Any,
    *,
    title: str | None = None,
    width: float = 8.0,
) -> Figure:
    """Lanes on one time axis: the input with its marks, one lane a gate, target and output.

    Args:
        value: (T,) the input at each frame.
        marks: (T,) 0 or 1; a marked frame is drawn in color, with a line through all lanes.
        layers: name -> (T, D) gate values, 0 to 1; a row for each unit, the darker the nearer to 1.
        target, out: (T,) what should come out, and what does.

    Raises:
        ValueError: unequal numbers of frames, or a gate outside 0 to 1.
    """
    value, target, out = (
        to_numpy(array, name, 1) for array, name in ((value, "value"), (target, "target"), (out, "out"))
    )
    marked = np.flatnonzero(to_numpy(marks, "marks", 1))
    n_frames = len(value)
    maps = {name: to_numpy(gate, f"layers[{name!r}]", 2) for name, gate in layers.items()}
    lengths = {"target": len(target), "out": len(out)} | {name: len(gate) for name, gate in maps.items()}
    if set(lengths.values()) != {n_frames} or len(to_numpy(marks, "marks", 1)) != n_frames:
        raise ValueError(f"frames: value has {n_frames}, the others {lengths}")
    for name, gate in maps.items():
        if gate.min() < 0 or gate.max() > 1:
            raise ValueError(f"layers[{name!r}]: from {gate.min():g} to {gate.max():g}, expected 0 to 1")

    heights = [1.0, *(0.24 * gate.shape[1] + 0.16 for gate in maps.values()), 1.1]
    fig = new_figure(width, sum(heights) + 1.0)
    top, *middle, bottom = fig.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    for ax in (top, bottom):
        for t in marked:
            ax.axvline(t, color=VERMILION, lw=0.8, alpha=0.5, zorder=0)
    top.vlines(range(n_frames), 0, value, color=RULE, lw=1)
    top.plot(range(n_frames), value, "o", ms=3, color=FAINT)
    top.plot(marked, value[marked], "o", ms=6, color=VERMILION)
    top.axhline(0, color=RULE, lw=0.8, zorder=0)
    top.set(ylabel="input")
    for ax, (name, gate) in zip(middle, maps.items(), strict=True):
        image = ax.imshow(gate.T, aspect="auto", cmap=AMOUNT, vmin=0, vmax=1)
        ax.set(yticks=range(gate.shape[1]), ylabel=name)
        ax.set_yticklabels([str(unit + 1) for unit in range(gate.shape[1])])
        ax.tick_params(axis="y", length=0)
        ax.spines[["left", "bottom"]].set_visible(False)
        for t in marked:
            ax.axvline(t, color=VERMILION, lw=0.8, alpha=0.5)
    bottom.step(range(n_frames), target, where="mid", color=INK, lw=1.2, label="last marked value")
    bottom.plot(range(n_frames), out, color=BLUE, lw=0, marker="o", ms=3.5, label="the network's answer")
    bottom.set(xlabel="frame", ylabel="output", xlim=(-0.6, n_frames - 0.4))
    low, high = min(target.min(), out.min()), max(target.max(), out.max())
    bottom.set_ylim(low - 0.1 * (high - low), high + 0.45 * (high - low))  # room for the legend
    bottom.legend(loc="upper right", ncols=2)
    if middle:
        bar = fig.colorbar(image, ax=middle, fraction=0.02, pad=0.01, aspect=12)
        bar.set_ticks([0, 1])
        bar.outline.set(edgecolor=FAINT, linewidth=0.5)
    if title:
        top.set_title(title)
    return fig


@house_style()
def state_maps(
    rows: Mapping[str, Any],
    captions: Sequence[str] | None = None,
    *,
    limits: Mapping[str, float] | None = None,
    marks: Any = None,
    hidden: Any = None,
    squares: Any = None,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """One row for each film, its name on the left; column k shows moment k of every film.

    Bytes are drawn as a camera saw them, in gray. Numbers of both signs go from blue (below 0) over white to
    red (above); numbers that are nowhere below 0 go from white to blue.

    Args:
        rows: name -> (K, H, W), the same K for all; H and W may differ from row to row.
        captions: K strings above the columns.
        limits: name -> the number that gets the full color; by default the largest of the row.
        marks: (K, 2) a place in every map, (row, column) as shares of its height and width: a small ring.
        hidden: (K,) bool, moments whose frame and caption are set off by color.
        squares: (K,) sides of a square around the middle of each map, in places, drawn as an outline.

    Raises:
        ValueError: no rows, or lengths that differ.
    """
    if not rows:
        raise ValueError("rows: empty, expected at least one named film")
    films = {name: to_numpy(film, f"rows[{name!r}]", 3) for name, film in rows.items()}
    count = len(next(iter(films.values())))
    places = None if marks is None else to_numpy(marks, "marks", 2)
    gone = np.zeros(count, bool) if hidden is None else to_numpy(hidden, "hidden", 1).astype(bool)
    sides = None if squares is None else to_numpy(squares, "squares", 1)
    lengths = {name: len(film) for name, film in films.items()} | {"hidden": len(gone)}
    lengths |= {
        name: len(values)
        for name, values in (("captions", captions), ("marks", places), ("squares", sides))
        if values is not None
    }
    for name, length in lengths.items():
        if length != count:
            raise ValueError(f"{name}: {length} moments, expected {count} as in the first film")

    margin = 0.08 * max(map(len, films)) + 0.15  # inches for the names
    aspects = [film.shape[1] / film.shape[2] for film in films.values()]
    column = (width - margin) / count
    fig = new_figure(width, sum(aspects) * column + 0.05 * len(films) + (0.55 if title else 0.25))
    fig.set_layout_engine("compressed", w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    axes = fig.subplots(len(films), count, squeeze=False, height_ratios=aspects)
    for line, (name, film) in zip(axes, films.items(), strict=True):
        camera = film.dtype == np.uint8
        most = (limits or {}).get(name) or float(np.abs(film.astype(float)).max()) or 1.0
        if camera:
            look = dict(cmap="gray", vmin=0, vmax=255)
        elif film.min() < 0:
            look = dict(cmap=SIGNED, vmin=-most, vmax=most)
        else:
            look = dict(cmap=AMOUNT, vmin=0, vmax=most)
        for k, ax in enumerate(line):
            ax.imshow(film[k], **look)
            ax.set(xticks=[], yticks=[])
            for spine in ax.spines.values():
                spine.set(visible=True, color=RULE)
                if gone[k] and camera:
                    spine.set(color=VERMILION, linewidth=2)
            height, width_of_map = film.shape[1:]
            if places is not None:
                y, x = places[k, 0] * height - 0.5, places[k, 1] * width_of_map - 0.5
                color = VERMILION if camera else INK
                ax.plot(x, y, "o", ms=5, mfc="none", mec=color, mew=0.9)
            if sides is not None:
                corner = (width_of_map / 2 - sides[k] / 2 - 0.5, height / 2 - sides[k] / 2 - 0.5)
                ax.add_patch(Rectangle(corner, sides[k], sides[k], fill=False, ec=VERMILION, lw=1.4))
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10, labelpad=6)
    for k, caption in enumerate(captions or ()):
        color = VERMILION if gone[k] else FAINT
        axes[0, k].set_title(caption, fontsize=8, color=color, loc="center", pad=3)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


@house_style()
def bidirectional_order(lengths: Sequence[int], *, width: float = 9.0) -> Figure:
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


@house_style()
def sigmoid_saturation(
    values: Mapping[str, Any],
    *,
    edge: float = 3.0,
    limit: float = 12.0,
    title: str | None = None,
    width: float = 7.5,
) -> Figure:
    """The sigmoid and its slope; below them a histogram for each set of values, with the share beyond ±edge.

    Args:
        values: name -> any shape, what goes into the sigmoid.
        edge: beyond it the sigmoid counts as saturated; that region is shaded.
        limit: the axis ends here; what lies further out is counted in the outermost bars.

    Raises:
        ValueError: no values, or more sets than there are colors.
    """
    if not 1 <= len(values) <= len(PALETTE):
        raise ValueError(f"values: {len(values)} sets, expected 1 to {len(PALETTE)}")
    fig = new_figure(width, 2.2 + 0.95 * len(values))
    axes = fig.subplots(1 + len(values), 1, sharex=True, height_ratios=[1.9] + [1] * len(values))
    a = np.linspace(-limit, limit, 481)
    gate = 1 / (1 + np.exp(-a))
    axes[0].plot(a, gate, color=PALETTE[0])
    axes[0].plot(a, gate * (1 - gate), color=VERMILION)
    axes[0].text(edge + 0.4, 0.82, "gate σ(a)", color=PALETTE[0], va="top", fontsize=9)
    axes[0].text(edge + 0.4, 0.08, "its slope, at most ¼", color=VERMILION, va="bottom", fontsize=9)
    axes[0].set(ylim=(0, 1.02), yticks=[0, 0.25, 1])
    bins = np.linspace(-limit, limit, 97)
    for ax, (name, array) in zip(axes[1:], values.items(), strict=True):
        array = np.asarray(array.detach().cpu().numpy() if hasattr(array, "detach") else array)
        array = to_numpy(array.ravel(), f"values[{name!r}]", 1)
        counts, _ = np.histogram(np.clip(array, -limit, limit), bins)
        ax.stairs(counts / len(array), bins, fill=True, color=FAINT)
        share = float((np.abs(array) > edge).mean())
        ax.set(yticks=[], ylim=(0, 1.15 * counts.max() / len(array)))
        ax.text(0.03, 0.92, name, transform=ax.transAxes, va="top", fontsize=9)
        beyond = f"{share:.0%} beyond ±{edge:g}"
        ax.text(0.97, 0.92, beyond, transform=ax.transAxes, va="top", ha="right", fontsize=9)
        ax.spines["left"].set_visible(False)
    for ax in axes:
        for low, high in ((-limit, -edge), (edge, limit)):
            ax.axvspan(low, high, color=RULE, alpha=0.45, lw=0, zorder=0)
    axes[-1].set_xlim(-limit, limit)
    axes[-1].xaxis.set_major_locator(FixedLocator([-limit, -2 * edge, -edge, 0, edge, 2 * edge, limit]))
    axes[-1].set_xlabel(f"a, what goes into the gate; beyond ±{limit:g} counted at the ends")
    if title:
        axes[0].set_title(title)
    return fig
