"""The command line: ``python -m lessons COMMAND``, or ``lessons COMMAND`` once the course is installed."""

from __future__ import annotations

import errno
import importlib
import os
import sys

from lessons.files import printing_failed

# command -> (the module whose main() it calls, what it does)
COMMANDS = {
    "read": ("cli.read", "read lips in videos"),
    "grid": ("cli.grid", "download a speaker of the GRID corpus, or cut its videos to mouths"),
    "train": ("cli.train", "train LipNet"),
    "train-detector": ("cli.train_detector", "train the video detectors and fill their table"),
    "train-mouth-finder": ("cli.train_mouth_finder", "train the mouth finders and test them in a stream"),
    "measure-latency": ("training.latency", "measure latency against errors of a stream"),
    "compare-cells": ("cli.compare_cells", "train Bottleneck-LSTMs with one thing changed at a time"),
    "export": ("training.export", "write a trained model as an ONNX file"),
    "bench": ("measure.bench", "time every piece beside torch's own"),
}
RESUMABLE = {"grid", "train", "train-detector", "train-mouth-finder"}


def usage() -> str:
    """All commands, one per line."""
    lines = ["usage: python -m lessons COMMAND ...", ""]
    lines += [f"  {name:20}{about}" for name, (_, about) in COMMANDS.items()]
    return "\n".join([*lines, "", "python -m lessons COMMAND --help says what a command takes"])


def main(argv: list[str] | None = None) -> int:
    """Run a command; whatever ends it early is at most one line on standard error.

    Returns:
        0; 1 after an error that has a message; 2 for wrong arguments; 130 after Ctrl-C; 141 when nobody reads
        the output any more (``| head -1``).
    """
    argv = sys.argv[1:] if argv is None else argv
    try:
        try:
            return run(argv)
        finally:
            _flush()
    except KeyboardInterrupt:
        again = "; the same command goes on from here" if RESUMABLE.intersection(argv[:1]) else ""
        print(f"stopped{again}", file=sys.stderr)
        return 130
    except (ValueError, OSError, ImportError) as error:
        if printing_failed(error):
            if error.errno == errno.EPIPE:
                return 141
            error = f"standard output: {error.strerror}"
        print(f"error: {error}", file=sys.stderr)
        return 1


def run(argv: list[str]) -> int:
    """Run the command that ``argv`` names, or say which there are."""
    if not argv or argv[0] in ("-h", "--help"):
        print(usage())
        return 0 if argv else 2
    if argv[0] not in COMMANDS:
        print(f"error: {argv[0]!r} is no command\n\n{usage()}", file=sys.stderr)
        return 2
    command = importlib.import_module(f"lessons.{COMMANDS[argv[0]][0]}")
    return command.main(argv[1:]) or 0


def _flush() -> None:
    """Write out what was printed: an output that takes no more shows itself here, if not before."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again when it ends
        raise


if __name__ == "__main__":
    sys.exit(main())
