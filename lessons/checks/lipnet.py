"""Checks of notebook 06, LipNet. What is right is computed by torch's layers, or counted place by place."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lessons.checks.tools import call, expect_close, expect_number, expect_tensor, expect_whole

STAGES = ("stcnn1", "stcnn2", "stcnn3", "the sequence", "gru1", "gru2", "the head")
HINTS = {
    "stcnn1": "Its axes are (B, C, T, H, W). Rows and columns are halved twice, by a stride and by a pool; "
    "time never.",
    "stcnn2": "Its convolution has stride 1 and padding that keeps the size; only the pool halves.",
    "stcnn3": "Its convolution has stride 1 and padding that keeps the size; only the pool halves.",
    "the sequence": "Time first, then clips, then all channels of all places of a frame in one list.",
    "gru1": "Time and clips stay. Two directions stand side by side.",
    "gru2": "Time and clips stay. Two directions stand side by side.",
    "the head": "One number for each class; a blank, a space and 26 letters.",
}


@torch.no_grad()
def _torch_shapes(clips: int, frames: int, height: int, width: int) -> list[tuple[int, ...]]:
    """What torch's layers give; on the meta device nothing is computed but shapes."""
    shapes, into = [], 3
    x = torch.empty(clips, into, frames, height, width, device="meta")
    for out, kernel, stride in ((32, (3, 5, 5), (1, 2, 2)), (64, (3, 5, 5), 1), (96, (3, 3, 3), 1)):
        weight = torch.empty(out, into, *kernel, device="meta")
        x = F.conv3d(x, weight, stride=stride, padding=tuple(k // 2 for k in kernel))
        x, into = F.max_pool3d(x, (1, 2, 2)), out
        shapes.append(x.shape)
    shapes.append(x.permute(2, 0, 1, 3, 4).flatten(2).shape)
    x = torch.zeros(frames, clips, 1)  # one feature will do: the shape that a GRU gives does not depend on F
    for _ in range(2):
        x = nn.GRU(x.shape[2], 256, bidirectional=True)(x)[0]
        shapes.append(x.shape)
    shapes.append(nn.Linear(512, 28)(x).shape)
    return [tuple(shape) for shape in shapes]


def output_shapes(function: Callable) -> None:
    """function(clips, frames, height, width) -> the seven shapes of STAGES."""
    cases = [
        ((1, 75, 64, 128), ""),
        ((2, 30, 64, 128), "Every clip of the batch keeps its own place. "),
        ((4, 29, 96, 96), "The numbers must follow from the size of the frame. "),
        ((3, 75, 50, 100), "A pool leaves out an odd last row or column. "),
        ((2, 40, 65, 131), "Does your halving round as the layer does? Draw 5 boxes: the convolution with "
         "padding also stands on the last one, a pool of 2 leaves it out. "),
        ((1, 1, 17, 23), "Does your halving round as the layer does? "),
    ]  # fmt: skip
    for arguments, hint in cases:
        found = call(function, *arguments)
        where = "output_shapes(clips={}, frames={}, height={}, width={})".format(*arguments)
        if not isinstance(found, list | tuple) or len(found) != len(STAGES):
            raise AssertionError(f"{where} gave {found!r}, expected a list of {len(STAGES)} shapes")
        for stage, ours, theirs in zip(STAGES, found, _torch_shapes(*arguments), strict=True):
            if not isinstance(ours, list | tuple):
                raise AssertionError(f"{where}: {stage} is {ours!r}, expected a tuple of whole numbers")
            if any(isinstance(n, bool) or not isinstance(n, int) for n in ours):
                raise AssertionError(
                    f"{where}: {stage} is {ours!r}. Sizes are whole numbers: // in place of /."
                )
            if tuple(ours) != theirs:
                raise AssertionError(
                    f"{where}: {stage} is {tuple(ours)}, which is wrong. {hint}{HINTS[stage]}"
                )


def _sequence_by_places(x: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (T, B, C*H*W), every number carried to its place by hand."""
    b, c, t, h, w = x.shape
    out = x.new_empty(t, b, c * h * w)
    for k in range(c):
        for i in range(h):
            for j in range(w):
                for n in range(b):
                    out[:, n, (k * h + i) * w + j] = x[n, k, :, i, j]
    return out


def to_sequence(function: Callable) -> None:
    """function(x (B, C, T, H, W)) -> (T, B, C*H*W): the features of a frame together, channel by channel."""
    axes = "The axes are (T, B, F): time, clips, features."
    cases = [
        ((1, 2, 3, 1, 1), "Look at frame 0: are all of its numbers from frame 0 of the clip?"),
        ((2, 3, 4, 1, 1), "Look at frame 0 of clip 1: are all of its numbers from that clip and that frame?"),
        ((1, 2, 3, 2, 4), "Within a frame: channel after channel, row after row, as trained weights expect."),
        ((2, 3, 4, 2, 5), "Within a frame: channel after channel, row after row, as trained weights expect."),
        ((3, 2, 3, 2, 2), "Here B = T, so a swap of the two keeps the shape. Which axis comes first?"),
    ]
    for shape, hint in cases:
        numbers = torch.arange(math.prod(shape), dtype=torch.float64)
        whole = numbers.reshape(shape).requires_grad_()
        strided = numbers.reshape(shape[::-1]).permute(4, 3, 2, 1, 0)  # as a transpose leaves it in memory
        for x, name in (
            (whole, f"to_sequence of a tensor of shape {shape}"),
            (strided, f"to_sequence of a transposed tensor of shape {shape}"),
        ):
            expected = _sequence_by_places(x.detach())
            found = expect_tensor(call(function, x), tuple(expected.shape), name, axes)
            expect_close(found, expected, name, hint, tolerance=1e-12)
            if x.requires_grad and not found.requires_grad:
                raise AssertionError(f"{name}: no gradient flows back through it. Stay within torch.")


def bigru_weights(function: Callable) -> None:
    """function(input_size, hidden_size) -> the parameters of one bidirectional layer, biases included."""
    cases = [
        (1, 1, "Count one gate of one direction on paper: one weight for the input, one for the memory, and "
         "torch keeps two biases. How many gates are there, how many directions?"),
        (5, 1, "Every gate sees all F inputs."),
        (1, 5, "Every gate has D outputs, and every one of them sees the whole memory of its direction."),
        (3, 4, "Each direction remembers D numbers and sees no memory but its own."),
        (512, 256, "Try small numbers: which term grows too fast or too slowly?"),
        (1728, 256, "Nothing in the formula belongs to one size of the crop."),
    ]  # fmt: skip
    for features, hidden, hint in cases:
        where = f"bigru_weights({features}, {hidden})"
        found = expect_whole(call(function, features, hidden), where)
        layer = nn.GRU(features, hidden, bidirectional=True, device="meta")
        expected = sum(p.numel() for p in layer.parameters())
        if found != expected:
            raise AssertionError(
                f"{where} gave {found:,}, which is too {'many' if found > expected else 'few'}. {hint}"
            )


def _fans(shape: tuple[int, ...], gates: int) -> tuple[int, int]:
    """Counted: inputs that one output sees, and outputs that one input reaches, within one gate."""
    one_gate = torch.ones(shape[0] // gates, *shape[1:])
    if len(shape) == 2:
        return int((one_gate[0] != 0).sum()), int((one_gate[:, 0] != 0).sum())
    kernel = shape[2:]
    x = torch.zeros(1, shape[1], *(3 * k for k in kernel), requires_grad=True)
    y = F.conv3d(x, one_gate)
    middle = tuple(n // 2 for n in y.shape[2:])
    y[(0, 0, *middle)].backward()
    probe = torch.zeros_like(x)
    probe[(0, 0, *(n // 2 for n in x.shape[2:]))] = 1
    return int((x.grad != 0).sum()), int((F.conv3d(probe, one_gate) != 0).sum())


def first_std(function: Callable) -> None:
    """function(shape, rule, gates) -> the standard deviation that He's or Glorot's rule asks for."""
    cases = [
        (
            (7, 3),
            "he",
            1,
            "Is the whole fraction under the root? He's rule looks at the "
            "inputs that one output sees, and the shape is (out, in).",
        ),
        ((7, 3), "glorot", 1, "Glorot's rule adds the two fans under the root."),
        ((4, 2, 3, 5, 5), "he", 1, "One output of a convolution sees a window of every input channel."),
        (
            (4, 2, 3, 5, 5),
            "glorot",
            1,
            "One input value is met by every place of the kernel, in every filter.",
        ),
        (
            (12, 5),
            "glorot",
            3,
            "The rows are several layers stacked: how many outputs does one of them have?",
        ),
        ((12, 5), "he", 3, "Stacking layers does not change what one output sees."),
    ]
    for shape, rule, gates, hint in cases:
        where = f"first_std({shape}, {rule!r}, gates={gates})"
        found = expect_number(call(function, shape, rule, gates), where, hint)
        fan_in, fan_out = _fans(shape, gates)
        expected = math.sqrt(2 / (fan_in if rule == "he" else fan_in + fan_out))
        if abs(found - expected**2) < 1e-6 * expected:
            raise AssertionError(
                f"{where} gave {found:.4g}, which is the variance. The deviation is its root."
            )
        if abs(found - expected) > 1e-6 * expected:
            size = "large" if found > expected else "small"
            raise AssertionError(f"{where} gave {found:.4g}, which is too {size}. {hint}")


CHECKS: dict[str, Callable[[Callable], None]] = {
    "output_shapes": output_shapes,
    "to_sequence": to_sequence,
    "bigru_weights": bigru_weights,
    "first_std": first_std,
}
