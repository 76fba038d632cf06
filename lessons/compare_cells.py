"""What in the Bottleneck-LSTM matters here: one thing changed at a time, ``python -m lessons.compare_cells``.

Every cell stands in the detector of :mod:`lessons.train_detector` and has half of its training, behind
the same backbone and on the same clips. What differs is named in ``CELLS``. The course's own table is
``cells.csv`` in ``lessons/trained/video_detector``.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from lessons.bottleneck_lstm import BottleneckLSTM
from lessons.data.moving import Scene
from lessons.detection_scores import evaluate
from lessons.detection_training import Recipe, fit, hiding_clips, train_per_frame
from lessons.detector import Backbone, Detector
from lessons.detector_table import clips_of
from lessons.files import atomic

COLUMNS = ("seed", "cell", "test", "ap50", "hidden_recall", "flicker", "precision")
RECIPE = Recipe(frame_steps=600, steps=800)
TESTS = ("0", "0.5", "0.5 in bursts")


def blog_values(layer: BottleneckLSTM) -> BottleneckLSTM:
    """The first values of the blog's code: normal, of variance 2 / (k² O), with O all of the output channels.

    A depthwise filter, of which only 9 weights meet in one output, then starts √C times too small.
    """
    cell = layer.cell
    for conv in (cell.depthwise, cell.bottleneck, cell.spatial):
        nn.init.normal_(conv.weight, std=math.sqrt(2 / (conv.kernel_size[0] ** 2 * conv.out_channels)))
    nn.init.normal_(cell.gates.weight, std=math.sqrt(2 / cell.hidden_channels))  # four of D channels each
    return layer


CELLS: dict[str, Callable[[int, int], BottleneckLSTM]] = {
    "as it is": BottleneckLSTM,
    "no φ after the bottleneck": lambda c, d: BottleneckLSTM(c, d, variant="blog"),
    "first values of the blog": lambda c, d: blog_values(BottleneckLSTM(c, d)),
}


def run_seed(recipe: Recipe, progress: bool = True) -> list[dict]:
    """Train and test all ``CELLS`` from one seed: the rows of the table."""
    per_frame, _ = train_per_frame(recipe, progress=progress)
    models = []
    for make in CELLS.values():
        torch.manual_seed(recipe.seed)
        model = Detector(per_frame.classes, "bottleneck_lstm", recipe.hidden_channels)
        torch.manual_seed(recipe.seed)  # heads alike, and cells too as far as they are
        model.memory = make(Backbone.OUT, recipe.hidden_channels)
        model.use_backbone(per_frame)
        models.append(model)
    draw = partial(hiding_clips, recipe, Scene())
    fit(models, draw, recipe.steps, recipe.learning_rate, progress=progress)
    clips, rows = {test: clips_of(test, recipe) for test in TESTS}, []
    for cell, model in zip(CELLS, models, strict=True):
        for test in TESTS:
            found = {key: round(value, 4) for key, value in asdict(evaluate(model, clips[test])).items()}
            rows.append({"seed": recipe.seed, "cell": cell, "test": test, **found})
    return rows


def main(argv: list[str] | None = None) -> None:
    """Train, test and write the table, whole after every seed."""
    parser = argparse.ArgumentParser(
        prog="python -m lessons.compare_cells",
        description="Change one thing in the Bottleneck-LSTM at a time.",
    )
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--out", required=True, type=Path, help="the table, a .csv file")
    parser.add_argument("--tiny", action="store_true", help="next to no training, to see that it runs")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    recipe = Recipe(2, 4, 2, 2, 3, hidden_channels=8, test_clips=3, test_frames=4) if args.tiny else RECIPE
    rows: list[dict] = []
    for seed in args.seed:
        rows += run_seed(replace(recipe, seed=seed))
        with atomic(args.out) as part, open(part, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
