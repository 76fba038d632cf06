"""An ONNX file says what torch says at every length, and what went wrong is told in plain words."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
from torch import nn

from lessons.ctc.alphabet import Alphabet
from lessons.ctc.decode import greedy_decode
from lessons.lipreading import LipNet, SmallLipNet
from lessons.training import checkpoint, export

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def small(**change) -> LipNet:
    torch.manual_seed(0)
    return SmallLipNet(1, (16, 32), (4, 4, 4), hidden_size=8, projection=8, **change)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    model = checkpoint.load("lipnet_small_synthetic")
    path = tmp_path_factory.mktemp("onnx") / "reader.onnx"
    return model, path, export.to_onnx(model, path)


def test_any_number_of_frames_and_clips(trained):
    model, path, found = trained
    assert set(found) == set(export.CHECKED) and export.TRACED not in found
    assert max(found.values()) < export.TOLERANCE
    reader = export.OnnxReader(path)
    for n_clips, n_frames in ((1, 1), (1, 30), (3, 41), (2, 120)):
        x = torch.randn(n_clips, 1, n_frames, 32, 64)
        with torch.no_grad():
            expected = model(x)
        torch.testing.assert_close(reader(x), expected, rtol=0, atol=1e-3)
        lengths = torch.full((n_clips,), n_frames)
        assert greedy_decode(reader(x), lengths) == greedy_decode(expected, lengths)
    assert json.loads(reader.about["alphabet"]) == Alphabet().symbols
    assert json.loads(reader.about["frame_size"]) == [32, 64]


@pytest.mark.parametrize("name", ["lipnet_small_synthetic", "lipnet_strangers"])
def test_half_precision_halves_the_file_and_changes_nothing(name, tmp_path):
    model = checkpoint.load(name)  # stored in half precision
    for half in (False, True):
        export.to_onnx(model, tmp_path / f"{half}.onnx", half)
    assert (tmp_path / "True.onnx").stat().st_size < 0.52 * (tmp_path / "False.onnx").stat().st_size
    x = torch.randn(1, 1, 33, 32, 64)
    with torch.no_grad():
        expected = model(x)
    torch.testing.assert_close(export.OnnxReader(tmp_path / "True.onnx")(x), expected, rtol=0, atol=1e-3)


def test_half_precision_rounds_each_weight_once(tmp_path):
    torch.manual_seed(0)
    model = SmallLipNet(1, (16, 32), (8, 16, 16), hidden_size=16, projection=16).eval()
    found = export.to_onnx(model, tmp_path / "half.onnx", half=True)
    assert max(found.values()) < export.TOLERANCE
    checkpoint.save(model, tmp_path / "half.safetensors", half=True)
    x = torch.randn(1, 1, 33, 16, 32)
    with torch.no_grad():
        rounded, exact = checkpoint.load(tmp_path / "half.safetensors")(x), model(x)
    read = export.OnnxReader(tmp_path / "half.onnx")(x)
    torch.testing.assert_close(read, rounded, rtol=0, atol=1e-5)
    assert (read - exact).abs().max() > 1e-5


def test_half_precision_refuses_a_weight_that_it_would_change(trained):
    import onnx

    graph = onnx.load(str(trained[1]))
    (weight, *_) = [w for w in graph.graph.initializer if w.dims[:] == [16, 1, 3, 5, 5]]
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 1.001, weight.name))
    with pytest.raises(export.ExportError, match="not a float16 tensor"):
        export.store_half(graph)


@pytest.mark.parametrize("change", [{"upsample": 2}, {"head": "mlp"}, {"layers": "lessons"}])
def test_every_form_of_the_model_goes_out(change, tmp_path):
    export.to_onnx(small(**change).train(), tmp_path / "out.onnx")


def test_the_model_is_left_as_it_was(tmp_path):
    model = small().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    export.to_onnx(model, tmp_path / "out.onnx")
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


class Frozen:
    """A reader whose exporter fixed the number of frames."""

    def __init__(self, model):
        self.model = model

    def __call__(self, x):
        with torch.no_grad():
            return self.model(x[:, :, :20])


def test_a_frozen_number_of_frames_is_found():
    model = small().eval()
    with pytest.raises(export.ExportError, match=r"75 frames: logits \(20, 1, 28\), expected \(75, 1, 28\)"):
        export.compare(model, Frozen(model))


def test_another_answer_is_found():
    model, other = small().eval(), small().eval()
    with torch.no_grad():
        other.head.bias += 0.01
    with pytest.raises(export.ExportError, match=r"20 frames: a logit differs from torch's by 0\.01"):
        export.compare(model, lambda x: other(x).detach())
    with pytest.raises(export.ExportError, match="differs from torch's by nan"):
        export.compare(model, lambda x: other(x).detach() * float("nan"))


def test_nothing_is_written_when_the_check_fails(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise export.ExportError("no")

    monkeypatch.setattr(export, "compare", refuse)
    with pytest.raises(export.ExportError, match="no"):
        export.to_onnx(small(), tmp_path / "out.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_reader_says_what_is_wrong_with_its_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file"):
        export.OnnxReader(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("not a model", encoding="utf-8")
    with pytest.raises(ValueError, match="not an ONNX file"):
        export.OnnxReader(tmp_path / "text.onnx")


def test_a_reader_refuses_another_shape(trained):
    with pytest.raises(ValueError, match=r"refuses a tensor of shape \(1, 1, 4, 64, 32\)"):
        export.OnnxReader(trained[1])(torch.zeros(1, 1, 4, 64, 32))


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_packages_the_message_says_what_to_install(package, tmp_path, monkeypatch, capsys):
    def missing(name):
        if name == package:
            raise ImportError(name)
        return importlib.import_module(name)

    monkeypatch.setattr(export, "import_module", missing)
    assert export.main(["lipnet_small_synthetic", str(tmp_path / "out.onnx")]) == 1
    assert f"error: {package} is not installed" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "out", "message"),
    [
        ("nothing.safetensors", "out.onnx", "no such file"),
        ("lipnet_small_synthetic", "out.bin", "ends in .onnx"),
        (__file__, "out.onnx", "not a safetensors file"),
    ],
)
def test_the_command_says_what_is_wrong(model, out, message, tmp_path, capsys):
    assert export.main([model, str(tmp_path / out)]) == 1
    assert message in capsys.readouterr().err


def test_the_command_writes_the_file(tmp_path, capsys):
    assert export.main(["lipnet_small_synthetic", str(tmp_path / "out.onnx"), "--half"]) == 0
    assert "1.9 MB, read by onnxruntime as by torch (20 frames" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["out.onnx"]


@pytest.mark.parametrize("bias", [True, False])
def test_a_norm_folds_into_its_convolution(bias):
    torch.manual_seed(0)
    conv, norm = nn.Conv3d(2, 3, (3, 3, 1), (1, 2, 1), (1, 1, 0), bias=bias), nn.BatchNorm3d(3)
    pair = nn.Sequential(conv, norm).double()
    for parameter in norm.parameters():
        nn.init.normal_(parameter)
    for _ in range(3):
        pair(torch.randn(2, 2, 4, 6, 5, dtype=torch.float64) * 3 + 1)  # moves the running statistics
    x = torch.randn(1, 2, 5, 4, 4, dtype=torch.float64)
    folded = export.fold_norm(conv, norm)
    torch.testing.assert_close(folded(x), pair.eval()(x), rtol=0, atol=1e-12)


def test_nothing_is_written_to_the_home_folder_and_nobody_is_called(trained, tmp_path):
    _, path, _ = trained
    code = "import sys, time\nfrom lessons.training.export import OnnxReader\n"
    code += "OnnxReader(sys.argv[1])\ntime.sleep(1)"
    command, trace = [sys.executable, "-c", code, str(path)], tmp_path / "trace"
    if shutil.which("strace"):
        command = ["strace", "-f", "-qq", "-e", "trace=connect", "-o", str(trace), *command]
    home = tmp_path / "home"
    home.mkdir()
    variables = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    variables |= {"HOME": str(home), "USERPROFILE": str(home), "XDG_CACHE_HOME": str(home / "cache")}
    subprocess.run(command, env=variables, check=True)
    assert [file for file in home.rglob("*") if file.is_file()] == []
    assert not trace.exists() or "AF_INET" not in trace.read_text(encoding="utf-8")
