"""The corpus as people download it, cut to a compact mouth set.

    RAW/s1/ID.mpg, RAW/align/s1/ID.align  ->  OUT/manifest.csv, alignments.jsonl, mouths/ID.mp4, report.jsonl

A clip that cannot be used is left out and the report says why; a usable one with a fault keeps a note. The
report is also the journal of a run: after an interruption the same command goes on where it stopped, and with
other splits only the manifest is written anew.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

from tqdm.auto import tqdm

from lessons.ctc.grammar import sentence_from_id
from lessons.data.grid.align import UNITS_PER_FRAME, AlignError, Segment, read_align, transcript
from lessons.data.grid.corpus import Job, find_speakers, jobs
from lessons.data.grid.faces import NoFaceError, face_detector, single_threaded
from lessons.data.grid.faults import broken_frames, picture_fault
from lessons.data.grid.mouth_crop import crop_mouth
from lessons.data.grid.mouth_set import COLUMNS, Entry, MouthSetError
from lessons.data.grid.splits import assign, strange_names
from lessons.data.grid.workers import available_cores, run
from lessons.data.video import VideoError, read_video, write_video
from lessons.data.video_times import FPS
from lessons.files import atomic, claim

JOURNAL = "report.jsonl"
FRAMES = 75  # three seconds at 25 frames per second


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
        source, speaker: of the :class:`Job`.
    """

    id: str
    kept: bool
    note: str
    detail: str
    n_frames: int
    segments: tuple[Segment, ...]
    source: tuple[int, ...]
    speaker: str = ""


def prepare_clip(job: Job) -> Report:
    """Check one clip and write its mouth; a fault of the clip becomes part of the report.

    Raises:
        OSError: the mouth cannot be written.
        RuntimeError: no usable OpenCV.
    """

    def left_out(fault: str, detail: object) -> Report:
        job.mouth.unlink(missing_ok=True)
        return Report(job.id, False, fault, str(detail), 0, (), job.source, job.speaker)

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
    except ValueError as error:  # PyAV does not know what the file says
        failed = f"the decoder failed ({type(error).__name__}: {error})"
        return left_out("unreadable", f"{job.video}: {failed}; copy or download it again")
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
    return Report(job.id, True, "+".join(notes), detail, len(frames), segments, job.source, job.speaker)


def prepare(
    raw: str | Path,
    out: str | Path,
    speakers: str | Sequence[str] | None = None,
    workers: int | None = None,
    splits: str | Path = "by-sentence",
) -> list[Report]:
    """Make a compact mouth set from the corpus, in parallel; finished clips are skipped.

    The manifest is written last: a set without one is not finished.

    Args:
        raw: folder with SPEAKER/*.mpg and align/SPEAKER/*.align (or align/*.align, or alignments/ for
            align/).
        out: folder of the mouth set, new or begun by an earlier run.
        speakers: names of folders of videos; by default all that there are.
        workers: processes; by default one per core.
        splits: a rule of ``lessons.data.grid.splits`` or a file, see
            :func:`lessons.data.grid.splits.assign`.

    Returns:
        One report per clip, by name.

    Raises:
        MouthSetError: no clips to prepare, none usable, bad splits, or ``out`` is a file or holds a set made
            otherwise.
        OSError: a file cannot be written, for example on a full disk, or another run writes to ``out``;
            finished clips stay.
        RuntimeError: OpenCV is missing or of version 5, or the calling script has no main guard.
        ValueError: fewer than one worker.
    """
    raw, out = Path(raw), Path(out)
    workers = available_cores() if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers={workers}: expected at least 1")
    face_detector()  # tells of an OpenCV that cannot do it before the work begins
    speakers = find_speakers(raw, [speakers] if isinstance(speakers, str) else speakers)
    _check_out(out)
    clips = list(jobs(raw, speakers, out))
    named = {job.id: job.speaker for job in clips if _named_by_grid(job.id)}
    assign(named, splits)  # tried before the work
    if strange := strange_names(named, splits):
        print(
            f"{splits}: {len(strange)} of its names are no clip and no speaker here, "
            f"the first {strange[0]!r}; their rows count for nothing"
        )
    with claim(out):
        reports = _prepare_clips(clips, out / JOURNAL, workers)
        kept = [report for report in reports if report.kept]
        if not kept:
            raise MouthSetError(
                f"{raw}: none of {len(clips)} clips is usable; {_commonest(reports)}; {out / JOURNAL} has all"
            )
        _write_set(out, kept, splits)
    return reports


def _check_out(out: Path) -> None:
    """Refuse a file, and a folder with what :func:`prepare` writes but without its journal."""
    for path in (out, *out.parents):
        if path.exists() and not path.is_dir():
            raise MouthSetError(f"{path}: a file; expected a folder for the mouth set; choose another name")
    if (out / JOURNAL).exists():
        return
    mouths = sorted(path.relative_to(out) for path in (out / "mouths").glob("*"))
    theirs = [name for name in ("manifest.csv", "alignments.jsonl") if (out / name).exists()]
    if theirs or mouths:
        raise MouthSetError(
            f"{out}: holds {[*theirs, *mouths][0]}, which this command did not make; choose another folder"
        )


def _prepare_clips(clips: list[Job], journal: Path, workers: int) -> list[Report]:
    """Prepare the clips that the journal of earlier runs lacks; return all reports, by name."""
    reports = _finished(journal, clips)
    todo = [job for job in clips if job.id not in reports]
    _write_journal(journal, reports)  # without the line that an interruption cut off
    with journal.open("a", encoding="utf-8", newline="\n") as file:
        done = run(prepare_clip, todo, workers, single_threaded) if todo else ()
        for report in tqdm(done, total=len(clips), initial=len(reports), unit="clip"):
            reports[report.id] = report
            file.write(json.dumps(asdict(report)) + "\n")
            file.flush()
    _write_journal(journal, reports)
    return [report for _, report in sorted(reports.items())]


def _write_set(out: Path, kept: list[Report], splits: str | Path) -> None:
    split = assign({report.id: report.speaker for report in kept}, splits)
    lines = [{"id": r.id, "speaker": r.speaker, "segments": r.segments} for r in kept]
    _write(out / "alignments.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    entries = [Entry(r.id, r.speaker, transcript(r.segments), r.n_frames, split[r.id], r.note) for r in kept]
    _write(out / "manifest.csv", _manifest(entries))


def _finished(journal: Path, clips: list[Job]) -> dict[str, Report]:
    """Return the reports of earlier runs that still hold. A line that is cut off or is no report is not
    there."""
    earlier: dict[str, Report] = {}
    if journal.is_file():
        for line in journal.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                fields = json.loads(line)
                segments = tuple((int(start), int(end), str(word)) for start, end, word in fields["segments"])
                source = tuple(int(number) for number in fields["source"])
                report = Report(**fields | {"segments": segments, "source": source})
                plain = (report.id, report.kept, report.note, report.detail, report.n_frames, report.speaker)
                if tuple(map(type, plain)) == (str, bool, str, str, int, str):
                    earlier[report.id] = report
            except (ValueError, TypeError, KeyError, RecursionError):
                continue
    return {
        job.id: earlier[job.id]
        for job in clips
        if job.id in earlier
        and (earlier[job.id].source, earlier[job.id].speaker) == (job.source, job.speaker)
        and earlier[job.id].kept is job.mouth.is_file()
    }


def _named_by_grid(clip_id: str) -> bool:
    try:
        sentence_from_id(clip_id)
    except ValueError:
        return False
    return True


def _commonest(reports: list[Report]) -> str:
    """Return the commonest reason for leaving a clip out, with an example."""
    fault, count = Counter(report.note for report in reports).most_common(1)[0]
    example = next(report for report in reports if report.note == fault)
    return f"{count} are {fault}, for example {example.detail}"


def _manifest(entries: list[Entry]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(astuple(entry) for entry in entries)
    return text.getvalue()


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
