"""What all checks need: call a learner's function, compare what it gives, and speak plainly."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from lessons.checks.errors import explain, is_ours


def call(function: Callable, *arguments: Any, name: str = "") -> Any:
    """Call the learner's function; its errors, or no value, become an AssertionError that says so.

    Torch's settings are put back as they were: a function that changes them changes all cells after it.

    Args:
        function: the learner's.
        arguments: what it is called with.
        name: the call in words, such as "step for x (2, 3)"; without it, from the arguments.
    """
    name = name or f"{function.__name__} for {describe(arguments)}"
    before = _settings()
    try:
        value = function(*arguments)
        changed = [setting for setting, now in _settings().items() if now != before[setting]]
    except NotImplementedError:
        raise
    except Exception as error:
        if isinstance(error, AssertionError) and is_ours(error):
            raise  # one of ours, such as that of a function that we gave it
        raise AssertionError(f"{name} stopped with {explain(error)}") from error
    finally:
        torch.set_default_dtype(before["default dtype"])
        torch.set_grad_enabled(before["recording of gradients"])
    if changed:
        raise AssertionError(
            f"{function.__name__} leaves torch's {changed[0]} changed, for all cells that come after it. "
            "Give a dtype to each new tensor, and use `with torch.no_grad():`, which ends by itself."
        )
    if value is None:
        raise AssertionError(f"{function.__name__} gave None: does its last line return a value?")
    return value


def _settings() -> dict[str, Any]:
    return {
        "default dtype": torch.get_default_dtype(),
        "recording of gradients": torch.is_grad_enabled(),
    }


def describe(arguments: tuple) -> str:
    """Arguments in short: tensors by their shape, in lists as well."""
    return ", ".join(map(_described, arguments))


def _described(argument: Any) -> str:
    if isinstance(argument, Tensor):
        return f"a tensor of shape {tuple(argument.shape)}"
    if isinstance(argument, list) and any(isinstance(item, Tensor) for item in argument):
        return f"[{', '.join(map(_described, argument))}]"
    return repr(argument)


def expect_integer(found: Any, name: str, hint: str = "", tensor: bool = False) -> int:
    """``found``, a Python or NumPy integer, as an int, or an AssertionError; a tensor only where allowed."""
    value = found.item() if tensor and isinstance(found, Tensor) and found.numel() == 1 else found
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise AssertionError(f"{name} gave {_shown(found)}, expected an integer. {hint}".rstrip())
    return int(value)


def expect_number(found: Any, name: str, hint: str = "") -> float:
    """``found``, a finite number of Python, NumPy or a tensor, as a float, or an AssertionError.

    ``hint`` says what may have made it NaN or infinite.
    """
    value = found.item() if isinstance(found, Tensor) and found.numel() == 1 else found
    if isinstance(value, bool) or not isinstance(value, Real):
        raise AssertionError(f"{name} gave {_shown(found)}, expected a number.")
    if not math.isfinite(value):
        raise AssertionError(f"{name} gave {value}, expected a finite number. {hint}".rstrip())
    return float(value)


def expect_pair(found: Any, name: str, parts: str) -> tuple[Any, Any]:
    """``found``, a tuple or list of two, as a tuple, or an AssertionError that names its ``parts``."""
    if not isinstance(found, tuple | list):
        raise AssertionError(f"{name} gave a {type(found).__name__}, expected {parts}")
    if len(found) != 2:
        raise AssertionError(f"{name} gave a {type(found).__name__} of {len(found)}, expected {parts}")
    return found[0], found[1]


def _shown(found: Any) -> str:
    return f"{describe((found,))} ({type(found).__name__})"


def expect_tensor(found: Any, shape: tuple[int, ...], name: str, hint: str) -> Tensor:
    """``found`` is a finite tensor of this shape, or an AssertionError with a hint where to look."""
    if not isinstance(found, Tensor):
        raise AssertionError(f"{name} is a {type(found).__name__}, expected a tensor")
    if found.is_meta or found.layout != torch.strided:
        raise AssertionError(f"{name} is a tensor without values, or a sparse one; expected a usual one")
    if tuple(found.shape) != tuple(shape):
        raise AssertionError(f"{name} has shape {tuple(found.shape)}, expected {tuple(shape)}. {hint}")
    if not torch.isfinite(found).all():
        raise AssertionError(f"{name} holds NaN or infinity. {hint}")
    return found


def expect_close(found: Tensor, expected: Tensor, name: str, hint: str, tolerance: float = 1e-6) -> None:
    """The values agree, or an AssertionError says how far off they are, where, and what to look at."""
    difference = (found.detach().double() - expected.double()).abs()
    worst = difference.max().item()
    if worst > tolerance:
        place = tuple(int(i) for i in torch.unravel_index(difference.argmax(), difference.shape))
        share = (difference > tolerance).double().mean().item()
        raise AssertionError(
            f"{name} has the right shape, but {share:.0%} of its values are wrong; "
            f"the worst, at {place}, is off by {worst:.3g}. {hint}"
        )


def agree(name: str, ours: Tensor, theirs: Tensor, tolerance: float = 1e-10) -> None:
    """Print that two results are equal up to rounding, or raise an AssertionError that says how."""
    expect_tensor(ours, tuple(theirs.shape), name, "")
    expect_close(ours, theirs, name, "", tolerance)
    print(f"{name}: equal, shape {tuple(theirs.shape)}, no value differs by more than {tolerance:g}")
