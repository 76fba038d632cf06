"""The profiler's table in a handful of kinds: nothing is lost, and each operation is with its layer."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn

from lessons.measure.profiler import KINDS, where_time_goes


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.pool = nn.Conv3d(1, 4, 3, padding=1), nn.MaxPool3d((1, 2, 2))
        self.gru = nn.GRU(4 * 16, 8)

    def forward(self, x):
        x = self.pool(torch.relu(self.conv(x)))  # (B, 4, T, 4, 4)
        return self.gru(x.permute(2, 0, 1, 3, 4).flatten(2))[0]  # (T, B, 8)


def step(model, optimizer):
    x = torch.randn(2, 1, 6, 8, 8)

    def work():
        optimizer.zero_grad()
        model(x).sum().backward()
        optimizer.step()

    return work


def test_every_kind_is_seen_and_the_gru_has_the_most_calls():
    model = Small()
    work = step(model, torch.optim.Adam(model.parameters()))
    work()
    shares = where_time_goes(work, model)
    assert tuple(shares) == KINDS
    assert all(share.ms > 0 and share.calls > 0 for share in shares.values())
    assert shares["GRU"].calls > shares["convolution"].calls


def test_backward_is_counted_with_its_layer():
    model = Small()
    x = torch.randn(2, 1, 6, 8, 8)

    def both():
        model(x).sum().backward()

    both()
    forward = where_time_goes(lambda: model(x), model)
    whole = where_time_goes(both, model)
    for kind in ("convolution", "pool, ReLU, dropout", "GRU"):
        assert whole[kind].calls > forward[kind].calls, kind
    assert whole["optimizer"].calls == 0


def test_a_fused_optimizer_makes_fewer_calls():
    calls = []
    for fused in (False, True):
        model = Small()
        work = step(model, torch.optim.Adam(model.parameters(), fused=fused))
        work()
        calls.append(where_time_goes(work, model)["optimizer"].calls)
    assert calls[1] < calls[0] / 2


def test_no_hook_stays_behind():
    model = Small()
    where_time_goes(lambda: model(torch.randn(1, 1, 2, 8, 8)), model)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_nothing_is_written_to_standard_error():
    code = (
        "import torch; from lessons.measure.profiler import watch\n"
        "for i in range(3):\n    with watch() as record: torch.randn(3)\n"
        "assert len(record.events())\nimport sys; print('still there', file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, encoding="utf-8"
    )
    assert done.stderr == "still there\n"
