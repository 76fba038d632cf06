"""LipNet against the same architecture written with torch's layers, and what it refuses."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lessons.lipreading import LipNet, SmallLipNet
from lessons.lipreading.build import from_config
from lessons.lipreading.public_checkpoint import load_public_checkpoint
from lessons.measure.counting import count


class PublicPort(nn.Module):
    """The public port's architecture and names, rebuilt from torch's layers alone; returns (B, T, V)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, 32, (3, 5, 5), (1, 2, 2), (1, 2, 2))
        self.conv2 = nn.Conv3d(32, 64, (3, 5, 5), 1, (1, 2, 2))
        self.conv3 = nn.Conv3d(64, 96, (3, 3, 3), 1, (1, 1, 1))
        self.pool = nn.MaxPool3d((1, 2, 2), (1, 2, 2))
        self.gru1 = nn.GRU(96 * 4 * 8, 256, bidirectional=True)
        self.gru2 = nn.GRU(512, 256, bidirectional=True)
        self.FC = nn.Linear(512, 28)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv in (self.conv1, self.conv2, self.conv3):
            x = self.pool(torch.relu(conv(x)))
        x = x.permute(2, 0, 1, 3, 4).flatten(2)
        x = self.gru2(self.gru1(x)[0])[0]
        return self.FC(x).permute(1, 0, 2)


def tiny(compact: bool = False, **options) -> LipNet:
    """A LipNet that computes in milliseconds, in float64."""
    torch.manual_seed(0)
    sizes = {"in_channels": 1, "frame_size": (16, 32), "channels": (4, 6, 8), "hidden_size": 8}
    model = from_config(compact, 8, **sizes, **options)
    return model.double().eval()


@pytest.fixture(scope="module")
def port() -> PublicPort:
    torch.manual_seed(3)
    return PublicPort().eval()


def test_the_published_model_has_6638844_weights():
    assert sum(p.numel() for p in LipNet().parameters()) == 6_638_844


def test_the_small_model_has_less_than_a_million_weights():
    assert sum(p.numel() for p in SmallLipNet().parameters()) == 925_068


def test_weights_sit_where_the_table_says():
    rows = {row.name: row.weights for row in count(LipNet(), torch.zeros(1, 3, 2, 64, 128)).rows}
    found = [rows[n] for n in ("stcnn1.conv", "stcnn2.conv", "stcnn3.conv", "gru1", "gru2", "head")]
    assert found == [7_232, 153_664, 165_984, 5_114_880, 1_182_720, 14_364]


@pytest.mark.parametrize("layers", ["torch", "lessons"])
def test_is_counted_on_the_meta_device_without_computing_anything(layers):
    with torch.device("meta"):
        counted = count(LipNet(layers=layers).eval(), torch.zeros(1, 3, 75, 64, 128))
    assert (counted.weights, counted.multiply_adds) == (6_638_844, 9_069_619_200)
    assert counted.rows[-1].output_shape == (75, 1, 28)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_public_checkpoint_gives_the_ports_logits(tmp_path, port, prefix):
    path = tmp_path / "port.pt"
    torch.save({prefix + name: value for name, value in port.state_dict().items()}, path)
    x = torch.randn(1, 3, 4, 64, 128)
    model = load_public_checkpoint(path)
    with torch.no_grad():
        torch.testing.assert_close(model(x).transpose(0, 1), port(x), rtol=1e-4, atol=1e-5)


def test_public_checkpoint_refuses_what_is_not_one(tmp_path, port):
    path = tmp_path / "port.pt"
    with pytest.raises(FileNotFoundError, match=r"port\.pt"):
        load_public_checkpoint(path)
    torch.save(port.state_dict(), path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="cut short"):
        load_public_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="cut short"):
        load_public_checkpoint(path)
    torch.save(port, path)  # a pickled module, whose loading could run anything
    with pytest.raises(ValueError, match="more than tensors"):
        load_public_checkpoint(path)
    torch.save([1, 2], path)
    with pytest.raises(ValueError, match="found list"):
        load_public_checkpoint(path)
    torch.save({**port.state_dict(), "FC.bias": torch.zeros(40)}, path)
    with pytest.raises(ValueError, match="shapes differ"):
        load_public_checkpoint(path)


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("lengths", [None, [9, 5]])
@pytest.mark.parametrize("layers", ["lessons", "mixed"])
def test_our_layers_and_torchs_give_the_same(compact, head, lengths, layers):
    theirs = tiny(compact, head=head, layers="torch")
    ours = tiny(compact, head=head, layers=layers)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 1, 9, 16, 32, dtype=torch.float64)
    lengths = None if lengths is None else torch.tensor(lengths)
    outs, gradients = [], []
    for model in (ours, theirs):
        out = model(x, lengths)
        out[:5].square().sum().backward()
        outs.append(out[:5])
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*outs, rtol=0, atol=1e-10)
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("layers", ["lessons", "torch"])
@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("upsample", [1, 2])
def test_padding_never_changes_a_valid_frame(layers, compact, upsample):
    model = tiny(compact, upsample=upsample, layers=layers)
    x = torch.randn(3, 1, 11, 16, 32, dtype=torch.float64)
    lengths = torch.tensor([11, 6, 1])
    with torch.no_grad():
        together = model(x, lengths)
        ignored = model(x, None)
        for i, n in enumerate(lengths):
            alone = model(x[i : i + 1, :, :n])
            torch.testing.assert_close(together[: n * upsample, i : i + 1], alone, rtol=0, atol=1e-12)
            x[i, :, n:] = 1e6  # whatever stands past the end
        torch.testing.assert_close(model(x, lengths)[:upsample], together[:upsample], rtol=0, atol=1e-12)
    # and it is the lengths that do it: without them the backward GRU reads the padding first
    assert (ignored[: 6 * upsample, 1] - together[: 6 * upsample, 1]).abs().max() > 1e-3


def test_upsampling_shows_each_frame_again():
    x = torch.randn(2, 1, 7, 16, 32, dtype=torch.float64)
    model = tiny(upsample=3)
    assert model(x).shape == (21, 2, 28)
    assert model.output_lengths(torch.tensor([7, 4])).tolist() == [21, 12]


def test_the_last_map_is_an_eighth_of_the_frame_where_lipnets_is_a_sixteenth():
    frames = torch.zeros(1, 1, 2, 32, 64)
    for compact, share in ((True, 8), (False, 16)):
        model = from_config(compact, 4, in_channels=1, frame_size=(32, 64), channels=(2, 3, 4), hidden_size=4)
        x = model.stcnn3(model.stcnn2(model.stcnn1(frames)))
        assert x.shape == (1, 4, 2, 32 // share, 64 // share)


def test_any_frame_size_channels_and_vocabulary():
    model = LipNet(2, (50, 100), (3, 4, 5), hidden_size=6, num_classes=40)
    assert model(torch.randn(2, 2, 3, 50, 100)).shape == (3, 2, 40)
    assert model.gru1.input_size == 5 * 3 * 6  # the port's hard-coded 96*4*8 fails here


def test_first_weights_keep_signals_in_size():
    torch.manual_seed(0)
    model = LipNet()
    x = torch.randn(1, 3, 4, 64, 128)
    first = model.stcnn1.conv(x)
    assert 1.2 < first[:, :, 1:3, 2:-2, 2:-2].std() < 1.6  # He: variance 2, halved by the ReLU
    for gru in (model.gru1, model.gru2):
        for gate in gru.weight_hh_l0.chunk(3):
            torch.testing.assert_close(gate @ gate.T, torch.eye(256), rtol=0, atol=1e-5)
        for gate in gru.weight_ih_l0.chunk(3):
            # Glorot uniform with the fans of one gate: variance 2 / (inputs + units)
            assert gate.std().item() == pytest.approx((2 / (gru.input_size + 256)) ** 0.5, rel=0.02)
        assert not gru.bias_ih_l0.any() and not gru.bias_hh_l0_reverse.any()


def test_hooks_see_the_convolution_before_the_relu():
    seen = []
    model = tiny()
    model.stcnn1.conv.register_forward_hook(lambda _m, _i, out: seen.append(out))
    model(torch.randn(1, 1, 3, 16, 32, dtype=torch.float64))
    assert seen[0].min() < 0  # an in-place ReLU would have made it 0 by now


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 3, 32, 16), "swapped"),
        ((1, 3, 3, 16, 32), "expected"),
        ((1, 1, 3, 16, 30), "expected"),
        ((1, 1, 0, 16, 32), "expected"),
        ((1, 3, 16, 32), "expected"),
    ],
)
def test_refuses_clips_of_another_shape(shape, message):
    with pytest.raises(ValueError, match=message):
        tiny()(torch.zeros(shape, dtype=torch.float64))


def test_refuses_other_bad_input():
    x = torch.zeros(2, 1, 4, 16, 32, dtype=torch.float64)
    model = tiny()
    with pytest.raises(ValueError, match="uint8"):
        model(x.to(torch.uint8))
    with pytest.raises(ValueError, match="meta"):
        model(x.to("meta"))
    with pytest.raises(ValueError, match="NaN"):
        model(x + torch.nan)
    for lengths in ([4], [4, 5], [0, 4]):
        with pytest.raises(ValueError, match="lengths"):
            model(x, torch.tensor(lengths))
    with pytest.raises(ValueError, match="lengths"):
        model(x, torch.tensor([4.0, 3.0]))
    with pytest.raises(ValueError, match="16 x 16"):
        LipNet(1, (8, 8))
    with pytest.raises(ValueError, match="head"):
        LipNet(head="two")
    with pytest.raises(ValueError, match="layers"):
        LipNet(layers="keras")
    with pytest.raises(ValueError, match="upsample"):
        LipNet(upsample=0)


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("layers", ["lessons", "mixed"])
def test_half_precision_models_take_half_precision_clips(compact, dtype, layers):
    model, x = tiny(compact, layers=layers), torch.randn(2, 1, 5, 16, 32, dtype=torch.float64)
    logits = model(x, torch.tensor([5, 3]))
    found = model.to(dtype)(x.to(dtype), torch.tensor([5, 3]))
    assert found.dtype == dtype
    torch.testing.assert_close(found[:3].double(), logits[:3], rtol=0.1, atol=0.1)


def test_features_and_classify_are_the_forward_pass():
    model, x = tiny(upsample=2), torch.randn(2, 1, 5, 16, 32, dtype=torch.float64)
    lengths = torch.tensor([5, 3])
    features = model.features(x, lengths)
    assert features.shape[:2] == (5, 2)
    torch.testing.assert_close(model.classify(features, lengths), model(x, lengths), rtol=0, atol=0)


def test_a_hostile_public_checkpoint_is_refused_before_it_costs_memory(tmp_path, port):
    path, state = tmp_path / "port.pt", port.state_dict()
    torch.save({name: torch.zeros(1).half().expand(2**33) for name in state}, path)  # 16 GB each, in a few KB
    assert path.stat().st_size < 100_000
    with pytest.raises(ValueError, match="names or shapes differ"):
        load_public_checkpoint(path)
    torch.save(dict(enumerate(state.values())), path)
    with pytest.raises(ValueError, match="names are strings"):
        load_public_checkpoint(path)
    torch.save(state | {"FC.bias": torch.full((28,), float("nan"))}, path)
    with pytest.raises(ValueError, match=r"head.bias holds NaN"):
        load_public_checkpoint(path)
