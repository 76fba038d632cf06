"""Make the pages that gather what the notebooks say, each word and each help box in one place.

    python -m tools.pages          writes docs/glossary.md and docs/help.md

A word is defined in the "## Glossary" table of the notebook that first needs it, a question is answered in a
`Help: "…"` box where it comes up. Both are written there only; these pages are made from them.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jupytext

from lessons.course import Notebook, find
from tools import notebooks

# The field's other names for a word stand in a third column, where there is one.
TABLE = re.compile(
    r"^## Glossary\n\n(?P<header>\| word \| meaning \|(?: also called \|)?)\n[|-]+\n(?P<rows>(?:\|.*\n?)+)",
    re.M,
)
HELP = re.compile(
    r"^<details><summary><b>Help: (?P<symptom>.+?)</b></summary>\n\n(?P<answer>.+?)\n\n?</details>$",
    re.M | re.S,
)
MADE = "<!-- Made from the notebooks by tools/pages.py: edit their sources, not this page. -->"


@dataclass(frozen=True)
class Word:
    """One row of a notebook's glossary."""

    term: str
    meaning: str
    also: str
    notebook: Notebook


@dataclass(frozen=True)
class Help:
    """One help box: what the learner sees, and the way out."""

    symptom: str
    answer: str
    notebook: Notebook


def prose(name: str) -> str:
    """The text cells of the notebook `name`, in one string."""
    source = notebooks.source_path(name).read_text(encoding="utf-8")
    cells = jupytext.reads(source, fmt="py:percent").cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown") + "\n"


def words(name: str) -> Iterator[Word]:
    """The words that a notebook defines.

    Raises:
        NotebookError: it has no table under "## Glossary", or one of its rows has other columns.
    """
    table = TABLE.search(prose(name))
    if table is None:
        raise notebooks.NotebookError(
            f"notebooks/src/{name}.py: found no table | word | meaning | under '## Glossary', expected one"
        )
    for line in table["rows"].splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) != table["header"].count("|") - 1:
            raise notebooks.NotebookError(
                f"notebooks/src/{name}.py, Glossary: found {line!r}, expected {table['header']}"
            )
        term, meaning, *also = cells
        yield Word(term.strip("*"), meaning, " ".join(also), find(name))


def help_boxes(name: str) -> Iterator[Help]:
    """The help boxes of a notebook.

    Raises:
        NotebookError: a box is written in another form, and would be missing from the page.
    """
    text = prose(name)
    boxes = list(HELP.finditer(text))
    summaries = re.findall(r"<summary>.*[Hh]elp\b.*", text)
    if len(boxes) != len(summaries):
        raise notebooks.NotebookError(
            f"notebooks/src/{name}.py: found {len(summaries)} help boxes, {len(boxes)} of them in the form "
            "<details><summary><b>Help: …</b></summary>, an empty line, the answer, </details>"
        )
    for box in boxes:
        yield Help(box["symptom"], box["answer"].strip(), find(name))


def link(notebook: Notebook) -> str:
    return f"[{notebook.number:02d}](../notebooks/{notebook.name}.ipynb)"


def glossary(found: list[Word]) -> str:
    """docs/glossary.md: every word of the course in the order of the alphabet.

    Raises:
        NotebookError: a word is defined twice.
    """
    first: dict[str, Word] = {}
    for word in found:
        other = first.setdefault(word.term.lower(), word)
        if other is not word:
            raise notebooks.NotebookError(
                f"Glossary: {word.term!r} is defined in {other.notebook.name} and in {word.notebook.name}; "
                "a word belongs to the notebook that first needs it"
            )
    rows = [
        f"| {word.term} | {word.meaning} | {word.also} | {link(word.notebook)} |"
        for _, word in sorted(first.items())
    ]
    return "\n".join(
        [
            "# Glossary",
            "",
            MADE,
            "",
            "Every word that the course explains, and the notebook where you meet it.",
            "The letters of shapes, such as *T* and *B*, are in [Symbols and shapes](symbols.md).",
            "",
            "| word | meaning | also called | notebook |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def help_page(found: list[Help]) -> str:
    """docs/help.md: what to do when you see …, in the order of the course."""
    contents = [f"- {box.symptom} ({link(box.notebook)})" for box in found]
    answers = [
        f"## {box.symptom}\n\n{box.answer}\n\n*From notebook {link(box.notebook)}.*\n" for box in found
    ]
    return "\n".join(
        [
            "# Help, by what you see",
            "",
            MADE,
            "",
            "Each answer stands in the notebook where the question comes up, too.",
            "",
            *contents,
            "",
            *answers,
        ]
    )


def pages() -> dict[Path, str]:
    """Where each page lies, and what it must say."""
    names, docs = notebooks.names(), notebooks.ROOT / "docs"
    return {
        docs / "glossary.md": glossary([word for name in names for word in words(name)]),
        docs / "help.md": help_page([box for name in names for box in help_boxes(name)]),
    }


def main() -> int:
    try:
        made = pages()
    except notebooks.NotebookError as error:
        print(error, file=sys.stderr)
        return 1
    for path, text in made.items():
        written = notebooks.write_text(path, text)
        print(f"{path.relative_to(notebooks.ROOT)}: {'written' if written else 'same'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
