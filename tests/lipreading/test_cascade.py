"""The cascade: who answers which clip, in a batch, in a stream, from a file, and what is refused."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from lessons.cli.read import main, read
from lessons.data.batch import normalize
from lessons.data.clips import ClipSet
from lessons.data.video import write_video
from lessons.lipreading import Cascade, LipNet, SmallLipNet, StrangerLipNet
from lessons.lipreading.cascade import letter_entropy
from lessons.lipreading.live_reader import known, watch
from lessons.lipreading.saliency import saliency
from lessons.lipreading.streaming import FrontEnd, Stream
from lessons.training import checkpoint, export
from lessons.training.evaluation import evaluate

SIZE = (16, 32)
SIZES = {"in_channels": 1, "frame_size": SIZE, "channels": (2, 3, 4), "hidden_size": 5}


def parts() -> tuple[SmallLipNet, StrangerLipNet]:
    """Two tiny models of different widths, with random weights, in ``eval`` mode."""
    torch.manual_seed(0)
    familiar, general = SmallLipNet(**SIZES, projection=6), StrangerLipNet(**SIZES, projection=7, neck=3)
    with torch.no_grad():
        for model in (familiar, general):
            model(torch.randn(4, 1, 6, *SIZE))  # the running statistics of the normalization
            model.head.weight.mul_(5)  # so that entropies differ
    return familiar.eval(), general.eval()


def clips(n: int = 5, n_frames: int = 9) -> Tensor:
    frames = torch.rand(n, n_frames, *SIZE, generator=torch.Generator().manual_seed(5)) * 255
    return normalize(frames)[:, None]  # (B, 1, T, H, W)


def between(familiar: LipNet, x: Tensor, lengths: Tensor | None = None) -> float:
    """An entropy between those of the clips, so that each model answers some."""
    with torch.no_grad():
        entropy = letter_entropy(familiar(x, lengths), lengths).sort().values
    assert entropy[1] < entropy[2] < math.inf
    return float(entropy[1:3].mean())


# ---- entropy -----------------------------------------------------------------------------------------------


def test_the_entropy_is_that_of_the_frames_with_letters():
    p = torch.tensor([[0.1, 0.6, 0.3], [0.9, 0.05, 0.05], [0.2, 0.2, 0.6]])  # the second frame is blank
    expected = np.mean([-(row * row.log()).sum().item() for row in (p[0], p[2])])
    found = letter_entropy(p.log()[:, None] + 7)  # logits are known up to a constant
    assert found.item() == pytest.approx(expected, rel=1e-5)
    # No letter, no confidence; and a certain frame has an entropy of 0, not NaN.
    assert letter_entropy(p[1:2].log()[:, None]).item() == math.inf
    assert letter_entropy(torch.tensor([[[-math.inf, 0.0, -math.inf]]])).item() == 0


def test_frames_past_the_end_do_not_count():
    logits = torch.randn(8, 3, 5, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([8, 3, 0])
    found = letter_entropy(logits, lengths)
    for i, n in enumerate(lengths[:2]):
        torch.testing.assert_close(found[i : i + 1], letter_entropy(logits[:n, i : i + 1]))
    assert found[2] == math.inf
    with pytest.raises(ValueError, match="lengths"):
        letter_entropy(logits, torch.tensor([9, 3, 0]))


# ---- who answers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lengths", [None, torch.tensor([9, 9, 4, 9, 6])])
def test_each_clip_of_a_batch_is_read_by_the_right_model(lengths):
    familiar, general = parts()
    x = clips()
    limit = between(familiar, x, lengths)
    cascade = Cascade(familiar, general, limit).eval()
    with torch.no_grad():
        found = cascade(x, lengths)
        sure = letter_entropy(familiar(x, lengths), lengths) <= limit
        one, other = familiar(x, lengths), general(x, lengths)
        again = cascade.classify(cascade.features(x, lengths), lengths)
    assert sure.sum() == 2
    for i in range(len(x)):
        n = len(found) if lengths is None else int(lengths[i])
        torch.testing.assert_close(found[:n, i], (one if sure[i] else other)[:n, i])
        torch.testing.assert_close(found[:n, i], again[:n, i])  # from features too
        alone = cascade(x[i : i + 1, :, :n])  # a batch of one, without padding
        torch.testing.assert_close(found[:n, i], alone[:, 0], rtol=1e-4, atol=1e-4)


def test_the_general_model_computes_only_what_is_passed_on(monkeypatch):
    familiar, general = parts()
    x, seen = clips(), []
    forward = general.forward
    monkeypatch.setattr(general, "forward", lambda x, lengths: (seen.append(len(x)), forward(x, lengths))[1])
    for limit, expected in ((between(familiar, x), [3]), (1e9, []), (1e-9, [5])):
        seen.clear()
        Cascade(familiar, general, limit).eval()(x)
        assert seen == expected


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_clip_without_letters_or_with_nan_is_passed_on(value):
    familiar, general = parts()
    with torch.no_grad():
        familiar.head.bias[0] = value if math.isnan(value) else 1e4  # NaN, or the blank everywhere
        x = clips()
        torch.testing.assert_close(Cascade(familiar, general, 100.0).eval()(x), general(x))


def test_gradients_flow_through_the_model_that_answers():
    familiar, general = parts()
    x = clips()
    cascade = Cascade(familiar, general, between(familiar, x)).eval()
    cascade(x).sum().backward()
    assert all(model.head.weight.grad.abs().sum() > 0 for model in (familiar, general))
    path = torch.zeros(9, dtype=torch.long).index_fill(0, torch.tensor([3, 4]), 2)
    assert saliency(cascade, x[0], path).shape == (9, *SIZE)


def test_with_twice_the_frames():
    torch.manual_seed(0)
    familiar, general = (SmallLipNet(**SIZES, projection=6, upsample=2).eval() for _ in range(2))
    x, lengths = clips(3), torch.tensor([9, 5, 7])
    found = Cascade(familiar, general).eval()(x, lengths)
    assert found.shape == (18, 3, 28) and Cascade(familiar, general).output_lengths(lengths)[1] == 10


def test_models_that_do_not_fit_are_refused():
    familiar, general = parts()
    for other, name in (
        ({"in_channels": 3}, "in_channels"),
        ({"frame_size": (32, 32)}, "frame_size"),
        ({"num_classes": 30}, "num_classes"),
        ({"upsample": 2}, "upsample"),
    ):
        with pytest.raises(ValueError, match=rf"{name}: familiar has .*, general .*; expected the same"):
            Cascade(familiar, SmallLipNet(**{**SIZES, **other}))
    for limit in (0, -1.0, math.nan, math.inf, True, "0.2", None):
        with pytest.raises(ValueError, match="expected a number of nats above 0"):
            Cascade(familiar, general, limit)


# ---- wherever a model goes ---------------------------------------------------------------------------------


def test_a_stream_gives_what_the_whole_clip_gives():
    familiar, general = parts()
    x = clips(1, 30)
    for limit in (1e-9, 1e9):
        cascade = Cascade(familiar, general, limit).eval()
        front, pieces = FrontEnd(cascade), []
        with torch.inference_mode():
            for start in range(0, 30, 7):
                pieces.append(front(x[:, :, start : start + 7], last=start == 28))
            torch.testing.assert_close(torch.cat(pieces), cascade.features(x), rtol=1e-4, atol=1e-4)
        frames = np.random.default_rng(0).integers(0, 256, (40, *SIZE), dtype=np.uint8)
        stream, alone = Stream(cascade), Stream(general if limit < 1 else familiar)
        for reader in (stream, alone):
            for start in range(0, 40, 5):
                reader.push(torch.from_numpy(frames[start : start + 5]), last=start == 35)
        torch.testing.assert_close(stream.log_probs(), alone.log_probs())
        assert stream.emitted == alone.emitted


def test_the_live_reader_takes_it():
    familiar, general = parts()
    video = np.random.default_rng(0).integers(0, 256, (30, 64, 96), dtype=np.uint8)
    boxes = np.tile(np.array([20, 20, 60, 40], np.float32), (30, 1))
    for limit, alone in ((1e-9, general), (1e9, familiar)):
        live, expected = (
            watch(video, known(boxes), reader) for reader in (Cascade(familiar, general, limit).eval(), alone)
        )
        torch.testing.assert_close(live.stream.log_probs(), expected.stream.log_probs())
        assert live.emitted == expected.emitted


def test_it_is_evaluated_like_a_model():
    cascade = Cascade(*parts())
    frames = np.random.default_rng(0).integers(0, 256, (3, 30, *SIZE), dtype=np.uint8)
    some = ClipSet(frames, np.full(3, 30), ("a", "b", "c"), ("now",) * 3, ((),) * 3)
    assert len(evaluate(cascade, some).texts) == 3


# ---- files -------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    for name, model in zip(("familiar", "general"), parts(), strict=True):
        checkpoint.save(model, tmp_path / f"{name}.safetensors")
    write(tmp_path)
    return tmp_path


def write(folder, **changes) -> None:
    """A configuration whose parts lie beside it; a change of None leaves the key out."""
    config = {"familiar": "familiar.safetensors", "general": "general.safetensors", "max_entropy": 0.3}
    config = {key: value for key, value in {**config, **changes}.items() if value is not None}
    (folder / "cascade.json").write_text(json.dumps(config), encoding="utf-8")


def test_it_is_loaded_from_the_names_of_its_parts(folder):
    cascade = checkpoint.load(folder / "cascade.json")
    assert isinstance(cascade, Cascade) and not cascade.training and cascade.max_entropy == 0.3
    familiar, general = parts()
    x = clips()
    torch.testing.assert_close(cascade(x), Cascade(familiar, general, 0.3).eval()(x))
    write(folder, general="lipnet_small_synthetic")
    with pytest.raises(ValueError, match=r"cascade.json: frame_size: familiar has"):
        checkpoint.load(folder / "cascade.json")
    for name in ("familiar", "general"):
        write(folder, **{other: "lipnet_small_synthetic" for other in ("familiar", "general")})
        assert getattr(checkpoint.load(folder / "cascade.json"), name).frame_size == (32, 64)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"general": None}, r"holds \['familiar', 'max_entropy'\], expected an object with"),
        ({"extra": 1}, "holds .*'extra'"),
        ({"max_entropy": "0.3"}, "max_entropy='0.3': expected a number"),
        ({"max_entropy": -1}, "max_entropy=-1: expected a number"),
        ({"general": 3}, r"general=3, expected a .safetensors file"),
        ({"general": "cascade.json"}, "general='cascade.json', expected a .safetensors file"),
        ({"general": "lipnet_anyone"}, "general='lipnet_anyone', expected a .safetensors file"),
        ({"familiar": "weights.pt"}, "familiar='weights.pt', expected a .safetensors file"),
    ],
)
def test_a_bad_configuration_is_refused(folder, changes, told):
    write(folder, **changes)
    with pytest.raises(ValueError, match=told) as caught:
        checkpoint.load(folder / "cascade.json")
    assert str(folder / "cascade.json") in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"), [(b"[1]", "holds a list"), (b"{", "not a JSON text"), (b"\xff", "not a JSON text")]
)
def test_what_is_no_configuration_is_refused(folder, text, told):
    (folder / "cascade.json").write_bytes(text)
    with pytest.raises(ValueError, match=told):
        checkpoint.load(folder / "cascade.json")


def test_a_missing_part_is_named(folder):
    (folder / "general.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"general\.safetensors"):
        checkpoint.load(folder / "cascade.json")
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        checkpoint.load(folder / "none.json")


def test_the_one_that_comes_with_the_course_names_two_single_models():
    config = json.loads(
        (checkpoint.trained_folder("lipnet_anyone") / "cascade.json").read_text(encoding="utf-8")
    )
    assert set(config) == checkpoint.CASCADE_KEYS
    assert {config["familiar"], config["general"]} <= set(checkpoint.TRAINED) - {"lipnet_anyone"}


def test_it_is_not_exported_as_one_model(folder, capsys):
    assert export.main([str(folder / "cascade.json"), str(folder / "reader.onnx")]) == 1
    assert "the model is a cascade: expected a single LipNet" in capsys.readouterr().err


def test_the_command_reads_with_it(folder, capsys):
    frames = np.random.default_rng(0).integers(0, 256, (30, 64, 128, 3), dtype=np.uint8)
    write_video(folder / "a.mp4", frames)
    for options in ([], ["--decoder", "grammar"], ["--stream"]):
        assert main([str(folder / "a.mp4"), "--model", str(folder / "cascade.json"), *options]) == 0
        assert "real-time factor" in capsys.readouterr().err


@pytest.mark.parametrize("limit", [1e-9, 1e9])
def test_a_video_is_read_as_by_the_model_that_answers(folder, limit):
    familiar, general = parts()
    frames = np.random.default_rng(1).integers(0, 256, (130, 64, 128, 3), dtype=np.uint8)
    write_video(folder / "a.mp4", frames)
    alone, _ = read(folder / "a.mp4", general if limit < 1 else familiar)
    found, _ = read(folder / "a.mp4", Cascade(familiar, general, limit).eval())
    assert found.words == alone.words and found.sentences == alone.sentences
