"""The tools of the checks: which types of a right answer are accepted, and what a wrong one is told."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lessons.checks.tools import expect_integer, expect_number, expect_pair


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_integers_of_python_and_numpy_are_accepted(value):
    found = expect_integer(value, "f")
    assert found == 3 and type(found) is int


@pytest.mark.parametrize("value", [torch.tensor(3), torch.tensor([3])])
def test_a_tensor_is_an_integer_only_where_it_is_allowed(value):
    assert type(expect_integer(value, "f", tensor=True)) is int
    with pytest.raises(AssertionError, match=r"^f gave a tensor of shape .* \(Tensor\), expected an integer"):
        expect_integer(value, "f")


@pytest.mark.parametrize(
    "value",
    [3.0, True, np.bool_(True), np.float64(3), math.nan, "3", torch.tensor(3.0), torch.tensor(True),
     torch.tensor([3, 3]), [3]],
)  # fmt: skip
def test_no_integer(value):
    with pytest.raises(AssertionError, match=r"^f gave .*, expected an integer\. Look here\.$"):
        expect_integer(value, "f", "Look here.", tensor=True)


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int64(2), torch.tensor(2), torch.tensor([2.0])])
def test_numbers_of_python_numpy_and_torch_are_accepted(value):
    found = expect_number(value, "f")
    assert found == 2 and type(found) is float


@pytest.mark.parametrize("value", [True, np.bool_(True), torch.tensor(True), "2", [2], 2j, torch.ones(2)])
def test_no_number(value):
    with pytest.raises(AssertionError, match=r"^f gave .*, expected a number\.$"):
        expect_number(value, "f", "Look here.")


@pytest.mark.parametrize("value", [math.nan, -math.inf, np.float32("nan"), torch.tensor(math.inf)])
def test_no_finite_number(value):
    with pytest.raises(AssertionError, match=r"^f gave .*, expected a finite number\. Look here\.$"):
        expect_number(value, "f", "Look here.")


def test_a_pair_is_a_tuple_or_a_list_of_two():
    assert expect_pair((1, 2), "f", "(h, c)") == expect_pair([1, 2], "f", "(h, c)") == (1, 2)
    with pytest.raises(AssertionError, match=r"^f gave a tuple of 3, expected \(h, c\)$"):
        expect_pair((1, 2, 3), "f", "(h, c)")
    with pytest.raises(AssertionError, match=r"^f gave a Tensor, expected \(h, c\)$"):
        expect_pair(torch.ones(2), "f", "(h, c)")
