r"""What each part of the training of ``lipnet_strangers`` is worth: trainings that differ in one.

    python -m tools.ablation --data data/grid --speakers data/grid_speakers data/strangers_val \
        --out runs/ablation

trains one model per row of ``CHANGES``, as long as a fold of :mod:`tools.folds`, and writes ``ablation.json``
into ``--out``. A stopped run goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lessons.cli.train import STRANGERS, run
from lessons.files import write_json
from lessons.training.strangers import BRANCHES
from tools.card import ablation_table
from tools.folds import MOTION_EPOCHS, ONE, folders, load_fold, settings


@dataclass(frozen=True)
class Change:
    """What one training does in another way.

    Attributes:
        settings: of :class:`lessons.training.settings.StrangerSettings`.
        run: arguments of :func:`lessons.training.strangers.train_branches`.
        front: whether the convolutions start from those of the model of s1.
    """

    settings: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)
    front: bool = True


def undisguised(clips: Tensor, rng: np.random.Generator) -> Tensor:
    """Clips as they are, as floats: (B, T, H, W) -> (B, T, H, W)."""
    return clips.float()


def untaught(seen: Tensor, true: Tensor, known: Tensor) -> Tensor:
    """No loss of the measures: a zero that has a gradient."""
    return seen.sum() * 0


CHANGES: dict[str, Change] = {
    "one second stage, as spoken": Change(),
    "one motion per step, no stage 1": Change({"motions": 1, "motion_epochs": 0}),
    "clips as they are, no disguise": Change(run={"disguise": undisguised}),
    "measures without a teacher": Change(run={"teach": untaught}),
    "no neck": Change({"keep": 0.0}),
    "convolutions from chance": Change(front=False),
    "one second stage, spliced": Change(run={"branches": {"spliced": BRANCHES["spliced"]}}),
    "the mean of both": Change(run={"branches": BRANCHES}),
}


def main(argv: list[str] | None = None) -> None:
    """Train what is not trained yet, write ``ablation.json``, print the table."""
    args = folders("tools.ablation", __doc__, argv)
    torch.set_num_threads(1)
    found = {}
    for name, change in CHANGES.items():
        out = args.out / name.replace(",", "").replace(" ", "_")
        done = out / "results.json"
        if not done.is_file():
            data = load_fold(args.data, args.speakers, (), out)
            data = data if change.front else replace(data, front=None)
            own = replace(settings(), **change.settings)
            own = replace(own, epochs=own.epochs - MOTION_EPOCHS + own.motion_epochs)  # as many with clips
            run(STRANGERS, own, data, out, **{"branches": ONE, **change.run})
        report = json.loads(done.read_text(encoding="utf-8"))
        found[name] = {part: report[part] for part in ("cpu_minutes", "speakers")}
        write_json(args.out / "ablation.json", found)
    print(ablation_table(found))


if __name__ == "__main__":
    main()
