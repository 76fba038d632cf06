"""What learners write by mistake in the exercises of notebook 07 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import math
import re
from itertools import groupby, pairwise

import numpy as np
import torch

from lessons.data.grid.mouth_crop import smooth
from tests.checks.exercises import answer_tests

NAN = float("nan")


def parsed(
    unit=1000,
    split=str.splitlines,
    fields=str.split,
    skip=True,
    silences=(),
    number=int,
    careful=True,
    empty=True,
    equal=True,
    negative=True,
):
    """parse_align with one slip."""

    def function(text):
        rows = []
        for line in split(text):
            if skip and not line.strip():
                continue
            parts = fields(line)
            if careful and len(parts) != 3:
                raise ValueError("three fields")
            start, end, word = (*parts, "", "")[:3]
            if word in silences:
                continue
            start, end = number(start) / unit, number(end) / unit
            if negative and start < 0:
                raise ValueError("below 0")
            if equal and start >= end:
                raise ValueError("backwards")
            rows.append((start, end, word))
        if empty and not rows:
            raise ValueError("no line")
        return rows

    return function


right_parse = parsed()


def windows(
    width=lambda boxes: np.median(boxes[:, 2]),
    fill=np.interp,
    smoothing=smooth,
    down=0.32,
    wide=0.60,
    high=0.30,
    change=lambda found: found,
):
    """mouth_windows with one slip."""

    def function(at, boxes, n_frames, sigma):
        size = width(boxes)
        x, y = (smoothing(fill(np.arange(n_frames), at, boxes[:, i]), sigma) for i in (0, 1))
        y = y + down * size
        half_x, half_y = wide / 2 * size + 0 * x, high / 2 * size + 0 * x
        return change(np.stack((x - half_x, y - half_y, x + half_x, y + half_y), axis=1))

    return function


def nearest_box(frames, at, values):
    return values[np.abs(frames[:, None] - at).argmin(1)]


def last_box(frames, at, values):
    return values[np.maximum(np.searchsorted(at, frames, side="right") - 1, 0)]


def evenly_spread(frames, at, values):
    return np.interp(frames, np.linspace(0, len(frames) - 1, len(at)), values)


def own_widths(at, boxes, n_frames, sigma):
    size = np.interp(np.arange(n_frames), at, boxes[:, 2])
    return windows(width=lambda boxes: size)(at, boxes, n_frames, sigma)


def zero_padded(values, sigma):
    reach = int(np.ceil(4 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(values, reach), weights / weights.sum(), mode="valid")


def changes_its_boxes(at, boxes, n_frames, sigma):
    boxes[:, 1] += 0.32 * np.median(boxes[:, 2])
    return windows(down=0.0)(at, boxes, n_frames, sigma)


def by_frame(at, boxes, n_frames, sigma):
    """A loop over the frames, rows of lists."""
    width = sorted(boxes[:, 2].tolist())
    width = (width[len(width) // 2] + width[(len(width) - 1) // 2]) / 2
    x = smooth(np.interp(range(n_frames), at, boxes[:, 0]), sigma)
    y = smooth(np.interp(range(n_frames), at, boxes[:, 1]), sigma)
    rows = []
    for t in range(n_frames):
        top = y[t] + 0.32 * width - 0.15 * width
        rows.append([x[t] - 0.3 * width, top, x[t] + 0.3 * width, top + 0.3 * width])
    return rows


def in_torch(at, boxes, n_frames, sigma):
    found = windows()(at, boxes, n_frames, sigma)
    return torch.from_numpy(found)


def in_one_array(at, boxes, n_frames, sigma):
    width = np.quantile(boxes[:, 2], 0.5)
    track = np.apply_along_axis(
        lambda v: smooth(np.interp(np.arange(n_frames), at, v), sigma), 0, boxes[:, :2]
    )
    return np.tile(track, 2) + width * np.array([-0.3, 0.17, 0.3, 0.47])


def mouth_first(at, boxes, n_frames, sigma):
    """The way down to the mouth before interpolating."""
    width = np.median(boxes, axis=0)[2]
    mouth = boxes[:, :2] + [0.0, 0.32 * width]
    x, y = (smooth(np.interp(np.arange(n_frames), at, mouth[:, i]), sigma) for i in range(2))
    return np.column_stack((x - 0.3 * width, y - 0.15 * width, x + 0.3 * width, y + 0.15 * width))


def by_regex(text):
    rows = []
    for number, line in enumerate(re.split(r"\r?\n", text)):
        if not line.strip():
            continue
        match = re.fullmatch(r"\s*(\d+)\s+(\d+)\s+(\S+)\s*", line)
        if not match or int(match[1]) >= int(match[2]):
            raise ValueError(f"line {number} is wrong: {line}")
        rows.append([int(match[1]) / 1000, int(match[2]) / 1000, match[3]])
    if not rows:
        raise ValueError("nothing in it")
    return rows


def by_conversion(text):
    """int() raises the error by itself for what is not an integer."""
    rows = []
    for line in filter(str.strip, text.splitlines()):
        start, end, word = line.split()
        start, end = int(start), int(end)
        if not 0 <= start < end:
            raise ValueError(f"{word}: {start} to {end}")
        rows.append((start / 1e3, end / 1e3, word))
    if len(rows) == 0:
        raise ValueError("empty")
    return tuple(rows)


def by_numpy(text):
    lines = [line.split() for line in text.split("\n") if line.split()]
    if not lines or any(len(line) != 3 for line in lines):
        raise ValueError("expected three fields in each line")
    times = np.array([[int(a), int(b)] for a, b, _ in lines])
    if (times < 0).any() or (np.diff(times) <= 0).any():
        raise ValueError("times must rise from 0")
    return [(a, b, line[2]) for (a, b), line in zip(times / 1000, lines, strict=True)]


def skips_bad_lines(text):
    rows = []
    for line in text.splitlines():
        try:
            rows += right_parse(line)
        except ValueError:
            continue
    if not rows:
        raise ValueError("no line")
    return rows


def stops_at_a_bad_line(text):
    rows = []
    for line in filter(str.strip, text.splitlines()):
        try:
            rows += right_parse(line)
        except ValueError:
            if not rows:
                raise
            break
    if not rows:
        raise ValueError("no line")
    return rows


def without_a_message(text):
    try:
        return right_parse(text)
    except ValueError:
        raise ValueError from None


def fills_gaps(text):
    """Each word lasts to the start of the next."""
    rows = right_parse(text)
    ends = [*(start for start, _, _ in rows[1:]), rows[-1][1]]
    return [(start, end, word) for (start, _, word), end in zip(rows, ends, strict=True)]


def requires_zero(text):
    rows = right_parse(text)
    if rows[0][0] != 0:
        raise ValueError("expected 0 as the first time")
    return rows


def one_blank_at_most(word):
    return len(word) + any(a == b for a, b in pairwise(word))


def frame_by_frame(segments):
    """Every frame asks whose it is."""
    rows = []
    for start, end, word in segments:
        mine = [t for t in range(80) if start <= 1000 * t + 500 < end]
        need = len(word) + len([1 for k in range(1, len(word)) if word[k] == word[k - 1]])
        if len(mine) >= need and word not in {"sil", "sp"}:
            rows.append((word, mine[0], mine[-1] + 1))
    return rows


def with_runs(segments):
    """L + R as letters plus repeats, by groupby."""
    return usable(need=lambda word: sum(2 * len(list(run)) - 1 for _, run in groupby(word)))(segments)


def with_numpy(segments):
    centers = 1000 * np.arange(100) + 500
    rows = []
    for start, end, word in segments:
        mine = np.flatnonzero((centers >= start) & (centers < end))
        if word in ("sil", "sp") or len(mine) < len(word) + sum(map(str.__eq__, word, word[1:])):
            continue
        rows.append((word, mine[0], mine[-1] + 1))
    return rows


def usable(
    need=lambda word: len(word) + sum(a == b for a, b in pairwise(word)),
    frame=lambda moment: math.ceil((moment - 500) / 1000),
    last=None,
    silences=("sil", "sp"),
    row=lambda word, first, end: (word, first, end),
    enough=lambda n, needed: n >= needed,
):
    """usable_words with one slip."""

    def function(segments):
        kept = []
        for start, end, word in segments:
            first, stop = frame(start), (last or frame)(end)
            if word not in silences and enough(stop - first, need(word)):
                kept.append(row(word, first, stop))
        return kept

    return function


WRONG = {
    "parse_align": [
        ("rounds to hundredths", lambda t: [(round(a, 2), round(b, 2), w) for a, b, w in right_parse(t)],
         "Round nothing"),
        ("keeps the unit", parsed(unit=1), "1000 units are one frame"),
        ("takes it for milliseconds", parsed(unit=40), "gave 25.0.* 1000 units are one frame"),
        ("seconds", parsed(unit=25_000), "which is wrong"),
        ("whole frames", lambda t: [(a // 1, b, w) for a, b, w in right_parse(t)], "Keep the fractions"),
        ("rounds", lambda text: [(round(a), round(b), w) for a, b, w in right_parse(text)], "fractions"),
        ("LF only", parsed(split=lambda t: t.split("\n"), fields=lambda r: r.split(" ")), "CRLF"),
        ("stops at an empty line", parsed(skip=False), "stopped with ValueError|Empty lines"),
        ("leaves out sil", parsed(silences=("sil",)), "gave 1 values, expected 2"),
        ("leaves out sp", parsed(silences=("sp",)), "sil and sp are lines"),
        ("cuts the last line", lambda t: right_parse(t.rpartition("\n")[0] or t), "no newline"),
        ("word first", lambda t: [(w, a, b) for a, b, w in right_parse(t)], "expected a number"),
        ("text for times", lambda t: [(str(a), str(b), w) for a, b, w in right_parse(t)], "number|nan"),
        ("a dictionary", lambda t: {w: (a, b) for a, b, w in right_parse(t)}, "dict"),
        ("fractions", parsed(number=float), "not an integer needs a ValueError"),
        ("a length", lambda t: [(a, b - a, w) for a, b, w in right_parse(t)], "which is wrong"),
        ("pairs", lambda t: [(a, w) for a, b, w in right_parse(t)], "values, expected|of length 3"),
        ("NaN", lambda t: [(NAN, b, w) for a, b, w in right_parse(t)], "number|nan"),
        ("skips bad lines", skips_bad_lines, "after good lines needs a ValueError"),
        ("stops at a bad line", stops_at_a_bad_line, "after good lines needs a ValueError"),
        ("an error without a message", without_a_message, "without a message"),
        ("no check of fields", parsed(careful=False), "A line without a word needs a ValueError"),
        ("ends before it starts", parsed(equal=False), "ends before it starts needs a ValueError"),
        ("below 0", parsed(negative=False), "negative time needs a ValueError"),
        ("empty is fine", parsed(empty=False), "without a line needs a ValueError"),
        ("returns None for it", lambda t: right_parse(t) if t else None, "without a line needs a ValueError"),
        ("fills gaps", fills_gaps, "there may be a gap"),
        ("requires 0 as first time", requires_zero, "500 2000 set.*stopped with ValueError"),
        ("short words only", lambda t: [(a, b, w[:5]) for a, b, w in right_parse(t)], "which is wrong"),
        ("no return", lambda t: None, "gave None"),
        ("other error", lambda t: right_parse(t) if t else [][0], "a file without a line raise a ValueError"),
    ],
    "mouth_windows": [
        ("75 frames at most", lambda at, b, n, s: windows()(at, b, n, s)[:75], "any number of frames"),
        ("around the face", windows(down=0.0), "its mouth is at"),
        ("above the face", windows(down=-0.32), "its mouth is at"),
        ("a square", windows(high=0.60), "60 wide"),
        ("sides swapped", windows(wide=0.30, high=0.60), "60 wide"),
        ("full sizes for halves", windows(wide=1.2, high=0.6), "60 wide"),
        ("a fixed way down", windows(down=0.0, change=lambda w: w + np.array([0, 32, 0, 32])), "scale"),
        ("the mean width", windows(width=lambda b: b[:, 2].mean()), "the median of the detected widths"),
        ("the largest width", windows(width=lambda b: b[:, 2].max()), "the median of the detected"),
        ("a width per frame", own_widths, "One width for the whole clip"),
        ("no smoothing", windows(smoothing=lambda v, sigma: v), "σ is an argument|moves linearly"),
        ("a fixed sigma", windows(smoothing=lambda v, sigma: smooth(v)), "σ is an argument"),
        ("zeros at the ends", windows(smoothing=zero_padded), "values are wrong"),
        ("nothing is interpolated", windows(fill=lambda f, at, v: np.resize(v, len(f))), "moves linearly"),
        ("the nearest box", windows(fill=nearest_box), "moves linearly"),
        ("the last box seen", windows(fill=last_box), "moves linearly"),
        ("detections spread evenly", windows(fill=evenly_spread), "any frames|One detection"),
        ("x, y, width, height", windows(change=lambda w: np.c_[w[:, :2], w[:, 2:] - w[:, :2]]), "wrong"),
        ("rows first", windows(change=lambda w: w[:, [1, 0, 3, 2]]), "values are wrong"),
        ("corners swapped", windows(change=lambda w: w[:, [2, 3, 0, 1]]), "values are wrong"),
        ("transposed", windows(change=lambda w: w.T), "gave shape"),
        ("integers", windows(change=lambda w: w.round().astype(int)), "floating-point"),
        ("rounded", windows(change=np.round), "values are wrong"),
        ("one frame short", windows(change=lambda w: w[:-1]), "gave shape"),
        ("only the detected frames", lambda at, b, n, s: windows()(at, b, n, s)[at], "gave shape"),
        ("float32", windows(change=np.float32), "wrong dtype"),
        ("changes the boxes", changes_its_boxes, "changed boxes"),
        ("cut at the edge", windows(change=lambda w: np.maximum(w, 0)), "beyond the edge of the frame"),
        ("NaN", windows(change=lambda w: w * NAN), "NaN"),
        ("text", lambda *a: "window", "expected an array"),
        ("no return", lambda *a: None, "gave None"),
    ],
    "usable_words": [
        ("six words at most", lambda segments: usable()(segments)[:6], "any number of words"),
        ("keeps all", usable(need=lambda word: 1), "Two frames cannot spell three"),
        ("no repeats", usable(need=len), "blank between two equal"),
        ("any repeat", usable(need=lambda word: 2 * len(word) - len(set(word))), "not neighbors"),
        ("to the nearest border", usable(frame=lambda m: round(m / 1000)), "3 is at 3500"),
        ("one blank at most", usable(need=one_blank_at_most), "a blank of its own"),
        ("stops at frame 70", usable(row=lambda w, a, b: (w, a, min(b, 70))), "end with the clip"),
        ("2 L + 1", usable(need=lambda word: 2 * len(word) + 1), "Three frames, three letters"),
        ("more than needed", usable(enough=lambda n, needed: n > needed), "Three frames, three letters"),
        ("keeps sil", usable(silences=("sp",)), "Silence is not a word"),
        ("keeps sp", usable(silences=("sil",)), "pause is not a word"),
        ("rounds down", usable(frame=lambda m: m // 1000), "0 is at 500"),
        ("every frame touched", usable(last=lambda m: -(-m // 1000), frame=lambda m: m // 1000), "frame 0"),
        ("a frame twice", usable(last=lambda m: math.ceil((m - 500) / 1000) + 1), "which is wrong"),
        ("milliseconds", usable(frame=lambda m: round(m / 40)), "which is wrong"),
        ("end at its last frame", usable(row=lambda w, a, b: (w, a, b - 1)), "which is wrong"),
        ("first at 0", usable(row=lambda w, a, b: (w, 0, b - a)), "`first` counts"),
        ("end is a length", usable(row=lambda w, a, b: (w, a, b - a)), "`first` counts"),
        ("floats", usable(row=lambda w, a, b: (w, float(a), float(b))), "expected an integer"),
        ("start first", usable(row=lambda w, a, b: (a, b, w)), "expected a str"),
        ("words only", usable(row=lambda w, a, b: w), "values, expected|of length 3"),
        ("NaN", usable(row=lambda w, a, b: (w, NAN, NAN)), "expected an integer"),
        ("inclusive end", usable(frame=lambda m: math.floor((m - 500) / 1000) + 1), "3 is at 3500"),
        ("no return", lambda segments: None, "gave None"),
    ],
}  # fmt: skip


RIGHT = {
    "parse_align": [
        right_parse,
        by_regex,
        by_conversion,
        by_numpy,
        lambda text: list(map(list, by_regex(text))),
    ],
    "mouth_windows": [windows(), by_frame, in_torch, in_one_array, mouth_first],
    "usable_words": [
        usable(),
        frame_by_frame,
        with_runs,
        with_numpy,
        usable(frame=lambda moment: int(np.ceil(moment / 1000 - 0.5)), row=lambda *row: list(row)),
    ],
}


TestAnswers = answer_tests("07", WRONG, RIGHT)
