"""What a clip looks like, and how it is painted and recorded: background, objects, bars, a poor camera."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from matplotlib.cbook import get_sample_data

from lessons.data.synthetic.sprites import KINDS, coverage

PAIRS = ("objects", "heights", "speeds", "turns", "look_alikes", "contrast", "blur", "occluders")


@dataclass(frozen=True)
class Scene:
    """What clips look like. A pair is the lowest and the highest of something drawn evenly at random.

    Attributes:
        size: (H, W) of a frame.
        kinds: what moves, of ``lessons.data.synthetic.sprites.KINDS``; its place here is its class.
        objects: how many in a clip.
        heights: of an object, in pixels; its width follows from its kind, 15 % more or less.
        speeds: pixels per frame.
        turns: how fast a path curves, in radians per frame, to the left or to the right; (0, 0) is straight.
        look_alikes: objects like the others that never move and are not to be found; behind the others.
        contrast: how much brighter or darker than the background an object is; white is 1.
        noise: standard deviation of each pixel's noise.
        flicker: standard deviation of each frame's brightness, a factor around 1.
        blur: standard deviation of a clip's blur, in pixels.
        occluders: bars in a clip that sweep across, in front of everything.
        photo: the contrast of the background as the standard deviation of a real photograph's pixels, white
            is 1; with 0 the background is a soft slope of gray.
    """

    size: tuple[int, int] = (64, 64)
    kinds: tuple[str, ...] = ("disc", "square", "triangle", "cross", "4", "7")
    objects: tuple[int, int] = (1, 3)
    heights: tuple[float, float] = (12, 21)
    speeds: tuple[float, float] = (0.3, 1.6)
    turns: tuple[float, float] = (0, 0)
    look_alikes: tuple[int, int] = (0, 0)
    contrast: tuple[float, float] = (0.3, 0.5)
    noise: float = 0.12
    flicker: float = 0.05
    blur: tuple[float, float] = (0, 0.8)
    occluders: tuple[int, int] = (0, 0)
    photo: float = 0.0

    def __post_init__(self) -> None:
        if unknown := [kind for kind in self.kinds if kind not in KINDS]:
            raise ValueError(f"kinds: {unknown[0]!r}, expected some of {', '.join(KINDS)}")
        if not self.kinds:
            raise ValueError("kinds: empty, expected at least one")
        for name in PAIRS:
            low, high = getattr(self, name)
            if not 0 <= low <= high:
                raise ValueError(f"{name}: {(low, high)}, expected (lowest, highest), both 0 or more")
        for name in ("noise", "flicker", "photo"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}: {getattr(self, name)}, expected 0 or more")
        if self.heights[0] < 1 or self.heights[1] * 1.15 > min(self.size):
            raise ValueError(
                f"heights: {self.heights}, expected 1 or more, and 1.15 times the highest within "
                f"size {self.size}"
            )


def sweeping_bars(n: int, n_frames: int, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """(N, T, bars, W): the share of each column that is covered by upright bars, which sweep across."""
    n_bars, width = scene.occluders[1], scene.size[1]
    present = np.arange(n_bars) < rng.integers(*scene.occluders, endpoint=True, size=(n, 1))  # (N, bars)
    thick = rng.uniform(0.25, 0.4, (n, n_bars)) * width * present
    speed = rng.uniform(2, 4, (n, n_bars)) * rng.choice([-1, 1], (n, n_bars))
    meets = rng.uniform(0.2, 0.8, (n, n_bars)) * n_frames  # the frame in which it stands in the middle
    center = width / 2 + speed[:, None] * (np.arange(n_frames)[:, None] - meets[:, None])  # (N, T, bars)
    thick = np.broadcast_to(thick[:, None], center.shape)
    return coverage(center - thick / 2, thick, 1, width)[..., 0]  # (N, T, bars, W)


@cache
def photograph() -> np.ndarray:
    """(600, 512) float32: a gray portrait of Grace Hopper by the U.S. Navy, which matplotlib ships."""
    with get_sample_data("grace_hopper.jpg") as file:
        return cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_GRAYSCALE).astype(np.float32)


def photo_crop(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """(H, W): a random part of the photograph that is not plain, seen 1 to 4 times smaller; mean 0, std 1."""
    photo = photograph()
    while True:
        zoom = rng.uniform(1, min(4, photo.shape[0] / height, photo.shape[1] / width))
        rows, columns = int(zoom * height), int(zoom * width)
        y, x = (rng.integers(room + 1) for room in (photo.shape[0] - rows, photo.shape[1] - columns))
        crop = cv2.resize(photo[y : y + rows, x : x + columns], (width, height), interpolation=cv2.INTER_AREA)
        if crop.std() > 10:  # of 255: the wall behind her has less
            return (crop - crop.mean()) / crop.std()


def paint(
    alpha: np.ndarray, gone: np.ndarray, scene: Scene, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Paint from far to near: background, objects in their order, bars.

    Args:
        alpha: (N, T, objects, H, W), what each object would cover of each pixel if it were alone.
        gone: (N, T, objects), whether it is missing from the frame.

    Returns:
        frames (N, T, H, W), white is 1; and (N, T, objects), the share of each object that can be seen.
    """
    n, n_frames, n_objects, height, width = alpha.shape
    bars = sweeping_bars(n, n_frames, scene, rng)  # (N, T, bars, W)
    level = rng.uniform(0.35, 0.65, (n, 1, 1, 1))
    slope_y, slope_x = rng.uniform(-0.1, 0.1, (2, n, 1, 1, 1))
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    background = level + slope_y * y + slope_x * x  # (N, 1, H, W)
    if scene.photo:
        crops = np.stack([photo_crop(height, width, rng) for _ in range(n)])[:, None]
        background = np.clip(level + scene.photo * crops, 0, 1)
    frames = np.repeat(background, n_frames, 1).astype(np.float32)  # (N, T, H, W)
    side = rng.choice([-1, 1], (n, n_objects))
    gray = (level[:, 0, 0] + side * rng.uniform(*scene.contrast, (n, n_objects))).astype(np.float32)
    bar_gray = rng.uniform(0, 1, (n, bars.shape[2])).astype(np.float32)

    area = alpha.sum((-1, -2))  # (N, T, objects)
    alpha = alpha * ~gone[..., None, None]
    for k in range(n_objects):
        frames += alpha[:, :, k] * (gray[:, k, None, None, None] - frames)
    for k in range(bars.shape[2]):
        frames += bars[:, :, k, None] * (bar_gray[:, k, None, None, None] - frames)

    # What is left of each object once all that is nearer has been painted over it.
    clear = np.prod(1 - bars, axis=2)[:, :, None].astype(np.float32)  # (N, T, 1, W), then (N, T, H, W)
    visible = np.empty(area.shape, np.float32)
    for k in reversed(range(n_objects)):
        visible[:, :, k] = (alpha[:, :, k] * clear).sum((-1, -2)) / area[:, :, k]
        clear = clear * (1 - alpha[:, :, k])
    return frames, visible


def capture(frames: np.ndarray, scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """What a poor camera makes of (N, T, H, W): blur, flicker, noise, bytes."""
    n, n_frames = frames.shape[:2]
    sigma = rng.uniform(*scene.blur, (n, 1, 1, 1))
    rows, columns = (_blur_matrix(sigma, size) for size in frames.shape[2:])
    frames = rows @ frames @ columns  # (N, T, H, W); the matrices are symmetric
    # In place from here on: the pixels are many, and copies take longer than sums.
    frames *= 1 + scene.flicker * rng.standard_normal((n, n_frames, 1, 1), np.float32)
    noise = rng.standard_normal(frames.shape, np.float32)
    noise *= scene.noise
    frames += noise
    frames *= 255
    return np.clip(np.rint(frames, out=frames), 0, 255, out=frames).astype(np.uint8)


def _blur_matrix(sigma: np.ndarray, size: int) -> np.ndarray:
    """(N, 1, size, size): a Gaussian around each pixel of a line; what would fall off an end stays there."""
    distance = np.subtract.outer(np.arange(size), np.arange(size))  # (size, size)
    weights = np.exp(-0.5 * (distance / np.maximum(sigma, 1e-3)) ** 2)
    weights /= weights[..., size // 2, :].sum(-1)[..., None, None]
    lost = 1 - weights.sum(-1)  # (N, 1, size)
    diagonal = np.arange(size)
    weights[..., diagonal, diagonal] += lost
    return weights.astype(np.float32)
