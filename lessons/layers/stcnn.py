"""Convolution over space and time: the spatiotemporal CNN (STCNN) that LipNet sees with.

An image filter slides over height and width. An STCNN filter slides over time as well, so one filter can
answer "the lower lip is moving down", which no single frame shows (LipNet, arXiv 1611.01599, §3.1).
Shapes throughout: B clips, C channels, T frames, H rows, W columns.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lessons.layers.conv3d_fast import Conv3dColumns, Geometry

Size3 = int | tuple[int, int, int]  # one number for all of (time, height, width), or one for each


def conv3d_loops(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size3 = 1,
    padding: Size3 = 0,
    dilation: Size3 = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution as it is defined: put the filter on every place of the clip, multiply, add up.

    Slow and plain. It exists to be read, and to check :func:`conv3d`, whose arguments it shares.
    """
    out_size = _check_conv3d(x, weight, bias, stride, padding, dilation, groups)
    (st, sh, sw), (dt, dh, dw), (kt, kh, kw) = _triple(stride), _triple(dilation), weight.shape[2:]
    x = _pad(x, padding)  # (B, C, T+2p, H+2p, W+2p)
    n_batch, n_out, n_in = x.shape[0], weight.shape[0], weight.shape[1]  # n_in: channels of one group
    out = x.new_zeros(n_batch, n_out, *out_size)  # (B, O, T', H', W')
    for b in range(n_batch):
        for o in range(n_out):
            first = (o // (n_out // groups)) * n_in  # filter o looks at the channels of its group
            for t in range(out_size[0]):
                for h in range(out_size[1]):
                    for w in range(out_size[2]):
                        window = x[
                            b,
                            first : first + n_in,
                            t * st : t * st + dt * (kt - 1) + 1 : dt,
                            h * sh : h * sh + dh * (kh - 1) + 1 : dh,
                            w * sw : w * sw + dw * (kw - 1) + 1 : dw,
                        ]
                        out[b, o, t, h, w] = (window * weight[o]).sum()  # both (n_in, kt, kh, kw)
            if bias is not None:
                out[b, o] += bias[o]
    return out


def conv3d_matmul(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size3 = 1,
    padding: Size3 = 0,
    dilation: Size3 = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution over time, height and width as one matrix product.

    A filter of kt x kh x kw is kt image filters, one for each of kt neighboring frames. So:

    1. lay the kh x kw windows of every frame out as columns of a matrix, once;
    2. multiply: every image filter answers on every frame;
    3. an output frame is the sum of kt of these answers, each taken from its own frame.

    The columns are shared by the kt time steps: full three-dimensional windows would take kt times the
    memory (kt * kh * kw copies of the clip in place of kh * kw).

    It is here to be read; :func:`conv3d` does the same faster and has the same arguments.
    """
    t_out, h_out, w_out = _check_conv3d(x, weight, bias, stride, padding, dilation, groups)
    (st, sh, sw), (dt, dh, dw), (kt, kh, kw) = _triple(stride), _triple(dilation), weight.shape[2:]
    x = _pad(x, padding)  # (B, C, T+2p, H+2p, W+2p)
    n_batch, n_in, n_frames = x.shape[:3]
    n_out = weight.shape[0]
    g, c, o = groups, n_in // groups, n_out // groups  # c, o: channels of one group

    # 1. Columns. unfold makes views: no pixel is copied until reshape writes the matrix.
    windows = x.unfold(3, dh * (kh - 1) + 1, sh).unfold(4, dw * (kw - 1) + 1, sw)
    windows = windows[..., ::dh, ::dw]  # (B, C, T+2p, H', W', kh, kw)
    columns = windows.permute(0, 1, 5, 6, 2, 3, 4)  # (B, C, kh, kw, T+2p, H', W')
    columns = columns.reshape(n_batch, g, c * kh * kw, n_frames * h_out * w_out)

    # 2. Multiply.
    filters = weight.reshape(g, o, c, kt, kh, kw).permute(0, 3, 1, 2, 4, 5)  # (g, kt, o, c, kh, kw)
    filters = filters.reshape(g, kt * o, c * kh * kw)  # (g, kt*o, c*kh*kw)
    answers = filters @ columns  # (B, g, kt*o, (T+2p)*H'*W')
    answers = answers.reshape(n_batch, g, kt, o, n_frames, h_out, w_out)  # (B, g, kt, o, T+2p, H', W')

    # 3. Add: filter slice i of output frame t looks at padded frame t * stride + i * dilation.
    last = st * (t_out - 1) + 1
    out = answers[:, :, 0, :, 0:last:st]  # (B, g, o, T', H', W')
    for i in range(1, kt):
        out = out + answers[:, :, i, :, i * dt : i * dt + last : st]
    out = out.reshape(n_batch, n_out, t_out, h_out, w_out)  # (B, O, T', H', W')
    return out if bias is None else out + bias.to(out.dtype).reshape(-1, 1, 1, 1)


def conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Size3 = 1,
    padding: Size3 = 0,
    dilation: Size3 = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution over time, height and width; the same as ``F.conv3d``.

    The matrix product of :func:`conv3d_matmul`, taken a few frames at a time and with its gradient written
    out: :mod:`lessons.layers.conv3d_fast` tells why that is faster.

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
        RuntimeError: on a second derivative; :func:`conv3d_matmul` has every derivative.
    """
    out_size = _check_conv3d(x, weight, bias, stride, padding, dilation, groups)
    if _under_autocast(x) and x.dtype != torch.float64:  # as autocast does for a matrix product
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = (None if tensor is None else tensor.to(dtype) for tensor in (x, weight, bias))
    sizes = (tuple(weight.shape[2:]), *map(_triple, (stride, padding, dilation)))
    return Conv3dColumns.apply(x, weight, bias, Geometry(*sizes, groups, out_size))  # (B, O, T', H', W')


def max_pool3d(x: Tensor, kernel_size: Size3, stride: Size3 | None = None, padding: Size3 = 0) -> Tensor:
    """The largest value of each window; the same as ``F.max_pool3d``.

    The maximum of a box is the maximum along one edge, then the next, then the last: three passes over
    lines in place of one over boxes. Where values tie, the gradient goes to the first of them in (time,
    height, width) order, as in torch; reducing the width first keeps that order.

    Args:
        x: (B, C, T, H, W), floating point.
        kernel_size, padding: one number, or one for each of (time, height, width).
        stride: the same; None means ``kernel_size``, so that windows do not overlap.

    Returns:
        (B, C, T', H', W') with T' = (T + 2 padding - kernel) // stride + 1; H', W' alike.

    Raises:
        ValueError: wrong rank, a padding of more than half the kernel (some window would hold nothing but
            padding), or a kernel larger than the padded clip.
    """
    kernel = _triple(kernel_size)
    strides = kernel if stride is None else _triple(stride)
    _check_rank("x", x)
    _check_at_least(1, kernel_size=kernel, stride=strides)
    _check_at_least(0, padding=_triple(padding))
    for k, p in zip(kernel, _triple(padding), strict=True):
        if 2 * p > k:
            raise ValueError(
                f"padding={padding} is more than half of kernel_size={kernel_size}: use at most half"
            )
    _output_size(x, kernel, strides, padding, 1)
    x = _pad(x, padding, value=-math.inf)  # (B, C, T+2p, H+2p, W+2p)
    for axis in (4, 3, 2):  # W, then H, then T
        k, s = kernel[axis - 2], strides[axis - 2]
        if (k, s) != (1, 1):
            x = x.unfold(axis, k, s).max(-1).values
    return x  # (B, C, T', H', W')


class Conv3d(nn.Module):
    """:func:`conv3d` with its weights: parameters, shapes and first values are those of ``nn.Conv3d``.

    A state_dict goes both ways between the two, and after the same ``torch.manual_seed`` both start equal.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size3,
        stride: Size3 = 1,
        padding: Size3 = 0,
        dilation: Size3 = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        _check_at_least(1, in_channels=(in_channels,), out_channels=(out_channels,), groups=(groups,))
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size, self.stride = _triple(kernel_size), _triple(stride)
        self.padding, self.dilation = _triple(padding), _triple(dilation)
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels // groups, *self.kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weight and bias uniformly from ±1/sqrt(n), n the number of inputs that one output sees."""
        bound = 1 / math.sqrt(self.weight[0].numel())
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, O, T', H', W'), see :func:`conv3d`."""
        return conv3d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"groups={self.groups}, bias={self.bias is not None}"
        )


class MaxPool3d(nn.Module):
    """:func:`max_pool3d` as a module, as ``nn.MaxPool3d``."""

    def __init__(self, kernel_size: Size3, stride: Size3 | None = None, padding: Size3 = 0) -> None:
        super().__init__()
        self.kernel_size, self.padding = _triple(kernel_size), _triple(padding)
        self.stride = self.kernel_size if stride is None else _triple(stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, C, T', H', W'), see :func:`max_pool3d`."""
        return max_pool3d(x, self.kernel_size, self.stride, self.padding)

    def extra_repr(self) -> str:
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class STCNN(nn.Module):
    """One block of LipNet's front: convolution, ReLU, spatial max-pool, channel dropout (Table 3, §A.1).

    The pool halves height and width and leaves time alone: CTC needs every frame. Dropout takes whole
    channels, because neighboring pixels of one channel say the same and dropping some of them hides
    nothing. (Channel dropout and max-pool give the same in either order; after the pool it has less to do.)

    Args:
        in_channels, out_channels, kernel_size, stride, padding: of the convolution.
        pool: max-pool by (1, 2, 2) after the ReLU.
        norm: batch normalization between convolution and ReLU. LipNet has none.
        dropout: the probability of dropping a channel.
        layers: ``"lessons"`` computes convolution and pool with this file, ``"torch"`` with torch's own,
            which is faster. Both have the same state_dict and give the same output.

    Raises:
        ValueError: ``layers`` is neither of the two.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size3,
        stride: Size3 = 1,
        padding: Size3 = 0,
        *,
        pool: bool = True,
        norm: bool = False,
        dropout: float = 0.5,
        layers: Literal["lessons", "torch"] = "torch",
    ) -> None:
        super().__init__()
        if layers not in ("lessons", "torch"):
            raise ValueError(f"layers={layers!r} must be 'lessons' or 'torch'")
        conv_layer = Conv3d if layers == "lessons" else nn.Conv3d
        pool_layer = MaxPool3d if layers == "lessons" else nn.MaxPool3d
        # Batch normalization subtracts the mean and adds its own bias, so the convolution's would do nothing.
        self.conv = conv_layer(in_channels, out_channels, kernel_size, stride, padding, bias=not norm)
        self.norm = nn.BatchNorm3d(out_channels) if norm else nn.Identity()
        self.relu = nn.ReLU()  # not in place: a hook on conv must see what conv gave
        self.pool = pool_layer((1, 2, 2)) if pool else nn.Identity()
        self.dropout = nn.Dropout3d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, O, T', H', W'), or (B, O, T', H' // 2, W' // 2) with the pool."""
        x = self.relu(self.norm(self.conv(x)))  # (B, O, T', H', W')
        return self.dropout(self.pool(x))  # (B, O, T', H' // 2, W' // 2)


def _triple(size: Size3) -> tuple[int, int, int]:
    """One number for (time, height, width) -> three."""
    triple = (size,) * 3 if isinstance(size, int) else tuple(size)
    if len(triple) != 3:
        raise ValueError(f"got {size}, expected one number or three: (time, height, width)")
    return triple


def _pad(x: Tensor, padding: Size3, value: float = 0.0) -> Tensor:
    """Add ``padding`` entries of ``value`` on both ends of T, H and W."""
    t, h, w = _triple(padding)
    return F.pad(x, (w, w, h, h, t, t), value=value) if t or h or w else x  # F.pad counts axes from the last


def _output_size(x: Tensor, kernel: Size3, stride: Size3, padding: Size3, dilation: Size3) -> tuple[int, ...]:
    """(T', H', W'): how often the kernel fits along each axis."""
    sizes = []
    each = zip(x.shape[2:], *map(_triple, (kernel, stride, padding, dilation)), strict=True)
    for axis, (n, k, s, p, d) in zip("THW", each, strict=True):
        span = d * (k - 1) + 1
        if n + 2 * p < span:
            raise ValueError(
                f"the kernel spans {span} along {axis}, "
                f"but x of shape {tuple(x.shape)} padded by {p} has only {n + 2 * p}"
            )
        sizes.append((n + 2 * p - span) // s + 1)
    return tuple(sizes)


def _check_conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size3,
    padding: Size3,
    dilation: Size3,
    groups: int,
) -> tuple[int, ...]:
    """Refuse what cannot be convolved, by name; return (T', H', W')."""
    _check_rank("x", x)
    _check_rank("weight", weight, "(O, C / groups, kt, kh, kw)")
    _check_at_least(1, stride=_triple(stride), dilation=_triple(dilation), groups=(groups,))
    _check_at_least(0, padding=_triple(padding))
    n_in, n_out = x.shape[1], weight.shape[0]
    if n_in % groups or n_out % groups:
        raise ValueError(
            f"groups={groups} must divide the {n_in} channels of x and the {n_out} filters of weight"
        )
    if weight.shape[1] != n_in // groups:
        raise ValueError(
            f"weight of shape {tuple(weight.shape)} expects {weight.shape[1] * groups} channels "
            f"(groups={groups}), but x of shape {tuple(x.shape)} has {n_in}"
        )
    if bias is not None and bias.shape != (n_out,):
        raise ValueError(f"bias has shape {tuple(bias.shape)}, expected ({n_out},): one for each filter")
    autocast = _under_autocast(x)  # which brings all to one dtype
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is None:
            continue
        if tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device}, x on {x.device}: move one with .to(...)")
        if tensor.dtype != x.dtype and not autocast:
            raise ValueError(f"{name} is {tensor.dtype}, x is {x.dtype}: convert one with .to(...)")
    return _output_size(x, tuple(weight.shape[2:]), stride, padding, dilation)


def _under_autocast(x: Tensor) -> bool:
    return x.device.type != "meta" and torch.is_autocast_enabled(x.device.type)  # "meta" is not to be asked


def _check_rank(name: str, tensor: Tensor, expected: str = "(B, C, T, H, W)") -> None:
    if tensor.dim() != 5:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected five axes {expected}")


def _check_at_least(least: int, **arguments: tuple[int, ...]) -> None:
    for name, values in arguments.items():
        if min(values) < least:
            raise ValueError(f"{name} is {values}, expected {least} or more")
