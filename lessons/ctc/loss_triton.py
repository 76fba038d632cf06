"""The CTC loss as two Triton kernels for an NVIDIA GPU. Optional: needs ``triton``, part of CUDA torch.

The recursion of :func:`lessons.ctc.forward_backward` in float64 logarithms, so right at any scale. One
program per sample and direction walks over the frames with a whole row of alpha in registers; a second kernel
joins the two directions, one program per frame and sample, and checks the input on the way.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from lessons import ctc
from lessons.ctc.inputs import check_log_probs_type, pad_targets
from lessons.ctc.loss import ctc_gradient


@triton.jit
def _labels(targets, sample, state, n_states, most_labels, blank):
    """The class of each ``state`` of the extended label: the blank where it is even or outside."""
    is_label = (state % 2 == 1) & (state >= 0) & (state < n_states)
    return tl.load(targets + sample * most_labels + state // 2, mask=is_label, other=blank)


@triton.jit
def _arrivals(
    log_probs, targets, input_lengths, target_lengths, arrivals, bad, T, B, V, L, blank, S: tl.constexpr
):
    """arrivals (2, T, B, S): log probability of all ways to a state from the start and, mirrored, the end."""
    sample, backward = tl.program_id(0), tl.program_id(1)
    frames, length = tl.load(input_lengths + sample), tl.load(target_lengths + sample)
    if (frames < 0) | (frames > T) | (length < 0) | (length > L):
        tl.store(bad, 1)
        return
    n_states = 2 * length + 1
    s = tl.arange(0, S)  # (S,) states in the order in which this direction passes them
    state = tl.where(backward == 1, n_states - 1 - s, s)  # (S,) in the extended label
    label = _labels(targets, sample, state, n_states, L, blank)  # (S,)
    two_before = _labels(targets, sample, tl.where(backward == 1, state + 2, state - 2), n_states, L, blank)
    exists = s < n_states
    wrong = exists & (state % 2 == 1) & ((label < 0) | (label >= V) | (label == blank))
    if tl.max(wrong.to(tl.int32), 0) == 1:
        tl.store(bad, 1)
        return
    may_skip = exists & (s >= 2) & (label != two_before)
    row = log_probs + sample * V + label  # (S,) where the states' classes stand in frame 0
    into = arrivals + (backward * T * B + sample) * S + state  # (S,)
    arrive = tl.where(exists & (s < 2), 0.0, float("-inf")).to(tl.float64)  # (S,)
    for i in range(frames):
        t = tl.where(backward == 1, frames - 1 - i, i).to(tl.int64)
        tl.store(into + t * B * S, arrive, mask=exists)
        emit = tl.load(row + t * B * V, mask=exists, other=float("-inf")).to(tl.float64)
        stay = arrive + emit
        step = tl.where(s >= 1, tl.gather(stay, tl.maximum(s - 1, 0), 0), float("-inf"))
        jump = tl.where(may_skip, tl.gather(stay, tl.maximum(s - 2, 0), 0), float("-inf"))
        most = tl.maximum(tl.maximum(stay, step), jump)
        most = tl.where(most == float("-inf"), 0.0, most)  # log 0 - log 0 would be NaN
        arrive = most + tl.log(tl.exp(stay - most) + tl.exp(step - most) + tl.exp(jump - most))


@triton.jit
def _occupancy(
    log_probs, targets, input_lengths, target_lengths, arrivals, occupancy, losses, bad, T, B, V, L, blank,
    S: tl.constexpr, CLASSES: tl.constexpr,
):  # fmt: skip
    """occupancy (T, B, V) and losses (B,) from the ways to reach a state and the ways to go on from it."""
    t, sample = tl.program_id(0).to(tl.int64), tl.program_id(1)
    frames, length = tl.load(input_lengths + sample), tl.load(target_lengths + sample)
    n_states = 2 * tl.minimum(length, L) + 1  # a length that _arrivals found bad must not read past the row
    s = tl.arange(0, S)  # (S,)
    exists = (s < n_states) & (t < frames)
    label = _labels(targets, sample, s, n_states, L, blank)  # (S,)
    row = log_probs + (t * B + sample) * V
    at = arrivals + (t * B + sample) * S + s  # (S,)
    through = tl.load(at, mask=exists, other=float("-inf"))  # (S,)
    through += tl.load(at + T * B * S, mask=exists, other=float("-inf"))
    inside = exists & (label >= 0) & (label < V)
    through += tl.load(row + label, mask=inside, other=float("-inf")).to(tl.float64)
    most = tl.max(through, 0)
    feasible = most > float("-inf")
    ways = tl.where(feasible, tl.exp(through - tl.where(feasible, most, 0.0)), 0.0)  # (S,)
    total = tl.sum(ways, 0)
    posterior = ways / tl.where(feasible, total, 1.0)  # (S,)
    if t == 0:
        loss = -(most + tl.log(tl.where(feasible, total, 1.0)))
        tl.store(losses + sample, tl.where((frames == 0) & (length == 0), 0.0, loss))
    one = 0.0
    for first in range(0, V, CLASSES):
        v = first + tl.arange(0, CLASSES)  # (V',)
        of_class = tl.where(label[:, None] == v[None, :], posterior[:, None], 0.0)  # (S, V')
        tl.store(occupancy + (t * B + sample) * V + v, tl.sum(of_class, 0), mask=v < V)
        one += tl.sum(tl.exp(tl.load(row + v, mask=v < V, other=float("-inf")).to(tl.float32)), 0)
    if (t < frames) & ((tl.abs(one - 1) <= 0.01) == 0):  # written so that NaN is wrong
        tl.store(bad, 1)


class _CTC(torch.autograd.Function):
    """The losses (B,) and, as a by-product of the same recursion, their gradient."""

    @staticmethod
    def forward(ctx, log_probs, targets, input_lengths, target_lengths, blank, bad):
        log_probs = log_probs.contiguous()
        (T, B, V), L = log_probs.shape, targets.shape[1]
        S = triton.next_power_of_2(2 * L + 1)  # states, and room to a power of two
        occupancy, losses = torch.empty_like(log_probs), log_probs.new_empty(B)
        arrivals = log_probs.new_empty(2, T, B, S, dtype=torch.float64)
        given = (log_probs, targets, input_lengths, target_lengths, arrivals)
        classes, warps = min(triton.next_power_of_2(V), max(1, 2048 // S)), max(1, S // 512)
        _arrivals[(B, 2)](*given, bad, T, B, V, L, blank, S, num_warps=warps)
        _occupancy[(T, B)](*given, occupancy, losses, bad, T, B, V, L, blank, S, classes, num_warps=warps)
        ctx.save_for_backward(occupancy, log_probs, targets, input_lengths, target_lengths)
        ctx.blank = blank
        return losses

    @staticmethod
    def backward(ctx, grad_losses):
        return ctc_gradient(grad_losses, *ctx.saved_tensors, ctx.blank), None, None, None, None, None


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor | Sequence[int],
    target_lengths: Tensor | Sequence[int],
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """:func:`lessons.ctc.loss.ctc_loss` on a GPU: the same arguments, values, gradients and errors."""
    arguments = (log_probs, targets, input_lengths, target_lengths, blank, reduction, zero_infinity)
    if reduction not in ctc.REDUCTIONS:
        return ctc.ctc_loss(*arguments)  # which says what is wrong
    check_log_probs_type(log_probs, "TBV", blank)
    targets = torch.as_tensor(targets)
    batch, device = log_probs.shape[1], log_probs.device
    if targets.dim() == 2 and len(targets) == batch and not targets.is_floating_point():
        targets = targets.to(device).contiguous()  # (B, Lmax)
    else:
        targets, _ = pad_targets(targets, target_lengths, batch, device)
    lengths, target_lengths = (torch.as_tensor(n, device=device) for n in (input_lengths, target_lengths))
    if not lengths.shape == target_lengths.shape == (batch,) or lengths.is_floating_point():
        return ctc.ctc_loss(*arguments)
    bad = lengths.new_zeros(1, dtype=torch.int32)
    losses = _CTC.apply(log_probs, targets, lengths, target_lengths, blank, bad)  # (B,)
    if bad.item():
        return ctc.ctc_loss(*arguments)
    return ctc.reduce_losses(losses, target_lengths, reduction, zero_infinity)
