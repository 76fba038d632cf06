# %% [markdown]
# # 05 · CTC, decoding
#
# **A network gives you, per frame, a distribution over 28 classes. You will write the decoder that turns 75
# such distributions into a sentence: prefix beam search, with a character language model inside it.**
#
# *Core path: about 59 minutes; deeper sections: about 40; all cells together run in about 60 seconds on one
# CPU core.*
#
# **You need**: Python dictionaries, and from notebook 04: a path picks one class per frame; collapsing it
# (merge equal neighbors, then drop blanks) gives a label; the probability of a label is the sum over all
# paths that collapse to it.
#
# **You will be able to**
# - measure a decoder: edit distance, character error rate (CER) and word error rate (WER);
# - say when greedy decoding misses the most probable label;
# - write prefix beam search and check it against brute force;
# - tell a search error from a model error;
# - add a language model to the search (shallow fusion), and tune its weight and the length bonus;
# - find a decoder that charges the language model in the wrong place.

# %%
import itertools
import math

import numpy as np
import torch
from tqdm.auto import tqdm

from lessons import ctc, figures
from lessons.checks import agree, check, use
from lessons.ctc import decode, metrics
from lessons.ctc.alphabet import Alphabet
from lessons.ctc.decode import beam_search_decode
from lessons.ctc.grammar import random_sentence
from lessons.ctc.language_models import CharNGram, GridGrammar, TextLM
from lessons.ctc.metrics import cer, edits, wer
from lessons.data.batch import normalize
from lessons.data.synthetic.talker import synthetic_clips
from lessons.training import checkpoint

# %% [markdown]
# ## 1. Hypothesis and reference
#
# What was really spoken is the **reference** (the ground truth). What a decoder writes is the **hypothesis**.
# Their **edit distance** is the smallest number of substitutions, deletions and insertions that turn the
# reference into the hypothesis. "place" and "lazce" differ at three positions, but two edits are enough. In
# the list below, `None` marks the deletion of `p` and the insertion of `z`:

# %%
print(metrics.edit_distance("place", "lazce"), edits("place", "lazce"))

# %% [markdown]
# Two error rates follow from it:
#
# $$\text{CER} = \frac{\text{edits between characters}}{\text{characters in the references}}, \qquad
#   \text{WER} = \frac{\text{edits between words}}{\text{words in the references}}$$
#
# Both sums run over all sentences of a test set before the division. WER is not the fraction of wrong
# words: insertions count, so it can exceed 100 %.

# %%
spoken = ["bin blue at f two now", "place red in a four soon"]
decoded = ["bin at f f two now", "place red in a four soon"]
print(f"WER {wer(spoken, decoded):.3f} = 2 edits / 12 words")
print(f"'soon' decoded as 's oo n': WER {wer(['soon'], ['s oo n']):.0%}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert metrics.edit_distance("place", "lazce") == 2
assert sum(a != b for a, b in zip("place", "lazce", strict=True)) == 3
assert wer(spoken, decoded) == 2 / 12 and wer(["soon"], ["s oo n"]) == 3

# %% [markdown]
# (You write the edit distance in a deeper section.)

# %% [markdown]
# ## 2. Paths and labels
#
# The smallest example has two frames and two symbols, the blank `-` and the letter `a`. The network gives the
# same distribution in both frames: blank .6, `a` .4.
#
# **Predict.** Which label is more probable, the empty one or "a"?
#
# There are only four paths. This code collapses each path and adds up the probabilities per label:


# %%
def collapse(path):
    """A path such as "a-ab" -> its label "aab": merge equal neighbors, then drop blanks."""
    return "".join(symbol for symbol, _ in itertools.groupby(path) if symbol != "-")


def paths_by_label(frames):
    """frames: one {symbol: probability} per frame -> {label: {path: probability}}, by brute force."""
    labels = {}
    for path in itertools.product(*frames):
        p = math.prod(frame[symbol] for frame, symbol in zip(frames, path, strict=True))
        labels.setdefault(collapse(path), {})["".join(path)] = p
    return labels


def label_probabilities(frames):
    """The exact probability of every label, the most probable first."""
    sums = {label: sum(paths.values()) for label, paths in paths_by_label(frames).items()}
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


# %% tags=["predict"]
unsure = [{"-": 0.6, "a": 0.4}] * 2
figures.path_probabilities(
    paths_by_label(unsure), title="Four paths, two labels; orange: the most probable path"
)

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# "a", with .64. The most probable single path is `--`, with .36, and it collapses to nothing. Three less
# probable paths, `-a`, `a-` and `aa`, all collapse to "a", and their probabilities add up to .64.
#
# </details>
#
# **Greedy decoding** (best-path decoding) takes the most probable class of each frame and collapses the
# result. It finds the most probable path. It ignores all other paths of the same label.


# %%
def greedy_label(frames):
    """The label of the most probable path."""
    return collapse(max(frame, key=frame.get) for frame in frames)


five = [{"-": 0.31, "a": 0.69}] * 5
print(f"the most probable path is aaaaa; greedy decoding writes {greedy_label(five)!r}")

# %% [markdown]
# **Predict.** Now five frames, `a` with .69 in each, and greedy decoding writes "a". Every frame prefers `a`
# to the blank. Is "a" the most probable label?

# %% tags=["predict"]
for label, p in label_probabilities(five).items():
    print(f"{label!r:6} {p:.3f}, number of paths: {len(paths_by_label(five)[label])}")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# No: "aa" is. It needs a blank between two `a`, which no frame prefers, but many paths have one somewhere.
# So greedy decoding drops a letter of a double here, although the network's own distributions favor it. A
# decoder that sums over paths gets it right, without any language model.
#
# </details>
#
# <details><summary><b>Help: "double letters vanish"</b></summary>
#
# "three" comes out as "thre". Look for these causes in this order:
# - The code drops blanks before it merges. The blank between two equal letters keeps them apart.
# - The decoder is greedy. As above, the label with the double letter may be more probable: try beam search.
# - The network itself gives "thre" the higher probability. Compare both labels with `ctc.forward_backward`.
#   If so, only a better network or a language model helps.
#
# </details>

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
exact = label_probabilities(unsure)
assert math.isclose(exact[""], 0.36) and math.isclose(exact["a"], 0.64)
exact = label_probabilities(five)
assert greedy_label(five) == "a" and next(iter(exact)) == "aa"
assert math.isclose(exact["a"], 0.4802, abs_tol=5e-5) and math.isclose(exact["aa"], 0.4853, abs_tol=5e-5)

# %% [markdown]
# ## 3. Prefix beam search
#
# 28 classes and 75 frames give $28^{75}$ paths, too many to enumerate. But after $t$ frames, many paths
# collapse to the same **prefix** of a label, and what follows depends on the prefix and one more fact. So we
# follow prefixes instead of paths, and *add* the probabilities of paths that share one: they are **merged**.
#
# That fact is how the path ends. Take the prefix "a", and let the next symbol be `a` again. If the path
# ends in `a`, the letter is *held*, and the prefix stays "a". If the path ends in a blank, it is a *new*
# letter, and the prefix becomes "aa". So each prefix $\ell$ needs **two numbers**:
#
# $$p^-(\ell): \text{ its paths that end in a blank}, \qquad
#   p^+(\ell): \text{ its paths that end in its last letter.}$$
#
# Let $y(k)$ be the probability of symbol $k$ in the next frame. Each prefix of the old beam contributes to
# prefixes of the new one:
#
# | next symbol | new prefix | contribution |
# |---|---|---|
# | the blank | $\ell$ | $(p^- + p^+)\,y(\text{-})$ to $p^-(\ell)$ |
# | its last letter $c$, held | $\ell$ | $p^+\,y(c)$ to $p^+(\ell)$ |
# | its last letter $c$, new | $\ell c$ | $p^-\,y(c)$ to $p^+(\ell c)$ |
# | another letter $k$ | $\ell k$ | $(p^- + p^+)\,y(k)$ to $p^+(\ell k)$ |
#
# The search starts with the empty prefix and $p^- = 1$, as if a blank stood before the clip.
#
# ### Exercise 1 · `extend_beams` · difficulty ★★★ · 20 minutes
#
# Write the extension of all prefixes by one frame. It is the core of the decoder: from here on, the notebook
# searches with your function. Prefixes are strings, `""` is the empty one.
# - Go through all prefixes and all symbols. Each pair *adds* to an entry of a new dictionary; the last letter
#   adds to two. Another prefix may have contributed to that entry before:
#   `new.get(prefix, (0.0, 0.0))` is what is there already.
# - The empty prefix has no last letter: `""[-1]` is an error, `"".endswith("a")` is False.


# %%
def extend_beams(beams, frame):
    """All prefixes of a beam, one frame later.

    beams: {prefix: (p of its paths that end in a blank, p of those that end in its last letter)}
    frame: {symbol: probability}, one-letter symbols, "-" is the blank; both dictionaries in any order
    Returns a new dictionary like beams, of plain numbers. Nothing is dropped or normalized, but prefixes of
    probability 0 may be left out.
    """
    raise NotImplementedError


check("05.extend_beams", extend_beams)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def extend_beams_solution(beams, frame):
    """Each prefix meets each symbol; contributions to the same prefix add up."""
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
                add(prefix + symbol, 0.0, blank * y)  # new, only after a blank
            else:
                add(prefix + symbol, 0.0, (blank + letter) * y)
    return new


# %%
extend_beams = use("05.extend_beams", extend_beams, extend_beams_solution)

# %% [markdown]
# <details><summary><b>Help: "the beam's probabilities do not sum to 1"</b></summary>
#
# After prefixes were dropped, the sum is below 1, as it must be. If none was dropped:
# - Too little: an entry was overwritten where it should have been added to.
# - Too much: the last letter was counted twice. Held, it takes only paths that end in it; new, only paths
#   that end in a blank.
#
# To see which, give your function a beam of one prefix, and work out the result by hand.
#
# </details>
#
# The number of prefixes grows with every frame. **Beam search** keeps only the `width` most probable ones and
# drops the rest (**pruning**). That is the whole algorithm:


# %%
def prune(candidates, width):
    """The `width` most probable prefixes, the best first."""
    best = sorted(candidates, key=lambda prefix: -sum(candidates[prefix]))[:width]
    return {prefix: candidates[prefix] for prefix in best}


def prefix_beam_search(frames, width):
    """T dictionaries symbol -> probability; returns {label: probability}, the best first."""
    beams = {"": (1.0, 0.0)}
    for frame in frames:
        beams = prune(extend_beams(beams, frame), width)
    return {prefix: sum(ends) for prefix, ends in beams.items()}


found = prefix_beam_search(five, width=3)
print({label: round(p, 3) for label, p in found.items()})

# %% [markdown]
# The double letter is found. If nothing is pruned, prefix beam search must agree with brute force on every
# label. (So does the finished version in `lessons.ctc.decode`, which works with logarithms and arrays. The
# claims check it.)


# %% tags=["hide-input"]
# @title Helper: random_problem, frames with random probabilities { display-mode: "form" }
def random_problem(generator, n_frames=5, symbols="-ab", sharpness=1.0):
    """T dictionaries symbol -> probability."""
    logits = sharpness * torch.randn(n_frames, len(symbols), generator=generator, dtype=torch.float64)
    return [dict(zip(symbols, row, strict=True)) for row in logits.softmax(-1).tolist()]  # (T, V)


# %%
frames = random_problem(torch.Generator().manual_seed(1), n_frames=6)
exact, found = label_probabilities(frames), prefix_beam_search(frames, width=10_000)
values = [torch.tensor([of[label] for label in exact], dtype=torch.float64) for of in (found, exact)]
agree("your search, all labels of 6 frames, and brute force", *values, tolerance=1e-14)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
log_probs = torch.tensor([list(frame.values()) for frame in frames], dtype=torch.float64).log()  # (T, V)
for label, score in beam_search_decode(log_probs, beam_width=10_000):
    assert math.isclose(math.exp(score), exact["".join("-ab"[c] for c in label)], abs_tol=1e-14)

# %% [markdown]
# Now with pruning: four frames, width 3. Each row is a prefix. A bar is as long as the prefix is probable:
# blue for $p^-$, orange for $p^+$. Lines show the contributions from one frame to the next. Where lines of
# two prefixes meet, paths merge (green border).

# %% tags=["hide-input"]
# @title Plot: what the figure needs { display-mode: "form" }


def history(frames, width):
    """All prefixes after each frame, those kept, and the contributions, as figures.beam_search draws them."""
    beams = {"": (1.0, 0.0)}
    columns, kept, flows = [beams], [list(beams)], []
    for frame in frames:
        sent = {parent: extend_beams({parent: ends}, frame) for parent, ends in beams.items()}
        flows.append({(parent, child): sum(e) for parent in sent for child, e in sent[parent].items()})
        columns.append(extend_beams(beams, frame))
        beams = prune(columns[-1], width)
        kept.append(list(beams))
    return columns, kept, flows


def caption(frame):
    return "  ".join(f"{symbol} {p:.2f}".replace("0.", ".") for symbol, p in frame.items())


# %%
rows = [(0.4, 0.5, 0.1), (0.5, 0.3, 0.2), (0.2, 0.5, 0.3), (0.5, 0.1, 0.4)]  # (T, V)
four = [dict(zip("-ab", row, strict=True)) for row in rows]
figures.beam_search(
    *history(four, 3), frames=list(map(caption, four)), width=8, title="Prefix beam search, beam width 3"
)

# %% [markdown]
# Find in the figure:
# - **Merging.** After frame 2, "a" has received contributions from the empty prefix and from itself.
# - **The double letter.** Only the blue part of "a" contributes to "aa".
# - **The cost of pruning.** "ab" is dropped after frame 2 and comes back after frame 3. The paths that had
#   reached it earlier are lost. So the probability that a beam reports is a **lower bound**.
#
# (In a deeper section you can change the beam width and the frames.)

# %%
found, exact = prefix_beam_search(four, width=3), label_probabilities(four)
for label, p in found.items():
    print(f"{label:3} found {p:.3f}, exact {exact[label]:.3f}")
print(f"greedy decoding writes {greedy_label(four)!r}: {exact[greedy_label(four)]:.3f}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert next(iter(prefix_beam_search(five, 3))) == "aa"
assert next(iter(found)) == next(iter(exact)) == "ab" != greedy_label(four) == "aa"
assert all(p <= exact[label] + 1e-12 for label, p in found.items()) and found["ab"] < exact["ab"]
assert round(found["ab"], 3) == 0.276 and round(exact["ab"], 3) == 0.313
columns, kept, flows = history(four, 3)
assert "ab" in columns[2] and "ab" not in kept[2] and "ab" in kept[3]
assert flows[1]["", "a"] > 0 and flows[1]["a", "a"] > 0  # merging
assert math.isclose(flows[2]["a", "aa"], columns[2]["a"][0] * four[2]["a"])  # only the blue part

# %% [markdown]
# ## 4. On a real network: search errors and model errors
#
# Now the lip reader that comes with the course, on 48 clips of the synthetic talker, none of them seen in
# training. To make its task hard, we also add strong noise to the clips, in three random draws.

# %%
model, alphabet = checkpoint.load("lipnet_small_synthetic"), Alphabet()
clips = synthetic_clips(48, seed=5)
references = list(clips.transcripts)
x = normalize(torch.from_numpy(clips.frames))[:, None]  # (48, T, H, W) -> (48, 1, T, H, W), std 1


def log_probs_under_noise(seed):
    noise = 1.5 * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return model(x + noise).log_softmax(-1)  # (T, 48, V)


with torch.no_grad():
    clean = model(x).log_softmax(-1)  # (T, 48, V)
noisy = [log_probs_under_noise(seed) for seed in range(3)]  # three times (T, 48, V)

# %% [markdown]
# The network is confident in most frames, less so under noise. The blank fills the silence before and after
# the sentence. While the mouth speaks, letters follow one another almost without blanks. On whole clips we
# use the finished search, which writes what yours writes, faster. (The helpers `decode_greedily` and
# `decode_with_beam` return the hypotheses of a batch; `to_frames` makes the dictionaries of section 3.)

# %% tags=["hide-input"]
# @title Helper: hypotheses of a batch { display-mode: "form" }
SYMBOLS = ["-", *alphabet.symbols]


def to_frames(log_probs):
    """(T, V) -> T dictionaries symbol -> probability."""
    return [dict(zip(SYMBOLS, row, strict=True)) for row in log_probs.double().exp().tolist()]


def decode_greedily(log_probs):
    """(T, B, V) -> B hypotheses."""
    return [alphabet.decode(label) for label in decode.greedy_decode(log_probs)]


def decode_with_beam(log_probs, **settings):
    """(T, B, V) -> B hypotheses, by the finished prefix beam search."""
    searched = [beam_search_decode(one, **settings) for one in log_probs.unbind(1)]  # each one (T, V)
    return [alphabet.decode(found[0][0]) for found in searched]


# %% [markdown]
# Two kinds of error are at work:
# - a **search error**: the decoder missed the label that is most probable under the network;
# - a **model error**: the most probable label itself is wrong.
#
# `forward_backward` of notebook 04 gives exact label probabilities, so we can count both. **Predict**: under
# noise greedy decoding has a WER of about a third. How much of it does beam search remove?


# %%
def log_prob(log_probs, text):
    """(T, V), text -> its exact log-probability, by the forward recursion of notebook 04."""
    return ctc.forward_backward(log_probs.double(), alphabet.encode(text)).log_likelihood.item()


def count_errors(log_probs):
    """WER of greedy and beam search; clips with a more probable label; wrong clips; model errors."""
    texts = decode_greedily(log_probs), decode_with_beam(log_probs, beam_width=20), references
    greedy, beam, right = (  # log-probabilities of the labels, (B,) each
        np.array([log_prob(log_probs[:, i], text) for i, text in enumerate(of)]) for of in texts
    )
    wrong = np.array(texts[1]) != np.array(references)  # (B,)
    model_errors = wrong & (beam > right)  # (B,): the wrong label is more probable than the reference
    rates = wer(references, texts[0]), wer(references, texts[1])
    return *rates, (beam > greedy + 1e-6).sum(), wrong.sum(), model_errors.sum()


# %% tags=["predict"]
counted = {"clean": count_errors(clean)} | {f"noise {k}": count_errors(noisy[k]) for k in range(3)}
print("         WER greedy   beam   more probable label found   wrong clips   model errors among them")
for name, (greedy, beam, more, wrong, model_errors) in counted.items():
    print(f"{name:8} {greedy:10.0%} {beam:6.0%} {more:16} of 48 {wrong:20} {model_errors:15}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
best_class = clean.argmax(-1)  # (T, 48)
spoken_frames = [path[path.nonzero().min() : path.nonzero().max() + 1] for path in best_class.T]  # 48 paths
within = (torch.cat(spoken_frames) == 0).double().mean()
sure = [(log_probs.exp().amax(-1) > 0.9).double().mean().item() for log_probs in (clean, noisy[0])]
assert sure[0] > 0.85 > sure[1] > 0.7
assert 0.4 < (best_class == 0).double().mean() < 0.6
assert within < 0.05
yours = [next(iter(prefix_beam_search(to_frames(noisy[0][:, i]), width=8))) for i in range(12)]
same = sum(a == b for a, b in zip(yours, decode_with_beam(noisy[0][:, :12], beam_width=8), strict=True))
assert same == 12
for greedy, beam, more, wrong, model_errors in list(counted.values())[1:]:
    assert 10 <= more <= 24 and 0 <= greedy - beam < 0.03 and wrong >= 35 and model_errors == wrong
    assert 0.28 < greedy < 0.4

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Hardly any of it. In about a third of the noisy clips, beam search finds a label that is more probable than
# the greedy one. So search errors are not rare. Yet the WER falls by one percentage point or so, because the
# more probable label is usually wrong, too. In *every* clip that is still wrong, the wrong label is more
# probable than the reference: these are model errors, and no better search can remove them.
#
# </details>
#
# To correct a model error, the decoder needs information that the network does not have: which sentences
# people say.

# %% [markdown]
# ## 5. A language model in the search
#
# A **language model** (LM) gives the probability of the next character, given the characters before it. Two
# come with the course:
# - `CharNGram` counts, in a text corpus, which characters follow each history of $n-1$ characters, and
#   smooths the counts. Here $n = 5$, as in LipNet's decoder, and the corpus has 300 sentences.
# - `GridGrammar` knows the 64,000 sentences of the GRID corpus and forbids everything else ($p = 0$).


# %%
rng = np.random.default_rng(11)
ngram = CharNGram([random_sentence(rng) for _ in range(300)], order=5)
p_ngram, p_grammar = TextLM(ngram), TextLM(GridGrammar())  # p(text, letter): the letter after the text
for text, letter in (("bin ", "b"), ("bin b", "l"), ("bin b", "y")):
    print(
        f"p({letter} | {text!r}): 5-gram {p_ngram(text, letter):.2f}, grammar {p_grammar(text, letter):.2f}"
    )

# %% [markdown]
# ### Where the language model enters
#
# The score of a label $\ell$ has three terms:
#
# $$\text{score}(\ell) = \ln p_{\text{CTC}}(\ell) + \alpha \ln p_{\text{LM}}(\ell) + \beta\, |\ell|$$
#
# The language model weight $\alpha$ and the length bonus $\beta$ are hyperparameters. (These are the names in
# the literature; the α and β of the forward-backward recursion are something else.) Why a bonus? Every
# further character costs $-\alpha \ln p_{\text{LM}} \geq 0$, so a language model favors short labels; $\beta$
# compensates.
#
# The second and third terms are sums over the *characters of the label*. As factors of a probability, each
# character contributes $p_{\text{LM}}(c \mid \text{prefix})^{\alpha}\, e^{\beta}$ **once**.
#
# ### Exercise 2 · `extend_with_lm` · difficulty ★★☆ · 8 minutes
#
# Copy your `extend_beams` and add that factor. Which of the four rows of the table in section 3 add a
# character?


# %%
def extend_with_lm(beams, frame, p_lm, alpha, beta):
    """All prefixes of a beam, one frame later, with the language model and the length bonus.

    beams, frame: as for extend_beams
    p_lm: a function, p_lm(prefix, letter) -> probability (0 is possible) of the letter after the prefix;
        it must not be asked for the blank
    alpha: its weight, at least 0. beta: the bonus per character, in nats; may be negative.
    Returns a new dictionary like beams.
    """
    raise NotImplementedError


check("05.extend_with_lm", extend_with_lm)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def extend_with_lm_solution(beams, frame, p_lm, alpha, beta):
    """As extend_beams; where the prefix grows by a letter, p_lm(letter)^alpha e^beta is a factor."""
    new = {}

    def add(prefix, blank, letter):
        before = new.get(prefix, (0.0, 0.0))
        new[prefix] = (before[0] + blank, before[1] + letter)

    for prefix, (blank, letter) in beams.items():
        for symbol, y in frame.items():
            if symbol == "-":
                add(prefix, (blank + letter) * y, 0.0)
                continue
            grown = blank + letter
            if prefix.endswith(symbol):
                add(prefix, 0.0, letter * y)  # held: no new character, nothing to charge
                grown = blank
            add(prefix + symbol, 0.0, grown * y * p_lm(prefix, symbol) ** alpha * math.exp(beta))
    return new


# %%
extend_with_lm = use("05.extend_with_lm", extend_with_lm, extend_with_lm_solution)

# %% [markdown]
# The search is the old one with your new extension. At the end, the language model is asked once more: how
# probable is it that the text ends here, `p_lm(prefix, "")`?


# %%
def beam_search_with_lm(frames, width, p_lm, alpha, beta, extend=extend_with_lm):
    """{label: e^score}, the best first."""
    beams = {"": (1.0, 0.0)}
    for frame in frames:
        beams = prune(extend(beams, frame, p_lm, alpha, beta), width)
    scores = {prefix: sum(ends) * p_lm(prefix, "") ** alpha for prefix, ends in beams.items()}
    return dict(sorted(scores.items(), key=lambda item: -item[1]))


def toy_lm(prefix, letter):
    """Nine of ten letters differ from the one before; the text may end anywhere."""
    return 1.0 if letter == "" else 0.5 if prefix == "" else 0.1 if prefix[-1] == letter else 0.9


def exact_scores(frames, p_lm, alpha, beta):
    """{label: e^score} by the formula, over all paths."""
    return {
        label: p * math.prod(p_lm(label[:i], c) ** alpha * math.exp(beta) for i, c in enumerate(label))
        for label, p in label_probabilities(frames).items()
    }


exact = exact_scores(frames, toy_lm, 0.5, 1.0)
found = beam_search_with_lm(frames, 10_000, toy_lm, 0.5, 1.0)
values = [torch.tensor([of[label] for label in exact], dtype=torch.float64) for of in (found, exact)]
agree("your search with the LM, all labels of 6 frames, and the formula", *values, tolerance=1e-12)

# %% [markdown]
# Here is one noisy clip, decoded with your search at growing weights. At which weights is the sentence right?
# What goes wrong below them, and what above?

# %% tags=["hide-input"]
# @title Plot: one noisy clip, decoded at growing weights { display-mode: "form" }
clip = 14
one = to_frames(noisy[0][:, clip])


def compare_words(text):
    """Pairs (reference word, hypothesis word) of this clip."""
    return edits(references[clip].split(), text.split())


rows = {"reference": compare_words(references[clip]), "greedy": compare_words(greedy_label(one))}
for alpha in (0.0, 0.25, 0.5, 1.0, 2.0, 4.0):
    text = next(iter(beam_search_with_lm(one, 10, p_ngram, alpha, 0.0)))
    rows[f"α = {alpha:g}, β = 0"] = compare_words(text)
figures.hypotheses(rows, title="One noisy clip: the language model's weight grows")

# %% [markdown]
# ### Tuning the weights
#
# Sweep both on 24 of the noisy clips, and α on the same 24 without noise. The other 24 are **held out** for
# the final numbers: error rates look too good on the clips that the weights were chosen on. **Predict**: does
# the WER fall or rise with α, on noisy and on clean clips?

# %%
ALPHAS, BETAS = (0.0, 0.25, 0.5, 1.0, 2.0), (0.0, 1.5, 3.0)
tuning, held_out = slice(0, 24), slice(24, 48)
sweep = {}  # (clips, alpha, beta) -> WER, characters in the hypotheses per character in the references
runs = [("noisy", noisy[0], a, b) for a in ALPHAS for b in BETAS] + [("clean", clean, a, 0.0) for a in ALPHAS]
for name, log_probs, alpha, beta in tqdm(runs):
    texts = decode_with_beam(log_probs[:, tuning], beam_width=6, lm=ngram, alpha=alpha, beta=beta)
    length = len("".join(texts)) / len("".join(references[tuning]))
    sweep[name, alpha, beta] = wer(references[tuning], texts), length


# %% tags=["hide-input"]
# @title Plot: word error rate over α { display-mode: "form" }
def sweep_in_words():
    told = []
    for name, beta in [*(("noisy", b) for b in BETAS), ("clean", 0.0)]:
        rates = {a: sweep[name, a, beta][0] for a in ALPHAS}
        best = min(ALPHAS, key=rates.get)
        told.append(
            f"{name}, β = {beta:g}: {rates[0.0]:.0%} without a language model, lowest at α = {best:g} with "
            f"{rates[best]:.0%}, {rates[2.0]:.0%} at α = 2"
        )
    return f"Line chart of the word error rate over α, the weight of the language model. {'; '.join(told)}."


def draw_sweep():
    lines = {f"noisy, β = {b:g}": (ALPHAS, [sweep["noisy", a, b][0] for a in ALPHAS]) for b in BETAS}
    figure = figures.curves(
        lines | {"clean, β = 0": (ALPHAS, [sweep["clean", a, 0.0][0] for a in ALPHAS])},
        xlabel="α, weight of the language model", ylabel="word error rate",
        ylim=(0, 0.62), width=6.6, height=3.1, title="WER on the 24 tuning clips",
    )  # fmt: skip
    return figures.describe(figure, sweep_in_words())


# %% tags=["predict"]
draw_sweep()

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# - **Noisy clips**: it falls, then rises. A small weight brings most of the gain; too large a weight
#   overrules the lips.
# - **Clean clips**: there is little to gain and something to lose. The network is nearly always right. Most
#   of the wrong words are single letters, often confused with one that looks the same on the lips, such as p
#   and b (notebook 08). Spelling cannot help there.
# - **β** makes the hypotheses longer. A large β without a language model makes things worse.
#
# </details>
#
# So the weights depend on the network *and* on the quality of the video. LipNet's authors used $\alpha = 1$,
# $\beta = 1.5$ and a beam width of 200. With the pair that has the lowest WER on our noisy tuning clips, the
# held-out clips give, over the three draws of the noise (the grammar has α = 1 and no bonus):

# %%
_, alpha, beta = min((key for key in sweep if key[0] == "noisy"), key=lambda key: sweep[key][0])
decoders = {
    "greedy": decode_greedily,
    "beam": lambda p: decode_with_beam(p, beam_width=20),
    "beam + 5-gram": lambda p: decode_with_beam(p, beam_width=20, lm=ngram, alpha=alpha, beta=beta),
    "beam + grammar": lambda p: decode_with_beam(p, beam_width=20, lm=GridGrammar()),
}
held_out_rates = {
    name: [wer(references[held_out], decoder(p[:, held_out])) for p in noisy]
    for name, decoder in decoders.items()
}
for name, rates in held_out_rates.items():
    print(f"{name:15} WER {np.mean(rates):4.0%}, over three noise draws {min(rates):.0%} to {max(rates):.0%}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
from lessons.data.synthetic.visemes import word_visemes

without = sweep["noisy", 0.0, 0.0][0]
by_alpha = {a: sweep["noisy", a, 0.0][0] for a in ALPHAS}
lengths = {b: sweep["noisy", 0.5, b][1] for b in BETAS}
assert min(by_alpha.values()) < 0.75 * without
assert by_alpha[0.0] - by_alpha[0.25] > 0.5 * (without - min(by_alpha.values()))  # a little does most of it
assert by_alpha[2.0] > min(by_alpha.values()) + 0.02  # too much
assert sweep["clean", 2.0, 0.0][0] > sweep["clean", 0.0, 0.0][0]
assert lengths[0.0] < lengths[1.5] < lengths[3.0] and sweep["noisy", 2.0, 0.0][1] < lengths[0.0]
assert sweep["noisy", 0.0, 3.0][0] > without  # a bonus without a language model
texts = decode_greedily(clean)
pairs = [pair for a, b in zip(references, texts, strict=True) for pair in edits(a.split(), b.split())]
wrong = [a for a, b in pairs if a is not None and a != b]  # words not recognized
assert sum(len(word) == 1 for word in wrong) > 0.5 * len(wrong)  # letters
letters = [(a, b) for a, b in pairs if a != b and a and b and len(a) == len(b) == 1]
assert sum(word_visemes(a) == word_visemes(b) for a, b in letters) > 0.5 * len(letters)  # that look the same
low, high = ({name: f(rates) for name, rates in held_out_rates.items()} for f in (min, max))
assert high["beam + grammar"] < low["beam + 5-gram"] and high["beam + 5-gram"] < low["beam"]

# %% [markdown]
# The more a decoder knows about the language, the fewer errors it makes, **as long as the speaker keeps to
# it**.
#
# <details><summary><b>Help: "beam search is worse than greedy"</b></summary>
#
# Check in this order:
# 1. The beam is narrow *and* there is a language model (measured in a deeper section). Try a width of 20.
# 2. α is too large for how confident your network is. At α = 0, is it at least as good as greedy decoding?
# 3. The language model was estimated on other text (capitals, no spaces, another grammar).
# 4. Compare probabilities, not texts: `forward_backward(...).log_likelihood` of both labels. If the beam's
#    label is more probable and yet wrong, it is a model error.
# 5. If the beam's label is *less* probable in more than a few clips, without a language model, suspect a bug.
#
# </details>

# %% [markdown]
# ## 6. Bug hunt: the language model hurts
#
# A colleague reports: *"My language model makes everything worse, even on clean clips."* Here is the
# colleague's extension. The check is the formula of section 5, for all labels of four frames.


# %%
def extend_suspect(beams, frame, p_lm, alpha, beta):
    new = {}
    for prefix, ends in beams.items():
        fused = {  # network and language model in one distribution
            symbol: y if symbol == "-" else y * p_lm(prefix, symbol) ** alpha * math.exp(beta)
            for symbol, y in frame.items()
        }
        for child, (blank, letter) in extend_beams({prefix: ends}, fused).items():
            before = new.get(child, (0.0, 0.0))
            new[child] = before[0] + blank, before[1] + letter
    return new


exact = exact_scores(frames[:4], toy_lm, 0.5, 1.0)
suspect = beam_search_with_lm(frames[:4], 10_000, toy_lm, 0.5, 1.0, extend_suspect)
right = [label for label in exact if math.isclose(suspect[label], exact[label], rel_tol=1e-9)]
print(f"{len(exact) - len(right)} of {len(exact)} scores are wrong; right are those of {sorted(right)}")

# %% [markdown]
# **Find the bug** before you read on. What do the labels with a right score have in common?
#
# <details><summary><b>Answer</b></summary>
#
# The factor changes the frame's distribution, so a *held* letter is charged, too: once in every frame, and at
# the price of a doubled letter, `p_lm("a", "a")`. A score is right only where no letter can be held: the
# empty label, and the labels that need all four frames ("aab" needs one for the blank).
#
# </details>
#
# The longer a letter is held, the larger the error. Here is a toy clip that says "ab", where each letter
# lasts for 1 to 5 frames. The plot shows how far the score of "ab" is from the formula, in nats.

# %% tags=["hide-input"]
# @title Plot: frames per letter, and the error { display-mode: "form" }
rates, errors = [1, 2, 3, 4, 5], {"yours": [], "suspect": []}
for k in rates:
    toy = [{"-": 0.1, "a": 0.8, "b": 0.1}] * k + [{"-": 0.1, "a": 0.1, "b": 0.8}] * k
    formula = exact_scores(toy, toy_lm, 1.0, 0.0)["ab"]
    for name, extend in (("yours", extend_with_lm), ("suspect", extend_suspect)):
        found = beam_search_with_lm(toy, 10_000, toy_lm, 1.0, 0.0, extend)["ab"]
        errors[name].append(math.log(found / formula))
figures.curves(
    {name: (rates, values) for name, values in errors.items()},
    xlabel="frames per letter", ylabel="error of the score, nats",
    width=6.2, height=2.6, title="The score of “ab” against the formula",
)  # fmt: skip

# %% [markdown]
# The effect on real hypotheses: 4 held-out clips, clean and with the three noise draws, at 25 frames per
# second, and at 50. (We simulate the faster camera by repeating the network's output for each frame.)

# %% tags=["hide-input"]
# @title Plot: word error rates of both at two frame rates { display-mode: "form" }
suspect_rates, suspect_lengths = {}, {}  # the lengths as in the sweep
for name, extend in (("yours", extend_with_lm), ("suspect", extend_suspect)):
    for fps in (25, 50):
        for p in (clean, *noisy):
            repeated = p[:, held_out][:, :4].repeat_interleave(fps // 25, dim=0)  # (T * fps / 25, 4, V)
            texts = [
                next(iter(beam_search_with_lm(to_frames(one_clip), 4, p_ngram, 0.5, 0.0, extend)))
                for one_clip in repeated.unbind(1)
            ]
            rate = wer(references[held_out][:4], texts)
            length = len("".join(texts)) / len("".join(references[held_out][:4]))
            suspect_rates.setdefault(f"{name}, {fps} fps", []).append(rate)
            suspect_lengths.setdefault(f"{name}, {fps} fps", []).append(length)
figures.dot_plot(
    list(suspect_rates),
    {
        "clean": [rates[0] for rates in suspect_rates.values()],
        "noisy, mean of three": [np.mean(rates[1:]) for rates in suspect_rates.values()],
    },
    xlabel="word error rate",
    title="With a language model: your extension and the suspect",
)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
from lessons.ctc import min_frames

assert set(right) == {"", *(label for label in exact if min_frames(list(map("-ab".index, label))) == 4)}
extended = beam_search_with_lm(frames[:4], 10_000, toy_lm, 0.5, 1.0)
assert all(math.isclose(extended[label], exact[label], rel_tol=1e-9) for label in exact) and "aab" in right
assert max(map(abs, errors["yours"])) < 1e-12
assert abs(errors["suspect"][0]) < 1e-12 and errors["suspect"][-1] < -1
assert all(a > b for a, b in itertools.pairwise(errors["suspect"]))
for k in range(4):
    assert suspect_rates["suspect, 25 fps"][k] > suspect_rates["yours, 25 fps"][k] + 0.05
    assert suspect_lengths["suspect, 50 fps"][k] > 1.2 > suspect_lengths["yours, 50 fps"][k]
    assert suspect_rates["suspect, 50 fps"][k] > 1 > suspect_rates["yours, 50 fps"][k] + 0.5

# %% [markdown]
# In the suspect, holding a letter costs more than writing another one. So at 50 frames per second, it writes
# far too many letters, and the WER exceeds 100 %. The language model belongs to the *characters* of a label,
# not to the frames.

# %% [markdown]
# ## Deeper: move the beam, and the weights
#
# In Jupyter or Colab, change the beam width, step through the frames, or edit one frame: choose it, and set
# the odds of `a` and of `b` against the blank. At first all three are equally likely in frame 1.


# %% tags=["hide-input"]
# @title Interaction: beam width, frames read, one frame edited { display-mode: "form" }
def watch_beams(frames_read=4, width=3, edit=1, a=1.0, b=1.0):
    edited = [dict(frame) for frame in four]
    total = 1 + a + b
    edited[edit - 1] = {"-": 1 / total, "a": a / total, "b": b / total}
    names = list(map(caption, edited))
    title = f"Beam width {width}; greedy decoding: “{greedy_label(edited)}”"
    return figures.beam_search(*history(edited, width), frames=names, upto=frames_read, width=8, title=title)


frame_to_edit = [(f"frame {t}", t) for t in (1, 2, 3, 4)]

# %% tags=["nbval-ignore-output"]
# output not compared: the sliders are widgets, which live only while the notebook runs
from ipywidgets import interact

odds = (0.0, 3.0, 0.1)
_ = interact(watch_beams, frames_read=(0, 4), width=(1, 6), edit=frame_to_edit, a=odds, b=odds)

# %% [markdown]
# Decode the noisy clip of section 5 with your own search. Where does the language model start to overrule the
# lips? What does β do at large α?


# %% tags=["hide-input"]
# @title Interaction: the weight of the language model and the length bonus { display-mode: "form" }
def best_four(alpha=0.5, beta=0.0):
    best = itertools.islice(beam_search_with_lm(one, 10, p_ngram, alpha, beta).items(), 4)
    rows = {"reference": compare_words(references[clip])}
    rows |= {f"{k}. score {math.log(p):.1f}": compare_words(text) for k, (text, p) in enumerate(best, 1) if p}
    return figures.hypotheses(rows, title=f"The best four labels, α = {alpha:g}, β = {beta:g}")


# %% tags=["nbval-ignore-output"]
# output not compared: the sliders are widgets, which live only while the notebook runs
_ = interact(best_four, alpha=(0.0, 4.0, 0.25), beta=(-1.0, 4.0, 0.25))

# %% [markdown]
# ## Deeper: write the edit distance
#
# Let $D_{i,j}$ be the edit distance between the first $i$ units of the reference and the first $j$ of the
# hypothesis. In the cheapest alignment, the last unit was deleted, or one was inserted, or the last two are
# paired, which is free if they are equal:
#
# $$D_{i,j} = \min\big(\; D_{i-1,j} + 1,\quad D_{i,j-1} + 1,\quad
#   D_{i-1,j-1} + [\,\text{ref}_i \neq \text{hyp}_j\,] \;\big), \qquad D_{i,0} = i,\; D_{0,j} = j$$
#
# ### Exercise 3 · `edit_distance` · difficulty ★★☆ · 15 minutes
#
# Fill the table of $D$ row by row. Units are compared as they are: a space is a character, an empty string is
# a word, and capitals differ from small letters.


# %%
def edit_distance(reference, hypothesis):
    """Two strings, or two lists or tuples of words -> the fewest edits, an integer."""
    raise NotImplementedError


check("05.edit_distance", edit_distance)


# %% tags=["hide-input"]
# @title Solution { display-mode: "form" }
def edit_distance_solution(reference, hypothesis):
    """Fill the table row by row; the answer is its last corner."""
    D = [[i + j for j in range(len(hypothesis) + 1)] for i in range(len(reference) + 1)]  # edges are right
    for i in range(1, len(reference) + 1):
        for j in range(1, len(hypothesis) + 1):
            paired = D[i - 1][j - 1] + (reference[i - 1] != hypothesis[j - 1])
            D[i][j] = min(D[i - 1][j] + 1, D[i][j - 1] + 1, paired)
    return D[-1][-1]


# %%
edit_distance = use("05.edit_distance", edit_distance, edit_distance_solution)

# %% [markdown]
# Each cell of the table is such a distance. The cheapest path from corner to corner gives the alignment of
# the two texts; `lessons.ctc.metrics.edits` traces it back.


# %%
def table_and_path(reference, hypothesis):
    """The table of distances, and the cells on the cheapest path."""
    table = [
        [int(edit_distance(reference[:i], hypothesis[:j])) for j in range(len(hypothesis) + 1)]
        for i in range(len(reference) + 1)
    ]
    path = [(0, 0)]
    for wanted, found in edits(reference, hypothesis):
        i, j = path[-1]
        path.append((i + (wanted is not None), j + (found is not None)))
    return table, path


figures.edit_table("place", "lazce", *table_and_path("place", "lazce"), title="2 edits")

# %% [markdown]
# <details><summary><b>Help: "WER above 100 %"</b></summary>
#
# Not a bug by itself: the hypothesis has more words than the reference. Print a pair. Spaces in the middle of
# words ("s oo n") come from a network that writes too many spaces, early in training; a large β does the
# same. If the arguments are swapped (hypothesis, reference), the division is by the wrong length.
#
# </details>
#
# <details><summary><b>Help: "the text is right but the word error rate is 100 %"</b></summary>
#
# Print `repr()` of both texts. Usual causes: capitals on one side ("BIN" against "bin"); a list of characters
# where a list of words is expected; all spaces lost (one long word); the whole batch joined into one string.
#
# </details>

# %% [markdown]
# ## Deeper: how to report an error rate
#
# For many sentences there are two averages: **all edits divided by all words** (the usual definition, and
# that of `lessons.ctc.metrics`), or **the mean of the sentences' rates**, in which a short sentence weighs as
# much as a long one. Below are the hypotheses of the course's GRID lip reader for 100 clips of speaker 1
# (a file beside its weights). Every GRID sentence has six words, so both WERs agree; the CERs do
# not. Report the **sentence accuracy**, too: the fraction of sentences without any error.

# %%
import json
from importlib.util import find_spec

file = checkpoint.trained_folder("lipnet_small_grid_s1") / "results.json"
rows = json.loads(file.read_text(encoding="utf-8"))["sentences"]
grid_references, grid_hypotheses = ([row[key] for row in rows] for key in ("said", "greedy"))
pairs = list(zip(grid_references, grid_hypotheses, strict=True))
for name, rate in (("CER", cer), ("WER", wer)):
    mean = np.mean([rate([a], [b]) for a, b in pairs])
    print(f"{name}: corpus {rate(grid_references, grid_hypotheses):.3%}, mean of sentences {mean:.3%}")
accuracy, one_minus = np.mean([a == b for a, b in pairs]), 1 - wer(grid_references, grid_hypotheses)
print(f"1 - WER {one_minus:.1%}, sentence accuracy {accuracy:.0%}; (1 - WER)^6 {one_minus**6:.0%}")
print(f"LipNet: 1 - WER 95.2%; 0.952^6 {0.952**6:.0%}")

# %% [markdown]
# LipNet's famous **95.2 %** is $1 - \text{WER}$ (4.8 %, Table 2, speakers seen in training). It is often
# repeated as "95.2 % of the sentences". If word errors were independent, that WER would mean a sentence
# accuracy of about 74 %. For our lip reader the same estimate is right to within five percentage points.
#
# **Same hypotheses, two word error rates.** Two people score the same 48 noisy hypotheses. The first splits
# them with `split()`, the second with `split(" ")`, as a widely used public lip-reading repository does:


# %%
def wer_split_at_each_space(references, hypotheses):
    pairs = [(a.split(" "), b.split(" ")) for a, b in zip(references, hypotheses, strict=True)]
    return sum(edit_distance(a, b) for a, b in pairs) / sum(len(a) for a, _ in pairs)


texts = decode_greedily(noisy[0])
tidied = [" ".join(text.split()) for text in texts]
print(f"split() {wer(references, texts):.1%}, split(' ') {wer_split_at_each_space(references, texts):.1%}")
print(f"spaces tidied: both {wer_split_at_each_space(references, tidied):.1%}")
print(f"CER {cer(references, texts):.2%}, spaces tidied {cer(references, tidied):.2%}")

# %% [markdown]
# With `split(" ")`, a space at the end, or two in a row, produce an empty "word", which counts as an
# insertion. A difference of a few tenths of a percentage point between two papers may come from this alone.
# Say how you count, or publish the hypotheses, as the course does.
#
# Check our counting, too, against `jiwer`, a widely used tool. It comes with the course's development
# packages; in Colab, run `%pip install jiwer` first. (It strips spaces from both ends before it counts
# characters.)

# %%
if find_spec("jiwer"):
    import jiwer

    rates = []
    for a, b in ((grid_references, grid_hypotheses), (references, texts)):
        rates += [jiwer.wer(a, b) == wer(a, b), jiwer.cer(a, b) == cer(a, [text.strip() for text in b])]
    print("jiwer gives the same rates:", all(rates))
else:
    print("jiwer is not installed here")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert table_and_path("place", "lazce")[0][-1][-1] == 2
cers, wers = (
    (rate(grid_references, grid_hypotheses), np.mean([rate([a], [b]) for a, b in pairs]))
    for rate in (cer, wer)
)
assert math.isclose(*wers, rel_tol=1e-9) and not math.isclose(*cers, rel_tol=1e-3)
assert accuracy < one_minus - 0.1 and abs(one_minus**6 - accuracy) < 0.05 and round(0.952**6, 2) == 0.74
assert wer_split_at_each_space(references, texts) > wer(references, texts)
assert wer_split_at_each_space(references, tidied) == wer(references, tidied) == wer(references, texts)
assert cer(references, tidied) < cer(references, texts)
if find_spec("jiwer"):
    assert all(rates)

# %% [markdown]
# ## Deeper: beam width
#
# How often does a decoder miss the most probable label? On random problems, that depends on the beam width
# and on how confident the network is (a factor on its logits).

# %%
generator = torch.Generator().manual_seed(2)
widths, missed = [1, 2, 4, 8, 16, 32], {}
for name, sharpness in (("soft", 1.0), ("confident", 4.0)):
    problems = [random_problem(generator, 6, "-abc", sharpness) for _ in range(100)]
    best = [next(iter(label_probabilities(p))) for p in problems]
    for width in widths:
        found = [next(iter(prefix_beam_search(p, width))) for p in problems]
        missed.setdefault(name, []).append(np.mean([a != b for a, b in zip(found, best, strict=True)]))
    greedy = np.mean([greedy_label(p) != b for p, b in zip(problems, best, strict=True)])
    print(
        f"{name:9}: greedy misses {greedy:.0%}, width 1 {missed[name][0]:.0%}, "
        f"width 32 {missed[name][-1]:.0%}"
    )
figures.curves(
    {name: (widths, values) for name, values in missed.items()},
    xlabel="beam width", ylabel="best label missed", ylim=(0, 0.7),
    width=6.2, height=2.8, title="Search errors on 100 random problems of 6 frames",
)  # fmt: skip

# %% [markdown]
# On average, a wider beam is better. **Predict**: can a wider beam return a *less* probable label than a
# narrow one? Search for a case, on random problems of three frames (near-ties are left out: there, rounding
# decides what is pruned).


# %%
import random


def closest_call(frames, width):
    """How near the best prefix that was dropped came to the last that was kept: 0 is a tie."""
    columns, _, _ = history(frames, width)
    ranked = [sorted(map(sum, column.values()), reverse=True) for column in columns]
    return min((p[width - 1] - p[width] for p in ranked if len(p) > width), default=1.0)


rng, better, worse = random.Random(0), [], []
for _ in range(1000):
    cuts = [sorted(rng.sample(range(1, 20), 2)) for _ in range(3)]
    frames = [{"-": low / 20, "a": (high - low) / 20, "b": (20 - high) / 20} for low, high in cuts]
    one_wide, two_wide = (next(iter(prefix_beam_search(frames, width))) for width in (1, 2))
    if one_wide != two_wide and min(closest_call(frames, width) for width in (1, 2)) > 0.005:
        exact = label_probabilities(frames)
        case = exact[one_wide] - exact[two_wide], one_wide, two_wide, frames
        (worse if case[0] > 0 else better).append(case)

# %% tags=["predict"]
_, one_wide, two_wide, odd = max(worse, key=lambda case: case[0])
exact = label_probabilities(odd)
print(f"different labels in {len(better) + len(worse)} problems; width 2 is worse in {len(worse)}")
print(f"width 1 finds {one_wide!r}: {exact[one_wide]:.2f}; width 2 finds {two_wide!r}: {exact[two_wide]:.2f}")
figures.beam_search(
    *history(odd, 2), frames=list(map(caption, odd)), width=7, title="The worst case, width 2"
)

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# Yes. A search counts a path only while it keeps **every** prefix that the path goes through. What it reports
# for a label is a lower bound. Here, the wider beam keeps "b" early and finds all of its paths, so the bound
# of "b" rises. The bound of "a" stays low, because "a" was dropped after frame 1, and the paths that had
# reached it are lost. A beam compares lower bounds, and a wider beam may raise the wrong one. Only an
# unpruned beam is guaranteed to be exact.
#
# </details>
#
# On real clips, the width matters most with a language model. A new character is charged at once, but its
# reward comes with the frames after it. By then a narrow beam has dropped the prefix:

# %%
WIDTHS = [1, 2, 4, 8]
by_width = {
    f"{name} {fused}": [
        wer(references[held_out], decode_with_beam(p[:, held_out], beam_width=width, lm=lm, alpha=1.0))
        for width in WIDTHS
    ]
    for name, p in (("clean", clean), ("noisy", noisy[0]))
    for fused, lm in (("without LM", None), ("with 5-gram", ngram))
}
figures.curves(
    {name: (WIDTHS, values) for name, values in by_width.items()},
    xlabel="beam width", ylabel="word error rate", ylim=(0, 0.6),
    width=6.6, height=2.9, title="A language model needs a wide beam",
)  # fmt: skip

# %% [markdown]
# What does a beam cost? This cell measures clips per second, for the network and for the decoders:

# %% tags=["nbval-ignore-output"]
# output not compared: a timing, different on every machine
import time

few = noisy[0][:, :8]  # (T, 8, V)


def clips_per_second(work, n_clips=8):
    work()  # the first call is slower: memory and caches are not ready yet
    clock = time.perf_counter()
    work()
    return n_clips / (time.perf_counter() - clock)


print(f"network {clips_per_second(lambda: model.eval()(x[:8])):,.0f} clips per second")
print(f"greedy  {clips_per_second(lambda: decode.greedy_decode(few)):,.0f}")
for width in (1, 5, 20, 50):
    speed = clips_per_second(lambda width=width: decode_with_beam(few, beam_width=width, lm=ngram))
    print(f"beam width {width:2}, with the 5-gram: {speed:,.0f}")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert missed["soft"][0] > missed["soft"][2] > missed["soft"][-1] and missed["soft"][-1] < 0.05
assert missed["confident"][0] < missed["soft"][0]
assert 0 < len(worse) < len(better)
assert exact[one_wide] > 1.5 * exact[two_wide] and (one_wide, two_wide) == ("a", "b")
columns, kept, _ = history(odd, 2)
assert "a" in columns[1] and "a" not in kept[1] and math.isclose(sum(columns[3]["b"]), exact["b"])
assert sum(columns[3]["a"]) < 0.6 * exact["a"]
for name in ("clean", "noisy"):
    assert by_width[f"{name} with 5-gram"][0] > 1.3 * by_width[f"{name} with 5-gram"][-1]

# %% [markdown]
# ## Deeper: two more ways to go wrong
#
# **A beam search that changes nothing.** This one keeps the best *paths*, and collapses them at the end, as
# beam search does for translation. A report says: *"It writes the same text as greedy decoding, on every
# clip, at every width."* Find the bug before you read on.


# %%
def path_beam_search(frames, width):
    """T dictionaries symbol -> probability; returns [(label, probability)], the best first."""
    paths = [("", 1.0)]
    for frame in frames:
        longer = [(path + symbol, p * y) for path, p in paths for symbol, y in frame.items()]
        paths = sorted(longer, key=lambda item: -item[1])[:width]
    return [(collapse(path), p) for path, p in paths]


print([(label, round(p, 2)) for label, p in path_beam_search(unsure, width=4)])

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# "a" is in the list three times, with .24, .24 and .16. These paths were never **merged**, so the .64 appears
# nowhere. The first entry is the path of the best symbol per frame. It leads after every frame, so at every
# width the result is that of greedy decoding.
#
# </details>
#
# On 100 random problems, with and without merging:

# %%
generator = torch.Generator().manual_seed(4)
problems = [random_problem(generator, n_frames=6) for _ in range(100)]
for width in (1, 10, 100):
    paths = np.mean([path_beam_search(p, width)[0][0] == greedy_label(p) for p in problems])
    prefixes = np.mean([next(iter(prefix_beam_search(p, width))) == greedy_label(p) for p in problems])
    print(f"width {width:3}: same as greedy in {paths:.0%}; with merging in {prefixes:.0%}")

# %% [markdown]
# **A decoder that cannot say "I do not know".** A decoder with GRID's grammar turns any video into a GRID
# sentence. Here is its hypothesis for a clip of pure noise:

# %%
random_gray = torch.randn(1, 1, 75, 32, 64, generator=torch.Generator().manual_seed(1))  # (B, C, T, H, W)
with torch.no_grad():
    (text,) = decode_with_beam(model(random_gray).log_softmax(-1), beam_width=20, lm=GridGrammar())
print(text)

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
from lessons.ctc.grammar import id_from_sentence

found = path_beam_search(unsure, width=4)
assert [label for label, _ in found].count("a") == 3 and found[0][0] == ""
assert paths == 1.0 and prefixes < 1.0
assert len(id_from_sentence(text)) == 6  # raises when it is no sentence of GRID

# %% [markdown]
# ## Deeper: forced alignment
#
# Turn the question around. The sentence is known; **which frames belong to which character?** Of all paths
# that collapse to the sentence, take the most probable. The forward recursion of notebook 04 *summed* over
# the ways into a state of the extended label. Replace the sum by the **maximum**, and remember which way was
# the best: this is the **Viterbi** algorithm. Let $v_{t,s}$ be the log-probability of the best path that is
# in state $s$ at frame $t$:
#
# $$v_{t,s} = \ln y_t(\text{state } s) + \max\big(v_{t-1,s},\; v_{t-1,s-1},\;
#   v_{t-1,s-2} \text{ if it may skip}\big)$$
#
# At the end, trace the remembered choices back from the better of the last two states. `ctc.forced_align`
# does this. On a clean clip and its sentence:

# %%
chosen = next(i for i in range(48) if decode_greedily(clean)[i] == references[i] and "three" in references[i])
frames_of_clip, sentence, log_probs = clips.frames[chosen], references[chosen], clean[:, chosen]  # (T, H, W)
alignment = ctc.forced_align(log_probs, alphabet.encode(sentence))
spans = alignment.spans()  # L times (first frame, one past the last)
starts = [(t, symbol) for (t, _), symbol in zip(spans, sentence, strict=True) if symbol != " "]
figures.filmstrip(
    frames_of_clip, [t for t, _ in starts], [symbol for _, symbol in starts], columns=8, title=sentence
)

# %%
figures.alignment(
    log_probs.exp(), SYMBOLS, alignment.path.tolist(), clips.segments[chosen], width=7.6,
    title="Posteriors and best path; below, the true word timings",
)  # fmt: skip

# %% [markdown]
# Between the two `e` of "three", the path must pass through a blank. The talker is synthetic, so the true
# word timings are known. **Predict** how far the alignment is from them, in frames of 40 ms. The baseline
# spreads the characters evenly over the 75 frames.


# %%
def word_times(spans, text):
    """(first frame, one past the last) of each word."""
    times, position = [], 0
    for word in text.split():
        times.append((spans[position][0], spans[position + len(word) - 1][1]))
        position += len(word) + 1  # and the space
    return np.array(times)  # (words, 2)


offsets, evenly = [], []
for i, text in enumerate(references):
    spoken = np.array([(start, end) for start, end, word in clips.segments[i] if word != "sil"])  # (6, 2)
    aligned = ctc.forced_align(clean[:, i], alphabet.encode(text)).spans()
    offsets.append(word_times(aligned, text) - spoken)
    even = [(75 * k / len(text), 75 * (k + 1) / len(text)) for k in range(len(text))]
    evenly.append(word_times(even, text) - spoken)
offsets, evenly = np.array(offsets), np.array(evenly)  # (48, 6, 2): starts, ends

# %% tags=["predict"]
for name, of in (("alignment", offsets), ("baseline", evenly)):
    start, end = np.abs(of).mean((0, 1))
    print(f"{name}: words start {start:.1f} and end {end:.1f} frames from the truth, on average")
print(f"a word's end, if a space follows: {offsets[:, :-1, 1].mean():+.1f} frames")

# %% [markdown]
# <details><summary><b>Answer</b></summary>
#
# About one frame, although the CTC loss knows only *what* is said, not when. Before you trust an alignment:
# - **This network had a hint.** Its training began with the word timings (notebook 09). CTC alone only asks
#   for the right order, and its peaks may be displaced.
# - **The text is not the sound.** The talker makes no pause between words, but the text has a space there,
#   and the space needs a frame. That frame is missing at the end of the word before: words end early.
# - **It is forced.** It aligns any text that fits, even one that nobody said. The probability reveals it:
#
# </details>

# %%
other = references[(chosen + 1) % 48]
wrong = ctc.forced_align(log_probs, alphabet.encode(other)).log_probability.item()
print(f"best path of the sentence: {alignment.log_probability.item():.0f} nats; of another: {wrong:.0f} nats")

# %% tags=["hide-input"]
# @title Claims { display-mode: "form" }
assert ctc.collapse(alignment.path) == alphabet.encode(sentence).tolist()
first = sentence.index("three") + 3
(_, end_of_one), (start_of_next, _) = spans[first], spans[first + 1]
assert start_of_next > end_of_one and (alignment.path[end_of_one:start_of_next] == 0).all()
assert 0.5 < np.abs(offsets).mean((0, 1)).max() < 1.5 and np.abs(evenly).mean((0, 1)).min() > 5
assert offsets[:, :-1, 1].mean() < -0.5 and np.abs(offsets).max() > 3
assert other != sentence and wrong < alignment.log_probability.item() - 20

# %% [markdown]
# ## Deeper: all prefixes at once
#
# The finished version does what your `extend_beams` and `prune` do, without the two loops. A beam of P
# prefixes and V symbols becomes two arrays: `stay`, (P,), each prefix as it is (a blank, or its letter held),
# and `grow`, (P, V), each prefix longer by each symbol. For frame 2 of the four in section 3:

# %%
beams = prune(extend_beams({"": (1.0, 0.0)}, four[0]), width=3)
prefixes = list(beams)  # P of them
p_blank, p_letter = np.array([list(ends) for ends in beams.values()], dtype=float).T  # (P,) both
y = np.array(list(four[1].values()))  # (V,): the blank, a, b
last = np.array(["-ab".index(prefix[-1:] or "-") for prefix in prefixes])  # (P,), 0 for the empty prefix

stay = (p_blank + p_letter) * y[0] + p_letter * y[last]  # (P,)
grow = (p_blank + p_letter)[:, None] * y  # (P, V)
grow[np.arange(len(prefixes)), last] = p_blank * y[last]  # a new last letter: only after a blank
grow[:, 0] = 0  # nothing grows by a blank

# %% [markdown]
# Some entries are duplicates: the empty prefix `+ a` *is* "a", which has a row of its own. That happens
# exactly when a prefix and its parent (the prefix without its last letter) are both in the beam. Merging
# takes three lines: find the parent's row, add its entry to the child's `stay`, and set the entry to 0.

# %%
parent_row = np.array([prefixes.index(p[:-1]) if p and p[:-1] in prefixes else -1 for p in prefixes])  # (P,)
child = np.flatnonzero(parent_row >= 0)  # rows whose parent is in the beam
meeting = parent_row[child], last[child]  # their duplicates: the parent's row, the child's letter
stay[child] += grow[meeting]
grow[meeting] = 0

merged = dict(zip(prefixes, stay, strict=True))
merged |= {p + "-ab"[k]: grow[row, k] for row, p in enumerate(prefixes) for k in (1, 2) if grow[row, k] > 0}
yours = {p: sum(ends) for p, ends in extend_beams(beams, four[1]).items() if sum(ends) > 0}
values = [torch.tensor([of[p] for p in sorted(yours)], dtype=torch.float64) for of in (yours, merged)]
agree("your extension and the arrays", *values, tolerance=1e-14)

# %% [markdown]
# Here are the same lines in the package. It works with logarithms: products become sums, sums become
# `logaddexp`, and `NEVER` is minus infinity. `stay` is two arrays, one per ending. Prefixes are nodes of a
# tree, so a parent's row is found by its number.

# %%
from lessons.source import show

show(decode.extend_prefixes)

# %% [markdown]
# ## Recap
#
# - WER = edits / words in the references. It counts insertions, so it can exceed 100 %.
# - The probability of a label is the sum over all of its paths. Greedy decoding knows the best path only, and
#   may drop a double letter that the network favors.
# - Prefix beam search keeps two numbers per prefix: paths that end in a blank, and paths that end in its last
#   letter. Paths of the same prefix merge. Unpruned it is exact; pruned, it gives lower bounds.
# - A wider beam corrects search errors, not model errors.
# - A language model is charged once per new character. Its weight α and the length bonus β are
#   hyperparameters that depend on the network and on the video.
#
# ## Glossary
#
# | word | meaning | also called |
# |---|---|---|
# | reference | what was really spoken | ground truth |
# | hypothesis | what a decoder writes | transcript |
# | edit distance | the fewest insertions, deletions and substitutions between two texts | Levenshtein |
# | CER, WER | edits per character, per word of the references | error rates |
# | sentence accuracy | the fraction of sentences without any error | |
# | prefix | the beginning of a label: what a path has collapsed to so far | partial hypothesis |
# | beam, beam width | the prefixes kept after each frame; how many | beam size |
# | prefix beam search | decoding that adds up paths by prefix | CTC beam search |
# | merging | adding up the probabilities of paths with the same prefix | recombination |
# | pruning | dropping all but the best prefixes | |
# | search error | the decoder missed the most probable label | |
# | model error | the most probable label is wrong | |
# | language model | the probability of the next character, given those before it | LM |
# | n-gram | a language model that sees the last n − 1 characters | |
# | shallow fusion | adding a weighted language model score in the search | LM fusion |
# | length bonus | β: a reward per character | insertion bonus |
# | forced alignment | the frames of each character of a known text | |
# | Viterbi algorithm | the best path, by keeping the best way into each state | |
#
# ## Sources
#
# - A. Graves, S. Fernández, F. Gomez, J. Schmidhuber, *Connectionist Temporal Classification*, ICML 2006:
#   best-path decoding. A. Graves, *Supervised Sequence Labeling with Recurrent Neural Networks*, 2012, §7.5:
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
