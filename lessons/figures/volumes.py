"""A clip as a volume of space and time: slices, kernels, and how it lies in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from matplotlib.transforms import Affine2D

from lessons.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    PALETTE,
    PAPER,
    RULE,
    SIGNED,
    VERMILION,
    house_style,
    new_figure,
    to_numpy,
)


@house_style()
def space_time_slices(
    frames: Any, t: int, row: int, column: int, *, title: str | None = None, width: float = 8.0
) -> Figure:
    """A frame, below it one row of all frames (x-t), to its right one column of all frames (y-t).

    The x axis of the frame goes on in the cut below it, the y axis in the cut beside it. Lines of one color
    are the same place: orange the row, blue the column, green the moment.

    Args:
        frames: (T, H, W) gray or (T, H, W, 3) RGB; uint8 as it is, floats from the darkest to the brightest.
        t, row, column: where to cut.

    Raises:
        ValueError: other axes, or a cut outside the clip.
    """
    film = to_numpy(frames, "frames", (3, 4))
    if film.ndim == 4 and film.shape[3] != 3:
        raise ValueError(f"frames: shape {film.shape}, expected (T, H, W) or (T, H, W, 3)")
    T, H, W = film.shape[:3]
    if not (0 <= t < T and 0 <= row < H and 0 <= column < W):
        raise ValueError(f"cut: t={t}, row={row}, column={column} lies outside the clip, {T} x {H} x {W}")
    if film.dtype != np.uint8:
        film = (film - film.min()) / max(float(np.ptp(film)), 1e-12)
    top = 255 if film.dtype == np.uint8 else 1.0
    fig = new_figure(width, width * (H + T) / (W + T) + 0.5)
    axes = fig.subplots(2, 2, width_ratios=(W, T), height_ratios=(H, T))
    (frame, right), (below, note) = axes
    look = {"cmap": "gray", "vmin": 0, "vmax": top, "aspect": "auto"}
    frame.imshow(film[t], **look)
    below.imshow(film[:, row], **look)  # (T, W)
    right.imshow(film[:, :, column].swapaxes(0, 1), **look)  # (H, T)
    line = {"lw": 1.3, "ls": (0, (5, 3))}
    frame.axhline(row, color=VERMILION, **line)
    frame.axvline(column, color=BLUE, **line)
    below.axhline(t, color=GREEN, **line)
    right.axvline(t, color=GREEN, **line)
    for ax, color in ((frame, GREEN), (below, VERMILION), (right, BLUE)):
        ax.spines[:].set(visible=True, color=color, linewidth=1.6)
    frame.set_title(f"frame {t}", color=GREEN)
    right.set_title(f"y–t cut: column {column}", color=BLUE)
    below.set_title(f"x–t cut: row {row}", color=VERMILION)
    frame.set(ylabel="row y", xlabel="column x")
    below.set(ylabel="frame t", xlabel="column x")
    right.set(xlabel="frame t")
    note.set_axis_off()
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


# Where one step in x, in y and in t goes on the page: a card seen at an angle, the cards standing in a row.
ALONG_X = np.array([0.44, 0.20])
ALONG_Y = np.array([0.0, -1.0])


class _Cards:
    """Frames standing one behind the other; turns (t, y, x) into a place on the page."""

    def __init__(self, origin: tuple[float, float], gap: float):
        self.origin, self.along_t = np.array(origin), np.array([gap, 0.0])

    def at(self, t: float, y: float, x: float) -> np.ndarray:
        return self.origin + t * self.along_t + y * ALONG_Y + x * ALONG_X

    def rectangle(self, t: float, y: tuple[float, float], x: tuple[float, float]) -> list[np.ndarray]:
        return [
            self.at(t, y[0], x[0]),
            self.at(t, y[0], x[1]),
            self.at(t, y[1], x[1]),
            self.at(t, y[1], x[0]),
        ]

    def draw(self, ax, frame: np.ndarray, t: int, cmap: str, low: float, high: float, dim: bool) -> None:
        height, width = frame.shape
        (a, c), (b, d), (e, f) = ALONG_X, ALONG_Y, self.at(t, 0, 0)
        lean = Affine2D(np.array([[a, b, e], [c, d, f], [0, 0, 1]]))
        image = ax.imshow(frame, cmap=cmap, vmin=low, vmax=high, extent=(0, width, height, 0), zorder=2 * t)
        image.set_transform(lean + ax.transData)
        corners = self.rectangle(t, (0, height), (0, width))
        veil = (1.0, 1.0, 1.0, 0.62 if dim else 0.0)
        ax.add_patch(Polygon(corners, facecolor=veil, edgecolor=RULE if dim else FAINT, lw=0.8, zorder=2 * t))


def _volume(
    ax, cards: _Cards, t: range, y: tuple[int, int], x: tuple[int, int], top: int, tint: float
) -> None:
    """Outline the same window on every card of ``t`` and join its corners through time."""
    for i in t:
        window = cards.rectangle(i, y, x)
        face = (*_rgb(VERMILION), tint)
        ax.add_patch(Polygon(window, facecolor=face, edgecolor=VERMILION, lw=1.6, zorder=2 * i + 1))
    first, last = cards.rectangle(t[0], y, x), cards.rectangle(t[-1], y, x)
    for a, b in zip(first, last, strict=True):
        ax.plot([a[0], b[0]], [a[1], b[1]], color=VERMILION, lw=0.9, alpha=0.8, zorder=top)


def _rgb(color: str) -> tuple[float, float, float]:
    return tuple(int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))


@house_style()
def space_time(
    frames: Any,
    output: Any,
    kernel: tuple[int, int, int],
    position: tuple[int, int, int],
    *,
    stride: tuple[int, int, int] = (1, 1, 1),
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """A kernel at one place of its way through a film, and the output value that it makes there.

    Args:
        frames: (T, H, W) the film; if the convolution pads, pad it before.
        output: (T', H', W') what the convolution makes of it.
        kernel: (kt, kh, kw) the kernel's size.
        position: (t, y, x) of the output value to point at.
        stride: (st, sh, sw) of the convolution.

    Raises:
        ValueError: when ``position`` is outside the output, or its window outside the film.
    """
    film, out = to_numpy(frames, "frames", 3), to_numpy(output, "output", 3)
    if any(not 0 <= p < size for p, size in zip(position, out.shape, strict=True)):
        raise ValueError(f"position: {tuple(position)} lies outside the output, {out.shape}")
    start = [p * s for p, s in zip(position, stride, strict=True)]
    stop = [a + k for a, k in zip(start, kernel, strict=True)]
    if any(b > size for b, size in zip(stop, film.shape, strict=True)):
        raise ValueError(f"position: the window ends at {tuple(stop)}, outside the film, {film.shape}")

    (T, H, W), (To, Ho, Wo) = film.shape, out.shape
    gap = 0.50 * W
    left = _Cards((0.0, 0.0), gap)
    span = (T - 1) * gap + ALONG_X[0] * W
    room = 0.5 * W
    right = _Cards((span + room, -(H - Ho) / 2), gap * Wo / W)
    end = span + room + (To - 1) * gap * Wo / W + ALONG_X[0] * Wo
    fig = new_figure(width, 0.35 + width * (1.45 * H + 0.2 * W) / end)
    ax = fig.add_subplot()
    top = 2 * max(T, To) + 2
    for t in range(T):
        outside = not start[0] <= t < stop[0]
        left.draw(ax, film[t], t, "gray", float(film.min()), float(film.max()), outside)
    _volume(ax, left, range(start[0], stop[0]), (start[1], stop[1]), (start[2], stop[2]), top, tint=0.2)
    bound = max(float(np.abs(out).max()), 1e-12)
    for t in range(To):
        right.draw(ax, out[t], t, "RdBu_r", -bound, bound, t != position[0])
    t, y, x = position
    _volume(ax, right, range(t, t + 1), (y, y + 1), (x, x + 1), top, tint=0.0)
    a = left.at(stop[0] - 1, (start[1] + stop[1]) / 2, stop[2])
    b = right.at(t, y + 0.5, x)
    ax.annotate(
        "", xy=b, xytext=a, zorder=top + 1,
        arrowprops={"arrowstyle": "-|>", "color": VERMILION, "lw": 1.2, "connectionstyle": "arc3,rad=-0.12"},
    )  # fmt: skip
    low = -H - 0.12 * H
    for cards, count, y_low in ((left, T, -H), (right, To, -Ho)):
        for i in range(count):
            x0, y0 = cards.at(i, -y_low, 0)
            ax.text(x0, y0 - 0.05 * H, f"{i}", fontsize=8, color=FAINT, ha="left", va="top")
    middle = left.at(0, 0, 0)[0] + span / 2
    ax.text(middle, low - 0.09 * H, f"film  {T} × {H} × {W}", ha="center", va="top", fontsize=10)
    kernel_text = " × ".join(map(str, kernel))
    ax.text(
        (span + room + end) / 2,
        low - 0.09 * H,
        f"output  {To} × {Ho} × {Wo}",
        ha="center",
        va="top",
        fontsize=10,
    )
    seen = f"kernel {kernel_text}: frames {start[0]} … {stop[0] - 1}"
    ax.text(middle, 0.20 * W + 0.10 * H, seen, color=VERMILION, ha="center", va="bottom", fontsize=10)
    ax.set(xlim=(-0.3, end + 0.3), ylim=(low - 0.28 * H, 0.20 * W + 0.26 * H), aspect="equal")
    ax.set_axis_off()
    if title:
        ax.set_title(title)
    return fig


@house_style()
def space_time_cube(
    frames: Any, *, cut: tuple[int, int] | None = None, title: str | None = None, width: float = 5.0
) -> Figure:
    """A film as one solid block: a frame in front, time running back, motion as slanted lines on its sides.

    Args:
        frames: (T, H, W). The front is the first frame; the top shows row ``cut[0]`` of every frame, the
            right side column ``cut[1]``. By default the block is cut at its top row and its last column.
    """
    film = to_numpy(frames, "frames", 3)
    T, H, W = film.shape
    row, column = cut if cut is not None else (0, W - 1)
    if not (0 <= row < H and 0 <= column < W):
        raise ValueError(f"cut: ({row}, {column}) lies outside a frame of {H} x {W}")
    front, roof, side = film[0], film[::-1, row, :], film[:, :, column].T  # (H, W), (T, W), (H, T)
    if cut is not None:
        front, side = film[0, row:, : column + 1], film[:, row:, column].T
        roof = film[::-1, row, : column + 1]
    h, w = front.shape
    back = np.array([0.55, 0.42]) * max(H, W) / T * 1.15  # one frame back
    fig = new_figure(width, width * (h + T * back[1]) / (w + T * back[0]) + 0.5)
    ax = fig.add_subplot()
    low, high = float(film.min()), float(film.max())
    planes = [  # (picture, corner on the page, one column, one row)
        (front, (0.0, h), (1.0, 0.0), (0.0, -1.0)),
        (roof, (T * back[0], h + T * back[1]), (1.0, 0.0), (-back[0], -back[1])),
        (side, (w, h), tuple(back), (0.0, -1.0)),
    ]
    for picture, corner, across, down in planes:
        rows, columns = picture.shape
        lean = Affine2D(
            np.array([[across[0], down[0], corner[0]], [across[1], down[1], corner[1]], [0, 0, 1]])
        )
        image = ax.imshow(picture, cmap="gray", vmin=low, vmax=high, extent=(0, columns, rows, 0))
        image.set_transform(lean + ax.transData)
        outline = lean.transform([(0, 0), (columns, 0), (columns, rows), (0, rows)])
        ax.add_patch(Polygon(outline, fill=False, edgecolor=RULE, lw=0.8))
    end = np.array([w + T * back[0], T * back[1]])
    away = np.array([0.05, -0.05]) * max(h, w)
    ax.annotate(
        "", xy=end + away, xytext=np.array([w, 0.0]) + away,
        arrowprops={"arrowstyle": "-|>", "color": FAINT, "lw": 1},
    )  # fmt: skip
    label = np.array([w, 0.0]) + T * back / 2 + 2 * away
    ax.text(*label, f"time, {T} frames", color=FAINT, fontsize=9, ha="left", va="top")
    ax.text(w / 2, -0.03 * h, f"{w} pixels", color=FAINT, fontsize=9, ha="center", va="top")
    ax.text(-0.03 * w, h / 2, f"{h} pixels", color=FAINT, fontsize=9, ha="right", va="center", rotation=90)
    ax.set(xlim=(-0.12 * w, w + T * back[0] + 0.3 * w), ylim=(-0.14 * h, h + T * back[1] + 0.03 * h))
    ax.set_aspect("equal")
    ax.set_axis_off()
    if title:
        ax.set_title(title)
    return fig


@house_style()
def kernels(
    weight: Any, names: Sequence[str] | None = None, *, title: str | None = None, width: float | None = None
) -> Figure:
    """One column for each filter: its time steps from top to bottom, and below them its x-t cut.

    The x-t cut is one row of the filter, the one with the largest weights, at all its time steps: time runs
    downwards, so a filter that follows motion to the right is a line from the top left to the bottom right.
    Red is positive, blue negative, white zero; each filter is scaled by its own largest weight.

    Args:
        weight: (O, kt, kh, kw), one input channel.
        names: O strings, written above the columns.
    """
    w = to_numpy(weight, "weight", 4).astype(float)  # (O, kt, kh, kw)
    count, taps = w.shape[:2]
    if names is not None and len(names) != count:
        raise ValueError(f"names: {len(names)} of them for {count} filters")
    fig = new_figure(width or 0.95 * count + 0.9, 0.95 * (taps + 1) + 0.5)
    fig.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.03, hspace=0.03)
    axes = fig.subplots(taps + 1, count, squeeze=False)
    for o in range(count):
        bound = max(float(np.abs(w[o]).max()), 1e-12)
        strongest = int(np.square(w[o]).sum(axis=(0, 2)).argmax())
        for row, picture in enumerate([*w[o], w[o][:, strongest]]):  # kt images (kh, kw), then (kt, kw)
            ax = axes[row, o]
            ax.imshow(picture, cmap=SIGNED, vmin=-bound, vmax=bound)
            ax.set(xticks=[], yticks=[])
            for spine in ax.spines.values():
                spine.set(visible=True, color=RULE)
            if o == 0:
                label = f"frame {row - taps // 2:+d}" if row < taps else "x–t cut"
                label = label.replace("+0", "0").replace("-", "−")
                ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
        if names is not None:
            axes[0, o].set_title(names[o], fontsize=9, loc="center", pad=4)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


LETTER_COLORS = {
    "R": VERMILION,
    "G": GREEN,
    "B": BLUE,
}  # red, green and blue, as color-blind readers see them too


@house_style()
def memory_layout(
    walks: Mapping[str, Any],
    memory: Sequence[str],
    *,
    width: float = 10.0,
) -> Figure:
    """Which place of memory a tensor visits at each step, one panel a tensor.

    Along the top lies the memory, place 0 at the left. Every row below is one step of the walk: the cell
    under the place that is visited is filled in the color of what is stored there.

    Args:
        walks: name -> whole numbers of the tensor's own shape, the place of each of its elements. The walk
            goes through them with the last index fastest; bands mark the entries of the first axis.
        memory: a letter for each place: what is stored there.

    Raises:
        ValueError: nothing to draw, or a place outside the memory.
    """
    if not walks or not len(memory):
        raise ValueError(f"walks: {len(walks)}, memory: {len(memory)} places; expected at least one of each")
    kinds = list(dict.fromkeys(memory))
    colors = {kind: LETTER_COLORS.get(kind, PALETTE[i % len(PALETTE)]) for i, kind in enumerate(kinds)}
    places = {name: to_numpy(walk, f"walks[{name!r}]", (1, 2, 3, 4, 5)) for name, walk in walks.items()}
    for name, walk in places.items():
        if walk.min() < 0 or walk.max() >= len(memory):
            raise ValueError(f"walks[{name!r}]: goes to {walk.max()}, expected 0 to {len(memory) - 1}")
    steps, cells = max(walk.size for walk in places.values()), len(memory)
    side = width / len(places)
    fig = new_figure(width, side * (steps + 3.5) / (cells + 2.5) + 0.55)
    axes = fig.subplots(1, len(places), squeeze=False)[0]
    for ax, (name, walk) in zip(axes, places.items(), strict=True):
        size = walk.size // len(walk)
        for g in range(len(walk)):
            face = PAPER if g % 2 == 0 else "white"
            ax.add_patch(Rectangle((0, g * size), cells, size, facecolor=face, edgecolor=RULE, lw=0.8))
            ax.text(cells + 0.4, (g + 0.5) * size, f"[{g}]", fontsize=8, color=FAINT, va="center")
        for place, kind in enumerate(memory):
            ax.add_patch(Rectangle((place, -1.9), 1, 1.2, facecolor=colors[kind], edgecolor="white", lw=0.6))
            ax.text(
                place + 0.5, -1.3, kind, ha="center", va="center", fontsize=6, color="white", weight="bold"
            )
        for step, place in enumerate(walk.ravel()):
            kind = memory[int(place)]
            ax.add_patch(
                Rectangle(
                    (place, step), 1, 1, facecolor=colors[kind], edgecolor="white", lw=0.6, label="step"
                )
            )
        for place in range(0, cells, 4):
            ax.text(place + 0.5, -2.2, f"{place}", ha="center", va="bottom", fontsize=7, color=FAINT)
        ax.set(xlim=(-0.3, cells + 2.6), ylim=(steps + 0.3, -3.4), aspect="equal", xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.set_title(name, fontsize=10, color=INK)
    axes[0].set_ylabel("step of the walk, downwards", fontsize=9)
    return fig
