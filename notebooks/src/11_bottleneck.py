# %% [markdown]
# # 11 · The bottleneck
#
# **You will count the cost of any convolution, replace a layer of 589,824 weights by a block of 69,632, and
# find out what the saving costs: in what the layer can compute, and in measured time.**
#
# *Core path: about 60 minutes; deeper sections: about 10; all cells together run in about 25 seconds on one
# CPU core.*
#
# **You need**: convolution, padding and stride (notebook 02), weights and multiply-adds (notebook 06), matrix
# products. Singular values are explained where they are needed.
#
# **You will be able to**
# - explain what a 1 × 1 convolution computes;
# - count weights and multiply-adds of any convolution, and check a published sum;
# - write a depthwise-separable convolution;
# - state which functions a bottleneck and a depthwise-separable convolution can no longer compute;
# - use a roofline plot to see how fast a layer could run, and how fast it runs.

# %%
import math
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
import torchinfo
from torch import nn

from lessons import figures
from lessons.checks import agree, check, use
from lessons.data.batch import normalize
from lessons.data.synthetic.talker import Speaker, synthetic_clips, talk
from lessons.layers import bottleneck
from lessons.layers.bottleneck import Bottleneck, Conv, DepthwiseSeparable
from lessons.layers.bottleneck_lstm import convolutions
from lessons.measure.counting import count
from lessons.measure.timing import seconds
from lessons.source import show
from lessons.training import checkpoint

# %% [markdown]
# ## 1. What a phone can afford
#
# Part I reads lips. Part II (notebooks 11 to 14) detects objects in video on a **phone**, with
# a recurrent network. Its paper, Liu and Zhu 2018, compares three detectors. Every weight must be stored.
# Every multiply-add takes time and battery, in every frame:

# %%
#                              weights (M), multiply-adds per frame (G), accuracy (mAP, %): Table 5
DETECTORS = {
    "ResNet-101 Faster-RCNN": (63.2, 143.4, 62.5),
    "MobileNet-SSD": (4.20, 1.20, 50.3),
    "the same with Bottleneck-LSTM": (3.24, 1.13, 54.4),
}
for name, (weights, work, accuracy) in DETECTORS.items():
    print(
        f"{name:30} {4 * weights:4.0f} MB of weights, {work:6.2f} G multiply-adds per frame, mAP {accuracy}"
    )

# %% [markdown]
# (A float32 weight takes four bytes. mAP is a detector's accuracy; notebook 14 defines it.) The third
# detector is what Part II builds: 20 times fewer weights than the first and 127 times fewer multiply-adds.
# It also has fewer weights than the second, although it has an LSTM in addition. One reason is in the paper's
# Table 1: the LSTM reads 1024 channels and outputs 256, so the layers after it have a quarter of the input
# channels.
#
# Video of 25 frames per second leaves 40 ms per frame. The third detector took 322 ms on the fast cores of a
# Pixel 2, a version with half the channels 65 ms (Table 7).
#
# The savings come from two kinds of layer: the **bottleneck** and the **depthwise-separable convolution**.

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
large, plain, ours = DETECTORS.values()
assert (round(large[0] / ours[0]), round(large[1] / ours[1])) == (20, 127)
assert ours[0] < plain[0] and ours[1] < plain[1] and ours[2] > plain[2]
assert 1000 / 25 == 40 and 1024 == 4 * 256

# %% [markdown]
# ## 2. The 1 × 1 convolution
#
# Tensors are `(B, C, H, W)` here: images, or single frames. A convolution with a kernel of one
# pixel computes, at each position,
#
# $$y_{o,h,w} = b_o + \sum_{c} W_{o,c}\; x_{c,h,w}$$
#
# Each pixel has a vector of $C$ numbers, and the matrix $W$ turns it
# into $O$ numbers: **a linear layer, the same one at every pixel.** A numerical check, with gradients:


# %% tags=["hide-input"]
# @title Helper: `agree_with_gradients` compares values and gradients { display-mode: "form" }
def agree_with_gradients(name, ours, theirs, inputs):
    """Values agree, and so do the gradients of a random sum of them."""
    agree(name, ours.detach(), theirs.detach())
    above = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(1), dtype=theirs.dtype)
    for mine, other in zip(*(torch.autograd.grad(y, inputs, above) for y in (ours, theirs)), strict=True):
        agree("  gradient", mine, other, tolerance=1e-9)


# %%
_ = torch.manual_seed(0)
x = torch.randn(2, 5, 6, 7, dtype=torch.float64, requires_grad=True)  # (B, C, H, W)
linear = nn.Linear(5, 3).double()  # weight (O, C)
as_linear = linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # channels last, and back: (B, O, H, W)
as_conv = F.conv2d(x, linear.weight[:, :, None, None], linear.bias)  # weight (O, C, 1, 1) -> (B, O, H, W)
agree_with_gradients("1 x 1 against nn.Linear", as_conv, as_linear, [x, linear.weight, linear.bias])

# %% [markdown]
# A 1 × 1 convolution mixes channels. Below, one with the weights (1, −1, 0) computes red minus green of a
# frame. **Predict**: shuffle the pixels of the frame, apply the filter, and undo the shuffle. What do you
# see? And with a 3 × 3 filter that averages red minus green over nine pixels?

# %% tags=["hide-input"]
# @title Plot: filters on a shuffled frame { display-mode: "form" }
rng = np.random.default_rng(7)
clip, _ = talk("place red at q seven again", Speaker.random(rng), rng, size=(64, 128), color=True)
frame = torch.from_numpy(clip[30]).permute(2, 0, 1)[None] / 255  # (64, 128, 3) -> (1, 3, 64, 128)
red_minus_green = torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1)  # (O, C, 1, 1)
averaged = red_minus_green.expand(1, 3, 3, 3) / 9  # (O, C, 3, 3)
order = torch.randperm(64 * 128, generator=torch.Generator().manual_seed(0))  # (HW,)


def reordered(maps, positions):
    return maps.flatten(2)[:, :, positions].view_as(maps)  # (B, C, HW) -> (B, C, H, W)


rows, filtered, restored = {}, {}, {}
for name, filters in (("frame", None), ("1 × 1", red_minus_green), ("3 × 3", averaged)):
    filtered[name], mixed = (
        x if filters is None else F.conv2d(x, filters, padding=filters.shape[2] // 2)  # (1, O, 64, 128)
        for x in (frame, reordered(frame, order))
    )
    restored[name] = reordered(mixed, order.argsort())  # (1, O, 64, 128)
    views = torch.cat([filtered[name], mixed, restored[name]]).permute(0, 2, 3, 1)  # (3, 64, 128, O)
    rows[name] = (255 * views).round().byte() if filters is None else views[..., 0]


def shuffled_frames():
    return figures.clip_rows(rows, ["original", "pixels shuffled", "shuffle undone"], width=7.5)


# %% tags=["predict"]
shuffled_frames()

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
for name in rows:
    assert torch.allclose(filtered[name], restored[name], atol=1e-6) == (name != "3 × 3")

# %% [markdown]
# The 1 × 1 filter gives the same result as without the shuffle: it sees no neighbors. The 3 × 3 filter has
# averaged pixels that do not belong together.
# An ordinary 3 × 3 does both: it sees neighbors, and it mixes the channels at each of its nine positions.

# %% [markdown]
# ## 3. Counting a convolution
#
# A weight is *stored* once and *used* once at every position of the output map, $H' \times W'$ of them:
#
# $$\text{multiply-adds} = \text{kernel weights} \cdot H' W'$$
#
# ### Exercise 1 · `conv_cost` · difficulty ★★☆ · 12 minutes
#
# Count both for one image. How many numbers does one filter look at? With `groups=g` the channels are split
# into $g$ equal groups, and a filter sees the inputs of its own group only. With `bias=True` there is one
# more weight per filter; adding it is not a multiply-add. Notebook 02 has the formula for the output size. A
# product with a padded zero counts like any other.


# %%
def conv_cost(size, in_channels, out_channels, kernel_size, stride=1, padding=0, groups=1, bias=False):
    """The cost of a convolution from C to O channels with a k x k kernel, for one image.

    Args:
        size: (H, W) of the input, two integers.
        in_channels, out_channels, kernel_size: C, O and k, integers of 1 or more.
        stride, padding: integers, the same along both axes.
        groups: an integer that divides C and O.
        bias: True or False.

    Returns:
        (weights, multiply_adds), a tuple or list of two integers; weights includes the biases.
    """
    raise NotImplementedError


check("11.conv_cost", conv_cost)

# %% [markdown]
# <details><summary><b>Help: "in_channels must be divisible by groups"</b></summary>
#
# Or "Given groups=256, expected weight to be at least 256 at dimension 0". `groups=g` splits input *and*
# output channels into g equal groups, so g must divide both. For a depthwise convolution g = C, and O is C or
# a multiple of it.
#
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def conv_cost_solution(
    size, in_channels, out_channels, kernel_size, stride=1, padding=0, groups=1, bias=False
):
    """O filters of C / groups channels by k by k; each of their weights is used at every output position."""
    kernels = out_channels * (in_channels // groups) * kernel_size**2
    height, width = ((n + 2 * padding - kernel_size) // stride + 1 for n in size)
    return kernels + bias * out_channels, kernels * height * width


# %%
conv_cost = use("11.conv_cost", conv_cost, conv_cost_solution)

# %% [markdown]
# ### From 256 channels to 256
#
# The example is that of a write-up of the Bottleneck-LSTM on a Chinese blog (see Sources). A map of 256
# channels comes in, one of 256 channels is wanted:
#
# 1. **3 × 3 alone**: $256 \cdot 9 \cdot 256$ weights.
# 2. **A bottleneck**: 1 × 1 from 256 channels to 64, 3 × 3 from 64 to 64, 1 × 1 from 64 to 256:
#    $256 \cdot 64 + 64 \cdot 9 \cdot 64 + 64 \cdot 256$ weights. Its **bottleneck width** $m$ is 64.
#
# Both have a receptive field of 3 × 3 pixels. **Predict**: how many times fewer weights has the second? Which
# of its three layers has most of them?

# %% tags=["hide-input"]
# @title Helper: the figure of the weights { display-mode: "form" }
whole, squeezed = (Conv(256, 256, 3),), bottleneck.bottleneck(256, 64, 256)
separated = bottleneck.separable(256, 256)
DESIGNS = {"3 × 3 alone": whole, "bottleneck": squeezed, "separable": separated}


def blocks(convs):
    """What the figure needs: kind, outputs, and weights per output."""
    return [
        (
            ("depthwise " if conv.groups > 1 else "") + f"{conv.kernel_size} × {conv.kernel_size}",
            conv.out_channels,
            conv.in_channels // conv.groups * conv.kernel_size**2,
        )
        for conv in convs
    ]


def weight_bars(designs, **options):
    return figures.weight_bars(
        {name: blocks(convs) for name, convs in designs.items()},
        kinds=("1 × 1", "3 × 3", "depthwise 3 × 3"),
        **options,
    )


def draw_designs(*names):
    return weight_bars({name: DESIGNS[name] for name in names}, title="From 256 channels to 256")


# %% tags=["predict"]
MAP = (14, 14)  # height and width of the feature maps
alone, alone_work = conv_cost(MAP, 256, 256, 3, padding=1)
layers = conv_cost(MAP, 256, 64, 1), conv_cost(MAP, 64, 64, 3, padding=1), conv_cost(MAP, 64, 256, 1)
narrow, spatial, widen = (weights for weights, _ in layers)
total, total_work = (sum(column) for column in zip(*layers, strict=True))
print(f"3 x 3 alone: {alone:,} weights")
print(
    f"bottleneck:  {narrow:,} + {spatial:,} + {widen:,} = {total:,} weights, {alone / total:.2f} times fewer"
)
draw_designs("3 × 3 alone", "bottleneck")

# %% [markdown]
# Each rectangle is a layer's weight matrix, drawn to scale: one row per output channel, one column per number
# that a filter looks at ($9C$ for a 3 × 3, as in notebook 02's im2col). A 3 × 3 kernel makes the matrix nine
# times as wide, so **apply it where there are few channels.**
#
# Check it by hand, with the package's `count` and with `torchinfo`:

# %%
modules = {"3 x 3 alone": Conv(256, 256, 3).build(), "bottleneck": Bottleneck(256, 64, 256)}
maps = torch.randn(1, 256, *MAP, generator=torch.Generator().manual_seed(0))  # (B, C, H, W)
by_hand = {"3 x 3 alone": 256 * 9 * 256, "bottleneck": 256 * 64 + 64 * 9 * 64 + 64 * 256}
yours = {"3 x 3 alone": (alone, alone_work), "bottleneck": (total, total_work)}
for name, module in modules.items():
    ours, theirs = count(module, maps), torchinfo.summary(module, input_data=maps, verbose=0)
    print(f"{name}: weights {by_hand[name]:,} {yours[name][0]:,} {ours.weights:,} {theirs.total_params:,}")
    print(f"  multiply-adds {yours[name][1]:,} {ours.multiply_adds:,} {theirs.total_mult_adds:,}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert alone == 256 * 9 * 256 == 589_824
assert (narrow, spatial, widen) == (16_384, 36_864, 16_384) and total == 69_632
for name, module in modules.items():
    ours, theirs = count(module, maps), torchinfo.summary(module, input_data=maps, verbose=0)
    assert by_hand[name] == yours[name][0] == ours.weights == theirs.total_params
    assert ours.multiply_adds == theirs.total_mult_adds == yours[name][1] == 14 * 14 * by_hand[name]
    assert module(maps).shape == maps.shape

# %% [markdown]
# <details><summary><b>Help: "expected input … to have 256 channels, but got 64"</b></summary>
#
# The layer's first number must be the number of channels that arrive, which is the second number of the layer
# before. In a bottleneck: 256 → 64, then 64 → 64, then 64 → 256. Write the shape behind every line.
#
# </details>
#
# <details><summary><b>Help: a few hundred weights more than in the sum</b></summary>
#
# `nn.Conv2d` has biases unless you pass `bias=False`: one per output channel. 64 + 64 + 256 = 384 for this
# block. The sums here do not count biases, and neither do the papers'.
#
# </details>
#
# ### Check the write-up's own sum
#
# The write-up describes its second way as a 1 × 1 convolution to 64, then a 3 × 3 to 64, "and last a 3 × 3
# to 256", and continues:
#
# > 256×1×1×64 + 64×3×3×63 + 64×1×1×256 = 69,632, a ninth of the first!
#
# There is one slip in the description, and there are two in the sum. **Predict**: what are they? How many
# weights result from the sum as printed, and how many from the block as described?

# %% tags=["predict"]
as_printed = 256 * 1 * 1 * 64 + 64 * 3 * 3 * 63 + 64 * 1 * 1 * 256
as_described = narrow + spatial + conv_cost(MAP, 64, 256, 3, padding=1)[0]
print(f"the sum as printed:        {as_printed:,}, which is {total - as_printed} less than {total:,}")
print(f"the block as described:    {as_described:,}, {alone / as_described:.2f} times fewer than {alone:,}")
print(f"the block that is meant:   {total:,}, {alone / total:.2f} times fewer")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert as_printed == 69_056 and 69_632 - as_printed == 576 == 64 * 3 * 3
assert as_described == 200_704 and round(589_824 / as_described, 2) == 2.94
assert round(589_824 / 69_632, 2) == 8.47 and Fraction(589_824, 69_632) == Fraction(144, 17)

# %% [markdown]
# - The 63 is a misprint of 64. It loses one filter of $64 \cdot 9 = 576$ weights; the printed result is that
#   of the correct sum.
# - The ratio is 144/17 = 8.47, so the block has less than an eighth, not a ninth.
# - With the last layer as described, a 3 × 3, the block has 200,704 weights. It saves a
#   factor of 2.94 instead of 8.47.

# %% [markdown]
# ## 4. Weights against multiply-adds
#
# In section 3 weights and multiply-adds fell by the same factor, because all maps were 14 × 14. **Predict**
# for each pair, all with 256 channels: which layer has more weights, which does more work?
#
# 1. a 3 × 3 on a map of 28 × 28 with stride 1, or with stride 2;
# 2. a 1 × 1 on a map of 56 × 56, or a 3 × 3 on a map of 7 × 7.

# %% tags=["predict"]
PAIRS = {
    "3 x 3 at 28 x 28, stride 1": conv_cost((28, 28), 256, 256, 3, padding=1),
    "3 x 3 at 28 x 28, stride 2": conv_cost((28, 28), 256, 256, 3, stride=2, padding=1),
    "1 x 1 at 56 x 56": conv_cost((56, 56), 256, 256, 1),
    "3 x 3 at 7 x 7": conv_cost((7, 7), 256, 256, 3, padding=1),
}
for name, (weights, work) in PAIRS.items():
    print(f"{name:27} {weights:7,} weights, {work / 1e6:6.1f} M multiply-adds")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
one, two, small_kernel, small_map = PAIRS.values()
assert one[0] == two[0] and one[1] == 4 * two[1] and small_map[0] == 9 * small_kernel[0]
assert round(small_kernel[1] / small_map[1], 1) == 7.1 == round(56 * 56 / (9 * 7 * 7), 1)

# %% [markdown]
# A stride of 2 keeps every weight and saves three quarters of the work. The 1 × 1 has nine times fewer
# weights than the 3 × 3 and does seven times *more* work, because its map is larger.

# %% [markdown]
# ## 5. What a bottleneck cannot compute
#
# Leave out the ReLUs between the layers for a moment. Then the three layers are linear maps in a row, so
# together they *are* a 3 × 3 convolution from 256 channels to 256.
#
# ### Exercise 2 · `as_one_convolution` · difficulty ★★★ · 12 minutes
#
# Compute its weight from the three weights. Follow one number: from input channel $c$ to bottleneck channel
# $p$, through kernel position $(i, j)$ to bottleneck channel $q$, to output channel $o$. Sum over $p$ and
# $q$. (`torch.einsum` can express this sum.)


# %%
def as_one_convolution(narrow, spatial, widen):
    """The weight of the single convolution that equals three linear convolutions in a row.

    Args:
        narrow: (m, C, 1, 1) floating-point tensor, the first weight.
        spatial: (m, m, kh, kw), the second weight: output channels first, as in nn.Conv2d.
        widen: (O, m, 1, 1), the third weight.

    Returns:
        (O, C, kh, kw) tensor with the same dtype, through which gradients reach all three.
    """
    raise NotImplementedError


check("11.as_one_convolution", as_one_convolution)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def as_one_convolution_solution(narrow, spatial, widen):
    """A product of three matrices at each kernel position: widen @ spatial[:, :, i, j] @ narrow."""
    return torch.einsum("oq,qpij,pc->ocij", widen[:, :, 0, 0], spatial, narrow[:, :, 0, 0])  # (O, C, kh, kw)


# %%
as_one_convolution = use("11.as_one_convolution", as_one_convolution, as_one_convolution_solution)

# %%
_ = torch.manual_seed(0)
linear_block = [conv.build().double() for conv in squeezed]  # 256 -> 64 -> 64 -> 256, no ReLU
weights = [conv.weight for conv in linear_block]
x = torch.randn(1, 256, 5, 6, dtype=torch.float64, requires_grad=True)  # (B, C, H, W)
one = as_one_convolution(*weights)  # (256, 256, 3, 3)
agree_with_gradients(
    "three layers as one", F.conv2d(x, one, padding=1), nn.Sequential(*linear_block)(x), [x, *weights]
)
print(f"{one.numel():,} numbers, computed from {sum(w.numel() for w in weights):,}")

# %% [markdown]
# What is special about these 589,824 numbers? Take one kernel position: the matrix $W_{:,:,i,j}$ maps the 256
# channels of a pixel to 256. Any matrix stretches some directions and shrinks others; its **singular values**
# are the factors, largest first. The number of nonzero ones is its **rank**: how many independent numbers
# the output can have. **Predict** the rank of this one, and that of an ordinary 3 × 3.

# %% tags=["predict"]
_ = torch.manual_seed(0)
ordinary = Conv(256, 256, 3).build().weight.detach().double()  # (256, 256, 3, 3)
for name, kernel in (("3 x 3 alone", ordinary), ("bottleneck", one.detach())):
    print(f"{name}: rank {int(torch.linalg.matrix_rank(kernel[:, :, 1, 1]))} at the kernel's center")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert one.numel() == 589_824 and sum(w.numel() for w in weights) == 69_632
for i in range(3):
    for j in range(3):
        assert torch.linalg.matrix_rank(one.detach()[:, :, i, j]) == 64
        assert torch.linalg.matrix_rank(ordinary[:, :, i, j]) == 256

# %% [markdown]
# The rank is 64. In the middle of the block each pixel has 64 numbers, and no later layer can recover what
# they do not contain. (ReLUs do not change this: see the deeper sections.)
#
# ### How much is lost?
#
# Let the block imitate a random 1 × 1 layer, a *teacher*, with a 64 × 64 matrix
# $W$. The block's last layer makes 64 channels from $m$, so its output has at most $m$ independent
# directions. If the input has the covariance $\Sigma$, the smallest possible mean squared error, relative to
# the output's variance, is (Eckart and Young, 1936)
#
# $$\frac{\sum_{i>m} s_i^2}{\sum_i s_i^2}, \qquad s_i \text{ the singular values of } W \Sigma^{1/2}$$
#
# We compare three inputs: white noise, whose channels are independent ($\Sigma$ is the identity); the last 64
# channels of notebook 00's trained lip reader on six synthetic clips; and, as a control, those of the
# untrained network. **Predict**: for which is $m = 16$ enough?


# %% tags=["hide-input"]
# @title Plot: cost and error over the bottleneck width { display-mode: "form" }
from lessons.lipreading.lipnet_small import SmallLipNet


def smallest_error(W, root):
    """W, root (64, 64), the square root of the covariance -> (64,), for m = 1, 2, …, 64."""
    power = torch.linalg.svdvals(W @ root).square()  # (64,)
    return 1 - power.cumsum(0) / power.sum()


def teacher(seed):
    return torch.randn(64, 64, generator=torch.Generator().manual_seed(100 + seed)) / 8


clips = normalize(torch.from_numpy(synthetic_clips(6, seed=2024).frames))[:, None]  # (6, 1, 75, 32, 64)


def root_of_covariance(network):
    """(64, 64): its square is the covariance of the network's last feature maps, scaled to trace 64."""
    with torch.no_grad():
        x = network.stcnn3(network.stcnn2(network.stcnn1(clips)))  # (6, 64, 75, 4, 8)
    pixels = x.transpose(0, 1).flatten(1).double()  # (64, 14400): a column per position of each frame
    pixels = pixels - pixels.mean(dim=1, keepdim=True)
    variance, directions = torch.linalg.eigh(pixels @ pixels.T / pixels.shape[1])  # (64,), (64, 64)
    root = directions @ torch.diag(variance.clamp(min=0).sqrt()) @ directions.T
    return (root * math.sqrt(64 / variance.sum())).float()


def untrained_reader(seed):
    """In training mode its batch normalization uses the statistics of these clips; there is no dropout."""
    _ = torch.manual_seed(seed)
    return SmallLipNet(dropout=0).train()


reader = checkpoint.load("lipnet_small_synthetic")
INPUTS = {  # a root per seed
    "white noise": [torch.eye(64)] * 3,
    "untrained network": [root_of_covariance(untrained_reader(s)) for s in range(3)],
    "trained network": [root_of_covariance(reader)] * 3,
}
WIDTHS, TRIED = range(1, 65), (4, 16, 32)
relative_cost = [
    bottleneck.weights(*bottleneck.bottleneck(64, m, 64)) / Conv(64, 64, 3).weights for m in WIDTHS
]
smallest = {
    name: torch.stack([smallest_error(teacher(s), root) for s, root in enumerate(roots)])
    for name, roots in INPUTS.items()
}  # (3, 64) each


def trained_error(W, root, m, seed, steps=300, rate=0.02):
    """The same by gradient descent on two linear layers, A from 64 channels to m and B back."""
    generator = torch.Generator().manual_seed(seed)
    A = (torch.randn(m, 64, generator=generator) / 8).requires_grad_()  # (m, C)
    B = (torch.randn(64, m, generator=generator) / math.sqrt(m)).requires_grad_()  # (O, m)
    optimizer = torch.optim.Adam([A, B], lr=rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        loss = ((B @ A - W) @ root).square().sum() / (W @ root).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


trained = {
    name: (TRIED, [[trained_error(teacher(s), root, m, s) for s, root in enumerate(roots)] for m in TRIED])
    for name, roots in INPUTS.items()
}


def trade_off(m):
    return figures.width_trade_off(
        WIDTHS,
        relative_cost,
        smallest,
        at=m,
        trained=trained,
        title=f"A bottleneck of width {m} for 64 channels",
    )


# %% tags=["predict"]
trade_off(16)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
errors = {
    (name, m): row for name, (widths, rows) in trained.items() for m, row in zip(widths, rows, strict=True)
}
for (name, m), row in errors.items():
    least = smallest[name][:, m - 1].tolist()
    assert all(0 <= error - low + 1e-4 < 0.03 for error, low in zip(row, least, strict=True))
assert all(0.35 < error < 0.40 for error in errors["white noise", 16])
assert all(0.17 < error < 0.23 for error in errors["untrained network", 16])
assert all(0.055 < error < 0.075 for error in errors["trained network", 16])
unnormalized = [
    smallest_error(teacher(s), root_of_covariance(untrained_reader(s).eval()))[15].item() for s in range(3)
]
assert 0.07 < min(unnormalized) < max(unnormalized) < 0.14
assert 0.115 < relative_cost[15] < 0.12

# %% [markdown]
# The curves are means over three random teachers. The crosses are two linear layers, trained from three seeds
# per width; all come within three percentage points of the bound. A bottleneck of a quarter of the channels
# costs 12 % of the 3 × 3. Its error is 37 to 38 % of the output's variance on white noise, 6 to 7 % on the
# trained network's maps, whose channels are **redundant**: strongly correlated. A bottleneck relies on
# redundancy. Training creates only part of it: three untrained networks leave 18 to 21 % (8 to 13 % without
# batch normalization). This is one small network: measure your own.
#
# Move the slider. At which width does the block cost as much as the 3 × 3 alone?

# %% tags=["nbval-ignore-output"]
# output not compared: the slider is a widget, which lives only while the notebook runs
from ipywidgets import interact


@interact(m=(1, 64))
def choose_width(m=16):
    (w1, n1), (w2, n2), (w3, n3) = (
        conv_cost(MAP, *channels, k, padding=k // 2) for *channels, k in ((64, m, 1), (m, m, 3), (m, 64, 1))
    )
    print(f"{w1 + w2 + w3:,} weights, {n1 + n2 + n3:,} multiply-adds on a 14 x 14 map, rank {m}")
    return trade_off(m)


# %% [markdown]
# ## 6. Depthwise-separable convolution
#
# The bottleneck applies the 3 × 3 where channels are few. MobileNet (Howard et al. 2017), the network inside
# the last two detectors of section 1, goes further: its 3 × 3 **mixes no channels at all**, and a 1 × 1 does
# all of the mixing.
#
# - **Depthwise**: channel $c$ has a filter of its own and sees no other channel,
#   $\;\tilde x_{c,h,w} = \sum_{i,j} d_{c,i,j}\, x_{c,h+i,w+j}$. In torch: as many groups as channels.
# - **Pointwise**: the 1 × 1 of section 2, $\;y_{o,h,w} = \sum_c p_{o,c}\, \tilde x_{c,h,w}$.
#
# ### Exercise 3 · `depthwise_separable` · difficulty ★★☆ · 8 minutes
#
# Write the layer with `F.conv2d`, called twice, without biases and with nothing between the two. The output
# map has the size of the input map. Kernels are odd, but not always square.


# %%
def depthwise_separable(x, depthwise, pointwise):
    """A depthwise convolution, then a pointwise one; the map keeps its size.

    Args:
        x: (B, C, H, W) floating-point tensor.
        depthwise: (C, 1, kh, kw), one filter per channel; kh and kw are odd.
        pointwise: (O, C, 1, 1).

    Returns:
        (B, O, H, W) tensor with the dtype of x.
    """
    raise NotImplementedError


check("11.depthwise_separable", depthwise_separable)

# %% [markdown]
# <details><summary><b>Help: "expected input … to have 1 channels, but got 4"</b></summary>
#
# A depthwise weight is `(C, 1, kh, kw)`: C filters of one channel each. Without `groups` torch takes it as
# filters for an image with one channel. Pass `groups=x.shape[1]`.
#
# </details>
#
# <details><summary><b>Help: the map shrinks by two rows and two columns</b></summary>
#
# Without padding, a kernel of 3 fits at two rows and two columns fewer (notebook 02). Padding of `kh // 2`
# rows and `kw // 2` columns keeps the size. A 1 × 1 needs none; padding would make the map *larger*.
#
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def depthwise_separable_solution(x, depthwise, pointwise):
    """As many groups as channels, then a 1 x 1 over all of them."""
    kh, kw = depthwise.shape[2:]
    x = F.conv2d(x, depthwise, padding=(kh // 2, kw // 2), groups=x.shape[1])  # (B, C, H, W)
    return F.conv2d(x, pointwise)  # (B, O, H, W)


# %%
depthwise_separable = use("11.depthwise_separable", depthwise_separable, depthwise_separable_solution)


# %% tags=["hide-input"]
# @title Helper: your function as a layer, `Separable(C, O)` { display-mode: "form" }
class Separable(nn.Module):
    """Your function as a layer: (B, C, H, W) -> (B, O, H, W)."""

    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.depthwise = nn.Parameter(torch.randn(in_channels, 1, 3, 3) / 3)
        self.pointwise = nn.Parameter(torch.randn(out_channels, in_channels, 1, 1) / math.sqrt(in_channels))

    def forward(self, x):
        return depthwise_separable(x, self.depthwise, self.pointwise)


# %%
_ = torch.manual_seed(0)
layer, package = Separable(6, 4).double(), DepthwiseSeparable(6, 4).double()
x = torch.randn(2, 6, 5, 7, dtype=torch.float64, requires_grad=True)  # (B, C, H, W)
same_weights = zip(package.parameters(), layer.parameters(), strict=True)
_ = package.load_state_dict({f"{n}.weight": p for n, p in layer.named_parameters()})
agree("your layer against the package's", layer(x).detach(), package(x).detach())

# %% [markdown]
# ### What it saves
#
# It has $C k^2$ depthwise and $O C$ pointwise weights instead of $O C k^2$. The fraction that is left is
#
# $$\frac{C k^2 + O C}{O C k^2} = \frac1O + \frac1{k^2}$$
#
# **Predict**: with a 3 × 3 kernel, by what factor can the number of weights fall at most?

# %% tags=["predict"]
for channels, out, k in ((256, 256, 3), (1024, 1024, 3), (64, 8, 3), (256, 256, 5)):
    whole_weights = conv_cost(MAP, channels, out, k)[0]
    pair = conv_cost(MAP, channels, channels, k, groups=channels)[0] + conv_cost(MAP, channels, out, 1)[0]
    print(f"{channels:4} -> {out:4}, {k} x {k}: {pair:9,} weights, {whole_weights / pair:5.2f} times fewer")
draw_designs("3 × 3 alone", "bottleneck", "separable")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
for channels, out, k in ((256, 256, 3), (32, 64, 3), (1024, 1024, 3), (256, 256, 5), (64, 8, 3)):
    left = Fraction(
        bottleneck.weights(*bottleneck.separable(channels, out, k)), Conv(channels, out, k).weights
    )
    assert left == Fraction(1, out) + Fraction(1, k * k) > Fraction(1, k * k)
assert [conv.weights for conv in separated] == [2_304, 65_536] and bottleneck.weights(*separated) == 67_840
assert round(589_824 / 67_840, 2) == 8.69 and (round(6_553_600 / 67_840), round(230_400 / 67_840)) == (97, 3)

# %% [markdown]
# Less than nine with a 3 × 3, however many channels there are: the 1 × 1 alone has a ninth of the weights.
# For 256 channels the layer has 67,840 weights, 8.69 times fewer, hardly better than the bottleneck. But it
# keeps 256 channels throughout. **97 % of its weights mix channels, 3 % see neighbors.**
#
# ### What it cannot compute
#
# As one convolution it has the weight $W_{o,c,i,j} = p_{o,c}\, d_{c,i,j}$. Fix an input channel $c$ and write
# what the $O$ filters do with it as a matrix of $O$ rows and 9 columns. **Predict** its rank for the 3 × 3
# alone, the bottleneck and the separable layer.

# %% tags=["predict"]
pixel = torch.eye(256).double()[:, :, None, None]  # (256, 256, 1, 1), image c is 1 in channel c
_ = torch.manual_seed(0)
with torch.no_grad():
    response = Separable(256, 256).double()(F.pad(pixel, (1, 1, 1, 1)))  # (C, O, 3, 3): its kernels, flipped
KERNEL = {
    "3 x 3 alone": ordinary,
    "bottleneck": one.detach(),
    "separable": response.transpose(0, 1).flip(2, 3),
}
for name, kernel in KERNEL.items():
    per_channel = int(torch.linalg.matrix_rank(kernel[:, 7].flatten(1)))  # of (256, 9), input channel 7
    across = int(torch.linalg.matrix_rank(kernel[:, :, 1, 1]))  # of (256, 256), the kernel's center
    print(f"{name:12} rank per input channel: {per_channel}, rank across channels: {across}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
ranks = {
    name: [int(torch.linalg.matrix_rank(m)) for m in (k[:, 7].flatten(1), k[:, :, 1, 1])]
    for name, k in KERNEL.items()
}
assert list(ranks.values()) == [[9, 256], [9, 64], [1, 256]]

# %% [markdown]
# The two layers give up different things. The bottleneck can apply nine independent filters to a channel,
# and its output has 64 independent numbers per pixel. The separable layer's output has all 256, but it
# applies **one** filter to each channel: all outputs that need an edge of channel 7 get the same edge.

# %% [markdown]
# ## 7. And in seconds?
#
# **Predict**: with 8.5 times fewer multiply-adds, how many times faster? With 256 channels, and with 16?

# %% tags=["hide-input"]
# @title Helper: the shortest time of several readings { display-mode: "form" }
CPU = torch.device("cpu")


def best_seconds(work, readings=5):
    """The shortest of several readings, each over enough calls to take about 20 ms."""
    with torch.no_grad():
        calls = max(1, math.ceil(0.02 / max(seconds(work, CPU), 1e-6)))
        return min(seconds(work, CPU, calls) for _ in range(readings))


# %% tags=["nbval-ignore-output", "predict"]
# output not compared: measured times
for channels in (256, 16):
    x = torch.randn(1, channels, *MAP)  # (B, C, H, W)
    ways = {
        "3 x 3 alone": (whole, Conv(channels, channels, 3).build()),
        "bottleneck": (squeezed, Bottleneck(channels, channels // 4, channels)),
        "separable": (separated, Separable(channels, channels)),
    }
    times = {name: best_seconds(lambda run=run, x=x: run(x)) for name, (_, run) in ways.items()}
    for name, time in times.items():
        print(f"{channels:3} channels, {name:12} {1e6 * time:6.0f} µs", end="")
        print(f", {times['3 x 3 alone'] / time:4.1f} times as fast as 3 x 3 alone")

# %% [markdown]
# These are your times, for one image. Over a dozen runs on one CPU core of ours, both replacements
# were four to eight times as fast as the 3 × 3 with 256 channels, not 8.5. With 16 channels the separable
# layer was **slower** in every run: it took about two to five times as long.
#
# ### The roofline
#
# To see what is possible, count what a layer must **move**: it reads its input and its weights and writes its
# output, four bytes per number. Its **arithmetic intensity** is the number of multiply-adds per byte. A
# machine has two limits: its peak arithmetic, and its memory bandwidth. A layer with intensity $I$ that moves
# each number once can be no faster than
#
# $$\min(\text{peak},\; I \cdot \text{bandwidth})$$
#
# **Predict**: which of the layers in section 6's figure has the lowest intensity?


# %% tags=["hide-input"]
# @title Helper: the layers of section 6, and their intensity { display-mode: "form" }
def intensity(conv, size):
    """Multiply-adds per byte, if each input, weight and output is moved once, in float32."""
    options = {"padding": conv.kernel_size // 2, "groups": conv.groups}
    weights, work = conv_cost(size, conv.in_channels, conv.out_channels, conv.kernel_size, **options)
    return work / (4 * (weights + (conv.in_channels + conv.out_channels) * size[0] * size[1]))


def single_layers(channels):
    """The layers of section 6, one by one."""
    narrow, spatial, _ = bottleneck.bottleneck(channels, channels // 4, channels)
    depthwise, pointwise = bottleneck.separable(channels, channels)
    return {
        "3 × 3 alone": Conv(channels, channels, 3), "1 × 1, narrowing": narrow,
        "3 × 3 in the bottleneck": spatial, "depthwise": depthwise, "pointwise": pointwise,
    }  # fmt: skip


# %% tags=["predict"]
for name, conv in single_layers(256).items():
    print(f"{name:24} {intensity(conv, MAP):5.1f} multiply-adds per byte")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
INTENSITY = {name: intensity(conv, MAP) for name, conv in single_layers(256).items()}
assert min(INTENSITY, key=INTENSITY.get) == "depthwise" and INTENSITY["depthwise"] < 1.2
assert INTENSITY["pointwise"] > 15 and INTENSITY["3 × 3 alone"] > 40

# %% [markdown]
# It is the depthwise layer, with about one multiply-add per byte. Now measure. The peak is that of a large
# matrix product, the bandwidth that of copying a large tensor:


# %% tags=["hide-input"]
# @title Plot: measured speeds under the roofline { display-mode: "form" }
def measured_roofline(channels, size):
    x, points = {}, {}
    for name, conv in single_layers(channels).items():
        layer, x = conv.build(), torch.randn(1, conv.in_channels, *size)  # (B, C, H, W)
        time = best_seconds(lambda layer=layer, x=x: layer(x), readings=3)
        points[name] = (intensity(conv, size), conv.multiply_adds(*size) / time)
    title = f"{channels} channels on a {size[0]} × {size[1]} map"
    return figures.roofline(points, peak=PEAK, bandwidth=BANDWIDTH, title=title)


# %% tags=["measured"]
a, b = torch.randn(2, 768, 768)
source, target = torch.randn(2, 2**23)  # 32 MB each: more than most caches hold
PEAK = 768**3 / best_seconds(lambda: torch.mm(a, b), 25)  # multiply-adds per second
BANDWIDTH = 2 * 4 * 2**23 / best_seconds(lambda: target.copy_(source), 25)  # bytes per second
measured_roofline(256, MAP)

# %% [markdown]
# Each point is a layer, and the line is its limit. The depthwise layer is on the left, where the bandwidth
# sets a limit far below the peak. A roofline shows what is possible. It does not explain how far a point lies
# below the line: each call has a cost of its own, small tensors may stay in a cache, and not every layer has
# an equally good implementation.


# %% tags=["nbval-ignore-output"]
# output not compared: the sliders are widgets, which live only while the notebook runs
@interact(channels=[16, 64, 256], side=[7, 14, 28])
def roofline_of(channels=16, side=14):
    return measured_roofline(channels, (side, side))


# %% [markdown]
# ## 8. The finished version
#
# `lessons.layers.bottleneck` has all this: `Conv` is the specification of a convolution, which counts before
# anything is built, and the modules are built from it. So the counts and the modules cannot disagree.

# %%
show(bottleneck.bottleneck)

# %%
show(bottleneck.separable)

# %% [markdown]
# ## 9. Bug hunt: the light block that was heavier
#
# Somebody has replaced a 3 × 3 convolution by this "separable" block. The tests pass: it runs, its shapes are
# right, and it trains well. But on the phone it is slower than before. Find the bug before you read on.


# %%
class LightBlock(nn.Module):
    """(B, C, H, W) -> (B, O, H, W)."""

    def __init__(self, channels, out_channels):
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.pointwise = nn.Conv2d(channels, out_channels, 1, bias=False)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))  # (B, C, H, W) -> (B, O, H, W)


light = LightBlock(256, 256)
print("shapes right:", light(maps).shape == DepthwiseSeparable(256, 256)(maps).shape)

# %% [markdown]
# A test of shapes cannot find it. A test of **cost** can: specify what each layer should cost, and compare.


# %%
def expect_cost(module, x, plan):
    """Each layer has the weights of its specification, or an AssertionError names it."""
    for row, conv in zip(count(module, x).rows, plan, strict=True):
        times = row.weights / conv.weights
        assert times == 1, (
            f"{row.name}: {row.weights:,} weights, {times:.0f} times the {conv.weights:,} planned"
        )


# %% tags=["predict"]
try:
    expect_cost(light, maps, separated)
except AssertionError as error:
    print(error)
print(f"whole block: {count(light, maps).weights:,} weights; the convolution that it replaced: {alone:,}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert count(light, maps).weights == 655_360 > 589_824 and 589_824 == 256 * 2_304
light.depthwise = nn.Conv2d(256, 256, 3, padding=1, groups=256, bias=False)
expect_cost(light, maps, separated)
assert count(light, maps).weights == 67_840

# %% [markdown]
# `groups=channels` is missing. The layer named depthwise is an ordinary 3 × 3 convolution with 256 times the
# planned weights, and the block now has *more* weights than the convolution that it replaced. Training does
# not show it, since an ordinary convolution can compute everything that a depthwise one can.

# %% [markdown]
# ## Deeper: how narrow?
#
# The bottleneck width was 64. From $C$ channels to $O$ the block has
#
# $$\text{weights}(m) = C m + 9 m^2 + m O$$
#
# **Predict**: is a bottleneck with $m = 256$ cheaper or more expensive than the 3 × 3 alone?

# %% tags=["predict"]
for m in (16, 32, 64, 128, 229, 256):
    weights = 256 * m + 9 * m * m + m * 256
    print(f"width {m:3}: {weights:7,} weights, {alone / weights:6.2f} times fewer than 3 x 3 alone")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
cost = {m: bottleneck.weights(*bottleneck.bottleneck(256, m, 256)) for m in range(1, 257)}
assert all(cost[m] == 256 * m + 9 * m * m + m * 256 for m in cost)
assert cost[256] == 589_824 + 2 * 256 * 256 > 589_824 > cost[229] and cost[230] > 589_824
assert [round(100 - 100 * cost[m // 2] / cost[m]) for m in (256, 32)] == [70, 59]

# %% [markdown]
# It is more expensive: the two 1 × 1 layers are added to the same 3 × 3. Above 229 there is no saving. The
# cost of the 1 × 1 layers is proportional to $m$, that of the 3 × 3 to $m^2$.

# %% [markdown]
# ## Deeper: the bottleneck with its ReLUs
#
# With ReLUs the block is not a single matrix. But around any input it acts like one: the Jacobian (notebook
# 03) of one output pixel with respect to all inputs. At one pixel, we ask how many input pixels influence it,
# and what the Jacobian's rank is. We compare the 3 × 3 alone, the bottleneck, and the bottleneck plus its
# input, which is how ResNet uses it.

# %% tags=["predict"]
_ = torch.manual_seed(0)
block, alone_3x3 = Bottleneck(256, 64, 256).double(), Conv(256, 256, 3).build().double()
x = torch.randn(1, 256, 7, 7, dtype=torch.float64)  # (B, C, H, W)
networks = {"3 x 3 alone": alone_3x3, "bottleneck": block, "bottleneck + input": lambda x: x + block(x)}
jacobian_ranks, seen = {}, {}
for name, network in networks.items():
    jacobian = torch.autograd.functional.jacobian(lambda x, f=network: f(x)[0, :, 3, 3], x)[:, 0]
    seen[name] = int((jacobian != 0).any(0).any(0).sum())  # (256, 256, 7, 7) -> positions with any influence
    jacobian_ranks[name] = int(torch.linalg.matrix_rank(jacobian.flatten(1)))  # of (256, 256 · 49)
    print(f"{name:18} sees {seen[name]} pixels, rank {jacobian_ranks[name]}")
middle = block.relu2(block.conv(block.relu1(block.reduce(x))))[0, :, 3, 3]  # (64,) units at this pixel
print(f"units of the bottleneck above 0 at this pixel: {int((middle > 0).sum())} of 64")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert set(seen.values()) == {9} and 20 < jacobian_ranks["bottleneck"] == (middle > 0).sum() < 44
assert jacobian_ranks["3 x 3 alone"] == jacobian_ranks["bottleneck + input"] == 256

# %% [markdown]
# - **The receptive field is not reduced**: nine pixels, as before.
# - **The rank is**: it is the number of bottleneck units that the ReLU leaves above 0, here about half of 64.
# - **The shortcut bypasses the bottleneck.** With the input added, the rank is 256 again. What passes through
#   the bottleneck is a *change* of the 256 numbers.

# %% [markdown]
# ## Deeper: ResNet-50, weights against multiply-adds
#
# Within one network, the layers with most of the weights need not be those with most of the multiply-adds.
# ResNet-50 (He et al. 2015) has four stages of bottlenecks. From stage to stage the map's sides are halved
# and the bottleneck width is doubled. Its input is an image of 224 × 224. **Predict**: which stage has most
# of the weights? Which does most of the work?

# %% tags=["hide-input"]
# @title Plot: ResNet-50, stage by stage { display-mode: "form" }
KERNELS, SIDES = (1, 3, 7), (112, *(side for _, _, side in bottleneck.RESNET50))  # sides of the maps
stages = dict(zip(("input", "stage 1", "stage 2", "stage 3", "stage 4"), bottleneck.resnet50(), strict=True))
amounts = {"weights": [], "multiply-adds": []}
for stage, side in zip(stages.values(), SIDES, strict=True):
    for name, positions in (("weights", 1), ("multiply-adds", side * side)):
        amounts[name].append(
            [positions * sum(c.weights for c in stage if c.kernel_size == k) for k in KERNELS]
        )


def resnet_stages():
    names = [f"{k} × {k}" for k in KERNELS]
    return figures.layer_costs(list(stages), names, amounts, title="ResNet-50: its convolutions by stage")


# %% tags=["predict"]
resnet_stages()

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
of_weights, of_work = (np.array(rows).sum(axis=1) / np.sum(rows) for rows in amounts.values())  # (5,) each
assert of_weights.argmax() == 4 and of_work.argmax() == 3 and SIDES[1] ** 2 == 64 * SIDES[4] ** 2
fractions = (of_weights[1], of_weights[4], of_work[1], of_work[4])
assert [round(100 * fraction) for fraction in fractions] == [1, 64, 17, 19]
assert stages["stage 1"][4:7] == squeezed

# %% [markdown]
# The last stage has 64 % of the weights and does 19 % of the work. The first has 1 % of the weights and does
# 17 %, on maps with 64 times as many positions. (The second block of stage 1 is our 256 → 64 → 64 → 256.)

# %% [markdown]
# ## Deeper: how many 1 × 1 convolutions are in ResNet-50?
#
# The write-up ends with a claim: large networks after it save weights by 1 × 1 convolutions. One network
# cannot settle that, and this one is from 2015, but it can be counted:

# %%
show(bottleneck.resnet50)

# %%
convs = [conv for stage in stages.values() for conv in stage]
ones = [conv for conv in convs if conv.kernel_size == 1]
all_weights, weights_of_ones = bottleneck.weights(*convs), bottleneck.weights(*ones)
print(f"{len(ones)} of {len(convs)} convolutions are 1 x 1")
print(f"they have {weights_of_ones:,} of {all_weights:,} weights: {weights_of_ones / all_weights:.1%}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert (len(ones), len(convs)) == (36, 53) and round(100 * weights_of_ones / all_weights, 1) == 51.7
assert len(convs) == 1 + 3 * 16 + 4

# %% [markdown]
# In this network, 36 of 53 convolutions are 1 × 1, and they have about half of the weights. (Why 53, with 50
# in the name? The name counts $1 + 3 \cdot 16 = 49$ convolutions and the linear layer at the end. The other
# four are on **shortcuts**: a block adds its input to its output, and where the number of channels changes, a
# 1 × 1 convolution maps one to the other.)

# %% [markdown]
# ## Deeper: weights that cannot learn
#
# In ResNet and MobileNet each convolution is followed by batch normalization, which subtracts each channel's
# mean. `nn.Conv2d` has biases by default. **Predict**: what is the gradient of such a bias?

# %% tags=["predict"]
_ = torch.manual_seed(0)
conv, norm = nn.Conv2d(8, 6, 3).double(), nn.BatchNorm2d(6).double()
x, above = torch.randn(4, 8, 9, 9).double(), torch.randn(4, 6, 7, 7).double()  # (B, C, H, W), (B, O, H', W')
before = norm(conv(x))  # (B, O, H', W')
g_weight, g_bias = torch.autograd.grad(before, (conv.weight, conv.bias), above)
with torch.no_grad():
    conv.bias += 5
print("gradient of the bias zero, up to rounding:", bool(g_bias.abs().max() < 1e-12))
agree("all biases 5 larger", norm(conv(x)).detach(), before.detach(), tolerance=1e-9)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert g_weight.abs().max() > 1 and g_bias.abs().max() < 1e-12
assert sum(conv.out_channels for conv in convs) == 26_560

# %% [markdown]
# It is zero: normalization subtracts whatever the bias adds, and has a shift of its own. So a convolution
# before batch normalization has `bias=False`. In ResNet-50 the biases would be 26,560 useless weights. If
# your count is slightly above the paper's, look for biases first.

# %% [markdown]
# ## Deeper: both in one cell
#
# The Bottleneck-LSTM of notebook 13 has four convolutions. For 1024 input channels and a hidden state of 256:

# %%
plan = convolutions(1024, 256)
for name, conv in plan.items():
    print(
        f"{name:11} {conv.kernel_size} x {conv.kernel_size}, {conv.in_channels:4} -> {conv.out_channels:4}, ",
        end="",
    )
    print(f"groups {conv.groups:4}: {conv.weights:7,} weights")
weight_bars({"1024 to 256": list(plan.values())}, title="Weights of the Bottleneck-LSTM", width=7.0)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert bottleneck.weights(*plan.values()) == 601_344
mixing = [conv for conv in plan.values() if conv.kernel_size == 1]
assert bottleneck.weights(*mixing) == 1280 * 256 + 256 * 1024 == (5 + 4) * 256**2 == 589_824
assert all(conv.groups == conv.in_channels for conv in plan.values() if conv.kernel_size == 3)

# %% [markdown]
# A depthwise 3 × 3 filters the input. A 1 × 1 **bottleneck** maps input and hidden state together, 1024 + 256
# channels, to 256. Another depthwise 3 × 3 filters those, and a last 1 × 1 computes four gates of 256. That
# the two 1 × 1 layers together have 589,824 weights again is a coincidence: $5 + 4 = 9$.

# %% [markdown]
# ## Recap
#
# - A 1 × 1 convolution is a linear layer at every pixel. It mixes channels and sees no neighbors.
# - 256 → 256 by 3 × 3: 589,824 weights. With a bottleneck of 64: 69,632, 8.47 times fewer, with the same
#   receptive field. Depthwise-separable: 67,840.
# - Multiply-adds are kernel weights times output positions. Weights and multiply-adds fall by the same factor
#   only if all maps have the same size.
# - A bottleneck limits the rank across channels, a separable layer the rank per input channel. How much that
#   costs depends on how redundant the channels are.
# - Time is proportional neither to weights nor to multiply-adds. A roofline shows the limit for a layer's
#   arithmetic intensity. Measure at the size that you will use.
# - Shapes do not reveal a missing `groups`. Counting does.
#
# ## Glossary
#
# | word | meaning | also called |
# |---|---|---|
# | 1 × 1 convolution | a linear layer over the channels, the same at every pixel | network in network |
# | bottleneck | reduce channels by 1 × 1, convolve by 3 × 3, expand by 1 × 1 | bottleneck block |
# | bottleneck width | the number of channels in the middle of a bottleneck | |
# | groups | parts of the channels; each group of outputs sees its own group of inputs | grouped convolution |
# | depthwise convolution | as many groups as channels: each channel has a filter of its own | channel-wise |
# | pointwise convolution | the 1 × 1 convolution that follows a depthwise one | |
# | depthwise-separable convolution | a depthwise convolution, then a pointwise one | separable convolution |
# | singular values | the factors by which a matrix stretches its directions, largest first | |
# | rank | the number of nonzero singular values: how many independent numbers the output can have | |
# | shortcut | adding a block's input to its output | skip, residual connection |
# | arithmetic intensity | multiply-adds per byte that is read or written | operational intensity |
# | bandwidth | bytes per second between memory and processor | memory throughput |
# | roofline | the largest speed possible at each arithmetic intensity, from peak and bandwidth | |
#
# ## Sources
#
# - M. Liu, M. Zhu, *Mobile Video Object Detection with Temporally-Aware Feature Maps*, CVPR 2018,
#   [arXiv 1711.06368](https://arxiv.org/abs/1711.06368): Tables 1 (the cell), 5 (detectors), 7 (times on a
#   phone).
# - The write-up of section 3: "BottleneckLSTM原理及实现" (Bottleneck-LSTM: principle and implementation),
#   a post on the blog 自由Man.
# - K. He, X. Zhang, S. Ren, J. Sun, *Deep Residual Learning for Image Recognition*,
#   [arXiv 1512.03385](https://arxiv.org/abs/1512.03385): figure 5 (the bottleneck of 64 and 256), Table 1
#   (ResNet-50).
# - A. Howard et al., *MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications*,
#   [arXiv 1704.04861](https://arxiv.org/abs/1704.04861): §3.1 (the ratio).
# - C. Eckart, G. Young, *The approximation of one matrix by another of lower rank*, Psychometrika 1(3), 1936.
# - S. Williams, A. Waterman, D. Patterson, *Roofline: an insightful visual performance model for multicore
#   architectures*, Communications of the ACM 52(4), 2009.
#
# **Next**: notebook 12 gives an image a hidden state: ConvLSTM, an LSTM whose states are feature maps.
