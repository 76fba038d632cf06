"""From words to what a mouth shows: phonemes, visemes, and the shapes that the lips pass through.

A viseme is what phonemes that look alike have in common (C. G. Fisher, "Confusions among visually perceived
consonants", Journal of Speech and Hearing Research 11, 1968). There is no agreed list. This one is ours, made
for the 51 words of GRID. It puts together what looks alike on nearly every face (p b m; f v; th; t d n s z;
ch j; w r) and is generous elsewhere: it lets /l/ show the tip of the tongue, and /k g/ a mouth ajar.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

# How a southern British speaker says the words of GRID, in ARPAbet without stress marks: "r" and "four" end
# without an r, and z is "zed".
LEXICON: dict[str, str] = {
    "bin": "B IH N", "lay": "L EY", "place": "P L EY S", "set": "S EH T",
    "blue": "B L UW", "green": "G R IY N", "red": "R EH D", "white": "W AY T",
    "at": "AE T", "by": "B AY", "in": "IH N", "with": "W IH DH",
    "a": "EY", "b": "B IY", "c": "S IY", "d": "D IY", "e": "IY", "f": "EH F", "g": "JH IY", "h": "EY CH",
    "i": "AY", "j": "JH EY", "k": "K EY", "l": "EH L", "m": "EH M", "n": "EH N", "o": "OW", "p": "P IY",
    "q": "K Y UW", "r": "AA", "s": "EH S", "t": "T IY", "u": "Y UW", "v": "V IY", "x": "EH K S", "y": "W AY",
    "z": "Z EH D",
    "zero": "Z IH R OW", "one": "W AH N", "two": "T UW", "three": "TH R IY", "four": "F AO",
    "five": "F AY V", "six": "S IH K S", "seven": "S EH V AH N", "eight": "EY T", "nine": "N AY N",
    "again": "AH G EH N", "now": "N AW", "please": "P L IY Z", "soon": "S UW N",
}  # fmt: skip

# A diphthong glides from one vowel to another, so it shows two visemes.
PHONEME_TO_VISEMES: dict[str, tuple[str, ...]] = {
    "P": ("p",), "B": ("p",), "M": ("p",),
    "F": ("f",), "V": ("f",),
    "TH": ("th",), "DH": ("th",),
    "T": ("t",), "D": ("t",), "N": ("t",), "S": ("t",), "Z": ("t",),
    "L": ("l",),
    "K": ("k",), "G": ("k",),
    "CH": ("sh",), "JH": ("sh",),
    "W": ("w",), "R": ("w",),
    "IY": ("ee",), "Y": ("ee",),
    "IH": ("ih",),
    "EH": ("eh",), "AE": ("eh",),
    "AH": ("uh",),
    "AA": ("ah",),
    "AO": ("aw",),
    "UW": ("oo",),
    "EY": ("eh", "ee"), "AY": ("ah", "ee"), "AW": ("ah", "oo"), "OW": ("aw", "oo"),
}  # fmt: skip

SILENCE = "sil"
SHAPE = ("opening", "width", "rounding", "upper_teeth", "lower_teeth", "tongue", "tongue_out", "tuck")


class Viseme(NamedTuple):
    """What the mouth aims at, how firmly, and for how long.

    opening: gap between the lips; 0 they touch, 1 wide open, below 0 they press and grow thin.
    width: of the mouth, 1 at rest.
    rounding: 0 flat .. 1 pushed forward, the gap a circle.
    upper_teeth, lower_teeth, tongue: how much of the gap they cover, 0 .. 1.
    tongue_out: 1 when the tip of the tongue lies between the teeth.
    tuck: 1 when the lower lip is drawn in under the upper teeth.
    firm: how strongly it insists on opening, teeth and tongue against its neighbors.
    firm_lips: the same for width and rounding; a t takes the lips of the vowel beside it, a w does not.
    length: in lengths of a plain vowel.
    """

    opening: float
    width: float
    rounding: float
    upper_teeth: float
    lower_teeth: float
    tongue: float
    tongue_out: float
    tuck: float
    firm: float
    firm_lips: float
    length: float


VISEMES: dict[str, Viseme] = {
    #             open  width round upper lower tongue out  tuck  firm lips length
    "sil": Viseme(0.00, 1.00, 0.0, 0.30, 0.00, 0.20, 0.0, 0.0, 1.0, 0.5, 0.0),
    "p": Viseme(-0.60, 0.98, 0.0, 0.30, 0.00, 0.20, 0.0, 0.0, 4.0, 0.3, 1.1),
    "f": Viseme(0.24, 0.96, 0.0, 1.00, 0.00, 0.00, 0.0, 1.0, 4.0, 0.6, 1.1),
    "th": Viseme(0.38, 1.00, 0.0, 0.28, 0.00, 0.72, 1.0, 0.0, 3.0, 0.4, 1.1),
    "t": Viseme(0.24, 1.02, 0.0, 0.46, 0.40, 0.00, 0.0, 0.0, 2.0, 0.3, 0.9),
    "l": Viseme(0.50, 1.00, 0.0, 0.22, 0.00, 0.74, 0.0, 0.0, 2.0, 0.3, 0.9),
    "k": Viseme(0.32, 1.00, 0.0, 0.10, 0.00, 0.00, 0.0, 0.0, 1.5, 0.2, 0.8),
    "sh": Viseme(0.42, 0.74, 0.8, 0.48, 0.38, 0.00, 0.0, 0.0, 2.0, 1.5, 1.1),
    "w": Viseme(0.10, 0.56, 1.0, 0.00, 0.00, 0.00, 0.0, 0.0, 2.0, 2.0, 1.0),
    "ee": Viseme(0.40, 1.20, 0.0, 0.50, 0.00, 0.20, 0.0, 0.0, 1.0, 1.0, 1.0),
    "ih": Viseme(0.44, 1.06, 0.0, 0.42, 0.00, 0.35, 0.0, 0.0, 1.0, 0.8, 0.9),
    "eh": Viseme(0.64, 1.08, 0.0, 0.32, 0.00, 0.35, 0.0, 0.0, 1.0, 0.8, 1.0),
    "uh": Viseme(0.66, 0.96, 0.2, 0.18, 0.00, 0.25, 0.0, 0.0, 1.0, 0.8, 0.9),
    "ah": Viseme(1.00, 0.98, 0.0, 0.20, 0.00, 0.32, 0.0, 0.0, 1.2, 0.8, 1.1),
    "aw": Viseme(0.78, 0.74, 0.8, 0.05, 0.00, 0.15, 0.0, 0.0, 1.0, 1.2, 1.1),
    "oo": Viseme(0.30, 0.60, 1.0, 0.00, 0.00, 0.10, 0.0, 0.0, 1.2, 1.5, 1.1),
}

REACH = 0.65  # frames: how far a viseme reaches into its neighbors

_TARGETS = {name: np.array(viseme[: len(SHAPE)]) for name, viseme in VISEMES.items()}
_FIRMNESS = {
    name: np.array([v.firm_lips if part in ("width", "rounding") else v.firm for part in SHAPE])
    for name, v in VISEMES.items()
}


@cache
def word_visemes(word: str) -> tuple[str, ...]:
    """Return the visemes of a GRID word: "b" and "p" both give ("p", "ee").

    Raises:
        ValueError: when the word is not one of the 51.
    """
    if word not in LEXICON:
        raise ValueError(f"word {word!r}: not in the talker's lexicon; expected one of {', '.join(LEXICON)}")
    return tuple(v for phoneme in LEXICON[word].split() for v in PHONEME_TO_VISEMES[phoneme])


def shape_of(viseme: str) -> np.ndarray:
    """Return (8,) float64: the mouth that a viseme aims at, in the order of ``SHAPE``.

    Raises:
        ValueError: an unknown viseme.
    """
    if viseme not in VISEMES:
        raise ValueError(f"viseme {viseme!r} is unknown: expected one of {', '.join(VISEMES)}")
    return _TARGETS[viseme].copy()


def articulate(visemes: Sequence[str], borders: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Return (T, 8) float64: the shape of the mouth at ``times``, each viseme blended with its neighbors.

    Coarticulation by dominance (M. M. Cohen, D. W. Massaro, "Modeling coarticulation in synthetic visual
    speech", Models and Techniques in Computer Animation, 1993): every viseme pulls at every moment,
        shape(t) = sum_k D_k(t) target_k / sum_k D_k(t),   D_k(t) = firmness_k exp(-(d_k(t) / REACH)^2),
    where d_k is the distance in frames from t to viseme k's own interval. (Theirs decays from the middle of
    the segment; ours is level within it, so that a long vowel holds.) Firm visemes win: lips that
    must close do close, even between two open vowels, because /p/ aims past contact.

    Args:
        visemes: K names.
        borders: (K + 1,) rising, in frames; viseme k lasts from borders[k] to borders[k + 1].
        times: (T,) in frames.
    """
    targets = np.stack([shape_of(v) for v in visemes])  # (K, 8)
    firmness = np.stack([_FIRMNESS[v] for v in visemes])  # (K, 8)
    t = times[:, None]  # (T, 1)
    distance = np.maximum(np.maximum(borders[:-1] - t, t - borders[1:]), 0.0)  # (T, K)
    nearest = distance.min(axis=1, keepdims=True)  # 0 inside the borders; outside it keeps the sum above 0
    pull = np.exp(-((distance / REACH) ** 2) + (nearest / REACH) ** 2)  # (T, K)
    return (pull @ (firmness * targets)) / (pull @ firmness)  # (T, 8)
