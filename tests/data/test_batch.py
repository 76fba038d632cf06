"""From bytes to a normalized, augmented batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lessons.ctc import min_frames
from lessons.ctc.alphabet import Alphabet
from lessons.data.augmentation import augment, jitter_frames, move
from lessons.data.batch import normalize, training_batch
from lessons.data.clips import ClipSet
from lessons.data.grid.timings import frame_labels


def clip_set(lengths: tuple[int, ...] = (9, 6), size: tuple[int, int] = (16, 32)) -> ClipSet:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (len(lengths), max(lengths), *size), dtype=np.uint8)
    for clip, length in zip(frames, lengths, strict=True):
        clip[length:] = 0
    n = len(lengths)
    words = ((0.0, 2.0, "sil"), (2.0, 5.0, "at"))
    return ClipSet(frames, np.array(lengths), tuple("ab"[:n]), ("at",) * n, (words,) * n)


def test_normalize_gives_every_clip_mean_0_and_deviation_1_over_its_valid_pixels():
    clips = torch.rand(2, 6, 4, 8) * 200
    out = normalize(clips, torch.tensor([6, 3]))
    for clip, n in zip(out, (6, 3), strict=True):
        assert clip[:n].mean().abs() < 1e-6
        assert clip[:n].std(correction=0).item() == pytest.approx(1, abs=1e-5)
        assert not clip[n:].any()


def test_normalize_takes_light_and_contrast_away_and_padding_with_them():
    clips = torch.rand(1, 5, 4, 8) * 100
    torch.testing.assert_close(normalize(clips * 2 + 30), normalize(clips), rtol=1e-4, atol=1e-5)
    padded = torch.cat([clips, torch.full((1, 2, 4, 8), 77.0)], dim=1)
    torch.testing.assert_close(normalize(padded, torch.tensor([5]))[:, :5], normalize(clips))
    assert not normalize(torch.full((1, 3, 4, 8), 128)).any()  # a flat clip is zeros, not NaN


def test_normalize_names_the_broken_clip():
    clips = torch.zeros(3, 2, 4, 8)
    clips[1, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="clip 1"):
        normalize(clips)
    with pytest.raises(ValueError, match=r"\(B, T, H, W\)"):
        normalize(clips[0])


@given(st.integers(1, 80), st.floats(0, 0.5), st.integers(0, 5), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_jitter_keeps_the_number_and_the_order_of_frames(n_frames, jitter, shift, seed):
    chosen = jitter_frames(n_frames, np.random.default_rng(seed), jitter, shift)
    assert chosen.shape == (n_frames,)  # so a label that fitted still fits
    assert chosen.min() >= 0 and chosen.max() < n_frames
    assert (np.diff(chosen) >= 0).all()


def test_jitter_changes_about_the_stated_share_of_frames():
    rng = np.random.default_rng(0)
    steps = np.concatenate([np.diff(jitter_frames(75, rng, 0.05, 0)[:60]) for _ in range(400)])
    assert (steps == 0).mean() == pytest.approx(0.025, abs=0.004)  # doubled
    assert (steps == 2).mean() == pytest.approx(0.025, abs=0.004)  # one dropped between


def test_move_by_whole_pixels_is_a_shift_and_zoom_enlarges():
    clips = torch.rand(2, 3, 16, 32)
    moved = move(clips, torch.tensor([3.0, -2.0]), torch.tensor([5.0, 0.0]), torch.ones(2))
    torch.testing.assert_close(moved[0, :, 3:, 5:], clips[0, :, :-3, :-5], rtol=0, atol=1e-5)
    torch.testing.assert_close(moved[1, :, :-2], clips[1, :, 2:], rtol=0, atol=1e-5)
    square = torch.zeros(1, 1, 16, 32)
    square[..., 6:10, 14:18] = 1
    larger = move(square, torch.zeros(1), torch.zeros(1), torch.tensor([1.5]))
    assert larger.sum().item() == pytest.approx(16 * 1.5**2, rel=0.05)


def test_augment_treats_all_frames_of_a_clip_alike_and_clips_differently():
    picture = torch.rand(1, 1, 16, 32) * 255
    out = augment(picture.expand(2, 4, 16, 32), np.random.default_rng(0))
    assert (out[:, 1:] == out[:, :1]).all()
    assert (out[0] - out[1]).abs().max() > 10


def test_augment_mirrors_half():
    ramp = torch.arange(32.0).expand(400, 1, 16, 32)
    out = augment(ramp, np.random.default_rng(0))[:, 0, 8]
    assert (out[:, 20] < out[:, 12]).float().mean().item() == pytest.approx(0.5, abs=0.08)


def test_frame_labels_spread_letters_over_their_words():
    segments = [(0, 3, "sil"), (3, 7, "at"), (7, 8, "sp"), (8, 14, "two"), (14, 16, "sil")]
    labels = frame_labels(segments, 16)
    text = "".join("-" if c == 0 else Alphabet().decode([c]) for c in labels)
    assert text == "---aatt ttwwoo--"


def test_frame_labels_at_the_edges():
    assert frame_labels([(0, 5, "at")], 3).tolist() == [2, 2, 2]  # the clip ends inside the word
    assert not frame_labels([(0, 5, "sil")], 5).any()
    with pytest.raises(ValueError, match="before it starts"):
        frame_labels([(4, 3, "at")], 5)
    with pytest.raises(ValueError, match="alphabet"):
        frame_labels([(0, 3, "zwölf")], 5)


def test_batch_has_the_stated_shapes():
    batch = training_batch(clip_set(), [1, 0], np.random.default_rng(0), channels=3)
    assert batch.x.shape == (2, 3, 9, 16, 32) and batch.x.dtype == torch.float32
    assert batch.lengths.tolist() == [6, 9]
    assert batch.targets.tolist() == [2, 21, 2, 21] and batch.target_lengths.tolist() == [2, 2]
    assert batch.frame_labels.shape == (2, 9) and not batch.frame_labels[0, 6:].any()
    assert not batch.x[0, :, 6:].any()
    assert all(n >= min_frames(torch.tensor([2, 21])) for n in batch.lengths)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_batch_made_on_the_gpu_is_the_same():
    here, there = (
        training_batch(clip_set(), [1, 0], np.random.default_rng(0), 3, device=torch.device(name))
        for name in ("cpu", "cuda")
    )
    for name, value in vars(here).items():
        assert vars(there)[name].device.type == ("cpu" if "lengths" in name else "cuda")
        torch.testing.assert_close(vars(there)[name].cpu(), value, rtol=1e-4, atol=1e-4)


def test_only_bytes_travel_to_the_device(monkeypatch):
    """Floats would be four times as many bytes, in three channels twelve times."""
    sent, send = [], torch.Tensor.to

    def to(tensor, *args, **kwargs):
        if any(isinstance(arg, torch.device) for arg in args):
            sent.append(tensor)
        return send(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", to)
    clips = clip_set()
    training_batch(clips, [1, 0], np.random.default_rng(0), 3, device=torch.device("cpu"))
    assert sum(tensor.nbytes for tensor in sent if tensor.dtype == torch.uint8) == clips.frames.nbytes
    assert sum(tensor.nbytes for tensor in sent) < 2 * clips.frames.nbytes  # and labels, lengths, targets


def test_a_batch_without_chance_is_the_clips_themselves():
    clips = clip_set()
    batch = training_batch(clips, [0], None)
    torch.testing.assert_close(batch.x[:, 0], normalize(torch.from_numpy(clips.frames[:1])))


def test_subset_keeps_everything_together():
    clips = clip_set()
    part = clips.subset([1])
    assert len(part) == 1 and part.ids == ("b",) and part.lengths.tolist() == [6]
    assert (part.frames[0] == clips.frames[1]).all()


@pytest.mark.parametrize("indices", [[], [-1], [2]])
def test_a_batch_needs_clips_that_are_there(indices):
    with pytest.raises(ValueError, match="expected at least one, each from 0 to 1"):
        training_batch(clip_set(), indices, None)


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((0, 4, 8, 8), [], "each at least 1"),
        ((1, 4, 8, 8), [0], "lengths of sample 0 is 0: expected 1 to 4"),
        ((1, 4, 8, 8), [-1], "lengths of sample 0 is -1: expected 1 to 4"),
        ((1, 4, 8, 8), [5], "lengths of sample 0 is 5: expected 1 to 4"),
    ],
)
def test_normalize_refuses_empty_batches_and_lengths_out_of_range(shape, lengths, message):
    with pytest.raises(ValueError, match=message):
        normalize(torch.rand(shape), torch.tensor(lengths, dtype=torch.long))
