"""Apple's MPS has no float64: every model runs there without a float64 tensor, and CTC says what it needs.

No such device is needed here: a stand-in refuses each operation that returns float64, as MPS does.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lessons.ctc import ctc_loss
from lessons.detection.center_points import decode, detection_loss, targets
from lessons.detection.detector import Detector
from lessons.layers import ConvGRU, ConvLSTM
from lessons.layers.bottleneck_lstm import BottleneckLSTM
from lessons.layers.gru import GRU
from lessons.layers.lstm import LSTM
from lessons.layers.stcnn import STCNN
from lessons.lipreading import LipNet
from lessons.lipreading.build import from_config
from lessons.lipreading.saliency import saliency
from lessons.lipreading.streaming import Stream

ROOT = Path(__file__).resolve().parents[2]


class WithoutFloat64(TorchDispatchMode):
    """Operations, those of the backward pass too, refuse to return float64."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        outputs = function(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) and leaf.dtype == torch.float64 for leaf in tree_leaves(outputs)):
            raise TypeError(f"{function}: MPS has no float64")
        return outputs


def first(outputs: Tensor | tuple) -> Tensor:
    return outputs if isinstance(outputs, Tensor) else outputs[0]


def train_step(model: nn.Module, loss: Tensor) -> None:
    loss.backward()
    torch.optim.AdamW(model.parameters()).step()


def test_the_stand_in_refuses_float64():
    x = torch.ones(3, requires_grad=True)
    with WithoutFloat64():
        (x * 2.0).sum().backward()
        with pytest.raises(TypeError, match="MPS has no float64"):
            x.double()
        with pytest.raises(TypeError, match="MPS has no float64"):
            torch.zeros(3, dtype=torch.float64)


LAYERS = {  # name -> layer, shape of its input
    "LSTM": (lambda: LSTM(3, 4, bidirectional=True), (5, 2, 3)),
    "GRU": (lambda: GRU(3, 4, bidirectional=True), (5, 2, 3)),
    "STCNN": (lambda: STCNN(3, 4, 3, padding=1), (2, 3, 5, 8, 8)),
    "ConvLSTM": (lambda: ConvLSTM(3, 4, peepholes=True), (4, 2, 3, 5, 6)),
    "ConvGRU": (lambda: ConvGRU(3, 4), (4, 2, 3, 5, 6)),
    "Bottleneck-LSTM": (lambda: BottleneckLSTM(3, 4), (4, 2, 3, 5, 6)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer(name):
    make, shape = LAYERS[name]
    layer, x = make(), torch.randn(shape, requires_grad=True)
    with WithoutFloat64():
        train_step(layer, first(layer(x)).square().mean())
    assert x.grad is not None and torch.isfinite(x.grad).all()


def small_lipnet(layers: str, compact: bool) -> LipNet:
    sizes = {"in_channels": 1, "frame_size": (16, 32), "channels": (4, 6, 8), "hidden_size": 6}
    return from_config(compact, 7, **sizes, layers=layers)


@pytest.mark.parametrize("layers", ["lessons", "mixed", "torch"])
@pytest.mark.parametrize("compact", [False, True])
def test_lipnet_trains_with_the_loss_of_torch(layers, compact):
    model, clips, lengths = small_lipnet(layers, compact), torch.randn(2, 1, 6, 16, 32), torch.tensor([6, 4])
    with WithoutFloat64():
        log_probs = model(clips, lengths).log_softmax(-1)  # (T, B, V)
        labels = torch.tensor([[1, 2], [3, 1]])
        train_step(model, F.ctc_loss(log_probs, labels, lengths, torch.tensor([2, 2])))


def test_lipnet_reads_a_stream_and_shows_what_it_looks_at():
    model = small_lipnet("lessons", compact=True).eval()
    frames = torch.randn(20, 16, 32)  # (T, H, W)
    stream = Stream(model)
    stream._normalize = torch.Tensor.clone  # in float64, but on the CPU: the last test sees to that
    with WithoutFloat64():
        stream.push(frames[:12])
        stream.push(frames[12:], last=True)
        assert len(stream.log_probs()) == len(frames)
        saliency(model, torch.randn(1, 8, 16, 32), torch.tensor([0, 1, 1, 0, 2, 2, 0, 0]))


@pytest.mark.parametrize("memory", ["none", "averaging", "conv_lstm", "bottleneck_lstm"])
def test_detector_trains_and_detects(memory):
    model = Detector(3, memory)
    boxes = torch.tensor([[[2.0, 3, 20, 18]], [[10, 8, 30, 30]]]).repeat(3, 1, 1)
    labels = torch.tensor([[0], [1]]).repeat(3, 1)
    with WithoutFloat64():
        maps = model(torch.randn(3, 2, 1, 32, 40))[0].flatten(0, 1)  # (T*B, classes + 4, H', W')
        train_step(model, detection_loss(maps, targets(boxes, labels, maps.shape[1] - 4, (32, 40))))
        assert len(decode(maps.detach(), (32, 40), least=0.0)) == 6


def test_our_ctc_loss_says_that_it_needs_float64():
    lengths = (torch.tensor([5]), torch.tensor([2]))
    labels, log_probs = torch.tensor([[1, 2]]), torch.randn(5, 1, 4).log_softmax(-1)
    with WithoutFloat64(), pytest.raises(TypeError, match="MPS has no float64"):
        ctc_loss(log_probs, labels, *lengths)
    with FakeTensorMode(allow_non_fake_inputs=True):  # tensors with a device and without numbers
        there = torch.empty(5, 1, 4, device="mps")
        with pytest.raises(ValueError, match=r"on mps, which has no float64.*use log_probs\.cpu\(\)"):
            ctc_loss(there, labels, *lengths)


def doubles(source: str) -> list[int]:
    """Lines that make a tensor float64 that may not be on the CPU: ``.double()`` not after ``.cpu()``."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "double"
        if ".cpu()" not in ast.unparse(node.func.value)
    ]


# Checks draw their own inputs, on the CPU; scores are of detections on the CPU; CTC says what it needs.
ON_THE_CPU = ("checks", "scores.py", "loss.py")


@pytest.mark.parametrize("path", sorted((ROOT / "lessons").rglob("*.py")), ids=lambda path: path.stem)
def test_float64_is_made_on_the_cpu(path):
    if not set(path.parts) & set(ON_THE_CPU):
        assert doubles(path.read_text(encoding="utf-8")) == [], "write x.cpu().double(): MPS has no float64"


def test_float64_elsewhere_is_found():
    assert doubles("y = x.double().cpu()") == [1] and doubles("y = x.detach().cpu().double()") == []
