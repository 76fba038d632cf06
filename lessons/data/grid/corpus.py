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
        MouthSetError: no such folder, a wanted speaker without videos, or a name with spaces around it.
    """
    if not raw.is_dir():
        raise MouthSetError(f"{raw}: no such folder; expected the corpus: s1/*.mpg and align/*.align in it")
    found = sorted(folder.name for folder in raw.iterdir() if folder.is_dir() and files_with(".mpg", folder))
    if not found:
        raise MouthSetError(f"{raw}: no folder with .mpg files; expected s1/*.mpg in it")
    wanted = found if wanted is None else wanted
    wrong = [speaker for speaker in wanted if speaker not in found]
    if wrong or not wanted:
        raise MouthSetError(
            f"speakers={wrong}: expected names of folders with .mpg files, of {raw}: {', '.join(found)}"
        )
    for speaker in wanted:
        if speaker != speaker.strip():
            raise MouthSetError(f"{raw}/{speaker!r}: a name with spaces around it; rename the folder")
    return sorted(set(wanted))


def files_with(suffix: str, folder: Path) -> list[Path]:
    """Return the files of a folder that have a suffix, in small letters or capitals, by name."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() == suffix)


def jobs(raw: Path, speakers: Sequence[str], out: Path) -> Iterator[Job]:
    """Yield each clip of the speakers, by name. Its id is in small letters, as the names of GRID are.

    Raises:
        MouthSetError: a clip that is there twice: names are unique in GRID.
    """
    owner: dict[str, Path] = {}
    for speaker in speakers:
        videos = {video: video.stem.lower() for video in files_with(".mpg", raw / speaker)}
        folder = align_folder(raw, speaker, set(videos.values()))
        timings = {path.stem.lower(): path for path in files_with(".align", folder)}
        for video, name in videos.items():
            other = owner.setdefault(name, video)
            if other.parent != video.parent:
                raise MouthSetError(
                    f"{video}: {other.parent.name} has a clip of this name too; each name of GRID belongs to "
                    "one speaker"
                )
            if other != video:
                raise MouthSetError(f"{video}: {other.name} beside it is the same clip; remove one")
            align = timings.get(name, folder / f"{name}.align")
            yield Job(name, speaker, video, align, out / "mouths" / f"{name}.mp4", _state(video, align))


def align_folder(raw: Path, speaker: str, names: set[str]) -> Path:
    """Return the folder of word timings that shares most names with a speaker's videos.

    The names are in small letters. A folder of the speaker's own name wins a tie. Where no folder is the
    speaker's, it is a name at which there is none, so that no timings of another speaker are taken.
    """
    folders = [raw / name for name in ALIGN_FOLDERS if (raw / name).is_dir()]
    folders += [inner for folder in folders for inner in sorted(folder.iterdir()) if inner.is_dir()]

    there = {folder: {path.stem.lower() for path in files_with(".align", folder)} for folder in folders}
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
