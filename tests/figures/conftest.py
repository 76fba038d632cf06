"""Every figure that a test draws must have an alt text."""

from __future__ import annotations

import functools
import inspect

import pytest

from lessons import figures


@pytest.fixture(autouse=True)
def every_figure_has_an_alt_text(monkeypatch):
    def checked(draw):
        @functools.wraps(draw)
        def wrapper(*args, **kwargs):
            fig = draw(*args, **kwargs)
            text = getattr(fig, "alt_text", "")
            assert len(text.split()) > 3 and text.endswith("."), f"{draw.__name__}: alt text {text!r}"
            assert not {"\n", "$"} & set(text) and "nan" not in text.split(), text
            return fig

        return wrapper

    for name in set(figures.__all__) - {"describe"}:
        if inspect.isfunction(draw := getattr(figures, name)):
            monkeypatch.setattr(figures, name, checked(draw))
