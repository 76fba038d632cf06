"""Convolution over space and time, a few frames at a time, with its gradient by hand.

:func:`lessons.layers.stcnn.conv3d` takes its way through here. :func:`lessons.layers.stcnn.conv3d_matmul`
gives the same: it lays out the windows of the whole batch as columns of one matrix (for LipNet's second
layer 126 MB a clip), and autograd keeps them for the way back. Much of its time goes into fetching columns
from memory. Here they are

* **used while they are near**: the columns of a few frames fit into the processor's cache, and no frame needs
  those of another. Each of the kt image filters in a filter answers on these frames, and each answer is added
  to the output frame that it belongs to;
* **laid out again on the way back**, which costs less than to keep them and fetch them;
* **multiplied twice more for the gradients** (derived in notebook 02, section 6). Let δ be the gradient of
  the loss with respect to the output. Every frame met the kt slices of a filter on its way into up to kt
  output frames; pile up the δ of these in the same order, and

      answers            =  filters · columns
      filters' gradient  =  pile · columnsᵀ
      columns' gradient  =  filtersᵀ · pile,    which is then stamped back onto the frames.

  What nobody asked for is not computed: LipNet's first layer has no use for the gradient of the clip.

Zeros before the first frame and after the last answer with zeros, so they are not even laid out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Triple = tuple[int, int, int]  # (time, height, width)
CHUNK = {"cpu": 2**22, "cuda": 2**26}  # bytes of columns at a time: a processor's cache; work for a whole GPU


class Conv3dColumns(torch.autograd.Function):
    """``Conv3dColumns.apply(x, weight, bias, geometry)`` is ``F.conv3d``.

    Args:
        x: (B, C, T, H, W).
        weight: (O, C / groups, kt, kh, kw).
        bias: (O,), or None.
        geometry: everything about the convolution that is no tensor.

    Returns:
        (B, O, T', H', W').

    Raises:
        RuntimeError: on a second derivative; only the first is written out.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        filters = geometry.filters(weight)  # (g, kt*o, c*kh*kw)
        shape = (len(x), len(weight), *geometry.out_size)
        out = x.new_empty(shape)  # (B, O, T', H', W')
        out[:] = 0 if bias is None else bias.reshape(-1, 1, 1, 1)
        for b, clip_out in enumerate(geometry.by_group(out)):  # (g, o, T', H', W')
            for frames in geometry.chunks(x):
                answers = filters @ geometry.columns(x[b, :, frames])  # (g, kt*o, n*H'*W')
                answers = geometry.by_slice(answers)  # (g, kt, o, n, H', W')
                for i, there, here in geometry.meetings(frames):
                    clip_out[:, :, there] += answers[:, i, :, here]
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        (x, weight), geometry = ctx.saved_tensors, ctx.geometry
        x_wanted, weight_wanted, bias_wanted, _ = ctx.needs_input_grad
        filters = geometry.filters(weight)  # (g, kt*o, c*kh*kw)
        # Sums of many parts: in half precision a part would soon be too small to count.
        grad_filters = torch.zeros_like(filters, dtype=torch.promote_types(x.dtype, torch.float32))
        grad_x = torch.empty_like(x) if x_wanted else None
        for b, delta in enumerate(geometry.by_group(grad_out)):  # (g, o, T', H', W')
            for frames in geometry.chunks(x):
                pile = geometry.pile(delta, frames)  # (g, kt*o, n*H'*W')
                if weight_wanted:
                    grad_filters += pile @ geometry.columns(x[b, :, frames]).mT
                if grad_x is not None:
                    grad_columns = filters.mT @ pile  # (g, c*kh*kw, n*H'*W')
                    grad_x[b, :, frames] = geometry.stamp(grad_columns, x[b, :, frames])
        return (
            grad_x,
            geometry.weight(grad_filters).to(weight.dtype) if weight_wanted else None,
            grad_out.sum((0, 2, 3, 4)) if bias_wanted else None,
            None,
        )


class Geometry(NamedTuple):
    """A convolution without its tensors; what a filter meets where. Threes are (time, height, width)."""

    kernel: Triple
    stride: Triple
    padding: Triple
    dilation: Triple
    groups: int
    out_size: Triple

    def chunks(self, x: Tensor) -> Iterator[slice]:
        """The frames of ``x``, so many at a time as CHUNK allows, and one at least."""
        n_frames = x.shape[2]
        window = x.shape[1] * math.prod(self.kernel[1:])  # values under one image window
        frame = window * math.prod(self.out_size[1:]) * x.element_size()  # bytes of a frame's columns
        n = max(1, CHUNK.get(x.device.type, CHUNK["cuda"]) // frame)
        return (slice(f, min(f + n, n_frames)) for f in range(0, n_frames, n))

    def meetings(self, frames: slice) -> Iterator[tuple[int, slice, slice]]:
        """For each slice i of a filter: the output frames that see ``frames`` through it, and what they see.

        Output frame t looks through slice i at frame t * stride + i * dilation - padding. What it sees is
        counted from the first of ``frames``.
        """
        stride, end = self.stride[0], self.out_size[0]
        for i in range(self.kernel[0]):
            offset = i * self.dilation[0] - self.padding[0] - frames.start
            first = max(0, -(offset // stride))  # the first t with t * stride + offset >= 0
            last = min(end, (frames.stop - frames.start - 1 - offset) // stride + 1)  # and one past the last
            if first >= last:
                yield i, slice(0, 0), slice(0, 0)  # none
            else:
                here = slice(first * stride + offset, (last - 1) * stride + offset + 1, stride)
                yield i, slice(first, last), here

    def columns(self, frames: Tensor) -> Tensor:
        """Lay out the image windows of (C, n, H, W) as columns: (g, c*kh*kw, n*H'*W')."""
        _, h_pad, w_pad = self.padding
        x = F.pad(frames, (w_pad, w_pad, h_pad, h_pad))  # (C, n, H+2p, W+2p)
        for axis in (1, 2):  # unfold makes views: no pixel is copied until reshape writes the columns
            x = x.unfold(axis + 1, self.dilation[axis] * (self.kernel[axis] - 1) + 1, self.stride[axis])
        windows = x[..., :: self.dilation[1], :: self.dilation[2]]  # (C, n, H', W', kh, kw)
        n_columns = windows[0, ..., 0, 0].numel()  # n*H'*W'
        return windows.permute(0, 4, 5, 1, 2, 3).reshape(self.groups, -1, n_columns)

    def stamp(self, grad_columns: Tensor, frames: Tensor) -> Tensor:
        """The way back of ``columns``: every pixel adds up what its copies were given. (C, n, H, W)."""
        (_, kh, kw), (_, sh, sw), (_, dh, dw) = self.kernel, self.stride, self.dilation
        (_, h_pad, w_pad), (_, h_out, w_out) = self.padding, self.out_size
        n_channels, n, height, width = frames.shape
        windows = grad_columns.reshape(n_channels, kh, kw, n, h_out, w_out)
        # First along the width, then along the height: kw + kh additions in place of kw * kh.
        rows = grad_columns.new_zeros(n_channels, kh, n, h_out, width + 2 * w_pad)  # (C, kh, n, H', W+2p)
        for k in range(kw):
            rows[..., k * dw : k * dw + sw * (w_out - 1) + 1 : sw] += windows[:, :, k]
        grad = grad_columns.new_zeros(n_channels, n, height + 2 * h_pad, width + 2 * w_pad)
        for j in range(kh):
            grad[:, :, j * dh : j * dh + sh * (h_out - 1) + 1 : sh] += rows[:, j]
        return grad[:, :, h_pad : h_pad + height, w_pad : w_pad + width]

    def pile(self, delta: Tensor, frames: slice) -> Tensor:
        """δ (g, o, T', H', W') -> that of the output frames that saw ``frames``, (g, kt*o, n*H'*W')."""
        g, o, _, h_out, w_out = delta.shape
        kt, n = self.kernel[0], frames.stop - frames.start
        pile = delta.new_empty(g, kt, o, n, h_out, w_out)
        for i, there, here in self.meetings(frames):
            if there.stop - there.start < n:
                pile[:, i] = 0  # where no output frame looked
            pile[:, i, :, here] = delta[:, :, there]
        return pile.reshape(g, kt * o, n * h_out * w_out)

    def filters(self, weight: Tensor) -> Tensor:
        """(O, c, kt, kh, kw) -> kt image filters for each of O, (g, kt*o, c*kh*kw)."""
        filters = weight.unflatten(0, (self.groups, -1)).movedim(3, 1)  # (g, kt, o, c, kh, kw)
        return filters.flatten(3).flatten(1, 2)

    def weight(self, filters: Tensor) -> Tensor:
        """The way back of ``filters``."""
        kt, kh, kw = self.kernel
        o = filters.shape[1] // kt
        weight = filters.reshape(self.groups, kt, o, -1, kh, kw).movedim(1, 3)  # (g, o, c, kt, kh, kw)
        return weight.flatten(0, 1)

    def by_group(self, out: Tensor) -> Tensor:
        """(B, O, T', H', W') -> (B, g, o, T', H', W')."""
        return out.unflatten(1, (self.groups, -1))

    def by_slice(self, answers: Tensor) -> Tensor:
        """(g, kt*o, n*H'*W') -> (g, kt, o, n, H', W')."""
        return answers.unflatten(2, (-1, *self.out_size[1:])).unflatten(1, (self.kernel[0], -1))
