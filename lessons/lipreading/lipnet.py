"""LipNet: three spatiotemporal convolutions, two bidirectional GRUs, one answer a frame (arXiv 1611.01599).

``clip (B,C,T,H,W) -> 3 x STCNN -> (T,B,F) -> 2 x Bi-GRU -> logits (T,B,V)``

The logits go to the CTC loss in training, to a decoder in reading, through ``log_softmax`` both times.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lessons.layers import gru, stcnn

Layers = Literal["lessons", "torch", "mixed"]
KERNELS = ((3, 5, 5), (3, 5, 5), (3, 3, 3))  # (time, height, width), Table 3 of the paper


class LipNet(nn.Module):
    """A silent clip of a mouth in, the logits of one character a frame out.

    The defaults are the public PyTorch port's model: a color clip of 64 x 128, 6,638,844 weights.

    Args:
        in_channels: 3 for color, 1 for gray.
        frame_size: (H, W) of a frame in pixels.
        channels: filters of the three convolutions.
        hidden_size: D, the size of a GRU's memory in one direction.
        num_classes: V, the characters and the blank.
        dropout: of channels after each convolution and of features around the GRUs.
        head: ``"linear"``, one layer from GRU to logits (the paper's figure 1, the port); ``"mlp"``, two
            layers with a ReLU between them (the reading "two-layer feed-forward network").
        upsample: every feature frame is shown this many times to the GRUs, so T grows by the factor. More
            frames give CTC more room; nothing new is seen in them.
        compact: the form that trains on a CPU. It strides where LipNet pools (its last map is an eighth of
            the frame high and wide, LipNet's a sixteenth), normalizes each convolution over the batch and
            narrows the features to ``projection`` values before the GRUs, where LipNet has 77 % of its
            weights.
        projection: width of that narrowing; used by the compact form alone.
        layers: ``"torch"`` runs on torch's convolution and GRU, ``"lessons"`` on this course's own,
            ``"mixed"`` on torch's convolution and our GRU, which together train fastest on a CPU
            (``python -m lessons bench``). The state_dict and the answers are the same.

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
        compact: bool = False,
        projection: int = 160,
        layers: Layers = "torch",
    ) -> None:
        super().__init__()
        if head not in ("linear", "mlp"):
            raise ValueError(f"head={head!r}: expected 'linear' or 'mlp'")
        if layers not in get_args(Layers):
            raise ValueError(f"layers={layers!r}: expected 'lessons', 'torch' or 'mixed'")
        if upsample < 1:
            raise ValueError(f"upsample={upsample}: expected 1 (as many frames as the clip) or more")
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
            "compact": compact,
            "projection": projection,
        }
        self.in_channels, self.frame_size, self.upsample = in_channels, tuple(frame_size), upsample

        kernels = (KERNELS[0], (3, 3, 3), (3, 3, 3)) if compact else KERNELS
        halves = (1, 2, 2)  # time is never halved: CTC needs the frames
        strides = (halves, halves, halves) if compact else (halves, 1, 1)
        widths = (in_channels, *channels)
        height, width = frame_size
        blocks = []
        for i in range(3):
            block = stcnn.STCNN(
                widths[i],
                widths[i + 1],
                kernels[i],
                strides[i],
                padding=tuple(k // 2 for k in kernels[i]),
                pool=not compact,
                norm=compact,
                # A channel is half of what a narrow layer knows, so the compact form drops fewer.
                dropout=dropout / 3 if compact else dropout,
                layers="lessons" if layers == "lessons" else "torch",
            )
            blocks.append(block)
            height, width = _after(block, height, width)
            if min(height, width) < 1:
                raise ValueError(
                    f"frame_size={tuple(frame_size)}: nothing is left of a frame after convolution {i + 1}; "
                    "frames of 16 x 16 or more are needed"
                )
        self.stcnn1, self.stcnn2, self.stcnn3 = blocks

        features = channels[2] * height * width
        if compact:
            self.projection = nn.Sequential(
                nn.Linear(features, projection), nn.LayerNorm(projection), nn.ReLU()
            )
            features = projection
        else:
            self.projection = nn.Identity()
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

    @classmethod
    def small(cls, layers: Layers = "torch", dropout: float = 0.3) -> LipNet:
        """The model that trains on a CPU: gray 32 x 64 frames, 925,068 weights."""
        return cls(1, (32, 64), (16, 32, 64), hidden_size=128, dropout=dropout, compact=True, layers=layers)

    def reset_parameters(self) -> None:
        """Draw the first weights so that signals keep their size on the way, forward and back.

        Convolutions: He (2015), since half of what a ReLU sees is lost. GRU input: Glorot (2010), gate by
        gate, for a gate is a layer of its own that happens to be stacked on two others. GRU state:
        orthogonal, gate by gate, for it is applied T times (Saxe et al. 2014). Biases: 0.
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
        """Read a batch of clips.

        Args:
            x: (B, C, T, H, W), normalized as in ``lessons.data.batch.normalize``.
            lengths: (B,) valid frames of each clip when some are shorter than T. What stands in the frames
                past the end then has no influence on the valid ones: a clip gives the same logits alone and
                in a batch with longer ones. (In training, the compact form's batch statistics do see them.)

        Returns:
            logits (T * upsample, B, V); those past a clip's end mean nothing.

        Raises:
            ValueError: a clip of another shape, dtype or device than the model's, lengths that do not fit,
                or, outside training, pixels that are not finite (NaN, infinity).
        """
        lengths = self._check(x, lengths)
        mask = None if lengths is None else _valid_frames(lengths, x)  # (B, 1, T, 1, 1)
        for block in (self.stcnn1, self.stcnn2, self.stcnn3):
            # A convolution sees zeros before the first frame and after the last. Zeros in the padded frames
            # make the end of a short clip look just like that.
            x = block(x if mask is None else torch.where(mask, x, 0.0))  # (B, C, T, H, W)
        x = x.permute(2, 0, 1, 3, 4).flatten(2)  # (T, B, C*H*W)
        x = self.projection(x)  # (T, B, F)
        x = x.repeat_interleave(self.upsample, dim=0)  # (T*upsample, B, F)
        if lengths is not None:
            lengths = self.output_lengths(lengths)
        # Rounding adds up over the steps of a recurrence, so the GRUs stay in float32 under autocast (which
        # knows no meta device).
        with torch.autocast("cpu" if x.is_meta else x.device.type, enabled=False):
            if x.dtype in (torch.float16, torch.bfloat16):
                x = x.float()
            for recurrent in (self.gru1, self.gru2):
                x = _recur(recurrent, self.dropout(x), lengths)  # (T*upsample, B, 2D)
            return self.head(self.dropout(x))  # (T*upsample, B, V)

    def _check(self, x: Tensor, lengths: Tensor | None) -> Tensor | None:
        """Refuse what this model cannot read; return lengths, or None where every clip is full."""
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
        # In training the clips come through `normalize`, which looks; on a GPU a look would halt each step.
        # A tensor on the meta device has a shape and no pixels.
        if not (self.training or x.is_meta) and not bool(torch.isfinite(x).all()):
            raise ValueError("x holds NaN or infinite pixels: look at the frames before they are normalized")
        if lengths is None:
            return None
        if lengths.shape != (x.shape[0],) or lengths.is_floating_point():
            raise ValueError(
                f"lengths is {lengths.dtype} {tuple(lengths.shape)}, expected integers ({x.shape[0]},)"
            )
        if not 1 <= int(lengths.min()) <= int(lengths.max()) <= x.shape[2]:
            raise ValueError(f"lengths are {lengths.tolist()}, expected 1 to T = {x.shape[2]}")
        return None if bool((lengths == x.shape[2]).all()) else lengths


def fastest_layers(device: torch.device) -> Layers:
    """On a CPU our GRU trains faster than torch's; on a GPU none is as fast as cuDNN's."""
    return "torch" if device.type == "cuda" else "mixed"


def load_public_checkpoint(path: str | Path, layers: Layers = "torch") -> LipNet:
    """Load weights of the public PyTorch port (``VIPL-Audio-Visual-Speech-Understanding/LipNet-PyTorch``).

    Its keys are conv1 ... conv3, gru1, gru2 and FC; its alphabet is ours (blank, space, A to Z). It returns
    (B, T, V) where LipNet here returns (T, B, V); the numbers are the same. Only tensors are read: a file
    that holds any other Python object is refused, nothing in it runs.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a checkpoint, cut short, or of another shape.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: holds more than tensors, or is cut short; give a state_dict") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: not a torch checkpoint, or cut short ({error})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: expected a state_dict (names to tensors), found {type(state).__name__}")
    ours = {_public_to_ours(name): value.float() for name, value in state.items()}
    model = LipNet(layers=layers)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in ours.items()}
    if expected != found:
        wrong = sorted(set(expected.items()) ^ set(found.items()))
        raise ValueError(f"{path}: not the public port's weights; names or shapes differ, first {wrong[:2]}")
    model.load_state_dict(ours)
    return model.eval()


def _public_to_ours(name: str) -> str:
    """conv1.weight -> stcnn1.conv.weight, FC.bias -> head.bias; the GRUs are called the same."""
    name = name.removeprefix("module.")  # what DataParallel puts before every name
    for i in "123":
        if name.startswith(f"conv{i}."):
            return name.replace(f"conv{i}.", f"stcnn{i}.conv.")
    return name.replace("FC.", "head.") if name.startswith("FC.") else name


def _after(block: stcnn.STCNN, height: int, width: int) -> tuple[int, int]:
    """(H, W) of a frame after ``block``."""
    sizes = []
    for axis, size in ((1, height), (2, width)):
        conv = block.conv
        size = (size + 2 * conv.padding[axis] - conv.kernel_size[axis]) // conv.stride[axis] + 1
        sizes.append(size if isinstance(block.pool, nn.Identity) else size // 2)
    return sizes[0], sizes[1]


def _valid_frames(lengths: Tensor, x: Tensor) -> Tensor:
    """True in the frames that belong to a clip, (B, 1, T, 1, 1)."""
    frame = torch.arange(x.shape[2], device=x.device)  # (T,)
    return (frame < lengths.to(x.device)[:, None])[:, None, :, None, None]  # (B, 1, T, 1, 1)


def _recur(recurrent: nn.Module, x: Tensor, lengths: Tensor | None) -> Tensor:
    """Run a two-way GRU; backwards, each clip starts at its own last frame. (T,B,F) -> (T,B,2D)."""
    if lengths is None:
        return recurrent(x)[0]
    if isinstance(recurrent, gru.GRU):
        return recurrent(x, lengths=lengths)[0]
    packed = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
    return pad_packed_sequence(recurrent(packed)[0], total_length=x.shape[0])[0]
