"""The training loop: it learns, it resumes to the same bits, it leaves nothing half-done."""

from __future__ import annotations

import csv
import errno
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from lessons.cli import train as command
from lessons.data.batch import training_batch
from lessons.data.clips import ClipSet
from lessons.files import claim
from lessons.lipreading import LipNet, SmallLipNet
from lessons.training import checkpoint, lipnet, resume
from lessons.training.evaluation import evaluate
from lessons.training.lipnet import train
from lessons.training.losses import ctc, timing_loss
from lessons.training.precision import best_precision
from lessons.training.settings import Settings

CPU = torch.device("cpu")
QUICK = Settings(epochs=3, batch_size=4, learning_rate=4e-3, warmup_steps=3, average=0.9)


def bars(n: int, seed: int) -> ClipSet:
    """Clips that a small network reads at once: a bright bar stands left for "a", right for "b"."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(0, 60, (n, 12, 16, 32), dtype=np.uint8)
    words = []
    for clip in frames:
        word = "ab"[rng.integers(2)]
        column = {"a": 4, "b": 20}[word]
        clip[4:8, :, column : column + 8] = 200
        words.append(word)
    segments = tuple(((0.0, 4.0, "sil"), (4.0, 8.0, w), (8.0, 12.0, "sil")) for w in words)
    ids = tuple(f"bar{i}" for i in range(n))
    return ClipSet(frames, np.full(n, 12), ids, tuple(words), segments)


def tiny(hidden_size: int = 6, dropout: float = 0.1) -> LipNet:
    torch.manual_seed(0)
    return SmallLipNet(1, (16, 32), (4, 6, 8), hidden_size, projection=16, dropout=dropout)


def run(settings: Settings, out=None, precision=torch.float32):
    model = tiny()
    average, rows = train(model, bars(10, 0), bars(6, 1), settings, out, CPU, precision, progress=False)
    return model, average, rows


def test_it_learns_to_read():
    settings = replace(QUICK, epochs=20, augmented=False, learning_rate=2e-2)
    unseen = bars(12, 1)
    model = tiny(hidden_size=16, dropout=0.0)
    average, rows = train(model, bars(32, 0), unseen, settings, None, CPU, torch.float32, progress=False)
    assert rows[0]["val_wer"] == 1 and rows[0]["val_loss"] > 1
    assert rows[-1]["val_wer"] == 0 and rows[-1]["val_loss"] < 0.3
    assert evaluate(average, unseen).texts == unseen.transcripts


@pytest.mark.parametrize("start", ["timings", "plain"])
def test_a_killed_run_resumes_to_the_same_bits(tmp_path, monkeypatch, start):
    settings = replace(QUICK, start=start)
    whole, average, rows = run(settings, tmp_path / "whole")

    class Killed(Exception):
        pass

    steps = 0
    step = torch.optim.AdamW.step

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
    for row, resumed_row in zip(rows, resumed_rows, strict=True):
        untimed = {"seconds": 0, "cpu_seconds": 0}
        assert {**row, **untimed} == {**resumed_row, **untimed}
    with open(tmp_path / "cut" / "log.csv", encoding="utf-8") as file:
        logged = list(csv.DictReader(file))
    assert [row["epoch"] for row in logged] == ["1", "2", "3"]
    assert sorted(p.name for p in (tmp_path / "cut").iterdir()) == ["last.pt", "log.csv"]


def test_another_runs_checkpoint_is_refused(tmp_path):
    run(replace(QUICK, epochs=1), tmp_path)
    with pytest.raises(ValueError, match=r"last\.pt.*learning_rate 0.004 there, 0.1 here"):
        run(replace(QUICK, epochs=1, learning_rate=0.1), tmp_path)
    (tmp_path / "last.pt").write_bytes(b"rubbish")
    with pytest.raises(ValueError, match="damaged"):
        run(replace(QUICK, epochs=1), tmp_path)


@pytest.fixture
def no_step(monkeypatch):
    """A run that gets as far as its first step fails."""

    def step(*args, **kwargs):
        raise AssertionError("a step was done")

    monkeypatch.setattr(torch.optim.AdamW, "step", step)


@pytest.mark.parametrize("out", ["file", "file/below", "file/deep/below"])
def test_a_folder_that_takes_no_files_is_found_before_the_first_step(tmp_path, no_step, out):
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(OSError, match="could not write") as caught:
        run(QUICK, tmp_path / out)
    assert caught.value.filename == str(tmp_path / out) and (tmp_path / "file").read_bytes() == b"kept"


def test_the_command_tries_all_its_files_before_the_first_step(tmp_path, no_step, monkeypatch):
    monkeypatch.setitem(command.PRESETS, "small", (tiny, (16, 32), QUICK))
    for name in ("model.safetensors", "results.json"):
        (tmp_path / name / name).mkdir(parents=True)
        with pytest.raises(OSError, match=name):
            command.run("small", QUICK, command.Data(bars(8, 0), bars(4, 1), "bars"), tmp_path / name)


def test_a_folder_has_one_training(tmp_path, no_step):
    with claim(tmp_path), pytest.raises(OSError, match="another run is writing there"):
        run(QUICK, tmp_path)


@pytest.mark.parametrize("file", ["log.csv", "last.pt"])
def test_a_disk_that_fills_up_leaves_the_last_checkpoint(tmp_path, monkeypatch, file):
    """The second epoch finds no room for ``file``; with room again the run goes on to the same bits."""
    writes = {"log.csv": (lipnet, "write_log"), "last.pt": (resume.Path, "write_bytes")}
    where, name = writes[file]
    write, times = getattr(where, name), []

    def filling(path, data):
        times.append(path)
        if len(times) == 2:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        return write(path, data)

    monkeypatch.setattr(where, name, filling)
    with pytest.raises(OSError, match="No space left on device") as caught:
        run(QUICK, tmp_path)
    assert file in caught.value.filename and "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last.pt", "log.csv"]
    assert len(torch.load(tmp_path / "last.pt", weights_only=True)["rows"]) == 1
    resumed, whole = run(QUICK, tmp_path)[0], run(QUICK)[0]
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_the_same_training_gives_the_same_files(tmp_path, monkeypatch):
    monkeypatch.setattr(lipnet.time, "perf_counter", lambda: 0.0)
    monkeypatch.setattr(lipnet.time, "process_time", lambda: 0.0)
    for out in ("a", "b"):
        average = run(QUICK, tmp_path / out)[1]
        about = {"preset": "tiny", "data": "bars", "training_clips": "10"}
        checkpoint.save(average, tmp_path / out / "model.safetensors", about, half=True)
    for name in ("last.pt", "log.csv", "model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_seeds_differ_and_the_same_seed_does_not():
    rows = [run(replace(QUICK, epochs=1, seed=seed))[2] for seed in (0, 0, 1)]
    assert rows[0][0]["train_loss"] == rows[1][0]["train_loss"] != rows[2][0]["train_loss"]


def test_word_timings_change_what_is_learned():
    with_timings, plain = (run(replace(QUICK, epochs=1, start=start))[1] for start in ("timings", "plain"))
    assert not torch.equal(with_timings.head.weight, plain.head.weight)


def test_the_average_lags_behind_the_weights():
    model, average, _ = run(replace(QUICK, average=0.999))
    moved = [(a - b).abs().max() for a, b in zip(model.parameters(), average.parameters(), strict=True)]
    assert max(moved) > 1e-4
    assert not average.training


def test_losses_leave_padding_out():
    clips = bars(2, 0)
    lengths = np.array([12, 9])
    short = clips.frames.copy()
    short[1, 9:] = 0
    padded = replace(clips, frames=short, lengths=lengths)
    model = tiny().eval()
    batch = training_batch(padded, [0, 1], None)
    alone = [
        training_batch(replace(padded.subset([i]), frames=short[i : i + 1, :n]), [0], None)
        for i, n in enumerate(lengths)
    ]
    together = model(batch.x, batch.lengths)
    for loss, mean in ((ctc, lambda a, b: (a + b) / 2), (timing_loss, lambda a, b: (12 * a + 9 * b) / 21)):
        parts = [loss(model(one.x, one.lengths), one, model) for one in alone]
        torch.testing.assert_close(loss(together, batch, model), mean(*parts), rtol=1e-5, atol=1e-6)


def test_a_sentence_that_does_not_fit_is_named():
    clips = replace(bars(2, 0), transcripts=("a", "abc"), lengths=np.array([12, 2]))
    with pytest.raises(ValueError, match=r"bar1.*needs 3 frames.*makes 2"):
        train(tiny(), clips, bars(2, 1), QUICK, device=CPU, progress=False)
    with pytest.raises(ValueError, match=r"len\(training\)=0: expected 1"):
        train(tiny(), bars(2, 0).subset([]), bars(2, 1), QUICK, device=CPU, progress=False)
    # A clip to test on that does not fit would fail after the whole training.
    with pytest.raises(ValueError, match=r"bar1.*needs 3 frames.*makes 2"):
        train(tiny(), bars(2, 1), clips, QUICK, device=CPU, progress=False)


def test_a_run_goes_on_with_its_own_clips_alone(tmp_path):
    train(tiny(), bars(4, 0), bars(2, 1), QUICK, tmp_path, CPU, torch.float32, progress=False)
    with pytest.raises(ValueError, match=r"another run \(clips '4, \w{8}' there, '4, \w{8}' here\)"):
        others = replace(bars(4, 0), ids=("a", "b", "c", "d"))
        train(tiny(), others, bars(2, 1), QUICK, tmp_path, CPU, torch.float32, progress=False)


def test_mixed_precision_trains_too():
    _, _, rows = run(QUICK, precision=torch.bfloat16)
    _, _, exact = run(QUICK)
    # bfloat16 keeps 8 bits: a step's loss moves by under a percent, three epochs of them by a few
    assert rows[-1]["train_loss"] == pytest.approx(exact[-1]["train_loss"], rel=0.1)
    assert best_precision(CPU) in (torch.bfloat16, torch.float32)


def test_the_command_writes_all_it_promises(tmp_path, monkeypatch, capsys):
    preset = (tiny, (16, 32), QUICK)
    monkeypatch.setitem(command.PRESETS, "small", preset)
    monkeypatch.setattr(command, "load_clips", lambda *_: (bars(8, 0), bars(4, 1)))
    monkeypatch.setattr(command, "grammar_texts", lambda log_probs, _: ["a"] * log_probs.shape[1])
    out = tmp_path / "run"
    command.main(["--out", str(out), "--epochs", "2", "--batch-size", "3"])
    names = ["last.pt", "log.csv", "model.safetensors", "results.json"]
    assert sorted(p.name for p in out.iterdir()) == names
    found = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert found["settings"]["epochs"] == 2 and found["settings"]["batch_size"] == 3
    assert len(found["sentences"]) == 4
    assert set(found["misplaced_greedy_wer"]) == set(command.MISPLACED)
    assert found["misplaced_greedy_wer"]["as cropped"] == found["greedy"]["wer"]
    # The weights on disk (float16) read as the trained model does.
    assert evaluate(checkpoint.load(out / "model.safetensors"), bars(4, 1)).wer == found["greedy"]["wer"]
    assert "WER" in capsys.readouterr().out


@pytest.mark.parametrize("wrong", [["--preset", "huge"], ["--epochs", "0"], ["--batch-size", "0"], []])
def test_the_command_refuses_bad_arguments(wrong, capsys, tmp_path):
    with pytest.raises(SystemExit) as caught:
        command.main([*wrong, *(["--out", str(tmp_path)] if wrong else [])])
    assert caught.value.code == 2
    assert "error" in capsys.readouterr().err
