"""What learners write by mistake in the exercises of notebook 06 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import math

import pytest
import torch

from lessons.checks import check
from lessons.checks.lipnet import CHECKS
from tests.checks.exercises import each_wrong_answer


def shapes(conv=lambda n, s: (n - 1) // s + 1, pool=lambda n: n // 2, change=lambda name, shape: shape):
    """output_shapes with a slip in a layer's halving, or in what is given for a stage."""

    def function(clips, frames, height, width):
        found, h, w = [], height, width
        for i, (channels, stride) in enumerate(((32, 2), (64, 1), (96, 1)), start=1):
            h, w = (pool(conv(n, stride)) for n in (h, w))
            found.append((f"stcnn{i}", (clips, channels, frames, h, w)))
        found.append(("sequence", (frames, clips, 96 * h * w)))
        found += [(f"gru{i}", (frames, clips, 512)) for i in (1, 2)]
        found.append(("head", (frames, clips, 28)))
        return [change(name, shape) for name, shape in found]

    return function


def at(stage, rule):
    """Apply ``rule`` to the shapes of the stages whose names begin with ``stage``."""
    return shapes(change=lambda name, shape: rule(shape) if name.startswith(stage) else shape)


def std(fan_in=None, fan_out=None, rule=None):
    """first_std with another fan-in, fan-out, or rule."""

    def function(shape, name, gates=1):
        places = math.prod(shape[2:])
        n_in = fan_in(shape, places) if fan_in else shape[1] * places
        n_out = fan_out(shape, places, gates) if fan_out else shape[0] // gates * places
        if rule:
            return rule(name, n_in, n_out)
        return math.sqrt(2 / (n_in if name == "he" else n_in + n_out))

    return function


def right_std(name, n_in, n_out):
    return math.sqrt(2 / (n_in if name == "he" else n_in + n_out))


def gru(gates=3, ways=2, biases=2, inputs=lambda f, d: f, memory=lambda d: d):
    return lambda f, d: ways * gates * d * (inputs(f, d) + memory(d) + biases)


WRONG = {
    "output_shapes": [
        ("time is strided", at("stcnn1", lambda s: (*s[:2], s[2] // 2, *s[3:])), "stcnn1 .* time never"),
        ("forgets the pool", shapes(pool=lambda n: n), "stcnn1 .* halved twice"),
        ("forgets the stride", shapes(conv=lambda n, s: n), "stcnn1 .* halved twice"),
        ("stride in every layer", shapes(conv=lambda n, s: (n - 1) // 2 + 1), "stcnn2 .* only the pool"),
        ("no padding", shapes(conv=lambda n, s: (n - 5) // s + 1), "stcnn1 .* halved twice"),
        ("the pool rounds up", shapes(pool=lambda n: (n + 1) // 2), "odd last row"),
        ("the convolution rounds down", shapes(conv=lambda n, s: n // s), "round as the layer does"),
        ("time before channels", at("stcnn", lambda s: (s[0], s[2], s[1], *s[3:])), "stcnn1 .*B, C, T, H, W"),
        ("width before height", at("stcnn", lambda s: (*s[:3], s[4], s[3])), "stcnn1 .*B, C, T, H, W"),
        ("always 3072", at("sequence", lambda s: (*s[:2], 3072)), "sequence .* size of the frame"),
        ("batch first", at("sequence", lambda s: (s[1], s[0], s[2])), "Time first"),
        ("batch first to the end", at("head", lambda s: (s[1], s[0], s[2])), "head .*Time|head .*class"),
        ("clips in one list", at("sequence", lambda s: (s[0], s[1] * s[2])), "Time first"),
        ("one direction", at("gru", lambda s: (*s[:2], 256)), "gru1 .* Two directions"),
        ("no blank", at("head", lambda s: (*s[:2], 27)), "the head .* a blank"),
        ("quarters at once", shapes(conv=lambda n, s: n, pool=lambda n: n // 4), "stcnn2 .* only the pool"),
        ("no pool in the third", at("stcnn3", lambda s: (*s[:3], 2 * s[3], 2 * s[4])), "stcnn3 .* the pool"),
        ("floats", shapes(pool=lambda n: n / 2), "whole numbers"),
        ("six shapes", lambda *a: shapes()(*a)[:6], "a list of 7 shapes"),
        ("a dictionary", lambda *a: dict(enumerate(shapes()(*a))), "a list of 7 shapes"),
        ("numbers for shapes", lambda *a: [math.prod(s) for s in shapes()(*a)], "a tuple of whole numbers"),
        ("NaN", at("stcnn1", lambda s: (*s[:4], math.nan)), "whole numbers"),
        ("no return", lambda *a: None, "gave None"),
        ("crashes", lambda *a: a[0][1], "stopped with TypeError"),
    ],
    "to_sequence": [
        ("view in place of permute", lambda x: x.reshape(x.shape[2], x.shape[0], -1), "Look at frame 0"),
        ("forgets the channels' way", lambda x: x.transpose(1, 2).reshape(x.shape[2], x.shape[0], -1),
         "Look at frame 0 of clip 1"),
        ("view of the permuted", lambda x: x.permute(2, 0, 1, 3, 4).view(*x.shape[2::-2], -1),
         "stopped with RuntimeError"),
        ("batch first", lambda x: x.transpose(1, 2).flatten(2), r"expected \(3, 1, 2\)\. The axes"),
        ("batch first, by permute", lambda x: x.permute(0, 2, 1, 3, 4).flatten(2), "The axes are"),
        ("channels last", lambda x: x.permute(2, 0, 3, 4, 1).flatten(2), "channel after channel"),
        ("columns before rows", lambda x: x.permute(2, 0, 1, 4, 3).flatten(2), "row after row"),
        ("mean over the map", lambda x: x.mean((3, 4)).permute(2, 0, 1), "expected \\(3, 1, 16\\)"),
        ("clips and channels mixed", lambda x: x.permute(2, 1, 0, 3, 4).reshape(x.shape[2], x.shape[0], -1),
         "frame 0 of clip 1"),
        ("time backwards", lambda x: x.permute(2, 0, 1, 3, 4).flatten(2).flip(0), "Look at frame 0"),
        ("flattened too much", lambda x: x.permute(2, 0, 1, 3, 4).flatten(1), "The axes are"),
        ("not flattened", lambda x: x.permute(2, 0, 1, 3, 4), "The axes are"),
        ("detached", lambda x: x.detach().permute(2, 0, 1, 3, 4).flatten(2), "no gradient"),
        ("places before channels", lambda x: x.flatten(3).permute(2, 0, 3, 1).flatten(2), "channel after"),
        ("3072 written as a number", lambda x: x.permute(2, 0, 1, 3, 4).reshape(*x.shape[2::-2], 3072),
         "stopped with RuntimeError"),
        ("numpy", lambda x: x.detach().numpy().transpose(2, 0, 1, 3, 4), "expected a tensor"),
        ("NaN", lambda x: x.permute(2, 0, 1, 3, 4).flatten(2) * math.nan, "NaN"),
        ("no return", lambda x: None, "gave None"),
    ],
    "bigru_weights": [
        ("one direction", gru(ways=1), "too few.*how many directions"),
        ("an LSTM's gates", gru(gates=4), "too many.*How many gates"),
        ("two gates", gru(gates=2), "too few.*How many gates"),
        ("one bias", gru(biases=1), "too few.*two biases"),
        ("no bias", gru(biases=0), "too few.*two biases"),
        ("no memory weights", gru(memory=lambda d: 0), "too few"),
        ("no input weights", gru(inputs=lambda f, d: 0), "too few"),
        ("memory of both directions", gru(memory=lambda d: 2 * d), "too many"),
        ("F D in place of D D", lambda f, d: 6 * (f * d + f * d + 2 * d), "whole memory|all F"),
        ("biases once, not for each unit", lambda f, d: 6 * (f * d + d * d + 2), "two biases|D outputs"),
        ("F and D swapped", lambda f, d: gru()(d, f), "all F inputs"),
        ("always 3072", lambda f, d: gru()(3072, d), "too many"),
        ("memory shared by both directions", lambda f, d: 6 * d * f + 3 * d * d + 12 * d, "too few"),
        ("biases of one gate", lambda f, d: 6 * (f * d + d * d) + 4 * d, "too few.*two biases"),
        ("float", lambda f, d: float(gru()(f, d)), "expected a whole number"),
        ("True", lambda f, d: True, "expected a whole number"),
        ("NaN", lambda f, d: math.nan, "expected a whole number"),
        ("no return", lambda f, d: None, "gave None"),
    ],
    "first_std": [
        ("the variance", std(rule=lambda *a: right_std(*a) ** 2), "is the variance|the variance"),
        ("one over fan-in", std(rule=lambda name, i, o: right_std(name, i, o) / math.sqrt(2)), "too small"),
        ("the shape is (in, out)", std(lambda s, k: s[0] * k, lambda s, k, g: s[1] * k), r"\(out, in\)"),
        ("fan-out for He", std(rule=lambda name, i, o: right_std(name, o, i)), r"\(out, in\)"),
        ("mean of the fans", std(rule=lambda n, i, o: math.sqrt(2 / (i if n == "he" else (i + o) / 2))),
         "two fans"),
        ("one rule for both", std(rule=lambda name, i, o: math.sqrt(2 / i)), "two fans"),
        ("kernel left out of fan-in", std(lambda s, k: s[1]), "a window of every"),
        ("kernel without time", std(lambda s, k: s[1] * math.prod(s[3:])), "a window of every"),
        ("kernel left out of fan-out", std(fan_out=lambda s, k, g: s[0] // g), "kernel"),
        ("gates left out", std(fan_out=lambda s, k, g: s[0] * k), "layers stacked"),
        ("gates in fan-in, too", lambda s, r, g=1: std(lambda s, k: s[1] * k * g)(s, r, g),
         "stacked|Stacking"),
        ("the bound of a uniform", std(rule=lambda *a: math.sqrt(3) * right_std(*a)), "too large"),
        ("fan-out without time", std(fan_out=lambda s, k, g: s[0] // g * math.prod(s[3:])), "every place"),
        ("the root of 2 alone", std(rule=lambda name, i, o: math.sqrt(2) / i), "whole fraction under"),
        ("text", lambda *a: "0.1", "expected a number"),
        ("a tensor", lambda *a: torch.ones(2), "expected a number"),
        ("NaN", lambda *a: math.nan, "finite"),
        ("no return", lambda *a: None, "gave None"),
    ],
}  # fmt: skip


@each_wrong_answer(WRONG)
def test_a_wrong_answer_is_told_where_to_look(exercise, wrong, message):
    with pytest.raises(AssertionError, match=message):
        check(f"06.{exercise}", wrong)


@pytest.mark.parametrize(
    ("exercise", "other"),
    [
        ("output_shapes", lambda *a: tuple(torch.Size(s) for s in shapes()(*a))),
        ("to_sequence", lambda x: x.movedim(2, 0).reshape(x.shape[2], x.shape[0], -1)),
        ("to_sequence", lambda x: torch.stack([x[:, :, t].flatten(1) for t in range(x.shape[2])])),
        ("first_std", lambda *a: torch.tensor(std()(*a), dtype=torch.float64)),
    ],
)
def test_another_right_answer_passes(exercise, other, capsys):
    check(f"06.{exercise}", other)
    assert capsys.readouterr().out == f"06.{exercise}: correct\n"


def test_every_exercise_is_tried_with_at_least_eight_wrong_answers():
    assert WRONG.keys() == CHECKS.keys()
    assert all(len(answers) >= 8 for answers in WRONG.values())
