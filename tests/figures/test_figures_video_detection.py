"""The figures of notebook 12, through what they draw, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from lessons import figures
from lessons.figures.style import BLUE, GREEN, INK, VERMILION

FILM = np.zeros((3, 16, 16), np.uint8)
BOX = np.array([[2.0, 4, 10, 9]])
NONE = np.zeros((0, 4))


def rectangles(ax):
    return [patch for patch in ax.patches if isinstance(patch, Rectangle)]


def corners(patch):
    x, y = patch.get_xy()
    return x, y, x + patch.get_width(), y + patch.get_height()


def test_box_rows_draws_each_box_in_its_frame():
    boxes = {"below": [{"seen": BOX}, {"seen": NONE, "gone": BOX + 1}, {}]}
    fig = figures.boxed_clip_rows({"above": FILM, "below": FILM}, boxes, ["a", "b", "c"], dashed=["gone"])
    drawn = [[corners(patch) for patch in rectangles(ax)] for ax in fig.axes]
    # A pixel's middle is at a whole number, so its left edge is half a pixel before it.
    assert drawn == [[], [], [], [(1.5, 3.5, 9.5, 8.5)], [(2.5, 4.5, 10.5, 9.5)], []]
    seen, gone = (rectangles(fig.axes[k])[0] for k in (3, 4))
    assert to_hex(seen.get_edgecolor()).upper() == VERMILION and to_hex(gone.get_edgecolor()).upper() == GREEN
    assert seen.get_linestyle() in ("-", "solid") and gone.get_linestyle() not in ("-", "solid")
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["seen", "gone"]


def test_box_rows_without_boxes_has_no_legend():
    assert figures.boxed_clip_rows({"film": FILM}, {}).legends == []


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ({"other": [{}, {}, {}]}, "no clip of this name"),
        ({"film": [{}, {}]}, "of 2 frames, the clip has 3"),
        ({"film": [{str(k): BOX for k in range(6)}, {}, {}]}, "6 kinds, expected at most 5"),
        ({"film": [{"seen": BOX * np.nan}, {}, {}]}, "NaN"),
    ],
)
def test_box_rows_refuses(boxes, message):
    with pytest.raises(ValueError, match=message):
        figures.boxed_clip_rows({"film": FILM}, boxes)


def test_overlaps_fills_what_both_cover():
    pairs = {"half": ((0, 0, 4, 4), (2, 0, 6, 4)), "apart": ((0, 0, 4, 4), (5, 5, 6, 6))}
    fig = figures.box_overlaps(pairs, title="pairs")
    half, apart = fig.axes
    assert [corners(patch) for patch in rectangles(half)] == [(2, 0, 4, 4), (0, 0, 4, 4), (2, 0, 6, 4)]
    assert len(rectangles(apart)) == 2 and half.get_title(loc="center") == "half"
    assert half.get_xlim() == apart.get_xlim() and half.yaxis_inverted()
    with pytest.raises(ValueError, match="at least one"):
        figures.box_overlaps({})


def test_center_maps_writes_the_numbers_and_marks_the_center():
    heat = np.zeros((2, 2))
    heat[0, 0], heat[0, 1], heat[1, 1] = 1, 0.25, 0.004
    fig = figures.center_maps(FILM[0], BOX, {"heat": heat}, marked={"heat": [(0, 0)]}, title="targets")
    frame, drawn = fig.axes
    assert [corners(patch) for patch in rectangles(frame)] == [(2, 4, 10, 9)]
    cross = frame.lines[-1]
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (6, 6.5)
    assert [text.get_text() for text in drawn.texts] == ["1", ".25"]
    assert [corners(patch) for patch in rectangles(drawn)] == [(-0.5, -0.5, 0.5, 0.5)]
    assert figures.center_maps(FILM[0], NONE, {"heat": heat}).axes[0].patches[:] == []


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ({}, "at least one"),
        ({"a": np.zeros((2, 2)), "b": np.zeros((2, 3))}, "expected \\(2, 2\\) as the first"),
    ],
)
def test_center_maps_refuses(maps, message):
    with pytest.raises(ValueError, match=message):
        figures.center_maps(FILM[0], BOX, maps)


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
