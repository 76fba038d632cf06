"""Checks of notebook 04, CTC's loss. What is right is found by walking paths or by torch."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.checks.tools import call, expect_close, expect_tensor, expect_whole
from lessons.ctc import collapse, forward_backward

NAMES = "-abcdefg"


def _spell(path: list[int]) -> str:
    return "".join(NAMES[c] for c in path)


def _expect_list(found: Any, name: str, kind: str) -> list:
    """A list, tuple, tensor or array as a list, or an AssertionError."""
    if isinstance(found, Tensor | np.ndarray):
        found = found.tolist()
    if not isinstance(found, list | tuple):
        raise AssertionError(f"{name} gave a {type(found).__name__}, expected a list of {kind}")
    return list(found)


def _expect_classes(found: Any, name: str) -> list[int]:
    """A list, tuple, tensor or array of whole numbers as a list, or an AssertionError."""
    return [expect_whole(c, name) for c in _expect_list(found, name, "classes")]


# ---- extended_label ----------------------------------------------------------------------------------------


def _may_jump(states: list[int], s: int) -> bool:
    """By the rule of collapse: in two frames, from s-2 to s, is every letter on the way still written?"""
    if s < 2:
        return False
    passed = [c for c in states[s - 2 : s + 1] if c != 0]  # the letters from s-2 to s
    return collapse([states[s - 2], states[s]]) == passed


def extended_label(function: Callable) -> None:
    """function(label) -> (states, jumps): the 2L+1 classes, and into which of them a walk may jump."""
    cases = [
        ([1, 2, 3], "Write -a-b-c- on paper and try to leave out one state at a time."),
        ([1], "One letter still has a blank before it and one after it."),
        ([], "No letters: what is left is a single blank."),
        ([1, 1], "Two equal letters without a blank between them collapse into one."),
        ([1, 2, 1], "The two a are no neighbors: between them stands b."),
        ([2, 2, 2, 5, 5, 1], "Look at each pair of neighboring letters: equal or not?"),
    ]
    for label, hint in cases:
        given = list(label)
        found = call(function, given)
        where = f"extended_label({label})"
        if given != label:
            raise AssertionError(f"{where} changed the label that it was given, to {given}. Make a new list.")
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise AssertionError(f"{where} gave {found!r}, expected two lists: states, jumps")
        states = _expect_classes(found[0], where)
        if len(states) != 2 * len(label) + 1:
            raise AssertionError(
                f"{where}: {len(states)} states, expected 2L + 1 = {2 * len(label) + 1}. Blanks stand "
                "before, between and after the letters."
            )
        if states[1::2] != label or any(states[::2]):
            raise AssertionError(f"{where}: states {states}. Which of them are blanks, which letters? {hint}")
        jumps = _expect_list(found[1], f"{where}, for jumps,", "True and False")
        if len(jumps) != len(states):
            raise AssertionError(f"{where}: {len(jumps)} jumps for {len(states)} states. One for each state.")
        for s, jump in enumerate(jumps):
            if not isinstance(jump, bool):
                raise AssertionError(f"{where}: jumps holds {jump!r}, expected only True and False")
            if jump != _may_jump(states, s):
                way, two = f"into state {s} of {_spell(states)}", _spell([states[s - 2], states[s]])
                if s < 2:
                    raise AssertionError(
                        f"{where}: a jump {way}: there is no state two before it. The flag belongs to the "
                        "state where the jump lands."
                    )
                if jump and states[s] == 0:
                    raise AssertionError(f"{where}: a jump {way}, a blank: which letter would be left out?")
                if jump:
                    raise AssertionError(f"{where}: a jump {way}: what does {two!r} collapse to?")
                raise AssertionError(
                    f"{where}: no jump {way}, though {two!r} collapses to both letters. {hint}"
                )


# ---- forward_step ------------------------------------------------------------------------------------------


def _expected_step(alpha: Tensor, emission: Tensor, jumps: Tensor) -> Tensor:
    """One state at a time, plain numbers, shifted so that nothing underflows."""
    top = max(alpha.max().item(), -1e300)
    a, expected = (alpha - top).exp().tolist(), []
    for s in range(len(a)):
        ways = a[s] + (a[s - 1] if s >= 1 else 0.0) + (a[s - 2] if s >= 2 and jumps[s] else 0.0)
        expected.append(math.log(ways) + top + emission[s].item() if ways > 0 else -math.inf)
    return torch.tensor(expected, dtype=torch.float64)  # (S,)


def forward_step(function: Callable) -> None:
    """function(alpha, emission, jumps) -> the next ln alpha, all (S,), in log space."""
    generator = torch.Generator().manual_seed(0)

    def numbers(size: int) -> Tensor:
        return -3 * torch.rand(size, generator=generator, dtype=torch.float64)

    never = -math.inf
    first = torch.tensor([-0.5, -1.2, never, never, never], dtype=torch.float64)
    distinct = torch.tensor([False, False, False, True, False])
    none = torch.zeros(5, dtype=torch.bool)
    seven = torch.tensor([False, False, False, True, False, False, False])
    cases = [
        (numbers(5), numbers(5), none, "No jump is allowed here: only stay and step."),
        (numbers(5), numbers(5), distinct, "One jump is allowed, into state 3."),
        (first, numbers(5), distinct, "Some states cannot be reached yet: their ln alpha is -inf."),
        (numbers(7), numbers(7), seven, "Each state has its own permission to be jumped into."),
        (numbers(5) - 2000, numbers(5), distinct,
         "e^-2000 is 0 in any number format: do not leave log space."),
        (torch.full((5,), never).double(), numbers(5), distinct, "All states -inf: all stay -inf."),
    ]  # fmt: skip
    for alpha, emission, jumps, hint in cases:
        before = alpha.clone()
        found = call(function, alpha, emission, jumps)
        name = "forward_step"
        if not torch.equal(alpha, before):
            raise AssertionError(f"{name} changed the alpha that it was given. Make a new tensor.")
        if not isinstance(found, Tensor):
            raise AssertionError(f"{name} gave a {type(found).__name__}, expected a tensor")
        if found.shape != alpha.shape:
            raise AssertionError(f"{name} gave shape {tuple(found.shape)}, expected {tuple(alpha.shape)}")
        expected = _expected_step(alpha, emission, jumps)
        found = found.detach().double()
        if found.isnan().any():
            raise AssertionError(f"{name} gave NaN: is -inf multiplied by 0, or taken from -inf? {hint}")
        if not torch.equal(found.isinf(), expected.isinf()) or (found == math.inf).any():
            s = int((found.isinf() != expected.isinf()).nonzero()[0]) if (found < math.inf).all() else 0
            raise AssertionError(
                f"{name}: state {s} is {found[s].item():.3g}, and it "
                f"{'cannot' if expected[s].isinf() else 'can'} be reached. {hint}"
            )
        reached = expected.isfinite()
        difference = (found - expected).abs()
        difference[~reached] = 0
        if difference.max() > 1e-9:
            s = int(difference.argmax())
            if s == 0:
                hint = "In state 0 a walk can only stay: nothing comes in from before it, nor from the end."
            raise AssertionError(f"{name}: state {s} is off by {difference[s].item():.3g}. {hint}")


# ---- logits_gradient ---------------------------------------------------------------------------------------


def logits_gradient(function: Callable) -> None:
    """function(log_probs, states, posteriors) -> gradient at the logits (T, V), as torch has it."""
    cases = [
        (2, [1], 3, "One letter: the blank has two states, before and after it."),
        (6, [1, 2], 4, "Several states are blank: their posteriors add up."),
        (7, [2, 2], 4, "A letter that occurs twice has two states, too."),
        (9, [3, 1, 3, 3], 5, "Add up the posteriors of all states of a class."),
    ]
    generator = torch.Generator().manual_seed(0)
    for frames, label, classes, hint in cases:
        logits = torch.randn(frames, classes, generator=generator, dtype=torch.float64, requires_grad=True)
        log_probs = logits.log_softmax(-1)  # (T, V)
        loss = F.ctc_loss(
            log_probs[:, None], torch.tensor([label]), (frames,), (len(label),), reduction="sum"
        )
        (expected,) = torch.autograd.grad(loss, logits)
        log_probs = log_probs.detach()
        states = torch.tensor([0, *itertools.chain.from_iterable((c, 0) for c in label)])  # (S,)
        posteriors = forward_backward(log_probs, label).posteriors  # (T, S)
        copies = [x.clone() for x in (log_probs, states, posteriors)]
        found = call(function, *copies)
        if not all(map(torch.equal, copies, (log_probs, states, posteriors))):
            raise AssertionError("logits_gradient changed one of its arguments. Make a new tensor.")
        name = f"logits_gradient for {frames} frames, {classes} classes, label {label}"
        found = expect_tensor(
            found, (frames, classes), name, "It must look like the logits: (T, V)."
        ).detach()
        if torch.allclose(found.double(), -expected, atol=1e-9):
            raise AssertionError(f"{name} has the wrong sign: a step against it would make the loss larger.")
        sums = found.double().sum(1).abs().max().item()
        if sums > 1e-9:
            raise AssertionError(
                f"{name}: a frame sums to {sums:.3g} away from 0. Both parts sum to 1 in each frame: is "
                f"one of them missing, a logarithm, or not added up over its states? {hint}"
            )
        expect_close(found, expected, name, hint, tolerance=1e-9)


# ---- shortest_path -----------------------------------------------------------------------------------------


def _fewest_frames(label: list[int], classes: int) -> int:
    """The smallest T at which torch's loss is finite."""
    if not label:
        return 0
    for frames in itertools.count(1):
        log_probs = torch.zeros(frames, 1, classes).log_softmax(-1)  # (T, B, V)
        if F.ctc_loss(log_probs, torch.tensor([label]), (frames,), (len(label),), reduction="sum").isfinite():
            return frames
    raise AssertionError  # never reached


def shortest_path(function: Callable) -> None:
    """function(label) -> a path that collapses to the label, in as few frames as possible."""
    cases = [
        ([1, 2, 3], "Different letters need nothing between them."),
        ([1, 1], "What do two equal neighbors collapse to?"),
        ([1, 1, 1], "Three equal letters have two gaps."),
        ([1, 2, 1], "The two a are no neighbors."),
        ([], "Nothing to write: no frame."),
        ([2, 2, 3, 3, 2], "Look at each pair of neighbors."),
        ([7], "One letter, one frame."),
    ]
    for label, hint in cases:
        given = list(label)
        found = _expect_classes(call(function, given), f"shortest_path({label})")
        if given != label:
            raise AssertionError(f"shortest_path({label}) changed the label that it was given, to {given}.")
        spelled = collapse(found)
        if spelled != label:
            raise AssertionError(f"shortest_path({label}) gave {found}, which collapses to {spelled}. {hint}")
        fewest = _fewest_frames(label, classes=8)
        if len(found) != fewest:
            raise AssertionError(
                f"shortest_path({label}) gave {found}: it spells the label, and so does a path of fewer than "
                f"{len(found)} frames. {hint}"
            )


CHECKS: dict[str, Callable[[Callable], None]] = {
    "extended_label": extended_label,
    "forward_step": forward_step,
    "logits_gradient": logits_gradient,
    "shortest_path": shortest_path,
}
