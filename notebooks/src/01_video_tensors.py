# %% [markdown]
# # 01 · Video tensors
#
# **You will follow a film from the bytes that a decoder hands over to the batch that a network wants, see
# where each number lies in memory, and learn to catch the mistakes that raise no error.**
#
# *About 50 minutes to read and solve; all cells together run in about half a minute on one CPU core.*
#
# **You need**: Python, and to have seen PyTorch tensors and `backward` before. Notebook 00 is a good start.
#
# **You will be able to**
# - name the layouts in which films travel, and go from each to each;
# - compute where element `[b, c, t, h, w]` lies, and say which operations copy and which only look;
# - recognize a scrambled clip, and write the test that finds it when no error does;
# - put films of several lengths into one batch, and take means that leave the padding out;
# - say what the scale of the pixels does to a GRU's gates, with figures that you measured.

# %%
import copy
import math
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lessons import figures
from lessons.checks import agree, check
from lessons.ctc.alphabet import Alphabet
from lessons.ctc.decode import greedy_decode
from lessons.ctc.metrics import wer
from lessons.data.batch import normalize
from lessons.data.grid import find_mouth_set
from lessons.data.synthetic.talker import Speaker, synthetic_clips, talk
from lessons.data.video import read_video
from lessons.lipreading import LipNet, SmallLipNet
from lessons.source import show
from lessons.training import checkpoint

# %% [markdown]
# ## 1. One clip, three cuts
#
# A decoder opens a video file and gives you an array: frames, rows, columns, and three bytes for each pixel.
# So does the course's drawn talker (notebook 07 shows how it is made; you need no download). It says one
# sentence, in three seconds.


# %%
def take(sentence: str, seed: int) -> tuple:
    """Somebody new for each seed says a sentence: frames (T, H, W, C) uint8, and when each word is said."""
    rng = np.random.default_rng(seed)
    speaker = replace(Speaker.random(rng), noise=0.0)  # a camera without noise
    return talk(sentence, speaker, rng, size=(64, 128), color=True)


film, segments = take("place red at q seven again", seed=7)
print(type(film).__name__, film.dtype, film.shape)  # (T, H, W, C)
assert film.shape == (75, 64, 128, 3) and film.dtype == np.uint8

# %% [markdown]
# This is a block of numbers, and a frame is only one of the ways to cut it. Hold the row fixed in place of
# the moment, and you get an **x–t cut**: one line of pixels, at all times. Hold the column fixed: a **y–t
# cut**.
#
# **Predict.** Before you look: what will the y–t cut through the middle of the mouth show while the person
# is silent? And while she speaks?

# %%
figures.space_time_slices(film, t=24, row=36, column=64, title="One clip, cut along each axis", width=6.5)

# %% [markdown]
# Straight lines are things that stand still. In silence the lips draw bands along the axis of time; in
# speech the bands part and meet, white where teeth show, black where the mouth is open. A single frame shows
# one shape of the mouth and nothing of its movement; movement is in the cuts. Keep this picture: notebook 02
# builds filters that see it.
#
# You can even read off *when* somebody speaks. Compare each frame of the y–t cut with the one before:

# %%
cut = film[:, :, 64].astype(np.float32)  # (T, H, C): the y–t cut
change = np.abs(np.diff(cut, axis=0)).mean((1, 2))  # (T - 1,)
moving = np.flatnonzero(change > 4)
first, last = int(moving[0]), int(moving[-1]) + 1
print(f"the cut changes from frame {first} to frame {last}")
print(f"the talker spoke from frame {segments[0][1]:.0f} to frame {segments[-1][0]:.0f}")
assert abs(first - segments[0][1]) < 3 and abs(last - segments[-1][0]) < 3
lower = np.flatnonzero(change > 1)  # with a lower threshold
assert (lower[0], lower[-1] + 1) == (11, 53)
figures.curves(
    {"change": (range(1, 75), change)},
    xlabel="frame",
    ylabel="mean change, gray levels",
    level=4.0,
    level_label="threshold",
    title="How much the y–t cut changes from frame to frame",
)

# %% [markdown]
# The threshold is a choice. At 1 in place of 4 you would read frames 11 to 53, since lips begin to move
# before the first sound and come to rest after the last.
#
# In Jupyter or Colab, move the cuts yourself:

# %% tags=["nbval-ignore-output"]
# output not compared: the slider is a widget, which lives only while the notebook runs
from ipywidgets import interact


@interact(t=(0, 74), row=(0, 63), column=(0, 127))
def scrub(t=24, row=36, column=64):
    return figures.space_time_slices(film, t, row, column, width=5)


# %% [markdown]
# ### Frames are not seconds
#
# The array holds no clock. At a **frame rate** of $r$ frames a second, frame $i$ shows the time
# $(i + \tfrac12)/r$ seconds, the middle of its exposure. GRID films, and our talker, have 25 frames a
# second. A phone often gives you 30. Three seconds are then 90 frames; read at 25 they last 3.6 seconds,
# and the network meets somebody who speaks at five sixths of her pace. To show the same three seconds at 25,
# take for each new frame the old one that was on screen at that time:

# %%
rate_in, rate_out, seconds = 30, 25, 3
times = (np.arange(seconds * rate_out) + 0.5) / rate_out  # (75,) seconds
shown = np.floor(times * rate_in).astype(int)  # (75,) frame numbers, 0 … 89
print("of 90 frames, shown:", len(set(shown)), "· left out:", sorted(set(range(90)) - set(shown))[:4], "…")
assert len(film) == seconds * rate_out and len(set(shown)) == 75
assert set(np.diff(shown).tolist()) == {1, 2}
assert rate_in * seconds == 90 and 90 / rate_out == 3.6 and math.isclose(rate_out / rate_in, 5 / 6)

# %% [markdown]
# ## 2. Three layouts
#
# A **layout** is the order of the axes. Three are common, and each is the natural one to somebody:
#
# | layout | our axes | whose |
# |---|---|---|
# | NTHWC | `(B, T, H, W, C)` | decoders, cameras, NumPy: pixel after pixel; TensorFlow says NDHWC |
# | NTCHW | `(B, T, C, H, W)` | a row of images: `read_video(…, output_format="TCHW")` of torchvision |
# | NCTHW | `(B, C, T, H, W)` | `nn.Conv3d`, LipNet, this course; PyTorch's manual says `(N, C, D, H, W)` |
#
# (Others write $N$ for the batch and $D$, depth, for time. We write $B$ and $T$ everywhere.)
# `permute` lists the old axes in their new order; `transpose` swaps two.

# %%
nthwc = torch.from_numpy(film)[None]  # (1, T, H, W, C)
ncthw = nthwc.permute(0, 4, 1, 2, 3)  # (1, C, T, H, W)
ntchw = ncthw.transpose(1, 2)  # (1, T, C, H, W)
for name, x in [("NTHWC", nthwc), ("NTCHW", ntchw), ("NCTHW", ncthw)]:
    print(name, tuple(x.shape))

red = film[24, 40, 64, 0]  # frame 24, row 40, column 64, red
assert nthwc[0, 24, 40, 64, 0] == ntchw[0, 24, 0, 40, 64] == ncthw[0, 0, 24, 40, 64] == int(red)
assert nthwc.data_ptr() == ntchw.data_ptr() == ncthw.data_ptr() == film.ctypes.data

# %% [markdown]
# **Predict.** The last line compares addresses: where each of the four begins in memory. How much was copied
# by `from_numpy`, `[None]`, `permute` and `transpose` together?
#
# Not a byte. There is one film in memory and four ways of looking at it. How can that be, if the axes stand
# in another order each time?

# %% [markdown]
# ## 3. Memory is one long row
#
# Memory has a single axis. A tensor is a row of numbers there, together with a rule that turns an index
# into a place: one whole number for each axis, its **stride**, says how far to go for one step along that
# axis.
#
# $$\text{place}(i_0, i_1, \dots) = \text{offset} + \sum_k i_k\, s_k$$
#
# (The stride of a convolution, in notebook 02, is another thing with the same name: how far its filter
# moves.) Take a tiny film, two frames of 2 × 2 pixels, 24 numbers. Let every number be its own place, so
# that you can see where it lies:


# %%
memory = torch.arange(24)  # (24,): place 0, 1, 2, …
tiny = memory.view(2, 2, 2, 3)  # (T, H, W, C), as a decoder lays it down
tiny_first = tiny.permute(3, 0, 1, 2)  # (C, T, H, W)
print("decoded ", tuple(tiny.shape), "strides", tiny.stride())
print("permuted", tuple(tiny_first.shape), "strides", tiny_first.stride())


def places(x: torch.Tensor) -> torch.Tensor:
    """Where each element of x lies, by the formula, in x's own shape."""
    place = torch.full(x.shape, x.storage_offset())
    for axis, (size, stride) in enumerate(zip(x.shape, x.stride(), strict=True)):
        way = stride * torch.arange(size)  # (size,)
        place += way.view(-1, *[1] * (x.dim() - axis - 1))  # (size, 1, …): along this axis only
    return place


for name, x in [("decoded", tiny), ("permuted", tiny_first), ("green alone", tiny_first[1])]:
    agree(name, places(x), x)  # the numbers are their own places

# %% [markdown]
# `permute` moved nothing: it wrote the same four strides in another order. Here is the walk that each
# tensor takes when you read it from its first element to its last. Along the top lies the memory, with red,
# green and blue of each pixel side by side; every row below is one step, and the filled cell is where it
# goes. The bands, `[0]`, `[1]`, … at the right, are the entries of the first axis.

# %%
colors = ["RGB"[place % 3] for place in range(24)]
figures.memory_layout(
    {
        "decoded (T, H, W, C)": places(tiny),
        "permuted (C, T, H, W)": places(tiny_first),
        "green alone (T, H, W)": places(tiny_first[1]),
    },
    colors,
)

# %% [markdown]
# The decoded film is read straight through: each step goes one place further. The permuted one goes through
# memory three times, in steps of three: all red, all green, all blue, which is just what a convolution calls
# three channels. `tiny_first[1]` starts at offset 1 and takes every third number.
#
# ### Exercise 1 · `strides_of` · difficulty ★☆☆ · 5 minutes
#
# A tensor that lies in memory in the very order of its index, last axis fastest, is called **contiguous**.
# Give its strides from its shape. (PyTorch counts strides in elements. NumPy counts in bytes.)


# %%
def strides_of(shape):
    """(T, H, W, C) or any other shape -> the strides of a contiguous tensor, a tuple."""
    raise NotImplementedError


check("01.strides_of", strides_of)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def strides_of_solution(shape):
    """From the last axis to the first: a step is as far as everything behind it is long."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


# %%
check("01.strides_of", strides_of_solution)
clip = torch.from_numpy(film)  # (T, H, W, C)
assert strides_of_solution(clip.shape) == clip.stride() == (24_576, 384, 3, 1)
print(
    "one frame on:", clip.stride(0), "· one row down:", clip.stride(1), "· one pixel right:", clip.stride(2)
)

# %% [markdown]
# ### Exercise 2 · `address` · difficulty ★★☆ · 8 minutes
#
# A batch of films lies in memory as decoders wrote it: one film after another, each `(T, H, W, C)`. You
# look at it as `(B, C, T, H, W)`, by `permute`. At which place lies `x[b, c, t, h, w]`?


# %%
def address(index, shape):
    """index (b, c, t, h, w), shape (B, C, T, H, W) -> the place in a memory of (B, T, H, W, C)."""
    raise NotImplementedError


check("01.address", address)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def address_solution(index, shape):
    """The strides are those of (B, T, H, W, C); only the order in which they are named is new."""
    b, c, t, h, w = index
    _, C, T, H, W = shape
    return b * T * H * W * C + t * H * W * C + h * W * C + w * C + c


# %%
check("01.address", address_solution)
place = address_solution((0, 0, 24, 40, 64), ncthw.shape)
assert film.reshape(-1)[place] == red
print(f"x[0, 0, 24, 40, 64] lies at place {place:,} of {film.size:,}")

# %% [markdown]
# ## 4. `permute` against `view`: the silent bug
#
# To get from `(T, H, W, C)` to `(C, T, H, W)` there are two lines that run without an error and give the
# same shape:

# %%
good = clip.permute(3, 0, 1, 2)  # (C, T, H, W)
bad = clip.view(3, 75, 64, 128)  # "(C, T, H, W)"
print("shapes:", tuple(good.shape), tuple(bad.shape), "· dtypes:", good.dtype, bad.dtype)
assert good.shape == bad.shape and good.dtype == bad.dtype

# %% [markdown]
# **Predict.** Could you tell the two apart by their mean? Their deviation? Their smallest and largest value,
# their histogram?

# %%
values = {name: x.double() for name, x in [("permute", good), ("view", bad)]}
for name, x in values.items():
    print(f"{name:8} mean {x.mean():.2f} · deviation {x.std():.2f} · from {x.min():.0f} to {x.max():.0f}")
assert torch.equal(good.flatten().sort().values, bad.flatten().sort().values)  # the same numbers …
share = (good != bad).float().mean().item()
print(f"{share:.0%} of the places hold another value")  # … in other places
assert share > 0.9


# %% [markdown]
# You could not: both hold exactly the same numbers. You have to *look*. So turn each back into frames, the
# way that a network would see them:


# %%
def to_frames(x: torch.Tensor) -> torch.Tensor:
    """(C, T, H, W) -> (T, H, W, C), to look at."""
    return x.permute(1, 2, 3, 0)


moments = [5, 20, 48]
looks = {"permute": to_frames(good)[moments], "view": to_frames(bad)[moments]}  # (3, H, W, C) each
figures.clip_rows(looks, [f"frame {t}" for t in moments], title="The same bytes, the same shape", width=8)

# %% [markdown]
# `permute` keeps every number at its place in memory, and tells the index the new way there. `view` keeps
# the way, straight through, and puts new names on it: the first 614,400 bytes are declared to be red, though
# they are red, green, blue, red, green, blue … of the first 25 frames. In the tiny film:

# %%
assert bad.stride() == strides_of_solution(bad.shape) and clip.numel() // 3 == 614_400
assert torch.equal(bad[0].flatten(), clip[:25].flatten())  # "red" is all colors of a third of the film
wrong = tiny.view(3, 2, 2, 2)  # "(C, T, H, W)"
figures.memory_layout(
    {"permute (C, T, H, W)": places(tiny_first), "view (C, T, H, W)": places(wrong)}, colors, width=7
)

# %% [markdown]
# On the right, band `[0]`, the "red channel", holds all three colors. **Use `view` to split one axis or to
# join neighbors; use `permute` to change the order.** Nothing further on will complain: a network takes any
# numbers of the right shape.
#
# ### The test that finds it: mark one pixel
#
# Looking is good; a test is better, for it runs every night. Paint a single value into an empty film and see
# where it comes out. Any wrong order of the axes puts it elsewhere.


# %%
def find_mark(reader) -> tuple[int, ...]:
    """Mark frame 1, row 2, column 4, green in an empty film; where does it come out of the reader?"""
    empty = torch.zeros(5, 6, 7, 3, dtype=torch.uint8)  # (T, H, W, C), all sizes different
    empty[1, 2, 4, 1] = 255
    return tuple(reader(empty).nonzero()[0].tolist())


readers = {
    "permute(3, 0, 1, 2)": lambda x: x.permute(3, 0, 1, 2),
    "view(3, T, H, W)": lambda x: x.view(3, *x.shape[:3]),
    "permute(3, 0, 2, 1): H and W swapped": lambda x: x.permute(3, 0, 2, 1),
    "flip(3).permute(…): blue, green, red": lambda x: x.flip(3).permute(3, 0, 1, 2),
}
found = {name: find_mark(reader) for name, reader in readers.items()}
for name, place in found.items():
    print(f"{name:37} (c, t, h, w) = {place} {'right' if place == (1, 1, 2, 4) else 'WRONG'}")
assert [place == (1, 1, 2, 4) for place in found.values()] == [True, False, False, True]

# %% [markdown]
# The last line says "right", and it is wrong: red and blue are exchanged, and green is the one channel
# that does not notice. **A test sees only what it marks.** Mark red as well and it is caught. The case is
# real: OpenCV gives frames as **BGR**, and a widely copied LipNet reads its clips so. That does no harm as
# long as training and reading do the same; it does when you bring its weights your RGB frames.

# %%
red_mark = torch.zeros(5, 6, 7, 3, dtype=torch.uint8)  # (T, H, W, C)
red_mark[1, 2, 4, 0] = 255
arrived = readers["flip(3).permute(…): blue, green, red"](red_mark).nonzero()[0].tolist()
assert arrived == [2, 1, 2, 4]  # red came out as channel 2
swapped = torch.stack([clip[30], clip[30].flip(2)])  # (2, H, W, C)
figures.clip_rows({"frame 30": swapped}, ["RGB", "BGR read as RGB"], width=5)

# %% [markdown]
# On a real mouth the scrambling looks no better. If you have GRID clips (notebook 00, section 6), change
# one word and run the cell again:

# %%
clips_from = "synthetic"  # or "grid"

if clips_from == "grid" and find_mouth_set() is not None:
    mouth = torch.from_numpy(read_video(min((find_mouth_set() / "mouths").glob("*.mp4"))))  # (T, H, W, C)
else:
    mouth = clip
scrambled = to_frames(mouth.view(3, *mouth.shape[:3]))  # (T, H, W, C)
figures.clip_rows({"frame 30": torch.stack([mouth[30], scrambled[30]])}, ["as it is", "view"], width=5)

# %% [markdown]
# <details><summary><b>Help: "the picture is noise, or striped, or small copies side by side"</b></summary>
#
# Somewhere the bytes got a new shape where they should have got a new order: look for `view` or `reshape`
# between the decoder and the network. Stripes and a fine mesh of colors mean that channels went astray; a
# picture sheared or doubled means that rows have the wrong width (`H` and `W` swapped in a `reshape`). Check
# it with a marked pixel.
#
# </details>
#
# <details><summary><b>Help: "the shape is right, but the result is garbage"</b></summary>
#
# A shape is only a list of sizes; it does not know which number was the height. Three questions find most of
# these: does a marked pixel arrive where it should, in each channel? Do the frames, turned back, look like
# frames? Is the scale that of the training (section 8)? Where two sizes are equal, test with sizes that are
# all different.
#
# </details>

# %% [markdown]
# ## 5. Looking or copying
#
# A tensor that shares another's memory is a **view** of it (and `view` is only one way to get one). Some
# operations need a copy, since no stride leads where they want to go.
#
# **Predict** for each line: does it copy? Is the result contiguous, read straight through?

# %%
x = torch.zeros(2, 3, 10, 8, 8)  # (B, C, T, H, W)
operations = {
    "x.permute(0, 2, 1, 3, 4)": x.permute(0, 2, 1, 3, 4),  # (B, T, C, H, W)
    "x[:, :, 2:8]": x[:, :, 2:8],  # six frames
    "x[0, :, 2:8]": x[0, :, 2:8],
    "x[0, 0, 2:8]": x[0, 0, 2:8],
    "x[:, :, ::2]": x[:, :, ::2],  # every other frame
    "x.flatten(3)": x.flatten(3),  # (B, C, T, H W)
    "x[:, :1].expand(-1, 3, -1, -1, -1)": x[:, :1].expand(-1, 3, -1, -1, -1),  # gray shown as three channels
    "x.flip(4)": x.flip(4),  # mirrored
    "x[:, :, [0, 5]]": x[:, :, [0, 5]],  # a list of frames
}
start = x.untyped_storage().data_ptr()
answers = {}
for name, y in operations.items():
    answers[name] = (y.untyped_storage().data_ptr() != start, y.is_contiguous())
    kind = "copy" if answers[name][0] else "view"
    print(f"{name:36} {kind}   contiguous: {answers[name][1]!s:5}  {y.stride()}")

assert [copy for copy, _ in answers.values()] == [False] * 7 + [True, True]
assert [whole for _, whole in answers.values()] == [False, False, False, True, False, True, False, True, True]

# %% [markdown]
# The rule behind the right column: walk the axes from the last to the first; each stride must be the size of
# everything behind it. A cut along an axis leaves the strides as they were, so everything *before* that axis
# no longer fits; if nothing stands before it, as in `x[0, 0, 2:8]`, all is well. `expand` is the most
# frugal: stride 0, three channels that are one and the same memory. (The course shows gray clips to a
# three-channel network that way.) A mirror would need stride −1, which PyTorch does not have, and a list of
# frames keeps to no stride at all.
#
# Looking has a price: **who writes into a view writes into the original.**

# %%
original = torch.zeros(2, 2, 2, 3, dtype=torch.uint8)  # (T, H, W, C)
first_frame = original[0]
first_frame += 9
print("original, mean of its first frame:", original[0].float().mean().item())
assert original[0].float().mean() == 9
original[1].clone().add_(5)  # a copy of its own: nothing happens to the original
assert original[1].sum() == 0

# %% [markdown]
# ### Why `view` sometimes refuses
#
# `view` promises not to copy. To join neighboring axes into one, a single stride must do for all of them:
# the stride of each must be the size of the next times the stride of the next,
# $s_k = n_{k+1}\, s_{k+1}$. Here is LipNet's own case. What comes out of its convolutions is
# `(B, C, T, H, W)`, and the GRU wants one list of features for each frame: `(T, B, F)`.

# %%
maps = torch.arange(2 * 4 * 5 * 2 * 3).view(2, 4, 5, 2, 3)  # (B, C, T, H, W)
by_frame = maps.permute(2, 0, 1, 3, 4)  # (T, B, C, H, W)
try:
    by_frame.view(5, 2, -1)  # (T, B, C H W)?
except RuntimeError as error:
    print(f"RuntimeError: {error}")
else:
    raise AssertionError("view has copied")

size, stride = by_frame.shape, by_frame.stride()
print("sizes", tuple(size), "strides", stride)
print(f"H and W join: {stride[3]} = {size[4]} · {stride[4]}")
print(f"C and H do not: {stride[2]} ≠ {size[3]} · {stride[3]}")
assert stride[3] == size[4] * stride[4] and stride[2] != size[3] * stride[3]

copied = by_frame.contiguous().view(5, 2, -1)  # (T, B, F)
assert torch.equal(copied, by_frame.reshape(5, 2, -1)) and torch.equal(copied, by_frame.flatten(2))

# %% [markdown]
# `contiguous()` writes the numbers anew, in the order of the walk, and then any `view` will do; `reshape` and
# `flatten` do both in one, and copy only where they must. The values above are places in the memory of
# `maps`, so you can see what the copy did:

# %%
print("frame 0 of clip 0 lies at", by_frame[0, 0].flatten().tolist()[:13], "…")
print("in the copy, at          ", places(copied)[0, 0].tolist()[:13], "…")
assert by_frame[0, 0, 1, 0, 0] == 30  # the next channel is a whole channel of 5 frames further on

# %% [markdown]
# <details><summary><b>Help: "RuntimeError: view size is not compatible with …"</b></summary>
#
# The tensor was permuted, transposed or cut before, and the axes that you want to join do not lie behind one
# another in memory. The message proposes `reshape`, which copies where it must and gives the values that
# `view` would have promised. But first ask: *did I mean to change the order of the axes?* Then a `permute`
# is missing, and `reshape` would silence the error and keep the bug (section 9 has such a case).
#
# </details>

# %% [markdown]
# ### The same shape in another order: `channels_last_3d`
#
# If strides are free, then a `(B, C, T, H, W)` tensor may lie in memory in any order, and every operation
# must still give the same values. PyTorch has a name for one such order, a **memory format**:
# `channels_last_3d`, all channels of a pixel side by side. The shape does not change.
#
# **Predict** its strides for a batch of one clip. You have seen them before.

# %%
batch = ncthw.float() / 255  # (1, C, T, H, W)
plain = batch.contiguous()
last = batch.contiguous(memory_format=torch.channels_last_3d)
for name, x in [("contiguous", plain), ("channels_last_3d", last), ("a decoder's film, permuted", ncthw)]:
    print(f"{name:27} shape {tuple(x.shape)}  strides {x.stride()}")
assert last.stride() == ncthw.stride() and ncthw.is_contiguous(memory_format=torch.channels_last_3d)
assert torch.equal(plain, last)  # same shape, same values

_ = torch.manual_seed(0)
conv = nn.Conv3d(3, 4, 3, stride=(1, 4, 4))
agree("Conv3d on either", conv(last).detach(), conv(plain).detach(), tolerance=1e-5)

# %% [markdown]
# A decoder's film, permuted, *is* `channels_last_3d`. So the format costs nothing, and it is not a layout:
# the axes are still `(B, C, T, H, W)`. Which of the two is faster depends on the machine and its convolution
# library; measure on yours before you believe it (notebook 14).

# %% [markdown]
# ## 6. Bytes are not numbers
#
# A pixel is a byte: 0 to 255, nothing below, nothing above. What happens at the ends?
#
# **Predict**: for bytes, what are 10 − 20, 200 + 100, and the difference between two frames where the mouth
# got *darker*?

# %%
a, b = torch.tensor([10, 200], dtype=torch.uint8), torch.tensor([20, 100], dtype=torch.uint8)
print("10 - 20 =", (a - b)[0].item(), "· 200 + 100 =", (a + b)[1].item())
assert (a - b)[0] == 10 - 20 + 256 and (a + b)[1] == 200 + 100 - 256

one, two = clip[14], clip[18]  # (H, W, C)
wrapped = two - one  # uint8
true = (two.float() - one.float()).abs().to(torch.uint8)  # fits again
darker = two < one  # (H, W, C)
middle = {"floats": true[darker].median().item(), "bytes": wrapped[darker].median().item()}
print("where it got darker, the middle difference:", middle)
assert middle["floats"] < 20 and middle["bytes"] > 235
strip = torch.stack([one, two, wrapped, true])  # (4, H, W, C)
figures.clip_rows({"": strip}, ["frame 14", "frame 18", "18 − 14, bytes", "|18 − 14|, floats"], width=9)

# %% [markdown]
# Bytes count as a clock does: one step below 0 is 255. A pixel that got darker by a little comes out nearly
# white: the lips and the edge of the face glare in the third picture, though the fourth shows that they
# changed by little. No error, no warning. **Make floats before you compute.** Some operations are kinder and
# refuse:

# %%
try:
    clip.mean()
except RuntimeError as error:
    print("mean of bytes:", str(error).split(".")[0])
else:
    raise AssertionError("a mean of bytes was computed")
print("sum of bytes: ", clip.sum().dtype, "· bytes / 255:", (clip / 255).dtype)
assert clip.sum().dtype == torch.int64 and (clip / 255).dtype == torch.float32

# %% [markdown]
# Why keep bytes at all? Count:

# %%
clip_bytes = math.prod((3, 75, 64, 128))  # C · T · H · W, one byte each
small_set = 900 * math.prod((75, 32, 64))  # 900 gray clips of 32 × 64
print(
    f"a color clip of 64 × 128: {clip_bytes / 1e6:.1f} MB as bytes, {4 * clip_bytes / 1e6:.1f} MB as float32"
)
print(
    f"900 gray clips of 32 × 64: {small_set / 1e6:.0f} MB as bytes, {4 * small_set / 1e6:.0f} MB as float32"
)
first_layer = LipNet().stcnn1.conv.to("meta")  # shapes without numbers
features = first_layer(torch.empty(1, 3, 75, 64, 128, device="meta")).numel()  # (B, 32, T, H/2, W/2)
print(f"what LipNet's first convolution makes of one clip: {4 * features / 1e6:.1f} MB")
assert film.nbytes == clip_bytes == 1_843_200 and 4 * plain.numel() == plain.nbytes == 4 * clip_bytes
assert round(small_set / 1e6) == 138 and 4 * features > 2 * plain.nbytes
assert features == math.prod((32, 75, 32, 64))  # 32 channels, half the rows, half the columns

# %% [markdown]
# A float32 is four bytes. So clips stay bytes for as long as they are many (on the disk, in the data set's
# memory), and become floats only when they are few: one batch at a time. And what the first layer gives back
# is larger than the clip; in training it has to be kept until the gradient has come by.

# %% [markdown]
# ## 7. A batch of clips that are not equally long
#
# A batch is one tensor, so all clips in it have the same $T$. Real ones have not: five of the thousand GRID
# clips of speaker 1 decode to 74 frames, and other people's sentences last as long as they last. So short
# clips get **padding**, frames of zeros at the end, and a list of **lengths** remembers how many frames are
# real. Here are three takes:

# %%
sentences = {
    "place red at q seven again": 75,
    "set blue by k two please": 52,
    "bin red": 34,
}  # frames to keep
takes = [
    torch.from_numpy(take(sentence, seed)[0][:keep])  # (T of its own, H, W, C)
    for seed, (sentence, keep) in enumerate(sentences.items(), start=7)
]
print([tuple(one.shape) for one in takes])

# %% [markdown]
# ### Exercise 3 · `to_batch` · difficulty ★★☆ · 10 minutes
#
# The whole way of this notebook in one function: films of bytes in the decoder's layout become one batch of
# floats in the network's. Bytes 0 … 255 become 0 … 1; past the end of a film stand zeros.


# %%
def to_batch(films):
    """films: tensors (T, H, W, C) uint8, T different -> x (B, C, T, H, W) float32, lengths (B,) int64."""
    raise NotImplementedError


check("01.to_batch", to_batch)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def to_batch_solution(films):
    """Zeros for the longest film, then each film into its own first frames."""
    lengths = torch.tensor([len(film) for film in films])  # (B,)
    _, H, W, C = films[0].shape
    x = torch.zeros(len(films), C, int(lengths.max()), H, W)  # (B, C, T, H, W)
    for clip, film in zip(x, films, strict=True):
        clip[:, : len(film)] = film.permute(3, 0, 1, 2).float() / 255  # (C, T of its own, H, W)
    return x, lengths


# %%
check("01.to_batch", to_batch_solution)
x, lengths = to_batch_solution(takes)
print(tuple(x.shape), lengths.tolist())
moments = [10, 30, 60]
rows = {f"take {i}": to_frames(one)[moments] for i, one in enumerate(x)}  # (4, H, W, C) each
figures.clip_rows(
    rows, [f"frame {t}" for t in moments], title="Three takes in one batch; black is padding", width=6
)

# %% [markdown]
# ### A mean over zeros that mean nothing
#
# **Predict.** The third take has 34 frames of 75. You ask for its mean brightness with `x.mean()`. What will
# you get?

# %%
naive = x.mean((1, 2, 3, 4))  # (B,)
true = torch.stack([one.float().mean() / 255 for one in takes])  # (B,)
for i, n in enumerate(lengths.tolist()):
    print(f"take {i}, {n} of 75 frames: mean over all {naive[i]:.3f}, over its own frames {true[i]:.3f}")
assert torch.allclose(naive, true * lengths / 75, atol=1e-5) and naive[2] < 0.5 * true[2]

# %% [markdown]
# Too dark by exactly the share of real frames: $34/75 = 45\,\%$ of the truth. A **mask** says which frames
# count: $m_{b,t} = 1$ if $t <$ length of clip $b$, else 0. Then
#
# $$\bar{x}_{b,c} = \frac{\sum_{t,h,w} m_{b,t}\; x_{b,c,t,h,w}}{\sum_{t,h,w} m_{b,t}}$$
#
# The sum below the line counts *pixels*, not frames.

# %%
frame = torch.arange(x.shape[2])  # (T,)
mask = frame < lengths[:, None]  # (B, T), by broadcasting (1, T) against (B, 1)
print(mask[:, [0, 33, 34, 51, 52, 74]].int())
assert mask.sum(1).tolist() == lengths.tolist() and round(100 * 34 / 75) == 45

# %% [markdown]
# ### Exercise 4 · `masked_mean` · difficulty ★★☆ · 10 minutes
#
# Write it for a batch, without a loop over clips. The padding may hold any number, not only zeros.


# %%
def masked_mean(x, lengths):
    """x (B, C, T, H, W), lengths (B,) -> (B, C), the mean of each channel over a clip's own frames."""
    raise NotImplementedError


check("01.masked_mean", masked_mean)

# %% [markdown]
# <details><summary><b>Help: "RuntimeError: The size of tensor a … must match …"</b></summary>
#
# Broadcasting lines axes up from the last to the first. A mask `(B, T)` against `(B, C, T, H, W)` would meet
# `W` with its `T`, and if the two happened to be equal, nothing would warn you. Give the mask all five axes,
# with 1 where it says nothing: `mask[:, None, :, None, None]` is `(B, 1, T, 1, 1)`.
#
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def masked_mean_solution(x, lengths):
    """Sum of what counts over the number of pixels that count."""
    mask = torch.arange(x.shape[2]) < lengths[:, None]  # (B, T)
    mask = mask[:, None, :, None, None].to(x.dtype)  # (B, 1, T, 1, 1)
    pixels = mask.sum((2, 3, 4)) * x.shape[3] * x.shape[4]  # (B, 1)
    return (x * mask).sum((2, 3, 4)) / pixels  # (B, C)


# %%
check("01.masked_mean", masked_mean_solution)
agree("masked mean", masked_mean_solution(x, lengths).mean(1), true, tolerance=1e-5)

# %% [markdown]
# ### Standardize a clip
#
# Light and cameras differ. To have every clip start alike, subtract its mean and divide by its deviation:
#
# $$\hat{x} = \frac{x - \mu}{\sigma}, \qquad
# \mu = \text{mean of } x, \quad \sigma^2 = \text{mean of } (x-\mu)^2$$
#
# both over the clip's own pixels. With a masked mean, that is five lines:


# %%
def standardize(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """x (B, 1, T, H, W), one channel -> the same shape: mean 0, deviation 1 a clip; zeros in the padding."""
    mask = (torch.arange(x.shape[2]) < lengths[:, None])[:, None, :, None, None]  # (B, 1, T, 1, 1)
    mean = masked_mean_solution(x, lengths)[:, :, None, None, None]  # (B, 1, 1, 1, 1)
    x = (x - mean) * mask
    variance = masked_mean_solution(x.square(), lengths)[:, :, None, None, None]  # (B, 1, 1, 1, 1)
    return x / (variance.sqrt() + 1e-5)


gray = x.mean(1).double().requires_grad_()  # (B, T, H, W)
ours, theirs = standardize(gray[:, None], lengths)[:, 0], normalize(gray, lengths)  # (B, T, H, W) both
agree("standardize against lessons", ours.detach(), theirs.detach(), tolerance=1e-5)  # that is float32

# %% [markdown]
# And against torch's own `mean` and `std`, clip by clip, each without its padding. A standardized pixel
# depends on *all* pixels of its clip, through the mean and the deviation, so compare gradients as well:

# %%
each = []
for one, n in zip(gray, lengths.tolist(), strict=True):
    own = one[:n]  # (T of its own, H, W)
    own = (own - own.mean()) / (own.std(correction=0) + 1e-5)
    each.append(F.pad(own, (0, 0, 0, 0, 0, gray.shape[1] - n)))  # (T, H, W)
by_torch = torch.stack(each)  # (B, T, H, W)
agree("standardize against torch", ours.detach(), by_torch.detach())

_ = torch.manual_seed(0)
delta = torch.randn_like(gray)  # (B, T, H, W), an arbitrary gradient from above
gradients = [torch.autograd.grad(y, gray, delta.to(y.dtype))[0] for y in (ours, theirs, by_torch)]
agree("gradient against lessons", gradients[0], gradients[1], tolerance=1e-4)  # lessons: float32
agree("gradient against torch", gradients[0], gradients[2])
assert gradients[0][2, 34:].abs().max() == 0  # padding gets no gradient

# %% [markdown]
# The finished version is the one function that prepares clips in training and in reading alike:

# %%
show(normalize)

# %% [markdown]
# ## 8. The scale of the pixels, and gates that no longer move
#
# Pixels may come as 0 … 255, as 0 … 1, or standardized. The picture is the same; why should the network
# care? Because of its **gates**. LipNet's GRU (notebook 03) decides for every number of its memory how much
# of it to keep, by a sigmoid: $g = \sigma(a)$, between 0, closed, and 1, open. In the first frame, when the
# memory is still empty, $a = Wx + b$ with $x$ the features of the frame. What can the gate learn? The
# gradient has to pass its slope:
#
# $$\sigma(a) = \frac{1}{1 + e^{-a}}, \qquad
# \sigma'(a) = \frac{e^{-a}}{(1 + e^{-a})^2} = \sigma(a)\,(1 - \sigma(a))$$

# %%
a = torch.linspace(-8, 8, 161, dtype=torch.float64, requires_grad=True)  # (161,)
gate = torch.sigmoid(a)
(by_autograd,) = torch.autograd.grad(gate.sum(), a)
by_hand = (gate * (1 - gate)).detach()
exact, approximate = torch.equal(by_hand, by_autograd), torch.allclose(by_hand, by_autograd)
largest = (by_hand - by_autograd).abs().max().item()
print(f"exact {exact}, approximate {approximate}, largest difference {largest:.0e}")
assert approximate and largest < 1e-15

slope = {v: by_hand[80 + 10 * v].item() for v in (0, 3, 6)}  # a is 0 in the middle, ten steps to 1
print("slope at", ", ".join(f"{v}: {s:.4f}" for v, s in slope.items()))
assert slope[0] == 0.25 and round(slope[3], 3) == 0.045 and slope[6] < 0.01 * slope[0]
assert 0.15 < slope[3] / slope[0] < 0.2

# %% [markdown]
# At $\pm 3$ less than a fifth of the full slope is left, at $\pm 6$ a hundredth. Beyond $\pm 3$ we call a
# gate **saturated**: it stands at one end, and what comes from above hardly moves it.
#
# Now measure. Two films of the talker go through an untrained LipNet, up to the first GRU, and we look at
# what arrives at its gates.
#
# **Predict**: which share of the gates is saturated for pixels 0 … 255? For 0 … 1? And standardized: mean 0
# and deviation 1 in each color, as the paper does it, and as good practice has it?


# %%
@torch.no_grad()
def frame_features(model: LipNet, x: torch.Tensor) -> torch.Tensor:
    """What the first GRU of a LipNet gets: (B, C, T, H, W) -> (T, B, F)."""
    for block in (model.stcnn1, model.stcnn2, model.stcnn3):
        x = block(x)  # (B, C', T, H', W')
    return model.projection(x.permute(2, 0, 1, 3, 4).flatten(2))  # (T, B, F)


@torch.no_grad()
def gate_inputs(gru: nn.GRU, features: torch.Tensor) -> torch.Tensor:
    """a = W x + b of the reset and update gates, both directions: (T, B, F) -> (T, B, 4D)."""
    ways = []
    for way in ("_l0", "_l0_reverse"):
        weight, *biases = (getattr(gru, f"{name}{way}") for name in ("weight_ih", "bias_ih", "bias_hh"))
        gates = slice(2 * gru.hidden_size)  # D rows for reset, D for update; the other D are no gate
        ways.append(features @ weight[gates].T + sum(biases)[gates])  # (T, B, 2D)
    return torch.cat(ways, -1)  # (T, B, 4D)


talking = [torch.from_numpy(film[14:38]), takes[1][14:38]]  # 24 frames each, while they speak
raw = torch.stack(talking).permute(0, 4, 1, 2, 3).float()  # (B, C, T, H, W), 0 … 255
mean, deviation = raw.mean((0, 2, 3, 4), keepdim=True), raw.std((0, 2, 3, 4), keepdim=True)  # (1, C, 1, 1, 1)
scales = {"0 … 255": raw, "0 … 1": raw / 255, "standardized": (raw - mean) / deviation}

_ = torch.manual_seed(0)
model = LipNet().eval()  # eval: no dropout
arriving = {name: gate_inputs(model.gru1, frame_features(model, x)) for name, x in scales.items()}
assert 0.25 < (arriving["standardized"].abs() > 3).float().mean() < 0.45
figures.sigmoid_saturation(arriving, title="What arrives at the gates of an untrained LipNet")

# %% [markdown]
# Raw bytes saturate nearly every gate: there is next to no gradient to learn from. Divided by 255, nearly
# none is saturated. And good practice lies in between: before training has begun, a third of the gates hardly
# moves.
#
# One draw of random weights proves little. Here are three, for two ways to draw the GRU's first weights: the
# package's, and a wider one, that of the public port (notebook 06 tells where its number comes from). The
# last line is a warning: *noise*, standardized too.


# %%
def wider(gru: nn.GRU) -> nn.GRU:
    """A copy with input weights drawn as the public port does: uniform, deviation sqrt(2 / (1728 + 256))."""
    gru = copy.deepcopy(gru)
    bound = math.sqrt(3) * math.sqrt(2 / (1728 + 256))
    for name, parameter in gru.named_parameters():
        if name.startswith("weight_ih"):
            nn.init.uniform_(parameter, -bound, bound)
    return gru


noise = torch.randn(1, 3, 24, 64, 128, generator=torch.Generator().manual_seed(0))  # (B, C, T, H, W)
shares = {name: {"package": [], "port": []} for name in [*scales, "noise"]}
for seed in range(3):
    _ = torch.manual_seed(seed)
    model = LipNet().eval()
    features = {name: frame_features(model, x) for name, x in {**scales, "noise": noise}.items()}
    for start, gru in [("package", model.gru1), ("port", wider(model.gru1))]:
        for name, feature in features.items():
            beyond = gate_inputs(gru, feature).abs() > 3
            shares[name][start].append(beyond.float().mean().item())

print("share of gates beyond ±3, lowest and highest of 3 draws")
for name, share in shares.items():
    print(f"{name:13}", *(f"{start}: {min(v):4.0%} to {max(v):4.0%}   " for start, v in share.items()))

assert all(max(v) < 0.02 for v in shares["0 … 1"].values())
assert all(min(v) > 0.95 for v in shares["0 … 255"].values())
assert all(0.15 < min(v) and max(v) < 0.6 for v in shares["standardized"].values())
for start, noisy in shares["noise"].items():  # noise against film, draw by draw
    assert all(a > b for a, b in zip(noisy, shares["standardized"][start], strict=True))

# %% [markdown]
# - The order holds in every draw: under 2 % at 0 … 1, a fifth to a half standardized, nearly all raw.
# - The figure for standardized input depends on the draw, on the way to draw, **and on the picture**. On
#   noise the share is higher in each draw. Whoever measures on `torch.randn` measures something else than
#   films.
#
# Why does the scale reach the gates at all, through three convolutions? Look at what those do when biases
# are 0, as they are at the start: convolution, ReLU and max-pool all answer a film that is $k$ times as
# bright with exactly $k$ times as much. So the gates get $255\,a$ in place of $a$:

# %%
_ = torch.manual_seed(0)
model = LipNet().eval()
dim, bright = (gate_inputs(model.gru1, frame_features(model, scales[name])) for name in ("0 … 1", "0 … 255"))
ratio = (bright / dim)[dim.abs() > 0.01]
print(f"ratio of the gates' inputs, bright to dim: {ratio.mean():.0f}, each of them within 1")
assert (ratio - 255).abs().max() < 1
left = {}
for name, a in arriving.items():
    gate = torch.sigmoid(a)
    left[name] = part = (gate * (1 - gate)).mean().item() / 0.25
    print(f"{name:13} {part:.0%} of the full slope is left on average")
assert left["0 … 1"] > 0.8 and left["0 … 255"] < 0.02 and 0.3 < left["standardized"] < 0.7

# %% [markdown]
# ### And yet this course standardizes
#
# Rightly so? Saturation at the start is a handicap, not a verdict. The paper standardized, and reports 13.6 %
# word errors on unseen speakers without its language model; the public port divides by 255, and reports
# 13.3 %. But the small model, which the course trains and you met in notebook 00, has another answer: **it
# does not let the scale through.** Its convolutions are normalized over the batch (BatchNorm), and a
# LayerNorm stands before the GRU. Feed it any scale:

# %%
some = synthetic_clips(8, seed=2024)  # ClipSet, frames (8, 75, 32, 64)
bytes_ = torch.from_numpy(some.frames)[:, None].float()  # (B, 1, T, H, W)
gray_scales = {"0 … 255": bytes_, "0 … 1": bytes_ / 255, "standardized": normalize(bytes_[:, 0])[:, None]}

_ = torch.manual_seed(0)
untrained, trained = SmallLipNet().train(), checkpoint.load("lipnet_small_synthetic")
for module in untrained.modules():  # training mode for the BatchNorm, but nothing dropped
    if isinstance(module, nn.Dropout3d):
        module.p = 0.0
errors = {}
for name, x in gray_scales.items():
    new, old = (
        (gate_inputs(m.gru1, frame_features(m, x)).abs() > 3).float().mean().item()
        for m in (untrained, trained)
    )
    with torch.no_grad():
        texts = [Alphabet().decode(labels) for labels in greedy_decode(trained(x))]
    errors[name] = wer(some.transcripts, texts)
    print(f"{name:13} saturated: {new:.1%} untrained, {old:.1%} trained · word errors: {errors[name]:.0%}")
    assert new < 0.001 and old < 0.1
assert errors["0 … 1"] > 0.9 and errors["standardized"] < 0.1 < errors["0 … 255"] < 0.5

# %% [markdown]
# No gate is saturated at the start, at whatever scale, and few are after training. Now look at the word
# errors: the scale with the *fewest* saturated gates, 0 … 1, is the one at which the trained model reads
# garbage, as you saw in notebook 00. Bytes, with more of them saturated, read far better. So that is
# **not** saturation: trained weights know the scale of their training, and their BatchNorms keep its mean
# and deviation. Two different ills with one cure: *prepare clips in one way, everywhere.*

# %% [markdown]
# ## 9. Bug hunt: every frame through an image network
#
# An image network wants `(B, C, H, W)`. To run it on each frame of a batch, people pretend that the frames
# are a larger batch. This is how it is often written. It runs, the shapes are right, and even the frames,
# when you look at them, look like mouths. Find the bug before you read on.


# %%
def every_frame(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """x (B, C, T, H, W) -> (B, O, T, H', W'): the image network on every frame."""
    B, C, T, H, W = x.shape
    y = network(x.reshape(B * T, C, H, W))  # (B T, O, H', W')
    return y.view(B, T, *y.shape[1:]).transpose(1, 2)  # (B, O, T, H', W')


# %% [markdown]
# A check needs something to compare with. A 3D convolution whose kernel covers a single frame must do the
# same as the image convolution with these weights:

# %%
_ = torch.manual_seed(0)
image_network = nn.Conv2d(3, 4, kernel_size=5, stride=4)
same_in_3d = nn.Conv3d(3, 4, kernel_size=(1, 5, 5), stride=(1, 4, 4))
same_in_3d.load_state_dict({"weight": image_network.weight[:, :, None], "bias": image_network.bias})

x, lengths = to_batch_solution(takes[:2])
try:
    agree("every_frame", every_frame(image_network, x).detach(), same_in_3d(x).detach(), tolerance=1e-5)
except AssertionError as error:
    print("AssertionError:", str(error).split(";")[0])
else:
    raise AssertionError("the bug is gone")

# %%
B, C, T, H, W = x.shape
seen = x.reshape(B * T, C, H, W)[:T]  # what the network got as the first clip's frames, (T, C, H, W)
strip = seen.permute(0, 2, 3, 1)  # (T, H, W, C)
title = "What the network was shown as frames 2, 6, 35 and 60"
figures.filmstrip(strip, [2, 6, 35, 60], columns=4, title=title, width=9)

# %% [markdown]
# Mouths, but gray ones, with colored fringes where something moves. In memory the order is `(B, C, T, …)`:
# first all 75 frames in red, then in green, then in blue. `reshape` walks on in that order and calls every
# three pictures a color picture. So "frame" 6 is red at the times 18, 19 and 20, and the film runs three
# times, at triple speed, once for each color:

# %%
assert torch.equal(seen[6], x[0, 0, 18:21])  # its three "colors" are three moments of red
assert x.is_contiguous() and torch.equal(x.view(B * T, C, H, W)[:T], seen)  # view does not mind either
assert torch.equal(seen[25], x[0, 1, 0:3])  # a third of the way on, the film begins again, in green


def every_frame_right(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """x (B, C, T, H, W) -> (B, O, T, H', W')."""
    frames = x.transpose(1, 2).flatten(0, 1)  # (B, T, C, H, W) -> (B T, C, H, W)
    y = network(frames)  # (B T, O, H', W')
    return y.unflatten(0, (x.shape[0], x.shape[2])).transpose(1, 2)  # (B, O, T, H', W')


agree(
    "every_frame_right", every_frame_right(image_network, x).detach(), same_in_3d(x).detach(), tolerance=1e-5
)
(ours,) = torch.autograd.grad(every_frame_right(image_network, x).square().sum(), image_network.weight)
(theirs,) = torch.autograd.grad(same_in_3d(x).square().sum(), same_in_3d.weight)
agree(
    "gradient of the weight, over its size",
    ours / theirs.abs().max(),
    theirs[:, :, 0] / theirs.abs().max(),
    1e-5,
)

# %% [markdown]
# Two axes may be joined only when they stand **side by side and in the order that you mean**: first bring
# $T$ next to $B$, then join. `reshape` had no reason to complain, and had it been a `view`, neither: the
# batch was contiguous.

# %% [markdown]
# ## 10. Bug hunt: the clip that reads differently in company
#
# A trained network reads a batch. The sentences end at different times, so clips are cut after the last word
# and padded. One of them, somebody's recording, is six seconds long. This is the line that prepares the
# batch:


# %%
def prepare(x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """x (B, T, H, W) bytes, zeros past each length -> floats, mean 0 and deviation 1 for each clip."""
    x = x.float()
    mean, deviation = x.mean((1, 2, 3), keepdim=True), x.std((1, 2, 3), keepdim=True)  # (B, 1, 1, 1)
    return (x - mean) / deviation


# %% [markdown]
# Nothing is NaN, no shape is wrong. What would a good check be? A clip must read **the same alone and in any
# company**:

# %%
clips, alphabet = synthetic_clips(16, seed=2024), Alphabet()
lengths = torch.tensor([min(75, round(words[-1][0]) + 4) for words in clips.segments])  # (16,) end of speech
company = torch.zeros(17, 150, 32, 64, dtype=torch.uint8)  # (B, T, H, W)
for i, n in enumerate(lengths):
    company[i, :n] = torch.from_numpy(clips.frames[i, :n])
rng = np.random.default_rng(5)
long_film, _ = talk("set green by o three please", Speaker.random(rng), rng, (32, 64), n_frames=150)
company[16] = torch.from_numpy(long_film)
all_lengths = torch.cat([lengths, torch.tensor([150])])  # (17,)


@torch.no_grad()
def read(frames, lengths, prepare) -> list[str]:
    """frames (B, T, H, W) -> B sentences."""
    logits = trained(prepare(frames, lengths)[:, None], lengths)  # (T, B, V)
    return [alphabet.decode(labels) for labels in greedy_decode(logits, lengths)]


def read_alone(prepare) -> list[str]:
    return [read(company[i : i + 1, :n], lengths[i : i + 1], prepare)[0] for i, n in enumerate(lengths)]


alone, together = read_alone(prepare), read(company, all_lengths, prepare)[:16]
different = [(a, b) for a, b in zip(alone, together, strict=True) if a != b]
print(f"{len(different)} of 16 sentences read differently in company; the first:")
print("alone:     ", different[0][0])
print("in company:", different[0][1])
wrong_alone, wrong_together = wer(clips.transcripts, alone), wer(clips.transcripts, together)
print(f"word errors: {wrong_alone:.0%} alone, {wrong_together:.0%} in company")
assert len(different) >= 5 and wrong_together > 2 * wrong_alone

# %% [markdown]
# **Find it.** The network is told the lengths, and LipNet is careful with them: padding has no influence on
# what it computes. What has?
#
# The mean and the deviation. They were taken over all 150 frames, most of which are padding. Look at what is
# left of "mean 0, deviation 1" in a clip's own frames:

# %%
own = prepare(company, all_lengths)[0, : lengths[0]]  # (T of its own, H, W)
cured = normalize(company, all_lengths)[0, : lengths[0]]
print(f"clip 0, {lengths[0]} frames of 150, its own pixels: mean {own.mean():.1f}, deviation {own.std():.1f}")
print(f"with normalize(x, lengths):          mean {abs(cured.mean()):.1f}, deviation {cured.std():.1f}")
assert own.mean() > 1 and own.std() < 0.6 and abs(cured.mean()) < 0.01 and abs(cured.std() - 1) < 0.01

longest = int(lengths.max())  # the same 16 clips without the long film
smaller = wer(clips.transcripts, read(company[:16, :longest], lengths, prepare))
print(f"word errors, padded to {longest} frames: {smaller:.0%}, padded to 150: {wrong_together:.0%}")
assert wrong_alone < smaller < 0.5 * wrong_together

alone, together = read_alone(normalize), read(company, all_lengths, normalize)[:16]
print(f"sentences that read differently now: {sum(a != b for a, b in zip(alone, together, strict=True))}")
assert alone == together and wer(clips.transcripts, together) == wrong_alone

# %% [markdown]
# The cure is the `lengths` in `normalize(x, lengths)`: a masked mean. Mind how quiet this bug is. Where all
# clips have 75 frames it does not exist. In use, the damage hangs on the *longest* clip of the batch:
# without the long film there is little of it. So the same clip is read well today and badly tomorrow. The
# check by company finds it in a second, and you can use it on any model that takes batches.
#
# <details><summary><b>Help: "the same clip gives another result in a batch than alone"</b></summary>
#
# Something mixes clips, or frames with padding. Look in this order: means and deviations over padded frames
# (this section); a recurrent layer that runs backwards and starts in the padding (notebook 03); BatchNorm
# still in training mode: `model.eval()`; `reshape` across the batch axis (section 9).
#
# </details>

# %% [markdown]
# ## Recap
#
# - A film is a block; a frame, an x–t cut and a y–t cut are three ways to slice it. Movement shows only where
#   time is one of the axes.
# - Memory is a row. A tensor is offset, sizes and strides; `permute` rewrites the strides and copies nothing.
# - `view` puts new names on the old order. Used where `permute` was meant, it scrambles a film without an
#   error, with the same shape and the same histogram. A marked pixel finds it.
# - Bytes wrap around; make floats before you compute, but one batch at a time: they are four times as large.
# - In a padded batch, every sum needs a mask. A clip must read the same alone and in company.
# - Through layers without biases the scale of the pixels reaches the gates in full: under 2 % saturated at
#   0 … 1, nearly all at 0 … 255. Normalization inside the network takes the scale away.
#
# ## Glossary
#
# | word | meaning |
# |---|---|
# | layout | the order of a tensor's axes, such as NTHWC or NCTHW |
# | x–t cut | one row of a filter or film at all its times: columns across, time down |
# | y–t cut | one column of a film at all its times |
# | frame rate | frames a second; 25 in GRID |
# | stride of a tensor | how far apart in memory two neighbors along an axis lie |
# | view of a tensor | a tensor that looks at another's memory in its own way; nothing is copied |
# | contiguous | lying in memory in the order of its index, last axis fastest |
# | memory format | the order in memory behind an unchanged shape; `channels_last_3d` keeps a pixel together |
# | ragged batch | clips of different lengths |
# | padding of a clip | frames of zeros that make it as long as the longest of its batch |
# | mask | 1 where a frame counts, 0 where it is padding |
# | standardize | subtract the mean and divide by the deviation |
# | saturated | so far from 0 that the sigmoid has hardly any slope; here beyond ±3 |
#
# ## Sources
#
# - PyTorch's documentation: *Tensor Views*, `torch.Tensor.view`, and the tutorial
#   [Channels Last Memory Format](https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html);
#   and of torchvision, for its two layouts,
#   [read_video](https://pytorch.org/vision/stable/generated/torchvision.io.read_video.html).
# - Y. Assael, B. Shillingford, S. Whiteson, N. de Freitas, *LipNet: End-to-End Sentence-level Lipreading*,
#   [arXiv 1611.01599](https://arxiv.org/abs/1611.01599): 75 frames at 25 a second (§4.1), channels
#   standardized (§A.2), 13.6 % (Table 2, Baseline-NoLM).
# - The public port, which reads BGR, divides by 255 and draws the wider first weights; its 13.3 % is from its
#   README:
#   [VIPL-Audio-Visual-Speech-Understanding/LipNet-PyTorch](https://github.com/VIPL-Audio-Visual-Speech-Understanding/LipNet-PyTorch).
# - M. Cooke, J. Barker, S. Cunningham, X. Shao, "An audio-visual corpus for speech perception and automatic
#   speech recognition", JASA 120(5), 2006 (GRID). That five clips of speaker 1 decode to 74 frames is our own
#   count.
#
# **Next**: notebook 02 slides filters through this block of space and time: the STCNN.
