"""Train the video detectors and fill their table: ``python -m lessons train-detector --out runs/detector``.

Run the same command again after a stop and it goes on where it was; run it with other seeds and the same
folder, and the table grows.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lessons.detection.detector import MEMORIES, Detector
from lessons.training import checkpoint
from lessons.training.detector import Log, Recipe, train_memories, train_per_frame
from lessons.training.detector_table import (
    TESTS,
    clips_of,
    load,
    mean_and_spread,
    measure,
    read_table,
    write_table,
)
from lessons.training.reports import is_finished, write_report

PRESETS = {
    "full": Recipe(),
    "short": Recipe(frame_steps=600, steps=800, clips=3, n_frames=5),
    "tiny": Recipe(2, 4, 2, 2, 3, hidden_channels=8, test_clips=3, test_frames=4),  # to see that it runs
}


def run_seed(recipe: Recipe, out: Path, progress: bool = True) -> None:
    """Train and test all memories from one seed; what is finished in ``out`` is not done again.

    Raises:
        ValueError: ``out`` holds another recipe's report or checkpoint.
    """
    if is_finished(out, recipe):
        return
    per_frame, log = train_per_frame(recipe, checkpoint=out / "per_frame.pt", progress=progress)
    trainings, rows = {"per_frame": training(per_frame, log)}, []
    trained = train_memories(
        list(MEMORIES), per_frame, recipe, checkpoint=out / "memories.pt", progress=progress
    )
    clips = {test: clips_of(test, recipe) for test in TESTS}
    for memory, (model, log) in trained.items():
        trainings[memory] = training(model, log)
        weights = out / f"{memory}.safetensors"
        checkpoint.save(model, weights, half=True)
        rows += measure(load(weights), recipe, clips)  # what was kept, half precision and all
    write_report(out, recipe, trainings, rows)


def training(model: Detector, log: Log, every: int = 20) -> dict:
    """Sizes, time, and the loss as means over ``every`` steps."""
    starts = range(0, len(log.losses), every)
    means = [round(float(np.mean(log.losses[i : i + every])), 4) for i in starts]
    return {
        "weights": sum(p.numel() for p in model.parameters()),
        "memory_filter_weights": sum(p.numel() for p in model.memory.parameters() if p.dim() == 4),
        "cpu_seconds": round(log.cpu_seconds, 1),
        "losses": [
            {"step": min(i + every, len(log.losses)), "loss": m} for i, m in zip(starts, means, strict=True)
        ],
    }


def arguments(
    argv: list[str] | None, module: str, description: str, presets: Iterable[str]
) -> argparse.Namespace:
    """Parse the command line of a module that trains detectors for some seeds."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--preset", choices=list(presets), default="full")
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="one run of everything for each")
    parser.add_argument("--out", required=True, type=Path, help="folder for table, weights, checkpoints")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default %(default)s)")
    args = parser.parse_args(argv)
    if args.threads < 1 or min(args.seed) < 0:
        parser.error("expected --threads of 1 or more and --seed of 0 or more")
    return args


def main(argv: list[str] | None = None) -> None:
    """Train every seed that is not finished yet, then write the table and show it."""
    about = "Train the video detectors and fill their table."
    args = arguments(argv, "lessons train-detector", about, PRESETS)
    torch.set_num_threads(args.threads)
    for seed in args.seed:
        run_seed(replace(PRESETS[args.preset], seed=seed), args.out / f"seed_{seed}")
        write_table(args.out)  # of what there is so far
    rows = read_table(args.out / "results.csv")
    print("AP50, mean over seeds".ljust(24) + "".join(test.rjust(14) for test in TESTS))
    for memory in MEMORIES:
        cells = [mean_and_spread(rows, "ap50", memory, test)[0] for test in TESTS]
        print(memory.ljust(24) + "".join(f"{100 * cell:14.1f}" for cell in cells))
