"""What learners write by mistake in the exercises of notebook 15 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from lessons.checks import check
from lessons.checks.capstone import CHECKS
from tests.checks.exercises import each_wrong_answer


def test_other_right_answers_pass():
    def generator_smooth(found, share):
        box, out = None, []
        for new in found:
            if new is not None:
                box = new.clone() if box is None else share * new + (1 - share) * box
            out.append(box)
        return tuple(out)

    def padded(frame, left, top, right, bottom):
        far = 20
        wide = F.pad(frame[None, None].float(), (far, far, far, far), mode="constant")
        rows = torch.arange(top, bottom).clamp(0, frame.shape[0] - 1) + far
        columns = torch.arange(left, right).clamp(0, frame.shape[1] - 1) + far
        return wide[0, 0][rows][:, columns]

    def slow_words(frames, find, cut, read, every):
        crops, waiting, words, any_box = [], [], [], False
        for frame in frames:
            box = find(frame)
            waiting.append(frame)
            if box is not None:
                any_box = True
                crops.extend(cut(f, box) for f in waiting)
                waiting.clear()
            while len(crops) >= every:
                words.extend(read(crops[:every], False))
                del crops[:every]
        return words + list(read(crops, True)) if any_box else words

    check("15.smooth_boxes", generator_smooth)
    check("15.cut", padded)
    check("15.live_words", slow_words)
    check(
        "15.earliest_telling",
        lambda end, reach, every, agree: every * (-(-(end + reach) // every) + agree - 1),
    )


# Wrong answers


def smooth(start="first", gap="hold", share_of="new", before=None, in_place=False, chain=True):
    """An exponential mean with a slip."""

    def function(found, share):
        box, last, out = None, None, []
        for new in found:
            if new is None:
                if gap == "hold":
                    out.append(box)
                elif gap == "none":
                    out.append(None)
                elif gap == "reset":
                    box = None
                    out.append(None)
                continue
            weight = share if share_of == "new" else 1 - share
            if box is None:
                box = new if start == "first" else weight * new
                if in_place:
                    box = new
            elif in_place:
                box += weight * (new - box)
            else:
                from_box = box if chain else last
                box = from_box + weight * (new - from_box)
            last = new
            out.append(box)
        return out

    return function


def centered(found, share):
    """The mean of a window that looks ahead."""
    out = []
    for t in range(len(found)):
        near = [box for box in found[max(0, t - 1) : t + 2] if box is not None]
        out.append(sum(near) / len(near) if near else None)
    return out


def filled(found, share):
    """Frames before the first box take it: that is looking ahead."""
    out = smooth()(found, share)
    first = next((box for box in out if box is not None), None)
    return [first if box is None else box for box in out]


def running_mean(found, share):
    boxes, out = [], []
    for box in found:
        boxes += [] if box is None else [box]
        out.append(sum(boxes) / len(boxes) if boxes else None)
    return out


def sliced(frame, left, top, right, bottom):
    return frame[top:bottom, left:right]


def clamped(frame, left, top, right, bottom):
    """The box is cut off at the border: a smaller crop."""
    return frame[max(0, top) : max(0, bottom), max(0, left) : max(0, right)]


def pushed_back(frame, left, top, right, bottom):
    """The box is pushed back into the picture."""
    height, width = frame.shape
    high, wide = bottom - top, right - left
    top, left = min(max(top, 0), max(height - high, 0)), min(max(left, 0), max(width - wide, 0))
    rows, columns = (torch.arange(n) for n in (high, wide))
    return frame[(top + rows).clamp(max=height - 1)][:, (left + columns).clamp(max=width - 1)]


def by_index(rows, columns):
    def function(frame, left, top, right, bottom):
        height, width = frame.shape
        return frame[rows(top, bottom, height)][:, columns(left, right, width)]

    return function


def near(a, b, n):
    return torch.arange(a, b).clamp(0, n - 1)


def zeros(frame, left, top, right, bottom):
    wide = F.pad(frame, (20, 20, 20, 20))
    return wide[top + 20 : bottom + 20, left + 20 : right + 20]


def black_and_mine(frame, left, top, right, bottom):
    out = by_index(near, near)(frame, left, top, right, bottom)
    frame[0, 0] = 0
    return out


def loop(
    early="wait", tail=True, box_of="now", pieces="every", last_flag="end", keep_waiting=False, guard=True,
    give="all", twice=False,
):  # fmt: skip
    """The join with a slip."""

    def function(frames, find, cut, read, every):
        words, crops, waiting, box, fresh = [], [], [], None, []
        for frame in frames:
            new = find(frame)
            if twice:
                find(frame)
            box = new if new is not None else box
            if box is None:
                if early == "wait":
                    waiting.append(frame)
                elif early == "cut":
                    crops.append(cut(frame, None))
                continue
            crops += [cut(frame if box_of == "newest frame" else f, box) for f in waiting]
            if not keep_waiting:
                waiting = []
            crops.append(cut(frame, box))
            while pieces == "every" and len(crops) >= every:
                fresh = read(crops[:every], last_flag == "always")
                words += fresh
                crops = crops[every:]
            if pieces == "one":
                words += read(crops, False)
                crops = []
            if pieces == "all again" and len(crops) % every == 0:
                words += read(crops, False)
        if tail and (box is not None or not guard):
            words += read(crops, last_flag != "never")
        return words if give == "all" else fresh

    return function


def ahead(frames, find, cut, read, every):
    """All boxes first, and frames wait for the last one."""
    boxes = [find(frame) for frame in frames]
    best = next((box for box in reversed(boxes) if box is not None), None)
    if best is None:
        return []
    crops = [cut(frame, best) for frame in frames]
    words = []
    while len(crops) >= every:
        words += read(crops[:every], False)
        crops = crops[every:]
    return words + read(crops, True)


def up(a, b):
    return -(-a // b)


HOLD, LOOK = "stays where it was", "Before the first box there is None"
WRONG = {
    "smooth_boxes": [
        ("the share of the old", smooth(share_of="old"), "wrong"),
        ("starts at zero", smooth(start="zero"), "stands still"),
        ("none in a gap", smooth(gap="none"), HOLD),
        ("a gap is left out", smooth(gap="skip"), HOLD),
        ("begins anew after a gap", smooth(gap="reset"), HOLD),
        ("in place", smooth(in_place=True), "make new ones"),
        ("from the box found", smooth(chain=False), "not from the one found"),
        ("looks ahead", centered, "newest box has the share"),
        ("fills the beginning", filled, LOOK),
        ("a mean of all", running_mean, "newest box has the share"),
        ("only the last", lambda found, share: smooth()(found, share)[-1:], "1 boxes for 3 frames"),
        ("not smoothed", lambda found, share: list(found), "newest box has the share"),
        ("no answer", lambda found, share: None, "gave None"),
        ("a number", lambda found, share: 0.5, "expected a list"),
        ("NaN", lambda found, share: [torch.full((4,), math.nan) for _ in found], "NaN"),
        ("needs a box", lambda found, share: [box * share for box in found], "wrong"),
    ],
    "cut": [
        ("a slice", sliced, "below 0"),
        ("cut off at the border", clamped, "expected (4, 7)"),
        ("pushed back", pushed_back, "nearest pixel"),
        ("zeros around", zeros, "nearest pixel"),
        ("mirrored", by_index(lambda a, b, n: torch.arange(a, b).abs().clamp(max=n - 1), near), "Rows above"),
        ("wraps", by_index(near, lambda a, b, n: torch.arange(a, b) % n), "nearest pixel"),
        (
            "one column more",
            by_index(near, lambda a, b, n: torch.arange(a, b + 1).clamp(0, n - 1)),
            "expected",
        ),
        ("one row late", by_index(lambda a, b, n: near(a + 1, b + 1, n), near), "wrong"),
        (
            "x and y swapped",
            lambda f, x0, y0, x1, y1: by_index(near, near)(f, y0, x0, y1, x1),
            "rows come first",
        ),
        ("sides, not corners", lambda f, x, y, w, h: by_index(near, near)(f, x, y, x + w, y + h), "expected"),
        ("changes the frame", black_and_mine, "changed the frame"),
        (
            "only above and left",
            by_index(lambda a, b, n: torch.arange(a, b).clamp(min=0), near),
            "stopped with",
        ),
        ("an array", lambda *a: by_index(near, near)(*a).numpy(), "expected a tensor"),
        ("no answer", lambda *a: None, "gave None"),
    ],
    "live_words": [
        ("early frames are lost", loop(early="drop"), "cut out where it is"),
        ("early frames are cut at None", loop(early="cut"), "no box yet"),
        ("early frames never leave", loop(keep_waiting=True), "each frame once"),
        ("the newest frame for all", loop(box_of="newest frame"), "each frame once"),
        ("the rest is not read", loop(tail=False), "last was"),
        ("last is never said", loop(last_flag="never"), "last was"),
        ("last is always said", loop(last_flag="always"), "called again after last"),
        ("a reading a frame", loop(pieces="one"), "pieces of"),
        ("all again each time", loop(pieces="all again"), "was shown"),
        ("one piece at the end", loop(pieces="end"), "pieces of"),
        ("reads without a mouth", loop(guard=False), "No mouth"),
        ("only the newest words", loop(give="newest"), "expected those of all readings"),
        ("finds twice", loop(twice=True), "each once, in order"),
        ("looks at the whole film first", ahead, "cut out at the box"),
        ("no answer", lambda *a: None, "gave None"),
    ],
    "earliest_telling": [
        ("no wait", lambda e, r, n, a: e + r + (a - 1) * n, "wait for the next one"),
        ("rounds down", lambda e, r, n, a: (e + r) // n * n + (a - 1) * n, "few"),
        ("one reading too many", lambda e, r, n, a: up(e + r, n) * n + a * n, "many"),
        ("always waits", lambda e, r, n, a: ((e + r) // n + 1) * n + (a - 1) * n, "many"),
        ("no look ahead", lambda e, r, n, a: up(e, n) * n + (a - 1) * n, "`reach`"),
        ("look ahead after the wait", lambda e, r, n, a: up(e, n) * n + r + (a - 1) * n, "First the frames"),
        ("the delay alone", lambda e, r, n, a: up(e + r, n) * n + (a - 1) * n - e, "few"),
        ("readings are frames", lambda e, r, n, a: up(e + r, n) * n + a - 1, "must agree"),
        ("agreement forgotten", lambda e, r, n, a: up(e + r, n) * n, "must agree"),
        ("the number of the reading", lambda e, r, n, a: up(e + r, n) + a - 1, "few"),
        ("a truth", lambda e, r, n, a: True, "expected a whole number"),
        ("NaN", lambda e, r, n, a: math.nan, "expected a whole number"),
        ("words", lambda e, r, n, a: "15", "expected a whole number"),
        ("no answer", lambda e, r, n, a: None, "gave None"),
    ],
}


@each_wrong_answer(WRONG)
def test_wrong_answers_are_told_why(exercise, wrong, message):
    with pytest.raises(AssertionError) as caught:
        CHECKS[exercise](wrong)
    assert message in str(caught.value)


def test_every_exercise_has_wrong_answers():
    assert set(WRONG) == set(CHECKS) and min(map(len, WRONG.values())) >= 8
