"""What strict nbval does not see in a notebook, one rule a function.

nbval runs a cell that was never executed and compares nothing; it looks at no picture; it allows any tag.
Each rule yields a sentence for each offence. `violations` runs them all.
"""

from __future__ import annotations

import ast
import base64
import math
import re
import struct
from collections.abc import Callable, Iterator
from itertools import pairwise

import nbformat
from nbformat import NotebookNode

from tools import notebooks

MAX_BYTES = 1_000_000
MAX_IGNORED = 0.1  # share of code cells whose output may go uncompared
TAGS = {"nbval-ignore-output", "raises-exception", "hide-input", "measured", "predict"}
FOLDED_TITLES = (
    "# @title Solution",
    "# @title Claims",
    "# @title Interaction",
    "# @title Plot",
    "# @title Helper",
)
REASON = "# output not compared: "
PNG_SIDE = (50, 4000)  # pixels
PNG_MIN_BYTES = 500  # an empty canvas of our smallest figure compresses to less
# What betrays the machine that ran the notebook.
MACHINE_PATH = re.compile(
    r"(?<![\w.])/(home|Users|root|tmp|work|private|opt|usr|var)/\w"
    r"|\b[A-Z]:\\+(Users|Program|Windows|Temp)"
    r"|site-packages"
)
MEMORY_ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")
SHOWN = re.compile(r"(show|figures\.\w+)\(")  # calls whose value is all that they are for
NBVAL_COMMENT = re.compile(r"#\s*(NBVAL_|PYTEST_VALIDATE_)\w+")

Rule = Callable[[str, NotebookNode], Iterator[str]]


def code_cells(notebook: NotebookNode) -> list[tuple[int, NotebookNode]]:
    return [(i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code"]


def tags(cell: NotebookNode) -> list[str]:
    return cell.metadata.get("tags", [])


def texts(output: NotebookNode) -> Iterator[str]:
    """Everything in an output that a person can read."""
    if output.output_type == "stream":
        yield output.text
    elif output.output_type == "error":
        yield from (output.ename, output.evalue, *output.traceback)
    else:
        yield from (value for kind, value in output.data.items() if kind.startswith("text/"))


def executed_in_order(name: str, notebook: NotebookNode) -> Iterator[str]:
    """nbval compares nothing in a cell without an execution count."""
    for expected, (i, cell) in enumerate(code_cells(notebook), start=1):
        counts = [cell.execution_count]
        counts += [out.execution_count for out in cell.outputs if out.output_type == "execute_result"]
        if any(count != expected for count in counts):
            yield f"cell {i}: found execution count {counts}, expected {expected}: run make notebooks"


def no_trailing_semicolon(name: str, notebook: NotebookNode) -> Iterator[str]:
    """It hides a value in JupyterLab and not under nbval. `_ = value` hides it in both."""
    for i, cell in code_cells(notebook):
        if cell.source.rstrip().endswith(";"):
            yield f"cell {i}: ends in ';', write '_ = ...' to show no value"


def no_stderr(name: str, notebook: NotebookNode) -> Iterator[str]:
    for i, cell in code_cells(notebook):
        if any(out.output_type == "stream" and out.name == "stderr" for out in cell.outputs):
            yield f"cell {i}: writes to stderr, which differs from machine to machine"


def errors_are_announced(name: str, notebook: NotebookNode) -> Iterator[str]:
    for i, cell in code_cells(notebook):
        fails = any(out.output_type == "error" for out in cell.outputs)
        announced = "raises-exception" in tags(cell)
        if fails and not announced:
            yield f"cell {i}: fails without the tag raises-exception"
        if announced and not fails:
            yield f"cell {i}: has the tag raises-exception, yet does not fail"


def figures_have_pictures(name: str, notebook: NotebookNode) -> Iterator[str]:
    """nbval looks at no picture: see that there is one, of a size that can be looked at."""
    for i, cell in code_cells(notebook):
        displays = [out.data for out in cell.outputs if "data" in out]
        pictures = [data["image/png"] for data in displays if "image/png" in data]
        if "plt.show()" in cell.source and not pictures:
            yield f"cell {i}: calls plt.show(), yet has no picture"
        if "measured" in tags(cell) and not pictures:
            yield f"cell {i}: has the tag measured, which is for pictures, yet has none"
        for data in displays:
            if data.get("text/plain", "").startswith("<Figure ") and "image/png" not in data:
                yield f"cell {i}: a figure without its picture"
        for picture in pictures:
            raw = base64.b64decode(picture)
            if raw[:8] != b"\x89PNG\r\n\x1a\n" or len(raw) < PNG_MIN_BYTES:
                yield f"cell {i}: a picture that is no PNG, or an empty one ({len(raw)} bytes)"
                continue
            width, height = struct.unpack(">II", raw[16:24])
            if not all(PNG_SIDE[0] <= side <= PNG_SIDE[1] for side in (width, height)):
                yield f"cell {i}: a picture of {width}×{height} pixels, expected sides in {PNG_SIDE}"


def no_value_is_lost(name: str, notebook: NotebookNode) -> Iterator[str]:
    """A cell displays the value of its last line only: `show(f)` above it shows nothing."""
    for i, cell in code_cells(notebook):
        python = re.sub(r"^(\s*)[%!].*$", r"\1pass", cell.source, flags=re.M)
        for statement in ast.parse(python).body[:-1]:
            written = ast.unparse(statement)
            if isinstance(statement, ast.Expr) and SHOWN.match(written):
                yield f"cell {i}: the value of {written} is lost, as it is not the cell's last line"


def answers_stay_hidden(name: str, notebook: NotebookNode) -> Iterator[str]:
    """After the hidden answer to a Predict, no figure shows it before the next text."""
    answered = False
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            answered = False
        elif "predict" in tags(cell):
            answered = True
        elif answered and any("image/png" in output.get("data", {}) for output in cell.outputs):
            yield f"cell {i}: a figure beside the hidden answer to a Predict; tag its cell predict, too"


def images_have_alt_texts(name: str, notebook: NotebookNode) -> Iterator[str]:
    """A screen reader reads `output.metadata["image/png"]["alt"]`, as nbconvert and IPython call it."""
    for i, cell in code_cells(notebook):
        if not all(map(notebooks.alt_text, notebooks.pictures(cell))):
            yield f"cell {i}: an image without alt text; use lessons.figures, or figures.describe(fig, '…')"


def only_known_tags(name: str, notebook: NotebookNode) -> Iterator[str]:
    for i, cell in enumerate(notebook.cells):
        for tag in set(tags(cell)) - TAGS:
            yield f"cell {i}: found the tag {tag!r}, expected one of {sorted(TAGS)}"
        if cell.cell_type == "code" and NBVAL_COMMENT.search(cell.source):
            yield f"cell {i}: steers nbval by a comment; use a tag"


def few_ignored_outputs(name: str, notebook: NotebookNode) -> Iterator[str]:
    cells = code_cells(notebook)
    ignored = [(i, cell) for i, cell in cells if "nbval-ignore-output" in tags(cell)]
    most = math.ceil(MAX_IGNORED * len(cells))
    if len(ignored) > most:
        yield f"{len(ignored)} of {len(cells)} code cells go uncompared, expected at most {most}"
    for i, cell in ignored:
        first_line = cell.source.partition("\n")[0]
        if not first_line.startswith(REASON) or len(first_line) < len(REASON) + 5:
            yield f"cell {i}: its output is not compared; begin it with {REASON!r} and why"


def no_trace_of_the_machine(name: str, notebook: NotebookNode) -> Iterator[str]:
    for i, cell in enumerate(notebook.cells):
        written = [cell.source, *(text for out in cell.get("outputs", []) for text in texts(out))]
        for text in written:
            if found := MACHINE_PATH.search(text):
                yield f"cell {i}: a path of this machine: {text[found.start() : found.start() + 40]!r}"
        if "nbval-ignore-output" not in tags(cell):
            if any(MEMORY_ADDRESS.search(text) for text in written[1:]):
                yield f"cell {i}: an address in memory in its output"


def titled_cells_are_folded(name: str, notebook: NotebookNode) -> Iterator[str]:
    for i, cell in code_cells(notebook):
        titled = cell.source.startswith(FOLDED_TITLES)
        hidden = all(cell.metadata.get(key) == value for key, value in notebooks.FOLDED.items())
        folded = hidden and "hide-input" in tags(cell)
        if titled != folded:
            yield f"cell {i}: a folded cell begins with one of {FOLDED_TITLES}, and such a cell is folded"


def canonical(name: str, notebook: NotebookNode) -> Iterator[str]:
    """Only what a second run would write again."""
    if (notebook.nbformat, notebook.nbformat_minor) != (4, 5):
        yield f"found nbformat {notebook.nbformat}.{notebook.nbformat_minor}, expected 4.5"
    if notebook.metadata != notebooks.METADATA:
        yield f"found metadata {dict(notebook.metadata)}, expected {notebooks.METADATA}"
    for i, cell in enumerate(notebook.cells):
        extra = set(cell.metadata) - set(notebooks.CELL_METADATA)
        if extra:
            yield f"cell {i}: found metadata {sorted(extra)}"
        if cell.get("id") != notebooks.cell_id(name, i):
            yield f"cell {i}: found id {cell.get('id')!r}, expected {notebooks.cell_id(name, i)!r}"
        outputs = cell.get("outputs", [])
        streams = [out.get("name") for out in outputs]
        if any(a is not None and a == b for a, b in pairwise(streams)):
            yield f"cell {i}: one stream in several pieces"
        if any("widget" in kind for out in outputs for kind in out.get("data", {})):
            yield f"cell {i}: a widget's model id, which is random"


def size(name: str, notebook: NotebookNode) -> Iterator[str]:
    found = len(notebooks.dumps(notebook).encode())
    if found > MAX_BYTES:
        yield f"found {found:,} bytes, expected at most {MAX_BYTES:,}: use smaller or fewer pictures"


RULES: tuple[Rule, ...] = (
    executed_in_order,
    no_trailing_semicolon,
    no_stderr,
    errors_are_announced,
    figures_have_pictures,
    no_value_is_lost,
    answers_stay_hidden,
    images_have_alt_texts,
    only_known_tags,
    few_ignored_outputs,
    no_trace_of_the_machine,
    titled_cells_are_folded,
    canonical,
    size,
)


def violations(name: str, notebook: NotebookNode) -> list[str]:
    """Every offence of the notebook `name`, as "rule: sentence"."""
    nbformat.validate(notebook)
    return [f"{rule.__name__}: {found}" for rule in RULES for found in rule(name, notebook)]


def differences(notebook: NotebookNode, assembled: NotebookNode) -> list[str]:
    """Where the cells of a written notebook are not those that its source gives."""
    if len(notebook.cells) != len(assembled.cells):
        found, expected = len(notebook.cells), len(assembled.cells)
        return [f"found {found} cells, its source gives {expected}: run make notebooks"]
    return [
        f"cell {i}: found {key} that is not the source's: run make notebooks"
        for i, (found, expected) in enumerate(zip(notebook.cells, assembled.cells, strict=True))
        for key in ("cell_type", "source", "metadata")
        if found[key] != expected[key]
    ]
