"""The GRID corpus as people unpack it: which folders hold which speaker's videos and word timings.

Every file name of GRID belongs to exactly one of its 34 speakers. The public archive has some speakers'
timings in other speakers' folders (s5 and s6 are exchanged, for example), so timings are found by their
names: those of a speaker lie in the folder that shares most names with the speaker's videos.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lessons.data.grid.mouth_set import MouthSetError

Folder = TypeVar("Folder", Path, str)
ALIGN_FOLDERS = ("align", "alignments")  # the second is what the archive unpacks to


@dataclass(frozen=True)
class Job:
    """One clip to prepare."""

    id: str
    speaker: str
    video: Path
    align: Path
    mouth: Path
    source: tuple[int, ...]  # sizes and times of video and align: a changed file is prepared again


def find_speakers(raw: Path, wanted: Sequence[str] | None = None) -> list[str]:
    """Return the folders in ``raw`` that hold .mpg files: all of them, or the ``wanted`` ones.

    Raises:
        MouthSetError: no such folder, or a wanted speaker without videos.
    """
    if not raw.is_dir():
        raise MouthSetError(f"{raw}: no such folder; expected the corpus: s1/*.mpg and align/*.align in it")
    found = sorted(folder.name for folder in raw.iterdir() if folder.is_dir() and any(folder.glob("*.mpg")))
    if not found:
        raise MouthSetError(f"{raw}: no folder with .mpg files; expected s1/*.mpg in it")
    for speaker in wanted or ():
        if speaker not in found:
            raise MouthSetError(f"{raw / speaker}: no .mpg file there; folders with some: {found}")
    return sorted(set(wanted)) if wanted else found


def jobs(raw: Path, speakers: Sequence[str], out: Path) -> Iterator[Job]:
    """Yield each clip of the speakers, by name.

    Raises:
        MouthSetError: a clip that two speakers have: names are unique in GRID.
    """
    owner: dict[str, str] = {}
    for speaker in speakers:
        videos = sorted((raw / speaker).glob("*.mpg"))
        folder = align_folder(raw, speaker, {video.stem for video in videos})
        for video in videos:
            other = owner.setdefault(video.stem, speaker)
            if other != speaker:
                raise MouthSetError(
                    f"{video}: {other} has a clip of this name too; each name of GRID belongs to one speaker"
                )
            align = folder / f"{video.stem}.align"
            yield Job(
                video.stem, speaker, video, align, out / "mouths" / f"{video.stem}.mp4", _state(video, align)
            )


def align_folder(raw: Path, speaker: str, names: set[str]) -> Path:
    """Return the folder of word timings that shares most names with a speaker's videos.

    A folder of the speaker's own name wins a tie. Where no folder is the speaker's, it is a name at which
    there is none, so that no timings of another speaker are taken.
    """
    folders = [raw / name for name in ALIGN_FOLDERS if (raw / name).is_dir()]
    folders += [inner for folder in folders for inner in sorted(folder.iterdir()) if inner.is_dir()]

    there = {folder: {path.stem for path in folder.glob("*.align")} for folder in folders}
    best = best_folder(names, there, [folder for folder in folders if folder.name == speaker])
    if best is None and any(there.values()):
        print(f"{speaker}: by their names, all word timings in {raw} are other speakers'; none is taken")
        return raw / "align" / f"of_{speaker}"
    return best or raw / "align"


def best_folder(
    names: set[str], folders: Mapping[Folder, set[str]], own: Collection[Folder]
) -> Folder | None:
    """Return the folder of timings that is a speaker's, None if none is.

    It shares most names with the speaker's videos, and these are at least half of the videos or half of the
    folder: two speakers have no name in common, but an archive may have put strange files into a folder.

    Args:
        names: the speaker's videos.
        folders: folder -> the names of the timings in it.
        own: folders with the speaker's name; they win a tie.
    """
    shared = {folder: len(names & there) for folder, there in folders.items()}
    fit = [
        folder
        for folder, there in folders.items()
        if shared[folder] and 2 * shared[folder] >= min(len(names), len(there))
    ]
    return max(fit, key=lambda folder: (shared[folder], folder in own), default=None)


def _state(*paths: Path) -> tuple[int, ...]:
    """Return size and time of each file, -1 for a missing one."""
    states = [path.stat() if path.is_file() else None for path in paths]
    return tuple(n for s in states for n in ((s.st_size, s.st_mtime_ns) if s else (-1, -1)))
