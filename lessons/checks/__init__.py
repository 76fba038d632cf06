"""The checks behind the exercises: ``check("02.output_shape", output_shape)``.

One file for each notebook with exercises, holding a dictionary ``CHECKS``: exercise name -> function that
takes the learner's function and raises AssertionError if it is wrong. The message says what is wrong and
where to look; it never gives the answer away.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from lessons.checks.tools import agree

__all__ = ["agree", "check", "find", "use"]

MODULES = {
    "00": "start_here",
    "01": "video_tensors",
    "02": "stcnn",
    "03": "gru",
    "04": "ctc_loss",
    "05": "ctc_decoding",
    "06": "lipnet",
    "07": "lip_data",
    "08": "talker",
    "09": "train_lipnet",
    "10": "strangers",
    "11": "bottleneck",
    "12": "conv_lstm",
    "13": "bottleneck_lstm",
    "14": "video_detection",
    "15": "capstone",
    "16": "make_it_fast",
    "17": "scale_and_ship",
}


def find(name: str) -> Callable[[Callable], None]:
    """The check called ``name``, such as "02.output_shape".

    Raises:
        ValueError: there is no such check; the message lists those there are.
    """
    number, _, exercise = name.partition(".")
    if number not in MODULES:
        raise ValueError(f"check {name!r}: expected a name that begins with one of {', '.join(MODULES)}")
    checks = import_module(f"lessons.checks.{MODULES[number]}").CHECKS
    if exercise not in checks:
        known = ", ".join(f"{number}.{key}" for key in checks)
        raise ValueError(f"check {name!r}: expected one of {known}")
    return checks[exercise]


def check(name: str, function: Callable) -> None:
    """Check an exercise: print "correct" or "not solved yet", or say what is wrong.

    Args:
        name: the notebook's number and the exercise's name, "02.output_shape".
        function: your function.

    Raises:
        AssertionError: the function gives something wrong; the message says what and where to look.
        ValueError: no check has this name.
    """
    test = find(name)
    try:
        test(function)
    except NotImplementedError:
        print(f"{name}: not solved yet")
    else:
        print(f"{name}: correct")


def use(name: str, yours: Callable, solution: Callable) -> Callable:
    """The function that the notebook goes on with: yours once it passes its check, else the solution.

    Prints which one it is, and why: not solved yet, or what is wrong with yours.

    Args:
        name: as for :func:`check`.
        yours: your function.
        solution: the one shown as the solution.

    Raises:
        ValueError: no check has this name.
    """
    test = find(name)
    if yours is not solution:
        try:
            test(yours)
        except NotImplementedError:
            print(f"{name}: not solved yet; the notebook goes on with the solution")
        except AssertionError as error:
            print(f"{name}: your function fails its check; the notebook goes on with the solution\n{error}")
        else:
            print(f"{name}: correct; the notebook goes on with your function")
            return yours
    else:
        print(f"{name}: the notebook goes on with the solution")
    return solution
