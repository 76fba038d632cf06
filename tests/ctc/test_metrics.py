from functools import cache

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lessons.ctc.metrics import cer, edit_distance, edits, wer

letters = st.text(alphabet="abc", max_size=7)
sentences = st.lists(st.text(alphabet="ab", min_size=1, max_size=3), min_size=1, max_size=6).map(" ".join)
corpora = st.lists(st.tuples(sentences, sentences), min_size=1, max_size=5)


def by_recursion(reference: str, hypothesis: str) -> int:
    """The definition, word for word: the oracle of the table."""

    @cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        substitution = distance(i - 1, j - 1) + (reference[i - 1] != hypothesis[j - 1])
        return min(substitution, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(reference), len(hypothesis))


@pytest.mark.parametrize(
    ("reference", "hypothesis", "edits"),
    [
        ("kitten", "sitting", 3),
        ("", "abc", 3),
        ("abc", "", 3),
        ("", "", 0),
        ("ab", "ba", 2),
        ("flaw", "lawn", 2),
    ],
)
def test_known_distances(reference, hypothesis, edits):
    assert edit_distance(reference, hypothesis) == edits


@given(letters, letters)
def test_distance_is_its_definition(reference, hypothesis):
    assert edit_distance(reference, hypothesis) == by_recursion(reference, hypothesis)


@given(corpora)
@settings(max_examples=60)
def test_rates_agree_with_jiwer(pairs):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    assert cer(references, hypotheses) == pytest.approx(jiwer.cer(references, hypotheses), abs=1e-12)
    assert wer(references, hypotheses) == pytest.approx(jiwer.wer(references, hypotheses), abs=1e-12)


def test_a_corpus_rate_is_not_the_mean_of_its_sentences_rates():
    references = ["a", "bin blue at"]
    hypotheses = ["b", "bin blue at"]
    assert wer(references, hypotheses) == 1 / 4  # the mean of the sentences' rates is 1 / 2
    assert cer(references, hypotheses) == 1 / 12


def test_words_are_between_white_space_and_characters_are_as_given():
    assert wer(["bin  blue"], [" bin blue "]) == 0
    assert cer(["bin  blue"], ["bin blue"]) == 1 / 9


def test_empty_texts():
    assert wer(["bin blue"], [""]) == 1
    assert wer(["", "bin blue"], ["lay", "bin blue"]) == 1 / 2
    assert cer(["", "ab"], ["xyz", "ab"]) == 3 / 2
    with pytest.raises(ValueError, match="hold no character"):
        cer([""], ["a"])
    with pytest.raises(ValueError, match="hold no word"):
        wer([" "], ["a"])
    with pytest.raises(ValueError, match="hold no word"):
        wer([], [])


def test_lists_of_different_length():
    with pytest.raises(ValueError, match="2 references but 1 hypotheses"):
        wer(["a", "b"], ["a"])


@given(letters, letters)
def test_edits_tell_both_stories_at_the_least_cost(reference, hypothesis):
    pairs = edits(reference, hypothesis)
    assert "".join(wanted for wanted, _ in pairs if wanted is not None) == reference
    assert "".join(found for _, found in pairs if found is not None) == hypothesis
    assert (None, None) not in pairs
    assert sum(wanted != found for wanted, found in pairs) == edit_distance(reference, hypothesis)


@pytest.mark.parametrize(
    ("said", "read", "pairs"),
    [
        ("at b two", "at b two", [("at", "at"), ("b", "b"), ("two", "two")]),
        ("at b two", "at two", [("at", "at"), ("b", None), ("two", "two")]),
        ("at b two", "at p two", [("at", "at"), ("b", "p"), ("two", "two")]),
        ("at two", "at b two", [("at", "at"), (None, "b"), ("two", "two")]),
        ("at", "", [("at", None)]),
        ("", "", []),
    ],
)
def test_edits_of_words(said, read, pairs):
    assert edits(said.split(), read.split()) == pairs


def test_two_strings_are_one_sentence():
    assert wer("set blue at b two now", "set blue at d two now") == 1 / 6
    assert cer("bin", "pin") == 1 / 3


@pytest.mark.parametrize("rate", [cer, wer])
def test_a_string_and_a_list_are_refused(rate):
    with pytest.raises(TypeError, match="references is a str, hypotheses a list: expected two strings"):
        rate("bin", ["bin"])
