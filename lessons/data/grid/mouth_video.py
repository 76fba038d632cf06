"""A video file of a face or of a mouth -> the mouth, cut while it is decoded, in constant memory."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from lessons.data.grid.faces import NoFaceError
from lessons.data.grid.mouth_crop import HOLD, MouthFollower, is_mouth_crop, no_face, seconds_of
from lessons.data.video import frames

LOOK_EVERY = 10  # frames from one look for the face to the next: half of the data's looks, the same reading
PIECE = 5  # frames that are worked on at once
SHORTER_SIDE = 360  # pixels: larger frames are shrunk to it; a face is at least a quarter as wide
SHORT = 150  # frames, 6 s: in a clip up to here, half of the looks must find the face


class MouthVideo:
    """The mouth in a video file, piece by piece.

    Args:
        path: a video of a face seen from the front, or of a mouth (twice as wide as high).
        face: which face, see :class:`lessons.data.grid.faces.FaceTracker`.
        live: called with each piece as early as it can be cut, (N, H, W, 3), by what is known up to it.

    Attributes:
        warnings: what is wrong with the video and does not hinder reading, complete at its end.
    """

    def __init__(
        self, path: str | Path, face: int | None = None, live: Callable[[np.ndarray], object] | None = None
    ) -> None:
        self.path = path
        self.warnings: list[str] = []
        self._live = live
        self._follower = MouthFollower(LOOK_EVERY, face)
        self._unseen: list[np.ndarray] = []  # where nobody was seen

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield (N, H, W, 3) uint8 mouths, and (N,) whether a face was seen within 2 s of each.

        Raises:
            VideoError: no usable video.
            NoFaceError: no face, or in a clip of up to 6 s in fewer than half of the frames where it is
                looked for.
        """
        follower, done, size = self._follower, 0, (0, 0)
        decoded = frames(self.path, SHORTER_SIDE, self.warnings.append)
        while piece := list(itertools.islice(decoded, PIECE)):
            piece, size = np.stack(piece), piece[0].shape[:2]  # (N, H, W, 3)
            if is_mouth_crop(piece):
                if self._live:
                    self._live(piece)
                yield piece, np.ones(len(piece), dtype=bool)
                continue
            if self._live:
                self._live(follower.follow(piece))
            else:
                follower.look(piece)
            if follower.seen - done > HOLD - PIECE:
                yield self._cut(done, done + HOLD // 2)
                done += HOLD // 2
        if follower.seen:
            self._check(size)
            yield self._cut(done, follower.seen)
            self._warn()

    def _cut(self, start: int, end: int) -> tuple[np.ndarray, np.ndarray]:
        mouths, seen = self._follower.cut(start, end)
        self._unseen.append(~seen)
        return mouths, seen

    def _check(self, size: tuple[int, int]) -> None:
        tracker = self._follower.tracker
        short = self._follower.seen <= SHORT
        if not tracker.found or (short and 2 * tracker.found < tracker.looks):
            raise NoFaceError(f"{self.path}: {no_face(tracker, size, LOOK_EVERY)}")

    def _warn(self) -> None:
        tracker, unseen = self._follower.tracker, np.concatenate(self._unseen)  # (T,)
        if tracker.crowded:
            self.warnings.append(
                f"{self.path}: several faces in {tracker.crowded} of {tracker.looks} pictures; "
                "the crop stays with one of them, --face N takes the Nth from the left"
            )
        if unseen.any():
            self.warnings.append(f"{self.path}: no face in {seconds_of(unseen)}; nothing is read there")
