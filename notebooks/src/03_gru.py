# %% [markdown]
# # 03 · GRU: memory with gates
#
# **You will build a network that remembers, see why the simplest one forgets, mend it with gates, and test by
# measurement whether the GRU is as good as people say.**
#
# *About 100 minutes to read and solve; all cells together run in about a minute on one CPU core.*
#
# **You need**: PyTorch's `backward`; from notebook 02 that one output of LipNet's convolutions sees 7 frames.
# Shapes are written `(T, B, F)`: frames, clips, features of a frame. `D` is the size of a memory.
#
# **You will be able to**
# - write an RNN, an LSTM and a GRU, one gate a line, and prove that yours equal PyTorch's;
# - say why gradients vanish or explode along time, and measure it;
# - take a GRU's gradient back by hand, one product a frame;
# - read the gates of a trained GRU like a score;
# - run a network in both directions over clips of unequal length without letting the padding in;
# - choose first weights for what they are for;
# - put a claim such as "the GRU is faster and no worse" to the test, and say what the test does not show.

# %%
import math
import time
import warnings

import numpy as np
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from tqdm.auto import tqdm

import lessons
from lessons import figures
from lessons.checks import agree, check
from lessons.ctc.grammar import SLOTS, random_sentence
from lessons.data.synthetic.talker import Speaker, render, say
from lessons.data.synthetic.visemes import articulate, word_visemes
from lessons.layers import gru, lstm
from lessons.layers.gru_fast import GRUScan
from lessons.measure.counting import count
from lessons.source import show

# %% [markdown]
# ## 1. What seven frames cannot hold
#
# Two drawn mouths say two words each: **bin now** and **set now**. Same timing, same face.


# %%
def film_of(*words):
    """Two words of three visemes, with fixed timing: the film (30, H, W), and the mouth's shapes (30, 8)."""
    visemes = ["sil", *(viseme for word in words for viseme in word_visemes(word)), "sil"]
    borders = np.array([0, 4, 7, 10, 13, 16, 19, 22, 30])  # frames
    shapes = articulate(visemes, borders, np.arange(30) + 0.5)  # (T, 8)
    rng = np.random.default_rng(3)
    speaker = Speaker.random(rng)
    return render(shapes, speaker, (32, 64), False, rng), torch.from_numpy(shapes)


bin_now, _ = film_of("bin", "now")  # (T, H, W) uint8
set_now, _ = film_of("set", "now")
different = (bin_now != set_now).any(axis=(1, 2))  # (T,)
last = int(np.flatnonzero(different)[-1])
blind = last + 1 + 3  # the first frame whose window of 7, three to each side, holds no difference
print(f"the films differ up to frame {last}; from frame {blind} on a window of 7 frames sees no difference")
_, segments = say("bin blue at f two now", 1.0, np.random.default_rng(0))
print(f"a sentence of six words takes about {segments[-1][0] - segments[0][1]:.0f} frames")
assert segments[-1][0] - segments[0][1] > 3 * 7
assert not different[blind - 3 :].any() and blind < 16
shown = list(range(4, 20, 2))
figures.clip_rows(
    {"bin now": bin_now[shown], "set now": set_now[shown]},
    [f"frame {t}" for t in shown],
    title="Two different words, then the same word",
)

# %% [markdown]
# Ask at the last frame: *which command was it?* The convolutions of notebook 02 look at seven frames. Theirs
# is the same input for both films, so theirs is the same answer, whatever their weights. A whole sentence
# lasts several such windows. Whoever wants to know at the end what was said at the start must **carry
# something along**.

# %% [markdown]
# ## 2. The plain RNN: carry a memory along
#
# A **recurrent** network keeps $D$ numbers, its memory $h$. At every frame it makes the new memory from the
# frame $x_t$ ($F$ numbers) and the old memory, with the same weights each time:
#
# $$h_t = \tanh(W x_t + b + U h_{t-1} + u), \qquad W: D \times F, \quad U: D \times D$$
#
# (torch calls $W, U, b, u$ `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`: input to hidden, hidden to
# hidden.)


# %%
def rnn_step(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """x (B, F), h (B, D) -> the new memory, as a tuple of one (B, D)."""
    return (torch.tanh(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh),)


def unroll(step, x, state, weights):
    """x (T, B, F); state: a tuple of (B, D), h first -> h after every frame (T, B, D)."""
    memories = []
    for frame in x:  # (B, F)
        state = step(frame, *state, *weights)
        memories.append(state[0])
    return torch.stack(memories)  # (T, B, D)


def same_as_torch(name, step, theirs, n_states=1):
    """A layer by hand against torch's, with torch's weights: values, then all gradients."""
    _ = torch.manual_seed(0)
    theirs = theirs.double()
    x = torch.randn(12, 3, theirs.input_size).double().requires_grad_()  # (T, B, F)
    state = (torch.zeros(3, theirs.hidden_size).double(),) * n_states  # (B, D) each
    weights = tuple(theirs.parameters())
    ours, expected = unroll(step, x, state, weights), theirs(x)[0]  # (T, B, D) both
    agree(f"{name}, values", ours, expected, tolerance=1e-12)
    delta = torch.randn_like(ours)  # (T, B, D): an arbitrary gradient from above
    pairs = zip(*(torch.autograd.grad(y, (x, *weights), delta) for y in (ours, expected)), strict=True)
    largest = max((a - b).abs().max().item() for a, b in pairs)
    assert largest < 1e-12
    print(f"{name}, gradients of x and {len(weights)} weights: largest difference below 1e-12")


same_as_torch("RNN", rnn_step, nn.RNN(5, 4))

# %% [markdown]
# ## 3. Why it forgets
#
# To learn that frame 0 mattered, the loss at the last frame must reach frame 0 with its gradient, frame by
# frame back along the memory: **backpropagation through time**. Measure how much of it arrives: the length of
# the gradient of a loss at the last frame, with respect to each frame, compared with that of the last frame
# itself. Random clips, $D = 32$, six seeds. Beside torch's own first weights stand two RNNs with a larger
# $U$: drawn with deviation $\text{gain}/\sqrt{D}$, it stretches a random vector by about the gain.
#
# **How to read the picture.** The axis goes in powers of ten, else a thousandth and a billionth would both
# lie on the zero line. $1$ is as much as at the last frame, $10^{-3}$ a thousandth of it. On such an axis
# *the same factor every frame* is a straight line: down if the factor is below 1, up if it is above. A line
# is the mean of the six seeds' exponents, the band around it their range.
#
# **Predict.** The weights are torch's own first weights. After how many frames back is the gradient a
# thousandth?


# %%
def reach(make, seed, T=60, B=16, F=8, D=32):
    """(T,): log10 of the gradient that arrives 0, 1, 2 … frames before the last, against the last's."""
    _ = torch.manual_seed(seed)
    network = make(F, D).double()
    x = torch.randn(T, B, F).double().requires_grad_()  # (T, B, F)
    last = network(x)[0][-1]  # (B, D)
    loss = (last @ torch.randn(D).double()).square().mean()
    (gradient,) = torch.autograd.grad(loss, x)  # (T, B, F)
    length = gradient.flatten(1).norm(dim=1)  # (T,)
    return (length / length[-1]).log10().flip(0)


def rnn_with_gain(gain):
    """Makes an RNN whose U is random with standard deviation gain / sqrt(D)."""

    def make(F, D):
        network = nn.RNN(F, D)
        nn.init.normal_(network.weight_hh_l0, std=gain / math.sqrt(D))
        return network

    return make


RNNS = {"gain 3": rnn_with_gain(3.0), "gain 1": rnn_with_gain(1.0), "torch's first weights": nn.RNN}
reaches = {name: torch.stack([reach(make, seed) for seed in range(6)]) for name, make in RNNS.items()}

mean = reaches["torch's first weights"].mean(0)  # (T,), the mean of the logarithms
thousandth = next(k for k in range(60) if mean[k] < -3)
print(f"torch's first weights: a thousandth is left after {thousandth} frames")
for name, values in reaches.items():
    after = values.mean(0)[59].item()
    print(f"{name:22} 10^{after:.0f} after 59 frames: a factor of {10 ** (after / 59):.2f} a frame")
    assert 10 ** (after / 59) < {"gain 3": 3, "gain 1": 1}.get(name, 1 / math.sqrt(3))  # less than U's own
assert 7 < thousandth < 15 and mean[59] < -14 and reaches["gain 3"][:, 59].min() > 5
assert reaches["torch's first weights"][:, 59].max() < -12  # in every one of the six seeds
figures.curves(
    reaches,
    xlabel="frames before the last",
    ylabel="gradient / that at the last frame",
    powers=True,
    level=0.0,
    title="Plain RNN: what the last loss says to earlier frames (mean and range, 6 seeds)",
)

# %% [markdown]
# All three lines are nearly straight. With torch's first weights the first frame hears nothing: the share
# that arrives is lost in the rounding of what the later frames say. With large weights the gradient
# **explodes** instead. Between the two there is a narrow ridge, and nothing keeps a training on it.
#
# ### The reason: a product of matrices
#
# By the chain rule, the influence of an early memory on a late one is one matrix for each frame between them,
# multiplied:
#
# $$\frac{\partial h_t}{\partial h_s} = J_t\, J_{t-1} \cdots J_{s+1}, \qquad
#   J_k = \operatorname{diag}(1 - h_k^2)\; U$$
#
# ($\tanh' = 1 - \tanh^2$.) Each factor shrinks or stretches, and the product does so 59 times over.
# torch's $U$ stretches by 0.58, which makes $10^{-14}$ of 59 frames. And the tanh only ever helps to shrink,
# for $1 - h^2 \le 1$: so the lines above fall faster than $U$ alone would make them, and gain 3 grows by less
# than 3 a frame.

# %%
_ = torch.manual_seed(0)
network = nn.RNN(8, 32).double()
W, U, b, u = network.parameters()
frames = torch.randn(12, 8).double()  # (T, F), one clip


def run_from(h):
    """All memories (T, D) from the first memory h (D,)."""
    return unroll(rnn_step, frames[:, None], (h[None],), (W, U, b, u))[:, 0]


memories = run_from(torch.zeros(32).double())  # (T, D)
product = torch.eye(32).double()  # (D, D)
for h in memories:
    product = torch.diag(1 - h**2) @ U @ product  # the latest frame stands on the left
by_autograd = torch.autograd.functional.jacobian(lambda h: run_from(h)[-1], torch.zeros(32).double())
largest = (product - by_autograd).abs().max().item()
print(f"product of 12 Jacobians against autograd: approximate {torch.allclose(product, by_autograd)},")
print(f"largest difference below 1e-15: {largest < 1e-15} (exact is not to be expected: tanh rounds)")
assert largest < 1e-15 < 1e-4 < by_autograd.abs().max()

# torch draws U from ±1/√D, whose standard deviation is 1/√(3D): U stretches a random vector by 1/√3
stretch = 1 / math.sqrt(3)
print(f"stretch of torch's U: {stretch:.2f} a frame, 10^{59 * math.log10(stretch):.0f} after 59")
assert round(59 * math.log10(stretch)) == -14

# %% [markdown]
# ## 4. The LSTM: a memory that is added to
#
# Products of 59 matrices are the trouble, so keep a second memory $c$ that is *not* multiplied by a matrix,
# only by a number between 0 and 1 for each unit: a **gate**. A gate is a small layer with a sigmoid $\sigma$
# at its end. 0 is shut, 1 is open.
#
# $$\begin{aligned}
# i &= \sigma(W_i x + b_i + U_i h + u_i) && \text{input: how much to write}\\
# f &= \sigma(W_f x + b_f + U_f h + u_f) && \text{forget: how much to keep}\\
# g &= \tanh(W_g x + b_g + U_g h + u_g) && \text{candidate: what to write}\\
# o &= \sigma(W_o x + b_o + U_o h + u_o) && \text{output: how much to show}\\
# c' &= f \odot c + i \odot g && h' = o \odot \tanh(c')
# \end{aligned}$$
#
# ($\odot$: unit by unit.) Along $c$ the gradient is multiplied by $f$, one frame after the other. Where $f$
# is 1 it arrives whole.
#
# In the picture, what is kept runs along the top; $x$ and $h$ go into every gate. The right half is the next
# section's.

# %%
figures.lstm_gru_diagram()

# %% [markdown]
# ### Exercise 1 · `lstm_step` · difficulty ★★☆ · 12 minutes
#
# One frame. torch stacks the four layers in the order **i, f, g, o**: `weight_ih` is $(4D, F)$, its first $D$
# rows are $W_i$. `tensor.chunk(4, dim=-1)` cuts a tensor into four. Write one gate a line.


# %%
def lstm_step(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh):
    """x (B, F), h and c (B, D) -> the new (h, c). weight_ih (4D, F), weight_hh (4D, D), biases (4D,)."""
    raise NotImplementedError


check("03.lstm_step", lstm_step)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def lstm_step_solution(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh):
    """The equations, line by line."""
    all_gates = x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh  # (B, 4D)
    i, f, g, o = all_gates.chunk(4, dim=-1)  # (B, D) each
    i = torch.sigmoid(i)
    f = torch.sigmoid(f)
    g = torch.tanh(g)
    o = torch.sigmoid(o)
    c = f * c + i * g
    h = o * torch.tanh(c)
    return h, c


# %%
check("03.lstm_step", lstm_step_solution)
same_as_torch("LSTM", lstm_step_solution, nn.LSTM(5, 4), n_states=2)

# %% [markdown]
# ## 5. The GRU: one memory, two gates
#
# The **gated recurrent unit** (Cho et al., 2014) drops the second memory. What is kept and what is written
# add up to one, so a single gate $z$ decides both:
#
# $$\begin{aligned}
# r &= \sigma(W_r x + b_r + U_r h + u_r) && \text{reset: how much of the memory to consult}\\
# z &= \sigma(W_z x + b_z + U_z h + u_z) && \text{update: how much of the memory to keep}\\
# n &= \tanh\!\big(W_n x + b_n + r \odot (U_n h + u_n)\big) && \text{new: the candidate}\\
# h' &= (1 - z) \odot n + z \odot h
# \end{aligned}$$
#
# Mind the name: $z = 1$ means *do not update*. Through $z \odot h$ the old memory has a direct way into the
# new one, and along it the gradient is multiplied by $z$, as by $f$ in the LSTM. (Texts differ in which of
# $z$ and $1-z$ they call the update gate. The network is the same, for the signs are learned.)
#
# **Where $r$ stands.** In $r$, in $z$ and in all of the LSTM, what the frame says and what the memory says
# are simply added. In $n$ they are not:
#
# $$n = \tanh\!\big(\underbrace{W_n x + b_n}_{\text{the frame's part}} + r \odot
#   \underbrace{(U_n h + u_n)}_{\text{the memory's part}}\big)$$
#
# $r$ turns the memory's part down, its bias $u_n$ with it, and leaves the frame's part alone. One unit, in
# numbers, then torch's own cell with its gates set by hand:

# %%
frame_part, memory_part = 0.5, -2.0  # of one unit
for r in (1.0, 0.5, 0.0):
    print(f"r = {r}: n = tanh({frame_part} + {r} · ({memory_part})) = {math.tanh(0.5 + r * -2.0):+.2f}")

_ = torch.manual_seed(0)
cell, x, h = nn.GRUCell(5, 4).double(), torch.randn(3, 5).double(), torch.randn(3, 4).double()
W, U, b, u = (parameter.detach() for parameter in cell.parameters())
of_n = (W[8:], U[8:], b[8:], u[8:])  # the last of three blocks of D rows
b[4:8] = -50.0  # z = 0, so h' = n
for r, bias, expected in (
    (1, 50.0, rnn_step(x, h, *of_n)[0]),
    (0, -50.0, torch.tanh(x @ of_n[0].T + of_n[2])),
):
    b[:4] = bias
    agree(f"torch's n at r = {r}", cell(x, h).detach(), expected, tolerance=1e-12)

# %% [markdown]
# With $r = 1$ the candidate is what the plain RNN would remember; with $r = 0$ it is made from the frame
# alone.
#
# ### Exercise 2 · `gru_step` · difficulty ★★☆ · 12 minutes
#
# torch's order is **r, z, n**. The LSTM's short cut, to add everything up first and cut the sum, comes too
# early here: $r$ needs the memory's part by itself. So cut up the frame's product and the memory's product
# separately.


# %%
def gru_step(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """x (B, F), h (B, D) -> the new h (B, D). weight_ih (3D, F), weight_hh (3D, D), biases (3D,)."""
    raise NotImplementedError


check("03.gru_step", gru_step)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def gru_step_solution(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """The equations, line by line."""
    x_r, x_z, x_n = (x @ weight_ih.T + bias_ih).chunk(3, dim=-1)  # (B, D) each
    h_r, h_z, h_n = (h @ weight_hh.T + bias_hh).chunk(3, dim=-1)  # (B, D) each
    r = torch.sigmoid(x_r + h_r)
    z = torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    return (1 - z) * n + z * h


# %%
check("03.gru_step", gru_step_solution)
same_as_torch("GRU", lambda *arguments: (gru_step_solution(*arguments),), nn.GRU(5, 4))

# %% [markdown]
# ## 6. How long does a gate hold?
#
# **Predict.** Back to the measurement of section 3, now with an LSTM and a GRU. Will their gradients reach
# further back than the plain RNN's, with torch's first weights?


# %%
def with_bias(kind, bias):
    """Makes an nn.GRU or nn.LSTM whose keeping gate has `bias` more; it is the second gate in both."""

    def make(F, D):
        network = kind(F, D)
        with torch.no_grad():
            network.bias_hh_l0[D : 2 * D] += bias  # z of a GRU, f of an LSTM
        return network

    return make


GATED = {
    "GRU, bias of z + 4": with_bias(nn.GRU, 4.0),
    "LSTM, bias of f + 4": with_bias(nn.LSTM, 4.0),
    "LSTM": nn.LSTM,
    "GRU": nn.GRU,
    "RNN": nn.RNN,
}
gated = {name: torch.stack([reach(make, seed) for seed in range(6)]) for name, make in GATED.items()}
for name, values in gated.items():
    print(f"{name:20} 59 frames back 10^{round(values.mean(0)[59].item())}")
assert all(gated[name][:, 59].max() < -10 for name in ("GRU", "LSTM", "RNN"))
assert all(-13 < gated[name].mean(0)[59] < -11 for name in ("GRU", "LSTM"))
assert all(gated[name][:, 59].abs().max() < 1 for name in GATED if "+ 4" in name)
figures.curves(
    gated,
    xlabel="frames before the last",
    ylabel="gradient / that at the last frame",
    powers=True,
    level=0.0,
    title="Gates carry the gradient where they are told to keep (mean and range, 6 seeds)",
)

# %% [markdown]
# Fresh from torch, the gated networks forget as well! Their gates start near $\sigma(0) = \tfrac12$, and a
# half a frame is $10^{-18}$ after 59. (What arrives is $10^{-12}$, for the gates read the old memory too and
# hand on a share.) **A gate is not memory; it is a place where memory can be learned.** One number
# makes the difference: with a bias of 4 the gate starts at $\sigma(4) = 0.98$, and the gradient arrives. That
# is why people start the forget gate with a bias above 0 (Jozefowicz et al., 2015).
#
# The simplest GRU that shows it has one unit. At frame 5 it gets a mark, lets go of the old ($z \to 0$) and
# notes a 1. From then on $z = \sigma(\text{bias})$, and a memory that is multiplied by $z$ each frame has
# halved after $\ln\tfrac12 / \ln z$ frames.


# %%
def one_unit(bias, T=75):
    """A GRU with D = 1, set by hand: the mark opens z and asks for a 1; then only `bias` decides -> (T,)."""
    cell = gru.GRU(1, 1).double()
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.zero_()
        cell.weight_ih_l0[1] = -30.0 - bias  # z: the mark shuts out the old memory
        cell.weight_ih_l0[2] = 30.0  # n: the mark writes tanh(30) = 1
        cell.bias_hh_l0[1] = bias
        mark = torch.zeros(T, 1, 1).double()  # (T, B, F)
        mark[5] = 1.0
        return cell(mark)[0][:, 0, 0]  # (T,)


held = {f"bias {bias}": one_unit(float(bias)) for bias in (6, 4, 2, 0)}
for bias in (0, 2, 4, 6):
    z = 1 / (1 + math.exp(-bias))
    half_life = math.log(0.5) / math.log(z)
    curve = held[f"bias {bias}"]
    print(f"bias {bias}: z = {z:.4f}, frames until half of the note is left: {half_life:.0f}")
    assert torch.allclose(curve[5:], z ** torch.arange(70).double(), atol=1e-9)  # z a frame, no more no less
assert round(math.log(0.5) / math.log(1 / (1 + math.exp(-4)))) == 38 and -59 * math.log10(2) < -17.5
figures.curves(
    held, xlabel="frame", ylabel="memory", level=0.5, level_label="half", title="A note taken at frame 5"
)

# %% [markdown]
# In Jupyter or Colab, set the bias yourself. Which one do you need, to have half of the note left after a
# word of 8 frames? After a sentence of 28? (The cell below the slider has the answer.)

# %% tags=["nbval-ignore-output"]
# output not compared: the slider is a widget, which lives only while the notebook runs
from ipywidgets import interact


@interact(bias=(-2.0, 8.0, 0.5))
def keep(bias=3.0):
    return figures.curves(
        {"memory": one_unit(bias)},
        xlabel="frame",
        ylabel="memory",
        level=0.5,
        level_label="half",
        ylim=(0, 1),
    )


# %%
for frames in (8, 28):
    z = 0.5 ** (1 / frames)  # z multiplied `frames` times is a half
    bias = math.log(z / (1 - z))  # the sigmoid, turned round
    print(f"half is left after {frames} frames: z = {z:.3f}, bias {bias:.1f}")
    assert math.isclose(one_unit(bias)[5 + frames].item(), 0.5, rel_tol=1e-6)


# %% [markdown]
# ## 7. Gates at work
#
# A network learns its own gates. To see *why* they open and close, give it a task in which you know when they
# must. Every frame brings a random number; some frames carry a **mark**. The answer, at every frame, is **the
# number that came with the last mark**. So: note it when marked, keep it until the next mark, ignore the
# rest.
#
# (A lip reader needs the same: hold "the lips have closed" until the vowel tells which word it is.)


# %%
def notes(B, T, generator):
    """x (T, B, 2): a number and a mark, 0 or 1; the answer (T, B)."""
    number = 2 * torch.rand(T, B, generator=generator) - 1  # (T, B)
    mark = torch.rand(T, B, generator=generator) < 0.1  # (T, B)
    mark[0] = True
    last = torch.where(mark, torch.arange(T)[:, None], 0).cummax(0).values  # (T, B): frame of the last mark
    answer = number.gather(0, last)  # (T, B): at t, b stands number[last[t, b], b]
    return torch.stack([number, mark.float()], dim=-1), answer


class NoteTaker(nn.Module):
    def __init__(self, kind, D=2):
        super().__init__()
        self.memory, self.head = kind(2, D), nn.Linear(D, 1)

    def forward(self, x):
        return self.head(self.memory(x)[0])[..., 0]  # (T, B, 2) -> (T, B, D) -> (T, B)


# A GPU is not faster here: each step of a small cell is a handful of tiny operations.
device = lessons.device()


def train(model, next_batch, loss_of, steps, rate):
    """The loop for all of this notebook: Adam, a rate that rises and falls, clipped gradients."""
    model.to(device)
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=rate), []
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for _ in range(steps):
        x, y = (t.to(device) for t in next_batch())
        loss = loss_of(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    model.cpu()
    return losses


def note_taker(kind, seed):
    _ = torch.manual_seed(seed)
    model, generator = NoteTaker(kind), torch.Generator().manual_seed(seed)
    losses = train(model, lambda: notes(32, 24, generator), nn.functional.mse_loss, steps=160, rate=0.1)
    return model, losses


# %%
runs = [(kind, seed) for kind in (nn.RNN, gru.GRU) for seed in range(3)]
takers = {(kind.__name__, seed): note_taker(kind, seed) for kind, seed in tqdm(runs, desc="training")}

# %%
x_test, y_test = notes(200, 75, torch.Generator().manual_seed(1000))  # three times as long as in training
errors = {"RNN": [], "GRU": []}
for (name, _), (model, _) in takers.items():
    with torch.no_grad():
        errors[name].append(nn.functional.mse_loss(model(x_test), y_test).item())
guess = y_test.var().item()  # the best that a constant can do
print(f"mean squared error: best RNN {min(errors['RNN']):.1f}, worst GRU {max(errors['GRU']):.2f}")
print(f"always the same answer: {guess:.2f}")
assert max(errors["GRU"]) < 0.1 * guess < 0.6 * guess < min(errors["RNN"])
smooth = torch.ones(1, 1, 10) / 10  # mean of 10 steps
curves = {}
for name in errors:
    losses = torch.tensor([takers[name, seed][1] for seed in range(3)])  # (3, 160)
    curves[name] = nn.functional.conv1d(losses[:, None], smooth)[:, 0]  # (3, 151)
figures.curves(
    curves,
    steps=range(10, 161),
    level=1 / 3,
    ylabel="squared error, mean of 10",
    ylim=(0, 0.45),
    title="Keeping a number: three seeds each, D = 2 (dashed: always the same answer)",
)

# %% [markdown]
# The plain RNN hardly gets below a constant answer; the GRU keeps notes, also over clips three times as long
# as those that it was trained on. Now look inside. The steps of exercise 2, with the trained weights, let us
# keep the gates:


# %%
def watch_gates(network, x):
    """A trained GRU and x (T, F) -> r, z and h at every frame, (T, D) each."""
    W, U, b, u = (p.detach() for p in network.parameters())
    h, seen = torch.zeros(network.hidden_size), []
    for frame in x:  # (F,)
        x_r, x_z, _ = (W @ frame + b).chunk(3)  # (D,) each
        h_r, h_z, _ = (U @ h + u).chunk(3)  # (D,) each
        h = gru_step_solution(frame, h, W, U, b, u)  # (D,)
        seen.append((torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z), h))
    return tuple(torch.stack(part) for part in zip(*seen, strict=True))


model = takers["GRU", 2][0]
shown = int((x_test[..., 1].sum(0) == 7).nonzero()[0])  # the first clip with seven marks
x, y = x_test[:, shown], y_test[:, shown]  # (T, F), (T,)
r, z, h = watch_gates(model.memory, x)  # (T, D) each
agree("memory with the gates kept", h, model.memory(x[:, None])[0][:, 0].detach(), tolerance=1e-5)
with torch.no_grad():
    out = model(x[:, None])[:, 0]  # (T,)
figures.gate_activations(
    x[:, 0],
    x[:, 1],
    {"update z": z, "reset r": r},
    y,
    out,
    title="Dark: z keeps the memory. At a mark it lets go",
)

# %%
for seed in range(3):
    memory = takers["GRU", seed][0].memory
    z = torch.stack([watch_gates(memory, x_test[:, i])[1] for i in range(15)], dim=1)  # (T, B, D)
    marked = x_test[:, :15, 1] == 1  # (T, B)
    kept, let_go = z[~marked].mean(0), z[marked].mean(0)  # (D,) each
    unit = int((kept - let_go).argmax())
    print(f"seed {seed}, unit {unit + 1}: z is {kept[unit]:.1f} without a mark, {let_go[unit]:.1f} with one")
    assert kept[unit] > 0.9 and let_go[unit] < 0.4

# %% [markdown]
# **This is the picture to keep.** Without a mark, $z$ is near 1 and the memory is copied from frame to frame.
# At a mark, $z$ falls, the old note goes and the new one comes in. Nobody told the network when: its gates
# read the mark, for they are layers like any other. Each of the three networks has found this by itself in at
# least one of its two units. (Do not read much into $r$ between the marks. It only shapes the candidate, and
# of that the share $1 - z$ is written: next to nothing.)
#
# <details><summary><b>Help: "the loss becomes NaN after some steps"</b></summary>
#
# Along 75 frames a gradient can explode (section 3). Shorten it before each step, as `train` above does:
# `nn.utils.clip_grad_norm_(model.parameters(), 1.0)`. If it is NaN from the very first step, look at the
# input: `torch.isfinite(x).all()`. Clipping does not help against a NaN that is already in the gradient.
#
# </details>

# %% [markdown]
# ## 8. Reset before, reset after
#
# Cho et al. wrote the candidate differently, and LipNet's paper (§3.2) follows them. There the reset gate
# takes away parts of the memory **before** the product with $U_n$:
#
# $$n = \tanh\!\big(W_n x + b_n + U_n (r \odot h) + u_n\big) \qquad\text{instead of}\qquad
#   n = \tanh\!\big(W_n x + b_n + r \odot (U_n h + u_n)\big)$$
#
# `nn.GRU` and NVIDIA's cuDNN reset **after** it: then $U_r h$, $U_z h$ and $U_n h$ come out of *one* product
# $U h$, in place of two that must wait for each other. LipNet's own code ran on cuDNN, so what was trained is
# not what the paper prints. **Predict**: with the same weights, how different are the two?


# %%
def largest_gap(change=lambda cell: None):
    """Largest difference between the two forms over 40 frames, with the same weights."""
    _ = torch.manual_seed(0)
    after, before = gru.GRU(8, 16).double(), gru.GRU(8, 16, reset="before").double()
    with torch.no_grad():
        change(after)
        before.load_state_dict(after.state_dict())
        x = torch.randn(40, 4, 8).double()  # (T, B, F)
        return (after(x)[0] - before(x)[0]).abs().max().item()


def open_reset(cell):
    cell.bias_hh_l0[:16] = 50.0  # r = 1 everywhere


def diagonal(cell):
    cell.weight_hh_l0[32:] = torch.diag(cell.weight_hh_l0[32:].diagonal())  # units of U_n do not mix


def diagonal_without_bias(cell):
    diagonal(cell)
    cell.bias_hh_l0[32:] = 0.0  # and u_n = 0


CASES = {
    "any weights": lambda cell: None,
    "r = 1": open_reset,
    "U_n diagonal": diagonal,
    "U_n diagonal and u_n = 0": diagonal_without_bias,
}
gaps = {name: largest_gap(change) for name, change in CASES.items()}
for name, gap in gaps.items():
    print(f"{name:25} largest difference {gap:.2f}" if gap > 1e-12 else f"{name:25} the same")
assert gaps["any weights"] > 0.05 and gaps["U_n diagonal"] > 0.01
assert max(gaps["r = 1"], gaps["U_n diagonal and u_n = 0"]) < 1e-12

# %% [markdown]
# Not the same function. They agree where the gate is wide open, or where the product does not mix units (then
# it does not matter on which side of it you scale) and the bias inside the bracket is 0. Both can be trained;
# what you must not do is load weights of the one into the other. Here is the finished step with both
# (`x_gates` is $Wx + b$, the frame's part of all three, which needs no memory and so is found for all frames
# at once):

# %%
show(gru.gru_step)

# %% [markdown]
# ## 9. Count: 4 to 3
#
# ### Exercise 3 · `count_weights` · difficulty ★☆☆ · 5 minutes
#
# How many numbers does one recurrent layer learn? `gates` is the number of layers stacked in it: 1 for the
# RNN, 3 for the GRU (r, z, n), 4 for the LSTM. torch keeps two biases. With two `directions` (section 10)
# there is a second layer of the same size.


# %%
def count_weights(F, D, gates, directions):
    """Numbers learned by one layer that reads F features into a memory of D."""
    raise NotImplementedError


check("03.count_weights", count_weights)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def count_weights_solution(F, D, gates, directions):
    """Each gate: D rows of F + D weights, and two biases for each row."""
    return directions * gates * D * (F + D + 2)


# %%
check("03.count_weights", count_weights_solution)

# %%
# a frame of LipNet's last convolution has 96 channels of 4 x 8
lipnet_gru = count_weights_solution(96 * 4 * 8, 256, gates=3, directions=2)
as_lstm = count_weights_solution(96 * 4 * 8, 256, gates=4, directions=2)
print(f"LipNet's first GRU: {lipnet_gru:,} weights; as an LSTM {as_lstm:,}; ratio {as_lstm / lipnet_gru:.3f}")
assert lipnet_gru == sum(p.numel() for p in nn.GRU(3072, 256, bidirectional=True).parameters()) == 5_114_880
work = {
    kind.__name__: count(kind(3072, 256, bidirectional=True), torch.zeros(75, 1, 3072)).multiply_adds
    for kind in (nn.GRU, nn.LSTM)
}
print({name: f"{value / 1e6:.0f} M multiply-adds" for name, value in work.items()})
assert as_lstm * 3 == lipnet_gru * 4 and work["LSTM"] * 3 == work["GRU"] * 4

# %% [markdown]
# LSTM to GRU is 4 to 3, exactly, in weights and in multiply-adds. So the GRU should need three quarters of
# the time. Keep that prediction for section 13.

# %% [markdown]
# ## 10. Both directions
#
# "Place" and "please" begin alike: lips closed, then the tongue of the /l/. Which of the two is it, at the
# first frame of the word? Nobody can know **yet**. A network that runs forwards gives its answer for frame
# $t$ from frames $0 \ldots t$:


# %%
def shapes_of(word):
    visemes = ["sil", *word_visemes(word), "sil"]
    borders = np.cumsum([0, 4, *[4] * (len(visemes) - 2), 10])[: len(visemes) + 1]
    return torch.from_numpy(articulate(visemes, borders, np.arange(20) + 0.5)).float()[:, None]  # (T, 1, 8)


place, please = shapes_of("place"), shapes_of("please")
apart = int(((place - please).abs().amax((1, 2)) > 1e-4).nonzero()[0])
print(f"the films first differ at frame {apart}; the word begins at frame 4")
_ = torch.manual_seed(0)
for name, network in [("forwards", nn.GRU(8, 24)), ("both ways", nn.GRU(8, 24, bidirectional=True))]:
    with torch.no_grad():
        gap = (network(place)[0] - network(please)[0]).abs()[4:apart].max().item()
    print(f"{name:9} the answers before frame {apart} differ by {gap:.3f}")
    assert (gap < 1e-3) == (name == "forwards")
assert apart > 8

# %% [markdown]
# With any weights, the forward network says the same of both until the films part. Its answer would have to
# wait. LipNet does not wait: a second GRU, with weights of its own, reads the clip **from its end**, and at
# every frame the two memories stand side by side: $(T, B, 2D)$.

# %%
_ = torch.manual_seed(0)
both = nn.GRU(8, 24, bidirectional=True)
forwards, backwards = nn.GRU(8, 24), nn.GRU(8, 24)
names = [name for name, _ in forwards.named_parameters()]
forwards.load_state_dict({name: both.state_dict()[name] for name in names})
backwards.load_state_dict({name: both.state_dict()[f"{name}_reverse"] for name in names})
clips = torch.randn(30, 2, 8)  # (T, B, F)
one_way = forwards(clips)[0]  # (T, B, D)
other_way = backwards(clips.flip(0))[0].flip(0)  # (T, B, D): read from the end, put back in order
by_hand = torch.cat([one_way, other_way], dim=-1)  # (T, B, 2D)
agree("two GRUs side by side", by_hand.detach(), both(clips)[0].detach(), tolerance=1e-6)

# %% [markdown]
# The price: you need the whole clip before you get the first answer. For live captions you would go forwards
# only, or read in pieces.
#
# ## 11. What padding does to the backward pass
#
# Clips of a batch must be equally long, so a clip of 50 frames among clips of 75 gets 25 frames of zeros.
# Going forwards that is harmless: the zeros come after the clip. **Predict**: and going backwards?

# %%
rng = np.random.default_rng(0)
spoken, _ = say("bin blue at f two now", 1.0, rng, n_frames=75)
clip = torch.from_numpy(spoken[12:62]).float()[:, None]  # (50, 1, 8): fifty real frames
clip = (clip - clip.mean(0)) / clip.std()
padded = torch.cat([clip, torch.zeros(25, 1, 8)])  # (75, 1, 8)

_ = torch.manual_seed(0)
reader = gru.GRU(8, 24, num_layers=2, bidirectional=True)  # two layers, as in LipNet
head = nn.Linear(48, 28)
with torch.no_grad():
    alone = head(reader(clip)[0])[:, 0]  # (50, V)
    shifted = head(reader(padded)[0])[:50, 0]  # (50, V): the same fifty frames
    cured = head(reader(padded, lengths=[50])[0])[:50, 0]  # (50, V)
gap = (shifted - alone).abs().amax(1)  # (T,)
print(f"the logits of the 50 real frames shift by up to {gap.max():.2f}; they vary by {alone.std():.2f}")
agree("with lengths", cured, alone, tolerance=1e-6)

remembering = gru.GRU(8, 24, num_layers=2, bidirectional=True)
remembering.load_state_dict(reader.state_dict())
with torch.no_grad():
    for name, bias in remembering.named_parameters():
        if name.startswith("bias_hh"):
            bias[24:48] += 3.0  # z: keep
    far = (head(remembering(padded)[0])[:50, 0] - head(remembering(clip)[0])[:, 0]).abs().amax(1)  # (T,)
assert gap.max() > 0.05 and 0.7 < gap[-1] / alone.std() < 1.4 and gap[-13] < 0.1 * gap[-1] < far.min()
figures.curves(
    {"fresh weights": gap.clamp(min=1e-7), "bias of z + 3": far},
    xlabel="frame of the clip",
    ylabel="largest change of a logit",
    logy=True,
    title="25 frames of zeros after the clip's end: what they change within it",
)

# %% [markdown]
# The backward GRU has read 25 frames of nothing before it comes to the clip, and arrives with a memory of
# nothing, which is not an empty memory. At the last frame the logits move about as much as they vary over the
# whole clip. With fresh weights it forgets that within a dozen frames (powers of ten again: a straight line
# down, read from the right; the flat piece at the left is rounding). A network that remembers, here by its
# bias, carries it through the whole clip.
#
# The cure is to start each clip's backward pass **at its own last frame**.

# %%
figures.bidirectional_order([12, 5, 8])

# %% [markdown]
# ### Exercise 4 · `reverse_padded` · difficulty ★★☆ · 10 minutes
#
# Reverse only the valid frames of each clip. The padding stays where it is: with `lengths` 3, the frames
# `a b c 0 0` become `c b a 0 0`.
#
# A loop over the clips is a good answer. If you want to do without: write a table `source` that says, for
# each place of the result, *from which frame* it is fetched, and let `gather` fetch. `x.gather(0, source)` is
#
# $$\text{out}[t, b, f] = x[\,\text{source}[t, b, f],\; b,\; f\,]$$
#
# The table must be as large as the result; `source[..., None].expand_as(x)` repeats a table (T, B) for every
# feature. For example, let clip 0 come one frame late, and clip 1 two:

# %%
x = torch.tensor([[10, 60], [11, 61], [12, 62], [13, 63], [14, 64]])[..., None]  # (T, B, F), F = 1
source = torch.tensor([[0, 0], [0, 0], [1, 0], [2, 1], [3, 2]])  # (T, B), from which frame
late = x.gather(0, source[..., None].expand_as(x))  # (T, B, F)
for i in range(2):
    print(f"clip {i}: {x[:, i, 0].tolist()}  from {source[:, i].tolist()}", end="  ")
    print(f"becomes {late[:, i, 0].tolist()}")
assert late[:, 1, 0].tolist() == [60, 60, 60, 61, 62]

# %% [markdown]
# Which five numbers must stand in the table for `a b c 0 0`?


# %%
def reverse_padded(x, lengths):
    """x (T, B, F), lengths (B,) -> (T, B, F): the first lengths[b] frames of clip b in reverse order."""
    raise NotImplementedError


check("03.reverse_padded", reverse_padded)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def reverse_padded_solution(x, lengths):
    """Frame t of the result comes from frame length - 1 - t; a padded frame from itself."""
    t = torch.arange(len(x))[:, None]  # (T, 1)
    source = torch.where(t < lengths, lengths - 1 - t, t)  # (T, B)
    return x.gather(0, source[..., None].expand_as(x))  # (T, B, F)


# %%
check("03.reverse_padded", reverse_padded_solution)

# %% [markdown]
# With it a backward pass that padding cannot reach is three steps: reverse, read forwards, reverse. The
# package's `lengths` argument does the same, and so does torch's `pack_padded_sequence`, which keeps the
# valid frames only. All three, values and gradients, on clips of unequal length:

# %%
_ = torch.manual_seed(0)
ours, theirs = gru.GRU(8, 24, bidirectional=True).double(), nn.GRU(8, 24, bidirectional=True).double()
theirs.load_state_dict(ours.state_dict())
backwards = gru.GRU(8, 24).double()
backwards.load_state_dict({name: ours.state_dict()[f"{name}_reverse"] for name in names})
lengths = torch.tensor([20, 7, 13])
x = torch.randn(20, 3, 8).double().requires_grad_()  # (T, B, F), with rubbish in the padding
valid = (torch.arange(20)[:, None] < lengths)[..., None]  # (T, B, 1)

with_lengths = ours(x, lengths=lengths)[0]  # (T, B, 2D)
packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
from_packed = pad_packed_sequence(theirs(packed)[0])[0]  # (T, B, 2D)
turned = reverse_padded_solution(backwards(reverse_padded_solution(x, lengths))[0], lengths)  # (T, B, D)

agree("lengths against pack_padded_sequence", with_lengths, from_packed)
agree("reverse, read, reverse", (turned * valid).detach(), with_lengths[..., 24:].detach())
delta = torch.randn_like(with_lengths)  # (T, B, 2D)
pairs = ((with_lengths, ours), (from_packed, theirs))
gradients = [torch.autograd.grad(y, (x, *layer.parameters()), delta) for y, layer in pairs]
largest = max((a - b).abs().max().item() for a, b in zip(*gradients, strict=True))
print(f"gradients of x and {len(gradients[0]) - 1} weights: largest difference below 1e-12")
assert largest < 1e-12
assert (gradients[0][0] * ~valid).abs().max() == 0  # the padding is told nothing

# %% [markdown]
# ### The way back, by hand
#
# The finished `gru.GRU` takes both directions in **one loop**: the frames of the backward one are turned
# round beforehand, and the two lie side by side on an axis of their own. Nor does it leave the gradient to
# autograd. Look at one unit of one step, $h' = (1 - z)\,n + z\,h$, and let $\delta$ be the loss's gradient
# with respect to $h'$. If the sum inside $z$'s sigmoid rises by a little, $z$ rises by $z(1 - z)$ times as
# much, and $h'$ by $h - n$ times that. So its gradient is $\delta$ times a number that you know once you have
# gone forwards. The same holds for every gate:
#
# | sum inside | its gradient |
# |---|---|
# | $z$ | $\delta \odot (h - n) \odot z(1 - z)$ |
# | $n$ | $\delta \odot (1 - z) \odot (1 - n^2)$ |
# | $r$ | (that of $n$) $\odot\, (U_n h + u_n) \odot r(1 - r)$ |
#
# Only $\delta$ itself must be carried from frame to frame. A part goes back along the direct way, $z \odot
# \delta$; the rest goes through $U$ to the old memory. One step by hand:


# %%
def step_back(delta, x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """δ at the new memory (B, D) -> δ at the old one (B, D)."""
    x_r, x_z, x_n = (x @ weight_ih.T + bias_ih).chunk(3, dim=-1)  # (B, D) each
    h_r, h_z, h_n = (h @ weight_hh.T + bias_hh).chunk(3, dim=-1)  # (B, D) each
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    slope_z = (h - n) * z * (1 - z)  # no δ in these three lines
    slope_n = (1 - z) * (1 - n**2)
    slope_r = slope_n * h_n * r * (1 - r)
    slopes = torch.cat([slope_r, slope_z, slope_n * r], dim=-1)  # (B, 3D)
    to_product = delta.repeat(1, 3) * slopes  # (B, 3D), at U h + u
    return z * delta + to_product @ weight_hh


_ = torch.manual_seed(0)
weights = tuple(parameter.detach() for parameter in nn.GRUCell(5, 4).double().parameters())
x, h, delta = torch.randn(3, 5).double(), torch.randn(3, 4).double(), torch.randn(3, 4).double()
with torch.no_grad():
    by_hand = step_back(delta, x, h, *weights)
h.requires_grad_()
(by_autograd,) = torch.autograd.grad(gru_step_solution(x, h, *weights), h, delta)
largest = (by_hand - by_autograd).abs().max().item()
print(f"one step back: approximate {torch.allclose(by_hand, by_autograd)},", end=" ")
print(f"largest difference below 1e-15: {largest < 1e-15} (exact is not to be expected: other order of sums)")
assert largest < 1e-15

# %% [markdown]
# Now the package's way back over all frames. `known` holds what the way forwards left for each frame, where
# `inner` is $U_n h + u_n$. `wanted` is where each frame's answers go: `of_r`, `of_z` and `of_n` are the three
# gradients of the table, and `of_inner` is that of $n$ once it has passed $r$. `kept` is $z \odot \delta$,
# so `heard - kept` is $(1 - z) \odot \delta$. One product with $U$ a frame is left; the gradient of $U$ is a
# single large product after the loop. Past a clip's end `valid` is False, and $\delta$ is handed on
# untouched. (`torch.mul(a, b, out=c)` writes into `c`, here a part of a larger tensor, instead of a new one.
# With `create_graph=True` somebody will differentiate this gradient again; then it comes from a plain loop.)

# %%
show(GRUScan.backward)


# %%
def backward_steps(y):
    """How many operations autograd has noted down for the way back from y."""
    seen, waiting = set(), [y.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    return len(seen)


film = torch.zeros(75, 1, 8)  # (T, B, F)
weights = tuple(nn.GRU(8, 24).parameters())
looped = unroll(lambda *a: (gru_step_solution(*a),), film, (torch.zeros(1, 24),), weights)  # (T, B, D)
noted = {"step by step": backward_steps(looped), "the package": backward_steps(gru.GRU(8, 24)(film)[0])}
print(f"operations on the way back, 75 frames: step by step more than {noted['step by step'] // 500 * 500},")
print(f"the package fewer than 50: {noted['the package'] < 50}")
assert noted["the package"] < 50 < 1000 < noted["step by step"]

# %% [markdown]
# That its gradients are right you have seen above: `with_lengths` came out of this very function, and all
# gradients agreed with torch's to $10^{-12}$.

# %% [markdown]
# <details><summary><b>Help: "my outputs change when the padding changes"</b></summary>
#
# A backward pass reads the padding first. Give the lengths: `pack_padded_sequence(x, lengths,
# enforce_sorted=False)` before `nn.GRU`, `pad_packed_sequence` after it; or `lengths=` of
# `lessons.layers.gru.GRU`. If the forward half changes as well, batch and time have changed places: see
# section 14.
#
# </details>

# %% [markdown]
# ## 12. First weights, and what each is for
#
# ### Orthogonal, for the matrix that is applied again and again
#
# An orthogonal matrix turns a vector and keeps its length. Once or 75 times makes no difference. Compare a
# Gaussian matrix whose entries have the same variance, $1/D$, and torch's default, $U(\pm 1/\sqrt{D})$.

# %%
D, draws = 256, 8
start = torch.randn(D, 1, generator=torch.Generator().manual_seed(99)).double()  # (D, 1)
DRAWS = {
    "orthogonal": lambda: nn.init.orthogonal_(torch.empty(D, D).double()),
    "Gaussian, variance 1/D": lambda: torch.randn(D, D).double() / math.sqrt(D),
    "torch's default": lambda: (2 * torch.rand(D, D).double() - 1) / math.sqrt(D),
}
sizes = {name: [] for name in DRAWS}
for name, draw in DRAWS.items():
    for seed in range(draws):
        _ = torch.manual_seed(seed)
        U, v, path = draw(), start / start.norm(), [0.0]
        for _ in range(75):
            v = U @ v  # (D, 1)
            path.append(v.norm().log10().item())
        sizes[name].append(path)
sizes = {name: torch.tensor(paths) for name, paths in sizes.items()}  # (draws, 76)
for name, paths in sizes.items():
    low, high = (10 ** paths[:, -1].aminmax()[i].item() for i in (0, 1))
    print(f"{name:23} length after 75 steps: {low:.0e} to {high:.0e}")
assert sizes["orthogonal"].abs().max() < 1e-10
assert sizes["torch's default"][:, -1].max() < -15
figures.curves(
    sizes,
    xlabel="times applied",
    ylabel="length of the vector",
    powers=True,
    title="A vector under the same matrix, 75 times (mean and range of 8 draws)",
)

# %%
one_step = sizes["Gaussian, variance 1/D"][:, 1]
print(f"one step of the Gaussian changes the length by at most {(10 ** one_step.abs().max() - 1):.0%}")
assert one_step.abs().max() < 0.1 < 0.5 < sizes["Gaussian, variance 1/D"][:, -1].abs().max()

_ = torch.manual_seed(0)
stack = nn.init.orthogonal_(torch.empty(3 * D, D).double())  # all three gates in one go
block = torch.linalg.svdvals(stack[:D])  # (D,) how much the block stretches, in its different directions
print(f"orthogonal_ on the whole (3D, D) stack: one gate stretches by {block.min():.2f} to {block.max():.2f}")
print(f"on average by {block.square().mean().sqrt():.2f}, which is 1/√3")
assert math.isclose(block.square().mean().sqrt().item(), 1 / math.sqrt(3), rel_tol=0.02)

# %% [markdown]
# The Gaussian is right for a single step and a lottery for 75. The last lines are a trap: `orthogonal_` on
# the stacked weight of three gates makes the *stack* orthogonal, and each gate shrinks like torch's default.
# Draw it gate by gate, as `lessons.lipreading.lipnet` does.
#
# ### Uniform ±√3·std, for the matrix that is applied once a frame
#
# $W x$ is not repeated, so no product threatens. What matters is that its sum of $F$ terms has a sensible
# size. Glorot's rule asks for a variance of $2/(F + D)$. For a uniform draw from $\pm a$ the variance is
#
# $$\frac{1}{2a}\int_{-a}^{a} u^2\,du = \frac{a^2}{3}, \qquad\text{so}\qquad a = \sqrt{3}\cdot\text{std}$$
#
# That is where the √3 in LipNet code comes from. torch's default, $\pm 1/\sqrt{D}$, does not look at $F$.
# **Predict**: what does it do with LipNet's $F = 3072$?

# %%
_ = torch.manual_seed(0)
for F in (8, 512, 3072):
    glorot = math.sqrt(2 / (F + 256))  # standard deviation
    x = torch.randn(2000, F)  # features of mean 0 and deviation 1
    for name, a in (("±√3 std", math.sqrt(3) * glorot), ("torch's ±1/√D", 1 / math.sqrt(256))):
        W = torch.empty(256, F).uniform_(-a, a)  # (D, F)
        out = x @ W.T  # (2000, D)
        deviation, beyond = out.std().item(), (out.abs() > 3).float().mean().item()
        print(f"F = {F:4}: {name:14} W x has deviation {deviation:.2f}, {beyond:.0%} are beyond ±3")
        assert math.isclose(deviation, math.sqrt(F * a**2 / 3), rel_tol=0.03)
        assert math.isclose(W.var().item(), a**2 / 3, rel_tol=0.05)
assert 0.1 < beyond < 0.2 and name == "torch's ±1/√D" and F == 3072

# %% [markdown]
# With $F = 3072$ the default gives a deviation of 2, and every eighth or so starts beyond ±3, where a sigmoid
# is flat: the gate is as good as shut or open, and learns slowly. What the scale of the *input* does to gates
# you have seen in notebook 01; here it is the scale of the weights.

# %% [markdown]
# ## 13. A claim, put to the test
#
# A widely read write-up of LipNet says that the features go into a Bi-LSTM, "or a GRU, which is somewhat
# faster, and the accuracy is no lower". Two claims. Test them on one task that needs memory in both
# directions.
#
# **The task**: the synthetic talker says GRID sentences. A frame is 8 noisy numbers, the shape of the mouth.
# For every frame, say which of the 51 words is being spoken, or silence. One frame shows a *sound*; the word
# is in what came before it and what comes after. Sentences, timing and noise are drawn by chance, for
# the test anew.


# %%
WORDS = ["sil", *(word for slot in SLOTS for word in slot)]  # V = 52


def spoken_clips(n, seed, noise=0.15):
    """x (75, n, 8): noisy mouth shapes; y (75, n): the word that each frame belongs to."""
    xs, ys, frames = [], [], np.arange(75) + 0.5
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        shapes, segments = say(random_sentence(rng), rng.uniform(0.85, 1.15), rng)  # (T, 8)
        xs.append(shapes + noise * rng.standard_normal(shapes.shape))
        ys.append(sum(WORDS.index(word) * ((frames >= a) & (frames < b)) for a, b, word in segments))
    return torch.from_numpy(np.stack(xs, 1)).float(), torch.from_numpy(np.stack(ys, 1))


x_train, y_train = spoken_clips(400, seed=0)
x_test, y_test = spoken_clips(200, seed=1)
center, scale = x_train.mean((0, 1)), x_train.std((0, 1))  # (8,) each
x_train, x_test = (x_train - center) / scale, (x_test - center) / scale
print(f"training {tuple(x_train.shape)}, test {tuple(x_test.shape)}, {len(WORDS)} classes")


class WordReader(nn.Module):
    """(T, B, 8) -> logits (T, B, 52)."""

    def __init__(self, kind, D, bidirectional=True):
        super().__init__()
        if kind is nn.Conv1d:  # no memory: a window of 7 frames, as wide as LipNet's convolutions see
            self.layer = nn.Conv1d(8, 2 * D, 7, padding=3)
        else:
            self.layer = kind(8, D, bidirectional=bidirectional)
        self.head = nn.Linear(2 * D if bidirectional else D, len(WORDS))

    def forward(self, x):
        if isinstance(self.layer, nn.Conv1d):
            features = self.layer(x.permute(1, 2, 0)).relu().permute(2, 0, 1)  # (T, B, 2D)
        else:
            features = self.layer(x)[0]  # (T, B, 2D), or (T, B, D) one way
        return self.head(features)


def word_loss(logits, words):
    return nn.functional.cross_entropy(logits.flatten(0, 1), words.flatten())


def train_reader(setting, seed, steps=120, B=64, T=20):
    """Train on random cuts of T frames; return the share of spoken test frames with the wrong word."""
    _ = torch.manual_seed(seed)
    model, generator = WordReader(*setting), torch.Generator().manual_seed(seed)

    def cuts():
        clips = torch.randint(0, x_train.shape[1], (B,), generator=generator)  # (B,)
        start = torch.randint(8, 67 - T, (B,), generator=generator)  # (B,)
        frames = start + torch.arange(T)[:, None]  # (T, B)
        return x_train[frames, clips], y_train[frames, clips]  # (T, B, 8), (T, B)

    losses = train(model, cuts, word_loss, steps, rate=0.03)
    with torch.no_grad():
        wrong = model(x_test).argmax(-1) != y_test  # (75, 200)
    return wrong[y_test > 0].float().mean().item(), losses


# %% [markdown]
# The readers differ in one layer only. Seeds decide the first weights and the clips of every step; the same
# seed gives all readers the same clips. Steps written out one by one are slow, so we train with what you have
# shown to be equal to them: `nn.LSTM`, and the package's GRU with its gradient by hand (section 11).
#
# The LSTM comes twice: with the same memory, $D = 24$, and with about as many weights as the GRU, $D = 20$.
# **Predict** the order.

# %%
READERS = {
    "window of 7 frames": (nn.Conv1d, 24),
    "GRU, forwards only": (gru.GRU, 24, False),
    "Bi-GRU, D = 24": (gru.GRU, 24),
    "Bi-LSTM, D = 24": (nn.LSTM, 24),
    "Bi-LSTM, D = 20": (nn.LSTM, 20),
}
runs = [(name, seed) for name in READERS for seed in range(5)]
trained = {(name, seed): train_reader(READERS[name], seed) for name, seed in tqdm(runs, desc="training")}

# %%
error = {name: [trained[name, seed][0] for seed in range(5)] for name in READERS}
for name, values in error.items():
    layer = WordReader(*READERS[name]).layer
    learned = sum(p.numel() for p in layer.parameters())
    print(f"{name:19} {learned:5} weights")
    assert all(0.2 < value < 0.55 for value in values)
figures.seed_spread(
    error,
    percent=True,
    xlabel="spoken frames with the wrong word",
    title="Which word is it? Five seeds each, and their mean",
)


# %% tags=["nbval-ignore-output"]
# output not compared: times differ from machine to machine and from run to run
def milliseconds(read, x):
    """Time on the processor of one forward and one backward pass."""
    start = time.process_time()
    read(x).sum().backward()
    return 1000 * (time.process_time() - start)


def compare(T, B, F, D, rounds=7):
    """The fastest of a few rounds; GRU and LSTM take turns, so that a busy moment hits both."""
    x, first = torch.randn(T, B, F), torch.zeros(B, D)
    layers = [kind(F, D) for kind in (nn.GRU, nn.LSTM)]
    weights = [tuple(layer.parameters()) for layer in layers]
    built_in = [lambda x, layer=layer: layer(x)[0] for layer in layers]
    by_hand = [
        lambda x: unroll(lambda *a: (gru_step_solution(*a),), x, (first,), weights[0]),
        lambda x: unroll(lstm_step_solution, x, (first, first), weights[1]),
    ]
    package = [gru.GRU(F, D), lstm.LSTM(F, D)]
    of_package = [lambda x, layer=layer: layer(x)[0] for layer in package]
    for name, readers, on in [
        ("torch", built_in, True), ("torch, oneDNN off", built_in, False), ("by hand", by_hand, True),
        ("this package", of_package, True),
    ]:  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the switch warns of hardware that is not there
            with torch.backends.mkldnn.flags(enabled=on):
                times = np.array([[milliseconds(read, x) for read in readers] for _ in range(rounds)])
        a, b = times.min(axis=0)
        print(f"{name:18} GRU {a:6.1f} ms   LSTM {b:6.1f} ms   LSTM/GRU {b / a:.2f}")


print("predicted by multiply-adds: LSTM/GRU 1.33")
print("\nour readers, one way: 75 frames of 16 clips, F = 8, D = 24")
compare(75, 16, 8, 24)
steps = {kind.__name__: backward_steps(kind(8, 24)(torch.zeros(75, 16, 8))[0]) for kind in (nn.GRU, nn.LSTM)}
print("operations on the way back, in torch as it comes:", steps)
print("\nLipNet's second GRU, one way: 75 frames of 4 clips, F = 512, D = 256")
compare(75, 4, 512, 256, rounds=5)

# %% [markdown]
# ### What the test shows, and what it does not
#
# **"No less accurate"**: on this task, yes.

# %%
means = {name: sum(values) / len(values) for name, values in error.items()}
lstms = ("Bi-LSTM, D = 24", "Bi-LSTM, D = 20")
print("on average the Bi-GRU's error is not above either Bi-LSTM's by as much as 1 point in 100:")
print("    ", all(means["Bi-GRU, D = 24"] < means[name] + 0.01 for name in lstms))
assert all(means["Bi-GRU, D = 24"] < means[name] + 0.01 for name in lstms)
both_ways = max(max(error[name]) for name in ("Bi-GRU, D = 24", *lstms))
print(f"the worst reader of both ways errs in {both_ways:.0%}, the best of the others in", end=" ")
print(f"{min(min(error[name]) for name in ('window of 7 frames', 'GRU, forwards only')):.0%}")
assert both_ways < min(error["window of 7 frames"]) - 0.05
assert means["window of 7 frames"] < means["GRU, forwards only"]

# %% [markdown]
# The evidence is five seeds of one small task, one learning rate for all, and trainings of only 120 steps. It
# says: nothing here speaks for the LSTM. It does not say that the GRU is better, nor what happens with more
# steps, more data or real lips. On other tasks people have found now one ahead, now the other (Chung et al.,
# 2014).
#
# Much larger than any difference between the gates is the difference between one direction and two. A memory
# of everything past, without the future, does no better here than a window without memory that sees three
# frames ahead.
#
# **"Somewhat faster"**: it depends on who multiplies. By multiply-adds the LSTM should take 1.33 times as
# long. Look at the four rows of each table above:
# - *By hand*, and *torch, oneDNN off*, run both kinds in the same way, step by step. For the small reader the
#   time goes into starting thousands of tiny operations, about as many for either kind, so the ratio is near
#   1. With LipNet's sizes the products count more.
# - *torch* as it comes hands an LSTM on the CPU to a library, oneDNN, which computes the layer in one go:
#   count the operations on the way back. The GRU has no such path here. So the LSTM, with more weights, was
#   the **faster** one on the machine that made this page. Your machine may lack oneDNN; a GPU has libraries
#   of its own for both.
# - *This package* has the GRU's way back by hand (section 11) and leaves the LSTM's to autograd. Here the GRU
#   won by more than its multiply-adds promise, on the same machine.
#
# So the order of the two turns with whoever has written the code.
#
# Weights and multiply-adds are properties of a network. Time is a property of a network *on a machine, in a
# library*. Measure it where it matters to you.

# %% [markdown]
# ## 14. Bug hunt: three that do not crash
#
# Somebody's reader takes clips as a data loader gives them, `(B, T, F)`. Shapes in, shapes out, the loss
# falls. Two questions find what is wrong with it, without a look at the code:
# - Does a clip's answer change when the **other clips of the batch** change?
# - Does a clip's answer change when **something else was read before**?
#
# Run the cell, look at the two numbers of each reader, and name its bug before you read on.


# %%
def answer(reader, x):
    with torch.no_grad():
        return reader(x)


def company_matters(reader, seed=0):
    """Largest change of clip 0's answer when only its company in the batch changes."""
    generator = torch.Generator().manual_seed(seed)
    clip, others, strangers = (torch.randn(n, 40, 8, generator=generator) for n in (1, 5, 5))
    a = answer(reader, torch.cat([clip, others]))[0]  # (T, V)
    b = answer(reader, torch.cat([clip, strangers]))[0]
    return (a - b).abs().max().item()


def history_matters(reader, seed=0):
    """Largest change of a batch's answer when it is read again after another one."""
    generator = torch.Generator().manual_seed(seed)
    batch, another = (torch.randn(6, 40, 8, generator=generator) for _ in range(2))
    first = answer(reader, batch)
    _ = answer(reader, another)
    return (answer(reader, batch) - first).abs().max().item()


class ReaderA(nn.Module):
    """(B, T, 8) -> (B, T, 28)."""

    def __init__(self):
        super().__init__()
        self.layer = nn.GRU(8, 24, bidirectional=True)
        self.head = nn.Linear(48, 28)

    def forward(self, x):
        out, _ = self.layer(x)  # (B, T, 48)
        return self.head(out)  # (B, T, 28)


class ReaderB(nn.Module):
    """(B, T, 8) -> (B, T, 28). It keeps its memory, detached, "so that long films can be read in pieces"."""

    def __init__(self):
        super().__init__()
        self.layer, self.memory = nn.GRU(8, 24, batch_first=True), None
        self.head = nn.Linear(24, 28)

    def forward(self, x):
        out, memory = self.layer(x, self.memory)  # (B, T, 24)
        self.memory = memory.detach()
        return self.head(out)  # (B, T, 28)


_ = torch.manual_seed(0)
for reader in (ReaderA(), ReaderB()):
    name, company = type(reader).__name__, company_matters(reader)
    reader.memory = None
    history = history_matters(reader)
    print(f"{name}: other clips change an answer by {company:.2f}, what was read before by {history:.2f}")
    assert (company > 0.01) and (history > 0.01) == (name == "ReaderB")

# %% [markdown]
# **Bug 1, reader A.** `nn.GRU` takes `(T, B, F)` unless you say `batch_first=True`. Given `(B, T, F)` it is
# content: three axes, $F$ in its place. It takes the clips for frames and walks from clip to clip, and each
# "clip" it sees is one moment of the whole batch. It cannot learn anything about time. The loss may fall all
# the same, for a single frame says something, too.
#
# **Bug 2, reader B.** The memory of one batch is the start of the next, though its clips are other clips. (It
# shows in the first test as well, since that reads twice.) Without `detach` the second step of a training
# stops with *Trying to backward through the graph a second time*. People add `detach`, the error goes, the
# leak stays. It is right only when each batch continues the clips of the one before.

# %%
mended = ReaderA()
mended.layer = nn.GRU(8, 24, bidirectional=True, batch_first=True)
print(f"reader A mended: {company_matters(mended):.2f} and {history_matters(mended):.2f}")
assert company_matters(mended) < 1e-6 and history_matters(mended) < 1e-6

layer, memory = nn.GRU(8, 24, batch_first=True), None  # reader B without the detach: two steps of a training
try:
    for _ in range(2):
        out, memory = layer(torch.randn(6, 40, 8), memory)
        out.sum().backward()
except RuntimeError as problem:
    print("without detach:", str(problem).partition(" (")[0])
else:
    raise AssertionError("the second step went through")

# %% [markdown]
# **Bug 3: another house, another order.** torch stacks a GRU's gates as r, z, n; Keras as z, r, n. Once its
# matrices are transposed, the shapes are the same, so weights from there load without complaint. **Predict**:
# is an LSTM in danger, too?

# %%
_ = torch.manual_seed(0)
right = nn.GRU(8, 24).double()
x = torch.randn(40, 4, 8).double()  # (T, B, F)


def z_first(weights):
    """Swap the first two of three blocks of rows: r, z, n <-> z, r, n."""
    return {name: torch.cat([(p := value.chunk(3))[1], p[0], p[2]]) for name, value in weights.items()}


from_keras = z_first(right.state_dict())  # as a file from there would hold them
loaded = nn.GRU(8, 24).double()
loaded.load_state_dict(from_keras)  # accepted
gap = (loaded(x)[0] - right(x)[0]).abs().max().item()
loaded.load_state_dict(z_first(from_keras))
healed = (loaded(x)[0] - right(x)[0]).abs().max().item()
print(f"loaded as it is: answers off by {gap:.2f}; blocks put in torch's order: off by {healed:.0f}")
assert gap > 0.1 and healed == 0

# %% [markdown]
# The gate that should keep now resets, and the other way round. (Keras keeps an LSTM's gates as i, f, c, o,
# which is torch's order under other names.) Nothing but a comparison of answers finds this: always run the
# same clip through both houses.
#
# <details><summary><b>Help: "input.size(-1) must be equal to input_size"</b></summary>
#
# The last axis must hold the $F$ features of a frame. From convolutions you have `(B, C, T, H, W)`:
# `x.permute(2, 0, 1, 3, 4).flatten(2)` makes `(T, B, C·H·W)` of it.
#
# </details>
#
# <details><summary><b>Help: "Expected hidden size (1, 4, 24), got [1, 6, 24]"</b></summary>
#
# The memory handed in is of another batch size, here 6 for 4 clips: reader B does that when the last batch of
# an epoch is smaller. Or the first number differs: it is layers · directions, so 2 for one layer both ways.
#
# </details>
#
# <details><summary><b>Help: "(T, B, F) or (B, T, F)? It runs either way, and learns nothing"</b></summary>
#
# `nn.GRU` wants time first, or `batch_first=True`; states stay `(layers · directions, B, D)` in both cases.
# Ask the first question of this section: if a clip's answer depends on its company, the two are swapped.
#
# </details>

# %% [markdown]
# ## Recap
#
# - What lasts longer than a convolution's window must be carried along, in a memory.
# - The gradient along time is a product of one matrix a frame. It vanishes or explodes; with a plain RNN and
#   torch's first weights a thousandth is left after 11 frames.
# - Gates multiply the memory by a number that the network chooses. Fresh, they forget as well; they *can*
#   keep.
# - A GRU keeps where $z$ is near 1. `nn.GRU` resets after the product, the paper before it.
# - Each gate's gradient is $\delta$ times a number known from the way forward; only $\delta$ is carried.
# - LSTM : GRU is 4 : 3 in weights and multiply-adds. In time it was not.
# - Two directions need the whole clip, and lengths: else the backward pass reads the padding first.
# - Orthogonal, gate by gate, for what is applied 75 times; ±√3·std for what is applied once.
# - Does a clip's answer depend on its company, or on what was read before? Ask every recurrent reader.

# %%
assert thousandth == 11

# %% [markdown]
# ## Glossary
#
# | word | meaning |
# |---|---|
# | backpropagation through time | the chain rule along the frames, from the last to the first |
# | recurrent network, RNN | it carries a memory from frame to frame, with the same weights each time |
# | memory, hidden state | the $D$ numbers carried along, $h$ (`hidden_size`); an LSTM has a second, $c$ |
# | vanishing, exploding gradient | a gradient that shrinks, or grows, by about the same factor every frame |
# | Jacobian | the matrix of all derivatives of some outputs with respect to some inputs |
# | gate | a layer with a sigmoid whose outputs, 0 to 1, multiply something unit by unit |
# | LSTM | recurrent cell with a memory that is added to, and the gates input, forget, output |
# | GRU | recurrent cell with one memory and the gates reset and update |
# | reset gate, update gate | how much of the memory the candidate sees; how much of it is kept (in torch) |
# | candidate | what a gated cell would write into its memory |
# | bidirectional | two layers, one reading from the start, one from the end, outputs side by side |
# | packed sequence | torch's form of a batch of clips of unequal length that holds the valid frames only |
# | orthogonal matrix | one that turns and mirrors vectors, and keeps their length |
# | Glorot's rule | first weights of variance $2/(F + D)$: signals keep their size, forward and back |
#
# ## Sources
#
# - S. Hochreiter, J. Schmidhuber, *Long Short-Term Memory*, Neural Computation 9(8), 1997; forget gate: F.
#   Gers, J. Schmidhuber, F. Cummins, *Learning to Forget*, Neural Computation 12(10), 2000.
# - K. Cho et al., *Learning Phrase Representations using RNN Encoder–Decoder for Statistical Machine
#   Translation*, [arXiv 1406.1078](https://arxiv.org/abs/1406.1078): the GRU, reset before the product.
# - Y. Bengio, P. Simard, P. Frasconi, *Learning Long-Term Dependencies with Gradient Descent is Difficult*,
#   IEEE Transactions on Neural Networks 5(2), 1994.
# - R. Jozefowicz, W. Zaremba, I. Sutskever, *An Empirical Exploration of Recurrent Network Architectures*,
#   ICML 2015: the forget gate's first bias.
# - J. Chung, C. Gulcehre, K. Cho, Y. Bengio, *Empirical Evaluation of Gated Recurrent Neural Networks on
#   Sequence Modeling*, [arXiv 1412.3555](https://arxiv.org/abs/1412.3555): GRU against LSTM.
# - Y. Assael et al., *LipNet*, [arXiv 1611.01599](https://arxiv.org/abs/1611.01599): §3.2 (the GRU), appendix
#   A.1 (first weights). The claim of section 13 is from the post *Lipnet的学习理解* on CSDN, translated.
# - X. Glorot, Y. Bengio, *Understanding the Difficulty of Training Deep Feedforward Neural Networks*, AISTATS
#   2010; A. Saxe, J. McClelland, S. Ganguli, *Exact Solutions to the Nonlinear Dynamics of Learning in Deep
#   Linear Neural Networks*, [arXiv 1312.6120](https://arxiv.org/abs/1312.6120): orthogonal first weights.
# - The order of gates in Keras: [keras-team/keras issue
#   8720](https://github.com/keras-team/keras/issues/8720).
#
# **Next**: notebook 04. The network now gives an answer for each of 75 frames; a sentence has 25 letters, and
# nobody says which frame belongs to which. CTC, the loss that does not need to know.
