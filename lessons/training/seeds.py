"""An experiment repeated from several seeds: ``seed_0/report.json``, ``seed_1/report.json`` … and one table.

A report is written when a seed is finished, so a command that is run again does only what is missing.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lessons.detection.detector import Detector
from lessons.files import claim, write_csv, write_json
from lessons.training import checkpoint
from lessons.training.detector import Log
from lessons.training.settings import Recipe

REPORT = "report.json"
Trained = dict[str, tuple[Detector, Log]]


@dataclass(frozen=True)
class Experiment:
    """Detectors that are trained and tested from each seed.

    Attributes:
        command: its name on the command line.
        description: what it says there.
        presets: name -> recipe.
        train: recipe and a folder for checkpoints -> detector and log, by name.
        test: recipe and detectors, as they come back from their files -> the rows of the table; or the rows
            of several tables by name, of which "results" is the first.
        columns: of the table, with their types; "seed" is the first.
        about: more to keep in ``results.json``.
        more_columns: name of a further table -> its columns with their types. What else ``test`` returns is
            kept in ``results.json``.
    """

    command: str
    description: str
    presets: Mapping[str, Recipe]
    train: Callable[[Recipe, Path], Trained]
    test: Callable[[Recipe, dict[str, Detector]], list[dict] | dict[str, list[dict]]]
    columns: Mapping[str, type]
    about: Mapping[str, Any]
    more_columns: Mapping[str, Mapping[str, type]] = field(default_factory=dict)


def run(experiment: Experiment, argv: list[str] | None) -> list[dict]:
    """Parse the command line, do every seed that is not finished yet; the rows of the table."""
    parser = argparse.ArgumentParser(
        prog=f"python -m lessons {experiment.command}", description=experiment.description
    )
    parser.add_argument("--preset", choices=list(experiment.presets), default="full")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="one run of everything for each")
    parser.add_argument("--out", required=True, type=Path, help="folder for table, weights, checkpoints")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default %(default)s)")
    args = parser.parse_args(argv)
    if args.threads < 1 or min(args.seed) < 0:
        parser.error("expected --threads of 1 or more and --seed of 0 or more")
    torch.set_num_threads(args.threads)
    for seed in args.seed:
        run_seed(experiment, replace(experiment.presets[args.preset], seed=seed), args.out / f"seed_{seed}")
        join_reports(experiment, args.out)  # of what there is so far
    return read_rows(args.out / "results.csv", experiment.columns)


def run_seed(experiment: Experiment, recipe: Recipe, out: Path) -> None:
    """Train and test from one seed; what is finished in ``out`` is not done again.

    Raises:
        ValueError: ``out`` holds another recipe's report or checkpoint.
        OSError: ``out`` cannot be written to, or another process trains there.
    """
    if is_finished(out, recipe):
        return
    with claim(out):
        trained = experiment.train(recipe, out)
        detectors = {}
        for name, (model, _) in trained.items():
            checkpoint.save(model, out / f"{name}.safetensors", half=True)
            # What is kept is tested, half precision and all.
            detectors[name] = checkpoint.rebuild(out / f"{name}.safetensors", Detector, "detector")
        rows = experiment.test(recipe, detectors)
        write_report(out, recipe, {name: summary(*pair) for name, pair in trained.items()}, rows)


def summary(model: Detector, log: Log, every: int = 20) -> dict:
    """Sizes, time, and the loss as means over ``every`` steps."""
    steps = [min(i + every, len(log.losses)) for i in range(0, len(log.losses), every)]
    return {
        "weights": sum(p.numel() for p in model.parameters()),
        "memory_filter_weights": sum(p.numel() for p in model.memory.parameters() if p.dim() == 4),
        "cpu_seconds": round(log.cpu_seconds, 1),
        "last_loss": round(float(np.mean(log.losses[-50:])), 4),
        "losses": [
            {"step": step, "loss": round(float(np.mean(log.losses[(step - 1) // every * every : step])), 4)}
            for step in steps
        ],
    }


def is_finished(out: Path, recipe: Recipe) -> bool:
    """Whether the folder of a seed holds its report.

    Raises:
        ValueError: it holds another recipe's.
    """
    path = out / REPORT
    if not path.is_file():
        return False
    if json.loads(path.read_text(encoding="utf-8"))["recipe"] != asdict(recipe):
        raise ValueError(f"{path}: belongs to another recipe: choose another folder")
    return True


def write_report(
    out: Path, recipe: Recipe, trainings: dict, rows: list[dict] | dict[str, list[dict]]
) -> None:
    """Write what the trainings and tests of one seed gave, all or nothing."""
    tables = dict(rows) if isinstance(rows, dict) else {"results": rows}
    report = {
        "recipe": asdict(recipe),
        "trainings": trainings,
        "rows": tables.pop("results"),
        "tables": tables,
    }
    write_json(out / REPORT, report, indent=None)


def read_reports(out: Path) -> tuple[dict, dict[int, dict]]:
    """The recipe that all seeds in ``out`` share, and seed -> its report, lowest seed first.

    Raises:
        ValueError: seeds of several recipes.
    """
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in out.glob(f"seed_*/{REPORT}")]
    by_seed = dict(sorted((report["recipe"].pop("seed"), report) for report in reports))
    recipe = reports[0]["recipe"]
    if any(report["recipe"] != recipe for report in reports):
        raise ValueError(f"{out}: seeds of several recipes: choose another folder")
    return recipe, by_seed


def join_reports(experiment: Experiment, out: Path) -> None:
    """Write ``results.csv``, ``losses.csv`` and ``results.json`` of all seeds in ``out``."""
    recipe, reports = read_reports(out)
    losses = [
        {"seed": seed, "training": name, **row}
        for seed, report in reports.items()
        for name, training in report["trainings"].items()
        for row in training.pop("losses", [])
    ]
    write_csv(out / "losses.csv", ("seed", "training", "step", "loss"), losses)
    rows = [{"seed": seed, **row} for seed, report in reports.items() for row in report["rows"]]
    write_csv(out / "results.csv", experiment.columns, rows)
    for name, columns in experiment.more_columns.items():
        more = [
            {"seed": seed, **row} for seed, report in reports.items() for row in report["tables"].pop(name)
        ]
        write_csv(out / f"{name}.csv", columns, more)
    kept = {str(seed): report["tables"] for seed, report in reports.items() if report.get("tables")}
    results = {
        "command": f"python -m lessons {experiment.command} --seed {' '.join(map(str, reports))} --out OUT",
        "seeds": list(reports),
        "recipe": recipe,
        **experiment.about,
        "trainings": {str(seed): report["trainings"] for seed, report in reports.items()},
        **({"tests": kept} if kept else {}),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    write_json(out / "results.json", results)


def read_rows(path: str | Path, columns: Mapping[str, type]) -> list[dict]:
    """The rows of a table, each value of its column's type; NaN where a number is missing."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        {
            name: kind(row[name] or "nan") if kind is float else kind(row[name])
            for name, kind in columns.items()
        }
        for row in rows
    ]
