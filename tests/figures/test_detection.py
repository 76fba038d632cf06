"""Boxes, heat maps, curves and timelines of detectors draw what they are given."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

from lessons import figures
from lessons.figures.style import BLUE, INK, VERMILION
from tests.figures.artists import corners, rectangles


def test_overlaps_fills_what_both_cover():
    pairs = {"half": ((0, 0, 4, 4), (2, 0, 6, 4)), "apart": ((0, 0, 4, 4), (5, 5, 6, 6))}
    fig = figures.box_overlaps(pairs, title="pairs")
    half, apart = fig.axes
    assert [corners(patch) for patch in rectangles(half)] == [(2, 0, 4, 4), (0, 0, 4, 4), (2, 0, 6, 4)]
    assert len(rectangles(apart)) == 2 and half.get_title(loc="center") == "half"
    assert half.get_xlim() == apart.get_xlim() and half.yaxis_inverted()
    with pytest.raises(ValueError, match="at least one"):
        figures.box_overlaps({})


BOX = np.array([[2.0, 4, 10, 9]])


NONE = np.zeros((0, 4))


EMPTY = np.zeros((3, 16, 16), np.uint8)


def test_center_maps_writes_the_numbers_and_marks_the_center():
    heat = np.zeros((2, 2))
    heat[0, 0], heat[0, 1], heat[1, 1] = 1, 0.25, 0.004
    fig = figures.center_maps(EMPTY[0], BOX, {"heat": heat}, marked={"heat": [(0, 0)]}, title="targets")
    frame, drawn = fig.axes
    assert [corners(patch) for patch in rectangles(frame)] == [(2, 4, 10, 9)]
    cross = frame.lines[-1]
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (6, 6.5)
    assert [text.get_text() for text in drawn.texts] == ["1", ".25"]
    assert [corners(patch) for patch in rectangles(drawn)] == [(-0.5, -0.5, 0.5, 0.5)]
    assert figures.center_maps(EMPTY[0], NONE, {"heat": heat}).axes[0].patches[:] == []


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ({}, "at least one"),
        ({"a": np.zeros((2, 2)), "b": np.zeros((2, 3))}, "expected \\(2, 2\\) as the first"),
    ],
)
def test_center_maps_refuses(maps, message):
    with pytest.raises(ValueError, match=message):
        figures.center_maps(EMPTY[0], BOX, maps)


def test_precision_recall_states_the_area_under_the_hull():
    precision, recall = [1, 0.5, 2 / 3], [0.5, 0.5, 1]
    fig = figures.precision_recall(precision, recall, [True, False, True], title="curve")
    texts = [text.get_text() for text in fig.axes[0].texts]
    assert texts == ["1", "2", "3", f"area {0.5 + 0.5 * 2 / 3:.3f}"]
    dots, crosses = fig.axes[0].lines[1:]
    assert list(dots.get_xdata()) == [0.5, 1] and list(crosses.get_ydata()) == [0.5]
    assert len(figures.precision_recall(precision, recall).axes[0].texts) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 1], [0.5]), "expected as many"),
        (([1, 1], [0.5, 1], [True]), "expected as many"),
        (([1, 1], [0.5, 0.2]), "falls"),
    ],
)
def test_precision_recall_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        figures.precision_recall(*arguments)


def test_lanes_fills_yes_and_counts_changes():
    fig = figures.boolean_timeline(
        {"thing": [1, 0, 0, 1], "found": [1, 1, 1, 1], "once": [0, 1, 1, 1]}, title="one thing"
    )
    ax = fig.axes[0]
    filled = [patch.get_facecolor()[3] > 0 for patch in rectangles(ax)]
    assert filled == [True, False, False, True] + [True] * 4 + [False, True, True, True]
    assert [text.get_text() for text in ax.texts] == ["2 changes", "0 changes", "1 change"]
    assert list(ax.lines[0].get_xdata()) == [0.5, 2.5]
    inked = figures.boolean_timeline({"thing": [1], "found": [1]}, neutral=["thing"])
    assert [to_hex(patch.get_facecolor()).upper() for patch in rectangles(inked.axes[0])] == [INK, BLUE]
    for rows, message in (({}, "at least one"), ({"a": [1, 0], "b": [1]}, "one length")):
        with pytest.raises(ValueError, match=message):
            figures.boolean_timeline(rows)


def test_scores_have_their_intervals():
    scores = {
        "none": {"p = 0": (82, 80, 84), "bursts": (40, 40, 40)},
        "Kalman": {"p = 0": (85, 84, 86), "bursts": (50, 45, 55)},
    }
    fig = figures.scores_with_intervals(scores, second=["Kalman"])
    first, second = fig.axes
    assert [to_hex(line.get_color()).upper() for line in first.lines[1::2]] == [BLUE, VERMILION]
    interval, mean = first.lines[:2]
    assert mean.get_xdata()[0] == 82 and list(interval.get_xdata()) == [80, 84]
    assert list(second.lines[2].get_xdata()) == [45, 55] and list(second.lines[2].get_ydata()) == [1, 1]
    assert [label.get_text() for label in first.get_yticklabels()] == ["none", "Kalman"]
    with pytest.raises(ValueError, match="expected \\['p = 0', 'bursts'\\]"):
        figures.scores_with_intervals(scores | {"other": {"p = 0": (1, 0, 2)}})
    with pytest.raises(ValueError, match="low <= value <= high"):
        figures.scores_with_intervals({"none": {"p = 0": (1, 2, 3)}})
    with pytest.raises(ValueError, match="second=\\['tracker'\\]"):
        figures.scores_with_intervals(scores, second=["tracker"])
    with pytest.raises(ValueError, match="at least one method"):
        figures.scores_with_intervals({})
