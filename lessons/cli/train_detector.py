"""Train the video detectors and fill their table: ``python -m lessons train-detector --out runs/detector``.

Run the same command again after a stop and it goes on where it was; run it with other seeds and the same
folder, and the table grows.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from lessons.data.synthetic.moving import TRACKING
from lessons.detection.detector import MEMORIES
from lessons.training.detector import hiding_clips, train_memories, train_per_frame
from lessons.training.detector_table import (
    COLUMNS,
    GAP_COLUMNS,
    METHODS,
    TEST_SEED,
    TESTS,
    VALIDATION_SEED,
    mean_and_spread,
    measure,
)
from lessons.training.seeds import Experiment, Trained, run
from lessons.training.settings import DetectorRecipe

PRESETS = {
    "full": DetectorRecipe(),
    "short": DetectorRecipe(frame_steps=400, steps=400, test_clips=40, tuning_clips=8, trials=20),
    # to see that it runs
    "tiny": DetectorRecipe(
        2, 4, 2, 2, 3, hidden_channels=8, test_clips=3, test_frames=4, tuning_clips=2, trials=2
    ),
}


def train(recipe: DetectorRecipe, out: Path, progress: bool = True) -> Trained:
    """Both stages: the detector of single frames, and those with a memory behind its backbone.

    In stage 1 there are no look-alikes: in a single frame they are objects like the others.
    """
    scene = replace(TRACKING, look_alikes=(0, 0))
    per_frame, log = train_per_frame(recipe, scene, checkpoint=out / "per_frame.pt", progress=progress)
    memories = train_memories(
        list(MEMORIES),
        per_frame,
        recipe,
        checkpoint=out / "memories.pt",
        progress=progress,
        draw=partial(hiding_clips, recipe, TRACKING, burst=recipe.burst),
    )
    return {"per_frame": (per_frame, log), **memories}


EXPERIMENT = Experiment(
    command="train-detector",
    description="Train the video detectors and fill their table.",
    presets=PRESETS,
    train=train,
    test=measure,
    columns=COLUMNS,
    about={"scene": asdict(TRACKING), "test_seed": TEST_SEED, "validation_seed": VALIDATION_SEED},
    more_columns={"gaps": GAP_COLUMNS},
)


def main(argv: list[str] | None = None) -> None:
    """Train every seed that is not finished yet, then write the table and show it."""
    rows = run(EXPERIMENT, argv)
    print("AP50, mean over seeds".ljust(24) + "".join(test.rjust(14) for test in TESTS))
    for method in METHODS:
        cells = [mean_and_spread(rows, "ap50", method, test)[0] for test in TESTS]
        print(method.ljust(24) + "".join(f"{100 * cell:14.1f}" for cell in cells))
