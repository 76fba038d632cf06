"""What a video file says of its streams and pictures: which stream, what size, which way up."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

DAMAGED = "the file is truncated or damaged: copy or download it again"
LOOK_AHEAD = 300  # packets that are counted to tell a video from a still
MAX_STRETCH = 4  # a pixel is at most so many times wider than high; beyond it the header is wrong


class VideoError(ValueError):
    """A file that gives no usable video; the message names it, what was found and what to do."""


def best_stream(path: Path) -> int:
    """The index of the largest video stream that moves; cover pictures and stills do not count.

    Raises:
        VideoError: no video stream.
    """
    with av.open(f"file:{path}", metadata_errors="replace") as container:
        videos = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not videos:
            cover = " and a cover picture" if container.streams.video else ""
            raise VideoError(f"{path}: no video stream in it, only other streams{cover}; expected a video")
        if len(videos) == 1:
            return videos[0].index
        packets = dict.fromkeys((stream.index for stream in videos), 0)
        for packet, _ in zip(container.demux(videos), range(LOOK_AHEAD), strict=False):
            packets[packet.stream.index] += packet.size > 0
        moving = [stream for stream in videos if 4 * packets[stream.index] >= max(packets.values())]
        return max(moving, key=lambda stream: stream.width * stream.height).index  # of equal ones the first


def _is_cover(stream: av.VideoStream) -> bool:
    attached = 0x400  # AV_DISPOSITION_ATTACHED_PIC
    return bool(int(stream.disposition) & attached)


def check_index(path: Path, stream: av.VideoStream) -> None:
    """Refuse a file shorter than its index says: cut between two frames, an mp4 decodes without an error.

    Raises:
        VideoError: bytes are missing.
    """
    entries = getattr(stream, "index_entries", ())  # older PyAV does not show it
    needed = max((entry.pos + entry.size for entry in entries), default=0)
    found = path.stat().st_size
    if needed > found:
        raise VideoError(f"{path}: its index tells of {needed} bytes, it has {found}; {DAMAGED}")


def shown_size(picture: av.VideoFrame, stream: av.VideoStream, shorter_side: int | None) -> tuple[int, int]:
    """(H, W) of a decoded picture with square pixels, the shorter side at most ``shorter_side``."""
    height, width = picture.height, picture.width
    stretch = float(stream.sample_aspect_ratio or 1)  # the width of a pixel, in heights
    if 1 / MAX_STRETCH <= stretch <= MAX_STRETCH:
        if stretch >= 1:
            width = round(width * stretch)
        else:
            height = round(height / stretch)
    shrink = min(1.0, shorter_side / min(height, width)) if shorter_side else 1.0
    return max(1, round(height * shrink)), max(1, round(width * shrink))


def upright(rgb: np.ndarray, matrix: tuple[int, int, int, int]) -> np.ndarray:
    """Turn and mirror (H, W, 3) as a display matrix says (ISO 14496-12, 8.3.2).

    The matrix [[a, b], [c, d]] takes (x, y) to (a x + c y, b x + d y); the eight with entries -1, 0 and 1
    are the quarter turns, mirrored or not.
    """
    a, b, c, d = matrix
    if abs(a) + abs(d) < abs(b) + abs(c):  # x' = c y, y' = b x
        rgb, a, d = rgb.swapaxes(0, 1), c, b
    return np.ascontiguousarray(rgb[:: 1 if d >= 0 else -1, :: 1 if a >= 0 else -1])


def display_matrix(picture: av.VideoFrame) -> tuple[int, int, int, int]:
    """a, b, c, d of the picture's display matrix, in units of 1/65536; without one, the identity."""
    try:
        found = list(picture.side_data)
    except ValueError:  # PyAV gives none of it if it does not know one kind, as the EXIF block of a JPEG
        angle = np.deg2rad(getattr(picture, "rotation", 0))  # anticlockwise; older PyAV does not show it
        cos, sin = round(65536 * np.cos(angle)), round(65536 * np.sin(angle))
        return cos, -sin, sin, cos
    for side_data in found:
        if side_data.type.name == "DISPLAYMATRIX":
            matrix = np.frombuffer(bytes(side_data), np.int32).reshape(3, 3)
            return tuple(int(entry) for entry in matrix[:2, :2].ravel())
    return 1, 0, 0, 1
