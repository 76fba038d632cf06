import itertools

import numpy as np
import pytest

from lessons.ctc import grammar
from lessons.ctc.alphabet import Alphabet


def test_the_corpus_has_51_words_and_64000_sentences():
    assert [len(slot) for slot in grammar.SLOTS] == [4, 4, 4, 25, 10, 4]
    words = set().union(*grammar.SLOTS)
    assert len(words) == 51
    assert "w" not in grammar.LETTERS
    Alphabet().encode(" ".join(sorted(words)))  # all of it can be written


@pytest.mark.parametrize(
    ("clip_id", "sentence"),
    [
        ("bbaf2n", "bin blue at f two now"),
        ("lrwz9s", "lay red with z nine soon"),
        ("pgbazp", "place green by a zero please"),
        ("swiv1a", "set white in v one again"),
    ],
)
def test_clip_ids_spell_sentences(clip_id, sentence):
    assert grammar.sentence_from_id(clip_id) == sentence
    assert grammar.id_from_sentence(sentence) == clip_id


def test_ids_and_sentences_are_one_to_one():
    ids = set()
    for words in itertools.product(*grammar.SLOTS):
        sentence = " ".join(words)
        clip_id = grammar.id_from_sentence(sentence)
        assert grammar.sentence_from_id(clip_id) == sentence
        ids.add(clip_id)
    assert len(ids) == 64_000


@pytest.mark.parametrize(
    ("clip_id", "message"),
    [
        ("bbaf2", "has 5 characters: expected 6"),
        ("bbaw2n", "'w' is no letter"),
        ("bbaf0n", "'0' is no digit: expected one of 'z123456789'"),
        ("BBAF2N", "'B' is no command"),
    ],
)
def test_ids_that_are_none(clip_id, message):
    with pytest.raises(ValueError, match=message):
        grammar.sentence_from_id(clip_id)


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        ("bin blue at f two", "has 5 words: expected 6"),
        ("bin blue at w two now", "'w' is no letter"),
        ("blue bin at f two now", "'blue' is no command"),
    ],
)
def test_sentences_that_are_none(sentence, message):
    with pytest.raises(ValueError, match=message):
        grammar.id_from_sentence(sentence)


def test_random_sentences_are_the_generators_and_use_every_word():
    draw = [grammar.random_sentence(np.random.default_rng(7)) for _ in range(2)]
    assert draw[0] == draw[1]
    rng = np.random.default_rng(0)
    sentences = [grammar.random_sentence(rng) for _ in range(600)]
    for sentence in sentences:
        grammar.id_from_sentence(sentence)  # grammatical, or this raises
    assert {word for sentence in sentences for word in sentence.split()} == set().union(*grammar.SLOTS)
