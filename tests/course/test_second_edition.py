"""What a notebook of the second edition keeps: sixty minutes, folded claims, the learner's own function."""

from __future__ import annotations

import ast
import re

import jupytext
import pytest

from lessons.checks import MODULES
from tools import minutes, words
from tools.notebooks import names, source_path

STATED = re.compile(
    r"^# \*Core path: about (\d+) minutes; deeper sections: about (\d+); all cells ", flags=re.M
)


def source(name: str) -> str:
    return source_path(name).read_text(encoding="utf-8")


NAMES = [name for name in names() if STATED.search(source(name))]  # the others are of the first edition


def shown_cells(name: str) -> list[str]:
    """The code that a reader sees: cells that are not folded."""
    return [
        cell.source
        for cell in jupytext.reads(source(name), fmt="py:percent").cells
        if cell.cell_type == "code" and "hide-input" not in cell.metadata.get("tags", [])
    ]


@pytest.mark.parametrize("name", NAMES)
def test_the_core_takes_an_hour_and_the_title_says_so(name):
    stated = STATED.search(source(name))
    core, deeper = (part.minutes for part in minutes.count(source(name)))
    for what, said, counted in (("core", int(stated[1]), core), ("deeper", int(stated[2]), deeper)):
        assert counted <= said <= counted + 8, f"{what}: {said} minutes said, {counted:.0f} counted"
    assert int(stated[1]) <= 60


@pytest.mark.parametrize("name", NAMES)
def test_asserts_stand_in_folded_cells(name):
    """But for those inside a function, which a reader is to read: a law, a check."""
    for cell in shown_cells(name):
        code = "\n".join("pass" if line.startswith(("%", "!")) else line for line in cell.splitlines())
        lines = [top for top in ast.parse(code).body if not isinstance(top, ast.FunctionDef | ast.ClassDef)]
        asserts = [node for top in lines for node in ast.walk(top) if isinstance(node, ast.Assert)]
        assert not asserts, f"{name}: an assert in a cell that is shown:\n{cell}"


@pytest.mark.parametrize("name", NAMES)
def test_every_exercise_goes_on_with_the_learners_function(name):
    text = source(name)
    exercises = re.findall(r'^check\("(\d\d\.\w+)"', text, flags=re.M)
    used = re.findall(r'^\w+ = use\("(\d\d\.\w+)"', text, flags=re.M)
    assert exercises and used == exercises
    assert all(exercise.startswith(name[:2]) and name[:2] in MODULES for exercise in exercises)
    for function in re.findall(r"\b(\w+)_solution\b", text):
        # Its definition and the line with use(): nothing else goes on with the solution.
        assert len(re.findall(rf"\b{function}_solution\b", text)) == 2, f"{name}: {function}_solution"


@pytest.mark.parametrize("name", NAMES)
def test_it_speaks_the_fields_language(name):
    assert list(words.found(source(name))) == []


def test_minutes_count_what_a_reader_reads():
    text = """# %% [markdown]
# # Title
# one two three
# <details><summary>Help</summary> not counted </details>
#
# ### Exercise 1 · `f` · difficulty ★☆☆ · 12 minutes

# %%
a = 1

# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
b = 2

# %% [markdown]
# ## Deeper: more
# one two

# %%
c = 3
"""
    core, deeper = minutes.count(text)
    assert (core.code_lines, core.exercises, core.exercise_minutes) == (1, 1, 12)
    assert core.code_words == 3 and core.words == 4 + 10  # the title and its line, the exercise's heading
    assert (deeper.code_lines, deeper.words) == (1, 4)
    assert core.minutes == pytest.approx(14 / 200 + 3 / 100 + 12)


def test_words_are_found_across_lines_and_excused_where_they_must_stand():
    text = "# It counts the frames\n# a second of a film.\nx = 1  # in place of y, words: ok\nfilmstrip = 2\n"
    assert [(line, said) for line, said, _ in words.found(text)] == [(1, "frames a second"), (2, "film")]


def test_every_pattern_finds_something():
    said = """film; whole number; in place of; dearer; learnt by heart; hangs on; on end; set out from;
    perfect eye; error floor; key picture; weighed; way back; has come by; trembles; loudness; safety belt;
    first weights; likeness; go it; nothing is to be; who is taken for whom; has this one to answer to;
    whoever; deviation; 25 frames a second"""
    assert len(list(words.found(said))) == len(words.WORDS)
