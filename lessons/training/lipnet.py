"""The training loop of LipNet. A run that was killed resumes to the same numbers, bit for bit on a CPU.

The random numbers of a step are drawn from (seed, step): its augmentation and dropout depend on nothing that
came before, so a run resumes without any random state. Several processes compute the same numbers, up to the
order of sums (lessons.training.distributed).
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

import lessons
from lessons.ctc import min_frames
from lessons.ctc.alphabet import ALPHABET
from lessons.data.batch import Collected, collect
from lessons.data.clips import ClipSet
from lessons.files import claim, write_csv
from lessons.lipreading.lipnet import LipNet
from lessons.training import resume
from lessons.training.distributed import ALONE, Processes
from lessons.training.evaluation import Evaluation, evaluate
from lessons.training.losses import ctc, timing_loss
from lessons.training.optimizer import make_optimizer, set_learning_rate, update_average
from lessons.training.precision import best_precision, logits_of
from lessons.training.schedule import learning_rate, timing_weight
from lessons.training.settings import Settings
from lessons.training.steps import Step, collected_ahead, epoch_steps
from lessons.training.whole_batch import use_whole_batch

SHOW_EVERY = 10  # steps between two losses in the progress bar


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
    run_type: Callable[..., Run] | None = None,
) -> tuple[LipNet, list[dict[str, float]]]:
    """Train ``model``; resume from ``out`` when an earlier run with the same settings was stopped there.

    Args:
        model: trained in place; on return it holds the last step's weights.
        training, validation: the clips. Validation clips are read after every epoch and decide nothing.
        out: folder for ``log.csv`` and ``last.pt`` (each written whole after an epoch); None keeps nothing.
        device: the GPU when there is one, if None.
        precision: of the convolutions; ``best_precision`` if None.
        progress: show a bar.
        processes: those that train together, each with the same arguments. The first alone writes to ``out``
            and shows the bar; a run may resume with fewer or more of them.
        save_every: seconds between two checkpoints (on a GPU one may take as long as an epoch).
        run_type: makes the :class:`Run`, or one that feeds other batches and descends other losses.

    Returns:
        (the averaged model in ``eval`` mode, one row per epoch).

    Raises:
        ValueError: no clips, a sentence too long for its frames, another run's checkpoint in ``out``, or
            processes that start from different things or are more than the clips of a batch.
        OSError: ``out`` cannot be written to, or another training writes there.
        ConnectionError: another process stopped or fell silent.
    """
    _check_clips("training", training, model)
    _check_clips("validation", validation, model)
    _check_processes(processes, settings, validation)
    device = device or lessons.device()
    precision = precision or best_precision(device)
    run = (run_type or Run)(model, training, settings, device, precision, processes)
    checkpoint = None if out is None else Path(out) / "last.pt"
    writes = checkpoint is not None and processes.first
    with claim(checkpoint.parent) if writes else nullcontext():
        run.start(checkpoint)
        saved = time.perf_counter()
        with run.bar(progress) as bar:
            for epoch in range(len(run.rows), settings.epochs):
                began = time.perf_counter(), time.process_time()
                losses = run.epoch(epoch, bar)
                reading = evaluate(run.average, validation, device, processes)
                run.log(epoch, losses, reading, *began)
                bar.set_postfix(run.shown(losses["loss"]))
                if writes and (time.perf_counter() - saved >= save_every or epoch + 1 == settings.epochs):
                    saved = time.perf_counter()
                    write_log(checkpoint.with_name("log.csv"), run.rows)
                    resume.save(checkpoint, run.about, run.parts, run.rows)
    return run.average, run.rows


@dataclass(eq=False)
class Run:
    """A model in training: all that a step needs, and all that it changes (``parts``).

    Attributes:
        average: the running mean of the model's weights, which is what is kept.
        parts: what changes, and so stands in a checkpoint.
        about: what tells this run from others.
        rows: the log, one row per epoch.
    """

    model: LipNet
    clips: ClipSet
    settings: Settings
    device: torch.device
    precision: torch.dtype
    processes: Processes
    rows: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        model, settings = self.model, self.settings
        model.to(self.device, memory_format=torch.channels_last_3d).train()
        self.average = copy.deepcopy(model).eval()
        self.next_part = use_whole_batch(model, self.processes)
        self.optimizer = make_optimizer(model, settings)
        # float16 loses gradients below 6e-8; the scaler keeps them above. It does nothing for other formats.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        self.parts = {name: getattr(self, name) for name in ("model", "average", "optimizer", "scaler")}
        self.about = {"settings": asdict(settings), "model": model.config, "clips": _names(self.clips)}
        self.steps = self.steps_per_epoch * settings.epochs

    @property
    def steps_per_epoch(self) -> int:
        """Steps until every clip has come once."""
        return math.ceil(len(self.clips) / self.settings.batch_size)

    def start(self, checkpoint: Path | None) -> None:
        """Resume from ``checkpoint`` if it exists; all processes must start from the same state."""
        self.rows = resume.load(checkpoint, self.about, self.parts)
        start = {"precision": self.precision, "epochs done": len(self.rows), "weights": _digest(self.model)}
        self.processes.agree({**self.about, **start})

    def epoch(self, epoch: int, bar: tqdm) -> dict[str, float]:
        """Train for an epoch; the mean of each part of the loss."""
        done: dict[str, list[Tensor]] = {}
        for step, collected in self.batches(epoch):
            parts = self.step(step, collected)
            for name, value in parts.items():
                done.setdefault(name, []).append(value)
            if step.number % SHOW_EVERY == 0:  # reading a loss waits for the GPU
                bar.set_postfix(self.shown(self.processes.total(parts["loss"].item())), refresh=False)
            bar.update()
        sums = {name: torch.stack(values).cpu().double().sum().item() for name, values in done.items()}
        return {name: self.processes.total(value) / self.steps_per_epoch for name, value in sums.items()}

    def learning_rate(self, step: int) -> float:
        """Of a step of this run."""
        return learning_rate(step, self.steps, self.settings)

    def batches(self, epoch: int) -> Iterator[tuple[Step, Collected]]:
        """The steps of an epoch and their clips: every clip once."""
        steps = epoch_steps(epoch, self.clips, self.settings, self.processes)
        return collected_ahead(
            steps, lambda step: collect(self.clips, step.indices, step.rng, step.part.places)
        )

    def losses(self, step: Step, collected: Collected) -> dict[str, Tensor]:
        """The parts of the loss, weighted: their sum is descended. ``"loss"`` is CTC's."""
        batch = collected.to(self.device, self.model.in_channels)
        logits = logits_of(self.model, batch.x, batch.lengths, self.precision)  # (T, B, V)
        # Each loss is a mean, over clips or over frames: our share of these is our share of the loss.
        parts = {"loss": ctc(logits, batch, self.model) * step.part.share(np.ones(len(step.indices)))}
        weight = timing_weight(step.number, self.steps, self.settings)
        if weight > 0:
            frames = step.part.share(self.clips.lengths[step.indices])
            parts["timings"] = weight * frames * timing_loss(logits, batch, self.model)
        return parts

    def step(self, step: Step, collected: Collected) -> dict[str, Tensor]:
        """Forward, backward, update; the parts of the loss."""
        model, optimizer, scaler, settings = self.model, self.optimizer, self.scaler, self.settings
        set_learning_rate(optimizer, self.learning_rate(step.number))
        torch.manual_seed(settings.seed * 1_000_003 + step.number)  # dropout
        self.next_part(step.part)
        parts = self.losses(step, collected)

        optimizer.zero_grad()
        scaler.scale(sum(parts.values())).backward()
        self.processes.add_gradients(model.parameters())
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
        scaler.step(optimizer)
        scaler.update()
        update_average(self.average, model, min(settings.average, (1 + step.number) / (10 + step.number)))
        return {name: value.detach() for name, value in parts.items()}

    def log(
        self, epoch: int, losses: dict[str, float], reading: Evaluation, began: float, cpu_began: float
    ) -> None:
        """Add a row, with the time of all epochs so far."""
        before = self.rows[-1] if self.rows else {"seconds": 0.0, "cpu_seconds": 0.0}
        seconds = time.perf_counter() - began
        cpu_seconds = self.processes.total(time.process_time() - cpu_began)
        self.rows.append(
            {
                "epoch": epoch + 1,
                "step": (epoch + 1) * self.steps_per_epoch,
                "seconds": round(before["seconds"] + seconds, 1),
                "cpu_seconds": round(before["cpu_seconds"] + cpu_seconds, 1),  # fair on a busy machine
                "train_loss": losses["loss"],
                "val_loss": reading.loss,
                "val_cer": reading.cer,
                "val_wer": reading.wer,
            }
        )

    def bar(self, progress: bool) -> tqdm:
        """A progress bar over all steps, at those that are done."""
        done = len(self.rows) * self.steps_per_epoch
        hidden = not (progress and self.processes.first)
        return tqdm(total=self.steps, initial=done, unit="step", disable=hidden)

    def shown(self, loss: float) -> dict[str, str]:
        """What the progress bar says."""
        shown = {"loss": f"{loss:.2f}"}
        for row in self.rows[-1:]:
            shown |= {"CER": f"{row['val_cer']:.1%}", "WER": f"{row['val_wer']:.1%}"}
        return shown


def write_log(path: Path, rows: list[dict[str, float]]) -> None:
    """The whole log, anew: so that a resumed run never shows an epoch twice."""
    rounded = [{k: f"{v:.5g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    write_csv(path, rows[0], rounded)


def _check_clips(what: str, clips: ClipSet, model: LipNet) -> None:
    """Refuse sentences that no path of frames can spell: their loss is infinite and spoils every weight."""
    if len(clips) == 0:
        raise ValueError(f"len({what})=0: expected 1 clip or more; look at the data's manifest")
    for name, text, n_frames in zip(clips.ids, clips.transcripts, clips.lengths, strict=True):
        needed = min_frames(ALPHABET.encode(text))
        available = int(n_frames) * model.upsample
        if available < needed:
            raise ValueError(
                f"clip {name}: {text!r} needs {needed} frames (one per character, one more between equal "
                f"neighbors), the model makes {available}: leave the clip out or upsample"
            )


def _check_processes(processes: Processes, settings: Settings, validation: ClipSet) -> None:
    """Refuse more processes than there are clips to share."""
    for what, n_clips in (("batch_size", settings.batch_size), ("len(validation)", len(validation))):
        if n_clips < processes.size:
            raise ValueError(f"{what}={n_clips}: expected {processes.size} or more; start fewer processes")


def _names(clips: ClipSet) -> str:
    """Their number, and a few characters that differ when any clip is another one."""
    return f"{len(clips)}, {hashlib.sha256(' '.join(clips.ids).encode()).hexdigest()[:8]}"


def _digest(model: nn.Module) -> str:
    """A few characters that differ when any weight does."""
    weights = (value.detach().cpu().contiguous().numpy() for value in model.state_dict().values())
    return hashlib.sha256(b"".join(value.tobytes() for value in weights)).hexdigest()[:8]
