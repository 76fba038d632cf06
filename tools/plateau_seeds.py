"""Notebook 08's two small trainings, plain CTC and a start from word timings, from five seeds.

    python -m tools.plateau_seeds     writes lessons/trained/plateau_seeds/seeds.csv, in about four minutes

The code that trains is the notebook's own: its cells up to the section on the blank plateau are run here, and
its functions called with other seeds. The notebook runs seed 0 itself and compares.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
from dataclasses import replace
from pathlib import Path

import jupytext
import numpy as np
import torch

from lessons.files import atomic
from tools import notebooks

SEEDS = range(5)
FILE = Path(__file__).resolve().parents[1] / "lessons" / "trained" / "plateau_seeds" / "seeds.csv"
COLUMNS = ("seed", "start", "steps_to_level", "blanks_at_end", "cer_at_end")


def notebook_functions(name: str, last: str) -> dict:
    """Everything that the code cells of a notebook define, up to the first cell that defines `last`.

    Raises:
        NotebookError: no cell defines it.
    """
    source = notebooks.source_path(name).read_text(encoding="utf-8")
    namespace: dict = {}
    for cell in jupytext.reads(source, fmt="py:percent").cells:
        if cell.cell_type != "code":
            continue
        with contextlib.redirect_stdout(io.StringIO()):
            exec(cell.source, namespace)
        if last in namespace:
            return namespace
    raise notebooks.NotebookError(f"notebooks/src/{name}.py: found no cell that defines {last}, expected one")


def main() -> None:
    os.environ["LESSONS_DEVICE"] = "cpu"  # the notebook compares its outputs, the CPU's, with this file
    torch.set_num_threads(1)
    book = notebook_functions("08_train_lipnet", "first_step_below")
    rows = []
    for seed in SEEDS:
        for start in ("plain", "timings"):
            settings = replace(book["small"], start=start, seed=seed)
            seen = book["watched_run"](settings, book["small_model"](seed))
            steps = book["first_step_below"](np.array(seen["loss"]), book["height_sentence"])
            blanks, cer = np.mean(seen["blanks"][-10:]), seen["looks"][max(seen["looks"])].cer
            rows.append((seed, start, steps, f"{blanks:.3f}", f"{cer:.3f}"))
            print(*rows[-1])
    with atomic(FILE) as unfinished, open(unfinished, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])


if __name__ == "__main__":
    main()
