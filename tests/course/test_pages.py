"""The pages made from the notebooks are up to date, and the table of symbols is true and complete."""

from __future__ import annotations

import io
import itertools
import re
import subprocess
import sys
import tokenize
from collections import Counter
from pathlib import Path

import pytest

from lessons.ctc import extend, grammar, min_frames
from lessons.ctc.alphabet import Alphabet
from lessons.lipreading.lipnet import LipNet
from tools import notebooks, pages

NAMES = notebooks.names()
DOCS = notebooks.ROOT / "docs"
SYMBOLS = (DOCS / "symbols.md").read_text(encoding="utf-8")

# Glossary and help


@pytest.mark.parametrize("page", ["glossary.md", "help.md"])
def test_page_is_made_from_the_notebooks(page):
    text = (DOCS / page).read_text(encoding="utf-8")
    assert text == pages.pages()[DOCS / page], f"docs/{page}: run python -m tools.pages"


@pytest.mark.parametrize("name", NAMES)
def test_every_notebook_defines_words(name):
    assert list(pages.words(name))


@pytest.mark.parametrize("page", ["glossary.md", "help.md", "symbols.md"])
def test_links_lead_somewhere(page):
    text = (DOCS / page).read_text(encoding="utf-8") + notebooks.REFERENCE.replace("../docs/", "")
    links = re.findall(r"\]\(([^)#:]+)\)", text)
    assert links and [link for link in links if not (DOCS / link).exists()] == []


def test_the_questions_asked_most_have_an_answer():
    symptoms = " ".join(re.findall(r"^## (.+)$", pages.pages()[DOCS / "help.md"], flags=re.M)).lower()
    for asked in ("all blanks", "same sentence for every clip", "inf or nan", "stuck", "shape"):
        assert asked in symptoms


TEXT = """# %% [markdown]
# # 02 · STCNN: convolution over space and time
#
# <details><summary><b>Help: it hums</b></summary>
#
# Turn it off.
# </details>
#
# ## Glossary
#
# | word | meaning |
# |---|---|
# | kernel | what slides |
# | **pool** | what is kept |
#
# ## Sources
"""


@pytest.fixture
def house(tmp_path, monkeypatch):
    """An empty house with one notebook; returns a function that writes its text."""
    (tmp_path / "notebooks" / "src").mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    monkeypatch.setattr(notebooks, "ROOT", tmp_path)

    def write(text: str, name: str = "02_stcnn") -> Path:
        notebooks.source_path(name).write_text(text, encoding="utf-8")
        return tmp_path / "docs"

    return write


def test_words_and_boxes_are_gathered(house, capsys):
    docs = house(TEXT)
    assert pages.main() == 0 and capsys.readouterr().out.count("written") == 2
    glossary, answers = ((docs / page).read_text(encoding="utf-8") for page in ("glossary.md", "help.md"))
    assert "| kernel | what slides |  | [02](../notebooks/02_stcnn.ipynb) |\n| pool |" in glossary
    assert "## it hums\n\nTurn it off.\n\n*From notebook [02]" in answers
    assert pages.main() == 0 and capsys.readouterr().out.count("same") == 2


def test_the_fields_other_names_stand_in_a_column_of_their_own(house):
    three = TEXT.replace("| word | meaning |", "| word | meaning | also called |").replace(
        "|---|---|", "|---|---|---|"
    )
    three = three.replace("what slides |", "what slides | filter |").replace(
        "what is kept |", "what is kept | |"
    )
    docs = house(three)
    assert pages.main() == 0
    text = (docs / "glossary.md").read_text(encoding="utf-8")
    assert "| kernel | what slides | filter | [02]" in text and "| pool | what is kept |  | [02]" in text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT.replace("## Glossary", "## Words"), "no table"),
        (TEXT.replace("| kernel | what slides |", "| kernel |"), r"found '\| kernel \|'"),
        (TEXT.replace("<b>Help: it hums</b>", "Help: it hums"), "1 help boxes, 0 of them"),
        (TEXT.replace("| **pool**", "| Kernel"), "'Kernel' is defined in 02_stcnn and in 02_stcnn"),
    ],
)
def test_what_the_pages_would_miss_is_an_error(house, capsys, text, message):
    docs = house(text)
    assert pages.main() == 1
    assert re.search(message, capsys.readouterr().err) and not list(docs.iterdir())


# Symbols


def test_sizes_in_the_table_are_those_of_grid_and_lipnet():
    alphabet, lengths, repeats = Alphabet(), set(), set()
    for words in itertools.product(*grammar.SLOTS):
        sentence = " ".join(words)
        lengths.add(len(sentence))
        repeats.add(sum(a == b for a, b in itertools.pairwise(sentence)))
    states = {len(extend(range(1, length + 1))) for length in lengths}
    longest = alphabet.encode("place green with q three please")
    assert min_frames(longest) == len(longest) + 2  # "ee" twice: R is what min_frames adds

    def row(symbol: str) -> str:
        return re.search(rf"^\| {symbol} \|.*\| (.*) \|$", SYMBOLS, flags=re.M)[1]

    assert row("L") == f"{min(lengths)} to {max(lengths)}"
    assert row("R") == f"{min(repeats)} to {max(repeats)}"
    assert row("S") == f"{min(states)} to {max(states)}"
    model = LipNet()
    assert row("V") == str(model.head.out_features) == str(len(alphabet))
    assert row("D") == str(model.gru1.hidden_size)
    assert row("F") == f"{model.gru1.input_size:,}"


SHAPE = re.compile(r"^#:? \((?=[^)]*,)([^()]*)\)")


def letters_in_shape_comments(source: str) -> set[str]:
    """The capital letters that stand for sizes in comments such as "# (B, 2C, T', H, W)"."""
    found = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and (match := SHAPE.match(token.string)):
            found.update(re.findall(r"(?<![A-Za-z])[A-Z](?![a-z])", match[1]))
    return found


def test_shape_comments_are_read():
    source = "x = 1  # (B, 2C, T', H, W): the clip\ny = 2  # Graves (A, B)\nz = 3  # (S,)\n"
    assert letters_in_shape_comments(source) == {"B", "C", "T", "H", "W", "S"}


@pytest.mark.parametrize(
    "path",
    [*sorted((notebooks.ROOT / "lessons").rglob("*.py")), *map(notebooks.source_path, NAMES)],
    ids=lambda path: path.stem,
)
def test_shape_comments_use_the_letters_of_the_table(path):
    table = SYMBOLS.partition("## Shapes, from video to text")[0]
    known = set(re.findall(r"\b[A-Z]\b", " ".join(re.findall(r"^\| ([^|]*) \|", table, flags=re.M))))
    assert letters_in_shape_comments(path.read_text(encoding="utf-8")) - known == set()


def test_the_page_on_robustness_counts_what_is_tested():
    page = (DOCS / "robustness.md").read_text(encoding="utf-8")
    told = {path: int(count) for path, count in re.findall(r"\| `(tests/\S+\.py)` \| (\d+) \|", page)}
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *told]
    listed = subprocess.run(
        command, cwd=DOCS.parent, capture_output=True, text=True, encoding="utf-8", check=True
    )
    assert Counter(line.split("::")[0] for line in listed.stdout.splitlines() if "::" in line) == told
    assert int(re.search(r"\| together \| \| (\d+) \|", page)[1]) == sum(told.values())
