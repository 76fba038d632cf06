"""A lip reader on a stream: find the mouth in each frame, crop it, read it, emit each word once it is stable.

    frame (H, W) → detector with its state → box → smoothed → crop (32, 64) → Stream → words

Only the reader looks ahead (``lessons.lipreading.streaming``). A box depends on its own frame and earlier
ones: it is causal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch

from lessons.data.box_crop import crop_box
from lessons.data.image import resize_area
from lessons.detection.center_points import decode
from lessons.detection.detector import Detector, State, to_input
from lessons.lipreading.cascade import Cascade
from lessons.lipreading.lipnet import LipNet
from lessons.lipreading.streaming import StableWord, Stream

SHRINK = 2  # the finder sees frames of half the height and width: finding needs less detail than reading
MIN_SCORE = 0.3  # a box with a lower score is dropped
SHARE = 0.25  # weight of the newest box in the smoothed one
READ_EVERY = 5  # frames from one reading to the next
MAX_WAITING = 75  # frames that are buffered until the first box, 3 s; older ones are not read


class Finder(Protocol):
    """Anything that locates the mouth in the next frame (H, W): a box (4,) in pixels, or None."""

    def __call__(self, frame: np.ndarray) -> np.ndarray | None: ...


class MouthFinder:
    """A detector that goes through one clip, frame by frame. It has a state, so a new clip needs a new one.

    Args:
        detector: of one class, in ``eval`` mode.
        sure: the lowest score at which its best box is used.

    Raises:
        ValueError: a detector in training mode or of several classes, or a score outside 0 … 1.
    """

    def __init__(self, detector: Detector, sure: float = MIN_SCORE) -> None:
        if detector.training:
            raise ValueError("detector is in training mode: call detector.eval() first")
        if detector.classes != 1 or detector.in_channels != 1:
            raise ValueError(
                f"detector finds {detector.classes} classes in frames of {detector.in_channels} channels, "
                "expected one class, the mouth, in gray frames"
            )
        if not 0 <= sure <= 1:
            raise ValueError(f"sure={sure}, expected 0 to 1")
        self.detector, self.sure = detector, sure
        self.state: State = None

    @torch.inference_mode()
    def __call__(self, frame: np.ndarray) -> np.ndarray | None:
        """The next frame (H, W) uint8 -> the box with the highest score, (4,) float32 in pixels, or None."""
        small = shrink(frame[None])  # (1, H / 2, W / 2)
        x = to_input(torch.from_numpy(small)[None])  # (T = 1, B = 1, C = 1, H / 2, W / 2)
        maps, self.state = self.detector(x, self.state)  # (1, 1, 5, H', W')
        (found,) = decode(maps[:, 0], small.shape[1:], least=self.sure, most=1)
        return SHRINK * found.boxes[0].numpy() if len(found) else None


def shrink(frames: np.ndarray) -> np.ndarray:
    """(T, H, W) uint8 -> the finder's input (T, H / 2, W / 2)."""
    height, width = frames.shape[1:]
    return resize_area(frames, (max(1, height // SHRINK), max(1, width // SHRINK)))


class Smoother:
    """An exponential moving average of boxes: box ← box + share (newest - box). It is causal.

    A frame without a box leaves the average as it is.

    Args:
        share: weight of the newest box, above 0, up to 1. A smaller weight means less jitter and more lag:
        the
            average follows a mouth that moves at constant speed (1 - share) / share frames behind.

    Raises:
        ValueError: a share out of range.
    """

    def __init__(self, share: float = SHARE) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"share={share}, expected above 0 and up to 1")
        self.share = share
        self.box: np.ndarray | None = None

    def __call__(self, found: np.ndarray | None) -> np.ndarray | None:
        """The newest box (4,) or None -> the smoothed one, or None before the first."""
        if found is not None:
            self.box = found if self.box is None else self.box + self.share * (found - self.box)
        return self.box


JUMP = 0.25  # of the box's width: farther than any head moves from one frame to the next


class HeldBox:
    """A baseline without a learned memory: a box that jumps is ignored, and the last one is held.

    Args:
        finder: such as a new :class:`MouthFinder` around a detector without memory.
    """

    def __init__(self, finder: Finder) -> None:
        self.finder = finder
        self.box: np.ndarray | None = None

    def __call__(self, frame: np.ndarray) -> np.ndarray | None:
        """The next frame (H, W) -> the box found, or the last one if that lies more than ``JUMP`` away."""
        new = self.finder(frame)
        if new is not None and (self.box is None or not is_jump(self.box, new)):
            self.box = new
        return self.box


def is_jump(box: np.ndarray, new: np.ndarray) -> bool:
    """Whether the centers of two boxes (4,) are more than ``JUMP`` of the new one's width apart."""
    step = (new[:2] + new[2:] - box[:2] - box[2:]) / 2
    return bool(np.linalg.norm(step) > JUMP * (new[2] - new[0]))


class LiveReader:
    """Reads a clip that arrives frame by frame, or in pieces, and emits words once they are stable.

    Frames before the first box are buffered, at most the newest 75, and cropped at that box. Each clip needs
    a new one.

    Args:
        finder: locates the mouth in each frame, such as a new :class:`MouthFinder`.
        reader: in ``eval`` mode.
        share: weight of the newest box, see :class:`Smoother`.

    Attributes:
        found: the finder's box of every frame so far, or None.
        boxes: the smoothed box of every frame so far, None before the first.
    """

    def __init__(self, finder: Finder, reader: LipNet | Cascade, share: float = SHARE) -> None:
        self.finder, self.smoother, self.stream = finder, Smoother(share), Stream(reader)
        self.size = reader.frame_size
        self.found: list[np.ndarray | None] = []
        self.boxes: list[np.ndarray | None] = []
        self._waiting: list[np.ndarray] = []  # frames from before the first box
        self._crops: list[np.ndarray] = []  # crops that have not been read yet
        self._ended = False

    @property
    def emitted(self) -> list[StableWord]:
        """All words emitted so far."""
        return self.stream.emitted

    def push(self, frames: np.ndarray, last: bool = False) -> list[StableWord]:
        """Watch the next frames.

        Args:
            frames: (N, H, W) uint8 gray, or (H, W) for one.
            last: the clip ends here.

        Returns:
            the words that are newly emitted; none while no mouth has been found.

        Raises:
            ValueError: frames of another dtype or shape, or frames after the last.
        """
        if not isinstance(frames, np.ndarray) or frames.dtype != np.uint8 or frames.ndim not in (2, 3):
            found = f"{frames.dtype} {frames.shape}" if hasattr(frames, "dtype") else type(frames).__name__
            raise ValueError(f"frames: {found}, expected uint8 (N, H, W) or (H, W)")
        if self._ended:
            raise ValueError(
                "frames: the video has ended, expected none after its last; start a new LiveReader"
            )
        words = []
        for frame in frames.reshape(-1, *frames.shape[-2:]):  # (H, W)
            self.found.append(self.finder(frame))
            self.boxes.append(box := self.smoother(self.found[-1]))
            self._waiting.append(frame)
            if box is not None:
                self._crops += [crop_box(waiting, box, self.size) for waiting in self._waiting]
                self._waiting = []
            elif len(self._waiting) > MAX_WAITING:
                self._waiting.pop(0)
                self.stream.skip(1)
            while len(self._crops) >= READ_EVERY:
                words += self._read(self._crops[:READ_EVERY])
                self._crops = self._crops[READ_EVERY:]
        if last:
            self._ended = True
            words += self._read(self._crops, last=True)
        return words

    def _read(self, crops: list[np.ndarray], last: bool = False) -> list[StableWord]:
        """Show the reader the next crops (height, width)."""
        if not crops and self.stream.frames == self.stream.skipped:
            return []  # no mouth in the whole video
        mouths = np.array(crops, np.uint8).reshape(-1, *self.size)  # (N, height, width), N may be 0
        return self.stream.push(torch.from_numpy(mouths), last)


def watch(video: np.ndarray, finder: Finder, reader: LipNet | Cascade, share: float = SHARE) -> LiveReader:
    """Read a whole video (T, H, W) as a stream; the answer holds its words and boxes."""
    live = LiveReader(finder, reader, share)
    live.push(video, last=True)
    return live


def known(boxes: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A finder that knows where the mouth is: boxes (T, 4), one per frame.

    Raises:
        ValueError: more frames come than there are boxes.
    """
    coming = iter(boxes)

    def find(frame: np.ndarray) -> np.ndarray:
        for box in coming:
            return box
        raise ValueError(f"boxes: {len(boxes)} of them, expected one for each frame of the video")

    return find
