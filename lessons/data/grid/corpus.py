"""The GRID corpus as people unpack it: which folders hold which speaker's videos and word timings.

Every file name of GRID belongs to exactly one of its 34 speakers. The public archive has some speakers'
timings in other speakers' folders (s5 and s6 are exchanged, for example), so timings are found by their
names: those of a speaker lie in the folder that shares most names with the speaker's videos.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lessons.data.grid.mouth_set import MouthSetError

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

    A folder of the speaker's own name wins a tie. Where no folder shares any, it is the one in which the
    files should be.
    """
    folders = [raw / name for name in ALIGN_FOLDERS if (raw / name).is_dir()]
    folders += [inner for folder in folders for inner in sorted(folder.iterdir()) if inner.is_dir()]

    def fit(folder: Path) -> tuple[int, bool]:
        return sum(path.stem in names for path in folder.glob("*.align")), folder.name == speaker

    best = max(folders, key=fit, default=None)
    return best if best is not None and fit(best)[0] else raw / "align"


def _state(*paths: Path) -> tuple[int, ...]:
    """Return size and time of each file, -1 for a missing one."""
    states = [path.stat() if path.is_file() else None for path in paths]
    return tuple(n for s in states for n in ((s.st_size, s.st_mtime_ns) if s else (-1, -1)))
