"""From word timings to a class for every frame: what a warm start of CTC learns from."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lessons.ctc.alphabet import Alphabet
from lessons.data.grid.align import SILENCES


def frame_labels(
    segments: Iterable[tuple[float, float, str]], n_frames: int, alphabet: Alphabet | None = None
) -> np.ndarray:
    """Spread the letters of each word evenly over its frames; silence is the blank.

    A rough guess (the letters of "two" do not last equally long), and enough: it tells the network *when*
    each word is spoken, which plain CTC has to find out by itself. The last silent frame or word frame
    before a word carries the space, so that words stay apart.

    Args:
        segments: (start, end, word) in frames, end exclusive; ``sil`` and ``sp`` are silence.
        n_frames: T.
        alphabet: LipNet's 28 classes when None.

    Returns:
        (T,) int64 classes.

    Raises:
        ValueError: a word with a character outside the alphabet, or one that ends before it starts.
    """
    alphabet = alphabet or Alphabet()
    labels = np.full(n_frames, alphabet.blank, dtype=np.int64)  # (T,)
    space = int(alphabet.encode(" ")[0])
    first = True
    for start, end, word in segments:
        if word in SILENCES:
            continue
        if end <= start:
            raise ValueError(f"word {word!r} ends at frame {end:g}, before it starts ({start:g})")
        classes = alphabet.encode(word).numpy()  # (L,)
        frames = np.arange(max(0, round(start)), min(n_frames, round(end)))  # frames of this word
        position = (frames - start) / (end - start)  # 0 to 1
        letter = np.clip((position * len(word)).astype(int), 0, len(word) - 1)
        labels[frames] = classes[letter]
        if not first and 0 < round(start) <= n_frames:
            labels[round(start) - 1] = space
        first = False
    return labels
