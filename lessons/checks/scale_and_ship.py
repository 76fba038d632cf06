"""Checks of notebook 17, scale and ship. What is right is measured on a clock that we set, or by torch."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lessons.checks.tools import call, expect_close, expect_number, expect_pair, expect_tensor

HOST = 1e-4  # seconds in which a call comes back


class Device:
    """A device with a clock of its own: work is handed over and done later, the first one takes longer.

    Args:
        costs: seconds of work after the first, over and over.
        first: seconds of the first.
        later: the work is done after the call has come back; ``wait`` waits for it.
    """

    def __init__(self, costs: Sequence[float], first: float = 0.0, later: bool = True) -> None:
        self.costs, self.first, self.later = list(costs), first, later
        self.now = self.free = 100.0  # a clock need not begin at 0
        self.calls = self.waits = 0

    def work(self) -> None:
        cost = (
            self.first if self.calls == 0 and self.first else self.costs[(self.calls - 1) % len(self.costs)]
        )
        self.calls += 1
        self.now += HOST
        self.free = max(self.free, self.now) + cost
        if not self.later:
            self.now = self.free

    def wait(self) -> None:
        self.waits += 1
        self.now = max(self.now, self.free)

    def clock(self) -> float:
        return self.now


def fair_seconds(function: Callable) -> None:
    """function(work, clock, wait, repeats) -> the median of the seconds of one call."""
    ms = 0.001
    cases = [  # costs, first, later, repeats, what a failure points at
        ([20 * ms], 0.0, False, 5, "All calls take the same here. The clock counts seconds; the answer is "
         "the time of one call, from before it until it is done."),
        ([20 * ms], 0.0, True, 5, "Here work() comes back at once, and the device works on: what must happen "
         "before the clock is read again?"),
        ([20 * ms], 900 * ms, False, 1,
         "The first call of all took 0.9 s, the later ones 0.02 s: should it count?"),
        ([20 * ms], 900 * ms, True, 1,
         "The first call was not timed, but was it over when you first read the clock?"),
        ([10 * ms, 14 * ms, 12 * ms, 400 * ms, 11 * ms, 13 * ms, 380 * ms], 0.0, True, 7,
         "Two of seven calls were disturbed. Which one number of the seven do they not move?"),
        ([10 * ms, 14 * ms, 12 * ms, 50 * ms, 11 * ms], 200 * ms, True, 5,
         "Is every call timed on its own, from a clock that is read right before it?"),
    ]  # fmt: skip
    for costs, first, later, repeats, hint in cases:
        device = Device(costs, first, later)
        value = call(function, device.work, device.clock, device.wait, repeats)
        found = expect_number(value, "fair_seconds")
        if device.calls <= repeats:
            raise AssertionError(
                f"With repeats={repeats}, work was called {device.calls} times. The timed calls are "
                "`repeats`, and something comes before them."
            )
        expected = HOST + statistics.median(costs)
        if abs(found - expected) > 0.01 * expected:
            raise AssertionError(
                f"fair_seconds gave {found:.4g} s, this device needs {expected:.4g} s. {hint}"
            )


def whole_speedup(function: Callable) -> None:
    """function(shares, factors) -> how many times as fast the whole step becomes."""
    cases = [
        ([1.0], [2.0], "One part that is all of the step: then the step gains what the part gains."),
        ([0.5, 0.5], [2.0, 2.0], "When every part is twice as fast, the whole is twice as fast."),
        ([0.5, 0.5], [1.0, 1e12], "One half takes no time any more. How much is left?"),
        ([0.8, 0.2], [4.0, 1.0], "Take a step of 1000 ms: how long is each part before, and how long after?"),
        ([0.7, 0.2, 0.1], [2.0, 0.5, 1.0], "A part may also become slower: its factor is below 1."),
        ([0.25, 0.25, 0.25, 0.25], [1.0, 2.0, 4.0, 8.0], "Add up the times that are left, not the factors."),
        ([2.0, 2.0], [1.0, 2.0], "Shares may be milliseconds too: divide by what they add up to."),
    ]
    for shares, factors, hint in cases:
        where = f"whole_speedup({shares}, {factors})"
        found = expect_number(call(function, list(shares), list(factors)), where)
        left, before = 0.0, 0.0
        for share, factor in zip(shares, factors, strict=True):  # by the clock: each part, one after another
            before += 1000 * share
            left += 1000 * share / factor
        if abs(found - before / left) > 1e-6 * before / left:
            raise AssertionError(f"{where} gave {found:.4g}, which is wrong. {hint}")


def unscaled(function: Callable) -> None:
    """function(gradients, scale) -> (float32 gradients as if never scaled, whether to take the step)."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(3, 4, generator=generator)
    tiny = normal * 2.0**-28  # float16 would make them 0
    bad, nan = torch.tensor([1.0, -math.inf]), torch.tensor([math.nan, 1.0])
    cases = [  # gradients before scaling, scale, hint
        ([normal], 1.0, "With a scale of 1 nothing but the format changes."),
        ([normal * 2.0**-8], 2.0**8, "The loss was multiplied by `scale`: what does that do to a gradient?"),
        (
            [tiny],
            2.0**16,
            "These gradients are near 2^-28. In which format do you divide? float16 ends at 2^-24.",
        ),
        ([normal, tiny * 4], 2.0**12, "There is more than one tensor, each with its own shape."),
        ([normal, bad], 2.0**4, "One gradient is infinite: may the weights move?"),
        ([nan, normal], 2.0**4, "One gradient is NaN: may the weights move?"),
        (
            [torch.full((4,), 60000.0)],
            1.0,
            "Large gradients are good ones while they are finite.",
        ),
        ([torch.tensor([-3.0, 2.0]), torch.zeros(2)], 2.0, "Zero and negative gradients are good ones."),
    ]
    for plain, scale, hint in cases:
        scaled = [(gradient * scale).half() for gradient in plain]
        given = [gradient.clone() for gradient in scaled]
        value = call(function, given, scale)
        gradients, step = expect_pair(value, "unscaled", "(gradients, take_the_step)")
        if isinstance(step, Tensor) and step.numel() == 1:
            step = step.item()
        if not isinstance(step, bool):
            raise AssertionError(f"take_the_step is {step!r}, expected True or False")
        fine = all(math.isfinite(x) for gradient in scaled for x in gradient.flatten().tolist())
        if step != fine:
            if fine:
                hint = f"Every number that you were given is finite; does a sum or a square overflow? {hint}"
            raise AssertionError(f"take_the_step is {step}, expected {fine}. {hint}")
        for gradient, before in zip(given, scaled, strict=True):
            if not torch.equal(gradient.nan_to_num(), before.nan_to_num()):
                raise AssertionError("The gradients that you were given have changed: make new tensors.")
        if not fine:
            continue
        if not isinstance(gradients, tuple | list) or len(gradients) != len(scaled):
            raise AssertionError(f"gradients: expected a list of {len(scaled)} tensors. {hint}")
        for i, (gradient, source) in enumerate(zip(gradients, scaled, strict=True)):
            name = f"gradient {i}"
            found = expect_tensor(gradient, tuple(source.shape), name, hint)
            if found.dtype != torch.float32:
                raise AssertionError(f"{name} is {found.dtype}, expected torch.float32. {hint}")
            exact = [x / scale for x in source.double().flatten().tolist()]
            expected = torch.tensor(exact, dtype=torch.float64).reshape(source.shape)
            worst = expected.abs().max().item() or 1.0
            expect_close(found.double() / worst, expected / worst, name, hint)


def whole_gradient(function: Callable) -> None:
    """function(gradients, clips) -> the gradient of the mean over all clips, from each process's own."""
    cases = [
        ([4], "One process that has all the clips: its gradient is the answer."),
        ([3, 3], "Two equal parts: a mean of means is right here, and a sum is not."),
        ([5, 1], "A clip must count the same, whichever process it fell to."),
        ([1, 2, 6], "Each process's mean stands for as many clips as it had."),
        ([4, 0, 3], "A process without a clip sends zeros: it must not pull the mean down."),
    ]
    generator = torch.Generator().manual_seed(0)
    for counts, hint in cases:
        weight = torch.randn(3, 2, generator=generator, dtype=torch.float64, requires_grad=True)
        x = torch.randn(sum(counts), 3, generator=generator, dtype=torch.float64)
        losses = torch.tanh(x @ weight).square().sum(1)  # one a clip
        (expected,) = torch.autograd.grad(losses.mean(), weight, retain_graph=True)
        parts = [
            torch.autograd.grad(part.mean(), weight, retain_graph=True)[0] if len(part) else torch.zeros(3, 2)
            for part in losses.split(counts)
        ]
        given = [part.double().clone() for part in parts]
        found = call(function, given, list(counts))
        name = f"whole_gradient for processes with {', '.join(map(str, counts))} clips"
        if not all(torch.equal(now, part.double()) for now, part in zip(given, parts, strict=True)):
            raise AssertionError("The gradients that you were given have changed: make a new tensor.")
        found = expect_tensor(found, (3, 2), name, "It has the shape of one gradient.")
        if found.dtype != torch.float64:
            raise AssertionError(f"{name} is {found.dtype}, the gradients given are torch.float64")
        expect_close(found, expected, name, hint, tolerance=1e-9)


def fold(function: Callable) -> None:
    """function(weight, bias, mean, variance, gamma, beta, eps) -> (weight, bias) of one convolution."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    zero, one = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    positive = [random(3).abs() + 0.2 for _ in range(2)]
    cases = [  # bias, mean, variance, gamma, beta, eps, hint
        (zero, zero, one, one * 2, zero, 0.0, "γ multiplies a whole channel of the output: a whole filter."),
        (
            zero,
            zero,
            one,
            random(3),
            zero,
            0.0,
            "Each output channel, the weight's first axis, has its own γ.",
        ),
        (zero, zero, positive[0], one, zero, 0.0, "Divide by the deviation, the root of the variance."),
        (zero, random(3), one, one, zero, 0.0, "The mean is taken off before anything else."),
        (random(3), zero, one, one * 3, zero, 0.0, "The old bias is scaled like everything that comes out."),
        (zero, random(3), one, one * 3, zero, 0.0,
         "The mean was taken off before the scale: it is scaled too."),
        (zero, zero, one, one * 3, random(3), 0.0, "β is added last: it is not scaled."),
        (random(3), random(3), positive[1], random(3), random(3), 0.3,
         "Where does ε go? nn.BatchNorm3d adds it to the variance, under the root."),
    ]  # fmt: skip
    for bias, mean, variance, gamma, beta, eps, hint in cases:
        weight = random(3, 2, 2, 3, 2)  # (O, C, kt, kh, kw)
        pair = nn.Sequential(nn.Conv3d(2, 3, (2, 3, 2)), nn.BatchNorm3d(3, eps=eps)).double().eval()
        state = (weight, bias, gamma, beta, mean, variance, torch.tensor(0))
        pair.load_state_dict(dict(zip(pair.state_dict(), state, strict=True)))
        given = [tensor.clone() for tensor in (weight, bias, mean, variance, gamma, beta)]
        value = call(function, *given, eps)
        value = expect_pair(value, "fold", "(weight, bias)")
        if not all(map(torch.equal, given, (weight, bias, mean, variance, gamma, beta))):
            raise AssertionError("fold has changed a tensor that it was given: make new ones.")
        new_weight = expect_tensor(value[0], tuple(weight.shape), "weight", "It looks like the old one.")
        new_bias = expect_tensor(value[1], (3,), "bias", "There is one number for each output channel.")
        x = random(1, 2, 4, 5, 4)  # (B, C, T, H, W)
        with torch.no_grad():
            expected = pair(x)
            found = nn.functional.conv3d(x, new_weight.double(), new_bias.double())
        expect_close(found, expected, "What the folded convolution gives", hint, tolerance=1e-9)


CHECKS: dict[str, Callable[[Callable], None]] = {
    "fair_seconds": fair_seconds,
    "whole_speedup": whole_speedup,
    "unscaled": unscaled,
    "whole_gradient": whole_gradient,
    "fold": fold,
}
