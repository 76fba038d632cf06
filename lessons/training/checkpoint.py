"""A trained model in one file: the weights, and what it takes to rebuild the model around them.

The file is a safetensors file: numbers and text, so nothing in it can run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from lessons.files import atomic
from lessons.lipreading.lipnet import Layers, LipNet
from lessons.lipreading.lipnet_small import from_config

Model = TypeVar("Model", bound=nn.Module)
TRAINED = ("lipnet_small_grid_s1", "lipnet_small_synthetic")  # what comes with the course: lessons/trained/


def save(
    model: nn.Module, path: str | Path, about: Mapping[str, str] | None = None, half: bool = False
) -> None:
    """Write the weights and the configuration of ``model``, all or nothing.

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
    with atomic(path) as part:
        save_file(state, part, metadata={"config": json.dumps(model.config), **(about or {})})
        part.chmod(0o644)  # safetensors makes files that only their owner can read


def load(path: str | Path, layers: Layers = "torch") -> LipNet:
    """Rebuild a LipNet from its file, ready to read (``eval`` mode, on the CPU).

    Args:
        path: a file that :func:`save` wrote, or one of the names in ``TRAINED``.
        layers: what the model computes with, see :class:`lessons.lipreading.lipnet.LipNet`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a safetensors file, cut short, or not a LipNet of this course.
    """
    path = trained_folder(str(path)) / "model.safetensors" if str(path) in TRAINED else Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; the course's own models are {', '.join(TRAINED)}")
    return rebuild(path, lambda **config: from_config(**config, layers=layers), "LipNet")


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
            state = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path}: not a safetensors file, or cut short ({error}). Pickled weights (.pt, .pth) are not "
            "read here: the public port's go through lessons.lipreading.public_checkpoint"
        ) from error
    if "config" not in about:
        raise ValueError(
            f"{path}: holds no {kind} configuration; was it written by lessons.training.checkpoint.save?"
        )
    try:
        model = make(**json.loads(about["config"]))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: no {kind} has the configuration {about['config']} ({error})") from error
    found = {name: tuple(value.shape) for name, value in state.items()}
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if found != expected:
        wrong = sorted({name for name, _ in set(found.items()) ^ set(expected.items())})
        raise ValueError(
            f"{path}: weights and configuration disagree at {', '.join(wrong[:3])}: "
            f"found {found.get(wrong[0])}, expected {expected.get(wrong[0])}"
        )
    state = {name: value.float() if value.dtype == torch.float16 else value for name, value in state.items()}
    if any(not bool(torch.isfinite(value).all()) for value in state.values()):
        raise ValueError(f"{path}: holds NaN or infinite weights")
    model.load_state_dict(state)
    return model.eval()


def trained_folder(name: str) -> Path:
    """The folder of a model that comes with the course: weights, learning curve, results, model card."""
    return Path(str(resources.files("lessons"))) / "trained" / name
