"""LipNet: three spatiotemporal convolutions, two bidirectional GRUs, one set of logits per frame.

``clip (B,C,T,H,W) -> 3 x STCNN -> (T,B,F) -> 2 x Bi-GRU -> logits (T,B,V)``

The logits go to the CTC loss in training and to a decoder in inference, through ``log_softmax`` both times.

Source: Assael, Shillingford, Whiteson, de Freitas, "LipNet", arXiv 1611.01599.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lessons.layers import gru, stcnn
from lessons.lengths import check_lengths, valid_frames

Layers = Literal["lessons", "torch", "mixed"]
KERNELS = ((3, 5, 5), (3, 5, 5), (3, 3, 3))  # (time, height, width), Table 3 of the paper


class LipNet(nn.Module):
    """A silent clip of a mouth in, the logits of one character per frame out.

    The defaults are the public PyTorch port's model: a color clip of 64 x 128, 6,638,844 weights.

    Args:
        in_channels: 3 for color, 1 for gray.
        frame_size: (H, W) of a frame in pixels.
        channels: filters of the three convolutions.
        hidden_size: D, the size of a GRU's hidden state in one direction.
        num_classes: V, the characters and the blank.
        dropout: the probability of dropping a channel after each convolution, and a feature before each GRU
            and before the head. (The authors' code does not drop features before the first GRU.)
        head: ``"linear"``, one layer from GRU to logits (the paper's figure 1, the port); ``"mlp"``, two
            layers with a ReLU between them (the reading "two-layer feed-forward network").
        upsample: every feature frame is repeated this many times before the GRUs, so T grows by this factor.
            More frames give CTC more room; they hold no new information.
        layers: ``"torch"`` runs on torch's convolution and GRU, ``"lessons"`` on this course's own,
            ``"mixed"`` on torch's convolution and our GRU, which together train fastest on a CPU
            (``python -m lessons bench``). The state_dict and the outputs are the same.

    Raises:
        ValueError: an unknown ``head`` or ``layers``, or frames too small to halve as often as needed.
    """

    def __init__(
        self,
        in_channels: int = 3,
        frame_size: tuple[int, int] = (64, 128),
        channels: tuple[int, int, int] = (32, 64, 96),
        hidden_size: int = 256,
        num_classes: int = 28,
        dropout: float = 0.5,
        head: Literal["linear", "mlp"] = "linear",
        upsample: int = 1,
        layers: Layers = "torch",
    ) -> None:
        super().__init__()
        _check_arguments(head, layers, upsample)
        # What rebuilds this model beside its weights; `layers` is how it computes, not what it is.
        self.config = {
            "in_channels": in_channels,
            "frame_size": list(frame_size),
            "channels": list(channels),
            "hidden_size": hidden_size,
            "num_classes": num_classes,
            "dropout": dropout,
            "head": head,
            "upsample": upsample,
            "compact": False,
        }
        self.in_channels, self.frame_size, self.upsample = in_channels, tuple(frame_size), upsample

        widths, convolution = (in_channels, *channels), "lessons" if layers == "lessons" else "torch"
        self.stcnn1, self.stcnn2, self.stcnn3 = (
            self.block(i, widths[i], widths[i + 1], dropout, convolution) for i in range(3)
        )
        height, width = self._map_size()
        self.projection, features = self.narrow(channels[2] * height * width)
        recurrent = nn.GRU if layers == "torch" else gru.GRU
        self.gru1 = recurrent(features, hidden_size, bidirectional=True)
        self.gru2 = recurrent(2 * hidden_size, hidden_size, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        if head == "linear":
            self.head = nn.Linear(2 * hidden_size, num_classes)
        else:
            self.head = nn.Sequential(
                nn.Linear(2 * hidden_size, hidden_size), nn.ReLU(), nn.Linear(hidden_size, num_classes)
            )
        self.reset_parameters()

    def block(self, i: int, in_channels: int, out_channels: int, dropout: float, layers: str) -> stcnn.STCNN:
        """Convolution block i = 0, 1, 2. Time is never halved: CTC needs the frames."""
        return stcnn.STCNN(
            in_channels,
            out_channels,
            KERNELS[i],
            stride=(1, 2, 2) if i == 0 else 1,
            padding=tuple(k // 2 for k in KERNELS[i]),
            dropout=dropout,
            layers=layers,
        )

    def narrow(self, features: int) -> tuple[nn.Module, int]:
        """Return the layer between the last feature map and the GRUs (here none), and its output size."""
        return nn.Identity(), features

    def reset_parameters(self) -> None:
        """Draw initial weights that keep the scale of signals, in the forward and the backward pass.

        Convolutions: He (2015), since a ReLU sets half of its input to 0. GRU input: Glorot (2010), gate
        by gate, since each gate is a layer of its own, stacked with two others in one matrix. GRU state:
        orthogonal, gate by gate, since it is applied T times (Saxe et al. 2014). Biases: 0.
        """
        for module in self.modules():
            if isinstance(module, (nn.Conv3d, stcnn.Conv3d)):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
            elif isinstance(module, (nn.GRU, gru.GRU)):
                for name, parameter in module.named_parameters():
                    for gate in parameter.chunk(3):  # reset, update, new
                        if name.startswith("weight_ih"):
                            nn.init.xavier_uniform_(gate)
                        elif name.startswith("weight_hh"):
                            nn.init.orthogonal_(gate)
                        else:
                            nn.init.zeros_(gate)

    def output_lengths(self, lengths: Tensor) -> Tensor:
        """Frames of logits for clips of ``lengths`` frames: the same, or ``upsample`` times as many."""
        return lengths * self.upsample

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the logits (T * upsample, B, V) of a batch of clips; ignore those past a clip's end.

        Args:
            x: (B, C, T, H, W), normalized as in ``lessons.data.batch.normalize``.
            lengths: (B,) valid frames per clip when some are shorter than T. The frames past the end then do
                not influence the valid ones: a clip gives the same logits alone and in a batch with longer
                ones. (In training, the statistics of batch normalization do include them.)

        Raises:
            ValueError: a clip of another shape, dtype or device than the model's, lengths that do not fit,
                or, outside training, pixels that are not finite (NaN, infinity).
        """
        return self.classify(self.features(x, lengths), lengths)  # (T * upsample, B, V)

    def features(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the features (T, B, F) of clips (B, C, T, H, W). Arguments as in :meth:`forward`."""
        self._check(x)
        mask = None
        if lengths is not None:
            lengths = check_lengths("lengths", lengths, x.shape[0], 1, x.shape[2])
            if not bool((lengths == x.shape[2]).all()):
                mask = valid_frames(lengths.to(x.device), x.shape[2]).T[:, None, :, None, None]  # (B,1,T,1,1)
        for block in (self.stcnn1, self.stcnn2, self.stcnn3):
            # A convolution pads with zeros before the first frame and after the last. With zeros in the
            # padded frames, the end of a short clip looks the same.
            x = block(x if mask is None else torch.where(mask, x, 0.0))  # (B, C', T, H', W')
        return self.flatten(x)  # (T, B, F)

    def flatten(self, maps: Tensor) -> Tensor:
        """Return one vector per frame: (B, C', T, H', W') -> (T, B, F)."""
        return self.projection(maps.permute(2, 0, 1, 3, 4).flatten(2))

    def classify(self, features: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the logits of features (T, B, F): two bidirectional GRUs, a linear layer."""
        x = features.repeat_interleave(self.upsample, dim=0)  # (T*upsample, B, F)
        if lengths is not None:
            lengths = self.output_lengths(torch.as_tensor(lengths))
            lengths = None if bool((lengths == len(x)).all()) else lengths
        # Rounding errors add up over the steps of a recurrence, so under autocast the GRUs stay in the
        # parameters' type. (The meta device has no autocast.)
        with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
            x = x.to(self.gru1.weight_hh_l0.dtype)
            for recurrent in (self.gru1, self.gru2):
                x = _recur(recurrent, self.dropout(x), lengths)  # (T*upsample, B, 2D)
            return self.head(self.dropout(x))  # (T*upsample, B, V)

    def _check(self, x: Tensor) -> None:
        """Raise ValueError for clips that this model cannot read."""
        height, width = self.frame_size
        expected = f"(B, {self.in_channels}, T, {height}, {width})"
        weight = self.stcnn1.conv.weight
        if x.dim() != 5 or x.shape[1] != self.in_channels or 0 in x.shape:
            raise ValueError(f"x has shape {tuple(x.shape)}, expected {expected}")
        if tuple(x.shape[3:]) != (height, width):
            hint = "; height and width are swapped" if tuple(x.shape[3:]) == (width, height) else ""
            raise ValueError(f"x has shape {tuple(x.shape)}, expected {expected}{hint}")
        if x.device != weight.device:
            raise ValueError(f"x is on {x.device}, the model on {weight.device}: move one with .to(...)")
        if x.dtype != weight.dtype:
            raise ValueError(
                f"x is {x.dtype}, the model {weight.dtype}: bytes become floats in data.batch.normalize"
            )
        # In training `normalize` checks the clips; on a GPU a check here would synchronize at every step.
        # A tensor on the meta device has a shape and no pixels.
        if not (self.training or x.is_meta) and not bool(torch.isfinite(x).all()):
            raise ValueError("x holds NaN or infinite pixels: look at the frames before they are normalized")

    def _map_size(self) -> tuple[int, int]:
        """Return (H', W') of the last block's maps."""
        size = list(self.frame_size)
        for number, block in enumerate((self.stcnn1, self.stcnn2, self.stcnn3), start=1):
            conv, pool = block.conv, 1 if isinstance(block.pool, nn.Identity) else 2
            for axis in (0, 1):
                kernel, stride, padding = (
                    triple[axis + 1] for triple in (conv.kernel_size, conv.stride, conv.padding)
                )
                size[axis] = ((size[axis] + 2 * padding - kernel) // stride + 1) // pool
            if min(size) < 1:
                raise ValueError(
                    f"frame_size={self.frame_size}: nothing is left of a frame after convolution {number}; "
                    "frames of 16 x 16 or more are needed"
                )
        return size[0], size[1]


def fastest_layers(device: torch.device) -> Layers:
    """On a CPU our GRU trains faster than torch's; on a GPU none is as fast as cuDNN's."""
    return "torch" if device.type == "cuda" else "mixed"


def _recur(recurrent: nn.Module, x: Tensor, lengths: Tensor | None) -> Tensor:
    """Run a bidirectional GRU; backwards, each clip starts at its own last frame. (T,B,F) -> (T,B,2D)."""
    if lengths is None:
        return recurrent(x)[0]
    if isinstance(recurrent, gru.GRU):
        return recurrent(x, lengths=lengths)[0]
    packed = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
    return pad_packed_sequence(recurrent(packed)[0], total_length=x.shape[0])[0]


def _check_arguments(head: str, layers: str, upsample: int) -> None:
    if head not in ("linear", "mlp"):
        raise ValueError(f"head={head!r}: expected 'linear' or 'mlp'")
    if layers not in get_args(Layers):
        raise ValueError(f"layers={layers!r}: expected 'lessons', 'torch' or 'mixed'")
    if upsample < 1:
        raise ValueError(f"upsample={upsample}: expected 1 (as many frames as the clip) or more")
