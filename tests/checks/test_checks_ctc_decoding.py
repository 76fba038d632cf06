"""What learners write by mistake in the exercises of notebook 05 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
The figures of the notebook are held to the numbers that they draw.
"""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from lessons.checks import check
from lessons.checks.ctc_decoding import CHECKS
from lessons.ctc.metrics import edit_distance
from tests.checks.exercises import each_wrong_answer

# ---- greedy_decode -----------------------------------------------------------------------------------------


def greedy(join=True, drop=True, first_drop=False, ever=False, lengths=True, dim=-1, as_tensor=False):
    """Greedy decoding with a slip."""

    def function(log_probs, n_frames):
        labels = []
        for b in range(log_probs.shape[1]):
            valid = log_probs[: int(n_frames[b])] if lengths else log_probs
            path = valid[:, b].argmax(dim).tolist() if dim == -1 else valid[:, b].argmax(0).tolist()
            if first_drop:
                path = [c for c in path if c != 0]
            if ever:
                path = list(dict.fromkeys(path))
            elif join:
                path = [c for c, _ in itertools.groupby(path)]
            if drop:
                path = [c for c in path if c != 0]
            labels.append(torch.tensor(path) if as_tensor else path)
        return labels

    return function


def transposed(log_probs, n_frames):
    return greedy()(log_probs.transpose(0, 1), n_frames.new_full((log_probs.shape[0],), log_probs.shape[1]))


# ---- extend_beams ------------------------------------------------------------------------------------------


def beams(held="letter", anew="blank", other="both", stay="both", merge=True, grows=True, ends_in_blank=True):
    """One frame of prefix beam search with a slip; each argument says which paths take part."""

    def function(old, frame):
        new: dict = {}

        def add(prefix, blank, letter):
            before = new.get(prefix, (0.0, 0.0)) if merge else (0.0, 0.0)
            new[prefix] = (before[0] + blank, before[1] + letter)

        for prefix, (blank, letter) in old.items():
            paths = {"blank": blank, "letter": letter, "both": blank + letter, "none": 0.0}
            for symbol, y in frame.items():
                if symbol == "-":
                    p = paths[stay] * y
                    add(prefix, *((p, 0.0) if ends_in_blank else (0.0, p)))
                elif prefix.endswith(symbol):
                    add(prefix, 0.0, paths[held] * y)
                    if grows:
                        add(prefix + symbol, 0.0, paths[anew] * y)
                else:
                    add(prefix + symbol, 0.0, paths[other] * y)
        return new

    return function


def holds_any_letter(old, frame):
    new = dict.fromkeys(beams()(old, frame), (0.0, 0.0))
    for prefix, (blank, letter) in old.items():
        for symbol, y in frame.items():
            held = symbol != "-" and symbol in prefix
            for child, p_blank, p_letter in (
                (prefix, (blank + letter) * y * (symbol == "-"), letter * y * held),
                (prefix + symbol, 0.0, (blank if held else blank + letter) * y * (symbol != "-")),
            ):
                before = new.get(child, (0.0, 0.0))
                new[child] = (before[0] + p_blank, before[1] + p_letter)
    return new


def takes_the_larger(old, frame):
    new: dict = {}
    for prefix, ends in old.items():
        for child, sent in beams()({prefix: ends}, frame).items():
            new[child] = tuple(map(max, new.get(child, (0.0, 0.0)), sent))
    return new


def changes_its_input(old, frame):
    new = beams()(old, frame)
    old.clear()
    return new


def paths_instead(old, frame):
    return {
        prefix + symbol: (0.0, sum(ends) * y) for prefix, ends in old.items() for symbol, y in frame.items()
    }


def one_number(old, frame):
    return {prefix: sum(ends) for prefix, ends in beams()(old, frame).items()}


def swapped(old, frame):
    return {prefix: (letter, blank) for prefix, (blank, letter) in beams()(old, frame).items()}


def logs(old, frame):
    return {
        prefix: (math.log(a + 1e-300), math.log(b + 1e-300)) for prefix, (a, b) in beams()(old, frame).items()
    }


def normalized(old, frame):
    new = beams()(old, frame)
    total = sum(map(sum, new.values()))
    return {prefix: (a / total, b / total) for prefix, (a, b) in new.items()}


def nan_beams(old, frame):
    return {prefix: (math.nan, math.nan) for prefix in beams()(old, frame)}


# ---- edit_distance -----------------------------------------------------------------------------------------


def table(edges=True, wrong=1, delete=1, insert=1, corner=True):
    def function(said, read):
        D = [[i + j if edges else 0 for j in range(len(read) + 1)] for i in range(len(said) + 1)]
        for i in range(1, len(said) + 1):
            for j in range(1, len(read) + 1):
                paired = D[i - 1][j - 1] + wrong * (said[i - 1] != read[j - 1])
                D[i][j] = min(D[i - 1][j] + delete, D[i][j - 1] + insert, paired)
        return D[-1][-1] if corner else D[max(0, len(said) - 1)][max(0, len(read) - 1)]

    return function


def place_by_place(said, read):
    return sum(a != b for a, b in zip(said, read, strict=False)) + abs(len(said) - len(read))


def from_the_left(said, read):
    """Deletes as long as the next character read is not there."""
    i = j = edits = 0
    while i < len(said) and j < len(read):
        if said[i] == read[j]:
            i, j = i + 1, j + 1
        elif read[j] in said[i:]:
            i, edits = i + 1, edits + 1
        else:
            i, j, edits = i + 1, j + 1, edits + 1
    return edits + len(said) - i + len(read) - j


# ---- walk_back ---------------------------------------------------------------------------------------------


def walk(last=None, ends=2, turn=True, row=0, factor=1, steps=True):
    def function(best, step):
        n_frames, n_states = best.shape
        state = n_states - 1
        if last is not None:
            state = max(0, n_states - last)
        elif n_states > 1 and ends == 2 and best[-1, -2] > best[-1, -1]:
            state -= 1
        elif ends > 2:
            state = int(best[-1].argmax())
        states = [state]
        for t in range(n_frames - 1, 0, -1):
            state = state - factor * int(step[t - row, state]) if steps else int(step[t, state])
            states.append(state)
        return states[::-1] if turn else states

    return function


WRONG = {
    "greedy_decode": [
        ("does not join", greedy(join=False), "Equal neighbors are one"),
        ("does not drop", greedy(drop=False), "Blanks are no characters"),
        ("drops, then joins", greedy(first_drop=True), "join before you drop"),
        ("each label once", greedy(ever=True), "keeps them apart|come back later"),
        ("reads the padding", greedy(lengths=False), "past a clip's length"),
        ("argmax over time", greedy(dim=0), "last axis"),
        ("batch and time swapped", transposed, "stopped with|which class|gave"),
        ("the first clip only", lambda p, n: greedy()(p, n)[:1], "One list of labels for each"),
        ("clips in reverse", lambda p, n: greedy()(p, n)[::-1], "in their order"),
        ("one flat list", lambda p, n: [c for x in greedy()(p, n) for c in x], "expected a list of 1 lists"),
        ("tensors", greedy(as_tensor=True), "expected a list of 1 lists"),
        ("floats", lambda p, n: [[float(c) for c in x] for x in greedy()(p, n)], "whole number"),
        ("drops the space", lambda p, n: [[c for c in x if c > 1] for x in greedy()(p, n)], "Which class"),
        ("no return", lambda p, n: None, "gave None"),
    ],
    "extend_beams": [
        ("grows from all paths", beams(anew="both"), "the letter is held|counted"),
        ("grows from held paths", beams(anew="letter"), "the letter is held"),
        ("never grows a double", beams(grows=False), "after a blank the same letter is a new one"),
        ("holds all paths", beams(held="both"), "after a blank the same letter is a new one"),
        ("never holds", beams(held="none"), "the letter is held"),
        ("does not merge", beams(merge=False), "overwrite something"),
        ("every letter of the prefix can be held", holds_any_letter, "Only the \\*last\\* letter"),
        ("the larger in place of the sum", takes_the_larger, "Their paths add up"),
        ("another letter only after a blank", beams(other="blank"), "Another letter always"),
        ("another letter only after a letter", beams(other="letter"), "At the start"),
        ("a blank after a blank only", beams(stay="blank"), "held|leaves the prefix"),
        ("a blank after a letter only", beams(stay="letter"), "At the start"),
        ("a blank counts as the letter", beams(ends_in_blank=False), "At the start"),
        ("swapped numbers", swapped, "At the start"),
        ("paths, not prefixes", paths_instead, "At the start"),
        ("one number a prefix", one_number, "expected prefix"),
        ("logarithms", logs, "At the start"),
        ("divides by the total", normalized, "extend those"),
        ("changes the old beams", changes_its_input, "make a new dictionary"),
        ("NaN", nan_beams, "nan"),
        ("a list", lambda b, f: list(beams()(b, f).items()), "expected a dictionary"),
        ("no return", lambda b, f: None, "gave None"),
    ],
    "edit_distance": [
        ("place by place", place_by_place, "moves up"),
        ("substitution costs 2", table(wrong=2), "one edit, not two"),
        ("no substitution", table(wrong=9), "one edit, not two"),
        ("deletion is free", table(delete=0), "first|Equal|one edit"),
        ("insertion is free", table(insert=0), "first|Equal|one edit"),
        ("edges left at 0", table(edges=False), "first row"),
        ("not the last corner", table(corner=False), "first row"),
        ("from the left", from_the_left, "too many|change places|from the left"),
        ("only the length", lambda a, b: abs(len(a) - len(b)), "one edit, not two"),
        ("sets", lambda a, b: max(len(set(a) - set(b)), len(set(b) - set(a))), "change places"),
        ("a rate", lambda a, b: edit_distance(a, b) / max(1, len(a)), "whole number"),
        ("joins lists", lambda a, b: edit_distance("".join(a), "".join(b)), "units may be words"),
        ("NaN", lambda a, b: math.nan, "whole number"),
        ("no return", lambda a, b: None, "gave None"),
    ],
    "walk_back": [
        ("always from the last blank", walk(last=1), "the last blank is not the only"),
        ("always from the last label", walk(last=2), "end in the last blank as well"),
        ("from the best state anywhere", walk(ends=3), "Where|end|Follow|A step|only"),
        ("not turned round", walk(turn=False), "wrong at frames"),
        ("the row before", walk(row=1), "The end is right: step"),
        ("one state a step", lambda b, s: walk()(b, s.clamp(max=1)), "A step of 2|Follow|wrong at frames"),
        ("step is the state", walk(steps=False), "wrong at frames"),
        ("argmax of each frame", lambda b, s: b.argmax(1).tolist(), "wrong at frames"),
        ("a frame short", lambda b, s: walk()(b, s)[1:], "one a frame"),
        ("no care of S = 1", lambda b, s: [walk()(b, s), [-1] * len(b)][b.shape[1] == 1], "one state only"),
        ("a number", lambda b, s: 3, "one a frame"),
        ("floats", lambda b, s: [float(x) for x in walk()(b, s)], "whole number"),
        ("no return", lambda b, s: None, "gave None"),
    ],
}  # fmt: skip


@each_wrong_answer(WRONG)
def test_a_wrong_answer_is_told_where_to_look(exercise, wrong, message):
    with pytest.raises(AssertionError, match=message):
        check(f"05.{exercise}", wrong)


def test_every_exercise_is_tried_with_at_least_eight_wrong_answers():
    assert WRONG.keys() == CHECKS.keys()
    assert all(len(answers) >= 8 for answers in WRONG.values())


def test_other_ways_to_be_right_pass():
    check("05.greedy_decode", greedy())
    check("05.extend_beams", beams())
    check("05.edit_distance", edit_distance)
    check("05.walk_back", lambda best, step: torch.tensor(walk()(best, step)))
