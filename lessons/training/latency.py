"""Latency against errors of a stream: ``python -m lessons measure-latency --out OUT``.

A stream emits a word once ``agree`` readings in a row agree on it, and reads again every ``every`` frames.
Both set how late a word comes, and how often it differs from the transcript of the whole clip. So does the
rule that says when a word is complete: after its space, or by GRID's lists of words. To try many settings,
each test video is read once after every frame (:func:`best_paths`), and each setting emits words from a
subset of these readings (:func:`emit`). The crops are those of the true boxes, so that no finder plays a
part.

The course's own table is ``lessons/trained/mouth_finder/latency.csv``.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from lessons.ctc.metrics import edit_distance
from lessons.data.box_crop import crop_box
from lessons.files import write_csv
from lessons.lipreading.lipnet import LipNet
from lessons.lipreading.reading import log_probabilities
from lessons.lipreading.streaming import (
    FrontEnd,
    Reading,
    Rule,
    RunningNormalizer,
    StableWord,
    Words,
    agreement,
    complete_words,
    grid_words,
)
from lessons.training import checkpoint
from lessons.training.live_scores import READER, TEST_VIDEOS, TRAINED, videos_of
from lessons.training.seeds import read_rows

LEVEL = "none"
EVERY = (1, 2, 3, 5)  # frames from one reading to the next
LONGEST = 15  # frames from the first to the last of the readings that must agree
RULES: dict[str, Words] = {"space": complete_words, "lists": grid_words}  # when a word is complete
COLUMNS = {
    **{"video": int, "rule": str, "every": int, "agree": int, "words": int, "changed": int, "errors": int},
    "late": float,
}


@torch.inference_mode()
def best_paths(model: LipNet, frames: Tensor) -> list[tuple[int, list[int]]]:
    """What a stream reads after each of its frames (T, H, W): (frames so far, best path).

    All readings are one batch: the features of frame t are the same in each, and the GRUs take sequences of
    several lengths.
    """
    normalize, front = RunningNormalizer(), FrontEnd(model)
    x = torch.cat([normalize(frame[None]) for frame in frames])  # (T, H, W)
    x = x.expand(1, model.in_channels, -1, -1, -1)  # (1, C, T, H, W)
    features = torch.cat([front(x), front(None, last=True)])  # (T, 1, F)
    reach = sum(block.reach for block in front.parts[0][1])  # frames that the convolutions look ahead
    lengths = [*range(1, len(frames) - reach + 1), len(frames)]
    logits = model.classify(
        features.expand(-1, len(lengths), -1), torch.tensor(lengths)
    )  # (T * upsample, N, V)
    paths = logits.argmax(-1)  # (T * upsample, N)
    answer = []
    for i, known in enumerate(lengths):
        last = i == len(lengths) - 1
        arrived = len(frames) if last else known + reach
        answer.append((arrived, paths[: known * model.upsample, i].tolist()))
    return answer


def emit(
    paths: list[tuple[int, list[int]]],
    every: int,
    agree: int,
    rule: Rule = agreement,
    words: Words = complete_words,
) -> list[StableWord]:
    """The words of a stream that reads every ``every`` frames; ``paths`` as :func:`best_paths` gives them."""
    *before, (frames, complete) = paths
    emitted: list[StableWord] = []
    readings: list[Reading] = []
    for arrived, path in before:
        if arrived % every == 0:
            readings = [*readings, words(path, 1, False)][-agree:]
            after = emitted[-1].end if emitted else 0
            emitted += [StableWord(*word, arrived) for word in rule(readings, agree, after)]
    after = emitted[-1].end if emitted else 0
    return emitted + [StableWord(*word, frames) for word in rule([words(complete, 1, True)], 1, after)]


def crops_of(frames: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(T, H, W) frames and (T, 4) boxes -> the crops (T, *size)."""
    return np.stack([crop_box(frame, box, size) for frame, box in zip(frames, boxes, strict=True)])


def measure(n: int = TEST_VIDEOS) -> list[dict]:
    """The rows of the table, one per video and setting.

    Columns:
        words: in the transcript of the whole video.
        changed: the fewest edits of words from that transcript to the words of the stream.
        errors: the fewest edits from the reference.
        late: frames from the end of a word until it is emitted, the mean over words; "" unless all are right.
    """
    reader = checkpoint.load(READER).to(memory_format=torch.channels_last_3d)
    videos = videos_of(LEVEL, n)
    rows = []
    for i in tqdm(range(n), desc="videos"):
        crops = crops_of(videos.frames[i], videos.boxes[i], reader.frame_size)
        paths = best_paths(reader, torch.from_numpy(crops))
        whole = [
            text
            for text, _, _ in complete_words(log_probabilities(reader, crops).argmax(-1).tolist(), 1, True)
        ]
        said = videos.transcripts[i].split()
        ends = [end for _, end, word in videos.segments[i] if word != "sil"]
        for rule, every in itertools.product(RULES, EVERY):
            for agree in range(1, LONGEST // every + 2):
                emitted = emit(paths, every, agree, words=RULES[rule])
                texts = [word.text for word in emitted]
                late = (
                    [word.emitted_at - end for word, end in zip(emitted, ends, strict=True)]
                    if texts == said
                    else []
                )
                row = {"video": i, "rule": rule, "every": every, "agree": agree, "words": len(whole)}
                row |= {"changed": edit_distance(whole, texts), "errors": edit_distance(said, texts)}
                rows.append(row | {"late": round(float(np.mean(late)), 2) if late else ""})
    return rows


def read_latency(path: str | Path | None = None) -> list[dict]:
    """The rows of a table, the course's own if ``path`` is None; ``late`` is NaN where nothing stands."""
    return read_rows(path or TRAINED / "latency.csv", COLUMNS)


def summary(
    rows: list[dict], rule: str, every: int, agree: int, draws: int = 2000
) -> dict[str, tuple[float, float, float]]:
    """Mean and 95 % interval (bootstrap over videos) of one setting.

    Returns:
        same: the fraction of words that are emitted as the whole video reads.
        late: latency in frames; NaN if no video is read without an error.
        errors: WER.

    Raises:
        ValueError: no such setting.
    """
    rows = [row for row in rows if (row["rule"], row["every"], row["agree"]) == (rule, every, agree)]
    if not rows:
        raise ValueError(f"rule={rule!r}, every={every}, agree={agree}: expected a setting of the table")
    words, changed, errors, late = (
        np.array([row[name] for row in rows], float) for name in ("words", "changed", "errors", "late")
    )
    chosen = np.random.default_rng(0).integers(len(rows), size=(draws, len(rows)))  # (draws, videos)
    chosen = np.concatenate([np.arange(len(rows))[None], chosen])  # the first: the videos themselves
    right = np.isfinite(late[chosen]).sum(1)  # (draws,) videos read without an error
    values = {
        "same": 1 - changed[chosen].sum(1) / words[chosen].sum(1),
        "late": np.nansum(late[chosen], 1) / np.where(right > 0, right, np.nan),
        "errors": errors[chosen].sum(1) / words[chosen].sum(1),
    }
    return {
        name: (float(value[0]), *(float(q) for q in np.quantile(value[1:], (0.025, 0.975))))
        for name, value in values.items()
    }


def main(argv: list[str] | None = None) -> None:
    """Measure and write ``latency.csv``."""
    parser = argparse.ArgumentParser(
        prog="python -m lessons measure-latency", description="Latency against errors of a stream."
    )
    parser.add_argument("--out", required=True, type=Path, help="folder for latency.csv")
    parser.add_argument("--videos", type=int, default=TEST_VIDEOS, help="how many (default %(default)s)")
    args = parser.parse_args(argv)
    if args.videos < 1:
        parser.error("expected --videos of 1 or more")
    torch.set_num_threads(1)
    rows = measure(args.videos)
    args.out.mkdir(parents=True, exist_ok=True)
    write_csv(args.out / "latency.csv", COLUMNS, rows)
    rows = read_latency(args.out / "latency.csv")
    for rule, every, agree in dict.fromkeys((row["rule"], row["every"], row["agree"]) for row in rows):
        found = summary(rows, rule, every, agree)
        cells = [
            f"{name} {value:.3f} ({low:.3f} to {high:.3f})" for name, (value, low, high) in found.items()
        ]
        print(f"{rule} every {every} agree {agree:2}: {', '.join(cells)}")
