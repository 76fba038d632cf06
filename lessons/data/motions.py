"""How a mouth moves, without how it looks: nine measures per frame that mean the same on every face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lessons.data.clips import SILENCES

# Of each frame, in usual widths of the mouth. "Outer" is the mean of two points, half of the way from the
# middle to the corners.
MEASURES = (
    "width",
    "upper lip, middle",
    "lower lip, middle",
    "upper lip, outer",
    "lower lip, outer",
    "upper lip, breadth",
    "lower lip, breadth",
    "chin",
    "height of the mouth",
)
# The points that they are taken from, in this order: the mouth's corners, the lips' inner edges, the chin.
POINTS = (
    "left corner",
    "right corner",
    "upper lip, middle",
    "lower lip, middle",
    "chin",
    "upper lip, right",
    "upper lip, left",
    "lower lip, right",
    "lower lip, left",
)
FRAMES = 75  # of a clip of GRID


@dataclass(frozen=True)
class Motion:
    """How a mouth moved through a sentence.

    Attributes:
        id, speaker, transcript: of the clip.
        segments: its words in time, as in :class:`lessons.data.clips.ClipSet`.
        start: the frame of the clip that the first row of ``measures`` belongs to.
        measures: (N, 9) float32, a row for each frame from the first word to the last.
    """

    id: str
    speaker: str
    transcript: str
    segments: tuple[tuple[float, float, str], ...]
    start: int
    measures: np.ndarray


def mouth_measures(points: np.ndarray) -> np.ndarray:
    """Return the nine ``MEASURES`` of each frame (N, 9) float32, free of place, tilt and size of the head.

    The clip's usual tilt of the line between the corners is turned level, each frame is centered between its
    corners, and lengths are counted in the clip's usual width of the mouth. "Usual" is the median.

    Args:
        points: (N, 9, 2) x to the right and y down of the nine ``POINTS``, in any unit.

    Raises:
        ValueError: points of another shape, or not finite.
    """
    if points.ndim != 3 or points.shape[1:] != (len(POINTS), 2) or not len(points):
        raise ValueError(f"points: {points.shape}, expected (N, {len(POINTS)}, 2), N from 1")
    if not np.isfinite(points).all():
        raise ValueError("points: NaN or infinity in them, expected finite numbers")
    points = points.astype(np.float64)
    corners = points[:, 1] - points[:, 0]  # (N, 2)
    # Angles from -pi to pi have no median where they wrap, so it is taken of their distances from the mean.
    mean = np.arctan2(*corners.sum(0)[::-1])
    away = np.arctan2(corners[:, 1], corners[:, 0]) - mean  # (N,)
    tilt = mean + np.median((away + np.pi) % (2 * np.pi) - np.pi)
    level = np.array([[np.cos(tilt), -np.sin(tilt)], [np.sin(tilt), np.cos(tilt)]])  # (x, y) @ level
    width = max(float(np.median(np.hypot(*corners.T))), 1e-6)
    points = points @ level / width  # (N, 9, 2)
    middle = (points[:, 0] + points[:, 1]) / 2  # (N, 2)
    x, y = np.moveaxis(points - middle[:, None], 2, 0)  # (N, 9) each
    columns = (
        x[:, 1] - x[:, 0],
        y[:, 2],
        y[:, 3],
        (y[:, 5] + y[:, 6]) / 2,
        (y[:, 7] + y[:, 8]) / 2,
        x[:, 5] - x[:, 6],
        x[:, 7] - x[:, 8],
        y[:, 4],
        middle[:, 1] - np.median(middle[:, 1]),
    )
    return np.stack(columns, axis=1).astype(np.float32)  # (N, 9)


def standardized(measures: np.ndarray) -> np.ndarray:
    """Give each measure mean 0 and standard deviation 1 over its clip: (T, 9) -> (T, 9).

    A measure that hardly moves stays near 0: 0.001 of a mouth's width is how well a landmark is known.
    """
    return (measures - measures.mean(0)) / (measures.std(0) + 1e-3)


def whole_clip(motion: Motion, rng: np.random.Generator, n_frames: int = FRAMES) -> np.ndarray:
    """Return the measures of a whole clip (n_frames, 9): silence before the first word and after the last.

    Silence is made up: over 3 to 8 frames the mouth goes to how it looks in its most closed frames, and
    jitters a little.

    Raises:
        ValueError: a clip that ends before the first word.
    """
    if n_frames <= motion.start:
        raise ValueError(
            f"n_frames={n_frames}: expected more, clip {motion.id} speaks from frame {motion.start}"
        )
    spoken = motion.measures[: n_frames - motion.start]  # (N, 9)
    start, end = motion.start, motion.start + len(spoken)
    opening = spoken[:, 2] - spoken[:, 1]  # (N,)
    closed = spoken[np.argsort(opening)[: max(1, len(spoken) // 5)]].mean(0)  # (9,)
    frame = np.arange(n_frames)
    away = np.maximum(np.maximum(start - frame, frame - end + 1), 0) / rng.integers(3, 9)  # (T,)
    silent = smooth_step(away.clip(0, 1))[:, None]  # (T, 1) 0 in words, 1 in silence
    measures = (1 - silent) * spoken[np.clip(frame - start, 0, len(spoken) - 1)] + silent * closed  # (T, 9)
    jitter = rng.normal(0, 0.06, measures.shape) * spoken.std(0)  # (T, 9)
    return (measures + np.where(away[:, None] > 0, jitter, 0)).astype(np.float32)


def smooth_step(x: np.ndarray) -> np.ndarray:
    """From 0 to 1 on 0 … 1, level at both ends."""
    return x * x * (3 - 2 * x)


def spoken_span(segments: tuple[tuple[float, float, str], ...]) -> tuple[float, float]:
    """The frames where the first word begins and the last one ends."""
    words = [(start, end) for start, end, word in segments if word not in SILENCES]
    return words[0][0], words[-1][1]


def warped_time(
    span: tuple[float, float],
    rng: np.random.Generator,
    length: int = FRAMES,
    n_frames: int = FRAMES,
    speed: float = 0.08,
    rhythm: float = 0.12,
    shift: float = 3.0,
) -> np.ndarray:
    """Another way to time the same sentence: which moment of a clip to show in each frame.

    No word is lost: a sentence is moved no further than it fits, and one slowed too much is slowed less.

    Args:
        span: where speech begins and ends, in frames.
        rng: generator of the random numbers.
        length: of the clip, in frames.
        n_frames: T, of what is shown; from 2.
        speed: standard deviation of the logarithm of the whole clip's speed.
        rhythm: the same of how the speed changes within it, at 7 moments.
        shift: the sentence comes up to this many frames earlier or later.

    Returns:
        (T,) float64, moments in frames that never fall, each from 0 to length - 1.

    Raises:
        ValueError: fewer than 2 frames to show.
    """
    if n_frames < 2:
        raise ValueError(f"n_frames={n_frames}: expected 2 or more, a first and a last word")
    frame = np.arange(n_frames)
    knots = np.linspace(0, n_frames - 1, 7)
    rate = np.exp(rng.normal(0, speed) + np.interp(frame, knots, rng.normal(0, rhythm, 7)))  # (T,)
    moments = np.cumsum(rate)  # (T,)
    start, end = span
    middle, half = (start + end) / 2, (end - start) / 2 + 1  # with a frame of silence on each side
    room = min(half, (n_frames - 1) / 2)  # frames that are left for half of the sentence, at least
    shown_at = middle * n_frames / length + rng.uniform(-shift, shift)
    shown_at = np.clip(shown_at, room, n_frames - 1 - room)  # the frame that shows the sentence's middle
    moments += middle - np.interp(shown_at, frame, moments)
    too_slow = half / min(middle - moments[0], moments[-1] - middle)  # above 1, words would be lost
    moments = middle + (moments - middle) * max(1.0, too_slow)
    return np.clip(moments, 0, length - 1)


def varied(motion: Motion, rng: np.random.Generator, n_frames: int = FRAMES) -> tuple[np.ndarray, np.ndarray]:
    """Another mouth that says the same, another tracker that saw it.

    Returns:
        (T, 9) float32 measures, about standardized, and (T,) which frame of the clip each shows.
    """
    span = spoken_span(motion.segments)
    moments = warped_time(span, rng, n_frames, n_frames, speed=0.10, shift=4.0)  # (T,)
    clip = whole_clip(motion, rng, n_frames)  # (T, 9)
    shown = np.stack([np.interp(moments, np.arange(len(clip)), column) for column in clip.T], axis=1)
    gain, offset = np.exp(rng.normal(0, 0.12, len(MEASURES))), rng.normal(0, 0.1, len(MEASURES))
    noise = rng.normal(0, rng.uniform(0.02, 0.2), shown.shape)  # (T, 9)
    shown = gain * standardized(shown) + offset + noise  # (T, 9)
    if rng.random() < 0.3:
        shown[:, rng.choice(len(MEASURES), rng.integers(1, 3), replace=False)] = 0
    return shown.astype(np.float32), np.round(moments).astype(int)
