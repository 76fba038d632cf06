r"""What each part of the training of ``lipnet_strangers`` is worth: trainings that differ in one.

    python -m tools.ablation --data data/grid --speakers data/grid_speakers data/strangers_val \
        --out runs/ablation

trains one model per row of ``CHANGES``, as long as a fold of :mod:`tools.folds`, and writes ``ablation.json``
into ``--out``. A stopped run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lessons.cli.train import Data
from lessons.files import write_json
from tools.card import ablation_table
from tools.folds import MOTION_EPOCHS, check_people, folders, load_fold, settings, trained


@dataclass(frozen=True)
class Change:
    """What one training does in another way.

    Attributes:
        settings: of :class:`lessons.training.settings.StrangerSettings`.
        run: attributes of :class:`lessons.training.strangers.StrangerRun`.
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


SPOKEN = {"spliced": 0.0, "slow": 0.0}  # of all but the last
CHANGES: dict[str, Change] = {
    "sentences as spoken": Change(SPOKEN),
    "one motion per step, no stage 1": Change({**SPOKEN, "motions": 1, "motion_epochs": 0}),
    "clips as they are, no disguise": Change(SPOKEN, {"disguise": undisguised}),
    "measures without a teacher": Change(SPOKEN, {"teach": untaught}),
    "no neck": Change({**SPOKEN, "keep": 0.0}),
    "random convolutions at first": Change(SPOKEN, front=False),
    "spliced": Change(),
}


def main(argv: list[str] | None = None) -> None:
    """Train what is not trained yet, write ``ablation.json``, print the table."""
    args = folders("tools.ablation", __doc__, argv)
    check_people(args)
    torch.set_num_threads(1)
    found = {}
    for name, change in CHANGES.items():
        out = args.out / name.replace(",", "").replace(" ", "_")
        own = replace(settings(), **change.settings)
        own = replace(own, epochs=own.epochs - MOTION_EPOCHS + own.motion_epochs)  # as many with clips

        def load(change: Change = change, out: Path = out) -> Data:
            data = load_fold(args.data, args.speakers, (), out)
            return data if change.front else replace(data, front=None)

        report = trained(out, own, load, **change.run)
        found[name] = {part: report[part] for part in ("cpu_minutes", "speakers")}
        write_json(args.out / "ablation.json", found)
    print(ablation_table(found))


if __name__ == "__main__":
    main()
