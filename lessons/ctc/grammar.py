"""The language of the GRID corpus: six words, one from each slot, 64,000 sentences in all.

Source: Cooke, Barker, Cunningham, Shao, "An audio-visual corpus for speech perception and automatic speech
recognition", JASA 120(5), 2006, Table I. The letter w is left out: its name alone has several syllables.
"""

from __future__ import annotations

import numpy as np

COMMANDS = ("bin", "lay", "place", "set")
COLORS = ("blue", "green", "red", "white")
PREPOSITIONS = ("at", "by", "in", "with")
LETTERS = tuple("abcdefghijklmnopqrstuvxyz")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ADVERBS = ("again", "now", "please", "soon")

SLOTS = (COMMANDS, COLORS, PREPOSITIONS, LETTERS, DIGITS, ADVERBS)
SLOT_NAMES = ("command", "color", "preposition", "letter", "digit", "adverb")

# A clip's name holds one character a slot: the word's first letter, and for digits z, 1 .. 9.
_CODES = tuple("z123456789" if slot is DIGITS else "".join(word[0] for word in slot) for slot in SLOTS)


def sentence_from_id(clip_id: str) -> str:
    """Return the sentence that a GRID clip's name spells: ``bbaf2n`` is "bin blue at f two now".

    Raises:
        ValueError: when the name has not six characters or one is not a code of its slot.
    """
    if len(clip_id) != len(SLOTS):
        raise ValueError(
            f"clip id {clip_id!r} has {len(clip_id)} characters: expected {len(SLOTS)}, as in 'bbaf2n'"
        )
    words = []
    for character, name, slot, codes in zip(clip_id, SLOT_NAMES, SLOTS, _CODES, strict=True):
        if character not in codes:
            raise ValueError(f"clip id {clip_id!r}: {character!r} is no {name}: expected one of {codes!r}")
        words.append(slot[codes.index(character)])
    return " ".join(words)


def id_from_sentence(sentence: str) -> str:
    """Return the clip name that spells ``sentence``: the inverse of ``sentence_from_id``.

    Raises:
        ValueError: when the sentence has not six words or one does not belong to its slot.
    """
    words = sentence.split()
    if len(words) != len(SLOTS):
        raise ValueError(f"sentence {sentence!r} has {len(words)} words: expected {len(SLOTS)}")
    characters = []
    for word, name, slot, codes in zip(words, SLOT_NAMES, SLOTS, _CODES, strict=True):
        if word not in slot:
            raise ValueError(
                f"sentence {sentence!r}: {word!r} is no {name}: expected one of {', '.join(slot)}"
            )
        characters.append(codes[slot.index(word)])
    return "".join(characters)


def random_sentence(rng: np.random.Generator) -> str:
    """Return one of the 64,000 sentences, all equally likely."""
    return " ".join(slot[rng.integers(len(slot))] for slot in SLOTS)
