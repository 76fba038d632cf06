"""People who are held out are held out of everything: clips, square clips, motions, in every folder."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from lessons.cli.train import load_people as load_for_training
from lessons.data.batch import collect
from lessons.data.grid import find_mouth_set, load_people
from lessons.data.grid.landmarks import LandmarkError
from lessons.data.grid.mouth_set import COLUMNS, MouthSetError
from lessons.data.image import to_gray
from lessons.data.video import VideoError, read_video, write_video
from tests.data.grid.test_landmarks import arrays, needs_speakers, write_timings

GRID = find_mouth_set()
WORDS = "bin blue at f two now".split()
N_FRAMES = 22
SEGMENTS = [
    [0, 4000, "sil"],
    *([4000 + 2000 * i, 6000 + 2000 * i, word] for i, word in enumerate(WORDS)),
    [16000, 22000, "sil"],
]


def film(gray: int, size: tuple[int, int], n_frames: int = N_FRAMES) -> np.ndarray:
    """A clip (T, H, W) of about one gray value, by which it is known again."""
    return np.broadcast_to(gray + np.arange(n_frames, dtype=np.uint8)[:, None, None] % 3, (n_frames, *size))


def mouth_set(root: Path, clips: dict[str, tuple[str, str, int]], n_frames: int = N_FRAMES) -> Path:
    """A mouth set of clips, id: (speaker, split, gray)."""
    (root / "mouths").mkdir(parents=True)
    for name, (_, _, gray) in clips.items():
        write_video(root / "mouths" / f"{name}.mp4", film(gray, (32, 64), n_frames))
    rows = [[name, who, " ".join(WORDS), n_frames, split, ""] for name, (who, split, _) in clips.items()]
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *rows])
    lines = [json.dumps({"id": name, "segments": SEGMENTS}) for name in clips]
    (root / "alignments.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def add_roi(root: Path, clips: dict[str, tuple[str, int]], n_frames: int = N_FRAMES) -> None:
    """Square clips, id: (speaker, gray of the rows that are kept)."""
    (root / "roi").mkdir()
    rows = [["id", "speaker", "transcript", "n_frames"]]
    for name, (who, gray) in clips.items():
        frames = np.full((n_frames, 64, 64), 250, np.uint8)
        frames[:, 1:46] = film(gray, (45, 64), n_frames)
        write_video(root / "roi" / f"{name}.mp4", frames)
        rows.append([name, who, " ".join(WORDS), n_frames])
    with (root / "roi" / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def add_landmarks(root: Path, speakers: dict[str, list[str]]) -> None:
    """Landmarks of these clips of each speaker."""
    (root / "landmarks").mkdir()
    for speaker, names in speakers.items():
        np.savez(root / "landmarks" / f"{speaker}.npz", **arrays({name: [2] * 6 for name in names}))


@pytest.fixture
def roots(tmp_path: Path) -> list[Path]:
    """Two folders. s1 is seen, with a clip held out; s2 is seen; s5 and s6 have clips for validation alone.

    A clip of s1 that the first folder holds out is in the second again, for training; so is one of s5's.
    """
    first = mouth_set(
        tmp_path / "first",
        {"one": ("s1", "train", 20), "held": ("s1", "val", 40), "five": ("s5", "val", 60)},
    )
    second = mouth_set(
        tmp_path / "second",
        {"two": ("s2", "train", 80), "held": ("s1", "train", 100), "one": ("s1", "train", 120),
         "six": ("s6", "val", 140)},
    )  # fmt: skip
    speakers = {
        **dict.fromkeys(("one", "held", "held too"), "s1"), "two": "s2", "three": "s3",
        **dict.fromkeys(("five", "five more"), "s5"), "six": "s6",
    }  # fmt: skip
    write_timings(second / "alignments_9_clips.jsonl.gz", dict.fromkeys(speakers, SEGMENTS), speakers)
    add_roi(second, {"three": ("s3", 160), "five more": ("s5", 180), "five": ("s5", 200), "two": ("s2", 220)})
    add_landmarks(
        second, {"s1": ["one", "held"], "s5": ["five", "five more"], "s3": ["three"], "s6": ["six"]}
    )
    return [first, second]


def grays(clips) -> dict[str, int]:
    """The gray value of the first frame of each clip."""
    return {name: round(float(clips.frames[i, 0].mean())) for i, name in enumerate(clips.ids)}


def near(expected: dict[str, int]) -> object:
    return pytest.approx(expected, abs=3)


def test_nothing_of_those_held_out_is_in_the_training(roots: list[Path]) -> None:
    people = load_people(roots)
    assert people.held_out == {"s5", "s6"}
    assert set(people.training.speakers) == {"s1", "s2", "s3"}
    assert set(people.training.ids) == {"one", "two", "three"}
    assert set(people.validation.ids) == {"held", "five", "six"}
    assert set(people.motions) == {"one", "three"}
    assert {motion.speaker for motion in people.motions.values()} == {"s1", "s3"}


def test_of_clips_with_one_id_a_mouth_sets_and_the_last_is_taken(roots: list[Path]) -> None:
    people = load_people(roots)
    assert grays(people.training) == near({"one": 120, "two": 80, "three": 160})
    assert grays(people.validation) == near({"held": 100, "five": 60, "six": 140})
    people = load_people(roots[::-1])
    assert grays(people.training) == near({"one": 20, "two": 80, "three": 160})
    assert set(people.validation.ids) == {"held", "five", "six"}  # whatever the order


def test_a_speaker_who_is_named_is_held_out_of_all_folders(roots: list[Path]) -> None:
    people = load_people(roots, held_out=["s1", "s3"][:1])
    assert people.held_out == {"s1"}
    assert set(people.training.speakers) <= {"s2", "s3", "s5", "s6"}
    assert "one" not in people.training.ids and {"one", "held"} <= set(people.validation.ids)
    assert not {"one", "held"} & set(people.motions)
    # Clips for validation stay so, though their speakers are not held out: their square clips are seen.
    assert set(people.training.ids) == {"two", "three", "five more"}
    assert set(people.validation.ids) == {"one", "held", "five", "six"}
    assert set(people.motions) == {"three", "five more"}


def test_a_clip_in_any_split_but_train_is_held_out(tmp_path: Path) -> None:
    root = mouth_set(tmp_path / "set", {"one": ("s1", "train", 20), "two": ("s1", "test", 40)})
    people = load_people([root])
    assert people.training.ids == ("one",) and people.validation.ids == ("two",) and not people.held_out


def test_square_clips_show_as_much_as_mouth_crops(roots: list[Path]) -> None:
    people = load_people(roots, (45, 90))
    i = people.training.ids.index("three")
    stored = to_gray(read_video(roots[1] / "roi" / "three.mp4"))  # (T, 64, 64)
    shown = people.training.frames[i]  # (T, 45, 90)
    np.testing.assert_array_equal(shown[:, :, 13:77], stored[:, 1:46])
    np.testing.assert_array_equal(shown[:, :, :13], stored[:, 1:46, :1].repeat(13, 2))
    np.testing.assert_array_equal(shown[:, :, 77:], stored[:, 1:46, -1:].repeat(13, 2))
    assert people.training.transcripts[i] == " ".join(WORDS)
    assert people.training.segments[i][1] == (4.0, 6.0, "bin")


def test_folders_with_clips_of_other_lengths(tmp_path: Path) -> None:
    first = mouth_set(tmp_path / "first", {"one": ("s1", "train", 20), "two": ("s2", "val", 40)}, 22)
    second = mouth_set(tmp_path / "second", {"three": ("s3", "train", 60)}, 25)
    training = load_people([first, second]).training
    assert training.lengths.tolist() == [22, 25] and training.frames.shape == (2, 25, 32, 64)
    batch = collect(training, [0, 1], None)
    assert not batch.frames[0, 22:].any() and batch.frames[1, 24].any()


def test_what_cannot_be_is_refused(roots: list[Path], tmp_path: Path) -> None:
    with pytest.raises(MouthSetError, match=r"hold out \['s9'\]: no clip of them; expected some of \['s1'"):
        load_people(roots, held_out=["s1", "s9"])
    with pytest.raises(MouthSetError, match="no clip left to train on"):
        load_people(roots[:1], held_out=["s1", "s5"])
    alone = mouth_set(tmp_path / "alone", {"one": ("s1", "train", 20)})
    with pytest.raises(MouthSetError, match="alone: no clip is held out to test on"):
        load_people([alone])
    with pytest.raises(MouthSetError, match=r"none.manifest\.csv: no such file"):
        load_people([*roots, tmp_path / "none"])


def test_damaged_files_are_named(roots: list[Path]) -> None:
    manifest = roots[1] / "roi" / "manifest.csv"
    whole = manifest.read_text(encoding="utf-8")
    for row in ("four,s3,words,22", "three,,words,22", "../one,s3,words,22"):
        manifest.write_text(f"{whole}{row}\n", encoding="utf-8")
        with pytest.raises(LandmarkError, match=r"roi.manifest\.csv: no word timings of clip"):
            load_people(roots)
    for n_frames, told in (("21", "22 frames; expected a square and 21"), ("9", "'9' of three, expected 16")):
        manifest.write_text(whole.replace(",22", f",{n_frames}", 1), encoding="utf-8")
        with pytest.raises(LandmarkError, match=told):
            load_people(roots)
    manifest.write_bytes(b"id,speaker\n\xff\xfe")
    with pytest.raises(LandmarkError, match=r"roi.manifest\.csv: not a CSV text file"):
        load_people(roots)
    manifest.write_text("id,speaker\n", encoding="utf-8")
    assert set(load_people(roots).training.ids) == {"one", "two"}  # no clip is no damage
    manifest.write_text(whole, encoding="utf-8")
    write_video(roots[1] / "roi" / "three.mp4", film(90, (48, 64)))
    with pytest.raises(LandmarkError, match=r"three\.mp4: 64x48, 22 frames; expected a square"):
        load_people(roots)
    (roots[1] / "roi" / "three.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"three\.mp4"):
        load_people(roots)
    (roots[1] / "landmarks" / "s3.npz").write_bytes(b"no landmarks")
    with pytest.raises(LandmarkError, match=r"s3\.npz"):
        load_people(roots)


def test_who_is_held_out_is_so_under_any_name(roots: list[Path]) -> None:
    """A file that is named otherwise, or a manifest, cannot bring a person back into the training."""
    landmarks = roots[1] / "landmarks"
    (landmarks / "s5.npz").rename(landmarks / "S5.npz")
    with pytest.raises(LandmarkError, match=r"S5\.npz: five is a clip of s5, as the word timings say"):
        load_people(roots)
    (landmarks / "S5.npz").rename(landmarks / "s5.npz")
    manifest = roots[0] / "manifest.csv"
    text = manifest.read_text(encoding="utf-8")
    manifest.write_text(text.replace("five,s5", "five,s9"), encoding="utf-8")
    with pytest.raises(MouthSetError, match=r"five: a clip of 's9' by manifest\.csv, of 's5' by the word"):
        load_people(roots)


def test_landmarks_that_are_not_there_are_told(roots: list[Path]) -> None:
    for path in (roots[1] / "landmarks").iterdir():
        path.unlink()
    with pytest.raises(LandmarkError, match=r"landmarks: expected a folder of sN\.npz; complete"):
        load_people(roots)


def test_without_landmarks_drawn_mouths_join_the_training(roots: list[Path]) -> None:
    people = load_for_training(str(roots[0]), [], [], (32, 64), 3)
    assert people.held_out == {"s5"} and len(people.motions) == 3
    assert people.training.ids[0] == "one" and set(people.training.ids[1:]) == set(people.motions)
    assert set(people.validation.ids) == {"held", "five"}
    both = load_for_training(str(roots[0]), [str(roots[1])], ["s2"], (32, 64), 3)
    assert both.held_out == {"s2"} and "s2" not in both.training.speakers
    assert set(both.motions) == {"one", "three", "five more"}  # real ones: nobody is drawn


@needs_speakers
@pytest.mark.skipif(GRID is None, reason="no real mouth set here")
def test_the_real_people(tmp_path: Path) -> None:
    """Some of them, for time: two who are seen (of s9 there is no clip), one who is held out."""
    real = GRID.parent / "grid_speakers"
    (timings,) = real.glob("alignments_*.jsonl.gz")
    (tmp_path / "landmarks").mkdir()
    for name in (
        "mouths",
        "alignments.jsonl",
        timings.name,
        *(f"landmarks/{s}.npz" for s in ("s3", "s9", "s33")),
    ):
        (tmp_path / name).symlink_to(real / name)
    with (real / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row[1] in ("speaker", "s3", "s33")]
    with (tmp_path / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    people = load_people([tmp_path], (16, 32))
    assert people.held_out == {"s33"}
    assert (people.training.speakers, people.validation.speakers) == (("s3",) * 20, ("s33",) * 13)
    assert {motion.speaker for motion in people.motions.values()} == {"s3", "s9"}
    assert len(people.motions) > 1750  # of 2000
    known = [name for name in people.training.ids if name in people.motions]
    assert len(known) >= 15
    for name in known:  # pixels and points of one mouth say the same
        assert people.motions[name].segments == people.training.segments[people.training.ids.index(name)]
