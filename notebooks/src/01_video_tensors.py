# %% [markdown]
# # 01 · Video tensors
#
# **You will follow a video clip from the bytes that a decoder returns to the batch that a network expects,
# see where each number lies in memory, and learn to catch the mistakes that raise no error.**
#
# *Core path: about 60 minutes; deeper sections: about 25; all cells together
# run in about 20 seconds on one CPU core.*
#
# **You need**: Python, and to have seen PyTorch tensors and `backward` before. Notebook 00 is a good start.
#
# **You will be able to**
# - name the layouts in which video travels, and convert each into each;
# - say which operations copy and which return a view, and read a tensor's strides;
# - recognize a scrambled clip, and write the test that finds it when no error does;
# - put clips of several lengths into one batch, and standardize them without counting the padding;
# - say why the scale of the pixels must be the same in training and at inference.

# %%
import math
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lessons import figures
from lessons.checks import agree, check, use
from lessons.ctc.alphabet import Alphabet
from lessons.ctc.decode import greedy_decode
from lessons.ctc.metrics import wer
from lessons.data.batch import normalize
from lessons.data.synthetic.talker import Speaker, synthetic_clips, talk
from lessons.lipreading import LipNet
from lessons.source import show
from lessons.training import checkpoint

# %% [markdown]
# ## 1. One clip, three slices
#
# A video decoder opens a file and returns an array: frames, rows, columns, and three bytes per pixel. The
# course's synthetic talker returns the same (notebook 08 shows how it is made; you need no download). It says
# one sentence in three seconds, at 25 frames per second.


# %%
def record(sentence: str, seed: int) -> np.ndarray:
    """A new speaker per seed says a sentence: frames (T, H, W, C) uint8."""
    rng = np.random.default_rng(seed)
    speaker = replace(Speaker.random(rng), noise=0.0)  # a camera without noise
    frames, _ = talk(sentence, speaker, rng, size=(64, 128), color=True)
    return frames


frames = record("place red at q seven again", seed=7)
print(type(frames).__name__, frames.dtype, frames.shape)  # (T, H, W, C)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert frames.shape == (75, 64, 128, 3) and frames.dtype == np.uint8

# %% [markdown]
# A frame is one slice of this block: you fix the time. Fix the row instead, and you get an **x–t slice**: one
# line of pixels at all times. Fix the column, and you get a **y–t slice**.
#
# **Predict**: what does the y–t slice through the middle of the mouth show while the person is silent? And
# while she speaks?

# %% tags=["predict"]
figures.space_time_slices(
    frames, t=24, row=36, column=64, title="One clip, sliced along each axis", width=6.5
)

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# In silence the lips are straight bands along the time axis, because nothing moves. In speech the bands move
# apart and together: white where teeth show, black where the mouth is open.
#
# </details>
#
# A single frame shows one shape of the mouth and no motion. Motion is visible only in a slice that contains
# the time axis. Notebook 02 builds filters that see it. In Jupyter or Colab, move the slices yourself:

# %% tags=["hide-input"]
# @title Interaction: move the slices { display-mode: "form" }
from ipywidgets import interact


def move_slices(t=24, row=36, column=64):
    return figures.space_time_slices(frames, t, row, column, width=5)


# %% tags=["nbval-ignore-output"]
# output not compared: a widget
_ = interact(move_slices, t=(0, 74), row=(0, 63), column=(0, 127))


# %% [markdown]
# ## 2. Three layouts
#
# A **layout** is the order of the axes. Three are common:
#
# | our axes | also called | used by |
# |---|---|---|
# | `(B, T, H, W, C)` | NTHWC; NDHWC in TensorFlow | decoders, cameras, NumPy, OpenCV: pixel after pixel |
# | `(B, T, C, H, W)` | NTCHW | a sequence of images: TorchCodec's default, one `(N, C, H, W)` per video |
# | `(B, C, T, H, W)` | NCTHW; `(N, C, D, H, W)` in PyTorch's manual | `nn.Conv3d`, LipNet, this course |
#
# (`N` is the number of clips or images, `D` is depth. We write $B$ and $T$ everywhere.) `permute` returns the
# axes in a new order: `x.permute(3, 0, 1, 2)` puts axis 3 first.

# %%
clip = torch.from_numpy(frames)  # (T, H, W, C)
channels_first = clip.permute(3, 0, 1, 2)  # (C, T, H, W)
print(tuple(clip.shape), "→", tuple(channels_first.shape))
print("red in frame 24, row 40, column 64:", clip[24, 40, 64, 0].item(), channels_first[0, 24, 40, 64].item())
print("same address in memory:", clip.data_ptr() == channels_first.data_ptr() == frames.ctypes.data)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert clip[24, 40, 64, 0] == channels_first[0, 24, 40, 64]
assert clip.data_ptr() == channels_first.data_ptr() == frames.ctypes.data

# %% [markdown]
# Neither `from_numpy` nor `permute` copied a byte: there is one clip in memory. Section 3 shows how.
#
# ### Exercise 1 · `change_layout` · difficulty ★☆☆ · 8 minutes
#
# Write the conversion between any two layouts, given as strings with one letter per axis. Each element keeps
# its coordinates; only the order of the axes changes.


# %%
def change_layout(x, old, new):
    """Return x with its axes in another order; x itself stays as it is.

    x: a tensor of any dtype; old: a letter per axis of x, such as "THWC"; new: the same letters in the order
    of the result, such as "CTHW".
    """
    raise NotImplementedError


check("01.change_layout", change_layout)

# %% [markdown]
# <details><summary><b>Help: the shape is right for some layouts and wrong for others</b></summary>
#
# `permute` wants, per axis of the *result*, the number of that axis in *x*. The other way round you get the
# inverse permutation. For a swap of two axes the two are the same, so the mistake hides.
#
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def change_layout_solution(x, old, new):
    """Axis k of the result is the axis of x that has the k-th letter of `new`."""
    return x.permute([old.index(axis) for axis in new])


# %%
change_layout = use("01.change_layout", change_layout, change_layout_solution)
for layout in ("THWC", "TCHW", "CTHW"):
    print(layout, tuple(change_layout(clip, "THWC", layout).shape))

# %% [markdown]
# ## 3. Strides: how a tensor walks through memory
#
# Memory has a single axis. A tensor is a row of numbers there, together with a rule that turns an index into
# an address. Each axis has a **stride**: how many elements to move for one step along that axis.
#
# $$\text{address}(i_0, i_1, \dots) = \text{offset} + \sum_k i_k\, s_k$$
#
# (The stride of a convolution, in notebook 02, is something else: how far its filter moves.) Take a tiny
# clip, two frames of 2 × 2 pixels, 24 numbers. Every number is its own address, so the values show where
# they lie:


# %%
memory = torch.arange(24)  # (24,): address 0, 1, 2, …
tiny = memory.view(2, 2, 2, 3)  # (T, H, W, C), as a decoder writes it
tiny_first = change_layout(tiny, "THWC", "CTHW")  # (C, T, H, W)
print("decoded ", tuple(tiny.shape), "strides", tiny.stride())
print("permuted", tuple(tiny_first.shape), "strides", tiny_first.stride())

# %% [markdown]
# `permute` moved nothing: it reordered the four strides. The figure shows the order in which each tensor's
# elements lie in memory. Along the top is the memory, with red, green and blue of each pixel side by side.
# Every row below is one element of the tensor, from the first to the last. The bands `[0]`, `[1]`, … are the
# entries of its first axis.


# %% tags=["hide-input"]
# @title Plot: three tensors that share one memory { display-mode: "form" }
def addresses(x: torch.Tensor) -> torch.Tensor:
    """The address of each element of x by the formula above, in x's own shape."""
    address = torch.full(x.shape, x.storage_offset())
    for axis, (size, stride) in enumerate(zip(x.shape, x.stride(), strict=True)):
        steps = stride * torch.arange(size)  # (size,)
        address += steps.view(-1, *[1] * (x.dim() - axis - 1))  # (size, 1, …): along this axis only
    return address


colors = ["RGB"[address % 3] for address in range(24)]
figures.memory_layout(
    {
        "decoded (T, H, W, C)": addresses(tiny),
        "permuted (C, T, H, W)": addresses(tiny_first),
        "green alone (T, H, W)": addresses(tiny_first[1]),
    },
    colors,
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
for x in (tiny, tiny.permute(3, 0, 1, 2), tiny.permute(3, 0, 1, 2)[1], tiny.view(3, 2, 2, 2)):
    assert torch.equal(addresses(x), x)  # the numbers are their own addresses
assert tiny.stride() == (12, 6, 3, 1) and tiny.permute(3, 0, 1, 2).stride() == (1, 12, 6, 3)

# %% [markdown]
# The decoded clip lies in memory in the order of its index, last axis fastest: it is **contiguous**. The
# permuted one goes through memory three times in steps of three: all red, all green, all blue. These are the
# three channels that a convolution expects. Both are **views**: tensors that share one memory.
#
# Pick an operation, and see shape, strides and addresses. Three questions to try: which operation makes a
# copy? Which one visits the same address several times? What is the difference between `permute` and `view`?

# %% tags=["hide-input"]
# @title Interaction: pick an operation { display-mode: "form" }
OPERATIONS = {
    "x": lambda x: x,
    "x.permute(3, 0, 1, 2)": lambda x: x.permute(3, 0, 1, 2),
    "x.view(3, 2, 2, 2)": lambda x: x.view(3, 2, 2, 2),
    "x[1]": lambda x: x[1],
    "x[..., 1]": lambda x: x[..., 1],
    "x[:, :, ::2]": lambda x: x[:, :, ::2],
    "x.transpose(1, 2)": lambda x: x.transpose(1, 2),
    "x[..., :1].expand(-1, -1, -1, 3)": lambda x: x[..., :1].expand(-1, -1, -1, 3),
    "x.flip(0)": lambda x: x.flip(0),
    "x.permute(3, 0, 1, 2).contiguous()": lambda x: x.permute(3, 0, 1, 2).contiguous(),
}


def walk(operation="x.permute(3, 0, 1, 2)"):
    y = OPERATIONS[operation](tiny)
    copied = y.untyped_storage().data_ptr() != tiny.untyped_storage().data_ptr()
    stored = y.flatten().tolist() if copied else range(24)  # what lies at each address
    kind = "a copy in new memory" if copied else "a view of x"
    print(f"{operation}: shape {tuple(y.shape)}, strides {y.stride()}, offset {y.storage_offset()}, {kind}")
    return figures.memory_layout({operation: addresses(y)}, ["RGB"[i % 3] for i in stored], width=5)


# %% tags=["nbval-ignore-output"]
# output not compared: a widget
_ = interact(walk, operation=list(OPERATIONS))


# %% [markdown]
# `flip` and `contiguous` make copies. `expand` sets a stride to 0, so that three channels are one and the
# same memory. `permute` and `view` both keep the memory: the first visits it in another order, the second in
# the same order under another shape. In a view, **a write changes the original**: after `first = clip[0]`,
# the line `first += 9` changes `clip`, too.
#
# ## 4. `permute` against `view`: the silent bug
#
# To get from `(T, H, W, C)` to `(C, T, H, W)` there are two lines that run without an error and give the
# same shape:

# %%
good = clip.permute(3, 0, 1, 2)  # (C, T, H, W)
bad = clip.view(3, 75, 64, 128)  # "(C, T, H, W)"
print("shapes:", tuple(good.shape), tuple(bad.shape))

# %% [markdown]
# **Predict**: can you tell the two apart by their mean, their standard deviation, their histogram?

# %% tags=["predict"]
for name, x in [("permute", good.double()), ("view", bad.double())]:
    print(f"{name:8} mean {x.mean():.2f} · std {x.std():.2f} · from {x.min():.0f} to {x.max():.0f}")
print(f"elements that differ: {(good != bad).float().mean():.0%}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert good.shape == bad.shape and good.dtype == bad.dtype
assert torch.equal(good.flatten().sort().values, bad.flatten().sort().values)  # the same numbers
assert (good != bad).float().mean() > 0.9  # at other positions
assert torch.equal(bad[0].flatten(), clip[:25].flatten())  # "red" is all colors of a third of the clip

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# You cannot: both hold the same numbers, at different positions. You have to look at the frames.
#
# </details>


# %%
def to_frames(x: torch.Tensor) -> torch.Tensor:
    """(C, T, H, W) -> (T, H, W, C), to look at."""
    return x.permute(1, 2, 3, 0)


moments = [5, 20, 48]
rows = {"permute": to_frames(good)[moments], "view": to_frames(bad)[moments]}  # (3, H, W, C) each
figures.clip_rows(rows, [f"frame {t}" for t in moments], title="The same bytes, the same shape", width=8)

# %% [markdown]
# `view` splits the memory into three equal parts and calls the first one red. But the first third of the
# memory is not red: it is all three colors of the first 25 frames. **Use `view` to split one axis or to
# merge neighboring axes; use `permute` to change their order.** The network will not complain: it accepts any
# numbers of the right shape.
#
# ### The test that finds it: mark one pixel
#
# A test is better than looking, because it runs after every change. Write one value into an empty clip and
# see where it comes out. Choose four different sizes and four different coordinates, and compare the shape:


# %%
def find_mark(convert, channel: int = 1) -> tuple:
    """Mark frame 3, row 2, column 4: the shape of what convert returns, and the mark's index in it."""
    empty = torch.zeros(5, 6, 7, 3, dtype=torch.uint8)  # (T, H, W, C)
    empty[3, 2, 4, channel] = 255
    y = convert(empty)
    return tuple(y.shape), tuple(y.nonzero()[0].tolist())


converters = {
    "change_layout, THWC to CTHW": lambda x: change_layout(x, "THWC", "CTHW"),
    "x.view(3, T, H, W)": lambda x: x.view(3, *x.shape[:3]),
    "change_layout, THWC to TCHW": lambda x: change_layout(x, "THWC", "TCHW"),
    "x.permute(3, 0, 2, 1)": lambda x: x.permute(3, 0, 2, 1),
    "x.flip(3).permute(3, 0, 1, 2)": lambda x: x.flip(3).permute(3, 0, 1, 2),
}
expected = ((3, 5, 6, 7), (1, 3, 2, 4))  # (C, T, H, W), (c, t, h, w)
for name, convert in converters.items():
    shape, mark = find_mark(convert)
    print(f"{name:30} {shape} {mark}  {'right' if (shape, mark) == expected else 'WRONG'}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
verdicts = [find_mark(convert) == expected for convert in converters.values()]
assert verdicts == [True, False, False, False, True]
frame_1 = torch.zeros(5, 6, 7, 3)
frame_1[1, 2, 4, 1] = 1  # a mark with equal coordinates would not tell TCHW from CTHW
assert frame_1.permute(0, 3, 1, 2).nonzero()[0].tolist() == frame_1.permute(3, 0, 1, 2).nonzero()[0].tolist()
assert find_mark(converters["x.flip(3).permute(3, 0, 1, 2)"], channel=0)[1] == (2, 3, 2, 4)

# %% [markdown]
# The third converter is the commonest mistake. A mark in frame 1, channel 1 would not find it by its index,
# because the swapped coordinates are equal; that is why we mark frame 3 and compare shapes.
#
# The last verdict is wrong: red and blue are exchanged, and green is the one channel that stays. **A test
# sees only what it marks.** With `find_mark(convert, channel=0)` it fails, as it should. The case is real:
# OpenCV returns frames as **BGR**. This does no harm as long as training and inference do the same.

# %%
swapped = torch.stack([clip[30], clip[30].flip(2)])  # (2, H, W, C)
figures.clip_rows({"frame 30": swapped}, ["RGB", "BGR read as RGB"], width=5)

# %% [markdown]
# <details><summary><b>Help: the frames are noise, or striped, or small copies side by side</b></summary>
#
# Somewhere the bytes got a new shape where they should have got a new order: look for `view` or `reshape`
# between the decoder and the network. Stripes and a fine mesh of colors mean that channels are mixed up. A
# sheared or doubled image means that rows have the wrong width (`H` and `W` swapped in a `reshape`).
#
# </details>
#
# <details><summary><b>Help: the shape is right, but the result is garbage</b></summary>
#
# Three questions find most of these bugs. Does a marked pixel arrive where it should, in each channel? Do the
# frames, converted back, look like frames? Is the scale that of the training (section 8)?
#
# </details>

# %% [markdown]
# ## 5. Bytes wrap around
#
# A pixel is a byte, an integer from 0 to 255. **Predict**: for bytes, what are 10 − 20 and 200 + 100? What is
# the difference between two frames where the mouth got *darker*?

# %% tags=["predict"]
a, b = torch.tensor([10, 200], dtype=torch.uint8), torch.tensor([20, 100], dtype=torch.uint8)
print("10 - 20 =", (a - b)[0].item(), "· 200 + 100 =", (a + b)[1].item())
one, two = clip[14], clip[18]  # (H, W, C)
wrapped = two - one  # uint8
true = (two.float() - one.float()).abs().to(torch.uint8)
strip = torch.stack([one, two, wrapped, true])  # (4, H, W, C)
figures.clip_rows({"": strip}, ["frame 14", "frame 18", "18 − 14 in bytes", "|18 − 14| in floats"], width=9)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert (a - b)[0] == 10 - 20 + 256 and (a + b)[1] == 200 + 100 - 256
darker = two < one
assert true[darker].median() < 20 and wrapped[darker].median() > 235
assert 4 * frames.nbytes == clip.float().nbytes

# %% [markdown]
# Bytes are computed modulo 256: 10 − 20 is 246. A pixel that got a little darker comes out nearly white. No
# error, no warning. **Convert to float before you compute.** But a float32 takes four bytes. So clips stay
# bytes on disk and in the data set, and become floats one mini-batch at a time.
#
# ## 6. Ragged clips in one batch
#
# A batch is one tensor, so all its clips have the same $T$. Real clips differ in length: they form a
# **ragged** batch. Short clips get **padding**, frames of zeros at the end. Clips that are longer than the
# batch are cut off. A tensor of **lengths** stores how many frames of each clip are valid.

# %%
sentences = {"place red at q seven again": 75, "set blue by k two please": 52, "bin red": 34}
clips = [
    torch.from_numpy(record(sentence, seed)[:n_frames])  # (T of its own, H, W, C)
    for seed, (sentence, n_frames) in enumerate(sentences.items(), start=7)
]
print([tuple(one.shape) for one in clips])

# %% [markdown]
# ### Exercise 2 · `to_batch` · difficulty ★★☆ · 12 minutes
#
# Write the step from decoded clips to a batch in the network's layout: change the layout, pad, cut, and
# return the lengths. The batch has `n_frames` frames, whether or not any clip is that long.


# %%
def to_batch(clips, n_frames):
    """Return x (B, C, n_frames, H, W) of the clips' dtype, and lengths (B,), an int64 tensor.

    clips: a list of tensors (T, H, W, C), uint8 or float; T differs, H, W and C do not. n_frames: an int.
    Zeros follow a shorter clip; a longer clip loses its last frames. lengths counts the clip's frames in x.
    """
    raise NotImplementedError


check("01.to_batch", to_batch)

# %% [markdown]
# <details><summary><b>Help: RuntimeError: The expanded size of the tensor must match …</b></summary>
#
# You assign a clip to a slice of another length. Print both shapes. For a clip that is longer than
# `n_frames`, cut first.
#
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def to_batch_solution(clips, n_frames):
    """Zeros for the batch, then each clip into its own first frames."""
    lengths = torch.tensor([min(len(clip), n_frames) for clip in clips])  # (B,)
    _, H, W, C = clips[0].shape
    x = torch.zeros(len(clips), C, n_frames, H, W, dtype=clips[0].dtype)  # (B, C, T, H, W)
    for i, (clip, n) in enumerate(zip(clips, lengths.tolist(), strict=True)):
        x[i, :, :n] = clip[:n].permute(3, 0, 1, 2)  # (C, n, H, W)
    return x, lengths


# %%
to_batch = use("01.to_batch", to_batch, to_batch_solution)
x, lengths = to_batch(clips, n_frames=75)
print(tuple(x.shape), x.dtype, lengths.tolist())
moments = [10, 30, 60]
rows = {f"clip {i}": to_frames(one)[moments] for i, one in enumerate(x)}  # (3, H, W, C) each
captions = [f"frame {t}" for t in moments]
figures.clip_rows(rows, captions, title="Three clips in one batch; black is padding", width=6)

# %% [markdown]
# ### A mean must not count the padding
#
# **Predict**: 34 of the 75 frames of the third clip are valid. How far off is its mean brightness, if you
# compute it with `x.mean()`?

# %% tags=["predict"]
naive = x.float().mean((1, 2, 3, 4))  # (B,)
true = torch.stack([one.float().mean() for one in clips])  # (B,)
for i, n in enumerate(lengths.tolist()):
    print(f"clip {i}: {n} of 75 frames, mean over all {naive[i]:.0f}, over the valid frames {true[i]:.0f}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert torch.allclose(naive, true * lengths / 75, rtol=1e-4)
assert round(100 * (naive[2] / true[2]).item()) == round(100 * 34 / 75) == 45

# %% [markdown]
# The padded mean is 34/75 = 45 % of the true one: 55 % too dark. A **mask** says which frames are valid:
# $m_{b,t} = 1$ if $t$ is smaller than the length of clip $b$, else 0. Then
#
# $$\mu_b = \frac{\sum_{c,t,h,w} m_{b,t}\; x_{b,c,t,h,w}}{n_b}, \qquad
# n_b = \sum_{c,t,h,w} m_{b,t}$$
#
# where $n_b$ counts values, not frames.

# %%
mask = torch.arange(75) < lengths[:, None]  # (B, T): (1, T) broadcast against (B, 1)
print(mask[:, [0, 33, 34, 51, 52, 74]].int())

# %% [markdown]
# ## 7. Standardize a clip
#
# Light and cameras differ. To give all clips the same scale, subtract the clip's mean and divide by its
# standard deviation. Both are taken over the valid frames, all channels together:
#
# $$\hat{x} = \frac{x - \mu}{\sigma + 10^{-5}}, \qquad
# \sigma_b^2 = \frac{1}{n_b} \sum_{c,t,h,w} m_{b,t}\,(x_{b,c,t,h,w} - \mu_b)^2$$
#
# The $10^{-5}$ keeps a clip of one flat gray from becoming 0/0. (This is layer normalization over a whole
# clip, without learned parameters. LipNet's authors used one mean and one standard deviation per channel for
# the whole training set.)
#
# ### Exercise 3 · `standardize` · difficulty ★★☆ · 15 minutes
#
# The padding may hold any finite number on input. It is 0 in the result.


# %%
def standardize(x, lengths):
    """Return clips of mean 0 and standard deviation 1: the shape of x, 0 in the padding.

    x: (B, C, T, H, W), uint8 or float; lengths: (B,) int64, valid frames per clip, from 1 to T.
    The result is float32 for bytes, else of the dtype of x. Gradients flow to x.
    """
    raise NotImplementedError


check("01.standardize", standardize)

# %% [markdown]
# <details><summary><b>Help: RuntimeError: The size of tensor a … must match …</b></summary>
#
# Broadcasting aligns axes from the last to the first. A mask `(B, T)` against `(B, C, T, H, W)` would align
# its `T` with `W`, and if the two happened to be equal, nothing would warn you. Give the mask all five axes:
# `mask[:, None, :, None, None]` is `(B, 1, T, 1, 1)`. For the means, `keepdim=True` keeps the axes.
#
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def standardize_solution(x, lengths):
    """Mean and variance as sums over what the mask keeps, divided by how much that is."""
    x = x if x.is_floating_point() else x.float()
    _, C, T, H, W = x.shape
    mask = (torch.arange(T) < lengths[:, None])[:, None, :, None, None].to(x.dtype)  # (B, 1, T, 1, 1)
    n = mask.sum((1, 2, 3, 4), keepdim=True) * C * H * W  # (B, 1, 1, 1, 1)
    mean = (x * mask).sum((1, 2, 3, 4), keepdim=True) / n  # (B, 1, 1, 1, 1)
    x = (x - mean) * mask  # (B, C, T, H, W)
    variance = x.square().sum((1, 2, 3, 4), keepdim=True) / n  # (B, 1, 1, 1, 1)
    return x / (variance.sqrt() + 1e-5)


# %%
standardize = use("01.standardize", standardize, standardize_solution)
y = standardize(x, lengths)  # (B, C, T, H, W) float32
for i, n in enumerate(lengths.tolist()):
    valid = y[i, :, :n]
    outside = y[i, :, n:].abs().sum()
    print(f"clip {i}: mean {abs(valid.mean()):.2f}, std {valid.std():.2f}, sum of the padding {outside:.0f}")

# %% [markdown]
# Compare it with torch's own `mean` and `std`, clip by clip, each without its padding. A standardized pixel
# depends on *all* pixels of its clip, through the mean and the standard deviation. So compare the gradients,
# too:

# %%
gray = x.double().mean(1, keepdim=True).requires_grad_()  # (B, 1, T, H, W)
by_torch = []
for one, n in zip(gray, lengths.tolist(), strict=True):
    valid = one[:, :n]  # (1, T of its own, H, W)
    valid = (valid - valid.mean()) / (valid.std(correction=0) + 1e-5)
    by_torch.append(F.pad(valid, (0, 0, 0, 0, 0, 75 - n)))  # (1, T, H, W)
by_torch = torch.stack(by_torch)  # (B, 1, T, H, W)
ours, package = standardize(gray, lengths), normalize(gray[:, 0], lengths)[:, None]
agree("standardize against torch", ours.detach(), by_torch.detach())
agree("standardize against lessons", ours.detach(), package.detach(), tolerance=1e-4)  # in float32

delta = torch.randn(ours.shape, generator=torch.Generator().manual_seed(0))  # a gradient from above
gradients = [torch.autograd.grad((z * delta).sum(), gray)[0] for z in (ours, by_torch, package)]
agree("gradient against torch", gradients[0], gradients[1])
agree("gradient against lessons", gradients[0], gradients[2], tolerance=1e-4)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert gradients[0][2, :, 34:].abs().max() == 0  # padding gets no gradient

# %% [markdown]
# The finished version is the one function that prepares gray clips, in training and at inference alike:

# %%
show(normalize)

# %% [markdown]
# ## 8. The scale of the input
#
# Does it matter whether a network gets 0 … 255, 0 … 1 or standardized pixels? A convolution without bias, a
# ReLU and max-pooling pass the scale on: an input $k$ times as large gives an output $k$ times as large. Here
# is an untrained LipNet, whose biases are 0:

# %%
_ = torch.manual_seed(0)
lipnet = LipNet().eval()  # eval: no dropout
pixels = x[:2, :, 14:38].float()  # (B, C, T, H, W): 24 frames of speech
scales = {
    "0 … 1": pixels / 255,
    "0 … 255": pixels,
    "standardized": standardize(pixels, torch.tensor([24, 24])),
}
with torch.no_grad():
    features = {name: lipnet.features(scaled) for name, scaled in scales.items()}  # (T, B, F)
for name, feature in features.items():
    print(f"{name:13} std of the pixels {scales[name].std():6.2f}, of the features {feature.std():5.1f}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert torch.allclose(features["0 … 255"], 255 * features["0 … 1"], rtol=1e-3, atol=0.05)

# %% [markdown]
# The features are 255 times as large for bytes. They go into the sigmoids of a GRU (notebook 03), which are
# flat for large inputs. The first deeper section measures what that does to the gradients. In
# training, normalization layers such as BatchNorm remove the scale. Afterwards, the network expects the scale
# that it was trained on: notebook 00 showed one that reads nothing at 0 … 1. **Prepare clips in one way,
# everywhere.**

# %% [markdown]
# ## 9. Bug hunt: every frame through an image network
#
# An image network expects `(B, C, H, W)`. To run it on every frame, treat the frames as a larger batch. This
# is how it is often written. It runs, and the shapes are right. Find the bug before you read on.


# %%
def every_frame(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """x (B, C, T, H, W) -> (B, O, T, H', W'): the image network on every frame."""
    B, C, T, H, W = x.shape
    y = network(x.reshape(B * T, C, H, W))  # (B T, O, H', W')
    return y.view(B, T, *y.shape[1:]).transpose(1, 2)  # (B, O, T, H', W')


# %% [markdown]
# A 3D convolution whose kernel covers a single frame must give the same as the 2D convolution with these
# weights:

# %%
_ = torch.manual_seed(0)
image_network = nn.Conv2d(3, 4, kernel_size=5, stride=4)
same_in_3d = nn.Conv3d(3, 4, kernel_size=(1, 5, 5), stride=(1, 4, 4))
same_in_3d.load_state_dict({"weight": image_network.weight[:, :, None], "bias": image_network.bias})
pair = x[:2].float() / 255  # (B, C, T, H, W)
try:
    agree("every_frame", every_frame(image_network, pair).detach(), same_in_3d(pair).detach(), 1e-5)
except AssertionError as error:
    print("AssertionError:", str(error).split(";")[0])

# %%
B, C, T, H, W = pair.shape
seen = pair.reshape(B * T, C, H, W)[:T]  # what the network got as the first clip's frames, (T, C, H, W)
title = "What the network saw as frames 2, 6, 35 and 60"
figures.filmstrip(seen.permute(0, 2, 3, 1), [2, 6, 35, 60], columns=4, title=title, width=9)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
try:
    agree("every_frame", every_frame(image_network, pair).detach(), same_in_3d(pair).detach(), 1e-5)
except AssertionError:
    pass
else:
    raise AssertionError("the bug is gone")
assert torch.equal(seen[6], pair[0, 0, 18:21])  # its three "colors" are three moments of red
assert torch.equal(seen[25], pair[0, 1, 0:3])  # a third of the way on, the clip starts again, in green

# %% [markdown]
# The frames look like gray mouths with colored fringes where something moves. In memory the order is `(B, C,
# T, …)`: first all 75 frames in red, then in green, then in blue. `reshape` keeps that order and calls every
# three images one color image. So "frame" 6 is red at times 18, 19 and 20. The network saw the clip three
# times, at triple speed. The fix: first move $T$ next to $B$, then merge.


# %%
def every_frame_right(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """x (B, C, T, H, W) -> (B, O, T, H', W')."""
    y = network(change_layout(x, "BCTHW", "BTCHW").flatten(0, 1))  # (B T, O, H', W')
    return y.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)  # (B, O, T, H', W')


agree("every_frame_right", every_frame_right(image_network, pair).detach(), same_in_3d(pair).detach(), 1e-5)

# %% [markdown]
# **Merge two axes only when they are neighbors and in the order that you mean.** `reshape` has no way to
# know.

# %% [markdown]
# ## Deeper: the scale of the pixels and the gates of a GRU
#
# A GRU decides, for every element of its hidden state, how much of it to keep (notebook 03). It does so with
# a **gate** $g = \sigma(a)$ between 0 and 1, where $a = Wx + b$ in the first frame and $x$ are the features.
# The gradient has to pass the slope $\sigma'(a) = \sigma(a)(1 - \sigma(a))$: a quarter at 0, less than a
# fifth of that at ±3. Beyond ±3 we call a gate **saturated**. Here is what arrives at the gates of the
# LipNet above:


# %%
def gate_inputs(gru: nn.GRU, features: torch.Tensor) -> torch.Tensor:
    """a = W x + b of the reset and update gates, forward direction: (T, B, F) -> (T, B, 2D)."""
    gates = slice(2 * gru.hidden_size)  # D rows for reset, D for update; the other D are the candidate
    bias = gru.bias_ih_l0 + gru.bias_hh_l0
    return (features @ gru.weight_ih_l0[gates].T + bias[gates]).detach()


arriving = {name: gate_inputs(lipnet.gru1, feature) for name, feature in features.items()}
figures.sigmoid_saturation(arriving, title="Inputs of the gates of an untrained LipNet")

# %% [markdown]
# Do saturated gates get no gradient? **Predict** which of these gradients shrink at 0 … 255, and which grow:
# the one of the input weights $W$, of the recurrent weights $U$, of the bias $b$. All three are
# $\sigma'(a)$ times something. Here they are for three random initializations:


# %%
def gate_gradients(seed: int) -> dict:
    """Per scale: the fraction of saturated gates, and the norms of dL/dW, dL/dU and dL/db of the gates."""
    _ = torch.manual_seed(seed)
    model = LipNet().eval()
    targets, n = torch.arange(2, 10).repeat(2), torch.tensor([24, 24])  # some text of eight letters
    found = {}
    for name, scaled in scales.items():
        with torch.no_grad():
            feature = model.features(scaled)  # (T, B, F)
        model.zero_grad()
        log_probs = model.classify(feature).log_softmax(-1)  # (T, B, V)
        F.ctc_loss(log_probs, targets, n, torch.tensor([8, 8])).backward()
        gru, gates = model.gru1, slice(2 * model.gru1.hidden_size)
        parameters = (gru.weight_ih_l0, gru.weight_hh_l0, gru.bias_ih_l0)
        norms = [p.grad[gates].norm().item() for p in parameters]
        found[name] = [(gate_inputs(gru, feature).abs() > 3).float().mean().item(), *norms]
    return found


# %% tags=["predict"]
by_seed = [gate_gradients(seed) for seed in range(3)]


def compared(ratios: list[float]) -> str:
    """Norms of gradients, divided by those at 0 … 1: the verdict for all seeds."""
    if min(ratios) > 2:
        return "larger"
    return "smaller" if max(ratios) < 0.5 else "similar"


print("three seeds; gradients compared with those at 0 … 1 (similar: within a factor of 2)")
for name in scales:
    gates = [one[name][0] for one in by_seed]
    low, high = 10 * math.floor(10 * min(gates)), 10 * math.ceil(10 * max(gates))
    by_W, by_U, by_b = (compared([one[name][i] / one["0 … 1"][i] for one in by_seed]) for i in (1, 2, 3))
    print(f"{name:13} saturated {low} to {high}%, ∂L/∂W {by_W}, ∂L/∂U {by_U}, ∂L/∂b {by_b}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
slope = torch.sigmoid(torch.tensor([0.0, 3.0])) * (1 - torch.sigmoid(torch.tensor([0.0, 3.0])))
assert slope[0] == 0.25 and 0.15 < slope[1] / slope[0] < 0.2
for one in by_seed:
    unit, raw, standard = one["0 … 1"], one["0 … 255"], one["standardized"]
    assert unit[0] < 0.02 and 0.05 < standard[0] < 0.5 and raw[0] > 0.95
    assert raw[1] > 10 * unit[1] and unit[2] > 3 * raw[2] and unit[3] > 4 * raw[3]
    assert raw[1] > 3 * standard[1] > 6 * unit[1] and standard[2] > 4 * raw[2]

# %% [markdown]
# At 0 … 255 nearly all gates are saturated. The gradients of the recurrent weights and biases shrink: they
# contain the small slope. The gradient of the *input weights* grows, because it contains the input as a
# second factor, and that is 255 times as large as at 0 … 1; its norm grows more than tenfold. So raw bytes do
# not make every gradient vanish. They give gradients of very different sizes to the weights of one layer, and
# gates that start at 0 or 1.
#
# Standardized clips saturate some gates, too, and LipNet was trained on them. So saturation at initialization
# does not rule out training.
#
# ### A trained model and another scale
#
# The small model of notebook 00 was trained on standardized clips. It has BatchNorm after every convolution
# and a LayerNorm before the GRU. This is what it reads at the three scales, and how much the features in
# front of its GRU vary over time:

# %%
trained, alphabet = checkpoint.load("lipnet_small_synthetic"), Alphabet()
some = synthetic_clips(8, seed=2024)  # ClipSet, frames (8, 75, 32, 64)
raw = torch.from_numpy(some.frames)[:, None]  # (B, 1, T, H, W) uint8
standard = standardize(raw, torch.full((8,), 75))
motion = {}
for name, scaled in {"0 … 1": raw / 255, "0 … 255": raw.float(), "standardized": standard}.items():
    with torch.no_grad():
        feature = trained.features(scaled)  # (T, B, F)
        texts = [alphabet.decode(labels) for labels in greedy_decode(trained.classify(feature))]
    motion[name] = (feature - feature.mean(0)).std().item(), wer(some.transcripts, texts)
    print(f"{name:13} features vary by {motion[name][0]:.1f}, word error rate {motion[name][1]:.0%}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert motion["0 … 1"][1] > 0.9 and motion["standardized"][1] < 0.1 < motion["0 … 255"][1] < 0.5
assert (
    motion["0 … 1"][0] < 0.5 * motion["standardized"][0]
    and motion["0 … 255"][0] > 0.6 * motion["standardized"][0]
)
without = checkpoint.load("lipnet_small_synthetic")  # BatchNorm without its constants
for norm in (module for module in without.modules() if isinstance(module, nn.BatchNorm3d)):
    norm.running_mean.zero_()
    norm.bias.data.zero_()
with torch.no_grad():
    logits = without.classify(without.features(raw / 255))  # (T, B, V)
texts = [alphabet.decode(labels) for labels in greedy_decode(logits)]
assert wer(some.transcripts, texts) < 0.4 < 0.9 < motion["0 … 1"][1]

# %% [markdown]
# Why do bytes do better than 0 … 1? At inference BatchNorm subtracts and adds constants that it learned at
# the scale of the training. At 0 … 1 the contrast of a clip is roughly ten times smaller than in training, so
# the constants dominate, and the features hardly change from frame to frame. At 0 … 255 the constants hardly
# matter, and the LayerNorm brings the features back to the usual scale. The folded cell above tests this:
# with the constants set to 0, the model reads at 0 … 1 about as well as at 0 … 255.
#
# ## Deeper: views, copies, contiguous memory
#
# **Predict** for each line: does it copy? Is the result contiguous?

# %% tags=["predict"]
x = torch.zeros(2, 3, 10, 8, 8)  # (B, C, T, H, W)
operations = {
    "x.permute(0, 2, 1, 3, 4)": x.permute(0, 2, 1, 3, 4),  # (B, T, C, H, W)
    "x[:, :, 2:8]": x[:, :, 2:8],  # six frames
    "x[0, 0, 2:8]": x[0, 0, 2:8],
    "x[:, :, ::2]": x[:, :, ::2],  # every other frame
    "x.flatten(3)": x.flatten(3),  # (B, C, T, H W)
    "x[:, :1].expand(-1, 3, -1, -1, -1)": x[:, :1].expand(-1, 3, -1, -1, -1),  # gray as three channels
    "x.flip(4)": x.flip(4),  # mirrored
    "x[:, :, [0, 5]]": x[:, :, [0, 5]],  # a list of frames
}
start = x.untyped_storage().data_ptr()
answers = {
    name: (y.untyped_storage().data_ptr() != start, y.is_contiguous()) for name, y in operations.items()
}
for name, (copied, contiguous) in answers.items():
    kind = "copy" if copied else "view"
    print(f"{name:36} {kind}  contiguous: {contiguous!s:5}  {operations[name].stride()}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert [copied for copied, _ in answers.values()] == [False] * 6 + [True, True]
assert [whole for _, whole in answers.values()] == [False, False, True, False, True, False, True, True]
assert torch.zeros(1, 3, 1, 8, 8).permute(0, 2, 1, 3, 4).is_contiguous()  # axes of size 1 are ignored

# %% [markdown]
# A tensor is contiguous if each stride is the product of the sizes of all later axes. Axes of size 1 do not
# count, since nobody ever takes a step along them. A slice keeps the strides, so the axes *before* the sliced
# one no longer fit. A mirror image would need stride −1, which PyTorch does not have. A list of frames is
# copied, because in general no single stride leads through it; PyTorch does not look whether it would in your
# case, as for `[0, 5]`, which is `::5`.
#
# ### Exercise 4 · `strides_of` · difficulty ★☆☆ · 6 minutes
#
# Compute the strides of a contiguous tensor from its shape. (PyTorch counts strides in elements, NumPy in
# bytes.)


# %%
def strides_of(shape):
    """shape: a tuple of ints, all at least 1 -> the strides, one integer per axis, a tuple or list."""
    raise NotImplementedError


check("01.strides_of", strides_of)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def strides_of_solution(shape):
    """From the last axis to the first: a step is as long as everything behind it."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


# %%
strides_of = use("01.strides_of", strides_of, strides_of_solution)
print("one frame on, one row down, one pixel right, one channel on:", *map(int, strides_of((75, 64, 128, 3))))

# %% [markdown]
# ### Why `view` sometimes refuses
#
# `view` promises not to copy. To merge neighboring axes into one, a single stride must do for all of them:
# the stride of each must be the size of the next times the stride of the next, $s_k = n_{k+1}\, s_{k+1}$.
# This is LipNet's own case: its convolutions give `(B, C, T, H, W)`, and the GRU expects one vector of
# features per frame, `(T, B, F)`.

# %%
maps = torch.arange(2 * 4 * 5 * 2 * 3).view(2, 4, 5, 2, 3)  # (B, C, T, H, W)
by_frame = maps.permute(2, 0, 1, 3, 4)  # (T, B, C, H, W)
try:
    by_frame.view(5, 2, -1)  # (T, B, C H W)?
except RuntimeError as error:
    print(f"RuntimeError: {str(error).split('(')[0]}…")
n, s = by_frame.shape, by_frame.stride()
print(f"H and W can be merged: {s[3]} = {n[4]} · {s[4]}; C and H cannot: {s[2]} ≠ {n[3]} · {s[3]}")
print("reshape copies where it must:", tuple(by_frame.reshape(5, 2, -1).shape))

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert s[3] == n[4] * s[4] and s[2] != n[3] * s[3]
assert torch.equal(by_frame.contiguous().view(5, 2, -1), by_frame.reshape(5, 2, -1))

# %% [markdown]
# <details><summary><b>Help: RuntimeError: view size is not compatible with …</b></summary>
#
# The tensor was permuted, transposed or sliced before, and the axes that you want to merge do not lie behind
# one another in memory. `reshape` copies where it must. But first ask: *did I mean to change the order of the
# axes?* Then a `permute` is missing, and `reshape` would hide the error and keep the bug (section 9).
#
# </details>
#
# ### `channels_last_3d`
#
# If strides are free, a `(B, C, T, H, W)` tensor may lie in memory in any order. PyTorch calls such an order
# a **memory format**. In `channels_last_3d` all channels of a pixel lie side by side. The shape does not
# change.

# %%
decoded = clip[None].permute(0, 4, 1, 2, 3)  # (1, C, T, H, W), a decoder's clip
last = decoded.float().contiguous(memory_format=torch.channels_last_3d)
print("channels_last_3d strides", last.stride(), "· a decoder's clip, permuted", decoded.stride())

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert last.stride() == decoded.stride() and decoded.is_contiguous(memory_format=torch.channels_last_3d)

# %% [markdown]
# A decoder's clip, permuted, is already in this format. Which format is faster depends on the machine and its
# convolution library; measure it on yours (notebook 16).
#
# ## Deeper: frames are not seconds
#
# The array holds no clock. At a **frame rate** of $r$ frames per second, frame $i$ shows the time $(i +
# \tfrac12)/r$ seconds, the middle of its exposure. GRID clips, and our talker, have 25 frames per second;
# phones often record 30. Three seconds are then 90 frames. Read at 25 frames per second they last 3.6
# seconds, and the network sees a person who speaks too slowly. To resample, take for each new frame the old
# one that was on screen at that time:

# %%
rate_in, rate_out, seconds = 30, 25, 3
times = (np.arange(seconds * rate_out) + 0.5) / rate_out  # (75,) seconds
kept = np.floor(times * rate_in).astype(int)  # (75,) frame numbers, 0 … 89
print(f"of 90 frames, {len(set(kept))} are kept; dropped: {sorted(set(range(90)) - set(kept))[:4]} …")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert len(set(kept)) == 75 and set(np.diff(kept).tolist()) == {1, 2} and math.isclose(90 / 25, 3.6)

# %% [markdown]
# ## Deeper: bug hunt, the clip that reads differently in a batch
#
# A trained network reads a batch. The clips are cut after the last word and padded. One of them is six
# seconds long. This function prepares the batch. Nothing is NaN, no shape is wrong:


# %%
def prepare(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """x (B, 1, T, H, W) bytes, zeros past each length -> floats, mean 0 and standard deviation 1 per clip."""
    x = x.float()
    mean, std = x.mean((1, 2, 3, 4), keepdim=True), x.std((1, 2, 3, 4), keepdim=True)  # (B, 1, 1, 1, 1)
    return (x - mean) / std


# %% [markdown]
# What would a good check be? A clip must be read **the same alone and in any batch**:

# %%
spoken = synthetic_clips(8, seed=2024)
ends = [min(75, round(words[-1][0]) + 4) for words in spoken.segments]  # the end of speech
rng = np.random.default_rng(5)
long_clip, _ = talk("set green by o three please", Speaker.random(rng), rng, (32, 64), n_frames=150)
ragged = [torch.from_numpy(one[:n])[..., None] for one, n in zip(spoken.frames, ends, strict=True)]
batch, n_valid = to_batch([*ragged, torch.from_numpy(long_clip)[..., None]], n_frames=150)  # (9, 1, T, H, W)


@torch.no_grad()
def read(x, lengths, prepare) -> list[str]:
    """x (B, 1, T, H, W) -> B sentences."""
    logits = trained(prepare(x, lengths), lengths)  # (T, B, V)
    return [alphabet.decode(labels) for labels in greedy_decode(logits, lengths)]


def read_alone(prepare) -> list[str]:
    return [read(batch[i : i + 1, :, :n], n_valid[i : i + 1], prepare)[0] for i, n in enumerate(ends)]


results = {}
for name, function in {"prepare": prepare, "standardize": standardize}.items():
    alone, together = read_alone(function), read(batch, n_valid, function)[:8]
    differ = sum(a != b for a, b in zip(alone, together, strict=True))
    results[name] = differ, wer(spoken.transcripts, alone), wer(spoken.transcripts, together)
    _, before, after = results[name]
    print(f"{name:12} {differ} of 8 sentences differ; WER {before:.0%} alone, {after:.0%} in the batch")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert results["prepare"][0] >= 3 and results["prepare"][2] > 2 * results["prepare"][1]
assert results["standardize"][0] == 0

# %% [markdown]
# The mean and the standard deviation were taken over all 150 frames, most of them padding. LipNet itself
# ignores the padding when you pass it the lengths; `prepare` does not. The damage depends on the *longest*
# clip in the batch, so the same clip is read well today and badly tomorrow.
#
# <details><summary><b>Help: the same clip gives another result in a batch than alone</b></summary>
#
# Something mixes clips, or frames with padding. Look in this order: means and standard deviations over padded
# frames (this section); a recurrent layer that runs backwards and starts in the padding (notebook 03);
# BatchNorm still in training mode: `model.eval()`; `reshape` across the batch axis (section 9).
#
# </details>

# %% [markdown]
# ## Recap
#
# - A clip is a block of numbers; a frame, an x–t slice and a y–t slice are three ways to slice it. Motion is
#   visible only where time is one of the axes.
# - Memory has one axis. A tensor is offset, sizes and strides; `permute` reorders strides and copies nothing.
# - `view` keeps the order of the elements. Used instead of `permute`, it scrambles a clip without an error. A
#   marked pixel finds it.
# - Bytes wrap around; convert to float before you compute, one mini-batch at a time.
# - In a padded batch, every sum needs a mask.
# - A network expects the scale of pixels that it was trained on.
#
# ## Glossary
#
# | word | meaning | also called |
# |---|---|---|
# | layout | the order of a tensor's axes, such as `(B, C, T, H, W)` | dimension order; NCTHW, NCDHW |
# | x–t slice | one row of a filter or clip at all times: columns across, time down | space-time slice |
# | y–t slice | one column of a clip at all times | space-time slice |
# | frame rate | frames per second; 25 in GRID | fps |
# | stride of a tensor | how far apart in memory two neighbors along an axis lie | step |
# | view of a tensor | a tensor that shares the memory of another; nothing is copied | alias |
# | contiguous | lying in memory in the order of the index, last axis fastest | row-major, C order |
# | memory format | the order in memory behind an unchanged shape, such as `channels_last_3d` | |
# | ragged batch | clips of different lengths | variable-length sequences |
# | padding of a clip | zero frames that bring a clip to the length of the batch | |
# | mask | 1 where a frame is valid, 0 where it is padding | padding mask |
# | standardize | subtract the mean, divide by the standard deviation | z-score, normalize |
# | saturated | so far from 0 that the sigmoid has hardly any slope; here beyond ±3 | |
#
# ## Sources
#
# - PyTorch's documentation: *Tensor Views*, `torch.Tensor.view`, and the tutorial
#   [Channels Last Memory Format](https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html).
# - TorchCodec's
#   [VideoDecoder](https://docs.pytorch.org/torchcodec/stable/generated/torchcodec.decoders.VideoDecoder.html),
#   whose `dimension_order` is "NCHW" by default. It replaces TorchVision's video reader, which is
#   [deprecated since version 0.22](https://docs.pytorch.org/vision/stable/generated/torchvision.io.read_video.html).
# - Y. Assael, B. Shillingford, S. Whiteson, N. de Freitas, *LipNet: End-to-End Sentence-level Lipreading*,
#   [arXiv 1611.01599](https://arxiv.org/abs/1611.01599): 75 frames at 25 frames per second (§4.1), channels
#   standardized over the training set (§A.2).
#
# **Next**: notebook 02 slides filters through this block of space and time: the STCNN.
