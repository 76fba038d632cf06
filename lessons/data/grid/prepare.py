"""The corpus as people download it, cut to a compact mouth set.

    RAW/s1/ID.mpg, RAW/align/ID.align  ->  OUT/manifest.csv, alignments.jsonl, mouths/ID.mp4, report.jsonl

A clip that cannot be used is left out and the report says why; a usable one with a fault keeps a note. The
report is also the journal of a run: after an interruption the same command goes on where it stopped.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, astuple, dataclass
from multiprocessing import get_context
from pathlib import Path

from tqdm.auto import tqdm

from lessons.ctc.grammar import COLORS, DIGITS, LETTERS, sentence_from_id
from lessons.data.grid.align import UNITS_PER_FRAME, AlignError, Segment, read_align, transcript
from lessons.data.grid.faces import NoFaceError, face_detector, single_threaded
from lessons.data.grid.faults import broken_frames, picture_fault
from lessons.data.grid.mouth_crop import crop_mouth
from lessons.data.grid.mouth_set import COLUMNS, Entry, MouthSetError
from lessons.data.video import VideoError, read_video, write_video
from lessons.files import atomic

FRAMES = 75  # three seconds at 25 frames a second
FPS = 25.0


@dataclass(frozen=True)
class Job:
    """One clip to prepare."""

    id: str
    video: Path
    align: Path
    mouth: Path
    source: tuple[int, ...]  # sizes and times of video and align: a changed file is prepared again


@dataclass(frozen=True)
class Report:
    """What became of one clip.

    Attributes:
        id: its name.
        kept: whether it is in the set.
        note: its faults, joined by "+". With frames_N (not 75 frames) or bad_start_K (the first K frames
            broken) it is kept; with bad_name, bad_align, unreadable, too_short, rubbish or no_face it is not.
        detail: the whole message.
        n_frames: frames of the mouth clip, 0 when left out.
        segments: its word timings, in thousandths of a frame.
        source: of the :class:`Job`.
    """

    id: str
    kept: bool
    note: str
    detail: str
    n_frames: int
    segments: tuple[Segment, ...]
    source: tuple[int, ...]


def split_of(clip_id: str) -> str:
    """ "val" or "train", by the name alone, so that a clip's split never depends on what else is there.

    A GRID speaker says each color, letter and digit together once: 4 x 25 x 10 = 1000 clips. With each
    word counted by its place in its slot, a clip is for validation when (5 color + letter + digit) mod 10
    is 0. That takes 100 of the 1000: each color 25 times, each letter 4 times and each digit 10 times.
    """
    _, color, _, letter, digit, _ = sentence_from_id(clip_id).split()
    place = 5 * COLORS.index(color) + LETTERS.index(letter) + DIGITS.index(digit)
    return "val" if place % 10 == 0 else "train"


def prepare_clip(job: Job) -> Report:
    """Check one clip and write its mouth; a fault of the clip becomes part of the report.

    Raises:
        OSError: the mouth cannot be written.
        RuntimeError: no usable OpenCV.
    """

    def left_out(fault: str, detail: object) -> Report:
        job.mouth.unlink(missing_ok=True)
        return Report(job.id, False, fault, str(detail), 0, (), job.source)

    try:
        expected = sentence_from_id(job.id)
    except ValueError as error:
        return left_out("bad_name", f"{job.video}: {error}")
    try:
        segments = read_align(job.align)
    except AlignError as error:
        return left_out("bad_align", error)
    if transcript(segments) != expected:
        return left_out("bad_align", f"{job.align}: says {transcript(segments)!r}, its name {expected!r}")
    try:
        frames = read_video(job.video)  # (T, H, W, 3)
    except VideoError as error:
        return left_out("unreadable", error)
    speech_ends = max(end for _, end, word in segments if word != "sil") / UNITS_PER_FRAME
    if len(frames) < speech_ends:
        return left_out("too_short", f"{job.video}: {len(frames)} frames, speech ends at {speech_ends:g}")
    fault = picture_fault(broken_frames(frames))
    if fault == "rubbish":
        return left_out(fault, f"{job.video}: it decodes, but to broken pictures")
    try:
        mouth = crop_mouth(frames)  # (T, 64, 128, 3)
    except NoFaceError as error:
        return left_out("no_face", f"{job.video}: {error}")
    write_video(job.mouth, mouth, FPS)
    notes = [fault] if fault else []
    if len(frames) != FRAMES:
        notes.append(f"frames_{len(frames)}")
    detail = f"{job.video}: kept, with {' and '.join(notes)}" if notes else ""
    return Report(job.id, True, "+".join(notes), detail, len(frames), segments, job.source)


def find_speaker(raw: Path, speaker: str | None = None) -> str:
    """The name of the one folder in ``raw`` that holds .mpg files, or ``speaker`` after a check.

    Raises:
        MouthSetError: no such folder, or several and none named.
    """
    if not raw.is_dir():
        raise MouthSetError(f"{raw}: no such folder; expected the corpus: s1/*.mpg and align/*.align in it")
    found = sorted(folder.name for folder in raw.iterdir() if folder.is_dir() and any(folder.glob("*.mpg")))
    if speaker is not None and speaker not in found:
        raise MouthSetError(f"{raw / speaker}: no .mpg file there; folders with some: {found}")
    if speaker is None and len(found) != 1:
        what = "several folders" if found else "no folder"
        raise MouthSetError(f"{raw}: {what} with .mpg files {found}; expected one, or name it with --speaker")
    return speaker or found[0]


def _source(*paths: Path) -> tuple[int, ...]:
    """Size and time of each file, -1 for a missing one."""
    states = [path.stat() if path.is_file() else None for path in paths]
    return tuple(n for s in states for n in ((s.st_size, s.st_mtime_ns) if s else (-1, -1)))


def _jobs(raw: Path, speaker: str, out: Path) -> Iterator[Job]:
    for video in sorted((raw / speaker).glob("*.mpg")):
        own = raw / "align" / speaker / f"{video.stem}.align"  # several speakers side by side
        align = own if own.is_file() else raw / "align" / f"{video.stem}.align"
        yield Job(video.stem, video, align, out / "mouths" / f"{video.stem}.mp4", _source(video, align))


def _finished(journal: Path) -> dict[str, Report]:
    """The reports of earlier runs. A line cut off by an interruption counts as not there."""
    reports = {}
    if journal.is_file():
        for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                report = Report(**json.loads(line))
                segments = tuple((start, end, word) for start, end, word in report.segments)
            except (ValueError, TypeError):
                continue
            reports[report.id] = Report(
                **{**asdict(report), "segments": segments, "source": tuple(report.source)}
            )
    return reports


def _run(jobs: list[Job], workers: int) -> Iterator[Report]:
    if workers == 1:
        yield from map(prepare_clip, jobs)
        return
    # Fresh processes: a forked one may inherit the locks of its parent's threads.
    context = get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(jobs)), context, initializer=single_threaded) as pool:
        futures = [pool.submit(prepare_clip, job) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BrokenProcessPool as error:
            raise OSError("a worker was killed, perhaps out of memory; try fewer --workers") from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _manifest(entries: list[Entry]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(astuple(entry) for entry in entries)
    return text.getvalue()


def prepare(
    raw: str | Path, out: str | Path, speaker: str | None = None, workers: int | None = None
) -> list[Report]:
    """Make a compact mouth set from one speaker of the corpus, in parallel; finished clips are skipped.

    The manifest is written last: a set without one is not finished.

    Args:
        raw: folder with SPEAKER/*.mpg and align/*.align (or align/SPEAKER/*.align).
        out: folder of the mouth set, new or begun by an earlier run.
        speaker: name of the folder of videos; by default the only one.
        workers: processes; by default one for each core.

    Returns:
        One report for each clip, by name.

    Raises:
        MouthSetError: no clips to prepare, none usable, or ``out`` holds a set that another way made.
        OSError: a file cannot be written, for one when the disk is full; finished clips stay.
        RuntimeError: OpenCV is missing or of version 5.
        ValueError: fewer than one worker.
    """
    raw, out = Path(raw), Path(out)
    if workers is None:
        workers = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if workers < 1:
        raise ValueError(f"workers: {workers}, expected at least 1")
    face_detector()  # tells of an OpenCV that cannot do it before the work begins
    speaker = find_speaker(raw, speaker)
    journal = out / "report.jsonl"
    if (out / "manifest.csv").exists() and not journal.exists():
        raise MouthSetError(f"{out}: holds a mouth set that this command did not make; choose another folder")
    jobs = list(_jobs(raw, speaker, out))
    earlier = _finished(journal)
    reports = {
        job.id: earlier[job.id]
        for job in jobs
        if job.id in earlier
        and earlier[job.id].source == job.source
        and job.mouth.is_file() == earlier[job.id].kept
    }
    todo = [job for job in jobs if job.id not in reports]
    out.mkdir(parents=True, exist_ok=True)
    _write_journal(journal, reports)  # without the line that an interruption cut off
    with journal.open("a", encoding="utf-8", newline="\n") as file:
        bar = tqdm(_run(todo, workers) if todo else (), total=len(jobs), initial=len(reports), unit="clip")
        for report in bar:
            reports[report.id] = report
            file.write(json.dumps(asdict(report)) + "\n")
            file.flush()
    _write_journal(journal, reports)
    kept = [report for _, report in sorted(reports.items()) if report.kept]
    if not kept:
        raise MouthSetError(f"{raw / speaker}: none of {len(jobs)} clips is usable; {journal} says why")
    lines = [{"id": r.id, "speaker": speaker, "segments": r.segments} for r in kept]
    _write(out / "alignments.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    entries = [Entry(r.id, speaker, transcript(r.segments), r.n_frames, split_of(r.id), r.note) for r in kept]
    _write(out / "manifest.csv", _manifest(entries))
    return [report for _, report in sorted(reports.items())]


def _write(path: Path, text: str) -> None:
    with atomic(path) as neighbor:
        neighbor.write_text(text, encoding="utf-8", newline="\n")


def _write_journal(journal: Path, reports: dict[str, Report]) -> None:
    _write(journal, "".join(json.dumps(asdict(report)) + "\n" for _, report in sorted(reports.items())))


def summary(reports: list[Report]) -> str:
    """The reports for a person: how many clips were kept, and each fault in a line."""
    kept = sum(report.kept for report in reports)
    faulty = [report for report in reports if report.note]
    lines = [f"clips: {kept} kept, {len(reports) - kept} left out, {len(faulty)} with a fault"]
    lines += [f"  {r.id}  {'kept' if r.kept else 'left out'}  {r.note}  {r.detail}" for r in faulty]
    return "\n".join(lines)
