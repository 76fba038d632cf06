"""Videos of talking heads: what they promise of boxes, hands, posters, chance; and crops of boxes."""

from __future__ import annotations

import numpy as np
import pytest

from lessons.data.box_crop import box_weights, crop_box
from lessons.data.image import area_weights, resize_area
from lessons.data.synthetic.heads import LEVELS, SIZE, Hardship, talking_videos

STILL = Hardship(noise=0.0, blur=(0.0, 0.0))


def draw(hardship=STILL, n=3, n_frames=12, seed=0):
    return talking_videos([hardship] * n, np.random.default_rng(seed), n_frames)


def test_shapes_and_ranges():
    videos = draw(n_frames=75, n=2)
    assert len(videos) == 2 and videos.frames.shape == (2, 75, *SIZE) and videos.frames.dtype == np.uint8
    assert videos.boxes.shape == (2, 75, 4) and videos.boxes.dtype == np.float32
    assert videos.visible.shape == (2, 75) and videos.posters.shape == (2,)
    assert len(videos.transcripts) == len(videos.segments) == 2
    for sentence, segments in zip(videos.transcripts, videos.segments, strict=True):
        assert [word for _, _, word in segments] == ["sil", *sentence.split(), "sil"]


def test_the_mouth_is_large_enough_and_within_the_picture():
    boxes = draw(n=40, n_frames=30, seed=1).boxes
    sides = boxes[..., 2:] - boxes[..., :2]
    assert np.allclose(sides[..., 0], 2 * sides[..., 1], atol=1e-3)
    assert sides[..., 0].min() >= 56 and sides[..., 0].max() <= 68
    assert boxes[..., :2].min() >= 0 and (boxes[..., 2:] <= [SIZE[1], SIZE[0]]).all()
    assert np.abs(np.diff(boxes, axis=1)).max() < 2.5  # no head moves so far that a box seems to jump


def test_the_mouth_is_where_the_box_says():
    """What changes in a video without hand, noise and blinking is, for the most part, within the box."""
    videos = draw(Hardship(noise=0.0, blur=(0.0, 0.0), poster=1.0), n=4, n_frames=20, seed=2)
    for video, boxes in zip(videos.frames, videos.boxes, strict=True):
        crops = np.stack([crop_box(frame, box, (32, 64)) for frame, box in zip(video, boxes, strict=True)])
        lips, cheeks = crops[:, 10:24, 16:48], crops[:, :4, 16:48]
        assert lips.std(0).mean() > 3 * cheeks.std(0).mean()


def test_equal_states_give_equal_videos_and_other_hardships_the_same_people():
    one, two = draw(seed=5), draw(seed=5)
    assert np.array_equal(one.frames, two.frames) and one.transcripts == two.transcripts
    harder = draw(Hardship(hidden=0.5, noise=0.05, flicker=0.05), seed=5)
    assert np.array_equal(one.boxes, harder.boxes) and one.transcripts == harder.transcripts
    assert not np.array_equal(one.frames, harder.frames)
    assert draw(seed=6).transcripts != one.transcripts


def test_hands_hide_as_often_as_asked_and_are_seen():
    hidden = draw(Hardship(hidden=0.3, noise=0.0, blur=(0.0, 0.0)), n=25, n_frames=30)
    assert 0.15 < (hidden.visible < 0.1).mean() < 0.45
    assert (hidden.visible >= 0).all() and (hidden.visible <= 1).all()
    clear = draw(STILL, n=25, n_frames=30)
    assert (clear.visible == 1).all()
    changed = np.abs(hidden.frames.astype(int) - clear.frames).mean((2, 3))  # (N, T)
    assert changed[hidden.visible < 0.1].min() > 0.3  # its shade may be nearly that of the skin


def test_a_poster_never_moves():
    with_one = draw(Hardship(noise=0.0, blur=(0.0, 0.0), poster=1.0), n=6, n_frames=10)
    assert (0 < with_one.posters).all() and (with_one.posters < 10).all()
    assert (draw(Hardship(poster=0.0), n_frames=10).posters == 10).all()
    for video, box, hung in zip(with_one.frames, with_one.boxes, with_one.posters, strict=True):
        other_half = video[:, :, :70] if box[0, 0] > 96 else video[:, :, -70:]
        before, after = other_half[:hung], other_half[hung:]
        for part in (before, after):
            assert np.ptp(part, axis=0).max() <= 1  # a byte may be rounded up or down
        assert (before[0] != after[0]).mean() > 0.2


def test_levels_get_harder():
    for a, b in zip(list(LEVELS.values()), list(LEVELS.values())[1:], strict=False):
        assert a.hidden < b.hidden and a.noise < b.noise and a.flicker < b.flicker


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(hidden=0.9), "hidden: 0.9"),
        (dict(hidden=-0.1), "hidden"),
        (dict(hidden=float("nan")), "hidden"),
        (dict(poster=2), "poster: 2"),
        (dict(noise=-1.0), "noise"),
        (dict(blur=(1.0, 0.5)), "blur"),
    ],
)
def test_impossible_hardships_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Hardship(**change)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="expected a generator"):
        talking_videos([STILL], 0)
    with pytest.raises(ValueError, match="expected 1 to 75"):
        talking_videos([STILL], np.random.default_rng(0), 76)
    with pytest.raises(ValueError, match="one for each video"):
        talking_videos([], np.random.default_rng(0))


# Crops


def test_a_crop_of_the_whole_picture_is_its_resized_picture():
    frame = np.random.default_rng(0).integers(0, 256, (24, 40), np.uint8)
    assert np.array_equal(box_weights(0, 24, 24, 7), area_weights(24, 7))
    assert np.array_equal(
        crop_box(frame, np.array([0, 0, 40, 24]), (7, 11)), resize_area(frame[None], (7, 11))[0]
    )
    assert np.array_equal(crop_box(frame, np.array([3, 2, 13, 8]), (6, 10)), frame[2:8, 3:13])


def test_a_crop_between_pixels_and_over_the_border():
    ramp = np.arange(10, dtype=np.uint8)[None].repeat(4, 0) * 20  # (4, 10)
    assert crop_box(ramp, np.array([2.5, 0, 4.5, 4]), (1, 2)).tolist() == [[50, 70]]
    assert crop_box(ramp, np.array([-4, -4, 2, 0]), (2, 6)).tolist() == [[0, 0, 0, 0, 0, 20]] * 2
    assert crop_box(ramp, np.array([8, 1, 12, 3]), (2, 4)).tolist() == [[160, 180, 180, 180]] * 2
    assert (crop_box(ramp, np.array([30, 30, 40, 35]), (2, 4)) == 180).all()
    assert np.allclose(box_weights(-3.3, 14.9, 10, 7).sum(1), 1)


@pytest.mark.parametrize(
    ("frame", "box", "message"),
    [
        (np.zeros((4, 4)), [0, 0, 2, 2], "float64"),
        (np.zeros((4, 4, 3), np.uint8), [0, 0, 2, 2], "expected uint8"),
        (None, [0, 0, 2, 2], "NoneType"),
        (np.zeros((4, 4), np.uint8), [2, 0, 2, 2], "x0 < x1"),
        (np.zeros((4, 4), np.uint8), [0, 0, float("nan"), 2], "finite"),
        (np.zeros((4, 4), np.uint8), [0, 0, 2], "box"),
    ],
)
def test_bad_crops_are_refused(frame, box, message):
    with pytest.raises(ValueError, match=message):
        crop_box(frame, box, (2, 2))
    with pytest.raises(ValueError, match="size"):
        crop_box(np.zeros((4, 4), np.uint8), [0, 0, 2, 2], (0, 2))
