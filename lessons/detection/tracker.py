"""Tracking by detection: a constant-velocity Kalman filter per object, after SORT (arXiv 1602.00763).

A track is an object that has been detected at least once. Per frame, every track

    predicts     x' = x + v, v' = v, and its uncertainty grows by the process noise;
    associates   with the nearest detection of its class, if that lies within the gate;
    corrects     x and v by the Kalman gain times the distance to this detection; or counts a miss.

x and y are filtered apart, but with the same noises, so that one 2 x 2 covariance serves both. Three things
are not SORT's: the gate is a Mahalanobis distance (SORT wants an overlap, which small and fast objects lose
in a gap of two frames), pairs are chosen greedily, the nearest first, and a track has a score, kept in
log-odds: detections add to it, misses take away, and a track that does not move can be penalized.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from lessons.detection.boxes import Detections, nms_numpy

MEAN_OF = 5  # detections that a track's size is the mean of, about
MIN_SCORE = 0.005  # what is reported


@dataclass(frozen=True)
class TrackerSettings:
    """What can be tuned.

    Attributes:
        min_score: detections below it are not used.
        gate: the largest Mahalanobis distance to a detection.
        process_noise: standard deviation of the acceleration, in pixels per frame².
        measurement_noise: standard deviation of a detected center, in pixels.
        start_speed: standard deviation of a new track's velocity, in pixels per frame.
        forget: the fraction of its log-odds that a track keeps from one frame to the next.
        hit, miss: what a detection adds to its track's log-odds beside its own, and what a miss takes.
        weight: of a detection's own log-odds.
        max_misses: a track that was missed more often in a row ends.
        min_speed, still: a track slower than this, in pixels per frame, loses so much log-odds on output.
        young: what a track with a single detection loses on output.
    """

    min_score: float = 0.1
    gate: float = 3.0
    process_noise: float = 1.0
    measurement_noise: float = 1.0
    start_speed: float = 3.0
    forget: float = 0.8
    hit: float = 1.0
    miss: float = 1.0
    weight: float = 0.5
    max_misses: int = 6
    min_speed: float = 1.0
    still: float = 2.0
    young: float = 1.0


def kalman_predict(
    state: np.ndarray, covariance: np.ndarray, process_noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """One frame on: state (..., 2, axes) of center and velocity, covariance (..., 2, 2).

    The acceleration a is white noise, constant within a frame: it adds a/2 to the center, a to the velocity.
    """
    step = np.array([[1.0, 1.0], [0.0, 1.0]])
    push = np.array([[0.5], [1.0]]) * process_noise
    return step @ state, step @ covariance @ step.T + push @ push.T


def kalman_correct(
    state: np.ndarray, covariance: np.ndarray, measured: np.ndarray, measurement_noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """After a measurement (..., axes) of the center: the new state and covariance."""
    gain = covariance[..., :, :1] / (covariance[..., :1, :1] + measurement_noise**2)  # (..., 2, 1)
    residual = measured[..., None, :] - state[..., :1, :]  # (..., 1, axes)
    return state + gain @ residual, covariance - gain @ covariance[..., :1, :]


@dataclass
class KalmanTracker:
    """Detections in, frame by frame; detections out, of all tracks. One tracker per video.

    Attributes:
        size: (H, W) of the frames.
        settings: what can be tuned.
        correct: the filter's update; another one must do what :func:`kalman_correct` does.
        state: (tracks, 2, 2) center and velocity, each y and x.
        covariance: (tracks, 2, 2) of center and velocity, the same for y and x.
        sides: (tracks, 2) height and width.
        labels, log_odds, hits, misses: (tracks,).
    """

    size: tuple[int, int]
    settings: TrackerSettings = field(default_factory=TrackerSettings)
    correct: Callable = kalman_correct
    state: np.ndarray = field(default_factory=lambda: np.zeros((0, 2, 2)))
    covariance: np.ndarray = field(default_factory=lambda: np.zeros((0, 2, 2)))
    sides: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    labels: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    log_odds: np.ndarray = field(default_factory=lambda: np.zeros(0))
    hits: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    misses: np.ndarray = field(default_factory=lambda: np.zeros(0, int))

    def update(self, found: Detections) -> Detections:
        """The tracks after the next frame, as detections."""
        s = self.settings
        used = found.scores >= s.min_score
        boxes = found.boxes[used].cpu().double().numpy()  # (n, 4)
        labels = found.labels[used].cpu().numpy()  # (n,)
        odds = _log_odds(found.scores[used].cpu().double().numpy())  # (n,)
        centers = (boxes[:, :2] + boxes[:, 2:])[:, ::-1] / 2  # (n, 2): y, x
        sides = (boxes[:, 2:] - boxes[:, :2])[:, ::-1]  # (n, 2)

        self.state, self.covariance = kalman_predict(self.state, self.covariance, s.process_noise)
        self.log_odds = s.forget * self.log_odds
        hit, by = self.associate(centers, labels)  # tracks, and the detection of each
        missed = np.ones(len(self.state), bool)
        missed[hit] = False
        self.log_odds[missed] -= s.miss
        self.misses[missed] += 1
        self.state[hit], self.covariance[hit] = self.correct(
            self.state[hit], self.covariance[hit], centers[by], s.measurement_noise
        )
        self.hits[hit] += 1
        self.misses[hit] = 0
        newest = 1 / np.minimum(self.hits[hit], MEAN_OF)[:, None]
        self.sides[hit] += newest * (sides[by] - self.sides[hit])
        self.log_odds[hit] += s.weight * odds[by] + s.hit

        kept = self.misses <= s.max_misses
        is_new = np.ones(len(boxes), bool)
        is_new[by] = False
        new = np.flatnonzero(is_new)
        start = np.diag([s.measurement_noise**2, s.start_speed**2])
        at_rest = np.stack([centers[new], np.zeros((len(new), 2))], 1)  # (new, 2, 2)
        self.state = np.concatenate([self.state[kept], at_rest])
        self.covariance = np.concatenate([self.covariance[kept], np.tile(start, (len(new), 1, 1))])
        self.sides = np.concatenate([self.sides[kept], sides[new]])
        self.labels = np.concatenate([self.labels[kept], labels[new]])
        self.log_odds = np.concatenate([self.log_odds[kept], s.weight * odds[new]])
        self.hits = np.concatenate([self.hits[kept], np.ones(len(new), int)])
        self.misses = np.concatenate([self.misses[kept], np.zeros(len(new), int)])
        return self.output()

    def associate(self, centers: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Tracks and their detections, one to one, the pair with the smallest Mahalanobis distance first."""
        variance = self.covariance[:, :1, 0] + self.settings.measurement_noise**2  # (tracks, 1)
        distance = ((centers - self.state[:, :1]) ** 2).sum(-1)  # (tracks, n)
        distance = np.sqrt(distance / variance)
        distance[self.labels[:, None] != labels] = np.inf
        tracks, found = [], []
        for _ in range(min(distance.shape)):
            i, k = np.unravel_index(distance.argmin(), distance.shape)
            if distance[i, k] > self.settings.gate:
                break
            distance[i], distance[:, k] = np.inf, np.inf
            tracks.append(i)
            found.append(k)
        return np.array(tracks, int), np.array(found, int)

    def output(self) -> Detections:
        """All tracks with their scores; of several of one class in one place, the best."""
        s = self.settings
        speed = np.hypot(*self.state[:, 1].T)  # (tracks,)
        penalty = np.where(self.hits == 1, s.young, np.where(speed < s.min_speed, s.still, 0.0))
        centers, half = self.state[:, 0, ::-1], self.sides[:, ::-1] / 2  # (tracks, 2): x, y
        edges = np.array([*self.size[::-1], *self.size[::-1]])
        boxes = np.clip(np.concatenate([centers - half, centers + half], 1), 0, edges)  # (tracks, 4)
        scores = 1 / (1 + np.exp(penalty - self.log_odds))
        shown = (scores >= MIN_SCORE) & (boxes[:, 2:] > boxes[:, :2]).all(1)
        boxes, scores, labels = boxes[shown], scores[shown], self.labels[shown]
        kept = nms_numpy(boxes, scores, labels)
        return Detections(
            torch.from_numpy(boxes[kept]).float(),
            torch.from_numpy(scores[kept]).float(),
            torch.from_numpy(labels[kept]),
        )


def _log_odds(scores: np.ndarray) -> np.ndarray:
    scores = np.clip(scores, 1e-4, 1 - 1e-4)
    return np.log(scores / (1 - scores))


def track(
    found: Sequence[Detections],
    size: tuple[int, int],
    settings: TrackerSettings | None = None,
    correct: Callable = kalman_correct,
) -> list[Detections]:
    """A video's detections, frame by frame, through a :class:`KalmanTracker`.

    Args:
        found: one entry per frame.
        size: (H, W) of the frames.
        settings: ``TrackerSettings()`` if None.
        correct: see :class:`KalmanTracker`.
    """
    tracker = KalmanTracker(size, settings or TrackerSettings(), correct)
    return [tracker.update(frame) for frame in found]
