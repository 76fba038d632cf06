"""Files are written whole, into folders that were tried first, by one process at a time."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lessons import files
from lessons.files import atomic, check_writable, claim, no_file, write_csv, write_json

ROOT = Path(__file__).resolve().parents[2]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(OSError, match=r"kept\.txt"), atomic(path) as part:
        part.write_text("half of the new", encoding="utf-8")
        raise OSError(28, "No space left on device")
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"] and path.read_text(encoding="utf-8") == "old"


def test_tables_and_json_come_back(tmp_path):
    write_csv(tmp_path / "a" / "t.csv", ("x", "y"), [{"x": 1, "y": math.nan}, {"x": "two, 2", "y": 0.5}])
    assert (tmp_path / "a" / "t.csv").read_bytes() == b'x,y\n1,\n"two, 2",0.5\n'
    write_json(tmp_path / "t.json", {"φ": [1, 2]})
    text = (tmp_path / "t.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"φ": [1, 2]} and text.endswith("\n")


def unwritable(tmp_path: Path, kind: str) -> Path:
    """A path below which nothing can be written."""
    if kind == "is a file":
        (tmp_path / "file").write_bytes(b"kept")
        return tmp_path / "file"
    if kind == "below a file":
        (tmp_path / "file").write_bytes(b"kept")
        return tmp_path / "file" / "deeper" / "out"
    if not hasattr(os, "geteuid") or os.geteuid() == 0:
        pytest.skip("the rights of a folder do not bind this user")
    (tmp_path / "locked").mkdir(mode=0o500)
    return tmp_path / "locked" / ("out" if kind == "below a read-only folder" else "")


KINDS = ("is a file", "below a file", "read-only", "below a read-only folder")


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_that_takes_nothing_is_found_at_once(tmp_path, kind):
    out = unwritable(tmp_path, kind)
    with pytest.raises(OSError, match="could not write") as caught, claim(out):
        raise AssertionError("never reached")
    assert caught.value.filename == str(out)
    with pytest.raises(OSError, match="could not write") as caught:
        check_writable(out / "table.csv")
    assert caught.value.filename == str(out / "table.csv")
    if "file" in kind.split():
        assert (tmp_path / "file").read_bytes() == b"kept"


def test_a_file_that_is_a_folder_is_found_at_once(tmp_path):
    (tmp_path / "table.csv").mkdir()
    with pytest.raises(IsADirectoryError, match=r"it is a folder.*table\.csv"):
        check_writable(tmp_path / "table.csv")


@pytest.mark.parametrize("name", ["file/a.csv", "file/below/a.csv"])
def test_a_file_where_a_folder_is_expected_is_named(tmp_path, name):
    (tmp_path / "file").write_bytes(b"kept")
    with pytest.raises(NotADirectoryError, match=r"could not write: .*file is a file, expected a folder"):
        check_writable(tmp_path / name)


@pytest.mark.skipif(os.name == "nt", reason="no pipes")
def test_what_is_no_file_is_named(tmp_path):
    made = {"folder": os.mkdir, "pipe": os.mkfifo}
    links = {"loop": "loop", "link": "nowhere"}
    for name, make in made.items():
        make(tmp_path / name)
    for name, to in links.items():
        (tmp_path / name).symlink_to(to)
    expected = {
        "folder": "is a folder",
        "pipe": "is a pipe",
        "loop": "is a link that leads to itself",
        "link": "is a link to nowhere, which is missing",
        "none": "no such file",
    }
    assert {name: no_file(tmp_path / name) for name in expected} == expected
    assert no_file("") == "the name is empty" and no_file("/dev/null") == "is no regular file"


def test_trying_a_path_leaves_nothing(tmp_path):
    (tmp_path / "old.csv").write_bytes(b"kept")
    for name in ("old.csv", "new.csv"):
        check_writable(tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == ["old.csv"]
    assert (tmp_path / "old.csv").read_bytes() == b"kept"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device that is always full")
def test_a_full_disk_is_found_at_once(tmp_path):
    (tmp_path / ".lock").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"), claim(tmp_path):
        raise AssertionError("never reached")
    assert list(tmp_path.iterdir()) == [] and os.path.exists("/dev/full")


def test_one_folder_has_one_owner(tmp_path):
    with claim(tmp_path), claim(tmp_path / "other"):
        with pytest.raises(OSError, match="another run is writing there; wait for it, or choose"):
            with claim(tmp_path):
                raise AssertionError("never reached")
        assert (tmp_path / "other").is_dir()
    assert [p.name for p in tmp_path.rglob("*")] == ["other"]
    with pytest.raises(KeyError), claim(tmp_path):
        raise KeyError("whatever ends the block")
    with claim(tmp_path):
        pass


def test_the_lock_dies_with_its_process(tmp_path):
    code = (
        "import sys, time\nfrom lessons.files import claim\n"
        "with claim(sys.argv[1]):\n    print('claimed', flush=True)\n    time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as other:
        try:
            assert other.stdout.readline().strip() == b"claimed"
            with pytest.raises(OSError, match="another run"), claim(tmp_path):
                raise AssertionError("never reached")
            assert other.poll() is None
        finally:
            other.kill()  # nothing of its own runs any more
    with claim(tmp_path):
        pass


def test_a_file_system_without_locks_is_no_hindrance(tmp_path, monkeypatch):
    def flock(file, kind):
        raise OSError(errno.ENOSYS, "Function not implemented")

    if files.fcntl is None:
        pytest.skip("no fcntl here")
    monkeypatch.setattr(files.fcntl, "flock", flock)
    with claim(tmp_path):
        pass


def test_windows_locks_by_its_own_call(tmp_path, monkeypatch):
    class Stand:  # in place of msvcrt
        LK_NBLCK, held = 2, False

        @staticmethod
        def locking(handle, kind, n_bytes):
            assert os.lseek(handle, 0, os.SEEK_CUR) == 0 and (kind, n_bytes) == (2, 1)
            if Stand.held:
                raise PermissionError(errno.EACCES, "Permission denied")
            Stand.held = True

    monkeypatch.setattr(files, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", Stand)
    with claim(tmp_path):
        with pytest.raises(OSError, match="another run"), claim(tmp_path):
            raise AssertionError("never reached")
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_left_half_written_is_removed(tmp_path):
    left = [".last.123.part.pt", ".model.77.part.safetensors", ".log.5.part.csv", ".log.5.part"]
    kept = ["last.pt", "log.csv", "part.txt", "my.part.csv", ".hidden"]
    for name in left + kept:
        (tmp_path / name).write_bytes(b"half")
    with claim(tmp_path):
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*kept, ".lock"])


@pytest.mark.skipif(os.name == "nt", reason="no signals")
def test_a_killed_writing_is_cleared_away(tmp_path):
    code = (
        "import sys, time\nfrom lessons.files import atomic\n"
        "with atomic(sys.argv[1] + '/last.pt') as part:\n"
        "    part.write_bytes(b'half')\n    print('half', flush=True)\n    time.sleep(60)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as other:
        other.stdout.readline()
        other.send_signal(signal.SIGKILL)
    assert len(list(tmp_path.iterdir())) == 1
    with claim(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
