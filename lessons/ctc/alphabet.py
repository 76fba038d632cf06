"""The alphabet: characters to class numbers and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Alphabet:
    """The characters a model can write. Class 0 is CTC's blank; the characters follow from class 1.

    The default has the 28 classes of LipNet (Assael et al. 2016): blank 0, space 1, a to z 2 to 27.

    Attributes:
        symbols: the characters in the order of their classes, each once.

    Raises:
        ValueError: when ``symbols`` is empty or repeats a character.
    """

    symbols: str = " abcdefghijklmnopqrstuvwxyz"
    blank: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if not self.symbols:
            raise ValueError("symbols is empty: an alphabet needs at least one character")
        for i, symbol in enumerate(self.symbols):
            if symbol in self.symbols[:i]:
                raise ValueError(f"symbols repeats {symbol!r} at position {i}: give each character once")

    def __len__(self) -> int:
        """Return the number of classes V, the blank included."""
        return len(self.symbols) + 1

    def encode(self, text: str) -> Tensor:
        """Return the classes of the characters of ``text`` as a long tensor (L,).

        Raises:
            ValueError: when a character is not in the alphabet; it names the character and its position.
        """
        labels = []
        for position, character in enumerate(text):
            index = self.symbols.find(character)
            if index < 0:
                raise ValueError(
                    f"character {character!r} at position {position} of {text!r} is not in the alphabet "
                    f"{self.symbols!r}: write the text in these characters, or give Alphabet others"
                )
            labels.append(index + 1)
        return torch.tensor(labels, dtype=torch.long)  # (L,)

    def decode(self, labels: Tensor | Iterable[int]) -> str:
        """Return the text of a label: the inverse of ``encode``.

        Raises:
            ValueError: when a class is the blank or lies outside 1 .. V-1. A path of frames holds blanks:
                collapse it first (``lessons.ctc.collapse``).
        """
        if isinstance(labels, Tensor):
            labels = labels.tolist()
        characters = []
        for position, label in enumerate(labels):
            if label == self.blank:
                raise ValueError(
                    f"class {label} at position {position} is the blank, which has no character: "
                    "collapse the path first (lessons.ctc.collapse)"
                )
            if not 1 <= label < len(self):
                raise ValueError(
                    f"class {label} at position {position} is outside the alphabet: "
                    f"expected 1 to {len(self) - 1}"
                )
            characters.append(self.symbols[label - 1])
        return "".join(characters)


ALPHABET = Alphabet()  # LipNet's
