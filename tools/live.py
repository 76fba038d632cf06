"""Make what the live page downloads: models, face detector, runtime and samples, in site/_build/live.

    python -m tools.live               writes site/_build/live (part of make site)

Prints the size of each file, as it is and gzipped, and fails above the budget. Needs the optional
dependencies `dev`, and onnxruntime-web in site/_build/node, where make site puts it.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import torch
from PIL import Image

from lessons.ctc import forced_align
from lessons.ctc.alphabet import ALPHABET
from lessons.ctc.grammar import SLOT_NAMES, SLOTS
from lessons.data.batch import normalize
from lessons.data.box_crop import crop_box
from lessons.data.image import resize_area, to_gray
from lessons.data.synthetic.heads import Hardship, TalkingVideos, talking_videos
from lessons.data.video import frames, write_video
from lessons.data.video_times import FPS
from lessons.files import atomic
from lessons.lipreading import LipNet, reading
from lessons.lipreading.saliency import saliency
from lessons.training import checkpoint, export
from tools.site import SCRIPTS

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "site"
OUT = SITE / "_build" / "live"
NODE = SITE / "_build" / "node" / "node_modules"
RUNTIME = {  # of onnxruntime-web, without WebGPU: it has no fast 3D convolution and is twice as large
    "script": "ort.wasm.min.mjs",
    "module": "ort-wasm-simd-threaded.mjs",
    "wasm": "ort-wasm-simd-threaded.wasm",
}
MODELS = {"people": "lipnet_strangers", "talker": "lipnet_small_synthetic"}  # the latter for the samples
NEVER_SEEN = ("s5", "s33")  # people held out of the training of lipnet_strangers
BUDGET = 8_000_000  # bytes, gzipped
SAMPLES, SEED = 3, 17
SALIENCY_SIZE = (16, 32)  # (H, W) of a frame: half of the model's
AROUND = 4  # frames before and after a word that its saliency shows
RUNTIME_LICENSE = """\
ONNX Runtime Web {version}, MIT License
Copyright (c) Microsoft Corporation. All rights reserved.

Permission is hereby granted, free of charge, to any person obtaining a copy of this software and
associated documentation files (the "Software"), to deal in the Software without restriction, including
without limitation the rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is furnished to do so, subject to the
following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial
portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT
LIMITED TO THE WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN
NO EVENT SHALL THE AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY,
WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE
SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""
WEIGHTS_LICENSE = """\
The weights of the two lip readers, CC BY 4.0
Copyright (c) 2026 The authors of How Machines Read Video. lipnet_strangers was trained on videos of the
GRID corpus (M. Cooke, J. Barker, S. Cunningham, X. Shao, "An audio-visual corpus for speech perception
and automatic speech recognition", JASA 120(5), 2006, doi 10.5281/zenodo.3625687, CC BY 4.0) and on
landmarks of its mouths (github.com/voR789/Lip-Reading, license not stated). No video of the corpus is
on this page.
"""


class LiveError(RuntimeError):
    """The live page cannot be made; the message says why."""


def cascade() -> tuple[dict, str]:
    """OpenCV's frontal-face cascade as plain lists (what haar.js reads), and its license."""
    import cv2

    path = Path(cv2.data.haarcascades) / "haarcascade_frontalface_default.xml"
    text = path.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text).find("cascade")
    stages, stumps = [], []
    for stage in root.find("stages"):
        weak = stage.find("weakClassifiers")
        stages.append([float(stage.findtext("stageThreshold")), len(weak)])
        for stump in weak:
            _, _, feature, threshold = stump.findtext("internalNodes").split()
            stumps.append([int(feature), float(threshold), *map(float, stump.findtext("leafValues").split())])
    features = [
        [float(value) for rectangle in feature.find("rects") for value in rectangle.text.split()]
        for feature in root.find("features")
    ]
    size = [int(root.findtext("width")), int(root.findtext("height"))]
    found = {"size": size, "stages": stages, "stumps": stumps, "features": features}
    notice = re.search(r"<!--(.*?)-->", text, re.S)[1].strip()
    return found, "\n".join(line.strip() for line in notice.splitlines())


def card() -> dict:
    """The measured word error rates that the page shows, from the model's results."""
    folder = checkpoint.trained_folder(MODELS["people"])
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    webcam = json.loads((folder / "webcam.json").read_text(encoding="utf-8"))["conditions"]

    def strangers(speakers: dict) -> dict[str, float]:
        people = [speakers[name] for name in NEVER_SEEN]
        clips = sum(person["clips"] for person in people)
        rates = {key: sum(p[key] * p["clips"] for p in people) / clips for key in ("greedy", "grammar")}
        return {**rates, "clips": clips, "people": len(people)}

    return {
        "never_seen": strangers(results["speakers"]),
        "webcam": {name: strangers(found["speakers"]) for name, found in webcam.items()},
    }


def write_webm(path: Path, gray: np.ndarray) -> None:
    """Write gray frames (T, H, W) as VP9, which browsers without H.264 play."""
    with atomic(path) as part, av.open(f"file:{part}", "w", format="webm") as container:
        stream = container.add_stream("libvpx-vp9", rate=FPS, options={"crf": "24", "b": "0"})
        stream.height, stream.width = gray.shape[1:]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in gray:
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(np.repeat(frame[..., None], 3, 2), "rgb24"))
            )
        container.mux(stream.encode(None))


def crops(path: Path, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mouths (T, H, W) within known boxes of a video file."""
    return np.stack(
        [crop_box(to_gray(frame), box, size) for frame, box in zip(frames(path), boxes, strict=True)]
    )


def saliency_strip(model: LipNet, mouths: np.ndarray, said: str) -> tuple[np.ndarray, list[dict]]:
    """Which pixels each word depends on: a column of frames (N * H, W) uint8, and where each word's stand.

    Each word is scaled to its own largest value. A word's frames go from ``start`` to ``end`` (exclusive);
    the first of them is the ``offset``-th of the column.
    """
    x = normalize(torch.from_numpy(mouths)[None])  # (1, T, H, W)
    with torch.no_grad():
        log_probs = model(x[:, None])[:, 0].log_softmax(-1)  # (T, V)
    labels = ALPHABET.encode(said)
    alignment = forced_align(log_probs, labels)
    words, column = [], []
    for word in reading.find_words(log_probs, labels.tolist()):
        path = torch.zeros_like(alignment.path)
        path[word.start : word.end] = alignment.path[word.start : word.end]
        found = saliency(model, x, path, samples=8).numpy()  # (T, H, W)
        start, end = max(0, word.start - AROUND), min(len(mouths), word.end + AROUND)
        part = found[start:end] / found[start:end].max()  # (N, H, W)
        part = resize_area(np.rint(255 * part).astype(np.uint8), SALIENCY_SIZE)
        words.append({"text": word.text, "start": start, "end": end, "offset": sum(map(len, column))})
        column.append(part)
    return np.concatenate(column).reshape(-1, SALIENCY_SIZE[1]), words


def samples(to: Path, model: LipNet) -> list[dict]:
    """Draw people who talk, and keep the first that the model reads right from both files."""
    found = []
    for seed in range(SEED, SEED + 20 * SAMPLES):
        drawn = talking_videos([Hardship(poster=0.0)], np.random.default_rng(seed))
        if sample := try_sample(to, f"talker_{len(found) + 1}", drawn, model):
            found.append({**sample, "seed": seed})
        if len(found) == SAMPLES:
            return found
    raise LiveError(f"samples: the model reads {len(found)} of {20 * SAMPLES} right, expected {SAMPLES}")


def try_sample(to: Path, name: str, drawn: TalkingVideos, model: LipNet) -> dict | None:
    """Write one sample and say what is in it; None when the model reads another sentence in a file."""
    gray, boxes, said = drawn.frames[0], drawn.boxes[0].round(2), drawn.transcripts[0]
    files = [to / f"{name}.mp4", to / f"{name}.webm"]
    write_video(files[0], gray)
    write_webm(files[1], gray)
    for path in files:
        log_probs = reading.log_probabilities(model, crops(path, boxes, model.frame_size))
        for decoder in ("greedy", "grammar"):
            if ALPHABET.decode(reading.decode(log_probs, decoder)) != said:
                return None
    strip, words = saliency_strip(model, crops(files[0], boxes, model.frame_size), said)
    Image.fromarray(strip).save(to / f"{name}.png", optimize=True)
    return {
        "name": name,
        "said": said,
        "files": [path.name for path in files],
        "frames": len(gray),
        "size": list(gray.shape[1:]),
        "found": boxes.tolist(),
        "model": "talker",
        "saliency": {"file": f"{name}.png", "size": list(SALIENCY_SIZE), "words": words},
    }


def build(to: Path = OUT, node: Path = NODE) -> dict:
    """Write the folder, and return what about.json holds.

    Raises:
        LiveError: onnxruntime-web is missing, or the page is above its budget.
    """
    package = node / "onnxruntime-web"
    if not (package / "package.json").is_file():
        raise LiveError(f"onnxruntime-web: found no {package}, expected it from `make site`")
    version = json.loads((package / "package.json").read_text(encoding="utf-8"))["version"]
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    for name in RUNTIME.values():
        shutil.copy(package / "dist" / name, to)
    # The map of the sources is not published with them.
    script = to / RUNTIME["script"]
    text = re.sub(r"\n//# sourceMappingURL=.*", "", script.read_text(encoding="utf-8"))
    script.write_text(text, encoding="utf-8")

    models = {name: checkpoint.load(trained) for name, trained in MODELS.items()}
    people = models["people"]
    about_models = {}
    for name, model in models.items():
        file = f"{name}.onnx"
        export.to_onnx(model, to / file, half=True)
        about_models[name] = {"file": file, "trained": MODELS[name], "bytes": (to / file).stat().st_size}
    found, notice = cascade()
    write_json(to / "haar.json", found)
    licenses = "\n\n".join(
        [RUNTIME_LICENSE.format(version=version), f"Face detector (Haar cascade) of OpenCV\n{notice}\n",
         WEIGHTS_LICENSE]
    )  # fmt: skip
    (to / "licenses.txt").write_text(licenses, encoding="utf-8")
    about = {
        "alphabet": ALPHABET.symbols,
        "size": list(people.frame_size),
        "fps": FPS,
        "upsample": people.upsample,
        "slots": [list(slot) for slot in SLOTS],
        "slot_names": list(SLOT_NAMES),
        "runtime": RUNTIME,
        "models": about_models,
        "card": card(),
        "samples": samples(to, models["talker"]),
        "licenses": "licenses.txt",
    }
    write_json(to / "about.json", about)
    return about


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, separators=(",", ":")), encoding="utf-8")


def sizes(folders: tuple[Path, ...]) -> list[tuple[str, int, int]]:
    """(name, bytes, bytes gzipped) of each file, the largest first."""
    found = []
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                data = path.read_bytes()
                name = path.relative_to(folder).as_posix()
                found.append((name, len(data), len(gzip.compress(data, 9, mtime=0))))
    return sorted(found, key=lambda row: -row[2])


def report(rows: list[tuple[str, int, int]]) -> int:
    """Print the sizes; the gzipped total."""
    for name, size, zipped in (*rows, ("together", sum(r[1] for r in rows), sum(r[2] for r in rows))):
        print(f"{name:34} {size / 1e6:7.3f} MB {zipped / 1e6:7.3f} MB gzipped")
    return sum(row[2] for row in rows)


def main() -> int:
    torch.set_num_threads(1)
    try:
        build()
        total = report(sizes((OUT, *(SITE / "live" / folder for folder in SCRIPTS))))
        if total > BUDGET:
            raise LiveError(f"{total / 1e6:.2f} MB gzipped, expected at most {BUDGET / 1e6:g}")
    except (LiveError, ImportError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
