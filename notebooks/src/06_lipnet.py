# %% [markdown]
# # 06 · LipNet
#
# **You will write LipNet's forward pass, account for every one of its 6,638,844 weights, and prove that your
# model computes the same function as a public port: with equal weights, both give equal logits and
# gradients.**
#
# *Core path: about 58 minutes; deeper sections: about 40; all cells together run in about
# 40 seconds on one CPU core.*
#
# **You need**: the STCNN (notebook 02), the GRU (notebook 03), `nn.Module`, and one fact about CTC (notebook
# 04): it reads one distribution over the classes per frame.
#
# **You will be able to**
# - write the forward pass of a network that joins convolutions to recurrent layers;
# - say which layer has most of the weights, which does most of the work, and why;
# - load another implementation's weights into your own model, and prove that both are the same model;
# - review public model code: tell its bugs from what only looks like a bug.

# %%
import copy
import itertools
import math
import time

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lessons import figures
from lessons.checks import agree, check, use
from lessons.ctc import grammar, min_frames
from lessons.ctc.alphabet import Alphabet
from lessons.ctc.decode import greedy_decode
from lessons.data.batch import normalize
from lessons.data.synthetic.talker import Speaker, synthetic_clips, talk
from lessons.layers.gru import GRU
from lessons.layers.stcnn import STCNN
from lessons.lipreading import LipNet, SmallLipNet
from lessons.measure.counting import count
from lessons.source import show
from lessons.training import checkpoint

# %% [markdown]
# ## 1. The layers, and every shape
#
# The input is a clip: three seconds, 75 frames of 64 × 128 pixels, in color. LipNet computes 28 **logits**
# for each frame: one per letter, one for the space, one for CTC's blank.

# %%
reference = "place red at q seven again"
rng = np.random.default_rng(7)
frames, _ = talk(reference, Speaker.random(rng), rng, size=(64, 128), color=True)  # (75, 64, 128, 3) bytes
clip = torch.from_numpy(frames).permute(3, 0, 1, 2)[None] / 255  # (1, 3, 75, 64, 128), 0 … 1
figures.filmstrip(frames, range(14, 54, 5), columns=8, title="8 of the clip's 75 frames")

# %% [markdown]
# The architecture in seven rows (after Table 3 of the paper, with a misprint in the strides corrected):
#
# | layer | output | kernel | stride | padding |
# |---|---|---|---|---|
# | STCNN 1 | 32 channels | 3 × 5 × 5 | 1, 2, 2 | 1, 2, 2 |
# | STCNN 2 | 64 channels | 3 × 5 × 5 | 1 | 1, 2, 2 |
# | STCNN 3 | 96 channels | 3 × 3 × 3 | 1 | 1 |
# | reshape | all values of a frame in one vector | | | |
# | Bi-GRU 1 | $D$ = 256 per direction | | | |
# | Bi-GRU 2 | $D$ = 256 per direction | | | |
# | linear | $V$ = 28 classes | | | |
#
# Each STCNN is a convolution, a ReLU, a max-pool over 2 × 2 pixels of each frame, and channel dropout. The
# stride of STCNN 1 halves the frame, and so does each of the three pools. Time keeps its length.
#
# **Predict** the shape after each row for this clip, before you go on. Notebook 02's formula for one axis is
# $\lfloor (n + 2p - k)/s \rfloor + 1$.
#
# ### From feature maps to a sequence
#
# A GRU reads a sequence of vectors with time as the first axis. The last STCNN gives feature maps. One
# reshape turns the maps into the sequence:
#
# $$(B, C, T, H, W) \;\to\; (T, B, F), \qquad F = C \cdot H \cdot W$$
#
# Feature $(c \cdot H + h) \cdot W + w$ of frame $t$ is the value at channel $c$, row $h$, column $w$ of that
# frame. Trained weights rely on this order. A plain `view` or `reshape` also returns the *shape* that you ask
# for, but it fills each row with numbers of several frames (notebook 01). There is no error message: the GRU
# reads each row as if it were one frame.
#
# ## 2. The forward pass
#
# Here are the layers of the table. `STCNN` and `GRU` are the layers of notebooks 02 and 03, computed by this
# course's own code (`layers="lessons"`). What is missing is `forward`.


# %%
class MyLipNet(nn.Module):
    def __init__(self, height=64, width=128):
        super().__init__()
        self.stcnn1 = STCNN(3, 32, (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2), layers="lessons")
        self.stcnn2 = STCNN(32, 64, (3, 5, 5), padding=(1, 2, 2), layers="lessons")
        self.stcnn3 = STCNN(64, 96, (3, 3, 3), padding=(1, 1, 1), layers="lessons")
        features = 96 * ((height + 1) // 16) * ((width + 1) // 16)  # F: one stride and three pools
        self.gru1 = GRU(features, 256, bidirectional=True)
        self.gru2 = GRU(512, 256, bidirectional=True)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(512, 28)


# %% [markdown]
# ### Exercise 1 · `forward` · difficulty ★★☆ · 15 minutes
#
# Write the method. The check calls it with models of other sizes, in evaluation and in training mode, so take
# every size from the tensors.


# %%
def forward(self, x):
    """Clips x (B, C, T, H, W) -> logits (T, B, V), a tensor.

    self.stcnn1, self.stcnn2, self.stcnn3: (B, C, T, H, W) -> (B, C', T, H', W'), dropout included.
    self.gru1, self.gru2: (T, B, F) -> a pair: hidden states of all frames (T, B, 2D), final states.
    self.dropout: keeps the shape; the authors apply it after each of the two GRUs.
    self.head: (T, B, 2D) -> (T, B, V).
    """
    raise NotImplementedError


check("06.forward", forward)

# %% [markdown]
# <details><summary><b>Help: "view size is not compatible with input tensor's size and stride"</b></summary>
#
# A permuted tensor is not contiguous (notebook 01). `flatten` and `reshape` copy where they must; `view`
# never copies. Do not leave out the `permute`: then `view` works, and mixes the frames.
#
# </details>
#
# <details><summary><b>Help: "mat1 and mat2 shapes cannot be multiplied", wrong shape</b></summary>
#
# Or, from a GRU, "input.size(-1) must be equal to input_size. Expected 3072, got 1728". The crop does not
# have the size that the layer was built for: 1728 belongs to the paper's 50 × 100, 3072 to 64 × 128. Print
# the shape after the third STCNN. Either resize the crop, or construct the GRU for the shape that you
# computed. Trained weights fit one size only.
#
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def forward_solution(self, x):
    """Three STCNNs, one reshape, two GRUs, a linear layer."""
    x = self.stcnn3(self.stcnn2(self.stcnn1(x)))  # (B, C, T, H, W) -> (B, C', T, H', W')
    x = x.permute(2, 0, 1, 3, 4).flatten(2)  # (T, B, C', H', W') -> (T, B, F)
    x, _ = self.gru1(x)  # (T, B, 2D)
    x, _ = self.gru2(self.dropout(x))  # (T, B, 2D)
    return self.head(self.dropout(x))  # (T, B, V)


# %%
forward = use("06.forward", forward, forward_solution)
MyLipNet.forward = forward

# %% [markdown]
# Now the model is complete. Compare its shapes with your prediction:

# %% tags=["predict"]
_ = torch.manual_seed(0)
model = MyLipNet().eval()
costs = count(model, clip)  # runs the model once and records each layer
shapes = {row.name: row.output_shape for row in costs.rows}
for name in ("stcnn1.dropout", "stcnn2.dropout", "stcnn3.dropout", "gru1", "gru2", "head"):
    print(f"{name:15} {shapes[name]}")

# %% [markdown]
# All 75 frames pass through every layer. The flattened vector has $F = 96 \cdot 4 \cdot 8 = 3072$ numbers per
# frame. `log_softmax` over the last axis turns the logits into what CTC reads, `(T, B, V)`.

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert [shapes[f"stcnn{i}.dropout"] for i in (1, 2, 3)] == [
    (1, 32, 75, 16, 32),
    (1, 64, 75, 8, 16),
    (1, 96, 75, 4, 8),
]
assert [shapes[name] for name in ("gru1", "gru2", "head")] == [(75, 1, 512), (75, 1, 512), (75, 1, 28)]
assert model.gru1.input_size == 96 * 4 * 8 == 3072

# %% [markdown]
# ## 3. Where the weights are, and where the work is
#
# Notebook 02 counted a convolution: $O\,C\,k_t k_h k_w$ weights and $O$ biases. Each output value costs
# $C\,k_t k_h k_w$ multiply-adds. A linear layer has $F V + V$ weights. That leaves the GRU.
#
# ### Exercise 2 · `bigru_weights` · difficulty ★★☆ · 8 minutes
#
# How many weights does one bidirectional GRU layer have, with $F$ inputs and a hidden state of size $D$ per
# direction, biases included? As in notebook 03, every gate has two biases, one beside the input matrix and
# one beside the recurrent matrix.


# %%
def bigru_weights(input_size, hidden_size):
    """F, D (integers) -> the number of weights of one bidirectional GRU layer, an integer."""
    raise NotImplementedError


check("06.bigru_weights", bigru_weights)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def bigru_weights_solution(input_size, hidden_size):
    """A gate: D rows of F input weights, D recurrent weights and 2 biases. 3 gates, 2 directions."""
    return 2 * 3 * hidden_size * (input_size + hidden_size + 2)


# %%
bigru_weights = use("06.bigru_weights", bigru_weights, bigru_weights_solution)

# %% [markdown]
# A folded helper, `layer_table`, applies these formulas and your `bigru_weights` to every layer.
#
# **Predict.** Which layer has most of the weights? Which layer does most of the multiply-adds? Write your two
# guesses down, in percent.


# %% tags=["hide-input"]
# @title Helper: layer_table, the shape, weights and multiply-adds of each layer { display-mode: "form" }
def layer_table(height, width, frames=75, D=256, V=28):
    """Rows (name, shape without the batch, weights, multiply-adds per clip), the input first."""
    rows, C = [("input", (3, frames, height, width), 0, 0)], 3
    for i, out, kernel, stride in ((1, 32, 75, 2), (2, 64, 75, 1), (3, 96, 27, 1)):  # kernel: kt * kh * kw
        height, width = ((n - 1) // stride + 1 for n in (height, width))
        work = out * frames * height * width * C * kernel
        rows.append((f"conv{i}", (out, frames, height, width), out * C * kernel + out, work))
        C, height, width = out, height // 2, width // 2
        rows.append((f"pool{i}", (out, frames, height, width), 0, 0))
    features = C * height * width
    rows.append(("sequence", (frames, features), 0, 0))
    for i, inputs in ((1, features), (2, 2 * D)):
        work = frames * 2 * 3 * D * (inputs + D)  # every matrix is used once per frame
        rows.append((f"gru{i}", (frames, 2 * D), int(bigru_weights(inputs, D)), work))
    return [*rows, ("head", (frames, V), 2 * D * V + V, frames * 2 * D * V)]


rows = layer_table(64, 128)

# %% tags=["predict"]
figures.shape_ladder(rows, title="LipNet, from a clip to 28 logits per frame", width=12.5)

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Weights and work are in different layers:
#
# - **`gru1` has 77 % of the weights.** Each of its 1,536 gate units has its own weight for each of the 3,072
#   features. Each weight is used once per frame, so the layer does only 4 % of the work.
# - **`conv2` does 65 % of the work** with 2 % of the weights. It uses each weight at 512 positions per frame.
#
# </details>
#
# Why `conv2`, and not `conv1`, whose maps are four times as large? The work of a convolution per frame is a
# product of three factors:

# %%
table = {row[0]: row for row in rows}
total_weights, total_work = (sum(row[k] for row in rows) for k in (2, 3))
print(f"{total_weights:,} weights, {total_work / 1e9:.2f} G multiply-adds")
for name, C, kernel in (("conv1", 3, 75), ("conv2", 32, 75), ("conv3", 64, 27)):
    out, _, height, width = table[name][1]
    share = table[name][3] / total_work
    factors = f"{height * width:4} positions x {kernel} kernel values x {C * out:4} channel pairs"
    print(f"{name}: {factors}: {share:3.0%}")

# %% [markdown]
# From `conv1` to `conv2` the positions fall to a quarter, but the pairs of an input and an output channel
# grow from $3 \cdot 32 = 96$ to $32 \cdot 64 = 2048$. The channel pairs decide.

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
percent = {
    name: (round(100 * row[2] / total_weights), round(100 * row[3] / total_work))
    for name, row in table.items()
}
assert total_weights == 6_638_844 and round(total_work / 1e9, 2) == 9.07
assert (percent["gru1"], percent["conv2"], percent["conv1"][1]) == ((77, 4), (2, 65), 12)
assert (costs.weights, costs.multiply_adds) == (total_weights, total_work)
assert table["gru1"][2] == 5_114_880 and 2 * 3 * 256 == 1536 and 16 * 32 == 512
assert sum(p.numel() for p in model.parameters()) == total_weights

# %% [markdown]
# ## 4. Somebody else's weights
#
# How do you prove that you have rebuilt a model, and not just a similar one? Load the original's weights and
# compare the outputs. A slip in the order of gates, axes or layers would show, with random weights as well as
# with trained ones.
#
# Below is a public PyTorch port of LipNet that is widely copied. The code is ours; the layers, their names
# and the order of operations are the port's. Read it once as a reviewer: which lines would you object to?
# Section 5 asks you.


# %%
class PublicLipNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv3d(3, 32, (3, 5, 5), (1, 2, 2), (1, 2, 2))
        self.conv2 = nn.Conv3d(32, 64, (3, 5, 5), (1, 1, 1), (1, 2, 2))
        self.conv3 = nn.Conv3d(64, 96, (3, 3, 3), (1, 1, 1), (1, 1, 1))
        self.pool = nn.MaxPool3d((1, 2, 2), (1, 2, 2))
        self.gru1 = nn.GRU(96 * 4 * 8, 256, 1, bidirectional=True)
        self.gru2 = nn.GRU(512, 256, 1, bidirectional=True)
        self.FC = nn.Linear(512, 27 + 1)
        self.relu, self.dropout, self.dropout3d = nn.ReLU(inplace=True), nn.Dropout(0.5), nn.Dropout3d(0.5)

    def forward(self, x):
        for conv in (self.conv1, self.conv2, self.conv3):
            x = self.pool(self.dropout3d(self.relu(conv(x))))  # dropout first, then the pool
        x = x.permute(2, 0, 1, 3, 4).contiguous()  # (T, B, C, H', W')
        x = x.view(x.size(0), x.size(1), -1)  # (T, B, F): "because CTC wants it so"
        self.gru1.flatten_parameters()
        self.gru2.flatten_parameters()
        x = self.dropout(self.gru1(x)[0])  # (T, B, 2D)
        x = self.dropout(self.gru2(x)[0])  # (T, B, 2D)
        return self.FC(x).permute(1, 0, 2).contiguous()  # (B, T, V)


_ = torch.manual_seed(1)
port = PublicLipNet().eval()
for theirs, ours in zip(port.state_dict(), model.state_dict(), strict=True):
    print(f"{theirs:25} {ours}")

# %% [markdown]
# A **state_dict** is a dict from names to tensors. The two models hold the same tensors under different
# names.
#
# ### Exercise 3 · `rename_keys` · difficulty ★☆☆ · 8 minutes
#
# Write the function that turns the port's names into ours. Two cases need care. A model trained with
# `DataParallel` stores every name with the prefix `module.`; remove it at the beginning, nowhere else. And
# only the layer at the *beginning* of a name counts: `aux.FC.weight` and `conv10.weight` belong to no layer
# of the port, so they keep their names.


# %%
def rename_keys(state):
    """state, a dict: the port's names (str) -> tensors. Returns a new dict: our names -> the same tensors."""
    raise NotImplementedError


check("06.rename_keys", rename_keys)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def rename_keys_solution(state):
    """Split off the layer, look it up, put the name together again."""
    layers = {"conv1": "stcnn1.conv", "conv2": "stcnn2.conv", "conv3": "stcnn3.conv", "FC": "head"}
    renamed = {}
    for name, tensor in state.items():
        layer, dot, rest = name.removeprefix("module.").partition(".")
        renamed[layers.get(layer, layer) + dot + rest] = tensor
    return renamed


# %%
rename_keys = use("06.rename_keys", rename_keys, rename_keys_solution)

# %% [markdown]
# Now the proof: your function renames the port's weights, your model loads them, and your `forward` uses
# them. We compare the logits of two short clips and the gradients of all 24 weight tensors in float64. The
# package's `LipNet` gets the same weights.

# %%
state = rename_keys(port.state_dict())
package = LipNet().eval()
for network in (model, package):
    network.load_state_dict(state)

x = torch.rand(2, 3, 4, 64, 128, generator=torch.Generator().manual_seed(2)).double()  # (B, C, T, H, W)
upstream = torch.randn(4, 2, 28, generator=torch.Generator().manual_seed(3)).double()  # (T, B, V)
logits, gradients = {}, {}
for name, network in (("port", port), ("yours", model), ("package", package)):
    y = network.double()(x)
    logits[name] = y.transpose(0, 1) if name == "port" else y  # (T, B, V)
    grads = torch.autograd.grad(logits[name], list(network.parameters()), upstream)
    gradients[name] = torch.cat([g.flatten() for g in grads])  # (6638844,)
    network.float()
for name in ("yours", "package"):
    agree(f"logits, {name:7} against the port", logits[name], logits["port"])
    agree(f"gradients, {name:7} against the port", gradients[name], gradients["port"], tolerance=1e-8)

# %% [markdown]
# Three programs compute the same function: torch's layers under the port's names, this course's layers joined
# by your `forward`, and the package.
#
# **What does the proof not cover?** It ran in evaluation mode, where dropout does nothing. The port and your
# model drop features after each GRU, as the authors' code does. The package also drops features before
# `gru1`: the same outputs, but its training is regularized a little more. Always state what a proof covers.

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
names = list(port.state_dict())
assert len(names) == 24 and sum(p.numel() for p in port.parameters()) == 6_638_844
calls = {}
for name, network in (("port", port), ("yours", model), ("package", package)):
    calls[name] = 0
    hook = network.dropout.register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    with torch.no_grad():
        network(x.float())
    hook.remove()
assert calls["port"] == 2 and calls["package"] == 3
assert calls["yours"] in (0, 2)  # 0: a forward that asks for the mode itself

# %% [markdown]
# ## 5. Bug hunt in the wild
#
# Here are twelve objections that a careful reviewer might raise, to the port above and to a write-up that
# prints it with comments. (Rows 8 and 10 are the port's initialization, which we left out above.) A *bug*
# gives an error or wrong numbers; a *trap* is right only if the caller takes care; a *slip* is wrong, but of
# limited effect. **Decide on all twelve before you read on.**
#
# | | the line | the objection |
# |---|---|---|
# | 1 | `self.gru1 = nn.GRU(96 * 4 * 8, 256, …)` | a size is hard-coded |
# | 2 | `x = x.view(x.size(0), x.size(1), -1)` | a clip with height and width swapped is accepted |
# | 3 | `def forward(self, x):` | it takes no lengths |
# | 4 | `self.relu = nn.ReLU(inplace=True)` | it overwrites each convolution's output |
# | 5 | `return self.FC(x).permute(1, 0, 2)` | the result is `(B, T, V)` |
# | 6 | `# (T, B, F): "because CTC wants it so"` | CTC never sees these features |
# | 7 | `self.pool(self.dropout3d(self.relu(conv(x))))` | dropout stands before the pool |
# | 8 | `kaiming_normal_(FC.weight, nonlinearity="sigmoid")` | a softmax follows, not a sigmoid |
# | 9 | `self.gru1.flatten_parameters()` | it runs again in every forward pass |
# | 10 | `std = math.sqrt(2 / (96 * 3 * 6 + 256))` | one initialization constant for both GRUs |
# | 11 | `'''` … `'''` in the write-up | a comment at the left margin in the middle of `__init__` |
# | 12 | "$T$ is usually $2L + 1$", says the write-up | is it? |
#
# Click your verdict on each; only then the answer appears. (Without a running notebook, write your verdicts
# down and open the answers below.)

# %% tags=["hide-input"]
# @title Interaction { display-mode: "form" }
import ipywidgets as widgets

BUG, TRAP, FINE = "bug", "trap or slip", "no bug"
VERDICTS = (
    ("1 · a hard-coded size", BUG, "another crop is refused, with a message about a matrix"),
    ("2 · height and width swapped", BUG, "a clip on its side is read as garbage, without an error"),
    ("3 · no lengths", BUG, "padding changes the logits of valid frames, without an error"),
    ("4 · ReLU in place", TRAP, "harmless in training; wrong for a hook that looks inside"),
    ("5 · (B, T, V)", TRAP, "right only if the caller turns the axes back before CTC"),
    ("6 · the comment about CTC", FINE, "right code, wrong comment: (T, B, F) is the layout of nn.GRU"),
    ("7 · dropout before the pool", FINE, "channel dropout and max-pool commute"),
    ("8 · nonlinearity='sigmoid'", FINE, "a misleading name: its gain is 1, like that of 'linear'"),
    ("9 · flatten_parameters", FINE, "it concerns GPU memory; on a CPU it does nothing"),
    ("10 · one constant for both GRUs", TRAP, "wrong for both layers; its effect is in a deeper section"),
    ("11 · ''' at the left margin", BUG, "an IndentationError: the code cannot run as printed"),
    ("12 · T = 2L + 1", FINE, "a wrong sentence, but no code: 2L + 1 counts CTC's states, not frames"),
)


def objection(label, verdict, reason):
    """One row: the objection, three buttons, and the answer once a button was clicked."""
    buttons = widgets.ToggleButtons(options=[BUG, TRAP, FINE], value=None, style={"button_width": "100px"})
    answer = widgets.HTML()

    def reveal(change):
        mark = "Yes" if change["new"] == verdict else "No"
        answer.value = f"<b>{mark}: {verdict}.</b> {reason[0].upper()}{reason[1:]}."

    buttons.observe(reveal, names="value")
    return widgets.HBox([widgets.Label(label, layout={"width": "230px"}), buttons, answer])


# %% tags=["nbval-ignore-output"]
# output not compared: the buttons are widgets, which live only while the notebook runs
widgets.VBox([objection(*row) for row in VERDICTS])

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# | verdict | numbers |
# |---|---|
# | bug: wrong results without an error | 2, 3 |
# | bug: fails with an error | 1, 11 |
# | trap: right as long as the caller does the right thing | 4, 5 |
# | slip: wrong, of limited effect | 10 |
# | right code with a wrong comment, name or sentence | 6, 8, 12 |
# | no bug | 7, 9 |
#
# </details>
#
# A verdict needs evidence. Each objection becomes a claim that a test can refute:


# %%
holds = {}


def test(number, claim, result):
    holds[number] = bool(result)
    print("holds" if result else "FAILS", "·", claim)


def accepts(network, *size):
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, 2, *size))
    except (RuntimeError, ValueError) as error:
        return False, str(error)
    return True, ""


accepted, message = accepts(port, 50, 100)
test("1", "1. the port takes the paper's crop, 50 × 100", accepted)
print("  ", message)
test("1 ours", "   a model made for that crop does", accepts(LipNet(frame_size=(50, 100)).eval(), 50, 100)[0])
test("2", "2. the port refuses a clip on its side, 128 × 64", not accepts(port, 128, 64)[0])
test("2 ours", "   the package's LipNet refuses it", not accepts(package, 128, 64)[0])

# %% [markdown]
# Both are consequences of one hard-coded number: $8 \cdot 4 = 4 \cdot 8$, so a clip on its side has the
# expected 3072 features.
#
# ### Number 3: padding without lengths
#
# Clips of a mini-batch are padded to the longest one. A model should satisfy this: **frames after a clip's
# end do not change the logits before it.** Take 50 frames alone, and the same frames followed by 25 black
# ones:

# %%
short = clip[:, :, 14:64]  # (1, 3, 50, 64, 128)
padded = F.pad(short, (0, 0, 0, 0, 0, 25))  # (1, 3, 75, 64, 128)
lengths = torch.tensor([50])
with torch.no_grad():
    alone, behind = port(short)[0], port(padded)[0, :50]  # (50, 28) both
    ours_alone, ours_behind = (package(c, lengths)[:50, 0] for c in (short, padded))  # (50, 28)
test("3", "3. padding changes no valid frame", torch.allclose(alone, behind, atol=1e-5))
test("3 ours", "   with lengths, the package's LipNet", torch.allclose(ours_alone, ours_behind, atol=1e-5))

# %% [markdown]
# The backward direction of each GRU starts in the padding and carries its hidden state into the valid frames
# (notebook 03). How much does it matter in a *trained* network? Here is the small trained model of notebook
# 00 on three groups of 8 clips. Each clip is cut after 60 frames (some lose the end of their sentence) and
# padded to 75 or 150. We measure the root mean square (RMS) of the change of the logits per frame, in
# standard deviations of the logits.
#
# **Predict**: by how much do the logits change at the last valid frame, and at frame 30?

# %% tags=["hide-input"]
# @title Helper: the padded clips through the trained model { display-mode: "form" }
alphabet = Alphabet()
trained = checkpoint.load("lipnet_small_synthetic")
some = synthetic_clips(24, seed=2024)
short = normalize(torch.from_numpy(some.frames[:, :60]))[:, None]  # (24, 1, 60, 32, 64)
outputs = {}
with torch.no_grad():
    for longest in (60, 75, 150):
        padded = F.pad(short, (0, 0, 0, 0, 0, longest - 60))  # (24, 1, longest, 32, 64)
        outputs[longest] = trained(padded)[:60]  # (60, 24, 28)
    with_lengths = trained(padded, torch.full((24,), 60))[:60]  # (60, 24, 28)
change = {}
for longest in (75, 150):
    squares = (outputs[longest] - outputs[60]).square().unflatten(1, (3, 8))  # (60, 3, 8, 28)
    change[f"padded to {longest}"] = (squares.mean(dim=(2, 3)).sqrt() / outputs[60].std()).T  # (3, 60)

# %% tags=["predict"]
for name, values in change.items():
    low, high = values.min(dim=0).values, values.max(dim=0).values  # (60,) each
    ranges = (f"frame {t + 1} {low[t].item():.2f} to {high[t].item():.2f}" for t in (29, 44, 59))
    print(f"{name:13}", ", ".join(ranges))
figures.curves(
    {name: (np.arange(1, 61), values.numpy()) for name, values in change.items()},
    xlabel="frame (the clip ends at 60)",
    ylabel="RMS change / standard deviation",
    title="How padding changes the logits of valid frames (mean and range of 3 groups)",
)

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# At the last frame the logits change by about half of their standard deviation (padded to 75) or three
# quarters (padded to 150); 30 frames earlier by 0.03 to 0.15.
#
# </details>
#
# Does such a change reach the text that a decoder writes?


# %%
def texts(logits):
    return [alphabet.decode(path) for path in greedy_decode(logits.log_softmax(-1))]


alone, behind, fixed = texts(outputs[60]), texts(outputs[150]), texts(with_lengths)
different = [i for i in range(24) if alone[i] != behind[i]]
print("padded to 150, more than half of the 24 sentences change:", len(different) > 12)
print("padded to 150, with lengths, no sentence changes:        ", fixed == alone)
i = different[0]
print(
    f"\nreference:        {some.transcripts[i]}\n60 frames alone:  {alone[i]}\npadded to 150:    {behind[i]}"
)

# %% [markdown]
# The training clips all had 75 frames, so the network never learned to ignore padding. No loss curve shows
# this bug, and neither does GRID, whose clips all have 75 frames. With clips of mixed lengths it damages the
# last words.
#
# <details><summary><b>Help: "Expected input_lengths…" from CTC, when the lengths are right</b></summary>
#
# Or "input_lengths must be of size batch_size". The loss takes its batch size from the *second* axis of
# `log_probs`. Before you look at the lengths, print `log_probs.shape`: it must be `(T, B, V)`. A model that
# returns `(B, T, V)` needs `.transpose(0, 1)` before the loss. When B happens to equal T, nothing complains.
#
# </details>
#
# <details><summary><b>Help: the same sentence for every clip: is it the input or the training?</b></summary>
#
# First check whether the clips reach the outputs at all: take two different clips and print
# `(model(a) - model(b)).abs().max()`. If it is (nearly) 0, the input is at fault: all zeros, one clip
# repeated, or pixels of 0 to 255 that saturate every gate. If the logits differ and the text does not, the
# model has learned which letters are frequent, and does not use the frames yet: train longer. Notebook 09
# shows this phase and how long it takes. If the model came with trained weights, your clips are not
# preprocessed as in its training (notebook 00).
#
# </details>

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert not holds["1"] and "1728" in message and holds["1 ours"] and not holds["2"] and holds["2 ours"]
assert not holds["3"] and holds["3 ours"]
last = torch.cat([values[:, 59] for values in change.values()])
assert 0.4 < last.min() and last.max() < 0.9
at_30 = torch.cat([values[:, 29] for values in change.values()])
assert 0.025 < at_30.min() and at_30.max() < 0.155
assert len(different) > 12 and fixed == alone

# %% [markdown]
# ## Deeper: the finished version
#
# `LipNet` in `lessons.lipreading.lipnet` is your model with input validation, lengths, and options. Its
# forward pass has two parts, so that a stream can run the convolutions once and the GRUs often:

# %%
show(LipNet.forward, LipNet.features, LipNet.flatten, LipNet.classify)

# %% [markdown]
# Find the lines of your `forward` in it. Two things are new besides the checks and the options. The mask sets
# padded frames to zero before each convolution, so that the end of a clip looks the same alone and in a
# batch. Notebook 16 explains the lines about autocast.

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert type(package) is LipNet

# %% [markdown]
# ## Deeper: the other objections, one test each

# %%
caught = []
hook = port.conv1.register_forward_hook(lambda layer, inputs, output: caught.append(output))
with torch.no_grad():
    port(clip[:, :, :4])
    given = port.conv1(clip[:, :, :4])  # (1, 32, 4, 32, 64), before the ReLU
hook.remove()
test("4", "4. a forward hook on conv1 sees conv1's output", torch.equal(caught[0], given))
print(f"   smallest output negative: {bool(given.min() < 0)}; the hook saw at least {caught[0].min():.0f}")

T, target = 30, alphabet.encode("bin")  # B = T = 30; (L,)
right_logits = torch.full((T, T, 28), -20.0)  # (T, B, V)
right_logits[:, :, 0] = 0.0  # blank everywhere …
for t, label in zip((5, 12, 20), target, strict=True):
    right_logits[t, :, label] = 20.0  # … except in three frames: every clip reads "bin"
log_probs, lengths = right_logits.log_softmax(-1), torch.full((T,), T)
targets, target_lengths = target.expand(T, -1), torch.full((T,), 3)  # (B, L), (B,)
losses = [F.ctc_loss(y, targets, lengths, target_lengths) for y in (log_probs, log_probs.transpose(0, 1))]
test("5", "5. CTC rejects (B, T, V) when B = T", not losses[1].isfinite())
print(
    f"   loss of a perfect prediction: {losses[0]:.2f}; with the axes swapped: above 5: {bool(losses[1] > 5)}"
)

maps = torch.randn(1, 32, 75, 32, 64, generator=torch.Generator().manual_seed(0))  # (B, C, T, H, W)
drop, pool = nn.Dropout3d(0.5), nn.MaxPool3d((1, 2, 2))
_ = torch.manual_seed(1)
drop_first = pool(drop(maps))  # (1, 32, 75, 16, 32)
_ = torch.manual_seed(1)
pool_first = drop(pool(maps))  # (1, 32, 75, 16, 32)
test("7", "7. channel dropout commutes with the pool", torch.equal(drop_first, pool_first))

gains = [nn.init.calculate_gain(name) for name in ("sigmoid", "linear")]
test("8", "8. 'sigmoid' draws the same weights as 'linear'", gains[0] == gains[1] == 1)

sentences = [" ".join(words) for words in itertools.product(*grammar.SLOTS)]
test("12", "12. 2L + 1 = T = 75 for some sentence of GRID", 75 in {2 * len(s) + 1 for s in sentences})

# %% [markdown]
# - **5** is the trap behind a message that many people search for (see the help in section 5). If $B = T$,
#   there is no message, and the loss of a perfect prediction is large.
# - **6**: `(T, B, F)` is the layout of `nn.GRU` without `batch_first=True`. CTC wants `(T, B, V)` at the
#   *end*, and there the port's last line undoes it.
# - **7**: dropout multiplies a whole channel by 0 or 2, and $\max(2a, 2b) = 2\max(a, b)$. Dropout before the
#   pool only works on four times as much data.
# - **8** comes from the authors' own script. **9** lays a GRU's weights side by side in GPU memory, which
#   torch does by itself when the layer is created or moved.
# - **11**: a string at the left margin ends the class; the indented line after it is an error. So this code
#   was edited after it last ran.
# - **12**: $2L + 1$ is the number of states of CTC's extended label sequence (notebook 04).

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert [holds[n] for n in ("4", "5", "7", "8", "12")] == [False, False, True, True, False]
assert given.min() < 0 == caught[0].min() and losses[0] < 1e-3 and losses[1] > 5
assert maps.numel() == 4 * pool(maps).numel()
try:  # B = 4, T = 30: here the swap is noticed
    F.ctc_loss(log_probs[:, :4].transpose(0, 1), target.expand(4, -1), lengths[:4], torch.full((4,), 3))
except RuntimeError as error:
    assert "input_lengths" in str(error)
else:
    raise AssertionError("the swapped axes were accepted")
sequence = torch.rand(4, 2, 3072, generator=torch.Generator().manual_seed(0))  # (T, B, F)
batch_first = nn.GRU(3072, 256, bidirectional=True, batch_first=True)
batch_first.load_state_dict(port.gru1.state_dict())
with torch.no_grad():  # 6: the layout is the GRU's choice
    assert torch.allclose(
        batch_first(sequence.transpose(0, 1))[0].transpose(0, 1), port.gru1(sequence)[0], atol=1e-6
    )
pointers = [p.data_ptr() for p in port.gru1.parameters()]
port.gru1.flatten_parameters()  # 9
assert pointers == [p.data_ptr() for p in port.gru1.parameters()] or port.gru1.weight_ih_l0.is_cuda
as_printed = [
    "class Model:",
    "    def __init__(self):",
    "        super().__init__()",
    "'" * 3,
    "notes",
    "'" * 3,
]
try:  # 11
    compile("\n".join([*as_printed, "        self.size = 3072"]), "as printed", "exec")
except IndentationError:
    pass
else:
    raise AssertionError("it compiles")

# %% [markdown]
# ## Deeper: the small form
#
# The weights that this course ships belong to a small form of `LipNet`, `SmallLipNet`: narrower, gray,
# 32 × 64 pixels, strides instead of pools, normalization layers, and a linear layer that narrows the features
# before the GRUs. Without that layer, `gru1` would hold most of the weights:

# %%
parts = {name: sum(p.numel() for p in layer.parameters()) for name, layer in trained.named_children()}
total = sum(parts.values())
for name in ("projection", "gru1", "gru2"):
    print(f"{name:10} {parts[name]:9,} weights, {parts[name] / total:3.0%} of {total:,}")
direct = int(bigru_weights(trained.projection[0].in_features, trained.gru1.hidden_size))
without = total - parts["projection"] - parts["gru1"] + direct
print(f"without the projection\ngru1       {direct:9,} weights, {direct / without:3.0%} of {without:,}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert isinstance(trained, SmallLipNet)
assert sum(parts.values()) == 925_068 and parts["gru1"] / 925_068 < 0.3 and direct / without > 0.8

# %% [markdown]
# ## Deeper: three ways to count
#
# Do other counters agree with the table of section 3? `lessons.measure.counting` watches the model run, and
# so does `torchinfo`, a widely used package.

# %%
import torchinfo

info = torchinfo.summary(model, input_data=clip, verbose=0)
counters = {
    "by hand": (total_weights, total_work),
    "lessons.measure": (costs.weights, costs.multiply_adds),
    "torchinfo": (info.total_params, info.total_mult_adds),
}
for name, (n_weights, n_work) in counters.items():
    print(f"{name:17} {n_weights:,} weights {n_work:,} multiply-adds")

# %% [markdown]
# The weights agree. `torchinfo` finds 8,757,300 more multiply-adds. **Predict**: what does it count that we
# leave out? It is one addition per output value of a convolution or linear layer, and two per gate unit.

# %% tags=["predict"]
sizes = {row[0]: math.prod(row[1]) for row in rows}
additions = sum(sizes[name] for name in ("conv1", "conv2", "conv3", "head"))  # one per output value
additions += 2 * 75 * (2 * 3 * 256) * 2  # two GRUs; frames; units of three gates, two directions; two each
print(f"{additions:,} additions, {additions / total_work:.1%} of the multiply-adds")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# It counts the additions of the biases. Both counts are right by their own convention. When two cost tables
# differ by a tenth of a percent, it is a convention of this kind. When they differ by a factor of two, one of
# them counts a multiply-add as two operations (FLOPs).
#
# </details>

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert counters["by hand"] == counters["lessons.measure"] and info.total_params == total_weights
assert info.total_mult_adds - total_work == additions == 8_757_300
assert round(100 * additions / total_work, 1) == 0.1

# %% [markdown]
# ## Deeper: another crop
#
# The paper's crops are 50 × 100. **Predict**: with 39 % fewer pixels than 64 × 128, does LipNet lose more
# weights or more multiply-adds, in percent?

# %%
LAYERS = ("conv1", "conv2", "conv3", "gru1", "gru2", "head")
SIZES = [(32, 64), (50, 100), (64, 128), (96, 192)]
tables = {f"{h} × {w}": {row[0]: row[2:] for row in layer_table(h, w)} for h, w in SIZES}
amounts = {
    kind: [[table[layer][k] for layer in LAYERS] for table in tables.values()]
    for k, kind in enumerate(("weights", "multiply-adds per clip"))
}

# %% tags=["predict"]
figures.layer_costs(list(tables), LAYERS, amounts, title="The same network on crops of four sizes")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# 4,574,460 weights (−31 %) and 5.34 G multiply-adds (−41 %). The convolutions' weights do not depend on the
# size of the frame; only `gru1`'s do. At 32 × 64 `gru1` is half of the network, at 96 × 192 nine tenths. This
# is the cost of flattening: every position has weights of its own.
#
# </details>
#
# **An odd size is halved in two ways.** The stride rounds up, the pool rounds down:

# %%
for n in (4, 5, 6, 7):
    pixels = torch.zeros(1, 1, n)  # (B, C, W)
    strided = F.conv1d(pixels, torch.ones(1, 1, 5), stride=2, padding=2).shape[2]
    print(f"{n} pixels: the stride leaves {strided}, the pool {F.max_pool1d(pixels, 2).shape[2]}")

# %% [markdown]
# With padding, the kernel's center stands on pixels 1, 3 and 5 of five. A pool takes the pairs (1, 2) and (3,
# 4) and leaves out pixel 5. In LipNet one follows the other: 50 rows become 25 after the stride and 12 after
# the pool.
#
# Move the height of the crop (the width is twice as large), and watch `gru1` jump when a pool gains a row:

# %% tags=["nbval-ignore-output"]
# output not compared: the slider is a widget, which lives only while the notebook runs
from ipywidgets import interact


@interact(height=(16, 128, 2))
def crop(height=50):
    return figures.shape_ladder(layer_table(height, 2 * height), title=f"{height} × {2 * height}", width=12.5)


# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert [sum(row) for row in amounts["weights"]][1:3] == [4_574_460, 6_638_844]
giga = [round(sum(row) / 1e9, 2) for row in amounts["multiply-adds per clip"]]
assert giga[:3] == [2.36, 5.34, 9.07] and round(1 - 50 * 100 / (64 * 128), 2) == 0.39
paper, ours = (np.array([sum(row) for row in table])[[1, 2]] for table in amounts.values())
assert [round(100 * (a[0] / a[1] - 1)) for a in (paper, ours)] == [-31, -41]
share = [row[3] / sum(row) for row in amounts["weights"]]
assert 0.49 < share[0] < 0.52 and 0.87 < share[3] < 0.91
assert sum(p.numel() for p in MyLipNet(50, 100).parameters()) == 4_574_460
assert layer_table(50, 100)[2][1] == (32, 75, 12, 25)
with torch.no_grad():  # your forward runs on the paper's crop
    assert MyLipNet(50, 100).eval()(torch.zeros(1, 3, 2, 50, 100)).shape == (2, 1, 28)

# %% [markdown]
# ## Deeper: what one output frame sees
#
# ### The convolutions: 7 frames, 51 × 51 pixels
#
# Notebook 02 computed the receptive field of LipNet's three STCNNs. Here it is measured on the model itself,
# with its ReLUs and max-pools: take the gradient of one position of the last map, and see which pixels have
# any.

# %%
front = nn.Sequential(model.stcnn1, model.stcnn2, model.stcnn3)
noise = torch.randn(1, 3, 11, 112, 112, generator=torch.Generator().manual_seed(0)).requires_grad_()
front(noise)[0, :, 5, 3, 3].sum().backward()  # one position of (1, 96, 11, 7, 7), all its channels
seen = (noise.grad[0] != 0).any(dim=0)  # (11, 112, 112)
field = tuple(int(seen.any(dim=d).sum()) for d in [(1, 2), (0, 2), (0, 1)])
print("one position of the last map sees {} frames of {} x {} pixels".format(*field))

# %% [markdown]
# How much of a mouth is that? In GRID's videos (360 pixels wide) we found mouths about 40 pixels wide, and
# resizing the crop to 64 × 128 enlarges them by about 1.5, to 60 pixels. So a field of 51 pixels covers about
# 85 % of the mouth's width, for $7 / 25 = 0.28$ s. The next position looks 16 pixels further on (one stride
# and three pools). Positions near the edge of the field count little: notebook 02 showed how soft the edges
# are.
#
# ### The whole model: every frame, in principle
#
# The GRUs carry information from every frame to every other, so one output *can* depend on all 75 frames.
# **Predict**: how far does it *really* look? We measure the gradient of the best logit of frame 30 with
# respect to each input frame, relative to the largest: in an untrained LipNet, and in the small trained one.
# The trained model's line is the mean of six clips; the largest frame is not the same in all of them, so this
# line stays below 1.


# %%
def influence(network, x, t):
    """Gradient of the best logit of frame t at each frame of x (B, C, T, H, W): (T,), largest 1."""
    x = x.clone().requires_grad_()
    best = network(x)[t].max(dim=-1).values  # (T, B, V) -> (B,)
    (gradient,) = torch.autograd.grad(best.sum(), x)
    strength = gradient.square().sum(dim=(1, 3, 4)).sqrt()  # (B, T)
    return (strength / strength.amax(dim=1, keepdim=True)).mean(dim=0)  # (T,)


six = normalize(torch.from_numpy(some.frames[:6]))[:, None]  # (6, 1, 75, 32, 64)
_ = torch.manual_seed(0)
reach = {"untrained": influence(LipNet().eval(), clip, 30), "trained": influence(trained, six, 30)}

# %% tags=["predict"]
figures.curves(
    reach,
    xlabel="input frame",
    ylabel="gradient, relative to the largest",
    plateau=(27, 33),
    plateau_label="the convolutions alone",
    logy=True,
    title="How far output frame 30 looks",
)

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The convolutions end sharply after three frames on either side. With the GRUs the influence fades instead.
# Nothing is cut off, yet only 12 to 24 frames, half a second to a second, have more than a tenth of the
# largest influence. These are two networks and two inputs: read the order of magnitude.
#
# </details>

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert field == (7, 51, 51) and round(51 / 60, 2) == 0.85 and 7 / 25 == 0.28
for curve in reach.values():
    assert bool((curve > 0).all()) and 12 <= int((curve > 0.1).sum()) <= 24 and float(curve[60:].max()) < 0.05
assert reach["trained"].max() < 1 == reach["untrained"].max()

# %% [markdown]
# ## Deeper: initial weights, and a constant that was copied
#
# How large should initial weights be? A unit that adds up $n$ inputs of scale 1, each times an independent
# weight of standard deviation $\sigma$, gives a sum of scale $\sigma\sqrt n$. Two rules keep the scale of
# signals from layer to layer:
#
# - **He initialization (2015)**, for a layer before a ReLU, which sets half of the values to 0:
#   $\sigma = \sqrt{2 / n_\text{in}}$.
# - **Glorot (Xavier) initialization (2010)**, a compromise between the forward and the backward pass:
#   $\sigma = \sqrt{2 / (n_\text{in} + n_\text{out})}$.
#
# $n_\text{in}$ (**fan-in**) is how many inputs one output sees, $n_\text{out}$ (**fan-out**) how many outputs
# one input reaches. In a linear layer these are all inputs and all outputs. In a convolution? Here is a small
# one along a line, with 2 input channels, 4 filters and a kernel of 3. **Predict**: how many outputs does one
# input reach?

# %% tags=["predict"]
weight = torch.ones(4, 2, 3)  # (O, C, kt)
line = torch.zeros(1, 2, 9, requires_grad=True)  # (B, C, T)
F.conv1d(line, weight)[0, 0, 3].backward()  # one output: which inputs have a gradient?
fan_in = int((line.grad != 0).sum())
single = torch.zeros(1, 2, 9)  # (B, C, T)
single[0, 0, 4] = 1  # one input that is not 0: which outputs are not 0?
fan_out = int((F.conv1d(single, weight) != 0).sum())
print(f"one output sees {fan_in} inputs, one input reaches {fan_out} outputs")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Three outputs of each of the 4 filters, as the input lies under each position of the kernel in turn. (This
# holds at stride 1, away from the borders. torch counts this way for every convolution, since the shape of a
# weight does not contain the stride.)
#
# </details>
#
# ### Exercise 4 · `initial_std` · difficulty ★★☆ · 10 minutes
#
# Write both rules for any weight of this notebook: linear `(out, in)` and convolution `(O, C, kt, kh, kw)`. A
# GRU stacks three gates in one matrix `(3D, F)`, and each is a layer of its own: an input reaches $D$ units
# of *one* gate. `gates` says how many are stacked: `initial_std((3 * 256, 3072), "glorot", gates=3)`.


# %%
def initial_std(shape, rule, gates=1):
    """shape of a weight (a tuple), rule "he" or "glorot" -> the standard deviation of its initial values."""
    raise NotImplementedError


check("06.initial_std", initial_std)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def initial_std_solution(shape, rule, gates=1):
    """A filter of k positions sees k values of each input channel; each value meets k positions of it."""
    positions = math.prod(shape[2:])  # 1 for a linear layer
    fan_in, fan_out = shape[1] * positions, shape[0] // gates * positions
    return math.sqrt(2 / fan_in) if rule == "he" else math.sqrt(2 / (fan_in + fan_out))


# %%
initial_std = use("06.initial_std", initial_std, initial_std_solution)
for rule, draw in (("he", nn.init.kaiming_normal_), ("glorot", nn.init.xavier_normal_)):
    drawn = draw(torch.empty(64, 32, 3, 5, 5), generator=torch.Generator().manual_seed(0)).std().item()
    expected = float(initial_std((64, 32, 3, 5, 5), rule))
    print(f"{rule:6}: {expected:.4f} by the rule, {drawn:.4f} in 153,600 weights drawn by torch")

# %% [markdown]
# ### The lineage of 1728
#
# The authors' script (Torch, in Lua) draws the GRUs' input weights by Glorot's rule, with hard-coded sizes.
# Then it was copied:
#
# | program | crop | $F$ of `gru1` | std for `gru1` | std for `gru2` |
# |---|---|---|---|---|
# | the authors' | 50 × 100 | 1728 | $\sqrt{2/(1728+256)}$ | $\sqrt{2/(512+256)}$ |
# | first port to PyTorch | 50 × 100 | 1728 | $\sqrt{2/(1728+256)}$ | the same constant |
# | the port of section 4 | 64 × 128 | **3072** | $\sqrt{2/(1728+256)}$ | the same constant |
#
# The first port put both layers into one loop, with one constant. The second made the crop larger and left
# the constant alone. **Predict**: for each layer, is it now too large or too small, and by how much?

# %% tags=["predict"]
constant = math.sqrt(2 / (96 * 3 * 6 + 256))
ratios = {}
for name, features in (("gru1", 3072), ("gru2", 512)):
    glorot = float(initial_std((3 * 256, features), "glorot", gates=3))
    ratios[name] = (constant / glorot) ** 2
    print(f"{name}: drawn with {constant:.5f}, Glorot {glorot:.5f}, variance {ratios[name]:.2f} times")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# `gru1`'s weights have 1.68 times the variance of the rule, `gru2`'s 0.39 times.
#
# </details>
#
# **The biases have a lineage, too.** The port's loop sets `bias_ih` to 0 and leaves out `bias_hh`, which
# keeps torch's default, uniform in $\pm 1/\sqrt{256}$. Half of this omission is inherited. In the authors'
# script each direction of a GRU has six bias vectors: cuDNN stores three beside the input matrices and three
# beside the recurrent ones. For the first GRU the script sets all six to 0. For the second its conditions
# name only vectors 1, 2 and 3, with comments about three gates, so 4, 5 and 6 keep the library's default. The
# port treats both GRUs as the authors treated the second.
#
# ### Does it matter?
#
# The sum before the sigmoid of a gate is its **pre-activation**. Beyond about ±3 a sigmoid has less than a
# fifth of its steepest slope: the gate **saturates** and hardly learns (notebook 01). Look at the input's
# part of this sum in the two gates of `gru1`. **Predict** which moves them further: the copied constant, or a
# clip standardized (mean 0, variance 1) instead of pixels from 0 to 1? We initialize the network with three
# seeds.

# %%
standardized = (clip - clip.mean()) / clip.std()
sums, rms, seeds = {}, {}, range(3)
with torch.no_grad():
    for seed in seeds:
        _ = torch.manual_seed(seed)
        fresh = LipNet().eval()  # the package: convolutions by He's rule, GRUs by Glorot's, biases 0
        weight = fresh.gru1.weight_ih_l0[: 2 * 256]  # (2D, F), reset and update gate
        for name, x in (("0 to 1", clip), ("standardized", standardized)):
            rms[name, seed] = [x.square().mean().sqrt().item()]
            for block in (fresh.stcnn1, fresh.stcnn2, fresh.stcnn3):
                x = block(x)  # (B, C', T, H', W')
                rms[name, seed].append(x.square().mean().sqrt().item())
            sums[f"{name}, Glorot", seed] = fresh.flatten(x) @ weight.T  # (T, B, 2D)
        slip = math.sqrt(ratios["gru1"])
        sums["0 to 1, the copied constant", seed] = slip * sums["0 to 1, Glorot", seed]
        small = SmallLipNet().eval()
        weight = small.gru1.weight_ih_l0[: 2 * small.gru1.hidden_size]
        sums["standardized, SmallLipNet", seed] = small.features(six[:2]) @ weight.T
saturated = {}
for name in dict.fromkeys(name for name, _ in sums):
    saturated[name] = [(sums[name, seed].abs() > 3).float().mean().item() for seed in seeds]


# %% tags=["hide-input"]
# @title Plot { display-mode: "form" }
def plot_gates():
    """Print how many gates of gru1 saturate before training, and plot their pre-activations (first seed)."""
    for name, shares in saturated.items():
        stds = ", ".join(f"{sums[name, seed].std():.1f}" for seed in seeds)
        print(f"{name:28} standard deviation {stds}; beyond ±3: {min(shares):.0%} to {max(shares):.0%}")
    histograms = {}
    for name in saturated:
        values = sums[name, 0]
        density = torch.histc(values, bins=60, min=-9, max=9) / values.numel() / 0.3  # (60,), bins 0.3 wide
        histograms[name] = (torch.linspace(-8.85, 8.85, 60), density)
    return figures.curves(
        histograms,
        xlabel="pre-activation",
        ylabel="density",
        plateau=(-3, 3),
        plateau_label="",
        title="The gates of gru1 before training (gray: not saturated)",
    )


# %% tags=["predict"]
plot_gates()

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The copied constant widens the sums by $\sqrt{1.68} = 1.3$, and hardly any leaves the gray range.
# Standardizing widens them about three times, and a tenth to a quarter of the gates saturate.
#
# </details>
#
# **Why then does this course standardize its clips (notebook 07)?** Standardized pixels have the scale for
# which He's rule was made. What grows is the scale *inside* the network. Look at the RMS before and after
# each STCNN:

# %%
for name in ("0 to 1", "standardized"):
    for seed in seeds:
        print(f"{name:13} draw {seed}:", " -> ".join(f"{value:.1f}" for value in rms[name, seed]))

# %% [markdown]
# He's rule keeps the scale through a convolution and a ReLU. A max-pool then keeps the *largest* of four
# values, and after three pools the features of a standardized clip are 1.3 to 1.9 in scale. The 3072 features
# all share one clip, so their sums inherit that scale. Pixels from 0 to 1 have an RMS of 0.4, and that
# happens to compensate.
#
# `SmallLipNet`, which this course trains, has no pools, and normalization layers set the scale before the
# GRUs. With standardized clips hardly any of its gates saturates at the start. Nor does a saturated start
# rule out success for the full LipNet: the authors standardized, too, and report the results of the paper.
#
# ### And `gru2`?
#
# Its weights are too small, and its inputs come from a `gru1` whose weights are too large. **Predict**: do
# the two slips cancel at the gates of `gru2`?

# %%
_ = torch.manual_seed(0)
fresh = LipNet().eval()
enlarged = copy.deepcopy(fresh.gru1)
sums2 = {}
with torch.no_grad():
    for way in ("", "_reverse"):
        getattr(enlarged, f"weight_ih_l0{way}").mul_(math.sqrt(ratios["gru1"]))
    features = fresh.features(clip)  # (T, B, 3072)
    for name, gru1, factor in (
        ("Glorot in both", fresh.gru1, 1),
        ("the constant in gru2", fresh.gru1, math.sqrt(ratios["gru2"])),
        ("the constant in both", enlarged, math.sqrt(ratios["gru2"])),
    ):
        hidden, _ = gru1(features)  # (T, B, 2D)
        sums2[name] = hidden @ (factor * fresh.gru2.weight_ih_l0[: 2 * 256]).T  # (T, B, 2D)

# %% tags=["predict"]
for name, values in sums2.items():
    print(f"{name:21} pre-activations {values.std() / sums2['Glorot in both'].std():.1f} times as large")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Hardly. The hidden state of `gru1` cannot exceed ±1, so larger weights make it only a little larger. The
# gates of `gru2` start closer to one half, where a sigmoid is steepest, so nothing is stuck.
#
# </details>
#
# So the constant is wrong for both layers. Whether the right one would train faster or better, we have not
# tested. (The port reports 13.3 % word errors on unseen speakers, the paper's network without language model
# 13.6 %. The two programs differ in more than this constant, so the figures do not answer the question.) The
# lesson: **a hard-coded size is right for one shape.** The package takes the sizes from the tensors:

# %%
show(LipNet.reset_parameters)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert (fan_in, fan_out) == (6, 12) and abs(drawn / expected - 1) < 0.01
assert 96 * 3 * 6 == 1728 == layer_table(50, 100)[7][1][1] and layer_table(64, 128)[7][1][1] == 3072
assert [round(r, 2) for r in ratios.values()] == [1.68, 0.39]
kept = port.gru1.bias_hh_l0  # torch's default, as everything in our copy of the port
assert kept.abs().max() < 1 / 16 and abs(kept.std().item() - 1 / 16 / math.sqrt(3)) < 0.003
slope_at_3 = (torch.sigmoid(torch.tensor(3.0)) * torch.sigmoid(torch.tensor(-3.0))).item()
assert slope_at_3 < 0.25 / 5  # the steepest slope of a sigmoid, at 0, is 1/4
assert max(saturated["0 to 1, Glorot"]) < 0.002 and max(saturated["0 to 1, the copied constant"]) < 0.005
assert 0.08 < min(saturated["standardized, Glorot"]) and max(saturated["standardized, Glorot"]) < 0.26
assert max(saturated["standardized, SmallLipNet"]) < 0.002
for seed in seeds:
    assert 2.5 < sums["standardized, Glorot", seed].std() / sums["0 to 1, Glorot", seed].std() < 3.6
    assert 1.2 < rms["standardized", seed][-1] < 2 and abs(rms["0 to 1", seed][0] - 0.4) < 0.05
shrunk, both = (values.std() / sums2["Glorot in both"].std() for values in list(sums2.values())[1:])
assert abs(shrunk - math.sqrt(0.39)) < 0.01 and 0.65 < both < 0.75
for name, features in (("gru1", 3072), ("gru2", 512)):
    gate = getattr(fresh, name).weight_ih_l0[:256]  # (D, F), the reset gate
    assert abs(gate.std().item() / float(initial_std((3 * 256, features), "glorot", gates=3)) - 1) < 0.01
    assert not getattr(fresh, name).bias_hh_l0.any()

# %% [markdown]
# ## Deeper: why whole channels are dropped
#
# **Dropout** sets a random part of a layer's values to 0 in training, so that the next layer cannot rely on
# any one of them. Ordinary dropout drops single values. But in a feature map, as in a video, a value is
# similar to its neighbors. **Predict**: if half of the values are dropped, how much of their variance can the
# remaining neighbors explain? We try three pairs of clips and three untrained networks.


# %%
def from_neighbors(maps, kept):
    """Each position of maps (B, C, T, H, W) as the mean of those of its 26 neighbors that were kept."""
    kernel = torch.ones(1, 1, 3, 3, 3)
    kernel[0, 0, 1, 1, 1] = 0  # not itself
    one_by_one = (maps * kept).flatten(0, 1)[:, None], kept.flatten(0, 1)[:, None]  # (BC, 1, T, H, W) both
    total, number = (F.conv3d(x, kernel, padding=1) for x in one_by_one)
    return (total / number.clamp(min=1)).view_as(maps)  # (B, C, T, H, W)


def explained(maps):
    """Drop half of the single values: which fraction of their variance do the neighbors explain?"""
    kept = (torch.rand(maps.shape, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    rebuilt, hidden = from_neighbors(maps, kept), 1 - kept
    mean = maps.mean(dim=(0, 2, 3, 4), keepdim=True)  # (1, C, 1, 1, 1)
    left = ((rebuilt - maps).square() * hidden).sum() / ((maps - mean).square() * hidden).sum()
    return 1 - left.item(), kept, rebuilt


maps = {"the clips": [], "untrained maps": [], "trained maps": []}
with torch.no_grad():
    for seed, pair in enumerate(six.split(2)):
        _ = torch.manual_seed(seed)
        maps["the clips"].append(pair)  # (2, 1, 75, 32, 64)
        maps["untrained maps"].append(SmallLipNet().eval().stcnn1(pair))  # (2, 16, 75, 16, 32)
        maps["trained maps"].append(trained.stcnn1(pair))
fractions = {name: [explained(x)[0] for x in several] for name, several in maps.items()}


# %% tags=["hide-input"]
# @title Plot { display-mode: "form" }
def plot_dropout():
    """Print how much the neighbors explain, and show one map per network with half of its values dropped."""
    for name, values in fractions.items():
        print(f"{name:15} the neighbors explain {min(values):.0%} to {max(values):.0%} of the variance")
    examples = {}
    for name, (x, *_) in list(maps.items())[1:]:
        _, kept, rebuilt = explained(x)
        c = x[0].flatten(1).std(dim=1).argmax()  # the channel that varies most
        original, half, again = x[0, c, 30], (x * kept)[0, c, 30], rebuilt[0, c, 30]  # (16, 32) each
        examples[name[:-1]] = torch.stack([original, half, again, torch.zeros_like(original)])  # (4, 16, 32)
    captions = ["original", "half of the values dropped", "mean of the neighbors", "the channel dropped"]
    return figures.clip_rows(examples, captions, title="What dropout hides in a feature map")


# %% tags=["predict"]
plot_dropout()

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# In an untrained network, dropping single values removes little information: the neighbors explain most of
# what is missing. Training makes the maps less smooth, and still the neighbors explain a large part.
#
# </details>
#
# **Channel dropout** drops a whole map in all frames, so that nothing of that channel is left.

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert min(fractions["the clips"]) > 0.7 and min(fractions["untrained maps"]) > 0.5
assert 0.2 < min(fractions["trained maps"]) and max(fractions["trained maps"]) < min(
    fractions["untrained maps"]
)

# %% [markdown]
# ## Deeper: two options that people add
#
# ### Temporal upsampling
#
# Some descriptions of LipNet say that its features are **upsampled in time** before the GRUs. The paper
# (version 2) does not mention it, and the authors' published code goes straight from the third STCNN to the
# first GRU. The package can do it (`upsample=2`). **Predict**: what does it do to $T$, to the number of
# weights, to the work?

# %% tags=["predict"]
once, twice = count(package, clip), count(LipNet(upsample=2).eval(), clip)
extra = twice.multiply_adds - once.multiply_adds
print(f"frames of logits: {once.rows[-1].output_shape[0]} -> {twice.rows[-1].output_shape[0]}")
print(f"weights: {twice.weights - once.weights:+,}")
print(f"multiply-adds: +{extra / 1e9:.2f} G, {extra / once.multiply_adds:.0%}")

# %% [markdown]
# It gives CTC more frames. CTC needs one frame per letter, and one more between two equal letters (notebook
# 04). GRID's 75 frames are enough for each of its sentences. A clip of one second is not:

# %%
needed = [len(s) + sum(a == b for a, b in itertools.pairwise(s)) for s in sentences]
print(f"{len(needed):,} sentences need {min(needed)} to {max(needed)} frames of 75")
labels = alphabet.encode(reference)  # (L,)
for T in (25, 50):
    log_probs = torch.zeros(T, 1, 28).log_softmax(-1)  # every class equally likely
    loss = F.ctc_loss(log_probs, labels[None], torch.tensor([T]), torch.tensor([len(labels)]))
    print(f"{T} frames for {min_frames(labels)}: loss {loss.item():.1f}")

# %% [markdown]
# A clip of 25 frames with this sentence has an infinite loss; with every frame repeated it can be learned.
# (Nothing new is *seen*: the 50 frames are 25 images.) So upsampling helps with fast speech or few frames. It
# is not part of LipNet, and for GRID it costs 5 % more work without need. If you use it, double the lengths
# that CTC gets, too; `LipNet.output_lengths` does.
#
# ### A head of two layers
#
# The write-up speaks of a *two-layer* feed-forward network after the GRUs; its code has one layer, as figure
# 1 of the paper does. `head="mlp"` is the other reading:

# %%
heads = [sum(p.numel() for p in LipNet(head=kind).head.parameters()) for kind in ("linear", "mlp")]
more = (heads[1] - heads[0]) / total_weights
print(f"one layer {heads[0]:,} weights, two layers {heads[1]:,}: +{more:.1%} of the model")

# %% [markdown]
# Is it better? That would take complete trainings with several seeds each. We have not done them, and use one
# layer.

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert twice.rows[-1].output_shape == (150, 1, 28) and twice.weights == 6_638_844
work = {row[0]: row[3] for row in rows}
assert extra == sum(work[layer] for layer in ("gru1", "gru2", "head")) and round(extra / 1e9, 2) == 0.47
assert len(needed) == 64_000 and max(needed) == 33 < 75 and 25 < min_frames(labels) <= 50 and loss.isfinite()
assert heads == [14_364, 138_524] and heads[1] == (512 * 256 + 256) + (256 * 28 + 28)

# %% [markdown]
# ## Deeper: how long does a clip take?
#
# Three seconds of video, on your machine:

# %% tags=["nbval-ignore-output"]
# output not compared: a timing
for name, network in (("your layers", model), ("torch's layers", package)):
    start = time.perf_counter()
    with torch.no_grad():
        network(clip)
    print(f"{name:15} {time.perf_counter() - start:.2f} s")

# %% [markdown]
# ## Recap
#
# - LipNet is three STCNNs, one reshape, two Bi-GRUs and a linear layer. $T$ stays the same throughout.
# - 6,638,844 weights, 77 % of them in `gru1`, which has a weight for every position of every map. 9.07 G
#   multiply-adds per clip, 65 % in `conv2`, which joins 32 × 64 channel pairs at every position.
# - The proof that two models are the same: the same weights, the same logits, the same gradients. It covers
#   evaluation mode only.
# - Hard-coded sizes (3072, 1728) are right for one shape only.
# - Padding reaches valid frames through the backward direction of the GRUs. Pass lengths.
#
# ## Glossary
#
# | word | meaning | also called |
# |---|---|---|
# | weights | all numbers that training changes, biases included | parameters |
# | head | the last layer, from hidden state to one logit per class | output layer, classifier, projection |
# | logits | unnormalized scores, before `log_softmax` turns them into log probabilities | scores |
# | multiply-add | one product and its addition to a sum; some count it as two FLOPs | MAC |
# | fan-in, fan-out | how many inputs one output sees; how many outputs one input reaches | |
# | He initialization | initial weights of variance 2 / fan-in, for layers before a ReLU | Kaiming |
# | Glorot initialization | initial weights of variance 2 / (fan-in + fan-out) | Xavier |
# | checkpoint | a file of trained weights, usually a state_dict | weights file |
# | state_dict | a dict from the names of a model's weights to tensors | |
# | port | a program rewritten for another language or library | reimplementation |
# | temporal upsampling | repeating every frame, so that CTC has more frames | frame repetition |
#
# ## Sources
#
# - Y. Assael, B. Shillingford, S. Whiteson, N. de Freitas, *LipNet: End-to-End Sentence-level Lipreading*,
#   [arXiv 1611.01599v2](https://arxiv.org/abs/1611.01599): figure 1, Table 2 (13.6 % without language model),
#   Table 3, appendix A.1; the authors' code, [bshillingford/LipNet](https://github.com/bshillingford/LipNet)
#   (`exp/0001.lua`: order of layers, dropout, constants, biases).
# - The ports to PyTorch: [sailordiary/LipNet-PyTorch](https://github.com/sailordiary/LipNet-PyTorch) and
#   [VIPL-Audio-Visual-Speech-Understanding/LipNet-PyTorch](https://github.com/VIPL-Audio-Visual-Speech-Understanding/LipNet-PyTorch)
#   (13.3 % in its README).
# - The write-up of section 5: "Lipnet的学习理解" (notes on LipNet), a post on CSDN.
# - K. He, X. Zhang, S. Ren, J. Sun, *Delving Deep into Rectifiers*, ICCV 2015. X. Glorot, Y. Bengio,
#   *Understanding the difficulty of training deep feedforward neural networks*, AISTATS 2010.
# - J. Tompson, R. Goroshin, A. Jain, Y. LeCun, C. Bregler, *Efficient Object Localization Using Convolutional
#   Networks*, CVPR 2015 (dropout of whole channels).
# - M. Cooke, J. Barker, S. Cunningham, X. Shao, *An audio-visual corpus for speech perception and automatic
#   speech recognition*, JASA 120(5), 2006 (GRID).
#
# **Next**: notebook 07 makes the clips that LipNet reads; notebook 09 trains it.
