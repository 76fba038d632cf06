# %% [markdown]
# # 04 · CTC, the loss
#
# **You will write the loss that trains a lip reader from whole sentences, without a label for any single
# frame, derive its gradient by hand, and train with it.**
#
# *Core path: about 57 minutes; deeper sections: about 35; all cells together run in about
# 40 seconds on one CPU core.*
#
# **You need**: logarithms, the softmax, `backward`, and the rule of notebook 00 that turns a path into text.
# The logits `(T, B, V)` come from the layers of notebooks 02 and 03.
#
# **You will be able to**
# - say what CTC sums over, and how many terms the sum has;
# - write the forward-backward algorithm in log space;
# - derive the gradient, *softmax − occupancy*, and test it;
# - explain how a CTC training starts, how it ends, and why;
# - say how many frames one sentence needs, and what one clip that is too short does to a training.

# %%
import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F

from lessons import ctc, figures
from lessons.checks import agree, check, use
from lessons.ctc import collapse, count_paths, min_frames
from lessons.ctc.alphabet import Alphabet
from lessons.data.batch import normalize
from lessons.data.synthetic.talker import Speaker, talk
from lessons.training import checkpoint

alphabet = Alphabet()  # 28 classes: blank 0, space 1, a to z 2 to 27

# %% [markdown]
# ## 1. No labels per frame
#
# A talker says *place green at q three soon* (`sentence`). Here are ten frames of *place*. In which frame
# does the *l* begin, and in which the *e*?

# %% tags=["hide-input"]
# @title Plot: ten frames of a talker { display-mode: "form" }
rng = np.random.default_rng(7)
sentence = "place green at q three soon"
clip, segments = talk(sentence, Speaker.random(rng), rng, size=(32, 64))  # (75, 32, 64) uint8, gray
first = round(segments[1][0])  # the frame in which the first word begins
figures.filmstrip(clip, range(first - 1, first + 9), columns=5, width=7.5, title="“place”, frame by frame")

# %% [markdown]
# There is no good answer: the mouth moves smoothly from sound to sound, and the *e* is not spoken at all. Yet
# training with cross-entropy needs a label for every frame. LipNet was trained on 28,775 clips of 75 frames.
# At one label per second, that is 599 hours of work.
#
# **Connectionist temporal classification** (CTC) needs only the sentence. The network may emit the letters at
# any time, as long as they come in the right order. The probability of a sentence is the **sum over all ways
# to place it in time**, all its *alignments*. No alignment has to be given.

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert round(28_775 * 75 / 3600) == 599

# %% [markdown]
# ## 2. Paths
#
# A **path** picks one class per frame. Collapse it (merge equal neighbors, then drop the blanks) and you get
# the text that it spells. You wrote that for strings in notebook 00. `lessons.ctc.collapse` does it for
# classes, where class 0 is the blank.
#
# For now the alphabet has four classes, `-bin`, and the label is *bin*. This is **every** path of five frames
# that spells it:

# %%
SYMBOLS = "-bin"
LABEL = [1, 2, 3]  # b, i, n


def spell(path) -> str:
    return "".join(SYMBOLS[c] for c in path)


def all_paths(label, frames, classes):
    """Every path of `frames` frames that collapses to the label, found by trying all of them."""
    return [p for p in itertools.product(range(classes), repeat=frames) if collapse(p) == label]


paths = all_paths(LABEL, frames=5, classes=4)
for i in range(0, len(paths), 7):
    print("  ".join(spell(p) for p in paths[i : i + 7]))
print(f"{len(paths)} of {4**5} paths spell {spell(LABEL)!r}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert len(paths) == 28 and 4**5 == 1024

# %% [markdown]
# ### How many are there?
#
# Read a path as a row of boxes: blanks, *b*, blanks, *i*, blanks, *n*, blanks. A label of $L$ letters has
# $2L+1$ boxes. Each letter's box holds at least one frame; a blank's box may be empty, except between two
# equal letters (*ee* in *green*). With $R$ such pairs, $T - L - R$ frames are free to go into any of the
# boxes (*stars and bars*):
#
# $$\text{number of paths} = \binom{T+L-R}{2L}$$
#
# **Predict**: a GRID sentence has about 25 characters, a clip has 75 frames. How many paths spell it?

# %% tags=["predict"]
many = math.log10(math.comb(75 + 25, 2 * 25))  # L = 25, R = 0
print(f"25 letters in 75 frames: 10^{many:.1f} paths")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
for label in (list(p) for n in range(1, 4) for p in itertools.product((1, 2, 3), repeat=n)):
    L, R = len(label), sum(a == b for a, b in itertools.pairwise(label))
    for T in range(1, 7):
        assert len(all_paths(label, T, classes=4)) == count_paths(T, label) == math.comb(T + L - R, 2 * L)
assert round(many, 1) == 29.0 and 2 * 25 + 1 == 51

# %% [markdown]
# Section 4 computes the sum exactly, with about 75 × 51 × 3 additions.
#
# ## 3. The definition, by brute force
#
# In frame $t$ the network gives class $k$ the probability $y^t_k$, the softmax of its logits. CTC assumes
# that **the frames are conditionally independent, given the clip**. So the probability of a path is the
# product of its classes' probabilities. That of a label $\ell$ is the sum over all paths $\pi$ that collapse
# to it ($\mathcal B$ is the collapse):
#
# $$p(\ell) = \sum_{\pi:\ \mathcal{B}(\pi) = \ell}\ \prod_{t} y^t_{\pi_t}, \qquad
#   \text{loss} = -\ln p(\ell)$$
#
# The independence is a real limitation, and notebook 05 adds a language model because of it.


# %%
def loss_by_definition(log_probs, label):
    """log_probs (T, V) -> the loss (), as a sum over all paths that spell the label."""
    paths = torch.tensor(all_paths(label, *log_probs.shape))  # (paths, T)
    per_frame = log_probs[torch.arange(len(log_probs)), paths]  # (paths, T)
    return -per_frame.sum(dim=1).exp().sum().log()  # ()


# %% tags=["hide-input"]
# @title Helper: torch_loss, the same by F.ctc_loss { display-mode: "form" }
def torch_loss(log_probs, label):
    """The same by torch, which wants a batch: (T, 1, V), targets, frames, label lengths."""
    return F.ctc_loss(
        log_probs[:, None], torch.tensor([label]), [len(log_probs)], [len(label)], reduction="sum"
    )


# %%
_ = torch.manual_seed(2)
logits = (1.3 * torch.randn(8, 4, dtype=torch.float64)).requires_grad_()  # (T, V): eight frames of -bin
log_probs = logits.log_softmax(-1)  # (T, V)
exact = loss_by_definition(log_probs, LABEL)
agree("loss by definition against torch", exact.detach(), torch_loss(log_probs, LABEL).detach())
(exact_gradient,) = torch.autograd.grad(exact, logits)  # (T, V)
exact, log_probs = exact.detach(), log_probs.detach()
print(f"{count_paths(8, LABEL)} paths; loss {exact.item():.3f}, so p = {(-exact).exp().item():.4f}")

# %% [markdown]
# We test every faster version against the definition.
#
# ## 4. The trellis and the forward algorithm
#
# Most paths share long parts. Write the label with a blank before, between and after its letters. This is the
# **extended label**, and its $S = 2L + 1$ positions are **states**. A path moves through the states, one move
# per frame. From one frame to the next it may
# - **stay** in its state,
# - **step** to the next state,
# - **jump** over one state: over a blank, to the next letter.
#
# A jump into a blank would skip a letter. A jump from a letter to an equal letter would merge the two. So a
# path may jump only into a letter that differs from the letter before it:


# %%
def extended_label(label):
    """label, a list of L classes -> states (S,) classes, and jumps (S,): may a path jump into state s?"""
    states = [0]
    for letter in label:
        states += [letter, 0]
    jumps = [s >= 2 and states[s] != 0 and states[s] != states[s - 2] for s in range(len(states))]
    return torch.tensor(states), torch.tensor(jumps)


states, jumps = extended_label(LABEL)  # (S,), (S,)
print(spell(states), "· a path may jump into states", jumps.nonzero()[:, 0].tolist())

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert len(states) == 2 * len(LABEL) + 1 == 7
assert extended_label([1, 1, 2])[1].nonzero()[:, 0].tolist() == [5]
for label in (list(p) for n in range(1, 5) for p in itertools.product((1, 2, 3), repeat=n)):
    ours = extended_label(label)
    assert ours[0].tolist() == ctc.extend(label) and torch.equal(ours[1], ctc.may_skip(ours[0]))

# %% [markdown]
# ### The recursion
#
# The **forward variable** $\alpha_t(s)$ is the total probability of all path prefixes that are in state $s$
# at frame $t$, this frame's class included. With $z_s$ for the class of state $s$:
#
# $$\alpha_t(s) = \Big(\underbrace{\alpha_{t-1}(s)}_{\text{stay}}
#   + \underbrace{\alpha_{t-1}(s-1)}_{\text{step}}
#   + \underbrace{\alpha_{t-1}(s-2)}_{\text{jump, if allowed into } s}\Big)\; y^t_{z_s}$$
#
# A path starts in the first blank or the first letter, so $\alpha_0(s) = y^0_{z_s}$ for $s = 0, 1$ and 0 for
# all other states. It ends in the last letter or the last blank, so $p(\ell)$ is the sum of the last two
# entries of the last row.
#
# ### Why logarithms
#
# An untrained network gives each of 28 classes a probability of about 1/28, so one path of 75 frames has
# probability $28^{-75} \approx 10^{-109}$. The smallest number above 0 in float32 is about $10^{-45}$, so the
# product is stored as 0 (**underflow**), and the loss is infinite.
#
# The usual remedy is to store $\ln\alpha$, to compute *in log space*. Products become sums. Sums become
#
# $$\ln(e^a + e^b) = m + \ln(e^{a-m} + e^{b-m}), \qquad m = \max(a, b)$$
#
# where the largest exponent is 0, so it cannot underflow. Torch has it as `logaddexp` (two numbers) and
# `logsumexp` (along an axis). $\ln 0$ is `-inf`, for which both return the right value.
#
# ### Exercise 1 · `forward` · difficulty ★★★ · 12 minutes
#
# Write the recursion in log space. `log_probs[:, states]` (T, S) has the $\ln y$ of each state's class. All
# states of a frame can be computed at once; a loop over the frames remains. `F.pad(x, (1, -1), value=v)` puts
# one `v` in front and drops the last element, so position $s$ then holds what stood at $s-1$. A loop over the
# states is right, too.


# %%
def forward(log_probs, states, jumps):
    """The forward variables in log space.

    Args:
        log_probs: (T, V) floating-point tensor: log-probabilities of the V classes in T ≥ 1 frames.
        states: (S,) integer tensor: the class of each state, S ≥ 3.
        jumps: (S,) boolean tensor: whether a path may jump into state s from state s - 2.

    Returns:
        (T, S) tensor with the dtype of log_probs: ln alpha, and -inf for a state that no path reaches.
    """
    raise NotImplementedError


check("04.forward", forward)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def forward_solution(log_probs, states, jumps):
    """Stay, step and jump; what comes from outside, and a jump that is not allowed, is ln 0."""
    emission = log_probs[:, states]  # (T, S)
    alpha = [emission[0].masked_fill(torch.arange(len(states)) >= 2, -math.inf)]  # (S,)
    for t in range(1, len(log_probs)):
        stay = alpha[-1]  # (S,)
        step = F.pad(alpha[-1], (1, -1), value=-math.inf)  # (S,)
        jump = F.pad(alpha[-1], (2, -2), value=-math.inf).masked_fill(~jumps, -math.inf)  # (S,)
        alpha.append(torch.stack((stay, step, jump)).logsumexp(dim=0) + emission[t])
    return torch.stack(alpha)  # (T, S)


# %%
forward = use("04.forward", forward, forward_solution)

# %% [markdown]
# <details><summary><b>Help: "my forward gives nan"</b></summary>
#
# You subtract a maximum that is `-inf`: `-inf - (-inf)` is NaN. `torch.logsumexp` and `torch.logaddexp` give
# the right *value* there (their gradient is another matter: see a deeper section). Multiplying `-inf` by a
# mask of zeros gives NaN, too: use `masked_fill` or `torch.where`.
# </details>
#
# Your sum over the trellis equals the sum over all 462 paths. It also survives 75 frames in float32:

# %%
alpha = forward(log_probs, states, jumps)  # (T, S) logarithms
agree("forward against the definition", -alpha[-1, -2:].logsumexp(0), exact)

long_label = alphabet.encode(sentence).tolist()  # 27 letters, 55 states
uniform = torch.zeros(75, 28).log_softmax(-1)  # (T, V) float32, a network that knows nothing
long_loss = -forward(uniform, *extended_label(long_label))[-1, -2:].logsumexp(0)
agree("75 frames in float32, against torch", long_loss, torch_loss(uniform, long_label), tolerance=1e-3)
print(f"loss {long_loss.item():.0f}, so p = 10^-{long_loss.item() / math.log(10):.0f}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert count_paths(8, LABEL) == 462
assert (torch.tensor(1 / 28) ** 75).item() == 0
assert (torch.tensor(1 / 28).double() ** 75).item() > 0 and round(75 * math.log10(28)) == 109

# %% [markdown]
# ## 5. The backward algorithm, and where the two meet
#
# The **backward variable** $\beta_t(s)$ is the total probability of all ways to finish from state $s$ after
# frame $t$, this frame *excluded*. It is the same recursion from the other end. A path in state $s$ may go on
# to $s$, to $s+1$, and to $s+2$ if a jump *into* $s+2$ is allowed:
#
# $$\beta_t(s) = \sum_{s' \in \{s,\ s+1,\ s+2\}} y^{t+1}_{z_{s'}}\, \beta_{t+1}(s')$$
#
# In the last frame $\beta$ is 1 for the last two states, and 0 for all others.
#
# ### Exercise 2 · `backward` · difficulty ★★☆ · 8 minutes
#
# Again in log space. Mind where the mask belongs: `jumps[s]` is about the state where a jump *lands*.


# %%
def backward(log_probs, states, jumps):
    """The backward variables in log space.

    Args:
        log_probs, states, jumps: as for forward.

    Returns:
        (T, S) tensor with the dtype of log_probs: ln beta, and -inf for a state from which no path can end.
    """
    raise NotImplementedError


check("04.backward", backward)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def backward_solution(log_probs, states, jumps):
    """The mirror image of forward; the mask comes before the move, where the jump still stands at its end."""
    emission = log_probs[:, states]  # (T, S)
    last_two = torch.arange(len(states)) >= len(states) - 2  # (S,)
    beta = [torch.zeros_like(emission[0]).masked_fill(~last_two, -math.inf)]  # (S,)
    for t in reversed(range(len(log_probs) - 1)):
        onward = emission[t + 1] + beta[-1]  # (S,)
        step = F.pad(onward, (-1, 1), value=-math.inf)  # (S,) what stood at s + 1
        jump = F.pad(onward.masked_fill(~jumps, -math.inf), (-2, 2), value=-math.inf)  # (S,) at s + 2
        beta.append(torch.stack((onward, step, jump)).logsumexp(dim=0))
    return torch.stack(beta[::-1])  # (T, S)


# %%
backward = use("04.backward", backward, backward_solution)

# %% [markdown]
# Multiply: $\alpha_t(s)\,\beta_t(s)$ is the probability of **all paths that are in state $s$ at frame $t$**.
# **Predict**: what is its sum over all states at frame 0, at frame 4, at frame 7?

# %% tags=["predict"]
beta = backward(log_probs, states, jumps)  # (T, S) logarithms
through = (alpha + beta).exp()  # (T, S)
print("sum over the states, for each frame:", [f"{p:.4f}" for p in through.sum(1).tolist()])

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# It is $p$ at every frame, since every path is in exactly one state at each frame.
# </details>
#
# This is a good test of your own CTC, but not a proof: with the same wrong `jumps` in both directions, the
# sum is constant, and wrong. So compare with an independent implementation as well.

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert torch.allclose(through.sum(1), (-exact).exp().expand(8), rtol=0, atol=1e-12)
no_jumps = torch.zeros_like(jumps)  # (S,) wrong: nothing may be jumped into
wrong = (forward(log_probs, states, no_jumps) + backward(log_probs, states, no_jumps)).logsumexp(1)  # (T,)
mixed = (forward(log_probs, states, no_jumps) + beta).logsumexp(1)  # (T,)
assert mixed.max() - mixed.min() > 0.01 and wrong.max() - wrong.min() < 1e-12
assert (wrong[0] + exact).abs() > 0.1
package = ctc.forward_backward(log_probs, LABEL)
assert torch.allclose(package.alpha, alpha) and torch.allclose(package.beta, beta)

# %% [markdown]
# Divided by $p$, the product is the **posterior** $\gamma_t(s) = \alpha_t(s)\,\beta_t(s)/p$: the probability
# that the path is in state $s$ at frame $t$, given the sentence.
#
# In the figure, the area of a dot is a state's fraction of its frame's sum, the width of a line the fraction
# that moves along it. $\alpha$ spreads from the start and does not know the end, $\beta$ spreads from
# the end and does not know the start, and $\gamma$ knows both.


# %% tags=["hide-input"]
# @title Plot: forward, backward and posterior { display-mode: "form" }
def flow(alpha, emission, beta, jumps):
    """Probability that passes along each move (T-1, S, 3), as a fraction of its frame's sum."""
    onward = emission[1:] * beta[1:]  # (T-1, S) arriving in a state, and all that follows
    edges = torch.zeros(*onward.shape, 3, dtype=onward.dtype)  # (T-1, S, 3): stay, step, jump
    for move, arriving in enumerate((onward, onward, onward * jumps)):
        size = onward.shape[1] - move
        edges[:, :size, move] = alpha[:-1, :size] * arriving[:, move:]
    return edges / edges.sum((1, 2), keepdim=True)


def posterior_flow(log_probs, label):
    """(T, V) and a label -> posteriors (T, S), and what passes along each move (T-1, S, 3)."""
    states, jumps = extended_label(label)  # (S,), (S,)
    alpha, beta = forward(log_probs, states, jumps), backward(log_probs, states, jumps)  # (T, S)
    return (alpha + beta).softmax(1), flow(alpha.exp(), log_probs.exp()[:, states], beta.exp(), jumps)


emission = log_probs.exp()[:, states]  # (T, S)
reached = alpha.softmax(1)  # (T, S) alpha as a fraction of its frame's sum
moves = flow(alpha.exp(), emission, torch.ones_like(alpha), jumps)  # (T-1, S, 3)
posteriors, current = posterior_flow(log_probs, LABEL)  # (T, S), (T-1, S, 3)
to_finish = beta.softmax(1), flow(torch.ones_like(alpha), emission, beta.exp(), jumps)
figures.trellis_flow(
    {
        "α: all ways to reach a state": (reached, moves),
        "β: all ways to finish from a state": to_finish,
        "γ = αβ / p: the paths that spell “bin”": (posteriors, current),
    },
    spell(states),
    jumps,
    width=7.5,
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert torch.allclose(posteriors, through / through.sum(1, keepdim=True))
assert torch.allclose(current.sum(2), posteriors[:-1])  # what leaves a state is what was in it
assert torch.allclose(current.sum((1, 2)), torch.ones(7).double())

# %% [markdown]
# ## 6. The gradient
#
# Autograd through this recursion gives NaN in part of the gradient (a deeper section shows why). By hand, the
# gradient is simpler, and it explains how CTC learns.
#
# **Step 1: with respect to $\ln y^t_k$.** For now, treat all $y^t_k$ as independent variables. Fix a frame
# $t$ and group the paths of the label by their class in that frame. Every path in group $k$ has the factor
# $y^t_k$ exactly once. Its other factors belong to other frames:
#
# $$p = \sum_k p_k, \qquad
#   p_k = \sum_{\pi:\ \mathcal B(\pi) = \ell,\ \pi_t = k}\ \prod_u y^u_{\pi_u} = y^t_k \cdot \text{rest}_k$$
#
# No other group contains $y^t_k$, so $\partial p/\partial y^t_k = \text{rest}_k$. With $\partial y =
# y\,\partial \ln y$:
#
# $$\frac{\partial p}{\partial \ln y^t_k} = y^t_k \cdot \text{rest}_k = p_k
# \quad\Rightarrow\quad \frac{\partial(-\ln p)}{\partial \ln y^t_k} = -\frac{p_k}{p} =: -o^t_k$$
#
# $o^t_k$ is the **occupancy**: the probability of class $k$ at frame $t$, given the sentence. It is the
# posterior, summed over all states of class $k$ (the blank has $L+1$ of them):
#
# $$o^t_k = \sum_{s:\ z_s = k} \gamma_t(s)$$
#
# **Step 2: through the softmax.** With logits $a^t_j$, $\partial \ln y_k / \partial a_j = [k = j] - y_j$,
# where $[k = j]$ is 1 if $k = j$ and 0 otherwise:
#
# $$\frac{\partial(-\ln p)}{\partial a^t_j} = -\sum_k o^t_k\big([k=j] - y^t_j\big)
#   = y^t_j \underbrace{\textstyle\sum_k o^t_k}_{1} - o^t_j = y^t_j - o^t_j$$
#
# **Softmax minus occupancy**: the prediction minus a target. The gradient of cross-entropy is softmax minus
# one-hot label. So CTC is cross-entropy with **soft labels** that it computes itself, anew at each step.
#
# ### Exercise 3 · `loss_and_gradient` · difficulty ★★☆ · 10 minutes
#
# Several states may have the same class: `x[:, states] = …` keeps only one of them, `x.index_add_(1, states,
# …)` adds them up. On a whole sentence $\alpha$, $\beta$ and $p$ underflow if you leave log space too early.


# %%
def loss_and_gradient(log_probs, states, alpha, beta):
    """The CTC loss, the occupancy, and the gradient of the loss.

    Args:
        log_probs: (T, V) floating-point tensor: log-probabilities of the classes.
        states: (S,) integer tensor: the class of each state.
        alpha, beta: (T, S) tensors from forward and backward: logarithms, -inf among them. The label fits
            into the frames, so p is above 0.

    Returns:
        loss (), a tensor: -ln p; occupancy (T, V); gradient (T, V): that of the loss at the logits.
    """
    raise NotImplementedError


check("04.loss_and_gradient", loss_and_gradient)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def loss_and_gradient_solution(log_probs, states, alpha, beta):
    """Posteriors from a difference of logarithms, summed by class; softmax minus that."""
    log_p = alpha[-1, -2:].logsumexp(0)  # ()
    posteriors = (alpha + beta - log_p).exp()  # (T, S)
    occupancy = torch.zeros_like(log_probs).index_add_(1, states, posteriors)  # (T, V)
    return -log_p, occupancy, log_probs.exp() - occupancy


# %%
loss_and_gradient = use("04.loss_and_gradient", loss_and_gradient, loss_and_gradient_solution)


# %% [markdown]
# This is your CTC, three functions in a row. We test its gradient against autograd through the definition
# and, on the whole sentence, against torch.


# %%
def my_ctc(log_probs, label):
    """log_probs (T, V), a label -> loss (), occupancy (T, V), gradient at the logits (T, V)."""
    states, jumps = extended_label(label)
    alpha, beta = forward(log_probs, states, jumps), backward(log_probs, states, jumps)
    return loss_and_gradient(log_probs, states, alpha, beta)


loss, occupancy, gradient = my_ctc(log_probs, LABEL)
agree("autograd through the definition", gradient, exact_gradient)

_ = torch.manual_seed(0)
sentence_logits = torch.randn(75, 28, dtype=torch.float64).requires_grad_()  # (T, V)
expected = torch_loss(sentence_logits.log_softmax(-1), long_label)
long_gradient = my_ctc(sentence_logits.detach().log_softmax(-1), long_label)[2]  # (75, 28)
(theirs,) = torch.autograd.grad(expected, sentence_logits)
agree("torch, on the whole sentence", long_gradient, theirs)

# %%
figures.ctc_gradient(log_probs.exp(), occupancy, SYMBOLS, width=8.5)


# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
def slope(t, k, by=1e-5):
    """Finite difference of torch's loss at logit (t, k)."""
    nudge = torch.zeros(8, 4, dtype=torch.float64)  # (T, V)
    nudge[t, k] = by
    up, down = (torch_loss((logits.detach() + n).log_softmax(-1), LABEL) for n in (nudge, -nudge))
    return (up - down) / (2 * by)


differences = torch.stack([slope(t, k) for t in range(8) for k in range(4)]).view(8, 4)  # (T, V)
assert torch.allclose(gradient, differences, rtol=0, atol=1e-8)
assert torch.allclose(gradient.sum(1), torch.zeros(8).double(), atol=1e-12)
every = torch.tensor(all_paths(LABEL, 8, 4))  # (paths, T)
each = log_probs.exp()[torch.arange(8), every].prod(1)  # (paths,) the probability of each
groups = torch.stack([each[every[:, 3] == k].sum() for k in range(4)])  # (V,) p_k at frame 3
assert torch.allclose(groups / groups.sum(), occupancy[3])
assert torch.allclose(ctc.forward_backward(log_probs, LABEL).occupancy, occupancy)
free = log_probs.clone().requires_grad_()  # (T, V) ln y as independent variables
assert torch.allclose(torch.autograd.grad(loss_by_definition(free, LABEL), free)[0], -occupancy)

# %% [markdown]
# Gradient descent raises a logit where the gradient is negative (blue) and lowers it where it is positive
# (red). (In a deeper section you can change one logit and watch the target.)

# %% [markdown]
# ## 7. Train with it
#
# Now use your gradient. The model is the simplest there is: **no network**, just a table of 30 × 28
# logits, all zero at the start, and the one label *bin*. **Predict**: which class wins after 5 steps? After
# 400 steps, for how many frames does each letter last?

# %% tags=["predict"]
bin_label = alphabet.encode("bin").tolist()
table, history = torch.zeros(30, 28, dtype=torch.float64), []  # (T, V) logits
for _ in range(401):
    now = table.log_softmax(-1)  # (T, V)
    history.append(now)
    _, _, gradient = my_ctc(now, bin_label)
    table = table - gradient  # learning rate 1

snapshots = {f"step {step}": history[step].exp() for step in (0, 5, 10, 15, 30, 400)}
figures.posterior_curves(snapshots, ["-", *alphabet.symbols], title="A table of logits learns “bin”")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
best = {name: probs.argmax(1) for name, probs in snapshots.items()}
assert (best["step 5"] == 0).all() and collapse(best["step 400"]) == bin_label
assert (best["step 400"] != 0).sum() <= 5 and snapshots["step 400"].max(1).values.min() > 0.4
assert torch.isclose(my_ctc(history[30], bin_label)[0], torch_loss(history[30], bin_label))
long_letters = torch.zeros(30, 28).double()  # (T, V) logits
for i, c in enumerate(bin_label):
    long_letters[10 * i : 10 * i + 10, c] = 30.0
assert my_ctc(long_letters.log_softmax(-1), bin_label)[0] < 1e-6

# %% [markdown]
# First the blank wins everywhere. Then each letter grows into a **peak**, one or two frames wide, and all
# other frames stay blank. The loss does not ask for peaks: ten frames of each letter and no blank would have
# a loss of 0, too. So why the blank? At the start all paths are equally probable, and of the $2L+1$ boxes of
# section 2 the blank owns $L+1$, each letter only one. So the first step raises the blank most. Paths with
# more blanks then get more weight, so the next target asks for even more blanks. Later the same feedback
# favors, for each letter, the frame in which it is slightly ahead. (Zeyer, Schlüter and Ney analyze this
# *peaky behavior* in theory.)
#
# A network must also find out what tells frames apart. Until then it emits blanks only, and the loss hardly
# falls: the **blank plateau** (a deeper section, and notebook 09).
#
# <details><summary><b>Help: "all blanks"</b></summary>
#
# Early in training that is what CTC does. Go on. If it stays: is the loss still falling, however slowly? Can
# the *same* network overfit four clips? If not, no information about the letters reaches the loss: check the
# scale of the input (notebook 01), the learning rate, and that class 0 is the blank in the labels, in the
# loss and in the decoder.
# </details>
#
# <details><summary><b>Help: "the loss is stuck"</b></summary>
#
# If it is stuck near the height of the plateau and the texts are empty, see the box above. If it is stuck
# lower, compute the loss of a *perfect* answer (a path that spells the text, with logits of 30). If that is
# not 0, the labels, their lengths or the axes are wrong, and no training can get below it. If it is 0, the
# loss is fine: look at the data and the network.
# </details>

# %% [markdown]
# ## 8. How many frames does a sentence need?
#
# The number of paths, $\binom{T+L-R}{2L}$, is above 0 exactly when $T + L - R \ge 2L$:
#
# $$T \ge L + R$$
#
# One frame for each letter, and a blank between each equal pair. (Some tutorials demand $T = 2L + 1$. That is
# the number of *states*, and a path need not visit them all.)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
for label in (list(p) for n in range(1, 6) for p in itertools.product((1, 2, 3), repeat=n)):
    L, R = len(label), sum(a == b for a, b in itertools.pairwise(label))
    log_probs_12 = torch.zeros(12, 12, 4).log_softmax(-1)  # (T, B, V): sample b has b + 1 frames
    losses = F.ctc_loss(
        log_probs_12, torch.tensor([label] * 12), torch.arange(1, 13), torch.full((12,), L), reduction="none"
    )
    assert losses.isfinite().tolist() == [T >= L + R for T in range(1, 13)]
    assert L + R == min_frames(label) < 2 * L + 1

# %% [markdown]
# Count the frames that the *network* returns: a stride in time leaves fewer than the clip has.
#
# **One clip that is too short** has no path, so torch's loss is infinite and its gradient is NaN. One
# optimizer step with this gradient makes every weight NaN. The usual advice is `zero_infinity=True`. It
# repairs the gradient, but the clip then counts as loss 0, like a perfect answer: the more clips are
# impossible, the *better* the mean loss looks. So compare $L + R$ (`min_frames`) with the number of frames
# for the whole data set before training. (A deeper section shows all this in a small batch.)
#
# <details><summary><b>Help: "the loss is inf" or "the loss is NaN"</b></summary>
#
# `inf`: some label does not fit its frames. Find it: `reduction="none"`, then compare `min_frames(target)`
# with its number of frames (after the network's strides). `NaN` in the step after an `inf`: the gradient of
# that clip. `NaN` at once: NaN in the logits.
# </details>

# %% [markdown]
# ## Deeper: three more trellises
#
# **Forward, frame by frame.** The newest moves are orange. In the last frame, some probability is still in
# states in which no path may end.

# %% tags=["hide-input"]
# @title Plot: the forward variables, frame by frame { display-mode: "form" }
figures.trellis_steps(reached, moves, spell(states), jumps, range(8), width=8.5, row_height=0.2)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
stays, steps, leaps = moves.unbind(2)  # (T-1, S) each
arriving = stays + F.pad(steps, (1, -1)) + F.pad(leaps, (2, -2))  # (T-1, S)
assert torch.allclose(arriving, reached[1:])
assert (reached[:2, 5] == 0).all() and reached[2, 5] > 0  # state 5 is the n
assert (reached[:, 0] > 0).all() and reached[7, 4] > 0  # the first blank; the blank before the n, at the end

# %% [markdown]
# **A trained network.** The trained lip reader of notebook 00 sees the clip of section 1, and we look at the
# ten frames of the word *three*, with the spaces (␣) around it. **Predict**: how does its trellis differ from
# that of an untrained network? And what happens between the two *e*?

# %% tags=["hide-input"]
# @title Plot: the trellis of “three” { display-mode: "form" }
lip_reader = checkpoint.load("lipnet_small_synthetic")
with torch.no_grad():
    batch = normalize(torch.from_numpy(clip)[None])[:, None]  # (1, 1, T, H, W)
    answers = lip_reader(batch)[:, 0].log_softmax(-1).double()  # (75, 28)

word, window = alphabet.encode(" three ").tolist(), answers[37:47]  # 7 letters, (10, 28)
untrained = posterior_flow(torch.full_like(window, -math.log(28)), word)
trained = posterior_flow(window, word)


def trellis_of_three():
    names = ["-", *itertools.chain.from_iterable((c, "-") for c in " three ")]
    panels = {"an untrained network": untrained, "the trained lip reader": trained}
    return figures.trellis_flow(panels, names, extended_label(word)[1], columns=2, width=8.5, row_height=0.21)


# %% tags=["predict"]
trellis_of_three()

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert collapse(window.argmax(1)) == word  # these are the word's frames: the best path spells it
widest = [edges.amax((1, 2)).mean().item() for _, edges in (untrained, trained)]
assert widest[0] < 0.5 < 0.7 < widest[1]
assert trained[0][:, 2 * 5].max() > 0.9  # the blank between the fourth and the fifth letter

# %% [markdown]
# After training, most of the probability follows one path. It goes through the blank between the two *e*,
# which no path may skip.

# %% [markdown]
# **During training.** This is how the trellis of section 7 changes:

# %% tags=["hide-input"]
# @title Plot: the trellis during training { display-mode: "form" }
shown = {f"step {step}": posterior_flow(history[step], bin_label) for step in (0, 10, 30, 400)}
bin_states, bin_jumps = extended_label(bin_label)  # (S,), (S,)
figures.trellis_flow(shown, spell([0, 1, 0, 2, 0, 3, 0]), bin_jumps, columns=2, width=9, row_height=0.2)

# %% [markdown]
# Move through the training:


# %% tags=["nbval-ignore-output"]
# output not compared: the slider is a widget, which lives only while the notebook runs
from ipywidgets import interact


@interact(step=(0, 400, 5))
def trellis_at(step=15):
    panel = {f"step {step}": posterior_flow(history[step], bin_label)}
    return figures.trellis_flow(panel, "-b-i-n-", bin_jumps, width=7.5)


# %% [markdown]
# ## Deeper: change one logit
#
# In Jupyter or Colab, change one logit. Raise *n* in frame 0, where no path can use it: the occupancy does
# not change. Raise *b* in frame 3: the occupancy changes in other frames, too, since *i* and *n* must fit
# around it.


# %% tags=["nbval-ignore-output"]
# output not compared: the sliders are a widget, which lives only while the notebook runs
@interact(frame=(0, 7), letter=list(SYMBOLS), change=(-6.0, 6.0, 0.5))
def change_one_logit(frame=3, letter="b", change=3.0):
    moved = logits.detach().clone()  # (T, V)
    moved[frame, SYMBOLS.index(letter)] += change
    now = moved.log_softmax(-1)  # (T, V)
    loss, occupancy, _ = my_ctc(now, LABEL)
    return figures.ctc_gradient(now.exp(), occupancy, SYMBOLS, width=8.5, title=f"loss {loss.item():.2f}")


# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
raised = logits.detach().clone()
raised[0, 3] += 3  # n in frame 0
after = my_ctc(raised.log_softmax(-1), LABEL)[1]
assert torch.allclose(after, occupancy)
raised = logits.detach().clone()
raised[3, 1] += 3  # b in frame 3
changed = (my_ctc(raised.log_softmax(-1), LABEL)[1] - occupancy).abs().amax(1)  # (T,)
assert (changed > 0.005).sum() >= 6

# %% [markdown]
# ## Deeper: how many blanks at the start?
#
# At the start of a training all paths are equally probable, so the occupancy is a matter of **counting
# paths**. The $T - L - R$ free frames are spread evenly over the $2L+1$ boxes of section 2. The blank owns
# $L+1$ boxes, each letter owns one:
#
# $$\text{blank: } R + (L+1)\,\frac{T-L-R}{2L+1}\ \text{frames}, \qquad
#   \text{each letter: } 1 + \frac{T-L-R}{2L+1}\ \text{frames}$$

# %%
counted = my_ctc(history[0], bin_label)[1].sum(0)  # (V,) occupancy at step 0, in frames
print(f"blank: {counted[0]:.2f} frames, by the formula {4 * (30 - 3) / 7:.2f}")
print(f"the letter b: {counted[bin_label[0]]:.2f} frames, by the formula {1 + (30 - 3) / 7:.2f}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
for text in ("bin", "ab", "green", "aaa", "three"):
    label = alphabet.encode(text).tolist()
    L, R = len(label), sum(a == b for a, b in itertools.pairwise(label))
    each_box = (30 - L - R) / (2 * L + 1)
    counted = my_ctc(history[0], label)[1].sum(0)  # (V,)
    assert torch.isclose(counted[0], torch.tensor(R + (L + 1) * each_box).double())
    for letter in label:
        assert torch.isclose(counted[letter], torch.tensor(label.count(letter) * (1 + each_box)).double())

# %% [markdown]
# ## Deeper: why not autograd?
#
# Why not let autograd differentiate the forward pass? Try it on a whole sentence:


# %%
def loss_for_autograd(log_probs, states, jumps):
    """The forward recursion with logsumexp, as most people write it -> the loss ()."""
    alpha = log_probs[0, states].masked_fill(torch.arange(len(states)) >= 2, -math.inf)  # (S,)
    for row in log_probs[1:, states]:  # (S,)
        step, jump = (F.pad(alpha, (by, -by), value=-math.inf) for by in (1, 2))  # (S,), (S,)
        alpha = torch.stack((alpha, step, jump.masked_fill(~jumps, -math.inf))).logsumexp(0) + row
    return -alpha[-2:].logsumexp(0)


_ = torch.manual_seed(0)
sentence_logits = torch.randn(75, 28, dtype=torch.float64).requires_grad_()  # (T, V)
loss = loss_for_autograd(sentence_logits.log_softmax(-1), *extended_label(long_label))
expected = torch_loss(sentence_logits.log_softmax(-1), long_label)
agree("the loss, against torch", loss.detach(), expected.detach())
bad = torch.autograd.grad(loss, sentence_logits)[0].isnan().any(1)  # (T,)
print(f"NaN in {bad.sum()} of 75 frames, {bad.double().mean():.0%} of the gradient")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
for seed in range(3):
    generator = torch.Generator().manual_seed(seed)
    free = torch.randn(75, 28, generator=generator, dtype=torch.float64).requires_grad_()
    by_autograd = loss_for_autograd(free.log_softmax(-1), *extended_label(long_label))
    bad = torch.autograd.grad(by_autograd, free)[0].isnan().any(1)  # (T,)
    assert bad[1:29].all() and not bad[0] and not bad[29:].any()  # 28 of 75 frames
assert min_frames(long_label) == 30

# %% [markdown]
# **The loss is right, and more than a third of the gradient is NaN.** In the first frames some states are
# unreachable, so three `-inf` meet in `logsumexp`. Its value there, `-inf`, is right. Its gradient is the
# softmax of three `-inf`, which is 0/0, and one step with it ruins the network. One can patch that. The
# gradient by hand is simpler, and it explains how CTC learns.

# %% [markdown]
# ## Deeper: a ragged batch, and the package's version
#
# A real batch is ragged: clips and labels differ in length. `ctc.ctc_loss` has the signature of `F.ctc_loss`,
# runs forward and backward for a whole batch, and returns your gradient. Here are the three on one ragged
# batch:

# %%
generator = torch.Generator().manual_seed(0)
batch_logits = torch.randn(40, 5, 28, generator=generator, dtype=torch.float64).requires_grad_()  # (T, B, V)
labels = [alphabet.encode(text) for text in ("bin blue", "green", "aaa", "z", "three seven now")]
frames, lengths = torch.tensor([40, 6, 5, 1, 33]), torch.tensor([len(label) for label in labels])  # (B,)

total, by_hand = 0.0, torch.zeros_like(batch_logits)  # (), (T, B, V)
for b, label in enumerate(labels):  # one clip at a time, without its padding
    logits_of_clip = batch_logits[: frames[b], b].detach()  # (T, V)
    loss, _, gradient = my_ctc(logits_of_clip.log_softmax(-1), label.tolist())
    total, by_hand[: frames[b], b] = total + loss, gradient

for name, batch_loss in (("lessons", ctc.ctc_loss), ("torch", F.ctc_loss)):
    value = batch_loss(batch_logits.log_softmax(-1), torch.cat(labels), frames, lengths, reduction="sum")
    agree(f"{name}: loss", total, value.detach())
    agree(f"{name}: gradient", by_hand, torch.autograd.grad(value, batch_logits)[0])

# %% [markdown]
# This is the core of the package's version, with your three moves (`NEVER` is ln 0). Forward and backward run
# together, as one batch of N = $2B$ sequences: the backward pass is the forward pass on reversed frames and
# states.

# %%
from lessons.source import show

show(ctc.loss.log_arrivals)

# %% [markdown]
# <details><summary><b>Help: "input_lengths must be of size batch_size", or another wrong shape</b></summary>
#
# `F.ctc_loss` wants `log_probs` as `(T, B, V)`: time first. Logits from a layer with `batch_first=True` are
# `(B, T, V)`: `logits.transpose(0, 1)`. `input_lengths` and `target_lengths` have $B$ numbers each; targets
# are `(B, Lmax)` padded, or all labels one after the other.
# </details>

# %% [markdown]
# ## Deeper: one clip that is too short
#
# LipNet's released training also uses single words, and 82 of 5,867 word clips of GRID's first speaker are
# too short for their label. Here is such a clip in a batch of two: three frames and the label *aab*, which
# needs four. Both clips share one linear layer. The check: its gradient must be finite.


# %%
generator = torch.Generator().manual_seed(4)
x = torch.randn(12, 2, 4, generator=generator, dtype=torch.float64)  # (T, B, V) inputs of two clips
short = torch.tensor([[1, 1, 2], [2, 3, 0]]), torch.tensor([3, 12]), torch.tensor([3, 2])  # labels, T, L


def broken_gradients(loss, **options):
    """How many of the shared layer's 16 weights get the gradient NaN."""
    weight = torch.eye(4, dtype=torch.float64, requires_grad=True)  # (V, V)
    value = loss((x @ weight).log_softmax(-1), *short, reduction="sum", **options)
    return int(torch.autograd.grad(value, weight)[0].isnan().sum())


print(f"NaN in {broken_gradients(F.ctc_loss)} of the 16 gradients")

# %% [markdown]
# In the package's loss, an impossible clip gets the gradient 0, and so it does in torch's with
# `zero_infinity=True`. But look at the loss that is reported:

# %%
value = F.ctc_loss(x.log_softmax(-1), *short, reduction="none", zero_infinity=True)  # (B,)
print("losses of the two clips:", [round(v, 1) for v in value.tolist()])

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert broken_gradients(F.ctc_loss) == 16
assert broken_gradients(ctc.ctc_loss) == broken_gradients(F.ctc_loss, zero_infinity=True) == 0
assert value[0] == 0 and value[1] > 1 and min_frames([1, 1, 2]) == 4 > 3
assert ctc.ctc_loss(x.log_softmax(-1), *short, reduction="none", zero_infinity=True)[0] == 0

# %% [markdown]
# ## Deeper: more wrong inputs that torch accepts
#
# Each of the following is an easy mistake, and `F.ctc_loss` raises no error. So we write down a law that
# every correct CTC loss obeys, as a test, and run torch's and the package's loss through it.


# %%
def judge(law):
    """Test both losses with a law, which raises AssertionError when it is broken."""
    verdicts = []
    for name, loss in (("torch", F.ctc_loss), ("lessons", ctc.ctc_loss)):
        try:
            law(loss)
            verdicts.append("the law holds")
        except AssertionError as broken:
            verdicts.append(f"LAW BROKEN: {broken}")
        except ValueError as refused:
            verdicts.append(f"refused: {refused}")
        print(f"{name}: {verdicts[-1]}")
    return [verdict.split()[0] for verdict in verdicts]


targets = torch.tensor([[1, 2], [2, 3]])  # (B, L)
both = (torch.tensor([12, 12]), torch.tensor([2, 2]))  # frames, label lengths

# %% [markdown]
# ### Bug 1: logits instead of log-probabilities
#
# The law: a loss is $-\ln$ of a probability, so it is not negative.


# %%
def not_negative(loss):
    value = loss(3 * x, targets, *both, reduction="sum").item()  # log_softmax is missing
    assert value >= 0, f"the loss is {value:.0f}"


verdict_1 = judge(not_negative)

# %% [markdown]
# <details><summary><b>Help: "the loss is negative"</b></summary>
#
# You gave logits, or logits scaled after their `log_softmax`. Each frame's probabilities must sum to 1, so
# write `logits.log_softmax(-1)` right before the loss, and nothing in between. Torch does not check it.
# </details>
#
# ### Bug 2: a class that does not exist
#
# A target holds class 5, but the network has the classes 0 to 3: the alphabet grew, the last layer did not.
# The law: the loss of clip 0 does not depend on clip 1.


# %%
def clips_are_independent(loss):
    target, changed = torch.tensor([[1, 5], [2, 3]]), x.clone()  # class 5 in clip 0
    changed[:, 1] *= 3  # the logits of clip 1 only
    before, after = (loss(y.log_softmax(-1), target, *both, reduction="none")[0].item() for y in (x, changed))
    assert math.isclose(before, after), f"the loss of clip 0 went from {before:.1f} to {after:.1f}"


verdict_2 = judge(clips_are_independent)

# %% [markdown]
# On the CPU torch does not check the index. Class 5 of clip 0 is the number at offset 5: class 1 of clip 1.
# Nothing crashes, and what the network learns depends on the other clips in the batch. (For the last clip of
# a batch, torch reads whatever lies in memory there: do not try it.)
#
# ### Bug 3: a blank in the label
#
# A target holds class 0, because it was padded with zeros and its length counts the padding. No path
# collapses to such a label, so its probability is 0. The law: its loss is infinite.


# %%
def blank_is_no_letter(loss):
    target = torch.tensor([[1, 0], [2, 3]])  # (B, L)
    value = loss(x.log_softmax(-1), target, *both, reduction="none")[0].item()
    assert math.isinf(value), f"a label with probability 0 has loss {value:.1f}"


verdict_3 = judge(blank_is_no_letter)

# %% [markdown]
# ### Bug 4: the gradient at `log_probs`
#
# The law: take `log_probs` itself as the variable. Its gradient equals finite differences.


# %%
def gradient_is_the_slope(loss, by=1e-4):
    def cost(log_probs):
        return loss(log_probs, targets, *both, reduction="sum")

    leaf = x.log_softmax(-1).requires_grad_()  # (T, B, V)
    gradient, slopes = torch.autograd.grad(cost(leaf), leaf)[0], torch.zeros_like(leaf)
    with torch.no_grad():
        for position in itertools.product(range(12), range(2), range(4)):
            nudge = torch.zeros_like(leaf)
            nudge[position] = by
            slopes[position] = (cost(leaf + nudge) - cost(leaf - nudge)) / (2 * by)
    largest = (gradient - slopes).abs().max().item()
    assert largest < 1e-6, f"the largest difference is {largest:.2f}"


verdict_4 = judge(gradient_is_the_slope)

leaf = x.log_softmax(-1).requires_grad_()  # (T, B, V)
theirs, right = (
    torch.autograd.grad(loss(leaf, targets, *both, reduction="sum"), leaf)[0]
    for loss in (F.ctc_loss, ctc.ctc_loss)
)
agree("torch's gradient at log_probs minus the right one is the softmax", theirs - right, leaf.detach().exp())

# %% [markdown]
# Torch returns *softmax − occupancy* for `log_probs`, although that is the gradient at the *logits*. Behind
# `log_softmax` the excess vanishes: it is $\sum_k y_k\, \partial \ln y_k = \partial \sum_k y_k$, and that sum
# is always 1. So a normal training is right. A saliency map at `log_probs` is wrong, and so is any training
# that scales `log_probs` before the loss.
#
# ### Bug 5: swapped axes
#
# `(B, T, V)` instead of `(T, B, V)`, with as many clips as frames. The law: clip 0's loss has a gradient at
# clip 0's logits only.


# %%
def only_its_own_logits(loss, swap=True):
    generator = torch.Generator().manual_seed(0)
    many = torch.randn(12, 12, 4, generator=generator).double().requires_grad_()  # (B, T, V)
    log_probs = (many if swap else many.transpose(0, 1)).log_softmax(-1)  # wrong: (B, T, V), right: (T, B, V)
    all_frames, all_lengths = torch.full((12,), 12), torch.full((12,), 2)
    own = loss(log_probs, targets[:1].expand(12, 2), all_frames, all_lengths, reduction="none")[0]  # clip 0
    gradient = torch.autograd.grad(own, many)[0]  # (B, T, V)
    touched = int((gradient.abs().sum((1, 2)) > 0).sum())
    assert touched == 1, f"the loss of one clip depends on {touched} clips"


verdict_5 = judge(only_its_own_logits)
only_its_own_logits(F.ctc_loss, swap=False)  # with the axes in order, the law holds

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert verdict_1 == verdict_2 == ["LAW", "refused:"]
assert all_paths([1, 0], frames=6, classes=4) == [] and verdict_3 == ["LAW", "refused:"]
assert verdict_4 == ["LAW", "the"] and verdict_5 == ["LAW", "LAW"]
scaled = x.clone().requires_grad_()  # (T, B, V)


def scaled_cost(logits):
    return F.ctc_loss(0.5 * logits.log_softmax(-1), targets, *both, reduction="sum")


(scaled_gradient,) = torch.autograd.grad(scaled_cost(scaled), scaled)
nudge = torch.zeros_like(x)
nudge[3, 0, 1] = 1e-5
scaled_slope = ((scaled_cost(x + nudge) - scaled_cost(x - nudge)) / 2e-5).item()
assert abs(scaled_gradient[3, 0, 1] - scaled_slope) > 0.01
eleven = torch.zeros(11, 12, 4).log_softmax(-1)  # (B, T, V): 11 clips, 12 frames
for loss, complaint in ((F.ctc_loss, RuntimeError), (ctc.ctc_loss, ValueError)):
    try:
        loss(eleven, targets[:1].expand(11, 2), torch.full((11,), 12), torch.full((11,), 2))
    except complaint:
        continue
    raise AssertionError("the swapped batch was accepted")

# %% [markdown]
# No loss can detect this one: a tensor of 12 × 12 × 4 numbers does not say which 12 is time. (With 11 clips
# both raise an error.) So keep this law as a test of *your* code, from the network's input to the loss. It
# costs one backward pass.
#
# ### A convention: what `mean` means
#
# **Predict**: three losses, 4, 6 and 20, for labels of 1, 2 and 10 letters. What is their `mean`? (The cell
# prints torch's for three other losses.)

# %% tags=["predict"]
counts = torch.tensor([1, 2, 10])  # (B,)
generator = torch.Generator().manual_seed(1)
three = torch.randn(14, 3, 6, generator=generator, dtype=torch.float64).log_softmax(-1)  # (T, B, V)
target = 1 + torch.arange(13) % 5  # (1 + 2 + 10,)
each = F.ctc_loss(three, target, torch.tensor([14] * 3), counts, reduction="none")  # (B,)
mean = F.ctc_loss(three, target, torch.tensor([14] * 3), counts, reduction="mean")  # ()
print("losses:", [f"{loss:.1f}" for loss in each.tolist()], f"mean: {mean.item():.1f}")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# (4/1 + 6/2 + 20/10) / 3 = 3. Each loss is first divided by the length of its label, so the unit is *nats per
# letter*.
# </details>

# %%
agree("torch's mean is the mean of loss / length", mean, (each / counts).mean())

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert torch.isclose(ctc.ctc_loss(three, target, torch.tensor([14] * 3), counts), mean)
assert not torch.isclose(mean, each.mean())

# %% [markdown]
# A letter of a short label therefore has more weight than one of a long label. That is a choice, not a bug.
# Other implementations sum, so compare the losses of two programs only if they use the same reduction.

# %% [markdown]
# ## Deeper: rescaling instead of logarithms
#
# Graves' paper avoids underflow in another way. After each frame, divide $\alpha_t$ by its sum $c_t$ and keep
# the divisors: $\ln p(\ell)$ is $\sum_t \ln c_t$ plus the logarithm of the last two entries.


# %%
def forward_rescaled(probs, states, jumps):
    """probs (T, V) -> alpha (T, S) with rows that sum to 1, and the log of each row's divisor (T,)."""
    alpha, divisors = [], []
    arriving = (torch.arange(len(states)) < 2).to(probs.dtype)  # (S,) where a path may start
    for emission in probs[:, states]:  # (S,)
        now = arriving * emission  # (S,)
        divisors.append(now.sum().log())
        now = now / now.sum()
        alpha.append(now)
        arriving = now + F.pad(now, (1, -1)) + F.pad(now, (2, -2)) * jumps  # (S,) into each state
    return torch.stack(alpha), torch.stack(divisors)  # (T, S), (T,)


scaled, divisors = forward_rescaled(log_probs.exp(), states, jumps)  # (T, S), (T,)
agree("rescaled alpha against yours", scaled, alpha.softmax(1))
agree("loss", -(divisors.sum() + scaled[-1, -2:].sum().log()), exact)

# %% [markdown]
# **Predict**: logarithms or rescaling, which of the two fails first in float32 when the network becomes very
# confident and wrong?

# %% tags=["predict"]
long_states, long_jumps = extended_label(long_label)  # (55,), (55,)
errors = {}
for scale in (1, 10, 50):
    generator = torch.Generator().manual_seed(0)
    confident = scale * torch.randn(75, 28, generator=generator, dtype=torch.float64)  # (T, V) logits
    truth = torch_loss(confident.log_softmax(-1), long_label)
    by_log = -forward(confident.float().log_softmax(-1), long_states, long_jumps)[-1, -2:].logsumexp(0)
    a, c = forward_rescaled(confident.float().softmax(-1), long_states, long_jumps)
    by_rescaling = -(c.sum() + a[-1, -2:].sum().log())
    errors[scale] = [abs(value.item() - truth.item()) for value in (by_log, by_rescaling)]
    words = ["right" if error < 1e-2 else "WRONG" for error in errors[scale]]
    print(f"logits of standard deviation {scale:2}, loss {truth:5.0f}: logs {words[0]}, rescaled {words[1]}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert [[e < 1e-2 for e in pair] for pair in errors.values()] == [[True, True], [True, True], [True, False]]
finished = ctc.ctc_loss(
    confident.log_softmax(-1)[:, None], torch.tensor([long_label]), [75], [27], reduction="sum"
)
assert torch.isclose(finished, truth, rtol=1e-12, atol=0)

# %% [markdown]
# Rescaling keeps the *largest* state of a frame in range. The small ones still underflow, and sometimes the
# only path to the end goes through one of them. The package rescales in float64, and uses logarithms for the
# clips where a bound cannot rule out an error (`lessons/ctc/loss_fast.py`).

# %% [markdown]
# ## Deeper: the blank plateau of a network
#
# Make clips of 30 frames with 8 numbers each. Each clip shows three signs, drawn from five, in noise and at
# unknown times. A sign may occur twice. The network is one convolution along time and one linear layer. We
# train it from three seeds.


# %%
from torch import nn
from tqdm.auto import tqdm

SIGNS = "-abcde"
codes = torch.randn(6, 8, generator=torch.Generator().manual_seed(9))  # what each sign looks like


def toy_clips(count, generator, frames=30):
    """Clips (B, T, F) and their labels (B, 3): each sign lasts four frames."""
    labels = torch.randint(1, 6, (count, 3), generator=generator)  # (B, 3)
    x = 0.7 * torch.randn(count, frames, 8, generator=generator)  # (B, T, F)
    starts = 2 + 8 * torch.arange(3) + torch.randint(0, 4, (count, 3), generator=generator)  # (B, 3)
    for b, i in itertools.product(range(count), range(3)):
        x[b, starts[b, i] : starts[b, i] + 4] += codes[labels[b, i]]
    return x, labels


def toy_network():
    front, head = nn.Conv1d(8, 24, kernel_size=5, padding=2), nn.Conv1d(24, 6, kernel_size=1)
    with torch.no_grad():  # nearly uniform outputs at the start
        head.weight *= 0.1
        head.bias *= 0.1
    return nn.Sequential(front, nn.ReLU(), head)


def train(seed, steps=500):
    _ = torch.manual_seed(seed)
    x, labels = toy_clips(64, torch.Generator().manual_seed(seed))
    network, seen = toy_network(), {"loss": [], "blanks": [], "probs": []}
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in tqdm(range(steps), desc=f"seed {seed}", leave=False):
        log_probs = network(x.transpose(1, 2)).permute(2, 0, 1).log_softmax(-1)  # (B, F, T) -> (T, B, V)
        loss = F.ctc_loss(log_probs, labels, (30,) * 64, (3,) * 64)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen["loss"].append(loss.item())
        seen["blanks"].append((log_probs.argmax(-1) == 0).float().mean().item())
        seen["probs"].append(log_probs[:, 0].detach().exp())  # (T, V) of the first clip
    return seen, labels[0].tolist()


runs = {f"seed {seed}": train(seed) for seed in range(3)}
for name, (seen, _) in runs.items():
    fall = 1 - seen["loss"][199] / seen["loss"][50]
    print(f"{name}, steps 50 to 200: the loss falls by less than 15 %: {fall < 0.15}")

# %% tags=["hide-input"]
# @title Plot: the training runs { display-mode: "form" }
losses = {name: torch.tensor(seen["loss"]) for name, (seen, _) in runs.items()}
blanks = {name: torch.tensor(seen["blanks"]) for name, (seen, _) in runs.items()}
blank_steps = (blanks["seed 0"] > 0.99).nonzero()[:, 0]  # steps at which nearly every frame is blank
seen, label = runs["seed 0"]
truth = "".join(SIGNS[c] for c in label)
shown_steps = [0, 30, 150, 290, 350, 499]
figures.training_run(
    losses,
    blanks,
    shaded=(int(blank_steps[0]), int(blank_steps[-1])),
    texts=[
        (step, "".join(SIGNS[c] for c in collapse(seen["probs"][step].argmax(1)))) for step in shown_steps
    ],
    title=f"Three seeds; below, the output of seed 0 for one clip, “{truth}”",
)

# %% tags=["hide-input"]
# @title Plot: one clip during training { display-mode: "form" }
figures.posterior_curves(
    {f"step {step}": seen["probs"][step] for step in shown_steps},
    SIGNS,
    title=f"The same clip, “{truth}”: blanks, then peaks",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
for name in runs:
    flat = losses[name][50:200]
    assert blanks[name][50:200].min() > 0.95 and 1 - flat[-1] / flat[0] < 0.15
    assert blanks[name].max() > 0.99 and losses[name][-1] < 0.5 and blanks[name][-1] < 0.9
assert blank_steps[-1] - blank_steps[0] > 200

# %% [markdown]
# For about two hundred steps the text is empty and the loss hardly falls, yet nothing is broken. The network
# has learned that blanks fit every clip, but not yet what tells clips apart. Notebook 09 computes the height
# of this plateau in advance.

# %% [markdown]
# ## Deeper: the rule $T = 2L + 1$, and GRID
#
# A popular write-up of LipNet says (in Chinese) that $T$ is generally twice the maximum length of the
# sequence plus one, and a question in a public issue tracker treats it as a condition of CTC. Section 8
# refutes it. The shortest path shows that $L + R$ frames suffice.
#
# ### Exercise 4 · `shortest_path` · difficulty ★☆☆ · 6 minutes
#
# Write a path that spells the label in as few frames as possible.


# %%
def shortest_path(label):
    """label, a list of classes (none of them 0) -> a list of classes that collapses to it."""
    raise NotImplementedError


check("04.shortest_path", shortest_path)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def shortest_path_solution(label):
    """The letters themselves; a blank only where collapse would merge two of them."""
    path = []
    for letter in label:
        if path and path[-1] == letter:
            path.append(0)
        path.append(letter)
    return path


# %%
shortest_path = use("04.shortest_path", shortest_path, shortest_path_solution)

# %% [markdown]
# A footnote in Distill's article on CTC gives another rule: with $r > 0$ repeats, $2r - 1$ frames more than
# letters. For *aaa* that would be 6. For a single pair both rules agree, which is how such a mistake
# survives:

# %%
for text in ("aab", "aaa", "aabb"):
    label = ["-abc".index(c) for c in text]
    L, R = len(label), sum(a == b for a, b in itertools.pairwise(label))
    path = "".join("-abc"[c] for c in shortest_path(label))
    print(f"{text:5} {path:7} {len(path)} frames; L + R = {L + R}, L + 2R - 1 = {L + 2 * R - 1}")

# %% [markdown]
# Below, *bin* in three frames, in five, and in $2L+1 = 7$. All three work. At $T = L + R$ there is **one**
# path, so every frame is determined. A longer clip gives freedom, not feasibility.

# %%
panels = {}
for T in (3, 5, 7):
    even = torch.full((T, 4), -math.log(4)).double()  # (T, V)
    panels[f"T = {T}: {count_paths(T, LABEL)} path{'s' * (T > 3)}"] = posterior_flow(even, LABEL)
figures.trellis_flow(panels, spell(states), jumps, columns=3, width=7.5, row_height=0.22)

# %% [markdown]
# And GRID? Its grammar has 64,000 sentences. A space stands between any two words, so letters and repeats of
# the six slots simply add up:

# %%
from collections import Counter

from lessons.ctc import grammar

sentences = Counter({(len(grammar.SLOTS) - 1, 0): 1})  # (L, R) -> how many; five spaces to start with
for slot in grammar.SLOTS:
    longer = Counter()
    for (L, R), count in sentences.items():
        for spoken in slot:
            pairs = sum(a == b for a, b in itertools.pairwise(spoken))
            longer[L + len(spoken), R + pairs] += count
    sentences = longer

needs, rule = Counter(), Counter()
for (L, R), count in sentences.items():
    needs[L + R] += count
    rule[2 * L + 1] += count
print(f"{sentences.total():,} sentences: L + R from {min(needs)} to {max(needs)}")
print(f"2L + 1 from {min(rule)} to {max(rule)}; a clip has 75 frames")
figures.count_bars(
    {"needed: L + R": needs, "the rule: 2L + 1": rule},
    xlabel="frames",
    ylabel="sentences",
    mark=(75, "a clip"),
    title="Frames for GRID's 64,000 sentences",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
letters = [L for L, _ in sentences]
assert sentences.total() == 64_000 and (min(letters), max(letters), max(needs)) == (20, 31, 33)
assert (min(rule), max(rule)) == (41, 63)
assert 24 < sum(L * count for (L, _), count in sentences.items()) / 64_000 < 25
assert min_frames(alphabet.encode("place green with x three please")) == 33
assert all(L + R <= 40 < 2 * L + 1 for L, R in sentences)
assert [count_paths(T, LABEL) for T in (2, 3, 5, 7)] == [0, 1, 28, 210]
for label in (list(p) for n in range(1, 6) for p in itertools.product((1, 2, 3), repeat=n)):
    assert len(shortest_path(label)) == min_frames(label)

# %% [markdown]
# LipNet's $T$ is 75 because a clip lasts three seconds at 25 frames per second. It is $2L+1$ for no sentence
# in GRID. If you cut the clips down to 40 frames, the rule $2L+1$ would discard all 64,000 sentences,
# although CTC can still spell every one. Clips that really are too short, single words cut out of their
# sentence, come in notebook 07.

# %% [markdown]
# ## Recap
#
# - CTC sums over all paths that spell a sentence, so no frame needs a label. There are $\binom{T+L-R}{2L}$
#   paths.
# - The forward algorithm on a trellis of $2L+1$ states computes the sum exactly, in log space.
# - $\sum_s \alpha_t(s)\beta_t(s) = p$ at every frame. Divided by $p$: posteriors; summed by class: occupancy.
# - The gradient at the logits is softmax − occupancy: cross-entropy with soft labels that CTC computes.
# - A training starts with blanks, because most paths have many. Feedback makes it end in peaks.
# - A sentence fits if $T \ge L + R$. One clip that is too short can ruin a training.
#
# ## Glossary
#
# | word | meaning | also called |
# |---|---|---|
# | CTC | connectionist temporal classification: the sum over all paths that spell a label | |
# | label, target | the text as classes, without blanks | label sequence, transcript |
# | extended label | the label with blanks before, between and after: $2L+1$ states | modified label |
# | trellis | states down, frames across; a path is one way through it | lattice |
# | forward variable α | probability of all path prefixes that are in a state at a frame | forward score |
# | backward variable β | probability of all ways to finish from a state after a frame | backward score |
# | posterior γ | probability of a state at a frame, given the label: αβ/p | soft alignment |
# | occupancy | probability of a class at a frame, given the label: posteriors summed by class | soft label |
# | underflow | a number so small that the format stores 0 | |
# | log space | storing logarithms: products become sums, sums become `logsumexp` | log domain |
# | rescaling | dividing each frame's α by its sum, and adding up the logarithms of the sums | normalization |
# | peak | one or two frames in which a letter is probable, between blanks | spike |
# | blank plateau | the stretch of a CTC training in which the best path is all blanks | |
# | feasible | a label that fits its clip's frames: $T \ge L + R$ | |
#
# ## Sources
#
# - A. Graves, S. Fernández, F. Gomez, J. Schmidhuber, *Connectionist Temporal Classification*, ICML 2006:
#   equations 5 to 16. (They count frame $t$ in both α and β and divide once.)
# - Y. Assael, B. Shillingford, S. Whiteson, N. de Freitas, *LipNet*, [arXiv
#   1611.01599](https://arxiv.org/abs/1611.01599): 28,775 training clips, 75 frames, 28 classes.
# - A. Zeyer, R. Schlüter, H. Ney, *Why does CTC result in peaky behavior?*, [arXiv
#   2105.14849](https://arxiv.org/abs/2105.14849).
# - A. Hannun, *Sequence Modeling with CTC*, Distill 2017, and its footnote on repeats.
# - $T = 2L + 1$: the CSDN post *Lipnet的学习理解*; `meijieru/crnn.pytorch`, issue 235.
# - PyTorch issues [52241](https://github.com/pytorch/pytorch/issues/52241) (gradient at `log_probs`) and
#   [31557](https://github.com/pytorch/pytorch/issues/31557) (impossible clips).
# - The word clips: our count over speaker s1, with the released augmentation of `bshillingford/LipNet`.
# - M. Cooke, J. Barker, S. Cunningham, X. Shao, JASA 120(5), 2006: GRID's grammar.
#
# **Next**: notebook 05 does the reverse: from 75 frames of probabilities to the best sentence.
