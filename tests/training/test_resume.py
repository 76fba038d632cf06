"""A run's file brings everything back or is refused; it is written whole."""

from __future__ import annotations

import re

import pytest
import torch
from disk import full_disk
from torch import nn

from lessons.training import resume

RUN = {"settings": {"seed": 0, "steps": 5}, "model": {"seed": 1}, "clips": 3}
ROWS = [{"epoch": 1, "loss": 0.1 + 0.2}]


def parts(steps: int = 0) -> dict:
    torch.manual_seed(steps)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters())
    for _ in range(steps):
        model(torch.ones(3)).sum().backward()
        optimizer.step()
    return {"model": model, "optimizer": optimizer}


@pytest.fixture
def path(tmp_path):
    resume.save(tmp_path / "last.pt", RUN, parts(2), ROWS)
    return tmp_path / "last.pt"


def test_everything_comes_back(path):
    new = parts()
    assert resume.load(path, RUN, new) == ROWS
    for name, part in parts(2).items():
        torch.testing.assert_close(new[name].state_dict(), part.state_dict(), rtol=0, atol=0)


def test_without_a_file_a_run_starts_anew(tmp_path):
    assert resume.load(None, RUN, parts()) == resume.load(tmp_path / "none.pt", RUN, parts()) == []


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ({**RUN, "settings": {"seed": 7, "steps": 5}}, "settings.seed 0 there, 7 here"),
        ({**RUN, "model": {"seed": 7}}, "model.seed 1 there, 7 here"),
        ({**RUN, "clips": 7}, "clips 3 there, 7 here"),
        ({**RUN, "settings": {"seed": 0, "steps": 5, "new": 1}}, "settings.new None there, 1 here"),
        ({"settings": RUN["settings"]}, "model.seed 1 there, None here; clips 3 there, None here"),
    ],
)
def test_another_run_is_refused_and_the_difference_is_named(path, run, message):
    with pytest.raises(ValueError, match=re.escape(f"last.pt: belongs to another run ({message})")):
        resume.load(path, run, parts())


@pytest.mark.parametrize("missing", ["run", "rows", "model", "optimizer"])
@pytest.mark.parametrize("instead", [None, [1], "rubbish", {"a": 1}])
def test_a_file_with_something_missing_is_refused(path, missing, instead):
    state = torch.load(path, weights_only=True)
    del state[missing]
    if instead is not None:
        state[missing] = instead
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"last\.pt: (damaged|belongs to another run)") as caught:
        resume.load(path, RUN, parts())
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_refused(path):
    whole = path.read_bytes()
    for cut in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"last\.pt: damaged"):
            resume.load(path, RUN, parts())
    for content in ([1], torch.ones(2), {}):
        torch.save(content, path)
        with pytest.raises(ValueError, match=r"last\.pt: damaged"):
            resume.load(path, RUN, parts())
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match=r"last\.pt: damaged"):
        resume.load(path, RUN, parts())


def test_a_full_disk_is_named_and_the_old_file_stays(path, monkeypatch):
    before = path.read_bytes()
    monkeypatch.setattr(type(path), "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left") as caught:
        resume.save(path, RUN, parts(3), ROWS)
    assert caught.value.filename == str(path) and path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_the_same_run_gives_the_same_bytes(path, tmp_path):
    resume.save(tmp_path / "other name.pt", RUN, parts(2), ROWS)
    assert (tmp_path / "other name.pt").read_bytes() == path.read_bytes()
