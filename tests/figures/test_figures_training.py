"""The figures of the training notebook hold the numbers that they are given."""

from __future__ import annotations

import numpy as np
import pytest

from lessons import figures

LOSS = {"plain": np.linspace(4, 1, 30), "timings": np.linspace(4, 0.5, 30)}
SHARE = {"plain": np.linspace(1, 0.6, 30), "timings": np.linspace(1, 0.4, 30)}


def texts(ax):
    return [text.get_text() for text in ax.texts]


def test_the_plateau_figure_draws_loss_and_blanks_of_every_run_on_one_axis():
    fig = figures.training_run(
        LOSS, SHARE, shaded=(3, 9), levels={"blind": 2.5}, texts=[(0, "xq"), (5, ""), (29, "set red")]
    )
    above, below, lane = fig.axes
    runs = [line for line in above.lines if len(line.get_xdata()) == 30]
    for line, share, name in zip(runs, below.lines, LOSS, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), LOSS[name])
        np.testing.assert_array_equal(share.get_ydata(), SHARE[name])
    assert any(list(line.get_ydata()) == [2.5, 2.5] for line in above.lines)
    assert {"blind", " blank plateau"} <= set(texts(above))
    assert texts(lane) == ["xq", "nothing", "set red"]
    assert [line.get_xdata()[0] for line in lane.lines] == [0, 5, 29]
    assert len({ax.get_xlim() for ax in fig.axes}) == 1


def test_the_plateau_figure_without_texts_or_levels():
    fig = figures.training_run({"plain": LOSS["plain"]}, {"plain": SHARE["plain"]})
    assert len(fig.axes) == 2 and fig.axes[0].get_legend() is None


@pytest.mark.parametrize(
    ("loss", "share", "message"),
    [
        ({}, {}, "expected those of loss"),
        (LOSS, {"plain": SHARE["plain"]}, "expected those of loss"),
        ({"a": LOSS["plain"]}, {"a": SHARE["plain"][:4]}, "4 steps, loss has 30"),
        ({"a": LOSS["plain"]}, {"a": LOSS["plain"]}, "expected 0 to 1"),
    ],
)
def test_runs_that_do_not_fit_together_are_refused(loss, share, message):
    with pytest.raises(ValueError, match=message):
        figures.training_run(loss, share)


def test_dots_stand_at_their_shares_and_say_them_in_per_cent():
    series = {"greedy": [0.1, 0.025], "grammar": [0.05, 0.0]}
    (ax,) = figures.dot_plot(["letter", "digit"], series).axes
    for line, values in zip(ax.lines, series.values(), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), values)
        np.testing.assert_array_equal(np.round(line.get_ydata()), [0, 1])
    assert texts(ax) == ["10.0", "2.5", "5.0", "0.0"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["letter", "digit"]


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
