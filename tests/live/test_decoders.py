"""The decoders of the live page write what Python's write, to the letter."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lessons.ctc.alphabet import ALPHABET
from lessons.ctc.grammar import SLOTS
from lessons.data.synthetic.talker import synthetic_clips
from lessons.lipreading import reading
from lessons.training import checkpoint
from tests.live.node import needs_node, run

pytestmark = needs_node
DECODE = """
const { alphabet, slots, frames } = given.values;
const grammar = new Grammar(slots, alphabet);
const V = alphabet.length + 1;
let at = 0;
done(frames.map((T) => {
  const logProbs = logSoftmax(arrays.logits.subarray(at, (at += T * V)), V);
  const greedy = collapse(bestPath(logProbs, V));
  const labels = grammarDecode(logProbs, V, grammar);
  return {
    greedy: findWords(logProbs, V, greedy, alphabet),
    grammar: labels && findWords(logProbs, V, labels, alphabet),
  };
}));
"""
IMPORTS = "Grammar, bestPath, collapse, findWords, grammarDecode, logSoftmax from decode.js"


def decode(folder, logits: list[np.ndarray]) -> list[dict]:
    """Both readings of each (T, V), by JavaScript."""
    values = {"alphabet": ALPHABET.symbols, "slots": SLOTS, "frames": [len(part) for part in logits]}
    flat = np.concatenate([part.ravel() for part in logits])
    return run(folder, IMPORTS, DECODE, values, logits=flat)


def check(found: list[dict], logits: list[np.ndarray]) -> None:
    for n, (mine, part) in enumerate(zip(found, logits, strict=True)):
        log_probs = torch.from_numpy(part).log_softmax(-1)
        for decoder in ("greedy", "grammar"):
            labels = reading.decode(log_probs, decoder)
            expected = reading.find_words(log_probs, labels)
            words = mine[decoder]["words"]
            assert mine[decoder]["text"] == ALPHABET.decode(labels), (n, decoder)
            spans = [(word["text"], word["first"], word["last"] + 1) for word in words]
            assert spans == [(word.text, word.start, word.end) for word in expected], (n, decoder)
            for word, other in zip(words, expected, strict=True):
                assert abs(word["confidence"] - other.confidence) <= 6e-4


@pytest.mark.parametrize("name", ["lipnet_small_synthetic", "lipnet_strangers"])
def test_both_readings_of_sixty_clips(name, tmp_path):
    """One model reads the talker well; the other does not, and its outputs are uncertain."""
    model = checkpoint.load(name)
    clips = synthetic_clips(60, 3)
    with torch.inference_mode():
        logits = [
            reading.log_probabilities(model, frames[: 75 - 7 * (i % 4)]).numpy()
            for i, frames in enumerate(clips.frames)
        ]
    check(decode(tmp_path, logits), logits)


def test_noise_is_read_alike(tmp_path):
    """No kept prefix may end: both take the most probable path that the grammar allows."""
    rng = np.random.default_rng(0)
    logits = [rng.normal(0, scale, (T, 28)).astype(np.float32) for T in (24, 40, 75) for scale in (0.3, 3, 9)]
    check(decode(tmp_path, logits), logits)


def test_hidden_frames_and_too_few_frames(tmp_path):
    rng = np.random.default_rng(1)
    hidden = rng.normal(0, 3, (60, 28)).astype(np.float32)
    hidden[20:40], hidden[20:40, 0] = -1e4, 0.0
    check(decode(tmp_path, [hidden]), [hidden])
    (short,) = decode(tmp_path, [hidden[:10]])
    assert short["grammar"] is None
    with pytest.raises(ValueError, match="no text that the language model allows"):
        reading.decode(torch.from_numpy(hidden[:10]).log_softmax(-1), "grammar")
