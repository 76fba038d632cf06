"""The book has every chapter, folds what gives answers away, and keeps every figure's alt text."""

from __future__ import annotations

import html
import importlib.util
import json
import re
import subprocess
import sys

import pytest

from tools import notebooks, site

CHAPTERS = site.chapters()
NAMES = [book.name for book in CHAPTERS]
HTML = site.BUILD / "html"


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book") / "source"
    site.stage(folder)
    return folder


def test_each_written_notebook_is_a_chapter(staged):
    assert NAMES == notebooks.names()
    index = (staged / "index.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in index if re.match(r"\d\d_", line)] == NAMES


def test_each_link_between_pages_leads_to_a_page(staged):
    for path in staged.glob("*.md"):
        for target in re.findall(r"\]\(([^):#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
            if target.endswith((".md", ".ipynb", ".png")):
                assert (staged / target).is_file(), f"{path.name}: {target}"


def test_routes_name_chapters_that_exist():
    slugs = {book.slug for book in CHAPTERS}
    for name, _, route in site.ROUTES:
        assert set(route) <= slugs, name


@pytest.mark.parametrize("book", CHAPTERS, ids=NAMES)
def test_answers_are_folded_and_nothing_comes_from_elsewhere(book):
    for cell in site.chapter(book)["cells"]:
        if cell["cell_type"] == "code":
            assert "@title" not in cell["source"]
            if re.search(r"^def \w+_solution\(|^# @title (Solution|Claims)", cell["source"], re.M):
                assert "hide-input" in cell["metadata"]["tags"]
            if "predict" in cell["metadata"]["tags"]:
                assert "hide-output" in cell["metadata"]["tags"]
        else:
            assert not re.search(r"!\[[^\]]*\]\(http|<img[^>]*http", cell["source"])


@pytest.mark.parametrize("book", CHAPTERS, ids=NAMES)
def test_each_slider_says_where_it_moves(book):
    cells = site.chapter(book)["cells"]
    for cell, after in zip(cells, [*cells[1:], None], strict=True):
        if cell["cell_type"] == "code" and re.search(r"^\W*(_ = )?interact\(", cell["source"], re.M):
            assert after["cell_type"] == "markdown" and "Move it in Colab" in after["source"]
        for output in cell.get("outputs", []):
            assert not "".join(output.get("data", {}).get("text/plain", "")).startswith("interactive(")


def alts(book) -> list[str]:
    """The alt texts of a chapter's figures, in their order; "" where one is missing."""
    return [
        output.get("metadata", {}).get("image/png", {}).get("alt", "")
        for cell in site.chapter(book)["cells"]
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]


@pytest.mark.parametrize("book", CHAPTERS, ids=NAMES)
def test_each_figure_says_what_it_shows(book):
    assert all(len(alt) > 10 for alt in alts(book))


def test_a_fold_says_what_it_hides_and_no_progress_bar_is_left():
    folds = {"solution": 0, "predict": 0}
    for book in CHAPTERS:
        for cell in site.chapter(book)["cells"]:
            if cell["cell_type"] != "code":
                continue
            shown = "".join(str(output.get("data", {}).get("text/plain")) for output in cell["outputs"])
            assert "0%|" not in shown
            tags, prompt = cell["metadata"]["tags"], cell["metadata"]["mystnb"]["code_prompt_show"]
            if "hide-input" in tags:
                assert prompt.startswith("Show: ")
                folds["solution"] += prompt == "Show: Solution"
            elif "hide-output" in tags:
                assert prompt == "Show the output"
                folds["predict"] += 1
    assert min(folds.values()) > 20


def test_the_page_for_teachers_knows_wrong_answers():
    found = list(site.wrong_answers())
    assert len({(book.name, exercise) for book, exercise, _ in found}) > 20
    assert "%" not in re.sub(r"\d+(?:\.\d+)? ?%", "", site.teachers().split("## What learners")[0])


def test_the_live_pages_get_their_scripts_and_data(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "BUILD", tmp_path / "build")
    with pytest.raises(site.SiteError, match=r"expected it from `python -m tools\.live`"):
        site.live(tmp_path)
    (tmp_path / "build" / "live").mkdir(parents=True)
    (tmp_path / "build" / "live" / "about.json").write_text("{}", encoding="utf-8")
    site.live(tmp_path)
    assert not list(tmp_path.rglob("README.md"))
    for own in ("ctc_explorer", "live"):
        page = (site.SITE / "pages" / f"{own}.md").read_text(encoding="utf-8")
        files = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert len(files) >= 2
        for name in files:
            assert (tmp_path / name).is_file(), name
    for script in (tmp_path / "live" / "page").glob("*.js"):
        for name in re.findall(r'(?:from|URL\()\s*"(\.[^"]+)"', script.read_text(encoding="utf-8")):
            assert (script.parent / name).exists(), f"{script.name}: {name}"
        for name in re.findall(r'part\("([a-z-]+)"\)', script.read_text(encoding="utf-8")):
            assert f'data-part="{name}"' in page, f"{script.name}: {name}"


@pytest.mark.skipif(
    importlib.util.find_spec("sphinx_book_theme") is None
    or not (site.BUILD / "node" / "node_modules" / site.MATHJAX).is_file()
    or not (site.BUILD / "live" / "about.json").is_file(),
    reason="the book's dependencies are not installed (make site installs them)",
)
def test_book_builds_and_keeps_the_alt_texts():
    run = subprocess.run(
        [sys.executable, "-m", "tools.site"],
        cwd=notebooks.ROOT,
        capture_output=True,
        encoding="utf-8",
        timeout=600,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    for book in CHAPTERS:
        page = (HTML / f"{book.name}.html").read_text(encoding="utf-8")
        shown = {html.unescape(alt) for alt in re.findall(r'<img[^>]*\balt="([^"]*)"', page)}
        assert set(alts(book)) <= shown, book.name
        assert not re.search(r'(?:src|rel="stylesheet" href)="(?:https?:)?//', page), book.name
    assert 'src="live/page/main.js"' in (HTML / "live.html").read_text(encoding="utf-8")
    assert json.loads(re.search(r"\{.*\}", (HTML / "searchindex.js").read_text(encoding="utf-8"), re.S)[0])
