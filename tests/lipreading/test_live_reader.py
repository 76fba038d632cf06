"""The stream of a finder and a reader: the same in any pieces, causal, patient, and clear about bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lessons.data.batch import normalize
from lessons.data.box_crop import crop_box
from lessons.data.synthetic.heads import LEVELS, SIZE, talking_videos
from lessons.detection.center_points import STRIDE
from lessons.detection.detector import Detector
from lessons.lipreading.live_reader import SHRINK, HeldBox, LiveReader, MouthFinder, Smoother, known, watch
from lessons.lipreading.streaming import Stream
from lessons.training import checkpoint
from lessons.training.live_scores import jumps, load, score

VIDEOS = talking_videos([LEVELS["none"]] * 2, np.random.default_rng(7))
READER = checkpoint.load("lipnet_small_synthetic")
DETECTOR = load("bottleneck_lstm")


def words(live: LiveReader) -> list[tuple]:
    return [(word.text, word.start, word.end, word.emitted_at) for word in live.emitted]


def test_with_the_true_boxes_it_reads_what_the_stream_reads_of_the_crops():
    live = watch(VIDEOS.frames[0], known(VIDEOS.boxes[0]), READER, share=1.0)
    crops = [crop_box(f, b, (32, 64)) for f, b in zip(VIDEOS.frames[0], VIDEOS.boxes[0], strict=True)]
    stream = Stream(READER)
    for start in range(0, 75, 5):
        stream.push(torch.from_numpy(np.stack(crops[start : start + 5])))
    stream.push(torch.empty(0, 32, 64), last=True)
    assert live.emitted == stream.emitted
    assert " ".join(word.text for word in live.emitted) == VIDEOS.transcripts[0]
    with torch.inference_mode():
        whole = READER(normalize(torch.from_numpy(np.stack(crops))[None])[:, None])  # (T, 1, V)
    assert live.stream.log_probs().shape == whole[:, 0].shape


def test_any_pieces_give_the_same():
    video = VIDEOS.frames[1]
    whole = watch(video, MouthFinder(DETECTOR), READER)
    for cuts in ([1] * 75, [7, 0, 30, 1, 37], [74, 1]):
        live, at = LiveReader(MouthFinder(DETECTOR), READER), 0
        emitted = []
        for n in cuts:
            emitted += live.push(video[at : at + n] if n != 1 else video[at])
            at += n
        emitted += live.push(video[:0], last=True)
        assert emitted == live.emitted and words(live) == words(whole)
        assert all(np.array_equal(a, b) for a, b in zip(live.boxes, whole.boxes, strict=True))


def test_nothing_looks_ahead():
    """Another end changes no box and no word before it."""
    video, other = VIDEOS.frames[0], VIDEOS.frames[0].copy()
    other[40:] = 0
    one, two = (LiveReader(MouthFinder(DETECTOR), READER) for _ in range(2))
    one.push(video[:45]), two.push(other[:45])
    assert all(np.array_equal(a, b) for a, b in zip(one.boxes[:40], two.boxes[:40], strict=True))
    early = [word for word in one.emitted if word.emitted_at <= 40]
    assert early and early == [word for word in two.emitted if word.emitted_at <= 40]


def test_it_waits_for_the_first_box_and_then_reads_from_the_start():
    box = VIDEOS.boxes[0, 12]
    late = iter([None] * 12 + [box] * 63)
    live = LiveReader(lambda frame: next(late), READER)
    assert live.push(VIDEOS.frames[0][:12]) == [] and live.stream.frames == 0
    live.push(VIDEOS.frames[0][12:], last=True)
    assert live.boxes[:12] == [None] * 12 and live.stream.frames == 75
    same = watch(VIDEOS.frames[0], known(np.tile(box, (75, 1))), READER)
    assert [word.text for word in live.emitted] == [word.text for word in same.emitted]


def test_a_mouth_that_comes_late_is_read_and_few_frames_wait_for_it():
    given = iter([None] * 3000 + list(VIDEOS.boxes[0]))
    live = LiveReader(lambda frame: next(given), READER, share=1.0)
    nobody = np.zeros((100, *SIZE), np.uint8)
    for _ in range(30):
        assert live.push(nobody) == [] and len(live._waiting) <= 75
    live.push(VIDEOS.frames[0], last=True)
    assert live.stream.frames == 3075 and live.stream.skipped == 3000 - 75
    assert all(3000 <= word.start < word.end <= 3075 for word in live.emitted) and len(live.emitted) >= 4


def test_no_mouth_no_words():
    live = LiveReader(lambda frame: None, READER)
    assert live.push(VIDEOS.frames[0]) == [] and live.push(VIDEOS.frames[0][:0], last=True) == []
    assert live.emitted == [] and live.boxes == [None] * 75


def test_a_gap_holds_the_box():
    holes = VIDEOS.boxes[0].copy()
    given = iter([None if 20 <= t < 30 else box for t, box in enumerate(holes)])
    live = watch(VIDEOS.frames[0], lambda frame: next(given), READER)
    assert all(np.array_equal(live.boxes[t], live.boxes[19]) for t in range(20, 30))


def test_a_held_box_ignores_jumps_and_gaps():
    a, near, far = (np.array([x, 0, x + 40, 20], float) for x in (0, 9, 60))
    given = iter([None, a, far, None, near, far])
    held = HeldBox(lambda frame: next(given))
    boxes = [held(None) for _ in range(6)]
    assert boxes[0] is None and all(box is a for box in boxes[1:4]) and all(box is near for box in boxes[4:])


def test_the_smoother_lags_by_what_it_says():
    for share in (0.25, 0.5, 1.0):
        smoother = Smoother(share)
        for t in range(60):
            box = smoother(np.array([t, 0, t + 10, 5], float))
        assert box[0] == pytest.approx(59 - (1 - share) / share, abs=1e-5)
    assert Smoother()(None) is None
    for share in (0, -1, 1.1, math.nan):
        with pytest.raises(ValueError, match="share"):
            Smoother(share)


def test_the_finder_gives_boxes_of_the_large_picture():
    """A detector whose map says: here, one cell and a half wide."""
    finder = MouthFinder(Detector(1, "none", hidden_channels=4).eval(), sure=0.0)
    maps = torch.full((1, 1, 5, 6, 12), -9.0)
    maps[0, 0, :, 2, 3] = torch.tensor([9.0, 0.5, 0.25, 0.0, math.log(1.5)])
    finder.detector.forward = lambda x, state: (maps, "state")
    box = finder(np.zeros(SIZE, np.uint8))
    cell = SHRINK * STRIDE
    assert box == pytest.approx([(3.25 - 0.75) * cell, 2 * cell, (3.25 + 0.75) * cell, 3 * cell])
    assert finder.state == "state"


def test_a_new_finder_has_a_new_state():
    finder = MouthFinder(DETECTOR)
    first = finder(VIDEOS.frames[0, 20])
    for frame in VIDEOS.frames[1, :10]:
        finder(frame)
    again = finder(VIDEOS.frames[0, 20])
    assert again is None or not np.array_equal(first, again)
    assert np.array_equal(first, MouthFinder(DETECTOR)(VIDEOS.frames[0, 20]))


def test_bad_input_is_refused():
    live = LiveReader(known(VIDEOS.boxes[0]), READER)
    for bad, message in (
        (VIDEOS.frames[0].astype(float), "float64"),
        (torch.zeros(2, 3, 4), "torch.float32"),
        (None, "NoneType"),
        (VIDEOS.frames[:1], "expected uint8"),
    ):
        with pytest.raises(ValueError, match=message):
            live.push(bad)
    live.push(VIDEOS.frames[0][:3], last=True)
    with pytest.raises(ValueError, match="new LiveReader"):
        live.push(VIDEOS.frames[0][:3])
    with pytest.raises(ValueError, match="one for each frame"):
        watch(VIDEOS.frames[0], known(VIDEOS.boxes[0][:9]), READER)
    with pytest.raises(ValueError, match="eval"):
        MouthFinder(Detector(1, "none").train())
    with pytest.raises(ValueError, match="one class"):
        MouthFinder(Detector(2, "none").eval())
    with pytest.raises(ValueError, match="sure"):
        MouthFinder(DETECTOR, sure=1.5)
    with pytest.raises(ValueError, match="training mode"):
        LiveReader(known(VIDEOS.boxes[0]), checkpoint.load("lipnet_small_synthetic").train())


def test_scores_by_hand():
    here, near, far = (np.array([x, 0, x + 40, 20], float) for x in (0, 9, 30))
    assert jumps([here, None, near, here, far, None, far, here]) == 2
    assert jumps([None, None]) == jumps([here]) == 0
    live = watch(VIDEOS.frames[0], known(VIDEOS.boxes[0]), READER, share=1.0)
    found = score(live, VIDEOS, 0)
    assert found["errors"] == 0 and found["iou"] == 1 and found["jumps"] == 0
    assert 5 < found["late"] < 30
    nothing = LiveReader(lambda frame: None, READER)
    nothing.push(VIDEOS.frames[0], last=True)
    assert score(nothing, VIDEOS, 0) | {"said": "", "poster": 0} == {
        "poster": 0, "said": "", "read": "", "errors": 6, "iou": 0, "jumps": 0, "late": "",
    }  # fmt: skip
