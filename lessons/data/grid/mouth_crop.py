"""From a film of a face to a film of its mouth.

OpenCV's Haar detector (Viola and Jones, CVPR 2001) finds the face in every fifth frame. Its box gives the
size, one for the whole clip, and the way of the mouth, smoothed: a trembling crop looks like a moving mouth.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

EVERY = 5  # frames from one look for a face to the next, unless told otherwise
SIGMA = 5.0  # frames, of the Gaussian that smooths the way of the mouth
DOWN = 0.32  # mouth below the middle of the face box, in box widths
WIDTH, HEIGHT = 0.60, 0.30  # of the window, in box widths
OUT = (64, 128)  # (H, W) of the crop
LOOK = 288  # pixels: detection runs on pictures whose shorter side is at most this, GRID's own height
SMALLEST_FACE = 4  # a face is at least the shorter side divided by this
NEAR = 1.6  # a face that was found is looked for again up to this factor smaller or larger, before all sizes


class NoFaceError(ValueError):
    """No face, or too seldom, in a clip that needs one."""


@functools.cache
def face_detector() -> Any:
    """OpenCV's frontal-face cascade.

    Raises:
        RuntimeError: OpenCV is missing or is version 5, which has no cascade classifier.
    """
    advice = "install version 4: pip install 'opencv-python-headless<5'"
    try:
        import cv2
    except ImportError as error:
        raise RuntimeError(f"finding a face needs OpenCV, which is not installed; {advice}") from error
    if not hasattr(cv2, "CascadeClassifier") or not hasattr(cv2, "data"):
        raise RuntimeError(
            f"OpenCV {cv2.__version__} has no Haar face detector (version 5 dropped it); {advice}"
        )
    detector = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
    if detector.empty():
        raise RuntimeError(f"OpenCV {cv2.__version__} comes without its face model; {advice}")
    return detector


def single_threaded() -> None:
    """Keep OpenCV to one thread, for work that is spread over processes."""
    face_detector()
    import cv2

    cv2.setNumThreads(1)


def is_mouth_crop(frames: np.ndarray) -> bool:
    """Whether frames (T, H, W, ...) have the shape of a mouth crop: W = 2 H and at most 128 rows."""
    height, width = frames.shape[1:3]
    return width == 2 * height and height <= 2 * OUT[0]


def find_faces(
    frames: np.ndarray, every: int = EVERY, width: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Look for the largest face in every fifth frame.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        every: frames from one look to the next.
        width: of the face box in the last frame that showed one, where there was one before these frames.

    Returns:
        at: (K,) the frames that show a face.
        boxes: (K, 3) middle x, middle y and width of the face box there, in pixels of the picture.

    Raises:
        RuntimeError: no usable OpenCV.
    """
    face_detector()
    import cv2

    shrink = min(1.0, LOOK / min(frames.shape[1:3]))
    at, boxes = [], []
    for t in range(0, len(frames), every):
        picture = cv2.cvtColor(frames[t], cv2.COLOR_RGB2GRAY)  # (H, W)
        if shrink < 1:
            picture = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        found = _largest_face(picture, None if width is None else width * shrink)
        if found is not None:
            x, y, width = (side / shrink for side in found)
            at.append(t)
            boxes.append((x, y, width))
    return np.array(at, dtype=np.int64), np.array(boxes, dtype=np.float64).reshape(-1, 3)


def _largest_face(picture: np.ndarray, width: float | None) -> tuple[float, float, float] | None:
    """Middle x, middle y and width of the largest face in a gray (H, W), first of those about ``width`` wide.

    Most of the time goes into small sizes, which have most places. A box is the mean of hits of nearly the
    same size; so it is believed if it lies well within the sizes that were looked for.
    """
    smallest = max(24, min(picture.shape) // SMALLEST_FACE)
    if width is not None:
        near = _largest_box(picture, max(smallest, int(width / NEAR)), int(width * NEAR))
        if near is not None and max(near[2] / width, width / near[2]) < NEAR**0.5:
            return near
    return _largest_box(picture, smallest, max(picture.shape))


def _largest_box(picture: np.ndarray, least: int, most: int) -> tuple[float, float, float] | None:
    """The detector's largest box from ``least`` to ``most`` pixels wide."""
    found = face_detector().detectMultiScale(picture, 1.1, 5, minSize=(least, least), maxSize=(most, most))
    if not len(found):
        return None
    x, y, width, height = max(found, key=lambda box: box[2])
    return x + width / 2, y + height / 2, width


def smooth(values: np.ndarray, sigma: float = SIGMA) -> np.ndarray:
    """(T,) values averaged over time by a Gaussian of ``sigma`` frames, the ends held."""
    reach = int(np.ceil(4 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(values, reach, mode="edge"), weights / weights.sum(), mode="valid")  # (T,)


def crop_mouth(
    frames: np.ndarray, every: int = EVERY, faces: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """Cut the mouth out of a film of one face, of any size and frame rate.

    Parts of the window outside the picture repeat the picture's edge.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        every: frames from one look for the face to the next; the looks take most of the time.
        faces: what :func:`find_faces` gave, where it is known already.

    Returns:
        (T, 64, 128, 3) uint8 RGB.

    Raises:
        NoFaceError: a face in fewer than half of the pictures looked at.
        ValueError: frames of another dtype or shape.
        RuntimeError: OpenCV is missing or of version 5.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"frames: {frames.dtype} {frames.shape}, expected uint8 (T, H, W, 3) RGB, T >= 1")
    at, boxes = find_faces(frames, every) if faces is None else faces
    looks = len(range(0, len(frames), every))
    if 2 * len(at) < looks or not len(at):
        raise NoFaceError(
            f"a face in {len(at)} of the {looks} pictures looked at ({frames.shape[2]}x{frames.shape[1]}); "
            "expected one upright face from the front, at least a quarter of the shorter side wide"
        )
    x, y, width = _way_of_the_mouth(at, boxes, len(frames))
    return _cut(frames, x, y, width)  # (T, 64, 128, 3)


class MouthFollower:
    """The mouth of a film whose end is not known yet, cut out piece by piece.

    The place in a frame is what :func:`crop_mouth` would say of the film that ends with its piece: nothing is
    known of where the face goes next. Frames before the first face wait for it, and are given with it.

    Args:
        every: frames from one look for the face to the next.
    """

    def __init__(self, every: int = EVERY) -> None:
        self._every = every
        self._seen = 0  # T, the frames so far
        self._waiting: list[np.ndarray] = []  # pieces without a face to cut by
        self._at, self._boxes = np.empty(0, dtype=np.int64), np.empty((0, 3))  # see find_faces

    def follow(self, frames: np.ndarray) -> np.ndarray:
        """The next frames (N, H, W, 3) uint8 -> their mouths (N, 64, 128, 3); none before the first face."""
        first_look = -self._seen % self._every
        width = self._boxes[-1, 2] if len(self._boxes) else None
        at, boxes = find_faces(frames[first_look:], self._every, width)
        self._at = np.concatenate((self._at, self._seen + first_look + at))  # (K,)
        self._boxes = np.concatenate((self._boxes, boxes))  # (K, 3)
        self._seen += len(frames)
        self._waiting.append(frames)
        if not len(self._at):
            return np.empty((0, *OUT, 3), dtype=np.uint8)
        frames, self._waiting = np.concatenate(self._waiting), []  # (N', H, W, 3)
        x, y, width = _way_of_the_mouth(self._at, self._boxes, self._seen)
        return _cut(frames, x[-len(frames) :], y[-len(frames) :], width)  # (N', 64, 128, 3)

    def faces(self) -> tuple[np.ndarray, np.ndarray]:
        """What :func:`find_faces` gives on all frames so far."""
        return self._at, self._boxes


def _way_of_the_mouth(
    at: np.ndarray, boxes: np.ndarray, n_frames: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Boxes (K, 3) in the frames ``at`` (K,) -> x and y of the mouth in all frames, (T,) both; the width."""
    width = float(np.median(boxes[:, 2]))
    every_frame = np.arange(n_frames)
    x = smooth(np.interp(every_frame, at, boxes[:, 0]))  # (T,)
    y = smooth(np.interp(every_frame, at, boxes[:, 1])) + DOWN * width  # (T,)
    return x, y, width


def _cut(frames: np.ndarray, x: np.ndarray, y: np.ndarray, face_width: float) -> np.ndarray:
    """The window around (x[t], y[t]) of each frame, brought to 64 x 128 at sub-pixel places."""
    import cv2

    rows, columns = OUT
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
