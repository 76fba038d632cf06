"""What an exception in a learner's function says: where it stopped, in their own code, and where to look."""

from __future__ import annotations

import linecache
import re
import sysconfig
import traceback
from pathlib import Path
from types import FrameType

OURS = Path(__file__).resolve().parents[1]  # lessons
LIBRARIES = {str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "purelib", "platlib")}

# The kinds of error that are met most often: patterns for "Type: message", and where to look.
KINDS: list[tuple[str, str]] = [
    (
        "leaf Variable .*in-place",
        "An argument that needs its gradient is changed in place (`+=`, `x[i] =`, a method such as `add_`): "
        "make a new tensor instead.",
    ),
    (
        "modified by an inplace operation",
        "A tensor is changed in place after something was computed from it, and the gradient needs it as it "
        "was. Make a new tensor instead.",
    ),
    (
        r"Can't call numpy\(\) on Tensor that requires grad",
        "NumPy records no gradient: stay with torch, from the arguments to the result.",
    ),
    ("does not require grad", "A gradient is asked of something that autograd has not recorded."),
    (
        r"same dtype|expected scalar type|dtypes match|can't be cast|but got \w+ instead",
        "Two dtypes meet. Each argument has tensor.dtype; a new tensor is float32, unless you say another.",
    ),
    (
        "tensors used as indices|indices must be integers|only integer tensors"
        "|interpreted as an integer|as an index",
        "An index and a size are integers: `//` divides integers, `/` gives a float.",
    ),
    (
        "compatible with input tensor's size and stride",
        "After a permute the elements no longer stand in order in memory: view needs that, reshape does not.",
    ),
    (
        "must match the (existing )?size|cannot be multiplied|size mismatch|is invalid for input of size"
        "|expanded size|Sizes of tensors|inconsistent tensor size|broadcast|to be equal size"
        r"|[Ss]hape mismatch|number of sizes|Expected \d+D|Dimension out of range|number of dimensions"
        r"|got \d+D|equation|not aligned|does not match the shape",
        "Two shapes do not fit: write the shape of each tensor beside this line, for the sizes above.",
    ),
    ("values to unpack", "How many names stand on the left, and how many values on the right?"),
    (
        "NoneType",
        "Something is None: a method that changes its object, such as list.sort() or append(), gives None, "
        "and so does a function without a return.",
    ),
    (
        "[Bb]ool(ean)? value of Tensor|truth value of an array",
        "An `if`, `and` or `or` asks for one truth value, and a tensor has several: torch.where chooses "
        "element by element.",
    ),
    ("^UnboundLocalError", "On this way through the function, the name has no value yet."),
    ("^NameError", "Is the name spelled the same everywhere, and defined in the function or above it?"),
    ("^IndexError", "Which index, and how long is that axis or list? Think of its end, and of length 0."),
    ("^KeyError", "The dictionary has no such key."),
    ("^ZeroDivisionError", "What is 0 here?"),
    (
        r"positional arguments? but|required positional|unexpected keyword|required keyword",
        "Keep the stub's arguments, their number and their order.",
    ),
    ("object is not callable", "Does one name stand for a value and for a function?"),
    ("^RecursionError", "The function calls itself and never comes to an end."),
]


def explain(error: BaseException) -> str:
    """ "RuntimeError: ... The line is `return x @ w`. Two shapes do not fit: ..." ."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else ""
    said = said if len(said) <= 200 else said[:197] + "..."
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    sentences = [what if what.endswith((".", "!", "?")) else what + "."]
    if line := _their_line(error):
        sentences.append(f"The line is `{line}`.")
    whole = f"{type(error).__name__}: {error}"
    sentences += [hint for kind, hint in KINDS if re.search(kind, whole, flags=re.S)][:1]
    return " ".join(sentences)


def is_ours(error: BaseException) -> bool:
    """Whether a line of lessons raised it, such as a function that a check gives the learner's."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return OURS in Path(frames[-1].f_code.co_filename).resolve().parents


def _their_line(error: BaseException) -> str:
    """The last line of the learner's own code that it came by, or "" if there is no such line."""
    theirs = [
        (frame, line) for frame, line in traceback.walk_tb(error.__traceback__) if _is_their_code(frame)
    ]
    if not theirs:
        return ""
    frame, line = theirs[-1]
    text = linecache.getline(frame.f_code.co_filename, line, frame.f_globals).strip()
    return text if len(text) <= 90 else text[:87] + "..."


def _is_their_code(frame: FrameType) -> bool:
    """Neither lessons nor Python's library nor an installed package: a cell or a file of the learner's."""
    name = frame.f_code.co_filename
    if name.startswith("<frozen"):
        return False
    path = Path(name).resolve()
    return OURS not in path.parents and not any(str(path).startswith(library) for library in LIBRARIES)
