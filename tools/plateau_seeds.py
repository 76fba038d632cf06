"""Notebook 08's small trainings from five seeds: with and without word timings, with and without warm-up.

    python -m tools.plateau_seeds     writes two tables to lessons/trained/plateau_seeds, in about six minutes

The code that trains is the notebook's own: its cells up to the first run are executed here, and its functions
called with other seeds. The notebook runs seed 0 with and without word timings itself, and compares.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import io
import os
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import jupytext
import numpy as np
import torch

from lessons.files import atomic
from tools import notebooks

SEEDS = range(5)
FOLDER = Path(__file__).resolve().parents[1] / "lessons" / "trained" / "plateau_seeds"
STARTS = ("run", "seed", "plateau_steps", "steps_to_level", "blanks_at_end", "cer_at_end")
WARMUPS = ("run", "seed", "loss_first_40", "loss_last_20")


def notebook_functions(name: str, last: str, later: Collection[str] = ()) -> dict:
    """Everything that the code cells of a notebook define, up to the first cell that defines `last`.

    Args:
        later: functions that cells after it define; of those cells nothing else is executed.

    Raises:
        NotebookError: no cell defines one of them.
    """
    source = notebooks.source_path(name).read_text(encoding="utf-8")
    namespace: dict = {}
    for cell in jupytext.reads(source, fmt="py:percent").cells:
        if cell.cell_type != "code":
            continue
        if last not in namespace:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(cell.source, namespace)
        else:
            nodes = [node for node in ast.parse(cell.source).body if isinstance(node, ast.FunctionDef)]
            wanted = ast.Module([node for node in nodes if node.name in later], type_ignores=[])
            exec(compile(wanted, name, "exec"), namespace)
    for function in (last, *later):
        if function not in namespace:
            raise notebooks.NotebookError(
                f"notebooks/src/{name}.py: found no cell that defines {function}, expected one"
            )
    return namespace


def write(file: str, rows: Sequence[Sequence]) -> None:
    """A table, its first row the names of its columns."""
    with atomic(FOLDER / file) as unfinished, open(unfinished, "w", newline="", encoding="utf-8") as opened:
        csv.writer(opened, lineterminator="\n").writerows(rows)


def main() -> None:
    os.environ["LESSONS_DEVICE"] = "cpu"  # the notebook compares its outputs, the CPU's, with this file
    torch.set_num_threads(1)
    helpers = ("blind_baseline", "first_step_below", "plateau_steps")
    book = notebook_functions("08_train_lipnet", "small", helpers)
    _, level = book["blind_baseline"](30)
    starts, warmups = [STARTS], [WARMUPS]
    for seed in SEEDS:
        for start in ("plain", "timings"):
            settings = replace(book["small"], start=start, seed=seed)
            seen = book["watched_run"](settings, book["small_model"](seed))
            plateau = book["plateau_steps"](seen["blanks"])
            below = book["first_step_below"](seen["loss"], level)
            blanks, cer = np.mean(seen["blanks"][-10:]), seen["evaluations"][max(seen["evaluations"])].cer
            starts.append((start, seed, plateau, below, f"{blanks:.3f}", f"{cer:.3f}"))
            print(*starts[-1], flush=True)
        for run, steps in (("at once", 1), ("warmed up", 40)):
            settings = replace(book["small"], epochs=7, learning_rate=1e-2, warmup_steps=steps, seed=seed)
            loss = book["watched_run"](settings, book["small_model"](seed))["loss"]
            warmups.append((run, seed, f"{np.mean(loss[:40]):.3f}", f"{np.mean(loss[-20:]):.3f}"))
            print(*warmups[-1], flush=True)
    write("seeds.csv", starts)
    write("warmup.csv", warmups)


if __name__ == "__main__":
    main()
