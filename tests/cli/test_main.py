"""`python -m lessons COMMAND`: every command is there, says what it does, and ends an error in one line."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from lessons.__main__ import COMMANDS, RESUMABLE, main

ROOT = Path(__file__).resolve().parents[2]


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


def command(monkeypatch, act) -> None:
    """Every command does this instead of its work."""
    monkeypatch.setattr("importlib.import_module", lambda _: types.SimpleNamespace(main=act))


@pytest.mark.parametrize("name", COMMANDS)
def test_ctrl_c_is_one_line(name, monkeypatch, capsys):
    def stopped(argv):
        print("so far")
        raise KeyboardInterrupt

    command(monkeypatch, stopped)
    assert main([name]) == 130
    found = capsys.readouterr()
    assert found.err == (
        "stopped; the same command goes on from here\n" if name in RESUMABLE else "stopped\n"
    )
    assert found.out == "so far\n"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("upsample=0"),
        FileNotFoundError(errno.ENOENT, "no such file", "clip.mpg"),
        ConnectionError("another process stopped"),
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"),
        OSError(errno.ENOSPC, "could not write: No space left on device", "last.pt"),
        ImportError("onnx is not installed"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_with_a_message_is_one_line(error, monkeypatch, capsys):
    def failing(argv):
        raise error

    command(monkeypatch, failing)
    assert main(["train"]) == 1
    assert capsys.readouterr().err == f"error: {error}\n"


def test_a_mistake_in_the_program_is_not_hidden(monkeypatch):
    def mistaken(argv):
        raise ZeroDivisionError

    command(monkeypatch, mistaken)
    with pytest.raises(ZeroDivisionError):
        main(["bench"])


def start(*argv: str, stdout: object, unbuffered: str = "") -> subprocess.Popen:
    """A command in a process of its own; ``stdout`` is where it prints to."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, *argv]
    return subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, env=environment)


# A command that prints more than a buffer holds, and one that prints a line and flushes it.
MUCH = (
    "import sys, types, importlib, lessons.__main__ as m\n"
    "def act(argv):\n    for i in range(20_000): print('line', i{flush})\n"
    "importlib.import_module = lambda _: types.SimpleNamespace(main=act)\n"
    "sys.exit(m.main(['bench']))"
)
PRINTERS = {
    "usage": ("-m", "lessons", "--help"),
    "help of a command": ("-m", "lessons", "grid", "--help"),
    "much": ("-c", MUCH.format(flush="")),
    "flushed": ("-c", MUCH.format(flush=", flush=True")),
}
CASES = [(name, "") for name in PRINTERS] + [("usage", "1"), ("much", "1")]


@pytest.mark.parametrize(("name", "unbuffered"), CASES)
def test_an_output_that_nobody_reads_any_more_is_no_error(name, unbuffered):
    reading, writing = os.pipe()
    os.close(reading)  # as head does, only sooner
    with start(*PRINTERS[name], stdout=writing, unbuffered=unbuffered) as process:
        os.close(writing)
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device that is always full")
@pytest.mark.parametrize(("name", "unbuffered"), CASES)
def test_an_output_that_takes_no_more_is_one_line(name, unbuffered):
    with open("/dev/full", "wb") as full:
        with start(*PRINTERS[name], stdout=full, unbuffered=unbuffered) as process:
            err = process.stderr.read().decode()
    assert err.splitlines() == ["error: standard output: No space left on device"]
    assert process.returncode == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows sends Ctrl-C to all processes of a console")
def test_a_training_that_is_stopped_says_so_and_leaves_nothing_half_done(tmp_path):
    argv = ["-m", "lessons", "train", "--clips", "8", "--out", str(tmp_path / "run"), "--threads", "1"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    process = start(*argv, stdout=subprocess.PIPE)
    signal.signal(signal.SIGINT, before)
    with process:
        assert b"weights" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        err = process.stderr.read().decode()
    assert process.returncode == 130
    assert err.splitlines()[-1] == "stopped; the same command goes on from here" and "Traceback" not in err
    assert {path.name for path in tmp_path.glob("run/*")} <= {"last.pt", "log.csv"}
