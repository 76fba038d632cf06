"""Save and resume a run: all that changes while it trains is in one file, written whole."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch

from lessons.files import atomic


class Stateful(Protocol):
    """A model, an optimizer, a gradient scaler."""

    def state_dict(self) -> dict: ...

    def load_state_dict(self, state: dict) -> Any: ...


def save(path: Path, run: dict, parts: Mapping[str, Stateful], rows: list[dict]) -> None:
    """Write all that a run needs to resume, all or nothing.

    Args:
        run: what tells this run from others, such as its settings.
        parts: what changes while it trains, by name.
        rows: its log so far.
    """
    state = {"run": run, "rows": rows, **{name: part.state_dict() for name, part in parts.items()}}
    data = io.BytesIO()  # torch's own writer hides what a full disk answers
    torch.save(state, data)
    with atomic(path) as part:
        part.write_bytes(data.getbuffer())


def load(path: Path | None, run: dict, parts: Mapping[str, Stateful]) -> list[dict]:
    """Put ``parts`` back as :func:`save` found them; return the rows of the log, none without a file.

    Raises:
        ValueError: the file is damaged, or another run's.
    """
    if path is None or not path.exists():
        return []
    with _damage_named(path):
        state = torch.load(path, map_location="cpu", weights_only=True)
        here, there = _flat(run), _flat(dict(state)["run"])
        differ = [name for name in {**here, **there} if here.get(name) != there.get(name)]
    if differ:
        wrong = "; ".join(f"{name} {there.get(name)!r} there, {here.get(name)!r} here" for name in differ)
        raise ValueError(f"{path}: belongs to another run ({wrong}): choose another folder")
    with _damage_named(path):
        for name, part in parts.items():
            part.load_state_dict(state[name])
        return [dict(row) for row in state["rows"]]


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Any failure means that the file at ``path`` cannot be resumed."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"{path}: damaged, or not a run's: remove it to start anew") from error


def _flat(value: dict, prefix: str = "") -> dict[str, Any]:
    """{"settings": {"seed": 0}} -> {"settings.seed": 0}."""
    flat = {}
    for name, inner in value.items():
        flat.update(_flat(inner, f"{name}.") if isinstance(inner, dict) else {prefix + name: inner})
    return flat
