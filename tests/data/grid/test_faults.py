"""Damage is told from light and motion."""

from __future__ import annotations

import numpy as np
import pytest

from lessons.data.grid.faults import broken_frames, picture_fault
from lessons.data.grid.mouth_crop import crop_mouth
from lessons.data.synthetic.drawn_face import talk

FACES = talk(50)  # (50, 288, 360, 3)
MOUTHS = crop_mouth(FACES)  # (50, 64, 128, 3)
t = np.arange(50)[:, None, None, None]


def lit(frames: np.ndarray, gain: object = 1.0, offset: object = 0.0) -> np.ndarray:
    return np.clip(frames * gain + offset, 0, 255).astype(np.uint8)


LIGHT = {
    "as it is": lambda x: x,
    "exposure drift": lambda x: lit(x, 0.5 + t / 50),
    "fade in": lambda x: lit(x, np.minimum(1, (t + 2) / 20)),
    "fade to white": lambda x: 255 - lit(255 - x, np.minimum(1, (52 - t) / 20)),
    "light switched on": lambda x: lit(x, np.where(t < 20, 0.4, 1.0)),
    "a flash": lambda x: lit(x, 1, np.where(t == 30, 90, 0)),
    "flicker": lambda x: lit(x, 1 + 0.3 * (-1) ** t),
    "a pan": lambda x: np.stack([np.roll(frame, n * x.shape[2] // 300, axis=1) for n, frame in enumerate(x)]),
}


@pytest.mark.parametrize("frames", [FACES, MOUTHS], ids=["face", "mouth"])
@pytest.mark.parametrize("name", LIGHT)
def test_light_and_motion_are_no_damage(name: str, frames: np.ndarray) -> None:
    assert not broken_frames(LIGHT[name](frames)).any()


@pytest.mark.parametrize("frames", [FACES, MOUTHS], ids=["face", "mouth"])
def test_a_lost_key_frame_is_damage_in_any_light(frames: np.ndarray) -> None:
    for gain in (0.5, 1.0, 1.3):
        lost = lit(frames, gain).astype(int)
        lost[:12] += 128 - lost[0]
        assert picture_fault(broken_frames(np.clip(lost, 0, 255).astype(np.uint8))) == "bad_start_12"


def test_a_key_frame_that_comes_in_part_is_damage() -> None:
    smeared = MOUTHS.copy()
    smeared[20:32, 24:] = smeared[20:32, 24:25]  # the last row that arrived runs down
    assert np.flatnonzero(broken_frames(smeared)).tolist() == list(range(20, 32))
    blinds = np.tile(np.uint8([[20, 20, 230, 230]]), (50, 64, 32))[..., None].repeat(3, axis=-1)
    assert not broken_frames(blinds[:, :, :100]).any()  # no mouth: scenes may be striped


def test_frames_without_any_structure() -> None:
    black = MOUTHS.copy()
    black[10:13] = 0
    assert np.flatnonzero(broken_frames(black)).tolist() == [10, 11, 12]
    assert not broken_frames(np.full_like(MOUTHS, 90)).any()  # all alike: nothing is lost
