"""LipNet as it is commonly ported, in float32 and torch's default layout: a baseline for fast training.

The same network as :class:`lessons.lipreading.lipnet.LipNet`, with its layers in the paper's order. Only
``lessons.measure.bench`` and notebook 16 use it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lessons.lipreading.lipnet import LipNet


class PlainLipNet(nn.Module):
    """Three times convolution, ReLU, channel dropout, pool; two bidirectional GRUs; one linear layer."""

    def __init__(self, dropout: float = 0.5) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 32, (3, 5, 5), (1, 2, 2), (1, 2, 2))
        self.conv2 = nn.Conv3d(32, 64, (3, 5, 5), 1, (1, 2, 2))
        self.conv3 = nn.Conv3d(64, 96, (3, 3, 3), 1, (1, 1, 1))
        self.pool = nn.MaxPool3d((1, 2, 2))
        self.channel_dropout = nn.Dropout3d(dropout)
        self.dropout = nn.Dropout(dropout)
        self.gru1 = nn.GRU(96 * 4 * 8, 256, bidirectional=True)
        self.gru2 = nn.GRU(512, 256, bidirectional=True)
        self.head = nn.Linear(512, 28)

    def forward(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, 64, 128) -> logits (T, B, V)."""
        for conv in (self.conv1, self.conv2, self.conv3):
            x = self.pool(self.channel_dropout(F.relu(conv(x))))  # (B, C, T, H, W)
        x = x.permute(2, 0, 1, 3, 4).flatten(2)  # (T, B, 3072)
        x = self.dropout(self.gru1(x)[0])  # (T, B, 512)
        x = self.dropout(self.gru2(x)[0])  # (T, B, 512)
        return self.head(x)  # (T, B, V)

    def load(self, model: LipNet) -> PlainLipNet:
        """Copy the weights of ``model``, a LipNet with its default arguments; return self."""
        own = {
            name.replace(".conv.", ".").replace("stcnn", "conv"): value
            for name, value in model.state_dict().items()
        }
        self.load_state_dict(own)
        return self


def plain_step(
    model: PlainLipNet, optimizer: torch.optim.Optimizer, x: Tensor, targets: Tensor, target_lengths: Tensor
) -> float:
    """One training step on clips x (B, 3, T, 64, 128); return its loss."""
    optimizer.zero_grad()
    log_probs = model(x).log_softmax(-1)  # (T, B, V)
    lengths = torch.full((len(x),), len(log_probs))  # (B,)
    loss = F.ctc_loss(log_probs, targets, lengths, target_lengths)
    loss.backward()
    optimizer.step()
    return loss.item()
