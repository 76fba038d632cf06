"""The look that all figures share, their alt texts, and the checks of arguments."""

from __future__ import annotations

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from lessons import figures
from lessons.figures import style
from lessons.figures.style import human
from lessons.source import show


def test_the_palette_is_that_of_okabe_and_ito():
    published = {"#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7"}
    assert {to_hex(color) for color in style.PALETTE} == published


def test_show_gives_the_source_without_its_docstring():
    assert "def human" in show(human) and "three digits" not in show(human)
    assert "three digits" in show(human, docstring=True)
    assert show(human, show) == f"{show(human)}\n\n{show(show)}"  # several, one below the other
    assert show(human)._repr_markdown_().startswith("```python\ndef human")
    namespace: dict = {}
    exec(show(human), namespace)  # what is left is still the function
    assert namespace["human"](7_232) == "7.23 k"


# --- alt texts


def test_an_alt_text_says_what_the_figure_shows():
    fig = figures.curves(
        {"a": [3.14, 1.0, 0.4], "b": [0.5, 0.9]}, level=0.25, level_label="floor", title="Two"
    )
    assert fig.alt_text == (
        "Two: Line chart of loss over step; a falls from 3.1 to 0.4; b rises from 0.5 to 0.9; "
        "a dashed line at 0.25 (floor)."
    )


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1.0, 2.5], "rises from 1 to 2.5"),
        ([1234.4, 100.0], "falls from 1,234 to 100"),
        ([2.0, 2.0], "stays at 2"),
        ([0.0, 0.0], "stays at 0"),
        ([0.94, -2e-8], "falls from 0.94 to 0"),
        ([2.0, 9.0, 2.0], "starts and ends at 2"),
    ],
)
def test_a_trend_is_told_by_its_ends(values, said):
    assert style.trend(values) == said


def test_a_long_list_is_cut():
    assert style.listed("abc") == "a, b, c"
    assert style.listed(["", *range(9)], most=3) == "(empty), 0, 1, and 7 more"
    assert [style.plural(n, "box") for n in (1, 2)] == ["1 box", "2 boxes"]


def test_any_figure_can_be_described():
    fig = Figure()
    assert figures.describe(fig, "A line\n  that rises.") is fig
    assert fig.alt_text == "A line that rises."
    with pytest.raises(ValueError, match="text=' ': expected a sentence"):
        figures.describe(fig, " ")
