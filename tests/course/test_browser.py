"""The browser check passes a good notebook and finds each fault that it is there for."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tools import browser, notebooks

INTERACT = "from ipywidgets import interact\n\n\n@interact(x=(0, 5))\ndef show(x=5):\n    "
NOTEBOOKS = {  # name -> code cells, what the fault must say
    "good": (["print('runs')", INTERACT + "print('at', x)"], None),
    "fails": (["1 / 0", "print('never run')"], "cell 0: ZeroDivisionError"),
    "stands_still": ([INTERACT + "print('the same')"], "moved from 5, and nothing changed"),
    "no_slider": ([INTERACT.replace("(0, 5)", "False") + "print(x)"], "shows no slider"),
}


@pytest.fixture(scope="module")
def found(tmp_path_factory, request) -> dict[str, list[str]]:
    if browser.browser_path() is None:
        pytest.skip(f"none of {', '.join(browser.BROWSERS)} is installed")
    patch = pytest.MonkeyPatch()
    request.addfinalizer(patch.undo)
    patch.setattr(browser, "MOVE", 5)
    folder = tmp_path_factory.mktemp("course")
    for name, (cells, _) in NOTEBOOKS.items():
        notebook = new_notebook(cells=[new_code_cell(cell) for cell in cells], metadata=notebooks.METADATA)
        nbformat.write(notebook, folder / f"{name}.ipynb")
    return browser.check([folder / f"{name}.ipynb" for name in NOTEBOOKS])


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_fault_is_found(found, name):
    fault = NOTEBOOKS[name][1]
    if fault is None:
        assert found[name] == []
    else:
        assert found[name] and fault in found[name][0]


def test_a_missing_browser_is_said(monkeypatch):
    monkeypatch.setattr(browser, "browser_path", lambda: "no-such-browser")
    with pytest.raises(browser.BrowserError, match="install one"), browser.browser():
        raise AssertionError("never reached")


def test_a_prefix_without_a_notebook_is_an_error(capsys):
    assert browser.main(["99"]) == 1
    assert "begins with 99" in capsys.readouterr().err


def test_a_wait_ends():
    with pytest.raises(browser.BrowserError, match=r"tea: not within 0\.1 s"):
        browser.wait(lambda: False, 0.1, "tea")
