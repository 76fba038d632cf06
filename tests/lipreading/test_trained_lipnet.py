"""The models that come with the course: whole, small, and as good as their cards say."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
from pathlib import Path

import pytest

from lessons.cli.train import grammar_texts, misplaced_wer
from lessons.ctc.metrics import cer, wer
from lessons.data import grid
from lessons.data.synthetic.talker import synthetic_clips
from lessons.training import checkpoint
from lessons.training.evaluation import evaluate, read_clips

# A cascade has no weights; lipnet_strangers is tested like the others once it has some.
WITH_WEIGHTS = [
    name for name in checkpoint.TRAINED if (checkpoint.trained_folder(name) / "model.safetensors").is_file()
]


def results(name: str) -> dict:
    return json.loads((checkpoint.trained_folder(name) / "results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_weights_are_small_and_hold_tensors_only(name):
    path = checkpoint.trained_folder(name) / "model.safetensors"
    assert path.stat().st_size <= 4_000_000
    model = checkpoint.load(name)
    assert sum(p.numel() for p in model.parameters()) == results(name)["weights"] <= 1_000_000


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_results_follow_from_the_sentences_and_the_log(name):
    found = results(name)
    said = [s["said"] for s in found["sentences"]]
    assert len(said) == found["clips"]
    for decoder in ("greedy", "grammar"):
        read = [s[decoder] for s in found["sentences"]]
        assert found[decoder]["wer"] == pytest.approx(wer(said, read))
        assert found[decoder]["cer"] == pytest.approx(cer(said, read))
    with open(checkpoint.trained_folder(name) / "log.csv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    settings = found["settings"]
    assert int(rows[-1]["epoch"]) == settings["epochs"]
    assert len(rows) == settings["epochs"]
    # The log measured float32 weights, the results the half-precision ones on disk.
    assert float(rows[-1]["val_wer"]) == pytest.approx(found["greedy"]["wer"], abs=0.005)


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_the_card_states_the_measured_figures(name):
    card = (checkpoint.trained_folder(name) / "README.md").read_text(encoding="utf-8")
    found = results(name)
    stated = dict(re.findall(r"\| ([^|]+?) \| ([\d.]+) % \|", card))
    assert stated["greedy WER"] == f"{found['greedy']['wer']:.1%}"[:-1]
    assert stated["greedy CER"] == f"{found['greedy']['cer']:.1%}"[:-1]
    assert stated["grammar WER"] == f"{found['grammar']['wer']:.1%}"[:-1]
    for place, rate in found["misplaced_greedy_wer"].items():
        if place != "as cropped":
            assert stated[f"greedy WER, {place}"] == f"{rate:.1%}"[:-1]


def test_the_default_reads():
    assert checkpoint.load(checkpoint.DEFAULT).frame_size == (32, 64)


def test_the_readme_shows_what_is_read():
    path = Path(__file__).resolve().parents[2] / "tools" / "talker_picture.py"
    spec = importlib.util.spec_from_file_location("talker_picture", path)
    picture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(picture)
    _, words = picture.read_talker()
    readme = " ".join((path.parents[1] / "README.md").read_text(encoding="utf-8").split())
    assert f'says "{picture.SAID}"' in readme
    assert f"the words {', '.join(word.text for word in words)} under them" in readme
    found = results("lipnet_small_grid_s1")
    for decoder in ("greedy", "grammar"):
        assert f"{100 * found[decoder]['wer']:.1f} %" in readme


def test_the_synthetic_model_reads_talkers_it_never_saw():
    clips = synthetic_clips(40, seed=77)
    model = checkpoint.load("lipnet_small_synthetic")
    stated = results("lipnet_small_synthetic")["greedy"]["wer"]
    # 240 words: a rate of p has a standard error of sqrt(p (1 - p) / 240), three points at p = 0.2
    assert evaluate(model, clips).wer == pytest.approx(stated, abs=0.1)


@pytest.mark.skipif(grid.find_mouth_set() is None, reason="needs real clips")
def test_the_real_model_reads_as_its_card_says():
    found = results("lipnet_small_grid_s1")
    clips = grid.load(grid.find_mouth_set(), "val")
    model = checkpoint.load("lipnet_small_grid_s1")
    log_probs, _ = read_clips(model, clips)
    one_word = 1 / 600  # another CPU's rounding may tip one word over, not more
    assert evaluate(model, clips).wer == pytest.approx(found["greedy"]["wer"], abs=one_word)
    read = grammar_texts(log_probs, [75] * len(clips))
    assert wer(clips.transcripts, read) == pytest.approx(found["grammar"]["wer"], abs=one_word)


@pytest.mark.skipif(grid.find_mouth_set() is None, reason="needs real clips")
def test_the_real_model_bears_a_crop_that_is_off():
    clips = grid.load(grid.find_mouth_set(), "val").subset(range(0, 100, 4))
    found = misplaced_wer(checkpoint.load("lipnet_small_grid_s1"), clips)
    # At most 5 points on all 600 words (the card); 3 more for the noise of these 150.
    assert max(found.values()) <= found["as cropped"] + 0.08


def test_the_quick_curves_are_as_the_card_says():
    folder = checkpoint.trained_folder("lipnet_small_grid_s1")
    card = " ".join((folder / "README.md").read_text(encoding="utf-8").split())
    for threads, name, clock, by in (
        ("one thread", "log_quick", "cpu_seconds", "of CPU"),
        ("two threads", "log_quick_two_threads", "seconds", "by the clock"),
    ):
        with open(folder / f"{name}.csv", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        first, last = next(row for row in rows if float(row["val_wer"]) <= 0.15), rows[-1]
        stated = (
            f"on {threads} it is at {float(first['val_wer']):.1%} WER after {first['epoch']} epochs, "
            f"{float(first[clock]) / 60:.1f} minutes {by}"
        )
        assert stated.replace("%", " %") in card
        assert f"ends at {float(last['val_wer']):.1%}".replace("%", " %") in card
