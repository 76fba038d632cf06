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


def show(*things: Callable | type, docstring: bool = False) -> Source:
    """The source of functions, classes or modules as it is in the package now.

    Args:
        things: several are shown one below the other. A cell displays the value of its last line only, so
            of two calls of ``show`` in one cell the first would be lost.
        docstring: keep the docstring of the function or class itself; by default it is left out, because
            the notebook around it has just said the same at length.
    """
    return Source("\n\n".join(_source(thing, docstring) for thing in things))


def _source(thing: Callable | type, docstring: bool) -> str:
    source = textwrap.dedent(inspect.getsource(thing)).rstrip()
    if docstring:
        return source
    node = ast.parse(source)
    first = node if inspect.ismodule(thing) else node.body[0]
    if ast.get_docstring(first) is None:
        return source
    doc, lines = first.body[0], source.splitlines()
    return "\n".join(lines[: doc.lineno - 1] + lines[doc.end_lineno :]).strip()
