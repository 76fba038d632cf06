# %% [markdown]
# # 06 · LipNet
#
# **You will put the whole of LipNet together from the layers that you have built, account for every one of
# its 6,638,844 weights, and prove that it is the public model by giving it the public model's weights.**
#
# *About 80 minutes to read and solve; all cells together run in less than a minute on one CPU core.*
#
# **You need**: the STCNN (notebook 02), the GRU (notebook 03), and of CTC (notebook 04) that it wants one
# answer for every frame. `nn.Module`, and what a `state_dict` is.
#
# **You will be able to**
# - predict every shape of the model before you run it, for any size of the crop;
# - say where its weights are and where its work is, and why those are two places;
# - say how much of the lips, and how many frames, one answer sees;
# - load somebody else's weights into your own model, and prove that both are one;
# - choose the size of first weights by a rule, and trace a wrong constant through three programs;
# - read public model code with suspicion: tell its bugs from what only looks like one.

# %%
import copy
import itertools
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lessons import figures
from lessons.checks import agree, check
from lessons.ctc import grammar, min_frames
from lessons.ctc.alphabet import Alphabet
from lessons.ctc.decode import greedy_decode
from lessons.data.batch import normalize
from lessons.data.synthetic.talker import Speaker, synthetic_clips, talk
from lessons.layers.gru import GRU
from lessons.layers.stcnn import STCNN
from lessons.lipreading import LipNet, SmallLipNet
from lessons.lipreading.public_checkpoint import load_public_checkpoint
from lessons.measure.counting import count
from lessons.source import show
from lessons.training import checkpoint

# %% [markdown]
# ## 1. The plan, and every shape of it
#
# Here is a clip: three seconds, 75 frames of 64 × 128 pixels, in color. LipNet is to give 28 numbers for
# each frame.

# %%
said = "place red at q seven again"
rng = np.random.default_rng(7)
film, _ = talk(said, Speaker.random(rng), rng, size=(64, 128), color=True)  # (75, 64, 128, 3) bytes
clip = torch.from_numpy(film).permute(3, 0, 1, 2)[None] / 255  # (1, 3, 75, 64, 128), 0 … 1
figures.filmstrip(film, range(14, 54, 5), columns=8, title="8 of the clip's 75 frames")

# %% [markdown]
# The model is seven rows of a table (paper, Table 3; the stride as notebook 02 corrected it):
#
# | layer | out | kernel | stride | padding |
# |---|---|---|---|---|
# | STCNN 1 | 32 channels | 3 × 5 × 5 | 1, 2, 2 | 1, 2, 2 |
# | STCNN 2 | 64 channels | 3 × 5 × 5 | 1 | 1, 2, 2 |
# | STCNN 3 | 96 channels | 3 × 3 × 3 | 1 | 1 |
# | to a sequence | all values of a frame in one list | | | |
# | Bi-GRU 1 | $D$ = 256 in each direction | | | |
# | Bi-GRU 2 | $D$ = 256 in each direction | | | |
# | linear | $V$ = 28 classes | | | |
#
# Each STCNN is convolution, ReLU, a max-pool over 2 × 2 pixels of each frame, and channel dropout.
#
# The stride of STCNN 1 halves a frame, and so does every pool, by notebook 02's formula
# $\lfloor (n + 2p - k)/s \rfloor + 1$. (A pool is a kernel of 2 with a stride of 2 and no padding.)
# **Predict**: do they halve an *odd* size alike? Draw a row of 5 pixels, then look.

# %%
for n in (4, 5, 6, 7):
    pixels = torch.zeros(1, 1, n)  # (B, C, W)
    strided = F.conv1d(pixels, torch.ones(1, 1, 5), stride=2, padding=2).shape[2]
    pooled = F.max_pool1d(pixels, 2).shape[2]
    print(f"{n} pixels: the stride leaves {strided}, the pool {pooled}")
    assert (strided, pooled) == ((n + 4 - 5) // 2 + 1, (n - 2) // 2 + 1)

# %% [markdown]
# An odd size is rounded up by the stride and down by the pool:
#
# ```text
# kernel 5, padding 2, stride 2   its middle stands on pixels 1, 3 and 5     3 are left
# pool of 2                       takes the pairs (1, 2) and (3, 4), no 5    2 are left
# ```
#
# In LipNet one follows the other: 50 rows become 25 under the stride, and 12 under the pool.
#
# ### Exercise 1 · `output_shapes` · difficulty ★★☆ · 12 minutes
#
# Before you build it, predict it. Give the shape after each of the seven rows of the table, for any batch
# and any size of frame, odd ones too, in the layouts of the docstring. Halve one step at a time.


# %%
def output_shapes(clips, frames, height, width):
    """B, T, H, W of the input -> a list of seven shapes: three (B, C, T, H, W), then four (T, B, …)."""
    raise NotImplementedError


check("06.output_shapes", output_shapes)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def output_shapes_solution(clips, frames, height, width):
    """Kernel k, padding k // 2, stride s: n becomes (n - 1) // s + 1; the pool makes n // 2 of that."""
    shapes = []
    for channels, stride in ((32, 2), (64, 1), (96, 1)):
        height, width = (((n - 1) // stride + 1) // 2 for n in (height, width))
        shapes.append((clips, channels, frames, height, width))
    shapes.append((frames, clips, 96 * height * width))
    return [*shapes, (frames, clips, 512), (frames, clips, 512), (frames, clips, 28)]


# %%
check("06.output_shapes", output_shapes_solution)
ROWS = ("stcnn1", "stcnn2", "stcnn3", "sequence", "gru1", "gru2", "head")
predicted = dict(zip(ROWS, output_shapes_solution(*clip[:, 0].shape), strict=True))
for row, shape in predicted.items():
    print(f"{row:9} {shape}")
assert output_shapes_solution(1, 75, 50, 100)[0][3] == 12  # 50 rows, 25, 12

# %% [markdown]
# ## 2. The seam: from maps to a sequence
#
# Between the last STCNN and the first GRU the data changes its nature. Before, a frame is 96 maps of
# 4 × 8 places; after, it is one list of numbers, with time as the first axis:
#
# $$(B, C, T, H, W) \;\to\; (T, B, F), \qquad F = C \cdot H \cdot W = 96 \cdot 4 \cdot 8 = 3072$$
#
# It is one line, and the commonest place to go wrong in the whole model. `view` will give you the *shape*
# for the asking, with the numbers of other frames in it (notebook 01). No error, and a model that never
# learns.
#
# ### Exercise 2 · `to_sequence` · difficulty ★☆☆ · 5 minutes
#
# Write it so that feature $(c \cdot H + h) \cdot W + w$ of frame $t$ is the value at channel $c$, row $h$,
# column $w$ of that frame. Trained weights rely on this order.


# %%
def to_sequence(x):
    """x (B, C, T, H, W) -> (T, B, C * H * W)."""
    raise NotImplementedError


check("06.to_sequence", to_sequence)

# %% [markdown]
# (If `view` complains about size and stride, notebook 01 says why. Do not "repair" it by leaving out the
# `permute`: then `view` works, and mixes the frames.)
#
# <details><summary><b>Help: "mat1 and mat2 shapes cannot be multiplied", wrong shape</b></summary>
#
# Or, from a GRU, "input.size(-1) must be equal to input_size. Expected 3072, got 1728". The crop has another
# size than the one that the layer was made for: 1728 is the paper's 50 × 100, 3072 is 64 × 128. Print the
# shape after the third STCNN. Either resize the crop, or make the GRU from the shape that you computed, as
# the model below does. (Trained weights fit one size only.)
#
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def to_sequence_solution(x):
    """Time and batch to the front, then all that belongs to one frame becomes one axis."""
    return x.permute(2, 0, 1, 3, 4).flatten(2)  # (B, C, T, H, W) -> (T, B, C, H, W) -> (T, B, CHW)


# %%
check("06.to_sequence", to_sequence_solution)

# %% [markdown]
# ## 3. The whole model
#
# Nothing is left to invent. `STCNN` and `GRU` are the layers of notebooks 02 and 03, computed by this
# course's own code (`layers="lessons"`). The linear layer is a matrix product a frame.


# %%
class PlainLipNet(nn.Module):
    def __init__(self, height=64, width=128):
        super().__init__()
        self.stcnn1 = STCNN(3, 32, (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2), layers="lessons")
        self.stcnn2 = STCNN(32, 64, (3, 5, 5), padding=(1, 2, 2), layers="lessons")
        self.stcnn3 = STCNN(64, 96, (3, 3, 3), padding=(1, 1, 1), layers="lessons")
        features = output_shapes_solution(1, 1, height, width)[3][2]  # F, from the size of the crop
        self.gru1 = GRU(features, 256, bidirectional=True)
        self.gru2 = GRU(512, 256, bidirectional=True)
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(512, 28)

    def forward(self, x):
        x = self.stcnn3(self.stcnn2(self.stcnn1(x)))  # (B, 3, T, H, W) -> (B, 96, T, H', W')
        x = to_sequence_solution(x)  # (T, B, F)
        x, _ = self.gru1(self.dropout(x))  # (T, B, 2D)
        x, _ = self.gru2(self.dropout(x))  # (T, B, 2D)
        return self.head(self.dropout(x))  # (T, B, V)


_ = torch.manual_seed(0)
model = PlainLipNet().eval()
costs = count(model, clip)
shapes = {row.name: row.output_shape for row in costs.rows}

for row in ("stcnn1.dropout", "stcnn2.dropout", "stcnn3.dropout", "gru1", "gru2", "head"):
    print(f"{row:15} {shapes[row]}")
    assert shapes[row] == predicted[row.removesuffix(".dropout")]
assert (
    {shape[0] for row, shape in shapes.items() if row in ("gru1", "gru2", "head")} == {75} == {clip.shape[2]}
)

# %% [markdown]
# Every shape is as predicted, and 75 frames go through all of it: 28 numbers for each one. `log_softmax`
# over them gives what CTC wants, `(T, B, V)`.

# %% [markdown]
# ## 4. Where the weights are, and where the work is
#
# Notebook 02 counted the convolutions: $O\,C\,k_t k_h k_w$ weights and $O$ biases, and every output value
# costs $C\,k_t k_h k_w$ multiply-adds. A linear layer has $F V + V$. That leaves the GRU.
#
# ### Exercise 3 · `bigru_weights` · difficulty ★★☆ · 8 minutes
#
# How many weights has one bidirectional GRU layer with $F$ inputs and a memory of size $D$ in each
# direction, biases included? (Notebook 03: torch and this course keep two biases for each gate, one beside
# the input's matrix and one beside the memory's.)


# %%
def bigru_weights(input_size, hidden_size):
    """F, D -> the number of weights of a bidirectional GRU layer, biases included."""
    raise NotImplementedError


check("06.bigru_weights", bigru_weights)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def bigru_weights_solution(input_size, hidden_size):
    """A gate is D rows of F input weights, D memory weights and 2 biases; 3 gates, 2 directions."""
    return 2 * 3 * hidden_size * (input_size + hidden_size + 2)


# %%
check("06.bigru_weights", bigru_weights_solution)

# %% [markdown]
# **Predict.** The convolutions look at 8,192 pixels a frame, the GRUs at a list of 3,072 numbers. Which layer
# has most of the weights? Which does most of the multiplying? Write your guess down in per cent.


# %%
def ladder(height, width, frames=75, D=256, V=28):
    """Rows (name, shape without the batch, weights, multiply-adds a clip), the input first."""
    rows, into = [("input", (3, frames, height, width), 0, 0)], 3
    for i, out, kernel, stride in ((1, 32, 75, 2), (2, 64, 75, 1), (3, 96, 27, 1)):  # kernel: kt * kh * kw
        height, width = ((n - 1) // stride + 1 for n in (height, width))
        work = out * frames * height * width * into * kernel
        rows.append((f"conv{i}", (out, frames, height, width), out * into * kernel + out, work))
        into, height, width = out, height // 2, width // 2
        rows.append((f"pool{i}", (out, frames, height, width), 0, 0))
    features = into * height * width
    rows.append(("sequence", (frames, features), 0, 0))
    for i, inputs in ((1, features), (2, 2 * D)):
        work = frames * 2 * 3 * D * (inputs + D)  # every matrix meets every frame once
        rows.append((f"gru{i}", (frames, 2 * D), bigru_weights_solution(inputs, D), work))
    return [*rows, ("head", (frames, V), 2 * D * V + V, frames * 2 * D * V)]


rows = ladder(64, 128)
figures.shape_ladder(rows, title="LipNet, from a clip to 28 numbers a frame", width=12.5)

# %% [markdown]
# This is the picture to keep. Weights and work sit at opposite ends:
#
# - **`gru1` has 77 % of the weights.** Each of its 1,536 gate units looks at all 3,072 features, and shares
#   nothing with its neighbors. But it does so only once a frame, so it does 4 % of the work.
# - **`conv2` does 65 % of the work** with 2 % of the weights. It uses each of its weights again at 512 places
#   of every frame.

# %%
weights = {name: weights for name, _, weights, _ in rows}
work = {name: work for name, _, _, work in rows}
total_weights, total_work = sum(weights.values()), sum(work.values())
print(f"{total_weights:,} weights, {total_work / 1e9:.2f} G multiply-adds")
for name in ("gru1", "conv2"):
    of_weights, of_work = weights[name] / total_weights, work[name] / total_work
    print(f"{name}: {of_weights:3.0%} of the weights, {of_work:3.0%} of the work")

assert total_weights == 6_638_844 and round(total_work / 1e9, 2) == 9.07
assert [round(100 * weights[n] / total_weights) for n in ("gru1", "conv2")] == [77, 2]
assert [round(100 * work[n] / total_work) for n in ("gru1", "conv2")] == [4, 65]
assert weights["gru1"] == 5_114_880 and 2 * 3 * 256 == 1536 and 16 * 32 == 512

# %% [markdown]
# Do two other counters agree? `lessons.measure.counting` watches the model run, and so does `torchinfo`, a
# package that many people use.

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
assert counters["by hand"] == counters["lessons.measure"] and info.total_params == total_weights

# %% [markdown]
# The weights agree, and the multiply-adds almost: `torchinfo` finds 8,757,300 more. **Predict**: what does
# it count that we leave out? It is one addition for every value that a layer gives, and two for every gate
# unit.

# %%
outputs = {name: math.prod(shape) for name, shape, _, _ in rows}
biases = sum(outputs[name] for name in ("conv1", "conv2", "conv3", "head"))  # one bias for each output value
biases += 2 * 75 * (2 * 3 * 256) * 2  # two GRUs; frames; units of three gates and two directions; two biases
print(f"additions of biases: {biases:,}")
assert info.total_mult_adds - total_work == biases == 8_757_300
assert round(100 * biases / total_work, 1) == 0.1  # per cent

# %% [markdown]
# The biases. So both are right, each by its own rule. When two tables of a model's cost differ by a tenth
# of a per cent, it is a convention; when they differ by a factor of two, one counts a multiply-add as two
# operations ("FLOPs").

# %% [markdown]
# ## 5. Another crop
#
# The paper's crops are 50 × 100, not 64 × 128. **Predict**: with 39 % fewer pixels, does LipNet lose more
# weights or more work, in per cent?

# %%
LAYERS = ("conv1", "conv2", "conv3", "gru1", "gru2", "head")
SIZES = [(32, 64), (50, 100), (64, 128), (96, 192)]
tables = {f"{h} × {w}": {row[0]: row[2:] for row in ladder(h, w)} for h, w in SIZES}
amounts = {
    kind: [[table[layer][k] for layer in LAYERS] for table in tables.values()]
    for k, kind in enumerate(("weights", "multiply-adds a clip"))
}
assert [sum(row) for row in amounts["weights"]][1:3] == [4_574_460, 6_638_844]
giga = [round(sum(row) / 1e9, 2) for row in amounts["multiply-adds a clip"]]
assert giga[:3] == [2.36, 5.34, 9.07] and round(1 - 50 * 100 / (64 * 128), 2) == 0.39
figures.layer_costs(list(tables), LAYERS, amounts, title="The same network on crops of four sizes")

# %% [markdown]
# 4,574,460 weights (−31 %) and 5.34 G multiply-adds (−41 %). The convolutions' weights do not know the size
# of the frame, only `gru1`'s do. Look at what grows: at 32 × 64 `gru1` is half of the network, at 96 × 192
# nine tenths. That is the price of flattening: a weight for every place, and none shared.

# %%
paper, ours = (np.array([sum(row) for row in table])[[1, 2]] for table in amounts.values())
assert [round(100 * (a[0] / a[1] - 1)) for a in (paper, ours)] == [-31, -41]
share = [row[3] / sum(row) for row in amounts["weights"]]
assert sum(p.numel() for p in PlainLipNet(50, 100).parameters()) == 4_574_460  # your model, on their crop
assert 0.49 < share[0] < 0.52 and 0.87 < share[3] < 0.91
for size, part in zip(tables, share, strict=True):
    print(f"{size:8} gru1 has {part:.0%} of the weights")

# %% [markdown]
# Slide the height of the crop (the width is twice as large). Watch `gru1` jump when a pool gains a row:

# %% tags=["nbval-ignore-output"]
# output not compared: the slider is a widget, which lives only while the notebook runs
from ipywidgets import interact


@interact(height=(16, 128, 2))
def slide(height=50):
    return figures.shape_ladder(ladder(height, 2 * height), title=f"{height} × {2 * height}", width=12.5)


# %% [markdown]
# ## 6. What one answer sees
#
# ### In the front: 7 frames, 51 × 51 pixels
#
# Notebook 02 computed the receptive field of LipNet's three STCNNs. Here it is measured on the model itself,
# with its ReLUs and its max-pools: ask for the gradient of one place of the last map, and see which pixels
# have any.

# %%
front = nn.Sequential(model.stcnn1, model.stcnn2, model.stcnn3)
noise = torch.randn(1, 3, 11, 112, 112, generator=torch.Generator().manual_seed(0)).requires_grad_()
front(noise)[0, :, 5, 3, 3].sum().backward()  # one place of (1, 96, 11, 7, 7), all its channels
seen = (noise.grad[0] != 0).any(dim=0)  # (11, 112, 112)
frames_seen, rows_seen, columns_seen = (int(seen.any(dim=d).sum()) for d in [(1, 2), (0, 2), (0, 1)])
print(f"one place of the last map sees {frames_seen} frames of {rows_seen} x {columns_seen} pixels")
assert (frames_seen, rows_seen, columns_seen) == (7, 51, 51)

# %% [markdown]
# How much of a mouth is that? A pixel must become a millimeter, and for that we need one **assumption**: how
# wide a mouth is. Take 50 mm for an adult at rest, or hold a ruler to your own. In GRID's films (360 pixels
# wide) we found mouths about 40 pixels wide, and making the crop of 64 × 128 enlarges them by about 1.5
# (notebook 07 cuts such crops). Put in your own numbers:

# %%
MOUTH_MM = 50  # assumed, not measured
MOUTH_PIXELS, ENLARGED = 40, 1.5  # in the film; from the film to the crop

mm = MOUTH_MM / (MOUTH_PIXELS * ENLARGED)  # millimeters a pixel of the crop
step = 2**4  # one stride and three pools: pixels between two neighboring places
print(f"a pixel of the crop is {mm:.2f} mm")
print(f"one place sees {51 * mm:.0f} mm of face, {51 / (MOUTH_PIXELS * ENLARGED):.0%} of the mouth's width")
print(f"its neighbor looks {step * mm:.0f} mm further on")
assert MOUTH_MM != 50 or (round(51 * mm), round(step * mm)) == (42, 13)
assert frames_seen / 25 == 0.28  # seconds, at 25 frames a second

# %% [markdown]
# So each of the 4 × 8 places watches most of a mouth, from its own point of view, for 0.28 s. (Corners count
# little: notebook 02 showed how soft the edges are.)
#
# ### In the whole model: everything, in principle
#
# The GRUs carry what they have read to every other frame, so one answer *can* depend on all 75. **Predict**:
# how far does it *really* look? The picture shows how strongly each frame moves the answer of frame 30,
# relative to the strongest: in a whole LipNet with random weights, and in a trained one (the small one of
# notebook 00, which is of the same class; the mean over six clips, and since the strongest frame is not the
# same in all of them, its line stays below 1). The front alone sees the gray frames.


# %%
def influence(network, x, t, answer):
    """How much each frame of x (B, C, T, H, W) moves `answer` of frame t: (T,), relative to the strongest."""
    x = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(answer(network(x), t).sum(), x)
    strength = gradient.square().sum(dim=(1, 3, 4)).sqrt()  # (B, T)
    return (strength / strength.amax(dim=1, keepdim=True)).mean(dim=0)  # (T,)


def best_logit(logits, t):
    return logits[t].max(dim=-1).values  # (T, B, V) -> (B,)


trained = checkpoint.load("lipnet_small_synthetic")
clips = synthetic_clips(6, seed=2024)
x_small = normalize(torch.from_numpy(clips.frames))[:, None]  # (6, 1, 75, 32, 64)
_ = torch.manual_seed(0)
untrained = LipNet().eval()
in_front = influence(front, clip, 30, lambda maps, t: maps[:, :, t].sum(dim=(1, 2, 3)))
in_untrained, in_trained = (
    influence(untrained, clip, 30, best_logit),
    influence(trained, x_small, 30, best_logit),
)
assert in_front.nonzero().flatten().tolist() == list(range(27, 34))
assert in_trained.max() < 1 == in_untrained.max()
for name, curve in (("untrained", in_untrained), ("trained", in_trained)):
    print(f"{name:9}: {int((curve > 0.1).sum()):2} frames above a tenth of the strongest, of {len(curve)}")
figures.curves(
    {"untrained": in_untrained, "trained": in_trained},
    xlabel="frame",
    ylabel="influence on frame 30",
    plateau=(27, 33),
    plateau_label="what the front sees",
    logy=True,
    title="How far one answer looks",
)

# %% [markdown]
# The front stops dead after three frames on either side. The GRUs let the view fade instead: nothing is cut
# off, yet only about 18 frames, 0.7 s, move the answer by more than a tenth of what the nearest does. The
# trained network looks about as far as the random one. (Two networks and two inputs: read the orders of
# magnitude, not the last digit.)

# %%
assert bool((in_untrained > 0).all()) and bool((in_trained > 0).all())
for curve in (in_untrained, in_trained):
    assert 12 <= int((curve > 0.1).sum()) <= 24 and float(curve[60:].max()) < 0.03

# %% [markdown]
# ## 7. Somebody else's weights
#
# How do you prove that you have rebuilt a model, and not another one like it? Load the weights of the
# original, and compare the answers. Any slip in the order of gates, axes or layers would show, with random
# weights as well as with trained ones.
#
# Below is a public PyTorch port of LipNet, rebuilt from torch's layers alone, with its names, its order of
# things and its first weights, in our own words. It is widely copied. Read it once as a suspicious reader:
# which lines would you object to? (Section 11 asks you, and quotes the lines again.)


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


# %%
@torch.no_grad()
def public_first_weights(network):
    for conv in (network.conv1, network.conv2, network.conv3):
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        nn.init.zeros_(conv.bias)
    nn.init.kaiming_normal_(network.FC.weight, nonlinearity="sigmoid")
    nn.init.zeros_(network.FC.bias)
    std = math.sqrt(2 / (96 * 3 * 6 + 256))
    for gru in (network.gru1, network.gru2):
        for way in ("", "_reverse"):
            for gate in getattr(gru, f"weight_ih_l0{way}").chunk(3):
                nn.init.uniform_(gate, -math.sqrt(3) * std, math.sqrt(3) * std)
            for gate in getattr(gru, f"weight_hh_l0{way}").chunk(3):
                nn.init.orthogonal_(gate)
            nn.init.zeros_(getattr(gru, f"bias_ih_l0{way}"))


_ = torch.manual_seed(1)
port = PublicLipNet().eval()
public_first_weights(port)
names = list(port.state_dict())
print(len(names), "tensors:", ", ".join(names[:2]), "…", ", ".join(names[6:8]), "…", ", ".join(names[-2:]))
assert len(names) == 24 and sum(p.numel() for p in port.parameters()) == 6_638_844

# %% [markdown]
# Its weights go to a file, as the port's own are distributed. `load_public_checkpoint` reads such a file:
# it renames `conv1` to `stcnn1.conv` and `FC` to `head`, checks every shape, and runs nothing that the file
# may contain. From there they go into *your* model. Compared in float64, with gradients, on two short clips:

# %%
with tempfile.TemporaryDirectory() as folder:
    torch.save(port.state_dict(), Path(folder) / "port.pt")
    package = load_public_checkpoint(Path(folder) / "port.pt")
model.load_state_dict(package.state_dict())

x = torch.rand(2, 3, 4, 64, 128, generator=torch.Generator().manual_seed(2)).double()  # (B, C, T, H, W)
upstream = torch.randn(4, 2, 28, generator=torch.Generator().manual_seed(3)).double()  # (T, B, V)
logits, gradients = {}, {}
for name, network in (("port", port), ("yours", model), ("package", package)):
    y = network.double()(x)
    logits[name] = y.transpose(0, 1) if name == "port" else y  # (T, B, V)
    gradients[name] = torch.autograd.grad(logits[name], list(network.parameters()), upstream)
    network.float()
for name in ("yours", "package"):
    agree(f"logits, {name:7} against the port", logits[name], logits["port"])
    largest = 0.0
    for ours, theirs in zip(gradients[name], gradients["port"], strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-10)
        largest = max(largest, (ours - theirs).abs().max().item())
    print(f"gradients, {len(gradients[name])} tensors: approximate True, largest difference below 1e-9")
    assert largest < 1e-9

# %% [markdown]
# Three programs, one model: torch's layers with the port's names, the course's own layers put together by
# you, and the package. 24 tensors of weights, and every one of them gets the same gradient.
#
# What has the proof not seen? It ran in `eval` mode, where dropout does nothing. In training, yours and the
# package's drop features before `gru1` as well, the port's do not:

# %%
for name, network in (("port", port), ("yours", model), ("package", package)):
    calls = []
    hook = network.dropout.register_forward_hook(lambda layer, inputs, output, calls=calls: calls.append(1))
    with torch.no_grad():
        network(x.float())
    hook.remove()
    print(f"{name:8} passes through its dropout of features {len(calls)} times")
    assert len(calls) == (2 if name == "port" else 3)

# %% [markdown]
# So both read alike, and would train a little differently. State what a proof covers.
#
# How long does a clip of three seconds take? (Your numbers will differ.)

# %% tags=["nbval-ignore-output"]
# output not compared: a timing


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


with torch.no_grad():
    print(f"your layers:           {seconds(lambda: model(clip)):.2f} s")
    print(f"torch's layers:        {seconds(lambda: package(clip)):.2f} s")
print(f"torch's, and backward: {seconds(lambda: package(clip).sum().backward()):.2f} s")

# %% [markdown]
# ## 8. The first weights, and a constant that wandered
#
# Before training, weights are drawn at random. How large? A unit that adds up $n$ inputs of size 1, each
# times a weight of standard deviation $\sigma$, gives something of size $\sigma\sqrt n$. To keep the size
# of signals from layer to layer:
#
# - **He (2015)**, for a layer before a ReLU, which throws away half: $\sigma = \sqrt{2 / n_\text{in}}$.
# - **Glorot (2010)**, a compromise between the way forward and the way back (notebook 03):
#   $\sigma = \sqrt{2 / (n_\text{in} + n_\text{out})}$.
#
# $n_\text{in}$ (*fan-in*) is how many inputs one output sees, $n_\text{out}$ (*fan-out*) how many outputs
# one input reaches. In a linear layer these are all inputs and all outputs. In a convolution? Here is a
# small one along a line, with 2 channels in, 4 filters and a kernel of 3. As the kernel moves on, one number
# lies under its right place, then its middle, then its left one. **Predict**: how many outputs does it reach?

# %%
weight = torch.ones(4, 2, 3)  # (O, C, kt)
line = torch.zeros(1, 2, 9, requires_grad=True)  # (B, C, T)
F.conv1d(line, weight)[0, 0, 3].backward()  # one output: which inputs have a gradient?
fan_in = int((line.grad != 0).sum())

single = torch.zeros(1, 2, 9)  # (B, C, T)
single[0, 0, 4] = 1  # one input that is not 0: which outputs are not 0?
reached = F.conv1d(single, weight)[0] != 0  # (4, 7)
print(reached.int())
print(f"one output sees {fan_in} inputs, one input reaches {int(reached.sum())} outputs")
assert (fan_in, int(reached.sum())) == (6, 12)

# %% [markdown]
# Three outputs of each of the 4 filters. (So it is at stride 1, away from the borders. The rule counts that
# way for every convolution, as torch does: the shape of a weight does not know the stride.)
#
# ### Exercise 4 · `first_std` · difficulty ★★☆ · 10 minutes
#
# Write both rules for any weight of this notebook: linear `(out, in)` and convolution `(O, C, kt, kh, kw)`.
# A GRU stacks three gates in one matrix `(3D, F)`, and each is a layer of its own: an input reaches $D$ units
# of *one* gate. `gates` says how many are stacked: `first_std((3 * 256, 3072), "glorot", gates=3)`.


# %%
def first_std(shape, rule, gates=1):
    """shape of a weight, rule "he" or "glorot" -> the standard deviation of its first values."""
    raise NotImplementedError


check("06.first_std", first_std)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def first_std_solution(shape, rule, gates=1):
    """A filter of k places sees k values of each input channel; each value is met by k places of it."""
    places = math.prod(shape[2:])  # 1 for a linear layer
    fan_in, fan_out = shape[1] * places, shape[0] // gates * places
    return math.sqrt(2 / fan_in) if rule == "he" else math.sqrt(2 / (fan_in + fan_out))


# %%
check("06.first_std", first_std_solution)
for rule, draw in (("he", nn.init.kaiming_normal_), ("glorot", nn.init.xavier_normal_)):
    drawn = draw(torch.empty(64, 32, 3, 5, 5), generator=torch.Generator().manual_seed(0)).std().item()
    wanted = first_std_solution((64, 32, 3, 5, 5), rule)
    print(f"{rule:6}: {wanted:.4f} by the rule, {drawn:.4f} in 153,600 weights drawn by torch")
    assert abs(drawn / wanted - 1) < 0.01

# %% [markdown]
# ### The lineage of 1728
#
# The authors' own code (Torch, in Lua) draws the GRUs' input weights by Glorot's rule, with the sizes written
# out as numbers. Then it was copied:
#
# | program | crop | $F$ of `gru1` | std for `gru1` | std for `gru2` |
# |---|---|---|---|---|
# | the authors' | 50 × 100 | 1728 | $\sqrt{2/(1728+256)}$ | $\sqrt{2/(512+256)}$ |
# | first port to PyTorch | 50 × 100 | 1728 | $\sqrt{2/(1728+256)}$ | the same constant |
# | the port of section 7 | 64 × 128 | **3072** | $\sqrt{2/(1728+256)}$ | the same constant |
#
# The first port put both layers into one loop, with one constant. The second made the crop larger and left
# the constant alone. **Predict**: for each layer, is it now too large or too small? By how much?

# %%
assert 96 * 3 * 6 == 1728 == ladder(50, 100)[7][1][1] and ladder(64, 128)[7][1][1] == 3072
constant = math.sqrt(2 / (96 * 3 * 6 + 256))
table = {}
for name, features in (("gru1", 3072), ("gru2", 512)):
    glorot = first_std_solution((3 * 256, features), "glorot", gates=3)
    table[name] = (round(constant, 5), round(glorot, 5), round((constant / glorot) ** 2, 2))
    print(f"{name}: drawn with {constant:.5f}, Glorot {glorot:.5f}, variance {table[name][2]:.2f} times")
assert table == {"gru1": (0.03175, 0.02451, 1.68), "gru2": (0.03175, 0.05103, 0.39)}
assert round(math.sqrt(2 / (1728 + 256)), 5) == 0.03175  # right for the authors' crop

# %% [markdown]
# `gru1`'s weights have 1.68 times the variance that they should have, `gru2`'s 0.39 times. (One more thing
# is left over: the authors set all biases to 0; the loop sets `bias_ih` to 0 and forgets `bias_hh`, which
# keeps torch's default, uniform in $\pm 1/\sqrt{256} = \pm 1/16$.)

# %%
kept = port.gru1.bias_hh_l0  # (3D,)
print(
    f"bias_ih: all {port.gru1.bias_ih_l0.abs().max().item():.0f}, bias_hh: deviation {kept.std().item():.3f}"
)
assert kept.abs().max() < 1 / 16 and abs(kept.std().item() - 1 / 16 / math.sqrt(3)) < 0.002

# %% [markdown]
# Does it matter? Look at what the gates get: the sum before the sigmoid, over the units of `gru1`. (The
# weights are drawn evenly from $\pm\sqrt 3\,\sigma$, which has the deviation $\sigma$: notebook 03.) Beyond
# about ±3 a sigmoid has less than a fifth of its steepest slope, and a gate that is stuck there hardly learns
# (notebook 01). **Predict** which moves the gates further: this slip, or giving the same network a clip of
# mean 0 and deviation 1 in place of pixels from 0 to 1?


# %%
_ = torch.manual_seed(0)
fresh = LipNet().eval()  # the package draws convolutions by He's rule, biases 0
fresh_front = nn.Sequential(fresh.stcnn1, fresh.stcnn2, fresh.stcnn3)
drawn = (
    2 * torch.rand(3 * 256, 3072, generator=torch.Generator().manual_seed(0)) - 1
)  # (3D, F), uniform in ±1


def pre_activations(x, std):
    """What the gate units of gru1 add up for clip x, one direction; weights uniform in ±√3 std."""
    with torch.no_grad():
        features = to_sequence_solution(fresh_front(x))  # (T, B, 3072)
    return features @ (math.sqrt(3) * std * drawn).T  # (T, B, 3D)


glorot = first_std_solution((3 * 256, 3072), "glorot", gates=3)
standardized = (clip - clip.mean()) / clip.std()
sums = {
    "0 to 1, Glorot": pre_activations(clip, glorot),
    "0 to 1, the copied constant": pre_activations(clip, constant),
    "standardized, Glorot": pre_activations(standardized, glorot),
    "0 to 255, Glorot": pre_activations(255 * clip, glorot),
}
for name, values in sums.items():
    flat = (values.abs() > 3).float().mean().item()
    print(f"{name:28} deviation {values.std().item():6.2f}, beyond ±3: {flat:4.0%}")

spread = {name: values.std().item() for name, values in sums.items()}
slope_at_3 = (torch.sigmoid(torch.tensor(3.0)) * torch.sigmoid(torch.tensor(-3.0))).item()
assert slope_at_3 < 0.25 / 5  # the steepest slope of a sigmoid, at 0, is 1/4
slip, scale = (spread[n] / spread["0 to 1, Glorot"] for n in list(spread)[1:3])
assert abs(slip - math.sqrt(1.68)) < 0.01 and 2.5 < scale < 4
assert (sums["0 to 255, Glorot"].abs() > 3).float().mean() > 0.95

# %%
histograms = {}
for name, values in list(sums.items())[:3]:
    density = torch.histc(values, bins=60, min=-9, max=9) / values.numel() / 0.3  # (60,), bins 0.3 wide
    histograms[name] = (torch.linspace(-8.85, 8.85, 60), density)
figures.curves(
    histograms,
    xlabel="sum before the sigmoid",
    ylabel="density",
    plateau=(-3, 3),
    plateau_label="",
    title="The first GRU's gates, before any training (gray: they can move)",
)

# %% [markdown]
# The slip widens the sums by $\sqrt{1.68} = 1.3$, the scale of the input by about three (and raw bytes, 0
# to 255, by 255).
#
# And `gru2`, whose weights are too small? Its inputs are the memories of `gru1`, which the first slip
# enlarges. **Predict**: do the two slips cancel out at the gates of `gru2`?

# %%
enlarged = copy.deepcopy(fresh.gru1)
memories, sums2 = {}, {}
with torch.no_grad():
    for way in ("", "_reverse"):
        getattr(enlarged, f"weight_ih_l0{way}").mul_(constant / glorot)
    features = to_sequence_solution(fresh_front(clip))  # (T, B, 3072)
    shrunk = constant / first_std_solution((3 * 256, 512), "glorot", gates=3)
    for name, gru1, factor in (
        ("Glorot in both", fresh.gru1, 1),
        ("the copied constant in gru2", fresh.gru1, shrunk),
        ("the copied constant in both", enlarged, shrunk),
    ):
        memories[name], _ = gru1(features)  # (T, B, 2D)
        sums2[name] = memories[name] @ (factor * fresh.gru2.weight_ih_l0).T  # (T, B, 3D)
for name, values in sums2.items():
    gates = values[..., : 2 * 256].sigmoid()  # (T, B, 2D): reset and update
    low, high = gates.quantile(torch.tensor([0.05, 0.95])).tolist()
    print(f"{name:27} deviation {values.std().item():.2f}, nine gates of ten from {low:.2f} to {high:.2f}")

shrunk_by, both = (values.std() / sums2["Glorot in both"].std() for values in list(sums2.values())[1:])
print(f"the sums shrink to {shrunk_by:.2f} with the slip in gru2, to {both:.2f} with both")
assert abs(shrunk_by - math.sqrt(0.39)) < 0.01 and 0.65 < both < 0.75
larger = memories["the copied constant in both"].std() / memories["Glorot in both"].std()
assert 1.05 < larger < 1.2 and max(values.abs().max() for values in sums2.values()) < 6

# %% [markdown]
# Hardly. `gru1`'s memories cannot pass ±1, so 1.3 times the weights make them little larger. The sums of
# `gru2` stay at 0.7 of their size, and its gates stand closer to one half: at the start they are more alike,
# and tell one input less from another. But one half is where a sigmoid is steepest, so nothing is stuck.
#
# So the constant is wrong twice, and it is not what decides. (The port with the wrong constant reports 13.3 %
# word errors on unseen speakers; the paper's network without its language model had 13.6 %. Whether the right
# one would train *faster* we have not tested.) What to take along: **a size that is written as a number is
# right for one shape.** The package asks the tensor:

# %%
show(LipNet.reset_parameters)

# %%
for name, features in (("gru1", 3072), ("gru2", 512)):
    gate = getattr(fresh, name).weight_ih_l0[:256]  # (D, F), the reset gate
    wanted = first_std_solution((3 * 256, features), "glorot", gates=3)
    print(f"{name}: drawn {gate.std().item():.4f}, the rule says {wanted:.4f}")
    assert abs(gate.std().item() / wanted - 1) < 0.01
    assert not getattr(fresh, name).bias_hh_l0.any()

# %% [markdown]
# ## 9. Why whole channels are dropped
#
# **Dropout** hides part of what a layer knows, so that the next cannot lean on any one value. Ordinary
# dropout hides single values. But in a map, as in a film, a value is much like its neighbors. **Predict**:
# if half of the values are hidden, how well can the mean of the neighbors that are left stand in for them?


# %%
def from_neighbors(maps, kept):
    """Each place of maps (B, C, T, H, W) as the mean of those of its 26 neighbors that were kept."""
    kernel = torch.ones(1, 1, 3, 3, 3)
    kernel[0, 0, 1, 1, 1] = 0  # not itself
    one_by_one = (maps * kept).flatten(0, 1)[:, None], kept.flatten(0, 1)[:, None]  # (BC, 1, T, H, W) both
    total, number = (F.conv3d(x, kernel, padding=1) for x in one_by_one)
    return (total / number.clamp(min=1)).view_as(maps)  # (B, C, T, H, W)


def given_back(maps):
    """Drop half of the single values: which share of their variance do the neighbors explain?"""
    kept = (torch.rand(maps.shape, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    rebuilt, hidden = from_neighbors(maps, kept), 1 - kept
    mean = maps.mean(dim=(0, 2, 3, 4), keepdim=True)  # (1, C, 1, 1, 1)
    left = ((rebuilt - maps).square() * hidden).sum() / ((maps - mean).square() * hidden).sum()
    return 1 - left.item(), kept, rebuilt


_ = torch.manual_seed(0)
small = SmallLipNet().eval()  # the small network before its training
with torch.no_grad():
    maps = {
        "the film": x_small[:2],  # (2, 1, 75, 32, 64)
        "untrained maps": small.stcnn1(x_small[:2]),  # (2, 16, 75, 16, 32)
        "trained maps": trained.stcnn1(x_small[:2]),
    }
shares = {name: given_back(x)[0] for name, x in maps.items()}
for name, part in shares.items():
    print(f"{name:15} neighbors give back {part:.0%}")
assert shares["the film"] > 0.9 and round(shares["untrained maps"], 1) == 0.8
assert 0.45 < shares["trained maps"] < 0.57

# %%
films = {}
for name, x in list(maps.items())[1:]:
    _, kept, rebuilt = given_back(x)
    c = x[0].flatten(1).std(dim=1).argmax()  # the liveliest channel
    whole, half, again = x[0, c, 30], (x * kept)[0, c, 30], rebuilt[0, c, 30]  # (16, 32) each
    films[name[:-1]] = torch.stack([whole, half, again, torch.zeros_like(whole)])  # (4, 16, 32)
captions = ["as it is", "half of the values dropped", "rebuilt by neighbors", "the channel dropped"]
figures.clip_rows(films, captions, title="What dropout hides in a map")

# %% [markdown]
# In an untrained network, dropping single values hides little: four fifths of what is gone can be had from
# next door. Training has made the maps less smooth, and still the neighbors give back about half. **Channel
# dropout** takes a whole map, in all frames: the neighbors are gone too, nothing of that channel is left.

# %% [markdown]
# ## 10. Two options that people add
#
# ### Showing every frame twice
#
# Some descriptions of LipNet say that its features are **upsampled in time** before the GRUs; the write-up
# that this course began from is one. The paper (version 2) does not mention it, and the authors' published
# code goes straight from the third STCNN to the first GRU. The package can do it (`upsample=2`), so let us
# see what it would buy. **Predict**: what does it do to $T$, to the number of weights, to the work?

# %%
twice = LipNet(upsample=2).eval()
cost_once, cost_twice = count(package, clip), count(twice, clip)
extra = cost_twice.multiply_adds - cost_once.multiply_adds
print(f"frames of logits: {cost_once.rows[-1].output_shape[0]} -> {cost_twice.rows[-1].output_shape[0]}")
print(f"weights: {cost_twice.weights - cost_once.weights:+,}")
print(f"multiply-adds: +{extra / 1e9:.2f} G, {extra / cost_once.multiply_adds:.0%}")
assert cost_twice.rows[-1].output_shape == (150, 1, 28) and cost_twice.weights == 6_638_844
assert extra == sum(work[layer] for layer in ("gru1", "gru2", "head")) and round(extra / 1e9, 2) == 0.47

# %% [markdown]
# It makes room. CTC needs a frame for every letter, and one more between two equal ones (notebook 04). For
# GRID's 75 frames there is plenty of room already, whatever the sentence. For a clip of one second there is
# not:

# %%
sentences = [" ".join(words) for words in itertools.product(*grammar.SLOTS)]
needed = [len(s) + sum(a == b for a, b in itertools.pairwise(s)) for s in sentences]
print(f"{len(needed):,} sentences need {min(needed)} to {max(needed)} frames of 75")
assert len(needed) == 64_000 and max(needed) == 33 < 75

labels = Alphabet().encode(said)  # (L,)
assert min_frames(labels) > 25
for T in (25, 50):
    log_probs = torch.zeros(T, 1, 28).log_softmax(-1)  # every class equally likely
    loss = F.ctc_loss(log_probs, labels[None], torch.tensor([T]), torch.tensor([len(labels)]))
    print(f"{T} frames for {min_frames(labels)}: loss {loss.item():.1f}")
    assert loss.isinf() == (T == 25)

# %% [markdown]
# A clip of 25 frames with this sentence has an infinite loss; with every frame shown twice it can be
# learned. (Nothing new is *seen*: the 50 frames hold 25 pictures.) So upsampling is a cure for fast speech
# or few frames, not a part of LipNet, and for GRID it costs 5 % more work for nothing that CTC needs. Whoever
# uses it must double the lengths that CTC gets, too; `LipNet.output_lengths` does.
#
# ### A head of two layers
#
# The same write-up speaks of a *two-layer* feed-forward network after the GRUs; the code below its text has
# one layer, as figure 1 of the paper does. `head="mlp"` is the other reading:

# %%
two_layers = LipNet(head="mlp")
one, two = (sum(p.numel() for p in network.head.parameters()) for network in (package, two_layers))
print(f"one layer {one:,} weights, two layers {two:,}: +{(two - one) / total_weights:.1%} of the model")
assert (one, two) == (14_364, 138_524) and two == (512 * 256 + 256) + (256 * 28 + 28)
print(type(two_layers.head).__name__, [type(layer).__name__ for layer in two_layers.head])

# %% [markdown]
# Is it better? That would take trainings to the end, several seeds each. We have not done them, so this
# course does not know, and uses one layer.

# %% [markdown]
# ## 11. Bug hunt in the wild
#
# Back to the public code of section 7, and to a write-up that prints it with comments of its own. Here are
# twelve things that a careful reader might object to, each with its line. **Before you go on, write beside
# each: bug, harmless, or just odd.**
#
# | | the line | the objection |
# |---|---|---|
# | 1 | `self.gru1 = nn.GRU(96 * 4 * 8, 256, …)` | a size is written as a number |
# | 2 | `x = x.view(x.size(0), x.size(1), -1)` | a clip with height and width swapped is accepted |
# | 3 | `def forward(self, x):` | it takes no lengths |
# | 4 | `self.relu = nn.ReLU(inplace=True)` | it overwrites what each convolution gave |
# | 5 | `return self.FC(x).permute(1, 0, 2)` | the result is `(B, T, V)` |
# | 6 | `# (T, B, F): "because CTC wants it so"` | CTC never meets these features |
# | 7 | `self.pool(self.dropout3d(self.relu(conv(x))))` | dropout stands before the pool |
# | 8 | `kaiming_normal_(FC.weight, nonlinearity="sigmoid")` | a softmax follows, not a sigmoid |
# | 9 | `self.gru1.flatten_parameters()` | again at every forward |
# | 10 | `std = math.sqrt(2 / (96 * 3 * 6 + 256))` | one constant for the weights of both GRUs |
# | 11 | `'''` … `'''` in the write-up | notes at the left margin, in the middle of `__init__` |
# | 12 | "$T$ is usually $2L + 1$", says the write-up | is it? |
#
# Each becomes a claim that a test can try. `test` prints the verdict:


# %%
def test(claim, holds):
    print("holds" if holds else "FAILS", "·", claim)
    return holds


def accepts(network, *size):
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, 2, *size))
    except (RuntimeError, ValueError) as error:
        return False, str(error)
    return True, ""


# %% [markdown]
# ### 1 and 2: a number that stands for a shape

# %%
accepted, message = accepts(port, 50, 100)
assert not test("1. takes the paper's crop, 50 × 100", accepted) and "1728" in message
print("  ", message)
assert test("   ours does, made for it", accepts(LipNet(frame_size=(50, 100)).eval(), 50, 100)[0])
assert not test("2. refuses 128 × 64, a clip on its side", not accepts(port, 128, 64)[0])
assert test("   ours refuses it", not accepts(package, 128, 64)[0])

# %% [markdown]
# Two faces of one bug (notebook 02 took it apart: $8 \cdot 4 = 4 \cdot 8$). The good crop is refused with a
# message about a matrix, the bad one is read as garbage.
#
# ### 3: lost lengths
#
# Clips of a batch are padded to the longest. The claim: **what stands after a clip's end does not change
# what is read before it.** Take 50 frames alone, and the same with 25 black frames behind them:

# %%
short = clip[:, :, 14:64]  # (1, 3, 50, 64, 128)
padded = F.pad(short, (0, 0, 0, 0, 0, 25))  # (1, 3, 75, 64, 128)
with torch.no_grad():
    alone, behind = port(short)[0], port(padded)[0, :50]  # (50, 28) both
    ours_alone, ours_behind = (package(c, torch.tensor([50]))[:50, 0] for c in (short, padded))  # (50, 28)
difference = (alone - behind).abs().amax(dim=1)  # (50,)
assert not test("3. padding changes nothing", bool(difference.max() < 1e-5))
print(f"   largest difference {difference.max():.2f}, logits have deviation {alone.std():.2f}")
assert test("   ours, told the length: changes nothing", torch.allclose(ours_alone, ours_behind, atol=1e-5))
assert difference.max() > 0.3 * alone.std() and difference.argmax() == 49 and difference[:25].max() < 0.05

# %% [markdown]
# The GRU that runs backwards starts in the padding, and brings along what it found there (notebook 03). With
# random weights the difference fades within ten or twenty frames, so you may think that it hardly matters.
# **Predict**: and with *trained* weights? Here is the small trained model on 12 clips of 60 frames, alone,
# and in batches whose longest clip has 75, 100 or 150 frames:

# %%
alphabet = Alphabet()


def texts(log_probs):
    return [alphabet.decode(path) for path in greedy_decode(log_probs.log_softmax(-1))]


some = synthetic_clips(12, seed=2024)
short = normalize(torch.from_numpy(some.frames[:, :60]))[:, None]  # (12, 1, 60, 32, 64)
outputs = {}
with torch.no_grad():
    outputs[60] = trained(short)  # (60, 12, 28)
    for longest in (75, 100, 150):
        padded = F.pad(short, (0, 0, 0, 0, 0, longest - 60))  # (12, 1, longest, 32, 64)
        outputs[longest] = trained(padded)[:60]  # (60, 12, 28)
        changed = [a != b for a, b in zip(texts(outputs[60]), texts(outputs[longest]), strict=True)]
        print(f"batch of {longest:3} frames: {sum(changed):2} of 12 sentences change")
    with_lengths = trained(padded, torch.full((12,), 60))[:60]  # (60, 12, 28)
assert sum(changed) >= 6 and texts(with_lengths) == texts(outputs[60])

i = changed.index(True)
print(f"\nsaid:   {some.transcripts[i]}\nalone:  {texts(outputs[60])[i]}\npadded: {texts(outputs[150])[i]}")
print(f"padded, with lengths: {texts(with_lengths)[i]}")

# %%
fades = (outputs[60] - outputs[150]).abs().amax(dim=(1, 2)) / outputs[60].std()  # (60,)
assert fades[30:].min() > 0.8 and fades[40:].min() > 1
figures.curves(
    {
        "random weights": (np.arange(-50, 0), difference / alone.std()),
        "trained": (np.arange(-60, 0), fades),
    },
    xlabel="frames before the clip's end",
    ylabel="difference, in deviations",
    logy=True,
    title="What padding does to the valid frames",
)

# %% [markdown]
# The trained network saw nothing but full clips of 75 frames, and never learned to pass over padding: what
# the backward GRU brings from there shifts logits by their own deviation and more, for half a clip. Nothing
# in a loss curve points at this bug. With all clips of 75 frames, as in GRID, it never shows; with other
# clips it ruins the last words.
#
# ### 4, 5 and 6: in place, and in which order
#
# Number 4 was notebook 02's bug hunt: harmless for training, ruinous for anybody who looks inside.

# %%
caught = []
hook = port.conv1.register_forward_hook(lambda layer, inputs, output: caught.append(output))
with torch.no_grad():
    port(clip[:, :, :4])
    given = port.conv1(clip[:, :, :4])  # (1, 32, 4, 32, 64), before the ReLU; the hook catches this, too
hook.remove()
assert not test("4. what a hook caught from conv1 is what conv1 gave", torch.equal(caught[0], given))
print(f"   smallest value given {given.min().item():.1f}, smallest caught {caught[0].min().item():.1f}")
assert given.min() < 0 == caught[0].min()

# %% [markdown]
# Number 5 is a trap for whoever calls the model. CTC wants `(T, B, V)`. What happens to the one who forgets?

# %%
frames, target = 30, alphabet.encode("bin")  # T = B = 30; (L,)
perfect = torch.full((frames, frames, 28), -20.0)  # (T, B, V) logits
perfect[:, :, 0] = 0.0  # a blank everywhere …
for t, label in zip((5, 12, 20), target, strict=True):
    perfect[t, :, label] = 20.0  # … but in three frames: every clip is read without a fault
log_probs, lengths = perfect.log_softmax(-1), torch.full((frames,), frames)
targets, target_lengths = target.expand(frames, -1), torch.full((frames,), 3)
right = F.ctc_loss(log_probs, targets, lengths, target_lengths)
wrong = F.ctc_loss(log_probs.transpose(0, 1), targets, lengths, target_lengths)
assert not test("5. CTC notices (B, T, V), B = T = 30", bool(wrong.isinf() or wrong.isnan()))
print(f"   loss of a perfect reader: {right:.2f}; with the axes swapped: {wrong:.2f}")
assert right < 1e-3 and wrong > 5

try:
    F.ctc_loss(log_probs[:, :4].transpose(0, 1), targets[:4], lengths[:4], target_lengths[:4])
except RuntimeError as error:
    print("   B = 4, T = 30:", error)
else:
    raise AssertionError("the swapped axes were accepted")

# %% [markdown]
# <details><summary><b>Help: "Expected input_lengths…" from CTC, when the lengths are right</b></summary>
#
# Or "input_lengths must be of size batch_size". The loss takes its batch size from the *second* axis of
# `log_probs`. Before you look at the lengths, print `log_probs.shape`: it must be `(T, B, V)`. A model that
# returns `(B, T, V)` needs `.transpose(0, 1)` before the loss. When B happens to equal T, nothing complains.
#
# </details>
#
# Number 6 is a comment that blames the wrong one: `(T, B, F)` is the layout of `nn.GRU`, unless it is told
# `batch_first=True`. What CTC wants is `(T, B, V)` at the *end*, and there the port's last line undoes it.

# %%
first = nn.GRU(3072, 256, bidirectional=True, batch_first=True)
first.load_state_dict(port.gru1.state_dict())
sequence = torch.rand(4, 2, 3072, generator=torch.Generator().manual_seed(0))  # (T, B, F)
with torch.no_grad():
    batch_first, time_first = (
        first(sequence.transpose(0, 1))[0],
        port.gru1(sequence)[0],
    )  # (B, T, 2D), (T, B, 2D)
assert test(
    "6. the GRU works as well on (B, T, F)",
    torch.allclose(batch_first.transpose(0, 1), time_first, atol=1e-6),
)

# %% [markdown]
# ### 7, 8 and 9: no bugs
#
# **Predict**: with the same channels dropped, by how much does the result of "dropout, then pool" differ
# from "pool, then dropout"?

# %%
maps = torch.randn(1, 32, 75, 32, 64, generator=torch.Generator().manual_seed(0))  # (B, C, T, H, W)
drop, pool = nn.Dropout3d(0.5), nn.MaxPool3d((1, 2, 2))
_ = torch.manual_seed(1)
before_pool = pool(drop(maps))  # (1, 32, 75, 16, 32)
_ = torch.manual_seed(1)
after_pool = drop(pool(maps))  # (1, 32, 75, 16, 32)
assert test("7. channel dropout commutes with the pool", torch.equal(before_pool, after_pool))
print(f"   it works on {maps.numel() / pool(maps).numel():.0f} times as much data")
assert maps.numel() == 4 * after_pool.numel()

gains = [nn.init.calculate_gain(name) for name in ("sigmoid", "linear")]
assert test("8. 'sigmoid' draws the same weights as 'linear'", gains[0] == gains[1] == 1)

places = [p.data_ptr() for p in port.gru1.parameters()]
port.gru1.flatten_parameters()
assert test(
    "9. on a CPU, flatten_parameters does nothing", places == [p.data_ptr() for p in port.gru1.parameters()]
)

# %% tags=["nbval-ignore-output"]
# output not compared: a timing
pooled = pool(maps)
for name, x in (("before the pool", maps), ("after it", pooled)):
    fastest = min(seconds(lambda x=x: drop(x)) for _ in range(10))
    print(f"dropout {name:16} {1000 * fastest:.1f} ms")

# %% [markdown]
# 7 costs a few milliseconds and changes no bit: a channel is multiplied by 0 or 2 as a whole, and
# $\max(2a, 2b) = 2\max(a, b)$. 8 is a misleading name with the right number behind it, and comes from the
# authors' own code. 9 is for GPUs, where it lays a GRU's weights side by side in memory; torch does so by
# itself when the layer is made or moved.
#
# ### 10, 11 and 12
#
# Number 10 was section 8: a slip with a lineage, of small effect. Number 12 is notebook 04's: $2L + 1$ is
# the number of states of CTC's extended label, not of frames. And number 11:

# %%
assert not test("10. the constant suits both GRUs", table["gru1"][2] == table["gru2"][2] == 1)
states = {2 * len(s) + 1 for s in sentences}
assert not test("12. some sentence of GRID has 2L + 1 = T = 75", 75 in states)
print(f"   of 64,000 sentences, 2L + 1 is {min(states)} to {max(states)}")
as_printed = "\n".join(
    [
        "class Model:",
        "    def __init__(self):",
        "        super().__init__()",
        "'" * 3,
        "notes that somebody wanted to keep",
        "'" * 3,
        "        self.size = 3072",
    ]
)
try:
    compile(as_printed, "as printed", "exec")
except IndentationError as error:
    assert not test("11. the code runs as printed", False)
    print(f"   {type(error).__name__} in line {error.lineno}")
else:
    raise AssertionError("it compiles")

# %% [markdown]
# A string at the left margin ends the class; what follows is indented for no reason that Python can see. So
# nobody can have run the code in this form: it was changed after it last ran.
#
# | verdict | numbers |
# |---|---|
# | bugs: wrong results without a word | 2, 3 |
# | bugs: refused loudly | 1, 11 |
# | a trap, right as long as the caller turns the axes back | 5 |
# | slips that do little harm | 4 (until you look inside), 10 |
# | wrong words beside right code | 6, 8, 12 |
# | no bugs | 7, 9 |
#
# <details><summary><b>Help: the same sentence for every clip: is it the input or the training?</b></summary>
#
# First see whether the clips reach the answers at all: take two different clips and print
# `(model(a) - model(b)).abs().max()`. If it is (nearly) 0, the input is at fault: all zeros, one clip
# repeated, or pixels of 0 to 255 that hold every gate still (section 8). If the logits differ and the text
# does not, the model has learned the average sentence and not yet to look: train on. Notebook 08 shows this
# phase, and how long it takes. If it came with trained weights, your clips are not prepared as in its
# training (notebook 00).
#
# </details>

# %% [markdown]
# ## 12. The finished version
#
# `lessons.lipreading.lipnet.LipNet` is your model with a door that checks what comes in, lengths, and the
# options. Its `forward` in the package is in two parts, so that a stream can run
# the convolutions once and the GRUs often:

# %%
show(LipNet.forward)
show(LipNet.features)
show(LipNet.classify)

# %% [markdown]
# Find the five lines of your `forward` in it. New are the mask (padded frames are set to zero before each
# convolution, so that the end of a clip looks the same alone and in a batch) and the line about autocast,
# which notebook 14 explains.
#
# The weights that this course ships belong to a small form of this class, `SmallLipNet()`:
# narrower, gray, 32 × 64 pixels, strides in place of pools, normalization, and a layer that narrows the
# features before the GRUs. You now know why that layer is there.

# %%
assert isinstance(trained, LipNet) and type(package) is LipNet and trained.config == small.config
parts = {name: sum(p.numel() for p in layer.parameters()) for name, layer in small.named_children()}
n_small = sum(parts.values())
for name in ("projection", "gru1", "gru2"):
    print(f"{name:10} {parts[name]:7,} weights, {parts[name] / n_small:3.0%} of {n_small:,}")
assert n_small == 925_068 and parts["gru1"] / n_small < 0.3

# %% [markdown]
# ## Recap
#
# - LipNet is seven layers in a row: three STCNNs, a reshape, two Bi-GRUs, a linear layer. $T$ goes through
#   untouched.
# - 6,638,844 weights, 77 % of them in `gru1`, because it has a weight for every place of every map. 9.07 G
#   multiply-adds a clip, 65 % in `conv2`, because it works on large pictures.
# - One place of the front sees 7 frames and 51 × 51 pixels, most of a mouth; one answer can depend on all
#   75 frames, and does so mostly on the nearest 18.
# - The proof that two models are one: the same weights, the same logits, the same gradients.
# - Sizes written as numbers (3072, 1728) are right for one shape, and survive copying.
# - Padding reaches valid frames through the GRU that runs backwards. Pass lengths.
#
# ## Glossary
#
# | word | meaning |
# |---|---|
# | head | the last layer, from memory to one number for each class |
# | logits | those numbers, before `log_softmax` turns them into log probabilities |
# | multiply-add | one product and its addition to a sum; some count it as two FLOPs |
# | fan-in, fan-out | how many inputs one output sees; how many outputs one input reaches |
# | He's rule | first weights of variance 2 / fan-in, for layers before a ReLU: signals keep their size |
# | pre-activation | the sum in a unit before its sigmoid, tanh or ReLU |
# | checkpoint, state_dict | a file of trained weights; their names and tensors |
# | port | a program rewritten for another language or library |
# | temporal upsampling | giving every frame several times, so that CTC has more room |
#
# ## Sources
#
# - Y. Assael, B. Shillingford, S. Whiteson, N. de Freitas, *LipNet: End-to-End Sentence-level
#   Lipreading*, [arXiv 1611.01599v2](https://arxiv.org/abs/1611.01599): figure 1, Table 2 (13.6 % without
#   language model), Table 3, appendix A.1; the authors' code,
#   [bshillingford/LipNet](https://github.com/bshillingford/LipNet) (`exp/0001.lua`: the constants).
# - The ports to PyTorch: [sailordiary/LipNet-PyTorch](https://github.com/sailordiary/LipNet-PyTorch) and
#   [VIPL-Audio-Visual-Speech-Understanding/LipNet-PyTorch](https://github.com/VIPL-Audio-Visual-Speech-Understanding/LipNet-PyTorch)
#   (13.3 % in its README).
# - The write-up of section 11: "Lipnet的学习理解" (notes on LipNet), a post on CSDN.
# - K. He, X. Zhang, S. Ren, J. Sun, *Delving Deep into Rectifiers*, ICCV 2015. X. Glorot, Y. Bengio,
#   *Understanding the difficulty of training deep feedforward neural networks*, AISTATS 2010.
# - J. Tompson, R. Goroshin, A. Jain, Y. LeCun, C. Bregler, *Efficient Object Localization Using
#   Convolutional Networks*, CVPR 2015 (dropout of whole channels).
# - M. Cooke, J. Barker, S. Cunningham, X. Shao, *An audio-visual corpus for speech perception and automatic
#   speech recognition*, JASA 120(5), 2006 (GRID).
#
# **Next**: notebook 07 makes the clips that it reads; notebook 08 trains it.
