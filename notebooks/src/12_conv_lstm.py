# %% [markdown]
# # 12 · ConvLSTM
#
# **You will write an LSTM whose state is an image, prove that it is still an LSTM, and train it to track an
# object while the object cannot be seen.**
#
# *Core path: about 60 minutes; deeper sections: about 60; all cells together run in about
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


def as_bytes(x):
    """Frames as gray values from 0 to 255."""
    return (70 * x + 60).clamp(0, 255).byte()


HIDDEN = [False] * 8 + [True] * 8  # test clips: visible for 8 frames, then hidden for 8
examples, example_paths = make_clips(12, HIDDEN, np.random.default_rng(5))  # (T, N, 1, H, W), (T, N, 2)
uncovered, _ = make_clips(12, [False] * 16, np.random.default_rng(5))
shown = list(range(2, 14))
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

# %%
_ = torch.manual_seed(0)
lstm = nn.LSTM(256, 64).double()
order = torch.randperm(256)
shuffled_lstm = copy.deepcopy(lstm)
shuffled_lstm.weight_ih_l0.data = lstm.weight_ih_l0.data[:, order]  # the columns in the same new order

flat = examples.flatten(2).double()  # (T, N, 256)
h, h_shuffled = lstm(flat)[0].detach(), shuffled_lstm(flat[..., order])[0].detach()  # (T, N, 64)

# %% tags=["predict"]
agree("shuffled pixels, shuffled columns of the weights", h_shuffled, h)
figures.clip_rows(
    {
        "video": as_bytes(uncovered[2:12:2, 0, 0]),
        "pixels shuffled": as_bytes(uncovered.flatten(2)[2:12:2, 0, order].unflatten(1, (16, 16))),
    },
    [f"frame {t}" for t in range(2, 12, 2)],
    title="Equally hard for an LSTM on flattened frames",
)

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Not at all. Every LSTM that reads the video has a twin that reads the shuffled video equally well: the one
# with its columns in the new order. Initialization draws all columns from the same distribution, so training
# starts from both with equal probability.
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
# (notebook 11). So each position must be an LSTM of its own. We compare your step with `nn.LSTMCell`, the
# positions as its batch, and with 3 × 3 kernels with the package's cell:


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
    print(f"{side} × {side}: {cost.weights:,} weights, {cost.multiply_adds:,} multiply-adds per frame;", end=" ")
    print(f"flattened: {flattened / 1e6:.1f} M weights")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert cost.weights == 4 * 8 * 12 * 9 + 32 == 3_488 and cost.multiply_adds == 3_456 * 16**2
assert round(flattened / (4 * 8 * 8**2 * (12 * 8**2 + 2)), 1) == 16.0

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The weights stay, the multiply-adds grow by 4: it is a convolution. The flattened LSTM needs 16 times the
# weights.
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
# training clips come with the ground truth of what the camera did not see.


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


def hidden_runs(rng, T=12, B=16, fraction=0.4, mean_length=4):
    """(T, B) bool: which frames of each clip are hidden; about `fraction`, in runs of random length."""
    start = fraction / ((1 - fraction) * mean_length)
    hidden = np.zeros((T, B), bool)
    for t in range(1, T):
        hidden[t] = rng.random(B) < np.where(hidden[t - 1], 1 - 1 / mean_length, start)
    return hidden


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


models = {(name, seed): train(name, seed) for name in NETWORKS for seed in range(3)}

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
off = {name: torch.stack([distance(models[name, s], x_test, where_test) for s in range(3)]) for name in NETWORKS}

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

# %% tags=["hide-input"]
# @title Plot: over the hidden frames { display-mode: "form" }
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
