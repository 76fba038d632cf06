"""The CTC loss of a ragged batch, and its gradient.

:mod:`lessons.ctc.forward_backward` has the recursion for one label, as the equations have it. Here it runs
for a batch: rescaled probabilities where they are exact enough (:mod:`lessons.ctc.loss_fast`), logarithms
elsewhere.

Source: Graves, Fernandez, Gomez, Schmidhuber, "Connectionist temporal classification", ICML 2006.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.ctc.inputs import check_labels, check_log_probs, check_log_probs_type, pad_targets
from lessons.ctc.loss_fast import rescaled_forward_backward
from lessons.ctc.paths import NEVER
from lessons.ctc.trellis import extend_batch, may_skip, start_and_end_states
from lessons.lengths import check_lengths, valid_frames

REDUCTIONS = ("none", "mean", "sum")


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
    samples in which rescaling might lose something. The gradient can be differentiated again
    (``create_graph=True``), at several times the cost.

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
    check_log_probs_type(log_probs, "TBV", blank)
    frames, batch, classes = log_probs.shape
    input_lengths = check_lengths("input_lengths", input_lengths, batch, 0, frames).to(log_probs.device)
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
        losses, occupancy, exact = rescaled_forward_backward(*sample, blank)  # (B,), (T, B, V), (B,)
        if not exact.all():  # rescaling may have lost precision: these samples by logarithms
            doubtful = (sample[0][:, ~exact], *(one[~exact] for one in sample[1:]))
            losses[~exact], occupancy[:, ~exact] = log_forward_backward(*doubtful, blank)
        occupancy = occupancy.to(log_probs.dtype)  # (T, B, V)
        ctx.save_for_backward(occupancy, log_probs, targets, input_lengths, target_lengths)
        ctx.blank = blank
        return losses.to(log_probs.dtype)  # (B,)

    @staticmethod
    def backward(ctx, grad_losses):
        return ctc_gradient(grad_losses, *ctx.saved_tensors, ctx.blank), None, None, None, None


def ctc_gradient(
    grad_losses: Tensor,
    occupancy: Tensor,
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor,
    target_lengths: Tensor,
    blank: int,
) -> Tensor:
    """Return the gradient at ``log_probs`` (T, B, V): minus the occupancy, weighted by ``grad_losses`` (B,).

    With ``create_graph=True`` (autograd then records what happens here) the gradient must itself be
    differentiable: it comes from :func:`differentiable_losses`, by autograd.
    """
    if not torch.is_grad_enabled():
        return occupancy * -grad_losses[:, None]  # (T, B, V)
    losses = differentiable_losses(log_probs, targets, input_lengths, target_lengths, blank)  # (B,)
    return torch.autograd.grad(losses, log_probs, grad_losses, create_graph=True)[0]  # (T, B, V)


def differentiable_losses(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int
) -> Tensor:
    """Return the losses (B,), differentiable any number of times: the forward recursion in plain operations.

    log 0 is a large negative number here, since the derivative of log(0 + 0) would be NaN.
    """
    log_zero = -1e30
    states = extend_batch(targets, blank)  # (B, S)
    first, final = start_and_end_states(states, target_lengths)  # (B, S)
    skip = may_skip(states)  # (B, S)
    padding = ~valid_frames(input_lengths, len(log_probs))  # (T, B)
    emission = log_probs.double().masked_fill(padding[:, :, None], 0).clamp(min=log_zero)  # (T, B, V)
    emission = emission.gather(2, states.expand(len(log_probs), -1, -1))  # (T, B, S)
    alpha = torch.where(first, emission[0], log_zero)  # (B, S)
    for t in range(1, len(log_probs)):
        step = F.pad(alpha, (1, 0), value=log_zero)[:, :-1]
        jump = F.pad(alpha, (2, 0), value=log_zero)[:, :-2].masked_fill(~skip, log_zero)
        new = torch.stack((alpha, step, jump)).logsumexp(dim=0) + emission[t]  # (B, S)
        alpha = torch.where(t < input_lengths[:, None], new, alpha)
    log_likelihood = alpha.masked_fill(~final, log_zero).logsumexp(dim=1)  # (B,)
    feasible = (log_likelihood > log_zero / 2) & (input_lengths > 0)  # an infeasible target has gradient 0
    return -torch.where(feasible, log_likelihood, 0.0).to(log_probs.dtype)  # (B,)


def log_forward_backward(
    log_probs: Tensor, targets: Tensor, input_lengths: Tensor, target_lengths: Tensor, blank: int
) -> tuple[Tensor, Tensor]:
    """Return losses (B,) and occupancies (T, B, V), in logarithms: slower, and right at any scale.

    Backward is forward on the reversed frames and the reversed extended label, so both run as one recursion
    over 2B sequences: half the steps for the same work.
    """
    frames, batch, _ = log_probs.shape
    states = extend_batch(targets, blank)  # (B, S)
    first_states, final_states = start_and_end_states(states, target_lengths)  # (B, S)

    emission = log_probs.gather(2, states.expand(frames, -1, -1))  # (T, B, S)
    mirrored = _reverse_frames(emission, input_lengths).flip(2)  # (T, B, S) both orders reversed
    arrivals = log_arrivals(
        torch.cat((emission, mirrored), dim=1),  # (T, 2B, S)
        torch.cat((states, states.flip(1))),  # (2B, S)
        torch.cat((first_states, final_states.flip(1))),  # (2B, S) backward starts where forward ends
    )  # (T, 2B, S)
    before = arrivals[:, :batch]  # (T, B, S) all ways to reach state s at frame t
    after = _reverse_frames(
        arrivals[:, batch:].flip(2), input_lengths
    )  # (T, B, S) all ways to finish from it
    through = before + emission + after  # (T, B, S) all paths through (t, s)

    # Every path passes some state of the first frame. With no frames, the only label is the empty one.
    log_likelihood = through[0].logsumexp(dim=1)  # (B,)
    no_frames = torch.where(target_lengths == 0, 0.0, NEVER).to(log_likelihood)
    log_likelihood = torch.where(input_lengths == 0, no_frames, log_likelihood)

    scale = log_likelihood.masked_fill(log_likelihood == NEVER, 0)  # an infeasible target occupies nothing
    posteriors = through.sub_(scale[:, None]).exp_()  # (T, B, S)
    occupancy = torch.zeros_like(log_probs).scatter_add_(2, states.expand(frames, -1, -1), posteriors)
    padding = ~valid_frames(input_lengths, frames)  # (T, B)
    return -log_likelihood, occupancy.masked_fill_(padding[:, :, None], 0)  # (B,), (T, B, V)


def _reverse_frames(x: Tensor, lengths: Tensor) -> Tensor:
    """``x`` (T, B, S) with each sample's first ``lengths`` frames in reverse; the rest is filler."""
    frames, batch, _ = x.shape
    index = lengths - 1 - torch.arange(frames, device=x.device)[:, None]  # (T, B)
    return x[index.clamp(min=0), torch.arange(batch, device=x.device)]  # (T, B, S)


def log_arrivals(emission: Tensor, states: Tensor, starts: Tensor) -> Tensor:
    """Return the log probability of all ways to arrive in each state at each frame, before its emission.

    Args:
        emission: (T, N, S) log probability of each state's class at each frame.
        states: (N, S) extended labels.
        starts: (N, S) the states in which a path may start.
    """
    frames, count, size = emission.shape
    barrier = torch.where(may_skip(states), 0.0, NEVER).to(emission)  # (N, S) added to a jump

    arrivals = torch.empty_like(emission)  # (T, N, S)
    arrivals[0] = torch.where(starts, 0.0, NEVER)
    alpha = emission.new_full((count, size + 2), NEVER)  # two extra columns on the left, for s-1 and s-2
    stay, step, jump = alpha[:, 2:], alpha[:, 1:-1], alpha[:, :-2]  # (N, S) three views of alpha
    for t in range(1, frames):
        torch.add(arrivals[t - 1], emission[t - 1], out=stay)
        torch.logaddexp(torch.logaddexp(stay, step), jump + barrier, out=arrivals[t])
    return arrivals
