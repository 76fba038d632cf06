"""Landmarks: a speaker's file made here, damaged in every way, and the real ones where they are at hand."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest

from lessons.data.grid import find_mouth_set
from lessons.data.grid.align import AlignError, to_frames
from lessons.data.grid.landmarks import LandmarkError, Timings, read_motions, read_word_timings
from lessons.data.motions import mouth_measures

GRID = find_mouth_set()
SPEAKERS = None if GRID is None else GRID.parent / "grid_speakers"
needs_speakers = pytest.mark.skipif(
    SPEAKERS is None or not (SPEAKERS / "landmarks").is_dir(), reason="no real landmarks here"
)

# id: its words in thousandths of a frame
TIMINGS = {
    "bbaf2n": [[0, 9600, "sil"], [9600, 13000, "bin"], [13000, 15400, "blue"], [15400, 74500, "sil"]],
    "lgbz9s": [[0, 8000, "sil"], [8000, 9000, "lay"], [9000, 11000, "sp"], [11000, 12000, "green"],
               [12000, 74500, "sil"]],
    "swwazp": [[0, 20500, "sil"], [20500, 24000, "set"], [24000, 30000, "white"], [30000, 74500, "sil"]],
}  # fmt: skip
WORDS = {"bbaf2n": [3, 2], "lgbz9s": [1, 2, 1], "swwazp": [4, 6]}  # frames of each, a short pause is a word


def write_timings(path: Path, timings: dict[str, list], speakers: dict[str, str] | None = None) -> Path:
    speakers = speakers or dict.fromkeys(timings, "s7")
    lines = [json.dumps({"speaker": speakers[name], "id": name, "seg": seg}) for name, seg in timings.items()]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def arrays(words: dict[str, list[int]] | None = None) -> dict[str, np.ndarray]:
    """What a speaker's file holds, as its authors write it; each frame's points are its own."""
    words = WORDS if words is None else words
    lengths = [n for some in words.values() for n in some]
    rest = np.array([[-13, 50], [13, 51], [0, 49], [0, 52], [1, 80], [6, 49.5], [-6, 49], [6, 52], [-6, 52]])
    points = rest + np.random.default_rng(0).normal(0, 0.5, (sum(lengths), 9, 2))
    return {
        "names": np.array(list(words), str),
        "words_per_clip": np.array([len(some) for some in words.values()], np.uint8),
        "word_len": np.array(lengths, np.uint16),
        "label": np.zeros(len(lengths), np.uint8),
        "coords": points.reshape(-1, 18).astype(np.float16),
        "feat": np.zeros((sum(lengths), 8), np.float16),
    }


@pytest.fixture
def timings(tmp_path: Path) -> dict:
    return read_word_timings(write_timings(tmp_path / "alignments_3_clips.jsonl.gz", TIMINGS))


def write(folder: Path, **changed: object) -> Path:
    """A speaker's file with some arrays changed, or left out where None."""
    np.savez(folder / "s7.npz", **{k: v for k, v in (arrays() | changed).items() if v is not None})
    return folder / "s7.npz"


def test_each_clip_gets_its_own_frames(tmp_path: Path, timings: dict) -> None:
    motions = list(read_motions(write(tmp_path), timings))
    assert [motion.id for motion in motions] == list(TIMINGS)
    assert [motion.transcript for motion in motions] == ["bin blue", "lay green", "set white"]
    assert [motion.start for motion in motions] == [10, 8, 20]  # where the first word begins, rounded
    points = arrays()["coords"].astype(np.float32).reshape(-1, 9, 2)
    first = 0
    for motion in motions:
        n = sum(WORDS[motion.id])
        np.testing.assert_array_equal(motion.measures, mouth_measures(points[first : first + n]))
        assert motion.speaker == "s7" and motion.segments == to_frames(timings[motion.id].segments)
        first += n


def test_clips_are_left_out_by_name_or_without_timings(tmp_path: Path, timings: dict) -> None:
    del timings["bbaf2n"]
    path = write(tmp_path)
    everyone = {motion.id: motion for motion in read_motions(path, timings)}
    (left,) = read_motions(path, timings, frozenset({"lgbz9s"}))
    assert left.id == "swwazp" and list(everyone) == ["lgbz9s", "swwazp"]
    np.testing.assert_array_equal(left.measures, everyone["swwazp"].measures)


@pytest.mark.parametrize("words", [[1, 2], [2, 1, 1], [1, 2, 2], [4], []])
def test_a_clip_whose_frames_do_not_fit_is_left_out_and_the_next_keeps_its_own(
    tmp_path: Path, timings: dict, words: list[int]
) -> None:
    """A word's frames are missing, or its timings were corrected later."""
    changed = arrays(WORDS | {"lgbz9s": words})
    motions = list(read_motions(write(tmp_path, **changed), timings))
    assert [motion.id for motion in motions] == ["bbaf2n", "swwazp"]
    last = changed["coords"].astype(np.float32).reshape(-1, 9, 2)[-10:]
    np.testing.assert_array_equal(motions[-1].measures, mouth_measures(last))


def test_words_with_a_gap_between_them_are_left_out(tmp_path: Path, timings: dict) -> None:
    segments = timings["swwazp"].segments
    start, end, word = segments[2]
    apart = (*segments[:2], (start + 1000, end + 1000, word), (31000, 74500, "sil"))
    timings["swwazp"] = Timings("s7", apart)
    assert [motion.id for motion in read_motions(write(tmp_path), timings)] == ["bbaf2n", "lgbz9s"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_clip_with_a_lost_point_is_left_out(tmp_path: Path, timings: dict, bad: float) -> None:
    coords = arrays()["coords"]
    coords[6, 3] = bad
    assert [m.id for m in read_motions(write(tmp_path, coords=coords), timings)] == ["bbaf2n", "swwazp"]


@pytest.mark.parametrize("name", ["S7.npz", "s7 (1).npz", "s8.npz"])
def test_whose_they_are_is_not_told_by_the_files_name(tmp_path: Path, timings: dict, name: str) -> None:
    path = write(tmp_path).rename(tmp_path / name)
    with pytest.raises(LandmarkError, match="bbaf2n is a clip of s7, as the word timings say; name each"):
        list(read_motions(path, timings))
    with pytest.raises(LandmarkError, match="bbaf2n is a clip of s7"):
        list(read_motions(path, timings, frozenset(TIMINGS)))


def test_a_file_that_gives_nothing_is_an_error(tmp_path: Path, timings: dict) -> None:
    told = r"s7\.npz: none of its 3 clips has finite coordinates and word timings of as many frames"
    with pytest.raises(LandmarkError, match=told):
        list(read_motions(write(tmp_path), {}))
    with pytest.raises(LandmarkError, match=told):
        list(read_motions(write(tmp_path, coords=arrays()["coords"] * np.nan), timings))
    assert list(read_motions(write(tmp_path), {}, frozenset(TIMINGS))) == []  # nothing was asked for


def test_a_speaker_without_clips_is_no_damage(tmp_path: Path, timings: dict) -> None:
    assert list(read_motions(write(tmp_path, **arrays({})), timings)) == []


ARRAYS = arrays()


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"coords": None}, "expected the landmarks of a speaker.*coords"),
        ({"names": None}, "expected the landmarks of a speaker.*names"),
        ({"names": np.array([{}, {}, {}])}, "expected the landmarks of a speaker"),  # pickled objects
        ({"names": ARRAYS["names"][:2]}, "words_per_clip has 3 rows, expected one for each of 2 clips"),
        ({"words_per_clip": np.array([2, 3])}, "words_per_clip has 2 rows, expected .* 3 clips"),
        ({"words_per_clip": np.array([2, 3, 3])}, "word_len has 7 rows, expected one for each of 8 words"),
        ({"word_len": ARRAYS["word_len"] + 1}, "coords has 19 rows, expected one for each of 26 frames"),
        ({"coords": ARRAYS["coords"][1:]}, "coords has 18 rows, expected one for each of 19 frames"),
        ({"coords": ARRAYS["coords"][:, :16]}, r"coords \(19, 16\), expected \(19, 18\)"),
        ({"coords": ARRAYS["coords"].ravel()}, r"coords is float16 \(342,\)"),
        ({"coords": ARRAYS["coords"].astype(str)}, "coords is <U"),
        ({"word_len": ARRAYS["word_len"].astype(float)}, "word_len is float64"),
        ({"words_per_clip": np.uint8(3)}, r"words_per_clip is uint8 \(\)"),
        ({"names": np.arange(3)}, "names is int64"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, timings: dict, changed: dict, said: str) -> None:
    with pytest.raises(LandmarkError, match=rf"s7\.npz: {said}"):
        list(read_motions(write(tmp_path, **changed), timings))


def test_a_negative_number_of_frames_is_found(tmp_path: Path, timings: dict) -> None:
    lengths = np.array([3, 2, 1, 2, 1, -4, 14])  # the sum is right
    with pytest.raises(LandmarkError, match=r"s7\.npz: word_len .*below 0"):
        list(read_motions(write(tmp_path, word_len=lengths), timings))


def test_files_that_are_something_else_are_named(tmp_path: Path, timings: dict) -> None:
    path = write(tmp_path)
    whole = path.read_bytes()
    single = io.BytesIO()
    np.save(single, np.zeros(3))
    for content in (
        b"",
        b"PK\x03\x04",
        whole[:200],
        whole[: len(whole) // 2],
        b"no array",
        single.getvalue(),
    ):
        path.write_bytes(content)
        with pytest.raises(LandmarkError, match=r"s7\.npz: expected the landmarks of a speaker"):
            list(read_motions(path, timings))
    path.unlink()
    with pytest.raises(LandmarkError, match=r"s7\.npz: .*No such file"):
        list(read_motions(path, timings))


def test_a_flipped_bit_is_an_error_or_another_number(tmp_path: Path, timings: dict) -> None:
    path = write(tmp_path)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            list(read_motions(path, timings))
        except LandmarkError as error:
            assert "s7.npz" in str(error)


# ---- word timings ------------------------------------------------------------------------------------------


def test_word_timings_by_clip(timings: dict) -> None:
    assert list(timings) == list(TIMINGS)
    assert timings["bbaf2n"].speaker == "s7" and timings["bbaf2n"].segments[1] == (9600, 13000, "bin")


@pytest.mark.parametrize(
    "line",
    [
        "", "no json", "[]", "3", "null", '{"id": "bbaf2n"}', '{"id": 3, "seg": [[0, 9, "bin"]]}',
        '{"id": "bbaf2n", "seg": 3}', '{"id": "bbaf2n", "seg": [[0, 9]]}',
        '{"id": "bbaf2n", "seg": [[0, 9, "bin", 1]]}', '{"id": "bbaf2n", "seg": [["0", "9", "bin"]]}',
        '{"id": "bbaf2n", "seg": [[0.5, 9, "bin"]]}', '{"id": "bbaf2n", "seg": [[0, 9, ["bin"]]]}',
        "[" * 100_000,
    ],
    ids=lambda line: line[:40],
)  # fmt: skip
def test_a_line_that_is_something_else_is_named(tmp_path: Path, line: str) -> None:
    good = json.dumps({"speaker": "s0", "id": "bbaf2n", "seg": TIMINGS["bbaf2n"]})
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(f"{good}\n{line}\n{good}\n".encode()))
    with pytest.raises(LandmarkError, match=r"a\.jsonl\.gz, line 2: .*expected"):
        read_word_timings(tmp_path / "a.jsonl.gz")


@pytest.mark.parametrize(
    "segment, said",
    [
        ([0, 9, "purple"], "unknown word 'purple'"),
        ([9, 9, "bin"], "times 9 to 9"),
        ([0, 9, "sil"], "no spoken"),
    ],
)
def test_timings_that_no_clip_can_have_are_named(tmp_path: Path, segment: list, said: str) -> None:
    path = write_timings(tmp_path / "a.jsonl.gz", TIMINGS | {"swwazp": [segment]})
    with pytest.raises(AlignError, match=rf"a\.jsonl\.gz, line 3 \(swwazp\).*{said}"):
        read_word_timings(path)


def test_timing_files_that_are_something_else_are_named(tmp_path: Path) -> None:
    path = write_timings(tmp_path / "a.jsonl.gz", TIMINGS)
    whole = path.read_bytes()
    swapped = bytearray(whole)
    swapped[30] ^= 255
    for content in (b"plain text", whole[:60], bytes(swapped), gzip.compress(b"\xff\xfe")):
        path.write_bytes(content)
        with pytest.raises(LandmarkError, match=r"a\.jsonl\.gz: expected gzipped lines of word timings"):
            read_word_timings(path)
    path.unlink()
    with pytest.raises(LandmarkError, match=r"a\.jsonl\.gz: .*No such file"):
        read_word_timings(path)


# ---- the real ones -----------------------------------------------------------------------------------------


@needs_speakers
def test_real_landmarks_move_as_mouths_do() -> None:
    (path,) = SPEAKERS.glob("alignments_*.jsonl.gz")
    timings = read_word_timings(path)
    assert len(timings) == 28_000
    motions = {motion.id: motion for motion in read_motions(SPEAKERS / "landmarks" / "s4.npz", timings)}
    assert len(motions) == 956  # of 1000
    for motion in motions.values():
        assert motion.start >= 5 and motion.start + len(motion.measures) <= 74
        assert 0.7 < np.median(motion.measures[:, 0]) < 1.3  # the width, in usual widths
        assert (motion.measures[:, 7] > 0.5).all()  # the chin is below
    # A b closes the lips, and a vowel in the same sentence opens them wide.
    opening = {name: motion.measures[:, 2] - motion.measures[:, 1] for name, motion in motions.items()}
    bins = [gap[:6].min() / gap.max() for name, gap in opening.items() if name.startswith("bb")]
    assert np.median(bins) < 0.15
