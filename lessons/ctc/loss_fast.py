"""CTC's forward-backward in rescaled probabilities, with a bound on what rescaling can lose.

The recursion in logarithms (:mod:`lessons.ctc.loss`) calls ``logaddexp`` for every state of every frame,
which costs many times an addition. In plain probabilities the recursion only adds and multiplies, but α
shrinks with every frame and would underflow after a few hundred. So every ``RESCALE_EVERY`` frames α is
divided by its sum over the states, its *scaling factor* c, and the logarithms of the factors are added up at
the end (Graves et al. 2006, section 4.1; Rabiner 1989, section V.A). β is rescaled likewise, with factors of
its own.

**Lemma.** Let a scaled α_t(s) fall below 10^-300, where float64 drops digits. Then the likelihood loses at
most

    10^-300 · (c_1 ⋯ c_t) · (M_{t+1} ⋯ M_{T-1}),    M_u = min(1, 3 · max over classes of y_u).

*Proof.* The true α_t(s) is the scaled one times the factors so far. From one state a path continues to at
most three states (stay, step, skip), of three different classes at most, so frame u multiplies the
probability of all continuations by at most M_u: by 3 times the largest emission, or by 1, since they are
disjoint events. ∎

The same holds for β with time reversed; and a product α β of which both are lost is worth at most 10^-300
times the factors of α before t and those of β after t. Where the sum of these bounds, over all T · S
numbers, is below the rounding error of the likelihood itself, the result is as exact as that of the
logarithms: ``exact`` is True. Elsewhere the caller must use the logarithms.

Memory layout: states come before the batch, (S, B), so that s-1 and s-2 are whole rows and each operation
runs over one contiguous block; and outputs are preallocated: of size (T, S, B) there are only the emissions
and the arrivals, which become the products in place.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lessons.ctc.trellis import extend_batch, may_skip, start_and_end_states
from lessons.lengths import valid_frames

LOG_UNDERFLOW = math.log(1e-300)  # below this a float64 may have lost digits, or all of them
LOG_EPSILON = math.log(2**-53)  # the relative rounding error of float64
RESCALE_EVERY = 16  # frames between two divisions


def rescaled_forward_backward(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the losses of a batch and their occupancies, and for which samples the bound above holds.

    Args:
        log_probs: (T, B, V) float64.
        targets: (B, Lmax) labels, padded with any class.
        input_lengths, target_lengths: (B,).
        blank: the class of the blank.

    Returns:
        losses (B,), occupancies (T, B, V), and exact (B,) bool: where it is False, the other two are not to
        be used.
    """
    states = extend_batch(targets, blank)  # (B, S)
    first, final = (mask.T.to(log_probs) for mask in start_and_end_states(states, target_lengths))  # (S, B)
    states = states.T.contiguous()  # (S, B)
    probs = log_probs.exp().transpose(1, 2).contiguous()  # (T, V, B)

    emission = probs.gather(1, states.expand(len(probs), -1, -1))  # (T, S, B)

    through, log_alpha_sums = _forward(emission, states, first)  # (T, S, B) ways to arrive, (T, B)
    log_beta_sums = _backward(emission, states, final, input_lengths, through)  # now all ways but emission

    # All states of a class emit the same, so it can wait until they are together.
    occupancy = torch.zeros_like(probs).scatter_add_(1, states.expand_as(through), through)
    occupancy = occupancy.mul_(probs)  # (T, V, B), each frame with a scale of its own
    sums = occupancy.sum(1, keepdim=True)  # (T, 1, B)
    valid = valid_frames(input_lengths, len(probs))  # (T, B)
    occupancy = occupancy.div_(sums).masked_fill_(~valid[:, None], 0).transpose(1, 2)  # (T, B, V)

    # (T, B) logarithms: of what 1 stands for in α before frame t and in β after it, and of the Ms there
    before = log_alpha_sums.cumsum(0) - log_alpha_sums
    after = log_beta_sums.sum(0) - log_beta_sums.cumsum(0)
    most = (3 * probs.amax(1)).clamp(max=1).log().masked_fill(~valid, 0)  # (T, B) log M
    most_before, most_after = most.cumsum(0) - most, most.sum(0) - most.cumsum(0)

    log_likelihood = sums[0, 0].log() + after[0]  # (B,)
    worth = torch.stack([before + most_after, after + most_before, before + after])  # (3, T, B)
    worth = worth.masked_fill(~valid, -math.inf).amax((0, 1))  # (B,)
    bound = (
        worth + LOG_UNDERFLOW + math.log(3 * through[..., 0].numel())
    )  # (B,) of T·S numbers, each in three places
    exact = (bound < log_likelihood + LOG_EPSILON) & (input_lengths > 0)  # (B,) False if NaN
    return -log_likelihood, occupancy, exact


def _forward(emission: Tensor, states: Tensor, first: Tensor) -> tuple[Tensor, Tensor]:
    """All ways to arrive in a state (T, S, B), before it emits, and the logarithms of the sums of α (T, B).

    Args:
        emission: (T, S, B) the probability of each state's class.
        states: (S, B) the extended labels.
        first: (S, B) 1 where a path may begin.
    """
    jumps = may_skip(states.T).T.to(emission)  # (S, B)
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
        if t % RESCALE_EVERY == RESCALE_EVERY - 1:
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
    jumps = may_skip(states.T).T.to(emission).roll(-2, 0)  # (S, B) from s to s+2
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
        if t % RESCALE_EVERY == 0:
            sums[t] = _rescale(stay)
    return sums.log()


def _rescale(x: Tensor) -> Tensor:
    """Divide ``x`` (S, B) in place by its sums over the states, and return them (B,). 0 counts as 1."""
    sums = x.sum(0)  # (B,)
    sums.masked_fill_(sums == 0, 1)
    x.div_(sums)
    return sums
