# %% [markdown]
# # 05 · CTC, decoding
#
# **A network has given you 75 distributions over 28 classes. You will build, by hand, everything that stands
# between them and a sentence: the reader, the memory of the language, the stopwatch and the score.**
#
# *About 100 minutes to read and solve; all cells together run in about half a minute on one CPU core.*
#
# **You need**: notebook 04: a path picks one class a frame; collapsing it (join equal neighbors, then drop
# blanks) gives a label; the probability of a label is the sum over all paths that spell it. Of PyTorch,
# tensors; of Python, dictionaries.
#
# **You will be able to**
# - say why the most probable path need not spell the most probable label, and find the label that is;
# - write prefix beam search, double letters included, and prove it against all paths;
# - tell a search error from a model error, and show a wider beam that reads worse;
# - add a language model without charging it twice, and say what its weight and the length bonus do;
# - find out at which frame each letter was said;
# - compute CER and WER by hand, and catch two people who score the same readings differently.

# %%
import itertools
import json
import math
import random
import time
from importlib.util import find_spec

import numpy as np
import torch
from tqdm.auto import tqdm

from lessons import ctc, figures
from lessons.checks import agree, check
from lessons.ctc import decode as decoding
from lessons.ctc import metrics
from lessons.ctc.alphabet import Alphabet
from lessons.ctc.decode import beam_search_decode
from lessons.ctc.grammar import id_from_sentence, random_sentence
from lessons.ctc.language_models import CharNGram, GridGrammar, text_log_prob
from lessons.ctc.metrics import cer, edits, wer
from lessons.data.batch import normalize
from lessons.data.synthetic.talker import synthetic_clips
from lessons.source import show
from lessons.training import checkpoint

# %% [markdown]
# ## 1. The best path is not the best label
#
# The smallest case there is: two frames, two symbols, the blank `-` and the letter `a`. The network is not
# sure, and says the same in both frames: blank .6, a .4.
#
# **Predict.** What would you read: nothing, or "a"?
#
# There are only four paths. Walk all of them, collapse each, and add up what belongs to the same label.


# %%
def spell(path):
    """A path such as "a-ab" -> the label that it spells: join equal neighbors, then drop blanks."""
    return "".join(symbol for symbol, _ in itertools.groupby(path) if symbol != "-")


def every_path(frames):
    """frames: one {symbol: probability} for each frame -> {label: {path: probability}}, by brute force."""
    labels = {}
    for path in itertools.product(*frames):
        p = math.prod(frame[symbol] for frame, symbol in zip(frames, path, strict=True))
        labels.setdefault(spell(path), {})["".join(path)] = p
    return labels


def label_probabilities(frames):
    """The exact probability of every label, the most probable first."""
    sums = {label: sum(paths.values()) for label, paths in every_path(frames).items()}
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


unsure = [{"-": 0.6, "a": 0.4}] * 2
exact = label_probabilities(unsure)
print({label: round(p, 2) for label, p in exact.items()})
assert math.isclose(exact[""], 0.36) and math.isclose(exact["a"], 0.64)
figures.path_probabilities(every_path(unsure), title="Four paths, two labels; red: the most probable path")

# %% [markdown]
# The most probable single path is `--`, with .36, and it spells nothing. But three lesser paths, `-a`, `a-`
# and `aa`, all spell "a", and together they have .64. **A label is as probable as all of its paths
# together**; the best path knows about one of them only. Reading the best path is called **greedy**
# decoding: take the most probable class of each frame, collapse, done.
#
# ### Exercise 1 · `greedy_decode` · difficulty ★☆☆ · 8 minutes
#
# Greedy decoding of a batch. The clips are padded to the same length: read only the frames that each clip
# has. Class 0 is the blank.


# %%
def greedy_decode(log_probs, lengths):
    """log_probs (T, B, V), lengths (B,) frames of each clip -> B lists of classes."""
    raise NotImplementedError


check("05.greedy_decode", greedy_decode)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def greedy_decode_solution(log_probs, lengths):
    """The best class of each frame; then join equal neighbors, the blank included; then drop blanks."""
    labels = []
    for b, length in enumerate(lengths):
        path = log_probs[:length, b].argmax(dim=-1).tolist()  # T classes
        labels.append([symbol for symbol, _ in itertools.groupby(path) if symbol != 0])
    return labels


# %%
check("05.greedy_decode", greedy_decode_solution)

# %% [markdown]
# <details><summary><b>Help: "double letters vanish"</b></summary>
#
# "three" comes out as "thre". Two causes:
# - You drop blanks before you join. The blank between two equal letters is what keeps them apart.
# - The network wrote no blank there. Then the path really spells "thre", and no decoder without a language
#   model can know better. Look at the path itself: is there a blank between the two `e`?
#
# </details>
#
# ### How often does greedy lose?
#
# That depends on how sure the network is. Make random problems of five frames and three symbols, sharpen
# them step by step (multiply their logits by a growing number), and count how often greedy misses the best
# label. **Predict** the shape of the curve.


# %%
def random_problem(generator, n_frames=5, symbols="-ab", sharpness=1.0):
    """T dictionaries symbol -> probability."""
    logits = sharpness * torch.randn(n_frames, len(symbols), generator=generator, dtype=torch.float64)
    return [dict(zip(symbols, row, strict=True)) for row in logits.softmax(-1).tolist()]  # (T, V)


def greedy_label(frames):
    return spell(max(frame, key=frame.get) for frame in frames)


generator = torch.Generator().manual_seed(0)
sharpness, missed = [0.5, 1, 2, 4, 8, 16], []
for sharp in tqdm(sharpness):
    problems = [random_problem(generator, sharpness=sharp) for _ in range(150)]
    missed.append(np.mean([greedy_label(p) != next(iter(label_probabilities(p))) for p in problems]))
print(f"greedy misses the best label in {missed[1]:.0%} of soft problems, {missed[-1]:.0%} of sharp ones")
assert missed[1] > 0.2 and missed[-1] < 0.1
figures.curves(
    {"greedy": (sharpness, missed)},
    xlabel="sharpness: factor on the logits",
    ylabel="best label missed",
    ylim=(0, 0.8),
    width=6.2,
    height=2.6,
    title="Greedy is wrong where the network is not sure",
)

# %% [markdown]
# A trained CTC network is sharp nearly everywhere: blanks, with peaks between them (section 4 measures it).
# So greedy loses seldom. But "seldom" is where the difficult clips are.

# %% [markdown]
# ## 2. Prefix beam search
#
# Walking all paths is out of the question: 28 classes and 75 frames give $28^{75}$ of them. What can be
# shared? After $t$ frames, many paths spell the same **prefix** of a label, and from then on they have the
# same future. So follow prefixes, not paths; there, paths that spell the same **merge** into one number.
#
# Nearly: one thing about the past still matters. Say the prefix is "a" and the next symbol is `a` again. For
# a path that ends in `a`, the letter is only held: still "a". For a path that ends in a blank, it is a new
# letter: "aa". So each prefix $\ell$ needs **two numbers**:
#
# $$p^-(\ell): \text{ its paths that end in a blank}, \qquad
#   p^+(\ell): \text{ its paths that end in its last letter.}$$
#
# With $y(k)$ the probability of symbol $k$ in the next frame, each prefix sends its probability on:
#
# | the next symbol is | and the prefix becomes | which number grows, by how much |
# |---|---|---|
# | the blank | $\ell$ | $p^-(\ell)$ by $(p^- + p^+)\,y(\text{-})$ |
# | its last letter $c$, held | $\ell$ | $p^+(\ell)$ by $p^+\,y(c)$ |
# | its last letter $c$, anew | $\ell c$ | $p^+(\ell c)$ by $p^-\,y(c)$ |
# | another letter $k$ | $\ell k$ | $p^+(\ell k)$ by $(p^- + p^+)\,y(k)$ |
#
# "Grows": several prefixes may send probability to the same place. That is the merging. At the start there is
# the empty prefix with $p^- = 1$, as if a blank stood before the clip.
#
# First a single prefix, "a", with $p^- = .24$ and $p^+ = .40$. The next frame says: blank .6, a .3, b .1.
# **Predict**: to how many places does "a" send probability, and how much is it in all?

# %%
blank, letter, y = 0.24, 0.40, {"-": 0.6, "a": 0.3, "b": 0.1}
sent = [
    ("the blank", "a", "in a blank", (blank + letter) * y["-"]),
    ("a, held", "a", "in its last letter", letter * y["a"]),
    ("a, anew", "aa", "in its last letter", blank * y["a"]),
    ("b", "ab", "in its last letter", (blank + letter) * y["b"]),
]
for symbol, prefix, end, p in sent:
    print(f"{symbol:9} -> {prefix!r:4}, paths that end {end:18} {p:.3f}")
assert math.isclose(sum(p for *_, p in sent), blank + letter)

# %% [markdown]
# Three symbols, four places: the last letter goes two ways, and $p^+$ and $p^-$ share it. Nothing is lost:
# the four add up to the .64 that "a" had.
#
# ### Exercise 2 · `extend_beams` · difficulty ★★★ · 25 minutes
#
# Write one frame of it, for all prefixes of a beam. Prefixes are strings, `""` the empty one. Drop none yet.
# - Let every prefix meet every symbol. Each meeting *adds* to a place of a new dictionary, that of the last
#   letter to two. What is there already? `new.get(prefix, (0.0, 0.0))`.
# - The empty prefix has no last letter: `""[-1]` is an error, `"".endswith("a")` is False.
# - All numbers together must be as much after the frame as before it.


# %%
def extend_beams(beams, frame):
    """beams {prefix: (ends in a blank, ends in its last letter)}, frame {symbol: probability, "-" the blank}
    -> a new dictionary like beams, one frame later."""
    raise NotImplementedError


check("05.extend_beams", extend_beams)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def extend_beams_solution(beams, frame):
    """Each prefix meets each symbol; what arrives at the same place adds up."""
    new = {}

    def add(prefix, blank, letter):
        before = new.get(prefix, (0.0, 0.0))
        new[prefix] = (before[0] + blank, before[1] + letter)

    for prefix, (blank, letter) in beams.items():
        for symbol, y in frame.items():
            if symbol == "-":
                add(prefix, (blank + letter) * y, 0.0)
            elif prefix.endswith(symbol):
                add(prefix, 0.0, letter * y)  # held
                add(prefix + symbol, 0.0, blank * y)  # anew, only after a blank
            else:
                add(prefix + symbol, 0.0, (blank + letter) * y)
    return new


# %%
check("05.extend_beams", extend_beams_solution)

# %% [markdown]
# <details><summary><b>Help: "the beam's probabilities do not sum to 1"</b></summary>
#
# Below 1 after prefixes were dropped: so it must be. If none was dropped:
# - Too little: a place was overwritten where it should have been added to.
# - Too much: the last letter was counted twice. Held, it takes only paths that end in it; anew, only paths
#   that end in a blank.
#
# To see which, give your function a beam of a single prefix, and work out its places by hand.
#
# </details>
#
# The two frames of section 1, by hand. Follow "a" in the last line: .24 of it was "a" already and now met a
# blank; .16 was held; .24 has just been born out of the empty prefix. The last two end in `a` and merge.

# %%
beams = {"": (1.0, 0.0)}
for t, frame in enumerate(unsure, start=1):
    beams = extend_beams_solution(beams, frame)
    alive = {prefix: ends for prefix, ends in beams.items() if sum(ends) > 0}
    for prefix, (blank, letter) in alive.items():
        print(f"after frame {t}  {prefix!r:4} ends in a blank {blank:.2f}, in its last letter {letter:.2f}")
assert math.isclose(beams["a"][0], 0.24) and math.isclose(beams["a"][1], 0.16 + 0.24)
assert all(math.isclose(sum(beams[label]), p) for label, p in exact.items())

# %% [markdown]
# ### Dropping
#
# The number of prefixes still grows with every frame. **Beam search** keeps the `width` most probable ones
# and drops the rest. That is the whole algorithm:


# %%
def prune(candidates, width):
    """Keep the `width` most probable prefixes, the best first."""
    best = sorted(candidates, key=lambda prefix: -sum(candidates[prefix]))[:width]
    return {prefix: candidates[prefix] for prefix in best}


def prefix_beam_search(frames, width):
    """T dictionaries symbol -> probability; returns {label: probability}, the best first."""
    beams = {"": (1.0, 0.0)}
    for frame in frames:
        beams = prune(extend_beams_solution(beams, frame), width)
    return {prefix: sum(ends) for prefix, ends in beams.items()}


print(prefix_beam_search(unsure, width=2))

# %% [markdown]
# Four frames, two letters, three prefixes kept: watch the beams grow and merge. A row is a prefix, a bar is
# as long as the prefix is probable. From one frame to the next a prefix goes on level (a blank, or its letter
# held) or downwards to a longer one. Where two lines meet, paths of two prefixes become one: a green frame.


# %%
def history(frames, width):
    """What figures.beam_search draws: all prefixes after each frame, those kept, who sent how much where."""
    beams = {"": (1.0, 0.0)}
    columns, kept, flows = [beams], [list(beams)], []
    for frame in frames:
        sent = {parent: extend_beams_solution({parent: ends}, frame) for parent, ends in beams.items()}
        flows.append({(parent, child): sum(e) for parent in sent for child, e in sent[parent].items()})
        columns.append(extend_beams_solution(beams, frame))
        beams = prune(columns[-1], width)
        kept.append(list(beams))
    return columns, kept, flows


def caption(frame):
    return "  ".join(f"{symbol} {p:.2f}".replace("0.", ".") for symbol, p in frame.items())


four = [
    {"-": 0.4, "a": 0.5, "b": 0.1},
    {"-": 0.5, "a": 0.3, "b": 0.2},
    {"-": 0.2, "a": 0.5, "b": 0.3},
    {"-": 0.5, "a": 0.1, "b": 0.4},
]
found, exact = prefix_beam_search(four, width=3), label_probabilities(four)
for label, p in found.items():
    print(f"{label:3} found {p:.3f}, exact {exact[label]:.3f}")
assert next(iter(found)) == next(iter(exact)) == "ab" != greedy_label(four)
assert all(p <= exact[label] + 1e-12 for label, p in found.items()) and found["ab"] < exact["ab"]
figures.beam_search(
    *history(four, 3), frames=list(map(caption, four)), width=8, title="Beams growing and merging: width 3"
)

# %% [markdown]
# Find in the picture:
# - **Merging.** After frame 2, "a" has received from the empty prefix and from itself.
# - **The double letter.** Into "aa" flows only what was blue in "a": after frame 2 that is about half of it.
# - **The price of dropping.** "ab" was dropped after frame 2 and came back after frame 3. The paths that had
#   spelled it before are lost. So what the beam says of a label is a **lower bound** of its probability: for
#   "ab" .276 of .313.
#
# What it found is nevertheless the best label. Greedy reads something else:

# %%
print(f"greedy reads {greedy_label(four)!r}, of probability {exact[greedy_label(four)]:.3f}")
assert round(found["ab"], 3) == 0.276 and round(exact["ab"], 3) == 0.313 and greedy_label(four) == "aa"
columns, kept, _ = history(four, 3)
assert "ab" in columns[2] and "ab" not in kept[2] and "ab" in kept[3]
later = 0.2 * 0.5 + 0.3 * (0.5 + 0.4)  # a blank and a blank, or b held and then a blank or b
assert math.isclose(exact["ab"] - found["ab"], sum(columns[2]["ab"]) * later)
assert 0.4 < columns[2]["a"][0] / sum(columns[2]["a"]) < 0.6

# %% [markdown]
# In Jupyter or Colab, step through it frame by frame, and change the width:

# %% tags=["nbval-ignore-output"]
# output not compared: the slider is a widget, which lives only while the notebook runs
from ipywidgets import interact


@interact(frames_read=(0, 4), width=(1, 6))
def watch(frames_read=1, width=3):
    steps, names = history(four, width), list(map(caption, four))
    return figures.beam_search(*steps, frames=names, upto=frames_read, width=8, title=f"Width {width}")


# %% [markdown]
# ### The double letter, once more
#
# **Predict.** Three frames, and every symbol of `-`, `a` has probability ½ in each. How many of the eight
# paths spell "aa"?

# %%
even = [{"-": 0.5, "a": 0.5}] * 3
paths = {label: list(paths) for label, paths in every_path(even).items()}
print(paths)
assert paths["aa"] == ["a-a"] and len(paths["a"]) == 6
found = prefix_beam_search(even, width=10)
assert {label: p for label, p in found.items() if p > 0} == {"a": 6 / 8, "": 1 / 8, "aa": 1 / 8}

# %% [markdown]
# One: `a-a`, through the blank. A decoder with a single number a prefix cannot tell it from `aaa`.
#
# ### Wide enough is exact
#
# When nothing is dropped, prefix beam search must equal brute force, for every label. So must the package's
# version, which keeps logarithms (a product of 75 probabilities gets small), handles all prefixes of the beam
# at once, and is the one that we use from here on.


# %%
def to_log_probs(frames):
    """T dictionaries -> (T, V) log-probabilities, the blank first."""
    return torch.tensor([list(frame.values()) for frame in frames], dtype=torch.float64).log()  # (T, V)


generator, worst = torch.Generator().manual_seed(1), 0.0
for n_frames in (1, 2, 3, 4, 5, 6) * 3:
    frames = random_problem(generator, n_frames)
    exact, plain = label_probabilities(frames), prefix_beam_search(frames, width=10_000)
    finished = beam_search_decode(to_log_probs(frames), beam_width=10_000)
    package = {"".join("-ab"[c] for c in label): math.exp(score) for label, score in finished}
    for found in (plain, package):
        assert {label for label, p in found.items() if p > 0} == set(exact)
        worst = max(worst, *(abs(found[label] - p) for label, p in exact.items()))
print(f"18 problems, every label, yours and the package's: no probability is off by more than {1e-14:g}")
assert worst < 1e-14

# %% [markdown]
# ## 3. A wider beam can read worse
#
# A wider beam looks at more. **Predict**: can its answer be *less* probable than that of a narrow one?
#
# Search for a case: 3,000 random problems of three frames, probabilities in steps of .05 so that you can
# follow by hand. Where width 1 and width 2 find different labels, compare the true probabilities. (Near-ties
# at the cut are left out: there, which prefix is dropped is a matter of rounding.)


# %%
def closest_call(frames, width):
    """How near the first prefix that was dropped came to the last that was kept: 0 is a tie."""
    columns, _, _ = history(frames, width)
    ranked = [sorted(map(sum, column.values()), reverse=True) for column in columns]
    return min(p[width - 1] - p[width] for p in ranked if len(p) > width)


rng, better, worse = random.Random(0), [], []
for _ in range(3000):
    cuts = [sorted(rng.sample(range(1, 20), 2)) for _ in range(3)]
    frames = [{"-": low / 20, "a": (high - low) / 20, "b": (20 - high) / 20} for low, high in cuts]
    one, two = (next(iter(prefix_beam_search(frames, width))) for width in (1, 2))
    if one != two and min(closest_call(frames, width) for width in (1, 2)) > 0.005:
        exact = prefix_beam_search(frames, width=10_000)
        (worse if exact[one] > exact[two] else better).append((exact[one] - exact[two], one, two, frames))
print(f"the two differ in {len(better) + len(worse)} problems: the wider beam reads worse in {len(worse)}")
assert 0 < len(worse) < len(better)
_, one, two, odd = max(worse, key=lambda case: case[0])
exact = label_probabilities(odd)  # brute force, not our own search
print(f"the worst: width 1 finds {one!r}, exactly {exact[one]:.2f}; width 2 finds {two!r}, {exact[two]:.2f}")
assert exact[one] > 1.5 * exact[two]

# %%
figures.beam_search(*history(odd, 1), frames=list(map(caption, odd)), width=7, title="Width 1")

# %%
figures.beam_search(*history(odd, 2), frames=list(map(caption, odd)), width=7, title="Width 2")

# %% [markdown]
# Why? Follow single paths. The search counts a path only while it keeps **every** prefix on the path's way.
# The path `aa-` spells "a" after frame 1; there "a" is dropped, and the path is lost, whatever comes back
# later. **Predict** from the picture: which of the six paths of "a" does width 2 still count at the end?


# %%
def counted(path, kept):
    """Does the search count this path? Only if it kept what the path spelled before each frame."""
    return all(spell(path[:t]) in kept[t] for t in range(len(path)))


paths, known = every_path(odd), {}
for width in (1, 2):
    columns, kept, _ = history(odd, width)
    for label in "ab":
        known[width, label] = {path: p for path, p in paths[label].items() if counted(path, kept)}
        bound = sum(known[width, label].values())
        assert math.isclose(bound, sum(columns[-1][label]))  # this is what the search says of the label
        print(
            f"width {width}: of {label!r} it counts {len(known[width, label])} of {len(paths[label])} paths,",
            end=" ",
        )
        print(f"{bound:.3f} of {exact[label]:.3f}")
assert list(known[1, "a"]) == list(known[2, "a"]) == ["--a"] and len(known[2, "b"]) == len(paths["b"]) == 6
assert exact["a"] / 2 > sum(known[2, "b"].values()) > sum(known[2, "a"].values()) > 0.49 * exact["a"]
lost = [path for label in "ab" for path in paths[label] if path not in known[2, label]]
figures.path_probabilities(
    {label: paths[label] for label in "ab"}, dropped=lost, title="Width 2; gray: lost on the way"
)

# %% [markdown]
# What the search says of a label is the blue part of its bar, a lower bound. The wider beam lets "b" live and
# finds all of it: the bound rises from .077 to .174. Of "a" it knows what width 1 knew, one path, .173: half
# of what is there. So "b" wins by a hair, against a label twice as probable. **A beam compares lower bounds,
# and a wider beam may raise the wrong one.**

# %% [markdown]
# So a beam is no guarantee; certain is only the width at which nothing is dropped. On the whole, of course,
# wider is better:

# %%
generator = torch.Generator().manual_seed(2)
problems = [random_problem(generator, n_frames=6, symbols="-abc") for _ in range(150)]
best = [next(iter(prefix_beam_search(p, 10_000))) for p in problems]
widths = [1, 2, 4, 8, 16, 32]
share = [
    np.mean([next(iter(prefix_beam_search(p, width))) != b for p, b in zip(problems, best, strict=True)])
    for width in widths
]
greedy_share = np.mean([greedy_label(p) != b for p, b in zip(problems, best, strict=True)])
print(f"best label missed: greedy {greedy_share:.0%}, width 1 {share[0]:.0%}, width 32 {share[-1]:.0%}")
assert share[0] > share[2] > share[-1] and share[-1] < 0.05
figures.curves(
    {"prefix beam search": (widths, share)},
    xlabel="beam width",
    ylabel="best label missed",
    level=greedy_share,
    level_label="greedy",
    ylim=(0, 0.7),
    width=6.2,
    height=2.8,
    title="150 random problems of 6 frames: search errors",
)

# %% [markdown]
# ## 4. On a real network's answers
#
# Now the lip reader that comes with the course, on 48 clips of the synthetic talker that it never saw. To
# make it doubt, read them a second time under noise: random gray, 1.5 times as strong as the picture itself.

# %%
model, alphabet = checkpoint.load("lipnet_small_synthetic"), Alphabet()
clips = synthetic_clips(48, seed=5)
said = list(clips.transcripts)
x = normalize(torch.from_numpy(clips.frames))[:, None]  # (48, T, H, W) -> (48, 1, T, H, W), deviation 1
noise = 1.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
with torch.no_grad():
    clean = model(x).log_softmax(-1)  # (T, 48, V)
    noisy = model(x + noise).log_softmax(-1)  # (T, 48, V)
shown = [16, 20, 24, 28]
figures.clip_rows(
    {"as it is": x[0, 0, shown], "under noise": (x + noise)[0, 0, shown]},  # (4, H, W) each
    captions=[f"frame {t}" for t in shown], width=7,
)  # fmt: skip


# %%
def read_greedily(log_probs):
    """(T, B, V) -> B sentences."""
    return [alphabet.decode(label) for label in decoding.greedy_decode(log_probs)]


def read_with_beam(log_probs, **settings):
    """(T, B, V) -> B sentences, by prefix beam search."""
    searched = [beam_search_decode(one, **settings) for one in log_probs.unbind(1)]  # each one (T, V)
    return [alphabet.decode(found[0][0]) for found in searched]


assert greedy_decode_solution(clean, [75] * 48) == decoding.greedy_decode(clean)
greedy = {"clean": read_greedily(clean), "noisy": read_greedily(noisy)}
beam = {"clean": read_with_beam(clean, beam_width=20), "noisy": read_with_beam(noisy, beam_width=20)}
sure = [(log_probs.exp().amax(-1) > 0.9).double().mean().item() for log_probs in (clean, noisy)]
print(f"frames whose best class has above .9: clean {sure[0]:.0%}, noisy {sure[1]:.0%}")
assert sure[0] > 0.85 > sure[1]
for name in ("clean", "noisy"):
    differ = sum(a != b for a, b in zip(greedy[name], beam[name], strict=True))
    print(f"{name}: the beam reads {differ} of 48 clips differently;", end=" ")
    print(f"word errors: greedy {wer(said, greedy[name]):.0%}, beam {wer(said, beam[name]):.0%}")


def true_log_prob(log_probs, text):
    """(T, V), text -> its exact log-probability, by notebook 04's recursion."""
    return ctc.forward_backward(log_probs.double(), alphabet.encode(text)).log_likelihood.item()


gains = [
    true_log_prob(noisy[:, i], beam["noisy"][i]) - true_log_prob(noisy[:, i], greedy["noisy"][i])
    for i in range(48)
]
more, less = sum(gain > 1e-6 for gain in gains), sum(gain < -1e-6 for gain in gains)
print(f"under noise the beam's label is more probable than greedy's in {more} clips, less in {less}")
print(f"at most {math.exp(max(gains)):.1f} times as probable")
assert more > 5 * less > 0
assert abs(wer(said, beam["noisy"]) - wer(said, greedy["noisy"])) < 0.03

# %% [markdown]
# The beam finds more probable labels (in the odd clip a less probable one: section 3 happens in real life,
# too), and hardly fewer errors. Two kinds of error are at work:
# - a **search error**: the decoder missed the label that the network thinks most probable;
# - a **model error**: the decoder found it, and it is wrong.
#
# Better search mends only the first kind, and here there are few. To mend the second, the decoder must know
# something that the network does not: what people say.

# %% [markdown]
# ## 5. A language model
#
# Under noise one clip was read like this:

# %%
shown = max(range(48), key=lambda i: gains[i])
print("said:", said[shown])
print("read:", beam["noisy"][shown])
assert any(word not in " ".join(said).split() for word in beam["noisy"][shown].split())

# %% [markdown]
# You see at once that this is no sentence. Give the decoder that knowledge as a **language model**: the
# probability of the next character, given those before. Two come with the course.
#
# **`CharNGram`** counts. From 300 sentences it learns what follows each $n-1$ characters, $n = 5$ here, as
# LipNet's authors have it. Histories that it has seldom seen lean on shorter ones. With $n(hc)$ the times
# that $c$ followed the history $h$, $u(h)$ the number of *different* characters that did, and $h'$ the
# history without its oldest character:
#
# $$p(c \mid h) = \frac{n(hc) + u(h)\, p(c \mid h')}{n(h) + u(h)}$$
#
# Try it on two "sentences", `ab` and `aa`, with $n = 2$. After `a` came once `b`, once `a`, once the end:
# $n = 3$, $u = 3$. Of all characters, ends included, there were three `a`, one `b`, two ends: $n = 6$,
# $u = 3$, and below that there is ⅓ for each.

# %%
p_b = (1 + 3 * (1 / 3)) / (6 + 3)  # p(b): no history
p_b_after_a = (1 + 3 * p_b) / (3 + 3)  # p(b | a)
tiny = CharNGram(["ab", "aa"], order=2, alphabet=Alphabet("ab"))
_, after_a = tiny.step(tiny.start(), 1)  # class 1 is "a"
log_p, _ = tiny.step(after_a, 2)  # class 2 is "b"
print(f"p(b | a) by hand {p_b_after_a:.4f}, by CharNGram {math.exp(log_p):.4f}")
assert math.isclose(math.exp(log_p), p_b_after_a, rel_tol=1e-12)

# %%
rng = np.random.default_rng(11)
ngram = CharNGram([random_sentence(rng) for _ in range(300)], order=5)


def next_characters(lm, text, count=4):
    """The likeliest characters after `text`, with their probabilities."""
    state = lm.start()
    for label in alphabet.encode(text).tolist():
        _, state = lm.step(state, label)
    p = {symbol: math.exp(lm.step(state, label)[0]) for label, symbol in enumerate(alphabet.symbols, start=1)}
    return {symbol: p[symbol] for symbol in sorted(p, key=p.get, reverse=True)[:count] if p[symbol] > 0.01}


for text in ("", "bin ", "bin b", "bin blue at q t"):
    for name, lm in (("n-gram", ngram), ("grammar", GridGrammar())):
        print(f"{text!r:18} {name:8}", {s: round(p, 2) for s, p in next_characters(lm, text).items()})
assert next_characters(GridGrammar(), "bin b") == {"l": 1.0}

# %% [markdown]
# **`GridGrammar`** knows the 64,000 sentences of GRID and forbids everything else ($p = 0$). The n-gram is
# softer: it sees four characters back and allows all. Note what it knows: how GRID *writes*. It has no idea
# of lips.
#
# ### Where the language model is added
#
# A label $\ell$ gets the score
#
# $$\text{score}(\ell) = \ln p_{\text{CTC}}(\ell) + \alpha \ln p_{\text{LM}}(\ell) + \beta\, |\ell|$$
#
# (These $\alpha$, $\beta$ are the literature's names for two weights; they have nothing to do with the
# $\alpha$ and $\beta$ of the forward-backward recursion.) The second term is a sum over the *characters of
# the label*. So in the search it is added **when a prefix grows by a character, and at no other time**: a
# blank or a held letter adds no character, so there is nothing new to be surprised about. At the very end the
# model is asked once more, whether the text may end here.
#
# The sum also explains $\beta$. Each further character costs $-\alpha \ln p_{\text{LM}} > 0$, so a language
# model likes short texts; $\beta$ pays back a fixed sum a character. Against brute force, with nothing
# dropped:

# %%
lm = CharNGram(["ab", "abba", "aab"], order=3, alphabet=Alphabet("ab"))
generator, worst = torch.Generator().manual_seed(3), 0.0
for alpha, beta in ((1.0, 0.0), (0.5, 1.0), (2.0, -0.5)):
    log_probs = to_log_probs(random_problem(generator))  # (5, 3)
    found = beam_search_decode(log_probs, 10_000, lm, alpha, beta)
    for label, score in found:
        wanted = -ctc.brute_force_loss(log_probs, label).item()
        wanted += alpha * text_log_prob(lm, label) + beta * len(label)
        worst = max(worst, abs(score - wanted))
print(f"every label's score equals the formula: largest difference below {1e-12:g}")
assert worst < 1e-12

# %% [markdown]
# ### What the two weights do
#
# Sweep both over the noisy clips, and $\alpha$ over the clean ones. **Predict** for each whether word errors
# fall or rise with $\alpha$. To be honest about it, use 24 clips for the sweep and keep the other 24 for the
# end: weights that are chosen on a clip flatter themselves there.

# %%
ALPHAS, BETAS = (0.0, 0.25, 0.5, 1.0, 2.0), (0.0, 1.5, 3.0)
tune, held_out = slice(0, 24), slice(24, 48)
sweep = {}  # (clips, alpha, beta) -> word error rate, characters read a character said
runs = [("noisy", noisy, a, b) for a in ALPHAS for b in BETAS] + [("clean", clean, a, 0.0) for a in ALPHAS]
for name, log_probs, alpha, beta in tqdm(runs):
    read = read_with_beam(log_probs[:, tune], beam_width=8, lm=ngram, alpha=alpha, beta=beta)
    sweep[name, alpha, beta] = wer(said[tune], read), len("".join(read)) / len("".join(said[tune]))
figures.curves(
    {
        **{f"noisy, β = {b:g}": (ALPHAS, [sweep["noisy", a, b][0] for a in ALPHAS]) for b in BETAS},
        "clean, β = 0": (ALPHAS, [sweep["clean", a, 0.0][0] for a in ALPHAS]),
    },
    xlabel="α, weight of the language model",
    ylabel="word error rate",
    ylim=(0, 0.62),
    width=6.6,
    height=3.1,
    title="What the language model is worth, on 24 clips",
)

# %%
figures.curves(
    {f"noisy, β = {b:g}": (ALPHAS, [sweep["noisy", a, b][1] for a in ALPHAS]) for b in BETAS},
    xlabel="α, weight of the language model",
    ylabel="characters read a character said",
    level=1.0,
    level_label="as said",
    width=6.6,
    height=2.6,
    title="α makes texts shorter, β longer",
)

# %%
without, best = (
    sweep["noisy", 0.0, 0.0],
    min((k for k in sweep if k[0] == "noisy"), key=lambda k: sweep[k][0]),
)
print(f"noisy, 24 clips: no language model {without[0]:.0%}, best weights {sweep[best][0]:.0%}")
a_clean = [sweep["clean", a, 0.0][0] for a in ALPHAS]
print(f"clean: α = 0 {a_clean[0]:.1%}, α = 2 {a_clean[-1]:.1%}")
assert sweep[best][0] < 0.75 * without[0] and a_clean[-1] > a_clean[0]
lengths = {b: sweep["noisy", 0.5, b][1] for b in BETAS}
by_alpha = {a: sweep["noisy", a, 0.0][0] for a in ALPHAS}
assert by_alpha[0.0] - by_alpha[0.25] > 0.5 * (without[0] - sweep[best][0])  # a little does most of it
assert by_alpha[2.0] > min(by_alpha.values()) + 0.02  # too much
assert lengths[0.0] < 1 < lengths[3.0] and sweep["noisy", 2.0, 0.0][1] < lengths[0.0]
assert sweep["noisy", 0.0, 3.0][0] > without[0]  # a bonus without a language model: rubbish is longer, too
pairs = [pair for a, b in zip(said, greedy["clean"], strict=True) for pair in edits(a.split(), b.split())]
wrong = [a for a, b in pairs if a is not None and a != b]  # words said and not read
assert sum(len(word) == 1 for word in wrong) > 0.5 * len(wrong)  # letters

# %% [markdown]
# - **Under noise** the language model removes a good part of the errors. A little of it does most of the
#   work; too much of it outvotes the lips.
# - **On clean clips** there is little to win and something to lose: the network is nearly always right, and
#   most of what is left are letters that look alike (notebook 07), about which spelling knows nothing.
# - **β** repairs the length. A large one alone, without a language model, makes things worse.
#
# So the weights belong to the network *and* to the picture. LipNet's authors used $\alpha = 1$, $\beta = 1.5$
# and a beam of 200. The verdict, on the 24 clips that took no part in the choice:

# %%
_, alpha, beta = best
verdict = {
    "greedy": read_greedily(noisy[:, held_out]),
    "beam": read_with_beam(noisy[:, held_out], beam_width=20),
    "beam + n-gram": read_with_beam(noisy[:, held_out], beam_width=20, lm=ngram, alpha=alpha, beta=beta),
    "beam + grammar": read_with_beam(noisy[:, held_out], beam_width=20, lm=GridGrammar()),
}
rates = {name: (wer(said[held_out], read), cer(said[held_out], read)) for name, read in verdict.items()}
for name, (words, characters) in rates.items():
    print(f"{name:15} WER {words:4.0%}   CER {characters:4.0%}")
assert rates["beam + grammar"][0] < rates["beam + n-gram"][0] < rates["beam"][0] * 0.8
figures.dot_plot(
    list(rates), {"WER": [w for w, _ in rates.values()], "CER": [c for _, c in rates.values()]},
    xlabel="error rate", title="24 noisy clips that chose nothing",
)  # fmt: skip

# %% [markdown]
# The more a decoder knows of the language, the better, **as long as what is said obeys it**. A reader with
# GRID's grammar reads any film of anybody as a GRID sentence, and never says that it does not know. Here is
# one of nothing at all, 75 frames of random gray:

# %%
nothing = torch.randn(1, 1, 75, 32, 64, generator=torch.Generator().manual_seed(1))  # (B, C, T, H, W)
with torch.no_grad():
    (read,) = read_with_beam(model(nothing).log_softmax(-1), beam_width=20, lm=GridGrammar())
print("in random gray the grammar reads:", read)
assert len(id_from_sentence(read)) == 6  # raises when it is no sentence of GRID

# %% [markdown]
# ### What it costs

# %% tags=["nbval-ignore-output"]
# output not compared: a timing, another on every machine
few = noisy[:, :8]  # (T, 8, V)


def per_second(work, n_clips=8, times=1):
    clock = time.perf_counter()
    for _ in range(times):
        work()
    return times * n_clips / (time.perf_counter() - clock)


with torch.no_grad():
    print(f"the network   {per_second(lambda: model(x[:8])):8,.0f} clips a second")
print(f"greedy        {per_second(lambda: decoding.greedy_decode(few), times=20):8,.0f}")
for width in (1, 5, 10, 20, 50):
    alone, helped = (
        per_second(lambda lm=lm, width=width: read_with_beam(few, beam_width=width, lm=lm))
        for lm in (None, ngram)
    )
    print(f"width {width:3}     {alone:8,.0f}, with the n-gram {helped:6,.0f}")

# %% [markdown]
# Greedy is one `argmax`. A beam is a loop over 75 frames in Python, and the language model is asked anew for
# every prefix that it has not met: a wide beam may well take as long as the network. What does the width buy?

# %%
WIDTHS = [1, 2, 4, 8, 16]
by_width = {}
for name, log_probs, lm in (("noisy", noisy, None), ("noisy", noisy, ngram), ("clean", clean, ngram)):
    reads = [read_with_beam(log_probs[:, held_out], beam_width=width, lm=lm) for width in WIDTHS]
    by_width[f"{name}, beam" + " + n-gram" * (lm is ngram)] = [wer(said[held_out], read) for read in reads]
for name in ("noisy", "clean"):
    rate, (first, *_, last) = wer(said[held_out], greedy[name][held_out]), by_width[f"{name}, beam + n-gram"]
    print(f"{name}: greedy {rate:.0%}; with the n-gram, width 1 {first:.0%}, width 16 {last:.0%}")
    assert first > 1.4 * last and first > (0.95 if name == "noisy" else 2) * rate
figures.curves(
    {name: (WIDTHS, values) for name, values in by_width.items()},
    xlabel="beam width",
    ylabel="word error rate",
    ylim=(0, 0.5),
    width=6.6,
    height=2.9,
    title="A language model needs a beam that is wide enough",
)

# %% [markdown]
# With a language model, a beam of one wins nothing under noise, and on clean clips it makes more than
# twice the errors of greedy. The cost of a character is paid when the prefix grows, its reward comes with the
# frames after it, and by then the prefix is gone.
#
# <details><summary><b>Help: "beam search is worse than greedy"</b></summary>
#
# In this order:
# 1. The beam is narrow *and* there is a language model (see the figure above). Try a width of 20.
# 2. α is too large for how sure your network is. Try α = 0: is it at least as good as greedy?
# 3. The language model was made from other texts (capitals, no spaces, another grammar).
# 4. Compare probabilities, not readings: `forward_backward(...).log_likelihood` of both labels. If the beam's
#    label is more probable and yet wrong, your network is wrong, not your search.
# 5. If the beam's label is *less* probable in more than a clip here and there, without a language model,
#    suspect a bug. Section 8 has the usual two.
#
# </details>

# %% [markdown]
# ## 6. How wrong is it? Edit distance, CER, WER
#
# "place" was read as "lazce". How many characters are wrong? Place by place, three. But the reader only
# missed the `p` and put a `z` too many: two **edits**. The **edit distance** is the smallest number of
# insertions, deletions and substitutions that turn one text into the other.
#
# Let $D_{i,j}$ be the distance from the first $i$ characters said to the first $j$ read. Think of the last
# one: it was deleted, or inserted, or paired, which is free if the two are equal:
#
# $$D_{i,j} = \min\big(\; D_{i-1,j} + 1,\quad D_{i,j-1} + 1,\quad
#   D_{i-1,j-1} + [\,\text{said}_i \neq \text{read}_j\,] \;\big), \qquad D_{i,0} = i,\; D_{0,j} = j$$
#
# ### Exercise 3 · `edit_distance` · difficulty ★★☆ · 15 minutes


# %%
def edit_distance(said, read):
    """Two strings, or two lists of words -> the fewest edits."""
    raise NotImplementedError


check("05.edit_distance", edit_distance)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def edit_distance_solution(said, read):
    """Fill the table row by row; the answer is its last corner."""
    D = [[i + j for j in range(len(read) + 1)] for i in range(len(said) + 1)]  # the edges are right already
    for i in range(1, len(said) + 1):
        for j in range(1, len(read) + 1):
            paired = D[i - 1][j - 1] + (said[i - 1] != read[j - 1])
            D[i][j] = min(D[i - 1][j] + 1, D[i][j - 1] + 1, paired)
    return D[-1][-1]


# %%
check("05.edit_distance", edit_distance_solution)

# %% [markdown]
# Each cell of the table is such a distance, and the cheapest way from corner to corner tells what happened
# (`lessons.ctc.metrics.edits` walks it; you will write that walk in notebook 08):


# %%
def table_and_path(said, read):
    """The table of distances, and the cells on the cheapest way."""
    table = [
        [edit_distance_solution(said[:i], read[:j]) for j in range(len(read) + 1)]
        for i in range(len(said) + 1)
    ]
    path = [(0, 0)]
    for wanted, found in edits(said, read):
        i, j = path[-1]
        path.append((i + (wanted is not None), j + (found is not None)))
    return table, path


table, path = table_and_path("place", "lazce")
assert table[-1][-1] == metrics.edit_distance("place", "lazce") == 2
assert sum(a != b for a, b in zip("place", "lazce", strict=True)) == 3
figures.edit_table("place", "lazce", table, path, title="2 edits")

# %% [markdown]
# The **character error rate**, CER, is the number of edits divided by the number of characters that were
# *said*; the **word error rate**, WER, the same with words as the units:

# %%
said_words, read_words = "bin blue at f two now".split(), "bin at f f two now now".split()
errors = edit_distance_solution(said_words, read_words)
for wanted, found in edits(said_words, read_words):
    print(f"{wanted or '–':5} {found or '–':5} {'' if wanted == found else 'wrong'}")
print(f"{errors} edits, {len(said_words)} words said: WER {errors / len(said_words):.0%}")
assert errors / len(said_words) == wer([" ".join(said_words)], [" ".join(read_words)])

# %% [markdown]
# **Predict.** How large can a word error rate get?

# %%
too_much = wer(["soon"], ["s oo n"])
shouted = wer(["bin blue at f two now"], ["BIN BLUE AT F TWO NOW"])
print(f"'soon' read as 's oo n': {too_much:.0%}   capitals for small letters: {shouted:.0%}")
assert too_much == 3.0 and shouted == 1.0

# %% [markdown]
# There is no upper limit, since insertions count and the division is by what was said.
#
# <details><summary><b>Help: "WER above 100 %"</b></summary>
#
# Not a bug by itself: more words were read than said. Print a pair. Spaces in the middle of words ("s oo n")
# come from a network that is too fond of the space, early in training; β too large does the same.
# If the order of arguments is (read, said) by mistake, the division is by the wrong length.
#
# </details>
#
# <details><summary><b>Help: "the text is right but the word error is 100 %"</b></summary>
#
# Print `repr()` of both texts. Usual causes: capitals on one side ("BIN" against "bin"); a list of characters
# where a list of words is expected; all spaces lost (one long word); the whole batch joined into one string.
#
# </details>
#
# ### A corpus
#
# For many sentences there are two ways: divide **all edits by all words**, or take **the mean of the
# sentences' rates**. The first is the usual definition and that of `lessons.ctc.metrics`; in the second a
# short sentence weighs as much as a long one.

# %%
pair_said, pair_read = ["soon", "bin blue at f two now"], ["noon", "bin blue at f two now"]
corpus = wer(pair_said, pair_read)
mean = np.mean([wer([a], [b]) for a, b in zip(pair_said, pair_read, strict=True)])
print(f"one wrong word of seven: corpus {corpus:.0%}, mean of sentences {mean:.0%}")
assert corpus == 1 / 7 and mean == 0.5

# %% [markdown]
# On GRID the two word error rates agree, because every sentence has six words. The character error rates do
# not, for words differ in length. Below are the sentences that the course's reader of real mouths made of 100
# clips of GRID's speaker 1 (a file beside its weights). And a number worth printing beside any WER: the share
# of **sentences without any error**.

# %%
file = checkpoint.trained_folder("lipnet_small_grid_s1") / "results.json"
rows = json.loads(file.read_text(encoding="utf-8"))["sentences"]
grid_said, grid_read = ([row[key] for row in rows] for key in ("said", "greedy"))
right = np.mean([a == b for a, b in zip(grid_said, grid_read, strict=True)])
for name, rate in (("CER", cer), ("WER", wer)):
    mean = np.mean([rate([a], [b]) for a, b in zip(grid_said, grid_read, strict=True)])
    print(f"{name}: corpus {rate(grid_said, grid_read):.3%}, mean of sentences {mean:.3%}")
    assert math.isclose(mean, rate(grid_said, grid_read), rel_tol=1e-9) == (name == "WER")
one_minus = 1 - wer(grid_said, grid_read)
print(f"1 - WER {one_minus:.1%}, sentences without an error {right:.0%}")
print(f"if word errors fell at random: {one_minus**6:.0%}; for 95.2 %: {0.952**6:.0%}")
assert right < one_minus - 0.1 and abs(one_minus**6 - right) < 0.05 and round(0.952**6, 2) == 0.74

# %% [markdown]
# LipNet's famous **95.2 %** is $1 - \text{WER}$ (4.8 %, Table 2, speakers seen in training). It is often
# repeated as "95.2 % of the sentences". If word errors fell independently, that WER would mean about 74 % of
# the sentences. On our reader the same sum is right to within a few per cent.
#
# Do not believe our own counting either. `jiwer` is a widely used tool for these rates. It comes with the
# course's development packages; in Colab, `%pip install jiwer` and run the cell again. One habit of it to
# know: it strips spaces from both ends of a text before it counts characters.

# %%
if find_spec("jiwer"):
    import jiwer

    for a, b in ((grid_said, grid_read), (said, greedy["noisy"]), (pair_said, pair_read)):
        stripped = [text.strip() for text in b]  # jiwer does so by itself
        assert jiwer.wer(a, b) == wer(a, b) and jiwer.cer(a, b) == cer(a, stripped)
    print("jiwer gives the same rates, to the last bit")
else:
    print("jiwer is not installed here")

# %% [markdown]
# ## 7. Forced alignment: when was each letter said?
#
# Turn the question round. The sentence is known; **which frames spell it?** Of all paths that spell it, take
# the most probable. The extended label of notebook 04 has $S = 2L + 1$ states, a blank before, between and
# after the letters, and a path may stay, step to the next state, or skip a blank between two different
# letters. The forward recursion *summed* over these three ways. Now consider all paths that are in state $s$
# at frame $t$. They have the same future before them, so only the best of them can be the beginning of the
# best path: keep its log-probability $v_{t,s}$, and forget the others. In place of the sum take the
# **maximum**, and remember which way it was (this is the **Viterbi** algorithm):
#
# $$v_{t,s} = \ln y_t(\text{state } s) + \max\big(v_{t-1,s},\; v_{t-1,s-1},\;
#   v_{t-1,s-2} \text{ if it may skip}\big)$$


# %%
def viterbi(log_probs, target):
    """log_probs (T, V), target L classes -> best and step, both (T, S); step says how many states back."""
    states, n_frames = ctc.extend(target), len(log_probs)  # S states
    skip = ctc.may_skip(states)
    best = torch.full((n_frames, len(states)), -math.inf, dtype=log_probs.dtype)  # (T, S)
    step = torch.zeros(n_frames, len(states), dtype=torch.long)  # (T, S)
    best[0, :2] = log_probs[0, states[:2]]
    for t in range(1, n_frames):
        for s, symbol in enumerate(states):
            ways = best[t - 1, max(0, s - 2 if skip[s] else s - 1) : s + 1].flip(0)  # from s, s-1, s-2
            step[t, s] = ways.argmax()
            best[t, s] = ways.max() + log_probs[t, symbol]
    return best, step


# %% [markdown]
# ### Exercise 4 · `walk_back` · difficulty ★★☆ · 10 minutes
#
# The table is full. Where may a path end? Choose the better end, and follow `step` back to frame 0. (The
# empty target has $S = 1$.)


# %%
def walk_back(best, step):
    """best (T, S), step (T, S) -> a list of T states, that of frame 0 first."""
    raise NotImplementedError


check("05.walk_back", walk_back)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def walk_back_solution(best, step):
    """From the better of the last label and the last blank, back by step[t, s] states a frame."""
    n_frames, n_states = best.shape
    state = n_states - 1
    if n_states > 1 and best[-1, -2] > best[-1, -1]:
        state = n_states - 2
    states = [state]
    for t in range(n_frames - 1, 0, -1):
        state -= int(step[t, state])
        states.append(state)
    return states[::-1]


# %%
check("05.walk_back", walk_back_solution)

# %% [markdown]
# Against the package, on a real clip and the sentence that was said in it. (The package does all states of a
# frame at once.)

# %%
chosen = next(i for i in range(48) if greedy["clean"][i] == said[i] and "three" in said[i])
film, sentence, one = clips.frames[chosen], said[chosen], clean[:, chosen]  # (T, H, W), text, (T, V)
target = alphabet.encode(sentence)  # (L,)
best, step = viterbi(one, target.tolist())  # (T, S) both
states = torch.tensor(walk_back_solution(best, step))  # (T,)
alignment = ctc.forced_align(one, target)
agree("yours against lessons.ctc.forced_align", states.double(), alignment.states.double(), tolerance=0)
assert ctc.collapse(alignment.path) == target.tolist()
total = true_log_prob(one, sentence)
share = math.exp(alignment.log_probability.item() - total)
print(f"{sentence!r}: the best path holds {share:.0%} of the label's probability")
assert math.isclose(best[-1, -2:].max().item(), alignment.log_probability.item(), abs_tol=1e-4)
assert 0 < share < 0.9

# %% [markdown]
# Now lay it over the film: for each letter the frame in which it begins.

# %%
spans = alignment.spans()  # L times (first frame, one past the last)
letters = [(start, symbol) for (start, _), symbol in zip(spans, sentence, strict=True) if symbol != " "]
figures.filmstrip(film, [t for t, _ in letters], [s for _, s in letters], columns=8, title=sentence)

# %% [markdown]
# Look for the two `e` of "three". Between them the path must pass through a blank:

# %%
first = sentence.index("three") + 3
(_, end_of_one), (start_of_next, _) = spans[first], spans[first + 1]
print(f"the first e ends at frame {end_of_one}, the second begins at frame {start_of_next}")
assert start_of_next > end_of_one and (alignment.path[end_of_one:start_of_next] == 0).all()
figures.alignment(
    one.exp(), ["-", *alphabet.symbols], alignment.path.tolist(), clips.segments[chosen], width=7.6,
    title="Above, what the network says, and the best path; below, when each word was spoken",
)  # fmt: skip

# %% [markdown]
# ### Is it true?
#
# Nobody knows the truth about a real mouth to a fraction of a frame. About the talker we do: it was drawn by
# a timetable. **Predict** how far the alignment is from it, in frames of 40 ms. For comparison, a clock that
# knows nothing: it spreads the letters evenly over the 75 frames.


# %%
def word_times(spans, text):
    """(first frame, one past the last) of each word."""
    times, position = [], 0
    for word in text.split():
        times.append((spans[position][0], spans[position + len(word) - 1][1]))
        position += len(word) + 1  # and the space
    return np.array(times)  # (words, 2)


offsets, evenly = [], []
for i, text in enumerate(said):
    spoken = np.array([(start, end) for start, end, word in clips.segments[i] if word != "sil"])  # (6, 2)
    assert (spoken[1:, 0] == spoken[:-1, 1]).all()  # no pause between words
    aligned = ctc.forced_align(clean[:, i], alphabet.encode(text)).spans()
    offsets.append(word_times(aligned, text) - spoken)
    clock = [(75 * k / len(text), 75 * (k + 1) / len(text)) for k in range(len(text))]
    evenly.append(word_times(clock, text) - spoken)
offsets, evenly = np.concatenate(offsets), np.concatenate(evenly)  # (48 * 6, 2)
distance, blind = np.abs(offsets).mean(0), np.abs(evenly).mean(0)  # (2,): beginnings, ends
late = offsets.mean(0)  # (2,), above 0: later than the truth
print(f"words begin {distance[0]:.1f} and end {distance[1]:.1f} frames from the truth, on average")
worst = np.abs(offsets).max()
print(f"an even clock: {blind[0]:.0f} and {blind[1]:.0f} frames; the worst of the alignments: {worst:.0f}")
assert distance.max() < 2 and blind.min() > 5 and worst > 3
last = offsets.reshape(48, 6, 2)[:, -1, 1].mean()  # the last words' ends
inside = offsets.reshape(48, 6, 2)[:, :-1, 1].mean()  # the ends of all words with a word after them
print(f"a word's end, when a space follows: {inside:+.1f} frames; the last word's: {last:+.1f}")
assert inside < -0.5 < 0 < last and abs(late[0]) < 0.5

# %% [markdown]
# About a frame, from a loss that was told *what* is said. Three reservations, before you trust an alignment:
# - **This network had a hint.** Its training began with the word timings (notebook 08). CTC alone asks only
#   that the order be right, and its peaks may stand beside the sounds.
# - **The text is not the sound.** The talker leaves no pause between words, but the text has a space there,
#   and it needs a frame. It takes it from the word before: words end early, except the last one.
# - **It is forced.** It aligns any text that fits, also one that nobody said. What tells is the probability:

# %%
other = said[(chosen + 1) % 48]
wrong = ctc.forced_align(one, alphabet.encode(other)).log_probability.item()
print(f"the best path of what was said: {alignment.log_probability.item():.0f} nats")
print(f"the best path of another sentence, also found without complaint: {wrong:.0f} nats")
assert other != sentence and wrong < alignment.log_probability.item() - 20

# %% [markdown]
# ## 8. Bug hunt: three programs that look right
#
# ### The beam that changes nothing
#
# This is beam search as it is done for translation: it keeps the best *sequences*, here paths, and collapses
# them at the end. Somebody reports: *"My beam search gives the same text as greedy, on every clip, at every
# width."* Find the bug before you read on.


# %%
def path_beam_search(frames, width):
    """T dictionaries symbol -> probability; returns [(label, probability)], the best first."""
    paths = [("", 1.0)]
    for frame in frames:
        longer = [(path + symbol, p * y) for path, p in paths for symbol, y in frame.items()]
        paths = sorted(longer, key=lambda item: -item[1])[:width]
    return [(spell(path), p) for path, p in paths]


found = path_beam_search(unsure, width=4)
print("found:", [(label, round(p, 2)) for label, p in found])
print("exact:", {label: round(p, 2) for label, p in label_probabilities(unsure).items()})
assert [label for label, _ in found].count("a") == 3 and found[0][0] == ""

# %% [markdown]
# "a" stands there three times, with .24, .24 and .16. They were never **merged**, so the .64 is nowhere. And
# that makes the search pointless: the best path is made of the best symbol of each frame, it leads at every
# frame, and no width can make it lose.

# %%
generator = torch.Generator().manual_seed(4)
problems = [random_problem(generator, n_frames=6) for _ in range(200)]
for width in (1, 10, 100):
    same = np.mean([path_beam_search(p, width)[0][0] == greedy_label(p) for p in problems])
    merged = np.mean([next(iter(prefix_beam_search(p, width))) == greedy_label(p) for p in problems])
    print(f"width {width:3}: as greedy in {same:.0%}; with merging in {merged:.0%}")
    assert same == 1.0 and merged < 1.0

# %% [markdown]
# ### The language model that is asked every frame
#
# Another one merges correctly and has a language model. It multiplies it in with the emission, for every
# letter and every frame. *"I have to make α tiny before the language model stops hurting."* Below,
# `every_frame` switches between this and the rule of section 5, so that you can compare with brute force:
# $p_{\text{CTC}} \cdot p_{\text{LM}}$ for each label (the end left out).


# %%
def beam_search_with_lm(frames, width, p_lm, every_frame):
    """p_lm(prefix, letter) -> probability of the letter after the prefix."""
    beams = {"": (1.0, 0.0)}
    for frame in frames:
        new = {}
        for prefix, ends in beams.items():
            for child, (blank, letter) in extend_beams_solution({prefix: ends}, frame).items():
                if child != prefix:  # it has grown
                    letter *= p_lm(prefix, child[-1])
                elif every_frame and child:  # it was held
                    letter *= p_lm(prefix[:-1], prefix[-1])
                before = new.get(child, (0.0, 0.0))
                new[child] = (before[0] + blank, before[1] + letter)
        beams = prune(new, width)
    return {prefix: sum(ends) for prefix, ends in beams.items()}


def p_lm(prefix, letter):
    """A toy: nine of ten letters differ from the one before."""
    return 0.5 if not prefix else 0.1 if prefix[-1] == letter else 0.9


def p_text(label):
    return math.prod(p_lm(label[:i], letter) for i, letter in enumerate(label))


held = [{"-": 0.1, "a": 0.8, "b": 0.1}] * 3 + [{"-": 0.1, "a": 0.1, "b": 0.8}] * 2
exact = {label: p * p_text(label) for label, p in label_probabilities(held).items()}
for every_frame in (False, True):
    found = beam_search_with_lm(held, 10_000, p_lm, every_frame)
    off = max(abs(found[label] - p) for label, p in exact.items())
    name = "asked every frame" if every_frame else "asked on growing "
    print(f"{name}  'ab' {found['ab']:.3f}, exact {exact['ab']:.3f}; largest difference {off:.3f}")
    assert (off > 0.05) if every_frame else (off < 1e-15)

# %% [markdown]
# A letter that is held for three frames was paid for three times. The more frames a second a camera has, the
# more the language model weighs, and held letters, the surest of all, are punished most. In numbers, on the
# 24 clean clips, with the n-gram:


# %%
class Memory:
    """p_lm of the n-gram; remembers its state after each prefix."""

    def __init__(self, lm):
        self.lm, self.states, self.known = lm, {"": lm.start()}, {}

    def __call__(self, prefix, letter):
        if (prefix, letter) not in self.known:
            label = alphabet.symbols.index(letter) + 1
            log_p, self.states[prefix + letter] = self.lm.step(self.states[prefix], label)
            self.known[prefix, letter] = math.exp(log_p)
        return self.known[prefix, letter]


symbols, read = ["-", *alphabet.symbols], {}
for every_frame in (False, True):
    memory, read[every_frame] = Memory(ngram), []
    for i in tqdm(range(24)):
        frames = [dict(zip(symbols, row, strict=True)) for row in clean[:, i].exp().tolist()]
        read[every_frame].append(next(iter(beam_search_with_lm(frames, 5, memory, every_frame))))
    name = "asked every frame" if every_frame else "asked on growing "
    print(f"{name}  WER {wer(said[:24], read[every_frame]):.0%}")
assert wer(said[:24], read[True]) > 1.2 * wer(said[:24], read[False])

# %% [markdown]
# ### Same readings, two word error rates
#
# Two people score the same 48 noisy readings. Both divide edits by words. The first writes `split()`, the
# second `split(" ")`, as a widely used public lip-reading repository does. Who is right?


# %%
def wer_split_at_each_space(said, read):
    pairs = [(a.split(" "), b.split(" ")) for a, b in zip(said, read, strict=True)]
    return sum(metrics.edit_distance(a, b) for a, b in pairs) / sum(len(a) for a, _ in pairs)


readings = greedy["noisy"]
rates = wer(said, readings), wer_split_at_each_space(said, readings)
odd_spaces = [text for text in readings if text != " ".join(text.split())]
print(f"split() {rates[0]:.1%}, split(' ') {rates[1]:.1%}")
for text in odd_spaces:
    print(f"a space too many: {text!r} -> {text.split(' ')}")
assert rates[1] > rates[0] and odd_spaces

# %%
tidied = [" ".join(text.split()) for text in readings]
assert wer_split_at_each_space(said, tidied) == wer(said, tidied) == wer(said, readings)
print(
    f"spaces tidied: both {wer(said, tidied):.1%}; CER {cer(said, readings):.2%} -> {cer(said, tidied):.2%}"
)
assert cer(said, tidied) < cer(said, readings)

# %% [markdown]
# A space at the end, or two in a row, hold an empty "word", which counts as an insertion. Tidying the spaces
# makes the word error rates equal, and changes the CER, because a space too many is a wrong character. None
# of this is cheating; but a difference of a few tenths of a per cent between two papers may be nothing else.
# Say how you count, or publish the readings, as the course does beside its weights.

# %% [markdown]
# ## 9. The finished version
#
# The package's version does what your `extend_beams` and `prune` do, without the two loops: a beam of P
# prefixes and V symbols becomes two arrays. `stay`, (P,), is what each prefix gets as it is, by a blank or by
# its letter held. `grow`, (P, V), is what each sends on: the row says from which prefix, the column by which
# symbol. Here, without logarithms, is frame 2 of the four in section 2:

# %%
beams = prune(extend_beams_solution({"": (1.0, 0.0)}, four[0]), width=3)
prefixes = list(beams)  # P of them
p_blank, p_letter = np.array(list(beams.values())).T  # (P,) both
y = np.array(list(four[1].values()))  # (V,): the blank, a, b
last = np.array(["-ab".index(prefix[-1:] or "-") for prefix in prefixes])  # (P,), 0 for the empty prefix

stay = (p_blank + p_letter) * y[0] + p_letter * y[last]  # (P,)
grow = (p_blank + p_letter)[:, None] * y  # (P, V)
grow[np.arange(len(prefixes)), last] = p_blank * y[last]  # the last letter anew: only after a blank
grow[:, 0] = 0  # nothing grows by a blank


def print_arrays():
    print("prefix   as it is    + a    + b")
    for prefix, as_it_is, (_, by_a, by_b) in zip(prefixes, stay, grow, strict=True):
        print(f"{prefix!r:6} {as_it_is:10.2f} {by_a:6.2f} {by_b:6.2f}")


print_arrays()

# %% [markdown]
# Every cell is a candidate for the next beam. But some stand there twice: the empty prefix `+ a` *is* "a",
# which has a row of its own. That happens exactly when a prefix and its parent (the prefix without its last
# letter) are both in the beam. So the merging that your dictionary did by itself takes three lines: find the
# parent's row, add its cell to the child's `stay`, and strike the cell out.

# %%
parent_row = np.array([prefixes.index(p[:-1]) if p and p[:-1] in prefixes else -1 for p in prefixes])  # (P,)
child = np.flatnonzero(parent_row >= 0)  # rows whose parent is in the beam
meeting = parent_row[child], last[child]  # their other cells: the parent's row, the child's letter
stay[child] += grow[meeting]
grow[meeting] = 0
print_arrays()
merged = dict(zip(prefixes, stay, strict=True))
merged |= {p + "-ab"[k]: grow[row, k] for row, p in enumerate(prefixes) for k in (1, 2) if grow[row, k] > 0}
yours = {p: sum(ends) for p, ends in extend_beams_solution(beams, four[1]).items() if sum(ends) > 0}
assert merged.keys() == yours.keys() and all(math.isclose(merged[p], yours[p]) for p in yours)
assert math.isclose(stay.sum() + grow.sum(), 1)

# %% [markdown]
# Now the finished source: one frame for all prefixes, then the search. What is new in it:
# - Logarithms: a product becomes a sum, a sum `logaddexp`, and 0 is `NEVER`, minus infinity. `stay` is two
#   arrays, since the two numbers must not be mixed before the next frame.
# - Prefixes are nodes of a tree, and nodes are numbers. The same prefix is always the same node, so a child
#   finds its parent's row by number, also when the parent was dropped and came back.
# - The language model is a table, `language`: a row for each of its states, filled when the state is first
#   met and kept for the next clips. So all prefixes of a frame are charged with one look into it.
# - Pruning: P stays and P·V growths lie in one list, of which the best `beam_width` are kept. A place below
#   P is a stay; from the others `divmod` tells the row and the column.
# - `gain` and `bonus` are the language model and β, added where a prefix grows, and nowhere else.
#
# Find the line where a repeated letter starts anew only after a blank, and the lines that merge.

# %%
show(decoding.extend_prefixes)

# %%
show(decoding.beam_search_decode)

# %% [markdown]
# And the alignment, your Viterbi with all states of a frame at once:

# %%
show(ctc.forced_align)

# %% [markdown]
# ## Recap
#
# - A label is as probable as all of its paths together. Greedy reads the best path; where the network is
#   unsure, another label may have more.
# - Prefix beam search follows prefixes with two numbers each, ends in a blank and ends in the last letter;
#   paths that spell the same prefix merge. Wide enough, it is exact; else its probabilities are lower bounds,
#   and a wider beam may find a worse label.
# - A language model counts once a character, when a prefix grows. α weighs it, β pays for length; both belong
#   to the network and the picture. It helps where the network doubts, and harms where it does not.
# - Forced alignment is the forward recursion with max for sum.
# - WER = edits / words said, over the whole corpus; it may pass 100 %. $1 - \text{WER}$ is not the share of
#   right sentences.
#
# ## Glossary
#
# | word | meaning |
# |---|---|
# | prefix | the beginning of a label: what a path has spelled so far |
# | beam, beam width | the prefixes that a search keeps after each frame; how many |
# | prefix beam search | decoding that adds up paths by the prefix they spell, and drops improbable prefixes |
# | merging | adding up the probabilities of paths that spell the same prefix |
# | pruning | dropping all but the best prefixes |
# | search error, model error | the decoder missed the best label; the best label is wrong |
# | language model | the probability of the next character, given those before it |
# | n-gram | a language model that looks back n − 1 characters |
# | length bonus | β: a reward a character, which makes up for what a language model costs |
# | forced alignment | finding the frames of a text that is known |
# | Viterbi | the best path through states, by keeping the best way to each state |
# | edit distance | the fewest insertions, deletions and substitutions from one text to another |
# | CER | character error rate: edits of characters, as a share of the characters said |
# | sentence accuracy | the share of sentences without any error |
#
# ## Sources
#
# - A. Graves, S. Fernández, F. Gomez, J. Schmidhuber, *Connectionist Temporal Classification*, ICML 2006:
#   best path decoding. A. Graves, *Supervised Sequence Labeling with Recurrent Neural Networks*, 2012, §7.5:
#   prefix search.
# - A. Hannun, A. Maas, D. Jurafsky, A. Ng, *First-Pass Large Vocabulary Continuous Speech Recognition using
#   Bi-Directional Recurrent DNNs*, [arXiv 1408.2873](https://arxiv.org/abs/1408.2873), 2014: prefix beam
#   search with a language model.
# - I. Witten, T. Bell, *The zero-frequency problem*, IEEE Transactions on Information Theory 37(4), 1991;
#   S. Chen, J. Goodman, *An empirical study of smoothing techniques for language modeling*, ACL 1996.
# - V. Levenshtein, *Binary codes capable of correcting deletions, insertions, and reversals*, 1966.
# - Y. Assael, B. Shillingford, S. Whiteson, N. de Freitas, *LipNet: End-to-End Sentence-level Lipreading*,
#   [arXiv 1611.01599](https://arxiv.org/abs/1611.01599): Table 2 (4.8 %), appendix A.1 (beam of 200, α = 1,
#   β = 1.5, character 5-gram).
# - [VIPL-Audio-Visual-Speech-Understanding/LipNet-PyTorch](https://github.com/VIPL-Audio-Visual-Speech-Understanding/LipNet-PyTorch),
#   `dataset.py`: `split(' ')`, and the mean of the sentences' rates.
#
# **Next**: notebook 06 puts all of it together: LipNet, layer by layer.
