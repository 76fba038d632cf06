"""Figures are held to the arrays that they draw: the picture may change its looks, never its numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_hex

from lessons import figures
from lessons.figures import style
from lessons.figures.cost import as_video, human
from lessons.source import show

RNG = np.random.default_rng(0)


def images(fig):
    return [image for ax in fig.axes for image in ax.images]


def texts(ax):
    return [text.get_text() for text in ax.texts]


def overlaps(fig, labels) -> list[tuple[str, str]]:
    """Pairs of labels whose boxes cross once the figure is drawn."""
    fig.draw_without_rendering()
    boxes = [(t.get_text(), t.get_window_extent()) for t in labels if t.get_text() and t.get_visible()]
    return [(a, b) for i, (a, p) in enumerate(boxes) for b, q in boxes[i + 1 :] if p.overlaps(q)]


# --- style


def test_the_style_does_not_leak_into_the_readers_own_figures():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figures.curves({"a": [1.0, 2.0]})
    with pytest.raises(ValueError):
        figures.curves({})
    assert dict(mpl.rcParams) == before


def test_the_palette_is_that_of_okabe_and_ito():
    published = {"#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7"}
    assert {to_hex(color) for color in style.PALETTE} == published


def test_tensors_with_gradients_are_accepted():
    film = torch.rand(4, 5, 6, requires_grad=True)
    drawn = images(figures.filmstrip(film, [2]))[0].get_array()
    np.testing.assert_array_equal(drawn, film[2].detach())


@pytest.mark.parametrize("bad", [np.zeros((4, 5)), np.zeros((0, 3, 3)), np.full((2, 3, 3), np.nan)])
def test_arrays_that_cannot_be_drawn_are_named(bad):
    with pytest.raises(ValueError, match="frames"):
        figures.filmstrip(bad)


# --- filmstrip and saliency


def test_filmstrip_shows_the_chosen_frames_unscaled_with_their_captions():
    film = RNG.integers(0, 256, (10, 6, 8), dtype=np.uint8)
    fig = figures.filmstrip(film, [1, 4, 9], ["b", "i", "n"])
    for image, t in zip(images(fig), [1, 4, 9], strict=True):
        np.testing.assert_array_equal(image.get_array(), film[t])
        assert image.get_clim() == (0, 255)
    assert [ax.get_title() for ax in fig.axes] == ["1", "4", "9"]
    assert [ax.get_xlabel() for ax in fig.axes] == ["b", "i", "n"]


def test_filmstrip_uses_one_brightness_scale_for_a_whole_film_of_floats():
    film = RNG.normal(size=(5, 4, 4))
    limits = {image.get_clim() for image in images(figures.filmstrip(film, [0, 3]))}
    assert limits == {(film.min(), film.max())}


def test_filmstrip_keeps_color():
    film = RNG.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    np.testing.assert_array_equal(images(figures.filmstrip(film, [1]))[0].get_array(), film[1])


def test_filmstrip_chooses_from_the_first_to_the_last_frame():
    titles = [ax.get_title() for ax in figures.filmstrip(np.zeros((75, 2, 2))).axes]
    assert len(titles) == 8 and titles[0] == "0" and titles[-1] == "74"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(chosen=[10]), "from 0 to 9"),
        (dict(chosen=[-1]), "from 0 to 9"),
        (dict(chosen=[0, 1], captions=["a"]), "1 of them for 2"),
    ],
)
def test_filmstrip_says_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        figures.filmstrip(np.zeros((10, 4, 4)), **arguments)


def test_saliency_is_scaled_once_for_the_whole_film_and_clear_where_it_is_nothing():
    film = RNG.integers(0, 256, (4, 6, 8), dtype=np.uint8)
    heat = np.zeros((4, 6, 8))
    heat[0, :3], heat[1, :3] = 1.0, 0.5
    frame0, heat0, _, heat1 = images(figures.saliency_overlay(film, heat, [0, 1]))[:4]
    np.testing.assert_array_equal(frame0.get_array(), film[0])
    np.testing.assert_allclose(heat0.get_array(), heat[0])
    np.testing.assert_allclose(heat1.get_array(), heat[1])
    assert heat0.cmap(0.0)[3] == 0.0 and heat0.cmap(1.0)[3] > 0.9


@pytest.mark.parametrize("heat", [np.zeros((4, 8, 6)), -np.ones((4, 6, 8))])
def test_saliency_rejects_another_shape_and_negative_values(heat):
    with pytest.raises(ValueError, match="saliency"):
        figures.saliency_overlay(np.zeros((4, 6, 8)), heat)


# --- curves


def test_curves_draw_the_mean_and_the_range_of_the_seeds():
    seeds = RNG.random((3, 20))
    fig = figures.curves({"seeds": seeds, "one": (np.arange(0, 40, 2), seeds[0])}, plateau=(2, 7), level=0.5)
    ax = fig.axes[0]
    by_name = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(by_name["seeds"].get_ydata(), seeds.mean(0))
    np.testing.assert_array_equal(by_name["one"].get_xdata(), np.arange(0, 40, 2))
    band = next(c for c in ax.collections if isinstance(c, PolyCollection)).get_paths()[0].vertices
    assert band[:, 1].min() == seeds.min() and band[:, 1].max() == seeds.max()
    shaded = ax.patches[0].get_extents().transformed(ax.transData.inverted())
    assert (shaded.x0, shaded.x1) == pytest.approx((2, 7))
    assert {"seeds", "one", "blank plateau"} <= set(texts(ax))


def test_curves_of_logarithms_keep_their_heights_and_read_as_powers_of_ten():
    ax = figures.curves({"a": [[0.0, -3.5, -16.0], [0.0, -2.5, -12.0]]}, powers=True).axes[0]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0, -3, -14])  # the mean of the logarithms
    ticks = ax.get_yticks()
    assert all(float(tick).is_integer() for tick in ticks)
    write = ax.yaxis.get_major_formatter()
    assert (write(0, 0), write(-5, 0)) == ("1", "$10^{-5}$")


def test_names_at_the_ends_of_curves_never_overlap():
    fig = figures.curves(
        {name: [1.0, value] for name, value in zip("abcd", [0.5, 0.5, 0.501, 0.0], strict=True)}
    )
    names = [text for text in fig.axes[0].texts if text.get_text() in "abcd"]
    assert len(names) == 4 and overlaps(fig, names) == []


def test_names_stand_beside_curves_far_from_zero():
    ax = figures.curves({"box": [163.0, 199.0, 164.0], "head": [180.0, 198.0, 165.0]}).axes[0]
    names = [text for text in ax.texts if text.get_text() in ("box", "head")]
    assert len(names) == 2 and all(-0.2 < text.get_position()[1] < 1.2 for text in names)


def test_curves_reject_steps_of_another_length_and_too_many_runs():
    with pytest.raises(ValueError, match="steps: 3 of them for the 2 values of 'a'"):
        figures.curves({"a": [1, 2]}, steps=[0, 1, 2])
    with pytest.raises(ValueError, match="at most 6"):
        figures.curves({str(i): [1, 2] for i in range(7)})


# --- confusion


def test_confusion_shows_shares_of_rows():
    fig = figures.confusion_matrix(np.array([[3, 1], [0, 0]]), ["p", "b"])
    np.testing.assert_allclose(fig.axes[0].images[0].get_array(), [[0.75, 0.25], [0, 0]])
    assert texts(fig.axes[0]) == ["75", "25"]
    assert [label.get_text() for label in fig.axes[0].get_yticklabels()] == ["p", "b"]
    assert (fig.axes[0].get_ylabel(), fig.axes[0].get_xlabel()) == ("said", "read as")


@pytest.mark.parametrize("matrix", [np.zeros((2, 3)), np.array([[1, -1], [0, 1]])])
def test_confusion_rejects_bad_counts(matrix):
    with pytest.raises(ValueError, match="matrix"):
        figures.confusion_matrix(matrix, ["p", "b"])


# --- alignment and trellis


def test_alignment_draws_posteriors_path_and_words_at_their_frames():
    p = np.full((4, 3), 0.05)
    p[[0, 1, 2, 3], [0, 2, 2, 0]] = 0.9
    fig = figures.alignment(p, ["–", " ", "a"], [0, 2, 2, 0], [(0, 1, "sil"), (1, 3, "a")])
    heat, lane = fig.axes[0], fig.axes[1]
    np.testing.assert_allclose(heat.images[0].get_array(), p[:, [0, 2]].T)  # the space is never used
    assert [t.get_text() for t in heat.get_yticklabels()] == ["–", "a"]
    dots = next(line for line in heat.lines if line.get_label() == "path")
    np.testing.assert_array_equal(dots.get_ydata(), [0, 1, 1, 0])
    bars = [tuple(path.get_extents().intervalx) for c in lane.collections for path in c.get_paths()]
    assert bars == [(-0.5, 0.5), (0.5, 2.5)]  # frame t spans t - 0.5 to t + 0.5
    assert texts(lane) == ["sil", "a"]


def test_alignment_can_show_every_class():
    fig = figures.alignment(np.eye(3), ["–", " ", "a"], only_used=False)
    assert [t.get_text() for t in fig.axes[0].get_yticklabels()] == ["–", "␣", "a"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.log(np.full((4, 3), 0.3)), "abc"), "exp of log_probs"),
        ((np.eye(3), "ab"), "2 names for 3"),
        ((np.eye(3), "abc", [0, 1]), "2 entries for 3"),
    ],
)
def test_alignment_says_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        figures.alignment(*arguments)
    with pytest.raises(ValueError, match=message):
        figures.trellis(*arguments)


def test_trellis_dots_have_areas_in_proportion_and_only_legal_moves():
    p = np.array([[1.0, 0.0, 0.0, 0.0, 0.0], [0.5, 0.5, 0.0, 0.0, 0.0]])
    fig = figures.trellis(p, ["–", "a", "–", "a", "–"], [0, 1])
    ax = fig.axes[0]
    area = ax.collections[0].get_sizes().reshape(2, 5)
    np.testing.assert_allclose(area / area.max(), p)
    moves = {tuple(int(v) for v in line.get_ydata()) for line in ax.lines if line.get_label() != "best path"}
    stay, step = {(s, s) for s in range(5)}, {(s, s + 1) for s in range(4)}
    assert moves == stay | step  # a to a may not skip the blank between them
    fig = figures.trellis(p, ["–", "a", "–", "b", "–"])
    moves = {tuple(int(v) for v in line.get_ydata()) for line in fig.axes[0].lines}
    assert moves == stay | step | {(1, 3)}


# --- shape ladder

LIPNET = [
    ("input", (3, 75, 64, 128), 0, 0),
    ("conv1", (32, 75, 32, 64), 7_232, 1_105_920_000),
    ("pool1", (32, 75, 16, 32), 0, 0),
    ("conv2", (64, 75, 16, 32), 153_664, 5_898_240_000),
    ("pool2", (64, 75, 8, 16), 0, 0),
    ("conv3", (96, 75, 8, 16), 165_984, 1_592_524_800),
    ("pool3", (96, 75, 4, 8), 0, 0),
    ("gru1", (75, 512), 5_114_880, 383_000_000),
    ("gru2", (75, 512), 1_182_720, 88_000_000),
    ("linear", (75, 28), 14_364, 1_075_200),
]


def test_shape_ladder_bars_are_shares_and_boxes_are_to_scale():
    fig = figures.shape_ladder(LIPNET, title="LipNet")
    boxes, weights, work = fig.axes
    shares = np.array([bar.get_height() for bar in weights.patches])
    expected = np.array([rung[2] for rung in LIPNET])
    np.testing.assert_allclose(shares, expected / expected.sum())
    assert expected.sum() == 6_638_844 and "6.64 M" in weights.get_title(loc="left")
    assert sum(bar.get_height() for bar in work.patches) == pytest.approx(1)
    front = [np.ptp(patch.get_xy(), axis=0) for patch in boxes.patches[::3]]
    assert front[0] / front[1] == pytest.approx([2, 2])  # stride 2 halves height and width
    assert front[0][0] / front[0][1] == pytest.approx(2)  # 128 wide, 64 high
    assert boxes.get_xticklabels()[1].get_text() == "conv1\n32×75×32×64"


@pytest.mark.parametrize("layers", [LIPNET, LIPNET[:3]])
def test_shape_ladder_labels_do_not_overlap(layers):
    fig = figures.shape_ladder(layers)
    labels = fig.axes[0].get_xticklabels() + fig.axes[1].texts + fig.axes[2].texts
    assert overlaps(fig, labels) == []


def test_shape_ladder_helpers():
    assert [human(n) for n in (0, 999, 7_232, 165_984, 5_114_880, 5_898_240_000)] == [
        "0", "999", "7.23 k", "166 k", "5.11 M", "5.90 G",
    ]  # fmt: skip
    assert as_video((75, 28)) == (28, 75, 1, 1) and as_video((28,)) == (28, 1, 1, 1)
    with pytest.raises(ValueError, match="without the batch"):
        as_video((1, 3, 75, 64, 128))
    with pytest.raises(ValueError, match="layers: empty"):
        figures.shape_ladder([])


# --- space and time


def test_space_time_outlines_the_window_that_makes_the_output_value():
    film = RNG.random((6, 5, 7))
    out = RNG.normal(size=(2, 2, 3))
    fig = figures.space_time(film, out, (3, 3, 3), (1, 1, 2), stride=(2, 2, 2))
    cards = images(fig)
    for image, frame in zip(cards, [*film, *out], strict=True):
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
    ("position", "message"), [((2, 0, 0), "outside the output"), ((1, 0, 0), "outside the film")]
)
def test_space_time_rejects_a_place_outside(position, message):
    with pytest.raises(ValueError, match=message):
        figures.space_time(np.zeros((3, 3, 3)), np.zeros((2, 1, 1)), (3, 3, 3), position)


def test_space_time_cube_shows_the_slices_of_the_film():
    film = RNG.random((4, 5, 6))
    front, roof, side = images(figures.space_time_cube(film))
    np.testing.assert_array_equal(front.get_array(), film[0])
    np.testing.assert_array_equal(roof.get_array(), film[::-1, 0])  # the last frame lies farthest up the page
    np.testing.assert_array_equal(side.get_array(), film[:, :, -1].T)
    front, roof, side = images(figures.space_time_cube(film, cut=(2, 3)))
    np.testing.assert_array_equal(front.get_array(), film[0, 2:, :4])
    np.testing.assert_array_equal(roof.get_array(), film[::-1, 2, :4])
    np.testing.assert_array_equal(side.get_array(), film[:, 2:, 3].T)
    with pytest.raises(ValueError, match="outside a frame of 5 x 6"):
        figures.space_time_cube(film, cut=(5, 0))


# --- the finished source


def test_show_gives_the_source_without_its_docstring():
    assert "def human" in show(human) and "three digits" not in show(human)
    assert "three digits" in show(human, docstring=True)
    assert show(human)._repr_markdown_().startswith("```python\ndef human")
    namespace: dict = {}
    exec(show(human), namespace)  # what is left is still the function
    assert namespace["human"](7_232) == "7.23 k"


# --- kernels


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
    assert [ax.get_ylabel() for ax in drawn[:, 0]] == ["frame −1", "frame 0", "frame +1", "x–t cut"]
    with pytest.raises(ValueError, match="names: 1 of them for 2 filters"):
        figures.kernels(weight, ["left"])
