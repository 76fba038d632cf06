"""Latency against errors: the batch of readings is the stream's, and the table says what it was made from."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lessons.ctc.alphabet import ALPHABET
from lessons.ctc.grammar import SLOTS
from lessons.lipreading.streaming import Stream, agreement, complete_words, grid_words
from lessons.training import checkpoint, latency
from lessons.training.latency import best_paths, crops_of, emit, read_latency, summary
from lessons.training.live_scores import READER, TEST_VIDEOS, videos_of

ROWS = read_latency()


def path(text: str) -> list[int]:
    """A best path of three frames per letter: the letter twice, then a blank."""
    return [label for character in text for label in (*2 * ALPHABET.encode(character).tolist(), 0)]


def test_what_a_setting_emits_is_what_a_stream_emits():
    reader = checkpoint.load(READER)
    videos = videos_of("none", 1)
    crops = torch.from_numpy(crops_of(videos.frames[0], videos.boxes[0], reader.frame_size))
    paths = best_paths(reader, crops)
    assert [arrived for arrived, _ in paths] == [*range(4, 76), 75]
    for agree, words in ((3, complete_words), (6, grid_words)):
        stream = Stream(reader, agree, agreement, words)
        for frame in crops:
            stream.push(frame[None])
        stream.push(crops[:0], last=True)
        assert emit(paths, 1, agree, words=words) == stream.emitted


def test_words_by_the_lists_need_no_space():
    assert [word for word, *_ in complete_words(path("bin blue at"))] == ["bin", "blue"]
    assert [word for word, *_ in grid_words(path("bin blue at"))] == ["bin", "blue", "at"]
    assert [word for word, *_ in grid_words(path("bin blue atx q "))] == ["bin", "blue"]
    assert [word for word, *_ in grid_words(path("bin bl"))] == ["bin", "blue"]  # nothing else starts so
    assert [word for word, *_ in grid_words(path("bin bl "))] == ["bin"]
    assert [word for word, *_ in grid_words(path("bin blue at a t"))] == ["bin", "blue", "at", "a"]
    assert [word for word, *_ in grid_words(path("bin blu"), last=True)] == ["bin", "blu"]
    assert [word for word, *_ in grid_words(path("bin blue at a one now now"))][6:] == []
    assert grid_words([]) == [] and grid_words([0, 0]) == []
    assert len(grid_words(path(" ".join(slot[0] for slot in SLOTS)))) == 6


def test_emission_by_hand():
    paths = [(4, path("bin ")), (5, path("bin b")), (6, path("bin b")), (7, path("bin blue"))]
    emitted = emit(paths, 1, 2)
    assert [(word.text, word.emitted_at) for word in emitted] == [("bin", 5), ("blue", 7)]
    assert [word.emitted_at for word in emit(paths, 2, 2)] == [6, 7]
    assert [word.emitted_at for word in emit(paths, 5, 2)] == [7, 7]


def test_the_table_holds_every_video_and_setting():
    settings = {(row["rule"], row["every"], row["agree"]) for row in ROWS}
    assert len(ROWS) == len(settings) * TEST_VIDEOS
    assert {rule for rule, *_ in settings} == set(latency.RULES)
    for row in ROWS:
        assert math.isnan(row["late"]) == (row["errors"] > 0)


def test_more_agreement_means_fewer_changes():
    for rule in latency.RULES:
        same = [summary(ROWS, rule, 1, k, draws=1)["same"][0] for k in (1, 4, 8)]
        assert same == sorted(same) and same[0] < same[2] - 0.05
    low, high = summary(ROWS, "lists", 1, 8)["same"][1:]
    assert low < summary(ROWS, "lists", 1, 8)["same"][0] < high


def test_a_setting_that_was_not_measured_is_refused(tmp_path):
    with pytest.raises(ValueError, match="every=4"):
        summary(ROWS, "space", 4, 1)
    with pytest.raises(SystemExit):
        latency.main(["--out", str(tmp_path), "--videos", "0"])


def test_the_command_writes_the_first_rows_of_the_table(tmp_path, capsys):
    latency.main(["--out", str(tmp_path), "--videos", "1"])
    rows = read_latency(tmp_path / "latency.csv")
    theirs = [row for row in ROWS if row["video"] == 0]
    assert len(rows) == len(theirs)
    differing = [a for a, b in zip(rows, theirs, strict=True) if a["changed"] != b["changed"]]
    assert len(differing) <= len(rows) // 10  # other machines round otherwise
    assert "lists every 1" in capsys.readouterr().out
    assert np.isfinite(rows[0]["errors"])
