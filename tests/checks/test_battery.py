"""The battery accepts right answers in any style, and rejects each kind of slip with a sentence that fits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from lessons import checks
from lessons.checks.battery import Case, Exercise, by_properties, converted, expect_equal, same
from lessons.checks.tools import call
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


def counts_its_calls(x, h, w):
    counts_its_calls.calls = getattr(counts_its_calls, "calls", 0) + 1
    new, size = reference(x, h, w)
    return new * (1 if counts_its_calls.calls <= 3 else 2), size


def grows_a_list(x, h, w, seen=[]):  # noqa: B006
    seen.append(len(x))
    new, size = reference(x, h, w)
    return (new, size) if len(seen) <= 3 else (new + len(seen), size)


SEEN = []


def grows_a_list_outside(x, h, w):
    SEEN.append(1)
    new, size = reference(x, h, w)
    return new + len(SEEN) // 4, size


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (counts_its_calls, "counts_its_calls.calls"),
        (grows_a_list, "the default argument seen"),
        (grows_a_list_outside, "SEEN"),
    ],
)
def test_what_stays_from_call_to_call_is_named(wrong, what):
    with pytest.raises(
        AssertionError, match=f"right in one call, wrong in a later one.* to call: {what} changed. Begin"
    ):
        EXERCISE(wrong)


def test_a_state_that_spoils_the_second_case_is_told_from_a_wrong_formula():
    def once(x, h, w, calls=[]):  # noqa: B006
        calls.append(1)
        return torch.tanh(x @ w + h) * (1 if len(calls) == 1 else 2), h.shape[1]

    with pytest.raises(AssertionError, match="the default argument calls changed"):
        EXERCISE(once)


def test_one_memory_for_every_answer_is_named():
    buffers = {}

    def filled(x, h, w):
        new, size = reference(x, h, w)
        if new.requires_grad:
            return new, size
        return buffers.setdefault((new.shape, new.dtype), torch.zeros_like(new)).copy_(new), size

    with pytest.raises(AssertionError, match="a later call changes what an earlier one returned"):
        EXERCISE(filled)


def test_a_state_in_a_module_that_it_is_given_is_found():
    def steps(layer, x):
        layer.steps = getattr(layer, "steps", 0) + 1
        return layer(x) * layer.steps

    cases = [
        Case((nn.Linear(2, 2, dtype=torch.float64), torch.ones(n, 2, dtype=torch.float64))) for n in (1, 3)
    ]
    with pytest.raises(AssertionError, match="wrong in a later one"):
        Exercise(lambda layer, x: layer(x), lambda: cases)(steps)


def test_a_view_is_refused_where_a_new_tensor_is_asked_for():
    x = torch.arange(6, dtype=torch.float64).view(2, 3)
    transposed = Exercise(lambda x: x.T.clone(), lambda: [Case((x,))], new=True)
    transposed(lambda x: x.T.contiguous())
    with pytest.raises(AssertionError, match="returned x itself or a view of it: expected a new tensor"):
        transposed(lambda x: x.T)
    Exercise(lambda x: x.T, lambda: [Case((x,))])(lambda x: x.T)


def test_a_list_or_a_dict_of_the_arguments_is_never_the_answer():
    ordered = Exercise(sorted, lambda: [Case(([1, 2, 3],))])
    ordered(lambda iterable: list(iterable))
    with pytest.raises(AssertionError, match=r"returned iterable itself .* expected a new list"):
        ordered(lambda iterable: iterable)


def in_float64_inside(x, h, w):
    return torch.tanh(x.double() @ w.double() + h.double()), h.shape[1]


def unfinished(x, h, w):
    if len(x) == 1:
        return reference(x, h, w)
    raise NotImplementedError


def asks_for_gradients(x, h, w):
    return torch.tanh(x.requires_grad_() @ w + h), h.shape[1]


def calls_backward(x, h, w):
    new, size = reference(x, h, w)
    if new.requires_grad:
        new.sum().backward(retain_graph=True)
    return new, size


def changes_a_needed_tensor(x, h, w):
    new = torch.tanh(x @ w + h)
    result = new * 2
    return result - new.mul_(1), h.shape[1]


def writes_into_a_leaf(x, h, w):
    h = h.detach().requires_grad_() if not h.requires_grad else h
    h += 0 if not h.requires_grad else x @ w
    return torch.tanh(h), h.shape[1]


def asserts_itself(x, h, w):
    assert len(x) == 1, "one clip only"
    return reference(x, h, w)


def in_the_library(x, h, w):
    torch.testing.assert_close(x, x + 1)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (in_float64_inside, "wrong dtype: torch.float64, where the arguments are float32. Keep their dtype"),
        (lambda x, h, w: (reference(x, h, w)[0].to("meta"), h.shape[1]), "tensor of device meta"),
        (lambda x, h, w: (reference(x, h, w)[0].to_sparse(), h.shape[1]), "sparse"),
        (unfinished, r"for x \(4, 3\), .* it still raises NotImplementedError, while other cases are right"),
        (asks_for_gradients, "changed x, which belongs to its caller: it requires a gradient now"),
        (calls_backward, "called backward"),
        (changes_a_needed_tensor, "backward pass stops with .*changed in place after something"),
        (lambda x, h, w: (c for c in reference(x, h, w)), "gave <generator .* expected a list or tuple"),
    ],
)
def test_dtype_kind_and_what_is_left_behind(wrong, message):
    with pytest.raises(AssertionError, match=message):
        EXERCISE(wrong)


def test_torchs_settings_stay():
    def stops_recording(x, h, w):
        torch.set_grad_enabled(False)
        return reference(x, h, w)

    with pytest.raises(AssertionError, match="leaves torch's recording of gradients changed"):
        EXERCISE(stops_recording)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            lambda x, h, w: x @ h @ w,
            r"for x \(1, 2\), h \(1, 3\), w \(2, 3\) stopped with RuntimeError: .*The line is `.*x @ h @ w"
            ".*Two shapes do not fit",
        ),
        (lambda x, h, w: torch.zeros(2) @ w, "Two dtypes meet"),
        (writes_into_a_leaf, "changed in place"),
        (lambda x, h, w: [].append(x).append(h), "Something is None"),
        (lambda x, h, w: undefined + x, "Is the name spelled"),  # noqa: F821
        (lambda x, h, w: [x][1], "Which index"),
        (lambda x, h, w: {}["w"], "no such key"),
        (lambda x, h, w: 1 / 0, "What is 0 here"),
        (lambda x, h: x, "Keep the stub's arguments"),
        (lambda x, h, w: x if w else h, "asks for one truth value"),
        (lambda x, h, w: torch.zeros(len(x) / 2), r"`//` divides integers"),
        (lambda x, h, w: w.T.view(-1), "reshape does not"),
        (lambda x, h, w: x.shape(0), "a value and for a function"),
        (asserts_itself, "stopped with AssertionError: one clip only.* The line is `assert len"),
        (
            in_the_library,
            "stopped with AssertionError: Tensor-likes are not close.*The line is `torch.testing",
        ),
    ],
)
def test_an_exception_names_the_case_the_line_and_where_to_look(wrong, message):
    with pytest.raises(AssertionError, match=message):
        EXERCISE(wrong)


def test_a_check_by_properties_is_made_twice():
    def positive(function):
        for x in (1, 2):
            if not call(function, x) > 0:
                raise AssertionError(f"{x}: not positive")

    def half(x):
        if x == 1:
            return 1
        raise NotImplementedError

    def stub(x):
        raise NotImplementedError

    by_properties(positive)(lambda x: x)
    with pytest.raises(AssertionError, match=r"right at first.*the default argument calls changed"):
        by_properties(positive)(lambda x, calls=[]: (calls.append(x), 2.5 - len(calls))[1])
    with pytest.raises(AssertionError, match="NotImplementedError for some arguments"):
        by_properties(positive)(half)
    with pytest.raises(NotImplementedError):
        by_properties(positive)(stub)


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
    with pytest.raises(AssertionError, match=r"is 0 at \(0,\), expected NaN"):
        expect_equal(right.nan_to_num(), right, "f")
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


def test_what_no_longer_requires_a_gradient_is_named():
    def freezes(layer, x):
        for parameter in layer.parameters():
            parameter.requires_grad_(False)
        return layer(x)

    layer = nn.Linear(2, 2, dtype=torch.float64)
    exercise = Exercise(
        lambda layer, x: layer(x), lambda: [Case((layer, torch.ones(1, 2, dtype=torch.float64)))]
    )
    with pytest.raises(AssertionError, match=r"changed layer.*no longer requires a gradient"):
        exercise(freezes)
    with pytest.raises(AssertionError, match=r"changed x.*no longer requires a gradient.*detach_"):
        exercise(lambda layer, x: layer(x.detach_()))


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
