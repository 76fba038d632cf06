"""Cross-validation over people: each is read by a model that has seen nothing of them.

    python -m tools.folds --data data/grid --speakers data/grid_speakers data/strangers_val --out runs/folds

trains one model per fold, shorter than the preset does (``EPOCHS``), reads the clips of the people whom the
fold holds out, and writes ``folds.json`` into ``--out``. A stopped run goes on where it was. The people whom
the preset holds out are held out of every fold, so that all models are also compared on the same clips. s1 is
in the training of every fold: most clips are his.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lessons.cli.train import PRESETS, STRANGERS, Data, arguments, load_data, run
from lessons.data.grid.mouth_set import MouthSetError, read_manifest
from lessons.files import write_json
from lessons.training.settings import StrangerSettings
from tools.card import DECODERS, SEEN, fold_table, never_seen

ALWAYS = ("s5", "s33")  # whom the preset holds out
FOLDS: tuple[tuple[str, ...], ...] = (
    (),
    ("s4", "s10"),
    ("s3", "s16", "s25"),
    ("s27", "s30"),
    ("s26", "s32"),
)
EPOCHS, MOTION_EPOCHS = 36, 14  # of a fold


def name_of(fold: Sequence[str]) -> str:
    """The folder of a fold."""
    return "_".join(fold) or "none"


def settings() -> StrangerSettings:
    """The preset's, of a shorter training."""
    return replace(PRESETS[STRANGERS][2], epochs=EPOCHS, motion_epochs=MOTION_EPOCHS)


def load_fold(data: str, speakers: Sequence[str], fold: Sequence[str], out: Path) -> Data:
    """Clips and motions, all of ``fold`` and of ``ALWAYS`` held out."""
    argv = ["--preset", STRANGERS, "--data", data, "--speakers", *speakers, "--out", str(out)]
    return load_data(arguments([*argv, "--hold-out", *ALWAYS, *fold]))


def trained(out: Path, own: StrangerSettings, load: Callable[[], Data], **changes: Any) -> dict:
    """The report of a training, which runs now if it has not.

    Raises:
        ValueError: another training's report is there.
    """
    done = out / "results.json"
    if not done.is_file():
        return run(STRANGERS, own, load(), out, **changes)
    report = json.loads(done.read_text(encoding="utf-8"))
    if report["settings"] != asdict(own):
        found, wanted = report["settings"], asdict(own)
        differ = [name for name in {**found, **wanted} if found.get(name) != wanted.get(name)]
        raise ValueError(f"{done}: of a training with other {', '.join(differ)}; choose another --out")
    return report


def check_people(args: argparse.Namespace) -> None:
    """Refuse mouth sets without somebody whom a fold holds out, before anything is trained.

    Raises:
        MouthSetError: no clip of such a person, or of s1.
    """
    roots = [args.data, *args.speakers]
    known = {entry.speaker for root in roots for entry in read_manifest(Path(root) / "manifest.csv")}
    if missing := sorted({SEEN, *ALWAYS, *(name for fold in FOLDS for name in fold)} - known):
        raise MouthSetError(f"{', '.join(roots)}: no clip of {', '.join(missing)}; the folds need them")


def collate(reports: Mapping[tuple[str, ...], dict]) -> dict:
    """What ``folds.json`` holds, from each fold's report.

    Returns:
        ``"people"``: of each person who was held out in one fold, their clips and WER; of those who are held
        out always, the mean over folds. ``"folds"``: of each, whom it held out beside those, and its WER on
        the people held out always and on s1.
    """
    people = {}
    for fold, report in reports.items():
        people |= {name: report["speakers"][name] for name in fold}
    for name in ALWAYS:
        rows = [report["speakers"][name] for report in reports.values()]
        people[name] = {"clips": rows[0]["clips"]} | {
            decoder: sum(row[decoder] for row in rows) / len(rows) for decoder in DECODERS
        }
    folds = []
    for fold, report in reports.items():
        always = never_seen({name: report["speakers"][name] for name in ALWAYS})
        folds.append({"held_out": list(fold), "always": always, SEEN: report["speakers"][SEEN]})
    return {"people": people, "folds": folds}


def folders(prog: str, about: str, argv: list[str] | None) -> argparse.Namespace:
    """The command line of a tool that trains on these people: ``data``, ``speakers``, ``out``."""
    parser = argparse.ArgumentParser(prog=f"python -m {prog}", description=about.split("\n")[0])
    parser.add_argument("--data", required=True, help="the mouth set of s1")
    parser.add_argument("--speakers", nargs="+", required=True, help="mouth sets of other people")
    parser.add_argument("--out", required=True, type=Path)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Train the folds that are not trained yet, write ``folds.json``, print the table."""
    args = folders("tools.folds", __doc__, argv)
    check_people(args)
    torch.set_num_threads(1)
    reports = {}
    for fold in FOLDS:
        out = args.out / name_of(fold)
        reports[fold] = trained(out, settings(), partial(load_fold, args.data, args.speakers, fold, out))
    found = collate(reports) | {
        "settings": reports[()]["settings"],
        "cpu_minutes": [report["cpu_minutes"] for report in reports.values()],
    }
    write_json(args.out / "folds.json", found)
    print(fold_table(found))


if __name__ == "__main__":
    main()
