"""The map of the course draws what the course table says."""

from __future__ import annotations

import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch

from lessons.figures import course_map


def test_written_notebooks_are_filled_and_the_present_one_is_framed():
    ax = course_map([(n, f"t{n}", n in (0, 2)) for n in range(15)], here=2).axes[0]
    boxes = [p for p in ax.patches if isinstance(p, FancyBboxPatch)]
    assert len(boxes) == 15
    assert [n for n, box in enumerate(boxes) if to_hex(box.get_facecolor()) != "#ffffff"] == [0, 2]
    assert [n for n, box in enumerate(boxes) if box.get_linewidth() > 2] == [2]
    shown = {text.get_text() for text in ax.texts}
    assert {"00", "14", "t0", "t14"} <= shown
    assert len([text for text in ax.texts if hasattr(text, "arrow_patch")]) == 14  # 13 steps and one joint


def test_a_missing_notebook_is_an_error():
    with pytest.raises(ValueError, match="0 to 14"):
        course_map([(0, "start", True)])
