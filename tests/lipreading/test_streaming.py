"""A stream says what the whole clip says: the same features, and words that held."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lessons.ctc.alphabet import Alphabet
from lessons.data.batch import normalize
from lessons.layers.stcnn import STCNN
from lessons.lipreading import LipNet, streaming
from lessons.lipreading.build import from_config
from lessons.lipreading.streaming import FrontEnd, RunningNormalizer, Stream, StreamingBlock, complete_words

SIZE = (16, 32)


def small_model(compact: bool = True, upsample: int = 1, layers: str = "torch") -> LipNet:
    """Random weights; the running statistics of the normalization are not those of a new model."""
    torch.manual_seed(0)
    sizes = {"in_channels": 1, "frame_size": SIZE, "channels": (2, 3, 4), "hidden_size": 5}
    model = from_config(compact, 6, **sizes, upsample=upsample, layers=layers)
    with torch.no_grad():
        model(torch.randn(2, 1, 6, *SIZE))
    return model.eval()


def whole_features(model: LipNet, x: Tensor) -> Tensor:
    """(1, C, T, H, W) -> (T, 1, F), all at once."""
    for block in (model.stcnn1, model.stcnn2, model.stcnn3):
        x = block(x)
    return model.projection(x.permute(2, 0, 1, 3, 4).flatten(2))


# ---- convolutions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compact", [True, False])
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_pieces_give_the_features_of_the_whole_clip(compact, data):
    model = small_model(compact).double()
    pieces = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=6))
    x = torch.randn(1, 1, sum(pieces), *SIZE, dtype=torch.float64)
    ends_with_a_piece = data.draw(st.booleans())
    front, given_so_far, seen = FrontEnd(model), [], 0
    with torch.inference_mode():
        for i, piece in enumerate(x.split(pieces, dim=2)):
            last = ends_with_a_piece and i == len(pieces) - 1
            given_so_far.append(front(piece, last))
            seen += piece.shape[2]
            if not last:  # three convolutions look one frame ahead each
                assert sum(map(len, given_so_far)) == max(0, seen - 3)
        if not ends_with_a_piece:
            given_so_far.append(front(None, last=True))
        features = torch.cat(given_so_far)  # (T, 1, F)
        torch.testing.assert_close(features, whole_features(model, x), rtol=0, atol=1e-10)


def test_old_frames_are_not_convolved_again():
    model, convolved = small_model(), []
    for block in (model.stcnn1, model.stcnn2, model.stcnn3):
        block.conv.register_forward_hook(lambda _conv, inputs, _out: convolved.append(inputs[0].shape[2]))
    front = FrontEnd(model)
    with torch.inference_mode():
        for piece in torch.randn(1, 1, 100, *SIZE).split(5, dim=2):
            convolved.clear()
            front(piece)
            assert max(convolved) <= 5 + 2  # a piece, and the frames on its sides


def test_a_block_that_drops_frames_is_refused():
    with pytest.raises(ValueError, match="stride 2 and padding 1 in time: expected 1 and 1"):
        StreamingBlock(STCNN(1, 2, 3, (2, 1, 1), 1))
    with pytest.raises(ValueError, match="stride 1 and padding 0 in time: expected 1 and 1"):
        StreamingBlock(STCNN(1, 2, 3, 1, (0, 1, 1)))


# ---- light -------------------------------------------------------------------------------------------------


def test_the_light_of_the_frames_so_far():
    clip = torch.randint(0, 256, (20, *SIZE), dtype=torch.uint8)
    clip[10:] //= 2
    running, pieces = RunningNormalizer(), clip.split(4)
    for i, piece in enumerate(pieces):
        so_far = normalize(torch.cat(pieces[: i + 1])[None])[0]  # (T, H, W)
        torch.testing.assert_close(running(piece), so_far[-4:], rtol=0, atol=1e-5)
    assert RunningNormalizer()(torch.full((2, *SIZE), 90)).abs().max() == 0


# ---- the whole reader --------------------------------------------------------------------------------------


def just_as_it_is(_self, frames: Tensor) -> Tensor:
    return frames.float()


@pytest.mark.parametrize("upsample", [1, 2])
@pytest.mark.parametrize("layers", ["torch", "lessons"])
def test_when_the_clip_ends_the_stream_has_read_what_the_model_reads(monkeypatch, upsample, layers):
    model = small_model(upsample=upsample, layers=layers)
    clip = torch.randn(23, *SIZE)
    with torch.inference_mode():
        expected = model(clip[None, None])[:, 0].log_softmax(-1)  # (T * upsample, V)
    monkeypatch.setattr(RunningNormalizer, "__call__", just_as_it_is)
    stream = Stream(model)
    for piece in clip.split(5):
        stream.push(piece)
    assert len(stream.log_probs()) == 20 * upsample
    stream.push(clip[:0], last=True)
    torch.testing.assert_close(stream.log_probs(), expected, rtol=0, atol=1e-5)


def test_a_clip_in_one_piece_is_the_plain_reading():
    model = small_model()
    clip = torch.randint(0, 256, (9, *SIZE), dtype=torch.uint8)
    stream = Stream(model)
    stream.push(clip, last=True)
    with torch.inference_mode():
        expected = model(normalize(clip[None])[:, None])[:, 0].log_softmax(-1)
    torch.testing.assert_close(stream.log_probs(), expected, rtol=0, atol=1e-5)


def test_three_colors_see_the_same_gray():
    torch.manual_seed(0)
    model = LipNet(3, SIZE, (2, 3, 4), hidden_size=5).eval()
    stream = Stream(model)
    stream.push(torch.randint(0, 256, (6, *SIZE)))
    assert stream.log_probs().shape == (3, 28)


def test_in_a_long_clip_only_the_window_is_read_again(monkeypatch):
    monkeypatch.setattr(RunningNormalizer, "__call__", just_as_it_is)
    monkeypatch.setattr(streaming, "WINDOW", 8)
    model, clip = small_model(), torch.randn(40, *SIZE)
    lengths = []
    model.gru1.register_forward_hook(lambda _gru, inputs, _out: lengths.append(len(inputs[0])))
    stream = Stream(model)
    for i, piece in enumerate(clip.split(2)):
        before = stream.log_probs()
        stream.push(piece)
        now = stream.log_probs()
        assert len(now) == max(0, 2 * i + 2 - 3)
        old = max(0, len(now) - 4)  # the newer half of the window is read anew, the rest stays
        if len(now) > 8:
            assert torch.equal(now[:old], before[:old]) and not torch.equal(now[old:-2], before[old:])
    assert max(lengths) == 8


@pytest.mark.parametrize("frames", [torch.zeros(2, 8, 8), torch.zeros(*SIZE)])
def test_frames_of_another_size_are_refused(frames):
    with pytest.raises(ValueError, match=r"expected \(N, 16, 32\)"):
        Stream(small_model()).push(frames)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_frames_that_are_not_finite_are_refused(bad):
    stream, frames = Stream(small_model()), torch.zeros(3, *SIZE)
    stream.push(frames)
    frames[1, 2, 3] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        stream.push(frames)
    assert stream.frames == 3 and not stream.log_probs().isnan().any()


def test_frames_after_the_last_are_refused():
    stream = Stream(small_model())
    stream.push(torch.zeros(3, *SIZE), last=True)
    for frames in (torch.zeros(3, *SIZE), torch.zeros(0, *SIZE)):
        with pytest.raises(ValueError, match="the clip has ended"):
            stream.push(frames)
    assert stream.frames == 3


def test_skipped_frames_count_in_the_times(monkeypatch):
    monkeypatch.setattr(Stream, "_read_again", lambda self: setattr(self, "_logits", rows("bin_")))
    stream = Stream(small_model(), agree=1)
    stream.skip(10)
    (word,) = stream.push(torch.zeros(7, *SIZE))
    assert (word.text, word.start, word.end, word.emitted_at) == ("bin", 10, 13, 17)
    with pytest.raises(ValueError, match="n=1: expected no skipped frames after the first"):
        stream.skip(1)


def test_a_stream_without_end_takes_constant_memory(monkeypatch):
    monkeypatch.setattr(streaming, "PAST", 20)
    monkeypatch.setattr(streaming, "WINDOW", 8)
    stream = Stream(small_model(), agree=1)
    for _ in range(40):
        stream.push(torch.randint(0, 256, (5, *SIZE)))
        assert len(stream.log_probs()) <= 20 and len(stream._features) <= 8
        assert stream._normalize.count <= 20 * SIZE[0] * SIZE[1]
    assert stream._first == 200 - 3 - 20
    assert all(0 <= word.start < word.end <= word.emitted_at for word in stream.emitted)
    assert [word.start for word in stream.emitted] == sorted(word.start for word in stream.emitted)


def test_the_light_of_long_ago_is_forgotten(monkeypatch):
    monkeypatch.setattr(streaming, "PAST", 20)
    running = RunningNormalizer()
    running(torch.randint(100, 200, (20, *SIZE)))
    for _ in range(20):
        dark = torch.randint(10, 20, (20, *SIZE))
        seen = running(dark)
    assert abs(seen.mean()) < 0.01 and abs(seen.std() - 1) < 0.01


def test_bad_streams():
    with pytest.raises(ValueError, match="agree is 0: expected at least 1"):
        Stream(small_model(), agree=0)
    with pytest.raises(ValueError, match=r"call model.eval\(\) first"):
        Stream(small_model().train())


def test_a_stream_without_frames_ends_quietly():
    stream = Stream(small_model())
    assert stream.push(torch.zeros(0, *SIZE), last=True) == []


# ---- words -------------------------------------------------------------------------------------------------


def path_of(text: str) -> list[int]:
    """ "-" is the blank and "_" the space; two frames a symbol where it stands twice."""
    return [0 if c == "-" else int(Alphabet().encode(" " if c == "_" else c)[0]) for c in text]


def test_words_end_with_a_space_or_with_the_clip():
    path = path_of("--bb-in--_-bl-l-ue-")
    assert complete_words(path) == [("bin", 2, 7)]
    assert complete_words(path, last=True) == [("bin", 2, 7), ("bllue", 11, 18)]
    assert complete_words(path_of("_-_a_"), last=True) == [("a", 3, 4)]
    assert complete_words(path_of("aabb__"), upsample=2) == [("ab", 0, 2)]
    assert complete_words([], last=True) == []


def rows(text: str) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(path_of(text)), 28).float()


def tell_by_script(monkeypatch, agree: int, readings: list[str]) -> list[list[tuple[str, int]]]:
    """What a stream tells after each piece of one frame when it reads this, the clip's end last."""
    script = iter(readings)

    def read(self):
        path = torch.tensor(path_of(next(script)))
        self._logits = torch.nn.functional.one_hot(path, 28).float()

    monkeypatch.setattr(Stream, "_read_again", read)
    stream = Stream(small_model(), agree)
    stream.push(torch.zeros(3, *SIZE))  # nothing is known of any frame yet
    emitted = []
    for i in range(len(readings)):
        words = stream.push(torch.zeros(1, *SIZE), last=i == len(readings) - 1)
        emitted.append([(word.text, word.emitted_at) for word in words])
    assert [(word.text, word.emitted_at) for word in stream.emitted] == [
        word for words in emitted for word in words
    ]
    return emitted


def test_a_word_is_told_when_readings_agree(monkeypatch):
    readings = ["bin_", "bib_", "bin_a", "bin_at_", "bin_at_b", "bin_at_b"]
    assert tell_by_script(monkeypatch, 1, readings) == [[("bin", 4)], [], [], [("at", 7)], [], [("b", 9)]]
    # Two in a row: "bin" in the readings 3 and 4, "at" in 4 and 5; "b" is no word before the clip ends.
    assert tell_by_script(monkeypatch, 2, readings) == [[], [], [], [("bin", 7)], [("at", 8)], [("b", 9)]]
    assert tell_by_script(monkeypatch, 3, readings) == [[], [], [], [], [("bin", 8)], [("at", 9), ("b", 9)]]


def test_a_word_is_not_told_before_the_one_ahead_of_it(monkeypatch):
    readings = ["bin_at_", "bib_at_", "bin_at_", "bin_at_"]
    assert tell_by_script(monkeypatch, 2, readings) == [[], [], [], [("bin", 7), ("at", 7)]]
    assert tell_by_script(monkeypatch, 2, readings[:3]) == [[], [], [("bin", 6), ("at", 6)]]


def test_what_was_told_is_not_told_again_when_it_changes(monkeypatch):
    readings = ["bin_----", "bin_----", "pin_----", "pin_at_-", "pin_at_-"]
    assert tell_by_script(monkeypatch, 2, readings) == [[], [("bin", 5)], [], [], [("at", 8)]]
