"""Convolution over space and time, as it is defined and as one matrix product.

An image filter slides over height and width. A spatiotemporal filter slides over time as well, so one filter
can respond to "the lower lip is moving down", which no single frame shows (LipNet, arXiv 1611.01599, §3.1).
Shapes throughout: B clips, C channels, T frames, H rows, W columns; O filters.

Both are written for reading. :func:`lessons.layers.conv3d_fast.conv3d` is faster, with the same arguments.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lessons.layers.checks import check_tensor, under_autocast

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
    """Return the convolution as it is defined: put the filter on every position of the clip, multiply, sum.

    Arguments as :func:`lessons.layers.conv3d_fast.conv3d`.
    """
    out_size = check_conv3d(x, weight, bias, stride, padding, dilation, groups)
    (st, sh, sw), (dt, dh, dw), (kt, kh, kw) = triple(stride), triple(dilation), weight.shape[2:]
    x = pad(x, padding)  # (B, C, T+2p, H+2p, W+2p)
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
    """Return the convolution as one matrix product (im2col over height and width).

    A filter of kt x kh x kw is kt image filters, one for each of kt neighboring frames. So:

    1. lay the kh x kw windows of every frame out as columns of a matrix, once;
    2. multiply: every image filter answers on every frame;
    3. an output frame is the sum of kt of these answers, each taken from its own frame.

    The columns are shared by the kt time steps: full three-dimensional windows would take kt times the
    memory (kt * kh * kw copies of the clip instead of kh * kw).
    """
    t_out, h_out, w_out = check_conv3d(x, weight, bias, stride, padding, dilation, groups)
    (st, sh, sw), (dt, dh, dw), (kt, kh, kw) = triple(stride), triple(dilation), weight.shape[2:]
    x = pad(x, padding)  # (B, C, T+2p, H+2p, W+2p)
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


def triple(size: Size3, name: str = "size") -> tuple[int, int, int]:
    """Return (time, height, width) of one number for all, or of three."""
    three = (size,) * 3 if isinstance(size, int) else tuple(size)
    if len(three) != 3:
        raise ValueError(f"{name}={size}: expected one number or three: (time, height, width)")
    return three


def pad(x: Tensor, padding: Size3, value: float = 0.0) -> Tensor:
    """Add ``padding`` entries of ``value`` on both ends of T, H and W."""
    t, h, w = triple(padding)
    return F.pad(x, (w, w, h, h, t, t), value=value) if t or h or w else x  # F.pad counts axes from the last


def check_conv3d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Size3,
    padding: Size3,
    dilation: Size3,
    groups: int,
) -> tuple[int, ...]:
    """Check the arguments of a convolution, naming what is wrong; return (T', H', W')."""
    check_rank("x", x)
    check_rank("weight", weight, "(O, C / groups, kt, kh, kw)")
    check_at_least(1, stride=triple(stride, "stride"), dilation=triple(dilation, "dilation"))
    check_at_least(1, groups=(groups,))
    check_at_least(0, padding=triple(padding, "padding"))
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
        raise ValueError(f"bias has shape {tuple(bias.shape)}, expected ({n_out},): one per filter")
    autocast = under_autocast(x)  # which brings all to one dtype
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is None:
            continue
        if tensor.device != x.device:
            raise ValueError(f"{name} is on {tensor.device}, x on {x.device}: move one with .to(...)")
        if tensor.dtype != x.dtype and not autocast:
            raise ValueError(f"{name} is {tensor.dtype}, x is {x.dtype}: convert one with .to(...)")
    return output_size(x, tuple(weight.shape[2:]), stride, padding, dilation)


def output_size(x: Tensor, kernel: Size3, stride: Size3, padding: Size3, dilation: Size3) -> tuple[int, ...]:
    """(T', H', W'): how often the kernel fits along each axis."""
    sizes = []
    each = zip(x.shape[2:], *map(triple, (kernel, stride, padding, dilation)), strict=True)
    for axis, (n, k, s, p, d) in zip("THW", each, strict=True):
        span = d * (k - 1) + 1
        if n + 2 * p < span:
            raise ValueError(
                f"the kernel spans {span} along {axis}, "
                f"but x of shape {tuple(x.shape)} padded by {p} has only {n + 2 * p}"
            )
        sizes.append((n + 2 * p - span) // s + 1)
    return tuple(sizes)


def check_rank(name: str, tensor: Tensor, expected: str = "(B, C, T, H, W)") -> None:
    check_tensor(name, tensor)
    if tensor.dim() != 5:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected five axes {expected}")


def check_at_least(least: int, **arguments: tuple[int, ...]) -> None:
    for name, values in arguments.items():
        if min(values) < least:
            raise ValueError(f"{name} is {values}, expected {least} or more")
