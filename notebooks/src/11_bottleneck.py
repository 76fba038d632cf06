# %% [markdown]
# # 11 · The bottleneck
#
# **You will turn a convolution of 589,824 weights into one of 69,632 by hand, count both in four ways, and
# find out what the saving costs: in what can pass, and on the clock.**
#
# *About 75 minutes to read and solve; all cells together run in less than half a minute on one CPU core.*
#
# **You need**: convolution, padding and stride (notebook 02), weights against multiply-adds (notebook 06),
# matrix products. Singular values are explained where they are needed.
#
# **You will be able to**
# - say what a 1 × 1 convolution is, and prove it;
# - count weights and multiply-adds of any block on paper, and check a published sum instead of believing it;
# - choose the width of a bottleneck for a budget;
# - say what a bottleneck and a depthwise-separable convolution can no longer compute, and show it;
# - tell when fewer multiply-adds mean less time, and when they do not.

# %%
import math
import time
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm.auto import tqdm

from lessons import figures
from lessons.checks import agree, check
from lessons.data.batch import normalize
from lessons.data.synthetic.talker import Speaker, synthetic_clips, talk
from lessons.layers import bottleneck
from lessons.layers.bottleneck import Bottleneck, Conv, DepthwiseSeparable
from lessons.layers.bottleneck_lstm import convolutions
from lessons.measure.counting import count
from lessons.source import show
from lessons.training import checkpoint

# %% [markdown]
# ## 1. What a phone can pay
#
# Part I read lips on a computer. Part II (notebooks 11 to 14) finds things in video on a **phone**, with a
# network that remembers what it saw. The paper that we follow, Liu and Zhu 2018, compares detectors. On the
# way from a large one to one for a phone, every weight must be stored and every multiply-add must be paid
# for, in time and in battery, for each frame:

# %%
#                              weights (M), multiply-adds a frame (G), accuracy (mAP, %): Table 5
DETECTORS = {
    "ResNet-101 Faster-RCNN": (63.2, 143.4, 62.5),
    "MobileNet-SSD": (4.20, 1.20, 50.3),
    "the same with Bottleneck-LSTM": (3.24, 1.13, 54.4),
}
for name, (weights, work, accuracy) in DETECTORS.items():
    print(f"{name:30} {4 * weights:5.0f} MB of weights, {work:6.2f} G multiply-adds a frame, mAP {accuracy}")

large, plain, ours = DETECTORS.values()
print(f"{large[0] / ours[0]:.0f} times fewer weights, {large[1] / ours[1]:.0f} times fewer multiply-adds")
assert (round(large[0] / ours[0]), round(large[1] / ours[1])) == (20, 127)
assert ours[0] < plain[0] and ours[1] < plain[1] and ours[2] > plain[2]

# %% [markdown]
# (A weight is a float32: four bytes. mAP is a detector's accuracy; notebook 14 defines it.) The last row
# is what Part II builds: a memory *and* less to pay. Even so the phone is short of time. Film gives it 40
# ms a frame. On the fast cores of a Pixel 2 the last row took 322 ms, a version with narrower layers 65 ms
# (Table 7).

# %%
for name, ms in (("with Bottleneck-LSTM", 322), ("the same, narrower", 65)):
    print(f"{name:21} {ms:3} ms a frame, {1000 / ms:4.1f} frames a second")
assert 1000 / 25 == 40 and round(1000 / 322) == 3 and round(1000 / 65) == 15

# %% [markdown]
# How does one get there? With two ideas, both about convolutions: the **bottleneck** and the
# **depthwise-separable convolution**. Both rest on one small layer.

# %% [markdown]
# ## 2. The 1 × 1 convolution
#
# Shapes in this part are `(B, C, H, W)`: pictures, one frame at a time. A convolution with a kernel of one
# pixel gives, at each place,
#
# $$y_{o,h,w} = b_o + \sum_{c} W_{o,c}\; x_{c,h,w}$$
#
# There is no sum over neighbors left. At each pixel stands a list of $C$ numbers, and $W$ is a matrix that
# makes $O$ numbers of them: **a linear layer, the same one at every pixel.** The proof, with values and
# gradients:


# %%
def same(name, ours, theirs, inputs):
    """Values and gradients agree; the gradient from above is random."""
    agree(f"{name}, values", ours, theirs)
    above = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(1), dtype=theirs.dtype)
    pairs = list(zip(*(torch.autograd.grad(y, inputs, above) for y in (ours, theirs)), strict=True))
    approximate = all(torch.allclose(a, b, rtol=0, atol=1e-10) for a, b in pairs)
    assert approximate, [(a - b).abs().max().item() for a, b in pairs]
    print(f"{name}, {len(pairs)} gradients: approximate {approximate}, largest difference below 1e-10")


_ = torch.manual_seed(0)
x = torch.randn(2, 5, 6, 7, dtype=torch.float64, requires_grad=True)  # (B, C, H, W)
linear = nn.Linear(5, 3).double()  # weight (O, C)
as_linear = linear(x.permute(0, 2, 3, 1))  # (B, H, W, C) -> (B, H, W, O)
as_conv = F.conv2d(x, linear.weight[:, :, None, None], linear.bias)  # weight (O, C, 1, 1) -> (B, O, H, W)
same("1 x 1 against nn.Linear", as_conv, as_linear.permute(0, 3, 1, 2), [x, linear.weight, linear.bias])

# %% [markdown]
# What can it do? Mix channels. Below, a color picture of our talker goes through one filter with the
# weights (1, −1, 0): red minus green. And what can it not do? **Predict.** Shuffle the pixels of the picture,
# apply the filter, put the pixels back. What will you see? And with a 3 × 3 filter that averages red minus
# green over nine pixels?

# %%
rng = np.random.default_rng(7)
film, _ = talk("place red at q seven again", Speaker.random(rng), rng, size=(64, 128), color=True)
picture = torch.from_numpy(film[30]).permute(2, 0, 1)[None] / 255  # (64, 128, 3) -> (1, 3, 64, 128)
redness = torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1)  # (O, C, 1, 1)
averaged = redness.expand(1, 3, 3, 3) / 9  # (O, C, 3, 3)
order = torch.randperm(64 * 128, generator=torch.Generator().manual_seed(0))  # (HW,)


def rearranged(maps, places):
    return maps.flatten(2)[:, :, places].view_as(maps)  # (B, C, HW) -> (B, C, H, W)


films, put_back = {}, {}
for name, filters in (("picture", None), ("1 × 1", redness), ("3 × 3", averaged)):
    whole, mixed = (
        x if filters is None else F.conv2d(x, filters, padding=filters.shape[2] // 2)  # (1, O, 64, 128)
        for x in (picture, rearranged(picture, order))
    )
    put_back[name] = rearranged(mixed, order.argsort())  # (1, O, 64, 128)
    views = torch.cat([whole, mixed, put_back[name]]).permute(0, 2, 3, 1)  # (3, 64, 128, O)
    films[name] = (255 * views).round().byte() if filters is None else views[..., 0]
    print(f"{name}: shuffling and putting back changes", end=" ")
    print("nothing" if torch.allclose(whole, put_back[name], atol=1e-6) else "the answer")
    assert torch.allclose(whole, put_back[name], atol=1e-6) == (name != "3 × 3")
figures.clip_rows(films, ["as it is", "pixels shuffled", "… and put back"], width=7.5)

# %% [markdown]
# The 1 × 1 filter finds the lips by their color, and does not mind the shuffling: it sees no neighbors, so
# it cannot know that they have changed. The 3 × 3 filter has averaged strangers, and putting them back does
# not undo it. So keep this division of labor:
#
# - a 1 × 1 convolution **mixes channels** and sees no neighbors;
# - to **look around** you need a larger kernel, and an ordinary one mixes channels as well, nine times over.

# %% [markdown]
# ## 3. Two ways from 256 channels to 256
#
# ### Exercise 1 · `conv_weights` · difficulty ★☆☆ · 6 minutes
#
# How many weights has a convolution of $C$ channels to $O$, with a kernel of $k \times k$? With `bias=True`
# there is one more number for each filter. With `groups` the channels are cut into so many equal parts: each
# part of the output sees only its own part of the input. (Ask yourself how deep one filter is.)


# %%
def conv_weights(in_channels, out_channels, kernel_size, groups=1, bias=False):
    """C, O, k -> the number of weights, with the biases if there are any."""
    raise NotImplementedError


check("11.conv_weights", conv_weights)

# %% [markdown]
# <details><summary><b>Help: "in_channels must be divisible by groups"</b></summary>
#
# Or "Given groups=256, expected weight to be at least 256 at dimension 0". `groups=g` cuts input *and* output
# channels into g equal parts, so g must divide both. For a depthwise convolution g = C, and O is C or a
# multiple of it.
#
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def conv_weights_solution(in_channels, out_channels, kernel_size, groups=1, bias=False):
    """O filters, each C / groups channels deep and k x k wide, and perhaps a bias each."""
    one_filter = in_channels // groups * kernel_size**2
    return out_channels * (one_filter + bias)


# %%
check("11.conv_weights", conv_weights_solution)

# %% [markdown]
# Now the example that this course set out from, a write-up of the Bottleneck-LSTM on a Chinese blog (see
# Sources). A map with 256 channels comes in, one with 256 channels is wanted:
#
# 1. **3 × 3 alone**: $256 \cdot 9 \cdot 256$ weights.
# 2. **A bottleneck**: 1 × 1 from 256 channels to 64, 3 × 3 from 64 to 64, 1 × 1 from 64 back to 256:
#    $256 \cdot 64 + 64 \cdot 9 \cdot 64 + 64 \cdot 256$ weights.
#
# Both look at 3 × 3 pixels. **Predict**: how many times fewer weights has the second? And which of its three
# layers has most of them?

# %%
alone = conv_weights_solution(256, 256, 3)
narrow, around, widen = (conv_weights_solution(*layer) for layer in ((256, 64, 1), (64, 64, 3), (64, 256, 1)))
print(f"3 x 3 alone: {alone:,}")
print(f"bottleneck:  {narrow:,} + {around:,} + {widen:,} = {narrow + around + widen:,}")
assert alone == 256 * 9 * 256 == 589_824
assert (narrow, around, widen) == (16_384, 36_864, 16_384) and narrow + around + widen == 69_632
print(f"{alone / (narrow + around + widen):.2f} times fewer")

# %%
whole, squeezed = (Conv(256, 256, 3),), bottleneck.bottleneck(256, 64, 256)  # on paper


def blocks(convs):
    """What the picture needs: kind, outputs, and weights of one output."""
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


weight_bars(
    {"3 × 3 alone": whole, "bottleneck": squeezed},
    title="From 256 channels to 256: where the weights go",
)

# %% [markdown]
# Every rectangle is a layer's matrix of weights, drawn to scale: one row for each output channel, one column
# for each number that it looks at ($9C$ for a 3 × 3, as in notebook 02's matrix product). Its area is its
# weights. Looking around costs a factor of nine in width, so **do it where there are few channels.** The two
# 1 × 1 layers make the channels few, and many again.
#
# Do not trust my arithmetic. Four witnesses: the sum by hand, your function, `lessons.measure.counting` and
# `torchinfo`, the last two on modules that really run, on a map of 14 × 14:

# %%
import torchinfo

modules = {"3 x 3 alone": Conv(256, 256, 3).build(), "bottleneck": Bottleneck(256, 64, 256)}
maps = torch.randn(1, 256, 14, 14, generator=torch.Generator().manual_seed(0))  # (B, C, H, W)
by_hand = {"3 x 3 alone": 256 * 9 * 256, "bottleneck": 256 * 64 + 64 * 9 * 64 + 64 * 256}
by_code = {"3 x 3 alone": alone, "bottleneck": narrow + around + widen}
for name, module in modules.items():
    assert module(maps).shape == maps.shape == (1, 256, 14, 14)
    ours, theirs = count(module, maps), torchinfo.summary(module, input_data=maps, verbose=0)
    assert by_hand[name] == by_code[name] == ours.weights == theirs.total_params
    assert ours.multiply_adds == theirs.total_mult_adds == 14 * 14 * by_hand[name]
    print(f"{name:12} {ours.weights:7,} weights, {ours.multiply_adds:11,} multiply-adds: all agree")
print(count(modules["bottleneck"], maps))

# %% [markdown]
# <details><summary><b>Help: "expected input … to have 256 channels, but got 64"</b></summary>
#
# The layer's first number must be the number of channels that arrive, which is the second number of the layer
# before. In a bottleneck: 256 → 64, then 64 → 64, then 64 → 256. Write the shape behind every line.
#
# </details>
#
# <details><summary><b>Help: a few hundred weights more than on paper</b></summary>
#
# `nn.Conv2d` has biases unless you say `bias=False`: one number for each output channel. 64 + 64 + 256 = 384
# for this block. The sums here are without, as in the papers.
#
# </details>

# %% [markdown]
# ### Now check the write-up's own sum
#
# The write-up describes its second way as a 1 × 1 convolution to 64, then a 3 × 3 to 64, "and last a 3 × 3
# to 256", and goes on:
#
# > 256×1×1×64 + 64×3×3×63 + 64×1×1×256 = 69,632, a ninth of the first!
#
# **Find three slips** in its words and its sum, with paper and your `conv_weights`, before you run the next
# cell. What would come out if somebody took each of them at its word?

# %%
as_printed = 256 * 1 * 1 * 64 + 64 * 3 * 3 * 63 + 64 * 1 * 1 * 256
as_described = conv_weights_solution(256, 64, 1) + conv_weights_solution(64, 64, 3)
as_described += conv_weights_solution(64, 256, 3)
print(f"the sum as printed:    {as_printed:,}, short by {69_632 - as_printed}")
print(f"the block as described: {as_described:,}, {589_824 / as_described:.2f} times fewer than 589,824")
print(f"the block that is meant: 69,632, {589_824 / 69_632:.2f} times fewer")
assert as_printed == 69_056 and 69_632 - as_printed == 576 == 64 * 3 * 3
assert as_described == 200_704 and round(589_824 / as_described, 2) == 2.94
assert round(589_824 / 69_632, 2) == 8.47 and Fraction(589_824, 69_632) == Fraction(144, 17)

# %% [markdown]
# The 63 is a misprint for 64: with it one filter of $64 \cdot 9 = 576$ weights is lost, and the sum is
# 69,056. The result is that of the right sum. The last layer in the description is worse, for whoever
# builds it as a 3 × 3 gets a block of 200,704 weights that works, and saves 2.94 times in place of 8.47.
# And 8.47 is 144/17, not 9. Small things, all three; but only counting finds them, and you will copy such
# sums into your own code.

# %% [markdown]
# ## 4. How narrow?
#
# The 64 was a choice. Call the width of the middle, the **waist**, $m$. From $C$ channels to $O$,
#
# $$\text{weights}(m) = C m + 9 m^2 + m O$$
#
# **Predict**: a bottleneck with a waist as wide as its ends, $m = 256$, is as cheap as the 3 × 3 alone,
# cheaper or dearer? Here is a row of waists:

# %%
WAISTS = (16, 32, 64, 128, 229, 256)
table = [[conv.weights for conv in bottleneck.bottleneck(256, m, 256)] for m in WAISTS]
for m, row in zip(WAISTS, table, strict=True):
    print(f"waist {m:3}: {sum(row):7,} weights, {589_824 / sum(row):6.2f} times fewer than 3 x 3 alone")
cost = {m: sum(row) for m, row in zip(WAISTS, table, strict=True)}
assert cost[256] == 589_824 + 2 * 256 * 256 > 589_824 > cost[229]
assert [round(100 - 100 * cost[m // 2] / cost[m]) for m in (256, 32)] == [70, 59]
figures.layer_costs(
    ["3 × 3 alone", *(f"waist {m}" for m in WAISTS)],
    ("1 × 1, both", "3 × 3"),
    {"weights": [[0, 589_824], *([first + last, middle] for first, middle, last in table)]},
    title="The waist decides",
    width=7.5,
)

# %% [markdown]
# Dearer, since the two 1 × 1 layers come on top. The cost of the 1 × 1 layers grows in proportion to $m$,
# that of the 3 × 3 with its square: halve a waist of 256 and you save 70 %, halve one of 32 and you save
# 59 %. Slide it (drawn as in section 3, every position to one scale):

# %% tags=["nbval-ignore-output"]
# output not compared: the slider is a widget, which lives only while the notebook runs
from ipywidgets import interact


@interact(waist=(4, 256, 4))
def slide(waist=64):
    designs = {"3 × 3 alone": whole, f"waist {waist}": bottleneck.bottleneck(256, waist, 256)}
    return weight_bars(designs, span=2816)


# %% [markdown]
# ### Exercise 2 · `waist_for_ratio` · difficulty ★★☆ · 10 minutes
#
# You have a budget. Find the **largest** waist whose bottleneck has **at most** $1/r$ of the weights of
# the 3 × 3 from $C$ to $O$; 0 if even a waist of 1 is too dear. Trying one waist after the other is fine;
# so is a formula.


# %%
def waist_for_ratio(in_channels, out_channels, ratio):
    """C, O, r -> the largest m with weights(m) <= 9 C O / r, a whole number."""
    raise NotImplementedError


check("11.waist_for_ratio", waist_for_ratio)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def waist_for_ratio_solution(in_channels, out_channels, ratio):
    """Widen while the next waist still fits; compare products, so that nothing is rounded."""

    def fits(m):
        return ratio * (in_channels * m + 9 * m * m + m * out_channels) <= 9 * in_channels * out_channels

    waist = 0
    while fits(waist + 1):
        waist += 1
    return waist


# %%
check("11.waist_for_ratio", waist_for_ratio_solution)
for ratio in (1, 2, 9, 100):
    print(f"at most 1/{ratio} of 589,824: waist {waist_for_ratio_solution(256, 256, ratio)}")
assert [waist_for_ratio_solution(256, 256, r) for r in (1, 2, 9)] == [229, 154, 61]

# %% [markdown]
# Beyond a waist of 229 there is nothing to save. And the ninth that the write-up promises needs a waist of
# 61; 64 is the rounder number.

# %% [markdown]
# ## 5. Weights against multiply-adds
#
# In section 3 both fell by 8.47. That is no law. A weight is *stored* once and *used* at every place of the
# output map, $H' \times W'$ of them:
#
# $$\text{multiply-adds} = \text{weights} \cdot H' W'$$
#
# They fall alike only where both ways give maps of one size.
#
# ### Exercise 3 · `multiply_adds` · difficulty ★★☆ · 8 minutes
#
# Count the multiply-adds of one picture for any stride, padding and groups. Notebook 02's formula gives the
# size of the output; a product with a zero of the padding counts like any other.


# %%
def multiply_adds(size, in_channels, out_channels, kernel_size, stride=1, padding=0, groups=1):
    """size (H, W) of the input, C, O, k, … -> multiply-adds of one picture, without biases."""
    raise NotImplementedError


check("11.multiply_adds", multiply_adds)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def multiply_adds_solution(size, in_channels, out_channels, kernel_size, stride=1, padding=0, groups=1):
    """Every weight meets every place of the output once."""
    height, width = ((n + 2 * padding - kernel_size) // stride + 1 for n in size)
    return out_channels * (in_channels // groups) * kernel_size**2 * height * width


# %%
check("11.multiply_adds", multiply_adds_solution)

# %% [markdown]
# **Predict** for each pair, all with 256 channels: which has more weights, which does more work?
#
# 1. a 3 × 3 on a map of 28 × 28 with stride 1, or with stride 2;
# 2. a 1 × 1 on a map of 56 × 56, or a 3 × 3 on a map of 7 × 7.

# %%
PAIRS = {
    "3 x 3 at 28 x 28, stride 1": ((28, 28), 3, 1),
    "3 x 3 at 28 x 28, stride 2": ((28, 28), 3, 2),
    "1 x 1 at 56 x 56": ((56, 56), 1, 1),
    "3 x 3 at 7 x 7": ((7, 7), 3, 1),
}
costs = {}
for name, (size, k, stride) in PAIRS.items():
    costs[name] = w, n = (
        conv_weights_solution(256, 256, k),
        multiply_adds_solution(size, 256, 256, k, stride, k // 2),
    )
    print(f"{name:27} {w:7,} weights, {n / 1e6:6.1f} M multiply-adds")
one, two, small_kernel, small_map = costs.values()
print(f"the 1 x 1 has {small_map[0] / small_kernel[0]:.0f} times fewer weights", end=" ")
print(f"and does {small_kernel[1] / small_map[1]:.1f} times the work")
assert one[0] == two[0] and one[1] == 4 * two[1] and small_map[0] == 9 * small_kernel[0]
assert round(small_kernel[1] / small_map[1], 1) == 7.1 == round(56 * 56 / (9 * 7 * 7), 1)

# %% [markdown]
# A stride of 2 keeps every weight and saves three quarters of the work. And nine times fewer weights can go
# with seven times *more* work, if they sit where the map is large. Ask of every table of costs: weights of
# what, and at which size of the map?

# %% [markdown]
# ## 6. "Later networks lean on the 1 × 1". Do they?
#
# The write-up closes with a claim: large networks after it save weights by 1 × 1 convolutions. Let us count
# one, ResNet-50 (He et al. 2015). Its front is a 7 × 7 convolution; then come 16 bottlenecks in four stages,
# and between stages the map is halved and the waist doubled. `lessons.layers.bottleneck.resnet50` writes it
# down:

# %%
show(bottleneck.resnet50)

# %%
SIDES = (112, *(side for _, _, side in bottleneck.RESNET50))  # of the maps: 112, 56, 28, 14, 7
stages = dict(zip(("front", "stage 1", "stage 2", "stage 3", "stage 4"), bottleneck.resnet50(), strict=True))
convs = [conv for stage in stages.values() for conv in stage]
ones = [conv for conv in convs if conv.kernel_size == 1]
all_weights, weights_of_ones = bottleneck.weights(*convs), bottleneck.weights(*ones)
print(f"{len(ones)} of {len(convs)} convolutions are 1 x 1")
print(f"they hold {weights_of_ones:,} of {all_weights:,} weights: {weights_of_ones / all_weights:.1%}")
assert (len(ones), len(convs)) == (36, 53) and round(100 * weights_of_ones / all_weights, 1) == 51.7
assert len(convs) == 1 + 3 * 16 + 4 and stages["stage 1"][4:7] == squeezed

# %% [markdown]
# The claim holds: 36 of 53, and more than half of the weights. (Why 53, when 50 layers are in the name,
# and one of those is the linear layer at the end? The name counts 1 + 3 · 16 = 49. The other four are
# **shortcuts**: a block adds its input to its output, and where the number of channels changes, a 1 × 1
# must fit the one to the other.) And the second block of stage 1 is our 256 → 64 → 64 → 256, to the
# number.
#
# **Predict**: which stage has most of the weights? Which does most of the work?

# %%
KERNELS = (1, 3, 7)
amounts = {"weights": [], "multiply-adds": []}
for stage, side in zip(stages.values(), SIDES, strict=True):
    for name, places in (("weights", 1), ("multiply-adds", side * side)):
        amounts[name].append([places * sum(c.weights for c in stage if c.kernel_size == k) for k in KERNELS])
shares = {name: np.array(rows).sum(axis=1) / np.sum(rows) for name, rows in amounts.items()}  # (5,) each
for stage, of_weights, of_work in zip(stages, *shares.values(), strict=True):
    print(f"{stage:8} {of_weights:5.1%} of the weights, {of_work:4.0%} of the multiply-adds")
of_weights, of_work = shares.values()  # (5,) each
assert of_weights.argmax() == 4 and of_work.argmax() == 3 and SIDES[1] ** 2 == 64 * SIDES[4] ** 2
assert [round(100 * share) for share in (of_weights[1], of_weights[4], of_work[1], of_work[4])] == [
    1,
    64,
    17,
    19,
]
figures.layer_costs(
    list(stages),
    [f"{k} × {k}" for k in KERNELS],
    amounts,
    title="ResNet-50: its convolutions, stage by stage",
)

# %% [markdown]
# The last stage has 64 % of the weights and does 19 % of the work; the first has 1 % of the weights and does
# nearly as much, 17 %, at maps 64 times as large. Section 5, in a network that many people use.

# %% [markdown]
# ## 7. What the waist costs
#
# Fewer weights cannot do everything that more weights can. What exactly is lost?
#
# ### Without the ReLUs: a special 3 × 3
#
# Leave out the ReLUs for a moment. Then the block is three linear maps in a row, and so it *is* some 3 × 3
# convolution from 256 channels to 256.
#
# ### Exercise 4 · `as_one_convolution` · difficulty ★★★ · 12 minutes
#
# Which one? From the three weights, make the weight of the single convolution that gives the same. Follow
# one number: it is in channel $c$, goes to channel $p$ of the waist, by the kernel's place $(i, j)$ on to
# channel $q$ of the waist, and from there to channel $o$. Sum over all ways through the waist.
# (`torch.einsum` reads like that sentence.)


# %%
def as_one_convolution(narrow, around, widen):
    """narrow (m, C, 1, 1), around (m, m, k, k), widen (O, m, 1, 1) -> one weight (O, C, k, k)."""
    raise NotImplementedError


check("11.as_one_convolution", as_one_convolution)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def as_one_convolution_solution(narrow, around, widen):
    """Three matrices at every place of the kernel: widen @ around[:, :, i, j] @ narrow."""
    return torch.einsum("oq,qpij,pc->ocij", widen[:, :, 0, 0], around, narrow[:, :, 0, 0])  # (O, C, k, k)


# %%
check("11.as_one_convolution", as_one_convolution_solution)
_ = torch.manual_seed(0)
linear_block = [conv.build().double() for conv in squeezed]  # 256 -> 64 -> 64 -> 256, no ReLU
weights = [conv.weight for conv in linear_block]
x = torch.randn(1, 256, 5, 6, dtype=torch.float64, requires_grad=True)  # (B, C, H, W)
one = as_one_convolution_solution(*weights)  # (256, 256, 3, 3)
same("three layers in one", F.conv2d(x, one, padding=1), nn.Sequential(*linear_block)(x), [x, *weights])
print(f"{one.numel():,} numbers, made of {sum(w.numel() for w in weights):,}")
assert one.numel() == 589_824

# %% [markdown]
# 589,824 numbers, but not any: they are made of 69,632. What is special about them shows at a single place
# of the kernel, the matrix $W_{:,:,i,j}$ that takes 256 numbers of a pixel to 256. Any such matrix
# stretches some directions and squeezes others; its **singular values** say by how much, the largest
# first. How many of them are not zero is its **rank**: how many independent numbers can come out.
# **Predict** the rank of this one.

# %%
_ = torch.manual_seed(0)
plain = Conv(256, 256, 3).build().weight.detach().double()  # (256, 256, 3, 3)
stretch = {}
for name, kernel in (("3 × 3 alone", plain), ("through 64", one.detach())):
    values = torch.linalg.svdvals(kernel[:, :, 1, 1])  # (256,), the kernel's middle
    stretch[name] = (range(1, 257), values / values[0])
    rank = int(torch.linalg.matrix_rank(kernel[:, :, 1, 1]))
    print(f"{name}: {rank} singular values are not zero")
    assert rank == (64 if name == "through 64" else 256)
assert stretch["through 64"][1][64:].max() < 1e-12
figures.curves(
    stretch,
    xlabel="number of the singular value",
    ylabel="relative to the largest",
    title="What 256 channels to 256 can pass",
    height=3.0,
)

# %% [markdown]
# Sixty-four, of course: whatever comes in, at the waist it is 64 numbers a pixel, and nothing after it can
# bring back what they do not say.
#
# ### With the ReLUs, and what is not lost
#
# The real block has ReLUs, so it is no single matrix. But near any input it acts like one: the matrix of
# the derivatives of one output pixel with respect to all inputs (its *Jacobian*, notebook 03). Its rank is
# how many independent ways the output can move. We ask, at one pixel: how many input pixels does it see,
# and what is the rank? For the 3 × 3 alone, for the bottleneck, and for the bottleneck plus its own input,
# which is how ResNet uses it.

# %%
_ = torch.manual_seed(0)
block, alone_3x3 = Bottleneck(256, 64, 256).double(), Conv(256, 256, 3).build().double()
x = torch.randn(1, 256, 7, 7, dtype=torch.float64)  # (B, C, H, W)
networks = {"3 x 3 alone": alone_3x3, "bottleneck": block, "bottleneck + input": lambda x: x + block(x)}
ranks, seen = {}, {}
for name, network in networks.items():
    jacobian = torch.autograd.functional.jacobian(lambda x, f=network: f(x)[0, :, 3, 3], x)[:, 0]
    seen[name] = int((jacobian != 0).any(0).any(0).sum())  # (256, 256, 7, 7) -> places with any influence
    ranks[name] = int(torch.linalg.matrix_rank(jacobian.flatten(1)))  # of (256, 256 · 49)
    print(f"{name:18} sees {seen[name]} pixels, rank {ranks[name]}")

middle = block.relu2(block.conv(block.relu1(block.reduce(x))))[0, :, 3, 3]  # (64,), the waist at this pixel
print(f"units of the waist that are on: {int((middle > 0).sum())}")
assert set(seen.values()) == {9} and 20 < ranks["bottleneck"] == (middle > 0).sum() < 44
assert ranks["3 x 3 alone"] == ranks["bottleneck + input"] == 256

# %% [markdown]
# - **The view is not lost**: nine pixels, as before.
# - **The rank is**: not even 64, but as many as there are units of the waist that the ReLU has left on; at a
#   random start about half.
# - **The shortcut goes round the waist.** The sum of the block and its input has rank 256 again. What passes
#   the waist is then a *change* to the 256 numbers, and a change may well be narrow.
#
# ### How much is that in practice?
#
# It depends on what has to pass. Give a pair of layers, $A$ from 64 channels to $m$ and $B$ from $m$ to 64, a
# teacher to imitate: a random 64 × 64 matrix $W$. For inputs with the covariance matrix $\Sigma$ the mean
# squared error, as a share of what there is, is
#
# $$\frac{\lVert (BA - W)\,\Sigma^{1/2} \rVert^2}{\lVert W \Sigma^{1/2} \rVert^2}
# \;\ge\; \frac{\sum_{i>m} s_i^2}{\sum_i s_i^2}$$
#
# where $s_i$ are the singular values of $W \Sigma^{1/2}$: a matrix of rank $m$ can at best take the $m$
# largest and lose the rest (Eckart and Young, 1936). We try two kinds of input. One is noise, each channel
# for itself, $\Sigma = 1$. The other is real: the 64 channels of the last maps of notebook 00's trained
# lip reader, on six clips. **Predict**: for which of them does a quarter of the channels, $m = 16$,
# suffice?

# %%
reader, clips = checkpoint.load("lipnet_small_synthetic"), synthetic_clips(6, seed=2024)
with torch.no_grad():
    x = normalize(torch.from_numpy(clips.frames))[:, None]  # (6, 1, 75, 32, 64)
    x = reader.stcnn3(reader.stcnn2(reader.stcnn1(x)))  # (6, 64, 75, 4, 8)
pixels = x.transpose(0, 1).flatten(1).double()  # (64, 14400): a column for each place of each frame
pixels = pixels - pixels.mean(dim=1, keepdim=True)
variance, directions = torch.linalg.eigh(pixels @ pixels.T / pixels.shape[1])  # (64,), (64, 64)
root = directions @ torch.diag(variance.clamp(min=0).sqrt()) @ directions.T  # its square is the covariance
INPUTS = {"noise": torch.eye(64), "trained maps": (root * math.sqrt(64 / variance.sum())).float()}


def teacher(seed):
    return torch.randn(64, 64, generator=torch.Generator().manual_seed(100 + seed)) / 8


def least_lost(W, root):
    """The smallest share that must be lost, for a waist of 1, 2, …, 64: (64,)."""
    power = torch.linalg.svdvals(W @ root).square()  # (64,)
    return 1 - power.cumsum(0) / power.sum()


floors = {
    name: torch.stack([least_lost(teacher(s), root) for s in range(3)]) for name, root in INPUTS.items()
}
figures.curves(
    floors,  # (3, 64) each
    steps=range(1, 65),
    xlabel="waist",
    ylabel="share lost, at least",
    title="What a waist must lose: mean and range of three teachers",
    height=3.0,
)


# %% [markdown]
# A bound says what is possible, not what gradient descent finds. So train the pairs: three waists, two
# inputs, three seeds for teacher and start.


# %%
def trained_loss(W, root, waist, seed, steps=300, rate=0.02):
    generator = torch.Generator().manual_seed(seed)
    A = (torch.randn(waist, 64, generator=generator) / 8).requires_grad_()  # (m, C)
    B = (torch.randn(64, waist, generator=generator) / math.sqrt(waist)).requires_grad_()  # (O, m)
    optimizer = torch.optim.Adam([A, B], lr=rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        loss = ((B @ A - W) @ root).square().sum() / (W @ root).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


runs = [(name, waist) for name in INPUTS for waist in (4, 16, 32)]
lost = {}
for name, waist in tqdm(runs, desc="training"):
    lost[name, waist] = [trained_loss(teacher(s), INPUTS[name], waist, s) for s in range(3)]
for (name, waist), losses in lost.items():
    least = floors[name][:, waist - 1]  # (3,)
    print(f"{name:12} waist {waist:2}: lost {min(losses):4.0%} to {max(losses):4.0%}", end="; ")
    print(f"at least {least.min():4.0%} to {least.max():4.0%}")
    assert all(0 <= loss - floor + 1e-4 < 0.03 for loss, floor in zip(losses, least.tolist(), strict=True))
assert min(lost["noise", 16]) > 0.36 and max(lost["trained maps", 16]) < 0.09

# %% [markdown]
# Gradient descent comes within three points of the bound each time. A waist of a quarter loses 37 to 38 %
# of a random matrix on noise, and about 7 % of the same matrix on real maps. The channels of this trained
# network say much the same things, and a bottleneck lives on that. It is a bet on redundancy, and now you
# can measure what it pays.

# %% [markdown]
# ## 8. To the end of the road: depthwise-separable convolution
#
# The bottleneck looks around where channels are few. MobileNet (Howard et al. 2017), the network inside
# the last two detectors of section 1, goes further: look around **without mixing any channels at all**,
# and leave all mixing to a 1 × 1.
#
# - **Depthwise**: channel $c$ has one filter of its own and sees no other channel,
#   $\;\tilde x_{c,h,w} = \sum_{i,j} d_{c,i,j}\, x_{c,h+i,w+j}$.
# - **Pointwise**: the 1 × 1 of section 2, $\;y_{o,h,w} = \sum_c p_{o,c}\, \tilde x_{c,h,w}$.
#
# The first by loops over the kernel, and by torch, which calls it a convolution with as many groups as
# channels:


# %%
def depthwise_plain(x, filters):
    """x (B, C, H, W), filters (C, kh, kw) -> (B, C, H - kh + 1, W - kw + 1)."""
    kh, kw = filters.shape[1:]
    H, W = x.shape[2] - kh + 1, x.shape[3] - kw + 1
    y = x.new_zeros(*x.shape[:2], H, W)  # (B, C, H', W')
    for i in range(kh):
        for j in range(kw):
            y = y + filters[:, i, j, None, None] * x[:, :, i : i + H, j : j + W]  # one number a channel
    return y


_ = torch.manual_seed(0)
for channels, kernel in ((4, (3, 3)), (7, (1, 3)), (3, (5, 2))):
    layer = nn.Conv2d(
        channels, channels, kernel, groups=channels, bias=False
    ).double()  # weight (C, 1, kh, kw)
    x = torch.randn(2, channels, 6, 8, dtype=torch.float64, requires_grad=True)  # (B, C, H, W)
    ours = depthwise_plain(x, layer.weight[:, 0])  # (B, C, H', W')
    same(f"depthwise, {channels} channels, kernel {kernel}", ours, layer(x), [x, layer.weight])

# %% [markdown]
# ### Exercise 5 · `depthwise_separable` · difficulty ★★☆ · 8 minutes
#
# Write the pair with `F.conv2d`, twice. The map keeps its size (kernels are odd).


# %%
def depthwise_separable(x, depthwise, pointwise):
    """x (B, C, H, W), depthwise (C, 1, k, k), pointwise (O, C, 1, 1) -> (B, O, H, W)."""
    raise NotImplementedError


check("11.depthwise_separable", depthwise_separable)

# %% [markdown]
# <details><summary><b>Help: "expected input … to have 1 channels, but got 4"</b></summary>
#
# A depthwise weight is `(C, 1, k, k)`: C filters, each one channel deep. Without `groups` torch reads it as
# filters for a picture with one channel. Tell it `groups=x.shape[1]`.
#
# </details>
#
# <details><summary><b>Help: the map shrinks by two rows and two columns</b></summary>
#
# A kernel of 3 without padding fits two times less often (notebook 02). `padding=k // 2` keeps the size; a
# 1 × 1 needs none, and with `padding=1` would make the map *larger*.
#
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def depthwise_separable_solution(x, depthwise, pointwise):
    """As many groups as channels, then a 1 x 1 over all of them."""
    k = depthwise.shape[2]
    x = F.conv2d(x, depthwise, padding=k // 2, groups=x.shape[1])  # (B, C, H, W)
    return F.conv2d(x, pointwise)  # (B, O, H, W)


# %%
check("11.depthwise_separable", depthwise_separable_solution)
_ = torch.manual_seed(0)
pair = DepthwiseSeparable(6, 4).double()
x = torch.randn(2, 6, 5, 7, dtype=torch.float64, requires_grad=True)  # (B, C, H, W)
weights = [pair.depthwise.weight, pair.pointwise.weight]  # (C, 1, 3, 3), (O, C, 1, 1)
same("the pair against lessons", depthwise_separable_solution(x, *weights), pair(x), [x, *weights])

# %% [markdown]
# ### What it saves
#
# $C k^2$ weights to look around and $O C$ to mix, in place of $O C k^2$. The share that is left:
#
# $$\frac{C k^2 + O C}{O C k^2} = \frac1O + \frac1{k^2}$$
#
# **Predict**: with a 3 × 3 kernel, how many times fewer weights can it ever be?

# %%
print("   O    k  times fewer")
for channels, out, k in ((256, 256, 3), (32, 64, 3), (1024, 1024, 3), (256, 256, 5), (64, 8, 3)):
    small = bottleneck.weights(*bottleneck.separable(channels, out, k))
    share = Fraction(small, Conv(channels, out, k).weights)
    print(f"{out:4} {k:4} {float(1 / share):10.2f}")
    assert share == Fraction(1, out) + Fraction(1, k * k) > Fraction(1, k * k)

separated = bottleneck.separable(256, 256)
assert [conv.weights for conv in separated] == [2_304, 65_536] and bottleneck.weights(*separated) == 67_840
assert (
    round(589_824 / 67_840, 2) == 8.69
    and bottleneck.multiply_adds(*separated, height=14, width=14) == 67_840 * 196
)

# %%
weight_bars(
    {"3 × 3 alone": whole, "bottleneck": squeezed, "separable": separated},
    title="Three ways from 256 channels to 256",
)

# %% [markdown]
# Never nine times with a 3 × 3, however many channels: the mixing alone is a ninth. For 256 channels the pair
# has 67,840 weights, 8.69 times fewer, hardly better than the bottleneck; but the channels stay 256 all the
# way. Look at where the weights are now: **97 % of them mix, 3 % look around.**

# %%
print(f"pointwise: {65_536 / 67_840:.0%} of the weights, depthwise: {2_304 / 67_840:.0%}")
assert (round(100 * 65_536 / 67_840), round(100 * 2_304 / 67_840)) == (97, 3)

# %% [markdown]
# ### What it loses
#
# Rank again, but of another matrix. As one convolution the pair has the weight
# $W_{o,c,i,j} = p_{o,c} d_{c,i,j}$. Fix an input channel $c$, and write what the $O$ filters do with it as
# a matrix, $O$ rows, 9 columns. **Predict** its rank for the 3 × 3 alone, the bottleneck and the pair.

# %%
_ = torch.manual_seed(0)
depthwise, pointwise = (conv.build().weight.detach().double() for conv in separated)
paired = torch.einsum("oc,cij->ocij", pointwise[:, :, 0, 0], depthwise[:, 0])  # (256, 256, 3, 3)
x = torch.randn(1, 256, 4, 5, dtype=torch.float64)  # (B, C, H, W)
ours = depthwise_separable_solution(x, depthwise, pointwise)  # (B, O, H, W)
agree("the pair as one convolution", F.conv2d(x, paired, padding=1), ours)

views, mixes = {}, {}
for name, kernel in (("3 x 3 alone", plain), ("bottleneck", one.detach()), ("separable", paired)):
    views[name] = int(torch.linalg.matrix_rank(kernel[:, 7].flatten(1)))  # of (256, 9), input channel 7
    mixes[name] = int(torch.linalg.matrix_rank(kernel[:, :, 1, 1]))  # of (256, 256), the kernel's middle
    print(f"{name:12} views of a channel: {views[name]}, independent numbers out: {mixes[name]}")
assert list(views.values()) == [9, 9, 1] and list(mixes.values()) == [256, 64, 256]

# %% [markdown]
# The two save at opposite ends. The bottleneck may look at a channel in nine independent ways, and lets 64
# numbers out. The pair lets all 256 out, and looks at each channel in **one** way: every filter that wants an
# edge of channel 7 gets the same edge.

# %% [markdown]
# ## 9. And on the clock?
#
# **Predict**: 8.5 times fewer multiply-adds; how many times faster? Your numbers will differ from the ones
# here.

# %% tags=["nbval-ignore-output"]
# output not compared: timings


def milliseconds(layer, x, rounds=20):
    """The fastest of several rounds: the one that was disturbed least."""
    best = math.inf
    with torch.no_grad():
        for _ in range(rounds):
            start = time.perf_counter()
            layer(x)
            best = min(best, time.perf_counter() - start)
    return 1000 * best


speed_up = {}
for channels in (256, 16):
    x = torch.randn(1, channels, 14, 14)  # (B, C, H, W)
    layers = {
        "3 x 3 alone": Conv(channels, channels, 3).build(),
        "bottleneck": Bottleneck(channels, channels // 4, channels),
        "separable": DepthwiseSeparable(channels, channels),
        "  its depthwise": bottleneck.depthwise(channels).build(),
        "  its pointwise": Conv(channels, channels).build(),
    }
    print(f"{channels} channels          fewer mult-adds   faster   ns a 1000 multiply-adds")
    first = None
    for name, layer in layers.items():
        n, ms = count(layer, x).multiply_adds, milliseconds(layer, x)
        first = first or (n, ms)
        speed_up[channels, name] = first[1] / ms, ms / n
        print(f"  {name:18} {first[0] / n:12.1f} x {first[1] / ms:8.1f} x {1e9 * ms / n:12.0f}")
assert speed_up[16, "bottleneck"][0] < 5  # of 8.47
assert speed_up[256, "  its depthwise"][1] > 2 * speed_up[256, "  its pointwise"][1]

# %% [markdown]
# On the machine that wrote this, at 256 channels the bottleneck was five to six times as fast, not 8.5. A
# multiply-add of the depthwise layer took ten to twenty times as long as one of the pointwise. At 16
# channels the bottleneck was no faster at all. Two reasons, and the first can be counted: **numbers must
# be fetched before they can be multiplied.** Count what a layer moves: it reads its input and its weights,
# it writes its output.


# %%
def numbers_moved(convs, side):
    """Inputs read, weights read, outputs written, by each layer in turn."""
    return sum((c.in_channels + c.out_channels) * side**2 + c.weights for c in convs)


WAYS = {
    "3 x 3 alone": whole,
    "bottleneck": squeezed,
    "separable": separated,
    "  its depthwise": separated[:1],
    "  its pointwise": separated[1:],
}
moved = {name: numbers_moved(convs, 14) for name, convs in WAYS.items()}
each = {name: bottleneck.multiply_adds(*c, height=14, width=14) / moved[name] for name, c in WAYS.items()}
for name in WAYS:
    print(f"{name:16} moves {moved[name]:7,} numbers, {each[name]:5.1f} multiply-adds for each")

fewer = {name: round(moved["3 x 3 alone"] / moved[name], 1) for name in ("bottleneck", "separable")}
print(f"numbers moved: {fewer['bottleneck']} and {fewer['separable']} times fewer")
assert fewer == {"bottleneck": 3.1, "separable": 2.6}
assert each["  its depthwise"] < 5 and each["  its pointwise"] > 70

# %% [markdown]
# The bottleneck saves 8.5 times the arithmetic, but only 3.1 times the traffic: each of its layers writes
# a map that the next one reads again. A depthwise layer does fewer than five multiply-adds for every
# number that it moves, a pointwise layer more than seventy: so the one is paced by fetching, the other by
# multiplying. That is **arithmetic intensity**, and it is why "97 % of the weights" of section 8 is not
# 97 % of the time. (It is not the whole story: how well a library has written a layer for your processor
# counts as well. We have not taken the two apart.)
#
# The second reason is **overhead**: calling a layer costs some microseconds whatever it does, and three
# layers cost that three times (the block's two ReLUs come on top). At 16 channels there is little else. So
# time a layer at the size at which you will use it. Notebook 13 does so with the whole Bottleneck-LSTM.

# %% [markdown]
# ## 10. The finished version
#
# All the paper arithmetic above is in `lessons.layers.bottleneck`: `Conv` counts before anything is built,
# and the modules are built from it, so that paper and module cannot drift apart.

# %%
show(bottleneck.bottleneck)

# %%
show(Bottleneck)

# %%
show(bottleneck.separable)

# %% [markdown]
# ## 11. Bug hunt: the light block that was heavier
#
# A colleague has replaced a 3 × 3 convolution by this "separable" one. The tests pass: it runs, its shapes
# are right, and it trains well. *"Only, on the phone it got slower. I suppose depthwise layers are slow
# there."* Find the bug before you read on.


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
assert light(maps).shape == DepthwiseSeparable(256, 256)(maps).shape == (1, 256, 14, 14)  # "the tests pass"

# %% [markdown]
# A test of shapes cannot see it. A test of **cost** can: write down what the block is meant to cost, and
# compare, layer by layer.


# %%
def expect_cost(module, x, plan):
    """Each layer of the module has the weights of the convolution on paper, or an AssertionError names it."""
    for row, conv in zip(count(module, x).rows, plan, strict=True):
        times = row.weights / conv.weights
        assert times == 1, (
            f"{row.name}: {row.weights:,} weights, {times:.0f} times the {conv.weights:,} planned"
        )


try:
    expect_cost(light, maps, bottleneck.separable(256, 256))
except AssertionError as error:
    print(error)
    assert "589,824" in str(error) and "256 times" in str(error)
else:
    raise AssertionError("the bug was not found")
print(f"whole block: {count(light, maps).weights:,} weights; the convolution that it replaced: 589,824")
assert count(light, maps).weights == 655_360 > 589_824

# %% [markdown]
# `groups` is missing. The layer that is called depthwise is an ordinary 3 × 3 convolution with 256 times the
# weights, and the block now has *more* weights than the convolution that it was to replace. Nothing else
# betrays it: an ordinary convolution can do all that a depthwise one can, so no training looks wrong. The
# remedy is one argument:

# %%
light.depthwise = nn.Conv2d(256, 256, 3, padding=1, groups=256, bias=False)
expect_cost(light, maps, bottleneck.separable(256, 256))
print(f"{count(light, maps).weights:,} weights, as planned")
assert count(light, maps).weights == 67_840

# %% [markdown]
# ### And a smaller one: weights that cannot learn
#
# In ResNet and MobileNet each convolution is followed by batch normalization, which subtracts each channel's
# mean. `nn.Conv2d` comes with biases by default. **Predict**: what is the gradient of such a bias?

# %%
_ = torch.manual_seed(0)
conv, norm = nn.Conv2d(8, 6, 3).double(), nn.BatchNorm2d(6).double()
x, above = torch.randn(4, 8, 9, 9).double(), torch.randn(4, 6, 7, 7).double()  # (B, C, H, W), (B, O, H', W')
before = norm(conv(x))  # (B, O, H', W')
g_weight, g_bias = torch.autograd.grad(before, (conv.weight, conv.bias), above)
with torch.no_grad():
    conv.bias += 5
after = norm(conv(x))  # (B, O, H', W')
print(f"largest gradient of a weight: {g_weight.abs().max():.0f}; of a bias:", end=" ")
print("zero, up to rounding" if g_bias.abs().max() < 1e-12 else "not zero")
agree("all biases 5 larger", after, before, tolerance=1e-9)
assert g_weight.abs().max() > 1 and g_bias.abs().max() < 1e-12
print(f"in ResNet-50 that would be {sum(conv.out_channels for conv in convs):,} weights for nothing")
assert sum(conv.out_channels for conv in convs) == 26_560

# %% [markdown]
# Nothing: whatever the bias adds, the mean takes away again, and the normalization brings a shift of its
# own. So a convolution before a batch normalization has `bias=False`. If your count is a little above the
# paper's, look for these first.

# %% [markdown]
# ## 12. Where both are used
#
# The Bottleneck-LSTM of notebook 13 is made of four convolutions. With what you know now you can read its
# plan for 1024 channels in and a memory of 256:

# %%
plan = convolutions(1024, 256)
for name, conv in plan.items():
    print(
        f"{name:11} {conv.kernel_size} x {conv.kernel_size}, {conv.in_channels:4} -> {conv.out_channels:4}",
        end="",
    )
    print(f", groups {conv.groups:4}: {conv.weights:7,} weights")
print(f"together {bottleneck.weights(*plan.values()):,}")
assert bottleneck.weights(*plan.values()) == 601_344
mixing = [conv for conv in plan.values() if conv.kernel_size == 1]
assert bottleneck.weights(*mixing) == 1280 * 256 + 256 * 1024 == (5 + 4) * 256**2 == 589_824
assert all(conv.groups == conv.in_channels for conv in plan.values() if conv.kernel_size == 3)
weight_bars(
    {"1024 to 256": list(plan.values())}, title="Where the weights of the Bottleneck-LSTM are", width=7.0
)

# %% [markdown]
# A depthwise 3 × 3 looks around; a 1 × 1 **bottleneck** squeezes input and memory together, 1024 + 256
# channels, into 256; another depthwise looks around; a last 1 × 1 makes four gates of 256. Two separable
# pairs, and a waist between them. The two 1 × 1 layers hold 589,824 weights, our 3 × 3's number once more;
# that is chance, $5 + 4 = 9$.

# %% [markdown]
# ## Recap
#
# - A 1 × 1 convolution is a linear layer at every pixel. It mixes channels and sees no neighbors.
# - 256 → 256 by 3 × 3: 589,824 weights. Through a waist of 64: 16,384 + 36,864 + 16,384 = 69,632, 8.47 times
#   fewer, with the same view of nine pixels. By a depthwise-separable pair: 67,840.
# - Multiply-adds are weights times places. The two fall alike only at maps of one size.
# - A bottleneck limits how many independent numbers come out (the rank), a separable pair in how many ways a
#   channel is looked at. How much that costs depends on how redundant the channels are.
# - 36 of ResNet-50's 53 convolutions are 1 × 1; they hold 51.7 % of its convolutions' weights.
# - Time follows neither weights nor multiply-adds alone: numbers must be fetched, layers must be called.
# - Shapes do not show a forgotten `groups`. Counting does.
#
# ## Glossary
#
# | word | meaning |
# |---|---|
# | 1 × 1 convolution | a linear layer from channels to channels, the same at every pixel |
# | bottleneck | narrow by 1 × 1, convolve by 3 × 3, widen by 1 × 1 |
# | waist | how many channels the middle of a bottleneck has |
# | groups | channels cut into parts; each part of the output sees its own part of the input |
# | depthwise convolution | as many groups as channels: each channel has a filter of its own |
# | pointwise convolution | the 1 × 1 convolution that follows a depthwise one |
# | depthwise-separable convolution | the pair: look around channel by channel, then mix |
# | singular values | by how much a matrix stretches its directions, the largest first |
# | rank | how many singular values are not zero: how many independent numbers can come out |
# | shortcut | adding a block's input to its output |
# | arithmetic intensity | multiply-adds for each number that is read or written |
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
#
# **Next**: notebook 12 gives a picture a memory: ConvLSTM, an LSTM whose state is an image.
