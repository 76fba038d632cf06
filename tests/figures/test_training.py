"""Figures of training runs draw the numbers that they are given."""

from __future__ import annotations

import numpy as np
import pytest

from lessons import figures
from tests.figures.artists import texts


def test_throughput_has_one_bar_a_setting_and_tells_the_gain():
    fig = figures.throughput({"plain": [2.0, 2.0, 2.2], "fast": [5.0, 6.0, 7.0]}, title="t")
    (ax,) = fig.axes
    np.testing.assert_allclose([bar.get_width() for bar in ax.containers[0]], [2.0, 6.0])
    assert [text.get_text() for text in ax.texts] == ["2.0", "6.0   3.0 ×"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["plain", "fast"]


def test_number_bits_has_a_box_a_bit():
    fig = figures.number_bits({"float32": (8, 23), "float16": (5, 10)})
    assert len(fig.axes[0].patches) == 32 + 16
    assert "5 for the size, 10 for the digits" in [text.get_text() for text in fig.axes[0].texts]


def test_number_range_counts_what_is_lost():
    values = [0.0, 2.0**-30, 2.0**-30, 1.0, -1.0, 2.0**20]
    fig = figures.number_range({"g": values}, smallest=2.0**-24, normal=2.0**-14, largest=65504.0)
    assert fig.axes[0].get_title("left") == "g: 40 % become 0, 1 become infinite"


def test_work_lanes_draws_every_piece_and_tells_the_end():
    plans = {"in turn": {"core": [(0, 10, 0), (10, 30, 0)]}, "both": {"a": [(0, 10, 0)], "b": [(10, 25, 0)]}}
    fig = figures.gantt_chart(plans)
    assert [len(ax.patches) for ax in fig.axes] == [2, 2]
    assert [ax.get_title("left") for ax in fig.axes] == ["in turn: 30", "both: 25"]


def test_ring_has_a_panel_a_round_and_a_number_a_box():
    fig = figures.ring_all_reduce([np.ones((2, 2)), [[1, 2], [2, 1]], np.full((2, 2), 2)])
    assert [ax.get_title("left") or ax.get_title() for ax in fig.axes] == ["start", "round 1", "round 2"]
    assert [text.get_text() for text in fig.axes[1].texts] == ["1", "2", "2", "1"]
    assert [text.get_fontweight() for text in fig.axes[1].texts] == ["normal", "bold", "bold", "normal"]


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: figures.ring_all_reduce([]), "at least one"),
        (lambda: figures.ring_all_reduce([np.ones((2, 2)), np.ones((2, 3))]), "like the first"),
        (lambda: figures.ring_all_reduce([np.full((2, 2), 3)]), "expected 1 to 2"),
        (lambda: figures.throughput({}), "at least one"),
        (lambda: figures.throughput({"a": [1.0, 0.0]}), "smallest 0, expected above 0"),
        (lambda: figures.throughput({"a": [np.nan]}), "NaN"),
        (lambda: figures.number_bits({}), "expected at least one"),
        (lambda: figures.number_bits({"a": (0, 3)}), "1 bit or more"),
        (lambda: figures.number_range({}, smallest=1, normal=2, largest=3), "at least one"),
        (lambda: figures.number_range({"a": [0.0]}, smallest=1, normal=2, largest=3), "nothing but zeros"),
        (lambda: figures.gantt_chart({}), "no piece"),
        (lambda: figures.posterior_maps({}, ["a"]), "at least one"),
        (lambda: figures.posterior_maps({"a": [[0.5, 0.5]]}, ["a"]), "1 names for the 2 classes"),
        (lambda: figures.gantt_chart({"a": {"b": [(2, 1, 0)]}}), "ends at 1, before"),
    ],
)
def test_what_cannot_be_drawn_is_named(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_posterior_maps_draw_the_classes_asked_for_in_every_snapshot():
    generator = np.random.default_rng(0)
    steps = {f"step {i}": generator.dirichlet(np.ones(5), size=7) for i in range(3)}  # (T, V)
    fig = figures.posterior_maps(steps, ["blank", " ", "a", "b", "c"], [0, 1, 3], title="one clip")
    panels = [ax for ax in fig.axes if ax.images and ax.get_title(loc="left")]
    for ax, (name, p) in zip(panels, steps.items(), strict=True):
        np.testing.assert_allclose(ax.images[0].get_array(), p[:, [0, 1, 3]].T)
        assert ax.get_title(loc="left") == name
    assert [label.get_text() for label in panels[0].get_yticklabels()] == ["blank", "␣", "b"]
    assert "step 2 has" in fig.alt_text and fig.alt_text.startswith("one clip: ")


SHARE = {"plain": np.linspace(1, 0.6, 30), "timings": np.linspace(1, 0.4, 30)}


LOSS = {"plain": np.linspace(4, 1, 30), "timings": np.linspace(4, 0.5, 30)}


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
