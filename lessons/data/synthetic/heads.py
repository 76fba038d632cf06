"""Synthetic videos of a drawn person who moves and talks, with the box of the mouth in every frame.

The mouth is the synthetic talker's (``lessons.data.synthetic.talker``), so what reads those mouths can read
these once it has found them. Around it: a face with eyes that blink, a wall with dark spots, sometimes a
hand in front of the mouth. While the video runs, a poster of somebody else may appear on the wall: a face
like the other, except that it was not there at first and never moves. A single frame does not tell which of
the two talks; the frames before it do.

Shapes: N videos, T frames, H rows, W columns. Boxes are (x0, y0, x1, y1) in pixels, twice as wide as high:
the input window of a lip reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lessons.ctc.grammar import random_sentence
from lessons.data.synthetic.mouth_drawing import (
    GAP,
    LUMA,
    Edge,
    colors,
    drift,
    face_edge,
    mouth_edges,
    stack,
)
from lessons.data.synthetic.moving import missing
from lessons.data.synthetic.scene import Scene, capture
from lessons.data.synthetic.speaker import Speaker
from lessons.data.synthetic.talker import Segments, say

SIZE = (96, 192)  # (H, W) of a video
SENTENCE = 75  # frames in which a sentence is said
UNITS = (28.0, 34.0)  # pixels to half the width of the mouth's box; all lengths of a face are in such units
HUNG = (0.15, 0.6)  # range of the fraction of the video after which the poster appears
BURST = 6.0  # frames for which a hand stays, on average
COMES = 3  # frames that a hand takes to come, and to go


@dataclass(frozen=True)
class Hardship:
    """How difficult a video is.

    Attributes:
        hidden: fraction of the frames in which a hand is in front of the mouth.
        noise: standard deviation of each pixel's noise; white is 1.
        flicker: standard deviation of each frame's brightness, a factor around 1.
        blur: standard deviation of the video's blur in pixels, the lowest and the highest.
        poster: the fraction of videos in which a poster of somebody else appears, 0 to 1.
    """

    hidden: float = 0.0
    noise: float = 0.01
    flicker: float = 0.0
    blur: tuple[float, float] = (0.0, 0.5)
    poster: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.hidden <= BURST / (1 + BURST):
            raise ValueError(f"hidden: {self.hidden}, expected a share from 0 to {BURST / (1 + BURST):.2f}")
        if not 0 <= self.poster <= 1:
            raise ValueError(f"poster: {self.poster}, expected a share from 0 to 1")
        Scene(noise=self.noise, flicker=self.flicker, blur=self.blur)  # it says what is wrong with these


LEVELS = {
    "none": Hardship(),
    "some": Hardship(hidden=0.05, noise=0.02, flicker=0.01, blur=(0.0, 0.8)),
    "much": Hardship(hidden=0.15, noise=0.04, flicker=0.02, blur=(0.5, 1.0)),
}


@dataclass(frozen=True)
class TalkingVideos:
    """Videos and what is in them.

    Attributes:
        frames: (N, T, H, W) uint8, gray.
        boxes: (N, T, 4) float32, where the mouth is, hidden or not.
        visible: (N, T) float32, the fraction of the mouth that no hand covers.
        posters: (N,) the frame in which the poster of somebody else appears; T if none does.
        transcripts: N sentences.
        segments: per video, its words in time, (start, end, word) in frames, with ``sil`` around them.
    """

    frames: np.ndarray
    boxes: np.ndarray
    visible: np.ndarray
    posters: np.ndarray
    transcripts: tuple[str, ...]
    segments: tuple[Segments, ...]

    def __len__(self) -> int:
        return len(self.frames)


def talking_videos(
    hardships: Sequence[Hardship], rng: np.random.Generator, n_frames: int = SENTENCE
) -> TalkingVideos:
    """Draw one video for each hardship. The same generator state gives the same videos.

    Equal states and other hardships give the same people, on the same paths, who say the same.

    Args:
        hardships: of each video, such as ``[LEVELS["some"]] * 4``.
        rng: random state.
        n_frames: length of a video; less than 75 is a piece from within a sentence.

    Raises:
        ValueError: a length out of range, no video, or a seed instead of a generator.
    """
    if not isinstance(rng, np.random.Generator):
        raise ValueError(
            f"rng is a {type(rng).__name__}, expected a generator: use np.random.default_rng(seed)"
        )
    if not 1 <= n_frames <= SENTENCE:
        raise ValueError(f"n_frames: {n_frames}, expected 1 to {SENTENCE}")
    if not len(hardships):
        raise ValueError("hardships: empty, expected one for each video")
    seeds = rng.integers(2**63, size=len(hardships))
    videos = [
        _video(np.random.default_rng(seed), h, n_frames) for seed, h in zip(seeds, hardships, strict=True)
    ]
    frames, boxes, visible, posters, transcripts, segments = zip(*videos, strict=True)
    arrays = (np.concatenate(frames), np.stack(boxes), np.stack(visible), np.array(posters))
    return TalkingVideos(*arrays, transcripts, segments)


def _video(rng: np.random.Generator, hardship: Hardship, n_frames: int) -> tuple:
    """One video: frames (1, T, H, W), boxes (T, 4), visible (T,), frame of the poster, sentence, segments."""
    talker, other = (_somebody(rng) for _ in range(2))
    sentence = random_sentence(rng)
    shapes, segments = say(sentence, talker.rate, rng, SENTENCE)  # (75, 8)
    first = rng.integers(SENTENCE - n_frames + 1)
    shapes = shapes[first : first + n_frames]  # (T, 8)
    unit, other_unit = rng.uniform(*UNITS, 2)
    left = rng.random() < 0.5
    with_poster = rng.random() < hardship.poster
    x, y, roll, log_scale = drift(SENTENCE, talker.sway, rng)[:, first : first + n_frames]  # (T,) each
    ways = rng.uniform(3, 6, 2) * [1, 0.5] / 0.012  # pixels that a head sways
    middle, height = SIZE[1] / 2 + rng.uniform(-5, 5), 62 + rng.uniform(-5, 5)
    if with_poster:
        middle += -44 if left else 44
    x, y = middle + ways[0] * x, np.clip(height + ways[1] * y, 54, 72)  # (T,), (T,) in pixels
    poster_at = np.array([SIZE[1] - middle]), rng.uniform(56, 68, 1)

    wall = float((talker.light * np.array(talker.background) @ LUMA)[0])
    picture = np.full((1, *SIZE), wall, np.float32)  # (1, H, W)
    picture += np.float32(rng.uniform(-12, 12)) * np.linspace(-0.5, 0.5, SIZE[1], dtype=np.float32)
    for _ in range(rng.integers(1, 4)):  # dark spots on the wall, as wide and flat as a mouth
        x_and_y, radii = rng.uniform((10, 8), (182, 88))[:, None], rng.uniform((8, 2), (18, 5))
        _dab(picture, *x_and_y, *radii, np.full(1, max(5.0, wall + rng.uniform(-90, -30))))
    still, _ = say(random_sentence(rng), 1.0, rng, SENTENCE)
    hung = max(1, round(rng.uniform(*HUNG) * n_frames)) if with_poster else n_frames
    picture = np.repeat(picture, n_frames, 0)  # (T, H, W)
    if hung < n_frames:
        still, nothing = still[rng.integers(20, 50)][None], np.zeros(1)  # (1, 8), (1,)
        picture[hung:] = _paint_head(
            picture[:1], still, other, other_unit, *poster_at, nothing, nothing, nothing > 0
        )
    shut = missing(rng, (1, SENTENCE, 1), np.float64(0.06), 3.0)[0, first : first + n_frames, 0]  # blinking
    frames = _paint_head(picture, shapes, talker, unit, x, y, roll, log_scale, shut)  # (T, H, W)
    behind = missing(rng, (1, SENTENCE, 1), np.float64(hardship.hidden), BURST)[
        0, first : first + n_frames, 0
    ]
    frames, visible = _paint_hand(frames, behind, talker, unit, x, y, rng)

    boxes = np.stack([x - unit, y - unit / 2, x + unit, y + unit / 2], -1).astype(np.float32)  # (T, 4)
    camera = Scene(noise=hardship.noise, flicker=hardship.flicker, blur=hardship.blur)
    frames = capture((frames / 255)[None].astype(np.float32), camera, rng)  # (1, T, H, W)
    start, end = first, first + n_frames
    segments = tuple((a - start, b - start, word) for a, b, word in segments if b > start and a < end)
    return frames, boxes, visible, hung, sentence, segments


def _somebody(rng: np.random.Generator) -> Speaker:
    """A speaker in even light, who fits into the picture; the camera's noise comes later."""
    speaker = Speaker.random(rng)
    width = 0.92 + (speaker.face_width - 0.92) / 2
    return replace(speaker, face_width=width, light_x=0.0, light_y=0.0, noise=0.0, place=(0.0, 0.0))


def _paint_head(
    picture: np.ndarray,
    shapes: np.ndarray,
    speaker: Speaker,
    unit: float,
    x: np.ndarray,
    y: np.ndarray,
    roll: np.ndarray,
    log_scale: np.ndarray,
    shut: np.ndarray,
) -> np.ndarray:
    """Paint a head over ``picture`` (1 or T, H, W): (T, H, W) with the mouth at x and y (T,) in pixels."""
    # As lessons.data.synthetic.mouth_drawing.render, but on a wider picture: rows and columns in units
    # around a mouth at y = 0.
    rows = ((np.arange(SIZE[0]) + 0.5) / unit).astype(np.float32)  # (H,)
    across = ((np.arange(SIZE[1]) + 0.5 - x[:, None]) / unit).astype(np.float32)  # (T, W)
    scale = np.exp(log_scale)[:, None].astype(np.float32)  # (T, 1)
    middle = (y[:, None] / unit + (speaker.roll + roll)[:, None] * across).astype(np.float32)  # (T, W)
    across = across / scale
    palette = colors(speaker, LUMA)
    hair = 0.3 * palette["skin"]
    inside = np.clip(1 - (across / speaker.face_width) ** 2, 0, 1)  # (T, W)
    crown, forehead = (middle - 0.5 - up * inside**0.5 for up in (1.6, 1.3))
    jaw = 0.6 * GAP * speaker.jaw * np.clip(shapes[:, :1], 0, None)
    chin = face_edge(speaker, across, middle, jaw, palette)
    face = stack(
        [
            Edge(crown, 0.06, hair),
            Edge(forehead, 0.06, palette["skin"] - hair),
            *mouth_edges(shapes.astype(np.float32), speaker, across, middle, scale, palette),
            Edge(chin.y, 0.06, -palette["skin"]),
        ],
        np.zeros(1, np.float32),
        rows,
        np.float32(1 / unit),
    )[0].transpose(1, 0, 2)  # (H, T, W) -> (T, H, W)
    one = np.ones(1, np.float32)
    edges = [Edge(crown, 0.06, one), Edge(chin.y, 0.06, -one)]
    covers = stack(edges, 0 * one, rows, np.float32(1 / unit))[0].transpose(1, 0, 2)  # (T, H, W)
    frames = picture * (1 - covers) + face  # (T, H, W)

    lid, open_eyes = float(0.85 * palette["skin"][0]), ~shut
    for side in (-0.42, 0.42):
        eye_x, eye_y = x + side * unit, y - (1.12 - side * (speaker.roll + roll)) * unit  # (T,) each
        _dab(frames, eye_x, eye_y - 0.24 * unit, 0.22 * unit, 0.045 * unit, np.full(len(x), hair[0]))  # brow
        _dab(frames, eye_x, eye_y, 0.17 * unit, 0.085 * unit, np.where(open_eyes, 225, lid))
        _dab(frames, eye_x, eye_y, 0.075 * unit, 0.075 * unit, np.where(open_eyes, 35, lid))  # pupil
    return frames


def _paint_hand(
    frames: np.ndarray,
    hidden: np.ndarray,
    speaker: Speaker,
    unit: float,
    x: np.ndarray,
    y: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Bring a hand up in front of the mouth in the ``hidden`` (T,) frames: frames, visible (T,)."""
    moments = np.arange(len(hidden))
    away = np.abs(moments[:, None] - moments[hidden]).min(1, initial=COMES)  # (T,) frames to the next hiding
    aside, gray = rng.uniform(-0.2, 0.2), rng.uniform(0.75, 1.15) * colors(speaker, LUMA)["skin"]
    hand_x, hand_y = x + aside * unit, y + 2.6 * unit * away / COMES
    lines, columns = np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5
    palm = _oval(lines, columns, hand_x, hand_y, 0.85 * unit, 0.6 * unit)  # (T, H, W)
    wrist = np.clip(0.45 * unit - np.abs(columns - hand_x[:, None]) + 0.5, 0, 1)[:, None]  # (T, 1, W)
    arm = wrist * np.clip(lines - hand_y[:, None] + 0.5, 0, 1)[:, :, None]  # (T, H, W)
    hand = np.maximum(palm, arm).astype(np.float32)
    fingers = 1 - 0.12 * (np.cos(2 * np.pi * (columns - hand_x[:, None]) / (0.42 * unit)) > 0.9)[:, None]
    mouth = _oval(lines, columns, x, y, 0.55 * unit, 0.3 * unit)  # (T, H, W)
    visible = 1 - (hand * mouth).sum((1, 2)) / mouth.sum((1, 2))  # (T,)
    frames += hand * ((gray * fingers).astype(np.float32) - frames)
    return frames, visible.astype(np.float32)


def _dab(
    frames: np.ndarray, x: np.ndarray, y: np.ndarray, wide: float, high: float, gray: np.ndarray
) -> None:
    """Paint an oval of ``gray`` (T,) around x and y (T,) into frames (T, H, W), only where it falls."""
    top, bottom = (max(0, int(edge)) for edge in (y.min() - high - 1, y.max() + high + 2))
    left, right = (max(0, int(edge)) for edge in (x.min() - wide - 1, x.max() + wide + 2))
    part = frames[:, top:bottom, left:right]
    lines, columns = (np.arange(n) + 0.5 for n in frames.shape[1:])
    part += _oval(lines[top:bottom], columns[left:right], x, y, wide, high) * (gray[:, None, None] - part)


def _oval(
    lines: np.ndarray, columns: np.ndarray, x: np.ndarray, y: np.ndarray, wide: float, high: float
) -> np.ndarray:
    """(T, H, W) float32: how much of each pixel an oval around x and y (T,) covers; wide, high: its radii."""
    across = ((columns - x[:, None]) / wide).astype(np.float32)[:, None]  # (T, 1, W)
    down = ((lines - y[:, None]) / high).astype(np.float32)[:, :, None]  # (T, H, 1)
    inside = 1 - np.sqrt(across**2 + down**2)  # (T, H, W)
    return np.clip(0.5 + inside * np.float32(min(wide, high)), 0, 1)
