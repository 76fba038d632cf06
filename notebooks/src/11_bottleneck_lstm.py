# %% [markdown]
# # 11 · Bottleneck-LSTM
#
# **You will write the cell that gives a phone's detector a memory, in fifteen lines; follow one frame through
# it arrow by arrow; find a layer that is missing from its authors' sum; and find five bugs that live in public
# versions of it.**
#
# *About 110 minutes to read and solve; all cells together run in about half a minute on one CPU core.*
#
# **You need**: ConvLSTM (notebook 10), the depthwise and the 1 × 1 convolution (notebook 09), the LSTM's gates
# (notebook 03), first weights and fan-in (notebook 06).
#
# **You will be able to**
# - write the Bottleneck-LSTM from its equations and prove that yours is the one in `lessons`;
# - say at every arrow of its forward pass what the tensor is, and what its shape;
# - recompute every cost that the paper prints, and find the one that is wrong;
# - say what "14 times fewer" and "19.6 times fewer" compare, and when the cell saves nothing;
# - tell the four cells apart that bear the name;
# - write a test that sees a missing activation, and choose a forget bias for a length of memory.

# %%
import copy
import math
import time
from itertools import combinations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lessons import figures
from lessons.bottleneck import Conv, separable, weights
from lessons.bottleneck_lstm import VARIANTS, BottleneckLSTM, BottleneckLSTMCell, convolutions, gates_apart
from lessons.checks import agree, check
from lessons.conv_lstm import ConvLSTMCell
from lessons.counting import count
from lessons.data.moving import Scene, moving_clips
from lessons.source import show

# %% [markdown]
# ## 1. Why a ConvLSTM is too dear, and where the answer comes from
#
# The detector of this part has a backbone whose last maps have 1024 channels at 10 × 10 places. Notebook 10's
# ConvLSTM would read them with one 3 × 3 convolution, from the 1024 channels of $x$ and the $D$ of its own
# memory to four gates. **Predict** for a memory of 256 channels: how many weights are that, beside the 4.20
# million of the *whole* MobileNet-SSD detector (Table 5 of the paper)?

# %%
dense = Conv(1024 + 256, 4 * 256, 3)
print(f"ConvLSTM, 1024 -> 256: {dense.weights:,} weights, {dense.weights / 4.20e6:.1f} whole detectors")
assert dense.weights == 9 * (1024 + 256) * 4 * 256 == 11_796_480 and round(dense.weights / 4.20e6, 1) == 2.8

# %% [markdown]
# A memory of 2.8 detectors, for one layer. Mason Liu and Menglong Zhu gave a cell that does it with 601,344.
# The write-up that this course set out from describes it, and introduces it so:
#
# > BottleneckLSTM, from Google's **CVPR 2017** paper *Mobile Video Object Detection with Temporally-Aware
# > Feature Maps*
#
# **Find the slip**, with nothing but the paper's two numbers: its preprint is arXiv 1711.06368, and its DOI
# (the number under which a publisher lists it) is 10.1109/CVPR.2018.00596.

# %%
preprint, doi = "1711.06368", "10.1109/CVPR.2018.00596"
year, month = 2000 + int(preprint[:2]), int(preprint[2:4])  # arXiv numbers begin with year and month
conference, conference_year = doi.split("/")[1].split(".")[:2]
print(f"preprint of {month}/{year}; printed in the proceedings of {conference} {conference_year}")
assert (year, month) == (2017, 11) and (conference, conference_year) == ("CVPR", "2018")

# %% [markdown]
# The preprint is of November 2017, the conference that printed it is CVPR **2018**. Whoever takes a year from
# an arXiv number makes this slip easily. It costs nobody anything; but a source is quoted so that others can
# find it.

# %% [markdown]
# ## 2. The cell, in five lines
#
# The plan: let the gates see something *small*. Input and memory are squeezed into a map of only $D$ channels,
# the **bottleneck** $b$; the gates read $b$ and nothing else. And no convolution both looks around and mixes
# channels (notebook 09). With $\circledast$ for a depthwise 3 × 3 convolution, $W$ for a 1 × 1, $[\cdot,\cdot]$
# for channels side by side:
#
# $$\begin{aligned}
# \tilde x &= d_1 \circledast x && \text{look around} && (B, C, H, W)\\
# b &= \varphi\big(W_b\,[\tilde x, h]\big) && \text{squeeze} && (B, D, H, W)\\
# s &= d_2 \circledast b && \text{look around, once for all gates} && (B, D, H, W)\\
# [i, f, g, o] &= W_g\, s && \text{decide} && (B, 4D, H, W)\\
# c' &= \sigma(f + 1) \odot c + \sigma(i) \odot \varphi(g), &&
#   h' = \sigma(o) \odot \varphi(c') && (B, D, H, W)
# \end{aligned}$$
#
# The last line is an LSTM's, but for $\varphi$, which stands where notebook 03 has $\tanh$. In the code that
# the authors released it is **ReLU6**, $\varphi(z) = \min(\max(z, 0), 6)$. The $+1$ is theirs too. There are
# no biases otherwise. This is the cell of the paper's Table 1; section 9 shows three others that bear its
# name.
#
# What is new beside notebook 10: the ConvLSTM's gates see $x$ and $h$; here they see $b$.
#
# ### Exercise 1 · `bottleneck_lstm_step` · difficulty ★★☆ · 15 minutes
#
# Write the five lines. `F.conv2d(…, groups=g, padding=p)` is all that you need for the convolutions: which $g$
# makes it depthwise, and which $p$ keeps the map's size? The gates come in the order **i, f, g, o**.


# %%
def bottleneck_lstm_step(x, h, c, depthwise, bottleneck, spatial, gates):
    """One frame. x (B, C, H, W), h and c (B, D, H, W) -> the new (h, c).

    depthwise (C, 1, 3, 3), bottleneck (D, C + D, 1, 1), spatial (D, 1, 3, 3), gates (4D, D, 1, 1).
    """
    raise NotImplementedError


check("11.bottleneck_lstm_step", bottleneck_lstm_step)

# %% [markdown]
# <details><summary><b>Help: "Given groups=1, weight of size [5, 1, 3, 3], expected input … to have 1 channels"</b></summary>
#
# A filter that is one channel deep belongs to a depthwise convolution, and torch learns that from `groups`
# alone: `groups` must be the number of channels of the map, C for $x$ and D for $b$.
#
# </details>
#
# <details><summary><b>Help: "Sizes of tensors must match except in dimension 1"</b></summary>
#
# `torch.cat([x, h], dim=1)` needs maps of one size. A 3 × 3 convolution without `padding=1` makes the map two
# rows and two columns smaller, and then $h$ no longer fits beside it.
#
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def bottleneck_lstm_step_solution(x, h, c, depthwise, bottleneck, spatial, gates):
    """The equations, line by line."""
    seen = F.conv2d(x, depthwise, padding=1, groups=x.shape[1])  # (B, C, H, W)
    both = torch.cat([seen, h], dim=1)  # (B, C + D, H, W)
    b = F.relu6(F.conv2d(both, bottleneck))  # (B, D, H, W)
    s = F.conv2d(b, spatial, padding=1, groups=b.shape[1])  # (B, D, H, W)
    i, f, g, o = F.conv2d(s, gates).chunk(4, dim=1)  # (B, D, H, W) each
    c = torch.sigmoid(f + 1) * c + torch.sigmoid(i) * F.relu6(g)
    h = torch.sigmoid(o) * F.relu6(c)
    return h, c


# %%
check("11.bottleneck_lstm_step", bottleneck_lstm_step_solution)

# %% [markdown]
# Seven lines. Is it the cell in `lessons`? Values first, of both results, then the gradient of an arbitrary
# sum of them with respect to everything: the frame, the two memories and the four weights. In double
# precision, where only rounding may differ. A second witness is the same cell with each gate written as a
# convolution of its own:


# %%
def with_gradients(step, cell, inputs):
    """New h and c, and the gradients of all inputs and weights."""
    h, c = step(*inputs)
    above = [torch.randn(h.shape, generator=torch.Generator().manual_seed(k), dtype=h.dtype) for k in (1, 2)]
    return h, c, torch.autograd.grad((h, c), [*inputs, *cell.parameters()], above)


_ = torch.manual_seed(0)
cell = BottleneckLSTMCell(5, 4).double()
inputs = [torch.randn(2, n, 6, 7, dtype=torch.float64, requires_grad=True) for n in (5, 4, 4)]  # x, h, c
*expected, expected_gradients = with_gradients(lambda x, h, c: cell(x, (h, c)), cell, inputs)
for name, step in (
    ("yours", lambda x, h, c: bottleneck_lstm_step_solution(x, h, c, *cell.parameters())),
    ("four gates apart", lambda x, h, c: gates_apart(cell, x, h, c)),
):
    *found, gradients = with_gradients(step, cell, inputs)
    for what, ours, theirs in zip("hc", found, expected, strict=True):
        agree(f"{name}: {what}", ours, theirs, tolerance=1e-12)
    pairs = list(zip(gradients, expected_gradients, strict=True))
    largest = max((a - b).abs().max().item() for a, b in pairs)
    approximate = all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in pairs)
    print(f"{name}: {len(pairs)} gradients, approximate {approximate}, largest difference below 1e-12")
    assert approximate and largest < 1e-12 and len(pairs) == 7

# %%
show(BottleneckLSTMCell.forward)

# %%
show(BottleneckLSTMCell.squeeze)

# %% [markdown]
# ## 3. Following the forward pass
#
# Under the public code of this cell stands the question how one is to follow its forward pass. Let us walk it
# once, at the paper's size: 1024 channels in, a memory of 256, a map of 10 × 10, one clip. Every line of
# `walk` keeps what it has made.


# %%
def walk(cell, x, h, c):
    """Every tensor of one frame, by name, in the order in which it is made."""
    at = {"x": x, "h": h, "c": c}
    at["seen"] = cell.depthwise(x)
    at["both"] = torch.cat([at["seen"], h], dim=1)
    at["b"] = F.relu6(cell.bottleneck(at["both"]))
    at["s"] = cell.spatial(at["b"])
    at["gates"] = cell.gates(at["s"])
    at["i"], at["f"], at["g"], at["o"] = at["gates"].chunk(4, dim=1)
    at["new_c"] = torch.sigmoid(at["f"] + 1) * c + torch.sigmoid(at["i"]) * F.relu6(at["g"])
    at["new_h"] = torch.sigmoid(at["o"]) * F.relu6(at["new_c"])
    return at


_ = torch.manual_seed(0)
paper = BottleneckLSTMCell(1024, 256)
with torch.no_grad():
    x = torch.randn(1, 1024, 10, 10).relu()  # (B, C, H, W), as after a ReLU
    h, c = paper(torch.randn(1, 1024, 10, 10).relu())  # the memory of a frame before: (B, D, H, W) each
    at = walk(paper, x, h, c)
    h_next, c_next = paper(x, (h, c))
agree("the walk's h", at["new_h"], h_next, tolerance=1e-6)
agree("the walk's c", at["new_c"], c_next, tolerance=1e-6)

# %% [markdown]
# **Predict** before you look: which of these tensors has most channels? And which of the four convolutions
# most weights?

# %%
MADE_BY = {
    "seen": ("d₁, depthwise 3 × 3", paper.depthwise),
    "both": ("x̃ and h side by side", None),
    "b": ("1 × 1, then φ", paper.bottleneck),
    "s": ("d₂, depthwise 3 × 3", paper.spatial),
    "gates": ("1 × 1", paper.gates),
    "new_c": ("keep and write", None),
    "new_h": ("show", None),
}
own = {name: 0 if layer is None else layer.weight.numel() for name, (_, layer) in MADE_BY.items()}
for name, (how, _) in MADE_BY.items():
    shape = "×".join(map(str, at[name].shape))
    print(f"{name:6} {how:22} {shape:>12} {own[name]:9,} weights")
print(f"together {sum(own.values()):,} weights")
assert own == dict(seen=9_216, both=0, b=327_680, s=2_304, gates=262_144, new_c=0, new_h=0)
assert sum(own.values()) == 601_344 and max(at, key=lambda name: at[name].shape[1]) == "both"

# %%
figures.cell_diagram(
    {name: tuple(tensor.shape) for name, tensor in at.items()},
    {name: layer.weight.numel() for name, layer in paper.named_children() if name != "update"},
    title="One frame through the Bottleneck-LSTM, with the shapes of a real forward pass",
)

# %% [markdown]
# Read it from the lower left. $x$ is looked at channel by channel, and $h$ is put beside it: 1280 channels,
# the widest the map ever gets. The 1 × 1 with $\varphi$ squeezes these into 256, and **all that is decided
# above is decided from these 256**. A second look around, a 1 × 1 that widens to four times 256, and a cut
# into four. From there on it is the LSTM of notebook 03: along the top runs $c$, multiplied by one number
# and added to, place by place and channel by channel; $h'$ is what of it is shown.
#
# Note where $h$ comes in: late, after the first depthwise convolution. And note that nothing but $c$ and $h$
# goes from frame to frame: they come in as arguments and go out as results. (What happens when a cell *keeps*
# them as attributes, notebook 10 has shown: state of a fixed size, state that leaks into the next video,
# `backward` across an in-place change.)
#
# <details><summary><b>Help: "h has shape (1, 256, 10, 10), expected …: start with no state"</b></summary>
#
# The state belongs to one batch of one video. For another batch size, another size of map or another video
# call the cell with no state: `cell(x)`, or `layer(x, None)`.
#
# </details>
#
# <details><summary><b>Help: "not enough values to unpack" or the state is a tensor</b></summary>
#
# `cell(x, state)` takes the pair `(h, c)` as *one* argument and returns such a pair, as `nn.LSTMCell` does.
# `cell(x, h, c)` is the form of the public ports.
#
# </details>

# %% [markdown]
# ### The same walk, in pictures
#
# Shapes say nothing about what the numbers do. So here is the smallest cell that does something: one channel
# in, a memory of two, its 49 weights set by hand. It watches a film of something dark that drifts and
# vanishes for four frames. Channel 0 of $b$ sees the film, channel 1 sees what was shown before, $h$.
#
# - write ($i$, $g$) where channel 0 is large;
# - keep ($f$) where channel 1 is large;
# - show ($o$) where either is.
#
# **Predict**: what will $h'$ look like in the four frames in which the thing is gone? And behind the thing as
# it moves?

# %%
scene = Scene(objects=(1, 1), noise=0.04, flicker=0, blur=(0, 0), speeds=(1.2, 1.6), contrast=(0.5, 0.5))
clip = moving_clips(1, np.random.default_rng(20), 9, vanish=0.45, burst=3.0, scene=scene)
film = torch.from_numpy(clip.frames[0]).float() / 255  # (T, H, W)
hidden = [t for t in range(9) if clip.visible[0, t, 0] == 0]
darker = film.median(dim=0).values - film  # (T, H, W): how much darker than that pixel mostly is

by_hand = BottleneckLSTMCell(1, 2)
with torch.no_grad():
    for parameter in by_hand.parameters():
        parameter.zero_()
    by_hand.depthwise.weight[:] = 1 / 9  # the mean of nine pixels: less noise
    by_hand.spatial.weight[:, 0, 1, 1] = 1  # each pixel as it is
    by_hand.bottleneck.weight[:, :, 0, 0] = torch.tensor([[6.0, 0, 0], [0, 1, 0]])  # from (x̃, h0, h1)
    by_hand.gates.weight[0, :, 0, 0] = torch.tensor([2.0, 0])  # i of memory 0
    by_hand.gates.weight[2, :, 0, 0] = torch.tensor([0, 1.0])  # f
    by_hand.gates.weight[4, :, 0, 0] = torch.tensor([1.0, 0])  # g
    by_hand.gates.weight[6, :, 0, 0] = torch.tensor([2.0, 1.0])  # o
    state, steps = (torch.zeros(1, 2, 64, 64),) * 2, []
    for frame in darker:
        steps.append(walk(by_hand, frame[None, None], *state))
        state = steps[-1]["new_h"], steps[-1]["new_c"]
print(f"{sum(p.numel() for p in by_hand.parameters())} weights; the thing is gone in frames {hidden}")
assert sum(p.numel() for p in by_hand.parameters()) == 9 + 2 * 3 + 2 * 9 + 8 * 2 == 49

# %%
assert hidden == [4, 5, 6, 7]
views = {
    "film": film,
    "b: the film": [step["b"][0, 0] for step in steps],
    "b: what was shown": [step["b"][0, 1] for step in steps],
    "σ(f + 1)": [torch.sigmoid(step["f"][0, 0] + 1) for step in steps],
    "c′": [step["new_c"][0, 0] for step in steps],
    "h′": [step["new_h"][0, 0] for step in steps],
}
views = {name: torch.stack(list(maps)) for name, maps in views.items()}  # (T, H, W) each
place = views["h′"][3].argmax()  # where most is shown just before the thing goes
seen, shown = (views[name].flatten(1)[:, place] for name in ("b: the film", "h′"))  # (T,)
for t in (3, 4, 7):
    print(f"frame {t}: at that place b sees {seen[t]:.1f} of the film, h′ shows {shown[t]:.1f}")
assert seen[3] > 1 and seen[4:8].max() < 0.1 and shown[7] > 0.9 * shown[3]
figures.film_rows(views, [f"frame {t}" for t in range(9)], title="A cell of 49 weights, set by hand")

# %% [markdown]
# The film is empty for four frames, and $h'$ still shows the 7: what is shown keeps its own forget gate open,
# row "σ(f + 1)", while noise, which is weak, fades at $\sigma(1) = 0.73$ a frame. But look at frame 8: the 7
# has moved on, and $h'$ holds it **where it was last seen**, with a smear of where it had been. Nobody told
# these weights that things move. To carry a memory along, the second depthwise filters must shift what they
# see, and that is what notebook 12 lets them learn.
#
# ## 4. How far does it see?
#
# **Predict**: the middle of $h'$, on how many places of $x$ does it depend, of the old $h$, of the old $c$?
# Then the test: take the gradient of all channels of $h'$ in the middle place, and see where it is not zero.
# (With tanh for $\varphi$, whose slope is nowhere 0, so that no dependence is hidden.)


# %%
def touched(cell):
    """Where x, h and c (9 x 9 places) have a say in the middle of the new h: three maps of 0 and 1."""
    _ = torch.manual_seed(0)
    inputs = [torch.randn(1, n, 9, 9, dtype=torch.float64, requires_grad=True) for n in (6, 4, 4)]
    x, h, c = inputs
    new_h, _ = cell.double()(x, (h, c))
    gradients = torch.autograd.grad(new_h[0, :, 4, 4].sum(), inputs)
    return torch.stack([gradient[0].abs().sum(0) > 0 for gradient in gradients]).float()  # (3, H, W)


CELLS = {"ConvLSTM 3 × 3": ConvLSTMCell(6, 4)}
CELLS |= {f'"{name}"': BottleneckLSTMCell(6, 4, activation="tanh", variant=name) for name in VARIANTS}
maps = {name: touched(cell) for name, cell in CELLS.items()}
for name, three in maps.items():
    sides = [int(one.any(dim=0).sum()) for one in three]
    print(f"{name:15} sees {sides[0]} × {sides[0]} of x, {sides[1]} × {sides[1]} of h, 1 place of c")
    assert sides[2] == 1 and all(int(one.sum()) == side**2 for one, side in zip(three, sides, strict=True))
assert [int(one.sum()) for one in maps["ConvLSTM 3 × 3"]] == [9, 9, 1]
assert [int(one.sum()) for one in maps['"paper"']] == [25, 9, 1]
assert [int(one.sum()) for one in maps['"released"']] == [25, 25, 1]
figures.film_rows(maps, ["of x", "of h", "of c"], title="What the middle of h′ depends on", width=4.6)

# %% [markdown]
# Two depthwise convolutions in a row see 5 × 5 of $x$, where a ConvLSTM of 3 × 3 sees 3 × 3. Of $h$, which
# comes in after the first, the paper's cell sees 3 × 3. Of $c$, its own place alone. So **what is remembered
# can move by one place a frame**, as in the ConvLSTM, and by no more: a thing that crosses two places of the
# map between frames outruns this memory. In "released" and "equation", where $h$ is looked at twice, it may be
# two. (The four names are section 9's.)

# %% [markdown]
# ## 5. Where the weights went
#
# ### Exercise 2 · `cell_weights` · difficulty ★★☆ · 10 minutes
#
# Count the weights of the cell from $C$ and $D$, on paper first. The variants, as Python names them:
#
# - `"paper"`: the equations above;
# - `"blog"`: the same without the first $\varphi$;
# - `"released"`: the first depthwise convolution reads $[x, h]$, not $x$ alone;
# - `"equation"`: as "released", and each of the four gates has a second depthwise convolution of its own
#   (but still one 1 × 1 from its own $D$ channels to $D$).


# %%
def cell_weights(channels, memory, variant="paper"):
    """C, D -> the number of weights of the four convolutions, none of which has a bias."""
    raise NotImplementedError


check("11.cell_weights", cell_weights)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def cell_weights_solution(channels, memory, variant="paper"):
    """Filter by filter: a depthwise one has 9 weights a channel, a 1 × 1 has C · O."""
    both = channels + memory
    first = 9 * (both if variant in ("released", "equation") else channels)
    second = 9 * memory * (4 if variant == "equation" else 1)
    return first + both * memory + second + memory * 4 * memory


# %%
check("11.cell_weights", cell_weights_solution)
CELL = {"depthwise": 9 * 1024, "bottleneck": 1280 * 256, "spatial": 9 * 256, "gates": 256 * 1024}
print(" + ".join(f"{n:,}" for n in CELL.values()), f"= {sum(CELL.values()):,}")
assert sum(CELL.values()) == cell_weights_solution(1024, 256) == 601_344
assert CELL == {name: conv.weights for name, conv in convolutions(1024, 256).items()}

# %% [markdown]
# Against two ways to do the same without a bottleneck: the ConvLSTM of section 1, and one whose 3 × 3
# convolution is replaced by a separable pair (notebook 09), a depthwise 3 × 3 over $[x, h]$ and a 1 × 1 to
# four gates. **Predict** where most of the saving happens: on the way from the first to the second, or from
# the second to the third?

# %%
DESIGNS = {
    "ConvLSTM": [dense],
    "separable": list(separable(1024 + 256, 4 * 256)),
    "Bottleneck-LSTM": list(convolutions(1024, 256).values()),
}


def bars(designs, **options):
    """Every layer a rectangle of its weights, as in notebook 09."""
    blocks = {
        name: [
            (
                ("depthwise " if conv.groups > 1 else "") + f"{conv.kernel_size} × {conv.kernel_size}",
                conv.out_channels,
                conv.in_channels // conv.groups * conv.kernel_size**2,
            )
            for conv in convs
        ]
        for name, convs in designs.items()
    }
    return figures.weight_bars(blocks, kinds=("1 × 1", "3 × 3", "depthwise 3 × 3"), **options)


sums = {name: weights(*convs) for name, convs in DESIGNS.items()}
for name, total in sums.items():
    print(f"{name:16} {total:10,} weights, {sums['ConvLSTM'] / total:5.1f} times fewer than the ConvLSTM")
assert list(sums.values()) == [11_796_480, 1_322_240, 601_344]
assert round(11_796_480 / 1_322_240, 1) == 8.9 and round(1_322_240 / 601_344, 1) == 2.2
bars(DESIGNS, title="1024 channels in, a memory of 256: where the weights go", width=10)

# %% [markdown]
# Nearly nine times is saved by **not** mixing and looking around in one go, which has nothing to do with
# LSTMs. The bottleneck saves another 2.2 times: four gates no longer read 1280 channels each, but 256.

# %% [markdown]
# ## 6. The paper's numbers, recomputed
#
# The paper's Table 3 compares four memories in two sizes of detector. The second has half the channels
# everywhere: a **width multiplier** $\alpha = 0.5$. Weights and multiply-adds of the memory alone:

# %%
#              weights (M) and multiply-adds (M) as printed, at α = 1 and α = .5
PRINTED = {
    "LSTM": ((8.41, 840), (2.11, 135)),
    "GRU": ((6.33, 632), (1.59, 102)),
    "Bottleneck-LSTM": ((0.60, 34), (0.15, 5.6)),
}


def table_3(channels):
    """The convolutions of each memory. The baselines are separable, and as wide as their input."""
    both, memory = 2 * channels, channels // 4
    return {
        "LSTM": separable(both, 4 * channels),
        "GRU": (*separable(both, 2 * channels), *separable(both, channels)),  # r and z; then n
        "Bottleneck-LSTM": tuple(convolutions(channels, memory).values()),
    }


exact = {}
for column, (channels, side) in enumerate(((1024, 10), (512, 8))):
    print(f"from {channels} channels, at {side} × {side} places")
    for name, convs in table_3(channels).items():
        printed_weights, printed_work = PRINTED[name][column]
        exact[name, column] = found = weights(*convs)
        assert found == sum(conv.build().weight.numel() for conv in convs)  # of the real layers
        assert round(found / 1e6, 2) == printed_weights
        work = found * side * side / 1e6
        print(f"  {name:16} {found:9,} weights ({printed_weights:.2f} M printed)", end="")
        print(f"  {work:6.1f} M multiply-adds ({printed_work} M printed)")
assert [exact[name, 0] for name in PRINTED] == [8_407_040, 6_328_320, 601_344]
assert [exact[name, 1] for name in PRINTED] == [2_106_368, 1_591_296, 153_216]

# %% [markdown]
# All six weights come out to the digit. So do four of the six multiply-adds (two of them are cut off, not
# rounded: 840.7 became 840). **The other two do not.** For its own cell the paper prints 34 and 5.6 million,
# and we get 60.1 and 9.8. Before we accuse anybody: two independent counters, on the real module.

# %%
import torchinfo

for channels, memory, side, expected in ((1024, 256, 10, 60_134_400), (512, 128, 8, 9_805_824)):
    module, frame = BottleneckLSTMCell(channels, memory), torch.randn(1, channels, side, side)  # (B, C, H, W)
    ours, theirs = count(module, frame), torchinfo.summary(module, input_data=[frame], verbose=0)
    assert ours.weights == theirs.total_params == cell_weights_solution(channels, memory)
    assert ours.multiply_adds == theirs.total_mult_adds == expected
    print(f"{channels} -> {memory}: {ours.weights:,} weights, {expected:,} multiply-adds: all agree")
print(count(paper, torch.randn(1, 1024, 10, 10)))

# %% [markdown]
# ### Exercise 3 · `explanations` · difficulty ★★☆ · 12 minutes
#
# A printed sum is too small. Which layers were left out of it? Write the detective: given each layer's
# multiply-adds, the printed figure in millions and how many digits it has behind the point, return **every
# set of layers** without which the rest, in millions and rounded to those digits, is the printed figure. The
# empty set counts too. (Four layers have only sixteen sets. `itertools.combinations` is imported.)


# %%
def explanations(costs, printed, digits):
    """costs: name -> multiply-adds. Returns a list of sets of names."""
    raise NotImplementedError


check("11.explanations", explanations)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def explanations_solution(costs, printed, digits):
    """Try all sets, from the empty one to the whole."""
    found = []
    for size in range(len(costs) + 1):
        for names in combinations(costs, size):
            left = sum(cost for name, cost in costs.items() if name not in names)
            if round(left / 1e6, digits) == printed:
                found.append(set(names))
    return found


# %%
check("11.explanations", explanations_solution)
suspects = []
for channels, memory, side, printed, digits in ((1024, 256, 10, 34, 0), (512, 128, 8, 5.6, 1)):
    costs = {name: conv.multiply_adds(side, side) for name, conv in convolutions(channels, memory).items()}
    sets = explanations_solution(costs, printed, digits)
    suspects.append({frozenset(names) for names in sets})
    print(f"{printed} M: " + ", or ".join(" and ".join(sorted(names)) + " left out" for names in sets))
both_columns = set.intersection(*suspects)
print("in both columns:", *(" and ".join(names) for names in both_columns))
assert suspects[0] == {frozenset({"gates"}), frozenset({"gates", "spatial"})}
assert suspects[1] == both_columns == {frozenset({"gates"})}

# %%
without = [(60_134_400 - 262_144 * 100) / 1e6, (9_805_824 - 65_536 * 64) / 1e6]
second = weights(*convolutions(256, 256).values()) * 100 / 1e9  # another cell, 256 -> 256, after the first
print(f"without the last 1 × 1: {without[0]:.2f} M and {without[1]:.2f} M (printed: 34 and 5.6)")
print(f"a second cell, counted whole: {second:.3f} G; Table 4 prints 1.16 - 1.12 = {1.16 - 1.12:.2f} G")
assert [round(number, 2) for number in without] == [33.92, 5.61] and round(second, 2) == 0.04

# %% [markdown]
# One set explains both figures: **the last 1 × 1, from $b$ to the four gates, is missing from the sum.** It has
# 44 % of the weights. That it was forgotten is my inference, not the authors' word; the arithmetic is firm:
# their Table 1 lists the layer, their count of weights includes it, and in their Table 4 a second cell is
# counted whole.
#
# Should it shake your trust in the paper? Not in its cell. In any table of costs, a little, and in mine as
# well: count.

# %%
share = CELL["gates"] / sum(CELL.values())
print(f"the layer left out: {share:.0%} of the weights, and so of the multiply-adds")
assert round(100 * share) == 44

# %% [markdown]
# ## 7. Fourteen times, nineteen times, twenty-five times
#
# "The Bottleneck-LSTM needs … times fewer multiply-adds than an LSTM." You will find several numbers in that
# place. All of them are right about *something*. **Predict**: the paper's LSTM has 8,407,040 weights and the
# cell 601,344. How much of the difference is the bottleneck?

# %%
cost = {
    ("separable", 1024): weights(*separable(2048, 4096)),
    ("separable", 256): weights(*separable(1280, 1024)),
    ("bottleneck", 1024): weights(*convolutions(1024, 1024).values()),
    ("bottleneck", 256): weights(*convolutions(1024, 256).values()),
}
lstm, narrow, wide, ours = cost.values()
for what, ratio in {
    "as printed, 840 M against 34 M": 840 / 34,
    "recomputed": lstm / ours,
    "   first narrow the memory, 1024 -> 256": lstm / narrow,
    "   then add the bottleneck": narrow / ours,
    "   or first the bottleneck": lstm / wide,
    "   then narrow the memory": wide / ours,
    "dense ConvLSTM of the same 256": dense.weights / ours,
}.items():
    print(f"{what:41} {ratio:5.1f} times")
assert [round(r, 1) for r in (840 / 34, lstm / ours, dense.weights / ours)] == [24.7, 14.0, 19.6]
assert [round(r, 1) for r in (lstm / narrow, narrow / ours, lstm / wide, wide / ours)] == [6.4, 2.2, 1.3, 10.5]

# %% [markdown]
# - **24.7**: as the table prints it, with the missing layer.
# - **14.0**: the same two cells, counted in full. But the paper's LSTM has a memory of 1024 channels and its
#   Bottleneck-LSTM one of 256. Most of the 14 is that: a memory a quarter as wide.
# - **19.6**: against notebook 10's ConvLSTM, dense, with the *same* memory of 256.
#
# And the bottleneck itself? At a memory of 256 channels it saves 2.2 times, at 1024 only 1.3 times. That is no
# trick of the order: $6.4 \cdot 2.2 = 1.3 \cdot 10.5 = 14.0$. Narrowing and squeezing help each other, and no
# single number is "the" share of the bottleneck. When you read "$n$ times fewer", ask: **fewer than what, at
# the same width of what?**
#
# (Is the narrower memory worse? The paper finds an accuracy, mAP, of 53.5 for the LSTM and 53.5 for its cell at
# $\alpha = 1$, but 43.3 against 42.8 at $\alpha = 0.5$; and the GRU is ahead of both, 54.0 and 44.5. Table 3.)

# %% [markdown]
# ## 8. When does it save nothing?
#
# A bottleneck squeezes $C + D$ channels into $D$. If $D$ is large beside $C$, there is nothing to squeeze, and
# the extra layer is only extra. **Predict** for $C = 64$: at which width $D$ of the memory does the cell become
# dearer than a separable ConvLSTM of the same width?
#
# Subtract the sums and divide by $D$. A separable ConvLSTM has $9(C+D) + 4(C+D)D$ weights. The released cell
# has $9(C+D) + (C+D)D + 9D + 4D^2$. The first is larger exactly if $3(C+D)D > 9D + 4D^2$, that is, if
#
# $$D + 9 < 3C$$
#
# For the cell of Table 1, which saves the $9D$ of a depthwise convolution over $h$, the 9 drops out: $D < 3C$.
# (The paper writes $M$ for $C$ and $N$ for $D$: $N + 9 < 3M$. A comment in the released code says it in words:
# unless the input has less than a third of the state's channels.) Exactly? Try every pair up to 100, and some
# thousands of large ones:

# %%
rng = np.random.default_rng(0)
pairs = [(c, d) for c in range(1, 101) for d in range(1, 101)]
pairs += [tuple(pair) for pair in rng.integers(1, 5000, (5000, 2)).tolist()]
pairs += [(c, 3 * c - k) for c in range(4, 1000) for k in range(12)]  # close to the border
cheaper = {variant: [] for variant in ("released", "paper")}
for c, d in pairs:
    lstm_weights = 9 * (c + d) + 4 * (c + d) * d
    for variant, found in cheaper.items():
        found.append(cell_weights_solution(c, d, variant) < lstm_weights)
assert cheaper["released"] == [d + 9 < 3 * c for c, d in pairs]
assert cheaper["paper"] == [d < 3 * c for c, d in pairs]
print(f"{len(pairs):,} pairs: released cheaper exactly if D + 9 < 3C, Table 1's cell exactly if D < 3C")
print(f"C = 64: cheaper up to D = {max(d for d in range(1, 999) if d + 9 < 3 * 64)} (released),", end=" ")
print(f"{max(d for d in range(1, 999) if d < 3 * 64)} (Table 1)")
assert len(pairs) == 26_952


# %%
def compare(channels, memory):
    """Weights over the width of the memory, from so many channels in."""
    ds = np.union1d(np.unique(np.geomspace(8, 8192, 60).round().astype(int)), [memory])
    costs = {
        "ConvLSTM": [Conv(channels + d, 4 * d, 3).weights for d in ds.tolist()],
        "separable": [weights(*separable(channels + d, 4 * d)) for d in ds.tolist()],
        "Bottleneck-LSTM": [cell_weights_solution(channels, d) for d in ds.tolist()],
    }
    at_memory = [values[ds.tolist().index(memory)] for values in costs.values()]
    return figures.break_even(
        ds,
        costs,
        line=3 * channels,
        line_label=f"D = 3C = {3 * channels:,}",
        at=memory,
        xlabel="D, channels of the memory",
        title=f"From C = {channels} channels to D = {memory}: {at_memory[1] / at_memory[2]:.2f} times fewer "
        "weights than separable",
        width=8.5,
    )


compare(1024, 256)

# %% [markdown]
# To the left of the dashed line green is below orange, to the right above; the axes go in powers of ten, and
# the two never differ by more than a factor of four, which is where they start on the far left. Blue is nine
# times higher throughout: that is the price of a dense 3 × 3. Slide $C$ and $D$:

# %% tags=["nbval-ignore-output"]
# output not compared: the slider is a widget, which lives only while the notebook runs
from ipywidgets import interact


@interact(channels=(64, 1024, 64), memory=(64, 4096, 64))
def slide(channels=64, memory=192):
    return compare(channels, memory)


# %% [markdown]
# ## 9. Four cells of one name
#
# The name stands on four different cells, and `lessons` has all of them, so that they can be compared:
#
# | `variant=` | whose | first depthwise reads | φ after the bottleneck | second depthwise |
# |---|---|---|---|---|
# | `"paper"` | Table 1 of the paper | $x$ | yes | one for all gates |
# | `"equation"` | its equation 4, which counts the cost | $[x, h]$ | yes | one for each gate |
# | `"released"` | the authors' code | $[x, h]$ | yes | one for all gates |
# | `"blog"` | our write-up, and ports to PyTorch | $x$ | **no** | one for all gates |
#
# **Predict**: which has most weights, and by how many per cent more than the least?

# %%
by_variant = {name: cell_weights_solution(1024, 256, name) for name in VARIANTS}
for name, total in by_variant.items():
    print(f"{name:9} {total:,} weights, {total / by_variant['paper'] - 1:+.1%}")
assert by_variant == {"paper": 601_344, "equation": 610_560, "released": 603_648, "blog": 601_344}
assert round(100 * (610_560 / 601_344 - 1), 1) == 1.5

# %% [markdown]
# Nothing to choose by cost. But are they different *functions*? Three of them are a family, each a special case
# of the next. Give "released" filters over $h$ that are 1 in the middle and 0 around: it does not look around
# in $h$ any more, and must be "paper". Give "equation" four times the same second filters, and it must be
# "released". "blog" is another matter: with the same weights its bottleneck differs by the $\varphi$.

# %%
_ = torch.manual_seed(0)
cells = {name: BottleneckLSTMCell(5, 4, variant=name).double() for name in VARIANTS}
with torch.no_grad():
    spot = torch.zeros(4, 1, 3, 3, dtype=torch.float64)
    spot[:, :, 1, 1] = 1  # h as it is
    cells["released"].load_state_dict(
        cells["paper"].state_dict()
        | {"depthwise.weight": torch.cat([cells["paper"].depthwise.weight, spot])}  # (C + D, 1, 3, 3)
    )
    cells["equation"].load_state_dict(
        cells["released"].state_dict()
        | {"spatial.weight": cells["released"].spatial.weight.repeat(4, 1, 1, 1)}  # (4D, 1, 3, 3)
    )
    cells["blog"].load_state_dict(cells["paper"].state_dict())
    x, h, c = (torch.randn(2, n, 6, 7, dtype=torch.float64) for n in (5, 4, 4))
    out = {name: torch.stack(cell(x, (h, c))) for name, cell in cells.items()}  # (2, B, D, H, W)
    agree("released, not looking around in h, is paper", out["released"], out["paper"])
    agree("equation, with four equal filters, is released", out["equation"], out["released"])
    agree("φ of blog's bottleneck is paper's", F.relu6(cells["blog"].squeeze(x, h)), cells["paper"].squeeze(x, h))
    apart = (out["blog"] - out["paper"]).abs().max().item()
print(f"blog against paper: off by up to {apart:.1f}")
assert apart > 1

# %% [markdown]
# Which one is "the" Bottleneck-LSTM? Figures, tables, equations and code of one paper differ here, and the
# accuracies in its tables do not tell which of them was trained. We take Table 1, the one whose weights are
# the printed ones to the digit (the others would be printed 0.60 and 0.61).
