"""Shapes, weights and costs are drawn to scale."""

from __future__ import annotations

import numpy as np
import pytest

from lessons import figures
from lessons.figures.cost import as_video
from lessons.figures.style import human
from tests.figures.artists import overlaps, rectangles

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
        ([1, 2, 4], {}, None, "costs: 0 of them, expected 1 to 6"),
        ([1, 2, 4], {"a": [1, 2]}, None, "'a'.*expected 3 numbers above 0"),
        ([1, 2, 4], {"a": [1, 0, 2]}, None, "'a'.*expected 3 numbers above 0"),
        ([1, 2, 4], COSTS, 3, "at: 3, expected one of the sizes"),
    ],
)
def test_costs_that_cannot_be_drawn_are_named(sizes, costs, at, message):
    with pytest.raises(ValueError, match=message):
        figures.break_even(sizes, costs, line=3, line_label="", at=at)


LIPNET = [
    ("input", (3, 75, 64, 128), 0, 0),
    ("conv1", (32, 75, 32, 64), 7_232, 1_105_920_000),
    ("pool1", (32, 75, 16, 32), 0, 0),
    ("conv2", (64, 75, 16, 32), 153_664, 5_898_240_000),
    ("pool2", (64, 75, 8, 16), 0, 0),
    ("conv3", (96, 75, 8, 16), 165_984, 1_592_524_800),
    ("pool3", (96, 75, 4, 8), 0, 0),
    ("gru1", (75, 512), 5_114_880, 383_000_000),
    ("gru2", (75, 512), 1_182_720, 88_000_000),
    ("linear", (75, 28), 14_364, 1_075_200),
]


def test_shape_ladder_bars_are_shares_and_boxes_are_to_scale():
    fig = figures.shape_ladder(LIPNET, title="LipNet")
    boxes, weights, work = fig.axes
    shares = np.array([bar.get_height() for bar in weights.patches])
    expected = np.array([rung[2] for rung in LIPNET])
    np.testing.assert_allclose(shares, expected / expected.sum())
    assert expected.sum() == 6_638_844 and "6.64 M" in weights.get_title(loc="left")
    assert sum(bar.get_height() for bar in work.patches) == pytest.approx(1)
    front = [np.ptp(patch.get_xy(), axis=0) for patch in boxes.patches[::3]]
    assert front[0] / front[1] == pytest.approx([2, 2])  # stride 2 halves height and width
    assert front[0][0] / front[0][1] == pytest.approx(2)  # 128 wide, 64 high
    assert boxes.get_xticklabels()[1].get_text() == "conv1\n32×75×32×64"


@pytest.mark.parametrize("layers", [LIPNET, LIPNET[:3]])
def test_shape_ladder_labels_do_not_overlap(layers):
    fig = figures.shape_ladder(layers)
    labels = fig.axes[0].get_xticklabels() + fig.axes[1].texts + fig.axes[2].texts
    assert overlaps(fig, labels) == []


def test_shape_ladder_helpers():
    assert [human(n) for n in (0, 999, 7_232, 165_984, 5_114_880, 5_898_240_000)] == [
        "0", "999", "7.23 k", "166 k", "5.11 M", "5.90 G",
    ]  # fmt: skip
    assert as_video((75, 28)) == (28, 75, 1, 1) and as_video((28,)) == (28, 1, 1, 1)
    with pytest.raises(ValueError, match="without the batch"):
        as_video((1, 3, 75, 64, 128))
    with pytest.raises(ValueError, match="layers: empty"):
        figures.shape_ladder([])


TABLE = {"weights": [[1000, 3000], [1000, 9000]], "work": [[5.0, 5.0], [0.0, 40.0]]}


def test_bars_stack_to_the_amounts_and_name_shares_and_sums():
    fig = figures.layer_costs(["small", "large"], ["conv", "gru"], TABLE, title="two sizes")
    assert [ax.get_title("left") for ax in fig.axes] == ["weights", "work"]
    for ax, values in zip(fig.axes, TABLE.values(), strict=True):
        bars = np.array([[bar.get_width() for bar in group] for group in ax.containers]).T  # (N, K)
        np.testing.assert_array_equal(bars, values)
        starts = np.array([[bar.get_x() for bar in group] for group in ax.containers]).T
        np.testing.assert_array_equal(starts[:, 1], bars[:, 0])
    written = [text.get_text() for text in fig.axes[0].texts]
    assert "75 %" in written and "90 %" in written and "4.00 k" in written and "10.0 k" in written
    assert "0 %" not in [text.get_text() for text in fig.axes[1].texts]
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["small", "large"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], ["a"], {"w": [[1]]}), "at least one"),
        ((["s"], [], {"w": [[1]]}), "expected 1 to 6"),
        ((["s"], list("abcdefg"), {"w": [[1] * 7]}), "expected 1 to 6"),
        ((["s"], ["a", "b"], {"w": [[1]]}), "expected 1 settings x 2 layers"),
        ((["s"], ["a"], {"w": [[-1]]}), "smallest -1"),
        ((["s"], ["a"], {"w": [[np.nan]]}), "NaN"),
    ],
)
def test_settings_that_cannot_be_drawn_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        figures.layer_costs(*arguments)


DESIGNS = {"whole": [("3", 4, 36)], "squeezed": [("1", 1, 4), ("3", 1, 9), ("1", 4, 1)]}


def test_areas_are_weights_and_every_number_is_written():
    fig = figures.weight_bars(DESIGNS, title="two ways")
    sizes = [(box.get_height(), box.get_width()) for box in rectangles(fig.axes[0])]
    assert sizes == [(4, 36), (1, 4), (1, 9), (4, 1)]
    assert fig.axes[0].get_aspect() == 1  # a weight is as wide as it is high
    written = [text.get_text() for text in fig.axes[0].texts]
    for word in ("whole", "squeezed", "3", "1", "144", "17", "9", "4"):
        assert word in written
    first, second, third = sorted(box.get_x() for box in rectangles(fig.axes[0])[1:])
    assert first + 4 < second and second + 9 < third  # none covers another


def test_a_kind_has_one_color_and_may_be_given_it():
    whole, narrow, middle, wide = (
        box.get_facecolor() for box in rectangles(figures.weight_bars(DESIGNS).axes[0])
    )
    assert whole == middle != narrow == wide
    given = rectangles(figures.weight_bars(DESIGNS, kinds=("1", "3")).axes[0])
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
        ({"a": [(str(i), 1, 1) for i in range(7)]}, "kinds of layer: 7 of them, expected 1 to 6"),
    ],
)
def test_designs_that_cannot_be_drawn_are_named(designs, message):
    with pytest.raises(ValueError, match=message):
        figures.weight_bars(designs)


def test_a_roofline_has_its_ridge_where_the_two_limits_meet():
    layers = {"low": (1.0, 2e9), "high": (20.0, 15e9)}
    fig = figures.roofline(layers, peak=30e9, bandwidth=10e9, title="t")
    (ax,) = fig.axes
    assert ax.get_xscale() == ax.get_yscale() == "log"
    roof = ax.lines[0].get_xydata()
    assert roof[1].tolist() == [3, 30] and roof[0, 1] == pytest.approx(10 * roof[0, 0]) and roof[2, 1] == 30
    points = [tuple(line.get_xydata()[0]) for line in ax.lines if line.get_marker() == "o"]
    assert points == [(1, 2), (20, 15)]
    gaps = [sorted(line.get_ydata()) for line in ax.lines if line.get_linestyle() == ":"]
    assert gaps == [[2, 10], [15, 30]]  # from each point to the limit above it
    assert "slope: bandwidth, 10 GB per second" in [text.get_text() for text in ax.texts]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["low", "high"]
    assert "20% of the roof" in fig.alt_text and "50% of the roof" in fig.alt_text
    assert overlaps(fig, ax.texts) == []


def test_a_point_above_the_roof_is_drawn():
    (ax,) = figures.roofline({"cached": (1.0, 20e9)}, peak=30e9, bandwidth=10e9).axes
    assert ax.get_ylim()[0] < 20 < ax.get_ylim()[1]


@pytest.mark.parametrize(
    ("layers", "peak", "bandwidth", "message"),
    [
        ({}, 1, 1, "layers: 0 of them"),
        ({"a": (0, 1)}, 1, 1, "numbers above 0"),
        ({"a": (1, -1)}, 1, 1, "numbers above 0"),
        ({"a": (1, 1)}, 0, 1, "numbers above 0"),
        ({"a": (1, 1)}, 1, 0, "numbers above 0"),
    ],
)
def test_rooflines_that_cannot_be_drawn_are_named(layers, peak, bandwidth, message):
    with pytest.raises(ValueError, match=message):
        figures.roofline(layers, peak=peak, bandwidth=bandwidth)


ERRORS = {"noise": [[0.9, 0.5, 0.1], [0.7, 0.5, 0.3]], "maps": [0.4, 0.2, 0.0]}


@pytest.mark.parametrize("at", [1, 2, 3])
def test_cost_and_error_are_drawn_over_the_width_and_marked(at):
    trained = {"noise": ([1, 3], [[0.9, 0.8], [0.2, 0.3]])}
    fig = figures.width_trade_off([1, 2, 3], [0.2, 0.5, 1.2], ERRORS, at=at, trained=trained, title="t")
    left, right = fig.axes
    np.testing.assert_allclose(left.lines[0].get_ydata(), [0.2, 0.5, 1.2])
    drawn = {line.get_label(): line.get_ydata() for line in right.lines}
    np.testing.assert_allclose(drawn["noise"], [0.8, 0.5, 0.2])  # the mean over seeds
    np.testing.assert_allclose(drawn["maps"], [0.4, 0.2, 0.0])
    crosses = [line for line in right.lines if line.get_marker() == "x"]
    assert [line.get_xdata()[0] for line in crosses] == [1, 3]
    assert crosses[0].get_color() == right.lines[0].get_color()
    assert [text.get_text() for text in left.texts] == [("20%", "50%", "120%")[at - 1]]
    assert f"at width {at}" in fig.alt_text and "crosses: trained networks" in fig.alt_text
    bands = len(right.collections)
    assert bands == 2


def test_errors_that_crowd_are_written_apart():
    errors = {"noise": [0.9, 0.51], "maps": [0.4, 0.5], "more": [0.3, 0.5]}
    right = figures.width_trade_off([1, 2], [0.2, 0.5], errors, at=2).axes[1]
    heights = sorted(text.xy[1] for text in right.texts)
    assert heights[0] == pytest.approx(0.5) and np.diff(heights).min() > 0.06


@pytest.mark.parametrize(
    ("cost", "errors", "at", "message"),
    [
        ([1, 2], ERRORS, None, "cost: 2 values, expected 3"),
        ([1, 2, 3], ERRORS, 4, "at: 4, expected one of the widths"),
        ([1, 2, 3], {"a": [1, 2]}, None, "'a'.*2 values, expected 3"),
        ([1, 2, 3], {}, None, "errors: 0 of them"),
    ],
)
def test_widths_that_cannot_be_drawn_are_named(cost, errors, at, message):
    with pytest.raises(ValueError, match=message):
        figures.width_trade_off([1, 2, 3], cost, errors, at=at)
