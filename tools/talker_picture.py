"""Draw the picture in README.md: a synthetic talker, and what the trained model reads on its lips.

python tools/talker_picture.py        writes docs/talker.png and prints what was said and read
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lessons import figures
from lessons.data.image import to_gray
from lessons.data.synthetic.talker import Speaker, talk
from lessons.lipreading import reading
from lessons.training import checkpoint

SAID = "place red at q seven again"
PICTURE = Path(__file__).resolve().parents[1] / "docs" / "talker.png"


def read_talker() -> tuple[np.ndarray, tuple[reading.Word, ...]]:
    """The clip (75, 64, 128, 3) of the talker, and the words read in it."""
    rng = np.random.default_rng(7)
    clip, _ = talk(SAID, Speaker.random(rng), rng, size=(64, 128), color=True)  # (75, 64, 128, 3)
    model = checkpoint.load("lipnet_small_synthetic")
    log_probs = reading.log_probabilities(model, to_gray(clip))  # (75, 28)
    labels = reading.decode(log_probs, "greedy")
    return clip, reading.find_words(log_probs, labels)


def main() -> None:
    torch.set_num_threads(1)
    clip, words = read_talker()
    middle = [(word.start + word.end) // 2 for word in words]
    figure = figures.filmstrip(clip, middle, [word.text for word in words], columns=6)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=110, metadata={"Software": None})
    print(f"said: {SAID}\nread: {' '.join(word.text for word in words)}")


if __name__ == "__main__":
    main()
