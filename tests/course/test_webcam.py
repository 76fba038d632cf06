"""What a webcam does to a video, and the table of how it is read then."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from lessons.data.grid.mouth_set import COLUMNS, MouthSetError
from lessons.data.synthetic.drawn_face import talk
from lessons.data.video import read_video, write_video
from tools import webcam
from tools.webcam import CONDITIONS, Condition, Video, fast, lit, measure, moved, slow, validation_videos


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A mouth set with one video of a drawn face, one of a wall, one without a video, one for training."""
    root = tmp_path_factory.mktemp("set")
    rows = [
        ("bbaf2n", "s1", "bin blue at f two now", "val"),
        ("bbaf3s", "s2", "bin blue at f three soon", "val"),
        ("bbaf4p", "s2", "bin blue at f four please", "val"),
        ("bbaf5a", "s1", "bin blue at f five again", "train"),
    ]
    lines = [",".join(COLUMNS), *(f"{name},{who},{said},30,{split}," for name, who, said, split in rows)]
    (root / "manifest.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    face = talk(30, width=360, x=180, y=150, size=130)
    wall = np.full((30, 288, 360, 3), 120, np.uint8)
    for name, who, frames in (("bbaf2n", "s1", face), ("bbaf3s", "s2", wall), ("bbaf5a", "s1", face)):
        path = root / "raw" / who / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, frames)
        path.rename(path.with_suffix(".mpg"))  # a video is known by what is in it
    return root


def test_tilt_and_size_are_about_the_middle():
    frames = np.zeros((2, 41, 61, 3), np.uint8)
    frames[:, 15:26, 20:41] = 200
    assert (moved()(frames) == frames).all()
    small = moved(zoom=0.5)(frames)
    assert small.shape == frames.shape and small.dtype == np.uint8
    assert (small > 100).sum() == pytest.approx((frames > 100).sum() / 4, rel=0.2)
    tall = moved(90)(frames)[0, ..., 0] > 100
    assert np.ptp(np.flatnonzero(tall.any(1))) > 1.5 * np.ptp(np.flatnonzero(tall.any(0)))
    marked = np.zeros((1, 41, 61, 3), np.uint8)
    marked[:, 18:23, 50:55] = 200  # right of the middle: a tilt to the left raises it
    rows = np.flatnonzero((moved(10)(marked)[0, ..., 0] > 100).any(1))
    assert rows.mean() < 18


def test_light_saturates():
    frames = np.array([0, 100, 200], np.uint8).reshape(1, 1, 1, 3)
    assert lit(2.0)(frames).ravel().tolist() == [0, 200, 255]
    assert lit(0.5)(frames).ravel().tolist() == [0, 50, 100]


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (slow(15), [0, 0, 2, 3, 3, 5, 5, 7, 8, 8, 10, 10]),
        (slow(12.5), [0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 10, 10]),
        (slow(25), range(12)),
        (fast(30), [0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 11]),
        (fast(50), [0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5, 6, 6, 6, 7, 8, 8, 8, 9, 10, 10, 10, 11, 11]),
    ],
)
def test_a_rate_shows_frames_at_their_moments(change, shown):
    frames = np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1)
    assert change(frames).ravel().tolist() == list(shown)


def test_validation_clips_with_a_video_are_taken(folder, tmp_path):
    videos = validation_videos([folder])
    assert [(video.path.stem, video.speaker) for video in videos] == [("bbaf2n", "s1"), ("bbaf3s", "s2")]
    assert videos[1].said == "bin blue at f three soon"
    shutil.copy(folder / "manifest.csv", tmp_path)
    with pytest.raises(MouthSetError, match=r"no raw/sN/ID\.mpg"):
        validation_videos([tmp_path])


def test_every_condition_is_written_as_it_says(folder, monkeypatch):
    written = []

    def note(path, model):
        written.append(len(read_video(path)))
        return "bin blue at f two now", "bin blue at f two soon"

    monkeypatch.setattr(webcam, "read_both", note)
    table = measure(validation_videos([folder])[:1], None)
    assert list(table) == list(CONDITIONS) and len(written) == len(CONDITIONS)
    assert all(row["greedy"] == 0 and row["grammar"] == pytest.approx(1 / 6) for row in table.values())
    assert all(28 <= n_frames <= 32 for n_frames in written)  # 15 and 30 frames per second become 25 again


def test_a_video_without_a_face_counts_as_wrong(folder):
    videos = validation_videos([folder])
    found = measure(videos, webcam.checkpoint.load("lipnet_small_grid_s1"), {"a": Condition(lit(1.0))})
    assert found["a"]["without_face"] == 1 and 0.5 <= found["a"]["grammar"] <= 1
    assert found["a"]["speakers"]["s2"] == {"clips": 1, "greedy": 1.0, "grammar": 1.0}
    assert found["a"]["speakers"]["s1"]["clips"] == 1


def test_the_command_writes_the_table(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(webcam, "measure", lambda videos, model: {"as filmed": {"greedy": len(videos)}})
    webcam.main([str(folder), "--out", str(tmp_path / "a.json"), "--model", "lipnet_small_synthetic"])
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {
        "model": "lipnet_small_synthetic",
        "videos": 2,
        "conditions": {"as filmed": {"greedy": 2}},
    }
    assert isinstance(validation_videos([folder])[0], Video)
