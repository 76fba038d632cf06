"""layer_shares draws the amounts that it is given, and says what it cannot draw."""

from __future__ import annotations

import numpy as np
import pytest

from lessons import figures

TABLE = {"weights": [[1000, 3000], [1000, 9000]], "work": [[5.0, 5.0], [0.0, 40.0]]}


def test_bars_stack_to_the_amounts_and_name_shares_and_sums():
    fig = figures.layer_costs(["small", "large"], ["conv", "gru"], TABLE, title="two sizes")
    assert [ax.get_title("left") for ax in fig.axes] == ["weights", "work"]
    for ax, values in zip(fig.axes, TABLE.values(), strict=True):
        bars = np.array([[bar.get_width() for bar in group] for group in ax.containers]).T  # (N, K)
        np.testing.assert_array_equal(bars, values)
        starts = np.array([[bar.get_x() for bar in group] for group in ax.containers]).T
        np.testing.assert_array_equal(starts[:, 1], bars[:, 0])
    written = [text.get_text() for text in fig.axes[0].texts]
    assert "75 %" in written and "90 %" in written and "4.00 k" in written and "10.0 k" in written
    assert "0 %" not in [text.get_text() for text in fig.axes[1].texts]
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["small", "large"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], ["a"], {"w": [[1]]}), "at least one"),
        ((["s"], [], {"w": [[1]]}), "expected 1 to 6"),
        ((["s"], list("abcdefg"), {"w": [[1] * 7]}), "expected 1 to 6"),
        ((["s"], ["a", "b"], {"w": [[1]]}), "expected 1 settings x 2 layers"),
        ((["s"], ["a"], {"w": [[-1]]}), "smallest -1"),
        ((["s"], ["a"], {"w": [[np.nan]]}), "NaN"),
    ],
)
def test_what_cannot_be_drawn_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        figures.layer_costs(*arguments)
