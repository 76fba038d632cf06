"""The pictures of notebook 13 draw what they are given."""

from __future__ import annotations

import numpy as np
import pytest

from lessons import figures


def strip(**change):
    parts = {
        "frames": np.zeros((3, 8, 16), np.uint8),
        "crops": np.ones((3, 4, 8), np.uint8),
        "boxes": [{"found": np.array([[1, 2, 9, 6]])}, {}, {"found": np.array([[2, 2, 10, 6]])}],
        "transcripts": ["", "bin", "bin blue at"],
        "captions": ["frame 0", "frame 1", "frame 2"],
    } | change
    return figures.live_transcript(**parts)


def test_the_strip_says_what_is_new():
    axes = strip().axes
    assert [ax.get_xlabel() for ax in axes[3:]] == ["·", "bin", "blue at"]
    assert [len(ax.patches) for ax in axes] == [1, 0, 1, 0, 0, 0]
    with pytest.raises(ValueError, match="as many of each"):
        strip(transcripts=["", "bin"])


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


def test_the_diagram_has_a_box_a_part():
    (ax,) = figures.pipeline_diagram([("find", "a", "b", "02"), ("read", "c", "d", "03")]).axes
    assert len(ax.patches) == 2
    assert {"a", "b", "02", "c", "d", "03"} <= {text.get_text() for text in ax.texts}
    with pytest.raises(ValueError, match="expected one of find"):
        figures.pipeline_diagram([("guess", "a", "b", "02")])
    with pytest.raises(ValueError, match="empty"):
        figures.pipeline_diagram([])
