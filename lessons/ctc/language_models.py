"""Language models for decoding: the probability of the next label, given those before it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import Protocol

import numpy as np

from lessons.ctc.alphabet import Alphabet
from lessons.ctc.grammar import SLOTS


class LanguageModel(Protocol):
    """A distribution over labels, read one class at a time.

    A state summarizes the labels read so far. Model and state must be hashable, equal states must give equal
    probabilities, and a model must not change: decoders ask once per state and cache the answer.
    """

    def start(self) -> Hashable:
        """Return the state before the first label."""

    def step(self, state: Hashable, label: int) -> tuple[float, Hashable]:
        """Return log p(label | state) and the state after it; -inf forbids the label."""

    def end(self, state: Hashable) -> float:
        """Return log p(the text ends here | state); -inf forbids ending."""


def text_log_prob(lm: LanguageModel, labels: Iterable[int]) -> float:
    """Return log p of a whole text under ``lm``, its end included; -inf when the model forbids it."""
    total, state = 0.0, lm.start()
    for label in labels:
        log_prob, state = lm.step(state, label)
        total += log_prob
        if log_prob == -math.inf:
            return total
    return total + lm.end(state)


class AnyText:
    """The model that stands for no language model: every label and every end costs nothing."""

    def start(self) -> None:
        return None

    def step(self, state: None, label: int) -> tuple[float, None]:
        return 0.0, None

    def end(self, state: None) -> float:
        return 0.0


ANY_TEXT = AnyText()


class TextLM:
    """A language model as a function of text: ``p("bin b", "l")`` is the probability of "l" after "bin b".

    With "" instead of a character it is the probability that the text ends. States are kept, so a decoder
    that asks for longer and longer prefixes pays for one step each time.

    Args:
        lm: a language model over the classes of ``alphabet``.
        alphabet: turns characters into classes.
    """

    def __init__(self, lm: LanguageModel, alphabet: Alphabet | None = None) -> None:
        self._lm = lm
        self._alphabet = alphabet or Alphabet()
        self._states: dict[str, Hashable] = {"": lm.start()}
        self._known: dict[tuple[str, str], float] = {}

    def __call__(self, text: str, character: str) -> float:
        if (text, character) not in self._known:
            state = self._state(text)
            if character == "":
                log_prob = self._lm.end(state)
            else:
                (label,) = self._alphabet.encode(character).tolist()
                log_prob, self._states[text + character] = self._lm.step(state, label)
            self._known[text, character] = math.exp(log_prob)
        return self._known[text, character]

    def _state(self, text: str) -> Hashable:
        """Return the model's state after ``text``."""
        if text not in self._states:
            self(text[:-1], text[-1])
        return self._states[text]


class CharNGram:
    """A character n-gram model with Witten-Bell smoothing.

    p(c | h) = (n(hc) + u(h) p(c | h')) / (n(h) + u(h))

    n counts occurrences, u(h) is the number of different characters seen after the history h, and h' is h
    without its oldest character: the more different characters have followed a history, the more weight the
    shorter history gets. Below the empty history is a uniform 1/V for each character and the end, so nothing
    is forbidden.
    (Witten and Bell, "The zero-frequency problem", 1991; in this form Chen and Goodman 1996, section 2.)

    A state is the longest history of at most order-1 characters that was seen: where h was not, p(c | h) is
    p(c | h'), and so for all longer ones. The edge of a text, before it and after it, counts as a character
    and is written as class 0, which no character has.

    Args:
        sentences: the texts to count.
        order: n, at least 1: a character is predicted from the n-1 before it.
        alphabet: turns characters into classes.

    Raises:
        ValueError: when there is no sentence, ``order`` is below 1 or a character is not in the alphabet.
    """

    EDGE = 0

    def __init__(self, sentences: Sequence[str], order: int = 5, alphabet: Alphabet | None = None) -> None:
        if order < 1:
            raise ValueError(f"order is {order}: expected at least 1")
        if isinstance(sentences, str) or len(sentences) == 0:
            raise ValueError(f"sentences is {sentences!r}: expected a list of at least one text to count")
        alphabet = alphabet or Alphabet()
        self.order = order
        self._log_probs = {  # history -> (V,) log p of the edge and of each character
            history: np.log(p)
            for history, p in _witten_bell(_followers(sentences, order, alphabet), len(alphabet)).items()
        }

    def start(self) -> tuple[int, ...]:
        return self._seen((self.EDGE,))

    def step(self, state: tuple[int, ...], label: int) -> tuple[float, tuple[int, ...]]:
        log_probs = self._log_probs[state]
        if not 1 <= label < len(log_probs):
            raise ValueError(f"label is {label}: expected a character, 1 to {len(log_probs) - 1}")
        return float(log_probs[label]), self._seen((*state, label))

    def end(self, state: tuple[int, ...]) -> float:
        return float(self._log_probs[state][self.EDGE])

    def _seen(self, history: tuple[int, ...]) -> tuple[int, ...]:
        """Return the longest end of ``history`` that was counted, of at most order-1 characters."""
        if len(history) == self.order:  # a state and one more
            history = history[1:]
        while history not in self._log_probs:
            history = history[1:]
        return history


def _followers(
    sentences: Sequence[str], order: int, alphabet: Alphabet
) -> dict[tuple[int, ...], Counter[int]]:
    """Count what follows each history of at most order-1 characters."""
    followers: dict[tuple[int, ...], Counter[int]] = {}
    for sentence in sentences:
        text = (CharNGram.EDGE, *alphabet.encode(sentence).tolist(), CharNGram.EDGE)
        for i in range(1, len(text)):
            for begin in range(max(0, i - order + 1), i + 1):  # the histories that end before i
                followers.setdefault(text[begin:i], Counter())[text[i]] += 1
    return followers


def _witten_bell(
    followers: dict[tuple[int, ...], Counter[int]], classes: int
) -> dict[tuple[int, ...], np.ndarray]:
    """Return p(c | h) as a row (V,) for each counted history, each interpolated with the next shorter one."""
    rows: dict[tuple[int, ...], np.ndarray] = {}
    for history in sorted(followers, key=len):
        shorter = rows[history[1:]] if history else np.full(classes, 1 / classes)  # (V,)
        counts = np.zeros(classes)  # (V,)
        for character, count in followers[history].items():
            counts[character] = count
        kinds = np.count_nonzero(counts)
        rows[history] = (counts + kinds * shorter) / (counts.sum() + kinds)  # (V,)
    return rows


class GridGrammar:
    """The 64,000 sentences of GRID, all equally likely, and nothing else.

    The probability of a character is the fraction of its slot's words that continue with it: after "t" among
    the digits, "w" and "h" have one half each. So every sentence has log probability -log 64000. The
    state is the slot and the part of its word that has been read.
    """

    def __init__(self, alphabet: Alphabet | None = None) -> None:
        self._alphabet = alphabet or Alphabet()
        self._words_with_prefix = [
            Counter(word[:length] for word in slot for length in range(len(word) + 1)) for slot in SLOTS
        ]

    def start(self) -> tuple[int, str]:
        return 0, ""

    def step(self, state: tuple[int, str], label: int) -> tuple[float, tuple[int, str]]:
        slot, read = state
        words = self._words_with_prefix[slot]
        character = self._alphabet.decode([label])
        if character == " " and read in SLOTS[slot] and slot + 1 < len(SLOTS):
            return -math.log(words[read]), (slot + 1, "")
        longer = read + character
        if longer not in words:
            return -math.inf, state
        return math.log(words[longer] / words[read]), (slot, longer)

    def end(self, state: tuple[int, str]) -> float:
        slot, read = state
        if slot + 1 == len(SLOTS) and read in SLOTS[slot]:
            return -math.log(self._words_with_prefix[slot][read])
        return -math.inf
