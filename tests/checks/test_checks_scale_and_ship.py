"""Each exercise of notebook 17: its solution passes, and what learners write by mistake does not."""

from __future__ import annotations

import math
import statistics

import pytest
import torch

from lessons.checks import check
from lessons.checks.scale_and_ship import CHECKS, HOST, Device
from tests.checks.exercises import each_wrong_answer


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


def folding(weight=lambda w, s: w * s.view(-1, 1, 1, 1, 1), bias=lambda b, m, s, beta: (b - m) * s + beta,
            scale=lambda v, gamma, eps: gamma / (v + eps).sqrt()):  # fmt: skip
    def function(w, b, mean, variance, gamma, beta, eps):
        s = scale(variance, gamma, eps)
        return weight(w, s), bias(b, mean, s, beta)

    return function


def weigh_in_place(gradients, clips):
    for gradient, count in zip(gradients, clips, strict=True):
        gradient *= count
    return sum(gradients) / sum(clips)


def ordered_before_the_clock(work, clock, wait, repeats):
    work(), wait()
    times = []
    for _ in range(repeats):
        work()
        began = clock()
        wait()
        times.append(clock() - began)
    return statistics.median(times)


def fold_in_place(w, b, mean, variance, gamma, beta, eps):
    scale = gamma / (variance + eps).sqrt()
    return w.mul_(scale.view(-1, 1, 1, 1, 1)), (b - mean) * scale + beta


def combine(rule):
    return lambda gradients, clips: rule(torch.stack(gradients), torch.tensor(clips).double())


def by(clips):
    return clips.view(-1, 1, 1)


def pairs(shares, factors):
    return zip(shares, factors, strict=True)


def finite(x):
    return bool(torch.isfinite(x).all())


NAN = float("nan")
WRONG = {
    "fair_seconds": [
        ("no warm-up", timer(warm=False), "something comes before them"),
        ("no wait at the end", timer(end_wait=False), "comes back at once"),
        ("waits before, not after", wait_before_only, "comes back at once"),
        ("no wait at all", timer(warm_wait=False, end_wait=False), "comes back at once"),
        ("warm-up not awaited", timer(warm_wait=False), "was it over"),
        ("a mean", timer(combine=statistics.fmean), "do they not move"),
        ("the best", timer(combine=min), "do they not move"),
        ("the worst", timer(combine=max), "do they not move"),
        ("the sum", timer(whole=True), "the time of one call"),
        ("the clock read once", timer(again=False), "the time of one call"),
        ("one block", one_block, "do they not move"),
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
        ("shares that add up to 1", lambda s, f: 1 / sum(a / b for a, b in pairs(s, f)), "milliseconds too"),
        ("a harmonic mean of the factors", lambda s, f: len(f) / sum(1 / b for b in f), "1000 ms"),
        ("never slower", lambda s, f: sum(s) / sum(a / max(b, 1) for a, b in pairs(s, f)), "become slower"),
        ("no division by zero left", lambda s, f: sum(s) / 0, "ZeroDivisionError"),
        ("a bool", lambda s, f: True, "expected a number"),
        ("infinity", lambda s, f: math.inf, "finite"),
        ("None", lambda s, f: None, "gave None"),
    ],
    "unscaled": [
        ("not divided", scaled(lambda g, s: g.float()), "multiplied by `scale`"),
        ("multiplied", scaled(lambda g, s: g.float() * s), "multiplied by `scale`"),
        ("divided in float16", scaled(lambda g, s: (g / s).float()), "In which format"),
        ("left in float16", scaled(lambda g, s: g / s), "expected torch.float32"),
        ("by the root", scaled(lambda g, s: g.float() / s**0.5), "multiplied by `scale`"),
        ("always takes the step", scaled(fine=lambda g: True), "One gradient is infinite"),
        ("never takes the step", scaled(fine=lambda g: False), "expected True"),
        ("looks at the first only", scaled(fine=lambda g: bool(torch.isfinite(g[0]).all())), "is infinite"),
        ("looks for NaN only",
         scaled(fine=lambda g: not any(x.isnan().any().item() for x in g)), "is infinite"),
        ("looks for infinity only",
         scaled(fine=lambda g: not any(x.isinf().any().item() for x in g)), "is NaN"),
        ("any in place of all", scaled(fine=lambda g: any(finite(x) for x in g)), "infinite"),
        ("a sum that overflows",
         scaled(fine=lambda g: all(math.isfinite(x.sum().item()) for x in g)), "overflow"),
        ("zeros count as bad",
         scaled(fine=lambda g: all(bool((x != 0).all() and x.isfinite().all()) for x in g)),
         "Zero and negative"),
        ("squares in float16",
         scaled(fine=lambda g: math.isfinite(sum((x**2).sum().item() for x in g))), "a sum or a square"),
        ("in place", in_place, "have changed"),
        ("flattened", scaled(lambda g, s: g.float().flatten() / s), "has shape"),
        ("one tensor", lambda g, s: (g[0].float() / s, True), "expected a list"),
        ("gradients only", lambda g, s: [x.float() / s for x in g], "expected"),
        ("a count", scaled(fine=lambda g: 1), "expected True or False"),
        ("None", lambda g, s: None, "gave None"),
    ],
    "whole_gradient": [
        ("a mean of means", combine(lambda g, n: g.mean(0)), "must count the same"),
        ("a sum", combine(lambda g, n: g.sum(0)), "a sum is not"),
        ("weighted, not divided", combine(lambda g, n: (g * by(n)).sum(0)), "its gradient is the answer"),
        ("divided by the processes", combine(lambda g, n: (g * by(n)).sum(0) / len(n)), "is the answer"),
        ("divided by the clips", combine(lambda g, n: g.sum(0) / n.sum()), "is the answer"),
        ("weights turned round",
         combine(lambda g, n: (g / by(n)).sum(0) / (1 / n).sum()), "must count the same"),
        ("the largest part only", combine(lambda g, n: g[n.argmax()]), "a sum is not"),
        ("the root of the counts",
         combine(lambda g, n: (g * by(n.sqrt())).sum(0) / n.sqrt().sum()), "the same"),
        ("a median", combine(lambda g, n: g.median(0).values), "a sum is not"),
        ("empty ones count as one",
         combine(lambda g, n: (g * by(n)).sum(0) / n.clamp(min=1).sum()), "must not pull"),
        ("one short", combine(lambda g, n: (g * by(n)).sum(0) / (n.sum() - 1)), "is the answer"),
        ("without the empty ones", lambda g, n: sum(x for x, k in zip(g, n, strict=True) if k)
         / sum(k > 0 for k in n), "must count the same"),
        ("in place", weigh_in_place, "have changed"),
        ("in float32", combine(lambda g, n: (g.float() * by(n).float()).sum(0) / n.sum().float()), "float64"),
        ("a list", lambda g, n: g, "expected a tensor"),
        ("flattened", combine(lambda g, n: g.mean(0).flatten()), "has shape"),
        ("NaN", combine(lambda g, n: g.mean(0) * NAN), "NaN"),
        ("None", lambda g, n: None, "gave None"),
    ],
    "fold": [
        ("weight not scaled", folding(weight=lambda w, s: w), "multiplies a whole channel"),
        ("along the columns", folding(weight=lambda w, s: w * s[0]), "the weight's first axis"),
        ("along the input", folding(weight=lambda w, s: w * s[:2].view(1, -1, 1, 1, 1)), "first axis"),
        ("no root", folding(scale=lambda v, g, e: g / (v + e)), "root of the variance"),
        ("times the deviation", folding(scale=lambda v, g, e: g * (v + e).sqrt()), "root of the variance"),
        ("no mean", folding(bias=lambda b, m, s, beta: b * s + beta), "taken off"),
        ("mean added", folding(bias=lambda b, m, s, beta: (b + m) * s + beta), "taken off"),
        ("bias not scaled", folding(bias=lambda b, m, s, beta: b - m * s + beta), "old bias is scaled"),
        ("mean not scaled", folding(bias=lambda b, m, s, beta: b * s - m + beta), "it is scaled too"),
        ("β scaled", folding(bias=lambda b, m, s, beta: (b - m + beta) * s), "added last"),
        ("no β", folding(bias=lambda b, m, s, beta: (b - m) * s), "added last"),
        ("ε beside the root", folding(scale=lambda v, g, e: g / (v.sqrt() + e)), "Where does ε go"),
        ("no ε", folding(scale=lambda v, g, e: g / v.sqrt()), "Where does ε go"),
        ("γ forgotten", folding(scale=lambda v, g, e: 1 / (v + e).sqrt()), "multiplies a whole channel"),
        ("in place", fold_in_place, "has changed a tensor"),
        ("weight only", lambda w, *rest: w, "expected \\(weight, bias\\)"),
        ("a bias of another shape", folding(bias=lambda b, m, s, beta: b[:2]), "has shape"),
        ("NaN", folding(bias=lambda b, m, s, beta: b * NAN), "NaN"),
        ("None", lambda *a: None, "gave None"),
    ],
}  # fmt: skip


@each_wrong_answer(WRONG)
def test_a_wrong_answer_is_told_where_to_look(exercise, wrong, message):
    with pytest.raises(AssertionError, match=message):
        check(f"17.{exercise}", wrong)


def test_every_exercise_is_tried_with_at_least_eight_wrong_answers():
    assert WRONG.keys() == CHECKS.keys()
    assert all(len(answers) >= 8 for answers in WRONG.values())


def test_other_ways_to_be_right_are_right(capsys):
    def sync_everywhere(work, clock, wait, repeats):
        work(), wait(), work(), wait()
        times = []
        for _ in range(repeats):
            wait()
            began = clock()
            work()
            wait()
            times.append(clock() - began)
        return torch.tensor(sorted(times)[len(times) // 2], dtype=torch.float64)

    check("17.fair_seconds", sync_everywhere)
    check("17.whole_speedup", lambda s, f: 1 / sum(a / sum(s) / b for a, b in zip(s, f, strict=True)))
    check("17.unscaled", lambda g, s: (tuple(x.float() * (1 / s) for x in g),
                                       torch.tensor(all(x.float().sum().isfinite() for x in g))))  # fmt: skip
    check("17.whole_gradient", combine(lambda g, n: torch.einsum("n...,n->...", g, n / n.sum())))
    assert capsys.readouterr().out.count("correct") == 4


def test_the_device_works_after_its_calls_have_come_back():
    device = Device([0.02], first=0.9)
    began = device.clock()
    device.work()
    assert device.clock() - began == pytest.approx(HOST)
    device.wait()
    assert device.clock() - began == pytest.approx(0.9 + HOST)
    device.wait()
    assert device.clock() - began == pytest.approx(0.9 + HOST)
