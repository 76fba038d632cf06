# %% [markdown]
# # 17 · Scale and ship
#
# **You will make the training step of LipNet about twice as fast on a CPU with bfloat16 units, without
# changing what it learns, and send a trained reader out into a world without PyTorch.**
#
# *About 100 minutes to read and solve; all cells together run in about a minute on one CPU core.*
#
# **You need**: memory formats (notebook 01), the GRU and its gradient by hand (03), LipNet's shapes (06), the
# training step (09).
#
# **You will be able to**
# - time a piece of work so that you may believe the number;
# - read a profile, and say beforehand how much a fix can gain at most;
# - say what float16 and bfloat16 can hold, what has to stay in float32, and why gradients get scaled;
# - add up the gradients of several processes rightly;
# - find a training loop's memory leak by counting bytes;
# - export a model for any number of frames, and prove that the file says what the model says.
#
# The way is always the same: **profile → find the bottleneck → fix → measure**. We go it three times, in
# sections 4, 5 and 6. Times differ from machine to machine: the pictures of times are *yours* once you run
# the cells, and what the text claims of all machines is counted, not timed.

# %%
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import lessons
from lessons import figures
from lessons.checks import agree, check
from lessons.checks.scale_and_ship import Device
from lessons.ctc import ctc_loss
from lessons.ctc.alphabet import Alphabet
from lessons.ctc.decode import greedy_decode
from lessons.data.batch import training_batch
from lessons.data.clips import ClipSet
from lessons.data.synthetic.talker import Speaker, synthetic_clips, talk
from lessons.layers.gru import GRU
from lessons.lipreading.lipnet import LipNet
from lessons.lipreading.plain_lipnet import PlainLipNet, plain_step
from lessons.measure import bench
from lessons.measure.counting import count
from lessons.measure.profiler import KINDS, where_time_goes
from lessons.measure.timing import compare, seconds
from lessons.source import show
from lessons.training import checkpoint, export
from lessons.training.distributed import Part, Processes
from lessons.training.precision import best_precision, logits_of

alphabet = Alphabet()
CPU = torch.device("cpu")
GPU = lessons.device().type == "cuda"

# %% [markdown]
# ## 1. The step that we start from
#
# `PlainLipNet` is LipNet as people commonly write it down in PyTorch: each layer in the order in which the
# paper names it, everything in float32, the optimizer as it comes. `plain_step` is the loop around it.

# %%
show(PlainLipNet.forward)

# %%
show(plain_step)

# %% [markdown]
# To keep this notebook short we take **two clips of 24 frames**, where a real batch has tens of clips of
# 75. The weights are LipNet's own, all 6.6 million in 24 tensors. (So what is done once a step, such as
# moving the weights, weighs more here than in a real training. Keep that in mind.)


# %%
def short_clips(sentences, n_frames=24):
    """One synthetic speaker says two words a clip, in frames of 64 × 128."""
    speaker, frames, segments = Speaker.random(np.random.default_rng(3)), [], []
    for i, sentence in enumerate(sentences):
        film, words = talk(sentence, speaker, np.random.default_rng(i), (64, 128), n_frames)
        frames.append(film)  # (T, H, W)
        segments.append(tuple(words))
    lengths = np.full(len(sentences), n_frames)
    return ClipSet(
        np.stack(frames), lengths, tuple(map(str, range(len(lengths)))), tuple(sentences), tuple(segments)
    )


clips = short_clips(["lay red", "bin blue", "set white", "lay green"])
batch = training_batch(clips, [0, 1], None, channels=3)
print("x", tuple(batch.x.shape), "·", [alphabet.decode(t) for t in batch.targets.split([7, 8])])

_ = torch.manual_seed(0)
start = LipNet(dropout=0.0)  # no dropout, so that runs can be compared number by number
plain = PlainLipNet(dropout=0.0).load(start)
with torch.no_grad():
    difference = (plain(batch.x) - start(batch.x)).abs().max().item()
sizes = [p.numel() for p in plain.parameters()]
assert difference < 1e-4 and sum(sizes) == 6_638_844 and len(sizes) == 24
print("the plain port and lessons.LipNet give the same logits from the same weights")

# %% [markdown]
# ## 2. A clock that you may believe
#
# How long does a step take? There are three ways to get this wrong.
#
# 1. **The first call is slow.** It loads code, chooses algorithms, fills caches, asks for memory.
# 2. **The call returns before the work is done.** A GPU takes orders and works on while Python goes on.
# 3. **Somebody else uses the machine.** One disturbed call of ten moves a mean by a lot.
#
# ### Bug hunt: the network that takes no time
#
# Below is a device with a clock of its own, so that we know what is true: each call takes 20 ms, the first
# one 900 ms more, and calls return at once. **Predict** what the two usual ways of timing say: one call
# between two looks at the clock; ten calls and a wait, divided by ten.

# %%
device = Device(costs=[0.020], first=0.920)  # seconds
began = device.clock()
device.work()
once = device.clock() - began

began = device.clock()
for _ in range(10):
    device.work()
device.wait()
ten = (device.clock() - began) / 10
print(f"one call, timed: {1000 * once:.1f} ms · ten calls and a wait: {1000 * ten:.0f} ms · true: 20 ms")
try:
    assert abs(once - 0.020) < 0.001, f"the first way is wrong by a factor of {0.020 / once:.0f}"
except AssertionError as error:
    print("the check fails:", error)
assert once < 0.001 and ten > 0.1

# %% [markdown]
# The first way timed how long it takes to *order* the work. The second waited, as it should, but also for
# the slow first call. On a GPU "wait" is `torch.cuda.synchronize()`, or a pair of CUDA events, which the
# GPU itself stamps.
#
# ### Exercise 1 · `fair_seconds` · difficulty ★★☆ · 10 minutes
#
# Do the work once without counting it, and let it finish. Then time `repeats` calls, each on its own, each
# to its end, and return the median. `clock()` gives seconds; `wait()` returns when all work that was
# ordered is done.


# %%
def fair_seconds(work, clock, wait, repeats):
    """The median time of one call of work()."""
    raise NotImplementedError


check("17.fair_seconds", fair_seconds)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def fair_seconds_solution(work, clock, wait, repeats):
    """Warm up, wait; then order, wait, read, again and again."""
    work()
    wait()
    times = []
    for _ in range(repeats):
        began = clock()
        work()
        wait()
        times.append(clock() - began)
    return statistics.median(times)


# %%
check("17.fair_seconds", fair_seconds_solution)

# %% [markdown]
# The package's `timing.compare` does one thing more. To compare two ways of doing the same work it runs
# them **in turn** and takes the ratio of each pair: a machine that is busy for a while then slows down
# both. And on one CPU thread it reads the *process's* CPU time, which stands still while another program
# has the core.
#
# <details><summary><b>Help: "my code got faster, but only on Mondays"</b></summary>
#
# You measured version A in the morning and version B after lunch. Processors change their clock with heat and
# with what else runs. Measure both within the same seconds, in turn, and look at the spread of the ratio: a
# gain smaller than the spread is no gain.
# </details>

# %% [markdown]
# ## 3. Profile: where does the time go?
#
# Before you make anything faster, find out what is slow. `torch.profiler` notes each operation with its
# begin and end. One step of ours has over nine thousand. `where_time_goes` cuts that table down to five
# kinds: convolutions; pools, ReLUs and dropout; GRUs; the optimizer; the rest. A backward operation counts
# for the layer whose forward pass it undoes. Of two steps we keep the quicker, which was disturbed less.
#
# **Predict**: which of the five takes most time? Which one has most *operations*?

# %% tags=["measured"]
optimizer = torch.optim.Adam(plain.parameters(), 1e-4)


def plain_once():
    return plain_step(plain, optimizer, batch.x, batch.targets, batch.target_lengths)


def profiled(step, model):
    """What the profiler saw of the quicker of two steps, after one to warm up."""
    step()
    seen = [where_time_goes(step, model) for _ in range(2)]
    return min(seen, key=lambda shares: sum(share.ms for share in shares.values()))


profiles = {"plain port": profiled(plain_once, plain)}


def time_bars(profiles):
    """One bar a profile: milliseconds of each kind."""
    table = [[round(shares[kind].ms) for kind in KINDS] for shares in profiles.values()]
    return figures.layer_costs(list(profiles), KINDS, {"milliseconds of a step, under the profiler": table})


time_bars(profiles)

# %%
calls = {kind: share.calls for kind, share in profiles["plain port"].items()}
gru_share = calls["GRU"] / sum(calls.values())
costs = count(start.eval(), batch.x)
work = {"convolutions": 0, "GRUs": 0}
for row in costs.rows:
    kind = "convolutions" if "conv" in row.name else "GRUs" if "gru" in row.name else None
    if kind:
        work[kind] += row.multiply_adds
conv_share = calls["convolution"] / sum(calls.values())
print("of all operations, over 80 % belong to the GRUs:", gru_share > 0.8, end="; ")
print("under 2 % to the convolutions:", conv_share < 0.02)
print(f"multiply-adds: {work['convolutions'] / work['GRUs']:.0f} times as many in the convolutions")
assert sum(calls.values()) > 9_000 and gru_share > 0.8 and conv_share < 0.02
assert work["convolutions"] > 10 * work["GRUs"]
_ = start.train()

# %% [markdown]
# Two kinds of slow:
# - **Much arithmetic** in few operations: the convolutions. The remedy is faster arithmetic.
# - **Many operations** with little arithmetic in each: the GRUs, which wait for each frame, and the
#   optimizer, which does a dozen things to each of its weight tensors. The remedy is fewer, larger
#   operations.
#
# ### How much can a fix gain?
#
# Amdahl's law: a part with share $p_i$ of the time that becomes $s_i$ times as fast leaves $p_i / s_i$.
#
# $$\text{the whole becomes}\quad \frac{1}{\sum_i p_i / s_i}\quad\text{times as fast}$$
#
# **Predict**: convolutions take 65 % of a step, and you make them *four* times as fast. What does the step
# gain?
#
# ### Exercise 2 · `whole_speedup` · difficulty ★☆☆ · 5 minutes


# %%
def whole_speedup(shares, factors):
    """shares: the time of each part, in any unit; factors: how many times as fast each part becomes."""
    raise NotImplementedError


check("17.whole_speedup", whole_speedup)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def whole_speedup_solution(shares, factors):
    """The time before over the time that is left."""
    left = sum(share / factor for share, factor in zip(shares, factors, strict=True))
    return sum(shares) / left


# %%
check("17.whole_speedup", whole_speedup_solution)
print(f"65 % four times as fast: the step {whole_speedup_solution([0.65, 0.35], [4, 1]):.2f} times")
print(f"65 % in no time at all:  the step {whole_speedup_solution([0.65, 0.35], [4e9, 1]):.2f} times")
gains = 2.0 ** np.arange(0, 8, 0.25)  # factor of the part
figures.curves(
    {
        f"{100 * share:.0f} % of the step": (
            gains,
            [whole_speedup_solution([share, 1 - share], [g, 1]) for g in gains],
        )
        for share in (0.3, 0.65, 0.9)
    },
    xlabel="how many times as fast the part becomes",
    ylabel="how many times as fast the step",
    title="What is left over decides",
)

# %% [markdown]
# ## 4. Fix 1: memory layout and bfloat16 for the convolutions
#
# **Profile, bottleneck**: the longest part of the bar, the convolutions. Two changes, one place.
#
# **Layout.** Torch keeps a clip as `(B, C, T, H, W)` with neighbors in a row side by side in memory. A
# convolution sums over channels, and its fast kernels want the *channels* of a pixel side by side:
# `channels_last_3d`. Shapes and values stay; strides change (notebook 01).

# %%
small = torch.zeros(2, 3, 24, 64, 128)  # (B, C, T, H, W)
last = small.contiguous(memory_format=torch.channels_last_3d)
print("strides of (B, C, T, H, W):", small.stride(), "→", last.stride())
assert torch.equal(small, last) and last.stride()[1] == 1 and small.stride()[4] == 1

# %% [markdown]
# **Number format.** A float32 has 32 bits. Half as many bits are half the memory traffic, and newer
# processors and all newer GPUs have units that multiply 16-bit numbers several times as fast. There are two
# ways to spend 16 bits:

# %%
FORMATS = {"float32": (8, 23), "float16": (5, 10), "bfloat16": (8, 7)}  # bits of exponent, fraction
for name, (exponent, fraction) in FORMATS.items():
    info = torch.finfo(getattr(torch, name))
    assert info.eps == 2.0**-fraction and info.bits == 1 + exponent + fraction
    print(
        f"{name:9} largest {info.max:.2g}, all digits from {info.tiny:.2g}, after 1 comes 1 + {info.eps:.2g}"
    )
figures.number_bits(FORMATS, title="How 16 bits are spent")

# %% [markdown]
# bfloat16 keeps float32's exponent: it can hold any *size* that float32 can, with two to three digits.
# float16 has three to four digits, and ends at 65,504 above. Below 6.1e-5 it has fewer and fewer digits, and
# near 6e-8 none. So with bfloat16 you need not fear that a gradient vanishes (section 7 shows what float16
# needs). What must not happen is to *add up* in it.
#
# **Predict**: what is 256 + 1 in bfloat16?

# %%
total = torch.tensor(256.0, dtype=torch.bfloat16) + torch.tensor(1.0, dtype=torch.bfloat16)
ones = torch.ones(1000, dtype=torch.bfloat16)
one_by_one = torch.zeros((), dtype=torch.bfloat16)
for one in ones:
    one_by_one = one_by_one + one
print("256 + 1 =", total.item(), "· a thousand ones, added in bfloat16:", one_by_one.item())
print("the same inside one sum, which adds in float32:", ones.sum().item())
pixel = F.conv3d(ones.view(1, 1000, 1, 1, 1), ones.view(1, 1000, 1, 1, 1))  # (1, 1, 1, 1, 1)
print("and inside a convolution over a thousand channels:", pixel.item())
assert total == 256 and one_by_one == 256 and ones.sum() == 1000 and pixel == 1000
assert torch.finfo(torch.float16).max == 65504

# %% [markdown]
# This is why a *convolution* is safe, for it multiplies 16-bit numbers and adds the products up in float32,
# and why a **GRU is not**. Its memory is a running sum of its own kind, $h \leftarrow h + (1 - z)(n - h)$.
# A long memory has $z$ near 1, and its steps are small. Below, $1 - z = 0.002$ and the candidate is 1: the
# memory should go to 1.

# %%
memory = {"kept in float32": torch.float32, "kept in bfloat16": torch.bfloat16}
walks = {}
for name, kind in memory.items():
    h, walk = torch.zeros((), dtype=kind), []
    for _ in range(2000):
        h = (h.float() + 0.002 * (1 - h.float())).to(kind)
        walk.append(h.item())
    walks[name] = walk
print({name: round(walk[-1], 2) for name, walk in walks.items()})
assert (
    walks["kept in float32"][-1] > 0.98
    and walks["kept in bfloat16"][-1] == walks["kept in bfloat16"][1000] == 0.5
    and walks["kept in bfloat16"][200] > walks["kept in float32"][200]
)
gap = torch.finfo(torch.bfloat16).eps * 0.5  # from 0.5 to the next bfloat16
assert gap == 1 / 256 and 0.002 * (1 - 0.5) < gap / 2
weight = torch.tensor(0.05, dtype=torch.bfloat16)
assert (weight.float() + 1e-4).bfloat16() == weight  # a step of a usual learning rate
figures.curves(walks, xlabel="step", ylabel="memory", title="A slow memory that stands still")

# %% [markdown]
# At 0.5 the next bfloat16 number is 1/256 away, and a step of 0.001 is less than half of that: it is
# rounded away, for ever. (Before that it is too *fast*: each step is rounded up to the next number.) The
# same would happen to weights (a step of 1e-4 leaves a weight of 0.05 where it was), to their running
# averages, and to batch statistics. So:
#
# | stays in float32 | goes to 16 bits |
# |---|---|
# | weights, optimizer, GRUs, normalization's sums, softmax, CTC | convolutions, and what flows between them |
#
# This is **mixed precision**. `torch.autocast` does it: inside it a convolution casts its inputs down;
# nothing else needs to be rewritten. `lessons.training.precision.logits_of` is all there is, and
# `LipNet.forward` switches autocast off before its GRUs.

# %%
show(logits_of)

# %%
seen = {}
watched = {"convolution": start.stcnn1.conv, "GRU": start.gru1}
handles = [
    layer.register_forward_hook(
        lambda layer, inputs, out, name=name: seen.update({name: out[0].dtype})  # a clip's; a GRU's sequence
    )
    for name, layer in watched.items()
]
one_frame = batch.x[:1, :, :1]  # (B = 1, C, T = 1, H, W): a processor without bfloat16 units is slow here
with torch.no_grad():
    logits_of(start, one_frame, torch.tensor([1]), torch.bfloat16)
for handle in handles:
    handle.remove()
print(
    "under autocast they give out:", {name: str(kind).removeprefix("torch.") for name, kind in seen.items()}
)
assert seen == {"convolution": torch.bfloat16, "GRU": torch.float32}

# %% [markdown]
# Not every processor multiplies bfloat16 itself. One that does not has to convert every number, and is slower
# for it, often by a factor of ten or more. Measure yours once, on one small convolution. (The line stored
# under the cell comes from a processor without such units. The bars and rates that follow were measured on
# one that has them.)

# %% tags=["nbval-ignore-output"]
# output not compared: times
x16 = torch.randn(1, 32, 4, 16, 32).bfloat16()  # (B, C, T, H, W)
weight16 = torch.randn(64, 32, 3, 5, 5).bfloat16()  # (O, C, kt, kh, kw)
took = {}
for kind in (torch.float32, torch.bfloat16):
    x, weight = x16.to(kind), weight16.to(kind)
    took[kind] = min(seconds(lambda: F.conv3d(x, weight), CPU) for _ in range(3))  # noqa: B023
ratio = took[torch.bfloat16] / took[torch.float32]
fast = best_precision(CPU)  # bfloat16 where the processor multiplies it, else float32
print(f"bfloat16 takes {ratio:.1f} times as long as float32; this page goes on in {fast}")


# %% tags=["measured"]
def course_model(scan=False):
    """The same weights in the course's LipNet; with scan, in the GRU of notebook 03."""
    model = LipNet(dropout=0.0)
    model.load_state_dict(start.state_dict())
    for name in ("gru1", "gru2") if scan else ():
        theirs = getattr(model, name)
        ours = GRU(theirs.input_size, theirs.hidden_size, bidirectional=True)
        ours.load_state_dict(theirs.state_dict())
        setattr(model, name, ours)
    return model


def step_of(model, precision, fused, batch=batch):
    """A training step, channels last, where the batch is, as a function without arguments."""
    model = model.to(batch.x.device, memory_format=torch.channels_last_3d)
    optimizer = torch.optim.Adam(model.parameters(), 1e-4, fused=fused)

    def step():
        optimizer.zero_grad()
        logits = logits_of(model, batch.x, batch.lengths, precision)  # (T, B, V)
        log_probs = logits.float().log_softmax(-1)  # (T, B, V)
        loss = F.ctc_loss(log_probs, batch.targets, batch.lengths, batch.target_lengths)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step, model


fast = best_precision(CPU)  # bfloat16 where this processor multiplies it, else float32
profiles["+ layout, bfloat16"] = profiled(*step_of(course_model(), fast, fused=False))
time_bars(profiles)

# %% [markdown]
# On a processor with bfloat16 units, as on the one that made the figures of this page, the convolutions take
# less than half of what they took. On one without, `best_precision` stays with float32, and only the layout
# gains a little: your bars then differ from ours. On a GPU with such units expect this fix to be large, too.
#
# **Measure**: the same steps by the clock, without the profiler, in turn.


# %% tags=["measured"]
def measured(ladder, batch=batch):
    """Clips a second of each step: three rounds in turn, after one that warms up."""
    times = {name: [] for name in ladder}
    for round_ in range(4):
        for name, step in ladder.items():
            took = seconds(step, batch.x.device)
            if round_:
                times[name].append(took)
    return {name: [len(batch.lengths) / t for t in took] for name, took in times.items()}


ladder = {
    "plain port": plain_once,
    "+ layout": step_of(course_model(), torch.float32, fused=False)[0],
    "+ mixed precision": step_of(course_model(), fast, fused=False)[0],
}
figures.throughput(measured(ladder), title="After fix 1: 2 clips of 24 frames, one CPU core")

# %% [markdown]
# **Is it still the same training?** Speed that changes what is learned is not speed. Six steps each, same
# weights, same clips:

# %%
plain = PlainLipNet(dropout=0.0).load(start)
optimizer = torch.optim.Adam(plain.parameters(), 1e-4)
losses = {"plain port, float32": [plain_once() for _ in range(6)]}
step, _ = step_of(course_model(), fast, fused=True)
losses["layout, mixed precision, fused"] = [step() for _ in range(6)]
apart = max(abs(a - b) / a for a, b in zip(*losses.values(), strict=True))
print(f"largest difference of the two losses: {'below 2 %' if apart < 0.02 else 'too large'}")
assert apart < 0.02 and losses["plain port, float32"][-1] < 0.5 * losses["plain port, float32"][0]
figures.curves(losses, ylabel="loss", title="Six steps: two curves, one line")

# %% [markdown]
# ## 5. Fix 2: fewer, larger operations
#
# **Profile, bottleneck**: look at the second bar again. The convolutions have shrunk, and what was small
# before now matters: the GRUs, the pools, the optimizer.
#
# ### The optimizer in one call
#
# Adam calls more than twenty operations for each of the 24 weight tensors, most of them a walk through
# memory over all its numbers. `fused=True` does all of it in one walk. **Predict**: which weights change?

# %% tags=["measured"]
profiles["+ fused optimizer"] = profiled(*step_of(course_model(), fast, fused=True))
unfused, fused = (profiles[name]["optimizer"].calls for name in ("+ layout, bfloat16", "+ fused optimizer"))
print("the optimizer makes fewer than half the calls:", fused < unfused / 2)
assert fused < unfused / 2 and unfused > 20 * 24

weights = [torch.linspace(-1, 1, 7, dtype=torch.float64).requires_grad_() for _ in range(2)]
for weight, is_fused in zip(weights, (False, True), strict=True):
    adam = torch.optim.Adam([weight], 0.1, fused=is_fused)
    for _ in range(20):
        adam.zero_grad()
        weight.square().sum().backward()
        adam.step()
agree("20 steps of Adam, fused and not", weights[1].detach(), weights[0].detach())
time_bars(profiles)

# %% [markdown]
# None of them, but for rounding.
#
# ### Pool first, then ReLU
#
# The paper says: convolution, ReLU, dropout, pool. But a maximum and a ReLU commute: ReLU never turns the
# order of two numbers around, so the largest of the clipped is the clipped largest,
#
# $$\max_i \, \mathrm{ReLU}(x_i) = \mathrm{ReLU}\big(\max_i x_i\big).$$
#
# So pool first, and the ReLU has a quarter of the numbers to do, forward and backward. (The same holds for
# channel dropout, which multiplies a channel by a number that is not negative.) Gradients too: where the
# maximum is above 0, both send the gradient to the same place; where it is not, both send none.

# %%
x = torch.randn(2, 4, 3, 8, 8, dtype=torch.float64, requires_grad=True)  # (B, C, T, H, W)
pool = nn.MaxPool3d((1, 2, 2))
orders = {"ReLU, then pool": pool(F.relu(x)), "pool, then ReLU": F.relu(pool(x))}  # (B, C, T, H/2, W/2) each
upstream = torch.randn(2, 4, 3, 4, 4, dtype=torch.float64)
gradients = [torch.autograd.grad(y, x, upstream)[0] for y in orders.values()]
assert torch.equal(*orders.values()) and torch.equal(*gradients)
print(
    "values and gradients equal, to the last bit; the ReLU sees", f"{4 * 4 / (8 * 8):.0%}", "of the numbers"
)

average = nn.AvgPool3d((1, 2, 2))
assert not torch.allclose(average(F.relu(x)), F.relu(average(x)))
print("with an average in place of the maximum they are not equal")

# %% [markdown]
# `lessons.layers.stcnn.STCNN` has its channel dropout behind the pool for this reason (notebook 02); its
# ReLU stands where the paper puts it. **Predict** with Amdahl's law what moving it can gain: say that the
# ReLUs have 5 % of the step, and become four times as fast.

# %%
print(f"ReLU behind the pool: the step {whole_speedup_solution([0.05, 0.95], [4, 1]):.2f} times")
assert whole_speedup_solution([0.05, 0.95], [4, 1]) < 1.04

# %% [markdown]
# Four per cent: it is right, it costs nothing, and your clock will hardly see it.
#
# ### The GRU in one scan
#
# Most operations belong to the GRUs. Notebook 03 wrote a GRU whose backward pass is done by hand:
# `lessons.layers.gru.GRU` makes one small product a frame where autograd makes many, and leaves the large
# one for the end. **Predict**: fewer calls, so faster?

# %% tags=["measured"]
profiles["+ GRU in one scan"] = profiled(*step_of(course_model(scan=True), fast, fused=True))
theirs, ours = (profiles[name]["GRU"].calls for name in ("+ fused optimizer", "+ GRU in one scan"))
print("calls of the GRUs: fewer than three quarters:", ours < 3 / 4 * theirs)
assert ours < 3 / 4 * theirs
time_bars(profiles)

# %% [markdown]
# Fewer calls, and most of these only look into a tensor (`select`, `as_strided`). But the profiler adds a
# little time of its own to each call, and so flatters whoever makes few. And each bar is a single step, which
# another program may have disturbed. Bars cannot decide. **Measure**:


# %% tags=["measured"]
def pool_before_relu(model):
    """STCNN calls its relu, then its pool: let the two change places."""
    for block in (model.stcnn1, model.stcnn2, model.stcnn3):
        block.relu, block.pool = block.pool, block.relu
    return model


with torch.no_grad():
    agree("pool before ReLU", pool_before_relu(course_model())(batch.x), start(batch.x), tolerance=1e-5)
ladder |= {
    "+ fused optimizer": step_of(course_model(), fast, fused=True)[0],
    "+ pool before ReLU": step_of(pool_before_relu(course_model()), fast, fused=True)[0],
    "+ GRU in one scan": step_of(pool_before_relu(course_model(scan=True)), fast, fused=True)[0],
}
rates = measured(ladder)
figures.throughput(rates, title="After fix 2: 2 clips of 24 frames, one CPU core")

# %% [markdown]
# This is the picture to keep, and it is your machine's. Where a gain is smaller than the thin lines, call it
# a draw: expect one of the pool before the ReLU. **A profile tells you where to look. It does not tell you
# what you have won.**
#
# **On a GPU** the ladder has other rungs. cuDNN runs a whole GRU in a few calls, so our scan gains nothing
# there. If you have a GPU, the next cell measures its ladder, with 16 clips of 75 frames and the GPU's own
# events as the clock. Without a GPU it does nothing.

# %%
if GPU:
    device = lessons.device()
    large = training_batch(synthetic_clips(16, seed=5, size=(64, 128)), range(16), None, 3, device=device)
    plain_there = PlainLipNet(dropout=0.0).load(start).to(device)
    adam_there = torch.optim.Adam(plain_there.parameters(), 1e-4)
    fast_there = best_precision(device)
    ladder_there = {
        "plain port": lambda: plain_step(
            plain_there, adam_there, large.x, large.targets, large.target_lengths
        ),
        "+ layout": step_of(course_model(), torch.float32, fused=False, batch=large)[0],
        "+ mixed precision": step_of(course_model(), fast_there, fused=False, batch=large)[0],
        "+ fused optimizer": step_of(course_model(), fast_there, fused=True, batch=large)[0],
    }
    # Still the same training? Compared before the clock runs, while all have the same weights.
    losses_there = {name: [step() for _ in range(6)] for name, step in ladder_there.items()}
    for losses_of in losses_there.values():
        apart = max(abs(a - b) / a for a, b in zip(losses_there["plain port"], losses_of, strict=True))
        assert apart < 0.05  # 16-bit numbers have two to three digits; six steps add up their differences
    rates_there = measured(ladder_there, large)
    figures.throughput(rates_there, title=f"16 clips of 75 frames, {torch.cuda.get_device_name(device)}")
    assert min(rates_there["+ fused optimizer"]) > max(rates_there["plain port"])

# %% [markdown]
# ## 6. Fix 3: prepare the next batch while this one is learned
#
# **Profile**: the profiler watched the step alone. But before a step its clips have to be collected, mirrored
# and normalized. How long does that take, and what could it gain at most to have it done by somebody else?


# %%
def make(i):
    """Batch i of two clips, its chance drawn from its own number."""
    return training_batch(clips, [i % 4, (i + 1) % 4], np.random.default_rng(i), channels=3)


assert make(0).x.shape == batch.x.shape

# %% tags=["nbval-ignore-output"]
# output not compared: times
prepare_ms = 1000 * statistics.median(seconds(lambda: make(0), CPU) for _ in range(5))
learn_ms = 1000 * len(batch.lengths) / statistics.median(rates["+ fused optimizer"])
gain = whole_speedup_solution([prepare_ms, learn_ms], [1e9, 1])
print(f"prepare {prepare_ms:.0f} ms, learn {learn_ms:.0f} ms: at most {gain:.2f} times as fast")

# %% [markdown]
# Hardly a **bottleneck**, here. But learning is what a GPU makes faster. With $a$ ms to prepare and $s$ ms to
# learn, $n$ batches take $n(a + s)$ in turn. With a helper who prepares, the step waits only for the first
# batch: $a + (n - 1)\max(a, s) + s$.
#
# **Predict**: a GPU needs 84 ms for a step of 50 clips, one core needs 20 ms a clip to prepare (the figures
# of `docs/eight_gpus.md`). What does one helper gain? Eight? Twelve?


# %%
def plan(prepare, learn, n, helpers):
    """Pieces (begin, end, batch) of those who prepare and of the one who learns."""
    lanes = {f"helper {i + 1}" if helpers > 1 else "prepares": [] for i in range(helpers)}
    names, free, learned = list(lanes), [0.0] * helpers, []
    for b in range(n):
        who = b % helpers
        begin = free[who]
        free[who] = begin + prepare
        lanes[names[who]].append((begin, free[who], b))
        begin = max(free[who], learned[-1][1] if learned else 0.0)
        learned.append((begin, begin + learn, b))
    return {**lanes, "learns": learned}


def in_turn(prepare, learn, n):
    """The same by one worker: prepare, learn, prepare, learn."""
    pieces = []
    for b in range(n):
        begin = b * (prepare + learn)
        pieces += [(begin, begin + prepare, b), (begin + prepare, begin + prepare + learn, b)]
    return {"one core": pieces}


def ends(lanes):
    return max(end for lane in lanes.values() for _, end, _ in lane)


for name, a, s, helpers in (
    ("a CPU: 15 ms and 200 ms, one helper", 15, 200, 1),
    ("a GPU: 1000 ms and 84 ms, one helper", 1000, 84, 1),
    ("a GPU: 1000 ms and 84 ms, eight helpers", 1000, 84, 8),
    ("a GPU: 1000 ms and 84 ms, twelve helpers", 1000, 84, 12),
):
    alone, helped = ends(in_turn(a, s, 100)), ends(plan(a, s, 100, helpers))
    print(f"{name}: {alone / helped:.2f} times as fast; it learns {100 * s / helped:.0%} of the time")
    assert alone == 100 * (a + s) and (helpers > 1 or helped == a + 99 * max(a, s) + s)
figures.gantt_chart(
    {
        "in turn (prepare, learn)": in_turn(60, 84, 5),
        "one helper": plan(60, 84, 5, 1),
        "learning four times as fast, one helper": plan(60, 21, 5, 1),
        "learning four times as fast, three helpers": plan(60, 21, 5, 3),
    },
    title="Five batches: milliseconds until all are learned",
)

# %% [markdown]
# Where learning is slow, as on a CPU, a helper gains next to nothing: the data are not on the **critical
# path**. And a helper on the *same core* gains nothing at all, for both need it. With a GPU it turns round:
# with one helper the GPU, whatever its price, is idle nine tenths of the time; about twelve keep it busy. Or
# send it bytes and let it change its clips itself, as `lessons.training.lipnet` does. **The same fix is
# worthless here and worth ten times there.** Measure before you build.
#
# **Fix**: the helper is a thread and a queue. A thread is enough, since numpy and torch let go of Python's
# lock while they calculate. (`DataLoader` uses processes, which also helps where the work is in Python.)


# %%
def ahead(make, indices, depth=2):
    """Yield make(i) for each of indices, prepared by another thread, at most `depth` of them in advance."""
    with ThreadPoolExecutor(1) as helper:
        queue = deque()
        for i in indices:
            queue.append(helper.submit(make, i))  # comes back at once
            if len(queue) > depth:
                yield queue.popleft().result()  # waits for it; an error in make() is raised here
        while queue:
            yield queue.popleft().result()


for i, helped in enumerate(ahead(make, range(6))):
    alone = make(i)
    assert torch.equal(helped.x, alone.x) and torch.equal(helped.targets, alone.targets)
print("six batches, prepared ahead: the same, in the same order")
try:
    list(ahead(lambda i: 1 // (2 - i), range(4)))
except ZeroDivisionError:
    print("and an error in the helper stops the loop")
else:
    raise AssertionError("the helper's error was lost")

# %% [markdown]
# They are the same because each batch draws its chance from its *own number*, not from one generator that all
# share (`lessons.training.lipnet` does it so). With a shared generator the numbers would depend on who came
# first.
#
# **Measure**: not with our step, where the gain would be smaller than the spread of the clock, but with a
# stand-in for a GPU, which learns a batch in the time that one core needs to prepare it, and leaves the core
# alone meanwhile. **Predict**: how many times as fast?


# %% tags=["measured"]
def batches_a_second(batches):
    """By the clock on the wall, since the process's own stands still while we wait."""
    began, n = time.perf_counter(), 0
    for _ in batches:
        time.sleep(prepare_ms / 1000)  # "the GPU learns"
        n += 1
    return n / (time.perf_counter() - began)


waits = {"in turn": [], "one helper": []}
for _ in range(3):
    waits["in turn"].append(batches_a_second(map(make, range(12))))
    waits["one helper"].append(batches_a_second(ahead(make, range(12))))
figures.throughput(waits, unit="batches a second", title="Fix 3: a device that learns while we prepare")

# %% [markdown]
# At best $2n/(n + 1)$ times, for the first batch has to be waited for: 1.85 with twelve.

# %%
assert round(ends(in_turn(1, 1, 12)) / ends(plan(1, 1, 12, 1)), 2) == 1.85

# %% [markdown]
# ## 7. float16: when gradients are too small to be held
#
# Older GPUs have units for float16 and none for bfloat16. float16's trouble is its exponent: near 6e-8 its
# numbers end, and what is smaller becomes 0. Gradients grow smaller as a model gets better. So take the
# trained reader of notebook 09, and look at the gradients of what its first convolution gives out, one
# number for each pixel of its maps. **Predict**: how many of them does float16 lose?

# %%
kept = {}


def keep_gradient(layer, inputs, out):
    out.register_hook(lambda gradient: kept.update(gradient=gradient.detach().clone()))


reader = checkpoint.load("lipnet_small_synthetic")
films = synthetic_clips(8, seed=77)
reading = training_batch(films, range(8), None)
handle = reader.stcnn1.conv.register_forward_hook(keep_gradient)
log_probs = reader(reading.x).log_softmax(-1)  # (T, B, V)
F.ctc_loss(log_probs, reading.targets, reading.lengths, reading.target_lengths).backward()
handle.remove()
pixels = kept["gradient"].flatten()  # (B*16*T*16*32,)
pixels = pixels[pixels != 0][::10]  # where the ReLU was closed nothing comes back; of the rest, one in ten
half = torch.finfo(torch.float16)
LIMITS = {"smallest": 2.0**-24, "normal": half.tiny, "largest": half.max}
assert half.tiny * half.eps == 2.0**-24  # the smallest float16 above 0
lost = {scale: (pixels * scale).half().eq(0).float().mean().item() for scale in (1.0, 2.0**12)}
print("as they are, more than a third become 0:", lost[1.0] > 1 / 3)
print("with the loss times 4096, fewer than one in a hundred:", lost[2.0**12] < 0.01)
assert lost[1.0] > 1 / 3 and lost[2.0**12] < 0.01
assert pixels.abs().max() < 2.0**-4  # half way, in powers of two, between 2^-24 and 2^16
figures.number_range(
    {"as they are": pixels, "the loss times 4096": pixels * 2.0**12},
    **LIMITS,
    title="Gradients at the first convolution, and what float16 can hold",
)

# %% [markdown]
# The gradients lie at the lower end of what float16 can hold, and leave the upper half of its range empty.
# Backward is linear: multiply the *loss* by 4096 and each gradient becomes 4096 times as large. Before the
# weights move, divide again, in float32.
#
# Move the scale yourself. Where does it begin to go wrong at the other end?

# %% tags=["nbval-ignore-output"]
# output not compared: the slider is a widget, which lives only while the notebook runs
from ipywidgets import interact


@interact(power=(-8, 40, 4))
def scaled_by(power=8):
    return figures.number_range({f"the loss times 2 to the {power}": pixels * 2.0**power}, **LIMITS)


# %% [markdown]
# At 2 to the 28 none is infinite yet, at 2 to the 32 some are. Nobody knows the best scale beforehand, and it
# moves during training. `GradScaler` finds it: it begins high (65,536), halves the scale and *skips the step*
# whenever a gradient came out infinite or NaN, and doubles it after 2,000 good steps in a row. First the
# disease, on one weight, then the cure, then a step that is skipped:

# %%
weight = torch.tensor([1.0], requires_grad=True)


def tiny_loss(weight):
    """A loss whose gradient is 1e-8, computed on a path of float16."""
    return (weight.half() * 1e-4).float().sum() * 1e-4


tiny_loss(weight).backward()
print("without a scale:", weight.grad.item())
assert weight.grad == 0

scaler, sgd = torch.amp.GradScaler("cpu"), torch.optim.SGD([weight], 1.0)
assert scaler.get_scale() == 65536 and scaler.get_growth_interval() == 2000
sgd.zero_grad()
scaler.scale(tiny_loss(weight)).backward()
scaler.unscale_(sgd)
print(f"with a scale of 65536: {weight.grad.item():.2g}")
assert abs(weight.grad.item() / 1e-8 - 1) < 0.01
scaler.update()

sgd.zero_grad()
scaler.scale(weight.sum() * 1e38).backward()  # times 65536 that is beyond float32, too
scaler.step(sgd)
scaler.update()
print(f"after an infinite gradient: the weight is still {weight.item():g}, the scale {scaler.get_scale():g}")
assert weight == 1 and scaler.get_scale() == 32768
overflows = {power: bool((pixels * 2.0**power).half().isinf().any()) for power in (28, 32)}
assert overflows == {28: False, 32: True}

# %% [markdown]
# ### Exercise 3 · `unscaled` · difficulty ★★☆ · 10 minutes
#
# Write the heart of it. You are given float16 gradients of a loss that was multiplied by `scale`. Return a
# list of float32 tensors, as if the loss had not been multiplied, and whether the step may be taken:
# `False` when any of them holds an infinity or NaN.


# %%
def unscaled(gradients, scale):
    """gradients: a list of float16 tensors -> (list of float32 tensors, True or False)."""
    raise NotImplementedError


check("17.unscaled", unscaled)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def unscaled_solution(gradients, scale):
    """To float32 first, and only then divide: 2^-14 / 2^16 is nothing in float16."""
    take_the_step = all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    return [gradient.float() / scale for gradient in gradients], take_the_step


# %%
check("17.unscaled", unscaled_solution)

# %% [markdown]
# <details><summary><b>Help: "the loss is NaN, but only with mixed precision"</b></summary>
#
# Ask which number left the range. With float16: is there a `GradScaler`, and is `unscale_` called before
# clipping? (A gradient clipped while still scaled is clipped to almost nothing.) With either format: is a
# softmax, a norm's variance, a mean over many pixels or CTC computed in 16 bits? Put these in a block with
# `torch.autocast(..., enabled=False)` and cast their input with `.float()`.
# </details>
#
# ## 8. `torch.compile`: let a program rewrite your program
#
# `torch.compile(f)` watches `f` run once, writes down the operations as a **graph**, and lets a compiler
# merge them: ten small operations on the same numbers become one walk through memory. You can look over its
# shoulder with a "compiler" of your own that compiles nothing and only counts:

# %%
graphs = []


def only_count(graph, inputs):
    graphs.append(sum(node.op in ("call_function", "call_method") for node in graph.graph.nodes))
    return graph.forward


def gate(x, h):
    z = torch.sigmoid(x + h)
    return z * h + (1 - z) * torch.tanh(x)


def gate_with_a_look(x, h):
    z = torch.sigmoid(x + h)
    if z.mean().item() > 2:  # Python wants to know a number, now
        return h
    return z * h + (1 - z) * torch.tanh(x)


x, h = torch.randn(2, 3, 5)  # (3, 5) each
for function in (gate, gate_with_a_look):
    torch._dynamo.reset()
    graphs.clear()
    compiled = torch.compile(function, backend=only_count)
    with export.quiet():  # torch tells at length where a graph breaks
        assert torch.equal(compiled(x, h), function(x, h))
    print(f"{function.__name__}: {len(graphs)} graph(s)")
    assert len(graphs) == (1 if function is gate else 2)

# %% [markdown]
# A look at a number (`.item()`, `print`, an `if` on a tensor) **breaks the graph**: the compiler must stop,
# let Python look, and begin anew. Each break is a place where nothing gets merged. New shapes are another
# cost: a graph is made for the shapes it saw, and clips of many lengths may mean many compilations.
#
# What does it gain? Most where a network is many small operations on large tensors, on a GPU. LipNet's
# step is spent in convolutions, which are library calls with or without a compiler, and in the GRUs' loop. A
# CPU needs a C++ compiler for it, and time, so we do not run it here. We did once, on the machine that made
# this page, forward and backward as in section 4: 28 s to compile, and then each took 1.4 times as long as
# without. A fix that is not measured is a belief. Measure yours:
#
# ```python
# model = course_model().to(memory_format=torch.channels_last_3d)
#
# def loss_of(read):
#     return read(model, batch.x, batch.lengths, fast).float().square().mean().backward()
#
# compiled = torch.compile(logits_of)
# compare(lambda: loss_of(compiled), lambda: loss_of(logits_of), CPU)    # .ratio: below 1 is faster
# ```
#
# ## 9. Several processes
#
# With two GPUs, each takes half of the batch, computes its gradients, and both get the sum. `torchrun`
# starts the processes:
#
# ```
# torchrun --nproc-per-node 2 -m lessons train --preset small --data synthetic --out runs/two
# ```
#
# The sum is made by an **all-reduce**: everyone gives a tensor, everyone gets the sum of all. In a ring of
# $N$ processes each sends only to its neighbor. Cut the tensor into $N$ pieces; in $N - 1$ rounds each piece
# collects its sum on the way round; in $N - 1$ more rounds the finished sums go round. We simulate the
# processes in one. **Predict**: eight processes send how many times their tensor, each?


# %%
def ring_all_reduce(tensors):
    """One (F,) a process, N divides F -> (what each has at the end, numbers each one sent, the rounds)."""
    n = len(tensors)
    pieces = [list(tensor.chunk(n)) for tensor in tensors]  # [process][piece]
    sent, rounds = 0, [torch.stack([torch.cat(own) for own in pieces])]  # (N, F) each
    for phase in ("collect", "hand round"):
        for turn in range(n - 1):
            first = 0 if phase == "collect" else 1
            parcels = [(rank + first - turn) % n for rank in range(n)]  # which piece each one sends
            letters = [pieces[rank][piece] for rank, piece in enumerate(parcels)]
            for rank, (piece, letter) in enumerate(zip(parcels, letters, strict=True)):
                neighbor = pieces[(rank + 1) % n]
                neighbor[piece] = neighbor[piece] + letter if phase == "collect" else letter
            sent += len(letters[0])
            rounds.append(torch.stack([torch.cat(own) for own in pieces]))  # (N, F)
    return list(rounds[-1]), sent, rounds


for n in (2, 4, 8):
    given = [torch.randn(840, dtype=torch.float64) for _ in range(n)]
    got, sent, _ = ring_all_reduce(given)
    assert all(torch.allclose(one, sum(given)) and torch.equal(one, got[0]) for one in got)
    assert sent == 2 * (n - 1) / n * 840
    print(f"{n} processes: everyone has the sum; each one sent {sent / 840:.2f} times its tensor")

rounds = ring_all_reduce([torch.ones(4) for _ in range(4)])[2]  # a number then says how many were added up
assert rounds[3].eq(4).sum() == 4 and rounds[6].eq(4).all()  # one finished piece each; then all of them
figures.ring_all_reduce(rounds, title="Four processes (rows), four pieces (columns): how many are added up")

# %% [markdown]
# Each sends $2(N - 1)/N$ times its gradient, less than twice, however many there are. Follow one column:
# after three rounds one process has the whole sum of that piece; three more hand it to the others. And notice
# `torch.equal` in the loop: all get *the same* sum, bit for bit. Otherwise their weights would drift apart.
#
# ### Bug hunt: a mean of means
#
# Four clips, two processes; the first got three clips, the second one (the last batch of an epoch often is
# like this). Each computes its mean loss, and the two gradients are averaged. **Predict**: how much does
# the clip of the second process count?

# %%
_ = torch.manual_seed(0)
net = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1)).double()
x, y = torch.randn(4, 6).double(), torch.randn(4, 1).double()  # (B, F), (B, 1)


def gradient_of(clips, share):
    """The gradient of share times the mean loss of these clips, as one vector."""
    loss = share * F.mse_loss(net(x[clips]), y[clips])
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])


whole = gradient_of([0, 1, 2, 3], 1.0)
mean_of_means = (gradient_of([0, 1, 2], 1.0) + gradient_of([3], 1.0)) / 2
shares = gradient_of([0, 1, 2], 3 / 4) + gradient_of([3], 1 / 4)
off = ((mean_of_means - whole).norm() / whole.norm()).item()
print(f"mean of means: off by {off:.0%} of the gradient's length")
try:
    agree("mean of means", mean_of_means, whole)
except AssertionError as error:
    print("the check fails:", error)
agree("sum of shares", shares, whole)
assert off > 0.1 and (1 / 2) / (1 / 6) == 3

# %% [markdown]
# It counts three times as much as each of the others: 1/2 against 1/6. Nothing crashes; the training is a
# little different from what you believe, and no two numbers of processes agree. `DistributedDataParallel`
# averages the processes' gradients, which is right for parts of equal size alone.
# `lessons.training.distributed` multiplies each process's loss by its *share* of the batch and adds up:

# %%
show(Processes.add_gradients)

# %% [markdown]
# `Part` holds one process's clips of a batch. `share` takes an amount for each clip of the *whole* batch: 1
# for each in a mean over clips, its frames in a mean over frames.

# %%
assert Part([0, 1, 2], 4).share([1] * 4) == 3 / 4 and Part([3], 4).share([1] * 4) == 1 / 4
print("their shares of the batch:", Part([0, 1, 2], 4).share([1] * 4), Part([3], 4).share([1] * 4))

# %% [markdown]
# ### Exercise 4 · `whole_gradient` · difficulty ★★☆ · 8 minutes
#
# Sometimes you have only what the processes have: each one's gradient of *its own mean* loss, and how many
# clips it had. Put them together as one process would have it. A process may have had no clip; its gradient
# is zeros.


# %%
def whole_gradient(gradients, clips):
    """gradients: a list of tensors of one shape, clips: a list of counts -> one tensor."""
    raise NotImplementedError


check("17.whole_gradient", whole_gradient)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def whole_gradient_solution(gradients, clips):
    """Each mean times its clips is a sum again."""
    total = sum(gradient * n for gradient, n in zip(gradients, clips, strict=True))
    return total / sum(clips)


# %%
check("17.whole_gradient", whole_gradient_solution)

# %% [markdown]
# What else can go wrong with several processes: dropout and augmentation drawn anew in each, batch
# normalization over a part of the batch, all processes writing one file. `distributed.py` and
# `whole_batch.py` in `lessons/training` deal with each, and a test holds two processes to the numbers of one.
# And the page "Eight GPUs, thirty-three speakers" (`docs/eight_gpus.md`) works out on paper what a training
# on eight GPUs would cost, and what its bottleneck is: neither the GPUs nor the wires, but the cores, if they
# prepare the clips.
#
# ## 10. Bug hunt: the loop that eats memory
#
# A learner reports: *"After an epoch my training has used up all memory."* The loop has this line, to
# report the mean loss:
#
# ```python
# total = total + loss          # in place of loss.item()
# ```
#
# `loss` is a tensor with its whole graph behind it, and `total` holds on to all the graphs. We count the
# bytes that autograd keeps for backward passes: `saved_tensors_hooks` lets us put each tensor that it saves
# into a box that counts. **Predict** for two loops, one that trains (with
# `backward`), one that only validates (without): which of them grows?


# %%
class Kept:
    """A tensor that a graph keeps for its backward pass; its bytes count as long as the graph holds it."""

    bytes = 0  # of all of them

    def __init__(self, tensor):
        self.tensor = tensor.detach()  # without its own graph, which holds this box
        Kept.bytes += self.tensor.nbytes

    def __del__(self):
        Kept.bytes -= self.tensor.nbytes


def nodes(tensor):
    """Nodes of the graph behind a tensor."""
    seen, waiting = set(), [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [parent for parent, _ in node.next_functions]
    return len(seen)


def run_loop(batches, backward, keep):
    """(bytes held after each batch, nodes of the graph behind the total)."""
    net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 1))
    total, trace = 0.0, []
    with torch.autograd.graph.saved_tensors_hooks(Kept, lambda kept: kept.tensor):  # on the way in, and out
        for _ in range(batches):
            loss = net(torch.ones(128, 64)).square().mean()
            if backward:
                loss.backward()
            total = total + keep(loss)
            del loss
            trace.append(Kept.bytes)
    return trace, nodes(total) if isinstance(total, torch.Tensor) else 0


loops = {
    "validate, + loss": run_loop(10, False, lambda loss: loss),
    "train, + loss": run_loop(10, True, lambda loss: loss),
    "train or validate, + loss.item()": run_loop(10, False, lambda loss: loss.item()),
}
for name, (trace, n_nodes) in loops.items():
    print(f"{name:33} after 1 batch {trace[0]:8,} bytes, after 10 {trace[-1]:9,}; {n_nodes} nodes of a graph")
grows, trains, right = (trace for trace, _ in loops.values())
assert grows[-1] == 10 * grows[0] > 1_000_000 and trains[-1] == trains[0] == right[-1] == 0
assert loops["train, + loss"][1] > 50
figures.curves(
    {name: (range(1, 11), np.array(trace) / 2**20) for name, (trace, _) in loops.items()},
    xlabel="batch",
    ylabel="MiB held",
    title="What autograd holds after each batch",
)

# %% [markdown]
# The one *without* `backward` grows, by all its activations in every batch. `backward()` lets go of what
# was kept for it; what stays after it is the skeleton of the graph, its nodes, a slow leak that takes days
# to notice. Two cures, take both: `total += loss.item()`, and `torch.no_grad()` around what is not trained.

# %%
with torch.no_grad():
    trace, n_nodes = run_loop(10, False, lambda loss: loss)
print("with no_grad, even with + loss:", trace[-1], "bytes,", n_nodes, "nodes")
assert trace[-1] == n_nodes == 0

# %% [markdown]
# `.item()` has a price: on a GPU it waits until the number is there, and so empties the queue of orders. A
# loop that reads its loss once in fifty steps, from `loss.detach()`, waits fifty times less.
#
# ## 11. From scratch against built-in
#
# `python -m lessons bench` (or `make bench`) measures each piece that you wrote in this course beside
# torch's own, in turn, forward and backward. Two of them, live: CTC (notebook 04) and the GRU (notebook
# 03), both at sizes of LipNet's. **Predict**: how many times as slow is a loss written in Python?

# %% tags=["nbval-ignore-output"]
# output not compared: times
for name in ("ctc B32", "gru B8"):
    pair = bench.WORKS[name](lessons.device())
    found = compare(pair.ours, pair.theirs, lessons.device(), pairs=3)
    print(f"{name}: {found.ratio:.2f} times the time of {pair.against}")

# %% [markdown]
# And all of them, measured with more patience and kept in `lessons/trained/bench`:

# %%
for path in sorted(checkpoint.trained_folder("bench").glob("*.json")):
    rows = json.loads(path.read_text(encoding="utf-8"))
    print(f"{rows[0]['device']}, {rows[0]['threads']} thread(s), torch {rows[0]['torch']}")
    print(bench.table(rows), "\n")

# %% [markdown]
# Below 1, ours is the faster. A loop in Python is not slow as such; a loop of *small operations with a
# graph behind each* is. Both pieces have their gradient written by hand, and so need no graph. They are not
# less exact for it:

# %%
_ = torch.manual_seed(0)
logits = torch.randn(75, 4, 28, dtype=torch.float64, requires_grad=True)  # (T, B, V)
targets, lengths = torch.randint(1, 28, (4, 20)), torch.full((4,), 75)
both = []
for loss_of in (ctc_loss, F.ctc_loss):
    loss = loss_of(logits.log_softmax(-1), targets, lengths, torch.full((4,), 20))
    both.append(torch.autograd.grad(loss, logits)[0])
agree("gradient of our CTC loss against torch's", *both, tolerance=1e-9)

# %% [markdown]
# ## 12. Ship it
#
# ### Half the bytes
#
# A trained model is its weights. Stored as float16 they take half the bytes. The trained reader of this
# course is stored so already; to see what that does to a model, we first train it for three steps, so that
# its weights are float32 numbers with all their digits. Its logits reach 20. **Predict**: how far does one
# move when every weight is rounded to 11 significant bits?

# %%
reader = checkpoint.load("lipnet_small_synthetic")
adam = torch.optim.Adam(reader.parameters(), 1e-5)
for _ in range(3):  # in eval mode: dropout and batch statistics stay still
    log_probs = reader(reading.x[:2]).log_softmax(-1)  # (T, 2, V)
    adam.zero_grad()
    ends_at = int(reading.target_lengths[:2].sum())
    F.ctc_loss(
        log_probs, reading.targets[:ends_at], reading.lengths[:2], reading.target_lengths[:2]
    ).backward()
    adam.step()

with tempfile.TemporaryDirectory() as folder:
    sizes, answers = {}, {}
    for name, half in (("float32", False), ("float16", True)):
        path = Path(folder) / f"{name}.safetensors"
        checkpoint.save(reader, path, half=half)
        sizes[name] = path.stat().st_size
        with torch.no_grad():
            answers[name] = checkpoint.load(path)(reading.x)  # (T, B, V)
moved = (answers["float16"] - answers["float32"]).abs().max().item()
said = {name: [alphabet.decode(t) for t in greedy_decode(a, reading.lengths)] for name, a in answers.items()}
print({name: f"{size / 1e6:.1f} MB" for name, size in sizes.items()})
print("largest change of a logit below 0.05:", 0 < moved < 0.05)
print("same sentences:", said["float16"] == said["float32"], "·", said["float16"][0])
assert sizes["float16"] < 0.52 * sizes["float32"] and 0 < moved < 0.05 and said["float16"] == said["float32"]
assert 15 < answers["float32"].max() < 25

# %% [markdown]
# Stored in 16 bits is not *computed* in 16 bits: `load` turns them back into float32.
#
# ### Fewer layers
#
# In `eval` mode a batch normalization multiplies each channel by a number and adds another. A convolution
# before it can take up both, and the layer is gone. Exporters do it for you; it is worth doing once by
# hand.
#
# ### Exercise 5 · `fold` · difficulty ★★☆ · 12 minutes
#
# The convolution gives $y_o = w_o * x + b_o$ for output channel $o$. The norm then gives $\gamma_o\,(y_o -
# \mu_o)/\sqrt{\sigma_o^2 + \varepsilon} + \beta_o$. Find the weight and bias of *one* convolution that
# gives the same.


# %%
def fold(weight, bias, mean, variance, gamma, beta, eps):
    """weight (O, C, kt, kh, kw), the others (O,) -> (weight, bias) of one convolution."""
    raise NotImplementedError


check("17.fold", fold)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def fold_solution(weight, bias, mean, variance, gamma, beta, eps):
    """The filters take up the scale, the bias takes up the rest."""
    scale = gamma / (variance + eps).sqrt()  # (O,)
    return weight * scale.view(-1, 1, 1, 1, 1), (bias - mean) * scale + beta


# %%
check("17.fold", fold_solution)
block = checkpoint.load("lipnet_small_synthetic").stcnn1
with torch.no_grad():
    agree(
        "the reader's first block, norm folded in",
        export.fold_norm(block.conv, block.norm)(reading.x[:1]),
        block.norm(block.conv(reading.x[:1])),
        tolerance=1e-4,
    )

# %% [markdown]
# ### One file for everywhere: ONNX
#
# **ONNX** is a file format for networks: a list of operations with their weights, and no Python.
# `onnxruntime` runs such files on servers, phones and in browsers. (In Colab the next cell installs what is
# needed; elsewhere it came with the course.)

# %%
if "google.colab" in sys.modules:
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "onnx", "onnxruntime", "onnxscript"], check=True
    )

folder = tempfile.TemporaryDirectory()
path = Path(folder.name) / "reader.onnx"
reader = checkpoint.load("lipnet_small_synthetic")
found = export.to_onnx(reader, path)
shipped = export.OnnxReader(path)
print("input", shipped.session.get_inputs()[0].shape, "· output", shipped.session.get_outputs()[0].shape)
for n_frames in (40, 75):
    part = reading.x[:2, :, :n_frames]  # (B, C, T, H, W)
    with torch.no_grad():
        agree(f"onnxruntime against torch, {n_frames} frames", shipped(part), reader(part), tolerance=1e-3)
logits = shipped(reading.x)  # (T, B, V)
texts = [alphabet.decode(t) for t in greedy_decode(logits, reading.lengths)]
with torch.no_grad():
    expected = [alphabet.decode(t) for t in greedy_decode(reader(reading.x), reading.lengths)]
right = sum(text == spoken for text, spoken in zip(texts, films.transcripts, strict=True))
print(f"the same {len(texts)} sentences as torch, {right} of them right:", texts[1])
assert texts == expected and set(found) == {20, 75}

# %% [markdown]
# From the command line: `python -m lessons export lipnet_small_synthetic reader.onnx`, with `--half` for
# half the bytes. Here is how it is made:

# %%
show(export.to_onnx)

# %% [markdown]
# Why all the checking at the end?
#
# ### Bug hunt: the file that fixed T
#
# An exporter lets the model read *one* clip and writes down what happens. Here is a small reader whose
# frames go through a loop, as a learner would write a GRU. It is exported from a clip of 20 frames, with
# the axis declared as free. No error. (The exporters talk a lot, which `export.quiet` hides; not a word of it
# is about frames.) Then it gets 30 frames. **Predict** the shape of its answer.


# %%
class LoopReader(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.GRUCell(8, 4), nn.Linear(4, 5)

    def forward(self, x):
        h, out = x.new_zeros(x.shape[1], 4), []  # x is (T, B, F)
        for t in range(x.shape[0]):
            h = self.cell(x[t], h)  # (B, D)
            out.append(h)
        return self.head(torch.stack(out))  # (T, B, V)


def says_the_same(model, path, n_frames):
    """The check: same shape, same numbers, at this many frames."""
    x = torch.randn(n_frames, 1, 8, generator=torch.Generator().manual_seed(n_frames))  # (T, B, F)
    with torch.no_grad():
        agree(f"{n_frames} frames", export.OnnxReader(path)(x), model(x), tolerance=1e-5)


_ = torch.manual_seed(0)
model = LoopReader().eval()
frozen = Path(folder.name) / "loop.onnx"
axes = {"x": {0: "frames"}, "y": {0: "frames"}}
with export.quiet():
    torch.onnx.export(
        model, (torch.zeros(20, 1, 8),), str(frozen), dynamo=False,
        input_names=["x"], output_names=["y"], dynamic_axes=axes,
    )  # fmt: skip
session = export.OnnxReader(frozen).session
print("frames of the output, as onnxruntime works them out:", session.get_outputs()[0].shape[0])
says_the_same(model, frozen, 20)
try:
    says_the_same(model, frozen, 30)
except AssertionError as error:
    print("the check fails:", error)
else:
    raise AssertionError("the file reads 30 frames: this exporter has learned to see loops")

# %% [markdown]
# 30 frames go in, 20 answers come out: the last ten frames of every clip are thrown away, and nobody is
# told. The exporter saw twenty turns of a Python loop and wrote down twenty steps. At the length you
# exported with, every test passes, so **test at another length**.
#
# "Then I use `nn.GRU`, and torch's new exporter." Torch 2.9 made `dynamo=True` the default. **Predict**:
# what does the *file* say of its own shapes?


# %%
class GRUReader(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru, self.head = nn.GRU(8, 4, bidirectional=True), nn.Linear(8, 5)

    def forward(self, x):
        return self.head(self.gru(x)[0])  # (T, B, F) -> (T, B, V)


model = GRUReader().eval()
for name, choice in {
    "new exporter": {"dynamo": True, "dynamic_shapes": ({0: "frames"},), "verbose": False},
    "older exporter": {"dynamo": False, "dynamic_axes": axes},
}.items():
    path = Path(folder.name) / f"{choice['dynamo']}.onnx"
    try:
        with export.quiet():
            torch.onnx.export(
                model, (torch.zeros(20, 1, 8),), str(path), input_names=["x"], output_names=["y"], **choice
            )
    except torch.onnx.OnnxExporterError as error:  # not the first time: see below
        print(f"{name}: {type(error).__name__}, no file")
        continue
    session = export.OnnxReader(path).session
    print(f"{name}: input {session.get_inputs()[0].shape}, output {session.get_outputs()[0].shape}")
    says_the_same(model, path, 20)
    try:
        says_the_same(model, path, 30)
    except (AssertionError, ValueError) as error:
        print("the check fails:", type(error).__name__)
        assert choice["dynamo"], "the older exporter keeps T free"

# %% [markdown]
# In torch 2.13 the new exporter takes the word "frames" for the input, and has written 20 into the graph
# behind the GRU, and nobody is told: it fails only when the file is *used*, in somebody's phone. (Run the
# cell again in the same notebook, and the same call refuses to export. A silence that depends on what ran
# before is no better.) The older exporter knows the GRU as one operation and keeps T free. So
# `lessons.training.export` uses the older one, and, because this will change with versions, believes
# neither: it keeps no file that has not read other lengths.
#
# <details><summary><b>Help: "my ONNX file gives 20 answers, whatever I give it"</b></summary>
#
# While the exporter watched, the number of frames was a plain number: `range(x.shape[0])`, `int(...)`, a
# length kept in the model. Print `session.get_outputs()[0].shape`. A number in place of a name is a frozen
# axis. A name is no proof, for it may only repeat what you declared. Use a layer in place of the loop, and
# compare with torch at two lengths.
# </details>
#
# ### Phones and browsers
#
# What the file does not contain is your job on the other side:
# - **Before it**: find the mouth, cut it out at the size in the file's metadata, gray, mean 0 and deviation
#   1 over the clip. If the app's crop is not the training's crop, the reader is no reader.
# - **After it**: CTC's greedy decoding is a short loop in any language. The alphabet is in the metadata.
# - **The whole clip first.** Backward GRUs begin at the last frame, so an answer *while* somebody speaks
#   needs the trick of `lessons/lipreading/streaming.py`: convolve each frame once, rerun the GRUs.
# - On phones: `onnxruntime` for Android and iOS. In a browser: `onnxruntime-web`; its WebAssembly backend
#   has the operations of the CPU, its WebGPU backend lists 3-D convolution as missing. (We ran neither.)

# %%
about = shipped.about
print({key: json.loads(about[key]) for key in ("frame_size", "in_channels", "alphabet", "input")})
assert json.loads(about["alphabet"]) == alphabet.symbols
half_path = Path(folder.name) / "half.onnx"
_ = export.to_onnx(reader, half_path, half=True)
full_size, half_size = ((Path(folder.name) / name).stat().st_size for name in ("reader.onnx", "half.onnx"))
print(f"{full_size / 1e6:.1f} MB, stored in float16 {half_size / 1e6:.1f} MB")
small_texts = [
    alphabet.decode(t) for t in greedy_decode(export.OnnxReader(half_path)(reading.x), reading.lengths)
]
assert half_size < 0.52 * full_size and small_texts == texts

# %% [markdown]
# ## Recap
#
# - Warm up, wait for the end, take medians, compare in turn. A profile tells where to look; a clock tells
#   what you won.
# - What is not made faster decides: 65 % of a step in no time at all makes it less than three times as fast.
# - Fix 1, faster arithmetic for the convolutions; fix 2, fewer and larger operations; fix 3, data ahead of
#   time, which gains nothing here and ten times on a fast GPU. After each fix, profile again.
# - Multiply in 16 bits, add in 32. A running sum, such as a GRU's memory, stands still in bfloat16. float16
#   needs its loss scaled.
# - Processes add *shares*; a mean of means weighs a clip by its luck.
# - A tensor kept is a graph kept. `loss.item()`, `no_grad`.
# - An exported file is believed after it has read another length than the one it was made from.

# %%
assert 2.8 < whole_speedup_solution([0.65, 0.35], [1e12, 1]) < 3
folder.cleanup()

# %% [markdown]
# ## Glossary
#
# | word | meaning |
# |---|---|
# | profile | a table of operations: how often, how long |
# | synchronize | wait until a device has done all work that it was given |
# | Amdahl's law | what is not made faster limits what the whole can gain |
# | throughput | clips a second |
# | float16, bfloat16 | two ways to spend 16 bits: more digits, or a larger range |
# | mixed precision | products in 16 bits; sums, weights and recurrences in 32 |
# | autocast | torch's switch for it: chosen operations cast their inputs down |
# | loss scaling | multiplying the loss so that small gradients can be held in float16 |
# | fused optimizer | all weights moved by one operation in place of twenty for each |
# | critical path | the work that everything else waits for |
# | graph break | a place where a compiler must stop because Python looks at a number |
# | all-reduce | everyone gives a tensor, everyone gets the sum |
# | mean of means | the mean of parts' means, which is not the mean unless the parts are equally large |
# | folding | letting a convolution take up the normalization after it |
# | ONNX | a file format for networks, run without Python |
# | tracing | exporting by watching one example run |
#
# ## Sources
#
# - P. Micikevicius et al., *Mixed Precision Training*, [arXiv
#   1710.03740](https://arxiv.org/abs/1710.03740): weights in float32, loss scaling.
# - D. Kalamkar et al., *A Study of BFLOAT16 for Deep Learning Training*,
#   [arXiv 1905.12322](https://arxiv.org/abs/1905.12322).
# - G. Amdahl, *Validity of the single processor approach to achieving large scale computing capabilities*,
#   AFIPS 1967.
# - PyTorch documentation: [automatic mixed precision](https://pytorch.org/docs/stable/amp.html),
#   [profiler](https://pytorch.org/docs/stable/profiler.html),
#   [ONNX export](https://pytorch.org/docs/stable/onnx.html).
# - ONNX Runtime Web, npm package 1.24.3, `README.md` and `docs/webgpu-operators.md`: what its backends know.
# - NVIDIA, nccl-tests, [Performance](https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md):
#   how much a ring sends.
#
# **Next**: there is no notebook 17. Take a piece of this course that you use and make it faster, smaller or
# clearer; the tests will tell you whether it still says the same.
