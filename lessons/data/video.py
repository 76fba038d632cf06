"""Video files to arrays and back: frames are (T, H, W, 3) uint8, RGB.

Whatever the file holds, :func:`frames` gives upright frames of square pixels, 25 per second.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image

from lessons.data.video_cuts import check_end
from lessons.data.video_stream import (
    DAMAGED,
    VideoError,
    best_stream,
    check_index,
    display_matrix,
    shown_size,
    upright,
)
from lessons.data.video_times import Picture, at_25, with_times
from lessons.files import atomic

MAX_BYTES = 2**31  # of all frames in memory; beyond that a laptop begins to swap
MAX_PIXELS = 2**26  # of one frame, 200 MB
MAX_FPS, MAX_SIDE = 1000, 16_384  # of a video to write; H.264 has no room for more
# Left to itself, x264 reads whatever lies in memory past rows that are no multiple of 32 pixels long.
REPEATABLE = {"x264-params": "cpu-independent=1"}


def read_video(path: str | Path) -> np.ndarray:
    """A whole video as one array: what :func:`frames` gives, stacked.

    Returns:
        (T, H, W, 3) uint8 RGB, T >= 1, 25 frames per second.

    Raises:
        VideoError: as :func:`frames`, or more than 2 GB of frames.
    """
    clip, size = [], 0
    for frame in frames(path):  # (H, W, 3)
        clip.append(frame)
        size += frame.nbytes
        if size > MAX_BYTES:
            height, width = frame.shape[:2]
            smaller = "-vf scale=-2:480" if height > 480 else "-t 10"
            raise VideoError(
                f"{path}: more than {MAX_BYTES / 1e9:.1f} GB of frames of {width}x{height}; "
                f"cut or shrink it first: ffmpeg -i {Path(path).name} {smaller} short.mp4"
            )
    return np.stack(clip)  # (T, H, W, 3)


def frames(
    path: str | Path, shorter_side: int | None = None, warn: Callable[[str], object] = warnings.warn
) -> Iterator[np.ndarray]:
    """Decode a video of any kind frame by frame, in constant memory.

    For each 1/25 s the frame whose time is nearest, so variable frame rates, stalls and wrong rates in the
    header do no harm. Square pixels, turned and mirrored as the file's display matrix says. Of several video
    streams the largest that moves; never a cover picture.

    Args:
        path: the file.
        shorter_side: larger frames are shrunk to it, for work that needs no more.
        warn: called with a message when the file has no usable times.

    Yields:
        (H, W, 3) uint8 RGB. A frame may be the same array as the one before: do not write into it.

    Raises:
        VideoError: the file is missing, damaged, no video, a single frame, or of too large frames. What was
            decoded before the fault is reached has been given by then.
    """
    path = Path(path)
    if not path.is_file():
        raise VideoError(f"{path}: no such file; give the path of a video (mp4, mpg, avi, mov, ...)")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty (0 bytes); copy or download it again")
    seen = [0]  # pictures decoded so far
    try:
        check_end(path)
        index = best_stream(path)
        # Without "file:", "12:30.mp4" is a protocol; titles that are not UTF-8 are no fault of the frames.
        with av.open(f"file:{path}", metadata_errors="replace") as container:
            stream = container.streams[index]
            stream.codec_context.thread_count = 1  # small frames: threads cost more than they bring
            check_index(path, stream)
            pictures = with_times(path, _decode(path, container, stream, seen), stream, warn)
            yield from _to_rgb(path, at_25(pictures), stream, shorter_side)
    except (av.error.FFmpegError, OSError) as error:
        if seen[0]:
            raise VideoError(f"{path}: decoding broke off after {seen[0]} frames; {DAMAGED}") from error
        reason = getattr(error, "strerror", None) or error
        raise VideoError(
            f"{path}: it does not decode as a video ({reason}); give a video file, or if it is one, {DAMAGED}"
        ) from error
    except (VideoError, Warning, MemoryError):
        raise
    except Exception as error:  # PyAV raises more than FFmpegError: ValueError for a kind it does not know
        raise VideoError(
            f"{path}: the decoder failed after {seen[0]} frames ({type(error).__name__}: {error}); "
            f"re-encode it: ffmpeg -i {path.name} new.mp4"
        ) from error
    if not seen[0]:
        raise VideoError(f"{path}: a video without a single frame; {DAMAGED}")
    if seen[0] == 1:
        raise VideoError(f"{path}: a single frame, a still picture; expected a video of at least two frames")


def _decode(
    path: Path, container: av.container.InputContainer, stream: av.VideoStream, seen: list[int]
) -> Iterator[Picture]:
    for picture in container.decode(stream):
        if picture.is_corrupt:  # how a truncated MPEG-1 file shows, which has no index to break
            raise VideoError(f"{path}: frame {seen[0]} is damaged; {DAMAGED}")
        seen[0] += 1
        yield picture.time, picture


def _to_rgb(
    path: Path, pictures: Iterator[av.VideoFrame], stream: av.VideoStream, shorter_side: int | None
) -> Iterator[np.ndarray]:
    """Decoded pictures -> (H, W, 3) uint8 RGB, square pixels, upright; a repeated picture is turned once."""
    converter = VideoReformatter()  # one for all pictures: a new one for each doubles the time
    first, before, rgb = None, None, None
    for picture in pictures:
        if picture is not before:
            before = picture
            if first is None:
                # Once: to look at it ties a frame to itself, and only the garbage collector would free it.
                matrix = display_matrix(picture)
            if first not in (None, (picture.height, picture.width)):
                now = picture.height, picture.width
                raise VideoError(f"{path}: size changes from {first} to {now}; re-encode it to one")
            first = picture.height, picture.width
            if picture.height * picture.width > MAX_PIXELS:
                raise VideoError(
                    f"{path}: frames of {picture.width}x{picture.height}; shrink them first: "
                    f"ffmpeg -i {path.name} -vf scale=-2:480 short.mp4"
                )
            height, width = shown_size(picture, stream, shorter_side)
            how = {} if (height, width) == first else {"interpolation": "AREA" if shorter_side else "BICUBIC"}
            rgb = converter.reformat(picture, width, height, "rgb24", **how).to_ndarray()  # (H, W, 3)
            rgb = upright(rgb, matrix)  # (H, W, 3) or (W, H, 3)
        yield rgb


def _check_frames(frames: np.ndarray, fps: float) -> np.ndarray:
    """Frames as (T, H, W, 3) uint8, gray ones repeated over the channels."""
    if frames.dtype != np.uint8:
        raise ValueError(f"frames: dtype {frames.dtype}, expected uint8 (0..255)")
    if frames.ndim == 3:
        frames = np.repeat(frames[..., None], 3, axis=-1)  # (T, H, W, 3)
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ValueError(f"frames: shape {frames.shape}, expected (T, H, W) gray or (T, H, W, 3) RGB, T >= 1")
    if not 0 < fps <= MAX_FPS:
        raise ValueError(f"fps: {fps}, expected frames per second, above 0 and at most {MAX_FPS}")
    if max(frames.shape[1:3]) > MAX_SIDE:
        raise ValueError(f"frames: {frames.shape[2]}x{frames.shape[1]}, expected sides of at most {MAX_SIDE}")
    return np.ascontiguousarray(frames)


def write_video(path: str | Path, frames: np.ndarray, fps: float = 25.0, bit_rate: int | None = None) -> None:
    """Write frames as H.264 mp4, as a whole or not at all.

    The same frames give the same file every time on one machine. On another, the turn from RGB to the colors
    of H.264 may round differently, and another release of PyAV may pack differently.

    Args:
        path: the file to write, ending in .mp4.
        frames: (T, H, W, 3) RGB or (T, H, W) gray, uint8; H and W even, because color is kept at half size.
        fps: frames per second.
        bit_rate: bits per second, the encoder's target on average; None is near-lossless to the eye (CRF 18).

    Raises:
        ValueError: frames of another kind, odd sizes, another suffix, or a bit rate that is not positive.
        OSError: the file cannot be written, for one when the disk is full; no partial file stays.
    """
    path = Path(path)
    frames = _check_frames(frames, fps)
    _, height, width, _ = frames.shape
    if path.suffix != ".mp4":
        raise ValueError(f"path: {path.name!r}, expected a name that ends in .mp4")
    if height % 2 or width % 2:
        raise ValueError(f"frames: {width}x{height}; H.264 needs even sizes, crop or pad one row or column")
    if bit_rate is not None and not bit_rate > 0:
        raise ValueError(f"bit_rate={bit_rate}: expected bits per second, above 0, or None")
    quality = {"crf": "18"} if bit_rate is None else {"b": str(bit_rate)}
    with atomic(path) as part:
        try:
            with av.open(f"file:{part}", "w", format="mp4") as container:
                rate = Fraction(fps).limit_denominator(1001)
                stream = container.add_stream("libx264", rate=rate, options={**quality, **REPEATABLE})
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
        fps: frames per second, at most 50: viewers slow down anything faster.

    Raises:
        ValueError: frames of another kind, fps above 50, or another suffix.
        OSError: the file cannot be written; no partial file stays.
    """
    path = Path(path)
    frames = _check_frames(frames, fps)
    if path.suffix != ".gif":
        raise ValueError(f"path: {path.name!r}, expected a name that ends in .gif")
    if fps > 50:
        raise ValueError(f"fps: {fps}; a GIF shows at most 50 frames per second, leave out every other frame")
    pictures = [Image.fromarray(frame) for frame in frames]
    with atomic(path) as part:
        hold = 10 * round(100 / fps)  # milliseconds
        pictures[0].save(part, "GIF", save_all=True, append_images=pictures[1:], duration=hold, loop=0)
