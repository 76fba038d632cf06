"""What the tests of all exercises share. Functions come out of the notebooks: what is shown is tested."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
import torch

from lessons.checks import MODULES, check
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


def answer_tests(
    number: str, wrong: dict[str, list[tuple[str, Callable, str]]], right: dict[str, list[Callable]]
) -> type:
    """The tests that the checks of every notebook have, to be collected as ``TestAnswers``.

    Args:
        number: the notebook, such as "02".
        wrong: exercise -> [(what is wrong, function, pattern of the message)], ten or more each.
        right: exercise -> [right answers in other styles than the solution's], five or more each.
    """

    class TestAnswers:
        @pytest.mark.parametrize(
            ("exercise", "function", "message"),
            [
                pytest.param(exercise, function, message, id=f"{exercise}: {name}")
                for exercise, those in wrong.items()
                for name, function, message in those
            ],
        )
        def test_a_wrong_answer_is_told_where_to_look(self, exercise, function, message):
            torch.manual_seed(0)
            with pytest.raises(AssertionError, match=message):
                check(f"{number}.{exercise}", function)

        @pytest.mark.parametrize(
            ("exercise", "function"),
            [
                pytest.param(exercise, function, id=f"{exercise}: {i}")
                for exercise, those in right.items()
                for i, function in enumerate(those)
            ],
        )
        def test_a_right_answer_in_another_style_passes(self, exercise, function, capsys):
            torch.manual_seed(0)
            check(f"{number}.{exercise}", function)
            assert capsys.readouterr().out == f"{number}.{exercise}: correct\n"

        def test_every_exercise_is_tried_with_ten_wrong_answers_and_five_right_ones(self):
            exercises = import_module(f"lessons.checks.{MODULES[number]}").CHECKS.keys()
            for what, answers, least in (("wrong", wrong, 10), ("right", right, 5)):
                assert answers.keys() == exercises, f"{what} answers to {list(answers)}"
                few = [exercise for exercise, those in answers.items() if len(those) < least]
                assert not few, f"fewer than {least} {what} answers to {few}"

    return TestAnswers


def sizes_that_never_vary(exercise: Exercise) -> list[str]:
    """The dimensions of a tensor argument that are the same in all cases: a bug there would pass."""
    sizes = defaultdict(set)
    for case in exercise.cases():
        for path, tensor in tensors(case.arguments):
            for axis, size in enumerate(tensor.shape):
                sizes[path, axis].add(size)
    return [f"argument {path}, axis {axis}" for (path, axis), seen in sizes.items() if len(seen) == 1]
