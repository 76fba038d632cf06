import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lessons.ctc import collapse, forward_backward
from lessons.ctc.alphabet import Alphabet
from lessons.ctc.decode import CharNGram, GridGrammar, beam_search_decode, greedy_decode
from lessons.ctc.grammar import id_from_sentence, random_sentence
from lessons.ctc.language_models import text_log_prob

seeds = st.integers(0, 2**31 - 1)
ALPHABET = Alphabet()
GRAMMAR = GridGrammar()
AB_LM = CharNGram(["ab", "abba", "aab"], order=3, alphabet=Alphabet("ab"))


class OnlyThese:
    """A language model of a few texts, all alike: a state is what has been read."""

    def __init__(self, *texts: tuple[int, ...]) -> None:
        self.texts = texts

    def _count(self, prefix: tuple[int, ...]) -> int:
        return sum(text[: len(prefix)] == prefix for text in self.texts)

    def start(self):
        return ()

    def step(self, state, label):
        longer = (*state, label)
        if not self._count(longer):
            return -math.inf, state
        return math.log(self._count(longer) / self._count(state)), longer

    def end(self, state):
        return -math.log(self._count(state)) if state in self.texts else -math.inf


class OpenEnded(OnlyThese):
    """The same, but a text may stop anywhere: shows which prefix a beam was left with."""

    def end(self, state):
        return 0.0


def random_log_probs(seed: int, *shape: int, scale: float = 2.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(*shape, generator=generator, dtype=torch.float64)).log_softmax(-1)


def every_label(log_probs: torch.Tensor, blank: int = 0) -> dict[tuple[int, ...], float]:
    """Exhaustive search: log p of each label that the frames can spell, summed over its paths."""
    frames, classes = log_probs.shape
    sums: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(classes), repeat=frames):
        label = tuple(collapse(path, blank))
        p = math.exp(log_probs[range(frames), path].sum())
        sums[label] = sums.get(label, 0.0) + p
    return {label: math.log(p) for label, p in sums.items()}


def read(log_probs: torch.Tensor, **kwargs) -> str:
    return ALPHABET.decode(beam_search_decode(log_probs, **kwargs)[0][0])


# ---- greedy ------------------------------------------------------------------------------------------------


@given(seeds, st.integers(0, 8), st.integers(1, 3), st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_greedy_is_the_collapsed_best_path(seed, frames, batch, blank):
    log_probs = random_log_probs(seed, frames, batch, 4)
    lengths = [(seed + i) % (frames + 1) for i in range(batch)]
    found = greedy_decode(log_probs, lengths, blank)
    for i, length in enumerate(lengths):
        assert found[i] == collapse([int(row.argmax()) for row in log_probs[:length, i]], blank)
    assert greedy_decode(log_probs, blank=blank) == greedy_decode(log_probs, [frames] * batch, blank)


def test_the_best_path_may_miss_the_best_label():
    log_probs = torch.tensor([[0.6, 0.4], [0.6, 0.4]], dtype=torch.float64).log()
    assert greedy_decode(log_probs[:, None]) == [[]]  # the path of two blanks: .36
    best, second = beam_search_decode(log_probs)
    assert best[0] == [1]  # but a-, -a and aa make .64
    assert math.exp(best[1]) == pytest.approx(0.64)
    assert math.exp(second[1]) == pytest.approx(0.36)


@pytest.mark.parametrize(
    ("log_probs", "lengths", "message"),
    [
        (torch.zeros(4, 3), None, "expected 3 dimensions"),
        (torch.zeros(4, 2, 3), [4], "lengths is torch.int64 of shape .1,.: expected 2 integers"),
        (torch.zeros(4, 2, 3), [4, 5], "lengths of sample 1 is 5: expected 0 to 4"),
        (torch.full((4, 1, 3), float("nan")), None, "sample 0, frame 0 holds NaN"),
    ],
)
def test_greedy_refuses(log_probs, lengths, message):
    with pytest.raises(ValueError, match=message):
        greedy_decode(log_probs, lengths)


def test_greedy_does_not_read_past_a_length():
    log_probs = random_log_probs(0, 4, 1, 3)
    log_probs[2:] = float("nan")
    assert greedy_decode(log_probs, [2]) == [collapse(log_probs[:2, 0].argmax(1))]


# ---- beam search against exhaustive search -----------------------------------------------------------------


@given(seeds, st.integers(1, 5), st.integers(0, 2), st.floats(-1, 2))
@settings(max_examples=20, deadline=None)
def test_a_wide_beam_is_exhaustive(seed, frames, blank, beta):
    log_probs = random_log_probs(seed, frames, 3)
    expected = {label: p + beta * len(label) for label, p in every_label(log_probs, blank).items()}
    found = beam_search_decode(log_probs, beam_width=10_000, beta=beta, blank=blank)
    assert {tuple(label): score for label, score in found} == pytest.approx(expected, abs=1e-9)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


@given(seeds, st.integers(1, 5), st.floats(0.1, 2), st.floats(-1, 2))
@settings(max_examples=20, deadline=None)
def test_a_wide_beam_with_a_language_model_is_exhaustive(seed, frames, alpha, beta):
    log_probs = random_log_probs(seed, frames, 3)
    expected = {
        label: p + alpha * text_log_prob(AB_LM, label) + beta * len(label)
        for label, p in every_label(log_probs).items()
    }
    found = beam_search_decode(log_probs, 10_000, AB_LM, alpha, beta)
    assert {tuple(label): score for label, score in found} == pytest.approx(expected, abs=1e-9)


@given(seeds, st.integers(1, 6), st.integers(1, 6))
@settings(max_examples=20, deadline=None)
def test_a_narrow_beam_never_promises_too_much(seed, frames, width):
    log_probs = random_log_probs(seed, frames, 4)
    found = beam_search_decode(log_probs, width)
    assert 1 <= len(found) <= width
    assert len({tuple(label) for label, _ in found}) == len(found)  # each prefix once
    for label, score in found:
        assert score <= forward_backward(log_probs, label).log_likelihood.item() + 1e-9


def plain_beam_search(log_probs: torch.Tensor, width: int) -> dict[tuple[int, ...], float]:
    """Prefix beam search with prefixes as tuples in a dictionary: the oracle of what a narrow beam drops."""
    beam = {(): (0.0, -math.inf)}  # prefix -> log p of its paths that end in a blank, and in its last label
    for frame in log_probs.tolist():
        grown: dict[tuple[int, ...], list[list[float]]] = {}
        for prefix, (blank, label) in beam.items():
            both = np.logaddexp(blank, label)
            ways = [(prefix, 0, both + frame[0])]
            if prefix:
                ways.append((prefix, 1, label + frame[prefix[-1]]))
            for new in range(1, len(frame)):
                before = blank if prefix[-1:] == (new,) else both
                ways.append(((*prefix, new), 1, before + frame[new]))
            for after, ends_in, score in ways:
                grown.setdefault(after, [[-math.inf], [-math.inf]])[ends_in].append(score)
        sums = {prefix: tuple(np.logaddexp.reduce(part) for part in parts) for prefix, parts in grown.items()}
        best = sorted(sums, key=lambda prefix: -np.logaddexp(*sums[prefix]))[:width]
        beam = {prefix: sums[prefix] for prefix in best}
    return {prefix: np.logaddexp(*ends) for prefix, ends in beam.items()}


@pytest.mark.parametrize("seed", [126, 161, 226, *range(7)])
def test_a_narrow_beam_keeps_what_the_plain_one_keeps(seed):
    # In the first three seeds a prefix leaves the beam, its child stays, and the prefix comes back.
    log_probs = random_log_probs(seed, 8, 3)
    found = {tuple(label): score for label, score in beam_search_decode(log_probs, 3)}
    assert found == pytest.approx(plain_beam_search(log_probs, 3), abs=1e-9)


def test_a_long_clip_fills_the_tree_many_times_over():
    log_probs = random_log_probs(3, 40, 6, scale=0.5)
    found = beam_search_decode(log_probs, 150)  # some 4,000 prefixes on the way
    plain = plain_beam_search(log_probs, 150)
    assert {tuple(label): score for label, score in found} == pytest.approx(plain, abs=1e-9)


def test_a_clip_is_read_alike_alone_and_after_others():
    rng = np.random.default_rng(1)
    sentences = [random_sentence(rng) for _ in range(4)]
    clips = [spoken(sentence, rng, noise=2.0) for sentence in sentences]
    lm = CharNGram(sentences)
    in_turn = [beam_search_decode(clip, 20, lm, 0.5, 1.0) for clip in clips]
    assert beam_search_decode(clips[-1], 20, CharNGram(sentences), 0.5, 1.0) == in_turn[-1]


def test_alpha_nought_switches_the_language_model_off():
    log_probs = random_log_probs(5, 5, 3)
    assert beam_search_decode(log_probs, lm=OnlyThese((1, 1)), alpha=0.0) == beam_search_decode(log_probs)


@pytest.mark.parametrize("lm", [None, AB_LM])
def test_whole_numbers_do_as_weights(lm):
    log_probs = random_log_probs(5, 5, 3)
    assert beam_search_decode(log_probs, 9, lm, 1, 2) == beam_search_decode(log_probs, 9, lm, 1.0, 2.0)


def test_no_frames_spell_the_empty_label():
    assert beam_search_decode(torch.zeros(0, 3)) == [([], 0.0)]


# ---- a grammar always gets its sentence --------------------------------------------------------------------


@given(seeds, st.integers(1, 5), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_when_the_beam_loses_every_text_the_best_path_of_the_language_answers(seed, frames, width):
    lm = OnlyThese((1, 2, 1), (2, 2), (2,), (1, 1, 2))
    log_probs = random_log_probs(seed, frames, 3, scale=4.0)
    found = beam_search_decode(log_probs, width, lm)
    exact = {
        label: p + text_log_prob(lm, label)
        for label, p in every_label(log_probs).items()
        if label in lm.texts
    }
    for label, score in found:
        assert score <= exact[tuple(label)] + 1e-9
    assert len(found) >= 1


def test_the_answer_of_last_resort_is_the_best_allowed_path():
    lm = OnlyThese((1, 2, 1, 2), (2, 1, 2), (2, 2, 1), (1, 2))
    reached = 0
    for seed in range(24):
        log_probs = random_log_probs(seed, 5, 3)
        (survivor, _), *_ = beam_search_decode(log_probs, 1, OpenEnded(*lm.texts))
        if tuple(survivor) in lm.texts:
            continue  # the beam of one has an answer of its own
        reached += 1
        paths = {
            path: log_probs[range(5), path].sum().item() + text_log_prob(lm, collapse(path))
            for path in itertools.product(range(3), repeat=5)
            if tuple(collapse(path)) in lm.texts
        }
        label = collapse(max(paths, key=paths.get))
        exact = every_label(log_probs)[tuple(label)] + text_log_prob(lm, label)
        assert beam_search_decode(log_probs, 1, lm) == [(label, pytest.approx(exact, abs=1e-9))]
    assert reached >= 8


@pytest.mark.parametrize(("width", "scale"), [(1, 1.0), (5, 6.0), (50, 0.0), (50, 1.0), (100, 6.0)])
def test_the_grammar_reads_only_sentences_even_in_noise(width, scale):
    found = beam_search_decode(random_log_probs(width, 75, 28, scale=scale), width, GRAMMAR)
    assert found
    for label, score in found:
        id_from_sentence(ALPHABET.decode(label))  # grammatical, or this raises
        assert math.isfinite(score)


def test_the_grammar_answers_on_the_blank_plateau():
    log_probs = torch.full((75, 28), -9.0)
    log_probs[:, 0] = 0.0
    sentence = read(log_probs.log_softmax(-1), lm=GRAMMAR)
    id_from_sentence(sentence)


def spoken(sentence: str, rng: np.random.Generator, noise: float) -> torch.Tensor:
    """Log probabilities (75, 28) of a clip: a peak at each character, blanks between, noise over all."""
    logits = noise * rng.standard_normal((75, 28))
    logits[:, 0] += 4
    for frame, label in zip(
        np.linspace(6, 68, len(sentence)).astype(int), ALPHABET.encode(sentence), strict=True
    ):
        logits[frame, label] += 8
    return torch.from_numpy(logits).log_softmax(-1)


def test_knowing_the_language_helps():
    rng = np.random.default_rng(0)
    lm = CharNGram([random_sentence(rng) for _ in range(300)])
    sentences = [random_sentence(rng) for _ in range(5)]
    clips = [spoken(sentence, rng, noise=1.5) for sentence in sentences]
    greedy = [ALPHABET.decode(label) for label in greedy_decode(torch.stack(clips, dim=1))]
    assert greedy != sentences
    right = {
        "without": sum(read(clip) == s for clip, s in zip(clips, sentences, strict=True)),
        "5-gram": sum(read(clip, lm=lm) == s for clip, s in zip(clips, sentences, strict=True)),
        "grammar": sum(read(clip, lm=GRAMMAR) == s for clip, s in zip(clips, sentences, strict=True)),
    }
    assert right["without"] < right["5-gram"]
    assert right["grammar"] >= 4


# ---- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("log_probs", "arguments", "message"),
    [
        (torch.zeros(4, 1, 3), {}, "expected 2 dimensions"),
        (torch.zeros(4, 3), {}, "frame 0 holds probabilities that sum to 3"),
        (torch.full((4, 3), float("nan")), {}, "frame 0 holds NaN"),
        (random_log_probs(0, 4, 3), {"beam_width": 0}, "beam_width is 0"),
        (random_log_probs(0, 4, 3), {"alpha": -1.0}, "alpha is -1.0"),
        (random_log_probs(0, 19, 28), {"lm": GRAMMAR}, "fits 19 frames"),
        (random_log_probs(0, 2, 3), {"lm": OnlyThese((1, 1))}, "no text that the language model allows"),
        (torch.zeros(0, 28), {"lm": GRAMMAR}, "fits 0 frames"),
    ],
)
def test_beam_search_refuses(log_probs, arguments, message):
    with pytest.raises(ValueError, match=message):
        beam_search_decode(log_probs, **arguments)


@pytest.mark.parametrize("blank", [-1, 3])
def test_a_blank_that_is_no_class_is_refused_by_every_decoder(blank):
    with pytest.raises(ValueError, match=f"blank is {blank}: expected one of the 3 classes"):
        greedy_decode(random_log_probs(0, 4, 1, 3), blank=blank)
    with pytest.raises(ValueError, match=f"blank is {blank}: expected one of the 3 classes"):
        beam_search_decode(random_log_probs(0, 4, 3), blank=blank)


@pytest.mark.parametrize("decode", [greedy_decode, beam_search_decode])
def test_no_tensor_is_refused(decode):
    with pytest.raises(TypeError, match="log_probs is a list: expected a tensor"):
        decode([[0.0, 1.0]])


@pytest.mark.parametrize("weights", [{"alpha": math.nan}, {"alpha": math.inf}, {"beta": math.nan}])
def test_weights_that_are_no_numbers_are_refused(weights):
    with pytest.raises(ValueError, match="expected a finite number"):
        beam_search_decode(random_log_probs(0, 4, 3), lm=GRAMMAR, **weights)


def test_a_language_model_that_returns_nan_is_named():
    class Broken:
        def start(self):
            return ()

        def step(self, state, label):
            return math.nan, ()

        def end(self, state):
            return 0.0

    with pytest.raises(ValueError, match=r"the language model's step\(\(\), 1\) returns NaN"):
        beam_search_decode(random_log_probs(0, 4, 3), lm=Broken())
