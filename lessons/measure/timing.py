"""Two ways to do the same work, timed so that a busy machine favors neither.

They run in turn, one after the other, many times; what counts is the ratio of each pair, and of these ratios
the median. A disturbance hits one pair, or both halves of it. On a GPU, CUDA's own events are read, since a
call returns before its work is done. On one CPU thread the clock is the process's CPU time, which stands
still while another program has the core; with more threads it is the clock on the wall.
"""

from __future__ import annotations

import json
import math
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lessons.measure.profiler import watch

Work = Callable[[], object]
SHORTEST = 0.02  # seconds: work that takes less is done several times for one reading of the clock
MIB = 2**20


@dataclass(frozen=True)
class Comparison:
    """Ours beside theirs.

    Attributes:
        ratio: median over pairs of our time over theirs; below 1, ours is faster.
        spread: lower and upper quartile of the pairs' ratios.
        ours_ms, theirs_ms: median times in milliseconds.
        ours_mib, theirs_mib: most memory held at once, in MiB, beyond what was held before.
    """

    ratio: float
    spread: tuple[float, float]
    ours_ms: float
    theirs_ms: float
    ours_mib: float
    theirs_mib: float


def compare(ours: Work, theirs: Work, device: torch.device, pairs: int = 15) -> Comparison:
    """Time ``ours`` and ``theirs`` in turn, ``pairs`` times; measure the memory of each once.

    Raises:
        ValueError: fewer than 2 pairs, of which no spread can be told.
    """
    if pairs < 2:
        raise ValueError(f"pairs={pairs}: expected 2 or more, for a spread")
    works = (ours, theirs)
    for work in works:
        work()  # the first call of anything is slow
    repeats = [max(1, math.ceil(SHORTEST / max(seconds(work, device), 1e-9))) for work in works]
    times: tuple[list[float], list[float]] = ([], [])
    for pair in range(pairs):
        for which in (0, 1) if pair % 2 == 0 else (1, 0):  # the first of two warms the caches
            times[which].append(seconds(works[which], device, repeats[which]))
    ratios = [a / b for a, b in zip(*times, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4)
    return Comparison(
        statistics.median(ratios),
        (low, high),
        *(1000 * statistics.median(one) for one in times),
        *(peak_bytes(work, device) / MIB for work in works),
    )


def seconds(work: Work, device: torch.device, repeats: int = 1) -> float:
    """Seconds that one call of ``work`` takes, as a mean over ``repeats`` calls."""
    if device.type == "cuda":
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(repeats):
            work()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1000 / repeats
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    began = clock()
    for _ in range(repeats):
        work()
    return (clock() - began) / repeats


def peak_bytes(work: Work, device: torch.device) -> int:
    """The most bytes of tensors that ``work`` holds at once, beyond those held before it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with watch(memory=True) as record:
        work()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        record.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e["name"] == "[memory]")
    held = most = 0
    for _, change in changes:
        held += change
        most = max(most, held)
    return most


def machine(device: torch.device) -> dict[str, str | int]:
    """What a time depends on."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _cpu_name() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "CPU"
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else "CPU"
