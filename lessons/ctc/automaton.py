"""A language model as a lookup table of its states, so that a whole beam takes one lookup."""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable

import numpy as np

from lessons.ctc.language_models import LanguageModel


class Automaton:
    """A language model as a lookup table: states are integers, and each has a row over the classes.

    A decoder queries some 50 states per frame, mostly the same ones. The model itself is called only when a
    state is first met, once per class; after that a whole beam takes one lookup.

    Args:
        lm: the language model.
        classes: V, the blank among them.
        blank: the class that no text contains; its log probability is -inf.
    """

    START = 0

    def __init__(self, lm: LanguageModel, classes: int, blank: int = 0) -> None:
        self.lm, self.blank = lm, blank
        self._states: list[Hashable] = [lm.start()]  # what the model calls the state of each number
        self._numbers: dict[Hashable, int] = {lm.start(): self.START}
        self._asked = np.zeros(64, dtype=bool)  # (S,) is the state's row filled?
        self._log_probs = np.full((64, classes), -math.inf)  # (S, V)
        self._after = np.zeros((64, classes), dtype=np.int64)  # (S, V) the state after each label
        self._arcs: dict[int, list[tuple[int, float, int]]] = {}

    def log_probs(self, states: np.ndarray) -> np.ndarray:
        """(P,) states -> (P, V): log p(label | state); -inf where the label is forbidden."""
        for state in set(states[~self._asked[states]].tolist()):
            self._ask(state)
        return self._log_probs[states]  # (P, V)

    def after(self, states: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(P,) states, (P,) labels that :meth:`log_probs` allows there -> (P,) the states after them."""
        return self._after[states, labels]  # (P,)

    def end(self, state: int) -> float:
        """Return log p(the text ends here | state)."""
        return self.lm.end(self._states[state])

    def arcs(self, state: int) -> list[tuple[int, float, int]]:
        """Return (label, log p, the state after it) for each label that is allowed in a state."""
        if state not in self._arcs:
            (row,) = self.log_probs(np.array([state]))  # (1, V)
            labels = np.flatnonzero(row > -math.inf)
            after = self._after[state, labels]
            self._arcs[state] = list(zip(labels.tolist(), row[labels].tolist(), after.tolist(), strict=True))
        return self._arcs[state]

    def _ask(self, state: int) -> None:
        """Fill the row of a state."""
        for label in range(self._log_probs.shape[1]):
            if label == self.blank:
                continue
            log_prob, after = self.lm.step(self._states[state], label)
            if math.isnan(log_prob):
                raise ValueError(
                    f"the language model's step({self._states[state]!r}, {label}) returns NaN: expected log p"
                )
            if log_prob > -math.inf:
                self._log_probs[state, label] = log_prob
                self._after[state, label] = self._number(after)
        self._asked[state] = True

    def _number(self, state: Hashable) -> int:
        """Return the number of a state; a new one gets the next, and the tables grow when they are full."""
        if state not in self._numbers:
            self._numbers[state] = len(self._states)
            self._states.append(state)
            if len(self._states) > len(self._asked):
                self._asked = np.concatenate((self._asked, np.zeros_like(self._asked)))
                self._log_probs = np.concatenate((self._log_probs, np.full_like(self._log_probs, -math.inf)))
                self._after = np.concatenate((self._after, np.zeros_like(self._after)))
        return self._numbers[state]


@functools.lru_cache(maxsize=8)
def automaton(lm: LanguageModel, classes: int, blank: int) -> Automaton:
    """Return the cached table of a language model, shared by all clips."""
    return Automaton(lm, classes, blank)
