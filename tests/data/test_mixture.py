"""What a step is drawn from: clips and motions, speakers in a fair proportion, frames with their labels."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from lessons.ctc.alphabet import ALPHABET
from lessons.data import mixture as module
from lessons.data.clips import SILENCES, ClipSet
from lessons.data.grid.timings import frame_labels
from lessons.data.mixture import SHARE, Examples, Mixture, Said, spliced
from lessons.data.motions import FRAMES, Motion
from lessons.data.synthetic.talker import TALKER, synthetic_people

CLIPS, MOTIONS = synthetic_people(6, 0, (16, 32))


def numbered(n: int = 3, length: int = FRAMES, speakers: tuple[str, ...] | None = None) -> ClipSet:
    """Clips whose pixels tell clip and frame: 100 + clip in the first column, the frame elsewhere."""
    frames = np.zeros((n, length, 12, 24), np.uint8)
    frames += np.arange(length, dtype=np.uint8)[:, None, None]
    frames[:, :, :, 0] = 100 + np.arange(n)[:, None, None]
    segments = ((0.0, 4.5, "sil"), (4.5, 8.0, "bin"), (8.0, 12.0, "blue"), (12.0, float(length), "sil"))
    ids = tuple(f"n{i}" for i in range(n))
    speakers = ("s1",) * n if speakers is None else speakers
    return ClipSet(frames, np.full(n, length), ids, ("bin blue",) * n, (segments,) * n, speakers)


def numbered_motion(name: str, clips: ClipSet) -> Motion:
    """A motion whose first measure tells the frame."""
    measures = np.zeros((8, 9), np.float32)
    measures[:, 0] = 4 + np.arange(8)
    return Motion(name, "s1", "bin blue", clips.segments[0], 4, measures)


@pytest.mark.parametrize("length", [14, 40, 75, 120])
def test_frames_measures_and_labels_are_of_one_moment(length):
    clips = numbered(2, length)
    mixture = Mixture(clips, {"n1": numbered_motion("n1", clips)}, spliced=0.5, slow=0.2)
    labels, some_known = frame_labels(clips.segments[0], length, ALPHABET), 0
    for seed in range(20):
        example = mixture.clip(np.random.default_rng(seed))
        shown = example.frames[:, 3, 5].astype(int)  # (T,) which frame of the clip
        clip = example.frames[:, 3, 0] - 100  # (T,), for words of another clip may stand in it
        assert example.frames.shape == (FRAMES, 12, 24) and (np.diff(shown) >= 0).all()
        np.testing.assert_array_equal(example.labels, labels[shown])
        np.testing.assert_array_equal(example.known, (shown >= 4) & (shown < 12) & (clip == 1))
        np.testing.assert_array_equal(example.measures[example.known, 0], shown[example.known])
        assert not example.measures[~example.known].any()
        assert ALPHABET.decode(example.target.tolist()) == "bin blue"
        some_known += example.known.any()
    assert 3 < some_known < 20  # of clip 1, not of clip 0


ONE = (
    (0.0, 5.25, "sil"),
    (5.25, 8.75, "bin"),
    (8.75, 12.0, "blue"),
    (12.0, 19.75, "at"),
    (19.75, 30.0, "sil"),
)
OTHER = (
    (0.0, 2.25, "sil"),
    (2.25, 9.0, "lay"),
    (9.0, 9.75, "sp"),
    (9.75, 11.25, "red"),
    (11.25, 15.25, "by"),
)


def said(clip: int, segments: tuple, length: int) -> Said:
    """A sentence whose frames tell clip and frame; so do its measures."""
    frames = np.full((length, 2, 3), clip, np.uint8)
    frames[:, 1] = np.arange(length)[:, None]
    return Said(frames, np.repeat(frames[:, 1, :1], 9, 1), np.arange(length) % 2 == clip, segments)


def test_spliced_words_bring_their_frames():
    one, other = said(0, ONE, 30), said(1, OTHER, 15)  # the other's last word is cut by the end of its clip
    sources, sentences = {}, set()
    for clip, segments in enumerate((ONE, OTHER)):
        sources |= {word: (clip, begin, end) for begin, end, word in segments if word not in SILENCES}
    for seed in range(40):
        found = spliced(one, other, np.random.default_rng(seed))
        clips, frames = found.frames[:, 0, 0], found.frames[:, 1, 0]  # (T',)
        assert len(found.frames) == len(found.measures) == len(found.known)
        np.testing.assert_array_equal(found.measures[:, 3], frames)
        np.testing.assert_array_equal(found.known, frames % 2 == clips)
        for begin, end, word in found.words:
            clip, first, last = sources[word]
            there = slice(round(begin), round(end))
            assert set(clips[there]) == {clip}
            last = min(round(last), 15 if clip else 30)
            np.testing.assert_array_equal(frames[there], np.arange(round(first), last))
        ends = [end for _, end, _ in found.segments]
        assert [begin for begin, _, _ in found.segments[1:]] == pytest.approx(ends[:-1], abs=0.75)
        assert found.segments[0] == ONE[0] and found.segments[-1][2] == "sil"
        assert ends[-1] == pytest.approx(len(found.frames), abs=0.75)
        sentences.add(" ".join(word for _, _, word in found.words))
    places = [("bin", "lay"), ("blue", "red"), ("at", "by")]
    assert all(word in place for text in sentences for word, place in zip(text.split(), places, strict=True))
    assert sentences == {  # all runs of words that can be replaced
        "lay blue at", "bin red at", "bin blue by", "lay red at", "bin red by", "lay red by"
    }  # fmt: skip


def test_only_words_of_one_person_are_spliced():
    one_person = ("s1", "s1")
    for names in (one_person, ("", ""), (TALKER, TALKER), ("s1", "s2")):
        pair, rng = replace(numbered(2), speakers=names), np.random.default_rng(0)
        mixture = Mixture(pair, MOTIONS, spliced=1.0)
        seen = [np.unique(mixture.clip(rng).frames[:, :, 0]) for _ in range(30)]  # whose frames
        assert max(map(len, seen)) == (2 if names == one_person else 1), names


def test_sentences_of_other_lengths_are_not_spliced():
    one, other = said(0, ONE, 30), said(1, OTHER[:-1], 15)
    assert spliced(one, other, np.random.default_rng(0)) is one
    assert spliced(other, one, np.random.default_rng(0)) is other


def test_a_slow_camera_shows_each_frame_until_the_next_is_taken(monkeypatch):
    monkeypatch.setattr(module, "warped_time", lambda span, rng, length, n_frames: np.arange(float(n_frames)))
    frame, slow = np.arange(FRAMES), 0
    for seed in range(60):
        example = Mixture(numbered(1), MOTIONS, slow=0.2).clip(np.random.default_rng(seed))
        shown = example.frames[:, 3, 5].astype(int)  # (T,)
        late = frame - shown
        assert late.min() >= 0 and late.max() <= module.SLOWEST and (np.diff(shown) >= 0).all()
        slow += late.any()
        taken = len(set(shown.tolist()))
        assert FRAMES / module.SLOWEST <= taken <= FRAMES
    assert 3 < slow < 25  # 0.2 of 60


def test_a_motion_that_outlives_its_clip_is_cut():
    clips = numbered(1, 14)
    motion = replace(numbered_motion("n0", clips), start=10)
    example = Mixture(clips, {"n0": motion}).clip(np.random.default_rng(0))
    shown = example.frames[:, 3, 5].astype(int)
    np.testing.assert_array_equal(example.known, shown >= 10)
    late = replace(motion, start=20)
    assert not Mixture(clips, {"n0": late}).clip(np.random.default_rng(0)).known.any()


def test_motions_alone_keep_their_sentence():
    mixture = Mixture(CLIPS, MOTIONS)
    for seed in range(10):
        example = mixture.motion(np.random.default_rng(seed))
        assert example.frames is None and example.measures.shape == (FRAMES, 9) and example.known.all()
        text = ALPHABET.decode(example.target.tolist())
        assert text in CLIPS.transcripts
        segments = CLIPS.segments[CLIPS.transcripts.index(text)]
        used = set(example.labels.tolist()) - {0}
        assert used <= set(frame_labels(segments, FRAMES, ALPHABET).tolist()) and len(used) > 5


def test_a_speaker_is_drawn_in_proportion_to_a_power_of_what_there_is():
    speakers = ("few",) * 2 + ("many",) * 32
    clips = numbered(34, 14, speakers)
    mixture = Mixture(clips, MOTIONS)
    rng = np.random.default_rng(0)
    drawn = Counter(speakers[int(mixture.clip(rng).frames[0, 3, 0]) - 100] for _ in range(600))
    assert drawn["many"] / drawn["few"] == pytest.approx(16**SHARE, rel=0.3)  # 5.3, and not 16


def test_a_step_has_so_many_of_each_and_equal_chance_draws_the_same():
    mixture = Mixture(numbered(3), MOTIONS)
    drawn = mixture.draw(2, 4, np.random.default_rng(0))
    assert (len(drawn.clips), len(drawn.motions)) == (2, 4)
    assert all(example.frames is not None for example in drawn.clips)
    again = mixture.draw(2, 4, np.random.default_rng(0))
    for one, other in zip(drawn.clips + drawn.motions, again.clips + again.motions, strict=True):
        np.testing.assert_array_equal(one.measures, other.measures)
        np.testing.assert_array_equal(one.labels, other.labels)


def test_a_batch_on_a_device(device):
    drawn = Mixture(CLIPS, MOTIONS).draw(2, 3, np.random.default_rng(1))
    batch = drawn.to(device)
    assert batch.x.shape == (2, 1, FRAMES, 16, 32) and batch.x.dtype == torch.float32
    assert batch.x.mean().abs() < 1e-3 and abs(batch.x.std() - 1) < 0.01
    assert batch.motions.shape == (FRAMES, 3, 9) and batch.measures.shape == (FRAMES, 2, 9)
    assert batch.known.shape == (FRAMES, 2) and batch.known.dtype == torch.bool
    assert batch.frame_labels.shape == (5, FRAMES) and batch.target_lengths.shape == (5,)
    assert batch.target_lengths.device.type == "cpu" and len(batch.targets) == batch.target_lengths.sum()
    np.testing.assert_array_equal(batch.motions[:, 1].cpu().numpy(), drawn.motions[1].measures)
    np.testing.assert_array_equal(batch.measures[:, 1].cpu().numpy(), drawn.clips[1].measures)
    same = Examples(drawn.clips, drawn.motions, np.random.default_rng(2))
    other = Examples(drawn.clips, drawn.motions, np.random.default_rng(3))
    assert not torch.equal(same.to(device).x, other.to(device).x)  # disguised by their own generators


def test_motions_alone_make_a_batch_without_clips():
    batch = Mixture(CLIPS, MOTIONS).draw(0, 3, np.random.default_rng(1)).to(torch.device("cpu"))
    assert batch.x is None and batch.measures is None and batch.known is None
    assert batch.motions.shape == (FRAMES, 3, 9) and batch.target_lengths.shape == (3,)


def test_who_speaks_need_not_be_known_and_nothing_to_draw_from_is_refused():
    unknown = replace(numbered(2), speakers=())
    assert len(Mixture(unknown, MOTIONS).draw(2, 1, np.random.default_rng(0)).clips) == 2
    with pytest.raises(ValueError, match="2 clips, 0 motions: expected at least one of each"):
        Mixture(numbered(2), {})
    with pytest.raises(ValueError, match="0 clips, 6 motions: expected at least one of each"):
        Mixture(numbered(2).subset([]), MOTIONS)


def test_examples_are_as_long_as_asked():
    clips = numbered(2, 14)
    mixture = Mixture(clips, {"n1": numbered_motion("n1", clips)}, n_frames=14)
    examples = mixture.draw(3, 2, np.random.default_rng(0))
    assert {len(e.labels) for e in examples.clips + examples.motions} == {14}
    assert {e.measures.shape for e in examples.clips + examples.motions} == {(14, 9)}
    assert all(e.frames.shape == (14, 12, 24) for e in examples.clips)
