"""What learners write by mistake in the exercises of notebook 16 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import math
import statistics
import time

import numpy as np
import pytest
import torch

from lessons.checks.make_it_fast import HOST, Device
from tests.checks.exercises import answer_tests


def timer(warm=True, warm_wait=True, end_wait=True, combine=statistics.median, whole=False, again=True):
    """fair_seconds with a step left out."""

    def function(work, clock, wait, repeats):
        if warm:
            work()
        if warm_wait:
            wait()
        times, begin = [], clock()
        for _ in range(repeats):
            if again:
                begin = clock()
            work()
            if end_wait:
                wait()
            times.append(clock() - begin)
        return sum(times) if whole else combine(times)

    return function


def wait_before_only(work, clock, wait, repeats):
    work()
    times = []
    for _ in range(repeats):
        wait()
        began = clock()
        work()
        times.append(clock() - began)
    return statistics.median(times)


def one_block(work, clock, wait, repeats):
    work()
    wait()
    began = clock()
    for _ in range(repeats):
        work()
    wait()
    return (clock() - began) / repeats


def scaled(divide=lambda g, s: g.float() / s, fine=None):
    fine = fine or (lambda gradients: all(bool(torch.isfinite(g).all()) for g in gradients))
    return lambda gradients, scale: ([divide(g, scale) for g in gradients], fine(gradients))


def in_place(gradients, scale):
    for gradient in gradients:
        gradient.div_(scale)
    return [gradient.float() for gradient in gradients], True


def nothing_unless_fine(gradients, scale):
    fine = all(map(finite, gradients))
    return [gradient.float() / scale for gradient in gradients] if fine else [], fine


def numbers_unless_fine(gradients, scale):
    fine = all(map(finite, gradients))
    return [gradient.float() / scale if fine else 0.0 for gradient in gradients], fine


def one_memory_per_shape(gradients, scale, kept={}):  # noqa: B006
    found = [kept.setdefault(g.shape, torch.empty(g.shape)).copy_(g.float() / scale) for g in gradients]
    return found, all(map(finite, gradients))


def only_finite(gradients, scale):
    if not all(map(finite, gradients)):
        raise NotImplementedError
    return [gradient.float() / scale for gradient in gradients], True


def ordered_before_the_clock(work, clock, wait, repeats):
    work(), wait()
    times = []
    for _ in range(repeats):
        work()
        began = clock()
        wait()
        times.append(clock() - began)
    return statistics.median(times)


def pairs(shares, factors):
    return zip(shares, factors, strict=True)


def finite(x):
    return bool(torch.isfinite(x).all())


def shares_changed(shares, factors):
    found = by_clock(shares, factors)
    shares[0] = shares[0] / factors[0]
    return found


def list_changed(gradients, scale):
    found = [gradient.float() / scale for gradient in gradients], all(map(finite, gradients))
    gradients.clear()
    return found


def by_clock(shares, factors, left=False):
    after = sum(a / b for a, b in pairs(shares, factors))
    return after if left else sum(shares) / after


NAN = float("nan")
WRONG = {
    "fair_seconds": [
        ("no warm-up", timer(warm=False), "something comes before them"),
        ("no wait at the end", timer(end_wait=False), "returns at once"),
        ("waits before, not after", wait_before_only, "returns at once"),
        ("no wait at all", timer(warm_wait=False, end_wait=False), "returns at once"),
        ("warm-up not awaited", timer(warm_wait=False), "was it over"),
        ("a mean", timer(combine=statistics.fmean), "do they not move"),
        ("the best", timer(combine=min), "do they not move"),
        ("the worst", timer(combine=max), "do they not move"),
        ("the sum", timer(whole=True), "the time of one call"),
        ("the lower middle", timer(combine=statistics.median_low), "even number"),
        ("the upper middle", timer(combine=statistics.median_high), "even number"),
        ("the clock read once", timer(again=False), "the time of one call"),
        ("one block", one_block, "the clock was read 2 times"),
        ("all by another clock", lambda *a: timer()(a[0], time.perf_counter, *a[2:]), "the clock was read 0"),
        ("always five calls", lambda *a: timer()(*a[:3], 5), "work was called 6 times"),
        ("without the extremes",
         timer(combine=lambda t: statistics.fmean(sorted(t)[1:-1] or t)), "do they not move"),
        ("end before start", timer(combine=lambda t: -statistics.median(t)), "from before it until"),
        ("work before the clock", ordered_before_the_clock, "from before it until it is done"),
        ("milliseconds", timer(combine=lambda t: 1000 * statistics.median(t)), "counts seconds"),
        ("a list", timer(combine=list), "expected a number"),
        ("NaN", timer(combine=lambda t: NAN), "expected a finite number"),
        ("None", lambda *a: None, "gave None"),
    ],
    "whole_speedup": [
        ("the mean of the factors",
         lambda s, f: sum(a * b for a, b in pairs(s, f)) / sum(s), "One half takes no"),
        ("the product", lambda s, f: math.prod(f), "twice as fast"),
        ("the largest", lambda s, f: max(f), "One half takes no time"),
        ("the time left", lambda s, f: sum(a / b for a, b in pairs(s, f)), "gains what the part gains"),
        ("turned round", lambda s, f: sum(a * b for a, b in pairs(s, f)), "One half takes no time"),
        ("only the first", lambda s, f: 1 / (s[0] / f[0] + 1 - s[0]), "twice as fast"),
        ("shares that add up to 1", lambda s, f: 1 / sum(a / b for a, b in pairs(s, f)), "milliseconds, too"),
        ("a harmonic mean of the factors", lambda s, f: len(f) / sum(1 / b for b in f), "1000 ms"),
        ("never slower", lambda s, f: sum(s) / sum(a / max(b, 1) for a, b in pairs(s, f)), "become slower"),
        ("no division by zero left", lambda s, f: sum(s) / 0, "ZeroDivisionError"),
        ("a bool", lambda s, f: True, "expected a number"),
        ("shares changed", shares_changed, "changed shares"),
        ("rounded", lambda s, f: round(by_clock(s, f), 6), "rounding"),
        ("an integer division", lambda s, f: sum(s) // by_clock(s, f, left=True), "wrong"),
        ("infinity", lambda s, f: math.inf, "gains what the part gains"),
        ("None", lambda s, f: None, "gave None"),
    ],
    "unscaled": [
        ("not divided", scaled(lambda g, s: g.float()), "multiplied by `scale`"),
        ("multiplied", scaled(lambda g, s: g.float() * s), "multiplied by `scale`"),
        ("divided in float16", scaled(lambda g, s: (g / s).float()), "In which format"),
        ("left in float16", scaled(lambda g, s: g / s), "expected a tensor of torch.float32"),
        ("by the root", scaled(lambda g, s: g.float() / s**0.5), "multiplied by `scale`"),
        ("always takes the step", scaled(fine=lambda g: True), "One gradient is infinite"),
        ("never takes the step", scaled(fine=lambda g: False), "expected True"),
        ("looks at the first only", scaled(fine=lambda g: bool(torch.isfinite(g[0]).all())), "is infinite"),
        ("looks for NaN only",
         scaled(fine=lambda g: not any(x.isnan().any().item() for x in g)), "is infinite"),
        ("looks for infinity only",
         scaled(fine=lambda g: not any(x.isinf().any().item() for x in g)), "is NaN"),
        ("any instead of all", scaled(fine=lambda g: any(finite(x) for x in g)), "infinite"),
        ("the list changed", list_changed, "changed gradients"),
        ("looks for minus infinity",
         scaled(fine=lambda g: not any((x.isnan() | x.isneginf()).any().item() for x in g)), "60000 times 4"),
        ("only powers of two", scaled(lambda g, s: torch.ldexp(g.float(), -torch.tensor(s).log2().round())),
         "no power of two"),
        ("no gradients without a step", nothing_unless_fine, "expected a list"),
        ("numbers without a step", numbers_unless_fine, "gradient 0 is a float"),
        ("float64", scaled(lambda g, s: g.double() / s), "expected a tensor of torch.float32"),
        ("bfloat16 on the way", scaled(lambda g, s: (g.bfloat16() / s).float()), "values are wrong"),
        ("one tensor for all answers", one_memory_per_shape, "changes what an earlier one returned"),
        ("requires a gradient", scaled(lambda g, s: (g.float() / s).requires_grad_()), "requires a gradient"),
        ("a branch not written", only_finite, "still raises NotImplementedError"),
        ("a median of two", scaled(lambda g, s: g.float() / s if g.dim() < 3 else g.float()), "gradient 2"),
        ("a sum that overflows",
         scaled(fine=lambda g: all(math.isfinite(x.sum().item()) for x in g)), "overflow"),
        ("zeros count as bad",
         scaled(fine=lambda g: all(bool((x != 0).all() and x.isfinite().all()) for x in g)),
         "Zero and negative"),
        ("squares in float16",
         scaled(fine=lambda g: math.isfinite(sum((x**2).sum().item() for x in g))), "a sum or a square"),
        ("in place", in_place, "changed gradients"),
        ("flattened", scaled(lambda g, s: g.float().flatten() / s), "has shape"),
        ("one tensor", lambda g, s: (g[0].float() / s, True), "expected a list"),
        ("gradients only", lambda g, s: [x.float() / s for x in g], "expected"),
        ("a count", scaled(fine=lambda g: 1), "expected True or False"),
        ("None", lambda g, s: None, "gave None"),
    ],
}  # fmt: skip


def sync_everywhere(work, clock, wait, repeats):
    work(), wait(), work(), wait()
    times = []
    for _ in range(repeats):
        wait()
        began = clock()
        work()
        wait()
        times.append(clock() - began)
    return torch.tensor(times, dtype=torch.float64).quantile(0.5)


def one_list_of_readings(work, clock, wait, repeats):
    def once(_):
        start = clock()
        work(), wait()
        return clock() - start

    return statistics.median(list(map(once, range(repeats + 1)))[1:])


def first_thrown_away(work, clock, wait, repeats):
    times = np.empty(repeats + 1)
    for i in range(-1, repeats):
        wait()
        times[i + 1] = -clock()
        work()
        wait()
        times[i + 1] += clock()
    return np.median(times[1:])


def sorted_middle(work, clock, wait, repeats):
    for _ in range(3):
        work()
    wait()
    times = sorted(timer(combine=tuple, warm=False, warm_wait=False)(work, clock, wait, repeats))
    half = repeats // 2
    return times[half] if repeats % 2 else 0.5 * (times[half - 1] + times[half])


def exact(numbers):
    return torch.tensor(numbers, dtype=torch.float64)


def by_loop(shares, factors):
    before = after = 0
    for i in range(len(shares)):
        before += shares[i]
        after += shares[i] / factors[i]
    return before / after


def a_chain_of_readings(work, clock, wait, repeats):
    work(), wait()
    readings = [clock()]
    for _ in range(repeats):
        work(), wait()
        readings.append(clock())
    return float(np.median(np.diff(readings)))


def into_new_tensors(gradients, scale):
    found = []
    for g in gradients:
        found.append(torch.empty(g.shape).copy_(g).mul_(1 / scale))
    return found, not any(g.isinf().any().item() or g.isnan().any().item() for g in found)


RIGHT = {
    "fair_seconds": [
        sync_everywhere, one_list_of_readings, first_thrown_away, sorted_middle, timer(),
        timer(combine=np.median), a_chain_of_readings,
    ],
    "whole_speedup": [
        by_loop,
        lambda s, f: 1 / sum(a / sum(s) / b for a, b in pairs(s, f)),
        lambda s, f: np.sum(s) / np.sum(np.array(s) / np.array(f)),
        lambda s, f: exact(s).sum() / (exact(s) / exact(f)).sum(),
        lambda s, f: float(np.dot(s, np.ones(len(s))) / np.dot(s, 1 / np.array(f, dtype=float))),
        lambda s, f: math.fsum(s) / math.fsum(a * b**-1.0 for a, b in pairs(s, f)),
    ],
    "unscaled": [
        into_new_tensors,
        lambda g, s: (tuple(x.float() * (1 / s) for x in g),
                      torch.tensor(all(x.float().sum().isfinite() for x in g))),
        lambda g, s: ([x.double().div(s).float() for x in g], all(map(finite, g))),
        lambda g, s: ([x.to(torch.float32) / s for x in g],
                      bool(torch.isfinite(torch.cat([x.flatten() for x in g])).all())),
        lambda g, s: ([x.float() / s for x in g], all(bool((x - x == 0).all()) for x in g)),
        lambda g, s: ([x.float() / s for x in g], np.all([x.isfinite().all().item() for x in g]).item()),
    ],
}  # fmt: skip


TestAnswers = answer_tests("16", WRONG, RIGHT)


def test_the_device_works_after_its_calls_have_come_back():
    device = Device([0.02], first=0.9)
    began = device.clock()
    device.work()
    assert device.clock() - began == pytest.approx(HOST)
    device.wait()
    assert device.clock() - began == pytest.approx(0.9 + HOST)
    device.wait()
    assert device.clock() - began == pytest.approx(0.9 + HOST)
