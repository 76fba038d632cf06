"""Checks of notebook 09, training. Torch and lessons.ctc.metrics say what is right."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lessons.checks.battery import Case, Exercise, by_properties, converted
from lessons.checks.tools import call
from lessons.ctc.metrics import edit_distance

# ---- train_step --------------------------------------------------------------------------------------------


class FrameModel(nn.Module):
    """A tiny model with LipNet's interface: clips (B, C, T, H, W) and their lengths -> logits (T, B, V).

    It sees each frame and the mean of its clip's valid frames. Like dropout, its features differ between
    training and evaluation; unlike dropout, they are not random.
    """

    upsample = 1

    def __init__(self, pixels: int, hidden_size: int, classes: int, scale: float, seed: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.front, self.head = nn.Linear(pixels, hidden_size), nn.Linear(hidden_size, classes)
        for p in self.parameters():
            p.data = scale * torch.randn(p.shape, generator=generator, dtype=torch.float64)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        frames = x.permute(2, 0, 1, 3, 4).flatten(2)  # (T, B, C*H*W)
        lengths = torch.full((x.shape[0],), len(frames)) if lengths is None else lengths
        valid = torch.arange(len(frames))[:, None] < lengths  # (T, B)
        mean = (frames * valid[..., None]).sum(0) / lengths[:, None]  # (B, C*H*W)
        features = torch.tanh(self.front(frames + mean))  # (T, B, D)
        return self.head(features * (1.0 if self.training else 0.5))  # (T, B, V)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        return lengths

    def __repr__(self) -> str:
        return f"FrameModel({self.head.out_features} classes)"


def extra_loss(logits: Tensor) -> Tensor:
    """What a case adds to the CTC loss: any function of the logits (T, B, V)."""
    return logits.square().mean()


OPTIMIZERS = {
    "SGD": partial(torch.optim.SGD, lr=0.5, momentum=0.5),
    "Adam": partial(torch.optim.Adam, lr=0.05, betas=(0.9, 0.98)),
}


def _train(
    step: Callable,
    model: nn.Module,
    x: Tensor,
    lengths: Tensor,
    targets: Tensor,
    target_lengths: Tensor,
    optimizer: str,
    clip_norm: float,
    steps: int,
    extra: bool,
) -> tuple[Any, Any, Any, Tensor]:
    """What the last of ``steps`` calls of ``step`` gives, and all weights after it, as one vector."""
    model = copy.deepcopy(model).train()
    update = OPTIMIZERS[optimizer](model.parameters())
    batch = SimpleNamespace(x=x, lengths=lengths, targets=targets, target_lengths=target_lengths)
    modes = []
    for _ in range(steps):
        result = step(model, batch, update, clip_norm, extra_loss if extra else None)
        if not isinstance(result, list | tuple) or len(result) != 3:
            found = f"{len(result)} values" if isinstance(result, list | tuple) else type(result).__name__
            raise AssertionError(
                f"train_step gave {found}, expected three values: loss, norm, log_probs. What does its last "
                "line return?"
            )
        modes.append(model.training)
    loss = result[0].item() if isinstance(result[0], Tensor) and result[0].numel() == 1 else result[0]
    if x.dtype == torch.float64 and isinstance(loss, float) and loss % 1 and float(np.float32(loss)) == loss:
        raise AssertionError(
            "train_step: wrong dtype. The clips are float64, the loss is a float32 number: is there a "
            ".float(), or a new tensor without their dtype?"
        )
    if not all(modes):
        raise AssertionError(
            "train_step left the model in eval mode, in which dropout is off. A training step needs neither "
            "eval() nor train()."
        )
    return *result, torch.cat([p.detach().flatten() for p in model.parameters()])


def _step(
    model: nn.Module,
    batch: SimpleNamespace,
    optimizer: torch.optim.Optimizer,
    clip_norm: float,
    extra: Callable | None = None,
    slip: str = "",
) -> tuple[float, float, Tensor]:
    """The right step in torch's words, or one with a known slip."""
    if slip != "accumulated":
        optimizer.zero_grad()
    if slip == "eval mode":
        model.eval()
    logits = model(batch.x) if slip == "no lengths" else model(batch.x, batch.lengths)  # (T, B, V)
    model.train()
    log_probs = logits.log_softmax({"wrong axis": 1}.get(slip, -1))
    scores = {"logits": logits, "probabilities": log_probs.exp(), "swapped": log_probs.transpose(0, 1)}
    lengths = torch.full_like(batch.lengths, len(logits)) if slip == "all frames" else batch.lengths
    each = F.ctc_loss(
        scores.get(slip, log_probs), batch.targets, lengths, batch.target_lengths, reduction="none"
    )  # (B,)
    if slip == "sum":
        loss = each.sum()
    elif slip == "per clip":
        loss = each.mean()
    elif slip == "all characters":
        loss = each.sum() / batch.target_lengths.sum()
    else:
        loss = (each / batch.target_lengths).mean()
    total = loss + extra(logits) if extra and slip != "no extra" else loss
    total.backward()
    gradients = [p.grad for p in model.parameters()]
    if slip == "norm of norms":
        norm = sum(g.norm() for g in gradients)
    else:
        norm = _norm(gradients)
    if slip == "each tensor":
        for g in gradients:
            g.mul_((clip_norm / g.norm()).clamp(max=1))
    elif slip == "each value":
        nn.utils.clip_grad_value_(model.parameters(), clip_norm)
    elif slip == "always scaled":
        for g in gradients:
            g.mul_(clip_norm / norm)
    elif slip != "not clipped":
        for g in gradients:
            g.mul_((clip_norm / norm).clamp(max=1))
    if slip != "no update":
        optimizer.step()
    if slip == "two updates":
        optimizer.step()
    if slip == "norm after clipping":
        norm = _norm(gradients)
    return (total if slip == "total" else loss).item(), norm.item(), log_probs.detach()


def _norm(gradients: list[Tensor]) -> Tensor:
    return torch.stack([g.norm() for g in gradients]).norm()


SLIPS = {
    "accumulated": "Gradients of earlier steps are still in it: backward() adds to .grad.",
    "eval mode": "The model ran in eval mode; training must see the model as training has it.",
    "no lengths": "The model needs batch.lengths, too: without them it takes padding for frames.",
    "wrong axis": "Over which axis of (T, B, V) must probabilities sum to 1?",
    "logits": "CTC got the logits themselves: what must they become first?",
    "probabilities": "CTC got probabilities: it works with their logarithms.",
    "swapped": "Time and batch changed places: the model's logits are (T, B, V) already.",
    "all frames": "CTC was told that every clip is T frames long; each has a length of its own.",
    "sum": "Divide each clip's loss by its number of characters, then take the mean over the clips.",
    "per clip": "Divide each clip's loss by its number of characters, then take the mean over the clips.",
    "all characters": "All losses over all characters: instead, divide each clip's by its own, then average.",
    "no extra": "extra_loss is not part of what you differentiate.",
    "total": "The loss that you return should be CTC's alone, without extra_loss.",
    "norm of norms": "The norm of the whole gradient is not the sum of its tensors' norms.",
    "each tensor": "Each tensor was clipped alone: the whole gradient has one norm and one factor.",
    "each value": "Each value was clipped alone, which changes the gradient's direction.",
    "always scaled": "A gradient that is short enough must stay as it is.",
    "not clipped": "The gradient reached the optimizer unclipped: it reads p.grad, when step() is called.",
    "norm after clipping": "Return the norm as it was before clipping.",
    "no update": "The weights did not move: was the optimizer's step() called?",
    "two updates": "The weights moved twice.",
}


def _known_slip(found: Any, expected: Any, case: Case) -> str | None:
    """The sentence for a slip that gives exactly what was found."""
    arguments = converted(case.arguments, torch.float64)
    for slip, sentence in SLIPS.items():
        try:
            result = _train(partial(_step, slip=slip), *arguments)
        except RuntimeError:  # such as swapped axes that do not fit
            continue
        if all(map(_near, found, result)):
            return sentence
    loss, norm, log_probs, weights = map(_near, found, expected)
    clip_norm, _, extra = case.arguments[-3:]
    if weights and not (loss and log_probs):
        return "The weights afterwards are right: what do you return, and is it from before the update?"
    if loss and log_probs and not norm:
        return EXTRA_IN_GRADIENT if extra else ROOT_OF_SQUARES
    if loss and log_probs and norm and not weights and expected[1] < clip_norm:
        return (
            "The gradient needed no clipping: is the update optimizer.step()'s, with nothing before or after?"
        )
    return None


ROOT_OF_SQUARES = "The norm is the root of the sum of the squares of all gradient values, before clipping."
EXTRA_IN_GRADIENT = (
    "The gradient is that of CTC's loss + extra_loss(logits); add them, go backward, then clip."
)


def _near(found: Any, expected: Any) -> bool:
    try:
        found, expected = (torch.as_tensor(x).detach().double() for x in (found, expected))
    except (TypeError, ValueError, RuntimeError):
        return False
    if found.shape != expected.shape or not expected.isfinite().all():
        return False
    return torch.allclose(found, expected, rtol=1e-4, atol=1e-5)


def _step_cases() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)
    loss = "It is CTC's, per character: from which log-probabilities, and with which lengths?"
    clip = "Is it the norm of all gradients together, and are all scaled by one factor before the update?"
    cases = [  # (C, T, H, W), V, hidden, scale, lengths, sentences, optimizer, clip, steps, extra, hint
        ((1, 6, 2, 3), 5, 3, 0.5, [6], [[1, 2]], "SGD", 100.0, 1, False, loss),
        ((1, 7, 3, 2), 6, 4, 0.5, [7, 5], [[1, 2, 2], [4]], "SGD", 50.0, 1, False, loss),
        ((2, 3, 1, 4), 4, 2, 0.7, [3, 3, 3], [[1], [2, 3], [3]], "SGD", math.inf, 1, False, loss),
        ((1, 8, 2, 2), 7, 1, 1.0, [8, 4, 6], [[1, 3, 5], [2], [6, 6]], "SGD", 0.1, 1, False, clip),
        ((3, 5, 2, 1), 5, 5, 0.5, [5, 4], [[4, 1], [3]], "Adam", 0.2, 3, False, "Three steps in a row."),
        ((1, 9, 3, 3), 28, 3, 0.5, [9, 7], [[1, 27, 5], [8, 9]], "SGD", 0.3, 3, False, "Three steps."),
        ((1, 6, 2, 3), 6, 3, 0.8, [6, 5], [[5, 1], [2]], "SGD", 0.5, 1, True, "With an extra_loss."),
        ((2, 7, 1, 3), 9, 4, 0.8, [5, 7, 6], [[8], [2, 3], [1, 1]], "Adam", 5.0, 3, True, "extra_loss."),
        ((1, 8, 2, 5), 12, 6, 9.0, [8, 8], [[3, 2, 1], [7]], "SGD", 1e-3, 1, False, clip),
    ]
    for i, (size, classes, hidden, scale, lengths, sentences, *rest, hint) in enumerate(cases):
        x = torch.randn((len(lengths), *size), generator=generator, dtype=torch.float64)
        model = FrameModel(size[0] * size[2] * size[3], hidden, classes, scale, seed=i)
        targets = torch.tensor([c for sentence in sentences for c in sentence])
        sizes = torch.tensor([len(sentence) for sentence in sentences])
        yield Case((model, x, torch.tensor(lengths), targets, sizes, *rest), hint)


class StepExercise(Exercise):
    """An exercise whose function changes a model: it runs inside a short training, on a copy."""

    def __call__(self, function: Callable) -> None:
        def train_step(*arguments: Any) -> tuple[Any, ...]:
            return _train(function, *arguments)

        super().__call__(train_step)


def _reference_steps(model, x, lengths, targets, target_lengths, optimizer, clip_norm, steps, extra_loss):
    return _train(_step, model, x, lengths, targets, target_lengths, optimizer, clip_norm, steps, extra_loss)


train_step = StepExercise(
    _reference_steps,
    _step_cases,
    gradients=False,  # the gradient is in the weights
    tolerance=1e-5,  # torch's clip_grad_norm_ adds 1e-6 to the norm
    float32=1e-3,
    diagnose=_known_slip,
    parts=("loss", "norm", "log_probs", "the vector of weights afterwards"),
)


# ---- mended_loss -------------------------------------------------------------------------------------------


def _mended_loss(logits: Tensor, frames: Tensor, labels: Tensor, slip: str = "") -> Tensor:
    """The right loss, one clip at a time, so that nothing can be mixed up; or one with a known slip."""
    losses = []
    for b in range(len(logits)):
        t = logits.shape[1] if slip == "all frames" else int(frames[b])
        label = labels[b] if slip == "padding" else labels[b][labels[b] != 0]
        if slip == "first length":
            label = labels[b][: int((labels[0] != 0).sum())]
        if slip == "distinct":
            label = labels[b][: len(label.unique())]
        if slip == "first zero":
            label = labels[b][: int(labels[b].argmin())]
        scores = logits[:t, b] if slip == "swapped" else logits[b, :t]  # (T, V)
        scores = scores if slip == "logits" else scores.log_softmax(-1)
        loss = F.ctc_loss(scores[:, None], label[None], [len(scores)], [len(label)], reduction="sum")
        if slip == "zero_infinity":
            loss = loss.nan_to_num(posinf=0.0)
        losses.append(loss if slip in ("sum", "per clip") else loss / max(1, len(label)))
    return torch.stack(losses).sum() if slip in ("sum", "sum of means") else torch.stack(losses).mean()


LOSS_SLIPS = {
    "padding": "The zeros are padding: how long is each label without them?",
    "first length": "Each label has a length of its own.",
    "distinct": "A character that is repeated counts each time.",
    "first zero": "A label without padding contains no 0: how long is it then?",
    "zero_infinity": "One label needs more frames than its clip has. By default its loss is inf, not 0.",
    "swapped": "Frame t of all clips was taken for clip t: which axis is time?",
    "logits": "CTC got the logits themselves: what must they become first?",
    "all frames": "A clip ends after its own number of frames, not after T.",
    "sum": "Divide each clip's loss by its number of characters, then take the mean over the clips.",
    "per clip": "Divide each clip's loss by its number of characters, then take the mean over the clips.",
    "sum of means": "Take the mean over the clips, not the sum.",
}


def _known_loss(found: Any, expected: Any, case: Case) -> str | None:
    for slip, sentence in LOSS_SLIPS.items():
        try:
            result = _mended_loss(*converted(case.arguments, torch.float64), slip=slip)
        except (RuntimeError, IndexError):
            continue
        if _near(found, result):
            return sentence
    return None


def _loss_cases() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)
    ragged = "Frames, characters: each clip has its own."
    cases = [  # V, scale, frames, labels, T, what a failure here points at
        (6, 2, [9], [[3, 1, 4]], 9, "Which order of axes does F.ctc_loss want, and logits or what?"),
        (7, 2, [7, 7], [[3, 1, 4], [2, 5, 1]], 7, "Clips and frames must change places, not be mixed."),
        (6, 2, [4] * 4, [[3, 1], [2, 5], [1, 4], [5, 5]], 4, "B = T here: which axis is time?"),
        (9, 2, [9], [[3, 8, 4, 0, 0]], 9, "How long is the label?"),
        (6, 2, [5, 5], [[2, 2, 0], [1, 3, 4]], 5, ragged),
        (6, 2, [9, 9], [[3, 1, 4, 2], [2, 0, 0, 0]], 9, ragged),
        (6, 2, [9, 5], [[3, 1], [2, 4]], 9, ragged),
        (28, 2, [11, 6, 8], [[3, 1, 3, 3], [2, 0, 0, 0], [27, 1, 0, 0]], 11, ragged),
        (5, 200, [8, 6], [[1, 2, 3], [4, 0, 0]], 8, "Logits of hundreds: log(softmax) loses what is small."),
        (6, 2, [3, 5], [[2, 2, 1], [3, 1, 0]], 5, "One label needs more frames than its clip has."),
    ]
    for classes, scale, frames, labels, n_frames, hint in cases:
        logits = scale * torch.randn(len(frames), n_frames, classes, generator=generator, dtype=torch.float64)
        yield Case((logits, torch.tensor(frames), torch.tensor(labels)), hint)


mended_loss = Exercise(
    lambda logits, frames, labels: _mended_loss(logits, frames, labels), _loss_cases, diagnose=_known_loss
)


# ---- align_words -------------------------------------------------------------------------------------------


def align_words(function: Callable) -> None:
    """function(reference, hypothesis) -> pairs (word or None, word or None) with the fewest differences."""
    cases = [
        ("set red", "set red", "Equal words are paired and cost nothing."),
        ("set red", "lay blue", "A substituted word is one pair (reference, hypothesis)."),
        ("bin blue at", "bin at", "A deleted word is paired with None: (reference, None)."),
        ("bin at", "bin blue at", "An inserted word is paired with None: (None, hypothesis)."),
        ("red", "", "The hypothesis is empty: every reference word is deleted."),
        ("", "red", "Words inserted before the first reference word count, too."),
        ("", "", "Two empty sentences have no pairs."),
        (
            "place blue at b two now",
            "lace at b two two now",
            "The fewest edits are not found greedily from the left.",
        ),
    ]
    rng = random.Random(0)
    for _ in range(60):
        said, read = (" ".join(rng.choices("abc", k=rng.randint(0, 6))) for _ in range(2))
        cases.append((said, read, "Fill the table of edit distances, then walk back from its last corner."))
    for said, read, hint in cases:
        pairs = call(function, said, read)
        name = f"align_words({said!r}, {read!r})"
        if not isinstance(pairs, list | tuple) or not all(
            isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
        ):
            raise AssertionError(f"{name} gave {pairs!r}, expected a list of pairs (reference, hypothesis)")
        if any(a is None and b is None for a, b in pairs):
            raise AssertionError(f"{name} gave {pairs!r}: a pair of None and None aligns nothing")
        for side, text, what in ((0, said, "reference"), (1, read, "hypothesis")):
            words = [pair[side] for pair in pairs if pair[side] is not None]
            if words != text.split():
                raise AssertionError(
                    f"{name} gave {pairs!r}: its {what} words are {words}, expected {text.split()}. {hint}"
                )
        cost, least = sum(a != b for a, b in pairs), edit_distance(said.split(), read.split())
        if cost != least:
            raise AssertionError(f"{name} gave {pairs!r}: {cost} differences, {least} are enough. {hint}")


CHECKS: dict[str, Callable[[Callable], None]] = {
    "train_step": train_step,
    "mended_loss": mended_loss,
    "align_words": by_properties(align_words),
}
