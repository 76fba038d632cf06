# %% [markdown]
# # 15 · Strangers
#
# **A lip reader that gets one person nearly right gets most words of everybody else wrong. You will find out
# why, and train one that reads people whom it never saw.**
#
# *Core: about 60 minutes to read and solve; all cells together run in two minutes on one CPU core.*
#
# **You need**: how LipNet is trained (notebook 08), the talker and splits (notebook 07), the word error rate
# WER (notebook 05).
#
# **You will be able to**
# - measure with a linear probe what a network's features know about *who* speaks;
# - write an augmentation that changes how a clip looks and keeps what it says;
# - describe a mouth by measures that mean the same on every face, and train a network to see them;
# - split data by whole speakers, find a split that leaks, and give an interval that counts people;
# - say where the remaining errors are, and what such a model must not be used for.

# %%
import json
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F

import lessons
from lessons import figures
from lessons.checks import check
from lessons.ctc.metrics import edits, wer
from lessons.data.batch import normalize
from lessons.data.clips import ClipSet
from lessons.data.disguise import disguise
from lessons.data.grid.align import SILENCES
from lessons.data.motions import MEASURES, POINTS, Motion, mouth_measures, standardized
from lessons.data.synthetic.mouth_drawing import mouth_points
from lessons.data.synthetic.talker import Speaker, render, say, synthetic_clips
from lessons.lipreading import LipNet, SmallLipNet, StrangerLipNet
from lessons.lipreading.lipnet import fastest_layers
from lessons.lipreading.lipnet_stranger import standardize
from lessons.source import show
from lessons.training import checkpoint
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
# speaker s1. On sentences of his that it never saw, it does well. Now let it read clips of the talker: the
# same 51 words and the same grammar, said by people who are drawn. A model that was trained on drawn people
# reads the same clips, so that you know that they can be read.


# %%
def results_of(name):
    """What the training command wrote about a model that comes with the course."""
    return json.loads((checkpoint.trained_folder(name) / "results.json").read_text(encoding="utf-8"))


drawn_people = synthetic_clips(12, seed=15)  # each clip has a speaker of its own
print(f"one man's model, on that man: {results_of('lipnet_small_grid_s1')['greedy']['wer']:.1%} WER")
readings = {
    name: evaluate(checkpoint.load(name), drawn_people)
    for name in ("lipnet_small_grid_s1", "lipnet_small_synthetic")
}
lost, fine = (reading.wer for reading in readings.values())
assert lost > 0.5 and fine < 0.15
print("the same model, on drawn people: most words are wrong")
print("a model of drawn people, on the same clips: nearly all words are right")

# %% [markdown]
# Drawings are a harsh test of a model of real skin. Real strangers are not much easier: the card of that
# model reports about 80 % for an earlier one, trained in the same way. The cause can be studied in small,
# with everything under our control.
#
# ### A small world
#
# Nine sentences of two words, frames of 16 × 32 pixels, 30 frames. Everybody in this world is a talker with a
# number; the number decides face, light, rate of speech and how much the head moves.

# %%
COMMANDS, COLORS = ("bin", "lay", "set"), ("blue", "red", "white")
SENTENCES = [f"{command} {color}" for command in COMMANDS for color in COLORS]
T = 30  # frames


def talker(number: int) -> Speaker:
    return Speaker.random(np.random.default_rng([15, number]))


def motion_of(name, number, sentence, shapes, words):
    """How the mouth of a talker moves through a sentence: nine measures per frame (section 4)."""
    spoken = [(start, end) for start, end, word in words if word not in SILENCES]
    first, last = round(spoken[0][0]), round(spoken[-1][1])
    measures = mouth_measures(mouth_points(shapes[first:last], talker(number)))  # (N, 9)
    return Motion(name, f"talker {number}", sentence, words, first, measures)


def clips_of(numbers, n, seed, size=(16, 32)):
    """n clips in turn of the talkers with these numbers, and the motion in each clip, by its id."""
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


ONE, STRANGERS = [0], range(1000, 1020)
one, one_motions = clips_of(ONE, 192, seed=0)  # what we train on: one talker
same, _ = clips_of(ONE, 30, seed=1)  # other clips of the same talker
strangers, _ = clips_of(STRANGERS, 60, seed=2)  # 20 talkers of whom nothing is in any training
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

# %%
known, unknown = evaluate(plain, same).wer, evaluate(plain, strangers).wer
assert known < 0.1 and unknown > 0.6  # measured: 0.0 and 0.93
print("of the talker whom it knows, at least nine words in ten are right")
print("of strangers, most words are wrong")

# %% [markdown]
# The model generalizes to new *clips* and hardly at all to new *people*. It has overfitted to a face. Nothing
# in its training said that the face is not part of the sentence: with one talker, the brightness of the
# lips is a constant, and a feature that needs just this brightness costs nothing.
#
# ## 2. What the features know: a linear probe
#
# A **probe** asks what can be read off a network's features. Freeze the network, collect the features of
# frames, and fit the simplest classifier there is to a question that the network was never asked. Ours is:
# *who is speaking?* The probe is linear, and ridge regression onto one-hot answers gives it in closed form:
#
# $$W = (X^\top X + \lambda N I)^{-1} X^\top Y, \qquad
#   X \in \mathbb{R}^{N \times (F + 1)} \text{ (features and a 1)}, \quad Y \in \mathbb{R}^{N \times 8}$$
#
# Eight talkers, none of whom was in the training. The probe is fitted on one set of clips and scored on
# another, so that it cannot win by memorizing. Chance is 1 in 8.


# %%
def probe(x, who, test_x, test_who, strength=1e-3):
    """Accuracy of the best linear guess. x: (N, F), who: (N,) int64; the same for the test."""
    mean, deviation = x.mean(0), x.std(0) + 1e-6  # (F,)
    x, test_x = (
        (F.pad((v - mean) / deviation, (0, 1), value=1.0)).double() for v in (x, test_x)
    )  # (N, F + 1)
    y = F.one_hot(who).double()  # (N, 8)
    weights = torch.linalg.solve(x.T @ x + strength * len(x) * torch.eye(x.shape[1]).double(), x.T @ y)
    return ((test_x @ weights).argmax(1) == test_who).double().mean().item()


EIGHT = list(range(2000, 2008))
fit_clips, test_clips = (clips_of(EIGHT, 80, seed)[0] for seed in (3, 4))
who = torch.arange(80) % 8  # (B,) who speaks in each clip of both sets
CHANCE = 1 / 8


@torch.no_grad()
def features_of(model, clips):
    """(T, B, F) what the convolutions make of each frame."""
    return model.cpu().features(normalize(torch.from_numpy(clips.frames))[:, None])


def frame_probe(x, test_x):
    """Who speaks, guessed from one frame. x: (T, B, F)."""
    n_frames = len(x)
    return probe(x.flatten(0, 1), who.repeat(n_frames), test_x.flatten(0, 1), who.repeat(n_frames))


knows_who = frame_probe(*(features_of(plain, clips) for clips in (fit_clips, test_clips)))
assert knows_who > 4 * CHANCE  # measured: 0.92
print("one frame's features tell who of the eight speaks, more than four times as often as chance would")

# %% [markdown]
# The network was trained to write words and never asked who speaks, and yet each frame's features say it.
# Identity and motion lie in the same numbers. The GRUs that follow learn to read *this talker's* numbers for
# *b*, and other people's *b* may lie elsewhere.
#
# ## 3. Say what must not matter
#
# An **augmentation** is a statement: "if the clip had looked like this, the sentence would be the same".
# `disguise` makes statements of three kinds:
#
# | function | what changes | what it stands for |
# |---|---|---|
# | `posed` | mirror, turn, zoom, aspect, shift, a smooth bend | another head, another crop |
# | `relit` | exponent of the gray values, a smooth light field | another lamp, another skin |
# | `damaged` | blur, noise, a covered patch, missing frames | another camera |

# %%
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
# Read a column from top to bottom: pose and light are the same in both frames, because they are drawn **once
# per clip**. That is what makes them a person, and not a motion. (Damage may last for a part of the clip
# only.) A light that flickered from frame to frame would teach the network to distrust changes, and changes
# are all that it has.
#
# ### Exercise 1 · `relight` · difficulty ★★☆ · 10 minutes
#
# Write an augmentation that lights each clip in its own way: a factor, an exponent, a slope from left to
# right, whatever you like. It must keep the label:
# - shape, frames and their order stay; the clips that you are given stay as they are;
# - all frames of a clip are changed by the same function, each clip by another;
# - a pixel that gets brighter from one frame to the next still does (or stays);
# - values stay within 0 … 255, strength 0 changes nothing, more strength changes more, in both directions;
# - all randomness comes from `rng`.


# %%
def relight(clips, strength, rng):
    """clips (B, T, H, W) float, 0 … 255; strength ≥ 0; rng a numpy Generator -> clips in another light."""
    raise NotImplementedError


check("15.relight", relight)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def relight_solution(clips, strength, rng):
    """An exponent per clip, as a camera's exposure or another skin: gamma = 1 changes nothing."""
    gamma = np.exp(strength * rng.normal(size=(len(clips), 1, 1, 1)))  # (B, 1, 1, 1)
    return 255 * (clips / 255) ** torch.from_numpy(gamma).to(clips)  # (B, T, H, W)


# %%
check("15.relight", relight_solution)

# %% [markdown]
# The package's `relit` does both: an exponent per clip, and a light field that is six numbers, spread
# smoothly over the frame.
#
# <details><summary><b>Help: my augmented model learns nothing any more</b></summary>
#
# Show it its own disguises, one clip in eight of them. Can *you* still see which frame has the mouth open? If
# not, lower the strengths. If yes, look for a change that is drawn per frame, and for labels that no longer
# fit: a mirrored mouth says the same, a clip played backwards does not.
# </details>
#
# ## 4. A bottleneck that means the same on every face
#
# Augmentation can only list what you thought of. The opposite is to say what *does* matter, and let nothing
# else through. What lips do is known well enough to write it down: how wide the mouth is, how far it is open,
# where the chin is. Nine points give nine such measures.


# %%
def in_pixels(points, speaker, size=(32, 64)):
    """(P, 2) points of a drawn mouth, in half crop widths from its middle -> pixels of a frame."""
    x, y = points.T  # (P,)
    across, down = speaker.place[0] + x, speaker.place[1] + speaker.roll * x + y
    return np.stack((across, down), 1) * size[1] / 2 + np.array([size[1], size[0]]) / 2 - 0.5


PAIR = {"talker 3": talker(3), "talker 8": talker(8)}
shapes, words = say("lay white", 1.0, np.random.default_rng(0), T)  # (T, 8) one motion for both
points = {name: mouth_points(shapes, speaker) for name, speaker in PAIR.items()}  # (T, 9, 2) each
widest = int(shapes[:, 0].argmax())  # the frame in which the mouth is most open
figures.mouth_points(
    {name: render(shapes, speaker)[widest] for name, speaker in PAIR.items()},
    {name: in_pixels(points[name][widest], speaker) for name, speaker in PAIR.items()},
    POINTS,
    title="Two faces in the same frame of the same motion",
)

# %% [markdown]
# Point 5, the chin, lies below the crop. The network will have to infer it from what moves along.
#
# From the points to the measures there are four steps. Turn the clip so that the corners of the mouth are
# level. Put the middle between the corners at (0, 0). Divide by the mouth's usual width. Take differences:

# %%
show(mouth_measures)

# %% [markdown]
# **Predict.** Shift all points by 40 crop widths, turn them by 10°, and make them 1.7 times as large, as
# another camera would. By how much do the measures change?

# %%
zoom, angle = 1.7, np.radians(10)
turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
moved = points["talker 3"] @ turn.T + 2 * 40  # (T, 9, 2)
measures = {name: mouth_measures(values) for name, values in points.items()}  # (T, 9) each
largest = np.abs(mouth_measures(moved) - measures["talker 3"]).max()
assert largest < 1e-4
print(f"after shift, turn and zoom no measure differs by 0.0001 mouth widths: {largest < 1e-4}")

# %% [markdown]
# The measures are **invariant** to where the head is, how it is tilted and how near it is, by construction.
# They are not yet the same for two people: lips are thicker or thinner, jaws open further. So each measure is
# **standardized over the clip**, to mean 0 and standard deviation 1. What is left is its course.

# %%
courses = {name: standardized(values) for name, values in measures.items()}  # (T, 9) each
moving = [name for m, name in enumerate(MEASURES) if measures["talker 3"][:, m].std() > 1e-3]
alike = [
    np.corrcoef(*(values[:, MEASURES.index(name)] for values in courses.values()))[0, 1] for name in moving
]
assert len(moving) == 8 and min(alike) > 0.99
print(f"{len(moving)} of {len(MEASURES)} measures move; the two faces' courses correlate by more than 0.99")
figures.measure_courses(courses, MEASURES, title="“lay white”: two faces, one course per measure")

# %% [markdown]
# Two faces, one line: whose course it is can no longer be told. (The head is held still, so the last measure
# stands still.) For drawn people this is so by design: their mouths are scaled copies of each
# other. Two *real* people differ more: they time their words differently, and one rounds the lips where the
# other does not. But that is motion, and motion is what a lip reader is for.
#
# ### How to train it
#
# The network has to compute the nine measures from pixels. There are landmarks for many clips of GRID, and
# the talker knows its own points. But landmarks are in pixels of another crop, with another zoom. So we ask
# for the **course** only: scale and offset must not matter. That is the correlation, over time, of what the
# network measures $p$ with what is true $q$, for each clip and each measure:
#
# $$\text{loss} = 1 - \frac{1}{B M} \sum_{b, m}
#   \frac{\sum_t (p_{tbm} - \bar p_{bm}) (q_{tbm} - \bar q_{bm})}
#   {\sqrt{\sum_t (p_{tbm} - \bar p_{bm})^2} \sqrt{\sum_t (q_{tbm} - \bar q_{bm})^2}}$$
#
# ### Exercise 2 · `correlation_loss` · difficulty ★★☆ · 10 minutes
#
# Write it for tensors `(T, B, M)`. A course that stands still has no correlation: it costs 1, and the
# gradient stays finite.


# %%
def correlation_loss(seen, true):
    """seen, true: (T, B, M) -> loss (): 0 for equal courses, 1 for unrelated ones, 2 for opposite ones."""
    raise NotImplementedError


check("15.correlation_loss", correlation_loss)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def correlation_loss_solution(seen, true):
    """Center both over time, give both length 1, multiply. The 1e-8 stands inside the root: no 0 / 0."""

    def course(x):
        x = x - x.mean(0)  # (T, B, M)
        return x / (x.square().sum(0) + 1e-8).sqrt()  # (T, B, M), length 1 over time

    return 1 - (course(seen) * course(true)).sum(0).mean()


# %%
check("15.correlation_loss", correlation_loss_solution)
p, q = torch.randn(2, T, 4, 9, generator=torch.Generator().manual_seed(0))  # (T, B, 9) each
everywhere = torch.ones(T, 4, dtype=torch.bool)  # (T, B) in which frames the measures are known
ours = correlation_loss_solution(p, q)
assert ours < measure_loss(p, q, everywhere)  # the package adds a term for the steps from frame to frame
assert torch.allclose(ours, correlation_loss_solution(5 * p + 3, q), atol=1e-4)

# %% [markdown]
# The package's `measure_loss` is this and two things more: it looks only at frames in which the measures are
# known, and it also compares the *steps* from frame to frame, since a fast movement is soon over and would
# count for little.
#
# ## 5. Learn from other people's motion
#
# Now the reward. If a clip is nine courses, then **a motion without a video is a training example, too**. Few
# people let you keep videos of their face; landmarks of many people are small, and show no face. The GRUs can
# learn from everybody's motion, while the convolutions see only a few faces.
#
# `StrangerLipNet` is a `SmallLipNet` with a bottleneck between its features and its GRUs:
# - a small perceptron computes nine **measures** from the features, standardized over the clip;
# - an **adapter**, two convolutions over time, turns measures into what the GRUs read;
# - beside them a **neck** of 12 noisy numbers lets through a little more, such as teeth and tongue. It starts
#   at zero, and it is closed at random in training, so that the measures must be enough.

# %%
show(StrangerLipNet.classify_mixed)

# %%
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
# The loss has four parts: CTC on clips, CTC on motions, the framewise hint from word timings that fades out
# (notebook 08), and `measure_loss` on the clips. A long run starts with a stage of motions alone, which are
# cheap: no convolution looks at them. Ours is short and goes without (`motion_epochs=0`).
#
# **Predict.** We train with the pixels of **the same one talker** as before, in disguise, for the same number
# of steps, and with 400 motions of 60 other talkers, of whom there is no pixel. What is the WER on strangers?

# %%
_, others = clips_of(
    range(1, 61), 400, seed=5, size=(12, 24)
)  # we keep the motions, and throw the frames away
stranger_settings = StrangerSettings(
    **common, batch_size=B, motions=M, motion_epochs=0, steps_per_epoch=24, learning_rate=8e-3
)
run_type = partial(StrangerRun, motions=one_motions | others, n_frames=T)
reader, reader_log = train(
    new(StrangerLipNet),
    one,
    strangers,
    stranger_settings,
    device=device,
    precision=torch.float32,
    run_type=run_type,
)

# %%
now = evaluate(reader, strangers).wer
assert now < 0.5 < 0.6 < unknown  # measured: 0.1 to 0.25 against 0.93
print("of strangers, more than half of the words are right: with the pixels of one face")
wer_of = {"one talker, plain": plain_log, "one talker and others' motion": reader_log}
figures.curves(
    {
        name: (np.array([row["step"] for row in log]), np.array([row["val_wer"] for row in log]))
        for name, log in wer_of.items()
    },
    ylabel="WER on strangers",
    ylim=(0, 1.1),
    title="Same face, same number of steps",
)

# %% [markdown]
# Both runs saw the pixels of one talker. The comparison changes several things at once: disguise,
# bottleneck, the motions of others, and with them the learning rate and what a mini-batch holds. To know
# what each is worth you need an **ablation**: leave out one at a time. (Try it: `motions=one_motions` leaves
# out the others.)
#
# ### The probe again
#
# Ask both networks who speaks, at three places: in the features, in what passes the bottleneck, and in what
# the GRUs read.


# %%
@torch.no_grad()
def places(model, clips):
    """name -> (T, B, ·) what a StrangerLipNet makes of clips on its way to the GRUs."""
    features = features_of(model, clips)  # (T, B, F)
    measures = standardize(model.measures(features))  # (T, B, 9)
    squeezed = standardize(model.neck.squeeze(features))  # (T, B, 12)
    return {
        "features": features,
        "bottleneck": torch.cat((measures, squeezed), 2),  # (T, B, 21)
        "what the GRUs read": model.adapter(measures) + model.neck(features),  # (T, B, F)
    }


fitted, tested = places(reader, fit_clips), places(reader, test_clips)
from_a_frame = {name: frame_probe(fitted[name], tested[name]) for name in fitted}
assert from_a_frame["features"] > 4 * CHANCE  # measured: 0.98, 0.10, 0.20
assert from_a_frame["bottleneck"] < 2 * CHANCE and from_a_frame["what the GRUs read"] < 3 * CHANCE
print("one frame of the features tells who speaks; one frame behind the bottleneck next to nothing")
figures.dot_plot(
    ["one talker, plain: features", *(f"with bottleneck: {name}" for name in from_a_frame)],
    {"who speaks, from one frame": [knows_who, *from_a_frame.values()]},
    xlabel="accuracy of the probe (chance: 12.5 %)",
)

# %% [markdown]
# The features still know who speaks. They are allowed to: identity is lost on the way to the GRUs. In the
# bottleneck it *must* be lost for a linear probe, since every clip has mean 0 there. Behind the adapter
# nothing forces it any more, and little has come back.
#
# **Do not read more into this.** The next cell gives the probe a whole clip instead of one frame.

# %%
name = "what the GRUs read"
from_a_clip = probe(fitted[name].mean(0), who, tested[name].mean(0), who)
assert from_a_clip > 3 * CHANCE  # measured: 1.00
print("averaged over a clip, what the GRUs read tells who speaks, more than three times as often as chance")

# %% [markdown]
# How fast somebody speaks is a signature, too, and so is the noise of the camera: whatever changes the shape
# of a course can show in a mean over the clip. The bottleneck removes much of how people *look*. It does not
# make anybody anonymous.
#
# ## 6. Who is in the test?
#
# A figure for strangers is worth nothing if they are not strangers. GRID makes it easy to go wrong: each
# person says a thousand sentences, and a random split puts every person on both sides. Such a split measures
# new *sentences*, and calls the result generalization.
#
# A **speaker-independent split** holds out whole people. It can still leak: the same person under two names,
# a clip that lies in two collections, a sentence that both sides contain.
#
# ### Exercise 3 · `leaks` · difficulty ★☆☆ · 8 minutes
#
# Rows of a manifest are dictionaries with `id`, `speaker` and `transcript`. Return what stands on both sides:
# three sorted lists, each entry once, in lower case, without blanks at the ends, one blank between words.
# Names that differ only in case or blanks are one name.


# %%
def leaks(train, val):
    """train, val: lists of rows -> {"speakers": [...], "clips": [...], "sentences": [...]}."""
    raise NotImplementedError


check("15.leaks", leaks)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def leaks_solution(train, val):
    """The same form for every name, then the intersection of two sets."""

    def names(rows, column):
        return {" ".join(row[column].lower().split()) for row in rows}

    columns = {"speakers": "speaker", "clips": "id", "sentences": "transcript"}
    return {key: sorted(names(train, column) & names(val, column)) for key, column in columns.items()}


# %%
check("15.leaks", leaks_solution)


def rows_of(clips):
    return [
        {"id": name, "speaker": speaker, "transcript": said}
        for name, speaker, said in zip(clips.ids, clips.speakers, clips.transcripts, strict=True)
    ]


found = leaks_solution(rows_of(one), rows_of(strangers))
print({key: len(names) for key, names in found.items()})
assert not found["speakers"] and not found["clips"] and len(found["sentences"]) == len(SENTENCES)

# %% [markdown]
# Our own split shares all nine sentences. It is fair for the question "does it read new *people*?" and would
# be unfair for "does it read new sentences?". A leak is a leak with respect to a question.
#
# ### How sure are we?
#
# With few people to hold out, hold out each once: cut the speakers into **folds**, train once per fold
# without it, test on it. Every person is tested by a model that never saw them, at the price of as many
# trainings as folds.
#
# Then the interval. The **bootstrap** (notebook 13) draws the test clips again and again with replacement.
# That treats clips as independent, but clips of one person are alike: if one is hard to read, so are the
# others. What varies between tests is *who* is in them. So draw **people** with replacement, with all their
# clips.
#
# Check it where the truth is known. Invent people whose error rates scatter around 12.5 %, test five of them
# with 40 clips each, compute both intervals, and see how often each contains the truth. A 95 % interval
# should do so in 95 of 100 studies.


# %%
def bootstrap(wrong, by_person, rng, draws=300):
    """95 % interval of the mean of wrong (people, clips), drawing clips or whole people anew."""
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
assert by_clip < 0.6 and 0.7 < by_people < 0.95 and by_people > by_clip + 0.15
print("the interval over clips contains the truth in fewer than 60 % of the studies, not in 95 %")
print("the interval over people does so in more than 70 %: better, and with five people still too narrow")

# %% [markdown]
# ## 7. Real people, and what is left
#
# `lipnet_strangers` is being trained in this way on GRID: clips of few people, most of them of s1, and
# the landmarks of about two dozen. s5 and s33 are held out of everything, their landmarks too. Of s1 other
# sentences are tested than those trained on, so s1 is no stranger. **The figures below are of an unfinished
# run**, one seed, stopped after a quarter of its steps with clips.

# %%
report = results_of("lipnet_strangers")
print("speaker  clips  WER greedy  WER with the grammar")
for speaker, row in report["speakers"].items():
    note = "" if speaker == "s1" else "  (never seen)"
    print(f"{speaker:7} {row['clips']:6} {row['greedy']:10.1%} {row['grammar']:12.1%}{note}")
unseen = {name: row["grammar"] for name, row in report["speakers"].items() if name != "s1"}
assert len(unseen) < 5 and max(unseen.values()) < 0.5

# %% [markdown]
# So most words of real strangers are read correctly, too. But take section 6 seriously: with so few people a
# bootstrap over people is hardly more than the range from the easiest to the hardest of them.
#
# Where are the errors? Count the words that the grammar's reading gets wrong, by kind. A GRID sentence has
# one letter, one digit, and four other words.

# %%
DIGITS = "zero one two three four five six seven eight nine".split()


def kind(word: str) -> str:
    if word in DIGITS:
        return "digits"
    return "letters" if len(word) == 1 and word != "a" else "other words"


said_words, wrong_words = {}, {}
for row in report["sentences"]:
    for said, read in edits(row["said"].split(), row["grammar"].split()):
        of = kind(said or read)
        said_words[of] = said_words.get(of, 0) + (said is not None)
        wrong_words[of] = wrong_words.get(of, 0) + (said != read)
share = {of: wrong_words[of] / sum(wrong_words.values()) for of in ("letters", "digits", "other words")}
assert share["letters"] > 0.5  # one word in six …
assert wrong_words["letters"] / said_words["letters"] > 2 * wrong_words["digits"] / said_words["digits"]
print("more than half of the errors are letters, which are one word in six")
figures.dot_plot(
    list(share),
    {
        "share of all errors": list(share.values()),
        "wrong, of this kind of word": [wrong_words[of] / said_words[of] for of in share],
    },
    xlabel="",
    title="What is left, with the grammar",
)

# %% [markdown]
# A letter is one syllable. Many letters look alike on the lips (*b*, *p*; *d*, *t*; notebook 07), and the
# grammar allows any of them. Digits are longer and there are only ten. More people alone may not help here:
# what tells two letters apart is small and often lies near teeth and tongue, and some of the error is the
# Bayes error.
#
# ## 8. What it must not be used for
#
# - **It reads 51 words in one fixed order.** On any other speech it will write a sentence of GRID, and it
#   will look convincing. It is no evidence of what somebody said.
# - **Do not read people who did not ask for it.** Reading lips at a distance is listening without a
#   microphone. A demonstration needs the consent of whoever is in front of the camera.
# - **It does not anonymize.** Section 5 recovered who speaks from behind the bottleneck.
# - **Look at who is missing.** The landmarks and clips come from 28 native speakers of English, in one
#   studio, facing the camera. There is no other language and no other light. For anybody
#   unlike these 28, the figures above promise nothing, and section 1 shows how wrong they can be.
#
# ## Deeper (optional): what moves and what stays
#
# The probe asks *can it be told?* A variance asks *how much of the features is it?* Take the variance of the
# features over frames and clips. It splits exactly into two parts: between the means of the clips, and within
# clips over time.
#
# $$\underbrace{\tfrac{1}{TB}\sum_{t,b} (x_{tb} - \bar x)^2}_{\text{all}} =
#   \underbrace{\tfrac{1}{B}\sum_b (\bar x_b - \bar x)^2}_{\text{stays through a clip}} +
#   \underbrace{\tfrac{1}{TB}\sum_{t,b} (x_{tb} - \bar x_b)^2}_{\text{moves}}$$


# %%
def stays(x):
    """The fraction of the variance of x (T, B, F) that is constant through a clip."""
    return (x.mean(0).var(0, correction=0).sum() / x.var((0, 1), correction=0).sum()).item()


pixels = normalize(torch.from_numpy(test_clips.frames)).transpose(0, 1).flatten(2)  # (T, B, H · W)
constant = {"pixels": stays(pixels), **{name: stays(x) for name, x in tested.items()}}
assert constant["pixels"] > 0.5 and constant["pixels"] > constant["features"]
assert constant["bottleneck"] < 0.01 and constant["what the GRUs read"] < 0.1
figures.dot_plot(
    list(constant), {"constant": list(constant.values())}, xlabel="variance that stays through a clip"
)

# %% [markdown]
# More than half of the variance of the pixels stays through a clip: face, light and crop. A network that
# needs to find the motion in there has much to ignore; behind the bottleneck, nearly everything moves.
#
# ## Deeper (optional): intervals of our own reader
#
# Twenty strangers with three clips each, and four of them as if there had been no more: the fewer people, the
# wider the interval over people tends to be.

# %%
wrong = np.array(
    [
        wer(said, text)
        for said, text in zip(strangers.transcripts, evaluate(reader, strangers).texts, strict=True)
    ]
)
wrong = wrong.reshape(3, len(STRANGERS)).T  # (people, clips): clips come in turn
rows = {
    f"20 strangers, over {what}": (wrong.mean(), *bootstrap(wrong, by_person, np.random.default_rng(0)))
    for what, by_person in (("clips", False), ("people", True))
}
rows["the first 4 of them, over people"] = (
    wrong[:4].mean(),
    *bootstrap(wrong[:4], True, np.random.default_rng(0)),
)
figures.intervals(rows, title="Our small reader: 95 % intervals")

# %% [markdown]
# ## Recap
#
# - A model of one person overfits to a face: good on new clips, lost on new people.
# - A linear probe shows that features carry identity together with motion, though nobody asked for it.
# - Augmentation says what must not matter; a bottleneck says what does. Draw a disguise once per clip.
# - Measures of the mouth, standardized over the clip, are nearly the same on every face. The correlation loss
#   trains them without knowing scale or offset.
# - With such measures, motions without video are training data.
# - Hold out whole people, look for leaks, and let the bootstrap draw people.
#
# ## Glossary
#
# | word | meaning |
# |---|---|
# | linear probe | a linear classifier on frozen features, to see what they contain |
# | identity | what in a clip says who speaks; it stays through the clip |
# | invariance | giving the same answer when the input changes in a certain way |
# | landmarks | points of a face that mean the same on every face, such as the corners of the mouth |
# | correlation loss | one minus the correlation over time; scale and offset do not matter |
# | speaker-independent split | a split into training and test by whole people |
# | cross-validation | training once per fold, each time testing on the fold that was left out |
# | confidence interval | a range that contains the truth in, say, 95 of 100 studies |
# | ablation | leaving out one part at a time, to see what each is worth |
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
# **Next**: notebook 09 leaves the lips for phones: the bottleneck, and how 589,824 weights become 69,632.
