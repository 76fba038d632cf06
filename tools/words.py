"""The words that we do not use, and what to write instead: ../CONTRIBUTING.md, Style.

    python -m tools.words            all that is held to the list
    python -m tools.words FILE …     these files

A line that must speak of such a word (as in a glossary's "also called") ends in `words: ok`, in markdown
`<!-- words: ok -->`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
UNITS = (
    "frame|clip|letter|speaker|second|minute|step|word|sentence|layer|weight|epoch|batch|image|class|state"
)
COUNTED = (
    r"(?:\d[\d,.]*|one|two|three|once|numbers?|values?|nats|bits|bytes|frames?|seconds?|weights?|steps?"
    r"|letters?|words?|clips?|images?|tensors?|classes|operations?|additions|multiply-adds|milliseconds)"
)
# A pattern, matched without regard to case, and what to write instead. Words of the field alone.
WORDS = {
    r"\bfilms?\b(?!strip)": "video, clip",
    r"\bwhole numbers?\b": "integer",
    r"\bin place of\b": "instead of",
    r"\bdear(er|est)?\b": "expensive, costly",
    r"\b(learnt|learned|knows?) by heart\b": "memorized; overfitting",
    r"\b(hangs?|hung|hanging) on\b": "depends on",
    r"\bon end\b": "in a row",
    r"\bset out from\b": "start from",
    r"\bperfect eyes?\b": "ideal observer",
    r"\berror floors?\b": "Bayes error",
    r"\bkey pictures?\b": "keyframe",
    r"\bweighed\b": "weighted",
    r"\bway back\b": "backward pass",
    r"\bhas come by\b": "state what happened",
    r"\btrembl(e|es|ing)\b": "jitter",
    r"\bloudness\b": "scale, large activations",
    r"\bsafety belts?\b": "gradient clipping",
    r"\bfirst weights\b": "initial weights",
    r"\blikeness\b": "cosine similarity",
    r"\bgo it\b": "do it",
    r"\bnothing is to be\b": "subject first",
    r"\bwho is taken for whom\b": "confusion matrix",
    r"\bhas this one to answer to\b": "is tested against this one",
    r"\bwhoever\b": "name who",
    r"(?<!standard )\bdeviations?\b": "standard deviation",
    rf"\b{COUNTED} an? (?:{UNITS})\b": "per …",
}
PATTERNS = {re.compile(pattern, flags=re.I): instead for pattern, instead in WORDS.items()}


def found(text: str) -> Iterator[tuple[int, str, str]]:
    """Line number, the words, and what to write instead, for each that is on the list.

    A paragraph may be wrapped anywhere, so each line is read with its neighbors, without comment marks.
    """
    lines = [re.sub(r"^\s*# ?", "", line).rstrip() for line in text.splitlines()]
    for number, (before, line, after) in enumerate(
        zip(["", *lines[:-1]], lines, [*lines[1:], ""], strict=True), start=1
    ):
        start, joined = len(before) + 1, f"{before} {line} {after}"
        for pattern, instead in PATTERNS.items():
            for match in pattern.finditer(joined):
                here = start <= match.start() < start + len(line)
                if here and not line.endswith(("words: ok", "words: ok -->")):
                    yield number, match[0], instead


def held() -> list[Path]:
    """README, CONTRIBUTING, and the notebooks of the second edition: those that state their core path."""
    sources = sorted(ROOT.glob("notebooks/src/*.py"))
    second = [path for path in sources if "# *Core path: " in path.read_text(encoding="utf-8")]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *second]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Find the words that we do not use.")
    parser.add_argument("file", nargs="*", type=Path)
    files = parser.parse_args(arguments).file or held()
    offences = 0
    for file in files:
        for number, words, instead in found(file.read_text(encoding="utf-8")):
            print(f"{file}:{number}: {words!r}: write {instead}")
            offences += 1
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
