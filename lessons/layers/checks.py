"""What layers accept: counts, types, devices, shapes. Each check raises ValueError and names the argument."""

from __future__ import annotations

from numbers import Integral

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence


def under_autocast(tensor: Tensor) -> bool:
    """Return whether mixed precision is on for the tensor's device. (The meta device has none.)"""
    return tensor.device.type != "meta" and torch.is_autocast_enabled(tensor.device.type)


def check_count(name: str, value: int) -> None:
    """Check a number of channels: an integer, not 0 nor 89.6, which is 0.35 of 256."""
    if not isinstance(value, Integral):
        raise ValueError(f"{name}={value!r}: expected one integer, 1 or more")
    if value < 1:
        raise ValueError(f"{name}={value}: expected 1 or more")


def check_channels(input_channels: int, hidden_channels: int) -> None:
    """Check both channel counts of a convolutional cell."""
    check_count("input_channels", input_channels)
    check_count("hidden_channels", hidden_channels)


def check_tensor(name: str, value: object) -> None:
    """Check that ``value`` is a tensor; the message says how to make one of it."""
    if isinstance(value, Tensor):
        return
    if isinstance(value, PackedSequence):
        hint = "unpack it by pad_packed_sequence, and pass its lengths"
    elif isinstance(value, (list, tuple)) and any(isinstance(item, Tensor) for item in value):
        hint = "join its tensors by torch.stack"
    else:
        hint = "convert it by torch.as_tensor"
    raise ValueError(f"{name} is a {type(value).__name__}, expected a tensor: {hint}")


def check_floats(name: str, tensor: Tensor, parameter: Tensor) -> None:
    """Check that a tensor has the device and the type of the layer's parameters."""
    check_tensor(name, tensor)
    if tensor.device != parameter.device:
        raise ValueError(f"{name} is on {tensor.device}, the parameters on {parameter.device}: use .to(...)")
    # Under autocast the products bring both to one type themselves.
    if tensor.dtype != parameter.dtype and not under_autocast(tensor):
        raise ValueError(f"{name} is {tensor.dtype}, the parameters are {parameter.dtype}: use .to(...)")


def check_cell_input(name: str, tensor: Tensor, parameter: Tensor, size: int) -> None:
    """Check what a cell takes: one frame of a batch, (B, size)."""
    check_floats(name, tensor, parameter)
    if tensor.dim() != 2 or tensor.shape[1] != size:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected (B, {size})")


def check_clip(x: Tensor) -> None:
    """Check a clip of maps (T, B, C, H, W) with at least one frame."""
    check_tensor("x", x)
    if x.dim() != 5:
        raise ValueError(f"x has shape {tuple(x.shape)}, expected (T, B, C, H, W)")
    if x.shape[0] == 0:
        raise ValueError("x has no frames, expected T = 1 or more")


def check_map(name: str, tensor: Tensor, weight: Tensor, channels: int) -> None:
    """Check a map (B, channels, H, W) of the parameters' type and device."""
    check_floats(name, tensor, weight)
    if tensor.dim() != 4 or tensor.shape[1] != channels:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected (B, {channels}, H, W)")
    if tensor.shape[2] == 0 or tensor.shape[3] == 0:
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, expected H and W of 1 or more")


def check_state(name: str, tensor: Tensor, weight: Tensor, hidden: int, x: Tensor) -> None:
    """Check that a state has D channels and the batch and the map size of the frame x (B, C, H, W)."""
    check_floats(name, tensor, weight)
    expected = (x.shape[0], hidden, x.shape[2], x.shape[3])
    if tensor.shape != expected:
        raise ValueError(
            f"{name} has shape {tuple(tensor.shape)}, expected (B, D, H, W) = {expected}, as x has shape "
            f"{tuple(x.shape)}: for another batch, map or video start with no state"
        )
