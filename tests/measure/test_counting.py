"""Weights and multiply-adds by hand, against torchinfo, and against the published table for LipNet."""

import functools

import pytest
import torch
import torchinfo
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from lessons.layers import gru, lstm, stcnn
from lessons.measure.counting import count


class PublicLipNet(nn.Module):
    """The public PyTorch port's architecture, from torch's own layers."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv3d(3, 32, (3, 5, 5), (1, 2, 2), (1, 2, 2))
        self.conv2 = nn.Conv3d(32, 64, (3, 5, 5), 1, (1, 2, 2))
        self.conv3 = nn.Conv3d(64, 96, (3, 3, 3), 1, (1, 1, 1))
        self.pool, self.relu = nn.MaxPool3d((1, 2, 2)), nn.ReLU()
        self.gru1 = nn.GRU(96 * 4 * 8, 256, bidirectional=True)
        self.gru2 = nn.GRU(512, 256, bidirectional=True)
        self.FC = nn.Linear(512, 28)

    def forward(self, x):
        for conv in (self.conv1, self.conv2, self.conv3):
            x = self.pool(self.relu(conv(x)))  # (B, C, T, H, W)
        x = x.permute(2, 0, 1, 3, 4).flatten(2)  # (T, B, C*H*W)
        return self.FC(self.gru2(self.gru1(x)[0])[0])  # (T, B, V)


@functools.cache
def lipnet():
    return count(PublicLipNet(), torch.zeros(1, 3, 75, 64, 128))


def test_lipnet_has_the_published_weights_and_multiply_adds():
    counted = lipnet()
    rows = {row.name: row for row in counted.rows}
    expected = {
        "conv1": (7_232, 1.106, (1, 32, 75, 32, 64)),
        "conv2": (153_664, 5.898, (1, 64, 75, 16, 32)),
        "conv3": (165_984, 1.593, (1, 96, 75, 8, 16)),
        "gru1": (5_114_880, 0.383, (75, 1, 512)),
        "gru2": (1_182_720, 0.088, (75, 1, 512)),
        "FC": (14_364, 0.001, (75, 1, 28)),
    }
    for name, (weights, billions, shape) in expected.items():
        assert rows[name].weights == weights
        assert round(rows[name].multiply_adds / 1e9, 3) == billions
        assert rows[name].output_shape == shape
    assert counted.weights == 6_638_844
    assert round(counted.multiply_adds / 1e9, 2) == 9.07
    assert [row.name for row in counted.rows if row.weights] == list(expected), (
        "in the order in which they ran"
    )


def test_a_batch_of_two_costs_twice_as_much_and_weighs_the_same():
    model = PublicLipNet()
    one, two = (count(model, torch.zeros(n_clips, 3, 2, 64, 128)) for n_clips in (1, 2))
    assert two.multiply_adds == 2 * one.multiply_adds
    assert two.weights == one.weights


@pytest.mark.parametrize(
    ("layer", "shape", "weights", "multiply_adds"),
    [
        # (3*3 inputs of 2 channels) for each of 5 filters at 6 x 7 places, 2 clips
        (nn.Conv2d(2, 5, 3, padding=1), (2, 2, 6, 7), 2 * 5 * 9 + 5, 2 * 5 * 6 * 7 * 2 * 9),
        (nn.Conv2d(4, 4, 3, groups=4, bias=False), (1, 4, 5, 5), 4 * 9, 4 * 3 * 3 * 9),
        (nn.Conv3d(2, 5, 3, stride=2), (1, 2, 5, 5, 5), 5 * 2 * 27 + 5, 5 * 8 * 2 * 27),
        (stcnn.Conv3d(2, 5, 3, stride=2), (1, 2, 5, 5, 5), 5 * 2 * 27 + 5, 5 * 8 * 2 * 27),
        (nn.Linear(3, 4), (2, 3), 16, 24),
        (nn.Linear(3, 4), (7, 2, 3), 16, 7 * 24),
        (nn.GRU(3, 4), (7, 2, 3), 12 * 3 + 12 * 4 + 24, 7 * 2 * (12 * 3 + 12 * 4)),
        (gru.GRU(3, 4), (7, 2, 3), 12 * 3 + 12 * 4 + 24, 7 * 2 * (12 * 3 + 12 * 4)),
        (gru.GRU(3, 4, reset="before"), (7, 2, 3), 12 * 3 + 12 * 4 + 24, 7 * 2 * (12 * 3 + 12 * 4)),
        (nn.LSTM(3, 4, batch_first=True), (2, 7, 3), 16 * 3 + 16 * 4 + 32, 7 * 2 * (16 * 3 + 16 * 4)),
        (lstm.LSTM(3, 4, batch_first=True), (2, 7, 3), 16 * 3 + 16 * 4 + 32, 7 * 2 * (16 * 3 + 16 * 4)),
        # the second layer reads both directions of the first
        (gru.GRU(3, 4, 2, True), (7, 2, 3), 2 * (12 * 7 + 24) + 2 * (12 * 12 + 24), 14 * 2 * 12 * (7 + 12)),
        (gru.GRUCell(3, 4), (2, 3), 12 * 7 + 24, 2 * 12 * 7),
        (lstm.LSTMCell(3, 4), (2, 3), 16 * 7 + 32, 2 * 16 * 7),
        (nn.LSTMCell(3, 4), (2, 3), 16 * 7 + 32, 2 * 16 * 7),
        (nn.BatchNorm2d(3), (1, 3, 4, 4), 6, 0),
        (stcnn.MaxPool3d(2), (1, 1, 2, 2, 2), 0, 0),
    ],
)
def test_one_layer_by_hand(layer, shape, weights, multiply_adds):
    counted = count(layer, torch.zeros(shape))
    assert (counted.weights, counted.multiply_adds) == (weights, multiply_adds)
    assert len(counted.rows) == 1 and counted.rows[0].kind == type(layer).__name__


def test_on_the_meta_device_the_count_is_the_same():
    def counts(device):
        with torch.device(device):
            block, recurrent = stcnn.STCNN(3, 4, 3, layers="lessons"), gru.GRU(3, 4)
            return count(block, torch.zeros(1, 3, 7, 20, 30)), count(recurrent, torch.zeros(5, 2, 3))

    assert counts("meta") == counts("cpu")


def test_of_a_packed_sequence_only_the_valid_frames_count():
    packed = pack_padded_sequence(torch.zeros(7, 2, 3), torch.tensor([7, 4]))
    assert count(nn.GRU(3, 4), packed).multiply_adds == (7 + 4) * (12 * 3 + 12 * 4)


def test_the_course_layers_and_torchs_count_the_same():
    counts = []
    for layers in ("lessons", "torch"):
        recurrent = gru.GRU if layers == "lessons" else nn.GRU
        block = stcnn.STCNN(1, 4, 3, padding=1, norm=True, layers=layers)
        counts.append(
            (count(block, torch.zeros(1, 1, 3, 4, 4)), count(recurrent(3, 4, 2), torch.zeros(5, 1, 3)))
        )
    for ours, theirs in zip(*counts, strict=True):
        assert ours == theirs


def test_weights_are_torchinfos_and_multiply_adds_differ_by_the_biases_only():
    """torchinfo counts a bias as one more multiply-add for each output number.

    For ``nn.Linear`` on (T, B, F) it multiplies by T only, so the comparison there is on (N, F).
    """
    convolutions = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3, groups=2), nn.BatchNorm2d(4)
    )
    cases = [
        (convolutions, (2, 3, 12, 10), 2 * 8 * 10 * 8 + 2 * 4 * 8 * 6),
        (nn.Conv3d(3, 8, 3, bias=False), (2, 3, 5, 6, 7), 0),
        (nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 2)), (6, 5), 6 * 7 + 6 * 2),
        (nn.GRU(5, 4, 2, bidirectional=True), (9, 3, 5), 9 * 3 * 4 * 24),
        (nn.LSTM(5, 4), (9, 3, 5), 9 * 3 * 32),
    ]
    for model, shape, biases in cases:
        ours = count(model, torch.zeros(shape))
        theirs = torchinfo.summary(model, input_size=shape, verbose=0)
        assert ours.weights == theirs.total_params
        norm = sum(
            shape[0] * p.numel()
            for m in model.modules()
            if isinstance(m, nn.BatchNorm2d)
            for p in m.parameters()
        )
        assert ours.multiply_adds == theirs.total_mult_adds - biases - norm


def test_on_lipnet_torchinfo_agrees_on_every_weight():
    theirs = torchinfo.summary(PublicLipNet(), input_size=(1, 3, 2, 64, 128), verbose=0)
    assert theirs.total_params == lipnet().weights


def test_a_layer_used_twice_weighs_once_and_costs_twice():
    shared = nn.Linear(4, 4)
    counted = count(nn.Sequential(shared, nn.ReLU(), shared), torch.zeros(1, 4))
    assert [(row.kind, row.weights, row.multiply_adds, row.calls) for row in counted.rows] == [
        ("Linear", 20, 32, 2),
        ("ReLU", 0, 0, 1),
    ]


def test_a_parameter_in_two_layers_counts_in_the_first():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    counted = count(nn.Sequential(first, second), torch.zeros(1, 4))
    assert [row.weights for row in counted.rows] == [20, 4]
    assert counted.multiply_adds == 32


class Odd(nn.Module):
    """A parameter beside its layers, a layer that never runs, and a layer run before one declared earlier."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.late, self.early, self.never = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        return self.late(self.early(x) * self.scale)


def test_what_cannot_be_counted_is_said_and_nothing_is_forgotten():
    counted = count(Odd(), torch.zeros(1, 3))
    assert [row.name for row in counted.rows] == ["early", "late", "(the model)", "never"]
    assert counted.weights == sum(p.numel() for p in Odd().parameters())
    by_name = {row.name: row for row in counted.rows}
    assert by_name["(the model)"].multiply_adds is None
    assert by_name["never"].output_shape is None and by_name["never"].multiply_adds == 0
    assert counted.multiply_adds == 18
    assert str(counted).splitlines()[-1].endswith("18 + ?") and "not run" in str(counted)


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 3))
    model[1].eval()
    before = [module.training for module in model.modules()]
    mean = model[0].running_mean.clone()
    count(model, torch.ones(4, 3))
    with pytest.raises(RuntimeError):
        count(model, torch.ones(4, 5))
    assert [module.training for module in model.modules()] == before
    assert torch.equal(model[0].running_mean, mean)
    assert not any(module._forward_hooks for module in model.modules())


def test_the_table_is_aligned_and_readable():
    text = str(lipnet()).splitlines()
    assert len({len(line) for line in text}) == 1
    assert text[0].split() == ["layer", "kind", "output", "weights", "multiply-adds"]
    assert text[2].split() == ["conv1", "Conv3d", "1x32x75x32x64", "7,232", "1,105,920,000"]
    assert text[-1].split() == ["total", "6,638,844", f"{lipnet().multiply_adds:,}"]
    assert any("ReLU (3 calls)" in line for line in text)
