"""Give a notebook another number or another name, everywhere.

    python -m tools.renumber 15_new 09       put it at number 09; the notebooks from there on move up by one
    python -m tools.renumber 12_old 12_new   another name: its files, its checks and their tests, too
    python -m tools.renumber 12_old 09_new   both
    python -m tools.renumber --free 09       those from 09 on move up by one: 09 is free for a new one
    python -m tools.renumber ... --dry       print every line that would change; write nothing

Files move by `git mv`. References are rewritten in all tracked text files but the executed notebooks, which
`make notebooks` writes again. `RULES` lists the forms in which the project writes a notebook's number; any
other number is left alone. What only a person can decide is printed at the end, with its line.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = re.compile(r"notebooks/src/(\d\d)_(\w+)\.py")
# Their numbers are examples, of a course that is not this one.
SKIPPED = {"tools/renumber.py", "tests/course/test_renumber.py"}
# Lists in the order of the notebooks: file -> variable.
ORDERED = {"lessons/course.py": "COURSE", "lessons/checks/__init__.py": "MODULES"}
NEXT_STEPS = """Now: git diff, the lines above, and then
    make lint
    python -m tools.notebooks address && python -m tools.pages
    make notebooks
and look at the map of the course in the first notebook."""


class RenumberError(ValueError):
    """The notebooks cannot be renumbered as asked; nothing has been written."""


# Which notebook goes where


@dataclass(frozen=True)
class Plan:
    """What becomes of each notebook's number and of the name behind it."""

    slugs: Mapping[int, str]  # number -> name behind it, as they are now
    numbers: Mapping[int, int]  # number now -> number then, for every notebook
    renamed: Mapping[str, str]  # name behind the number, now -> then; only those that change


def existing(paths: list[str]) -> dict[int, str]:
    """number -> name behind it, of the notebooks that have a source.

    Raises:
        RenumberError: two notebooks have the same number.
    """
    found: dict[int, str] = {}
    for match in filter(None, map(SOURCE.fullmatch, paths)):
        number, slug = int(match[1]), match[2]
        if number in found:
            raise RenumberError(
                f"number {number:02d}: found {found[number]} and {slug}, expected one notebook"
            )
        found[number] = slug
    return found


def plan_move(slugs: Mapping[int, str], name: str, target: str) -> Plan:
    """Put the notebook ``name``, "15_new", at ``target``: "09", "09_other" or, at the same number, "other".

    Raises:
        RenumberError: there is no such notebook, the target is malformed or beyond the last notebook, or the
            new name is taken.
    """
    names = {f"{number:02d}_{slug}": number for number, slug in slugs.items()}
    if name not in names:
        raise RenumberError(
            f"notebook {name!r}: expected one of {', '.join(sorted(names))}, committed to git"
        )
    match = re.fullmatch(r"(?:(\d\d)(?:_|$))?([a-z]\w*)?", target)
    if not target or match is None or target.endswith("_"):
        raise RenumberError(f"target {target!r}: expected NN, NN_name or name")
    old = names[name]
    new = int(match[1]) if match[1] else old
    if new > max(slugs):
        raise RenumberError(
            f"target {target!r}: expected a number up to {max(slugs):02d}, the last notebook's"
        )
    slug = match[2] or slugs[old]
    if slug != slugs[old] and slug in slugs.values():
        raise RenumberError(f"target {target!r}: another notebook is called {slug}")
    step = 1 if new < old else -1
    between = range(min(new, old), max(new, old) + 1)
    numbers = {n: n + step if n in between else n for n in slugs} | {old: new}
    return Plan(slugs, numbers, {slugs[old]: slug} if slug != slugs[old] else {})


def plan_gap(slugs: Mapping[int, str], free: str) -> Plan:
    """Move the notebooks from number ``free`` on up by one.

    Raises:
        RenumberError: no notebook has this number.
    """
    if not re.fullmatch(r"\d\d", free) or int(free) not in slugs:
        raise RenumberError(f"--free {free!r}: expected a notebook's number, such as {max(slugs):02d}")
    return Plan(slugs, {n: n + (n >= int(free)) for n in slugs}, {})


# Where a text speaks of a notebook

# A rule is (paths, context, pattern). In a file whose path matches ``paths``, ``pattern`` is searched in each
# match of ``context``; an empty context is the whole text. Its groups are "refs", numbers of two digits;
# "plain", a number without a leading zero; "slug", the name behind a number. A match with a number and a name
# counts only if they belong to one notebook. In a pattern, NN is the number of any notebook, SLUG the name of
# one, LIST "NN", "NN, NN and NN" or "NN to NN", ~ what separates two words (spaces, or the end of a line and
# the # before the next), and END keeps out 12 % and 12.5.
RULES = (
    ("", "", r"(?i:(?<![a-z])notebooks)~[\[(*`\"']*(?P<refs>LIST)"),
    ("", "", r"(?i:(?<![a-z])notebook)(?:~[\[(*`\"']*|_)(?P<refs>NN)END"),
    ("", "", r"(?<![A-Za-z0-9])(?P<refs>NN)_(?P<slug>SLUG)(?!\w)"),  # the name of its files
    ("", "", r"\[(?P<refs>NN)\](?=\(\S*notebooks/)"),
    ("", "", r"(?<=# )(?P<refs>NN)(?= · )"),  # its title
    ("", "", r"(?<![\w.])(?P<refs>NN)(?=~§\d)"),
    ("", "", r"\((?P<refs>NN)(?=,?~section\b)"),
    # exercises, and strings that hold nothing but numbers
    ("", "", r"[\"'`](?P<refs>NN)(?=\.[a-z{])(?!\.(?:csv|gif|ipynb|json|md|mp4|mpg|png|py|txt)\b)"),
    (r"\.py$", "", r"(?P<quote>[\"'])(?P<refs>NN(?:, NN)+|(?=0)NN)(?P=quote)"),
    (r"_capstone\.py$", r"\(\"(?:find|join|read)\b[^)\n]*", r"\"(?P<refs>NN)\""),  # its table of parts
    (r"\.py$", "", r"\b(?:answer_tests|from_notebook|source|notebooks|unit_tests)\([\"'](?P<refs>NN)[\"']"),
    # prerequisites, as in "LipNet (06)", and tables with a column of notebooks
    (r"^notebooks/src/", r"\*\*You need\*\*(?:.|\n(?!#?[ \t]*\n))*", r"\((?P<refs>LIST)(?=\))"),
    ("", r"(?m)^(?:# )?\|.*\bnotebooks? *\|.*\n(?:(?:# )?\|.*\n?)+", r"\| *(?P<refs>NN(?:, NN)*)(?= *\|)"),
    # commands
    ("", "", r"(?:\bONLY=\"?|--only |\"build\", \")(?P<refs>NN(?: NN)*)\b"),
    ("", "", r"\btools\.(?:browser|notebooks build) (?P<refs>NN(?: NN)*)\b"),
    ("", "", r"\bbegins?~with~(?P<refs>NN(?:~or~NN)*)END"),
    ("", "", r"\bsuch~as~(?P<refs>(?=0)NN)END"),
    # lists in the order of the notebooks
    (r"\.py$", "", r"\bNotebook\(\s*(?P<plain>\d{1,2}), [\"'](?P<slug>SLUG)[\"']"),
    (r"\.py$", "", r"[\"'](?P<refs>NN)[\"']: [\"'](?P<slug>SLUG)[\"']"),
    # the checks of a notebook's exercises, and their tests
    ("", "", r"\bchecks[./](?P<slug>SLUG)(?!\w)"),
    ("", "", r"checks_(?P<slug>SLUG)(?!\w)"),
)


def compiled(pattern: str, plan: Plan) -> re.Pattern:
    """A rule's pattern with its abbreviations written out for the notebooks of ``plan``."""
    number = "(?:" + "|".join(f"{n:02d}" for n in plan.slugs) + ")"
    slug = "(?:" + "|".join(map(re.escape, plan.slugs.values())) + ")"
    one = rf"(?<!\d){number}END"
    several = rf"{one}(?:(?:,~|[-–]|~to~){one})*(?:,?~(?:and|or)~{one})?"
    written = pattern.replace("LIST", several).replace("NN", rf"(?<!\d){number}(?!\d)")
    return re.compile(
        written.replace("SLUG", slug).replace("END", r"(?![\d%]|[.,:]\d)").replace("~", r"(?:\s|#)+")
    )


@dataclass(frozen=True)
class Edit:
    """The characters ``start`` to ``end`` of a text become ``new``."""

    start: int
    end: int
    new: str


class Rewriter:
    """Finds and rewrites what texts say about the notebooks of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rules = [
            (re.compile(paths), re.compile(context), compiled(pattern, plan))
            for paths, context, pattern in RULES
        ]

    def matches(self, text: str, path: str) -> Iterator[re.Match]:
        """Every place in the text of ``path`` that speaks of a notebook, in the order of the rules."""
        for paths, context, pattern in self.rules:
            if not paths.search(path):
                continue
            spans = [m.span() for m in context.finditer(text)] if context.pattern else [(0, len(text))]
            for start, end in spans:
                for match in pattern.finditer(text, start, end):
                    groups = match.groupdict()
                    number = groups.get("refs") or groups.get("plain")
                    slug = groups.get("slug")
                    if not (number and slug) or self.plan.slugs.get(int(number)) == slug:
                        yield match

    def edits(self, text: str, path: str) -> list[Edit]:
        """What is to change in the text of ``path``: disjoint, in order, some with nothing new."""
        found = set()
        for match in self.matches(text, path):
            groups = match.groupdict()
            for name, form in (("refs", "{:02d}"), ("plain", "{}")):
                start, end = match.span(name) if groups.get(name) else (0, 0)
                for number in re.compile(r"\d+").finditer(text, start, end):
                    new = form.format(self.plan.numbers[int(number[0])])
                    found.add((*number.span(), new))
            if groups.get("slug"):
                found.add((*match.span("slug"), self.plan.renamed.get(match["slug"], match["slug"])))
        return [Edit(*edit) for edit in sorted(found)]

    def rewritten(self, text: str, path: str) -> str:
        """The text of the file ``path`` as it is to be. Every reference is replaced once."""
        pieces, done = [], 0
        for edit in self.edits(text, path):
            pieces += [text[done : edit.start], edit.new]
            done = edit.end
        return "".join(pieces) + text[done:]


def in_order(text: str, variable: str) -> str:
    """A module's source with the entries of the tuple or dictionary ``variable`` sorted by their numbers.

    Raises:
        RenumberError: there is no such tuple or dictionary, or two of its entries share a line.
    """
    lines = text.splitlines(keepends=True)
    for node in ast.parse(text).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and target.id == variable:
            break
    else:
        raise RenumberError(f"{variable}: found no such list, expected one")
    value = node.value
    pairs = (value.keys, value.values) if isinstance(value, ast.Dict) else (value.elts, value.elts)
    blocks, done = [], value.lineno  # an entry's lines, with the comments above it
    for first, last in zip(*pairs, strict=True):
        if first.lineno <= done:
            raise RenumberError(f"{variable}, line {first.lineno}: expected one entry per line")
        key = first.args[0].value if isinstance(first, ast.Call) else first.value
        blocks.append((int(key), "".join(lines[done : last.end_lineno])))
        done = last.end_lineno
    blocks.sort(key=lambda block: block[0])
    return "".join([*lines[: value.lineno], *(block for _, block in blocks), *lines[done:]])


# What only a person can decide


def remarks(text: str, path: str, rewriter: Rewriter) -> Iterator[str]:
    """Sentences about places of a file that may be wrong now, as "path:line: …" with their new numbers.

    Args:
        text: as it was before.
        path: its path before.
    """
    numbers = rewriter.plan.numbers
    new_path, new_lines = rewriter.rewritten(path, path), rewriter.rewritten(text, path).split("\n")
    source = SOURCE.fullmatch(path)
    own = int(source[1]) if source else None

    def remark(position: int, sentence: str) -> str:
        line = text.count("\n", 0, position)
        return f"{new_path}:{line + 1}: {sentence}\n    {new_lines[line].strip()}"

    covered = set()
    for edit in rewriter.edits(text, path):
        covered.add(edit.start)
        if own is None or not text[edit.start : edit.end].isdecimal():
            continue
        old = int(text[edit.start : edit.end])
        if re.search(r"\*\*Next\*\*\W+notebook\W+$", text[: edit.start]):
            if numbers[old] != numbers[own] + 1:
                yield remark(edit.start, f"the next notebook is {numbers[own] + 1:02d}")
        elif (old < own) != (numbers[old] < numbers[own]):
            where = "earlier" if numbers[old] < numbers[own] else "later"
            yield remark(edit.start, f"notebook {numbers[old]:02d} comes {where} now")
    for match in rewriter.matches(text, path):
        for a, b in re.findall(r"(\d\d)(?:\W+to\W+|[-–])(\d\d)", match.groupdict().get("refs") or ""):
            before = [n for n in numbers if int(a) <= n <= int(b)]
            after = [n for n in numbers.values() if numbers[int(a)] <= n <= numbers[int(b)]]
            if sorted(map(numbers.get, before)) != sorted(after):
                yield remark(match.start("refs"), "these were other notebooks before")
    for match in re.finditer(r"\bzip\(COURSE\b|(?i:\b(?:next|last|previous) notebook\b)", text):
        yield remark(match.start(), "depends on the order of the notebooks")
    for match in re.finditer(r"(?i:(?<![a-z])notebooks?)(?:\s|#)+(\d\d)(?!\d)", text):
        if int(match[1]) not in numbers:
            yield remark(match.start(1), f"there was no notebook {match[1]}")
    for match in re.finditer(r"(?<![\w.:,+−-])0\d(?![\w:-]|[.,]\d)", text):
        if int(match[0]) in numbers and match.start() not in covered:
            yield remark(match.start(), "left alone; if this is a notebook's number, write: notebook NN")


# The repository


def git(root: Path, *arguments: str) -> str:
    """The output of a git command in ``root``.

    Raises:
        RenumberError: it failed.
    """
    process = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, encoding="utf-8")
    if process.returncode:
        raise RenumberError(f"git {arguments[0]}: {process.stderr.strip()}")
    return process.stdout


def texts(root: Path, paths: list[str]) -> dict[str, str]:
    """path -> text of the tracked files that may speak of a notebook; line ends stay as they are."""
    found = {}
    for path in paths:
        if path in SKIPPED or path.endswith(".ipynb") or not (root / path).is_file():
            continue
        content = (root / path).read_bytes()
        try:
            found[path] = content.decode("utf-8")
        except UnicodeDecodeError:  # weights, pictures, videos
            continue
    return found


def moved(root: Path, paths: list[str], rewriter: Rewriter) -> dict[str, str]:
    """path -> new path, of the tracked files that get another name.

    Raises:
        RenumberError: a new path is that of a file that stays.
    """
    moves = {path: new for path in paths if (new := rewriter.rewritten(path, path)) != path}
    for path, new in moves.items():
        if (root / new).exists() and new not in moves:
            raise RenumberError(f"{path}: cannot become {new}, which is there already")
    return moves


def move_files(root: Path, moves: Mapping[str, str]) -> None:
    """`git mv` all files at once: a file may take the name that another gives up."""
    for path, new in moves.items():
        git(root, "mv", path, f"{new}.renumbered")
    for new in moves.values():
        git(root, "mv", f"{new}.renumbered", new)


def renumber(root: Path, plan: Plan, dry: bool) -> None:
    """Rewrite, move, and print what is left to decide; with ``dry``, print every changed line instead.

    Raises:
        RenumberError: something stands in the way; nothing has been written.
    """
    paths = git(root, "ls-files", "-z").split("\0")[:-1]
    rewriter = Rewriter(plan)
    moves = moved(root, paths, rewriter)
    old = texts(root, paths)
    new = {path: rewriter.rewritten(text, path) for path, text in old.items()}
    for path, variable in ORDERED.items():
        if path in new:
            new[path] = in_order(new[path], variable)
    changed = [path for path in old if new[path] != old[path]]
    if dry:
        for path in changed:
            pairs = zip(old[path].split("\n"), rewriter.rewritten(old[path], path).split("\n"), strict=True)
            for line, (before, after) in enumerate(pairs, start=1):
                if before != after:
                    print(f"{path}:{line}\n    - {before.strip()}\n    + {after.strip()}")
    else:
        for path in changed:
            (root / path).write_bytes(new[path].encode("utf-8"))
        move_files(root, moves)
    for path, target in sorted(moves.items()):
        print(f"{path} -> {target}")
    for path, text in old.items():
        for remark in dict.fromkeys(remarks(text, path, rewriter)):
            print(remark)
    print(f"{len(moves)} files move, {len(changed)} are rewritten.")
    if not dry:
        print(NEXT_STEPS)


def main(argv: list[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", nargs="?", help="a notebook, NN_name")
    parser.add_argument("target", nargs="?", help="its new number, name, or both: NN, name, NN_name")
    parser.add_argument("--free", metavar="NN", help="move the notebooks from this number on up by one")
    parser.add_argument("--dry", action="store_true", help="print what would change; write nothing")
    args = parser.parse_args(argv)
    if (args.free is None) == (args.target is None) or (args.free and args.name):
        parser.error("expected NAME and TARGET, or --free NN")
    try:
        if not args.dry and git(root, "status", "--porcelain", "--untracked-files=no"):
            raise RenumberError("git status: found changes that are not committed; commit them first")
        slugs = existing(git(root, "ls-files", "-z").split("\0"))
        if not slugs:
            raise RenumberError("notebooks/src: found no NN_name.py that git knows, expected the notebooks")
        plan = plan_gap(slugs, args.free) if args.free else plan_move(slugs, args.name, args.target)
        renumber(root, plan, args.dry)
    except RenumberError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
