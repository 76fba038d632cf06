"""The GRU over all frames, both directions side by side, with backpropagation through time by hand.

:class:`lessons.layers.gru.GRU` takes its steps here when the reset gate acts after the product. A loop over
:func:`lessons.layers.gru.gru_step` gives the same values; there autograd keeps a node for every operation of
every frame. Three things make this one faster:

* One loop serves both directions: the backward direction's frames are turned round beforehand.
* The gradient needs one product a frame. With δ_t the loss's gradient with respect to h_t, and all gates
  known from the forward pass, each gate's argument has the gradient

      update    δ_t ⊙ (h_{t-1} - n) ⊙ z(1 - z)
      new       δ_t ⊙ (1 - z) ⊙ (1 - n²)
      reset     (that of new) ⊙ (W_hn h_{t-1} + b_hn) ⊙ r(1 - r)

  and what the memory before it is told is δ_{t-1} = z ⊙ δ_t + W_hhᵀ (these three, the new one times r).
  W_hh's own gradient is one large product after the loop.
* A frame's numbers are written where they stay. A list of T small tensors, put together at the end, would
  write everything twice; and operations on all frames at once would fetch from memory what the loop still
  has in the processor's cache.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def gru_scan(
    x_gates: Tensor, h0: Tensor, weight_hh: Tensor, bias_hh: Tensor, valid: Tensor | None = None
) -> Tensor:
    """The memory after each frame.

    Args:
        x_gates: (T, directions, B, 3D), W_i x + b_i with the gates in the order r, z, n; the frames in the
            order in which each direction reads them.
        h0: (directions, B, D), the memory before the first frame.
        weight_hh, bias_hh: (directions, 3D, D) and (directions, 3D).
        valid: (T, directions, B, 1) bool, or None for all: where False, the memory stays as it is.

    Returns:
        (T, directions, B, D), the frames in the same order.

    Raises:
        RuntimeError: on a second derivative; only the first is written out.
    """
    return GRUScan.apply(x_gates, h0, weight_hh, bias_hh, valid, torch.is_grad_enabled())


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
            ctx.save_for_backward(h0, weight_hh, out, gates, valid)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, ...]:
        h0, weight_hh, out, gates, valid = ctx.saved_tensors
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
            heard = delta if valid is None else delta * valid[t]
            kept = z * heard
            torch.mul(heard - kept, 1 - n * n, out=of_n)  # heard - kept is (1 - z) δ
            torch.mul(of_n, r, out=of_inner)
            torch.mul(of_n, inner, out=of_r)
            torch.mul(heard, h - n, out=of_z)
            of_rz.mul_(rz * (1 - rz))
            if valid is not None:
                kept = kept + (delta - heard)  # a frame past the end hands δ on untouched
            delta = torch.baddbmm(kept, of_h, weight_hh)

        rows = by_direction.flatten(1, 2)  # (directions, T * B, 3D)
        columns = before.transpose(0, 1).flatten(1, 2)  # (directions, T * B, D)
        grad_weight = rows.transpose(1, 2) @ columns  # (directions, 3D, D)
        grad_bias = rows.sum(1)  # (directions, 3D)
        grad_h[..., 2 * size :] = (
            grad_n  # now at W_i x + b_i: only at n does it differ, where r stands between
        )
        return grad_h, delta, grad_weight, grad_bias, None, None


def _parts(gates: Tensor) -> tuple[Tensor, ...]:
    """(T, directions, B, 4D) -> its views W_hh h + b_hh (3D), r and z (2D), r, z, W_hn h + b_hn, n (D each).

    The first holds what the product gave; r and z then take the place of their part of it.
    """
    size = gates.shape[-1] // 4
    return gates[..., : 3 * size], gates[..., : 2 * size], *gates.split(size, dim=-1)


def _by_frame(*tensors: Tensor) -> list[tuple[Tensor, ...]]:
    """For each frame, what each of the tensors (T, ...) holds of it."""
    return list(zip(*(tensor.unbind(0) for tensor in tensors), strict=True))
