"""Train a video detector in two stages.

Stage 1 trains backbone and head on clean single frames. Stage 2 freezes the backbone, puts a memory behind it
with a new head, and trains these two on clips whose objects vanish.

Clips are drawn anew for every step, from (seed, stage, step): nothing is seen twice, all memories see the
same, and a run that was killed resumes to the same numbers, bit for bit on a CPU.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

import lessons
from lessons.data.synthetic.moving import MovingClips, Scene, moving_clips
from lessons.detection.center_points import Targets, detection_loss, targets
from lessons.detection.detector import Detector, Memory, to_input
from lessons.training import resume
from lessons.training.optimizer import set_learning_rate
from lessons.training.schedule import cosine
from lessons.training.settings import Recipe

WARMUP_STEPS, CLIP_NORM = 30, 10.0


@dataclass
class Log:
    """The record of a training.

    Attributes:
        losses: one per step.
        cpu_seconds: of all threads together, what the clips and the backbone took included: as long as it
            would have taken alone, and fair on a busy machine.
    """

    losses: list[float]
    cpu_seconds: float


def train_per_frame(
    recipe: Recipe, scene: Scene | None = None, checkpoint: Path | None = None, progress: bool = True
) -> tuple[Detector, Log]:
    """Stage 1: a detector without memory, on clean single frames."""
    scene = scene or Scene()
    torch.manual_seed(recipe.seed)
    model = Detector(len(scene.kinds), "none", recipe.hidden_channels)

    def draw(step: int) -> MovingClips:
        rng = np.random.default_rng((recipe.seed, 1, step))
        return moving_clips(recipe.frame_batch, rng, n_frames=1, scene=scene)

    (log,) = fit(
        [model], draw, recipe.frame_steps, recipe.learning_rate, checkpoint, asdict(recipe), progress
    )
    return model, log


def train_memories(
    memories: Sequence[Memory],
    per_frame: Detector,
    recipe: Recipe,
    scene: Scene | None = None,
    checkpoint: Path | None = None,
    progress: bool = True,
    draw: Callable[[int], MovingClips] | None = None,
) -> dict[Memory, tuple[Detector, Log]]:
    """Stage 2: each memory, with a new head, behind the frozen backbone of ``per_frame``.

    A memory's numbers do not depend on which others are trained beside it. The clips of a step are
    :func:`hiding_clips` of ``scene``, or what ``draw`` gives, of the classes of ``per_frame``.
    """
    classes = per_frame.classes
    if draw is None:
        scene = scene or Scene()
        draw, classes = partial(hiding_clips, recipe, scene), len(scene.kinds)
    models = []
    for memory in memories:
        torch.manual_seed(recipe.seed)
        models.append(Detector(classes, memory, recipe.hidden_channels))
        models[-1].use_backbone(per_frame)
    logs = fit(models, draw, recipe.steps, recipe.learning_rate, checkpoint, asdict(recipe), progress)
    return dict(zip(memories, zip(models, logs, strict=True), strict=True))


def hiding_clips(recipe: Recipe, scene: Scene, step: int, burst: float | None = None) -> MovingClips:
    """The clips of one step of stage 2.

    With ``burst``, objects vanish for so many frames in a row, on average, in every other step.
    """
    rng = np.random.default_rng((recipe.seed, 2, step))
    vanish = rng.uniform(0, recipe.vanish, recipe.clips)
    burst = burst if step % 2 else None
    return moving_clips(recipe.clips, rng, recipe.n_frames, vanish, burst, scene)


def fit(
    models: Sequence[Detector],
    draw: Callable[[int], MovingClips],
    steps: int,
    learning_rate: float,
    checkpoint: Path | None = None,
    about: dict | None = None,
    progress: bool = True,
    every: int = 50,
) -> list[Log]:
    """The training loop of both stages: one detector, or several side by side on the same clips.

    Several must share one frozen backbone. It then sees each clip once for all of them: half of the work.

    Args:
        models: trained in place on ``lessons.device()``, as far as their weights are not frozen; on return on
            the CPU in ``eval`` mode.
        draw: the clips of a step; must depend on nothing but the step.
        steps: how many.
        learning_rate: the highest of AdamW's; warm-up over 30 steps, then half a cosine down to 0.
        checkpoint: file to resume from, written whole every ``every`` steps; None keeps nothing.
        about: what tells this run from others; a checkpoint of another run is refused.
        progress: show a bar.

    Returns:
        the loss of every step and the time it took, for each model.

    Raises:
        ValueError: a checkpoint that is damaged or another run's, or a loss that is NaN or infinite.
    """
    device = lessons.device()
    models = [model.to(device).train() for model in models]
    optimizers = [make_optimizer(model, learning_rate) for model in models]
    run = {"about": about or {}, "models": [model.config for model in models], "steps": steps}
    parts = {f"model {i}": model for i, model in enumerate(models)}
    parts |= {f"optimizer {i}": optimizer for i, optimizer in enumerate(optimizers)}
    logs = [Log(**log) for log in resume.load(checkpoint, run, parts)] or [Log([], 0.0) for _ in models]
    done = len(logs[0].losses)
    with tqdm(range(done, steps), initial=done, total=steps, unit="step", disable=not progress) as bar:
        for step in bar:
            began = time.process_time()
            clips = draw(step)
            wanted = clip_targets(clips, models[0].classes, device)
            features = models[0].see(
                to_input(torch.from_numpy(clips.frames).to(device))
            )  # (T, B, 128, H', W')
            shared = time.process_time() - began
            for model, optimizer, log in zip(models, optimizers, logs, strict=True):
                began = time.process_time()
                set_learning_rate(optimizer, cosine(step, steps, learning_rate, WARMUP_STEPS))
                log.losses.append(train_step(model, optimizer, features, wanted, step))
                log.cpu_seconds += shared + time.process_time() - began
            bar.set_postfix({"loss": f"{np.mean(logs[-1].losses[-50:]):.2f}"}, refresh=False)
            if checkpoint is not None and ((step + 1) % every == 0 or step + 1 == steps):
                resume.save(checkpoint, run, parts, [asdict(log) for log in logs])
    for model in models:
        model.cpu().eval()
    return logs


def train_step(
    model: Detector, optimizer: torch.optim.Optimizer, features: Tensor, wanted: Targets, step: int
) -> float:
    """Forward from the backbone's features (T, B, 128, H', W'), backward, update; the loss."""
    maps, _ = model.join(features)  # (T, B, classes + 4, H', W')
    loss = detection_loss(maps.flatten(0, 1), wanted)
    if not bool(torch.isfinite(loss)):
        raise ValueError(f"the loss of step {step} is {loss.item()}: try a lower learning_rate")
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], CLIP_NORM)
    optimizer.step()
    return loss.item()


def make_optimizer(model: Detector, learning_rate: float) -> torch.optim.AdamW:
    """AdamW on the weights that are not frozen."""
    weights = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(weights, learning_rate, betas=(0.9, 0.98), weight_decay=0.01)


def clip_targets(clips: MovingClips, classes: int, device: torch.device | None = None) -> Targets:
    """What the maps of all frames should be, in the order of ``maps.flatten(0, 1)``: frame by frame.

    On ``device``, or on the CPU.
    """
    n_frames, height, width = clips.frames.shape[1:]
    boxes = torch.from_numpy(clips.boxes).transpose(0, 1).flatten(0, 1)  # (T*B, objects, 4)
    labels = torch.from_numpy(clips.labels).repeat(n_frames, 1)  # (T*B, objects)
    return targets(boxes.to(device), labels.to(device), classes, (height, width))
