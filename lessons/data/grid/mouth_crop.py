"""From a video of a face to a video of its mouth.

The face (``lessons.data.grid.faces``) is looked for in every fifth frame. Its box gives the size and the path
of the mouth, smoothed: a jittering crop looks like a moving mouth.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from lessons.data.grid.faces import DETECT_EVERY, FaceTracker, NoFaceError, find_faces
from lessons.data.video_times import FPS

SIGMA = 5.0  # frames, of the Gaussian that smooths the path of the mouth
MOUTH_BELOW_CENTER = 0.32  # mouth below the center of the face box, in box widths
WIDTH, HEIGHT = 0.60, 0.30  # of the window, in box widths
CROP_SIZE = (64, 128)  # (H, W) of the crop
HOLD = 80  # frames that a follower keeps, 3.2 s
PAST = 250  # frames, 10 s: older looks at the face are forgotten
MAX_UNSEEN = 50  # frames without a face nearby in time, 2 s: beyond them nobody is there


def is_mouth_crop(frames: np.ndarray) -> bool:
    """Whether frames (T, H, W, ...) have the shape of a mouth crop: W = 2 H and at most 128 rows."""
    height, width = frames.shape[1:3]
    return width == 2 * height and height <= 2 * CROP_SIZE[0]


def smooth(values: np.ndarray, sigma: float = SIGMA) -> np.ndarray:
    """(T,) values averaged over time by a Gaussian of ``sigma`` frames, the ends held."""
    reach = int(np.ceil(4 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(values, reach, mode="edge"), weights / weights.sum(), mode="valid")  # (T,)


def crop_mouth(frames: np.ndarray, every: int = DETECT_EVERY, face: int | None = None) -> np.ndarray:
    """Cut the mouth out of a video of a face, of any size and frame rate.

    Parts of the window outside the picture repeat the picture's edge.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        every: frames from one look for the face to the next; the looks take most of the time.
        face: which one, see :class:`lessons.data.grid.faces.FaceTracker`.

    Returns:
        (T, 64, 128, 3) uint8 RGB.

    Raises:
        NoFaceError: a face in fewer than half of the frames where it is looked for.
        ValueError: frames of another dtype or shape.
        RuntimeError: OpenCV is missing or of version 5.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"frames: {frames.dtype} {frames.shape}, expected uint8 (T, H, W, 3) RGB, T >= 1")
    tracker = FaceTracker(face)
    at, boxes = find_faces(frames, every, tracker)
    if 2 * tracker.found < tracker.looks or not tracker.found:
        raise NoFaceError(no_face(tracker, frames.shape[1:3], every))
    x, y, width = _path_of_the_mouth(at, boxes, 0, len(frames))
    return _cut(frames, x, y, width)  # (T, 64, 128, 3)


def no_face(tracker: FaceTracker, size: tuple[int, int], every: int) -> str:
    """The message of a clip of (H, W) frames, every so many looked at, in which the face is too rare."""
    picture = f"{size[1]}x{size[0]}"
    if tracker.face is not None and 0 < tracker.most < tracker.face:
        return (
            f"face {tracker.face} of {tracker.most}: no picture ({picture}) shows more; faces are counted "
            "from the left, and without --face the largest is taken"
        )
    return (
        f"a face in {tracker.found} of {tracker.looks} pictures ({picture}), none in "
        f"{seconds_of(~np.array(tracker.history), every)}; expected an upright face from the front, at least "
        "a quarter of the shorter side wide"
    )


def seconds_of(mask: np.ndarray, every: int = 1) -> str:
    """Where a mask over time is true, as text: "0.0-1.2 s, 3.0-3.4 s"; the first three stretches."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], mask.astype(np.int8), [0]]))) * every / FPS  # (2 N,)
    spans = [f"{start:.1f}-{end:.1f} s" for start, end in edges.reshape(-1, 2)]
    more = f" and {len(spans) - 3} more stretches" if len(spans) > 3 else ""
    return ", ".join(spans[:3]) + more


class MouthFollower:
    """The mouth of a video whose end is not known yet, in constant memory.

    Args:
        every: frames from one look for the face to the next.
        face: which one, see :class:`lessons.data.grid.faces.FaceTracker`.

    Attributes:
        seen: T, the frames so far.
        tracker: counts the looks.
    """

    def __init__(self, every: int = DETECT_EVERY, face: int | None = None) -> None:
        self.tracker = FaceTracker(face)
        self.seen = 0
        self._every = every
        self._given = 0  # frames that follow() has cut
        self._held: deque[np.ndarray] = deque()  # the newest frames (H, W, 3)
        self._boxes: deque[tuple[int, tuple[float, float, float]]] = deque()  # a frame and its face

    def look(self, frames: np.ndarray) -> None:
        """Take the next frames (N, H, W, 3) uint8 in."""
        for frame in frames:
            if self.seen % self._every == 0 and (box := self.tracker(frame)) is not None:
                self._boxes.append((self.seen, box))
            self._held.append(frame)
            self.seen += 1
        while len(self._held) > max(HOLD, len(frames)):
            self._held.popleft()
        while len(self._boxes) > 1 and self._boxes[0][0] < self.seen - max(PAST, len(frames)):
            self._boxes.popleft()

    def follow(self, frames: np.ndarray) -> np.ndarray:
        """The next frames (N, H, W, 3) uint8 -> their mouths (N, 64, 128, 3); none before the first face.

        The place in a frame is what :func:`crop_mouth` would say of the video that ends with its piece.
        Frames before the first face wait for it, the newest 80 of them, and are given with it.
        """
        self.look(frames)
        if not self._boxes:
            return np.empty((0, *CROP_SIZE, 3), dtype=np.uint8)
        start, self._given = max(self._given, self.seen - len(self._held)), self.seen
        return self.cut(start, self.seen)[0]

    def cut(self, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        """Cut frames that are still held, by all that is known now.

        Returns:
            (N, 64, 128, 3) uint8 mouths of the frames from ``start`` to ``end``, and (N,) bool: whether a
            face was found within 2 s of each. Black where there never was one.
        """
        mouths = np.zeros((end - start, *CROP_SIZE, 3), dtype=np.uint8)
        if not self._boxes or end == start:
            return mouths, np.zeros(end - start, dtype=bool)
        at = np.array([frame for frame, _ in self._boxes])  # (K,)
        boxes = np.array([box for _, box in self._boxes])  # (K, 3)
        first = max(0, min(self.seen - PAST, start - HOLD))
        x, y, width = _path_of_the_mouth(at, boxes, first, self.seen)
        held = self.seen - len(self._held)  # the oldest frame that is held
        frames = [self._held[t - held] for t in range(start, end)]
        part = slice(start - first, end - first)
        apart = np.abs(np.arange(start, end)[:, None] - at).min(axis=1)  # (N,) frames to the nearest face
        return _cut(frames, x[part], y[part], width), apart <= MAX_UNSEEN


def _path_of_the_mouth(
    at: np.ndarray, boxes: np.ndarray, start: int, end: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Boxes (K, 3) in the frames ``at`` (K,) -> x and y of the mouth from start to end, (N,); the width."""
    width = float(np.median(boxes[:, 2]))
    every_frame = np.arange(start, end)
    x = smooth(np.interp(every_frame, at, boxes[:, 0]))  # (N,)
    y = smooth(np.interp(every_frame, at, boxes[:, 1])) + MOUTH_BELOW_CENTER * width  # (N,)
    return x, y, width


def _cut(frames: Sequence[np.ndarray], x: np.ndarray, y: np.ndarray, face_width: float) -> np.ndarray:
    """The window around (x[t], y[t]) of each frame, brought to 64 x 128 at sub-pixel places."""
    import cv2

    rows, columns = CROP_SIZE
    out = np.empty((len(frames), rows, columns, 3), dtype=np.uint8)  # (T, 64, 128, 3)
    # Pixels of the picture for one of the crop. Above 1 a picture is shrunk by areas first, against aliasing.
    across, down = WIDTH * face_width / columns, HEIGHT * face_width / rows
    shrink = min(1.0, 1 / across)
    for t, frame in enumerate(frames):
        if shrink < 1:
            frame = cv2.resize(frame, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        step_x, step_y = across * shrink, down * shrink
        # Maps pixel (u, v) of the crop to the picture; the middle of the crop lands on the mouth.
        to_picture = np.array(
            [
                [step_x, 0, x[t] * shrink - step_x * (columns - 1) / 2],
                [0, step_y, y[t] * shrink - step_y * (rows - 1) / 2],
            ]
        )
        out[t] = cv2.warpAffine(
            frame,
            to_picture,
            (columns, rows),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        )
    return out
