"""Training a LipNet for strangers: its loss on measures, what it learns, its resuming, its command."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from lessons.cli import train as command
from lessons.data.batch import training_batch
from lessons.data.grid.people import People
from lessons.data.motions import MEASURES
from lessons.data.synthetic.talker import synthetic_clips, synthetic_people
from lessons.lipreading import StrangerLipNet
from lessons.training import checkpoint
from lessons.training.distributed import Processes
from lessons.training.evaluation import evaluate
from lessons.training.lipnet import train
from lessons.training.precision import convolutions_in
from lessons.training.settings import StrangerSettings
from lessons.training.strangers import StrangerRun, measure_loss

CPU = torch.device("cpu")
SIZE = (16, 32)
QUICK = StrangerSettings(
    epochs=3,
    steps_per_epoch=3,
    batch_size=2,
    motion_epochs=0,
    motions=2,
    learning_rate=1e-2,
    warmup_steps=5,
    average=0.9,
)
CLIPS, MOTIONS = synthetic_people(10, 0, SIZE)
UNSEEN, UNSEEN_MOTIONS = synthetic_people(4, 1, SIZE)


def tiny(hidden_size: int = 6, dropout: float = 0.1, **options) -> StrangerLipNet:
    torch.manual_seed(0)
    sizes = {"frame_size": SIZE, "channels": (4, 6, 8), "hidden_size": hidden_size, "projection": 16}
    return StrangerLipNet(neck=3, dropout=dropout, **sizes, **options)


def run(settings: StrangerSettings, out=None, precision=torch.float32, model=None, motions=MOTIONS, **more):
    model, run_type = model or tiny(), partial(StrangerRun, motions=motions, **more)
    average, rows = train(
        model, CLIPS, UNSEEN, settings, out, CPU, precision, progress=False, run_type=run_type
    )
    return model, average, rows


# ---- the loss on measures ----------------------------------------------------------------------------------


def courses(n_frames: int = 40, n_clips: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth courses (T, B, 9), each of its own scale and offset, and in which frames they are known."""
    rng = np.random.default_rng(0)
    waves = np.sin(
        np.arange(n_frames)[:, None, None] / rng.uniform(2, 6, (n_clips, 9)) + rng.uniform(0, 6, (n_clips, 9))
    )
    values = torch.from_numpy(waves * rng.uniform(0.02, 0.08, (n_clips, 9)) + rng.normal(0, 1, (n_clips, 9)))
    known = torch.zeros(n_frames, n_clips, dtype=torch.bool)
    known[5:30] = True
    return values, known


def test_only_the_course_of_a_measure_counts():
    true, known = courses()
    scale, offset = torch.rand(3, 9, dtype=torch.float64) * 50 + 0.5, torch.randn(3, 9, dtype=torch.float64)
    assert measure_loss(true, true, known) < 0.01
    assert measure_loss(true * scale + offset, true, known) < 0.02
    assert measure_loss(-true * scale + offset, true, known) > 2
    torch.manual_seed(0)
    assert 0.8 < measure_loss(torch.randn_like(true), true, known) < 3  # noise: 1, and its steps


def test_what_is_not_known_has_no_say():
    true, known = courses()
    loss = measure_loss(true.flip(0), true, known)
    seen, other = true.flip(0).clone(), true.clone()
    seen[~known], other[~known] = 1e3, -1e3
    torch.testing.assert_close(measure_loss(seen, other, known), loss, rtol=0, atol=1e-9)
    few = known.clone()
    few[:, 1] = False
    few[7:12, 1] = True  # 5 frames: too few
    expected = measure_loss(true.flip(0)[:, [0, 2]], true[:, [0, 2]], known[:, [0, 2]])
    torch.testing.assert_close(measure_loss(true.flip(0), true, few), expected, rtol=0, atol=1e-9)
    few[12, 1] = True
    assert measure_loss(true.flip(0), true, few) != expected


def test_its_gradient_is_that_of_finite_differences():
    true, known = courses(12, 2)
    known[:, 1] = torch.arange(12) % 5 > 0  # with gaps
    seen = (true.flip(0) + 0.1 * torch.randn_like(true)).requires_grad_()
    assert torch.autograd.gradcheck(lambda values: measure_loss(values, true, known), seen)
    measure_loss(seen, true, known).backward()
    assert not seen.grad[~known].any() and seen.grad[known].any()


@pytest.mark.parametrize("frames", [[], range(5), range(0, 12, 2)])
def test_nothing_known_costs_nothing_and_gives_no_gradient(frames):
    """Nothing, too little, and (finite, at least) no two frames in a row."""
    true, known = courses(12, 2)
    known[:] = False
    known[list(frames)] = True
    seen = true.flip(0).requires_grad_()
    loss = measure_loss(seen, true, known)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(seen.grad).all()
    if len(frames) < 6:
        assert loss == 0 and not seen.grad.any()


def test_a_measure_that_stands_still_gives_finite_gradients():
    true, known = courses()
    true[:, :, 3] = 0.5
    seen = torch.ones_like(true).requires_grad_()
    loss = measure_loss(seen, true, known)
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(seen.grad).all()


# ---- training ----------------------------------------------------------------------------------------------


def test_it_learns_to_see_how_mouths_move_that_it_never_saw():
    settings = replace(QUICK, epochs=2, steps_per_epoch=14, batch_size=3, motions=3, motion_epochs=0)
    _, average, rows = run(settings, model=tiny(hidden_size=16, dropout=0.0))
    assert rows[0]["train_measures"] > 1.1 > 0.95 > rows[-1]["train_measures"]
    assert rows[-1]["train_loss"] < 0.8 * rows[0]["train_loss"]
    assert rows[-1]["train_motions"] < 0.8 * rows[0]["train_motions"]
    assert rows[-1]["val_loss"] < 3.0
    lower_lip, found = MEASURES.index("lower lip, middle"), []
    with torch.no_grad():
        batch = training_batch(UNSEEN, range(4), None)
        seen = average.measures(average.features(batch.x))[..., lower_lip]  # (T, B)
    for i, motion in enumerate(UNSEEN_MOTIONS.values()):
        spoken = slice(motion.start, motion.start + len(motion.measures))
        found.append(np.corrcoef(seen[spoken, i], motion.measures[:, lower_lip])[0, 1])
    assert np.mean(found) > 0.5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"motions": 0}, "motions=0: expected 1 or more"),
        ({"seed": -1}, "seed=-1: expected 0 or more"),
        ({"keep": 60}, "keep=60: expected a fraction from 0 to 1"),
        ({"spliced": -0.1}, "spliced=-0.1: expected a fraction"),
        ({"average": 1.5}, "average=1.5: expected a fraction"),
        ({"learning_rate": 0.0}, "learning_rate=0.0: expected more than 0"),
    ],
)
def test_settings_out_of_range_are_refused(change, told):
    with pytest.raises(ValueError, match=told):
        replace(QUICK, **change)


def test_spliced_words_change_stage_2_alone():
    settings = replace(QUICK, motion_epochs=1)
    _, plain, rows = run(settings)
    _, varied, others = run(replace(settings, spliced=0.5, slow=0.2))
    assert rows[0]["val_loss"] == others[0]["val_loss"] and rows[1]["val_loss"] != others[1]["val_loss"]
    assert (plain.head.weight - varied.head.weight).abs().max() > 1e-4


def test_a_killed_run_resumes_to_the_same_bits(tmp_path, monkeypatch):
    settings = replace(QUICK, motion_epochs=1)
    whole, average, rows = run(settings, tmp_path / "whole")

    class Killed(Exception):
        pass

    steps, step = 0, torch.optim.AdamW.step

    def dying(self, *args, **kwargs):
        nonlocal steps
        steps += 1
        if steps == 5:  # in the middle of the second epoch
            raise Killed
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", dying)
    with pytest.raises(Killed):
        run(settings, tmp_path / "cut")
    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    torch.manual_seed(99)  # what chance has been up to in between does not matter
    resumed, resumed_average, resumed_rows = run(settings, tmp_path / "cut")
    for one, other in ((whole, resumed), (average, resumed_average)):
        for name, value in one.state_dict().items():
            assert torch.equal(value, other.state_dict()[name]), name
    untimed = {"seconds": 0, "cpu_seconds": 0}
    assert [row | untimed for row in rows] == [row | untimed for row in resumed_rows]


def test_the_log_has_every_part_of_the_loss(tmp_path):
    _, _, rows = run(replace(QUICK, epochs=4, motion_epochs=1), tmp_path)
    with open(tmp_path / "log.csv", encoding="utf-8") as file:
        logged = list(csv.DictReader(file))
    parts = ("train_loss", "train_motions", "train_timings", "train_measures")
    assert [[float(row[part]) for part in parts] for row in logged] == [
        pytest.approx([row[part] for part in parts], rel=1e-3) for row in rows
    ]
    assert rows[0]["train_loss"] == rows[0]["train_measures"] == 0 < rows[0]["train_motions"]  # stage 1
    assert all(row[part] > 0 for row in rows[1:3] for part in parts)
    assert rows[-1]["train_timings"] == 0  # word timings count in the first two thirds of stage 2
    assert [row["step"] for row in rows] == [3, 6, 9, 12]
    plain = run(replace(QUICK, start="plain", epochs=1))[2]
    assert plain[0]["train_timings"] == 0


def test_another_runs_checkpoint_is_refused(tmp_path):
    run(replace(QUICK, epochs=1), tmp_path)
    with pytest.raises(ValueError, match=r"last\.pt.*motions 10 there, 9 here"):
        run(replace(QUICK, epochs=1), tmp_path, motions=dict(list(MOTIONS.items())[:9]))
    with pytest.raises(ValueError, match=r"last\.pt.*keep 0.6 there, 0.5 here"):
        run(replace(QUICK, epochs=1, keep=0.5), tmp_path)


def test_seeds_differ_and_the_same_seed_does_not():
    rows = [run(replace(QUICK, epochs=1, seed=seed))[2][0] for seed in (0, 0, 1)]
    assert rows[0]["train_motions"] == rows[1]["train_motions"] != rows[2]["train_motions"]
    assert rows[0]["train_measures"] == rows[1]["train_measures"] != rows[2]["train_measures"]


@pytest.mark.parametrize("change", [{"upsample": 2}, {"head": "mlp"}, {"layers": "lessons"}])
def test_every_form_of_the_model_trains(change):
    row = run(replace(QUICK, epochs=1, steps_per_epoch=1), model=tiny(**change))[2][0]
    assert all(np.isfinite(value) for value in row.values()) and row["train_timings"] > 0


@pytest.mark.parametrize("upsample", [1, 2])
def test_the_loss_reads_every_frame(monkeypatch, upsample):
    seen, ctc_loss = [], torch.nn.functional.ctc_loss

    def noted(log_probs, targets, lengths, *args, **kwargs):
        seen.append((len(log_probs), lengths.tolist()))
        return ctc_loss(log_probs, targets, lengths, *args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "ctc_loss", noted)
    run(replace(QUICK, epochs=1, steps_per_epoch=1), model=tiny(upsample=upsample))
    n_frames = 75 * upsample
    assert seen[0] == (n_frames, [n_frames] * (2 + 2))  # clips, motions


def test_clips_whose_motion_nobody_knows_are_learned_from_too():
    others = {name: motion for name, motion in UNSEEN_MOTIONS.items() if name not in CLIPS.ids}
    row = run(replace(QUICK, epochs=1), motions=others)[2][0]
    assert row["train_measures"] == 0 and row["train_loss"] > 0 and row["train_motions"] > 0


def test_without_a_neck_the_measures_are_all_that_is_read():
    """keep=0: what the neck would let through gets no gradient, so it stays at its zeros."""
    model = run(replace(QUICK, epochs=1, keep=0.0))[0]
    assert not model.neck.widen.weight.any()
    assert run(replace(QUICK, epochs=1, keep=1.0))[0].neck.widen.weight.any()


def test_mixed_precision_trains_too():
    settings = replace(QUICK, epochs=1)
    rows, exact = run(settings, precision=torch.bfloat16)[2], run(settings)[2]
    assert rows[-1]["train_loss"] == pytest.approx(exact[-1]["train_loss"], rel=0.1)
    conv, x = torch.nn.Conv1d(2, 2, 1), torch.ones(1, 2, 3)
    with convolutions_in(torch.bfloat16, CPU):
        assert conv(x).dtype == torch.bfloat16
    with convolutions_in(torch.float32, CPU):
        assert conv(x).dtype == torch.float32


def test_what_it_cannot_do_is_refused():
    with pytest.raises(ValueError, match=r"2 processes: expected 1.*without torchrun"):
        StrangerRun(tiny(), CLIPS, QUICK, CPU, torch.float32, Processes(0, 2), motions=MOTIONS)
    for motions in (None, {}):
        with pytest.raises(ValueError, match="10 clips, 0 motions: expected at least one of each"):
            run(QUICK, motions=motions)


# ---- the command -------------------------------------------------------------------------------------------


@pytest.fixture
def quick_preset(monkeypatch):
    monkeypatch.setitem(command.PRESETS, "strangers", (tiny, SIZE, QUICK))
    monkeypatch.setattr(command, "grammar_texts", lambda log_probs, _: ["a"] * log_probs.shape[1])
    monkeypatch.setattr(command, "synthetic_clips", lambda n, seed, size: synthetic_clips(4, seed, size))


def test_the_command_trains_on_drawn_people(tmp_path, quick_preset, capsys):
    out = tmp_path / "run"
    options = {"--epochs": 2, "--clips": 9, "--seed": 3, "--threads": 1}
    words = [str(word) for pair in options.items() for word in pair]
    command.main(["--preset", "strangers", "--out", str(out), *words])
    names = ["last.pt", "log.csv", "model.safetensors", "results.json"]
    assert sorted(path.name for path in out.iterdir()) == names
    found = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert (found["preset"], found["training_clips"], found["clips"]) == ("strangers", "9", 4)
    settings = found["settings"]
    assert (settings["epochs"], settings["seed"], settings["motions"], settings["keep"]) == (2, 3, 2, 0.6)
    assert found["speakers"]["talker"]["clips"] == 4
    assert found["speakers"]["talker"]["greedy"] == found["greedy"]["wer"]
    assert {row["speaker"] for row in found["sentences"]} == {"talker"}
    for decoder in ("greedy", "grammar"):
        read = [row[decoder] for row in found["sentences"]]
        assert found["slots"][decoder] == command.by_slot([row["said"] for row in found["sentences"]], read)
    model = checkpoint.load(out / "model.safetensors")
    assert type(model) is StrangerLipNet
    assert evaluate(model, synthetic_clips(4, 1, SIZE)).wer == found["greedy"]["wer"]
    assert "strangers: " in capsys.readouterr().out


def test_another_trainings_results_are_kept(tmp_path, quick_preset, monkeypatch):
    monkeypatch.setattr(command, "load_data", lambda args: pytest.fail("loaded first"))
    words = ["--preset", "strangers", "--out", str(tmp_path / "run")]
    for found in ('{"preset": "quick"}', '{"preset": "strangers", "settings": {"epochs": 9}}', "[1]", "{"):
        write(tmp_path / "run" / "results.json", found)
        with pytest.raises(ValueError, match=r"results\.json: of another training, which is kept; choose"):
            command.main(words)
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["results.json"]
    write(tmp_path / "file", "mine")
    with pytest.raises(OSError, match="file is a file, expected a folder"):
        command.main([*words[:2], "--out", str(tmp_path / "file")])
    monkeypatch.setitem(command.PRESETS, "strangers", (tiny, SIZE, replace(QUICK, motion_epochs=3)))
    with pytest.raises(ValueError, match="epochs=3: expected more than 3"):
        command.main([*words[:2], "--out", str(tmp_path / "new")])


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_the_model_of_s1_gives_its_convolutions_unless_s1_is_held_out(monkeypatch):
    argv = ["--preset", "strangers", "--data", "grid", "--out", "runs"]
    for held_out, front in (({"s5"}, command.READS_S1), ({"s1", "s5"}, None)):
        people = People(CLIPS, UNSEEN, MOTIONS, frozenset(held_out))
        monkeypatch.setattr(command, "load_people", lambda *_, people=people: people)
        assert command.load_data(command.arguments(argv)).front == front
    assert command.load_data(command.arguments([*argv, "--data", "synthetic"])).front is None


def test_speakers_are_counted_each_for_themselves():
    texts = {"greedy": ["a b", "a c", "a d", "e f"], "grammar": ["a b"] * 4}
    assert command.by_speaker(("s1", "s2", "s1", "s2"), ("a b",) * 4, texts) == {
        "s1": {"clips": 2, "greedy": 0.25, "grammar": 0.0},
        "s2": {"clips": 2, "greedy": 0.75, "grammar": 0.0},
    }
    assert command.by_speaker((), ("a b",) * 4, texts) == {}


def test_errors_are_counted_by_slot():
    said = ["bin blue at f two now"] * 4
    read = [
        "bin blue at f two now",
        "bin red at two now",  # a color replaced, the letter dropped
        "bin blue at f two two now",  # a word inserted: of no slot
        "",
    ]
    found = command.by_slot(said, read)
    assert list(found) == ["command", "color", "preposition", "letter", "digit", "adverb"]
    assert list(found.values()) == [0.25, 0.5, 0.25, 0.5, 0.25, 0.25]
    assert command.by_slot([*said, "three words only"], [*read, "bin"]) == found
    assert command.by_slot(["three words only"], ["three words only"]) == command.by_slot([], []) == {}


@pytest.mark.parametrize(
    "wrong",
    [
        ["--speakers", "data/others"],
        ["--hold-out", "s5"],
        ["--preset", "strangers", "--hold-out", "s5"],
        ["--preset", "strangers", "--speakers", "data/others"],
    ],
)
def test_options_of_another_preset_are_refused(wrong, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        command.main([*wrong, "--out", str(tmp_path)])
    assert caught.value.code == 2
    assert "needs --preset strangers and --data FOLDER" in capsys.readouterr().err
