# %% [markdown]
# # 02 · STCNN: convolution over space and time
#
# **You will build, by hand, the layer that lets LipNet see movement, and prove that yours equals PyTorch's:
# values and gradients.**
#
# *About 75 minutes to read and solve; all cells together run in about a minute on one CPU core.*
#
# **You need**: Python, basic PyTorch (tensors, `backward`), and a rough idea of what an image convolution
# does. Shapes are written `(B, C, T, H, W)`: clips, channels, frames, rows, columns, as in notebook 01.
#
# **You will be able to**
# - say what a frame-by-frame network cannot see, and prove it;
# - write a convolution over space and time as loops and as a matrix product;
# - derive both of its gradients by hand;
# - predict output sizes, weights, multiply-adds and receptive fields, and catch a misprint in a famous
#   table;
# - train a layer that tells left from right, and read what it has learned.

# %%
import math

import torch
import torch.nn.functional as F
from torch import nn
from tqdm.auto import tqdm

import lessons
from lessons import figures
from lessons.checks import agree, check
from lessons.layers import conv3d_fast, stcnn
from lessons.source import show

# %% [markdown]
# ## 1. What a single frame cannot tell
#
# Here is a toy mouth: a dark ellipse that opens and closes. (The proper synthetic talker comes in
# notebook 07.)


# %%
def draw_mouth(openness: torch.Tensor, height: int = 24, width: int = 32) -> torch.Tensor:
    """openness (T,), 0 closed … 1 open -> film (T, H, W): 1 is skin, 0 the dark inside of the mouth."""
    y = torch.linspace(-1, 1, height).view(1, -1, 1)  # (1, H, 1)
    x = torch.linspace(-1, 1, width).view(1, 1, -1)  # (1, 1, W)
    half_height = 0.08 + 0.6 * openness.view(-1, 1, 1)  # (T, 1, 1)
    distance = (x / 0.75) ** 2 + (y / half_height) ** 2  # (T, H, W), 1 on the lips
    return torch.sigmoid(6 * (distance - 1))  # (T, H, W)


openness = 1 - (torch.arange(13) - 6).abs() / 6  # (13,): 0, 1/6, …, 1, …, 1/6, 0
film = draw_mouth(openness)  # (13, 24, 32)
figures.filmstrip(film, range(13), columns=7, title="A mouth opens and closes")

# %% [markdown]
# **Predict.** Frame 3 belongs to an opening mouth, frame 9 to a closing one. To a lip reader that is the
# difference between the start and the end of a syllable. How different are the two frames, and how
# different is what an image convolution, with any weights at all, can say about them?

# %%
_ = torch.manual_seed(0)
image_filters = nn.Conv2d(1, 8, kernel_size=5, padding=2)  # 8 filters with random weights
answers = image_filters(film[:, None])  # (13, 1, 24, 32) -> (13, 8, 24, 32)

assert torch.equal(film[3], film[9])  # the same picture, to the last bit …
assert torch.allclose(answers[3], answers[9])  # … so the same answer from every filter
print("largest difference between the frames:", (film[3] - film[9]).abs().max().item())

# %% [markdown]
# None at all. No image filter, however clever and however many, can tell opening from closing: **movement
# is not in a frame, it is between frames.** Stack the frames into a block and it becomes visible. Below,
# the block is cut open along column 16. On the cut time runs to the back, and the lips draw slanted lines:
# apart while the mouth opens, together while it closes.

# %%
figures.space_time_cube(film, cut=(0, 16), title="The film as a block, cut open through the mouth")

# %% [markdown]
# An image filter finds slanted lines in height and width. So let us give the filter a third axis, time,
# and let it find slants there: a **spatiotemporal convolution**. LipNet calls a network of them an
# **STCNN**.

# %% [markdown]
# ## 2. Along time: one pixel
#
# Take a single pixel just below the lips, and follow its brightness $x_t$. A filter over three frames
# with weights $w_0, w_1, w_2$ gives
#
# $$y_t = \sum_{i=0}^{2} w_i\, x_{t+i}$$
#
# With $w = (-\tfrac12, 0, \tfrac12)$ this is "the frame after minus the frame before", a derivative in
# time. (Mathematicians flip the kernel and write $x_{t-i}$. Deep learning does not flip, and says
# *convolution* for what they call *cross-correlation*. The weights are learned, so it does not matter,
# until you design one by hand.)


# %%
def temporal_conv(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """x (T,), w (k,) -> y (T - k + 1,)."""
    y = torch.zeros(len(x) - len(w) + 1)  # (T',)
    for t in range(len(y)):
        for i in range(len(w)):
            y[t] += w[i] * x[t + i]
    return y


pixel = film[:, 16, 15]  # (13,)
change = temporal_conv(pixel, torch.tensor([-0.5, 0.0, 0.5]))  # (11,)
expected = F.conv1d(pixel[None, None], torch.tensor([[[-0.5, 0.0, 0.5]]]))[0, 0]  # (1, 1, 13) -> (11,)
agree("temporal_conv against F.conv1d", change, expected, tolerance=1e-6)
assert change[3 - 1] < 0 < change[9 - 1]  # y_t is centered on frame t + 1
figures.curves(
    {"brightness": (range(13), pixel), "change": (range(1, 12), change)},
    xlabel="frame",
    ylabel="",
    level=0.0,
    title="One pixel below the lips: dark means open",
)

# %% [markdown]
# At frame 3 the change is negative (getting darker: opening), at frame 9 positive (closing). Three
# weights along time tell what any number of weights within a frame could not.

# %% [markdown]
# ## 3. Over space and time: `conv3d` by loops
#
# Now let the filter cover $k_t$ frames, $k_h$ rows, $k_w$ columns and all $C$ input channels. Filter
# number $o$ with bias $b_o$ answers
#
# $$y_{o,t,h,w} = b_o + \sum_{c}\sum_{i=0}^{k_t-1}\sum_{j=0}^{k_h-1}\sum_{k=0}^{k_w-1}
# W_{o,c,i,j,k}\; x_{c,\;t s_t+i,\;h s_h+j,\;w s_w+k}$$
#
# with a **stride** of $(s_t, s_h, s_w)$ steps from one place to the next. **Padding** puts zeros around
# the clip first. In code, the four sums are one product of the filter with the window under it:


# %%
def conv3d_plain(x, weight, bias, stride=(1, 1, 1), padding=(0, 0, 0)):
    """x (C, T, H, W), weight (O, C, kt, kh, kw), bias (O,) -> (O, T', H', W')."""
    (pt, ph, pw), (st, sh, sw), (kt, kh, kw) = padding, stride, weight.shape[2:]
    x = F.pad(x, (pw, pw, ph, ph, pt, pt))  # (C, T+2pt, H+2ph, W+2pw); F.pad counts from the last axis
    T, H, W = ((n - k) // s + 1 for n, k, s in zip(x.shape[1:], weight.shape[2:], stride, strict=True))
    y = torch.empty(len(weight), T, H, W, dtype=x.dtype)  # (O, T', H', W')
    for o in range(len(weight)):
        for t in range(T):
            for h in range(H):
                for w in range(W):
                    window = x[:, t * st : t * st + kt, h * sh : h * sh + kh, w * sw : w * sw + kw]
                    y[o, t, h, w] = bias[o] + (weight[o] * window).sum()  # both (C, kt, kh, kw)
    return y


_ = torch.manual_seed(0)
x = torch.randn(3, 5, 8, 9, dtype=torch.float64)  # (C, T, H, W)
weight, bias = torch.randn(4, 3, 3, 5, 5).double(), torch.randn(4).double()  # (O, C, kt, kh, kw), (O,)
for stride, padding in [((1, 1, 1), (0, 0, 0)), ((1, 2, 2), (1, 2, 2)), ((2, 1, 3), (0, 1, 2))]:
    ours = conv3d_plain(x, weight, bias, stride, padding)
    theirs = F.conv3d(x[None], weight, bias, stride, padding)[0]
    agree(f"stride {stride}, padding {padding}", ours, theirs)

# %% [markdown]
# Watch one at work. The filter below smooths over 3 × 3 pixels and takes the difference in time: its
# weights are $-\tfrac19$ in its first frame, 0 in its second, $+\tfrac19$ in its third. Red: it got
# brighter; blue: it got darker. While the mouth opens, its edges are blue; at the turning point nothing
# changes; while it closes, they are red.

# %%
change_filter = torch.zeros(1, 1, 3, 3, 3)  # (O, C, kt, kh, kw)
change_filter[:, :, 0], change_filter[:, :, 2] = -1 / 9, 1 / 9
small = draw_mouth(openness[3:10], 13, 16)  # (7, 13, 16)
response = F.conv3d(small[None, None], change_filter)[0, 0]  # (5, 11, 14)
assert response[0].sum() < 0 < response[4].sum() and response[2].abs().max() < 1e-6
figures.space_time(small, response, kernel=(3, 3, 3), position=(0, 8, 6))

# %%
figures.space_time(small, response, kernel=(3, 3, 3), position=(4, 8, 6))

# %% [markdown]
# In Jupyter or Colab, slide it yourself:

# %% tags=["nbval-ignore-output"]
# output not compared: the slider is a widget, which lives only while the notebook runs
from ipywidgets import interact


@interact(t=(0, 4), y=(0, 10), x=(0, 13))
def slide(t=2, y=2, x=7):
    return figures.space_time(small, response, kernel=(3, 3, 3), position=(t, y, x))


# %% [markdown]
# <details><summary><b>Help: wrong shape, "expected input to have 3 channels, but got 75"</b></summary>
#
# Your clip is `(B, T, C, H, W)`, the order in which video decoders think. Convolutions want the channels
# first: `x.transpose(1, 2)` swaps the two axes. If both happened to be 3, nothing would warn you.
# </details>

# %% [markdown]
# ## 4. How large is the output?
#
# ### Exercise 1 · `output_shape` · difficulty ★☆☆ · 5 minutes
#
# Along one axis of $n$ places with padding $p$ on both ends, how often does a kernel of $k$ fit when it
# moves by $s$? Write the answer for all three axes. If in doubt, draw 5 boxes and slide a kernel of 3
# along them.


# %%
def output_shape(size, kernel, stride, padding):
    """Each argument is (time, height, width). Return (T', H', W')."""
    raise NotImplementedError


check("02.output_shape", output_shape)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def output_shape_solution(size, kernel, stride, padding):
    """The first place is always there; every further one needs s more of the n + 2p - k that are left."""
    return tuple((n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, kernel, stride, padding, strict=True))


# %%
check("02.output_shape", output_shape_solution)

# %% [markdown]
# ### LipNet's three layers
#
# LipNet has three spatiotemporal convolutions, each followed by a max-pool over 2 × 2 pixels. With your
# formula the way of a clip of 75 frames at 64 × 128 can be worked out on paper:

# %%
# name, channels out, kernel, stride, padding; a pool keeps its channels
LIPNET = [
    ("conv1", 32, (3, 5, 5), (1, 2, 2), (1, 2, 2)),
    ("pool1", None, (1, 2, 2), (1, 2, 2), (0, 0, 0)),
    ("conv2", 64, (3, 5, 5), (1, 1, 1), (1, 2, 2)),
    ("pool2", None, (1, 2, 2), (1, 2, 2), (0, 0, 0)),
    ("conv3", 96, (3, 3, 3), (1, 1, 1), (1, 1, 1)),
    ("pool3", None, (1, 2, 2), (1, 2, 2), (0, 0, 0)),
]


def ladder(size, layers=LIPNET, channels=3):
    """Rows (name, (C, T, H, W), weights, multiply-adds), the input first."""
    rows = [("input", (channels, *size), 0, 0)]
    for name, out, kernel, stride, padding in layers:
        size = output_shape_solution(size, kernel, stride, padding)
        volume = channels * math.prod(kernel)  # weights of one filter = multiply-adds of one output value
        weights = out * volume + out if out else 0  # + out: one bias for each filter
        channels = out or channels
        rows.append((name, (channels, *size), weights, channels * math.prod(size) * volume if out else 0))
    return rows


rows = ladder((75, 64, 128))
for name, shape, weights, work in rows:
    print(f"{name:6} {shape!s:18} {weights:8,} weights {work / 1e9:6.3f} G multiply-adds")

assert [weights for _, _, weights, _ in rows if weights] == [7_232, 153_664, 165_984]
assert rows[1][1] == (32, 75, 32, 64) and rows[-1][1] == (96, 75, 4, 8)
assert {shape[1] for _, shape, _, _ in rows} == {75}
figures.shape_ladder(rows, title="LipNet's front: where weights and multiply-adds sit")

# %% [markdown]
# Two things to keep:
# - **Time is never shortened.** 75 frames go in, 75 come out of every layer. CTC (notebook 04) will need
#   each of them, so strides and pools work on height and width only.
# - **Weights and work sit in different places.** `conv2` and `conv3` have about as many weights, but
#   `conv2` does 3.7 times the multiply-adds, because it works on pictures four times as large.

# %%
work = {name: work for name, _, _, work in rows}
pixels = {name: math.prod(shape[2:]) for name, shape, _, _ in rows}
assert round(work["conv2"] / work["conv3"], 1) == 3.7 and pixels["conv2"] == 4 * pixels["conv3"]

# %% [markdown]
# ### A misprint, caught by arithmetic
#
# Table 3 of the LipNet paper prints a stride of 1, 2, 2 for **all three** convolutions. The same table
# says that for its 50 × 100 crops, `conv2` takes 12 × 25 to 12 × 25 and `conv3` takes 6 × 12 to 6 × 12.
# **Predict**: can both be true?

# %%
as_printed = [(n, c, k, (1, 2, 2), p) for n, c, k, _, p in LIPNET]  # stride 1, 2, 2 everywhere
print("layer   stride 1,2,2 everywhere   stride 1 in conv2, conv3")
for printed, ours in zip(ladder((75, 50, 100), as_printed), ladder((75, 50, 100)), strict=True):
    print(f"{printed[0]:7} {printed[1]!s:25} {ours[1]}")

sizes = {name: shape[2:] for name, shape, _, _ in ladder((75, 50, 100))}
assert sizes["pool1"] == sizes["conv2"] == (12, 25) and sizes["pool2"] == sizes["conv3"] == (6, 12)
assert math.prod(ladder((75, 50, 100))[-1][1]) // 75 == 1728  # features of a frame
assert math.prod(ladder((75, 50, 100), as_printed)[-1][1]) // 75 == 96
assert [row[2] for row in ladder((75, 50, 100), as_printed)] == [row[2] for row in rows]  # weights

# %% [markdown]
# They cannot. Only a stride of 1 in the last two convolutions gives the sizes in the table, and the
# authors' own code has it so. Taken at its word, the printed stride would shrink a whole mouth to a
# single pixel, 96 numbers in place of 1,728. The number of weights would not change by one, so comparing
# weights would not have told you.

# %% [markdown]
# ## 5. The same as one matrix product
#
# Loops over every output value are slow. The window under the filter and the filter are both just lists
# of $C k_t k_h k_w$ numbers, and their product is a dot product. Write every window as one **row** of a
# matrix and every filter as one **column** of another, and the whole convolution is a single matrix
# product. (The trick is known as *im2col*.)


# %%
def conv3d_matmul(x, weight, bias):
    """The same as conv3d_plain, for stride 1 and no padding."""
    out, _, kt, kh, kw = weight.shape
    windows = x.unfold(1, kt, 1).unfold(2, kh, 1).unfold(3, kw, 1)  # (C, T', H', W', kt, kh, kw), no copy yet
    places = windows.shape[1:4]  # (T', H', W')
    rows = windows.permute(1, 2, 3, 0, 4, 5, 6).reshape(math.prod(places), -1)  # (T'H'W', C kt kh kw)
    columns = weight.reshape(out, -1).T  # (C kt kh kw, O)
    y = rows @ columns + bias  # (T'H'W', O)
    return y.T.reshape(out, *places)  # (O, T', H', W')


agree("matrix product against loops", conv3d_matmul(x, weight, bias), conv3d_plain(x, weight, bias))

# %% [markdown]
# The price is memory: a pixel that lies under many windows is copied into each of them.
#
# **Predict**: for a 3 × 5 × 5 kernel, how many times as large as the clip is the matrix of windows?

# %%
kernel = (3, 5, 5)
for name, size in [("this small clip", (5, 8, 9)), ("conv2's padded input", (77, 20, 36))]:
    places = math.prod(output_shape_solution(size, kernel, (1, 1, 1), (0, 0, 0)))  # T' H' W'
    print(f"{name}: {places * math.prod(kernel) / math.prod(size):.0f} times")

assert math.prod(kernel) == 75

# %% [markdown]
# Up to $k_t k_h k_w = 75$ times; less for a small clip, where few windows fit. The finished version in
# `lessons.layers.stcnn` has a trick against this. Look for it in section 10.

# %% [markdown]
# ## 6. The gradient, by hand
#
# A loss $L$ comes back through the layer as $\delta_{t,h,w} = \partial L / \partial y_{t,h,w}$. Take one
# input channel, one filter, stride 1, no padding:
#
# $$y_{t,h,w} = \sum_{i,j,k} W_{i,j,k}\; x_{t+i,\,h+j,\,w+k}$$
#
# **Weight.** $W_{i,j,k}$ was multiplied by $x_{t+i,h+j,w+k}$ on its way into $y_{t,h,w}$, for every
# $t,h,w$. So
#
# $$\frac{\partial L}{\partial W_{i,j,k}} = \sum_{t,h,w} \delta_{t,h,w}\; x_{t+i,\,h+j,\,w+k}$$
#
# Look at it again: $\delta$ slides over $x$. **The gradient of the weight is a convolution of the input
# with the incoming gradient.**
#
# **Input.** $x_{a,b,c}$ went into $y_{t,h,w}$ with the weight $W_{a-t,\,b-h,\,c-w}$, wherever that
# exists. So
#
# $$\frac{\partial L}{\partial x_{a,b,c}} = \sum_{t,h,w} \delta_{t,h,w}\; W_{a-t,\,b-h,\,c-w}$$
#
# In code: every $\delta$ **stamps** a copy of the kernel, times itself, onto the place that it came from.


# %%
def conv3d_backward(x, weight, delta):
    """One channel, one filter: x (T, H, W), weight (kt, kh, kw), delta (T', H', W') -> both gradients."""
    grad_x, grad_weight = torch.zeros_like(x), torch.zeros_like(weight)  # (T, H, W), (kt, kh, kw)
    kt, kh, kw = weight.shape
    for t in range(delta.shape[0]):
        for h in range(delta.shape[1]):
            for w in range(delta.shape[2]):
                window = slice(t, t + kt), slice(h, h + kh), slice(w, w + kw)
                grad_weight += delta[t, h, w] * x[window]  # what this place multiplied
                grad_x[window] += delta[t, h, w] * weight  # stamp the kernel
    return grad_x, grad_weight


_ = torch.manual_seed(0)
x1 = torch.randint(-3, 4, (4, 6, 7)).double().requires_grad_()  # (T, H, W)
w1 = torch.randint(-3, 4, (3, 3, 2)).double().requires_grad_()  # (kt, kh, kw)
delta = torch.randint(-3, 4, (2, 4, 6)).double()  # (T', H', W')
F.conv3d(x1[None, None], w1[None, None]).backward(delta[None, None])

grad_x, grad_weight = conv3d_backward(x1, w1, delta)
for name, ours, theirs in [("input", grad_x, x1.grad), ("weight", grad_weight, w1.grad)]:
    exact, approximate = torch.equal(ours, theirs), torch.allclose(ours, theirs)
    largest = (ours - theirs).abs().max().item()
    print(f"gradient of the {name:6}: exact {exact}, approximate {approximate}, largest difference {largest}")
    assert exact

# %% [markdown]
# Exact, because we used whole numbers, whose sums need no rounding. With random floats the two sums run
# in another order and differ in the last bit or so; that is rounding, not a mistake.
#
# Stamping kernels is a convolution as well: pad $\delta$ by $k-1$, flip the kernel on all three axes, and
# slide. (Here is the flip that section 2 left out.)

# %%
flipped = w1.detach().flip(0, 1, 2)  # (kt, kh, kw)
padded = F.pad(delta, (1, 1, 2, 2, 2, 2))  # (2 + 2·2, 4 + 2·2, 6 + 2·1)
assert torch.equal(F.conv3d(padded[None, None], flipped[None, None])[0, 0], x1.grad)
print("stamping = sliding the flipped kernel over the padded gradient")

# %% [markdown]
# ### Exercise 2 · `weight_gradient` · difficulty ★★★ · 15 minutes
#
# Now for real layers: a batch, several input channels, several filters (stride 1, no padding). Loops over
# the kernel's places are fine. Hint: `torch.einsum` reads like the equation.


# %%
def weight_gradient(x, grad_output):
    """x (B, C, T, H, W), grad_output (B, O, T', H', W') -> gradient of the weight (O, C, kt, kh, kw)."""
    raise NotImplementedError


check("02.weight_gradient", weight_gradient)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def weight_gradient_solution(x, grad_output):
    """For each place (i, j, k) of the kernel: the part of x that it met, times the gradient, summed."""
    T, H, W = grad_output.shape[2:]
    kt, kh, kw = (a - b + 1 for a, b in zip(x.shape[2:], grad_output.shape[2:], strict=True))
    grad = torch.empty(grad_output.shape[1], x.shape[1], kt, kh, kw, dtype=x.dtype)  # (O, C, kt, kh, kw)
    for i in range(kt):
        for j in range(kh):
            for k in range(kw):
                met = x[:, :, i : i + T, j : j + H, k : k + W]  # (B, C, T', H', W')
                grad[:, :, i, j, k] = torch.einsum("bothw,bcthw->oc", grad_output, met)
    return grad


# %%
check("02.weight_gradient", weight_gradient_solution)

# %% [markdown]
# ## 7. Pooling, and a dropout that commutes
#
# After each convolution LipNet keeps the largest value of every 2 × 2 pixels: a **max-pool** with kernel
# `(1, 2, 2)`. That makes the answer robust to a shift by a pixel and quarters the work of the next layer.


# %%
def max_pool_plain(x):
    """x (C, T, H, W) -> (C, T, H // 2, W // 2)."""
    channels, frames, height, width = x.shape
    x = x[:, :, : height // 2 * 2, : width // 2 * 2]  # an odd last row or column is left out
    blocks = x.reshape(channels, frames, height // 2, 2, width // 2, 2)  # rows and columns in pairs
    return blocks.amax(dim=(3, 5))  # (C, T, H // 2, W // 2)


assert torch.equal(max_pool_plain(x), F.max_pool3d(x, (1, 2, 2)))

# %% [markdown]
# In training, LipNet also drops whole channels at random (**channel dropout**) and scales up those that
# remain. The paper's text puts this *before* the pool, its appendix *after* it, and public code does
# either. **Predict**: how much does the order change the result?

# %%
_ = torch.manual_seed(0)
scale = torch.tensor([0.0, 2.0, 2.0]).double().view(3, 1, 1, 1)  # drop channel 0, double the others (p = 1/2)
before, after = F.max_pool3d(x * scale, (1, 2, 2)), F.max_pool3d(x, (1, 2, 2)) * scale
assert torch.equal(before, after)

pixels = 2.0 * torch.randint(0, 2, x.shape)  # ordinary dropout: each pixel for itself
before_pixels = F.max_pool3d(x * pixels, (1, 2, 2))  # (C, T, H // 2, W // 2)
after_pixels = F.max_pool3d(x, (1, 2, 2)) * pixels[:, :, :4, :4]
assert not torch.allclose(before_pixels, after_pixels)
print("channels:", torch.equal(before, after), "· pixels:", torch.allclose(before_pixels, after_pixels))
assert 4 * F.max_pool3d(torch.zeros(1, 1, 64, 128), (1, 2, 2)).numel() == 64 * 128

# %% [markdown]
# Not by a bit. A channel is multiplied as a whole by one number $a \ge 0$, and $\max(a x) = a \max(x)$.
# So the argument about the order is about nothing but speed: after the pool there is a quarter of the
# values to multiply. For ordinary dropout, which picks single pixels, the order does matter.

# %% [markdown]
# ## 8. Receptive field: what one output sees
#
# ### Exercise 3 · `receptive_field` · difficulty ★★☆ · 10 minutes
#
# Follow one output value back through layers of (kernel, stride) along one axis. How many places of the
# input does it see, counted from the first to the last? Two helpful questions: by how many does one more
# layer widen the view? And how far apart, in input places, are two neighbors in the layer that you are
# looking at?


# %%
def receptive_field(layers):
    """layers [(kernel, stride), …], first layer first -> how many inputs one output sees."""
    raise NotImplementedError


check("02.receptive_field", receptive_field)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def receptive_field_solution(layers):
    """A kernel of k adds k - 1 neighbors, each `spread` inputs apart; a stride multiplies the spread."""
    field, spread = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * spread
        spread *= stride
    return field


# %%
check("02.receptive_field", receptive_field_solution)

# %%
time_axis = [(kernel[0], stride[0]) for _, _, kernel, stride, _ in LIPNET]
height_axis = [(kernel[1], stride[1]) for _, _, kernel, stride, _ in LIPNET]
frames_seen, rows_seen = receptive_field_solution(time_axis), receptive_field_solution(height_axis)
print(f"one output of LipNet's front sees {frames_seen} frames and {rows_seen} x {rows_seen} pixels")
assert (frames_seen, rows_seen) == (7, 51)

# %% [markdown]
# Seven frames are 0.28 s at 25 frames a second, roughly a syllable. Everything longer (words, sentences) is
# left to the GRUs of notebook 03.
#
# Do you believe the formula? **Measure it**: an input belongs to the receptive field of an output exactly
# if the gradient of that output with respect to it is not zero. For a clean measurement, use positive
# weights and average pools, so that nothing cancels and no maximum hides its neighbors.

# %%
probe = torch.zeros(1, 1, 11, 128, 128, requires_grad=True)  # (B, C, T, H, W), one channel is enough
y = probe
for _, out, kernel, stride, padding in LIPNET:
    ones = torch.ones(1, 1, *kernel)  # (O, C, kt, kh, kw)
    y = F.conv3d(y, ones, stride=stride, padding=padding) if out else F.avg_pool3d(y, kernel)
y[0, 0, 5, 4, 4].backward()  # one output in the middle of (1, 1, 11, 8, 8)
seen = probe.grad[0, 0] > 0  # (T, H, W)
measured = tuple(int(seen.any(dim=other).sum()) for other in [(1, 2), (0, 2), (0, 1)])
print("measured: frames, rows, columns =", measured)
assert measured == (frames_seen, rows_seen, rows_seen)
assert frames_seen / 25 == 0.28  # seconds
around = probe.grad[0, 0, :, 40:104, 40:104].sqrt()  # (T, 64, 64); the root brings out the faint edges
figures.filmstrip(around, range(2, 9), columns=7, title="What one output of frame 5 sees of frames 2 to 8")

# %% [markdown]
# The formula is right, and the picture says more than the formula: the field has soft edges. Far corners
# are reached by few paths, the center by many, so in practice an output sees less than 7 × 51 × 51.

# %% [markdown]
# ## 9. Left or right? A real training
#
# Random textures move by one pixel a frame, to the left or to the right, under noise as strong as the
# texture itself. Here are two films, one of each. A single frame is random all over: there is nothing in it
# that could tell the direction.


# %%
def moving_textures(count, generator, frames=6, size=16, noise=1.0):
    """Films (B, 1, T, H, W) and labels (B,): 0 moves to the left, 1 to the right."""
    texture = torch.randn(count, 1, size, size, generator=generator)  # (B, 1, H, W)
    label = torch.randint(0, 2, (count,), generator=generator)  # (B,)
    step = (2 * label - 1).view(-1, 1, 1) * torch.arange(frames).view(1, -1, 1)  # (B, T, 1), to the right
    column = (torch.arange(size) - step) % size  # (B, T, W): where a pixel comes from; edges wrap round
    column = column[:, :, None].expand(-1, -1, size, -1)  # (B, T, H, W)
    film = texture.expand(-1, frames, -1, -1).gather(3, column)  # (B, T, H, W)
    return (film + noise * torch.randn(film.shape, generator=generator))[:, None], label


films, labels = moving_textures(2, torch.Generator().manual_seed(0), noise=0.0)
assert labels.tolist() == [0, 1]  # so the first moves to the left, the second to the right
assert torch.equal(films[1, 0, 0, :, :-1], films[1, 0, 1, :, 1:])  # moved by one pixel
strip = films[:, 0].flatten(0, 1)  # (2 films of 6 frames, H, W)
figures.filmstrip(
    strip, range(12), columns=6, title="0–5 move to the left, 6–11 to the right (shown without noise)"
)

# %% [markdown]
# ### Exercise 4 · `right_detector` · difficulty ★★☆ · 10 minutes
#
# Before a network learns one, design one. Choose the 27 weights of a single 3 × 3 × 3 filter that answers
# a texture moving to the right by one pixel a frame more strongly than the same texture standing still or
# moving in any other direction. (Answer = mean of ReLU of the convolution; "more strongly" = at least 1.3
# times.) Hint: where will a dot be in the second frame, if it was in the left column in the first?


# %%
def right_detector():
    """Return a weight of shape (1, 1, 3, 3, 3): (out, in, time, height, width)."""
    raise NotImplementedError


check("02.right_detector", right_detector)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def right_detector_solution():
    """+1 in the column where the dot is at time t, -1/2 beside it, so that even areas give nothing."""
    weight = torch.full((1, 1, 3, 3, 3), -0.5)
    for t in range(3):
        weight[0, 0, t, :, t] = 1.0  # the column moves on with the dot
    return weight


# %%
check("02.right_detector", right_detector_solution)
figures.kernels(right_detector_solution()[0], ["by hand"], width=2.4)

# %% [markdown]
# A slanted line in the x–t cut: the same slant that you saw in the block of section 1.
#
# ### Two networks with the same number of weights
#
# One layer of filters, ReLU, the mean over the whole film, and a linear layer that votes. The first
# network has image filters (1 × 5 × 5), the second filters of three frames (3 × 5 × 5), but three times
# fewer of them, so that both have 600 filter weights. **Predict** the accuracy of each. Chance is 50 %.


# %%
def direction_network(frames, filters):
    """(B, 1, T, H, W) -> logits (B, 2)."""
    return nn.Sequential(
        nn.Conv3d(1, filters, (frames, 5, 5), padding=(frames // 2, 2, 2)),  # (B, O, T, H, W)
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(1),  # (B, O, 1, 1, 1)
        nn.Flatten(),  # (B, O)
        nn.Linear(filters, 2),  # (B, 2)
    )


device = lessons.device()
GPU = device.type == "cuda"
STEPS = 300 if GPU else 60  # these networks are so small that a GPU is hardly faster; it can wait longer


def train(frames, filters, seed):
    _ = torch.manual_seed(seed)
    network, generator = direction_network(frames, filters), torch.Generator().manual_seed(seed)
    network = network.to(device)
    optimizer, losses = torch.optim.Adam(network.parameters(), lr=0.02), []
    for _ in range(STEPS):
        films, labels = (t.to(device) for t in moving_textures(32, generator))
        loss = F.cross_entropy(network(films), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return network.cpu(), losses


SETTINGS = {"1 × 5 × 5": (1, 24), "3 × 5 × 5": (3, 8)}
weights = {name: direction_network(*setting)[0].weight.numel() for name, setting in SETTINGS.items()}
assert weights == {"1 × 5 × 5": 600, "3 × 5 × 5": 600}

# %% [markdown]
# Each network is trained from three seeds on films made afresh at every step, so nothing can be learned by
# heart.

# %%
runs = [(name, seed) for name in SETTINGS for seed in range(3)]
trained = {(name, seed): train(*SETTINGS[name], seed) for name, seed in tqdm(runs, desc="training")}

# %%
test_films, test_labels = moving_textures(200, torch.Generator().manual_seed(1000))  # never seen in training
accuracy = {name: [] for name in SETTINGS}
for (name, _), (network, _) in trained.items():
    with torch.no_grad():
        right_answers = network(test_films).argmax(1) == test_labels
    accuracy[name].append(right_answers.float().mean().item())
for name, values in accuracy.items():
    print(f"{name}: above 0.9 in each of {len(values)} seeds: {min(values) > 0.9}")

assert max(abs(a - 0.5) for a in accuracy["1 × 5 × 5"]) < 0.15 and min(accuracy["3 × 5 × 5"]) > 0.9
smooth = torch.ones(1, 1, 10) / 10  # mean of 10 steps
curves = {}
for name in SETTINGS:
    losses = torch.tensor([trained[name, seed][1] for seed in range(3)])  # (3, STEPS)
    curves[name] = F.conv1d(losses[:, None], smooth)[:, 0]  # (3, STEPS - 9)
figures.curves(
    curves,
    steps=range(10, STEPS + 1),
    level=math.log(2),
    level_label="guessing: ln 2",
    ylabel="loss, mean of 10 steps",
    ylim=(0, 0.8),
    title="Left or right: mean and range of three seeds",
)

# %% [markdown]
# The image filters guess, whatever the seed. That is not for want of training; it can be **proved**. Play
# a film backwards: left becomes right, but the *set* of frames stays the same, and a network that
# averages what it says about single frames cannot notice. So it gives a film and its reverse the same
# answer, and one of the two is wrong. On films together with their reverses it must get exactly half.

# %%
both_ways = torch.cat([test_films, test_films.flip(2)])  # (400, 1, 6, 16, 16); axis 2 is time
both_labels = torch.cat([test_labels, 1 - test_labels])  # (400,)
for name in SETTINGS:
    network = trained[name, 0][0].double()
    with torch.no_grad():
        logits = network(both_ways.double())  # (400, 2)
    forwards, backwards = logits.chunk(2)  # (200, 2) each
    gap = (forwards - backwards).abs().max().item()
    half = (logits.argmax(1) == both_labels).double().mean().item()
    print(f"{name}: film and reverse differ by {'nothing' if gap < 1e-12 else 'a lot'}, accuracy {half:.2f}")
    assert (gap < 1e-12 and half == 0.5) if name == "1 × 5 × 5" else (gap > 1 and half > 0.9)

# %% [markdown]
# ### What has it learned?
#
# Below are the eight learned filters of the 3 × 5 × 5 network (seed 0), and which way the linear layer
# lets each one vote. **Predict** the slant of the x–t cuts before you look.

# %%
network = trained["3 × 5 × 5", 0][0]
filters = network[0].weight.detach()[:, 0]  # (8, 3, 5, 5)
vote = (network[4].weight[1] - network[4].weight[0]).detach()  # (8,), above 0: votes for "right"
order = vote.argsort(descending=True)  # (8,)
names = ["right" if vote[o] > 0 else "left" for o in order]
figures.kernels(filters[order], names, title="Learned filters, and the direction that each votes for")

# %% [markdown]
# Red and blue lines slant through time the way that the filter votes: to the lower right for "right", to
# the lower left for "left". Do not trust your eye alone, put a number on it. Slide the three frames of
# each filter against each other by a speed $v$ and add them up. If the filter is a pattern that moves at
# speed $v$, the three lie on top of each other and the sum is large.


# %%
def energy(filter3, speed):
    """filter3 (3, 5, 5): its frames, each moved back by the way of a pattern, summed and squared."""
    lined_up = sum(F.pad(frame, (4 - speed * t, 4 + speed * t)) for t, frame in enumerate(filter3))  # (5, 13)
    return lined_up.square().sum().item()


speeds = [-2, -1, 0, 1, 2]
best = [max(speeds, key=lambda v: energy(f, v)) for f in filters[order]]
for name, speed in zip(names, best, strict=True):
    print(f"votes {name:5}  strongest at {speed:+d} pixel a frame")
assert all(speed == (1 if name == "right" else -1) for name, speed in zip(names, best, strict=True))

# %% [markdown]
# Every filter is a detector of the very speed that was in the data: +1 or −1 pixel a frame, and the linear
# layer subtracts the left-goers from the right-goers. Adelson and Bergen proposed in 1985 that animals see
# motion in just this way: slanted filters in space-time, and opposites subtracted.
#
# And in lip reading? LipNet's authors took the time axis out of their filters, too. They call it
# Baseline-2D. It still has its GRUs to look across time; even so its word error rate on unseen speakers
# is more than twice as high.

# %%
word_error_rate = {"LipNet": 11.4, "Baseline-2D": 26.7}  # per cent, unseen speakers, Table 2 of the paper
print(f"{word_error_rate['Baseline-2D'] / word_error_rate['LipNet']:.1f} times as many word errors")
assert word_error_rate["Baseline-2D"] > 2 * word_error_rate["LipNet"]

# %% [markdown]
# ## 10. The finished version
#
# This is the matrix product as the package has it, for batches, strides, padding, dilation (gaps between
# the places of a filter) and groups. It is yours from section 5 with one difference. Find it before you read
# on: how large is its matrix of windows?

# %%
show(conv3d_fast.conv3d_matmul)

# %% [markdown]
# It lays out the windows of *single frames* ($k_h k_w$ copies of each pixel, not $k_t k_h k_w$), multiplies
# each of the $k_t$ slices of the filter with every frame, and adds up the products of neighboring
# frames. For LipNet's `conv2` that is up to 25 copies in place of 75.

# %%
clip = math.prod((77, 20, 36))  # conv2's padded input, one channel
for name, copied in [("all windows", 75 * 16 * 32 * 75), ("windows of frames", 77 * 16 * 32 * 25)]:
    print(f"{name:17} {copied / clip:.0f} times the clip")
assert math.prod((3, 5, 5)) == 3 * 25

# %% [markdown]
# Still, 25 copies of a whole batch fit into no cache, and autograd keeps them all until the way back. So
# `conv3d`, which the layer `stcnn.Conv3d` calls, takes the same product **a few frames at a time**, and
# it has its own `backward`: the one that you derived in section 6. Where is the sum of $\delta$ times $x$,
# and where are the kernels added onto the frames? (`deltas` is $\delta$, in the order in which the $k_t$
# slices of the filters meet each frame.)

# %%
show(conv3d_fast.Conv3dColumns.forward)

# %%
show(conv3d_fast.Conv3dColumns.backward)

# %% [markdown]
# (`.mT` turns a matrix's rows into columns.) `deltas @ columns.mT` is the first: each $\delta$ times the
# pixels that it met, added up over all places. `filters.mT @ deltas` is a patch for every place, the sum of
# the kernels, each times its $\delta$, and `col2im` adds the patches onto the frames. `backward`
# computes the columns again, since that takes less time than to keep them in memory and fetch them. (With
# `create_graph=True` somebody will differentiate this gradient again; then autograd's own comes from
# `conv3d_matmul`.)
#
# All versions, one meaning. Values and gradients, on random shapes:

# %%
_ = torch.manual_seed(0)
for channels, out, size, kernel, stride, padding in [
    (3, 4, (5, 8, 9), (3, 5, 5), (1, 2, 2), (1, 2, 2)),
    (4, 2, (4, 6, 5), (3, 3, 3), (1, 1, 1), (1, 1, 1)),
    (1, 3, (6, 4, 7), (2, 1, 4), (2, 1, 3), (0, 0, 1)),
]:
    x = torch.randn(channels, *size).double().requires_grad_()  # (C, T, H, W)
    weight = torch.randn(out, channels, *kernel).double().requires_grad_()  # (O, C, kt, kh, kw)
    bias = torch.randn(out).double().requires_grad_()  # (O,)
    results = [
        conv3d_plain(x, weight, bias, stride, padding),  # yours
        conv3d_fast.conv3d_matmul(x[None], weight, bias, stride, padding)[0],  # the package's two
        conv3d_fast.conv3d(x[None], weight, bias, stride, padding)[0],
        F.conv3d(x[None], weight, bias, stride, padding)[0],  # torch's
    ]
    delta = torch.randn_like(results[0])  # (O, T', H', W'): an arbitrary gradient from above
    gradients = [torch.autograd.grad(y, (x, weight, bias), delta) for y in results]
    for name, y, gradient in zip(("loops", "product", "by chunks"), results, gradients, strict=False):
        agree(f"{name:9} kernel {kernel}", y, results[-1])
        for ours, theirs in zip(gradient, gradients[-1], strict=True):
            assert torch.allclose(ours, theirs, rtol=0, atol=1e-10)

# %% [markdown]
# One block of LipNet is convolution, ReLU, max-pool, channel dropout:

# %%
show(stcnn.STCNN.forward)

# %% [markdown]
# What does the front cost? `lessons.measure.counting` runs a model once and counts what each layer does. It
# must agree with the table that you worked out on paper in section 4.

# %%
from lessons.measure.counting import count

front = nn.Sequential(
    stcnn.STCNN(3, 32, (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2)),
    stcnn.STCNN(32, 64, (3, 5, 5), padding=(1, 2, 2)),
    stcnn.STCNN(64, 96, (3, 3, 3), padding=(1, 1, 1)),
)
costs = count(front, torch.zeros(1, 3, 75, 64, 128))
print(costs)

by_hand = [(weights, work) for _, _, weights, work in rows if weights]
counted = [(row.weights, row.multiply_adds) for row in costs.rows if row.weights]
assert counted == by_hand

# %% [markdown]
# ## 11. Bug hunt: the hook that saw something else
#
# To look inside a network, people put a **forward hook** on a layer and keep what it gives. This block does
# it as a widely copied public LipNet does. Somebody reports: *"My convolution never gives a negative value.
# Is it broken?"* Find the bug before you read on.


# %%
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 32, (3, 5, 5), stride=(1, 2, 2), padding=(1, 2, 2))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.conv(x))  # (B, 3, T, H, W) -> (B, 32, T, H/2, W/2)


def smallest_values(block):
    """The smallest output of block.conv: at the moment of the hook, and after the forward pass."""
    kept = {}

    def hook(layer, inputs, out):
        kept.update(out=out, smallest=out.min().item())

    block.conv.register_forward_hook(hook)
    with torch.no_grad():
        block(torch.randn(1, 3, 5, 32, 64, generator=torch.Generator().manual_seed(0)))
    return kept["smallest"], kept["out"].min().item()


_ = torch.manual_seed(0)
at_hook, afterwards = smallest_values(Block())
print(f"smallest output of the convolution: {at_hook:.2f} when the hook ran, {afterwards:.2f} afterwards")
assert at_hook < -1 and afterwards == 0

# %% [markdown]
# The hook kept the tensor, not a copy. `inplace=True` then let the ReLU write its zeros **into that
# tensor**. The convolution is fine; the evidence was overwritten. The same thing spoils saliency maps and
# activation statistics, and no error is raised, since autograd does not need the convolution's output to
# compute gradients.
#
# The remedy is one word, and the package's block has it:

# %%
_ = torch.manual_seed(0)
block = Block()
block.relu = nn.ReLU()  # not in place: a new tensor
at_hook, afterwards = smallest_values(block)
print(f"smallest output of the convolution: {at_hook:.2f} when the hook ran, {afterwards:.2f} afterwards")
assert at_hook == afterwards
assert not any(layer.inplace for layer in front.modules() if isinstance(layer, nn.ReLU))

# %% [markdown]
# ### And one more: a clip lying on its side
#
# The same public code hands the features of each frame to a layer of a fixed size, 3072. Three clips
# arrive: a good one, one with height and width swapped, and one of the paper's size, 50 × 100.
# **Predict** which of them are refused.

# %%
head = nn.Linear(3072, 28)
front = front.eval()
for name, size in [("64 × 128", (64, 128)), ("128 × 64, swapped", (128, 64)), ("50 × 100", (50, 100))]:
    with torch.no_grad():
        features = front(torch.zeros(1, 3, 3, *size))  # (1, 96, 3, h, w)
    per_frame = features.transpose(1, 2).flatten(2)  # (1, 3, 96 h w)
    try:
        _ = head(per_frame)  # (1, 3, 28)
        verdict = "accepted"
    except RuntimeError:
        verdict = "refused"
    print(f"{name:18} features {tuple(features.shape[1:])!s:14} {per_frame.shape[2]:5} a frame: {verdict}")
    assert verdict == ("refused" if size == (50, 100) else "accepted")

assert 4 * 8 == 8 * 4 == 3072 // 96

# %% [markdown]
# The swapped clip is accepted, since $4 \cdot 8 = 8 \cdot 4$, and every feature reaches a weight that was
# trained for another place of the mouth: garbage without a word of warning. A good clip of another size
# is refused with an error about matrix shapes. Flattening forgets which number was the height. The
# remedy: **check the shape where it still has names**, at the door of the model, as
# `lessons.lipreading.lipnet` does:

# %%
from lessons.lipreading.lipnet import LipNet

try:
    LipNet(channels=(4, 4, 4), hidden_size=8)(torch.zeros(1, 3, 3, 128, 64))  # (B, C, T, W, H): swapped
except ValueError as error:
    print(error)
    assert "swapped" in str(error)
else:
    raise AssertionError("the swapped clip was accepted")

# %% [markdown]
# ## Recap
#
# - Movement is between frames. A network that looks at frames one by one and averages is blind to its
#   direction; a filter of three frames is not.
# - A spatiotemporal convolution is a dot product at every place of a space-time block. Loops, a matrix
#   product, the package and torch give the same values and the same gradients.
# - The weight's gradient is a convolution of the input with the incoming gradient; the input's gradient
#   stamps kernels.
# - Along each axis: output $= \lfloor (n + 2p - k)/s \rfloor + 1$; the receptive field grows by $(k - 1)$
#   × the product of the strides before.
# - LipNet's front: 75 frames in, 75 out; 326,880 weights; one output sees 7 frames of 51 × 51 pixels.

# %%
assert sum(weights for _, _, weights, _ in rows) == 326_880

# %% [markdown]
# ## Glossary
#
# | word | meaning |
# |---|---|
# | spatiotemporal convolution | a filter that slides over time, height and width |
# | STCNN | a network of them; in LipNet a block of convolution, ReLU, max-pool and channel dropout |
# | kernel, filter | the weights that slide; one filter spans all input channels, gives one output channel |
# | stride, padding | the step between two places; zeros put around the clip |
# | im2col | writing all windows as rows of a matrix, so that convolution becomes a product |
# | max-pool | keep the largest value of each window |
# | channel dropout | in training, set whole channels to zero at random and scale up the rest |
# | receptive field | the part of the input that one output depends on |
# | forward hook | a function that a layer calls with what it has just computed |
#
# ## Sources
#
# - Y. Assael, B. Shillingford, S. Whiteson, N. de Freitas, *LipNet: End-to-End Sentence-level
#   Lipreading*, [arXiv 1611.01599](https://arxiv.org/abs/1611.01599): §3.1 (the convolution), Table 2
#   (Baseline-2D), Table 3 and appendix A.1 (the layers; see section 4 for the stride); the authors' code:
#   [bshillingford/LipNet](https://github.com/bshillingford/LipNet).
# - E. Adelson, J. Bergen, *Spatiotemporal energy models for the perception of motion*, Journal of the
#   Optical Society of America A 2(2), 1985.
# - M. Okabe, K. Ito, *Color Universal Design*, 2008: the colors of our figures.
#
# **Next**: notebook 03 gives the network a memory for everything that lasts longer than seven frames: the
# GRU.
