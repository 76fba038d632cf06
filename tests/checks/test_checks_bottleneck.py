"""What learners write by mistake in the exercises of notebook 11 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lessons.checks.bottleneck import CHECKS
from tests.checks.exercises import answer_tests, sizes_that_never_vary

# ---- the cost of a convolution -----------------------------------------------------------------------------


def out(n, k, s, p):
    return (n + 2 * p - k) // s + 1


def cost(
    filters=lambda c, o, k, g: o * (c // g) * k * k,
    biases=lambda c, o, g: o,
    rule=out,
    work=lambda weights, positions: weights * positions,
    result=lambda weights, work: (weights, work),
):
    """Weights and multiply-adds with one slip."""

    def conv_cost(size, in_channels, out_channels, kernel_size, stride=1, padding=0, groups=1, bias=False):
        weights = filters(in_channels, out_channels, kernel_size, groups)
        rows, columns = (rule(n, kernel_size, stride, padding) for n in size)
        stored = weights + bias * biases(in_channels, out_channels, groups)
        return result(stored, work(weights, rows * columns))

    return conv_cost


def by_a_real_layer(size, in_channels, out_channels, kernel_size, stride=1, padding=0, groups=1, bias=False):
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=bias)
    y = layer(torch.zeros(1, in_channels, *size))
    return sum(p.numel() for p in layer.parameters()), y.numel() * layer.weight[0].numel()


def by_counting_windows(size, c, o, k, stride=1, padding=0, groups=1, bias=False):
    height, width = size
    rows = len(range(0, height + 2 * padding - k + 1, stride))
    columns = len(range(0, width + 2 * padding - k + 1, stride))
    return [o * c // groups * k**2 + (o if bias else 0), rows * columns * o * c // groups * k**2]


def by_numpy(size, c, o, k, stride=1, padding=0, groups=1, bias=False):
    positions = np.prod([(n + 2 * padding - k) // stride + 1 for n in size])
    weight = np.prod((o, c // groups, k, k))
    return weight + o * np.int64(bias), weight * positions


def by_tensors(size, c, o, k, stride=1, padding=0, groups=1, bias=False):
    weight = torch.empty(o, c // groups, k, k).numel()
    n = torch.tensor(size)
    positions = ((n + 2 * padding - k) // stride + 1).prod()
    return torch.tensor(weight + o * bias), weight * positions


def by_group(size, c, o, k, **options):
    groups, bias = options.get("groups", 1), options.get("bias", False)
    stride, padding = options.get("stride", 1), options.get("padding", 0)
    weights = sum((o // groups) * (c // groups) * k * k for _ in range(groups))
    positions = math.prod(math.floor((n + 2 * padding - k) / stride) + 1 for n in size)
    return weights + (o if bias else 0), weights * positions


def strided_rows_only(size, c, o, k, stride=1, padding=0, groups=1, bias=False):
    weights = o * (c // groups) * k * k
    return weights + bias * o, weights * out(size[0], k, stride, padding) * out(size[1], k, 1, padding)


def square_maps(size, c, o, k, stride=1, padding=0, groups=1, bias=False):
    weights = o * (c // groups) * k * k
    return weights + bias * o, weights * out(size[0], k, stride, padding) ** 2


def groups_in_the_weights_only(size, c, o, k, stride=1, padding=0, groups=1, bias=False):
    weights, work = cost()(size, c, o, k, stride, padding, groups, bias)
    return weights, work * groups


def other_names(size, c, o, k, step=1, pad=0, parts=1, bias=False):
    return cost()(size, c, o, k, step, pad, parts, bias)


def ceiling(n, k, s, p):
    return -((k - n - 2 * p) // s) + 1


# ---- three layers in one -----------------------------------------------------------------------------------


def one(equation="oq,qpij,pc->ocij", kernel=lambda s: s, result=lambda w: w):
    return lambda narrow, spatial, widen: result(
        torch.einsum(equation, widen[:, :, 0, 0], kernel(spatial), narrow[:, :, 0, 0])
    )


right_one = one()


def by_matrices(narrow, spatial, widen):
    n, w = narrow.flatten(1), widen.flatten(1)  # (m, C), (O, m)
    rows = []
    for i in range(spatial.shape[2]):
        rows.append(torch.stack([w @ spatial[:, :, i, j] @ n for j in range(spatial.shape[3])], dim=-1))
    return torch.stack(rows, dim=-2)


def by_broadcast_matmul(narrow, spatial, widen):
    return (widen[:, :, 0, 0] @ spatial.permute(2, 3, 0, 1) @ narrow[:, :, 0, 0]).permute(2, 3, 0, 1)


def by_two_steps(narrow, spatial, widen):
    inner = torch.einsum("om,mnij->onij", widen.squeeze(-1).squeeze(-1), spatial)
    return torch.tensordot(inner, narrow[..., 0, 0], dims=([1], [0])).permute(0, 3, 1, 2)


def by_convolving_weights(narrow, spatial, widen):
    """The spatial weight as a batch of images: 1 x 1 convolutions act on its channel axes."""
    inner = F.conv2d(spatial, narrow[:, :, 0, 0].T[:, :, None, None])  # (m, C, kh, kw)
    return F.conv2d(inner.transpose(0, 1), widen).transpose(0, 1)


def by_loops(narrow, spatial, widen):
    weight = spatial.new_zeros(len(widen), narrow.shape[1], *spatial.shape[2:])
    for p in range(len(narrow)):
        for q in range(len(narrow)):
            weight = weight + widen[:, q, None] * spatial[q, p] * narrow[p, :, 0, 0][:, None, None]
    return weight


def changes_its_argument(narrow, spatial, widen):
    result = right_one(narrow, spatial, widen)
    spatial.data.mul_(0)
    return result


def into_a_float32_buffer(narrow, spatial, widen):
    weight = torch.zeros(len(widen), narrow.shape[1], *spatial.shape[2:])
    weight[:] = right_one(narrow, spatial, widen)
    return weight


def without_gradients(narrow, spatial, widen):
    with torch.no_grad():
        return right_one(narrow, spatial, widen)


# ---- the separable pair ------------------------------------------------------------------------------------


def pair(padding=lambda k: k // 2, pointwise_padding=0, change=lambda d, p: (d, p), between=lambda x: x):
    def depthwise_separable(x, depthwise, pointwise):
        d, p = change(depthwise, pointwise)
        x = F.conv2d(x, d, padding=tuple(map(padding, d.shape[2:])), groups=x.shape[1])
        return F.conv2d(between(x), p, padding=pointwise_padding)

    return depthwise_separable


def square_padding(x, d, p):
    return F.conv2d(F.conv2d(x, d, padding=d.shape[2] // 2, groups=x.shape[1]), p)


def by_one_convolution(x, d, p):
    return F.conv2d(x, p * d.transpose(0, 1), padding=(d.shape[2] // 2, d.shape[3] // 2))


def by_same_padding(x, d, p):
    return F.conv2d(F.conv2d(x, d, padding="same", groups=len(d)), p)


def by_channels(x, d, p):
    h, w = (k // 2 for k in d.shape[2:])
    maps = [F.conv2d(x[:, c : c + 1], d[c : c + 1], padding=(h, w)) for c in range(x.shape[1])]
    return torch.einsum("oc,bchw->bohw", p[:, :, 0, 0], torch.cat(maps, dim=1))


def by_shifts(x, d, p):
    kh, kw = d.shape[2:]
    padded = F.pad(x, (kw // 2, kw // 2, kh // 2, kh // 2))
    y = torch.zeros_like(x)
    for i in range(kh):
        for j in range(kw):
            y = y + d[:, 0, i, j, None, None] * padded[:, :, i : i + x.shape[2], j : j + x.shape[3]]
    return torch.tensordot(p.flatten(1), y, dims=([1], [1])).transpose(0, 1)


def by_linear(x, d, p):
    x = torch.conv2d(x, d, None, 1, [k // 2 for k in d.shape[2:]], 1, x.shape[1])
    return F.linear(x.movedim(1, -1), p.flatten(1)).movedim(-1, 1)


def by_modules(x, d, p):
    layer = nn.Conv2d(len(d), len(d), d.shape[2:], padding="same", groups=len(d), bias=False)
    return F.conv2d(torch.func.functional_call(layer, {"weight": d}, (x,)), p)


def modules_with_new_weights(x, d, p):
    layer = nn.Conv2d(len(d), len(d), tuple(d.shape[2:]), padding="same", groups=len(d), bias=False).to(x)
    layer.weight.data = d.data
    return F.conv2d(layer(x), p)


def adds_in_place(x, d, p):
    result = pair()(x, d, p)
    x.data.add_(1)
    return result


RIGHT = {
    "conv_cost": [by_a_real_layer, by_counting_windows, by_numpy, by_tensors, by_group],
    "as_one_convolution": [
        by_matrices, by_broadcast_matmul, by_two_steps, by_convolving_weights, by_loops, right_one,
    ],
    "depthwise_separable": [
        by_one_convolution, by_same_padding, by_channels, by_shifts, by_linear, by_modules,
    ],
}  # fmt: skip

WRONG = {
    "conv_cost": [
        ("k, not k squared", cost(lambda c, o, k, g: o * (c // g) * k), "k rows and k columns"),
        ("one channel", cost(lambda c, o, k, g: o * k * k), "every channel|O filters look at"),
        ("one filter", cost(lambda c, o, k, g: c // g * k * k), "O filters"),
        ("C for O", cost(lambda c, o, k, g: c * c // g * k * k), "O filters"),
        ("no groups", cost(lambda c, o, k, g: o * c * k * k), "sees fewer channels|sees C / groups"),
        ("groups twice", cost(lambda c, o, k, g: (o // g) * (c // g) * k * k), "all O filters|All O filters"),
        ("times groups", cost(lambda c, o, k, g: o * c * g * k * k), "sees C / groups channels"),
        ("always a bias", cost(result=lambda w, n: (w + 1, n)), "used once|only with bias"),
        ("always biases", lambda size, c, o, k, stride=1, padding=0, groups=1, bias=False: cost()(
            size, c, o, k, stride, padding, groups, True), "only with bias=True|used once"),
        ("never a bias", cost(biases=lambda c, o, g: 0), "one more number per filter"),
        ("a bias per input", cost(biases=lambda c, o, g: c), "per OUTPUT channel|one more number"),
        ("one bias", cost(biases=lambda c, o, g: 1), "not one in all|one more number"),
        ("biases by group", cost(biases=lambda c, o, g: o // g), "depend on the groups|whatever the"),
        ("biases as multiply-adds", lambda *a, **b: (cost()(*a, **b)[0], cost()(*a, **b)[0]
         * cost()(*a, **b)[1] // cost()(*a, **{**b, "bias": False})[0]), "leave the biases out"),
        ("input positions", cost(rule=lambda n, k, s, p: n), "OUTPUT map|of the output"),
        ("weights only", cost(work=lambda w, n: w), "used once per output position|at every position"),
        ("forgets the first position", cost(rule=lambda n, k, s, p: (n + 2 * p - k) // s), "used once|first"),
        ("pads one end", cost(rule=lambda n, k, s, p: (n + p - k) // s + 1), "both ends"),
        ("no padding", cost(rule=lambda n, k, s, p: (n - k) // s + 1), "both ends"),
        ("always same padding", cost(rule=lambda n, k, s, p: (n - 1) // s + 1), "OUTPUT map|of the output"),
        ("no stride", cost(rule=lambda n, k, s, p: out(n, k, 1, p)), "stride"),
        ("stride on rows only", strided_rows_only, "both axes|AND along"),
        ("rounds up", cost(rule=ceiling), "round down"),
        ("divides the map by the stride", cost(rule=lambda n, k, s, p: out(n, k, 1, p) // s), "stride|round"),
        ("square maps", square_maps, "own sizes|every position"),
        ("FLOPs", cost(work=lambda w, n: 2 * w * n), "two per multiply-add|used once"),
        ("groups in the weights only", groups_in_the_weights_only, "in the multiply-adds as well|C / groups"),
        ("swapped", cost(result=lambda w, n: (n, w)), "swapped|every position"),
        ("a sum", cost(result=lambda w, n: w + n), r"list or tuple of length 2 \(weights, multiply-adds\)"),
        ("three values", cost(result=lambda w, n: (w, n, n)), "3 values, expected 2"),
        ("floats", cost(filters=lambda c, o, k, g: o * c / g * k * k), "expected an integer.*//"),
        ("NaN", cost(result=lambda w, n: (math.nan, n)), "expected an integer"),
        ("a string", cost(result=lambda w, n: (str(w), n)), "expected an integer"),
        ("other names", other_names, "unexpected keyword argument"),
        ("no return", lambda *arguments, **options: None, "gave None"),
    ],
    "as_one_convolution": [
        ("spatial transposed", one("oq,pqij,pc->ocij"), "transposed|which order"),
        ("kernel transposed", one(kernel=lambda s: s.transpose(2, 3)), "swapped|kernel|shape"),
        ("flipped", one(kernel=lambda s: s.flip(2, 3)), "does not flip"),
        ("in and out swapped", one("oq,qpij,pc->coij"), "gave shape"),
        ("without the 3 x 3", lambda n, s, w: torch.einsum("om,mc->oc", w[:, :, 0, 0], n[:, :, 0, 0])[
            :, :, None, None].expand(-1, -1, *s.shape[2:]), "times two numbers"),
        ("without widening", lambda n, s, w: torch.einsum("mnij,nc->mcij", s, n[:, :, 0, 0]), "times two"),
        ("sums apart", one("oq,abij,pc->ocij"), "which order|same index"),
        ("the diagonal only", one("op,ppij,pc->ocij"), "not only its own|which order"),
        ("the mean", one(result=lambda w: w / w.shape[1]), "values are wrong"),
        ("kernel summed", one(result=lambda w: w.sum((2, 3), keepdim=True).expand_as(w)), "wrong"),
        ("a matrix", lambda n, s, w: w[:, :, 0, 0] @ n[:, :, 0, 0], "gave shape"),
        ("squeezed", one(result=lambda w: w.squeeze()), "gave shape"),
        ("as numpy", one(result=lambda w: w.detach().numpy()), "expected a tensor"),
        ("detached", one(result=lambda w: w.detach()), "no gradient reaches"),
        ("no_grad", without_gradients, "no gradient reaches"),
        ("half detached", lambda n, s, w: right_one(n, s, w.detach()), "no gradient reaches widen"),
        ("changes spatial", changes_its_argument, "changed spatial"),
        ("float32", one(result=lambda w: w.float().double()), "float32"),
        ("float32 buffer", into_a_float32_buffer, "right formula, wrong dtype"),
        ("with a ReLU", lambda n, s, w: right_one(n.relu(), s, w), "wrong"),
        ("NaN", one(result=lambda w: w * math.nan), "NaN"),
        ("matrix product of four axes", lambda n, s, w: w @ s @ n, "stopped with|gave shape|right shape"),
        ("no return", lambda n, s, w: None, "gave None"),
    ],
    "depthwise_separable": [
        ("no padding", pair(padding=lambda k: 0), "gave shape.*keeps its size"),
        ("padding of 1", pair(padding=lambda k: 1), "gave shape"),
        ("pads the 1 x 1", pair(pointwise_padding=1), "gave shape.*keeps its size"),
        ("padding of the 1 x 1 instead", pair(padding=lambda k: 0, pointwise_padding=1), "wrong|gave shape"),
        ("square padding", square_padding, "gave shape.*own padding"),
        ("no groups", lambda x, d, p: F.conv2d(F.conv2d(x, d, padding=1), p), "gave shape|stopped with"),
        ("one filter for all", pair(change=lambda d, p: (d[:1].expand_as(d), p)), "first filter"),
        ("a ReLU between", pair(between=torch.relu), "nonlinearity between"),
        ("a ReLU at the end", lambda x, d, p: pair()(x, d, p).relu(), "nonlinearity at the end"),
        ("flipped", pair(change=lambda d, p: (d.flip(2, 3), p)), "flipped"),
        ("rows and columns", pair(change=lambda d, p: (d.transpose(2, 3), p)), "times one number"),
        ("all outputs alike", pair(change=lambda d, p: (d, p[:1].expand_as(p))), "then mixed"),
        ("order of filters", pair(change=lambda d, p: (d.flip(0), p)), "own number"),
        ("pointwise transposed", pair(change=lambda d, p: (
            d, p.transpose(0, 1) if len(p) == len(d) else p)), "then mixed"),
        ("depthwise only", lambda x, d, p: F.conv2d(x, d, padding=1, groups=x.shape[1]), "pointwise|shape"),
        ("pointwise only", lambda x, d, p: F.conv2d(x, p), "depthwise layer is missing"),
        ("pointwise first", lambda x, d, p: pair()(F.conv2d(x, p), d, p) if len(p) == len(d) else
         pair()(x, d, p), "right shape"),
        ("first image only", lambda x, d, p: pair()(x[:1], d, p).expand(len(x), -1, -1, -1), "of the batch"),
        ("squeezed", lambda x, d, p: pair()(x, d, p).squeeze(0), "gave shape"),
        ("detached", lambda x, d, p: pair()(x, d, p).detach(), "no gradient reaches"),
        ("new weights", modules_with_new_weights, "requires a gradient"),
        ("in place", adds_in_place, "changed x"),
        ("float32", lambda x, d, p: pair()(x.float(), d.float(), p.float()).to(x.dtype), "float32"),
        ("NaN", lambda x, d, p: pair()(x, d, p) * math.nan, "NaN"),
        ("a list", lambda x, d, p: [1.0], "expected a tensor"),
        ("no return", lambda x, d, p: None, "gave None"),
    ],
}  # fmt: skip


TestAnswers = answer_tests("11", WRONG, RIGHT)


def test_sizes_vary_but_for_those_that_the_exercise_fixes():
    assert sizes_that_never_vary(CHECKS["as_one_convolution"]) == [
        "argument (0,), axis 2", "argument (0,), axis 3",  # the first 1 x 1
        "argument (2,), axis 2", "argument (2,), axis 3",  # the last 1 x 1
    ]  # fmt: skip
    assert sizes_that_never_vary(CHECKS["depthwise_separable"]) == [
        "argument (1,), axis 1",  # a depthwise filter sees one channel
        "argument (2,), axis 2", "argument (2,), axis 3",  # the 1 x 1
    ]  # fmt: skip


def test_costs_vary_in_every_argument():
    for place in range(8):
        values = {
            case.arguments[place] for case in CHECKS["conv_cost"].cases() if len(case.arguments) > place
        }
        assert len(values) >= (1 if place == 7 else 3), place  # bias is False where it is not given
    strided = [case.arguments for case in CHECKS["conv_cost"].cases() if len(case.arguments) == 5]
    assert len(strided) >= 3  # a stride without padding
