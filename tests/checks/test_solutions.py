"""Every exercise of every notebook: the shown solution passes its check, the stub is not solved yet."""

from __future__ import annotations

import re
from importlib import import_module

import pytest

from lessons.checks import MODULES, check
from tests.checks.exercises import from_notebook, source

EXERCISES = [
    f"{number}.{name}"
    for number, module in MODULES.items()
    for name in import_module(f"lessons.checks.{module}").CHECKS
]


@pytest.mark.parametrize("name", EXERCISES)
def test_the_shown_solution_passes_and_the_stub_is_not_solved_yet(name, capsys):
    number, _, exercise = name.partition(".")
    checked = re.findall(rf'^check\("{name}", (\w+)\)$', source(number), flags=re.M)
    used = re.findall(rf'^(\w+) = use\("{name}", (\w+), (\w+)\)$', source(number), flags=re.M)
    if used:  # the notebook goes on with the learner's function, under the name that it has
        assert len(used) == 1 and used[0][0] == used[0][1] == checked[0], used
    stub, solution = (checked[0], used[0][2]) if used else checked
    assert (stub, solution) == (exercise, f"{exercise}_solution")
    check(name, from_notebook(number, solution))
    assert capsys.readouterr().out == f"{name}: correct\n"
    check(name, from_notebook(number, stub))
    assert capsys.readouterr().out == f"{name}: not solved yet\n"


def test_every_notebook_has_exercises():
    counts = {number: sum(name.startswith(number) for name in EXERCISES) for number in MODULES}
    assert min(counts.values()) >= 2, counts
