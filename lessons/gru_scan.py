"""The GRU over all frames, both directions side by side, with backpropagation through time by hand.

:class:`lessons.gru.GRU` takes its steps here when the reset gate acts after the product. A loop over
:func:`lessons.gru.gru_step` gives the same values; there autograd keeps a node for every operation of every
frame. Two things make this one faster:

* One loop serves both directions: the backward direction's frames are turned round beforehand.
* The gradient needs one product a frame. With δ_t the loss's gradient with respect to h_t, and all gates
  known from the forward pass, the gradient of each gate's argument is δ_t times a number that does not depend
  on δ:

      update    δ_t ⊙ (h_{t-1} - n) ⊙ z(1 - z)
      new       δ_t ⊙ (1 - z) ⊙ (1 - n²)
      reset     (that of new) ⊙ (W_hn h_{t-1} + b_hn) ⊙ r(1 - r)

  These numbers are found for all frames at once. What is left in the loop is δ_{t-1} = z ⊙ δ_t + W_hhᵀ (the
  gates' gradients at t), and W_hh's own gradient is one large product after it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class GRUScan(torch.autograd.Function):
    """``GRUScan.apply(x_gates, h0, weight_hh, bias_hh, valid)`` gives the memory after each frame.

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

    @staticmethod
    def forward(
        ctx: Any, x_gates: Tensor, h0: Tensor, weight_hh: Tensor, bias_hh: Tensor, valid: Tensor | None
    ) -> Tensor:
        n_frames, _, _, width = x_gates.shape
        size = width // 3
        x_rz, x_n = x_gates[..., : 2 * size].unbind(0), x_gates[..., 2 * size :].unbind(0)
        keep = [None] * n_frames if valid is None else valid.unbind(0)
        product, bias = weight_hh.transpose(1, 2), bias_hh.unsqueeze(1)  # (directions, D, 3D), (…, 1, 3D)
        h, before, gates, news, inners = h0, [], [], [], []
        for t in range(n_frames):
            before.append(h)
            h_gates = torch.baddbmm(bias, h, product)  # (directions, B, 3D)
            rz = torch.sigmoid_(x_rz[t] + h_gates[..., : 2 * size])  # (directions, B, 2D)
            inner = h_gates[..., 2 * size :]  # (directions, B, D): W_hn h + b_hn
            n = torch.tanh_(torch.addcmul(x_n[t], rz[..., :size], inner))
            new = torch.lerp(n, h, rz[..., size:])  # (1 - z) n + z h
            h = new if keep[t] is None else torch.where(keep[t], new, h)
            gates.append(rz)
            news.append(n)
            inners.append(inner)
        out = torch.stack([*before[1:], h])  # (T, directions, B, D)
        if any(ctx.needs_input_grad):
            rz, n, inner = torch.stack(gates), torch.stack(news), torch.stack(inners)
            ctx.save_for_backward(h0, weight_hh, out, rz, n, inner, valid)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None]:
        h0, weight_hh, out, rz, n, inner, valid = ctx.saved_tensors
        n_frames, directions, n_clips, size = out.shape
        before = torch.cat([h0.unsqueeze(0), out[:-1]])  # (T, directions, B, D): h_{t-1}
        r, z = rz.split(size, dim=-1)
        of_n = (1 - z) * (1 - n * n)  # what δ is multiplied with, for the argument of each gate
        of_z = (before - n) * (z * (1 - z))
        of_r = of_n * inner * (r * (1 - r))
        keep = z
        if valid is not None:  # a frame past the end hands δ on untouched
            of_r, of_z, of_n = (factor * valid for factor in (of_r, of_z, of_n))
            keep = torch.where(valid, z, 1.0)
        factors = torch.stack([of_r, of_z, of_n * r], dim=-2)  # (T, directions, B, 3, D), for W_hh h + b_hh
        each, keeps, arriving = factors.unbind(0), keep.unbind(0), grad_out.unbind(0)

        deltas, h_gates = [grad_out] * n_frames, [grad_out] * n_frames  # filled from the last frame on
        delta = torch.zeros_like(h0)  # (directions, B, D)
        for t in reversed(range(n_frames)):
            delta = delta + arriving[t]
            grad_gates = (delta.unsqueeze(-2) * each[t]).flatten(-2)  # (directions, B, 3D)
            deltas[t], h_gates[t] = delta, grad_gates
            delta = torch.baddbmm(keeps[t] * delta, grad_gates, weight_hh)  # (directions, B, D)

        grad_h = torch.stack(h_gates, dim=1)  # (directions, T, B, 3D)
        rows = grad_h.reshape(directions, n_frames * n_clips, 3 * size)
        columns = before.transpose(0, 1).reshape(directions, n_frames * n_clips, size)
        grad_weight = rows.transpose(1, 2) @ columns  # (directions, 3D, D)
        grad_x = grad_h.transpose(0, 1).clone()  # (T, directions, B, 3D); r and z meet x and h alike
        grad_x[..., 2 * size :] = torch.stack(deltas) * of_n  # n does not: r stands between
        return grad_x, delta, grad_weight, rows.sum(1), None
