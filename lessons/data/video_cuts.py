"""Files that end before their last frame, although every frame that is left decodes without an error.

Matroska (mkv, webm), AVI and GIF files say how far they reach, so the check reads their headers and decodes
nothing. What was written to a pipe, or by a browser while it recorded, leaves its length open: nothing can be
compared, and the file is accepted.
"""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import BinaryIO

from lessons.data.video_stream import DAMAGED, VideoError

LEFT_OPEN = 0xFFFFFFFF  # the size of a list that an AVI file leaves open
MAX_ELEMENTS, MAX_SIZE = 8, 2**32  # of what stands before the Segment of a Matroska file


def check_end(path: Path) -> None:
    """Refuse a file that ends too early.

    Raises:
        VideoError: bytes are missing.
    """
    found = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(12)
        file.seek(0)
        needed = 0
        if head[:4] == b"\x1a\x45\xdf\xa3":
            needed = _matroska_end(file)
        elif head[:4] == b"RIFF" and head[8:] == b"AVI ":
            needed = _avi_end(file)
        elif head[:6] in (b"GIF87a", b"GIF89a") and not _gif_is_whole(file):
            raise VideoError(f"{path}: the GIF ends in the middle of a frame; {DAMAGED}")
    if needed > found:
        raise VideoError(f"{path}: its header tells of {needed} bytes, it has {found}; {DAMAGED}")


def _matroska_end(file: BinaryIO) -> int:
    """Where the Segment ends, which holds all frames (RFC 9559, 5.1); its start if its size is left open."""
    for _ in range(MAX_ELEMENTS):  # the EBML header, perhaps a Void
        name, size = _element(file)
        if name == b"\x18\x53\x80\x67":
            return file.tell() + size
        if size > MAX_SIZE:
            break
        file.seek(size, 1)
    return 0


def _element(file: BinaryIO) -> tuple[bytes, int]:
    """The ID and the size of the EBML element that starts here (RFC 8794, 4 to 6); 0 if it is left open."""
    numbers = []
    for _ in range(2):
        first = file.read(1)  # as many leading zero bits as bytes follow
        numbers.append(first + file.read(8 - int.from_bytes(first, "big").bit_length()))
    name, size = numbers
    left_open = (1 << 7 * len(size)) - 1  # all bits behind the leading one
    size = int.from_bytes(size, "big") & left_open
    return name, 0 if size == left_open else size


def _avi_end(file: BinaryIO) -> int:
    """Where the last list of frames ends; 0 if its size is left open.

    Behind it stands the index, without which the frames can be read. Beyond 1 GB there are several lists.
    """
    end = 0
    while len(head := file.read(12)) == 12:  # four letters, a size, and in lists four letters more
        size = int.from_bytes(head[4:8], "little")
        if not head[:4].strip().isalnum():
            break  # no chunk: something that was appended, such as zeros, of which each would be looked at
        if head[:4] == b"RIFF":
            continue  # its chunks follow
        if head[:4] == b"LIST" and head[8:] == b"movi" and size != LEFT_OPEN:
            end = file.tell() - 4 + size
        file.seek(size + size % 2 - 4, 1)
    return end


def _gif_is_whole(file: BinaryIO) -> bool:
    """Whether a GIF does not end inside a block (GIF89a, 17 to 27); some writers forget the end mark."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:

        def colors(flags: int) -> int:
            return 3 << (flags % 8) + 1 if flags & 0x80 else 0  # bytes of a color table

        try:
            at = 13 + colors(data[10])
            while at < len(data) and data[at] in (0x21, 0x2C):  # an extension, an image; else the end
                at += 2 if data[at] == 0x21 else 11 + colors(data[at + 9])
                while data[at]:  # sub-blocks
                    at += 1 + data[at]
                at += 1
        except IndexError:
            return False
    return True
