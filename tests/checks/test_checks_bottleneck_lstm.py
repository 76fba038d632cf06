"""What learners write by mistake in the exercises of notebook 13 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lessons.checks import check
from lessons.checks.bottleneck_lstm import CHECKS, _step
from tests.checks.exercises import answer_tests, from_notebook, sizes_that_never_vary


def step(**slip):
    """The step with one slip."""
    return lambda *arguments: _step(*arguments, **slip)


def same(x):
    return x


right = step()


def after(change):
    """The right result, changed."""
    return lambda *arguments: change(*right(*arguments))


def before(change):
    """The right step on changed arguments (x, h, c, depthwise, bottleneck, spatial, gates)."""
    return lambda *arguments: right(*change(*arguments))


def in_place_on_c(x, h, c, *weights):
    new_h, new_c = right(x, h, c, *weights)
    with torch.no_grad():
        c.copy_(new_c)
    return new_h, new_c


def without_gradients(*arguments):
    with torch.no_grad():
        return right(*arguments)


def into_float32(*arguments):
    return [torch.zeros(y.shape).copy_(y) for y in right(*arguments)]


def dense_first(x, h, c, depthwise, bottleneck, spatial, gates):
    seen = F.conv2d(x, depthwise, padding=1)
    return _step(seen, h, c, depthwise, bottleneck, spatial, gates, first="nothing")


def sigmoid_that_overflows(x, h, c, depthwise, bottleneck, spatial, gates):
    seen = F.conv2d(x, depthwise, padding=1, groups=x.shape[1])
    b = F.relu6(F.conv2d(torch.cat([seen, h], 1), bottleneck))
    sums = F.conv2d(F.conv2d(b, spatial, padding=1, groups=b.shape[1]), gates)
    i, f, g, o = sums.chunk(4, 1)
    new_c = (f + 1).exp() / (1 + (f + 1).exp()) * c + i.exp() / (1 + i.exp()) * F.relu6(g)
    return o.exp() / (1 + o.exp()) * F.relu6(new_c), new_c


def count(**change):
    """The layers' weights, some of them changed: name -> function(c, d) -> number."""

    def function(c, d, bias=False, released=False, alpha=1.0):
        c, d = int(alpha * c), int(alpha * d)
        layers = {
            "first": lambda c, d: 9 * (c + d if released else c),
            "squeeze": lambda c, d: (c + d) * d,
            "second": lambda c, d: 9 * d,
            "gates": lambda c, d: 4 * d * d,
            "biases": lambda c, d: 5 * d * bool(bias),
        }
        if not bias:
            change_here = {k: v for k, v in change.items() if k != "biases"}
        else:
            change_here = change
        return sum(layer(c, d) for layer in (layers | change_here).values())

    return function


def draw(c, d, scale=30.0, side=(5, 6)):
    return scale * torch.randn(2, c, *side), scale * torch.randn(2, d, *side)


def combine(a, b, scale=30.0, tolerance=1e-4, make=draw):
    """Is f(a u + b v) = a f(u) + b f(v), up to the relative tolerance?"""

    def function(squeeze, c, d):
        (x, h), (y, k) = make(c, d, scale), make(c, d, scale)
        together = squeeze(a * x + b * y, a * h + b * k)
        apart = a * squeeze(x, h) + b * squeeze(y, k)
        return bool((together - apart).abs().max() <= tolerance * apart.abs().max())

    return function


def multiples(factor):
    def function(squeeze, c, d):
        x, h = draw(c, d)
        off = squeeze(factor * x, factor * h) - factor * squeeze(x, h)
        return bool(off.abs().max() <= 1e-4 * squeeze(x, h).abs().max())

    return function


def x_and_h_apart(squeeze, c, d):
    """Linear in x for h = 0, and in h for x = 0."""
    return combine(3, 2)(lambda x, h: squeeze(x, 0 * h), c, d) and combine(3, 2)(
        lambda x, h: squeeze(0 * x, h), c, d
    )


def constant_maps(c, d, scale):
    x, h = draw(c, d, scale, (1, 1))
    return x.expand(-1, -1, 5, 5), h.expand(-1, -1, 5, 5)


def positive(c, d, scale):
    x, h = draw(c, d, scale)
    return x.abs(), h.abs()


def h_is_zero(c, d, scale):
    x, h = draw(c, d, scale)
    return x, 0 * h


def x_is_zero(c, d, scale):
    x, h = draw(c, d, scale)
    return 0 * x, h


def mean_error(squeeze, c, d):
    (x, h), (y, k) = draw(c, d), draw(c, d)
    error = squeeze(x + y, h + k) - squeeze(x, h) - squeeze(y, k)
    return bool(error.mean().abs() <= 1e-4 * squeeze(x, h).abs().max())


def exact(squeeze, c, d):
    (x, h), (y, k) = draw(c, d), draw(c, d)
    return bool((squeeze(x + y, h + k) == squeeze(x, h) + squeeze(y, k)).all())


def absolute(tolerance):
    def function(squeeze, c, d):
        (x, h), (y, k) = draw(c, d), draw(c, d)
        return torch.allclose(squeeze(x + y, h + k), squeeze(x, h) + squeeze(y, k), rtol=0, atol=tolerance)

    return function


def strictly_less(squeeze, c, d):
    (x, h), (y, k) = draw(c, d), draw(c, d)
    apart = squeeze(x, h) + squeeze(y, k)
    return bool((squeeze(x + y, h + k) - apart).abs().max() < 1e-4 * apart.abs().max())


# Right answers in other styles.


def one_gate_per_line(x, h, c, depthwise, bottleneck, spatial, gates):
    d = h.shape[1]
    b = F.conv2d(torch.cat([F.conv2d(x, depthwise, padding=1, groups=x.shape[1]), h], 1), bottleneck)
    s = F.conv2d(b.clamp(0, 6), spatial, padding="same", groups=d)
    i, f, g, o = (torch.einsum("bchw,oc->bohw", s, gates[k * d : (k + 1) * d, :, 0, 0]) for k in range(4))
    c = (f + 1).sigmoid() * c + i.sigmoid() * g.clamp(0, 6)
    return [o.sigmoid() * c.clamp(0, 6), c]


def channel_by_channel(x, h, c, depthwise, bottleneck, spatial, gates):
    def around(maps, filters):
        return torch.cat(
            [F.conv2d(maps[:, k : k + 1], filters[k : k + 1], padding=1) for k in range(maps.shape[1])], 1
        )

    b = torch.einsum("bchw,oc->bohw", torch.cat([around(x, depthwise), h], 1), bottleneck[:, :, 0, 0])
    sums = F.conv2d(around(F.hardtanh(b, 0, 6), spatial), gates)
    i, f, g, o = sums.unflatten(1, (4, -1)).unbind(1)
    c = torch.lerp(torch.zeros_like(c), c, torch.sigmoid(f + 1)) + torch.sigmoid(i) * F.relu6(g)
    return torch.sigmoid(o) * F.relu6(c), c


def clip_by_clip(x, h, c, *weights):
    pairs = [right(x[k : k + 1], h[k : k + 1], c[k : k + 1], *weights) for k in range(len(x))]
    return tuple(torch.cat(parts) for parts in zip(*pairs, strict=True))


def by_shifts(x, h, c, depthwise, bottleneck, spatial, gates):
    def around(maps, filters):
        height, width = maps.shape[2:]
        padded = F.pad(maps, (1, 1, 1, 1))
        return sum(
            padded[:, :, r : r + height, k : k + width] * filters[:, 0, r, k, None, None]
            for r in range(3)
            for k in range(3)
        )

    split = x.shape[1]
    seen = F.conv2d(around(x, depthwise), bottleneck[:, :split]) + F.conv2d(h, bottleneck[:, split:])
    i, f, g, o = F.conv2d(around(F.relu6(seen), spatial), gates).chunk(4, 1)
    c = torch.sigmoid(1 + f) * c + torch.sigmoid(i) * g.clamp(min=0, max=6)
    return torch.sigmoid(o) * c.clamp(min=0, max=6), c


def with_modules(x, h, c, depthwise, bottleneck, spatial, gates):
    seen = torch.func.functional_call(
        torch.nn.Conv2d(x.shape[1], x.shape[1], 3, padding=1, groups=x.shape[1], bias=False),
        {"weight": depthwise}, (x,),
    )  # fmt: skip
    b = torch.nn.ReLU6()(F.conv2d(torch.cat((seen, h), -3), bottleneck))
    i, f, g, o = torch.split(
        F.conv2d(F.conv2d(b, spatial, None, 1, 1, 1, len(spatial)), gates), h.shape[1], 1
    )
    c = (1 + f).sigmoid().mul(c).add(i.sigmoid().mul(F.relu6(g)))
    return {"h": o.sigmoid() * F.relu6(c)}["h"], c


def filter_by_filter(c, d, bias=False, released=False, alpha=1.0):
    c, d = math.floor(c * alpha), math.floor(d * alpha)
    total = 0
    for outputs, inputs, k in ((c + d * released, 1, 3), (d, c + d, 1), (d, 1, 3), (4 * d, d, 1)):
        total += outputs * inputs * k**2 + outputs * (bias and k == 1)
    return total


def built(c, d, bias=False, released=False, alpha=1.0):
    c, d = int(alpha * c), int(alpha * d)
    first = c + d if released else c
    layers = [
        torch.nn.Conv2d(first, first, 3, groups=first, bias=False), torch.nn.Conv2d(c + d, d, 1, bias=bias),
        torch.nn.Conv2d(d, d, 3, groups=d, bias=False), torch.nn.Conv2d(d, 4 * d, 1, bias=bias),
    ]  # fmt: skip
    return sum(p.numel() for layer in layers for p in layer.parameters())


def is_linear_at_zero_too(squeeze, c, d):
    zero = squeeze(torch.zeros(1, c, 4, 5), torch.zeros(1, d, 4, 5))
    return bool((zero == 0).all()) and combine(1, 1)(squeeze, c, d)


RIGHT = {
    "bottleneck_lstm_step": [one_gate_per_line, channel_by_channel, clip_by_clip, by_shifts, with_modules],
    "cell_weights": [
        filter_by_filter,
        built,
        count(),
        lambda *a: np.int64(count()(*a)),
        lambda *a: torch.tensor(count()(*a)),
    ],
    "is_linear": [
        combine(1, 1),
        combine(3, 2, 50.0, 1e-3),
        combine(-2, 5),
        is_linear_at_zero_too,
        lambda s, c, d: np.bool_(combine(2, -7)(s, c, d)),
        lambda s, c, d: torch.tensor(combine(0.5, 4)(s, c, d)),
    ],
}


@pytest.mark.parametrize("seed", range(5))
def test_the_solution_of_is_linear_does_not_depend_on_the_seed(seed):
    torch.manual_seed(seed)
    check("13.is_linear", from_notebook("13", "is_linear_solution"))


def test_sizes_vary():
    fixed = sizes_that_never_vary(CHECKS["bottleneck_lstm_step"])
    # The kernels have sizes of their own: (C, 1, 3, 3), (D, C + D, 1, 1), (D, 1, 3, 3), (4D, D, 1, 1).
    fixed_axes = {3: (1, 2, 3), 4: (2, 3), 5: (1, 2, 3), 6: (2, 3)}
    kernels = [f"argument ({i},), axis {axis}" for i, axes in fixed_axes.items() for axis in axes]
    assert sorted(fixed) == sorted(kernels)


WRONG = {
    "bottleneck_lstm_step": [
        ("no φ at the bottleneck", step(phis=(same, F.relu6, F.relu6)), "."),
        ("ReLU", step(phis=(F.relu,) * 3), "yours has no upper one"),
        ("ReLU at the bottleneck", step(phis=(F.relu, F.relu6, F.relu6)), "At the bottleneck your φ has no"),
        ("tanh", step(phis=(torch.tanh,) * 3), "tanh"),
        ("tanh at g", step(phis=(F.relu6, torch.tanh, F.relu6)), "tanh"),
        ("no φ at g", step(phis=(F.relu6, same, F.relu6)), "candidate"),
        ("no φ of c", step(phis=(F.relu6, F.relu6, same)), "not from c' itself"),
        ("no forget bias", step(bias=0.0), "missing beside f"),
        ("bias outside the sigmoid", step(bias=0.0, outside=1.0), "inside the sigmoid"),
        ("c before h", step(swapped=True), "wrong order"),
        ("h of the old c", step(shown="old"), "new cell state"),
        ("gates i, f, o, g", step(order="ifog"), "another order"),
        ("gates f, i, g, o", step(order="figo"), "another order"),
        ("h before x", step(h_first=True), "stands first"),
        ("no first depthwise", step(first="nothing"), "first depthwise"),
        ("no second depthwise", step(second=False), "second depthwise"),
        ("no groups", dense_first, "expected input"),
        ("interleaved gates", before(lambda *a: (*a[:6], torch.cat([a[6][k::4] for k in range(4)]))),
         "every fourth channel"),
        ("filters transposed", before(lambda x, h, c, w, *a: (x, h, c, w.transpose(2, 3), *a)), "filter"),
        ("one filter for all", before(lambda x, h, c, w, *a: (x, h, c, w[:1].expand_as(w), *a)), "."),
        ("first clip only", lambda x, h, c, *w: tuple(y.expand_as(h) for y in right(x[:1], h[:1], c[:1], *w)),
         "Everything counts"),
        ("squeezed batch", after(lambda h, c: (h.squeeze(0), c.squeeze(0))), "shape"),
        ("detached", after(lambda h, c: (h.detach(), c.detach())), "no gradient reaches"),
        ("no_grad", without_gradients, "no gradient reaches"),
        ("c detached", before(lambda x, h, c, *w: (x, h, c.detach(), *w)), "no gradient reaches c"),
        ("h detached", before(lambda x, h, *a: (x, h.detach(), *a)), "no gradient reaches h"),
        ("weights detached", before(lambda x, h, c, *w: (x, h, c, *(u.detach() for u in w))),
         "no gradient reaches depthwise, bottleneck, spatial and gates"),
        ("h' of a detached c'", step(phis=(F.relu6, F.relu6, lambda y: F.relu6(y.detach()))),
         "gradient at gates is off|gradient at . is off"),
        ("in place on c", in_place_on_c, "changed c"),
        ("float32", into_float32, "wrong dtype"),
        ("a sigmoid that overflows", sigmoid_that_overflows, "NaN"),
        ("h alone", lambda *a: right(*a)[0], "expected a list or tuple"),
        ("three results", after(lambda h, c: (h, c, c)), "3 values, expected 2"),
        ("numpy", after(lambda h, c: (h.detach().numpy(), c.detach().numpy())), "expected a tensor"),
        ("no return", lambda *a: None, "gave None"),
    ],
    "cell_weights": [
        ("dense first", count(first=lambda c, d: 9 * c * c), "which two layers"),
        ("no first", count(first=lambda c, d: 0), "Too few"),
        ("no second", count(second=lambda c, d: 0), "Too few"),
        ("squeezes x alone", count(squeeze=lambda c, d: c * d), "Too few"),
        ("squeezes to C", count(squeeze=lambda c, d: (c + d) * c), "which two layers"),
        ("one gate", count(gates=lambda c, d: d * d), "Too few"),
        ("gates read both", count(gates=lambda c, d: 4 * d * (c + d)), "Too many"),
        ("gates without D", count(gates=lambda c, d: 4 * d), "which three layers"),
        ("a depthwise per gate", count(second=lambda c, d: 36 * d), "Too many"),
        ("biases always", lambda c, d, b=False, r=False, a=1.0: count()(c, d, True, r, a), "Too many"),
        ("biases never", lambda c, d, b=False, r=False, a=1.0: count()(c, d, False, r, a),
         "the biases were not counted"),
        ("depthwise biases", count(biases=lambda c, d: c + 6 * d), "depthwise convolutions biases"),
        ("one bias per gate", count(biases=lambda c, d: d + 4), "One bias per output"),
        ("never released", lambda c, d, b=False, r=False, a=1.0: count()(c, d, b, False, a), "reads"),
        ("always released", lambda c, d, b=False, r=False, a=1.0: count()(c, d, b, True, a), "Too many"),
        ("no alpha", lambda c, d, b=False, r=False, a=1.0: count()(c, d, b, r), "no effect"),
        ("alpha once", lambda c, d, b=False, r=False, a=1.0: int(a * count()(c, d, b, r)),
         "how often does a channel count"),
        ("rounded up",
         lambda c, d, b=False, r=False, a=1.0: count()(math.ceil(a * c), math.ceil(a * d), b, r),
         "rounded down"),
        ("a float", lambda *a: float(count()(*a)), "an integer"),
        ("a string", lambda *a: "601,344", "an integer"),
        ("no return", lambda *a: None, "gave None"),
    ],
    "is_linear": [
        ("3u - 2v: every affine map passes", combine(3, -2), "affine"),
        ("a mean of two", combine(0.5, 0.5), "affine"),
        ("doubling", multiples(2), "ReLU gives exactly twice"),
        ("minus", multiples(-1), "tanh gives exactly minus"),
        ("minus twice", multiples(-2), "median|affine"),
        ("small inputs", combine(3, 2, 0.01), "larger inputs|6 above 6"),
        ("positive inputs", combine(3, 2, make=positive), "some of your inputs negative"),
        ("constant maps", combine(3, 2, make=constant_maps), "different at each position"),
        ("the mean error", mean_error, "position by position"),
        ("h is 0", combine(3, 2, make=h_is_zero), "your h different from 0"),
        ("x is 0", combine(3, 2, make=x_is_zero), "your x different from 0"),
        ("x and h apart", x_and_h_apart, "not in both together"),
        ("exact", exact, "exact equality"),
        ("an absolute tolerance", absolute(1e-2), "rounding grows"),
        ("a strict comparison", strictly_less, "compare with <"),
        ("a generous tolerance", combine(3, 2, tolerance=10.0), "ReLU"),
        ("zero stays zero", lambda s, c, d: bool((s(*draw(c, d, 0.0)) == 0).all()), "ReLU"),
        ("float64", lambda s, c, d: bool(s(*(y.double() for y in draw(c, d))).any()), "expected float32"),
        ("x for h", lambda s, c, d: bool(s(*draw(d, c)).any()), "the x that you gave to squeeze"),
        ("always", lambda s, c, d: True, "ReLU"),
        ("never", lambda s, c, d: False, "It is linear"),
        ("an error, not a verdict", lambda s, c, d: s(*draw(c, d)).abs().max(), "expected True or False"),
        ("no return", lambda s, c, d: None, "gave None"),
    ],
}  # fmt: skip


TestAnswers = answer_tests("13", WRONG, RIGHT)
