"""CTC decoding: from per-frame distributions to labels, greedily or by prefix beam search.

Prefix beam search keeps the most probable prefixes after each frame. For each it sums the probability of the
paths that collapse to it, with those ending in a blank kept apart from those ending in its last label: a
repeated label starts a new character only after a blank. A label's probability is exact when the beam never
dropped a prefix of it, else a lower bound. The language model is charged once per new character and once at
the end. When none of the surviving prefixes may end, as happens with a grammar on noise, the result is one
label: that of the most probable path that the model allows, found exactly (Viterbi). So every clip gets a
result.

Source: Graves, "Supervised sequence labelling", 2012, section 7.5.3; with a language model Hannun et al.
2014, arXiv 1408.2873, algorithm 1. There beta counts words, here characters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lessons.ctc.automaton import Automaton, automaton
from lessons.ctc.forward_backward import forward_backward
from lessons.ctc.inputs import check_log_probs, check_shape
from lessons.ctc.language_models import ANY_TEXT, CharNGram, GridGrammar, LanguageModel, text_log_prob
from lessons.ctc.paths import NEVER, collapse
from lessons.ctc.prefix_tree import PrefixTree
from lessons.lengths import check_lengths

__all__ = ["CharNGram", "GridGrammar", "LanguageModel", "beam_search_decode", "greedy_decode"]


def greedy_decode(
    log_probs: Tensor, lengths: Tensor | Sequence[int] | None = None, blank: int = 0
) -> list[list[int]]:
    """Return the label of each sample's most probable path (Graves 2006, "best path decoding").

    The most probable path need not give the most probable label: many less probable paths may sum to more for
    another label. Beam search can find it.

    Args:
        log_probs: (T, B, V); or logits, since only their order matters.
        lengths: (B,) valid frames of each sample; all T when None.
        blank: the class of the blank.

    Raises:
        ValueError: on a wrong shape, a length out of range, or NaN in a valid frame.
    """
    check_shape(log_probs, "TBV", blank)
    frames, batch, _ = log_probs.shape
    lengths = [frames] * batch if lengths is None else lengths
    lengths = check_lengths("lengths", lengths, batch, 0, frames).tolist()
    paths = log_probs.argmax(dim=2).T.tolist()  # B lists of T
    unreadable = log_probs.isnan().any(dim=2).T.tolist()  # B lists of T
    labels = []
    for sample, length in enumerate(lengths):
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

    Args:
        log_probs: (T, V) log probabilities of the classes.
        beam_width: prefixes kept; wider is slower, and exact when no prefix is dropped.
        lm: the language model, or None.
        alpha: its weight, at least 0; 0 switches it off.
        beta: bonus per character, in nats; compensates for the language model's preference for short texts.
        blank: the class of the blank.

    Raises:
        ValueError: a wrong shape, rows that are no log probabilities, a beam below 1, weights out of
            range, or a language model that allows no text that fits T frames.
    """
    _check_search(log_probs, beam_width, alpha, beta, blank)
    frames = log_probs.detach().cpu().double().numpy()  # (T, V); in this order, since mps has no float64
    if lm is None or alpha == 0:
        lm, alpha = ANY_TEXT, 1.0
    language = automaton(lm, frames.shape[1], blank)

    # The beam: P prefixes. At first there is one, the empty prefix, as if a blank stood before the frames.
    tree = PrefixTree(frames.shape[1])
    nodes = np.array([tree.ROOT])  # (P,) the prefixes, as nodes of the tree
    states = np.array([language.START])  # (P,) the language model's state after each
    last = np.array([blank])  # (P,) the last label
    after_blank = np.array([0.0])  # (P,) log probability of the prefix's paths that end in a blank
    after_label = np.array([NEVER])  # (P,) and of those that end in its last label
    bonus = np.array([0.0])  # (P,) the language model's and the length's part of the score

    for frame in frames:  # (V,)
        stay_blank, stay_label, grow = extend_prefixes(
            tree, nodes, last, after_blank, after_label, frame, blank
        )

        # The best `beam_width` of all these become the next beam.
        gain = alpha * language.log_probs(states) + beta  # (P, V)
        stay_score = np.logaddexp(stay_blank, stay_label) + bonus  # (P,)
        grow_score = grow + gain + bonus[:, None]  # (P, V)
        kept = _best(np.concatenate((stay_score, grow_score.ravel())), beam_width)
        width = len(nodes)
        stays = kept[kept < width]  # rows
        rows, labels = np.divmod(kept[kept >= width] - width, len(frame))  # rows that grow, and by what

        nodes = np.concatenate((nodes[stays], tree.children(nodes[rows], labels)))
        states = np.concatenate((states[stays], language.after(states[rows], labels)))
        last = np.concatenate((last[stays], labels))
        after_blank = np.concatenate((stay_blank[stays], np.full(len(rows), NEVER)))
        after_label = np.concatenate((stay_label[stays], grow[rows, labels]))
        bonus = np.concatenate((bonus[stays], bonus[rows] + gain[rows, labels]))
        if len(nodes) == 0:
            break

    ends = np.array([language.end(state) for state in states.tolist()])  # (P,)
    scores = np.logaddexp(after_blank, after_label) + bonus + alpha * ends  # (P,)
    ranked = np.argsort(-scores, kind="stable")[: np.count_nonzero(scores > NEVER)]  # the best first
    if len(ranked) == 0:
        return [_best_allowed_path(frames, language, alpha, beta, blank)]
    return list(zip(tree.spell(nodes[ranked].tolist()), scores[ranked].tolist(), strict=True))


def extend_prefixes(
    tree: PrefixTree,
    nodes: np.ndarray,
    last: np.ndarray,
    after_blank: np.ndarray,
    after_label: np.ndarray,
    frame: np.ndarray,
    blank: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the log probabilities of each prefix and of its extensions after one more ``frame`` (V,).

    Args:
        nodes, last, after_blank, after_label: (P,) each, the beam: prefixes, their last labels, and the log
            probabilities of their paths that end in a blank and in that label.

    Returns:
        stay_blank (P,), stay_label (P,): of the prefix itself; grow (P, V): of the prefix and one more label.
    """
    both = np.logaddexp(after_blank, after_label)  # (P,)

    # A prefix stays as it is, by a blank or by its last label held; or it grows by a label.
    stay_blank = both + frame[blank]  # (P,)
    stay_label = after_label + frame[last]  # (P,)
    grow = both[:, None] + frame  # (P, V)
    grow[np.arange(len(nodes)), last] = (
        after_blank + frame[last]
    )  # the same label as a new one: only after a blank
    grow[:, blank] = NEVER

    # If the longer prefix is in the beam already, merge: add its paths there.
    parent_row = tree.parent_rows(nodes)  # (P,)
    child = np.flatnonzero(parent_row >= 0)
    meeting = parent_row[child], last[child]
    stay_label[child] = np.logaddexp(stay_label[child], grow[meeting])
    grow[meeting] = NEVER
    return stay_blank, stay_label, grow


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    """Return the positions of the ``count`` highest scores, in no order, without those that are -inf."""
    # The lowest of any `count` scores is a floor. The first ones are the beam as it is: a high floor, so that
    # few are left to be partitioned.
    places = np.flatnonzero((scores >= scores[:count].min()) & (scores > NEVER))
    if len(places) > count:
        places = places[np.argpartition(-scores[places], count - 1)[:count]]
    return places


def _best_allowed_path(
    frames: np.ndarray, language: Automaton, alpha: float, beta: float, blank: int
) -> tuple[list[int], float]:
    """Return the label of the most probable path among all that may end, and the label's score.

    Viterbi over pairs (state of the language model, class of the frame): paths that meet in a pair have the
    same future, so only the best of them goes on. Exact, however unlikely the label.
    """
    # pair -> (score of its best path, the path's label as a chain: (chain of the labels before, last label))
    best: dict[tuple[int, int], tuple[float, tuple | None]] = {(language.START, blank): (0.0, None)}
    for frame in frames.tolist():
        moves = []
        for (state, held), (score, chain) in best.items():
            moves.append(((state, blank), score + frame[blank], chain))
            if held != blank:
                moves.append(((state, held), score + frame[held], chain))
            for label, log_prob, after in language.arcs(state):
                if label != held:
                    grown = score + frame[label] + (alpha * log_prob + beta)
                    moves.append(((after, label), grown, (chain, label)))
        best = {}
        for pair, score, chain in moves:
            if score > best.get(pair, (NEVER, None))[0]:
                best[pair] = score, chain

    score, chain = max(
        ((score + alpha * language.end(state), chain) for (state, _), (score, chain) in best.items()),
        key=lambda pair: pair[0],
        default=(NEVER, None),
    )
    if score == NEVER:
        raise ValueError(
            f"no text that the language model allows fits {len(frames)} frames with a probability "
            "above 0: give more frames, or decode without it"
        )
    label = []
    while chain is not None:
        chain, last = chain
        label.append(last)
    label.reverse()
    likelihood = forward_backward(torch.from_numpy(frames), label, blank).log_likelihood.item()
    return label, likelihood + alpha * text_log_prob(language.lm, label) + beta * len(label)


def _check_search(log_probs: Tensor, beam_width: int, alpha: float, beta: float, blank: int) -> None:
    check_shape(log_probs, "TV", blank)
    if beam_width < 1:
        raise ValueError(f"beam_width is {beam_width}: expected at least 1")
    if not 0 <= alpha < math.inf:
        raise ValueError(f"alpha is {alpha}: expected a finite number, at least 0")
    if not math.isfinite(beta):
        raise ValueError(f"beta is {beta}: expected a finite number")
    if len(log_probs) > 0:
        check_log_probs(log_probs[:, None], torch.tensor([len(log_probs)], device=log_probs.device))
