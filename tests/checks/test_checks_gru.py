"""What learners write by mistake in the exercises of notebook 03 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import pytest
import torch

from lessons.checks import check
from lessons.checks.gru import CHECKS
from tests.checks.exercises import each_wrong_answer


def lstm(
    order="ifgo",
    g=torch.tanh,
    new_c=lambda i, f, g, o, c: f * c + i * g,
    new_h=lambda o, c, old: o * torch.tanh(c),
    second_bias=True,
    first_bias=True,
    result=lambda h, c: (h, c),
    memory=lambda h: h,
):
    """The LSTM's step with one slip."""

    def lstm_step(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh):
        both = x @ weight_ih.T + first_bias * bias_ih + memory(h) @ weight_hh.T + second_bias * bias_hh
        block = dict(zip(order, both.chunk(4, dim=-1), strict=True))
        gates = {name: (g if name == "g" else torch.sigmoid)(block[name]) for name in "ifgo"}
        after = new_c(**gates, c=c)
        return result(new_h(gates["o"], after, c), after)

    return lstm_step


def gru(
    order="rzn",
    keep=lambda z, n, h: (1 - z) * n + z * h,
    candidate=lambda r, x_n, u_h, c_n: x_n + r * (u_h + c_n),
    through=torch.tanh,
    reset_first=False,
    gate=torch.sigmoid,
    result=lambda h: h,
):
    """The GRU's step with one slip."""

    def gru_step(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
        names, blocks = list(order), {}
        for name, *parts in zip(
            names, weight_ih.chunk(3), weight_hh.chunk(3), bias_ih.chunk(3), bias_hh.chunk(3), strict=True
        ):
            blocks[name] = parts
        pre = {k: (x @ w.T + b, h @ u.T, c) for k, (w, u, b, c) in blocks.items()}
        r, z = (gate(sum(pre[name])) for name in "rz")
        x_n, u_h, c_n = pre["n"]
        if reset_first:
            n = through(x_n + (r * h) @ blocks["n"][1].T + c_n)
        else:
            n = through(candidate(r, x_n, u_h, c_n))
        return result(keep(z, n, h))

    return gru_step


def reverse(x, lengths):
    turned = x.clone()
    for clip, length in enumerate(lengths.tolist()):
        turned[:length, clip] = x[:length, clip].flip(0)
    return turned


def in_place(x, lengths):
    x.copy_(reverse(x, lengths))
    return x


def without_last(x, lengths):
    turned = x.clone()
    for clip, length in enumerate(lengths.tolist()):
        turned[: length - 1, clip] = x[: length - 1, clip].flip(0)
    return turned


def zero_padding(x, lengths):
    frame = torch.arange(len(x))[:, None, None]
    return reverse(x, lengths) * (frame < lengths[None, :, None])


def batch_first(x, lengths):
    turned = x.clone()
    for clip in range(len(x)):
        length = int(lengths[min(clip, len(lengths) - 1)])
        turned[clip, :length] = x[clip, :length].flip(0)
    return turned


def fetch_clamped(x, lengths):
    source = (lengths - 1 - torch.arange(len(x))[:, None]).clamp(min=0)  # (T, B)
    return x.gather(0, source[..., None].expand_as(x))


def padding_first(x, lengths):
    turned = torch.zeros_like(x)
    for clip, length in enumerate(lengths.tolist()):
        turned[len(x) - length :, clip] = x[:length, clip].flip(0)
    return turned


WRONG = {
    "lstm_step": [
        ("order i, g, f, o", lstm(order="igfo"), "Which rows are i, f, g, o"),
        ("order f, i, g, o", lstm(order="figo"), "which gate multiplies the old c"),
        ("order i, f, o, g", lstm(order="ifog"), "Which rows are i, f, g, o"),
        ("f and i exchanged", lstm(new_c=lambda i, f, g, o, c: i * c + f * g), "multiplies the old c"),
        ("sigmoid on the candidate", lstm(g=torch.sigmoid), "Through which function does g go"),
        ("no tanh on the candidate", lstm(g=lambda g: g), "Through which function does g go"),
        ("no tanh on c", lstm(new_h=lambda o, c, old: o * c), "be its tanh"),
        ("h from the old c", lstm(new_h=lambda o, c, old: o * torch.tanh(old)), "candidate g alone"),
        ("output gate forgotten", lstm(new_h=lambda o, c, old: torch.tanh(c)), "output gate is shut"),
        ("no forget gate", lstm(new_c=lambda i, f, g, o, c: c + i * g), "candidate g alone"),
        ("1 - i in place of f", lstm(new_c=lambda i, f, g, o, c: (1 - i) * c + i * g), "Only bias_ih"),
        ("bias_hh forgotten", lstm(second_bias=False), "does it count in every gate"),
        ("bias_ih forgotten", lstm(first_bias=False), "Which rows are"),
        ("memory left out of the gates", lstm(memory=torch.zeros_like), "Only weight_hh is not 0"),
        ("gates read c", lambda x, h, c, *weights: lstm()(x, c, c, *weights), "the old h at that"),
        (
            "tanh around the output gate",
            lstm(new_h=lambda o, c, old: torch.tanh(o * c)),
            "no gate is quite open or shut",
        ),
        ("c and h exchanged", lstm(result=lambda h, c: (c, h)), "be its tanh"),
        ("only h", lstm(result=lambda h, c: h), "expected the pair"),
        ("a tensor of both", lstm(result=lambda h, c: torch.stack([h, c])), "expected the pair"),
        ("transposed", lambda x, h, c, w, u, a, b: (x @ w + h @ u).chunk(4), "stopped with RuntimeError"),
        ("NaN", lstm(result=lambda h, c: (h / 0 * 0, c)), "NaN"),
        ("numpy", lstm(result=lambda h, c: (h.numpy(), c.numpy())), "expected a tensor"),
        ("no return", lambda *a: None, "gave None"),
    ],
    "gru_step": [
        ("Keras's order z, r, n", gru(order="zrn"), "which block of rows is z"),
        ("z and 1 - z exchanged", gru(keep=lambda z, n, h: z * n + (1 - z) * h), "does z multiply"),
        ("reset before the product", gru(reset_first=True), "that r multiplies does bias_hh stand"),
        (
            "reset before, bias within",
            lambda x, h, w, u, b, c: _reset_before_with_gated_bias(x, h, w, u, b, c),
            "the memory, or the product",
        ),
        (
            "c_n outside the bracket",
            gru(candidate=lambda r, x_n, u_h, c_n: x_n + r * u_h + c_n),
            "that r multiplies does bias_hh stand",
        ),
        ("r on everything", gru(candidate=lambda r, x_n, u_h, c_n: r * (x_n + u_h + c_n)), "input's part"),
        (
            "1 - r in place of r",
            gru(candidate=lambda r, x_n, u_h, c_n: x_n + (1 - r) * (u_h + c_n)),
            "What does r = 0 leave",
        ),
        (
            "r on the frame's part",
            gru(candidate=lambda r, x_n, u_h, c_n: r * x_n + u_h + c_n),
            "Does r touch that part",
        ),
        ("no reset", gru(candidate=lambda r, x_n, u_h, c_n: x_n + u_h + c_n), "does bias_hh stand"),
        ("sigmoid on the candidate", gru(through=torch.sigmoid), "Through which function"),
        ("no tanh", gru(through=lambda n: n), "Through which function"),
        (
            "keeps and adds",
            gru(keep=lambda z, n, h: n + z * h),
            "z and r are 0|do the two shares|does z mult",
        ),
        ("no memory", gru(keep=lambda z, n, h: (1 - z) * n), "z is 1 here"),
        ("only the candidate", gru(keep=lambda z, n, h: n), "z is 1 here"),
        ("bias_hh forgotten", gru(candidate=lambda r, x_n, u_h, c_n: x_n + r * u_h), "r is 1 here"),
        ("a tuple", gru(result=lambda h: (h,)), "expected one tensor"),
        ("mean of the batch", gru(result=lambda h: h.mean(0)), "as large as the old memory"),
        ("NaN", gru(result=lambda h: h / 0 * 0), "NaN"),
        ("a list of lists", gru(result=lambda h: h.tolist()), "things, expected one tensor"),
        ("no return", lambda *a: None, "gave None"),
    ],
    "count_weights": [
        ("one bias", lambda F, D, g, d: d * g * D * (F + D + 1), "Write the shapes"),
        ("no bias", lambda F, D, g, d: d * g * D * (F + D), "Write the shapes"),
        ("one bias a gate", lambda F, D, g, d: d * g * (D * (F + D) + 2), "every unit has its biases"),
        ("gates share the biases", lambda F, D, g, d: d * (g * D * (F + D) + 2 * D), "biases of its own"),
        ("gates share U", lambda F, D, g, d: d * (g * D * (F + 2) + D * D), "biases of its own"),
        ("gates forgotten", lambda F, D, g, d: d * D * (F + D + 2), "biases of its own"),
        ("directions forgotten", lambda F, D, g, d: g * D * (F + D + 2), "second direction"),
        ("the second reads 2D", lambda F, D, g, d: d * g * D * (F + d * D + 2), "reads the same F features"),
        (
            "candidate not counted",
            lambda F, D, g, d: d * max(g - 1, 1) * D * (F + D + 2),
            "Each gate has a W",
        ),
        ("bias_ih as long as a frame", lambda F, D, g, d: d * g * (D * (F + D + 1) + F), "column for each"),
        ("F and D exchanged", lambda F, D, g, d: d * g * F * (F + D + 2), "column for each feature"),
        ("F squared", lambda F, D, g, d: d * g * (D * F + F * F + 2 * D), "column for each feature"),
        ("a float", lambda F, D, g, d: float(d * g * D * (F + D + 2)), "expected a whole number"),
        ("a tensor", lambda F, D, g, d: torch.tensor(d * g * D * (F + D + 2)), "expected a whole number"),
        ("NaN", lambda F, D, g, d: float("nan"), "expected a whole number"),
        ("no return", lambda F, D, g, d: None, "gave None"),
    ],
    "reverse_padded": [
        ("turns the padding, too", lambda x, lengths: x.flip(0), "padding stays at the end"),
        ("all by the longest", lambda x, n: reverse(x, n.max().expand(len(n))), "own length"),
        ("all by the first", lambda x, n: reverse(x, n[:1].expand(len(n))), "own length"),
        ("one frame short", without_last, "One full clip"),
        ("padding set to 0", zero_padding, "padding stays at the end, as it was"),
        ("turns the batch", lambda x, n: reverse(x, n).flip(1), "Each clip keeps its own frames"),
        ("turns the features", lambda x, n: reverse(x, n).flip(2), "padding stays at the end|own frames"),
        ("batch first", batch_first, "stopped with|One full clip|padding stays|own frames"),
        ("not turned", lambda x, n: x.clone(), "One full clip"),
        ("shifted", lambda x, n: reverse(x, n).roll(1, 0), "One full clip"),
        ("changes x", in_place, "changed x itself"),
        ("cut to the longest", lambda x, n: reverse(x, n)[: n.max()], "as large as x"),
        ("padding fetched from frame 0", fetch_clamped, "padding stays at the end, as it was"),
        ("padding to the front", padding_first, "padding stays at the end"),
        ("as a list", lambda x, n: list(reverse(x, n)), "expected a tensor"),
        ("NaN", lambda x, n: reverse(x, n) / 0 * 0, "NaN"),
        ("no return", lambda x, n: None, "gave None"),
    ],
}


def _reset_before_with_gated_bias(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """U (r ⊙ h) + r ⊙ c: the product on the wrong side, the bias on the right one."""
    x_r, x_z, x_n = (x @ weight_ih.T + bias_ih).chunk(3, dim=-1)
    (u_r, u_z, u_n), (c_r, c_z, c_n) = weight_hh.chunk(3), bias_hh.chunk(3)
    r, z = torch.sigmoid(x_r + h @ u_r.T + c_r), torch.sigmoid(x_z + h @ u_z.T + c_z)
    n = torch.tanh(x_n + (r * h) @ u_n.T + r * c_n)
    return (1 - z) * n + z * h


@each_wrong_answer(WRONG)
def test_a_wrong_answer_is_told_where_to_look(exercise, wrong, message):
    with pytest.raises(AssertionError, match=message):
        check(f"03.{exercise}", wrong)


def test_the_slips_are_slips_in_something_right():
    check("03.lstm_step", lstm())
    check("03.gru_step", gru())
    check("03.reverse_padded", reverse)


def test_every_exercise_is_tried_with_at_least_eight_wrong_answers():
    assert WRONG.keys() == CHECKS.keys()
    assert all(len(answers) >= 8 for answers in WRONG.values())
