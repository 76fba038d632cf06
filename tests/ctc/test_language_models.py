import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lessons.ctc.alphabet import Alphabet
from lessons.ctc.automaton import Automaton, automaton
from lessons.ctc.grammar import LETTERS, SLOTS, random_sentence
from lessons.ctc.language_models import CharNGram, GridGrammar, TextLM, text_log_prob

AB = Alphabet("ab")
texts = st.text(alphabet="ab", max_size=6)


def counted(sentences: list[str], order: int, history: str, character: str) -> float:
    """Witten-Bell by the formula, on strings: the oracle. "|" is the edge of a text."""
    shorter = counted(sentences, order, history[1:], character) if history else 1 / 3
    after = [
        text[i]
        for text in (f"|{sentence}|" for sentence in sentences)
        for i in range(1, len(text))
        if text[:i].endswith(history)
    ]
    if not after:
        return shorter
    return (after.count(character) + len(set(after)) * shorter) / (len(after) + len(set(after)))


@given(st.lists(texts, min_size=1, max_size=4), st.integers(1, 4), texts)
@settings(max_examples=60, deadline=None)
def test_ngram_is_its_formula(sentences, order, text):
    lm = CharNGram(sentences, order, AB)
    state, read = lm.start(), "|"
    for label in AB.encode(text).tolist():
        history = read[max(0, len(read) - order + 1) :]
        log_prob, following = lm.step(state, label)
        assert log_prob == pytest.approx(math.log(counted(sentences, order, history, AB.decode([label]))))
        everything = [math.exp(lm.step(state, other)[0]) for other in (1, 2)] + [math.exp(lm.end(state))]
        assert sum(everything) == pytest.approx(1)
        state, read = following, read + AB.decode([label])
    history = read[max(0, len(read) - order + 1) :]
    assert lm.end(state) == pytest.approx(math.log(counted(sentences, order, history, "|")))


def test_ngram_by_hand():
    lm = CharNGram(["aab"], order=2, alphabet=AB)
    # No history: a, a, b, edge were seen, 3 kinds: p(a) = (2 + 3/3) / (4 + 3), the others (1 + 3/3) / 7.
    # After a: a once, b once, 2 kinds: p(a | a) = (1 + 2 * 3/7) / (2 + 2).
    _, after_a = lm.step(lm.start(), 1)
    assert math.exp(lm.step(after_a, 1)[0]) == pytest.approx((1 + 2 * 3 / 7) / 4)
    assert math.exp(lm.end(after_a)) == pytest.approx((0 + 2 * 2 / 7) / 4)


def test_ngram_knows_english_from_noise():
    rng = np.random.default_rng(0)
    lm = CharNGram([random_sentence(rng) for _ in range(200)], order=5)
    encode = Alphabet().encode
    assert text_log_prob(lm, encode("bin blue at f two now").tolist()) > -25
    assert text_log_prob(lm, encode("nib eulb ta f owt won").tolist()) < -60


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sentences": []}, "expected a list of at least one text"),
        ({"sentences": "ab"}, "sentences is 'ab': expected a list"),
        ({"sentences": ["ab"], "order": 0}, "order is 0: expected at least 1"),
        ({"sentences": ["abc"]}, "character 'c' at position 2"),
    ],
)
def test_bad_ngrams(arguments, message):
    with pytest.raises(ValueError, match=message):
        CharNGram(**arguments, alphabet=AB)


def test_ngram_has_no_blank():
    lm = CharNGram(["ab"], alphabet=AB)
    with pytest.raises(ValueError, match="label is 0: expected a character, 1 to 2"):
        lm.step(lm.start(), 0)


def test_the_grammar_allows_its_64000_sentences_alike_and_nothing_else():
    lm = GridGrammar()
    texts_from, mass_from = {}, {}

    def walk(state) -> tuple[int, float]:
        """How many texts begin in a state, and their total probability; equal states are walked once."""
        if state not in texts_from:
            ways, mass = (1, math.exp(lm.end(state))) if lm.end(state) > -math.inf else (0, 0.0)
            for label in range(1, 28):
                log_prob, following = lm.step(state, label)
                if log_prob > -math.inf:
                    more, weight = walk(following)
                    ways, mass = ways + more, mass + math.exp(log_prob) * weight
            texts_from[state], mass_from[state] = ways, mass
        return texts_from[state], mass_from[state]

    ways, mass = walk(lm.start())
    assert ways == 64_000
    assert mass == pytest.approx(1)
    for words in itertools.islice(itertools.product(*SLOTS), 0, None, 997):
        labels = Alphabet().encode(" ".join(words)).tolist()
        assert text_log_prob(lm, labels) == pytest.approx(-math.log(64_000))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bin blue at f two",
        "bin blue at f two ",
        "bin blue at f two now ",
        "bin  blue at f two now",
        " bin blue at f two now",
        "bin blue at w two now",
        "blue bin at f two now",
        "bin blue at f two no",
        "binblue at f two now",
    ],
)
def test_the_grammar_forbids(text):
    assert text_log_prob(GridGrammar(), Alphabet().encode(text).tolist()) == -math.inf


def test_the_grammars_letters_are_alike():
    lm = GridGrammar()
    state = lm.start()
    for label in Alphabet().encode("bin blue at ").tolist():
        _, state = lm.step(state, label)
    for letter in LETTERS:
        assert lm.step(state, Alphabet().encode(letter).item())[0] == pytest.approx(-math.log(25))


# ---- as a table --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["grammar", "1-gram", "4-gram"])
def test_the_table_says_what_the_model_says(name):
    rng = np.random.default_rng(0)
    sentences = [random_sentence(rng) for _ in range(40)]
    lm = GridGrammar() if name == "grammar" else CharNGram(sentences, order=int(name[0]))
    table = Automaton(lm, classes=28)
    met = set()
    for sentence in sentences:  # hundreds of states: the table grows on the way
        state, number = lm.start(), table.START
        for label in Alphabet().encode(sentence).tolist():
            (row,) = table.log_probs(np.array([number]))  # (1, V)
            assert row[0] == -math.inf
            assert row[1:].tolist() == [lm.step(state, other)[0] for other in range(1, 28)]
            arcs = table.arcs(number)
            assert [arc[0] for arc in arcs] == np.flatnonzero(row > -math.inf).tolist()
            assert all(p == row[k] and after == table.after(number, k) for k, p, after in arcs)
            _, state = lm.step(state, label)
            number = int(table.after(np.array([number]), np.array([label]))[0])
            assert table.end(number) == lm.end(state)
            met.add(number)
    assert len(met) > 64 or name == "1-gram"


def test_each_class_of_a_state_is_asked_once():
    asked = []

    class Listening(CharNGram):
        def step(self, state, label):
            asked.append((state, label))
            return super().step(state, label)

    lm = Listening(["ab", "ba"], order=2, alphabet=AB)
    table = automaton(lm, 3, 0)
    for _ in range(2):
        table.log_probs(np.array([0, 0, 0]))
        state = table.after(np.array([0, 0]), np.array([1, 2]))
        table.log_probs(state)
    assert len(asked) == len(set(asked)) == 2 * 3  # two classes; states: start, after a, after b
    assert automaton(lm, 3, 0) is table and automaton(lm, 3, 1) is not table


def test_a_model_as_a_function_of_text_gives_the_same_probabilities_in_any_order_of_asking():
    for lm, text in ((CharNGram(["bin blue", "bin by"]), "bin bl"), (GridGrammar(), "bin blue at f two now")):
        p = TextLM(lm)
        last = p(text[:-1], text[-1])  # asked before anything shorter
        product = math.prod(p(text[:i], character) for i, character in enumerate(text)) * p(text, "")
        expected = text_log_prob(lm, Alphabet().encode(text).tolist())
        assert product == pytest.approx(math.exp(expected)) and p(text[:-1], text[-1]) == last
    assert TextLM(GridGrammar())("bin", "z") == 0.0
