"""Read lips: ``python -m lessons read clip.mpg`` prints the sentence.

The sentence of each clip stands alone on its line on standard output. How sure each word is, the time taken
and what went wrong go to standard error, so that the output can be piped.

With ``--stream`` the clip is shown to the model a few pictures at a time. Each word comes on its own line as
soon as it holds, after the number of pictures seen by then. The sentence comes last, and is what the whole
clip reads, as without ``--stream``.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from lessons.ctc import forced_align
from lessons.ctc.alphabet import Alphabet
from lessons.ctc.decode import beam_search_decode, greedy_decode
from lessons.ctc.language_models import GridGrammar
from lessons.data.batch import normalize
from lessons.data.grid.faults import broken_frames, picture_fault
from lessons.data.grid.mouth_crop import MouthFollower, NoFaceError, crop_mouth, is_mouth_crop
from lessons.data.image import resize_area, to_gray
from lessons.data.video import frames as frames_of
from lessons.data.video import read_video, write_gif
from lessons.figures.film import film
from lessons.lipreading.lipnet import LipNet
from lessons.lipreading.streaming import StableWord, Stream
from lessons.training import checkpoint

FPS = 25  # GRID's frames a second: what the models were trained on
ALPHABET = Alphabet()
LOOK_EVERY = 10  # pictures from one look for the face to the next: half of the data's looks, the same reading
STREAM_EVERY = 5  # pictures from one reading of a stream to the next
GRAMMAR = GridGrammar()  # one for all clips: the decoder keeps what it has asked
Decoder = Literal["greedy", "beam", "grammar"]


@dataclass(frozen=True)
class Word:
    """A word that was read.

    Attributes:
        text: the word.
        start, end: the frames at 25 a second that spell it, end exclusive.
        confidence: the mean over its letters of the probability each has in its best frame, 0 to 1.
    """

    text: str
    start: int
    end: int
    confidence: float


@dataclass(frozen=True)
class Reading:
    """What was read in one clip; ``warning`` is empty when nothing was wrong with the picture."""

    clip: str
    sentence: str
    words: tuple[Word, ...]
    seconds: float
    video_seconds: float
    warning: str = ""


def mouth_frames(path: str | Path) -> tuple[np.ndarray, str]:
    """Decode a film of a face or of a mouth and give the mouth at 25 frames a second.

    Returns:
        (T, H, W, 3) uint8 RGB, and a warning when the first frames are broken: the first good one stands
        in for them.

    Raises:
        VideoError, NoFaceError: no usable video, no face.
        ValueError: pictures broken throughout.
    """
    return _mouth(path, read_video(path))


def _mouth(
    path: str | Path, frames: np.ndarray, follower: MouthFollower | None = None
) -> tuple[np.ndarray, str]:
    """The same from pictures (T, H, W, 3) at 25 a second; a follower that saw them has found the faces."""
    try:
        if is_mouth_crop(frames):
            mouth = frames  # (T, H, W, 3)
        else:
            mouth = crop_mouth(frames, LOOK_EVERY, follower.faces() if follower else None)  # (T, 64, 128, 3)
    except NoFaceError as error:
        raise NoFaceError(f"{path}: {error}") from error
    broken = broken_frames(mouth)  # (T',)
    fault = picture_fault(broken)
    if fault == "rubbish":
        n_broken = int(broken.sum())
        raise ValueError(f"{path}: {n_broken} of {len(mouth)} pictures are damaged: nothing to read")
    if not fault:
        return mouth, ""
    good = int(np.argmin(broken))
    mouth[:good] = mouth[good]
    return mouth, f"{path}: the first {good} pictures are damaged; words spoken in them are lost"


def log_probabilities(model: LipNet, mouth: np.ndarray) -> Tensor:
    """(T, H, W, 3) uint8 frames of a mouth -> (T, V) log-probabilities of the classes."""
    gray = resize_area(to_gray(mouth), model.frame_size)  # (T, H, W)
    x = normalize(torch.from_numpy(gray)[None])[:, None]  # (1, 1, T, H, W)
    with torch.inference_mode():
        logits = model(x.expand(-1, model.in_channels, -1, -1, -1))  # (T, 1, V)
    return logits[:, 0].log_softmax(-1)  # (T, V)


def decode(log_probs: Tensor, decoder: Decoder) -> list[int]:
    """(T, V) -> the classes of the sentence."""
    if decoder == "greedy":
        return greedy_decode(log_probs[:, None])[0]
    return beam_search_decode(log_probs, lm=GRAMMAR if decoder == "grammar" else None)[0][0]


def find_words(log_probs: Tensor, labels: list[int]) -> tuple[Word, ...]:
    """Where each word of ``labels`` is spoken, and how sure it is, by the best path through (T, V)."""
    if not labels:
        return ()
    spans = forced_align(log_probs, labels).spans()
    words, first = [], 0
    for text in ALPHABET.decode(labels).split(" "):
        letters = range(first, first + len(text))
        if text:
            best = [log_probs[slice(*spans[i]), labels[i]].max().exp().item() for i in letters]
            sure = round(sum(best) / len(best), 3)
            words.append(Word(text, spans[letters[0]][0], spans[letters[-1]][1], sure))
        first += len(text) + 1  # the space
    return tuple(words)


def read(path: str | Path, model: LipNet, decoder: Decoder = "greedy") -> tuple[Reading, np.ndarray]:
    """Read one clip.

    Args:
        path: a video of a face seen from the front, or of a mouth (twice as wide as high).
        model: as ``lessons.training.checkpoint.load`` gives it.
        decoder: ``greedy``, ``beam`` (prefix beam search) or ``grammar`` (only GRID's sentences).

    Returns:
        what was read, and the mouth's frames (T, H, W, 3) uint8.

    Raises:
        ValueError: see :func:`mouth_frames`.
    """
    began = time.perf_counter()
    mouth, warning = mouth_frames(path)
    return _reading(path, mouth, warning, model, decoder, began), mouth


def _reading(
    path: str | Path, mouth: np.ndarray, warning: str, model: LipNet, decoder: Decoder, began: float
) -> Reading:
    """What a whole clip says, and the seconds since ``began``."""
    log_probs = log_probabilities(model, mouth)  # (T, V)
    words = find_words(log_probs, decode(log_probs, decoder))
    sentence = " ".join(word.text for word in words)
    seconds = round(time.perf_counter() - began, 3)
    return Reading(str(path), sentence, words, seconds, len(mouth) / FPS, warning)


def read_stream(
    path: str | Path, model: LipNet, tell: Callable[[StableWord], None], decoder: Decoder = "greedy"
) -> tuple[Reading, np.ndarray]:
    """Read one clip as if its pictures were just arriving.

    A stream knows less than :func:`read`: not yet where the face goes next, how light the clip will be or
    which pictures are damaged. So when the clip is complete it is read once more as a whole.

    Args:
        path, model, decoder: see :func:`read`. The words on the way are always read greedily: a beam may
            change its first word with the last picture, and a grammar allows no half sentence.
        tell: called with each word as soon as it holds.

    Returns:
        the same as :func:`read`.

    Raises:
        ValueError: see :func:`mouth_frames`.
    """
    began = time.perf_counter()
    stream, follower = Stream(model), MouthFollower(LOOK_EVERY)
    frames, looked = [], 0  # at the last look

    def look(last: bool = False) -> None:
        nonlocal looked
        piece, looked = frames[looked:], len(frames)
        pictures = np.stack(piece or frames[:1])[: len(piece)]  # (N, H, W, 3)
        mouth = pictures if is_mouth_crop(pictures) else follower.follow(pictures)  # (N', H', W', 3)
        gray = resize_area(to_gray(mouth), model.frame_size)  # (N', H, W)
        for word in stream.push(torch.from_numpy(gray), last):
            tell(word)

    for frame in frames_of(path):  # (H, W, 3)
        frames.append(frame)
        if len(frames) - looked == STREAM_EVERY:
            look()
    look(last=True)
    mouth, warning = _mouth(path, np.stack(frames), follower)
    return _reading(path, mouth, warning, model, decoder, began), mouth


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m lessons read", description=__doc__.split("\n")[0])
    parser.add_argument("clips", nargs="+", metavar="CLIP", help="a video of a face, or of a mouth")
    parser.add_argument("--model", default=checkpoint.TRAINED[0], help="a .safetensors file, or %(default)s")
    parser.add_argument("--decoder", choices=get_args(Decoder), default="greedy")
    parser.add_argument("--stream", action="store_true", help="print each word as soon as it holds")
    parser.add_argument("--json", action="store_true", help="print all that is known, one JSON object a line")
    parser.add_argument("--out", type=Path, metavar="FILM.gif", help="write the clip with its words under it")
    args = parser.parse_args(argv)
    if args.out is not None and (len(args.clips) > 1 or args.out.suffix != ".gif"):
        parser.error(f"--out {args.out}: takes one clip and a name that ends in .gif")
    return args


def main(argv: list[str] | None = None) -> int:
    """Read every clip; 1 when one could not be read, and its error is on standard error."""
    args = arguments(argv)
    torch.set_num_threads(1)
    try:
        # The channels of a pixel side by side: convolutions and pools of many channels are faster so.
        model = checkpoint.load(args.model).to(memory_format=torch.channels_last_3d)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    failed = 0
    # A bar for many clips in a terminal; none where standard error goes to a file.
    for path in tqdm(args.clips, unit="clip", disable=None if len(args.clips) > 1 else True):
        try:
            told: list[StableWord] = []
            if args.stream:

                def tell(word: StableWord, told: list[StableWord] = told) -> None:
                    told.append(word)
                    tqdm.write(json.dumps(asdict(word)) if args.json else f"{word.told:4d}  {word.text}")

                reading, mouth = read_stream(path, model, tell, args.decoder)
            else:
                reading, mouth = read(path, model, args.decoder)
            if args.out is not None:
                write_gif(args.out, film(mouth, [(w.start, w.end, w.text) for w in reading.words]), FPS)
        except (OSError, ValueError, RuntimeError) as error:
            failed += 1
            tqdm.write(f"error: {error}", file=sys.stderr)
            continue
        factor = reading.seconds / reading.video_seconds
        if args.json:
            tqdm.write(json.dumps({**asdict(reading), "real_time_factor": round(factor, 3)}))
        else:
            tqdm.write(reading.sentence)
        if told and [word.text for word in told] != reading.sentence.split():
            on_the_way = " ".join(word.text for word in told)
            tqdm.write(f"warning: {path}: on the way it read {on_the_way!r}", file=sys.stderr)
        if reading.warning:
            tqdm.write(f"warning: {reading.warning}", file=sys.stderr)
        sure = " ".join(f"{word.text} {word.confidence:.0%}" for word in reading.words)
        timing = f"{reading.seconds:.2f} s, real-time factor {factor:.2f}"
        tqdm.write(f"{path}: {sure} | {timing}", file=sys.stderr)
    return 1 if failed else 0
