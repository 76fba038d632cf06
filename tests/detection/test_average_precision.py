"""AP: by hand on a few boxes, and against COCO's own arithmetic on many."""

from __future__ import annotations

import contextlib
import io
import math
import re
from pathlib import Path

import faster_coco_eval
import numpy as np
import pytest
import torch

from lessons.detection.average_precision import (
    Truth,
    average_precision,
    match,
    mean_average_precision,
    precision_recall,
)
from lessons.detection.boxes import Detections


def detections(boxes, scores, labels) -> Detections:
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Detections(
        boxes, torch.tensor(scores, dtype=torch.float32), torch.tensor(labels, dtype=torch.long)
    )


def truth(boxes, labels) -> Truth:
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return Truth(boxes, torch.tensor(labels, dtype=torch.long))


HERE, THERE = [0, 0, 10, 10], [20, 20, 30, 30]
NOTHING, EMPTY = detections([], [], []), truth([], [])


def test_by_hand():
    found = [detections([HERE, [50, 50, 60, 60], THERE], [0.9, 0.8, 0.7], [0, 0, 0])]
    true = [truth([HERE, THERE], [0, 0])]
    curve = precision_recall(found, true, 0)
    assert curve.precision.tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert curve.recall.tolist() == [0.5, 0.5, 1]
    assert curve.hull.tolist() == pytest.approx([1, 2 / 3, 2 / 3])
    assert curve.area == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_it_is_the_same_on_every_device(device):
    found = detections([[0, 0, 10, 10], [20, 20, 30, 30]], [0.9, 0.8], [0, 0])
    true = truth([[20, 20, 30, 30]], [0])
    there = Detections(*(part.to(device) for part in (found.boxes, found.scores, found.labels)))
    expected = precision_recall([found], [true], 0)
    curve = precision_recall([there], [Truth(true.boxes.to(device), true.labels.to(device))], 0)
    for name in ("precision", "recall", "scores"):
        assert torch.equal(getattr(curve, name), getattr(expected, name))


def test_a_second_detection_of_the_same_thing_is_a_false_alarm():
    found = [detections([HERE, HERE], [0.9, 0.8], [0, 0])]
    assert precision_recall(found, [truth([HERE], [0])], 0).precision.tolist() == [1, 0.5]


def test_the_order_is_by_score_over_all_frames():
    found = [detections([THERE], [0.2], [0]), detections([HERE], [0.9], [0])]
    curve = precision_recall(found, [truth([HERE], [0]), truth([HERE], [0])], 0)
    assert curve.precision.tolist() == [1, 0.5] and curve.area == 0.5


def test_each_takes_what_it_overlaps_with_most():
    true = torch.tensor([[0.0, 0, 10, 10], [0, 2, 10, 12]])
    found = torch.tensor([[0.0, 1.4, 10, 11.4], [0, 0, 10, 10], [0, 0, 10, 10]])
    assert match(found, true).tolist() == [1, 0, -1]
    assert match(found[:0], true).tolist() == [] and match(found, true[:0]).tolist() == [-1, -1, -1]


def test_frames_without_boxes():
    assert average_precision([NOTHING], [truth([HERE], [3])]) == {3: 0.0}
    assert math.isnan(mean_average_precision([NOTHING], [EMPTY]))
    assert math.isnan(mean_average_precision([], []))
    right = detections([HERE], [0.9], [0])
    assert mean_average_precision([right, NOTHING], [truth([HERE], [0]), EMPTY]) == 1
    # A false alarm in an empty frame costs when it is surer, and nothing when it comes last.
    for alarm, expected in ((0.95, 0.5), (0.1, 1.0)):
        found = [right, detections([HERE], [alarm], [0])]
        assert mean_average_precision(found, [truth([HERE], [0]), EMPTY]) == expected


def test_classes_do_not_help_each_other():
    found = [detections([HERE, THERE], [0.9, 0.8], [1, 0])]
    assert average_precision(found, [truth([HERE, THERE], [0, 0])]) == {0: 0.5}


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="1 frames, truths of 2"):
        mean_average_precision([NOTHING], [truth([HERE], [0]), truth([HERE], [0])])
    with pytest.raises(ValueError, match="no true box of class 4"):
        precision_recall([NOTHING], [truth([HERE], [0])], 4)
    with pytest.raises(ValueError, match="x0 <= x1"):
        mean_average_precision([NOTHING], [truth([[5, 0, 1, 9]], [0])])
    with pytest.raises(ValueError, match="NaN"):
        mean_average_precision([detections([[math.nan, 0, 1, 1]], [0.5], [0])], [truth([HERE], [0])])
    with pytest.raises(ValueError, match="a score that is NaN"):
        mean_average_precision([detections([HERE], [math.nan], [0])], [truth([HERE], [0])])
    with pytest.raises(ValueError, match=r"labels has shape \(1,\), expected \(2,\)"):
        truth([HERE, THERE], [0])
    for threshold in (-0.1, 50, math.nan):  # 50 per cent is 0.5
        with pytest.raises(ValueError, match=f"threshold={threshold}, expected 0 to 1"):
            mean_average_precision([NOTHING], [truth([HERE], [0])], threshold)
    elsewhere = Truth(torch.zeros(1, 4, device="meta"), torch.zeros(1, device="meta"))
    with pytest.raises(ValueError, match="detections is on cpu, truths on meta"):
        precision_recall([NOTHING], [elsewhere], 0)


def random_set(
    seed: int, n_frames: int = 250, classes: int = 3, most: int = 5, room: float = 50, ties: bool = False
) -> tuple[list[Detections], list[Truth]]:
    """Things, most of them found more or less exactly, and false alarms that are less sure.

    Up to ``most`` things a frame, in a square of ``room`` pixels; with ``ties``, many scores are the same.
    """
    rng = np.random.default_rng(seed)
    found, true = [], []
    for _ in range(n_frames):
        n = rng.integers(0, most)
        corner, side = rng.uniform(0, room, (n, 2)), rng.uniform(6, 25, (n, 2))
        boxes, labels = np.concatenate([corner, corner + side], 1), rng.integers(0, classes, n)
        seen = rng.random(n) < 0.8
        moved = boxes[seen] + rng.normal(0, 1.5, (seen.sum(), 4))
        moved = np.sort(moved.reshape(-1, 2, 2), 1).reshape(-1, 4)  # none turned over
        n_alarms = rng.integers(0, 4)
        alarm = rng.uniform(0, room, (n_alarms, 2))
        alarms = np.concatenate([alarm, alarm + rng.uniform(6, 25, (n_alarms, 2))], 1)
        scores = np.concatenate([rng.beta(4, 2, seen.sum()), rng.beta(2, 4, n_alarms)])
        scores = np.round(scores, 1) if ties else scores
        kinds = np.concatenate([labels[seen], rng.integers(0, classes, n_alarms)])
        found.append(detections(np.concatenate([moved, alarms]).tolist(), scores.tolist(), kinds.tolist()))
        true.append(truth(boxes.tolist(), labels.tolist()))
    return found, true


def coco(found: list[Detections], true: list[Truth]) -> tuple[float, float]:
    """AP over IoU 0.50 … 0.95, and AP50, as COCO's evaluation has them."""

    def rows(frames, scored):
        for image, frame in enumerate(frames):
            for k, (box, label) in enumerate(zip(frame.boxes.tolist(), frame.labels.tolist(), strict=True)):
                x0, y0, x1, y1 = box
                bbox = [x0, y0, x1 - x0, y1 - y0]
                row = {"image_id": image, "category_id": label + 1, "bbox": bbox, "iscrowd": 0}
                row |= {"area": bbox[2] * bbox[3]}
                yield row | ({"score": frame.scores[k].item()} if scored else {})

    annotations = [row | {"id": i} for i, row in enumerate(rows(true, scored=False), 1)]
    labels = sorted({row["category_id"] for row in annotations})
    with contextlib.redirect_stdout(io.StringIO()):
        known = faster_coco_eval.COCO(
            {
                "images": [{"id": i} for i in range(len(true))],
                "categories": [{"id": label, "name": str(label)} for label in labels],
                "annotations": annotations,
            }
        )
        evaluation = faster_coco_eval.COCOeval_faster(known, known.loadRes(list(rows(found, True))), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation.stats[0], evaluation.stats[1]


SETS = {
    "plain": {},
    "one class": dict(classes=1),
    "many classes": dict(classes=6, n_frames=120),
    "crowded, so that boxes compete": dict(most=12, room=20, classes=2, n_frames=80),
    "equal scores": dict(ties=True),
    "mostly empty frames": dict(most=2),
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", SETS)
def test_agrees_with_coco(kind, seed):
    found, true = random_set(seed, **SETS[kind])
    _, at_half = coco(found, true)
    assert 0.2 < at_half < 0.9
    assert mean_average_precision(found, true) == pytest.approx(at_half, abs=0.005)


def test_agrees_with_coco_at_higher_thresholds():
    found, true = random_set(4, n_frames=60)
    each = [mean_average_precision(found, true, t / 100) for t in range(50, 100, 5)]
    assert np.mean(each) == pytest.approx(coco(found, true)[0], abs=0.005)


@pytest.mark.parametrize("kind", SETS)
def test_read_at_101_recalls_it_is_coco_exactly(kind):
    found, true = random_set(3, **SETS[kind])
    each = []
    for label in range(SETS[kind].get("classes", 3)):
        curve = precision_recall(found, true, label)
        # numpy's 0.29 and torch's differ in the last bit, and COCO uses numpy's.
        place = torch.searchsorted(curve.recall, torch.from_numpy(np.linspace(0, 1, 101)))
        hull = torch.cat([curve.hull, torch.zeros(1)])  # a recall that is never reached has precision 0
        each.append(hull[place].mean().item())
    assert np.mean(each) == pytest.approx(coco(found, true)[1], abs=1e-9)


def test_notebook_14_keeps_what_coco_says():
    source = Path(__file__).resolve().parents[2] / "notebooks" / "src" / "14_video_detection.py"
    kept = eval(re.search(r"^COCO = (.+)$", source.read_text(encoding="utf-8"), flags=re.M)[1])
    boxes = {  # its six boxes: frame -> boxes and scores
        0: ([(1, 0, 11, 10), (0, 1, 10, 11), (21, 21, 31, 31)], [0.9, 0.8, 0.5]),
        1: ([(5, 6, 15, 16), (25, 25, 35, 35), (0, 0, 9, 9)], [0.7, 0.6, 0.3]),
    }
    found = [detections(corners, scores, [0] * 3) for corners, scores in boxes.values()]
    true = [truth([(0, 0, 10, 10), (20, 20, 30, 30)], [0, 0]), truth([(5, 5, 15, 15)], [0])]
    assert coco(found, true)[1] == pytest.approx(kept["the six boxes"], abs=1e-5)
