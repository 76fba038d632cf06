"""Memory without training: the Kalman filter against batch least squares, tracks by hand, held boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lessons.data.synthetic.moving import TRACKING, MovingClips, moving_clips
from lessons.detection.average_precision import Truth, mean_average_precision
from lessons.detection.baselines import average_maps, hold_boxes
from lessons.detection.boxes import Detections, iou, iou_numpy, nms, nms_numpy
from lessons.detection.detector import Detector
from lessons.detection.gaps import frames_since_seen, gap_errors
from lessons.detection.scores import ap50, score
from lessons.detection.tracker import (
    TrackerSettings,
    kalman_correct,
    kalman_predict,
    track,
)
from lessons.detection.tuning import METHODS, TRACKER, apply, search, tune


def frame(*boxes: tuple[float, ...], label: int = 0) -> Detections:
    """Boxes (x0, y0, x1, y1, score) of one class."""
    rows = torch.tensor(boxes).reshape(-1, 5)
    return Detections(rows[:, :4], rows[:, 4], torch.full((len(rows),), label))


def box_at(x: float, y: float = 20.0, score: float = 0.9) -> tuple[float, ...]:
    return (x - 6, y - 6, x + 6, y + 6, score)


@pytest.mark.parametrize("missing", [(), (2, 3), (1, 4)])
def test_the_filter_is_the_gaussian_posterior_of_all_measurements(missing):
    """Center and velocity after 6 frames, and their covariance, from one linear least-squares problem."""
    rng = np.random.default_rng(0)
    noise, push, start = 0.7, 0.4, 3.0
    measured = rng.normal(size=(6, 2)) + 2 * np.arange(6)[:, None]  # (T, axes)
    state, covariance = np.stack([measured[0], np.zeros(2)]), np.diag([noise**2, start**2])
    for t in range(1, 6):
        state, covariance = kalman_predict(state, covariance, push)
        if t not in missing:
            state, covariance = kalman_correct(state, covariance, measured[t], noise)

    # The unknowns: center and velocity at t = 0, then the accelerations of frames 1 … 5.
    to_state = [np.eye(2, 7)]
    for t in range(1, 6):
        now = np.array([[1, 1], [0, 1]]) @ to_state[-1]
        now[:, 1 + t] += (0.5, 1.0)
        to_state.append(now)
    prior = np.diag([noise**2, start**2, *[push**2] * 5])
    seen = [t for t in range(1, 6) if t not in missing]
    rows = np.stack([to_state[t][0] for t in seen])  # (seen, 7)
    mean = np.zeros((7, 2))
    mean[0] = measured[0]
    precision = np.linalg.inv(prior) + rows.T @ rows / noise**2
    posterior = np.linalg.inv(precision)
    mean = mean + posterior @ rows.T @ (measured[seen] - rows @ mean) / noise**2
    np.testing.assert_allclose(state, to_state[-1] @ mean, atol=1e-9)
    np.testing.assert_allclose(covariance, to_state[-1] @ posterior @ to_state[-1].T, atol=1e-9)


def test_a_batch_of_filters_is_each_alone():
    rng = np.random.default_rng(1)
    states, root, at = rng.normal(size=(4, 2, 2)), rng.normal(size=(4, 2, 2)), rng.normal(size=(4, 2))
    covariances = root @ root.swapaxes(-1, -2)
    together = kalman_correct(*kalman_predict(states, covariances, 0.5), at, 0.8)
    for i in range(4):
        alone = kalman_correct(*kalman_predict(states[i], covariances[i], 0.5), at[i], 0.8)
        np.testing.assert_allclose(together[0][i], alone[0])
        np.testing.assert_allclose(together[1][i], alone[1])


def test_a_track_follows_through_a_gap():
    video = [frame(box_at(10 + 4 * t)) if t not in (5, 6, 7) else frame() for t in range(10)]
    out = track(video, (64, 80))
    for t in range(10):
        x = (out[t].boxes[0, 0] + out[t].boxes[0, 2]) / 2
        assert len(out[t]) == 1 and float(x) == pytest.approx(10 + 4 * t, abs=1.5)
    scores = [float(now.scores[0]) for now in out]
    assert scores[4] > scores[5] > scores[6] > scores[7] < scores[8]
    held = hold_boxes(video)
    assert float(held[7].boxes[0, 0]) == float(held[4].boxes[0, 0])  # held boxes stay where they were


def test_a_track_ends_and_a_still_one_is_penalized():
    video = [frame(box_at(20))] * 5 + [frame()] * 8
    settings = TrackerSettings(min_speed=1.0, still=3.0, max_misses=4)
    out = track(video, (64, 64), settings)
    assert [len(now) for now in out[5:]] == [1] * 4 + [0] * 4
    free = track(video, (64, 64), TrackerSettings(min_speed=0.0, max_misses=4))
    assert float(out[4].scores[0]) < float(free[4].scores[0])


def test_two_that_cross_keep_their_ways_and_classes_do_not_mix():
    video = [frame(box_at(10 + 4 * t, 18), box_at(50 - 4 * t, 24)) for t in range(10)]
    out = track(video, (64, 64))
    assert {round(float(box[:3:2].mean())) for box in out[-1].boxes} == {46, 14}
    two = [Detections(f.boxes, f.scores, torch.tensor([0, 1])) for f in video]
    assert all(sorted(now.labels.tolist()) == [0, 1] for now in track(two, (64, 64)))


def test_no_detections_at_all():
    assert [len(now) for now in track([frame()] * 3, (64, 64))] == [0, 0, 0]
    assert [len(now) for now in hold_boxes([frame()] * 3)] == [0, 0, 0]
    assert track([], (64, 64)) == [] == hold_boxes([])


def test_held_boxes_by_hand():
    out = hold_boxes([frame(box_at(20)), frame(), frame(box_at(21, score=0.6)), frame()], 0.5, least=0.1)
    assert [[round(float(s), 3) for s in now.scores] for now in out] == [[0.9], [0.45], [0.6], [0.3]]
    assert float(out[3].boxes[0, 0]) == 15
    assert [len(now) for now in hold_boxes([frame(box_at(20)), frame()], 0.0)] == [1, 0]
    with pytest.raises(ValueError, match="decay=2"):
        hold_boxes([], 2)


def test_averaged_maps_are_an_exponential_mean():
    maps = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0))
    out = average_maps(maps, 0.25)
    torch.testing.assert_close(out[1], 0.75 * maps[0] + 0.25 * maps[1])
    torch.testing.assert_close(average_maps(maps, 1.0), maps)
    assert torch.equal(out[0], maps[0]) and out.shape == maps.shape


# Gaps


def one_that_moves(visible: list[float]) -> MovingClips:
    """A box that moves 3 pixels a frame to the right."""
    n = len(visible)
    boxes = np.stack([[10 + 3 * t, 20, 22 + 3 * t, 32] for t in range(n)]).astype(np.float32)
    return MovingClips(
        np.zeros((1, n, 64, 64), np.uint8),
        boxes[None, :, None],
        np.zeros((1, 1), np.int64),
        np.array(visible, np.float32).reshape(1, n, 1),
    )


def test_gaps_are_counted_from_the_last_sight():
    clips = one_that_moves([0, 1, 1, 0, 0, 0, 1, 0])
    assert frames_since_seen(clips)[0, :, 0].tolist() == [-1, 0, 0, 1, 2, 3, 0, 1]


def test_a_box_that_follows_is_nearer_than_the_last_seen_one():
    clips = one_that_moves([1, 1, 1, 0, 0, 0, 1])
    true = [[frame((*map(float, clips.boxes[0, t, 0]), 0.9)) for t in range(7)]]
    held = [true[0][:3] + [true[0][2]] * 3 + true[0][6:]]
    none = [true[0][:3] + [frame()] * 3 + true[0][6:]]
    for found, reported, nearer, error in ((true, 1, 1, 0), (held, 1, 0, 9), (none, 0, np.nan, np.nan)):
        row = gap_errors(found, clips)[2]  # of three frames
        assert (row["gap"], row["cases"], row["reported"]) == (3, 1, reported)
        np.testing.assert_equal((row["nearer"], row["error"]), (nearer, error))
    assert gap_errors(true, clips)[2]["last_seen_error"] == 9
    assert gap_errors(true, clips)[5]["cases"] == 0


# Tuning


def test_the_search_finds_the_better_settings_and_repeats():
    def value(settings: TrackerSettings) -> float:
        return -abs(settings.gate - 2.0) - abs(settings.miss - 0.3)

    best, highest = search(value, 60, seed=0)
    assert (best.gate, best.miss) == (2.0, 0.3) and highest == value(best)
    assert search(value, 60, seed=0) == (best, highest)
    assert search(value, 1, seed=0)[0] == TrackerSettings()
    assert set(TRACKER) == set(vars(TrackerSettings()))


def test_every_method_is_tuned_and_applied():
    torch.manual_seed(0)
    model = Detector(2, "none", 8).eval()
    clips = moving_clips(2, np.random.default_rng(0), 4, scene=TRACKING)
    tuned = tune(model, {"0": clips}, trials=2)
    assert set(tuned) == set(METHODS) and tuned["kalman tracker"]["trials"] == 2
    for method in METHODS:
        videos = apply(method, tuned[method]["settings"], model, clips.frames, [[frame()] * 4] * 2)
        assert [len(video) for video in videos] == [4, 4]
    with pytest.raises(ValueError, match="method='hope'"):
        apply("hope", {}, model, clips.frames, [])


def random_boxes(n: int, rng: np.random.Generator) -> np.ndarray:
    low = rng.uniform(0, 45, (n, 2))
    return np.concatenate([low, low + rng.uniform(4, 18, (n, 2))], 1)


def test_the_quick_copies_are_the_package_s_own():
    rng = np.random.default_rng(0)
    clips = moving_clips(6, rng, 5, scene=TRACKING)
    found = []
    for i in range(6):
        video = []
        for t in range(5):
            near = clips.boxes[i, t][clips.labels[i] >= 0] + rng.normal(size=4)
            boxes = np.concatenate([random_boxes(6, rng), near])
            scores, labels = rng.random(len(boxes)), rng.integers(2, size=len(boxes))
            labels[6:] = clips.labels[i][clips.labels[i] >= 0]
            both = [torch.from_numpy(each) for each in (boxes, scores, labels)]
            np.testing.assert_allclose(iou_numpy(boxes, boxes[:3]), iou(both[0], both[0][:3]))
            assert nms_numpy(boxes, scores, labels, 0.3).tolist() == nms(*both, 0.3).tolist()
            video.append(Detections(both[0].float(), both[1].float(), both[2]))
        found.append(video)
    truths = [
        Truth(
            *(torch.from_numpy(each[clips.labels[i] >= 0]) for each in (clips.boxes[i, t], clips.labels[i]))
        )
        for i in range(6)
        for t in range(5)
    ]
    slow = mean_average_precision([frame for video in found for frame in video], truths)
    assert 0.1 < slow == pytest.approx(ap50(found, clips), abs=1e-6)
    assert score(found, clips).ap50 == ap50(found, clips)
