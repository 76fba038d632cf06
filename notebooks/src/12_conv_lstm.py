# %% [markdown]
# # 12 · ConvLSTM
#
# **You will write an LSTM whose state is an image, check that it is still an LSTM, and train it to track an
# object while the object cannot be seen.**
#
# *Core path: about 60 minutes; deeper sections: about 45; all cells together run in about
# 60 seconds on one CPU core.*
#
# **You need**: the LSTM and backpropagation through time (notebook 03), convolution, padding and receptive
# fields (notebook 02), weights and multiply-adds (notebook 11).
#
# **You will be able to**
# - say what an LSTM on flattened frames cannot know, and what that costs in weights;
# - write a ConvLSTM step that agrees with `nn.LSTMCell`, values and gradients;
# - compare a recurrent network with baselines that are fair: same clips, same steps, several seeds;
# - carry the state through streams in which videos start and end;
# - train on long videos by truncated backpropagation through time.

# %%
import copy
import math
from textwrap import shorten

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm.auto import tqdm

import lessons
from lessons import figures
from lessons.checks import agree, check, use
from lessons.layers import ConvGRUCell, ConvLSTM, ConvLSTMCell, gru
from lessons.layers.conv_lstm import LSTMUpdate
from lessons.measure.counting import count
from lessons.source import show

# %% [markdown]
# ## 1. An object vanishes
#
# A bright object moves through a noisy video of 16 × 16 pixels. It moves in a straight line at a constant
# speed and bounces off the borders. In some frames it is **hidden**: it moves on, but the camera does not
# see it. The literature calls this **occlusion**.


# %% tags=["hide-input"]
# @title Plot: the clips, and one of them { display-mode: "form" }
def make_clips(n, hidden, rng, size=(16, 16)):
    """n clips of one moving object, hidden where `hidden`, (T,) or (T, N), is True.

    Gives the frames (T, N, 1, H, W) and the object's center (T, N, 2), row and column in pixels. The same
    random state gives the same clips, hidden or not.
    """
    hidden = np.broadcast_to(np.reshape(hidden, (len(hidden), -1)), (len(hidden), n))  # (T, N)
    room = np.array(size) - 4.0
    angle, speed = rng.uniform(0, 2 * np.pi, n), rng.uniform(0.8, 2.0, n)  # pixels per frame
    velocity = speed[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)  # (N, 2)
    path = rng.uniform(0, 1, (n, 2)) * room + velocity * np.arange(len(hidden))[:, None, None]
    center = 2 + room - np.abs(path % (2 * room) - room)  # (T, N, 2): reflected at the borders
    rows, columns = (
        np.exp(-((np.arange(size[k]) + 0.5 - center[..., k, None]) ** 2) / (2 * 1.3**2)) for k in (0, 1)
    )
    contrast = rng.uniform(1.5, 2.5, n)[:, None, None]
    noise = 0.3 * rng.standard_normal((len(hidden), n, *size))
    visible = ~hidden[..., None, None]
    frames = noise + visible * contrast * rows[..., :, None] * columns[..., None, :]  # (T, N, H, W)
    return torch.from_numpy(frames[:, :, None]).float(), torch.from_numpy(center).float()


def hidden_runs(rng, T=12, B=16, fraction=0.4, mean_length=4):
    """(T, B) bool: which frames of each clip are hidden; about `fraction`, in runs of random length."""
    start = fraction / ((1 - fraction) * mean_length)
    hidden = np.zeros((T, B), bool)
    for t in range(1, T):
        hidden[t] = rng.random(B) < np.where(hidden[t - 1], 1 - 1 / mean_length, start)
    return hidden


def as_bytes(x):
    """Frames as gray values from 0 to 255."""
    return (70 * x + 60).clamp(0, 255).byte()


HIDDEN = [False] * 8 + [True] * 8  # test clips: visible for 8 frames, then hidden for 8
examples, example_paths = make_clips(12, HIDDEN, np.random.default_rng(5))  # (T, N, 1, H, W), (T, N, 2)
uncovered, _ = make_clips(12, [False] * 16, np.random.default_rng(5))
shown = list(range(4, 12))
figures.state_maps(
    {"video": as_bytes(examples[shown, 0, 0])},
    [f"frame {t}" for t in shown],
    hidden=[HIDDEN[t] for t in shown],
    title="From frame 8 on, the object is hidden",
    width=10.0,
)

# %% tags=["hide-input"]
# @title Interaction: play the video { display-mode: "form" }
from ipywidgets import Play, interact


def play(t, clip=0):
    return figures.state_maps(
        {"video": as_bytes(examples[t : t + 1, clip, 0])},
        [f"frame {t}: hidden" if HIDDEN[t] else f"frame {t}"],
        hidden=[HIDDEN[t]],
        width=3.4,
    )


# %% tags=["nbval-ignore-output"]
# output not compared: the player is a widget, which lives only while the notebook runs
_ = interact(play, t=Play(min=0, max=15, interval=300, repeat=True), clip=(0, 11))

# %% [markdown]
# **Predict**: where is the object in frame 11? Point at it.

# %% tags=["predict"]
figures.state_maps(
    {"as seen": as_bytes(examples[shown, 0, 0]), "nothing hidden": as_bytes(uncovered[shown, 0, 0])},
    [f"frame {t}" for t in shown],
    hidden=[HIDDEN[t] for t in shown],
    marks=example_paths[shown, 0] / 16,
    title="The same clip, uncovered (rings: the true center)",
    width=10.0,
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert torch.equal(examples[:8], uncovered[:8])  # nothing but the object differs
difference = (examples - uncovered)[8:, :, 0].abs()  # (8, N, H, W)
assert (difference.amax((2, 3)) > 0.5).all()

# %% [markdown]
# You used the frames before: position, direction, speed. No single frame from 8 on holds any of this. To
# track the object, a network must carry **where** it was and **how it moved** through the hidden frames.

# %% [markdown]
# ## 2. A flattened frame has no neighbors
#
# The LSTM of notebook 03 reads a vector per frame. We can flatten a frame, row after row, into
# $16 \cdot 16 = 256$ numbers. **Predict**: put the 256 pixels into another order, the same order in all
# frames and clips. How much harder is the video for an LSTM?

# %% tags=["hide-input"]
# @title Plot: the shuffled video, and two LSTMs { display-mode: "form" }
_ = torch.manual_seed(0)
lstm = nn.LSTM(256, 64).double()
order = torch.randperm(256)
shuffled_lstm = copy.deepcopy(lstm)
shuffled_lstm.weight_ih_l0.data = lstm.weight_ih_l0.data[:, order]  # the columns in the same new order

flat = examples.flatten(2).double()  # (T, N, 256)
h, h_shuffled = lstm(flat)[0].detach(), shuffled_lstm(flat[..., order])[0].detach()  # (T, N, 64)


def shuffled_video():
    agree("shuffled pixels, shuffled columns of the weights", h_shuffled, h)
    return figures.clip_rows(
        {
            "video": as_bytes(uncovered[2:12:2, 0, 0]),
            "pixels shuffled": as_bytes(uncovered.flatten(2)[2:12:2, 0, order].unflatten(1, (16, 16))),
        },
        [f"frame {t}" for t in range(2, 12, 2)],
        title="Equally hard for an LSTM on flattened frames",
    )


# %% tags=["predict"]
shuffled_video()

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Not at all. Every LSTM that reads the video has a twin that reads the shuffled video equally well: the one
# with the columns of its input weights in the new order (the folded cell builds it and compares the two).
# Initialization draws all columns from the same distribution, so training starts from both with equal
# probability.
#
# </details>
#
# So this LSTM does not know that two pixels are neighbors, and what it learns about an object at one position
# says nothing about any other position. It is also expensive. With one unit of the state per pixel:

# %%
n_flat = sum(p.numel() for p in nn.LSTM(256, 256, device="meta").parameters())
n_conv = sum(p.numel() for p in ConvLSTM(1, 1, 3).parameters())
print(f"LSTM from 256 pixels to a state of 256: {n_flat:,} weights")
print(f"ConvLSTM from one channel to a state of one channel: {n_conv} weights")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert n_flat == 4 * 256 * (256 + 256 + 2) == 526_336 and n_conv == 4 * 9 * 2 + 4 == 76

# %% [markdown]
# Notebook 02 met both problems in a single frame and solved them by convolution: read the neighborhood, and
# use the same weights at every position. Do the same to the LSTM.

# %% [markdown]
# ## 3. Gates from one convolution
#
# Replace every matrix product by a convolution, $*$. The states $h$ and $c$ become stacks of $D$ feature
# maps, with the height and width of the input. So do the gates: each **position** has its own $i$, $f$ and
# $o$, computed from its neighborhood in the input and in the hidden state (Shi et al. 2015):
#
# $$\begin{aligned}
# i &= \sigma(W_i * x + U_i * h + b_i) && f = \sigma(W_f * x + U_f * h + b_f)\\
# g &= \tanh(W_g * x + U_g * h + b_g) && o = \sigma(W_o * x + U_o * h + b_o)\\
# c' &= f \odot c + i \odot g && h' = o \odot \tanh(c')
# \end{aligned}$$
#
# This is a **ConvLSTM**. The input $x$ is $(B, C, H, W)$; everything else is $(B, D, H, W)$.
#
# These eight convolutions are **one**. $W * x + U * h$ is a single convolution of $x$ and $h$ concatenated
# along the channels. The three gates and the candidate are $4D$ output channels, in torch's order i, f, g, o.
# So one step has a single weight, $(4D,\, C + D,\, k,\, k)$, and a single bias.
#
# ### Exercise 1 · `conv_lstm_step` · difficulty ★★☆ · 14 minutes
#
# Write one step. The map must keep its size for every odd $k$. A video starts without a state: then $h$ and
# $c$ are zeros, on the device and with the dtype of $x$. `torch.cat` concatenates; `chunk(4, dim=1)` cuts the
# channels into four.


# %%
def conv_lstm_step(x, state, weight, bias):
    """One step of a ConvLSTM.

    Args:
        x: (B, C, H, W) floating-point tensor, one frame of features.
        state: the pair (h, c), each (B, D, H, W), or None for zeros.
        weight: (4D, C + D, k, k), k odd; output channels in the order i, f, g, o, input channels x, then h.
        bias: (4D,).

    Returns:
        The new pair (h, c), each (B, D, H, W).
    """
    raise NotImplementedError


check("12.conv_lstm_step", conv_lstm_step)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def conv_lstm_step_solution(x, state, weight, bias):
    """The equations, line by line."""
    if state is None:
        zeros = x.new_zeros(len(x), len(bias) // 4, *x.shape[2:])  # (B, D, H, W)
        state = zeros, zeros
    h, c = state
    xh = torch.cat([x, h], dim=1)  # (B, C + D, H, W)
    i, f, g, o = F.conv2d(xh, weight, bias, padding=weight.shape[-1] // 2).chunk(4, dim=1)  # (B, D, H, W)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    h = torch.sigmoid(o) * torch.tanh(c)
    return h, c


# %%
conv_lstm_step = use("12.conv_lstm_step", conv_lstm_step, conv_lstm_step_solution)

# %% [markdown]
# <details><summary><b>Help: "Sizes of tensors must match except in dimension 1"</b></summary>
#
# `torch.cat([x, h], dim=1)` concatenates channels; batch, rows and columns must be equal. If the rows differ
# by 2, the convolution of the previous step had no padding: a kernel of $k$ needs `padding=k // 2`. If the
# batch differs, the state belongs to another batch.
#
# </details>
#
# ### Is it still an LSTM?
#
# With a 1 × 1 kernel no position reads another, and such a convolution is a linear layer at every position
# (notebook 11). So the step must be the same LSTM at every position. We compare your step with `nn.LSTMCell`,
# the positions as its batch, and with 3 × 3 kernels with the package's cell:


# %%
def same(name, ours, theirs, inputs):
    """Compare two results (h, c), and the gradients of one random weighted sum of each."""
    ours, theirs = torch.stack(list(ours)), torch.stack(list(theirs))  # (2, B, D, H, W)
    agree(f"{name}, values", ours.detach(), theirs.detach(), tolerance=1e-12)
    delta = torch.randn(theirs.shape, generator=torch.Generator().manual_seed(1)).double()
    ours, theirs = (
        torch.cat([g.flatten() for g in torch.autograd.grad((y * delta).sum(), inputs)])
        for y in (ours, theirs)
    )
    agree(f"{name}, gradients", ours, theirs, tolerance=1e-12)


_ = torch.manual_seed(0)
x = torch.randn(2, 5, 6, 7).double().requires_grad_()  # (B, C, H, W)
h, c = (torch.randn(2, 4, 6, 7).double().requires_grad_() for _ in range(2))  # (B, D, H, W)
lstm = nn.LSTMCell(5, 4).double()
weight = torch.cat([lstm.weight_ih, lstm.weight_hh], dim=1)[:, :, None, None]  # (4D, C + D, 1, 1)

rows = [t.permute(0, 2, 3, 1).flatten(0, 2) for t in (x, h, c)]  # (BHW, C), then (BHW, D) twice
theirs = [
    t.unflatten(0, (2, 6, 7)).permute(0, 3, 1, 2) for t in lstm(rows[0], (rows[1], rows[2]))
]  # (B, D, H, W)
ours = conv_lstm_step(x, (h, c), weight, lstm.bias_ih + lstm.bias_hh)
same("1 × 1 against nn.LSTMCell", ours, theirs, [x, h, c, *lstm.parameters()])

package = ConvLSTMCell(5, 4, 3).double()
ours = conv_lstm_step(x, (h, c), package.gates.weight, package.gates.bias)
same("3 × 3 against lessons.layers", ours, package(x, (h, c)), [x, h, c, *package.parameters()])

# %% [markdown]
# ### Weights and multiply-adds
#
# $$\text{weights} = 4D\,(C + D)\,k^2 + 4D, \qquad
#   \text{multiply-adds per frame} = 4D\,(C + D)\,k^2 \cdot HW$$
#
# **Predict**: what happens to both when height and width double? And to the weights of an LSTM on the
# flattened maps?

# %% tags=["predict"]
for side in (8, 16):
    cost = count(ConvLSTMCell(4, 8, 3), torch.zeros(1, 4, side, side))
    flattened = 4 * 8 * side**2 * (4 * side**2 + 8 * side**2 + 2)
    print(
        f"{side} × {side}: {cost.weights:,} weights, {cost.multiply_adds:,} multiply-adds per frame;", end=" "
    )
    print(f"flattened: {flattened / 1e6:.1f} M weights")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert cost.weights == 4 * 8 * 12 * 9 + 32 == 3_488 and cost.multiply_adds == 3_456 * 16**2
assert round(flattened / (4 * 8 * 8**2 * (12 * 8**2 + 2)), 1) == 16.0

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The number of weights stays the same and the multiply-adds grow by a factor of 4, as for any convolution.
# The flattened LSTM needs 16 times the weights.
#
# </details>
#
# ### Shift the video, and the state shifts
#
# Away from the border, a ConvLSTM's state of the shifted video is the shifted state. This is **translation
# equivariance**: what the layer has learned at one position holds at every position. Near the border it fails
# because the padding does not shift.


# %%
class Cell(nn.Module):
    """Your step with its weights: cell(x, state) -> (h, c)."""

    def __init__(self, C, D, kernel_size):
        super().__init__()
        self.gates = nn.Conv2d(C + D, 4 * D, kernel_size)  # holds the weights; the step does the padding
        self.gates.bias.data[D : 2 * D] += 1  # forget bias (notebook 03)

    def forward(self, x, state=None):
        return conv_lstm_step(x, state, self.gates.weight, self.gates.bias)


def run(cell, x):
    """x (T, B, C, H, W) -> h after every frame (T, B, D, H, W)."""
    state, hidden = None, []
    for frame in x:  # (B, C, H, W)
        state = cell(frame, state)
        hidden.append(state[0])
    return torch.stack(hidden)


def shift(maps):
    """2 positions down and 3 to the right."""
    return torch.roll(maps, (2, 3), dims=(-2, -1))


_ = torch.manual_seed(0)
cell, x = Cell(1, 6, 3).double(), torch.randn(4, 1, 1, 20, 20).double()  # x: (T, B, C, H, W)
gap = (run(cell, shift(x)) - shift(run(cell, x))).abs().amax((0, 1, 2)).detach()  # (H, W)
print(f"largest difference away from the border below 1e-12: {bool(gap[6:-4, 7:-4].max() < 1e-12)};", end=" ")
print(f"over the whole map above 0.01: {bool(gap.max() > 0.01)}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert gap[6:-4, 7:-4].max() < 1e-12 and gap.max() > 0.01

# %% [markdown]
# ## 4. Train it to track a hidden object
#
# At every frame, visible or hidden, the network predicts in which of 8 × 8 grid cells (2 × 2 pixels each) the
# object's center is. The loss is the cross-entropy with the true grid cell, **in hidden frames as well**:
# training clips come with the ground truth of what the camera did not see. In 12 frames, about 40 % are
# hidden, four in a row on average.


# %%
class Tracker(nn.Module):
    """Frames (T, B, 1, H, W) -> logits of the grid cells (T, B, H/2, W/2)."""

    def __init__(self, kernel_size=3, carry_state=True):
        super().__init__()
        self.features = nn.Conv2d(1, 4, 5, stride=2, padding=2)
        self.cell = Cell(4, 8, kernel_size)
        self.head = nn.Conv2d(8, 1, 3, padding=1)
        self.carry_state = carry_state

    def forward(self, x):
        T, B = x.shape[:2]
        features = self.features(x.flatten(0, 1)).relu().unflatten(0, (T, B))  # (T, B, 4, H/2, W/2)
        if not self.carry_state:
            features = features.flatten(0, 1)[None]  # (1, TB, 4, H/2, W/2): every frame is a first frame
        h = run(self.cell, features).flatten(0, 1)  # (TB, 8, H/2, W/2)
        return self.head(h)[:, 0].unflatten(0, (T, B))


class FlatTracker(nn.Module):
    """The same with an LSTM on flattened feature maps."""

    def __init__(self):
        super().__init__()
        self.features = nn.Conv2d(1, 4, 5, stride=2, padding=2)
        self.lstm, self.head = nn.LSTM(4 * 64, 64), nn.Linear(64, 64)

    def forward(self, x):
        T, B = x.shape[:2]
        features = self.features(x.flatten(0, 1)).relu().flatten(1).unflatten(0, (T, B))  # (T, B, 256)
        return self.head(self.lstm(features)[0]).unflatten(2, (8, 8))  # (T, B, 8, 8)


def tracking_loss(logits, where):
    """logits (T, B, H', W'), true centers (T, B, 2) in pixels -> the mean cross-entropy."""
    row, column = (where / 2).long().unbind(-1)  # (T, B) each
    return F.cross_entropy(logits.flatten(2).flatten(0, 1), (row * logits.shape[3] + column).flatten())


# %% [markdown]
# ### Baselines, all on equal terms
#
# "It tracks the hidden object" means little without something to compare with. All networks see **the same
# clips for the same number of steps, from three seeds**:
#
# - **ConvLSTM 3 × 3**, and **ConvLSTM 1 × 1**, in which no position reads its neighbors;
# - **LSTM, flattened**: 64 units on the flattened feature maps;
# - **no state**: the 3 × 3 network, but every frame starts from zeros;
# - **untrained ConvLSTM**: features and cell stay at their initial weights; only the last layer is trained.
#
# Two simple rules compute the center in the visible frames from the pixels, by their center of mass:
#
# - **last seen**: the object is still where it was seen last;
# - **straight line**: it goes on as in the last three visible frames, and stops at the border.

# %%
device = lessons.device()
GPU = device.type == "cuda"
STEPS = 600 if GPU else 130  # a GPU trains longer

NETWORKS = {
    "ConvLSTM 3 × 3": Tracker,
    "ConvLSTM 1 × 1": lambda: Tracker(kernel_size=1),
    "LSTM, flattened": FlatTracker,
    "no state": lambda: Tracker(carry_state=False),
    "untrained ConvLSTM": Tracker,
}


def train(name, seed):
    """One network of NETWORKS, trained; the seed gives the same clips to all."""
    _ = torch.manual_seed(seed)
    rng, model = np.random.default_rng(seed), NETWORKS[name]().to(device)
    trained = model.head if name.startswith("untrained") else model
    _ = model.requires_grad_(False), trained.requires_grad_(True)
    rate = 0.004 if name == "LSTM, flattened" else 0.02  # chosen per kind of network
    optimizer = torch.optim.Adam(trained.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=STEPS)
    for _ in tqdm(range(STEPS), desc=f"{name}, seed {seed}", leave=False):
        x, where = make_clips(16, hidden_runs(rng), rng)  # (12, 16, 1, 16, 16), (12, 16, 2)
        loss = tracking_loss(model(x.to(device)), where.to(device))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.cpu().eval()


models = {(name, seed): train(name, seed) for name in list(NETWORKS)[:1] for seed in range(3)}

# %%
models |= {(name, seed): train(name, seed) for name in list(NETWORKS)[1:] for seed in range(3)}

# %% [markdown]
# We measure the distance in pixels between the true center and the **expected position**, the mean of the
# grid cells weighted by their probabilities. The 300 test clips are visible for 8 frames, then hidden for 8.
#
# **Predict**: how far off is each of the seven in the third hidden frame? The frame is 16 pixels wide; the
# answer "in the middle" is off by about 4.6. An object moves 1.4 pixels per frame on average.


# %%
def expected_position(logits):
    """(T, B, H', W') -> (T, B, 2), row and column in pixels."""
    p = logits.flatten(2).softmax(2).view_as(logits)
    rows, columns = (2 * torch.arange(side) + 1.0 for side in p.shape[2:])  # centers of the grid cells
    return torch.stack([p.sum(3) @ rows, p.sum(2) @ columns], dim=-1)


def distance(model, x, where):
    """(T,): mean distance in pixels between the true center and the expected position."""
    with torch.no_grad():
        return (expected_position(model(x)) - where).norm(dim=2).mean(1)


x_test, where_test = make_clips(300, HIDDEN, np.random.default_rng(1001))
off = {
    name: torch.stack([distance(models[name, s], x_test, where_test) for s in range(3)]) for name in NETWORKS
}

# %% tags=["hide-input"]
# @title Plot: the two rules { display-mode: "form" }
bright = (x_test[5:8, :, 0] - 0.6).relu()  # (3, N, H, W), the last three visible frames
pixels = torch.arange(16) + 0.5
seen = torch.stack([bright.sum(3) @ pixels, bright.sum(2) @ pixels], -1) / bright.sum((2, 3))[..., None]
later = torch.arange(1, 9)[:, None, None]  # (8, 1, 1) hidden frames
line = seen[2] + later * (seen[2] - seen[0]) / 2  # (8, N, 2)
rules = {"last seen": seen[2].expand(8, -1, -1), "straight line": line.clamp(2, 14)}
for name, guess in rules.items():
    off[name] = torch.cat([torch.zeros(8), (guess - where_test[8:]).norm(dim=2).mean(1)])[None]  # (1, T)
middle = (where_test - 8).norm(dim=2).mean().item()

# %% tags=["predict"]
figures.seed_spread(
    {name: values[:, 10] for name, values in off.items()},
    xlabel="distance from the true center in the third hidden frame (pixels)",
    level=middle,
    level_label="the middle of the frame",
    title="300 test clips; three seeds per network, and their mean",
    width=8.0,
)

# %% tags=["predict"]
figures.curves(
    {
        name: (np.arange(0, 9), off[name][:, 7:])
        for name in ("ConvLSTM 3 × 3", "ConvLSTM 1 × 1", "LSTM, flattened", "no state")
    }
    | {name: (np.arange(1, 9), off[name][:, 8:]) for name in rules},
    xlabel="frames hidden (0: the last visible frame)",
    ylabel="distance (pixels)",
    level=middle,
    level_label="the middle of the frame",
    title="Distance from the true center, mean and range of three seeds",
    height=3.8,
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
third = {name: values[:, 10] for name, values in off.items()}  # (seeds,) each
assert math.isclose(middle, 4.63, abs_tol=0.01)
assert all(off[name][:, 7].max() < 0.9 for name in NETWORKS if not name.startswith("untrained"))
assert third["ConvLSTM 3 × 3"].max() < third["last seen"].min() - 0.3
assert (off["ConvLSTM 3 × 3"][:, 8] < 0.95).all() and (off["straight line"][:, 8] < 0.95).all()
if not GPU:  # after a longer training the order may change
    assert third["straight line"].max() < third["ConvLSTM 3 × 3"].min()
    others = [third[name].min() for name in NETWORKS if name != "ConvLSTM 3 × 3"]
    assert third["ConvLSTM 3 × 3"].mean() + 0.6 < min(others)
    assert (third["ConvLSTM 1 × 1"] > third["last seen"] - 0.1).all()
    assert (third["LSTM, flattened"] > third["last seen"] - 0.1).all()
assert off["no state"][:, 8:].min() > 4.2 and off["untrained ConvLSTM"][:, 7].min() > 2
assert (off["ConvLSTM 1 × 1"][:, 8] < off["last seen"][:, 8]).all()
reflected = 14 - ((line - 2) % 24 - 12).abs()  # (8, N, 2): the straight line, if it bounced as the objects do
assert (reflected - where_test[8:]).norm(dim=2).mean(1)[-1] < off["straight line"][0, -1] / 2

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The figure has the numbers. The order is what matters: ConvLSTM 3 × 3 is the only network that beats
# *last seen* in the third hidden frame, and it does so in all three seeds.
#
# </details>
#
# - While the object is visible, the first four networks find it to within a pixel. That needs no state.
# - **No state**: once it is hidden, the answer is no better than the middle.
# - **1 × 1** can remember but not follow, because no position reads its neighbors. In the third hidden frame
#   it is no better than *last seen*.
# - **3 × 3** follows the object. In the first hidden frame it is as good as the straight line.
# - **The straight line** is a strong baseline: in the third hidden frame it beats the ConvLSTM. We told it
#   the law of motion, all but the bounces. The network had to learn that law from clips, in 130 steps. Later
#   the rule falls behind, mostly because it does not bounce.
# - **LSTM, flattened** has over 20 times the weights, yet in these 130 steps it does not learn to track. A
#   longer training might change that.
# - **Untrained**: features and gates at their initial weights do not even locate the visible object.
#
# Is it really the state that tracks? An **ablation**: take the trained 3 × 3 networks and reset their state
# before every frame.

# %%
ablated = []
for seed in range(3):
    model = copy.deepcopy(models["ConvLSTM 3 × 3", seed])
    model.carry_state = False
    ablated.append(distance(model, x_test, where_test))
ablated = torch.stack(ablated)  # (seeds, T)
print(f"last visible frame: still within 1.5 pixels in all seeds: {bool((ablated[:, 7] < 1.5).all())}")
print(f"hidden frames: further off than 4 pixels in all seeds: {bool((ablated[:, 8:] > 4).all())}")

x_large, where_large = make_clips(100, HIDDEN, np.random.default_rng(7), size=(24, 32))
large = torch.stack([distance(models["ConvLSTM 3 × 3", seed], x_large, where_large) for seed in range(3)])
print(f"visible, on frames of 24 × 32: within 1.5 pixels in all seeds: {bool((large[:, 7] < 1.5).all())}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert (ablated[:, 7] < 1.5).all() and (ablated[:, 8:] > 4).all()
assert (large[:, 7] < 1.5).all()
n_maps, n_flat = (
    sum(p.numel() for p in models[name, 0].parameters()) for name in ("ConvLSTM 3 × 3", "LSTM, flattened")
)
assert n_flat > 20 * n_maps

# %% [markdown]
# It is the state. And the ConvLSTM also reads frames of another size than it was trained on. The flattened
# LSTM cannot: its matrices have one column per input.

# %% [markdown]
# ## 5. The hidden state of a hidden object
#
# The state is an image, so look at it. Which of the eight channels of $h$ represents the object? We pick the
# channel in which $h$ at the hidden object's position stands out most from the rest of the map, over all test
# clips. (The code records the gates and the states of your step; unfold it if you like.)


# %% tags=["hide-input"]
# @title Plot: record the gates, choose a channel { display-mode: "form" }
def record(model, x):
    """x (T, B, 1, H, W) -> gates i, f, o, states c, h, each (T, B, D, H', W'), and the prediction."""
    cell, state, log = model.cell, None, {name: [] for name in "ifoch"}
    for frame in model.features(x.flatten(0, 1)).relu().unflatten(0, x.shape[:2]):  # (B, 4, H', W')
        h = torch.zeros(len(frame), 8, *frame.shape[2:]) if state is None else state[0]
        gates = F.conv2d(torch.cat([frame, h], dim=1), cell.gates.weight, cell.gates.bias, padding=1)
        i, f, _, o = gates.chunk(4, dim=1)
        state = cell(frame, state)
        for name, value in zip("ifoch", (i.sigmoid(), f.sigmoid(), o.sigmoid(), *state[::-1]), strict=True):
            log[name].append(value)
    return {name: torch.stack(values) for name, values in log.items()} | {"logits": model(x)}


tracker = models["ConvLSTM 3 × 3", 2]
with torch.no_grad():
    log = record(tracker, x_test)
t, n = torch.arange(9, 12)[:, None], torch.arange(300)  # the second to fourth hidden frame
row, column = (where_test[9:12] / 2).long().unbind(-1)  # (3, N) each
here, everywhere = log["h"][t, n, :, row, column], log["h"][9:12]  # (3, N, D), (3, N, D, H', W')
contrast = (here.mean((0, 1)) - everywhere.mean((0, 1, 3, 4))) / everywhere.std(dim=(0, 1, 3, 4))  # (D,)
channel = int(contrast.abs().argmax())
print(f"it stands out by more than half a standard deviation: {bool(contrast[channel].abs() > 0.5)}")


# %% tags=["hide-input"]
# @title Plot: one clip { display-mode: "form" }
def probabilities(logits):
    """Probabilities, each frame relative to its largest: (…, H', W') -> the same."""
    p = logits.flatten(-2).softmax(-1)
    return (p / p.amax(-1, keepdim=True)).view_as(logits)


error = (expected_position(log["logits"]) - where_test).norm(dim=2)  # (T, N)
path_length = (where_test[10] - where_test[7]).norm(dim=1)  # (N,)
clip = int(torch.where(path_length > 4, error[8:11].mean(0), 99).argmin())
frames = list(range(4, 13))
figures.state_maps(
    {
        "video": as_bytes(x_test[frames, clip, 0]),
        "prediction": probabilities(log["logits"])[frames, clip],
        "hidden state h": log["h"][frames, clip, channel],
        "cell state c": log["c"][frames, clip, channel],
        "input gate i": log["i"][frames, clip, channel],
        "forget gate f": log["f"][frames, clip, channel],
    },
    [f"frame {t}" for t in frames],
    limits={"input gate i": 1.0, "forget gate f": 1.0},
    marks=where_test[frames, clip] / 16,
    hidden=[HIDDEN[t] for t in frames],
    title=f"Channel {channel}: the state of an object that the camera does not see",
)

# %% [markdown]
# We selected a clip in which the object moves far and the network does well. Rings mark the true center. Maps
# with both signs go from blue (negative) over white to red, all others from white (0) to blue. The prediction
# is relative to the largest probability of its frame.
#
# This is the central figure of the notebook. From frame 8 on the camera sees only noise, yet the state still
# holds a blob, and the prediction moves on. From frame to frame the blob fades and the prediction spreads.
#
# How can anything move when $f \odot c$ keeps every value in its position? It must be **written again** at
# the next position, by $i \odot g$, which read the neighbors' hidden state. With 1 × 1 kernels there are no
# neighbors to read. Over all test clips and seeds:


# %% tags=["hide-input"]
# @title Plot: how far the prediction follows, and how wide it is { display-mode: "form" }
def fraction_followed(model):
    """How far the most probable grid cell moves along the object's path, frames 7 to 9, as a fraction."""
    with torch.no_grad():
        cell = model(x_test).flatten(2).argmax(2)  # (T, N)
    position = 2 * torch.stack([cell // 8, cell % 8], dim=-1) + 1  # (T, N, 2), pixels
    path, moved = where_test[9] - where_test[7], position[9] - position[7]  # (N, 2) each
    return ((path * moved).sum() / path.square().sum()).item()


def entropy(model):
    """(T,): mean entropy of the prediction in nats; ln 64 = 4.2 when all grid cells are equally probable."""
    with torch.no_grad():
        log_p = model(x_test).flatten(2).log_softmax(2)  # (T, N, 64)
    return -(log_p.exp() * log_p).sum(2).mean(1)


followed = {k: [fraction_followed(models[f"ConvLSTM {k} × {k}", seed]) for seed in range(3)] for k in (3, 1)}
entropies = torch.stack([entropy(models["ConvLSTM 3 × 3", seed]) for seed in range(3)])  # (seeds, T)
print(f"3 × 3: the prediction follows for more than 0.4 of the path: {min(followed[3]) > 0.4};", end=" ")
print(f"in every seed further than any 1 × 1: {min(followed[3]) > max(followed[1])}")
rises = (entropies[:, 8:12] > entropies[:, 7:11]).all()
print(f"the entropy rises in each of the first four hidden frames, in all seeds: {bool(rises)}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert contrast[channel].abs() > 0.5
assert path_length[clip] > 4 and error[8:11, clip].max() < 3.5
assert min(followed[3]) > max(followed[1]) + 0.1 and min(followed[3]) > 0.4
assert rises

# %% [markdown]
# Step through the test clips yourself: any frame, any channel.


# %% tags=["hide-input"]
# @title Interaction: gates, state and prediction { display-mode: "form" }
from matplotlib.figure import Figure


def step_through(frame=9, clip=clip, channel=channel):
    limit = log["c"][:, :, channel].abs().max().item()
    fig = Figure(figsize=(9.5, 2.1), layout="constrained")
    panels = {
        "video": (as_bytes(x_test[frame, clip, 0]), "gray", 0, 255),
        "input gate": (log["i"][frame, clip, channel], "Blues", 0, 1),
        "forget gate": (log["f"][frame, clip, channel], "Blues", 0, 1),
        "cell state": (log["c"][frame, clip, channel], "RdBu_r", -limit, limit),
        "prediction": (log["logits"][frame, clip].flatten().softmax(0).view(8, 8), "Blues", 0, None),
    }
    for ax, (name, (image, colors, low, high)) in zip(fig.subplots(1, 5), panels.items(), strict=True):
        ax.imshow(image, cmap=colors, vmin=low, vmax=high)
        y, x = (where_test[frame, clip] / 16 * len(image) - 0.5).tolist()
        ax.plot(x, y, "o", ms=7, mfc="none", mec="tab:orange" if name == "video" else "black")
        ax.set_title(name, fontsize=9)
        ax.set(xticks=[], yticks=[])
    return figures.describe(
        fig, f"Frame {frame}, {'hidden' if HIDDEN[frame] else 'visible'}: gates and state."
    )


# %% tags=["nbval-ignore-output"]
# output not compared: the sliders are widgets, which live only while the notebook runs
_ = interact(step_through, frame=(0, 15), clip=(0, 299), channel=(0, 7))

# %% [markdown]
# ## 6. Streams
#
# Your step is a function: the state goes in and comes out, and nothing is stored. So the **caller** decides
# what is remembered and when it ends. That matters with streams. $B$ cameras send frames; now and then one of
# them starts a **new video**, and `new[t, b]` says so. From that frame on, the state of stream $b$ must
# contain nothing from before, while the other streams go on.
#
# ### Exercise 2 · `read_stream` · difficulty ★★★ · 13 minutes
#
# Read a part of a stream. Reset $h$ and $c$ where a video starts. Two warnings: do not write **in place**
# into tensors that autograd or your output still needs, and remember that $0 \cdot \text{NaN}$ is NaN. A
# single broken frame can fill a state with NaN. The next video must not inherit it. But until then leave the
# NaN where it is: a number in its place would hide that a frame was broken.


# %%
def read_stream(cell, x, new, state=None):
    """Read T frames of B streams.

    Args:
        cell: called as cell(x_t, state) -> (h, c); a state of None means zeros.
        x: (T, B, C, H, W) frames, T ≥ 1.
        new: (T, B) boolean tensor: whether frame t of stream b starts a new video.
        state: the pair (h, c) before the first frame, each (B, D, H, W), or None.

    Returns:
        A pair: h after every frame, a tensor (T, B, D, H, W), and the last state, the pair (h, c).
    """
    raise NotImplementedError


check("12.read_stream", read_stream)

# %% [markdown]
# <details><summary><b>Help: "The size of tensor a (3) must match the size of tensor b (4)"</b></summary>
#
# `new[t]` is (B,), the state (B, D, H, W), and torch aligns axes from the right. Add the missing axes:
# `new[t][:, None, None, None]` is (B, 1, 1, 1).
#
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def read_stream_solution(cell, x, new, state=None):
    """Select zeros where a video starts, and the old state elsewhere."""
    hidden = []
    for frame, starts in zip(x, new, strict=True):  # (B, C, H, W), (B,)
        if state is not None:
            starts = starts[:, None, None, None]  # (B, 1, 1, 1)
            state = tuple(torch.where(starts, torch.zeros_like(s), s) for s in state)  # (B, D, H, W) each
        state = cell(frame, state)
        hidden.append(state[0])
    return torch.stack(hidden), state  # (T, B, D, H, W)


# %%
read_stream = use("12.read_stream", read_stream, read_stream_solution)

# %% [markdown]
# Reading a video in pieces with the state carried over gives the same result as reading it whole. And the NaN
# of a broken frame ends with its video:

# %%
_ = torch.manual_seed(0)
cell, x = Cell(1, 4, 3).double(), torch.randn(10, 2, 1, 8, 9).double()  # x: (T, B, C, H, W)
goes_on = torch.zeros(10, 2, dtype=torch.bool)  # (T, B): no new video
with torch.no_grad():
    whole, _ = read_stream(cell, x, goes_on)
    first, state = read_stream(cell, x[:6], goes_on[:6])
    second, _ = read_stream(cell, x[6:], goes_on[6:], state)
    agree("two pieces, state carried over", torch.cat([first, second]), whole)

    broken, starts = x.clone(), goes_on.clone()
    broken[3, 0, 0, 2, 2] = math.nan  # a broken pixel in stream 0
    starts[5, 0] = True  # whose next video starts at frame 5
    h, _ = read_stream(cell, broken, starts)
print("stream 0 has NaN in frames", h[:, 0].isnan().flatten(1).any(1).nonzero()[:, 0].tolist())
agree("stream 1", h[:, 1], whole[:, 1])

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert h[:, 0].isnan().flatten(1).any(1).nonzero()[:, 0].tolist() == [3, 4]
assert torch.allclose(h[5:, 0], read_stream(cell, x[5:, :1], goes_on[5:, :1])[0][:, 0])

# %% [markdown]
# ## 7. Truncated backpropagation through time
#
# `backward` after $T$ frames needs what all $T$ frames have computed. A camera's video never ends, so memory
# runs out. The tempting way out is an update after every frame. It stops at the second frame. The message
# suggests `retain_graph=True`, and then it stops again:


# %%
def update_after_every_frame(retain_graph):
    """How many frames it learned from, and the message with which it stops."""
    _ = torch.manual_seed(0)
    cell, state, learned = Cell(1, 4, 3), None, 0
    optimizer = torch.optim.SGD(cell.parameters(), lr=0.01)
    for frame in torch.randn(6, 2, 1, 8, 8):  # (B, C, H, W)
        state = cell(frame, state)
        optimizer.zero_grad()
        try:
            state[0].square().mean().backward(retain_graph=retain_graph)
        except RuntimeError as problem:
            return learned, str(problem)
        optimizer.step()
        learned += 1
    return learned, "no error"


stopped = [update_after_every_frame(retain_graph) for retain_graph in (False, True)]
for retain_graph, (learned, message) in zip((False, True), stopped, strict=True):
    print(
        f"retain_graph={retain_graph}: stops after {learned} frame: {shorten(message, 100, placeholder=' …')}"
    )

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert [learned for learned, _ in stopped] == [1, 1]
assert "a second time" in stopped[0][1] and "modified by an inplace operation" in stopped[1][1]

# %% [markdown]
# First error: `backward` at frame 1 continues through the state into frame 0, whose graph has been freed.
# Second error: with the graph kept, `backward` needs the weights that computed frame 0, and `step()` has
# overwritten them in place. torch counts the versions of a tensor and refuses, because the gradient would be
# wrong.
#
# The remedy is **truncated backpropagation through time**. Cut the video into pieces. Collect the losses of a
# piece, call `backward` once and `step` once, then carry the *state* over the cut and stop the *gradient*
# there. `detach` gives a tensor with the same values and without its graph. Here is the training loop for a
# stream, with your `read_stream`:

# %%
optimizer = torch.optim.SGD(cell.parameters(), lr=0.01)
state = None
for piece, piece_starts in zip(x.split(4), starts.split(4), strict=True):  # (4, B, C, H, W), the last shorter
    h, state = read_stream(cell, piece, piece_starts, state)
    loss = h.square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    state = tuple(s.detach() for s in state)
print(f"{len(x)} frames in pieces of 4: no error; the state has no graph: {state[0].grad_fn is None}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert state[0].grad_fn is None and loss.isfinite()

# %% [markdown]
# The state crosses the cuts, so with the same weights the forward pass is the same as without cuts. (After a
# `step`, the carried state still comes from the weights before it.) The gradient is approximate: it does not
# tell an early piece what a later piece would have needed. A deeper section measures how much that costs.
#
# ## 8. Bug hunt: where did that come from?
#
# A wrapper that keeps the state "so that long videos can be read in pieces" is a pattern in public code. The
# shapes are right, and training looks fine. We put it around the cell of our trained network and show it two
# videos, one after the other. In the second video the object is hidden from the first frame on, so the right
# answer has small probabilities everywhere.


# %%
class Keeps(nn.Module):
    """Wraps a cell and keeps its state from call to call."""

    def __init__(self, cell):
        super().__init__()
        self.cell, self.state = cell, None

    def forward(self, x, state=None):
        self.state = self.cell(x, state or self.state)
        return self.state


def expect_no_history(model, video, *before):
    """After each of the videos `before`, the model must give `video` the same logits."""
    found = []
    with torch.no_grad():
        for other in before:
            _ = model(other)
            found.append(model(video))
    gap = max((logits - found[0]).abs().max().item() for logits in found)
    assert gap == 0, f"the same video, read after another one: logits differ, by more than 1: {gap > 1}"


leaky = copy.deepcopy(tracker)
leaky.cell = Keeps(leaky.cell)
video_a, _ = make_clips(20, [False] * 8, np.random.default_rng(8))  # (T, N, 1, 16, 16)
video_b, _ = make_clips(20, [False] * 8, np.random.default_rng(9))
dark, _ = make_clips(20, [True] * 8, np.random.default_rng(10))
expect_no_history(tracker, dark, video_a, video_b)
print("our network: no history")
try:
    expect_no_history(leaky, dark, video_a, video_b)
except AssertionError as error:
    found_bug = str(error)
    print(found_bug)


# %% tags=["hide-input"]
# @title Plot { display-mode: "form" }
def plot_leak():
    """Two videos in a row, and the first prediction in the second, without and with the leaked state."""
    return figures.state_maps(
        {
            "end of video 1": as_bytes(video_a[-1, :8, 0]),
            "start of video 2": as_bytes(dark[0, :8, 0]),
            "prediction, no state": honest[:8].unflatten(1, (8, 8)),
            "prediction, leaked": leaked[:8].unflatten(1, (8, 8)),
        },
        [f"pair {k}" for k in range(1, 9)],
        limits={"prediction, no state": 0.5, "prediction, leaked": 0.5},
        title="An object of one video, found in the next",
    )


# %% [markdown]
# **Name the bug** before you read on. What does the network with the wrapper answer?

# %% tags=["predict"]
with torch.no_grad():
    honest = tracker(dark)[0].flatten(1).softmax(1)  # (N, 64): the first frame
    _ = leaky(video_a)
    leaked = leaky(dark)[0].flatten(1).softmax(1)  # (N, 64)
sure = [p.amax(1).mean().item() for p in (honest, leaked)]
print(f"largest probability, mean of 20 clips: without state below 0.15: {sure[0] < 0.15};", end=" ")
print(f"with the leaked state above 0.25: {sure[1] > 0.25}")
plot_leak()

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert "by more than 1: True" in found_bug
assert sure[0] < 0.15 < 0.25 < sure[1]

# %% [markdown]
# It answers with the object of the **previous video**. No shape and no error shows it. A simple
# test does: **read the same video after two different ones, and compare.** The remedy is section 6: the state
# belongs to the caller, and a new video starts with `None`.
#
# The package's layers work like that. Its cell adds checks and options to your step: peepholes and the forget
# bias are in `update`, and `depthwise` does nothing unless you ask for a cheaper convolution. Notebook 13
# builds on it.

# %%
show(ConvLSTMCell.forward)

# %% [markdown]
# ## Deeper: how far the state sees
#
# $h_t$ reads $x_t$ through a 3 × 3 kernel, and $h_{t-1}$ as well, which has read its own neighborhood. So the
# receptive field (notebook 02) grows with time. Ask autograd: on which pixels does the state at the central
# position depend?

# %%
_ = torch.manual_seed(0)
cell = Cell(1, 8, 3).double()
x = torch.randn(6, 1, 1, 15, 15).double().requires_grad_()  # (T, B, C, H, W)
center = run(cell, x)[-1, 0, :, 7, 7]  # (D,)
gradients = torch.stack([torch.autograd.grad(unit, x, retain_graph=True)[0] for unit in center])
influence = gradients.abs().sum(0)[:, 0, 0].flip(0)  # (T, H, W): 0, 1, 2 … frames back
sides = [int((frame > 0).any(dim=1).sum()) for frame in influence]
print("frames back:              ", list(range(6)))
print("side of the square it sees:", sides)
relative = (influence / influence.amax((1, 2), keepdim=True)).clamp(min=1e-6)
figures.state_maps(
    {"influence": torch.where(influence > 0, relative.log10() + 6, 0)},
    [f"{k} back: {side} × {side}" for k, side in enumerate(sides)],
    squares=sides,
    title="Influence on the state at the center (powers of ten, relative to each frame's largest)",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert sides == [2 * (k + 1) + 1 for k in range(6)] == [3, 5, 7, 9, 11, 13]
near = (influence[5, 5:10, 5:10].sum() / influence[5].sum()).item()
assert near > 0.75

# %% [markdown]
# $k$ frames back it sees a square of $2(k + 1) + 1$ positions: **one position further per frame**. The 1 in
# $k + 1$ is the current frame's convolution, which reads neighbors before any time has passed. Influence is
# uneven: even five frames back, most of it comes from the central 5 × 5.
#
# So information travels at most one position per frame through 3 × 3 kernels. A blob of state cannot follow
# a **hidden** object that moves faster. (A visible object can be found anew in every frame.)
#
# ### Exercise 3 · `propagation_delay` · difficulty ★★☆ · 8 minutes
#
# An object appears at a distance of `rows` and `columns` from a position. How many frames ago must that have
# been, at least, for the state at this position to depend on it now? This is the **propagation delay**, in
# frames; 0 is the current frame. Input and state go through the same odd kernel.


# %%
def propagation_delay(kernel_size, rows, columns):
    """kernel_size odd; rows, columns ≥ 0 -> 0, 1, 2, … frames, or math.inf if it never can."""
    raise NotImplementedError


check("12.propagation_delay", propagation_delay)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def propagation_delay_solution(kernel_size, rows, columns):
    """Each convolution reaches k // 2 positions; the first one belongs to the current frame."""
    distance, step = max(rows, columns), kernel_size // 2
    if distance == 0:
        return 0
    if step == 0:
        return math.inf
    return math.ceil(distance / step) - 1


# %%
propagation_delay = use("12.propagation_delay", propagation_delay, propagation_delay_solution)

# %%
for k in (1, 3, 5):
    print(f"kernel {k}: from corner to corner of a 12 × 12 map in {propagation_delay(k, 11, 11)} frames")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert [propagation_delay(k, 11, 11) for k in (1, 3, 5)] == [math.inf, 10, 5]
for k in range(6):
    reached = [bool(influence[k, 7, 7 + d] > 0) for d in range(8)]  # at distance d, in the figure above
    assert reached == [propagation_delay(3, 0, d) <= k for d in range(8)]

# %% [markdown]
# ## Deeper: peepholes
#
# The gates above read $x$ and $h$. They do not read the cell state $c$ that they control, except for what the
# output gate exposes: $h = o \odot \tanh(c)$. Where that gate is closed, no gate knows what $c$ holds.
# **Peepholes** let the gates read $c$ itself. In the form of Shi et al., equation 3:
#
# $$\begin{aligned}
# i &= \sigma(W_i * x + U_i * h + w_i \odot c + b_i)\\
# f &= \sigma(W_f * x + U_f * h + w_f \odot c + b_f)\\
# c' &= f \odot c + i \odot \tanh(W_g * x + U_g * h + b_g)\\
# o &= \sigma(W_o * x + U_o * h + w_o \odot c' + b_o)
# \end{aligned}$$
#
# Mind the primes: $i$ and $f$ read the **old** $c$, and $o$ reads the **new** one. The candidate reads
# neither. And $\odot$ is no convolution but the element-wise product (**Hadamard product**): a position reads
# only itself, a channel only itself.
#
# ### Exercise 4 · `with_peepholes` · difficulty ★★☆ · 10 minutes
#
# Write the second half of a step: from the pre-activations (without peepholes) and the old $c$ to the new
# state.


# %%
def with_peepholes(gates, c, w_i, w_f, w_o):
    """The new pair (h, c), each (B, D, H, W).

    gates: (B, 4D, H, W), pre-activations in the order i, f, g, o; c: (B, D, H, W), the old cell state;
    w_i, w_f, w_o: each (D, H, W), or each (D, 1, 1).
    """
    raise NotImplementedError


check("12.with_peepholes", with_peepholes)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def with_peepholes_solution(gates, c, w_i, w_f, w_o):
    """i and f read the old c, o reads the new one."""
    i, f, g, o = gates.chunk(4, dim=1)  # (B, D, H, W) each
    i = torch.sigmoid(i + w_i * c)
    f = torch.sigmoid(f + w_f * c)
    c = f * c + i * torch.tanh(g)
    o = torch.sigmoid(o + w_o * c)
    return o * torch.tanh(c), c


# %%
with_peepholes = use("12.with_peepholes", with_peepholes, with_peepholes_solution)

# %%
_ = torch.manual_seed(0)
update = LSTMUpdate(4, peepholes=True).double()
gates, c = (torch.randn(2, n, 6, 7).double().requires_grad_() for n in (16, 4))  # (B, 4D, H, W), (B, D, H, W)
peepholes = list(update.parameters())  # of i, f and o, (D, 1, 1) each
for w in peepholes:
    w.data.normal_()
same("peepholes", with_peepholes(gates, c, *peepholes), update(gates, c), [gates, c, *peepholes])
for C, D, side in ((4, 8, 8), (1024, 256, 10)):
    convolution, per_position, per_channel = 4 * D * (C + D) * 9, 3 * D * side**2, 3 * D
    print(f"D = {D}: convolution {convolution:,} weights; peepholes (D, H, W) {per_position:,},", end=" ")
    print(f"(D, 1, 1) {per_channel}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert (convolution, per_position, per_channel) == (11_796_480, 76_800, 768)

# %% [markdown]
# In the paper each $w$ is $(D, H, W)$. That ties the cell to one map size and gives up translation
# equivariance, because the same input is weighted differently at every position. (With a fixed camera that
# may be wanted: the sky is always on top.) The package has one weight per channel, $(D, 1, 1)$. Either way
# they are initialized to 0, so a new cell does not use them yet.
#
# ### Bug hunt: peepholes that never learn
#
# "They need the map's size, so I create them when I know it." What is wrong?


# %%
class LateCell(nn.Module):
    """A ConvLSTM cell with peepholes, created at the first frame."""

    def __init__(self, C, D):
        super().__init__()
        self.gates = nn.Conv2d(C + D, 4 * D, 3, padding=1)
        self.hidden, self.w_i = D, None

    def forward(self, x, state=None):
        if self.w_i is None:
            self.w_i, self.w_f, self.w_o = (torch.zeros(self.hidden, *x.shape[2:]) for _ in range(3))
        h, c = state or (torch.zeros(len(x), self.hidden, *x.shape[2:]),) * 2  # (B, D, H, W) each
        return with_peepholes(self.gates(torch.cat([x, h], dim=1)), c, self.w_i, self.w_f, self.w_o)


def unregistered(model):
    """The plain tensors among a model's attributes: name -> number of elements."""
    return {
        f"{name}.{key}".lstrip("."): value.numel()
        for name, module in model.named_modules()
        for key, value in vars(module).items()  # parameters and buffers are stored elsewhere
        if isinstance(value, torch.Tensor)
    }


_ = torch.manual_seed(0)
late, x = LateCell(1, 8), torch.randn(2, 1, 5, 6)  # x: (B, C, H, W)
good = ConvLSTMCell(1, 8, peepholes=True)
_ = good(x), late(x)
for cell in (good, late):
    print(f"{type(cell).__name__}: {sum(unregistered(cell).values())} numbers unknown to torch;", end=" ")
    print(f"{sum('gates' not in name for name in cell.state_dict())} peepholes in the state_dict")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert unregistered(late) == {"w_i": 240, "w_f": 240, "w_o": 240} and not unregistered(good)
assert not any("w_" in name for name in late.state_dict())

# %% [markdown]
# A tensor becomes a weight by being an `nn.Parameter` of the module. These 720 numbers are plain attributes:
# the optimizer does not update them, so they stay 0 forever; `state_dict` does not save them; `.to()` does
# not move them.

# %% [markdown]
# ## Deeper: ConvGRU
#
# Any recurrent cell can be made convolutional. A **ConvGRU** (Ballas et al. 2015) has a single state, and
# three quarters of the ConvLSTM's weights:
#
# $$r, z = \sigma(W * [x, h] + b), \quad n = \tanh(W_n * [x,\, r \odot h] + b_n), \quad
#   h' = (1 - z) \odot n + z \odot h$$
#
# It resets **before** the product (notebook 03, section 5). So it needs two convolutions, one after the
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
rows = [t.permute(0, 2, 3, 1).flatten(0, 2) for t in (x, h)]  # (BHW, C), (BHW, D)
theirs = cell(*rows).unflatten(0, (2, 6, 7)).permute(0, 3, 1, 2)  # (B, D, H, W)
same("ConvGRU, 1 × 1, against a GRU that resets before", [conv_cell(x, h)], [theirs], [x, h])
cost = [count(kind(4, 8), torch.zeros(1, 4, 8, 8)).weights for kind in (ConvLSTMCell, ConvGRUCell)]
print(f"weights: ConvLSTM {cost[0]:,}, ConvGRU {cost[1]:,}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert 3 * cost[0] == 4 * cost[1]

# %% [markdown]
# ## Deeper: what a cut costs
#
# Section 7 cut a video into pieces. Measure what the cuts do to the gradient.
#
# ### Exercise 5 · `backward_in_pieces` · difficulty ★★☆ · 10 minutes
#
# Read one clip in pieces of `piece` frames (the last may be shorter). The loss is the sum of `loss_of(h)`
# over all frames. Call `backward` once per piece; gradients add up in `parameter.grad`. Do not change the
# weights.


# %%
def backward_in_pieces(cell, x, loss_of, piece):
    """The sum of all losses, a number; the gradients are left in the cell's parameters.

    cell: called as cell(x_t, state) -> (h, c); x: (T, B, C, H, W); loss_of: called with the h (B, D, H, W)
    of one frame, in order, gives a tensor (); piece: number of frames, ≥ 1.
    """
    raise NotImplementedError


check("12.backward_in_pieces", backward_in_pieces)

# %% [markdown]
# <details><summary><b>Help: "Trying to backward through the graph a second time"</b></summary>
#
# The state still has the graph of the previous piece, which that piece's `backward` has freed. Detach
# **both** $h$ and $c$ where a piece ends. `retain_graph=True` removes the message, not the cause: section 7.
#
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def backward_in_pieces_solution(cell, x, loss_of, piece):
    """The state goes on, its graph does not."""
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
backward_in_pieces = use("12.backward_in_pieces", backward_in_pieces, backward_in_pieces_solution)

# %% [markdown]
# **Predict**: cut a clip of 16 frames, half of them hidden, into pieces of 8, 4, 2 and 1. How similar is the
# direction of the gradient to that of the whole clip? (Cosine similarity: 1 is the same direction, 0 is
# orthogonal.)


# %%
def piecewise_gradient(model, piece):
    """The gradient at the weights of the cell (one vector), for 16 test clips."""
    x, where = x_test[:, :16], iter(where_test[:, :16])
    features = model.features(x.flatten(0, 1)).relu().unflatten(0, x.shape[:2]).detach()  # (T, B, 4, 8, 8)
    model.requires_grad_(True)
    model.cell.zero_grad()
    total = backward_in_pieces(
        model.cell, features, lambda h: tracking_loss(model.head(h).transpose(0, 1), next(where)[None]), piece
    )
    return total, model.cell.gates.weight.grad.flatten().clone()


cosine = {piece: [] for piece in (8, 4, 2, 1)}
totals = []
for seed in range(3):
    model = models["ConvLSTM 3 × 3", seed]
    total, whole = piecewise_gradient(model, 16)
    for piece in cosine:
        cut_total, gradient = piecewise_gradient(model, piece)
        cosine[piece].append(F.cosine_similarity(gradient, whole, dim=0).item())
        totals.append(cut_total / total)

# %% tags=["predict"]
figures.seed_spread(
    {f"pieces of {piece}": values for piece, values in cosine.items()},
    xlabel="cosine similarity with the gradient of the whole clip",
    signed=True,
    title="Three trained networks",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert all(math.isclose(ratio, 1, rel_tol=1e-4) for ratio in totals)  # the loss is the same
for longer, shorter in ((8, 4), (4, 2), (2, 1)):
    assert np.mean(cosine[longer]) > np.mean(cosine[shorter])
assert GPU or (min(cosine[4]) > 0.6 and max(cosine[1]) < 0.75)

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The loss is the same, because the state crosses every cut. The direction of the gradient is not: the shorter
# the pieces, the less it resembles that of the whole clip.
#
# </details>
#
# A piece of one frame asks what this frame should have done with the state as it arrived. It never asks what
# an earlier frame should have **written**, because that gradient would have to cross a cut. Yet the pieces
# need not be as long as what is to be remembered: with pieces of four frames the cosine similarity is above
# 0.6 in all three networks. And in inference a network can use a state of any age, however short the pieces
# were in training.

# %% [markdown]
# ## Deeper: one batch, one map, one device
#
# Another cell after public code creates its own state, once, from the first batch. Which changes does it
# survive?


# %%
class OwnState(nn.Module):
    """A ConvLSTM cell that creates its state at the first call and keeps it."""

    def __init__(self, C, D):
        super().__init__()
        self.cell, self.hidden, self.state = Cell(C, D, 3), D, None

    def forward(self, x):
        if self.state is None:
            zeros = torch.zeros(len(x), self.hidden, *x.shape[2:], device="cpu")  # (B, D, H, W)
            self.state = zeros, zeros.clone()
        self.state = self.cell(x, self.state)
        return self.state[0]


def failures(make):
    """Which changes after the first batch a cell does not survive."""
    failed = []
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
        except RuntimeError:
            failed.append(name)
    return failed


failed = {"our cell": failures(lambda: Cell(1, 4, 3)), "OwnState": failures(lambda: OwnState(1, 4))}
for name, changes in failed.items():
    print(f"{name}: fails after {', '.join(changes) or 'none of the five changes'}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert [len(changes) for changes in failed.values()] == [0, 5]

# %% [markdown]
# (`"meta"` is a device that computes shapes without values. It stands for a GPU that you may not have.) The
# first four have one cause: the state's shape, dtype and device are those of the first batch. The remedy is
# `x.new_zeros(…)` for each new video. The copy fails for another reason: the kept state still has its graph,
# and `deepcopy` refuses tensors that are results of autograd operations. `detach` would mend that.

# %% [markdown]
# ## Recap
#
# - An LSTM on flattened frames does not know which pixels are neighbors, and has one weight per pair of
#   position and unit.
# - A ConvLSTM is an LSTM at every position, whose gates read the neighborhood in input and hidden state. With
#   1 × 1 kernels it equals `nn.LSTMCell`. Its weights, $4D(C + D)k^2 + 4D$, do not depend on the map size.
# - It tracked a hidden object where the same network without a state, with 1 × 1 kernels or untrained could
#   not. The straight line is a baseline that any tracker must face.
# - The state is an argument and a result. Where a new video starts, select zeros; a product with 0 keeps NaN.
# - Read the same video after two others: the output must not change.
# - Truncated backpropagation through time carries the state over a cut and stops the gradient there. One
#   `backward` and one `step` per piece.
#
# ## Glossary
#
# | word | meaning | also called |
# |---|---|---|
# | ConvLSTM | an LSTM whose states are feature maps and whose gates are convolutions | convolutional LSTM |
# | ConvGRU | the same with a GRU | convolutional GRU |
# | position | one element of a map's grid, with all its channels | location, pixel, grid cell |
# | occlusion | an object is in the scene, but the camera does not see it | |
# | translation equivariance | shift the input, and the output shifts with it | shift equivariance |
# | truncated backpropagation through time | the state crosses a cut, the gradient does not | TBPTT |
# | detach | the same values without the graph of how they were computed | stop-gradient |
# | in place | writing into a tensor's own memory, so that the old values are lost | mutation |
# | peephole | lets a gate read the cell state, weighted element by element | peephole connection |
# | Hadamard product | the element-wise product of two arrays of one shape, $\odot$ | element-wise product |
# | propagation delay | how many frames information needs to travel a distance in the map | |
#
# ## Sources
#
# - X. Shi, Z. Chen, H. Wang, D.-Y. Yeung, W.-K. Wong, W.-C. Woo, *Convolutional LSTM Network: A Machine
#   Learning Approach for Precipitation Nowcasting*, [arXiv 1506.04214](https://arxiv.org/abs/1506.04214):
#   equation 3 (the cell, with peepholes).
# - N. Ballas, L. Yao, C. Pal, A. Courville, *Delving Deeper into Convolutional Networks for Learning Video
#   Representations*, [arXiv 1511.06432](https://arxiv.org/abs/1511.06432): the ConvGRU.
# - M. Liu, M. Zhu, *Mobile Video Object Detection with Temporally-Aware Feature Maps*,
#   [arXiv 1711.06368](https://arxiv.org/abs/1711.06368): Table 6, objects occluded in some frames, the model
#   for our clips.
# - The bug hunts: public PyTorch code of the Bottleneck-LSTM, among it
#   `vikrant7/mobile-vod-bottleneck-lstm`; its users report the errors of section 7 in [issue
#   25](https://github.com/vikrant7/mobile-vod-bottleneck-lstm/issues/25).
#
# **Next**: notebook 13. A ConvLSTM from 1024 channels to 256 has 11.8 million weights. The Bottleneck-LSTM
# needs 601,344.
