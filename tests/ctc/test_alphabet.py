import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lessons.ctc.alphabet import Alphabet


def test_the_default_has_lipnets_28_classes():
    alphabet = Alphabet()
    assert len(alphabet) == 28
    assert alphabet.blank == 0
    assert alphabet.encode(" az").tolist() == [1, 2, 27]
    assert alphabet.encode("bin").dtype == torch.long


@given(st.text(alphabet=Alphabet().symbols))
def test_decode_undoes_encode(text):
    alphabet = Alphabet()
    labels = alphabet.encode(text)
    assert labels.shape == (len(text),)
    assert alphabet.decode(labels) == text
    assert alphabet.decode(labels.tolist()) == text


@given(st.text())
def test_any_text_is_encoded_or_refused_with_its_first_bad_character(text):
    alphabet = Alphabet()
    bad = [(i, c) for i, c in enumerate(text) if c not in alphabet.symbols]
    if not bad:
        assert alphabet.decode(alphabet.encode(text)) == text
        return
    with pytest.raises(ValueError) as error:
        alphabet.encode(text)
    position, character = bad[0]
    assert f"character {character!r} at position {position}" in str(error.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([2, 0], "class 0 at position 1 is the blank"),
        ([28], "class 28 at position 0 is outside the alphabet: expected 1 to 27"),
        ([3, 3, -1], "class -1 at position 2"),
    ],
)
def test_decode_refuses_what_is_no_character(labels, message):
    with pytest.raises(ValueError, match=message):
        Alphabet().decode(labels)


def test_another_alphabet():
    alphabet = Alphabet("ab'")
    assert len(alphabet) == 4
    assert alphabet.decode(alphabet.encode("b'a")) == "b'a"
    with pytest.raises(ValueError, match="repeats 'a' at position 2"):
        Alphabet("aba")
    with pytest.raises(ValueError, match="empty"):
        Alphabet("")
