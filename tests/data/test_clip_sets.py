"""Clips of several sets seen as one: indexed like an array, the last of two with one id, none copied."""

from __future__ import annotations

import numpy as np
import pytest

from lessons.data.batch import collect
from lessons.data.cached_frames import CachedFrames
from lessons.data.clips import ClipSet, SelectedFrames, joined

RNG = np.random.default_rng(0)
SHORT = RNG.integers(0, 256, (2, 3, 4, 6), dtype=np.uint8)
LONG = RNG.integers(0, 256, (3, 5, 4, 6), dtype=np.uint8)
PLACES = [(1, 2), (0, 1), (1, 0)]


def whole() -> np.ndarray:
    """What SelectedFrames stands for."""
    padded = np.concatenate((SHORT[1], np.zeros((2, 4, 6), np.uint8)))
    return np.stack((LONG[2], padded, LONG[0]))


@pytest.mark.parametrize(
    "index",
    [
        0, -1, np.int64(1), [2, 0], [], slice(1, None), slice(None, None, -1), np.array([1, 1]),
        np.array([True, False, True]), (1, np.array([2, 0, 4])), (np.int64(2), slice(0, 2)), (0, 3, 1),
    ],
    ids=str,
)  # fmt: skip
def test_it_is_indexed_like_an_array(index):
    frames = SelectedFrames([SHORT, LONG], PLACES)
    assert frames.shape == (3, 5, 4, 6) and len(frames) == 3 and (frames.dtype, frames.ndim) == (np.uint8, 4)
    index = np.array(index, int) if isinstance(index, list) and not index else index
    found = frames[index]
    np.testing.assert_array_equal(found, whole()[index])
    assert found.dtype == np.uint8


@pytest.mark.parametrize("index", [3, -4, [0, 3], ([0, 1], [2, 2])], ids=str)
def test_what_is_not_there_is_refused(index):
    with pytest.raises(IndexError):
        SelectedFrames([SHORT, LONG], PLACES)[index]


def test_frames_of_several_sizes_are_refused():
    with pytest.raises(ValueError, match=r"sources: frames of \[\(2, 6\), \(4, 6\)\], expected one"):
        SelectedFrames([SHORT, LONG[:, :, :2]], PLACES)


def test_frames_in_a_file_are_read_from_there(tmp_path):
    (tmp_path / "long").write_bytes(LONG.tobytes())
    frames = SelectedFrames([SHORT, CachedFrames(tmp_path / "long", LONG.shape)], PLACES)
    np.testing.assert_array_equal(frames[[0, 1, 2]], whole())


def clip_set(frames: np.ndarray, ids: str, speaker: str | None) -> ClipSet:
    n = len(frames)
    segments = ((0.0, 1.0, "sil"), (1.0, 2.0, "a"), (2.0, 3.0, "sil"))
    speakers = () if speaker is None else (speaker,) * n
    return ClipSet(frames, np.full(n, frames.shape[1]), tuple(ids), ("a",) * n, (segments,) * n, speakers)


def test_of_two_clips_with_one_id_the_last_stays():
    both = joined([clip_set(SHORT, "ab", "s1"), clip_set(LONG, "bcd", "s2")])
    assert dict(zip(both.ids, both.speakers, strict=True)) == {"a": "s1", "b": "s2", "c": "s2", "d": "s2"}
    b = both.ids.index("b")
    np.testing.assert_array_equal(both.frames[b], LONG[0])
    assert both.lengths[b] == 5 and both.lengths[both.ids.index("a")] == 3
    batch = collect(both, [both.ids.index("a"), b], None)
    np.testing.assert_array_equal(batch.frames[0, :3], SHORT[0])
    np.testing.assert_array_equal(batch.frames[1], LONG[0])


def test_some_are_kept_and_subsets_are_arrays():
    sets = [clip_set(SHORT, "ab", "s1"), clip_set(LONG, "cde", None)]
    kept = joined(sets, lambda name, speaker: name != "d" and speaker in ("s1", ""))
    assert kept.ids == ("a", "b", "c", "e") and kept.speakers == ("s1", "s1", "", "")
    assert isinstance(kept.subset([2, 0]).frames, np.ndarray)
    np.testing.assert_array_equal(kept.subset([2]).frames[0], LONG[0])
    none = joined(sets, lambda name, speaker: False)
    assert len(none) == 0 and none.subset([]).frames.shape == (0, 5, 4, 6)


def test_nothing_is_copied():
    both = joined([clip_set(SHORT, "ab", "s1"), clip_set(LONG, "cde", "s2")])
    assert np.shares_memory(both.frames[2], LONG)
