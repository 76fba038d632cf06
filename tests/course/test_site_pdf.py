"""The PDF has the book's pages in their order, open folds, and links that stay inside."""

from __future__ import annotations

import pytest

pytest.importorskip("pypdf", reason="the book's dependencies are not installed (make site installs them)")
from pypdf import PdfReader

from tools import site, site_pdf
from tools.browser import BrowserError, browser_path


def test_pages_are_those_of_the_book(tmp_path):
    assert set(site_pdf.pages()) < set(site.stage(tmp_path / "source"))
    chapters = [book.name for book in site.chapters()]
    assert [name for name in site_pdf.pages() if name in chapters] == chapters


def test_two_pages_in_one_file(tmp_path):
    try:
        browser_path()
    except BrowserError as error:
        pytest.skip(str(error))
    fold = "<details><summary>Answer</summary>folded words</details>"
    (tmp_path / "one.html").write_text(f"<h1>One#</h1><a href=two.html#x>to two</a>{fold}", encoding="utf-8")
    (tmp_path / "two.html").write_text("<h1>Two</h1><a href=https://example.org>away</a>", encoding="utf-8")
    assert site_pdf.build(["one", "two"], tmp_path, tmp_path / "book.pdf") == 2
    book = PdfReader(tmp_path / "book.pdf")
    assert [entry.title for entry in book.outline] == ["One", "Two"]
    assert "folded words" in book.pages[0].extract_text()
    inside, away = (sheet["/Annots"][0].get_object() for sheet in book.pages)
    assert inside["/Dest"][0].get_object() == book.pages[1] and "/A" not in inside
    assert away["/A"]["/URI"].startswith("https://example.org")


def test_a_missing_page_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="three: found no"):
        site_pdf.build(["three"], tmp_path, tmp_path / "book.pdf")
