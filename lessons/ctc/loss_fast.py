"""CTC's forward-backward in plain probabilities, rescaled as it goes: fast, and it knows when it may err.

The recursion of :mod:`lessons.ctc.loss` adds logarithms of sums, and a logarithm costs many times an
addition. In plain probabilities α would vanish after a few hundred frames; so every few frames it is divided
by its sum c_t, and the logarithms of the c_t are added at the end (Graves et al. 2006, §4.1; Rabiner 1989,
§V.A). β likewise, with sums of its own.

What can still be lost is a number that falls below the smallest float64 before it is divided. Lost from α at
frame t, it would at the end have been worth at most

    10^-300 · (all c before t) · (M_{t+1} … M_{T-1}),

with M_u the most that a frame can give to the ways out of one state: they have at most three different
classes, so it is the smaller of 1 and three times the best emission. For β the same holds with time
reversed, and what a product of both loses is worth at most 10^-300 · (all c before t) · (all c of β after t).
Where these, added over all frames and states, are below the rounding of the likelihood itself, the result is
as good as that of the logarithms. Elsewhere the caller must take those.

Time goes where memory does. So states come before the batch, (S, B): neighbors in s are then neighbors
of whole rows, and every operation runs over one block. Nothing of size (T, S, B) is made but what is emitted
and the ways to arrive, which become the ways through in place.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOST = math.log(1e-300)  # a number below this may have been rounded, to fewer digits or to 0
ROUNDING = math.log(2**-53)  # what float64 does not see beside 1
EVERY = 16  # frames between two divisions


def extended_states(targets: Tensor, blank: int) -> Tensor:
    """(B, Lmax) labels -> (B, S): a blank before, between and after them."""
    states = torch.full((len(targets), 2 * targets.shape[1] + 1), blank, device=targets.device)  # (B, S)
    states[:, 1::2] = targets
    return states


def begin_and_end(states: Tensor, target_lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Where paths may begin and end, both (B, S) bool; past a target's own states no path ends."""
    position = torch.arange(states.shape[1], device=states.device)  # (S,)
    last = 2 * target_lengths[:, None]  # (B, 1)
    return (position < 2).expand_as(states), (position >= last - 1) & (position <= last)


def rescaled_forward_backward(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The losses of a batch and their occupancies, where the bound above allows to trust them.

    Args:
        log_probs: (T, B, V) float64.
        targets: (B, Lmax) labels, padded with any class.
        input_lengths, target_lengths: (B,).
        blank: the class of the blank.

    Returns:
        losses (B,), occupancies (T, B, V), and sure (B,) bool: where it is False, the other two mean nothing.
    """
    states = extended_states(targets, blank)  # (B, S)
    first, final = (mask.T.to(log_probs) for mask in begin_and_end(states, target_lengths))  # (S, B)
    states = states.T.contiguous()  # (S, B)
    probs = log_probs.exp().transpose(1, 2).contiguous()  # (T, V, B)

    emission = probs.gather(1, states.expand(len(probs), -1, -1))  # (T, S, B)

    through, log_alpha_sums = _forward(emission, states, first)  # (T, S, B) ways to arrive, (T, B)
    log_beta_sums = _backward(emission, states, final, input_lengths, through)  # now all ways but emission

    # All states of a class emit the same, so it can wait until they are together.
    occupancy = torch.zeros_like(probs).scatter_add_(1, states.expand_as(through), through)
    occupancy = occupancy.mul_(probs)  # (T, V, B), each frame with a scale of its own
    sums = occupancy.sum(1, keepdim=True)  # (T, 1, B)
    valid = torch.arange(len(probs), device=probs.device)[:, None] < input_lengths  # (T, B)
    occupancy = occupancy.div_(sums).masked_fill_(~valid[:, None], 0).transpose(1, 2)  # (T, B, V)

    # (T, B) logarithms: of what 1 stands for in α before frame t and in β after it, and of the Ms there
    before = log_alpha_sums.cumsum(0) - log_alpha_sums
    after = log_beta_sums.sum(0) - log_beta_sums.cumsum(0)
    most = (3 * probs.amax(1)).clamp(max=1).log().masked_fill(~valid, 0)  # (T, B) log M
    most_before, most_after = most.cumsum(0) - most, most.sum(0) - most.cumsum(0)

    log_likelihood = sums[0, 0].log() + after[0]  # (B,)
    worth = torch.stack([before + most_after, after + most_before, before + after])  # (3, T, B)
    worth = worth.masked_fill(~valid, -math.inf).amax((0, 1))  # (B,)
    bound = worth + LOST + math.log(3 * through[..., 0].numel())  # (B,) of T·S numbers, each in three places
    sure = (bound < log_likelihood + ROUNDING) & (input_lengths > 0)  # (B,) False if NaN
    return -log_likelihood, occupancy, sure


def _forward(emission: Tensor, states: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """All ways to arrive in a state (T, S, B), before it emits, and the logarithms of the sums of α (T, B).

    Args:
        emission: (T, S, B) the probability of each state's class.
        states: (S, B) the extended labels.
        first: (S, B) 1 where a path may begin.
    """
    jumps = _jumps(states).to(emission)  # (S, B)
    arrivals = torch.empty_like(emission)  # (T, S, B)
    alpha = emission.new_zeros(len(states) + 2, states.shape[1])  # (S+2, B): two 0s before the first
    stay, step, jump = alpha[2:], alpha[1:-1], alpha[:-2]  # (S, B) each: state s itself, s-1 and s-2
    sums = emission.new_ones(len(emission), states.shape[1])  # (T, B)
    for t, (emit, arrive) in enumerate(zip(emission, arrivals, strict=True)):  # (S, B) each
        if t == 0:
            arrive.copy_(first)
        else:
            torch.add(stay, step, out=arrive).addcmul_(jump, jumps)
        torch.mul(arrive, emit, out=stay)
        if t % EVERY == EVERY - 1:
            sums[t] = _rescale(stay)
    return arrivals, sums.log()


def _backward(emission: Tensor, states: Tensor, final: Tensor, lengths: Tensor, through: Tensor) -> Tensor:
    """Multiply ``through`` (T, S, B) by all ways to go on; return the logarithms of the sums of β (T, B).

    Args:
        emission: (T, S, B) the probability of each state's class.
        states: (S, B) the extended labels.
        final: (S, B) 1 where a path may end.
        lengths: (B,) frames of each sample; before its last frame, seen from the end, β is 0.
        through: (T, S, B) all ways to arrive.
    """
    jumps = _jumps(states).to(emission).roll(-2, 0)  # (S, B) from s to s+2
    emit, frames, last_frames = emission.unbind(0), through.unbind(0), set((lengths - 1).tolist())
    onward = torch.empty_like(jumps)  # (S, B)
    beta = emission.new_zeros(len(states) + 2, states.shape[1])  # (S+2, B): two 0s after the last
    stay, step, jump = beta[:-2], beta[1:-1], beta[2:]  # (S, B) each: state s itself, s+1 and s+2
    sums = emission.new_ones(len(emission), states.shape[1])  # (T, B)
    for t in reversed(range(len(emission))):
        torch.add(stay, step, out=onward).addcmul_(jump, jumps)
        if t in last_frames:
            onward.addcmul_(final, (lengths - 1 == t).to(final))
        frames[t].mul_(onward)
        torch.mul(onward, emit[t], out=stay)
        if t % EVERY == 0:
            sums[t] = _rescale(stay)
    return sums.log()


def _jumps(states: Tensor) -> Tensor:
    """(S, B) bool: where a path may come from two states before: not between blanks, nor equal labels."""
    allowed = torch.zeros_like(states, dtype=torch.bool)
    allowed[2:] = states[2:] != states[:-2]
    return allowed


def _rescale(x: Tensor) -> Tensor:
    """Divide ``x`` (S, B) in place by its sums over the states, and return them (B,). 0 counts as 1."""
    sums = x.sum(0)  # (B,)
    sums.masked_fill_(sums == 0, 1)
    x.div_(sums)
    return sums
