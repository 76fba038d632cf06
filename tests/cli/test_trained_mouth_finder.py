"""The mouth finders that come with the course: small, whole, and as good as their table and card say."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict

import numpy as np
import pytest

from lessons.cli.train_mouth_finder import PRESETS
from lessons.ctc.metrics import edit_distance
from lessons.data.synthetic.heads import LEVELS
from lessons.lipreading.live_reader import MouthFinder, watch
from lessons.training import checkpoint
from lessons.training.live_scores import (
    COLUMNS,
    FINDERS,
    HELD,
    READER,
    TEST_SEED,
    TEST_VIDEOS,
    TRAINED,
    TRUTH,
    column,
    load,
    read_table,
    score,
    videos_of,
    word_error_rate,
)

ROWS = read_table()
RESULTS = json.loads((TRAINED / "results.json").read_text(encoding="utf-8"))
CARD = (TRAINED / "README.md").read_text(encoding="utf-8")
SEEDS = RESULTS["seeds"]
NAMES = (TRUTH, *FINDERS)


def test_all_together_is_small():
    assert sum(path.stat().st_size for path in TRAINED.rglob("*") if path.is_file()) < 700_000


def test_every_finder_read_every_video():
    keys = {(row["seed"], row["finder"], row["level"], row["video"]) for row in ROWS}
    per_level = len(SEEDS) * len(NAMES) + 1  # the held box: of seed 0 alone
    assert len(keys) == len(ROWS) == per_level * len(LEVELS) * TEST_VIDEOS
    assert list(ROWS[0]) == list(COLUMNS) and TEST_VIDEOS >= 60


def test_they_are_of_the_recipe_in_the_code():
    assert {**RESULTS["recipe"], "seed": 0} == asdict(PRESETS["full"])
    assert RESULTS["test_seed"] == TEST_SEED and RESULTS["reader"] == READER
    assert RESULTS["levels"] == json.loads(json.dumps({name: asdict(h) for name, h in LEVELS.items()}))
    assert RESULTS["command"].startswith("python -m lessons train-mouth-finder --seed 0")


def test_the_errors_are_those_of_the_sentences():
    for row in ROWS:
        assert row["errors"] == edit_distance(row["said"].split(), row["read"].split())
        assert np.isnan(row["late"]) == (row["errors"] > 0)


def test_videos_are_those_of_the_table_and_read_as_it_says():
    videos = videos_of("some", 4)
    reader = checkpoint.load(READER)
    for i in range(2):
        (row,) = (
            r
            for r in ROWS
            if (r["finder"], r["level"], r["video"], r["seed"]) == ("bottleneck_lstm", "some", i, 0)
        )
        again = score(watch(videos.frames[i], MouthFinder(load("bottleneck_lstm")), reader), videos, i)
        assert again["said"] == row["said"] and again["poster"] == row["poster"]
        assert again["iou"] == pytest.approx(row["iou"], abs=0.02)
        assert abs(again["errors"] - row["errors"]) <= 1  # other machines round otherwise


def test_the_card_says_what_the_table_says():
    for seed in SEEDS:
        for finder in (*NAMES, *[HELD] * (seed == 0)):
            cells = [f"{100 * word_error_rate(ROWS, finder, level, seed)[0]:.1f}" for level in LEVELS]
            jumps = [f"{column(ROWS, 'jumps', finder, level, seed).mean():.1f}" for level in LEVELS]
            iou = [f"{column(ROWS, 'iou', finder, level, seed).mean():.2f}" for level in LEVELS]
            for name, values in (("WER", cells), ("jumps", jumps), ("IoU", iou)):
                line = f"| {' | '.join((str(seed), name, finder, *values))} |"
                assert line in CARD.splitlines(), f"the card does not say {line}"


def test_memory_is_worth_words_where_a_poster_is_hung_up_and_nowhere_else():
    for level, seed in itertools.product(LEVELS, SEEDS):
        posters = column(ROWS, "poster", TRUTH, level, seed) < 75
        none, lstm = (column(ROWS, "errors", name, level, seed) for name in ("none", "bottleneck_lstm"))
        assert none[posters].sum() > lstm[posters].sum() + 0.2 * 6 * posters.sum()
        assert abs(none[~posters].mean() - lstm[~posters].mean()) < 0.1 * 6
