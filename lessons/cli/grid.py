"""The GRID corpus: ``python -m lessons grid download``, then ``python -m lessons grid prepare``."""

from __future__ import annotations

import argparse
from pathlib import Path

DOWNLOAD = "python -m lessons grid download --speakers 1,2 --out data/raw"
PREPARE = "python -m lessons grid prepare --raw data/raw --out data/grid --splits overlapped"


def main(argv: list[str] | None = None) -> None:
    """Run ``python -m lessons grid download|prepare``."""
    from lessons.data.grid.download import download
    from lessons.data.grid.prepare import prepare, summary
    from lessons.data.grid.splits import RULES

    parser = argparse.ArgumentParser(prog="python -m lessons grid", description="The GRID corpus.")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser(
        "download", help="fetch speakers from the corpus's public archive", epilog=f"example: {DOWNLOAD}"
    )
    one.add_argument("--speakers", required=True, metavar="1,2,5", help="numbers, or all")
    one.add_argument("--out", type=Path, required=True, help="folder for sN/*.mpg and align/sN/*.align")
    two = commands.add_parser(
        "prepare", help="cut the corpus as downloaded to a compact mouth set", epilog=f"example: {PREPARE}"
    )
    two.add_argument("--raw", type=Path, required=True, help="folder with sN/*.mpg and align/sN/*.align")
    two.add_argument("--out", type=Path, required=True, help="folder of the mouth set, new or begun")
    two.add_argument("--speakers", metavar="s1,s2", help="folders of RAW (default: all that hold videos)")
    two.add_argument("--workers", type=int, help="processes (default: one per core)")
    two.add_argument(
        "--splits",
        default="by-sentence",
        help=f"what is held out: {', '.join(RULES)}, or a CSV file of name,split rows (default: by-sentence)",
    )
    chosen = parser.parse_args(argv)
    try:
        if chosen.command == "prepare":
            speakers = chosen.speakers
            if speakers is not None:
                speakers = [name.strip() for name in speakers.split(",") if name.strip()]
            print(summary(prepare(chosen.raw, chosen.out, speakers, chosen.workers, chosen.splits)))
        else:
            download(chosen.speakers, chosen.out)
            print(f"next: python -m lessons grid prepare --raw {chosen.out} --out data/grid")
    except RuntimeError as error:  # OpenCV is missing or does not fit
        raise ValueError(str(error)) from error
