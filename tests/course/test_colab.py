"""The set-up cell in Colab, played offline.

A stub takes Colab's place: a virtual environment that already has torch, a kernel that has imported
`google.colab`, and a git that finds the repository's public address in a local clone. Only the network, and
with it the download of missing packages, is not played.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tools import notebooks

NAME = "00_start_here"
# What the stub runs after the set-up cell, to tell us what it found.
REPORT = """
import json, os, lessons, torch
found = {"lessons": lessons.__file__, "torch": torch.__file__, "version": torch.__version__}
with open(os.environ["REPORT"], "w") as file:
    json.dump(found, file)
"""
# IPython without the kernel's sockets: it knows %pip as Colab's kernel does.
RUN_CELLS = """
import os, sys
import google.colab
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for path in sys.argv[1:]:
    with open(path) as file:
        shell.run_cell(file.read(), store_history=False).raise_error()
"""


def git(*arguments: str, cwd: Path) -> None:
    who = ["-c", "user.name=nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=cwd, check=True, capture_output=True)


@pytest.fixture(scope="module")
def origin(tmp_path_factory) -> Path:
    """A git repository with the package as it stands in the working tree."""
    folder = tmp_path_factory.mktemp("origin")
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(notebooks.ROOT / "lessons", folder / "lessons", ignore=ignored)
    for file in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-TEXT"):
        shutil.copy(notebooks.ROOT / file, folder / file)
    git("init", "-q", cwd=folder)
    git("add", ".", cwd=folder)
    git("commit", "-qm", "as it stands", cwd=folder)
    return folder


@pytest.fixture(scope="module")
def colab(tmp_path_factory, origin) -> tuple[Path, dict[str, str]]:
    """Python of a stub of Colab, and the environment variables to run it in."""
    home = tmp_path_factory.mktemp("home")
    stub = home / "stub" / "google" / "colab"
    stub.mkdir(parents=True)
    (stub / "__init__.py").touch()
    environment = home / "env"
    venv.create(environment, with_pip=False, symlinks=os.name != "nt")
    binaries = "Scripts" if os.name == "nt" else "bin"
    python = environment / binaries / ("python.exe" if os.name == "nt" else "python")
    (site,) = environment.rglob("site-packages")
    # Everything that is installed here, pip, torch and setuptools included, is seen from the stub.
    (site / "ours.pth").write_text(
        "\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}), encoding="utf-8"
    )
    address = f"https://github.com/{notebooks.repository()}"
    (home / ".gitconfig").write_text(
        f'[url "{origin.as_uri()}"]\n\tinsteadOf = {address}\n', encoding="utf-8"
    )
    variables = os.environ | {
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONPATH": str(home / "stub"),
        "PIP_NO_BUILD_ISOLATION": "0",  # pip reads "0" as no isolation; setuptools is here already
        "PIP_NO_INDEX": "1",  # a package that pip would fetch is a failure
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "REPORT": str(home / "report.json"),
    }
    return python, variables


def test_setup_cell_installs_lessons_and_leaves_torch_alone(colab):
    python, variables = colab
    home = Path(variables["HOME"])
    (home / "run_cells.py").write_text(RUN_CELLS, encoding="utf-8")
    (home / "setup.py.txt").write_text(notebooks.setup_source(NAME), encoding="utf-8")
    (home / "report.py.txt").write_text(REPORT, encoding="utf-8")
    done = subprocess.run(
        [python, "run_cells.py", "setup.py.txt", "report.py.txt"],
        cwd=home, env=variables, capture_output=True, text=True, timeout=300,
     encoding="utf-8")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "· about " in done.stdout

    import torch

    report = json.loads((home / "report.json").read_text(encoding="utf-8"))
    environment = python.parent.parent
    assert Path(report["lessons"]).is_relative_to(environment)
    assert report["torch"] == torch.__file__ and report["version"] == torch.__version__
    installed = {path.name.split("-")[0] for path in environment.rglob("*.dist-info")}
    assert installed == {"how_machines_read_video"}


def test_weights_and_subpackages_are_installed(colab):
    """What git holds of lessons is what the installed package holds: data files included."""
    python, _ = colab
    (lessons,) = python.parent.parent.rglob("site-packages/lessons")
    for path in (notebooks.ROOT / "lessons").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert (lessons / path.relative_to(notebooks.ROOT / "lessons")).exists(), path


def test_outside_colab_the_cell_installs_nothing():
    source = notebooks.setup_source(NAME)
    guarded = source[source.index("if ") : source.index("import lessons")]
    assert guarded.count("%pip") == source.count("%pip") == 1
    assert "google.colab" not in sys.modules
