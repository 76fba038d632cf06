"""weight_bars draws areas that are the weights, in one scale, and says what it cannot draw."""

from __future__ import annotations

import pytest
from matplotlib.patches import Rectangle

from lessons import figures

DESIGNS = {"whole": [("3", 4, 36)], "squeezed": [("1", 1, 4), ("3", 1, 9), ("1", 4, 1)]}


def rectangles(fig):
    return [patch for patch in fig.axes[0].patches if isinstance(patch, Rectangle)]


def test_areas_are_weights_and_every_number_is_written():
    fig = figures.weight_bars(DESIGNS, title="two ways")
    sizes = [(box.get_height(), box.get_width()) for box in rectangles(fig)]
    assert sizes == [(4, 36), (1, 4), (1, 9), (4, 1)]
    assert fig.axes[0].get_aspect() == 1  # a weight is as wide as it is high
    written = [text.get_text() for text in fig.axes[0].texts]
    for word in ("whole", "squeezed", "3", "1", "144", "17", "9", "4"):
        assert word in written
    first, second, third = sorted(box.get_x() for box in rectangles(fig)[1:])
    assert first + 4 < second and second + 9 < third  # none covers another


def test_a_kind_has_one_color_and_may_be_given_it():
    whole, narrow, middle, wide = (box.get_facecolor() for box in rectangles(figures.weight_bars(DESIGNS)))
    assert whole == middle != narrow == wide
    given = rectangles(figures.weight_bars(DESIGNS, kinds=("1", "3")))
    assert given[1].get_facecolor() == whole and given[0].get_facecolor() == narrow


def test_a_span_keeps_the_scale():
    one = figures.weight_bars({"whole": [("3", 4, 36)]}, span=100)
    two = figures.weight_bars({"whole": [("3", 4, 9)]}, span=100)
    assert one.axes[0].get_xlim() == two.axes[0].get_xlim()


@pytest.mark.parametrize(
    ("designs", "message"),
    [
        ({}, "at least one"),
        ({"a": []}, "at least one layer"),
        ({"a": [("3", 0, 9)]}, "fewer than 1"),
        ({"a": [("3", 4, 0)]}, "fewer than 1"),
        ({"a": [(str(i), 1, 1) for i in range(7)]}, "7 kinds of layer, expected at most 6"),
    ],
)
def test_what_cannot_be_drawn_is_named(designs, message):
    with pytest.raises(ValueError, match=message):
        figures.weight_bars(designs)
