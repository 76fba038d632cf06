"""The times of a video's pictures, and the same video at 25 frames per second."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import av
import numpy as np

FPS = 25  # frames per second of every array
MAX_RATE = 1000  # frames per second: a file that claims more has no usable times
LOOK_AHEAD = 5  # pictures whose times are looked at first
MAX_GAP = 10.0  # seconds: a longer step between two frames is a jump of the clock, not a stall
Picture = tuple[float | None, av.VideoFrame]  # its time in seconds, and what the decoder gave


def at_25(pictures: Iterable[tuple[float, object]]) -> Iterator[object]:
    """Resample (time, picture) pairs of rising times: for each 1/25 s the picture whose time is nearest.

    The last picture lasts as long as pictures usually do, so n pictures at 25 per second give n.
    """
    pictures = iter(pictures)
    for start, shown in pictures:  # the first one
        before, gaps, n = start, deque(maxlen=FPS), 0
        for time, picture in pictures:
            gaps.append(time - before)
            while n / FPS <= (before + time) / 2 - start + 1e-6:  # halfway between two, the earlier one
                yield shown
                n += 1
            before, shown = time, picture
        lasts = float(np.median(gaps)) if gaps else 1 / FPS
        for _ in range(n, max(1, round((before - start + lasts) * FPS))):
            yield shown


def with_times(
    path: Path, pictures: Iterator[Picture], stream: av.VideoStream, warn: Callable[[str], object]
) -> Iterator[tuple[float, av.VideoFrame]]:
    """The same pictures with times that always rise, by at most 10 s; even ones where there are none."""
    first = list(itertools.islice(pictures, LOOK_AHEAD))
    gaps = np.diff([time for time, _ in first if time is not None])
    rate = getattr(stream.codec_context, "framerate", None) or stream.average_rate
    usual = float(1 / rate) if rate and 1 <= rate <= MAX_RATE else 1 / FPS
    usable = len(first) < 2 or (len(gaps) > 0 and np.median(gaps) >= 1 / MAX_RATE)
    if not usable:
        warn(f"{path}: the file has no usable times; taken as {1 / usual:g} frames per second")
    now, offset = -usual, 0.0  # what is added to the file's times
    for n, (time, picture) in enumerate(itertools.chain(first, pictures)):
        expected = now + usual
        if time is not None and usable:
            if n == 0 or not 0 < time + offset - now <= MAX_GAP:  # the clock jumps
                offset = expected - time
            now = time + offset
        else:
            now = expected
        yield now, picture
