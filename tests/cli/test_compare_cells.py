"""The command that changes one thing in the cell at a time: what it changes, and that it fills its table."""

from __future__ import annotations

import csv
import math

import pytest
import torch

from lessons.cli import compare_cells
from lessons.cli.compare_cells import CELLS, COLUMNS, TESTS


def test_each_cell_differs_in_what_its_name_says():
    cells = {}
    for name, make in CELLS.items():
        torch.manual_seed(0)
        cells[name] = make(128, 64).cell
    usual = cells["as it is"]
    settings = {
        name: (cell.variant, cell.activation, cell.update.forget_bias) for name, cell in cells.items()
    }
    assert settings == {
        "as it is": ("paper", "relu6", 1),
        "no φ after the bottleneck": ("blog", "relu6", 1),
        "first values of the blog": ("paper", "relu6", 1),
    }
    for name, cell in cells.items():
        same = [torch.equal(a, b) for a, b in zip(cell.parameters(), usual.parameters(), strict=True)]
        assert same == [name != "first values of the blog"] * 4
    spread = cells["first values of the blog"].depthwise.weight.std().item()
    assert usual.depthwise.weight.std().item() / spread == pytest.approx(math.sqrt(128), rel=0.1)


def test_the_short_table_is_complete(tmp_path):
    compare_cells.main(["--tiny", "--short", "1", "2", "--seed", "1", "--out", str(tmp_path / "s.csv")])
    with open(tmp_path / "s.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and {row["test"] for row in rows} == {"0.5"}
    keys = [(row["steps"], row["seed"], row["cell"]) for row in rows]
    assert keys == [(steps, "1", cell) for steps in "12" for cell in CELLS]


def test_the_table_is_complete(tmp_path):
    compare_cells.main(["--tiny", "--seed", "0", "--out", str(tmp_path / "cells.csv")])
    with open(tmp_path / "cells.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and {(row["seed"], row["steps"]) for row in rows} == {("0", "2")}
    assert [(row["cell"], row["test"]) for row in rows] == [(c, t) for c in CELLS for t in TESTS]
