"""`make gpu` from end to end on a small model: what it measures, where it keeps it, that it resumes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from lessons.cli import train
from lessons.lipreading import LipNet, SmallLipNet
from lessons.training.settings import Settings
from tools import gpu


def tiny() -> LipNet:
    return SmallLipNet(1, (16, 32), (4, 6, 8), 6, projection=7)


@pytest.fixture(autouse=True)
def small_work(monkeypatch):
    """The same steps on a model and on tests that take a second."""
    for preset in ("quick", "full"):
        monkeypatch.setitem(train.PRESETS, preset, (tiny, (16, 32), Settings(epochs=2, batch_size=4)))
    command = [sys.executable, "-c", "print('3 passed, 2 skipped in 0.1s')"]
    tests = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    monkeypatch.setattr(gpu, "start_tests", lambda: subprocess.Popen(command, **tests))


def test_a_dry_run_goes_through_all_parts(tmp_path):
    assert gpu.main(["--dry", "--out", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert found["tests"] == {"passed": 3, "skipped": 2, "exit": 0}
    assert [row["name"] for row in found["bench"]] == ["ctc B16", "gru B8"]
    assert found["quick"].keys() == {"seconds_to_15_percent", "wer"}
    assert found["full"]["settings"]["epochs"] == 1
    for part in ("quick", "full"):
        assert (tmp_path / part / "model.safetensors").is_file() and (tmp_path / part / "log.csv").is_file()


def test_the_epochs_fill_the_time_and_a_second_call_keeps_them(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "seconds_per_epoch", lambda *_: 2.0)
    settings = gpu.full_settings(tmp_path, None, None, 100.0)
    assert settings == replace(train.PRESETS["full"][2], epochs=45)  # 0.92 of 100 s less the timing itself
    monkeypatch.setattr(gpu, "seconds_per_epoch", lambda *_: pytest.fail("a begun run has its plan"))
    assert gpu.full_settings(tmp_path, None, None, 5.0) == settings


def test_without_a_gpu_it_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("LESSONS_DEVICE", "cpu")
    with pytest.raises(SystemExit, match="torch finds no CUDA device; --dry tries"):
        gpu.main(["--out", str(tmp_path)])
