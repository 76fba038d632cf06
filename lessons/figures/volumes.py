"""A clip as a volume of space and time: slices, convolution kernels, and its layout in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
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
    as_clip,
    at_least,
    finish,
    frame_axes,
    gray_scale,
    house_style,
    listed,
    new_figure,
    plural,
    to_numpy,
    write,
)


@house_style()
def space_time_slices(
    frames: Any, t: int, row: int, column: int, *, title: str | None = None, width: float = 8.0
) -> Figure:
    """A frame, below it one row of all frames (x-t slice), to its right one column of all frames (y-t slice).

    The x axis of the frame continues in the slice below it, the y axis in the slice beside it. A slice and
    the line where it was cut have one color: orange the row, blue the column, green the time.

    Args:
        frames: (T, H, W) gray or (T, H, W, 3) RGB; uint8 as it is, floats from the darkest to the brightest.
        t, row, column: where to cut.
    """
    clip = as_clip(frames, "frames")
    T, H, W = clip.shape[:3]
    if not (0 <= t < T and 0 <= row < H and 0 <= column < W):
        raise ValueError(f"cut: t={t}, row={row}, column={column} lies outside the clip, {T} x {H} x {W}")
    if clip.dtype != np.uint8:
        clip = (clip - clip.min()) / max(float(np.ptp(clip)), 1e-12)
    top = 255 if clip.dtype == np.uint8 else 1.0
    fig = new_figure(width, width * (H + T) / (W + T) + 0.5)
    axes = fig.subplots(2, 2, width_ratios=(W, T), height_ratios=(H, T))
    (frame, right), (below, empty) = axes
    line = {"lw": 1.3, "ls": (0, (5, 3))}
    frame.axhline(row, color=VERMILION, **line)
    frame.axvline(column, color=BLUE, **line)
    below.axhline(t, color=GREEN, **line)
    right.axvline(t, color=GREEN, **line)
    for ax, pixels, color, name in (
        (frame, clip[t], GREEN, f"frame {t}"),  # (H, W)
        (below, clip[:, row], VERMILION, f"x–t slice: row {row}"),  # (T, W)
        (right, clip[:, :, column].swapaxes(0, 1), BLUE, f"y–t slice: column {column}"),  # (H, T)
    ):
        ax.imshow(pixels, cmap="gray", vmin=0, vmax=top, aspect="auto")
        ax.spines[:].set(visible=True, color=color, linewidth=1.6)
        ax.set_title(name, color=color)
    frame.set(ylabel="row y", xlabel="column x")
    below.set(ylabel="frame t", xlabel="column x")
    right.set(xlabel="frame t")
    empty.set_axis_off()
    alt = f"Frame {t} of {T}; below it row {row} of every frame, beside it column {column} of every frame."
    return finish(fig, alt, title)


# Where one step in x, in y and in t goes on the page: a card seen at an angle, the cards standing in a row.
ALONG_X = np.array([0.44, 0.20])
ALONG_Y = np.array([0.0, -1.0])


def _show_leaning(ax: Axes, frame: np.ndarray, corner: Any, across: Any, down: Any, **style: Any) -> Affine2D:
    """Draw a frame as a parallelogram: its corner, one column and one row on the page."""
    height, width = frame.shape
    lean = Affine2D(np.array([[across[0], down[0], corner[0]], [across[1], down[1], corner[1]], [0, 0, 1]]))
    ax.imshow(frame, extent=(0, width, height, 0), **style).set_transform(lean + ax.transData)
    return lean


class _Cards:
    """Frames standing one behind the other; turns (t, y, x) into a point on the page."""

    def __init__(self, ax: Axes, origin: tuple[float, float], gap: float):
        self.ax, self.origin, self.along_t = ax, np.array(origin), np.array([gap, 0.0])

    def at(self, t: float, y: float, x: float) -> np.ndarray:
        return self.origin + t * self.along_t + y * ALONG_Y + x * ALONG_X

    def rectangle(self, t: float, y: tuple[float, float], x: tuple[float, float]) -> list[np.ndarray]:
        return [self.at(t, *corner) for corner in ((y[0], x[0]), (y[0], x[1]), (y[1], x[1]), (y[1], x[0]))]

    def draw(self, frames: np.ndarray, bright: range, **look: Any) -> None:
        """All frames with their numbers; those outside ``bright`` are pale."""
        _, height, width = frames.shape
        for t, frame in enumerate(frames):
            _show_leaning(self.ax, frame, self.at(t, 0, 0), ALONG_X, ALONG_Y, zorder=2 * t, **look)
            dim = t not in bright
            self.ax.add_patch(
                Polygon(
                    self.rectangle(t, (0, height), (0, width)), facecolor=(1, 1, 1, 0.62 if dim else 0),
                    edgecolor=RULE if dim else FAINT, lw=0.8, zorder=2 * t,
                )
            )  # fmt: skip

    def number(self, count: int, height: float, below: float) -> None:
        for t in range(count):
            x, y = self.at(t, height, 0)
            self.ax.text(x, y - below, f"{t}", fontsize=8, color=FAINT, ha="left", va="top")

    def outline(self, t: range, y: tuple[int, int], x: tuple[int, int], top: int, tint: float) -> None:
        """Outline the same window on every card of ``t`` and join its corners through time."""
        for i in t:
            face, window = to_rgba(VERMILION, tint), self.rectangle(i, y, x)
            self.ax.add_patch(Polygon(window, facecolor=face, edgecolor=VERMILION, lw=1.6, zorder=2 * i + 1))
        for a, b in zip(self.rectangle(t[0], y, x), self.rectangle(t[-1], y, x), strict=True):
            self.ax.plot([a[0], b[0]], [a[1], b[1]], color=VERMILION, lw=0.9, alpha=0.8, zorder=top)


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
    """A 3D convolution at one position: the kernel's window in the clip, and the output value it gives.

    Args:
        frames: (T, H, W) the clip; if the convolution pads, pad it before.
        output: (T', H', W') what the convolution makes of it.
        kernel: (kt, kh, kw) the kernel's size.
        position: (t, y, x) of the output value to point at.
        stride: (st, sh, sw) of the convolution.
    """
    clip, out = to_numpy(frames, "frames", 3), to_numpy(output, "output", 3)
    start, stop = _window(clip, out, kernel, position, stride)
    (T, H, W), (To, Ho, Wo) = clip.shape, out.shape
    gap = 0.50 * W
    span = (T - 1) * gap + ALONG_X[0] * W
    room = 0.5 * W
    end = span + room + (To - 1) * gap * Wo / W + ALONG_X[0] * Wo
    fig = new_figure(width, 0.35 + width * (1.45 * H + 0.2 * W) / end)
    ax = fig.add_subplot()
    left = _Cards(ax, (0.0, 0.0), gap)
    right = _Cards(ax, (span + room, -(H - Ho) / 2), gap * Wo / W)
    top = 2 * max(T, To) + 2
    t, y, x = position
    left.draw(clip, range(start[0], stop[0]), **_floats(clip))
    left.outline(range(start[0], stop[0]), (start[1], stop[1]), (start[2], stop[2]), top, tint=0.2)
    bound = max(float(np.abs(out).max()), 1e-12)
    right.draw(out, range(t, t + 1), cmap=SIGNED, vmin=-bound, vmax=bound)
    right.outline(range(t, t + 1), (y, y + 1), (x, x + 1), top, tint=0.0)
    arrow = {"arrowstyle": "-|>", "color": VERMILION, "lw": 1.2, "connectionstyle": "arc3,rad=-0.12"}
    tail, head = left.at(stop[0] - 1, (start[1] + stop[1]) / 2, stop[2]), right.at(t, y + 0.5, x)
    ax.annotate("", xy=head, xytext=tail, zorder=top + 1, arrowprops=arrow)
    left.number(T, H, 0.05 * H)
    right.number(To, Ho, 0.05 * H)
    low, middle = -1.12 * H, span / 2
    write(ax, middle, low - 0.09 * H, f"clip  {T} × {H} × {W}", va="top")
    write(ax, (span + room + end) / 2, low - 0.09 * H, f"output  {To} × {Ho} × {Wo}", va="top")
    seen = f"kernel {' × '.join(map(str, kernel))}: frames {start[0]} … {stop[0] - 1}"
    write(ax, middle, 0.20 * W + 0.10 * H, seen, color=VERMILION, va="bottom")
    ax.set(xlim=(-0.3, end + 0.3), ylim=(low - 0.28 * H, 0.20 * W + 0.26 * H), aspect="equal")
    ax.set_axis_off()
    alt = f"A {T} × {H} × {W} clip and the {To} × {Ho} × {Wo} output; {seen} give {tuple(position)}."
    return finish(fig, alt, title, ax)


def _window(clip: np.ndarray, out: np.ndarray, kernel, position, stride) -> tuple[list[int], list[int]]:
    """Where the kernel's window in the clip starts and stops, or a ValueError when that is outside."""
    if any(not 0 <= p < size for p, size in zip(position, out.shape, strict=True)):
        raise ValueError(f"position: {tuple(position)} lies outside the output, {out.shape}")
    start = [p * s for p, s in zip(position, stride, strict=True)]
    stop = [a + k for a, k in zip(start, kernel, strict=True)]
    if any(b > size for b, size in zip(stop, clip.shape, strict=True)):
        raise ValueError(f"position: the window ends at {tuple(stop)}, outside the clip, {clip.shape}")
    return start, stop


def _floats(clip: np.ndarray) -> dict[str, Any]:
    """Gray from the darkest to the brightest, of bytes too."""
    return gray_scale(clip.astype(float))


@house_style()
def space_time_cube(
    frames: Any, *, cut: tuple[int, int] | None = None, title: str | None = None, width: float = 5.0
) -> Figure:
    """A clip as one solid block: a frame in front, time running back, motion as slanted lines on its sides.

    Args:
        frames: (T, H, W). The front is the first frame; the top shows row ``cut[0]`` of every frame, the
            right side column ``cut[1]``. By default the block is cut at its top row and its last column.
    """
    clip = to_numpy(frames, "frames", 3)
    T, H, W = clip.shape
    row, column = cut if cut is not None else (0, W - 1)
    if not (0 <= row < H and 0 <= column < W):
        raise ValueError(f"cut: ({row}, {column}) lies outside a frame of {H} x {W}")
    seen = clip[:, row:, : column + 1]  # (T, h, w)
    _, h, w = seen.shape
    front, roof, side = seen[0], seen[::-1, 0], seen[:, :, -1].T  # (h, w), (T, w), (h, T)
    back = np.array([0.55, 0.42]) * max(H, W) / T * 1.15  # one frame back
    fig = new_figure(width, width * (h + T * back[1]) / (w + T * back[0]) + 0.5)
    ax = fig.add_subplot()
    for face, corner, across, down in (
        (front, (0.0, h), (1.0, 0.0), (0.0, -1.0)),
        (roof, (T * back[0], h + T * back[1]), (1.0, 0.0), -back),
        (side, (w, h), back, (0.0, -1.0)),
    ):
        lean = _show_leaning(ax, face, corner, across, down, **_floats(clip))
        rows, columns = face.shape
        outline = lean.transform([(0, 0), (columns, 0), (columns, rows), (0, rows)])
        ax.add_patch(Polygon(outline, fill=False, edgecolor=RULE, lw=0.8))
    away = np.array([0.05, -0.05]) * max(h, w)
    near, far = np.array([w, 0.0]) + away, np.array([w, 0.0]) + T * back + away
    ax.annotate("", xy=far, xytext=near, arrowprops={"arrowstyle": "-|>", "color": FAINT, "lw": 1})
    label = {"color": FAINT, "fontsize": 9}
    ax.text(*(near + far) / 2 + away, f"time, {T} frames", ha="left", va="top", **label)
    write(ax, w / 2, -0.03 * h, f"{w} pixels", va="top", **label)
    write(ax, -0.03 * w, h / 2, f"{h} pixels", ha="right", rotation=90, **label)
    ax.set(xlim=(-0.12 * w, w + T * back[0] + 0.3 * w), ylim=(-0.14 * h, h + T * back[1] + 0.03 * h))
    ax.set_aspect("equal")
    ax.set_axis_off()
    alt = f"A clip as a block: a frame of {h} × {w} pixels in front, {T} frames running back."
    return finish(fig, alt, title, ax)


@house_style()
def kernels(
    weight: Any, names: Sequence[str] | None = None, *, title: str | None = None, width: float | None = None
) -> Figure:
    """Filters of a 3D convolution: a column per filter, its time steps downwards, then its x-t slice.

    The x-t slice is one row of the filter, the one with the largest weights, at all its time steps: time runs
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
        for ax, image in zip(axes[:, o], [*w[o], w[o][:, strongest]], strict=True):  # kt (kh, kw), (kt, kw)
            ax.imshow(image, cmap=SIGNED, vmin=-bound, vmax=bound)
            frame_axes(ax)
        if names is not None:
            axes[0, o].set_title(names[o], fontsize=9, loc="center", pad=4)
    for row, ax in enumerate(axes[:, 0]):
        label = f"frame {row - taps // 2:+d}" if row < taps else "x–t slice"
        label = label.replace("+0", "0").replace("-", "−")
        ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    called = f": {listed(names)}" if names else ""
    size = " × ".join(map(str, w.shape[1:]))
    return finish(fig, f"{plural(count, 'filter')} of {size} weights, frame by frame{called}.", title)


LETTER_COLORS = {
    "R": VERMILION,
    "G": GREEN,
    "B": BLUE,
}  # red, green, blue, as color-blind readers see them too


@house_style()
def memory_layout(walks: Mapping[str, Any], memory: Sequence[str], *, width: float = 10.0) -> Figure:
    """Which memory address holds each element of a tensor, in the order of its indices: one panel per tensor.

    Along the top lies the memory, address 0 at the left. Every row below is one element of the tensor: the
    cell under its address is filled in the color of what is stored there.

    Args:
        walks: name -> integers of the tensor's own shape, the address of each of its elements. The rows
            go through them with the last index fastest; bands mark the entries of the first axis.
        memory: a letter per address: what is stored there.
    """
    if not walks or not len(memory):
        raise ValueError(f"walks: {len(walks)}, memory: {len(memory)} places; expected at least one of each")
    kinds = list(dict.fromkeys(memory))
    colors = {kind: LETTER_COLORS.get(kind, PALETTE[i % len(PALETTE)]) for i, kind in enumerate(kinds)}
    addresses = {name: to_numpy(walk, f"walks[{name!r}]", (1, 2, 3, 4, 5)) for name, walk in walks.items()}
    for name, walk in addresses.items():
        if walk.min() < 0 or walk.max() >= len(memory):
            raise ValueError(f"walks[{name!r}]: goes to {walk.max()}, expected 0 to {len(memory) - 1}")
    steps, cells = max(walk.size for walk in addresses.values()), len(memory)
    fig = new_figure(width, width / len(addresses) * (steps + 3.5) / (cells + 2.5) + 0.55)
    axes = fig.subplots(1, len(addresses), squeeze=False)[0]
    for ax, (name, walk) in zip(axes, addresses.items(), strict=True):
        size = walk.size // len(walk)
        for g in range(len(walk)):
            face = PAPER if g % 2 == 0 else "white"
            ax.add_patch(Rectangle((0, g * size), cells, size, facecolor=face, edgecolor=RULE, lw=0.8))
            ax.text(cells + 0.4, (g + 0.5) * size, f"[{g}]", fontsize=8, color=FAINT, va="center")
        edge = {"edgecolor": "white", "lw": 0.6}
        for place, kind in enumerate(memory):
            ax.add_patch(Rectangle((place, -1.9), 1, 1.2, facecolor=colors[kind], **edge))
            write(ax, place + 0.5, -1.3, kind, fontsize=6, color="white", weight="bold")
        for step, place in enumerate(walk.ravel()):
            color = colors[memory[int(place)]]
            ax.add_patch(Rectangle((place, step), 1, 1, facecolor=color, label="step", **edge))
        for place in range(0, cells, 4):
            write(ax, place + 0.5, -2.2, f"{place}", va="bottom", fontsize=7, color=FAINT)
        ax.set(xlim=(-0.3, cells + 2.6), ylim=(steps + 0.3, -3.4), aspect="equal", xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        ax.set_title(name, fontsize=10, color=INK)
    axes[0].set_ylabel("elements in order, downwards", fontsize=9)
    orders = [f"{name} {listed(walk.ravel(), 6)}" for name, walk in addresses.items()]
    return finish(fig, f"Order in which tensors visit {cells} addresses of memory; {'; '.join(orders)}.")


@house_style()
def direction_tuning(
    responses: Mapping[str, Any], *, title: str | None = None, width: float | None = None
) -> Figure:
    """Direction tuning curves: the response of filters to motion in each direction, as polar plots.

    The angle is the direction in which the texture moves, to the right at 0° and up at 90°; the radius is the
    response, relative to the filter's largest one.

    Args:
        responses: name -> (N,) responses, at least 0, to N directions evenly spaced from 0° counterclockwise.
    """
    if not responses:
        raise ValueError("responses: expected at least one filter, found none")
    fig = new_figure(width or 2.6 * len(responses), 2.9)
    axes = fig.subplots(1, len(responses), squeeze=False, subplot_kw={"projection": "polar"})[0]
    strongest = []
    for ax, (name, values) in zip(axes, responses.items(), strict=True):
        r = at_least(to_numpy(values, f"responses[{name!r}]", 1).astype(float), 0, f"responses[{name!r}]")
        r = r / max(float(r.max()), 1e-12)
        angles = np.arange(len(r)) * 2 * np.pi / len(r)
        ax.plot(np.append(angles, angles[0]), np.append(r, r[0]), color=BLUE, marker="o", markersize=4)
        ax.fill(angles, r, color=BLUE, alpha=0.15)
        ax.set_xticks(np.arange(0, 2 * np.pi, np.pi / 2), ["right", "up", "left", "down"], fontsize=8)
        ax.set_yticks([0.5, 1.0], ["", ""])
        ax.set_ylim(0, 1.08)
        ax.grid(color=RULE, lw=0.7)
        ax.spines["polar"].set_color(RULE)
        ax.set_title(name, loc="center", fontsize=9, pad=8)
        strongest.append(f"{name} at {round(float(np.degrees(angles[int(r.argmax())])))}°")
    alt = f"Response to motion in each direction, as polar plots; strongest: {listed(strongest)}."
    return finish(fig, alt, title)
