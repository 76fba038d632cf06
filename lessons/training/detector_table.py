"""The table of the video detectors: what is tested, the file it is kept in, and how to read it.

A row is one detector (seed, memory) in one test: what is hidden in its clips, and whether state was carried
from frame to frame. The course's own table and the detectors of its first seed are in
``lessons/trained/video_detector``; ``python -m lessons train-detector`` makes others.
"""

from __future__ import annotations

import itertools
from dataclasses import asdict
from pathlib import Path

import numpy as np

from lessons.data.synthetic.moving import MovingClips, Scene, moving_clips
from lessons.detection.detector import MEMORIES, Detector
from lessons.detection.scores import evaluate
from lessons.training import checkpoint
from lessons.training.seeds import read_rows
from lessons.training.settings import Recipe

# name of a test -> how its clips are drawn
TESTS: dict[str, dict] = {
    "0": dict(vanish=0.0),
    "0.25": dict(vanish=0.25),
    "0.5": dict(vanish=0.5),
    "0.75": dict(vanish=0.75),
    "0.5 in bursts": dict(vanish=0.5, burst=4.0),  # hidden for four frames in a row, on average
    "bar": dict(scene=Scene(occluders=(1, 1))),  # a bar sweeps across; nothing of the kind was in training
}
FORGETTING = "0.5"  # the test that memories also take with their state thrown away after every frame
TEST_SEED = 30_000  # far from any seed that one would train with; recipes were tried on others
STATES = ("carried", "forgotten")  # from frame to frame
NAME_COLUMNS = ("memory", "test", "state")
COLUMNS = {
    "seed": int,
    **dict.fromkeys(NAME_COLUMNS, str),
    **dict.fromkeys(("ap50", "hidden_recall", "flicker", "precision"), float),
}
TRAINED = checkpoint.trained_folder("video_detector")


def clips_of(test: str, recipe: Recipe | None = None) -> MovingClips:
    """The clips of one of ``TESTS``: the same objects on the same paths in all tests, for every seed."""
    recipe = recipe or Recipe()
    rng = np.random.default_rng(TEST_SEED)
    return moving_clips(recipe.test_clips, rng, recipe.test_frames, **TESTS[test])


def measure(recipe: Recipe, detectors: dict[str, Detector]) -> list[dict]:
    """The rows of the table, from the detectors of ``MEMORIES``."""
    clips, rows = {test: clips_of(test, recipe) for test in TESTS}, []
    for memory, test in itertools.product(MEMORIES, TESTS):
        for state in STATES if test == FORGETTING and memory != "none" else STATES[:1]:
            found = evaluate(detectors[memory], clips[test], forget=state == "forgotten")
            row = {"memory": memory, "test": test, "state": state}
            rows.append(row | {key: round(value, 4) for key, value in asdict(found).items()})
    return rows


def read_table(path: str | Path | None = None) -> list[dict]:
    """The rows of a ``results.csv``, the course's own if ``path`` is None.

    NaN stands where there is no number, as in the recall of hidden objects where none was hidden.
    """
    return read_rows(path or TRAINED / "results.csv", COLUMNS)


def mean_and_spread(
    rows: list[dict], column: str, memory: str, test: str, state: str = "carried"
) -> tuple[float, float]:
    """Mean and standard deviation over seeds (0 if there is one) of one cell of the table.

    Raises:
        ValueError: no such cell.
    """
    key = (memory, test, state)
    values = [row[column] for row in rows if tuple(row[word] for word in NAME_COLUMNS) == key]
    if not values:
        raise ValueError(f"no row for memory={memory!r}, test={test!r}, state={state!r}")
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


def load(path: str | Path) -> Detector:
    """A detector from a file, ready to use.

    Args:
        path: a file that ``lessons.cli.train_detector`` wrote, or the name of a memory: the course's own.

    Raises:
        FileNotFoundError, ValueError: see :func:`lessons.training.checkpoint.rebuild`.
    """
    path = TRAINED / "seed_0" / f"{path}.safetensors" if path in MEMORIES else path
    return checkpoint.rebuild(path, Detector, "detector")
