# %% [markdown]
# # 03 · GRU: memory with gates
#
# **You will write a GRU step and its gradient by hand, measure how far a gradient reaches back in time, and
# see in a trained network how gates keep a number for as long as it is needed.**
#
# *Core path: about 58 minutes; deeper sections: about 38; all cells together run in
# about 45 seconds on one CPU core.*
#
# **You need**: PyTorch's `backward`, the chain rule, and from notebook 02 that one output of LipNet's
# convolutions sees 7 frames. Shapes: `T` frames, `B` clips in the batch, `F` features per frame, `D` units in
# the hidden state. A batch is `(T, B, F)`.
#
# **You will be able to**
# - explain why gradients vanish or explode in a recurrent network, and measure it;
# - write one step of a GRU that agrees with `nn.GRU`, values and gradients;
# - write one step of backpropagation through time without autograd;
# - choose a bias and an initialization that let the gradient reach further;
# - read the gates of a trained GRU;
# - run a network in both directions over clips of unequal length, unaffected by the padding.

# %%
import math

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

import lessons
from lessons import figures
from lessons.checks import agree, check, use
from lessons.data.synthetic.talker import Speaker, render, say
from lessons.data.synthetic.visemes import articulate, word_visemes
from lessons.layers import gru
from lessons.source import show

# %% [markdown]
# ## 1. What a window of seven frames cannot know
#
# The synthetic talker says two words in two clips: **bin now** and **set now**, with the same timing and the
# same face.

# %% tags=["hide-input"]
# @title Plot { display-mode: "form" }


def two_words(*words):
    """A clip (30, H, W) of two words of three visemes each, with fixed timing."""
    visemes = ["sil", *(viseme for word in words for viseme in word_visemes(word)), "sil"]
    borders = np.array([0, 4, 7, 10, 13, 16, 19, 22, 30])  # frames
    shapes = articulate(visemes, borders, np.arange(30) + 0.5)  # (T, 8)
    rng = np.random.default_rng(3)
    return render(shapes, Speaker.random(rng), (32, 64), False, rng)


bin_now, set_now = two_words("bin", "now"), two_words("set", "now")  # (T, H, W) uint8 each
different = (bin_now != set_now).any(axis=(1, 2))  # (T,)
last_difference = int(np.flatnonzero(different)[-1])
same_window = last_difference + 1 + 3  # the first frame whose window of 7 holds no difference
print(f"the clips differ up to frame {last_difference}; from frame {same_window} on a window of 7 frames")
print("(three before, three after) holds the same pixels in both clips")
shown = list(range(4, 20, 2))
figures.clip_rows(
    {"bin now": bin_now[shown], "set now": set_now[shown]},
    [f"frame {t}" for t in shown],
    title="Two different words, then the same word",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert not different[same_window - 3 :].any() and same_window < 16
_, segments = say("bin blue at f two now", 1.0, np.random.default_rng(0))
assert 3 * 7 < segments[-1][0] - segments[0][1]  # frames from the first word to the last silence

# %% [markdown]
# Ask the network at the last frame: *which command was it?* Both clips give the last window identical input,
# so a convolution gives them identical output, whatever its weights. A whole sentence is more than three such
# windows long. To know at the end what was said at the start, the network must carry information along.

# %% [markdown]
# ## 2. The plain RNN: a hidden state
#
# A **recurrent neural network (RNN)** keeps a **hidden state** $h$ of $D$ numbers. At each frame it computes
# the new hidden state from the input $x_t$ ($F$ numbers) and the old hidden state, with the same weights
# every time:
#
# $$h_t = \tanh(W x_t + b + U h_{t-1} + u), \qquad W: D \times F, \quad U: D \times D$$
#
# (torch calls $W, U, b, u$ `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`: *input to hidden*, *hidden to
# hidden*.)


# %%
def rnn_step(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """x (B, F), h (B, D) -> the new hidden state (B, D)."""
    return torch.tanh(x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh)


def unroll(step, x, state, weights):
    """x (T, B, F); state: a tuple of (B, D), h first -> h after every frame (T, B, D)."""
    hidden = []
    for x_t in x:  # (B, F)
        state = step(x_t, *state, *weights)
        state = state if isinstance(state, tuple) else (state,)
        hidden.append(state[0])
    return torch.stack(hidden)  # (T, B, D)


# %% tags=["hide-input"]
# @title Helper: same_as_torch { display-mode: "form" }
def same_as_torch(name, step, theirs, n_states=1):
    """Compare a step of ours, unrolled, with a layer of torch's: values, then all gradients."""
    _ = torch.manual_seed(0)
    theirs = theirs.double()
    x = torch.randn(12, 3, theirs.input_size).double().requires_grad_()  # (T, B, F)
    state = (torch.zeros(3, theirs.hidden_size).double(),) * n_states  # (B, D) each
    weights = tuple(theirs.parameters())
    ours, expected = unroll(step, x, state, weights), theirs(x)[0]  # (T, B, D) both
    agree(f"{name}, values", ours, expected, tolerance=1e-12)
    delta = torch.randn_like(ours)  # (T, B, D): an arbitrary gradient at the outputs
    ours, expected = (
        torch.cat([g.flatten() for g in torch.autograd.grad(y, (x, *weights), delta)])
        for y in (ours, expected)
    )
    agree(f"{name}, gradients of x and of all weights", ours, expected, tolerance=1e-12)


# %% [markdown]
# A folded helper, `same_as_torch`, unrolls a step over a random clip and compares it with torch's layer, with
# the same weights in both.

# %%
same_as_torch("RNN", rnn_step, nn.RNN(5, 4))

# %% [markdown]
# ## 3. Vanishing and exploding gradients
#
# To learn that frame 0 mattered, the network needs the gradient of the loss at the last frame with respect to
# frame 0. It flows back through the hidden states, step by step: **backpropagation through time (BPTT)**.
#
# Measure how much of it arrives. The loss depends on the last hidden state only. Take the norm of its
# gradient at each input frame, and divide it by the norm at the last frame. We do this for random clips,
# $D = 32$, and six seeds, with torch's default initialization of $U$ and with two that are larger: random
# entries of standard deviation $\text{gain}/\sqrt{D}$, which stretch a random vector by about the gain.
#
# The figure's vertical axis is logarithmic, so a constant factor per frame gives a straight line.


# %%
def gradient_reach(make, seed, T=60, B=16, F=8, D=32):
    """(T,): log10 of the gradient's norm 0, 1, 2 … frames before the last, relative to the last frame."""
    _ = torch.manual_seed(seed)
    network = make(F, D).double()
    x = torch.randn(T, B, F).double().requires_grad_()  # (T, B, F)
    last = network(x)[0][-1]  # (B, D)
    loss = (last @ torch.randn(D).double()).square().mean()
    (gradient,) = torch.autograd.grad(loss, x)  # (T, B, F)
    norm = gradient.flatten(1).norm(dim=1)  # (T,)
    return (norm / norm[-1]).log10().flip(0)


# %% tags=["hide-input"]
# @title Helper: networks by initialization, over several seeds { display-mode: "form" }
def over_seeds(networks, seeds=6):
    """name -> how to make a network; gives name -> (seeds, T)."""
    return {
        name: torch.stack([gradient_reach(make, seed) for seed in range(seeds)])
        for name, make in networks.items()
    }


def recurrent(kind, init="default", gain=1.0, bias=0.0):
    """Makes a network: kind is nn.RNN, nn.GRU or nn.LSTM.

    init: of each block of U, "default", "Gaussian" or "orthogonal"; the last two are multiplied by gain.
    bias: added to the gate that keeps (z of a GRU, f of an LSTM; the second block of both).
    """

    def make(F, D):
        network = kind(F, D)
        with torch.no_grad():
            for block in network.weight_hh_l0.split(D):  # (D, D) each
                if init == "Gaussian":
                    nn.init.normal_(block, std=gain / math.sqrt(D))
                elif init == "orthogonal":
                    nn.init.orthogonal_(block, gain)
            network.bias_hh_l0[D : 2 * D] += bias  # an RNN has one block only: nothing is added
        return network

    return make


# %% [markdown]
# **Predict.** With torch's default initialization, how many frames back is the gradient down to a thousandth:
# about 10, 30 or 60?

# %% tags=["hide-input"]
# @title Plot { display-mode: "form" }
PLAIN = {
    "gain 3": recurrent(nn.RNN, "Gaussian", 3.0),
    "gain 1": recurrent(nn.RNN, "Gaussian", 1.0),
    "torch's default": nn.RNN,
}
plain = over_seeds(PLAIN)
mean = plain["torch's default"].mean(0)  # (T,), the mean of the logarithms
thousandth = next(k for k in range(60) if mean[k] < -3)


def plot_plain_rnns():
    """How far the gradient reaches in plain RNNs."""
    print(f"torch's default: a thousandth is left after {thousandth} frames")
    for name, values in plain.items():
        exponent = values.mean(0)[59].item()
        factor = 10 ** (exponent / 59)
        print(f"{name:15} 10^{exponent:.0f} after 59 frames: a factor of {factor:.2f} per frame")
    return figures.curves(
        plain,
        xlabel="frames before the last",
        ylabel="gradient norm, relative",
        powers=True,
        level=0.0,
        title="Plain RNN: how far the gradient reaches (mean and range of 6 seeds)",
    )


# %% tags=["predict"]
plot_plain_rnns()

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert thousandth == 11
assert mean[59] < -14 and plain["gain 3"][:, 59].min() > 5
assert plain["torch's default"][:, 59].max() < -12  # in every one of the six seeds
for name, stretch in (("gain 3", 3), ("gain 1", 1), ("torch's default", 1 / math.sqrt(3))):
    assert 10 ** (plain[name].mean(0)[59] / 59) < stretch  # tanh makes it less than U alone
between = over_seeds({gain: recurrent(nn.RNN, "Gaussian", gain) for gain in (1.0, 1.25, 1.75, 2.0)})
between = [values.mean(0)[59].item() for values in between.values()]
assert between[0] < -2 < between[1] and between[2] < 2 < between[3]

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# After 11 frames. All three lines are nearly straight. With torch's default the gradient **vanishes**: what
# reaches frame 0 is smaller than the rounding error of what the last frames contribute. With large weights it
# **explodes**. Only gains from about 1¼ to 1¾ keep the gradient within a factor of a hundred over 59 frames,
# and nothing in the training keeps $U$ in that range.
#
# </details>
#
# **The reason is a product of matrices.** By the chain rule, an early state influences a late one through one
# **Jacobian** per frame, the matrix $J_k$ of the derivatives of $h_k$ with respect to $h_{k-1}$:
#
# $$\frac{\partial h_t}{\partial h_s} = J_t\, J_{t-1} \cdots J_{s+1}, \qquad
#   J_k = \operatorname{diag}(1 - h_k^2)\; U$$
#
# because $\tanh' = 1 - \tanh^2$. torch draws $U$ uniformly from $\pm 1/\sqrt{D}$, so it stretches a random
# vector by $1/\sqrt 3 \approx 0.58$, and $0.58^{59} \approx 10^{-14}$. The tanh shrinks it further, to the
# measured $10^{-16}$, because $1 - h^2 \le 1$. (The claims below check the product against autograd.)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
_ = torch.manual_seed(0)
W, U, b, u = nn.RNN(8, 32).double().parameters()
frames = torch.randn(12, 1, 8).double()  # (T, B, F), one clip


def hidden_states(h):
    """All hidden states (T, D) of the clip, starting from h (D,)."""
    return unroll(rnn_step, frames, (h[None],), (W, U, b, u))[:, 0]


product = torch.eye(32).double()  # (D, D)
for h in hidden_states(torch.zeros(32).double()):  # (D,)
    product = torch.diag(1 - h**2) @ U @ product  # the latest frame stands on the left
by_autograd = torch.autograd.functional.jacobian(lambda h: hidden_states(h)[-1], torch.zeros(32).double())
assert (product - by_autograd).abs().max() < 1e-14
assert by_autograd.abs().max() > 1e-4  # so that the agreement says something
assert round(59 * math.log10(1 / math.sqrt(3))) == -14

# %% [markdown]
# ## 4. The LSTM: a cell state that is added to
#
# A long product of matrices causes the problem. The **LSTM** (long short-term memory, 1997) adds a second
# state, the **cell state** $c$. No matrix multiplies it; each unit is multiplied only by a number between 0
# and 1. That number is a **gate**: the output of a small layer with a sigmoid $\sigma$. At 0 it is closed, at
# 1 open.
#
# $$\begin{aligned}
# i &= \sigma(W_i x + b_i + U_i h + u_i) && \text{input gate: how much to write}\\
# f &= \sigma(W_f x + b_f + U_f h + u_f) && \text{forget gate: how much to keep}\\
# g &= \tanh(W_g x + b_g + U_g h + u_g) && \text{candidate: what to write}\\
# o &= \sigma(W_o x + b_o + U_o h + u_o) && \text{output gate: how much to expose}\\
# c' &= f \odot c + i \odot g, && h' = o \odot \tanh(c')
# \end{aligned}$$
#
# ($\odot$ is the element-wise product; the prime marks the new state.) Along $c$ the gradient is multiplied
# by $f$ at each frame. Where $f$ is near 1, it arrives almost unchanged.
#
# torch stacks the four layers as **blocks** of $D$ rows in the order i, f, g, o: `weight_ih` is $(4D, F)$.
# The argument of $\sigma$ or $\tanh$ is called the **pre-activation**. `chunk` cuts all pre-activations, (B,
# 4D), into the four blocks.


# %%
def lstm_step(x, h, c, weight_ih, weight_hh, bias_ih, bias_hh):
    """x (B, F), h and c (B, D) -> the new h and c, (B, D) each."""
    a_i, a_f, a_g, a_o = (x @ weight_ih.T + bias_ih + h @ weight_hh.T + bias_hh).chunk(4, dim=-1)  # (B, D)
    i, f, o = torch.sigmoid(a_i), torch.sigmoid(a_f), torch.sigmoid(a_o)
    c = f * c + i * torch.tanh(a_g)
    return o * torch.tanh(c), c


same_as_torch("LSTM", lstm_step, nn.LSTM(5, 4), n_states=2)
figures.lstm_gru_diagram()

# %% [markdown]
# In the diagram the state runs along the top; $x$ and $h$ feed every layer. The right half shows the GRU of
# the next section.

# %% [markdown]
# ## 5. The GRU: one state, two gates
#
# The **gated recurrent unit** (Cho et al., 2014) has no separate cell state. A single gate $z$ sets both how
# much is kept and how much is written:
#
# $$\begin{aligned}
# r &= \sigma(W_r x + b_r + U_r h + u_r) && \text{reset gate}\\
# z &= \sigma(W_z x + b_z + U_z h + u_z) && \text{update gate: how much of } h \text{ to keep}\\
# n &= \tanh\!\big(W_n x + b_n + r \odot (U_n h + u_n)\big) && \text{candidate (``new'')}\\
# h' &= (1 - z) \odot n + z \odot h
# \end{aligned}$$
#
# Note the name: $z = 1$ means *do not update*. (Some texts exchange $z$ and $1 - z$. The network is the same,
# because the signs of the weights are learned.) Through $z \odot h$ the old state has a direct path into the
# new one, and along this path the gradient is multiplied by $z$.
#
# **Where the reset gate acts.** In `nn.GRU` and in cuDNN it multiplies $U_n h + u_n$, *after* the product
# with $U_n$. Then $U_r h$, $U_z h$ and $U_n h$ come from a single matrix product. In Cho et al. and in the
# LipNet paper (§3.2) it multiplies $h$ *before* the product:
#
# $$n = \tanh\!\big(W_n x + b_n + U_n (r \odot h) + u_n\big) \qquad\text{(reset before)}$$
#
# These are two different functions of the same weights, so weights trained with one must not be loaded into
# the other. We build torch's form.
#
# ### Exercise 1 · `gru_step` · difficulty ★★☆ · 12 minutes
#
# Write one step of torch's form for a batch. The blocks of rows come in the order **r, z, n**. The LSTM's
# shortcut (add the contributions of input and hidden state, then `chunk` the sum) does not work for $n$,
# because $r$ multiplies only one of the two.


# %%
def gru_step(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """One step of a GRU, reset after the product.

    x (B, F), h (B, D), weight_ih (3D, F), weight_hh (3D, D), bias_ih and bias_hh (3D,)
    -> the new hidden state, one tensor (B, D). Differentiable; changes none of its arguments.
    """
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
gru_step = use("03.gru_step", gru_step, gru_step_solution)
same_as_torch("GRU", gru_step, nn.GRU(5, 4))

# %% [markdown]
# ## 6. One step of backpropagation through time
#
# Autograd computed the gradients so far. Compute them yourself for one step. Let $\delta' = \partial
# L/\partial h'$ be the gradient at the new hidden state; you want $\delta = \partial L/\partial h$, the
# gradient at the old one. In the step $h$ occurs four times, so $\delta$ is a sum over four paths: **direct**
# ($z \odot h$), through the **update gate**, through the **candidate**, and through the **reset gate**.
#
# Take the update gate as an example. Call its pre-activation $a_z$:
#
# $$\underbrace{\frac{\partial L}{\partial a_z}}_{d_z} = \delta' \odot \underbrace{(h - n)}_{\partial h' /
#   \partial z} \odot \underbrace{z \odot (1 - z)}_{\partial z / \partial a_z}, \qquad
#   \text{its contribution to } \delta: \; U_z^\top d_z$$
#
# $a_z$ contains $U_z h$, and the gradient of a matrix product with respect to its input is the product with
# the transpose. In code a clip is a *row*: forward is `h @ U.T`, so backward is `d @ U`.
#
# ### Exercise 2 · `gru_step_backward` · difficulty ★★★ · 15 minutes
#
# Find $d_n = \partial L / \partial a_n$ (with $n = \tanh(a_n)$), the gradient at $U_n h + u_n$, and
# $d_r = \partial L / \partial a_r$. Then add the four paths. Do not call autograd; you may recompute $r$, $z$
# and $n$.
#
# <details><summary><b>Help: the pre-activations' gradients</b></summary>
#
# $$d_n = \delta' \odot (1 - z) \odot (1 - n^2), \qquad d_r = d_n \odot (U_n h + u_n) \odot r \odot (1 - r)$$
#
# The gradient at $U_n h + u_n$ is $d_n \odot r$, because $r$ multiplies it in the forward pass.
#
# </details>


# %%
def gru_step_backward(delta, x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """The gradient at the old hidden state, by hand.

    delta (B, D): the gradient of the loss at the new hidden state; the other arguments as in gru_step.
    -> the gradient of the loss at h, one tensor (B, D).
    """
    raise NotImplementedError


check("03.gru_step_backward", gru_step_backward)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def gru_step_backward_solution(delta, x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    """δ = z ⊙ δ' + U_rᵀ d_r + U_zᵀ d_z + U_nᵀ (r ⊙ d_n)."""
    x_r, x_z, x_n = (x @ weight_ih.T + bias_ih).chunk(3, dim=-1)  # (B, D) each
    h_r, h_z, h_n = (h @ weight_hh.T + bias_hh).chunk(3, dim=-1)  # (B, D) each
    r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
    n = torch.tanh(x_n + r * h_n)
    d_z = delta * (h - n) * z * (1 - z)  # (B, D), like the next three
    d_n = delta * (1 - z) * (1 - n**2)
    d_product = d_n * r  # at U_n h + u_n
    d_r = d_n * h_n * r * (1 - r)
    return z * delta + torch.cat([d_r, d_z, d_product], dim=-1) @ weight_hh  # (B, 3D) @ (3D, D)


# %%
gru_step_backward = use("03.gru_step_backward", gru_step_backward, gru_step_backward_solution)

# %% [markdown]
# With it, backpropagation through time is a loop: run forward, keep the hidden states, and go back from the
# last one. Compare 60 frames with autograd. We divide both by their norm, so that the
# difference is a relative one.


# %%
def backpropagate(delta, x, h, weights):
    """x (T, B, F); delta (B, D) at the last hidden state -> the gradient at the first one, h (B, D)."""
    hidden = [h, *unroll(gru_step, x, (h,), weights)]  # h_0 … h_T, (B, D) each
    for t in reversed(range(len(x))):
        delta = gru_step_backward(delta, x[t], hidden[t], *weights)
    return delta


_ = torch.manual_seed(0)
weights = tuple(parameter.detach() for parameter in nn.GRU(8, 32).double().parameters())
x, h, delta = (torch.randn(*shape).double() for shape in ((60, 4, 8), (4, 32), (4, 32)))
by_hand = backpropagate(delta, x, h, weights)  # (B, D)
h.requires_grad_()
(by_autograd,) = torch.autograd.grad(unroll(gru_step, x, (h,), weights)[-1], h, delta)
agree("60 steps of BPTT", by_hand / by_hand.norm(), by_autograd / by_autograd.norm(), tolerance=1e-9)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert -15 < (by_autograd.norm() / delta.norm()).log10() < -9
agree_relative = (by_hand.norm() / by_autograd.norm() - 1).abs().item()
assert agree_relative < 1e-9

# %% [markdown]
# The weights' gradients follow from the same numbers. $U_z$, for example, gets $\sum_t d_{z,t}\,
# h_{t-1}^\top$, a sum over all frames. Training frameworks do exactly this, with all blocks in one product
# per frame.

# %% [markdown]
# ## 7. How far does the gradient reach with gates?
#
# **Predict.** Repeat the measurement of section 3 with torch's default GRU and LSTM. Do their gradients reach
# the first frame? (The figure's other four lines are for the text below it.)

# %% tags=["hide-input"]
# @title Plot { display-mode: "form" }
GATED = {
    "LSTM, forget bias 4": recurrent(nn.LSTM, bias=4.0),
    "GRU, update bias 4": recurrent(nn.GRU, bias=4.0),
    "RNN, orthogonal U": recurrent(nn.RNN, "orthogonal"),
    "GRU, orthogonal U": recurrent(nn.GRU, "orthogonal"),
    "LSTM": nn.LSTM,
    "GRU": nn.GRU,
}
gated = over_seeds(GATED)


def plot_gated_networks():
    """How far the gradient reaches at initialization, by cell."""
    for name, values in gated.items():
        low, mean, high = (round(f(values[:, 59]).item()) for f in (torch.min, torch.mean, torch.max))
        print(f"{name:20} 59 frames back 10^{mean}, seeds from 10^{low} to 10^{high}")
    return figures.curves(
        gated,
        xlabel="frames before the last",
        ylabel="gradient norm, relative",
        powers=True,
        level=0.0,
        height=4.2,
        title="How far the gradient reaches at initialization (mean and range of 6 seeds)",
    )


# %% tags=["predict"]
plot_gated_networks()

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
at_59 = {name: values[:, 59] for name, values in gated.items()}
assert max(at_59[name].max() for name in ("GRU", "LSTM")) < -10
assert all(-13 < at_59[name].mean() < -11 for name in ("GRU", "LSTM"))
kept = {name: 10 ** at_59[name] for name in GATED if "bias 4" in name}
assert 0.25 < kept["GRU, update bias 4"].min() and kept["GRU, update bias 4"].max() < 0.5
assert 0.9 < kept["LSTM, forget bias 4"].min() and kept["LSTM, forget bias 4"].max() < 4.5
lowest = 10 ** gated["LSTM, forget bias 4"].min(1).values
assert 0.2 < lowest.min() and lowest.max() < 0.45
assert -5.5 < at_59["RNN, orthogonal U"].min() and at_59["RNN, orthogonal U"].max() < -4
assert -9 < at_59["GRU, orthogonal U"].min() and at_59["GRU, orthogonal U"].max() < -7.5
assert -59 * math.log10(2) < -17.5

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# No: with the default initialization the gated networks' gradients vanish, too, only later than the RNN's.
# Their gates start near $\sigma(0) = \tfrac12$.
#
# </details>
#
# **Gates let a network remember only if they are open, by initialization or by training.** The other four
# lines show two choices at initialization:
# - **The bias of the gate that keeps.** With a bias of 4 the gate starts near $\sigma(4) = 0.98$, and a
#   quarter to a half of a GRU's gradient arrives from 59 frames back. An LSTM's falls to about a third, then
#   grows again to one to four times its value at the last frame. This is why LSTMs are often started with a
#   positive forget bias (Jozefowicz et al., 2015).
# - **Orthogonal blocks of $U$**, which keep the length of every vector. They raise the RNN from $10^{-16}$ to
#   $10^{-5}$ and the GRU from $10^{-12}$ to $10^{-8}$. That is better than the default, and still small: the
#   tanh and the gates shrink the gradient.

# %% [markdown]
# ## 8. Gates at work in a trained network
#
# A network learns its own gates. To see *when* they open and close, train on a task where you know when they
# must. Each frame has a random number, and some frames are **marked**. The target, at every frame, is
# **the number at the last mark**. So the network must store a number at a mark, keep it until the next mark,
# and ignore the rest.


# %% tags=["hide-input"]
# @title Helper: marked_numbers, random clips of this task { display-mode: "form" }
def marked_numbers(B, T, generator):
    """x (T, B, 2): a number and a mark, 0 or 1; the target (T, B)."""
    number = 2 * torch.rand(T, B, generator=generator) - 1  # (T, B)
    mark = torch.rand(T, B, generator=generator) < 0.1  # (T, B)
    mark[0] = True
    last = torch.where(mark, torch.arange(T)[:, None], 0).cummax(0).values  # (T, B): frame of the last mark
    return torch.stack([number, mark.float()], dim=-1), number.gather(0, last)


# %%
class Keeper(nn.Module):
    def __init__(self, kind, D=2):
        super().__init__()
        self.layer, self.head = kind(2, D), nn.Linear(D, 1)

    def forward(self, x):
        return self.head(self.layer(x)[0])[..., 0]  # (T, B, 2) -> (T, B, D) -> (T, B)


def train_keeper(kind, seed):
    _ = torch.manual_seed(seed)
    model, generator = Keeper(kind), torch.Generator().manual_seed(seed)
    losses = train(model, lambda: marked_numbers(32, 24, generator), nn.functional.mse_loss, 160, rate=0.1)
    return model, losses


# %% tags=["hide-input"]
# @title Helper: train, with Adam and gradient clipping { display-mode: "form" }
# A GPU is not faster here: each step of a small cell is a handful of tiny operations.
device = lessons.device()


def train(model, next_batch, loss_of, steps, rate):
    """Adam with a learning rate that rises and falls, and gradient clipping -> the losses."""
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


# %%
# gru.GRU, this package's, computes what nn.GRU does; its backward pass is written by hand (a deeper section).
runs = [(kind, seed) for kind in (nn.RNN, gru.GRU) for seed in range(3)]
keepers = {(kind.__name__, seed): train_keeper(kind, seed) for kind, seed in tqdm(runs, desc="training")}

# %% tags=["hide-input"]
# @title Plot { display-mode: "form" }
x_test, y_test = marked_numbers(200, 75, torch.Generator().manual_seed(1000))  # longer than in training: 24
constant = y_test.var().item()  # the error of the best constant output
relative = {"RNN": [], "GRU": []}
for (name, _), (model, _) in keepers.items():
    with torch.no_grad():
        relative[name].append(nn.functional.mse_loss(model(x_test), y_test).item() / constant)
for name, values in relative.items():
    print(f"{name}: {sum(v < 0.1 for v in values)} of 3 seeds below a tenth of a constant output's error")
figures.seed_spread(
    relative,
    percent=True,
    xlabel="squared error on the test clips, relative to the best constant output",
    title="Keeping a number: three seeds each, D = 2",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert max(relative["GRU"]) < 0.1 < 0.6 < min(relative["RNN"]) and max(relative["RNN"]) < 1.1
assert max(relative["RNN"]) > 0.9

# %% [markdown]
# With two units and 160 steps, all three GRUs learn the task and also solve clips three times as long as
# those of the training. The plain RNNs do not: their errors are about 80 to 100 % of the best constant
# output's. Now look inside. Your `gru_step`, with the trained weights, lets us record the gates:


# %%
def watch_gates(network, x):
    """A trained GRU and x (T, B, F) -> r, z and h at every frame, (T, B, D) each."""
    W, U, b, u = (p.detach() for p in network.parameters())
    h, seen = torch.zeros(x.shape[1], network.hidden_size), []
    for x_t in x:  # (B, F)
        a_r, a_z, _ = (x_t @ W.T + b).chunk(3, dim=-1)  # (B, D) each
        c_r, c_z, _ = (h @ U.T + u).chunk(3, dim=-1)  # (B, D) each
        h = gru_step(x_t, h, W, U, b, u)  # (B, D)
        seen.append((torch.sigmoid(a_r + c_r), torch.sigmoid(a_z + c_z), h))
    return tuple(torch.stack(part) for part in zip(*seen, strict=True))


# %% tags=["hide-input"]
# @title Plot { display-mode: "form" }
model = keepers["GRU", 2][0]
seven = int((x_test[..., 1].sum(0) == 7).nonzero()[0])  # the first clip with seven marks
x, y = x_test[:, [seven]], y_test[:, seven]  # (T, 1, F), (T,)
r, z, h = watch_gates(model.layer, x)  # (T, 1, D) each
with torch.no_grad():
    agree("hidden states", h, model.layer(x)[0], tolerance=1e-5)
    out = model(x)[:, 0]  # (T,)
figures.gate_activations(
    x[:, 0, 0],
    x[:, 0, 1],
    {"update z": z[:, 0], "reset r": r[:, 0]},
    y,
    out,
    title="The update gate: near 1 between marks, lower at a mark",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
for seed in range(3):
    _, z, _ = watch_gates(keepers["GRU", seed][0].layer, x_test[:, :15])  # (T, B, D)
    marked = x_test[:, :15, 1] == 1  # (T, B)
    unmarked_mean, marked_mean = z[~marked].mean(0), z[marked].mean(0)
    unit = int((unmarked_mean - marked_mean).argmax())
    assert unmarked_mean[unit] > 0.9 and marked_mean[unit] < 0.4

# %% [markdown]
# **Remember this figure.** Without a mark $z$ is near 1, and the hidden state is copied from frame to frame.
# At a mark $z$ falls, and the new number replaces the old one. Each of the three networks learned this in at
# least one of its two units: there $z$ is above 0.9 on average without a mark and below 0.4 with one. (The
# reset gate between marks means little: it shapes only the candidate, of which the fraction $1 - z$ is
# written, next to nothing.)
#
# <details><summary><b>Help: "the loss becomes NaN after some steps"</b></summary>
#
# Over 75 frames a gradient can explode (section 3). Use gradient clipping before each step, as `train` does:
# `nn.utils.clip_grad_norm_(model.parameters(), 1.0)`. If the loss is NaN at the very first step, look at the
# input: `torch.isfinite(x).all()`. Clipping does not help against a NaN that is already in the gradient.
#
# </details>

# %% [markdown]
# ## 9. Both directions, and padding
#
# "Place" and "please" start alike: lips closed for the /p/, then the tongue up for the /l/. At the
# word's first frame nobody can know which of the two it is. A forward network must wait. LipNet uses a
# **bidirectional** GRU: a second GRU, with its own weights, reads the clip from its end, and the two hidden
# states are concatenated at each frame, $(T, B, 2D)$. (A deeper section builds one from two GRUs.) The price
# is latency: the first output needs the whole clip.
#
# **Padding.** The clips of a mini-batch must have equal length, so a clip of 50 frames gets 25 frames of
# zeros beside clips of 75. For the forward direction that is harmless, because the zeros come after the clip.
# **Predict**: which of the 50 real frames' outputs does the padding change in a bidirectional network? The
# figure compares a two-layer network's logits for the clip alone and for the padded clip, relative to
# their standard deviation over time (six seeds). Changes below $10^{-7}$, mere rounding, are drawn at
# $10^{-7}$.

# %% tags=["hide-input"]
# @title Plot { display-mode: "form" }
spoken, _ = say("bin blue at f two now", 1.0, np.random.default_rng(0), n_frames=75)
clip = torch.from_numpy(spoken[12:62]).float()[:, None]  # (50, 1, 8): fifty real frames
clip = (clip - clip.mean(0)) / clip.std()
padded = torch.cat([clip, torch.zeros(25, 1, 8)])  # (75, 1, 8)


def change_by_padding(bias, seed, lengths=None):
    """(50,): change of the logits at each real frame, relative to their own variation over time (log10)."""
    _ = torch.manual_seed(seed)
    network = gru.GRU(8, 24, num_layers=2, bidirectional=True)  # two layers, as in LipNet
    head = nn.Linear(48, 28)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("bias_hh"):
                parameter[24:48] += bias  # the update gate's
        alone = head(network(clip)[0])[:, 0]  # (50, V)
        batched = head(network(padded, lengths=lengths)[0])[:50, 0]  # (50, V): the same fifty frames
    change = (batched - alone).square().mean(1).sqrt()  # (T,), root mean square over the classes
    variation = alone.var(0).mean().sqrt()  # of each class over time
    return (change / variation).clamp(min=1e-7).log10()  # no change at all: drawn at 10^-7


changes = {
    f"update bias {bias}": torch.stack([change_by_padding(bias, seed) for seed in range(6)])
    for bias in (3, 0)
}
changes["with lengths"] = torch.stack([change_by_padding(3, seed, lengths=[50]) for seed in range(6)])


def plot_padding():
    """What padding after a clip changes within it."""
    return figures.curves(
        changes,
        xlabel="frame of the clip",
        ylabel="change of the logits, relative",
        powers=True,
        level=0.0,
        title="25 padded frames after the clip: what they change within it (6 seeds)",
    )


# %% tags=["predict"]
plot_padding()

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
fresh, keeping = (10 ** changes[f"update bias {bias}"] for bias in (0, 3))  # (seeds, T)
assert 0.5 < fresh[:, -1].min() and fresh[:, -1].max() < 1.3
assert fresh[:, 37].max() < 0.02 and 0.2 < keeping[:, 0].min() and keeping[:, 0].max() < 0.5
assert changes["with lengths"].max() < -5

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The backward GRU reads 25 frames of zeros before it reaches the clip, and its hidden state is no longer zero
# then. With default weights the logits at the last real frame change by 0.6 to 1.1 times as much as they vary
# over the clip, and a dozen frames earlier by less than 0.02 times. A network that keeps its state (here by
# its bias) carries the error through the whole clip: at the first frame it is still 0.2 to 0.4.
#
# </details>
#
# The fix is to tell the layer the **lengths**, so that the backward direction starts at each clip's own last
# frame:

# %%
figures.bidirectional_order([12, 5, 8])

# %% [markdown]
# `gru.GRU` of this package takes `lengths`. For `nn.GRU` use `pack_padded_sequence(x, lengths,
# enforce_sorted=False)` before the layer and `pad_packed_sequence` after it. A deeper section builds it by
# hand.
#
# <details><summary><b>Help: "my outputs change when the padding changes"</b></summary>
#
# A backward direction reads the padding first. Pass the lengths, as above. If the forward half changes as
# well, batch and time are exchanged: see the bug hunt.
#
# </details>

# %% [markdown]
# ## 10. Bug hunt: two bugs that do not crash
#
# Two networks take clips as a data loader gives them, `(B, T, F)`. The shapes fit, and the loss falls. Two
# tests find the bugs without reading the code:
# - Does a clip's output change when **the other clips in the batch** change?
# - Does a clip's output change when **another batch was processed before**?
#
# Run the cell and name each bug before you read on.


# %%
def change_by_other_clips(network):
    """Largest change of clip 0's output when only the other clips in the batch change."""
    generator = torch.Generator().manual_seed(0)
    clip, others, more = (torch.randn(n, 40, 8, generator=generator) for n in (1, 5, 5))
    with torch.no_grad():
        first, second = (network(torch.cat([clip, rest]))[0] for rest in (others, more))  # (T, V) each
    return (first - second).abs().max().item()


def change_by_history(network):
    """Largest change of a batch's output when it is processed again after another batch."""
    generator = torch.Generator().manual_seed(0)
    batch, another = (torch.randn(6, 40, 8, generator=generator) for _ in range(2))
    with torch.no_grad():
        first, _, second = (network(x) for x in (batch, another, batch))
    return (first - second).abs().max().item()


class NetworkA(nn.Module):
    """(B, T, 8) -> (B, T, 28)."""

    def __init__(self, **options):
        super().__init__()
        self.layer = nn.GRU(8, 24, bidirectional=True, **options)
        self.head = nn.Linear(48, 28)

    def forward(self, x):
        return self.head(self.layer(x)[0])  # (B, T, 28)


class NetworkB(nn.Module):
    """(B, T, 8) -> (B, T, 28). Keeps its state, "so that long videos can be processed in pieces"."""

    def __init__(self):
        super().__init__()
        self.layer, self.state = nn.GRU(8, 24, batch_first=True), None
        self.head = nn.Linear(24, 28)

    def forward(self, x):
        out, state = self.layer(x, self.state)  # (B, T, 24)
        self.state = state.detach()
        return self.head(out)  # (B, T, 28)


_ = torch.manual_seed(0)
for network in (NetworkA(), NetworkB()):
    others = change_by_other_clips(network)
    network.state = None
    history = change_by_history(network)
    print(
        f"{type(network).__name__}: other clips change the output by {others:.2f}, history by {history:.2f}"
    )

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# **Network A: batch and time exchanged.** `nn.GRU` expects `(T, B, F)` unless you say `batch_first=True`.
# Given `(B, T, F)` it treats clips as frames, and runs from clip to clip. It cannot learn anything about
# time. The loss may still fall, because a single frame is informative, too.
#
# **Network B: state leaks between batches.** The last state of one batch is the initial state of the next,
# although its clips are different clips. (It fails the first test as well, because that test runs two
# batches.) Without `detach` the second training step stops with *Trying to backward through the graph a
# second time*. People add `detach`, the error disappears, and the leak stays. Carrying the state over is
# right only if each batch continues the clips of the one before.
#
# </details>

# %%
_ = torch.manual_seed(0)
fixed = NetworkA(batch_first=True)
print(f"network A fixed: {change_by_other_clips(fixed):.2f} and {change_by_history(fixed):.2f}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
for network in (NetworkA(), NetworkB()):
    assert change_by_other_clips(network) > 0.01
    network.state = None
    assert (change_by_history(network) > 0.01) == isinstance(network, NetworkB)
assert change_by_other_clips(fixed) < 1e-6 and change_by_history(fixed) < 1e-6
layer, state = nn.GRU(8, 24, batch_first=True), None  # network B without the detach: two training steps
try:
    for _ in range(2):
        out, state = layer(torch.randn(6, 40, 8), state)
        out.sum().backward()
except RuntimeError as error:
    assert "backward through the graph a second time" in str(error)
else:
    raise AssertionError("the second step went through")

# %% [markdown]
# <details><summary><b>Help: "input.size(-1) must be equal to input_size"</b></summary>
#
# The last axis must hold the $F$ features of a frame. From convolutions you have `(B, C, T, H, W)`:
# `x.permute(2, 0, 1, 3, 4).flatten(2)` makes it `(T, B, C·H·W)`.
#
# </details>
#
# <details><summary><b>Help: "Expected hidden size (1, 4, 24), got [1, 6, 24]"</b></summary>
#
# The initial state has another batch size, here 6 for 4 clips: network B causes this when the last batch of
# an epoch is smaller. Or the first number differs: it is layers · directions, so 2 for one bidirectional
# layer.
#
# </details>
#
# <details><summary><b>Help: "(T, B, F) or (B, T, F)? It runs either way, and learns nothing"</b></summary>
#
# `nn.GRU` expects time first, or `batch_first=True`; states stay `(layers · directions, B, D)` in both cases.
# Run the first test of this section: if a clip's output depends on the other clips, the two axes are
# exchanged.
#
# </details>

# %% [markdown]
# ## Deeper: which path carries the gradient?
#
# Which of the four paths of section 6 carries the default GRU's gradient? If only the direct path counted and
# every $z$ were $\tfrac12$, $10^{-18}$ would be left after 59 frames. Set blocks of $U$ to zero, so that
# these layers do not read $h$, and measure again.


# %%
def without(*blocks):
    """Makes a GRU in which these blocks of U (0: reset, 1: update, 2: candidate) are zero."""

    def make(F, D):
        network = nn.GRU(F, D)
        with torch.no_grad():
            for k in blocks:
                network.weight_hh_l0.split(D)[k].zero_()
        return network

    return make


PATHS = {
    "all four paths": nn.GRU,
    "gates do not read h": without(0, 1),
    "candidate does not read h": without(2),
}
paths = over_seeds(PATHS)
for name, values in paths.items():
    low, mean, high = (round(f(values[:, 59]).item()) for f in (torch.min, torch.mean, torch.max))
    print(f"{name:26} 10^{mean}, seeds from 10^{low} to 10^{high}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
ends = {name: values[:, 59] for name, values in paths.items()}
change = ends["gates do not read h"] - ends["all four paths"]
assert change.abs().max() < 0.8 and change.mean().abs() < 0.2  # seed by seed
assert (ends["all four paths"] - ends["candidate does not read h"]).min() > 1.5
assert ends["all four paths"].max() > -12 and ends["candidate does not read h"].mean() < -15

# %% [markdown]
# Without the gates' paths the mean hardly changes. Without the candidate's path the gradient loses between
# one and a half and four more powers of ten, depending on the seed. So at initialization the candidate
# carries most of what the direct path does not.

# %% [markdown]
# ## Deeper: bias and gain by hand
#
# Move the sliders: a bias on the keeping gate, and the initialization of $U$ with its gain. With
# *default* the gain does nothing; the RNN has no gate for the bias. Which bias does a GRU need so that a
# tenth of the gradient arrives from 59 frames back? With orthogonal $U$ and no bias, from which gain on does
# a GRU's gradient explode, and an RNN's?
#
# <details><summary><b>Answer</b></summary>
#
# A bias of about 3 leaves a tenth. The RNN's gradient explodes from a gain of about 1.5, the GRU's from about
# 3.
#
# </details>
#
# If the old state is only multiplied by $z = \sigma(\text{bias})$, half of it is left after $\ln \tfrac12 /
# \ln z$ frames. That is 1 frame for a bias of 0, 5 for a bias of 2, 38 for a bias of 4. A spoken sentence of
# the synthetic talker takes about 28 frames.

# %% tags=["nbval-ignore-output"]
# output not compared: the sliders are widgets, which live only while the notebook runs
from ipywidgets import interact


@interact(
    cell=["GRU", "LSTM", "RNN"],
    bias=(-2.0, 6.0, 0.5),
    init=["default", "orthogonal", "Gaussian"],
    gain=(0.25, 4.0, 0.25),
)
def reach_with(cell="GRU", bias=1.0, init="default", gain=1.0):
    network = recurrent(getattr(nn, cell), init, gain, bias)
    chosen = over_seeds({"your choice": network, "default GRU": nn.GRU}, seeds=2)
    return figures.curves(
        chosen,
        xlabel="frames before the last",
        ylabel="gradient norm, relative",
        powers=True,
        level=0.0,
        title=f"{cell}, bias {bias:+.1f}, {init}, gain {gain:.2f}",
    )


# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
slid = {
    "tenth": recurrent(nn.GRU, bias=3.0), "2.0": recurrent(nn.GRU, "orthogonal", 2.0),
    "3.0": recurrent(nn.GRU, "orthogonal", 3.0), "1.25": recurrent(nn.RNN, "orthogonal", 1.25),
    "1.5": recurrent(nn.RNN, "orthogonal", 1.5),
}  # fmt: skip
slid = {name: values[:, 59] for name, values in over_seeds(slid, seeds=2).items()}
half_lives = [math.log(0.5) / math.log(1 / (1 + math.exp(-bias))) for bias in (0, 2, 4)]
assert [round(frames) for frames in half_lives] == [1, 5, 38]
assert round(segments[-1][0] - segments[0][1]) == 28
assert -1.3 < slid["tenth"].min() and slid["tenth"].max() < -0.8
assert max(slid["2.0"].max(), slid["1.25"].max()) < -1 and min(slid["3.0"].min(), slid["1.5"].min()) > 0

# %% [markdown]
# ## Deeper: reset before and reset after, measured
#
# Section 5 gave both forms of the candidate. With the same weights, when do they agree?


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
    cell.weight_hh_l0[32:] = torch.diag(cell.weight_hh_l0[32:].diagonal())  # U_n does not mix units


def diagonal_without_bias(cell):
    diagonal(cell)
    cell.bias_hh_l0[32:] = 0.0  # and u_n = 0


CASES = {
    "default weights": lambda cell: None,
    "r = 1": open_reset,
    "U_n diagonal": diagonal,
    "U_n diagonal and u_n = 0": diagonal_without_bias,
}
gaps = {name: largest_gap(change) for name, change in CASES.items()}
for name, gap in gaps.items():
    print(f"{name:25} largest difference {gap:.2f}" if gap > 1e-12 else f"{name:25} equal")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert gaps["default weights"] > 0.05 and gaps["U_n diagonal"] > 0.01
assert max(gaps["r = 1"], gaps["U_n diagonal and u_n = 0"]) < 1e-12

# %% [markdown]
# They agree where the reset gate is fully open, or where $U_n$ does not mix units and the bias inside the
# bracket is 0. The package's step has both (`x_gates` is $Wx + b$, the input's part of all three blocks; it
# needs no state, so it is computed for all frames at once):

# %%
show(gru.gru_step)

# %% [markdown]
# ## Deeper: reverse clips of unequal length
#
# First, clips of equal length. A bidirectional GRU is two GRUs, one of which reads the reversed clips:

# %%
_ = torch.manual_seed(0)
both = nn.GRU(8, 24, bidirectional=True)
forwards, backwards = nn.GRU(8, 24), nn.GRU(8, 24)
names = [name for name, _ in forwards.named_parameters()]
forwards.load_state_dict({name: both.state_dict()[name] for name in names})
backwards.load_state_dict({name: both.state_dict()[f"{name}_reverse"] for name in names})
clips = torch.randn(30, 2, 8)  # (T, B, F)
with torch.no_grad():
    forward_states = forwards(clips)[0]  # (T, B, D)
    backward_states = backwards(clips.flip(0))[0].flip(0)  # (T, B, D): read from the end, then put in order
    agree("two GRUs", torch.cat([forward_states, backward_states], dim=-1), both(clips)[0], tolerance=1e-6)

# %% [markdown]
# ### Exercise 3 · `reverse_padded` · difficulty ★★☆ · 12 minutes
#
# A backward direction that padding cannot reach takes three steps: reverse each clip's valid frames, run
# forward, reverse again. Write the reversal. The padding stays where it is: with length 3, the frames `a b c
# 0 0` become `c b a 0 0`. A loop over the clips is a good answer. To avoid the loop, compute for each element
# of the result from which frame it comes, and use `x.gather(0, index)`.


# %%
def reverse_padded(x, lengths):
    """x (T, B, F), lengths (B,) an integer tensor with values from 1 to T, in any order
    -> a new tensor (T, B, F): the first lengths[b] frames of clip b in reverse order, the others unchanged.
    """
    raise NotImplementedError


check("03.reverse_padded", reverse_padded)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def reverse_padded_solution(x, lengths):
    """Frame t of the result comes from frame length - 1 - t; a padded frame from itself."""
    t = torch.arange(len(x))[:, None]  # (T, 1)
    index = torch.where(t < lengths, lengths - 1 - t, t)  # (T, B)
    return x.gather(0, index[..., None].expand_as(x))  # (T, B, F)


# %%
reverse_padded = use("03.reverse_padded", reverse_padded, reverse_padded_solution)

# %% [markdown]
# Your reversal, the package's `lengths` and torch's `pack_padded_sequence` give the same on clips of unequal
# length:

# %%
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

_ = torch.manual_seed(0)
ours, theirs = gru.GRU(8, 24, bidirectional=True).double(), nn.GRU(8, 24, bidirectional=True).double()
theirs.load_state_dict(ours.state_dict())
backwards = gru.GRU(8, 24).double()
backwards.load_state_dict({name: ours.state_dict()[f"{name}_reverse"] for name in names})
lengths = torch.tensor([20, 7, 13])
x = torch.randn(20, 3, 8).double().requires_grad_()  # (T, B, F), with random numbers in the padding
valid = (torch.arange(20)[:, None] < lengths)[..., None]  # (T, B, 1)

with_lengths = ours(x, lengths=lengths)[0]  # (T, B, 2D)
packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
from_packed = pad_packed_sequence(theirs(packed)[0])[0]  # (T, B, 2D)
reversed_twice = reverse_padded(backwards(reverse_padded(x, lengths))[0], lengths)  # (T, B, D)

agree("lengths and pack_padded_sequence", with_lengths, from_packed)
agree("reverse, run, reverse", reversed_twice * valid, with_lengths[..., 24:])
delta = torch.randn_like(with_lengths)  # (T, B, 2D)
gradient, expected = (
    torch.cat([g.flatten() for g in torch.autograd.grad(y, (x, *layer.parameters()), delta)])
    for y, layer in ((with_lengths, ours), (from_packed, theirs))
)
agree("their gradients", gradient, expected, tolerance=1e-12)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert (gradient[: x.numel()].view_as(x) * ~valid).abs().max() == 0  # no gradient reaches the padding

# %% [markdown]
# ## Deeper: initialization, and what each matrix needs
#
# **Orthogonal, for the matrix that is applied at every frame.** An orthogonal matrix keeps the length of a
# vector. Compare it with a Gaussian matrix whose entries have variance $1/D$, and with torch's default. (This
# is the bare matrix. In a network the tanh and the gates shrink the gradient as well: section 7 has the
# measurement, $10^{-8}$ instead of $10^{-12}$ for a GRU.)

# %%
D = 256
start = torch.randn(D, 1, generator=torch.Generator().manual_seed(99)).double()  # (D, 1)
DRAWS = {
    "orthogonal": lambda: nn.init.orthogonal_(torch.empty(D, D).double()),
    "Gaussian, variance 1/D": lambda: torch.randn(D, D).double() / math.sqrt(D),
    "torch's default": lambda: (2 * torch.rand(D, D).double() - 1) / math.sqrt(D),
}
norms = {name: [] for name in DRAWS}
for name, draw in DRAWS.items():
    for seed in range(8):
        _ = torch.manual_seed(seed)
        U, v, path = draw(), start / start.norm(), [0.0]
        for _ in range(75):
            v = U @ v  # (D, 1)
            path.append(v.norm().log10().item())
        norms[name].append(path)
norms = {name: torch.tensor(paths) for name, paths in norms.items()}  # (draws, 76)
figures.curves(
    norms,
    xlabel="times applied",
    ylabel="norm of the vector",
    powers=True,
    title="A vector multiplied by the same matrix 75 times (mean and range of 8 draws)",
)

# %%
_ = torch.manual_seed(0)
stack = nn.init.orthogonal_(torch.empty(3 * D, D).double())  # all three blocks at once
values = torch.linalg.svdvals(stack[:D])  # (D,), the singular values of one block
print(f"orthogonal_ on the stack (3D, D): a block's singular values go from {values.min():.2f} to", end=" ")
print(f"{values.max():.2f}, root mean square {values.square().mean().sqrt():.2f} = 1/√3")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert norms["orthogonal"].abs().max() < 1e-10
assert norms["torch's default"][:, -1].max() < -15
one_step = norms["Gaussian, variance 1/D"][:, 1]
assert one_step.abs().max() < 0.1 < 0.5 < norms["Gaussian, variance 1/D"][:, -1].abs().max()
assert math.isclose(values.square().mean().sqrt().item(), 1 / math.sqrt(3), rel_tol=0.02)

# %% [markdown]
# A Gaussian matrix keeps the length well for one step, and not for 75. The second cell shows a trap:
# `orthogonal_` on the stacked weight makes the *stack* orthogonal, and each block shrinks a random vector
# like torch's default. Initialize block by block, as `recurrent` does in section 3 and
# `lessons.lipreading.lipnet` for LipNet.
#
# **Uniform ±√3·std, for the matrix that is applied once per frame.** $W x$ is not repeated. What matters is
# that a sum of $F$ terms has a sensible scale. **Glorot's rule** sets the variance to $2/(F + D)$. A uniform
# draw from $\pm a$ has variance
#
# $$\frac{1}{2a}\int_{-a}^{a} w^2\,dw = \frac{a^2}{3}, \qquad\text{so}\qquad a = \sqrt{3}\cdot\text{std}$$
#
# That is where the √3 in LipNet code comes from. torch's default, $\pm 1/\sqrt{D}$, ignores $F$.
# **Predict**: what does it do with LipNet's $F = 3072$?

# %% tags=["predict"]
_ = torch.manual_seed(0)
scales = []
for F in (8, 512, 3072):
    glorot = math.sqrt(2 / (F + 256))  # standard deviation
    x = torch.randn(2000, F)  # features of mean 0 and standard deviation 1
    for name, a in (("±√3 std", math.sqrt(3) * glorot), ("torch's ±1/√D", 1 / math.sqrt(256))):
        W = torch.empty(256, F).uniform_(-a, a)  # (D, F)
        out = x @ W.T  # (2000, D)
        std, beyond = out.std().item(), (out.abs() > 3).float().mean().item()
        scales.append((F, a, std, beyond))
        print(f"F = {F:4}: {name:14} W x has standard deviation {std:.2f}, {beyond:.0%} are beyond ±3")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
for F, a, std, _ in scales:
    assert math.isclose(std, math.sqrt(F * a**2 / 3), rel_tol=0.03)
assert scales[-1][0] == 3072 and 0.1 < scales[-1][3] < 0.2 and 1.9 < scales[-1][2] < 2.1

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# With $F = 3072$ the default gives a standard deviation of 2, and about one pre-activation in eight starts
# beyond ±3, where the sigmoid is flat. Such a gate is almost fully open or closed, and learns slowly.
#
# </details>

# %% [markdown]
# ## Deeper: weights and multiply-adds, 4 to 3
#
# Each block has $D$ rows of $F + D$ weights and two biases per row. A layer has
# $\text{directions} \cdot \text{blocks} \cdot D\,(F + D + 2)$ parameters, with 1 block for the RNN, 3 for the
# GRU, 4 for the LSTM. Here are the sizes of LipNet's first recurrent layer, $F = 96 \cdot 4 \cdot 8$ and
# $D = 256$:

# %%
from lessons.measure.counting import count

F, D = 96 * 4 * 8, 256
for kind, blocks in ((nn.GRU, 3), (nn.LSTM, 4)):
    layer = kind(F, D, bidirectional=True)
    parameters = sum(p.numel() for p in layer.parameters())
    work = count(layer, torch.zeros(75, 1, F)).multiply_adds
    by_formula = 2 * blocks * D * (F + D + 2)
    print(f"{kind.__name__:4} {parameters:,} parameters, by the formula {by_formula:,};", end=" ")
    print(f"{work / 1e6:.0f} M multiply-adds per clip")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
sizes = {
    kind: sum(p.numel() for p in kind(F, D, bidirectional=True).parameters()) for kind in (nn.GRU, nn.LSTM)
}
assert sizes[nn.GRU] == 2 * 3 * D * (F + D + 2) == 5_114_880 and sizes[nn.LSTM] * 3 == sizes[nn.GRU] * 4

# %% [markdown]
# ## Deeper: a claim about GRU and LSTM, put to the test
#
# A widely read write-up of LipNet says that the features go into a Bi-LSTM, "or a GRU, which is somewhat
# faster, and the accuracy is no lower". Test both claims on one task that needs both directions.
#
# **The task.** The synthetic talker says GRID sentences. A frame is 8 noisy numbers, the shape of the mouth.
# Classify every frame: which of the 51 words is being spoken, or silence? One frame shows a *sound*; the word
# depends on what comes before it and after it.


# %%
from lessons.ctc.grammar import SLOTS, random_sentence

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


class WordClassifier(nn.Module):
    """(T, B, 8) -> logits (T, B, 52)."""

    def __init__(self, kind, D, bidirectional=True):
        super().__init__()
        if kind is nn.Conv1d:  # baseline without a state: a window of 7 frames, as LipNet's convolutions have
            self.layer = nn.Conv1d(8, 2 * D, 7, padding=3)
        else:
            self.layer = kind(8, D, bidirectional=bidirectional)
        self.head = nn.Linear(2 * D if bidirectional else D, len(WORDS))

    def forward(self, x):
        if isinstance(self.layer, nn.Conv1d):
            features = self.layer(x.permute(1, 2, 0)).relu().permute(2, 0, 1)  # (T, B, 2D)
        else:
            features = self.layer(x)[0]  # (T, B, 2D), or (T, B, D) in one direction
        return self.head(features)


def word_loss(logits, words):
    return nn.functional.cross_entropy(logits.flatten(0, 1), words.flatten())


def train_classifier(setting, seed, steps=120, B=64, T=20):
    """Train on random cuts of T frames; return the fraction of spoken test frames with the wrong word."""
    _ = torch.manual_seed(seed)
    model, generator = WordClassifier(*setting), torch.Generator().manual_seed(seed)

    def cuts():
        clips = torch.randint(0, x_train.shape[1], (B,), generator=generator)  # (B,)
        start = torch.randint(8, 67 - T, (B,), generator=generator)  # (B,)
        frames = start + torch.arange(T)[:, None]  # (T, B)
        return x_train[frames, clips], y_train[frames, clips]  # (T, B, 8), (T, B)

    train(model, cuts, word_loss, steps, rate=0.03)
    with torch.no_grad():
        wrong = model(x_test).argmax(-1) != y_test  # (75, 200)
    return wrong[y_test > 0].float().mean().item()


# %% [markdown]
# The networks differ in one layer only. The LSTM comes twice: with the same number of units, $D = 24$, and
# with about as many parameters as the GRU, $D = 20$. **Predict** the order.

# %%
NETWORKS = {
    "window of 7 frames": (nn.Conv1d, 24),
    "GRU, forward only": (gru.GRU, 24, False),
    "Bi-GRU, D = 24": (gru.GRU, 24),
    "Bi-LSTM, D = 24": (nn.LSTM, 24),
    "Bi-LSTM, D = 20": (nn.LSTM, 20),
}
runs = [(name, seed) for name in NETWORKS for seed in range(3)]
trained = {(name, seed): train_classifier(NETWORKS[name], seed) for name, seed in tqdm(runs, desc="training")}

# %% tags=["predict"]
error = {name: [trained[name, seed] for seed in range(3)] for name in NETWORKS}
for name in NETWORKS:
    parameters = sum(p.numel() for p in WordClassifier(*NETWORKS[name]).layer.parameters())
    print(f"{name:19} {parameters:5} parameters in the layer")
figures.seed_spread(
    error,
    percent=True,
    xlabel="spoken frames with the wrong word",
    title="Which word is it? Three seeds each, and their mean",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
means = {name: sum(values) / len(values) for name, values in error.items()}
lstms = ("Bi-LSTM, D = 24", "Bi-LSTM, D = 20")
assert all(means["Bi-GRU, D = 24"] < means[name] + 0.01 for name in lstms)
worst = max(max(error[name]) for name in ("Bi-GRU, D = 24", *lstms))
assert worst < min(error["window of 7 frames"]) - 0.05
assert means["window of 7 frames"] < means["GRU, forward only"]

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# **"The accuracy is no lower"**: on this task, the Bi-GRU's mean error is no higher than either Bi-LSTM's,
# within one percentage point. The evidence is three seeds of one small task, with one learning rate for
# all and short trainings. Nothing here speaks for the LSTM. Nor does it show that the GRU is better, or what
# happens with more steps, more data or real lips; in other comparisons the order depends on the task
# (Chung et al., 2014).
#
# The difference between one direction and two is much larger than any between the cells. Here a forward GRU
# does no better than a window that sees three frames ahead.
#
# </details>
#
# **"Somewhat faster"**: by multiply-adds the LSTM should take 1.33 times as long. Measure the forward and the
# backward pass.


# %% tags=["nbval-ignore-output"]
# output not compared: times differ from machine to machine and from run to run
import time
import warnings

from lessons.layers import lstm


def milliseconds(network, x):
    """Processor time of one forward and one backward pass."""
    start = time.process_time()
    network(x).sum().backward()
    return 1000 * (time.process_time() - start)


def compare(T, B, F, D, rounds=5):
    """The fastest of a few rounds; GRU and LSTM take turns, so that other load on the machine hits both."""
    x, zeros = torch.randn(T, B, F), torch.zeros(B, D)
    layers = [kind(F, D) for kind in (nn.GRU, nn.LSTM)]
    weights = [tuple(layer.parameters()) for layer in layers]
    built_in = [lambda x, layer=layer: layer(x)[0] for layer in layers]
    by_hand = [
        lambda x: unroll(gru_step, x, (zeros,), weights[0]),
        lambda x: unroll(lstm_step, x, (zeros, zeros), weights[1]),
    ]
    of_package = [lambda x, layer=layer: layer(x)[0] for layer in (gru.GRU(F, D), lstm.LSTM(F, D))]
    for name, networks, on in [
        ("torch", built_in, True), ("torch, oneDNN off", built_in, False), ("by hand", by_hand, True),
        ("this package", of_package, True),
    ]:  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the switch warns of hardware that is not there
            with torch.backends.mkldnn.flags(enabled=on):
                times = np.array([[milliseconds(network, x) for network in networks] for _ in range(rounds)])
        a, b = times.min(axis=0)
        print(f"{name:18} GRU {a:6.1f} ms   LSTM {b:6.1f} ms   LSTM/GRU {b / a:.2f}")


print("75 frames of 16 clips, F = 8, D = 24, one direction")
compare(75, 16, 8, 24)
print("\nthe size of LipNet's second layer: 75 frames of 4 clips, F = 512, D = 256, one direction")
compare(75, 4, 512, 256, rounds=3)

# %% [markdown]
# - *By hand* and *torch, oneDNN off* run both cells step by step. With the small sizes the time goes into
#   starting thousands of tiny operations, so their number matters more than the multiply-adds.
# - *torch* hands an LSTM on the CPU to a library, oneDNN, which computes the layer in one call. The GRU has
#   no such path here. Where oneDNN is available, the LSTM can be faster despite its additional parameters.
# - *This package* has a hand-written backward pass for the GRU (below) and leaves the LSTM's to autograd.
#
# Read your own table. The order of the two depends on the implementation. Parameters and multiply-adds are
# properties of a network; latency is a property of a network *on a machine, in a framework*.

# %% [markdown]
# ## Deeper: the package's backward pass
#
# `gru.GRU` runs both directions in **one loop** and replaces autograd by your `gru_step_backward` with one
# product per frame. The gradient of $U$ is a single large product after the loop. `known` holds what the
# forward pass left for each frame (`inner` is $U_n h + u_n$); `wanted` holds the tensors to be filled:
# `of_r`, `of_z`, `of_n` are $d_r, d_z, d_n$, and `of_inner` is $r \odot d_n$. Past a clip's end `valid` is
# False, and $\delta$ passes unchanged. With `create_graph=True` the gradient comes from a plain loop.

# %%
from lessons.layers.gru_fast import GRUScan

show(GRUScan.backward)


# %%
def graph_nodes(y):
    """How many operations autograd has recorded for the backward pass from y."""
    seen, waiting = set(), [y.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [before for before, _ in node.next_functions]
    return len(seen)


silence = torch.zeros(75, 1, 8)  # (T, B, F)
looped = unroll(gru_step, silence, (torch.zeros(1, 24),), tuple(nn.GRU(8, 24).parameters()))  # (T, B, D)
nodes = {"step by step": graph_nodes(looped), "the package": graph_nodes(gru.GRU(8, 24)(silence)[0])}
print(
    f"operations recorded for 75 frames: step by step more than 500: {nodes['step by step'] > 500}; the",
    end=" ",
)
print(f"package fewer than 50: {nodes['the package'] < 50}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert nodes["the package"] < 50 < 500 < nodes["step by step"]

# %% [markdown]
# ## Deeper: one more bug, another framework's order
#
# torch stacks a GRU's blocks as r, z, n; Keras as z, r, n. Once the matrices are transposed, the shapes are
# the same, so weights from Keras load without complaint. **Predict**: is an LSTM in danger, too?

# %%
_ = torch.manual_seed(0)
right = nn.GRU(8, 24).double()
x = torch.randn(40, 4, 8).double()  # (T, B, F)


def z_first(weights):
    """Exchange the first two of three blocks of rows: r, z, n <-> z, r, n."""
    return {name: torch.cat([(p := value.chunk(3))[1], p[0], p[2]]) for name, value in weights.items()}


from_keras = z_first(right.state_dict())  # as a Keras file would hold them
loaded = nn.GRU(8, 24).double()
loaded.load_state_dict(from_keras)  # accepted
gap = (loaded(x)[0] - right(x)[0]).abs().max().item()
loaded.load_state_dict(z_first(from_keras))
fixed_gap = (loaded(x)[0] - right(x)[0]).abs().max().item()
print(f"loaded unchanged: outputs off by {gap:.2f}; blocks put in torch's order: off by {fixed_gap:.0f}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert gap > 0.1 and fixed_gap == 0

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# No. Keras keeps an LSTM's blocks as i, f, c, o, which is torch's order under another name. For the GRU the
# update gate now resets and the reset gate updates.
#
# </details>
#
# Only a comparison of outputs finds this bug: run the same clip through both frameworks.

# %% [markdown]
# ## Recap
#
# - What happened before a convolution's window must be carried along in a hidden state.
# - The gradient through time is a product of one Jacobian per frame. It vanishes or explodes; in a plain RNN
#   with torch's default initialization a thousandth is left after 11 frames.
# - Gates multiply a state by numbers that the network computes. At initialization a gated network's gradient
#   vanishes, too; a bias on the keeping gate changes that.
# - A GRU keeps its state where $z$ is near 1. `nn.GRU` resets after the product, the original paper before
#   it.
# - One step of BPTT is a sum over four paths: direct, update gate, candidate, reset gate.
# - A bidirectional layer needs the whole clip and the lengths; otherwise it reads the padding first.
# - Test every recurrent network: does a clip's output depend on the other clips, or on earlier batches?
#
# ## Glossary
#
# | word | meaning | also called |
# |---|---|---|
# | recurrent neural network (RNN) | a new hidden state per frame, by the same weights | Elman network |
# | hidden state | the $D$ numbers that are carried along, $h$ | memory; `hidden_size` is $D$ |
# | cell state | the second state of an LSTM, $c$, changed only by gates and additions | memory cell |
# | backpropagation through time (BPTT) | the chain rule along the frames, from the last to the first | |
# | vanishing, exploding gradient | a gradient that shrinks or grows by about the same factor per frame | |
# | Jacobian | the matrix of all derivatives of some outputs with respect to some inputs | |
# | gate | the output of a layer with a sigmoid, 0 to 1, that multiplies something element by element | |
# | pre-activation | the argument of a gate's sigmoid or a candidate's tanh | logit (of a gate), net input |
# | LSTM | a cell with two states and the gates input, forget, output | long short-term memory |
# | GRU | a cell with one state and the gates reset and update | gated recurrent unit |
# | reset gate | how much of the state the candidate sees | relevance gate, $r$ |
# | update gate | how much of the state is kept (in torch) | $z$ |
# | candidate | what a gated cell would write into its state | new gate (torch, $n$), $\tilde h$ |
# | forget bias | a positive initial bias of the forget gate, so that an LSTM starts by keeping its state | |
# | gradient clipping | scaling a gradient down when its norm exceeds a limit | |
# | bidirectional | two layers, one from the start, one from the end, outputs concatenated | Bi-GRU, Bi-LSTM |
# | packed sequence | torch's form of a batch of clips of unequal length, without the padding | |
# | orthogonal matrix | a matrix that keeps the length of every vector | |
# | Glorot's rule | initial weights of variance $2/(F + D)$ | Xavier initialization |
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
#   ICML 2015: the initial bias of the forget gate.
# - J. Chung, C. Gulcehre, K. Cho, Y. Bengio, *Empirical Evaluation of Gated Recurrent Neural Networks on
#   Sequence Modeling*, [arXiv 1412.3555](https://arxiv.org/abs/1412.3555): GRU against LSTM.
# - Y. Assael et al., *LipNet*, [arXiv 1611.01599](https://arxiv.org/abs/1611.01599): §3.2 (the GRU), appendix
#   A.1 (initialization). The claim about speed is from the post *Lipnet的学习理解* on CSDN, translated.
# - X. Glorot, Y. Bengio, *Understanding the Difficulty of Training Deep Feedforward Neural Networks*, AISTATS
#   2010; A. Saxe, J. McClelland, S. Ganguli, *Exact Solutions to the Nonlinear Dynamics of Learning in Deep
#   Linear Neural Networks*, [arXiv 1312.6120](https://arxiv.org/abs/1312.6120): orthogonal initialization.
# - The order of blocks in Keras: [keras-team/keras issue
#   8720](https://github.com/keras-team/keras/issues/8720).
#
# **Next**: notebook 04. The network now gives an output for each of 75 frames; a sentence has 25 letters, and
# nobody says which frame belongs to which. CTC is the loss that does not need to know.
