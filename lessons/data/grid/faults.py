"""Faults of a clip that no decoder reports: gray at the start, or smeared frames.

A clip that lost a key frame decodes to the right number of frames without an error: changes are added to
flat gray, and a key frame that arrives in part is continued downward by its last row. Light is no damage:
brightness, contrast, fades, flashes and motion change the gray values but keep the structure of a frame.
"""

from __future__ import annotations

import numpy as np

from lessons.data.image import resize_area, to_gray

JUDGED_SIZE = (32, 64)
FAR = 15.0  # gray levels from the median picture: a simpler rule, for clips of one light
FLAT = 0.5  # of the usual contrast
STREAKED = 0.6  # vertical over horizontal differences; mouths have at least 0.9
JUMP = 0.6  # of the usual correlation of a frame with the one before
KEY_INTERVAL = 12  # frames of a GRID video from one key frame to the next


def distance_from_median(gray: np.ndarray) -> np.ndarray:
    """Mean absolute difference of each frame (T, H, W) from the clip's median: (T,), in gray levels."""
    clip = gray.astype(np.float32)
    return np.abs(clip - np.median(clip, axis=0)).mean(axis=(1, 2))  # (T,)


def broken_frames(frames: np.ndarray) -> np.ndarray:
    """Which frames have lost their structure, judged at 32x64 with each frame's light divided out.

    On 190 mouths of 30 speakers the relative contrast is at least 0.64 of the usual one, in gray starts at
    most 0.28; vertical over horizontal differences are at least 0.92, in smeared frames at most 0.6.

    Args:
        frames: (T, H, W, 3) uint8 RGB, or (T, H, W) gray.

    Returns:
        (T,) bool: flat frames, streaked ones (in mouths, twice as wide as high), and after a gray start all
        frames until the picture is whole.
    """
    gray = frames if frames.ndim == 3 else to_gray(frames)  # (T, H, W)
    gray = resize_area(gray, JUDGED_SIZE).astype(np.float32)  # (T, 32, 64)
    mean, std = gray.mean(axis=(1, 2)), gray.std(axis=(1, 2))  # (T,)
    # Relative contrast: a fade to black leaves the first as it is, a fade to white the second.
    contrasts = std / np.maximum(1, [mean, 255 - mean])  # (2, T)
    flat = (contrasts < FLAT * np.median(contrasts, axis=1, keepdims=True)).all(axis=0)  # (T,)
    broken = flat.copy()
    if frames.shape[2] == 2 * frames.shape[1]:  # a mouth; other scenes may be striped
        down = np.abs(np.diff(gray, axis=1)).mean(axis=(1, 2))  # (T,)
        across = np.abs(np.diff(gray, axis=2)).mean(axis=(1, 2))  # (T,)
        broken |= down < STREAKED * across
    if (flat & (abs(mean - 128) < 64)).any():  # a key frame was lost
        structure = (gray - mean[:, None, None]) / np.maximum(std, 1)[:, None, None]  # (T, 32, 64)
        alike = (structure[1:] * structure[:-1]).mean(axis=(1, 2))  # (T - 1,)
        jumps = np.flatnonzero(alike < JUMP * np.median(alike))
        if broken[0] and len(jumps):
            broken[: jumps[-1] + 1] = True
    return broken


def picture_fault(broken: np.ndarray) -> str:
    """Name the fault of a clip from its broken frames (T,).

    Returns:
        "" for none; ``bad_start_K`` when only the first K frames are broken and one lost keyframe explains
        them (K <= 12): the rest is usable; else ``rubbish``.
    """
    if not broken.any():
        return ""
    start = int(np.argmin(broken))  # the first frame that is not broken
    lost_one = 0 < start <= KEY_INTERVAL and not broken[start:].any()
    return f"bad_start_{start}" if lost_one else "rubbish"
