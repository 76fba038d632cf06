"""Loading a mouth set: a tiny one made here, broken in every way, and the real one where it is at hand."""

from __future__ import annotations

import csv
import json
import tracemalloc
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lessons.data.grid import find_mouth_set, load, loading
from lessons.data.grid.align import AlignError
from lessons.data.grid.faults import FAR, distance_from_median, picture_fault
from lessons.data.grid.mouth_set import COLUMNS, MouthSetError, read_alignments, read_manifest
from lessons.data.image import resize_area, to_gray
from lessons.data.video import VideoError, read_video, write_video

GRID = find_mouth_set()
needs_grid = pytest.mark.skipif(GRID is None, reason="no real mouth set here")

CLIPS = {  # id: (transcript, frames, split)
    "bbaf2n": ("bin blue at f two now", 12, "train"),
    "lgbz9s": ("lay green by z nine soon", 11, "train"),
    "swwazp": ("set white with a zero please", 12, "val"),
}


def timings(sentence: str) -> list[list]:
    edges = range(0, 8000, 1000)
    words = ["sil", *sentence.split(), "sil"]
    return [[start, start + 1000, word] for start, word in zip([*edges], words, strict=True)]


def write_manifest(root: Path, rows: list[list], columns: tuple[str, ...] = COLUMNS) -> None:
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


def rows() -> list[list]:
    return [[clip, "s0", sentence, n, split, ""] for clip, (sentence, n, split) in CLIPS.items()]


def write_alignments(root: Path, lines: list) -> None:
    text = "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    (root / "alignments.jsonl").write_text(text, encoding="utf-8")


def lines() -> list[dict]:
    return [{"id": c, "speaker": "s0", "segments": timings(s)} for c, (s, _, _) in CLIPS.items()]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "mouths").mkdir()
    for seed, (clip, (_, n, _)) in enumerate(CLIPS.items()):
        slope = np.linspace(40 * (seed + 1), 40 * (seed + 1) + 60, 128).astype(np.uint8)
        frames = np.broadcast_to(slope, (n, 64, 128)) + np.arange(n, dtype=np.uint8)[:, None, None]
        write_video(tmp_path / "mouths" / f"{clip}.mp4", frames)
    write_manifest(tmp_path, rows())
    write_alignments(tmp_path, lines())
    return tmp_path


def test_a_split_is_loaded_as_bytes(root: Path) -> None:
    clips = load(root, "train")
    assert clips.frames.shape == (2, 12, 32, 64) and clips.frames.dtype == np.uint8
    assert clips.lengths.tolist() == [12, 11] and clips.lengths.dtype == np.int64
    assert clips.ids == ("bbaf2n", "lgbz9s")
    assert clips.transcripts == ("bin blue at f two now", "lay green by z nine soon")
    assert clips.segments[0][:2] == ((0.0, 1.0, "sil"), (1.0, 2.0, "bin"))
    assert not clips.frames[1, 11].any() and clips.frames[1, 10].any()  # padded with zeros
    stored = read_video(root / "mouths" / "lgbz9s.mp4")
    assert np.array_equal(clips.frames[1, :11], resize_area(to_gray(stored), (32, 64)))
    assert clips.frames[0, 0, :, 0].mean() < clips.frames[0, 0, :, -1].mean()  # left is left


@pytest.mark.parametrize("size", [(64, 128), (16, 32), (50, 100), (24, 40)])
def test_any_size_of_frame(root: Path, size: tuple[int, int]) -> None:
    clips = load(root, "val", size)
    assert clips.frames.shape == (1, 12, *size)
    whole = to_gray(read_video(root / "mouths" / "swwazp.mp4"))
    assert abs(clips.frames.mean() - whole.mean()) < 0.5  # areas keep the brightness


@pytest.mark.parametrize("size", [(64, 32), (0, 0)])
def test_height_and_width_swapped_is_an_error(root: Path, size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"size: .*\(height, width\)"):
        load(root, "val", size)


def test_a_split_without_clips_is_an_error(root: Path) -> None:
    with pytest.raises(MouthSetError, match=r"no clip in split 'test'; there are \['train', 'val'\]"):
        load(root, "test")


def test_missing_files_are_named(root: Path) -> None:
    with pytest.raises(MouthSetError, match=r"none.manifest\.csv: no such file"):
        load(root / "none", "train")
    (root / "mouths" / "lgbz9s.mp4").unlink()
    with pytest.raises(MouthSetError, match=r"1 of 2 clips missing, the first lgbz9s\.mp4"):
        load(root, "train")
    (root / "alignments.jsonl").unlink()
    with pytest.raises(MouthSetError, match=r"alignments\.jsonl: no such file"):
        load(root, "train")


def test_a_truncated_clip_is_named(root: Path) -> None:
    path = root / "mouths" / "bbaf2n.mp4"
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(VideoError, match=r"bbaf2n\.mp4: "):
        load(root, "train")


def test_a_clip_of_another_length_is_named(root: Path) -> None:
    table = rows()
    table[0][3] = 13
    write_manifest(root, table)
    with pytest.raises(MouthSetError, match=r"bbaf2n\.mp4: 12 frames, but manifest\.csv says 13"):
        load(root, "train")


@pytest.mark.parametrize(
    "column, value, said",
    [
        (0, "../../etc", "id '../../etc'"),
        (0, "", "id ''"),
        (0, "lgbz9s", "'lgbz9s' stands here a second time"),
        (3, "-1", "n_frames '-1'"),
        (3, "many", "n_frames 'many'"),
        (3, "0", "n_frames '0'"),
    ],
)
def test_a_bad_row_of_the_manifest_is_named(root: Path, column: int, value: str, said: str) -> None:
    table = rows()
    table[0][column] = value
    write_manifest(root, table)
    with pytest.raises(MouthSetError, match=rf"manifest\.csv, line \d: .*{said}"):
        load(root, "train")


def test_other_columns_are_an_error(root: Path) -> None:
    write_manifest(root, [row[:5] for row in rows()], COLUMNS[:5])
    with pytest.raises(MouthSetError, match="first line is 'id,speaker,transcript,n_frames,split', expected"):
        load(root, "train")
    write_manifest(root, [[*row, "x"] for row in rows()])
    with pytest.raises(MouthSetError, match="line 2: 7 fields, expected 6"):
        load(root, "train")
    (root / "manifest.csv").write_bytes(b"")
    with pytest.raises(MouthSetError, match="an empty file"):
        load(root, "train")
    (root / "manifest.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(MouthSetError, match="not a CSV text file"):
        load(root, "train")


def test_another_sentence_than_the_timings_is_an_error(root: Path) -> None:
    table = rows()
    table[0][2] = "bin blue at f three now"
    write_manifest(root, table)
    with pytest.raises(
        AlignError, match=r"'bbaf2n' is 'bin blue at f two now', but .* 'bin blue at f three now'"
    ):
        load(root, "train")


def test_a_clip_without_timings_is_an_error(root: Path) -> None:
    write_alignments(root, lines()[1:])
    with pytest.raises(AlignError, match="no line for clip 'bbaf2n'"):
        load(root, "train")


@pytest.mark.parametrize(
    "line, said",
    [
        ("{", "line 1: '{'"),
        ("[1, 2]", "line 1"),
        ({"id": "bbaf2n"}, "line 1"),
        ({"id": 3, "segments": []}, "line 1"),
        ({"id": "bbaf2n", "segments": [[0, 1]]}, "line 1"),
        ({"id": "bbaf2n", "segments": [[0, 1.5, "bin"]]}, "line 1"),
        ({"id": "bbaf2n", "segments": [[0, 1000, "bun"]]}, r"line 1 \(bbaf2n\), line 1: unknown word 'bun'"),
        ({"id": "bbaf2n", "segments": [[0, 75000, "bin"]]}, "times 0 to 75000"),
        ({"id": "lgbz9s", "segments": [[0, 7500, "bin"]]}, "'lgbz9s' stands here a second time"),
    ],
)
def test_a_bad_line_of_the_timings_is_named(root: Path, line: object, said: str) -> None:
    write_alignments(root, [line, *lines()[1:]])
    with pytest.raises(ValueError, match=rf"alignments\.jsonl, .*{said}"):
        load(root, "train")


@settings(deadline=None, max_examples=50)
@given(st.text() | st.lists(st.sampled_from(["id", ",", "\n", '"', "1", *COLUMNS]), max_size=30).map("".join))
def test_any_manifest_reads_or_is_an_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "manifest.csv"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        entries = read_manifest(path)
    except MouthSetError as error:
        assert str(error).startswith(str(path))
        return
    assert all(entry.n_frames > 0 and entry.id for entry in entries)


JSON = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "segments"]), inner),
)


@settings(deadline=None, max_examples=50)
@given(st.one_of(st.text(), JSON.map(json.dumps)))
def test_any_timings_read_or_are_an_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "alignments.jsonl"
    path.write_text(text, encoding="utf-8", errors="replace")
    try:
        alignments = read_alignments(path)
    except (MouthSetError, AlignError) as error:
        assert str(error).startswith(str(path))
        return
    assert not alignments or all(alignments.values())


def test_where_the_mouth_set_is_looked_for(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home" / "course"
    monkeypatch.setattr(loading, "REPOSITORY", home)
    monkeypatch.delenv("LESSONS_GRID", raising=False)
    assert find_mouth_set() is None
    beside, inside = home.parent / "shared" / "grid", home / "data" / "grid"
    for folder in (beside, inside):
        folder.mkdir(parents=True)
        write_manifest(folder, [])
        assert find_mouth_set() == folder
    monkeypatch.setenv("LESSONS_GRID", str(root))
    assert find_mouth_set() == root
    monkeypatch.setenv("LESSONS_GRID", str(tmp_path / "none"))
    with pytest.raises(MouthSetError, match=r"LESSONS_GRID: .*none' holds no manifest\.csv"):
        find_mouth_set()


@needs_grid
def test_real_clips(tmp_path: Path) -> None:
    faulty = {"prii9a": "bad_start_12", "sran9s": "bad_start_12"}
    entries = [entry for entry in read_manifest(GRID / "manifest.csv") if entry.split == "val"]
    assert len(entries) == 100
    some = [entry for entry in entries if entry.id in faulty] + entries[::20]
    write_manifest(tmp_path, [list(astuple(entry)) for entry in some])
    for name in ("mouths", "alignments.jsonl"):
        (tmp_path / name).symlink_to((GRID / name).resolve())
    clips = load(tmp_path, "val")
    assert clips.frames.shape == (7, 75, 32, 64) and set(clips.lengths) == {75}
    assert all(speech[0][2] == speech[-1][2] == "sil" for speech in clips.segments)
    faults = [picture_fault(distance_from_median(clip) > FAR) for clip in clips.frames]
    assert faults == [faulty.get(clip_id, "") for clip_id in clips.ids]


def test_loading_takes_little_more_memory_than_the_bytes_it_returns(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One clip of 75 frames taken 60 times over. 900 clips are 138 MB of bytes.
    clip = np.zeros((75, 64, 128, 3), np.uint8)
    entry = replace(read_manifest(root / "manifest.csv")[0], n_frames=75)
    monkeypatch.setattr(loading, "read_manifest", lambda path: [entry] * 60)
    monkeypatch.setattr(loading, "read_video", lambda path: clip.copy())
    tracemalloc.start()
    try:
        clips = load(root, "train")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert clips.frames.nbytes == 60 * 75 * 32 * 64
    assert clips.frames.nbytes < peak < clips.frames.nbytes + 12e6  # one clip on its way from color to gray
