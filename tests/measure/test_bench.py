"""The benchmark runs, its two sides do the same work, its rows hold what they should. No time is tested."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lessons.measure import bench

KEYS = {"name", "against", "ratio", "spread", "ours_ms", "theirs_ms", "ours_mib", "theirs_mib"}


def test_rows_and_table(tmp_path, capsys):
    bench.main(
        ["--only", "ctc B16", "bottleneck*gates", "--pairs", "2", "--json", str(tmp_path / "rows.json")]
    )
    rows = json.loads((tmp_path / "rows.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in rows] == ["ctc B16", "bottleneck-lstm gates"]
    for row in rows:
        assert set(row) == KEYS | {"device", "threads", "torch", "python"}
        assert row["ratio"] > 0 and row["ours_ms"] > 0 and row["ours_mib"] > 0
        assert row["spread"][0] <= row["ratio"] <= row["spread"][1]
        assert row["threads"] == 1 and row["torch"] == torch.__version__
    assert "| ctc B16 | F.ctc_loss |" in capsys.readouterr().out


SMALLEST = [
    "ctc B16",
    "gru B8",
    "gru B8 forward",
    "gru B8 both ways",
    "conv3d conv3",
    "bottleneck-lstm gates",
]


@pytest.mark.parametrize("name", SMALLEST)
def test_both_sides_give_the_same(name):
    torch.manual_seed(0)
    pair = bench.WORKS[name](torch.device("cpu"))
    ours, theirs = pair.ours(), pair.theirs()
    ours, theirs = ([one] if isinstance(one, torch.Tensor) else list(one) for one in (ours, theirs))
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() <= 1e-4 * b.abs().max()  # float32, sums of up to 10,000 terms


def test_every_piece_is_made():
    for name, make in bench.WORKS.items():
        pair = make(torch.device("cpu"))
        assert callable(pair.ours) and callable(pair.theirs) and pair.against, name


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "ctcc*"], "no such piece; there are ctc B16"),
        (["--pairs", "1"], "--pairs is 1"),
        (["--threads", "0"], "--threads is 0"),
    ],
)
def test_bad_arguments_are_named(arguments, message, capsys):
    with pytest.raises(SystemExit):
        bench.main(arguments)
    assert message in capsys.readouterr().err


def test_readme_quotes_the_measured_table():
    root = Path(__file__).resolve().parents[2]
    rows = json.loads((root / "lessons" / "trained" / "bench" / "cpu.json").read_text(encoding="utf-8"))
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert [row["name"] for row in rows] == list(bench.WORKS)
    assert bench.table(rows) in readme and f"torch {rows[0]['torch']}:" in readme


def test_a_file_that_cannot_be_written_is_found_before_the_measuring(tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "measure", lambda *_: pytest.fail("it measured"))
    with pytest.raises(IsADirectoryError, match="could not write"):
        bench.main(["--only", "ctc B16", "--json", str(tmp_path)])
