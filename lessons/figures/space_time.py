"""A film as a block of space and time, and a kernel sliding through it."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.transforms import Affine2D

from lessons.figures.style import FAINT, RULE, VERMILION, house_style, new_figure, to_numpy

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
