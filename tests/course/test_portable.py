"""What Windows and macOS do otherwise than Linux, as far as it can be tried on any of them."""

from __future__ import annotations

import ast
import errno
import multiprocessing
import os
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lessons.data.video import read_video, write_gif, write_video
from lessons.files import atomic

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for folder in ("lessons", "tools", "tests", "notebooks/src")
    for path in (ROOT / folder).rglob("*.py")
)


def calls(path: Path) -> list[ast.Call]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


# ---- text is UTF-8 (Windows would take the code page of the country) -------------------------------------


def text_without_encoding(call: ast.Call) -> bool:
    """A call that opens a file or a process as text and does not say in which encoding."""
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    if None in given or "encoding" in given:
        return False
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    if name in ("read_text", "write_text"):
        return isinstance(function, ast.Attribute) and ast.unparse(function.value) != "notebooks"
    if name in ("run", "Popen", "check_output"):
        return "text" in given
    if name != "open" or ast.unparse(function).split(".")[0] in (
        "av",
        "Image",
        "zipfile",
        "archive",
        "source",
    ):
        return False
    place = 0 if isinstance(function, ast.Attribute) else 1  # path.open(mode), open(path, mode)
    mode = given.get("mode", call.args[place] if len(call.args) > place else ast.Constant("r"))
    return isinstance(mode, ast.Constant) and "b" not in str(mode.value)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_text_file_names_its_encoding(path):
    lines = [call.lineno for call in calls(path) if text_without_encoding(call)]
    assert lines == [], f'{path}: write encoding="utf-8" in lines {lines}'


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("open(p)", True),
        ("open(p, 'w')", True),
        ("p.open()", True),
        ("p.read_text()", True),
        ("subprocess.run(c, text=True)", True),
        ("open(p, 'rb')", False),
        ("p.open(mode='wb')", False),
        ("p.write_text(t, encoding='utf-8')", False),
        ("subprocess.run(c)", False),
    ],
)
def test_a_missing_encoding_is_found(line, wrong):
    assert text_without_encoding(ast.parse(line).body[0].value) == wrong


# ---- names that Windows can hold --------------------------------------------------------------------------

RESERVED = re.compile(r"(?i)^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")


def impossible(path: str) -> bool:
    """A path that Windows cannot check out."""
    parts = path.split("/")
    return any(re.search(r'[<>:"\\|?*]|[ .]$', part) or RESERVED.match(part) for part in parts)


def test_windows_can_check_out_every_file():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, encoding="utf-8")
    if listed.returncode:
        pytest.skip("not a clone of the repository")
    paths = listed.stdout.splitlines()
    assert len(paths) > 100 and [path for path in paths if impossible(path)] == []
    assert len({path.lower() for path in paths}) == len(paths)  # a.py and A.py would be one file
    assert impossible("a/what?.md") and impossible("aux.py") and not impossible("data/clips.py")


# ---- calls that only POSIX has ----------------------------------------------------------------------------

POSIX = (
    "os.fork",
    "os.getuid",
    "os.geteuid",
    "os.sync",
    "os.killpg",
    "os.mkfifo",
    "signal.SIGKILL",
    "signal.alarm",
)
POSIX_MODULES = {"fcntl", "resource", "pwd", "grp", "termios"}


def imported(tree: ast.AST) -> set[str]:
    """What is imported whatever the system: not in a ``try`` that expects an ImportError."""
    found = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        elif not (isinstance(node, ast.Try) and "ImportError" in map(ast.unparse, _expected(node))):
            found |= imported(node)
    return found


def _expected(node: ast.Try) -> list[ast.expr]:
    return [handler.type for handler in node.handlers if handler.type is not None]


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if "tests" not in p.relative_to(ROOT).parts], ids=lambda path: path.stem
)
def test_no_call_that_only_posix_has(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert used & set(POSIX) == set()
    assert imported(tree) & POSIX_MODULES == set()


@pytest.mark.parametrize(
    ("lines", "wrong"),
    [
        ("import fcntl", True),
        ("from fcntl import flock", True),
        ("def f():\n    import fcntl", True),
        ("try:\n    import fcntl\nexcept OSError:\n    fcntl = None", True),
        ("try:\n    import fcntl\nexcept ImportError:\n    fcntl = None", False),
    ],
)
def test_a_module_that_only_posix_has_is_found(lines, wrong):
    assert bool(imported(ast.parse(lines)) & POSIX_MODULES) == wrong


# ---- files -------------------------------------------------------------------------------------------------


@pytest.fixture
def windows(monkeypatch):
    """os.fsync as on Windows, which refuses a file that is open for reading only."""
    if sys.platform == "win32":
        return
    import fcntl

    flush = os.fsync

    def fsync(file: int) -> None:
        if fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        flush(file)

    monkeypatch.setattr(os, "fsync", fsync)


def test_files_are_written_where_flushing_needs_the_right_to_write(windows, tmp_path):
    with atomic(tmp_path / "a.txt") as part:
        part.write_text("whole", encoding="utf-8")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "whole"
    frames = np.zeros((4, 32, 32, 3), np.uint8)
    write_video(tmp_path / "a.mp4", frames)
    write_gif(tmp_path / "a.gif", frames)
    assert len(read_video(tmp_path / "a.mp4")) == 4 and len(list(tmp_path.iterdir())) == 3


def test_the_stand_in_refuses_as_windows_does(windows, tmp_path):
    (tmp_path / "a").write_bytes(b"")
    with open(tmp_path / "a", "rb") as file, pytest.raises(OSError):
        os.fsync(file.fileno())


# ---- processes start afresh (macOS and Windows have no fork) ----------------------------------------------


def test_work_is_sent_to_fresh_processes(monkeypatch):
    """What ``prepare`` sends to its workers can be pickled, and no module needs what its parent had done."""
    from lessons.data.grid.prepare import Job, prepare_clip

    fields = {
        name: Path("none") if "Path" in str(kind) else "s1" for name, kind in Job.__annotations__.items()
    }
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        report = pool.submit(prepare_clip, Job(**fields)).result()
    assert report.note
