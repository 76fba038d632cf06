"""The rescaled recursion equals the one in logarithms wherever it calls itself sure, and is seldom unsure."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lessons.ctc import loss as ctc
from lessons.ctc import loss_fast as ctc_rescaled
from lessons.ctc.loss_fast import rescaled_forward_backward
from lessons.data.batch import training_batch
from lessons.data.synthetic.talker import synthetic_clips
from lessons.training import checkpoint


def draw(frames, batch, classes, longest, scale, seed):
    """log_probs (T, B, V) float64 of random logits, and random targets, lengths of both."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(frames, batch, classes, generator=generator, dtype=torch.float64)
    targets = torch.randint(1, classes, (batch, longest), generator=generator)
    input_lengths = torch.randint(0, frames + 1, (batch,), generator=generator)
    target_lengths = torch.randint(0, longest + 1, (batch,), generator=generator)
    targets = targets[:, : int(target_lengths.max())]
    return logits.log_softmax(-1), targets, input_lengths, target_lengths


def errors(sample):
    """Largest differences of loss and occupancy to the logarithms, where sure; and sure (B,)."""
    losses, occupancy, sure = rescaled_forward_backward(*sample, blank=0)
    right_losses, right_occupancy = ctc.log_forward_backward(*sample, 0)
    loss_error = (losses - right_losses)[sure].abs() / right_losses[sure].abs().clamp(min=1)
    return loss_error, (occupancy - right_occupancy)[:, sure].abs(), sure


@settings(max_examples=60, deadline=None)
@given(
    frames=st.integers(1, 12),
    batch=st.integers(1, 5),
    classes=st.integers(2, 5),
    longest=st.integers(0, 6),
    scale=st.sampled_from([0.0, 1.0, 10.0, 100.0, 1000.0]),
    seed=st.integers(0, 10_000),
)
def test_what_is_sure_is_right_at_any_scale(frames, batch, classes, longest, scale, seed):
    loss_error, occupancy_error, _ = errors(draw(frames, batch, classes, longest, scale, seed))
    assert (loss_error < 1e-12).all() and (occupancy_error < 1e-11).all()


def feasible(scale: float, seed: int):
    """64 samples of LipNet's size; every target can be spelled."""
    log_probs, targets, _, _ = draw(75, 64, 28, 31, scale, seed)
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randint(1, 28, (64, 31), generator=generator)
    lengths = (
        torch.randint(64, 76, (64,), generator=generator),
        torch.randint(20, 32, (64,), generator=generator),
    )
    return log_probs, targets, *lengths


@pytest.mark.parametrize("scale", [1.0, 5.0])
def test_at_the_scale_of_logits_it_is_always_sure(scale):
    loss_error, occupancy_error, sure = errors(feasible(scale, seed=0))
    assert sure.all() and (loss_error < 1e-13).all() and (occupancy_error < 1e-11).all()


def test_on_a_trained_model_it_is_always_sure():
    clips = synthetic_clips(12, seed=5)
    batch = training_batch(clips, range(12), None)
    with torch.no_grad():
        log_probs = checkpoint.load("lipnet_small_synthetic")(batch.x, batch.lengths).log_softmax(-1)
    targets = torch.nn.utils.rnn.pad_sequence(
        list(batch.targets.split(batch.target_lengths.tolist())), batch_first=True
    )
    sample = (log_probs.double(), targets, batch.lengths, batch.target_lengths)
    loss_error, occupancy_error, sure = errors(sample)
    assert sure.all() and (loss_error < 1e-13).all() and (occupancy_error < 1e-11).all()


def test_the_bound_is_needed(monkeypatch):
    """Without it, results would be trusted that are wrong."""
    sample = draw(frames=20, batch=3000, classes=4, longest=6, scale=200.0, seed=0)
    loss_error, occupancy_error, sure = errors(sample)
    assert sure.sum() > 500 and (loss_error < 1e-12).all() and (occupancy_error < 1e-11).all()
    monkeypatch.setattr(ctc_rescaled, "LOG_UNDERFLOW", -math.inf)
    loss_error, occupancy_error, trusted = errors(sample)
    wrong = occupancy_error.amax((0, 2)) > 1e-3  # one a trusted sample
    assert trusted.sum() > sure.sum() and wrong.any() and (loss_error > 1e-6).any()  # a rounding is 1e-16


@pytest.mark.parametrize("scale", [1.0, 10.0, 50.0, 500.0])
def test_the_loss_is_right_at_any_scale(scale):
    log_probs, targets, input_lengths, target_lengths = feasible(scale, seed=2)
    log_probs.requires_grad_()
    losses = ctc.ctc_loss(log_probs, targets, input_lengths, target_lengths, reduction="none")
    (gradient,) = torch.autograd.grad(losses.sum(), log_probs)
    right_losses, right_occupancy = ctc.log_forward_backward(
        log_probs.detach(), targets, input_lengths, target_lengths, 0
    )
    assert torch.allclose(losses, right_losses, rtol=1e-12, atol=0)
    assert gradient.isfinite().all() and torch.allclose(gradient, -right_occupancy, rtol=0, atol=1e-10)


def test_float32_logits_keep_their_gradient_to_a_millionth():
    log_probs, targets, input_lengths, target_lengths = feasible(1.0, seed=3)
    logits = log_probs.float()
    gradients = []
    for x in (logits.requires_grad_(), logits.detach().double().requires_grad_()):
        loss = ctc.ctc_loss(x.log_softmax(-1), targets, input_lengths, target_lengths, reduction="sum")
        gradients.append(torch.autograd.grad(loss, x)[0])
    assert (gradients[0] - gradients[1]).abs().max() <= 1e-6


def test_an_impossible_target_is_left_to_the_logarithms():
    log_probs, *_ = draw(3, 1, 4, 1, 1.0, 0)
    for target, length in ([[1, 1, 2]], 3), ([[1, 2, 3]], 3), ([[1, 1]], 2):
        sure = rescaled_forward_backward(
            log_probs, torch.tensor(target), torch.tensor([3]), torch.tensor([length]), 0
        )[2]
        assert bool(sure) == (target != [[1, 1, 2]])
