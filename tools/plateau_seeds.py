"""Notebook 09's small trainings from five seeds: with and without word timings, with and without warm-up.

    python -m tools.plateau_seeds           writes three tables to lessons/trained/plateau_seeds: six minutes
    python -m tools.plateau_seeds warmup    one of them

The code that trains is the notebook's own: its cells up to the first run are executed here, and its functions
called with other seeds. The notebook runs seed 0 with and without word timings itself, and compares.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import csv
import io
import os
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import jupytext
import numpy as np
import torch

from lessons.files import atomic
from lessons.training.settings import Settings
from tools import notebooks

SEEDS = range(5)
EARLY_SEEDS = range(3)
EARLY_STEPS = 60  # the blank plateau is over by then
FOLDER = Path(__file__).resolve().parents[1] / "lessons" / "trained" / "plateau_seeds"
COLUMNS = {
    "seeds": ("run", "seed", "steps_to_level", "blanks_at_end", "cer_at_end"),
    "plateau": ("run", "seed", "plateau_steps"),
    "warmup": ("run", "seed", "loss_first_40", "loss_last_20"),
}


class Enough(Exception):
    """Ends a training early."""


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


def first_steps(book: dict, settings: Settings, seed: int, steps: int) -> tuple[list, list]:
    """The loss and the fraction of blanks of the first ``steps`` steps of a run."""
    losses, blanks = [], []

    def watch(step: int, loss: float, norm: float, log_probs: torch.Tensor) -> None:
        losses.append(loss)
        blanks.append((log_probs.argmax(-1) == 0).float().mean().item())
        if step + 1 == steps:
            raise Enough

    with contextlib.suppress(Enough):
        book["fit"](book["small_model"](seed), book["training"], replace(settings, seed=seed), watch)
    return losses, blanks


def plateau(book: dict) -> Iterator[tuple]:
    for seed in EARLY_SEEDS:
        for run in ("plain", "timings"):
            _, blanks = first_steps(book, replace(book["small"], start=run), seed, EARLY_STEPS)
            yield run, seed, book["plateau_steps"](blanks)


def warmup(book: dict) -> Iterator[tuple]:
    for seed in EARLY_SEEDS:
        for run, steps in (("at once", 1), ("warmed up", 40)):
            settings = replace(book["small"], epochs=7, learning_rate=1e-2, warmup_steps=steps)
            losses, _ = first_steps(book, settings, seed, 84)
            yield run, seed, f"{np.mean(losses[:40]):.3f}", f"{np.mean(losses[-20:]):.3f}"


def seeds(book: dict) -> Iterator[tuple]:
    _, level = book["blind_baseline"](30)
    for seed in SEEDS:
        for run in ("plain", "timings"):
            seen = book["watched_run"](
                replace(book["small"], start=run, seed=seed), book["small_model"](seed)
            )
            blanks, cer = np.mean(seen["blanks"][-10:]), seen["evaluations"][max(seen["evaluations"])].cer
            yield run, seed, book["first_step_below"](seen["loss"], level), f"{blanks:.3f}", f"{cer:.3f}"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Train notebook 09's small model from several seeds.")
    parser.add_argument("table", nargs="*", choices=[[], *COLUMNS], help="which to make; default all")
    tables = parser.parse_args(arguments).table or COLUMNS
    os.environ["LESSONS_DEVICE"] = "cpu"  # the notebook compares its outputs, the CPU's, with the tables
    torch.set_num_threads(1)
    book = notebook_functions(
        "09_train_lipnet", "small", ("blind_baseline", "first_step_below", "plateau_steps")
    )
    for table in tables:
        rows = [COLUMNS[table]]
        for row in {"seeds": seeds, "plateau": plateau, "warmup": warmup}[table](book):
            print(*row, flush=True)
            rows.append(row)
        path = FOLDER / f"{table}.csv"
        with atomic(path) as unfinished, open(unfinished, "w", newline="", encoding="utf-8") as opened:
            csv.writer(opened, lineterminator="\n").writerows(rows)


if __name__ == "__main__":
    main()
