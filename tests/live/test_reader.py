"""The live page's reader, run in node, reads what `python -m lessons read` reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lessons.ctc.alphabet import ALPHABET
from lessons.ctc.metrics import wer
from lessons.data import grid
from lessons.data.box_crop import crop_box
from lessons.data.grid.mouth_video import MouthVideo
from lessons.data.image import to_gray
from lessons.data.synthetic.talker import synthetic_clips
from lessons.data.video import frames
from lessons.lipreading import reading
from lessons.lipreading.reading import WindowReader
from lessons.training import checkpoint
from tests.live.node import DATA, needs_data, needs_node, run
from tests.live.test_pictures import RAW, gray_of, needs_raw
from tools import live

pytestmark = [needs_node, needs_data]
MODEL = checkpoint.load("lipnet_strangers")

READ = """
const reader = await Reader.load(data, readBytes);
const answers = [];
let at = 0;
for (const { n, height, width, step, ...options } of given.values) {
  reader.start(options);
  const seen = [];
  for (let t = 0; t < n; t++, at += height * width) {
    const found = reader.frame(t * (step ?? 0.04), width, height, arrays.gray.slice(at, at + height * width));
    if (found) seen.push(found);
  }
  const { crops, logProbs, ...answer } = await reader.read(true);
  answers.push({ ...answer, seen, crops: [...crops], logProbs: [...logProbs] });
}
done(answers);
"""


def read(folder: Path, clips: list[np.ndarray], **options) -> list[dict]:
    """What JavaScript reads in gray clips (T, H, W); ``options`` as in its ``start``, the same for each."""
    values = [{**dict(zip(("n", "height", "width"), clip.shape, strict=True)), **options} for clip in clips]
    flat = np.concatenate([clip.ravel() for clip in clips])
    return run(folder, "Reader from reader.js", READ, values, gray=flat)


def texts(log_probs: torch.Tensor) -> list[str]:
    """The greedy and the grammar's reading, by Python."""
    return [ALPHABET.decode(reading.decode(log_probs, decoder)) for decoder in ("greedy", "grammar")]


def read_file(path: Path) -> list[str]:
    """Both readings of a video of up to 4 s, as `python -m lessons read` does it."""
    windows = WindowReader(MODEL)
    for mouths, seen in MouthVideo(path):
        assert not list(windows.push(to_gray(mouths), seen))
    (rows,) = windows.push(to_gray(mouths[:0]), seen[:0], last=True)
    return texts(rows)


def test_mouths_of_the_talker(tmp_path):
    clips = [frames[:n] for frames, n in zip(synthetic_clips(8, 4).frames, (75, 60, 30, 75) * 2, strict=True)]
    for clip, answer in zip(clips, read(tmp_path, clips), strict=True):
        expected = reading.log_probabilities(MODEL, clip)
        assert (np.array(answer["crops"]).reshape(clip.shape) == clip).all()
        found = np.array(answer["logProbs"]).reshape(-1, 28)
        np.testing.assert_allclose(found, expected.numpy(), atol=2e-3)
        assert [answer["greedy"]["text"], answer["grammar"]["text"]] == texts(expected)
        assert (answer["frames"], answer["steps"], answer["fps"]) == (len(clip), len(clip), 25)


@pytest.mark.skipif(grid.find_mouth_set() is None, reason="needs real clips")
def test_mouths_of_a_real_speaker(tmp_path):
    clips = grid.load(grid.find_mouth_set(), "val").subset(range(0, 100, 5))
    answers = read(tmp_path, list(clips.frames))
    for clip, answer in zip(clips.frames, answers, strict=True):
        expected = texts(reading.log_probabilities(MODEL, clip))
        assert [answer["greedy"]["text"], answer["grammar"]["text"]] == expected


@needs_raw
def test_real_videos_are_read_alike(tmp_path):
    """From the frames on: faces, crops, normalization, network, decoders.

    A crop may differ by a gray level or two, where three colors were rounded and not one gray: enough to turn
    a letter that the model cannot tell from another. Of 198 words of strangers 2 differ greedily, 1 with the
    grammar.
    """
    paths = RAW[3::12]
    answers = read(tmp_path, [gray_of(frames(path)) for path in paths])
    for key, expected in zip(("greedy", "grammar"), zip(*map(read_file, paths), strict=True), strict=True):
        found = [answer[key]["text"] for answer in answers]
        assert wer(list(expected), found) <= 1 / (6 * len(paths)), key
    for answer in answers:
        assert answer["warnings"] == []
        assert all(seen["faces"] == 1 for seen in answer["seen"])


def test_samples_are_read_right(tmp_path):
    about = live.json.loads((DATA / "about.json").read_text(encoding="utf-8"))
    assert len(about["samples"]) == live.SAMPLES
    for sample in about["samples"]:
        for name in sample["files"]:
            clip = gray_of(frames(DATA / name))
            (answer,) = read(tmp_path, [clip], found=sample["found"], model="talker")
            assert answer["greedy"]["text"] == answer["grammar"]["text"] == sample["said"]
            assert answer["warnings"] == []
        boxes = np.array(sample["found"])
        expected = np.stack([crop_box(*both, MODEL.frame_size) for both in zip(clip, boxes, strict=True)])
        assert np.abs(np.array(answer["crops"]).reshape(expected.shape) - expected.astype(int)).max() <= 1
        assert [word["text"] for word in sample["saliency"]["words"]] == sample["said"].split()


def test_what_is_wrong_is_said(tmp_path):
    gray = np.full((40, 120, 160), 128, np.uint8)
    (answer,) = read(tmp_path, [gray])
    assert answer["warnings"] == ["no face"]
    assert answer["greedy"] == {"text": "", "words": []} and answer["grammar"] is None
    (answer,) = read(tmp_path, [gray[:10]])
    assert answer["warnings"] == ["no face", "too short"]
    (answer,) = read(tmp_path, [gray[:36]], step=0.12)
    assert answer["warnings"] == ["no face", "too long", "few frames"] and answer["frames"] == 108


def test_a_clip_without_frames(tmp_path):
    code = """
    const reader = await Reader.load(data, readBytes);
    const { crops, logProbs, ...answer } = await reader.read(true);
    let message = "";
    try { reader.frame(0, 2, 2, new Uint8Array(4)); } catch (error) { message = error.message; }
    done({ ...answer, steps: logProbs.length, message });
    """
    answer = run(tmp_path, "Reader from reader.js", code)
    assert answer["frames"] == answer["steps"] == 0 and answer["greedy"]["text"] == ""
    assert "the clip has ended" in answer["message"]


@pytest.mark.parametrize(("kept", "warned"), [(75, False), (68, False), (67, True), (40, True)])
def test_missing_frames_are_counted(tmp_path, kept, warned):
    """A clip of 3 s with frames lost at random, its first and last among those kept."""
    times = np.sort(np.random.default_rng(kept).choice(np.arange(1, 74), kept - 2, replace=False))
    code = """
    const reader = await Reader.load(data, readBytes);
    for (const t of given.values) reader.frame(t / 25, 64, 48, new Uint8Array(64 * 48).fill(t));
    reader.end();
    done({ seen: reader.seen, distinct: reader.distinct, warnings: reader.warnings({}, null, true) });
    """
    found = run(tmp_path, "Reader from reader.js", code, [0, *times.tolist(), 74])
    assert found["seen"] in (75, 76) and found["distinct"] == kept  # how long the last one lasts is a guess
    assert ("few frames" in found["warnings"]) == warned
