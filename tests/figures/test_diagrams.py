"""Diagrams write every name, shape and number that they are given."""

from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch

from lessons import figures
from lessons.figures import diagrams


def the_map(count: int, **options):
    """The axes of a map of ``count`` notebooks, t0, t1, …, of which the first and the third are written."""
    return figures.course_map([(n, f"t{n}", n in (0, 2)) for n in range(count)], **options).axes[0]


@pytest.mark.parametrize("count", [17, 18, 20])
def test_written_notebooks_are_filled_and_the_present_one_is_framed(count):
    ax = the_map(count, here=2)
    boxes = [p for p in ax.patches if isinstance(p, FancyBboxPatch)]
    assert len(boxes) == count
    assert [n for n, box in enumerate(boxes) if to_hex(box.get_facecolor()) != "#ffffff"] == [0, 2]
    assert [n for n, box in enumerate(boxes) if box.get_linewidth() > 2] == [2]
    shown = {text.get_text() for text in ax.texts}
    assert {f"{n:02d}" for n in range(count)} | {f"t{n}" for n in range(count)} <= shown
    arrows = [text for text in ax.texts if hasattr(text, "arrow_patch")]
    assert len(arrows) == count - 1  # one fewer than boxes: rows of steps, and two that lead down


@pytest.mark.parametrize(("second", "third"), [(9, 13), (10, 14), (2, 12)])
def test_rows_of_the_map_go_from_their_first_notebook_to_the_next_rows(second, third, monkeypatch):
    monkeypatch.setattr(diagrams, "MAP_STARTS", ", ".join(f"{n:02d}" for n in (0, second, third)))
    ax, titles = the_map(17), [f"t{n}" for n in range(17)]
    place = {text.get_text(): text.get_position() for text in ax.texts if text.get_text() in titles}
    rows = [[int(name[1:]) for name, (_, y) in place.items() if round(-y) == row] for row in range(3)]
    assert rows == [list(range(second)), list(range(second, third)), list(range(third, 17))]
    left, right = ax.get_xlim()
    assert len({(x, y) for x, y in place.values()}) == 17, "two boxes in one place"
    assert all(left < x < right for x, _ in place.values())


@pytest.mark.parametrize("numbers", [[0], [*range(14), 13], range(1, 16)])
def test_a_missing_notebook_is_an_error(numbers):
    with pytest.raises(ValueError, match="each once"):
        figures.course_map([(number, "start", True) for number in numbers])


WEIGHTS = {"depthwise": 9216, "bottleneck": 327680, "spatial": 2304, "gates": 262144}


SHAPES = {
    "x": (2, 31, 7, 9), "h": (2, 3, 7, 9), "c": (2, 4, 7, 9), "seen": (2, 32, 7, 9), "both": (2, 35, 7, 9),
    "b": (2, 5, 7, 9), "s": (2, 6, 7, 9), "gates": (2, 48, 7, 9), "i": (2, 11, 7, 9), "f": (2, 12, 7, 9),
    "g": (2, 13, 7, 9), "o": (2, 14, 7, 9), "new_c": (2, 15, 7, 9), "new_h": (2, 16, 7, 9),
}  # fmt: skip


def test_every_tensor_has_its_shape_and_every_layer_its_weights():
    fig = figures.bottleneck_lstm_diagram(SHAPES, WEIGHTS, title="a frame")
    ax = fig.axes[0]
    written = [text.get_text() for text in ax.texts]
    for shape in SHAPES.values():
        assert written.count("×".join(map(str, shape))) == 1
    for count in WEIGHTS.values():
        assert written.count(f"{count:,}") == 1
    for name in ("x", "h", "c", "x̃", "[x̃, h]", "b", "s", "c′", "h′", "σ(f + 1)", "σ(i)", "φ(g)", "σ(o)"):
        assert name in written
    boxes = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    assert len(boxes) == 8  # four convolutions, four gates


@pytest.mark.parametrize("part", [*WEIGHTS, "keep", "write", "show"])
def test_a_part_of_the_cell_is_highlighted_behind_it(part):
    fig = figures.bottleneck_lstm_diagram(SHAPES, WEIGHTS, highlight=part)
    boxes = [patch for patch in fig.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    assert len(boxes) == 9 and boxes[0].get_zorder() == 0 and f"Highlighted: {part}" in fig.alt_text
    with pytest.raises(ValueError, match="highlight='memory': expected one of depthwise"):
        figures.bottleneck_lstm_diagram(SHAPES, WEIGHTS, highlight="memory")


def test_no_words_cross():
    fig = figures.bottleneck_lstm_diagram({name: (1, 1024, 10, 10) for name in SHAPES}, WEIGHTS)
    renderer = FigureCanvasAgg(fig).get_renderer()
    fig.draw(renderer)
    texts = [text for text in fig.axes[0].texts if text.get_text()]
    extents = [text.get_window_extent(renderer) for text in texts]
    for k, one in enumerate(extents):
        for other, extent in zip(texts[:k], extents[:k], strict=True):
            across = min(one.x1, extent.x1) - max(one.x0, extent.x0)
            down = min(one.y1, extent.y1) - max(one.y0, extent.y0)
            assert min(across, down) < 1, f"{texts[k].get_text()!r} lies on {other.get_text()!r}"


@pytest.mark.parametrize(
    ("shapes", "weights", "message"),
    [
        ({}, WEIGHTS, "shapes: .* missing or unknown"),
        (SHAPES | {"z": (1,)}, WEIGHTS, "shapes: z missing or unknown, expected x, h, c"),
        (SHAPES, {"gates": 1}, "weights: bottleneck, depthwise, spatial missing"),
    ],
)
def test_what_is_missing_is_named(shapes, weights, message):
    with pytest.raises(ValueError, match=message):
        figures.bottleneck_lstm_diagram(shapes, weights)


def test_the_diagram_has_a_box_a_part():
    (ax,) = figures.pipeline_diagram([("find", "a", "b", "02"), ("read", "c", "d", "03")]).axes
    assert len(ax.patches) == 2
    assert {"a", "b", "02", "c", "d", "03"} <= {text.get_text() for text in ax.texts}
    with pytest.raises(ValueError, match="expected one of find"):
        figures.pipeline_diagram([("guess", "a", "b", "02")])
    with pytest.raises(ValueError, match="empty"):
        figures.pipeline_diagram([])


def test_the_cells_show_every_gate_of_the_equations():
    left, right = figures.lstm_gru_diagram().axes
    written = [{text.get_text() for text in ax.texts} for ax in (left, right)]
    assert {"i", "f", "g", "o", "c", "c′", "h′", "x, h"} <= written[0]
    assert {"r", "z", "n", "h", "h′", "1 − z", "x, h"} <= written[1]
