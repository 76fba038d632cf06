# %% [markdown]
# # 00 · Start here
#
# **In a minute a trained network reads a silent mouth in front of you. By the end of this notebook you know
# what it does at every step. By the end of the course you have built each step.**
#
# *Core path: about 30 minutes; deeper sections: about 3; all cells together run in about
# 20 seconds on one CPU core.*
#
# **You need**: Python, and to have seen PyTorch tensors before.
#
# **You will be able to**
# - follow a clip from its pixels to a sentence, and name the shape at every step;
# - turn one prediction per frame into text, by CTC's rule;
# - measure a lip reader by its word error rate, and say why some errors cannot be avoided;
# - find your way through the course.

# %%
import json
from collections import Counter
from itertools import pairwise

import numpy as np
import torch

from lessons import figures
from lessons.checks import check, use
from lessons.course import COURSE
from lessons.ctc import forced_align
from lessons.ctc.alphabet import Alphabet
from lessons.ctc.decode import greedy_decode
from lessons.ctc.metrics import wer
from lessons.data.batch import normalize
from lessons.data.grid import find_mouth_set, load
from lessons.data.synthetic.error_floor import error_floor
from lessons.data.synthetic.talker import Speaker, synthetic_clips, talk
from lessons.measure.counting import count
from lessons.training import checkpoint
from lessons.training.evaluation import evaluate

# %% [markdown]
# ## 1. A mouth
#
# A person says a sentence. You see 75 frames of the mouth, three seconds, and hear nothing. Here are 18 of
# the frames in which the mouth moves.

# %% tags=["hide-input"]
# @title Plot: the frames (this code holds the sentence: open it later) { display-mode: "form" }
said = "place green at q three soon"
rng = np.random.default_rng(7)
speaker = Speaker.random(rng)
clip, segments = talk(said, speaker, rng, size=(64, 128), color=True)  # (75, 64, 128, 3) uint8
first, last = (round(segments[i][t]) for i, t in ((1, 0), (-2, 1)))  # the first and the last frame of speech
chosen = np.linspace(first, last, 18).round()
figures.filmstrip(clip, chosen, columns=6, title="What is being said?")

# %% [markdown]
# **Predict.** Try to read it before you go on. You know the grammar, as the network does: a command (*bin,
# lay, place, set*), a color (*blue, green, red, white*), a preposition (*at, by, in, with*), a letter, a
# digit, and *again, now, please* or *soon*. It is the grammar of GRID, a corpus of videos of people who
# say such sentences. LipNet was evaluated on it.
#
# The mouth is drawn: a *synthetic talker* moves its lips, teeth and tongue as the sentence requires (notebook
# 07 shows how). It needs no download and it can say anything. Real mouths follow in section 6.

# %% [markdown]
# ## 2. A network reads it
#
# The network is a small LipNet, trained on two thousand clips of such talkers. This talker was not among
# them. Three steps: load it, show it the clip, and take the most probable class of every frame.


# %%
def results_of(name: str) -> dict:
    """What the training command wrote beside a model's weights."""
    return json.loads((checkpoint.trained_folder(name) / "results.json").read_text(encoding="utf-8"))


model = checkpoint.load("lipnet_small_synthetic")
alphabet = Alphabet()  # 28 classes: the blank, the space, a to z


def to_input(frames: np.ndarray) -> torch.Tensor:
    """(T, H, W) gray bytes -> (1, 1, T, H, W) floats, as the network expects them."""
    batch = torch.from_numpy(frames)[None]  # (1, T, H, W)
    return normalize(batch)[:, None]  # (1, 1, T, H, W)


rng = np.random.default_rng(7)
gray, _ = talk(said, Speaker.random(rng), rng, size=(32, 64))  # (75, 32, 64): the same clip, small and gray
with torch.no_grad():
    log_probs = model(to_input(gray)).log_softmax(-1)  # (75, 1, 28)
read = alphabet.decode(greedy_decode(log_probs)[0])

print("said:", said)
print("read:", read)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert results_of("lipnet_small_synthetic")["training_clips"] == "2000" and read == said

# %% [markdown]
# Here is where it read each letter: the frames again, with the letter that the network emitted in each.

# %%
labels = alphabet.encode(read)  # (L,)
spans = forced_align(log_probs[:, 0], labels).spans()  # L times (first frame, one past the last)
letters = [(start, symbol) for (start, _), symbol in zip(spans, read, strict=True) if symbol != " "]
figures.filmstrip(clip, [t for t, _ in letters], [symbol for _, symbol in letters], columns=8, title=read)

# %% [markdown]
# ## 3. What happened, shape by shape
#
# A clip is a block of numbers: frames $T$, rows $H$, columns $W$. Each layer changes its shape, until it is a
# sentence:
#
# | step | what it does | shape | notebook |
# |---|---|---|---|
# | video | decode, find the mouth, resize | $(T, H, W)$ bytes | 07 |
# | batch of clips | mean 0, standard deviation 1 | $(B, C, T, H, W)$ floats | 01 |
# | 3 × STCNN | convolve over space *and time* | $(B, C', T, H', W')$ | 02 |
# | flatten | one vector of features per frame | $(T, B, C'H'W')$ | 06 |
# | projection | a linear layer, then LayerNorm: fewer features | $(T, B, F)$ | 06 |
# | 2 × Bi-GRU | a hidden state, forward and backward in time | $(T, B, 2D)$ | 03 |
# | head | 28 logits per frame | $(T, B, V)$ | 06 |
# | CTC decoding | 75 predictions become a sentence | text | 04, 05 |
#
# (The projection belongs to the small model; the published LipNet has none.) Here are the layers of this
# model, with their weights and their multiply-adds:

# %%
table = count(model, to_input(gray))
print(table)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
shapes = {row.name: row.output_shape for row in table.rows}
assert shapes["stcnn1.conv"] == (1, 16, 75, 16, 32)
assert shapes["stcnn3.conv"] == (1, 64, 75, 4, 8)
assert shapes["projection.1"] == (75, 1, 160) and shapes["head"] == (75, 1, 28)
weights = {row.name: row.weights for row in table.rows}
assert weights["projection.0"] + weights["projection.1"] == 328_160 and sum(weights.values()) == 925_068

# %% [markdown]
# More than a third of the 925,068 weights are in the projection. **Predict**: which size never changes?
#
# <details><summary><b>Answer</b></summary>
#
# The 75. Time is never shortened: the network makes one prediction per frame. CTC needs enough frames for all
# characters, though not all 75; exercise 2 counts how many.
#
# </details>

# %% [markdown]
# ## 4. From 75 predictions to a sentence
#
# In each frame, 28 classes have a probability. The figure shows the 15 that this sentence needs. A column is
# a frame, darker means more probable, and the dots mark the most probable class of each frame: the **path**.
# In silence this is the **blank**, `-`: "nothing new". A letter lasts a few frames; `␣` is the space between
# two words.

# %%
probabilities = log_probs[:, 0].exp()  # (75, 28)
path = probabilities.argmax(1)  # (75,)
figures.alignment(probabilities, ["-", *alphabet.symbols], path, segments, title="One prediction per frame")

# %%
written = "".join("-" if label == 0 else alphabet.symbols[label - 1] for label in path.tolist())
print(written)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert torch.allclose(probabilities.sum(1), torch.ones(75), atol=1e-5)
assert path.bincount().argmax() == 0 and path[0] == path[-1] == 0  # the blank is the commonest, and silence
assert "e-e" in written and "o-o" in written

# %% [markdown]
# CTC's rule turns the path into text: **first merge equal neighbors, then drop the blanks.** Look at
# *green*, *three* and *soon*: between the two equal letters the network emits a blank, `e-e`. This keeps
# them apart. In the other order, blanks first, *three* would become *thre*.
#
# ### Exercise 1 · `collapse` · difficulty ★☆☆ · 5 minutes
#
# Write the rule. `-` is the blank; a space is a character like any other.


# %%
def collapse(path: str) -> str:
    """A path, a string such as "bb-iin-" -> the text that it spells, a string, "bin"."""
    raise NotImplementedError


check("00.collapse", collapse)

# %% [markdown]
# <details><summary><b>Help: "thr-e-ee" comes out as "thre"</b></summary>
#
# You drop the blanks before you merge. Go through the path once and remember the previous character, even
# if it is a blank.
#
# </details>


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def collapse_solution(path: str) -> str:
    text, before = "", None
    for character in path:
        if character not in (before, "-"):
            text += character
        before = character
    return text


# %%
collapse = use("00.collapse", collapse, collapse_solution)
print(collapse(written))

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert collapse(written) == read == said

# %% [markdown]
# Move through time: the frame, the 28 probabilities, the path so far, and what your function makes of it.
# Stop at the blank between the two *e* of *green*.

# %% tags=["hide-input"]
# @title Interaction: the path grows frame by frame { display-mode: "form" }
from ipywidgets import interact


def scrub(t=26):
    print(f"path: {written[: t + 1]}\ntext: {collapse(written[: t + 1])}")
    return figures.frame_posterior(clip[t], probabilities[t], ["-", *alphabet.symbols], title=f"frame {t}")


# %% tags=["nbval-ignore-output"]
# output not compared: a widget
_ = interact(scrub, t=(0, 74))


# %% [markdown]
# ### Exercise 2 · `frames_needed` · difficulty ★★☆ · 5 minutes
#
# A path has one character per frame. So a sentence needs one frame for each of its characters, spaces
# included, and one for a blank wherever the rule would merge what must stay apart. Compute the smallest
# number of frames. (You will read elsewhere that it is twice the length plus one. It is not; notebook 04
# proves it.)


# %%
def frames_needed(sentence: str) -> int:
    """A string -> the smallest number of frames from which CTC can spell it, an integer."""
    raise NotImplementedError


check("00.frames_needed", frames_needed)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def frames_needed_solution(sentence: str) -> int:
    return len(sentence) + sum(a == b for a, b in pairwise(sentence))


# %%
frames_needed = use("00.frames_needed", frames_needed, frames_needed_solution)
print(f"{said!r} needs {frames_needed(said)} of its 75 frames")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert frames_needed(said) == 30 == len(said) + 3

# %% [markdown]
# ## 5. How good is it, and how good can it be?
#
# Count the wrong words. (When words are missing or added, the two sentences must be aligned first. The **word
# error rate**, WER, does that; you will write it in notebook 05.)
#
# ### Exercise 3 · `word_errors` · difficulty ★☆☆ · 3 minutes
#
# For two sentences of equally many words, any number of them: how many words differ?


# %%
def word_errors(said: str, read: str) -> int:
    """Two strings, ("bin red at a one", "bin red by a one") -> how many words differ, an integer, 1."""
    raise NotImplementedError


check("00.word_errors", word_errors)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def word_errors_solution(said: str, read: str) -> int:
    return sum(a != b for a, b in zip(said.split(), read.split(), strict=True))


# %%
word_errors = use("00.word_errors", word_errors, word_errors_solution)
print(word_errors("set white in p nine again", "set white in b nine again"))

# %% [markdown]
# Now sixty clips of new speakers and new sentences. Said is the *reference*, read the *hypothesis*.
#
# **Predict**: which of the six words is wrong most often? Why?

# %% tags=["predict"]
clips = synthetic_clips(60, seed=2024)  # ClipSet: frames (60, 75, 32, 64)
reading = evaluate(model, clips)
wrong = [(a, b) for a, b in zip(clips.transcripts, reading.texts, strict=True) if a != b]
for a, b in wrong[:6]:
    print(f"said: {a:32} read: {b}")
print(f"{len(wrong)} of 60 sentences have an error; word error rate {reading.wer:.0%}")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Nearly always it is the letter: the other words are longer, or there are few of them.
#
# </details>
#
# Some letters look alike on the lips: the lips close for *p* as they do for *b*, and what differs happens in
# the throat. Such sounds share a **viseme**, and words that share all their visemes are *homophemes*. For our
# talker these groups are known exactly. Let us sort the errors:

# %%
floor = error_floor()  # the groups, and the error that remains for an ideal observer
group_of = {word: group for group in floor.groups for word in group}


def kind_of(said: str, read: str) -> str:
    """What went wrong in a sentence: "look-alike letter", "missing letter" or "other"."""
    if len(read.split()) < len(said.split()):
        return "missing letter"
    pairs = [(a, b) for a, b in zip(said.split(), read.split(), strict=True) if a != b]
    alike = all(b in group_of and group_of[a] == group_of[b] for a, b in pairs)
    return "look-alike letter" if alike else "other"


print("look alike:", "; ".join(" ".join(group) for group in floor.groups if len(group) > 1))
kinds = Counter(kind_of(a, b) for a, b in wrong)
for kind, n in sorted(kinds.items()):
    print(f"{kind}: {n} of {len(wrong)} sentences")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert reading.wer < 0.5 and 0 < floor.wer < reading.wer + 0.05 and round(100 * floor.wer, 1) == 2.7
assert kinds["look-alike letter"] >= 4 and kinds["missing letter"] >= 1 and kinds["other"] >= 1
assert sum(a.split()[3] not in b.split() for a, b in wrong) > 0.8 * len(wrong)  # it is the letter

# %% [markdown]
# About half of the wrong sentences confuse letters that look alike. The rest are the network's own mistakes:
# a missing letter, a letter from another group, a wrong color.
#
# Only the first kind cannot be avoided. The best that any model can do is guess within a group. On this
# talker, an ideal observer has an expected word error rate of 2.7 %, the **Bayes error**. On sixty clips
# the result may lie below or above it, depending on which letters occur. We know this number because we drew
# the talker. For real mouths it is not known.

# %% [markdown]
# ## 6. Real mouths
#
# The same architecture, trained on one real person (speaker 1 of GRID), has these results on clips of the
# same person that were not in its training set:

# %%
results = results_of("lipnet_small_grid_s1")
print(f"trained on {results['training_clips']} clips of one speaker, evaluated on {results['clips']}")
print(f"word error rate {results['greedy']['wer']:.1%}, with GRID's grammar {results['grammar']['wer']:.1%}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert results["grammar"]["wer"] <= results["greedy"]["wer"] < 0.2

# %% [markdown]
# ## 7. Bug hunt: a model that reads nothing
#
# This bug is common when a trained network meets new data. The code below loads the same weights and the same
# clips. Nothing fails, every shape is right, and yet:


# %%
def read_clips(clips, prepare) -> list[str]:
    x = prepare(torch.from_numpy(clips.frames))[:, None]  # (N, T, H, W) -> (N, 1, T, H, W)
    with torch.no_grad():
        return [alphabet.decode(labels) for labels in greedy_decode(model(x).log_softmax(-1))]


some = clips.subset(range(20))
garbage = read_clips(some, lambda frames: frames.float() / 255)
print("said:", some.transcripts[0])
print("read:", garbage[0])
print(f"word error rate {wer(some.transcripts, garbage):.0%}")

# %% [markdown]
# **Find it** before you read on. What did section 2 do to the clip that this code does not?
#
# <details><summary><b>Answer</b></summary>
#
# It divides by 255, as many tutorials on images do. A widely copied LipNet was trained that way, so for that
# one it is right. For the training of *this* network, every clip had mean 0 and standard deviation 1.
#
# </details>

# %% tags=["predict"]
before, after = some.frames[0] / 255, normalize(torch.from_numpy(some.frames[:1]))
print(f"divided by 255: mean {before.mean():.2f}, standard deviation {before.std():.2f}")
print(f"normalized:     mean {abs(after.mean().item()):.2f}, standard deviation {after.std().item():.2f}")
good = read_clips(some, normalize)
print(f"word error rate {wer(some.transcripts, good):.0%}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert wer(some.transcripts, garbage) > 0.8 and wer(some.transcripts, good) < 0.5
assert before.std() < 0.3 and abs(after.std().item() - 1) < 0.01
assert good == list(evaluate(model, some).texts)

# %% [markdown]
# A network expects inputs that are prepared as in its training. That is why the course has *one* function for
# it (`lessons.data.batch.normalize`), used in training and at inference alike. You will write it in notebook
# 01.

# %% [markdown]
# ## 8. Routes through the course

# %%
short = (
    "start here, video tensors, STCNN, GRU, CTC loss, decoding, LipNet, lip data, talker, train, "
    "strangers, bottleneck, ConvLSTM, B-LSTM, detection, capstone, speed, ship"
).split(", ")
figures.course_map([(n.number, title, n.written) for n, title in zip(COURSE, short, strict=True)], here=0)

# %% [markdown]
# Every notebook has a **core path** of at most an hour, and "Deeper" sections that nothing later needs. You
# need not read everything:
#
# | you want | read |
# |---|---|
# | one evening: how a machine reads lips | the core of 00, 04, 06 and 09 |
# | lip reading, all of it | 00 to 10 |
# | object detection in video | 00, 01, 02 and 03, then 11 to 14 |
# | the whole course | in order: each notebook uses only what came before |
#
# Every notebook builds a **plain version** of an idea with you. It then shows that your version equals the
# **finished version** in the package `lessons` and PyTorch's own, value by value. Take nothing on trust: what
# the text claims, a cell computes.

# %% [markdown]
# ## Deeper: read real mouths
#
# The clips of GRID are not part of the course; they belong to the corpus. One speaker is about 400 MB. To get
# them, run in a terminal:
#
# ```
# python -m lessons grid download --speakers 1 --out data/raw
# python -m lessons grid prepare --raw data/raw --out data/grid
# ```
#
# Then change `"synthetic"` to `"grid"` in the next cell and run it again. The command `python -m lessons
# read clip.mp4` reads a video of your own. Expect little: this model was trained on one person.

# %%
clips_from = "synthetic"  # or "grid"

if clips_from == "grid" and find_mouth_set() is not None:
    reader, shown = checkpoint.load("lipnet_small_grid_s1"), load(find_mouth_set(), "val")
else:
    reader, shown = model, clips
one = shown.subset([0])
print("said:", one.transcripts[0])
print("read:", evaluate(reader, one).texts[0])
figures.filmstrip(one.frames[0], range(12, 60, 4), columns=6)

# %% [markdown]
# ## Recap
#
# - A clip is a block $(B, C, T, H, W)$; the network changes its shape but never its $T$.
# - It makes one prediction per frame; CTC merges equal neighbors, then drops blanks.
# - Letters that share their visemes cannot be told apart on our talker, so no model can be expected
#   to get below the Bayes error.
# - A network works only on inputs that are prepared as in its training.
#
# ## Glossary
#
# | word | meaning | also called |
# |---|---|---|
# | viseme | what a sound looks like; several sounds share one | |
# | homophemes | words that look alike on the lips | |
# | blank | CTC's "nothing new in this frame", written `-` | |
# | path | one class per frame | alignment |
# | collapse | merge equal neighbors, then drop blanks: from a path to a text | the map $\mathcal{B}$ |
# | greedy decoding | take the most probable class of every frame | best-path decoding |
# | WER | word error rate: substituted, missing and added words, divided by the words said | |
# | Bayes error | the expected error of an ideal observer | irreducible error |
#
# ## Sources
#
# - Y. Assael, B. Shillingford, S. Whiteson, N. de Freitas, "LipNet: End-to-End Sentence-level Lipreading",
#   arXiv 1611.01599, 2016.
# - A. Graves, S. Fernández, F. Gomez, J. Schmidhuber, "Connectionist Temporal Classification", ICML 2006.
# - M. Cooke, J. Barker, S. Cunningham, X. Shao, "An audio-visual corpus for speech perception and automatic
#   speech recognition", JASA 120(5), 2006 (GRID; CC BY 4.0, doi 10.5281/zenodo.3625687).
#
# **Next**: notebook 01 takes a clip apart: what a block of numbers called a video is.
