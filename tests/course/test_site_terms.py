"""The book links each term once in a chapter, to a row that exists, and nowhere where a link does harm."""

from __future__ import annotations

import re

import pytest

from tools import site
from tools.site_terms import Linker, anchored, forms, terms

GLOSSARY = (site.ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
KNOWN = terms(GLOSSARY)
ANCHORS = re.findall(r'<span id="([^"]+)">', anchored(GLOSSARY))
LINK = re.compile(r'<a class="term" href="glossary\.html#([^"]+)">(.*?)</a>', re.S)


def linked(text: str, number: int = 17) -> list[str]:
    """What of the text is linked."""
    found = Linker(KNOWN, number)(text)
    assert LINK.sub(r"\2", found) == text
    return [match[2] for match in LINK.finditer(found)]


def test_each_row_of_the_glossary_has_an_id_of_its_own():
    assert len(ANCHORS) == len(set(ANCHORS)) == GLOSSARY.count("\n| ") - 1
    assert re.sub(r'<span id="[^"]+">(.*?)</span>', r"\1", anchored(GLOSSARY)) == GLOSSARY


@pytest.mark.parametrize("book", site.chapters(), ids=lambda book: book.name)
def test_chapters_link_each_term_once_to_its_row(book):
    cells = [cell["source"] for cell in site.chapter(book)["cells"] if cell["cell_type"] == "markdown"]
    found = [match[1] for text in cells for match in LINK.finditer(text)]
    assert len(found) == len(set(found)) >= 5 and set(found) <= set(ANCHORS)
    own = [text for text in cells if re.search(r"^## Glossary$", text, re.M)]
    assert own and not LINK.search(re.split(r"^## Glossary$", own[-1], flags=re.M)[-1])


@pytest.mark.parametrize(
    "text",
    [
        "`CTC` and ``CTC``",
        "```\nCTC\n```",
        "## CTC, the loss",
        "[CTC](04_ctc_loss.ipynb) ![the CTC loss](ctc.png)",
        "$\\text{CTC}$ and $$\n\\text{CTC}\n$$",
        "\\begin{align}CTC\\end{align}",
        "<details><summary><b>CTC</b></summary>",
        '<img alt="CTC">',
        "https://example.org/CTC",
        "*Core path: CTC,\nabout 30 minutes*",
        "text\n\n## Glossary\n\n| CTC | a loss |",
        "CTC_loss, pre-CTC, CTC.py, ctc",
        "a grid of cells; a map",  # GRID and mAP are other words
    ],
)
def test_no_link_here(text):
    assert linked(text) == []


def test_links_here():
    assert linked("The CTC loss. **CTC**, again. Two blanks.") == ["CTC", "blanks"]
    assert linked("$x$ CTC $y$, costs \\$5") == ["CTC"]
    assert linked("Hidden\nstate *h*, hidden states") == ["Hidden\nstate"]
    assert linked("prefix beam search with a beam width of 4") == ["prefix beam search", "beam width"]
    assert linked("backpropagation through time (BPTT)") == ["backpropagation through time"]
    assert linked("<details><summary>Why?</summary>\n\nThe blank.\n</details>") == ["blank"]


def test_everyday_words_are_terms_where_they_are_defined():
    assert linked("the path", KNOWN["path"].number) == ["path"] and linked("the path") == []
    assert linked("a viseme", 0) == ["viseme"] and linked("logits", 0) == []


def test_forms():
    assert forms("CER, WER") == ["CER", "WER"]
    assert forms("recurrent neural network (RNN)") == ["recurrent neural network", "RNN"]
    assert forms("bottleneck (of a program)") == [] and forms("posterior γ") == ["posterior"]
