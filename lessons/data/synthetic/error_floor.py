"""The error that no lip reader of the synthetic talker can go below: some letters look the same."""

from __future__ import annotations

from dataclasses import dataclass

from lessons.ctc.grammar import SLOTS
from lessons.ctc.metrics import edit_distance
from lessons.data.synthetic.visemes import word_visemes


@dataclass(frozen=True)
class ErrorFloor:
    """The best word and character error rates on sentences drawn evenly from the grammar, as fractions.

    Attributes:
        wer: word errors over words.
        cer: character edits over characters, spaces included.
        groups: for every slot's words, those that look alike; a group of one is a word that looks like no
            other. In the order of the slots.
    """

    wer: float
    cer: float
    groups: tuple[tuple[str, ...], ...]


def homophemes(words: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Group words by their visemes: ("a", "b", "p") -> (("a",), ("b", "p"))."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for word in words:
        groups.setdefault(word_visemes(word), []).append(word)
    return tuple(tuple(group) for group in groups.values())


def error_floor() -> ErrorFloor:
    """Return the Bayes error: an ideal observer's, who knows the grammar and guesses where it must.

    The video depends on the sentence only through its visemes, and the words of a slot are equally likely. So
    among k words that look alike any guess is right once in k times. In characters, the best guess is the
    word with the fewest edits to the others (all our groups are single letters, where every guess is as good:
    k - 1 edits in k sentences).

    It is a floor. Different viseme sequences count as always told apart, though fast speech and noise hide
    some: a model may need luck to get down to it, and none gets below except by luck.
    """
    word_errors, edits, characters = 0.0, 0.0, len(SLOTS) - 1.0  # characters: five spaces, then the words
    for slot in SLOTS:
        for group in homophemes(slot):
            word_errors += (len(group) - 1) / len(slot)
            edits += min(sum(edit_distance(said, guess) for said in group) for guess in group) / len(slot)
        characters += sum(map(len, slot)) / len(slot)
    groups = tuple(group for slot in SLOTS for group in homophemes(slot))
    return ErrorFloor(word_errors / len(SLOTS), edits / characters, groups)
