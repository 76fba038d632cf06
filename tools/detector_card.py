"""The tables of the video detectors' card, from the files beside it: ``python -m tools.detector_card``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from lessons.training.detector_table import (
    FORGETTING,
    GAP_COLUMNS,
    METHODS,
    TESTS,
    TRAINED,
    difference,
    per_seed,
    read_table,
    t_interval,
)
from lessons.training.seeds import read_rows
from tools.card import table

NAMES = {
    "0": "p = 0",
    "0.5": "p = 0.5",
    "0.75": "p = 0.75",
    "0.5 in bursts": "p = 0.5 in bursts",
    "bar": "a bar",
    "noise": "p = 0.5, noise × 1.5",
    "photo": "p = 0.5, photo",
}
OURS = "bottleneck_lstm"


def spread(values: Iterable[float], scale: float = 100) -> str:
    """Mean and half of the 95 % t interval over seeds."""
    mean, low, _ = t_interval([scale * value for value in values])
    return f"{mean:.1f} ± {mean - low:.1f}"


def scores(rows: list[dict]) -> str:
    """AP50 of each method in each test."""
    made = [[m, *(spread(per_seed(rows, m, test).values()) for test in TESTS)] for m in METHODS]
    return table(["AP50, %", *(NAMES[test] for test in TESTS)], made)


def differences(rows: list[dict]) -> str:
    """How far the Bottleneck-LSTM is above the others, in points."""
    made = []
    for other in METHODS:
        if other != OURS:
            cells = [[100 * x for x in difference(rows, OURS, other, test)] for test in TESTS]
            made.append([other, *(f"{mean:+.1f} ({low:+.1f} to {high:+.1f})" for mean, low, high in cells)])
    return table(["Bottleneck-LSTM minus", *(NAMES[test] for test in TESTS)], made)


def more(rows: list[dict], trainings: dict[str, dict]) -> str:
    """Weights, hidden objects, flicker, precision, and AP50 without the state, at p = 0.5."""
    made = []
    for method in METHODS:
        columns = [
            per_seed(rows, method, FORGETTING, name) for name in ("hidden_recall", "flicker", "precision")
        ]
        forgotten = [row["ap50"] for row in rows if (row["method"], row["state"]) == (method, "forgotten")]
        cells = [spread(column.values()) for column in columns]
        filters = f"{trainings[method]['memory_filter_weights']:,}" if method in trainings else "–"
        made.append([method, filters, *cells, spread(forgotten) if forgotten else "–"])
    header = [
        "at p = 0.5",
        "filter weights of the memory",
        "hidden objects found",
        "flicker",
        "precision",
        "AP50, state thrown away",
    ]
    return table(header, made)


def gaps(rows: list[dict]) -> str:
    """By frames since an object was last seen: how often the box is nearer than that place, and its error."""
    lengths = sorted({row["gap"] for row in rows})

    def means(method: str, columns: Sequence[str]) -> list[list[float]]:
        chosen = [
            [row for row in rows if (row["method"], row["gap"]) == (method, length)] for length in lengths
        ]
        return [[float(np.mean([row[name] for row in some])) for name in columns] for some in chosen]

    made = [
        [method, *(f"{nearer:.0%}, {error:.1f}" for nearer, error in means(method, ("nearer", "error")))]
        for method in METHODS
    ]
    made.append(["the last-seen place, px", *(f"{e:.1f}" for (e,) in means(OURS, ("last_seen_error",)))])
    header = ["frames since it was last seen", *map(str, lengths)]
    return table(header, [[cell.replace("%,", " %,") for cell in row] for row in made])


def tables(folder: Path = TRAINED) -> list[str]:
    """All tables that the files in the detectors' folder give."""
    rows = read_table(folder / "results.csv")
    trainings = json.loads((folder / "results.json").read_text(encoding="utf-8"))["trainings"]["0"]
    return [
        scores(rows),
        differences(rows),
        more(rows, trainings),
        gaps(read_rows(folder / "gaps.csv", GAP_COLUMNS)),
    ]


if __name__ == "__main__":
    print("\n\n".join(tables()))
