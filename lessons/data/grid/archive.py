"""Unpacking the corpus's zip archives: only what is wanted, each file whole, nothing outside the folder."""

from __future__ import annotations

import re
import shutil
import zipfile
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from lessons.data.grid.fetch import DAMAGED_ZIP, DownloadError
from lessons.files import atomic

MEMBER = re.compile(r"[A-Za-z0-9_-]+\.(mpg|align)")  # nothing that could lead out of the folder
LARGEST_MEMBER = 64 << 20  # bytes; a clip has half a megabyte


class WrongArchiveError(DownloadError):
    """An archive that is damaged or does not hold what it should: of no use, however often it is tried."""


def unpack(
    archive: Path, folder: Path, suffix: str, parent: str | None = None, names: Collection[str] | None = None
) -> int:
    """Copy the members NAME.suffix of a zip archive into one folder, each as a whole or not at all.

    Only the last part of a member's path is used, so no member can land outside ``folder``.

    Args:
        parent: take only members that lie in a folder of this name.
        names: take only members of these names, without suffix.

    Returns:
        The number of members.

    Raises:
        WrongArchiveError: no such member, one too large to be a clip, or a damaged archive.
        DownloadError: more in all than the disk has room for.
    """
    with _opened(archive) as source:
        members = [
            (member, path.name)
            for member, path in _members(source, suffix)
            if parent in (None, path.parent.name) and (names is None or path.stem in names)
        ]
        if not members:
            inside = f" in a folder {parent}" if parent else ""
            raise WrongArchiveError(
                f"{archive}: no {suffix} file{inside}; this is not the archive it should be"
            )
        for member, _ in members:
            if member.file_size > LARGEST_MEMBER:
                raise WrongArchiveError(
                    f"{archive}: {member.filename} has {member.file_size} bytes, too many for a clip"
                )
        folder.mkdir(parents=True, exist_ok=True)
        targets = [(member, folder / name) for member, name in members]
        # Files appear only when whole: one of the right size is there from an earlier run.
        missing = [(m, t) for m, t in targets if not t.is_file() or t.stat().st_size != m.file_size]
        needed, free = sum(member.file_size for member, _ in missing), shutil.disk_usage(folder).free
        if needed > free:
            raise DownloadError(f"{folder}: {free} bytes free on this disk, {needed} needed; make room")
        for member, target in tqdm(missing, desc=f"unpacking {archive.name}", unit="file"):
            with atomic(target) as part, source.open(member) as packed, part.open("wb") as file:
                shutil.copyfileobj(packed, file)
    return len({name for _, name in members})


def names_by_folder(archive: Path, suffix: str) -> dict[str, set[str]]:
    """Names (without suffix) of an archive's members, by the folder that they lie in.

    Raises:
        WrongArchiveError: a damaged archive.
    """
    names: dict[str, set[str]] = defaultdict(set)
    with _opened(archive) as source:
        for _, path in _members(source, suffix):
            names[path.parent.name].add(path.stem)
    return dict(names)


def _members(source: zipfile.ZipFile, suffix: str) -> Iterator[tuple[zipfile.ZipInfo, PurePosixPath]]:
    for member in source.infolist():
        path = PurePosixPath(member.filename)
        if not member.is_dir() and path.suffix == suffix and MEMBER.fullmatch(path.name):
            yield member, path


@contextmanager
def _opened(archive: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(archive) as source:
            yield source
    except DAMAGED_ZIP as error:
        raise WrongArchiveError(f"{archive}: not a sound zip archive ({error})") from error
