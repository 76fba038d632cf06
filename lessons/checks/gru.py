"""Checks of notebook 03, GRU. What is right is computed by torch's cells, not by a copy of the solutions."""

from __future__ import annotations

import random
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lessons.checks.tools import call, expect_close, expect_pair, expect_tensor, expect_whole

OPEN, SHUT = 50.0, -50.0  # sigmoid gives 1 and 0 to the last bit of a float64
Weights = tuple[Tensor, Tensor, Tensor, Tensor]  # weight_ih, weight_hh, bias_ih, bias_hh


def _zeros(gates: int, inputs: int, size: int) -> Weights:
    rows = gates * size
    shapes = ((rows, inputs), (rows, size), (rows,), (rows,))
    return tuple(torch.zeros(shape, dtype=torch.float64) for shape in shapes)


def _random(gates: int, inputs: int, size: int, generator: torch.Generator) -> Weights:
    return tuple(
        torch.randn(w.shape, generator=generator, dtype=torch.float64) for w in _zeros(gates, inputs, size)
    )


def _by_torch(cell: nn.Module, weights: Weights, x: Tensor, state: Tensor | tuple[Tensor, Tensor]):
    """What torch's cell gives with these weights."""
    cell = cell.double()
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    with torch.no_grad():
        return torch.func.functional_call(cell, dict(zip(names, weights, strict=True)), (x, state))


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def lstm_step(function: Callable) -> None:
    """function(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh) -> (h, c), gates in the order i, f, g, o."""
    generator = torch.Generator().manual_seed(0)
    inputs, size = 3, 2

    def set_by_hand(i: float, f: float, g: float, o: float) -> Weights:
        weights = _zeros(4, inputs, size)
        for block, value in zip(weights[2].chunk(4), (i, f, g, o), strict=True):
            block.fill_(value)
        return weights

    no_memory = _random(4, inputs, size, generator)
    only_memory = _zeros(4, inputs, size)
    only_memory[1].copy_(_normal(4 * size, size, generator=generator))
    second_bias = _zeros(4, inputs, size)
    second_bias[3].copy_(_normal(4 * size, generator=generator))
    full = _random(4, inputs, size, generator)
    cases = [  # (weights, is there a memory before, what a failure here points at)
        (
            set_by_hand(SHUT, OPEN, 0.7, OPEN), True,
            "The gates are set by hand: i is shut, f and o are open. So c must pass as it is, and h' be its "
            "tanh. Which rows are i, f, g, o, and which gate multiplies the old c?",
        ),
        (
            set_by_hand(OPEN, SHUT, 0.7, OPEN), True,
            "The gates are set by hand: i and o are open, f is shut. So c' is the candidate g alone. Through "
            "which function does g go?",
        ),
        (
            set_by_hand(SHUT, OPEN, 0.7, SHUT), True,
            "The output gate is shut: h' must be 0, and c' must live on all the same.",
        ),
        (
            set_by_hand(0.3, -0.2, 0.7, 0.4), True,
            "Only bias_ih is not 0, and no gate is quite open or shut. Look at the equations of c' and h'.",
        ),
        (second_bias, True, "Only bias_hh is not 0: does it count in every gate?"),
        (only_memory, True, "Only weight_hh is not 0: does h reach every gate, and the old h at that?"),
        (no_memory, False, "h and c are 0 here: look at what W x and the two biases do."),
        (full, True, "Everything counts here. Compare your lines with the equations, one gate at a time."),
    ]  # fmt: skip
    for weights, remembers, hint in cases:
        n_clips = 3
        x = _normal(n_clips, inputs, generator=generator)
        h, c = (_normal(n_clips, size, generator=generator) * remembers for _ in range(2))
        expected = _by_torch(nn.LSTMCell(inputs, size), weights, x, (h, c))
        found = call(function, x.clone(), h.clone(), c.clone(), *(w.clone() for w in weights))
        found = expect_pair(found, "lstm_step", "the pair (h, c)")
        for name, a, b in zip(("the new h", "the new c"), found, expected, strict=True):
            a = expect_tensor(a, b.shape, f"lstm_step: {name}", "It is as large as the old one: (B, D).")
            expect_close(a, b, f"lstm_step: {name}", hint, tolerance=1e-9)


def gru_step(function: Callable) -> None:
    """function(x, h, weight_ih, weight_hh, bias_ih, bias_hh) -> h, gates in the order r, z, n."""
    generator = torch.Generator().manual_seed(0)
    inputs, size = 3, 2

    def set_by_hand(r: float, z: float, n: float, second_n: float = 0.0, product: bool = False) -> Weights:
        weights = _zeros(3, inputs, size)
        for block, value in zip(weights[2].chunk(3), (r, z, n), strict=True):
            block.fill_(value)
        weights[3][2 * size :] = second_n
        if product:
            weights[1][2 * size :] = _normal(size, size, generator=generator)
        return weights

    uneven = set_by_hand(0.0, SHUT, 0.0, product=True)  # each unit its own reset, a product that mixes units
    uneven[2][:size] = torch.tensor([1.5, -1.5])
    cases = [
        (
            set_by_hand(0.0, OPEN, 0.7),
            "z is 1 here, so the new h must be the old h. Which of h and n does z multiply, and which block "
            "of rows is z?",
        ),
        (
            set_by_hand(SHUT, SHUT, 0.7),
            "z and r are 0 here: of the candidate only the input's part is left. Does r touch that part? "
            "Through which function does it go?",
        ),
        (
            set_by_hand(SHUT, SHUT, 0.7, second_n=0.9),
            "z and r are 0 here. What does r = 0 leave of the memory's part? And on which side of the "
            "bracket that r multiplies does bias_hh stand?",
        ),
        (set_by_hand(OPEN, SHUT, 0.3, second_n=0.9, product=True), "r is 1 here: all of U_n h + u_n counts."),
        (uneven, "What does r multiply in your line for n: the memory, or the product that it goes through?"),
        (set_by_hand(0.4, 0.6, 0.7, 0.2, product=True), "z is between 0 and 1: do the two shares add up?"),
        (
            _random(3, inputs, size, generator),
            "Everything counts here. Compare your lines with the equations, one gate at a time.",
        ),
    ]
    for weights, hint in cases:
        x = _normal(4, inputs, generator=generator)
        h = _normal(4, size, generator=generator)
        expected = _by_torch(nn.GRUCell(inputs, size), weights, x, h)
        found = call(function, x.clone(), h.clone(), *(w.clone() for w in weights))
        if isinstance(found, tuple | list):
            raise AssertionError(
                f"gru_step gave {len(found)} things, expected one tensor: a GRU has one memory"
            )
        hint_shape = "It is as large as the old memory: (B, D)."
        found = expect_tensor(found, expected.shape, "gru_step: the new h", hint_shape)
        expect_close(found, expected, "gru_step: the new h", hint, tolerance=1e-9)


KINDS = {1: nn.RNN, 3: nn.GRU, 4: nn.LSTM}


def count_weights(function: Callable) -> None:
    """function(F, D, gates, directions) -> numbers learned by one layer of torch's."""
    cases = [  # from simple to mixed, so that the first failure points at one idea
        ((1, 1, 1, 1), "Write the shapes of weight_ih, weight_hh, bias_ih and bias_hh down, and add up."),
        ((5, 1, 1, 1), "weight_ih has a column for each feature."),
        ((1, 4, 1, 1), "weight_hh joins each of the D units with each; every unit has its biases."),
        ((5, 4, 1, 1), "One gate, one direction: what is multiplied by what?"),
        ((1, 1, 3, 1), "Each gate has a W, a U and biases of its own."),
        ((5, 4, 4, 1), "Each gate has a W, a U and biases of its own."),
        ((5, 4, 3, 2), "The second direction has weights of its own, and reads the same F features."),
    ]
    rng = random.Random(0)
    for _ in range(20):
        case = (rng.randint(1, 300), rng.randint(1, 300), rng.choice(list(KINDS)), rng.randint(1, 2))
        cases.append((case, "Try one argument at a time: what is the first wrong one?"))
    for (inputs, size, gates, directions), hint in cases:
        layer = KINDS[gates](inputs, size, bidirectional=directions == 2, device="meta")
        expected = sum(p.numel() for p in layer.parameters())
        where = f"count_weights(F={inputs}, D={size}, gates={gates}, directions={directions})"
        found = expect_whole(call(function, inputs, size, gates, directions), where)
        if found != expected:
            raise AssertionError(f"{where} gave {found}, which is wrong. {hint}")


def _reversed_one_by_one(x: Tensor, lengths: Tensor) -> Tensor:
    """Clip by clip, frame by frame."""
    expected = x.clone()
    for clip, length in enumerate(lengths.tolist()):
        for t in range(length):
            expected[t, clip] = x[length - 1 - t, clip]
    return expected


def reverse_padded(function: Callable) -> None:
    """function(x, lengths) -> x (T, B, F) with the first lengths[b] frames of clip b reversed."""
    generator = torch.Generator().manual_seed(0)
    cases = [
        (
            (5, 1, 1),
            [5],
            "One full clip: all its frames in reverse order. Time is the first axis.",
        ),
        ((5, 1, 2), [3], "Only the valid frames turn round; the padding stays at the end, as it was."),
        ((5, 1, 1), [1], "A clip of one frame stays as it is."),
        ((6, 3, 2), [6, 6, 6], "Each clip keeps its own frames; only time is reversed."),
        ((6, 3, 2), [6, 2, 4], "Each clip has its own length."),
        ((3, 3, 3), [1, 3, 2], "Time, clips and features are equally many here: which axis do you turn?"),
        ((9, 4, 3), [5, 9, 1, 8], "Each clip has its own length, in any order."),
    ]
    for shape, lengths, hint in cases:
        x = _normal(*shape, generator=generator)  # rubbish in the padding, so that it is seen to stay
        lengths = torch.tensor(lengths)
        given = x.clone()
        found = call(function, given, lengths.clone())
        name = f"reverse_padded for x {shape} and lengths {lengths.tolist()}"
        found = expect_tensor(found, shape, name, "The result is as large as x: (T, B, F).")
        if not torch.equal(given, x):
            raise AssertionError(f"{name}: your function has changed x itself. Build a new tensor.")
        expect_close(found, _reversed_one_by_one(x, lengths), name, hint, tolerance=0.0)


CHECKS: dict[str, Callable[[Callable], None]] = {
    "lstm_step": lstm_step,
    "gru_step": gru_step,
    "count_weights": count_weights,
    "reverse_padded": reverse_padded,
}
