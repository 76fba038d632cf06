"""Fetch one speaker of the GRID corpus from its public archive, the Zenodo record doi 10.5281/zenodo.3625687.

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
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from lessons.data.grid.fetch import DownloadError, _Dropped, fetch_zip, open_url
from lessons.files import atomic

FILES = "https://zenodo.org/records/3625687/files/{name}?download=1"
RECORD = "https://zenodo.org/api/records/3625687"  # JSON: for each file its key, size and checksum
SPEAKERS = "1 to 34, save 21, which has no video"
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
            found[str(file["key"])] = (size if isinstance(size, int) else None, checksum if sound else None)
        return found
    except (DownloadError, _Dropped, OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def unpack(archive: Path, folder: Path, suffix: str, parent: str | None = None) -> int:
    """Copy the members NAME.suffix of a zip archive into one folder, each as a whole or not at all.

    Only the last part of a member's path is used, so no member can land outside ``folder``.

    Args:
        parent: take only members that lie in a folder of this name.

    Returns:
        The number of members.

    Raises:
        DownloadError: no such member, or one too large to be a clip.
    """
    with zipfile.ZipFile(archive) as source:
        members = [
            (member, PurePosixPath(member.filename).name)
            for member in source.infolist()
            if not member.is_dir()
            and member.filename.endswith(suffix)
            and MEMBER.fullmatch(PurePosixPath(member.filename).name)
            and (parent is None or PurePosixPath(member.filename).parent.name == parent)
        ]
        if not members:
            inside = f" in a folder {parent}" if parent else ""
            raise DownloadError(f"{archive}: no {suffix} file{inside}; this is not the archive it should be")
        for member, name in tqdm(members, desc=f"unpacking {archive.name}", unit="file"):
            if member.file_size > LARGEST_MEMBER:
                raise DownloadError(
                    f"{archive}: {member.filename} has {member.file_size} bytes, too many for a clip"
                )
            target = folder / name
            if target.is_file() and target.stat().st_size == member.file_size:
                continue  # from an earlier run: files appear only when whole
            with atomic(target) as part, source.open(member) as packed, part.open("wb") as file:
                shutil.copyfileobj(packed, file)
    return len(members)


def download(
    speaker: int, out: str | Path, files_url: str = FILES, record_url: str | None = RECORD, pause: float = 2.0
) -> None:
    """Fetch a speaker's videos and word timings: OUT/sN/*.mpg and OUT/align/sN/*.align.

    Run it again after an interruption: it goes on where it stopped, and does nothing when all is there. Each
    archive is deleted once it is unpacked; OUT/download.json notes what was fetched from where.

    Args:
        speaker: 1 to 34, save 21, which has no video.
        out: folder to fill.
        files_url: address of a file of the archive, with ``{name}`` in it.
        record_url: address of the archive's JSON record, or None.
        pause: seconds before a second try.

    Raises:
        ValueError: no such speaker.
        DownloadError: as :func:`lessons.data.grid.fetch.fetch_zip`; also when the record lists no such file.
    """
    if speaker not in range(1, 35) or speaker == 21:
        raise ValueError(f"speaker: {speaker}, expected {SPEAKERS}")
    out, name = Path(out), f"s{speaker}"
    out.mkdir(parents=True, exist_ok=True)
    notes_file = out / "download.json"
    notes = json.loads(notes_file.read_text(encoding="utf-8")) if notes_file.is_file() else {}
    known = None
    for file, folder, suffix, parent in (
        (f"{name}.zip", out / name, ".mpg", None),
        ("alignments.zip", out / "align" / name, ".align", name),
    ):
        done = notes.get(folder.relative_to(out).as_posix(), {}).get("files")
        if done and sum(1 for _ in folder.glob(f"*{suffix}")) >= done:
            print(f"{folder}: {done} files are there already")
            continue
        if known is None:
            known = known_files(record_url) if record_url else {}
            if not known:
                print("the archive's record did not answer: no checksum but the zip's own")
        if known and file not in known:
            raise DownloadError(f"{record_url}: the record lists no {file}, only {sorted(known)[:40]}")
        size, checksum = known.get(file, (None, None))
        archive, url = out / file, files_url.format(name=file)
        if not archive.is_file():  # it appears only when whole and checked
            fetch_zip(url, archive, size, checksum, pause)
        count = unpack(archive, folder, suffix, parent)
        notes[folder.relative_to(out).as_posix()] = {"files": count, "from": url, "checksum": checksum}
        with atomic(notes_file) as neighbor:
            neighbor.write_text(json.dumps(notes, indent=2) + "\n", encoding="utf-8")
        archive.unlink()
