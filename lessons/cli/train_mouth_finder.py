"""Train the mouth finders and test them in a stream: ``python -m lessons train-mouth-finder --out OUT``.

As ``lessons.training.detector`` does it, on films of talking heads at half size. Stage 1: backbone and head
learn on single frames without hands. Stage 2: each memory, with a new head, learns behind the frozen backbone
on clips with hands. Run the same command again after a stop and it goes on where it was.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lessons.cli.train_detector import arguments
from lessons.data.synthetic.heads import LEVELS, Hardship, TalkingFilms, talking_films
from lessons.data.synthetic.moving import MovingClips
from lessons.detection.detector import Detector
from lessons.files import atomic
from lessons.lipreading.live_reader import SHRINK, shrink
from lessons.training import checkpoint
from lessons.training.detector import Log, Recipe, fit
from lessons.training.live_scores import (
    FINDERS,
    TEST_FILMS,
    TEST_SEED,
    load,
    measure,
    read_table,
    write_table,
)
from lessons.training.live_scores import word_error_rate as rate
from lessons.training.reports import is_finished, read_reports, write_report

POSTERS = 0.7  # of the clips of stage 2; a single frame is always without
READER = "lipnet_small_synthetic"
PRESETS = {
    "full": Recipe(
        frame_steps=400, steps=1200, clips=3, n_frames=16, vanish=0.3, test_clips=TEST_FILMS, test_frames=75
    ),
    "tiny": Recipe(2, 3, 2, 2, 3, hidden_channels=8, test_clips=2, test_frames=75),  # to see that it runs
}


def for_the_finder(films: TalkingFilms) -> MovingClips:
    """Films as the training of detectors wants them: half as high and wide, one thing of class 0 in each."""
    n, n_frames = films.frames.shape[:2]
    small = shrink(films.frames.reshape(-1, *films.frames.shape[2:]))  # (N*T, H / 2, W / 2)
    return MovingClips(
        frames=small.reshape(n, n_frames, *small.shape[1:]),
        boxes=films.boxes[:, :, None] / SHRINK,  # (N, T, 1, 4)
        labels=np.zeros((n, 1), np.int64),
        visible=films.visible[:, :, None],
    )


def draw(recipe: Recipe, stage: int, step: int) -> MovingClips:
    """The clips of one step: chance is drawn from (seed, stage, step), so nothing is seen twice.

    Each clip has its own hardship, up to that of the level "much"; hands come in stage 2 only.
    """
    rng = np.random.default_rng((recipe.seed, stage, step))
    n, n_frames = (recipe.frame_batch, 1) if stage == 1 else (recipe.clips, recipe.n_frames)
    worst = LEVELS["much"]
    hardships = [
        Hardship(
            hidden=0.0 if stage == 1 else rng.uniform(0, recipe.vanish),
            noise=rng.uniform(LEVELS["none"].noise, worst.noise),
            flicker=rng.uniform(0, worst.flicker),
            blur=(0.0, worst.blur[1]),
            poster=POSTERS,
        )
        for _ in range(n)
    ]
    return for_the_finder(talking_films(hardships, rng, n_frames))


def train_finders(
    recipe: Recipe, out: Path, memories: tuple[str, ...] = FINDERS, progress: bool = True
) -> dict[str, tuple[Detector, Log]]:
    """Both stages; a memory's numbers do not depend on which others are trained beside it."""
    torch.manual_seed(recipe.seed)
    per_frame = Detector(1, "none", recipe.hidden_channels)
    about, rate = asdict(recipe), recipe.learning_rate
    frames, clips = (partial(draw, recipe, stage) for stage in (1, 2))
    fit([per_frame], frames, recipe.frame_steps, rate, out / "per_frame.pt", about, progress)
    models = []
    for memory in memories:
        torch.manual_seed(recipe.seed)
        models.append(Detector(1, memory, recipe.hidden_channels))
        models[-1].use_backbone(per_frame)
    logs = fit(models, clips, recipe.steps, rate, out / "memories.pt", about, progress)
    return dict(zip(memories, zip(models, logs, strict=True), strict=True))


def run_seed(recipe: Recipe, out: Path, progress: bool = True) -> None:
    """Train and test from one seed; what is finished in ``out`` is not done again.

    Raises:
        ValueError: ``out`` holds another recipe's report or checkpoint.
    """
    if is_finished(out, recipe):
        return
    trainings, detectors = {}, {}
    for memory, (model, log) in train_finders(recipe, out, progress=progress).items():
        weights = out / f"{memory}.safetensors"
        checkpoint.save(model, weights, half=True)
        detectors[memory] = load(weights)  # what was kept, half precision and all
        trainings[memory] = {
            "weights": sum(p.numel() for p in model.parameters()),
            "cpu_seconds": round(log.cpu_seconds, 1),
            "last_loss": round(float(np.mean(log.losses[-50:])), 4),
        }
    # Pixels of channels side by side: the reader's convolutions are faster so.
    reader = checkpoint.load(READER).to(memory_format=torch.channels_last_3d)
    rows = measure(detectors, reader, recipe.test_clips, progress)
    write_report(out, recipe, trainings, rows)


def join_seeds(out: Path) -> None:
    """Write ``results.csv`` and ``results.json`` of all seeds in ``out``.

    Raises:
        ValueError: seeds of several recipes.
    """
    recipe, reports = read_reports(out)
    rows = [{"seed": seed, **row} for seed, report in reports.items() for row in report["rows"]]
    write_table(out / "results.csv", rows)
    results = {
        "command": f"python -m lessons train-mouth-finder --seed {' '.join(map(str, reports))} --out OUT",
        "seeds": list(reports),
        "recipe": recipe,
        "levels": {name: asdict(level) for name, level in LEVELS.items()},
        "test_seed": TEST_SEED,
        "reader": READER,
        "trainings": {str(seed): report["trainings"] for seed, report in reports.items()},
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    with atomic(out / "results.json") as part:
        part.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def main(argv: list[str] | None = None) -> None:
    """Train every seed that is not finished yet, then write the table and show it."""
    about = "Train the mouth finders and test them."
    args = arguments(argv, "lessons train-mouth-finder", about, PRESETS)
    torch.set_num_threads(args.threads)
    for seed in args.seed:
        run_seed(replace(PRESETS[args.preset], seed=seed), args.out / f"seed_{seed}")
        join_seeds(args.out)  # of what there is so far
    rows = read_table(args.out / "results.csv")
    for seed in sorted({row["seed"] for row in rows}):
        print(f"WER, seed {seed}".ljust(24) + "".join(level.rjust(10) for level in LEVELS))
        for finder in dict.fromkeys(row["finder"] for row in rows):
            cells = [rate(rows, finder, level, seed)[0] for level in LEVELS]
            print(finder.ljust(24) + "".join(f"{cell:10.1%}" for cell in cells))
