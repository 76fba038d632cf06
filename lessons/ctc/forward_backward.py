"""CTC for one label, written as the equations: brute force, forward-backward, and the most probable path.

``brute_force_loss`` sums over paths as the definition says; ``forward_backward`` is the paper's recursion;
``forced_align`` is the same recursion with max for sum. :func:`lessons.ctc.ctc_loss` does it for a batch,
with the gradient, and the tests compare it with these.

Source: Graves, Fernandez, Gomez, Schmidhuber, "Connectionist temporal classification", ICML 2006, section 4.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from lessons.ctc.inputs import check_single
from lessons.ctc.paths import NEVER, collapse, min_frames
from lessons.ctc.trellis import extend, may_skip


def brute_force_loss(log_probs: Tensor, target: Tensor | Iterable[int], blank: int = 0) -> Tensor:
    """Return -log p(target) by the definition: walk all V**T paths and sum those that spell the target.

    The reference for everything below, and differentiable by autograd.

    Args:
        log_probs: (T, V).
        target: L classes, none of them the blank.
        blank: the class of the blank.

    Raises:
        ValueError: on a bad target, a wrong shape, or more than a million paths.
    """
    labels = check_single(log_probs, target, blank)
    frames, classes = log_probs.shape
    if classes**frames > 1_000_000:
        raise ValueError(f"{classes} classes over {frames} frames make over a million paths: use ctc_loss")
    paths = [
        path for path in itertools.product(range(classes), repeat=frames) if collapse(path, blank) == labels
    ]
    index = torch.tensor(paths, dtype=torch.long, device=log_probs.device).reshape(-1, frames)  # (paths, T)
    each_frame = log_probs[torch.arange(frames, device=log_probs.device), index]  # (paths, T)
    return -each_frame.sum(dim=1).logsumexp(dim=0)  # ()


class ForwardBackward(NamedTuple):
    """Result of the forward-backward algorithm for one label; S = 2L+1 states of the extended label.

    Attributes:
        alpha: (T, S) log probability of all path prefixes in state s at frame t, frame t included.
        beta: (T, S) log probability of all ways to finish from state s after frame t, frame t excluded, so
            alpha + beta is the log probability of all paths through (t, s). (The 2006 paper counts frame t in
            both and divides once; leaving it out of beta is the convention of Graves' later book.)
        log_likelihood: () log p(target); -inf when the target cannot be spelled.
        posteriors: (T, S) probability that the path is in state s at frame t, given the target. Rows sum
            to 1, or to 0 when the target cannot be spelled.
        occupancy: (T, V) the posteriors summed over the states of each class: the loss's gradient with
            respect to log_probs is minus this, with respect to logits softmax minus this.
    """

    alpha: Tensor
    beta: Tensor
    log_likelihood: Tensor
    posteriors: Tensor
    occupancy: Tensor


@torch.no_grad()
def forward_backward(log_probs: Tensor, target: Tensor | Iterable[int], blank: int = 0) -> ForwardBackward:
    """Return alpha, beta and the posteriors of one label, in log space (Graves 2006, equations 5 to 15).

    Args:
        log_probs: (T, V) log probabilities of the classes.
        target: L classes, none of them the blank.
        blank: the class of the blank.

    Raises:
        ValueError: on a bad target, a wrong shape, or rows that are no log probabilities.
    """
    labels = check_single(log_probs, target, blank)
    frames, _ = log_probs.shape
    states = torch.tensor(extend(labels, blank), device=log_probs.device)  # (S,)
    skip = may_skip(states)  # (S,)
    emission = log_probs[:, states]  # (T, S)

    alpha = torch.full_like(emission, NEVER)  # (T, S)
    alpha[0, :2] = emission[0, :2]  # a path starts in the first blank or in the first label
    for t in range(1, frames):
        stay = alpha[t - 1]
        step = _shifted(alpha[t - 1], 1)
        jump = _shifted(alpha[t - 1], 2).masked_fill(~skip, NEVER)
        alpha[t] = torch.stack((stay, step, jump)).logsumexp(dim=0) + emission[t]

    beta = torch.full_like(emission, NEVER)  # (T, S)
    beta[-1, -2:] = 0  # and ends in the last label or in the last blank
    for t in reversed(range(frames - 1)):
        onward = emission[t + 1] + beta[t + 1]
        stay = onward
        step = _shifted(onward, -1)
        jump = _shifted(onward.masked_fill(~skip, NEVER), -2)
        beta[t] = torch.stack((stay, step, jump)).logsumexp(dim=0)

    log_likelihood = alpha[-1, -2:].logsumexp(dim=0)  # ()
    posteriors = torch.zeros_like(emission)  # (T, S)
    if log_likelihood > NEVER:
        posteriors = (alpha + beta - log_likelihood).exp()
    occupancy = torch.zeros_like(log_probs).index_add_(1, states, posteriors)  # (T, V)
    return ForwardBackward(alpha, beta, log_likelihood, posteriors, occupancy)


class Alignment(NamedTuple):
    """The most probable path that spells a label.

    Attributes:
        path: (T,) the class of each frame; it collapses to the label.
        states: (T,) the state of each frame in the extended label; state 2i+1 is label i.
        log_probability: () log probability of this one path.
    """

    path: Tensor
    states: Tensor
    log_probability: Tensor

    def spans(self) -> list[tuple[int, int]]:
        """Return for each label the frames that spell it: first, and one past the last."""
        frames = self.states.tolist()
        return [
            (frames.index(state), frames.index(state) + frames.count(state))
            for state in sorted(set(frames))
            if state % 2 == 1
        ]


@torch.no_grad()
def forced_align(log_probs: Tensor, target: Tensor | Iterable[int], blank: int = 0) -> Alignment:
    """Return the most probable path that spells ``target`` (Viterbi: the forward recursion with max for sum).

    Args:
        log_probs: (T, V) log probabilities of the classes.
        target: L classes, none of them the blank.
        blank: the class of the blank.

    Raises:
        ValueError: on a bad target, a wrong shape, rows that are no log probabilities, or a target that no
            path of T frames with a probability above 0 can spell.
    """
    labels = check_single(log_probs, target, blank)
    frames, _ = log_probs.shape
    if frames < min_frames(labels):
        raise ValueError(
            f"target of {len(labels)} labels needs {min_frames(labels)} frames (its length and its adjacent "
            f"repeats), log_probs has {frames}: nothing to align"
        )
    states = torch.tensor(extend(labels, blank), device=log_probs.device)  # (S,)
    skip = may_skip(states)  # (S,)
    emission = log_probs[:, states]  # (T, S)

    best = torch.full_like(emission[0], NEVER)  # (S,) log probability of the best path to each state
    best[:2] = emission[0, :2]
    back = torch.zeros(
        emission.shape, dtype=torch.long, device=log_probs.device
    )  # (T, S) states stepped over
    for t in range(1, frames):
        jump = _shifted(best, 2).masked_fill(~skip, NEVER)
        best, back[t] = torch.stack((best, _shifted(best, 1), jump)).max(dim=0)
        best = best + emission[t]

    last = len(states) - 1
    if last > 0 and best[last - 1] >= best[last]:
        last -= 1
    if best[last] == NEVER:
        raise ValueError("every path that spells the target has probability 0: nothing to align")
    visited = [last]
    for t in reversed(range(1, frames)):
        visited.append(visited[-1] - int(back[t, visited[-1]]))
    path = torch.tensor(visited[::-1], device=log_probs.device)  # (T,)
    return Alignment(states[path], path, best[last])


def _shifted(row: Tensor, by: int) -> Tensor:
    """Return ``row`` (S,) moved right by ``by`` states (left when negative), filled with log 0."""
    moved = torch.full_like(row, NEVER)
    if by > 0:
        moved[by:] = row[:-by]
    else:
        moved[:by] = row[-by:]
    return moved
