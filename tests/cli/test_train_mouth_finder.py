"""The mouth finders' training: what they are shown, that it resumes to the same bits, the table it writes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lessons.cli import train_mouth_finder
from lessons.cli.train_mouth_finder import PRESETS, draw, for_the_finder, train_finders
from lessons.data.synthetic.heads import LEVELS, talking_videos
from lessons.files import write_csv
from lessons.lipreading.live_reader import SHRINK, shrink
from lessons.training.live_scores import (
    COLUMNS,
    FINDERS,
    HELD,
    TRUTH,
    column,
    excess_errors,
    load,
    read_table,
    word_error_rate,
)
from lessons.training.seeds import run_seed

TINY = replace(PRESETS["tiny"], test_clips=1)
NAMES = (TRUTH, *FINDERS, HELD)


def test_the_finder_is_shown_half_of_the_picture_and_boxes_to_match():
    videos = talking_videos([LEVELS["some"]] * 2, np.random.default_rng(0), 3)
    clips = for_the_finder(videos)
    assert clips.frames.shape == (2, 3, 48, 96) and np.array_equal(clips.frames[1], shrink(videos.frames[1]))
    assert np.array_equal(SHRINK * clips.boxes[:, :, 0], videos.boxes)
    assert (clips.labels == 0).all() and clips.visible.shape == (2, 3, 1)


def test_hands_come_in_the_second_stage():
    frames, clips = draw(TINY, 1, 0), draw(replace(TINY, clips=6, n_frames=12, vanish=0.8), 2, 0)
    assert frames.frames.shape[1] == 1 and (frames.visible == 1).all()
    assert (clips.visible < 0.1).any()
    assert np.array_equal(draw(TINY, 2, 1).frames, draw(TINY, 2, 1).frames)
    assert not np.array_equal(draw(TINY, 2, 1).frames, draw(TINY, 2, 2).frames)


def test_a_memory_does_not_depend_on_the_others(tmp_path):
    alone = train_finders(TINY, tmp_path / "a", ("bottleneck_lstm",), progress=False)
    beside = train_finders(TINY, tmp_path / "b", FINDERS, progress=False)
    one, two = (run["bottleneck_lstm"][0].state_dict() for run in (alone, beside))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_the_command_writes_a_table_and_does_nothing_twice(tmp_path, capsys):
    argv = ["--preset", "tiny", "--out", str(tmp_path)]
    train_mouth_finder.PRESETS["tiny"], kept = TINY, train_mouth_finder.PRESETS["tiny"]
    try:
        train_mouth_finder.main(argv)
        written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
        train_mouth_finder.main(argv)
    finally:
        train_mouth_finder.PRESETS["tiny"] = kept
    assert written == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert "WER, seed 0" in capsys.readouterr().out
    rows = read_table(tmp_path / "results.csv")
    assert {(r["finder"], r["level"]) for r in rows} == {(f, lv) for f in NAMES for lv in LEVELS}
    results = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert results["seeds"] == [0] and set(results["levels"]) == set(LEVELS)
    assert load(tmp_path / "seed_0" / "none.safetensors").config["memory"] == "none"
    with pytest.raises(ValueError, match="another recipe"):
        run_seed(train_mouth_finder.EXPERIMENT, replace(TINY, steps=3), tmp_path / "seed_0")


def test_the_table_is_read_as_it_was_written(tmp_path):
    rows = [
        {"seed": 0, "finder": TRUTH, "level": "none", "video": i, "poster": 1, "said": "bin blue",
         "read": "bin", "errors": 1 - i, "iou": 0.5, "jumps": 2, "late": "" if i == 0 else 12.5}
        for i in range(2)
    ]  # fmt: skip
    write_csv(tmp_path / "t.csv", COLUMNS, rows)
    back = read_table(tmp_path / "t.csv")
    assert back[1] == rows[1] and np.isnan(back[0]["late"])
    assert column(back, "errors", TRUTH, "none").tolist() == [1, 0]
    rate, low, high = word_error_rate(back, TRUTH, "none")
    assert rate == 0.25 and low == 0 and high == 0.5
    with pytest.raises(ValueError, match="no row"):
        column(back, "errors", "none", "none")
    with pytest.raises(SystemExit):
        train_mouth_finder.main(["--out", "x", "--threads", "0"])


def test_two_finders_are_compared_on_the_same_videos():
    about = {"seed": 0, "level": "none", "said": "bin blue"}
    rows = [about | {"finder": TRUTH, "errors": e} for e in (0, 2, 1)]
    rows += [about | {"finder": "none", "errors": e + 1} for e in (0, 2, 1)]
    assert excess_errors(rows, "none", TRUTH, "none") == (0.5, 0.5, 0.5)
    assert excess_errors(rows, TRUTH, TRUTH, "none", np.array([True, False, True])) == (0, 0, 0)
