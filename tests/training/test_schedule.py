"""What changes with the step: the learning rate, the weight of the word timings."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from lessons.training.schedule import cosine, learning_rate, timing_weight
from lessons.training.settings import Settings


def test_learning_rate_rises_then_falls():
    settings = Settings(learning_rate=1.0, warmup_steps=10)
    rates = [learning_rate(step, 100, settings) for step in range(100)]
    assert rates[0] == pytest.approx(0.1, rel=0.01)
    assert max(rates) == rates[9] and rates[9] > 0.97
    assert all(a > b for a, b in pairwise(rates[9:]))
    assert rates[-1] == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("floor", [0.0, 0.3])
def test_without_warm_up_it_is_torchs_cosine(floor):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=40, eta_min=0.5 * floor)
    for step in range(41):
        expected = optimizer.param_groups[0]["lr"]
        assert cosine(step, 40, 0.5, warmup_steps=1, floor=floor) == pytest.approx(expected, abs=1e-12)
        optimizer.step()
        torchs.step()


def test_the_warm_up_is_a_line_times_the_cosine():
    for step in range(20):
        share = min(1, (step + 1) / 8)
        assert cosine(step, 20, 3.0, 8) == pytest.approx(share * cosine(step, 20, 3.0, 1))


def test_word_timings_fade_out_by_the_middle_of_the_run():
    weights = [timing_weight(step, 8, Settings()) for step in range(8)]
    assert weights == [1, 0.75, 0.5, 0.25, 0, 0, 0, 0]
    assert {timing_weight(step, 8, Settings(start="plain")) for step in range(8)} == {0}
