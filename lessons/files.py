"""Writing files: whole or not at all, into a folder that was tried first, by one training at a time."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOCKED = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)  # what a lock that another process holds answers


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Write to a neighbor of ``path`` that takes its place only when all is written.

    A crash, a kill or a full disk leaves the old file as it was.

    Yields:
        the path to write to; it has the suffix of ``path``, by which many writers choose a format.

    Raises:
        OSError: when the disk does not take it; the message names ``path``.
    """
    path = Path(path)
    neighbor = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield neighbor
            with open(neighbor, "r+b") as written:  # Windows flushes only what may be written to
                os.fsync(written.fileno())  # a full disk can show itself only here
            os.replace(neighbor, path)
        finally:
            neighbor.unlink(missing_ok=True)


def write_json(path: str | Path, data: Any, indent: int | None = 1) -> None:
    """Write ``data`` as JSON, all or nothing."""
    with atomic(path) as part:
        part.write_text(json.dumps(data, indent=indent) + "\n", encoding="utf-8")


def write_csv(path: str | Path, columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table with a header, all or nothing; NaN becomes an empty cell."""
    with atomic(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()})


def check_writable(path: str | Path) -> None:
    """Find out before the work whether a file can be written afterwards.

    Raises:
        OSError: it is a folder, its folder cannot be made or written to, or the disk is full.
    """
    path = Path(path)
    probe = path.with_name(f".{path.stem}.{os.getpid()}.part")
    with _naming(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        nearest = next((parent for parent in path.parents if os.path.lexists(parent)), None)
        if nearest and not nearest.is_dir():
            kind = "a file" if nearest.is_file() else "no folder"
            raise NotADirectoryError(errno.ENOTDIR, f"{nearest} is {kind}, expected a folder")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(b"\0")
        finally:
            with suppress(OSError):
                probe.unlink()


def no_file(path: str | Path) -> str:
    """What lies at ``path``, where a file was expected, as words for a message: "is a folder"."""
    if not str(path):
        return "the name is empty"
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "is a link that leads to itself"
        if os.path.islink(path):
            return f"is a link to {os.readlink(path)}, which is missing"
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR)
        return "no such file" if missing else f"cannot be opened ({error.strerror})"
    if stat.S_ISDIR(mode):
        return "is a folder"
    return "is a pipe" if stat.S_ISFIFO(mode) else "is no regular file"


def printing_failed(error: BaseException) -> bool:
    """Whether an error is of standard output, full or closed; what writes files names them."""
    full_or_closed = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EPIPE)
    return full_or_closed and error.filename is None


@contextmanager
def claim(folder: str | Path) -> Iterator[None]:
    """Keep ``folder`` to this process while the block runs; what killed ones left half-written is removed.

    The lock ends with the process, however it ends.

    Raises:
        OSError: the folder cannot be made or written to, or another process has claimed it.
    """
    folder = Path(folder)
    with _naming(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "ab", buffering=0)
    try:
        with _naming(folder):
            _lock(file)
        try:
            with _naming(folder):
                file.write(b"\0")  # a full disk shows itself here
                for leftover in folder.glob(".*.part*"):
                    leftover.unlink(missing_ok=True)
            yield
        finally:
            if fcntl is None:  # Windows deletes no open file; elsewhere the lock is kept to the last
                file.close()
            with suppress(OSError):
                os.unlink(file.name)
    finally:
        file.close()


def _lock(file: IO[bytes]) -> None:
    """Lock an open file against other processes, where the file system can."""
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        else:
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    except OSError as error:
        if error.errno in LOCKED:
            advice = "another run is writing there; wait for it, or choose another folder"
            raise OSError(error.errno, advice) from error


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name ``path`` in an OSError."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"could not write: {error.strerror or error}", str(path)) from error
