"""Figures of decoding draw the probabilities, paths and edits that they are given."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

from lessons import figures
from lessons.ctc.metrics import edit_distance
from lessons.figures.style import BLUE, GREEN, RULE, VERMILION


def boxes(ax, color):
    return [p for p in ax.patches if to_hex(p.get_facecolor()) == color.lower() and hasattr(p, "get_xy")]


KEPT = [[""], ["", "a"], ["a"]]


COLUMNS = [
    {"": (1.0, 0.0)},
    {"": (0.6, 0.0), "a": (0.0, 0.4)},
    {"": (0.36, 0.0), "a": (0.24, 0.4), "aa": (0, 0)},
]


FLOWS = [
    {("", ""): 0.6, ("", "a"): 0.4},
    {("", ""): 0.36, ("", "a"): 0.24, ("a", "a"): 0.4, ("a", "aa"): 0.0},
]


def test_beams_are_as_long_as_they_are_probable():
    fig = figures.beam_search(COLUMNS, KEPT, FLOWS, frames=["x", "y"])
    (ax,) = fig.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["“”", "a"]  # "aa" has no probability
    assert [label.get_text() for label in ax.get_xticklabels()] == ["start", "frame 1\nx", "frame 2\ny"]
    red = [box.get_width() for box in boxes(ax, VERMILION) if box.get_width() > 0]
    assert red[0] == pytest.approx(red[1]) and len(red) == 2  # .4 twice
    blue = sorted(box.get_width() for box in boxes(ax, BLUE) if box.get_width() > 0)
    assert blue[0] / red[0] == pytest.approx(0.24 / 0.4)
    merged = [p for p in ax.patches if to_hex(p.get_edgecolor()) == GREEN.lower()]
    assert [box.get_width() / red[0] for box in merged] == [pytest.approx(0.64 / 0.4)]
    lines = [line for line in ax.lines if line.get_zorder() < 3]
    assert len(lines) == 5  # the flow of nothing is not drawn
    assert [text.get_text() for text in ax.texts] == [".60", ".40", ".36", ".64", "1.00"]


def test_beams_may_stop_early_in_the_same_frame():
    whole, part = (figures.beam_search(COLUMNS, KEPT, FLOWS, upto=upto).axes[0] for upto in (None, 1))
    assert (
        len(part.texts) == 3 and part.get_xlim() == whole.get_xlim() and part.get_ylim() == whole.get_ylim()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": COLUMNS[:1], "kept": KEPT[:1], "flows": []}, "expected T\\+1"),
        ({"flows": FLOWS[:1]}, "expected T\\+1"),
        ({"kept": [[""], ["b"], ["a"]]}, "'b' is not in its column"),
        ({"frames": ["x"]}, "1 strings for 2"),
        ({"upto": 3}, "expected 0 to 2"),
    ],
)
def test_beams_that_do_not_fit_together_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        figures.beam_search(**({"columns": COLUMNS, "kept": KEPT, "flows": FLOWS} | change))


def test_paths_lie_end_to_end_under_their_label():
    labels = {"": {"--": 0.36}, "a": {"-a": 0.24, "a-": 0.24, "aa": 0.16}}
    (ax,) = figures.path_probabilities(labels).axes
    assert [box.get_width() for box in ax.patches] == pytest.approx([0.36, 0.24, 0.24, 0.16])
    assert ax.patches[3].get_x() == pytest.approx(0.48)
    assert [to_hex(box.get_facecolor()) == VERMILION.lower() for box in ax.patches] == [
        True,
        False,
        False,
        False,
    ]
    assert {".36", ".64"} <= {text.get_text() for text in ax.texts}


def test_paths_that_a_search_has_lost_are_gray_and_last():
    labels = {"a": {"-a": 0.24, "a-": 0.3, "aa": 0.16}}
    (ax,) = figures.path_probabilities(labels, dropped=["-a"]).axes
    assert [box.get_width() for box in ax.patches] == pytest.approx([0.3, 0.16, 0.24])
    assert [to_hex(box.get_facecolor()) == RULE.lower() for box in ax.patches] == [False, False, True]
    assert ".46 of .70" in {text.get_text() for text in ax.texts}
    with pytest.raises(ValueError, match="'b' is no path"):
        figures.path_probabilities(labels, dropped=["b"])


@pytest.mark.parametrize("labels", [{}, {"a": {}}, {"a": {"a": 0.8}, "": {"-": 0.3}}, {"a": {"a": -0.1}}])
def test_path_shares_that_are_none_are_refused(labels):
    with pytest.raises(ValueError, match="labels"):
        figures.path_probabilities(labels)


def distances(said, read):
    return [[edit_distance(said[:i], read[:j]) for j in range(len(read) + 1)] for i in range(len(said) + 1)]


def test_the_table_of_edits_holds_its_numbers_and_counts_its_steps():
    path = [(0, 0), (1, 0), (2, 1), (3, 2)]
    fig = figures.edit_table("abc", "bd", distances("abc", "bd"), path)
    (ax,) = fig.axes
    numbers = np.array([int(text.get_text()) for text in ax.texts]).reshape(4, 3)
    np.testing.assert_array_equal(numbers, distances("abc", "bd"))
    assert [text.get_text() for text in fig.legends[0].get_texts()] == [
        "same: 1",
        "substituted: 1",
        "deleted: 1",
    ]
    assert len(ax.lines) == 3


@pytest.mark.parametrize(
    ("cost", "path", "message"),
    [
        ([[0, 1], [1, 0]], (), "expected \\(4, 3\\)"),
        (distances("abc", "bd"), [(0, 0), (1, 1)], "corner to corner"),
        (distances("abc", "bd"), [(0, 0), (3, 2)], "no step"),
    ],
)
def test_tables_that_cannot_be_drawn_are_refused(cost, path, message):
    with pytest.raises(ValueError, match=message):
        figures.edit_table("abc", "bd", cost, path)


def test_hypotheses_color_words_by_their_edits_and_state_the_word_error_rate():
    pairs = [("bin", "pin"), ("at", "at"), (None, "z"), ("two", None)]
    (ax,) = figures.hypotheses({"greedy": pairs, "beam": [("bin", "bin")]}).axes
    color = {text.get_text(): to_hex(text.get_color()) for text in ax.texts}
    assert (
        color["pin"] == VERMILION.lower() and color["z"] == GREEN.lower() and color["[two]"] == BLUE.lower()
    )
    assert {"at", "100%", "0%"} <= set(color)  # three edits, three words in the reference
    with pytest.raises(ValueError, match="rows: empty"):
        figures.hypotheses({})
