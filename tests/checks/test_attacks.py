"""Every exercise of notebooks 00 to 10, 16 and 17 under the same attacks: its solution, spoilt in one way.

What a solution computes does not matter here: whether it keeps something from call to call, in which dtype,
kind and memory it answers, and what it leaves behind.
"""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lessons.checks import find
from lessons.checks.battery import converted, tensors
from tests.checks.exercises import from_notebook
from tests.checks.test_solutions import EXERCISES

THESE = [name for name in EXERCISES if name < "11" or name >= "16"]
FLOATS = {  # exercises whose answer holds floating tensors of the dtype of their arguments
    "01.change_layout", "01.to_batch", "01.standardize", "02.conv3d_forward", "02.conv3d_backward",
    "03.gru_step", "03.gru_step_backward", "03.reverse_padded", "04.forward", "04.backward",
    "04.loss_and_gradient", "06.forward", "06.rename_keys", "09.train_step", "09.mended_loss",
    "10.relight", "10.correlation_loss",
}  # fmt: skip
LISTS = {
    "01.strides_of", "04.shortest_path", "07.parse_align", "07.usable_words", "08.homopheme_groups",
    "09.align_words",
}  # fmt: skip


@cache
def solution(name: str):
    number, _, exercise = name.partition(".")
    return from_notebook(number, f"{exercise}_solution")


def spoilt(found):
    """Another answer of the same kind, which is wrong."""
    if isinstance(found, bool | str):
        return found + "x" if isinstance(found, str) else not found
    if isinstance(found, Tensor) and found.dtype != torch.bool:
        return found + 1
    if isinstance(found, int | float | np.ndarray | np.generic):
        return found + 1
    if isinstance(found, dict):
        return {key: spoilt(value) for key, value in found.items()} or {"x": 1}
    if isinstance(found, list | tuple):
        return type(found)(spoilt(x) for x in found) if found else [1, 2, 3]
    return found


def each(found, change):
    """The change made to every tensor in it."""
    if isinstance(found, Tensor):
        return change(found)
    if isinstance(found, dict):
        return {key: each(value, change) for key, value in found.items()}
    return type(found)(each(x, change) for x in found) if isinstance(found, list | tuple) else found


def key_of(arguments) -> str:
    def values(x):
        if isinstance(x, nn.Module):
            return [list(map(float, p.flatten()[:3])) for p in x.parameters()]
        return x.tolist() if isinstance(x, Tensor | np.ndarray) else x

    found = [values(a) for a in arguments]
    return repr(found) + str([t.dtype for _, t in tensors(arguments)])


# ---- state -------------------------------------------------------------------------------------------------


def wrong_from_call(n: int):
    def attack(right):
        calls = itertools.count()
        return lambda *a: right(*a) if next(calls) < n else spoilt(right(*a))

    return attack


def every_other_call_wrong(right):
    calls = itertools.count()
    return lambda *a: spoilt(right(*a)) if next(calls) % 2 else right(*a)


def the_first_answer_for_ever(right):
    def first(*a, kept=[]):  # noqa: B006
        if not kept:
            kept.append(right(*a))
        return kept[0]

    return first


def the_answer_before(right):
    def before(*a, kept=[]):  # noqa: B006
        kept.append(right(*a))
        return kept[max(0, len(kept) - 2)]

    return before


def wrong_when_seen(right):
    def remembers(*a, seen=set()):  # noqa: B006
        key = key_of(a)
        found = spoilt(right(*a)) if key in seen else right(*a)
        seen.add(key)
        return found

    return remembers


def cached_by_shape(right):
    def cached(*a, answers={}):  # noqa: B006
        key = str([tuple(t.shape) for _, t in tensors(a)]) + str([t.dtype for _, t in tensors(a)])
        if key not in answers:
            answers[key] = converted(right(*a))
        return answers[key]

    return cached


def one_buffer(right):
    buffers = {}

    def into(found):
        buffer = buffers.setdefault((found.shape, found.dtype), torch.zeros_like(found))
        return buffer.copy_(found) if not found.requires_grad else found

    return lambda *a: each(right(*a), into)


CANNOT_SHARE = {
    "03.gru_step_backward",  # its check copies the result
    "04.loss_and_gradient",  # two results of one shape: one buffer makes both wrong
}

STATE = {f.__name__: f for f in (every_other_call_wrong, the_first_answer_for_ever, the_answer_before)}
STATE |= {f"wrong from call {n}": wrong_from_call(n) for n in (1, 2, 3)}


@pytest.mark.parametrize("name", THESE)
@pytest.mark.parametrize("attack", STATE)
def test_what_stays_from_call_to_call_is_found(attack, name):
    with pytest.raises(AssertionError):
        find(name)(STATE[attack](solution(name)))


@pytest.mark.parametrize(
    "name",
    sorted({*THESE} - {"06.forward", "09.train_step", "09.align_words", "10.relight", "16.fair_seconds"}),
)
def test_a_second_call_with_the_same_arguments_is_looked_at(name):
    with pytest.raises(
        AssertionError, match=r"Something stays from call to call.*default argument seen changed"
    ):
        find(name)(wrong_when_seen(solution(name)))


@pytest.mark.parametrize("name", sorted(FLOATS))
def test_answers_kept_by_shape_are_found(name):
    with pytest.raises(AssertionError):
        find(name)(cached_by_shape(solution(name)))


@pytest.mark.parametrize(
    "name", sorted(name for name in FLOATS if name[:2] < "06" and name not in CANNOT_SHARE)
)
def test_one_memory_for_all_answers_is_found(name):
    with pytest.raises(AssertionError, match="later call changes what an earlier one returned"):
        find(name)(one_buffer(solution(name)))


# ---- dtype, kind, device -----------------------------------------------------------------------------------

KINDS = {
    "float32": lambda t: t.float() if t.is_floating_point() else t,
    "float64": lambda t: t.double() if t.is_floating_point() else t,
    "bfloat16": lambda t: t.bfloat16() if t.is_floating_point() else t,
    "numpy": lambda t: t.detach().numpy(),
    "a list": lambda t: t.tolist(),
    "another device": lambda t: t.to("meta"),
    "sparse": lambda t: t.to_sparse(),
    "one axis more": lambda t: t[None],
    "complex": lambda t: t.to(torch.complex128),
}


@pytest.mark.parametrize("name", sorted(FLOATS))
@pytest.mark.parametrize("kind", KINDS)
def test_another_kind_of_tensor_is_refused(kind, name):
    if name == "09.train_step" and kind in ("float32", "one axis more"):
        pytest.skip("the norm and the loss may be 0-d tensors of any kind")
    if name == "10.relight" and kind == "float32":
        pytest.skip("its clips are float32")
    with pytest.raises(AssertionError):
        find(name)(lambda *a: each(solution(name)(*a), KINDS[kind]))


@pytest.mark.parametrize("name", sorted(LISTS))
@pytest.mark.parametrize(
    "kind", [iter, lambda x: (y for y in x), str, set, lambda x: dict(enumerate(x)), len]
)
def test_what_is_no_list_is_refused(kind, name):
    if kind is set and name == "08.homopheme_groups":
        kind = str
    with pytest.raises(AssertionError):
        find(name)(lambda *a: kind(solution(name)(*a)))


@pytest.mark.parametrize(
    "name", sorted(name for name in FLOATS if name[:2] < "06" and name != "03.gru_step_backward")
)
def test_a_result_that_requires_a_gradient_by_itself_is_refused(name):
    with pytest.raises(AssertionError, match="requires a gradient"):
        find(name)(
            lambda *a: each(
                solution(name)(*a),
                lambda t: (
                    t * torch.ones((), dtype=t.dtype, requires_grad=True) if t.is_floating_point() else t
                ),
            )
        )


# ---- what is left behind, what is harmless -----------------------------------------------------------------


@pytest.mark.parametrize("name", THESE)
def test_torchs_settings_stay(name):
    def sets(*a):
        torch.set_default_dtype(torch.float64)
        return solution(name)(*a)

    with pytest.raises(AssertionError, match="leaves torch's default dtype changed"):
        find(name)(sets)
    assert torch.get_default_dtype() == torch.float32


@pytest.mark.parametrize("name", THESE)
def test_a_branch_that_is_not_written_is_named(name):
    calls = itertools.count()

    def unfinished(*a):
        if next(calls) == 1:
            raise NotImplementedError
        return solution(name)(*a)

    with pytest.raises(AssertionError, match="NotImplementedError"):
        find(name)(unfinished)


@pytest.mark.parametrize("name", THESE)
def test_a_function_may_print_count_and_keep_what_does_not_matter(name, capsys):
    def talks(*a, calls=[]):  # noqa: B006
        calls.append(len(a))
        print(len(calls))
        return solution(name)(*a)

    find(name)(talks)
