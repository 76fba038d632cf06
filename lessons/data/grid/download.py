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
from collections.abc import Iterable
from pathlib import Path

from lessons.data.grid.archive import WrongArchiveError, names_by_folder, unpack
from lessons.data.grid.corpus import best_folder
from lessons.data.grid.fetch import DownloadError, _Dropped, fetch_zip, open_url
from lessons.files import atomic

FILES = "https://zenodo.org/records/3625687/files/{name}?download=1"
RECORD = "https://zenodo.org/api/records/3625687"  # JSON: for each file its key, size and checksum
EVERYONE = tuple(n for n in range(1, 35) if n != 21)
SPEAKERS = "some of 1 to 34, except 21, which has no video"
ALIGNMENTS = "alignments.zip"  # of all speakers

Known = dict[str, tuple[int | None, str | None]]  # file -> its size and checksum


def speaker_numbers(speakers: int | str | Iterable[int]) -> list[int]:
    """1, [1, 2], "1,2", "s1,s2" or "all" as numbers in order.

    Raises:
        ValueError: a speaker that the archive does not have.
    """
    if isinstance(speakers, str):
        fields = [field.strip().removeprefix("s") for field in speakers.split(",")]
        numbers = [int(field) if re.fullmatch("[0-9]{1,3}", field) else 0 for field in fields]
        numbers = EVERYONE if speakers == "all" else numbers
    else:
        numbers = [speakers] if isinstance(speakers, int) else list(speakers)
    if not numbers or not set(numbers) <= set(EVERYONE):
        raise ValueError(f"speakers={speakers!r}: expected {SPEAKERS}, or all")
    return sorted(set(numbers))


def known_files(record_url: str) -> Known:
    """Size and checksum of each file as the archive's record tells them; empty when it does not answer."""
    try:
        with open_url(record_url, timeout=30.0) as response:
            files = json.loads(response.read(1 << 24))["files"]
        found = {}
        for file in files:
            size, checksum = file.get("size"), file.get("checksum")
            sound = isinstance(checksum, str) and re.fullmatch(r"(md5|sha256):[0-9a-f]+", checksum)
            found[str(file["key"])] = (
                size if type(size) is int and size > 0 else None,
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
        print("the archive's record did not answer: no checksum but the zip's own")
        return {}


def download(
    speakers: int | str | Iterable[int],
    out: str | Path,
    files_url: str = FILES,
    record_url: str | None = RECORD,
    pause: float = 2.0,
) -> None:
    """Fetch speakers' videos and word timings: OUT/sN/*.mpg and OUT/align/sN/*.align.

    Run it again after an interruption: it goes on where it stopped, and does nothing when all is there. Each
    archive is deleted once it is unpacked, or when it is not what it should be; OUT/download.json notes what
    was fetched from where. The archive of word timings has some speakers in other speakers' folders; a
    speaker's folder is the one whose names are those of the videos.

    Args:
        speakers: numbers, see :func:`speaker_numbers`.
        out: folder to fill.
        files_url: address of a file of the archive, with ``{name}`` in it.
        record_url: address of the archive's JSON record, or None.
        pause: seconds before a second try.

    Raises:
        ValueError: no such speaker.
        DownloadError: as :func:`lessons.data.grid.fetch.fetch_zip`; also when the record lists no such file,
            an archive holds none of the files, or the disk has too little room for all.
    """
    numbers, out = speaker_numbers(speakers), Path(out)
    out.mkdir(parents=True, exist_ok=True)
    notes = Notes(out)
    videos = [f"s{n}" for n in numbers if not notes.there(f"s{n}", ".mpg")]
    timings = [f"s{n}" for n in numbers if f"s{n}" in videos or not notes.there(f"align/s{n}", ".align")]
    if not timings:
        return
    wanted = [f"{name}.zip" for name in videos] + [ALIGNMENTS]
    known = known_files(record_url) if record_url else {}
    _check_room(out, [name for name in wanted if not (out / name).is_file()], known)
    for name in wanted:
        if known and name not in known:
            raise DownloadError(f"{record_url}: the record lists no {name}, only {sorted(known)[:40]}")
        archive, url = out / name, files_url.format(name=name)
        size, checksum = known.get(name, (None, None))
        if not archive.is_file():  # it appears only when whole and checked
            fetch_zip(url, archive, size, checksum, pause)
        try:
            if name == ALIGNMENTS:
                counts = _unpack_alignments(archive, out, timings)
            else:
                speaker = name.removesuffix(".zip")
                counts = {speaker: unpack(archive, out / speaker, ".mpg")}
        except WrongArchiveError as error:
            archive.unlink()
            raise DownloadError(f"{error}; it was deleted, the same command fetches it again") from error
        archive.unlink()
        for folder, count in counts.items():
            notes.add(folder, count, url, checksum)
        if lacking := [folder for folder, count in counts.items() if not count]:
            raise DownloadError(
                f"{url}: in no folder do .align files have the names of the videos: {lacking}"
            )


def _check_room(out: Path, files: list[str], known: Known) -> None:
    """Refuse more archives than the disk has room for."""
    sizes = [known.get(name, (None, None))[0] or 0 for name in files]
    # What is unpacked takes as much as its archive, and for a while both are there.
    needed, free = sum(sizes) + max(sizes, default=0), shutil.disk_usage(out).free
    if needed > free:
        raise DownloadError(
            f"{out}: {free} bytes free on this disk, {needed} needed for {len(files)} archives; make room or "
            "take fewer speakers"
        )


def _unpack_alignments(archive: Path, out: Path, speakers: list[str]) -> dict[str, int]:
    """Unpack each speaker's word timings; folder in ``out`` -> number of files, 0 where none fits."""
    folders = names_by_folder(archive, ".align")
    counts = {}
    for speaker in speakers:
        ids = {path.stem for path in (out / speaker).glob("*.mpg")}
        best = best_folder(ids, folders, [speaker])
        if best not in (None, speaker):
            print(f"{speaker}: the archive has its word timings in the folder {best}; taken from there")
        found = folders.get(best, set()) & ids
        if 0 < len(found) < len(ids):
            print(f"{speaker}: word timings for {len(found)} of {len(ids)} videos")
        folder = out / "align" / speaker
        for path in folder.glob("*.align"):  # what an earlier version took from another speaker's folder
            if path.stem not in found:
                path.unlink()
        counts[f"align/{speaker}"] = unpack(archive, folder, ".align", best, ids) if best else 0
    return counts


class Notes:
    """OUT/download.json: for each folder how many files were fetched, and from where.

    Raises:
        DownloadError: a file that holds something else.
    """

    def __init__(self, out: Path) -> None:
        self.out, self.file = out, out / "download.json"
        self.notes: dict[str, dict] = {}
        if self.file.is_file():
            try:
                self.notes = json.loads(self.file.read_text(encoding="utf-8"))
                sound = all(type(note["files"]) is int for note in self.notes.values())
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                sound = False
            if not sound:
                raise DownloadError(f"{self.file}: not the notes of a download; delete it and try again")

    def there(self, folder: str, suffix: str) -> bool:
        """Whether all files of a folder are there already."""
        done = self.notes.get(folder, {}).get("files")
        found = bool(done) and sum(1 for _ in (self.out / folder).glob(f"*{suffix}")) >= done
        if found:
            print(f"{self.out / folder}: {done} files are there already")
        return found

    def add(self, folder: str, count: int, url: str, checksum: str | None) -> None:
        """Note that a folder is complete."""
        self.notes[folder] = {"files": count, "from": url, "checksum": checksum}
        with atomic(self.file) as neighbor:
            neighbor.write_text(json.dumps(self.notes, indent=2) + "\n", encoding="utf-8")
