"""The LipNet for strangers: what passes its bottleneck, padding, gradients, files, streams."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lessons.data.batch import normalize
from lessons.data.motions import MEASURES, standardized
from lessons.lipreading import SmallLipNet, StrangerLipNet, reading
from lessons.lipreading.build import from_config
from lessons.lipreading.lipnet_stranger import N_MEASURES, standardize
from lessons.lipreading.reading import WindowReader
from lessons.lipreading.saliency import saliency
from lessons.lipreading.streaming import RunningNormalizer, Stream
from lessons.measure.counting import count
from lessons.training import checkpoint, export

SIZE = (16, 32)


def tiny(open_neck: bool = True, **options) -> StrangerLipNet:
    """A model that computes in milliseconds, in float64 and ``eval`` mode; its neck is open."""
    torch.manual_seed(0)
    sizes = {"in_channels": 1, "frame_size": SIZE, "channels": (4, 6, 8), "hidden_size": 8, "projection": 10}
    model = StrangerLipNet(neck=3, **sizes, **options)
    if open_neck:
        torch.nn.init.normal_(model.neck.widen.weight)
    with torch.no_grad():  # the running statistics of the normalization are not those of a new model
        model(torch.randn(4, 1, 6, *SIZE))
    return model.double().eval()


def clips(n: int = 2, n_frames: int = 9) -> Tensor:
    return torch.randn(n, 1, n_frames, *SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


# ---- standardizing -----------------------------------------------------------------------------------------


def test_each_value_gets_mean_0_and_deviation_1_over_its_own_clip():
    x = torch.randn(11, 3, 4, dtype=torch.float64) * 5 + 2
    lengths = torch.tensor([11, 6, 2])
    found = standardize(x, lengths)
    for i, n in enumerate(lengths):
        np.testing.assert_allclose(found[:n, i].mean(0), 0, atol=1e-12)
        np.testing.assert_allclose(found[:n, i].std(0, correction=0), 1, atol=0.02)
        assert not found[n:, i].any()
        torch.testing.assert_close(found[:n, i : i + 1], standardize(x[:n, i : i + 1]), rtol=0, atol=1e-12)
    np.testing.assert_allclose(standardize(x)[:, 0].numpy(), standardized(x[:, 0].numpy()), atol=1e-12)


@pytest.mark.parametrize("lengths", [None, [7, 1]])
def test_what_does_not_change_is_0_with_finite_gradients(lengths):
    x = torch.full((7, 2, 3), 4.0, dtype=torch.float64, requires_grad=True)
    found = standardize(x, None if lengths is None else torch.tensor(lengths))
    assert not found.any()
    (found * torch.arange(42).view(7, 2, 3)).sum().backward()
    assert torch.isfinite(x.grad).all()


# ---- the model ---------------------------------------------------------------------------------------------


def test_its_size_and_its_measures():
    model = StrangerLipNet()
    more = sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in SmallLipNet().parameters())
    measures, adapter = 160 * 64 + 64 + 64 * 9 + 9, 9 * 64 * 5 + 64 + 64 * 160 * 3 + 160
    assert more == measures + adapter + (160 * 12 + 12 + 12 * 160 * 3 + 160)
    assert N_MEASURES == len(MEASURES) == 9


@pytest.mark.parametrize("layers", ["lessons", "torch", "mixed"])
@pytest.mark.parametrize("upsample", [1, 2])
def test_a_padded_batch_says_what_each_clip_says_alone(layers, upsample):
    model, x = tiny(layers=layers, upsample=upsample), clips(3, 11)
    lengths = torch.tensor([11, 6, 1])
    with torch.no_grad():
        together = model(x, lengths)
        for i, n in enumerate(lengths):
            alone = model(x[i : i + 1, :, :n])
            torch.testing.assert_close(together[: n * upsample, i : i + 1], alone, rtol=0, atol=1e-12)
            x[i, :, n:] = 1e6  # whatever stands past the end
        torch.testing.assert_close(
            model(x, lengths.tolist())[:upsample], together[:upsample], rtol=0, atol=1e-12
        )
        assert (model(x)[: 6 * upsample, 1] - together[: 6 * upsample, 1]).abs().max() > 1e-3


@pytest.mark.parametrize("lengths", [None, [9, 5]])
@pytest.mark.parametrize("layers", ["lessons", "mixed"])
def test_our_layers_and_torchs_give_the_same(lengths, layers):
    theirs, ours = tiny(layers="torch"), tiny(layers=layers)
    assert list(theirs.state_dict()) == list(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    lengths = None if lengths is None else torch.tensor(lengths)
    outs, gradients = [], []
    for model in (ours, theirs):
        out = model(clips(), lengths)[:5]
        out.square().sum().backward()
        outs.append(out)
        gradients.append([p.grad for p in model.parameters()])
    torch.testing.assert_close(*outs, rtol=0, atol=1e-10)
    torch.testing.assert_close(*gradients, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("lengths", [None, [9, 5]])
def test_gradients_reach_every_part(lengths):
    model = tiny(open_neck=False).train()
    model(clips(), None if lengths is None else torch.tensor(lengths)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
    for part in (model.measures[0], model.adapter.conv1, model.neck.widen, model.stcnn1.conv):
        assert part.weight.grad.abs().max() > 1e-9
    # A neck that gives nothing learns first how to give: its zeros hold back what lies before them.
    assert not model.neck.squeeze.weight.grad.any()
    opened = tiny().train()
    opened(clips()).square().sum().backward()
    assert opened.neck.squeeze.weight.grad.abs().max() > 1e-9


def test_at_the_start_the_neck_gives_nothing():
    model = tiny(open_neck=False)
    features = model.features(clips())
    assert not model.neck(features).any()
    assert not model.train().neck(features).any()
    alone = model.eval().classify_mixed(
        features, model.measures(features), features[:, :0, :9], torch.zeros(2)
    )
    torch.testing.assert_close(alone, model.classify(features), rtol=0, atol=0)


def test_noise_is_of_training_alone():
    model, x = tiny(), clips()
    features = model.features(x).detach()
    assert torch.equal(model(x), model(x))
    still = model.neck(features)
    model.train()
    noisy = torch.stack([model.neck(features) for _ in range(300)])  # (300, T, B, F)
    assert noisy.std(0).min() > 0
    torch.testing.assert_close(noisy.mean(0), still, rtol=0, atol=5 * noisy.std(0).max().item() / 300**0.5)
    quiet = tiny(neck_noise=0.0).train()
    assert torch.equal(quiet.neck(features), quiet.neck(features))


def test_noise_past_the_end_of_a_clip_reaches_nothing():
    model = tiny().train()
    features, lengths = model.features(clips()).detach(), torch.tensor([9, 4])
    with torch.no_grad():
        model.neck.widen.bias.zero_()
    given = model.neck(features, lengths)  # (T, B, F); a kernel of 3 frames goes one beyond the end
    assert given[3:5, 1].abs().min() > 0 and not given[5:, 1].any()


def test_the_scale_of_what_is_measured_does_not_matter():
    """A crop can't tell the size of a mouth, so a measure counts by how it moves."""
    model = tiny(open_neck=False)
    before = model(clips())
    with torch.no_grad():
        model.measures[2].weight *= 1000
        model.measures[2].bias += 7
        scaled = model(clips())
        model.measures[2].weight *= 2
    torch.testing.assert_close(scaled, model(clips()), rtol=0, atol=1e-3)
    assert (scaled - before).abs().max() < 0.1


# ---- clips and motions together ----------------------------------------------------------------------------


@pytest.mark.parametrize("upsample", [1, 2])
def test_clips_among_motions_are_read_as_alone(upsample):
    model = tiny(upsample=upsample)
    features = model.features(clips(3))
    motions = torch.randn(9, 2, 9, dtype=torch.float64)
    keep = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    logits = model.classify_mixed(features, model.measures(features), motions, keep)
    assert logits.shape == (9 * upsample, 5, 28)
    alone = model.classify(features)
    torch.testing.assert_close(logits[:, [0, 2]], alone[:, [0, 2]], rtol=0, atol=1e-12)
    assert (logits[:, 1] - alone[:, 1]).abs().max() > 1e-3
    # Where the neck is shut, nothing but the measures is read, as it is of motions.
    as_motion = standardize(model.measures(features))[:, 1:2]
    nobody = features[:, :0]
    read = model.classify_mixed(nobody, nobody[..., :9], as_motion, keep[:0])
    torch.testing.assert_close(logits[:, 1:2], read, rtol=0, atol=1e-12)


def test_what_passes_a_shut_neck_is_nine_values():
    """Features that differ where no measure looks are one and the same to the rest of the network."""
    model = tiny()
    features = model.features(clips()).detach()
    first = model.measures[0].weight  # (64, F)
    _, _, directions = torch.linalg.svd(torch.cat((first, first.new_zeros(1, 10))))
    with torch.no_grad():
        model.measures[0].weight -= first @ torch.outer(directions[-1], directions[-1])  # sees 9 of 10
    moved = features + torch.randn(9, 2, 1, dtype=torch.float64) * directions[-1]
    shut, open_ = torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    none = features[:, :0, :9]
    logits = {
        name: model.classify_mixed(some, model.measures(some), none, keep)
        for name, some, keep in (
            ("a", features, shut),
            ("b", moved, shut),
            ("c", features, open_),
            ("d", moved, open_),
        )
    }
    torch.testing.assert_close(logits["a"], logits["b"], rtol=0, atol=1e-10)
    assert (logits["c"] - logits["d"]).abs().max() > 1e-2


# ---- configurations and files ------------------------------------------------------------------------------


def test_it_sees_what_the_model_sees_whose_convolutions_it_takes():
    torch.manual_seed(1)
    sizes = {"in_channels": 1, "frame_size": SIZE, "channels": (4, 6, 8), "hidden_size": 5, "projection": 10}
    other, model = SmallLipNet(**sizes), tiny()
    other(torch.randn(4, 1, 6, *SIZE))  # running statistics of its own
    other.double().eval()
    before = model.features(clips())
    model.take_front(other)
    torch.testing.assert_close(model.features(clips()), other.features(clips()), rtol=0, atol=0)
    assert (model.features(clips()) - before).abs().max() > 0.01
    with pytest.raises(ValueError, match="another shape or is missing; expected the same front"):
        model.take_front(SmallLipNet(**{**sizes, "channels": (4, 6, 9)}))


def test_a_file_of_weights_is_the_model(tmp_path):
    model = tiny(head="mlp", upsample=2, neck_noise=0.1).float()
    assert model.config["neck"] == 3 and model.config["neck_noise"] == 0.1
    checkpoint.save(model, tmp_path / "model.safetensors")
    for layers in ("torch", "mixed", "lessons"):
        loaded = checkpoint.load(tmp_path / "model.safetensors", layers)
        assert type(loaded) is StrangerLipNet and loaded.config == model.config
        assert loaded.neck.noise == 0.1 and not loaded.training
        torch.testing.assert_close(loaded(clips().float()), model(clips().float()), rtol=0, atol=1e-5)


def test_a_configuration_without_a_neck_is_no_stranger():
    config = tiny().config
    assert type(from_config(**config)) is StrangerLipNet
    del config["neck"], config["neck_noise"]
    assert type(from_config(**config)) is SmallLipNet
    with pytest.raises(TypeError, match="neck"):
        from_config(compact=False, neck=3)


@pytest.mark.parametrize(
    "wrong", [{"neck": 0}, {"neck": -1}, {"neck_noise": -0.1}, {"neck_noise": float("nan")}]
)
def test_refuses_impossible_necks(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"{name}=.*: expected"):
        StrangerLipNet(**wrong)


@pytest.mark.parametrize("wrong", [{"neck": 4}, {"neck": "3"}, {"neck": -3}, {"width": 3}])
def test_a_file_with_another_configuration_is_refused(tmp_path, wrong):
    model = tiny().float()
    model.config |= wrong
    checkpoint.save(model, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"model\.safetensors: "):
        checkpoint.load(tmp_path / "model.safetensors")


def test_it_can_be_counted_without_computing():
    with torch.device("meta"):
        counted = count(StrangerLipNet().eval(), torch.zeros(1, 1, 75, 32, 64))
    assert counted.weights == sum(p.numel() for p in StrangerLipNet().parameters())
    rows = {row.name: row for row in counted.rows}
    assert rows["neck.squeeze"].multiply_adds == 75 * 160 * 12 and rows["measures.2"].output_shape == (
        75,
        1,
        9,
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_take_half_precision_clips(dtype):
    model, x = tiny(layers="lessons"), clips()
    lengths = torch.tensor([9, 5])
    logits = model(x, lengths)
    found = model.to(dtype)(x.to(dtype), lengths)
    assert found.dtype == dtype
    torch.testing.assert_close(found[:5].double(), logits[:5], rtol=0.1, atol=0.2)


@pytest.mark.parametrize("upsample", [1, 2])
def test_it_goes_out_as_onnx(tmp_path, upsample):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = tiny(upsample=upsample).float()
    export.to_onnx(model, tmp_path / "out.onnx")
    reader = export.OnnxReader(tmp_path / "out.onnx")
    for n_clips, n_frames in ((1, 1), (2, 9), (3, 41)):
        x = clips(n_clips, n_frames).float()
        with torch.no_grad():
            torch.testing.assert_close(reader(x), model(x), rtol=0, atol=1e-3)


# ---- readers -----------------------------------------------------------------------------------------------


def test_when_the_clip_ends_the_stream_has_read_what_the_model_reads(monkeypatch):
    model = tiny().float()
    clip = clips(1, 23)[0, 0].float()  # (T, H, W)
    with torch.inference_mode():
        expected = model(clip[None, None])[:, 0].log_softmax(-1)  # (T, V)
    monkeypatch.setattr(RunningNormalizer, "__call__", lambda _self, frames: frames.float())
    stream = Stream(model)
    for piece in clip.split([1, 2, 1, 4, 15]):
        stream.push(piece)
        assert torch.isfinite(stream.log_probs()).all()
    stream.push(clip[:0], last=True)
    torch.testing.assert_close(stream.log_probs(), expected, rtol=0, atol=1e-5)


def test_clips_are_read_whole_and_in_windows():
    model = tiny().float()
    gray = torch.randint(0, 256, (120, *SIZE), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    with torch.inference_mode():
        expected = model(normalize(gray[None, :50])[:, None])[:, 0].log_softmax(-1)
    torch.testing.assert_close(reading.log_probabilities(model, gray[:50].numpy()), expected)
    reader = WindowReader(model)
    rows = list(reader.push(gray.numpy(), np.ones(120, bool), last=True))
    assert len(torch.cat(rows)) == reader.seen == 120


def test_saliency_is_there_for_it_too():
    model = tiny().float()
    found = saliency(model, clips(1, 6)[0].float(), [0, 3, 3, 0, 5, 1])
    assert torch.isfinite(found).all() and found.abs().max() > 0
