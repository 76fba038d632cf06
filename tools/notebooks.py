"""Make the notebooks from their sources.

    python -m tools.notebooks build            run every notebook and write it (make notebooks)
    python -m tools.notebooks build 02         only those whose name begins with 02
    python -m tools.notebooks address          rewrite badges, set-up cells and README's table; run nothing
    python -m tools.notebooks address OWNER/NAME   the same with another address, for pyproject.toml too

`notebooks/src/NN_slug.py` (jupytext's py:percent format) is what people edit and review.
`notebooks/NN_slug.ipynb` is made from it: the Colab badge and the links to glossary, symbols and help go
under the title, the set-up cell goes after the first text cell, everything is executed, and the file is
written in one canonical form. Running it twice changes nothing.

Each notebook is executed once for every setting of `tools/tests.py` (`--machines` chooses), and with the
interpreters that `--python` names, such as one with the oldest torch. If a text that nbval compares differs
between them, the notebook is not written. What is written are the native outputs.
"""

from __future__ import annotations

import argparse
import base64
import configparser
import difflib
import hashlib
import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import jupytext
import nbformat
from jupyter_client.manager import KernelManager
from nbformat import NotebookNode
from PIL import Image

from lessons.course import COURSE, find
from tools.tests import MACHINES, environment

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
NBVAL_RULES = ROOT / "tests" / "nbval.cfg"
CELL_TIMEOUT = 300  # seconds
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_METADATA = ("tags", "jupyter", "cellView", "collapsed")
FOLDED = {"cellView": "form", "jupyter": {"source_hidden": True}}  # folds a cell in Colab and in JupyterLab
HIDDEN_OUTPUT = {"collapsed": True, "jupyter": {"outputs_hidden": True}}  # a click shows it


class NotebookError(ValueError):
    """A notebook's source breaks a rule, or one of its cells failed."""


# The address of the repository


def repository() -> str:
    """Owner and name, "OWNER/NAME", from pyproject.toml: the one place where they are written by hand."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        url = tomllib.load(file)["project"]["urls"]["Repository"]
    match = re.fullmatch(r"https://github\.com/([\w.-]+/[\w.-]+?)(\.git)?/?", url)
    if match is None:
        raise NotebookError(
            f"pyproject.toml, project.urls.Repository: found {url!r}, expected https://github.com/OWNER/NAME"
        )
    return match[1]


PLACEHOLDER = "OWNER"  # who owns the repository as long as nobody has said who
ADDRESS = re.compile(
    r"(?:https://github\.com/|(?:ssh://)?git@github\.com[:/])?([\w.-]+/[\w.-]+?)(?:\.git)?/?"
)


def remote() -> str | None:
    """Owner and name of the git remote "origin"; None where it is missing or not on GitHub."""
    run = subprocess.run(
        ["git", "config", "--get", "remote.origin.url"], cwd=ROOT, capture_output=True, encoding="utf-8"
    )
    url = run.stdout.strip()
    match = ADDRESS.fullmatch(url) if "github.com" in url else None
    return match[1] if match else None


def settle(given: str | None) -> None:
    """Write an address to pyproject.toml: the given one, or the git remote's instead of the placeholder.

    Raises:
        NotebookError: what is given is neither OWNER/NAME nor an address on GitHub.
    """
    old = repository()
    if given:
        match = ADDRESS.fullmatch(given)
        if match is None:
            raise NotebookError(
                f"address: found {given!r}, expected OWNER/NAME or https://github.com/OWNER/NAME"
            )
        new = match[1]
    else:
        new = (remote() or old) if old.startswith(f"{PLACEHOLDER}/") else old
    if new != old:
        path = ROOT / "pyproject.toml"
        text = path.read_text(encoding="utf-8")
        write_text(path, text.replace(f"https://github.com/{old}", f"https://github.com/{new}"))
    if new.startswith(f"{PLACEHOLDER}/"):
        print(f"address: still the placeholder {new}; links to Colab lead nowhere until you give one")


def badge(name: str) -> str:
    """The "Open in Colab" line of a notebook."""
    image = "https://colab.research.google.com/assets/colab-badge.svg"
    page = f"https://colab.research.google.com/github/{repository()}/blob/main/notebooks/{name}.ipynb"
    return f"[![Open in Colab]({image})]({page})"


# Under the badge of every notebook. JupyterLab and GitHub open these; Colab knows no neighboring files.
REFERENCE = "[Glossary](../docs/glossary.md) · [Symbols](../docs/symbols.md) · [Help](../docs/help.md)"


def setup_source(name: str) -> str:
    """The set-up cell: the same in every notebook but for its name. It installs in Colab only."""
    return f'''import sys

if "google.colab" in sys.modules:
    %pip install -q "git+https://github.com/{repository()}"

import lessons

lessons.setup("{name}")'''


# From the source to cells


def source_path(name: str) -> Path:
    return ROOT / "notebooks" / "src" / f"{name}.py"


def notebook_path(name: str) -> Path:
    return ROOT / "notebooks" / f"{name}.ipynb"


def names(prefix: str = "") -> list[str]:
    """The notebooks that have a source and whose name begins with `prefix`, in the course's order."""
    return sorted(path.stem for path in (ROOT / "notebooks" / "src").glob(f"{prefix}*.py"))


def cell_id(name: str, index: int) -> str:
    return hashlib.sha256(f"{name}/{index}".encode()).hexdigest()[:8]


def assemble(name: str, source: str) -> NotebookNode:
    """The notebook `name` from its source text: badge and set-up cell put in, nothing executed.

    Raises:
        NotebookError: the first cell is not the title, or a cell has metadata that we do not use.
    """
    cells = jupytext.reads(source, fmt="py:percent").cells
    heading = find(name).heading
    first_line, _, rest = cells[0].source.partition("\n") if cells else ("", "", "")
    if not cells or cells[0].cell_type != "markdown" or first_line != heading:
        raise NotebookError(
            f"notebooks/src/{name}.py, first line: found {first_line!r}, expected {heading!r}"
        )
    cells[0].source = f"{heading}\n\n{badge(name)}\n\n{REFERENCE}\n\n{rest.strip()}"
    cells.insert(1, nbformat.v4.new_code_cell(setup_source(name)))
    for index, cell in enumerate(cells):
        cell.metadata.pop("lines_to_next_cell", None)  # jupytext's own note on blank lines
        unknown = set(cell.metadata) - set(CELL_METADATA)
        if unknown:
            raise NotebookError(
                f"notebooks/src/{name}.py, cell {index}: found metadata {sorted(unknown)}, "
                f"expected only {', '.join(CELL_METADATA)}"
            )
        if "hide-input" in cell.metadata.get("tags", []):
            cell.metadata.update(FOLDED)
        if {"hide-input", "predict"} <= set(cell.metadata.get("tags", [])):
            raise NotebookError(
                f"notebooks/src/{name}.py, cell {index}: found the tags hide-input and predict, expected one "
                "of them; compute in a folded cell, and show the answer in the next"
            )
        if "predict" in cell.metadata.get("tags", []):
            cell.metadata.update(HIDDEN_OUTPUT)
        cell.id = cell_id(name, index)
    return nbformat.v4.new_notebook(cells=cells, metadata=METADATA)


# From cells to an executed notebook


def lighter(png: str) -> str:
    """A picture (base64) with 256 colors: a third of the bytes, and to the eye the same figure."""
    picture = Image.open(io.BytesIO(base64.b64decode(png)))
    if picture.mode == "P":  # has been here before
        return png
    file = io.BytesIO()
    picture.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT).save(file, "PNG", optimize=True)
    packed = base64.b64encode(file.getvalue()).decode()
    return min(packed, png, key=len)


def canonical(notebook: NotebookNode) -> NotebookNode:
    """Take out of an executed notebook, in place, whatever differs between two equal runs; pack pictures."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for cell in notebook.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key in CELL_METADATA}
        for output in cell.get("outputs", []):
            # A widget's state lives in its kernel: outside, only its text and picture are of use.
            data = output.get("data", {})
            data.pop("application/vnd.jupyter.widget-view+json", None)
            if "image/png" in data:
                data["image/png"] = lighter(data["image/png"])
    return notebook


def add_output(outputs: list[NotebookNode], message: dict) -> None:
    """Add what the kernel sent for one cell; text that follows text of the same stream joins it."""
    kind = message["msg_type"]
    if kind == "clear_output":
        outputs.clear()
    elif kind in ("stream", "display_data", "execute_result", "error"):
        new = nbformat.v4.output_from_msg(message)
        if kind == "stream" and outputs and outputs[-1].get("name") == new.name:
            outputs[-1].text += new.text
        else:
            outputs.append(new)


def execute(
    notebook: NotebookNode, folder: Path, machine: str = "native", python: str | None = None
) -> NotebookNode:
    """Run all cells in place, in `folder`, computing like `machine`, with `python` or our own interpreter.

    nbclient is not used: it takes the place of a widget's output area, so that a slider's first figure would
    be lost, and it hangs now and then when it does so. Here that figure lands in the cell, as under nbval.

    Raises:
        NotebookError: a cell without the tag raises-exception failed, or ran too long.
    """
    manager = KernelManager(kernel_name="python3")
    manager.kernel_spec.argv[0] = python or sys.executable  # whatever kernels the user installed
    manager.start_kernel(cwd=str(folder), env=environment(machine))
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=120)
        for cell in notebook.cells:
            if cell.cell_type != "code" or not cell.source.strip():
                continue
            cell.outputs = []
            collect = partial(add_output, cell.outputs)
            try:
                reply = client.execute_interactive(
                    cell.source, allow_stdin=False, timeout=CELL_TIMEOUT, output_hook=collect
                )["content"]
            except TimeoutError as error:
                raise NotebookError(f"ran longer than {CELL_TIMEOUT} s:\n{cell.source}") from error
            cell.execution_count = reply["execution_count"]
            if reply["status"] != "ok" and "raises-exception" not in cell.metadata.get("tags", []):
                trace = "\n".join(reply.get("traceback", []))
                raise NotebookError(f"a cell failed:\n{cell.source}\n\n{trace}")
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
    return canonical(notebook)


def write_text(path: Path, text: str) -> bool:
    """Write `text` if the file does not hold it already; whether it was written."""
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    unfinished = path.with_name(path.name + ".tmp")
    unfinished.write_text(text, encoding="utf-8", newline="\n")
    os.replace(unfinished, path)
    return True


def dumps(notebook: NotebookNode) -> str:
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def pictures(cell: NotebookNode) -> list[NotebookNode]:
    """The outputs of a cell that show a PNG."""
    return [output for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]


def alt_text(output: NotebookNode) -> str:
    """What a screen reader says instead of an output's picture."""
    return output.get("metadata", {}).get("image/png", {}).get("alt", "")


def keep_measured(notebook: NotebookNode, path: Path) -> None:
    """Give cells that show times or widgets what the file holds of them, if their source is still the same.

    All outputs of a cell that nbval does not compare; of one tagged ``measured``, whose text is compared,
    only the pictures with their alt texts. Without this every run would change them. To renew them, delete
    the .ipynb first. A cell with a picture without an alt text is renewed.
    """
    if not path.exists():
        return
    held = {cell.source: cell for cell in nbformat.read(path, as_version=4).cells}
    for cell in notebook.cells:
        old, tags = held.get(cell.source), cell.metadata.get("tags", [])
        if not old or not old.get("execution_count") or not all(map(alt_text, pictures(old))):
            continue
        if "nbval-ignore-output" in tags:
            cell.outputs = old.outputs
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count = cell.execution_count
        elif "measured" in tags:
            for output, before in zip(pictures(cell), pictures(old), strict=False):
                output.data["image/png"], output.metadata = before.data["image/png"], before.metadata


# The same text on every machine


def sanitized(text: str) -> str:
    """`text` as nbval compares it, by the rules of tests/nbval.cfg."""
    rules = configparser.RawConfigParser()
    rules.read(NBVAL_RULES, encoding="utf-8")
    for rule in rules.sections():
        text = re.sub(rules[rule]["regex"], rules[rule]["replace"], text)
    return text


def compared(cell: NotebookNode) -> dict[str, str]:
    """What nbval compares of a cell's outputs: its streams, texts and errors."""
    if cell.cell_type != "code" or "nbval-ignore-output" in cell.metadata.get("tags", []):
        return {}
    found: dict[str, str] = {}
    for output in cell.get("outputs", []):
        if output.output_type == "stream":
            parts = {output.name: output.text}
        elif output.output_type == "error":
            parts = {"error": f"{output.ename}: {output.evalue}"}
        else:
            parts = {kind: text for kind, text in output.data.items() if kind.startswith("text/")}
        for kind, text in parts.items():
            found[kind] = found.get(kind, "") + sanitized(text)
    return found


def text_differences(notebook: NotebookNode, other: NotebookNode, where: str) -> list[str]:
    """The cells whose compared texts differ, each with the lines that do."""
    found = []
    for index, (cell, there) in enumerate(zip(notebook.cells, other.cells, strict=True)):
        here, there = compared(cell), compared(there)
        for kind in sorted(here.keys() | there.keys()):
            a, b = (one.get(kind, "").splitlines() for one in (here, there))
            if a != b:
                lines = list(difflib.unified_diff(a, b, "native", where, n=0, lineterm=""))[:12]
                found.append(f"cell {index}, {kind}:\n" + "\n".join(lines))
    return found


def build(name: str, machines: Sequence[str] = tuple(MACHINES), pythons: Sequence[str] = ()) -> None:
    """Run one notebook on all machines and write it, if it prints the same; else the old file stays.

    Raises:
        NotebookError: a cell failed, or prints something else on another machine.
    """
    start = time.perf_counter()
    others = [(machine, None) for machine in machines if machine != "native"]
    others += [("native", python) for python in pythons]
    source = source_path(name).read_text(encoding="utf-8")

    def run(machine: str, python: str | None) -> NotebookNode:
        try:
            return execute(assemble(name, source), ROOT / "notebooks", machine, python)
        except NotebookError as error:
            raise NotebookError(f"notebooks/src/{name}.py on {python or machine}: {error}") from error

    with ThreadPoolExecutor(max_workers=max(1, os.cpu_count() or 1)) as pool:
        runs = list(pool.map(lambda one: run(*one), [("native", None), *others]))
    notebook = runs[0]
    found = [
        difference
        for (machine, python), other in zip(others, runs[1:], strict=True)
        for difference in text_differences(notebook, other, python or machine)
    ]
    if found:
        raise NotebookError(
            f"notebooks/src/{name}.py does not print the same everywhere. Print fewer digits or a "
            "comparison, and assert the rest with a tolerance:\n" + "\n".join(found)
        )
    keep_measured(notebook, notebook_path(name))
    changed = write_text(notebook_path(name), dumps(notebook))
    seconds = time.perf_counter() - start
    done = "written" if changed else "same"
    where = f"same text on {len(runs)} machines" if len(runs) > 1 else "on this machine alone"
    print(f"{name}: {done}, {where}, {seconds:.0f} s", flush=True)


# Badges, set-up cells, README


def course_table() -> str:
    """README's table of the course, from lessons/course.py."""
    lines = ["| # | notebook | you build | runs in |", "|---|---|---|---|"]
    for entry in COURSE:
        title = f"[{entry.title}](notebooks/{entry.name}.ipynb)" if entry.written else entry.title
        minutes = f"{entry.minutes} min" if entry.written else "coming"
        lines.append(f"| {entry.number:02d} | {title} | {entry.builds} | {minutes} |")
    return "\n".join(lines)


def with_address(text: str) -> str:
    """README.md or CITATION.cff with today's address and today's course table."""
    ours = repository()
    old = re.search(r"https://colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/blob", text)
    if old:  # README's badge tells which address the file was written with
        text = re.sub(rf"(?<=/){re.escape(old[1])}(?![\w-])", ours, text)
    text = re.sub(r"^repository-code: .*$", f'repository-code: "https://github.com/{ours}"', text, flags=re.M)
    return re.sub(r"^\| # \|.*\n(\|.*\n)*", course_table() + "\n", text, flags=re.M)


def readdress() -> None:
    """Rewrite what depends on the address or on the course table; execute nothing."""
    for name in names():
        path = notebook_path(name)
        if not path.exists():
            continue
        notebook = nbformat.read(path, as_version=4)
        expected = assemble(name, source_path(name).read_text(encoding="utf-8"))
        for index in (0, 1):  # the title with its badge, the set-up cell
            notebook.cells[index].source = expected.cells[index].source
        print(f"{path.relative_to(ROOT)}: {'written' if write_text(path, dumps(notebook)) else 'same'}")
    for path in (ROOT / "README.md", ROOT / "CITATION.cff"):
        changed = write_text(path, with_address(path.read_text(encoding="utf-8")))
        print(f"{path.relative_to(ROOT)}: {'written' if changed else 'same'}")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make the notebooks from notebooks/src.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("build", help="run notebooks and write them")
    one.add_argument("prefix", nargs="*", default=[""], help="beginning of the name, such as 02; default all")
    one.add_argument("--machines", nargs="+", choices=MACHINES, default=list(MACHINES), help="default all")
    one.add_argument("--python", nargs="+", default=[], help="other interpreters that have the course")
    two = commands.add_parser("address", help="rewrite badges, set-up cells and README's table; run nothing")
    two.add_argument("repository", nargs="?", help="OWNER/NAME; default pyproject.toml's, or git's origin")
    options = parser.parse_args(arguments)
    try:
        if options.command == "address":
            settle(options.repository)
            readdress()
            return 0
        for prefix in options.prefix:
            if not names(prefix) and prefix:
                raise NotebookError(f"prefix: found no notebooks/src/{prefix}*.py, expected one")
            for name in names(prefix):
                build(name, options.machines, options.python)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
