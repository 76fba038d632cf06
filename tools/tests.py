"""Run the tests: in parallel, one notebook's alone, on a GPU, or computing like other machines.

    python -m tools.tests                    make test: unit tests and every notebook, strictly
    python -m tools.tests --only 04          make test ONLY=04: notebook 04 and the tests of what it uses
    python -m tools.tests --device cuda      make test DEVICE=cuda: on a GPU, where the asserts must hold
    python -m tools.tests --machines avx2    make test-machines: every notebook, strictly, on such a machine

The last digits of a sum depend on the order of its terms, and that depends on the width of the processor's
vectors, on the number of threads and on the library's version. Which settings there are, and why they are
enough: CONTRIBUTING.md, "Every machine prints the same".
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lessons.course import COURSE

ROOT = Path(__file__).resolve().parent.parent

# name -> environment variables, set before Python starts
MACHINES: dict[str, dict[str, str]] = {
    "native": {},
    "avx2": {  # a laptop of the last ten years
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    },
    "baseline": {  # the narrowest vectors that torch runs on, and no fused multiply-add
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
    },
    "threads": {
        "LESSONS_THREADS": "2",
        "OMP_WAIT_POLICY": "PASSIVE",
    },  # a waiting thread must not hold a core
}
CELL_TIMEOUT = 120  # seconds


def environment(machine: str, device: str = "cpu") -> dict[str, str]:
    """The environment of a process that computes like ``machine``."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "LESSONS_DEVICE": device, **MACHINES[machine]}


def notebooks(prefix: str = "") -> list[Path]:
    """The notebooks whose name begins with ``prefix``, the slowest first: none is left over at the end."""
    written = [entry for entry in COURSE if entry.written and entry.name.startswith(prefix)]
    written.sort(key=lambda entry: -entry.minutes)  # stable: those of equal minutes in the course's order
    return [ROOT / "notebooks" / f"{entry.name}.ipynb" for entry in written]


def unit_tests(prefix: str = "") -> list[Path]:
    """All test files, the largest first; with a ``prefix``, those of what its notebooks import.

    tests/ has the folders of lessons/: a file tests the module of its name, a folder all that its room holds.
    """
    files = sorted((ROOT / "tests").rglob("test_*.py"), key=lambda path: -path.stat().st_size)
    if not prefix:
        return files
    wanted = set()
    for notebook in notebooks(prefix):
        source = (ROOT / "notebooks" / "src" / f"{notebook.stem}.py").read_text(encoding="utf-8")
        wanted |= imported_modules(source) | {f"checks_{notebook.stem[3:]}"}
    return [path for path in files if {path.stem.removeprefix("test_"), path.parent.name} & wanted]


def imported_modules(source: str) -> set[str]:
    """The last names of the modules of ``lessons`` that a source imports: {"ctc", "batch", ...}."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "lessons":
            found.add(node.module.split(".")[-1])
            found |= {alias.name for alias in node.names}
    return found


def run(paths: Sequence[Path], variables: Mapping[str, str], strict: bool = True) -> tuple[int, int, float]:
    """Run test files and notebooks in parallel, each file in one process: (passed, failed, seconds)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(len(paths), max(1, cores // int(variables.get("LESSONS_THREADS", 1))))
    command = [sys.executable, "-m", "pytest", *map(str, paths), "--nbval" if strict else "--nbval-lax"]
    command += ["--nbval-current-env", "--nbval-sanitize-with", "tests/nbval.cfg"]
    command += ["--nbval-cell-timeout", str(CELL_TIMEOUT)]
    if workers > 1:
        command += ["-n", str(workers), "--dist", "loadfile", "--no-loadscope-reorder"]
    began, lines = time.perf_counter(), []
    process = subprocess.Popen(
        command, cwd=ROOT, env=dict(variables), text=True, encoding="utf-8", stdout=subprocess.PIPE
    )
    for line in process.stdout:
        print(line, end="", flush=True)
        lines.append(line)
    code = process.wait()
    counts = {kind: int(n) for n, kind in re.findall(r"(\d+) (passed|failed|error)", "".join(lines[-3:]))}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    if code and not failed:  # it did not come as far as a test
        failed = 1
    return counts.get("passed", 0), failed, time.perf_counter() - began


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--only", default="", metavar="NN", help="what belongs to the notebooks of this number"
    )
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda", "mps"))
    parser.add_argument(
        "--machines", nargs="*", choices=MACHINES, help="notebooks alone, on these; none: all"
    )
    args = parser.parse_args(argv)
    if not notebooks(args.only):
        parser.error(f"--only {args.only}: no notebook's name begins so")
    if args.machines is None:
        paths = [*notebooks(args.only), *unit_tests(args.only)]
        _, failed, _ = run(paths, environment("native", args.device), strict=args.device == "cpu")
        return int(failed > 0)
    rows = {name: run(notebooks(args.only), environment(name)) for name in args.machines or MACHINES}
    print(f"\n{'setting':10} {'passed':>7} {'failed':>7} {'seconds':>8}")
    for name, (passed, failed, seconds) in rows.items():
        print(f"{name:10} {passed:7} {failed:7} {seconds:8.0f}")
    return int(any(failed for _, failed, _ in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
