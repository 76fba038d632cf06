"""Fetch speakers of the GRID corpus from its public archive, the Zenodo record doi 10.5281/zenodo.3625687.

The archive could not be reached when this was written: the addresses below are those that public projects
use, and neither they nor the license (CC BY 4.0, as other copies of the corpus say) could be verified. Sizes
and checksums are therefore asked from the archive itself; none is written here. Read the record's page before
you use the data: https://zenodo.org/records/3625687
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from lessons.data.grid.fetch import DownloadError, _Dropped, fetch_zip, open_url
from lessons.files import atomic

FILES = "https://zenodo.org/records/3625687/files/{name}?download=1"
RECORD = "https://zenodo.org/api/records/3625687"  # JSON: for each file its key, size and checksum
EVERYONE = tuple(n for n in range(1, 35) if n != 21)
SPEAKERS = "some of 1 to 34, except 21, which has no video"
ALIGNMENTS = "alignments.zip"  # all speakers' word timings
MEMBER = re.compile(r"[A-Za-z0-9_-]+\.(mpg|align)")  # nothing that could lead out of the folder
LARGEST_MEMBER = 64 << 20  # bytes; a clip has half a megabyte


def known_files(record_url: str) -> dict[str, tuple[int | None, str | None]]:
    """Size and checksum of each file as the archive's record tells them; empty when it does not answer."""
    try:
        with open_url(record_url, timeout=30.0) as response:
            files = json.loads(response.read(1 << 24))["files"]
        found = {}
        for file in files:
            size, checksum = file.get("size"), file.get("checksum")
            sound = isinstance(checksum, str) and re.fullmatch(r"(md5|sha256):[0-9a-f]+", checksum)
            found[str(file["key"])] = (
                size if isinstance(size, int) and size > 0 else None,
                checksum if sound else None,
            )
        return found
    except (
        DownloadError,
        _Dropped,
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ):
        return {}


def unpack(archive: Path, folder: Path, suffix: str, names: set[str] | None = None) -> int:
    """Copy the members NAME.suffix of a zip archive into one folder, each as a whole or not at all.

    Only the last part of a member's path is used, so no member can land outside ``folder``.

    Args:
        names: where given, take members only from the archive's folder that holds most of these names, and of
            it only these: the archive has some speakers' timings in other speakers' folders.

    Returns:
        The number of members.

    Raises:
        DownloadError: no such member, one too large to be a clip, or more than the disk holds. An archive
        that
            can never serve is deleted, so that the next run fetches it anew.
    """
    with zipfile.ZipFile(archive) as source:
        members = [
            member
            for member in source.infolist()
            if not member.is_dir()
            and member.filename.endswith(suffix)
            and MEMBER.fullmatch(PurePosixPath(member.filename).name)
        ]
        if names is not None:
            members = _folder_of(members, names, folder.name)
        fault = ""
        if not members:
            fault = f"no {suffix} file" + (" with the name of one of the videos" if names is not None else "")
        elif max(member.file_size for member in members) > LARGEST_MEMBER:
            largest = max(members, key=lambda member: member.file_size)
            fault = f"{largest.filename} has {largest.file_size} bytes, too many for a clip"
        if not fault:
            _check_room(folder, sum(member.file_size for member in members), f"the files in {archive}")
            for member in tqdm(members, desc=f"unpacking {archive.name}", unit="file"):
                target = folder / PurePosixPath(member.filename).name
                if target.is_file() and target.stat().st_size == member.file_size:
                    continue  # from an earlier run: files appear only when whole
                with atomic(target) as part, source.open(member) as packed, part.open("wb") as file:
                    shutil.copyfileobj(packed, file)
    if fault:
        archive.unlink()
        raise DownloadError(f"{archive}: {fault}; this is not the archive it should be, so it was deleted")
    return len(members)


def _folder_of(members: list[zipfile.ZipInfo], names: set[str], speaker: str) -> list[zipfile.ZipInfo]:
    """Return the members with these names from the folder that has most of them; say so where it is
    another's."""
    folders: dict[str, list[zipfile.ZipInfo]] = {}
    for member in members:
        path = PurePosixPath(member.filename)
        if path.stem in names:
            folders.setdefault(path.parent.name, []).append(member)
    best = max(folders, key=lambda name: (len(folders[name]), name == speaker), default=speaker)
    if best != speaker:
        print(f"{speaker}: the archive has its word timings in the folder {best}; taken from there")
    found = folders.get(best, [])
    if 0 < len(found) < len(names):
        print(f"{speaker}: word timings for {len(found)} of {len(names)} videos")
    return found


def _check_room(folder: Path, needed: int, what: str) -> None:
    """Raise DownloadError when the disk that will hold ``folder`` has less room than ``needed`` bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DownloadError(
            f"{folder}: {free} bytes free on this disk, {needed} needed for {what}; make room"
        )


def download(
    speakers: int | Sequence[int],
    out: str | Path,
    files_url: str = FILES,
    record_url: str | None = RECORD,
    pause: float = 2.0,
) -> None:
    """Fetch speakers' videos and word timings: OUT/sN/*.mpg and OUT/align/sN/*.align.

    Run it again after an interruption: it goes on where it stopped, and does nothing when all is there. Each
    archive is deleted once it is unpacked; OUT/download.json notes what was fetched from where.

    Args:
        speakers: 1 to 34, except 21, which has no video.
        out: folder to fill.
        files_url: address of a file of the archive, with ``{name}`` in it.
        record_url: address of the archive's JSON record, or None.
        pause: seconds before a second try.

    Raises:
        ValueError: no such speaker. DownloadError: as :func:`lessons.data.grid.fetch.fetch_zip`; also when
        the record lists no such file, or
            the disk has no room for all.
    """
    speakers = [speakers] if isinstance(speakers, int) else list(speakers)
    wrong = [speaker for speaker in speakers if speaker not in EVERYONE]
    if wrong or not speakers:
        raise ValueError(f"speakers={speakers}: expected {SPEAKERS}")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    notes = _read_notes(out / "download.json")
    wanted = [(f"s{n}.zip", out / f"s{n}", ".mpg") for n in speakers]
    wanted += [(ALIGNMENTS, out / "align" / f"s{n}", ".align") for n in speakers]
    wanted = [part for part in wanted if not _is_there(out, notes, *part[1:])]
    if not wanted:
        return
    known = known_files(record_url) if record_url else {}
    if not known:
        print("the archive's record did not answer: no checksum but the zip's own")
    files = {file for file, _, _ in wanted}
    missing = [file for file in files if not (out / file).is_file()]
    _check_room(out, sum(known.get(file, (0, None))[0] or 0 for file in missing), f"{len(missing)} archives")
    for file, folder, suffix in wanted:
        if known and file not in known:
            raise DownloadError(f"{record_url}: the record lists no {file}, only {sorted(known)[:40]}")
        size, checksum = known.get(file, (None, None))
        archive, url = out / file, files_url.format(name=file)
        if not archive.is_file():  # it appears only when whole and checked
            fetch_zip(url, archive, size, checksum, pause)
        names = {video.stem for video in (out / folder.name).glob("*.mpg")} if file == ALIGNMENTS else None
        count = unpack(archive, folder, suffix, names)
        notes[folder.relative_to(out).as_posix()] = {"files": count, "from": url, "checksum": checksum}
        with atomic(out / "download.json") as neighbor:
            neighbor.write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")
        if file != ALIGNMENTS:
            archive.unlink()
    (out / ALIGNMENTS).unlink(missing_ok=True)  # all speakers' timings came from it


def _read_notes(path: Path) -> dict[str, dict]:
    """Return what earlier runs noted."""
    if not path.is_file():
        return {}
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
        if all(isinstance(note, dict) and isinstance(note["files"], int) for note in notes.values()):
            return notes
    except (ValueError, AttributeError, KeyError, RecursionError):
        pass
    raise DownloadError(f"{path}: not the notes of an earlier download; delete it to begin anew")


def _is_there(out: Path, notes: dict[str, dict], folder: Path, suffix: str) -> bool:
    done = notes.get(folder.relative_to(out).as_posix(), {}).get("files", 0)
    there = done > 0 and sum(1 for _ in folder.glob(f"*{suffix}")) >= done
    if there:
        print(f"{folder}: {done} files are there already")
    return there
