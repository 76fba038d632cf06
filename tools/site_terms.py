"""Links from the book's chapters to its glossary: each term where a chapter first uses it."""

from __future__ import annotations

import re
from dataclasses import dataclass

ROW = re.compile(r"^\| (?P<word>[^|]+?) \|.*\[(?P<number>\d\d)\]\([^)]*\) \|$", re.M)
# Words that the prose also uses in their everyday sense: linked only in the chapter that defines them.
EVERYDAY = frozenset(
    "bottleneck box candidate detach emit filter groups head heat hypothesis identity jump kernel layout "
    "mask merging path peak port position prefix profile rank reference shortcut target vanishing".split()
)
# What no link may stand in: code, equations, comments, headings, links, tags, the line that opens a fold, the
# line of minutes; and all that follows the heading of the chapter's own glossary.
KEPT = re.compile(
    r"^## Glossary$.*|^\*Core path.*?\*$|"
    r"```.*?```|~~~.*?~~~|``.+?``|`[^`]+`|\$\$.*?\$\$|(?<!\\)\$(?!\s)(?:[^$\n]|\n(?!\n))+?(?<!\\)\$"
    r"|\\begin\{(\w+\*?)\}.*?\\end\{\1\}|<!--.*?-->|^#{1,6} .*?$|!?\[[^\]]*\]\([^)]*\)|<https?:[^>]*>"
    r"|<(a|summary|code|pre)\b.*?</\2>|<[^<>]+>|https?://\S+",
    re.M | re.S,
)


@dataclass(frozen=True)
class Term:
    """A row of the glossary.

    Attributes:
        form: the term as the text writes it.
        anchor: the id of its row.
        number: the notebook that defines it.
    """

    form: str
    anchor: str
    number: int

    def known_in(self, number: int) -> bool:
        """Whether chapter `number` means this by its words: an ordinary word only from its definition on."""
        if self.form in EVERYDAY:
            return number == self.number
        return number >= self.number or re.search(r"[ A-Z-]", self.form) is not None

    def fits(self, text: str) -> bool:
        """Whether `text`, which is the form but for the case of its letters, has the term's capitals."""
        return text[1:] == self.form[1:] and (text[0] == self.form[0] or self.form[1:].islower())


def anchor(word: str) -> str:
    return "term-" + re.sub(r"[^0-9a-zα-ω]+", "-", word.lower()).strip("-")


def anchored(glossary: str) -> str:
    """The glossary with an id in each row."""

    def row(match: re.Match) -> str:
        word = match["word"]
        return match[0].replace(f"| {word} |", f'| <span id="{anchor(word)}">{word}</span> |', 1)

    return ROW.sub(row, glossary)


def forms(word: str) -> list[str]:
    """How the text may write a term: "CER, WER" is two, "name (NAME)" too; "x (of a y)" is not "x"."""
    found = re.fullmatch(r"(.+?) \(([^()]+)\)", word)
    if found:
        return [] if " " in found[2] else [found[1], found[2]]
    # The letter at the end is a symbol: "forward variable α".
    return [re.sub(r" [α-ω]$", "", part) for part in word.split(", ")]


def terms(glossary: str) -> dict[str, Term]:
    """Form of a term in lower case -> its row."""
    found: dict[str, Term] = {}
    for match in ROW.finditer(glossary):
        for form in forms(match["word"]):
            if len(form) > 1:
                term = Term(form, anchor(match["word"]), int(match["number"]))
                found.setdefault(form.lower(), term)
    return found


class Linker:
    """Links the terms of one chapter, cell after cell.

    Args:
        known: what :func:`terms` returns.
        number: the chapter's number.
    """

    def __init__(self, known: dict[str, Term], number: int) -> None:
        self._known = {form: term for form, term in known.items() if term.known_in(number)}
        self._linked: set[str] = set()
        longest = sorted(self._known, key=len, reverse=True)
        words = "|".join(re.escape(form).replace(r"\ ", r"\s") for form in longest)
        self._words = re.compile(rf"(?<![\w.-])({words})(?:e?s)?(?![\w-]|\.\w)", re.I)

    def __call__(self, text: str) -> str:
        """Return the Markdown `text` with a link at the first use of each term that has none yet."""
        parts, end = [], 0
        for match in KEPT.finditer(text):
            parts += [self._words.sub(self._link, text[end : match.start()]), match[0]]
            end = match.end()
        return "".join([*parts, self._words.sub(self._link, text[end:])])

    def _link(self, match: re.Match) -> str:
        written = re.sub(r"\s", " ", match[1])
        term = self._known[written.lower()]
        if term.anchor in self._linked or not term.fits(written):
            return match[0]
        self._linked.add(term.anchor)
        return f'<a class="term" href="glossary.html#{term.anchor}">{match[0]}</a>'
