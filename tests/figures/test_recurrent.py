"""Gates, states and directions are drawn as they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lessons import figures


def test_saturation_counts_what_lies_beyond_the_edge_and_keeps_what_lies_outside():
    values = torch.tensor([-100.0, -2.0, 0.0, 1.0, 4.0, 50.0, 2.9, 3.1])
    fig = figures.sigmoid_saturation({"some": values}, edge=3.0)
    assert [t.get_text() for t in fig.axes[1].texts] == ["some", "50% beyond ±3"]
    heights, edges, _ = fig.axes[1].patches[0].get_data()
    assert heights.sum() == pytest.approx(1) and heights[0] == heights[-1] == 1 / 8
    assert (edges[0], edges[-1]) == (-12, 12)
    with pytest.raises(ValueError, match="values: 0 of them"):
        figures.sigmoid_saturation({})
    with pytest.raises(ValueError, match="NaN"):
        figures.sigmoid_saturation({"bad": [math.nan]})


def film(*shape, signed=False):
    values = np.random.default_rng(0).random(shape)
    return 2 * values - 1 if signed else values


def test_state_maps_draws_each_row_as_what_it_is():
    rows = {
        "frame": np.full((3, 4, 6), 7, np.uint8),
        "h": film(3, 2, 3, signed=True),
        "gate": film(3, 2, 3),
    }
    fig = figures.state_maps(rows, list("abc"), limits={"gate": 1.0}, title="t")
    images = [ax.images[0] for ax in fig.axes]
    assert len(images) == 9 and [i.get_cmap().name for i in images[::3]] == ["gray", "RdBu_r", "Blues"]
    np.testing.assert_array_equal(images[4].get_array(), rows["h"][1])
    assert images[0].get_clim() == (0, 255)
    most = np.abs(rows["h"]).max()
    assert images[3].get_clim() == (-most, most) and images[6].get_clim() == (0, 1)
    assert [ax.get_ylabel() for ax in fig.axes[::3]] == list(rows)
    assert [ax.get_title(loc="center") for ax in fig.axes[:3]] == list("abc")


def test_state_maps_marks_places_squares_and_hidden_frames():
    fig = figures.state_maps(
        {"frame": np.zeros((2, 8, 8), np.uint8), "h": film(2, 4, 4)},
        ["0", "1"],
        marks=[[0.5, 0.25], [0.0, 1.0]],
        hidden=[False, True],
        squares=[1, 3],
    )
    x, y = fig.axes[0].lines[0].get_data()
    assert (x[0], y[0]) == (1.5, 3.5)  # a quarter across, half way down, in pixels whose middles are whole
    x, y = fig.axes[3].lines[0].get_data()
    assert (x[0], y[0]) == (3.5, -0.5)
    square = fig.axes[3].patches[0]
    assert square.get_xy() == (0.0, 0.0) and square.get_width() == square.get_height() == 3
    plain, gone = (ax.spines["top"].get_edgecolor() for ax in fig.axes[:2])
    assert plain != gone and fig.axes[2].spines["top"].get_edgecolor() == plain


def test_state_maps_of_nothing_but_zeros():
    assert figures.state_maps({"h": np.zeros((1, 2, 2))}).axes[0].images[0].get_clim() == (0, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": {}}, "empty"),
        ({"rows": {"a": film(2, 3, 3), "b": film(3, 3, 3)}}, "b: 3 moments, expected 2"),
        ({"rows": {"a": film(2, 3, 3)}, "captions": ["x"]}, "captions: 1 moments"),
        ({"rows": {"a": film(2, 3, 3)}, "marks": [[0.5, 0.5]]}, "marks: 1 moments"),
        ({"rows": {"a": film(2, 3, 3)}, "hidden": [True]}, "hidden: 1 moments"),
        ({"rows": {"a": film(2, 3, 3)}, "squares": [1.0, 2.0, 3.0]}, "squares: 3 moments"),
        ({"rows": {"a": film(3, 3)}}, "expected 3"),
        ({"rows": {"a": film(2, 3, 3) * math.nan}}, "NaN"),
    ],
)
def test_state_maps_refuses_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        figures.state_maps(**arguments)


def test_the_gates_figure_draws_input_gates_and_answer_on_one_axis():
    rng = np.random.default_rng(0)
    value, target, out = rng.normal(size=(3, 20))
    marks = np.zeros(20)
    marks[[0, 7]] = 1
    z, r = rng.uniform(size=(2, 20, 3))
    top, first, second, bottom, _ = figures.gate_activations(
        value, marks, {"update": z, "reset": r}, target, out
    ).axes
    for ax, gate in ((first, z), (second, r)):
        np.testing.assert_array_equal(ax.images[0].get_array(), gate.T)
    drawn = [list(line.get_xdata()) for line in top.lines]
    assert [0, 7] in drawn  # the marked values
    answers = {line.get_label(): line.get_ydata() for line in bottom.lines}
    np.testing.assert_array_equal(answers["target"], target)
    np.testing.assert_array_equal(answers["network output"], out)
    assert len({ax.get_xlim() for ax in (top, first, second, bottom)}) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": np.zeros(4)}, "'target': 4"),
        ({"marks": np.zeros(4)}, "value has 5"),
        ({"layers": {"z": np.zeros((4, 2))}}, "'z': 4"),
        ({"layers": {"z": np.full((5, 2), 1.1)}}, "expected 0 to 1"),
        ({"out": np.full(5, np.nan)}, "NaN"),
    ],
)
def test_gates_that_do_not_fit_together_are_refused(change, message):
    arguments = dict(
        value=np.zeros(5), marks=np.zeros(5), layers={"z": np.zeros((5, 2))}, target=np.zeros(5),
        out=np.zeros(5),
    )  # fmt: skip
    with pytest.raises(ValueError, match=message):
        figures.gate_activations(**arguments | change)


def arrows(ax):
    """(begin, end) of every arrow."""
    return [(text.xyann[0], text.xy[0]) for text in ax.texts if hasattr(text, "xyann") and text.arrow_patch]


def test_the_reading_order_starts_backwards_at_the_padding_or_at_the_last_frame():
    without, with_lengths = figures.bidirectional_order([6, 2]).axes
    for ax, starts in ((without, [6, 6]), (with_lengths, [6, 2])):
        backwards = [begin for begin, end in arrows(ax) if begin > end]
        assert backwards == [start - 0.6 for start in starts]
        filled = [box.get_facecolor()[3] > 0 for box in ax.patches]
        assert filled == [True] * 6 + [True] * 2 + [False] * 4
    assert [label.get_text() for label in without.get_yticklabels()] == ["clip 0", "clip 1"]


@pytest.mark.parametrize("lengths", [[], [3, 0]])
def test_lengths_that_cannot_be_read_are_refused(lengths):
    with pytest.raises(ValueError, match="1 frame or more"):
        figures.bidirectional_order(lengths)
