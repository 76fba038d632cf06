"""Charts of numbers draw the numbers that they are given."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import PolyCollection

from lessons import figures
from tests.figures.artists import labels, overlaps, texts


def test_the_style_does_not_leak_into_the_readers_own_figures():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figures.curves({"a": [1.0, 2.0]})
    with pytest.raises(ValueError):
        figures.curves({})
    assert dict(mpl.rcParams) == before


RNG = np.random.default_rng(0)


def test_curves_draw_the_mean_and_the_range_of_the_seeds():
    seeds = RNG.random((3, 20))
    fig = figures.curves({"seeds": seeds, "one": (np.arange(0, 40, 2), seeds[0])}, plateau=(2, 7), level=0.5)
    ax = fig.axes[0]
    by_name = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(by_name["seeds"].get_ydata(), seeds.mean(0))
    np.testing.assert_array_equal(by_name["one"].get_xdata(), np.arange(0, 40, 2))
    band = next(c for c in ax.collections if isinstance(c, PolyCollection)).get_paths()[0].vertices
    assert band[:, 1].min() == seeds.min() and band[:, 1].max() == seeds.max()
    shaded = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    assert (shaded.x0, shaded.x1) == pytest.approx((2, 7))
    assert {"seeds", "one", "blank plateau"} <= set(texts(ax))


def test_curves_of_logarithms_keep_their_heights_and_read_as_powers_of_ten():
    ax = figures.curves({"a": [[0.0, -3.5, -16.0], [0.0, -2.5, -12.0]]}, powers=True).axes[0]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0, -3, -14])  # the mean of the logarithms
    ticks = ax.get_yticks()
    assert all(float(tick).is_integer() for tick in ticks)
    write = ax.yaxis.get_major_formatter()
    assert (write(0, 0), write(-5, 0)) == ("1", "$10^{-5}$")


def test_curves_over_integers_have_no_ticks_between_them():
    for steps in (np.arange(22), np.arange(1, 6), np.arange(3.0)):
        ticks = figures.curves({"a": steps}, steps=steps).axes[0].get_xticks()
        assert all(float(tick).is_integer() for tick in ticks)
    halves = figures.curves({"a": [1, 2, 3], "b": ([0.5, 1.0, 1.5], [1, 2, 3])}).axes[0].get_xticks()
    assert not all(float(tick).is_integer() for tick in halves)


def test_names_at_the_ends_of_curves_never_overlap():
    fig = figures.curves(
        {name: [1.0, value] for name, value in zip("abcd", [0.5, 0.5, 0.501, 0.0], strict=True)}
    )
    names = [text for text in fig.axes[0].texts if text.get_text() in "abcd"]
    assert len(names) == 4 and overlaps(fig, names) == []


def test_names_stand_beside_curves_far_from_zero():
    ax = figures.curves({"box": [163.0, 199.0, 164.0], "head": [180.0, 198.0, 165.0]}).axes[0]
    names = [text for text in ax.texts if text.get_text() in ("box", "head")]
    assert len(names) == 2 and all(-0.2 < text.get_position()[1] < 1.2 for text in names)


def test_curves_reject_steps_of_another_length_and_too_many_runs():
    with pytest.raises(ValueError, match="steps: 3 of them for the 2 values of 'a'"):
        figures.curves({"a": [1, 2]}, steps=[0, 1, 2])
    with pytest.raises(ValueError, match="runs: 7 of them, expected 1 to 6"):
        figures.curves({str(i): [1, 2] for i in range(7)})


def test_confusion_shows_shares_of_rows():
    fig = figures.confusion_matrix(np.array([[3, 1], [0, 0]]), ["p", "b"])
    np.testing.assert_allclose(fig.axes[0].images[0].get_array(), [[0.75, 0.25], [0, 0]])
    assert texts(fig.axes[0]) == ["75", "25"]
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["p", "b"]
    assert (fig.axes[0].get_ylabel(), fig.axes[0].get_xlabel()) == ("reference", "hypothesis")


@pytest.mark.parametrize("matrix", [np.zeros((2, 3)), np.array([[1, -1], [0, 1]])])
def test_confusion_rejects_bad_counts(matrix):
    with pytest.raises(ValueError, match="matrix"):
        figures.confusion_matrix(matrix, ["p", "b"])


def test_rates_have_bars_and_spreads():
    bars = {"a": [[0.1, 0.05, 0.2], [0.3, 0.2, 0.4]], "b": [[0.2, 0.1, 0.3], [0.5, 0.5, 0.5]]}
    (ax,) = figures.error_rate_bars(["none", "much"], bars, neutral=["a"]).axes
    assert [round(bar.get_height(), 2) for bar in ax.patches] == [0.1, 0.3, 0.2, 0.5]
    assert [text.get_text() for text in ax.texts] == ["10", "30", "20", "50"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["none", "much"]
    segments = [segment[:, 1].tolist() for line in ax.collections for segment in line.get_segments()]
    assert np.allclose(segments, [row[1:] for rows in bars.values() for row in rows])


@pytest.mark.parametrize(
    ("groups", "bars", "message"),
    [
        ([], {"a": []}, "at least one"),
        (["x"], {}, "at least one"),
        (["x", "y"], {"a": [[0.1, 0, 0.2]]}, "expected 2"),
        (["x"], {"a": [[0.5, 0.6, 0.7]]}, "low <= rate"),
        (["x"], {"a": [[0.1, -0.1, 0.2]]}, "0 <= low"),
        (["x"], {"a": [[np.nan, 0, 1]]}, "NaN"),
    ],
)
def test_rates_that_cannot_be_drawn_are_refused(groups, bars, message):
    with pytest.raises(ValueError, match=message):
        figures.error_rate_bars(groups, bars)


def test_a_strip_shows_every_value_and_the_threshold():
    groups = {"sound": np.array([3.0, 4.0, 5.0]), "broken": np.array([20.0, 30.0])}
    (ax,) = figures.strip_plot(groups, threshold=15, threshold_label="15", xlabel="distance").axes
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    for row, (line, values) in enumerate(zip(dots, groups.values(), strict=True)):
        np.testing.assert_array_equal(line.get_xdata(), values)
        assert np.abs(line.get_ydata() - row).max() < 0.5  # stays in its row
    assert any(list(line.get_xdata()) == [15, 15] for line in ax.lines)
    assert labels(ax.get_yticklabels()) == ["sound", "broken"] and ax.get_xlim()[0] == 0


@pytest.mark.parametrize("groups", [{}, {str(i): [1.0] for i in range(7)}])
def test_strips_of_no_or_too_many_groups_are_refused(groups):
    with pytest.raises(ValueError, match="expected 1 to 6"):
        figures.strip_plot(groups)


def test_distances_frame_what_is_the_same():
    matrix = np.array([[0.0, 0, 2], [0, 0, 3], [2, 3, 0]])
    ax = figures.distance_matrix(matrix, list("bpc"), unit="gray levels").axes[0]
    np.testing.assert_array_equal(ax.images[0].get_array(), matrix)
    framed = {(round(box.get_x() + 0.5), round(box.get_y() + 0.5)) for box in ax.patches}
    assert framed == {(0, 1), (1, 0)}
    assert labels(ax.get_xticklabels()) == labels(ax.get_yticklabels()) == ["b", "p", "c"]


@pytest.mark.parametrize(
    ("matrix", "message"), [(np.ones((2, 3)), r"expected \(3, 3\)"), (-np.ones((3, 3)), "at least 0")]
)
def test_distances_that_are_none_are_refused(matrix, message):
    with pytest.raises(ValueError, match=message):
        figures.distance_matrix(matrix, list("bpc"))


def test_dots_stand_at_their_shares_and_say_them_in_per_cent():
    series = {"greedy": [0.1, 0.025], "grammar": [0.05, 0.0]}
    (ax,) = figures.dot_plot(["letter", "digit"], series).axes
    for line, values in zip(ax.lines, series.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), values)
        np.testing.assert_array_equal(np.round(line.get_ydata()), [0, 1])
    assert texts(ax) == ["10.0", "2.5", "5.0", "0.0"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["letter", "digit"]


def test_the_legend_of_dots_covers_none_of_them():
    fig = figures.dot_plot(["letter", "digit"], {"greedy": [0.1, 0.9], "grammar": [0.1, 0.8]})
    fig.draw_without_rendering()  # lays the figure out
    (legend,) = fig.legends
    assert not legend.get_window_extent().overlaps(fig.axes[0].get_window_extent())


@pytest.mark.parametrize(
    ("series", "message"),
    [({}, "0 of them"), ({"a": [0.1]}, "1 values for 2 names"), ({"a": [0.1, -0.1]}, "smallest -0.1")],
)
def test_dots_that_cannot_be_drawn_are_refused(series, message):
    with pytest.raises(ValueError, match=message):
        figures.dot_plot(["letter", "digit"], series)


def test_dots_of_zeros_have_an_axis():
    (ax,) = figures.dot_plot(["letter"], {"greedy": [0.0]}).axes
    assert ax.get_xlim()[1] > 0


def test_counts_are_bars_and_the_mark_stands_where_it_should():
    fig = figures.count_bars({"a": {3: 5, 4: 7}, "b": {9: 2}}, mark=(12, "here"))
    ax = fig.axes[0]
    assert {(round(b.get_x() + b.get_width() / 2), b.get_height()) for b in ax.patches} == {
        (3, 5),
        (4, 7),
        (9, 2),
    }
    assert list(ax.lines[0].get_xdata()) == [12, 12]
    assert {"a", "b", "here"} == {text.get_text() for text in ax.texts}
    for bad in ({}, {"a": {}}, {"a": {1: -1}}):
        with pytest.raises(ValueError, match="series"):
            figures.count_bars(bad)


def test_a_logarithmic_horizontal_axis_is_labeled_with_integers():
    fig = figures.curves({"a": ([1, 10, 1000], [1, 2, 3])}, logx=True)
    (ax,) = fig.axes
    fig.canvas.draw()
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert ax.get_xscale() == "log" and {"1", "10", "100", "1,000"} <= set(labels)


def test_the_spread_figure_has_a_dot_a_seed_and_the_mean():
    (ax,) = figures.seed_spread(
        {"a": [0.1, 0.2, 0.3], "b": [0.4]}, percent=True, level=0.05, level_label="floor"
    ).axes
    dots = [line.get_xdata() for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(dots[0], [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(dots[1], [0.4])
    assert [text.get_text() for text in ax.texts] == ["20.0", "40.0", " floor"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b"]


def test_a_spread_below_zero_is_drawn_where_it_lies():
    (ax,) = figures.seed_spread({"a": [-0.3, 0.5]}, signed=True).axes
    (dots,) = [line for line in ax.lines if line.get_marker() == "o"]
    np.testing.assert_array_equal(dots.get_xdata(), [-0.3, 0.5])
    assert ax.get_xlim() == pytest.approx((-0.324, 0.54))
    assert any(list(line.get_xdata()) == [0, 0] for line in ax.lines)


@pytest.mark.parametrize(("runs", "message"), [({}, "empty"), ({"a": [0.1, -0.1]}, "smallest -0.1")])
def test_a_spread_that_cannot_be_drawn_is_refused(runs, message):
    with pytest.raises(ValueError, match=message):
        figures.seed_spread(runs)
