"""The detector's training in two stages: it learns, it resumes to the same bits, it fills the table."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lessons.cli import train_detector
from lessons.cli.train_detector import PRESETS
from lessons.data.synthetic.moving import TRACKING, MovingClips, Scene, moving_clips
from lessons.detection.boxes import Detections
from lessons.detection.detector import MEMORIES, Detector
from lessons.detection.scores import detect, evaluate, score
from lessons.training.detector import clip_targets, fit, train_memories, train_per_frame
from lessons.training.detector_table import (
    COLUMNS,
    GAP_COLUMNS,
    METHODS,
    TESTS,
    clips_of,
    difference,
    load,
    mean_and_spread,
    read_table,
    t_interval,
    validation_clips,
)
from lessons.training.settings import Recipe

TINY = PRESETS["tiny"]
EASY = Scene(size=(32, 32), kinds=("square",), objects=(1, 1), contrast=(0.5, 0.5), noise=0.02, blur=(0, 0))


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


# Scores


def video(found: list[list[list[float]]], score: float = 0.9) -> list[list[Detections]]:
    """One video; of every frame the boxes found, all of class 0 and equally sure."""
    frames = [torch.tensor(boxes).reshape(-1, 4) for boxes in found]
    return [
        [Detections(b, torch.full((len(b),), score), torch.zeros(len(b), dtype=torch.long)) for b in frames]
    ]


HERE, THERE = [2.0, 2, 12, 12], [18.0, 18, 28, 28]


def still_clip(visible: list[float]) -> MovingClips:
    """One square that stands at HERE and can be seen by so much in each frame."""
    n = len(visible)
    return MovingClips(
        np.zeros((1, n, 32, 32), np.uint8),
        np.tile(np.array(HERE, np.float32), (1, n, 1, 1)),
        np.zeros((1, 1), np.int64),
        np.array(visible, np.float32).reshape(1, n, 1),
    )


def test_scores_by_hand():
    clips = still_clip([1, 0, 0, 1, 0.05])
    found = score(video([[HERE], [HERE], [], [HERE, THERE], []]), clips)
    assert found.hidden_recall == pytest.approx(1 / 3)  # of the frames 1, 2 and 4
    assert found.flicker == 3 / 4
    assert found.precision == 3 / 4
    assert 0 < found.ap50 <= 3 / 5
    unsure = score(video([[HERE]] * 5, score=0.1), clips)
    assert unsure.ap50 == 1 and unsure.hidden_recall == 0 and math.isnan(unsure.precision)
    assert math.isnan(score(video([[HERE]] * 2), still_clip([1, 1])).hidden_recall)


def test_empty_places_are_not_counted():
    clips = moving_clips(9, np.random.default_rng(0), 4, scene=Scene(objects=(0, 2)))
    assert 0 < (clips.labels < 0).sum() < 18
    perfect = [
        [
            Detections(
                torch.from_numpy(clips.boxes[i, t][clips.labels[i] >= 0]),
                torch.ones(int((clips.labels[i] >= 0).sum())),
                torch.from_numpy(clips.labels[i][clips.labels[i] >= 0]),
            )
            for t in range(4)
        ]
        for i in range(9)
    ]
    found = score(perfect, clips)
    assert found.ap50 == 1 and found.flicker == 0 and found.precision == 1


def test_forgetting_is_a_film_of_single_frames():
    torch.manual_seed(0)
    model = Detector(2, "conv_lstm", 4).eval()
    with torch.no_grad():
        model.head[-1].bias[:] = 0
    frames = moving_clips(3, np.random.default_rng(0), 4).frames
    carried, forgotten = detect(model, frames, batch_size=2), detect(model, frames, forget=True)
    assert len(forgotten) == 3 and len(forgotten[0]) == 4
    assert torch.equal(carried[1][0].scores, forgotten[1][0].scores)  # a first frame has nothing to forget
    assert not torch.equal(carried[1][2].scores, forgotten[1][2].scores)
    alone = detect(model, frames[1:2, 2:3])[0][0]
    torch.testing.assert_close(forgotten[1][2].scores, alone.scores)
    assert detect(model, frames[:0]) == []


def test_films_that_cannot_be_read_are_refused():
    model, frames = Detector(2, "averaging", 4), np.zeros((2, 3, 16, 16), np.uint8)
    for wrong in (frames[0], frames[:, :0], frames.astype(float)):
        for forget in (False, True):
            with pytest.raises(ValueError, match=r"expected uint8 \(N, T, H, W\), at least one frame"):
                detect(model, wrong, forget)
    with pytest.raises(ValueError, match="batch_size=-1"):
        detect(model, frames, batch_size=-1)


def test_as_many_frames_must_be_found_as_there_are():
    clips = still_clip([1, 1, 1])
    for found in (video([[HERE]] * 2), [], video([[HERE]] * 3) * 2):
        with pytest.raises(ValueError, match=r"expected \[3\], as the clips"):
            score(found, clips)


def test_nothing_to_find():
    empty = score(
        video([[HERE]] * 2), moving_clips(1, np.random.default_rng(0), 2, scene=Scene(objects=(0, 0)))
    )
    assert math.isnan(empty.ap50) and math.isnan(empty.flicker) and empty.precision == 0
    none = score([], moving_clips(0, np.random.default_rng(0), 2))
    assert math.isnan(none.ap50) and math.isnan(none.precision)
    one = score(video([[HERE]]), still_clip([1]))  # no pair of frames, no flicker
    assert math.isnan(one.flicker) and one.ap50 == 1


# Training


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(clips=0), "clips=0: expected 1 or more"),
        (dict(frame_steps=-1), "frame_steps=-1: expected 1"),
        (dict(seed=-1), "seed=-1: expected 0 or more"),
        (dict(vanish=75), "vanish=75: expected a fraction"),
        (dict(vanish=math.nan), "vanish=nan"),
        (dict(learning_rate=0), "learning_rate=0: expected more than 0"),
        (dict(learning_rate=math.nan), "learning_rate=nan"),
    ],
)
def test_recipes_that_train_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**settings)


def test_targets_come_in_the_order_of_the_maps():
    clips = moving_clips(2, np.random.default_rng(0), 3, scene=EASY)
    found = clip_targets(clips, 1)
    center = clips.boxes[..., 0, :].reshape(2, 3, 2, 2).mean(2)  # (N, T, 2): x, y
    expected = center.transpose(1, 0, 2).reshape(6, 2) // 8
    assert found.frame.tolist() == list(range(6))
    assert np.stack([found.column, found.row], 1).tolist() == expected.tolist()


def test_memory_learns_to_hold_what_is_gone():
    recipe = Recipe(60, 16, 70, 6, 6, learning_rate=1e-2, hidden_channels=16)
    per_frame, log = train_per_frame(recipe, EASY, progress=False)
    assert np.mean(log.losses[-10:]) < 0.3 * np.mean(log.losses[:10])
    model, _ = train_memories(["bottleneck_lstm"], per_frame, recipe, EASY, progress=False)["bottleneck_lstm"]
    clips = moving_clips(20, np.random.default_rng(99), 8, 0.5, scene=EASY)
    carried, forgotten = evaluate(model, clips), evaluate(model, clips, forget=True)
    assert carried.hidden_recall > forgotten.hidden_recall + 0.25
    assert carried.flicker < 0.6 * forgotten.flicker
    assert carried.ap50 > forgotten.ap50 + 0.08


def test_each_memory_learns_the_same_alone():
    per_frame, _ = train_per_frame(TINY, progress=False)
    together = train_memories(["none", "averaging", "bottleneck_lstm"], per_frame, TINY, progress=False)
    alone = train_memories(["bottleneck_lstm"], per_frame, TINY, progress=False)
    assert same(together["bottleneck_lstm"][0], alone["bottleneck_lstm"][0])
    assert together["bottleneck_lstm"][1].losses == alone["bottleneck_lstm"][1].losses
    assert same(together["averaging"][0].backbone, per_frame.backbone)


def test_a_backbone_serves_scenes_of_other_classes():
    per_frame = load("none")
    trained = train_memories(["none"], per_frame, TINY, EASY, progress=False)
    assert trained["none"][0].classes == len(EASY.kinds) == 1 < per_frame.classes == len(TRACKING.kinds)


def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    def draw(step):
        if killed and step == 5:
            raise KeyboardInterrupt
        return moving_clips(2, np.random.default_rng(step), 2, 0.5, scene=EASY)

    def run(checkpoint):
        torch.manual_seed(0)
        models = [Detector(1, "none", 4), Detector(1, "none", 4)]
        models[1].use_backbone(models[0])
        models[0].use_backbone(models[0])
        return models, fit(models, draw, 8, 1e-2, checkpoint, {"run": 1}, progress=False, every=2)

    killed = False
    whole, logs = run(None)
    killed = True
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "last.pt")
    killed = False
    resumed, again = run(tmp_path / "last.pt")
    assert all(same(a, b) for a, b in zip(whole, resumed, strict=True))
    assert [log.losses for log in logs] == [log.losses for log in again]
    assert len(logs[0].losses) == 8 and again[0].cpu_seconds > 0

    with pytest.raises(ValueError, match=r"another run \(steps 8 there, 9 here\)"):
        fit(resumed, draw, 9, 1e-2, tmp_path / "last.pt", {"run": 1}, progress=False)
    (tmp_path / "last.pt").write_bytes(b"half a file")
    with pytest.raises(ValueError, match="damaged"):
        run(tmp_path / "last.pt")


def test_a_loss_that_is_no_number_stops_the_run():
    model = Detector(1, "none", 4)
    with torch.no_grad():
        model.head[-1].weight.fill_(math.nan)
    with pytest.raises(ValueError, match="loss of step 0 is nan"):
        fit(
            [model],
            lambda _: moving_clips(1, np.random.default_rng(0), 1, scene=EASY),
            1,
            1e-3,
            progress=False,
        )


# The command


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detector")
    train_detector.main(["--preset", "tiny", "--seed", "0", "1", "--out", str(folder)])
    return folder


def test_the_table_is_complete(out):
    rows = read_table(out / "results.csv")
    assert list(rows[0]) == list(COLUMNS)
    with_state = len(MEMORIES) - 1
    assert len(rows) == 2 * (len(METHODS) * len(TESTS) + with_state)
    assert {row["method"] for row in rows if row["state"] == "forgotten"} == set(MEMORIES) - {"none"}
    for row in rows:
        assert 0 <= row["ap50"] <= 1 and 0 <= row["flicker"] <= 1
    values = [
        r["flicker"] for r in rows if (r["method"], r["test"], r["state"]) == ("none", "0.5", "carried")
    ]
    mean, spread = mean_and_spread(rows, "flicker", "none", "0.5")
    assert len(values) == 2 and mean == pytest.approx(np.mean(values))
    assert spread == pytest.approx(abs(values[0] - values[1]) / math.sqrt(2))
    with open(out / "losses.csv", encoding="utf-8") as file:
        losses = list(csv.DictReader(file))
    assert len(losses) == 2 * (1 + len(MEMORIES)) and {row["step"] for row in losses} == {"2"}
    with pytest.raises(ValueError, match="method='gru'"):
        mean_and_spread(rows, "ap50", "gru", "0.5")


def test_gaps_and_settings_are_kept(out):
    with open(out / "gaps.csv", newline="", encoding="utf-8") as file:
        gaps = list(csv.DictReader(file))
    assert list(gaps[0]) == list(GAP_COLUMNS) and {row["method"] for row in gaps} == set(METHODS)
    tests = json.loads((out / "results.json").read_text(encoding="utf-8"))["tests"]
    assert set(tests) == {"0", "1"}
    assert [row["method"] for row in tests["0"]["tuned"]] == ["held boxes", "averaged maps", "kalman tracker"]


def test_nothing_is_tuned_on_a_test_clip():
    tests = [clips_of(name, TINY).frames for name in TESTS]
    for clips in validation_clips(TINY).values():
        assert all((clips.boxes[0] != clips_of("0", TINY).boxes[i]).any() for i in range(TINY.test_clips))
        assert all((clips.frames[:1] != frames[i : i + 1]).any() for frames in tests for i in range(3))


def test_intervals_are_student_s():
    mean, low, high = t_interval([1.0, 2.0, 3.0])
    assert mean == 2 and high - 2 == pytest.approx(4.303 / math.sqrt(3)) and low == pytest.approx(4 - high)
    assert [t_interval(range(n))[2] for n in (11, 20)] == pytest.approx([7.228, 12.269], abs=1e-3)
    rows = [
        {"seed": seed, "method": method, "test": "0", "state": "carried", "ap50": value}
        for method, values in {"a": (0.5, 0.6), "b": (0.4, 0.5)}.items()
        for seed, value in enumerate(values)
    ]
    assert difference(rows, "a", "b", "0") == pytest.approx((0.1, 0.1, 0.1))
    with pytest.raises(ValueError, match="expected 2 to 20"):
        t_interval([1.0])


def test_what_was_kept_is_what_was_measured(out):
    recipe = replace(TINY, seed=1)
    model = load(out / "seed_1" / "conv_lstm.safetensors")
    assert model.config["memory"] == "conv_lstm" and not model.training
    rows = read_table(out / "results.csv")
    (row,) = (r for r in rows if (r["seed"], r["method"], r["test"]) == (1, "conv_lstm", "0.75"))
    found = evaluate(model, clips_of("0.75", recipe))
    assert found.ap50 == pytest.approx(row["ap50"], abs=1e-4)


def test_finished_seeds_are_not_done_again(out, monkeypatch):
    before = (out / "results.csv").read_text(encoding="utf-8")
    monkeypatch.setattr(train_detector, "train_per_frame", None)
    train_detector.main(["--preset", "tiny", "--seed", "1", "--out", str(out)])
    assert (out / "results.csv").read_text(encoding="utf-8") == before
    with pytest.raises(ValueError, match="another recipe"):
        train_detector.main(["--preset", "full", "--seed", "1", "--out", str(out)])


def test_the_tests_show_the_same_paths():
    clips = {name: clips_of(name, TINY) for name in TESTS}
    for name in TESTS:
        assert (clips[name].labels == clips["0"].labels).all()
        assert (clips[name].boxes == clips["0"].boxes).all()
    hidden = [clips[name].visible.mean() for name in ("0", "0.5", "0.75")]
    assert hidden == sorted(hidden, reverse=True)


@pytest.mark.parametrize("wrong", [["--threads", "0"], ["--seed", "-1"], ["--preset", "huge"], []])
def test_wrong_arguments_are_refused(wrong, capsys):
    out = [] if not wrong else ["--out", "x"]
    with pytest.raises(SystemExit):
        train_detector.main([*out, *wrong])
    assert capsys.readouterr().err


def test_a_table_reads_back_its_gaps(tmp_path):
    path = tmp_path / "results.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerows([COLUMNS, [0, "none", "0", "carried", 0.5, "", 0.1, 0.9]])
    (row,) = read_table(path)
    assert row["seed"] == 0 and math.isnan(row["hidden_recall"]) and row["ap50"] == 0.5
