"""GRID's word timings: one ``start end word`` a line, in thousandths of a video frame (1/25000 s)."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from lessons.ctc.grammar import SLOTS
from lessons.data.clips import SILENCES

UNITS_PER_FRAME = 1000
CLIP_UNITS = 74_500  # every file of the corpus ends here, half a frame before the 75th picture is over
WORDS = frozenset(chain.from_iterable(SLOTS))  # the 51 words of GRID

END_TOLERANCE = 5_000  # units that a file's last end may be away from CLIP_UNITS: five frames
OTHER_UNITS = {  # unit that other tools write -> how many of it are one video frame
    "seconds": 0.04,
    "video frames": 1.0,
    "milliseconds": 40.0,
    "audio samples at 16 kHz": 640.0,
    "audio samples at 44.1 kHz": 1764.0,
    "audio samples at 48 kHz": 1920.0,
    "audio samples at 50 kHz": 2000.0,
    "steps of 100 ns": 400_000.0,
}

Segment = tuple[int, int, str]  # start, end (not included), word


class AlignError(ValueError):
    """A word-timing file that cannot be trusted; the message names the file and the line."""


def check_segments(segments: Iterable[tuple[int, tuple[int, int, str]]], name: str) -> tuple[Segment, ...]:
    """Check numbered segments one after the other: known words, inside the clip, in order, no overlap.

    Raises:
        AlignError: naming ``name`` and the number of the first bad segment.
    """
    checked: list[Segment] = []
    for number, (start, end, word) in segments:
        where = f"{name}, line {number}"
        if word not in WORDS and word not in SILENCES:
            raise AlignError(f"{where}: unknown word {word!r}; expected a word of GRID, sil or sp")
        if not 0 <= start < end <= CLIP_UNITS:
            raise AlignError(
                f"{where}: times {start} to {end}; expected 0 <= start < end <= {CLIP_UNITS} "
                f"({UNITS_PER_FRAME} units are one video frame)"
            )
        if checked and start < checked[-1][1]:
            before = checked[-1]
            raise AlignError(f"{where}: {word!r} starts at {start}, before {before[2]!r} ends at {before[1]}")
        checked.append((start, end, word))
    if not any(word in WORDS for _, _, word in checked):
        raise AlignError(f"{name}: no spoken word in it; expected six words between two silences")
    return tuple(checked)


def parse_align(text: str, name: str = "align") -> tuple[Segment, ...]:
    """Read the text of an .align file; line ends may be LF or CRLF, empty lines are skipped.

    Returns:
        (start, end, word) for each line, silences included, in thousandths of a frame.

    Raises:
        AlignError: naming ``name`` and the line.
    """
    rows: list[tuple[int, Segment]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 3:
            raise AlignError(f"{name}, line {number}: {line[:60]!r}; expected three fields, 'start end word'")
        if not all(field.isascii() and field.isdecimal() and len(field) < 10 for field in fields[:2]):
            raise AlignError(f"{name}, line {number}: times {fields[:2]}; expected two integers")
        rows.append((number, (int(fields[0]), int(fields[1]), fields[2])))
    if not rows:
        raise AlignError(f"{name}: no line in it; expected 'start end word' lines")
    return check_segments(rows, name)


def read_align(path: str | Path) -> tuple[Segment, ...]:
    """:func:`parse_align` on a file of the corpus: ASCII, with or without a byte order mark, or all capitals.

    Raises:
        AlignError: also for a missing file, one that is not text, or times in another unit.
    """
    path = Path(path)
    if not path.is_file():
        raise AlignError(f"{path}: no such file; each clip ID.mpg needs its ID.align")
    content = path.read_bytes()
    encoding = "utf-16" if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "ascii"
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode(encoding)
    except UnicodeDecodeError as error:
        raise AlignError(
            f"{path}: byte {error.start} is no ASCII; expected a text file of word timings"
        ) from error
    check_unit(text, str(path))
    return parse_align(text.lower() if text.isupper() else text, str(path))


def check_unit(text: str, name: str) -> None:
    """Refuse times that are not in thousandths of a frame: then the last line ends far from 74,500.

    Raises:
        AlignError: naming the unit that the times seem to have.
    """
    try:
        _, last, _ = next(fields for line in reversed(text.splitlines()) if (fields := line.split()))
        end = float(last)
    except (StopIteration, ValueError):
        return  # parse_align names the line
    if abs(end - CLIP_UNITS) <= END_TOLERANCE:
        return
    frames, tolerance = CLIP_UNITS / UNITS_PER_FRAME, END_TOLERANCE / UNITS_PER_FRAME
    likely = [unit for unit, per_frame in OTHER_UNITS.items() if abs(end / per_frame - frames) <= tolerance]
    what = f"the times seem to be {' or '.join(likely)}" if likely else "the clip or the unit is another"
    raise AlignError(
        f"{name}: the last line ends at {last}; expected about {CLIP_UNITS}, in thousandths of a video "
        f"frame: {what}; convert them"
    )


def transcript(segments: Iterable[tuple[float, float, str]]) -> str:
    """The words without the silences, joined by one space."""
    return " ".join(word for _, _, word in segments if word not in SILENCES)


def to_frames(segments: Iterable[Segment]) -> tuple[tuple[float, float, str], ...]:
    """Thousandths of a frame to frames."""
    return tuple((start / UNITS_PER_FRAME, end / UNITS_PER_FRAME, word) for start, end, word in segments)
