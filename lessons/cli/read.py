"""Read lips: ``python -m lessons read clip.mpg`` prints the sentence.

The sentence of each clip stands alone on its line on standard output; of a clip with several, each on its own
line, as soon as it has been read; of a clip in which nothing is read, one empty line. How sure each word is,
the time taken and what went wrong go to standard error, so that the output can be piped. Memory and time per
second of video do not grow with its length. Of a video that breaks off, or after Ctrl-C, ``--srt`` and
``--json`` give what was read so far, and a warning.

With ``--stream`` the clip is shown to the model a few frames at a time. Each word comes on its own line as
soon as it is stable, after the number of frames seen by then. The sentences come last.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args
from urllib.parse import unquote, urlsplit

import numpy as np
import torch
from tqdm.auto import tqdm

from lessons.data.grid.mouth_crop import seconds_of
from lessons.data.grid.mouth_video import MouthVideo
from lessons.data.image import resize_area, to_gray
from lessons.data.video import VideoError, write_gif
from lessons.data.video_times import FPS
from lessons.files import atomic, check_writable, no_file, printing_failed
from lessons.lipreading import reading
from lessons.lipreading.cascade import Cascade
from lessons.lipreading.lipnet import LipNet
from lessons.lipreading.reading import Decoder, SentenceSplitter, WindowReader, Word
from lessons.lipreading.streaming import StableWord, Stream
from lessons.training import checkpoint

MAX_SHOWN = 1500  # frames, 60 s, that --out shows at most
SENTENCE_SECONDS = 2  # what a sentence takes, about


@dataclass(frozen=True)
class Reading:
    """What was read in one clip; ``warning`` is empty when nothing was wrong with the video.

    Attributes:
        sentences: how many words each has; where no word is read there is no sentence.
    """

    clip: str
    sentence: str
    words: tuple[Word, ...]
    seconds: float
    video_seconds: float
    warning: str = ""
    sentences: tuple[int, ...] = ()


def read(
    path: str | Path,
    model: LipNet | Cascade,
    decoder: Decoder = "greedy",
    *,
    face: int | None = None,
    emit: Callable[[StableWord], None] | None = None,
    found: Callable[[tuple[Word, ...]], None] = lambda words: None,
    partial: Callable[[Reading], None] = lambda result: None,
    keep: int = MAX_SHOWN,
) -> tuple[Reading, np.ndarray]:
    """Read one video of any length, in constant memory.

    Args:
        path: a video of a face seen from the front, or of a mouth (twice as wide as high).
        model: as ``lessons.training.checkpoint.load`` gives it.
        decoder: ``greedy``, ``beam`` (prefix beam search) or ``grammar`` (only GRID's sentences).
        face: which face, counted from the left; None takes the largest.
        emit: called with each word as soon as a stream of the same frames emits it. These words are always
            read greedily, and know neither where the face goes next nor how light the clip will be.
        found: called with the words of each sentence as soon as it has been read.
        partial: called with the sentences read so far when the video breaks off, or Ctrl-C stops the reading;
            the error is raised after it.
        keep: frames of the mouth to return.

    Returns:
        what was read, and the first ``keep`` frames of the mouth (T, H, W, 3) uint8.

    Raises:
        VideoError, NoFaceError: no file, no usable video, no face.
        ValueError: most frames are damaged.
    """
    _check_file(path)
    stream = Stream(model) if emit else None

    def show(mouths: np.ndarray, last: bool = False) -> None:
        gray = resize_area(to_gray(mouths), model.frame_size)  # (N, H, W)
        for word in stream.push(torch.from_numpy(gray), last):
            emit(word)

    video = MouthVideo(path, face, show if stream else None)
    sentences, kept = _Sentences(video, model, decoder, found), []
    try:
        for mouths, seen in video:  # (N, H, W, 3), (N,)
            if sentences.n_frames < keep:
                kept.append(mouths[: keep - sentences.n_frames])
            sentences.push(mouths, seen)
        sentences.push(mouths[:0], seen[:0], last=True)
        if stream:
            show(mouths[:0], last=True)
    except (Exception, KeyboardInterrupt) as error:
        if sentences.read and not sentences.mostly_broken and not printing_failed(error):
            partial(sentences.result(partial=True))
        raise
    mouth = np.concatenate(kept) if kept else mouths[:0]  # (T, H, W, 3)
    return sentences.result(), mouth


class _Sentences:
    """The sentences of a video, as they are read.

    Args:
        video: whose mouths are pushed.
        model, decoder, found: as in :func:`read`.

    Attributes:
        n_frames: frames that were pushed.
        read: the words of each sentence.
    """

    def __init__(
        self,
        video: MouthVideo,
        model: LipNet | Cascade,
        decoder: Decoder,
        found: Callable[[tuple[Word, ...]], None],
    ) -> None:
        self.n_frames, self.read = 0, []
        self._began = time.perf_counter()
        self._video, self._decoder, self._found, self._upsample = video, decoder, found, model.upsample
        self._windows, self._splitter = WindowReader(model), SentenceSplitter(model.upsample)
        self._unread: list[str] = []

    @property
    def mostly_broken(self) -> bool:
        """Whether most frames are damaged: what was read in such a video is not worth keeping."""
        return 2 * len(self._windows.broken) > self.n_frames

    def push(self, mouths: np.ndarray, seen: np.ndarray, last: bool = False) -> None:
        """Read on: mouths (N, H, W, 3) uint8, and whether their face was seen (N,).

        Raises:
            ValueError: they are the last, and most frames are damaged.
        """
        self.n_frames += len(mouths)
        for log_probs in self._windows.push(to_gray(mouths), seen, last=last):  # (N', V)
            if last and self.mostly_broken:
                broken = f"{len(self._windows.broken)} of {self.n_frames} frames are damaged"
                raise ValueError(f"{self._video.path}: {broken}: nothing to read")
            self._split(log_probs)
        if last:
            self._split(None, last=True)

    def _split(self, log_probs: torch.Tensor | None, last: bool = False) -> None:
        for start, rows in self._splitter.push(log_probs, last):
            if self._windows.seen > reading.WINDOW:
                rows = self._windows.again(start, start + len(rows) // self._upsample)  # (N, V)
            try:
                labels = reading.decode(rows, self._decoder)
            except ValueError as error:  # too few frames for any sentence of the grammar
                where = f"{start / FPS:.1f}-{start / FPS + len(rows) / self._upsample / FPS:.1f} s"
                self._unread.append(f"{self._video.path}: nothing is read in {where}: {error}")
                continue
            if words := reading.find_words(rows, labels, start, self._upsample):
                self.read.append(words)
                self._found(words)

    def result(self, partial: bool = False) -> Reading:
        """All sentences so far; ``partial`` tells that the video has more."""
        path, seconds = self._video.path, self.n_frames / FPS
        words = tuple(word for sentence in self.read for word in sentence)
        warnings = [*self._video.warnings, *_damage(path, self._windows.broken, self.n_frames), *self._unread]
        lengths = tuple(len(sentence) for sentence in self.read)
        if partial:
            so_far = f"{len(lengths)} sentence{'s' if len(lengths) > 1 else ''}"
            warnings.append(f"{path}: partial, {so_far} in the first {seconds:.1f} s")
        elif not lengths:
            warnings.append(_nothing(path, seconds))
        text, took = " ".join(word.text for word in words), round(time.perf_counter() - self._began, 3)
        return Reading(str(path), text, words, took, seconds, "; ".join(warnings), lengths)


def _check_file(path: str | Path) -> None:
    """Say what lies at ``path`` when it is no file; what is missing, the decoder says.

    Raises:
        VideoError: a folder, a pipe, a link without an end, a URL or an empty name.
    """
    if os.path.isfile(path):
        return
    what, advice = no_file(path), "give the path of a video"
    if what == "is a folder":
        advice = f"give its files, such as {Path(path) / '*.mp4'}"
    elif what == "is a pipe":
        advice = "write the video to a file first"
    elif what == "no such file" and re.match(r"[a-z][a-z0-9+.-]+://", str(path)):
        what, advice = "is a URL, expected a path", "download the video first"
        if str(path).startswith("file:"):
            advice = f"give {unquote(urlsplit(str(path)).path)}"
    elif what == "no such file":
        return
    raise VideoError(f"{str(path) or repr('')}: {what}; {advice}")


def _nothing(path: str | Path, seconds: float) -> str:
    """A warning that no word was read in a whole video."""
    short = f"; a sentence takes about {SENTENCE_SECONDS} s" if seconds < SENTENCE_SECONDS else ""
    return f"{path}: nothing was read ({seconds:.1f} s{short})"


def _damage(path: str | Path, broken: list[int], n_frames: int) -> list[str]:
    """A warning that says which frames are damaged, if some are."""
    if not broken:
        return []
    mask = np.isin(np.arange(n_frames), broken)
    if mask[: len(broken)].all():
        return [f"{path}: the first {len(broken)} frames are damaged; words spoken in them are lost"]
    return [f"{path}: frames are damaged in {seconds_of(mask)}; words spoken in them are lost"]


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m lessons read", description=__doc__.split("\n")[0])
    parser.add_argument("clips", nargs="+", metavar="CLIP", help="a video of a face, or of a mouth")
    parser.add_argument("--model", default=checkpoint.DEFAULT, help="a .safetensors file, or %(default)s")
    parser.add_argument("--decoder", choices=get_args(Decoder), default="greedy")
    parser.add_argument("--stream", action="store_true", help="print each word as soon as it holds")
    parser.add_argument(
        "--json", action="store_true", help="print all that is known, one JSON object per line"
    )
    parser.add_argument("--face", type=int, metavar="N", help="read the Nth face from the left (the largest)")
    parser.add_argument("--srt", type=Path, metavar="OUT.srt", help="write the sentences as subtitles")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="CLIP.gif",
        help=f"write the clip with its words under it, at most its first {MAX_SHOWN // FPS} s",
    )
    args = parser.parse_args(argv)
    for name, suffix in (("out", ".gif"), ("srt", ".srt")):
        path = getattr(args, name)
        if path is not None and (len(args.clips) > 1 or path.suffix != suffix):
            parser.error(f"--{name} {path}: takes one clip and a name that ends in {suffix}")
        if path is not None and any(_same_file(path, other) for other in (*args.clips, args.model)):
            parser.error(f"--{name} {path}: the same file is read, and would be lost; give another name")
    if args.out and args.srt and _same_file(args.out, args.srt):
        parser.error(f"--srt {args.srt}: the same file as --out {args.out}; give another name")
    if args.face is not None and args.face < 1:
        parser.error(f"--face {args.face}: expected 1 or more, counted from the left")
    return args


def _same_file(path: str | Path, other: str | Path) -> bool:
    try:
        return os.path.samefile(path, other)
    except OSError:  # one of them is missing
        return False


def srt(result: Reading) -> str:
    """The sentences as subtitles in the SubRip format."""

    def clock(frame: int) -> str:
        seconds, milliseconds = divmod(frame * 1000 // FPS, 1000)
        return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02},{milliseconds:03}"

    blocks, first = [], 0
    for length in result.sentences:
        words, first = result.words[first : first + length], first + length
        if words:
            text = " ".join(word.text for word in words)
            times = f"{clock(words[0].start)} --> {clock(words[-1].end)}"
            blocks.append(f"{len(blocks) + 1}\n{times}\n{text}\n")
    return "\n".join(blocks)


def main(argv: list[str] | None = None) -> int:
    """Read every clip; 1 when one could not be read, and its error is on standard error."""
    args = arguments(argv)
    torch.set_num_threads(1)
    try:
        for path in (args.out, args.srt):
            if path is not None:
                check_writable(path)
        # The channels of a pixel side by side: convolutions and pools of many channels are faster so.
        model = checkpoint.load(args.model).to(memory_format=torch.channels_last_3d)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    failed = 0
    # A bar for many clips in a terminal; none where standard error goes to a file.
    for path in tqdm(args.clips, unit="clip", disable=None if len(args.clips) > 1 else True):
        try:
            _read_and_print(path, model, args)
        except (OSError, ValueError, RuntimeError) as error:
            if printing_failed(error):
                raise
            failed += 1
            tqdm.write(f"error: {error}", file=sys.stderr)
    return 1 if failed else 0


def _read_and_print(path: str, model: LipNet | Cascade, args: argparse.Namespace) -> None:
    """Read one clip; write all that the arguments ask for."""
    emitted: list[StableWord] = []

    def emit(word: StableWord) -> None:
        emitted.append(word)
        tqdm.write(json.dumps(asdict(word)) if args.json else f"{word.emitted_at:4d}  {word.text}")

    def found(words: tuple[Word, ...]) -> None:
        if not args.json and not args.stream:
            tqdm.write(" ".join(word.text for word in words))

    def partial(result: Reading) -> None:
        _write(result, args)
        written = "" if args.srt is None else f"; written to {args.srt}"
        tqdm.write(f"warning: {result.warning}{written}", file=sys.stderr)

    result, mouth = read(
        path,
        model,
        args.decoder,
        face=args.face,
        emit=emit if args.stream else None,
        found=found,
        partial=partial,
        keep=MAX_SHOWN if args.out else 0,
    )
    _write(result, args)
    if not args.json and (args.stream or not result.words):
        tqdm.write(result.sentence)
    if emitted and [word.text for word in emitted] != result.sentence.split():
        on_the_way = " ".join(word.text for word in emitted)
        tqdm.write(f"warning: {path}: on the way it read {on_the_way!r}", file=sys.stderr)
    if result.warning:
        tqdm.write(f"warning: {result.warning}", file=sys.stderr)
    sure = " ".join(f"{word.text} {word.confidence:.0%}" for word in result.words)
    timing = f"{result.seconds:.2f} s, real-time factor {_factor(result):.2f}"
    tqdm.write(f"{path}: {sure} | {timing}", file=sys.stderr)
    if args.out is not None:
        from lessons.figures.clips import add_subtitles  # here, because matplotlib takes 30 MB

        shown = len(mouth) / FPS
        if shown < result.video_seconds:
            of = f"the first {shown:g} of {result.video_seconds:.4g} s"
            tqdm.write(f"warning: {path}: --out shows {of}; it is being written", file=sys.stderr)
        words = [(w.start, w.end, w.text) for w in result.words if w.start < len(mouth)]
        write_gif(args.out, add_subtitles(mouth, words), FPS)


def _write(result: Reading, args: argparse.Namespace) -> None:
    """Write what was read as subtitles and as JSON, where the arguments ask for it."""
    if args.srt is not None:
        with atomic(args.srt) as part:
            part.write_text(srt(result), encoding="utf-8")
    if args.json:
        tqdm.write(json.dumps({**asdict(result), "real_time_factor": round(_factor(result), 3)}))


def _factor(result: Reading) -> float:
    """Seconds of work per second of video."""
    return result.seconds / result.video_seconds
