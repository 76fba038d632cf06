"""Checks of notebook 01, video tensors: change of layout, padding a batch, standardizing; strides."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.checks.battery import Case, Exercise, tensors

BYTES = torch.uint8


@dataclass(frozen=True)
class OfPixels(Exercise):
    """An exercise whose cases are bytes as well as floats.

    Attributes:
        of_bytes: the dtype of the (first) tensor that comes back when the pixels are bytes.
    """

    of_bytes: torch.dtype = torch.float32

    def _compare_values(
        self,
        function: Callable,
        case: Case,
        expected: Any,
        dtype: torch.dtype | None,
        tolerance: float,
        given: tuple | None = None,
    ) -> tuple[tuple, Any]:
        _, x = next(tensors(case.arguments))
        if not x.is_floating_point():
            dtype, tolerance = None, self.float32 or tolerance
        given, found = super()._compare_values(function, case, expected, dtype, tolerance, given)
        (_, result), *others = tensors(found)
        for _, integers in others:
            if integers.dtype != torch.int64:
                raise AssertionError(
                    f"{self._called(function, case)}: right values, but {self.parts[1]} are "
                    f"{integers.dtype}. The docstring asks for torch.int64."
                )
        wanted = self.of_bytes if x.dtype == BYTES else x.dtype
        if not x.is_floating_point() and result.dtype != wanted:
            raise AssertionError(
                f"{self._called(function, case)}: right values, but {result.dtype}. "
                f"Where the elements are {x.dtype}, the docstring asks for {wanted}."
            )
        return given, found

    def _called(self, function: Callable, case: Case) -> str:
        """Lists of clips by their shapes, and bytes named."""
        given = []
        for i, value in enumerate(case.arguments):
            if isinstance(value, list):
                given.append(f"{self._name(i)} {', '.join(str(tuple(one.shape)) for one in value)}")
            elif isinstance(value, Tensor):
                listed = value.tolist() if value.dim() == 1 else tuple(value.shape)
                said = "" if value.is_floating_point() or value.dim() == 1 else str(value.dtype)
                given.append(f"{self._name(i)} {listed} {said.removeprefix('torch.')}".rstrip())
            else:
                given.append(f"{self._name(i)} {value!r}")
        return f"{function.__name__} for {', '.join(given)}"


def _pixels(shape: tuple[int, ...], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if dtype == BYTES:
        return torch.randint(1, 256, shape, generator=generator, dtype=BYTES)
    return torch.rand(shape, generator=generator, dtype=dtype)


# ---- change_layout -----------------------------------------------------------------------------------------


def change_layout(x: Tensor, old: str, new: str) -> Tensor:
    """The elements of x, whose axes are ``old``, with the axes in the order ``new``."""
    return torch.einsum(f"{old}->{new}", x)


def _layouts() -> Iterator[Case]:
    for shape, old, new, dtype, hint in (
        ((4, 5, 6, 3), "THWC", "CTHW", torch.float64, "Which axis of x becomes the first of the result?"),
        ((2, 4, 5, 6, 3), "BTHWC", "BCTHW", torch.float64, "Which axis of x becomes the second?"),
        ((1, 3, 5, 2, 7), "BCTHW", "BTHWC", torch.float64, "Layouts are changed in both directions."),
        ((3, 4, 2, 6, 5), "BTCHW", "BCTHW", torch.float64, "Each layout has its own order of axes."),
        ((5, 1, 7, 1, 4), "BTCHW", "BTHWC", torch.float64, "Axes of size 1 stay where they are asked for."),
        ((2, 3, 4, 5, 6), "BCTHW", "WHTCB", torch.float64, "Any order may be asked for."),
        ((6, 2, 1), "TCB", "BTC", torch.float64, "Any axes may be there, not only those of a clip."),
        ((3, 3, 3, 3), "THWC", "CTHW", torch.float64, "With equal sizes a wrong order keeps the shape."),
        ((2, 3, 3, 2, 3), "BTHWC", "BTHWC", torch.float64, "The layout may be the right one already."),
        ((2, 3, 4, 2, 5), "NCDHW", "NDHWC", torch.float64, "Any letters may name the axes."),
        ((1, 2, 3, 4, 1), "BTHWC", "BTCHW", BYTES, "Bytes stay bytes."),
    ):
        yield Case((_pixels(shape, len(hint), dtype), old, new), hint)
    numbers = torch.arange(24).view(2, 3, 1, 4) - 2**60
    yield Case((numbers, "THWC", "CTHW"), "x may hold integers of any size: nothing is computed here.")
    yield Case((numbers % 3 == 0, "THWC", "CTHW"), "x may hold True and False.")


def _about_layout(found: Any, expected: Any, case: Case) -> str | None:
    x, old, new = case.arguments
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        return None
    if torch.equal(found.flatten(), x.to(found.dtype).flatten()):
        return (
            "The elements have the same order as before, under a new shape: that renames axes, it moves none."
        )
    inverse = x.permute([new.index(axis) for axis in old]).to(found.dtype)
    if inverse.shape == found.shape and torch.equal(found, inverse):
        return "This goes the other way. Axis k of the result: where does it lie in x?"
    return None


# ---- to_batch ----------------------------------------------------------------------------------------------


def to_batch(clips: list[Tensor], n_frames: int) -> tuple[Tensor, Tensor]:
    """Clips (T of their own, H, W, C) padded or cut to ``n_frames``: (B, C, n_frames, H, W), lengths (B,)."""
    cut = [torch.einsum("thwc->cthw", clip[:n_frames]) for clip in clips]
    missing = [n_frames - clip.shape[1] for clip in cut]
    x = torch.stack([F.pad(clip, (0, 0, 0, 0, 0, m)) for clip, m in zip(cut, missing, strict=True)])
    return x, torch.tensor([clip.shape[1] for clip in cut])


def _ragged() -> Iterator[Case]:
    for lengths, (height, width, channels), n_frames, dtype, hint in (
        ([4], (2, 5, 3), 4, torch.float64, "One clip, nothing to pad: follow one pixel. Where did it go?"),
        (
            [3],
            (4, 4, 3),
            3,
            torch.float64,
            "Equal axes are easily exchanged: write their order beside each line.",
        ),
        ([2, 2], (3, 4, 1), 2, torch.float64, "Is each clip in its own row of the batch?"),
        ([3, 5, 1], (2, 4, 3), 5, torch.float64, "Each clip starts at frame 0; zeros follow its last frame."),
        ([2, 4], (3, 2, 2), 7, torch.float64, "The batch has n_frames frames, even if no clip is so long."),
        ([6, 2, 4], (1, 3, 2), 4, torch.float64, "Of a clip that is longer, the first n_frames are kept."),
        ([1], (1, 1, 1), 3, torch.float64, "Axes of size 1 stay."),
        ([2, 1, 3, 7, 3], (2, 3, 2), 3, torch.float64, "Some clips are padded, some cut, in any order."),
        ([5, 3, 2, 1], (5, 3, 3), 4, BYTES, "Bytes stay bytes: compute nothing with them."),
    ):
        clips = [_pixels((n, height, width, channels), 10 * i + n, dtype) for i, n in enumerate(lengths)]
        yield Case((clips, n_frames), hint)
    dark = torch.cat([_pixels((2, 3, 4, 2), 1), torch.zeros(2, 3, 4, 2, dtype=torch.float64)])
    yield Case(([dark, dark[:3]], 5), "A black frame of a clip is valid, too: count frames, not light.")
    long = _pixels((300, 1, 2, 1), 2)
    yield Case(([long, long[:260]], 280), "A clip may have more than 255 frames.")


def _about_batch(found: Any, expected: Any, case: Case) -> str | None:
    (clips, n_frames), (x, lengths) = case.arguments, expected
    if not isinstance(found, list | tuple) or not all(isinstance(part, Tensor) for part in found):
        return None
    if found[0].shape != x.shape:
        return None
    if torch.allclose(found[0].double(), x.double(), atol=1e-4):
        if found[1].tolist() == [len(clip) for clip in clips] != lengths.tolist():
            return "A clip that was cut off has n_frames valid frames."
        if found[1].tolist() == [n_frames] * len(clips):
            return "This counts the padding as well."
        if any((clip == 0).flatten(1).all(1).any() for clip in clips):
            return "A black frame of a clip is valid, too: count frames, not light."
        return "Expected the number of valid frames of each clip, in the order of the clips."
    if torch.allclose(255 * found[0].double(), x.double(), atol=1e-3):
        return "The values are 255 times too small: this function moves pixels and does not scale them."
    if found[0].isnan().any():
        return "What stands in the frames that no clip filled? torch.empty holds whatever was in memory."
    return None


# ---- standardize -------------------------------------------------------------------------------------------


def standardize(x: Tensor, lengths: Tensor) -> Tensor:
    """x (B, C, T, H, W) -> mean 0, standard deviation 1 per clip over its valid frames; padding 0."""
    x = x if x.is_floating_point() else x.float()
    return _standardized(x, lengths)


def _standardized(
    x: Tensor,
    lengths: Tensor,
    *,
    axes: tuple[int, ...] = (1, 2, 3, 4),
    padded: bool = False,
    correction: int = 0,
    epsilon: float = 1e-5,
) -> Tensor:
    """The formula, and its common mistakes: other axes, padding counted, n - 1, no epsilon."""
    valid = (torch.arange(x.shape[2]) < lengths[:, None])[:, None, :, None, None]  # (B, 1, T, 1, 1)
    counted = (torch.ones_like(valid) if padded else valid).expand_as(x)
    n = counted.sum(axes, keepdim=True)
    mean = torch.where(counted, x, 0.0).sum(axes, keepdim=True) / n
    squares = torch.where(counted, (x - mean).square(), 0.0).sum(axes, keepdim=True)
    return torch.where(valid, (x - mean) / ((squares / (n - correction)).sqrt() + epsilon), 0.0)


def _clips() -> Iterator[Case]:
    for (b, c, t, h, w), lengths, scale, hint in (
        ((1, 1, 4, 2, 3), [4], 1.0, "One clip, one channel, no padding: write the two formulas for it."),
        ((2, 1, 3, 4, 2), [3, 3], 1.0, "Each clip has a mean and a standard deviation of its own."),
        ((1, 3, 2, 3, 4), [2], 1.0, "The channels of a clip share one mean and one standard deviation."),
        (
            (2, 2, 5, 2, 3),
            [3, 5],
            1.0,
            "Which frames enter the mean, and by how many pixels is the sum divided?",
        ),
        ((3, 2, 6, 3, 5), [1, 6, 4], 255.0, "The padding may hold any number: which frames enter the sums?"),
        ((2, 3, 5, 5, 5), [2, 5], 1.0, "Along which axis does your mask lie? Equal sizes hide it."),
    ):
        x = scale * _pixels((b, c, t, h, w), b + c + t)
        for clip, n in zip(x, lengths, strict=True):
            clip[:, n:] = 9.0  # padding, which must not matter
        yield Case((x, torch.tensor(lengths)), hint)
    flat = torch.full((2, 1, 3, 2, 4), 7.0, dtype=torch.float64)
    flat[1, :, :2] = 0.0
    yield Case((flat, torch.tensor([2, 2])), "A clip of one flat gray has a standard deviation of 0.")
    spike = 0.1 * _pixels((2, 2, 4, 7, 9), 8)
    spike[1, 0, 2, 1, 3] = 50.0
    yield Case((spike, torch.tensor([4, 3])), "A single very bright pixel is scaled as all others are.")
    low = 200 + _pixels((2, 1, 5, 6, 4), 6, BYTES) % 4
    yield Case(
        (low, torch.tensor([5, 3])),
        "A clip of little contrast: is 10⁻⁵ added at the scale of x, the mean subtracted before squaring?",
    )
    x = _pixels((3, 3, 4, 4, 6), 5, BYTES)
    yield Case((x, torch.tensor([2, 4, 1])), "Bytes wrap around below 0: with what do you subtract the mean?")


def _about_standard(found: Any, expected: Any, case: Case) -> str | None:
    x, lengths = case.arguments
    x = x.double()
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        return None
    valid = (torch.arange(x.shape[2]) < lengths[:, None])[:, None, :, None, None].expand_as(x)
    found = found.detach().double()
    if found.isnan().any() or found.isinf().any():
        return "A clip of one flat gray has a standard deviation of 0. What is divided by what there?"
    if torch.allclose(found[valid], expected.double()[valid], atol=1e-4) and found[~valid].any():
        return "The valid frames are right, but the padding is not 0."
    slips = {
        "Is the sum of squares divided by n, as the formula says, or by n - 1?": {"correction": 1},
        "Is 10⁻⁵ added to the standard deviation, as the formula says?": {"epsilon": 0.0},
        "The padding was counted among the pixels.": {"padded": True},
        "All clips share one mean here: each has its own.": {"axes": (0, 1, 2, 3, 4)},
        "Each channel has its own mean here: the channels of a clip share one.": {"axes": (2, 3, 4)},
        "Each frame has its own mean here: the frames of a clip share one.": {"axes": (1, 3, 4)},
    }
    for sentence, slip in slips.items():
        if torch.allclose(found, _standardized(x, lengths, **slip), rtol=0, atol=1e-6):
            return sentence
    return None


# ---- strides_of --------------------------------------------------------------------------------------------


def strides_of(shape: tuple[int, ...]) -> list[int]:
    """The strides of a contiguous tensor of this shape."""
    return list(torch.empty(shape, device="meta").stride())


def _shapes() -> Iterator[Case]:
    for shape, hint in (  # from simple to mixed, so that the first failure points at one idea
        ((5,), "With one axis, how far is it from one element to the next?"),
        ((2, 3), "Number the six cells of a 2 x 3 table row by row: how far apart are [0, 0] and [1, 0]?"),
        ((2, 3, 4), "One step along an axis skips everything that the axes after it span, and nothing else."),
        ((4, 1, 3), "An axis of one entry spans its one entry: multiply by 1."),
        ((2, 3, 75, 64, 128), "Start at the last axis and work toward the first."),
    ):
        yield Case((shape,), hint)
    rng = random.Random(0)
    for _ in range(30):
        yield Case((tuple(rng.randint(1, 6) for _ in range(rng.randint(1, 6))),), "Try it on paper.")


CHECKS: dict[str, Exercise] = {
    "change_layout": OfPixels(change_layout, _layouts, diagnose=_about_layout, of_bytes=BYTES),
    "to_batch": OfPixels(
        to_batch,
        _ragged,
        gradients=False,
        diagnose=_about_batch,
        parts=("x", "lengths"),
        of_bytes=BYTES,
    ),
    "standardize": OfPixels(standardize, _clips, diagnose=_about_standard),
    "strides_of": Exercise(strides_of, _shapes),
}
