"""What learners write by mistake in the exercises of notebook 15 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import collections
import functools
import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F

from lessons.checks.capstone import CHECKS
from tests.checks.exercises import answer_tests, sizes_that_never_vary

# Right answers in other styles


def average_by_weights(found, share):
    box, out = None, []
    for new in found:
        if new is not None:
            box = new.clone() if box is None else share * new + (1 - share) * box
        out.append(box)
    return tuple(out)


def average_by_lerp(found, share):
    out = []
    for new in found:
        last = out[-1] if out else None
        out.append(last if new is None else new if last is None else torch.lerp(last, new, share))
    return out


def average_recursive(found, share):
    if not found:
        return []
    before = average_recursive(found[:-1], share)
    last = before[-1] if before else None
    new = found[-1]
    if new is None:
        return [*before, last]
    return [*before, new if last is None else last - share * (last - new)]


def average_in_a_buffer(found, share):
    there = [box for box in found if box is not None]
    if not there:
        return [None] * len(found)
    box, seen, out = torch.zeros_like(there[0]), False, []
    for new in found:
        if new is not None and not seen:
            box, seen = new, True
        elif new is not None:
            box = box.mul(1 - share).add(new, alpha=share)
        out.append(box.clone() if seen else None)
    return out


def average_by_accumulate(found, share):
    def step(box, new):
        if box is None or new is None:
            return new if box is None else box
        return box + (new - box) * share

    return list(itertools.accumulate(found, step))


def agree_by_index(readings, k, after):
    last = (
        [[w for w in r if w[1] >= after] for r in readings[len(readings) - k :]] if len(readings) >= k else []
    )
    n = 0
    while last and all(n < len(r) for r in last) and all(r[n][0] == last[0][n][0] for r in last):
        n += 1
    return last[-1][:n] if last else []


def agree_by_takewhile(readings, k, after):
    if len(readings) < k:
        return []
    rest = [list(itertools.dropwhile(lambda w: w[1] < after, r)) for r in readings[-k:]]
    same = itertools.takewhile(
        lambda words: all(w[0] == words[0][0] for w in words), zip(*rest, strict=False)
    )
    return [words[-1] for words in same]


def agree_recursive(readings, k, after):
    if k > len(readings):
        return []
    rest = [[w for w in r if w[1] >= after] for r in readings[-k:]]

    def prefix(rest):
        if any(not r for r in rest) or any(r[0][0] != rest[0][0][0] for r in rest):
            return []
        return [rest[-1][0], *prefix([r[1:] for r in rest])]

    return prefix(rest)


def agree_by_reduce(readings, k, after):
    if len(readings) < k:
        return []
    rest = [[w for w in r if not w[1] < after] for r in readings[-k:]]
    texts = [[w[0] for w in r] for r in rest]
    common = functools.reduce(
        lambda n, r: max(i for i in range(n + 1) if r[:i] == texts[-1][:i]), texts, len(texts[-1])
    )
    return rest[-1][:common]


def agree_pair_by_pair(readings, k, after):
    if len(readings) < k:
        return ()
    newest = [list(w) for w in readings[-1] if w[1] >= after]
    for r in reversed(readings[-k:-1]):
        n = 0
        for mine, theirs in zip(newest, [w for w in r if w[1] >= after], strict=False):
            if mine[0] != theirs[0]:
                break
            n += 1
        newest = newest[:n]
    return newest


def words_by_extend(frames, find, cut, read, every):
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


def words_by_index(frames, find, cut, read, every):
    crops, words, first = [], [], None
    for t in range(len(frames)):
        box = find(frames[t])
        if box is None:
            continue
        if first is None:
            first = t
            crops = [cut(frames[s], box) for s in range(t)]
        crops.append(cut(frames[t], box))
        while len(crops) >= every:
            piece, crops = crops[:every], crops[every:]
            words.extend(read(piece, False))
    return words if first is None else words + read(crops, True)


def words_by_queue(frames, find, cut, read, every):
    queue, waiting, words, started = collections.deque(), [], [], False
    for frame in frames:
        waiting += [frame]
        box = find(frame)
        if box is not None:
            started = True
            while waiting:
                queue.append(cut(waiting.pop(0), box))
        while len(queue) >= every:
            words += read([queue.popleft() for _ in range(every)], False)
    if started:
        words += read(list(queue), True)
    return words


def words_by_generator(frames, find, cut, read, every):
    def stream():
        waiting = []
        for frame in frames:
            waiting.append(frame)
            if (box := find(frame)) is not None:
                yield from [cut(f, box) for f in waiting]
                waiting.clear()

    crops, words, started = stream(), [], False
    while len(piece := list(itertools.islice(crops, every))) == every:
        words, started = words + read(piece, False), True
    return words + read(piece, True) if started or piece else words


def words_by_iterator(frames, find, cut, read, every):
    words, piece, waiting, box = [], [], [], None
    for frame in iter(frames):
        box = find(frame)
        waiting.append(frame)
        if box is None:
            continue
        for earlier in waiting:
            piece.append(cut(earlier, box))
            if len(piece) == every:
                words.extend(read(piece, False))
                piece = []
        waiting = []
    if box is not None:
        words.extend(read(piece, True))
    return tuple(words)


def padded(frame, left, top, right, bottom):
    rows = torch.arange(top, bottom).clamp(0, frame.shape[0] - 1) + 40
    columns = torch.arange(left, right).clamp(0, frame.shape[1] - 1) + 40
    return F.pad(frame[None, None], (40, 40, 40, 40))[0, 0][rows][:, columns]


def replicated(frame, left, top, right, bottom):
    wide = F.pad(frame[None, None].float(), (40, 40, 40, 40), mode="replicate")[0, 0].to(frame.dtype)
    return wide[top + 40 : bottom + 40, left + 40 : right + 40]


def by_grid(frame, left, top, right, bottom):
    y, x = torch.meshgrid(torch.arange(top, bottom), torch.arange(left, right), indexing="ij")
    return frame[y.clamp(0, len(frame) - 1), x.clamp(0, frame.shape[1] - 1)]


def by_loops(frame, left, top, right, bottom):
    out = torch.empty(bottom - top, right - left, dtype=frame.dtype)
    for y in range(top, bottom):
        for x in range(left, right):
            out[y - top, x - left] = frame[min(max(y, 0), len(frame) - 1), min(max(x, 0), frame.shape[1] - 1)]
    return out


def by_numpy(frame, left, top, right, bottom):
    rows = np.clip(np.arange(top, bottom), 0, frame.shape[0] - 1)
    columns = np.clip(np.arange(left, right), 0, frame.shape[1] - 1)
    return torch.from_numpy(frame.numpy()[np.ix_(rows, columns)])


RIGHT = {
    "smooth_boxes": [
        average_by_weights, average_by_lerp, average_recursive, average_in_a_buffer, average_by_accumulate,
    ],
    "agreement": [
        agree_by_index, agree_by_takewhile, agree_recursive, agree_by_reduce, agree_pair_by_pair,
    ],
    "live_words": [
        words_by_extend, words_by_index, words_by_queue, words_by_generator, words_by_iterator,
    ],
    "cut": [padded, replicated, by_grid, by_loops, by_numpy],
}  # fmt: skip


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


def agree(readings, k, after, newest=-1, drop=lambda word, after: word[1] < after, unique=False):
    """Local agreement with a slip."""
    if len(readings) < k:
        return []
    rest = [[word for word in words if not drop(word, after)] for words in readings[-k:]]
    out = []
    for words in zip(*rest, strict=False):
        if len({word[0] for word in words}) > 1:
            break
        if not unique or words[newest][0] not in [word[0] for word in out]:
            out.append(words[newest])
    return out


def agree_on_any(readings, k, after):
    if len(readings) < k:
        return []
    rest = [[word for word in words if word[1] >= after] for words in readings[-k:]]
    return [words[-1] for words in zip(*rest, strict=False) if len({word[0] for word in words}) == 1]


def agree_on_first_letters(readings, k, after):
    initials = [[(text[0], *when) for text, *when in words] for words in readings]
    agreed = agree(initials, k, after)
    return [word for word in readings[-1] if word[1] >= after][: len(agreed)] if readings else []


def agree_on_frames(readings, k, after):
    if len(readings) < k:
        return []
    rest = [[word for word in words if word[1] >= after] for words in readings[-k:]]
    same = itertools.takewhile(lambda words: len(set(words)) == 1, zip(*rest, strict=False))
    return [words[-1] for words in same]


def agree_then_drop(readings, k, after):
    return [word for word in agree(readings, k, 0) if word[1] >= after]


def drop_by_count(readings, k, after):
    if len(readings) < k:
        return []
    n = sum(word[1] < after for word in readings[-1])
    return agree([words[n:] for words in readings], k, 0)


def agree_as_set(readings, k, after):
    if len(readings) < k:
        return []
    common = set.intersection(*({word[0] for word in words} for words in readings[-k:]))
    return [word for word in readings[-1] if word[0] in common and word[1] >= after]


def agree_by_majority(readings, k, after):
    if len(readings) < k:
        return []
    rest = [[word for word in words if word[1] >= after] for words in readings[-k:]]
    out = []
    for words in zip(*rest, strict=False):
        texts = [word[0] for word in words]
        if texts.count(texts[-1]) <= len(texts) / 2:
            break
        out.append(words[-1])
    return out


def pops_words(readings, k, after):
    out = agree(readings, k, after)
    for words in readings:
        while words and words[0][1] < after:
            words.pop(0)
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


def words_after_all_boxes(frames, find, cut, read, every):
    """First all boxes, then all crops: the words of a complete video, and no stream."""
    boxes = [find(frame) for frame in frames]
    there = [box for box in boxes if box is not None]
    if not there:
        return []
    crops = [cut(f, there[0] if b is None else b) for f, b in zip(frames, boxes, strict=True)]
    words, n = [], len(crops) // every * every
    for i in range(0, n, every):
        words += read(crops[i : i + every], False)
    return words + read(crops[n:], True)


def one_piece_per_frame(frames, find, cut, read, every):
    """When many frames have waited, all pieces but one are late."""
    words, crops, waiting = [], [], []
    for frame in frames:
        waiting.append(frame)
        if (box := find(frame)) is not None:
            crops, waiting = crops + [cut(f, box) for f in waiting], []
        if len(crops) >= every:
            words, crops = words + read(crops[:every], False), crops[every:]
    while len(crops) >= every:
        words, crops = words + read(crops[:every], False), crops[every:]
    return words if waiting else words + read(crops, True)


def first_box_for_all(frames, find, cut, read, every):
    kept = []

    def first(frame):
        if (box := find(frame)) is not None:
            kept.append(box)
        return kept[0] if kept else None

    return words_by_extend(frames, first, cut, read, every)


def needs_an_array(frames, *others):
    return words_by_extend(frames[: frames.shape[0]], *others)


HOLD, LOOK = "the average stays", "Before the first box there is None"
WRONG = {
    "smooth_boxes": [
        ("the share of the old", smooth(share_of="old"), "wrong"),
        ("starts at zero", smooth(start="zero"), "stands still"),
        ("none in a gap", smooth(gap="none"), HOLD),
        ("a gap is left out", smooth(gap="skip"), HOLD),
        ("starts again after a gap", smooth(gap="reset"), HOLD),
        ("in place", smooth(in_place=True), "changed found"),
        ("from the box found", smooth(chain=False), "not from the box found"),
        ("looks ahead", centered, "newest box has the weight"),
        ("fills the beginning", filled, LOOK),
        ("a mean of all", running_mean, "newest box has the weight"),
        ("only the last", lambda found, share: smooth()(found, share)[-1:], "1 boxes for 3 frames"),
        ("not smoothed", lambda found, share: list(found), "newest box has the weight"),
        ("no answer", lambda found, share: None, "gave None"),
        ("a number", lambda found, share: 0.5, "expected a list"),
        ("NaN", lambda found, share: [torch.full((4,), math.nan) for _ in found], "NaN"),
        ("float32", lambda f, s: [b if b is None else b.float() for b in smooth()(f, s)], "float32"),
        ("rounded", lambda f, s: [b if b is None else b.round() for b in smooth()(f, s)], "wrong"),
        ("one more dimension", lambda f, s: [b if b is None else b[None] for b in smooth()(f, s)], "shape"),
        (
            "into the frame",
            lambda f, s: [b if b is None else b.clamp(min=0) for b in smooth()(f, s)],
            "reach out",
        ),
        ("needs a box", lambda found, share: [box * share for box in found], "wrong"),
    ],
    "agreement": [
        (
            "only the newest reading",
            lambda r, k, after: [w for w in r[-1] if w[1] >= after] if r else [],
            "shortest",
        ),
        (
            "all readings, not the last k",
            lambda r, k, after: agree(r, len(r), after) if len(r) >= k else [],
            "Only the last k",
        ),
        ("the first k", lambda r, k, after: agree(r[:k], k, after), "last k"),
        ("k - 1 readings", lambda r, k, after: agree(r, max(1, k - 1), after), "shortest"),
        (
            "no matter how few",
            lambda r, k, after: agree(r, min(k, len(r)), after) if r else [],
            "Fewer than k",
        ),
        ("more than k needed", lambda r, k, after: agree(r, k, after) if len(r) > k else [], "Both readings"),
        ("goes on after a difference", agree_on_any, "even if later words"),
        ("compares frames, too", agree_on_frames, "not frames"),
        ("frames of the oldest", lambda r, k, after: agree(r, k, after, newest=0), "newest reading"),
        ("after is not looked at", lambda r, k, after: agree(r, k, 0), "emitted already"),
        ("start > after", lambda r, k, after: agree(r, k, after + 1), "itself is new"),
        (
            "drops by the end",
            lambda r, k, after: agree(r, k, after, drop=lambda w, a: w[2] <= a),
            "before frame",
        ),
        ("compares first, drops then", agree_then_drop, "Drop the words before"),
        ("drops by the newest's count", drop_by_count, "first, then compare"),
        ("texts only", lambda r, k, after: [w[0] for w in agree(r, k, after)], "expected a list or tuple"),
        ("a set of words", agree_as_set, "first difference"),
        ("a majority is enough", agree_by_majority, "not only two"),
        ("only the first word", lambda r, k, after: agree(r, k, after)[:1], "gave 1 values"),
        ("a sentence", lambda r, k, after: " ".join(w[0] for w in agree(r, k, after)), "expected a list"),
        ("empties the readings", lambda r, k, after: (agree(r, k, after), r.clear())[0], "changed readings"),
        ("pops words", pops_words, "changed readings"),
        (
            "no two equal words",
            lambda r, k, after: list(dict.fromkeys(w for w in agree(r, k, after, unique=True))),
            "twice in a sentence",
        ),
        (
            "first and last only",
            lambda r, k, after: agree([r[-k], r[-1]], 2, after) if len(r) >= k else [],
            "in between",
        ),
        (
            "stops with an error",
            lambda r, k, after: agree(r[-k:], k, after) if r[k - 1] else [],
            "stopped with",
        ),
        (
            "leaves empty readings out",
            lambda r, k, after: agree([x for x in r if x], k, after),
            "one of the k",
        ),
        ("the first letter is enough", agree_on_first_letters, "whole texts"),
        ("no answer", lambda *a: None, "gave None"),
    ],
    "cut": [
        ("a slice", sliced, "below 0"),
        ("cut off at the border", clamped, r"expected \(4, 7\)"),
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
        ("changes the frame", black_and_mine, "changed frame"),
        (
            "only above and left",
            by_index(lambda a, b, n: torch.arange(a, b).clamp(min=0), near),
            "stopped with",
        ),
        ("an array", lambda *a: by_index(near, near)(*a).numpy(), "expected a tensor"),
        ("no answer", lambda *a: None, "gave None"),
    ],
    "live_words": [
        ("early frames are lost", loop(early="drop"), "cropped at it"),
        ("early frames are cut at None", loop(early="cut"), "no box yet"),
        ("early frames never leave", loop(keep_waiting=True), "each frame once"),
        ("the newest frame for all", loop(box_of="newest frame"), "each frame once"),
        ("the rest is not read", loop(tail=False), "last was"),
        ("last is never said", loop(last_flag="never"), "last was"),
        ("last is always said", loop(last_flag="always"), "called again after last"),
        ("a reading a frame", loop(pieces="one"), "pieces of"),
        ("all again each time", loop(pieces="all again"), "was given"),
        ("one piece at the end", loop(pieces="end"), "pieces of"),
        ("reads without a mouth", loop(guard=False), "No mouth"),
        ("only the newest words", loop(give="newest"), "those of all readings"),
        ("finds twice", loop(twice=True), "each once, in order"),
        ("looks at the whole video first", words_after_all_boxes, "read as soon as"),
        ("one piece per frame", one_piece_per_frame, "read as soon as"),
        ("the first box for all", first_box_for_all, "cropped at the box"),
        ("needs an array", needs_an_array, "as a list"),
        ("no answer", lambda *a: None, "gave None"),
    ],
}


TestAnswers = answer_tests("15", WRONG, RIGHT)


def test_every_size_varies_but_the_four_edges_of_a_box():
    for exercise in ("agreement", "cut"):
        assert sizes_that_never_vary(CHECKS[exercise]) == []
    fixed = sizes_that_never_vary(CHECKS["smooth_boxes"])
    assert all(size.startswith("argument (0, ") and size.endswith("axis 0") for size in fixed)
