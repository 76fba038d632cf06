"""What learners write by mistake in the exercises of notebook 17 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lessons.checks.scale_and_ship import CHECKS
from tests.checks.exercises import answer_tests, sizes_that_never_vary


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


def fold_in_place(w, b, mean, variance, gamma, beta, eps):
    scale = gamma / (variance + eps).sqrt()
    return w.mul_(scale.view(-1, 1, 1, 1, 1)), (b - mean) * scale + beta


def combine(rule):
    return lambda gradients, clips: rule(torch.stack(gradients), torch.tensor(clips).to(gradients[0]))


def by(clips, gradients):
    return clips.view(-1, *[1] * (gradients.dim() - 1))


def without_graph(function):
    def detached(*arguments):
        with torch.no_grad():
            return function(*arguments)

    return detached


def whole(gradients, clips):
    return sum(g * n for g, n in zip(gradients, clips, strict=True)) / sum(clips)


def sorted_clips(gradients, clips):
    found = whole(gradients, clips)
    clips.append(0)
    return found


def error(differ=lambda d: d.abs().max().item(), over=max, shape=True, finite=True, catch=True, skip=False):
    """export_error with a slip."""

    def function(model, exported, clips):
        found = []
        for x in clips:
            try:
                y = exported(x)
            except ValueError:
                if not catch:
                    raise
                if skip:
                    continue
                return math.inf
            if shape and y.shape != model(x).shape:
                return math.inf
            if finite and not y.isfinite().all():
                return math.inf
            n = min(len(y), len(model(x)))
            found.append(differ(y[:n] - model(x)[:n]))
        return over(found)

    return function


def shapes_by(size):
    """export_error that compares no more of a shape than this."""

    def function(model, exported, clips):
        worst = 0.0
        for x in clips:
            try:
                y = exported(x)
            except ValueError:
                return math.inf
            if size(y) != size(model(x)) or not y.isfinite().all():
                return math.inf
            try:
                worst = max(worst, (y - model(x)).abs().max().item())
            except RuntimeError:
                return math.inf
        return worst

    return function


def clips_in_place(model, exported, clips):
    found = error()(model, exported, clips)
    clips[0].mul_(2)
    return found


def minus_one(model, exported, clips):
    found = error()(model, exported, clips)
    return -1.0 if found == math.inf else found


def nan_unseen(model, exported, clips):
    worst = 0.0
    for x in clips:
        try:
            y = exported(x)
        except ValueError:
            return math.inf
        if y.shape != model(x).shape:
            return math.inf
        worst = max(worst, (y - model(x)).abs().max().item())  # max(0, NaN) is 0
    return worst


NAN = float("nan")
WRONG = {
    "whole_gradient": [
        ("a mean of means", combine(lambda g, n: g.mean(0)), "must count the same"),
        ("a sum", combine(lambda g, n: g.sum(0)), "a sum is not"),
        ("weighted, not divided", combine(lambda g, n: (g * by(n, g)).sum(0)), "is the answer"),
        ("divided by the processes", combine(lambda g, n: (g * by(n, g)).sum(0) / len(n)), "is the answer"),
        ("divided by the clips", combine(lambda g, n: g.sum(0) / n.sum()), "is the answer"),
        ("weights turned round",
         combine(lambda g, n: (g / by(n, g)).sum(0) / (1 / n).sum()), "must count the same"),
        ("the largest part only", combine(lambda g, n: g[n.argmax()]), "a sum is not"),
        ("the root of the counts",
         combine(lambda g, n: (g * by(n.sqrt(), g)).sum(0) / n.sqrt().sum()), "the same"),
        ("a median", combine(lambda g, n: g.median(0).values), "a sum is not"),
        ("empty ones count as one",
         combine(lambda g, n: (g * by(n, g)).sum(0) / n.clamp(min=1).sum()), "must not pull"),
        ("in float16",
         combine(lambda g, n: (g.half() * by(n, g)).double().sum(0) / n.sum()), "is the answer"),
        ("the weights in float32", lambda g, n: torch.einsum("n...,n->...", torch.stack(g),
         (torch.tensor(n) / sum(n)).double()), "wrong dtype"),
        ("the parts in another order", lambda g, n: whole(g, n[::-1]), "must count the same"),
        ("one too few", combine(lambda g, n: (g * by(n, g)).sum(0) / (n.sum() - 1)), "is the answer"),
        ("without the empty ones", lambda g, n: sum(x for x, k in zip(g, n, strict=True) if k)
         / sum(k > 0 for k in n), "must count the same"),
        ("in place", weigh_in_place, "changed gradients"),
        ("in float32", combine(lambda g, n: (g * by(n, g)).float().sum(0) / n.sum()), "dtype"),
        ("a list", lambda g, n: g, "expected a tensor"),
        ("without gradients", without_graph(whole), "no gradient reaches gradients"),
        ("counts changed", sorted_clips, "changed clips"),
        ("flattened", combine(lambda g, n: g.mean(0).flatten()), "gave shape"),
        ("NaN", combine(lambda g, n: g.mean(0) * NAN), "NaN"),
        ("None", lambda g, n: None, "gave None"),
    ],
    "fold": [
        ("weight not scaled", folding(weight=lambda w, s: w), "multiplies a whole channel"),
        ("along the columns", folding(weight=lambda w, s: w * s[0]), "the weight's first axis"),
        ("along the input", folding(weight=lambda w, s: w * s[:2].view(1, -1, 1, 1, 1)), "first axis"),
        ("no root", folding(scale=lambda v, g, e: g / (v + e)), "root of the variance"),
        ("times the root", folding(scale=lambda v, g, e: g * (v + e).sqrt()), "root of the variance"),
        ("no mean", folding(bias=lambda b, m, s, beta: b * s + beta), "subtracted"),
        ("mean added", folding(bias=lambda b, m, s, beta: (b + m) * s + beta), "subtracted"),
        ("bias not scaled", folding(bias=lambda b, m, s, beta: b - m * s + beta), "old bias is scaled"),
        ("mean not scaled", folding(bias=lambda b, m, s, beta: b * s - m + beta), "it is scaled, too"),
        ("β scaled", folding(bias=lambda b, m, s, beta: (b - m + beta) * s), "added last"),
        ("no β", folding(bias=lambda b, m, s, beta: (b - m) * s), "added last"),
        ("ε beside the root", folding(scale=lambda v, g, e: g / (v.sqrt() + e)), "Where does ε go"),
        ("no ε", folding(scale=lambda v, g, e: g / v.sqrt()), "Where does ε go"),
        ("γ forgotten", folding(scale=lambda v, g, e: 1 / (v + e).sqrt()), "multiplies a whole channel"),
        ("in place", fold_in_place, "changed weight"),
        ("weight only", lambda w, *rest: w, "weight, bias"),
        ("a bias of another shape", folding(bias=lambda b, m, s, beta: b[:2]), "gave shape"),
        ("without gradients", without_graph(folding()), "no gradient reaches"),
        ("γ detached", folding(scale=lambda v, g, e: g.detach() / (v + e).sqrt()), "reaches gamma"),
        ("float32", folding(bias=lambda b, m, s, beta: ((b - m) * s + beta).float()), "wrong dtype"),
        ("ε as the smallest", folding(scale=lambda v, g, e: g / v.sqrt().clamp(min=e)), "Where does ε go"),
        ("ε squared", folding(scale=lambda v, g, e: g / (v + e**2).sqrt()), "Where does ε go"),
        ("γ without its sign", folding(scale=lambda v, g, e: g.abs() / (v + e).sqrt()), "first axis"),
        ("bias in place", lambda w, b, m, *rest: folding()(w, b.sub_(m), m * 0, *rest), "changed bias"),
        ("a fixed ε", folding(scale=lambda v, g, e: g / (v + 1e-5).sqrt()), "wrong"),
        ("NaN", folding(bias=lambda b, m, s, beta: b * NAN), "NaN"),
        ("None", lambda *a: None, "gave None"),
    ],
    "export_error": [
        ("the mean difference", error(differ=lambda d: d.abs().mean().item()), "a mean hides"),
        ("no absolute value", error(differ=lambda d: d.max().item()), "has a sign"),
        ("squared", error(differ=lambda d: d.square().max().item()), "0.5 too small"),
        ("the norm", error(differ=lambda d: d.norm().item()), "0.5 too small"),
        ("the largest, then its size", error(differ=lambda d: abs(d.max().item())), "3 too small"),
        ("the smallest, then its size", error(differ=lambda d: abs(d.min().item())), "a mean hides"),
        ("the numbers of outputs compared", shapes_by(torch.numel), "the whole shape"),
        ("the numbers of axes compared", shapes_by(torch.Tensor.dim), "compare the shapes"),
        ("the file against itself", lambda m, e, c: error()(e, e, c), "too small"),
        ("the last clip", error(over=lambda f: f[-1]), "in the middle"),
        ("the first clip", error(over=lambda f: f[0]), "in the middle"),
        ("the smallest", error(over=min), "in the middle"),
        ("the sum", error(over=sum), "0.5 too small"),
        ("shapes not compared", error(shape=False), "compare the shapes"),
        ("NaN not seen", nan_unseen, "NaN"),
        ("the error passed on", error(catch=False), "ValueError"),
        ("a clip that fails is skipped", error(skip=True), "ValueError"),
        ("minus one for a failure", minus_one, "compare the shapes"),
        ("a clip changed", clips_in_place, "changed clips"),
        ("True", lambda m, e, c: True, "expected a number"),
        ("a list", error(over=list), "expected a number"),
        ("None", lambda m, e, c: None, "gave None"),
    ],
}  # fmt: skip


def fold_by_rows(w, b, mean, variance, gamma, beta, eps):
    scale = [g / (v + eps) ** 0.5 for g, v in zip(gamma, variance, strict=True)]
    rows = [row * s for row, s in zip(w, scale, strict=True)]
    return torch.stack(rows), torch.stack(scale) * (b - mean) + beta


def error_by_loop(model, exported, clips):
    worst = torch.tensor(0.0)
    for x in clips:
        try:
            y = exported(x)
        except Exception:
            return float("inf")
        if y.shape == model(x).shape and torch.isfinite(y).all():
            worst = torch.maximum(worst.to(y), (y - model(x)).abs().amax())
        else:
            worst = worst + math.inf
    return worst


def error_by_norm(model, exported, clips):
    try:
        pairs = [(model(x), exported(x)) for x in clips]
    except ValueError:
        return math.inf
    if any(a.shape != b.shape for a, b in pairs):
        return math.inf
    found = torch.stack([(a - b).abs().nan_to_num(math.inf, math.inf).max() for a, b in pairs])
    return found.max().item()


def error_in_numpy(model, exported, clips):
    worst = []
    for x in clips:
        try:
            a, b = model(x).numpy(), exported(x).numpy()
        except ValueError:
            return np.inf
        if a.shape != b.shape or not np.isfinite(b).all():
            return np.inf
        worst.append(np.abs(a - b).max())
    return np.max(worst)


RIGHT = {
    "whole_gradient": [
        whole,
        combine(lambda g, n: torch.einsum("n...,n->...", g, n / n.sum())),
        combine(lambda g, n: torch.tensordot(n, g, dims=1) / n.sum()),
        combine(lambda g, n: (g * by(n, g)).sum(0).div(n.sum())),
        lambda g, n: sum(x * (k / sum(n)) for x, k in zip(g, n, strict=True)),
        lambda g, n: torch.stack([x * k for x, k in zip(g, n, strict=True)]).sum(0) / sum(n),
    ],
    "fold": [
        folding(),
        fold_by_rows,
        folding(weight=lambda w, s: w * s[:, None, None, None, None]),
        folding(weight=lambda w, s: torch.einsum("oabcd,o->oabcd", w, s)),
        folding(scale=lambda v, g, e: g * torch.rsqrt(v + e)),
        folding(bias=lambda b, m, s, beta: b * s + (beta - m * s)),
        lambda *a: list(folding()(*a)),
    ],
    "export_error": [
        error(),
        error_by_loop,
        error_by_norm,
        error_in_numpy,
        error(differ=lambda d: max(d.max().item(), -d.min().item())),
        error(differ=lambda d: d.flatten().norm(math.inf), over=lambda f: torch.stack(f).max()),
    ],
}


TestAnswers = answer_tests("17", WRONG, RIGHT)


@pytest.mark.parametrize("exercise", CHECKS)
def test_sizes_vary(exercise):
    assert sizes_that_never_vary(CHECKS[exercise]) == []
