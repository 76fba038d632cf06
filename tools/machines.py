"""One machine that computes like several: the settings under which every notebook must print the same.

    python -m tools.machines                      every notebook under every setting (make test-machines)
    python -m tools.machines avx2 --only 04       make test-machines MACHINES=avx2 ONLY=04

The last digits of a sum depend on the order of its terms, and that depends on the width of the processor's
vectors, on the number of threads and on the library's version. Which settings there are, and why they are
enough: CONTRIBUTING.md, "Every machine prints the same".
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

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
    "threads": {"LESSONS_THREADS": "2"},
}
NBVAL = ("--nbval", "--nbval-current-env", "--nbval-sanitize-with", "tests/nbval.cfg")
CELL_TIMEOUT = 120  # seconds


def environment(machine: str) -> dict[str, str]:
    """The environment of a process that computes like ``machine``, on the CPU."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "LESSONS_DEVICE": "cpu", **MACHINES[machine]}


def test(machine: str, prefix: str) -> tuple[int, int, float]:
    """Run the notebooks whose name begins with ``prefix`` under strict nbval: (passed, failed, seconds)."""
    notebooks = sorted(str(path) for path in (ROOT / "notebooks").glob(f"{prefix}*.ipynb"))
    workers = max(1, (os.cpu_count() or 1) // int(MACHINES[machine].get("LESSONS_THREADS", 1)))
    parallel = ("-n", str(min(workers, len(notebooks))), "--dist", "loadfile") if len(notebooks) > 1 else ()
    command = [sys.executable, "-m", "pytest", *notebooks, *NBVAL, *parallel]
    command += ["--nbval-cell-timeout", str(CELL_TIMEOUT), "--durations=10"]
    began = time.perf_counter()
    run = subprocess.run(
        command, cwd=ROOT, env=environment(machine), text=True, encoding="utf-8", stdout=subprocess.PIPE
    )
    print(run.stdout, flush=True)
    counts = {kind: int(n) for n, kind in re.findall(r"(\d+) (passed|failed|error)", run.stdout)}
    failed = counts.get("failed", 0) + counts.get("error", 0)
    if run.returncode and not failed:  # it did not come as far as a test
        failed = 1
    return counts.get("passed", 0), failed, time.perf_counter() - began


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "machines", nargs="*", metavar="MACHINE", help=f"of {', '.join(MACHINES)}; default all"
    )
    parser.add_argument("--only", default="", metavar="NN", help="notebooks whose name begins so")
    args = parser.parse_args(argv)
    for name in args.machines:
        if name not in MACHINES:
            parser.error(f"{name!r}: expected one of {', '.join(MACHINES)}")
    if not list((ROOT / "notebooks").glob(f"{args.only}*.ipynb")):
        parser.error(f"--only {args.only}: no notebook's name begins so")
    rows = {name: test(name, args.only) for name in args.machines or MACHINES}
    print(f"{'setting':10} {'passed':>7} {'failed':>7} {'seconds':>8}")
    for name, (passed, failed, seconds) in rows.items():
        print(f"{name:10} {passed:7} {failed:7} {seconds:8.0f}")
    return int(any(failed for _, failed, _ in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
