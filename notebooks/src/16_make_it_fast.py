# %% [markdown]
# # 16 · Make it fast
#
# **You will measure where a training step of LipNet spends its time, speed it up in three places, measure
# each gain, and compare the accuracy before and after.**
#
# *Core path: about 50 minutes; deeper sections: about 20; all cells together run in
# about 60 seconds on one CPU core.*
#
# **You need**: memory formats (notebook 01), the GRU (03), LipNet's shapes (06), the training step (09).
#
# **You will be able to**
# - time code correctly, with warm-up, synchronization and a median;
# - read a profile, and predict how much a speed-up can gain at most;
# - say what float16 and bfloat16 can represent, and what has to stay in float32;
# - decide whether data loading limits your throughput;
# - check that a faster training is still as accurate.
#
# The method is always the same: **profile, find the bottleneck, fix it, measure**. Times differ from machine
# to machine, so the figures of times are *yours* once you run the cells.

# %%
import json
import os
import statistics
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from IPython.display import display
from torch import nn

import lessons
from lessons import figures
from lessons.checks import agree, check, use
from lessons.checks.make_it_fast import Device
from lessons.ctc import ctc_loss
from lessons.data.batch import training_batch
from lessons.data.clips import ClipSet
from lessons.data.synthetic.talker import Speaker, synthetic_clips, talk
from lessons.layers.gru import GRU
from lessons.lipreading.lipnet import LipNet
from lessons.lipreading.plain_lipnet import PlainLipNet, plain_step
from lessons.measure import bench
from lessons.measure.counting import count
from lessons.measure.profiler import KINDS, where_time_goes
from lessons.measure.timing import seconds
from lessons.source import show
from lessons.training import checkpoint, export
from lessons.training.precision import best_precision, logits_of

CPU = torch.device("cpu")
GPU = lessons.device().type == "cuda"

# %% [markdown]
# ## 1. The baseline
#
# `PlainLipNet` is LipNet as people commonly write it in PyTorch: the layers in the paper's order, everything
# in float32, the default optimizer. `plain_step` is one training step.

# %%
show(PlainLipNet.forward)

# %%
show(plain_step)

# %% [markdown]
# To keep this notebook short we take **two clips of 16 frames**. A real batch has tens of clips of 75 frames.
# The model is the full LipNet with 6.6 million weights. So work that is done once per step, such as updating
# the weights, takes a larger fraction here than in a real training.


# %%
def short_clips(sentences, size=(64, 128), n_frames=16, seed=0):
    """Short sentences of one synthetic speaker as a ClipSet."""
    speaker, frames, segments = Speaker.random(np.random.default_rng(3)), [], []
    for i, sentence in enumerate(sentences):
        clip, words = talk(sentence, speaker, np.random.default_rng([seed, i]), size, n_frames)
        frames.append(clip)  # (T, H, W)
        segments.append(tuple(words))
    lengths = np.full(len(sentences), n_frames)
    names = tuple(map(str, range(len(sentences))))
    return ClipSet(np.stack(frames), lengths, names, tuple(sentences), tuple(segments))


clips = short_clips(["lay red", "bin blue", "set white", "lay green"])
batch = training_batch(clips, [0, 1], None, channels=3)
print("x", tuple(batch.x.shape))

_ = torch.manual_seed(0)
start = LipNet(dropout=0.0)  # no dropout, so that losses can be compared
plain = PlainLipNet(dropout=0.0).load(start)
with torch.no_grad():
    agree("plain port and lessons.LipNet", plain(batch.x), start(batch.x), tolerance=1e-4)

# %% [markdown]
# ## 2. Timing correctly
#
# How long does a step take? There are three common mistakes.
#
# 1. **The first call is slow.** It loads code, chooses algorithms, fills caches and allocates memory.
# 2. **A call may return before the work is done.** A GPU runs asynchronously: Python queues the work and
#    goes on.
# 3. **Other programs use the machine.** One disturbed call of ten moves a mean a lot.
#
# ### Bug hunt: the network that takes no time
#
# `Device` simulates an asynchronous device with its own clock, so the true time is known. Each call takes
# 20 ms, the first one 900 ms more, and every call returns at once. **Predict** what two usual ways of timing
# report: one call between two readings of the clock; ten calls and a wait, divided by ten.

# %% tags=["predict"]
device = Device(costs=[0.020], first=0.920)  # seconds
began = device.clock()
device.work()
once = device.clock() - began

device = Device(costs=[0.020], first=0.920)
began = device.clock()
for _ in range(10):
    device.work()
device.wait()
ten = (device.clock() - began) / 10
print(f"one call: {1000 * once:.1f} ms · ten calls and a wait: {1000 * ten:.0f} ms each · true: 20 ms")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert once < 0.001 and 0.1 < ten < 0.125

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The first way measured how long it takes to *queue* the work: 200 times too short. The second waited for the
# device, but also counted the slow first call: more than five times too long. On a GPU the wait is
# `torch.cuda.synchronize()`.
#
# </details>
#
# ### Exercise 1 · `fair_seconds` · difficulty ★★☆ · 12 minutes
#
# Call `work()` once without timing it, and let it finish. Then time `repeats` calls, each one separately and
# until it is done. Return the median. `clock()` returns seconds; `wait()` returns when all queued work is
# done.


# %%
def fair_seconds(work, clock, wait, repeats):
    """The median time of one call of work(), in seconds.

    work, wait: functions without arguments; clock: a function that returns a float, in seconds.
    repeats: an integer, 1 or more -> a number.
    """
    raise NotImplementedError


check("16.fair_seconds", fair_seconds)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def fair_seconds_solution(work, clock, wait, repeats):
    """Warm up and wait; then read the clock, work, wait, and read it again."""
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
fair_seconds = use("16.fair_seconds", fair_seconds, fair_seconds_solution)
device = Device(costs=[0.020], first=0.920)
print(f"{1000 * fair_seconds(device.work, device.clock, device.wait, 5):.0f} ms")

# %% [markdown]
# To compare two versions, run them **in turn**, as `timing.compare` in the package does: then a busy machine
# slows down both. A gain smaller than the spread is not a gain.
#
# ## 3. Profile, and Amdahl's law
#
# Find out what is slow before you make anything faster. `torch.profiler` records the start and end of every
# operation. `where_time_goes` sums them up by kind of layer, forward and backward together.
#
# **Predict**: which kind takes most time? Which has most *operations*?

# %% tags=["measured", "predict"]
optimizer = torch.optim.Adam(plain.parameters(), 1e-4)


def plain_once():
    return plain_step(plain, optimizer, batch.x, batch.targets, batch.target_lengths)


plain_once()  # warm up
costs = where_time_goes(plain_once, plain)
calls = {kind: cost.calls for kind, cost in costs.items()}
print("over 80 % of the operations belong to the GRUs:", calls["GRU"] > 0.8 * sum(calls.values()))
print("under 2 % to the convolutions:", calls["convolution"] < 0.02 * sum(calls.values()))
milliseconds = [[round(costs[kind].ms) for kind in KINDS]]
figures.layer_costs(["plain port"], KINDS, {"milliseconds per step, under the profiler": milliseconds})

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert calls["GRU"] > 0.8 * sum(calls.values()) > 4000
assert calls["convolution"] < 0.02 * sum(calls.values())
multiply_adds = {"conv": 0, "gru": 0}
for row in count(start.eval(), batch.x).rows:
    for kind in multiply_adds:
        multiply_adds[kind] += row.multiply_adds if kind in row.name else 0
assert multiply_adds["conv"] > 10 * multiply_adds["gru"]
_ = start.train()

# %% [markdown]
# There are two kinds of slow code.
# - **Much arithmetic** in few operations: the convolutions have more than ten times the multiply-adds of the
#   GRUs. The remedy is faster arithmetic.
# - **Many operations** with little arithmetic each: the GRUs, which run frame by frame, and the optimizer,
#   which does more than twenty per weight tensor. The remedy is fewer, larger operations.
#
# **Amdahl's law.** A part with share $p_i$ of the time that becomes $s_i$ times as fast takes $p_i / s_i$
# afterwards. So the whole becomes
#
# $$\frac{\sum_i p_i}{\sum_i p_i / s_i}\quad\text{times as fast.}$$
#
# ### Exercise 2 · `whole_speedup` · difficulty ★☆☆ · 5 minutes


# %%
def whole_speedup(shares, factors):
    """How many times as fast the whole becomes, a number.

    shares: a list of numbers, the time of each part in any unit.
    factors: a list of numbers, how many times as fast each part becomes.
    """
    raise NotImplementedError


check("16.whole_speedup", whole_speedup)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def whole_speedup_solution(shares, factors):
    """The time before over the time after."""
    after = sum(share / factor for share, factor in zip(shares, factors, strict=True))
    return sum(shares) / after


# %% [markdown]
# **Predict**: convolutions take 65 % of a step, and you make them four times as fast. How many times as fast
# is the step? And if they took no time at all?

# %% tags=["predict"]
whole_speedup = use("16.whole_speedup", whole_speedup, whole_speedup_solution)
print(f"65 % four times as fast: the step {whole_speedup([0.65, 0.35], [4, 1]):.2f} times")
print(f"65 % in no time at all:  the step {whole_speedup([0.65, 0.35], [4e9, 1]):.2f} times")
gains = np.logspace(0, 3)  # speed-up of the part: 1 to 1000
figures.curves(
    {
        f"{100 * p:.0f} % of the step": (gains, [float(whole_speedup([p, 1 - p], [g, 1])) for g in gains])
        for p in (0.3, 0.65, 0.9)
    },
    xlabel="speed-up of the part",
    ylabel="speed-up of the step",
    logx=True,
    title="Amdahl's law: the rest limits the gain",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert abs(whole_speedup([0.65, 0.35], [4, 1]) - 1.95) < 0.01
assert 2.8 < whole_speedup([0.65, 0.35], [1e12, 1]) < 3

# %% [markdown]
# ## 4. Fix 1: memory layout and mixed precision for the convolutions
#
# **Layout.** The default order of `(B, C, T, H, W)` keeps the pixels of a row next to each other in memory. A
# convolution sums over channels, and fast kernels want the channels of a pixel next to each other:
# `channels_last_3d`. Shapes and values stay the same; the strides change.

# %%
small = torch.zeros(2, 3, 16, 64, 128)  # (B, C, T, H, W)
last = small.contiguous(memory_format=torch.channels_last_3d)
print("strides of (B, C, T, H, W):", small.stride(), "→", last.stride())

# %% [markdown]
# **Number format.** Half as many bits mean half the memory traffic. Recent CPUs and GPUs also have units that
# multiply 16-bit numbers several times as fast. There are two ways to spend 16 bits:

# %%
FORMATS = {"float32": (8, 23), "float16": (5, 10), "bfloat16": (8, 7)}  # bits of exponent, fraction
for name in FORMATS:
    info = torch.finfo(getattr(torch, name))
    print(
        f"{name:9} largest {info.max:.2g}, smallest normal {info.tiny:.2g}, next after 1: 1 + {info.eps:.2g}"
    )
figures.number_bits(FORMATS, title="How 16 bits are spent")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert torch.equal(small, last) and last.stride()[1] == 1 == small.stride()[4]
for name, (exponent, fraction) in FORMATS.items():
    info = torch.finfo(getattr(torch, name))
    assert info.eps == 2.0**-fraction and info.bits == 1 + exponent + fraction

# %% [markdown]
# bfloat16 has float32's exponent: the same range, with two to three decimal digits. float16 has three to four
# digits and a small range, up to 65,504. Both are precise enough for products. Long **sums** are the problem.
#
# **Predict**: what is 256 + 1 in bfloat16? What is the sum of a thousand ones, added one by one?

# %% tags=["predict"]
ones = torch.ones(1000, dtype=torch.bfloat16)
one_by_one = torch.zeros((), dtype=torch.bfloat16)
for one in ones:
    one_by_one = one_by_one + one
pixel = F.conv3d(ones.view(1, 1000, 1, 1, 1), ones.view(1, 1000, 1, 1, 1))  # (1, 1, 1, 1, 1)
print("256 + 1 =", (ones[0] * 256 + 1).item(), "· a thousand ones, one by one:", one_by_one.item())
print("the same inside a convolution over a thousand channels:", pixel.item())

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert one_by_one == 256 and ones.sum() == 1000 and pixel == 1000 and ones[0] * 256 + 1 == 256
assert torch.finfo(torch.float16).max == 65504

# %% [markdown]
# A *convolution* is safe: it multiplies 16-bit numbers and accumulates in float32. A **GRU's hidden state**
# is not. It is a running sum, $h \leftarrow h + (1 - z)(n - h)$. Below, $1 - z = 0.002$ and the candidate is
# 1, so the hidden state should approach 1.

# %%
runs = {}
for name, kind in {"in float32": torch.float32, "in bfloat16": torch.bfloat16}.items():
    h, run = torch.zeros((), dtype=kind), []
    for _ in range(2000):
        h = (h.float() + 0.002 * (1 - h.float())).to(kind)
        run.append(h.item())
    runs[f"stored {name}"] = run
figures.curves(
    runs, xlabel="step", ylabel="hidden state h", title="A slow hidden state gets stuck in bfloat16"
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
in_float32, in_bfloat16 = runs.values()
assert in_bfloat16[250] > in_float32[250]
assert in_float32[-1] > 0.98 and in_bfloat16[-1] == in_bfloat16[1000] == 0.5
weight = torch.tensor(0.05, dtype=torch.bfloat16)
assert (weight.float() + 1e-4).bfloat16() == weight  # a step of a usual learning rate

# %% [markdown]
# At 0.5 the next bfloat16 number is 1/256 away. An update of 0.001 is less than half of that, so it is
# rounded away every time. (Before that, some updates are rounded *up*: the orange line is above the blue
# one.) The same happens to weights: an update of 1e-4 leaves a weight of 0.05 unchanged.
# Therefore:
#
# | stays in float32 | goes to 16 bits |
# |---|---|
# | weights, optimizer, GRUs, sums in normalization, softmax, CTC | convolutions and their activations |
#
# This is **mixed precision**, and `torch.autocast` does it: inside it a convolution casts its inputs down.
# `LipNet.forward` switches autocast off before its GRUs.

# %%
show(logits_of)


# %% [markdown]
# Not every processor has units for bfloat16. Without them every number must be converted, which is slower.
# `best_precision` times a small convolution and returns the faster format. **Measure** four versions of the
# step, in turn, without the profiler. The title of the figure says which format your machine used.


# %% tags=["measured"]
def course_model():
    """LipNet with the same initial weights."""
    model = LipNet(dropout=0.0)
    model.load_state_dict(start.state_dict())
    return model


def step_of(model, precision, fused, batch=batch):
    """A training step, channels last, as a function without arguments; and its model."""
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


def measured(ladder, batch=batch, rounds=3):
    """Clips per second of each step: some rounds in turn, after one that warms up."""
    times = {name: [] for name in ladder}
    for round_ in range(rounds + 1):
        for name, step in ladder.items():
            took = seconds(step, batch.x.device)
            if round_:
                times[name].append(took)
    return {name: [len(batch.lengths) / t for t in took] for name, took in times.items()}


fast = best_precision(CPU)  # bfloat16 where this processor multiplies it, else float32
fused_step, fused_model = step_of(course_model(), fast, fused=True)
ladder = {
    "plain port": plain_once,
    "+ layout": step_of(course_model(), torch.float32, fused=False)[0],
    "+ best precision": step_of(course_model(), fast, fused=False)[0],
    "+ fused optimizer": fused_step,
}
rates = measured(ladder)
figures.throughput(rates, title=f"2 clips of 16 frames, one CPU core, convolutions in {str(fast)[6:]}")

# %% [markdown]
# The last bar is the next section's fix. Thin lines show the spread: call a difference smaller than that a
# draw.
#
# ## 5. Fix 2: fewer, larger operations
#
# Once the convolutions are fast, the optimizer matters. Adam calls more than twenty operations for each of
# the 24 weight tensors. `fused=True` does all of it in one call. **Predict**: does it change the weights?

# %% tags=["predict"]
weights = [torch.linspace(-1, 1, 7, dtype=torch.float64).requires_grad_() for _ in range(2)]
for weight, is_fused in zip(weights, (False, True), strict=True):
    adam = torch.optim.Adam([weight], 0.1, fused=is_fused)
    for _ in range(20):
        adam.zero_grad()
        weight.square().sum().backward()
        adam.step()
agree("20 steps of Adam, fused and not", weights[1].detach(), weights[0].detach())
fewer = where_time_goes(fused_step, fused_model)["optimizer"].calls < calls["optimizer"] / 2
print("the fused optimizer makes fewer than half the calls:", fewer)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert fewer and calls["optimizer"] > 20 * 24 and len(list(plain.parameters())) == 24

# %% [markdown]
# It does not, except for rounding. **A profile tells you where to look. Only a measurement tells you what you
# have won.**
#
# **On a GPU** the gains differ. If you have one, the next cell measures it with 16 clips of 75 frames, and
# compares the losses of the first six steps before it does. Without a GPU it does nothing. (No GPU was
# available for this page.)

# %%
if GPU:
    device = lessons.device()
    large = training_batch(synthetic_clips(16, seed=5, size=(64, 128)), range(16), None, 3, device=device)
    plain_there = PlainLipNet(dropout=0.0).load(start).to(device)
    adam_there = torch.optim.Adam(plain_there.parameters(), 1e-4)
    large_targets = (large.targets, large.target_lengths)
    fast_there = best_precision(device)
    ladder_there = {
        "plain port": lambda: plain_step(plain_there, adam_there, large.x, *large_targets),
        "+ layout": step_of(course_model(), torch.float32, False, large)[0],
        "+ best precision": step_of(course_model(), fast_there, False, large)[0],
        "+ fused optimizer": step_of(course_model(), fast_there, True, large)[0],
    }
    losses_there = {name: [step() for _ in range(6)] for name, step in ladder_there.items()}
    baseline = np.array(losses_there["plain port"])
    for name, losses in losses_there.items():
        print(f"{name}: losses within {np.abs(losses / baseline - 1).max():.1%} of the baseline's")
    on_gpu = figures.throughput(
        measured(ladder_there, large), title=f"16 clips of 75 frames, {torch.cuda.get_device_name(device)}"
    )
    display(on_gpu)

# %% [markdown]
# ## 6. Is it still as accurate?
#
# A speed-up that costs accuracy must be reported as such, and equal losses on a few steps prove little. So we
# train a small classifier to the end: which of four words does the speaker say? It has two 3D convolutions,
# a GRU and a linear layer. We train it with three seeds, in float32 and in mixed precision, and test it on
# 96 new clips of the same speaker.
#
# So that every machine can run it, `RoundedConv` emulates a bfloat16 unit: it rounds inputs, weights and
# results to bfloat16 (in the backward pass, too), and accumulates in float32.


# %%
class RoundedConv(nn.Conv3d):
    """A convolution of bfloat16 numbers that accumulates in float32."""

    def forward(self, x):
        x, weight, bias = (v.bfloat16().float() for v in (x, self.weight, self.bias))
        return self._conv_forward(x, weight, bias).bfloat16().float()  # (B, C, T, H, W)


class WordNet(nn.Module):
    def __init__(self, conv):
        super().__init__()
        first = (conv(1, 8, (3, 5, 5), (1, 2, 2), (1, 2, 2)), nn.ReLU(), nn.MaxPool3d((1, 2, 2)))
        second = (conv(8, 16, 3, 1, 1), nn.ReLU(), nn.MaxPool3d((1, 2, 2)))
        self.convolutions = nn.Sequential(*first, *second)
        self.gru, self.head = nn.GRU(16 * 4 * 8, 32), nn.Linear(32, 4)

    def forward(self, x):
        x = self.convolutions(x)  # (B, 16, T, 4, 8)
        x = x.permute(2, 0, 1, 3, 4).flatten(2)  # (T, B, 512)
        return self.head(self.gru(x)[0][-1])  # (B, 4)


def word_clips(n, seed):
    """n clips (n, 1, 10, 32, 64) of four words, and the words' numbers (n,)."""
    said = short_clips([("bin", "lay", "place", "set")[i % 4] for i in range(n)], (32, 64), 10, seed)
    return training_batch(said, range(n), None).x, torch.arange(n) % 4


x_train, y_train = word_clips(64, seed=0)
x_test, y_test = word_clips(96, seed=1)


def train_words(conv, fused, seed, steps=60, every=20):
    """Test accuracy during one training."""
    _ = torch.manual_seed(seed)
    net, curve = WordNet(conv), []
    adam = torch.optim.Adam(net.parameters(), 2e-3, fused=fused)
    for step in range(1, steps + 1):
        rows = torch.randperm(64)[:12]
        adam.zero_grad()
        F.cross_entropy(net(x_train[rows]), y_train[rows]).backward()
        adam.step()
        if step % every == 0:
            with torch.no_grad():
                curve.append((net(x_test).argmax(1) == y_test).double().mean().item())
    return curve


accuracies = {
    name: np.array([train_words(conv, fused, seed) for seed in range(3)])  # (seeds, points)
    for name, conv, fused in (("float32", nn.Conv3d, False), ("bfloat16, fused", RoundedConv, True))
}
final = {name: curves[:, -1] for name, curves in accuracies.items()}
apart = abs(final["float32"].mean() - final["bfloat16, fused"].mean())
print("every training ends above 90 %:", all((a > 0.9).all() for a in final.values()))
print("the means of three seeds differ by less than 3 percentage points:", apart < 0.03)
figures.curves(
    {
        f"{name}, seed {seed}": (range(20, 61, 20), 100 * curve)
        for name, curves in accuracies.items()
        for seed, curve in enumerate(curves)
    },
    xlabel="training step",
    ylabel="test accuracy, %",
    title="Three seeds, two number formats",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert all((a > 0.9).all() for a in final.values()) and apart < 0.03
on_the_way = np.stack([curves[:, :-1] for curves in accuracies.values()])  # (formats, seeds, points)
assert np.ptp(on_the_way, axis=1).min() > np.ptp(on_the_way, axis=0).max()

# %% [markdown]
# The seeds differ more from each other, on the way, than the number formats do. That is evidence for this
# task and this network, not a proof for yours. For a model that you ship, train it both ways and compare on
# your validation set.
#
# ## 7. Fix 3: prepare the next batch during the current step
#
# The profiler saw only the step. But before a step its clips are collected, mirrored and normalized. What
# could it gain if another worker did that?


# %%
def make(i):
    """Batch i of two clips; its random numbers depend on i only."""
    return training_batch(clips, [i % 4, (i + 1) % 4], np.random.default_rng(i), channels=3)


# %% tags=["nbval-ignore-output"]
# output not compared: times
prepare_ms = 1000 * float(fair_seconds(lambda: make(0), time.perf_counter, lambda: None, 5))
learn_ms = 1000 * len(batch.lengths) / statistics.median(rates["+ fused optimizer"])
gain = whole_speedup([prepare_ms, learn_ms], [1e9, 1])
print(f"prepare {prepare_ms:.0f} ms, learn {learn_ms:.0f} ms: at most {gain:.2f} times as fast")

# %% [markdown]
# On one CPU core that is little. But a GPU makes the step much shorter. If preparing takes $a$ ms and a step
# $t$ ms, $n$ batches take $n(a + t)$ one after the other. With one helper that prepares the next batch
# during the current step (**prefetching**), they take $a + (n - 1)\max(a, t) + t$.
#
# **Predict**: a GPU needs 84 ms for a step of 50 clips, and one core needs 20 ms per clip to prepare them
# (the estimates in `docs/eight_gpus.md`). What does one helper gain? How many helpers keep the GPU busy?


# %% tags=["predict"]
def schedule(prepare, learn, n, helpers):
    """When each worker is busy: worker -> (start, end, batch)."""
    lanes = {f"helper {i + 1}": [] for i in range(helpers)}
    names, free, learned = list(lanes), [0.0] * helpers, []
    for b in range(n):
        who = b % helpers
        ready = free[who] + prepare
        lanes[names[who]].append((free[who], ready, b))
        free[who] = ready
        begin = max(ready, learned[-1][1] if learned else 0.0)
        learned.append((begin, begin + learn, b))
    return {**lanes, "training": learned}


def end_of(lanes):
    return max(end for lane in lanes.values() for _, end, _ in lane)


for name, a, t, helpers in (
    ("a CPU: 15 ms and 200 ms, one helper", 15, 200, 1),
    ("a GPU: 1000 ms and 84 ms, one helper", 1000, 84, 1),
    ("a GPU: 1000 ms and 84 ms, eight helpers", 1000, 84, 8),
    ("a GPU: 1000 ms and 84 ms, twelve helpers", 1000, 84, 12),
):
    helped = end_of(schedule(a, t, 100, helpers))
    print(f"{name}: {100 * (a + t) / helped:.2f} times as fast; training {100 * t / helped:.0%} of the time")

figures.gantt_chart(
    {
        "one helper": schedule(60, 84, 5, 1),
        "step four times as fast, one helper": schedule(60, 21, 5, 1),
        "step four times as fast, three helpers": schedule(60, 21, 5, 3),
    },
    title="Five batches: milliseconds until all are learned",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert end_of(schedule(15, 200, 100, 1)) == 15 + 99 * 200 + 200
gpu = {helpers: 100 * 1084 / end_of(schedule(1000, 84, 100, helpers)) for helpers in (1, 8, 12)}
assert gpu[1] < 1.1 and gpu[8] > 7 and gpu[12] > 10

# %% [markdown]
# **One** helper gains 7 to 8 % in both cases, for opposite reasons. On the CPU the step takes nearly all the
# time. With the GPU the helper itself is the bottleneck, and the GPU is idle nine tenths of the time. There
# it takes about twelve helpers, and then the gain is more than tenfold. Try other numbers:

# %% tags=["nbval-ignore-output"]
# output not compared: the sliders are widgets, which live only while the notebook runs
from ipywidgets import interact


@interact(prepare=(5, 120, 5), learn=(5, 120, 5), helpers=(1, 5))
def workers(prepare=60, learn=20, helpers=2):
    title = f"{end_of(schedule(prepare, learn, 5, helpers)):.0f} ms, {5 * (prepare + learn)} without helpers"
    return figures.gantt_chart({"your choice": schedule(prepare, learn, 5, helpers)}, title=title)


# %% [markdown]
# The simplest helper is a thread with a queue. NumPy and torch release Python's global interpreter lock
# (GIL) while they compute, so the helper can run beside the step **if a second core is free**. Work in pure
# Python holds the lock; for that `DataLoader(num_workers=...)` uses processes.


# %%
def ahead(make, indices, depth=2):
    """Yield make(i) for each index, prepared by another thread, at most `depth` batches in advance."""
    with ThreadPoolExecutor(1) as helper:
        queue = deque()
        for i in indices:
            queue.append(helper.submit(make, i))  # returns at once
            if len(queue) > depth:
                yield queue.popleft().result()  # waits for it; an error in make() is raised here
        while queue:
            yield queue.popleft().result()


same = all(torch.equal(helped.x, make(i).x) for i, helped in enumerate(ahead(make, range(6))))
print("six batches, prepared ahead: the same, in the same order:", same)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert same
try:
    list(ahead(lambda i: 1 // (2 - i), range(4)))
except ZeroDivisionError:
    pass
else:
    raise AssertionError("the helper's error was lost")

# %% [markdown]
# **Measure** it in two settings. In the first, the real step learns on the CPU. In the second, a stand-in for
# a GPU learns: it *sleeps* for as long as preparing takes, so the core is free. The stand-in shows the best
# case, not a real GPU's gain.


# %% tags=["measured"]
def batches_per_second(batches, learn):
    """By the wall clock, since the process's own clock stands still while it waits."""
    began, n = time.perf_counter(), 0
    for _ in batches:
        learn()
        n += 1
    return n / (time.perf_counter() - began)


cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def alone_and_helped(learn, n, rounds):
    """Batches per second, some rounds in turn."""
    speeds = {"alone": [], "with a helper": []}
    for _ in range(rounds):
        speeds["alone"].append(batches_per_second(map(make, range(n)), learn))
        speeds["with a helper"].append(batches_per_second(ahead(make, range(n)), learn))
    return speeds


figures.throughput(
    alone_and_helped(fused_step, n=3, rounds=2),
    unit="batches per second",
    title=f"Prefetching for the real step, {cores} cores",
)

# %% tags=["measured"]
figures.throughput(
    alone_and_helped(lambda: time.sleep(prepare_ms / 1000), n=12, rounds=3),
    unit="batches per second",
    title="Prefetching for a device that sleeps",
)

# %% [markdown]
# With 12 batches, the sleeping device can gain at most $2n/(n + 1) = 1.85$ times. The real step gains at most
# what the cell above printed.
#
# ## Deeper: pool before ReLU, and the GRU in one scan
#
# A maximum and a ReLU commute, since ReLU preserves order:
# $\max_i \mathrm{ReLU}(x_i) = \mathrm{ReLU}(\max_i x_i)$. Pool first, and the ReLU processes a quarter of the
# values. The gradients are equal, too.

# %%
x = torch.randn(2, 4, 3, 8, 8, dtype=torch.float64, requires_grad=True)  # (B, C, T, H, W)
pool = nn.MaxPool3d((1, 2, 2))
orders = [pool(F.relu(x)), F.relu(pool(x))]  # (B, C, T, H/2, W/2) each
upstream = torch.randn(2, 4, 3, 4, 4, dtype=torch.float64)
gradients = [torch.autograd.grad(y, x, upstream)[0] for y in orders]
agree("values", *orders, tolerance=0)
agree("gradients", *gradients, tolerance=0)
print(f"if ReLUs take 5 %: the step becomes {whole_speedup([0.05, 0.95], [4, 1]):.2f} times as fast")

# %% [markdown]
# Amdahl's law says that the gain is at most 4 %. The clock will hardly show it.
#
# Most *operations* belong to the GRUs. `lessons.layers.gru.GRU` has a backward pass written by hand and needs
# fewer. Is the step faster with it?


# %% tags=["measured"]
def with_our_gru():
    """The same weights, with the GRU of notebook 03."""
    model = course_model()
    for name in ("gru1", "gru2"):
        theirs = getattr(model, name)
        ours = GRU(theirs.input_size, theirs.hidden_size, bidirectional=True)
        ours.load_state_dict(theirs.state_dict())
        setattr(model, name, ours)
    return model


scan, scan_model = step_of(with_our_gru(), fast, fused=True)
fewer_calls = where_time_goes(scan, scan_model)["GRU"].calls < 0.75 * calls["GRU"]
print("fewer than three quarters of the GRU's calls:", fewer_calls)
figures.throughput(measured({"nn.GRU": fused_step, "our GRU": scan}, rounds=2), title="The GRU in one scan")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert fewer_calls and whole_speedup([0.05, 0.95], [4, 1]) < 1.04

# %% [markdown]
# On a GPU cuDNN runs a whole GRU in a few calls, so there our scan has no such advantage.
#
# ## Deeper: float16 and loss scaling
#
# Older GPUs have units for float16 but not for bfloat16. In float16 the smallest number above 0 is about
# 6e-8, and less than half of it is rounded to 0. Take the trained reader of notebook 09, and look at the
# gradients at the output of its first convolution. **Predict**: what fraction underflows to 0?

# %% tags=["predict"]
kept = {}


def keep_gradient(layer, inputs, out):
    out.register_hook(lambda gradient: kept.update(gradient=gradient.detach().clone()))


reader = checkpoint.load("lipnet_small_synthetic")
reading = training_batch(synthetic_clips(4, seed=77), range(4), None)
handle = reader.stcnn1.conv.register_forward_hook(keep_gradient)
log_probs = reader(reading.x).log_softmax(-1)  # (T, B, V)
F.ctc_loss(log_probs, reading.targets, reading.lengths, reading.target_lengths).backward()
handle.remove()
pixels = kept["gradient"].flatten()  # (B*16*T*16*32,)
pixels = pixels[pixels != 0][::10]
LIMITS = {"smallest": 2.0**-24, "normal": torch.finfo(torch.float16).tiny, "largest": 65504.0}
lost = {scale: (pixels * scale).half().eq(0).float().mean().item() for scale in (1.0, 2.0**12)}
print("unscaled, more than a quarter become 0:", lost[1.0] > 1 / 4)
print("with the loss times 4096, fewer than one in fifty:", lost[2.0**12] < 0.02)
figures.number_range(
    {"unscaled": pixels, "loss times 4096": pixels * 2.0**12},
    **LIMITS,
    title="Gradients at the first convolution, and the range of float16",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert lost[1.0] > 1 / 4 and lost[2.0**12] < 0.02

# %% [markdown]
# The backward pass is linear. Multiply the *loss* by 4096, and every gradient becomes 4096 times as large.
# Before the update, divide again, in float32. The best scale is not known in advance. `torch.amp.GradScaler`
# starts high, halves the scale and *skips the step* when a gradient is infinite or NaN, and doubles it after
# 2,000 good steps in a row.
#
# ### Exercise 3 · `unscaled` · difficulty ★★☆ · 10 minutes
#
# Write its core. You are given float16 gradients of a loss that was multiplied by `scale`. Return the
# gradients of the loss without the scale, and whether the step may be taken.


# %%
def unscaled(gradients, scale):
    """(list of float32 tensors, take_the_step: True or False).

    gradients: a list of float16 tensors of any shapes, of a loss multiplied by scale, a number.
    take_the_step is False when any of them holds an infinity or NaN.
    """
    raise NotImplementedError


check("16.unscaled", unscaled)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def unscaled_solution(gradients, scale):
    """To float32 first, and only then divide: 2^-14 / 2^16 underflows in float16."""
    take_the_step = all(bool(torch.isfinite(gradient).all()) for gradient in gradients)
    return [gradient.float() / scale for gradient in gradients], take_the_step


# %%
unscaled = use("16.unscaled", unscaled, unscaled_solution)
weight = torch.tensor([1.0], requires_grad=True)
for scale in (1.0, 65536.0, 1e14):
    weight.grad = None
    ((weight.half() * 1e-4).float().sum() * 1e-4 * scale).backward()  # the true gradient is 1e-8
    (gradient,), fine = unscaled([weight.grad.half()], scale)
    print(f"scale {scale:.0e}: gradient {gradient.item():.1e}, take the step: {bool(fine)}")

# %% [markdown]
# <details><summary><b>Help: "the loss is NaN, but only with mixed precision"</b></summary>
#
# Ask which number left the range. With float16: is there a `GradScaler`, and is `unscale_` called before
# gradient clipping? With either format: is a softmax, a variance, a mean over many pixels or CTC computed in
# 16 bits? Put these in a block with `torch.autocast(..., enabled=False)` and cast their input with
# `.float()`.
# </details>
#
# ## Deeper: `torch.compile`
#
# `torch.compile(f)` records the operations of `f` as a **graph** at its first call, and lets a compiler merge
# them. The "compiler" below compiles nothing and only counts the graphs:

# %%
graphs = []


def only_count(graph, inputs):
    graphs.append(graph)
    return graph.forward


def gate(x, h):
    z = torch.sigmoid(x + h)
    return z * h + (1 - z) * torch.tanh(x)


def gate_with_item(x, h):
    z = torch.sigmoid(x + h)
    if z.mean().item() > 2:  # Python needs the value now
        return h
    return z * h + (1 - z) * torch.tanh(x)


found_graphs = {}
x, h = torch.randn(2, 3, 5)  # (3, 5) each
for function in (gate, gate_with_item):
    torch._dynamo.reset()
    graphs.clear()
    with export.quiet():  # torch warns at length where a graph breaks
        agree(function.__name__, torch.compile(function, backend=only_count)(x, h), function(x, h))
    found_graphs[function.__name__] = len(graphs)
print("graphs:", found_graphs)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert found_graphs == {"gate": 1, "gate_with_item": 2}

# %% [markdown]
# Reading a value (`.item()`, `print`, an `if` on a tensor) causes a **graph break**. New shapes cause a
# recompilation. A compiler gains most for many small operations on large tensors, on a GPU. LipNet's step is
# mostly convolutions, which are library calls with or without it. So we expect little and report no number:
# measure it on your machine, several runs in turn, with `lessons.measure.timing.compare`.
#
# ## Deeper: from scratch against built-in
#
# `python -m lessons bench` measures each piece of this course against torch's own, forward and backward.
# These are the recorded results (a ratio below 1: ours is faster):

# %%
for path in sorted(checkpoint.trained_folder("bench").glob("*.json")):
    rows = json.loads(path.read_text(encoding="utf-8"))
    print(f"{rows[0]['device']}, {rows[0]['threads']} thread(s), torch {rows[0]['torch']}")
    print(bench.table(rows), "\n")

# %% [markdown]
# Read the rows before you conclude anything.
# - **CTC** on the CPU: ours is as fast as torch's for 16 clips and faster for 64. Both have a gradient
#   written by hand, so that is not the reason. Ours works on all clips at once; we have not measured whether
#   that is why.
# - **GRU**: the forward passes take the same time. Ours is faster only forward and backward together, where
#   `nn.GRU` on the CPU records and replays many small operations per frame.
# - **conv3d**: ours takes about one and a half times as long. It copies the clip into columns first (im2col).
#
# So writing a gradient by hand does not make code fast by itself. Both CTC losses agree:

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
# ## Recap
#
# - Warm up, synchronize, take the median, compare in turn.
# - Amdahl's law: a part of 65 % in no time makes the step less than three times as fast.
# - Faster arithmetic for the convolutions; fewer, larger operations for the rest; helpers for the data where
#   the data are the bottleneck. Profile again after each fix.
# - Multiply in 16 bits, accumulate in 32. A GRU's hidden state gets stuck in bfloat16.
# - Compare the accuracy after a real training, over several seeds.
#
# ## Glossary
#
# | word | meaning | also called |
# |---|---|---|
# | profile | a table of operations: how often they ran, how long they took | trace |
# | synchronize | wait until a device has done all queued work | |
# | bottleneck (of a program) | the part that limits the speed of the whole | |
# | Amdahl's law | the part that is not made faster limits the gain of the whole | |
# | throughput | clips per second | |
# | float16, bfloat16 | two 16-bit formats: more digits, or a larger range | half precision, brain float |
# | mixed precision | products in 16 bits; sums, weights and recurrences in 32 | AMP |
# | autocast | torch's context in which chosen operations cast their inputs down | |
# | loss scaling | multiplying the loss so that gradients do not underflow in float16 | gradient scaling |
# | fused optimizer | all weights updated by one operation instead of twenty per tensor | |
# | prefetching | preparing the next batches during the current step | data loading workers |
# | graph break | a point where a compiler must stop because Python reads a value | |
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
#   [profiler](https://pytorch.org/docs/stable/profiler.html).
#
# **Next**: notebook 17: several processes, and an exported file that you have checked.
