"""A disk that is full, for tests."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def full_disk(path: Path, data: bytes) -> None:
    """Instead of ``Path.write_bytes``: half of the bytes, then what a full disk answers."""
    with open(path, "wb") as file:
        file.write(data[: len(data) // 2])
    if os.path.exists("/dev/full"):
        with open("/dev/full", "wb", buffering=0) as disk:
            disk.write(data[len(data) // 2 :])
    raise OSError(errno.ENOSPC, "No space left on device")
