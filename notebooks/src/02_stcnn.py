# %% [markdown]
# # 02 · STCNN: convolution over space and time
#
# **You will write the convolution that lets LipNet see motion, and show that its values and gradients equal
# PyTorch's. Then you use it to tell in which direction things move.**
#
# *Core path: about 57 minutes; deeper sections: about 40; all cells together run in
# about 40 seconds on one CPU core.*
#
# **You need**: Python, basic PyTorch (tensors, `backward`), and a rough idea of what an image convolution
# does. Shapes are written `(B, C, T, H, W)`: batch, channels, frames, rows, columns, as in notebook 01.
#
# **You will be able to**
# - explain what a frame-by-frame network cannot see, and prove it;
# - write a 3D convolution with stride and padding;
# - compute output sizes, weights, multiply-adds and receptive fields;
# - design a filter that responds to one direction of motion, and recognize such filters in a trained layer;
# - (deeper) derive and write the backward pass of a convolution.

# %%
import itertools
import math

import torch
import torch.nn.functional as F
from torch import nn

import lessons
from lessons import figures
from lessons.checks import agree, check, use
from lessons.layers import conv3d_fast, stcnn
from lessons.source import show

# %% [markdown]
# ## 1. What a single frame cannot tell
#
# Here is a toy mouth: a dark ellipse that opens and closes.


# %% tags=["hide-input"]
# @title Plot: the function that draws it { display-mode: "form" }
def draw_mouth(openness: torch.Tensor, height: int = 24, width: int = 32) -> torch.Tensor:
    """openness (T,), 0 closed … 1 open -> clip (T, H, W): 1 is skin, 0 the dark inside of the mouth."""
    y = torch.linspace(-1, 1, height).view(1, -1, 1)  # (1, H, 1)
    x = torch.linspace(-1, 1, width).view(1, 1, -1)  # (1, 1, W)
    half_height = 0.08 + 0.6 * openness.view(-1, 1, 1)  # (T, 1, 1)
    distance = (x / 0.75) ** 2 + (y / half_height) ** 2  # (T, H, W), 1 on the lips
    return torch.sigmoid(6 * (distance - 1))  # (T, H, W)


# %%
openness = 1 - (torch.arange(13) - 6).abs() / 6  # (13,): 0, 1/6, …, 1, …, 1/6, 0
clip = draw_mouth(openness)  # (13, 24, 32)
figures.filmstrip(clip, range(13), columns=7, title="A mouth opens and closes")

# %% [markdown]
# **Predict.** Frame 3 belongs to an opening mouth, frame 9 to a closing one. How different are the two
# frames? And how different are the outputs of an image convolution for them?

# %% tags=["predict"]
_ = torch.manual_seed(0)
image_filters = nn.Conv2d(1, 8, kernel_size=5, padding=2)  # 8 filters with random weights
features = image_filters(clip[:, None])  # (13, 1, 24, 32) -> (13, 8, 24, 32)
print(f"frames:  largest difference {(clip[3] - clip[9]).abs().max().item():.1f}")
print(f"outputs: largest difference {(features[3] - features[9]).abs().max().item():.1f}")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The two frames are identical, so every image filter gives them identical outputs. This holds for all
# weights and for any number of filters.
# </details>
#
# **Motion is not in a frame. It is in the differences between frames.** Stack the frames into a block, and
# the motion becomes visible. Below, the block is cut open along column 16; time runs to the back. The edges
# of the mouth trace slanted lines, which part while it opens and meet while it closes.

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert torch.equal(clip[3], clip[9])
assert torch.allclose(features[3], features[9], rtol=0, atol=1e-6)

# %%
figures.space_time_cube(clip, cut=(0, 16), title="The clip as a block, cut open through the mouth")

# %% [markdown]
# An image filter can detect slanted lines in height and width. With a third axis, time, it can detect
# slanted lines there, too. This is a **spatiotemporal convolution**, or 3D convolution. LipNet calls a
# network of them a **spatiotemporal CNN (STCNN)**.
#
# ## 2. Along time: one pixel
#
# Take one pixel below the lips, and follow its brightness $x_t$ over time. A filter over three frames with
# weights $K_0, K_1, K_2$ gives
#
# $$y_t = \sum_{i=0}^{2} K_i\, x_{t+i}$$
#
# With $K = (-\tfrac12, 0, \tfrac12)$, the output is half of $x_{t+2} - x_t$. That is the central difference,
# an estimate of the derivative in time at the frame between the two. So we draw $y_t$ at frame $t + 1$.
#
# (Mathematics flips the kernel: $x_{t-i}$. Without the flip, it is a *cross-correlation*.)


# %%
def temporal_conv(x: torch.Tensor, kernel: torch.Tensor) -> torch.Tensor:
    """x (T,), kernel (k,) -> y (T - k + 1,)."""
    y = torch.zeros(len(x) - len(kernel) + 1)  # (T',)
    for i in range(len(kernel)):
        y = y + kernel[i] * x[i : i + len(y)]  # all output times at once
    return y


pixel, central_difference = clip[:, 16, 15], torch.tensor([-0.5, 0.0, 0.5])  # (13,), (3,)
change = temporal_conv(pixel, central_difference)  # (11,)
figures.curves(
    {"brightness": (range(13), pixel), "change": (range(1, 12), change)},
    xlabel="frame",
    ylabel="brightness, and its change per frame",
    level=0.0,
    title="One pixel below the lips: dark means open",
)

# %% [markdown]
# At frame 3 the change is negative: the pixel gets darker, so the mouth opens. At frame 9 it is positive: the
# mouth closes.
#
# Note the loop. It goes over the **offsets of the kernel**: for each $i$, one weight times a shifted slice
# of the whole input. You will do the same in three dimensions.

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert change[3 - 1] < 0 < change[9 - 1]  # y_t is centered on frame t + 1
expected = F.conv1d(pixel[None, None], central_difference[None, None])[0, 0]  # (1, 1, 13) -> (11,)
assert torch.allclose(change, expected, rtol=0, atol=1e-6)

# %% [markdown]
# ## 3. Over space and time: write the convolution
#
# Now the filter covers $k_T$ frames, $k_H$ rows, $k_W$ columns and all $C$ input channels. With **stride**
# $(s_T, s_H, s_W)$, filter $o$ with bias $b_o$ gives
#
# $$y_{o,t,h,w} = b_o + \sum_{c}\sum_{i=0}^{k_T-1}\sum_{j=0}^{k_H-1}\sum_{m=0}^{k_W-1}
# K_{o,c,i,j,m}\; x_{c,\;t s_T+i,\;h s_H+j,\;w s_W+m}$$
#
# **Padding** $(p_T, p_H, p_W)$ puts zeros around the clip before that, on both ends of each axis.
#
# **Output size.** An axis of size $n$ has $n + 2p$ positions once it is padded. The first window takes $k$ of
# them, and each further window needs $s$ of the remaining $n + 2p - k$. So
#
# $$n' = \left\lfloor \frac{n + 2p - k}{s} \right\rfloor + 1$$
#
# ### Exercise 1 · `conv3d_forward` · difficulty ★★★ · 18 minutes
#
# Write the forward pass for a batch. Loop over the offsets $(i, j, m)$ of the kernel, not over the
# positions of the output: a 3 × 5 × 5 kernel has 75 offsets, an output has many thousands of positions. For
# each offset, take the part of the padded clip that this weight meets (a strided slice), multiply, sum over
# the input channels, and add the result to the output. `F.pad` and `torch.einsum` are useful. Do not call
# PyTorch's convolutions.


# %%
def conv3d_forward(x, weight, bias, stride, padding):
    """The 3D convolution of a batch of clips.

    x (B, C, T, H, W), weight (O, C, kT, kH, kW) and bias (O,) are tensors of one floating dtype.
    stride and padding are tuples of three integers: (time, height, width).
    Returns a tensor (B, O, T', H', W') of the same dtype.
    """
    raise NotImplementedError


check("02.conv3d_forward", conv3d_forward)

# %% [markdown]
# <details><summary><b>Help: F.pad pads the wrong axes</b></summary>
#
# `F.pad` counts axes from the last one: `F.pad(x, (left, right, top, bottom, front, back))` pads width,
# then height, then time.
# </details>
#
# <details><summary><b>Help: the strided slice has one element too many</b></summary>
#
# The slice starts at offset $i$ and takes $T'$ elements, $s$ apart. The last of them is at $i + s\,(T' -
# 1)$, so the slice may end right after it.
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def conv3d_forward_solution(x, weight, bias, stride, padding):
    """One weight per offset, times the part of the clip that it meets."""
    (sT, sH, sW), (pT, pH, pW), (kT, kH, kW) = stride, padding, weight.shape[2:]
    x = F.pad(x, (pW, pW, pH, pH, pT, pT))  # (B, C, T + 2pT, H + 2pH, W + 2pW)
    T, H, W = ((n - k) // s + 1 for n, k, s in zip(x.shape[2:], (kT, kH, kW), stride, strict=True))
    y = bias.view(1, -1, 1, 1, 1).expand(len(x), -1, T, H, W)  # (B, O, T', H', W')
    for i, j, m in itertools.product(range(kT), range(kH), range(kW)):
        frames = slice(i, i + sT * (T - 1) + 1, sT)
        rows = slice(j, j + sH * (H - 1) + 1, sH)
        columns = slice(m, m + sW * (W - 1) + 1, sW)
        met = x[:, :, frames, rows, columns]  # (B, C, T', H', W')
        y = y + torch.einsum("oc,bcthw->bothw", weight[:, :, i, j, m], met)
    return y


# %%
conv3d_forward = use("02.conv3d_forward", conv3d_forward, conv3d_forward_solution)

# %% [markdown]
# From here on, `conv3d_forward` is the function named in the line above. Compare it with torch, in values
# and in gradients. Autograd differentiates your loop:

# %%
_ = torch.manual_seed(0)
x = torch.randn(2, 3, 5, 8, 9).double().requires_grad_()  # (B, C, T, H, W)
weight = torch.randn(4, 3, 2, 1, 4).double().requires_grad_()  # (O, C, kT, kH, kW)
bias = torch.randn(4).double().requires_grad_()  # (O,)
ours, theirs = (f(x, weight, bias, (2, 1, 3), (0, 1, 2)) for f in (conv3d_forward, F.conv3d))
agree("values", ours, theirs)
delta = torch.randn_like(theirs)  # (B, O, T', H', W'): an arbitrary upstream gradient
gradients = [torch.autograd.grad(y, (x, weight, bias), delta) for y in (ours, theirs)]
for name, *pair in zip(("x", "weight", "bias"), *gradients, strict=True):
    agree(f"gradient of {name}", *pair)

# %% [markdown]
# The filter below averages over 3 × 3 pixels and takes the difference in time: its weights are $-\tfrac19$
# in its first frame, 0 in its second, $+\tfrac19$ in its third. Red means that the pixels got brighter, blue
# that they got darker. While the mouth opens, its edges are blue.

# %%
change_filter = torch.zeros(1, 1, 3, 3, 3)  # (O, C, kT, kH, kW)
change_filter[:, :, 0], change_filter[:, :, 2] = -1 / 9, 1 / 9
small = draw_mouth(openness[3:10], 13, 16)  # (7, 13, 16)
response = conv3d_forward(small[None, None], change_filter, torch.zeros(1), (1, 1, 1), (0, 0, 0))[0, 0]
figures.space_time(small, response, kernel=(3, 3, 3), position=(0, 8, 6))  # response: (5, 11, 14)

# %% [markdown]
# The middle output is zero: it compares two equal frames. While the mouth closes, the edges are red. (In a
# deeper section you can slide the kernel through the clip.)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert response.shape == (5, 11, 14)
assert response[0].sum() < 0 < response[4].sum() and response[2].abs().max() < 1e-6

# %% [markdown]
# <details><summary><b>Help: wrong shape, "expected input to have 3 channels, but got 75"</b></summary>
#
# Your clip is `(B, T, C, H, W)`, the order that video decoders use. Convolutions need the channels first:
# `x.transpose(1, 2)` swaps the two axes. If both happened to be 3, nothing would warn you.
# </details>
#
# ## 4. LipNet's three layers
#
# LipNet has three spatiotemporal convolutions. Each is followed by ReLU and a **max-pool**, which keeps the
# largest value of each 2 × 2 pixels. The formula of section 3 gives all the shapes, here for a clip of 75
# frames of 64 × 128 pixels. A convolution has $O\,C\,k_T k_H k_W$ weights and $O$ biases. Each output value
# costs $C\,k_T k_H k_W$ **multiply-adds**: one weight times one input, added to a sum.

# %%
# name, output channels, kernel, stride, padding; a pool keeps its channels
LIPNET = [
    ("conv1", 32, (3, 5, 5), (1, 2, 2), (1, 2, 2)),
    ("pool1", None, (1, 2, 2), (1, 2, 2), (0, 0, 0)),
    ("conv2", 64, (3, 5, 5), (1, 1, 1), (1, 2, 2)),
    ("pool2", None, (1, 2, 2), (1, 2, 2), (0, 0, 0)),
    ("conv3", 96, (3, 3, 3), (1, 1, 1), (1, 1, 1)),
    ("pool3", None, (1, 2, 2), (1, 2, 2), (0, 0, 0)),
]


# %% tags=["hide-input"]
# @title Plot: the formulas, layer by layer { display-mode: "form" }
def shape_table(size, layers=LIPNET, channels=3):
    """Rows (name, (C, T, H, W), weights, multiply-adds), the input first."""
    rows = [("input", (channels, *size), 0, 0)]
    for name, out, kernel, stride, padding in layers:
        axes = zip(size, kernel, stride, padding, strict=True)
        size = tuple((n + 2 * p - k) // s + 1 for n, k, s, p in axes)
        per_output = channels * math.prod(kernel)  # multiply-adds per output value
        weights = out * per_output + out if out else 0  # + out: the biases
        channels = out or channels
        multiply_adds = channels * math.prod(size) * per_output if out else 0
        rows.append((name, (channels, *size), weights, multiply_adds))
    return rows


rows = shape_table((75, 64, 128))
figures.shape_ladder(rows, title="LipNet's convolutions: weights and multiply-adds per layer")

# %% [markdown]
# - **No layer shortens the time axis.** 75 frames go in and 75 come out; strides and pools act on height
#   and width only. The CTC loss (notebook 04) needs one output step per letter, plus one between two equal
#   letters in a row: at most 33 for a sentence of the GRID corpus. So 75 steps are plenty.
# - **The number of weights does not tell the cost.** `conv2` has fewer weights than `conv3`, but does 3.7
#   times the multiply-adds, because it uses each weight at four times as many positions.
#
# (The paper's own table of these layers contradicts itself. Find the misprint in a deeper section.)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert [weights for _, _, weights, _ in rows if weights] == [7_232, 153_664, 165_984]
assert sum(weights for _, _, weights, _ in rows) == 326_880
assert rows[1][1] == (32, 75, 32, 64) and rows[-1][1] == (96, 75, 4, 8)
assert {shape[1] for _, shape, _, _ in rows} == {75}
cost = {name: (math.prod(shape[2:]), multiply_adds) for name, shape, _, multiply_adds in rows}
assert cost["conv2"][0] == 4 * cost["conv3"][0] and round(cost["conv2"][1] / cost["conv3"][1], 1) == 3.7

# %% [markdown]
# ## 5. The receptive field
#
# The **receptive field** of an output is the part of the input that can influence it. Along one axis, start
# with a single position. A layer with kernel $k$ adds $k - 1$ neighbors. How far apart are neighbors? One
# input position at first, and a stride of $s$ multiplies this distance by $s$ for all later layers.


# %%
def receptive_field(layers):
    """layers [(kernel, stride), …] along one axis, first layer first -> how many inputs one output sees."""
    field, distance = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * distance
        distance *= stride
    return field


frames_seen, rows_seen = (receptive_field([(k[i], s[i]) for _, _, k, s, _ in LIPNET]) for i in (0, 1))
print(f"one output of LipNet's convolutions sees {frames_seen} frames of {rows_seen} × {rows_seen} pixels")

# %% [markdown]
# Seven frames are 0.28 s at 25 frames per second. Everything that lasts longer is left to the GRUs of
# notebook 03. (A deeper section measures the receptive field with your convolution.)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert (frames_seen, rows_seen) == (7, 51) and frames_seen / 25 == 0.28  # seconds

# %% [markdown]
# ## 6. A detector of motion, by hand
#
# Take random textures that move by one pixel per frame. A single frame looks like noise. Here are two, moving
# to the left and to the right.


# %% tags=["hide-input"]
# @title Plot: textures that move { display-mode: "form" }
def moving_textures(steps, generator, size=16, frames=6, noise=0.0):
    """A random texture per step (rows, columns), moved by it from frame to frame -> clips (B, 1, T, H, W)."""
    clips = torch.empty(len(steps), 1, frames, size, size)
    for b, (dy, dx) in enumerate(steps):
        texture = torch.randn(size, size, generator=generator)  # (H, W)
        for t in range(frames):
            clips[b, 0, t] = texture.roll((t * dy, t * dx), dims=(0, 1))  # what leaves on one side comes back
    return clips + noise * torch.randn(clips.shape, generator=generator)


two = moving_textures([(0, -1), (0, 1)], torch.Generator().manual_seed(0))  # (2, 1, 6, 16, 16)
both = two[:, 0].flatten(0, 1)  # (2 clips of 6 frames, H, W)
figures.filmstrip(both, range(12), columns=6, title="Frames 0–5 move to the left, frames 6–11 to the right")

# %% [markdown]
# Press play (Jupyter or Colab) to see the motion:

# %% tags=["hide-input"]
# @title Interaction { display-mode: "form" }
from ipywidgets import FloatSlider, Play, interact


def play(t):
    clips = moving_textures([(0, -1), (0, 1)], torch.Generator().manual_seed(0), frames=16)
    return figures.filmstrip(clips[:, 0, t], [0, 1], ["to the left", "to the right"], columns=2, width=4.5)


# %% tags=["nbval-ignore-output"]
# output not compared: the player is a widget, which lives only while the notebook runs
_ = interact(play, t=Play(min=0, max=15, interval=250, repeat=True))

# %% [markdown]
# ### Exercise 2 · `motion_detector` · difficulty ★★☆ · 10 minutes
#
# Design a single 3 × 3 × 3 filter per direction. `motion_detector(dy, dx)` returns weights that respond to
# a texture that moves by `dy` rows and `dx` columns per frame. The response is the mean of ReLU of the
# convolution. It must be at least 1.5 times the response to the same texture when it moves in any of the
# other seven directions, **diagonals included**, and when it stands still. Hint: in each of the three
# frames, where is a point that passes through the center?


# %%
def motion_detector(dy, dx):
    """A filter for motion by (dy, dx), each -1, 0 or 1 and not both 0; dy > 0 is down, dx > 0 to the right.

    Returns a floating-point tensor (1, 1, 3, 3, 3): (out, in, time, height, width).
    """
    raise NotImplementedError


check("02.motion_detector", motion_detector)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def motion_detector_solution(dy, dx):
    """One weight per frame, where a point that moves by (dy, dx) through the center is."""
    weight = torch.zeros(1, 1, 3, 3, 3)
    for t in range(3):
        weight[0, 0, t, 1 + (t - 1) * dy, 1 + (t - 1) * dx] = 1.0
    return weight


# %%
motion_detector = use("02.motion_detector", motion_detector, motion_detector_solution)

# %% [markdown]
# Measure the response to all eight directions with your convolution. Plotted over the angle, it is a
# **direction tuning curve**. Below are two of your detectors, and a filter whose single point stands still.
# **Predict** the three curves.

# %%
DIRECTIONS = [(0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1)]  # counterclockwise
eight = torch.cat(  # (8, 1, 6, 32, 32): the same texture in each direction
    [moving_textures([step], torch.Generator().manual_seed(0), size=32) for step in DIRECTIONS]
)


def tuning(filters):
    """filters (O, 1, 3, 3, 3) -> mean response to each direction (O, 8)."""
    with torch.no_grad():
        y = conv3d_forward(eight, filters.float(), torch.zeros(len(filters)), (1, 1, 1), (0, 0, 0))
    return y.relu().mean(dim=(2, 3, 4)).T  # (8, O, T', H', W') -> (O, 8)


point = torch.zeros(1, 1, 3, 3, 3)
point[0, 0, :, 1, 1] = 1.0
bank = torch.cat([motion_detector(0, 1), motion_detector(-1, -1), point])  # (3, 1, 3, 3, 3)
names = ["motion_detector(0, 1)", "motion_detector(-1, -1)", "a point at rest"]

# %% tags=["predict"]
figures.direction_tuning(dict(zip(names, tuning(bank), strict=True)), title="Direction tuning curves")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Each detector responds most to its own direction: $(-1, -1)$ is up and to the left. The point at rest
# responds to all directions alike.
# </details>

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
right_curve, up_left_curve, point_curve = tuning(bank)
assert right_curve.argmax() == 0 and right_curve[0] > 1.2 * right_curve[1:].max()
assert DIRECTIONS[3] == (-1, -1) and up_left_curve.argmax() == 3
assert point_curve.min() > 0.8 * point_curve.max()
detectors = torch.cat([motion_detector(dy, dx) for dy, dx in DIRECTIONS])  # (8, 1, 3, 3, 3)
assert torch.equal(tuning(detectors).argmax(dim=1), torch.arange(8))

# %% [markdown]
# ## 7. Left or right? A network learns it
#
# Now a network finds the weights. The textures move to the left or to the right, under noise as strong as
# the texture. The network has one layer of filters, ReLU, the mean over the clip, and a linear layer. We
# compare 24 image filters (1 × 5 × 5) with 8 filters of three frames (3 × 5 × 5): 600 filter weights each.
# **Predict** the accuracy of each. Guessing gives 50 %.


# %%
def left_or_right(count, generator):
    """Noisy clips (B, 1, T, H, W) and labels (B,): 0 moves to the left, 1 to the right."""
    labels = torch.randint(0, 2, (count,), generator=generator)  # (B,)
    return moving_textures([(0, 2 * y - 1) for y in labels.tolist()], generator, noise=1.0), labels


def direction_network(frames, filters):
    """(B, 1, T, H, W) -> logits (B, 2)."""
    return nn.Sequential(
        nn.Conv3d(1, filters, (frames, 5, 5), padding=(frames // 2, 2, 2)),  # (B, O, T, H, W), as yours
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(1),  # (B, O, 1, 1, 1)
        nn.Flatten(),  # (B, O)
        nn.Linear(filters, 2),  # (B, 2)
    )


device = lessons.device()
GPU = device.type == "cuda"
STEPS = 300 if GPU else 60


def train(frames, filters, seed):
    _ = torch.manual_seed(seed)
    network, generator = direction_network(frames, filters), torch.Generator().manual_seed(seed)
    network = network.to(device)
    optimizer, losses = torch.optim.Adam(network.parameters(), lr=0.02), []
    for _ in range(STEPS):
        clips, labels = (t.to(device) for t in left_or_right(32, generator))  # new clips in every step
        loss = F.cross_entropy(network(clips), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return network.cpu(), losses


SETTINGS = {"1 × 5 × 5": (1, 24), "3 × 5 × 5": (3, 8)}
runs = [(name, seed) for name in SETTINGS for seed in range(3)]
trained = {(name, seed): train(*SETTINGS[name], seed) for name, seed in runs}

# %% tags=["predict"]
test_clips, test_labels = left_or_right(200, torch.Generator().manual_seed(1000))  # not seen in training
accuracy = {name: [] for name in SETTINGS}
with torch.no_grad():
    for (name, _), (network, _) in trained.items():
        correct = network(test_clips).argmax(1) == test_labels  # (200,)
        accuracy[name].append(correct.double().mean().item())
for name, values in accuracy.items():
    print(f"{name}: accuracy above 0.9 in {sum(a > 0.9 for a in values)} of {len(values)} seeds")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The image filters stay near 50 % in all three seeds; the filters of three frames get above 90 % in all
# three.
# </details>

# %% tags=["hide-input"]
# @title Plot: learning curves { display-mode: "form" }
smooth = torch.ones(1, 1, 10) / 10  # moving average over 10 steps
curves = {}
for name in SETTINGS:
    losses = torch.tensor([trained[name, seed][1] for seed in range(3)])  # (3, STEPS)
    curves[name] = F.conv1d(losses[:, None], smooth)[:, 0]  # (3, STEPS - 9)
figures.curves(
    curves,
    steps=range(10, STEPS + 1),
    level=math.log(2),
    level_label="guessing: ln 2",
    ylabel="loss, moving average over 10 steps",
    ylim=(0, 0.8),
    title="Left or right: mean and range of three seeds",
)

# %% [markdown]
# Longer training would not help the image filters. This can be **proved**. Reverse a clip in time: left
# becomes right, but the *set* of frames stays the same. A network that averages over single frames gives a
# clip and its reverse the same logits, so one of the two answers is wrong. On clips together with their
# reverses, its accuracy is exactly one half. (The claims below check this with your convolution.)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
clips = torch.cat([test_clips[:12], test_clips[:12].flip(2)]).double()  # (24, 1, 6, 16, 16); axis 2 is time
clip_labels = torch.cat([test_labels[:12], 1 - test_labels[:12]])  # (24,)


def logits_of(network):
    """The logits (24, 2) of a trained network, its convolution computed by conv3d_forward."""
    conv, *others = network.double()
    with torch.no_grad():
        y = conv3d_forward(clips, conv.weight, conv.bias, conv.stride, conv.padding)  # (24, O, 6, 16, 16)
        return nn.Sequential(*others)(y)


assert {name: direction_network(*setting)[0].weight.numel() for name, setting in SETTINGS.items()} == {
    "1 × 5 × 5": 600, "3 × 5 × 5": 600
}  # fmt: skip
assert max(abs(a - 0.5) for a in accuracy["1 × 5 × 5"]) < 0.15 and min(accuracy["3 × 5 × 5"]) > 0.9
for (name, _), (network, _) in trained.items():
    logits = logits_of(network)
    correct = int((logits.argmax(1) == clip_labels).sum())
    assert torch.allclose(logits[:12], logits[12:], rtol=0, atol=1e-9) == (name == "1 × 5 × 5")
    assert correct == 12 if name == "1 × 5 × 5" else correct >= 20

# %% [markdown]
# ### What has it learned?
#
# Below are the eight learned filters (seed 0), each with the direction that it votes for: the logit that it
# raises more. At the bottom is an x–t slice: the filter's strongest row, with time running downwards.
# **Predict** its slant.

# %%
network = trained["3 × 5 × 5", 0][0]
filters = network[0].weight.detach()[:, 0]  # (8, 3, 5, 5)
vote = (network[4].weight[1] - network[4].weight[0]).detach()  # (8,), above 0: votes for "right"
order = vote.argsort(descending=True)  # (8,)
votes = ["right" if vote[o] > 0 else "left" for o in order]

# %% tags=["predict"]
figures.kernels(filters[order].float(), votes, title="Learned filters, and the direction that each votes for")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# In most slices, red and blue lines slant in the direction of the vote: to the lower right for "right", to
# the lower left for "left". The weights are noisy. A deeper section measures the speed that each filter
# matches: in all three seeds it is the speed that the filter votes for.
# </details>
#
# And in lip reading? LipNet's authors also trained a model without the time axis in its filters,
# Baseline-2D. It still has GRUs to combine frames over time. Yet on unseen speakers its word error rate is
# 26.7 %, against LipNet's 11.4 % (Table 2 of the paper).

# %% [markdown]
# ## 8. Bug hunt: a convolution that is never negative
#
# A **forward hook** is a function that a layer calls with its output; people keep that output to inspect it.
# This block is written as in a widely copied public LipNet. A user reports: *"My convolution never gives a
# negative value. Is it broken?"* Find the bug before you read on.


# %%
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 32, (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.conv(x))  # (B, 3, T, H, W) -> (B, 32, T, H/2, W/2)


_ = torch.manual_seed(0)
block, kept = Block(), {}
block.conv.register_forward_hook(lambda layer, inputs, out: kept.update(out=out))
with torch.no_grad():
    block(torch.randn(1, 3, 5, 32, 64))
print(f"smallest value of the convolution's output: {kept['out'].min().item():.1f}")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# When the hook ran, the output had negative values. The hook kept the tensor, not a copy. Then the ReLU with
# `inplace=True` wrote its zeros **into that tensor**. The convolution is fine, but the evidence was
# overwritten. No error is raised, because autograd does not need the convolution's output for its gradients.
# The fix is an ordinary ReLU, which makes a new tensor, as in the package's block.
# </details>

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
block.conv.register_forward_hook(lambda layer, inputs, out: kept.update(at_hook=out.min().item()))
with torch.no_grad():
    block(torch.randn(1, 3, 5, 32, 64))
assert kept["at_hook"] < -1 and kept["out"].min() == 0
block.relu = nn.ReLU()  # not in place
with torch.no_grad():
    block(torch.randn(1, 3, 5, 32, 64))
assert kept["at_hook"] == kept["out"].min() < -1
assert not stcnn.STCNN(3, 4, 3).relu.inplace

# %% [markdown]
# ## Deeper: slide the kernel
#
# In Jupyter or Colab, move the kernel of section 3 through the clip:


# %% tags=["nbval-ignore-output"]
# output not compared: the slider is a widget, which lives only while the notebook runs
@interact(t=(0, 4), y=(0, 10), x=(0, 13))
def slide(t=4, y=8, x=6):
    return figures.space_time(small, response, kernel=(3, 3, 3), position=(t, y, x))


# %% [markdown]
# ## Deeper: a misprint, caught by arithmetic
#
# Table 3 of the LipNet paper prints a stride of 1, 2, 2 for **all three** convolutions. The same table says
# that for the paper's crops of 50 × 100, `conv2` maps 12 × 25 to 12 × 25, and `conv3` maps 6 × 12 to 6 ×
# 12. **Predict**: which of the two is misprinted?

# %% tags=["predict"]
as_printed = [(n, c, k, (1, 2, 2), p) for n, c, k, _, p in LIPNET]  # stride 1, 2, 2 everywhere
print("layer   stride 1,2,2 everywhere   stride 1 in conv2, conv3")
for printed, ours in zip(shape_table((75, 50, 100), as_printed), shape_table((75, 50, 100)), strict=True):
    print(f"{printed[0]:7} {printed[1]!s:25} {ours[1]}")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The stride. Only a stride of 1 in the last two convolutions gives the sizes in the table, and the authors'
# code has stride 1 there. With the printed stride, the last layer would have one position per frame: 96
# numbers instead of 1,728. The number of weights is the same in both cases, so comparing weights would not
# find the misprint.
# </details>

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
sizes = {name: shape[2:] for name, shape, _, _ in shape_table((75, 50, 100))}
assert sizes["pool1"] == sizes["conv2"] == (12, 25) and sizes["pool2"] == sizes["conv3"] == (6, 12)
assert math.prod(shape_table((75, 50, 100))[-1][1]) // 75 == 1728  # features per frame
assert math.prod(shape_table((75, 50, 100), as_printed)[-1][1]) // 75 == 96
assert [row[2] for row in shape_table((75, 50, 100), as_printed)] == [row[2] for row in rows]  # weights

# %% [markdown]
# ## Deeper: the receptive field, measured
#
# Measure the receptive field of section 5 with your convolution. An input whose gradient is not zero
# influences the output. (The converse fails: contributions can cancel, and a max-pool passes on one value
# only. So this probe has positive weights and average pools.)

# %%
probe = torch.zeros(1, 1, 9, 80, 80, requires_grad=True)  # (B, C, T, H, W), one channel is enough
y = probe
for _, out, kernel, stride, padding in LIPNET:
    ones = torch.ones(1, 1, *kernel)  # (O, C, kT, kH, kW)
    y = conv3d_forward(y, ones, torch.zeros(1), stride, padding) if out else F.avg_pool3d(y, kernel)
y[0, 0, 4, 2, 2].backward()  # one output in the middle of (1, 1, 9, 5, 5)
gradient = probe.grad[0, 0]  # (T, H, W)
seen = gradient > 0
measured = tuple(int(seen.any(dim=other).sum()) for other in [(1, 2), (0, 2), (0, 1)])
center = gradient[:, 27:52, 27:52].sum() / gradient.sum()  # the middle 25 x 25 of the 51 x 51 pixels
print("measured: frames, rows, columns =", measured)
print(f"fraction of the gradient in the middle quarter of the area: {center:.2f}")
figures.filmstrip(gradient.sqrt(), range(1, 8), columns=7, title="Square root of the gradient of one output")

# %% [markdown]
# The formula is right. The gradient also shows that the field has soft edges. Few paths reach the corners
# and many the center, so the middle quarter of the area has more than half of the gradient. The part of the
# input that matters in practice is called the **effective receptive field**.

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert measured == (frames_seen, rows_seen, rows_seen)
assert 25**2 / 51**2 < 0.25 and 0.55 < center < 0.65

# %% [markdown]
# ## Deeper: an edge, and the aperture problem
#
# Section 6 used single points. Now take a column of three weights that moves to the right. **Predict** its
# direction tuning curve.

# %% tags=["predict"]
column = torch.zeros(1, 1, 3, 3, 3)
for t in range(3):
    column[0, 0, t, :, t] = 1.0
figures.direction_tuning({"a moving column": tuning(column)[0]}, width=3.5)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
column_curve = tuning(column)[0]
assert column_curve.argmax() == 0 and column_curve[[1, 7]].min() > 0.75 * column_curve[0]
assert column_curve[2:7].max() < 0.7 * column_curve[0]

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The column prefers the right, but the two diagonals beside it come close: a long edge that moves along
# itself hardly changes. Seen through a small window, only the motion across an edge can be measured. This is
# the **aperture problem**.
# </details>
#
# Now move the weights yourself. Each slider is one weight of an x–t slice: a frame $t$ and a column $x$.
# Start with three weights on the diagonal. Try a negative weight, a filter that is a pattern in space times
# a pattern in time (it cannot prefer one of two opposite directions), and all three rows instead of one.


# %% tags=["hide-input"]
# @title Interaction { display-mode: "form" }
def explore(three_rows, **weights):
    xt = torch.tensor(list(weights.values())).view(3, 3)  # (t, x)
    filters = torch.zeros(1, 1, 3, 3, 3)
    filters[0, 0, :, slice(0, 3) if three_rows else slice(1, 2)] = xt[:, None]
    return figures.direction_tuning({"your filter": tuning(filters)[0]}, width=3.5)


sliders = {
    f"t{t}_x{x}": FloatSlider(float(t == x), min=-1, max=1, step=0.5, description=f"t = {t}, x = {x}")
    for t in range(3)
    for x in range(3)
}

# %% tags=["nbval-ignore-output"]
# output not compared: the sliders are widgets, which live only while the notebook runs
_ = interact(explore, three_rows=False, **sliders)

# %% [markdown]
# ## Deeper: the speed of a learned filter
#
# How fast does the pattern of a learned filter move? Shift the filter's three frames back by a speed $v$ (in
# pixels per frame) and add them up. If the pattern moves at this speed, the three frames line up and the sum
# is large.


# %%
def energy(filter3, v):
    """filter3 (3, 5, 5) -> energy of the sum of its frames, each shifted back by v pixels per frame."""
    aligned = sum(F.pad(frame, (4 - v * t, 4 + v * t)) for t, frame in enumerate(filter3))  # (5, 13)
    return aligned.square().sum().item()


def matching(network):
    """How many of the eight filters match the speed that they vote for: +1 or -1 pixel per frame."""
    vote = (network[4].weight[1] - network[4].weight[0]).tolist()
    filters = network[0].weight.detach()[:, 0]  # (8, 3, 5, 5)
    speeds = [max(range(-2, 3), key=lambda v, f=f: energy(f, v)) for f in filters]
    return sum(speed == math.copysign(1, v) for speed, v in zip(speeds, vote, strict=True))


for seed in range(3):
    count = matching(trained["3 × 5 × 5", seed][0])
    print(f"seed {seed}: {count} of 8 filters match the speed that they vote for")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert all(matching(trained["3 × 5 × 5", seed][0]) == 8 for seed in range(3))

# %% [markdown]
# In all three seeds, every filter is matched to the speed in the data and votes for its direction. The
# linear layer subtracts the responses of the filters for one direction from those for the other.
#
# Adelson and Bergen proposed a similar model of how animals see motion in 1985: filters that are slanted in
# space-time, and the difference between opposite directions. (Their *motion energy* squares and adds the
# outputs of pairs of filters; ours has a ReLU and a mean.)

# %% [markdown]
# ## Deeper: one matrix product
#
# The window under a filter and the filter are both lists of $C\,k_T k_H k_W$ numbers, and one output value
# is their dot product. Write every window as one **row** of a matrix and every filter as one **column** of
# another. Then the whole convolution is a single matrix product. This is known as **im2col**.


# %%
def conv3d_im2col(x, weight, bias):
    """x (B, C, T, H, W) -> (B, O, T', H', W'), for stride 1 without padding."""
    windows = x
    for axis, k in enumerate(weight.shape[2:], start=2):
        windows = windows.unfold(axis, k, 1)  # a view, no copy: (B, C, T', H', W', kT, kH, kW) in the end
    size = windows.shape[2:5]  # (T', H', W')
    matrix = windows.permute(0, 2, 3, 4, 1, 5, 6, 7).reshape(
        len(x), math.prod(size), -1
    )  # (B, T'H'W', C kT kH kW)
    y = matrix @ weight.flatten(1).T + bias  # (B, T'H'W', O)
    return y.transpose(1, 2).reshape(len(x), -1, *size)  # (B, O, T', H', W')


_ = torch.manual_seed(0)
x = torch.randn(2, 3, 5, 8, 9, dtype=torch.float64)  # (B, C, T, H, W)
weight = torch.randn(4, 3, 3, 5, 5, dtype=torch.float64)  # (O, C, kT, kH, kW)
bias = torch.randn(4, dtype=torch.float64)  # (O,)
agree(
    "im2col against yours",
    conv3d_im2col(x, weight, bias),
    conv3d_forward(x, weight, bias, (1, 1, 1), (0, 0, 0)),
)

# %% [markdown]
# The price is memory: a pixel is copied into every window that covers it. **Predict**: for a 3 × 5 × 5
# kernel, how many times as large as the padded clip is the matrix?

# %% tags=["predict"]
for name, (T, H, W) in [("the clip above", (5, 8, 9)), ("input of LipNet's conv2", (77, 20, 36))]:
    windows = (T - 2) * (H - 4) * (W - 4)  # T' H' W'
    per_frame = T * (H - 4) * (W - 4)  # the 5 x 5 windows of single frames
    copies, by_frame = windows * 75 / (T * H * W), per_frame * 25 / (T * H * W)
    print(f"{name}: all windows {copies:.1f} times, windows of single frames {by_frame:.1f} times")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# At most 75 times, the number of offsets. Fewer windows fit near the borders: it is 52 times for `conv2`,
# and 12.5 times for the small clip. The package's version lays out only the 5 × 5 windows of single frames,
# 18 times the clip for `conv2`. It multiplies them with each of the three slices of the filter and adds up
# the products of neighboring frames.
# </details>

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert round(75 * 16 * 32 * 75 / math.prod((77, 20, 36))) == 52
assert round(77 * 16 * 32 * 25 / math.prod((77, 20, 36))) == 18
assert 3 * 4 * 5 * 75 / math.prod((5, 8, 9)) == 12.5

# %% [markdown]
# ## Deeper: the backward pass, by hand
#
# Let $\delta_{o,t,h,w} = \partial L / \partial y_{o,t,h,w}$ be the gradient of the loss $L$ with respect to
# the output. For one channel, one filter and stride 1, the forward pass is
#
# $$y_{t,h,w} = \sum_{i,j,m} K_{i,j,m}\; x_{t+i,\,h+j,\,w+m}$$
#
# **Weight.** $K_{i,j,m}$ was multiplied by $x_{t+i,h+j,w+m}$ at every output position. So
#
# $$\frac{\partial L}{\partial K_{i,j,m}} = \sum_{t,h,w} \delta_{t,h,w}\; x_{t+i,\,h+j,\,w+m}$$
#
# Here $\delta$ slides over $x$: the gradient of the weight is itself a convolution.
#
# **Input.** $x_{t',h',w'}$ went into $y_{t,h,w}$ with the weight $K_{t'-t,\,h'-h,\,w'-w}$, wherever that
# exists:
#
# $$\frac{\partial L}{\partial x_{t',h',w'}} = \sum_{t,h,w} \delta_{t,h,w}\; K_{t'-t,\,h'-h,\,w'-w}$$
#
# Now the index runs the other way. In code, for each offset, $\delta$ times one weight is added onto the
# slice of $x$ that this weight met. This scatter-add is known as **col2im**.
#
# ### Exercise 3 · `conv3d_backward` · difficulty ★★★ · 20 minutes
#
# Write both gradients for a batch, with several channels and filters, and with a stride (no padding). The
# loop is the one of your forward pass. At each offset, one line updates each gradient.


# %%
def conv3d_backward(x, weight, grad_output, stride):
    """The gradients of a 3D convolution without padding.

    x (B, C, T, H, W), weight (O, C, kT, kH, kW) and grad_output (B, O, T', H', W') have one floating dtype.
    stride is a tuple of three integers: (time, height, width).
    Returns a tuple (grad_x, grad_weight) of tensors, shaped like x and weight.
    """
    raise NotImplementedError


check("02.conv3d_backward", conv3d_backward)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def conv3d_backward_solution(x, weight, grad_output, stride):
    """At each offset: what this weight met, times delta; and this weight times delta, added where it met."""
    grad_x, grad_weight = torch.zeros_like(x), torch.zeros_like(weight)
    for i, j, m in itertools.product(*map(range, weight.shape[2:])):
        sizes = zip((i, j, m), grad_output.shape[2:], stride, strict=True)
        met = (..., *(slice(first, first + s * (n - 1) + 1, s) for first, n, s in sizes))  # along T, H, W
        grad_weight[:, :, i, j, m] = torch.einsum("bothw,bcthw->oc", grad_output, x[met])
        grad_x[met] += torch.einsum("bothw,oc->bcthw", grad_output, weight[:, :, i, j, m])
    return grad_x, grad_weight


# %%
conv3d_backward = use("02.conv3d_backward", conv3d_backward, conv3d_backward_solution)

# %% [markdown]
# Compare it with autograd through your own forward pass. With small integers nothing is rounded, so the two
# must be equal exactly:

# %%
_ = torch.manual_seed(0)
x = torch.randint(-3, 4, (2, 3, 6, 7, 8)).double().requires_grad_()  # (B, C, T, H, W)
weight = torch.randint(-3, 4, (4, 3, 3, 2, 3)).double().requires_grad_()  # (O, C, kT, kH, kW)
stride = (1, 2, 2)
y = conv3d_forward(x, weight, torch.zeros(4).double(), stride, (0, 0, 0))  # (2, 4, 4, 3, 3)
delta = torch.randint(-3, 4, y.shape).double()
by_autograd = torch.autograd.grad(y, (x, weight), delta)
by_hand = conv3d_backward(x.detach(), weight.detach(), delta, stride)
for name, ours, theirs in zip(("x", "weight"), by_hand, by_autograd, strict=True):
    print(f"gradient of {name:6}: exactly equal: {torch.equal(ours, theirs)}")

# %% [markdown]
# With stride 1, the input's gradient is a convolution, too: pad $\delta$ by $k - 1$ on both ends, flip the
# kernel along all three axes, swap its channel axes, and convolve. This is the flip that section 2 left
# out. The operation has a name: **transposed convolution**.

# %%
y = conv3d_forward(x, weight, torch.zeros(4).double(), (1, 1, 1), (0, 0, 0))  # (2, 4, 4, 6, 6)
delta = torch.randint(-3, 4, y.shape).double()
flipped = weight.detach().flip(2, 3, 4).transpose(0, 1)  # (C, O, kT, kH, kW)
as_convolution = conv3d_forward(delta, flipped, torch.zeros(3).double(), (1, 1, 1), (2, 1, 2))
print(
    "equal:", torch.equal(as_convolution, conv3d_backward(x.detach(), weight.detach(), delta, (1, 1, 1))[0])
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert all(torch.equal(ours, theirs) for ours, theirs in zip(by_hand, by_autograd, strict=True))
assert torch.equal(as_convolution, torch.autograd.grad(y, x, delta)[0])

# %% [markdown]
# ## Deeper: dropout before or after the pool?
#
# In training, LipNet also drops whole channels at random (**channel dropout**) and scales up the others.
# The paper's text puts this *before* the max-pool, its appendix *after* it. **Predict**: how much does the
# order change the result? And with ordinary dropout, which drops single values?

# %% tags=["predict"]
_ = torch.manual_seed(0)
maps = torch.randn(3, 5, 8, 10)  # (C, T, H, W)
scale = torch.tensor([0.0, 2.0, 2.0]).view(3, 1, 1, 1)  # channel 0 is dropped, the others doubled
channels_equal = torch.equal(F.max_pool3d(maps * scale, (1, 2, 2)), F.max_pool3d(maps, (1, 2, 2)) * scale)
mask = 2.0 * torch.randint(0, 2, maps.shape)  # ordinary dropout
pooled_mask = mask[:, :, ::2, ::2]  # (C, T, H / 2, W / 2): a mask for the pooled values
values_equal = torch.equal(F.max_pool3d(maps * mask, (1, 2, 2)), F.max_pool3d(maps, (1, 2, 2)) * pooled_mask)
print("the order makes no difference: channel dropout", channels_equal, "· ordinary dropout", values_equal)

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# For channel dropout the results are equal to the last bit. A channel is multiplied by one number $a \ge
# 0$, and $\max(a x) = a \max(x)$. The only difference is speed: after the pool there is a quarter of the
# values to multiply. For ordinary dropout the order matters: if the largest value of a window is dropped
# before the pool, the pool passes on another one.
# </details>

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert channels_equal and not values_equal

# %% [markdown]
# ## Deeper: a clip with height and width swapped
#
# The public LipNet of the bug hunt flattens the features of each frame for a layer with 3,072 inputs. Three
# clips arrive: one as expected, one with height and width swapped, and one of the paper's size, 50 × 100.
# **Predict** which of them raise an error.

# %% tags=["predict"]
front = nn.Sequential(
    stcnn.STCNN(3, 32, (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2)),
    stcnn.STCNN(32, 64, (3, 5, 5), padding=(1, 2, 2)),
    stcnn.STCNN(64, 96, (3, 3, 3), padding=(1, 1, 1)),
).eval()
head, verdicts = nn.Linear(3072, 28), []
for name, size in [("64 × 128", (64, 128)), ("128 × 64, swapped", (128, 64)), ("50 × 100", (50, 100))]:
    with torch.no_grad():
        features = front(torch.zeros(1, 3, 3, *size))  # (1, 96, 3, h, w)
    per_frame = features.transpose(1, 2).flatten(2)  # (1, 3, 96 h w)
    try:
        _ = head(per_frame)  # (1, 3, 28)
        verdicts.append("accepted")
    except RuntimeError:
        verdicts.append("RuntimeError")
    shape = tuple(features.shape[1:])
    print(f"{name:18} features {shape!s:14} {per_frame.shape[2]:5} per frame: {verdicts[-1]}")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The swapped clip is accepted, because $4 \cdot 8 = 8 \cdot 4$. Of the 32 positions of a channel, only two
# keep their place in the flattened vector; the other 30 reach weights trained for another position. There
# is no warning. A correct clip of another size raises an error about matrix shapes.
# </details>
#
# Flattening forgets which number was the height. So **validate the shape where its axes still have names**,
# at the input of the model, as `lessons.lipreading.lipnet` does:

# %%
from lessons.lipreading.lipnet import LipNet

try:
    LipNet(channels=(4, 4, 4), hidden_size=8)(torch.zeros(1, 3, 3, 128, 64))  # (B, C, T, W, H): swapped
except ValueError as error:
    print(error)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert verdicts == ["accepted", "accepted", "RuntimeError"]
there = torch.arange(32).view(4, 8)  # position of (row, column) in the flattened vector
swapped = torch.arange(32).view(8, 4).T  # and of the same (row, column) in a swapped clip
assert int((there == swapped).sum()) == 2
try:
    LipNet(channels=(4, 4, 4), hidden_size=8)(torch.zeros(1, 3, 3, 128, 64))
except ValueError as error:
    assert "swapped" in str(error)
else:
    raise AssertionError("the swapped clip was accepted")

# %% [markdown]
# ## Deeper: the package's version
#
# This is the forward pass of the package's block, with an ordinary ReLU:

# %%
show(stcnn.STCNN.forward)

# %% [markdown]
# `lessons.layers.conv3d_fast` uses the matrix product a few frames at a time, so that its columns fit into
# the cache. Its backward pass computes the columns again instead of storing them. Find the two products of
# the backward pass above: `deltas @ im2col(…).mT` for the weight, `filters.mT @ deltas` and `col2im` for
# the input.

# %%
show(conv3d_fast.Conv3dColumns.backward)

# %%
bias = torch.zeros(4).double()
for stride, padding in [((1, 1, 1), (0, 0, 0)), ((1, 2, 2), (1, 0, 2))]:
    ours = conv3d_forward(x, weight, bias, stride, padding)
    agree(
        f"package against yours, stride {stride}", conv3d_fast.conv3d(x, weight, bias, stride, padding), ours
    )

# %% [markdown]
# `lessons.measure.counting` runs a model once and counts what each layer does. It must agree with the table
# of section 4.

# %%
from lessons.measure.counting import count

costs = count(front, torch.zeros(1, 3, 75, 64, 128))
counted = [(row.weights, row.multiply_adds) for row in costs.rows if row.weights]
print("the same as by hand:", counted == [(w, work) for _, _, w, work in rows if w])

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert counted == [(w, work) for _, _, w, work in rows if w]

# %% [markdown]
# ## Recap
#
# - Motion is in the differences between frames. A network that averages over single frames cannot tell its
#   direction. A filter of three frames can.
# - A 3D convolution adds up, for each offset of the kernel, one weight times a strided slice of the clip.
#   Your version has the same values and gradients as PyTorch's.
# - Along each axis, the output has $\lfloor (n + 2p - k)/s \rfloor + 1$ positions. A layer widens the
#   receptive field by $(k - 1)$ times the product of all earlier strides.
# - LipNet's convolutions keep all 75 frames and have 326,880 weights; one output sees 7 frames of 51 × 51
#   pixels.
# - A filter whose pattern moves through its frames is selective for a direction.
#
# ## Glossary
#
# | word | meaning | also called |
# |---|---|---|
# | spatiotemporal convolution | a filter that slides over time, height and width | 3D convolution |
# | STCNN | a network of spatiotemporal convolutions; in LipNet its block with ReLU, pool, dropout | 3D CNN |
# | kernel, filter | the weights that slide; a filter spans all input channels, gives one output channel | |
# | cross-correlation | what deep learning calls convolution: the kernel is not flipped | |
# | stride, padding | the step from one window to the next; zeros put around the clip | |
# | im2col | writing all windows as rows of a matrix, so that convolution becomes a matrix product | unfold |
# | col2im | adding windows back onto the positions they came from | fold, scatter-add |
# | max-pool | keep the largest value of each window | |
# | channel dropout | in training, drop whole channels at random and scale up the rest | spatial dropout |
# | receptive field | the part of the input that can influence one output | field of view |
# | effective receptive field | the part of it that influences the output much | |
# | direction tuning curve | a filter's response, plotted over the direction of motion | |
# | aperture problem | through a small window, only the motion across an edge can be measured | |
# | forward hook | a function that a layer calls with its output | |
#
# ## Sources
#
# - Y. Assael, B. Shillingford, S. Whiteson, N. de Freitas, *LipNet: End-to-End Sentence-level Lipreading*,
#   [arXiv 1611.01599](https://arxiv.org/abs/1611.01599): §3.1 (the convolution), Table 2 (Baseline-2D),
#   Table 3 and appendix A.1 (the layers); the authors' code:
#   [bshillingford/LipNet](https://github.com/bshillingford/LipNet).
# - E. Adelson, J. Bergen, *Spatiotemporal energy models for the perception of motion*, Journal of the
#   Optical Society of America A 2(2), 1985.
# - M. Okabe, K. Ito, *Color Universal Design*, 2008: the colors of our figures.
#
# **Next**: notebook 03 gives the network a hidden state for everything that lasts longer than seven frames:
# the GRU.
