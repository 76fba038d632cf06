"""What learners write by mistake in the exercises of notebook 02 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lessons.checks import agree, check, find
from lessons.checks.stcnn import CHECKS
from tests.checks.exercises import each_wrong_answer


def each_axis(rule):
    return lambda size, kernel, stride, padding: tuple(map(rule, size, kernel, stride, padding))


right_shape = each_axis(lambda n, k, s, p: (n + 2 * p - k) // s + 1)


def weight(fill):
    """A right_detector made by ``fill(kernel, t)`` on each frame's 3 x 3 weights."""

    def function():
        w = torch.zeros(1, 1, 3, 3, 3)
        for t in range(3):
            fill(w[0, 0, t], t)
        return w

    return function


def column(kernel, place):
    kernel[:] = -0.5
    kernel[:, place] = 1.0


def row(kernel, place):
    kernel[:] = -0.5
    kernel[place] = 1.0


def gradient(change_x=lambda x: x, change_grad=lambda g: g, change_result=lambda r: r):
    """The true weight gradient, with a slip in what goes in or comes out."""

    def function(x, grad_output):
        kernel = [a - b + 1 for a, b in zip(x.shape[2:], grad_output.shape[2:], strict=True)]
        w = torch.zeros(grad_output.shape[1], x.shape[1], *kernel, dtype=x.dtype, requires_grad=True)
        y = F.conv3d(change_x(x), w)
        return change_result(torch.autograd.grad(y, w, change_grad(grad_output))[0])

    return function


def center_only(kernel, t):
    if t == 1:
        column(kernel, 1)


WRONG = {
    "output_shape": [
        ("forgets the plus one", each_axis(lambda n, k, s, p: (n + 2 * p - k) // s), "how many places"),
        ("off by one more", each_axis(lambda n, k, s, p: (n + 2 * p - k) // s + 2), "how many places"),
        ("pads one end", each_axis(lambda n, k, s, p: (n + p - k) // s + 1), "both ends"),
        ("ignores the stride", each_axis(lambda n, k, s, p: n + 2 * p - k + 1), "after the first"),
        ("one too early", each_axis(lambda n, k, s, p: (n + 2 * p - k + 1) // s), "after the first"),
        ("rounds up", each_axis(lambda n, k, s, p: -((k - n - 2 * p) // s) + 1), "round down"),
        ("floats", each_axis(lambda n, k, s, p: (n + 2 * p - k) / s + 1), "whole numbers"),
        ("one kernel size for all", lambda n, k, s, p: right_shape(n, k[:1] * 3, s, p), "own kernel size"),
        ("height and width swapped", lambda n, *a: right_shape((n[0], n[2], n[1]), *a), "own kernel size"),
        ("assumes padding keeps the size", each_axis(lambda n, k, s, p: -(-n // s)), "how many places"),
        ("one number", lambda n, k, s, p: n[0] - k[0] + 1, "three numbers"),
        ("no return", lambda n, k, s, p: None, "gave None"),
        ("crashes", lambda n, k, s, p: n - k, "stopped with TypeError"),
    ],
    "receptive_field": [
        ("sum of kernels", lambda layers: sum(k for k, _ in layers), "overlap"),
        ("product of kernels", lambda layers: torch.tensor([k for k, _ in layers]).prod().item(), "overlap"),
        ("last kernel", lambda layers: layers[-1][0], "overlap"),
        ("ignores strides", lambda layers: 1 + sum(k - 1 for k, _ in layers), "lie `stride` inputs apart"),
        ("own stride too", lambda layers: _field(layers, own=True), "spreads the layers after it"),
        ("strides added", lambda layers: _field(layers, added=True), "Strides multiply"),
        ("starts at 0", lambda layers: _field(layers) - 1, "as many inputs as its kernel"),
        ("float", lambda layers: float(_field(layers)), "whole number"),
        ("skips kernels of 1", lambda layers: _field([x for x in layers if x[0] > 1]), "kernel of 1"),
        ("skips pools", lambda layers: _field([x for x in layers if x[0] != 2]), "pooling layer counts"),
    ],
    "weight_gradient": [
        ("the input gradient's flip", gradient(change_result=lambda r: r.flip(2, 3, 4)), "which inputs"),
        ("mean over the batch", gradient(lambda x: x / len(x)), "sum over b"),
        ("first clip only", gradient(lambda x: torch.cat([x[:1], 0 * x[1:]])), "sum over b"),
        ("all filters alike", gradient(change_grad=lambda g: g[:, :1].expand_as(g)), "own grad_output"),
        ("all channels alike", gradient(lambda x: x[:, :1].expand_as(x)), "one input channel"),
        ("grad_output ignored", gradient(change_grad=torch.ones_like), "which inputs"),
        ("axes o and c swapped", gradient(change_result=lambda r: r.transpose(0, 1)), "look like the weight"),
        ("time and height swapped", gradient(change_result=lambda r: r.transpose(2, 3)), "like the weight"),
        ("mean over places", gradient(change_grad=lambda g: g / g[0, 0].numel()), "which inputs"),
        ("NaN", gradient(change_result=lambda r: r / 0 * 0), "NaN"),
        ("no return", lambda x, g: None, "gave None"),
    ],
    "right_detector": [
        ("flipped as in mathematics", weight(lambda k, t: column(k, 2 - t)), "to the left"),
        ("stands still", weight(lambda k, t: column(k, 1)), "stands still"),
        ("moves down", weight(lambda k, t: row(k, t)), "downwards|to the left"),
        ("all ones", weight(lambda k, t: k.fill_(1.0)), "stands still"),
        ("all zeros", weight(lambda k, t: None), "all zeros"),
        ("one frame only", weight(center_only), "stands still"),
        ("change in time only", weight(lambda k, t: k.fill_(t - 1.0)), "to the left"),
        ("without batch axes", lambda: torch.zeros(3, 3, 3), "out, in, time"),
        ("a list", lambda: [[0.0] * 3] * 3, "expected a tensor"),
    ],
}  # fmt: skip


def _field(layers, own=False, added=False):
    field, spread = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * (spread * stride if own else spread)
        spread = spread + stride - 1 if added else spread * stride
    return field


@each_wrong_answer(WRONG)
def test_a_wrong_answer_is_told_where_to_look(exercise, wrong, message):
    with pytest.raises(AssertionError, match=message):
        check(f"02.{exercise}", wrong)


def test_every_exercise_is_tried_with_at_least_five_wrong_answers():
    assert WRONG.keys() == CHECKS.keys()
    assert all(len(answers) >= 5 for answers in WRONG.values())


@pytest.mark.parametrize("name", ["99.output_shape", "02.nothing", "output_shape"])
def test_an_unknown_check_is_an_error(name):
    with pytest.raises(ValueError, match="expected"):
        find(name)


def test_agree_prints_once_it_has_looked(capsys):
    agree("same", torch.ones(2, 3), torch.ones(2, 3) + 1e-12)
    assert capsys.readouterr().out.startswith("same: equal, shape (2, 3)")


@pytest.mark.parametrize(
    ("ours", "message"),
    [
        (torch.ones(3, 2), "expected \\(2, 3\\)"),
        (torch.ones(2, 3) + 1e-3, "100% of its values are wrong"),
        (torch.full((2, 3), float("nan")), "NaN"),
    ],
)
def test_agree_refuses_what_differs(ours, message):
    with pytest.raises(AssertionError, match=message):
        agree("name", ours, torch.ones(2, 3))
