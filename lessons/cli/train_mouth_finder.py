"""Train the mouth finders and test them in a stream: ``python -m lessons train-mouth-finder --out OUT``.

As ``lessons.training.detector`` does it, on videos of talking heads at half size. Stage 1: backbone and head
learn on single frames without hands. Stage 2: each memory, with a new head, learns behind the frozen backbone
on clips with hands. Run the same command again after a stop and it goes on where it was.
"""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lessons.data.synthetic.heads import LEVELS, Hardship, TalkingVideos, talking_videos
from lessons.data.synthetic.moving import MovingClips
from lessons.detection.detector import Detector
from lessons.lipreading.live_reader import SHRINK, shrink
from lessons.training.detector import fit, train_memories
from lessons.training.live_scores import (
    COLUMNS,
    FINDERS,
    READER,
    TEST_SEED,
    TEST_VIDEOS,
    measure,
    word_error_rate,
)
from lessons.training.seeds import Experiment, Trained, run
from lessons.training.settings import Recipe

POSTERS = 0.7  # of the clips of stage 2; a single frame is always without
PRESETS = {
    "full": Recipe(
        frame_steps=400, steps=1200, clips=3, n_frames=16, vanish=0.3, test_clips=TEST_VIDEOS, test_frames=75
    ),
    "tiny": Recipe(2, 3, 2, 2, 3, hidden_channels=8, test_clips=2, test_frames=75),  # to see that it runs
}


def for_the_finder(videos: TalkingVideos) -> MovingClips:
    """Videos as detectors train on them: half as high and wide, one object of class 0 in each."""
    n, n_frames = videos.frames.shape[:2]
    small = shrink(videos.frames.reshape(-1, *videos.frames.shape[2:]))  # (N*T, H / 2, W / 2)
    return MovingClips(
        frames=small.reshape(n, n_frames, *small.shape[1:]),
        boxes=videos.boxes[:, :, None] / SHRINK,  # (N, T, 1, 4)
        labels=np.zeros((n, 1), np.int64),
        visible=videos.visible[:, :, None],
    )


def draw(recipe: Recipe, stage: int, step: int) -> MovingClips:
    """The clips of one step, drawn from (seed, stage, step): nothing is seen twice.

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
    return for_the_finder(talking_videos(hardships, rng, n_frames))


def train_finders(
    recipe: Recipe, out: Path, memories: tuple[str, ...] = FINDERS, progress: bool = True
) -> Trained:
    """Both stages; a memory's numbers do not depend on which others are trained beside it."""
    torch.manual_seed(recipe.seed)
    per_frame = Detector(1, "none", recipe.hidden_channels)
    frames, clips = (partial(draw, recipe, stage) for stage in (1, 2))
    about, rate = asdict(recipe), recipe.learning_rate
    fit([per_frame], frames, recipe.frame_steps, rate, out / "per_frame.pt", about, progress)
    return train_memories(memories, per_frame, recipe, None, out / "memories.pt", progress, clips)


EXPERIMENT = Experiment(
    command="train-mouth-finder",
    description="Train the mouth finders and test them.",
    presets=PRESETS,
    train=train_finders,
    test=measure,
    columns=COLUMNS,
    about={
        "levels": {name: asdict(level) for name, level in LEVELS.items()},
        "test_seed": TEST_SEED,
        "reader": READER,
    },
)


def main(argv: list[str] | None = None) -> None:
    """Train every seed that is not finished yet, then write the table and show it."""
    rows = run(EXPERIMENT, argv)
    for seed in sorted({row["seed"] for row in rows}):
        print(f"WER, seed {seed}".ljust(24) + "".join(level.rjust(10) for level in LEVELS))
        for finder in dict.fromkeys(row["finder"] for row in rows):
            cells = [word_error_rate(rows, finder, level, seed)[0] for level in LEVELS]
            print(finder.ljust(24) + "".join(f"{cell:10.1%}" for cell in cells))
