"""Several processes arrive at what one arrives at; they share without loss, and never hang."""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from two_processes import SETTINGS, clips, layers, run, tiny

from lessons.cli import train as command
from lessons.data.batch import training_batch
from lessons.training import checkpoint, distributed
from lessons.training.distributed import ALONE, Processes, interleave, join
from lessons.training.lipnet import train
from lessons.training.whole_batch import WholeBatchNorm3d, use_whole_batch

ROOT = Path(__file__).resolve().parents[2]

# Sharing out, without any process


@given(st.lists(st.integers(), max_size=40), st.integers(1, 9))
def test_every_item_falls_to_one_process_and_comes_back_to_its_place(items, size):
    shares = [Processes(rank, size).share(items) for rank in range(size)]
    assert interleave(shares) == items
    lengths = [len(share) for share in shares]
    assert sum(lengths) == len(items) and max(lengths) - min(lengths) <= 1


@given(st.integers(1, 40), st.integers(1, 9))
def test_the_parts_of_a_batch_count_every_clip_once(n_clips, size):
    parts = [Processes(rank, size).part(n_clips) for rank in range(size)]
    counted = [place for part in parts if part.counts for place in part.places]
    assert sorted(counted) == list(range(n_clips))
    for part in parts:  # a process for which nothing is left computes along, with a clip that there is
        assert part.n_clips == n_clips and set(part.places) <= set(range(n_clips)) and len(part.places) > 0
    assert all(part.counts for part in parts) == (n_clips >= size)
    amounts = [1.0 + place for place in range(n_clips)]
    assert sum(part.share(amounts) for part in parts) == pytest.approx(1)
    mean = sum(amounts) / n_clips  # from the means of the parts, each with its share of the clips
    means = [np.mean([amounts[place] for place in part.places]) for part in parts]
    shares = [part.share([1.0] * n_clips) for part in parts]
    assert sum(m * share for m, share in zip(means, shares, strict=True)) == pytest.approx(mean)


@settings(max_examples=5, deadline=None)
@given(st.integers(1, 7), st.integers(1, 4), st.integers(0, 99))
def test_a_clip_is_changed_the_same_whichever_process_has_it(n_clips, size, seed):
    talker, indices = clips(10, 0), [3, 1, 8, 0, 2, 7, 5][:n_clips]
    whole = training_batch(talker, indices, np.random.default_rng(seed))
    for rank in range(size):
        places = list(Processes(rank, size).part(n_clips).places)
        part = training_batch(talker, indices, np.random.default_rng(seed), places=places)
        torch.testing.assert_close(part.x, whole.x[places], rtol=0, atol=1e-5)
        for field in ("lengths", "target_lengths", "frame_labels"):
            assert torch.equal(getattr(part, field), getattr(whole, field)[places])


def test_alone_nothing_is_replaced_or_sent():
    model = tiny()
    before = dict(model.named_modules())
    use_whole_batch(model, ALONE)
    assert dict(model.named_modules()) == before
    x = torch.ones(3, requires_grad=True)
    assert ALONE.add(x) is x and ALONE.total(0.1) == 0.1 and ALONE.gather([1, 2]) == [1, 2]
    part = ALONE.part(3)
    assert list(part.places) == [0, 1, 2] and part.share([5, 6, 7]) == 1


def test_the_replaced_layers_keep_parameters_names_and_answers():
    model, pair = tiny(), tiny()
    model.stcnn1.norm.running_mean.fill_(0.3)
    pair.load_state_dict(model.state_dict())
    parameters = dict(pair.named_parameters())
    use_whole_batch(pair, Processes(0, 2))
    assert isinstance(pair.stcnn1.norm, WholeBatchNorm3d) and not isinstance(pair.dropout, nn.Dropout)
    assert all(p is parameters[name] for name, p in pair.named_parameters())
    assert pair.state_dict().keys() == model.state_dict().keys()
    x = torch.randn(2, 1, 12, 16, 32)
    assert torch.equal(pair.eval()(x), model.eval()(x))


# Bad set-ups


def test_more_processes_than_clips_to_share_are_refused():
    with pytest.raises(ValueError, match="batch_size=3: expected 5 or more"):
        train(tiny(), clips(10, 0), clips(5, 1), SETTINGS, progress=False, processes=Processes(0, 5))
    with pytest.raises(ValueError, match=r"len\(validation\)=2: expected 3 or more"):
        train(tiny(), clips(10, 0), clips(2, 1), SETTINGS, progress=False, processes=Processes(0, 3))


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name, value in (("RANK", "2"), ("WORLD_SIZE", "3"), ("LOCAL_RANK", "2")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=r"process 2 .* no GPU, there are 2: .*--nproc-per-node 2"), join():
        pass


def test_a_torch_without_distributed_is_told_so(monkeypatch):
    monkeypatch.setattr(distributed.dist, "is_available", lambda: False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"torch\.distributed is missing"), join():
        pass


def test_without_torchrun_one_is_alone(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join() as processes:
        assert processes == Processes(0, 1)


def test_a_torch_that_cannot_join_processes_is_named(monkeypatch):
    """What some releases of torch say on Windows; any other error is of another process."""

    def init(*args, **kwargs):
        raise RuntimeError(message)

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.distributed, "init_process_group", init)
    message = "makeDeviceForHostname(): unsupported gloo device"
    with pytest.raises(ValueError, match="cannot join them on this system"), join():
        raise AssertionError("never reached")
    message = "Connection closed by peer"
    with pytest.raises(ConnectionError, match="Connection closed by peer"), join():
        raise AssertionError("never reached")


# Two processes


@pytest.fixture(scope="module")
def one() -> dict:
    """What one process arrives at."""
    return run(SETTINGS, None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where two processes were; ``two_processes.py`` says what they did."""
    folder = tmp_path_factory.mktemp("two")
    begun = folder / "one process began"
    steps, step = 0, torch.optim.AdamW.step

    def stopping(self, *args, **kwargs):
        nonlocal steps
        steps += 1
        if steps == 6:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(torch.optim.AdamW, "step", stopping)
        run(SETTINGS, begun)
    assert sorted(path.name for path in begun.iterdir()) == ["last.pt", "log.csv"]

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    address = ["--master-addr", "127.0.0.1", "--master-port", str(port)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    if os.name == "nt":
        environment["USE_LIBUV"] = "0"  # torchrun asks for libuv, which torch for Windows is built without
    began = time.monotonic()
    done = subprocess.run(
        [*torchrun, *address, str(ROOT / "tests" / "training" / "two_processes.py"), str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        encoding="utf-8",
    )
    print(f"two processes: {time.monotonic() - began:.0f} s")
    if os.name == "nt" and "unsupported gloo device" in done.stderr:
        pytest.skip("this release of torch cannot join processes on Windows")
    (folder / "code").write_text(str(done.returncode), encoding="utf-8")
    (folder / "out").write_text(done.stdout, encoding="utf-8")
    (folder / "err").write_text(done.stderr, encoding="utf-8")
    assert (folder / "rank1.pt").is_file(), done.stderr
    return folder


@pytest.fixture(scope="module")
def two(folder) -> list[dict]:
    """What the two processes arrived at."""
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("n_clips", [5, 4, 1])  # 3 + 2, 2 + 2, 1 + none
def test_loss_gradients_and_statistics_are_the_whole_batchs(two, n_clips):
    """In float64, so that nothing but a mistake can make a difference: dropout and normalization as well."""
    expected = layers(n_clips)
    assert expected["head.weight"].abs().max() > 1e-3 and expected["block.0.weight"].abs().max() > 1e-3
    for found in two:
        assert found[f"layers {n_clips}"].keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[f"layers {n_clips}"][name], value, rtol=1e-11, atol=1e-13)


def agree(found: dict, expected: dict) -> None:
    """Weights and log of two runs are the same but for the order of float32 sums.

    In another order a sum of float32 numbers comes out about 1e-6 of its size away. Twelve steps of Adam
    carry that to about 3e-6 in the weights, which move by up to 0.6 themselves.
    """
    first = tiny().state_dict()
    for kind in ("model", "average"):
        moved = max((value.float() - first[name].float()).abs().max() for name, value in found[kind].items())
        assert moved > 0.1
        for name, value in expected[kind].items():
            torch.testing.assert_close(found[kind][name], value, rtol=0, atol=5e-5, msg=name)
    for row, wanted in zip(found["rows"], expected["rows"], strict=True):
        assert (row["epoch"], row["step"]) == (wanted["epoch"], wanted["step"])
        assert (row["val_cer"], row["val_wer"]) == (wanted["val_cer"], wanted["val_wer"])
        for name in ("train_loss", "val_loss"):
            assert row[name] == pytest.approx(wanted[name], rel=1e-5)


def test_two_processes_arrive_where_one_does(one, two):
    for found in two:
        agree(found["whole"], one)
    for kind in ("model", "average"):  # among each other not a bit may differ: they would drift apart
        for name, value in two[0]["whole"][kind].items():
            assert torch.equal(value, two[1]["whole"][kind][name]), name


def test_two_go_on_where_one_was_stopped(one, two):
    for found in two:
        agree(found["resumed"], one)


def test_one_goes_on_where_two_were_stopped(one, folder, tmp_path):
    shutil.copytree(folder / "cut", tmp_path / "cut")
    with open(tmp_path / "cut" / "log.csv", encoding="utf-8") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1"]
    agree(run(SETTINGS, tmp_path / "cut"), one)


def test_a_silent_process_is_an_error_not_a_hang(folder):
    errors = (folder / "err").read_text(encoding="utf-8")
    assert (folder / "code").read_text(encoding="utf-8") != "0"
    assert "error: another process stopped, or did not answer" in errors
    # torchrun ends the silent one, and nothing half-written stays.
    assert sorted(path.name for path in (folder / "cut").iterdir()) == ["last.pt", "log.csv"]


def test_processes_that_start_from_other_weights_are_refused(two):
    for found in two:
        assert "weights is" in found["other weights"] and "in process 1" in found["other weights"]


def test_all_get_what_was_shared_out(two):
    assert [found["shares"] for found in two] == [list(range(7))] * 2


def test_the_first_alone_writes(folder):
    assert sorted(path.name for path in (folder / "written by 0").iterdir()) == ["last.pt", "log.csv"]
    assert not (folder / "written by 1").exists()


def test_the_command_writes_once(folder):
    out = folder / "command"
    names = ["last.pt", "log.csv", "model.safetensors", "results.json"]
    assert sorted(path.name for path in out.iterdir()) == names
    with open(out / "log.csv", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 1
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert results["processes"] == 2 and results["clips"] == len(results["sentences"]) == 5
    checkpoint.load(out / "model.safetensors")
    printed = (folder / "out").read_text(encoding="utf-8")
    assert printed.count("10 + 5 clips") == 1 and printed.count("with the grammar") == 1
    assert (folder / "err").read_text(encoding="utf-8").count("4/4") >= 1  # the bar


def test_threads_leave_a_core_to_every_process(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for processes, threads in ((1, 2), (2, 2), (4, 1), (8, 1)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        assert command.arguments(["--out", "x"]).threads == threads
