"""How long a notebook takes a reader, counted from its source.

    python -m tools.minutes        every notebook
    python -m tools.minutes 04     those whose name begins with 04

Prose at 200 words a minute, code at 100, an exercise as long as its heading says. Sections whose heading
begins with "Deeper" are counted apart. Not counted: folded cells (solutions, claims) and folded help.
"""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass

import jupytext

from tools.notebooks import names, source_path

PROSE_PER_MINUTE = 200  # words
CODE_PER_MINUTE = 100
HEADING = re.compile(r"^## +(.*)$", flags=re.M)
EXERCISE = re.compile(r"^#{2,4} Exercise .*?(\d+) minutes", flags=re.M)
FOLDED_HELP = re.compile(r"<details>.*?</details>", flags=re.S)
# Addresses of links, tags, rules of tables, and marks.
NOT_READ = re.compile(r"\]\([^)]*\)|<[^>]*>|^\|[-| :]*\|$|[|#*`]", flags=re.M)


@dataclass
class Part:
    """What one part of a notebook, core or deeper, asks of a reader."""

    words: int = 0
    code_words: int = 0
    code_lines: int = 0
    exercises: int = 0
    exercise_minutes: int = 0

    @property
    def minutes(self) -> float:
        return self.words / PROSE_PER_MINUTE + self.code_words / CODE_PER_MINUTE + self.exercise_minutes


def count(source: str) -> tuple[Part, Part]:
    """The core and the deeper part of a notebook's source (py:percent)."""
    core, deeper = Part(), Part()
    part = core
    for cell in jupytext.reads(source, fmt="py:percent").cells:
        if cell.cell_type == "markdown":
            text = FOLDED_HELP.sub("", cell.source)
            pieces = re.split(r"(?=^## )", text, flags=re.M)
            for piece in pieces:
                heading = HEADING.match(piece)
                if heading:
                    part = deeper if heading[1].startswith("Deeper") else core
                part.words += len(NOT_READ.sub(" ", piece).split())
                minutes = [int(m) for m in EXERCISE.findall(piece)]
                part.exercises += len(minutes)
                part.exercise_minutes += sum(minutes)
        elif cell.cell_type == "code" and "hide-input" not in cell.metadata.get("tags", []):
            lines = [line for line in cell.source.splitlines() if line.strip()]
            part.code_lines += len(lines)
            part.code_words += sum(len(line.split()) for line in lines)
    return core, deeper


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="How long each notebook takes a reader.")
    parser.add_argument(
        "prefix", nargs="?", default="", help="beginning of the name, such as 04; default all"
    )
    prefix = parser.parse_args(arguments).prefix
    print(f"{'notebook':22}{'part':8}{'minutes':>8}{'words':>8}{'code lines':>12}{'exercises':>11}")
    for name in names(prefix):
        parts = count(source_path(name).read_text(encoding="utf-8"))
        for label, part in zip(("core", "deeper"), parts, strict=True):
            exercises = f"{part.exercises} ({part.exercise_minutes} min)"
            print(f"{name:22}{label:8}{part.minutes:8.0f}{part.words:8}{part.code_lines:12}{exercises:>12}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
