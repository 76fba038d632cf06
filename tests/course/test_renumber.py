"""A notebook gets another number or name, everywhere and nowhere else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tools import renumber
from tools.renumber import RenumberError, Rewriter, existing, in_order, plan_gap, plan_move, remarks

SLUGS = {0: "start", 1: "tensors", 8: "train", 9: "bottleneck", 10: "conv_lstm", 11: "capstone", 12: "new"}
INSERT = plan_move(SLUGS, "12_new", "09")  # 09 -> 10, 10 -> 11, 11 -> 12, 12 -> 09
NOTEBOOK = "notebooks/src/08_train.py"


def rewritten(text: str, path: str = NOTEBOOK, plan: renumber.Plan = INSERT) -> str:
    return Rewriter(plan).rewritten(text, path)


# What becomes of the numbers


@pytest.mark.parametrize(
    ("name", "target", "moved"),
    [
        ("12_new", "09", {9: 10, 10: 11, 11: 12, 12: 9}),
        ("12_new", "00", {0: 1, 1: 2, 8: 9, 9: 10, 10: 11, 11: 12, 12: 0}),
        ("08_train", "11", {8: 11, 9: 8, 10: 9, 11: 10}),
        ("10_conv_lstm", "09", {10: 9, 9: 10}),
        ("10_conv_lstm", "10", {}),
        ("10_conv_lstm", "10_other", {}),
    ],
)
def test_a_notebook_moves_and_those_between_make_room(name, target, moved):
    numbers = plan_move(SLUGS, name, target).numbers
    assert {old: new for old, new in numbers.items() if old != new} == moved
    assert len(set(numbers.values())) == len(SLUGS)


def test_a_number_is_made_free():
    numbers = plan_gap(SLUGS, "09").numbers
    assert numbers == {0: 0, 1: 1, 8: 8, 9: 10, 10: 11, 11: 12, 12: 13}


@pytest.mark.parametrize("target", ["other", "10_other"])
def test_a_notebook_gets_another_name(target):
    plan = plan_move(SLUGS, "10_conv_lstm", target)
    assert plan.renamed == {"conv_lstm": "other"} and all(a == b for a, b in plan.numbers.items())


@pytest.mark.parametrize(
    ("name", "target", "message"),
    [
        ("12_old", "09", "notebook '12_old': expected one of 00_start, .*12_new, committed"),
        ("09_new", "09", "notebook '09_new': expected one of"),
        ("12_new", "13", "target '13': expected a number up to 12"),
        ("12_new", "9", "target '9': expected NN, NN_name or name"),
        ("12_new", "", "target '': expected"),
        ("12_new", "09_", "target '09_': expected"),
        ("12_new", "09_Two Words", "target '09_Two Words': expected"),
        ("12_new", "09_train", "target '09_train': another notebook is called train"),
    ],
)
def test_what_cannot_be_done_is_named(name, target, message):
    with pytest.raises(RenumberError, match=message):
        plan_move(SLUGS, name, target)


@pytest.mark.parametrize("free", ["13", "9", "x", "07"])
def test_only_a_number_in_use_is_made_free(free):
    with pytest.raises(RenumberError, match="expected a notebook's number"):
        plan_gap(SLUGS, free)


def test_two_notebooks_of_one_number_are_refused():
    with pytest.raises(RenumberError, match="number 09: found a and b, expected one"):
        existing(["notebooks/src/09_a.py", "README.md", "notebooks/src/09_b.py"])


# Which numbers are notebooks'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("as notebook 09 says", "as notebook 10 says"),
        ("Notebook 10's cell, of notebook 11.", "Notebook 11's cell, of notebook 12."),
        ("# In notebook\n# 09, (notebook 10, section 11)", "# In notebook\n# 10, (notebook 11, section 11)"),
        ("notebooks 08 and 09", "notebooks 08 and 10"),
        ("notebooks 08, 09 and 10, and 11 frames", "notebooks 08, 10 and 11, and 11 frames"),
        ("notebooks 01, 09, and 10", "notebooks 01, 10, and 11"),
        ("notebooks 09 to 11", "notebooks 10 to 12"),
        ("notebooks 08–10, 09-11", "notebooks 08–11, 10-12"),
        ("# Notebooks 08\n# or 09", "# Notebooks 08\n# or 10"),
        ("notebook **09**, notebook `10`", "notebook **10**, notebook `11`"),
        ("def test_notebook_11_keeps():", "def test_notebook_12_keeps():"),
        ("notebooks/09_bottleneck.ipynb", "notebooks/10_bottleneck.ipynb"),
        ('lessons.setup("10_conv_lstm")', 'lessons.setup("11_conv_lstm")'),
        (r"10_conv_lstm\.py", r"11_conv_lstm\.py"),
        ("[09](../notebooks/09_bottleneck.ipynb)", "[10](../notebooks/10_bottleneck.ipynb)"),
        ("*From notebook [09]", "*From notebook [10]"),
        ("# # 09 · The bottleneck", "# # 10 · The bottleneck"),
        ("(09 §3) and (10, section 2)", "(10 §3) and (11, section 2)"),
        ('check("09.fold", fold)', 'check("10.fold", fold)'),
        ('check(f"10.{exercise}", wrong)', 'check(f"11.{exercise}", wrong)'),
        ('from_notebook("11", "fold_solution")', 'from_notebook("12", "fold_solution")'),
        ('answer_tests("09", WRONG, RIGHT)', 'answer_tests("10", WRONG, RIGHT)'),
        ('STARTS = "00, 09, 11"', 'STARTS = "00, 10, 12"'),
        ('main(["build", "10"])', 'main(["build", "11"])'),
        ('make browser ONLY="00 09 11"; ONLY=10', 'make browser ONLY="00 10 12"; ONLY=11'),
        ("python -m tools.tests --only 09", "python -m tools.tests --only 10"),
        ("python -m tools.browser 08 09  those that begin with 08 or 09",
         "python -m tools.browser 08 10  those that begin with 08 or 10"),
        ("python -m tools.notebooks build 10 --python x", "python -m tools.notebooks build 11 --python x"),
        ("beginning of a name, such as 09; default all", "beginning of a name, such as 10; default all"),
        ('Notebook(9, "bottleneck", "9", 1), Notebook(\n    12, "new", "x", 9)',
         'Notebook(10, "bottleneck", "9", 1), Notebook(\n    9, "new", "x", 9)'),
        ('{"10": "conv_lstm", "11": "capstone"}', '{"11": "conv_lstm", "12": "capstone"}'),
        ("# **You need**: gates (notebook 08),\n# LipNet (09), a state (10 and 11).\n#\n# (10)",
         "# **You need**: gates (notebook 08),\n# LipNet (10), a state (11 and 12).\n#\n# (10)"),
        ("# | what | notebook |\n# |---|---|\n# | 10 seconds | 09, 10 |\n# | x | 11 |\n\n| 10 | x |",
         "# | what | notebook |\n# |---|---|\n# | 10 seconds | 10, 11 |\n# | x | 12 |\n\n| 10 | x |"),
    ],
)  # fmt: skip
def test_every_form_is_rewritten_once(text, expected):
    assert rewritten(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "frames 09 to 11, section 10, 12 notebooks",
        "notebook 10% or notebook 10.5",
        "notebook 99, notebooks 20 to 30, notebook 109",
        "00:09:10,110 on 2026-11-09, 09-0000",
        "torch 2.10, 1e-10, 0.09, v1.09, x09, 09x",
        'label="12", ["10", "20"], "10.5", "09:30.mp4", "12.mp4", "10. the constant", "10, 24"',
        "11_train, 09_conv_lstm, 10_conv_lstm_old, x10_conv_lstm",
        'Notebook(9, "train", 1), {"10": "capstone"}',
        "| 10 | 11 |\n| 09, 10 | x |",
        "LipNet (10), Neural Computation 12(10)",
        "lessons.layers.conv_lstm, lessons/checks/tools.py",
        "build 10 layers, such as 10 frames",
    ],
)
def test_what_looks_alike_stays(text):
    assert rewritten(text) == text


def test_a_table_of_parts_is_the_capstones_own():
    text = '("find", "head", "12"), ("read: GRU", "09", 10), label("12"), ("say", "12")'
    expected = '("find", "head", "09"), ("read: GRU", "10", 10), label("12"), ("say", "12")'
    assert rewritten(text, "notebooks/src/11_capstone.py") == expected
    assert rewritten(text, "lessons/figures/x.py") == text.replace('"09"', '"10"')


def test_a_new_name_reaches_the_checks_and_nothing_else():
    plan = plan_move(SLUGS, "10_conv_lstm", "09_maps")
    text = (
        "from lessons.checks.conv_lstm import CHECKS  # lessons/checks/conv_lstm.py, test_checks_conv_lstm\n"
        "from lessons.layers.conv_lstm import ConvLSTM  # test_conv_lstm\n"
        '{"09": "bottleneck", "10": "conv_lstm"}, Notebook(10, "conv_lstm"), "10_conv_lstm"\n'
    )
    expected = (
        "from lessons.checks.maps import CHECKS  # lessons/checks/maps.py, test_checks_maps\n"
        "from lessons.layers.conv_lstm import ConvLSTM  # test_conv_lstm\n"
        '{"10": "bottleneck", "09": "maps"}, Notebook(9, "maps"), "09_maps"\n'
    )
    assert rewritten(text, "lessons/x.py", plan) == expected


# Lists in order


def test_entries_are_sorted_with_the_comments_above_them():
    source = 'LIST: tuple = (\n    N(2, "b"),\n    # of a\n    N(\n        1, "a"\n    ),\n)\nAFTER = 1\n'
    assert in_order(source, "LIST") == (
        'LIST: tuple = (\n    # of a\n    N(\n        1, "a"\n    ),\n    N(2, "b"),\n)\nAFTER = 1\n'
    )
    assert (
        in_order('D = {\n    "10": "x",\n    "09": "y",\n}\n', "D")
        == 'D = {\n    "09": "y",\n    "10": "x",\n}\n'
    )


def test_entries_that_cannot_be_sorted_are_refused():
    with pytest.raises(RenumberError, match="one entry per line"):
        in_order('D = {"10": "x", "09": "y"}\n', "D")
    with pytest.raises(RenumberError, match="D: found no such list"):
        in_order("E = 1\n", "D")


# What only a person can decide


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "# **Next**: notebook 09 leaves the lips.",
            "08_train.py:1: the next notebook is 09\n    # **Next**: notebook 10",
        ),
        ("\nas notebook 12 shows", None),
        ("notebooks 08 to 10", "these were other notebooks before\n    notebooks 08 to 11"),
        ("notebooks 09 to 11", None),
        ("zip(COURSE, short)", "depends on the order"),
        ("as the previous notebook said", "depends on the order"),
        ("there is no notebook 13", "there was no notebook 13"),
        ("paths 11, 01, 10", "left alone"),
        ("notebook 01", None),
    ],
)
def test_what_a_person_must_look_at_is_said(text, sentence):
    found = list(remarks(text, NOTEBOOK, Rewriter(INSERT)))
    assert (sentence is None and found == []) or (len(found) == 1 and sentence in found[0])


def test_a_reference_that_turns_around_is_said():
    found = list(remarks("from\nnotebook 12", "notebooks/src/10_conv_lstm.py", Rewriter(INSERT)))
    assert found == ["notebooks/src/11_conv_lstm.py:2: notebook 09 comes earlier now\n    notebook 09"]


# A repository

FILES = {
    "notebooks/src/08_a.py": '# # 08 · A\n# **Next**: notebook 09.\ncheck("08.f", f)\n',
    "notebooks/src/09_b.py": '# # 09 · B\n# **Next**: notebook 10.\ncheck("09.f", f)\n',
    "notebooks/src/10_c.py": "# # 10 · C\n# as in notebook 09, on 10 frames\n",
    "notebooks/08_a.ipynb": "{}",
    "notebooks/09_b.ipynb": '{"outputs": "notebook 09"}',
    "notebooks/10_c.ipynb": '{"outputs": "notebook 10"}',
    "lessons/course.py": (
        'COURSE = (\n    Notebook(8, "a"),\n    Notebook(9, "b"),\n    Notebook(10, "c"),\n)\n'
    ),
    "lessons/checks/__init__.py": 'MODULES = {\n    "08": "a",\n    "09": "b",\n    "10": "c",\n}\n',
    "lessons/checks/c.py": '"""Checks of notebook 10."""\n',
    "tests/checks/test_checks_c.py": "from lessons.checks.c import CHECKS\n",
    "tools/renumber.py": "notebook 09\n",
    "README.md": "| # | notebook |\r\n|---|---|\r\n| 09 | [B](notebooks/09_b.ipynb) |\r\n",
    "picture.png": b"\x89PNG notebook 09 \xff",
}


def git(root: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "core.autocrlf=false")
    return subprocess.run(
        ["git", *identity, *arguments], cwd=root, check=True, capture_output=True, text=True, encoding="utf-8"
    ).stdout


@pytest.fixture
def repository(tmp_path) -> Path:
    """A course of three notebooks, committed."""
    for path, content in FILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content if isinstance(content, bytes) else content.encode())
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "all")
    return tmp_path


def everything(root: Path) -> dict[str, bytes]:
    return {path: (root / path).read_bytes() for path in git(root, "ls-files").split()}


def test_the_last_notebook_is_put_in_the_middle(repository, capsys):
    assert renumber.main(["10_c", "09"], repository) == 0
    found = everything(repository)
    assert found["notebooks/src/09_c.py"].decode() == "# # 09 · C\n# as in notebook 10, on 10 frames\n"
    assert (
        found["notebooks/src/10_b.py"].decode() == '# # 10 · B\n# **Next**: notebook 09.\ncheck("10.f", f)\n'
    )
    # what a notebook has printed is for the builder to renew
    assert found["notebooks/10_b.ipynb"] == FILES["notebooks/09_b.ipynb"].encode()
    assert found["notebooks/09_c.ipynb"] == FILES["notebooks/10_c.ipynb"].encode()
    course = 'COURSE = (\n    Notebook(8, "a"),\n    Notebook(9, "c"),\n    Notebook(10, "b"),\n)\n'
    assert found["lessons/course.py"].decode() == course
    assert found["lessons/checks/__init__.py"].decode() == FILES["lessons/checks/__init__.py"].replace(
        '"09": "b",\n    "10": "c"', '"09": "c",\n    "10": "b"'
    )
    assert found["README.md"].decode() == FILES["README.md"].replace("09", "10")
    assert found["picture.png"] == FILES["picture.png"] and found["tools/renumber.py"] == b"notebook 09\n"
    assert len(found) == len(FILES) and not any("09_b" in path or "10_c" in path for path in found)
    printed = capsys.readouterr().out
    assert "notebooks/src/08_a.py:2: the next notebook is 09" in printed
    assert "notebooks/src/09_c.py:2: notebook 10 comes later now" in printed


def test_there_and_back_changes_nothing(repository):
    before = everything(repository)
    assert renumber.main(["10_c", "08_d"], repository) == 0
    assert "lessons/checks/d.py" in everything(repository)
    git(repository, "commit", "--quiet", "--all", "--message", "moved")
    assert renumber.main(["08_d", "10_c"], repository) == 0
    assert everything(repository) == before


def test_a_gap_is_left_for_a_notebook_to_be_written(repository):
    assert renumber.main(["--free", "09"], repository) == 0
    assert [path for path in everything(repository) if path.startswith("notebooks/src")] == [
        "notebooks/src/08_a.py", "notebooks/src/10_b.py", "notebooks/src/11_c.py"
    ]  # fmt: skip


def test_a_dry_run_prints_the_lines_and_writes_nothing(repository, capsys):
    before = everything(repository)
    assert renumber.main(["10_c", "09", "--dry"], repository) == 0
    assert everything(repository) == before
    printed = capsys.readouterr().out
    assert "notebooks/src/10_c.py:1\n    - # # 10 · C\n    + # # 09 · C\n" in printed
    assert "notebooks/10_c.ipynb -> notebooks/09_c.ipynb" in printed


def test_changes_that_are_not_committed_stop_it(repository, capsys):
    (repository / "README.md").write_text("notebook 09", encoding="utf-8")
    assert renumber.main(["10_c", "09"], repository) == 1
    assert "not committed" in capsys.readouterr().err
    assert (repository / "notebooks/10_c.ipynb").exists()


def test_a_file_in_the_way_stops_it(repository, capsys):
    (repository / "lessons/checks/d.py").write_text("", encoding="utf-8")
    before = everything(repository)
    assert renumber.main(["10_c", "d"], repository) == 1
    assert "lessons/checks/c.py: cannot become lessons/checks/d.py" in capsys.readouterr().err
    assert everything(repository) == before


@pytest.mark.parametrize(
    "arguments", [[], ["10_c"], ["10_c", "09", "--free", "09"], ["10_c", "--free", "09"]]
)
def test_arguments_that_do_not_go_together(arguments, repository):
    with pytest.raises(SystemExit):
        renumber.main(arguments, repository)


def test_this_course_has_what_the_tool_looks_for():
    paths = renumber.git(renumber.ROOT, "ls-files", "-z").split("\0")
    slugs = existing(paths)
    assert 0 in slugs and set(renumber.ORDERED) <= set(paths)
    for path, variable in renumber.ORDERED.items():
        text = (renumber.ROOT / path).read_text(encoding="utf-8")
        assert in_order(text, variable) == text
        for number, slug in slugs.items():
            plan = plan_move(slugs, f"{number:02d}_{slug}", "00")
            assert (Rewriter(plan).rewritten(text, path) == text) == (number == 0), (path, slug)
