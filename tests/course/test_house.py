"""The house stays in order: who imports whom, what is installed, and nothing that runs code from a file."""

from __future__ import annotations

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from lessons.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "lessons").rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}

# Imports

# room -> the rooms that it may import besides itself and the files at the top of lessons/
MAY_IMPORT = {
    "layers": set(),
    "ctc": set(),
    "data": {"ctc"},  # letters and the grammar; no model
    "detection": {"layers", "data"},
    "lipreading": {"layers", "ctc", "data", "detection"},
    "training": {"layers", "ctc", "data", "detection", "lipreading"},
    "measure": {"layers", "ctc", "lipreading", "training"},
    "figures": set(),  # they take arrays
    "checks": {"layers", "ctc", "data", "detection", "lipreading", "measure", "training"},
    "cli": {"layers", "ctc", "data", "detection", "lipreading", "training", "measure", "figures"},
}
ALONE = {"figures"}  # not even the files at the top


def room(module: str) -> str:
    """The folder of lessons/ that a module lies in; "" for the files at the top."""
    first = module.split(".")[1] if "." in module else ""
    return first if first in MAY_IMPORT else ""


def imports(tree: ast.Module, module: str, is_package: bool) -> set[str]:
    """Full names of all that a module imports, wherever the import stands."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = module.split(".")
                parents = parents[: len(parents) - node.level + is_package]
                base = ".".join([*parents, base]).rstrip(".")
            # `from lessons import stcnn` imports the module lessons.layers.stcnn, not a name of lessons
            inner = {f"{base}.{alias.name}" for alias in node.names}
            found.update(inner & set(MODULES) or {base})
    return found


IMPORTS = {
    module: imports(tree, module, MODULES[module].name == "__init__.py") for module, tree in TREES.items()
}


def faults_in_imports(module: str, imported: set[str]) -> list[str]:
    here = room(module)
    allowed = MAY_IMPORT.get(here, set()) | {here} | (set() if here in ALONE else {""})
    return [
        f"{module} imports {name}"
        for name in sorted(imported)
        if name.split(".")[0] in ("notebooks", "tests", "tools")
        or (name.split(".")[0] == "lessons" and room(name) not in allowed)
    ]


def test_every_folder_is_a_room():
    folders = {path.name for path in (ROOT / "lessons").iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(MAY_IMPORT)


def test_imports_go_one_way():
    assert [fault for module in MODULES for fault in faults_in_imports(module, IMPORTS[module])] == []


def with_packages(name: str) -> set[str]:
    """A module and the packages around it, whose __init__ runs first."""
    parts = name.split(".")
    return {".".join(parts[:n]) for n in range(1, len(parts) + 1)}


def test_imports_make_no_circle():
    loaded = {module: set().union(*map(with_packages, found)) for module, found in IMPORTS.items()}
    inner = {
        module: {name for name in found if name in MODULES and not module.startswith(name)}
        for module, found in loaded.items()
    }
    list(graphlib.TopologicalSorter(inner).static_order())  # raises CycleError


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("lessons.data.batch", "from lessons.lipreading import lipnet"),
        ("lessons.data.grid.loading", "from ...lipreading.lipnet import LipNet"),
        ("lessons.figures.style", "import lessons.ctc"),
        ("lessons.figures.style", "import lessons.files"),
        ("lessons.ctc.loss", "def f():\n    from lessons.data import grid"),
        ("lessons.ctc.loss", "from .. import training"),
        ("lessons.layers.gru", "from lessons.ctc import ctc_loss"),
        ("lessons.checks.stcnn", "from lessons.figures import kernels"),
        ("lessons.training.lipnet", "from lessons.cli.train import run"),
        ("lessons.cli.train", "import lessons.checks"),
        ("lessons.layers.stcnn", "from tools.notebooks import build"),
        ("lessons", "from lessons.layers.stcnn import conv3d"),
    ],
)
def test_an_import_the_wrong_way_is_caught(module, line):
    assert faults_in_imports(module, imports(ast.parse(line), module, module == "lessons"))


def test_importing_lessons_is_cheap():
    code = "import sys, lessons; print([m for m in ('torch', 'numpy', 'matplotlib') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_says_what_it_is(module):
    assert ast.get_docstring(TREES[module]), f"{MODULES[module]}: no docstring"


# Short functions


def code_lines(function: ast.FunctionDef) -> int:
    """Lines of a function without its signature and its docstring."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return function.end_lineno - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("module", MODULES)
def test_no_function_is_longer_than_a_screen(module):
    functions = [node for node in ast.walk(TREES[module]) if isinstance(node, ast.FunctionDef)]
    assert [f"{f.name}: {code_lines(f)}" for f in functions if code_lines(f) > 60] == []


# Files are data, never code


def unsafe_calls(tree: ast.Module) -> list[str]:
    """Calls that could run code stored in a file."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        if name == "torch.load":
            safe = any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
            found += [] if safe else [f"line {node.lineno}: {name} without weights_only=True"]
        elif name in ("eval", "exec") or re.fullmatch(r"(pickle|dill|joblib|marshal)\.loads?", name):
            found.append(f"line {node.lineno}: {name}")
        elif any(k.arg == "allow_pickle" and ast.unparse(k.value) != "False" for k in node.keywords):
            found.append(f"line {node.lineno}: allow_pickle")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_no_code_comes_out_of_a_file(module):
    assert unsafe_calls(TREES[module]) == []


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "pickle.load(file)",
        "pickle.loads(data)",
        "np.load(path, allow_pickle=True)",
        "eval(text)",
    ],
)
def test_a_call_that_runs_code_is_caught(line):
    assert unsafe_calls(ast.parse(line))


# What is installed

RUNTIME = {canonicalize_name(r.name): r for r in map(Requirement, PROJECT["dependencies"])}
DEV = {canonicalize_name(r.name): r for r in map(Requirement, PROJECT["optional-dependencies"]["dev"])}
IMPORTED_AS = {"cv2": "opencv-python-headless", "PIL": "pillow"}
# googlecolab/backend-info, August 2026
COLAB_PYTHON = "3.13.15"
COLAB = {
    "torch": "2.11.0+cu128",
    "numpy": "2.1.3",
    "matplotlib": "3.10.0",
    "tqdm": "4.67.3",
    "ipywidgets": "7.7.1",
    "ipykernel": "6.17.1",
}


def pins(file: str) -> dict[str, Requirement]:
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    wanted = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in wanted}


def version(pin: Requirement) -> str:
    """The version of a pin "name==version"."""
    (specifier,) = pin.specifier
    assert specifier.operator == "==", pin
    return specifier.version


def test_what_lessons_imports_is_declared():
    imported = {name.split(".")[0] for found in IMPORTS.values() for name in found}
    foreign = imported - set(sys.stdlib_module_names) - {"lessons"}
    foreign -= {"IPython", "triton"}  # only where there is a kernel; only in torch for CUDA, which brings it
    assert {IMPORTED_AS.get(name, name) for name in foreign} <= set(RUNTIME)


def test_colab_is_admitted_as_it_is():
    assert SpecifierSet(PROJECT["requires-python"]).contains(COLAB_PYTHON)
    assert set(COLAB) <= set(RUNTIME) | set(DEV)
    for name, found in COLAB.items():
        assert (RUNTIME | DEV)[name].specifier.contains(found), name


def test_floors_and_no_caps():
    for requirement in (RUNTIME | DEV).values():
        operators = {specifier.operator for specifier in requirement.specifier}
        assert ">=" in operators and operators <= {">=", "!="}, requirement


def test_opencv_without_the_face_detector_is_refused():
    specifier = RUNTIME["opencv-python-headless"].specifier
    assert specifier.contains("4.14.0.94") and not specifier.contains("5.0.0.93")


def test_the_tested_set_names_and_keeps_every_floor():
    pinned = pins("constraints.txt")
    assert set(RUNTIME) | set(DEV) - {"tomli"} <= set(pinned)
    for name, requirement in (RUNTIME | DEV).items():
        if name in pinned:
            assert requirement.specifier.contains(version(pinned[name])), name


def test_the_oldest_set_is_the_floors():
    floors = {
        name: specifier.version
        for name, requirement in RUNTIME.items()
        for specifier in requirement.specifier
        if specifier.operator == ">="
    }
    assert {name: version(pin) for name, pin in pins("constraints-oldest.txt").items()} == floors


def test_conda_installs_what_pip_installs():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    assert set(environment) == {"name", "channels", "dependencies"}
    python, pip, by_pip = environment["dependencies"]
    assert python == f"python{PROJECT['requires-python']}" and pip == "pip"
    # pip's own list, so that it can't drift from pyproject.toml, at the versions of the tested set
    assert by_pip == {"pip": ["-c constraints.txt", "-e .[dev]"]}


def test_the_readme_gives_the_commands_that_are_there():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert {"lab", "test"} <= set(re.findall(r"^make ([a-z]+)", readme, flags=re.MULTILINE)) <= set(targets)
    assert '-c constraints.txt -e ".[dev]"' in readme
    for link in re.findall(r"\]\(([^)#:]+)\)", readme):
        assert (ROOT / link).exists(), f"README.md links to {link}"
    for command in re.findall(r"python -m lessons ([\w-]+)", readme):
        assert command in COMMANDS, f"README.md: python -m lessons {command}"
    assert not re.findall(r"python -m lessons\.\w+", readme)
