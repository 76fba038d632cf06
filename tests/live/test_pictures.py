"""The live page finds the same faces, cuts the same mouths, and takes the same frames as Python does."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import pytest

from lessons.data.box_crop import crop_box
from lessons.data.grid import find_mouth_set
from lessons.data.grid.faces import FaceTracker, face_detector
from lessons.data.grid.faults import broken_frames
from lessons.data.grid.mouth_crop import _cut, _path_of_the_mouth, crop_mouth
from lessons.data.image import resize_area, to_gray
from lessons.data.synthetic import drawn_face
from lessons.data.synthetic.talker import synthetic_clips
from lessons.data.video import frames
from lessons.data.video_times import at_25, with_times
from tests.live.node import needs_node, run
from tools import live

pytestmark = needs_node
GRID = find_mouth_set()
RAW = [] if GRID is None else sorted((GRID / "raw").glob("s*/*.mpg"))
RAW += [] if GRID is None else sorted((GRID.parent / "grid_speakers" / "raw").glob("s*/*.mpg"))
needs_raw = pytest.mark.skipif(not RAW, reason="needs the raw GRID samples")


def gray_of(pictures: Iterable[np.ndarray]) -> np.ndarray:
    """(N, H, W) as OpenCV's detector sees them."""
    return np.stack([cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pictures])


def test_the_same_gray(tmp_path):
    rgba = np.random.default_rng(4).integers(0, 256, (40, 50, 4), dtype=np.uint8)
    found = run(tmp_path, "toGray from crop.js", "done([...toGray(arrays.rgba)]);", rgba=rgba)
    assert found == cv2.cvtColor(np.ascontiguousarray(rgba[..., :3]), cv2.COLOR_RGB2GRAY).ravel().tolist()
    assert np.abs(np.array(found) - to_gray(rgba[..., :3]).ravel().astype(int)).max() <= 1


def detect_both(folder, pictures: np.ndarray, least: int, most: int) -> tuple[list, list]:
    """The faces [x, y, width, height, hits] of gray pictures (N, H, W), by OpenCV and by JavaScript."""
    expected = []
    for picture in pictures:
        boxes, hits = face_detector().detectMultiScale2(
            picture, 1.1, 5, minSize=(least, least), maxSize=(most, most)
        )[:2]
        expected.append(sorted([*map(int, box), int(n)] for box, n in zip(boxes, hits, strict=True)))
    found = run(
        folder,
        "Haar from haar.js",
        """
        const { cascade, n, height, width, least, most } = given.values;
        const haar = new Haar(cascade);
        const pictures = Array.from({ length: n }, (_, i) =>
          arrays.gray.subarray(i * height * width, (i + 1) * height * width));
        done(pictures.map((gray) => haar.detect(gray, width, height, least, most).map(
          (f) => [f.x, f.y, f.width, f.height, f.hits])));
        """,
        dict(zip(("n", "height", "width"), pictures.shape, strict=True))
        | {"cascade": live.cascade()[0], "least": least, "most": most},
        gray=pictures,
    )
    return expected, [sorted(faces) for faces in found]


def test_the_same_boxes_and_hits_in_drawn_faces(tmp_path):
    rng = np.random.default_rng(0)
    pictures = []
    for size in (80, 101, 130, 170):
        picture = drawn_face.draw_face(size=size, x=180 + size / 9, y=140).astype(np.float32)
        noisy = picture + rng.normal(0, 6, picture.shape)
        pictures.append(np.clip(noisy, 0, 255).astype(np.uint8))
    expected, found = detect_both(tmp_path, gray_of(pictures), 30, 360)
    assert sum(map(len, expected)) >= len(pictures)
    assert found == expected


@needs_raw
def test_the_same_boxes_and_hits_in_real_faces(tmp_path):
    pictures = [next(frames(path)) for path in RAW[::4]]
    expected, found = detect_both(tmp_path, gray_of(pictures), 72, 360)
    assert sum(map(len, expected)) >= len(pictures)
    assert found == expected


FOLLOW = """
const { cascade, n, height, width, every } = given.values;
const tracker = new FaceTracker(new Haar(cascade));
const at = [], faces = [];
const frame = (all, t) => all.subarray(t * height * width, (t + 1) * height * width);
for (let t = 0; t < n; t += every) {
  const { face } = tracker.look(frame(arrays.gray, t), width, height);
  if (face) { at.push(t); faces.push(face); }
}
const path = mouthPath(at, faces, n);
const crops = [];
for (let t = 0; t < n; t++) {
  const picture = { gray: frame(arrays.gray, t), width, height };
  crops.push([...cutMouth(picture, path.x[t], path.y[t], path.width)]);
}
done({ at, x: [...path.x], y: [...path.y], width: path.width, crops });
"""


def follow_both(folder, clip: np.ndarray, every: int) -> None:
    """Follow the mouth of a clip (T, H, W, 3) twice, and compare the paths and the crops."""
    tracker = FaceTracker()
    looks = [(t, tracker(clip[t])) for t in range(0, len(clip), every)]
    at = np.array([t for t, box in looks if box])
    boxes = np.array([box for _, box in looks if box])
    x, y, width = _path_of_the_mouth(at, boxes, 0, len(clip))
    found = run(
        folder,
        "FaceTracker, Haar from haar.js; cutMouth, mouthPath from crop.js",
        FOLLOW,
        dict(zip(("n", "height", "width"), clip.shape, strict=False))
        | {"cascade": live.cascade()[0], "every": every},
        gray=gray_of(clip),
    )
    assert found["at"] == at.tolist() and found["width"] == width
    np.testing.assert_allclose(found["x"], x, atol=1e-9)
    np.testing.assert_allclose(found["y"], y, atol=1e-9)
    crops = np.array(found["crops"]).reshape(-1, 64, 128)
    difference = np.abs(crops - to_gray(_cut(clip, x, y, width)).astype(int))
    # Here three colors are rounded and then their luma; there the luma, once.
    assert difference.max() <= 2 and (difference > 1).mean() < 1e-3
    assert (crop_mouth(clip, every) == _cut(clip, x, y, width)).all()


def test_a_drawn_head_is_followed_alike(tmp_path):
    way = 180 + 8 * np.sin(np.arange(30) / 6), 140 + 5 * np.cos(np.arange(30) / 9)
    clip = drawn_face.face_video(0.02 + 0.03 * (1 - np.cos(np.arange(30) / 2)), np.stack(way, 1))
    follow_both(tmp_path, clip, 5)


def test_a_large_face_is_shrunk_alike(tmp_path):
    clip = drawn_face.talk(6, height=480, width=640, x=320, y=240, size=300)
    follow_both(tmp_path, clip, 2)


@needs_raw
@pytest.mark.parametrize("path", RAW[::12], ids=lambda path: path.stem)
def test_a_real_head_is_followed_alike(path, tmp_path):
    follow_both(tmp_path, np.stack(list(frames(path))[:40]), 10)


def test_known_boxes_are_cropped_alike(tmp_path):
    rng = np.random.default_rng(2)
    picture = rng.integers(0, 256, (96, 192), dtype=np.uint8)
    boxes = [
        [40.3, 20.7, 104.1, 52.9],
        [-8.2, -3.5, 51, 30],
        [150, 70.4, 214.7, 101],
        [3, 3, 67, 35],
        [10, 10, 30, 20],
    ]
    found = run(
        tmp_path,
        "cropBox, shrinkTo from crop.js",
        """
        const frame = { gray: arrays.gray, width: 192, height: 96 };
        done({ crops: given.values.map((box) => [...cropBox(frame, box, [32, 64])]),
               whole: [...shrinkTo(frame, [32, 64])] });
        """,
        boxes,
        gray=picture,
    )
    for box, crop in zip(boxes, found["crops"], strict=True):
        difference = np.abs(
            np.array(crop).reshape(32, 64) - crop_box(picture, np.array(box), (32, 64)).astype(int)
        )
        assert difference.max() <= 1 and (difference > 0).mean() < 0.01
    whole = resize_area(picture[None], (32, 64))[0].astype(int)
    assert np.abs(np.array(found["whole"]).reshape(32, 64) - whole).max() <= 1


@pytest.mark.parametrize("kind", ["whole", "gray start", "streaks", "fade", "flat"])
def test_the_same_frames_are_called_damaged(kind, tmp_path):
    clip = synthetic_clips(1, 6).frames[0].copy()
    if kind == "gray start":
        clip[:9] = 128 + (clip[:9].astype(int) - clip[0]) // 2
    elif kind == "streaks":
        clip[30:34, 8:] = clip[30:34, 7:8]
    elif kind == "fade":
        clip[:20] = clip[:20] * np.linspace(0.1, 1, 20)[:, None, None]
    elif kind == "flat":
        clip[:30] = 90
    found = run(
        tmp_path, "brokenFrames from crop.js", "done(brokenFrames(arrays.crops, [32, 64]));", crops=clip
    )
    assert found == broken_frames(clip).tolist()
    assert any(found) == (kind not in ("whole", "fade"))


class Stream:
    """What `with_times` asks of a video stream."""

    codec_context = None
    average_rate = 25


@pytest.mark.parametrize("kind", ["even", "30", "15", "irregular", "stall", "jump", "back", "one"])
def test_the_same_frames_at_25_per_second(kind, tmp_path):
    rng = np.random.default_rng(3)
    times = {
        "even": np.arange(40) / 25,
        "30": np.arange(50) / 30 + 7.3,
        "15": np.arange(20) / 15,
        "irregular": np.cumsum(rng.uniform(0.005, 0.11, 60)),
        "stall": np.cumsum([0.04] * 20 + [0.6] + [0.033] * 20),
        "jump": np.concatenate([np.arange(20) / 25, 100 + np.arange(20) / 25]),
        "back": np.concatenate([np.arange(20) / 25, np.arange(20) / 25]),
        "one": np.zeros(1),
    }[kind].tolist()
    expected = list(at_25(with_times("clip", iter([(t, i) for i, t in enumerate(times)]), Stream(), print)))
    found = run(
        tmp_path,
        "Clock, Resampler from resample.js",
        """
        const clock = new Clock(), resampler = new Resampler();
        const shown = given.values.flatMap((time, i) => resampler.push(clock.time(time), i));
        done([...shown, ...resampler.end()]);
        """,
        times,
    )
    assert found == expected
