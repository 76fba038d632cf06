"""Checks of notebook 04, CTC's loss: forward, backward, the loss with its gradient, the shortest path."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from lessons.checks.battery import Case, Exercise, by_properties
from lessons.checks.tools import call
from lessons.ctc import NEVER, collapse, extend, may_skip, min_frames

LABELS = (  # frames, label, classes, hint; T, S and V vary, and each exercise meets every kind
    (6, [1, 2, 3], 4, "One jump into each letter but the first is allowed."),
    (1, [2], 3, "There is only one frame."),
    (2, [1], 3, "One letter: a blank before it and a blank after it."),
    (8, [2, 2], 4, "Equal letters: no jump is allowed between them."),
    (9, [3, 1, 3, 3], 6, "Each state has its own entry in jumps."),
    (5, [1, 2, 1, 2], 3, "With so few frames, many states are reached late."),
)


def _drawn(scale: float = 1.0) -> Iterator[tuple[Tensor, Tensor, Tensor, str]]:
    """log_probs (T, V), states (S,), jumps (S,) and a hint for each label."""
    generator = torch.Generator().manual_seed(0)
    for frames, label, classes, hint in LABELS:
        logits = scale * torch.randn(frames, classes, generator=generator, dtype=torch.float64)
        states = torch.tensor(extend(label))  # (S,)
        yield logits.log_softmax(-1), states, may_skip(states), hint


def _long(frames: int, letters: int, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """A whole sentence over 28 classes, in which plain probabilities underflow."""
    generator = torch.Generator().manual_seed(1)
    logits = scale * torch.randn(frames, 28, generator=generator, dtype=torch.float64)
    states = torch.tensor(extend([2 + i % 5 for i in range(letters)]))  # (S,)
    return logits.log_softmax(-1), states, may_skip(states)


def _far_apart(first: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """States of one frame that differ by more than exp can hold: each needs its own maximum."""
    log_probs = torch.full((6, 3), -900.0, dtype=torch.float64)  # (T, V)
    log_probs[:, first] = 0.0
    log_probs[2, 1] = -800.0
    states = torch.tensor(extend([1, 2]))  # (S,)
    return log_probs, states, may_skip(states)


def _recursion_cases() -> Iterator[Case]:
    for log_probs, states, jumps, hint in _drawn():
        yield Case((log_probs, states, jumps), hint)
    log_probs, states, jumps, _ = next(_drawn())
    nothing = torch.zeros_like(jumps)
    yield Case((log_probs, states, nothing), "Here no jump is allowed: read jumps, not states.")
    impossible = log_probs.clone()
    impossible[2] = NEVER
    impossible[2, 3] = 0.0
    yield Case((impossible, states, jumps), "Some classes have probability 0, that is -inf.")
    yield Case(_long(75, 27, 1.0), "A whole sentence: plain probabilities underflow, so stay in log space.")
    yield Case(_long(60, 20, 30.0), "e^-2000 is 0 in any number format: stay in log space.")
    yield Case(
        _far_apart(), "The states of a frame are far apart: one maximum for all of them is not enough."
    )


def forward(log_probs: Tensor, states: Tensor, jumps: Tensor) -> Tensor:
    """The forward variables in log space: log_probs (T, V), states and jumps (S,) -> (T, S)."""
    emission = log_probs[:, states]  # (T, S)
    rows = [emission[0].masked_fill(torch.arange(len(states)) >= 2, NEVER)]
    for t in range(1, len(log_probs)):
        ways = torch.full((3, len(states)), NEVER, dtype=log_probs.dtype)
        ways[0], ways[1, 1:], ways[2, 2:] = rows[-1], rows[-1][:-1], rows[-1][:-2]
        rows.append(ways.masked_fill(_only_third(~jumps), NEVER).logsumexp(0) + emission[t])
    return torch.stack(rows)


def backward(log_probs: Tensor, states: Tensor, jumps: Tensor) -> Tensor:
    """The backward variables in log space: log_probs (T, V), states and jumps (S,) -> (T, S)."""
    emission = log_probs[:, states]  # (T, S)
    rows = [torch.zeros_like(emission[0]).masked_fill(torch.arange(len(states)) < len(states) - 2, NEVER)]
    for t in reversed(range(len(log_probs) - 1)):
        onward = emission[t + 1] + rows[-1]  # (S,)
        ways = torch.full((3, len(states)), NEVER, dtype=log_probs.dtype)
        ways[0], ways[1, :-1], ways[2, :-2] = onward, onward[1:], onward.masked_fill(~jumps, NEVER)[2:]
        rows.append(ways.logsumexp(0))
    return torch.stack(rows[::-1])


def _only_third(mask: Tensor) -> Tensor:
    """(S,) -> (3, S): the mask in the row of the jumps, False in the other two."""
    return torch.stack((torch.zeros_like(mask), torch.zeros_like(mask), mask))


# ---- what is known to go wrong in the recursions -----------------------------------------------------------


def _like(found: Any, other: Tensor) -> bool:
    """Whether the found tensor is that other one, up to float32's rounding."""
    if not isinstance(found, Tensor) or found.shape != other.shape or not found.is_floating_point():
        return False
    return torch.allclose(found.detach().double(), other.double(), rtol=1e-4, atol=1e-4)


def _where(found: Tensor, expected: Tensor) -> tuple[int, int] | None:
    """The first wrong (t, s), where the mistake starts; for backward, give both flipped in time."""
    found, expected = (x.detach().double().nan_to_num(neginf=-1e300) for x in (found, expected))
    wrong = ((found - expected).abs() > 1e-3).nonzero()
    return tuple(wrong[0].tolist()) if len(wrong) else None


ONE_TENSOR = (
    "All rows are equal: is one tensor changed in each frame, and appended again? Append a new one per frame."
)


def _all_rows_equal(rows: Tensor) -> bool:
    return bool((rows == rows[:1]).all())


def _slip_of_both_directions(found: Tensor, expected: Tensor, case: Case) -> str | None:
    """What goes wrong in forward and in backward alike: NaN, and one tensor for all rows."""
    if found.isnan().any():
        return (
            "NaN comes from -inf - (-inf) or from -inf times 0: mask with masked_fill or torch.where. "
            + case.hint
        )
    if len(found) > 1 and _all_rows_equal(found) and not _all_rows_equal(expected):
        return ONE_TENSOR
    return None


def _known_forward(found: Any, expected: Tensor, case: Case) -> str | None:
    log_probs, states, jumps = case.arguments
    emission = log_probs[:, states]  # (T, S)
    if _like(found, expected.exp()):
        return "These are probabilities; the result is to be their logarithms."
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        return None
    if _like(found, expected - emission) and expected.isfinite().any():
        return "Is this frame's own class included?"
    if slip := _slip_of_both_directions(found, expected, case):
        return slip
    first = (
        "A path starts in the first two states: in frame 0, ln alpha is ln y of their classes, and -inf for "
        "all other states."
    )
    return _sentence(_where(found, expected), jumps, "comes in", "from", case, first)


def _known_backward(found: Any, expected: Tensor, case: Case) -> str | None:
    log_probs, states, jumps = case.arguments
    emission = log_probs[:, states]  # (T, S)
    if _like(found, expected.exp()):
        return "These are probabilities; the result is to be their logarithms."
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        return None
    if len(log_probs) > 1 and _like(found, expected.flip(0)):
        return "The rows are in reverse order: row 0 belongs to frame 0."
    if _like(found, expected + emission):
        return "This frame's own class is to be left out of beta."
    if slip := _slip_of_both_directions(found, expected, case):
        return slip
    landing = torch.cat((jumps[2:], torch.zeros(2, dtype=torch.bool)))  # (S,) may a path jump out of s?
    first = "In the last frame, ln beta is 0 for the last two states, and -inf for all others."
    return _sentence(_where(found.flip(0), expected.flip(0)), landing, "goes on", "to", case, first)


def _sentence(
    wrong: tuple[int, int] | None, jumps: Tensor, what: str, direction: str, case: Case, first: str
) -> str:
    """What to look at, given the first wrong entry: steps from the recursion's start, and state."""
    if wrong is None:
        return case.hint
    steps, s = wrong
    if steps == 0:
        return first
    sign = "-" if direction == "from" else "+"
    inside = s >= 1 if direction == "from" else s + 1 < len(jumps)
    ways = ["s"] + [f"s {sign} 1"] * inside + [f"s {sign} 2"] * bool(jumps[s])
    listed = " and ".join([", ".join(ways[:-1]), ways[-1]] if len(ways) > 1 else ways)
    frame = steps if direction == "from" else len(case.arguments[0]) - 1 - steps
    factor = "times y of this frame" if direction == "from" else "times y of the frame that comes next"
    start = "" if direction == "from" else ", counted from the end,"
    return (
        f"It is first wrong{start} in state {s} of frame {frame}, where probability {what} {direction} "
        f"{listed} only, {factor}. {case.hint}"
    )


# ---- loss and gradient -------------------------------------------------------------------------------------


def _gradient_cases() -> Iterator[Case]:
    def case(log_probs: Tensor, states: Tensor, jumps: Tensor, hint: str) -> Case:
        found = forward(log_probs, states, jumps), backward(log_probs, states, jumps)
        return Case((log_probs, states, *found), hint)

    for log_probs, states, jumps, hint in _drawn(1.5):
        hint = hint if len(log_probs) == 1 else "Several states may have the same class."
        yield case(log_probs, states, jumps, hint)
    yield case(*_long(75, 27, 1.0), "A whole sentence: alpha, beta and p underflow, their ratio does not.")
    yield case(*_long(60, 20, 30.0), "ln p is below -2000 here: leave log space only after dividing by p.")
    yield case(*_far_apart(), "Some classes are nearly impossible: stay in log space until the end.")
    log_probs, states, jumps, _ = next(_drawn())
    certain = log_probs.clone()
    certain[0] = NEVER
    certain[0, 0] = 0.0
    yield case(certain, states, jumps, "Some classes have probability 0, that is -inf.")


def loss_and_gradient(
    log_probs: Tensor, states: Tensor, alpha: Tensor, beta: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """-ln p (), the occupancy (T, V), and softmax minus occupancy (T, V)."""
    log_p = (alpha + beta)[0].logsumexp(0)  # () every path passes frame 0
    posteriors = (alpha + beta - log_p).exp()  # (T, S)
    occupancy = torch.zeros_like(log_probs).index_add(1, states, posteriors)  # (T, V)
    return -log_p, occupancy, log_probs.exp() - occupancy


def _known_gradient(found: Any, expected: tuple, case: Case) -> str | None:
    if not isinstance(found, list | tuple) or len(found) != 3:
        return None
    loss, occupancy, gradient = found
    log_probs, states, alpha, beta = case.arguments
    if not _like(loss, expected[0]):
        if _like(loss, -expected[0]):
            return "The loss is minus the logarithm of p."
        if _like(loss, (-expected[0]).exp()):
            return "This is p; the loss is minus its logarithm."
        return f"p is the sum over the states of alpha times beta, at any one frame. {case.hint}"
    if not _like(occupancy, expected[1]):
        if not isinstance(occupancy, Tensor) or occupancy.shape != expected[1].shape:
            return None
        if occupancy.isnan().any():
            return f"NaN comes from 0 / 0 or from -inf - (-inf). {case.hint}"
        if _like(occupancy, expected[2]) or _like(occupancy, -expected[2]):
            return "This is the gradient: is the order right, or was the occupancy changed in place?"
        posteriors = (alpha + beta + expected[0]).exp()  # (T, S)
        overwritten = torch.zeros_like(log_probs)
        overwritten[:, states] = posteriors
        if _like(occupancy, overwritten):
            return "One state of each class is kept: the posteriors of a class must be added up."
        sums = occupancy.detach().double().sum(1)  # (T,)
        if (sums - 1).abs().max() > 1e-5:
            return f"The occupancy of each frame sums to 1; here to {sums[0]:.3g} in frame 0. {case.hint}"
        return f"Which class does each state have? {case.hint}"
    if _like(gradient, -expected[2]):
        return "The sign: a step against this gradient would make the loss larger."
    if isinstance(gradient, Tensor) and gradient.shape == expected[2].shape:
        if _like(gradient, -expected[1]):
            return "This is the gradient at ln y; step 2, through the softmax, is missing."
        sums = gradient.detach().double().sum(1).abs().max()
        if sums > 1e-3:
            return "Each frame's gradient sums to 0: both parts are probabilities of the classes."
    return (
        "The loss and the occupancy are right; step 2 makes the gradient from the softmax and the occupancy."
    )


# ---- shortest path -----------------------------------------------------------------------------------------


def shortest_path(function: Callable) -> None:
    """function(label) -> a path that collapses to the label, in as few frames as possible."""
    cases = [
        ([1, 2, 3], "Different letters need nothing between them."),
        ([1, 1], "What do two equal neighbors collapse to?"),
        ([1, 1, 1], "Three equal letters have two gaps."),
        ([1, 2, 1], "The two a are no neighbors."),
        ([], "Nothing to write: no frame."),
        ([2, 2, 3, 3, 2], "Look at each pair of neighbors."),
        ([27], "One letter, one frame."),
        ([5, 4, 4, 4, 4, 9, 9, 5, 2], "Look at each pair of neighbors."),
    ]
    for label, hint in cases:
        given, name = list(label), f"shortest_path({label})"
        found = call(function, given)
        if given != label:
            raise AssertionError(f"{name} changed label, which belongs to its caller, to {given}.")
        if isinstance(found, str) or not hasattr(found, "__len__"):
            raise AssertionError(f"{name} gave {found!r}, expected a list of classes")
        if getattr(found, "ndim", 1) != 1:
            raise AssertionError(
                f"{name} gave shape {tuple(found.shape)}, expected a list of classes, which has one axis"
            )
        # Any path of the right length: only the kinds of its elements are compared here.
        path = [c.item() if hasattr(c, "item") else c for c in found]
        if any(isinstance(c, bool) or not isinstance(c, int) for c in path):
            raise AssertionError(f"{name} gave {found!r}, expected a list of classes, which are integers")
        if collapse(path) != label:
            raise AssertionError(f"{name} gave {path}, which collapses to {collapse(path)}. {hint}")
        if len(path) != min_frames(label):
            raise AssertionError(
                f"{name} gave {path}: it spells the label, and so does a path of fewer than {len(path)} "
                f"frames. {hint}"
            )


# Gradients are not compared: with -inf among the terms, autograd gives NaN for right answers, too. The
# notebook shows it, and derives the gradient by hand.
CHECKS: dict[str, Callable[[Callable], None]] = {
    "forward": Exercise(forward, _recursion_cases, gradients=False, diagnose=_known_forward),
    "backward": Exercise(backward, _recursion_cases, gradients=False, diagnose=_known_backward),
    "loss_and_gradient": Exercise(
        loss_and_gradient,
        _gradient_cases,
        gradients=False,
        float32=3e-3,  # of logarithms of thousands, whose differences are taken
        diagnose=_known_gradient,
        parts=("the loss", "the occupancy", "the gradient"),
    ),
    "shortest_path": by_properties(shortest_path),
}
