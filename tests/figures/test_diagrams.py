"""Diagrams write every name, shape and number that they are given."""

from __future__ import annotations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch

from lessons import figures


def test_written_notebooks_are_filled_and_the_present_one_is_framed():
    ax = figures.course_map([(n, f"t{n}", n in (0, 2)) for n in range(15)], here=2).axes[0]
    boxes = [p for p in ax.patches if isinstance(p, FancyBboxPatch)]
    assert len(boxes) == 15
    assert [n for n, box in enumerate(boxes) if to_hex(box.get_facecolor()) != "#ffffff"] == [0, 2]
    assert [n for n, box in enumerate(boxes) if box.get_linewidth() > 2] == [2]
    shown = {text.get_text() for text in ax.texts}
    assert {"00", "14", "t0", "t14"} <= shown
    assert len([text for text in ax.texts if hasattr(text, "arrow_patch")]) == 14  # 13 steps and one joint


def test_a_missing_notebook_is_an_error():
    with pytest.raises(ValueError, match="0 to 14"):
        figures.course_map([(0, "start", True)])


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
