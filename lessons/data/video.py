"""Video files to arrays and back: frames are (T, H, W, 3) uint8, RGB."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np


class VideoError(ValueError):
    """A file that gives no usable video; the message names it, what was found and what to do."""


def read_video(path: str | Path) -> np.ndarray:
    """Decode every picture of the first video stream of a file.

    Returns:
        (T, H, W, 3) uint8 RGB, T >= 1, at the file's own frame rate.

    Raises:
        VideoError: the file is missing, empty, not a video, has no picture, or breaks off.
    """
    return read_video_and_rate(path)[0]


def read_video_and_rate(path: str | Path) -> tuple[np.ndarray, float | None]:
    """As :func:`read_video`, with the frame rate in pictures a second (None when the file does not say)."""
    path = Path(path)
    if not path.is_file():
        raise VideoError(f"{path}: no such file; give the path of a video (mp4, mpg, avi, mov, ...)")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes); copy or download it again")
    frames: list[np.ndarray] = []
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(f"{path}: no video stream in it; expected a video, perhaps this is sound only")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # small pictures: threads cost more than they bring
            for picture in container.decode(stream):
                frames.append(picture.to_ndarray(format="rgb24"))  # (H, W, 3)
            rate = float(stream.average_rate) if stream.average_rate else None
    except (av.error.FFmpegError, OSError) as error:
        found = f"decoding broke off after {len(frames)} pictures" if frames else "it does not open as a video"
        raise VideoError(
            f"{path}: {found} ({error.strerror or error}); the file is truncated, damaged or not a video: "
            "copy or download it again"
        ) from error
    if not frames:
        raise VideoError(f"{path}: no picture could be decoded; the file is truncated: copy or download it again")
    sizes = {frame.shape[:2] for frame in frames}
    if len(sizes) > 1:
        raise VideoError(f"{path}: the picture size changes on the way, {sorted(sizes)}; re-encode it to one size")
    return np.stack(frames), rate  # (T, H, W, 3)
