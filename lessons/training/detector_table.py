"""The table of the video detectors: what is tested, the file it is kept in, and how to read it.

A row is one method (a detector with its memory, or a method without training behind the detector without
memory) from one seed in one test: what is hidden in its clips, and whether state was carried from frame to
frame. The course's own table and the detectors of its first seed are in ``lessons/trained/video_detector``;
``python -m lessons train-detector`` makes others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from lessons.data.synthetic.moving import TRACKING, MovingClips, moving_clips
from lessons.detection import tuning
from lessons.detection.detector import MEMORIES, Detector
from lessons.detection.gaps import gap_errors
from lessons.detection.scores import detect, score
from lessons.training import checkpoint
from lessons.training.seeds import read_rows
from lessons.training.settings import DetectorRecipe, Recipe

# name of a test -> how its clips are drawn
TESTS: dict[str, dict] = {
    "0": dict(vanish=0.0),
    "0.5": dict(vanish=0.5),
    "0.75": dict(vanish=0.75),
    "0.5 in bursts": dict(vanish=0.5, burst=4.0),  # hidden for four frames in a row, on average
    # Nothing of the kind was in training.
    "bar": dict(scene=replace(TRACKING, occluders=(1, 1))),  # sweeps across
    "noise": dict(vanish=0.5, scene=replace(TRACKING, noise=1.5 * TRACKING.noise)),
    "photo": dict(vanish=0.5, scene=replace(TRACKING, photo=0.1)),  # over parts of a real photograph
}
FORGETTING = "0.5"  # the test that memories also take with their state thrown away after every frame
GAP_TEST = "0.5 in bursts"  # the test in which boxes are compared with last-seen places
TEST_SEED = 30_000  # far from any seed that one would train with; recipes were tried on others
VALIDATION_SEED = 40_000  # of the clips that methods without training are tuned on
VALIDATION = ("0", "0.5", "0.5 in bursts")
METHODS = (*MEMORIES, *tuning.METHODS)
STATES = ("carried", "forgotten")  # from frame to frame
NAME_COLUMNS = ("method", "test", "state")
COLUMNS = {
    "seed": int,
    **dict.fromkeys(NAME_COLUMNS, str),
    **dict.fromkeys(("ap50", "hidden_recall", "flicker", "precision"), float),
}
GAP_COLUMNS = {
    "seed": int,
    "method": str,
    **dict.fromkeys(("gap", "cases"), int),
    **dict.fromkeys(("reported", "nearer", "error", "last_seen_error"), float),
}
TRAINED = checkpoint.trained_folder("video_detector")


def clips_of(test: str, recipe: Recipe | None = None) -> MovingClips:
    """The clips of one of ``TESTS``: the same objects on the same paths in all tests, for every seed."""
    recipe = recipe or DetectorRecipe()
    rng = np.random.default_rng(TEST_SEED)
    return moving_clips(recipe.test_clips, rng, recipe.test_frames, **({"scene": TRACKING} | TESTS[test]))


def validation_clips(recipe: DetectorRecipe) -> dict[str, MovingClips]:
    """What methods without training are tuned on: conditions of ``TESTS``, other clips."""
    return {
        test: moving_clips(
            recipe.tuning_clips,
            np.random.default_rng((VALIDATION_SEED, i)),
            recipe.test_frames,
            **({"scene": TRACKING} | TESTS[test]),
        )
        for i, test in enumerate(VALIDATION)
    }


def measure(recipe: DetectorRecipe, detectors: Mapping[str, Detector]) -> dict[str, list[dict]]:
    """All ``METHODS`` on the same clips: the rows of ``results``, of ``gaps``, and of what was ``tuned``."""
    tuned = tuning.tune(detectors["none"], validation_clips(recipe), recipe.trials, recipe.seed)
    rows, gaps = [], []
    for test in TESTS:
        clips = clips_of(test, recipe)
        found = {memory: detect(detectors[memory], clips.frames) for memory in MEMORIES}
        for method in tuning.METHODS:
            settings = tuned[method]["settings"]
            found[method] = tuning.apply(method, settings, detectors["none"], clips.frames, found["none"])
        named = [(method, "carried", videos) for method, videos in found.items()]
        if test == FORGETTING:
            for memory in MEMORIES:
                if memory != "none":
                    named.append((memory, "forgotten", detect(detectors[memory], clips.frames, forget=True)))
        for method, state, videos in named:
            values = {key: round(value, 4) for key, value in asdict(score(videos, clips)).items()}
            rows.append({"method": method, "test": test, "state": state, **values})
        if test == GAP_TEST:
            for method, videos in found.items():
                for row in gap_errors(videos, clips):
                    gaps.append({"method": method, **{k: round(v, 4) for k, v in row.items()}})
    return {"results": rows, "gaps": gaps, "tuned": [{"method": m, **t} for m, t in tuned.items()]}


def read_table(path: str | Path | None = None) -> list[dict]:
    """The rows of a ``results.csv``, the course's own if ``path`` is None.

    NaN stands where there is no number, as in the recall of hidden objects where none was hidden.
    """
    return read_rows(path or TRAINED / "results.csv", COLUMNS)


def mean_and_spread(
    rows: list[dict], column: str, method: str, test: str, state: str = "carried"
) -> tuple[float, float]:
    """Mean and standard deviation over seeds (0 if there is one) of one cell of the table.

    Raises:
        ValueError: no such cell.
    """
    key = (method, test, state)
    values = [row[column] for row in rows if tuple(row[word] for word in NAME_COLUMNS) == key]
    if not values:
        raise ValueError(f"no row for method={method!r}, test={test!r}, state={state!r}")
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0


# The 97.5 % points of Student's t for 1 … 19 degrees of freedom.
T_VALUES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093),
)


def t_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean of 2 to 20 values with its 95 % interval by Student's t: (mean, low, high)."""
    if not 2 <= len(values) <= len(T_VALUES) + 1:
        raise ValueError(f"values: {len(values)} of them, expected 2 to {len(T_VALUES) + 1}")
    mean = float(np.mean(values))
    half = float(T_VALUES[len(values) - 2] * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def per_seed(rows: list[dict], method: str, test: str, column: str = "ap50") -> dict[int, float]:
    """seed -> the value of one method in one test, with its state carried."""
    key = (method, test, "carried")
    return {row["seed"]: row[column] for row in rows if tuple(row[word] for word in NAME_COLUMNS) == key}


def difference(
    rows: list[dict], method: str, other: str, test: str, column: str = "ap50"
) -> tuple[float, float, float]:
    """How far ``method`` is above ``other``, paired by seed: the :func:`t_interval` over seeds."""
    ours, theirs = per_seed(rows, method, test, column), per_seed(rows, other, test, column)
    return t_interval([ours[seed] - theirs[seed] for seed in ours])


def load(path: str | Path) -> Detector:
    """A detector from a file, ready to use.

    Args:
        path: a file that ``lessons.cli.train_detector`` wrote, or the name of a memory: the course's own.

    Raises:
        FileNotFoundError, ValueError: see :func:`lessons.training.checkpoint.rebuild`.
    """
    path = TRAINED / "seed_0" / f"{path}.safetensors" if path in MEMORIES else path
    return checkpoint.rebuild(path, Detector, "detector")
