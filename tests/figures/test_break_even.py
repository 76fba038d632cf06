"""break_even draws the costs that it is given, marks one size, and says what it cannot draw."""

from __future__ import annotations

import numpy as np
import pytest

from lessons import figures

COSTS = {"dear": [8, 16, 40], "cheap": [1, 5, 50]}


def test_lines_marks_and_the_upright_line_are_where_the_numbers_are():
    fig = figures.break_even([1, 2, 4], COSTS, line=3, line_label="here", at=2, title="t")
    ax = fig.axes[0]
    assert ax.get_xscale() == ax.get_yscale() == "log"
    drawn = [tuple(np.asarray(line.get_ydata(), float)) for line in ax.lines]
    for expected in ((8, 16, 40), (1, 5, 50), (16,), (5,)):
        assert expected in drawn
    assert [3, 3] in [list(line.get_xdata()) for line in ax.lines]
    written = [text.get_text() for text in ax.texts]
    assert {"dear", "cheap", "here", "16", "5"} <= set(written)


def test_a_line_outside_is_not_drawn():
    fig = figures.break_even([1, 2, 4], COSTS, line=30, line_label="far")
    assert "far" not in [text.get_text() for text in fig.axes[0].texts]


@pytest.mark.parametrize(
    ("sizes", "costs", "at", "message"),
    [
        ([1, 2, 2], COSTS, None, "sizes: .* that rise"),
        ([0, 2, 4], COSTS, None, "sizes: .* above 0"),
        ([1, 2, 4], {}, None, "0 designs, expected 1 to 6"),
        ([1, 2, 4], {"a": [1, 2]}, None, "'a'.*expected 3 numbers above 0"),
        ([1, 2, 4], {"a": [1, 0, 2]}, None, "'a'.*expected 3 numbers above 0"),
        ([1, 2, 4], COSTS, 3, "at: 3, expected one of the sizes"),
    ],
)
def test_what_cannot_be_drawn_is_named(sizes, costs, at, message):
    with pytest.raises(ValueError, match=message):
        figures.break_even(sizes, costs, line=3, line_label="", at=at)
