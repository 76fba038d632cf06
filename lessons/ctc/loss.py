"""Connectionist temporal classification: the probability of a label when nobody said which frame is which.

A network gives each of T frames a distribution over V classes, one of them the blank. A path picks one class
a frame. Collapsing a path merges equal neighbors, then drops the blanks: "bb-i-n" spells "bin". The
probability of a label is the sum over all paths that spell it; the loss is its negative logarithm.

Source: Graves, Fernandez, Gomez, Schmidhuber, "Connectionist temporal classification", ICML 2006.

From plain to finished: ``brute_force_loss`` sums over paths as the definition says, ``forward_backward`` is
the paper's recursion for one label, ``ctc_loss`` the same recursion for a ragged batch, with its gradient.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lessons.ctc.inputs import (
    as_integers,
    check_labels,
    check_lengths,
    check_log_probs,
    check_single,
    check_type,
    pad_targets,
)
from lessons.ctc.loss_fast import begin_and_end, extended_states, rescaled_forward_backward

NEVER = float("-inf")  # log 0
REDUCTIONS = ("none", "mean", "sum")


# ---- paths and labels --------------------------------------------------------------------------------------


def collapse(path: Tensor | Iterable[int], blank: int = 0) -> list[int]:
    """Return the label that a path spells: merge equal neighbors, then drop blanks (the paper's map B)."""
    return [label for label, _ in itertools.groupby(as_integers(path)) if label != blank]


def extend(target: Tensor | Iterable[int], blank: int = 0) -> list[int]:
    """Return the extended label of S = 2L+1 states: a blank before, between and after the labels."""
    states = [blank]
    for label in as_integers(target):
        states += [label, blank]
    return states


def may_skip(states: Sequence[int]) -> list[bool]:
    """Return for each state s whether a path may step into it straight from s-2, over a blank.

    Only between different labels: equal ones would merge without the blank between them. From blank to blank
    there is no skip either, for it would leave out a label.
    """
    return [s >= 2 and states[s] != states[s - 2] for s in range(len(states))]


def min_frames(target: Tensor | Iterable[int]) -> int:
    """Return the fewest frames that can spell ``target``: its length, and a blank between each equal pair.

    It is not 2L+1: that is the number of states of the extended label, and a path may skip most blanks.
    """
    labels = as_integers(target)
    return len(labels) + sum(left == right for left, right in itertools.pairwise(labels))


def count_paths(frames: int, target: Tensor | Iterable[int]) -> int:
    """Return how many paths of ``frames`` frames spell ``target``, exactly.

    It is C(T+L, T-L) when no two neighbors of the target are equal, however many classes there are.

    Raises:
        ValueError: when ``frames`` is below 0.
    """
    if frames < 0:
        raise ValueError(f"frames is {frames}: expected at least 0")
    states = extend(target, blank=-1)
    if frames == 0:
        return int(len(states) == 1)  # the empty path spells the empty label
    skip = may_skip(states)
    ways = [int(s < 2) for s in range(len(states))]  # paths of one frame that end in state s
    for _ in range(1, frames):
        ways = [
            ways[s] + (ways[s - 1] if s >= 1 else 0) + (ways[s - 2] if skip[s] else 0)
            for s in range(len(states))
        ]
    return sum(ways[-2:])


# ---- one label, plainly ------------------------------------------------------------------------------------


def brute_force_loss(log_probs: Tensor, target: Tensor | Iterable[int], blank: int = 0) -> Tensor:
    """Return -log p(target) by the definition: walk all V**T paths and sum those that spell the target.

    The oracle of everything below, and differentiable by autograd.

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
    """What the forward-backward recursion knows of one label; S = 2L+1 states of the extended label.

    Attributes:
        alpha: (T, S) log probability of all ways to reach state s by frame t, frame t included.
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
    skip = torch.tensor(may_skip(states.tolist()), device=log_probs.device)  # (S,)
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
    skip = torch.tensor(may_skip(states.tolist()), device=log_probs.device)  # (S,)
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
    way = [last]
    for t in reversed(range(1, frames)):
        way.append(way[-1] - int(back[t, way[-1]]))
    visited = torch.tensor(way[::-1], device=log_probs.device)  # (T,)
    return Alignment(states[visited], visited, best[last])


def _shifted(row: Tensor, by: int) -> Tensor:
    """Return ``row`` (S,) moved right by ``by`` states (left when negative), filled with log 0."""
    moved = torch.full_like(row, NEVER)
    if by > 0:
        moved[by:] = row[:-by]
    else:
        moved[:by] = row[-by:]
    return moved


# ---- the loss of a batch -----------------------------------------------------------------------------------


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor | Sequence[int],
    target_lengths: Tensor | Sequence[int],
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """Return the CTC loss of a batch: -log p(target) in nats. Same signature and values as ``F.ctc_loss``.

    Gradient: with respect to ``log_probs`` it is -occupancy, the true derivative, so through ``log_softmax``
    the logits receive softmax - occupancy (Graves 2006, equation 16). ``F.ctc_loss`` gives the same gradient
    at the logits, but at a ``log_probs`` leaf its gradient is larger by softmax.

    A target that its frames cannot spell (fewer than ``min_frames``, or probability 0) has loss inf, as in
    torch; its gradient is 0, where torch gives NaN: no step improves it, and the other samples keep theirs.
    ``zero_infinity`` makes its loss 0 as well.

    The recursion runs in float64, for in float32 large logits cost three digits of the gradient; so it needs
    a CPU or a CUDA device. It is the rescaled one (:mod:`lessons.ctc.loss_fast`), and that in logarithms for
    samples in which rescaling might lose something. The gradient is not differentiable again.

    Args:
        log_probs: (T, B, V) float32 or float64, ``log_softmax`` of the logits over V; frames past a sample's
            length are never read.
        targets: (B, Lmax) padded with anything, or (sum of target_lengths,) one after the other.
        input_lengths: (B,) valid frames, 0 to T.
        target_lengths: (B,) valid labels, 0 to Lmax.
        blank: the class of the blank.
        reduction: "none" for (B,); "sum"; "mean": each loss over its target's length (at least 1), then the
            mean of the batch.
        zero_infinity: count infinite losses as 0.

    Raises:
        ValueError: naming sample and position, on a label outside the classes or equal to the blank (torch
            reads outside its memory), a length out of range, a wrong shape or type, NaN, or valid frames that
            are no log probabilities (raw logits, probabilities).
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}: expected 'none', 'mean' or 'sum'")
    if log_probs.dim() != 3:
        raise ValueError(f"log_probs has shape {tuple(log_probs.shape)}: expected three dimensions (T, B, V)")
    check_type(log_probs, blank)
    frames, batch, classes = log_probs.shape
    input_lengths = check_lengths("input_lengths", input_lengths, batch, frames, log_probs.device)
    targets, target_lengths = pad_targets(targets, target_lengths, batch, log_probs.device)
    targets = check_labels(targets, target_lengths, classes, blank)
    check_log_probs(log_probs, input_lengths)

    losses = _CTC.apply(log_probs, targets, input_lengths, target_lengths, blank)  # (B,)
    return reduce_losses(losses, target_lengths, reduction, zero_infinity)


def reduce_losses(losses: Tensor, target_lengths: Tensor, reduction: str, zero_infinity: bool) -> Tensor:
    """Losses (B,) as :func:`ctc_loss` returns them for its ``reduction`` and ``zero_infinity``."""
    if zero_infinity:
        losses = torch.where(losses.isinf(), torch.zeros_like(losses), losses)
    if reduction == "mean":
        return (losses / target_lengths.clamp(min=1)).mean()
    return losses.sum() if reduction == "sum" else losses


class _CTC(torch.autograd.Function):
    """The losses (B,) and, as a by-product of the same recursion, their gradient."""

    @staticmethod
    def forward(ctx, log_probs, targets, input_lengths, target_lengths, blank):
        sample = (log_probs.double(), targets, input_lengths, target_lengths)
        losses, occupancy, sure = rescaled_forward_backward(*sample, blank)  # (B,), (T, B, V), (B,)
        if not sure.all():  # the rescaled recursion may have lost something: these samples by logarithms
            doubtful = (sample[0][:, ~sure], *(one[~sure] for one in sample[1:]))
            losses[~sure], occupancy[:, ~sure] = _batch_forward_backward(*doubtful, blank)
        ctx.save_for_backward(occupancy.to(log_probs.dtype))  # (T, B, V)
        return losses.to(log_probs.dtype)  # (B,)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_losses):
        (occupancy,) = ctx.saved_tensors
        return occupancy * -grad_losses[:, None], None, None, None, None  # (T, B, V)


def _batch_forward_backward(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int
) -> tuple[Tensor, Tensor]:
    """Return losses (B,) and occupancies (T, B, V), in logarithms: slower, and right at any scale.

    Backward is forward on the reversed frames and the reversed extended label, so both run as one recursion
    over 2B sequences: half the steps for the same work.
    """
    frames, batch, _ = log_probs.shape
    device = log_probs.device
    states = extended_states(targets, blank)  # (B, S)
    first_states, final_states = begin_and_end(states, target_lengths)  # (B, S)

    emission = log_probs.gather(2, states.expand(frames, -1, -1))  # (T, B, S)
    mirrored = _reverse_frames(emission, input_lengths).flip(2)  # (T, B, S) both orders reversed
    arrivals = _arrivals(
        torch.cat((emission, mirrored), dim=1),  # (T, 2B, S)
        torch.cat((states, states.flip(1))),  # (2B, S)
        torch.cat((first_states, final_states.flip(1))),  # (2B, S) backward starts where forward ends
    )  # (T, 2B, S)
    before = arrivals[:, :batch]  # (T, B, S) all ways to get to state s at frame t
    after = _reverse_frames(arrivals[:, batch:].flip(2), input_lengths)  # (T, B, S) all ways to go on from it
    through = before + emission + after  # (T, B, S) all paths through (t, s)

    # Every path passes some state of the first frame. With no frames, the only label is the empty one.
    log_likelihood = through[0].logsumexp(dim=1)  # (B,)
    no_frames = torch.where(target_lengths == 0, 0.0, NEVER).to(log_likelihood)
    log_likelihood = torch.where(input_lengths == 0, no_frames, log_likelihood)

    scale = log_likelihood.masked_fill(log_likelihood == NEVER, 0)  # an infeasible target occupies nothing
    posteriors = through.sub_(scale[:, None]).exp_()  # (T, B, S)
    occupancy = torch.zeros_like(log_probs).scatter_add_(2, states.expand(frames, -1, -1), posteriors)
    padding = torch.arange(frames, device=device)[:, None] >= input_lengths  # (T, B)
    return -log_likelihood, occupancy.masked_fill_(padding[:, :, None], 0)  # (B,), (T, B, V)


def _reverse_frames(x: Tensor, lengths: Tensor) -> Tensor:
    """``x`` (T, B, S) with each sample's first ``lengths`` frames in reverse; the rest is filler."""
    frames, batch, _ = x.shape
    index = lengths - 1 - torch.arange(frames, device=x.device)[:, None]  # (T, B)
    return x[index.clamp(min=0), torch.arange(batch, device=x.device)]  # (T, B, S)


def _arrivals(emission: Tensor, states: Tensor, starts: Tensor) -> Tensor:
    """Return the log probability of all ways to arrive in each state at each frame, before it emits.

    Args:
        emission: (T, N, S) log probability of each state's class at each frame.
        states: (N, S) extended labels.
        starts: (N, S) the states in which a path may begin.
    """
    frames, count, size = emission.shape
    barrier = torch.zeros_like(emission[0])  # (N, S) added to a jump: 0 where it is allowed, log 0 where not
    barrier[:, 2:].masked_fill_(states[:, 2:] == states[:, :-2], NEVER)  # two blanks, or a label repeated

    arrivals = torch.empty_like(emission)  # (T, N, S)
    arrivals[0] = torch.where(starts, 0.0, NEVER)
    alpha = emission.new_full((count, size + 2), NEVER)  # two columns more on the left: s-1 and s-2 exist
    stay, step, jump = alpha[:, 2:], alpha[:, 1:-1], alpha[:, :-2]  # (N, S) three views of alpha
    for t in range(1, frames):
        torch.add(arrivals[t - 1], emission[t - 1], out=stay)
        torch.logaddexp(torch.logaddexp(stay, step), jump + barrier, out=arrivals[t])
    return arrivals
