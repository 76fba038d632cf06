"""Train a video detector in two stages.

Stage 1 trains backbone and head on clean single frames. Stage 2 freezes the backbone, puts a memory behind it
with a new head, and trains these two on clips whose things vanish.

Clips are drawn anew for every step, from (seed, stage, step): nothing is seen twice, all memories see the
same, and a run that was killed goes on to the same numbers, bit for bit on a CPU.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

import lessons
from lessons.data.synthetic.moving import MovingClips, Scene, moving_clips
from lessons.detection.center_points import Targets, detection_loss, targets
from lessons.detection.detector import Detector, Memory, to_input
from lessons.files import atomic


@dataclass(frozen=True)
class Recipe:
    """How to train and to test: all that decides the numbers, beside the memory.

    Attributes:
        frame_steps, frame_batch: of stage 1: its steps, and the frames in each.
        steps, clips, n_frames: of stage 2: its steps, and the clips in each and their length.
        vanish: each clip of stage 2 has its own share of frames without each thing, from 0 to this.
        learning_rate: the highest, of both stages; it rises to it at once and falls to nothing.
        hidden_channels: D of the memory.
        test_clips, test_frames: what to test on.
        seed: of weights and training clips. The test clips are always the same.

    Raises:
        ValueError: a count below 1, no rate to learn at, a share outside 0 … 1.
    """

    frame_steps: int = 1200
    frame_batch: int = 20
    steps: int = 1600
    clips: int = 4
    n_frames: int = 8
    vanish: float = 0.75
    learning_rate: float = 6e-3
    hidden_channels: int = 64
    test_clips: int = 120
    test_frames: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = 0 if name == "seed" else 1
            if isinstance(value, int) and name not in ("vanish", "learning_rate") and value < least:
                raise ValueError(f"{name}={value}, expected {least} or more")
        if not 0 <= self.vanish <= 1:
            raise ValueError(f"vanish={self.vanish}, expected a share from 0 to 1")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"learning_rate={self.learning_rate}, expected more than 0")


@dataclass
class Log:
    """What a training left behind.

    Attributes:
        losses: one a step.
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
) -> dict[Memory, tuple[Detector, Log]]:
    """Stage 2: each memory, with a new head, behind the frozen backbone of ``per_frame``.

    A memory's numbers do not depend on which others are trained beside it.
    """
    scene = scene or Scene()
    models = []
    for memory in memories:
        torch.manual_seed(recipe.seed)
        models.append(Detector(len(scene.kinds), memory, recipe.hidden_channels))
        models[-1].use_backbone(per_frame)
    draw = partial(hiding_clips, recipe, scene)
    logs = fit(models, draw, recipe.steps, recipe.learning_rate, checkpoint, asdict(recipe), progress)
    return dict(zip(memories, zip(models, logs, strict=True), strict=True))


def hiding_clips(recipe: Recipe, scene: Scene, step: int) -> MovingClips:
    """The clips of one step of stage 2."""
    rng = np.random.default_rng((recipe.seed, 2, step))
    vanish = rng.uniform(0, recipe.vanish, recipe.clips)
    return moving_clips(recipe.clips, rng, recipe.n_frames, vanish, scene=scene)


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
        models: trained in place, as far as their weights are not frozen; on return in ``eval`` mode.
        draw: the clips of a step; must depend on nothing but the step.
        steps: how many.
        learning_rate: the highest of Adam's; warm-up over 30 steps, then half a cosine down to 0.
        checkpoint: file to go on from, written whole every ``every`` steps; None keeps nothing.
        about: what tells this run from others; a checkpoint of another run is refused.
        progress: show a bar.

    Returns:
        the loss of every step and the time it took, for each model. The models are trained on
        ``lessons.device()`` and come back to the CPU.

    Raises:
        ValueError: a checkpoint that is damaged or another run's, or a loss that is no number any more.
    """
    device = lessons.device()
    for model in models:
        model.to(device)
    weights = [[p for p in model.parameters() if p.requires_grad] for model in models]
    optimizers = [
        torch.optim.AdamW(own, learning_rate, betas=(0.9, 0.98), weight_decay=0.01) for own in weights
    ]
    logs = [Log([], 0.0) for _ in models]
    run = {"about": about or {}, "models": [model.config for model in models], "steps": steps}
    if checkpoint is not None and checkpoint.is_file():
        logs = _resume(checkpoint, run, models, optimizers)
    for model in models:
        model.train()
    done = len(logs[0].losses)
    bar = tqdm(range(done, steps), initial=done, total=steps, unit="step", disable=not progress)
    for step in bar:
        began = time.process_time()
        rate = learning_rate * min(1.0, (step + 1) / 30) * 0.5 * (1 + math.cos(math.pi * step / steps))
        clips = draw(step)
        wanted = clip_targets(clips, models[0].classes, device)
        features = models[0].see(to_input(torch.from_numpy(clips.frames).to(device)))  # (T, B, 128, H', W')
        shared = time.process_time() - began
        for model, own, optimizer, log in zip(models, weights, optimizers, logs, strict=True):
            began = time.process_time()
            for group in optimizer.param_groups:
                group["lr"] = rate
            maps, _ = model.join(features)  # (T, B, classes + 4, H', W')
            loss = detection_loss(maps.flatten(0, 1), wanted)
            if not bool(torch.isfinite(loss)):
                raise ValueError(f"the loss of step {step} is {loss.item()}: try a lower learning_rate")
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(own, 10.0)
            optimizer.step()
            log.losses.append(loss.item())
            log.cpu_seconds += shared + time.process_time() - began
        bar.set_postfix({"loss": f"{np.mean(logs[-1].losses[-50:]):.2f}"}, refresh=False)
        if checkpoint is not None and ((step + 1) % every == 0 or step + 1 == steps):
            state = {
                "run": run,
                "models": [model.state_dict() for model in models],
                "optimizers": [optimizer.state_dict() for optimizer in optimizers],
                "logs": [asdict(log) for log in logs],
            }
            with atomic(checkpoint) as part:
                torch.save(state, part)
    for model in models:
        model.cpu().eval()
    return logs


def clip_targets(clips: MovingClips, classes: int, device: torch.device | None = None) -> Targets:
    """What the maps of all frames should be, in the order of ``maps.flatten(0, 1)``: frame by frame.

    On ``device``, or on the CPU.
    """
    n_frames, height, width = clips.frames.shape[1:]
    boxes = torch.from_numpy(clips.boxes).transpose(0, 1).flatten(0, 1)  # (T*B, objects, 4)
    labels = torch.from_numpy(clips.labels).repeat(n_frames, 1)  # (T*B, objects)
    return targets(boxes.to(device), labels.to(device), classes, (height, width))


def _resume(
    checkpoint: Path, run: dict, models: Sequence[Detector], optimizers: Sequence[torch.optim.Optimizer]
) -> list[Log]:
    """Put everything back as it was; return the logs so far."""
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        found = state["run"]
    except Exception as error:  # whatever is wrong with it, it is not ours to go on from
        raise ValueError(f"{checkpoint}: damaged, or not a run's: remove it to start anew") from error
    if found != run:
        raise ValueError(f"{checkpoint}: belongs to another run ({found}): choose another folder")
    for i, (model, optimizer) in enumerate(zip(models, optimizers, strict=True)):
        model.load_state_dict(state["models"][i])
        optimizer.load_state_dict(state["optimizers"][i])
    return [Log(**log) for log in state["logs"]]
