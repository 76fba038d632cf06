"""The compact mouth set on disk: manifest.csv, alignments.jsonl and mouths/ID.mp4."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

from lessons.data.grid.align import AlignError, Segment, check_segments, transcript

COLUMNS = ("id", "speaker", "transcript", "n_frames", "split", "note")
SPLITS = ("train", "val", "test")  # a clip of any but the first is held out
NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


class MouthSetError(ValueError):
    """A mouth set whose files are missing or contradict each other; the message names the file."""


@dataclass(frozen=True)
class Entry:
    """One row of manifest.csv."""

    id: str
    speaker: str
    transcript: str
    n_frames: int
    split: str
    note: str


def read_rows(path: Path) -> list[list[str]]:
    """The rows of a CSV file.

    Raises:
        MouthSetError: no text in UTF-8, or no CSV.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets write a byte order mark
            return list(csv.reader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise MouthSetError(f"{path}: not a CSV text file ({error}); save it as UTF-8") from error


def read_manifest(path: Path) -> list[Entry]:
    """The rows of manifest.csv, checked.

    Raises:
        MouthSetError: missing or empty file, wrong columns, no rows, a row that does not fit, or an id twice.
    """
    if not path.is_file():
        raise MouthSetError(
            f"{path}: no such file; expected a mouth set (make one with python -m lessons grid prepare)"
        )
    rows = read_rows(path)
    if not rows or tuple(rows[0]) != COLUMNS:
        found = ",".join(rows[0])[:100] if rows else "an empty file"
        raise MouthSetError(f"{path}: first line is {found!r}, expected {','.join(COLUMNS)!r}")
    if len(rows) == 1:
        raise MouthSetError(f"{path}: no clip in it, only the header; make the mouth set again")
    entries: dict[str, Entry] = {}
    for number, row in enumerate(rows[1:], start=2):
        where = f"{path}, line {number}"
        if len(row) != len(COLUMNS):
            raise MouthSetError(f"{where}: {len(row)} fields, expected {len(COLUMNS)}")
        clip_id, speaker, words, n_frames, split, note = row
        if not clip_id or not set(clip_id) <= NAME:
            raise MouthSetError(f"{where}: id {clip_id!r}; expected letters and digits, it names a file")
        if not speaker or speaker != speaker.strip():
            raise MouthSetError(f"{where}: speaker {speaker!r}; expected a name without spaces around it")
        if split not in SPLITS:
            raise MouthSetError(f"{where}: split {split!r}; expected {', '.join(SPLITS)}")
        if not (n_frames.isascii() and n_frames.isdecimal() and 0 < int(n_frames[:9]) <= 100_000):
            raise MouthSetError(f"{where}: n_frames {n_frames!r}; expected an integer, at least 1")
        if clip_id in entries:
            raise MouthSetError(f"{where}: id {clip_id!r} stands here a second time")
        entries[clip_id] = Entry(clip_id, speaker, words, int(n_frames), split, note)
    return list(entries.values())


def read_alignments(path: Path) -> dict[str, tuple[Segment, ...]]:
    """The word timings of alignments.jsonl by clip id, in thousandths of a frame.

    Raises:
        MouthSetError: missing file, or a line that is not ``{"id", "segments"}``, whatever else it holds.
        AlignError: timings that break the rules of :func:`lessons.data.grid.align.check_segments`.
    """
    if not path.is_file():
        raise MouthSetError(f"{path}: no such file; it belongs beside manifest.csv")
    alignments: dict[str, tuple[Segment, ...]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
            clip_id = row["id"]
            segments = [(start, end, word) for start, end, word in row["segments"]]
            types = {(type(start), type(end), type(word)) for start, end, word in segments}
            sound = isinstance(clip_id, str) and types <= {(int, int, str)}
        except (ValueError, TypeError, KeyError, RecursionError):
            sound = False
        if not sound:
            raise MouthSetError(f'{where}: {line[:50]!r}; expected {{"id": ..., "segments": [...]}}')
        if clip_id in alignments:
            raise MouthSetError(f"{where}: id {clip_id!r} stands here a second time")
        alignments[clip_id] = check_segments(enumerate(segments, start=1), f"{where} ({clip_id})")
    return alignments


def check_pair(entry: Entry, alignments: dict[str, tuple[Segment, ...]], root: Path) -> tuple[Segment, ...]:
    """The timings of a clip, after checking that they spell the manifest's sentence.

    Raises:
        AlignError: no timings, or another sentence.
    """
    if entry.id not in alignments:
        raise AlignError(f"{root / 'alignments.jsonl'}: no line for clip {entry.id!r} of manifest.csv")
    segments = alignments[entry.id]
    if transcript(segments) != entry.transcript:
        raise AlignError(
            f"{root / 'alignments.jsonl'}: clip {entry.id!r} is {transcript(segments)!r}, "
            f"but manifest.csv says {entry.transcript!r}"
        )
    return segments
