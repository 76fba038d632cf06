"""Frames, boxes, captions and words stand where they should."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from lessons import figures
from lessons.figures.style import GREEN, VERMILION
from tests.figures.artists import corners, images, labels, rectangles


def test_tensors_with_gradients_are_accepted():
    film = torch.rand(4, 5, 6, requires_grad=True)
    drawn = images(figures.filmstrip(film, [2]))[0].get_array()
    np.testing.assert_array_equal(drawn, film[2].detach())


@pytest.mark.parametrize("bad", [np.zeros((4, 5)), np.zeros((0, 3, 3)), np.full((2, 3, 3), np.nan)])
def test_arrays_that_cannot_be_drawn_are_named(bad):
    with pytest.raises(ValueError, match="frames"):
        figures.filmstrip(bad)


RNG = np.random.default_rng(0)


def test_filmstrip_shows_the_chosen_frames_unscaled_with_their_captions():
    film = RNG.integers(0, 256, (10, 6, 8), dtype=np.uint8)
    fig = figures.filmstrip(film, [1, 4, 9], ["b", "i", "n"])
    for image, t in zip(images(fig), [1, 4, 9], strict=True):
        np.testing.assert_array_equal(image.get_array(), film[t])
        assert image.get_clim() == (0, 255)
    assert [ax.get_title() for ax in fig.axes] == ["1", "4", "9"]
    assert [ax.get_xlabel() for ax in fig.axes] == ["b", "i", "n"]
    assert fig.alt_text == "3 images of a clip, frames 1 to 9, captioned b, i, n."


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


def live(**change):
    parts = {
        "frames": np.zeros((3, 8, 16), np.uint8),
        "crops": np.ones((3, 4, 8), np.uint8),
        "boxes": [{"found": np.array([[1, 2, 9, 6]])}, {}, {"found": np.array([[2, 2, 10, 6]])}],
        "transcripts": ["", "bin", "bin blue at"],
        "captions": ["frame 0", "frame 1", "frame 2"],
    } | change
    return figures.live_transcript(**parts)


def test_a_live_transcript_writes_what_is_new():
    axes = live().axes
    assert [ax.get_xlabel() for ax in axes[3:]] == ["·", "bin", "blue at"]
    assert [len(ax.patches) for ax in axes] == [1, 0, 1, 0, 0, 0]
    with pytest.raises(ValueError, match="as many of each"):
        live(transcripts=["", "bin"])


FILM = RNG.integers(0, 256, (6, 8, 16), dtype=np.uint8)


def test_clips_stand_in_rows_one_column_a_moment():
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
        ({"a": FILM[..., None]}, None, r"expected \(T, H, W\) or"),
        ({"a": FILM}, ["1"], "1 of them for 6 columns"),
        ({"a": np.full((2, 4, 8), np.nan)}, None, "NaN"),
    ],
)
def test_clips_that_do_not_fit_are_refused(films, captions, message):
    with pytest.raises(ValueError, match=message):
        figures.clip_rows(films, captions)


def test_a_word_timeline_draws_words_visemes_curves_and_frames_on_one_axis_of_time():
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


def test_a_word_timeline_can_show_a_part_and_leave_out_film_and_curves():
    fig = figures.word_timeline({"word": [(0, 2, "sil"), (2, 5, "two"), (5, 9, "now")]}, span=(2.5, 5))
    (blocks,) = fig.axes
    assert blocks.get_xlim() == (2.5, 5) and labels(blocks.texts) == ["two"]
    assert blocks.patches[0].get_x() == 2.5


@pytest.mark.parametrize(
    ("rows", "curves", "message"),
    [
        ({}, None, "at least one"),
        ({"word": []}, None, "at least one"),
        ({"word": [(3, 3, "at")]}, None, "expected start < end"),
        ({"word": [(0, 3, "at")]}, {str(i): [1.0] for i in range(7)}, "expected 1 to 6"),
        ({"word": [(0, 3, "at")]}, {"a": np.ones((2, 2))}, "2 axes"),
    ],
)
def test_timelines_that_cannot_be_read_are_refused(rows, curves, message):
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


EMPTY = np.zeros((3, 16, 16), np.uint8)


BOX = np.array([[2.0, 4, 10, 9]])


NONE = np.zeros((0, 4))


def test_boxed_clip_rows_draws_each_box_in_its_frame():
    boxes = {"below": [{"seen": BOX}, {"seen": NONE, "gone": BOX + 1}, {}]}
    fig = figures.boxed_clip_rows({"above": EMPTY, "below": EMPTY}, boxes, ["a", "b", "c"], dashed=["gone"])
    drawn = [[corners(patch) for patch in rectangles(ax)] for ax in fig.axes]
    # A pixel's middle is at a whole number, so its left edge is half a pixel before it.
    assert drawn == [[], [], [], [(1.5, 3.5, 9.5, 8.5)], [(2.5, 4.5, 10.5, 9.5)], []]
    seen, gone = (rectangles(fig.axes[k])[0] for k in (3, 4))
    assert to_hex(seen.get_edgecolor()).upper() == VERMILION and to_hex(gone.get_edgecolor()).upper() == GREEN
    assert seen.get_linestyle() in ("-", "solid") and gone.get_linestyle() not in ("-", "solid")
    assert [text.get_text() for text in fig.legends[0].get_texts()] == ["seen", "gone"]


def test_boxed_clip_rows_without_boxes_has_no_legend():
    assert figures.boxed_clip_rows({"film": EMPTY}, {}).legends == []


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ({"other": [{}, {}, {}]}, "no clip of this name"),
        ({"film": [{}, {}]}, "of 2 frames, the clip has 3"),
        ({"film": [{str(k): BOX for k in range(6)}, {}, {}]}, "6 kinds, expected at most 5"),
        ({"film": [{"seen": BOX * np.nan}, {}, {}]}, "NaN"),
    ],
)
def test_boxed_clip_rows_refuses(boxes, message):
    with pytest.raises(ValueError, match=message):
        figures.boxed_clip_rows({"film": EMPTY}, boxes)


def test_a_frame_stands_beside_the_probabilities_of_its_classes():
    frame, posterior = RNG.integers(0, 256, (4, 6, 3), np.uint8), torch.tensor([0.2, 0.1, 0.7])
    left, right = figures.frame_posterior(frame, posterior, ["-", " ", "a"]).axes
    np.testing.assert_array_equal(left.images[0].get_array(), frame)
    np.testing.assert_allclose([bar.get_height() for bar in right.patches], posterior, rtol=1e-6)
    assert [to_hex(bar.get_facecolor()) == VERMILION.lower() for bar in right.patches] == [False, False, True]
    assert [label.get_text() for label in right.get_xticklabels()] == ["-", "␣", "a"]
    with pytest.raises(ValueError, match="2 of them for 3 classes"):
        figures.frame_posterior(frame, posterior, ["-", "a"])
