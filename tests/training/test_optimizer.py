"""The optimizer: what decays, and the running mean of the weights beside torch's."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from lessons.training.optimizer import make_optimizer, set_learning_rate, update_average
from lessons.training.settings import Settings


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 2, 3), nn.BatchNorm3d(2), nn.Flatten(), nn.Linear(2, 3))


def test_only_matrices_and_filters_decay():
    net = model()
    matrices, vectors = make_optimizer(net, Settings(weight_decay=0.3)).param_groups
    assert matrices["weight_decay"] == 0.3 and {p.dim() for p in matrices["params"]} == {2, 5}
    assert vectors["weight_decay"] == 0 and {p.dim() for p in vectors["params"]} == {1}
    assert len(matrices["params"]) + len(vectors["params"]) == len(list(net.parameters()))


def test_the_rate_holds_for_all_groups():
    optimizer = make_optimizer(model(), Settings())
    set_learning_rate(optimizer, 0.125)
    assert [group["lr"] for group in optimizer.param_groups] == [0.125, 0.125]


def test_the_running_mean_is_torchs():
    net = model()
    ours = copy.deepcopy(net)
    torchs = AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    torchs.update_parameters(net)  # its first update copies
    for step in range(5):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter))
        net(torch.randn(4, 1, 3, 3, 3))  # moves the statistics of the norm
        update_average(ours, net, 0.9)
        torchs.update_parameters(net)
        for (name, mean), expected in zip(ours.named_parameters(), torchs.parameters(), strict=True):
            torch.testing.assert_close(mean, expected, rtol=1e-6, atol=1e-7, msg=f"{name}, step {step}")
        for mean, new in zip(ours.buffers(), net.buffers(), strict=True):
            assert torch.equal(mean, new)
