"""Reading a mouth of any length: windows that fit together, sentences at pauses, constant memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lessons.ctc.alphabet import ALPHABET, Alphabet
from lessons.ctc.metrics import wer
from lessons.data.synthetic.talker import synthetic_clips
from lessons.lipreading import reading
from lessons.lipreading.reading import HELD, LONGEST, SENTENCE_PAUSE, WINDOW, SentenceSplitter, WindowReader
from lessons.training import checkpoint

MODEL = checkpoint.load("lipnet_small_synthetic")
CLIPS = synthetic_clips(4, seed=3)


def brightness(_model, gray: np.ndarray) -> torch.Tensor:
    """Stands for the network: each frame's row is its gray value."""
    return torch.from_numpy(gray.reshape(len(gray), -1)[:, :1].astype(np.float32)).repeat(1, 28)


def read_windows(gray: np.ndarray, pieces: list[int]) -> tuple[WindowReader, torch.Tensor]:
    reader, rows = WindowReader(MODEL), []
    for piece in np.split(gray, np.cumsum(pieces)):
        rows += list(reader.push(piece, np.ones(len(piece), bool)))
    rows += list(reader.push(gray[:0], np.ones(0, bool), last=True))
    return reader, torch.cat(rows)


@pytest.mark.parametrize("n", [1, 99, 100, 101, 149, 150, 151, 330])
def test_the_windows_answer_each_frame_once(monkeypatch, n):
    monkeypatch.setattr(reading, "log_probabilities", brightness)
    monkeypatch.setattr(reading, "broken_frames", lambda frames: np.zeros(len(frames), bool))
    gray = np.repeat((np.arange(n) % 251).astype(np.uint8), 32 * 64).reshape(n, 32, 64)
    for pieces in ([1] * (n - 1), [50] * (n // 50), [n]):
        reader, rows = read_windows(gray, pieces)
        assert rows[:, 0].tolist() == gray[:, 0, 0].tolist() and reader.seen == n


def test_a_short_clip_is_read_as_a_whole():
    gray = CLIPS.frames[0]
    _, rows = read_windows(gray, [7, 30])
    torch.testing.assert_close(rows, reading.log_probabilities(MODEL, gray))


def test_damaged_frames_are_replaced_or_silent():
    gray = CLIPS.frames[0].copy()
    gray[:5] = 128
    reader, _ = read_windows(gray, [])
    assert reader.broken == [0, 1, 2, 3, 4]
    hidden = WindowReader(MODEL)
    (rows,) = hidden.push(gray, np.arange(75) < 40, last=True)
    assert (rows[40:].argmax(-1) == 0).all() and rows[:40].argmax(-1).any()


def test_where_no_letter_is_read_no_decoder_finds_a_sentence():
    def found(decoder: str, *spoken: int) -> str:
        """What is read where each class of ``spoken`` is just likelier than the blank in one frame."""
        logits = torch.zeros(75, 28)
        logits[:, 0] = 5.0
        logits[range(30, 30 + len(spoken)), spoken] = 6.0
        log_probs = logits.log_softmax(-1)
        return " ".join(w.text for w in reading.find_words(log_probs, reading.decode(log_probs, decoder)))

    for decoder in ("greedy", "beam", "grammar"):
        assert found(decoder) == found(decoder, reading.SPACE) == ""
    a = int(ALPHABET.encode("a")[0])
    assert found("greedy", a) == "a" and len(found("grammar", a).split()) == 6  # one letter is enough


def test_memory_does_not_grow_with_the_clip(monkeypatch):
    monkeypatch.setattr(reading, "log_probabilities", brightness)
    monkeypatch.setattr(reading, "broken_frames", lambda frames: np.zeros(len(frames), bool))
    reader, splitter = WindowReader(MODEL), SentenceSplitter()
    for _ in range(200):
        for rows in reader.push(np.full((50, 32, 64), 9, np.uint8), np.ones(50, bool)):
            rows[:, 0] = 20.0  # silence
            assert list(splitter.push(rows)) == []
        assert len(reader._frames) <= HELD + 50
        assert splitter._held is None or len(splitter._held) <= WINDOW + 50


def rows_of(text: str) -> torch.Tensor:
    """ "-" is the blank: one row per character."""
    labels = [0 if c == "-" else int(Alphabet().encode(c)[0]) for c in text]
    return torch.nn.functional.one_hot(torch.tensor(labels), 28).float()


def sentences(text: str, piece: int) -> list[tuple[int, str]]:
    splitter, found = SentenceSplitter(), []
    for rows in rows_of(text).split(piece):
        found += list(splitter.push(rows))
    found += list(splitter.push(None, last=True))
    letters = "- abcdefghijklmnopqrstuvwxyz"
    return [(start, "".join(letters[i] for i in rows.argmax(-1)).strip("-")) for start, rows in found]


@pytest.mark.parametrize("piece", [1, 7, 50, 1000])
def test_sentences_end_at_pauses(piece):
    text = (
        "-" * 30
        + "bin-blue at"
        + "-" * 40
        + "lay red"
        + "-" * (SENTENCE_PAUSE - 2)
        + "now"
        + "-" * 80
        + "set"
        + "-" * 9
    )
    found = sentences(text, piece)
    assert [said for _, said in found] == [
        "bin-blue at",
        "lay red" + "-" * (SENTENCE_PAUSE - 2) + "now",
        "set",
    ]
    assert [start for start, _ in found] == sorted(start for start, _ in found)


def test_a_short_clip_is_one_sentence_whatever_its_pauses():
    text = "bin" + "-" * 40 + "blue" + "-" * 40
    assert len(text) <= WINDOW and sentences(text, 10) == [(0, text.strip("-"))]
    assert sentences("-" * 50, 10) == [(0, "")]  # silence: the decoder decides
    assert SentenceSplitter().push(None, last=True) is not None and sentences("-" * 500, 10) == []


def test_a_sentence_without_a_pause_is_cut_at_its_longest():
    text = ("bin " * 70) + "-" * 9 + ("lay " * 70)
    found = [said for _, said in sentences(text, 25)]
    assert found[0] == text[:280] and "".join(found).replace("-", "") == text.replace("-", "")
    assert max(map(len, found)) <= LONGEST


def test_sentences_in_a_row_are_read_one_by_one():
    gray = np.concatenate([*CLIPS.frames, CLIPS.frames[0]])
    reader, splitter, read = WindowReader(MODEL), SentenceSplitter(), []

    def decode(found):
        for start, rows in found:
            rows = reader.again(start, start + len(rows))
            words = reading.find_words(rows, reading.decode(rows, "grammar"), start)
            assert start <= words[0].start < words[-1].end <= start + len(rows)
            read.append(" ".join(word.text for word in words))

    for piece in np.split(gray, range(40, len(gray), 40)):
        for rows in reader.push(piece, np.ones(len(piece), bool)):
            decode(splitter.push(rows))
    for rows in reader.push(gray[:0], np.ones(0, bool), last=True):
        decode(splitter.push(rows))
    decode(splitter.push(None, last=True))
    assert len(read) == 5 and wer([*CLIPS.transcripts, CLIPS.transcripts[0]], read) <= 1 / 30


def test_upsampled_rows_are_frames_again():
    rows = (rows_of("-" * 10 + "bb" + "ii" + "nn" + "-" * 10) * 12).log_softmax(-1)
    (word,) = reading.find_words(rows, Alphabet().encode("bin").tolist(), start=100, upsample=2)
    assert (word.text, word.start, word.end) == ("bin", 105, 108)
