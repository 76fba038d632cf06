"""A drawn mouth: what the lower half of a face looks like in every frame.

All lengths are in units of half the crop's width (the height of a crop that is twice as wide as high), x to
the right, y down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lessons.data.synthetic.speaker import Speaker
from lessons.data.synthetic.visemes import SHAPE

LUMA = np.array([[0.299], [0.587], [0.114]], np.float32)  # (3, 1): gray from red, green, blue (ITU-R BT.601)
SMALLEST = (12, 24)  # below it a closed and an open mouth are the same few pixels

GAP = 0.27  # widest gap between the lips
TOOTH = 0.12  # length of an upper tooth
EDGE = 0.022  # how soft an edge is, unless a pixel is larger
TONGUE = (196.0, 108.0, 112.0)  # before it is mixed with the tone of the lips
SWAY = np.array([1.0, 0.8, 1.5, 0.8], np.float32)  # of x, y, roll, scale, against each other


@dataclass(frozen=True)
class Edge:
    """Where, going down the face, one color turns into the next.

    y: (T, W) height of the edge in every column of every frame.
    softness: (T, W) or a number; over how long a way the colors blend.
    step: what the color changes by, (C,) or (T, W, C).
    """

    y: np.ndarray
    softness: np.ndarray | float
    step: np.ndarray


def drift(n_frames: int, sway: float, rng: np.random.Generator) -> np.ndarray:
    """Return (4, n_frames) float32: how a head's x, y, roll and log scale wander, by two slow waves each."""
    period = rng.uniform(35, 150, (4, 2, 1))  # frames: 1.4 to 6 seconds
    phase = rng.uniform(0, 2 * np.pi, (4, 2, 1))
    waves = np.sin(2 * np.pi * np.arange(n_frames) / period + phase).sum(axis=1)  # (4, 2, T) -> (4, T)
    return (0.012 * sway * SWAY[:, None] * waves).astype(np.float32)


def mouth_edges(
    shapes: np.ndarray, speaker: Speaker, x: np.ndarray, y: np.ndarray, size: np.ndarray, palette: dict
) -> list[Edge]:
    """Return the edges of lips, teeth, tongue and chin, from the top down.

    Args:
        shapes: (T, 8), the columns of ``SHAPE``.
        speaker: who speaks.
        x: (T, W) horizontal place of each column against the middle of the mouth, of a head of size 1.
        y: (T, W) height of the middle of the mouth in each column.
        size: (T, 1) of the head.
        palette: colors (C,) by name.
    """
    opening, width, rounding, upper, lower, tongue, out, tuck = shapes.T[:, :, None]  # each (T, 1)
    press = np.clip(-opening, 0, 0.5)
    u = x / (speaker.half_width * width)  # -1 and 1 at the corners
    lens = np.clip(1 - u**2, 0, 1)  # 1 in the middle, 0 at the corners
    inside = np.clip(1 - (u / 0.9) ** 2, 1e-6, 1) ** (0.85 - 0.35 * rounding)  # rounder lips, rounder gap

    # Heights, from the line where the closed lips meet.
    line = y + size * (speaker.corners * u**2 - 0.012 * np.exp(-((u / 0.25) ** 2)))
    gap = size * (GAP * speaker.jaw * np.clip(opening, 0, None) * inside + 0.012 * lens)
    full = size * (1 + 0.3 * rounding) * (1 - press)
    dip = 1 - speaker.bow * np.exp(-((u / 0.14) ** 2))
    inner_top = line - 0.3 * gap
    inner_low = line + 0.7 * gap
    outer_top = inner_top - full * speaker.upper_lip * dip * lens**0.9
    outer_low = inner_low + full * (1 - 0.45 * tuck) * speaker.lower_lip * lens**0.7
    teeth_end = inner_top + np.minimum(upper * gap, size * TOOTH)
    tip = np.exp(-((u / (0.5 + 0.4 * out)) ** 2))  # of the tongue; broad when it is out
    lower_teeth = np.maximum(teeth_end, inner_low - lower * gap)
    tongue_top = np.clip(inner_low - tongue * gap * tip, teeth_end, lower_teeth)
    lip_shows = inner_low + size * 0.045 * out * tip * inside  # the tip of the tongue lies on the lower lip

    # Colors. Teeth have gaps and turn away from the light toward the corners.
    gaps = 0.5 + 0.5 * np.cos(2 * np.pi * x / 0.085)
    tooth = (1 - 0.22 * gaps**6 - 0.3 * np.clip(x / 0.35, -1, 1) ** 2)[..., None] * palette["teeth"]
    skin, lips, dark, tongue_color = (palette[name] for name in ("skin", "lips", "dark", "tongue"))
    groove = np.exp(-((x / 0.05) ** 2)) - 0.6 * np.exp(-(((np.abs(x) - 0.085) / 0.035) ** 2))
    philtrum = -0.07 * groove[..., None] * skin
    soft = EDGE
    top_lip, low_lip = inner_top - outer_top, outer_low - lip_shows  # how much shows of each
    shadow = 0.16 * (lens**0.5)[..., None] * skin
    return [
        Edge(outer_top - size * 0.1, 0.2, philtrum),
        Edge(outer_top, soft, 1.04 * lips - skin - philtrum),
        # the upper lip looks down, away from the light
        Edge(outer_top + 0.5 * top_lip, np.maximum(top_lip, soft), -0.22 * lips),
        Edge(inner_top, soft, tooth - 0.82 * lips),
        Edge(teeth_end, soft, dark - tooth),
        Edge(tongue_top, soft, tongue_color - dark),
        Edge(lower_teeth, soft, 0.86 * tooth - tongue_color),
        Edge(inner_low, soft, tongue_color - 0.86 * tooth),
        Edge(lip_shows, soft, 0.74 * lips - tongue_color),
        # the lower lip looks up and shines
        Edge(lip_shows + 0.25 * low_lip, np.maximum(0.5 * low_lip, soft), 0.4 * lips),
        Edge(lip_shows + 0.75 * low_lip, np.maximum(0.5 * low_lip, soft), -0.2 * lips),
        Edge(outer_low, soft, skin - shadow - 0.94 * lips),
        Edge(outer_low + size * 0.07, 0.14, shadow),  # the lower lip's shadow fades on the chin
    ]


def mouth_points(shapes: np.ndarray, speaker: Speaker) -> np.ndarray:
    """Return where the nine points of a drawn mouth are, (T, 9, 2) x and y: ``lessons.data.motions.POINTS``.

    Exactly where :func:`mouth_edges` draws them, of a head that is held still.

    Args:
        shapes: (T, 8), the columns of ``SHAPE``.
        speaker: who speaks.
    """
    opening, width, rounding = shapes[:, :3].T[:, :, None]  # each (T, 1)
    u = np.array([-1.0, 1.0, 0.0, 0.0, 0.0, 0.5, -0.5, 0.5, -0.5])  # of each point; -1 and 1 at the corners
    inside = np.clip(1 - (u / 0.9) ** 2, 1e-6, 1) ** (0.85 - 0.35 * rounding)  # (T, 9)
    line = speaker.corners * u**2 - 0.012 * np.exp(-((u / 0.25) ** 2))  # (9,)
    gap = GAP * speaker.jaw * np.clip(opening, 0, None) * inside + 0.012 * (1 - u**2)  # (T, 9)
    below = np.array([0.0, 0.0, -0.3, 0.7, 0.0, -0.3, -0.3, 0.7, 0.7])  # upper lips rise, lower lips fall
    y = line + below * gap  # (T, 9)
    y[:, 4] = speaker.chin + 0.6 * GAP * speaker.jaw * np.clip(shapes[:, 0], 0, None)
    return np.stack((u * speaker.half_width * width, y), axis=2)  # (T, 9, 2)


def face_edge(speaker: Speaker, x: np.ndarray, y: np.ndarray, jaw: np.ndarray, palette: dict) -> Edge:
    """Return the edge between chin and background; the chin goes down with the jaw, (T, 1)."""
    across = np.clip(1 - (x / speaker.face_width) ** 2, 0, 1)  # (T, W)
    end = y - 0.5 + (speaker.chin + 0.5 + jaw) * across**0.6
    return Edge(end, 0.06, palette["background"] - palette["skin"])


def colors(speaker: Speaker, mix: np.ndarray) -> dict[str, np.ndarray]:
    """Return the colors (C,) of all that is drawn, in the speaker's light; ``mix`` (3, C) takes RGB to C."""
    lit = speaker.light * (1 + speaker.warmth * np.array([1, 0, -1], np.float32))
    palette = {
        "skin": np.array(speaker.skin),
        "lips": np.array(speaker.lips),
        "teeth": np.array(speaker.teeth),
        "background": np.array(speaker.background),
        "dark": 0.16 * np.array(speaker.lips),
        "tongue": 0.4 * np.array(speaker.lips) + 0.6 * np.array(TONGUE),
    }
    return {name: ((lit * rgb) @ mix).astype(np.float32) for name, rgb in palette.items()}


def render(
    shapes: np.ndarray,
    speaker: Speaker,
    size: tuple[int, int] = (32, 64),
    color: bool = False,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Draw a mouth for every row of ``shapes``.

    A face, column by column, is a stack of soft edges: skin turns into upper lip, lip into teeth, teeth into
    dark, and so on. Each edge adds its change of color, weighted by a ramp from 0 above it to 1 below it.
    Gray frames add changes of luma instead of three colors: the same picture, as luma is a weighted sum.

    Args:
        shapes: (T, 8), what each frame's mouth looks like, in the order of ``visemes.SHAPE``.
        speaker: whose mouth.
        size: (height, width) in pixels, at least 12 by 24, no higher than wide. Made for width = 2 height.
        color: RGB instead of gray.
        rng: moves the head and adds the camera's noise; None holds the head still and the picture clean.

    Returns:
        (T, H, W) uint8, or (T, H, W, 3) with ``color``.

    Raises:
        ValueError: shapes that are not (T, 8) or not finite, or a size out of range.
    """
    shapes = np.asarray(shapes, np.float32)
    if shapes.ndim != 2 or shapes.shape[1] != len(SHAPE) or not len(shapes):
        raise ValueError(f"shapes: {shapes.shape}, expected (T, {len(SHAPE)}), T from 1: {', '.join(SHAPE)}")
    if not np.isfinite(shapes).all():
        raise ValueError("shapes: has NaN or infinite entries, expected finite numbers")
    height, width = size
    if height < SMALLEST[0] or width < SMALLEST[1] or height > width:
        raise ValueError(f"size: {size}, expected (height, width), at least {SMALLEST}, no higher than wide")
    n_frames, unit = len(shapes), width / 2
    pixel = np.float32(1 / unit)

    palette = colors(speaker, np.eye(3, dtype=np.float32) if color else LUMA)
    moved = np.zeros((4, n_frames), np.float32) if rng is None else drift(n_frames, speaker.sway, rng)
    dx, dy, roll, log_scale = moved[:, :, None]  # each (T, 1)
    scale = np.exp(log_scale)
    columns = (np.arange(width, dtype=np.float32) + 0.5) * pixel - 1  # (W,) from -1 to 1
    rows = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) * pixel  # (H,)
    across = columns - speaker.place[0] - dx  # (T, W)
    # A tilt this small (6 degrees at most) is a shear: a column's y moves with its x.
    middle = speaker.place[1] + dy + (speaker.roll + roll) * across  # (T, W)
    edges = mouth_edges(shapes, speaker, across / scale, middle, scale, palette)
    jaw = 0.6 * GAP * speaker.jaw * np.clip(shapes[:, :1], 0, None)
    edges.append(face_edge(speaker, across / scale, middle, jaw, palette))

    video = stack(edges, palette["skin"], rows, pixel)  # (C, H, T, W)
    light = (1 + speaker.light_y * 2 * rows[:, None]) * (1 + speaker.light_x * columns)  # (H, W)
    video *= light[:, None]
    video += 0.5  # so that cutting off decimals rounds to the nearest integer
    if rng is not None:  # uniform noise of the same standard deviation: much faster than normal noise
        noise = rng.random(video.shape[1:], dtype=np.float32)  # (H, T, W), standard deviation 1 / sqrt(12)
        noise -= 0.5
        noise *= speaker.noise * 12**0.5
        video += noise
    frames = np.clip(video, 0, 255, out=video).astype(np.uint8).transpose(2, 1, 3, 0)  # (T, H, W, C)
    return np.ascontiguousarray(frames if color else frames[..., 0])


def stack(edges: list[Edge], top: np.ndarray, rows: np.ndarray, pixel: float) -> np.ndarray:
    """Return (C, H, T, W) float32: the color ``top`` (C,), changed at every edge by its step.

    No edge is sharper than a pixel, which is what keeps thin things smooth when they move. Two things make it
    fast: rows come first, so that numpy works through T * W numbers at a stretch; and an edge is a ramp only
    in the rows that it crosses in some frame or column, above them nothing and below them its whole step.
    """
    n_frames, width = edges[0].y.shape
    video = np.empty((len(top), len(rows), n_frames, width), np.float32)
    video[:] = top[:, None, None, None]
    ramp, part = np.empty_like(video[0]), np.empty_like(video[0])  # (H, T, W): reused, as memory is the cost
    for edge in edges:
        softness = np.maximum(edge.softness, pixel)  # (T, W)
        first = np.searchsorted(rows, (edge.y - softness / 2).min())
        last = np.searchsorted(rows, (edge.y + softness / 2).max())
        slope = np.broadcast_to((1 / softness).astype(np.float32), edge.y.shape)  # (T, W)
        crossed, change = ramp[first:last], part[first:last]  # (rows crossed, T, W)
        np.multiply(rows[first:last, None, None], slope, out=crossed)
        crossed += 0.5 - edge.y * slope
        np.clip(crossed, 0, 1, out=crossed)
        step = np.broadcast_to(edge.step, (n_frames, width, len(top)))
        for c in range(len(top)):
            one = np.ascontiguousarray(step[:, :, c])  # (T, W)
            np.multiply(crossed, one, out=change)
            video[c, first:last] += change
            video[c, last:] += one
    return video
