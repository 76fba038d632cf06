"""Synthetic video for detectors: objects that move, turn back at the borders and vanish, with exact boxes.

A clip is a few shapes and digits on a soft background, with noise, blur, flicker and, if asked for, a bar
that sweeps across. Each object can also vanish from single frames while its box stays, after the occlusion
test of Liu and Zhu (CVPR 2018, arXiv 1711.06368, Table 6). Who sees one frame cannot find what is not in it;
who remembers can.

Boxes are (x0, y0, x1, y1) in pixels: left, top, right, bottom, pixel i going from i to i + 1.
Shapes: N clips, T frames, H rows, W columns; objects: slots for objects in a clip, some of them empty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lessons.data.synthetic.scene import Scene, capture, paint
from lessons.data.synthetic.sprites import ASPECT, CELLS, coverage, sprite

__all__ = ["TRACKING", "MovingClips", "Scene", "bounce", "missing", "moving_clips"]

# Where memory is worth its price: objects move by a quarter of their size per frame, turn, cross and rebound,
# one frame is too noisy to be sure, and an object that stands still is not to be found.
TRACKING = Scene(
    kinds=("disc", "cross"),
    objects=(1, 3),
    heights=(14, 20),
    speeds=(2.5, 4.5),
    turns=(0.1, 0.3),
    look_alikes=(0, 1),
    contrast=(0.2, 0.35),
    noise=0.2,
    flicker=0.1,
)


@dataclass(frozen=True)
class MovingClips:
    """Clips and what is in them.

    Attributes:
        frames: (N, T, H, W) uint8.
        boxes: (N, T, objects, 4) float32, (x0, y0, x1, y1) in pixels; zeros where a place is empty.
        labels: (N, objects) the class of each object, -1 where a place is empty.
        visible: (N, T, objects) float32, the fraction of an object that can be seen: 0 where it has vanished,
            less than 1 behind others; 0 where a place is empty.
    """

    frames: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    visible: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, clips: slice) -> MovingClips:
        """Some of the clips: ``clips[3:5]``, or ``clips[3:4]`` for one.

        Raises:
            ValueError: a place instead of a slice, with which the axis of clips would go.
        """
        if not isinstance(clips, slice):
            raise ValueError(f"clips[{clips!r}], expected a slice, which keeps the axis of clips: clips[3:4]")
        return MovingClips(self.frames[clips], self.boxes[clips], self.labels[clips], self.visible[clips])


def moving_clips(
    n: int,
    rng: np.random.Generator,
    n_frames: int = 16,
    vanish: float | np.ndarray = 0.0,
    burst: float | None = None,
    scene: Scene | None = None,
) -> MovingClips:
    """Draw ``n`` clips. The same generator state gives the same clips.

    Args:
        n: number of clips.
        rng: of everything random.
        n_frames: length of a clip.
        vanish: fraction of the frames from which an object is missing; one number, or one for each clip (N,).
        burst: mean number of frames for which it stays away; None decides each frame for itself.
        scene: what clips look like; ``Scene()`` if None.

    Raises:
        ValueError: a number out of range, a burst shorter than the frames that such a share must miss, or a
            seed instead of a generator.
    """
    scene, vanish = scene or Scene(), np.asarray(vanish, float)
    _check_draw(n, rng, n_frames, vanish)
    # Look-alikes come first, which is behind; on return they are cut off.
    n_still, (height, width) = scene.look_alikes[1], scene.size
    n_objects = n_still + scene.objects[1]
    labels = rng.integers(len(scene.kinds), size=(n, n_objects))
    present = np.arange(-n_still, n_objects - n_still) < rng.integers(
        *scene.objects, endpoint=True, size=(n, 1)
    )  # (N, objects)
    if n_still:
        n_present = rng.integers(*scene.look_alikes, endpoint=True, size=(n, 1))
        present[:, :n_still] = np.arange(n_still) < n_present
    kinds = np.array(scene.kinds)[labels]  # (N, objects)

    # Boxes: a size for life, and a center that turns back where the box would leave the picture.
    sides = np.empty((n, n_objects, 2))  # height, width
    sides[..., 0] = rng.uniform(*scene.heights, (n, n_objects))
    ratio = np.vectorize(ASPECT.get, otypes=[float])(kinds)
    sides[..., 1] = np.maximum(sides[..., 0] * ratio * rng.uniform(0.85, 1.15, (n, n_objects)), 1)
    angle = rng.uniform(0, 2 * np.pi, (n, n_objects))
    speed = rng.uniform(*scene.speeds, (n, n_objects))
    speed[:, :n_still] = 0
    room = np.array([height, width]) - sides  # (N, objects, 2): how far the top left corner may go
    start = rng.uniform(0, 1, room.shape) * room
    turn = np.zeros_like(angle)
    if scene.turns[1]:
        turn = rng.uniform(*scene.turns, angle.shape) * rng.choice([-1, 1], angle.shape)
    times = np.arange(n_frames)[:, None]
    direction = angle[:, None] + turn[:, None] * times  # (N, T, objects)
    velocity = speed[:, None, :, None] * np.stack([np.sin(direction), np.cos(direction)], -1)
    path = start[:, None] + np.cumsum(velocity, 1) - velocity[:, :1]  # (N, T, objects, 2), without walls
    corner = bounce(path, room[:, None])
    sides = np.broadcast_to(sides[:, None], corner.shape)

    # Pictures: what each object would cover if it were alone.
    sprites = np.stack([sprite(kind) for kind in scene.kinds])[labels]  # (N, objects, 24, 24)
    rows = coverage(corner[..., 0], sides[..., 0], CELLS, height).astype(np.float32)  # (N, T, objects, H, 24)
    columns = coverage(corner[..., 1], sides[..., 1], CELLS, width).astype(np.float32)
    alpha = rows @ sprites[:, None] @ np.swapaxes(columns, -1, -2)  # (N, T, objects, H, W)

    gone = missing(rng, (n, n_frames, n_objects), vanish, burst) | ~present[:, None]  # (N, T, objects)
    frames, visible = paint(alpha, gone, scene, rng)
    boxes = np.concatenate([corner[..., ::-1], (corner + sides)[..., ::-1]], -1)  # (x0, y0, x1, y1)
    return MovingClips(
        frames=capture(frames, scene, rng),
        boxes=(boxes * present[:, None, :, None]).astype(np.float32)[:, :, n_still:],
        labels=np.where(present, labels, -1)[:, n_still:],
        visible=visible[:, :, n_still:],
    )


def bounce(position: np.ndarray, room: np.ndarray) -> np.ndarray:
    """Fold a straight path into 0 … room, as a ball between two walls: a triangle wave of period 2 room."""
    room = np.maximum(room, 1e-9)
    return room - np.abs(position % (2 * room) - room)


def missing(
    rng: np.random.Generator, shape: tuple[int, int, int], share: np.ndarray, burst: float | None
) -> np.ndarray:
    """(N, T, objects) bool: which objects are gone, for ``share`` of the time and ``burst`` frames in a row.

    A chain of two states. A missing object comes back with probability 1 / burst; a present one leaves with
    probability share / ((1 - share) burst), so that as many leave as come back.
    """
    n_clips, n_frames, _ = shape
    share = np.broadcast_to(share, (n_clips,))[:, None]  # (N, 1)
    chance = rng.random(shape)
    if burst is None:
        return chance < share[:, None]
    if not (burst >= 1 and np.all(burst * (1 - share) >= share)):
        raise ValueError(
            f"burst: {burst}, expected 1 frame or more, and enough for objects that are gone for a share of "
            f"{share.max(initial=0):.2f}: at least share / (1 - share)"
        )
    leaves = share / np.maximum((1 - share) * burst, 1e-9)  # (N, 1)
    gone = np.empty(shape, bool)
    gone[:, 0] = chance[:, 0] < share
    for t in range(1, n_frames):
        gone[:, t] = chance[:, t] < np.where(gone[:, t - 1], 1 - 1 / burst, leaves)
    return gone


def _check_draw(n: int, rng: np.random.Generator, n_frames: int, vanish: np.ndarray) -> None:
    if not isinstance(rng, np.random.Generator):
        raise ValueError(
            f"rng is a {type(rng).__name__}, expected a generator: use np.random.default_rng(seed)"
        )
    if n < 0 or n_frames < 1:
        raise ValueError(f"n: {n}, n_frames: {n_frames}; expected n of 0 or more and 1 frame or more")
    if vanish.shape not in ((), (n,)) or not np.all((vanish >= 0) & (vanish <= 1)):
        raise ValueError(
            f"vanish: {vanish}, expected shares from 0 to 1, one number or one for each of {n} clips"
        )
