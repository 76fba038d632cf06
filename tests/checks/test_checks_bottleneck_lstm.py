"""What learners write by mistake in the exercises of notebook 13 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lessons.checks import check
from lessons.checks.bottleneck_lstm import CHECKS
from tests.checks.exercises import each_wrong_answer, from_notebook

SOURCE = Path(__file__).resolve().parents[2] / "notebooks" / "src" / "13_bottleneck_lstm.py"


def test_the_first_solution_has_at_most_fifteen_lines():
    solution = SOURCE.read_text(encoding="utf-8").partition("def bottleneck_lstm_step_solution")[2]
    assert solution.partition("\n\n\n")[0].count("\n") <= 15


@pytest.mark.parametrize("seed", range(5))
def test_the_solution_of_is_linear_does_not_depend_on_luck(seed):
    torch.manual_seed(seed)
    check("13.is_linear", from_notebook("13", "is_linear_solution"))


def test_other_right_answers_pass():
    def one_gate_a_line(x, h, c, depthwise, bottleneck, spatial, gates):
        d = h.shape[1]
        b = F.conv2d(torch.cat([F.conv2d(x, depthwise, padding=1, groups=x.shape[1]), h], 1), bottleneck)
        s = F.conv2d(b.clamp(0, 6), spatial, padding="same", groups=d)
        i, f, g, o = (torch.einsum("bchw,oc->bohw", s, gates[k * d : (k + 1) * d, :, 0, 0]) for k in range(4))
        c = c / (1 + torch.exp(-f - 1)) + i.sigmoid() * g.clamp(0, 6)
        return [o.sigmoid() * c.clamp(0, 6), c]

    def by_sums(squeeze, c, d):
        x, y, h, k = (50 * torch.randn(2, n, 5, 5, dtype=torch.float64) for n in (c, c, d, d))
        left = squeeze(x + y, h + k)
        return torch.allclose(
            left, squeeze(x, h) + squeeze(y, k), rtol=0, atol=1e-4 * left.abs().max().item()
        )

    def by_bits(costs, printed, digits):
        names, found = list(costs), []
        for bits in range(2 ** len(names)):
            out = tuple(name for k, name in enumerate(names) if bits >> k & 1)
            left = sum(costs.values()) - sum(costs[name] for name in out)
            if f"{left / 1e6:.{digits}f}" == f"{printed:.{digits}f}":
                found.append(out)
        return found

    check("13.bottleneck_lstm_step", one_gate_a_line)
    check("13.is_linear", by_sums)
    check("13.explanations", by_bits)
    check("13.forget_bias", lambda n, share: torch.logit(torch.tensor(share).double() ** (1 / n)))


# Wrong answers


def cell(
    phi_b=F.relu6, phi_g=F.relu6, phi_c=F.relu6, order="ifgo", bias=1.0, swap=False, around=None, last=None
):
    """The cell with a slip in one place."""

    def function(x, h, c, depthwise, bottleneck, spatial, gates):
        seen = around(x, depthwise) if around else F.conv2d(x, depthwise, padding=1, groups=x.shape[1])
        both = torch.cat([h, seen] if swap else [seen, h], dim=1)
        b = phi_b(F.conv2d(both, bottleneck))
        s = F.conv2d(b, spatial, padding=1, groups=b.shape[1])
        by_name = dict(zip(order, F.conv2d(s, gates).chunk(4, dim=1), strict=True))
        i, f, g, o = (by_name[name] for name in "ifgo")
        new_c = torch.sigmoid(f + bias) * c + torch.sigmoid(i) * phi_g(g)
        new_h = torch.sigmoid(o) * phi_c(new_c)
        return last(new_h, new_c, c, o) if last else (new_h, new_c)

    return function


right_cell = cell()


def same(x):
    return x


def gates_interleaved(x, h, c, depthwise, bottleneck, spatial, gates):
    mixed = torch.cat([gates[k::4] for k in range(4)])  # right_cell cuts it where the slip would have cut
    return right_cell(x, h, c, depthwise, bottleneck, spatial, mixed)


def b_added_to_s(x, h, c, depthwise, bottleneck, spatial, gates):
    middle = torch.zeros_like(spatial)
    middle[:, :, 1, 1] = 1
    return right_cell(x, h, c, depthwise, bottleneck, spatial + middle, gates)


def x_and_h_apart(squeeze, c, d):
    x, h = inputs(c, d)
    return bool(torch.allclose(squeeze(x, h), squeeze(x, 0 * h) + squeeze(0 * x, h), rtol=1e-2, atol=0.1))


def count(
    first=lambda c, d, v: c + d * (v in ("released", "equation")), second=None, squeeze=None, gates=None
):
    """The weights with a slip in one term."""

    def function(c, d, variant="paper"):
        copies = 4 if variant == "equation" else 1
        return (
            9 * first(c, d, variant)
            + (squeeze(c, d) if squeeze else (c + d) * d)
            + (second(c, d, variant) if second else 9 * d * copies)
            + (gates(c, d, variant) if gates else 4 * d * d)
        )

    return function


def detective(sizes=None, close=None, form=set):
    """The search with a slip: which sizes of sets, what counts as equal, how a set is given."""

    def function(costs, printed, digits):
        found = []
        for size in sizes(len(costs)) if sizes else range(len(costs) + 1):
            for names in combinations(costs, size):
                left = sum(costs.values()) - sum(costs[name] for name in names)
                if close(left, printed, digits) if close else round(left / 1e6, digits) == printed:
                    found.append(form(names))
        return found

    return function


def inputs(c, d, scale=1.0):
    return scale * torch.randn(2, c, 5, 5).double(), scale * torch.randn(2, d, 5, 5).double()


def doubling(squeeze, c, d, scale=30.0):
    x, h = inputs(c, d, scale)
    once, twice = squeeze(x, h), squeeze(2 * x, 2 * h)
    return bool((twice - 2 * once).abs().max() <= 1e-4 * twice.abs().max())


def turning(squeeze, c, d):
    x, h = inputs(c, d, 30)
    return bool((squeeze(-x, -h) + squeeze(x, h)).abs().max() <= 1e-4 * squeeze(x, h).abs().max())


def adding(scale=30.0, tolerance=1e-4, positive=False, exact=False, relative=True):
    def function(squeeze, c, d):
        (x, h), (y, k) = inputs(c, d, scale), inputs(c, d, scale)
        if positive:
            x, y, h, k = x.abs(), x.abs(), h.abs(), h.abs()
        off = (squeeze(x + y, h + k).double() - squeeze(x, h).double() - squeeze(y, k).double()).abs().max()
        size = squeeze(x, h).abs().max().double() if relative else 1.0
        return bool(off == 0) if exact else bool(off <= tolerance * size)

    return function


WRONG = {
    "bottleneck_lstm_step": [
        ("no φ at the bottleneck", cell(phi_b=same), "Read the line of b|no happens|after"),
        ("ReLU for ReLU6", cell(phi_b=F.relu, phi_g=F.relu, phi_c=F.relu), "the update is at work"),
        ("ReLU at the bottleneck", cell(phi_b=F.relu), "which φ"),
        ("tanh for φ", cell(torch.tanh, torch.tanh, torch.tanh), "only the update is at work"),
        ("tanh at g", cell(phi_g=torch.tanh), "put numbers into"),
        ("no φ at g", cell(phi_g=same), "Which of the four gates|which φ|Every clip"),
        ("no φ of c", cell(phi_c=same), "only the update is at work"),
        ("no forget bias", cell(bias=0.0), "constant beside f"),
        ("bias outside the sigmoid", cell(bias=0.0, last=lambda h, c, old, o: (h, c + old)),
         "constant beside f"),
        ("c before h", cell(last=lambda h, c, old, o: (c, h)), "the order in which you return"),
        ("h of the old c", cell(last=lambda h, c, old, o: (torch.sigmoid(o) * F.relu6(old), c)),
         "only the update is at work"),
        ("gates i, f, o, g", cell(order="ifog"), "put numbers into|Which of the four"),
        ("gates f, i, g, o", cell(order="figo"), "put numbers into|Which of the four"),
        ("gates i, g, f, o", cell(order="igfo"), "put numbers into|Which of the four"),
        ("h before x", cell(swap=True), "which stands first"),
        ("x not looked at", cell(around=lambda x, w: x), "put numbers into"),
        ("no padding", cell(around=lambda x, w: F.conv2d(x, w, groups=x.shape[1])),
         "Expected size 2 but got size 4 for tensor number 1 in the list"),
        ("no groups", cell(around=lambda x, w: F.conv2d(x, w, padding=1)),
         r"weight of size \[2, 1, 3, 3\], expected input.* to have 1 channels"),
        ("gates interleaved", gates_interleaved, "Which of the four gates"),
        ("b added to s", b_added_to_s, "put numbers into"),
        ("filters turned", cell(around=lambda x, w: F.conv2d(x, w.transpose(2, 3), padding=1,
                                                              groups=x.shape[1])), "looked at with a filter"),
        ("one filter for all", cell(around=lambda x, w: F.conv2d(x, w[:1].expand_as(w), padding=1,
                                                                  groups=x.shape[1])),
         "Read the line|filter"),
        ("first clip only", lambda x, h, c, *w: tuple(y.expand_as(h) for y in right_cell(
            x[:1], h[:1], c[:1], *w)), "Every clip of the batch"),
        ("detached", lambda *a: tuple(y.detach() for y in right_cell(*a)), "no gradient"),
        ("h alone", lambda *a: right_cell(*a)[0], "expected the pair"),
        ("three results", lambda *a: (*right_cell(*a), None), "expected the pair"),
        ("NaN", lambda *a: tuple(y * math.nan for y in right_cell(*a)), "NaN"),
        ("numpy", lambda *a: tuple(y.detach().numpy() for y in right_cell(*a)), "expected a tensor"),
        ("no return", lambda *a: None, "gave None"),
    ],
    "cell_weights": [
        ("dense first", count(first=lambda c, d, v: c * c), "which two layers see them"),
        ("h in the first", count(first=lambda c, d, v: c + d), "too many. One channel"),
        ("no first", count(first=lambda c, d, v: 0), "too few. One channel"),
        ("no second", count(second=lambda c, d, v: 0), "too few. One channel"),
        ("second reads both", count(second=lambda c, d, v: 9 * (c + d)), "too many. One channel"),
        ("squeezes x alone", count(squeeze=lambda c, d: c * d), "too few. One channel"),
        ("squeezes to C", count(squeeze=lambda c, d: (c + d) * c), "which two layers"),
        ("gates of one D", count(gates=lambda c, d, v: d * d), "too few. One channel"),
        ("gates read both", count(gates=lambda c, d, v: 4 * d * (c + d)), "too many. One channel"),
        ("gates without D", count(gates=lambda c, d, v: 4 * d), "which three layers"),
        ("one shared in equation", count(second=lambda c, d, v: 9 * d), "depthwise filters of its own"),
        ("gates of equation read 4D", count(gates=lambda c, d, v: 4 * d * d * (4 if v == "equation" else 1)),
         "not four times D"),
        ("four bottlenecks in equation",
         lambda c, d, v="paper": count()(c, d, v) + 3 * (c + d) * d * (v == "equation"), "of its own"),
        ("one number for all variants", lambda c, d, v="paper": count()(c, d), "what is put side by side"),
        ("released as paper", count(first=lambda c, d, v: c + d * (v == "equation")), "h too"),
        ("blog has no bottleneck", lambda c, d, v="paper": count()(c, d, v) - (v == "blog") * (c + d) * d,
         "φ has no weights"),
        ("biases", lambda c, d, v="paper": count()(c, d, v) + c + 6 * d, "too many"),
        ("a float", lambda c, d, v="paper": float(count()(c, d, v)), "whole number"),
        ("NaN", lambda c, d, v="paper": math.nan, "whole number"),
        ("a string", lambda c, d, v="paper": "601,344", "whole number"),
        ("no return", lambda c, d, v="paper": None, "gave None"),
    ],
    "explanations": [
        ("single layers only", detective(sizes=lambda n: [1]), "empty one"),
        ("none or one", detective(sizes=lambda n: [0, 1]), "More than one layer"),
        ("never the empty set", detective(sizes=lambda n: range(1, n + 1)), "empty one"),
        ("never all of them", detective(sizes=lambda n: range(n)), "All of them"),
        ("what is kept", lambda costs, p, n: [set(costs) - names for names in detective()(costs, p, n)],
         "empty one"),
        ("the first one found", lambda costs, p, n: detective()(costs, p, n)[:1], "There can be several"),
        ("exact, not rounded", detective(close=lambda left, p, n: left / 1e6 == p), "round what is left"),
        ("whole millions", detective(close=lambda left, p, n: round(left / 1e6) == round(p)), "5.54 prints"),
        ("cut off", detective(close=lambda left, p, n: int(left / 1e6 * 10**n) / 10**n == p),
         "33.7 and 33.8"),
        ("at most", detective(close=lambda left, p, n: round(left / 1e6, n) <= p), "wrong"),
        ("within one", detective(close=lambda left, p, n: abs(left / 1e6 - p) < 1), "5.54 prints"),
        ("not in millions", detective(close=lambda left, p, n: round(left, n) == p), "empty one"),
        ("one set of names", lambda costs, p, n: set().union(*detective()(costs, p, n)),
         "empty one|set of names"),
        ("costs, not names", detective(form=lambda names: {f"{name}!" for name in names}), "not among"),
        ("each one twice", lambda costs, p, n: 2 * detective()(costs, p, n), "more than once"),
        ("names run together", detective(form="".join), "expected a set of names"),
        ("a number", lambda costs, p, n: 3, "expected a list of sets"),
        ("NaN", lambda costs, p, n: math.nan, "expected a list of sets"),
        ("no return", lambda costs, p, n: None, "gave None"),
    ],
    "is_linear": [
        ("doubling", doubling, "with a ReLU|With twice the input"),
        ("turning round", turning, "With minus the input"),
        ("small inputs", adding(scale=0.05, tolerance=1e-2), "larger inputs|Near 0|tanh"),
        ("inputs of one", adding(scale=0.1), "Give it larger inputs"),
        ("positive inputs", adding(positive=True, scale=1.0), "ReLU|larger"),
        ("exact", adding(exact=True), "exact equality|rounds"),
        ("absolute tolerance", adding(tolerance=1e-9, relative=False), "rounds|rounding"),
        ("generous tolerance", adding(tolerance=10.0), "ReLU|tanh"),
        ("zeros stay zeros", lambda s, c, d: bool(s(*inputs(c, d, 0)).abs().max() == 0), "ReLU"),
        ("negative outputs", lambda s, c, d: bool((s(*inputs(c, d, 30)) < 0).any()), "tanh"),
        ("small outputs", lambda s, c, d: bool(s(*inputs(c, d, 30)).abs().max() > 6), "ReLU|tanh"),
        ("x alone, h doubled", lambda s, c, d: doubling(lambda x, h: s(x, 0 * h), c, d), "twice the input"),
        ("x and h apart", x_and_h_apart, "Give it larger inputs"),
        ("always", lambda s, c, d: True, "True for a bottleneck with ReLU"),
        ("never", lambda s, c, d: False, "False for a bottleneck with no φ"),
        ("x for h", lambda s, c, d: bool(s(*inputs(d, c)).any()), "the x that you gave to squeeze"),
        ("a difference", lambda s, c, d: s(*inputs(c, d)).abs().max(), "expected True or False"),
        ("NaN", lambda s, c, d: math.nan, "expected True or False"),
        ("no return", lambda s, c, d: None, "gave None"),
    ],
    "forget_bias": [
        ("the gate, not the bias", lambda n, p: p ** (1 / n), "one half"),
        ("no root", lambda n, p: math.log(p / (1 - p)), "take the share of one frame"),
        ("share over frames", lambda n, p: math.log(p / n / (1 - p / n)), "one frame"),
        ("inverse over frames", lambda n, p: math.log(p / (1 - p)) / n, "take the share of one frame"),
        ("logarithm to base 10", lambda n, p: math.log10(p ** (1 / n) / (1 - p ** (1 / n))), "invert the"),
        ("logarithm alone", lambda n, p: math.log(p ** (1 / n)), "one half"),
        ("minus", lambda n, p: -math.log(p ** (1 / n) / (1 - p ** (1 / n))), "invert the sigmoid"),
        ("tanh inverted", lambda n, p: math.atanh(p ** (1 / n)), "one half"),
        ("less the 1 that is there", lambda n, p: math.log(p ** (1 / n) / (1 - p ** (1 / n))) - 1,
         "one half"),
        ("never negative", lambda n, p: max(0.0, math.log(p ** (1 / n) / (1 - p ** (1 / n)))), "negative"),
        ("one frame too many", lambda n, p: math.log(p ** (1 / (n + 1)) / (1 - p ** (1 / (n + 1)))),
         "one half"),
        ("rounded", lambda n, p: round(math.log(p ** (1 / n) / (1 - p ** (1 / n)))), "invert the sigmoid"),
        ("two digits", lambda n, p: round(math.log(p ** (1 / n) / (1 - p ** (1 / n))), 2),
         "invert the sigmoid"),
        ("what is lost", lambda n, p: math.log((1 - p) ** (1 / n) / (1 - (1 - p) ** (1 / n))), "invert the"),
        ("NaN", lambda n, p: math.nan, "finite number"),
        ("a string", lambda n, p: "2.6", "expected a number"),
        ("divides by zero", lambda n, p: 1 / 0, "stopped with ZeroDivisionError"),
        ("no return", lambda n, p: None, "gave None"),
    ],
}  # fmt: skip


@each_wrong_answer(WRONG)
def test_a_wrong_answer_is_told_where_to_look(exercise, wrong, message):
    torch.manual_seed(0)
    with pytest.raises(AssertionError, match=message):
        check(f"13.{exercise}", wrong)


def test_every_exercise_is_tried_with_at_least_eight_wrong_answers():
    assert WRONG.keys() == CHECKS.keys()
    assert all(len(answers) >= 8 for answers in WRONG.values())
