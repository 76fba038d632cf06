"""The Triton kernels against float64 and against torch, on a GPU; on a CPU by Triton's interpreter.

Without a GPU: ``pip install triton``, and TRITON_INTERPRET=1 when pytest starts.
"""

from __future__ import annotations

import os

import pytest
import torch
import torch.nn.functional as F

from lessons import ctc

pytest.importorskip("triton", reason="Triton is not installed")
if not torch.cuda.is_available() and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("torch finds no CUDA device, and TRITON_INTERPRET is not 1", allow_module_level=True)

from lessons import ctc_triton  # after the skips: its kernels are made when it is imported

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


def draw(frames: int, batch: int, classes: int, labels: int, scale: float, seed: int = 0):
    """Logits (T, B, V), targets (B, L) and both lengths, ragged, some targets too long for their frames."""
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(frames, batch, classes, generator=generator)
    targets = torch.randint(1, classes, (batch, labels), generator=generator)
    lengths = torch.randint(frames // 2, frames + 1, (batch,), generator=generator)
    target_lengths = torch.randint(0, labels + 1, (batch,), generator=generator)
    return logits.to(DEVICE), targets.to(DEVICE), lengths, target_lengths


def loss_and_gradient(function, logits: torch.Tensor, *others, **options):
    leaf = logits.clone().requires_grad_()
    losses = function(leaf.log_softmax(-1), *others, **options)
    losses.nan_to_num(posinf=0).sum().backward()
    return losses.detach().double(), leaf.grad.double()


@pytest.mark.parametrize("scale", [1, 10, 100])
@pytest.mark.parametrize("shape", [(12, 3, 5, 4), (9, 2, 28, 6), (6, 2, 3, 0), (5, 3, 40, 4)])
def test_it_is_the_loss_in_float64(shape, scale):
    logits, *others = draw(*shape, scale)
    # The loss's input is the same float32 log_softmax; after it, only the gradient's rounding is left.
    found, gradient = loss_and_gradient(ctc_triton.ctc_loss, logits, *others, reduction="none")
    expected, expected_gradient = loss_and_gradient(ctc.ctc_loss, logits, *others, reduction="none")
    assert torch.equal(found.isinf(), expected.isinf())
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5)
    assert (gradient - expected_gradient).abs().max() <= 1e-5
    exact = loss_and_gradient(ctc.ctc_loss, logits.double(), *others, reduction="none")[1]
    assert (gradient - exact).abs().max() <= 1e-5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
@pytest.mark.parametrize("batch", [1, 32, 64])
def test_lipnets_size(batch):
    logits, targets, lengths, target_lengths = draw(75, batch, 28, 31, 1.0)
    lengths, target_lengths = torch.full_like(lengths, 75), target_lengths.clamp(min=20)
    found, gradient = loss_and_gradient(ctc_triton.ctc_loss, logits, targets, lengths, target_lengths)
    exact, exact_gradient = loss_and_gradient(F.ctc_loss, logits.double(), targets, lengths, target_lengths)
    torch.testing.assert_close(found, exact, rtol=1e-6, atol=1e-6)
    assert (gradient - exact_gradient).abs().max() <= 1e-5


def test_reductions_and_layouts_are_those_of_the_finished_loss():
    logits, targets, lengths, target_lengths = draw(9, 3, 5, 3, 1.0, seed=1)
    flat = torch.cat([row[:n] for row, n in zip(targets, target_lengths, strict=True)])
    for options in ({}, {"reduction": "sum", "zero_infinity": True}):
        for labels in (targets, flat):
            one, other = (
                f(logits.log_softmax(-1), labels, lengths, target_lengths, **options)
                for f in (ctc_triton.ctc_loss, ctc.ctc_loss)
            )
            torch.testing.assert_close(one, other)


def test_no_frames():
    logits, targets, _, _ = draw(4, 2, 3, 2, 1.0)
    found = ctc_triton.ctc_loss(
        logits.log_softmax(-1), targets, torch.tensor([0, 0]), torch.tensor([0, 1]), reduction="none"
    )
    assert found.tolist() == [0.0, float("inf")]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_probs": torch.randn(4, 2, 3)}, "probabilities that sum to"),
        ({"log_probs": torch.full((4, 2, 3), float("nan"))}, "NaN"),
        ({"log_probs": torch.zeros(4, 2)}, "3 dimensions"),
        ({"targets": torch.tensor([[1, 2], [7, 1]])}, "label 7 of sample 1, position 0 is outside"),
        ({"targets": torch.tensor([[1, 2], [0, 1]])}, "is the blank"),
        ({"input_lengths": torch.tensor([4, 5])}, "input_lengths of sample 1 is 5"),
        ({"target_lengths": torch.tensor([-1, 2])}, "target_lengths of sample 0 is -1"),
        ({"input_lengths": torch.tensor([4])}, "expected 2 integers"),
        ({"reduction": "median"}, "reduction"),
    ],
)
def test_errors_are_those_of_the_finished_loss(change, message):
    good = {
        "log_probs": torch.randn(4, 2, 3).log_softmax(-1),
        "targets": torch.tensor([[1, 2], [2, 1]]),
        "input_lengths": torch.tensor([4, 4]),
        "target_lengths": torch.tensor([2, 2]),
    }
    arguments = {k: v.to(DEVICE) if isinstance(v, torch.Tensor) else v for k, v in {**good, **change}.items()}
    with pytest.raises(ValueError, match=message):
        ctc_triton.ctc_loss(**arguments)
