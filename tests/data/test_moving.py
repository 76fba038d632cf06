"""Moving things: boxes are exact, motion stays in the picture, things vanish as often as they should."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from lessons.data.synthetic.moving import TRACKING, MovingClips, Scene, bounce, missing, moving_clips
from lessons.data.synthetic.sprites import CELLS, DIGITS, DOTS, KINDS, coverage, sprite
from lessons.detection.boxes import iou

CLEAR = Scene(objects=(1, 1), noise=0.0, flicker=0.0, blur=(0, 0))  # one thing, a perfect camera


def draw(n: int = 4, seed: int = 0, **settings) -> MovingClips:
    return moving_clips(n, np.random.default_rng(seed), **settings)


# Sprites


@pytest.mark.parametrize("kind", KINDS)
def test_sprites_touch_all_four_sides(kind):
    picture = sprite(kind)
    assert picture.shape == (CELLS, CELLS) and picture.dtype == np.float32
    assert 0 <= picture.min() and picture.max() <= 1 + 1e-6
    for edge in (picture[0], picture[-1], picture[:, 0], picture[:, -1]):
        assert edge.max() > 0.2
    with pytest.raises(ValueError, match="read-only"):
        picture[0, 0] = 1


def test_sprites_differ():
    pictures = [sprite(kind) for kind in KINDS]
    for i, a in enumerate(pictures):
        for b in pictures[:i]:
            assert np.abs(a - b).mean() > 0.04
    assert all(len(DOTS[d].split()) == 7 and {len(row) for row in DOTS[d].split()} == {5} for d in DIGITS)


def test_areas_are_those_of_geometry():
    for kind, share in {"disc": np.pi / 4, "square": 1, "triangle": 1 / 2, "cross": 5 / 9}.items():
        assert sprite(kind).mean() == pytest.approx(share, abs=0.01)


def test_coverage_is_the_overlap_of_intervals():
    rng = np.random.default_rng(0)
    for _ in range(20):
        start, length, cells, pixels = rng.uniform(-5, 8), rng.uniform(0.5, 12), rng.integers(1, 6), 9
        found = coverage(np.array(start), np.array(length), cells, pixels)  # (9, cells)
        for i in range(pixels):
            for j in range(cells):
                low, high = start + length * j / cells, start + length * (j + 1) / cells
                assert found[i, j] == pytest.approx(max(0, min(high, i + 1) - max(low, i)), abs=1e-12)


def test_an_unknown_kind_is_named():
    with pytest.raises(ValueError, match="'hexagon', expected one of disc"):
        sprite("hexagon")


# Clips


def test_shapes_and_types():
    clips = draw(3, n_frames=5)
    assert clips.frames.shape == (3, 5, 64, 64) and clips.frames.dtype == np.uint8
    assert clips.boxes.shape == (3, 5, 3, 4) and clips.boxes.dtype == np.float32
    assert clips.labels.shape == (3, 3) and clips.visible.shape == (3, 5, 3)
    assert len(clips) == 3 and len(clips[1:]) == 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_box_is_where_the_pixels_are(kind):
    scene = replace(CLEAR, kinds=(kind,), contrast=(0.5, 0.5))
    clips = draw(6, n_frames=4, scene=scene)
    empty = draw(6, n_frames=4, scene=scene, vanish=1.0)  # the same background
    changed = np.abs(clips.frames.astype(int) - empty.frames) > 0  # (N, T, H, W)
    for i in range(6):
        for t in range(4):
            rows, columns = (np.flatnonzero(changed[i, t].any(axis)) for axis in (1, 0))
            x0, y0, x1, y1 = clips.boxes[i, t, 0]
            # Nothing outside the box, and the box no more than a little larger: thin tips hardly show.
            assert columns[0] >= np.floor(x0) and columns[-1] < np.ceil(x1)
            assert rows[0] >= np.floor(y0) and rows[-1] < np.ceil(y1)
            assert columns[0] - x0 < 1.5 and x1 - columns[-1] - 1 < 1.5
            assert rows[0] - y0 < 1.5 and y1 - rows[-1] - 1 < 1.5


def test_things_stay_in_the_picture_and_move_as_told():
    scene = Scene(objects=(3, 3), speeds=(1.0, 1.0), size=(40, 56))
    clips = draw(20, n_frames=60, scene=scene)
    assert (clips.boxes >= 0).all() and (clips.boxes[..., 2:] <= (56, 40)).all()
    sides = clips.boxes[..., 2:] - clips.boxes[..., :2]
    np.testing.assert_allclose(sides, sides[:, :1].repeat(60, 1), atol=1e-4)
    step = np.linalg.norm(np.diff(clips.boxes[..., :2], axis=1), axis=-1)
    assert step.max() < 1 + 1e-4 and np.median(step) == pytest.approx(1, abs=1e-4)  # shorter only at a wall
    assert (clips.boxes[..., 0].min(1) < 2).any() and (clips.boxes[..., 2].max(1) > 54).any()


def test_bounce_is_a_ball_between_walls():
    position, speed, path = 2.0, 0.7, []
    for _ in range(50):
        path.append(position)
        position += speed
        if position > 5:
            position, speed = 10 - position, -speed
        if position < 0:
            position, speed = -position, -speed
    np.testing.assert_allclose(bounce(2 + 0.7 * np.arange(50), np.array(5.0)), path, atol=1e-9)
    np.testing.assert_allclose(bounce(np.array([0.0, 3.0]), np.zeros(2)), 0, atol=1e-8)  # no room: it stands


def test_the_same_seed_gives_the_same_clips():
    a, b, c = draw(2, 1), draw(2, 1), draw(2, 2)
    assert (a.frames == b.frames).all() and (a.boxes == b.boxes).all()
    assert (a.frames != c.frames).any()


def test_vanishing_changes_pixels_and_no_box():
    there, gone = draw(5, scene=CLEAR), draw(5, scene=CLEAR, vanish=1.0)
    assert (there.boxes == gone.boxes).all() and (there.labels == gone.labels).all()
    assert (there.visible == 1).all() and (gone.visible == 0).all()
    assert gone.frames.std() < there.frames.std()


@pytest.mark.parametrize("burst", [None, 4.0])
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_things_are_gone_as_often_as_asked(share, burst):
    gone = missing(np.random.default_rng(0), (400, 100, 3), np.asarray(share), burst)
    assert gone.mean() == pytest.approx(share, abs=0.02)
    assert gone[:, 0].mean() == pytest.approx(share, abs=0.04)  # from the first frame on
    ends = (gone[:, :-1] & ~gone[:, 1:]).sum()
    mean_length = gone[:, :-1].sum() / ends
    assert mean_length == pytest.approx(burst or 1 / (1 - share), rel=0.05)


def test_each_clip_may_have_its_own_share():
    clips = draw(3, vanish=np.array([0.0, 0.5, 1.0]), n_frames=40, scene=CLEAR)
    assert clips.visible[0].all() and not clips.visible[2].any()
    assert 5 < clips.visible[1].astype(bool).sum() < 35


def test_a_bar_hides_and_the_box_stays():
    scene = replace(CLEAR, occluders=(1, 1), heights=(12, 14))
    clips = draw(30, scene=scene, n_frames=30)
    assert (clips.visible == 0).any() and (clips.visible == 1).any()
    partly = (clips.visible > 0.01) & (clips.visible < 0.99)
    assert partly.any() and (clips.boxes[..., 2] > clips.boxes[..., 0]).all()


def test_of_two_things_the_nearer_hides_the_other():
    scene = replace(CLEAR, objects=(2, 2), kinds=("square",), heights=(18, 18), size=(21, 21))
    clips = draw(40, scene=scene)  # so little room that they always overlap
    assert (clips.visible[..., 1] == 1).all()
    overlap = np.minimum(clips.boxes[:, :, 0, 2:], clips.boxes[:, :, 1, 2:]) - np.maximum(
        clips.boxes[:, :, 0, :2], clips.boxes[:, :, 1, :2]
    )
    area = np.prod(clips.boxes[:, :, 0, 2:] - clips.boxes[:, :, 0, :2], -1)
    # Where both edges run through a pixel, each covers a share of it, and the shares are taken as apart.
    np.testing.assert_allclose(clips.visible[..., 0], 1 - overlap.prod(-1) / area, atol=0.06)


def test_the_camera_is_as_poor_as_told():
    still = Scene(objects=(0, 0), blur=(0, 0), flicker=0.0, noise=0.1)
    noise = np.diff(draw(4, scene=still).frames.astype(float), axis=1) / 255
    assert noise.std() / np.sqrt(2) == pytest.approx(0.1, abs=0.003)
    flicker = draw(30, scene=replace(still, noise=0.0, flicker=0.1)).frames.mean((2, 3)) / 255  # (N, T)
    assert (flicker.std(1) / flicker.mean(1)).mean() == pytest.approx(0.1, abs=0.01)
    sharp, soft = (draw(6, scene=replace(CLEAR, blur=(b, b))).frames.astype(float) for b in (0, 2))
    assert sharp.mean() == pytest.approx(soft.mean(), abs=0.5)  # blur moves light and loses none
    assert np.abs(np.diff(soft)).max() < 0.6 * np.abs(np.diff(sharp)).max()


def test_a_photograph_as_a_background_stands_still_and_moves_nobody():
    scene = replace(CLEAR, photo=0.1)
    there, bare = draw(6, scene=scene), draw(6, scene=replace(scene, objects=(0, 0)))
    np.testing.assert_array_equal(there.boxes, draw(6, scene=CLEAR).boxes)
    pixels = bare.frames / 255  # (N, T, H, W)
    assert (pixels == pixels[:, :1]).all()
    np.testing.assert_allclose(pixels[:, 0].std((1, 2)), 0.1, atol=0.015)  # clipped at white
    assert len({clip.tobytes() for clip in pixels}) == 6  # six parts of it
    wide = draw(2, scene=replace(scene, size=(48, 96))).frames
    assert wide.shape[2:] == (48, 96)


def test_empty_places_and_no_clips():
    clips = draw(50, scene=Scene(objects=(0, 2)))
    empty = clips.labels < 0
    assert empty.any() and not empty.all()
    assert (clips.boxes.transpose(0, 2, 1, 3)[empty] == 0).all()
    assert (clips.visible.transpose(0, 2, 1)[empty] == 0).all()
    assert draw(0).frames.shape == (0, 16, 64, 64)
    assert draw(2, scene=Scene(objects=(0, 0))).boxes.shape == (2, 16, 0, 4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(n_frames=0), "n_frames: 0"),
        (dict(n=-1), "n: -1"),
        (dict(vanish=1.5), "vanish: 1.5"),
        (dict(vanish=float("nan")), "vanish: nan"),
        (dict(vanish=np.array([0.1, 0.2, 0.3])), "one for each of 4"),
        (dict(vanish=0.9, burst=2.0), "burst: 2.0"),
        (dict(vanish=0.1, burst=0.5), "burst: 0.5"),
        (dict(vanish=0.1, burst=float("nan")), "burst: nan"),
    ],
)
def test_numbers_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        draw(**settings)


def test_a_seed_is_no_generator():
    with pytest.raises(ValueError, match=r"rng is a int, expected a generator: use np.random.default_rng"):
        moving_clips(1, 0)


def test_a_slice_of_clips_is_clips_and_a_place_is_refused():
    clips = draw(3, n_frames=2)
    part = clips[1:]
    assert len(part) == 2 and (part.frames == clips.frames[1:]).all() and len(clips[5:]) == 0
    for place in (1, np.array([0, 2])):
        with pytest.raises(ValueError, match="expected a slice"):
            clips[place]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(kinds=("disc", "hexagon")), "'hexagon'"),
        (dict(kinds=()), "kinds: empty"),
        (dict(objects=(3, 1)), r"objects: \(3, 1\)"),
        (dict(noise=-0.1), "noise: -0.1"),
        (dict(photo=-0.1), "photo: -0.1"),
        (dict(heights=(12, 60)), "heights"),
        (dict(heights=(0, 20)), "heights"),
        (dict(heights=(float("nan"), 20)), "heights: .*nan"),
        (dict(noise=float("nan")), "noise: nan"),
        (dict(size=(1, 1)), "heights: .* within size"),
    ],
)
def test_impossible_scenes_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Scene(**settings)


def test_it_is_fast_enough_to_draw_while_training():
    began = time.process_time()
    draw(8, n_frames=10)
    assert time.process_time() - began < 1  # usually 0.05: beside 0.3 for a step of training


# Turning and look-alikes


def test_a_turning_path_is_a_circle_between_walls():
    scene = replace(CLEAR, size=(200, 200), heights=(5, 5), speeds=(2.0, 2.0), turns=(0.2, 0.2))
    boxes = draw(12, n_frames=40, scene=scene).boxes[:, :, 0]  # (N, T, 4)
    center = (boxes[..., :2] + boxes[..., 2:]) / 2
    step = np.diff(center, axis=1)
    angle = np.arctan2(step[..., 1], step[..., 0])
    turned = np.abs((np.diff(angle, axis=1) + np.pi) % (2 * np.pi) - np.pi)
    assert np.median(turned) == pytest.approx(0.2, abs=1e-3)
    assert np.median(np.hypot(*step.T)) == pytest.approx(2.0, abs=1e-3)
    away = (boxes[..., :2].min((1, 2)) > 2) & (boxes[..., 2:].max((1, 2)) < 198)  # met no wall
    assert away.any()
    for path in center[away]:  # in 2 pi / 0.2 = 31.4 frames it is back; a circle of radius 2 / (2 sin 0.1)
        assert np.linalg.norm(path[31] - path[0]) < 1.5
        assert np.ptp(path, axis=0) == pytest.approx(2 / np.sin(0.1), abs=0.3)
    assert (boxes >= 0).all() and (boxes <= 200).all()


def test_look_alikes_are_drawn_and_are_not_to_be_found():
    scene = replace(CLEAR, objects=(0, 0), look_alikes=(1, 1), speeds=(3, 3), contrast=(0.5, 0.5))
    clips = draw(4, n_frames=6, scene=scene)
    assert clips.boxes.shape == (4, 6, 0, 4) and clips.labels.shape == (4, 0)
    assert (clips.frames == clips.frames[:, :1]).all()  # it stands still
    assert (np.ptp(clips.frames.astype(int), axis=(2, 3)) > 80).all()  # and is there
    with_objects = draw(20, scene=replace(scene, objects=(1, 2), look_alikes=(0, 2)), vanish=0.3)
    assert with_objects.labels.shape == (20, 2) and (with_objects.labels[:, 0] >= 0).all()
    assert (with_objects.labels[:, 1] < 0).any()
    moved = np.abs(np.diff(with_objects.boxes[:, :, 0], axis=1)).max((1, 2))
    assert (moved > 1).all()  # what is to be found moves


def test_a_look_alike_vanishes_too_and_stands_behind():
    scene = replace(CLEAR, size=(24, 24), kinds=("square",), heights=(20, 20), look_alikes=(1, 1))
    assert (draw(9, scene=scene).visible == 1).all()  # nothing to be found is ever behind it
    only = replace(scene, objects=(0, 0))
    frames = draw(30, n_frames=8, scene=only, vanish=0.5).frames
    assert (np.abs(np.diff(frames.astype(int), axis=1)).max((2, 3)) > 20).any()


def test_the_first_world_is_as_it_was():
    clips = draw(2, seed=3, n_frames=3, vanish=0.4, burst=4.0)
    assert clips.frames.astype(int).sum() == 2845063  # computed before turns and look-alikes


def test_in_the_tracking_world_a_frozen_box_is_soon_wrong():
    clips = moving_clips(200, np.random.default_rng(0), 8, scene=replace(TRACKING, objects=(1, 1)))
    boxes = torch.from_numpy(clips.boxes[:, :, 0])

    def right(gap: int) -> float:
        return float(np.mean([(iou(b[:1], b[gap : gap + 1]) >= 0.5).item() for b in boxes]))

    assert right(1) > 0.9 and right(2) < 0.5 and right(3) < 0.2


def test_crossings_happen_in_the_tracking_world():
    clips = draw(60, scene=TRACKING)
    partly = (clips.visible > 0) & (clips.visible < 0.9)
    assert 0.02 < partly.any((1, 2)).mean() and partly.any()
