"""Train LipNet: ``python -m lessons train --preset small --data data/grid --out runs/small``.

Run the same command again after a stop and it goes on where it was. Several processes share the work, one for
each GPU: ``torchrun --nproc-per-node 8 -m lessons train --preset full ...``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import lessons
from lessons.ctc.alphabet import ALPHABET
from lessons.ctc.decode import beam_search_decode
from lessons.ctc.grammar import SLOT_NAMES
from lessons.ctc.language_models import GridGrammar
from lessons.ctc.metrics import cer, edits, wer
from lessons.data import grid
from lessons.data.augmentation import move
from lessons.data.clips import ClipSet, joined
from lessons.data.grid.people import People
from lessons.data.motions import Motion
from lessons.data.synthetic.talker import synthetic_clips, synthetic_people
from lessons.files import check_writable, write_json
from lessons.lipreading import LipNet, SmallLipNet, StrangerLipNet
from lessons.lipreading.lipnet import fastest_layers
from lessons.measure.timing import machine
from lessons.training import checkpoint
from lessons.training.distributed import ALONE, Processes, join
from lessons.training.evaluation import Evaluation, evaluate, greedy_texts, read_clips
from lessons.training.lipnet import train
from lessons.training.settings import Settings, StrangerSettings
from lessons.training.strangers import StrangerRun, check_stages

STRANGERS = "strangers"
READS_S1 = "lipnet_small_grid_s1"  # the model of one speaker whose convolutions that preset starts from
# name -> (the model, (H, W) of its frames, how to train it)
PRESETS: dict[str, tuple[Callable[[], LipNet], tuple[int, int], Settings]] = {
    "small": (lambda: SmallLipNet(layers=fastest_layers(lessons.device())), (32, 64), Settings()),
    # To 15 % of the words wrong in minutes, not to the best: so few epochs bring no overfitting, and
    # dropout would only slow them.
    "quick": (
        lambda: SmallLipNet(layers=fastest_layers(lessons.device()), dropout=0.0),
        (32, 64),
        Settings(epochs=15, learning_rate=4e-3, warmup_steps=100),
    ),
    # One that reads people whom it never saw, from clips of some and the motions of many.
    STRANGERS: (
        lambda: StrangerLipNet(layers=fastest_layers(lessons.device())),
        (32, 64),
        StrangerSettings(spliced=0.5, slow=0.2),
    ),
    # LipNet as published; an epoch of 800 clips takes a CPU about seven minutes, so bring a GPU.
    "full": (
        lambda: LipNet(layers=fastest_layers(lessons.device())),
        (64, 128),
        Settings(epochs=120, learning_rate=5e-4, average=0.9995),
    ),
}

FILES = ("model.safetensors", "results.json")  # beside log.csv and last.pt
SAVE_EVERY = 10.0  # seconds between two checkpoints

# A mouth crop that is a little off: rows down, columns right (of a 32 x 64 frame), zoom.
MISPLACED_CLIPS = 500  # at most: they are moved in memory, as floats
MISPLACED = {
    "as cropped": (0, 0, 1.0),
    "3 rows up": (-3, 0, 1.0),
    "3 rows down": (3, 0, 1.0),
    "5 columns left": (0, -5, 1.0),
    "5 columns right": (0, 5, 1.0),
    "10 % smaller": (0, 0, 0.9),
    "10 % larger": (0, 0, 1.1),
}


def load_clips(data: str, size: tuple[int, int], n_synthetic: int) -> tuple[ClipSet, ClipSet]:
    """Training and validation clips: of the mouth set at ``data``, or drawn when it is ``synthetic``."""
    if data == "synthetic":
        # Two seeds: speakers and sentences of the validation clips are drawn apart from the others.
        return synthetic_clips(n_synthetic, seed=0, size=size), synthetic_clips(200, seed=1, size=size)
    return grid.load(data, "train", size), grid.load(data, "val", size)


def load_people(
    data: str, speakers: Sequence[str], held_out: Sequence[str], size: tuple[int, int], n_synthetic: int
) -> People:
    """Many people's clips and motions; where no mouth's motion is known, drawn mouths join them."""
    if data == "synthetic":
        drawn, motions = synthetic_people(n_synthetic, seed=0, size=size)
        return People(drawn, synthetic_clips(200, seed=1, size=size), motions, frozenset())
    people = grid.load_people([data, *speakers], size, held_out)
    if not people.motions:
        drawn, motions = synthetic_people(n_synthetic, seed=0, size=size)
        people = replace(people, training=joined([people.training, drawn]), motions=motions)
    return people


def grammar_texts(log_probs: Tensor, lengths: Iterable[int], beam_width: int = 50) -> list[str]:
    """The best sentence of GRID's grammar for every clip, from log-probabilities (T, N, V)."""
    grammar = GridGrammar()
    texts = []
    for i, length in enumerate(lengths):
        best, _ = beam_search_decode(log_probs[:length, i], beam_width, lm=grammar)[0]
        texts.append(ALPHABET.decode(best))
    return texts


def misplaced_wer(model: LipNet, clips: ClipSet) -> dict[str, float]:
    """Greedy WER when every clip's crop is off in one of the ways of ``MISPLACED``.

    Of more than ``MISPLACED_CLIPS`` clips, so many are taken, evenly.
    """
    clips = clips.subset(range(0, len(clips), -(-len(clips) // MISPLACED_CLIPS)))
    height, width = clips.frames.shape[2:]
    found = {}
    for name, (rows, columns, zoom) in MISPLACED.items():
        n_clips = len(clips)
        moved = move(
            torch.from_numpy(clips.frames).float(),
            torch.full((n_clips,), rows * height / 32),
            torch.full((n_clips,), columns * width / 64),
            torch.full((n_clips,), zoom),
        )
        frames = moved.round().clamp(0, 255).to(torch.uint8).numpy()
        found[name] = evaluate(model, replace(clips, frames=frames)).wer
    return found


def by_speaker(
    speakers: Sequence[str], said: Sequence[str], readings: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    """The number of clips of each speaker, and the WER of each reading of them."""
    table = {}
    for speaker in sorted(set(speakers)):
        some = [i for i, name in enumerate(speakers) if name == speaker]
        theirs = [said[i] for i in some]
        rates = {name: wer(theirs, [texts[i] for i in some]) for name, texts in readings.items()}
        table[speaker] = {"clips": len(some), **rates}
    return table


def by_slot(said: Sequence[str], read: Sequence[str]) -> dict[str, float]:
    """The fraction of wrong words in each slot of GRID's grammar: command, color, ..., adverb.

    A word is wrong when it was replaced or dropped in the fewest edits that turn ``said`` into ``read``.
    Words that were inserted belong to no slot, so WER can be above the mean of the slots. Sentences that
    don't have six words are left out; empty when none is left.
    """
    pairs = [
        (words, text.split())
        for words, text in zip(map(str.split, said), read, strict=True)
        if len(words) == len(SLOT_NAMES)
    ]
    wrong = dict.fromkeys(SLOT_NAMES, 0)
    for words, found in pairs:
        kept = [pair for pair in edits(words, found) if pair[0] is not None]  # without insertions
        for slot, (wanted, word) in zip(SLOT_NAMES, kept, strict=True):
            wrong[slot] += wanted != word
    return {slot: count / len(pairs) for slot, count in wrong.items()} if pairs else {}


def read_twice(model: LipNet, clips: ClipSet) -> tuple[Evaluation, list[str]]:
    """What is read greedily, and the texts that are read with the grammar."""
    log_probs, loss = read_clips(model, clips)  # (T, N, V)
    lengths = model.output_lengths(torch.from_numpy(clips.lengths))
    greedy = greedy_texts(log_probs, lengths)
    reading = Evaluation(loss, cer(clips.transcripts, greedy), wer(clips.transcripts, greedy), greedy)
    return reading, grammar_texts(log_probs, lengths.tolist())


def rates(clips: ClipSet, reading: Evaluation, grammatical: Sequence[str]) -> dict[str, dict[str, float]]:
    """WER by speaker, of both readings."""
    return by_speaker(clips.speakers, clips.transcripts, {"greedy": reading.texts, "grammar": grammatical})


def results(model: LipNet, clips: ClipSet) -> dict:
    """What a trained model reaches on validation clips, and every sentence behind the figures."""
    reading, grammatical = read_twice(model, clips)
    return {
        "clips": len(clips),
        "loss": reading.loss,
        "greedy": {"cer": reading.cer, "wer": reading.wer},
        "grammar": {
            "cer": cer(clips.transcripts, grammatical),
            "wer": wer(clips.transcripts, grammatical),
        },
        "speakers": rates(clips, reading, grammatical),
        "slots": {
            "greedy": by_slot(clips.transcripts, reading.texts),
            "grammar": by_slot(clips.transcripts, grammatical),
        },
        "misplaced_greedy_wer": misplaced_wer(model, clips),
        "sentences": [
            dict(zip(("id", "speaker", "said", "greedy", "grammar"), texts, strict=True))
            for texts in zip(
                clips.ids,
                clips.speakers or ("",) * len(clips),
                clips.transcripts,
                reading.texts,
                grammatical,
                strict=True,
            )
        ],
    }


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m lessons train", description=__doc__.split("\n")[0])
    parser.add_argument("--preset", choices=PRESETS, default="small")
    parser.add_argument("--data", default="synthetic", help="a mouth set's folder, or 'synthetic' (default)")
    parser.add_argument(
        "--speakers", nargs="+", default=[], help="strangers: folders of other people's mouth sets"
    )
    parser.add_argument(
        "--hold-out", nargs="+", default=[], help="strangers: who is kept back, as s5 s33 (default: val)"
    )
    parser.add_argument("--out", required=True, type=Path, help="folder for log, weights, results")
    parser.add_argument("--start", choices=("timings", "plain"), default="timings")
    parser.add_argument("--epochs", type=int, help="instead of the preset's; strangers: of 100 steps each")
    parser.add_argument("--batch-size", type=int, help="clips in a step of all processes, not the preset's")
    parser.add_argument("--clips", type=int, default=2000, help="synthetic training clips (default 2000)")
    parser.add_argument("--seed", type=int, default=0)
    # The layers are small: a second thread saves a fifth of the time, where there is a core for it.
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))  # that torchrun started on this machine
    threads = max(1, min(2, (os.cpu_count() or 1) // processes))
    parser.add_argument("--threads", type=int, default=threads, help="CPU threads (default %(default)s)")
    args = parser.parse_args(argv)
    for name in ("speakers", "hold_out"):
        if getattr(args, name) and (args.preset != STRANGERS or args.data == "synthetic"):
            parser.error(f"--{name.replace('_', '-')} needs --preset {STRANGERS} and --data FOLDER")
    for name in ("epochs", "batch_size", "clips", "threads"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} is {getattr(args, name)}, expected 1 or more")
    if not 0 <= args.seed < 2**31:
        parser.error(f"--seed is {args.seed}, expected 0 to {2**31 - 1}")
    return args


@dataclass(frozen=True)
class Data:
    """What a run learns from and is measured on.

    Attributes:
        training, validation: clips.
        name: what to call them in the results.
        motions: by clip id, for the preset ``strangers``; None for the others.
        front: the trained model whose convolutions that preset starts from, or None.
    """

    training: ClipSet
    validation: ClipSet
    name: str
    motions: Mapping[str, Motion] | None = None
    front: str | None = None


def load_data(args: argparse.Namespace) -> Data:
    """What the command line names."""
    size, name = PRESETS[args.preset][1], Path(args.data).name
    if args.preset != STRANGERS:
        return Data(*load_clips(args.data, size, args.clips), name)
    people = load_people(args.data, args.speakers, args.hold_out, size, args.clips)
    front = None if args.data == "synthetic" or "s1" in people.held_out else READS_S1
    return Data(people.training, people.validation, name, people.motions, front)


def check_run(out: Path, preset: str, settings: Settings) -> None:
    """Find out before the work whether a training shows clips, and may write to its folder.

    Raises:
        ValueError: it ends before stage 2, or the results of another training are there.
        OSError: a file cannot be written.
    """
    if isinstance(settings, StrangerSettings):
        check_stages(settings)
    for name in FILES:
        check_writable(out / name)
    if not (out / FILES[1]).is_file():
        return
    try:
        found = json.loads((out / FILES[1]).read_text(encoding="utf-8"))
        same = (found["preset"], found["settings"]) == (preset, asdict(settings))
    except (ValueError, TypeError, KeyError):
        same = False
    if not same:
        raise ValueError(f"{out / FILES[1]}: of another training, which is kept; choose another folder")


def run(
    preset: str,
    settings: Settings,
    data: Data,
    out: Path,
    processes: Processes = ALONE,
    **changes: Any,
) -> dict | None:
    """Train ``preset`` with ``settings``; write ``model.safetensors`` and ``results.json`` beside the log.

    Args:
        changes: other arguments of :func:`lessons.training.lipnet.train`; of the preset ``strangers``, of
            :class:`lessons.training.strangers.StrangerRun`.

    Returns:
        what results.json holds; None in every process but the first.
    """
    if processes.first:
        check_run(out, preset, settings)
    if lessons.device().type == "cuda":
        torch.backends.cudnn.benchmark = True  # try its convolutions once, keep the fastest
    torch.manual_seed(settings.seed)
    model = PRESETS[preset][0]()
    if data.front is not None:
        model.take_front(checkpoint.load(data.front))
    n_weights = sum(p.numel() for p in model.parameters())
    if processes.first:
        amount = f"{len(data.training)} + {len(data.validation)} clips"
        if data.motions is not None:
            speakers = {motion.speaker for motion in data.motions.values()}
            amount += f", {len(data.motions)} motions ({', '.join(sorted(speakers))})"
        print(f"{preset}: {n_weights:,} weights, {amount}", flush=True)
    about = {"preset": preset, "data": data.name, "training_clips": str(len(data.training))}
    if isinstance(settings, StrangerSettings):
        changes = {"run_type": partial(StrangerRun, motions=data.motions, **changes)}
    clips = data.training, data.validation
    model, rows = train(model, *clips, settings, out, processes=processes, save_every=SAVE_EVERY, **changes)
    if not processes.first:
        return None
    device = lessons.device()
    weights = out / FILES[0]
    checkpoint.save(model, weights, about, half=True)
    # Measured on what was kept, half precision and all.
    found = results(checkpoint.load(weights).to(device), data.validation)
    report = {
        **about,
        "weights": n_weights,
        "settings": asdict(settings),
        "minutes": round(rows[-1]["seconds"] / 60, 1),
        "cpu_minutes": round(rows[-1]["cpu_seconds"] / 60, 1),
        "processes": processes.size,
        **machine(device),
        **found,
    }
    write_json(out / FILES[1], report)
    greedy, grammar = found["greedy"]["wer"], found["grammar"]["wer"]
    print(f"WER {greedy:.1%} greedy, {grammar:.1%} with the grammar: {out}")
    return report


def main(argv: list[str] | None = None) -> None:
    """Train, then write ``model.safetensors`` and ``results.json`` beside the log."""
    args = arguments(argv)
    torch.set_num_threads(args.threads)
    settings = PRESETS[args.preset][2]
    settings = replace(
        settings,
        start=args.start,
        seed=args.seed,
        epochs=args.epochs or settings.epochs,
        batch_size=args.batch_size or settings.batch_size,
    )
    check_run(args.out, args.preset, settings)
    data = load_data(args)
    with join() as processes:
        run(args.preset, settings, data, args.out, processes)
