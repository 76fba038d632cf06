"""Checks of notebook 01, video tensors. What is right is computed by torch, not by a copy of the solution."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch.nn.utils.rnn import pad_sequence

from lessons.checks.tools import call, expect_close, expect_pair, expect_tensor, expect_whole


def _whole_numbers(found: object, count: int, where: str) -> tuple[int, ...]:
    """``found`` as a tuple of ``count`` whole numbers, or an AssertionError."""
    if not isinstance(found, tuple | list) or len(found) != count:
        raise AssertionError(f"{where} gave {found!r}, expected {count} whole numbers, one for each axis")
    return tuple(expect_whole(n, where, "Steps in memory are whole numbers.") for n in found)


def strides_of(function: Callable) -> None:
    """function(shape) -> the strides of a tensor of that shape that lies in the order of its index."""
    cases = [  # from simple to mixed, so that the first failure points at one idea
        ((5,), "With one axis, how far is it from one element to the next?"),
        ((2, 3), "Number the six boxes of a 2 x 3 table line by line: how far apart are [0, 0] and [1, 0]?"),
        ((2, 3, 4), "One step along an axis skips everything that the axes after it span, and nothing else."),
        ((4, 1, 3), "An axis of one entry spans its one entry: multiply by 1."),
        ((2, 3, 75, 64, 128), "Begin at the last axis and work toward the first."),
    ]
    rng = random.Random(0)
    cases += [
        (tuple(rng.randint(1, 6) for _ in range(rng.randint(1, 6))), "Try it on paper.") for _ in range(30)
    ]
    for shape, hint in cases:
        where = f"strides_of({shape})"
        found = _whole_numbers(call(function, shape), len(shape), where)
        expected = torch.empty(shape, device="meta").stride()
        wrong = [axis for axis, (a, b) in enumerate(zip(found, expected, strict=True)) if a != b]
        if wrong:
            raise AssertionError(f"{where} gave {found}: wrong for axis {', '.join(map(str, wrong))}. {hint}")


def address(function: Callable) -> None:
    """function(index, shape) -> the place of x[b, c, t, h, w] in a memory of films (T, H, W, C)."""
    cases = [
        ((0, 0, 0, 0, 0), (1, 3, 2, 4, 5), "The first element lies at the beginning of the memory."),
        ((0, 2, 0, 0, 0), (1, 3, 2, 4, 5), "Red, green and blue of one pixel are neighbors in memory."),
        (
            (0, 0, 0, 0, 1),
            (1, 3, 2, 4, 5),
            "From a pixel to the one on its right: how many places is that?",
        ),
        ((0, 0, 0, 1, 0), (1, 3, 2, 4, 5), "From a pixel to the one below it: a whole row of pixels, all C."),
        ((0, 0, 1, 0, 0), (1, 3, 2, 4, 5), "From one frame to the next: a whole picture, all its channels."),
        ((1, 0, 0, 0, 0), (3, 3, 2, 4, 5), "From one clip to the next: a whole film."),
    ]
    rng = random.Random(0)
    for _ in range(30):
        shape = tuple(rng.randint(1, 5) for _ in range(5))
        cases.append((tuple(rng.randrange(n) for n in shape), shape, "Add up the way of all five axes."))
    for index, shape, hint in cases:
        batch, channels, frames, height, width = shape
        memory = torch.arange(batch * channels * frames * height * width)
        decoded = memory.view(batch, frames, height, width, channels)  # (B, T, H, W, C)
        expected = decoded.permute(0, 4, 1, 2, 3)[index].item()
        where = f"address({index}, {shape})"
        found = expect_whole(call(function, index, shape), where)
        if found != expected:
            raise AssertionError(f"{where} gave {found}, but something else lies there. {hint}")


def to_batch(function: Callable) -> None:
    """function(films) -> x (B, C, T, H, W) float32 from 0 to 1, zeros past the end; lengths (B,)."""
    cases = [  # frames of each film, height, width, what a failure here points at
        ([4], 2, 5, "In a film of one color pixel after another, follow one pixel: where did it go?"),
        ([3], 4, 4, "Equal axes are easily exchanged: write the order of the axes beside each line."),
        ([2, 2], 3, 4, "Is each film in its own place of the batch?"),
        (
            [3, 5, 1],
            2,
            4,
            "Films of several lengths: each begins at frame 0, zeros follow its last frame.",
        ),
    ]
    generator = torch.Generator().manual_seed(0)
    for frames, height, width, hint in cases:
        films = [
            torch.randint(1, 256, (n, height, width, 3), generator=generator, dtype=torch.uint8)
            for n in frames
        ]
        before = [film.clone() for film in films]
        expected = pad_sequence(films, batch_first=True).float() / 255  # (B, T, H, W, C)
        expected = torch.einsum("bthwc->bcthw", expected)
        found = call(function, films)
        shapes = ", ".join(str(tuple(film.shape)) for film in films)
        where = f"to_batch of films {shapes}"
        found = expect_pair(found, where, "a pair: x, lengths")
        x = expect_tensor(found[0], expected.shape, f"x, {where},", "The axes are (B, C, T, H, W).")
        if x.dtype != torch.float32:
            raise AssertionError(f"x, {where}, is {x.dtype}, expected torch.float32, as layers want it")
        if x.max() > 1.5:
            raise AssertionError(
                f"x, {where}, goes up to {x.max():.0f}, expected 0 to 1: what is the largest byte?"
            )
        ratio = (x / expected)[expected > 0].double()
        if torch.isfinite(ratio).all() and ratio.std(correction=0) < 1e-4 < (ratio - 1).abs().min():
            raise AssertionError(
                f"x, {where}: every pixel is {ratio[0]:.4g} times what it should be: "
                "what becomes of the brightest byte?"
            )
        expect_close(x, expected, f"x, {where},", hint)
        lengths = expect_tensor(found[1], (len(films),), "lengths", "One number for each film.")
        if lengths.is_floating_point():
            raise AssertionError(f"lengths is {lengths.dtype}: frames are counted in whole numbers")
        if lengths.tolist() != frames:
            raise AssertionError(
                f"lengths, {where}, are {lengths.tolist()}: expected the frames before the padding"
            )
        if any(not torch.equal(a, b) for a, b in zip(films, before, strict=True)):
            raise AssertionError("to_batch changed the films it was given: work on a copy")


def masked_mean(function: Callable) -> None:
    """function(x, lengths) -> (B, C): the mean of each clip's channels over its own frames, with gradient."""
    cases = [  # (B, C, T, H, W), lengths, what stands in the padding, hint
        ((1, 1, 4, 2, 3), [4], 0.0, "A clip without padding: the mean over time, height and width."),
        ((1, 3, 4, 2, 3), [4], 0.0, "Each channel has a mean of its own."),
        ((2, 2, 4, 2, 3), [4, 4], 0.0, "Each clip has a mean of its own."),
        ((2, 2, 5, 2, 3), [3, 5], 0.0, "Zeros add nothing to a sum. By what is the sum divided?"),
        ((3, 2, 5, 3, 2), [1, 5, 2], 9.0, "The padding may hold anything: which frames enter the sum?"),
        ((2, 5, 5, 5, 5), [2, 5], 9.0, "Along which axis does the mask lie? Give it five axes by name."),
    ]
    generator = torch.Generator().manual_seed(0)
    gradients = []
    for shape, lengths, filling, hint in cases:
        x = torch.rand(shape, generator=generator, dtype=torch.float64)
        for clip, n in zip(x, lengths, strict=True):
            clip[:, n:] = filling
        x.requires_grad_()
        expected = torch.stack([clip[:, :n].mean((1, 2, 3)) for clip, n in zip(x, lengths, strict=True)])
        found = call(function, x, torch.tensor(lengths))
        name = f"masked_mean of x {shape} with lengths {lengths}"
        found = expect_tensor(found, expected.shape, name, "One mean for each clip and channel: (B, C).")
        expect_close(found, expected, name, hint, tolerance=1e-12)
        gradients.append((name, x, found, expected, hint))
    for name, x, found, expected, hint in gradients:  # last: a wrong value says more than a wrong gradient
        if not found.requires_grad:
            raise AssertionError(f"{name} has lost its gradient: stay with tensors all the way")
        weight = torch.rand(expected.shape, generator=generator, dtype=torch.float64)
        found, expected = (torch.autograd.grad((y * weight).sum(), x)[0] for y in (found, expected))
        expect_close(found, expected, f"The gradient of {name}", hint, tolerance=1e-12)


CHECKS: dict[str, Callable[[Callable], None]] = {
    "strides_of": strides_of,
    "address": address,
    "to_batch": to_batch,
    "masked_mean": masked_mean,
}
