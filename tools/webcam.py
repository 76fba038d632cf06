"""What a webcam does to a video, and how much worse it is read then.

    python -m tools.webcam RAW --model lipnet_strangers --out webcam.json

RAW holds ``sN/*.mpg`` and ``align/sN/*.align``, as GRID's archives unpack. Each video is decoded, changed in
one way, encoded anew and read by the same code as ``python -m lessons read``, face and all.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import torch

from lessons.cli.read import read
from lessons.ctc.alphabet import ALPHABET
from lessons.ctc.metrics import wer
from lessons.data.grid.align import read_align, transcript
from lessons.data.image import to_gray
from lessons.data.video import read_video
from lessons.files import write_json
from lessons.lipreading.reading import decode, log_probabilities
from lessons.training import checkpoint

Frames = np.ndarray  # (T, H, W, 3) uint8


def turned(degrees: float) -> Callable[[Frames], Frames]:
    """The head is tilted by ``degrees``."""

    def change(frames: Frames) -> Frames:
        height, width = frames.shape[1:3]
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
        return np.stack(
            [cv2.warpAffine(f, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE) for f in frames]
        )

    return change


def lit(factor: float) -> Callable[[Frames], Frames]:
    """The light is ``factor`` times as strong."""
    return lambda frames: np.clip(frames * factor, 0, 255).astype(np.uint8)


def at_rate(fps: float) -> Callable[[Frames], Frames]:
    """The camera takes ``fps`` pictures a second in place of 25: each shows the frame nearest in time."""

    def change(frames: Frames) -> Frames:
        moments = np.arange(int(len(frames) * fps / 25)) * 25 / fps
        return frames[np.clip(np.round(moments).astype(int), 0, len(frames) - 1)]

    return change


# name -> (change of the frames, frames per second, bits per second or None for the best quality)
CHANGES: dict[str, tuple[Callable[[Frames], Frames], float, int | None]] = {
    "as it is": (lit(1.0), 25, None),
    "rolled by -10 degrees": (turned(-10), 25, None),
    "rolled by 10 degrees": (turned(10), 25, None),
    "half the light": (lit(0.5), 25, None),
    "double the light": (lit(2.0), 25, None),
    "15 frames a second": (at_rate(15), 15, None),
    "30 frames a second": (at_rate(30), 30, None),
    "H.264 at 200 kbit/s": (lit(1.0), 25, 200_000),
}


def encode(path: Path, frames: Frames, fps: float, bit_rate: int | None) -> None:
    """Write frames as H.264."""
    with av.open(str(path), "w") as file:
        stream = file.add_stream("libx264", rate=int(fps))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.options = {} if bit_rate else {"crf": "10"}
        if bit_rate:
            stream.bit_rate = bit_rate
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())


def main(argv: list[str] | None = None) -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.webcam", description=__doc__.split("\n")[0])
    parser.add_argument("raw", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    model = checkpoint.load(args.model)
    videos = sorted(args.raw.glob("s*/*.mpg"))
    said = [
        transcript(read_align(args.raw / "align" / path.parent.name / f"{path.stem}.align"))
        for path in videos
    ]
    table = {}
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "clip.mp4"
        for name, (change, fps, bit_rate) in CHANGES.items():
            greedy, grammar = [], []
            for video in videos:
                encode(copy, change(read_video(video)), fps, bit_rate)
                reading, mouth = read(copy, model)  # (T, 64, 128, 3)
                greedy.append(reading.sentence)
                labels = decode(log_probabilities(model, to_gray(mouth)), "grammar")
                grammar.append(ALPHABET.decode(labels))
            table[name] = {"greedy": wer(said, greedy), "grammar": wer(said, grammar)}
            print(f"{name:24}", *(f"{rate:6.1%}" for rate in table[name].values()), flush=True)
    write_json(args.out, {"videos": len(videos), "model": args.model, "wer": table})


if __name__ == "__main__":
    main()
