"""What learners write by mistake in the exercises of notebook 06 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch import nn

from lessons.checks.lipnet import CHECKS
from tests.checks.exercises import answer_tests, sizes_that_never_vary

# ---- forward -----------------------------------------------------------------------------------------------


def maps_of(self, x):
    return self.stcnn3(self.stcnn2(self.stcnn1(x)))


def rest(self, x):
    x = self.gru1(x)[0]
    x = self.gru2(self.dropout(x))[0]
    return self.head(self.dropout(x))


def lipnet(
    sequence=lambda maps: maps.permute(2, 0, 1, 3, 4).flatten(2), maps=maps_of, rest=rest, end=lambda y: y
):
    """A forward with a slip in the reshape, in the parts before or after it, or at the end."""

    def forward(self, x):
        return end(rest(self, sequence(maps(self, x))))

    return forward


def recur(before=False, between=True, after=True):
    def part(self, x):
        x = self.gru1(self.dropout(x) if before else x)[0]
        x = self.gru2(self.dropout(x) if between else x)[0]
        return self.head(self.dropout(x) if after else x)

    return lipnet(rest=part)


def with_eval(self, x):
    self.eval()
    return lipnet()(self, x)


def scales_weights(self, x):
    with torch.no_grad():
        self.head.weight.mul_(1.0 + 1e-3)
    return lipnet()(self, x)


def freezes_a_layer(self, x):
    for parameter in self.gru2.parameters():
        parameter.requires_grad_(False)
    return lipnet()(self, x)


def in_place(self, x):
    x -= x.mean()
    return lipnet()(self, x)


def behind_autograd(self, x):
    y = lipnet()(self, x)
    x.data.zero_()
    return y


def without_gradients(self, x):
    with torch.no_grad():
        return lipnet()(self, x)


def last_states(self, x):
    x = self.gru1(x)[0]
    last = self.gru2(self.dropout(x))[1].transpose(0, 1).flatten(1)  # (B, 2D)
    return self.head(self.dropout(last))


def through_numpy(self, x):
    y = lipnet()(self, x)
    return y.detach().numpy()


def float32_buffer(self, x):
    y = lipnet()(self, x)
    out = torch.zeros(y.shape)
    out[:] = y
    return out


def batch_first_by_mistake(self, x):
    x = maps_of(self, x).transpose(1, 2).flatten(2)  # (B, T, F)
    return rest(self, x)


def only_direction_forward(self, x):
    x = self.gru1(maps_of(self, x).permute(2, 0, 1, 3, 4).flatten(2))[0]
    half = x.shape[2] // 2
    x = torch.cat([x[..., :half], x[..., :half]], dim=-1)
    x = self.gru2(self.dropout(x))[0]
    return self.head(self.dropout(x))


def calls_the_blocks_out_of_order(self, x):
    return lipnet(maps=lambda self, x: self.stcnn3(self.stcnn1(self.stcnn2(x))))(self, x)


def random_dropout(self, x):
    x = self.gru1(maps_of(self, x).permute(2, 0, 1, 3, 4).flatten(2))[0]
    x = self.gru2(nn.functional.dropout(x, 0.5, self.training))[0]
    return self.head(nn.functional.dropout(x, 0.5, self.training))


def always_dropped(self, x):
    x = self.gru1(maps_of(self, x).permute(2, 0, 1, 3, 4).flatten(2))[0]
    x = self.gru2(nn.functional.dropout(x))[0]
    return self.head(nn.functional.dropout(x))


def keeps_its_state(self, x):
    states = getattr(self, "states", None)
    x, self.states = self.gru1(maps_of(self, x).permute(2, 0, 1, 3, 4).flatten(2), states)
    return self.head(self.dropout(self.gru2(self.dropout(x))[0]))


def one_gru_starts_the_other(self, x):
    x, last = self.gru1(maps_of(self, x).permute(2, 0, 1, 3, 4).flatten(2))
    x, _ = self.gru2(self.dropout(x), last if self.gru1.hidden_size == self.gru2.hidden_size else None)
    return self.head(self.dropout(x))


def recur_and_drop_logits(self, x):
    x = self.gru1(maps_of(self, x).permute(2, 0, 1, 3, 4).flatten(2))[0]
    return self.dropout(self.head(self.gru2(self.dropout(x))[0]))


def discards_the_dropout(self, x):
    x, _ = self.gru1(maps_of(self, x).permute(2, 0, 1, 3, 4).flatten(2))
    self.dropout(x)
    x, _ = self.gru2(x)
    self.dropout(x)
    return self.head(x)


# ---- right answers -----------------------------------------------------------------------------------------


def frame_by_frame(self, x):
    maps = maps_of(self, x)
    x = torch.stack([maps[:, :, t].flatten(1) for t in range(maps.shape[2])])
    return rest(self, x)


def by_einsum(self, x):
    maps = torch.einsum("bcthw->tbchw", maps_of(self, x))
    return rest(self, maps.reshape(*maps.shape[:2], -1))


def by_view(self, x):
    maps = maps_of(self, x)
    B, C, T, H, W = maps.shape
    return rest(self, maps.permute(2, 0, 1, 3, 4).contiguous().view(T, B, C * H * W))


def in_loops(self, x):
    for block in (self.stcnn1, self.stcnn2, self.stcnn3):
        x = block(x)
    x = x.movedim(2, 0).reshape(x.shape[2], x.shape[0], -1)
    for gru in (self.gru1, self.gru2):
        hidden, _ = gru(x)
        x = self.dropout(hidden)
    return self.head(x)


def by_transposes(self, x):
    x = maps_of(self, x).flatten(3)  # (B, C, T, HW)
    x = x.transpose(1, 2).flatten(2).transpose(0, 1)  # (T, B, F)
    return rest(self, x)


def asks_for_the_mode(self, x):
    drop = self.dropout if self.training else nn.Identity()
    x = self.gru1.forward(maps_of(self, x).permute(2, 0, 1, 3, 4).flatten(2))[0]
    x = self.gru2.forward(drop(x))[0]
    return self.head(drop(x))


def clip_by_clip(self, x):
    return torch.cat([lipnet()(self, one[None]) for one in x], dim=1)


def head_by_hand(self, x):
    x = self.gru1(maps_of(self, x).permute(2, 0, 1, 3, 4).flatten(2))[0]
    x = self.dropout(self.gru2(self.dropout(x))[0])
    return x @ self.head.weight.T + self.head.bias


def frames_unbound(self, x):
    x = nn.Sequential(self.stcnn1, self.stcnn2, self.stcnn3)(x)
    x = torch.stack([frame.flatten(1) for frame in x.unbind(2)])
    x, *_ = self.gru2(self.dropout(self.gru1(x)[0]))
    return torch.stack([self.head(frame) for frame in self.dropout(x)])


# ---- rename_keys -------------------------------------------------------------------------------------------

LAYERS = {"conv1": "stcnn1.conv", "conv2": "stcnn2.conv", "conv3": "stcnn3.conv", "FC": "head"}


def one_name(name):
    layer, dot, rest = name.removeprefix("module.").partition(".")
    return LAYERS.get(layer, layer) + dot + rest


def keys(rule=one_name, value=lambda t: t):
    return lambda state: {rule(name): value(tensor) for name, tensor in state.items()}


def pops(state):
    for name in list(state):
        state[one_name(name)] = state.pop(name)
    return state


def scales_the_tensors(state):
    for tensor in state.values():
        tensor *= 2
    return keys()(state)


def replaced(name):
    name = re.sub(r"conv(\d)", r"stcnn\1.conv", name.replace("module.", ""))
    return name.replace("FC", "head")


def without_module(name):
    layer, *others = [part for part in name.split(".") if part != "module"]
    return ".".join([LAYERS.get(layer, layer), *others])


def any_digit(name):
    name = re.sub(r"^conv(\d)\.", r"stcnn\1.conv.", name.removeprefix("module."))
    return re.sub(r"^FC\.", "head.", name)


def prefix_of_known_layers_only(name):
    known = [*LAYERS, "gru1", "gru2"]
    return one_name(name) if name.removeprefix("module.").split(".")[0] in known else name


def by_regex(name):
    name = re.sub(r"^module\.", "", name)
    name = re.sub(r"^conv([123])\.", r"stcnn\1.conv.", name)
    return re.sub(r"^FC\.", "head.", name)


def by_prefixes(state):
    out = {}
    for name, tensor in state.items():
        name = name[7:] if name.startswith("module.") else name
        for old, new in LAYERS.items():
            if name.startswith(old + "."):
                name = new + name[len(old) :]
                break
        out[name] = tensor.clone()
    return out


def prefix_if_all_have_it(state):
    if all(name.startswith("module.") for name in state):
        state = {name[7:]: tensor for name, tensor in state.items()}
    return keys(one_name_without_prefix)(state)


def one_name_without_prefix(name):
    layer, dot, rest = name.partition(".")
    return LAYERS.get(layer, layer) + dot + rest


def by_parts(state):
    out = OrderedDict()
    for name in sorted(state):
        first, *others = name.split(".")
        if first == "module":
            first, *others = others
        if first in ("conv1", "conv2", "conv3"):
            first = f"stcnn{first[-1]}.conv"
        elif first == "FC":
            first = "head"
        out[".".join([first, *others])] = state[name].detach()
    return out


# ---- bigru_weights, initial_std ----------------------------------------------------------------------------


def gru(gates=3, ways=2, biases=2, inputs=lambda f, d: f, state=lambda d: d):
    return lambda f, d: ways * gates * d * (inputs(f, d) + state(d) + biases)


def std(fan_in=None, fan_out=None, rule=None):
    """initial_std with another fan-in, fan-out, or rule."""

    def function(shape, name, gates=1):
        positions = math.prod(shape[2:])
        n_in = fan_in(shape, positions) if fan_in else shape[1] * positions
        n_out = fan_out(shape, positions, gates) if fan_out else shape[0] // gates * positions
        if rule:
            return rule(name, n_in, n_out)
        return math.sqrt(2 / (n_in if name == "he" else n_in + n_out))

    return function


def right_std(name, n_in, n_out):
    return math.sqrt(2 / (n_in if name == "he" else n_in + n_out))


def without_default(shape, rule, gates):
    return std()(shape, rule, gates)


def gates_always_three(shape, rule, gates=3):
    return std()(shape, rule, gates)


WRONG = {
    "forward": [
        (
            "reshape without permute",
            lipnet(lambda m: m.reshape(m.shape[2], m.shape[0], -1)),
            "several frames",
        ),
        (
            "transpose, then reshape",
            lipnet(lambda m: m.transpose(1, 2).reshape(m.shape[2], m.shape[0], -1)),
            "another frame or clip",
        ),
        (
            "reshape with time last",
            lipnet(lambda m: m.reshape(len(m), -1, m.shape[2]).permute(2, 0, 1)),
            "several frames",
        ),
        ("a state kept from call to call", keeps_its_state, "right in one call, wrong in a later one"),
        ("the first GRU's state starts the second", one_gru_starts_the_other, "through nothing else"),
        (
            "a ReLU after the GRUs",
            lipnet(rest=lambda self, x: self.head(self.gru2(self.gru1(x)[0].relu())[0])),
            "through nothing else",
        ),
        ("the result of dropout discarded", discards_the_dropout, "no feature is dropped"),
        ("dropout of the logits", recur_and_drop_logits, "is self.dropout where"),
        ("calls itself", lambda self, x: self(x), "called itself"),
        (
            "clips and channels mixed",
            lipnet(lambda m: m.permute(2, 1, 0, 3, 4).reshape(m.shape[2], m.shape[0], -1)),
            "several clips",
        ),
        (
            "view of the permuted",
            lipnet(lambda m: m.permute(2, 0, 1, 3, 4).view(m.shape[2], m.shape[0], -1)),
            "stopped with RuntimeError: view size",
        ),
        (
            "channels last",
            lipnet(lambda m: m.permute(2, 0, 3, 4, 1).flatten(2)),
            "which of channel, row and column",
        ),
        (
            "columns before rows",
            lipnet(lambda m: m.permute(2, 0, 1, 4, 3).flatten(2)),
            "which of channel, row",
        ),
        (
            "time backwards",
            lipnet(lambda m: m.permute(2, 0, 1, 3, 4).flatten(2).flip(0)),
            "Time runs backwards",
        ),
        ("batch first", batch_first_by_mistake, r"gave shape \(1, 4, 4\), expected \(4, 1, 4\)"),
        (
            "(B, T, V) at the end",
            lipnet(end=lambda y: y.transpose(0, 1)),
            r"gave shape .* The axes are \(T, B, V\)",
        ),
        ("(T, V, B)", lipnet(end=lambda y: y.permute(0, 2, 1)), r"The axes are \(T, B, V\)"),
        (
            "batch of 1 squeezed",
            lipnet(end=lambda y: y.squeeze()),
            r"gave shape \(4, 4\), expected \(4, 1, 4\)",
        ),
        ("log probabilities", lipnet(end=lambda y: y.log_softmax(-1)), "a forward returns logits"),
        ("probabilities", lipnet(end=lambda y: y.softmax(-1)), "These are probabilities"),
        ("softmax over time", lipnet(end=lambda y: y.softmax(0)), "values are wrong"),
        ("a ReLU at the end", lipnet(end=torch.relu), "values are wrong"),
        ("no dropout", recur(between=False, after=False), "no feature is dropped"),
        ("no dropout between the GRUs", recur(between=False), "between the two GRUs"),
        ("no dropout before the head", recur(after=False), "between gru2 and the head"),
        ("dropout before gru1, too", recur(before=True), "before the first GRU"),
        ("dropout before each GRU", recur(before=True, after=False), "after each GRU, not before"),
        ("dropout in evaluation, too", always_dropped, "values are wrong"),
        ("another dropout than the model's", random_dropout, "training mode: is self.dropout where"),
        ("eval() inside", with_eval, "changed self, .*its mode"),
        ("weights changed", scales_weights, "changed self, which belongs to its caller. Leave its weights"),
        ("clip changed in place", in_place, "changed x"),
        ("clip changed behind autograd", behind_autograd, "changed x"),
        ("no gradient", without_gradients, "no gradient reaches self"),
        (
            "maps detached",
            lipnet(lambda m: m.detach().permute(2, 0, 1, 3, 4).flatten(2)),
            "no gradient reaches self",
        ),
        ("a layer frozen", freezes_a_layer, "changed self.*no longer requires a gradient"),
        ("clip detached", lambda self, x: lipnet()(self, x.detach()), "no gradient reaches x"),
        ("float32", lambda self, x: lipnet(end=lambda y: y.float())(self, x), "wrong dtype"),
        ("a float32 buffer", float32_buffer, "wrong dtype"),
        ("numpy", through_numpy, "expected a tensor"),
        ("with the final states", lipnet(end=lambda y: (y, None)), "expected a tensor"),
        ("final states only", lipnet(rest=last_states), "gave shape"),
        (
            "the pair of a GRU",
            lipnet(rest=lambda self, x: self.head(self.gru2(self.gru1(x))[0])),
            "stopped with",
        ),
        (
            "gru2 left out",
            lipnet(rest=lambda self, x: self.head(self.dropout(self.gru1(x)[0]))),
            "values are wrong|stopped",
        ),
        ("no head", lipnet(rest=lambda self, x: self.gru2(self.dropout(self.gru1(x)[0]))[0]), "gave shape"),
        ("one direction", only_direction_forward, "values are wrong"),
        ("blocks out of order", calls_the_blocks_out_of_order, "stopped with RuntimeError"),
        (
            "one block left out",
            lipnet(maps=lambda self, x: self.stcnn2(self.stcnn1(x))),
            "stopped with|wrong",
        ),
        (
            "hard-coded 3072",
            lipnet(lambda m: m.permute(2, 0, 1, 3, 4).reshape(m.shape[2], m.shape[0], 3072)),
            "stopped with RuntimeError",
        ),
        ("mean over the map", lipnet(lambda m: m.mean((3, 4)).permute(2, 0, 1)), "stopped with"),
        ("divides by 255", lambda self, x: lipnet()(self, x / 255), "values are wrong"),
        ("NaN", lipnet(end=lambda y: y * math.nan), "holds NaN"),
        ("no return", lambda self, x: None, "gave None"),
    ],
    "rename_keys": [
        ("nothing renamed", lambda state: dict(state), "key 'conv1.weight', which is not expected"),
        (
            "without .conv",
            keys(lambda n: one_name(n).replace(".conv.", ".")),
            "key 'stcnn1.weight'.* two printed",
        ),
        ("FC left", keys(lambda n: n if n.startswith("FC") else one_name(n)), "key 'FC.weight'"),
        ("one convolution only", keys(lambda n: n.replace("conv1.", "stcnn1.conv.")), "three convolutions"),
        ("GRUs renamed, too", keys(lambda n: one_name(n).replace("_l0", "")), "same names in both models"),
        (
            "module left",
            keys(lambda n: n if n.startswith("module") else one_name(n)),
            "prefix before every name",
        ),
        ("module in all names, wrongly", keys(lambda n: "module." + one_name(n)), "not expected"),
        ("replaced anywhere", keys(replaced), "beginning of a name"),
        (
            "conv10 taken for conv1",
            keys(lambda n: "stcnn1.conv" + n[5:] if n.startswith("conv10") else one_name(n)),
            "whole layer at",
        ),
        (
            "FC2 taken for FC",
            keys(lambda n: "head" + n[2:] if n.startswith("FC") else one_name(n)),
            "whole layer at",
        ),
        ("submodule cut", keys(lambda n: one_name(n.replace("module.", ""))), "beginning of a name"),
        ("module cut anywhere", keys(without_module), "only at the beginning"),
        ("conv4 taken for a layer", keys(any_digit), "no conv4"),
        ("prefix left at unknown names", keys(prefix_of_known_layers_only), "whatever follows"),
        (
            "the prefix without its dot",
            keys(lambda n: one_name(n[7:] if n.startswith("module") else n)),
            "ends with a dot",
        ),
        ("strips letters", keys(lambda n: one_name(n.lstrip("module."))), "not expected"),
        ("a sequence of names", lambda state: [one_name(n) for n in state], "expected a dict"),
        ("pairs", lambda state: list(keys()(state).items()), "expected a dict"),
        ("popped from the caller's dict", pops, "changed state"),
        ("tensors changed", scales_the_tensors, "changed state"),
        ("tensors transposed", keys(value=lambda t: t.T), "gave shape"),
        ("float32", keys(value=lambda t: t.float()), "wrong dtype"),
        ("numpy", keys(value=lambda t: t.numpy()), "expected a tensor"),
        (
            "unknown names dropped",
            lambda state: {
                one_name(n): t
                for n, t in state.items()
                if n.replace("module.", "").startswith(("conv", "gru", "FC.")) and not n.startswith("conv10")
            },
            "has no key",
        ),
        (
            "biases dropped",
            lambda state: {one_name(n): t for n, t in state.items() if "bias" not in n},
            "has no key 'stcnn1.conv.bias'",
        ),
        (
            "fixed order",
            lambda state: dict(zip(sorted(map(one_name, state)), state.values(), strict=True)),
            "wrong|gave shape|not expected",
        ),
        (
            "empty fails",
            lambda state: keys()(state) if next(iter(state)) else {},
            "stopped with StopIteration",
        ),
        ("zeros", keys(value=torch.zeros_like), "values are wrong"),
        ("no return", lambda state: None, "gave None"),
    ],
    "bigru_weights": [
        ("one direction", gru(ways=1), "too few.*how many directions"),
        ("an LSTM's gates", gru(gates=4), "too many.*How many gates"),
        ("two gates", gru(gates=2), "too few.*How many gates"),
        ("one bias", gru(biases=1), "too few.*two biases"),
        ("no bias", gru(biases=0), "too few.*two biases"),
        ("no recurrent weights", gru(state=lambda d: 0), "too few"),
        ("no input weights", gru(inputs=lambda f, d: 0), "too few"),
        ("state of both directions", gru(state=lambda d: 2 * d), "too many"),
        ("F D instead of D D", lambda f, d: 6 * (f * d + f * d + 2 * d), "whole hidden state|all F"),
        ("biases once, not per unit", lambda f, d: 6 * (f * d + d * d + 2), "two biases|D outputs"),
        ("F and D swapped", lambda f, d: gru()(d, f), "all F inputs"),
        ("always 3072", lambda f, d: gru()(3072, d), "too many"),
        ("state shared by both directions", lambda f, d: 6 * d * f + 3 * d * d + 12 * d, "too few"),
        ("biases of one gate", lambda f, d: 6 * (f * d + d * d) + 4 * d, "too few.*two biases"),
        ("float", lambda f, d: float(gru()(f, d)), "expected an integer"),
        ("True", lambda f, d: True, "expected an integer"),
        ("NaN", lambda f, d: math.nan, "expected an integer"),
        ("text", lambda f, d: str(gru()(f, d)), "expected an integer"),
        ("no return", lambda f, d: None, "gave None"),
    ],
    "initial_std": [
        ("the variance", std(rule=lambda *a: right_std(*a) ** 2), "This is the variance"),
        ("one over fan-in", std(rule=lambda name, i, o: right_std(name, i, o) / math.sqrt(2)), "too small"),
        ("the shape is (in, out)", std(lambda s, k: s[0] * k, lambda s, k, g: s[1] * k), r"\(out, in\)"),
        ("fan-out for He", std(rule=lambda name, i, o: right_std(name, o, i)), r"\(out, in\)"),
        (
            "mean of the fans",
            std(rule=lambda n, i, o: math.sqrt(2 / (i if n == "he" else (i + o) / 2))),
            "two fans",
        ),
        ("one rule for both", std(rule=lambda name, i, o: math.sqrt(2 / i)), "two fans"),
        ("kernel left out of fan-in", std(lambda s, k: s[1]), "a window of every"),
        ("kernel without time", std(lambda s, k: s[1] * math.prod(s[3:])), "a window of every"),
        (
            "square kernel assumed",
            std(lambda s, k: s[1] * (s[2] * s[3] ** 2 if len(s) > 2 else 1)),
            "sides may differ",
        ),
        ("kernel 3 x 5 x 5 assumed", std(lambda s, k: s[1] * (75 if len(s) > 2 else 1)), "sides may differ"),
        ("kernel left out of fan-out", std(fan_out=lambda s, k, g: s[0] // g), "kernel"),
        ("gates left out", std(fan_out=lambda s, k, g: s[0] * k), "layers stacked"),
        (
            "gates in fan-in, too",
            lambda s, r, g=1: std(lambda s, k: s[1] * k * g)(s, r, g),
            "stacked|Stacking",
        ),
        ("always three gates", lambda s, r, g=1: std()(s, r, 3 if g > 1 else 1), "layers stacked"),
        ("gates without default", without_default, "stopped with TypeError"),
        ("another default", gates_always_three, "belongs to one layer|too"),
        ("the bound of a uniform", std(rule=lambda *a: math.sqrt(3) * right_std(*a)), "too large"),
        ("fan-out without time", std(fan_out=lambda s, k, g: s[0] // g * math.prod(s[3:])), "every position"),
        ("the root of 2 alone", std(rule=lambda name, i, o: math.sqrt(2) / i), "whole fraction under"),
        ("text", lambda *a: "0.1", "expected a number"),
        ("a tensor of two", lambda *a: torch.ones(2), "expected a number"),
        ("NaN", lambda *a: math.nan, "finite"),
        ("no return", lambda *a: None, "gave None"),
    ],
}

RIGHT = {
    "forward": [
        lipnet(),
        frame_by_frame,
        by_einsum,
        by_view,
        in_loops,
        by_transposes,
        asks_for_the_mode,
        clip_by_clip,
        head_by_hand,
        frames_unbound,
    ],
    "rename_keys": [
        keys(),
        keys(by_regex),
        by_prefixes,
        by_parts,
        prefix_if_all_have_it,
        keys(value=lambda t: t.clone()),
        lambda state: dict(map(lambda item: (one_name(item[0]), item[1]), state.items())),
    ],
    "bigru_weights": [
        gru(),
        lambda f, d: sum(p.numel() for p in nn.GRU(f, d, bidirectional=True).parameters()),
        lambda f, d: 6 * d * f + 6 * d * d + 12 * d,
        lambda f, d: np.int64(6) * d * (f + d + 2),
        lambda f, d: torch.tensor(6 * d * (f + d + 2)),
        lambda f, d: np.prod([6, d, f + d + 2]),
    ],
    "initial_std": [
        std(),
        lambda *a: torch.tensor(std()(*a)),
        lambda *a: np.sqrt(std()(*a) ** 2),
        lambda shape, rule, gates=1: (
            torch.nn.init.calculate_gain("relu") / math.sqrt(math.prod(shape[1:]))
            if rule == "he"
            else (2 / (math.prod(shape[1:]) + math.prod(shape) / shape[1] / gates)) ** 0.5
        ),
        lambda shape, rule, gates=1: math.sqrt(
            2
            / sum(
                torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape[0] // gates, *shape[1:]))[
                    : 1 if rule == "he" else 2
                ]
            )
        ),
    ],
}


TestAnswers = answer_tests("06", WRONG, RIGHT)


@pytest.mark.parametrize("exercise", CHECKS)
def test_every_size_varies(exercise):
    assert sizes_that_never_vary(CHECKS[exercise]) == []
