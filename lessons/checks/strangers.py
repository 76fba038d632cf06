"""Checks of notebook 10: an augmentation by its properties, correlation by torch, leaks by planting them."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lessons.checks.battery import by_properties
from lessons.checks.tools import call, expect_close, expect_tensor

ROUNDING = 0.01  # gray levels out of 255


def _clips(seed: int, shape: tuple[int, ...]) -> Tensor:
    """Clips (B, T, H, W) float32 whose second half repeats the first: equal frames must stay equal."""
    pixels = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 255
    half = shape[1] // 2
    pixels[:, half : 2 * half] = pixels[:, :half]
    pixels[:, :, 0, 0], pixels[:, :, 0, 1] = 0.0, 255.0  # black and white occur in every frame
    return pixels


def relight(function: Callable) -> None:
    """function(clips (B, T, H, W) 0 … 255, strength, rng) -> clips in another light, each in its own."""
    hint_same = "With strength 0 nothing changes: what must your factor or exponent be then?"
    for seed, shape in enumerate([(3, 6, 8, 12), (1, 4, 5, 5), (5, 2, 9, 4), (6, 7, 4, 6)]):
        clips = _clips(seed, shape)
        name = f"relight for clips {shape}"
        still = _lit(function, clips, 0.0, seed, f"{name}, strength 0,")
        expect_close(still, clips, f"{name}, strength 0,", hint_same, tolerance=ROUNDING)
        lit = _lit(function, clips, 0.5, seed, f"{name}, strength 0.5,")
        _expect_light(lit, clips, f"{name}, strength 0.5,")
        again = _lit(function, clips, 0.5, seed, name)
        if not torch.equal(lit, again):
            raise AssertionError(
                f"{name}: two generators in the same state gave two results. Draw from rng, nothing else."
            )
        order = torch.randperm(shape[1], generator=torch.Generator().manual_seed(seed))
        mixed = _lit(function, clips[:, order], 0.5, seed, name)
        if (mixed - lit[:, order]).abs().max() > 0.1:  # statistics of a clip may round differently
            raise AssertionError(
                f"{name}: the same frames in another order came out differently. What a frame becomes must "
                "not depend on its neighbors, nor on its position in the clip."
            )
    _expect_own_light(function)
    _expect_no_neighbors(function)
    _expect_motion(function)


def _lit(function: Callable, clips: Tensor, strength: float, seed: int, name: str) -> Tensor:
    """What the function gives, after the checks that need no second result."""
    given, states = clips.clone(), _global_states()
    found = call(function, given, strength, np.random.default_rng(seed))
    if _global_states() != states:
        raise AssertionError(
            f"{name} drew from a global generator, or seeded it, which changes every random number that the "
            "program draws later. Draw from rng, nothing else."
        )
    if not torch.equal(given, clips):
        raise AssertionError(f"{name} changed the clips that it was given. Make new ones.")
    hint = "Light changes gray values, neither the number of frames nor their size."
    found = expect_tensor(found, tuple(clips.shape), name, f"{hint} What does your formula make of 0?")
    if not found.is_floating_point():
        raise AssertionError(f"{name} gave {found.dtype}, expected floats: integers lose the small changes.")
    if found.dtype != clips.dtype:
        raise AssertionError(f"{name} gave {found.dtype} for clips of {clips.dtype}. Keep their dtype.")
    if found.requires_grad:
        raise AssertionError(f"{name} requires a gradient, and the clips do not: detach what you return.")
    low, high = found.min().item(), found.max().item()
    if low < -ROUNDING or high > 255 + ROUNDING:
        raise AssertionError(
            f"{name} gave values from {low:.1f} to {high:.1f}: a camera's values lie from 0 to 255; clamp."
        )
    return found


def _global_states() -> tuple[bytes, str, tuple]:
    """Of torch's, numpy's and Python's generators."""
    legacy = str(np.random.get_state())  # noqa: NPY002
    return torch.random.get_rng_state().numpy().tobytes(), legacy, random.getstate()


def _expect_light(lit: Tensor, clips: Tensor, name: str) -> None:
    """The same change in all frames of a clip, and brighter stays brighter: the label is kept."""
    half = clips.shape[1] // 2
    if (lit[:, :half] - lit[:, half : 2 * half]).abs().max() > ROUNDING:
        raise AssertionError(
            f"{name}: two equal frames of one clip came out differently. Draw once per clip, not per frame: "
            "a light that flickers is a motion."
        )
    if clips.shape[1] > 3:  # frames that differ
        order = clips.diff(dim=1).sign() * lit.diff(dim=1)
        if order.min() < -ROUNDING:
            raise AssertionError(
                f"{name}: somewhere a pixel that gets brighter from one frame to the next now gets darker. "
                "Is every pixel still at its position, in its frame, and white still brighter than black?"
            )
        if lit.diff(dim=1).abs().mean() < 0.05 * clips.diff(dim=1).abs().mean():
            raise AssertionError(
                f"{name}: the frames of a clip hardly differ any more. Without motion nobody can read it."
            )
    if (lit - clips).abs().mean() < 0.5:
        raise AssertionError(f"{name} changed next to nothing. Does strength reach your random numbers?")


def _expect_own_light(function: Callable) -> None:
    """Another light per clip and per draw, and more of it with more strength."""
    one = _clips(9, (1, 4, 8, 12))
    many = one.repeat(8, 1, 1, 1)  # (8, T, H, W)
    lit = _lit(function, many, 0.5, 0, "relight for eight equal clips")
    apart = torch.cdist(lit.flatten(1).double(), lit.flatten(1).double()) + 1e9 * torch.eye(8)
    if apart.min() < 1:
        raise AssertionError(
            "relight for eight equal clips: two came out alike. Each clip needs random numbers of its own."
        )
    other = _lit(function, many, 0.5, 1, "relight for eight equal clips")
    if torch.allclose(lit, other, atol=1.0):
        raise AssertionError("relight gives the same light whatever the state of rng: draw from it.")
    changes = [(_lit(function, many, s, 0, "relight") - many).abs().mean().item() for s in (0.1, 0.3, 0.9)]
    if not 0.1 < changes[0] < changes[1] < changes[2]:
        raise AssertionError(
            "relight with strength 0.1, 0.3, 0.9 changes pixels by "
            f"{', '.join(f'{change:.1f}' for change in changes)} on average: "
            "every strength above 0 changes something, more strength changes more."
        )
    means = lit.flatten(1).mean(1) - many.flatten(1).mean(1)  # (8,)
    if means.min() > 0 or means.max() < 0:
        raise AssertionError("Of eight clips all came out darker, or all brighter: let it go both ways.")


def _expect_no_neighbors(function: Callable) -> None:
    """What a clip becomes depends on that clip: not on what else is in the batch."""
    clips = _clips(8, (3, 4, 6, 5))
    clips[0] *= 0.5  # not the brightest one
    others = clips.clone()
    others[1:] = 0.0  # black
    lit, found = (_lit(function, c, 0.5, 0, f"relight for {len(c)} clips") for c in (clips, others))
    if (lit[0] - found[0]).abs().max() > 0.1:
        raise AssertionError(
            "relight: a clip comes out differently when the other clips of the batch are black. A maximum or "
            "a mean over the batch? Each clip has a light of its own."
        )


def _expect_motion(function: Callable) -> None:
    """Rare draws count, too: a training draws thousands."""
    many = _clips(10, (1, 4, 8, 12)).repeat(200, 1, 1, 1)  # (200, T, H, W)
    lit = _lit(function, many, 0.5, 3, "relight for 200 equal clips")
    moves, before = ((x[:, 1] - x[:, 0]).abs().flatten(1).mean(1) for x in (lit, many))  # (200,)
    if (moves < 0.01 * before).any():
        raise AssertionError(
            f"relight for 200 equal clips, strength 0.5: in {int((moves < 0.01 * before).sum())} of them "
            "nothing moves any more. Can your factor become 0 or negative? Draw its logarithm instead."
        )


def correlation_loss(function: Callable) -> None:
    """function(seen (T, B, n), true (T, B, n)) -> 1 - the mean correlation over time, ()."""
    generator = torch.Generator().manual_seed(0)
    cases = [  # (T, B, n), scale and offset of seen, what a failure here points at
        ((40, 1, 1), 1.0, 0.0, "Correlate over time, which is the first axis."),
        ((12, 1, 3), 1.0, 0.0, "Each measure has a correlation of its own; then the mean of all."),
        ((12, 4, 1), 1.0, 0.0, "Each clip has a correlation of its own: do not join clips into one."),
        ((7, 3, 5), 1.0, 0.0, "Mean over clips and measures, of correlations over time."),
        ((30, 2, 9), 1.0, 50.0, "An offset must not matter: subtract each trajectory's own mean over time."),
        ((30, 2, 9), 300.0, 0.0, "The scale must not matter: divide by each trajectory's own norm."),
        ((30, 2, 9), -2.0, 3.0, "A trajectory that runs the other way has correlation -1, and loss near 2."),
        ((30, 2, 9), 0.3, -7.0, "A small scale must not matter either: keep what you add to 0 tiny."),
        ((30, 2, 9), 3e-3, 0.0, "A new network moves hardly at all: keep what you add to 0 tiny."),
    ]
    for shape, scale, offset, hint in cases:
        true = torch.randn(shape, generator=generator, dtype=torch.float64)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        true = true * torch.linspace(0.5, 4, shape[2]) + torch.linspace(-3, 3, shape[1])[:, None]
        seen = (scale * (true + noise) + offset).requires_grad_()
        _expect_correlation(function, seen, true, f"correlation_loss for trajectories {shape}", hint)
    _expect_extremes(function)


def _expect_correlation(function: Callable, seen: Tensor, true: Tensor, name: str, hint: str) -> None:
    """Value and gradient are those of torch.corrcoef, trajectory by trajectory."""
    n_clips, n_measures = seen.shape[1:]
    each = [
        torch.corrcoef(torch.stack((seen[:, b, m], true[:, b, m])))[0, 1]
        for b in range(n_clips)
        for m in range(n_measures)
    ]
    expected = 1 - torch.stack(each).mean()
    (wanted,) = torch.autograd.grad(expected, seen)
    before = seen.detach().clone(), true.clone()
    found = expect_tensor(call(function, seen, true), (), name, "It is one number: a mean.")
    if not (torch.equal(seen.detach(), before[0]) and torch.equal(true, before[1])):
        raise AssertionError(f"{name} changed the tensors that it was given. Make new ones.")
    if abs(found.item() - expected.item()) > 5e-3:
        raise AssertionError(f"{name} gave {found.item():.3f}, expected {expected.item():.3f}. {hint}")
    if found.dtype != seen.dtype:
        raise AssertionError(f"{name} gave {found.dtype} for trajectories of {seen.dtype}. Keep their dtype.")
    if not found.requires_grad:
        raise AssertionError(f"{name} has no gradient: was it made by .item(), float() or .detach()?")
    (gradient,) = torch.autograd.grad(found, seen)
    size = wanted.abs().max()
    message = f"The gradient of {name}, over its largest value,"
    expect_close(
        gradient / size, wanted / size, message, "Let it flow through mean and norm, too.", tolerance=0.02
    )


def _expect_extremes(function: Callable) -> None:
    """Equal trajectories have loss 0, a constant one has loss 1, and its gradient is finite."""
    true = torch.randn(20, 2, 3, generator=torch.Generator().manual_seed(1))
    far = 1000 + true  # landmarks in pixels of a large image, float32
    found = expect_tensor(call(function, true, far), (), "correlation_loss far from 0", "").item()
    if abs(found) > 5e-3:
        raise AssertionError(
            f"correlation_loss of a trajectory and the same 1000 higher, in float32, gave {found:.3f}, "
            "expected 0. Subtract the mean first: a difference of large squares has few correct digits."
        )
    found = expect_tensor(call(function, true.clone(), true), (), "correlation_loss of equal tensors", "")
    if abs(found.item()) > 5e-3:
        raise AssertionError(f"correlation_loss of equal tensors gave {found.item():.3f}, expected 0.")
    hint = "Its norm is 0: add something tiny before you divide, and inside the root."
    # All are constant; one measure is; one measure of the truth is, as where the head does not move.
    for where, constant, of in (
        ("if all of seen are constant", slice(None), "seen"),
        ("if one measure of seen is constant", slice(1, 2), "seen"),
        ("if one measure of true is constant", slice(1, 2), "true"),
        ("if all of true are constant", slice(None), "true"),
    ):
        seen, wanted = true.clone(), true.clone()
        (seen if of == "seen" else wanted)[:, :, constant] = 5.0
        seen.requires_grad_()
        expected = seen[0, 0, constant].numel() / seen.shape[2]  # loss 1 of each that is constant, else 0
        name = f"correlation_loss {where}"
        found = expect_tensor(call(function, seen, wanted), (), name, hint)
        if found.dtype != seen.dtype:
            raise AssertionError(f"{name} gave {found.dtype} for {seen.dtype}. Keep their dtype.")
        if abs(found.item() - expected) > 5e-3:
            raise AssertionError(
                f"{name}, and the others are equal, gave {found.item():.3f}, expected {expected:.3f}: "
                "a constant trajectory counts, with loss 1."
            )
        (gradient,) = torch.autograd.grad(found, seen)
        expect_tensor(gradient, (20, 2, 3), f"The gradient of {name}", hint)


Row = dict[str, str]


def _row(name: str, speaker: str, transcript: str) -> Row:
    return {"id": name, "speaker": speaker, "transcript": transcript}


A, B = ("bin blue at f two now", "set red by c one soon")
C, D = ("lay green in z nine again", "place white with q zero please")


def leaks(function: Callable) -> None:
    """function(train, val) -> {"speakers", "clips", "sentences"}, lists of what occurs on both sides."""
    clean = ([_row("a1", "s1", A), _row("b2", "s2", B)], [_row("c3", "s3", C), _row("d4", "s4", D)])
    cases = [  # train, val, what a failure here points at
        (*clean, "Nothing is on both sides: three empty lists."),
        ([*clean[0], _row("e5", "s3", A)], clean[1], "A speaker of validation has a clip in training."),
        (clean[0], [*clean[1], _row("e5", "s1", D)], "A speaker of training has a clip in validation."),
        ([*clean[0], _row("e5", "S3", A)], clean[1], "S3 and s3 are one person: compare in lower case."),
        (clean[0], [*clean[1], _row("e5", " s2", D)], "Spaces at the ends of a name are not part of it."),
        (clean[0], [*clean[1], _row("e5", "s2 ", D)], "Spaces at the ends of a name are not part of it."),
        ([*clean[0], _row("c3", "s9", A)], clean[1], "One id on both sides is one clip."),
        ([*clean[0], _row("C3", "s9", A)], clean[1], "Ids, too, are compared in lower case."),
        ([*clean[0], _row(" c3 ", "s9", A)], clean[1], "Spaces around an id are not part of it."),
        ([*clean[0], _row("e5", "s9", D)], clean[1], "Another person says a sentence of validation."),
        ([*clean[0], _row("e5", "s9", f" {D} ")], clean[1], "Spaces around a sentence are not part of it."),
        ([*clean[0], _row("e5", "s9", D.upper())], clean[1], "Sentences, too, without regard to case."),
        ([*clean[0], _row("e5", "s9", D.replace(" ", "   "))], clean[1], "Three spaces count as one."),
        ([*clean[0], *clean[1]], clean[1], "Everything leaks; list it in alphabetical order."),
        (
            [_row(f"c{i}", f"s{i}", f"{A} {'x' * i}") for i in range(9)],
            [_row(f"c{i}", f"s{i}", f"{A} {'x' * i}") for i in range(9)],
            "Any number of names may leak.",
        ),
        ([*clean[0], clean[0][0]], clean[1], "Twice on one side is no leak."),
        (
            [*clean[0], *clean[1][::-1], *clean[1]],
            [*clean[1], *clean[1]],
            "What leaks several times is listed once.",
        ),
        ([], clean[1], "Nobody in training: nothing leaks."),
        (clean[0], [], "Nobody in validation: nothing leaks."),
        (
            [*clean[0], _row("s4", "s8", A)],
            [*clean[1], _row("s1", "s5", C)],
            "An id that looks like a speaker's name is an id.",
        ),
    ]
    for train, val, hint in cases:
        _expect_leaks(function, train, val, hint)
    # Lists may come in any order, and of any length.
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows = [
            _row(f"c{rng.integers(40)}", f"s{rng.integers(25)}", (A, B, C, D)[rng.integers(4)] + " x" * i)
            for i in range(16)
        ]
        cut = int(rng.integers(2, 14))
        _expect_leaks(function, rows[:cut], rows[cut:], "A larger split: compare every row with every row.")


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _expect_leaks(function: Callable, train: list[Row], val: list[Row], hint: str) -> None:
    columns = {"speakers": "speaker", "clips": "id", "sentences": "transcript"}
    expected = {
        key: sorted({_plain(a[column]) for a in train for b in val if _plain(a[column]) == _plain(b[column])})
        for key, column in columns.items()
    }
    given = [dict(row) for row in train], [dict(row) for row in val]
    shown = [[tuple(row.values()) for row in rows] for rows in (train, val)] if len(train) < 4 else "…"
    name = f"leaks for train, val = {shown}"
    found: Any = call(function, *given)
    if given != (train, val):
        raise AssertionError(f"{name} changed the rows that it was given. Make copies.")
    if not isinstance(found, dict) or set(found) != set(columns):
        raise AssertionError(f"{name} gave {found!r}, expected a dict with the keys {', '.join(columns)}.")
    for key, wanted in expected.items():
        if not isinstance(found[key], list | tuple):
            raise AssertionError(
                f"{name}: {key!r} is a {type(found[key]).__name__}, expected a sorted list. {hint}"
            )
        if list(found[key]) != wanted:
            raise AssertionError(f"{name}: {key!r} is {found[key]!r}, expected {wanted!r}. {hint}")


CHECKS: dict[str, Callable[[Callable], None]] = {
    "relight": by_properties(relight),
    "correlation_loss": by_properties(correlation_loss),
    "leaks": by_properties(leaks),
}
