"""What a GPU is for, in one command: ``make gpu`` (``make gpu DRY=1`` tries it out on any machine).

    1. the tests of every layer on the GPU, while the clips are loaded
    2. lessons.measure.bench on the GPU, to lessons/trained/bench/gpu.json
    3. preset quick on real clips: minutes to 15 % of the words wrong
    4. preset full for the rest of the time; the same command goes on where it was stopped

It needs torch, numpy, OpenCV, Pillow, safetensors, tqdm, pytest, PyAV and torchinfo, no network, and a mouth
set in data/grid (README, "Data"). What it finds is written to OUT/gpu.json after each part.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

import lessons
from lessons.cli import train
from lessons.data.clips import ClipSet
from lessons.data.grid import find_mouth_set
from lessons.files import atomic
from lessons.measure import bench
from lessons.measure.timing import machine
from lessons.training.lipnet import train as run_epochs
from lessons.training.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
TESTS = ("tests/machines/test_devices.py", "tests/ctc/test_loss_triton.py", "tests/data/test_batch.py")
FINISH = 25.0  # seconds kept for the last evaluation: every clip read in seven ways, and with the grammar
SPARE = 0.92  # of the time that is left is planned for epochs
WER = 0.15


class Report:
    """What was found so far, on disk after each part: a run that is cut off has lost nothing."""

    def __init__(self, path: Path) -> None:
        self.path, self.found, self.began = path, {}, time.perf_counter()

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.began

    def add(self, name: str, value: object) -> None:
        self.found[name] = value
        self.found["seconds"] = round(self.seconds, 1)
        with atomic(self.path) as part:
            part.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")
        print(f"== {name} after {self.seconds:.0f} s", flush=True)


def start_tests() -> subprocess.Popen:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )


def finish_tests(tests: subprocess.Popen, report: Report) -> dict:
    """Wait for the tests; print what failed; count."""
    output, _ = tests.communicate()
    report.path.with_name("tests.txt").write_text(output, encoding="utf-8")
    print(output[-3000:], flush=True)
    counts = {kind: int(n) for n, kind in re.findall(r"(\d+) (passed|failed|skipped|error)", output)}
    return {**counts, "exit": tests.returncode}


def load(dry: bool, size: tuple[int, int]) -> tuple[ClipSet, ClipSet, str]:
    """Training and validation clips of the mouth set; a few drawn ones for a dry run without it."""
    folder = find_mouth_set()
    if folder is None and not dry:
        raise ValueError("data/grid holds no mouth set: make one first, see README, 'Data'")
    if dry:
        return *train.load_clips("synthetic", size, 8), "synthetic"
    return *train.load_clips(str(folder), size, 0), folder.name


def seconds_per_epoch(settings: Settings, training: ClipSet, validation: ClipSet) -> float:
    """Of preset full: of the second of two epochs, since the first chooses its convolutions."""
    model = train.PRESETS["full"][0]()
    two = replace(settings, epochs=2)
    _, rows = run_epochs(model, training, validation, two, progress=False)
    return max(rows[1]["seconds"] - rows[0]["seconds"], 0.1)


def full_settings(out: Path, training: ClipSet, validation: ClipSet, seconds: float) -> Settings:
    """Preset full with as many epochs as fit into ``seconds``, or as many as the begun run in ``out`` has."""
    _, _, settings = train.PRESETS["full"]
    plan = out / "plan.json"
    if plan.is_file():
        return replace(settings, epochs=json.loads(plan.read_text(encoding="utf-8"))["epochs"])
    began = time.perf_counter()
    epoch = seconds_per_epoch(settings, training, validation)
    epochs = max(1, int(SPARE * (seconds - (time.perf_counter() - began)) / epoch))
    out.mkdir(parents=True, exist_ok=True)
    with atomic(plan) as part:
        part.write_text(json.dumps({"epochs": epochs, "seconds_per_epoch": epoch}), encoding="utf-8")
    print(f"full: {epoch:.2f} s per epoch, {epochs} epochs", flush=True)
    return replace(settings, epochs=epochs)


def quick(out: Path, training: ClipSet, validation: ClipSet, data: str, dry: bool) -> dict:
    """Preset quick; when the validation clips were first read with ``WER`` or better."""
    _, _, settings = train.PRESETS["quick"]
    if dry:
        settings = replace(settings, epochs=2)
    found = train.run("quick", settings, train.Data(training, validation, data), out)
    rows = torch.load(out / "last.pt", map_location="cpu", weights_only=True)["rows"]
    reached = [row["seconds"] for row in rows if row["val_wer"] <= WER]
    return {"seconds_to_15_percent": min(reached, default=None), "wer": found["greedy"]["wer"]}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=7.0, help="for everything (default 7)")
    parser.add_argument("--out", type=Path, help="default runs/gpu; for a dry run, a new folder elsewhere")
    parser.add_argument("--dry", action="store_true", help="a few drawn clips, few steps, on any device")
    args = parser.parse_args(argv)
    device = lessons.device()
    if device.type != "cuda" and not args.dry:
        sys.exit("error: torch finds no CUDA device; --dry tries the command out without one")
    if args.out is None:  # a dry run leaves nothing that a real one would go on from
        args.out = Path(tempfile.mkdtemp(prefix="gpu-dry-")) if args.dry else ROOT / "runs" / "gpu"
    args.out.mkdir(parents=True, exist_ok=True)
    report = Report(args.out / "gpu.json")
    report.add("machine", machine(device))

    tests = start_tests()
    small, large = (load(args.dry, train.PRESETS[preset][1]) for preset in ("quick", "full"))
    if args.dry:
        small, large = ((a.subset(range(8)), b.subset(range(4)), name) for a, b, name in (small, large))
    report.add("tests", finish_tests(tests, report))

    torch.backends.cudnn.benchmark = device.type == "cuda"
    names = ["ctc B16", "gru B8"] if args.dry else list(bench.works(device))
    rows = bench.measure(names, device, pairs=2 if args.dry else 15, progress=False)
    print(bench.table(rows), flush=True)
    report.add("bench", rows)
    if not args.dry:
        with atomic(ROOT / "lessons" / "trained" / "bench" / "gpu.json") as part:
            part.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")

    report.add("quick", quick(args.out / "quick", *small, args.dry))

    left = 60 * args.minutes - report.seconds - FINISH
    settings = full_settings(args.out / "full", *large[:2], left)
    if args.dry:
        settings = replace(settings, epochs=1)
    found = train.run("full", settings, train.Data(*large), args.out / "full")
    report.add("full", {key: found[key] for key in ("minutes", "greedy", "grammar", "settings")})
    return report.found["tests"]["exit"]


if __name__ == "__main__":
    sys.exit(main())
