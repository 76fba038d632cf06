"""The plain port learns what ours learns: same logits, same loss curve."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from lessons.lipreading.lipnet import LipNet
from lessons.lipreading.plain_lipnet import PlainLipNet, plain_step
from lessons.training.precision import logits_of


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


def test_same_loss_curve(models):
    """In float32 the two differ by the order of sums; bfloat16 keeps three digits."""
    x, targets, lengths = clips(frames=4)
    plain = copy.deepcopy(models[1])
    optimizer = torch.optim.Adam(plain.parameters(), 1e-4)
    expected = [plain_step(plain, optimizer, x, targets, lengths) for _ in range(4)]
    assert expected[-1] < 0.7 * expected[0]  # it learns
    for precision, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.02)):
        ours = copy.deepcopy(models[0]).to(memory_format=torch.channels_last_3d)
        optimizer, found = torch.optim.Adam(ours.parameters(), 1e-4), []
        for _ in range(4 if precision == torch.float32 else 2):  # emulated bfloat16 takes seconds
            optimizer.zero_grad()
            log_probs = logits_of(ours, x, torch.tensor([4]), precision).float().log_softmax(-1)  # (T, B, V)
            loss = F.ctc_loss(log_probs, targets, torch.tensor([4]), lengths)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        assert found == pytest.approx(expected[: len(found)], abs=tolerance)
