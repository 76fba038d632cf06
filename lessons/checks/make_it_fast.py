"""Checks of notebook 16, make it fast: a stopwatch on a clock that we set, Amdahl's law, loss scaling."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from lessons.checks.battery import Case, Exercise, by_properties
from lessons.checks.tools import call, expect_close, expect_number, expect_pair, expect_tensor

HOST = 1e-4  # seconds in which a call returns


class Device:
    """A device with a clock of its own: calls return before the work is done, and the first takes longer.

    Args:
        costs: seconds of work after the first call, repeated in a cycle.
        first: seconds of the first call.
        later: the work is done after the call has returned; ``wait`` waits for it.
    """

    def __init__(self, costs: Sequence[float], first: float = 0.0, later: bool = True) -> None:
        self.costs, self.first, self.later = list(costs), first, later
        self.now = self.free = 100.0  # a clock need not start at 0
        self.calls = self.readings = 0

    def work(self) -> None:
        warming = self.calls == 0 and self.first
        cost = self.first if warming else self.costs[(self.calls - 1) % len(self.costs)]
        self.calls += 1
        self.now += HOST
        self.free = max(self.free, self.now) + cost
        if not self.later:
            self.now = self.free

    def wait(self) -> None:
        self.now = max(self.now, self.free)

    def clock(self) -> float:
        self.readings += 1
        return self.now


@by_properties
def fair_seconds(function: Callable) -> None:
    """function(work, clock, wait, repeats) -> the median time of one call, in seconds."""
    ms = 0.001
    cases = [  # costs, first, later, repeats, what a failure points at
        ([20 * ms], 0.0, False, 5, "All calls take the same time here. The clock counts seconds; the answer "
         "is the time of one call, from before it until it is done."),
        ([20 * ms], 0.0, True, 5, "Here work() returns at once, and the device works on: what must happen "
         "before the clock is read again?"),
        ([20 * ms], 900 * ms, False, 1,
         "The first call of all took 0.9 s, the later ones 0.02 s: should it count?"),
        ([20 * ms], 900 * ms, True, 1,
         "The first call was not timed, but was it over when you first read the clock?"),
        ([10 * ms, 14 * ms, 12 * ms, 400 * ms, 11 * ms, 13 * ms, 380 * ms], 0.0, True, 7,
         "Two of seven calls were disturbed. Which one number of the seven do they not move?"),
        ([10 * ms, 14 * ms, 12 * ms, 50 * ms, 11 * ms], 200 * ms, True, 5,
         "Is every call timed on its own, from a clock that is read right before it?"),
        ([10 * ms, 30 * ms, 12 * ms, 16 * ms], 0.0, True, 4,
         "An even number of calls: the median is the mean of the middle two."),
    ]  # fmt: skip
    for costs, first, later, repeats, hint in cases:
        device = Device(costs, first, later)
        name = f"fair_seconds with repeats={repeats}"
        value = call(function, device.work, device.clock, device.wait, repeats, name=name)
        found = expect_number(value, name)
        if device.calls <= repeats:
            raise AssertionError(
                f"With repeats={repeats}, work was called {device.calls} times. The timed calls are "
                "`repeats`, and something comes before them."
            )
        if device.readings <= repeats:
            raise AssertionError(
                f"With repeats={repeats}, the clock was read {device.readings} times: expected a time of its "
                "own for each call."
            )
        expected = HOST + statistics.median(costs)
        if abs(found - expected) > 0.01 * expected:
            raise AssertionError(
                f"fair_seconds gave {found:.4g} s, this device needs {expected:.4g} s. {hint}"
            )


def whole_speedup_reference(shares: Sequence[float], factors: Sequence[float]) -> float:
    """How many times as fast the whole becomes: the time before over the time after."""
    return float(sum(shares)) / sum(share / factor for share, factor in zip(shares, factors, strict=True))


def _speedup_cases() -> Iterator[Case]:
    for shares, factors, hint in (
        ([1.0], [2.0], "One part that is all of the step: then the step gains what the part gains."),
        ([0.5, 0.5], [2.0, 2.0], "When every part is twice as fast, the whole is twice as fast."),
        ([0.5, 0.5], [1.0, 1e12], "One half takes no time any more. How much is left?"),
        ([0.8, 0.2], [4.0, 1.0], "Take a step of 1000 ms: how long is each part before, and how long after?"),
        ([0.7, 0.2, 0.1], [2.0, 0.5, 1.0], "A part may also become slower: its factor is below 1."),
        ([0.25, 0.25, 0.25, 0.25], [1.0, 2.0, 4.0, 8.0], "Add up the times that are left, not the factors."),
        ([2.0, 2.0], [1.0, 2.0], "Shares may be milliseconds, too: divide by what they add up to."),
        ([300, 0, 50], [2, 1, 1], "Shares and factors may be integers, and a share may be 0."),
    ):
        yield Case((shares, factors), hint)


def unscaled(gradients: Sequence[Tensor], scale: float) -> tuple[list[Tensor], bool]:
    """The gradients in float32 as if the loss had not been scaled, and whether all of them are finite."""
    fine = all(bool(gradient.isfinite().all()) for gradient in gradients)
    return [gradient.float() / scale for gradient in gradients], fine


def _scaled_cases() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    tiny = normal(3, 4) * 2.0**-28  # float16 would make them 0
    for plain, scale, hint in (  # gradients before scaling
        ([normal(3, 4)], 1.0, "With a scale of 1 nothing but the format changes."),
        ([normal(4, 1) * 2.0**-8], 2.0**8,
         "The loss was multiplied by `scale`: what does that do to a gradient?"),
        ([tiny], 2.0**16,
         "These gradients are near 2^-28. In which format do you divide? float16 ends at 2^-24."),
        ([normal(2), tiny * 4, normal(1, 2, 3, 1, 2)], 2.0**12,
         "There is more than one tensor, each with its own shape."),
        ([torch.tensor(0.5)], 1000.0,
         "One number, a tensor without axes, and a scale that is no power of two."),
        ([normal(3, 1), torch.tensor([1.0, -math.inf])], 2.0**4,
         "One gradient is infinite: may the weights move?"),
        ([torch.tensor([math.nan, 1.0]), normal(2, 2)], 2.0**4, "One gradient is NaN: may the weights move?"),
        ([normal(1), torch.full((2, 1), 60000.0), normal(2)], 4.0,
         "60000 times 4 is infinite in float16: may the weights move?"),
        ([torch.full((4,), 60000.0)], 1.0, "Large gradients are valid while they are finite."),
        ([torch.tensor([-3.0, 2.0]), torch.zeros(2)], 2.0, "Zero and negative gradients are valid."),
    ):  # fmt: skip
        yield Case(([(gradient * scale).half() for gradient in plain], scale), hint)


def _compare_unscaled(found: Any, expected: tuple[list[Tensor], bool], case: Case) -> None:
    """The decision first; then each gradient, its values relative to its own largest."""
    gradients, step = expect_pair(found, "unscaled", "(gradients, take_the_step)")
    if isinstance(step, Tensor) and step.numel() == 1:
        step = step.item()
    if not isinstance(step, bool):
        raise AssertionError(f"take_the_step is {step!r}, expected True or False")
    right, fine = expected
    if step != fine:
        finite = (
            "Every number that you were given is finite; does a sum or a square overflow? " if fine else ""
        )
        raise AssertionError(f"take_the_step is {step}, expected {fine}. {finite}{case.hint}")
    if not isinstance(gradients, tuple | list) or len(gradients) != len(right):
        raise AssertionError(f"gradients: expected a list of {len(right)} tensors. {case.hint}")
    for i, (gradient, exact) in enumerate(zip(gradients, right, strict=True)):
        name = f"gradient {i}"
        if not isinstance(gradient, Tensor) or gradient.dtype != torch.float32:
            what = gradient.dtype if isinstance(gradient, Tensor) else f"a {type(gradient).__name__}"
            raise AssertionError(f"{name} is {what}, expected a tensor of torch.float32. {case.hint}")
        if not fine:  # nobody uses the values
            continue
        value = expect_tensor(gradient, tuple(exact.shape), name, case.hint)
        largest = exact.abs().max().item() or 1.0
        expect_close(value / largest, exact / largest, name, case.hint)


CHECKS: dict[str, Callable[[Callable], None]] = {
    "fair_seconds": fair_seconds,
    "whole_speedup": Exercise(whole_speedup_reference, _speedup_cases, gradients=False),
    "unscaled": Exercise(
        unscaled, _scaled_cases, gradients=False, float32=None, compare=_compare_unscaled, dtype=None
    ),
}
