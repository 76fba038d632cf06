"""One training loop: a progress bar, a log, checkpoints, resuming to the same numbers, mixed precision.

All chance is drawn from (seed, step): a step's augmentation and dropout depend on nothing that came before.
So a run that was killed needs no random state to go on from: it repeats the steps since its last checkpoint
and arrives at the same numbers, bit for bit on a CPU. Several processes arrive at them too, but for the order
of sums (lessons.training.distributed).
"""

from __future__ import annotations

import copy
import csv
import functools
import hashlib
import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

import lessons
from lessons.ctc import min_frames
from lessons.ctc.alphabet import Alphabet
from lessons.ctc.decode import greedy_decode
from lessons.ctc.metrics import cer, wer
from lessons.data.batch import Batch, Collected, collect, training_batch
from lessons.data.clips import ClipSet
from lessons.files import atomic
from lessons.lipreading.lipnet import LipNet
from lessons.training.distributed import ALONE, Part, Processes, use_whole_batch

ALPHABET = Alphabet()
SHOW_EVERY = 10  # steps between two losses in the progress bar


@dataclass(frozen=True)
class Settings:
    """How to train. All that decides the numbers of a run, beside the model and the clips.

    Attributes:
        epochs: passes over the training clips.
        batch_size: clips in a step.
        learning_rate: the highest; it rises to it over ``warmup_steps``, then falls along half a cosine.
        warmup_steps: steps of the rise.
        weight_decay: of AdamW, on matrices and filters, not on biases and norms.
        clip_norm: the longest gradient that is followed as it is; a longer one is shortened to it.
        average: the weights that are kept are a running mean over about 1 / (1 - average) steps.
        start: ``"plain"`` learns from CTC alone; ``"timings"`` adds, over the first half of the run and ever
            less, a cross-entropy with the class each frame has by the word timings.
        augmented: change the clips at every step, see ``lessons.data.augmentation``.
        seed: of everything.
    """

    epochs: int = 90
    batch_size: int = 8
    learning_rate: float = 2e-3
    warmup_steps: int = 150
    weight_decay: float = 0.02
    clip_norm: float = 5.0
    average: float = 0.999
    start: Literal["timings", "plain"] = "timings"
    augmented: bool = True
    seed: int = 0


@dataclass(frozen=True)
class Reading:
    """What a model made of a set of clips.

    Attributes:
        loss: mean CTC loss a character.
        cer, wer: corpus error rates of the greedy reading, as fractions.
        texts: one sentence a clip.
    """

    loss: float
    cer: float
    wer: float
    texts: tuple[str, ...]


def ctc(logits: Tensor, batch: Batch, model: LipNet) -> Tensor:
    """CTC loss a character, averaged over clips, from logits (T, B, V).

    Torch's own: ours is faster from batches of 32 on, and no faster at 16 (``lessons.measure.bench``).
    """
    log_probs = logits.float().log_softmax(-1)  # (T, B, V)
    return F.ctc_loss(log_probs, batch.targets, model.output_lengths(batch.lengths), batch.target_lengths)


def timing_loss(logits: Tensor, batch: Batch, model: LipNet) -> Tensor:
    """Cross-entropy of each valid frame with its class by the word timings, from logits (T, B, V)."""
    labels = batch.frame_labels.repeat_interleave(model.upsample, dim=1)  # (B, T)
    frame = torch.arange(labels.shape[1], device=labels.device)  # (T,)
    beyond = frame >= model.output_lengths(batch.lengths).to(frame)[:, None]  # (B, T)
    labels = labels.masked_fill(beyond, -100)  # -100: not counted
    return F.cross_entropy(logits.float().permute(1, 2, 0), labels)  # (B, V, T) against (B, T)


def learning_rate(step: int, total: int, settings: Settings) -> float:
    """Warm-up, then half a cosine down to 2 % of the highest."""
    warm = min(1.0, (step + 1) / settings.warmup_steps)
    return settings.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / total)))


def best_precision(device: torch.device) -> torch.dtype:
    """The number format the convolutions run fastest in on ``device`` without losing the training.

    bfloat16 where the hardware multiplies it, float16 on older GPUs, float32 elsewhere.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.get_device_capability(device)[0] >= 8 else torch.float16
    # Torch tells this only through names it keeps to itself, and not in every version.
    units = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    has_units = device.type == "cpu" and any(getattr(torch.cpu, unit, bool)() for unit in units)
    return torch.bfloat16 if has_units and _uses_bfloat16_units() else torch.float32


@functools.cache
def _uses_bfloat16_units() -> bool:
    """Does a convolution gain by bfloat16? Not where the library is told to leave the units alone.

    With units it takes half of float32's time or less, without them three times and more, so a look at the
    clock tells them apart.
    """
    took: dict[torch.dtype, list[float]] = {torch.float32: [], torch.bfloat16: []}
    for _ in range(4):  # in turn, and the best of each counts: another program may disturb one look
        for dtype, times in took.items():
            x, weight = torch.ones(1, 32, 4, 16, 32, dtype=dtype), torch.ones(64, 32, 3, 5, 5, dtype=dtype)
            began = time.perf_counter()
            F.conv3d(x, weight)  # (1, 64, 2, 12, 28)
            times.append(time.perf_counter() - began)
    return min(took[torch.bfloat16]) < min(took[torch.float32])


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.AdamW:
    """AdamW with weight decay on matrices and filters, not on biases and norms.

    Fused: all weights are moved by one call in place of a dozen for each.
    """
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)


def logits_of(model: LipNet, x: Tensor, lengths: Tensor, precision: torch.dtype) -> Tensor:
    """The model's logits (T, B, V) for clips x (B, C, T, H, W), its convolutions in ``precision``.

    The layout in which channels are neighbors in memory is the one that fast convolutions want.
    """
    x = x.contiguous(memory_format=torch.channels_last_3d)
    with torch.autocast(x.device.type, precision, enabled=precision != torch.float32):
        return model(x, lengths)


@torch.no_grad()
def read_clips(
    model: LipNet,
    clips: ClipSet,
    device: torch.device | None = None,
    batch_size: int = 20,
    indices: Sequence[int] | None = None,
) -> tuple[Tensor, float]:
    """Log-probabilities (T, N, V) of all clips or those at ``indices``; their mean CTC loss a character."""
    device = device or next(model.parameters()).device
    indices = range(len(clips)) if indices is None else indices
    training, log_probs, losses = model.training, [], []
    model.eval()
    for start in range(0, len(indices), batch_size):
        some = indices[start : start + batch_size]
        batch = training_batch(clips, some, None, model.in_channels, device=device)
        logits = model(batch.x, batch.lengths)  # (T, B, V)
        losses.append(ctc(logits, batch, model).item() * len(batch.lengths))
        log_probs.append(logits.float().log_softmax(-1).cpu())
    model.train(training)
    return torch.cat(log_probs, dim=1), sum(losses) / len(indices)


def evaluate(
    model: LipNet, clips: ClipSet, device: torch.device | None = None, processes: Processes = ALONE
) -> Reading:
    """Read all clips greedily and compare with what was said; several processes share the reading."""
    indices = processes.share(range(len(clips)))
    log_probs, loss = read_clips(model, clips, device, indices=indices)  # (T, N, V)
    labels = greedy_decode(log_probs, model.output_lengths(torch.from_numpy(clips.lengths[list(indices)])))
    # What is put together are sentences, not rates: each clip then weighs by its words, as with one process.
    texts = tuple(processes.gather([ALPHABET.decode(label) for label in labels]))
    loss = processes.total(loss * (len(indices) / len(clips)))
    return Reading(loss, cer(clips.transcripts, texts), wer(clips.transcripts, texts), texts)


def train(
    model: LipNet,
    training: ClipSet,
    validation: ClipSet,
    settings: Settings,
    out: str | Path | None = None,
    device: torch.device | None = None,
    precision: torch.dtype | None = None,
    progress: bool = True,
    processes: Processes = ALONE,
    save_every: float = 0.0,
) -> tuple[LipNet, list[dict[str, float]]]:
    """Train ``model``; go on from ``out`` when an earlier run with the same settings was cut off there.

    Args:
        model: trained in place; on return it holds the last step's weights.
        training, validation: the clips. Validation clips are read after every epoch and decide nothing.
        settings: see :class:`Settings`.
        out: folder for ``log.csv`` and ``last.pt`` (each written whole after an epoch); None keeps nothing.
        device: the GPU when there is one, if None.
        precision: of the convolutions; ``best_precision`` if None.
        progress: show a bar.
        processes: those that train together (``lessons.training.distributed.join``), each with the same
        arguments. The
            first alone writes to ``out`` and shows the bar; a run may go on with fewer or more of them.
        save_every: seconds between two checkpoints. On a GPU an epoch may last one second and its
            checkpoint as long to write. The last epoch is always saved.

    Returns:
        (the averaged model in ``eval`` mode, one row an epoch).

    Raises:
        ValueError: no clips, a sentence too long for its frames, ``out`` holds another run's checkpoint, or
            processes that differ in what they start from or are more than the clips of a batch.
        ConnectionError: another process stopped or fell silent.
    """
    device = device or lessons.device()
    precision = precision or best_precision(device)
    _check_clips(training, model)
    _check_processes(processes, settings, validation)
    model.to(device, memory_format=torch.channels_last_3d).train()
    average = copy.deepcopy(model).eval()
    next_part = use_whole_batch(model, processes)
    optimizer = make_optimizer(model, settings)
    # float16 loses gradients below 6e-8; the scaler keeps them above. It does nothing for other formats.
    scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)
    steps_per_epoch = math.ceil(len(training) / settings.batch_size)
    total = steps_per_epoch * settings.epochs

    run = {"settings": asdict(settings), "model": model.config, "clips": len(training)}
    checkpoint = None if out is None else Path(out) / "last.pt"
    rows: list[dict[str, float]] = []
    if checkpoint is not None and checkpoint.is_file():
        rows = _resume(checkpoint, run, model, average, optimizer, scaler)
    start = {"precision": precision, "epochs done": len(rows), "weights": _digest(model)}
    processes.agree({**run, **start})
    seconds, cpu_seconds = (rows[-1]["seconds"], rows[-1]["cpu_seconds"]) if rows else (0.0, 0.0)

    bar = tqdm(
        total=total,
        initial=len(rows) * steps_per_epoch,
        unit="step",
        disable=not (progress and processes.first),
    )
    saved = time.perf_counter()
    for epoch in range(len(rows), settings.epochs):
        began, cpu_began, losses = time.perf_counter(), time.process_time(), []
        for step, collected in collected_ahead(training, epoch_steps(epoch, training, settings, processes)):
            torch.manual_seed(settings.seed * 1_000_003 + step.number)  # dropout
            next_part(step.part)
            batch = collected.to(device, model.in_channels)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step.number, total, settings)

            logits = logits_of(model, batch.x, batch.lengths, precision)  # (T, B, V)
            # Each loss is a mean, over clips or over frames: our share of these is our share of the loss.
            loss = ctc_loss = ctc(logits, batch, model) * step.part.share(np.ones(len(step.indices)))
            # With word timings the frames have labels at first; CTC takes over by the middle of the run.
            share = max(0.0, 1 - 2 * step.number / total) if settings.start == "timings" else 0.0
            if share > 0:
                frames = step.part.share(training.lengths[step.indices])
                loss = loss + share * frames * timing_loss(logits, batch, model)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            processes.add_gradients(model.parameters())
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            scaler.step(optimizer)
            scaler.update()
            _update_average(average, model, min(settings.average, (1 + step.number) / (10 + step.number)))

            losses.append(ctc_loss.detach())
            if step.number % SHOW_EVERY == 0:  # reading a loss waits for the GPU
                bar.set_postfix(_shown(processes.total(losses[-1].item()), rows), refresh=False)
            bar.update()
        train_loss = processes.total(torch.stack(losses).cpu().double().mean().item())
        reading = evaluate(average, validation, device, processes)
        seconds += time.perf_counter() - began
        cpu_seconds += processes.total(time.process_time() - cpu_began)
        rows.append(
            {
                "epoch": epoch + 1,
                "step": (epoch + 1) * steps_per_epoch,
                "seconds": round(seconds, 1),
                "cpu_seconds": round(cpu_seconds, 1),  # of all threads: fair on a busy machine
                "train_loss": train_loss,
                "val_loss": reading.loss,
                "val_cer": reading.cer,
                "val_wer": reading.wer,
            }
        )
        bar.set_postfix(_shown(train_loss, rows))
        due = time.perf_counter() - saved >= save_every or epoch + 1 == settings.epochs
        if checkpoint is not None and processes.first and due:
            saved = time.perf_counter()
            _write_log(checkpoint.with_name("log.csv"), rows)
            state = {
                "run": run,
                "rows": rows,
                "model": model.state_dict(),
                "average": average.state_dict(),
                "optimizer": optimizer.state_dict(),
                "scaler": scaler.state_dict(),
            }
            with atomic(checkpoint) as part:
                torch.save(state, part)
    bar.close()
    return average, rows


@dataclass(frozen=True)
class Step:
    """One step of a run.

    Attributes:
        number: steps before it, over all epochs.
        indices: the clips of its batch.
        part: this process's part of them.
        rng: what its augmentation draws from; None for clips as they are.
    """

    number: int
    indices: np.ndarray
    part: Part
    rng: np.random.Generator | None


def epoch_steps(epoch: int, clips: ClipSet, settings: Settings, processes: Processes = ALONE) -> list[Step]:
    """The steps of one epoch: every clip once, in an order drawn from (seed, epoch)."""
    order = np.random.default_rng((settings.seed, epoch)).permutation(len(clips))  # (N,)
    starts = range(0, len(clips), settings.batch_size)
    steps = []
    for number, start in enumerate(starts, epoch * len(starts)):
        indices = order[start : start + settings.batch_size]  # (B,)
        rng = np.random.default_rng((settings.seed, epoch, start)) if settings.augmented else None
        steps.append(Step(number, indices, processes.part(len(indices)), rng))
    return steps


def collected_ahead(clips: ClipSet, steps: Sequence[Step]) -> Iterator[tuple[Step, Collected]]:
    """Each step with its clips; a thread collects those of the next step meanwhile."""
    with ThreadPoolExecutor(max_workers=1) as thread:

        def begin(step: Step) -> Future[Collected]:
            return thread.submit(collect, clips, step.indices, step.rng, step.part.places)

        coming = begin(steps[0])
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            collected = coming.result()
            if following is not None:
                coming = begin(following)
            yield step, collected


def _check_clips(clips: ClipSet, model: LipNet) -> None:
    """Refuse sentences that no path of frames can spell: their loss is infinite and spoils every weight."""
    if len(clips) == 0:
        raise ValueError("there are no training clips")
    for name, text, n_frames in zip(clips.ids, clips.transcripts, clips.lengths, strict=True):
        needed = min_frames(ALPHABET.encode(text))
        available = int(n_frames) * model.upsample
        if available < needed:
            raise ValueError(
                f"clip {name}: {text!r} needs {needed} frames (one a character, one more between equal "
                f"neighbors), the model makes {available}: leave the clip out or upsample"
            )


def _check_processes(processes: Processes, settings: Settings, validation: ClipSet) -> None:
    """Refuse more processes than there are clips to share."""
    for what, n_clips in (("batch_size", settings.batch_size), ("validation clips", len(validation))):
        if n_clips < processes.size:
            raise ValueError(f"{what}: {n_clips} for {processes.size} processes: each needs at least one")


def _digest(model: nn.Module) -> str:
    """A few characters that differ when any weight does."""
    weights = (value.detach().cpu().contiguous().numpy() for value in model.state_dict().values())
    return hashlib.sha256(b"".join(value.tobytes() for value in weights)).hexdigest()[:8]


def _update_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move the running mean a little toward the weights; counts and batch statistics are copied."""
    with torch.no_grad():
        for mean, new in zip(average.parameters(), model.parameters(), strict=True):
            mean.lerp_(new, 1 - decay)
        for mean, new in zip(average.buffers(), model.buffers(), strict=True):
            mean.copy_(new)


def _resume(
    checkpoint: Path,
    run: dict,
    model: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> list[dict[str, float]]:
    """Put everything back as it was after the last whole epoch; return the rows of the log."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        found = state["run"]
    except Exception as error:  # whatever is wrong with it, it is not ours to go on from
        raise ValueError(f"{checkpoint}: damaged, or not a run's: remove it to start anew") from error
    if found != run:
        wrong = [
            f"{key} {found[part].get(key)!r} there, {run[part].get(key)!r} here"
            for part in ("settings", "model")
            for key in run[part]
            if found[part].get(key) != run[part][key]
        ] or [f"{found['clips']} training clips there, {run['clips']} here"]
        raise ValueError(f"{checkpoint}: belongs to another run ({'; '.join(wrong)}): choose another folder")
    model.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    optimizer.load_state_dict(state["optimizer"])
    scaler.load_state_dict(state["scaler"])
    return state["rows"]


def _write_log(path: Path, rows: list[dict[str, float]]) -> None:
    """The whole log, anew: so that a resumed run never shows an epoch twice."""
    with atomic(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()})


def _shown(loss: float, rows: list[dict[str, float]]) -> dict[str, str]:
    """What the progress bar says."""
    shown = {"loss": f"{loss:.2f}"}
    if rows:
        shown |= {"CER": f"{rows[-1]['val_cer']:.1%}", "WER": f"{rows[-1]['val_wer']:.1%}"}
    return shown
