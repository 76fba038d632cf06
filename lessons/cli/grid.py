"""The GRID corpus: ``python -m lessons grid download``, then ``python -m lessons grid prepare``."""

from __future__ import annotations

import argparse
from pathlib import Path


def main(argv: list[str] | None = None) -> None:
    """``python -m lessons grid prepare|download``."""
    from lessons.data.grid.download import SPEAKERS, download
    from lessons.data.grid.prepare import prepare, summary

    parser = argparse.ArgumentParser(prog="python -m lessons grid", description="The GRID corpus.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("prepare", help="cut the corpus as downloaded to a compact mouth set")
    one.add_argument("--raw", type=Path, required=True, help="folder with s1/*.mpg and align/*.align")
    one.add_argument("--out", type=Path, required=True, help="folder of the mouth set, new or begun")
    one.add_argument("--speaker", help="folder of videos in RAW, when there are several")
    one.add_argument("--workers", type=int, help="processes (default: one for each core)")
    two = commands.add_parser("download", help="fetch one speaker from the corpus's public archive")
    two.add_argument("--speaker", type=int, required=True, metavar="N", help=f"one of {SPEAKERS}")
    two.add_argument("--out", type=Path, required=True, help="folder for sN/*.mpg and align/sN/*.align")
    chosen = parser.parse_args(argv)
    try:
        if chosen.command == "prepare":
            print(summary(prepare(chosen.raw, chosen.out, chosen.speaker, chosen.workers)))
        else:
            download(chosen.speaker, chosen.out)
            print(f"next: python -m lessons grid prepare --raw {chosen.out} --out data/grid")
    except RuntimeError as error:  # OpenCV is missing or does not fit
        raise ValueError(str(error)) from error
