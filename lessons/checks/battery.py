"""One battery behind the exercises' checks: what every right answer has in common, whatever it computes.

An exercise names a reference (the package's function or torch's) and the cases on which a learner's function
must agree with it. The battery looks, in this order, at:

1. each case: errors and a missing ``return``; arguments that were changed; the kind, the shape, the dtype and
   the values of what came back;
2. each case again, from the last to the first: what stays from call to call must not matter;
3. each case's gradient with respect to every floating argument;
4. each case in float32.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial, wraps
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lessons.checks.errors import explain
from lessons.checks.tools import call

ROUNDING = 1e-5  # an error of this size, relative to the largest value, is float32's


@dataclass(frozen=True)
class Case:
    """Arguments of one call, and where to look when it goes wrong."""

    arguments: tuple
    hint: str = ""


@dataclass(frozen=True)
class Call:
    """A call that was right: what came back, a copy of it, and what was expected."""

    case: Case
    given: tuple
    found: Any
    copy: Any
    expected: Any


@dataclass(frozen=True)
class Exercise:
    """A check: call it with a learner's function, and it raises AssertionError if that is wrong.

    Attributes:
        reference: gives what is right; named and documented as the exercise's function is.
        cases: give fresh cases; tensors in float64. Sizes should vary in each dimension, 1 among them.
        gradients: whether the gradients are compared, too.
        tolerance: the largest error, relative to the largest value of 1 or more.
        float32: the same in float32, or None if the exercise is not to be run so.
        diagnose: (found, expected, case) -> the sentence for a known mistake, or None. It is asked when the
            values differ.
        parts: what a result of several values is called, part by part, such as ("alpha", "loss").
        compare: (found, expected, case) -> None or an AssertionError, where equality is the exercise's own
            affair, such as dictionaries in which a missing entry is 0; instead of all that looks at values.
        new: whether the result may share nothing that can be changed with the arguments.
        dtype: of the floating arguments in 1 and 2, or None where the cases give theirs, such as float16;
            the dtype of the result is then for ``compare``.
    """

    reference: Callable
    cases: Callable[[], Iterable[Case]]
    gradients: bool = True
    tolerance: float = 1e-9
    float32: float | None = 1e-4
    diagnose: Callable[[Any, Any, Case], str | None] | None = None
    parts: tuple[str, ...] = ()
    compare: Callable[[Any, Any, Case], None] | None = None
    new: bool = False
    dtype: torch.dtype | None = torch.float64

    def __call__(self, function: Callable) -> None:
        calls: list[Call] = []
        cases, case = self.cases(), None
        before = kept(function)
        try:
            for case in cases:
                try:
                    calls.append(self._first_call(function, case))
                except AssertionError:
                    for call in calls[:1]:  # did it get worse?
                        self._call_again(function, call, before)
                    raise
            for call in reversed(calls):
                case = call.case
                self._call_again(function, call, before)
            floating = [call for call in calls if any(t.is_floating_point() for _, t in tensors(call.given))]
            for call in floating if self.gradients else ():
                case = call.case
                self._compare_gradients(function, case)
            for call in floating if self.float32 is not None else ():
                case = call.case
                self._compare_values(function, case, call.expected, torch.float32, self.float32)
        except NotImplementedError as error:
            if not calls or case is None:
                raise  # the stub
            raise AssertionError(
                f"{self._called(function, case)}: here it still raises NotImplementedError, while other "
                "cases are right. Which branch is not written yet?"
            ) from error

    def expect_form(self, found: Any, expected: Any, name: str, case: Case) -> None:
        """Raise AssertionError where a form of answer has a message of its own; values are compared later."""

    def _first_call(self, function: Callable, case: Case) -> Call:
        expected = self.reference(*converted(case.arguments, self.dtype))
        given, found = self._compare_values(function, case, expected, self.dtype, self.tolerance)
        for i, argument in enumerate(given):
            itself, its = found is argument and isinstance(found, list | dict), self._name(i)
            if itself or (self.new and _memory(found) & _memory(argument)):
                raise AssertionError(
                    f"{self._called(function, case)} returned {its} itself or a view of it: expected a new "
                    f"{_kind(found)}, so that changing the result does not change {its}."
                )
        return Call(case, given, found, converted(found), expected)

    def _call_again(self, function: Callable, call: Call, before: dict[str, Any]) -> None:
        """With the same arguments, later: as right as the first time, and nothing to do with its result."""
        name = self._called(function, call.case)
        try:
            _, found = self._compare_values(
                function, call.case, call.expected, self.dtype, self.tolerance, call.given
            )
        except AssertionError as error:
            raise AssertionError(
                f"{name}: right in one call, wrong in a later one with the same arguments. "
                f"{what_stays(function, before)} The later call: {error}"
            ) from error
        same_memory = _memory(call.found) & _memory(found) - _memory(call.given)
        if same_memory or not same(call.found, call.copy):
            raise AssertionError(
                f"{name}: a later call changes what an earlier one returned, since both return the same "
                f"{_kind(found)}. Make a new one in each call."
            )

    def _compare_values(
        self,
        function: Callable,
        case: Case,
        expected: Any,
        dtype: torch.dtype | None,
        tolerance: float,
        given: tuple | None = None,
    ) -> tuple[tuple, Any]:
        """What the function was given and what it gave, once that is right."""
        given = converted(case.arguments, dtype) if given is None else given
        name = self._called(function, case)
        found = call(function, *given, name=name)
        self._expect_unchanged(converted(case.arguments, dtype), given, function)
        self._expect_no_gradient_asked(found, given, function)
        self.expect_form(found, expected, function.__name__, case)
        if self.compare is not None:
            self.compare(found, expected, case)
            return given, found
        known = None if self.diagnose is None else partial(self.diagnose, found, expected, case)
        expect_equal(
            found,
            expected,
            name,
            case.hint,
            tolerance,
            dtype=dtype,
            parts=self.parts,
            diagnose=known,
        )
        return given, found

    def _compare_gradients(self, function: Callable, case: Case) -> None:
        theirs, ours = (converted(case.arguments, torch.float64) for _ in range(2))
        leaves = [(path, tensor) for path, tensor in tensors(ours) if tensor.is_floating_point()]
        for _, tensor in (*leaves, *tensors(theirs)):
            tensor.requires_grad_(tensor.is_floating_point())
        expected = _gradients(self.reference(*theirs), theirs)
        name = self._called(function, case)
        result = call(function, *ours, name=f"{name}, with gradients asked for,")
        for path, tensor in leaves:
            if not tensor.requires_grad:
                raise AssertionError(
                    f"{function.__name__} changed {self._name(path[0])}, which belongs to its caller: it no "
                    "longer requires a gradient. Is there a detach_() or a requires_grad_(False)?"
                )
        try:
            found = _gradients(result, ours)
        except RuntimeError as error:
            raise AssertionError(
                f"{name}: the values are right, but the backward pass stops with {explain(error)}"
            ) from error
        self._expect_unchanged(converted(case.arguments, torch.float64), ours, function)
        cut = []  # the arguments that no gradient reaches
        for (path, tensor), gradient, right in zip(leaves, found, expected, strict=True):
            argument = self._name(path[0])
            if tensor.grad is not None:
                raise AssertionError(
                    f"{function.__name__} called backward() and so changed the .grad of {argument}, which "
                    "belongs to its caller."
                )
            known = right.isfinite().all() and (right.abs() > 1e-15).any()  # below, a right one may be 0
            if known and gradient.count_nonzero() == 0 and argument not in cut:
                cut.append(argument)
        if cut:
            raise AssertionError(
                f"{name}: the values are right, but no gradient reaches {_listed(cut)}. Does a detach(), "
                ".data, .item(), no_grad() or a new tensor made of numbers cut it off?"
            )
        for (path, _), gradient, right in zip(leaves, found, expected, strict=True):
            if not right.numel() or not right.isfinite().all():
                continue
            error = (gradient - right).abs().max().item()
            if not error <= 1e-7 * max(1.0, right.abs().max().item()):
                raise AssertionError(
                    f"{name}: the values are right, but the gradient at {self._name(path[0])} is off by "
                    f"{error:.3g}. Is part of what the result depends on cut off? {case.hint}".rstrip()
                )

    def _expect_unchanged(self, before: tuple, after: tuple, function: Callable) -> None:
        for i, (was, now) in enumerate(zip(before, after, strict=True)):
            if not same(was, now):
                instead = f"Make a new {'tensor' if isinstance(now, Tensor) else 'one'} instead."
                if isinstance(now, nn.Module):
                    instead = "Leave its weights, its buffers and its mode (train or eval) as they are."
                raise AssertionError(
                    f"{function.__name__} changed {self._name(i)}, which belongs to its caller. {instead}"
                )

    def _expect_no_gradient_asked(self, found: Any, given: tuple, function: Callable) -> None:
        """Where no argument requires a gradient, neither does an argument afterwards nor the result."""
        modules = [isinstance(argument, nn.Module) for argument in given]
        for path, tensor in tensors(given):
            if tensor.requires_grad and not modules[path[0]]:
                raise AssertionError(
                    f"{function.__name__} changed {self._name(path[0])}, which belongs to its caller: it "
                    "requires a gradient now. Ask for it on a detached copy, if at all."
                )
        if not any(modules) and any(tensor.requires_grad for _, tensor in tensors(found)):
            raise AssertionError(
                f"{function.__name__}: the result requires a gradient, though no argument does. Is there a "
                "requires_grad inside? What comes from the arguments gets its gradient by itself."
            )

    def _called(self, function: Callable, case: Case) -> str:
        """The call in words, such as "step for x (2, 3), length 4"."""
        given = [f"{self._name(i)} {_short(value)}" for i, value in enumerate(case.arguments)]
        return f"{function.__name__} for {', '.join(given)}"

    def _name(self, i: int) -> str:
        """What argument i is called."""
        names = list(inspect.signature(self.reference).parameters)
        return names[i] if i < len(names) else f"argument {i}"


def by_properties(check: Callable[[Callable], None]) -> Callable[[Callable], None]:
    """A check that knows no single right answer, run twice: what stays from call to call must not matter."""

    @wraps(check)
    def checked(function: Callable) -> None:
        answered = 0

        @wraps(function)
        def counted(*arguments: Any) -> Any:
            nonlocal answered
            found = function(*arguments)
            answered += 1
            return found

        before = kept(function)
        try:
            check(counted)
            try:
                check(counted)
            except AssertionError as error:
                raise AssertionError(
                    f"{function.__name__} is right at first, and wrong when the same calls are made again. "
                    f"{what_stays(function, before)} The later call: {error}"
                ) from error
        except NotImplementedError as error:
            if not answered:
                raise  # the stub
            raise AssertionError(
                f"{function.__name__} still raises NotImplementedError for some arguments, while it answers "
                f"others. Which branch is not written yet? {explain(error)}"
            ) from error

    return checked


# ---- what outlives a call ----------------------------------------------------------------------------------


def what_stays(function: Callable, before: dict[str, Any]) -> str:
    """Where to look when a function answers differently in a later call; ``before`` is what it kept then."""
    changed = [
        name
        for name, value in kept(function).items()
        if name not in before or type(value) is not type(before[name]) or not same(before[name], value)
    ]
    known = f": {' and '.join(changed)} changed"
    where = ", in a variable outside, a default argument or an attribute"
    return f"Something stays from call to call{known if changed else where}. Begin each call anew."


def kept(function: Callable) -> dict[str, Any]:
    """Copies of the values that a function can keep from call to call, by what a message calls them.

    Its default arguments, its attributes, and the variables outside it that its code names.
    """
    found: dict[str, Any] = {}
    waiting, seen = [function], []
    while waiting:
        one = inspect.unwrap(waiting.pop())
        one = getattr(one, "func", getattr(one, "__func__", one))  # of a partial, of a method
        if not inspect.isfunction(one) or one in seen:
            continue
        seen.append(one)
        for name, parameter in inspect.signature(one).parameters.items():
            if parameter.default is not parameter.empty:
                found[f"the default argument {name}"] = parameter.default
        found |= {f"{one.__name__}.{name}": value for name, value in vars(one).items()}
        try:
            outside = inspect.getclosurevars(one)
        except ValueError:  # a variable that has no value yet
            continue
        found |= outside.globals
        found |= outside.nonlocals
        waiting += [value for value in outside.nonlocals.values() if callable(value)]
    copies = {}
    for name, value in found.items():
        if isinstance(value, Tensor | np.ndarray | list | tuple | dict | set | int | float | str):
            with suppress(Exception):  # what cannot be copied is not followed
                copies[name] = converted(value)
    return copies


def _memory(tree: Any) -> set[int]:
    """Where the numbers of all tensors and arrays in it lie: two that share an address share memory."""
    found = set()
    for item in _items(tree):
        if isinstance(item, np.ndarray):
            while isinstance(item.base, np.ndarray):
                item = item.base
            found.add(item.__array_interface__["data"][0])
        elif item.layout == torch.strided and item.numel():
            found.add(item.untyped_storage().data_ptr())
    return found - {0}


def _items(tree: Any) -> Iterator[Tensor | np.ndarray]:
    if isinstance(tree, Tensor | np.ndarray):
        yield tree
    elif isinstance(tree, nn.Module):
        yield from tree.state_dict().values()
    elif isinstance(tree, list | tuple | dict):
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from _items(item)


def _kind(found: Any) -> str:
    return "tensor" if isinstance(found, Tensor) else type(found).__name__


# ---- nested arguments and results --------------------------------------------------------------------------


def tensors(tree: Any, path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Every tensor in nested lists, tuples, dicts and modules, with its path from the top."""
    if isinstance(tree, Tensor):
        yield path, tree
    elif isinstance(tree, nn.Module):
        for i, parameter in enumerate(tree.parameters()):
            yield (*path, i), parameter
    elif isinstance(tree, list | tuple | dict):
        for i, item in enumerate(tree.values() if isinstance(tree, dict) else tree):
            yield from tensors(item, (*path, i))


def converted(tree: Any, dtype: torch.dtype | None = None) -> Any:
    """A deep copy, detached, with all floating tensors of this dtype."""
    if isinstance(tree, Tensor):
        return tree.detach().clone().to(dtype if dtype and tree.is_floating_point() else tree.dtype)
    if isinstance(tree, nn.Module):
        module = copy.deepcopy(tree)
        return module.to(dtype) if dtype else module
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(converted(item, dtype) for item in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(converted(item, dtype) for item in tree)
    if isinstance(tree, dict):
        return {key: converted(item, dtype) for key, item in tree.items()}
    return copy.deepcopy(tree)


def _gradients(result: Any, arguments: tuple) -> list[Tensor]:
    """Gradients of one fixed random sum of the finite values in the result."""
    inputs = [tensor for _, tensor in tensors(arguments) if tensor.requires_grad]
    generator = torch.Generator().manual_seed(1)
    total = torch.zeros((), dtype=torch.float64)
    if isinstance(result, dict):
        result = dict(sorted(result.items()))  # whatever order the keys were put in
    for _, output in tensors(result):
        if output.is_floating_point():
            weights = torch.randn(output.shape, generator=generator, dtype=torch.float64)
            total = total + (weights * torch.where(output.isfinite(), output, 0.0)).sum()
    if not total.requires_grad:
        return [torch.zeros_like(tensor) for tensor in inputs]
    return list(torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True))


def same(a: Any, b: Any) -> bool:
    """Equal in kind and value, NaN equal to NaN, through nested lists, dicts and modules."""
    if isinstance(a, Tensor):
        if not isinstance(b, Tensor) or a.shape != b.shape or a.dtype != b.dtype:
            return False
        return bool(((a == b) | (a.isnan() & b.isnan())).all())
    if isinstance(a, nn.Module):
        if [part.training for part in a.modules()] != [part.training for part in b.modules()]:
            return False
        return all(same(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and np.array_equal(a, b)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, int | float | str | bytes | set | bool | None):
        return type(a) is type(b) and (a == b or (a != a and b != b))
    return True  # a function or an object of ours, which no exercise can change


# ---- results -----------------------------------------------------------------------------------------------


def expect_equal(
    found: Any,
    expected: Any,
    name: str,
    hint: str = "",
    tolerance: float = 1e-9,
    *,
    dtype: torch.dtype | None = torch.float64,
    parts: tuple[str, ...] = (),
    diagnose: Callable[[], str | None] | None = None,
) -> None:
    """``found`` is what ``expected`` is, or an AssertionError says what differs, where, and by how much.

    Integers and numbers may come from Python, NumPy or a tensor of one element; a list may be a tuple, and a
    list of numbers also an array or a tensor.
    """
    if isinstance(expected, np.ndarray):  # a tensor or nested lists of numbers will do
        try:
            found = found if isinstance(found, Tensor) else torch.as_tensor(np.asarray(found))
        except (TypeError, ValueError, RuntimeError):
            raise AssertionError(f"{name} gave {shown(found)}, expected an array") from None
        expected = torch.from_numpy(expected)
    if isinstance(expected, Tensor):
        _expect_tensor(found, expected, name, hint, tolerance, dtype, diagnose)
    elif isinstance(expected, list | tuple):
        found = _as_list(found, expected, name, hint, parts, diagnose)
        for i, (one, right) in enumerate(zip(found, expected, strict=True)):
            part = parts[i] if i < len(parts) else f"element {i}"
            expect_equal(
                one, right, f"{name}, {part}", hint, tolerance, dtype=dtype, diagnose=diagnose,
            )  # fmt: skip
    elif isinstance(expected, dict):
        _expect_keys(found, expected, name, hint)
        for key, right in expected.items():
            expect_equal(
                found[key], right, f"{name}, {key!r}", hint, tolerance, dtype=dtype, diagnose=diagnose,
            )  # fmt: skip
    else:
        _expect_scalar(found, expected, name, hint, max(tolerance, 1e-9), diagnose)


def _expect_keys(found: Any, expected: dict, name: str, hint: str) -> None:
    if not isinstance(found, dict):
        raise AssertionError(f"{name} gave {shown(found)}, expected a dict")
    for key in found:
        if key not in expected:
            raise AssertionError(f"{name} has the key {key!r}, which is not expected. {hint}".rstrip())
    for key in expected:
        if key not in found:
            raise AssertionError(f"{name} has no key {key!r}. {hint}".rstrip())


def _as_list(
    found: Any,
    expected: list | tuple,
    name: str,
    hint: str,
    parts: tuple[str, ...],
    diagnose: Callable[[], str | None] | None,
) -> list:
    if isinstance(found, Tensor | np.ndarray) and all(isinstance(x, Real) for x in expected):
        found = found.tolist() if found.ndim else [found.item()]
    names = f" ({', '.join(parts)})" if parts else ""
    if not isinstance(found, list | tuple):
        raise AssertionError(
            f"{name} gave {shown(found)}, expected a list or tuple of length {len(expected)}{names}. "
            f"{hint}".rstrip()
        )
    if len(found) != len(expected):
        known = diagnose() if diagnose else None
        raise AssertionError(
            f"{name} gave {len(found)} values, expected {len(expected)}{names}. {known or hint}".rstrip()
        )
    return list(found)


def shown(found: Any) -> str:
    """A value in a message: tensors by their shape, long things cut."""
    return f"{_short(found)} ({type(found).__name__})"


def _expect_scalar(
    found: Any, expected: Any, name: str, hint: str, tolerance: float, diagnose: Callable | None
) -> None:
    one = found.item() if isinstance(found, Tensor | np.ndarray | np.generic) and _is_single(found) else found
    if isinstance(expected, bool):
        kind, right_kind = "True or False", isinstance(one, bool)
    elif isinstance(expected, Integral):
        kind, right_kind = "an integer", isinstance(one, Integral) and not isinstance(one, bool)
    elif isinstance(expected, Real):
        kind, right_kind = "a number", isinstance(one, Real) and not isinstance(one, bool)
    else:
        kind, right_kind = f"a {type(expected).__name__}", isinstance(one, type(expected))
    if not right_kind:
        raise AssertionError(f"{name} gave {shown(found)}, expected {kind}. {hint}".rstrip())
    finite = isinstance(expected, float) and math.isfinite(expected)  # to infinity, every number is as near
    same = one == expected or (finite and abs(one - expected) <= tolerance * max(1.0, abs(expected)))
    if not same:
        if finite and abs(one - expected) <= ROUNDING * max(1.0, abs(expected)):
            raise AssertionError(
                f"{name}: right formula, but an error of {abs(one - expected):.1g}, as of float32 or of "
                "rounding. Compute in float64 and round nothing."
            )
        known = diagnose() if diagnose else None
        raise AssertionError(f"{name} gave {one!r}, which is wrong. {known or hint}".rstrip())


def _is_single(found: Tensor | np.ndarray | np.generic) -> bool:
    return (found.numel() if isinstance(found, Tensor) else found.size) == 1


def _expect_tensor(
    found: Any,
    expected: Tensor,
    name: str,
    hint: str,
    tolerance: float,
    dtype: torch.dtype | None,
    diagnose: Callable | None,
) -> None:
    if not isinstance(found, Tensor):
        raise AssertionError(f"{name} gave {shown(found)}, expected a tensor")
    if found.layout != torch.strided or found.device != expected.device:
        kind = found.layout if found.layout != torch.strided else f"device {found.device}"
        raise AssertionError(f"{name} gave a tensor of {kind}, expected one like the arguments")
    if found.shape != expected.shape:
        raise AssertionError(
            f"{name} gave shape {tuple(found.shape)}, expected {tuple(expected.shape)}. {hint}".rstrip()
        )
    right, value = expected.detach(), found.detach()
    if not right.is_floating_point():
        _expect_same_integers(value, right, name, hint, diagnose)
        return
    if not value.is_floating_point():
        raise AssertionError(f"{name} gave a tensor of {value.dtype}, expected floating-point numbers")
    value, right = value.double(), right.double()
    astray = value.isnan() & ~right.isnan()
    if astray.any():
        known = diagnose() if diagnose else None
        raise AssertionError(f"{name} holds NaN at {_first(astray)}. {known or hint}".rstrip())
    hidden = right.isnan() & ~value.isnan()
    if hidden.any():
        at = _first(hidden)
        raise AssertionError(
            f"{name} is {value[at].item():.4g} at {at}, expected NaN: a NaN in the input must not become a "
            f"number. {hint}".rstrip()
        )
    wrong = value.isinf() != right.isinf()
    wrong |= value.isinf() & (value != right)
    if wrong.any():
        at = _first(wrong)
        known = diagnose() if diagnose else None
        raise AssertionError(
            f"{name} is {value[at].item():.4g} at {at}, expected "
            f"{'a finite number' if right[at].isfinite() else f'{right[at].item():.4g}'}. "
            f"{known or hint}".rstrip()
        )
    finite = right.isfinite()
    error = torch.where(finite, (value - right).abs(), 0.0)
    size = max(1.0, right[finite].abs().max().item()) if finite.any() else 1.0
    worst = error.max().item() if error.numel() else 0.0
    if worst > tolerance * size:
        known = diagnose() if diagnose else None
        if worst <= ROUNDING * size and dtype == torch.float64:
            raise AssertionError(
                f"{name}: right formula, wrong dtype. The arguments are float64, the error of {worst:.1g} is "
                "float32's. Is there a torch.zeros, torch.tensor or .float() without their dtype?"
            )
        share = (error > tolerance * size).double().mean().item()
        at = _first(error == worst)
        wrong = f"{share:.0%} of its values are wrong; the largest error, {worst:.3g}, is at {at}"
        wrong = wrong if at else f"its value is wrong by {worst:.3g}"
        raise AssertionError(f"{name} has the right shape, but {wrong}. {known or hint}".rstrip())
    if dtype is not None and found.dtype != dtype:
        raise AssertionError(
            f"{name}: right formula, wrong dtype: {found.dtype}, where the arguments are "
            f"{str(dtype).removeprefix('torch.')}. Keep their dtype."
        )


def _expect_same_integers(
    value: Tensor, right: Tensor, name: str, hint: str, diagnose: Callable | None
) -> None:
    if (value.dtype == torch.bool) != (right.dtype == torch.bool):
        kind = "True and False" if right.dtype == torch.bool else "integers"
        raise AssertionError(f"{name} gave a tensor of {value.dtype}, expected {kind}")
    if value.is_floating_point() or value.is_complex():
        raise AssertionError(f"{name} gave a tensor of {value.dtype}, expected integers")
    if not torch.equal(value.long(), right.long()):
        known = diagnose() if diagnose else None
        at = _first(value.long() != right.long())
        raise AssertionError(
            f"{name} is {value[at].item()} at {at}, which is wrong. {known or hint}".rstrip()
        )


def _short(value: Any) -> str:
    """An argument in a message: a tensor by its shape, long things cut."""
    text = str(tuple(value.shape)) if isinstance(value, Tensor | np.ndarray) else repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _listed(words: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join([", ".join(words[:-1])] * (len(words) > 1) + words[-1:])


def _first(mask: Tensor) -> tuple[int, ...]:
    """Where the first True stands."""
    return tuple(mask.nonzero()[0].tolist())
