"""What the live page does without a browser: align words, lay out labels, hold frames back."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lessons.ctc.metrics import edit_distance
from tests.live.node import READER, needs_node, run

PAGE = READER.parent / "page"
WORKER = """\
const posted = [];
globalThis.Worker = class { postMessage(message) { posted.push(message); } };
const { ReaderClient, DROPPED } = await import(given.values.client);
const client = new ReaderClient();
const answer = (data) => client.worker.onmessage({ data: { id: client.id, ...data } });
const push = (n) => { for (let k = 0; k < n; k += 1) client.push(k / 25, 2, 1, new Uint8Array(2)); };
const counts = () => ({ frames: posted.filter((m) => m.type === "frame").length, waiting: client.backlog });
"""


def in_client(folder, code: str):
    values = {"client": (PAGE / "client.js").as_uri()}
    return run(folder, "align from ../page/words.js", WORKER + code, values)


@needs_node
def test_words_are_aligned_by_the_edit_distance(tmp_path):
    rng = np.random.default_rng(0)
    pairs = [[rng.choice(list("abc"), rng.integers(0, 7)).tolist() for _ in range(2)] for _ in range(50)]
    found = run(
        tmp_path,
        "align from ../page/words.js",
        "done(given.values.map(([said, read]) => align(said, read)))",
        pairs,
    )
    for (said, read), one in zip(pairs, found, strict=True):
        assert one["errors"] == edit_distance(said, read)
        at = [j for j in one["pairs"] if j is not None]
        assert at == sorted(set(at)) and len(one["pairs"]) == len(said)
        wrong = sum(said[i] != read[j] for i, j in enumerate(one["pairs"]) if j is not None)
        assert wrong + len(said) + len(read) - 2 * len(at) == one["errors"]


@needs_node
def test_labels_neither_overlap_nor_leave_the_page(tmp_path):
    cases = [[[50, 55, 60], [30, 30, 30]], [[0, 299], [40, 40]], [[10, 290, 295, 298], [20, 60, 60, 60]]]
    found = run(
        tmp_path,
        "place from ../page/words.js",
        "done(given.values.map(([centers, widths]) => place(centers, widths, 300, 3)))",
        cases,
    )
    for (_, widths), left in zip(cases, found, strict=True):
        right = np.add(left, widths)
        assert left[0] >= 0 and right[-1] <= 300
        assert (np.subtract(left[1:], right[:-1]) >= 3).all()


@needs_node
def test_no_more_frames_are_sent_than_the_worker_takes(tmp_path):
    ahead = int(re.search(r"const AHEAD = (\d+)", (PAGE / "client.js").read_text(encoding="utf-8"))[1])
    code = """
        client.start(); push(100);
        client.read(true);
        const before = counts();
        answer({ type: "seen", time: 9 / 25 });
        const after = counts();
        for (const k of [49, 79, 99]) answer({ type: "seen", time: k / 25 });
        done({ before, after, end: counts(), longest: client.longest, last: posted.at(-1).type });
    """
    found = in_client(tmp_path, code)
    assert found["before"] == {"frames": ahead, "waiting": 100 - ahead}
    assert found["after"]["frames"] == ahead + 10
    assert found["end"] == {"frames": 100, "waiting": 0}
    assert found["longest"] == 100 - ahead
    assert found["last"] == "read"  # after all frames


@needs_node
@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ('answer({ type: "reading", frames: 3 })', "3"),
        ("client.start()", "another clip was started"),
        ('answer({ type: "error", message: "no memory" })', "no memory"),
        ('answer({ type: "reading", id: 0, frames: 9 }); answer({ type: "reading", frames: 3 })', "3"),
    ],
)
def test_a_reading_comes_or_is_refused(tmp_path, what, expected):
    code = f"""
        client.loading = {{ reject() {{}} }};
        client.start(); push(3);
        const reading = client.read(true).then(({{ frames }}) => String(frames), ({{ message }}) => message);
        {what};
        done(await reading);
    """
    assert in_client(tmp_path, code) == expected


@needs_node
def test_each_warning_of_the_reader_is_explained(tmp_path):
    codes = re.findall(r'found\.push\("([^"]+)"\)', (READER / "reader.js").read_text(encoding="utf-8"))
    known = run(tmp_path, "WARNINGS from ../page/words.js", "done(Object.keys(WARNINGS))")
    assert len(codes) >= 5 and set(codes) <= set(known)


TAKER = """\
let posted = [];
globalThis.self = { postMessage: (message) => posted.push(message) };
globalThis.OffscreenCanvas = class {
  constructor(width, height) { Object.assign(this, { width, height }); }
  getContext() {
    return {
      drawImage: (frame) => { this.level = frame.level; },
      getImageData: () => ({ data: new Uint8ClampedArray(4 * this.width * this.height).fill(this.level) }),
    };
  }
};
await import(given.values.taker);
let closed = 0;
let feed = null;
const stream = new ReadableStream({ start: (controller) => { feed = controller; } });
const camera = async (...levels) => {
  for (const level of levels) {
    const size = { displayWidth: 4, displayHeight: 2 };
    feed.enqueue({ ...size, level, timestamp: 40000 * level, close: () => { closed += 1; } });
  }
  await new Promise((resolve) => setTimeout(resolve, 20));
};
self.onmessage({ data: { stream } });
"""


@needs_node
def test_the_worker_takes_each_frame_of_the_camera_while_it_is_asked_to(tmp_path):
    code = """
        await camera(1, 2);
        const idle = posted; posted = [];
        self.onmessage({ data: { clip: 7 } });
        await camera(3, 4, 5);
        const flat = ({ clip, frame: { gray, ...rest } }) => ({ clip, gray: [...gray], ...rest });
        const frames = posted.map(flat);
        posted = [];
        self.onmessage({ data: { clip: null } });
        await camera(6);
        done({ idle, frames, after: posted, closed });
    """
    values = {"taker": (PAGE / "taker.js").as_uri()}
    found = run(tmp_path, "align from ../page/words.js", TAKER + code, values)
    assert found["idle"] == [{"size": [4, 2]}] and found["after"] == [] and found["closed"] == 6
    for frame, level in zip(found["frames"], (3, 4, 5), strict=True):
        assert frame["clip"] == 7 and frame["time"] == pytest.approx(0.04 * level)
        assert (frame["width"], frame["height"], frame["gray"]) == (4, 2, [level] * 8)


@needs_node
def test_missing_frames_are_told_with_their_number(tmp_path):
    facts = {"distinct": 56, "frames": 75, "fps": 25}
    found = run(
        tmp_path,
        "warned from ../page/words.js",
        "done([true, false].map((camera) => warned('few frames', { ...given.values, camera })))",
        facts,
    )
    assert "56 of 75 frames" in found[0] and "Close other programs" in found[0]
    assert "only 19 frames per second" in found[1] and "trained on 25" in found[1]
