"""The battery accepts right answers in any style, and rejects each kind of slip with a sentence that fits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from lessons import checks
from lessons.checks.battery import Case, Exercise, converted, expect_equal, same
from tests.checks.exercises import sizes_that_never_vary


def reference(x, h, w):
    """x (B, D), h (B, H), w (D, H) -> the next state (B, H) and its size."""
    new = torch.tanh(x @ w + h)
    return new, h.shape[1]


def cases():
    generator = torch.Generator().manual_seed(0)
    for batch, inputs, units in ((1, 2, 3), (4, 3, 1), (2, 1, 2)):
        shapes = (batch, inputs), (batch, units), (inputs, units)
        drawn = (torch.randn(*s, generator=generator, dtype=torch.float64) for s in shapes)
        yield Case(tuple(drawn), "Look at the sum.")


EXERCISE = Exercise(reference, cases, parts=("the state", "its size"))


def adds_in_place(x, h, w):
    h += x @ w
    return torch.tanh(h), h.shape[1]


def adds_behind_autograd(x, h, w):
    result = torch.tanh(x @ w + h)
    h.data.add_(1)
    return result, h.shape[1]


def without_gradients(x, h, w):
    with torch.no_grad():
        return reference(x, h, w)


def in_single_precision(x, h, w):
    return torch.tanh(x.float() @ w.float() + h), h.shape[1]


def through_a_float32_buffer(x, h, w):
    new = torch.zeros(len(x), h.shape[1])
    for b in range(len(x)):
        new[b] = torch.tanh(x[b] @ w + h[b])
    return new, h.shape[1]


@pytest.mark.parametrize(
    "right",
    [
        reference,
        lambda x, h, w: [torch.tanh(torch.einsum("bd,dh->bh", x, w) + h), np.int64(h.shape[1])],
        lambda x, h, w: (2 * torch.sigmoid(2 * (x @ w + h)) - 1, torch.tensor(h.shape[1])),
        lambda x, h, w: (torch.stack([torch.tanh(a @ w + b) for a, b in zip(x, h, strict=True)]), h.shape[1]),
    ],
)
def test_right_in_any_style(right):
    EXERCISE(right)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (adds_in_place, "changed h, which belongs to its caller"),
        (adds_behind_autograd, "changed h"),
        (without_gradients, "no gradient reaches x"),
        (lambda x, h, w: (torch.tanh(x @ w + h.detach()), h.shape[1]), "no gradient reaches h"),
        (
            lambda x, h, w: (torch.tanh(x @ w + (h + h.detach()) / 2), h.shape[1]),
            "the gradient at h is off by",
        ),
        (in_single_precision, "right formula, wrong dtype"),
        (through_a_float32_buffer, "right formula, wrong dtype"),
        (
            lambda x, h, w: (torch.tanh(x @ w + h).squeeze(), h.shape[1]),
            r"gave shape \(3,\), expected \(1, 3\)",
        ),
        (lambda x, h, w: (torch.tanh(x @ w - h), h.shape[1]), "values are wrong.* Look at the sum"),
        (lambda x, h, w: (torch.tanh(x @ w + h), float(h.shape[1])), "its size gave .* expected an integer"),
        (lambda x, h, w: (torch.tanh(x @ w + h), True), "its size gave True .* expected an integer"),
        (
            lambda x, h, w: torch.tanh(x @ w + h),
            r"expected a list or tuple of length 2 \(the state, its size\)",
        ),
        (lambda x, h, w: (torch.tanh(x @ w + h).tolist(), h.shape[1]), "expected a tensor"),
        (lambda x, h, w: (torch.tanh(x @ w + h) * math.nan, h.shape[1]), "holds NaN"),
        (lambda x, h, w: (torch.tanh(x @ w + h) / 0, h.shape[1]), "expected a finite number"),
        (lambda x, h, w: None, "gave None"),
        (lambda x, h, w: x @ h @ w, "stopped with RuntimeError"),
    ],
)
def test_each_kind_of_slip_is_named(wrong, message):
    with pytest.raises(AssertionError, match=message):
        EXERCISE(wrong)


def test_an_unsolved_stub_is_not_an_error_of_the_check():
    def stub(x, h, w):
        raise NotImplementedError

    with pytest.raises(NotImplementedError):
        EXERCISE(stub)


def test_infinity_is_a_value_like_others():
    exercise = Exercise(lambda x: x.log(), lambda: [Case((torch.tensor([0.0, 1.0], dtype=torch.float64),))])
    exercise(lambda x: torch.where(x > 0, x.log(), -math.inf))
    with pytest.raises(AssertionError, match=r"is -69\.08 at \(0,\), expected -inf"):
        exercise(lambda x: (x + 1e-30).log())


def test_nothing_but_infinity_is_infinity():
    expect_equal(math.inf, math.inf, "f")
    with pytest.raises(AssertionError, match="which is wrong"):
        expect_equal(10.0**9, math.inf, "f")


def test_one_nan_does_not_excuse_another():
    right = torch.tensor([math.nan, 1.0], dtype=torch.float64)
    expect_equal(right.clone(), right, "f")
    with pytest.raises(AssertionError, match=r"NaN at \(1,\)"):
        expect_equal(torch.full_like(right, math.nan), right, "f")


def test_lists_of_numbers_may_be_arrays_and_integers_of_any_kind():
    for found in ([1, 2], (1, 2), np.array([1, 2]), torch.tensor([1, 2]), [np.int32(1), torch.tensor(2)]):
        expect_equal(found, [1, 2], "f")
    for found in ([1.0, 2.0], torch.tensor([1.0, 2.0]), [1, 2, 3], 1, [True, 2]):
        with pytest.raises(AssertionError):
            expect_equal(found, [1, 2], "f")
    expect_equal(torch.tensor([True]), [True], "f")
    with pytest.raises(AssertionError, match="expected True or False"):
        expect_equal([1], [True], "f")


def test_an_array_may_be_a_list_or_a_tensor():
    right = np.array([[1.0, 2.0], [3.0, 4.0]])
    for found in (right, right.tolist(), torch.from_numpy(right), [right[0], right[1]]):
        expect_equal(found, right, "f")
    for found in (right.T, right[:1], right + 1, {"a": 1}, [[1.0], [2.0, 3.0]], "text"):
        with pytest.raises(AssertionError, match="f"):
            expect_equal(found, right, "f")


def test_dicts_are_compared_key_by_key():
    one, two = torch.ones(2, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    exercise = Exercise(lambda a, b: {"a": a, "b": b}, lambda: [Case((one, two), "Look at the names.")])
    exercise(lambda a, b: {"b": b.clone(), "a": a})
    for wrong, message in (
        (lambda a, b: [a, b], "expected a dict"),
        (lambda a, b: {"a": a, "c": b}, "has the key 'c', which is not expected. Look at the names"),
        (lambda a, b: {"a": a}, "has no key 'b'. Look at the names"),
        (lambda a, b: {"a": a + 1, "b": b}, "'a' has the right shape, but 100% of its values are wrong"),
    ):
        with pytest.raises(AssertionError, match=message):
            exercise(wrong)


def test_the_mode_of_a_module_belongs_to_its_caller():
    layer = nn.Linear(2, 2, dtype=torch.float64)
    exercise = Exercise(
        lambda layer, x: layer(x), lambda: [Case((layer, torch.ones(1, 2, dtype=torch.float64)))]
    )
    exercise(lambda layer, x: x @ layer.weight.T + layer.bias)
    with pytest.raises(AssertionError, match=r"changed layer.*its mode"):
        exercise(lambda layer, x: layer.eval()(x))


def test_modules_are_copied_and_their_weights_compared():
    layer = nn.Linear(2, 2)
    twin = converted(layer)
    assert same(layer, twin)
    with torch.no_grad():
        twin.weight.add_(1)
    assert not same(layer, twin)


def test_known_mistakes_are_named():
    def diagnose(found, expected, case):
        return "The other way round." if torch.equal(found, -expected) else None

    one = torch.ones(2, dtype=torch.float64)
    exercise = Exercise(lambda a, b: a - 2 * b, lambda: [Case((one, one))], diagnose=diagnose)
    with pytest.raises(AssertionError, match="The other way round"):
        exercise(lambda a, b: 2 * b - a)


def test_sizes_that_never_vary_are_found():
    assert sizes_that_never_vary(EXERCISE) == []
    always_two = Exercise(lambda x: x, lambda: [Case((torch.zeros(2, n),)) for n in (1, 2)])
    assert sizes_that_never_vary(always_two) == ["argument (0,), axis 0"]


def test_the_notebook_goes_on_with_your_function_once_it_is_right(monkeypatch, capsys):
    monkeypatch.setattr(checks, "find", lambda name: EXERCISE)

    def stub(x, h, w):
        raise NotImplementedError

    def right(x, h, w):
        return reference(x, h, w)

    assert checks.use("99.step", stub, reference) is reference
    assert "not solved yet; the notebook goes on with the solution" in capsys.readouterr().out
    assert checks.use("99.step", right, reference) is right
    assert "the notebook goes on with your function" in capsys.readouterr().out
    assert checks.use("99.step", adds_in_place, reference) is reference
    assert "your function fails its check" in capsys.readouterr().out
    assert checks.use("99.step", reference, reference) is reference
    assert capsys.readouterr().out == "99.step: the notebook goes on with the solution\n"
