"""The tables of a model card for people: by speaker, by slot of the grammar, by what a webcam does.

    python -m tools.card lipnet_strangers
    python -m tools.card lipnet_strangers --data data/grid --speakers data/grid_speakers data/strangers_val

prints the tables that the files in the folder of that model give: ``results.json`` and, if they are there,
``webcam.json`` (``tools.webcam``), ``runs.json``, ``folds.json`` (``tools.folds``), ``ablation.json``
(``tools.ablation``). With ``--data`` the model reads all validation clips first, and ``results.json`` is
written anew; what it says of the training stays. ``--runs runs/a runs/b`` writes ``runs.json``: what several
trainings of that model reached. Speakers other than s1 are those whom no model has seen.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from lessons.cli.train import by_slot, results
from lessons.ctc.grammar import SLOT_NAMES
from lessons.data import grid
from lessons.files import write_json
from lessons.training import checkpoint
from lessons.training.detector_table import t_interval

SEEN = "s1"  # other sentences of this speaker were trained on
DECODERS = ("greedy", "grammar")
ENOUGH = 10  # clips of one person for a rate of their own
GROUPS = [f"{who}, {decoder}" for who in ("never seen", SEEN) for decoder in DECODERS]


def percent(rate: float) -> str:
    """One decimal, as the cards have it: ``12.1 %``."""
    return f"{rate:.1%}".replace("%", " %")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [f"| {' | '.join(line)} |" for line in (header, *rows)]
    lines.insert(1, "|" + "---|" * len(header))
    return "\n".join(lines)


def figures(found: dict) -> str:
    """WER and CER of all validation clips, and with crops that are off."""
    rows = [
        [f"{decoder} {rate.upper()}", percent(found[decoder][rate])]
        for decoder in DECODERS
        for rate in ("wer", "cer")
    ]
    rows += [
        [f"greedy WER, {place}", percent(rate)]
        for place, rate in found["misplaced_greedy_wer"].items()
        if place != "as cropped"
    ]
    return table(["figure", "value"], rows)


def never_seen(speakers: dict[str, dict[str, float]]) -> dict[str, float]:
    """The row of all speakers but the one who was seen: their clips, and the mean of their WER over clips.

    The sentences all have six words, so this mean is the WER of the clips together.
    """
    rows = [row for name, row in speakers.items() if name != SEEN]
    n_clips = sum(row["clips"] for row in rows)
    return {"clips": n_clips, **{d: sum(row["clips"] * row[d] for row in rows) / n_clips for d in DECODERS}}


def group_rates(speakers: dict[str, dict[str, float]]) -> list[str]:
    """The WER of the columns ``GROUPS``."""
    return [percent(row[d]) for row in (never_seen(speakers), speakers[SEEN]) for d in DECODERS]


def speaker_table(found: dict) -> str:
    """WER by speaker."""
    speakers = found["speakers"]
    named = {f"{name}, never seen": row for name, row in speakers.items() if name != SEEN}
    named |= {"never seen, together": never_seen(speakers), f"{SEEN}, other sentences": speakers[SEEN]}
    rows = [[name, str(row["clips"]), *(percent(row[d]) for d in DECODERS)] for name, row in named.items()]
    return table(["speaker", "clips", "WER, greedy", "WER, grammar"], rows)


def slot_table(found: dict) -> str:
    """Wrong words by slot of the grammar: of those never seen, and of the one who was."""
    columns = []
    for seen in (False, True):
        some = [row for row in found["sentences"] if (row["speaker"] == SEEN) == seen]
        said = [row["said"] for row in some]
        columns += [by_slot(said, [row[d] for row in some]) for d in DECODERS]
    rows = [[slot, *(percent(column[slot]) for column in columns)] for slot in SLOT_NAMES]
    return table(["wrong words", *GROUPS], rows)


def webcam_table(found: dict) -> str:
    """WER by condition: of those never seen, together, and of the one who was."""
    rows = []
    for name, condition in found["conditions"].items():
        rows.append([name, *group_rates(condition["speakers"]), str(condition["without_face"])])
    return table(["condition", *GROUPS, "no face found"], rows)


def summary(report: dict) -> dict:
    """What ``runs.json`` keeps of a training's ``results.json``."""
    sentences = "spliced" if report["settings"]["spliced"] else "as spoken"
    about = {"seed": report["settings"]["seed"], "sentences": sentences}
    return about | {name: report[name] for name in ("cpu_minutes", "device", "speakers")}


def run_table(found: list[dict]) -> str:
    """WER of several trainings: of those never seen, and of the one who was."""
    rows = []
    for run in found:
        about = [str(run["seed"]), run["sentences"], f"{run['cpu_minutes']:.0f}"]
        rows.append([*about, *group_rates(run["speakers"])])
    return table(["seed", "sentences", "CPU minutes", *GROUPS], rows)


def ablation_table(found: dict[str, dict]) -> str:
    """WER of trainings that differ in one part: of those never seen, and of the one who was."""
    rows = [[name, *group_rates(run["speakers"])] for name, run in found.items()]
    return table(["one seed, as long as a fold", *GROUPS], rows)


def fold_table(found: dict) -> str:
    """WER of each person who was held out, and its mean over those of whom there are ``ENOUGH`` clips."""
    people = sorted(found["people"].items(), key=lambda row: int(row[0][1:]))
    rows = [[name, str(row["clips"]), *(percent(row[d]) for d in DECODERS)] for name, row in people]
    some = [row for _, row in people if row["clips"] >= ENOUGH]
    means = []
    for decoder in DECODERS:
        mean, low, high = t_interval([row[decoder] for row in some])
        means.append(f"{percent(mean)} ({percent(low)} to {percent(high)})")
    rows.append([f"mean of the {len(some)} people with {ENOUGH} clips or more", "", *means])
    return table(["person, held out", "clips", "WER, greedy", "WER, grammar"], rows)


def tables(folder: Path) -> list[str]:
    """All tables that the files in a model's folder give."""
    made: list[tuple[str, Sequence[Callable[[Any], str]]]] = [
        ("results.json", (figures, speaker_table, slot_table)),
        ("webcam.json", (webcam_table,)),
        ("runs.json", (run_table,)),
        ("folds.json", (fold_table,)),
        ("ablation.json", (ablation_table,)),
    ]
    found = []
    for name, makers in made:
        if (folder / name).is_file():
            content = json.loads((folder / name).read_text(encoding="utf-8"))
            found += [make(content) for make in makers]
    return found


def main(argv: list[str] | None = None) -> None:
    """Print the tables; measure first if there are clips."""
    parser = argparse.ArgumentParser(prog="python -m tools.card", description=__doc__.split("\n")[0])
    parser.add_argument("model", choices=("lipnet_strangers", "lipnet_anyone"))
    parser.add_argument("--data", help="a mouth set; read its validation clips first")
    parser.add_argument("--speakers", nargs="+", default=[], help="mouth sets of other people")
    parser.add_argument("--runs", nargs="+", default=[], type=Path, help="folders of trainings to compare")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    folder = checkpoint.trained_folder(args.model)
    if args.data:
        model = checkpoint.load(args.model)
        clips = grid.load_people([args.data, *args.speakers], model.frame_size).validation
        who = set(clips.speakers)
        if SEEN not in who or len(who) < 2:
            parser.error(f"validation clips of {sorted(who)}: expected some of {SEEN} and of other people")
        old = folder / "results.json"
        before = json.loads(old.read_text(encoding="utf-8")) if old.is_file() else {}
        n_weights = sum(p.numel() for p in model.parameters())
        write_json(old, {**before, "weights": n_weights, **results(model, clips)})
    if args.runs:
        reports = [json.loads((run / "results.json").read_text(encoding="utf-8")) for run in args.runs]
        write_json(folder / "runs.json", [summary(report) for report in reports])
    print("\n\n".join(tables(folder)))


if __name__ == "__main__":
    main()
