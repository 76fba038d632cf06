# %% [markdown]
# # 00 · Start here
#
# **In a minute a trained network reads a silent mouth in front of you. By the end of this notebook you know
# what it does at every step, and by the end of the course you have built each of them.**
#
# *About 25 minutes to read and solve; all cells together run in less than a minute on one CPU core.*
#
# **You need**: Python, and to have seen PyTorch tensors before.
#
# **You will be able to**
# - follow a clip from its pixels to a sentence, and name the shape at every step;
# - turn one answer a frame into text, by CTC's rule;
# - say how good a lip reader is, and why no lip reader can be perfect;
# - find your way through the course.

# %%
import json
from itertools import pairwise

import numpy as np
import torch

from lessons import figures
from lessons.checks import check
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
# Somebody says a sentence. You see 75 frames of the mouth, three seconds, and hear nothing. Here are 18
# of the frames in which the mouth moves.

# %%
said = "place red at q seven again"
rng = np.random.default_rng(7)
speaker = Speaker.random(rng)
film, segments = talk(said, speaker, rng, size=(64, 128), color=True)  # (75, 64, 128, 3) uint8
first, last = (round(segments[i][t]) for i, t in ((1, 0), (-2, 1)))  # where the silence ends and begins again
chosen = np.linspace(first, last, 18).round()
figures.filmstrip(film, chosen, columns=6, title="What is being said?")

# %% [markdown]
# **Predict.** Try to read it before you go on. You know the grammar, as the network does: a command (*bin,
# lay, place, set*), a color (*blue, green, red, white*), a preposition (*at, by, in, with*), a letter, a
# digit, and *again, now, please* or *soon*. It is the grammar of GRID, a collection of films of people who
# say such sentences; LipNet was measured on it.
#
# The mouth is drawn: a *synthetic talker* moves its lips, teeth and tongue as the sentence asks (notebook 07
# shows how). It needs no download and it can say anything, which is why you meet it first. Real mouths follow
# in section 6.

# %% [markdown]
# ## 2. A network reads it
#
# The network is a small LipNet, trained on two thousand clips of such talkers, though never on this one.
# Three lines: load it, show it the clip, and take the likeliest character of every frame.


# %%
def results_of(name: str) -> dict:
    """What the training command wrote beside a model's weights."""
    return json.loads((checkpoint.trained_folder(name) / "results.json").read_text(encoding="utf-8"))


assert results_of("lipnet_small_synthetic")["training_clips"] == "2000"
model = checkpoint.load("lipnet_small_synthetic")
alphabet = Alphabet()  # 28 classes: the blank, the space, a to z


def to_clip(frames: np.ndarray) -> torch.Tensor:
    """(T, H, W) gray bytes -> (1, 1, T, H, W) floats, as the network wants them."""
    clips = torch.from_numpy(frames)[None]  # (1, T, H, W)
    return normalize(clips)[:, None]  # (1, 1, T, H, W)


rng = np.random.default_rng(7)
gray, _ = talk(said, Speaker.random(rng), rng, size=(32, 64))  # (75, 32, 64): the same film, small and gray
with torch.no_grad():
    log_probs = model(to_clip(gray)).log_softmax(-1)  # (75, 1, 28)
read = alphabet.decode(greedy_decode(log_probs)[0])

print("said:", said)
print("read:", read)

# %% [markdown]
# And here is where it read each letter: the frames again, with what the network wrote at that moment.

# %%
labels = alphabet.encode(read)  # (L,)
spans = forced_align(log_probs[:, 0], labels).spans()  # L times (first frame, one past the last)
letters = [(start, symbol) for (start, _), symbol in zip(spans, read, strict=True) if symbol != " "]
figures.filmstrip(film, [t for t, _ in letters], [symbol for _, symbol in letters], columns=7, title=read)

# %% [markdown]
# ## 3. What happened, shape by shape
#
# A clip is a block of numbers: frames $T$, rows $H$, columns $W$. Everything in this course is a way of
# changing its shape until it is a sentence:
#
# | step | what it does | shape | notebook |
# |---|---|---|---|
# | film | decode, find the mouth, shrink | $(T, H, W)$ bytes | 07 |
# | clip | mean 0, deviation 1; a batch of clips | $(B, C, T, H, W)$ floats | 01 |
# | 3 × STCNN | convolve over space *and time* | $(B, C', T, H', W')$ | 02 |
# | flatten | one list of features a frame | $(T, B, F)$ | 06 |
# | 2 × Bi-GRU | remember, forwards and backwards | $(T, B, 2D)$ | 03 |
# | head | 28 scores a frame | $(T, B, V)$ | 06 |
# | CTC | 75 answers become a sentence | text | 04, 05 |
#
# The same for this very model, with where its weights and its arithmetic are:

# %%
table = count(model, to_clip(gray))
shapes = {row.name: row.output_shape for row in table.rows}
assert shapes["stcnn1.conv"] == (1, 16, 75, 16, 32)
assert shapes["stcnn3.conv"] == (1, 64, 75, 4, 8)
assert shapes["head"] == (75, 1, 28)
print(table)

# %% [markdown]
# **Predict.** Which of the steps never changes? Look for the 75.
#
# Time is never shortened: the network gives one answer for every frame, and CTC needs them all.

# %% [markdown]
# ## 4. From 75 answers to a sentence
#
# Each frame has 28 probabilities. In the picture a column is a frame, the darker the likelier, and the dots
# mark the path of the best answers. In silence the best answer is the **blank**, `-`: "nothing new". A letter
# stands for a few frames, while the mouth says it; `␣` is the space between two words.

# %%
probabilities = log_probs[:, 0].exp()  # (75, 28)
assert torch.allclose(probabilities.sum(1), torch.ones(75), atol=1e-5)
path = probabilities.argmax(1)  # (75,)
figures.alignment(probabilities, ["-", *alphabet.symbols], path, segments, title="One answer a frame")

# %%
written = "".join("-" if label == 0 else alphabet.symbols[label - 1] for label in path.tolist())
print(written)
blanks = (path == 0).float().mean().item()
print(f"{blanks:.0%} of the frames are blank")
assert blanks == max((path == label).float().mean().item() for label in range(28))  # no answer is commoner

# %% [markdown]
# CTC's rule makes text of it: **first join equal neighbors into one, then drop the blanks.** (In the other
# order "three" would become "thre". This way a blank between two `e` keeps them apart.)
#
# ### Exercise 1: collapse (★, 5 minutes)
#
# Write the rule. `-` is the blank; a space is a character like any other.


# %%
def collapse(path: str) -> str:
    """A path such as "bb-iin-" -> the text that it spells, "bin"."""
    raise NotImplementedError


check("00.collapse", collapse)

# %% [markdown]
# <details><summary><b>Help: "thr-e-ee" comes out as "thre"</b></summary>
#
# You drop the blanks before you join. Walk through the path once and remember the character before, the
# blank included.
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
check("00.collapse", collapse_solution)
assert collapse_solution(written) == read

# %% [markdown]
# ### Exercise 2: how many frames does a sentence need? (★★, 5 minutes)
#
# A path has one character a frame, so a sentence needs a frame for each of its characters, spaces included,
# and a blank wherever the rule would join what must stay apart. Write a function that gives the fewest
# frames.
# (You will read elsewhere that it is twice the length plus one. It is not; notebook 04 proves it.)


# %%
def frames_needed(sentence: str) -> int:
    """The fewest frames from which CTC can spell the sentence."""
    raise NotImplementedError


check("00.frames_needed", frames_needed)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def frames_needed_solution(sentence: str) -> int:
    return len(sentence) + sum(a == b for a, b in pairwise(sentence))


# %%
check("00.frames_needed", frames_needed_solution)
print(f"{said!r} needs {frames_needed_solution(said)} of its 75 frames")

# %% [markdown]
# ## 5. How good is it, and how good can it be?
#
# Count the words that came out wrong. (When words are missing or added, the two sentences have to be aligned
# first; the **word error rate**, WER, does that, and notebook 05 writes it.)
#
# ### Exercise 3: wrong words (★, 3 minutes)
#
# For two sentences of equally many words: how many differ?


# %%
def word_errors(said: str, read: str) -> int:
    """("bin red at a one now", "bin red by a one now") -> 1."""
    raise NotImplementedError


check("00.word_errors", word_errors)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def word_errors_solution(said: str, read: str) -> int:
    return sum(a != b for a, b in zip(said.split(), read.split(), strict=True))


# %%
check("00.word_errors", word_errors_solution)

# %% [markdown]
# Now sixty clips, new speakers, new sentences:

# %%
clips = synthetic_clips(60, seed=2024)  # ClipSet: frames (60, 75, 32, 64)
reading = evaluate(model, clips)
wrong = [(a, b) for a, b in zip(clips.transcripts, reading.texts, strict=True) if a != b]
for a, b in wrong[:6]:
    print(f"said: {a:32} read: {b}")
print(f"word error rate {reading.wer:.0%}")
assert reading.wer < 0.5

# %% [markdown]
# **Predict.** Look at the pairs. Which of the six words is wrong most often? What do the confused letters
# have in common? Say them aloud in front of a mirror.
#
# Some letters look alike on the lips: the lips close for *p* as they do for *b*, and what differs happens in
# the throat. Such sounds share a **viseme**. No reader, human or machine, can tell them apart without
# hearing; the best it can do is guess. For our talker the groups are known exactly, so the smallest error
# that any model can reach is known too:

# %%
floor = error_floor()
for group in floor.groups:
    if len(group) > 1:
        print("look alike:", " ".join(group))
print(f"no model can do better than {floor.wer:.1%} word errors")
assert 0 < floor.wer < reading.wer + 0.05

# %% [markdown]
# ## 6. Real mouths
#
# The same network, trained on one real person (speaker 1 of GRID), reaches what stands beside its weights:

# %%
results = results_of("lipnet_small_grid_s1")
print(f"trained on {results['training_clips']} clips of one speaker")
print(f"{results['clips']} clips it never saw: {results['greedy']['wer']:.1%} of the words wrong,")
print(f"{results['grammar']['wer']:.1%} when only sentences of the grammar are allowed")
assert results["grammar"]["wer"] <= results["greedy"]["wer"] < 0.2

# %% [markdown]
# The clips themselves are not part of the course; they belong to the corpus, about 400 MB a speaker. To get
# them, run in a terminal:
#
# ```
# python -m lessons grid download --speakers 1 --out data/raw
# python -m lessons grid prepare --raw data/raw --out data/grid
# ```
#
# Then change `"synthetic"` to `"grid"` in the next cell and run it again: a real mouth, read in front of you.
# And `python -m lessons read film.mp4` reads a film of your own. Expect little of it: this model knows one
# person.

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
# ## 7. Bug hunt: the reader that went blind
#
# Sooner or later everybody who runs a trained network on their own data meets this. The code below loads the
# same weights and the same clips. Nothing fails, every shape is right, and yet:


# %%
def read_clips(clips, prepare) -> list[str]:
    x = prepare(torch.from_numpy(clips.frames))[:, None]  # (N, T, H, W) -> (N, 1, T, H, W)
    with torch.no_grad():
        return [alphabet.decode(labels) for labels in greedy_decode(model(x).log_softmax(-1))]


some = clips.subset(range(20))
blind = read_clips(some, lambda frames: frames.float() / 255)
print("said:", some.transcripts[0])
print("read:", blind[0])
print(f"word error rate {wer(some.transcripts, blind):.0%}")
assert wer(some.transcripts, blind) > 0.8

# %% [markdown]
# **Find it** before you read on. What did section 2 do to the clip that this code does not?
#
# It divides by 255, as nearly every tutorial on pictures does (and as a widely copied LipNet does: it was
# trained that way, so for that one it is right). In *this* network's training every clip had mean 0 and
# deviation 1. The numbers tell:

# %%
before, after = some.frames[0] / 255, normalize(torch.from_numpy(some.frames[:1]))
print(f"divided by 255: mean {before.mean():.2f}, deviation {before.std():.2f}")
print(f"normalized:     mean {abs(after.mean().item()):.2f}, deviation {after.std().item():.2f}")
assert before.std() < 0.3 and abs(after.std().item() - 1) < 0.01
good = read_clips(some, normalize)
print(f"word error rate {wer(some.transcripts, good):.0%}")
assert good == list(evaluate(model, some).texts)
assert wer(some.transcripts, good) < 0.5

# %% [markdown]
# The weights expect the world that they were trained in. That is why the course has *one* function that
# prepares clips (`lessons.data.batch.normalize`), used in training and in reading alike. Notebook 01 shows
# what the scale of the input does to a GRU's gates.

# %% [markdown]
# ## 8. The way ahead

# %%
short = (
    "start here, video tensors, STCNN, GRU, CTC loss, decoding, LipNet, lip data, train, "
    "bottleneck, ConvLSTM, B-LSTM, detection, capstone, ship, strangers"
).split(", ")
figures.course_map([(n.number, title, n.written) for n, title in zip(COURSE, short, strict=True)], here=0)

# %% [markdown]
# Read it in order: each notebook uses only what came before. Every notebook builds a **plain version** of an
# idea with you, then shows that it equals the **finished version** in the package `lessons` and PyTorch's
# own, number by number. Nothing is to be believed: what the text claims, the cell beside it computes.
#
# ## Recap
#
# - A clip is a block $(B, C, T, H, W)$; the network changes its shape but never its $T$.
# - It gives one answer a frame; CTC joins equal neighbors, then drops blanks.
# - Letters that share their visemes cannot be told apart, so there is an error that no model gets below.
# - A model reads only what is prepared as in its training.
#
# ## Glossary
#
# | word | meaning |
# |---|---|
# | viseme | what a sound looks like; several sounds share one |
# | blank | CTC's "nothing new in this frame", written `-` |
# | path | one class for each frame |
# | collapse | join equal neighbors, then drop blanks: from a path to a text |
# | greedy | take the likeliest class of every frame |
# | WER | word error rate: wrong, missing and added words, as a share of the words said |
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
