"""Frames of many clips in one file, filled as they are first needed and read back piece by piece.

34 speakers' clips at 32 x 64 pixels are 5 GB. They are decoded once; an interrupted process leaves what is
done, and several processes fill one file together: each begins elsewhere, and what two of them write is the
same.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm


class CachedFrames:
    """(N, T, H, W) uint8 in a file, indexed like an array: ``frames[i]``, ``frames[i, some]``.

    Each access maps the file anew and copies what is asked for, so that what was read does not stay in this
    process's memory.
    """

    dtype = np.dtype(np.uint8)
    ndim = 4

    def __init__(self, path: Path, shape: tuple[int, int, int, int]) -> None:
        self.path, self.shape = path, shape

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: object) -> np.ndarray:
        """Return a copy of the frames at an index, as numpy understands it."""
        return np.array(np.memmap(self.path, self.dtype, "r", shape=self.shape)[index])


def cached_frames(
    folder: Path,
    sources: Sequence[Path],
    lengths: Sequence[int],
    size: tuple[int, int],
    decode: Callable[[int], np.ndarray],
) -> CachedFrames:
    """Return the frames of all clips, from the cache in ``folder`` or by decoding what it lacks.

    Args:
        folder: where the cache is, made if need be; delete it at any time. A cache of other sources or of
            another size has another name.
        sources: N files; a changed file is decoded again.
        lengths: N numbers of frames.
        size: (H, W).
        decode: i -> the frames of clip i, (lengths[i], H, W) uint8.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    shape = (len(sources), max(lengths), *size)
    states = [path.stat() for path in sources]
    key = repr((shape, [(p.name, s.st_size, s.st_mtime_ns) for p, s in zip(sources, states, strict=True)]))
    name = f"{size[0]}x{size[1]}-{hashlib.sha256(key.encode()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    path, done_path = folder / f"{name}.frames", folder / f"{name}.done"
    _lay_out(path, int(np.prod(shape)), sparse=True)
    # Not sparse: on a full disk, writing through its map would kill the process.
    _lay_out(done_path, len(sources), sparse=False)
    done = np.memmap(done_path, np.bool_, "r+", shape=(len(sources),))  # (N,)
    start = os.getpid() * 7919 % len(sources)
    order = [i for i in np.roll(np.arange(len(sources)), -start).tolist() if not done[i]]
    _check_room(folder, len(order) * int(np.prod(shape[1:])))
    for i in tqdm(order, desc=f"decoding to {folder}", unit="clip", disable=not order):
        if done[i]:  # by another process, meanwhile
            continue
        clip = np.zeros(shape[1:], np.uint8)  # (T, H, W)
        clip[: lengths[i]] = decode(i)
        try:
            with path.open("r+b") as file:
                file.seek(i * clip.nbytes)
                file.write(clip.tobytes())
        except OSError as error:
            raise OSError(error.errno, f"could not write: {error.strerror}", str(path)) from error
        done[i] = True
    done.flush()
    return CachedFrames(path, shape)


def _lay_out(path: Path, n_bytes: int, sparse: bool) -> None:
    """Make a file of at least ``n_bytes`` zeros, or leave the one that is there."""
    with path.open("ab") as file:
        if file.tell() < n_bytes and sparse:
            file.truncate(n_bytes)
        elif file.tell() < n_bytes:
            file.write(bytes(n_bytes))


def _check_room(folder: Path, n_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if n_bytes > free:
        raise OSError(
            errno.ENOSPC,
            f"{free} bytes free on this disk, {n_bytes} needed for the frames; make room or name "
            "another cache",
            str(folder),
        )
