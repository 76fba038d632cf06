"""How much worse a model reads what a webcam does to a video: tilt, distance, light, frame rate, bit rate.

    python -m tools.webcam data/grid data/grid_speakers --model lipnet_anyone --out webcam.json

Each folder is a mouth set with videos of whole faces beside its manifest, ``raw/sN/ID.mpg``; those of its
validation clips are taken. Each video is decoded, changed in one way, encoded anew and read greedily by the
code of ``python -m lessons read``, face detection included; the mouth found there is also read with the
grammar. Where no face is found, all words count as wrong.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from tqdm.auto import tqdm

from lessons.cli.read import read
from lessons.cli.train import by_speaker
from lessons.ctc.alphabet import ALPHABET
from lessons.ctc.metrics import wer
from lessons.data.grid.faces import NoFaceError
from lessons.data.grid.mouth_set import MouthSetError, read_manifest
from lessons.data.image import to_gray
from lessons.data.video import read_video, write_video
from lessons.files import check_writable, write_json
from lessons.lipreading import Cascade, LipNet
from lessons.lipreading.reading import decode, log_probabilities
from lessons.training import checkpoint

Frames = np.ndarray  # (T, H, W, 3) uint8


class Video(NamedTuple):
    """A validation clip as it was filmed."""

    path: Path
    speaker: str
    said: str


class Condition(NamedTuple):
    """What happens to a video before it is read.

    change: of the frames.
    fps: frames per second that are written.
    bit_rate: bits per second, None for the best quality.
    """

    change: Callable[[Frames], Frames]
    fps: float = 25
    bit_rate: int | None = None


def moved(degrees: float = 0.0, zoom: float = 1.0) -> Callable[[Frames], Frames]:
    """Tilt the head by ``degrees`` and make it ``zoom`` times as large; the border is repeated."""

    def change(frames: Frames) -> Frames:
        height, width = frames.shape[1:3]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, zoom)
        return np.stack(
            [cv2.warpAffine(f, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE) for f in frames]
        )

    return change


def lit(factor: float) -> Callable[[Frames], Frames]:
    """Make the light ``factor`` times as strong."""
    return lambda frames: np.clip(frames * factor, 0, 255).astype(np.uint8)


def slow(fps: float) -> Callable[[Frames], Frames]:
    """Take ``fps`` of 25 frames per second and show each until the next: a slow camera, recorded at 25.

    Each shows its own moment. Given even times, as a camera of ``fps`` would have, frames that were taken 25
    times per second would show moments up to 20 ms off, which no camera does.
    """

    def change(frames: Frames) -> Frames:
        taken = np.unique(np.round(np.arange(0, len(frames), 25 / fps)).astype(int))
        return frames[taken[np.searchsorted(taken, np.arange(len(frames)), side="right") - 1]]

    return change


def fast(fps: float) -> Callable[[Frames], Frames]:
    """Give ``fps`` frames per second, more than 25: each shows the frame nearest in time, some come twice."""

    def change(frames: Frames) -> Frames:
        moments = np.arange(int(len(frames) * fps / 25)) * 25 / fps
        return frames[np.clip(np.round(moments).astype(int), 0, len(frames) - 1)]

    return change


CONDITIONS = {
    "as filmed": Condition(lambda frames: frames),
    "tilted by -10 degrees": Condition(moved(-10)),
    "tilted by 10 degrees": Condition(moved(10)),
    "head half as large": Condition(moved(zoom=0.5)),
    "head a quarter larger": Condition(moved(zoom=1.25)),
    "half the light": Condition(lit(0.5)),
    "double the light": Condition(lit(2.0)),
    "15 frames per second": Condition(slow(15)),
    "30 frames per second": Condition(fast(30), fps=30),
    "200 kbit/s": Condition(lambda frames: frames, bit_rate=200_000),
}


def validation_videos(folders: Sequence[Path]) -> list[Video]:
    """The videos of whole faces of all validation clips.

    Raises:
        MouthSetError: a folder without a manifest, or no video at all.
    """
    videos = []
    for folder in folders:
        for entry in read_manifest(folder / "manifest.csv"):
            path = folder / "raw" / entry.speaker / f"{entry.id}.mpg"
            if entry.split == "val" and path.is_file():
                videos.append(Video(path, entry.speaker, entry.transcript))
    if not videos:
        raise MouthSetError(f"{', '.join(map(str, folders))}: no raw/sN/ID.mpg of a validation clip")
    return videos


def read_both(path: Path, model: LipNet | Cascade) -> tuple[str, str] | None:
    """The greedy reading of a video and the one by the grammar; None where no face is found."""
    try:
        reading, mouth = read(path, model)  # (T, 64, 128, 3)
    except NoFaceError:
        return None
    labels = decode(log_probabilities(model, to_gray(mouth)), "grammar")
    return reading.sentence, ALPHABET.decode(labels)


def measure(
    videos: Sequence[Video], model: LipNet | Cascade, conditions: Mapping[str, Condition] = CONDITIONS
) -> dict[str, dict]:
    """The WER under each condition: of all videos, and by speaker."""
    table = {}
    said = [video.said for video in videos]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "clip.mp4"
        for name, (change, fps, bit_rate) in conditions.items():
            texts = []
            for video in tqdm(videos, desc=name, unit="video", leave=False):
                write_video(copy, change(read_video(video.path)), fps, bit_rate)
                texts.append(read_both(copy, model))
            greedy, grammar = zip(*(both or ("", "") for both in texts), strict=True)
            table[name] = {
                "greedy": wer(said, greedy),
                "grammar": wer(said, grammar),
                "without_face": texts.count(None),
                "speakers": by_speaker(
                    [video.speaker for video in videos], said, {"greedy": greedy, "grammar": grammar}
                ),
            }
            row = table[name]
            print(f"{name:24} {row['greedy']:6.1%} {row['grammar']:6.1%}", flush=True)
    return table


def main(argv: list[str] | None = None) -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.webcam", description=__doc__.split("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER", help="a mouth set with raw/")
    parser.add_argument("--model", default=checkpoint.DEFAULT, help="as in python -m lessons read")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    check_writable(args.out)
    videos = validation_videos(args.folders)
    table = measure(videos, checkpoint.load(args.model))
    write_json(args.out, {"model": args.model, "videos": len(videos), "conditions": table})


if __name__ == "__main__":
    main()
