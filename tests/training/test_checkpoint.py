"""A trained model goes into a file and comes back; anything else in the file is refused."""

from __future__ import annotations

import json
import os

import pytest
import torch
from disk import full_disk
from safetensors import safe_open
from safetensors.torch import save_file

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
    with pytest.raises(FileNotFoundError, match=r"is a folder; expected a \.safetensors file; the course's"):
        checkpoint.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^'': the name is empty; the course's own models are"):
        checkpoint.load("")
    checkpoint.save(model, path)
    with pytest.raises(FileNotFoundError, match="is a folder; did you mean") as caught:
        checkpoint.load(tmp_path)
    assert str(path) in str(caught.value)
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


def written(path) -> tuple[dict, dict]:
    """Tensors and words of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


CONFIGS = [
    ({"upsample": 100_000}, "expected an integer from 1 to 16"),
    ({"upsample": 0}, "upsample=0"),
    ({"upsample": 2.0}, r"upsample=2\.0"),
    ({"upsample": True}, "upsample=True"),
    ({"channels": []}, "no LipNet"),
    ({"channels": "abc"}, "no LipNet"),
    ({"frame_size": [16]}, "no LipNet"),
    ({"dropout": "much"}, "no LipNet"),
    ({"hidden_size": -3}, "no LipNet"),
    ({"hidden_size": 40_000}, "disagree at"),
    ({"channels": [20_000, 20_000, 20_000]}, "disagree at"),
    ({"hidden_size": 10**15}, "disagree at|no LipNet"),
]


@pytest.mark.parametrize(("change", "message"), CONFIGS, ids=[str(change) for change, _ in CONFIGS])
def test_a_configuration_that_asks_for_much_is_refused_without_making_it(tmp_path, model, change, message):
    """A model of hidden_size 40,000 takes 77 GB: that it was not made is why this test ends."""
    path = tmp_path / "model.safetensors"
    config = json.dumps(model.config | change)
    save_file(model.state_dict(), path, metadata={"config": config})
    with pytest.raises(ValueError, match=message) as caught:
        checkpoint.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("config", ["[" * 100_000, "[1]", "null", '{"a": ' * 3000, "9" * 5000, "{"])
def test_a_configuration_that_is_none_is_refused(tmp_path, model, config):
    save_file(model.state_dict(), tmp_path / "m.safetensors", metadata={"config": config})
    with pytest.raises(ValueError, match="no LipNet has the configuration") as caught:
        checkpoint.load(tmp_path / "m.safetensors")
    assert len(str(caught.value)) < 1000


def test_other_kinds_of_numbers_are_refused(tmp_path, model):
    config = {"config": json.dumps(model.config)}
    path = tmp_path / "model.safetensors"
    for name, dtype in (("head.bias", torch.int64), ("stcnn1.norm.num_batches_tracked", torch.float32)):
        save_file(model.state_dict() | {name: model.state_dict()[name].to(dtype)}, path, metadata=config)
        with pytest.raises(ValueError, match=f"{name} is {dtype}"):
            checkpoint.load(path)
    large = torch.full_like(model.head.bias.data, 1e300, dtype=torch.float64)  # infinite in float32
    save_file(model.state_dict() | {"head.bias": large}, path, metadata=config)
    with pytest.raises(ValueError, match=r"infinite weights, the first in head\.bias"):
        checkpoint.load(path)


def test_equal_models_give_equal_bytes(tmp_path, model):
    """Safetensors itself writes the words in another order in every file."""
    about = {name: name * 2 for name in "abcdefgh"}
    for i in range(4):
        checkpoint.save(model, tmp_path / f"{i}.safetensors", about)
    first, *others = ((tmp_path / f"{i}.safetensors").read_bytes() for i in range(4))
    assert all(other == first for other in others)
    tensors, words = written(tmp_path / "0.safetensors")
    assert words == about | {"config": json.dumps(model.config)}
    assert all(torch.equal(tensors[name], value) for name, value in model.state_dict().items())


def test_a_full_disk_is_named_and_the_old_file_stays(tmp_path, model, monkeypatch):
    path = tmp_path / "model.safetensors"
    checkpoint.save(model, path)
    before = path.read_bytes()
    monkeypatch.setattr(type(path), "write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left") as caught:
        checkpoint.save(model, path)
    assert caught.value.filename == str(path) and "\n" not in str(caught.value)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
