# %% [markdown]
# # 10 · Strangers
#
# **A lip reader trained on one person misreads most of what other people say. You will find out why, and
# train one that generalizes to people it has never seen.**
#
# *Core path: about 58 minutes; deeper sections: about 8; all cells together run in about two minutes on one
# CPU core.*
#
# **You need**: how LipNet is trained (notebook 09), the talker and splits (notebook 08), the word error rate
# WER (notebook 05).
#
# **You will be able to**
# - measure with a linear probe how much a network's features reveal about *who* is speaking;
# - write an augmentation that changes how a clip looks and keeps what it says;
# - describe a mouth by measures that mean the same on every face, and train a network to predict them;
# - split data by speaker, find a split that leaks, and compute a confidence interval over people;
# - say which errors remain, and what such a model must not be used for.

# %%
import json
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F

import lessons
from lessons import figures
from lessons.checks import check, use
from lessons.cli.train import by_slot
from lessons.ctc.metrics import wer
from lessons.data.batch import normalize
from lessons.data.clips import ClipSet
from lessons.data.disguise import damaged, disguise, posed
from lessons.data.grid.align import SILENCES
from lessons.data.motions import MEASURES, POINTS, Motion, mouth_measures, standardized
from lessons.data.synthetic.mouth_drawing import mouth_points
from lessons.data.synthetic.talker import Speaker, render, say, synthetic_clips
from lessons.data.synthetic.visemes import word_visemes
from lessons.lipreading import LipNet, SmallLipNet, StrangerLipNet
from lessons.lipreading.lipnet import fastest_layers
from lessons.lipreading.lipnet_stranger import standardize
from lessons.source import show
from lessons.training import checkpoint
from lessons.training.detector_table import t_interval
from lessons.training.evaluation import evaluate
from lessons.training.lipnet import train
from lessons.training.settings import Settings, StrangerSettings
from lessons.training.strangers import StrangerRun, measure_loss

device = lessons.device()
GPU = device.type == "cuda"

# %% [markdown]
# ## 1. The problem
#
# The model `lipnet_small_grid_s1` comes with the course. It was trained on 799 clips of one man, GRID's
# speaker s1. It reads new sentences of this man well. Now let it read clips of the synthetic talker: the same
# 51 words and the same grammar, spoken by drawn faces. As a control, a model that was trained on drawn faces
# reads the same clips.


# %% tags=["hide-input"]
# @title Plot: one man's model on drawn people { display-mode: "form" }
def results_of(name, file="results.json"):
    """What was measured of a model that comes with the course."""
    return json.loads((checkpoint.trained_folder(name) / file).read_text(encoding="utf-8"))


drawn_people = synthetic_clips(12, seed=15)  # each clip has a speaker of its own
own = results_of("lipnet_small_grid_s1")["greedy"]["wer"]
readings = {
    name: evaluate(checkpoint.load(name), drawn_people)
    for name in ("lipnet_small_grid_s1", "lipnet_small_synthetic")
}
lost, fine = (reading.wer for reading in readings.values())
figures.dot_plot(
    ["one man's model, on that man", "the same model, on drawn people", "a model of drawn people, on them"],
    {"WER": [own, lost, fine]},
    xlabel="WER",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert lost > 0.5 and fine < 0.15

# %% [markdown]
# Drawings are a harsh test for a model trained on real skin, but it fails on real strangers, too (figures:
# `lessons/trained/lipnet_anyone/README.md`). We study the cause in a small synthetic world.
#
# ### A small world
#
# Nine sentences of two words, frames of 16 × 32 pixels, 30 frames. Everybody in this world is a talker with a
# number; the number determines the face, the light, the rate of speech and how much the head moves.
# `clips_of` (folded) renders clips of some talkers and notes how the mouth moves in each.

# %%
COMMANDS, COLORS = ("bin", "lay", "set"), ("blue", "red", "white")
SENTENCES = [f"{command} {color}" for command in COMMANDS for color in COLORS]
T = 30  # frames


def talker(number: int) -> Speaker:
    return Speaker.random(np.random.default_rng([15, number]))


# %% tags=["hide-input"]
# @title Helper: clips, and the motion in each { display-mode: "form" }
def motion_of(name, number, sentence, shapes, words):
    """How the mouth of a talker moves through a sentence: nine measures per frame (section 4)."""
    spoken = [(start, end) for start, end, word in words if word not in SILENCES]
    first, last = round(spoken[0][0]), round(spoken[-1][1])
    measures = mouth_measures(mouth_points(shapes[first:last], talker(number)))  # (N, 9)
    return Motion(name, f"talker {number}", sentence, words, first, measures)


def clips_of(numbers, n, seed, size=(16, 32)):
    """n clips, the talkers taking turns, and the motion in each clip, by its id."""
    frames, segments, motions = [], [], {}
    for i in range(n):
        rng, number = np.random.default_rng([seed, i]), numbers[i % len(numbers)]
        sentence = SENTENCES[rng.integers(len(SENTENCES))]
        shapes, words = say(sentence, talker(number).rate, rng, T)  # (T, 8)
        frames.append(render(shapes, talker(number), size, rng=rng))  # (T, H, W)
        segments.append(words)
        name = f"clip_{seed}_{i}"
        motions[name] = motion_of(name, number, sentence, shapes, words)
    said, speakers = (tuple(getattr(m, key) for m in motions.values()) for key in ("transcript", "speaker"))
    lengths = np.full(n, T)
    return ClipSet(np.stack(frames), lengths, tuple(motions), said, tuple(segments), speakers), motions


# %%
ONE, STRANGERS = [0], range(1000, 1020)
one, one_motions = clips_of(ONE, 192, seed=0)  # what we train on: one talker
same, _ = clips_of(ONE, 30, seed=1)  # other clips of the same talker
strangers, _ = clips_of(STRANGERS, 60, seed=2)  # 20 talkers who are in no training set

# %% tags=["hide-input"]
# @title Plot: one talker, three strangers { display-mode: "form" }
faces = {
    f"{number}": strangers.frames[i, 12:24:2] for i, number in enumerate(STRANGERS[:3])
}  # (6, H, W) each
figures.clip_rows(
    {"the talker we train on": one.frames[0, 12:24:2]} | faces, title="One talker, three strangers"
)

# %% [markdown]
# **Predict.** A small LipNet learns from 192 clips of one talker. What is its WER on 30 other clips of the
# same talker, and what is it on the strangers?


# %%
def new(kind: type[LipNet], seed: int = 0) -> LipNet:
    torch.manual_seed(seed)
    return kind(
        frame_size=(16, 32),
        channels=(8, 12, 16),
        hidden_size=48,
        projection=48,
        dropout=0.0,
        layers=fastest_layers(device),
    )


LONGER = 2 if GPU else 1  # a GPU has time for more epochs
common = {"epochs": 12 * LONGER, "warmup_steps": 15, "average": 0.97}
plain_settings = Settings(**common, batch_size=8, learning_rate=4e-3, augmented=False)  # 24 steps per epoch
plain, plain_log = train(
    new(SmallLipNet), one, strangers, plain_settings, device=device, precision=torch.float32
)

# %% tags=["predict"]
known, unknown = evaluate(plain, same).wer, evaluate(plain, strangers).wer
figures.dot_plot(["the same talker", "strangers"], {"WER": [known, unknown]}, xlabel="WER")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert known < 0.1 and unknown > 0.6  # measured: 0.0 and 0.93

# %% [markdown]
# The model generalizes to new *clips* and hardly at all to new *people*: it has overfitted to a face. Nothing
# in its training says that the face is not part of the sentence. With one talker, the brightness of the lips
# is a constant, so a feature that relies on exactly this brightness has no cost.
#
# ## 2. What the features encode: a linear probe
#
# A **linear probe** measures what a network's features encode. Freeze the network, collect its features per
# frame, and fit a linear classifier for a question that the network was not trained on. Ours is: *who is
# speaking?* Ridge regression onto one-hot targets has a closed form:
#
# $$W = (X^\top X + \lambda N I)^{-1} X^\top Y, \qquad
#   X \in \mathbb{R}^{N \times (F + 1)} \text{ (features and a 1)}, \quad Y \in \mathbb{R}^{N \times 8}$$
#
# $N$ counts frames. We take eight talkers, none of whom was in the training set. The probe is fitted on one
# set of clips and scored on another, so memorizing does not help. Chance level is 1 in 8.


# %%
def probe(x, who, test_x, test_who, strength=1e-3):
    """Test accuracy of ridge regression onto one-hot targets. x: (N, F), who: (N,) int64."""
    mean, std = x.mean(0), x.std(0) + 1e-6  # (F,)
    x, test_x = ((F.pad((v - mean) / std, (0, 1), value=1.0)).double() for v in (x, test_x))  # (N, F + 1)
    y = F.one_hot(who).double()  # (N, 8)
    weights = torch.linalg.solve(x.T @ x + strength * len(x) * torch.eye(x.shape[1]).double(), x.T @ y)
    return ((test_x @ weights).argmax(1) == test_who).double().mean().item()


EIGHT = list(range(2000, 2008))
fit_clips, test_clips = (clips_of(EIGHT, 80, seed)[0] for seed in (3, 4))
who = torch.arange(80) % 8  # (B,) who speaks in each clip of both sets
CHANCE = 1 / 8


@torch.no_grad()
def features_of(model, clips):
    """The convolutional features of clips: (T, B, F)."""
    return model.cpu().features(normalize(torch.from_numpy(clips.frames))[:, None])


def frame_probe(x, test_x):
    """Accuracy of the probe when it sees one frame. x: (T, B, F)."""
    n_frames = len(x)
    return probe(x.flatten(0, 1), who.repeat(n_frames), test_x.flatten(0, 1), who.repeat(n_frames))


knows_who = frame_probe(*(features_of(plain, clips) for clips in (fit_clips, test_clips)))
print("from the features of one frame, the probe names the speaker more than four times as often as chance")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert knows_who > 4 * CHANCE  # measured: 0.92

# %% [markdown]
# The network was trained to write words, and still the features of each frame encode the speaker's identity.
# Identity and motion are entangled. The GRUs that follow learn where *this talker's* *b* lies in feature
# space, and other people's *b* may lie elsewhere.
#
# ## 3. Augmentation: state what must not matter
#
# An **augmentation** is a statement: "if the clip had looked like this, the sentence would be the same".
# `disguise` makes three kinds of such statements:
#
# | function | what changes | what it stands for |
# |---|---|---|
# | `posed` | flip, rotation, zoom, aspect, shift, a smooth warp | another head, another crop |
# | `relit` | gamma, a smooth light field | another lamp, another skin |
# | `damaged` | blur, noise, cutout, missing frames | another camera |

# %% tags=["hide-input"]
# @title Plot: one clip in eight disguises { display-mode: "form" }
large = clips_of(ONE, 1, seed=0, size=(32, 64))[0].frames  # (1, T, H, W)
eight = disguise(torch.from_numpy(large).repeat(8, 1, 1, 1), np.random.default_rng(1))  # (8, T, H, W)
first = next(iter(one_motions.values()))
lower_lip = first.measures[:, MEASURES.index("lower lip, middle")]  # (N,) how low it is
moments = {
    "lip highest": first.start + int(lower_lip.argmin()),
    "lip lowest": first.start + int(lower_lip.argmax()),
}
rows = {
    name: eight[:, t].clamp(0, 255).numpy().astype(np.uint8) for name, t in moments.items()
}  # (8, H, W) each
figures.clip_rows(rows, title="One clip in eight disguises, at two moments")

# %% [markdown]
# Read a column from top to bottom: pose and light are the same in both frames, because they are sampled
# **once per clip**: a person and a room do not change within a clip. (Blur and missing frames may affect
# a part of the clip only.) A light that flickered from frame to frame would teach the network to ignore
# changes over time, and those changes carry the speech.
#
# ### Exercise 1 · `relight` · difficulty ★★☆ · 10 minutes
#
# Write an augmentation that changes the light of each clip: a factor, a gamma, a gradient from left to right,
# or anything else. It must keep the label:
# - shape, frames and their order stay; the clips that you are given are not modified;
# - all frames of one clip are changed by the same function, each clip by one of its own, whatever else is in
#   the batch;
# - a pixel that gets brighter from one frame to the next still does (or is clamped), and no clip loses its
#   motion;
# - values stay within 0 … 255; strength 0 changes nothing, more strength changes more, brighter or darker;
# - all random numbers come from `rng`.


# %%
def relight(clips, strength, rng):
    """clips (B, T, H, W) float, 0 … 255; strength ≥ 0; rng a numpy Generator -> (B, T, H, W)."""
    raise NotImplementedError


check("10.relight", relight)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def relight_solution(clips, strength, rng):
    """An exponent per clip, as a camera's exposure or another skin: gamma = 1 changes nothing."""
    gamma = np.exp(strength * rng.normal(size=(len(clips), 1, 1, 1)))  # (B, 1, 1, 1)
    return 255 * (clips / 255) ** torch.from_numpy(gamma).to(clips)  # (B, T, H, W)


# %%
relight = use("10.relight", relight, relight_solution)

# %% tags=["hide-input"]
# @title Plot: one frame in eight lights { display-mode: "form" }
relit_clips = relight(
    torch.from_numpy(large[:, moments["lip lowest"]][None]).repeat(8, 1, 1, 1).float(),
    0.5,
    np.random.default_rng(2),
)  # (8, 1, H, W)
figures.clip_rows(
    {"relight": relit_clips[:, 0].clamp(0, 255).numpy().astype(np.uint8)}, title="One frame in eight lights"
)

# %% [markdown]
# The package's `relit` combines a gamma per clip with a light field of six numbers, interpolated over the
# frame. The training in section 5 uses your function instead.
#
# <details><summary><b>Help: my augmented model learns nothing any more</b></summary>
#
# Plot one clip with eight augmentations. Can *you* still see which frame has the mouth open? If not, lower
# the strengths. If yes, look for a change that is sampled per frame, and for labels that no longer fit: a
# flipped mouth says the same, a clip played backwards does not.
# </details>
#
# ## 4. A bottleneck that means the same on every face
#
# Augmentation can only cover the changes that you thought of. The opposite approach is to state what *does*
# matter and to let little else through. What lips do can be described by a few numbers: how wide the mouth
# is, how far it is open, where the chin is. Nine landmarks give nine such measures.


# %%
PAIR = {"talker 3": talker(3), "talker 8": talker(8)}
shapes, words = say("lay white", 1.0, np.random.default_rng(0), T)  # (T, 8) one motion for both
points = {name: mouth_points(shapes, speaker) for name, speaker in PAIR.items()}  # (T, 9, 2) each


# %% tags=["hide-input"]
# @title Plot { display-mode: "form" }
def in_pixels(points, speaker, size=(32, 64)):
    """(P, 2) points of a drawn mouth, in half crop widths from its center -> pixels of a frame."""
    x, y = points.T  # (P,)
    across, down = speaker.place[0] + x, speaker.place[1] + speaker.roll * x + y
    return np.stack((across, down), 1) * size[1] / 2 + np.array([size[1], size[0]]) / 2 - 0.5


widest = int(shapes[:, 0].argmax())  # the frame in which the mouth is most open
figures.mouth_points(
    {name: render(shapes, speaker)[widest] for name, speaker in PAIR.items()},
    {name: in_pixels(points[name][widest], speaker) for name, speaker in PAIR.items()},
    POINTS,
    title="Two faces in the same frame of the same motion",
)

# %% [markdown]
# Point 5, the chin, lies below the crop. The network has to infer it from what moves with it.
#
# Four steps lead from the points to the measures: rotate the clip so that the corners of the mouth are level,
# move the midpoint between the corners to (0, 0), divide by the median width of the mouth, take differences.
# So the measures are **invariant** to where the head is, how it is tilted and how near it is (a deeper
# section tests it).
#
# They still differ between people: lips are thicker or thinner, jaws open further. So each measure is
# **standardized over the clip**, to mean 0 and standard deviation 1. What is left is its trajectory.

# %%
measures = {name: mouth_measures(values) for name, values in points.items()}  # (T, 9) each
trajectories = {name: standardized(values) for name, values in measures.items()}  # (T, 9) each
moving = [name for m, name in enumerate(MEASURES) if measures["talker 3"][:, m].std() > 1e-3]
alike = [
    np.corrcoef(*(values[:, MEASURES.index(name)] for values in trajectories.values()))[0, 1]
    for name in moving
]
print(f"{len(moving)} of {len(MEASURES)} measures move; the trajectories of the two faces correlate > 0.99")
figures.measure_courses(trajectories, MEASURES, title="“lay white”: two faces, one trajectory per measure")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert len(moving) == 8 and min(alike) > 0.99

# %% [markdown]
# Two faces, one line: the trajectory no longer shows whose mouth it is. (The head does not move, so the last
# measure is constant.) For drawn people this holds by design: their mouths are scaled copies of each other.
# Two *real* people differ more: they time their words differently, and one rounds the lips where the other
# does not. But those are differences in motion, which is what a lip reader should read.
#
# ### How to train it
#
# The network has to predict the nine measures from pixels. Landmarks exist for many clips of GRID, and the
# synthetic talker knows its own points. But real landmarks come in pixels of another crop, with another
# scale. So we supervise the **trajectory** only: scale and offset must not matter. That is the correlation
# over time of the prediction $p$ with the ground truth $q$, averaged over $B$ clips and $n$ measures:
#
# $$\text{loss} = 1 - \frac{1}{B n} \sum_{b, m}
#   \frac{\sum_t (p_{tbm} - \bar p_{bm}) (q_{tbm} - \bar q_{bm})}
#   {\sqrt{\sum_t (p_{tbm} - \bar p_{bm})^2} \sqrt{\sum_t (q_{tbm} - \bar q_{bm})^2}}$$
#
# ### Exercise 2 · `correlation_loss` · difficulty ★★☆ · 10 minutes
#
# Write it for tensors `(T, B, n)`, in float32 as in float64. A constant trajectory has no correlation: its
# loss is 1, and its gradient is finite.


# %%
def correlation_loss(seen, true):
    """seen, true: (T, B, n) -> loss (): 0 if all are equal, 1 if unrelated, 2 if opposite."""
    raise NotImplementedError


check("10.correlation_loss", correlation_loss)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def correlation_loss_solution(seen, true):
    """Center both over time, scale both to norm 1, multiply. The 1e-8 inside the root prevents 0 / 0."""

    def normalized(x):
        x = x - x.mean(0)  # (T, B, M)
        return x / (x.square().sum(0) + 1e-8).sqrt()  # (T, B, M), length 1 over time

    return 1 - (normalized(seen) * normalized(true)).sum(0).mean()


# %%
correlation_loss = use("10.correlation_loss", correlation_loss, correlation_loss_solution)
p, q = torch.randn(2, T, 4, 9, generator=torch.Generator().manual_seed(0))  # (T, B, 9) each
everywhere = torch.ones(T, 4, dtype=torch.bool)  # (T, B) in which frames the measures are known
ours = correlation_loss(p, q)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert ours < measure_loss(p, q, everywhere)  # the package adds a term for the steps from frame to frame
assert torch.allclose(ours, correlation_loss(5 * p + 3, q), atol=1e-4)

# %% [markdown]
# The package's `measure_loss` adds two things: it uses only the frames in which the measures are known, and
# it also compares the *differences* between neighboring frames, because a fast movement lasts only a few
# frames and would count for little.
#
# ## 5. Learn from other people's motion
#
# If nine trajectories describe a clip, then **a motion without a video is a training example, too**. Videos
# of faces are hard to get; landmarks of many people are small files and show no face. The GRUs can learn from
# everybody's motion, while the convolutions see only a few faces.
#
# `StrangerLipNet` is a `SmallLipNet` with a bottleneck between its features and its GRUs:
# - a small MLP (multilayer perceptron) computes nine **measures** from the features, standardized over the
#   clip;
# - an **adapter**, two convolutions over time, maps the measures to the input of the GRUs;
# - in parallel, a **neck** of 12 noisy values passes a little more, such as teeth and tongue. Its output
#   starts at zero, and for a random part of the clips it is switched off in training, so the measures must be
#   enough.
#
# The figure has the shapes of one training step, with 4 clips and 16 motions. The adapter and the GRUs
# process all 20 as one batch.

# %% tags=["hide-input"]
# @title Plot: the shapes of one training step { display-mode: "form" }
model = new(StrangerLipNet).eval()
B, M = 4, 16  # clips and motions of a step
with torch.no_grad():
    x = torch.randn(B, 1, T, 16, 32)  # (B, 1, T, H, W)
    motions = torch.randn(T, M, 9)  # (T, M, 9)
    features = model.features(x)  # (T, B, F)
    seen = standardize(model.measures(features))  # (T, B, 9)
    both = torch.cat((seen, motions), dim=1)  # (T, B + M, 9)
    read = model.adapter(both)  # (T, B + M, F)
    neck = model.neck(features)  # (T, B, F)
    mixed = read + F.pad(neck, (0, 0, 0, M))  # (T, B + M, F): nothing beside a motion
    logits = model.classify_mixed(features, model.measures(features), motions, torch.ones(B))  # (T, B + M, V)
figures.stranger_diagram(
    {
        "x": x.shape,
        "features": features.shape,
        "measures": seen.shape,
        "motions": motions.shape,
        "adapter": read.shape,
        "neck": neck.shape,
        "sum": mixed.shape,
        "logits": logits.shape,
    }
)

# %% [markdown]
# The loss has four parts: CTC on clips, CTC on motions, a framewise cross-entropy with the word timings that
# is faded out (notebook 09), and your `correlation_loss` on the clips. A long run starts with motions alone,
# which is cheap because no convolution runs. Ours skips this stage (`motion_epochs=0`).
#
# **Predict.** We train with the pixels of **the same one talker** as before, in disguise, for the same number
# of steps, and with 400 motions of 60 other talkers, of whom the network sees no video. What is the WER on
# strangers?

# %%
_, others = clips_of(range(1, 61), 400, seed=5, size=(12, 24))  # we keep the motions and drop the frames
stranger_settings = StrangerSettings(
    **common, batch_size=4, motions=16, motion_epochs=0, steps_per_epoch=24, learning_rate=8e-3
)


def in_your_light(clips, rng):
    """Augment clips (B, T, H, W), 0 … 255, with your relight between pose and damage."""
    return damaged(relight(posed(clips.float(), rng).clamp(0, 255), 0.35, rng), rng)


def your_measure_loss(seen, true, known):
    """Your correlation_loss, per clip, on the frames (T, B) in which the truth is known."""
    clips = enumerate(known.T)
    return torch.stack([correlation_loss(seen[t, b : b + 1], true[t, b : b + 1]) for b, t in clips]).mean()


run_type = partial(
    StrangerRun,
    motions=one_motions | others,
    n_frames=T,
    disguise=in_your_light,
    teach=your_measure_loss,
)
reader, reader_log = train(
    new(StrangerLipNet),
    one,
    strangers,
    stranger_settings,
    device=device,
    precision=torch.float32,
    run_type=run_type,
)


# %% tags=["hide-input"]
# @title Plot: the WER on strangers during both trainings { display-mode: "form" }
def wer_curves(logs):
    curves = {
        name: (np.array([row["step"] for row in log]), np.array([row["val_wer"] for row in log]))
        for name, log in logs.items()
    }
    title = "Same face, same number of steps"
    return figures.curves(curves, ylabel="WER on strangers", ylim=(0, 1.1), title=title)


# %% tags=["predict"]
now = evaluate(reader, strangers).wer
wer_curves({"one talker, plain": plain_log, "one talker and others' motion": reader_log})

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert now < 0.5 < 0.6 < unknown  # measured: 0.1 to 0.25 against 0.93

# %% [markdown]
# Both runs saw the pixels of one talker. The comparison changes several things at once: augmentation,
# bottleneck, the motions of others, and with them the learning rate and the mini-batch. To know what each of
# them contributes you need an **ablation**: leave out one at a time. (Try it: `motions=one_motions` leaves
# out the others.)
#
# ### The probe again
#
# Probe both networks for the speaker in the features, and the new one also behind the bottleneck and at the
# input of the GRUs.


# %% tags=["hide-input"]
# @title Helper: activations on the way to the GRUs { display-mode: "form" }
@torch.no_grad()
def activations(model, clips):
    """name -> (T, B, ·) activations of a StrangerLipNet on the way to its GRUs."""
    features = features_of(model, clips)  # (T, B, F)
    measures = standardize(model.measures(features))  # (T, B, 9)
    squeezed = standardize(model.neck.squeeze(features))  # (T, B, 12)
    return {
        "features": features,
        "bottleneck": torch.cat((measures, squeezed), 2),  # (T, B, 21)
        "input of the GRUs": model.adapter(measures) + model.neck(features),  # (T, B, F)
    }


# %%
fitted, tested = activations(reader, fit_clips), activations(reader, test_clips)
from_a_frame = {name: frame_probe(fitted[name], tested[name]) for name in fitted}
print("from one frame: the features reveal the speaker, the values behind the bottleneck hardly do")
figures.dot_plot(
    ["SmallLipNet: features", *(f"StrangerLipNet: {name}" for name in from_a_frame)],
    {"who speaks, from one frame": [knows_who, *from_a_frame.values()]},
    xlabel="accuracy of the probe (chance: 12.5 %)",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert from_a_frame["features"] > 4 * CHANCE  # measured: 0.98, 0.10, 0.20
assert from_a_frame["bottleneck"] < 2 * CHANCE and from_a_frame["input of the GRUs"] < 3 * CHANCE

# %% [markdown]
# The features still encode the speaker. Identity is lost on the way to the GRUs. In the bottleneck a linear
# probe *must* fail on single frames, since every clip has mean 0 there. Behind the adapter nothing forces it
# to fail, and little identity has come back.
#
# **Do not conclude too much from this.** Predict what happens when the probe gets the mean over a whole clip
# instead of one frame.

# %% tags=["predict"]
name = "input of the GRUs"
from_a_clip = probe(fitted[name].mean(0), who, tested[name].mean(0), who)
figures.dot_plot(
    ["one frame", "mean over a clip"],
    {name: [from_a_frame[name], from_a_clip]},
    xlabel="accuracy of the probe (chance: 12.5 %)",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert from_a_clip > 3 * CHANCE  # measured: 0.97


def differing_in(trait, seed):
    """Clips of the eight talkers as fit_clips or test_clips, but they differ in one trait alone."""
    frames = []
    for i in range(80):
        rng, own_trait = np.random.default_rng([seed, i]), getattr(talker(EIGHT[i % 8]), trait)
        speaker = replace(talker(EIGHT[0]), **{trait: own_trait})
        shapes, _ = say(SENTENCES[rng.integers(len(SENTENCES))], speaker.rate, rng, T)
        frames.append(render(shapes, speaker, (16, 32), rng=rng))
    return SimpleNamespace(frames=np.stack(frames))


by_trait = {}
for trait in ("background", "light_x", "place", "rate"):
    a, b = (activations(reader, differing_in(trait, seed))[name].mean(0) for seed in (3, 4))
    by_trait[trait] = probe(a, who, b, who)
# measured: 0.62, 0.54, 0.54, 0.23; the rate of speech alone, 0.23, is nearly chance
assert by_trait["rate"] < min(by_trait["background"], by_trait["light_x"], by_trait["place"])

# %% [markdown]
# Standardizing removes the offset and the scale of each value. But background, light and the position of the
# mouth also distort the *shape* of the predicted trajectories, and a mean over the clip shows it. The
# bottleneck removes much of how people *look*. It does not anonymize them.
#
# ## 6. Who is in the test?
#
# An error rate on strangers means nothing if they are not strangers. In GRID each person says a thousand
# sentences, so a random split puts every person on both sides. It measures generalization to new *sentences*,
# not to new people.
#
# A **speaker-independent split** holds out whole people. It can still leak: the same person under two names,
# a clip that is in two collections, a sentence that is on both sides.
#
# ### Exercise 3 · `leaks` · difficulty ★☆☆ · 8 minutes
#
# The rows of a manifest are dictionaries with `id`, `speaker` and `transcript`. Return what occurs on both
# sides: three sorted lists, each entry once, in lower case, without spaces at the ends, with one space
# between words. Names that differ only in case or spaces are the same name.


# %%
def leaks(train, val):
    """train, val: lists of rows -> {"speakers": [...], "clips": [...], "sentences": [...]}."""
    raise NotImplementedError


check("10.leaks", leaks)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def leaks_solution(train, val):
    """Bring every name into one form, then intersect the two sets."""

    def names(rows, column):
        return {" ".join(row[column].lower().split()) for row in rows}

    columns = {"speakers": "speaker", "clips": "id", "sentences": "transcript"}
    return {key: sorted(names(train, column) & names(val, column)) for key, column in columns.items()}


# %%
leaks = use("10.leaks", leaks, leaks_solution)


def rows_of(clips):
    return [
        {"id": name, "speaker": speaker, "transcript": said}
        for name, speaker, said in zip(clips.ids, clips.speakers, clips.transcripts, strict=True)
    ]


found = leaks(rows_of(one), rows_of(strangers))
print({key: len(names) for key, names in found.items()})

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert not found["speakers"] and not found["clips"] and len(found["sentences"]) == len(SENTENCES)

# %% [markdown]
# Our own split shares all nine sentences. That is fine for the question "does it read new *people*?" and a
# leak for "does it read new *sentences*?". Whether something leaks depends on the question.
#
# ### How sure are we?
#
# With few speakers, hold out each of them once: divide the speakers into **folds**, and for each fold train
# on the others and test on it (**cross-validation**). Every person is tested by a model that has never seen
# them, at the cost of one training per fold.
#
# Then compute a confidence interval. The **bootstrap** resamples the test clips with replacement. That treats
# clips as independent, but clips of one person are correlated: if one is hard to read, so are the others.
# What varies between test sets is *who* is in them. So resample **people**, each with all of their clips.

# %% [markdown]
# ## 7. Real people, and what is left
#
# `lipnet_strangers` was trained in this way on GRID: 950 clips of 25 people, 799 of them of s1, and the
# landmarks of the 25. Two more people, s5 and s33, are held out of everything, their landmarks too. All 27
# are native speakers of English in one studio. s1 is tested on sentences that he does not say in training.
# Recipe and seed were chosen on s5 and s33, so their scores are validation scores, not test scores. The
# goals, for one model, were set before.

# %% tags=["hide-input"]
# @title Helper: the results, from the files that training wrote { display-mode: "form" }
report = results_of("lipnet_strangers")
people = report["speakers"]
unseen = [name for name in people if name != "s1"]


def together(speakers):
    """The row of those never seen, from the rows of each speaker."""
    sizes = [speakers[name]["clips"] for name in unseen]
    return {"clips": sum(sizes)} | {
        decoder: np.average([speakers[name][decoder] for name in unseen], weights=sizes)
        for decoder in ("greedy", "grammar")
    }


people["never seen"] = together(people)
GOALS = {"s1": (0.045, 0.035), "never seen": (0.09, 0.06)}
print("speaker     clips   WER greedy   with the grammar")
for name, row in people.items():
    goals = "   goals: {:.1%}, {:.1%}".format(*GOALS[name]) if name in GOALS else ""
    print(f"{name:11}{row['clips']:6}{row['greedy']:13.1%}{row['grammar']:19.1%}{goals}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert report["settings"]["seed"] == 1 and report["training_clips"] == "950" and unseen == ["s33", "s5"]
met = [
    people[name][d] <= goal
    for name in GOALS
    for d, goal in zip(("greedy", "grammar"), GOALS[name], strict=True)
]
assert met == [False, False, True, False]
assert 1 / 198 < people["never seen"]["grammar"] - GOALS["never seen"][1] < 2 / 198
assert 2.5 * own < people["s1"]["greedy"] < 3 * own and people["s1"]["grammar"] > people["s5"]["grammar"]

# %% [markdown]
# **One goal of four is met**, the greedy one for strangers. With the grammar it is missed by two words of
# 198. Before you believe a difference of one point, look at other trainings of the same network:

# %% tags=["hide-input"]
# @title Helper: the same network, trained again { display-mode: "form" }
runs = results_of("lipnet_strangers", "runs.json")
trained = {(run["sentences"], run["seed"]): run["speakers"] for run in runs}
print("sentences      seed   never seen, greedy   with the grammar   s1, greedy")
for (sentences, seed), speakers in trained.items():
    row = together(speakers)
    print(
        f"{sentences:12}{seed:7}{row['greedy']:21.1%}{row['grammar']:19.1%}{speakers['s1']['greedy']:13.1%}"
    )

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
never = {key: together(speakers) for key, speakers in trained.items()}
parts = ("as spoken", "spliced")
assert never["spliced", 1] == people["never seen"] and set(never) == {
    (sentences, seed) for sentences in (*parts, "mean of both") for seed in (0, 1)
}
for d in ("greedy", "grammar"):
    assert never["mean of both", 0][d] < min(never[part, 0][d] for part in parts)
    assert never["mean of both", 1][d] > max(never[part, 1][d] for part in parts)
    assert abs(never["spliced", 0][d] - never["spliced", 1][d]) < 0.011
assert never["spliced", 0]["greedy"] > GOALS["never seen"][0]
assert 0.035 < never["as spoken", 1]["greedy"] - never["as spoken", 0]["greedy"] < 0.045
assert never["mean of both", 0] == min(never.values(), key=lambda row: row["grammar"])

# %% [markdown]
# The trainings with sentences as they were spoken differ by four points on these two people. (Of these two,
# seed 0 also had some badly cropped clips.) In the `spliced` trainings, half of the clips get words of
# another sentence by the same speaker, so that words are learned and not whole sentences; and a fifth look as
# if a slower camera had taken them. They differ by one point, and seed 0 misses the goal. The network that
# comes with the course has seed 1. Two trainings of a kind say little about the spread: "met" may be luck.
#
# The last two rows average two networks **weight by weight** (a **model soup**). This can work when both went
# on from one point, here the end of a first stage that learns from motions alone, and their hidden units
# still match. With seed 0 the mean reads strangers better than either network, and with the grammar best of
# all six. With seed 1 it is worse than both. **A gain that was seen with one seed is a guess.**
#
# What do the parts of this notebook contribute? We tested short trainings on the same two people; each of
# them changes one part of the first:

# %% tags=["hide-input"]
# @title Helper: trainings with one change each { display-mode: "form" }
changes = {
    name: together(run["speakers"]) for name, run in results_of("lipnet_strangers", "ablation.json").items()
}
print("WER on s5 and s33                    greedy   with the grammar")
for name, row in changes.items():
    print(f"{name:34}{row['greedy']:9.1%}{row['grammar']:19.1%}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
base = changes["sentences as spoken"]["greedy"]
large = {name for name, row in changes.items() if row["greedy"] > base + 0.05}
assert large == {"one motion per step, no stage 1", "clips as they are, no disguise"}
assert changes["measures without a teacher"]["greedy"] < base
assert max(abs(row["greedy"] - base) for name, row in changes.items() if name not in large) < 0.031

# %% [markdown]
# Two parts contribute much: **reading many motions first, and the augmentation**. The other differences,
# three points at most, may be noise; without the loss on its measures the network reads about as well. (The
# last four trainings also had better crops of 24 clips. All but one start from the convolutions of the model
# of s1.)
#
# And two people are too small a sample. So we hold out others, too, in five short trainings (2,200 steps with
# clips instead of 19,000). One holds out s5 and s33 alone; each of the others holds out two or three more
# people. This is the cross-validation of section 6. The plot shows s5 and s33 with the mean of all five. s1,
# who has most of the clips, is held out of none.
#
# **Predict.** What is the WER of the person whom these trainings read worst?

# %% tags=["hide-input"]
# @title Plot: each person, read by a model that never saw them { display-mode: "form" }
found = results_of("lipnet_strangers", "folds.json")["people"]
some = {name: row for name, row in found.items() if row["clips"] >= 10}
names = sorted(some, key=lambda name: some[name]["grammar"])
for decoder in ("greedy", "grammar"):
    mean, low, high = t_interval([some[name][decoder] for name in names])
    print(f"{decoder:8} mean over {len(names)} people {mean:.0%}, 95 % t interval {low:.0%} to {high:.0%}")
figures.dot_plot(
    [f"{name}, {some[name]['clips']} clips" for name in names],
    {d: [some[name][d] for name in names] for d in ("greedy", "grammar")},
    xlabel="WER, held out",
    title="Short trainings: the people of whom there are ten clips or more",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
for settings, steps in (
    (results_of("lipnet_strangers", "folds.json")["settings"], 2200),
    (report["settings"], 19000),
):
    assert (settings["epochs"] - settings["motion_epochs"]) * settings["steps_per_epoch"] == steps
assert len(names) == 7 and names[-1] == "s26" and some["s26"]["grammar"] > 0.6
assert some["s26"]["grammar"] > 2 * max(some[name]["grammar"] for name in names[:-1])
assert set(names[:2]) == {"s5", "s33"}
assert high - low > 0.3

# %% [markdown]
# Our two strangers have the lowest WER of the seven: they may be easy, or the recipe may suit them, because
# it was chosen on them. The interval (Student's *t*, over people) is wide, and **one person** makes it so:
# most words of s26 are misread. He is the only one of the seven with a beard, which may be the reason; one
# person cannot show it. (The shipped network has learned from his ten clips.) A test on s5 and s33 alone
# shows nothing of this.
#
# `lipnet_strangers` also misreads over twice as many words of s1 as his own model (section 1), which was
# trained on him alone.
#
# To have both, `lipnet_anyone` is a **cascade** (`lessons/lipreading/cascade.py`). The model of s1 reads each
# clip first. If the **entropy** of its output is low (how spread out its probabilities are; 0 when it is
# certain), at most 0.2 nats per frame that is not blank, it is sure, and its answer counts. Otherwise
# `lipnet_strangers` reads the clip. It misreads 3.5 % of the words of s1 (3.0 % with the grammar), and of s5
# and s33 what `lipnet_strangers` misreads. This costs twice the weights, a second forward pass per clip of a
# stranger, and a threshold to choose; each further familiar face needs a model of its own.
#
# Which words of strangers are still wrong? Each slot of the grammar has one word per sentence.

# %% tags=["hide-input"]
# @title Plot: wrong words per slot { display-mode: "form" }
rows = [row for row in report["sentences"] if row["speaker"] in unseen]
said, read = ([row[key] for row in rows] for key in ("said", "grammar"))
wrong_in = by_slot(said, read)
letters = [(a.split()[3], b.split()[3]) for a, b in zip(said, read, strict=True)]
misread = [(a, b) for a, b in letters if a != b]
alike = sum(word_visemes(a) == word_visemes(b) for a, b in misread)
print(f"of the wrong words, {wrong_in['letter'] / sum(wrong_in.values()):.0%} are letters:", end=" ")
print(", ".join(f"{a} read as {b}" for a, b in misread))
print(f"of these {len(misread)} pairs, with equal visemes: {alike}")
figures.dot_plot(
    list(wrong_in),
    {"wrong": list(wrong_in.values())},
    xlabel="wrong, of all words in this slot",
    title="s5 and s33, with the grammar",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert wrong_in["letter"] > sum(wrong_in.values()) / 2 and alike == 0
assert wrong_in["letter"] > 2 * max(wrong_in["digit"], wrong_in["color"]) > 0
assert wrong_in["command"] == wrong_in["preposition"] == wrong_in["adverb"] == 0
anyone = results_of("lipnet_anyone")["speakers"]
assert [f"{anyone['s1'][d]:.1%}" for d in ("greedy", "grammar")] == ["3.5%", "3.0%"]
assert all(anyone[name] == people[name] for name in unseen)

# %% [markdown]
# More than half of the errors are letters: there are 25, each one syllable long, and the grammar allows any
# of them. The rest are digits and a color. Is this the Bayes error of notebook 08? Hardly: no misread letter
# has the visemes of the one that was said, so a better model may tell some of them apart. Do not conclude
# more from so few errors.
#
# ## 8. What it must not be used for
#
# - **It reads 51 words in one fixed order.** On any other speech it writes a sentence of GRID that looks
#   convincing. Its output is no evidence of what somebody said.
# - **Do not read people who did not ask for it.** Lip reading at a distance is eavesdropping. A demonstration
#   needs the consent of the person in front of the camera.
# - **It does not anonymize.** Section 5 recovered who speaks from behind the bottleneck.
# - **Look at who is missing.** Clips and landmarks come from 27 native speakers of English in one studio,
#   facing the camera. There is no other language and no other light. For people unlike these 27 the figures
#   above promise nothing, and section 1 shows how wrong such a model can be.
#
# ## Deeper: how much of the variance is constant
#
# A probe measures whether identity *can* be read off. A variance measures *how much* of the features it is.
# The variance of the features over frames and clips is the sum of two parts: the variance between the means
# of the clips, and the variance within clips over time.
#
# $$\underbrace{\tfrac{1}{TB}\sum_{t,b} (x_{tb} - \bar x)^2}_{\text{all}} =
#   \underbrace{\tfrac{1}{B}\sum_b (\bar x_b - \bar x)^2}_{\text{constant through a clip}} +
#   \underbrace{\tfrac{1}{TB}\sum_{t,b} (x_{tb} - \bar x_b)^2}_{\text{within clips}}$$


# %%
def constant_part(x):
    """The fraction of the variance of x (T, B, F) that is constant through a clip."""
    return (x.mean(0).var(0, correction=0).sum() / x.var((0, 1), correction=0).sum()).item()


pixels = normalize(torch.from_numpy(test_clips.frames)).transpose(0, 1).flatten(2)  # (T, B, H · W)
constant = {"pixels": constant_part(pixels), **{name: constant_part(x) for name, x in tested.items()}}
figures.dot_plot(
    list(constant),
    {"constant": list(constant.values())},
    xlabel="fraction of the variance, constant through a clip",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert constant["pixels"] > 0.5 and constant["pixels"] > constant["features"]
assert constant["bottleneck"] < 0.01 and constant["input of the GRUs"] < 0.1

# %% [markdown]
# More than half of the variance of the pixels is constant through a clip: face, light and crop. Behind the
# bottleneck nearly all of the variance is motion.
#
# ## Deeper: the measures and the mixed batch, in code
#
# The four steps of section 4. (The figure there counts the points from 1, the code from 0.)

# %%
show(mouth_measures)

# %% [markdown]
# **Predict.** Shift all points by 40 crop widths, rotate them by 10°, and scale them by 1.7, as another
# camera would. By how much do the measures change?

# %% tags=["predict"]
zoom, angle = 1.7, np.radians(10)
turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
moved = points["talker 3"] @ turn.T + 40 * 2  # (T, 9, 2); a crop is 2 units wide
largest = np.abs(mouth_measures(moved) - measures["talker 3"]).max()
print(f"largest change: {largest:.3f} mouth widths")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert largest < 1e-4

# %% [markdown]
# In a training step, clips and motions are read in one batch. `keep` is 0 for the clips whose neck is
# switched off; a motion has nothing in the neck.

# %%
show(StrangerLipNet.classify_mixed)

# %% [markdown]
# ## Deeper: intervals over clips, intervals over people
#
# Which of the two intervals in section 6 is right?
# We check this where the truth is known: simulate people whose error rates vary around 12.5 %, test five of
# them on 40 clips each, compute both intervals, and count how often each contains the true rate (its
# **coverage**). A 95 % interval should contain it in 95 of 100 studies.


# %%
def bootstrap(wrong, by_person, rng, draws=300):
    """95 % interval of the mean of wrong (people, clips), resampling clips or whole people."""
    people, clips = wrong.shape
    if by_person:
        drawn = wrong[rng.integers(people, size=(draws, people))]  # (draws, people, clips)
    else:
        drawn = wrong.reshape(-1)[
            rng.integers(wrong.size, size=(draws, people * clips))
        ]  # (draws, people · clips)
    means = drawn.reshape(draws, -1).mean(1)  # (draws,)
    return np.quantile(means, [0.025, 0.975])


rng, truth, studies = np.random.default_rng(0), 2 / 16, 300
covered = {False: 0, True: 0}
for _ in range(studies):
    rates = rng.beta(2, 14, size=5)  # (people,) each person's own error rate, 12.5 % on average
    wrong = rng.binomial(6, rates[:, None], size=(5, 40)) / 6  # (people, clips) of six words each
    for by_person in covered:
        low, high = bootstrap(wrong, by_person, rng)
        covered[by_person] += low <= truth <= high
by_clip, by_people = (covered[key] / studies for key in (False, True))
print("the interval over clips contains the truth in fewer than 60 % of the studies, not in 95 %")
print("the interval over people does so in more than 70 %: better, and with five people still too narrow")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert by_clip < 0.6 and 0.7 < by_people < 0.95 and by_people > by_clip + 0.15

# %% [markdown]
# ### For our small model
#
# We compute the intervals for all twenty strangers with three clips each, and for only four of them: with
# fewer people the interval over people tends to be wider.

# %%
wrong = np.array(
    [
        wer(said, text)
        for said, text in zip(strangers.transcripts, evaluate(reader, strangers).texts, strict=True)
    ]
)
wrong = wrong.reshape(3, len(STRANGERS)).T  # (people, clips): talkers take turns
rows = {
    f"20 strangers, over {what}": (wrong.mean(), *bootstrap(wrong, by_person, np.random.default_rng(0)))
    for what, by_person in (("clips", False), ("people", True))
}
rows["the first 4 of them, over people"] = (
    wrong[:4].mean(),
    *bootstrap(wrong[:4], True, np.random.default_rng(0)),
)
figures.intervals(rows, title="Our small model on strangers: 95 % intervals")

# %% [markdown]
# ## Recap
#
# - A model trained on one person overfits to that face: it generalizes to new clips, not to new people.
# - A linear probe shows that the features encode identity together with motion.
# - Augmentation states what must not matter, a bottleneck what does. Sample an augmentation once per clip.
# - Measures of the mouth, standardized over the clip, are nearly the same on every face. The correlation loss
#   trains them without knowing scale or offset.
# - With such measures, motions without video are training data.
# - Hold out whole people, look for leaks, and bootstrap over people.
#
# ## Glossary
#
# | word | meaning | also called |
# |---|---|---|
# | linear probe | a linear classifier on frozen features | diagnostic classifier |
# | identity | the information in a clip about who is speaking | speaker information |
# | invariance | the output stays the same when the input changes in a certain way | |
# | landmarks | points that mean the same on every face, such as the corners of the mouth | keypoints |
# | correlation loss | one minus the correlation over time; blind to scale and offset | 1 − Pearson's *r* |
# | speaker-independent split | a split into training and test set by whole people | unseen-speaker split |
# | cross-validation | training once per fold, testing on the fold left out | k-fold, rotation |
# | model soup | the mean, weight by weight, of networks that went on from one start | weight averaging |
# | cascade | one model answers when it is sure, otherwise the next one does | model cascade |
# | confidence interval | a range that contains the true value in, say, 95 of 100 studies | |
#
# ## Sources
#
# - Y. Assael, B. Shillingford, S. Whiteson, N. de Freitas, *LipNet: End-to-End Sentence-level Lipreading*,
#   [arXiv 1611.01599](https://arxiv.org/abs/1611.01599): unseen speakers.
# - G. Alain, Y. Bengio, *Understanding intermediate layers using linear classifier probes*,
#   [arXiv 1610.01644](https://arxiv.org/abs/1610.01644).
# - M. Cooke, J. Barker, S. Cunningham, X. Shao, *An audio-visual corpus for speech perception and automatic
#   speech recognition*, JASA 120(5), 2006: GRID.
# - B. Efron, R. Tibshirani, *An Introduction to the Bootstrap*, Chapman & Hall, 1993.
#
# **Next**: notebook 11 leaves the lips for phones: the bottleneck, and how 589,824 weights become 69,632.
