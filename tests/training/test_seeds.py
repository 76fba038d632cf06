"""A seed that is finished is known as such; reports of other recipes are not mixed in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lessons.cli import compare_cells, train_detector, train_mouth_finder
from lessons.files import claim
from lessons.training.seeds import is_finished, read_reports, run_seed, write_report
from lessons.training.settings import Recipe

TINY = Recipe(2, 4, 2, 2, 3)


def test_a_seed_is_finished_once_its_report_is_there(tmp_path):
    assert not is_finished(tmp_path, TINY)
    write_report(tmp_path, TINY, {}, [])
    assert is_finished(tmp_path, TINY)
    with pytest.raises(ValueError, match=r"report\.json: belongs to another recipe"):
        is_finished(tmp_path, replace(TINY, steps=3))


def test_reports_come_back_by_seed_and_of_one_recipe(tmp_path):
    for seed in (10, 9):
        write_report(tmp_path / f"seed_{seed}", replace(TINY, seed=seed), {"none": {}}, [{"film": seed}])
    recipe, reports = read_reports(tmp_path)
    assert {**recipe, "seed": 0} == {**vars(TINY)} and list(reports) == [9, 10]
    assert reports[10]["rows"] == [{"film": 10}]
    write_report(tmp_path / "seed_11", replace(TINY, seed=11, steps=3), {}, [])
    with pytest.raises(ValueError, match="seeds of several recipes"):
        read_reports(tmp_path)


MODULES = (train_detector, train_mouth_finder)
EXPERIMENTS = {module.EXPERIMENT.command: module.EXPERIMENT for module in MODULES}


@pytest.fixture
def untrained(monkeypatch):
    """A step of a training is a failure."""

    def fit(*args, **kwargs):
        raise AssertionError("a training began")

    for module in ("training.detector", "cli.train_mouth_finder", "cli.compare_cells"):
        monkeypatch.setattr(f"lessons.{module}.fit", fit)


@pytest.mark.parametrize("command", EXPERIMENTS)
@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_folder_that_takes_no_files_is_found_before_the_first_step(tmp_path, untrained, command, out):
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(OSError, match="could not write") as caught:
        run_seed(EXPERIMENTS[command], TINY, tmp_path / out)
    assert caught.value.filename == str(tmp_path / out)


@pytest.mark.parametrize("command", EXPERIMENTS)
def test_a_folder_has_one_training(tmp_path, untrained, command):
    with claim(tmp_path), pytest.raises(OSError, match="another run is writing there"):
        run_seed(EXPERIMENTS[command], TINY, tmp_path)


@pytest.mark.parametrize("out", ["folder", "file/below.csv"])
def test_a_table_that_cannot_be_written_is_found_before_the_first_step(tmp_path, untrained, out):
    (tmp_path / "file").write_bytes(b"kept")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="could not write") as caught:
        compare_cells.main(["--tiny", "--out", str(tmp_path / out)])
    assert caught.value.filename == str(tmp_path / out)
