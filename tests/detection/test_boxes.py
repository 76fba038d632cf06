"""IoU and NMS: against counting pixels, against the definition, and with what is no box."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lessons.detection.boxes import Detections, area, check_boxes, check_together, clip_boxes, iou, nms

corners = st.tuples(*[st.integers(0, 9)] * 4)


def box(numbers: tuple[int, int, int, int]) -> torch.Tensor:
    x, y, w, h = numbers
    return torch.tensor([[x, y, x + w, y + h]], dtype=torch.float64)


@given(corners, corners)
@settings(max_examples=60, deadline=None)
def test_iou_is_shared_pixels_over_covered_pixels(first, second):
    masks = []
    for x, y, w, h in (first, second):
        mask = torch.zeros(20, 20, dtype=torch.bool)
        mask[y : y + h, x : x + w] = True
        masks.append(mask)
    shared, covered = int((masks[0] & masks[1]).sum()), int((masks[0] | masks[1]).sum())
    expected = shared / covered if covered else 0.0
    assert iou(box(first), box(second)).item() == pytest.approx(expected, abs=1e-12)


def test_iou_of_known_boxes():
    a = torch.tensor([[0.0, 0, 2, 2], [0, 0, 1, 1]])
    b = torch.tensor([[1.0, 1, 3, 3], [0, 0, 2, 2], [5, 5, 6, 6]])
    torch.testing.assert_close(iou(a, b), torch.tensor([[1 / 7, 1, 0], [0, 1 / 4, 0]]))
    assert iou(a, b[:0]).shape == (2, 0) and iou(a[:0], b).shape == (0, 3)


def test_a_box_without_area_overlaps_with_nothing():
    line = torch.tensor([[1.0, 1, 1, 5]])
    assert iou(line, line).item() == 0


def nms_by_definition(boxes, scores, labels, threshold):
    left, kept = set(range(len(boxes))), []
    while left:
        surest = min(left, key=lambda i: (-float(scores[i]), i))
        kept.append(surest)
        left -= {
            i
            for i in left
            if i == surest
            or (labels[i] == labels[surest] and iou(boxes[i : i + 1], boxes[surest : surest + 1]) > threshold)
        }
    return kept


@pytest.mark.parametrize("seed", range(8))
def test_nms_is_its_definition(seed):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(30, 2, generator=generator) * 20
    boxes = torch.cat([corner, corner + 3 + torch.rand(30, 2, generator=generator) * 8], -1)
    scores = torch.randint(0, 10, (30,), generator=generator) / 10  # some are equal
    labels = torch.randint(0, 2, (30,), generator=generator)
    expected = nms_by_definition(boxes, scores, labels, 0.3)
    assert nms(boxes, scores, labels, 0.3).tolist() == expected
    assert 2 < len(expected) < 30


def test_nms_of_a_chain_keeps_both_ends():
    boxes = torch.tensor([[0.0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]])  # neighbors overlap by 7 / 13
    one = torch.zeros(3, dtype=torch.long)
    assert nms(boxes, torch.tensor([0.9, 0.8, 0.7]), one).tolist() == [0, 2]  # the middle alone goes
    assert nms(boxes, torch.tensor([0.7, 0.9, 0.8]), one).tolist() == [1]
    assert nms(boxes, torch.tensor([0.7, 0.9, 0.8]), torch.arange(3)).tolist() == [1, 2, 0]
    assert nms(boxes[:0], torch.empty(0), one[:0]).tolist() == []


def test_clipping_leaves_what_is_in_the_picture():
    boxes = torch.tensor([[-5.0, 2, 3, 99], [70, 70, 80, 80]])
    clipped = clip_boxes(boxes, (40, 60))  # H, W
    assert clipped.tolist() == [[0, 2, 3, 40], [60, 40, 60, 40]]
    assert area(clipped).tolist() == [114, 0]


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        (torch.zeros(3, 5), r"shape \(3, 5\)"),
        (torch.tensor([[0.0, 0, float("nan"), 1]]), "NaN"),
        (torch.tensor([[0.0, 0, float("inf"), 1]]), "infinity"),
        (torch.tensor([[5.0, 5, 2, 7]]), r"x, y, width, height"),
    ],
)
def test_what_is_no_box_is_refused(boxes, message):
    with pytest.raises(ValueError, match=message):
        check_boxes("boxes", boxes)
    with pytest.raises(ValueError, match=message):
        iou(torch.zeros(1, 4), boxes)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.float16, torch.bfloat16])
def test_areas_do_not_overflow_where_numbers_are_small(dtype):
    """20 x 20 in uint8 would be 144, 240 x 240 in int16 -7,936 and in float16 close to infinity."""
    side = 20 if dtype is torch.uint8 else 240
    boxes = torch.tensor([[0, 0, side, side], [side // 2, 0, side, side]], dtype=dtype)
    assert area(boxes).tolist() == [side**2, side**2 / 2]
    assert iou(boxes, boxes).tolist() == [[1, 0.5], [0.5, 1]]
    assert clip_boxes(boxes, (10, 500)).tolist() == [[0, 0, side, 10], [side / 2, 0, side, 10]]
    assert nms(boxes, torch.tensor([0.5, 0.6]), torch.zeros(2), 0.4).tolist() == [1]


def test_doubles_stay_doubles():
    one = torch.ones(1, 4, dtype=torch.float64)
    assert iou(one, one.float()).dtype == area(one).dtype == torch.float64


META, ONE, SCORE = torch.zeros(1, 4, device="meta"), torch.zeros(1, 4), torch.zeros(1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.zeros(2, 4), torch.zeros(1), torch.zeros(2)), r"scores has shape \(1,\), expected \(2,\)"),
        ((ONE, SCORE, torch.zeros(1, 1)), r"labels has shape \(1, 1\), expected \(1,\)"),
        ((ONE[0], SCORE, SCORE), r"boxes has shape \(4,\), expected \(n, 4\)"),
        ((ONE, torch.tensor([float("nan")]), SCORE), "scores holds NaN"),
        ((torch.tensor([[5.0, 5, 2, 7]]), SCORE, SCORE), "boxes holds .* expected x0 <= x1"),
        ((ONE, SCORE, SCORE, 1.5), "threshold=1.5, expected 0 to 1"),
        ((ONE, SCORE, SCORE, float("nan")), "threshold=nan, expected 0 to 1"),
        ((META, SCORE, SCORE), r"scores is on cpu, boxes on meta: use .to\(...\)"),
        ((ONE, SCORE, SCORE.to("meta")), "labels is on meta, boxes on cpu"),
    ],
)
def test_nms_names_what_does_not_fit(arguments, message):
    with pytest.raises(ValueError, match=message):
        nms(*arguments)


def test_iou_names_what_does_not_fit():
    with pytest.raises(ValueError, match=r"b has shape \(4,\), expected \(n, 4\): use \[None\]"):
        iou(ONE, ONE[0])
    with pytest.raises(ValueError, match="a is on cpu, b on meta"):
        iou(ONE, META)
    with pytest.raises(ValueError, match="boxes is a list, expected a tensor"):
        check_boxes("boxes", [[0, 0, 1, 1]])


def test_detections_are_as_many_boxes_as_scores_and_labels():
    assert len(Detections(ONE, SCORE, SCORE)) == 1
    for arguments in ((ONE, torch.zeros(2), SCORE), (ONE, SCORE, torch.zeros(0)), (ONE[:0], SCORE, SCORE)):
        with pytest.raises(ValueError, match="one for each box"):
            Detections(*arguments)
    with pytest.raises(ValueError, match="scores is on meta"):
        check_together(ONE, scores=SCORE.to("meta"))
