"""Several speakers: mixed-up folders of word timings, published splits, balanced epochs, a cache on disk."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from lessons.cli.train import PRESETS, misplaced_wer
from lessons.ctc.grammar import id_from_sentence
from lessons.data.batch import collect
from lessons.data.cached_frames import CachedFrames, cached_frames
from lessons.data.clips import ClipSet, balanced_order
from lessons.data.grid import load, loading, workers
from lessons.data.grid import prepare as module
from lessons.data.grid.corpus import align_folder
from lessons.data.grid.download import download
from lessons.data.grid.fetch import DownloadError
from lessons.data.grid.mouth_set import MouthSetError, read_alignments, read_manifest
from lessons.data.grid.prepare import prepare
from lessons.data.grid.splits import HELD_OUT_SPEAKERS, assign, overlapped, unseen
from lessons.data.synthetic.drawn_face import talk
from lessons.training.settings import Settings
from lessons.training.steps import epoch_steps
from tests.data.grid.test_download import Server, make_zip, server  # noqa: F401
from tests.data.grid.test_prepare import write_align, write_mpg

SENTENCES = ("bin blue at f two now", "set red by g six soon", "lay white in c one again")
IDS = tuple(id_from_sentence(sentence) for sentence in SENTENCES)


# ---- the corpus --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two_speakers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """s5 has two clips and s6 one; their word timings lie in each other's folder, as in the archive."""
    raw = tmp_path_factory.mktemp("raw")
    face = talk(75, height=144, width=180, x=90, y=70, size=65)
    for speaker, other, sentences in (("s5", "s6", SENTENCES[:2]), ("s6", "s5", SENTENCES[2:])):
        (raw / speaker).mkdir()
        (raw / "alignments" / other).mkdir(parents=True)
        for sentence in sentences:
            write_mpg(raw / speaker / f"{id_from_sentence(sentence)}.mpg", face)
            write_align(raw / "alignments" / other / f"{id_from_sentence(sentence)}.align", sentence)
    return raw


@pytest.fixture(scope="module")
def mouth_set(two_speakers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("set") / "out"
    prepare(two_speakers, out, workers=1, splits="unseen")
    return out


def test_speakers_become_one_set_with_their_own_word_timings(mouth_set: Path) -> None:
    entries = {entry.id: entry for entry in read_manifest(mouth_set / "manifest.csv")}
    assert {clip_id: entry.speaker for clip_id, entry in entries.items()} == dict(
        zip(IDS, ("s5", "s5", "s6"), strict=True)
    )
    assert {entry.transcript for entry in entries.values()} == set(SENTENCES)
    assert set(read_alignments(mouth_set / "alignments.jsonl")) == set(IDS)
    clips = load(mouth_set, "train")
    assert Counter(clips.speakers) == {"s5": 2, "s6": 1} and len(clips.subset([0]).speakers) == 1


def test_other_splits_write_the_manifest_alone(two_speakers: Path, mouth_set: Path, monkeypatch) -> None:
    monkeypatch.setattr(module, "prepare_clip", None)  # no clip is prepared again
    own = mouth_set.parent / "own.csv"
    own.write_text(f"name,split\ns5,train\ns6,val\n{IDS[0]},test\n", encoding="utf-8")
    prepare(two_speakers, mouth_set, workers=1, splits=own)
    split = {entry.id: entry.split for entry in read_manifest(mouth_set / "manifest.csv")}
    assert [split[clip_id] for clip_id in IDS] == ["test", "train", "val"]


def test_a_strangers_folder_is_not_taken_for_one_name_that_fits(tmp_path: Path) -> None:
    (tmp_path / "align" / "s5").mkdir(parents=True)
    for name in ("a", "b", "c", "mine1"):
        (tmp_path / "align" / "s5" / f"{name}.align").touch()
    mine = {"mine1", "mine2", "mine3"}
    assert not align_folder(tmp_path, "s5", mine).exists()
    assert align_folder(tmp_path, "s5", {"a", "b", "d"}) == tmp_path / "align" / "s5"  # half of the folder
    assert align_folder(tmp_path, "s5", {"mine1", "mine2"}) == tmp_path / "align" / "s5"  # half of the videos
    (tmp_path / "alignments" / "s6").mkdir(parents=True)
    for name in mine:
        (tmp_path / "alignments" / "s6" / f"{name}.align").touch()
    assert align_folder(tmp_path, "s5", mine) == tmp_path / "alignments" / "s6"


def test_word_timings_with_another_speakers_sentence_are_not_taken(
    two_speakers: Path, tmp_path: Path
) -> None:
    """s5's folder holds a file of the same name as s5's clip: s6 said that sentence too, a second earlier."""
    for speaker in ("s5", "s6"):
        (tmp_path / speaker).symlink_to(two_speakers / speaker)
        (tmp_path / "align" / speaker).mkdir(parents=True)
        for path in (two_speakers / "alignments" / speaker).iterdir():
            (tmp_path / "align" / speaker / path.name).write_bytes(path.read_bytes())
    write_align(tmp_path / "align" / "s5" / f"{IDS[0]}.align", "place green with z nine please")
    reports = {report.id: report for report in prepare(tmp_path, tmp_path / "out", workers=1)}
    assert reports[IDS[0]].kept and reports[IDS[0]].segments[1][2] == "bin"


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "bbaf2n", "kept": true, "note": "", "n_frames": 75, "segments": 3, "source": 4}',
        '{"id": ["x"], "kept": 1, "segments": [], "source": []}',
        "[" * 5000,
        "3",
    ],
)
def test_a_journal_with_wrong_types_is_as_if_not_there(two_speakers: Path, tmp_path: Path, line: str) -> None:
    (tmp_path / "report.jsonl").write_text(line + "\n", encoding="utf-8")
    assert len(prepare(two_speakers, tmp_path, workers=1)) == 3


@pytest.mark.parametrize("wrong", [{"n_frames": "75"}, {"n_frames": True}, {"note": None}, {"detail": 3}])
def test_a_clip_whose_report_has_a_wrong_type_is_prepared_again(
    two_speakers: Path, mouth_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict
) -> None:
    out, again = tmp_path / "out", []
    shutil.copytree(mouth_set, out)
    first, *others = (out / "report.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [json.dumps(json.loads(first) | wrong), *others]
    (out / "report.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    real = module.prepare_clip
    monkeypatch.setattr(module, "prepare_clip", lambda job: again.append(job.id) or real(job))
    prepare(two_speakers, out, workers=1, splits="unseen")
    assert again == [json.loads(first)["id"]]
    entries = read_manifest(out / "manifest.csv")
    assert {(entry.id, entry.n_frames, entry.note) for entry in entries} == {(i, 75, "") for i in IDS}


# ---- the archive -------------------------------------------------------------------------------------------


def serve(server: Server, **members: dict[str, bytes]) -> None:  # noqa: F811
    server.files = {name.replace("_", "."): make_zip(content) for name, content in members.items()}


def fetch(server: Server, out: Path, speakers: list[int], record: bool = False) -> None:  # noqa: F811
    download(speakers, out, server.url + "/{name}", f"{server.url}/record" if record else None, pause=0.0)


def test_timings_are_found_by_the_names_of_the_videos(server: Server, tmp_path: Path, capsys) -> None:  # noqa: F811
    serve(
        server,
        s5_zip={f"s5/{clip}.mpg": b"v" for clip in ("bbil2n", "lbiqzn", "swav1a")},
        s6_zip={"s6/pgwz1a.mpg": b"v"},
        alignments_zip={
            "alignments/s5/bbil2n.align": b"of another person",
            "alignments/s5/pgwz1a.align": b"s6",
            **{f"alignments/s6/{clip}.align": b"s5" for clip in ("bbil2n", "lbiqzn", "swav1a")},
        },
    )
    fetch(server, tmp_path, [5, 6])
    found = {path.stem: path.read_bytes() for path in (tmp_path / "align" / "s5").iterdir()}
    assert found == {"bbil2n": b"s5", "lbiqzn": b"s5", "swav1a": b"s5"}
    assert (tmp_path / "align" / "s6" / "pgwz1a.align").read_bytes() == b"s6"
    assert "s5: the archive has its word timings in the folder s6" in capsys.readouterr().out
    assert server.asked("alignments.zip") == [None]  # once for both
    assert not list(tmp_path.glob("*.zip"))


def test_a_strangers_folder_in_the_archive_is_not_taken(server: Server, tmp_path: Path) -> None:  # noqa: F811
    serve(
        server,
        s5_zip={f"s5/{clip}.mpg": b"v" for clip in ("bbil2n", "lbiqzn", "swav1a")},
        alignments_zip={f"alignments/s5/{clip}.align": b"x" for clip in ("bbil2n", "pgwz1a", "bbwt1a")},
    )
    with pytest.raises(
        DownloadError, match=r"in no folder do \.align files have the names of the videos: \['align/s5'\]"
    ):
        fetch(server, tmp_path, [5])
    assert not list(tmp_path.rglob("*.align"))


def test_the_room_for_all_is_tried_first(server: Server, tmp_path: Path, monkeypatch) -> None:  # noqa: F811
    serve(server, s1_zip={"s1/bbaf2n.mpg": b"v" * 999}, alignments_zip={"alignments/s1/bbaf2n.align": b"x"})
    sizes = [{"key": name, "size": 10**9, "checksum": "x"} for name in server.files]
    server.files["record"] = json.dumps({"files": sizes}).encode()
    monkeypatch.setattr(
        "lessons.data.grid.download.shutil.disk_usage", lambda _: type("Usage", (), {"free": 10**9})
    )
    with pytest.raises(DownloadError, match="1000000000 bytes free on this disk, 3000000000 needed"):
        fetch(server, tmp_path, [1], record=True)
    assert server.asked("s1.zip") == []


@pytest.mark.parametrize("notes", ["{", "[]", '{"s1": 3}', "[" * 5000])
def test_broken_notes_are_named(server: Server, tmp_path: Path, notes: str) -> None:  # noqa: F811
    (tmp_path / "download.json").write_text(notes, encoding="utf-8")
    with pytest.raises(DownloadError, match=r"download\.json: not the notes .* delete it"):
        fetch(server, tmp_path, [1])


@pytest.mark.parametrize("record", [b"[" * 5000, b'{"files": [{"key": "s1.zip", "size": -1}]}', b"3"])
def test_a_record_that_lies_is_not_believed(server: Server, tmp_path: Path, record: bytes) -> None:  # noqa: F811
    server.files["record"] = record
    if b"-1" in record:
        server.files["record"] = b'{"files": [{"key": "s1.zip", "size": -1}, {"key": "alignments.zip"}]}'
    fetch(server, tmp_path, [1], record=True)
    assert (tmp_path / "align" / "s1" / "bbaf2n.align").is_file()


# ---- splits ------------------------------------------------------------------------------------------------


def corpus_of(speakers: int, clips: int) -> dict[str, str]:
    return {
        f"{speaker:02}-{clip:04}": f"s{speaker}"
        for speaker in range(1, speakers + 1)
        for clip in range(clips)
    }


def test_the_published_splits_on_34_speakers() -> None:
    clips = corpus_of(34, 1000)
    known, new = overlapped(clips), unseen(clips)
    held_out = Counter(clips[clip] for clip, split in known.items() if split == "val")
    assert set(held_out.values()) == {255} and len(held_out) == 34
    assert {clips[clip] for clip, split in new.items() if split == "val"} == HELD_OUT_SPEAKERS
    assert overlapped(dict(reversed(clips.items()))) == known  # whatever the order
    few = overlapped(corpus_of(1, 7) | {"one": "s2"})  # some are left to train on
    assert Counter(few.values()) == {"val": 3, "train": 5} and few["one"] == "train"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"s1,val\nx\n", "line 2: 'x'; expected name,split"),
        (b"s1,val\n", ": no row for clip 02-0000 nor .* s2"),
        (b"s1,val\ns2,tran\n", "line 2: split 'tran'; expected train, val, test"),
        (b"s1,val\ns2, train\n", "line 2: split ' train'"),
        (b"s1,val\ns1,train\n", "line 2: 's1' is 'train', in an earlier line 'val'"),
        (b"s1,train\xff\n", ": not a CSV text file .*0xff.*; save it as UTF-8"),
    ],
)
def test_a_bad_file_of_splits_is_refused(tmp_path: Path, text: bytes, message: str) -> None:
    (tmp_path / "own.csv").write_bytes(text)
    with pytest.raises(MouthSetError, match=rf"own\.csv(, )?{message}"):
        assign(corpus_of(2, 1), tmp_path / "own.csv")
    with pytest.raises(MouthSetError, match="splits='sideways': expected by-sentence, overlapped"):
        assign(corpus_of(2, 1), "sideways")


def test_a_spreadsheets_file_of_splits_keeps_its_first_row(tmp_path: Path) -> None:
    (tmp_path / "own.csv").write_bytes(b"\xef\xbb\xbf01-0000,val\r\ns1,train\r\n")
    assert assign(corpus_of(1, 2), tmp_path / "own.csv") == {"01-0000": "val", "01-0001": "train"}


def test_rows_for_nobody_are_told(two_speakers: Path, mouth_set: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "own.csv").write_text(f"s5,train\ns6,train\n{IDS[0]},val\nbbaf2m,val\n", encoding="utf-8")
    shutil.copytree(mouth_set, tmp_path / "out")
    prepare(two_speakers, tmp_path / "out", workers=1, splits=tmp_path / "own.csv")
    assert "own.csv: 1 of its names are no clip and no speaker here, the first 'bbaf2m'" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("column", "cell", "message"),
    [
        (1, "", "speaker ''; expected a name"),
        (1, "s5 ", "speaker 's5 '"),
        (4, "", "split ''; expected train, val, test"),
        (4, "train ", "split 'train '"),
        (4, "Train", "split 'Train'"),
    ],
)
def test_cells_of_a_manifest_that_would_move_a_clip_are_refused(
    mouth_set: Path, tmp_path: Path, column: int, cell: str, message: str
) -> None:
    header, first, *others = (mouth_set / "manifest.csv").read_text(encoding="utf-8").splitlines()
    cells = first.split(",")
    cells[column] = cell
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join([header, ",".join(cells), *others]), encoding="utf-8")
    with pytest.raises(MouthSetError, match=rf"manifest\.csv, line 2: {message}"):
        read_manifest(path)


def test_a_manifest_from_a_spreadsheet_and_one_without_clips(mouth_set: Path, tmp_path: Path) -> None:
    text, path = (mouth_set / "manifest.csv").read_text(encoding="utf-8"), tmp_path / "manifest.csv"
    path.write_text(text, encoding="utf-8-sig", newline="\r\n")
    assert read_manifest(path) == read_manifest(mouth_set / "manifest.csv")
    path.write_text(text.splitlines()[0] + "\n", encoding="utf-8")
    with pytest.raises(MouthSetError, match=r"manifest\.csv: no clip in it, only the header"):
        read_manifest(path)


# ---- epochs ------------------------------------------------------------------------------------------------


def test_an_epoch_has_each_speaker_equally_often() -> None:
    speakers = ["a"] * 700 + ["b"] * 250 + ["c"] * 52
    rng = np.random.default_rng(0)
    seen: set[int] = set()
    for _ in range(9):
        order = balanced_order(speakers, rng)
        assert len(order) == 1002 and set(Counter(speakers[i] for i in order).values()) == {334}
        counts = Counter(order.tolist())
        assert max(counts[i] for i in range(950, 1002)) - min(counts[i] for i in range(950, 1002)) <= 1
        seen |= set(order.tolist())
    assert len(seen) > 990  # over some epochs nearly all clips of the first speaker come


def some_clips(speakers: tuple[str, ...], n: int) -> ClipSet:
    return ClipSet(
        np.zeros((n, 1, 1, 1), np.uint8), np.ones(n, np.int64), *[("",) * n] * 2, ((),) * n, speakers
    )


def test_training_takes_the_balanced_order() -> None:
    """One speaker: the batches of before, bit for bit. Two: as many clips of the one as of the other."""
    settings = Settings(batch_size=4, seed=5)
    for speakers in ((), ("s1",) * 10):
        drawn = [step.indices.tolist() for step in epoch_steps(2, some_clips(speakers, 10), settings)]
        order = np.random.default_rng((5, 2)).permutation(10).tolist()
        assert drawn == [order[:4], order[4:8], order[8:]]
    clips = some_clips(("s1",) * 9 + ("s2",) * 3, 12)
    steps = epoch_steps(0, clips, settings)
    drawn = [clips.speakers[i] for step in steps for i in step.indices]
    assert Counter(drawn) == {"s1": 6, "s2": 6}
    again = epoch_steps(0, clips, settings)
    assert [step.indices.tolist() for step in steps] == [step.indices.tolist() for step in again]


def test_one_speaker_gives_a_permutation_as_before() -> None:
    for speakers in ([], ["s1"] * 9):
        order = balanced_order(speakers, np.random.default_rng(3))
        assert order.tolist() == np.random.default_rng(3).permutation(len(speakers)).tolist()


# ---- the cache ---------------------------------------------------------------------------------------------


def decode(i: int) -> np.ndarray:
    return np.full((3 + i % 2, 4, 6), i, np.uint8)


def fill(folder: Path, sources: list[Path]) -> None:
    cached_frames(folder, sources, [3 + i % 2 for i in range(len(sources))], (4, 6), slow_decode)


def slow_decode(i: int) -> np.ndarray:
    time.sleep(0.01)
    return decode(i)


@pytest.fixture
def sources(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{i}.mp4" for i in range(40)]
    for path in paths:
        path.write_bytes(b"x")
    return paths


def test_several_processes_fill_one_cache(tmp_path: Path, sources: list[Path]) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=fill, args=(tmp_path / "cache", sources)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    calls: list[int] = []
    lengths = [3 + i % 2 for i in range(40)]
    frames = cached_frames(tmp_path / "cache", sources, lengths, (4, 6), calls.append)
    assert calls == [] and frames.shape == (40, 4, 4, 6)
    for i in range(40):
        assert (frames[i, : lengths[i]] == i).all() and not frames[i, lengths[i] :].any()


def test_a_cache_goes_on_where_it_stopped_and_sees_a_changed_file(
    tmp_path: Path, sources: list[Path]
) -> None:
    calls: list[int] = []

    def stops(i: int) -> np.ndarray:
        if len(calls) == 11:
            raise KeyboardInterrupt
        calls.append(i)
        return decode(i)

    lengths = [3 + i % 2 for i in range(40)]
    with pytest.raises(KeyboardInterrupt):
        cached_frames(tmp_path / "cache", sources, lengths, (4, 6), stops)
    more: list[int] = []
    cached_frames(tmp_path / "cache", sources, lengths, (4, 6), lambda i: more.append(i) or decode(i))
    assert sorted(calls + more) == list(range(40))
    sources[5].write_bytes(b"another")
    again: list[int] = []
    cached_frames(tmp_path / "cache", sources, lengths, (4, 6), lambda i: again.append(i) or decode(i))
    assert sorted(again) == list(range(40))


def test_a_disk_without_room_is_told_before_the_first_clip(
    tmp_path: Path, sources: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3839))
    with pytest.raises(OSError, match=r"3839 bytes free on this disk, 3840 needed .*cache"):
        fill(tmp_path / "cache", sources)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=3840))
    fill(tmp_path / "cache", sources)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=0))
    fill(tmp_path / "cache", sources)  # nothing is left to write


def test_a_disk_that_fills_up_names_the_file(tmp_path: Path, sources: list[Path]) -> None:
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    lengths = [3 + i % 2 for i in range(len(sources))]
    cached_frames(tmp_path / "cache", sources, lengths, (4, 6), decode)
    (path,) = (tmp_path / "cache").glob("*.frames")
    path.with_suffix(".done").write_bytes(bytes(len(sources)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))  # a write beyond it fails, as on a full disk
    try:
        with pytest.raises(OSError, match=r"could not write: File too large: .*\.frames"):
            cached_frames(tmp_path / "cache", sources, lengths, (4, 6), decode)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_large_set_stays_on_disk_and_gives_the_same_batches(mouth_set: Path, monkeypatch) -> None:
    split = read_manifest(mouth_set / "manifest.csv")[0].split
    in_memory = load(mouth_set, split)
    monkeypatch.setattr(loading, "LARGEST_IN_MEMORY", 0)
    on_disk = load(mouth_set, split)
    assert isinstance(on_disk.frames, CachedFrames) and isinstance(in_memory.frames, np.ndarray)
    batches = [collect(clips, range(len(clips)), np.random.default_rng(0)) for clips in (in_memory, on_disk)]
    assert np.array_equal(*(batch.frames.numpy() for batch in batches))
    torch.manual_seed(0)
    model = PRESETS["quick"][0]()
    assert misplaced_wer(model, on_disk) == misplaced_wer(model, in_memory)


def resident() -> float:
    """MB of memory that this process occupies now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="needs /proc to see how large it is")
def test_thirty_four_speakers_take_little_memory(tmp_path: Path) -> None:
    """Reading every clip of a cache of 1.3 GB once leaves this process as large as it was."""
    n, shape = 8500, (75, 32, 64)
    path = tmp_path / "all.frames"
    with path.open("wb") as file:
        file.truncate(n * int(np.prod(shape)))  # zeros, which take no room on the disk
    frames = CachedFrames(path, (n, *shape))
    names = tuple(f"s{i % 34}" for i in range(n))
    clips = ClipSet(frames, np.full(n, 75), names, ("bin",) * n, (((0.0, 75.0, "bin"),),) * n, names)
    before, most = resident(), 0.0
    for start in range(0, n, 50):
        collect(clips, range(start, start + 50), None)
        most = max(most, resident())
    assert most - before < 150


def test_a_manifest_that_claims_many_frames_costs_no_memory(mouth_set: Path, tmp_path: Path) -> None:
    for name in ("alignments.jsonl", "mouths"):
        (tmp_path / name).symlink_to(mouth_set / name)
    text = (mouth_set / "manifest.csv").read_text(encoding="utf-8")
    (tmp_path / "manifest.csv").write_text(text.replace(",75,", ",100000,", 1), encoding="utf-8")
    split = read_manifest(mouth_set / "manifest.csv")[0].split
    with pytest.raises(MouthSetError, match=r"75 frames, but manifest\.csv says 100000"):
        load(tmp_path, split)


# ---- processes ---------------------------------------------------------------------------------------------

PREPARE = "from lessons.data.grid.prepare import prepare\nprepare({raw!r}, {out!r}, workers=2)\n"


# Keeps what the second worker has made until the end of the first ends it, too.
SLOW_TO_FAIL = """
import multiprocessing, time
from lessons.data.grid.prepare import prepare
try:
    prepare({raw!r}, {out!r}, workers=2)
except (RuntimeError, OSError):
    if multiprocessing.current_process().name.endswith("2"):
        time.sleep(60)
    raise
"""


@pytest.mark.parametrize("text", [PREPARE, SLOW_TO_FAIL], ids=["at once", "slow to fail"])
def test_a_script_without_a_main_guard_is_told_so(text: str, two_speakers: Path, tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(text.format(raw=str(two_speakers), out=str(tmp_path / "out")), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, encoding="utf-8", check=False
    )
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("RuntimeError: ") and "mine.py" in last and "if __name__ ==" in last


def test_no_work_needs_no_worker() -> None:
    assert list(workers.run(str, [], 4, str)) == []


def test_windows_bears_so_many_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    def pool(n: int, *_: object, **__: object) -> None:
        raise OSError(f"{n} asked for")

    monkeypatch.setattr(workers, "ProcessPoolExecutor", pool)
    with pytest.raises(OSError, match=r"61 asked for\): use --workers 1"):
        list(workers.run(str, range(100), 64, str))


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs /proc to see processes")
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    (raw / "s1").mkdir(parents=True)
    (raw / "align").mkdir()
    face = talk(75, height=288, width=360, x=180, y=140, size=130)
    for letter in "abcdefghijklmnop":
        sentence = f"bin blue at {letter} two now"
        write_mpg(raw / "s1" / f"{id_from_sentence(sentence)}.mpg", face)
        write_align(raw / "align" / f"{id_from_sentence(sentence)}.align", sentence)
    command = ["-m", "lessons", "grid", "prepare", "--raw", str(raw), "--out", str(tmp_path / "out")]
    parent = subprocess.Popen([sys.executable, *command, "--workers", "2"], stderr=subprocess.DEVNULL)

    def alive() -> dict[int, int]:
        """pid -> pid of its parent, of the processes that are no zombies."""
        found = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent_pid = path.read_text(encoding="utf-8").rsplit(")", 1)[1].split()[:2]
            except OSError:  # it has ended meanwhile
                continue
            if state != "Z":
                found[int(path.parent.name)] = int(parent_pid)
        return found

    def children() -> list[int]:
        return [pid for pid, parent_pid in alive().items() if parent_pid == parent.pid]

    journal, deadline = tmp_path / "out" / "report.jsonl", time.monotonic() + 120
    while time.monotonic() < deadline and not (journal.is_file() and journal.stat().st_size):
        time.sleep(0.1)  # until one clip of sixteen is done
    workers = children()
    assert len(workers) >= 2 and parent.poll() is None
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 20
    while set(workers) & set(alive()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not set(workers) & set(alive())
