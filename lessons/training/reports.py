"""Reports of trainings that are repeated with several seeds: ``seed_0/report.json``, ``seed_1/report.json`` …

A report is written when a seed is finished, so a command that is run again does only what is missing.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from lessons.files import atomic
from lessons.training.detector import Recipe

REPORT = "report.json"


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


def write_report(out: Path, recipe: Recipe, trainings: dict, rows: list[dict]) -> None:
    """Write what the trainings and tests of one seed gave, all or nothing."""
    with atomic(out / REPORT) as part:
        report = {"recipe": asdict(recipe), "trainings": trainings, "rows": rows}
        part.write_text(json.dumps(report) + "\n", encoding="utf-8")


def read_reports(out: Path) -> tuple[dict, dict[int, dict]]:
    """The recipe that all seeds in ``out`` share, and seed -> its report, lowest seed first.

    Raises:
        ValueError: seeds of several recipes.
    """
    reports = [json.loads(path.read_text(encoding="utf-8")) for path in out.glob(f"seed_*/{REPORT}")]
    by_seed = {report["recipe"].pop("seed"): report for report in reports}
    by_seed = dict(sorted(by_seed.items()))
    recipe = reports[0]["recipe"]
    if any(report["recipe"] != recipe for report in reports):
        raise ValueError(f"{out}: seeds of several recipes: choose another folder")
    return recipe, by_seed
