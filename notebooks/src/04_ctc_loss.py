# %% [markdown]
# # 04 · CTC, the loss
#
# **You will build the loss that teaches lip reading from whole sentences, though nobody says which frame is
# which letter; derive its gradient by hand; and catch PyTorch's own version accepting nonsense.**
#
# *About 100 minutes to read and solve; all cells together run in about a minute on one CPU core.*
#
# **You need**: logarithms, `backward`, and notebook 00's rule for turning a path into text. The logits
# `(T, B, V)` come from the network of notebooks 02 and 03; here we take them as given.
#
# **You will be able to**
# - say what CTC sums over, and how many terms that is;
# - compute the sum in three ways (definition, logarithms, rescaling) and know why plain numbers fail;
# - derive the gradient, *softmax − occupancy*, and prove it;
# - explain why training starts with silence and ends in peaks;
# - say how many frames a sentence needs, and refute the rule that many people repeat;
# - name six things that `F.ctc_loss` lets through, and the test that finds each.

# %%
import itertools
import math
from collections import Counter

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm.auto import tqdm

from lessons import ctc, figures
from lessons.checks import agree, check
from lessons.ctc import collapse, count_paths, forward_backward, grammar, min_frames
from lessons.ctc.alphabet import Alphabet
from lessons.data.batch import normalize
from lessons.data.synthetic.talker import Speaker, talk
from lessons.source import show
from lessons.training import checkpoint

alphabet = Alphabet()  # 28 classes: blank 0, space 1, a to z 2 to 27

# %% [markdown]
# ## 1. Nobody says which frame is which letter
#
# Here are ten frames in a row of a talker who says *place*. **Predict**: in which frame does the *l* begin?
# In which the *e*?

# %%
rng = np.random.default_rng(7)
sentence = "place green at q three soon"
film, segments = talk(sentence, Speaker.random(rng), rng, size=(32, 64))  # (75, 32, 64) uint8, gray
first = round(segments[1][0])  # the frame in which the first word begins
figures.filmstrip(film, range(first - 1, first + 9), columns=5, width=7.5, title="“place”, frame by frame")

# %% [markdown]
# There is no good answer. The mouth glides from sound to sound, the *e* is not spoken at all, and the *c* is
# an *s*. A network that is to name the letter in each frame would still need a label for every frame. LipNet
# was trained on 28,775 clips of 75 frames. **Predict** how long it would take to label them, at one frame a
# second.

# %%
frame_labels = 28_775 * 75
print(f"{frame_labels:,} frame labels: {frame_labels / 3600:.0f} hours at one a second")
assert frame_labels == 2_158_125 and round(frame_labels / 3600) == 599

# %% [markdown]
# **Connectionist temporal classification** (CTC) needs none of them. It needs the sentence. Its idea: the
# network may write the letters *whenever* it likes, as long as they come in the right order. So the
# probability of a sentence is the **sum over all ways to write it in time**. Nothing aligned by hand goes in.

# %% [markdown]
# ## 2. Paths
#
# A **path** picks one class in each frame. Collapse it (equal neighbors become one, then blanks vanish) and
# you have the text it spells. You wrote that for strings in notebook 00; `lessons.ctc.collapse` does it for
# class numbers, and class 0 is the blank.
#
# For now the alphabet has four classes, `-bin`, and the label is *bin*. Let us list **every** path of five
# frames that spells it.

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
assert len(paths) == 28 and 4**5 == 1024

# %% [markdown]
# ### How many are there?
#
# Look at one path as a row of boxes: blanks, *b*, blanks, *i*, blanks, *n*, blanks. $L$ labels make $2L+1$
# boxes. Each label's box holds at least one frame, a blank's box may be empty. So $T - L$ frames are left to
# be spread freely over $2L+1$ boxes. Draw them as dots in a row, and the $2L$ walls between the boxes as
# bars among them. To choose which of these $(T-L) + 2L$ signs are bars is to choose a path, so there are
#
# $$\binom{(T-L) + 2L}{2L} = \binom{T+L}{2L} = \binom{T+L}{T-L}$$
#
# of them. When two neighbors in the label are equal (*ee* in *green*), the blank's box between them
# may not be empty. With $R$ such pairs, $T - L - R$ frames are left to spread:
#
# $$\binom{T+L-R}{2L}$$
#
# Two formulas from two sentences: hold them against brute force, for every label of up to three letters.

# %%
labels = [list(p) for n in range(1, 4) for p in itertools.product((1, 2, 3), repeat=n)]  # 3 + 9 + 27
for label in labels:
    L, R = len(label), sum(a == b for a, b in itertools.pairwise(label))
    for T in range(1, 7):
        brute = len(all_paths(label, T, classes=4))
        assert brute == count_paths(T, label) == math.comb(T + L - R, 2 * L)
print(f"{len(labels)} labels, 1 to 6 frames: brute force and formula agree")

# %% [markdown]
# **Predict**: a GRID sentence has about 24 characters, a clip 75 frames. How many paths?

# %%
T, L = 75, 24
distinct = [2 + i % 2 for i in range(L)]  # no two neighbors equal
spelling = math.log10(count_paths(T, distinct))
one_a_nanosecond = 10 ** (spelling - 9) / (3600 * 24 * 365)  # years
print(f"paths that spell it: 10^{spelling:.1f}; paths in all: 10^{T * math.log10(28):.0f}")
print(f"at one path a nanosecond: {one_a_nanosecond:.0e} years")
assert round(spelling, 1) == 28.7 and count_paths(T, distinct) == math.comb(T + L, T - L)
assert 2 * L + 1 == 49

lengths = range(1, 76)
figures.curves(
    {
        f"L = {L}": (range(L, 76), [math.log10(math.comb(T + L, T - L)) for T in range(L, 76)])
        for L in (4, 12, 24)
    },
    xlabel="frames T",
    ylabel="log₁₀ of the number of paths",
    width=5.5,
    height=2.4,
    title="How many paths spell a label of L different letters",
)

# %% [markdown]
# A sum of $10^{28.7}$ terms. Section 4 computes it, exactly, in some 75 × 49 × 3 additions: 49 is $2L+1$, and
# into each box lead at most three ways.
#
# ## 3. The definition, by brute force
#
# In frame $t$ the network gives class $k$ the probability $y^t_k$, the softmax of its logits. CTC assumes
# that **given the clip, the frames are independent**, so a path has the product of its classes'
# probabilities, and the label $\ell$ the sum over all paths $\pi$ that collapse to it ($\mathcal B$ is the
# collapse):
#
# $$p(\ell) = \sum_{\pi:\ \mathcal{B}(\pi) = \ell}\ \prod_{t} y^t_{\pi_t}, \qquad
#   \text{loss} = -\ln p(\ell)$$
#
# (The independence is a real limit: CTC's probability of *n* in this frame does not ask which letters came
# before. The network underneath may know, and notebook 05 adds a language model.)


# %%
def loss_by_definition(log_probs, label):
    """log_probs (T, V) -> the loss (), as a sum over all paths that spell the label."""
    paths = torch.tensor(all_paths(label, *log_probs.shape))  # (paths, T)
    each_frame = log_probs[torch.arange(len(log_probs)), paths]  # (paths, T) its class in frame 0, 1, 2, …
    return -each_frame.sum(dim=1).exp().sum().log()  # ()


def torch_loss(log_probs, label):
    """The same by torch, which wants a batch: (T, 1, V), targets, frames, label lengths."""
    target = torch.tensor([label])  # (1, L)
    return F.ctc_loss(log_probs[:, None], target, [len(log_probs)], [len(label)], reduction="sum")


_ = torch.manual_seed(2)
logits = (1.3 * torch.randn(8, 4, dtype=torch.float64)).requires_grad_()  # (T, V): eight frames of -bin
log_probs = logits.log_softmax(-1)  # (T, V)
ours, theirs = loss_by_definition(log_probs, LABEL), torch_loss(log_probs, LABEL)
agree("loss by definition against torch", ours.detach(), theirs.detach())
exact = torch.autograd.grad(ours, logits, retain_graph=True)[0]  # (T, V)
agree("its gradient at the logits", exact, torch.autograd.grad(theirs, logits, retain_graph=True)[0])
print(f"{count_paths(8, LABEL)} of {4**8:,} paths; loss {ours.item():.3f}, so p = {(-ours).exp().item():.3f}")

# %% [markdown]
# Torch's number is what the definition says, with its gradient. From here on, every quicker version has this
# one to answer to.

# %% [markdown]
# ## 4. The trellis
#
# Most paths share most of their way. Write the label with a blank before, between and after its letters: the
# **extended label**, $S = 2L + 1$ **states**. A path is then a walk down these states, one move a frame. From
# one frame to the next a walk may
# - **stay** in its state (a letter or a blank goes on),
# - **step** to the next one,
# - **jump** over one state: over a blank, to the next letter.
#
# ### Exercise 1 · `extended_label` · difficulty ★★☆ · 10 minutes
#
# Give the states, and for each of them True or False: may a walk **jump into** it, from two states before?
# The flag belongs to the state where the jump *lands*, not to the one that it leaves. The states of *bin*:
#
# | state s | 0 | 1 | 2 | 3 | 4 | 5 | 6 |
# |---|---|---|---|---|---|---|---|
# | class | - | b | - | i | - | n | - |
#
# `jumps[3]` asks for the way from state 1 to state 3 from one frame to the next: *b*, and at once *i*. Write
# the two classes side by side and collapse them. Is every letter from $s-2$ to $s$ still there? Ask the same
# for a jump into a blank, and for a label such as *bb*.


# %%
def extended_label(label):
    """label, a list of classes -> (states, jumps): 2L + 1 classes, and as many True or False."""
    raise NotImplementedError


check("04.extended_label", extended_label)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def extended_label_solution(label):
    """Blanks around every letter; a jump only from a letter to a different letter."""
    states = [0]
    for letter in label:
        states += [letter, 0]
    # Blank to blank would leave out the letter between. Equal letters would become one without their blank.
    jumps = [s >= 2 and states[s] != 0 and states[s] != states[s - 2] for s in range(len(states))]
    return states, jumps


# %%
check("04.extended_label", extended_label_solution)
states, jumps = (torch.tensor(x) for x in extended_label_solution(LABEL))  # (S,) classes, (S,) True or False
print(spell(states), "· jumps into:", [SYMBOLS[c] for c in states[jumps]])
assert len(states) == 2 * len(LABEL) + 1 == 7

# %% [markdown]
# ### Forward: all ways to get here
#
# Let $\alpha_t(s)$ be the probability of **all ways to be in state $s$ at frame $t$**, this frame's class
# included. A walk came from the same state, from the one before, or by a jump; and all of them go on with the
# same class $z_s$:
#
# $$\alpha_t(s) = \Big(\underbrace{\alpha_{t-1}(s)}_{\text{stay}}
#   + \underbrace{\alpha_{t-1}(s-1)}_{\text{step}}
#   + \underbrace{\alpha_{t-1}(s-2)}_{\text{jump, if allowed}}\Big)\; y^t_{z_s}$$
#
# A walk starts in the first blank or the first letter, and ends in the last letter or the last blank, so
# $p(\ell) = \alpha_T(S) + \alpha_T(S-1)$. (Formulas count from 1, code from 0: $\alpha_T(S)$ is
# `alpha[-1, -1]`.)
#
# In code, all states move at once. `F.pad(x, (1, -1))` puts one 0 in front and takes one number off the end,
# so place $s$ now holds what stood at $s-1$: what a step brings **into** $s$. Negative in front is the other
# way round: place $s$ then holds what stood further down.

# %%
row = torch.tensor([10, 11, 12, 13, 14])  # (S,) state s holds 10 + s
for move, by in {"stays": 0, "steps from s-1": 1, "jumps from s-2": 2, "backward, from s+1": -1}.items():
    moved = F.pad(row, (by, -by))  # (S,)
    assert all(moved[s] == (row[s - by] if 0 <= s - by < 5 else 0) for s in range(5))
    print(f"{move:18}  F.pad(x, ({by:2}, {-by:2}))  {moved.tolist()}")

# %% [markdown]
# A jump has to be allowed where it lands. So the mask comes after the move.


# %%
def forward_plain(probs, states, jumps):
    """probs (T, V) -> alpha (T, S)."""
    emission = probs[:, states]  # (T, S): y of each state's class
    start = torch.arange(len(states)) < 2  # (S,)
    alpha = [emission[0] * start]
    for t in range(1, len(probs)):
        stay = alpha[-1]  # (S,)
        step = F.pad(alpha[-1], (1, -1))  # (S,) from s-1
        jump = F.pad(alpha[-1], (2, -2)) * jumps  # (S,) from s-2, where s may be jumped into
        alpha.append((stay + step + jump) * emission[t])
    return torch.stack(alpha)  # (T, S)


probs = log_probs.exp()  # (T, V)
alpha = forward_plain(probs, states, jumps)  # (T, S)
forward_loss = -alpha[-1, -2:].sum().log()  # ()
agree("forward against the definition", forward_loss.detach(), ours.detach())
gradient = torch.autograd.grad(forward_loss, logits, retain_graph=True)[0]  # (T, V)
agree("gradient against the definition", gradient, exact)
alpha, probs, log_probs = alpha.detach(), probs.detach(), log_probs.detach()

# %% [markdown]
# Eight frames, seven states, at most three moves into each: the 462 products became a few dozen sums. In the
# picture a dot is $\alpha_t(s)$ as a share of its frame; a line is a move, as wide as what passes along it;
# orange are the newest moves. (`flow` only serves the pictures. You may skip it.)


# %%
def flow(alpha, emission, beta, jumps):
    """What passes along each move (T-1, S, 3), as a share of all that moves at this frame."""
    onward = emission[1:] * beta[1:]  # (T-1, S) arriving in a state, and all that follows
    edges = torch.zeros(*onward.shape, 3, dtype=onward.dtype)  # (T-1, S, 3): stay, step, jump
    for move, arriving in enumerate((onward, onward, onward * jumps)):
        size = onward.shape[1] - move
        edges[:, :size, move] = alpha[:-1, :size] * arriving[:, move:]
    return edges / edges.sum((1, 2), keepdim=True)


emission = probs[:, states]  # (T, S)
reached = alpha / alpha.sum(1, keepdim=True)  # (T, S)
moves = flow(alpha, emission, torch.ones_like(alpha), jumps)  # (T-1, S, 3)
stays, steps, leaps = moves.unbind(2)  # (T-1, S) each
arriving = stays + F.pad(steps, (1, -1)) + F.pad(leaps, (2, -2))  # (T-1, S)
agree("what the moves bring into a state is its dot", arriving, reached[1:])
assert (alpha[:2, 5] == 0).all() and alpha[2, 5] > 0  # state 5 is the n
assert (alpha[:, 0] > 0).all() and alpha[7, 4] > 0  # the first blank; the blank before the n, at the end
figures.trellis_steps(reached, moves, spell(states), jumps, range(8), width=8.5, row_height=0.2)

# %% [markdown]
# No walk is in the *n* before frame 2, and some never leave the first blank. **Forward does not know the end
# yet**: in frame 7, the last, there is still probability in states in which no walk may end. In Jupyter or
# Colab, step through it yourself:

# %% tags=["nbval-ignore-output"]
# output not compared: the slider is a widget, which lives only while the notebook runs
from ipywidgets import interact


@interact(t=(0, 7))
def step_through(t=3):
    return figures.trellis_steps(reached, moves, spell(states), jumps, [t], width=5.5, row_height=0.27)


# %% [markdown]
# ## 5. Real clips underflow
#
# **Predict.** A new network gives each of 28 classes about 1/28. The smallest number above zero in float32 is
# $1.4 \cdot 10^{-45}$. For how many of the 75 frames does `forward_plain` last?

# %%
long_label = alphabet.encode(sentence)  # (27,)
long_states, long_jumps = (torch.tensor(x) for x in extended_label_solution(long_label.tolist()))  # (55,)
even = torch.zeros(75, 28).softmax(-1).requires_grad_()  # (T, V): knows nothing
long_alpha = forward_plain(even, long_states, long_jumps)  # (75, 55)
lost = -long_alpha[-1, -2:].sum().log()
lost.backward()
alive = [t for t in range(75) if long_alpha[t].max() > 0]
print(f"loss {lost.item()}; NaN in the gradient: {bool(even.grad.isnan().any())}")
true_loss = torch_loss(even.detach().log(), long_label.tolist()).item()
print(f"true loss {true_loss:.1f}, p = 10^{-true_loss / math.log(10):.0f}")
assert lost.isinf() and 0.5 < len(alive) / 75 < 0.6 and even.grad.isnan().any()
smallest = math.log10(torch.finfo(torch.float32).smallest_normal * torch.finfo(torch.float32).eps)
assert 1.3e-45 < 10**smallest < 1.5e-45

# %% [markdown]
# A little over half the clip. The loss is infinite, the gradient is not a number, and nothing was wrong with
# the network. float64 only moves the cliff: sixteen seconds of film are too many.

# %%
film_400 = torch.zeros(400, 28, dtype=torch.float64).softmax(-1)  # (T, V): 16 s at 25 frames a second
assert forward_plain(film_400, long_states, long_jumps)[-1].max() == 0
print("400 frames in float64: nothing left")

# %% [markdown]
# ### Remedy 1: logarithms
#
# Keep $\ln \alpha$. Products become sums. A sum of probabilities becomes
#
# $$\ln(e^a + e^b) = m + \ln(e^{a-m} + e^{b-m}), \qquad m = \max(a, b)$$
#
# where the largest exponent is 0, so nothing underflows that matters. Torch has it as `logaddexp` (two
# numbers) and `logsumexp` (many). $\ln 0$ is `-inf`, and both know how to add that.
#
# ### Exercise 2 · `forward_step` · difficulty ★★☆ · 10 minutes
#
# One frame of the recursion in log space. You get $\ln\alpha_{t-1}$, the log probability of each state's
# class at frame $t$, and into which states a walk may jump. `F.pad` fills with 0 unless you give it a
# `value`: which value means *no way* here?


# %%
def forward_step(alpha, emission, jumps):
    """alpha (S,) and emission (S,) are logarithms, jumps (S,) True or False -> the next ln alpha (S,)."""
    raise NotImplementedError


check("04.forward_step", forward_step)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def forward_step_solution(alpha, emission, jumps):
    """Stay, step and jump; what falls in from outside, and a jump that is not allowed, is ln 0."""
    never = -math.inf
    stay = alpha
    step = F.pad(alpha, (1, -1), value=never)  # (S,)
    jump = F.pad(alpha, (2, -2), value=never).masked_fill(~jumps, never)  # (S,)
    return torch.stack((stay, step, jump)).logsumexp(dim=0) + emission  # (S,)


# %%
check("04.forward_step", forward_step_solution)

# %% [markdown]
# <details><summary><b>Help: "my forward_step gives nan"</b></summary>
#
# You subtract a maximum that is `-inf`: `-inf - (-inf)` is NaN. `torch.logsumexp` and `torch.logaddexp` treat
# that case; a `max` of your own has to be replaced by 0 where it is `-inf`. Multiplying `-inf` by a mask of
# zeros gives NaN, too: use `masked_fill` or `torch.where`.
# </details>


# %%
def forward_log(log_probs, states, jumps):
    """log_probs (T, V) -> ln alpha (T, S)."""
    emission = log_probs[:, states]  # (T, S)
    alpha = [emission[0].masked_fill(torch.arange(len(states)) >= 2, -math.inf)]
    for t in range(1, len(log_probs)):
        alpha.append(forward_step_solution(alpha[-1], emission[t], jumps))
    return torch.stack(alpha)  # (T, S)


agree("log space against plain", forward_log(log_probs, states, jumps).exp(), alpha)
long_log = forward_log(even.detach().log(), long_states, long_jumps)  # (75, 55) float32
loss_log = -long_log[-1, -2:].logsumexp(0)
agree("75 frames, float32, against torch", loss_log, torch.tensor(true_loss), tolerance=1e-3)

largest = long_log.max(1).values / math.log(10)  # (75,)
plain = long_alpha.detach().max(1).values.log10()  # (75,) -inf where nothing is left
assert (plain - largest)[:30].abs().max() < 1e-4 and plain[alive[-1] + 1 :].isinf().all()
figures.curves(
    {"the largest α": largest},
    xlabel="frame",
    ylabel="log₁₀",
    level=smallest,
    level_label="smallest number in float32",
    ylim=(-100, 5),
    plateau=(alive[-1] + 1, 74),
    plateau_label="plain float32 holds 0",
    width=5.5,
    height=2.4,
    title="The largest α of each frame, from logarithms",
)

# %% [markdown]
# ### Remedy 2: rescale every frame
#
# Graves' paper does it another way. After each frame divide $\alpha_t$ by its sum $c_t$, so that the largest
# number never gets small, and remember the divisors: $\ln p(\ell) = \sum_t \ln c_t$ + the logarithm of what
# the last two states hold in the end.


# %%
def forward_rescaled(probs, states, jumps):
    """probs (T, V) -> alpha (T, S) with rows that sum to 1, and the log of each row's divisor (T,)."""
    alpha, divisors = [], []
    ways = (torch.arange(len(states)) < 2).to(probs.dtype)  # (S,) where a walk may start
    for emission in probs[:, states]:  # (S,) a frame
        now = ways * emission  # (S,)
        divisors.append(now.sum().log())
        now = now / now.sum()
        alpha.append(now)
        ways = now + F.pad(now, (1, -1)) + F.pad(now, (2, -2)) * jumps  # (S,) into each state, next frame
    return torch.stack(alpha), torch.stack(divisors)  # (T, S), (T,)


scaled, divisors = forward_rescaled(probs, states, jumps)
agree("rescaled alpha against plain", scaled, alpha / alpha.sum(1, keepdim=True))
agree("loss", -(divisors.sum() + scaled[-1, -2:].sum().log()), ours.detach())
long_scaled, long_divisors = forward_rescaled(even.detach(), long_states, long_jumps)
loss_scaled = -(long_divisors.sum() + long_scaled[-1, -2:].sum().log())
agree("75 frames, float32, against torch", loss_scaled, torch.tensor(true_loss), tolerance=1e-3)

# %% [markdown]
# **Predict**: which of the two remedies fails first when the network becomes *very sure* and wrong, so that
# the states of one frame differ by more than float32 can hold?

# %%
for scale in (1, 10, 50):
    generator = torch.Generator().manual_seed(0)
    sure = scale * torch.randn(75, 28, generator=generator, dtype=torch.float64)  # (T, V) logits
    truth = -forward_log(sure.log_softmax(-1), long_states, long_jumps)[-1, -2:].logsumexp(0)
    a, c = forward_rescaled(sure.float().softmax(-1), long_states, long_jumps)
    by_scaling = -(c.sum() + a[-1, -2:].sum().log())
    by_log = -forward_log(sure.float().log_softmax(-1), long_states, long_jumps)[-1, -2:].logsumexp(0)
    errors = [abs(x.item() - truth.item()) for x in (by_log, by_scaling)]
    words = ["fine" if e < 1e-2 else "wrong" for e in errors]
    finished = ctc.ctc_loss(sure.log_softmax(-1)[:, None], long_label[None], [75], [27], reduction="sum")
    assert torch.isclose(finished, truth, rtol=1e-12, atol=0)  # the package's, in section 10
    print(f"logits of deviation {scale:2}, loss {truth:5.0f}: float32 logs {words[0]}, rescaled {words[1]}")
    assert words == ["fine", "fine" if scale < 50 else "wrong"]

# %% [markdown]
# Rescaling keeps the *largest* state of a frame alive. The small ones still underflow, and sometimes the walk
# to the end needs one of them. The package rescales, in float64, and takes logarithms for the clips where a
# bound cannot rule out an error.

# %% [markdown]
# ## 6. Backward, and where the two meet
#
# Let $\beta_t(s)$ be the probability of **all ways to finish** from state $s$ after frame $t$, this frame
# *not* included. It is the same recursion from the other end (the jump to $s+2$ again only if allowed):
#
# $$\beta_t(s) = \sum_{s' \in \{s,\ s+1,\ s+2\}} y^{t+1}_{z_{s'}}\, \beta_{t+1}(s'), \qquad
#   \beta_T(S) = \beta_T(S-1) = 1$$
#
# Now a state asks where it can *go*, so everything moves the other way, `(-1, 1)` and `(-2, 2)`. And the mask
# comes *before* the move: `jumps` speaks of the state where a jump lands, and `onward` still stands there.


# %%
def backward_plain(probs, states, jumps):
    """probs (T, V) -> beta (T, S)."""
    emission = probs[:, states]  # (T, S)
    beta = [(torch.arange(len(states)) >= len(states) - 2).to(probs.dtype)]
    for t in reversed(range(len(probs) - 1)):
        onward = emission[t + 1] * beta[-1]  # (S,)
        step = F.pad(onward, (-1, 1))  # (S,) to s+1
        jump = F.pad(onward * jumps, (-2, 2))  # (S,) to s+2, where that may be jumped into
        beta.append(onward + step + jump)
    return torch.stack(beta[::-1])  # (T, S)


beta = backward_plain(probs, states, jumps)  # (T, S)
package = forward_backward(log_probs, LABEL)  # the package's, in log space
agree("alpha of the package", package.alpha.exp(), alpha)
agree("beta of the package", package.beta.exp(), beta)

# %% [markdown]
# Multiply: $\alpha_t(s)\,\beta_t(s)$ is the probability of **all paths through state $s$ at frame $t$**.
# **Predict** what you get when you add that up over all states, at frame 0, at frame 4, at frame 7.

# %%
through = alpha * beta  # (T, S)
print("sum over the states, frame by frame:", [f"{p:.4f}" for p in through.sum(1).tolist()])
agree("alpha · beta is p at every frame", through.sum(1), (-ours.detach()).exp().expand(8), tolerance=1e-12)
long = forward_backward(even.detach().double().log(), long_label)
constant = (long.alpha + long.beta).logsumexp(1)  # (75,)
agree("… and over 75 frames, in log space", constant, torch.full((75,), -true_loss).double(), tolerance=1e-3)
assert constant.max() - constant.min() < 1e-10

# %% [markdown]
# The same number at every frame, since every path is in exactly one state at each frame. It is the best test
# of a CTC that you write yourself: a slip in either direction breaks it.
#
# Divided by $p$ it is the **posterior** $\gamma_t(s) = \alpha_t(s)\beta_t(s)/p$: how probable state $s$ is
# at frame $t$, once you know the sentence.
#
# Only the shares matter, so rescaled α and β do as well. And β needs no recursion of its own. **Play the film
# backwards**: a walk that spells *bin* becomes one that spells *nib*, and the ways to finish become the ways
# to get here. Those `forward_rescaled` can count. Reverse frames and states again. One difference is left: α
# includes its own frame, β does not. So divide that frame's class out.


# %%
def backward_rescaled(probs, label):
    """beta (T, S) with rows that sum to 1: forward on the film and the label read from their ends."""
    states, jumps = (torch.tensor(x) for x in extended_label_solution(label[::-1]))  # (S,), (S,) of "nib"
    backwards, _ = forward_rescaled(probs.flip(0), states, jumps)  # (T, S) last frame first, last state first
    beta = backwards.flip(0, 1) / probs[:, states.flip(0)]  # (T, S) in order, without the frame's own class
    return beta / beta.sum(1, keepdim=True)


rescaled_beta, posteriors = backward_rescaled(probs, LABEL), through / through.sum(1, keepdim=True)  # (T, S)
agree("rescaled beta", rescaled_beta, beta / beta.sum(1, keepdim=True))
product = scaled * rescaled_beta  # (T, S)
agree("rescaled posteriors", product / product.sum(1, keepdim=True), posteriors)
agree("posteriors of the package", package.posteriors, posteriors)

# %% [markdown]
# This is the picture to keep; hairlines are the moves that the label allows. Above: $\alpha$ floods in from
# the start and does not know the end. In the middle: $\beta$, from the end, does not know the start. Below:
# their product. What leaves each state is what came into it, and at every frame all of the probability is on
# its way from the start to the end.

# %%
all_ways = torch.ones_like(alpha)
current = flow(alpha, emission, beta, jumps)  # (T-1, S, 3)
agree("what leaves a state is what was in it", current.sum(2), posteriors[:-1])
agree("at each frame all of it moves", current.sum((1, 2)), torch.ones(7).double())
figures.trellis_flow(
    {
        "α: all ways to get here": (reached, moves),
        "β: all ways to finish from here": (
            beta / beta.sum(1, keepdim=True),
            flow(all_ways, emission, beta, jumps),
        ),
        "α · β / p: the paths that spell “bin”": (posteriors, current),
    },
    spell(states),
    jumps,
    width=7.5,
)

# %% [markdown]
# Now a real one. The trained reader of notebook 00 looks at the same talker, and we ask it where the word
# *three* is: ten frames, with the spaces around it. Left the trellis of a network that knows nothing.
# **Predict**: what does training do to the flow? And what happens between the two *e*?

# %%
reader = checkpoint.load("lipnet_small_synthetic")
with torch.no_grad():
    read = reader(normalize(torch.from_numpy(film)[None])[:, None])[:, 0].log_softmax(-1).double()  # (75, 28)


def word_flow(log_probs, label):
    """(T, V) and a label -> posteriors (T, S) and what passes along each move (T-1, S, 3)."""
    states, jumps = (torch.tensor(x) for x in extended_label_solution(label))  # (S,), (S,)
    found = forward_backward(log_probs, label)
    emission = log_probs.exp()[:, states]  # (T, S)
    return found.posteriors, flow(found.alpha.exp(), emission, found.beta.exp(), jumps)


word = alphabet.encode(" three ").tolist()
window = read[37:47]  # (10, 28)
names = ["-", *itertools.chain.from_iterable((c, "-") for c in " three ")]
untrained, trained = word_flow(torch.full_like(window, -math.log(28)), word), word_flow(window, word)
widest = {
    name: edges.amax((1, 2)).mean().item() for name, (_, edges) in (("even", untrained), ("trained", trained))
}
print(
    f"the widest move of a frame carries {widest['even']:.0%} before training, {widest['trained']:.0%} after"
)
assert collapse(window.argmax(1)) == word  # these are its frames: the best path spells it
double_blank = trained[0][:, 2 * 5].max().item()  # the blank between the fourth and the fifth letter
assert widest["even"] < 0.5 < 0.7 < widest["trained"] and double_blank > 0.9
figures.trellis_flow(
    {"a network that knows nothing": untrained, "the trained reader": trained},
    names,
    ctc.may_skip(ctc.extend(word)),
    columns=2,
    width=8.5,
    row_height=0.21,
)

# %% [markdown]
# Training has dug one channel. It goes through the blank between the two *e*: no path may leave it out.

# %% [markdown]
# ## 7. The gradient
#
# What should the network change? Everything you need is in section 6.
#
# **Step 1: with respect to $\ln y^t_k$.** For now every $y^t_k$ is a number of its own; step 2 ties them
# together. Fix one frame $t$, and sort the paths that spell the label into piles by their class in it. Each
# path in pile $k$ has $y^t_k$ as a factor, once, since it passes frame $t$ once. Its other factors belong to
# other frames. So take $y^t_k$ out of the pile's sum, and what is left does not depend on it:
#
# $$p = \sum_k p_k, \qquad
#   p_k = \sum_{\pi:\ \mathcal B(\pi) = \ell,\ \pi_t = k}\ \prod_u y^u_{\pi_u} = y^t_k \cdot \text{rest}_k$$
#
# No other pile holds $y^t_k$, so the slope of $p$ in $y^t_k$ is $\text{rest}_k$. The slope in $\ln y^t_k$ is
# $y^t_k$ times that ($\partial y = y\, \partial \ln y$), and that is the pile itself:
#
# $$\frac{\partial p}{\partial \ln y^t_k} = y^t_k \cdot \text{rest}_k = p_k
# \quad\Rightarrow\quad \frac{\partial(-\ln p)}{\partial \ln y^t_k} = -\frac{p_k}{p} =: -o^t_k$$
#
# $o^t_k$ is the **occupancy**: the pile's share of $p$, or how probable class $k$ is at frame $t$, given the
# sentence. It is the posterior, added up over the states of class $k$ (the blank has $L+1$):
# $o^t_k = \sum_{s:\ z_s = k} \gamma_t(s)$. Sort the 462 paths of *bin* at frame 3:

# %%
every = torch.tensor(all_paths(LABEL, 8, 4))  # (paths, T)
each = probs[torch.arange(8), every].prod(1)  # (paths,) the probability of each
piles = torch.stack([each[every[:, 3] == k].sum() for k in range(4)])  # (V,) p_k at frame 3
free = log_probs.clone().requires_grad_()  # (T, V) ln y, each a number of its own
slopes = torch.autograd.grad(loss_by_definition(free, LABEL), free)[0][3]  # (V,)
for k in range(4):
    count, share = (every[:, 3] == k).sum(), piles[k] / piles.sum()
    print(f"pile {SYMBOLS[k]}: {count:3} paths, {share:.3f} of p; slope of the loss {slopes[k]:6.3f}")
agree("the slope is minus the pile's share", slopes, -piles / piles.sum())
summed = torch.zeros(4).double().index_add_(0, states, posteriors[3])  # (V,)
agree("the share is the posterior, added up by class", piles / piles.sum(), summed)
agree("and so has the package", package.occupancy[3], summed)

# %% [markdown]
# **Step 2: through the softmax.** With logits $a^t_j$, $\partial \ln y_k / \partial a_j = [k = j] - y_j$,
# where $[k = j]$ is 1 if $k = j$ and 0 if not:
#
# $$\frac{\partial(-\ln p)}{\partial a^t_j} = -\sum_k o^t_k\big([k=j] - y^t_j\big)
#   = y^t_j \underbrace{\textstyle\sum_k o^t_k}_{1} - o^t_j = y^t_j - o^t_j$$
#
# **Softmax minus occupancy**: what the network gives, minus what the sentence asks for. Compare
# cross-entropy: softmax minus one-hot label. CTC is cross-entropy with labels that it works out itself, soft
# ones, anew at each step. And both parts sum to 1, so **each frame's gradient sums to 0**.
#
# ### Exercise 3 · `logits_gradient` · difficulty ★★☆ · 10 minutes
#
# You get the log-probabilities, the class of each state and the posteriors. Add the posteriors up by class,
# and subtract. Mind that the same class may have many states: `x[:, states] = …` keeps only the last of them,
# `x.index_add_(1, states, …)` adds.


# %%
def logits_gradient(log_probs, states, posteriors):
    """log_probs (T, V), states (S,) classes, posteriors (T, S) -> gradient at the logits (T, V)."""
    raise NotImplementedError


check("04.logits_gradient", logits_gradient)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def logits_gradient_solution(log_probs, states, posteriors):
    """Softmax minus occupancy; index_add_ adds where several states share a class, as blanks do."""
    occupancy = torch.zeros_like(log_probs).index_add_(1, states, posteriors)  # (T, V)
    return log_probs.exp() - occupancy


# %%
check("04.logits_gradient", logits_gradient_solution)

# %% [markdown]
# Derived by hand, so we want three figures: *exact* (yours), *approximate* (finite differences: nudge one
# logit up and down, see what the definition's loss does), and the *largest difference*. And autograd, through
# the definition and through torch.


# %%
def nudged(t, k, by=1e-5):
    """Slope of the loss at logit (t, k), by two evaluations of the loss."""
    up, down = logits.detach().clone(), logits.detach().clone()  # (T, V)
    up[t, k] += by
    down[t, k] -= by
    return (torch_loss(up.log_softmax(-1), LABEL) - torch_loss(down.log_softmax(-1), LABEL)) / (2 * by)


derived = logits_gradient_solution(log_probs, states, posteriors)  # (T, V)
approximate = torch.stack([torch.stack([nudged(t, k) for k in range(4)]) for t in range(8)])  # (T, V)
t, k = divmod(int(derived.abs().argmax()), 4)
print(f"frame {t}, class {SYMBOLS[k]}: exact {derived[t, k]:.4f}, approximate {approximate[t, k]:.4f}")
agree("largest difference to finite differences", derived, approximate, tolerance=1e-8)
agree("to autograd through the definition", derived, exact)
theirs = torch.autograd.grad(torch_loss(logits.log_softmax(-1), LABEL), logits)[0]
agree("to torch", derived, theirs)
agree("each frame sums to 0", derived.sum(1), torch.zeros(8).double(), tolerance=1e-12)
figures.ctc_gradient(log_probs.exp(), package.occupancy, SYMBOLS, width=8.5)

# %% [markdown]
# Blue on the right: "more of this, please"; red: "less". Where the network already gives what is asked for,
# there is nothing to change.

# %% [markdown]
# ## 8. Silence first, then peaks
#
# Let us train the smallest thing there is: **no network at all**, a free table of 30 × 28 logits, on the
# one label *bin*, by plain gradient descent. It starts at zero: every class equally probable in every
# frame. **Predict**: what is the most probable path after 5 steps? After 400, in how many frames does each
# letter stand?

# %%
word = alphabet.encode("bin").tolist()
table = torch.zeros(30, 28, dtype=torch.float64, requires_grad=True)  # (T, V) logits
snapshots = {}
for step in range(401):
    now = table.log_softmax(-1)  # (T, V)
    if step in (0, 5, 10, 15, 30, 400):
        snapshots[f"step {step}"] = now.detach().exp()
    (gradient,) = torch.autograd.grad(torch_loss(now, word), table)  # equal to yours, and quicker
    with torch.no_grad():
        table -= gradient  # learning rate 1

for name, p in snapshots.items():
    written = "".join("-" if c == 0 else alphabet.symbols[c - 1] for c in p.argmax(1).tolist())
    print(f"{name:8} loss {torch_loss(p.log(), word):7.3f}  {written}")
best = {name: p.argmax(1) for name, p in snapshots.items()}
assert (best["step 5"] == 0).all() and collapse(best["step 400"]) == word
assert (best["step 400"] != 0).sum() <= 5 and snapshots["step 400"].max(1).values.min() > 0.4
figures.posterior_curves(snapshots, ["-", *alphabet.symbols], title="A free table of logits learns “bin”")

# %% [markdown]
# First the blank, everywhere; then each letter as a **peak** a frame or two wide, blanks in all the others.
# Nothing in the loss asks for that. Ten frames of each letter and no blank at all would cost nothing either:

# %%
long_letters = torch.zeros(30, 28).double()  # (T, V) logits
for i, c in enumerate(word):
    long_letters[10 * i : 10 * i + 10, c] = 30.0
cost = torch_loss(long_letters.log_softmax(-1), word).item()
print(f"ten frames of each letter: loss {cost:.3f}")
assert cost < 1e-6

# %% [markdown]
# Why the blank? At the start all paths are equally probable, so the occupancy is a matter of **counting
# paths**. The $T - L$ frames that are free spread evenly over the $2L+1$ boxes of section 2. The blank owns
# $L+1$ boxes, each letter owns one:
#
# $$\text{blank: } (L+1)\,\frac{T-L}{2L+1}\ \text{frames}, \qquad
#   \text{each letter: } 1 + \frac{T-L}{2L+1}\ \text{frames}$$

# %%
uniform = torch.full((30, 28), -math.log(28)).double()  # (T, V)
start = forward_backward(uniform, word).occupancy.sum(0)  # (V,) in frames
spare = (30 - 3) / 7
print(f"asked for at the start: blank {start[0]:.2f} frames, b {start[word[0]]:.2f}, i {start[word[1]]:.2f}")
assert torch.allclose(start[[0, *word]], torch.tensor([4 * spare] + 3 * [1 + spare]).double())

# %% [markdown]
# So the first step raises the blank most. Then paths with more blanks have more weight, so more blanks are
# asked for: the rich get richer. Later the same happens to each letter, in the frame in which it is a little
# ahead. That is where the peaks come from. (Zeyer, Schlüter and Ney prove how CTC, started even, runs to the
# blank.)
#
# ### Many clips: the plateau
#
# A table may do something else in every frame. A network sees a clip and must tell frames apart by what is in
# them. Make clips of 30 frames with 8 numbers each, in which three of five signs appear, in noise, at times
# that nobody tells. The network: one convolution along time, one linear layer.


# %%
SIGNS = "-abcde"
codes = torch.randn(6, 8, generator=torch.Generator().manual_seed(9))  # what each sign looks like


def toy_clips(count, generator, frames=30):
    """Clips (B, T, F) and their labels (B, 3): each sign stands for four frames."""
    labels = torch.randint(1, 6, (count, 3), generator=generator)  # (B, 3)
    x = 0.7 * torch.randn(count, frames, 8, generator=generator)  # (B, T, F)
    begins = 2 + 8 * torch.arange(3) + torch.randint(0, 4, (count, 3), generator=generator)  # (B, 3)
    for b, i in itertools.product(range(count), range(3)):
        x[b, begins[b, i] : begins[b, i] + 4] += codes[labels[b, i]]
    return x, labels


def toy_network():
    front, head = nn.Conv1d(8, 24, kernel_size=5, padding=2), nn.Conv1d(24, 6, kernel_size=1)
    with torch.no_grad():  # an even start, so that all seeds tell the same story
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

# %%
loss = {name: torch.tensor(seen["loss"]) for name, (seen, _) in runs.items()}
blanks = {name: torch.tensor(seen["blanks"]) for name, (seen, _) in runs.items()}
silent = (blanks["seed 0"] > 0.99).nonzero()[:, 0]  # steps at which nearly every frame is blank
first, last = int(silent[0]), int(silent[-1])
for name in runs:
    assert blanks[name].max() > 0.99 and loss[name][-1] < 0.5 and blanks[name][-1] < 0.9
print("all three seeds: first only blanks, and at the end the loss is below 0.5")

seen, label = runs["seed 0"]
shown = [0, 30, 150, 290, 350, 499]
texts = [(step, "".join(SIGNS[c] for c in collapse(seen["probs"][step].argmax(1)))) for step in shown]
figures.training_run(
    loss,
    blanks,
    shaded=(first, last),
    texts=texts,
    title=f"Three seeds; below, what seed 0 makes of one clip: “{''.join(SIGNS[c] for c in label)}”",
)

# %%
figures.posterior_curves(
    {f"step {step}": seen["probs"][step] for step in shown},
    SIGNS,
    title=f"The same clip, “{''.join(SIGNS[c] for c in label)}”: blanks, then peaks",
)

# %% [markdown]
# For two hundred steps the text is empty and the loss hardly falls, and nothing is broken: the network has
# found that blanks suit every clip, and not yet what tells clips apart. This is the **blank plateau**.
# Notebook 08 meets it in a real training and computes its height in advance.

# %%
for name in runs:
    flat = loss[name][50:200]
    assert blanks[name][50:200].min() > 0.95 and 1 - flat[-1] / flat[0] < 0.15
    print(f"{name}, steps 50 to 200: the loss falls by {1 - flat[-1] / flat[0]:.0%}")
assert last - first > 200

# %% [markdown]
# <details><summary><b>Help: "all blanks"</b></summary>
#
# Early in training that is what CTC does. Go on. If it stays: is the loss still falling, however slowly? Does
# the *same* network learn four clips by heart? If not, the frames carry no information to the loss: check the
# scale of the input (notebook 01), the learning rate, and that class 0 is the blank in the labels, in the
# loss and in the decoder alike.
# </details>
#
# <details><summary><b>Help: "the loss is stuck"</b></summary>
#
# Stuck near the height of the plateau, with empty texts, is the box above. Stuck lower: compute the loss of a
# *perfect* answer (a path that spells the text, with logits of 30). If that is not 0, the labels, their
# lengths or the axes are wrong, and no training can get below it. If it is 0, the loss is fine: look at the
# data and the network.
# </details>

# %% [markdown]
# ## 9. How many frames does a sentence need?
#
# A popular write-up of LipNet says (in Chinese) that $T$ is generally twice the maximum length of the
# sequence plus one, $T = 2L+1$, and a question in a public tracker has it as a condition on CTC. Section 2
# says otherwise: the number of paths, $\binom{T+L-R}{2L}$, is above 0 exactly when $T + L - R \ge 2L$, that
# is
#
# $$T \ge L + R$$
#
# a frame for each letter, and a blank between each equal pair. The shortest path shows that it is enough.
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
    """The letters themselves; a blank only where collapse would join two of them."""
    path = []
    for letter in label:
        if path and path[-1] == letter:
            path.append(0)
        path.append(letter)
    return path


# %%
check("04.shortest_path", shortest_path_solution)

# %% [markdown]
# Ask torch. Its loss is infinite when no path exists and finite when there is one. So for each label raise
# $T$ until the loss is finite. All 363 labels of up to five letters out of three:


# %%
def first_finite(label, most=12):
    """The smallest T for which torch's loss is finite."""
    log_probs = torch.zeros(most, most, 4).log_softmax(-1)  # (T, B, V): sample b has b + 1 frames
    frames, lengths = torch.arange(1, most + 1), torch.full((most,), len(label))  # (B,), (B,)
    losses = F.ctc_loss(log_probs, torch.tensor([label] * most), frames, lengths, reduction="none")  # (B,)
    return int(losses.isfinite().nonzero()[0]) + 1


labels = [list(p) for n in range(1, 6) for p in itertools.product((1, 2, 3), repeat=n)]
needed = {tuple(label): first_finite(label) for label in labels}
for label in labels:
    L, R = len(label), sum(a == b for a, b in itertools.pairwise(label))
    assert needed[tuple(label)] == L + R == min_frames(label) == len(shortest_path_solution(label))
fewer = sum(needed[tuple(label)] < 2 * len(label) + 1 for label in labels)
print(f"{len(labels)} labels: finite from T = L + R, always; earlier than 2L + 1 for {fewer} of them")
assert fewer == len(labels) == 363

print("label   L  R   torch: finite from   L+R   L+2R-1   2L+1")
for text in ("ab", "aab", "aaa", "aabb", "abcab"):
    label = ["-abc".index(c) for c in text]
    L, R = len(label), sum(a == b for a, b in itertools.pairwise(label))
    footnote = L + max(2 * R - 1, 0)
    print(f"{text:6} {L:2} {R:2}   {needed[tuple(label)]:18}   {L + R:3}   {footnote:6}   {2 * L + 1:4}")
assert needed[(1, 1, 1)] == 5

# %% [markdown]
# The column $L + 2R - 1$ is what a footnote in Distill's article on CTC gives: with $r > 0$ repeats, $2r-1$
# frames more than letters. For *aaa* that would be 6; *a-a-a* has 5. (For a single pair both rules say the
# same, which is how such a slip survives.)
#
# Where does $2L+1$ come from? It is the number of **states**, the rows of the trellis. A path need not visit
# them all. Here is *bin* in three frames, in five, and in $2L+1 = 7$. All three work.

# %%
panels = {}
for T in (3, 5, 7):
    even_small = torch.full((T, 4), -math.log(4)).double()  # (T, V)
    panels[f"T = {T}: {count_paths(T, LABEL)} path{'s' * (T > 3)}"] = word_flow(even_small, LABEL)
assert [count_paths(T, LABEL) for T in (2, 3, 5, 7)] == [0, 1, 28, 210] and math.comb(2 * 3, 2 * 3) == 1
figures.trellis_flow(panels, spell(states), jumps, columns=3, width=7.5, row_height=0.22)

# %% [markdown]
# At $T = L + R$ there is **one** path, so every frame is forced. A longer clip buys freedom, not
# feasibility. And GRID? Its grammar has 64,000 sentences. They need not be listed: a space stands between any
# two words, so letters and repeats of the six slots simply add up.

# %%
sentences = Counter({(len(grammar.SLOTS) - 1, 0): 1})  # (L, R) -> how many; five spaces to begin with
for slot in grammar.SLOTS:
    longer = Counter()
    for (L, R), count in sentences.items():
        for spoken in slot:
            pairs = sum(a == b for a, b in itertools.pairwise(spoken))
            longer[L + len(spoken), R + pairs] += count
    sentences = longer

lengths = [L for L, _ in sentences]
most = max(L + R for L, R in sentences)
print(f"{sentences.total():,} sentences: L from {min(lengths)} to {max(lengths)}, L + R at most {most}")
print(f"2L + 1 from {2 * min(lengths) + 1} to {2 * max(lengths) + 1}; a clip has 75 frames")
assert sentences.total() == 64_000 and (min(lengths), max(lengths), most) == (20, 31, 33)
assert (2 * min(lengths) + 1, 2 * max(lengths) + 1) == (41, 63)
mean = sum(L * count for (L, _), count in sentences.items()) / 64_000
assert 24 < mean < 25, mean
assert min_frames(alphabet.encode("place green with x three please")) == 33

needs, rule = Counter(), Counter()
for (L, R), count in sentences.items():
    needs[L + R] += count
    rule[2 * L + 1] += count
figures.count_bars(
    {"needed: L + R": needs, "the rule: 2L + 1": rule},
    xlabel="frames",
    ylabel="sentences",
    mark=(75, "a clip"),
    title="Frames for GRID's 64,000 sentences",
)

# %% [markdown]
# LipNet's $T$ is 75 because a clip lasts three seconds at 25 frames. It is $2L+1$ of no sentence in GRID:
# that would be 41 to 63. And if you cut the clips down to 40 frames, $2L+1$ would tell you to throw away
# all 64,000 sentences, while CTC can still spell every one. Clips that really are too short, single words
# cut out of their sentence, come in notebook 07.

# %%
assert all(L + R <= 40 < 2 * L + 1 for L, R in sentences)

# %% [markdown]
# ## 10. The finished version
#
# A real batch is ragged: clips of different lengths, labels of different lengths. This is the package's
# recursion in logarithms, with the three moves that you know, for N sequences side by side (`NEVER` is ln 0).
# Its rescaled twin is in `lessons/ctc/loss_fast.py`, together with the bound that chooses between the two.

# %%
show(ctc.loss.log_arrivals)

# %% [markdown]
# In place of `F.pad`, two columns of ln 0 stand on the left: stay, step and jump are three views of one
# memory. What *arrives* in a state is α without its own frame's class, so run from the end it is β, with
# nothing to divide out. Both run *together*, the film and the reversed film as one batch of N = $2B$, and 75
# steps do the work of 150. The gradient needs no second pass: the occupancy is there as soon as the loss is.
#
# Values and gradients against torch, on a ragged batch with repeats, in all three reductions:

# %%
generator = torch.Generator().manual_seed(0)
batch_logits = torch.randn(40, 5, 28, generator=generator, dtype=torch.float64).requires_grad_()  # (T, B, V)
texts = ["bin blue", "green", "aaa", "z", "three seven now"]
targets = torch.cat([alphabet.encode(text) for text in texts])  # (sum of L,)
target_lengths, frames = torch.tensor([len(text) for text in texts]), torch.tensor([40, 6, 5, 1, 33])  # (B,)
assert frames[1] == min_frames(alphabet.encode("green")) and frames[2] == 5  # two of them just fit
arguments = (targets, frames, target_lengths)
for reduction in ("none", "sum", "mean"):
    pair = [
        loss(batch_logits.log_softmax(-1), *arguments, reduction=reduction)
        for loss in (ctc.ctc_loss, F.ctc_loss)
    ]
    agree(f"{reduction}: value", *(value.detach() for value in pair))
    agree(f"{reduction}: gradient", *(torch.autograd.grad(value.sum(), batch_logits)[0] for value in pair))

# %% [markdown]
# <details><summary><b>Help: "input_lengths must be of size batch_size", or another wrong shape</b></summary>
#
# `F.ctc_loss` wants `log_probs` as `(T, B, V)`: time first. Logits from a layer with `batch_first=True` are
# `(B, T, V)`: `logits.transpose(0, 1)`. `input_lengths` and `target_lengths` have $B$ numbers each; targets
# are `(B, Lmax)` padded, or all labels one after the other.
# </details>

# %% [markdown]
# ## 11. Bug hunt: what torch lets through
#
# Each case below is an easy mistake, and none of them crashes `F.ctc_loss`. So for each we write down a
# **law** that any sane loss obeys, as a check, and hold torch's and the package's loss to it. Read the law,
# **predict** who breaks it, run.


# %%
def judge(law):
    """Hold both losses to a law; it raises AssertionError when it is broken."""
    verdicts = []
    for name, loss in (("torch", F.ctc_loss), ("lessons", ctc.ctc_loss)):
        try:
            law(loss)
            verdicts.append("holds")
        except AssertionError as broken:
            verdicts.append("BROKEN")
            print(f"{name}: BROKEN. {broken}")
        except ValueError as refused:
            verdicts.append("refused")
            print(f"{name}: refused. {refused}")
        else:
            print(f"{name}: holds")
    return verdicts


generator = torch.Generator().manual_seed(4)
x = torch.randn(12, 2, 4, generator=generator, dtype=torch.float64)  # (T, B, V) logits of two clips
two = torch.tensor([[1, 2], [2, 3]])  # (B, L)
lengths = (torch.tensor([12, 12]), torch.tensor([2, 2]))  # frames, labels

# %% [markdown]
# ### 1. A loss is not negative
#
# It is $-\ln$ of a probability. Somebody forgets `log_softmax`.


# %%
def not_negative(loss):
    value = loss(3 * x, two, *lengths, reduction="sum").item()  # raw logits
    assert value >= 0, f"the loss is {value:.1f}"


verdict = judge(not_negative)
assert verdict == ["BROKEN", "refused"]

# %% [markdown]
# <details><summary><b>Help: "the loss is negative"</b></summary>
#
# You gave logits, or logits scaled after their `log_softmax`. Each frame's probabilities must sum to 1, so
# write `logits.log_softmax(-1)` right before the loss, and nothing in between. Torch computes happily with
# whatever it gets.
# </details>
#
# ### 2. A label is made of letters
#
# A target holds the blank, class 0, say because it was padded with zeros and its length counts them. No path
# collapses to such a label, so its probability is 0 and its loss infinite.


# %%
def blank_is_no_letter(loss):
    assert all_paths([1, 0], frames=6, classes=4) == []
    value = loss(x.log_softmax(-1), torch.tensor([[1, 0], [2, 3]]), *lengths, reduction="none")[0].item()
    assert math.isinf(value), f"a label with probability 0 costs {value:.1f}"


verdict = judge(blank_is_no_letter)
assert verdict == ["BROKEN", "refused"]

# %% [markdown]
# ### 3. Clip 0 is none of clip 1's business
#
# A target holds class 5, and the network has four classes, 0 to 3 (the alphabet grew, the last layer did
# not). We change the logits of the *other* clip.


# %%
def clips_are_independent(loss):
    target, changed = torch.tensor([[1, 5], [2, 3]]), x.clone()  # class 5 of 0 … 3
    changed[:, 1] *= 3  # clip 1 only
    with torch.no_grad():
        a, b = (loss(y.log_softmax(-1), target, *lengths, reduction="none")[0].item() for y in (x, changed))
    assert math.isclose(a, b), f"clip 1 changed, and the loss of clip 0 went from {a:.2f} to {b:.2f}"


verdict = judge(clips_are_independent)
assert verdict == ["BROKEN", "refused"]

# %% [markdown]
# On the CPU torch does not look. Class 5 of clip 0 is the number that lies $5 - 4 = 1$ place beyond: class
# 1 of clip 1. (Here the neighbor's memory is ours. For the last clip of a batch it is whatever lies there:
# do not try it.) The loss falls, the network learns, and what it learns depends on who sits beside whom.
#
# ### 4. One impossible clip does not spoil the others
#
# Clip 0 has three frames and the label *aab*, which needs four. Both clips share one linear layer.


# %%
def others_still_learn(loss, zero_infinity=False):
    weight = torch.eye(4, dtype=torch.float64, requires_grad=True)  # (V, V)
    target, frames, counts = torch.tensor([[1, 1, 2], [2, 3, 0]]), torch.tensor([3, 12]), torch.tensor([3, 2])
    log_probs = (x @ weight).log_softmax(-1)  # (T, B, V)
    value = loss(log_probs, target, frames, counts, reduction="sum", zero_infinity=zero_infinity)
    broken = torch.autograd.grad(value, weight)[0].isnan().sum().item()
    assert broken == 0, f"loss {value.item()}, {broken} of the 16 gradients are NaN"


verdict = judge(others_still_learn)
assert verdict == ["BROKEN", "holds"]
others_still_learn(F.ctc_loss, zero_infinity=True)

# %% [markdown]
# One step with that, and every weight of the network is NaN. The usual advice is `zero_infinity=True`. It
# does repair the gradient. **Predict** what it does to the *number* that you watch.


# %%
def impossible_is_not_perfect(loss):
    target, frames, counts = torch.tensor([[1, 1, 2], [2, 3, 0]]), torch.tensor([3, 12]), torch.tensor([3, 2])
    value = loss(x.log_softmax(-1), target, frames, counts, reduction="none", zero_infinity=True)[0].item()
    assert value > 0, f"the impossible clip costs {value:.1f}, like a perfect answer"


verdict = judge(impossible_is_not_perfect)
assert verdict == ["BROKEN", "BROKEN"]
assert min_frames([1, 1, 2]) == 4 > 3

# %% [markdown]
# Both, since that is what the option is for: the more clips are impossible, the *better* the mean loss looks.
# Use it if you must, but count them first. `min_frames` against the number of frames, over the whole data
# set, before training.
#
# <details><summary><b>Help: "the loss is inf" or "the loss is NaN"</b></summary>
#
# `inf`: some label does not fit its frames. Find it: `reduction="none"`, then compare `min_frames(target)`
# with its number of frames. (The frames *after* the network's strides: a stride of 2 in time halves them.)
# `NaN` in the step after an `inf`: the gradient of that clip. `NaN` at once: NaN in the logits.
# </details>
#
# ### 5. The gradient is the slope
#
# Take `log_probs` itself as the variable. Nudge one number, see what the loss does, compare with
# `log_probs.grad`.


# %%
def gradient_is_the_slope(loss, by=1e-4):
    def cost(log_probs):
        return loss(log_probs, two, *lengths, reduction="sum")

    leaf = x.log_softmax(-1).requires_grad_()  # (T, B, V)
    gradient, slope = torch.autograd.grad(cost(leaf), leaf)[0], torch.zeros_like(leaf)
    with torch.no_grad():
        for place in itertools.product(range(12), range(2), range(4)):
            nudge = torch.zeros_like(leaf)
            nudge[place] = by
            slope[place] = (cost(leaf + nudge) - cost(leaf - nudge)) / (2 * by)
    largest = (gradient - slope).abs().max().item()
    assert largest < 1e-6, f"the largest difference is {largest:.2f}"


verdict = judge(gradient_is_the_slope)
assert verdict == ["BROKEN", "holds"]

leaf = x.log_softmax(-1).requires_grad_()  # (T, B, V)
theirs, right = (
    torch.autograd.grad(loss(leaf, two, *lengths, reduction="sum"), leaf)[0]
    for loss in (F.ctc_loss, ctc.ctc_loss)
)
agree("torch's gradient at the leaf is off by the softmax, exactly", theirs - right, leaf.detach().exp())

# %% [markdown]
# Torch returns *softmax − occupancy* for `log_probs`, though that is the gradient of the *logits*. Behind
# `log_softmax` it does not matter: the excess is $\sum_k y_k\, \partial \ln y_k = \partial \sum_k y_k$, and
# the sum is 1 whatever you do. So a training is right. What is wrong is a saliency map taken at `log_probs`,
# and any training that scales `log_probs` before the loss:

# %%
scaled_logits = x.clone().requires_grad_()  # (T, B, V)


def scaled_cost(logits):
    return F.ctc_loss(0.5 * logits.log_softmax(-1), two, *lengths, reduction="sum")


(gradient,) = torch.autograd.grad(scaled_cost(scaled_logits), scaled_logits)
nudge = torch.zeros_like(x)
nudge[3, 0, 1] = 1e-5
slope = ((scaled_cost(x + nudge) - scaled_cost(x - nudge)) / 2e-5).item()
print(f"scaled by 0.5: torch's gradient {gradient[3, 0, 1]:.3f}, slope {slope:.3f}")
assert abs(gradient[3, 0, 1] - slope) > 0.01

# %% [markdown]
# ### 6. Axes have meaning
#
# `(B, T, V)` in place of `(T, B, V)`, with as many clips as frames. The law: clip 0's loss has a gradient at
# clip 0's logits, and nowhere else.


# %%
def only_its_own_logits(loss, swap=True):
    generator = torch.Generator().manual_seed(0)
    many = torch.randn(12, 12, 4, generator=generator).double().requires_grad_()  # (B, T, V)
    log_probs = (many if swap else many.transpose(0, 1)).log_softmax(-1)  # wrong: (B, T, V), right: (T, B, V)
    frames, counts = torch.full((12,), 12), torch.full((12,), 2)
    own = loss(log_probs, two[:1].expand(12, 2), frames, counts, reduction="none")[0]  # of clip 0
    gradient = torch.autograd.grad(own, many)[0]  # (B, T, V)
    touched = int((gradient.abs().sum((1, 2)) > 0).sum())
    assert touched == 1, f"the loss of one clip depends on {touched} clips"


verdict = judge(only_its_own_logits)
assert verdict == ["BROKEN", "BROKEN"]
only_its_own_logits(F.ctc_loss, swap=False)  # in order, the law holds

eleven = torch.zeros(11, 12, 4).log_softmax(-1)  # (B, T, V): 11 clips, 12 frames
for loss, complaint in ((F.ctc_loss, RuntimeError), (ctc.ctc_loss, ValueError)):
    try:
        loss(eleven, two[:1].expand(11, 2), torch.full((11,), 12), torch.full((11,), 2))
    except complaint as error:
        print(f"11 clips: {error}")
    else:
        raise AssertionError("the swapped batch was accepted")

# %% [markdown]
# **Both** are fooled, and every loss must be: a block of 12 × 12 × 4 numbers does not say which 12 is time.
# (With 11 clips both complain.) So keep this law as a test of *your* code, from the network's input to the
# loss. It costs one backward pass.
#
# ### And one convention: what `mean` means
#
# **Predict**: three losses, 4, 6 and 20, for labels of 1, 2 and 10 letters. What is their `mean`?

# %%
counts = torch.tensor([1, 2, 10])  # (B,)
generator = torch.Generator().manual_seed(1)
log_probs = torch.randn(14, 3, 6, generator=generator, dtype=torch.float64).log_softmax(-1)  # (T, B, V)
target = 1 + torch.arange(13) % 5  # (1 + 2 + 10,)
for name, loss in (("torch", F.ctc_loss), ("lessons", ctc.ctc_loss)):
    each = loss(log_probs, target, torch.tensor([14] * 3), counts, reduction="none")  # (B,)
    mean = loss(log_probs, target, torch.tensor([14] * 3), counts, reduction="mean")  # ()
    assert torch.isclose(mean, (each / counts).mean()) and not torch.isclose(mean, each.mean())
    print(f"{name}: {[round(v, 1) for v in each.tolist()]}, mean {mean:.1f}, plain mean {each.mean():.1f}")
print("4, 6, 20 would give", (4 / 1 + 6 / 2 + 20 / 10) / 3)

# %% [markdown]
# Each loss is first divided by the length of its label, so the unit is *nats a letter*, and a letter of a
# short label counts for more than one of a long label. That is a choice, not a bug, but other code sums, so
# losses of two programs can be compared only after you have asked which.
#
# ## Recap
#
# - CTC sums over all paths that spell a sentence, so nobody has to say which frame is which letter.
#   $\binom{T+L-R}{2L}$ paths; a GRID sentence has $10^{28.7}$.
# - The trellis of $2L+1$ states computes the sum in one sweep. Logarithms, or rescaling every frame, keep it
#   from underflowing.
# - $\sum_s \alpha_t(s)\beta_t(s) = p$ at every frame. Divided by $p$: posteriors; added up by class:
#   occupancy.
# - The gradient at the logits is softmax − occupancy: given minus asked for.
# - From an even start, counting paths favors the blank, so training begins in silence; the rich get richer,
#   so it ends in peaks.
# - A sentence fits if $T \ge L + R$. $2L + 1$ is the number of states.
# - Torch checks little: log_softmax, lengths, labels, axes and impossible clips are yours to check.
#
# ## Glossary
#
# | word | meaning |
# |---|---|
# | CTC | connectionist temporal classification: the sum over all paths that spell a label |
# | label, target | the text as class numbers, without blanks |
# | extended label | the label with blanks before, between and after: $2L+1$ states |
# | trellis | states down, frames across; a path is a walk through it |
# | forward variable α | probability of all ways to be in a state at a frame |
# | backward variable β | probability of all ways to finish from a state after a frame |
# | posterior | probability of a state at a frame, once the label is known: αβ/p |
# | occupancy | probability of a class at a frame, once the label is known: its states' posteriors, summed |
# | underflow | a product so small that the number format holds 0 |
# | log space | keeping logarithms: products become sums, sums become `logsumexp` |
# | rescaling | dividing each frame's α by its sum, and adding up the logarithms of the sums |
# | peak | one or two frames in which a letter is probable, between blanks |
# | blank plateau | the stretch of a CTC training in which the best path is all blanks |
# | feasible | a label that its clip has frames enough to spell: $T \ge L + R$ |
#
# ## Sources
#
# - A. Graves, S. Fernández, F. Gomez, J. Schmidhuber, *Connectionist Temporal Classification*, ICML 2006:
#   equations 5 to 16, and the rescaling. (They count frame $t$ in both α and β and divide once; we leave it
#   out of β.)
# - Y. Assael, B. Shillingford, S. Whiteson, N. de Freitas, *LipNet*,
#   [arXiv 1611.01599](https://arxiv.org/abs/1611.01599): 28,775 training clips of unseen-speaker training, 75
#   frames, 28 classes.
# - A. Zeyer, R. Schlüter, H. Ney, *Why does CTC result in peaky behavior?*,
#   [arXiv 2105.14849](https://arxiv.org/abs/2105.14849).
# - A. Hannun, *Sequence Modeling with CTC*, Distill 2017: the best pictures of CTC elsewhere; its footnote on
#   repeats is the one of section 9.
# - $T = 2L + 1$: the CSDN post *Lipnet的学习理解*; `meijieru/crnn.pytorch`, issue 235.
# - PyTorch: issues [52241](https://github.com/pytorch/pytorch/issues/52241) (gradient at `log_probs`) and
#   [31557](https://github.com/pytorch/pytorch/issues/31557) (impossible clips).
# - M. Cooke, J. Barker, S. Cunningham, X. Shao, JASA 120(5), 2006: GRID's grammar.
#
# **Next**: notebook 05 goes the other way: from 75 answers to the best sentence.
