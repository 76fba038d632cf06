"""Video files to arrays and back: frames are (T, H, W, 3) uint8, RGB."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from lessons.files import atomic

# Left to itself, x264 reads whatever lies in memory past rows that are no multiple of 32 pixels long.
REPEATABLE = {"x264-params": "cpu-independent=1"}
MAX_BYTES = 2**31  # decoded pictures; beyond that a laptop begins to swap
AGAIN = "the file is truncated or damaged: copy or download it again"


class VideoError(ValueError):
    """A file that gives no usable video; the message names it, what was found and what to do."""


def read_video(path: str | Path) -> np.ndarray:
    """Decode every picture of the first video stream of a file.

    Returns:
        (T, H, W, 3) uint8 RGB, T >= 1, at the file's own frame rate, turned upright where the file says how.

    Raises:
        VideoError: the file is missing, truncated, no video, without pictures, or too large.
    """
    return read_video_and_rate(path)[0]


def read_video_and_rate(path: str | Path) -> tuple[np.ndarray, float | None]:
    """As :func:`read_video`, with the frames a second too (None when the file does not say)."""
    frames, rates = zip(*frames_of(path), strict=True)
    return np.stack(frames), rates[0]  # (T, H, W, 3)


def frames_of(path: str | Path) -> Iterator[tuple[np.ndarray, float | None]]:
    """Decode a file picture by picture, for work that begins before the last one is there.

    Yields:
        (H, W, 3) uint8 RGB, and the frames a second (None when the file does not say).

    Raises:
        VideoError: as :func:`read_video`, when the fault is reached.
    """
    path = Path(path)
    if not path.is_file():
        raise VideoError(f"{path}: no such file; give the path of a video (mp4, mpg, avi, mov, ...)")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes); copy or download it again")
    n_frames = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise VideoError(f"{path}: no video stream in it, only other streams; expected a video")
            stream = container.streams.video[0]
            stream.codec_context.thread_count = 1  # small pictures: threads cost more than they bring
            _check_index(path, stream)
            rate = float(stream.average_rate) if stream.average_rate else None
            for rgb in _decode(path, container, stream):  # (H, W, 3)
                n_frames += 1
                yield rgb, rate
    except (av.error.FFmpegError, OSError) as error:
        if n_frames:
            raise VideoError(f"{path}: decoding broke off after {n_frames} pictures; {AGAIN}") from error
        reason = getattr(error, "strerror", None) or error
        raise VideoError(
            f"{path}: it does not decode as a video ({reason}); give a video file, or if it is one, {AGAIN}"
        ) from error
    if not n_frames:
        raise VideoError(f"{path}: a video without a single picture; {AGAIN}")


def _check_index(path: Path, stream: av.VideoStream) -> None:
    """An mp4 cut at a border between pictures decodes without an error, but its index tells of more bytes."""
    entries = getattr(stream, "index_entries", ())  # older PyAV does not show it
    needed = max((entry.pos + entry.size for entry in entries), default=0)
    found = path.stat().st_size
    if needed > found:
        raise VideoError(f"{path}: its index tells of {needed} bytes, it has {found}; {AGAIN}")


def _decode(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream
) -> Iterator[np.ndarray]:
    to_rgb = VideoReformatter()  # one for all pictures: a new one for each doubles the time
    first = None
    for n, picture in enumerate(container.decode(stream)):
        if picture.is_corrupt:  # how a truncated MPEG-1 file shows, which has no index to break
            raise VideoError(f"{path}: picture {n} is damaged; {AGAIN}")
        rgb = to_rgb.reformat(picture, format="rgb24").to_ndarray()  # (H, W, 3)
        quarter_turns = round(getattr(picture, "rotation", 0) / 90)  # phones film upright and note it
        rgb = np.ascontiguousarray(np.rot90(rgb, quarter_turns))
        first = rgb.shape if first is None else first
        if rgb.shape != first:
            raise VideoError(f"{path}: size changes from {first[:2]} to {rgb.shape[:2]}; re-encode it to one")
        yield rgb
        if (n + 1) * rgb.nbytes > MAX_BYTES:
            raise VideoError(
                f"{path}: more than {MAX_BYTES / 1e9:.1f} GB of pictures of {rgb.shape[1]}x{rgb.shape[0]}; "
                f"cut or shrink it first: ffmpeg -i {path.name} -t 10 -vf scale=-2:480 short.mp4"
            )


def _check_frames(frames: np.ndarray, fps: float) -> np.ndarray:
    """Frames as (T, H, W, 3) uint8, gray ones repeated over the channels."""
    if frames.dtype != np.uint8:
        raise ValueError(f"frames: dtype {frames.dtype}, expected uint8 (0..255)")
    if frames.ndim == 3:
        frames = np.repeat(frames[..., None], 3, axis=-1)  # (T, H, W, 3)
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"frames: shape {frames.shape}, expected (T, H, W) gray or (T, H, W, 3) RGB, T >= 1")
    if not fps > 0:
        raise ValueError(f"fps: {fps}, expected frames a second, above 0")
    return np.ascontiguousarray(frames)


def write_video(path: str | Path, frames: np.ndarray, fps: float = 25.0) -> None:
    """Write frames as H.264 mp4, near-lossless to the eye (CRF 18), as a whole or not at all.

    The same frames give the same file every time on one machine. On another, the turn from RGB to the colors
    of H.264 may round differently, and another release of PyAV may pack differently.

    Args:
        path: the file to write, ending in .mp4.
        frames: (T, H, W, 3) RGB or (T, H, W) gray, uint8; H and W even, because color is kept at half size.
        fps: frames a second.

    Raises:
        ValueError: frames of another kind, odd sizes, or another suffix.
        OSError: the file cannot be written, for one when the disk is full; no partial file stays.
    """
    path = Path(path)
    frames = _check_frames(frames, fps)
    _, height, width, _ = frames.shape
    if path.suffix != ".mp4":
        raise ValueError(f"path: {path.name!r}, expected a name that ends in .mp4")
    if height % 2 or width % 2:
        raise ValueError(f"frames: {width}x{height}; H.264 needs even sizes, crop or pad one row or column")
    with atomic(path) as part:
        try:
            with av.open(str(part), "w", format="mp4") as container:
                rate = Fraction(fps).limit_denominator(1001)
                stream = container.add_stream("libx264", rate=rate, options={"crf": "18", **REPEATABLE})
                stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
                stream.codec_context.thread_count = 1  # how many threads there are changes the file
                for frame in frames:  # (H, W, 3)
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                container.mux(stream.encode(None))
        except av.error.FFmpegError as error:
            raise OSError(error.errno, f"cannot write the video ({error.strerror})", str(path)) from error


def write_gif(path: str | Path, frames: np.ndarray, fps: float = 25.0) -> None:
    """Write frames as an endless GIF, as a whole or not at all.

    GIF counts time in hundredths of a second, so the rate is the nearest it can show.

    Args:
        path: the file to write, ending in .gif.
        frames: (T, H, W, 3) RGB or (T, H, W) gray, uint8.
        fps: frames a second, at most 50: viewers slow down anything faster.

    Raises:
        ValueError: frames of another kind, fps above 50, or another suffix.
        OSError: the file cannot be written; no partial file stays.
    """
    path = Path(path)
    frames = _check_frames(frames, fps)
    if path.suffix != ".gif":
        raise ValueError(f"path: {path.name!r}, expected a name that ends in .gif")
    if fps > 50:
        raise ValueError(f"fps: {fps}; a GIF shows at most 50 frames a second, leave out every other frame")
    pictures = [Image.fromarray(frame) for frame in frames]
    with atomic(path) as part:
        hold = 10 * round(100 / fps)  # milliseconds
        pictures[0].save(part, "GIF", save_all=True, append_images=pictures[1:], duration=hold, loop=0)
