"""Recurrent layers: gates, hidden states as maps, the two directions, saturation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator

from lessons.figures.clips import caption, rows_of_frames
from lessons.figures.style import (
    AMOUNT,
    BLUE,
    FAINT,
    INK,
    PALE_BLUE,
    PALETTE,
    RULE,
    SIGNED,
    VERMILION,
    color_bar,
    colored,
    draw_box,
    finish,
    house_style,
    listed,
    name_rows,
    new_figure,
    plural,
    probabilities,
    to_numpy,
    write,
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
    """Activations of the gates over time: the input with its marks, one heat map per gate, target and output.

    Args:
        value: (T,) the input at each frame.
        marks: (T,) 0 or 1; a marked frame is drawn in color, with a line through all panels.
        layers: name -> (T, D) activations, 0 to 1; a row per unit, the darker the nearer to 1.
        target, out: (T,) the target and the output of the network.
    """
    value, target, out, marks = (
        to_numpy(array, name, 1)
        for array, name in ((value, "value"), (target, "target"), (out, "out"), (marks, "marks"))
    )
    maps = {name: probabilities(gate, f"layers[{name!r}]") for name, gate in layers.items()}
    lengths = {name: len(array) for name, array in (("target", target), ("out", out), ("marks", marks))}
    lengths |= {name: len(gate) for name, gate in maps.items()}
    n_frames, marked = len(value), np.flatnonzero(marks)
    if set(lengths.values()) != {n_frames}:
        raise ValueError(f"frames: value has {n_frames}, the others {lengths}")
    heights = [1.0, *(0.24 * gate.shape[1] + 0.16 for gate in maps.values()), 1.1]
    fig = new_figure(width, sum(heights) + 1.0)
    axes = fig.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    top, *middle, bottom = axes
    for ax in axes:
        for t in marked:
            ax.axvline(t, color=VERMILION, lw=0.8, alpha=0.5, **({} if ax in middle else {"zorder": 0}))
    top.vlines(range(n_frames), 0, value, color=RULE, lw=1)
    top.plot(range(n_frames), value, "o", ms=3, color=FAINT)
    top.plot(marked, value[marked], "o", ms=6, color=VERMILION)
    top.axhline(0, color=RULE, lw=0.8, zorder=0)
    top.set(ylabel="input")
    for ax, (name, gate) in zip(middle, maps.items(), strict=True):
        image = ax.imshow(gate.T, aspect="auto", cmap=AMOUNT, vmin=0, vmax=1)
        name_rows(ax, [str(unit + 1) for unit in range(gate.shape[1])], ("left", "bottom"))
        ax.set(ylabel=name)
    if middle:
        color_bar(fig, image, middle, [0, 1], aspect=12)
    bottom.step(range(n_frames), target, where="mid", color=INK, lw=1.2, label="target")
    bottom.plot(range(n_frames), out, color=BLUE, lw=0, marker="o", ms=3.5, label="network output")
    low, high = min(target.min(), out.min()), max(target.max(), out.max())
    room = high - low  # above for the legend
    bottom.set(xlabel="frame", ylabel="output", xlim=(-0.6, n_frames - 0.4))
    bottom.set_ylim(low - 0.1 * room, high + 0.45 * room)
    bottom.legend(loc="upper right", ncols=2)
    error = float(np.abs(target - out).mean())
    alt = f"Input, gates ({listed(maps)}) and output over {n_frames} frames, marked at {listed(marked)}"
    return finish(fig, f"{alt}; the output is {error:.2g} from its target on average.", title, top)


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
    """Frames above the hidden states that they leave behind: one row per clip or map, column k is frame k.

    Bytes are drawn in gray as a camera saw them. Numbers of both signs go from blue (below 0) over white to
    red (above); numbers that are nowhere below 0 go from white to blue.

    Args:
        rows: name -> (K, H, W), the same K for all; H and W may differ from row to row.
        captions: K strings above the columns.
        limits: name -> the number that gets the full color; by default the largest of the row.
        marks: (K, 2) a position in every map, (row, column) as fractions of its height and width: a ring.
        hidden: (K,) bool, frames that are set off by color, with their captions.
        squares: (K,) sides of a square around the middle of each map, in grid cells, drawn as an outline.
    """
    if not rows:
        raise ValueError("rows: empty, expected at least one named clip")
    clips = {name: to_numpy(clip, f"rows[{name!r}]", 3) for name, clip in rows.items()}
    count = len(next(iter(clips.values())))
    places = None if marks is None else to_numpy(marks, "marks", 2)
    gone = np.zeros(count, bool) if hidden is None else to_numpy(hidden, "hidden", 1).astype(bool)
    sides = None if squares is None else to_numpy(squares, "squares", 1)
    others = {"hidden": gone, "captions": captions, "marks": places, "squares": sides}
    for name, values in (clips | others).items():
        if values is not None and len(values) != count:
            raise ValueError(f"{name}: {len(values)} moments, expected {count} as in the first clip")
    fig, axes = rows_of_frames(clips, width, title)
    for line, (name, clip) in zip(axes, clips.items(), strict=True):
        look, (_, height, breadth), camera = (
            _look(clip, (limits or {}).get(name)),
            clip.shape,
            _is_video(clip),
        )
        for k, ax in enumerate(line):
            ax.imshow(clip[k], **look)
            if gone[k] and camera:
                ax.spines[:].set(color=VERMILION, linewidth=2)
            if places is not None:
                y, x = places[k] * (height, breadth) - 0.5
                ax.plot(x, y, "o", ms=5, mfc="none", mec=VERMILION if camera else INK, mew=0.9)
            if sides is not None:
                y, x, half = height / 2 - 0.5, breadth / 2 - 0.5, sides[k] / 2
                draw_box(ax, (x - half, y - half, x + half, y + half), VERMILION, 1.4)
    for k, text in enumerate(captions or ()):
        caption(axes[0, k], text, VERMILION if gone[k] else FAINT)
    alt = f"{plural(count, 'moment')} of {listed(clips)}"
    alt += f"; columns: {listed(captions)}" if captions else ""
    alt += f"; hidden in {gone.sum()} of them" if hidden is not None else ""
    return finish(fig, alt + ".", title)


def _is_video(clip: np.ndarray) -> bool:
    return clip.dtype == np.uint8


def _look(clip: np.ndarray, limit: float | None) -> dict[str, Any]:
    """How imshow draws a row: bytes in gray, numbers in color up to ``limit`` or to the largest."""
    if _is_video(clip):
        return {"cmap": "gray", "vmin": 0, "vmax": 255}
    most = limit or float(np.abs(clip.astype(float)).max()) or 1.0
    return (
        {"cmap": SIGNED, "vmin": -most, "vmax": most}
        if clip.min() < 0
        else {"cmap": AMOUNT, "vmin": 0, "vmax": most}
    )


@house_style()
def bidirectional_order(lengths: Sequence[int], *, width: float = 9.0) -> Figure:
    """Where the two directions of a recurrent layer start in a padded batch: without lengths, and with them.

    A row per clip, a box per frame, padding hollow.

    Args:
        lengths: valid frames of each clip; the longest gives the number of frames.
    """
    lengths = [int(length) for length in lengths]
    if not lengths or min(lengths) < 1:
        raise ValueError(f"lengths: {lengths}, expected at least one clip, each of 1 frame or more")
    fig = new_figure(width, 0.62 * len(lengths) + 0.9)
    panels = fig.subplots(1, 2, sharey=True)
    for ax, title, padded in zip(panels, ("Without lengths", "With lengths"), (True, False), strict=True):
        _draw_directions(ax, lengths, padded)
        ax.set_title(title)
    name_rows(panels[0], [f"clip {clip}" for clip in range(len(lengths))], ("left", "bottom"))
    alt = f"Both directions of a recurrent layer over clips of {listed(lengths)} frames: without lengths the "
    return finish(
        fig, f"{alt}backward direction starts in the padding, with lengths at each clip's last frame."
    )


def _draw_directions(ax: Axes, lengths: list[int], padded: bool) -> None:
    """A row of frames per clip; above it the arrow of the forward, below it of the backward direction."""
    n_frames = max(lengths)
    for clip, length in enumerate(lengths):
        for t in range(n_frames):
            face, edge = (PALE_BLUE, FAINT) if t < length else ("none", RULE)
            corner = (t - 0.42, clip - 0.17)
            ax.add_patch(Rectangle(corner, 0.84, 0.34, facecolor=face, edgecolor=edge, lw=0.8))
        last = n_frames if padded else length
        for y, start, end, color in (
            (clip - 0.3, -0.4, last - 0.6, BLUE),
            (clip + 0.3, last - 0.6, -0.4, VERMILION),
        ):
            arrow = {"arrowstyle": "->", "color": color, "lw": 1.6}
            ax.annotate("", xy=(end, y), xytext=(start, y), arrowprops=arrow)
            ax.plot([start], [y], "o", ms=4, color=color)
        if padded and length < n_frames:
            behind = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
            write(ax, (length + n_frames - 1) / 2, clip, "padding", fontsize=8.5, color=INK, bbox=behind)
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
    """The sigmoid and its derivative; below them a histogram per set of inputs: how many lie beyond ±edge.

    Args:
        values: name -> any shape, inputs of the sigmoid.
        edge: beyond it the sigmoid counts as saturated; that region is shaded.
        limit: the axis ends here; what lies further out is counted in the outermost bars.
    """
    items = colored(values, "values")
    fig = new_figure(width, 2.2 + 0.95 * len(items))
    axes = fig.subplots(1 + len(items), 1, sharex=True, height_ratios=[1.9] + [1] * len(items))
    a = np.linspace(-limit, limit, 481)
    gate = 1 / (1 + np.exp(-a))
    axes[0].plot(a, gate, color=PALETTE[0])
    axes[0].plot(a, gate * (1 - gate), color=VERMILION)
    axes[0].text(edge + 0.4, 0.82, "gate σ(a)", color=PALETTE[0], va="top", fontsize=9)
    axes[0].text(edge + 0.4, 0.08, "its slope, at most ¼", color=VERMILION, va="bottom", fontsize=9)
    axes[0].set(ylim=(0, 1.02), yticks=[0, 0.25, 1])
    bins, told = np.linspace(-limit, limit, 97), []
    for ax, (name, array, _) in zip(axes[1:], items, strict=True):
        array = to_numpy(array, f"values[{name!r}]", tuple(range(1, 9))).ravel()
        counts, _ = np.histogram(np.clip(array, -limit, limit), bins)
        ax.stairs(counts / len(array), bins, fill=True, color=FAINT)
        ax.set(yticks=[], ylim=(0, 1.15 * counts.max() / len(array)))
        beyond = f"{(np.abs(array) > edge).mean():.0%} beyond ±{edge:g}"
        corner = {"transform": ax.transAxes, "va": "top", "fontsize": 9}
        ax.text(0.03, 0.92, name, **corner)
        ax.text(0.97, 0.92, beyond, ha="right", **corner)
        ax.spines["left"].set_visible(False)
        told.append(f"{name} {beyond}")
    for ax in axes:
        for low, high in ((-limit, -edge), (edge, limit)):
            ax.axvspan(low, high, color=RULE, alpha=0.45, lw=0, zorder=0)
    axes[-1].set_xlim(-limit, limit)
    axes[-1].xaxis.set_major_locator(FixedLocator([-limit, -2 * edge, -edge, 0, edge, 2 * edge, limit]))
    axes[-1].set_xlabel(f"a, what goes into the gate; beyond ±{limit:g} counted at the ends")
    alt = f"The sigmoid with its slope, above histograms of its inputs: {'; '.join(told)}."
    return finish(fig, alt, title, axes[0])
