"""Checks of notebook 13, the Bottleneck-LSTM: the step, its weights, and a test for linearity."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lessons.checks.battery import Case, Exercise

# ---- the step ----------------------------------------------------------------------------------------------


def _identity(x: Tensor) -> Tensor:
    return x


def _step(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    depthwise: Tensor,
    bottleneck: Tensor,
    spatial: Tensor,
    gates: Tensor,
    *,
    first: str = "x",
    phis: tuple[Callable, Callable, Callable] = (F.relu6, F.relu6, F.relu6),
    bias: float = 1.0,
    outside: float = 0.0,
    order: str = "ifgo",
    h_first: bool = False,
    second: bool = True,
    interleaved: bool = False,
    shown: str = "new",
    swapped: bool = False,
) -> tuple[Tensor, Tensor]:
    """The equations; each option is a known mistake."""
    seen = F.conv2d(x, depthwise, padding=1, groups=x.shape[1]) if first == "x" else x  # (B, C, H, W)
    both = torch.cat([h, seen] if h_first else [seen, h], dim=1)  # (B, C + D, H, W)
    b = phis[0](F.conv2d(both, bottleneck))  # (B, D, H, W)
    s = F.conv2d(b, spatial, padding=1, groups=b.shape[1]) if second else b  # (B, D, H, W)
    sums = F.conv2d(s, gates)  # (B, 4D, H, W)
    four = [sums[:, k::4] for k in range(4)] if interleaved else sums.chunk(4, dim=1)  # (B, D, H, W) each
    named = dict(zip(order, four, strict=True))
    i, f, g, o = (named[name] for name in "ifgo")
    new_c = (torch.sigmoid(f + bias) + outside) * c + torch.sigmoid(i) * phis[1](g)
    new_h = torch.sigmoid(o) * phis[2](new_c if shown == "new" else c)
    return (new_c, new_h) if swapped else (new_h, new_c)


def bottleneck_lstm_step(
    x: Tensor, h: Tensor, c: Tensor, depthwise: Tensor, bottleneck: Tensor, spatial: Tensor, gates: Tensor
) -> tuple[Tensor, Tensor]:
    """One frame: x (B, C, H, W), h and c (B, D, H, W) -> the new h and c."""
    return _step(x, h, c, depthwise, bottleneck, spatial, gates)


SLIPS: dict[str, dict[str, Any]] = {
    "There is no φ after the bottleneck: read the line of b again.": {"phis": (_identity, F.relu6, F.relu6)},
    "There is no φ at the candidate g.": {"phis": (F.relu6, _identity, F.relu6)},
    "h' is made from φ(c'), not from c' itself.": {"phis": (F.relu6, F.relu6, _identity)},
    "φ has a lower and an upper bound here; yours has no upper one.": {"phis": (F.relu,) * 3},
    "At the bottleneck your φ has no upper bound.": {"phis": (F.relu, F.relu6, F.relu6)},
    "At the candidate your φ has no upper bound.": {"phis": (F.relu6, F.relu, F.relu6)},
    "In the line of h' your φ has no upper bound.": {"phis": (F.relu6, F.relu6, F.relu)},
    "This is tanh, as in the LSTM of notebook 03. Which φ does this cell have?": {"phis": (torch.tanh,) * 3},
    "At the candidate stands tanh. Which φ does this cell have?": {"phis": (F.relu6, torch.tanh, F.relu6)},
    "In the line of h' stands tanh. Which φ does this cell have?": {"phis": (F.relu6, F.relu6, torch.tanh)},
    "Something is missing beside f.": {"bias": 0.0},
    "The constant beside f has the wrong sign or size.": {"bias": -1.0},
    "The constant belongs inside the sigmoid: σ(f + 1), not σ(f) + 1.": {"bias": 0.0, "outside": 1.0},
    "These are the right two tensors in the wrong order.": {"swapped": True},
    "h' is made from the new cell state, not from the old one.": {"shown": "old"},
    "In [x̃, h], which one stands first?": {"h_first": True},
    "The first depthwise convolution is missing.": {"first": "nothing"},
    "The second depthwise convolution is missing.": {"second": False},
    "Your i takes every fourth channel of W_g s. It is the first D channels, f the next D.": {
        "interleaved": True
    },
}
ORDERS = ("ifog", "figo", "fgio", "igfo", "oifg", "fiog", "iofg", "gifo")


def _known_slip(found: Any, expected: tuple, case: Case) -> str | None:
    """The one mistake that gives just what was found, or the two; the case's hint if none or more do."""
    if not isinstance(found, list | tuple) or len(found) != 2:
        return None
    options = list(SLIPS.items())
    options += [("The four gates come in another order.", {"order": order}) for order in ORDERS]
    matching: list[str] = []
    for message, slip in options:
        with torch.no_grad():
            wrong = _step(*(a.double() for a in case.arguments), **slip)
        if message not in matching and all(_near(a, b) for a, b in zip(found, wrong, strict=True)):
            matching.append(message)
    return f"{' Or: '.join(matching)} {case.hint}" if 1 <= len(matching) <= 2 else None


def _near(found: Any, value: Tensor) -> bool:
    if not isinstance(found, Tensor) or found.shape != value.shape or not found.is_floating_point():
        return False
    return torch.allclose(found.detach().double(), value, rtol=1e-5, atol=1e-5)


def _step_cases() -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    def case(sizes: tuple[int, int, int, int, int], kind: str, hint: str) -> Case:
        b, c, d, height, width = sizes
        x, h, cell = (normal(b, n, height, width) for n in (c, d, d))
        weights = [
            normal(*shape) for shape in ((c, 1, 3, 3), (d, c + d, 1, 1), (d, 1, 3, 3), (4 * d, d, 1, 1))
        ]
        if kind in ("update", "x = 0", "small", "first frame"):  # all sums positive: no φ at its kink
            x, h = x.abs(), h.abs()
            weights = [0.4 * w.abs() for w in weights]
        if kind == "update":  # i, f and o see zeros; the candidate is negative, so φ cuts it off
            cell = 6 * cell
            weights[3] = torch.cat([0 * weights[3][: 2 * d], -weights[3][2 * d : 3 * d], 0 * weights[3][:d]])
        if kind == "x = 0":
            x = torch.zeros_like(x)
        if kind == "negative":
            x, h = x.abs(), h.abs()
            weights[0], weights[1] = weights[0].abs(), -weights[1].abs()
        if kind == "large":
            x, h = 3 * x.abs(), 3 * h.abs()
            weights[0], weights[1] = weights[0].abs(), weights[1] * 3
        if kind == "saturated":
            weights[3] = 300 * weights[3]
        if kind == "first frame":
            h, cell = torch.zeros_like(h), torch.zeros_like(cell)
        return Case((x, h, cell, *weights), hint)

    yield case((1, 1, 1, 1, 1), "small", "One channel, one pixel: put numbers into the five lines.")
    yield case(
        (1, 2, 3, 4, 4),
        "update",
        "Here φ(g) and the sums of the other gates are 0: only the last line of the equations is at work.",
    )
    yield case((1, 2, 1, 1, 3), "x = 0", "x is 0 here: follow h through the five lines.")
    yield case((1, 2, 3, 4, 5), "negative", "The sums at the bottleneck are negative here.")
    yield case(
        (1, 3, 2, 5, 4), "small", "Is each channel convolved with a filter of its own? Which gate is which?"
    )
    yield case((1, 2, 3, 4, 5), "large", "The numbers are large here: where does φ stand, and which φ?")
    for sizes in ((2, 3, 2, 4, 5), (3, 1, 4, 6, 2), (2, 4, 1, 3, 7), (2, 3, 3, 5, 5)):
        yield case(sizes, "", "Everything counts here: compare your lines with the equations, one by one.")
    yield case((2, 2, 3, 3, 4), "first frame", "h and c are 0 here, as in the first frame of a video.")
    yield case(
        (1, 3, 2, 3, 4),
        "saturated",
        "The gates are fully open or shut here. Does a hand-written sigmoid overflow?",
    )


# ---- its weights -------------------------------------------------------------------------------------------


def cell_weights(
    channels: int, hidden: int, bias: bool = False, released: bool = False, alpha: float = 1.0
) -> int:
    """The number of weights of the four convolutions."""
    return sum(_layers(channels, hidden, bias, released, alpha).values())


def _layers(channels: int, hidden: int, bias: bool, released: bool, alpha: float) -> dict[str, int]:
    c, d = int(alpha * channels), int(alpha * hidden)
    return {
        "the first depthwise convolution": 9 * (c + d if released else c),
        "the bottleneck": (c + d) * d,
        "the second depthwise convolution": 9 * d,
        "the 1 × 1 to the gates": 4 * d * d,
        "the biases": 5 * d if bias else 0,
    }


def _weight_cases() -> Iterator[Case]:
    yield Case(
        (1, 1, False, False, 1.0),
        "One channel everywhere: two filters of 3 × 3, and two 1 × 1 convolutions. How many channels does "
        "each 1 × 1 read, and how many does it write?",
    )
    yield Case((7, 1, False, False, 1.0), "Only the channels of x have changed: which two layers read them?")
    yield Case((1, 7, False, False, 1.0), "Only D has changed: which three layers depend on it?")
    yield Case((5, 3, False, False, 1.0), "The bottleneck writes D channels, the last 1 × 1 four times D.")
    yield Case(
        (5, 3, True, False, 1.0), "One bias per output channel of a 1 × 1; the depthwise ones have none."
    )
    yield Case((5, 3, False, True, 1.0), "In the released code the first depthwise convolution reads [x, h].")
    yield Case((5, 3, True, True, 1.0), "Both options at once.")
    yield Case((8, 4, False, False, 0.5), "α multiplies C and D, before anything is counted.")
    yield Case((5, 3, False, False, 0.5), "α C and α D are rounded down to integers.")
    yield Case((6, 6, True, True, 0.75), "All options at once.")
    yield Case((512, 128, False, False, 1.0), "Try smaller numbers on paper.")


def _known_count(found: Any, expected: int, case: Case) -> str | None:
    """Which layer is missing, counted twice, or counted with the wrong channels."""
    try:
        off = int(found) - expected
    except (TypeError, ValueError, OverflowError):
        return None
    channels, hidden, bias, released, alpha = case.arguments
    size, layers = "Too many." if off > 0 else "Too few.", _layers(*case.arguments)
    if alpha != 1 and int(found) == int(alpha * cell_weights(channels, hidden, bias, released)):
        return f"{size} α multiplies the channels; how often does a channel count enter a 1 × 1's weights?"
    if alpha != 1 and int(found) == cell_weights(channels, hidden, bias, released):
        return f"{size} α has no effect in your count."
    if min(channels, hidden) == 1:  # with ones, too many mistakes look alike
        return f"{size} {case.hint}"
    if bias and off == layers["the first depthwise convolution"] // 9 + int(alpha * hidden):
        return f"{size} Have you given the depthwise convolutions biases, too? {case.hint}"
    for name, count in layers.items():
        if count and off == -count:
            return f"{size} It is as if {name} were not counted. {case.hint}"
        if count and off == count:
            return f"{size} It is as if {name} were counted twice. {case.hint}"
    return f"{size} {case.hint}"


# ---- is it linear? -----------------------------------------------------------------------------------------


class Squeeze:
    """A function of x (B, C, H, W) and h (B, D, H, W) in float32, as a cell's ``squeeze`` is."""

    def __init__(
        self, name: str, channels: int, hidden: int, kind: Callable, linear: bool, scale: float
    ) -> None:
        generator = torch.Generator().manual_seed(channels + 10 * hidden)
        self.name, self.channels, self.hidden, self.kind = name, channels, hidden, kind
        self.linear = linear
        self.around = torch.randn(channels, 1, 3, 3, generator=generator)
        self.across = scale * torch.randn(hidden, channels + hidden, 1, 1, generator=generator)

    def __call__(self, x: Tensor, h: Tensor) -> Tensor:
        for name, tensor, channels in (("x", x, self.channels), ("h", h, self.hidden)):
            what = f"the {name} that you gave to squeeze"
            if not isinstance(tensor, Tensor):
                raise AssertionError(f"{what} is a {type(tensor).__name__}, expected a tensor")
            if tensor.dim() != 4 or tensor.shape[1] != channels:
                raise AssertionError(
                    f"{what} has shape {tuple(tensor.shape)}, expected (B, {channels}, H, W)"
                )
            if tensor.dtype != torch.float32:
                raise AssertionError(
                    f"{what} is of {tensor.dtype}, expected float32, as the cell's weights are"
                )
        if x.shape[0] != h.shape[0] or x.shape[2:] != h.shape[2:]:
            raise AssertionError(
                f"you gave squeeze x {tuple(x.shape)} and h {tuple(h.shape)}, expected the same B, H and W"
            )
        return self.kind(self, x, h)

    def sums(self, x: Tensor, h: Tensor) -> Tensor:
        seen = F.conv2d(x, self.around, padding=1, groups=self.channels)  # (B, C, H, W)
        return F.conv2d(torch.cat([seen, h], dim=1), self.across)  # (B, D, H, W)

    def __deepcopy__(self, memo: dict) -> Squeeze:
        return self

    def __repr__(self) -> str:
        return self.name


def is_linear(squeeze: Squeeze, channels: int, hidden: int) -> bool:
    """True if squeeze is a linear map of x and h together."""
    return squeeze.linear


def _with(phi: Callable[[Tensor], Tensor]) -> Callable:
    """The sums, and then φ."""
    return lambda self, x, h: phi(self.sums(x, h))


def _median(y: Tensor) -> Tensor:
    """Of each 3 × 3 window: 3u gives three times as much, and -u gives minus as much."""
    windows = F.unfold(y, 3, padding=1).view(y.shape[0], y.shape[1], 9, *y.shape[2:])  # (B, D, 9, H, W)
    return windows.median(dim=2).values  # (B, D, H, W)


def _on_h_alone(self: Squeeze, x: Tensor, h: Tensor) -> Tensor:
    return self.sums(x, F.relu6(h))


def _on_x_alone(self: Squeeze, x: Tensor, h: Tensor) -> Tensor:
    return self.sums(F.relu6(x), h)


def _of_absolute_values(self: Squeeze, x: Tensor, h: Tensor) -> Tensor:
    """Linear as long as no input is negative."""
    return self.sums(x.abs(), h.abs())


def _of_largest_neighbors(self: Squeeze, x: Tensor, h: Tensor) -> Tensor:
    """Linear as long as each map has one value everywhere."""
    return self.sums(F.max_pool2d(x, 3, 1, 1), F.max_pool2d(h, 3, 1, 1))


def _sorted(y: Tensor) -> Tensor:
    """Each map's values in ascending order: their sum, and so the mean error of any test, stays the same."""
    return y.flatten(2).sort(dim=2).values.view_as(y)  # (B, D, H, W)


def _product(self: Squeeze, x: Tensor, h: Tensor) -> Tensor:
    """Linear in x for a fixed h and in h for a fixed x, but not in both together."""
    nothing_x, nothing_h = torch.zeros_like(x), torch.zeros_like(h)
    return self.sums(x, nothing_h) * self.sums(nothing_x, h)


def _linear_cases() -> Iterator[Case]:
    table: list[tuple[str, int, int, Callable, bool, float, str]] = [
        ("no φ", 3, 2, _with(_identity), True, 1.0,
         "It is linear. Did you ask for exact equality? float32 rounds."),
        ("no φ, more channels", 16, 8, _with(_identity), True, 1.0, "It is linear, and float32 rounds."),
        ("no φ, large weights", 3, 2, _with(_identity), True, 1e4,
         "It is linear and gives large numbers; the rounding grows with them."),
        ("weights of 0", 2, 3, _with(_identity), True, 0.0,
         "It gives 0 everywhere, which is linear. Do you compare with < or divide by 0?"),
        ("the mean of the map", 2, 2, _with(lambda y: y.mean((2, 3), keepdim=True).expand_as(y)), True, 1.0,
         "A mean is linear."),
        ("ReLU", 3, 2, _with(torch.relu), False, 1.0,
         "For twice the input, ReLU gives exactly twice the output. Which other property has a linear map?"),
        ("tanh", 3, 2, _with(torch.tanh), False, 1.0,
         "For minus the input, tanh gives exactly minus the output. Which other property has a linear map?"),
        ("ReLU6", 3, 2, _with(F.relu6), False, 1.0, "It is 0 below 0, and 6 above 6."),
        ("ReLU6, one channel", 1, 1, _with(F.relu6), False, 1.0, "It is 0 below 0, and 6 above 6."),
        ("tanh of small numbers", 3, 2, _with(lambda y: torch.tanh(0.05 * y)), False, 1.0,
         "Near 0, tanh is nearly linear. Use larger inputs."),
        ("a limit at ±6", 3, 2, _with(lambda y: y.clamp(-6, 6)), False, 1.0,
         "Between −6 and 6 it is linear. Use larger inputs."),
        ("ReLU6, small weights", 2, 4, _with(lambda y: F.relu6(1e5 * y) / 1e5), False, 1e-5,
         "Its outputs are small. Compare the error with their size."),
        ("a bias", 3, 2, _with(lambda y: y + 1.0), False, 1.0,
         "A linear map plus a constant is affine, not linear. Which input shows the constant?"),
        ("a large bias", 2, 3, _with(lambda y: y + 100.0), False, 1.0,
         "A linear map plus a constant is affine, not linear. Which input shows the constant?"),
        ("a median", 2, 3, _with(_median), False, 1.0,
         "A median keeps multiples and signs, but not sums. Are your inputs different at each position?"),
        ("absolute values of x and h", 3, 2, _of_absolute_values, False, 1.0,
         "It takes the absolute values of x and h first. Are some of your inputs negative?"),
        ("the largest of each 3 × 3 window", 2, 3, _of_largest_neighbors, False, 1.0,
         "It takes the largest of each 3 × 3 window of x and h first. Are your inputs different at each "
         "position?"),
        ("sorted maps", 3, 2, _with(_sorted), False, 1.0,
         "It sorts each map, and the sum of a map does not show that. Do you compare position by position?"),
        ("φ on h alone", 3, 2, _on_h_alone, False, 1.0,
         "Only h passes a φ here. Is your h different from 0?"),
        ("φ on x alone", 3, 2, _on_x_alone, False, 1.0,
         "Only x passes a φ here. Is your x different from 0?"),
        ("a product of x and h", 2, 2, _product, False, 1.0,
         "It is linear in x and linear in h, but not in both together. Change both at once."),
        ("leaky ReLU", 1, 1, _with(lambda y: F.leaky_relu(y, 0.5)), False, 1.0,
         "Its slope is 1 above 0, and a half below."),
        ("absolute value", 2, 3, _with(torch.abs), False, 1.0, "Its outputs are never negative."),
        ("divided by its size", 4, 3, _with(lambda y: y / y.abs().amax((1, 2, 3), keepdim=True)), False, 1.0,
         "It gives the same for twice the input."),
    ]  # fmt: skip
    for name, c, d, kind, linear, scale, hint in table:
        yield Case((Squeeze(name, c, d, kind, linear, scale), c, d), hint)


CHECKS: dict[str, Callable[[Callable], None]] = {
    "bottleneck_lstm_step": Exercise(
        bottleneck_lstm_step, _step_cases, diagnose=_known_slip, parts=("h", "c")
    ),
    "cell_weights": Exercise(cell_weights, _weight_cases, diagnose=_known_count),
    "is_linear": Exercise(is_linear, _linear_cases),
}
