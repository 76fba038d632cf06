"""How a mouth moves: measures that mean the same on every face, whole clips, other timings, drawn mouths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lessons.data.motions import (
    FRAMES,
    MEASURES,
    POINTS,
    Motion,
    mouth_measures,
    spoken_span,
    standardized,
    varied,
    warped_time,
    whole_clip,
)
from lessons.data.synthetic.mouth_drawing import LUMA, colors, mouth_edges, mouth_points, render
from lessons.data.synthetic.speaker import Speaker
from lessons.data.synthetic.talker import say, synthetic_people
from lessons.data.synthetic.visemes import SHAPE

SEEDS = st.integers(0, 2**32 - 1)
SENTENCE = "place green with h seven again"


def somebody(seed: int = 0) -> Speaker:
    return Speaker.random(np.random.default_rng(seed))


def talking(seed: int = 0, n_frames: int = 75) -> np.ndarray:
    """Points (T, 9, 2) of a drawn mouth through a sentence."""
    shapes, _ = say(SENTENCE, 1.0, np.random.default_rng(seed), n_frames)
    return mouth_points(shapes, somebody(seed))


def motion_of(seed: int = 0) -> Motion:
    return next(iter(synthetic_people(1, seed)[1].values()))


# ---- measures ----------------------------------------------------------------------------------------------


@given(
    st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(-20, 20), st.floats(0.01, 500), st.integers(0, 20)
)
@settings(deadline=None, max_examples=60)
def test_measures_stay_when_the_points_are_shifted_turned_and_scaled(across, down, turn, scale, seed):
    points = talking(seed)
    rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    moved = scale * points @ rotation + [across, down]
    np.testing.assert_allclose(mouth_measures(moved), mouth_measures(points), rtol=0, atol=1e-5)


def test_a_head_that_lies_upside_down_is_turned_level():
    """Angles jump from pi to -pi there, and the middle of such angles points the wrong way."""
    points = talking()
    sway = 0.05 * np.sin(np.arange(len(points)))  # (T,) radians: some to each side
    turn = np.pi + sway
    rotation = np.stack([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]).transpose(2, 0, 1)
    upright = np.stack([[np.cos(sway), np.sin(sway)], [-np.sin(sway), np.cos(sway)]]).transpose(2, 0, 1)
    np.testing.assert_allclose(
        mouth_measures(points @ rotation), mouth_measures(points @ upright), rtol=0, atol=1e-5
    )


def test_what_each_measure_is():
    square = {
        "left corner": (0, 10), "right corner": (20, 10), "upper lip, middle": (10, 8),
        "lower lip, middle": (10, 13), "chin": (10, 40), "upper lip, right": (15, 8.5),
        "upper lip, left": (5, 9.5), "lower lip, right": (15, 12), "lower lip, left": (6, 11),
    }  # fmt: skip
    points = np.array([[square[name] for name in POINTS]] * 3, float)
    points[2] += [3, 2]  # a head that moves: a measure of its own, and no other's
    expected = {
        "width": 1, "upper lip, middle": -0.1, "lower lip, middle": 0.15, "upper lip, outer": -0.05,
        "lower lip, outer": 0.075, "upper lip, breadth": 0.5, "lower lip, breadth": 0.45, "chin": 1.5,
    }  # fmt: skip
    found = mouth_measures(points)
    assert found.dtype == np.float32
    for name, value in expected.items():
        np.testing.assert_allclose(found[:, MEASURES.index(name)], value, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(found[:, MEASURES.index("height of the mouth")], [0, 0, 0.1], atol=1e-6)


def test_a_mirrored_mouth_has_the_same_measures():
    points = talking() + np.random.default_rng(0).normal(0, 0.01, (75, 9, 2))  # no face is symmetric
    names = [name.replace("left", "-").replace("right", "left").replace("-", "right") for name in POINTS]
    mirrored = (points * [-1, 1])[:, [POINTS.index(name) for name in names]]
    np.testing.assert_allclose(mouth_measures(mirrored), mouth_measures(points), rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(5, 9), (5, 8, 2), (5, 9, 3), (0, 9, 2)])
def test_points_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"points: .*expected \(N, 9, 2\), N from 1"):
        mouth_measures(np.zeros(shape))


def test_points_that_are_not_finite_are_refused_and_a_mouth_of_no_size_is_not():
    points = talking()
    points[3, 2, 1] = np.nan
    with pytest.raises(ValueError, match="points: NaN or infinity"):
        mouth_measures(points)
    assert np.isfinite(mouth_measures(np.ones((4, 9, 2)))).all()
    assert mouth_measures(talking().astype(np.float16)[:1]).shape == (1, 9)


def test_standardized_has_mean_0_and_deviation_1_and_leaves_a_still_measure_still():
    measures = mouth_measures(talking())
    measures[:, 4] = 0.3
    shown = standardized(measures)
    np.testing.assert_allclose(shown.mean(0), 0, atol=1e-3)
    moving = measures.std(0) > 0.02
    assert moving.sum() >= 5
    np.testing.assert_allclose(shown.std(0)[moving], 1, atol=0.05)
    np.testing.assert_allclose(shown[:, 4], 0, atol=1e-3)


# ---- whole clips -------------------------------------------------------------------------------------------


@given(SEEDS)
@settings(deadline=None, max_examples=20)
def test_a_whole_clip_keeps_the_words_and_has_no_jump_at_their_ends(seed):
    motion = motion_of(seed % 7)
    clip = whole_clip(motion, np.random.default_rng(seed))
    start, end = motion.start, motion.start + len(motion.measures)
    assert clip.shape == (FRAMES, 9) and clip.dtype == np.float32
    np.testing.assert_array_equal(clip[start:end], motion.measures)
    # The mouth closes over 3 frames or more, so no step is as large as all that it does in the sentence.
    steps = np.abs(np.diff(clip, axis=0))  # (T - 1, 9)
    span = np.ptp(motion.measures, axis=0) + 1e-3
    assert (steps[[start - 1, end - 1]] / span < 0.75).all()
    opening = clip[:, 2] - clip[:, 1]
    far = np.r_[opening[: start - 8], opening[end + 8 :]]
    assert far.mean() < np.quantile(opening[start:end], 0.3)  # silent mouths are closed
    assert not np.array_equal(clip, whole_clip(motion, np.random.default_rng(seed + 1)))


def test_a_clip_may_be_shorter_or_longer_but_not_without_words():
    motion = motion_of()
    rng = np.random.default_rng(0)
    for n_frames in (motion.start + 1, 60, 100):
        clip = whole_clip(motion, rng, n_frames)
        kept = clip[motion.start : motion.start + len(motion.measures)]
        assert len(clip) == n_frames
        np.testing.assert_array_equal(kept, motion.measures[: len(kept)])
    with pytest.raises(ValueError, match=rf"n_frames={motion.start}: expected more, clip talker_0_00000"):
        whole_clip(motion, rng, motion.start)


# ---- other timings -----------------------------------------------------------------------------------------


@st.composite
def spoken(draw: st.DrawFn) -> tuple[tuple[float, float], int]:
    """Where speech begins and ends in a clip of some length."""
    length = draw(st.integers(8, 200))
    edges = st.floats(0, length, allow_subnormal=False)
    start, end = sorted(draw(st.tuples(edges, edges)))
    return (start, max(end, min(start + 1, length))), length


@given(spoken(), st.integers(2, 120), SEEDS)
@settings(deadline=None, max_examples=300)
def test_warped_time_rises_stays_in_the_clip_and_loses_no_word(clip, n_frames, seed):
    (start, end), length = clip
    moments = warped_time((start, end), np.random.default_rng(seed), length, n_frames)
    assert moments.shape == (n_frames,) and (np.diff(moments) >= 0).all()
    inside = (moments > 0) & (moments < length - 1)
    assert (np.diff(moments[inside]) > 0).all()
    assert moments.min() >= 0 and moments.max() <= length - 1
    assert moments[0] <= max(0, start - 1) + 1e-9 and moments[-1] >= min(length - 1, end + 1) - 1e-9


def test_warped_time_is_near_the_clips_own_and_differs_each_time():
    rng = np.random.default_rng(0)
    many = np.stack([warped_time((14, 50), rng) for _ in range(400)])  # (400, T)
    assert len({tuple(row) for row in many}) == 400
    np.testing.assert_allclose(many[:, 20:50].mean(0), np.arange(20, 50), atol=1.0)
    assert 1.0 < many[:, 32].std() < 3.0
    same = [warped_time((14, 50), np.random.default_rng(1)) for _ in range(2)]
    np.testing.assert_array_equal(*same)
    still = warped_time((14, 50), rng, speed=0.0, rhythm=0.0, shift=0.0)
    np.testing.assert_allclose(still, np.arange(75), atol=1e-9)
    with pytest.raises(ValueError, match="n_frames=1: expected 2 or more"):
        warped_time((14, 50), rng, n_frames=1)


def test_a_varied_motion_is_the_same_sentence():
    motion = motion_of()
    clip = standardized(whole_clip(motion, np.random.default_rng(0)))
    correlations, dropped = [], 0
    for seed in range(30):
        shown, frame = varied(motion, np.random.default_rng(seed))
        assert shown.shape == (FRAMES, 9) and shown.dtype == np.float32
        assert frame.dtype.kind == "i" and 0 <= frame.min() <= frame.max() < FRAMES
        absent = (shown == 0).all(0)  # (9,); the height of a drawn mouth stands still
        dropped += absent.any()
        middle = (frame >= motion.start) & (frame < motion.start + len(motion.measures))
        correlations += [
            np.corrcoef(shown[middle, m], clip[frame[middle], m])[0, 1] for m in np.flatnonzero(~absent[:8])
        ]
    assert np.median(correlations) > 0.9 and 3 <= dropped <= 16


def test_the_span_of_speech():
    segments = (
        (0.0, 9.5, "sil"),
        (9.5, 12.0, "bin"),
        (12.0, 14.0, "sp"),
        (14.0, 20.0, "blue"),
        (20.0, 75.0, "sil"),
    )
    assert spoken_span(segments) == (9.5, 20.0)


# ---- drawn mouths ------------------------------------------------------------------------------------------


@given(SEEDS)
@settings(deadline=None, max_examples=20)
def test_mouth_points_lie_on_the_edges_that_are_drawn(seed):
    rng = np.random.default_rng(seed)
    speaker = Speaker.random(rng)
    shapes, _ = say(SENTENCE, 1.0, rng)
    points = mouth_points(shapes, speaker)
    palette = colors(speaker, LUMA)
    zero, one = np.zeros((75, 3)), np.ones((75, 1))
    x = points[:, [6, 2, 5], 0]  # (T, 3): left, middle, right
    edges = mouth_edges(shapes, speaker, x, zero, one, palette)
    inner_top, inner_low = edges[3].y, edges[7].y  # (T, 3)
    np.testing.assert_allclose(points[:, [6, 2, 5], 1], inner_top, atol=1e-9)
    np.testing.assert_allclose(points[:, [8, 3, 7], 1], inner_low, atol=1e-9)
    assert (points[:, 0, 0] < points[:, 6, 0]).all() and (points[:, 5, 0] < points[:, 1, 0]).all()


def test_the_gap_that_is_measured_in_the_picture_is_the_gap_of_the_points():
    """Mouths without teeth or tongue, on a still and level head: dark pixels counted in the middle."""
    speaker = replace(somebody(), place=(0.0, 0.0), roll=0.0, bow=0.0, jaw=1.0, light_x=0.0, light_y=0.0)
    shapes = np.zeros((20, len(SHAPE)))
    shapes[:, 0], shapes[:, 1] = np.linspace(0, 1, 20), 1.0  # ever more open, the width of rest
    frames = render(shapes, speaker, (128, 256)).astype(float)  # (20, 128, 256)
    middle = frames[:, :, 120:136].mean(2)  # (20, 128)
    dark = middle < 0.5 * (middle.min() + np.median(middle))  # (20, 128)
    points = mouth_points(shapes, speaker)
    gap = (points[:, 3, 1] - points[:, 2, 1]) * 128  # (20,) pixels, at 128 to half a width
    open_ = gap > 8
    np.testing.assert_allclose(dark.sum(1)[open_], gap[open_], atol=3)
    rows = (np.arange(128) * dark).sum(1)[open_] / dark.sum(1)[open_] - 63.5
    np.testing.assert_allclose(rows, 128 * points[open_][:, 2:4, 1].mean(1), atol=2)


def test_faces_differ_and_their_motion_hardly_does():
    """One sentence, two faces: the pixels of the points differ, standardized measures run together."""
    shapes, _ = say(SENTENCE, 1.0, np.random.default_rng(3))
    first, second = (mouth_measures(mouth_points(shapes, somebody(seed))) for seed in (1, 2))
    assert np.abs(first - second).max() > 0.02
    pairs = zip(standardized(first).T, standardized(second).T, strict=True)
    assert min(np.corrcoef(a, b)[0, 1] for a, b in pairs if a.std() > 0.5) > 0.97


def test_drawn_people_come_with_their_motions():
    clips, motions = synthetic_people(3, 5)
    assert tuple(motions) == clips.ids
    for i, motion in enumerate(motions.values()):
        assert (motion.id, motion.transcript) == (clips.ids[i], clips.transcripts[i])
        assert motion.segments == clips.segments[i] and motion.speaker == clips.speakers[i]
        start, end = spoken_span(motion.segments)
        assert motion.start == round(start) and motion.start + len(motion.measures) == round(end)
        assert np.isfinite(motion.measures).all() and motion.measures.dtype == np.float32
    more, _ = synthetic_people(4, 5)
    np.testing.assert_array_equal(more.frames[:3], clips.frames)
