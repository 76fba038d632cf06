# %% [markdown]
# # 08 · Train LipNet
#
# **You will write a training step by hand, watch a lip reader say nothing at all, then the same thing to
# everybody, and then read. After that you take a real run apart: what it gets wrong, and where it looks.**
#
# *About 90 minutes to read and solve; all cells together run in two minutes or less on one CPU core.*
#
# **You need**: PyTorch's `backward`, and LipNet's shapes (notebook 06): a clip `(B, C, T, H, W)` goes in,
# logits `(T, B, V)` come out, for 28 classes: the blank, the space, a to z. Of CTC (notebooks 04 and 05),
# this much: a path picks one class a frame; merging equal neighbors and dropping blanks turns it into text,
# so `bb-i-n` spells `bin`; the loss is $-\ln$ of the probability of all paths that spell the sentence.
#
# **You will be able to**
# - write the step *batch, logits, loss, gradient, clipping, Adam* yourself, and prove that it is the
#   package's;
# - recognize the blank plateau, and compute its height before you train;
# - say what warm-up, clipping and averaging are each for, because you saw what happens without;
# - read a learning curve, a confusion matrix, an alignment and a saliency map;
# - find bugs that live in public lip-reading code by asking what a perfect answer costs.

# %%
import csv
import json
import math
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

import lessons
from lessons import figures
from lessons.checks import agree, check
from lessons.cli.train import PRESETS, load_clips
from lessons.ctc import ctc_loss, forced_align, forward_backward, grammar, min_frames
from lessons.ctc.alphabet import Alphabet
from lessons.ctc.decode import greedy_decode
from lessons.ctc.metrics import cer, edits, wer
from lessons.data.batch import normalize, training_batch
from lessons.data.clips import ClipSet
from lessons.data.grid import find_mouth_set
from lessons.data.synthetic.error_floor import error_floor, homophemes
from lessons.data.synthetic.talker import Speaker, render, shape_of, synthetic_clips, talk
from lessons.lipreading import LipNet, SmallLipNet
from lessons.lipreading.saliency import saliency
from lessons.source import show
from lessons.training import checkpoint
from lessons.training.evaluation import evaluate
from lessons.training.lipnet import train
from lessons.training.losses import timing_loss
from lessons.training.schedule import cosine, learning_rate
from lessons.training.settings import Settings

alphabet = Alphabet()
CPU = torch.device("cpu")
device = lessons.device()
GPU = device.type == "cuda"

# %% [markdown]
# ## 1. One step
#
# ### The data: one speaker, nine sentences
#
# A real run takes an hour (section 4). To see every step of one, make the task small: a single speaker of the
# synthetic talker (notebook 07), sentences of two words, frames of 16 × 32 pixels, one second.

# %%
COMMANDS, COLORS = ("bin", "lay", "set"), ("blue", "red", "white")
SENTENCES = [f"{command} {color}" for command in COMMANDS for color in COLORS]


def small_clips(n: int, seed: int, n_frames: int = 30) -> ClipSet:
    """n clips of one speaker, each with its own timing, movement and noise, cut out at a random moment."""
    speaker, frames, segments = Speaker.random(np.random.default_rng(3)), [], []
    said = [SENTENCES[i % len(SENTENCES)] for i in range(n)]
    for i, sentence in enumerate(said):
        rng = np.random.default_rng([seed, i])
        film, words = talk(sentence, speaker, rng, (16, 32), n_frames + 16)  # (T + 16, H, W) uint8
        cut = int(rng.integers(0, 13))
        frames.append(film[cut : cut + n_frames])  # (T, H, W)
        segments.append(tuple((max(0, a - cut), min(n_frames, b - cut), word) for a, b, word in words))
    lengths = np.full(n, n_frames)
    return ClipSet(np.stack(frames), lengths, tuple(map(str, range(n))), tuple(said), tuple(segments))


training, validation = small_clips(96, seed=0), small_clips(27, seed=1)
print(f"{len(training)} + {len(validation)} clips, frames {training.frames.shape}")  # (N, T, H, W)
shown = training.transcripts.index("lay white")
begin = round(training.segments[shown][1][0])  # the frame in which the first word begins
chosen = range(begin, begin + 16, 2)
figures.filmstrip(training.frames[shown], chosen, title=f"“{training.transcripts[shown]}”")

# %% [markdown]
# ### From the batch to the loss
#
# `training_batch` collects clips, gives each one mean 0 and deviation 1, and writes the sentences as classes.
# The model is LipNet's compact form, as small as it gets.


# %%
def small_model(seed: int = 0) -> LipNet:
    torch.manual_seed(seed)
    return SmallLipNet(1, (16, 32), (8, 12, 16), hidden_size=48, dropout=0.0, projection=48)


model = small_model()
batch = training_batch(training, range(8), None)  # None: the clips as they are, not augmented
logits = model(batch.x, batch.lengths)  # (T, B, V)
log_probs = logits.log_softmax(-1)  # (T, B, V)
loss = ctc_loss(log_probs, batch.targets, batch.lengths, batch.target_lengths)  # ()

print("x", tuple(batch.x.shape), "· logits", tuple(logits.shape))
print("the first sentence:", batch.targets[:8].tolist(), "=", alphabet.decode(batch.targets[:8].tolist()))
print(f"loss {loss.item():.1f} nats a character")
torch_loss = F.ctc_loss(log_probs, batch.targets, batch.lengths, batch.target_lengths)
agree("our CTC loss against torch's", loss.detach(), torch_loss.detach(), tolerance=1e-4)

# %% [markdown]
# ### The gradient, and how long it is
#
# `autograd` gives one gradient tensor a weight tensor. Read them as **one long vector** $g$. When it is very
# long, the loss is steep right here, and what is true here may not be true a step away. So a gradient that is
# longer than a limit $c$ is shortened, and keeps its direction:
#
# $$g \leftarrow g \cdot \min\!\left(1, \frac{c}{\lVert g \rVert}\right), \qquad
#   \lVert g \rVert = \sqrt{\textstyle\sum_i g_i^2} \text{ over all weights}$$
#
# ### Exercise 1 · `clip_gradients` · difficulty ★☆☆ · 8 minutes


# %%
def clip_gradients(gradients, limit):
    """gradients: a list of tensors -> a list of tensors that together are at most `limit` long."""
    raise NotImplementedError


check("08.clip_gradients", clip_gradients)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def clip_gradients_solution(gradients, limit):
    """The length of all tensors together, then one factor for all of them."""
    length = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
    factor = (limit / length.clamp(min=1e-12)).clamp(max=1.0)
    return [gradient * factor for gradient in gradients]


# %%
check("08.clip_gradients", clip_gradients_solution)

# %% [markdown]
# ### Adam, line by line
#
# Weights differ in how steep the loss is along them. Adam keeps two running means for each weight, of its
# gradient and of its square, and divides one by the root of the other: every weight moves by about the
# learning rate $\eta$, whatever the size of its gradient. Both means start at 0; dividing by $1 - \beta^t$
# makes up for it.
#
# $$m \leftarrow \beta_1 m + (1-\beta_1)\, g, \quad v \leftarrow \beta_2 v + (1-\beta_2)\, g^2, \quad
#   \theta \leftarrow \theta - \eta\, \frac{m / (1-\beta_1^t)}{\sqrt{v / (1-\beta_2^t)} + \epsilon}$$


# %%
@torch.no_grad()
def adam(parameters, gradients, memory, t, rate, beta1=0.9, beta2=0.98, epsilon=1e-8):
    """Move each parameter, in place, at step t = 1, 2, …; memory holds m and v of each."""
    for p, g, (m, v) in zip(parameters, gradients, memory, strict=True):
        m.mul_(beta1).add_(g, alpha=1 - beta1)
        v.mul_(beta2).add_(g * g, alpha=1 - beta2)
        p -= rate * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)).sqrt() + epsilon)


# %% [markdown]
# ### All of it
#
# This is a whole training. `learning_rate` is a schedule that section 3 explains, the line with `timing_loss`
# waits for section 2, and `watch` is called after each step, so that we can look.


# %%
def order_of_clips(n, settings):
    """Which clips make up each step: every epoch, all of them in a new order."""
    for epoch in range(settings.epochs):
        order = np.random.default_rng((settings.seed, epoch)).permutation(n)
        yield from (order[i : i + settings.batch_size] for i in range(0, n, settings.batch_size))


def train_plain(model, clips, settings, watch=lambda **seen: None):
    parameters, steps = list(model.parameters()), list(order_of_clips(len(clips), settings))
    device = parameters[0].device
    memory = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    for step, indices in enumerate(tqdm(steps)):
        batch = training_batch(clips, indices, None, device=device)  # x: (B, 1, T, H, W)
        logits = model(batch.x, batch.lengths)  # (T, B, V)
        log_probs = logits.log_softmax(-1)  # (T, B, V)
        loss = ctc = ctc_loss(log_probs, batch.targets, batch.lengths, batch.target_lengths)
        if settings.start == "timings":
            loss = loss + max(0, 1 - 2 * step / len(steps)) * timing_loss(logits, batch, model)
        gradients = torch.autograd.grad(loss, parameters)
        norm = torch.stack([g.norm() for g in gradients]).norm()  # () length of the whole gradient
        gradients = [g * (settings.clip_norm / norm).clamp(max=1.0) for g in gradients]
        adam(parameters, gradients, memory, step + 1, learning_rate(step, len(steps), settings))
        watch(step=step, loss=ctc.item(), norm=norm.item(), log_probs=log_probs.detach(), batch=batch)


# %% [markdown]
# Now the proof that nothing is missing. `lessons.training.lipnet.train` is what trains the real models:
# torch's CTC, torch's AdamW, torch's clipping, and besides them a log, checkpoints, resuming and mixed
# precision. Two epochs with each, from the same first weights. (Weight decay is off: our Adam has none.)

# %%
simple = Settings(start="plain", augmented=False, weight_decay=0.0, learning_rate=3e-3)  # batches of 8 clips
short = replace(simple, epochs=2, warmup_steps=4)
few = training.subset(range(24))
ours, theirs = small_model(), small_model()
train_plain(ours, few, short)
averaged, log = train(theirs, few, few, short, device=CPU, precision=torch.float32, progress=False)
for name in ("stcnn1.conv.weight", "gru1.weight_hh_l0", "head.bias"):
    agree(name, ours.get_parameter(name), theirs.get_parameter(name), tolerance=1e-4)

moved = (ours.head.bias - small_model().head.bias).abs().max().item()
print(f"meanwhile the head's bias moved by up to {moved:.3f}")
assert moved > 30 * 1e-4  # they agree because both went the same way, not because neither moved

# %% [markdown]
# ## 2. The blank plateau
#
# **Predict.** We train for 240 steps on the CTC loss alone. What will the network write after 5 steps, after
# 30, after 60? Does it learn letters first, or words?
#
# ### Exercise 2 · `blank_share` · difficulty ★☆☆ · 5 minutes
#
# To follow it, measure how much of the most probable path is blank: of all valid frames in the batch, the
# share whose most probable class is 0.


# %%
def blank_share(log_probs, lengths):
    """log_probs (T, B, V), lengths (B,) valid frames of each clip -> a number from 0 to 1."""
    raise NotImplementedError


check("08.blank_share", blank_share)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def blank_share_solution(log_probs, lengths):
    """The best class of each frame; padding is masked out before counting."""
    best = log_probs.argmax(-1)  # (T, B)
    frame = torch.arange(len(best), device=best.device)[:, None]  # (T, 1)
    valid = frame < lengths.to(best.device)  # (T, B)
    return (best == 0)[valid].float().mean().item()


# %%
check("08.blank_share", blank_share_solution)


# %%
def watched_run(settings, model):
    """Train; keep what the figures need: a value for each step, the validation clips read every 10."""
    seen = {"loss": [], "norm": [], "blanks": [], "looks": {}}

    def watch(step, loss, norm, log_probs, batch):
        seen["loss"].append(loss)
        seen["norm"].append(norm)
        seen["blanks"].append(blank_share_solution(log_probs, batch.lengths))
        if step % 10 == 0:
            seen["looks"][step] = evaluate(model, validation)

    train_plain(model.to(device), training, settings, watch)
    return seen


small = replace(simple, epochs=20, warmup_steps=15)  # 12 steps an epoch
plain_model = small_model()
plain = watched_run(small, plain_model)

# %%
loss, blanks = np.array(plain["loss"]), np.array(plain["blanks"])
on_plateau = np.flatnonzero(blanks > 0.97)  # steps at which the batch is read as next to nothing
first, last = int(on_plateau[0]), int(on_plateau[-1])
middle, end = plain["looks"][10], plain["looks"][max(plain["looks"])]

silent = sum(not text for text in middle.texts)
print(f"after 10 steps {silent} of {len(middle.texts)} validation clips are read as nothing at all")
assert first < 10 < last and silent == len(validation)
assert loss[last] > 2 and loss[-10:].mean() < 0.6 and end.cer < 0.3  # … and then it learns to read

# %% [markdown]
# ### How high is the plateau? Compute it
#
# Take the network away. Let a "reader" give **the same distribution in every frame of every clip**, 28
# numbers in all, and fit them to the CTC loss of our nine sentences. A second blind reader may have a
# distribution of its own for each of the 30 frames, still the same for all clips. It can write a sentence,
# though always the same one.


# %%
def blind_reader(moments: int, n_frames: int = 30, steps: int = 300):
    """The best distributions for `moments` (1, or every frame) that never see a clip, and their loss."""
    logits = torch.zeros(moments, 1, 28, requires_grad=True)  # (1 or T, 1, V)
    targets = [alphabet.encode(sentence) for sentence in SENTENCES]
    lengths = torch.tensor([len(target) for target in targets])  # (B,)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(steps):
        log_probs = logits.log_softmax(-1).expand(n_frames, len(targets), 28)  # (T, B, V)
        loss = F.ctc_loss(log_probs, torch.cat(targets), torch.full_like(lengths, n_frames), lengths)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return log_probs[:, 0].detach().exp(), loss.item()  # (T, V) and a number


nothing, height_nothing = blind_reader(moments=1)
sentence, height_sentence = blind_reader(moments=30)
read = alphabet.decode(greedy_decode(sentence.log()[:, None])[0])
blank, best_letter = nothing[0, 0].item(), nothing[0, 1:].max().item()
print(
    f"one answer for all frames: loss {height_nothing:.2f}; blank {blank:.2f}, best letter {best_letter:.2f}"
)
print(f"one sentence for all clips: loss {height_sentence:.1f}; is it one of the nine? {read in SENTENCES}")
assert blank > 0.5 > 0.2 > best_letter
assert height_sentence < height_nothing and read not in SENTENCES

# %%
LEVELS = {"blind: one answer for all frames": height_nothing, "blind: one sentence for all": height_sentence}
steps_shown = [0, 20, 40, 60, 90, 130, max(plain["looks"])]
figures.training_run(
    {"plain CTC": loss},
    {"plain CTC": blanks},
    shaded=(first, last),
    levels=LEVELS,
    width=7,
    texts=[(step, plain["looks"][step].texts[3]) for step in steps_shown],
    title=f"A small LipNet learns to read; below, what it makes of one clip: “{validation.transcripts[3]}”",
)

# %% [markdown]
# The run does what the blind readers do, in the same order: first nothing at all, near the first level; then
# a few letters that suit every clip, on the way to the second; and only below that it reads. **A loss that
# has stopped falling at one of these levels says that the network is not looking.** They are worth computing
# for your own data before you train for a day. "The same to everybody" can be counted:

# %%
different = {step: len(set(look.texts)) for step, look in plain["looks"].items()}
alike = min(different[step] for step in range(30, 80, 10))
print(
    f"{len(validation)} clips of {len(SENTENCES)} sentences, and fewer than 5 different readings at some step"
)
assert alike < 5 < len(set(end.texts))

# %% [markdown]
# ### Why nothing, of all things?
#
# The gradient of CTC with respect to a frame's logits is *softmax − occupancy* (notebook 04). The occupancy
# of a class is the probability that a path which spells the sentence is in that class at that frame. At the
# start the softmax is about even. What is the occupancy then?

# %%
even = torch.full((30, 28), -math.log(28)).double()  # (T, V): the network knows nothing
state = forward_backward(even, alphabet.encode("set red"))
pull = state.occupancy.mean(0)  # (V,) mean over the frames
letters = {c: round(pull[int(alphabet.encode(c)[0])].item(), 2) for c in "set rd"}
print(f"softmax of every class {1 / 28:.2f}; occupancy of the blank {pull[0]:.2f}, of {letters}")

log_nothing = nothing.double().log()  # and when it writes what the blind reader writes:
at_plateau = forward_backward(log_nothing, alphabet.encode("set red")).occupancy  # (T, V)
print(f"on the plateau: the blank is given {nothing[0, 0]:.2f} and asked for {at_plateau[:, 0].mean():.2f}")
assert pull[0] > 0.3 and pull[0] > 2 * pull[1:].max()
assert abs(at_plateau[:, 0].mean() - nothing[0, 0]) < 0.08

# %% [markdown]
# Every label has a blank before, between and after its characters, so paths meet the blank more than any
# letter; and the blank is asked for in **every** sentence and nearly every frame, each letter in few. So the
# first thing that a gradient averaged over clips can agree on is "more blank". Once the blank has what it
# asks for, the pulls of different clips cancel: what is left is only what *differs* between clips, and for
# that the convolutions must first find the lips. Zeyer et al. (2021) prove how CTC, started from even
# outputs, runs to the blank.
#
# ### A shortcut: say when
#
# If somebody has noted when each word is spoken (GRID has), each frame has a rough label: the letters of the
# word, spread evenly. An ordinary cross-entropy with these labels needs no search over paths.
# `Settings(start="timings")` adds it, and fades it out over the first half of the run. By the end, only CTC
# counts.

# %%
show(timing_loss)

# %%
warm = watched_run(replace(small, start="timings"), small_model())
warm_loss = np.array(warm["loss"])


def first_step_below(values, level, window=5):
    """The first step at which the mean of `window` steps is below `level`."""
    means = np.convolve(values, np.ones(window) / window, mode="valid")  # (N - window + 1,)
    return int(np.argmax(means < level)) + window - 1


reached = {
    name: first_step_below(v, height_sentence) for name, v in (("plain", loss), ("timings", warm_loss))
}
ratio = reached["timings"] / reached["plain"]
assert ratio < 0.75
print("with timings it is past the second blind reader in less than three quarters of plain CTC's steps")

figures.training_run(
    {"plain CTC": loss, "start from word timings": warm_loss},
    {"plain CTC": blanks, "start from word timings": warm["blanks"]},
    shaded=(first, last),
    levels=LEVELS,
    width=6.5,
    title="The same model, the same clips, with and without a hint",
)

# %% [markdown]
# Two things to see:
# - The hint does not shorten the blank plateau. It cuts short what follows, the stretch where the network
#   says the same to everybody.
# - Plain CTC ends with **more blanks**. It is enough for CTC that each letter appears in one frame; the rest
#   is blank, and the outputs become spikes. The timings ask for a letter in *all* its frames, and that habit
#   stays.
#
# ### Is it luck?
#
# Two runs are an anecdote: other first weights and another order of the clips might have told another story.
# The same two trainings from five seeds take some minutes, so their results are committed
# (`python -m tools.plateau_seeds` makes the file, with the functions above). The runs that you have just seen
# are its seed 0.

# %%
with open(checkpoint.trained_folder("plateau_seeds") / "seeds.csv", newline="", encoding="utf-8") as file:
    rows = list(csv.DictReader(file))


def of_seeds(column, start):
    """One value for each seed, (5,)."""
    return np.array([float(row[column]) for row in rows if row["start"] == start])


final_blanks = {name: np.mean(run["blanks"][-10:]) for name, run in (("plain", plain), ("timings", warm))}
for start, now in reached.items():  # seed 0, here and now, against the file
    # A GPU adds in another order, with fewer digits: over 240 steps the curves drift apart.
    assert abs(of_seeds("steps_to_level", start)[0] - now) <= (40 if GPU else 10)
    assert abs(of_seeds("blanks_at_end", start)[0] - final_blanks[start]) < (0.15 if GPU else 0.05)

steps = {start: of_seeds("steps_to_level", start) for start in ("plain", "timings")}
share = {start: of_seeds("blanks_at_end", start) for start in ("plain", "timings")}
for start in ("plain", "timings"):
    low, high = of_seeds("cer_at_end", start).min(), of_seeds("cer_at_end", start).max()
    print(
        f"{start:8} past the second level after {steps[start].min():.0f} to {steps[start].max():.0f} steps; "
        f"at the end {share[start].min():.0%} to {share[start].max():.0%} blanks, CER {low:.0%} to {high:.0%}"
    )
assert steps["timings"].max() < steps["plain"].min()  # in every seed …
assert (share["plain"] > share["timings"]).sum() == 4  # … and in four of five
figures.seed_spread(
    {"plain CTC": steps["plain"], "start from word timings": steps["timings"]},
    xlabel="steps until the loss is below “one sentence for all”",
    title="Five seeds each",
)

# %% [markdown]
# The slowest run with timings is past the level before the fastest without: the shortcut is no luck. The
# blanks are less certain: in one seed of five, plain CTC ended with *fewer*. Five seeds of one toy carry no
# more than that.
#
# On nine sentences the hint saves a few dozen steps. On the 64,000 of GRID the stretch of saying the same to
# everybody is far longer, and the hint decides how long you wait: section 4 shows by how much.

# %% [markdown]
# ## 3. Three safety belts
#
# ### Warm-up
#
# `learning_rate` rises over `warmup_steps`, then falls along half a cosine.

# %%
show(cosine)

# %% [markdown]
# **Predict.** At its very first step Adam divides $m/(1-\beta_1) = g$ by $\sqrt{v/(1-\beta_2)} = |g|$. How
# far does a weight with a large gradient move, and how far one with a tiny gradient? Here are both runs, with
# a learning rate of 0.01, on purpose high: one begins with it, the other rises to it over 40 steps.


# %%
high = replace(small, epochs=7, learning_rate=1e-2)
at_once = watched_run(replace(high, warmup_steps=1), small_model())
warmed_up = watched_run(replace(high, warmup_steps=40), small_model())

# %%
one = small_model()
before = torch.cat([p.detach().flatten().clone() for p in one.parameters()])
train_plain(one, training.subset(range(8)), replace(high, epochs=1, warmup_steps=1))  # a single step
change = torch.cat([p.detach().flatten() for p in one.parameters()]) - before
share = ((change.abs() / 1e-2 - 1).abs() < 0.01).float().mean().item()
assert share > 0.9
print("after one step without warm-up, more than 90 % of all weights have moved by 0.01, the whole rate")

tail = {name: np.mean(run["loss"][-20:]) for name, run in (("at once", at_once), ("warmed up", warmed_up))}
assert tail["warmed up"] < 0.95 * tail["at once"]  # measured: 0.89
print("over the last 20 steps, the loss with warm-up is well below the loss without")
figures.curves(
    {"at once": at_once["loss"], "warmed up": warmed_up["loss"]},
    ylim=(0, 5),
    width=6.2,
    height=2.7,
    title="Learning rate 0.01: from the first step, and after a rise over 40 steps",
)

# %% [markdown]
# All of them move by the learning rate, the important and the unimportant, in the direction that a single
# batch of eight clips happened to ask for. Most of these directions are noise. With a low rate at first,
# Adam's two means have seen many batches before the steps become large.
#
# ### Clipping

# %%
norms = np.array(plain["norm"])
assert norms[:10].max() > 2 * small.clip_norm and np.mean(norms > small.clip_norm) < 0.2
print(f"longer than the limit of {small.clip_norm:g}: in the first steps, and in less than 20 % of all steps")
figures.curves(
    {"plain CTC": norms},
    level=small.clip_norm,
    level_label="limit",
    ylabel="length of the gradient",
    logy=True,
    width=6.2,
    height=2.7,
    title="A long gradient at the start, and rarely again",
)

# %% [markdown]
# In a healthy run the limit is hardly ever touched: it is a fuse. Watch it blow in the smallest training
# there is: one weight, whose gradient is always 1, except for one broken batch at step 50, where it is 1000.


# %%
def step_sizes(limit, steps=160):
    """How far Adam moves one weight at each step, when a gradient of 1000 comes at step 50."""
    weight, memory, sizes = torch.zeros(1), [(torch.zeros(1), torch.zeros(1))], []
    for t in range(1, steps + 1):
        gradient = torch.tensor([1000.0 if t == 50 else 1.0]).clamp(max=limit)  # its size is its length
        old = weight.clone()
        adam([weight], [gradient], memory, t, rate=1e-3)
        sizes.append((weight - old).abs().item())
    return np.array(sizes) / 1e-3


unclipped, clipped = step_sizes(limit=math.inf), step_sizes(limit=5.0)
print("80 steps after the accident, a step is this part of the learning rate:")
print(f"    no limit {unclipped[130]:.2f}, limit 5 {clipped[130]:.2f}")
assert unclipped[130] < 0.1 < 0.9 < clipped[130]
figures.curves(
    {"no limit": unclipped, "limit 5": clipped},
    ylabel="step / learning rate",
    width=6.2,
    height=2.7,
    title="One bad batch at step 50, and how long Adam remembers it",
)

# %% [markdown]
# Adam's $v$ remembers the *square* of the accident for hundreds of steps and all but stops the weight. With
# clipping the accident hardly leaves a trace.
#
# ### Averaging the weights
#
# Each batch is a small sample, so each gradient is partly noise, and at a steady learning rate the weights
# never settle: they keep walking around the best place. Their running mean sits nearer to its middle. One
# weight again; its best value is 0, its gradient is the slope of $w^2/2$ and noise.


# %%
def wander(decay, steps=250):
    """The weight and its running mean after each step of Adam, both (steps,)."""
    generator, path = torch.Generator().manual_seed(0), []
    weight, mean, memory = torch.ones(1), torch.ones(1), [(torch.zeros(1), torch.zeros(1))]
    for t in range(1, steps + 1):
        gradient = weight + torch.randn(1, generator=generator)
        adam([weight], [gradient], memory, t, rate=0.1)
        mean.lerp_(weight, 1 - min(decay, (1 + t) / (10 + t)))  # at first it forgets faster
        path.append((weight.item(), mean.item()))
    return np.array(path).T


weight_path, mean_path = wander(decay=0.98)
away = {name: np.abs(path[100:]).mean() for name, path in (("weight", weight_path), ("mean", mean_path))}
print(f"distance from the best place: weight {away['weight']:.2f}, running mean {away['mean']:.2f}")
assert away["mean"] < 0.8 * away["weight"]
figures.curves(
    {"the weight": weight_path, "its running mean": mean_path},
    level=0.0,
    level_label="best",
    ylabel="value",
    width=6.2,
    height=2.7,
    title="The mean lags a little, and stays nearer to the best",
)

# %% [markdown]
# A learning rate that falls to almost nothing does the same by the end of a run. Averaging gives you good
# weights all the way, which matters when you stop early. `lessons.training.lipnet` keeps the mean of all
# weights, and reads with it.

# %% [markdown]
# ## 4. The real run
#
# The model that comes with the course was trained on GRID's speaker 1 with these lines (the first two fetch
# the data):
#
# ```
# python -m lessons grid download --speakers 1 --out data/raw
# python -m lessons grid prepare --raw data/raw --out data/grid
# python -m lessons train --preset small --data data/grid --out runs/small
# ```
#
# Without the data, `python -m lessons train --out runs/talker` trains on the synthetic talker. A second run
# of the same command goes on where the first was stopped. `--start plain` shows you the long plateau,
# `--preset full` is LipNet as published and wants a GPU. The log and the results of both runs are committed
# beside the weights:


# %%
def read_log(path):
    """column -> values, one an epoch."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {column: np.array([float(row[column]) for row in rows]) for column in rows[0]}


def load_run(name):
    """What the training command wrote: its log and its results."""
    folder = checkpoint.trained_folder(name)
    return read_log(folder / "log.csv"), json.loads((folder / "results.json").read_text(encoding="utf-8"))


RUNS = {"GRID speaker 1": "lipnet_small_grid_s1", "synthetic talker": "lipnet_small_synthetic"}
logs, results = {}, {}
for title, name in RUNS.items():
    logs[title], results[title] = load_run(name)
    report = results[title]
    epochs, steps = len(logs[title]["epoch"]), logs[title]["step"][-1]
    print(f"{title}: {report['weights']:,} weights, {epochs} epochs, {steps:.0f} steps")
    print(f"    read {len(report['sentences'])} validation clips")
    for decoder in ("greedy", "grammar"):
        said, texts = ([row[key] for row in report["sentences"]] for key in ("said", decoder))
        rates = {"cer": cer(said, texts), "wer": wer(said, texts)}  # from the sentences, with our own metrics
        assert all(math.isclose(rates[key], report[decoder][key], abs_tol=1e-9) for key in rates)
        print(f"    {decoder:8} CER {rates['cer']:6.2%}   WER {rates['wer']:6.2%}")

# %% [markdown]
# *Greedy* takes the most probable class of each frame. *Grammar* searches for the best of GRID's 64,000
# sentences. The validation clips decided nothing in the training: no early stopping, no choice of epoch.

# %%
assert math.prod(map(len, grammar.SLOTS)) == 64_000
grid_log, grid = logs["GRID speaker 1"], results["GRID speaker 1"]
columns = {
    "training loss": "train_loss",
    "validation loss": "val_loss",
    "word error rate": "val_wer",
    "character error rate": "val_cer",
}
figures.curves(
    {label: grid_log[column] for label, column in columns.items()},
    steps=grid_log["epoch"],
    xlabel="epoch",
    ylabel="CTC loss a character; error rate",
    logy=True,
    title="GRID speaker 1: loss, and greedy reading of the validation clips",
)

# %% [markdown]
# **With a GPU you need not take our word for it.** There the next cell trains the same model, now: on real
# clips if you have them, else on the synthetic talker, with the settings of `--preset quick`. Without a GPU
# it does nothing. (On a CPU the same run takes some minutes: `python -m lessons train --preset quick`.)

# %%
if GPU:
    quick_model, size, quick = PRESETS["quick"]
    folder = find_mouth_set()
    clips_here = load_clips(str(folder) if folder else "synthetic", size, 800)
    torch.manual_seed(quick.seed)
    _, rows = train(quick_model(), *clips_here, quick, device=device)
    here = {column: np.array([row[column] for row in rows]) for column in columns.values()}
    print(f"{'GRID' if folder else 'the talker'}: word error rate {here['val_wer'][-1]:.1%}", end=" ")
    print(f"after {rows[-1]['seconds']:.0f} s")
    figures.curves(
        {label: here[column] for label, column in columns.items()},
        steps=np.arange(1, len(rows) + 1),
        xlabel="epoch",
        ylabel="CTC loss per character; error rate",
        logy=True,
        title="The quick training on this GPU",
    )
    assert here["val_wer"][-1] < 0.25 < here["val_wer"][0]

# %%
for title, log in logs.items():
    when = []
    for level in (0.5, 0.2, 0.1, 0.05):
        below = np.flatnonzero(log["val_wer"] < level)
        epoch = f"epoch {log['epoch'][below[0]]:.0f}" if len(below) else "not reached"
        when.append(f"{level:.0%}: {epoch}")
    print(f"{title}, WER first below  " + " · ".join(when))
assert grid_log["val_loss"][-1] < 0.2 * grid_log["val_loss"][0]
assert grid_log["val_loss"][5] < grid_log["train_loss"][5]

# %% [markdown]
# The validation loss is first *below* that of training. No leak: training clips are shifted, zoomed, mirrored
# and jittered, and the network works under dropout; validation clips are read as they are. Where the curves
# cross, the network begins to know its training clips by heart, and reads no better for it. WER is above CER,
# since one wrong letter spoils a word.
#
# ### The same without the hint
#
# One more run was made with `--start plain --epochs 30`: CTC alone. **Predict** its word error rate after
# these 3,000 steps; section 2 has told you what it does first.

# %%
plain_log = read_log(checkpoint.trained_folder(RUNS["GRID speaker 1"]) / "log_plain.csv")
n = len(plain_log["epoch"])
after = plain_log["val_wer"][-1], grid_log["val_wer"][n - 1]
print(f"word error after {n} epochs: plain CTC {after[0]:.0%}, from word timings {after[1]:.0%}")
assert n * 100 == plain_log["step"][-1] == 3_000 and after[0] > 3 * after[1]
figures.curves(
    {"plain CTC": plain_log["val_wer"], "from word timings": grid_log["val_wer"][:n]},
    steps=plain_log["epoch"],
    xlabel="epoch",
    ylabel="word error rate",
    ylim=(0, 1.05),
    width=6.2,
    height=2.7,
    title="GRID speaker 1: what the word timings are worth",
)

# %% [markdown]
# Read this with care: after 30 epochs the plain run's learning rate had fallen to almost nothing, that of the
# other run had not. A longer plain run may well go further, and this figure does not say how far. What it
# does say: with the timings, the stretch where everybody is read alike is over in a few epochs.
#
# ### A crop that is a little off
#
# The next face detector, or the next face, puts the mouth a few pixels elsewhere. The training moved every
# clip by up to 4 of 32 rows and 6 of 64 columns for that reason. The validation clips, moved on purpose:

# %%
misplaced = grid["misplaced_greedy_wer"]
worst = max(misplaced, key=misplaced.get)
rise = misplaced[worst] - misplaced["as cropped"]
print(f"worst: {worst}, WER {rise:+.1%} against the crop as it is")
assert math.isclose(misplaced["as cropped"], grid["greedy"]["wer"], abs_tol=1e-9) and rise < 0.25
figures.dot_plot(
    list(misplaced),
    {title: list(report["misplaced_greedy_wer"].values()) for title, report in results.items()},
    xlabel="word error rate, greedy",
    title="How much does a misplaced crop cost?",
)

# %% [markdown]
# ### What is taken for what
#
# To count confusions you need to know which word was read *for* which. When a word is missing, all later ones
# move up, and comparing them place by place would call every one of them wrong.
#
# ### Exercise 3 · `align_words` · difficulty ★★★ · 20 minutes
#
# Pair the words said with the words read so that as few pairs as possible differ. A word that was not read is
# paired with `None`, a word too many likewise: `align_words("at b two", "at two")` gives `[("at", "at"),
# ("b", None), ("two", "two")]`. Hint: fill the table of edit distances between all beginnings of the two
# sentences, then walk back from its last corner.


# %%
def align_words(said, read):
    """Two sentences -> a list of pairs (word said or None, word read or None)."""
    raise NotImplementedError


check("08.align_words", align_words)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def align_words_solution(said, read):
    """cost[i][j]: fewest edits from i words said to j words read; then back from the corner."""
    said, read = said.split(), read.split()
    cost = [[i + j for j in range(len(read) + 1)] for i in range(len(said) + 1)]
    for i in range(1, len(said) + 1):
        for j in range(1, len(read) + 1):
            replaced = cost[i - 1][j - 1] + (said[i - 1] != read[j - 1])
            cost[i][j] = min(replaced, cost[i - 1][j] + 1, cost[i][j - 1] + 1)
    pairs, i, j = [], len(said), len(read)
    while i > 0 or j > 0:
        if i > 0 and j > 0 and cost[i][j] == cost[i - 1][j - 1] + (said[i - 1] != read[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((said[i], read[j]))
        elif i > 0 and cost[i][j] == cost[i - 1][j] + 1:
            i -= 1
            pairs.append((said[i], None))
        else:
            j -= 1
            pairs.append((None, read[j]))
    return pairs[::-1]


# %%
check("08.align_words", align_words_solution)

# %% [markdown]
# The package's own is `lessons.ctc.metrics.edits`. With it, the errors in each of GRID's six slots:


# %%
def slot_errors(report, decoder):
    """The share of wrong or missing words in each slot, (6,), and the pairs (said, read) of each slot."""
    pairs = [[] for _ in grammar.SLOTS]
    for row in report["sentences"]:
        aligned = edits(row["said"].split(), row[decoder].split())
        for slot, pair in enumerate(pair for pair in aligned if pair[0] is not None):
            pairs[slot].append(pair)
    return np.array([np.mean([said != read for said, read in slot]) for slot in pairs]), pairs


errors, pairs = {}, {}
for title, report in results.items():
    for decoder in ("greedy", "grammar"):
        errors[title, decoder], pairs[title, decoder] = slot_errors(report, decoder)
    hardest = grammar.SLOT_NAMES[int(errors[title, "grammar"].argmax())]
    print(f"{title}: the hardest slot is the {hardest}")
    assert hardest == "letter"
figures.dot_plot(
    grammar.SLOT_NAMES,
    {decoder: errors["GRID speaker 1", decoder] for decoder in ("greedy", "grammar")},
    xlabel="share of words wrong or missing",
    title="GRID speaker 1: errors by slot",
)

# %% [markdown]
# The spoken letter is the hardest word. It is short, it may be any of 25, nothing before it gives it away,
# and many letters **look the same**: *b* and *p* differ in the voice only, and the camera does not hear. Such
# words are called *homophemes*. The synthetic talker has its own: all letters of one group are drawn with the
# very same lips, so nobody can do better than guess among them.

# %%
groups = [group for group in homophemes(grammar.LETTERS) if len(group) > 1]
floor = error_floor()
talker = results["synthetic talker"]
n_words = 6 * len(talker["sentences"])
luck = 3 * math.sqrt(floor.wer * (1 - floor.wer) / n_words)  # three standard deviations
print("letters that look alike:", " · ".join(" ".join(group) for group in groups))
print(f"word error on the talker: a perfect eye {floor.wer:.1%}, our model {talker['grammar']['wer']:.1%}")
assert floor.wer - luck < talker["grammar"]["wer"] < 1.5 * floor.wer

# %%
group_of = {letter: group for group in homophemes(grammar.LETTERS) for letter in group}
letters = [*group_of, "–"]  # those that look alike side by side; "–": no letter was read


def letter_confusions(slot_pairs):
    """(26, 26) counts, row said, column read."""
    counts = np.zeros((len(letters), len(letters)))
    for said, read in slot_pairs:
        counts[letters.index(said), letters.index(read) if read in letters else -1] += 1
    return counts


for title in RUNS:
    wrong = [(said, read) for said, read in pairs[title, "grammar"][3] if said != read]
    alike = sum(read in group_of[said] for said, read in wrong)
    by_chance = sum((len(group_of[said]) - 1) / 24 for said, _ in wrong)
    print(f"{title}: {len(wrong)} letters wrong: " + " ".join(f"{said}→{read}" for said, read in wrong))
    print(f"    {alike} of them in their group; {by_chance:.1f} if wrong letters fell at random")
    assert alike > len(wrong) / 2 if title == "synthetic talker" else alike < len(wrong) / 4

counts = letter_confusions(pairs["synthetic talker", "greedy"][3])
assert counts.sum() == len(talker["sentences"])
figures.confusion_matrix(
    counts, letters, width=6.8, title="Synthetic talker: letters, greedy; blocks of homophemes"
)

# %%
counts = letter_confusions(pairs["GRID speaker 1", "greedy"][3])
omitted = counts[:, -1].sum() / max(1, counts.sum() - np.trace(counts))
print(f"of the greedy reader's errors in the letter, {omitted:.0%} are readings without a letter")
figures.confusion_matrix(counts, letters, width=6.8, title="GRID speaker 1: letters, greedy")

# %% [markdown]
# The talker's reader stands at the floor: nearly all that it gets wrong, nobody could know. The real reader's
# errors are others, and too few to see a pattern in; they are not the talker's groups. Either a real *b* and
# *p* do differ a little to the eye, or this speaker gives something away. Keep that in mind whenever
# synthetic data look like the real thing. All other words:

# %%
words = [word for slot in (0, 1, 2, 4, 5) for word in grammar.SLOTS[slot]] + ["–"]
counts = np.zeros((len(words), len(words)))
for slot in (0, 1, 2, 4, 5):
    for said, read in pairs["GRID speaker 1", "greedy"][slot]:
        counts[words.index(said), words.index(read) if read in words else -1] += 1
off = counts - np.diag(np.diag(counts))  # what is off the diagonal is wrong
often = sorted(np.argwhere(off), key=lambda place: -off[tuple(place)])
print("most often: " + " · ".join(f"{words[i]} → {words[j]} ({off[i, j]:.0f})" for i, j in often[:4]))
assert counts.sum() == 5 * len(grid["sentences"])
figures.confusion_matrix(
    counts, words, width=6.4, title="GRID speaker 1: the other five slots (–: missing, or no word)"
)

# %% [markdown]
# ## 5. Looking inside
#
# Load the trained model and take it through one clip. **If you have GRID clips, change one word below**, and
# the rest of this section shows a real mouth.

# %%
clips_from = "synthetic"  # or "grid", when the mouth set of section 4 is there

if clips_from == "grid":
    from lessons.data.grid import load

    if find_mouth_set() is None:
        raise FileNotFoundError("no mouth set found: run the two commands of section 4, or set LESSONS_GRID")
    reader, clips = checkpoint.load("lipnet_small_grid_s1"), load(find_mouth_set(), "val").subset(range(24))
else:
    reader, clips = checkpoint.load("lipnet_small_synthetic"), synthetic_clips(24, seed=8)

reading = evaluate(reader, clips)
right = [i for i, (a, b) in enumerate(zip(clips.transcripts, reading.texts, strict=True)) if a == b]
print(f"{len(right)} of {len(clips)} sentences read without an error")
chosen = right[0]

# %% [markdown]
# ### Alignment: when was it read?
#
# Of all paths that spell the sentence, `forced_align` finds the most probable one. It says at which frames
# the network reads each character, which nobody told it for this clip.

# %%
film, said = clips.frames[chosen], clips.transcripts[chosen]  # (T, H, W) uint8
x = normalize(torch.from_numpy(film)[None])  # (1, T, H, W): mean 0, deviation 1
with torch.no_grad():
    log_probs = reader(x[:, None])[:, 0].log_softmax(-1)  # (T, V)
path = forced_align(log_probs, alphabet.encode(said))
symbols = ["blank", *alphabet.symbols]

spans = path.spans()  # L times (first frame, one past the last)
where = [i for i, symbol in enumerate(said) if symbol != " "]
starts = [spans[i][0] for i in where]
spelled = [said[i] for i in where]
figures.filmstrip(
    film, starts[:10], spelled[:10], columns=10, title="The frames in which the first letters are read"
)


# %%
segments = clips.segments[chosen]
title = "Above, what the network says; below, what was spoken"
figures.alignment(log_probs.exp(), symbols, path.path.tolist(), segments, width=8, title=title)

# %%
middles, spoken = [], []
position = 0
for start, end, word in segments:
    if word in ("sil", "sp"):
        continue
    letters_of_word = spans[position : position + len(word)]
    middles.append((letters_of_word[0][0] + letters_of_word[-1][1]) / 2)
    spoken.append((start + end) / 2)
    position += len(word) + 1  # and the space
apart = np.abs(np.array(middles) - np.array(spoken))
print(f"between the middle of a word as read and as spoken: {apart.mean():.0f} frames on average, of 75")
assert apart.mean() < 4

# %% [markdown]
# ### Saliency: where does it look?
#
# Ask for every pixel: if it were a little brighter, how much would the probability of these characters
# change? That is the gradient of the characters' log-probabilities along the alignment, with respect to the
# pixels:
#
# $$S_{t,h,w} = \Big|\, \frac{\partial}{\partial x_{t,h,w}} \sum_{t':\ \text{path}_{t'} \neq \text{blank}}
#   \ln p_{t'}(\text{path}_{t'}) \,\Big|$$
#
# LipNet's authors (§4.4.1) do the same with *guided* backpropagation, which also throws away what is negative
# at every ReLU. That sharpens the picture, but it is the gradient of nothing any more and hardly depends on
# the upper layers' weights (Adebayo et al., 2018), so here the gradient stays plain.

# %%
pixels = x.clone().requires_grad_()  # (1, T, H, W), here one channel of one clip
log_probs = reader(pixels[None])[:, 0].log_softmax(-1)  # (T, V)
letter_frames = path.path != 0  # (T,)
log_probs[letter_frames, path.path[letter_frames]].sum().backward()
heat = pixels.grad.abs().amax(0)  # (T, H, W)
agree("yours against lessons.lipreading.saliency", heat, saliency(reader, x, path.path), tolerance=1e-5)
figures.saliency_overlay(
    film, heat, starts[1:5], spelled[1:5], columns=4, width=6.4, title="What the reading hangs on"
)

# %% [markdown]
# (The checkered pattern comes from convolutions that move in steps of two: some pixels lie under more windows
# than their neighbors.) It seems to look at the lips and what moves with them. **Seems**: four pictures
# prove nothing. Which pixels belong to the mouth? For the talker we can ask the drawing itself: hold a head
# still, open and close the mouth, and see which pixels change.

# %%
if clips_from == "synthetic":
    shares = {"trained": [], "untrained": []}
    _ = torch.manual_seed(0)
    fresh = SmallLipNet().eval()
    for i in right[:4]:
        speaker = Speaker.random(np.random.default_rng([8, i]))  # as synthetic_clips draws it
        poses = np.stack([shape_of(name) for name in ("sil", "ah", "oo", "ee", "p", "th")])  # (6, 8)
        still = render(poses, speaker, (32, 64)).astype(int)  # (6, H, W)
        mouth = np.ptp(still, axis=0) > 12  # (H, W) gray levels out of 255
        one = normalize(torch.from_numpy(clips.frames[i])[None])  # (1, T, H, W)
        for name, network in (("trained", reader), ("untrained", fresh)):
            with torch.no_grad():
                found = network(one[:, None])[:, 0].log_softmax(-1)  # (T, V)
            along = forced_align(found, alphabet.encode(clips.transcripts[i])).path
            heat_of = saliency(network, one, along).sum(0)  # (H, W)
            shares[name].append(((heat_of[mouth].sum() / heat_of.sum()).item(), mouth.mean()))
    (looks, area), (looks_fresh, _) = (np.mean(shares[name], axis=0) for name in ("trained", "untrained"))
    print(f"the mouth is {area:.0%} of the picture; it holds {looks:.0%} of the saliency")
    print(f"of a network that was never trained: {looks_fresh:.0%}")
    assert looks > 1.3 * area and looks > 1.2 * looks_fresh

# %% [markdown]
# So the training, not the picture, made it look there. Now in time: how much does the network look at each
# frame, and when does somebody speak?

# %%
attention = heat.sum((1, 2)).numpy()  # (T,)
attention = attention / attention.sum()
begin, stop = (round(segments[i][j]) for i, j in ((0, 1), (-1, 0)))  # where the silences end and begin
inside = attention[begin:stop].sum()
print(f"speech: {(stop - begin) / len(attention):.0%} of the frames, {inside:.0%} of the saliency")
assert inside > (stop - begin) / len(attention)
figures.curves(
    {"saliency": attention},
    xlabel="frame",
    ylabel="share of the saliency",
    plateau=(begin, stop),
    plateau_label="speech",
    width=6.2,
    height=2.7,
    title="When does it look?",
)

# %% [markdown]
# ## 6. Bug hunt: what does a perfect answer cost?
#
# Three defects from public lip-reading code, re-created in our words. None of them crashes. Two of them are
# caught by one question that you can ask of any loss: **what does it cost to be right?** A network that is
# sure of the right sentence must pay nothing.


# %%
def perfect_logits(texts, n_frames):
    """(T, B, V) logits of a network that is sure of a path that spells each text."""
    logits = torch.zeros(n_frames, len(texts), 28)
    for b, text in enumerate(texts):
        labels = alphabet.encode(text)  # (L,)
        for i, label in enumerate(labels.tolist()):
            logits[2 * i, b, label] = 30.0  # every second frame a character …
            logits[2 * i + 1, b, 0] = 30.0  # … and a blank after it
        logits[2 * len(labels) :, b, 0] = 30.0
    return logits


texts = ["bin blue", "set red", "lay white now"]
sure = perfect_logits(texts, n_frames=30)  # (30, 3, 28)
targets = [alphabet.encode(text) for text in texts]
lengths = torch.tensor([len(target) for target in targets])  # (3,)
frames = torch.full((3,), 30)
right_loss = F.ctc_loss(sure.log_softmax(-1), torch.cat(targets), frames, lengths).item()
print(f"a perfect answer costs {right_loss:.3f}")
assert right_loss < 0.01

# %% [markdown]
# ### Bug 1: the labels were padded, and so was their length
#
# To stack labels of unequal length, this code pads each to 16 with a character that otherwise does not occur
# (here *z*), and tells CTC that **each label is 16 long**. Training runs, the loss falls.

# %%
z = int(alphabet.encode("z")[0])
padded = torch.full((3, 16), z)  # (B, Lmax)
for row, target in zip(padded, targets, strict=True):
    row[: len(target)] = target

told_16 = F.ctc_loss(sure.log_softmax(-1), padded, frames, torch.full((3,), 16)).item()
spelled = alphabet.decode(padded[1].tolist())
print(f"a perfect answer costs {told_16:.1f}: it is asked to write {spelled!r}")
print(f"frames that “{texts[1]}” needs: {min_frames(targets[1])}, padded: {min_frames(padded[1])}")
assert told_16 > 1 and min_frames(padded[1]) == 16 + 8  # 9 pads, 8 blanks between

# %% [markdown]
# The network has to say every pad, and a blank between each two of them. It will learn that, too: *z-z-z-z*
# after the last word costs frames and weights, and the loss no longer measures reading. In a well-known
# tutorial labels of some 25 characters are padded to 40, in clips of 75 frames: 15 pads in a row need 29
# frames, and the sentence gets what is left.

# %%
assert min_frames([z] * 15) == 29

# %% [markdown]
# ### Bug 2: batch and time changed places
#
# Much code keeps logits as `(B, T, V)`, as layers with `batch_first=True` do. `F.ctc_loss` wants `(T, B, V)`.
# Usually the mistake is an error at once: the lengths do not fit. **Predict**: and when the batch holds as
# many clips as a clip has frames?

# %%
many = (texts[:2] * 15)[:30]  # B = T = 30
sure = perfect_logits(many, n_frames=30)  # (T, B, V)
targets = [alphabet.encode(text) for text in many]
lengths, frames = torch.tensor([len(t) for t in targets]), torch.full((30,), 30)
in_order = F.ctc_loss(sure.log_softmax(-1), torch.cat(targets), frames, lengths).item()
swapped = F.ctc_loss(sure.transpose(0, 1).log_softmax(-1), torch.cat(targets), frames, lengths).item()
print(f"a perfect answer costs {in_order:.2f} as (T, B, V) and {swapped:.1f} as (B, T, V)")
assert in_order < 0.01 and swapped > 1

# %% [markdown]
# Nothing complains. Frame 7 of all clips is read as clip 7, and the network learns to write one sentence with
# the first frames of thirty clips. With 75-frame clips and a batch of 75 it happens to you.
#
# ### Exercise 4 · `mended_loss` · difficulty ★★☆ · 12 minutes
#
# You are handed a model that gives `(B, T, V)` logits, and labels padded with **zeros** (class 0 is the
# blank, so no label holds it). Write the loss without either bug, one number for the batch, as `F.ctc_loss`
# gives by default.


# %%
def mended_loss(logits, frames, labels):
    """logits (B, T, V), frames (B,) valid frames, labels (B, Lmax) padded with 0 -> loss ()."""
    raise NotImplementedError


check("08.mended_loss", mended_loss)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def mended_loss_solution(logits, frames, labels):
    """Time first, log-probabilities, and each label as long as it is without its padding."""
    log_probs = logits.transpose(0, 1).log_softmax(-1)  # (T, B, V)
    lengths = (labels != 0).sum(dim=1)  # (B,)
    return F.ctc_loss(log_probs, labels, frames, lengths)


# %%
check("08.mended_loss", mended_loss_solution)

# %% [markdown]
# ### Bug 3: the mean of the means
#
# Public code averages the error rate of each sentence. Ours divides all edits by all words. **Predict**: by
# how much do the two differ on our validation clips?


# %%
def mean_of_sentences(rate, said, read):
    return float(np.mean([rate([a], [b]) for a, b in zip(said, read, strict=True)]))


said, read = ([row[key] for row in grid["sentences"]] for key in ("said", "greedy"))
for name, rate in (("WER", wer), ("CER", cer)):
    corpus, mean_rate = rate(said, read), mean_of_sentences(rate, said, read)
    print(f"GRID {name}: corpus {corpus:.4%}, mean of the sentences {mean_rate:.4%}")
assert math.isclose(wer(said, read), mean_of_sentences(wer, said, read))  # six words in every sentence

said, read = ["no", "i have never said that i would"], ["so", "i have never said that i would"]
corpus, mean_rate = wer(said, read), mean_of_sentences(wer, said, read)
print(f"1 word wrong of 1 + 7: corpus {corpus:.1%}, mean of the sentences {mean_rate:.1%}")
assert math.isclose(corpus, 1 / 8) and math.isclose(mean_rate, 1 / 2)

# %% [markdown]
# On GRID the slip cannot be seen in the WER: every sentence has six words. That is how it survives. On free
# speech it is another figure altogether, and figures made in two ways must not stand in one table.

# %% [markdown]
# ## When your training does not learn
#
# <details><summary><b>Help: all blanks, or an empty text for every clip</b></summary>
#
# Compute the blind reader's loss (section 2). If yours is there, this is the blank plateau: go on for a few
# hundred steps more, normalize the pixels, put a norm after the convolutions. If
# your loss is far *above* it, the learning rate is too low or the gradient does not reach the front: print
# `p.grad.norm()` for each parameter. If the loss is low and the text is empty, decoding is wrong: is the
# blank class 0 in both?
# </details>
#
# <details><summary><b>Help: the same sentence for every clip</b></summary>
#
# The second level: the network has learned your sentences, and does not look at the clip. Check that it *can*
# look: swap two clips in a batch; do their logits swap? Are the pixels of one scale (mean 0, deviation 1)?
# Does each clip still have its own sentence after shuffling? Then: word timings, a smaller batch, fewer clips
# until it can learn these by heart.
# </details>
#
# <details><summary><b>Help: the loss is inf or NaN</b></summary>
#
# `inf`: some sentence needs more frames than its clip has: characters + one for each pair of equal neighbors
# (`lessons.ctc.min_frames`). Find it with `reduction="none"`. Frames dropped by augmentation can cause it.
# `NaN` at once: NaN pixels, or 0/0 in a normalization. `NaN` later: the gradient's length before it tells;
# clip it, lower the rate, keep the GRUs and the loss in float32. A negative loss: you gave logits in place of
# log-probabilities.
# </details>
#
# <details><summary><b>Help: the loss is stuck, well below the plateau</b></summary>
#
# Ask what a perfect answer costs (section 6): it must be 0. Is the validation loss stuck and the training
# loss not? More clips, more augmentation, dropout. Are both stuck? A larger network, a longer run, a slower
# fall of the learning rate. And look at the confusions: letters that look alike are a floor that no training
# gets through.
# </details>
#
# ## Recap
#
# - A step is a batch, logits, CTC, a gradient, a limit to its length, and Adam. Written out it is fifteen
#   lines, and it arrives at the same weights as `lessons.training.lipnet`.
# - CTC first learns to say nothing, then one thing for everybody, then to read. A blind reader tells you the
#   height of both levels before you train. Word timings cut the second stretch short, not the first.
# - Warm-up protects the weights from Adam's first steps, clipping protects Adam's memory from one bad batch,
#   averaging takes the jitter out of the end.
# - The letter is the hardest word. On the talker what is left are homophemes, and no network gets below them.
# - Saliency is a measurement: compare it with the area, and with an untrained network.
# - Ask every loss what a perfect answer costs.
#
# ## Glossary
#
# | word | meaning |
# |---|---|
# | warm start | beginning with frame labels from the word timings, then CTC alone |
# | warm-up | letting the learning rate rise over the first steps |
# | gradient clipping | shortening a gradient that is longer than a limit; its direction stays |
# | weight averaging | keeping a running mean of the weights, and reading with it |
# | saliency | how much the answer changes with each pixel |
# | corpus error rate | all edits over all words, not a mean over sentences |
#
# ## Sources
#
# - Y. Assael, B. Shillingford, S. Whiteson, N. de Freitas, *LipNet: End-to-End Sentence-level Lipreading*,
#   [arXiv 1611.01599](https://arxiv.org/abs/1611.01599): §4.1 (data), §4.4 (saliency, confusions), appendix
#   A.
# - A. Graves, S. Fernández, F. Gomez, J. Schmidhuber, *Connectionist Temporal Classification*, ICML 2006.
# - A. Zeyer, R. Schlüter, H. Ney, *Why does CTC result in peaky behavior?*,
#   [arXiv 2105.14849](https://arxiv.org/abs/2105.14849).
# - D. Kingma, J. Ba, *Adam*, [arXiv 1412.6980](https://arxiv.org/abs/1412.6980).
# - R. Pascanu, T. Mikolov, Y. Bengio, *On the difficulty of training recurrent neural networks*,
#   [arXiv 1211.5063](https://arxiv.org/abs/1211.5063): clipping.
# - B. Polyak, A. Juditsky, *Acceleration of stochastic approximation by averaging*, SIAM J. Control and
#   Optimization 30, 1992.
# - J. Adebayo et al., *Sanity Checks for Saliency Maps*, [arXiv
#   1810.03292](https://arxiv.org/abs/1810.03292).
# - M. Cooke, J. Barker, S. Cunningham, X. Shao, *An audio-visual corpus for speech perception and automatic
#   speech recognition*, JASA 120(5), 2006: GRID.
#
# **Next**: notebook 09 leaves the lips for phones: the bottleneck, and how 589,824 weights become 69,632.
