"""Points, courses, shapes and intervals are drawn where they are."""

from __future__ import annotations

import numpy as np
import pytest

from lessons import figures
from tests.figures.artists import images, texts

RNG = np.random.default_rng(0)
NAMES = ("left corner", "right corner", "chin")
FRAMES = {name: RNG.integers(0, 256, (8, 16), dtype=np.uint8) for name in ("a", "b")}
POINTS = {"a": [(2, 3), (9, 3), (5, 12)], "b": [(1, 4), (8, 4), (4, 6)]}  # a chin below the frame


def test_points_stand_on_their_frames_and_below_them():
    fig = figures.mouth_points(FRAMES, POINTS, NAMES, title="Two faces")
    for ax, image, name in zip(fig.axes, images(fig), FRAMES, strict=True):
        np.testing.assert_array_equal(image.get_array(), FRAMES[name])
        np.testing.assert_array_equal(np.stack(ax.lines[0].get_data(), 1), POINTS[name])
        assert texts(ax) == ["1", "2", "3"] and ax.get_title() == name
        assert ax.get_ylim()[0] > 12
    assert fig.alt_text.startswith("Two faces: 3 points on the mouths of a, b: 1 left corner")


@pytest.mark.parametrize(
    ("frames", "points", "message"),
    [
        (FRAMES, {"a": POINTS["a"]}, "expected those of frames"),
        ({}, {}, "at least one"),
        (FRAMES, POINTS | {"b": POINTS["b"][:2]}, r"points\['b'\]: shape \(2, 2\), expected \(3, 2\)"),
    ],
)
def test_points_that_do_not_fit_are_named(frames, points, message):
    with pytest.raises(ValueError, match=message):
        figures.mouth_points(frames, points, NAMES)


def test_each_measure_has_a_panel_with_a_line_per_person():
    courses = {"a": RNG.normal(size=(20, 3)), "b": RNG.normal(size=(20, 3))}
    courses["b"][:, 0] = 2 * courses["a"][:, 0]
    for course in courses.values():
        course[:, 2] = 1.0  # stands still: it has no correlation
    fig = figures.measure_courses(courses, NAMES)
    for m, ax in enumerate(fig.axes):
        assert ax.get_title(loc="left") == NAMES[m]
        for line, course in zip(ax.lines, courses.values(), strict=True):
            np.testing.assert_array_equal(line.get_ydata(), course[:, m])
    assert "left corner 1.00" in fig.alt_text and "chin" not in fig.alt_text


def test_courses_of_another_shape_are_named():
    with pytest.raises(ValueError, match=r"courses\['b'\]: shape \(4, 3\), expected \(5, 3\)"):
        figures.measure_courses({"a": np.zeros((5, 3)), "b": np.zeros((4, 3))}, NAMES)


SHAPES = {
    name: (30, 4, number)
    for number, name in enumerate("x features measures adapter neck sum logits motions".split(), start=50)
}


def test_the_bottleneck_writes_every_shape():
    fig = figures.stranger_diagram(SHAPES)
    assert {str(shape) for shape in SHAPES.values()} <= set(texts(fig.axes[0]))
    assert all(str(shape) in fig.alt_text for shape in SHAPES.values())


def test_a_box_without_a_shape_is_an_error():
    with pytest.raises(ValueError, match=r"expected .*neck"):
        figures.stranger_diagram({name: shape for name, shape in SHAPES.items() if name != "neck"})


def test_intervals_are_drawn_from_low_to_high():
    fig = figures.intervals({"clips": (0.1, 0.05, 0.2), "people": (0.1, 0.0, 0.4)})
    ax = fig.axes[0]
    assert [line.get_xdata().tolist() for line in ax.lines[:4]] == [[0.05, 0.2], [0.1], [0.0, 0.4], [0.1]]
    assert texts(ax) == ["10.0 (5.0 to 20.0)", "10.0 (0.0 to 40.0)"]


@pytest.mark.parametrize("rows", [{}, {"a": (0.1, 0.2, 0.3)}, {"a": (0.1, -0.1, 0.3)}])
def test_intervals_that_are_none_are_refused(rows):
    with pytest.raises(ValueError, match="rows"):
        figures.intervals(rows)
