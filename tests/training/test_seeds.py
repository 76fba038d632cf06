"""A seed that is finished is known as such; reports of other recipes are not mixed in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lessons.training.seeds import is_finished, read_reports, write_report
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
