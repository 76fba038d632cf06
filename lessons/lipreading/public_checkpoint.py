"""Weights of the public PyTorch port of LipNet, read into this course's model."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from torch import Tensor

from lessons.lipreading.lipnet import Layers, LipNet


def load_public_checkpoint(path: str | Path, layers: Layers = "torch") -> LipNet:
    """Load weights of the public PyTorch port (``VIPL-Audio-Visual-Speech-Understanding/LipNet-PyTorch``).

    Its keys are conv1 ... conv3, gru1, gru2 and FC; its alphabet is ours (blank, space, A to Z). It returns
    (B, T, V) where LipNet here returns (T, B, V); the numbers are the same. Only tensors are read: a file
    that holds any other Python object is refused, nothing in it runs.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a checkpoint, cut short, or of another shape.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such checkpoint")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(f"{path}: holds more than tensors, or is cut short; give a state_dict") from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path}: not a torch checkpoint, or cut short ({error})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: expected a state_dict (names to tensors), found {type(state).__name__}")
    if not all(isinstance(name, str) for name in state):
        raise ValueError(f"{path}: expected a state_dict whose names are strings, found other keys")
    ours = {_public_to_ours(name): value for name, value in state.items()}
    model = LipNet(layers=layers)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in ours.items()}
    if expected != found:  # before a weight is converted: an expanded tensor of 1 KB may stand for gigabytes
        wrong = sorted(set(expected.items()) ^ set(found.items()))
        raise ValueError(f"{path}: not the public port's weights; names or shapes differ, first {wrong[:2]}")
    broken = [name for name, value in ours.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise ValueError(f"{path}: {broken[0]} holds NaN or infinite weights")
    model.load_state_dict(ours)  # converts to float32
    return model.eval()


def _public_to_ours(name: str) -> str:
    """conv1.weight -> stcnn1.conv.weight, FC.bias -> head.bias; the GRUs keep their names."""
    name = name.removeprefix("module.")  # what DataParallel puts before every name
    for i in "123":
        if name.startswith(f"conv{i}."):
            return name.replace(f"conv{i}.", f"stcnn{i}.conv.")
    return name.replace("FC.", "head.") if name.startswith("FC.") else name
