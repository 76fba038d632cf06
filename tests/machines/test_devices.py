"""Every layer, loss and cell on every device: values and gradients, in float64 and in mixed precision.

On a GPU they are compared with torch's own on that GPU, or, where torch has none, with our own on the CPU.
`make gpu` runs these tests; without a GPU only their CPU half runs.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lessons.ctc import brute_force_loss, ctc_loss, forced_align, forward_backward
from lessons.detection.average_precision import match
from lessons.detection.boxes import iou, nms
from lessons.detection.center_points import decode, detection_loss, targets
from lessons.detection.detector import Detector
from lessons.layers import STCNN, ConvGRU, ConvLSTM, conv3d, max_pool3d
from lessons.layers.bottleneck_lstm import BottleneckLSTM
from lessons.layers.conv3d import conv3d_loops, conv3d_matmul
from lessons.layers.gru import GRU, GRUCell
from lessons.layers.lstm import LSTM, LSTMCell
from lessons.lipreading import LipNet, SmallLipNet
from lessons.lipreading.build import from_config
from lessons.lipreading.saliency import saliency
from lessons.lipreading.streaming import Stream
from lessons.training.evaluation import evaluate
from lessons.training.lipnet import train
from lessons.training.precision import best_precision, logits_of
from lessons.training.strangers import StrangerRun
from tests.training.test_train_lipnet import QUICK, bars
from tests.training.test_train_strangers import CLIPS, MOTIONS
from tests.training.test_train_strangers import QUICK as STRANGERS
from tests.training.test_train_strangers import tiny as stranger

CPU = torch.device("cpu")
NEAR = {torch.float16: 0.05, torch.bfloat16: 0.2}  # relative error of a whole gradient tensor


def random(device: torch.device, *shape: int, seed: int = 0) -> Tensor:
    """float64 numbers that are the same on every device."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device)


def first(outputs: Tensor | tuple) -> Tensor:
    return outputs if isinstance(outputs, Tensor) else outputs[0]


def close(found: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    """Compare relative to the largest number: sums of many terms differ by the order of their terms."""
    assert found.shape == expected.shape and torch.isfinite(found).all()
    scale = max(expected.abs().max().item(), 1e-3) if expected.numel() else 1.0
    assert (found.cpu().double() - expected.cpu().double()).abs().max().item() <= tolerance * scale


def near(found: Tensor, expected: Tensor, precision: torch.dtype) -> None:
    """Compare as vectors: in few bits two pixels tie, and a pool sends a gradient to the other one."""
    assert torch.isfinite(found).all()
    assert (found - expected).norm() <= NEAR[precision] * expected.norm() + 1e-6


def outputs_and_gradients(layer, x: Tensor) -> list[Tensor]:
    """The first output, and the gradient of its weighted sum for the input and every parameter."""
    x = x.clone().requires_grad_()
    y = first(layer(x))
    weights = random(y.device, *y.shape, seed=1).to(y.dtype)
    leaves = [x, *(layer.parameters() if isinstance(layer, nn.Module) else ())]
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), leaves)]


def same(ours, theirs, x: Tensor, tolerance: float = 1e-9) -> None:
    found, expected = (outputs_and_gradients(layer, x) for layer in (ours, theirs))
    for a, b in zip(found, expected, strict=True):
        close(a, b, tolerance)


# ---- layers that torch has --------------------------------------------------------------------------------


@pytest.mark.parametrize("ours", [conv3d, conv3d_matmul, conv3d_loops])
@pytest.mark.parametrize(("stride", "padding"), [(1, 1), ((1, 2, 2), (0, 2, 1))])
def test_conv3d(device, ours, stride, padding):
    x, weight, bias = random(device, 2, 3, 4, 7, 6), random(device, 4, 3, 3, 3, 2), random(device, 4)
    found = ours(x, weight, bias, stride, padding)
    close(found, F.conv3d(x, weight, bias, stride, padding))
    same(lambda x: conv3d(x, weight, bias, stride), lambda x: F.conv3d(x, weight, bias, stride), x)


def test_max_pool3d(device):
    x = random(device, 2, 3, 4, 6, 6)
    same(lambda x: max_pool3d(x, (1, 2, 2)), lambda x: F.max_pool3d(x, (1, 2, 2)), x)


@pytest.mark.parametrize("norm", [False, True])
def test_stcnn(device, norm):
    ours, theirs = (
        STCNN(3, 4, (3, 5, 5), (1, 2, 2), (1, 2, 2), norm=norm, dropout=0.0, layers=layers)
        for layers in ("lessons", "torch")
    )
    ours.load_state_dict(theirs.state_dict())
    same(ours.to(device).double(), theirs.to(device).double(), random(device, 2, 3, 5, 16, 16))


@pytest.mark.parametrize(("ours", "theirs"), [(GRU, nn.GRU), (LSTM, nn.LSTM)])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_recurrent(device, ours, theirs, bidirectional):
    ours, theirs = (make(5, 6, 2, bidirectional=bidirectional) for make in (ours, theirs))
    ours.load_state_dict(theirs.state_dict())
    same(ours.to(device).double(), theirs.to(device).double(), random(device, 9, 3, 5))


@pytest.mark.parametrize("where", ["cpu", "same"])  # lengths may stay on the CPU
def test_gru_of_clips_of_different_lengths(device, where):
    lengths = torch.tensor([9, 4, 1], device=CPU if where == "cpu" else device)
    ours, theirs = GRU(5, 6, bidirectional=True), nn.GRU(5, 6, bidirectional=True)
    ours.load_state_dict(theirs.state_dict())
    ours, theirs = ours.to(device).double(), theirs.to(device).double()

    def packed(x: Tensor) -> Tensor:
        given = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(theirs(given)[0], total_length=len(x))[0]

    x = random(device, 9, 3, 5)
    close(ours(x, lengths=lengths)[0], packed(x))


@pytest.mark.parametrize(("ours", "theirs"), [(GRUCell, nn.GRUCell), (LSTMCell, nn.LSTMCell)])
def test_recurrent_cell(device, ours, theirs):
    ours, theirs = ours(5, 6), theirs(5, 6)
    ours.load_state_dict(theirs.state_dict())
    same(ours.to(device).double(), theirs.to(device).double(), random(device, 3, 5))


# ---- CTC ---------------------------------------------------------------------------------------------------

LENGTHS, TARGET_LENGTHS = torch.tensor([20, 15, 12]), torch.tensor([6, 5, 0])


@pytest.mark.parametrize("scale", [1, 10, 300])  # at 300 the rescaled recursion hands over to logarithms
@pytest.mark.parametrize("where", ["cpu", "same"])
def test_ctc_loss(device, scale, where):
    lengths, target_lengths = (n if where == "cpu" else n.to(device) for n in (LENGTHS, TARGET_LENGTHS))
    labels = torch.randint(1, 8, (3, 6), generator=torch.Generator().manual_seed(2)).to(device)

    def loss(function):
        return lambda logits: function(
            logits.log_softmax(-1), labels, lengths, target_lengths, reduction="none"
        )

    same(loss(ctc_loss), loss(F.ctc_loss), scale * random(device, 20, 3, 8))


def test_ctc_of_one_label(device):
    log_probs = random(device, 5, 4).log_softmax(-1)
    brute = brute_force_loss(log_probs, [1, 1, 2])
    found = forward_backward(log_probs, [1, 1, 2])
    close(-found.log_likelihood, brute)
    alignment, there = (forced_align(x, [1, 1, 2]) for x in (log_probs, log_probs.cpu()))
    assert alignment.path.device == log_probs.device and alignment.path.tolist() == there.path.tolist()


# ---- cells that torch has not: as on the CPU --------------------------------------------------------------

CELLS = {
    "ConvLSTM": lambda: ConvLSTM(3, 4),
    "ConvLSTM with peepholes": lambda: ConvLSTM(3, 4, peepholes=True),
    "ConvGRU": lambda: ConvGRU(3, 4),
    "Bottleneck-LSTM": lambda: BottleneckLSTM(3, 4),
}


@pytest.mark.parametrize("name", CELLS)
def test_convolutional_memory(device, name):
    torch.manual_seed(0)
    layer = CELLS[name]().double()
    there = copy.deepcopy(layer).to(device)
    x = random(CPU, 4, 2, 3, 5, 6)
    found, expected = outputs_and_gradients(there, x.to(device)), outputs_and_gradients(layer, x)
    for a, b in zip(found, expected, strict=True):
        assert a.device.type == device.type
        close(a, b)


@pytest.mark.parametrize("memory", ["none", "averaging", "conv_lstm", "bottleneck_lstm"])
def test_detector_and_its_loss(device, memory):
    torch.manual_seed(0)
    model = Detector(3, memory).double()
    there = copy.deepcopy(model).to(device)
    frames = random(CPU, 3, 2, 1, 32, 40)
    boxes = torch.tensor([[[2.0, 3, 20, 18]], [[10, 8, 30, 30]]]).repeat(3, 1, 1).double()
    labels = torch.tensor([[0], [1]]).repeat(3, 1)

    def loss_and_gradients(model: Detector, device: torch.device) -> list[Tensor]:
        maps = model(frames.to(device))[0].flatten(0, 1)  # (T*B, classes + 4, H', W')
        wanted = targets(boxes.to(device), labels.to(device), maps.shape[1] - 4, (32, 40))
        loss = detection_loss(maps, wanted)
        return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)]

    for a, b in zip(loss_and_gradients(there, device), loss_and_gradients(model, CPU), strict=True):
        if b is not None:
            close(a, b, 1e-7)
    both = []
    for m, where in ((there, device), (model, CPU)):
        with torch.no_grad():
            maps = m.eval()(frames.to(where))[0].flatten(0, 1)
        both.append(decode(maps, (32, 40), least=0.0))  # an untrained model is sure of nothing
    for found, expected in zip(*both, strict=True):
        assert len(found) > 0
        close(found.boxes, expected.boxes, 1e-6)


def test_boxes(device):
    a = torch.tensor([[0.0, 0, 10, 10], [5, 5, 15, 15], [0, 0, 10, 9]], device=device)
    scores, labels = torch.tensor([0.5, 0.9, 0.8], device=device), torch.zeros(3, device=device).long()
    close(iou(a, a), iou(a.cpu(), a.cpu()))
    assert nms(a, scores, labels).tolist() == [1, 2]
    assert match(a, a[1:2]).tolist() == match(a.cpu(), a[1:2].cpu()).tolist()


# ---- whole models ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", ["lessons", "mixed"])
@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("lengths", [None, torch.tensor([6, 4])])  # lengths stay on the CPU
def test_lipnet(device, layers, compact, lengths):
    torch.manual_seed(0)
    size = {"in_channels": 1, "frame_size": (16, 32), "channels": (4, 6, 8), "hidden_size": 6}
    ours, theirs = (from_config(compact, 7, **size, dropout=0.0, layers=which) for which in (layers, "torch"))
    ours.load_state_dict(theirs.state_dict())
    ours, theirs = ours.to(device).double(), theirs.to(device).double()
    x = random(device, 2, 1, 6, 16, 32)

    def valid(model: LipNet):
        def forward(x: Tensor) -> Tensor:
            logits = model(x, lengths)  # (T, B, V)
            return logits if lengths is None else torch.cat([logits[:n, i] for i, n in enumerate(lengths)])

        return forward

    same(valid(ours), valid(theirs), x)


PRECISIONS = [torch.bfloat16, torch.float16]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("layers", ["lessons", "mixed", "torch"])
def test_lipnet_in_mixed_precision(device, precision, layers):
    """Logits and gradients near those in float32, and a parameter's gradient keeps the parameter's dtype."""
    if device.type == "cpu" and precision == torch.float16 and layers != "lessons":
        pytest.skip("torch's own convolution has no float16 gradient on every CPU")
    torch.manual_seed(0)
    model = LipNet(1, (16, 32), (4, 6, 8), 6, dropout=0.0, layers=layers).to(device)
    x = random(device, 2, 1, 6, 16, 32).float()
    lengths = torch.tensor([6, 6])

    def run(precision: torch.dtype) -> list[Tensor]:
        logits = logits_of(model, x, lengths, precision)  # (T, B, V)
        loss = F.ctc_loss(
            logits.log_softmax(-1), torch.tensor([[1, 2], [3, 3]]), lengths, torch.tensor([2, 2])
        )
        return [logits.detach(), *torch.autograd.grad(loss, list(model.parameters()))]

    for a, b in zip(run(precision), run(torch.float32), strict=True):
        assert a.dtype == torch.float32
        near(a, b, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["conv3d", "GRU", "LSTM", *CELLS])
def test_layers_in_mixed_precision(device, precision, name):
    torch.manual_seed(0)
    x = random(device, 5, 2, 6)
    if name == "conv3d":
        layer, x = STCNN(3, 4, 3, padding=1, dropout=0.0, layers="lessons"), random(device, 2, 3, 4, 8, 8)
    elif name in CELLS:
        layer, x = CELLS[name](), random(device, 4, 2, 3, 5, 6)
    else:
        layer = {"GRU": GRU, "LSTM": LSTM}[name](6, 7, bidirectional=True)
    layer, x = layer.to(device), x.float()

    def mixed(x: Tensor) -> Tensor:
        with torch.autocast(device.type, precision):
            return first(layer(x)).float()

    near(mixed(x), first(layer(x)), precision)
    y = mixed(x)
    for gradient, parameter in zip(
        torch.autograd.grad(y.square().sum(), list(layer.parameters())), layer.parameters(), strict=True
    ):
        assert gradient.dtype == parameter.dtype and torch.isfinite(gradient).all()


# ---- what is built on them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", [torch.float32, None])
def test_it_learns_and_resumes(device, precision, tmp_path):
    torch.manual_seed(0)
    model = SmallLipNet(1, (16, 32), (4, 6, 8), 16, projection=16, dropout=0.0)
    settings = replace(QUICK, epochs=20, augmented=False, learning_rate=2e-2)
    unseen = bars(12, 1)
    read, rows = train(model, bars(32, 0), unseen, settings, tmp_path, device, precision, progress=False)
    assert rows[0]["val_wer"] == 1 and rows[-1]["val_wer"] == 0
    assert next(read.parameters()).device.type == device.type
    assert evaluate(read, unseen).texts == unseen.transcripts
    again = SmallLipNet(1, (16, 32), (4, 6, 8), 16, projection=16, dropout=0.0)
    resumed, _ = train(again, bars(32, 0), unseen, settings, tmp_path, device, precision, progress=False)
    for name, value in read.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


def test_it_learns_from_clips_and_motions(device):
    settings = replace(STRANGERS, epochs=2, steps_per_epoch=14, batch_size=3, motions=3, motion_epochs=0)
    model = stranger(hidden_size=16, dropout=0.0)
    run_type = partial(StrangerRun, motions=MOTIONS)
    read, rows = train(model, CLIPS, CLIPS, settings, None, device, None, progress=False, run_type=run_type)
    assert next(read.parameters()).device.type == device.type
    for part in ("train_loss", "train_motions", "train_measures"):
        assert rows[-1][part] < 0.95 * rows[0][part], part


def test_float16_training_scales_its_loss(device):
    if device.type == "cpu":
        pytest.skip("torch's own convolution has no float16 gradient on every CPU")
    torch.manual_seed(0)
    model = SmallLipNet(1, (16, 32), (4, 6, 8), 16, projection=16, dropout=0.0)
    settings = replace(QUICK, epochs=20, augmented=False, learning_rate=2e-2)
    _, rows = train(model, bars(32, 0), bars(12, 1), settings, None, device, torch.float16, progress=False)
    assert rows[-1]["val_wer"] < rows[0]["val_wer"]


def test_best_precision_has_units_for_it(device):
    dtype = best_precision(device)
    assert dtype in (torch.float32, torch.float16, torch.bfloat16)
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8:
        assert dtype == torch.bfloat16


def test_stream_and_saliency(device):
    torch.manual_seed(0)
    model = SmallLipNet(1, (16, 32), (4, 6, 8), 6, projection=7).eval()
    there = copy.deepcopy(model).to(device)
    frames = (random(CPU, 20, 16, 32).abs() * 60).clamp(max=255).to(torch.uint8)  # (T, H, W)
    streams = [Stream(m) for m in (there, model)]
    for stream, d in zip(streams, (device, CPU), strict=True):
        stream.push(frames[:12].to(d))
        stream.push(frames[12:].to(d), last=True)
    close(streams[0].log_probs(), streams[1].log_probs(), 1e-3)  # float32, TF32 on a GPU
    clip = random(device, 1, 8, 16, 32).float()
    path = torch.tensor([0, 1, 1, 0, 2, 2, 0, 0])
    found, expected = saliency(there, clip, path), saliency(model, clip.cpu(), path)
    close(found, expected, 2e-2)
