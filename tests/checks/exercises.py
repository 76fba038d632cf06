"""What the tests of all exercises share. Functions come out of the notebooks: what is shown is tested."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from lessons.checks.battery import Exercise, tensors

SOURCES = Path(__file__).resolve().parents[2] / "notebooks" / "src"


@cache
def source(number: str) -> str:
    """The source of notebook ``number``, "02"."""
    (path,) = SOURCES.glob(f"{number}_*.py")
    return path.read_text(encoding="utf-8")


def from_notebook(number: str, function: str) -> Callable:
    """The function of this name in notebook ``number``; it knows what its notebook imports."""
    text = source(number)
    cells = re.split(r"^# %%.*$", text, flags=re.M)
    found = [cell for cell in cells if re.search(rf"^def {function}\(", cell, flags=re.M)]
    assert len(found) == 1, f"notebook {number}: {len(found)} cells define {function}, expected one"
    imports = [node for node in ast.parse(text).body if isinstance(node, (ast.Import, ast.ImportFrom))]
    names: dict = {}
    exec(compile(ast.Module(imports, type_ignores=[]), f"imports of notebook {number}", "exec"), names)
    names["check"] = lambda name, function: None  # what a cell checks is checked by the test
    names["use"] = lambda name, yours, solution: solution
    exec(found[0], names)
    return names[function]


def each_wrong_answer(answers: dict[str, list[tuple[str, Callable, str]]]) -> pytest.MarkDecorator:
    """Run a test with each (exercise, wrong, message) of exercise -> [(what is wrong, function, message)]."""
    return pytest.mark.parametrize(
        ("exercise", "wrong", "message"),
        [
            pytest.param(exercise, function, message, id=f"{exercise}: {name}")
            for exercise, those in answers.items()
            for name, function, message in those
        ],
    )


def each_right_answer(answers: dict[str, list[Callable]]) -> pytest.MarkDecorator:
    """Run a test with each (exercise, function) of exercise -> [right answers in other styles]."""
    return pytest.mark.parametrize(
        ("exercise", "function"),
        [
            pytest.param(exercise, function, id=f"{exercise}: {i}")
            for exercise, those in answers.items()
            for i, function in enumerate(those)
        ],
    )


def sizes_that_never_vary(exercise: Exercise) -> list[str]:
    """The dimensions of a tensor argument that are the same in all cases: a bug there would pass."""
    sizes = defaultdict(set)
    for case in exercise.cases():
        for path, tensor in tensors(case.arguments):
            for axis, size in enumerate(tensor.shape):
                sizes[path, axis].add(size)
    return [f"argument {path}, axis {axis}" for (path, axis), seen in sizes.items() if len(seen) == 1]
