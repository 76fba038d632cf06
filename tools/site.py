"""Make the book: a site from the committed notebooks, which runs nothing and asks nothing of the network.

    python -m tools.site               writes site/_build/html (make site)
    python -m tools.site stage         only what Sphinx reads, to site/_build/source
    python -m tools.site live          only the live pages' scripts and data, into a book made before

Sphinx reads copies: links between pages in place of links between folders, folds that say what is in them,
and a line under each slider. Needs the optional dependencies `site`; MathJax is taken from site/_build/node,
where make site puts it, and what the live page loads from site/_build/live (tools/live.py). The chapters are
those of lessons/course.py, in its order.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from lessons.course import COURSE, Notebook
from tools.site_terms import Linker, anchored, terms

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "site"
BUILD = SITE / "_build"
MATHJAX = Path("mathjax", "es5", "tex-svg-full.js")  # all of it in one file: it loads nothing later
BADGE = re.compile(r"^\[!\[Open in Colab\]\([^)]*\)\]\((?P<colab>[^)]*)\)$", re.M)
LINK = re.compile(r"\]\((?:\.\./)?(?P<folder>docs|notebooks)/(?P<file>[\w/]+)\.(?:md|ipynb)(?P<rest>[^)]*)\)")
TITLE = re.compile(r"\A# @title (?P<title>.+?) \{.*\}\n")
MOVES = re.compile(r"^(?:_ = |@)?interact\(", re.M)
PROGRESS = re.compile(r"\b0%\|.*\| *0/")  # tqdm's
MINUTES = re.compile(r"Core path: about (\d+) minutes; deeper sections: about (\d+)")
USUAL = 8  # wrong answers that the page for teachers lists: the tests have the usual ones first
PAGES = ("cheat_sheet", "ctc_explorer", "live")  # of site/pages, as they are
SCRIPTS = ("page", "reader")  # of site/live, what the live page runs
DOCS = ("glossary", "symbols", "help", "robustness", "eight_gpus")
ROUTES = (  # name, what for, the numbers' file names without their numbers
    ("One evening", "How a machine reads lips: the core path of four notebooks.",
     ("start_here", "ctc_loss", "lipnet", "train_lipnet")),
    ("Lip reading", "From video tensors to a reader for people whom it never saw.",
     ("start_here", "video_tensors", "stcnn", "gru", "ctc_loss", "ctc_decoding", "lipnet", "lip_data",
      "talker", "train_lipnet", "strangers")),
    ("Object detection in video", "From video tensors to a detector with a memory.",
     ("start_here", "video_tensors", "stcnn", "gru", "bottleneck", "conv_lstm", "bottleneck_lstm",
      "video_detection")),
)  # fmt: skip


class SiteError(RuntimeError):
    """The book cannot be made; the message says what is missing."""


def address() -> str:
    """The repository's address, from its one place."""
    found = re.search(r'^Repository = "([^"]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    if found is None:
        raise SiteError("pyproject.toml: found no line 'Repository = …', expected the repository's address")
    return found[1]


def chapters() -> list[Notebook]:
    """The notebooks that are written and lie in the folder, in the order of the course."""
    return [book for book in COURSE if book.written and (ROOT / "notebooks" / f"{book.name}.ipynb").is_file()]


def colab(book: Notebook) -> str:
    repository = address().removeprefix("https://github.com/")
    return f"https://colab.research.google.com/github/{repository}/blob/main/notebooks/{book.name}.ipynb"


# One notebook


def relink(text: str) -> str:
    """Links between docs/ and notebooks/ as links between pages that lie side by side."""
    return LINK.sub(lambda m: f"]({m['file']}.{'md' if m['folder'] == 'docs' else 'ipynb'}{m['rest']})", text)


def is_slider(output: dict) -> bool:
    """A widget's text: the committed notebook has no widget to show for it."""
    data = output.get("data", {})
    text = "".join(data.get("text/plain", ""))
    return set(data) == {"text/plain"} and text.startswith(("interactive(", "<function", "Box("))


def is_progress(output: dict) -> bool:
    """A progress bar as the notebook keeps it: at its start, of no use to a reader."""
    data = output.get("data", {})
    return set(data) == {"text/plain"} and bool(PROGRESS.search("".join(data["text/plain"])))


def chapter(book: Notebook) -> dict:
    """The notebook `book` as the site shows it."""
    notebook = json.loads((ROOT / "notebooks" / f"{book.name}.ipynb").read_text(encoding="utf-8"))
    link = Linker(terms((ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")), book.number)
    cells = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        tags = cell["metadata"].get("tags", [])
        after = []
        if cell["cell_type"] == "markdown":
            source = BADGE.sub(lambda m: f"[Open this chapter in Colab]({m['colab']})", source)
            source = link(relink(source))
        elif cell["cell_type"] == "code":
            title = TITLE.match(source)
            fold = (
                title["title"].replace("`", "") if title else "Set up" if "google.colab" in source else None
            )
            source = TITLE.sub("", source, count=1)
            if fold:
                tags = [*tags, "hide-input"]
            if "predict" in tags:
                tags = [*tags, "hide-output"]
            hidden = f": {fold}" if fold else " the output" if "predict" in tags else " the code"
            cell["metadata"]["mystnb"] = {
                "code_prompt_show": f"Show{hidden}",
                "code_prompt_hide": f"Hide{hidden}",
            }
            cell["outputs"] = [output for output in cell["outputs"] if not is_progress(output)]
            if MOVES.search(source):
                cell["outputs"] = [output for output in cell["outputs"] if not is_slider(output)]
                text = f"*On this page the slider stands still. [Move it in Colab]({colab(book)}).*"
                after = [
                    {"cell_type": "markdown", "id": f"s{cell['id']}"[:60], "metadata": {}, "source": text}
                ]
        cell["metadata"]["tags"] = list(dict.fromkeys(tags))
        cells += [{**cell, "source": source}, *after]
    notebook["cells"] = cells
    return notebook


def minutes(book: Notebook) -> tuple[int, int] | None:
    """Minutes of the core path and of the deeper sections, as the notebook's head says."""
    text = (ROOT / "notebooks" / "src" / f"{book.name}.py").read_text(encoding="utf-8")
    found = MINUTES.search(re.sub(r"\n#? ?", " ", text))
    return (int(found[1]), int(found[2])) if found else None


# Pages that are made


def spent(book: Notebook) -> tuple[str, str]:
    found = minutes(book)
    return (str(found[0]), str(found[1])) if found else ("–", "–")


def routes() -> str:
    """The three routes, each with its chapters and minutes."""
    by_slug = {book.slug: book for book in chapters()}
    parts = ["# Three routes", "You need not read all of it. Minutes are those of the core path."]
    for name, what, slugs in ROUTES:
        books = [by_slug[slug] for slug in slugs if slug in by_slug]
        known = [found[0] for found in map(minutes, books) if found]
        total = f"{sum(known)} minutes" if len(known) == len(books) else f"more than {sum(known)} minutes"
        rows = [
            f"| [{b.number:02d} · {b.title}]({b.name}.ipynb) | {b.builds} | {spent(b)[0]} |" for b in books
        ]
        parts += [f"## {name}", f"{what} In all {total}.",
                  "\n".join(["| chapter | you build | minutes |", "|---|---|---|", *rows])]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def wrong_answers() -> Iterator[tuple[Notebook, str, str]]:
    """(chapter, exercise, what is wrong) of the tests of the checks, in their `WRONG`; read and not run."""
    for book in chapters():
        path = ROOT / "tests" / "checks" / f"test_checks_{book.slug}.py"
        if not path.is_file():
            continue
        known = {
            node.targets[0].id: node.value
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        }

        def items(node: ast.AST | None, known: dict[str, ast.AST] = known) -> Iterator[ast.AST]:
            if isinstance(node, ast.Name):
                yield from items(known.get(node.id))
            for item in getattr(node, "elts", []):
                yield from items(item.value) if isinstance(item, ast.Starred) else [item]

        wrong = known.get("WRONG")
        if not isinstance(wrong, ast.Dict):
            continue
        for key, value in zip(wrong.keys, wrong.values, strict=True):
            for item in items(value):
                name = getattr(item.elts[0], "value", None) if getattr(item, "elts", None) else None
                if isinstance(key, ast.Constant) and isinstance(name, str):
                    yield book, str(key.value), name


def plain(text: str) -> str:
    """Text without a meaning for Markdown, fit for a table's cell."""
    text = re.sub(r"([\\`*_|<>\[\]$#~{}])", r"\\\1", " ".join(text.split()))
    return text


def teachers() -> str:
    """The page for teachers: a plan of weeks, minutes, what learners get wrong."""
    text = (SITE / "pages" / "teachers.md").read_text(encoding="utf-8")
    rows = [
        f"| {week} | [{book.number:02d} · {book.title}]({book.name}.ipynb) | {book.builds} "
        f"| {spent(book)[0]} | {spent(book)[1]} |"
        for week, book in enumerate(chapters(), start=1)
    ]
    plan = [
        "| week | chapter | they build | core, minutes | deeper, minutes |",
        "|---|---|---|---|---|",
        *rows,
    ]
    found: dict[tuple[str, str], list[str]] = {}
    for book, exercise, name in wrong_answers():
        names = found.setdefault((book.heading.removeprefix("# "), exercise.split(".")[-1]), [])
        if name not in names and len(names) < USUAL:
            names.append(name)
    lists, last = [], ""
    for (heading, exercise), names in found.items():
        if heading != last:
            lists.append(f"### {heading}")
            last = heading
        listed = "\n".join(f"- {plain(name)}" for name in names)
        head = f"<details><summary><code>{exercise}</code></summary>"
        lists.append(f"{head}\n\n{listed}\n\n</details>")
    return text.replace("%PLAN%", "\n".join(plan)).replace("%WRONG%", "\n\n".join(lists))


def signature(node: ast.AST) -> str:
    if isinstance(node, ast.ClassDef):
        bases = ", ".join(map(ast.unparse, node.bases))
        return f"class {node.name}" + (f"({bases})" if bases else "")
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    text = f"{node.name}({ast.unparse(node.args)}){returns}"
    return text if len(text) <= 90 else text.replace("(", "(\n    ", 1).replace(", ", ",\n    ")


def described(node: ast.AST) -> str:
    """A docstring as text: its lines stay lines, what it says in backticks stays code."""
    text = (ast.get_docstring(node) or "").replace("```", "")
    return f"```text\n{text}\n```" if text else ""


def api(room: str, paths: list[Path]) -> str:
    """One page for a room of `lessons`: what its modules offer, from their docstrings; runs nothing."""
    parts = [f"# {room}"]
    for path in paths:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        parts += [f"## {plain(module)}", described(tree)]
        for node in tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                parts += [f"### {plain(node.name)}", f"```python\n{signature(node)}\n```", described(node)]
    return "\n\n".join(part for part in parts if part) + "\n"


def api_pages() -> dict[str, str]:
    """Page name -> text, for each room of `lessons`, and one that lists them."""
    rooms: dict[str, list[Path]] = {}
    for path in sorted((ROOT / "lessons").rglob("*.py")):
        parts = path.relative_to(ROOT / "lessons").parts
        rooms.setdefault("lessons" if len(parts) == 1 else f"lessons.{parts[0]}", []).append(path)
    made = {f"api_{room.replace('.', '_')}": api(room, paths) for room, paths in sorted(rooms.items())}
    listed = "\n".join(made)
    made["api"] = (
        "# The library\n\nWhat `lessons` offers, room by room, from its docstrings.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n"
    )
    return made


def index() -> str:
    text = (SITE / "pages" / "index.md").read_text(encoding="utf-8")
    return text.replace("%CHAPTERS%", "\n".join(book.name for book in chapters()))


# The whole book


def stage(to: Path) -> list[str]:
    """Write what Sphinx reads into the folder `to`, and return the names of its pages."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    pages = {"index": index(), "routes": routes(), "teachers": teachers(), **api_pages()}
    for name in PAGES:
        pages[name] = (SITE / "pages" / f"{name}.md").read_text(encoding="utf-8")
    for name in DOCS:
        pages[name] = relink((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8"))
    pages["glossary"] = anchored(pages["glossary"])
    for name, text in pages.items():
        (to / f"{name}.md").write_text(text, encoding="utf-8")
    for book in chapters():
        (to / f"{book.name}.ipynb").write_text(json.dumps(chapter(book)), encoding="utf-8")
    shutil.copy(ROOT / "docs" / "talker.png", to)
    return [*pages, *(book.name for book in chapters())]


def live(html: Path) -> None:
    """Put what the two live pages load beside them: explorer/, live/page and live/reader, and live/data.

    Raises:
        SiteError: the data was not made.
    """
    if not (BUILD / "live").is_dir():
        raise SiteError(f"live page: found no {BUILD / 'live'}, expected it from `python -m tools.live`")
    shutil.rmtree(html / "live", ignore_errors=True)
    shutil.rmtree(html / "explorer", ignore_errors=True)
    shutil.copytree(SITE / "live" / "explorer", html / "explorer")
    for folder in SCRIPTS:
        shutil.copytree(SITE / "live" / folder, html / "live" / folder)
    shutil.copytree(BUILD / "live", html / "live" / "data")


def build(node: Path = BUILD / "node" / "node_modules") -> Path:
    """The site, in site/_build/html.

    Raises:
        SiteError: MathJax or the live page's data is missing, or Sphinx found a fault.
    """
    if not (node / MATHJAX).is_file():
        raise SiteError(f"MathJax: found no {node / MATHJAX}, expected it from `make site`")
    source, html = BUILD / "source", BUILD / "html"
    pages = stage(source)
    (source / "_static").mkdir()
    shutil.copy(node / MATHJAX, source / "_static" / "mathjax.js")
    for path in (SITE / "_static").iterdir():
        shutil.copy(path, source / "_static")
    shutil.rmtree(html, ignore_errors=True)
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html",
               "-c", str(SITE), "-d", str(BUILD / "doctrees"), str(source), str(html)]  # fmt: skip
    if subprocess.run(command, cwd=ROOT).returncode:
        raise SiteError("Sphinx: found the faults above, expected none")
    live(html)
    print(f"{len(pages)} pages in {html.relative_to(ROOT)}")
    if "/OWNER/" in address():
        print("address: still the placeholder OWNER (pyproject.toml); links to Colab lead nowhere")
    return html


def main() -> int:
    try:
        if sys.argv[1:] == ["stage"]:
            print("\n".join(stage(BUILD / "source")))
        elif sys.argv[1:] == ["live"]:
            live(BUILD / "html")
        else:
            build()
    except SiteError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
