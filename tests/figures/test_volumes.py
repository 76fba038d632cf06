"""Slices of a clip, kernels and memory layouts show the values that they are given."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from lessons import figures
from lessons.figures import style
from tests.figures.artists import images

RNG = np.random.default_rng(0)


def test_space_time_outlines_the_window_that_makes_the_output_value():
    clip = RNG.random((6, 5, 7))
    out = RNG.normal(size=(2, 2, 3))
    fig = figures.space_time(clip, out, (3, 3, 3), (1, 1, 2), stride=(2, 2, 2))
    cards = images(fig)
    for image, frame in zip(cards, [*clip, *out], strict=True):
        np.testing.assert_array_equal(image.get_array(), frame)
    bound = np.abs(out).max()
    assert cards[-1].get_clim() == (-bound, bound)  # white is zero
    # Turn the outlines on the page back into pixels of the cards: the window must be rows 2..5, columns 4..7.
    ax = fig.axes[0]
    outlines = [
        p for p in ax.patches if hasattr(p, "get_xy") and to_hex(p.get_edgecolor()) == style.VERMILION.lower()
    ]
    assert len(outlines) == 3 + 1
    for outline, t in zip(outlines[:3], (2, 3, 4), strict=True):
        back = (cards[t].get_transform() - ax.transData).inverted()
        np.testing.assert_allclose(back.transform(outline.get_xy()[:3]), [[4, 2], [7, 2], [7, 5]], atol=1e-9)
    back = (cards[6 + 1].get_transform() - ax.transData).inverted()
    np.testing.assert_allclose(back.transform(outlines[3].get_xy()[:3]), [[2, 1], [3, 1], [3, 2]], atol=1e-9)


@pytest.mark.parametrize(
    ("position", "message"), [((2, 0, 0), "outside the output"), ((1, 0, 0), "outside the clip")]
)
def test_space_time_rejects_a_place_outside(position, message):
    with pytest.raises(ValueError, match=message):
        figures.space_time(np.zeros((3, 3, 3)), np.zeros((2, 1, 1)), (3, 3, 3), position)


def test_space_time_cube_shows_the_slices_of_the_clip():
    clip = RNG.random((4, 5, 6))
    front, roof, side = images(figures.space_time_cube(clip))
    np.testing.assert_array_equal(front.get_array(), clip[0])
    np.testing.assert_array_equal(roof.get_array(), clip[::-1, 0])  # the last frame lies farthest up the page
    np.testing.assert_array_equal(side.get_array(), clip[:, :, -1].T)
    front, roof, side = images(figures.space_time_cube(clip, cut=(2, 3)))
    np.testing.assert_array_equal(front.get_array(), clip[0, 2:, :4])
    np.testing.assert_array_equal(roof.get_array(), clip[::-1, 2, :4])
    np.testing.assert_array_equal(side.get_array(), clip[:, 2:, 3].T)
    with pytest.raises(ValueError, match="outside a frame of 5 x 6"):
        figures.space_time_cube(clip, cut=(5, 0))


def test_kernels_show_each_frame_of_each_filter_and_its_cut_through_time():
    weight = RNG.uniform(-1, 1, size=(2, 3, 5, 4))
    weight[0, :, 2], weight[1, :, 3] = 1.5, -1.5  # rows with the largest weights
    fig = figures.kernels(weight, ["left", "right"])
    drawn = np.array(fig.axes, dtype=object).reshape(4, 2)
    for o in range(2):
        for t in range(3):
            image = drawn[t, o].images[0]
            np.testing.assert_array_equal(image.get_array(), weight[o, t])
            assert image.get_clim() == (-np.abs(weight[o]).max(), np.abs(weight[o]).max())
        np.testing.assert_array_equal(drawn[3, o].images[0].get_array(), weight[o][:, 2 + o])
    assert [ax.get_title(loc="center") for ax in drawn[0]] == ["left", "right"]
    assert [ax.get_ylabel() for ax in drawn[:, 0]] == ["frame −1", "frame 0", "frame +1", "x–t slice"]
    with pytest.raises(ValueError, match="names: 1 of them for 2 filters"):
        figures.kernels(weight, ["left"])


def test_slices_show_a_frame_a_row_and_a_column():
    clip = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), dtype=np.uint8)
    fig = figures.space_time_slices(clip, t=1, row=2, column=3)
    drawn = {ax.get_title(loc="left"): ax.images[0].get_array() for ax in fig.axes if ax.images}
    np.testing.assert_array_equal(drawn["frame 1"], clip[1])
    np.testing.assert_array_equal(drawn["x–t slice: row 2"], clip[:, 2])
    np.testing.assert_array_equal(drawn["y–t slice: column 3"], clip[:, :, 3].swapaxes(0, 1))
    gray = figures.space_time_slices(torch.rand(5, 6, 7), 0, 0, 0)
    assert gray.axes[0].images[0].get_clim() == (0, 1)
    with pytest.raises(ValueError, match="outside the clip, 5 x 6 x 7"):
        figures.space_time_slices(clip, t=5, row=0, column=0)
    with pytest.raises(ValueError, match="expected"):
        figures.space_time_slices(clip[..., :2], 0, 0, 0)


def test_a_memory_layout_fills_one_cell_a_step_in_the_color_of_what_lies_there():
    memory = torch.arange(12).view(2, 2, 3)  # (H, W, C)
    walk = memory.permute(2, 0, 1)  # (C, H, W)
    letters = ["RGB"[place % 3] for place in range(12)]
    ax = figures.memory_layout({"permuted": walk}, letters).axes[0]
    cells = [p for p in ax.patches if p.get_width() == 1 and p.get_y() >= 0]
    assert [(p.get_x(), p.get_y()) for p in cells] == [(x, y) for y, x in enumerate(walk.flatten().tolist())]
    colors = [p.get_facecolor() for p in cells]
    assert len(set(colors)) == 3 and colors[0] == colors[3] != colors[4]
    with pytest.raises(ValueError, match="goes to 12, expected 0 to 11"):
        figures.memory_layout({"wrong": [12]}, letters)


def test_a_direction_tuning_curve_is_relative_to_its_largest_response():
    right, flat = np.array([4.0, 1, 1, 1, 1, 1, 1, 2]), np.full(8, 3.0)
    fig = figures.direction_tuning({"right": right, "flat": flat}, title="Tuning")
    for ax, r in zip(fig.axes, (right / 4, flat / 3), strict=True):
        angles, radii = ax.lines[0].get_data()
        np.testing.assert_allclose(radii, np.append(r, r[0]))
        np.testing.assert_allclose(angles[:8], np.arange(8) * np.pi / 4)
    assert "right at 0°" in fig.alt_text
    with pytest.raises(ValueError, match="at least one filter"):
        figures.direction_tuning({})
    with pytest.raises(ValueError, match="responses"):
        figures.direction_tuning({"negative": [-1.0, 1.0]})
