"""Checks of notebook 13, the Bottleneck-LSTM. What is right is built, counted, or run frame by frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from lessons.checks.tools import call, expect_close, expect_number, expect_pair, expect_tensor, expect_whole
from lessons.layers.bottleneck_lstm import BottleneckLSTMCell
from lessons.layers.conv_lstm import LSTMUpdate


def _random(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def bottleneck_lstm_step(function: Callable) -> None:
    """function(x, h, c, depthwise, bottleneck, spatial, gates) -> the new (h, c)."""
    shapes = "(B, D, H, W), as h and c had it."
    cases = [  # B, C, D, H, W, what to change, hint
        (1, 2, 3, 4, 4, "no gates",
         "The last convolution gives 0 everywhere here, so only the update is at work. Look at the constant "
         "beside f, at φ(c′), and at the order in which you return the two."),
        (1, 1, 1, 1, 1, "small", "One channel, one pixel, one memory: put numbers into the five lines. In "
         "[x̃, h], which stands first?"),
        (1, 2, 1, 1, 3, "x = 0", "x is 0 here: follow h. What happens to it before the 1 × 1, and then?"),
        (1, 2, 3, 4, 5, "negative", "The bottleneck's sums are negative here. Read the line of b again."),
        (1, 3, 2, 5, 4, "small", "Which of the four gates is which? And is each channel looked at with a "
         "filter of its own?"),
        (1, 2, 3, 4, 5, "large", "Large numbers: which φ has this cell, and where does it stand?"),
        (2, 3, 2, 4, 5, "", "Every clip of the batch, every place: which one is wrong?"),
    ]  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    for b, c, d, height, width, change, hint in cases:
        x, h, memory = (_random((b, n, height, width), generator) for n in (c, d, d))
        x, h = x.abs(), h.abs()
        memory = 6 * memory if change == "no gates" else 0.5 * memory.abs()
        cell = BottleneckLSTMCell(c, d).double()
        weights = [_random(tuple(w.shape), generator) for w in cell.parameters()]
        if change == "no gates":
            weights[3].zero_()
        if change in ("small", "x = 0"):
            weights = [0.4 * w.abs() for w in weights]
        if change == "x = 0":
            x.zero_()
        if change == "negative":
            weights[0].abs_()
            weights[1] = -weights[1].abs()
        if change == "large":
            weights[0].abs_()
            weights[1].abs_().mul_(9)
        weights = [w.requires_grad_() for w in weights]
        expected = torch.func.functional_call(
            cell, dict(zip(dict(cell.named_parameters()), weights, strict=True)), (x, (h, memory))
        )
        where = f"bottleneck_lstm_step for x {(b, c, height, width)} and a memory of {d} channels"
        found = call(function, x, h, memory, *weights)
        found = expect_pair(found, where, "the pair (h, c)")
        for name, ours, theirs in zip(("h", "c"), found, expected, strict=True):
            expect_tensor(ours, tuple(theirs.shape), f"{where}: {name}", shapes)
            expect_close(ours, theirs.detach(), f"{where}: {name}", hint, tolerance=1e-10)
            if not ours.requires_grad and change != "no gates":
                raise AssertionError(f"{where}: no gradient flows back to the weights. Stay within torch.")


def cell_weights(function: Callable) -> None:
    """function(channels, memory, variant) -> the weights of the cell's four convolutions."""
    cases = [
        (1, 1, "paper", "One channel everywhere: two filters of 3 × 3, and two 1 × 1 layers. How many "
         "channels does each 1 × 1 read, and how many does it write?"),
        (7, 1, "paper", "Only the channels of x have changed: which two layers see them?"),
        (1, 7, "paper", "Only the memory has changed: which three layers see it?"),
        (5, 3, "paper", "The 1 × 1 reads C + D channels and writes D; the last layer writes four maps of D."),
        (5, 3, "blog", "φ has no weights."),
        (5, 3, "released", "There the first depthwise filters see what is put side by side, h too."),
        (5, 3, "equation", "There each gate has depthwise filters of its own. Its 1 × 1 still reads D "
         "channels, not four times D."),
        (512, 128, "paper", "Try smaller numbers on paper."),
    ]  # fmt: skip
    for c, d, variant, hint in cases:
        where = f"cell_weights({c}, {d}, {variant!r})"
        found = expect_whole(call(function, c, d, variant), where)
        with torch.device("meta"):
            cell = BottleneckLSTMCell(c, d, variant=variant)
        expected = sum(p.numel() for p in cell.parameters())
        if found != expected:
            size = "many" if found > expected else "few"
            raise AssertionError(f"{where} gave {found:,}, which is too {size}. {hint}")


def explanations(function: Callable) -> None:
    """function(costs, printed, digits) -> every set of layers without which the sum prints as it does."""
    mega = 1_000_000
    four = {"a": 1 * mega, "b": 2 * mega, "c": 4 * mega, "d": 8 * mega}
    cases = [
        ({"a": 3 * mega}, 3, 0, [set()], "Nothing left out is a set of layers too: the empty one."),
        (four, 11, 0, [{"c"}], "15 M in all, 11 printed."),
        (four, 5, 0, [{"b", "d"}], "More than one layer may be missing."),
        (four, 99, 0, [], "If no set of layers explains the figure, the list is empty."),
        ({"a": 6 * mega, "b": 2 * mega, "c": 2 * mega}, 8, 0, [{"b"}, {"c"}], "There can be several."),
        ({"a": 33_700_000, "b": 100_000, "c": 26 * mega}, 34, 0, [{"c"}, {"b", "c"}],
         "33.7 and 33.8 both print as 34: round what is left to so many digits."),
        ({"a": 5_540_000, "b": 70_000, "c": 4_200_000}, 5.6, 1, [{"c"}],
         "With one digit 5.54 prints as 5.5, not as 5.6."),
        ({"a": 1 * mega, "b": 1 * mega}, 0, 0, [{"a", "b"}], "All of them may be missing."),
    ]  # fmt: skip
    for costs, printed, digits, expected, hint in cases:
        where = f"explanations({costs}, {printed}, {digits})"
        found = call(function, dict(costs), printed, digits)
        if isinstance(found, str) or not isinstance(found, Iterable):
            raise AssertionError(f"{where} gave {type(found).__name__}, expected a list of sets of names")
        sets = []
        for names in found:
            if isinstance(names, str) or not isinstance(names, set | frozenset | tuple | list):
                raise AssertionError(f"{where} holds {names!r}, expected a set of names")
            sets.append(frozenset(names))
        if unknown := {name for names in sets for name in names if name not in costs}:
            raise AssertionError(f"{where} names {sorted(map(str, unknown))}, which are not among the layers")
        if len(set(sets)) != len(sets):
            raise AssertionError(f"{where} gave one set more than once")
        wanted = {frozenset(names) for names in expected}
        if set(sets) != wanted:
            less, more = len(wanted - set(sets)), len(set(sets) - wanted)
            raise AssertionError(f"{where}: sets missing {less}, wrong {more}. {hint}")


def is_linear(function: Callable) -> None:
    """function(squeeze, channels, memory) -> True where squeeze(x, h) is a linear map of x and h."""
    generator = torch.Generator().manual_seed(0)

    def squeezer(c: int, d: int, phi: Callable, scale: float = 1.0, dtype: torch.dtype = torch.float64):
        around = scale * _random((c, 1, 3, 3), generator).to(dtype)
        across = _random((d, c + d, 1, 1), generator).to(dtype)

        def squeeze(x: Tensor, h: Tensor) -> Tensor:
            expect_tensor(x, (x.shape[0], c, *x.shape[2:]), "the x that you gave to squeeze", "(B, C, H, W)")
            expect_tensor(h, (x.shape[0], d, *x.shape[2:]), "the h that you gave to squeeze", "(B, D, H, W)")
            x, h = x.to(dtype), h.to(dtype)
            seen = nn.functional.conv2d(x, around, padding=1, groups=c)
            return phi(nn.functional.conv2d(torch.cat([seen, h], 1), across))

        return squeeze

    def same(x: Tensor) -> Tensor:
        return x

    cases = [
        ("no φ", squeezer(3, 2, same), 3, 2, True, "This one has no φ. Did you ask for exact equality?"),
        ("no φ, in float32", squeezer(16, 8, same, dtype=torch.float32), 16, 8, True,
         "This one has no φ, and computes in float32, which rounds: allow for that."),
        ("no φ, large weights", squeezer(3, 2, same, 1e3), 3, 2, True,
         "This one has no φ, and gives large numbers: rounding grows with them."),
        ("ReLU", squeezer(3, 2, torch.relu), 3, 2, False,
         "With twice the input a ReLU gives exactly twice the output. Which inputs does it treat otherwise?"),
        ("tanh", squeezer(3, 2, torch.tanh), 3, 2, False,
         "With minus the input tanh gives exactly minus the output. What does it not keep?"),
        ("ReLU6", squeezer(3, 2, nn.functional.relu6), 3, 2, False, "Below 0 and above 6."),
        ("tanh of small numbers", squeezer(3, 2, lambda y: torch.tanh(0.05 * y)), 3, 2, False,
         "Near 0 tanh is nearly linear. Give it larger inputs."),
        ("a hard limit at ±6", squeezer(3, 2, lambda y: y.clamp(-6, 6)), 3, 2, False,
         "Between −6 and 6 this one is linear. Give it larger inputs."),
        ("leaky ReLU", squeezer(1, 1, lambda y: nn.functional.leaky_relu(y, 0.5)), 1, 1, False,
         "One channel: what differs between its two sides?"),
        ("absolute value", squeezer(2, 3, torch.abs), 2, 3, False, "The outputs are never negative here."),
    ]  # fmt: skip
    for name, squeeze, c, d, expected, hint in cases:
        found = call(function, squeeze, c, d)
        if isinstance(found, Tensor) and found.numel() == 1 and found.dtype == torch.bool:
            found = bool(found)
        if not isinstance(found, bool):
            raise AssertionError(f"is_linear gave {type(found).__name__}, expected True or False")
        if found != expected:
            raise AssertionError(f"is_linear gave {found} for a bottleneck with {name}. {hint}")


def forget_bias(function: Callable) -> None:
    """function(frames, share) -> the constant beside f with which that share of c is left."""
    cases = [
        (1, 0.5, "After one frame σ(bias) is left. Where is the sigmoid one half?"),
        (1, 0.9, "After one frame σ(bias) is left: invert the sigmoid."),
        (10, 0.5**10, "Half is kept each frame: take the share of one frame first."),
        (2, 0.25, "c is multiplied once a frame, so what must one frame leave?"),
        (30, 0.5, "A share of one half after thirty frames needs more than one half each frame."),
        (10, 1e-6, "The bias may be negative."),
        (500, 0.9, "For many frames the gate must be almost 1; compute the logarithm with care."),
    ]
    for frames, share, hint in cases:
        where = f"forget_bias({frames}, {share:.4g})"
        found = expect_number(call(function, frames, share), where)
        update = LSTMUpdate(1, forget_bias=found)
        c, silent = torch.ones(1, 1, 1, 1, dtype=torch.float64), torch.zeros(1, 4, 1, 1, dtype=torch.float64)
        for _ in range(frames):
            _, c = update(silent, c)
        if not math.isclose(c.item(), share, rel_tol=1e-6):
            raise AssertionError(
                f"{where} gave {found:.4g}, with which {c.item():.4g} of the memory is left after {frames} "
                f"frames, expected {share:.4g}. {hint}"
            )


CHECKS: dict[str, Callable[[Callable], None]] = {
    "bottleneck_lstm_step": bottleneck_lstm_step,
    "cell_weights": cell_weights,
    "explanations": explanations,
    "is_linear": is_linear,
    "forget_bias": forget_bias,
}
