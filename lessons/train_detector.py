"""Train the video detectors and fill their table: ``python -m lessons.train_detector --out runs/detector``.

Run the same command again after a stop and it goes on where it was; run it with other seeds and the same
folder, and the table grows.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import platform
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from lessons import checkpoint
from lessons.data.moving import MovingClips, Scene, moving_clips
from lessons.detection_training import Log, Recipe, evaluate, train_memories, train_per_frame
from lessons.detector import MEMORIES, Detector
from lessons.files import atomic

PRESETS = {
    "full": Recipe(),
    "tiny": Recipe(2, 4, 2, 2, 3, hidden_channels=8, test_clips=3, test_frames=4),  # to see that it runs
}

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
COLUMNS = ("seed", "memory", "test", "state", "ap50", "hidden_recall", "flicker", "precision")
TEST_SEED = 20_000  # far from any seed that one would train with


def test_clips(test: str, recipe: Recipe) -> MovingClips:
    """The clips of one of ``TESTS``: the same things on the same paths in all tests, for every seed."""
    rng = np.random.default_rng(TEST_SEED)
    return moving_clips(recipe.test_clips, rng, recipe.test_frames, **TESTS[test])


def load(path: str | Path) -> Detector:
    """A detector from a file that this program wrote; see :func:`lessons.checkpoint.rebuild`."""
    return checkpoint.rebuild(path, Detector, "detector")


def test(model: Detector, recipe: Recipe, clips: dict[str, MovingClips]) -> list[dict]:
    """The rows of the table for one detector."""
    memory, rows = model.config["memory"], []
    for name in TESTS:
        states = ("carried", "forgotten") if name == FORGETTING and memory != "none" else ("carried",)
        for state in states:
            found = evaluate(model, clips[name], forget=state == "forgotten")
            row = {"seed": recipe.seed, "memory": memory, "test": name, "state": state}
            rows.append(row | {key: round(value, 4) for key, value in asdict(found).items()})
    return rows


def run_seed(recipe: Recipe, out: Path, progress: bool = True) -> dict:
    """Train and test all memories from one seed; what is finished in ``out`` is not done again."""
    path = out / "report.json"
    if path.is_file():
        report = json.loads(path.read_text(encoding="utf-8"))
        if report["recipe"] != asdict(recipe):
            raise ValueError(f"{path}: belongs to another recipe: choose another folder")
        return report
    per_frame, log = train_per_frame(recipe, checkpoint=out / "per_frame.pt", progress=progress)
    trainings, rows = {"per_frame": _training(per_frame, log)}, []
    trained = train_memories(
        list(MEMORIES), per_frame, recipe, checkpoint=out / "memories.pt", progress=progress
    )
    clips = {name: test_clips(name, recipe) for name in TESTS}
    for memory, (model, log) in trained.items():
        trainings[memory] = _training(model, log)
        weights = out / f"{memory}.safetensors"
        checkpoint.save(model, weights, half=True)
        rows += test(load(weights), recipe, clips)  # of what was kept, half precision and all
    report = {"recipe": asdict(recipe), "trainings": trainings, "rows": rows}
    with atomic(path) as part:
        part.write_text(json.dumps(report) + "\n", encoding="utf-8")
    return report


def _training(model: Detector, log: Log) -> dict:
    """Sizes, time and the loss, averaged over every 20 steps."""
    cell = sum(p.numel() for p in model.memory.parameters() if p.dim() == 4)  # filters, not biases
    return {
        "weights": sum(p.numel() for p in model.parameters()),
        "memory_filter_weights": cell,
        "cpu_seconds": round(log.cpu_seconds, 1),
        "losses": [round(float(np.mean(log.losses[i : i + 20])), 4) for i in range(0, len(log.losses), 20)],
    }


def write_table(out: Path) -> dict:
    """Join the reports of all seeds in ``out`` into ``results.csv`` and ``results.json``."""
    reports = [
        json.loads(path.read_text(encoding="utf-8")) for path in sorted(out.glob("seed_*/report.json"))
    ]
    rows = [row for report in reports for row in report["rows"]]
    with atomic(out / "results.csv") as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: "" if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()})
    recipe = {key: value for key, value in reports[0]["recipe"].items() if key != "seed"}
    seeds = [report["recipe"]["seed"] for report in reports]
    results = {
        "command": f"python -m lessons.train_detector --seed {' '.join(map(str, seeds))} --out OUT",
        "seeds": seeds,
        "recipe": recipe,
        "scene": asdict(Scene()),
        "tests": list(TESTS),
        "test_seed": TEST_SEED,
        "trainings": {str(seed): report["trainings"] for seed, report in zip(seeds, reports, strict=True)},
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    with atomic(out / "results.json") as part:
        part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return results


def read_table(path: str | Path) -> list[dict]:
    """The rows of a ``results.csv``: words stay words, numbers become numbers."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    words = ("memory", "test", "state")
    return [
        {k: v if k in words else int(v) if k == "seed" else float(v or "nan") for k, v in row.items()}
        for row in rows
    ]


def mean_and_spread(
    rows: list[dict], column: str, memory: str, test: str, state: str = "carried"
) -> tuple[float, float]:
    """Mean and standard deviation over seeds of one cell of the table.

    Raises:
        ValueError: no such cell.
    """
    values = [
        row[column] for row in rows if (row["memory"], row["test"], row["state"]) == (memory, test, state)
    ]
    if not values:
        raise ValueError(f"no row for memory={memory!r}, test={test!r}, state={state!r}")
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m lessons.train_detector", description="Train the video detectors and fill their table."
    )
    parser.add_argument("--preset", choices=PRESETS, default="full")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="one run of everything for each")
    parser.add_argument("--out", required=True, type=Path, help="folder for table, weights, checkpoints")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default %(default)s)")
    args = parser.parse_args(argv)
    if args.threads < 1 or min(args.seed) < 0:
        parser.error("expected --threads of 1 or more and --seed of 0 or more")
    return args


def main(argv: list[str] | None = None) -> None:
    """Train every seed that is not finished yet, then write the table."""
    args = arguments(argv)
    torch.set_num_threads(args.threads)
    for seed in args.seed:
        run_seed(replace(PRESETS[args.preset], seed=seed), args.out / f"seed_{seed}")
        write_table(args.out)  # of what there is so far
    rows = read_table(args.out / "results.csv")
    print("AP50, mean over seeds".ljust(24) + "".join(name.rjust(14) for name in TESTS))
    for memory in MEMORIES:
        cells = [mean_and_spread(rows, "ap50", memory, name)[0] for name in TESTS]
        print(memory.ljust(24) + "".join(f"{100 * cell:14.1f}" for cell in cells))


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
