# %% [markdown]
# # 08 · Words that look alike
#
# **You will take a synthetic talker apart, compute the error rate that no lip reader can beat, judge a
# trained network against it, and split data so that a test measures what you claim.**
#
# *Core path: about 48 minutes; deeper sections: about 9; all cells together run in about 40 seconds on one
# CPU core.*
#
# **You need**: NumPy, GRID's grammar (notebook 07), the word error rate WER (notebook 05).
#
# **You will be able to**
# - explain phonemes, visemes and coarticulation;
# - group the words that look alike, and derive the Bayes error that they cause;
# - compare a network with the ideal observer, and tell luck from errors that it could avoid;
# - split data by clip or by speaker, and recognize a split that leaks.

# %%
import json
import math
from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import torch
from tqdm.auto import tqdm

from lessons import figures
from lessons.checks import agree, check, use
from lessons.ctc import grammar
from lessons.ctc.metrics import edits
from lessons.data.synthetic.error_floor import error_floor
from lessons.data.synthetic.talker import Speaker, render, say, synthetic_clips, talk, timing
from lessons.data.synthetic.visemes import (
    LEXICON,
    PHONEME_TO_VISEMES,
    SHAPE,
    VISEMES,
    articulate,
    shape_of,
    word_visemes,
)
from lessons.training import checkpoint
from lessons.training.evaluation import evaluate

# %% [markdown]
# ## 1. From text to a moving mouth
#
# To understand *why* some words cannot be lip-read, you need a mouth whose every part is known. Of a real
# mouth we do not know that much; of the synthetic talker we do. It works in four stages:
#
# text → phonemes → **visemes** → shapes of the mouth over time → frames
#
# **Phonemes** are the sounds that distinguish words of a language. A **viseme** is the visual counterpart:
# all phonemes that look the same on the lips. A pronouncing dictionary gives the phonemes, a table the
# visemes:

# %%
said = "set blue with p three now"
for word in said.split():
    print(f"{word:6} phonemes {LEXICON[word]:7}  visemes {' '.join(word_visemes(word))}")
table: dict[str, list[str]] = {}
for phoneme, shown in PHONEME_TO_VISEMES.items():
    table.setdefault(" ".join(shown), []).append(phoneme)
print("\nphonemes of one viseme:", ", ".join("/".join(group) for group in table.values() if len(group) > 1))

# %% [markdown]
# /p/, /b/ and /m/ all close the lips; what distinguishes them happens in the throat and the nose. /t d n s z/
# are all made behind the teeth. There is no agreed list of visemes. Ours joins what looks alike on nearly
# every face (after Fisher, 1968), and keeps the other phonemes more distinct than they are on real mouths. It
# is a model.
#
# Each viseme is a target of eight numbers that the mouth moves towards:

# %%
print(", ".join(SHAPE))
for name in ("p", "ah", "oo", "f"):
    print(f"{name:3}", shape_of(name))
names = list(VISEMES)
targets = np.stack([shape_of(name) for name in names])  # (16, 8)
speaker = Speaker.random(np.random.default_rng(11))
mouths = render(targets, speaker, (48, 96), color=True)  # (16, 48, 96, 3)
figures.filmstrip(
    mouths, range(len(names)), names, columns=8, width=7.5, title="The sixteen visemes on one face"
)

# %% [markdown]
# A mouth does not jump from one target to the next. While the tongue says /t/, the lips already round for the
# /oo/ of "two". This is **coarticulation**. The talker models it by a weighted mean of the targets $s_k$,
# after Cohen and Massaro (1993). The weights are called **dominance functions**:
#
# $$s(t) = \frac{\sum_k D_k(t)\, s_k}{\sum_k D_k(t)}, \qquad D_k(t) = f_k \, e^{-(d_k(t)/0.65)^2}$$
#
# $d_k(t)$ is the distance in frames between $t$ and the interval of viseme $k$, so $D_k$ is largest inside
# the interval and falls off quickly outside (to $1/e$ at 0.65 frames). $f_k$ is the firmness, and it differs
# between parts of the mouth: a /t/ is firm for the teeth ($f = 2$), not for the lips ($f = 0.3$).

# %%
rng = np.random.default_rng(11)
shapes, _ = say(said, speaker.rate, rng)  # (75, 8): the eight numbers in every frame
spelled = [word_visemes(word) for word in said.split()]
visemes = ["sil", *(v for word in spelled for v in word), "sil"]
borders = np.concatenate([[0.0], timing(spelled, speaker.rate, np.random.default_rng(11)), [75.0]])
starts = np.cumsum([0, *map(len, spelled)])
word_parts = [
    (borders[1 + a], borders[1 + b], w) for a, b, w in zip(starts, starts[1:], said.split(), strict=False)
]
figures.word_timeline(
    {"word": word_parts, "viseme": list(zip(borders[:-1], borders[1:], visemes, strict=True))},
    {name: shapes[:, SHAPE.index(name)] for name in ("opening", "width", "rounding")},
    render(shapes, speaker, (48, 96)),  # (75, 48, 96)
    span=(borders[1] - 1, borders[-2] + 1),
    width=7.5,
    title="Words, visemes, and the shapes that the lips pass through",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert np.allclose(articulate(visemes, borders, np.arange(75) + 0.5), shapes)
assert VISEMES["t"].firm_lips == 0.3 and VISEMES["t"].firm == 2.0

# %% [markdown]
# Follow the blue line, the opening. It falls below 0 only where the lips press together: for the *b* of
# "blue" and for the letter *p*. The last stage renders each shape: skin, lips, teeth, tongue as soft edges,
# then light from one side, a slowly moving head, and the noise of the camera. Change one number at a time:

# %%
moved_parts = {}
for part, low, high in (("opening", -0.5, 1.0), ("width", 0.6, 1.3), ("upper_teeth", 0.0, 1.0)):
    moved = np.tile(shape_of("eh"), (6, 1))  # (6, 8)
    moved[:, SHAPE.index(part)] = np.linspace(low, high, 6)
    moved_parts[part] = render(moved, speaker, (48, 96), color=True)
figures.clip_rows(moved_parts, title="One number at a time, starting from eh", width=6.0)

# %% tags=["nbval-ignore-output"]
# output not compared: the slider is a widget, which lives only while the notebook runs
from ipywidgets import interact


@interact(opening=(-0.6, 1.0), width=(0.5, 1.3), rounding=(0.0, 1.0), teeth=(0.0, 1.0), tongue=(0.0, 1.0))
def mouth(opening=0.6, width=1.0, rounding=0.0, teeth=0.3, tongue=0.3):
    shape = np.array([[opening, width, rounding, teeth, 0.0, tongue, 0.0, 0.0]])  # (1, 8)
    return figures.filmstrip(render(shape, speaker, (96, 192), color=True), [0], width=4.0)


# %% [markdown]
# ## 2. Homophemes
#
# **Predict.** Say the alphabet in front of a mirror, without voice. Which letters can you not tell apart?

# %% tags=["predict"]
LETTERS = ["b", "p", "c", "d", "t", "n", "s"] + [x for x in grammar.LETTERS if x not in "bpcdtns"]


def letter_clip(letter: str) -> np.ndarray:
    """(16, 32, 64): said slowly, by a head at rest, without noise: only the mouth can differ."""
    shapes, _ = say(letter, 0.4, np.random.default_rng(3), 40)  # (40, 8)
    return render(shapes, speaker)[16:32]


letter_clips = {letter: letter_clip(letter) for letter in LETTERS}
stack = np.stack([letter_clips[letter] for letter in LETTERS]).astype(float)  # (25, 16, 32, 64)
apart = np.stack([np.abs(stack - one).mean(axis=(1, 2, 3)) for one in stack])  # (25, 25) gray levels
equal = sorted({"".join(LETTERS[j] for j in np.flatnonzero(row == 0)) for row in apart})
print("equal in every byte:", [group for group in equal if len(group) > 1])
figures.distance_matrix(
    apart, LETTERS, unit="mean difference, gray levels", title="How different are the clips of two letters?"
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert [group for group in equal if len(group) > 1] == ["bp", "cdt", "ns"]
b, p = (talk(f"set blue with {x} three now", speaker, np.random.default_rng(5))[0] for x in "bp")
assert np.array_equal(b, p)

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# *b* and *p*, *c*, *d* and *t*, *n* and *s* sound different, and their clips are **equal in every byte**.
# Words that look the same are **homophemes**. The same holds in a whole sentence with noise and a moving
# head: equal visemes and equal random numbers give equal bytes.
# </details>
#
# ### Exercise 1 · `homopheme_groups` · difficulty ★★☆ · 10 minutes
#
# Given a lexicon (word → phonemes, separated by spaces) and a table (phoneme → a tuple of the visemes it
# shows, one or two), group the words that look alike. Every word is in exactly one group; a word that looks
# like no other is a group of one. Groups, and the words in each, are in the order of the lexicon.


# %%
def homopheme_groups(lexicon, visemes):
    """({"b": "B IY", "p": "P IY", …}, {"B": ("p",), …}) -> [["b", "p"], …]."""
    raise NotImplementedError


check("08.homopheme_groups", homopheme_groups)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def homopheme_groups_solution(lexicon, visemes):
    """The key of a group is the tuple of visemes that its words show."""
    groups = {}
    for word, phonemes in lexicon.items():
        shown = tuple(v for phoneme in phonemes.split() for v in visemes[phoneme])
        groups.setdefault(shown, []).append(word)
    return list(groups.values())


# %%
homopheme_groups = use("08.homopheme_groups", homopheme_groups, homopheme_groups_solution)
groups = [
    homopheme_groups({word: LEXICON[word] for word in slot}, PHONEME_TO_VISEMES) for slot in grammar.SLOTS
]
for name, of_slot in zip(grammar.SLOT_NAMES, groups, strict=True):
    print(f"{name:12} {[list(group) for group in of_slot if len(group) > 1] or 'no homophemes'}")

# %% [markdown]
# ## 3. The Bayes error
#
# What is the lowest possible word error rate? Imagine an **ideal observer**: it sees the visemes perfectly
# and knows how often each word occurs. It cannot distinguish homophemes, so within a group it answers with
# the most probable word, and is wrong whenever it was another one. Its error rate is the **Bayes error**: no
# model can be better *on average*.
#
# **One pair by hand.** GRID's letters are equally likely, so the letter is *b* or *p* in 2 of 25 sentences.
# The ideal observer answers *b* and is wrong in half of these cases: in $\tfrac{2}{25} \cdot \tfrac12 =
# \tfrac{1}{25}$ of all sentences, one of six words is wrong. That is a word error rate of $\tfrac{1}{150}$.
#
# **In general.** In one slot with prior probabilities $p(w)$ and groups $g$ the ideal observer is right with
# probability $\sum_g \max_{w \in g} p(w)$. All sentences have the same number of words, so
#
# $$\text{WER}_{\text{Bayes}} = \frac{1}{\#\text{slots}} \sum_{\text{slots}}
#   \Big(1 - \sum_{g} \max_{w \in g} p(w)\Big)$$
#
# ### Exercise 2 · `bayes_wer` · difficulty ★★☆ · 12 minutes
#
# `priors` has one dictionary per slot, word → probability; `groups` has one list of homopheme groups per
# slot. First predict the result for GRID: six slots, uniform priors, the letters in groups of 2, 3 and 2.


# %%
def bayes_wer(priors, groups):
    """([{word: p(word), …}, …], [[[word, …], …], …]) -> the ideal observer's word error rate, a number."""
    raise NotImplementedError


check("08.bayes_wer", bayes_wer)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def bayes_wer_solution(priors, groups):
    """Per slot: one minus the probability that the most probable word of a group was the right one."""
    errors = [
        1 - sum(max(prior[word] for word in group) for group in of_slot)
        for prior, of_slot in zip(priors, groups, strict=True)
    ]
    return sum(errors) / len(errors)


# %%
bayes_wer = use("08.bayes_wer", bayes_wer, bayes_wer_solution)
uniform = [{word: Fraction(1, len(slot)) for word in slot} for slot in grammar.SLOTS]
floor = float(bayes_wer(uniform, groups))
print(f"Bayes error of GRID's grammar on the synthetic talker: WER {floor:.2%}")

often_b = [dict(prior) for prior in uniform]
often_b[3] |= {"b": Fraction(2, 25), "p": Fraction(0)}
print(f"if p never occurred and b twice as often: {float(bayes_wer(often_b, groups)):.2%}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert math.isclose(floor, 2 / 75) and math.isclose(floor, error_floor().wer)
assert math.isclose(float(bayes_wer(often_b, groups)), 1 / 50)

# %% [markdown]
# $\tfrac16 \cdot \tfrac{1 + 2 + 1}{25} = \tfrac{2}{75}$: in a group of $n$ equally likely words, $n - 1$ are
# lost. The language model matters, too: if the prior prefers *b*, the ideal observer is right more often.
#
# ### Does a trained network reach it?
#
# The network of notebook 00 has read 200 clips of 200 talkers, 1,200 words, with the grammar (notebook 05).
# The Bayes error corresponds to $1200 \cdot 2.67\,\% = 32$ wrong words on average. **Predict**: if the
# network makes exactly 32 errors, is there nothing left to learn?
#
# The Bayes error is an average in two respects: over the letters that occur in a test set, and over the luck
# of guessing. For *one* test set we compute both.
#
# - **Its letters.** A guess in a group of $n$ is wrong with probability $q = \tfrac{n-1}{n}$: $\tfrac12$ for
#   *b*, $\tfrac23$ for *c*, 0 for *a*. The sum of $q$ over the 200 letters of this test is the expected
#   number of errors of the ideal observer.
# - **Luck.** The guesses are independent, each wrong or not, with variance $q\,(1-q)$. The variances add up,
#   and the square root of the sum is the standard deviation.

# %% tags=["predict"]
results = json.loads(
    (checkpoint.trained_folder("lipnet_small_synthetic") / "results.json").read_text(encoding="utf-8")
)
group_of = {word: group for group in groups[3] for word in group}  # of the letters
letters = [row["said"].split()[3] for row in results["sentences"]]  # (200,)
q = np.array([1 - 1 / len(group_of[letter]) for letter in letters])  # (200,)
expected, luck = q.sum(), math.sqrt((q * (1 - q)).sum())

pairs = [
    pair for row in results["sentences"] for pair in edits(row["said"].split(), row["grammar"].split())
]  # (reference, hypothesis) for every word
errors = [(a, b) for a, b in pairs if a != b]
in_groups = sum(len(group_of.get(a, "x")) > 1 for a, _ in errors)
avoidable = [
    (a, b) for a, b in errors if b not in group_of.get(a, (a,))
]  # the ideal observer never makes these
ambiguous = int((q > 0).sum())
print(f"{'':24}{'words':>6}{'ideal observer':>17}{'network':>10}")
print(f"{'letters with homophemes':24}{ambiguous:6}{f'{expected:.0f} ± {luck:.1f}':>17}{in_groups:10}")
print(f"{'all other words':24}{1200 - ambiguous:6}{'0':>17}{len(errors) - in_groups:10}")
print(f"{'total':24}{1200:6}{f'{expected:.0f} ± {luck:.1f}':>17}{len(errors):10}")
print(f"errors that the ideal observer never makes: {len(avoidable)}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert len(errors) == round(1200 * floor) == 32 and len(errors) - in_groups == 9 and len(avoidable) == 9 + 2
assert abs(in_groups - expected) < 2 * luck and round(expected) - in_groups == 6 and len(letters) == 200

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The total is 32, *exactly the Bayes error*. The rows tell a different story. On ambiguous letters the
# network made six errors fewer than the ideal observer makes on average: less than two standard deviations,
# so it may be luck. And it made eleven errors that the ideal observer never makes: nine in other words, and
# two ambiguous letters that were read as a letter outside of their group. So there is something left to
# learn. **Compare the kinds of errors, not the total.**
# </details>
#
# For real mouths the Bayes error is unknown, because nobody knows their visemes exactly. LipNet's authors
# find that on GRID, too, most confusions are between phonemes that look alike (their §4.4.2).
#
# ## 4. Splits: what does your test measure?
#
# LipNet's paper reports two test sets. *Overlapped speakers*: other sentences of the **same people** as in
# training, word error rate 4.8 %. *Unseen speakers*: four people whom the network has never seen, 11.4 %.
# (These are two trainings on two training sets.)
#
# We study the difference with a very simple reader: a linear map from the pixels of one frame to its
# viseme, fitted by ridge regression. It is always trained on 40 clips; we vary **how many different people**
# spoke them.


# %%
def labeled_frames(speaker, rng):
    """One sentence: the frames of its speech (N, 128), 8 x 16 pixels each, and their visemes (N,)."""
    spelled = [word_visemes(word) for word in grammar.random_sentence(rng).split()]
    looks = ["sil", *(v for word in spelled for v in word), "sil"]
    borders = np.concatenate([[0.0], timing(spelled, speaker.rate, rng), [75.0]])
    times = np.arange(75) + 0.5
    clip = render(articulate(looks, borders, times), speaker, (16, 32), rng=rng).astype(float)  # (75, 16, 32)
    clip = (clip - clip.mean()) / clip.std()
    pixels = clip.reshape(75, 8, 2, 16, 2).mean(axis=(2, 4)).reshape(75, 128)  # (75, 128)
    now = np.searchsorted(borders, times, side="right") - 1  # (75,) which viseme
    label = np.array([names.index(looks[k]) for k in now])  # (75,)
    return pixels[label > 0], label[label > 0]  # without the silence, which is viseme 0


def frames_of(people, n, rng):
    """n clips, the people in turn."""
    parts = [labeled_frames(people[i % len(people)], rng) for i in range(n)]
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


def with_one(x):
    return np.concatenate([x, np.ones((len(x), 1))], axis=1)  # a column for the bias


def fit(x, y, ridge=10.0):
    """The weights (129, 16) of a ridge regression onto one-hot labels."""
    x = with_one(x)
    return np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ np.eye(len(names))[y])


# %% [markdown]
# **Predict.** Three curves over the number of people in training (1, 3, 10, 40): accuracy on the training
# frames, on new sentences of the same people, on new people. Which rise, which fall, where do they meet?

# %% tags=["predict"]
HOW_MANY, SEEDS = (1, 3, 10, 40), 4
accuracy = {"training frames": [], "seen people": [], "unseen people": []}
for seed in tqdm(range(SEEDS), desc="seeds"):
    rows = []
    for n_people in HOW_MANY:
        rng = np.random.default_rng([seed, n_people])
        known = [Speaker.random(rng) for _ in range(n_people)]
        training, seen = frames_of(known, 40, rng), frames_of(known, 12, rng)
        unseen = frames_of([Speaker.random(rng) for _ in range(12)], 12, rng)
        weights = fit(*training)
        rows.append([((with_one(x) @ weights).argmax(1) == y).mean() for x, y in (training, seen, unseen)])
    for name, column in zip(accuracy, zip(*rows, strict=True), strict=True):
        accuracy[name].append(column)
accuracy = {name: np.array(values) for name, values in accuracy.items()}  # each (seeds, 4)
figures.curves(
    accuracy,
    steps=HOW_MANY,
    xlabel="people in training",
    ylabel="accuracy, visemes",
    ylim=(0, 0.8),
    width=6.0,
    height=3.0,
    title="40 clips of more and more people: mean and range of four seeds",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
seen, unseen = accuracy["seen people"], accuracy["unseen people"]
assert (seen[:, 0] > 1.7 * unseen[:, 0]).all()  # one person: every seed
assert seen[:, -1].max() < seen[:, 0].min() and unseen[:, -1].min() > unseen[:, 0].max()  # the ends
# With forty people the two ranges overlap.
assert seen[:, -1].max() > unseen[:, -1].min() and seen[:, -1].min() < unseen[:, -1].max()

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# With one person in training the accuracy on that person is, on average, more than twice that on others: the
# model has **overfitted** to a face, its lips, light and position. With forty people it is *worse* on people
# that it knows (it cannot memorize forty faces), much better on unseen people, and the two ranges overlap.
# (In all four seeds this holds for one person against forty; the points between have overlapping ranges.)
# </details>
#
# **A model trained on one speaker, like the one of the next notebook, is at the left end of these curves.**
# State which question your split answers. *Will it read this person tomorrow?* Same people, new sentences.
# *Will it generalize to anybody?* New people. One split does not answer both.
#
# ### Leakage
#
# A worse mistake puts **frames of one clip on both sides**. Neighboring frames are nearly identical, and
# windows of seven frames, as LipNet's first layers see them (notebook 02), even share six of their frames.
# The reader below finds the most similar training window (nearest neighbor) and returns its word.


# %%
def word_windows(speaker, rng):
    """One sentence: its windows of seven frames (N, 896), and the word at the center of each (N,)."""
    clip, parts = talk(grammar.random_sentence(rng), speaker, rng, (16, 32))  # (75, 16, 32)
    clip = (clip - clip.mean()) / clip.std()
    pixels = clip.reshape(75, 8, 2, 16, 2).mean(axis=(2, 4)).reshape(75, 128)
    label = np.array([next(word for a, b, word in parts if a <= t + 0.5 < b) for t in range(75)])
    inside = np.flatnonzero(label != "sil")
    return pixels[inside[:, None] + np.arange(-3, 4)].reshape(len(inside), -1), label[inside]


def nearest(x, y, test) -> float:
    """The accuracy of the nearest neighbor on the test windows."""
    a, b = x[test], x[~test]
    distance = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T  # (test, training)
    return (y[~test][distance.argmin(1)] == y[test]).mean()


SPLITS = {"random windows": [], "whole clips": [], "whole people": []}
of_pairs = []  # "whole people", by which two are held out
for seed in range(3):
    rng = np.random.default_rng(seed)
    known = [Speaker.random(rng) for _ in range(8)]
    clips = [word_windows(known[i % 8], rng) for i in range(64)]
    x, y = (np.concatenate(part) for part in zip(*clips, strict=True))
    clip_of = np.repeat(np.arange(64), [len(part) for _, part in clips])  # the clip of each window
    SPLITS["random windows"].append(nearest(x, y, rng.random(len(x)) < 0.25))
    SPLITS["whole clips"].append(nearest(x, y, np.isin(clip_of, rng.permutation(64)[:16])))
    pairs = [nearest(x, y, np.isin(clip_of % 8, [k, k + 1])) for k in (0, 2, 4, 6)]  # two of eight people
    SPLITS["whole people"].append(np.mean(pairs))
    of_pairs += pairs
for name, values in SPLITS.items():
    print(f"{name:14} held out: accuracy {min(values):.0%} to {max(values):.0%}, three seeds")
figures.seed_spread(
    SPLITS | {"  by held-out pair": of_pairs}, percent=True, xlabel="accuracy, words of test windows"
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert min(SPLITS["random windows"]) > max(SPLITS["whole clips"]) + 0.05
assert min(SPLITS["whole clips"]) > max(SPLITS["whole people"]) + 0.05
assert max(of_pairs) - min(of_pairs) > 0.2

# %% [markdown]
# One reader, the same clips, three results. The first one is worthless: it measures how well a window finds
# its overlapping neighbor (**nearest-neighbor leakage**). **Split by what will be new in use**: clips, or
# people. Two test people are few: the last row shows how much depends on *which* two.
#
# `lessons.data.grid.prepare` splits GRID by clip, by a rule on the file name in which every letter and digit
# is represented, so that the side of a clip depends neither on chance nor on which clips you have.
#
# ## Deeper: coarticulation by hand
#
# How wide is the mouth in "two", half a frame before the /t/ ends? The /t/ has a width of 1.02 with $f = 0.3$
# and $d = 0$; the /oo/ has 0.60 with $f = 1.5$ and $d = 0.5$:

# %%
tee, oo = VISEMES["t"], VISEMES["oo"]
fade = {d: math.exp(-((d / 0.65) ** 2)) for d in (0, 0.5, 1, 2)}  # by distance in frames
weight_t, weight_oo = tee.firm_lips * fade[0], oo.firm_lips * fade[0.5]
by_hand = (weight_t * tee.width + weight_oo * oo.width) / (weight_t + weight_oo)
print("dominance by distance:", ", ".join(f"{share:.4f} at {d:g}" for d, share in fade.items()))
print(f"weights {weight_t:.2f} and {weight_oo:.2f}; width {by_hand:.2f}")

# %% [markdown]
# The /oo/ dominates the lips before its interval has begun. The same for every time and every part of the
# mouth:


# %%
def blend(visemes, borders, times):
    """visemes: K names, borders (K + 1,), times (T,) -> shapes (T, 8)."""
    out = np.zeros((len(times), len(SHAPE)))  # (T, 8)
    for i, moment in enumerate(times):
        total = np.zeros(len(SHAPE))
        for k, name in enumerate(visemes):
            v = VISEMES[name]
            firm = np.array([v.firm_lips if part in ("width", "rounding") else v.firm for part in SHAPE])
            away = max(borders[k] - moment, moment - borders[k + 1], 0.0)  # 0 inside its interval
            dominance = firm * np.exp(-((away / 0.65) ** 2))  # (8,)
            out[i] += dominance * shape_of(name)
            total += dominance
        out[i] /= total
    return out


plain = torch.from_numpy(blend(visemes, borders, np.arange(75) + 0.5))  # (75, 8)
agree("blend against the package's say", plain, torch.from_numpy(shapes), 1e-9)


def spoken_shapes(word: str, frames: int = 14) -> np.ndarray:
    """A word said slowly between two silences -> (frames, 8)."""
    looks = ["sil", *word_visemes(word), "sil"]
    edges = np.array([0.0, *(3.0 + 4 * np.arange(len(looks) - 1)), 99.0])  # 4 frames per viseme
    return articulate(looks, edges, np.arange(frames) + 0.5)


slow = {f"“{word}”": render(spoken_shapes(word), speaker, (48, 96))[2:10] for word in ("t", "two")}
figures.clip_rows(
    slow,
    [str(i) for i in range(2, 10)],
    width=7.0,
    title="The same t (frames 3 to 6) before ee and before oo",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert (tee.width, tee.firm_lips, tee.firm, oo.width, oo.firm_lips) == (1.02, 0.3, 2.0, 0.6, 1.5)
lips = {
    word: spoken_shapes(word)[6][SHAPE.index("width")] for word in ("t", "two")
}  # at 6.5; the t ends at 7
assert lips["t"] > lips["two"] + 0.1 and abs(lips["two"] - by_hand) < 1e-4

# %% [markdown]
# ## Deeper: the Bayes error by brute force
#
# The ideal observer sees the visemes of a sentence, finds all of the 64,000 sentences that look like that,
# and answers with the first. It does not even see where words end. Does it make more errors than our formula
# says?

# %%
looks_like: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
for sentence in product(*grammar.SLOTS):
    looks_like.setdefault(sum(map(word_visemes, sentence), ()), []).append(sentence)
mistakes = sum(
    sum(a != b for a, b in zip(sentence, alike[0], strict=True))
    for alike in looks_like.values()
    for sentence in alike
)
print(f"{math.prod(map(len, grammar.SLOTS)):,} sentences, {len(looks_like):,} different clips", end="; ")
print(f"word error rate {mistakes / (6 * 64_000):.2%}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert Fraction(mistakes, 6 * 64_000) == Fraction(2, 75)

# %% [markdown]
# ## Deeper: what does the network use?
#
# **Predict** the word error rate of the same clips mirrored, upside down, with the upper or the lower half
# occluded, as a negative, and reversed in time. Write your six numbers down. (Here the network decodes
# greedily, without the grammar, so it makes more errors than above on the original clips, too.)

# %% tags=["predict"]
model = checkpoint.load("lipnet_small_synthetic")


def occluded(frames: np.ndarray, rows: slice) -> np.ndarray:
    """Cover rows with a flat gray."""
    covered = frames.copy()
    covered[:, :, rows] = 128
    return covered


CHANGES = {
    "original": lambda f: f,
    "mirrored": lambda f: f[..., ::-1],
    "upside down": lambda f: f[:, :, ::-1],
    "upper half occluded": lambda f: occluded(f, slice(0, 16)),
    "lower half occluded": lambda f: occluded(f, slice(16, 32)),
    "negative": lambda f: 255 - f,
    "reversed in time": lambda f: f[:, ::-1],
}
samples = [synthetic_clips(15, seed=seed) for seed in (707, 708, 709)]  # each (15, 75, 32, 64)
rates = {
    name: np.array(
        [evaluate(model, replace(s, frames=np.ascontiguousarray(change(s.frames)))).wer for s in samples]
    )  # (3,)
    for name, change in tqdm(CHANGES.items())
}
figures.seed_spread(rates, percent=True, xlabel="word error rate; a dot: 15 clips, a tick: the mean of three")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
readable = [rates[name].max() for name in ("original", "mirrored", "upside down", "upper half occluded")]
unreadable = [rates[name].min() for name in ("lower half occluded", "negative", "reversed in time")]
assert max(readable) < 0.25 and min(unreadable) > 0.6

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# The network was trained with mirrored clips, never with clips upside down, and reads both. So it hardly
# relies on "teeth above, tongue below". It does rely on light against dark (negative) and on the lower half,
# where a mouth moves most. The reversed clips need care: compared with what was *said*, even a perfect reader
# of reversed speech would be wrong, because it would write the words in reverse. The figure shows no more
# than that: it is one network, trained on drawings, and it does not rank changes whose ranges overlap.
# </details>
#
# <details><summary><b>Help: the network reads its validation clips too well</b></summary>
#
# Look for clips that are on both sides: the same clip under two names, frames or windows of one clip, a clip
# and its mirrored copy. Split first, augment afterwards.
# </details>
#
# <details><summary><b>Help: training is fine, the test on another speaker is not</b></summary>
#
# That is what training on one speaker gives (section 4). More people help more than more clips of the same
# person. First make sure that it is not the crop: plot both speakers' clips side by side with
# `figures.clip_rows`. Is the mouth at the same position, of the same size, as bright?
# </details>
#
# ## Recap
#
# - Text → phonemes → visemes → shapes blended by dominance functions (coarticulation) → frames.
# - {b p}, {c d t}, {n s} are homophemes. They cause a Bayes error of 2.67 % WER for the ideal observer.
# - Judge a network by its kinds of errors, with the expected number and its standard deviation for *this*
#   test set.
# - A split answers one question: new sentences or new people. Frames of one clip on both sides leak.
#
# ## Glossary
#
# | word | meaning | also called |
# |---|---|---|
# | phoneme | a sound that distinguishes words of a language | |
# | coarticulation | the influence of neighboring sounds on the shape of the mouth | |
# | dominance function | the weight over time of a viseme's target in the mouth's shape | |
# | ideal observer | a reader that uses all of the information there is | Bayes classifier |
# | overlapped, unseen | test speakers who also are, or are not, in the training set | |
# | leakage | information about the test set that the training has already seen | data leakage |
#
# ## Sources
#
# - Y. Assael, B. Shillingford, S. Whiteson, N. de Freitas, *LipNet: End-to-End Sentence-level Lipreading*,
#   [arXiv 1611.01599](https://arxiv.org/abs/1611.01599): §4.1 (splits), Table 2, §4.4.2 (visemes).
# - C. G. Fisher, *Confusions among visually perceived consonants*, Journal of Speech and Hearing Research 11,
#   1968: the word *viseme*.
# - M. Cohen, D. Massaro, *Modeling coarticulation in synthetic visual speech*, 1993.
#
# **Next**: notebook 09 trains LipNet on what you have made here.
