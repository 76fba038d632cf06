"""The table of the video detectors: what is tested, the file it is kept in, and how to read it.

A row is one detector (seed, memory) in one test: what is hidden in its clips, and whether state was carried
from frame to frame. The course's own table and the detectors of its first seed are in
``lessons/trained/video_detector``; ``python -m lessons train-detector`` makes others.
"""

from __future__ import annotations

import csv
import json
import math
import platform
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from lessons.data.synthetic.moving import MovingClips, Scene, moving_clips
from lessons.detection.detector import MEMORIES, Detector
from lessons.detection.scores import evaluate
from lessons.files import atomic
from lessons.training import checkpoint
from lessons.training.detector import Recipe
from lessons.training.reports import read_reports

# name of a test -> how its clips are drawn
TESTS: dict[str, dict] = {
    "0": dict(vanish=0.0),
    "0.25": dict(vanish=0.25),
    "0.5": dict(vanish=0.5),
    "0.75": dict(vanish=0.75),
    "0.5 in bursts": dict(vanish=0.5, burst=4.0),  # gone for four frames on end, on average
    "bar": dict(scene=Scene(occluders=(1, 1))),  # a bar sweeps across; nothing of the kind was in training
}
FORGETTING = "0.5"  # the test that memories also take with their state thrown away after every frame
TEST_SEED = 30_000  # far from any seed that one would train with; recipes were tried on others
WORDS = ("memory", "test", "state")
COLUMNS = ("seed", *WORDS, "ap50", "hidden_recall", "flicker", "precision")
TRAINED = checkpoint.trained_folder("video_detector")


def clips_of(test: str, recipe: Recipe | None = None) -> MovingClips:
    """The clips of one of ``TESTS``: the same things on the same paths in all tests, for every seed."""
    recipe = recipe or Recipe()
    rng = np.random.default_rng(TEST_SEED)
    return moving_clips(recipe.test_clips, rng, recipe.test_frames, **TESTS[test])


def measure(model: Detector, recipe: Recipe, clips: dict[str, MovingClips]) -> list[dict]:
    """The rows of one detector; ``clips`` are those of all ``TESTS``."""
    memory, rows = model.config["memory"], []
    for test in TESTS:
        states = ("carried", "forgotten") if test == FORGETTING and memory != "none" else ("carried",)
        for state in states:
            found = evaluate(model, clips[test], forget=state == "forgotten")
            row = {"seed": recipe.seed, "memory": memory, "test": test, "state": state}
            rows.append(row | {key: round(value, 4) for key, value in asdict(found).items()})
    return rows


def write_table(out: Path) -> None:
    """Join the reports of all seeds in ``out`` into ``results.csv``, ``losses.csv`` and ``results.json``.

    Raises:
        ValueError: seeds of several recipes.
    """
    recipe, reports = read_reports(out)
    rows, losses = [row for report in reports.values() for row in report["rows"]], []
    for seed, report in reports.items():
        for name, training in report["trainings"].items():
            training_losses = training.pop("losses")
            losses += [{"seed": seed, "training": name, **row} for row in training_losses]
    _write_csv(out / "results.csv", COLUMNS, rows)
    _write_csv(out / "losses.csv", ("seed", "training", "step", "loss"), losses)
    results = {
        "command": f"python -m lessons train-detector --seed {' '.join(map(str, reports))} --out OUT",
        "seeds": list(reports),
        "recipe": recipe,
        "scene": asdict(Scene()),
        "test_seed": TEST_SEED,
        "trainings": {str(seed): report["trainings"] for seed, report in reports.items()},
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    with atomic(out / "results.json") as part:
        part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def read_table(path: str | Path | None = None) -> list[dict]:
    """The rows of a ``results.csv``, the course's own if ``path`` is None.

    Words stay words and numbers become numbers: NaN where there is none, as the recall of hidden things where
    nothing was hidden.
    """
    with open(path or TRAINED / "results.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        {k: v if k in WORDS else int(v) if k == "seed" else float(v or "nan") for k, v in row.items()}
        for row in rows
    ]


def mean_and_spread(
    rows: list[dict], column: str, memory: str, test: str, state: str = "carried"
) -> tuple[float, float]:
    """Mean and standard deviation over seeds (0 if there is one) of one cell of the table.

    Raises:
        ValueError: no such cell.
    """
    key = (memory, test, state)
    values = [row[column] for row in rows if tuple(row[word] for word in WORDS) == key]
    if not values:
        raise ValueError(f"no row for memory={memory!r}, test={test!r}, state={state!r}")
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def load(path: str | Path) -> Detector:
    """A detector from a file, ready to use.

    Args:
        path: a file that ``lessons.cli.train_detector`` wrote, or the name of a memory: the course's own.

    Raises:
        FileNotFoundError, ValueError: see :func:`lessons.training.checkpoint.rebuild`.
    """
    path = TRAINED / "seed_0" / f"{path}.safetensors" if path in MEMORIES else path
    return checkpoint.rebuild(path, Detector, "detector")


def _write_csv(path: Path, columns: tuple[str, ...], rows: list[dict]) -> None:
    with atomic(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()})
