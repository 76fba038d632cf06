"""One face in a video: OpenCV's Haar detector (Viola and Jones, CVPR 2001), and whose box to believe.

The detector hits a face many times, at neighboring places and sizes, and anything else a few times. On 13
clips of GRID's speaker 33 the face has 81 to 104 hits, and a larger box around half of the head 6 to 11.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

DETECT_EVERY = 5  # frames from one look for a face to the next, unless told otherwise
DETECTION_SIDE = (
    288  # pixels: detection runs on pictures whose shorter side is at most this, GRID's own height
)
SMALLEST_FACE = 4  # a face is at least the shorter side divided by this
SIZE_RANGE = 1.6  # a face that was found is looked for up to this factor smaller or larger, before all sizes
MIN_HITS = 0.25  # of the hits of the best face
MAX_STEP = 0.75  # face widths from one look to the next
PATIENCE = 5  # looks without the face; after them it may be another one, or elsewhere
Box = tuple[float, float, float]  # center x, center y and width, in pixels


class NoFaceError(ValueError):
    """No face, or too seldom, in a clip that needs one."""


class FaceTracker:
    """The face of one person, from look to look: the one nearest to the last.

    Args:
        face: which face, counted from the left from 1, when there are several; None takes the largest.

    Attributes:
        history: whether the face was found, look by look.
        crowded: the looks that found other faces too.
        most: the most faces in one look.

    Raises:
        ValueError: a face below 1.
    """

    def __init__(self, face: int | None = None) -> None:
        if face is not None and face < 1:
            raise ValueError(f"face={face}: expected 1 or more, counted from the left")
        self.face = face
        self.history: list[bool] = []
        self.crowded = self.most = 0
        self._last: Box | None = None
        self._hits = 0
        self._missed = 0

    def __call__(self, frame: np.ndarray) -> Box | None:
        """The face in the next frame looked at (H, W, 3) uint8, or None."""
        import cv2

        face_detector()
        picture = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)  # (H, W)
        shrink = min(1.0, DETECTION_SIDE / min(picture.shape))
        if shrink < 1:
            picture = cv2.resize(picture, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        chosen = self._choose(picture, shrink)
        self.history.append(chosen is not None)
        if chosen is None:
            self._missed += 1
            if self._missed >= PATIENCE:
                self._last = None
            return None
        (x, y, width), self._hits = chosen
        self._missed = 0
        self._last = x, y, width
        return self._last

    @property
    def looks(self) -> int:
        """Frames looked at."""
        return len(self.history)

    @property
    def found(self) -> int:
        """Frames that showed the face."""
        return sum(self.history)

    def _choose(self, picture: np.ndarray, shrink: float) -> tuple[Box, int] | None:
        """The person's box in the frame, in its pixels, and its hits.

        Most of the time goes into small sizes, which have most places. A box is the mean of hits of nearly
        the same size; so it is believed if it lies well within the sizes that were looked for.
        """
        smallest = max(24, min(picture.shape) // SMALLEST_FACE)
        if self._last is not None:
            width = self._last[2] * shrink
            found = self._faces(
                picture, max(smallest, int(width / SIZE_RANGE)), int(width * SIZE_RANGE), shrink
            )
            near = self._nearest(found)
            if (
                near is not None
                and max(near[0][2] * shrink / width, width / near[0][2] / shrink) < SIZE_RANGE**0.5
            ):
                self.crowded += len(found) > 1
                return near
        found = self._faces(picture, smallest, max(picture.shape), shrink)
        self.most = max(self.most, len(found))
        self.crowded += len(found) > 1
        if self._last is not None:
            return self._nearest(found)
        if self.face is not None:
            found = sorted(found)  # from left to right
            return found[self.face - 1] if len(found) >= self.face else None
        return max(found, key=lambda face: face[0][2], default=None)

    def _nearest(self, found: list[tuple[Box, int]]) -> tuple[Box, int] | None:
        x, y, width = self._last

        def distance(face: tuple[Box, int]) -> float:
            return np.hypot(face[0][0] - x, face[0][1] - y) / width

        near = [face for face in found if distance(face) <= MAX_STEP and face[1] >= MIN_HITS * self._hits]
        return min(near, key=distance, default=None)

    @staticmethod
    def _faces(picture: np.ndarray, least: int, most: int, shrink: float) -> list[tuple[Box, int]]:
        """Boxes from ``least`` to ``most`` pixels wide with many hits, none on top of a better one."""
        boxes, hits = face_detector().detectMultiScale2(
            picture, 1.1, 5, minSize=(least, least), maxSize=(most, most)
        )[:2]
        faces: list[tuple[Box, int]] = []
        for (x, y, width, height), n in sorted(zip(boxes, hits, strict=True), key=lambda pair: -pair[1]):
            box = (x + width / 2) / shrink, (y + height / 2) / shrink, width / shrink
            apart = all(np.hypot(box[0] - b[0], box[1] - b[1]) > max(box[2], b[2]) / 2 for b, _ in faces)
            if apart and n >= MIN_HITS * max(hits):
                faces.append((box, int(n)))
        return faces


def find_faces(
    frames: np.ndarray, every: int = DETECT_EVERY, tracker: FaceTracker | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Look for one person's face in every fifth frame.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        every: frames from one look to the next.
        tracker: one that saw the frames before these; a new one begins with the largest face.

    Returns:
        at: (K,) the frames that show the face.
        boxes: (K, 3) center x, center y and width of its box there, in pixels of the frame.

    Raises:
        RuntimeError: no usable OpenCV.
    """
    face_detector()
    tracker = tracker or FaceTracker()
    found = [(t, tracker(frames[t])) for t in range(0, len(frames), every)]
    at = [t for t, box in found if box is not None]
    boxes = [box for _, box in found if box is not None]
    return np.array(at, dtype=np.int64), np.array(boxes, dtype=np.float64).reshape(-1, 3)


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
