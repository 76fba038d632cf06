# %% [markdown]
# # 12 · ConvLSTM
#
# **You will give an LSTM a memory that is a picture, prove that it is still an LSTM, and watch that memory
# follow a thing that nobody can see any more.**
#
# *About 110 minutes to read and solve; all cells together run in about a minute on one CPU core.*
#
# **You need**: the LSTM and its gates (notebook 03), convolution, padding and receptive fields (notebook 02),
# weights against multiply-adds (notebook 11).
#
# **You will be able to**
# - say what a recurrent layer on flattened pictures cannot know, and what that costs in weights;
# - write a ConvLSTM cell from its equations, with and without peepholes, and prove it against `nn.LSTMCell`;
# - say how far a memory sees, and how fast a thing may move before its memory loses it;
# - carry state through streams in which videos begin and end, and train on films of any length;
# - find four defects of recurrent code that live in public repositories, each by a test of a few lines.

# %%
import copy
import itertools
import math
from dataclasses import replace
from textwrap import shorten

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm.auto import tqdm

import lessons
from lessons import figures
from lessons.checks import agree, check
from lessons.data.synthetic.moving import Scene, moving_clips
from lessons.layers import ConvGRUCell, ConvLSTM, ConvLSTMCell, gru
from lessons.layers.conv_lstm import LSTMUpdate, OverFrames
from lessons.measure.counting import count
from lessons.source import show

# %% [markdown]
# ## 1. A list does not know its neighbors
#
# A thing moves through a small picture. Our films in this notebook have one thing, a shape or a digit, and
# 24 × 24 pixels.

# %%
SCENE = Scene(
    size=(24, 24), objects=(1, 1), heights=(5, 7), speeds=(0.8, 2.0), contrast=(0.35, 0.5), noise=0.05,
    flicker=0.02, blur=(0, 0.3),
)  # fmt: skip


def pixels(clips):
    """Bytes (N, T, H, W) -> floats around 0, (T, N, 1, H, W): time first, one channel."""
    return (torch.from_numpy(clips.frames).float().transpose(0, 1)[:, :, None] - 128) / 64


still = replace(SCENE, noise=0, flicker=0, size=(24, 30))
clean = moving_clips(40, np.random.default_rng(1), 12, scene=still)
wide = pixels(clean)  # (12, 40, 1, 24, 30)
wide = wide - wide.mean(dim=(0, 2, 3, 4), keepdim=True)  # each film around its own mean (notebook 01)
films, shifted = wide[..., :24], wide[..., 6:]  # (12, 40, 1, 24, 24): the camera turned by 6 pixels
print(f"{films.shape[1]} films of {films.shape[0]} frames, {films[0, 0].numel()} numbers a frame")

# %% [markdown]
# The LSTM of notebook 03 reads a **list** of $F$ numbers each frame. A picture becomes a list by flattening:
# row after row, $F = 24 \cdot 24 = 576$. Two questions. **Predict** both answers:
#
# 1. Throw the 576 pixels into another order, the same for every frame and film. How much harder is the film
#    to read for an LSTM?
# 2. Turn the camera by 6 pixels. How much does the LSTM's memory of the film change? Compare with the change
#    when you show it *another film*.

# %%
_ = torch.manual_seed(0)
lstm = nn.LSTM(576, 64).double()
order = torch.randperm(576)  # (F,)


def memory_of(network, x):
    """The memory h after the last frame: x (T, B, F) -> (B, D)."""
    return network(x)[1][0][0].detach()


lists = films.flatten(2).double()  # (T, B, F)
reordered = copy.deepcopy(lstm)
reordered.weight_ih_l0.data = lstm.weight_ih_l0.data[:, order]  # the columns in the same new order
agree("shuffled film, shuffled columns", memory_of(reordered, lists[..., order]), memory_of(lstm, lists))

here, there = memory_of(lstm, lists), memory_of(lstm, shifted.flatten(2).double())  # (B, D)
turned = (here - there).norm(dim=1).mean()
others = torch.pdist(here).mean()
print(f"the camera turned by 6 pixels moves the memory by {turned / others:.1f} of what another film does")
assert 0.6 * others < turned
figures.clip_rows(
    {
        "the film": films[::2, 0, 0],
        "pixels shuffled": lists[::2, 0, order].unflatten(1, (24, 24)),
        "camera turned": shifted[::2, 0, 0],
    },
    [f"frame {t}" for t in range(0, 12, 2)],
    title="For an LSTM on lists the second film is as good as the first, and the third a different one",
)

# %% [markdown]
# 1. **Not at all harder.** To every LSTM that reads the film belongs one that reads the shuffled film just as
#    well: the columns of its matrix in the new order. torch draws all columns alike, so it starts with the
#    one as likely as with the other. That two pixels are neighbors is nowhere in it.
# 2. Nearly as much: a film that is moved a little is **another film**. What the LSTM has learned about a
#    thing in the middle says nothing about the same thing at the border; it must learn every place anew.
#
# And it is dear. Suppose the memory is to be as large as the picture, one number for each pixel:

# %%
flat = sum(p.numel() for p in nn.LSTM(576, 576, device="meta").parameters())
conv = sum(p.numel() for p in ConvLSTM(1, 1, 3).parameters())
print(f"LSTM from 576 pixels to a memory of 576: {flat:,} weights")
print(f"what this notebook builds, from a picture to a picture of memory: {conv} weights")
assert flat == 4 * 576 * (576 + 576 + 2) == 2_658_816 and conv == 4 * 9 * 2 + 4 == 76

# %% [markdown]
# (Nobody would use a memory of one channel; but 16 channels are only a few thousand weights.) Notebook 02
# met both troubles in a single picture, and answered with convolution: look at neighbors, and use the same
# filter everywhere. Do the same to the LSTM.

# %% [markdown]
# ## 2. Gates that are convolutions
#
# Replace every product with a matrix by a convolution, $*$. The state $h, c$ becomes a stack of $D$ maps, as
# large as the input's. So do the gates: each **place** now has its own $i, f, o$, made from what its
# neighborhood shows and remembers (Shi et al. 2015):
#
# $$\begin{aligned}
# i &= \sigma(W_i * x + U_i * h + b_i) && f = \sigma(W_f * x + U_f * h + b_f)\\
# g &= \tanh(W_g * x + U_g * h + b_g) && o = \sigma(W_o * x + U_o * h + b_o)\\
# c' &= f \odot c + i \odot g && h' = o \odot \tanh(c')
# \end{aligned}$$
#
# This is a **ConvLSTM**. Shapes: $x$ is $(B, C, H, W)$, all else $(B, D, H, W)$.
#
# Eight convolutions? One. $W * x + U * h$ is one convolution of $x$ and $h$ laid side by side as channels,
# `torch.cat([x, h], dim=1)`, with the two weights side by side as well. And four gates are $4D$ output
# channels, in torch's order **i, f, g, o**. So there is one weight, $(4D,\, C + D,\, k,\, k)$, and one bias.
#
# ### Exercise 1 · `conv_lstm_step` · difficulty ★★☆ · 12 minutes
#
# One frame. `tensor.chunk(4, dim=1)` cuts channels into four. The map must keep its size, for any odd $k$.


# %%
def conv_lstm_step(x, h, c, weight, bias):
    """x (B, C, H, W), h and c (B, D, H, W), weight (4D, C + D, k, k), bias (4D,) -> the new (h, c)."""
    raise NotImplementedError


check("12.conv_lstm_step", conv_lstm_step)

# %% [markdown]
# <details><summary><b>Help: "Sizes of tensors must match except in dimension 1"</b></summary>
#
# `torch.cat([x, h], dim=1)` lays channels side by side; batch, rows and columns must be equal. If the rows
# differ by 2, the last step's convolution had no padding: a kernel of $k$ needs `padding=k // 2`. If the
# batch differs, the state is that of another batch: see section 7.
#
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def conv_lstm_step_solution(x, h, c, weight, bias):
    """The equations, line by line."""
    xh = torch.cat([x, h], dim=1)  # (B, C + D, H, W)
    gates = F.conv2d(xh, weight, bias, padding=weight.shape[-1] // 2)  # (B, 4D, H, W)
    i, f, g, o = gates.chunk(4, dim=1)  # (B, D, H, W) each
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return h, c


# %%
check("12.conv_lstm_step", conv_lstm_step_solution)

# %% [markdown]
# ### Is it still an LSTM?
#
# With a kernel of $1 \times 1$ no place sees another, and notebook 11 proved that such a convolution is a
# linear layer at every pixel. So each place must be an LSTM by itself. Against `nn.LSTMCell`, values and
# gradients; then the same with $3 \times 3$ against the package's cell:


# %%
def same(name, ours, theirs, inputs):
    """Values and gradients of two results (h, c) agree; the gradient from above is random."""
    agree(f"{name}, values", torch.stack(ours), torch.stack(theirs), tolerance=1e-12)
    above = torch.randn(2, *theirs[0].shape, generator=torch.Generator().manual_seed(1)).double()
    gradients = [torch.autograd.grad((torch.stack(y) * above).sum(), inputs) for y in (ours, theirs)]
    largest = max((a - b).abs().max().item() for a, b in zip(*gradients, strict=True))
    approximate = all(torch.allclose(a, b) for a, b in zip(*gradients, strict=True))
    print(f"{name}, {len(inputs)} gradients: approximate {approximate}, largest difference below 1e-12")
    assert approximate and largest < 1e-12


_ = torch.manual_seed(0)
x = torch.randn(2, 5, 6, 7).double().requires_grad_()  # (B, C, H, W)
h, c = (torch.randn(2, 4, 6, 7).double().requires_grad_() for _ in range(2))  # (B, D, H, W)
cell = nn.LSTMCell(5, 4).double()
weight = torch.cat([cell.weight_ih, cell.weight_hh], dim=1)[:, :, None, None]  # (4D, C + D, 1, 1)
ours = conv_lstm_step_solution(x, h, c, weight, cell.bias_ih + cell.bias_hh)

rows = [t.permute(0, 2, 3, 1).flatten(0, 2) for t in (x, h, c)]  # (B, ·, H, W) -> (BHW, ·): places as a batch
theirs = cell(rows[0], (rows[1], rows[2]))  # (BHW, D) each
theirs = tuple(t.unflatten(0, (2, 6, 7)).permute(0, 3, 1, 2) for t in theirs)  # (B, D, H, W)
same("1 x 1 against nn.LSTMCell", ours, theirs, [x, h, c, *cell.parameters()])

package = ConvLSTMCell(5, 4, 3).double()
ours = conv_lstm_step_solution(x, h, c, package.gates.weight, package.gates.bias)
same("3 x 3 against lessons.layers.conv_lstm", ours, package(x, (h, c)), [x, h, c, *package.parameters()])

# %% [markdown]
# ### Count it
#
# One convolution from $C + D$ channels to $4D$, at every place of the map:
#
# $$\text{weights} = 4D\,(C + D)\,k^2 \;(+\,4D \text{ biases}), \qquad
#   \text{multiply-adds a frame} = 4D\,(C + D)\,k^2 \cdot HW$$
#
# The map's size is in the second and not in the first. **Predict**: what happens to both when the map's sides
# double? And what does the flattened LSTM's count of weights do?

# %%
for side in (12, 24):
    cost = count(ConvLSTMCell(8, 10, 3), torch.zeros(1, 8, side, side))
    listed = 4 * 10 * side**2 * (8 * side**2 + 10 * side**2 + 2)  # memory and input as lists
    print(
        f"{side} x {side}: {cost.weights:,} weights, {cost.multiply_adds:9,} multiply-adds a frame;", end=" "
    )
    print(f"an LSTM on lists: {listed / 1e6:,.0f} M weights")
    assert cost.weights == 4 * 10 * 18 * 9 + 40 == 6_520 and cost.multiply_adds == 6_480 * side**2
    assert round(listed / 1e6) == {12: 15, 24: 239}[side]

# %% [markdown]
# The same weights, four times the work: it is a convolution. The list needs sixteen times the weights. (When
# $C = 1024$, $9 \cdot 4D(C + D)$ is a lot for a phone all the same. Notebook 13 is about that.)

# %% [markdown]
# ## 3. Move the film, and the memory moves along
#
# Section 1 again, now with a ConvLSTM. Film of 9 frames, moved down by 2 places and right by 3; `torch.roll`
# pushes what leaves on one side in at the other. **Predict**: is the memory of the moved film the moved
# memory? Everywhere?

# %%
_ = torch.manual_seed(0)
network = ConvLSTM(1, 6, 3).double()
x = torch.randn(9, 1, 1, 26, 26).double()  # (T, B, C, H, W)


def moved(maps):
    return torch.roll(maps, (2, 3), dims=(-2, -1))


with torch.no_grad():
    gap = (network(moved(x))[0] - moved(network(x)[0])).abs().amax((1, 2))  # (T, H, W)
equal = gap < 1e-12  # (T, H, W)
inner = [int(equal[t, 2 + t + 1 : 25 - t, 3 + t + 1 : 25 - t].all()) for t in range(9)]
print(f"places with equal memory: {int(equal[0].sum())} of {26 * 26} after one frame,", end=" ")
print(f"{int(equal[8].sum())} after nine")
assert all(inner) and equal[0].sum() == 22 * 22 and equal[8].sum() == 6 * 5
figures.state_maps(
    {"difference": (gap[::2].clamp(min=1e-12).log10() + 12)},
    [f"after {t + 1} frame{'s' if t else ''}" for t in range(0, 9, 2)],
    title="Moved film's memory against moved memory: white is equal (powers of ten)",
    width=8.0,
)

# %% [markdown]
# Yes, exactly, wherever the border has not been heard of. This is **translation equivariance**: move the
# input, and the output moves along. What it has learned at one place holds at every place. At the border it
# fails, and must: the padding's zeros do not move with the film, and at the seam of the roll pixels have new
# neighbors. (The white stripe after one frame lies beyond the seam, where no neighbor has changed yet.)
# And look at how the difference spreads: **one place a frame** from each side, for the memory of
# each frame reads its neighbors' memory. Keep that speed in mind for section 6.

# %% [markdown]
# ## 4. Peepholes
#
# In the equations above the gates see $x$ and $h$. They do not see $c$, the memory that they rule, except for
# what the output gate lets out: $h = o \odot \tanh(c)$. Where that gate is shut, no gate knows what stands
# behind it. **Peepholes** let the gates look at $c$ itself. This is the form of Shi et al., their equation 3:
#
# $$\begin{aligned}
# i &= \sigma(W_i * x + U_i * h + w_i \odot c + b_i)\\
# f &= \sigma(W_f * x + U_f * h + w_f \odot c + b_f)\\
# c' &= f \odot c + i \odot \tanh(W_g * x + U_g * h + b_g)\\
# o &= \sigma(W_o * x + U_o * h + w_o \odot c' + b_o)
# \end{aligned}$$
#
# Mind the primes. $i$ and $f$ decide what becomes of the **old** $c$, so they see it; $o$ decides what to
# show of the **new** one, so it sees $c'$. The candidate sees neither. And it is $\odot$, not $*$: a product
# number by number (the **Hadamard product**). A place looks only at itself, a channel only at itself.
#
# ### Exercise 2 · `with_peepholes` · difficulty ★★☆ · 10 minutes
#
# The second half of a cell: from the sums inside the gates (before $\sigma$ and tanh, without peepholes) and
# the old $c$ to the new state. The three $w$ are $(D, H, W)$, or $(D, 1, 1)$, as you will see below; torch
# stretches both over the batch.


# %%
def with_peepholes(gates, c, w_i, w_f, w_o):
    """gates (B, 4D, H, W) in the order i, f, g, o; c (B, D, H, W); w (D, H, W) or (D, 1, 1) -> (h, c)."""
    raise NotImplementedError


check("12.with_peepholes", with_peepholes)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def with_peepholes_solution(gates, c, w_i, w_f, w_o):
    """i and f see the old c, o sees the new one."""
    i, f, g, o = gates.chunk(4, dim=1)  # (B, D, H, W) each
    i = torch.sigmoid(i + w_i * c)
    f = torch.sigmoid(f + w_f * c)
    c = f * c + i * torch.tanh(g)
    o = torch.sigmoid(o + w_o * c)
    return o * torch.tanh(c), c


# %%
check("12.with_peepholes", with_peepholes_solution)
_ = torch.manual_seed(0)
update = LSTMUpdate(4, peepholes=True).double()
gates, c = (torch.randn(2, n, 6, 7).double().requires_grad_() for n in (16, 4))  # (B, 4D, H, W), (B, D, H, W)
peepholes = list(update.parameters())  # of i, f and o, (D, 1, 1) each
for w in peepholes:
    w.data.normal_()
ours = with_peepholes_solution(gates, c, *peepholes)
same("peepholes against lessons.layers.conv_lstm", ours, update(gates, c), [gates, c, *peepholes])

# %% [markdown]
# ### What a number for each place costs
#
# In the paper each $w$ is as large as the state, $(D, H, W)$. Count, for the cell that we shall train (8
# channels to 10, maps of 12 × 12), and for the size of notebook 13 (1024 channels to 256, maps of 10 × 10):

# %%
for C, D, side in ((8, 10, 12), (1024, 256, 10)):
    convolution, each_place, each_channel = 4 * D * (C + D) * 9, 3 * D * side**2, 3 * D
    print(f"D = {D}: convolution {convolution:,}, peepholes {each_place:,} for each place,", end=" ")
    print(f"{each_channel} for each channel")
    assert (convolution, each_place, each_channel) in ((6_480, 4_320, 30), (11_796_480, 76_800, 768))

x = torch.randn(2, 1, 8, 12, 12)  # (T, B, C, H, W)
_ = torch.manual_seed(0)
gates_of = nn.Conv2d(8 + 10, 40, 3, padding=1)


def two_frames(x, peephole):
    """h after two frames, all three peepholes the same (B, D, H, W)."""
    h = c = torch.zeros(1, 10, *x.shape[-2:])
    for frame in x:
        h, c = with_peepholes_solution(gates_of(torch.cat([frame, h], dim=1)), c, *[peephole] * 3)
    return h.detach()


for name, w in (("for each place", torch.randn(10, 12, 12)), ("for each channel", torch.randn(10, 1, 1))):
    gap = (two_frames(moved(x), w) - moved(two_frames(x, w))).abs()[..., 5:-3, 6:-3].max().item()
    print(f"{name}: away from the border, moved film against moved memory:", end=" ")
    print("equal" if gap < 1e-6 else "different")
    assert (gap < 1e-6) == (name == "for each channel") and (gap < 1e-6 or gap > 0.01)
try:
    two_frames(torch.randn(2, 1, 8, 10, 10), torch.randn(10, 12, 12))
except RuntimeError as error:
    print("on a map of 10 x 10:", error)
else:
    raise AssertionError("peepholes for each place fitted another map")

# %% [markdown]
# A number for each place has three prices. It is many weights in a small network: two thirds as many again as
# the convolution. It **ties the cell to one size of map**. And it gives up what section 3 won, for the same
# sight is now weighed differently at every place. (If your camera never moves, that may be what you want: the
# sky is always on top.) `lessons.layers.conv_lstm` takes one number for each channel, which keeps any map and
# equivariance, and can no longer tell places apart. Both start at 0: a new cell does not use them.

# %% [markdown]
# ## 5. How long a spot stays
#
# A map of memory, one spot written at frame 0, then nothing. With weights of 0 and $b_f$ for the forget
# gate, the candidate is $\tanh 0 = 0$, so nothing is written, and each frame multiplies the spot by
# $\sigma(b_f)$. **Predict**: how much is left after 10 frames with
# $b_f = 0$, around which torch draws the biases of an LSTM? With 1? With 3?

# %%
spot = torch.zeros(1, 1, 9, 9)  # (B, D, H, W)
spot[0, 0, 3:6, 3:6] = torch.tensor([[0.4, 0.7, 0.4], [0.7, 1.0, 0.7], [0.4, 0.7, 0.4]])
fading = {}
for bias in (0, 1, 3):
    cell = ConvLSTMCell(1, 1, forget_bias=float(bias))
    for parameter in cell.parameters():
        _ = parameter.data.zero_()
    state, seen = (torch.zeros_like(spot), spot), [spot]
    for _ in range(10):
        state = cell(torch.zeros(1, 1, 9, 9), state)
        seen.append(state[1])
    fading[f"bias {bias}"] = torch.cat(seen).detach()[:, 0]  # (11, H, W)
    left = fading[f"bias {bias}"][-1, 4, 4].item()
    print(f"bias {bias}: {1 / (1 + math.exp(-bias)):.2f} a frame, {left:.3f} of the spot after 10 frames")
    assert math.isclose(left, (1 / (1 + math.exp(-bias))) ** 10, rel_tol=1e-5)
    assert f"{left:.3f}" == {0: "0.001", 1: "0.044", 3: "0.615"}[bias]
assert round((1 / (1 + math.exp(-1))) ** 10 / 0.5**10) == 45
figures.state_maps(
    {name: film[::2] for name, film in fading.items()},
    [f"frame {t}" for t in range(0, 11, 2)],
    title="The memory c of a spot seen at frame 0",
    width=7.5,
)

# %% [markdown]
# 45 times as much is left with a **forget bias** of 1. Notebook 03 said why: a gate is a place where memory
# can be learned, and what has faded before the loss arrives cannot be learned from. So
# `ConvLSTMCell(…, forget_bias=1.0)` adds 1 inside the forget gate's $\sigma$. A trained network may move it
# anywhere.

# %% [markdown]
# ## 6. How far the memory sees
#
# $h_t$ reads $x_t$ through a kernel of 3 × 3, and $h_{t-1}$ as well, which has read its own surroundings. So
# the receptive field (notebook 02) grows with time. Ask autograd: of the memory at the middle place after the
# last frame, which pixels of which frame does it depend on?

# %%
_ = torch.manual_seed(0)
network = ConvLSTM(1, 8, 3, forget_bias=1.0).double()
x = torch.randn(6, 1, 1, 15, 15).double().requires_grad_()  # (T, B, C, H, W)
middle = network(x)[1][0][0, :, 7, 7]  # (D,)
gradients = torch.stack([torch.autograd.grad(unit, x, retain_graph=True)[0] for unit in middle])
influence = gradients.abs().sum(0)[:, 0, 0]  # (D, T, 1, 1, H, W) -> (T, H, W)
back = influence.flip(0)  # 0, 1, 2 … frames back
sides = [int((frame > 0).any(dim=1).sum()) for frame in back]
print("frames back:", list(range(6)))
print("side of the square that is seen:", sides)
assert sides == [2 * (k + 1) + 1 for k in range(6)] == [3, 5, 7, 9, 11, 13]
near = (back[5, 5:10, 5:10].sum() / back[5].sum()).item()
print(f"5 back, share of the middle 5 x 5: {near:.1f}")
assert 0.86 < near < 0.94
relative = (back / back.amax((1, 2), keepdim=True)).clamp(min=1e-6)  # (T, H, W)
figures.state_maps(
    {"influence": torch.where(back > 0, relative.log10() + 6, 0)},
    [f"{k} back: {side} × {side}" for k, side in enumerate(sides)],
    squares=sides,
    title="What the memory at the middle depends on (powers of ten, each frame by its own largest)",
)

# %% [markdown]
# $k$ frames back it sees $2(k + 1) + 1$ places a side: **one place further for each frame**. Influence is not
# evenly spread: even 5 frames back, 0.9 of it comes from the middle 5 × 5 of the 13 × 13.
#
# Read the same the other way round: news travels **at most one place a frame**. If a thing moves faster than
# that, its memory cannot keep up with it; kernels of 5 × 5 would allow two places. The 1 in
# $k + 1$ is the current frame's own convolution: it reads neighbors before any frame has passed.
#
# ### Exercise 3 · `frames_to_hear` · difficulty ★★☆ · 8 minutes
#
# Something shows up at a distance of `rows` and `columns` from a place. How many frames ago must it have
# been, at least, for this place's memory to depend on it now? 0 is this very frame. If it never can, answer
# `math.inf`. Input and memory go through the same odd kernel of $k \times k$.


# %%
def frames_to_hear(kernel_size, rows, columns):
    """k and a distance -> 0, 1, 2, … frames, or math.inf."""
    raise NotImplementedError


check("12.frames_to_hear", frames_to_hear)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def frames_to_hear_solution(kernel_size, rows, columns):
    """Each convolution reaches k // 2 places; the first one is free, it is that of this frame."""
    distance, step = max(rows, columns), kernel_size // 2
    if distance == 0:
        return 0
    if step == 0:
        return math.inf
    return math.ceil(distance / step) - 1


# %%
check("12.frames_to_hear", frames_to_hear_solution)
for k in (1, 3, 5):
    print(
        f"kernel {k}: from corner to corner of a 12 x 12 map in {frames_to_hear_solution(k, 11, 11)} frames"
    )
assert [frames_to_hear_solution(k, 11, 11) for k in (1, 3, 5)] == [math.inf, 10, 5]
for k in range(6):
    heard = [bool(back[k, 7, 7 + d] > 0) for d in range(8)]  # at distance d, in the picture above
    assert heard == [frames_to_hear_solution(3, 0, d) <= k for d in range(8)]

# %% [markdown]
# ## 7. State goes in, state comes out
#
# A cell is a function: frame and state in, state out. It keeps nothing. No state, `None`, means zeros: an
# empty
# memory. Then *who calls it* decides what is remembered, and when it ends. In the layer below `start` makes
# those zeros, or refuses a state that does not fit the frame:

# %%
show(OverFrames.forward)

# %%
_ = torch.manual_seed(0)
network = ConvLSTM(1, 4, 3, forget_bias=1.0).double()
film = torch.randn(10, 2, 1, 8, 9).double()  # (T, B, C, H, W)
whole, last = network(film)
first, state = network(film[:6])
second, state = network(film[6:], state)
agree("in two pieces, with the state handed on", torch.cat([first, second]).detach(), whole.detach())
agree("the same film again, with no state", network(film)[0].detach(), whole.detach())
for shape in ((3, 1, 1, 8, 9), (3, 5, 1, 1, 1), (3, 2, 1, 11, 4)):
    assert network(torch.randn(shape).double())[0].shape == (3, shape[1], 4, *shape[3:])
print("other batches and other maps need no preparation")
try:
    network(film[:, :1], state)
except ValueError as error:
    print("ValueError:", error)
else:
    raise AssertionError("a state of two clips was taken for one")

# %% [markdown]
# ### Exercise 4 · `read_stream` · difficulty ★★★ · 15 minutes
#
# $B$ cameras send frames. Now and then one of them starts a **new video**; `new[t, b]` says so. From that
# frame on, the memory of camera $b$ must know nothing of what was before, while the other cameras' memories
# go on. Return $h$ after every frame. Autograd must still work, so do not write *into* tensors that are in
# use; multiply, or use `torch.where`.


# %%
def read_stream(cell, x, new):
    """cell(x_t, state) -> (h, c), x (T, B, C, H, W), new (T, B) bool -> every frame's h (T, B, D, H, W)."""
    raise NotImplementedError


check("12.read_stream", read_stream)

# %% [markdown]
# <details><summary><b>Help: "The size of tensor a (3) must match the size of tensor b (4)"</b></summary>
#
# `new[t]` is (B,), the state (B, D, H, W), and torch lines axes up from the right. Give it the missing axes:
# `new[t][:, None, None, None]` is (B, 1, 1, 1).
#
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def read_stream_solution(cell, x, new):
    """An old state is multiplied by 0 where a video begins, by 1 elsewhere."""
    state, seen = None, []
    for frame, begins in zip(x, new, strict=True):  # (B, C, H, W), (B,)
        if state is not None:
            keep = (~begins).to(x.dtype)[:, None, None, None]  # (B, 1, 1, 1)
            state = tuple(s * keep for s in state)  # (B, D, H, W) each
        state = cell(frame, state)
        seen.append(state[0])
    return torch.stack(seen)  # (T, B, D, H, W)


# %%
check("12.read_stream", read_stream_solution)

# %% [markdown]
# ## 8. The same with a GRU
#
# Any recurrent cell can be treated like this. A **ConvGRU** (Ballas et al. 2015) has three gates' worth of
# convolutions in place of four, and one map of memory in place of two:
#
# $$r, z = \sigma(W * [x, h] + b), \quad n = \tanh(W_n * [x,\, r \odot h] + b_n), \quad
#   h' = (1 - z) \odot n + z \odot h$$
#
# It resets **before** the product (notebook 03, section 5). Hence two convolutions that must wait for each
# other: the candidate's needs $r$.

# %%
_ = torch.manual_seed(0)
cell, conv_cell = gru.GRUCell(5, 4, reset="before").double(), ConvGRUCell(5, 4, 1).double()
weight = torch.cat([cell.weight_ih, cell.weight_hh], dim=1)[:, :, None, None].detach()  # (3D, C + D, 1, 1)
bias = (cell.bias_ih + cell.bias_hh).detach()  # (3D,)
for layer, part in ((conv_cell.gates, slice(0, 8)), (conv_cell.candidate, slice(8, 12))):
    layer.weight.data, layer.bias.data = weight[part].clone(), bias[part].clone()
x = torch.randn(2, 5, 6, 7).double().requires_grad_()  # (B, C, H, W)
h = torch.randn(2, 4, 6, 7).double().requires_grad_()  # (B, D, H, W)
rows = [t.permute(0, 2, 3, 1).flatten(0, 2) for t in (x, h)]  # (BHW, ·)
theirs = cell(*rows).unflatten(0, (2, 6, 7)).permute(0, 3, 1, 2)  # (B, D, H, W)
same("ConvGRU, 1 x 1, against a GRU that resets before", (conv_cell(x, h),), (theirs,), [x, h])

kinds = {"ConvLSTM": ConvLSTMCell(8, 10), "ConvGRU": ConvGRUCell(8, 10)}
costs = {name: count(kind, torch.zeros(1, 8, 12, 12)) for name, kind in kinds.items()}
for name, cost in costs.items():
    print(f"{name}: {cost.weights:,} weights, {cost.multiply_adds:,} multiply-adds a frame of 12 x 12")
assert costs["ConvLSTM"].weights * 3 == costs["ConvGRU"].weights * 4
assert costs["ConvLSTM"].multiply_adds * 3 == costs["ConvGRU"].multiply_adds * 4

# %% [markdown]
# ## 9. A task for a memory: where is it now?
#
# The thing moves, turns back at the borders, and for some frames it **cannot be seen**: an **occlusion**,
# here
# without the pillar.
# Say at every frame, seen or not, in which of 12 × 12 places its center is. The film below is the same one
# twice; the pixels differ only where the thing is, in the orange frames.


# %%
def films_with(hidden, n, seed, scene=SCENE):
    """n films whose thing is hidden where `hidden` (T,) is True: x (T, N, 1, H, W), centers (T, N, 2).

    Drawn twice with the same chance, once with the thing and once without. Centers are (row, column) in
    places of two pixels.
    """
    there, gone = (
        moving_clips(n, np.random.default_rng(seed), len(hidden), vanish=share, scene=scene)
        for share in (0.0, 1.0)
    )
    frames = torch.where(torch.tensor(hidden)[:, None, None, None, None], pixels(gone), pixels(there))
    return frames, centers(there)  # (T, N, 1, H, W), (T, N, 2)


def centers(clips):
    boxes = torch.from_numpy(clips.boxes[:, :, 0]).transpose(0, 1)  # (T, N, 4)
    left, top, right, bottom = boxes.unbind(-1)  # (T, N) each
    return torch.stack([top + bottom, left + right], dim=-1) / 4


def as_bytes(x):
    return (x * 64 + 128).round().byte().numpy()


x, where = films_with([False] * 12, 1, seed=4)
y, _ = films_with([t in range(4, 9) for t in range(12)], 1, seed=4)
assert torch.equal(x[:4], y[:4]) and not torch.equal(x[4:9], y[4:9]) and torch.equal(x[9:], y[9:])
t, _, _, row, column = (x != y).nonzero().T
assert ((torch.stack([row, column], dim=1) + 0.5 - 2 * where[t, 0]).abs() < 4.5).all()  # only at the thing
figures.state_maps(
    {"seen": as_bytes(x[:, 0, 0]), "hidden for a time": as_bytes(y[:, 0, 0])},
    [f"frame {t}" for t in range(12)],
    title="One film twice",
    hidden=[t in range(4, 9) for t in range(12)],
)

# %% [markdown]
# Four networks, trained on the same films with the same loss. All start with the same sort of **eye**, one
# convolution that makes 8 maps of 12 × 12 of a frame; all end with scores for 144 places, of which the true
# one should be the highest (cross-entropy).
#
# - **no memory**: a ConvLSTM cell whose every frame is its first. It has the same weights as the third; only
#   nothing is carried from frame to frame.
# - **memory, 1 × 1**: a ConvLSTM with kernels of 1. Each place remembers for itself.
# - **memory, 3 × 3**: a ConvLSTM.
# - **LSTM on lists**: the maps flattened into 1,152 numbers, and a memory of 64.


# %%
class Finder(nn.Module):
    """(T, B, 1, H, W) -> scores of the places (T, B, H', W'), each two pixels a side."""

    def __init__(self, kernel_size, carry=True):
        super().__init__()
        self.eye = nn.Conv2d(1, 8, 5, stride=2, padding=2)
        self.memory = ConvLSTM(8, 10, kernel_size, forget_bias=1.0)
        self.head = nn.Conv2d(10, 1, 3, padding=1)
        self.carry = carry

    def forward(self, x):
        T, B = x.shape[:2]
        seen = self.eye(x.flatten(0, 1)).relu()  # (TB, 8, H', W')
        seen = seen.unflatten(0, (T, B)) if self.carry else seen[None]  # else TB films of one frame
        h, _ = self.memory(seen)  # (T, B, 10, H', W')
        return self.head(h.flatten(0, 1))[:, 0].unflatten(0, (T, B))  # (T, B, H', W')


class ListFinder(nn.Module):
    """(T, B, 1, 24, 24) -> scores of the places (T, B, 12, 12)."""

    def __init__(self, D=64):
        super().__init__()
        self.eye = nn.Conv2d(1, 8, 5, stride=2, padding=2)
        self.memory, self.head = nn.LSTM(8 * 144, D), nn.Linear(D, 144)

    def forward(self, x):
        T, B = x.shape[:2]
        seen = self.eye(x.flatten(0, 1)).relu()  # (TB, 8, 12, 12)
        h, _ = self.memory(seen.flatten(1).unflatten(0, (T, B)))  # (T, B, 1152) -> (T, B, 64)
        return self.head(h).unflatten(2, (12, 12))  # (T, B, 12, 12)


def loss_of(scores, where):
    place = where[..., 0].long() * scores.shape[3] + where[..., 1].long()  # (T, B): its number
    return F.cross_entropy(scores.flatten(2).flatten(0, 1), place.flatten())


# %% [markdown]
# **Predict** before you train. The thing has been seen for 8 frames and then is hidden. How far off, on
# average, is each network's answer in the first hidden frame? In the fifth? (The map is 12 places wide;
# whoever always says "in the middle" is off by 3 to 4 places.)

# %%
device = lessons.device()
GPU = device.type == "cuda"
LONGER = 3 if GPU else 1  # a GPU trains three times as long, on three times as many clips

# An object is hidden for 40 % of the frames, four in a row on average.
rng = np.random.default_rng(0)
FILMS = [moving_clips(16, rng, 14, vanish=0.4, burst=4.0, scene=SCENE) for _ in range(100 * LONGER)]
# x (14, 16, 1, 24, 24), centers (14, 16, 2)
BATCHES = [(pixels(clips).to(device), centers(clips).to(device)) for clips in FILMS]


def train(model, steps, rate):
    model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for step in tqdm(range(steps), desc=type(model).__name__):
        x, where = BATCHES[step % len(BATCHES)]
        loss = loss_of(model(x), where)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.cpu().eval()


PLAN = {
    "memory, 3 × 3": (lambda: Finder(3), 200, 0.01),
    "LSTM on lists": (ListFinder, 300, 0.004),
    "memory, 1 × 1": (lambda: Finder(1), 120, 0.01),
    "no memory": (lambda: Finder(3, carry=False), 40, 0.01),
}
models = {}


def train_as_planned(name):
    make, steps, rate = PLAN[name]
    _ = torch.manual_seed(0)
    models[name] = train(make(), steps * LONGER, rate)


train_as_planned("memory, 3 × 3")

# %%
for name in ("LSTM on lists", "memory, 1 × 1", "no memory"):
    train_as_planned(name)

# %%
HIDDEN = [False] * 8 + [True] * 8
x_test, where_test = films_with(HIDDEN, 300, seed=1001)  # films that no network has seen


def likeliest(scores):
    """The middle of the likeliest place: (T, N, H', W') -> (T, N, 2), row and column."""
    place = scores.flatten(2).argmax(2)  # (T, N)
    return torch.stack([place // scores.shape[3], place % scores.shape[3]], dim=-1) + 0.5


def error(model, x, where):
    """(T,): how far the likeliest place is from the true center, in places, on average."""
    with torch.no_grad():
        return (likeliest(model(x)) - where).norm(dim=2).mean(1)


errors = {name: error(model, x_test, where_test) for name, model in models.items()}
guess = (where_test - 6).norm(dim=2).mean().item()
for name, model in models.items():
    print(f"{name:15} {sum(p.numel() for p in model.parameters()):10,} weights")
on_maps, on_lists, one_by_one, blind = errors.values()
print(f"always the middle is off by {guess:.1f} grid cells")
print("seen: each of the four is off by less than one:", bool(max(e[7] for e in errors.values()) < 1))
print(f"hidden for 5 frames: 3 × 3 by less than 3: {bool(on_maps[12] < 3)},", end=" ")
print(f"1 × 1 and no memory by more than 5: {bool(one_by_one[12] > 5 and blind[12] > 5)}")
assert max(e[7] for e in errors.values()) < 1 and 3 < guess < 4
assert blind[8:].min() > 5 > guess  # worse than "in the middle"
assert on_maps[7] < 0.55 and on_maps[8] < 0.75 and on_maps[12] < 3
assert one_by_one[8] < 1.2 and one_by_one[11] > guess  # a cell off, then worse than "in the middle"
assert all(on_maps[t] < on_lists[t] - 0.1 for t in range(8))
assert all(on_maps[t] < on_lists[t] - 0.25 for t in range(8, 13))

with torch.no_grad():
    went = {
        name: (likeliest(model(x_test))[11] - where_test[7]).norm(dim=1) for name, model in models.items()
    }
thing = (where_test[11] - where_test[7]).norm(dim=1)  # (N,)
far = {name: (went[name].mean() / thing.mean()).item() for name in ("memory, 3 × 3", "LSTM on lists")}
print(f"in 4 hidden frames the object moves {thing.mean():.1f} grid cells; of that way the answer goes")
print(
    f"more than 85 % with 3 × 3: {far['memory, 3 × 3'] > 0.85}, with the list: {far['LSTM on lists'] > 0.85}"
)
assert far["memory, 3 × 3"] > 0.85 > 0.8 > far["LSTM on lists"]
with torch.no_grad():
    lost = likeliest(models["no memory"](x_test))[8:]  # (8, N, 2)
assert ((lost < 2) | (lost > 10)).any(-1).float().mean() > 0.5  # in the two outer rings
figures.curves(
    {name: (np.arange(-2, 9), values[5:]) for name, values in errors.items()},
    xlabel="frames hidden (0: seen for the last time)",
    ylabel="off by (places)",
    level=guess,
    level_label="always the middle",
    ylim=(0, 8),
    title="Where is it now? 300 films that no network has seen",
    height=3.8,
)

# %% [markdown]
# While the thing can be seen, all four find it, to within a place. Then:
#
# - **Without memory** there is nothing to go by, and the answer is worse than "in the middle": a convolution
#   does not know where the middle is. It knows the border, by the padding, and most answers lie near it.
# - **1 × 1** remembers where the object *was*: off by one grid cell in the first frame, lost after the
#   fourth. Each cell remembers for itself, and nothing can be handed to a neighbor. (It has fewer weights,
#   too, and fewer steps; but no training could hand anything on.)
# - **3 × 3** is off by less than three quarters of a grid cell in the first hidden frame, and by less than
#   three cells in the fifth. Its answer **moves along** with the object. Nobody told it to; it had to say
#   where the object was, and found a way to keep its direction.
# - **The LSTM on lists** has 47 times the weights, is less exact even while it sees, and its answer moves
#   much less far than the object. After eight hidden frames there is little to choose between the two: after
#   some turns at the borders, nobody knows any more.
#
# (One training each, with numbers of steps that keep this page short: do not read anything into small
# differences.)
#
# Two things that the list cannot do at all. First: **another size.** The trained ConvLSTM on pictures of
# 36 × 36, where it was trained on 24 × 24:

# %%
larger = replace(SCENE, size=(36, 36))
x_large, where_large = films_with(HIDDEN, 100, seed=1001, scene=larger)
large = error(models["memory, 3 × 3"], x_large, where_large)
print(f"on 18 x 18 places: off by less than 0.6 while seen: {bool(large[7] < 0.6)};", end=" ")
print(f"by less than 3 in the 5th hidden frame: {bool(large[12] < 3)}")
assert large[7] < 0.6 and large[12] < 3
n_maps, n_lists = (sum(p.numel() for p in models[n].parameters()) for n in ("memory, 3 × 3", "LSTM on lists"))
assert (n_maps, n_lists) == (6_819, 321_376) and round(n_lists / n_maps) == 47
try:
    models["LSTM on lists"](x_large)
except RuntimeError as problem:
    print("LSTM on lists:", problem)
else:
    raise AssertionError("the list was read")

# %% [markdown]
# Second: its state can be looked at. But first, the proof that it is the state that does it, and not some
# other difference between the networks. **State ablation**: take the trained 3 × 3 network and empty its
# memory before every frame.

# %%
without = copy.deepcopy(models["memory, 3 × 3"])
without.carry = False
ablated = error(without, x_test, where_test)
print(f"hidden, 5th frame: with its state less than 3 grid cells off: {bool(on_maps[12] < 3)};", end=" ")
print(f"without, more than 5: {bool(ablated[12] > 5)}")
assert ablated[8:13].min() > 5 > 3 > on_maps[12] and ablated[7] < 0.8
assert (ablated[8:] - blind[8:]).abs().max() < 1  # as the network that was trained without

# %% [markdown]
# Back to the figures of the network without memory, as soon as the thing is hidden; while it can be seen, the
# trained network hardly needs its state. So the state is what finds the hidden thing.

# %% [markdown]
# ## 10. The memory as a film
#
# Which of the ten channels holds the thing? Ask: where does $h$ differ most at the thing's place from the
# rest of the map, in the frames in which nobody can see it?


# %%
def watch(model, x):
    """x (T, B, 1, H, W) -> the gates i, f, o and the state c, h at every frame, (T, B, D, H', W') each."""
    cell, log = model.memory.cell, {name: [] for name in "ifoch"}
    seen = model.eye(x.flatten(0, 1)).relu().unflatten(0, x.shape[:2])  # (T, B, 8, H', W')
    h = c = torch.zeros(x.shape[1], 10, *seen.shape[3:])  # (B, D, H', W')
    for frame in seen:
        i, f, _, o = cell.gates(torch.cat([frame, h], dim=1)).chunk(4, dim=1)  # (B, D, H', W') each
        h, c = cell(frame, (h, c))
        for name, value in zip("ifoch", (i.sigmoid(), (f + 1).sigmoid(), o.sigmoid(), c, h), strict=True):
            log[name].append(value)
    return {name: torch.stack(values).detach() for name, values in log.items()}


finder = models["memory, 3 × 3"]
log = watch(finder, x_test)
h, (rows, columns) = log["h"], where_test.long().unbind(-1)  # (T, N, D, H', W'), (T, N) each
t, n = torch.arange(10, 14)[:, None], torch.arange(300)  # from the third hidden frame on
there, all_over = h[t, n, :, rows[10:14], columns[10:14]], h[10:14]  # (4, N, D), (4, N, D, H', W')
contrast = (there.mean((0, 1)) - all_over.mean((0, 1, 3, 4))) / all_over.std(dim=(0, 1, 3, 4))  # (D,)
best, second = contrast.abs().topk(2).indices.tolist()
print(f"channel A is more than a deviation off at the hidden thing: {bool(contrast[best].abs() > 1)}")
assert contrast[best].abs() > 1 and contrast[second].abs() > 1

# %% [markdown]
# The film is one of the 300, chosen because the thing goes a long way in the dark and the network does well
# on it. The ring marks the true place; orange frames are the hidden ones. In $h$ and $c$ red is above and
# blue below 0 (which of the two means "here" is chance). Answer: each frame by its own largest. Gates go from
# white, shut, to blue, open.

# %%
with torch.no_grad():
    scores = finder(x_test)  # (T, N, H', W')
off = (likeliest(scores) - where_test).norm(dim=2)  # (T, N)
way = (where_test[13] - where_test[7]).norm(dim=1)  # (N,)
shown = int(torch.where(way > 4.5, off[8:14].mean(0), 99).argmin())
frames = list(range(5, 14))
print(f"from frame 7 to 13 the object, always hidden, moves over 4 cells: {bool(way[shown] > 4)};", end=" ")
print(f"the answer is off by less than 2: {bool(off[8:14, shown].max() < 2)}")
assert way[shown] > 4.5 and off[8:14, shown].max() < 2


def answers(scores):
    """Probabilities of the places, each frame by its own largest: (…, H', W') -> the same, up to 1."""
    odds = scores.flatten(-2).softmax(-1)  # (…, H'W')
    return (odds / odds.amax(-1, keepdim=True)).view_as(scores)


figures.state_maps(
    {
        "film": as_bytes(x_test[frames, shown, 0]),
        "answer": answers(scores)[frames, shown],
        "h, channel A": h[frames, shown, best],
        "h, channel B": h[frames, shown, second],
        "c, channel A": log["c"][frames, shown, best],
        "input gate A": log["i"][frames, shown, best],
        "forget gate A": log["f"][frames, shown, best],
    },
    [f"frame {t}" for t in frames],
    limits={"input gate A": 1.0, "forget gate A": 1.0},
    marks=where_test[frames, shown] / 12,
    hidden=[HIDDEN[t] for t in frames],
    title="The memory follows what nobody sees",
)

# %% [markdown]
# **This is the picture to keep.** From frame 8 on the camera sees an empty room. In $h$ and $c$ there is a
# spot all the same. It fades and widens, and it moves, if less far than the thing. The answer grows wider
# from frame to frame: the network knows less and less
# exactly where the thing is, and says so.
#
# How can a spot move, when $c' = f \odot c + i \odot g$ keeps everything in its place? Only by being
# **written anew** one place further on, by $i \odot g$, for which both read the neighbors' $h$. Look at the
# gates: around the spot the forget gate is open, and keeps; where the thing has been, the input gate is at
# its palest, and little is written. With 1 × 1 kernels there are no neighbors to read, and nothing moves.
# Over all 300 films
# (the entropy says how wide an answer is; all 144 places alike would have 5):

# %%
t = torch.arange(9, 12)[:, None]  # hidden since frame 8
input_gate, forget_gate = (log[name][:, :, best] for name in "if")  # (T, N, H', W') each
here = (t, n, rows[9:12], columns[9:12])
four_before = (t, n, rows[5:8], columns[5:8])
more_written = input_gate[here].mean() - input_gate[four_before].mean()
more_kept = forget_gate[here].mean() - forget_gate[9:12].mean()
print(f"at the hidden object the input gate is more open than where it was 4 frames ago: {more_written > 0},")
print(f"and the forget gate more open than over the whole map: {more_kept > 0}")


def middle_of(maps):
    """The middle of the spot, weighed by the square of what stands out: (N, H', W') -> (N, 2)."""
    out = contrast[best].sign() * (maps - maps.flatten(1).median(1)[0][:, None, None])
    out, at = out.clamp(min=0).square(), torch.arange(12) + 0.5
    return torch.stack([out.sum(2) @ at, out.sum(1) @ at], dim=1) / out.sum((1, 2))[:, None]


spot_went, thing_went = middle_of(h[11, :, best]) - middle_of(h[8, :, best]), where_test[11] - where_test[8]
along = (spot_went * thing_went).sum(1) / thing_went.norm(dim=1).clamp(min=0.3)  # (N,)
share = along.mean() / thing_went.norm(dim=1).mean()
print(f"from frame 8 to 11 the object moves {thing_went.norm(dim=1).mean():.1f} grid cells;", end=" ")
print(f"the spot in h goes along at least a quarter of the way: {share > 0.25}, and less far: {share < 1}")
assert 0.25 < share < 1
odds = scores.flatten(2).softmax(2)  # (T, N, H'W')
entropy = -(odds * odds.clamp(min=1e-12).log()).sum(2).mean(1)  # (T,)
print("the entropy of the answer grows with every hidden frame:", bool((entropy[8:].diff() > 0).all()))
assert (entropy[8:].diff() > 0).all() and (entropy[8:14, None] > entropy[:8]).all()
assert more_written > 0.05 and more_kept > 0.05

# %% [markdown]
# Now hide it yourself. From which frame, and for how long? When does the network lose it?

# %% tags=["nbval-ignore-output"]
# output not compared: the slider is a widget, which lives only while the notebook runs
from ipywidgets import interact


@interact(start=(1, 14), length=(0, 12), film=(0, 9))
def hide(start=5, length=5, film=0):
    hidden = [start <= t < start + length for t in range(16)]
    x, where = films_with(hidden, 10, seed=7)
    with torch.no_grad():
        scores = finder(x[:, film : film + 1])[:, 0]  # (T, H', W')
    frames = list(range(1, 16, 2))
    return figures.state_maps(
        {
            "film": as_bytes(x[frames, film, 0]),
            "answer": answers(scores)[frames],
        },
        [f"frame {t}" for t in frames],
        marks=where[frames, film] / 12,
        hidden=[hidden[t] for t in frames],
    )


# %% [markdown]
# ## 11. Long films: the gradient in pieces
#
# `loss.backward()` after $T$ frames needs what all $T$ frames have computed. A camera's film has no end. So
# cut it: read a **piece** of some frames, go back through it, then carry the *state* on and let the
# *gradient* stop. This is **truncated backpropagation through time**. The tool is `detach`: the same numbers,
# without their history.
#
# ### Exercise 5 · `backward_in_pieces` · difficulty ★★☆ · 12 minutes
#
# Read the film in pieces of `piece` frames (the last one may be shorter). The loss is the sum of `loss_of(h)`
# over all frames; here `loss_of` is an argument, any function from one frame's $h$ to a number. Call
# `backward` once a piece; the gradients add up in `parameter.grad` by themselves.
# Change no weights.


# %%
def backward_in_pieces(cell, x, loss_of, piece):
    """cell(x_t, state) -> (h, c), x (T, B, C, H, W) -> the sum of all losses, a number."""
    raise NotImplementedError


check("12.backward_in_pieces", backward_in_pieces)

# %% [markdown]
# <details><summary><b>Help: "Trying to backward through the graph a second time"</b></summary>
#
# The state still carries the history of the piece before, which its own `backward` has freed. Detach **both**
# $h$ and $c$ where a piece ends. `retain_graph=True` makes the message go away and the trouble grow: see
# section 12, bug 4.
#
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def backward_in_pieces_solution(cell, x, loss_of, piece):
    """The state goes on, its history does not."""
    state, total = None, 0.0
    for frames in x.split(piece):  # (piece, B, C, H, W), the last perhaps shorter
        losses = []
        for frame in frames:
            state = cell(frame, state)
            losses.append(loss_of(state[0]))
        loss = torch.stack(losses).sum()
        loss.backward()
        total += loss.item()
        state = tuple(s.detach() for s in state)
    return total


# %%
check("12.backward_in_pieces", backward_in_pieces_solution)

# %% [markdown]
# What does the cut cost? The loss is the same; the gradient is not. **Predict**: the trained network's film
# has 14 frames. Cut it into pieces of 7, 4, 2, 1 frames, and compare the direction of the gradient with that
# of the whole film: 1 is the same direction, 0 none in common.

# %%
x_some, where_some = (t.cpu() for t in BATCHES[0])  # (14, 16, 1, 24, 24): training clips
seen = finder.eye(x_some.flatten(0, 1)).relu().unflatten(0, (14, 16)).detach()  # (T, B, 8, 12, 12)


def gradient(piece):
    """The gradient of the memory's weights, cut into pieces."""
    cell, frames = finder.memory.cell, iter(where_some)
    cell.zero_grad()
    total = backward_in_pieces_solution(
        cell, seen, lambda h: loss_of(finder.head(h).transpose(0, 1), next(frames)[None]), piece
    )
    return total, cell.gates.weight.grad.flatten().clone()


whole_loss, whole = gradient(14)
likeness = {}
for piece in (14, 7, 4, 2, 1):
    total, found = gradient(piece)
    likeness[piece] = F.cosine_similarity(found, whole, dim=0).item()
    assert math.isclose(total, whole_loss, rel_tol=1e-4)
falling = all(
    likeness[longer] > likeness[shorter] for longer, shorter in itertools.pairwise((14, 7, 4, 2, 1))
)
print("the shorter the pieces, the further the gradient turns from that of the whole clip:", falling)
assert likeness[14] > 0.999 and likeness[1] < 0.85 * likeness[7]

# %% [markdown]
# The loss is the same, for the state crosses every cut. The direction of the gradient is not. A piece of one
# frame asks: *what should I have done in this frame, with the memory as it came?* It never asks what should
# have been **written** earlier, for that gradient would have to cross a cut. So a piece must be as long as
# what is to be remembered. What a network trained in pieces can still do is *use* a memory of any length.

# %% [markdown]
# ## 12. Bug hunt: four from the wild
#
# All four live in public code of ConvLSTMs and Bottleneck-LSTMs, re-created here in a few lines. In each, the
# shapes are right and a short training may look fine. For each: **run the test, read its number, name the
# bug** before you read on.
#
# ### Bug 1: the peepholes that never learn


# %%
class Cell1(nn.Module):
    """A ConvLSTM cell with peepholes. "They need the map's size, so I make them when I know it." """

    def __init__(self, channels, hidden):
        super().__init__()
        self.gates = nn.Conv2d(channels + hidden, 4 * hidden, 3, padding=1)
        self.hidden, self.w_i = hidden, None

    def start(self, n, size):
        if self.w_i is None:
            self.w_i, self.w_f, self.w_o = (torch.zeros(1, self.hidden, *size) for _ in range(3))
        return torch.zeros(n, self.hidden, *size), torch.zeros(n, self.hidden, *size)

    def forward(self, x, state=None):
        h, c = state or self.start(len(x), x.shape[2:])  # (B, D, H, W) each
        gates = self.gates(torch.cat([x, h], dim=1))  # (B, 4D, H, W)
        return with_peepholes_solution(gates, c, self.w_i, self.w_f, self.w_o)


def expect_known(model):
    """Every tensor that hangs on the model is a parameter or a buffer, or an AssertionError names it."""
    unknown = {
        f"{name}.{key}".lstrip("."): value.numel()
        for name, module in model.named_modules()
        for key, value in vars(module).items()  # parameters and buffers are kept elsewhere
        if isinstance(value, torch.Tensor)
    }
    assert not unknown, f"{sum(unknown.values())} numbers unknown to torch, in {', '.join(unknown)}"


_ = torch.manual_seed(0)
good, cell = ConvLSTMCell(1, 8, peepholes=True), Cell1(1, 8)
x = torch.randn(2, 1, 5, 6)  # (B, C, H, W)
_ = good(x), cell(x)
expect_known(good)
try:
    expect_known(cell)
except AssertionError as error:
    print(error)
    assert "720 numbers" in str(error)
else:
    raise RuntimeError("the bug was not found")
for candidate in (good, cell):
    held = [name for name in candidate.state_dict() if not name.startswith("gates")]
    print(f"{type(candidate).__name__}: peepholes in the state_dict: {len(held)}")
    assert len(held) == (3 if candidate is good else 0)

# %% [markdown]
# A tensor becomes a weight by being an `nn.Parameter` **in `__init__`**. These 720 are plain attributes. No
# optimizer sees them, so they stay zero for ever; `state_dict` does not save them; `.to()` does not move
# them. And had somebody set them by hand, saving and loading would lose them without a word:

# %%
saved, loaded = Cell1(1, 8), Cell1(1, 8)
_ = saved(x), loaded(x)
saved.w_i += 3.0
saved.w_o += 3.0
print(loaded.load_state_dict(saved.state_dict()))
state = saved(x)
gap = (saved(x, state)[0] - loaded(x, state)[0]).abs().max().item()
print(f"saved and loaded, the answer changes by {gap:.1f}")
assert gap > 0.05

# %% [markdown]
# ### Bug 2: one batch, one size, one device


# %%
class Cell2(nn.Module):
    """A ConvLSTM cell that makes its own state, once."""

    def __init__(self, channels, hidden):
        super().__init__()
        self.gates = nn.Conv2d(channels + hidden, 4 * hidden, 3, padding=1)
        self.hidden, self.state = hidden, None

    def forward(self, x):
        if self.state is None:
            zeros = torch.zeros(len(x), self.hidden, *x.shape[2:], device="cpu")  # (B, D, H, W)
            self.state = zeros, zeros.clone()
        self.state = conv_lstm_step_solution(x, *self.state, self.gates.weight, self.gates.bias)
        return self.state[0]


def trials(make):
    """What a recurrent cell should survive after its first batch; the ones that fail, with torch's words."""
    failed = {}
    for name, (change, x) in {
        "a smaller batch": (lambda cell: cell, torch.randn(1, 1, 5, 5)),
        "a larger map": (lambda cell: cell, torch.randn(2, 1, 6, 6)),
        "bfloat16": (lambda cell: cell.bfloat16(), torch.randn(2, 1, 5, 5).bfloat16()),
        "another device": (lambda cell: cell.to("meta"), torch.randn(2, 1, 5, 5, device="meta")),
        "a copy": (copy.deepcopy, torch.randn(2, 1, 5, 5)),
    }.items():
        cell = make()
        out = cell(torch.randn(2, 1, 5, 5))
        (out if isinstance(out, torch.Tensor) else out[0]).sum().backward()
        try:
            change(cell)(x)
        except RuntimeError as problem:
            failed[name] = shorten(str(problem), 66, placeholder=" …")
    return failed


_ = torch.manual_seed(0)
for make in (lambda: ConvLSTMCell(1, 4), lambda: Cell2(1, 4)):
    failed = trials(make)
    print(f"{type(make()).__name__}: {len(failed)} of 5 trials fail")
    for name, words in failed.items():
        print(f"    {name}: {words}")
    assert len(failed) == (5 if isinstance(make(), Cell2) else 0)

# %% [markdown]
# (`"meta"` is a device that follows shapes without numbers. It stands in here for a GPU that you may not
# have.) All five have one cause: the state is made once, from the first batch, on the device that somebody
# wrote down. Remedy: `x.new_zeros(…)` or `weight.new_zeros(…)` for each new film, which takes device and
# dtype from what is there, and sizes from $x$. (The copy fails since the kept state drags its history along.)
#
# ### Bug 3: the memory of another video
#
# Make `Cell2` survive all that, by keeping its state as long as the shapes fit. Then it survives too much.
# Our trained network, with a wrapper that keeps the state "so that long videos can be read in pieces". Two
# videos, one after the other; the second begins with its thing hidden, so an honest answer is "I do not
# know":


# %%
class Keeps(nn.Module):
    """Wraps a layer and keeps its state from call to call."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.state = layer, None

    def forward(self, x):
        out, state = self.layer(x, self.state)
        self.state = tuple(s.detach() for s in state)
        return out, state


leaky = copy.deepcopy(finder)
leaky.memory = Keeps(leaky.memory)
first, _ = films_with([False] * 8, 20, seed=8)  # (T, N, 1, 24, 24)
other, _ = films_with([False] * 8, 20, seed=9)
dark, _ = films_with([True] * 8, 20, seed=10)  # the second video: its thing is hidden


def sure(scores):
    """How sure is it of its likeliest place, on average: (T, N, H', W') -> a number, 0 to 1."""
    return scores[0].flatten(1).softmax(1).amax(1).mean().item()


with torch.no_grad():
    honest = finder(dark)  # (T, N, H', W')
    _ = leaky(first)
    after_first = leaky(dark)  # (T, N, H', W')
print(f"in the first, empty frame the likeliest place gets less than 0.1: {sure(honest) < 0.1};", end=" ")
print(f"with the leak, more than 0.3: {sure(after_first) > 0.3}")
assert sure(honest) < 0.1 < 0.3 < sure(after_first)


def expect_no_history(model, video, *before):
    """After any of the films `before`, the video gets the same answer."""
    found = []
    with torch.no_grad():
        for film in before:
            _ = model(film)
            found.append(model(video))
    gap = max((scores - found[0]).abs().max().item() for scores in found)
    assert gap == 0, f"after another film the scores of the same video differ by more than {gap // 3 * 3:.0f}"


expect_no_history(finder, dark, first, other)
try:
    expect_no_history(leaky, dark, first, other)
except AssertionError as error:
    print(error)
    assert "more than" in str(error)
else:
    raise RuntimeError("the bug was not found")
figures.state_maps(
    {
        "end of video 1": as_bytes(first[-1, :7, 0]),
        "start of video 2": as_bytes(dark[0, :7, 0]),
        "answer, no state": honest[0, :7].flatten(1).softmax(1).unflatten(1, (12, 12)),
        "answer, leaked": after_first[0, :7].flatten(1).softmax(1).unflatten(1, (12, 12)),
    },
    [f"pair {k}" for k in range(1, 8)],
    limits={"answer, no state": 0.5, "answer, leaked": 0.5},
    title="A thing from one video, found in the next",
)

# %% [markdown]
# The test in one sentence: **read the same video after two different ones, and compare.** No shape and no
# error shows it. Remedy: the state is the caller's (section 7), and a new video begins with `None`.
#
# ### Bug 4: `backward` at every frame
#
# A training loop that steps after each frame, "so that it learns at once". It stops at the second frame. The
# message names `retain_graph=True`; somebody adds it, and now it stops with another:

# %%
_ = torch.manual_seed(0)
network = ConvLSTM(1, 4, 3)
optimizer = torch.optim.SGD(network.parameters(), lr=0.01)
film = torch.randn(6, 2, 1, 8, 8)  # (T, B, C, H, W)


def step_after_every_frame(retain_graph):
    """How many frames it has learned from, and with which words it stops."""
    state, learned = None, 0
    for frame in film:  # (B, C, H, W)
        state = network.cell(frame, state)
        loss = state[0].square().mean()
        optimizer.zero_grad()
        try:
            loss.backward(retain_graph=retain_graph)
        except RuntimeError as problem:
            return learned, shorten(str(problem), 103, placeholder=" …")
        optimizer.step()
        learned += 1
    return learned, "no error"


for retain_graph, words in ((False, "a second time"), (True, "modified by an inplace operation")):
    learned, said = step_after_every_frame(retain_graph)
    print(f"retain_graph={retain_graph}: stops after {learned} of 6 frames: {said}")
    assert learned == 1 and words in said

# %% [markdown]
# First: `backward` at frame 1 goes on through the state into frame 0, whose history is gone. Second: the
# history is kept, but there `backward` needs the weights *with which frame 0 was computed*, and `step()` has
# overwritten them **in place**. torch counts each tensor's changes (its
# version) and refuses, for a gradient from new weights and old maps would be wrong. And were it not refused,
# the way back would grow with every frame.
#
# Two right ways, and you have both: gather the losses of a piece, then **one** `backward` and **one** `step`;
# and `detach` the state where the piece ends. Here with pieces of 3:

# %%
state = None
for piece in film.split(3):  # (3, B, C, H, W)
    out, state = network(piece, state)
    loss = out.square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    state = tuple(s.detach() for s in state)
print(f"{len(film)} frames in pieces of 3: no error; the state has no history: {state[0].grad_fn is None}")
assert len(film) == 6 and state[0].grad_fn is None

# %% [markdown]
# `detach` after *every* frame is what is often advised against this error. It runs, and section 11 has
# measured what it is: pieces of one frame.

# %% [markdown]
# ## 13. The finished version
#
# The cell of exercise 1, with checks of its input, peepholes and forget bias as options. `start` is
# the one of section 7; `depthwise` hands its input through unless you ask for a cheaper kernel; `phi` is tanh
# here. `LSTMUpdate` is exercise 2, and the Bottleneck-LSTM of notebook 13 uses it, too.

# %%
show(ConvLSTMCell.forward)

# %%
show(LSTMUpdate)

# %% [markdown]
# ## Recap
#
# - An LSTM on flattened pictures does not know which pixels are neighbors, and must learn every place anew.
# - A ConvLSTM is an LSTM at every place, whose gates read the neighborhood of input and memory. With 1 × 1
#   it is `nn.LSTMCell`, to the last digit. Weights: $4D(C + D)k^2 + 4D$, whatever the size of the map.
# - Peepholes: $i$ and $f$ see the old $c$, $o$ the new. One number for each place ties the cell to one map.
# - The memory sees one place further for each frame back (3 × 3), and can follow nothing faster than that.
# - Memory as an image found the hidden thing, where the same network without memory was lost, and kernels of
#   1 × 1 could remember but not follow.
# - State goes in and comes out. Read the same video after two others: the answer must not change.
# - Truncated backpropagation carries the state over the cut and stops the gradient. One `backward`, one
#   `step` for each piece.
# - A plain tensor on a module is unknown to optimizer, `state_dict` and `.to()`.
#
# ## Glossary
#
# | word | meaning |
# |---|---|
# | ConvLSTM | an LSTM whose state is a stack of maps and whose gates are convolutions |
# | ConvGRU | the same with a GRU |
# | place | one position of a map, with all its channels |
# | peephole | lets a gate see the memory $c$ itself, weighed number by number |
# | Hadamard product | two arrays of one shape multiplied number by number, $\odot$ |
# | translation equivariance | move the input, and the output moves along |
# | occlusion | a thing is there and cannot be seen |
# | truncated backpropagation | the gradient in pieces: the state crosses a cut, the gradient does not |
# | detach | the same numbers without the history by which autograd goes back |
# | in place | writing into a tensor's own memory, so that what stood there is lost |
#
# ## Sources
#
# - X. Shi, Z. Chen, H. Wang, D.-Y. Yeung, W.-K. Wong, W.-C. Woo, *Convolutional LSTM Network: A Machine
#   Learning Approach for Precipitation Nowcasting*, [arXiv 1506.04214](https://arxiv.org/abs/1506.04214):
#   equation 3 (the cell, with peepholes).
# - N. Ballas, L. Yao, C. Pal, A. Courville, *Delving Deeper into Convolutional Networks for Learning Video
#   Representations*, [arXiv 1511.06432](https://arxiv.org/abs/1511.06432): the ConvGRU.
# - M. Liu, M. Zhu, *Mobile Video Object Detection with Temporally-Aware Feature Maps*,
#   [arXiv 1711.06368](https://arxiv.org/abs/1711.06368): Table 6, things that vanish from frames, after which
#   our films are made.
# - Bugs 1 to 4: public PyTorch code of the Bottleneck-LSTM, among it `vikrant7/mobile-vod-bottleneck-lstm`;
#   its users report bug 4 in its [issue
#   25](https://github.com/vikrant7/mobile-vod-bottleneck-lstm/issues/25).
#
# **Next**: notebook 13. A ConvLSTM from 1024 channels to 256 has 11.8 million weights. The Bottleneck-LSTM
# does with 601,344.
