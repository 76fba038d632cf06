"""Where the time of a training step goes: torch's profiler, its table cut down to a handful of kinds.

The profiler notes every operation with its begin and end. What counts is an operation's own time, without
that of the operations that it calls. A backward operation has the number of the forward one that it undoes,
and so it can be put with the layer that it belongs to.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function

KINDS = ("convolution", "pool, ReLU, dropout", "GRU", "optimizer", "other")
# What an operation's name, or its layer's, must hold to be of a kind; the first that fits.
SIGNS = {
    "optimizer": ("optimizer.",),
    "GRU": ("gru",),
    "convolution": ("conv",),
    "pool, ReLU, dropout": ("pool", "relu", "dropout", "threshold", "bernoulli"),
}
LAYER = "layer:"


@dataclass(frozen=True)
class Share:
    """What the profiler saw of one kind: milliseconds of its operations, and how many there were."""

    ms: float = 0.0
    calls: int = 0


def where_time_goes(work: Callable[[], object], model: nn.Module) -> dict[str, Share]:
    """Call ``work``, a training step of ``model``, once and say what it did; one entry for each of ``KINDS``.

    The profiler slows down what it watches, small operations most: read shares, not seconds. Call ``work``
    once or twice before, so that nothing is done for the first time.
    """
    with _named_layers(model), watch() as record:
        work()
    events = [event for event in record.events() if event.device_type == torch.autograd.DeviceType.CPU]
    layer_of: dict[int, str] = {}  # number of a forward operation -> its layer
    for event in events:
        layer = _layer(event)
        if layer and event.sequence_nr >= 0:
            layer_of.setdefault(event.sequence_nr, layer)
    sums = dict.fromkeys(KINDS, (0.0, 0))
    for event in events:
        kind = _kind(event, layer_of)
        ms, calls = sums[kind]
        counts = event.name.startswith("aten::")
        sums[kind] = (ms + event.self_cpu_time_total / 1000, calls + counts)
    return {kind: Share(*both) for kind, both in sums.items()}


@contextmanager
def watch(memory: bool = False) -> Iterator[profile]:
    """Torch's profiler on the CPU, without the lines that some versions write straight to standard error.

    Args:
        memory: note every allocation as well.
    """
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        with profile(activities=[ProfilerActivity.CPU], profile_memory=memory) as record:
            yield record
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _callers(event: FunctionEvent | None) -> Iterator[FunctionEvent]:
    """The event itself, then what called it, and so on."""
    while event is not None:
        yield event
        event = event.cpu_parent


def _layer(event: FunctionEvent) -> str:
    """The layer in whose forward an event lies, or nothing."""
    for caller in _callers(event):
        if caller.name.startswith(LAYER):
            return caller.name.removeprefix(LAYER)
    return ""


def _kind(event: FunctionEvent, layer_of: dict[int, str]) -> str:
    names = [_layer(event)]
    for caller in _callers(event):
        names.append(caller.name)
        if caller.name.startswith("autograd::engine"):  # backward
            names.append(layer_of.get(caller.sequence_nr, ""))
    found = " ".join(names).lower()
    return next((kind for kind, signs in SIGNS.items() if any(sign in found for sign in signs)), "other")


@contextmanager
def _named_layers(model: nn.Module) -> Iterator[None]:
    """While the block runs, the profiler sees each layer's name around what it does forward."""
    with ExitStack() as stack:
        for module in model.modules():
            if next(module.children(), None) is not None:
                continue
            opened: list[record_function] = []

            def before(layer: nn.Module, inputs: tuple, opened: list = opened) -> None:
                opened.append(record_function(f"{LAYER}{type(layer).__name__}"))
                opened[-1].__enter__()

            def after(layer: nn.Module, inputs: tuple, out: object, opened: list = opened) -> None:
                opened.pop().__exit__(None, None, None)

            stack.callback(module.register_forward_pre_hook(before).remove)
            stack.callback(module.register_forward_hook(after).remove)
        yield
