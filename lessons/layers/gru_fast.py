"""The finished GRU: both directions in one loop, with backpropagation through time by hand.

:class:`lessons.layers.gru.GRU` runs here when the reset gate acts after the product. A loop over
:func:`lessons.layers.gru.gru_step` gives the same values, but autograd then keeps a node for each operation
of each frame. Three things make this one faster:

* One loop serves both directions: the frames of the backward direction are reversed beforehand.
* The gradient needs one product per frame. Let δ_t be the gradient of the loss with respect to h_t. With all
  gates known from the forward pass, the arguments of the gates have the gradients

      d_z = δ_t ⊙ (h_{t-1} - n) ⊙ z(1 - z)                     update
      d_n = δ_t ⊙ (1 - z) ⊙ (1 - n²)                           new
      d_r = d_n ⊙ (W_hn h_{t-1} + b_hn) ⊙ r(1 - r)             reset

  and the state before it has δ_{t-1} = z ⊙ δ_t + W_hrᵀ d_r + W_hzᵀ d_z + W_hnᵀ (r ⊙ d_n). The gradient of
  W_hh is one large product after the loop.
* Outputs are preallocated and written in place. A list of T small tensors, stacked at the end, would write
  everything twice; and operations over all frames at once would fetch from memory what the loop still has
  in cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Step = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def gru_scan(
    x_gates: Tensor,
    h0: Tensor,
    weight_hh: Tensor,
    bias_hh: Tensor,
    valid: Tensor | None,
    step: Step,
    input_gates: Callable[[], Tensor],
) -> Tensor:
    """Return the hidden state after each frame.

    Args:
        x_gates: (T, directions, B, 3D), W_i x + b_i in blocks r, z, n; the frames in the
            order in which each direction reads them.
        h0: (directions, B, D), the state before the first frame.
        weight_hh, bias_hh: (directions, 3D, D) and (directions, 3D).
        valid: (T, directions, B, 1) bool, or None for all: where False, the state stays as it is.
        step: :func:`lessons.layers.gru.gru_step`, from which a gradient with ``create_graph=True`` comes.
        input_gates: computes ``x_gates`` again, for that case: so they need not be kept for it.

    Returns:
        (T, directions, B, D), the frames in the same order.
    """
    again = (step, input_gates)
    return GRUScan.apply(x_gates, h0, weight_hh, bias_hh, valid, again, torch.is_grad_enabled())


def differentiable_scan(
    x_gates: Tensor, h0: Tensor, weight_hh: Tensor, bias_hh: Tensor, valid: Tensor | None, step: Step
) -> Tensor:
    """The same step by step, in operations that autograd differentiates any number of times."""
    directions = []
    for d in range(len(h0)):
        h, outs = h0[d], []  # (B, D)
        for t in range(len(x_gates)):
            new = step(x_gates[t, d], h, weight_hh[d], bias_hh[d])  # (B, D)
            h = new if valid is None else torch.where(valid[t, d], new, h)
            outs.append(h)
        directions.append(torch.stack(outs))  # (T, B, D)
    return torch.stack(directions, dim=1)  # (T, directions, B, D)


class GRUScan(torch.autograd.Function):
    """What :func:`gru_scan` does, and its gradient. ``keep``: a gradient may be asked for."""

    @staticmethod
    def forward(
        ctx: Any,
        x_gates: Tensor,
        h0: Tensor,
        weight_hh: Tensor,
        bias_hh: Tensor,
        valid: Tensor | None,
        again: tuple[Step, Callable[[], Tensor]],
        keep: bool,
    ) -> Tensor:
        n_frames, directions, n_clips, width = x_gates.shape
        size = width // 3
        # Every frame writes its part of tensors that are there already. Without a gradient in view all
        # frames share one place: what stays in the processor's cache is fast.
        places = n_frames if keep else 1
        gates = x_gates.new_empty(places, directions, n_clips, 4 * size)  # r, z, W_hn h + b_hn, n
        out = x_gates.new_empty(n_frames, directions, n_clips, size)
        # Laid out anew: T products with a matrix read across its rows would take longer than this copy.
        product = weight_hh.transpose(1, 2).contiguous()  # (directions, D, 3D)
        bias = bias_hh.unsqueeze(1)  # (directions, 1, 3D)
        h = h0  # (directions, B, D)
        parts = (*x_gates.split([2 * size, size], dim=-1), *_parts(gates.expand(n_frames, -1, -1, -1)), out)
        for t, (x_rz, x_n, h_gates, rz, r, z, inner, n, new) in enumerate(_by_frame(*parts)):
            torch.baddbmm(bias, h, product, out=h_gates)  # (directions, B, 3D)
            rz.add_(x_rz).sigmoid_()
            torch.addcmul(x_n, r, inner, out=n).tanh_()
            torch.lerp(n, h, z, out=new)  # (1 - z) n + z h
            if valid is not None:
                torch.where(valid[t], new, h, out=new)
            h = new
        if keep:
            ctx.save_for_backward(h0, weight_hh, bias_hh, valid, out, gates)
            ctx.again = again
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        h0, weight_hh, _, valid, out, gates = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph
            return *_differentiable_gradients(ctx, grad_out), None, None, None
        n_frames, directions, n_clips, size = out.shape
        before = torch.cat([h0.unsqueeze(0), out[:-1]])  # (T, directions, B, D): h_{t-1}
        by_direction = out.new_empty(directions, n_frames, n_clips, 3 * size)
        grad_h = by_direction.transpose(0, 1)  # (T, directions, B, 3D), at W_hh h + b_hh
        grad_n = torch.empty_like(out)  # (T, directions, B, D), at W_in x + b_in
        known = _by_frame(grad_out, before, *_parts(gates)[1:])
        wanted = _by_frame(grad_h, grad_h[..., : 2 * size], *grad_h.split(size, dim=-1), grad_n)
        delta = torch.zeros_like(h0)  # (directions, B, D)
        for t in reversed(range(n_frames)):
            arriving, h, rz, r, z, inner, n = known[t]
            of_h, of_rz, of_r, of_z, of_inner, of_n = wanted[t]
            delta = delta + arriving  # (directions, B, D)
            active = delta if valid is None else delta * valid[t]
            direct = z * active
            torch.mul(active - direct, 1 - n * n, out=of_n)  # active - direct is (1 - z) δ
            torch.mul(of_n, r, out=of_inner)
            torch.mul(of_n, inner, out=of_r)
            torch.mul(active, h - n, out=of_z)
            of_rz.mul_(rz * (1 - rz))
            if valid is not None:
                direct = direct + (delta - active)  # a padded frame passes δ unchanged
            delta = torch.baddbmm(direct, of_h, weight_hh)

        rows = by_direction.flatten(1, 2)  # (directions, T * B, 3D)
        columns = before.transpose(0, 1).flatten(1, 2)  # (directions, T * B, D)
        grad_weight = rows.transpose(1, 2) @ columns  # (directions, 3D, D)
        grad_bias = rows.sum(1)  # (directions, 3D)
        grad_h[..., 2 * size :] = (
            grad_n  # now at W_i x + b_i, which differs only in block n, where r is a factor
        )
        return grad_h, delta, grad_weight, grad_bias, None, None, None


def _differentiable_gradients(ctx: Any, grad_out: Tensor) -> list[Tensor | None]:
    """The gradients of x_gates, h0, weight_hh and bias_hh, as functions that can be differentiated again."""
    step, input_gates = ctx.again
    *recurrent, valid, _, _ = ctx.saved_tensors
    inputs = [input_gates(), *recurrent]  # x_gates (T, directions, B, 3D), h0, weight_hh, bias_hh
    out = differentiable_scan(*inputs, valid, step)  # (T, directions, B, D)
    wanted = [tensor for tensor, is_wanted in zip(inputs, ctx.needs_input_grad, strict=False) if is_wanted]
    gradients = iter(torch.autograd.grad(out, wanted, grad_out, create_graph=True))
    return [next(gradients) if is_wanted else None for is_wanted in ctx.needs_input_grad[: len(inputs)]]


def _parts(gates: Tensor) -> tuple[Tensor, ...]:
    """(T, directions, B, 4D) -> its views W_hh h + b_hh (3D), r and z (2D), r, z, W_hn h + b_hn, n (D each).

    The first holds what the product gave; r and z then take the place of their part of it.
    """
    size = gates.shape[-1] // 4
    return gates[..., : 3 * size], gates[..., : 2 * size], *gates.split(size, dim=-1)


def _by_frame(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """For each frame, what each of the tensors (T, ...) holds of it."""
    return list(zip(*(tensor.unbind(0) for tensor in tensors), strict=True))
