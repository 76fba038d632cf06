"""Train the video detectors and fill their table: ``python -m lessons train-detector --out runs/detector``.

Run the same command again after a stop and it goes on where it was; run it with other seeds and the same
folder, and the table grows.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from lessons.data.synthetic.moving import Scene
from lessons.detection.detector import MEMORIES
from lessons.training.detector import train_memories, train_per_frame
from lessons.training.detector_table import COLUMNS, TEST_SEED, TESTS, mean_and_spread, measure
from lessons.training.seeds import Experiment, Trained, run
from lessons.training.settings import Recipe

PRESETS = {
    "full": Recipe(),
    "short": Recipe(frame_steps=600, steps=800, clips=3, n_frames=5),
    "tiny": Recipe(2, 4, 2, 2, 3, hidden_channels=8, test_clips=3, test_frames=4),  # to see that it runs
}


def train(recipe: Recipe, out: Path, progress: bool = True) -> Trained:
    """Both stages: the detector of single frames, and those with a memory behind its backbone."""
    per_frame, log = train_per_frame(recipe, checkpoint=out / "per_frame.pt", progress=progress)
    memories = train_memories(
        list(MEMORIES), per_frame, recipe, checkpoint=out / "memories.pt", progress=progress
    )
    return {"per_frame": (per_frame, log), **memories}


EXPERIMENT = Experiment(
    command="train-detector",
    description="Train the video detectors and fill their table.",
    presets=PRESETS,
    train=train,
    test=measure,
    columns=COLUMNS,
    about={"scene": asdict(Scene()), "test_seed": TEST_SEED},
)


def main(argv: list[str] | None = None) -> None:
    """Train every seed that is not finished yet, then write the table and show it."""
    rows = run(EXPERIMENT, argv)
    print("AP50, mean over seeds".ljust(24) + "".join(test.rjust(14) for test in TESTS))
    for memory in MEMORIES:
        cells = [mean_and_spread(rows, "ap50", memory, test)[0] for test in TESTS]
        print(memory.ljust(24) + "".join(f"{100 * cell:14.1f}" for cell in cells))
