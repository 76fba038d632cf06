"""The finished convolution over space and time: im2col a few frames at a time, with its gradient by hand.

:func:`lessons.layers.conv3d.conv3d_matmul` gives the same: it lays out the windows of the whole batch as the
columns of one matrix (*im2col*; for LipNet's second layer 126 MB per clip), and autograd keeps them for the
backward pass. Most of its time goes into fetching columns from memory. Here they are

* **used while they are in cache**: the columns of a few frames fit into it, and no frame needs those of
  another. Each of the kt image filters in a filter is multiplied with these frames' columns, and each product
  is added to the output frame that it belongs to;
* **computed again in the backward pass**, which costs less than to keep them and fetch them;
* **multiplied twice more for the gradients** (derived in notebook 02). Let δ be the gradient of
  the loss with respect to the output. Each frame met the kt slices of a filter on its way into up to kt
  output frames; with the δ of these gathered in the same order,

      outputs            =  filters · columns
      filters' gradient  =  δ · columnsᵀ
      columns' gradient  =  filtersᵀ · δ,    added back onto the frames (*col2im*)

  A gradient that nobody asked for is not computed: LipNet's first layer needs none of the clip.

Zeros before the first frame and after the last would only give zeros, so they are not laid out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.layers.checks import under_autocast
from lessons.layers.conv3d import Size3, check_conv3d, conv3d_matmul, triple

Triple = tuple[int, int, int]  # (time, height, width)
COLUMN_BYTES = {"cpu": 2**22, "cuda": 2**26}  # at a time: a cache; enough for a GPU


def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size3 = 1,
    padding: Size3 = 0,
    dilation: Size3 = 1,
    groups: int = 1,
) -> Tensor:
    """Return the convolution over time, height and width; the same as ``F.conv3d``.

    Args:
        x: (B, C, T, H, W), floating point.
        weight: (O, C / groups, kt, kh, kw).
        bias: (O,), or None.
        stride, padding, dilation: one number, or one for each of (time, height, width).
        groups: C and O are cut into this many parts, and part i of the output sees part i of the input.

    Returns:
        (B, O, T', H', W') with T' = (T + 2 padding - dilation (kt - 1) - 1) // stride + 1; H', W' alike.

    Raises:
        ValueError: wrong rank, channels that do not fit, a kernel larger than the padded clip, or tensors
            of different dtype or device.
    """
    out_size = check_conv3d(x, weight, bias, stride, padding, dilation, groups)
    if under_autocast(x) and x.dtype != torch.float64:  # as autocast does for a matrix product
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = (None if tensor is None else tensor.to(dtype) for tensor in (x, weight, bias))
    sizes = (tuple(weight.shape[2:]), *map(triple, (stride, padding, dilation)))
    return Conv3dColumns.apply(x, weight, bias, Geometry(*sizes, groups, out_size))  # (B, O, T', H', W')


class Conv3dColumns(torch.autograd.Function):
    """``Conv3dColumns.apply(x, weight, bias, geometry)`` is ``F.conv3d``.

    Args:
        x: (B, C, T, H, W).
        weight: (O, C / groups, kt, kh, kw).
        bias: (O,), or None.
        geometry: everything about the convolution that is no tensor.

    Returns:
        (B, O, T', H', W').

    With ``create_graph=True`` the gradient must itself be differentiable: it is then that of
    :func:`lessons.layers.conv3d.conv3d_matmul`.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, geometry: Geometry) -> Tensor:
        filters = geometry.filters(weight)  # (g, kt*o, c*kh*kw)
        shape = (len(x), len(weight), *geometry.out_size)
        out = x.new_empty(shape)  # (B, O, T', H', W')
        out[:] = 0 if bias is None else bias.reshape(-1, 1, 1, 1)
        for b, clip_out in enumerate(geometry.by_group(out)):  # (g, o, T', H', W')
            for frames in geometry.chunks(x):
                products = filters @ geometry.im2col(x[b, :, frames])  # (g, kt*o, n*H'*W')
                products = geometry.by_slice(products)  # (g, kt, o, n, H', W')
                for i, there, here in geometry.meetings(frames):
                    clip_out[:, :, there] += products[:, i, :, here]
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return out

    @staticmethod
    def backward(ctx: Any, grad_out: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        (x, weight), geometry = ctx.saved_tensors, ctx.geometry
        x_wanted, weight_wanted, bias_wanted, _ = ctx.needs_input_grad
        grad_bias = grad_out.sum((0, 2, 3, 4)) if bias_wanted else None
        if torch.is_grad_enabled():  # create_graph
            wanted = (x_wanted, weight_wanted)
            return *geometry.differentiable_gradients(x, weight, grad_out, wanted), grad_bias, None
        filters = geometry.filters(weight)  # (g, kt*o, c*kh*kw)
        # Sums of many parts: in half precision a part would soon be too small to count.
        grad_filters = torch.zeros_like(filters, dtype=torch.promote_types(x.dtype, torch.float32))
        grad_x = torch.empty_like(x) if x_wanted else None
        for b, delta in enumerate(geometry.by_group(grad_out)):  # (g, o, T', H', W')
            for frames in geometry.chunks(x):
                deltas = geometry.gather(delta, frames)  # (g, kt*o, n*H'*W')
                if weight_wanted:
                    grad_filters += deltas @ geometry.im2col(x[b, :, frames]).mT
                if grad_x is not None:
                    grad_columns = filters.mT @ deltas  # (g, c*kh*kw, n*H'*W')
                    grad_x[b, :, frames] = geometry.col2im(grad_columns, x[b, :, frames])
        return (
            grad_x,
            geometry.weight(grad_filters).to(weight.dtype) if weight_wanted else None,
            grad_bias,
            None,
        )


class Geometry(NamedTuple):
    """A convolution without its tensors: sizes, and which frames a filter meets. Triples are (t, h, w)."""

    kernel: Triple
    stride: Triple
    padding: Triple
    dilation: Triple
    groups: int
    out_size: Triple

    def differentiable_gradients(
        self, x: Tensor, weight: Tensor, grad_out: Tensor, wanted: tuple[bool, bool]
    ) -> list[Tensor | None]:
        """The gradients of x and of weight, as functions that autograd differentiates again."""
        out = conv3d_matmul(x, weight, None, self.stride, self.padding, self.dilation, self.groups)
        inputs = [tensor for tensor, is_wanted in zip((x, weight), wanted, strict=True) if is_wanted]
        if not inputs:
            return [None, None]
        gradients = iter(torch.autograd.grad(out, inputs, grad_out, create_graph=True))
        return [next(gradients) if is_wanted else None for is_wanted in wanted]

    def chunks(self, x: Tensor) -> Iterator[slice]:
        """The frames of ``x``, as many at a time as COLUMN_BYTES allows, at least one."""
        n_frames = x.shape[2]
        window = x.shape[1] * math.prod(self.kernel[1:])  # values under one image window
        frame = window * math.prod(self.out_size[1:]) * x.element_size()  # bytes of a frame's columns
        n = max(1, COLUMN_BYTES.get(x.device.type, COLUMN_BYTES["cuda"]) // frame)
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

    def im2col(self, frames: Tensor) -> Tensor:
        """Lay out the image windows of (C, n, H, W) as columns: (g, c*kh*kw, n*H'*W')."""
        _, h_pad, w_pad = self.padding
        x = F.pad(frames, (w_pad, w_pad, h_pad, h_pad))  # (C, n, H+2p, W+2p)
        for axis in (1, 2):  # unfold makes views: no pixel is copied until reshape writes the columns
            x = x.unfold(axis + 1, self.dilation[axis] * (self.kernel[axis] - 1) + 1, self.stride[axis])
        windows = x[..., :: self.dilation[1], :: self.dilation[2]]  # (C, n, H', W', kh, kw)
        n_columns = windows[0, ..., 0, 0].numel()  # n*H'*W'
        return windows.permute(0, 4, 5, 1, 2, 3).reshape(self.groups, -1, n_columns)

    def col2im(self, grad_columns: Tensor, frames: Tensor) -> Tensor:
        """The transpose of ``im2col``: each pixel sums the gradients of its copies. (C, n, H, W)."""
        (_, kh, kw), (_, sh, sw), (_, dh, dw) = self.kernel, self.stride, self.dilation
        (_, h_pad, w_pad), (_, h_out, w_out) = self.padding, self.out_size
        n_channels, n, height, width = frames.shape
        windows = grad_columns.reshape(n_channels, kh, kw, n, h_out, w_out)
        # First along the width, then along the height: kw + kh additions instead of kw * kh.
        rows = grad_columns.new_zeros(n_channels, kh, n, h_out, width + 2 * w_pad)  # (C, kh, n, H', W+2p)
        for k in range(kw):
            rows[..., k * dw : k * dw + sw * (w_out - 1) + 1 : sw] += windows[:, :, k]
        grad = grad_columns.new_zeros(n_channels, n, height + 2 * h_pad, width + 2 * w_pad)
        for j in range(kh):
            grad[:, :, j * dh : j * dh + sh * (h_out - 1) + 1 : sh] += rows[:, j]
        return grad[:, :, h_pad : h_pad + height, w_pad : w_pad + width]

    def gather(self, delta: Tensor, frames: slice) -> Tensor:
        """δ (g, o, T', H', W') -> that of the output frames that saw ``frames``, (g, kt*o, n*H'*W')."""
        g, o, _, h_out, w_out = delta.shape
        kt, n = self.kernel[0], frames.stop - frames.start
        deltas = delta.new_empty(g, kt, o, n, h_out, w_out)
        for i, there, here in self.meetings(frames):
            if there.stop - there.start < n:
                deltas[:, i] = 0  # where no output frame looked
            deltas[:, i, :, here] = delta[:, :, there]
        return deltas.reshape(g, kt * o, n * h_out * w_out)

    def filters(self, weight: Tensor) -> Tensor:
        """(O, c, kt, kh, kw) -> kt image filters for each of O, (g, kt*o, c*kh*kw)."""
        filters = weight.unflatten(0, (self.groups, -1)).movedim(3, 1)  # (g, kt, o, c, kh, kw)
        return filters.flatten(3).flatten(1, 2)

    def weight(self, filters: Tensor) -> Tensor:
        """The inverse of ``filters``."""
        kt, kh, kw = self.kernel
        o = filters.shape[1] // kt
        weight = filters.reshape(self.groups, kt, o, -1, kh, kw).movedim(1, 3)  # (g, o, c, kt, kh, kw)
        return weight.flatten(0, 1)

    def by_group(self, out: Tensor) -> Tensor:
        """(B, O, T', H', W') -> (B, g, o, T', H', W')."""
        return out.unflatten(1, (self.groups, -1))

    def by_slice(self, products: Tensor) -> Tensor:
        """(g, kt*o, n*H'*W') -> (g, kt, o, n, H', W')."""
        return products.unflatten(2, (-1, *self.out_size[1:])).unflatten(1, (self.kernel[0], -1))
