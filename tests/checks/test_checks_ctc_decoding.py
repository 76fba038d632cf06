"""What learners write by mistake in the exercises of notebook 05 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
The figures of the notebook are held to the numbers that they draw.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex

from lessons import figures
from lessons.checks import check
from lessons.checks.ctc_decoding import CHECKS
from lessons.ctc.metrics import edit_distance
from lessons.figures.style import BLUE, GREEN, RULE, VERMILION
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
        ("floats", lambda p, n: [[float(c) for c in x] for x in greedy()(p, n)], "whole numbers"),
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
        ("a rate", lambda a, b: edit_distance(a, b) / max(1, len(a)), "whole numbers"),
        ("joins lists", lambda a, b: edit_distance("".join(a), "".join(b)), "units may be words"),
        ("NaN", lambda a, b: math.nan, "whole numbers"),
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
        ("floats", lambda b, s: [float(x) for x in walk()(b, s)], "whole numbers"),
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


# ---- figures -----------------------------------------------------------------------------------------------

COLUMNS = [
    {"": (1.0, 0.0)},
    {"": (0.6, 0.0), "a": (0.0, 0.4)},
    {"": (0.36, 0.0), "a": (0.24, 0.4), "aa": (0, 0)},
]
KEPT = [[""], ["", "a"], ["a"]]
FLOWS = [
    {("", ""): 0.6, ("", "a"): 0.4},
    {("", ""): 0.36, ("", "a"): 0.24, ("a", "a"): 0.4, ("a", "aa"): 0.0},
]


def boxes(ax, color):
    return [p for p in ax.patches if to_hex(p.get_facecolor()) == color.lower() and hasattr(p, "get_xy")]


def test_beams_are_as_long_as_they_are_probable():
    fig = figures.beam_search(COLUMNS, KEPT, FLOWS, frames=["x", "y"])
    (ax,) = fig.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["“”", "a"]  # "aa" has no probability
    assert [label.get_text() for label in ax.get_xticklabels()] == ["start", "frame 1\nx", "frame 2\ny"]
    red = [box.get_width() for box in boxes(ax, VERMILION) if box.get_width() > 0]
    assert red[0] == pytest.approx(red[1]) and len(red) == 2  # .4 twice
    blue = sorted(box.get_width() for box in boxes(ax, BLUE) if box.get_width() > 0)
    assert blue[0] / red[0] == pytest.approx(0.24 / 0.4)
    merged = [p for p in ax.patches if to_hex(p.get_edgecolor()) == GREEN.lower()]
    assert [box.get_width() / red[0] for box in merged] == [pytest.approx(0.64 / 0.4)]
    lines = [line for line in ax.lines if line.get_zorder() < 3]
    assert len(lines) == 5  # the flow of nothing is not drawn
    assert [text.get_text() for text in ax.texts] == [".60", ".40", ".36", ".64", "1.00"]


def test_beams_may_stop_early_in_the_same_frame():
    whole, part = (figures.beam_search(COLUMNS, KEPT, FLOWS, upto=upto).axes[0] for upto in (None, 1))
    assert (
        len(part.texts) == 3 and part.get_xlim() == whole.get_xlim() and part.get_ylim() == whole.get_ylim()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": COLUMNS[:1], "kept": KEPT[:1], "flows": []}, "expected T\\+1"),
        ({"flows": FLOWS[:1]}, "expected T\\+1"),
        ({"kept": [[""], ["b"], ["a"]]}, "'b' is not in its column"),
        ({"frames": ["x"]}, "1 strings for 2"),
        ({"upto": 3}, "expected 0 to 2"),
    ],
)
def test_beams_that_do_not_fit_together_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        figures.beam_search(**({"columns": COLUMNS, "kept": KEPT, "flows": FLOWS} | change))


def test_paths_lie_end_to_end_under_their_label():
    labels = {"": {"--": 0.36}, "a": {"-a": 0.24, "a-": 0.24, "aa": 0.16}}
    (ax,) = figures.path_probabilities(labels).axes
    assert [box.get_width() for box in ax.patches] == pytest.approx([0.36, 0.24, 0.24, 0.16])
    assert ax.patches[3].get_x() == pytest.approx(0.48)
    assert [to_hex(box.get_facecolor()) == VERMILION.lower() for box in ax.patches] == [
        True,
        False,
        False,
        False,
    ]
    assert {".36", ".64"} <= {text.get_text() for text in ax.texts}


def test_paths_that_a_search_has_lost_are_gray_and_last():
    labels = {"a": {"-a": 0.24, "a-": 0.3, "aa": 0.16}}
    (ax,) = figures.path_probabilities(labels, dropped=["-a"]).axes
    assert [box.get_width() for box in ax.patches] == pytest.approx([0.3, 0.16, 0.24])
    assert [to_hex(box.get_facecolor()) == RULE.lower() for box in ax.patches] == [False, False, True]
    assert ".46 of .70" in {text.get_text() for text in ax.texts}
    with pytest.raises(ValueError, match="'b' is no path"):
        figures.path_probabilities(labels, dropped=["b"])


@pytest.mark.parametrize("labels", [{}, {"a": {}}, {"a": {"a": 0.8}, "": {"-": 0.3}}, {"a": {"a": -0.1}}])
def test_path_shares_that_are_none_are_refused(labels):
    with pytest.raises(ValueError, match="labels"):
        figures.path_probabilities(labels)


def distances(said, read):
    return [[edit_distance(said[:i], read[:j]) for j in range(len(read) + 1)] for i in range(len(said) + 1)]


def test_the_table_of_edits_holds_its_numbers_and_counts_its_steps():
    path = [(0, 0), (1, 0), (2, 1), (3, 2)]
    fig = figures.edit_table("abc", "bd", distances("abc", "bd"), path)
    (ax,) = fig.axes
    numbers = np.array([int(text.get_text()) for text in ax.texts]).reshape(4, 3)
    np.testing.assert_array_equal(numbers, distances("abc", "bd"))
    assert [text.get_text() for text in fig.legends[0].get_texts()] == [
        "same: 1",
        "substituted: 1",
        "deleted: 1",
    ]
    assert len(ax.lines) == 3


@pytest.mark.parametrize(
    ("cost", "path", "message"),
    [
        ([[0, 1], [1, 0]], (), "expected \\(4, 3\\)"),
        (distances("abc", "bd"), [(0, 0), (1, 1)], "corner to corner"),
        (distances("abc", "bd"), [(0, 0), (3, 2)], "no step"),
    ],
)
def test_tables_that_cannot_be_drawn_are_refused(cost, path, message):
    with pytest.raises(ValueError, match=message):
        figures.edit_table("abc", "bd", cost, path)
