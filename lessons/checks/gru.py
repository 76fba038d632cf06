"""Checks of notebook 03, GRU. What is right is computed by torch's cell and by autograd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import wraps
from unittest.mock import patch

import torch
from torch import Tensor

from lessons.checks.battery import Case, Exercise

OPEN, SHUT = 50.0, -50.0  # the sigmoid gives 1 and 0 up to the rounding of float64
Weights = tuple[Tensor, Tensor, Tensor, Tensor]  # weight_ih, weight_hh, bias_ih, bias_hh


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _zeros(inputs: int, size: int) -> Weights:
    shapes = ((3 * size, inputs), (3 * size, size), (3 * size,), (3 * size,))
    return tuple(torch.zeros(shape, dtype=torch.float64) for shape in shapes)


def _random(inputs: int, size: int, generator: torch.Generator) -> Weights:
    return tuple(_normal(*w.shape, generator=generator) for w in _zeros(inputs, size))


def _by_hand(
    inputs: int,
    size: int,
    r: float,
    z: float,
    n: float,
    generator: torch.Generator,
    *,
    u_n: float = 0.0,
    products: str = "",
) -> Weights:
    """Biases set by hand; ``products`` names the blocks of weight_hh that are random, the others are 0."""
    weights = _zeros(inputs, size)
    for block, value in zip(weights[2].chunk(3), (r, z, n), strict=True):
        block.fill_(value)
    weights[3][2 * size :] = u_n
    for name in products:
        k = "rzn".index(name)
        weights[1][k * size : (k + 1) * size] = _normal(size, size, generator=generator)
    return weights


# ---- the step ----------------------------------------------------------------------------------------------


def gru_step(
    x: Tensor, h: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias_ih: Tensor, bias_hh: Tensor
) -> Tensor:
    """x (B, F), h (B, D) -> the new hidden state (B, D), blocks of rows in the order r, z, n."""
    return torch.gru_cell(x, h, weight_ih, weight_hh, bias_ih, bias_hh)


GENERAL = "All terms count here. Compare your lines with the equations, one at a time."


def _step_cases() -> Iterator[Case]:
    g = torch.Generator().manual_seed(0)

    def case(batch: int, weights: Weights, hint: str, scale: float = 1.0) -> Case:
        inputs, size = weights[0].shape[1], weights[1].shape[1]
        x, h = _normal(batch, inputs, generator=g) * scale, _normal(batch, size, generator=g)
        return Case((x, h, *weights), hint)

    yield case(
        4,
        _by_hand(3, 2, 0.0, OPEN, 0.7, g),
        "z is 1 here, so the new h must be the old h. Which of h and n does z multiply, and which block of "
        "rows is z?",
    )
    yield case(
        2,
        _by_hand(1, 3, SHUT, SHUT, 0.7, g),
        "z and r are 0 here: of the candidate only the input's part is left. Does r touch that part? "
        "Through which function does it go?",
    )
    yield case(
        3,
        _by_hand(2, 4, SHUT, SHUT, 0.7, g, u_n=0.9),
        "z and r are 0 here. What does r = 0 leave of the hidden state's part? And on which side of the "
        "bracket that r multiplies does bias_hh stand?",
    )
    yield case(
        5,
        _by_hand(4, 3, OPEN, SHUT, 0.3, g, u_n=0.9, products="n"),
        "r is 1 here: all of U_n h + u_n counts.",
    )
    yield case(
        3,
        _by_hand(3, 2, 0.8, -1.2, 0.7, g, u_n=0.9),
        "Both gates are partly open here, and no block of weight_hh counts: is each gate the logistic "
        "sigmoid (torch.sigmoid) of its pre-activation, and do the two factors, of n and of h, add up to 1?",
    )
    uneven = _by_hand(3, 2, 0.0, SHUT, 0.0, g, products="n")  # a reset per unit, a product that mixes units
    uneven[2][:2] = torch.tensor([1.5, -1.5], dtype=torch.float64)
    yield case(4, uneven, "What does r multiply in your line for n: h itself, or the product U_n h + u_n?")
    yield case(
        2,
        _by_hand(2, 3, 0.4, 0.6, 0.7, g, u_n=0.2, products="n"),
        "z is between 0 and 1: do the two factors, of n and of h, add up to 1?",
    )
    yield case(
        3,
        _by_hand(2, 3, 0.4, 0.6, 0.7, g, u_n=0.2, products="rz"),
        "Only U_r and U_z are not 0: do both gates read h, each by its own block of weight_hh?",
    )
    for batch, inputs, size in ((4, 3, 2), (1, 2, 3), (3, 5, 1), (2, 1, 4), (3, 3, 3)):
        yield case(batch, _random(inputs, size, g), GENERAL)
    yield case(
        3,
        _random(4, 2, g),
        "The input is a thousand times as large here: exp overflows, torch.sigmoid and torch.tanh do not.",
        scale=1000.0,
    )


# ---- one step of backpropagation through time --------------------------------------------------------------


def gru_step_backward(
    delta: Tensor,
    x: Tensor,
    h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
) -> Tensor:
    """delta (B, D), the gradient at the new hidden state -> the gradient at the old one h, (B, D)."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = h.detach().clone().requires_grad_()
        new = torch.gru_cell(x, leaf, weight_ih, weight_hh, bias_ih, bias_hh)
        return torch.autograd.grad(new, leaf, delta)[0]


def _backward_cases() -> Iterator[Case]:
    g = torch.Generator().manual_seed(0)

    def case(batch: int, weights: Weights, hint: str, scale: float = 1.0) -> Case:
        inputs, size = weights[0].shape[1], weights[1].shape[1]
        delta = _normal(batch, size, generator=g) * scale
        x, h = _normal(batch, inputs, generator=g), _normal(batch, size, generator=g)
        return Case((delta, x, h, *weights), hint)

    yield case(
        4,
        _by_hand(3, 2, 0.3, OPEN, 0.7, g, u_n=0.2, products="n"),
        "z is 1 here, so the step copies h. What is the gradient of a copy?",
    )
    yield case(
        2,
        _by_hand(1, 3, OPEN, SHUT, 0.3, g, u_n=0.4, products="n"),
        "z is 0 and r is 1 here, so h' = tanh(... + U_n h + ...): only the candidate's path is left. What is "
        "the derivative of tanh? Is it U_n or its transpose that takes a gradient back to h?",
    )
    yield case(
        3,
        _by_hand(2, 4, 0.3, SHUT, 0.3, g, u_n=0.4, products="n"),
        "z is 0 and r is a constant between 0 and 1 here: where does r stand between h and the candidate?",
    )
    yield case(
        5,
        _by_hand(4, 3, 0.3, 0.4, 0.7, g, products="z"),
        "Only U_z is not 0 here, so h acts directly and through the update gate. By how much does h' change "
        "when z does, in which direction, and z when its pre-activation does?",
    )
    yield case(
        4,
        _by_hand(2, 2, 0.3, SHUT, 0.7, g, u_n=0.9, products="r"),
        "z is 0 and U_n is 0 here, so h acts through the reset gate alone. What does r multiply? And "
        "through what does it reach h'?",
    )
    for batch, inputs, size in ((4, 3, 2), (1, 2, 3), (3, 5, 1), (2, 1, 4), (3, 3, 3)):
        yield case(batch, _random(inputs, size, g), GENERAL)
    yield case(2, _random(2, 3, g), "δ is very small here, as it is after many frames.", scale=1e-6)
    yield case(3, _random(4, 2, g), "δ is large here, as an exploding gradient is.", scale=1e6)


def _diagnose(found: object, expected: Tensor, case: Case) -> str | None:
    """The path that went wrong, if it can be told, and the case's own hint."""
    known = _wrong_path(found, expected, case)
    return known and f"{known} {case.hint}"


def _wrong_path(found: object, expected: Tensor, case: Case) -> str | None:
    """Names the path that is left out, taken twice, subtracted, or taken through the wrong matrix."""
    if not isinstance(found, Tensor) or found.shape != expected.shape:
        return None
    delta, x, h, w_ih, w_hh, b_ih, b_hh = case.arguments
    size = h.shape[1]
    a, m = (x @ w_ih.T + b_ih).split(size, dim=1), (h @ w_hh.T + b_hh).split(size, dim=1)
    r, z = torch.sigmoid(a[0] + m[0]), torch.sigmoid(a[1] + m[1])
    n = torch.tanh(a[2] + r * m[2])
    d_z, d_n = delta * (h - n) * z * (1 - z), delta * (1 - z) * (1 - n * n)
    d_r = d_n * m[2] * r * (1 - r)
    at_products = {"the reset gate": d_r, "the update gate": d_z, "the candidate": d_n * r}
    blocks = dict(zip(at_products, w_hh.split(size), strict=True))
    paths = {"the direct path": z * delta} | {k: d @ blocks[k] for k, d in at_products.items()}
    error = found.detach().double() - expected.detach()
    limit = 1e-4 * max(1e-12, expected.abs().max().item())

    def is_off_by(wrong: Tensor) -> bool:
        return (error - wrong).abs().max().item() <= limit

    name = {
        "the direct path": "the path straight from h to h'",
        "the reset gate": "the path through the reset gate",
        "the update gate": "the path through the update gate",
        "the candidate": "the path through U_n h in the candidate",
    }
    for path, part in paths.items():
        if part.abs().max().item() <= 10 * limit:
            continue
        if is_off_by(-part):
            return f"What is missing is {name[path]}."
        if is_off_by(-2 * part):
            return f"The sign of one term is wrong: look at {name[path]}."
        if is_off_by(part):
            return f"One term is there twice: {name[path]}."
    transposed = {k: d @ blocks[k].T - d @ blocks[k] for k, d in at_products.items()}
    turned = [*transposed.items(), ("all three", sum(transposed.values()))]
    if any(is_off_by(part) for _, part in turned if part.abs().max().item() > 10 * limit):
        return (
            "The matrix is transposed. With rows as clips, forward is h @ U.T: which product takes a "
            "gradient back?"
        )
    if is_off_by((d_n - d_n * r) @ blocks["the candidate"]):
        return "Between U_n h and the candidate stands r: the gradient passes it, too."
    u_n = blocks["the candidate"]
    if is_off_by((d_n @ u_n) * r - (d_n * r) @ u_n):
        return "r multiplies the product U_n h + u_n, not h: which of U_n and r does the gradient pass first?"
    return None


DERIVATIVES = (
    *((torch.autograd, name) for name in ("grad", "backward")),
    *((torch.autograd.functional, name) for name in ("vjp", "jacobian")),
    *((torch.func, name) for name in ("grad", "vjp", "jvp", "jacrev", "jacfwd")),
    (torch.autograd.forward_ad, "make_dual"),
    (torch.autograd, "_engine_run_backward"),  # all of the above, also when imported under another name
)


def _without_autograd(function: Callable) -> Callable:
    """The same function, but to ask for a derivative is an error that says so."""

    def refusal() -> Callable:
        # One object per name: torch's compiler, which torch.func may import, refuses two names for one.
        def refuse(*_: object, **__: object) -> None:
            raise AssertionError(
                f"{function.__name__} asks autograd for the gradient. Compute it from the equations of the "
                "step."
            )

        return refuse

    @wraps(function)
    def by_hand(*arguments: Tensor) -> Tensor:
        with torch.inference_mode(), ExitStack() as stack:  # in this mode autograd records nothing
            for owner, name in DERIVATIVES:
                if hasattr(owner, name):  # one name is private, and not in every version of torch
                    stack.enter_context(patch.object(owner, name, refusal()))
            found = function(*arguments)
        return found.clone() if isinstance(found, Tensor) else found

    return by_hand


class ByHand(Exercise):
    """An exercise whose function may not use autograd."""

    def __call__(self, function: Callable) -> None:
        super().__call__(_without_autograd(function))


# ---- padding -----------------------------------------------------------------------------------------------


def reverse_padded(x: Tensor, lengths: Tensor) -> Tensor:
    """x (T, B, F), lengths (B,) -> x with the first lengths[b] frames of clip b in reverse order."""
    clips = [
        torch.cat([x[:length, b].flip(0), x[length:, b]])  # (T, F)
        for b, length in enumerate(lengths.tolist())
    ]
    return torch.stack(clips, dim=1)


def _padded_cases() -> Iterator[Case]:
    g = torch.Generator().manual_seed(0)
    for shape, lengths, hint in (
        (
            (5, 1, 1),
            [5],
            "One clip without padding: all its frames in reverse order. Time is the first axis.",
        ),
        ((5, 1, 2), [3], "Only the valid frames are reversed; the padding stays at the end, as it was."),
        ((4, 1, 1), [1], "A clip of one frame stays as it is."),
        ((6, 3, 2), [6, 6, 6], "Each clip keeps its own frames; only time is reversed."),
        ((6, 3, 2), [6, 2, 4], "Each clip has its own length."),
        ((3, 3, 3), [1, 3, 2], "Time, clips and features are equally many here: which axis is reversed?"),
        ((9, 4, 3), [5, 9, 1, 8], "Each clip has its own length, in any order."),
        ((7, 2, 5), [4, 3], "No clip is as long as x here: the padding stays where it is."),
        ((1, 2, 3), [1, 1], "There is one frame here."),
    ):
        # Random numbers in the padding, so that it is seen to stay.
        yield Case(
            (_normal(*shape, generator=g), torch.tensor(lengths)), f"The lengths are {lengths}. {hint}"
        )


CHECKS: dict[str, Callable[[Callable], None]] = {
    "gru_step": Exercise(gru_step, _step_cases),
    "gru_step_backward": ByHand(gru_step_backward, _backward_cases, gradients=False, diagnose=_diagnose),
    "reverse_padded": Exercise(reverse_padded, _padded_cases, float32=1e-6, new=True),
}
