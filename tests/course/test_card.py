"""The tables of the cards of models for people."""

from __future__ import annotations

import json
from dataclasses import asdict, fields, replace
from types import SimpleNamespace

import pytest
import torch

from lessons.cli.train import by_slot, by_speaker
from lessons.ctc.metrics import wer
from lessons.data.grid.mouth_set import MouthSetError
from lessons.training import checkpoint
from lessons.training.strangers import StrangerRun
from tools import ablation, card, detector_card, folds
from tools.notebooks import ROOT

SAID = "bin blue at f two now"
SENTENCES = [
    {"id": "a", "speaker": "s1", "said": SAID, "greedy": SAID, "grammar": SAID},
    {"id": "b", "speaker": "s5", "said": SAID, "greedy": "bin blue at two now", "grammar": SAID},
    {"id": "c", "speaker": "s5", "said": SAID, "greedy": SAID, "grammar": SAID},
    {"id": "d", "speaker": "s33", "said": SAID, "greedy": "bin blue at f", "grammar": "bin red at f two now"},
]


def results() -> dict:
    speakers, said = [row["speaker"] for row in SENTENCES], [SAID] * 4
    texts = {decoder: [row[decoder] for row in SENTENCES] for decoder in card.DECODERS}
    return {
        **{decoder: {"wer": wer(said, texts[decoder]), "cer": 0.25} for decoder in card.DECODERS},
        "speakers": by_speaker(speakers, said, texts),
        "slots": {decoder: by_slot(said, texts[decoder]) for decoder in card.DECODERS},
        "misplaced_greedy_wer": {"as cropped": 0.125, "3 rows up": 0.5},
        "sentences": SENTENCES,
    }


def test_the_tables_follow_from_the_files(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps(results()), encoding="utf-8")
    figures, speakers, slots = card.tables(tmp_path)
    assert figures.splitlines()[:3] == ["| figure | value |", "|---|---|", "| greedy WER | 12.5 % |"]
    assert "| greedy WER, 3 rows up | 50.0 % |" in figures and "as cropped" not in figures
    assert speakers.splitlines()[2:] == [
        "| s33, never seen | 1 | 33.3 % | 16.7 % |",
        "| s5, never seen | 2 | 8.3 % | 0.0 % |",
        "| never seen, together | 3 | 16.7 % | 5.6 % |",
        "| s1, other sentences | 1 | 0.0 % | 0.0 % |",
    ]
    assert slots.splitlines()[0] == (
        "| wrong words | never seen, greedy | never seen, grammar | s1, greedy | s1, grammar |"
    )
    assert "| color | 0.0 % | 33.3 % | 0.0 % | 0.0 % |" in slots
    assert "| letter | 33.3 % | 0.0 % | 0.0 % | 0.0 % |" in slots
    conditions = {"as filmed": {"speakers": results()["speakers"], "without_face": 2}}
    (tmp_path / "webcam.json").write_text(json.dumps({"conditions": conditions}), encoding="utf-8")
    webcam = card.tables(tmp_path)[3]
    about = {"settings": {"seed": 1, "spliced": 0.5, "keep": 0.6}, "cpu_minutes": 96.4, "device": "a CPU"}
    run = card.summary({**results(), **about})
    assert set(run) == {"seed", "sentences", "cpu_minutes", "device", "speakers"}
    (tmp_path / "runs.json").write_text(json.dumps([run]), encoding="utf-8")
    runs = card.tables(tmp_path)[4]
    assert runs.splitlines()[2] == "| 1 | spliced | 96 | 16.7 % | 5.6 % | 0.0 % | 0.0 % |"
    assert webcam.splitlines()[2] == "| as filmed | 16.7 % | 5.6 % | 0.0 % | 0.0 % | 2 |"


@pytest.mark.parametrize("name", ["lipnet_strangers", "lipnet_anyone"])
def test_the_card_has_the_tables(name):
    folder = checkpoint.trained_folder(name)
    text = (folder / "README.md").read_text(encoding="utf-8")
    for made in card.tables(folder):
        assert made in text, f"{folder / 'README.md'}: python -m tools.card {name} prints other tables"


def test_the_detectors_card_has_the_tables():
    text = (detector_card.TRAINED / "README.md").read_text(encoding="utf-8")
    for made in detector_card.tables():
        assert made in text, "python -m tools.detector_card prints other tables"


def test_each_person_is_read_by_the_fold_that_held_them_out():
    row = {"clips": 20, "greedy": 0.3, "grammar": 0.2}
    always = {
        "s5": {"clips": 20, "greedy": 0.1, "grammar": 0.0},
        "s33": {"clips": 10, "greedy": 0.4, "grammar": 0.3},
    }
    one = {"s1": row, **always, "s4": {**row, "greedy": 0.6}}
    other = {"s1": row, **always, "s5": {**always["s5"], "greedy": 0.3}, "s3": row, "s4": row}
    found = folds.collate({("s4",): {"speakers": one}, ("s3",): {"speakers": other}})
    assert found["people"]["s4"]["greedy"] == 0.6 and found["people"]["s3"] == row
    assert found["people"]["s5"] == pytest.approx({"clips": 20, "greedy": 0.2, "grammar": 0.0})
    assert [fold["held_out"] for fold in found["folds"]] == [["s4"], ["s3"]]
    assert found["folds"][0]["always"] == pytest.approx({"clips": 30, "greedy": 0.2, "grammar": 0.1})
    made = card.fold_table(found).splitlines()
    assert [line.split("|")[1].strip() for line in made[2:6]] == ["s3", "s4", "s5", "s33"]
    assert made[6].startswith("| mean of the 4 people with 10 clips or more |  | 37.5 % (")


def test_readme_has_the_range_over_people():
    folder = checkpoint.trained_folder("lipnet_strangers")
    people = json.loads((folder / "folds.json").read_text(encoding="utf-8"))["people"]
    rates = sorted(100 * row["grammar"] for row in people.values() if row["clips"] >= card.ENOUGH)
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert len(rates) == 7 and rates[-1] == 100 * people["s26"]["grammar"]
    assert f"misread {rates[0]:.0f} to {rates[-2]:.0f} % of the words of six people" in text
    assert f"and {rates[-1]:.0f} % of the one with a beard" in text


def test_readme_and_card_have_the_readers_figures():
    rows = {}
    for name in ("lipnet_strangers", "lipnet_anyone"):
        found = json.loads((checkpoint.trained_folder(name) / "results.json").read_text(encoding="utf-8"))
        rows[name] = [card.never_seen(found["speakers"]), found["speakers"][card.SEEN]]
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    for row in rows["lipnet_anyone"]:
        assert f"{100 * row['grammar']:.1f} %" in text and f"({100 * row['greedy']:.1f} %" in text
    text = (checkpoint.trained_folder("lipnet_anyone") / "README.md").read_text(encoding="utf-8")
    for name, label in (
        ("lipnet_strangers", "`lipnet_strangers` alone"),
        ("lipnet_anyone", "with this rule"),
    ):
        others, seen = (f"{100 * row['greedy']:.1f} / {100 * row['grammar']:.1f}" for row in rows[name])
        assert f"| {label} | {seen} | {others} |" in text


def test_a_fold_loads_without_those_it_holds_out(monkeypatch, tmp_path):
    monkeypatch.setattr(folds, "load_data", lambda args: args)
    args = folds.load_fold("grid", ["others"], ("s4", "s10"), tmp_path)
    assert set(args.hold_out) == {*folds.ALWAYS, "s4", "s10"} and args.preset == "strangers"


def test_another_trainings_report_is_not_taken(monkeypatch, tmp_path):
    own = folds.settings()
    report = {"settings": asdict(own), "speakers": {}}
    monkeypatch.setattr(folds, "run", lambda *_, **changes: changes)
    assert folds.trained(tmp_path, own, dict, teach=len) == {"teach": len}
    (tmp_path / "results.json").write_text(json.dumps(report), encoding="utf-8")
    assert folds.trained(tmp_path, own, dict, teach=len) == report
    with pytest.raises(ValueError, match=r"results\.json: of a training with other epochs, keep; choose"):
        folds.trained(tmp_path, replace(own, epochs=40, keep=0.1), dict)


def test_people_who_are_missing_are_told_before_the_training(monkeypatch, tmp_path):
    monkeypatch.setattr(folds, "read_manifest", lambda path: [SimpleNamespace(speaker=path.parent.name)])
    with pytest.raises(MouthSetError, match=r"s1, s5: no clip of s10, s16, s25, .*; the folds need them"):
        folds.main(["--data", "s1", "--speakers", "s5", "--out", str(tmp_path)])


def test_the_folds_hold_out_each_person_once():
    people = [name for fold in folds.FOLDS for name in fold]
    assert len(set(people)) == len(people) and not set(people) & {*folds.ALWAYS, card.SEEN}


def test_each_ablation_changes_what_there_is():
    changes = list(ablation.CHANGES.values())
    assert all(change not in changes[:i] for i, change in enumerate(changes))
    for change in changes[:-1]:
        assert replace(folds.settings(), **change.settings).spliced == 0
        assert set(change.run) <= {field.name for field in fields(StrangerRun)}
    assert changes[-1] == ablation.Change() and folds.settings().spliced > 0
    assert ablation.untaught(
        torch.ones(2, 3, 9, requires_grad=True), torch.zeros(2, 3, 9), None
    ).requires_grad
    clips = torch.arange(24, dtype=torch.uint8).view(1, 2, 3, 4)
    assert torch.equal(ablation.undisguised(clips, None), clips.float())
