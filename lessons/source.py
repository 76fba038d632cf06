"""Show the finished source of anything in the lessons, so that no notebook keeps a copy of it."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable


class Source(str):
    """Python source that a notebook shows as a highlighted block, and a terminal as plain text."""

    def _repr_markdown_(self) -> str:
        return f"```python\n{self}\n```"

    def __repr__(self) -> str:
        return str(self)


def show(thing: Callable | type, *, docstring: bool = False) -> Source:
    """The source of a function, class or module as it is in the package now.

    Args:
        docstring: keep the docstring of the function or class itself; by default it is left out, because
            the notebook around it has just said the same at length.
    """
    source = textwrap.dedent(inspect.getsource(thing)).rstrip()
    if docstring:
        return Source(source)
    node = ast.parse(source)
    first = node if inspect.ismodule(thing) else node.body[0]
    if ast.get_docstring(first) is None:
        return Source(source)
    doc, lines = first.body[0], source.splitlines()
    return Source("\n".join(lines[: doc.lineno - 1] + lines[doc.end_lineno :]).strip())
