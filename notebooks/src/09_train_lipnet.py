# %% [markdown]
# # 09 · Train LipNet
#
# **You will write the training step of a lip reader and train one from nothing. Then you will read a real
# run: what it learned, how far it generalizes, and what it still gets wrong.**
#
# *Core path: about 58 minutes; deeper sections: about 45; all cells together run in about 90 seconds on one
# CPU core.*
#
# **You need**: PyTorch's `backward`; LipNet's shapes (notebook 06): a clip `(B, C, T, H, W)` goes in,
# logits `(T, B, V)` come out, for 28 classes: the blank, the space, a to z. Of CTC (notebooks 04 and 05)
# you need this: a path picks one class per frame. Merging repeats and dropping blanks turns it into text,
# so `bb-i-n` spells `bin`. The loss is $-\ln$ of the probability of all paths that spell the sentence.
#
# **You will be able to**
# - write a training step (forward pass, CTC loss, gradient, clipping, update) and show that it equals the
#   package's;
# - recognize the plateaus of a CTC training, and compute their heights before you train;
# - read a learning curve, and tell overfitting from regularization;
# - report an error rate with a confidence interval, and test whether two letters look alike to a model;
# - find bugs in lip-reading code by asking what a perfect prediction costs.

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
from lessons.checks import agree, check, use
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
from lessons.training.evaluation import evaluate, read_clips
from lessons.training.lipnet import train
from lessons.training.losses import timing_loss
from lessons.training.schedule import cosine, learning_rate, timing_weight
from lessons.training.settings import Settings

alphabet = Alphabet()
CPU = torch.device("cpu")
device = lessons.device()
GPU = device.type == "cuda"

# %% [markdown]
# ## 1. One training step
#
# ### The data: one speaker, nine sentences
#
# A real run takes an hour (section 3). To see every step of one, we make the task small: a single speaker
# of the synthetic talker (notebook 08), sentences of two words, frames of 16 × 32 pixels, 30 frames per
# clip.

# %%
COMMANDS, COLORS = ("bin", "lay", "set"), ("blue", "red", "white")
SENTENCES = [f"{command} {color}" for command in COMMANDS for color in COLORS]


# %% tags=["hide-input"]
# @title Helper: small_clips, some clips of these sentences { display-mode: "form" }
def small_clips(n: int, seed: int, n_frames: int = 30) -> ClipSet:
    """n clips of one speaker, each with its own timing, movement and noise, cut out at a random moment."""
    speaker, frames, segments = Speaker.random(np.random.default_rng(3)), [], []
    sentences = [SENTENCES[i % len(SENTENCES)] for i in range(n)]
    for i, sentence in enumerate(sentences):
        rng = np.random.default_rng([seed, i])
        video, words = talk(sentence, speaker, rng, (16, 32), n_frames + 16)  # (T + 16, H, W) uint8
        cut = int(rng.integers(0, 13))
        frames.append(video[cut : cut + n_frames])  # (T, H, W)
        segments.append(tuple((max(0, a - cut), min(n_frames, b - cut), word) for a, b, word in words))
    lengths = np.full(n, n_frames)
    return ClipSet(np.stack(frames), lengths, tuple(map(str, range(n))), tuple(sentences), tuple(segments))


# %%
training, validation = small_clips(96, seed=0), small_clips(27, seed=1)
print(f"{len(training)} + {len(validation)} clips, frames {training.frames.shape}")  # (N, T, H, W)
shown = training.transcripts.index("lay white")
start = round(training.segments[shown][1][0])  # the frame in which the first word starts
figures.filmstrip(
    training.frames[shown], range(start, start + 16, 2), title=f"“{training.transcripts[shown]}”"
)

# %% [markdown]
# ### From a mini-batch to the loss
#
# `training_batch` collects clips, normalizes each to mean 0 and standard deviation 1, and encodes the
# sentences as classes. The model is a very small LipNet.


# %%
def small_model(seed: int = 0) -> LipNet:
    torch.manual_seed(seed)
    return SmallLipNet(1, (16, 32), (8, 12, 16), hidden_size=48, dropout=0.0, projection=48)


batch = training_batch(training, range(8), None)  # None: no augmentation
for field in ("x", "lengths", "targets", "target_lengths"):
    print(f"batch.{field:15}{tuple(getattr(batch, field).shape)}")
print("the first sentence:", batch.targets[:8].tolist(), "=", alphabet.decode(batch.targets[:8].tolist()))
logits = small_model()(batch.x, batch.lengths)  # (T, B, V)
log_probs = logits.log_softmax(-1)  # (T, B, V)
ours = ctc_loss(log_probs, batch.targets, batch.lengths, batch.target_lengths)  # ()
theirs = F.ctc_loss(log_probs, batch.targets, batch.lengths, batch.target_lengths)  # ()
print(f"logits {tuple(logits.shape)}, loss {ours.item():.1f} nats per character")
agree("our CTC loss against torch's", ours.detach(), theirs.detach(), tolerance=1e-4)

# %% [markdown]
# Both losses do the same by default: they divide each clip's loss by its number of characters, then take
# the mean over the clips.
#
# ### Gradient clipping
#
# `backward` writes one gradient tensor per weight tensor into `p.grad`. Read them as **one long vector**
# $g$. When its norm is very large, the loss is steep here, and the slope may be different one step away.
# Gradient clipping scales a gradient that is longer than a limit $c$ down to $c$ and keeps its direction:
#
# $$g \leftarrow g \cdot \min\!\left(1, \frac{c}{\lVert g \rVert}\right), \qquad
#   \lVert g \rVert = \sqrt{\textstyle\sum_i g_i^2} \text{ over all weights}$$
#
# ### Exercise 1 · `train_step` · difficulty ★★☆ · 20 minutes
#
# Write the whole step: gradients of the previous step to zero, forward pass, log-softmax, CTC loss,
# backward pass, clipping, update. Every training in this notebook will run **your** function. `extra_loss`
# is for an experiment at the end of the notebook: a second loss that is added to CTC's before `backward`.


# %%
def train_step(model, batch, optimizer, clip_norm, extra_loss=None):
    """One step of training; changes the model's weights.

    model(batch.x, batch.lengths) gives logits (T, B, V). batch has x (B, C, T, H, W), lengths (B,), targets
    (all sentences, one after the other) and target_lengths (B,). optimizer: torch's, of the model's weights.
    clip_norm: the limit c. extra_loss: None, or a function that takes the logits and returns a loss ().

    Returns three values: loss (CTC's alone, before the update), norm (of the whole gradient, before
    clipping), both as numbers or 0-d tensors, and log_probs (T, B, V).
    """
    raise NotImplementedError


check("09.train_step", train_step)

# %% [markdown]
# <details><summary><b>Help: how do I change the gradient that the optimizer uses?</b></summary>
#
# `optimizer.step()` reads `p.grad` of every parameter. Change it in place (`p.grad.mul_(…)`) or assign a
# new tensor, after `backward()` and before `step()`. The parameters are `model.parameters()`.
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def train_step_solution(model, batch, optimizer, clip_norm, extra_loss=None):
    """Forward pass, loss, backward pass, clipping, update."""
    optimizer.zero_grad()
    logits = model(batch.x, batch.lengths)  # (T, B, V)
    log_probs = logits.log_softmax(-1)  # (T, B, V)
    loss = F.ctc_loss(log_probs, batch.targets, batch.lengths, batch.target_lengths)  # ()
    total = loss if extra_loss is None else loss + extra_loss(logits)
    total.backward()
    gradients = [p.grad for p in model.parameters()]
    norm = torch.stack([g.norm() for g in gradients]).norm()  # () of all tensors together
    for g in gradients:
        g.mul_((clip_norm / norm).clamp(max=1.0))
    optimizer.step()
    return loss.item(), norm.item(), log_probs.detach()


# %%
train_step = use("09.train_step", train_step, train_step_solution)

# %% [markdown]
# ### The training loop
#
# A loop around your step is a complete training. The learning rate follows a **schedule**: it rises over
# the first steps (*warm-up*), then falls along half a cosine. The optimizer is Adam, which divides each
# weight's gradient by its recent size. `watch` is called after each step, so that we can look.


# %% tags=["hide-input"]
# @title Helper: the order of the clips, and the extra loss { display-mode: "form" }
def mini_batches(n, settings):
    """The indices of each step's clips: every epoch visits all clips in a new order."""
    for epoch in range(settings.epochs):
        order = np.random.default_rng((settings.seed, epoch)).permutation(n)
        yield from (order[i : i + settings.batch_size] for i in range(0, n, settings.batch_size))


def hint(weight, batch, model):
    """The extra loss: none, unless settings have start="timings" (see "Deeper: word timings")."""
    return None if weight == 0 else lambda logits: weight * timing_loss(logits, batch, model)


# %%
def fit(model, clips, settings, watch=lambda *seen: None):
    """Train the model with your train_step."""
    device = next(model.parameters()).device
    optimizer = torch.optim.Adam(model.parameters(), betas=(0.9, 0.98))
    steps = list(mini_batches(len(clips), settings))
    for step, indices in enumerate(tqdm(steps)):
        optimizer.param_groups[0]["lr"] = learning_rate(step, len(steps), settings)
        batch = training_batch(clips, indices, None, device=device)
        extra = hint(timing_weight(step, len(steps), settings), batch, model)
        watch(step, *train_step(model, batch, optimizer, settings.clip_norm, extra))


# %% [markdown]
# `lessons.training.lipnet.train` trains the real models. It adds logs, checkpoints and mixed precision. From
# the same initial weights, two epochs of either must give the same weights. (Weight decay is off here, as our
# Adam has none.)

# %%
plain_settings = Settings(
    start="plain", augmented=False, weight_decay=0.0, learning_rate=3e-3
)  # batches of 8
short = replace(plain_settings, epochs=2, warmup_steps=4)
few = training.subset(range(24))
ours, theirs = small_model(), small_model()
fit(ours, few, short)
_ = train(theirs, few, few, short, device=CPU, precision=torch.float32, progress=False)
for name in ("stcnn1.conv.weight", "gru1.weight_hh_l0", "head.bias"):
    agree(name, ours.get_parameter(name), theirs.get_parameter(name), tolerance=1e-4)
moved = (ours.head.bias - small_model().head.bias).abs().max().item()
print(f"meanwhile the head's bias moved by up to {moved:.3f}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert moved > 30 * 1e-4  # they agree because both went the same way, not because neither moved

# %% [markdown]
# ## 2. What does it learn first?
#
# **Predict.** We train for 240 steps on the CTC loss. What will the network write after 10 steps, after 30,
# after 60? Does it learn letters first, or words?


# %% tags=["hide-input"]
# @title Helper: watched_run, a training that notes what it sees { display-mode: "form" }
WATCHED, EVERY = 3, 10  # the validation clip whose outputs we keep; steps between two evaluations


def watched_run(settings, model):
    """Train; keep loss, norm and fraction of blanks per step, and evaluations of the validation clips."""
    seen = {"loss": [], "norm": [], "blanks": [], "evaluations": {}, "probs": {}}

    def watch(step, loss, norm, log_probs):
        seen["loss"].append(torch.as_tensor(loss).item())
        seen["norm"].append(torch.as_tensor(norm).item())
        seen["blanks"].append((log_probs.argmax(-1) == 0).float().mean().item())  # of the best path
        if step % EVERY == 0:
            seen["evaluations"][step] = evaluate(model, validation)
            seen["probs"][step] = read_clips(model, validation.subset([WATCHED]))[0][:, 0].exp()  # (T, V)

    fit(model.to(device), training, settings, watch)
    return seen


# %%
small = replace(plain_settings, epochs=20, warmup_steps=15)  # 12 steps per epoch

# %%
plain_model = small_model()
plain = watched_run(small, plain_model)

# %% tags=["hide-input"]
# @title Plot: loss, blanks and transcripts { display-mode: "form" }
loss, blanks = np.array(plain["loss"]), np.array(plain["blanks"])
on_plateau = np.flatnonzero(blanks > 0.97)  # steps at which the best path is almost all blanks
first, last = int(on_plateau[0]), int(on_plateau[-1])
steps_shown = [0, 10, 30, 60, 90, 130, max(plain["evaluations"])]


def what_it_learned():
    return figures.training_run(
        {"CTC": loss},
        {"CTC": blanks},
        shaded=(first, last),
        width=7,
        texts=[(step, plain["evaluations"][step].texts[WATCHED]) for step in steps_shown],
        title=f"Loss, blanks, and the greedy transcript of one clip, “{validation.transcripts[WATCHED]}”",
    )


# %% tags=["predict"]
what_it_learned()

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# First it writes nothing: within ten steps the best path is all blanks for every clip. This is **blank
# collapse**. The shaded steps are the **blank plateau**: the loss drops at first, then falls only slowly.
# Then it writes a few letters, at first the same ones for every clip. Letters that depend on the clip come
# last.
# </details>

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
after_10, end = plain["evaluations"][10], plain["evaluations"][max(plain["evaluations"])]
assert first < 10 < last and not any(after_10.texts)
assert loss[last] > 2 and loss[-10:].mean() < 0.6 and end.cer < 0.3  # … and then it learns to read
distinct = {step: len(set(evaluation.texts)) for step, evaluation in plain["evaluations"].items()}
assert min(distinct[step] for step in range(30, 80, 10)) < 5 < len(set(end.texts))

# %% [markdown]
# ### Two blind baselines
#
# How high is the plateau? You can compute it without a network. Take a *blind* model that outputs **the
# same distribution in every frame of every clip**: 28 numbers. Fit them to the CTC loss of our nine
# sentences. A second blind model has one distribution per frame, still the same for all clips. It can write
# a sentence, but always the same one.


# %%
def blind_baseline(distributions: int, n_frames: int = 30, steps: int = 300):
    """The best 1 or n_frames distributions that never see a clip, (T, V), and their CTC loss."""
    logits = torch.zeros(distributions, 1, 28, requires_grad=True)  # (1 or T, 1, V)
    targets = [alphabet.encode(sentence) for sentence in SENTENCES]
    lengths = torch.tensor([len(target) for target in targets])  # (B,)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(steps):
        log_probs = logits.log_softmax(-1).expand(n_frames, len(targets), 28)  # (T, B, V)
        loss = F.ctc_loss(log_probs, torch.cat(targets), torch.full_like(lengths, n_frames), lengths)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return log_probs[:, 0].detach().exp(), loss.item()


constant, constant_loss = blind_baseline(1)
per_frame, per_frame_loss = blind_baseline(30)
print(f"one distribution for all frames: loss {constant_loss:.2f}; P(blank) = {constant[0, 0]:.2f}")
print(f"one distribution per frame:      loss {per_frame_loss:.1f}")
LEVELS = {"blind, constant": constant_loss, "blind, one distribution per frame": per_frame_loss}
figures.training_run(
    {"CTC": loss},
    {"CTC": blanks},
    shaded=(first, last),
    levels=LEVELS,
    width=6.5,
    title="With both baselines",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert constant[0, 0] > 0.5 and constant[0, 1:].max() < 0.2
assert per_frame_loss < constant_loss
assert alphabet.decode(greedy_decode(per_frame.log()[:, None])[0]) not in SENTENCES

# %% [markdown]
# The network passes the baselines in this order. On the blank plateau it is about as good as the constant
# baseline. Just below that level its output differs between frames, but hardly between clips. It may start to
# use the clip before the second level; below it, it must. **If a loss stalls at one of these levels, the
# network probably does not use its input.** Compute both for your own data before you train for a day.
#
# ### Watch one clip
#
# Here are the network's outputs for one validation clip at four steps: one row per class, one column per
# frame, dark for a high probability.

# %% tags=["hide-input"]
# @title Plot: the outputs at four steps { display-mode: "form" }
classes = [0, *sorted({int(c) for sentence in SENTENCES for c in alphabet.encode(sentence)})]
symbols = ["blank", *alphabet.symbols]


def at_steps(steps, columns):
    """The heat maps of the watched clip at these steps, with its greedy transcript."""
    texts = {step: plain["evaluations"][step].texts[WATCHED] for step in steps}
    maps = {f"step {step}: “{texts[step]}”": plain["probs"][step] for step in steps}
    return figures.posterior_maps(maps, symbols, classes, columns=columns, width=4.3 * columns)


at_steps([10, 60, 100, 230], columns=2)

# %% [markdown]
# At the end, most letters take one or two frames, and blanks fill the rest: CTC's **peaky behavior**. One
# frame per letter is enough for the loss. (A deeper section has a slider for all steps.)
#
# ### Why the blank?
#
# The gradient of CTC at a frame's logits is *softmax − occupancy* (notebook 04). The occupancy of a class
# is the probability, given the sentence, that the path is in that class at that frame. At the start, the
# softmax is nearly uniform. What is the occupancy then?

# %%
uniform = torch.full((30, 28), -math.log(28)).double()  # (T, V) log-probabilities
occupancy = forward_backward(uniform, alphabet.encode("set red")).occupancy.mean(0)  # (V,) over the frames
letters = {c: round(occupancy[int(alphabet.encode(c)[0])].item(), 2) for c in "set rd"}
print(f"softmax of every class {1 / 28:.2f}; occupancy of the blank {occupancy[0]:.2f}, of {letters}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert occupancy[0] > 0.3 and occupancy[0] > 2 * occupancy[1:].max()
at_plateau = forward_backward(constant.double().log(), alphabet.encode("set red")).occupancy  # (T, V)
assert abs(at_plateau[:, 0].mean() - constant[0, 0]) < 0.08  # on the plateau, the two are nearly equal

# %% [markdown]
# Paths pass through a blank before, between and after the characters, so the blank has the largest
# occupancy, and it has it in **every** sentence. Each letter is in some sentences only. So "more blank" is
# the first direction on which the gradients of all clips agree. Once the blank's probability matches its
# occupancy, that part of the gradient vanishes. What is left differs between frames and between clips. To use
# the differences between clips, the convolutions must first learn to see the lips. Zeyer et al. (2021)
# analyze how CTC, started from uniform outputs, runs to the blank.
#
# ## 3. A real run
#
# The model `lipnet_small_grid_s1` was trained on real clips: 799 sentences of GRID's speaker s1, with the
# package's version of your step. Section "Deeper: train it yourself" has the commands. Its
# **hyperparameters** (settings that are chosen, not learned) and its log come with the course, and so does
# what it read: 100 validation clips, with a greedy decoder and with one that knows GRID's grammar.
# Validation clips decided nothing in this run: neither when to stop nor which epoch to keep.


# %% tags=["hide-input"]
# @title Helper: the log, the errors per sentence, a bootstrap interval { display-mode: "form" }
def read_log(path):
    """column -> values, one per epoch."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {column: np.array([float(row[column]) for row in rows]) for column in rows[0]}


def word_errors(report, decoder):
    """Wrong, missing and extra words of each sentence, (N,)."""
    pairs = [edits(row["said"].split(), row[decoder].split()) for row in report["sentences"]]
    return np.array([sum(a != b for a, b in sentence) for sentence in pairs])


def interval(values, draws=4000):
    """A 95 % bootstrap interval of the mean: draw as many sentences with replacement, many times."""
    picks = np.random.default_rng(0).integers(0, len(values), (draws, len(values)))
    return np.quantile(values[picks].mean(1), (0.025, 0.975))


# %%
RUNS = {"GRID speaker 1": "lipnet_small_grid_s1", "synthetic talker": "lipnet_small_synthetic"}
folders = {title: checkpoint.trained_folder(name) for title, name in RUNS.items()}
logs = {title: read_log(folder / "log.csv") for title, folder in folders.items()}
results = {t: json.loads((f / "results.json").read_text(encoding="utf-8")) for t, f in folders.items()}
for title, report in results.items():
    print(f"{title}: {report['weights']:,} weights, {len(report['sentences'])} validation clips of six words")
    for decoder in ("greedy", "grammar"):
        errors = word_errors(report, decoder) / 6
        low, high = interval(errors)
        print(f"    {decoder:8} WER {errors.mean():.1%}, 95 % interval {low:.0%} to {high:.0%}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
for report in results.values():
    for decoder in ("greedy", "grammar"):
        said, texts = ([row[key] for row in report["sentences"]] for key in ("said", decoder))
        rates = {"cer": cer(said, texts), "wer": wer(said, texts)}  # from the sentences, with our own metrics
        assert all(math.isclose(rates[key], report[decoder][key], abs_tol=1e-9) for key in rates)
        assert math.isclose(rates["wer"], word_errors(report, decoder).mean() / 6)
assert len(results["GRID speaker 1"]["sentences"]) == 100
gain = interval(
    word_errors(results["GRID speaker 1"], "greedy") - word_errors(results["GRID speaker 1"], "grammar")
)
assert gain[0] <= 0  # the interval of the difference holds 0

# %% [markdown]
# The intervals are wide: 100 sentences cannot distinguish 2 % from 4 %. The grammar decoder seems to gain 0.3
# **percentage points**, but the interval of that difference includes 0.
#
# ### The learning curve
#
# **Predict.** In the early epochs, is the validation loss above or below the training loss?

# %% tags=["predict"]
grid_log, grid = logs["GRID speaker 1"], results["GRID speaker 1"]
COLUMNS = {
    "training loss": "train_loss",
    "validation loss": "val_loss",
    "word error rate": "val_wer",
    "character error rate": "val_cer",
}
figures.curves(
    {label: grid_log[column] for label, column in COLUMNS.items()},
    steps=grid_log["epoch"],
    xlabel="epoch",
    ylabel="CTC loss per character; error rate",
    logy=True,
    title="GRID speaker 1: loss, and greedy decoding of the validation clips",
)

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Below. Training clips are augmented (shifted, zoomed, mirrored) and the network runs with dropout;
# validation clips are read as they are, without dropout. Both are forms of **regularization**: they make
# the training task harder so that the network **generalizes** better. So the two losses are not
# measured in the same way, and the epoch at which their curves cross has no meaning.
# </details>
#
# Read each curve on its own. The validation loss stops falling near epoch 55. The training loss goes on
# falling, to less than half of its value there. So the network fits its training clips better and better, and
# new clips no better: mild **overfitting**. In severe overfitting, the validation loss would rise again; here
# it stays flat.

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert (grid_log["val_loss"][:20] < grid_log["train_loss"][:20]).all()
flat = grid_log["val_loss"][54:]  # from epoch 55 on
assert flat.max() < 1.15 * flat.min() and grid_log["val_loss"][29] > 2 * flat.max()
assert grid_log["train_loss"][-1] < 0.5 * grid_log["train_loss"][54]

# %% [markdown]
# ### What it gets wrong
#
# GRID's sentences have six slots. The error rate of each:


# %% tags=["hide-input"]
# @title Plot: the error rate of each slot { display-mode: "form" }
def slot_errors(report, decoder):
    """The fraction of wrong or missing words per slot, (6,), and its pairs (reference, hypothesis)."""
    pairs = [[] for _ in grammar.SLOTS]
    for row in report["sentences"]:
        aligned = edits(row["said"].split(), row[decoder].split())
        for slot, pair in enumerate(pair for pair in aligned if pair[0] is not None):
            pairs[slot].append(pair)
    return np.array([np.mean([a != b for a, b in slot]) for slot in pairs]), pairs


errors, pairs = {}, {}
for title, report in results.items():
    for decoder in ("greedy", "grammar"):
        errors[title, decoder], pairs[title, decoder] = slot_errors(report, decoder)
figures.dot_plot(
    grammar.SLOT_NAMES,
    {decoder: errors["GRID speaker 1", decoder] for decoder in ("greedy", "grammar")},
    xlabel="fraction of words wrong or missing",
    title="GRID speaker 1: errors per slot",
)

# %% [markdown]
# All errors are in two slots. Of the prepositions, mostly *at* and *in* are confused. The spoken letter is
# short, one of 25, and unpredictable from the words before it. Do some letters also **look the same**? *b*
# and *p* differ mainly in voicing, which the camera does not record. Such words are called **homophemes**.
# If a model cannot tell $k$ of them apart, it is right once in $k$ times. So how many of the look-alike
# letters should it get wrong, and how many does it?

# %%
group_of = {letter: group for group in homophemes(grammar.LETTERS) for letter in group}
print("look-alikes:", " · ".join(sorted({"/".join(g) for g in group_of.values() if len(g) > 1})))
homopheme_test = {}
for title in RUNS:
    tested = [(a, b) for a, b in pairs[title, "grammar"][3] if len(group_of[a]) > 1]
    wrong = sum(a != b for a, b in tested)
    expected = sum(1 - 1 / len(group_of[a]) for a, _ in tested)
    homopheme_test[title] = wrong, expected, len(tested)
    print(f"{title}: of {len(tested)} such letters {wrong} are wrong; expected by guessing: {expected:.0f}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
for title in RUNS:
    assert grammar.SLOT_NAMES[int(errors[title, "grammar"].argmax())] == "letter"
assert np.flatnonzero(errors["GRID speaker 1", "greedy"]).tolist() == [2, 3]  # preposition and letter
wrong, expected, tested = homopheme_test["GRID speaker 1"]
assert (wrong, tested) == (0, 28) and 15.5 < expected < 16.5
all_right = math.prod(1 / len(group_of[a]) for a, _ in pairs["GRID speaker 1", "grammar"][3] if a in group_of)
assert all_right < 1e-6
wrong, expected, tested = homopheme_test["synthetic talker"]
assert abs(wrong - expected) < 2 * math.sqrt(tested / 4)  # as guessing would give

# %% [markdown]
# On the synthetic talker the groups are drawn with identical lips, and the model's errors are consistent
# with guessing. On the real speaker it makes none of about 16 expected errors; guessing would do that less
# than once in a million times. So for this model and this speaker, these letters are **not** homophemes. The
# test does not say why: the speaker may move his lips or time the letters differently. It says nothing about
# other speakers.
#
# ## 4. Bug hunt: what does a perfect prediction cost?
#
# Two defects from public lip-reading code, re-created in our own code. Neither crashes. One question finds
# both: **what is the loss of a perfect prediction?** It must be 0.


# %%
def perfect_logits(texts, n_frames):
    """(T, B, V) logits of a network that is certain of a path that spells each text."""
    logits = torch.zeros(n_frames, len(texts), 28)
    for b, text in enumerate(texts):
        labels = alphabet.encode(text)  # (L,)
        for i, label in enumerate(labels.tolist()):
            logits[2 * i, b, label] = 30.0  # every second frame a character …
            logits[2 * i + 1, b, 0] = 30.0  # … and a blank after it
        logits[2 * len(labels) :, b, 0] = 30.0
    return logits


texts = ["bin blue", "set red", "lay white now"]
perfect = perfect_logits(texts, n_frames=30)  # (T, B, V)
targets = [alphabet.encode(text) for text in texts]
lengths = torch.tensor([len(target) for target in targets])  # (B,)
frames = torch.full((3,), 30)  # (B,)
right_loss = F.ctc_loss(perfect.log_softmax(-1), torch.cat(targets), frames, lengths).item()
print(f"a perfect prediction costs {right_loss:.3f}")

# %% [markdown]
# ### Bug 1: padded labels, padded lengths
#
# To stack labels of unequal length, this code pads each to 16 with a character that does not occur (here
# *z*). It then tells CTC that **each label is 16 characters long**. Training runs, and the loss falls.

# %%
z = int(alphabet.encode("z")[0])
padded = torch.full((3, 16), z)  # (B, Lmax)
for row, target in zip(padded, targets, strict=True):
    row[: len(target)] = target

padded_loss = F.ctc_loss(perfect.log_softmax(-1), padded, frames, torch.full((3,), 16)).item()
print(f"a perfect prediction costs {padded_loss:.1f}: the target is {alphabet.decode(padded[1].tolist())!r}")
print(f"frames needed for “{texts[1]}”: {min_frames(targets[1])}, padded: {min_frames(padded[1])}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert right_loss < 0.01
assert padded_loss > 1 and min_frames(padded[1]) == 16 + 8  # 9 pads, 8 blanks between
assert min_frames([z] * 15) == 29

# %% [markdown]
# The network must write every pad, and a blank between each two of them. It can learn that, but *z-z-z-z*
# after the last word takes frames away from the sentence. In a well-known tutorial, labels of some 25
# characters are padded to 40 in clips of 75 frames: 15 pads in a row need 29 frames.
#
# ### Bug 2: batch and time swapped
#
# Much code keeps logits as `(B, T, V)`, as layers with `batch_first=True` do. `F.ctc_loss` expects
# `(T, B, V)`. Usually the swap raises an error, because the lengths do not fit. **Predict**: what happens
# when the batch has as many clips as a clip has frames?

# %% tags=["predict"]
many = (texts[:2] * 15)[:30]  # B = T = 30
perfect = perfect_logits(many, n_frames=30)  # (T, B, V)
targets = [alphabet.encode(text) for text in many]
lengths, frames = torch.tensor([len(t) for t in targets]), torch.full((30,), 30)
in_order = F.ctc_loss(perfect.log_softmax(-1), torch.cat(targets), frames, lengths).item()
swapped = F.ctc_loss(perfect.transpose(0, 1).log_softmax(-1), torch.cat(targets), frames, lengths).item()
print(f"a perfect prediction costs {in_order:.2f} as (T, B, V) and {swapped:.1f} as (B, T, V)")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert in_order < 0.01 and swapped > 1

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# No error, and a wrong loss: frame 7 of all clips is taken for clip 7. With 75-frame clips it happens at
# batch size 75.
# </details>
#
# ### Exercise 2 · `mended_loss` · difficulty ★★☆ · 10 minutes
#
# A model gives logits `(B, T, V)`; labels are padded with **zeros** (class 0 is the blank, so no label
# contains it). Write the loss without either bug: one value for the batch, as `F.ctc_loss` gives by
# default.


# %%
def mended_loss(logits, frames, labels):
    """logits (B, T, V), frames (B,) valid frames, labels (B, Lmax) padded with 0 -> loss (), a tensor."""
    raise NotImplementedError


check("09.mended_loss", mended_loss)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def mended_loss_solution(logits, frames, labels):
    """Time first, log-probabilities, and each label's own length without its padding."""
    log_probs = logits.transpose(0, 1).log_softmax(-1)  # (T, B, V)
    lengths = (labels != 0).sum(dim=1)  # (B,)
    return F.ctc_loss(log_probs, labels, frames, lengths)


# %%
mended_loss = use("09.mended_loss", mended_loss, mended_loss_solution)
labels = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True)  # (B, Lmax), padded with 0
mended = mended_loss(perfect.transpose(0, 1), frames, labels).item()
print(f"a perfect prediction costs {mended:.2f} with your loss")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert mended < 0.01

# %% [markdown]
# ## When your training does not learn
#
# <details><summary><b>Help: all blanks, or an empty text for every clip</b></summary>
#
# Compute the loss of the constant baseline (section 2). If yours is there, this is the blank plateau: train
# a few hundred steps more, normalize the pixels, put a normalization layer after the convolutions. If your
# loss is far *above* it, the learning rate is too low or the gradient does not reach the first layers:
# print `p.grad.norm()` for each parameter. If the loss is low and the text is empty, decoding is wrong: is
# the blank class 0 in both?
# </details>
#
# <details><summary><b>Help: the same sentence for every clip</b></summary>
#
# The second level: the network has learned your sentences and does not use the clip. Check that it *can*
# use it: swap two clips in a batch; do their logits swap? Are all clips normalized? Does each clip still
# have its own sentence after shuffling? Then try word timings, a smaller batch, or fewer clips until the
# network can overfit them.
# </details>
#
# <details><summary><b>Help: the loss is inf or NaN</b></summary>
#
# `inf`: some sentence needs more frames than its clip has: characters + one for each pair of equal
# neighbors (`lessons.ctc.min_frames`). Find it with `reduction="none"`. Frames dropped by augmentation can
# cause it. `NaN` at once: NaN pixels, or 0/0 in a normalization. `NaN` later: look at the gradient norm in
# the steps before; clip it, lower the learning rate, keep the GRUs and the loss in float32. A negative
# loss: you passed logits instead of log-probabilities.
# </details>
#
# <details><summary><b>Help: the loss is stuck, well below the plateau</b></summary>
#
# Ask what a perfect prediction costs (section 4): it must be 0. Is the validation loss stuck and the
# training loss not? That is overfitting: more clips, more augmentation, dropout. Are both stuck? A larger
# network, a longer run, a learning rate that falls more slowly. And look at the confusions: letters that
# look alike are a Bayes error that no training removes.
# </details>
#
# ## Deeper: watch one clip at every step
#
# Move the slider: how do the outputs of section 2 change from step to step?

# %% tags=["nbval-ignore-output"]
# output not compared: the slider is a widget, which lives only while the notebook runs
from ipywidgets import interact


@interact(step=(0, 230, EVERY))
def look(step=60):
    return at_steps([step], columns=1)


# %% [markdown]
# ## Deeper: word timings
#
# GRID notes when each word is spoken. So each frame has a rough label: the letters of the word, spread
# evenly. A cross-entropy with these labels needs no search over paths. `Settings(start="timings")` adds it
# to the CTC loss and fades it out over the first half of the run. The real run was trained in this way.

# %%
show(timing_loss)

# %%
hinted = watched_run(replace(small, start="timings"), small_model())


def first_step_below(values, level, window=5):
    """The first step at which the mean of `window` steps is below `level`."""
    means = np.convolve(values, np.ones(window) / window, mode="valid")  # (N - window + 1,)
    return int(np.argmax(means < level)) + window - 1


def plateau_steps(blanks):
    """The number of steps at which the best path is almost all blanks."""
    return int((np.array(blanks) > 0.97).sum())


figures.training_run(
    {"CTC": loss, "CTC + word timings": np.array(hinted["loss"])},
    {"CTC": blanks, "CTC + word timings": hinted["blanks"]},
    levels=LEVELS,
    width=6.5,
    title="The same model and clips, with and without word timings",
)

# %% [markdown]
# ### Several seeds
#
# Two runs are an anecdote. Other initial weights and another order of the clips could give another result.
# Five seeds of each run are committed (`python -m tools.plateau_seeds` makes the files with the functions
# above); the length of the blank plateau is from three of them. The two runs in this notebook are seed 0.


# %%
def of_seeds(file, column, run):
    """One value per seed."""
    path = checkpoint.trained_folder("plateau_seeds") / file
    with open(path, newline="", encoding="utf-8") as opened:
        return np.array([float(row[column]) for row in csv.DictReader(opened) if row["run"] == run])


spread = {run: of_seeds("seeds.csv", "steps_to_level", run) for run in ("plain", "timings")}
for run in spread:
    on = of_seeds("plateau.csv", "plateau_steps", run)
    print(
        f"{run:8} blank plateau {on.min():.0f} to {on.max():.0f} steps; "
        f"past the second baseline after {spread[run].min():.0f} to {spread[run].max():.0f} steps"
    )
figures.seed_spread(
    {"CTC": spread["plain"], "CTC + word timings": spread["timings"]},
    xlabel="steps until the loss is below the second baseline",
    title="Five seeds each",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert spread["timings"].max() < spread["plain"].min()  # in every seed
on = {run: of_seeds("plateau.csv", "plateau_steps", run) for run in spread}
assert (on["timings"] > on["plain"]).all()
assert math.prod(map(len, grammar.SLOTS)) == 64_000
runs = {"plain": plain, "timings": hinted}
for run, seen in runs.items():  # seed 0, here and now, against the file
    # A GPU adds in another order, with fewer digits: over 240 steps the curves drift apart.
    now = first_step_below(seen["loss"], per_frame_loss)
    assert abs(spread[run][0] - now) <= (40 if GPU else 12)
    assert abs(on[run][0] - plateau_steps(seen["blanks"])) <= (30 if GPU else 8)

# %% [markdown]
# Two results:
#
# - The timings do not shorten the blank plateau. In each of the three seeds it is **longer** with them.
# - They shorten what follows, the stretch in which all clips get nearly the same text. The slowest run with
#   timings passes the second baseline before the fastest run without.
#
# On nine sentences the timings save a few dozen steps. GRID's grammar has 64,000 sentences; "Deeper: train it
# yourself" shows one run without timings there.
#
# ## Deeper: warm-up, clipping, averaging
#
# ### Warm-up
#
# `learning_rate` rises over `warmup_steps`, then falls along half a cosine.

# %%
show(cosine)

# %% [markdown]
# Adam keeps two running means per weight, of the gradient and of its square. With $\beta_1 = 0.9$ and
# $\beta_2 = 0.98$ here:
#
# $$m \leftarrow \beta_1 m + (1-\beta_1)\, g, \quad v \leftarrow \beta_2 v + (1-\beta_2)\, g^2, \quad
#   \theta \leftarrow \theta - \eta\, \frac{m / (1-\beta_1^t)}{\sqrt{v / (1-\beta_2^t)} + \epsilon}$$
#
# **Predict.** At step $t = 1$ the fraction is $g / |g|$. How far does a weight with a large gradient move
# in the first step without warm-up, and how far one with a tiny gradient?

# %% tags=["predict"]
one = small_model()
before = torch.cat([p.detach().flatten().clone() for p in one.parameters()])
high = replace(small, epochs=7, learning_rate=1e-2)
fit(one, training.subset(range(8)), replace(high, epochs=1, warmup_steps=1))  # a single step
change = torch.cat([p.detach().flatten() for p in one.parameters()]) - before
fraction = ((change.abs() / 1e-2 - 1).abs() < 0.01).float().mean().item()
print(
    f"weights that moved by the learning rate, within 1 %: {'more' if fraction > 0.9 else 'less'} than 90 %"
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert fraction > 0.9

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Both move by the whole learning rate, in the direction that a single mini-batch of eight clips asks for.
# Much of that direction is noise.
# </details>
#
# That is the argument for warm-up: with a low rate at first, Adam's means have seen many mini-batches
# before the steps become large. Does it help **here**? Three seeds each of two runs of 84 steps, with a
# learning rate of 0.01, on purpose high: one starts at that rate, the other reaches it after 40 steps.

# %%
for run in ("at once", "warmed up"):
    early, late = (of_seeds("warmup.csv", column, run) for column in ("loss_first_40", "loss_last_20"))
    print(f"{run:9}  loss over the first 40 steps {early.min():.1f} to {early.max():.1f}, ", end="")
    print(f"over the last 20 {late.min():.1f} to {late.max():.1f}")
figures.seed_spread(
    {run: of_seeds("warmup.csv", "loss_last_20", run) for run in ("at once", "warmed up")},
    xlabel="mean loss over the last 20 of 84 steps",
    title="Learning rate 0.01, three seeds each",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
early, late = (
    {run: of_seeds("warmup.csv", column, run) for run in ("at once", "warmed up")}
    for column in ("loss_first_40", "loss_last_20")
)
assert early["at once"].max() < early["warmed up"].min()
assert 0 < (late["warmed up"] < late["at once"]).sum() < 3  # better in one seed, worse in another

# %% [markdown]
# Not clearly. Over the first 40 steps the run without warm-up has the lower loss in all three seeds: its rate
# is higher. At the end, warm-up is better with some seeds and worse with others. So on this task, three seeds
# show no benefit. The real run keeps warm-up as a precaution: it takes 150 of some 9,000 steps.
#
# ### Clipping

# %%
norms = np.array(plain["norm"])
clipped = np.mean(norms > small.clip_norm)
print(f"steps with a norm above {small.clip_norm:g}: {'less' if clipped < 0.2 else 'more'} than 20 %")
figures.curves(
    {"norm": norms},
    level=small.clip_norm,
    level_label="clip_norm",
    ylabel="gradient norm",
    logy=True,
    width=6.2,
    height=2.7,
    title="The gradient norm of the run in section 2",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert norms[:10].max() > 2 * small.clip_norm and clipped < 0.2

# %% [markdown]
# After its first steps, this run rarely reaches the limit: clipping is a safety net. Here is a batch where it
# matters, in the smallest training there is: one weight, whose gradient is always 1, except for one broken
# batch at step 50, where it is 1000.


# %%
def step_sizes(limit, steps=160):
    """How far Adam moves one weight per step, relative to the rate; at step 50 the gradient is 1000."""
    weight, sizes = torch.zeros(1, requires_grad=True), []
    optimizer = torch.optim.Adam([weight], lr=1e-3, betas=(0.9, 0.98))
    for t in range(1, steps + 1):
        weight.grad = torch.tensor([1000.0 if t == 50 else 1.0]).clamp(max=limit)  # its value is its norm
        before = weight.item()
        optimizer.step()
        sizes.append(abs(weight.item() - before))
    return np.array(sizes) / 1e-3


unclipped, with_clipping = step_sizes(limit=math.inf), step_sizes(limit=5.0)
print("80 steps after the broken batch, step / learning rate:")
print(f"    no clipping {unclipped[129]:.2f}, clip_norm 5 {with_clipping[129]:.2f}")
figures.curves(
    {"no clipping": unclipped, "clip_norm 5": with_clipping},
    ylabel="step / learning rate",
    width=6.2,
    height=2.7,
    title="One broken batch at step 50",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert unclipped[129] < 0.1 < 0.9 < with_clipping[129]

# %% [markdown]
# Adam's $v$ keeps the *square* of the outlier for hundreds of steps and nearly stops the weight. With
# clipping the outlier leaves hardly a trace.
#
# ### Averaging the weights
#
# Each mini-batch is a small sample, so each gradient is partly noise. At a constant learning rate the
# weights never settle: they move around the minimum. Their running mean stays closer to it. One weight
# again: its best value is 0, and its gradient is the slope of $w^2/2$ plus noise.


# %%
def random_walk(decay, steps=250):
    """The weight and its running mean after each step of Adam, both (steps,)."""
    generator, path = torch.Generator().manual_seed(0), []
    weight, mean = torch.ones(1, requires_grad=True), torch.ones(1)
    optimizer = torch.optim.Adam([weight], lr=0.1, betas=(0.9, 0.98))
    for t in range(1, steps + 1):
        weight.grad = weight.detach() + torch.randn(1, generator=generator)
        optimizer.step()
        mean.lerp_(weight.detach(), 1 - min(decay, (1 + t) / (10 + t)))  # at first it forgets faster
        path.append((weight.item(), mean.item()))
    return np.array(path).T


weight_path, mean_path = random_walk(decay=0.98)
away = {name: np.abs(path[100:]).mean() for name, path in (("weight", weight_path), ("mean", mean_path))}
print(f"mean distance from the best value: weight {away['weight']:.2f}, running mean {away['mean']:.2f}")
figures.curves(
    {"weight": weight_path, "running mean": mean_path},
    level=0.0,
    level_label="best",
    ylabel="value",
    width=6.2,
    height=2.7,
    title="The running mean lags a little, and stays nearer to the best value",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert away["mean"] < 0.8 * away["weight"]

# %% [markdown]
# A learning rate that falls to almost nothing has a similar effect by the end of a run. Averaging gives you
# good weights throughout, which matters when you stop early. `lessons.training.lipnet` keeps the mean of
# all weights and evaluates with it.
#
# ## Deeper: train it yourself
#
# These commands made the model of section 3 (the first two fetch the data):
#
# ```
# python -m lessons grid download --speakers 1 --out data/raw
# python -m lessons grid prepare --raw data/raw --out data/grid
# python -m lessons train --preset small --data data/grid --out runs/small
# ```
#
# Without the data, `python -m lessons train --out runs/talker` trains on the synthetic talker. A second run
# of the same command resumes where the first was stopped. `--start plain` trains without word timings;
# `--preset full` is LipNet as published and needs a GPU. On a GPU, the next cell trains the same model now,
# on real clips if you have them, with the settings of `--preset quick`. Without a GPU it does nothing. (On
# a CPU the same run takes some minutes: `python -m lessons train --preset quick`.)

# %%
if GPU:
    quick_model, size, quick = PRESETS["quick"]
    folder = find_mouth_set()
    clips_here = load_clips(str(folder) if folder else "synthetic", size, 800)
    torch.manual_seed(quick.seed)
    _, rows = train(quick_model(), *clips_here, quick, device=device)
    here = {column: np.array([row[column] for row in rows]) for column in COLUMNS.values()}
    print(f"{'GRID' if folder else 'the talker'}: word error rate {here['val_wer'][-1]:.1%}", end=" ")
    print(f"after {rows[-1]['seconds']:.0f} s")
    figures.curves(
        {label: here[column] for label, column in COLUMNS.items()},
        steps=np.arange(1, len(rows) + 1),
        xlabel="epoch",
        ylabel="CTC loss per character; error rate",
        logy=True,
        title="The quick training on this GPU",
    )

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
if GPU:
    assert here["val_wer"][-1] < 0.25 < here["val_wer"][0]

# %% [markdown]
# ### An ablation: the same run without word timings
#
# An *ablation* removes one part and trains again. One more run was made with `--start plain --epochs 30`:
# CTC alone. **Predict** its word error rate after these 3,000 steps. Section 2 has shown you what it does
# first.

# %% tags=["predict"]
plain_log = read_log(folders["GRID speaker 1"] / "log_plain.csv")
n = len(plain_log["epoch"])
after = plain_log["val_wer"][-1], grid_log["val_wer"][n - 1]
print(f"WER after {n} epochs: CTC alone {after[0]:.0%}, with word timings {after[1]:.0%}")
figures.curves(
    {"CTC alone": plain_log["val_wer"], "with word timings": grid_log["val_wer"][:n]},
    steps=plain_log["epoch"],
    xlabel="epoch",
    ylabel="word error rate",
    ylim=(0, 1.05),
    width=6.2,
    height=2.7,
    title="GRID speaker 1, 100 validation clips",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert n * 100 == plain_log["step"][-1] == 3_000 and after[0] > 3 * after[1]

# %% [markdown]
# It is one run each, and the two differ in more than the timings: after 30 epochs the learning rate of the
# plain run had fallen to almost nothing, that of the other run had not. So the figure does not say how far
# a longer plain run would go. It does say that within these 30 epochs, CTC alone is far behind.
#
# ### A shifted crop
#
# Another face detector, or another face, puts the mouth a few pixels elsewhere. Augmentation moved every
# training clip by up to 4 of 32 rows and 6 of 64 columns for that reason. Here are the validation clips,
# shifted or scaled on purpose.

# %%
misplaced = grid["misplaced_greedy_wer"]
worst = max(misplaced, key=misplaced.get)
rates = np.array([misplaced["as cropped"], misplaced[worst]])
margin = 1.96 * math.sqrt((rates * (1 - rates) / (6 * len(grid["sentences"]))).sum())
print(f"worst: {worst}, {100 * (rates[1] - rates[0]):+.1f} percentage points, ± {100 * margin:.1f}")
figures.dot_plot(
    list(misplaced),
    {title: list(report["misplaced_greedy_wer"].values()) for title, report in results.items()},
    xlabel="word error rate, greedy",
    title="Error rate with a misplaced crop",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert math.isclose(misplaced["as cropped"], grid["greedy"]["wer"], abs_tol=1e-9)
assert rates[1] - rates[0] < margin

# %% [markdown]
# The margin (95 %, for two independent samples of 600 words) is as large as the worst difference. So 100
# clips show no certain loss, and they rule out a loss of more than about five points.
#
# ## Deeper: which words are confused
#
# To count confusions you must know which word was read *for* which. When a word is missing, all later ones
# move up, and a comparison by position would call every one of them wrong.
#
# ### Exercise 3 · `align_words` · difficulty ★★★ · 20 minutes
#
# Pair the words of a reference with the words of a hypothesis so that as few pairs as possible differ. A
# word that is missing in the hypothesis (a deletion) is paired with `None`, and so is an extra word (an
# insertion): `align_words("at b two", "at two")` gives `[("at", "at"), ("b", None), ("two", "two")]`. Hint:
# fill the table of edit distances between all beginnings of the two sentences, then walk back from its last
# corner.


# %%
def align_words(reference, hypothesis):
    """Two sentences (str) -> a list of pairs (reference word or None, hypothesis word or None)."""
    raise NotImplementedError


check("09.align_words", align_words)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def align_words_solution(reference, hypothesis):
    """cost[i][j]: fewest edits from i reference words to j hypothesis words; then back from the corner."""
    reference, hypothesis = reference.split(), hypothesis.split()
    cost = [[i + j for j in range(len(hypothesis) + 1)] for i in range(len(reference) + 1)]
    for i in range(1, len(reference) + 1):
        for j in range(1, len(hypothesis) + 1):
            substituted = cost[i - 1][j - 1] + (reference[i - 1] != hypothesis[j - 1])
            cost[i][j] = min(substituted, cost[i - 1][j] + 1, cost[i][j - 1] + 1)
    pairs, i, j = [], len(reference), len(hypothesis)
    while i > 0 or j > 0:
        if i > 0 and j > 0 and cost[i][j] == cost[i - 1][j - 1] + (reference[i - 1] != hypothesis[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((reference[i], hypothesis[j]))
        elif i > 0 and cost[i][j] == cost[i - 1][j] + 1:
            i -= 1
            pairs.append((reference[i], None))
        else:
            j -= 1
            pairs.append((None, hypothesis[j]))
    return pairs[::-1]


# %%
align_words = use("09.align_words", align_words, align_words_solution)

# %% [markdown]
# The package's version is `lessons.ctc.metrics.edits`. With yours, the confusions of the spoken letter:

# %%
letters = [*group_of, "–"]  # look-alikes side by side; "–": no letter was read


def confusions(report, decoder, slots, words):
    """Counts (N, N): row the reference, column the hypothesis; the last column is "no such word"."""
    counts = np.zeros((len(words), len(words)))
    for row in report["sentences"]:
        aligned = [pair for pair in align_words(row["said"], row[decoder]) if pair[0] is not None]
        for said, read in (aligned[slot] for slot in slots):
            counts[words.index(said), words.index(read) if read in words else -1] += 1
    return counts


talker = results["synthetic talker"]
counts = confusions(talker, "greedy", [3], letters)
figures.confusion_matrix(
    counts, letters, width=6.8, title="Synthetic talker: letters, greedy; look-alikes are neighbors"
)

# %%
floor = error_floor()
wrong = word_errors(talker, "grammar").sum()
avoidable = wrong - homopheme_test["synthetic talker"][0]
print(f"WER on the talker: model {wrong / 6 / len(talker['sentences']):.1%}, Bayes error {floor.wer:.1%}")
print(f"but of its {wrong} wrong words, {avoidable} are not look-alike letters")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert counts.sum() == len(talker["sentences"])
assert avoidable >= 5 and abs(wrong / 6 / len(talker["sentences"]) - floor.wer) < 0.005

# %% [markdown]
# The two rates are equal to the digit shown, but the model has **not** reached the Bayes error: the error
# of an *ideal observer*, who guesses among look-alikes and gets everything else right. The model was
# luckier with its guesses than expected, and it also confuses words that an ideal observer would tell
# apart. On GRID:

# %%
counts = confusions(grid, "greedy", [3], letters)
figures.confusion_matrix(counts, letters, width=6.8, title="GRID speaker 1: letters, greedy")

# %%
others = (0, 1, 2, 4, 5)
words = [word for slot in others for word in grammar.SLOTS[slot]] + ["–"]
counts = confusions(grid, "greedy", others, words)
off_diagonal = counts - np.diag(np.diag(counts))
print(f"other five slots: {off_diagonal.sum():.0f} of {counts.sum():.0f} words wrong, in ", end="")
print(f"{np.count_nonzero(off_diagonal)} different cells of the matrix")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert counts.sum() == 5 * len(grid["sentences"])
assert off_diagonal.sum() == 9
at, into = words.index("at"), words.index("in")
assert off_diagonal[at, into] == off_diagonal[into, at] == 3

# %% [markdown]
# Six of the nine are *at* and *in*, each taken for the other: two short words, each a vowel and a consonant
# that the tongue makes behind the teeth.
#
# ## Deeper: alignment and saliency
#
# Load the trained model and take it through one clip. **If you have GRID clips, change one word below**,
# and the rest of this section shows a real mouth.

# %%
clips_from = "synthetic"  # or "grid", when you have the mouth set ("Deeper: train it yourself")

if clips_from == "grid":
    from lessons.data.grid import load

    if find_mouth_set() is None:
        raise FileNotFoundError("no mouth set found: run the two commands above, or set LESSONS_GRID")
    reader, clips = checkpoint.load("lipnet_small_grid_s1"), load(find_mouth_set(), "val").subset(range(24))
else:
    reader, clips = checkpoint.load("lipnet_small_synthetic"), synthetic_clips(24, seed=8)

reading = evaluate(reader, clips)
right = [i for i, (a, b) in enumerate(zip(clips.transcripts, reading.texts, strict=True)) if a == b]
print(f"{len(right)} of {len(clips)} sentences read without an error")
chosen = right[0]

# %% [markdown]
# ### Alignment: when is each letter read?
#
# Of all paths that spell the sentence, `forced_align` finds the most probable one. It gives the frames at
# which the network emits each character. Nobody gave it the timings of this clip.

# %%
video, sentence = clips.frames[chosen], clips.transcripts[chosen]  # (T, H, W) uint8
x = normalize(torch.from_numpy(video)[None])  # (1, T, H, W)
with torch.no_grad():
    log_probs = reader(x[:, None])[:, 0].log_softmax(-1)  # (T, V)
path = forced_align(log_probs, alphabet.encode(sentence))
spans = path.spans()  # L times (first frame, one past the last)
where = [i for i, symbol in enumerate(sentence) if symbol != " "]
starts, spelled = [spans[i][0] for i in where], [sentence[i] for i in where]
segments = clips.segments[chosen]
title = "Above, the network's output; below, what was spoken"
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
print(f"middle of a word as aligned and as spoken: {apart.mean():.0f} frames apart on average, of 75")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert apart.mean() < 4

# %% [markdown]
# ### Saliency: which pixels does it depend on?
#
# If a pixel were a little brighter, how much would the probability of these characters change? That is the
# gradient of the characters' log-probabilities along the alignment, with respect to the pixels:
#
# $$S_{t,h,w} = \Big|\, \frac{\partial}{\partial x_{t,h,w}} \sum_{t':\ \text{path}_{t'} \neq \text{blank}}
#   \ln p_{t'}(\text{path}_{t'}) \,\Big|$$
#
# LipNet's authors (§4.4.1) use *guided* backpropagation instead, which also sets negative gradients to zero
# at every ReLU. That sharpens the image, but it is no longer the gradient of any function, and it hardly
# depends on the weights of the upper layers (Adebayo et al., 2018). So here the gradient stays plain.

# %%
pixels = x.clone().requires_grad_()  # (1, T, H, W), here one channel of one clip
log_probs = reader(pixels[None])[:, 0].log_softmax(-1)  # (T, V)
letter_frames = path.path != 0  # (T,)
log_probs[letter_frames, path.path[letter_frames]].sum().backward()
heat = pixels.grad.abs().amax(0)  # (T, H, W)
agree(
    "this gradient against lessons.lipreading.saliency", heat, saliency(reader, x, path.path), tolerance=1e-5
)
figures.saliency_overlay(
    video, heat, starts[1:5], spelled[1:5], columns=4, width=6.4, title="Saliency of four letters' frames"
)

# %% [markdown]
# (The checkered pattern comes from strided convolutions: some pixels lie under more windows than their
# neighbors.) It looks as if the network uses the lips. Four images prove nothing, so we measure. For the
# talker, the renderer can tell which pixels belong to the mouth: keep the head still, open and close the
# mouth, and see which pixels change. The baseline is the same network, untrained.

# %%
if clips_from == "synthetic":
    fractions = {"trained": [], "untrained": []}
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
            map_of = saliency(network, one, along).sum(0)  # (H, W)
            fractions[name].append(((map_of[mouth].sum() / map_of.sum()).item(), mouth.mean()))
    (inside, area), (inside_fresh, _) = (
        np.mean(fractions[name], axis=0) for name in ("trained", "untrained")
    )
    print(f"the mouth is {area:.0%} of the image and has {inside:.0%} of the saliency", end="; ")
    print(f"in an untrained network, {inside_fresh:.0%}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
if clips_from == "synthetic":
    assert inside > 1.3 * area and inside > 1.2 * inside_fresh and inside < 0.5

# %% [markdown]
# On these four clips, the trained network has more of its saliency on the mouth than the mouth has of the
# area, and more than the untrained network has there. Still, more than half of the saliency lies
# **outside** the mouth. This measurement does not say what the network uses there.
#
# Now over time: how much does the output depend on each frame, and when does somebody speak?

# %%
per_frame = heat.sum((1, 2)).numpy()  # (T,)
per_frame = per_frame / per_frame.sum()
begin, stop = (round(segments[i][j]) for i, j in ((0, 1), (-1, 0)))  # where the silences end and start
during = per_frame[begin:stop].sum()
print(f"speech: {(stop - begin) / len(per_frame):.0%} of the frames, {during:.0%} of the saliency")
figures.curves(
    {"saliency": per_frame},
    xlabel="frame",
    ylabel="fraction of the saliency",
    plateau=(begin, stop),
    plateau_label="speech",
    width=6.2,
    height=2.7,
    title="Saliency per frame",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert during > (stop - begin) / len(per_frame)

# %% [markdown]
# ## Deeper: a mean of error rates
#
# A third bug: some public code averages the error rates of the sentences. Ours divides all edits by all words
# (the *corpus* rate). **Predict**: by how much do the two differ on our validation clips?


# %% tags=["predict"]
def mean_over_sentences(rate, references, hypotheses):
    return float(np.mean([rate([a], [b]) for a, b in zip(references, hypotheses, strict=True)]))


references, hypotheses = ([row[key] for row in grid["sentences"]] for key in ("said", "greedy"))
for name, rate in (("WER", wer), ("CER", cer)):
    corpus, mean_rate = rate(references, hypotheses), mean_over_sentences(rate, references, hypotheses)
    print(f"GRID {name}: corpus {corpus:.4%}, mean over sentences {mean_rate:.4%}")

references, hypotheses = ["no", "i have never said that i would"], ["so", "i have never said that i would"]
corpus, mean_rate = wer(references, hypotheses), mean_over_sentences(wer, references, hypotheses)
print(f"1 word wrong of 1 + 7: corpus {corpus:.1%}, mean over sentences {mean_rate:.1%}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert math.isclose(corpus, 1 / 8) and math.isclose(mean_rate, 1 / 2)
references, hypotheses = ([row[key] for row in grid["sentences"]] for key in ("said", "greedy"))
assert math.isclose(wer(references, hypotheses), mean_over_sentences(wer, references, hypotheses))

# %% [markdown]
# On GRID the WER does not change, since every sentence has six words: the bug goes unnoticed. On free
# speech the two numbers can differ greatly, so never compare one with the other.
#
# ## Recap
#
# - A training step: zero the gradients, forward pass, CTC loss, backward pass, clipping, update. Yours
#   gives the same weights as `lessons.training.lipnet`.
# - CTC first learns to output nothing, then the same for every clip, then to read. Two blind baselines give
#   the height of both levels before you train.
# - Training and validation loss are measured differently when there is regularization. A training loss that
#   falls while the validation loss no longer does means overfitting.
# - Give every error rate an interval. To claim that two words look alike, compare the errors with guessing.
# - Ask of every loss what a perfect prediction costs.
#
# ## Glossary
#
# | word | meaning | also called |
# |---|---|---|
# | training step | forward pass, loss, backward pass, update on one mini-batch | iteration |
# | peaky behavior | each character in one or two frames, blanks in between | spiky outputs |
# | blind baseline | the best model that does not see the input | prior, constant predictor |
# | hyperparameter | a setting that is chosen, not learned | |
# | regularization | what makes fitting the training data harder so that new data are fitted better | |
# | overfitting | a better fit to training data that no longer carries over to new data | memorization |
# | generalization | how well a model does on data that it was not trained on | |
# | learning-rate schedule | the learning rate as a function of the step; warm-up is its rise | |
# | ablation | training again without one part, to measure what that part is worth | |
# | weight averaging | keeping a running mean of the weights and evaluating with it | EMA, Polyak averaging |
# | saliency | how much the output changes with each pixel | sensitivity map |
# | corpus error rate | all edits over all reference words, not a mean over sentences | micro average |
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
# **Next**: notebook 10 asks why this network reads nobody but the person it was trained on, and what helps.
