"""Scores of a stream: word errors, IoU of the box, its jumps, and the delay until a word is emitted.

The table has a row per video, with what was read, so that every mean can be checked. The course's own table
and its finders are in ``lessons/trained/mouth_finder``.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from lessons.ctc.metrics import edit_distance
from lessons.data.synthetic.heads import LEVELS, TalkingVideos, talking_videos
from lessons.detection.boxes import iou
from lessons.detection.detector import MEMORIES, Detector
from lessons.lipreading.live_reader import HeldBox, LiveReader, MouthFinder, is_jump, known, watch
from lessons.training import checkpoint
from lessons.training.seeds import read_rows
from lessons.training.settings import Recipe

TRAINED = checkpoint.trained_folder("mouth_finder")
FINDERS = ("none", "averaging", "bottleneck_lstm")  # memories that are trained as finders
HELD = "held"  # the finder without memory, whose last box is held when the next one jumps
TRUTH = "truth"  # instead of a finder: the true boxes
READER = "lipnet_small_synthetic"
TEST_SEED = 40_000  # far from any seed that one would train with; nothing was chosen on these videos
TEST_VIDEOS = 60  # of each level
COLUMNS = {
    **{"seed": int, "finder": str, "level": str, "video": int, "poster": int, "said": str, "read": str},
    **{"errors": int, "iou": float, "jumps": int, "late": float},
}


def videos_of(level: str, n: int = TEST_VIDEOS, seed: int = TEST_SEED) -> TalkingVideos:
    """The test videos of one of ``LEVELS``: the same people say the same in all levels."""
    return talking_videos([LEVELS[level]] * n, np.random.default_rng(seed))


def load(path: str | Path) -> Detector:
    """A finder's detector from a file, ready to use; the name of a memory is the course's own, of seed 0."""
    path = TRAINED / "seed_0" / f"{path}.safetensors" if path in MEMORIES else path
    return checkpoint.rebuild(path, Detector, "detector")


def score(live: LiveReader, videos: TalkingVideos, i: int) -> dict:
    """The scores of video i.

    Returns:
        poster: the frame in which one is hung up; the video's length if none is.
        said, read: the sentences.
        errors: the fewest edits of words between them.
        iou: of the smoothed box with the true one, the mean over frames; 0 in a frame without a box.
        jumps: how often the box that was found lies more than a quarter of its width from the one before.
        late: frames from the end of a word until it is emitted, the mean over words; "" unless all are right.
    """
    said, read = videos.transcripts[i], " ".join(word.text for word in live.emitted)
    overlaps = [
        0.0 if box is None else float(iou(torch.tensor(box)[None], torch.tensor(true)[None]))
        for box, true in zip(live.boxes, videos.boxes[i], strict=True)
    ]
    late: float | str = ""
    if said == read:
        ends = [end for _, end, word in videos.segments[i] if word != "sil"]
        late = round(
            float(np.mean([word.emitted_at - end for word, end in zip(live.emitted, ends, strict=True)])), 2
        )
    return {
        "poster": int(videos.posters[i]),
        "said": said,
        "read": read,
        "errors": edit_distance(said.split(), read.split()),
        "iou": round(float(np.mean(overlaps)), 4),
        "jumps": jumps(live.found),
        "late": late,
    }


def jumps(found: list[np.ndarray | None]) -> int:
    """How often a box lies more than a quarter of its width away from the last one that was found."""
    boxes = [box for box in found if box is not None]
    return sum(is_jump(*pair) for pair in itertools.pairwise(boxes))


def measure(recipe: Recipe, detectors: Mapping[str, Detector]) -> list[dict]:
    """The rows of the table for all levels: the true boxes, each detector by its name, the held box."""
    # Channels last: the reader's convolutions are faster so.
    reader = checkpoint.load(READER).to(memory_format=torch.channels_last_3d)
    rows = []
    for level in LEVELS:
        videos = videos_of(level, recipe.test_clips)
        for name in tqdm([TRUTH, *detectors, *[HELD] * ("none" in detectors)], desc=level, unit="finder"):
            for i, video in enumerate(videos.frames):
                if name == TRUTH:
                    finder = known(videos.boxes[i])
                elif name == HELD:
                    finder = HeldBox(MouthFinder(detectors["none"]))
                else:
                    finder = MouthFinder(detectors[name])
                live = watch(video, finder, reader)
                rows.append({"finder": name, "level": level, "video": i, **score(live, videos, i)})
    return rows


def read_table(path: str | Path | None = None) -> list[dict]:
    """The rows of a table, the course's own if ``path`` is None; ``late`` is NaN where nothing stands."""
    return read_rows(path or TRAINED / "results.csv", COLUMNS)


def column(rows: list[dict], name: str, finder: str, level: str, seed: int = 0) -> np.ndarray:
    """(videos,) one column of the table, by video.

    Raises:
        ValueError: no such rows.
    """
    values = [r[name] for r in rows if (r["finder"], r["level"], r["seed"]) == (finder, level, seed)]
    if not values:
        raise ValueError(f"no row for finder={finder!r}, level={level!r}, seed={seed}")
    return np.array(values)


def word_error_rate(
    rows: list[dict], finder: str, level: str, seed: int = 0, draws: int = 2000
) -> tuple[float, float, float]:
    """WER, and the middle 95 % of what it would be with other videos (bootstrap).

    The other videos are drawn from these, with replacement, as many as there are.
    """
    errors = column(rows, "errors", finder, level, seed)  # (videos,)
    words = np.array([len(said.split()) for said in column(rows, "said", finder, level, seed)])
    chosen = np.random.default_rng(0).integers(len(errors), size=(draws, len(errors)))
    rates = errors[chosen].sum(1) / words[chosen].sum(1)  # (draws,)
    low, high = np.quantile(rates, (0.025, 0.975))
    return float(errors.sum() / words.sum()), float(low), float(high)


def excess_errors(
    rows: list[dict],
    finder: str,
    other: str,
    level: str,
    chosen: np.ndarray | None = None,
    seed: int = 0,
    draws: int = 2000,
) -> tuple[float, float, float]:
    """WER of a finder minus that of another one on the same videos, and its 95 % interval (paired bootstrap).

    Args:
        chosen: (videos,) bool, the videos to look at; by default all.
    """
    errors = column(rows, "errors", finder, level, seed) - column(
        rows, "errors", other, level, seed
    )  # (videos,)
    words = np.array([len(said.split()) for said in column(rows, "said", finder, level, seed)])
    if chosen is not None:
        errors, words = errors[chosen], words[chosen]
    drawn = np.random.default_rng(0).integers(len(errors), size=(draws, len(errors)))
    low, high = np.quantile(errors[drawn].sum(1) / words[drawn].sum(1), (0.025, 0.975))
    return float(errors.sum() / words.sum()), float(low), float(high)
