"""`python -m lessons COMMAND`: every command is there, says what it does, and ends an error in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from lessons.__main__ import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"usage: python -m lessons {command}" in capsys.readouterr().out


def test_without_a_command_it_lists_them(capsys):
    assert main([]) == 2 and main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in COMMANDS)


def test_an_unknown_command_is_named(capsys):
    assert main(["raed"]) == 2
    found = capsys.readouterr()
    assert "'raed' is no command" in found.err and "read lips" in found.err and not found.out


def test_an_error_is_one_line(tmp_path: Path, capsys):
    assert main(["train", "--data", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    found = capsys.readouterr().err
    assert found.startswith("error: ") and "manifest.csv" in found and "Traceback" not in found
