"""Checks of notebook 06, LipNet. What is right comes from torch's layers, or is counted."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lessons.checks.battery import Case, Exercise
from lessons.layers.stcnn import STCNN

# ---- forward -----------------------------------------------------------------------------------------------


class _Mask(nn.Module):
    """Stands in for ``nn.Dropout``: in training it drops every third feature, the same at each call."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        kept = torch.arange(x.shape[-1]) % 3 < 2
        return 1.5 * x * kept.to(x)


class _TinyLipNet(nn.Module):
    """The submodules of LipNet, small; its forward is the exercise."""

    def __init__(self, seed: int, clip: tuple, channels: tuple, kernels: tuple, sizes: tuple) -> None:
        super().__init__()
        hidden1, hidden2, classes = sizes
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            into = clip[1]
            for i, (out, kernel) in enumerate(zip(channels, kernels, strict=True), start=1):
                padding = tuple(k // 2 for k in kernel)
                block = STCNN(
                    into, out, kernel, stride=(1, 2, 2) if i == 1 else 1, padding=padding, dropout=0.0
                )
                self.add_module(f"stcnn{i}", block)
                into = out
            with torch.no_grad():
                maps = self.stcnn3(self.stcnn2(self.stcnn1(torch.zeros(clip))))  # (B, C, T, H, W)
            features = maps.shape[1] * maps.shape[3] * maps.shape[4]
            self.gru1 = nn.GRU(features, hidden1, bidirectional=True)
            self.gru2 = nn.GRU(2 * hidden1, hidden2, bidirectional=True)
            self.dropout = _Mask()
            self.head = nn.Linear(2 * hidden2, classes)

    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("forward called itself; build the logits from self's layers")

    def __repr__(self) -> str:
        return "a small LipNet"


def _maps(model: nn.Module, x: Tensor) -> Tensor:
    return model.stcnn3(model.stcnn2(model.stcnn1(x)))  # (B, C, T, H, W)


def _sequence(maps: Tensor) -> Tensor:
    """(B, C, T, H, W) -> (T, B, C*H*W), frame by frame."""
    frames = [maps[:, :, t].reshape(len(maps), -1) for t in range(maps.shape[2])]  # (B, C*H*W) each
    return torch.stack(frames)


def _recur(
    model: nn.Module, x: Tensor, before: bool = False, between: bool = True, after: bool = True
) -> Tensor:
    x, _ = model.gru1(model.dropout(x) if before else x)
    x, _ = model.gru2(model.dropout(x) if between else x)
    return model.head(model.dropout(x) if after else x)


def _forward(self: nn.Module, x: Tensor) -> Tensor:
    """Clips x (B, C, T, H, W) -> logits (T, B, V)."""
    return _recur(self, _sequence(_maps(self, x)))


def _mixed(maps: Tensor) -> Iterator[tuple[Tensor, str]]:
    """Sequences of the right shape with the numbers of the wrong frames, clips or positions."""
    clips, _, frames = maps.shape[:3]
    elsewhere = (
        "The shape of the sequence is right, but one row of it holds numbers of {}. Write a clip with "
    )
    elsewhere += "few frames on paper: which axes must trade places before the flattening?"
    yield maps.reshape(frames, clips, -1), elsewhere.format("several frames")
    yield maps.reshape(clips, -1, frames).permute(2, 0, 1), elsewhere.format("several frames")
    yield maps.transpose(1, 2).reshape(frames, clips, -1), elsewhere.format("another frame or clip")
    yield maps.permute(2, 1, 0, 3, 4).reshape(frames, clips, -1), elsewhere.format("several clips")
    inside = "Each row holds one frame of one clip, but in another order than trained weights expect: which "
    inside += "of channel, row and column changes fastest?"
    yield maps.permute(2, 0, 3, 4, 1).flatten(2), inside
    yield maps.permute(2, 0, 1, 4, 3).flatten(2), inside
    yield _sequence(maps).flip(0), "Time runs backwards."


@torch.no_grad()
def _known_forward(found: Any, expected: Tensor, case: Case) -> str | None:
    """The sentence for a mistake that we know."""
    model, x = case.arguments
    maps = _maps(model, x)
    rows = _sequence(maps)
    tries = [(_recur(model, mixed), sentence) for mixed, sentence in _mixed(maps)]
    tries += [
        (expected.log_softmax(-1), "These are log probabilities. The loss and the decoder apply log_softmax; "
         "a forward returns logits."),
        (expected.softmax(-1), "These are probabilities; a forward returns logits."),
        (_recur(model, rows, between=False, after=False), "In training no feature is dropped: where does "
         "self.dropout stand?"),
        (_recur(model, rows, between=False), "In training nothing is dropped between the two GRUs."),
        (_recur(model, rows, after=False), "In training nothing is dropped between gru2 and the head."),
        (_recur(model, rows, before=True), "In training features are dropped before the first GRU, too. Here "
         "dropout stands after each GRU, as in the authors' code."),
        (_recur(model, rows, before=True, after=False), "Dropout stands after each GRU, not before it."),
    ]  # fmt: skip
    for value, sentence in tries:
        if value.shape == found.shape and torch.allclose(
            found.double(), value.double(), rtol=1e-3, atol=1e-4
        ):
            return sentence
    return None


def _forward_cases() -> Iterator[Case]:
    axes = "The axes are (T, B, V): frames, clips, classes."
    dropped = "This is the training mode: is self.dropout where the docstring puts it?"
    frames = (
        "Does x pass through the layers in the docstring's order, and through nothing else? Is each row of "
        "the sequence one frame of one clip, its values in the order channel, row, column?"
    )
    for seed, (training, clip, channels, kernels, sizes, hint) in enumerate(
        (
            (False, (1, 3, 4, 24, 40), (4, 5, 2), ((3, 5, 5), (3, 5, 5), (3, 3, 3)), (3, 3, 4),
             f"{frames} {axes}"),
            (False, (2, 3, 5, 34, 17), (3, 2, 4), ((3, 3, 5), (1, 3, 3), (3, 5, 3)), (2, 4, 6),
             f"{frames} {axes}"),
            (False, (3, 1, 3, 16, 33), (2, 3, 3), ((1, 3, 3), (3, 1, 5), (1, 3, 5)), (4, 2, 5),
             f"Here B = T, so that two swapped axes keep the shape. {axes}"),
            (True, (2, 2, 4, 32, 48), (2, 3, 2), ((3, 5, 3), (3, 5, 5), (3, 3, 3)), (3, 4, 5), dropped),
            (True, (1, 3, 1, 20, 32), (1, 1, 1), ((3, 1, 1), (1, 3, 1), (1, 1, 1)), (1, 1, 1), dropped),
            (True, (4, 1, 2, 16, 16), (3, 4, 5), ((3, 3, 3), (3, 3, 3), (3, 3, 3)), (5, 3, 7), dropped),
        )
    ):  # fmt: skip
        model = _TinyLipNet(seed, clip, channels, kernels, sizes).double().train(training)
        x = torch.randn(clip, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        yield Case((model, x), hint)


# ---- rename_keys -------------------------------------------------------------------------------------------


def _rename_keys(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The port's state_dict -> the same tensors under our names."""
    return {_our_name(name.split(".")): tensor for name, tensor in state.items()}


def _our_name(parts: list[str]) -> str:
    if parts[0] == "module":
        parts = parts[1:]
    layers = {"conv1": "stcnn1.conv", "conv2": "stcnn2.conv", "conv3": "stcnn3.conv", "FC": "head"}
    return ".".join([layers.get(parts[0], parts[0]), *parts[1:]])


def _rename_cases() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)
    convs = [f"conv{i}.{kind}" for i in (1, 2, 3) for kind in ("weight", "bias")]
    grus = [
        f"gru{i}.{kind}_{side}_l0{way}"
        for i in (1, 2)
        for way in ("", "_reverse")
        for kind in ("weight", "bias")
        for side in ("ih", "hh")
    ]
    head = ["FC.weight", "FC.bias"]
    compare = "Compare the two printed lists: which part of the name differs, and where does a part come in?"
    others = ["aux.FC.weight", "submodule.conv2.bias", "conv10.weight", "conv4.bias", "FC2.bias", "epoch"]
    prefixed = ["module.aux.FC.weight", "module.epoch", "module.aux.module.bias"]
    without = ["aux.module.bias", "modules.conv1.weight", "module_list.FC.bias"]
    for k, (names, hint) in enumerate(
        (
            (convs[:2], compare),
            (convs, "There are three convolutions."),
            (head, compare),
            (grus, "The GRUs have the same names in both models."),
            ([*head, *grus[::-1], *convs[::-1]], "The order of the names is not fixed."),
            ([f"module.{name}" for name in (*convs, *grus, *head)],
             "Data parallel training puts a prefix before every name."),
            (others,
             "Only the whole layer at the beginning of a name counts, and the port has no conv4: these names "
             "stay."),
            (prefixed, "The prefix goes whatever follows it, and only at the beginning of a name."),
            (without, "No name here begins with the prefix, which ends with a dot."),
            ([], "A file without tensors gives a dict without entries."),
        )
    ):  # fmt: skip
        sizes = [((2, 3), (1, 1), (3, 2), (4, 5))[(i + k) % 4] for i in range(len(names))]
        drawn = (torch.randn(size, generator=generator, dtype=torch.float64) for size in sizes)
        yield Case((dict(zip(names, drawn, strict=True)),), hint)


# ---- bigru_weights -----------------------------------------------------------------------------------------


def _bigru_weights(input_size: int, hidden_size: int) -> int:
    """The parameters of one bidirectional GRU layer, biases included."""
    layer = nn.GRU(input_size, hidden_size, bidirectional=True, device="meta")
    return sum(p.numel() for p in layer.parameters())


def _bigru_cases() -> Iterator[Case]:
    for features, hidden, hint in (
        (1, 1, "Count one gate of one direction on paper: one weight for the input, one for the hidden "
         "state, and torch keeps two biases. How many gates are there, how many directions?"),
        (5, 1, "Every gate sees all F inputs."),
        (1, 5, "Every gate has D outputs, and each of them sees the whole hidden state of its direction."),
        (3, 4, "Each direction has D units and sees no hidden state but its own."),
        (512, 256, "Try small numbers: which term grows too fast or too slowly?"),
        (1728, 256, "Nothing in the formula belongs to one size of the crop."),
        (7, 3, "Do F and D stand where they should?"),
    ):  # fmt: skip
        yield Case((features, hidden), hint)


def _known_bigru(found: Any, expected: int, case: Case) -> str:
    return f"That is too {'many' if float(found) > expected else 'few'}. {case.hint}"


# ---- initial_std -------------------------------------------------------------------------------------------


def _fans(shape: tuple[int, ...], gates: int) -> tuple[int, int]:
    """Counted: inputs that one output sees, and outputs that one input reaches, within one gate."""
    one_gate = torch.ones(shape[0] // gates, *shape[1:])
    if len(shape) == 2:
        return int((one_gate[0] != 0).sum()), int((one_gate[:, 0] != 0).sum())
    kernel = shape[2:]
    x = torch.zeros(1, shape[1], *(3 * k for k in kernel), requires_grad=True)
    y = F.conv3d(x, one_gate)
    middle = tuple(n // 2 for n in y.shape[2:])
    y[(0, 0, *middle)].backward()
    probe = torch.zeros_like(x)
    probe[(0, 0, *(n // 2 for n in x.shape[2:]))] = 1
    return int((x.grad != 0).sum()), int((F.conv3d(probe, one_gate) != 0).sum())


def _initial_std(shape: tuple[int, ...], rule: str, gates: int = 1) -> float:
    """The standard deviation that He's or Glorot's rule asks for."""
    fan_in, fan_out = _fans(shape, gates)
    return math.sqrt(2 / (fan_in if rule == "he" else fan_in + fan_out))


def _std_cases() -> Iterator[Case]:
    window = "One output of a convolution sees a window of every input channel."
    every = "One input value meets every position of the kernel, in every filter."
    stacked = "The rows are several layers stacked: how many outputs does one of them have?"
    for shape, rule, gates, hint in (
        ((7, 3), "he", 1, "Is the whole fraction under the root? He's rule looks at the inputs that one "
         "output sees, and the shape is (out, in)."),
        ((7, 3), "glorot", 1, "Glorot's rule adds the two fans under the root."),
        ((4, 2, 3, 5, 5), "he", 1, window),
        ((4, 2, 3, 5, 5), "glorot", 1, every),
        ((2, 5, 1, 4, 3), "he", 1, f"{window} Its sides may differ."),
        ((2, 5, 1, 4, 3), "glorot", 1, f"{every} Its sides may differ."),
        ((1, 1, 2, 1, 1), "glorot", 1, every),
        ((12, 5), "glorot", 3, stacked),
        ((12, 1), "glorot", 4, stacked),
        ((8, 3), "glorot", 2, stacked),
        ((12, 5), "he", 3, "Stacking layers does not change what one output sees."),
        ((5, 9), "glorot", None, "Without `gates` the weight belongs to one layer."),
        ((3, 2, 3, 3, 3), "he", None, "Without `gates` the weight belongs to one layer."),
    ):  # fmt: skip
        yield Case((shape, rule) if gates is None else (shape, rule, gates), hint)


def _known_std(found: Any, expected: float, case: Case) -> str:
    found = float(found)
    if math.isfinite(found) and abs(found - expected**2) < 1e-6 * expected:
        return "This is the variance; the standard deviation is its root."
    if not math.isfinite(found):
        return f"Expected a finite number. {case.hint}"
    return f"That is too {'large' if found > expected else 'small'}. {case.hint}"


CHECKS: dict[str, Callable[[Callable], None]] = {
    "forward": Exercise(_forward, _forward_cases, diagnose=_known_forward),
    "bigru_weights": Exercise(_bigru_weights, _bigru_cases, diagnose=_known_bigru),
    "rename_keys": Exercise(_rename_keys, _rename_cases, gradients=False),
    "initial_std": Exercise(_initial_std, _std_cases, tolerance=1e-6, diagnose=_known_std),
}
