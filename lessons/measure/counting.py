"""Weights and multiply-adds of a network, layer by layer.

One multiply-add (MAC) is the product of a weight and an activation, and its addition to a sum. Counted are
those of convolution, linear and recurrent layers. Not counted, because they are few in comparison: biases,
activations, pooling, normalization, the elementwise products of gates. Some reports count FLOPs, two per
multiply-add.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from lessons.layers import stcnn
from lessons.layers.conv_lstm import LSTMUpdate
from lessons.layers.gru import GRUCell
from lessons.layers.lstm import LSTMCell
from lessons.layers.recurrent import Recurrent

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, stcnn.Conv3d)
RECURRENT = (nn.RNNBase, nn.RNNCellBase, Recurrent, GRUCell, LSTMCell)
# Layers with weights that multiply unit by unit (or only look weights up): by the convention above, no cost.
UNCOUNTED = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.Embedding,
    nn.PReLU,
    LSTMUpdate,
)


@dataclass(frozen=True)
class Row:
    """One layer.

    Attributes:
        name: its path in the model, for example ``blocks.0.conv``.
        kind: its class.
        output_shape: of its (first) output in its last call; None if it was never called.
        weights: its parameters, trained or frozen; one shared by several layers counts in the first of them.
        multiply_adds: of all its calls together; None where this file does not know how to count them.
        calls: how often it ran.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...] | None
    weights: int
    multiply_adds: int | None
    calls: int


@dataclass(frozen=True)
class Count:
    """The layers of a model in the order in which they ran; ``print`` shows a table."""

    rows: tuple[Row, ...]

    @property
    def weights(self) -> int:
        """All parameters of the model."""
        return sum(row.weights for row in self.rows)

    @property
    def multiply_adds(self) -> int:
        """All multiply-adds that could be counted."""
        return sum(row.multiply_adds or 0 for row in self.rows)

    def __str__(self) -> str:
        lines = [("layer", "kind", "output", "weights", "multiply-adds")]
        for row in self.rows:
            kind = row.kind if row.calls <= 1 else f"{row.kind} ({row.calls} calls)"
            shape = "not run" if row.output_shape is None else "x".join(map(str, row.output_shape))
            cost = "?" if row.multiply_adds is None else f"{row.multiply_adds:,}"
            lines.append((row.name, kind, shape, f"{row.weights:,}", cost))
        more = "" if all(row.multiply_adds is not None for row in self.rows) else " + ?"
        lines.append(("total", "", "", f"{self.weights:,}", f"{self.multiply_adds:,}{more}"))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        # Words to the left, numbers to the right.
        text = [
            "  ".join(
                cell.ljust(width) if i < 3 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        ]
        rule = "-" * len(text[0])
        return "\n".join([text[0], rule, *text[1:-1], rule, text[-1]])


def count(model: nn.Module, *example_inputs: Any) -> Count:
    """Run ``model`` once and count, layer by layer.

    Multiply-adds are those of the inputs given: a batch of two costs twice a batch of one. A model too large
    to run can be counted on the meta device (``with torch.device("meta"):`` around model and inputs), which
    follows shapes and holds no numbers.
    Layers are seen through forward hooks, so products that a model computes without a layer are not counted.
    The model runs in eval mode without gradients and is left as it was.

    Args:
        model: any module.
        example_inputs: what its forward takes.

    Returns:
        A row for each layer: a module that has no modules inside, or parameters of its own.
    """
    layers = {
        module: name
        for name, module in model.named_modules()
        if not list(module.children()) or list(module.parameters(recurse=False))
    }
    order: list[nn.Module] = []
    shapes: dict[nn.Module, tuple[int, ...] | None] = {}
    costs: dict[nn.Module, list[int | None]] = {module: [] for module in layers}

    def note(module: nn.Module, args: tuple, output: Any) -> None:
        if module not in shapes:
            order.append(module)
        shapes[module] = _output_shape(output)
        costs[module].append(_multiply_adds(module, output))

    modes = {module: module.training for module in model.modules()}
    hooks = [module.register_forward_hook(note) for module in layers]
    try:
        model.eval()
        with torch.no_grad():
            model(*example_inputs)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training

    rows, seen = [], set()
    for module in order + [module for module in layers if module not in shapes]:
        own = [p for p in module.parameters(recurse=False) if id(p) not in seen]
        seen.update(map(id, own))
        cost = None if None in costs[module] else sum(costs[module])
        weights = sum(p.numel() for p in own)
        name = layers[module] or "(the model)"
        rows.append(Row(name, type(module).__name__, shapes.get(module), weights, cost, len(costs[module])))
    return Count(tuple(rows))


def _multiply_adds(module: nn.Module, output: Any) -> int | None:
    """Of one call; None if the module has weights and is of no kind known here."""
    if isinstance(module, CONVOLUTIONS):
        return output.numel() * module.weight[0].numel()  # each output number is one filter's window
    if isinstance(module, nn.Linear):
        return output.numel() * module.in_features  # each output number is one row of the matrix
    if isinstance(module, RECURRENT):
        # Every matrix of every gate, layer and direction meets every frame of every clip once.
        matrices = sum(p.numel() for p in module.parameters() if p.dim() == 2)
        return matrices * _first_tensor(output).shape[:-1].numel()
    if isinstance(module, UNCOUNTED) or not list(module.parameters(recurse=False)):
        return 0
    return None


def _first_tensor(output: Any) -> Any:
    """The output itself, or the first of several; of a packed sequence its valid frames (N, F)."""
    if isinstance(output, PackedSequence):
        return output.data
    if isinstance(output, tuple | list) and output:
        return _first_tensor(output[0])
    return output


def _output_shape(output: Any) -> tuple[int, ...] | None:
    tensor = _first_tensor(output)
    return tuple(tensor.shape) if isinstance(tensor, Tensor) else None
