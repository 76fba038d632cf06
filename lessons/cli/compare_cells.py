"""What in the Bottleneck-LSTM matters here: one thing changed at a time, ``python -m lessons compare-cells``.

This is done in the course's first world, ``Scene()``: slower objects of six kinds, which move straight and
are all to be found. Every cell stands behind the same backbone and sees the same clips. What differs is named
in ``CELLS``. With ``--short`` the trainings have as few steps as you like, and two kinds of objects. The
course's tables are ``cells.csv`` and ``cells_short.csv`` in ``lessons/trained/video_detector``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lessons.data.synthetic.moving import MovingClips, Scene, moving_clips
from lessons.detection.detector import Backbone, Detector
from lessons.detection.scores import evaluate
from lessons.files import check_writable, write_csv
from lessons.layers.bottleneck_lstm import BottleneckLSTM
from lessons.training.detector import fit, hiding_clips, train_per_frame
from lessons.training.detector_table import TEST_SEED
from lessons.training.settings import Recipe

COLUMNS = ("seed", "steps", "cell", "test", "ap50", "hidden_recall", "flicker", "precision")
RECIPE = Recipe(frame_steps=600, steps=800, n_frames=8, test_clips=120, test_frames=16)
SHORT_RECIPE = replace(RECIPE, frame_steps=1200, clips=2, n_frames=6)
SHORT_SCENE = Scene(kinds=("disc", "cross"), objects=(1, 2))
TESTS = {"0": {}, "0.5": dict(vanish=0.5), "0.5 in bursts": dict(vanish=0.5, burst=4.0)}


def blog_values(layer: BottleneckLSTM) -> BottleneckLSTM:
    """The blog's initialization: normal, of variance 2 / (k² O), with O all of the output channels.

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


def test_clips(test: str, recipe: Recipe, scene: Scene) -> MovingClips:
    """The clips of one of ``TESTS``: the same objects on the same paths in all, for every seed."""
    rng = np.random.default_rng(TEST_SEED)
    return moving_clips(recipe.test_clips, rng, recipe.test_frames, scene=scene, **TESTS[test])


def run_seed(recipe: Recipe, progress: bool = True) -> list[dict]:
    """Train and test all ``CELLS`` from one seed, backbone included: the rows of the table."""
    per_frame, _ = train_per_frame(recipe, Scene(), progress=progress)
    clips = {test: test_clips(test, recipe, Scene()) for test in TESTS}
    return compare(recipe, per_frame, Scene(), clips, progress)


def run_short(recipe: Recipe, progress: bool = True) -> list[dict]:
    """The same on two kinds of objects, behind the six-kind backbone of seed 0, with one test."""
    per_frame, _ = train_per_frame(replace(recipe, seed=0), Scene(), progress=progress)
    return compare(recipe, per_frame, SHORT_SCENE, {"0.5": test_clips("0.5", recipe, SHORT_SCENE)}, progress)


def compare(
    recipe: Recipe, per_frame: Detector, scene: Scene, clips: dict[str, MovingClips], progress: bool
) -> list[dict]:
    """Train all ``CELLS`` side by side behind one backbone, and test them on ``clips``."""
    models = []
    for make in CELLS.values():
        torch.manual_seed(recipe.seed)
        model = Detector(len(scene.kinds), "bottleneck_lstm", recipe.hidden_channels)
        torch.manual_seed(recipe.seed)  # heads alike, and cells too as far as they are
        model.memory = make(Backbone.OUT, recipe.hidden_channels)
        model.use_backbone(per_frame)
        models.append(model)
    fit(models, partial(hiding_clips, recipe, scene), recipe.steps, recipe.learning_rate, progress=progress)
    rows = []
    for cell, model in zip(CELLS, models, strict=True):
        for test, tested in clips.items():
            found = {key: round(value, 4) for key, value in asdict(evaluate(model, tested)).items()}
            rows.append({"seed": recipe.seed, "steps": recipe.steps, "cell": cell, "test": test, **found})
    return rows


def main(argv: list[str] | None = None) -> None:
    """Train, test and write the table, whole after every seed."""
    parser = argparse.ArgumentParser(
        prog="python -m lessons compare-cells",
        description="Change one thing in the Bottleneck-LSTM at a time.",
    )
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--out", required=True, type=Path, help="the table, a .csv file")
    parser.add_argument(
        "--short",
        type=int,
        nargs="+",
        metavar="STEPS",
        help="two kinds of objects and so many steps; several make a table of each",
    )
    parser.add_argument("--tiny", action="store_true", help="next to no training, to see that it runs")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    check_writable(args.out)
    tiny = dict(clips=2, n_frames=3, test_clips=3, test_frames=4, frame_steps=2) if args.tiny else {}
    if args.short:
        recipes = [replace(SHORT_RECIPE, steps=steps, **tiny) for steps in args.short]
    else:
        more = dict(frame_batch=4, steps=2, hidden_channels=8) if args.tiny else {}
        recipes = [replace(RECIPE, **tiny, **more)]
    run = run_short if args.short else run_seed
    rows: list[dict] = []
    for recipe, seed in product(recipes, args.seed):
        rows += run(replace(recipe, seed=seed))
        write_csv(args.out, COLUMNS, rows)
