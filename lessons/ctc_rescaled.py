"""CTC's forward-backward in plain probabilities, rescaled at every frame: fast, and it knows when it may err.

The recursion of :mod:`lessons.ctc` adds logarithms of sums, and a logarithm costs many times an addition. In
plain probabilities α would vanish after a few hundred frames; so each frame's α is divided by its sum c_t,
and the c_t are multiplied (their logarithms added) at the end (Graves et al. 2006, §4.1; Rabiner 1989, §V.A).

What can still be lost is a state whose α falls below the smallest float64 before it is divided. That matters
only if the best path goes through it. All that was lost at frame t is, at the end, worth at most

    S · 10^-300 · (c_0 … c_{t-1}) · (M_{t+1} … M_{T-1}),

with M_u the most that a frame can give to the ways out of one state: they have at most three different
classes, so it is the smaller of 1 and three times the best emission. Where this, added over the frames, is
below the rounding of the likelihood itself, the result is as good as that of the logarithms. Elsewhere the
caller must take those.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

LOST = math.log(1e-300)  # an α below this may have been rounded, to fewer digits or to 0
ROUNDING = math.log(2**-53)  # what float64 does not see beside 1


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


def reverse_frames(x: Tensor, lengths: Tensor) -> Tensor:
    """``x`` (T, B, …) with each sample's first ``lengths`` frames in reverse; the rest is filler."""
    frames, batch = x.shape[:2]
    if bool((lengths == frames).all()):
        return x.flip(0)
    index = lengths - 1 - torch.arange(frames, device=x.device)[:, None]  # (T, B)
    return x[index.clamp(min=0), torch.arange(batch, device=x.device)]  # (T, B, …)


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
    frames, batch, classes = log_probs.shape
    states = extended_states(targets, blank)  # (B, S)
    first, final = begin_and_end(states, target_lengths)  # (B, S)

    # Backward is forward on the reversed frames and the reversed extended label: one recursion for both.
    probabilities = F.pad(log_probs.exp(), (0, 1))  # (T, B, V+1): one class more, which never occurs
    probabilities = torch.cat([probabilities, reverse_frames(probabilities, input_lengths)], dim=1)
    both = torch.cat([states, states.flip(1)])  # (2B, S)
    never = both.new_full((2 * batch, 2), classes)  # two states before the first, so that s-1 and s-2 exist
    index = torch.cat([never, both], dim=1).expand(frames, -1, -1)  # (T, 2B, S+2)
    alpha = probabilities.gather(2, index)  # (T, 2B, S+2): as yet what each state's class emits
    most = (3 * alpha.amax(2)).clamp(max=1).log()  # (T, 2B) log M
    jumps = (index[0, :, 2:] != index[0, :, :-2]).to(alpha)  # (2B, S) not between blanks, nor equal labels
    log_scales = _recur(alpha, jumps, torch.cat([first, final.flip(1)])).log()  # (T, 2B)

    # The ways on from a state are, seen from the end, the ways to arrive there before its frame emits.
    onward = torch.empty_like(alpha[:, batch:, 2:])  # (T, B, S)
    onward[0] = final.flip(1)
    stay, step, jump = _moves(alpha[:-1, batch:])  # (T-1, B, S) each
    torch.add(stay, step, out=onward[1:]).addcmul_(jump, jumps[batch:])
    # (T, B, S) paths through (t, s), each row with a scale of its own
    through = reverse_frames(onward, input_lengths).flip(2).mul_(alpha[:, :batch, 2:])
    sums = through.sum(2, keepdim=True)  # (T, B, 1)

    valid = torch.arange(frames, device=log_probs.device)[:, None] < input_lengths  # (T, B)
    padding = ~valid.repeat(1, 2)  # (T, 2B)
    most, log_scales = most.masked_fill(padding, 0), log_scales.masked_fill(padding, 0)
    # α of the first frame has its own scale, the ways on from there those of all frames after it.
    after_first = log_scales[:, batch:].sum(0) - _last_valid(log_scales[:, batch:], input_lengths)  # (B,)
    log_likelihood = sums[0, :, 0].log() + log_scales[0, :batch] + after_first  # (B,)

    # (T, 2B) what 1 in a frame, before it is divided, is worth at the end
    worth = log_scales.cumsum(0) - log_scales + (most.sum(0) - most.cumsum(0))
    bound = worth.amax(0) + LOST + math.log(frames * states.shape[1])  # (2B,)
    sure = (bound.view(2, batch) < log_likelihood + ROUNDING).all(0) & (input_lengths > 0)  # False if NaN

    occupancy = torch.zeros_like(log_probs).scatter_add_(2, states.expand(frames, -1, -1), through)
    occupancy = occupancy.div_(sums).masked_fill_(~valid[:, :, None], 0)  # (T, B, V)
    return -log_likelihood, occupancy, sure


def _moves(alpha: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """alpha (…, S+2) -> three views (…, S) of it: state s itself, s-1 and s-2."""
    return alpha[..., 2:], alpha[..., 1:-1], alpha[..., :-2]


def _recur(alpha: Tensor, jumps: Tensor, starts: Tensor) -> Tensor:
    """Turn emissions into α, in place and divided by its sum at every frame; return the sums.

    Args:
        alpha: (T, N, S+2) probability of each state's class at each frame, two states of 0 before the first.
        jumps: (N, S) 1 where a path may come from two states before.
        starts: (N, S) bool, the states in which a path may begin.

    Returns:
        (T, N): α at t times the sums of all frames up to t is the true one.
    """
    arrive, sums = starts.to(alpha), []  # (N, S)
    for before, now in zip([None, *alpha.unbind(0)], alpha.unbind(0), strict=False):  # (N, S+2) each
        if before is not None:
            stay, step, jump = _moves(before)
            torch.add(stay, step, out=arrive).addcmul_(jump, jumps)
        new = now[:, 2:].mul_(arrive)
        sums.append(new.sum(1, keepdim=True))  # (N, 1)
        new.div_(sums[-1])
    return torch.cat(sums, dim=1).T  # (T, N)


def _last_valid(x: Tensor, lengths: Tensor) -> Tensor:
    """x (T, B) -> (B,), its value at each sample's last frame."""
    return x.gather(0, (lengths - 1).clamp(min=0)[None])[0]
