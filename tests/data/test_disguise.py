"""Disguises: each clip in its own, every frame of a clip in the same, and the sentence stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lessons.data import disguise as module
from lessons.data.disguise import damaged, disguise, posed, relit
from lessons.data.synthetic.talker import synthetic_clips

SIZES = [(32, 64), (64, 128)]
SEEDS = range(6)


def still(n_clips: int = 3, n_frames: int = 5, size: tuple[int, int] = (32, 64)) -> Tensor:
    """Clips in which nothing moves, all of one picture."""
    frame = torch.from_numpy(synthetic_clips(1, 0, size).frames[0, 20])
    return frame.float().expand(n_clips, n_frames, *size).clone()


def moving(n_clips: int = 3) -> Tensor:
    return torch.from_numpy(synthetic_clips(n_clips, 0).frames)


@pytest.fixture(params=[posed, relit, damaged, disguise])
def change(request):
    return request.param


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("change", [posed, relit])
def test_a_still_clip_stays_still_and_no_two_clips_get_the_same(change, size, device):
    clips = still(size=size).to(device)
    for seed in SEEDS:
        found = change(clips, np.random.default_rng(seed))
        assert found.shape == clips.shape and found.device == clips.device
        torch.testing.assert_close(found, found[:, :1].expand_as(found), rtol=0, atol=1e-3)
        for i in range(3):
            assert (found[i] - clips[i]).abs().mean() > 0.5  # something happened
            assert (found[i] - found[i - 1]).abs().mean() > 0.5  # and something else to the next


def test_a_move_stays_where_it_is_in_time(change, device):
    """Frames that differ still do, and each depends on its own frame alone (a blur and a gap included)."""
    clips = still(2, 60).to(device)
    clips[:, 30] = clips[:, 30].flip(-2)
    for seed in SEEDS:
        found, without = (change(c, np.random.default_rng(seed)) for c in (clips, still(2, 60).to(device)))
        differs = (found - without).abs().mean((2, 3))  # (B, T)
        others = torch.arange(60, device=device) != 30
        # A gap is filled with the clip's mean, into which each frame goes with a sixtieth.
        assert differs[:, others].max() < 1.0 and differs[:, 30].max() > 2.0


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float64])
def test_any_type_of_numbers_goes_in_and_is_left_as_it_was(dtype):
    clips = moving().to(dtype)
    before = clips.clone()
    found = disguise(clips, np.random.default_rng(0))
    assert found.dtype == torch.float32 and found.shape == clips.shape
    assert torch.equal(clips, before)
    torch.testing.assert_close(found, disguise(before.float(), np.random.default_rng(0)))


def test_gray_values_stay_near_those_of_a_camera():
    clips = moving(2)
    for seed in range(30):
        rng = np.random.default_rng(seed)
        pose = posed(clips.float(), rng)
        assert -1e-3 <= pose.min() and pose.max() <= 255 + 1e-3
        light = relit(pose, rng)
        assert light.min() >= 0 and light.max() <= 1.5 * 255 + 1e-3
        worse = damaged(light, rng)
        assert torch.isfinite(worse).all()
        assert worse.min() > -6 * 12 and worse.max() < 1.5 * 255 + 6 * 12  # noise of at most 12
        assert worse.std() > 5  # the mouth is still there


def test_the_seed_decides_all(change):
    clips = moving().float()
    first, again, other = (change(clips, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("size", SIZES)
def test_without_strength_nothing_changes(monkeypatch, size):
    for name in ("TURN", "ZOOM", "ASPECT", "BEND", "GAMMA", "LIGHT", "DULL", "NOISY", "COVERED", "MISSING"):
        monkeypatch.setattr(module, name, 0.0)
    monkeypatch.setattr(module, "SHIFT", (0.0, 0.0))
    clips = torch.from_numpy(synthetic_clips(2, 0, size).frames)[:, :6].float()
    found = torch.cat([disguise(clips, np.random.default_rng(seed)) for seed in range(4)])
    mirrored = 0
    for clip, origin in zip(found, clips.repeat(4, 1, 1, 1), strict=True):
        as_it_is, flipped = ((clip - other).abs().max() for other in (origin, origin.flip(-1)))
        assert min(as_it_is, flipped) < 0.5
        mirrored += int(flipped < as_it_is)
    assert 0 < mirrored < 8


@pytest.mark.parametrize("size", SIZES)
def test_a_turn_keeps_shapes_in_pixels(monkeypatch, size):
    """A disk stays a disk: the grid counts in halves of each side, and a frame is twice as wide as high."""
    for name in ("ZOOM", "ASPECT", "BEND"):
        monkeypatch.setattr(module, name, 0.0)
    monkeypatch.setattr(module, "SHIFT", (0.0, 0.0))
    monkeypatch.setattr(module, "TURN", 1.0)
    height, width = size
    y, x = np.mgrid[:height, :width] + 0.5 - np.array([height, width])[:, None, None] / 2
    disk = torch.from_numpy(200.0 * (np.hypot(x, y) < height / 4)).float()  # (H, W)
    bar = torch.from_numpy(200.0 * ((np.abs(x) < height / 4) & (np.abs(y) < 2))).float()  # (H, W)
    found = posed(torch.stack((disk, bar)).expand(8, 2, height, width), np.random.default_rng(0))
    filmed = np.hypot(x, y) < height / 2 - 1  # no turn shows what lies outside the clip here
    assert (found[:, 0] - disk).abs()[:, filmed].mean() < 4
    for clip in found[:, 1].numpy():
        far = np.hypot(x, y)[(clip > 100) & filmed].max()
        assert far == pytest.approx(height / 4, abs=1.5)
    assert (found[:, 1] - bar).abs()[:, filmed].mean(1).max() > 8  # and it turned


def test_damage_of_each_kind(monkeypatch):
    for name in ("DULL", "NOISY", "COVERED", "MISSING"):
        monkeypatch.setattr(module, name, 0.0)
    clips, rng = moving(4).float(), np.random.default_rng(0)
    assert torch.equal(damaged(clips, rng), clips)
    edges = lambda x: x.diff(dim=-1).abs().mean()  # noqa: E731
    with monkeypatch.context() as patch:
        patch.setattr(module, "DULL", 1.0)
        assert edges(damaged(clips, rng)) < 0.95 * edges(clips)
    with monkeypatch.context() as patch:
        patch.setattr(module, "NOISY", 1.0)
        noise = (damaged(clips, rng) - clips).std((1, 2, 3))
        assert (noise > 1.9).all() and (noise < 12.1).all()
    with monkeypatch.context() as patch:
        patch.setattr(module, "COVERED", 1.0)
        hidden = (damaged(clips, rng) != clips).float().mean((2, 3))  # (B, T)
        assert (hidden.amax(1) > 0.005).all() and hidden.max() < 0.17  # of a frame's area
    with monkeypatch.context() as patch:
        patch.setattr(module, "MISSING", 1.0)
        changed = damaged(clips, rng)
        gone = (changed != clips).any(3).any(2)  # (B, T)
        assert ((gone.sum(1) >= 1) & (gone.sum(1) <= 3)).all()
        assert changed[gone].flatten(1).std(1).max() < 1e-3  # of one flat gray
