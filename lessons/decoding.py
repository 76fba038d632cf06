"""From the network's distributions to text: the best path, and the best label by prefix beam search."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from torch import Tensor

from lessons.ctc import NEVER, collapse, forward_backward
from lessons.ctc_input import check_log_probs
from lessons.language_models import CharNGram, GridGrammar, LanguageModel, text_log_prob

__all__ = ["CharNGram", "GridGrammar", "LanguageModel", "beam_search_decode", "greedy_decode"]


def greedy_decode(
    log_probs: Tensor, lengths: Tensor | Sequence[int] | None = None, blank: int = 0
) -> list[list[int]]:
    """Return the label that each sample's most probable path spells (Graves 2006, "best path decoding").

    The best path is not always the best label: another label may gather more from many lesser paths, and
    beam search can find it.

    Args:
        log_probs: (T, B, V); logits do as well, since only their order matters.
        lengths: (B,) valid frames of each sample; all T when None.
        blank: the class of the blank.

    Raises:
        ValueError: on a wrong shape, a length out of range, or NaN in a valid frame.
    """
    if log_probs.dim() != 3:
        raise ValueError(f"log_probs has shape {tuple(log_probs.shape)}: expected three dimensions (T, B, V)")
    frames, batch, _ = log_probs.shape
    lengths = [frames] * batch if lengths is None else [int(length) for length in lengths]
    if len(lengths) != batch:
        raise ValueError(f"lengths holds {len(lengths)} numbers: expected {batch}, one a sample")
    paths = log_probs.argmax(dim=2).T.tolist()  # B lists of T
    unreadable = log_probs.isnan().any(dim=2).T.tolist()  # B lists of T
    labels = []
    for sample, length in enumerate(lengths):
        if not 0 <= length <= frames:
            raise ValueError(f"lengths of sample {sample} is {length}: expected 0 to {frames}")
        if any(unreadable[sample][:length]):
            raise ValueError(
                f"log_probs of sample {sample}, frame {unreadable[sample].index(True)} holds NaN"
            )
        labels.append(collapse(paths[sample][:length], blank))
    return labels


def beam_search_decode(
    log_probs: Tensor,
    beam_width: int = 50,
    lm: LanguageModel | None = None,
    alpha: float = 1.0,
    beta: float = 0.0,
    blank: int = 0,
) -> list[tuple[list[int], float]]:
    """Return the most probable labels of one clip, best first, each with its score.

    score(label) = log p_ctc(label) + alpha log p_lm(label) + beta * length(label)

    Prefix beam search keeps, frame by frame, the ``beam_width`` best prefixes. Each sums the probability of
    the paths that spell it, those ending in a blank apart from those ending in its last label: a repeated
    label starts a new character only after a blank. (Graves, "Supervised sequence labelling", 2012, section
    7.5.3; with a language model Hannun et al. 2014, arXiv 1408.2873, algorithm 1. There beta counts words,
    here characters.) A label's p_ctc is exact when the beam never dropped a prefix of it, else a lower bound.

    The language model counts once for each new character and once at the end. When none of the surviving
    prefixes may end, as happens with a grammar on noise, the answer is one label: that of the most probable
    path among all that the model allows, found exactly. So a clip is never left without an answer.

    Args:
        log_probs: (T, V) log probabilities of the classes.
        beam_width: prefixes kept; wider is slower, and exhaustive when no prefix is dropped.
        lm: the language model, or None.
        alpha: its weight, at least 0; 0 switches it off.
        beta: reward for each character, in nats; a language model makes short texts likely, this repairs it.
        blank: the class of the blank.

    Raises:
        ValueError: on a wrong shape, rows that are no log probabilities, a beam below 1, a negative alpha, or
            when the language model allows no text that T frames can spell.
    """
    if log_probs.dim() != 2:
        raise ValueError(f"log_probs has shape {tuple(log_probs.shape)}: expected two dimensions (T, V)")
    if beam_width < 1:
        raise ValueError(f"beam_width is {beam_width}: expected at least 1")
    if alpha < 0:
        raise ValueError(f"alpha is {alpha}: expected at least 0")
    if len(log_probs) > 0:
        check_log_probs(log_probs[:, None], torch.tensor([len(log_probs)], device=log_probs.device))
    frames = log_probs.detach().double().cpu().numpy()  # (T, V)
    prior = _Prior(lm if alpha > 0 else None, alpha, beta, blank, classes=frames.shape[1])

    # The beam: P prefixes. At first there is one, the empty prefix, as if a blank stood before the frames.
    tree = _PrefixTree()
    nodes = [tree.ROOT]  # P nodes of the tree
    states = [prior.start]  # P states of the language model
    last = np.array([blank])  # (P,) the last label
    after_blank = np.array([0.0])  # (P,) log probability of the prefix's paths that end in a blank
    after_label = np.array([NEVER])  # (P,) and of those that end in its last label
    bonus = np.array([0.0])  # (P,) what language model and length add to the score

    for frame in frames:  # (V,)
        width = len(nodes)
        both = np.logaddexp(after_blank, after_label)  # (P,)

        # A prefix stays what it is, by a blank or by its last label held on; or it grows by a label.
        stay_blank = both + frame[blank]  # (P,)
        stay_label = after_label + frame[last]  # (P,)
        grow = both[:, None] + frame  # (P, V)
        grow[np.arange(width), last] = after_blank + frame[last]  # the same label anew: only after a blank
        grow[:, blank] = NEVER

        # When it grows into a prefix that the beam holds already, its paths are added there.
        row_of = {node: row for row, node in enumerate(nodes)}
        parent_row = np.array([row_of.get(tree.parents[node], -1) for node in nodes])  # (P,)
        child = np.flatnonzero(parent_row >= 0)
        meeting = parent_row[child], last[child]
        stay_label[child] = np.logaddexp(stay_label[child], grow[meeting])
        grow[meeting] = NEVER

        # The best `beam_width` of all these become the next beam.
        gain = np.stack([prior.gain(state) for state in states])  # (P, V)
        stay_score = np.logaddexp(stay_blank, stay_label) + bonus  # (P,)
        grow_score = grow + gain + bonus[:, None]  # (P, V)
        kept = _best(np.concatenate((stay_score, grow_score.ravel())), beam_width)
        stays = kept[kept < width]  # rows
        rows, labels = np.divmod(kept[kept >= width] - width, len(frame))  # rows that grow, and by what
        grown = list(zip(rows.tolist(), labels.tolist(), strict=True))

        nodes = [nodes[row] for row in stays] + [tree.child(nodes[row], label) for row, label in grown]
        states = [states[row] for row in stays] + [prior.after(states[row], label) for row, label in grown]
        last = np.concatenate((last[stays], labels))
        after_blank = np.concatenate((stay_blank[stays], np.full(len(rows), NEVER)))
        after_label = np.concatenate((stay_label[stays], grow[rows, labels]))
        bonus = np.concatenate((bonus[stays], bonus[rows] + gain[rows, labels]))
        if not nodes:
            break

    scores = np.logaddexp(after_blank, after_label) + bonus + [prior.end(state) for state in states]  # (P,)
    ranked = [row for row in np.argsort(-scores, kind="stable") if scores[row] > NEVER]
    if not ranked:
        return [_best_allowed_path(frames, prior)]
    return [(tree.spell(nodes[row]), float(scores[row])) for row in ranked]


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the places of the ``count`` highest scores, in no order, without those that are -inf."""
    places = np.argpartition(-scores, count - 1)[:count] if len(scores) > count else np.arange(len(scores))
    return places[scores[places] > NEVER]


class _PrefixTree:
    """Prefixes as nodes of a tree: the same prefix is always the same node, even when it left the beam."""

    ROOT = 0

    def __init__(self) -> None:
        self.parents = [-1]
        self._labels = [-1]
        self._children: dict[tuple[int, int], int] = {}

    def child(self, node: int, label: int) -> int:
        """Return the node of the prefix of ``node`` with ``label`` after it."""
        if (node, label) not in self._children:
            self._children[node, label] = len(self.parents)
            self.parents.append(node)
            self._labels.append(label)
        return self._children[node, label]

    def spell(self, node: int) -> list[int]:
        """Return the prefix of a node."""
        labels = []
        while node != self.ROOT:
            labels.append(self._labels[node])
            node = self.parents[node]
        return labels[::-1]


class _Prior:
    """Language model and length bonus as rows over the classes, each asked for once a state.

    Without a language model there is one state, None, and it allows everything.
    """

    def __init__(self, lm: LanguageModel | None, alpha: float, beta: float, blank: int, classes: int) -> None:
        self.lm, self.alpha, self.beta, self.blank, self.classes = lm, alpha, beta, blank, classes
        self.start = lm.start() if lm else None
        self._rows: dict[Hashable, tuple[np.ndarray, list[Hashable]]] = {}
        self._ends: dict[Hashable, float] = {}

    def gain(self, state: Hashable) -> np.ndarray:
        """Return (V,): alpha log p(label | state) + beta for each label; -inf at the blank."""
        return self._row(state)[0]

    def after(self, state: Hashable, label: int) -> Hashable:
        return self._row(state)[1][label]

    def end(self, state: Hashable) -> float:
        if state not in self._ends:
            self._ends[state] = self.alpha * self.lm.end(state) if self.lm else 0.0
        return self._ends[state]

    def of(self, label: Sequence[int]) -> float:
        """Return what language model and length add to the score of a whole label."""
        return self.beta * len(label) + (self.alpha * text_log_prob(self.lm, label) if self.lm else 0.0)

    def _row(self, state: Hashable) -> tuple[np.ndarray, list[Hashable]]:
        if state not in self._rows:
            gain, after = np.full(self.classes, float(self.beta)), [None] * self.classes
            for label in range(self.classes):
                if self.lm and label != self.blank:
                    log_prob, after[label] = self.lm.step(state, label)
                    gain[label] += self.alpha * log_prob
            gain[self.blank] = NEVER
            self._rows[state] = gain, after
        return self._rows[state]


def _best_allowed_path(frames: np.ndarray, prior: _Prior) -> tuple[list[int], float]:
    """Return the label of the most probable path among all that may end, and the label's score.

    Viterbi over pairs (state of the language model, class of the frame): paths that meet in a pair have the
    same future, so only the best of them goes on. Exact, however unlikely the label.
    """
    # pair -> (score of its best path, the path's label as a chain: (chain of the labels before, last label))
    best: dict[tuple[Hashable, int], tuple[float, tuple | None]] = {(prior.start, prior.blank): (0.0, None)}
    for frame in frames.tolist():
        moves = []
        for (state, held), (score, chain) in best.items():
            moves.append(((state, prior.blank), score + frame[prior.blank], chain))
            if held != prior.blank:
                moves.append(((state, held), score + frame[held], chain))
            gain = prior.gain(state)
            for label in np.flatnonzero(gain > NEVER).tolist():
                if label != held:
                    grown = score + frame[label] + float(gain[label])
                    moves.append(((prior.after(state, label), label), grown, (chain, label)))
        best = {}
        for pair, score, chain in moves:
            if score > best.get(pair, (NEVER, None))[0]:
                best[pair] = score, chain

    score, chain = max(
        ((score + prior.end(state), chain) for (state, _), (score, chain) in best.items()),
        key=lambda pair: pair[0],
        default=(NEVER, None),
    )
    if score == NEVER:
        raise ValueError(
            f"no text that the language model allows can be spelt in {len(frames)} frames with a probability "
            "above 0: give more frames, or decode without it"
        )
    label = []
    while chain is not None:
        chain, last = chain
        label.append(last)
    label.reverse()
    likelihood = forward_backward(torch.from_numpy(frames), label, prior.blank).log_likelihood.item()
    return label, likelihood + prior.of(label)
