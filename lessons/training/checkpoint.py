"""A trained model in one file: the weights, and what it takes to rebuild the model around them.

The file is a safetensors file: numbers and text, so nothing in it can run.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lessons.files import atomic, no_file
from lessons.lipreading.build import from_config
from lessons.lipreading.cascade import Cascade
from lessons.lipreading.lipnet import Layers, LipNet

Model = TypeVar("Model", bound=nn.Module)
# What comes with the course, in lessons/trained/. The last is a cascade of two others and has no weights.
TRAINED = ("lipnet_small_grid_s1", "lipnet_small_synthetic", "lipnet_strangers", "lipnet_anyone")
DEFAULT = "lipnet_anyone"
CASCADE_KEYS = {"familiar", "general", "max_entropy"}
MAX_UPSAMPLE = 16  # no weight shows it, and each clip takes so many times as long


def save(
    model: nn.Module, path: str | Path, about: Mapping[str, str] | None = None, half: bool = False
) -> None:
    """Write the weights and the configuration of ``model``, all or nothing; equal models give equal bytes.

    Args:
        model: what to keep; its ``config`` holds the arguments that make another like it.
        path: ends in ``.safetensors``.
        about: words to keep with it, such as the data it was trained on.
        half: store float16: half the bytes. Reading turns them back into float32.
    """
    state = {}
    for name, value in model.state_dict().items():
        value = value.detach().cpu().contiguous()
        state[name] = value.half() if half and value.is_floating_point() else value
    data = safetensors.torch.save(state, {"config": json.dumps(model.config), **(about or {})})
    with atomic(path) as part:
        part.write_bytes(_sorted_header(data))


def load(path: str | Path, layers: Layers = "torch") -> LipNet | Cascade:
    """Rebuild a LipNet, or a cascade of two, from its file, ready to read (``eval`` mode, on the CPU).

    Args:
        path: a file that :func:`save` wrote, a ``.json`` that names two of them (:func:`load_cascade`), or
            one of the names in ``TRAINED``.
        layers: what the model computes with, see :class:`lessons.lipreading.lipnet.LipNet`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a safetensors file, cut short, or not a LipNet of this course.
    """

    def make(upsample: int = 1, **config: Any) -> LipNet:
        if type(upsample) is not int or not 1 <= upsample <= MAX_UPSAMPLE:
            raise ValueError(f"upsample={upsample!r}: expected an integer from 1 to {MAX_UPSAMPLE}")
        return from_config(upsample=upsample, layers=layers, **config)

    if str(path) not in TRAINED and not os.path.isfile(path):
        raise FileNotFoundError(_no_model(path))
    path = _trained_file(str(path)) if str(path) in TRAINED else Path(path)
    if path.suffix == ".json":
        return load_cascade(path, layers)
    return rebuild(path, make, "LipNet")


def load_cascade(path: str | Path, layers: Layers = "torch") -> Cascade:
    """Rebuild the two models that a JSON file names, and join them.

    Args:
        path: holds ``{"familiar": ..., "general": ..., "max_entropy": ...}``, the arguments of
            :class:`lessons.lipreading.cascade.Cascade`; a model is a name in ``TRAINED`` or a
            ``.safetensors`` file, its path relative to this file's folder.
        layers: as in :func:`load`.

    Raises:
        FileNotFoundError: no such file, or no file of one of the models.
        ValueError: another content, or models that don't fit together.
    """
    path = Path(path)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # neither UTF-8 nor JSON
        raise ValueError(f"{path}: not a JSON text ({error})") from error
    if not isinstance(config, dict) or set(config) != CASCADE_KEYS:
        found = sorted(config) if isinstance(config, dict) else f"a {type(config).__name__}"
        raise ValueError(f"{path}: holds {found}, expected an object with {sorted(CASCADE_KEYS)}")
    parts = []
    for key in ("familiar", "general"):
        name = config[key]
        file = _trained_file(name) if name in TRAINED else path.parent / str(name)
        if file.suffix != ".safetensors":  # a cascade in a cascade included
            raise ValueError(
                f"{path}: {key}={name!r}, expected a .safetensors file or a LipNet of the course"
            )
        parts.append(load(file, layers))
    try:
        return Cascade(*parts, max_entropy=config["max_entropy"]).eval()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def rebuild(path: str | Path, make: Callable[..., Model], kind: str) -> Model:
    """Rebuild a model of any kind from its file (``eval`` mode, on the CPU).

    Args:
        path: a file that :func:`save` wrote.
        make: called with the configuration in the file, makes the model.
        kind: what to call such a model in a message.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a safetensors file, cut short, or not a model of this kind.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # no more than the file has bytes
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path}: not a safetensors file, or cut short ({error}). Pickled weights (.pt, .pth) are not "
            "read here: the public port's go through lessons.lipreading.public_checkpoint"
        ) from error
    if "config" not in about:
        raise ValueError(
            f"{path}: holds no {kind} configuration; was it written by lessons.training.checkpoint.save?"
        )

    def build() -> Model:
        try:
            return make(**json.loads(about["config"]))
        except Exception as error:  # a configuration from elsewhere may hold anything
            short = about["config"][:300]
            raise ValueError(f"{path}: no {kind} has the configuration {short} ({error})") from error

    return _fill(path, build, state)


def trained_folder(name: str) -> Path:
    """The folder of a model that comes with the course: weights, learning curve, results, model card."""
    return Path(str(resources.files("lessons"))) / "trained" / name


def _trained_file(name: str) -> Path:
    """The file of a model that comes with the course: its weights, or the names of the parts of a cascade."""
    folder = trained_folder(name)
    cascade = folder / "cascade.json"
    return cascade if cascade.is_file() else folder / "model.safetensors"


def _no_model(path: str | Path) -> str:
    """Say what lies at ``path``, where a model's file was expected, and what to give instead."""
    advice = f"the course's own models are {', '.join(TRAINED)}"
    if str(path) and os.path.isdir(path):
        files = [Path(path) / name for name in ("model.safetensors", "cascade.json")]
        inside = next((file for file in files if file.is_file()), None)
        advice = f"did you mean {inside}?" if inside else f"expected a .safetensors file; {advice}"
    return f"{str(path) or repr('')}: {no_file(path)}; {advice}"


def _fill(path: Path, build: Callable[[], Model], state: Mapping[str, Tensor]) -> Model:
    """The model that ``build`` makes, with the weights in ``state`` (``eval`` mode, on the CPU).

    Names and shapes are compared on the meta device, where a model takes no memory, and only then is it made.
    """
    with torch.device("meta"), _NoDraws():
        expected = {name: tuple(value.shape) for name, value in build().state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    if found != expected:
        wrong = sorted({name for name, _ in set(found.items()) ^ set(expected.items())})
        raise ValueError(
            f"{path}: weights and configuration disagree at {', '.join(wrong[:3])}: "
            f"found {found.get(wrong[0])}, expected {expected.get(wrong[0])}"
        )
    model = build()
    for name, value in model.state_dict().items():
        new = state[name]
        if new.is_floating_point() != value.is_floating_point() or new.device.type != "cpu":
            raise ValueError(f"{path}: {name} is {new.dtype} on {new.device}, expected {value.dtype} on cpu")
        new = new.to(value.dtype)
        if not bool(torch.isfinite(new).all()):
            raise ValueError(f"{path}: holds NaN or infinite weights, the first in {name}")
        value.copy_(new)
    return model.eval()


def _sorted_header(data: bytes) -> bytes:
    """A safetensors file with its words in order, which otherwise changes from one writing to the next.

    The file: the header's length in 8 bytes, the header in JSON, the tensors.
    """
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[end:]


class _NoDraws(TorchFunctionMode):
    """Skips random draws: on the meta device they draw nothing, and importing what says so takes a second."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return args[0] if func is Tensor.normal_ else func(*args, **(kwargs or {}))
