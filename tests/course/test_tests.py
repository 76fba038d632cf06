"""`make test` finds what belongs to a notebook, fails when a test fails, and counts."""

from __future__ import annotations

from tools import tests
from tools.tests import MACHINES, environment, imported_modules, notebooks, run, unit_tests


def test_all_is_all():
    assert {path.name for path in notebooks()} == {p.name for p in (tests.ROOT / "notebooks").glob("*.ipynb")}
    assert {path.name for path in unit_tests()} == {p.name for p in (tests.ROOT / "tests").rglob("test_*.py")}


def test_one_notebook_has_the_tests_of_what_it_imports():
    assert [path.stem for path in notebooks("04")] == ["04_ctc_loss"]
    found = {path.stem for path in unit_tests("04")}
    assert {"test_checks_ctc_loss", "test_ctc_loss", "test_loss_fast"} <= found and "test_gru" not in found
    assert all(unit_tests(path.stem[:2]) for path in notebooks()), "a notebook without a test"


def test_modules_are_found_however_they_are_imported():
    source = "import torch\nfrom lessons import figures, gru\nfrom lessons.data.batch import normalize\n"
    assert {"figures", "gru", "batch"} <= imported_modules(source) and "torch" not in imported_modules(source)


def test_what_fails_is_counted(tmp_path, capfd):
    path = tmp_path / "test_it.py"
    cases = "import pytest\n@pytest.mark.parametrize('n', [0, 1, 2])\ndef test_it(n):\n    assert n < 2\n"
    path.write_text(cases, encoding="utf-8")
    assert run([path], environment("native"))[:2] == (2, 1)


def test_what_cannot_be_collected_has_failed(tmp_path, capfd):
    path = tmp_path / "test_it.py"
    path.write_text("import no_such_module\n", encoding="utf-8")
    assert run([path], environment("native"))[1] == 1


def test_every_machine_has_variables_but_this_one():
    assert [name for name, variables in MACHINES.items() if not variables] == ["native"]
    assert (
        environment("avx2")["ATEN_CPU_CAPABILITY"] == "avx2"
        and environment("avx2")["LESSONS_DEVICE"] == "cpu"
    )
