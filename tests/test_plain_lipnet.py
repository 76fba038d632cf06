"""The plain port learns what ours learns: same logits, same loss curve."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lessons.lipnet import LipNet
from lessons.plain_lipnet import PlainLipNet, plain_step
from lessons.training import logits_of


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    ours = LipNet(dropout=0.0)
    return ours, PlainLipNet(dropout=0.0).load(ours)


def clips(frames: int, count: int = 1):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(count, 3, frames, 64, 128, generator=generator)  # (B, C, T, H, W)
    return x, torch.randint(1, 28, (count, 3), generator=generator), torch.full((count,), 3)


def test_same_logits(models):
    ours, plain = models
    x, _, _ = clips(frames=6, count=2)
    assert torch.allclose(plain(x), ours(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_same_loss_curve(precision, tolerance):
    """In float32 the two differ by the order of sums; bfloat16 keeps three digits."""
    torch.manual_seed(0)
    ours = LipNet(dropout=0.0).to(memory_format=torch.channels_last_3d)
    plain = PlainLipNet(dropout=0.0).load(ours)
    optimisers = [torch.optim.Adam(model.parameters(), 1e-4) for model in (ours, plain)]
    x, targets, lengths = clips(frames=6)
    curves = [[], []]
    for _ in range(4):
        optimisers[0].zero_grad()
        frames = torch.full((1,), 6)
        log_probs = logits_of(ours, x, frames, precision).float().log_softmax(-1)
        loss = F.ctc_loss(log_probs, targets, frames, lengths)
        loss.backward()
        optimisers[0].step()
        curves[0].append(loss.item())
        curves[1].append(plain_step(plain, optimisers[1], x, targets, lengths))
    assert curves[1][-1] < 0.7 * curves[1][0]  # it learns
    assert curves[0] == pytest.approx(curves[1], abs=tolerance)
