"""A trained model goes into a file and comes back; anything else in the file is refused."""

from __future__ import annotations

import os

import pytest
import torch
from safetensors.torch import save_file

from lessons.files import atomic
from lessons.lipreading import LipNet, SmallLipNet
from lessons.training import checkpoint


@pytest.fixture
def model() -> LipNet:
    torch.manual_seed(0)
    return SmallLipNet(1, (16, 32), (2, 3, 4), hidden_size=5, projection=6).eval()


@pytest.mark.parametrize("layers", ["lessons", "torch"])
def test_comes_back_the_same(tmp_path, model, layers):
    path = tmp_path / "model.safetensors"
    checkpoint.save(model, path, {"data": "none"})
    x = torch.randn(2, 1, 5, 16, 32)
    with torch.no_grad():
        torch.testing.assert_close(checkpoint.load(path, layers)(x), model(x), rtol=1e-5, atol=1e-6)


def test_half_precision_halves_the_file_and_hardly_moves_the_logits(tmp_path, model):
    checkpoint.save(model, tmp_path / "full.safetensors")
    checkpoint.save(model, tmp_path / "half.safetensors", half=True)
    loaded = checkpoint.load(tmp_path / "half.safetensors")
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    x = torch.randn(2, 1, 5, 16, 32)
    with torch.no_grad():
        assert (loaded(x) - model(x)).abs().max() < 1e-2  # float16 keeps 11 bits: 5e-4 of each weight
    sizes = [os.path.getsize(tmp_path / f"{name}.safetensors") for name in ("half", "full")]
    n_weights = sum(p.numel() for p in model.parameters())
    assert sizes[1] - sizes[0] >= 2 * n_weights - 100  # two bytes a weight, less the header's longer names


def test_refuses_other_files(tmp_path, model):
    path = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError, match="lipnet_small_grid_s1"):
        checkpoint.load(path)
    checkpoint.save(model, path)
    whole = path.read_bytes()
    for cut in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match="cut short"):
            checkpoint.load(path)
    torch.save(model, path)  # pickled
    with pytest.raises(ValueError, match="Pickled"):
        checkpoint.load(path)
    save_file(model.state_dict(), path)
    with pytest.raises(ValueError, match="no LipNet configuration"):
        checkpoint.load(path)
    save_file(model.state_dict(), path, metadata={"config": '{"lips": 2}'})
    with pytest.raises(ValueError, match="no LipNet has the configuration"):
        checkpoint.load(path)
    save_file(model.state_dict(), path, metadata={"config": '{"in_channels": 1}'})
    with pytest.raises(ValueError, match="disagree at"):
        checkpoint.load(path)
    with torch.no_grad():
        model.head.bias[3] = torch.nan
    checkpoint.save(model, path)
    with pytest.raises(ValueError, match="NaN"):
        checkpoint.load(path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(OSError, match=r"kept\.txt"), atomic(path) as part:
        part.write_text("half of the new", encoding="utf-8")
        raise OSError(28, "No space left on device")
    assert [p.name for p in tmp_path.iterdir()] == ["kept.txt"] and path.read_text(encoding="utf-8") == "old"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs the device that is always full")
def test_a_full_disk_is_named(tmp_path, model, monkeypatch):
    def full(_state, _path, metadata):
        with open("/dev/full", "wb", buffering=0) as disk:
            disk.write(b"weights")

    monkeypatch.setattr(checkpoint, "save_file", full)
    with pytest.raises(OSError, match="No space left") as caught:
        checkpoint.save(model, tmp_path / "model.safetensors")
    assert caught.value.filename.endswith("model.safetensors") and not list(tmp_path.iterdir())
