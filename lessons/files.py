"""Writing files so that a reader never meets half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Write to a neighbor of ``path`` that takes its place only when all is written.

    A crash, a kill or a full disk leaves the old file as it was, and no half-written one.

    Yields:
        the path to write to; it has the suffix of ``path``, by which many writers choose a format.

    Raises:
        OSError: when the disk does not take it; the message names ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    neighbor = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield neighbor
        with open(neighbor, "r+b") as written:  # Windows flushes only what may be written to
            os.fsync(written.fileno())  # a full disk can show itself only here
        os.replace(neighbor, path)
    except OSError as error:
        raise OSError(error.errno, f"could not write: {error.strerror or error}", str(path)) from error
    finally:
        neighbor.unlink(missing_ok=True)
