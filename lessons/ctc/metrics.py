"""Character and word error rate (CER, WER): edit distances between references and hypotheses."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

Unit = TypeVar("Unit", bound=Hashable)  # a character, a word


def edit_distance(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> int:
    """Return the fewest insertions, deletions and substitutions between two sequences (Levenshtein 1966).

    Takes strings (edits of characters) or lists of words (edits of words).
    Time O(len(reference) * len(hypothesis)), memory one row of the table.
    """
    row = list(range(len(hypothesis) + 1))  # from an empty reference: j insertions
    for i, wanted in enumerate(reference, start=1):
        above_left, row[0] = row[0], i  # to an empty hypothesis: i deletions
        for j, found in enumerate(hypothesis, start=1):
            substitution = above_left + (wanted != found)
            above_left = row[j]
            row[j] = min(substitution, row[j] + 1, row[j - 1] + 1)
    return row[-1]


def edits(reference: Sequence[Unit], hypothesis: Sequence[Unit]) -> list[tuple[Unit | None, Unit | None]]:
    """Return a minimum edit alignment: pairs (reference unit, hypothesis unit), in order.

    A deletion is (unit, None), an insertion (None, unit). Where several alignments have the fewest edits, the
    last units are paired rather than deleted: "at b two" decoded as "at two" loses "b", not "two".
    """
    rows, columns = len(reference), len(hypothesis)
    cost = [[i + j if i == 0 or j == 0 else 0 for j in range(columns + 1)] for i in range(rows + 1)]
    for i, wanted in enumerate(reference, start=1):
        for j, found in enumerate(hypothesis, start=1):
            substitution = cost[i - 1][j - 1] + (wanted != found)
            cost[i][j] = min(substitution, cost[i - 1][j] + 1, cost[i][j - 1] + 1)
    pairs: list[tuple[Unit | None, Unit | None]] = []
    i, j = rows, columns
    while i or j:  # trace back along a cheapest path
        if i and j and cost[i][j] == cost[i - 1][j - 1] + (reference[i - 1] != hypothesis[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((reference[i], hypothesis[j]))
        elif i and cost[i][j] == cost[i - 1][j] + 1:
            i -= 1
            pairs.append((reference[i], None))
        else:
            j -= 1
            pairs.append((None, hypothesis[j]))
    return pairs[::-1]


def cer(references: str | Sequence[str], hypotheses: str | Sequence[str]) -> float:
    """Return the character error rate (CER) of a corpus: edits per reference character, spaces included.

    Two strings are a corpus of one sentence.

    A fraction: 0 is perfect, and insertions can take it above 1. Sums over the corpus before dividing, so a
    long sentence weighs more than a short one; the mean of the sentences' rates is another number. An empty
    reference among others is allowed: its whole hypothesis counts as insertions.

    Raises:
        TypeError: when one is a string and the other a list.
        ValueError: when the two lists differ in length, or no reference holds a character.
    """
    return _corpus_rate(*_sentences(references, hypotheses), "character")


def wer(references: str | Sequence[str], hypotheses: str | Sequence[str]) -> float:
    """Return the word error rate (WER) of a corpus: as ``cer``, in words between white space.

    Raises:
        TypeError: when one is a string and the other a list.
        ValueError: when the two lists differ in length, or no reference holds a word.
    """
    references, hypotheses = _sentences(references, hypotheses)
    return _corpus_rate([r.split() for r in references], [h.split() for h in hypotheses], "word")


def _sentences(
    references: str | Sequence[str], hypotheses: str | Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return both as lists of sentences: a string is one sentence, not a list of characters."""
    if isinstance(references, str) != isinstance(hypotheses, str):
        raise TypeError(
            f"references is a {type(references).__name__}, hypotheses a {type(hypotheses).__name__}: "
            "expected two strings (one sentence) or two lists of strings"
        )
    if isinstance(references, str):
        return [references], [hypotheses]
    return list(references), list(hypotheses)


def _corpus_rate(references: list[Sequence[str]], hypotheses: list[Sequence[str]], unit: str) -> float:
    if len(references) != len(hypotheses):
        raise ValueError(
            f"{len(references)} references but {len(hypotheses)} hypotheses: "
            "give one hypothesis for each reference"
        )
    total = sum(len(reference) for reference in references)
    if total == 0:
        raise ValueError(f"the references hold no {unit}, so the {unit} error rate is 0/0: give at least one")
    edits = sum(edit_distance(r, h) for r, h in zip(references, hypotheses, strict=True))
    return edits / total
