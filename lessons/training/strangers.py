"""Training a :class:`StrangerLipNet`: clips of few people and motions of many.

1. The GRUs learn to read motions alone. They are cheap: no convolution looks at them.
2. Clips and motions together:

       loss = CTC(clips) + CTC(motions) + w * timings(both) + measures(clips)

The last part is the bottleneck's teacher: what the network measures in a clip must move as the landmarks of
that mouth did. It asks for the course of each measure, not for its scale or offset, which a crop cannot tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.data.batch import send
from lessons.data.disguise import disguise
from lessons.data.mixture import Disguise, Examples, Mixture
from lessons.data.motions import FRAMES, Motion
from lessons.lipreading.lipnet_stranger import StrangerLipNet
from lessons.training.distributed import ALONE
from lessons.training.evaluation import Evaluation
from lessons.training.lipnet import Run
from lessons.training.precision import convolutions_in
from lessons.training.schedule import learning_rate
from lessons.training.settings import StrangerSettings
from lessons.training.steps import Step, collected_ahead


def measure_loss(seen: Tensor, true: Tensor, known: Tensor) -> Tensor:
    """How differently two courses of measures run: 0 when one is the other, stretched and moved.

    One minus the correlation of each measure over time, and half the mean squared difference of its steps
    from frame to frame, both after each course was standardized over the known frames.

    Args:
        seen: (T, B, 9) what the network measures.
        true: (T, B, 9) what it should.
        known: (T, B) in which frames ``true`` is known; what stands in the others must be finite. Clips
            where it is known in fewer than 6 do not count.

    Returns:
        a scalar; 0 when nothing is known.
    """
    known = known[:, :, None].to(seen)  # (T, B, 1)
    n = known.sum(0).clamp_min(1)  # (B, 1)

    def course(values: Tensor) -> Tensor:
        values = (values - (values * known).sum(0) / n) * known  # (T, B, 9)
        return values / (values.square().sum(0) / n + 1e-6).sqrt()

    seen, true = course(seen), course(true)
    correlation = (seen * true).sum(0) / n  # (B, 9)
    both = known[1:] * known[:-1]  # (T - 1, B, 1)
    steps = (seen.diff(dim=0) - true.diff(dim=0)).square() * both  # (T - 1, B, 9)
    losses = 1 - correlation + 0.5 * steps.sum(0) / both.sum(0).clamp_min(1)  # (B, 9)
    enough = (known.sum(0) > 5).to(seen)  # (B, 1); weights, for choosing clips would stop a GPU
    return (losses.mean(1) * enough[:, 0]).sum() / enough.sum().clamp_min(1)


def check_stages(settings: StrangerSettings) -> None:
    """Refuse a training that ends before it shows a clip.

    Raises:
        ValueError: no more epochs than stage 1 has.
    """
    if settings.epochs <= settings.motion_epochs:
        raise ValueError(
            f"epochs={settings.epochs}: expected more than {settings.motion_epochs}, for as many learn from "
            "motions alone and the rest from clips"
        )


@dataclass(eq=False)
class StrangerRun(Run):
    """A run that learns from motions, then from clips and motions.

    Attributes:
        motions: by clip id.
        n_frames: T, of every example.
        disguise: how clips are changed, (B, T, H, W) from 0 to 255 and a generator -> (B, T, H, W).
        teach: the loss of the measures, as :func:`measure_loss`.

    Raises:
        ValueError: several processes, or no motions.
    """

    model: StrangerLipNet
    settings: StrangerSettings
    motions: Mapping[str, Motion] | None = None
    n_frames: int = FRAMES
    disguise: Disguise = disguise
    teach: Callable[[Tensor, Tensor, Tensor], Tensor] = measure_loss

    def __post_init__(self) -> None:
        if self.processes.size > 1:
            raise ValueError(
                f"{self.processes.size} processes: expected 1, for examples are drawn and not shared out; "
                "start without torchrun"
            )
        settings = self.settings
        self.mixture = Mixture(
            self.clips, self.motions or {}, self.n_frames, spliced=settings.spliced, slow=settings.slow
        )
        super().__post_init__()
        self.about |= {"motions": len(self.motions)}

    @property
    def stage_2(self) -> int:
        """The first step with clips."""
        return min(self.settings.motion_epochs, self.settings.epochs) * self.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        """An epoch is so many steps, for examples are drawn, not used up."""
        return self.settings.steps_per_epoch

    def learning_rate(self, step: int) -> float:
        """Stage 1 rises to the highest and stays; stage 2 rises again, for its front has not moved yet."""
        if step < self.stage_2:
            return self.settings.learning_rate * min(1.0, (step + 1) / self.settings.warmup_steps)
        return learning_rate(step - self.stage_2, self.steps - self.stage_2, self.settings)

    def batches(self, epoch: int) -> Iterator[tuple[Step, Examples]]:
        """The steps of an epoch, each drawn from (seed, number of the step)."""
        first, settings = epoch * self.steps_per_epoch, self.settings
        clips, motions = settings.batch_size, settings.motions
        if first < self.stage_2:
            clips, motions = 0, clips + motions
        part = ALONE.part(clips + motions)
        steps = [
            Step(number, np.empty(0, int), part, np.random.default_rng((settings.seed, number)))
            for number in range(first, first + self.steps_per_epoch)
        ]
        return collected_ahead(steps, lambda step: self.mixture.draw(clips, motions, step.rng))

    def timing_weight(self, step: int) -> float:
        """Falls from 1 to 0 in each stage, in the second by two thirds of it."""
        if self.settings.start != "timings":
            return 0.0
        if step < self.stage_2:
            return 1 - step / self.stage_2
        return max(0.0, 1 - 1.5 * (step - self.stage_2) / (self.steps - self.stage_2))

    def losses(self, step: Step, collected: Examples) -> dict[str, Tensor]:
        """The parts of the loss; ``"loss"`` is CTC's on clips, 0 in stage 1."""
        batch, model = collected.to(self.device, self.disguise), self.model
        parts = {}
        if batch.x is None:
            logits = model.classify_motions(batch.motions)  # (T * upsample, M, V)
        else:
            with convolutions_in(self.precision, self.device):
                x = batch.x.contiguous(memory_format=torch.channels_last_3d)  # (B, 1, T, H, W)
                features = model.features(x).float()  # (T, B, F)
            seen = model.measures(features)  # (T, B, 9)
            # Some clips are read by their measures alone, as motions are: so the measures must be enough.
            keep = (torch.rand(x.shape[0], device=self.device) < self.settings.keep).float()  # (B,)
            logits = model.classify_mixed(features, seen, batch.motions, keep)  # (T * upsample, B + M, V)
            parts["measures"] = self.teach(seen, batch.measures, batch.known)
        losses = F.ctc_loss(
            logits.log_softmax(-1),
            batch.targets,
            torch.full((logits.shape[1],), len(logits)),
            batch.target_lengths,
            reduction="none",
        ) / send(batch.target_lengths, self.device)  # (B + M,)
        n_clips = logits.shape[1] - batch.motions.shape[1]  # B
        parts |= {"loss": losses[:n_clips].sum() / max(1, n_clips), "motions": losses[n_clips:].mean()}
        weight = self.timing_weight(step.number)
        if weight > 0:
            labels = batch.frame_labels.repeat_interleave(model.upsample, dim=1)  # (B + M, T * upsample)
            parts["timings"] = weight * F.cross_entropy(logits.permute(1, 2, 0), labels)
        return parts

    def log(self, epoch: int, losses: dict[str, float], reading: Evaluation, *began: float) -> None:
        """Add a row, with all parts of the loss."""
        super().log(epoch, losses, reading, *began)
        self.rows[-1] |= {
            f"train_{part}": losses.get(part, 0.0) for part in ("motions", "timings", "measures")
        }
