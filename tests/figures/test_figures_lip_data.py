"""The figures of notebook 07 are held to the arrays that they draw."""

from __future__ import annotations

import numpy as np
import pytest

from lessons import figures

RNG = np.random.default_rng(0)
FILM = RNG.integers(0, 256, (6, 8, 16), dtype=np.uint8)


def labels(axis):
    return [label.get_text() for label in axis]


def test_films_stand_in_rows_one_column_a_moment():
    color = RNG.integers(0, 256, (6, 4, 8, 3), dtype=np.uint8)
    fig = figures.clip_rows({"gray": FILM, "color": color}, [str(i) for i in range(6)], title="two")
    assert len(fig.axes) == 12
    for k in range(6):
        np.testing.assert_array_equal(fig.axes[k].images[0].get_array(), FILM[k])
        np.testing.assert_array_equal(fig.axes[6 + k].images[0].get_array(), color[k])
    assert [fig.axes[0].get_ylabel(), fig.axes[6].get_ylabel()] == ["gray", "color"]
    assert [ax.get_title() for ax in fig.axes[:6]] == ["0", "1", "2", "3", "4", "5"]


def test_bytes_keep_their_brightness_and_floats_are_stretched():
    dark = np.full((2, 4, 8), 10, np.uint8)
    (first, *_) = figures.clip_rows({"dark": dark}).axes
    assert first.images[0].get_clim() == (0, 255)
    (first, *_) = figures.clip_rows({"floats": np.linspace(-1, 3, 64).reshape(2, 4, 8)}).axes
    assert first.images[0].get_clim() == (-1, 3)


@pytest.mark.parametrize(
    ("films", "captions", "message"),
    [
        ({}, None, "empty"),
        ({"a": FILM, "b": FILM[:3]}, None, "3 frames, expected 6"),
        ({"a": FILM[0]}, None, "2 axes"),
        ({"a": FILM[..., None]}, None, r"expected \(K, H, W\) or"),
        ({"a": FILM}, ["1"], "1 of them for 6 columns"),
        ({"a": np.full((2, 4, 8), np.nan)}, None, "NaN"),
    ],
)
def test_films_that_do_not_fit_are_refused(films, captions, message):
    with pytest.raises(ValueError, match=message):
        figures.clip_rows(films, captions)


def test_a_score_draws_words_visemes_curves_and_frames_on_one_axis_of_time():
    words = [(0.0, 2.0, "sil"), (2.0, 5.0, "two"), (5.0, 6.0, "sil")]
    fig = figures.word_timeline(
        {"word": words, "viseme": words}, {"opening": np.arange(6.0)}, FILM, title="two"
    )
    film, blocks, curve = fig.axes
    assert len(film.images) == 10
    np.testing.assert_array_equal(film.images[0].get_array(), FILM[0])
    np.testing.assert_array_equal(film.images[-1].get_array(), FILM[5])
    assert [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in blocks.patches[:3]] == [
        (0, 2),
        (2, 5),
        (5, 6),
    ]
    assert labels(blocks.texts) == ["sil", "two", "sil"] * 2
    assert labels(blocks.get_yticklabels()) == ["word", "viseme"]
    np.testing.assert_allclose(curve.lines[0].get_xdata(), np.arange(6) + 0.5)  # the middle of each frame
    np.testing.assert_allclose(curve.lines[0].get_ydata(), np.arange(6.0))
    assert film.get_xlim() == blocks.get_xlim() == curve.get_xlim() == (0, 6)


def test_a_score_can_show_a_part_and_leave_out_film_and_curves():
    fig = figures.word_timeline({"word": [(0, 2, "sil"), (2, 5, "two"), (5, 9, "now")]}, span=(2.5, 5))
    (blocks,) = fig.axes
    assert blocks.get_xlim() == (2.5, 5) and labels(blocks.texts) == ["two"]
    assert blocks.patches[0].get_x() == 2.5


@pytest.mark.parametrize(
    ("rows", "curves", "message"),
    [
        ({}, None, "at least one"),
        ({"word": []}, None, "at least one"),
        ({"word": [(3, 3, "at")]}, None, "expected begin < end"),
        ({"word": [(0, 3, "at")]}, {str(i): [1.0] for i in range(7)}, "at most 6"),
        ({"word": [(0, 3, "at")]}, {"a": np.ones((2, 2))}, "2 axes"),
    ],
)
def test_scores_that_cannot_be_read_are_refused(rows, curves, message):
    with pytest.raises(ValueError, match=message):
        figures.word_timeline(rows, curves)


def test_boxes_are_drawn_where_they_are():
    face = np.array([[1.0, 2, 9, 6], [2, 2, 10, 6], [3, 2, 11, 6]])
    fig = figures.boxed_frames(FILM[:3], {"face": face, "mouth": face + 1}, [0, 5, 10], title="found")
    assert [ax.get_title() for ax in fig.axes[:3]] == ["0", "5", "10"]
    for k, ax in enumerate(fig.axes[:3]):
        first, second = ax.patches
        assert first.get_bbox().extents == pytest.approx(face[k])
        assert second.get_bbox().extents == pytest.approx(face[k] + 1)
        assert first.get_edgecolor() != second.get_edgecolor()
    assert labels(fig.legends[0].get_texts()) == ["face", "mouth"]


@pytest.mark.parametrize(
    ("boxes", "chosen", "message"),
    [
        ({}, None, "empty"),
        ({"face": np.ones((2, 4))}, None, r"expected \(3, 4\)"),
        ({"face": np.ones((3, 3))}, None, r"expected \(3, 4\)"),
        ({"face": np.ones((3, 4))}, [1], "1 numbers for 3 frames"),
    ],
)
def test_boxes_that_do_not_fit_are_refused(boxes, chosen, message):
    with pytest.raises(ValueError, match=message):
        figures.boxed_frames(FILM[:3], boxes, chosen)


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
