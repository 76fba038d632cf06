"""Checks of notebook 05, decoding. What is right is found by trying every path, or every pairing."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lessons.checks.tools import call, expect_whole
from lessons.ctc import collapse, extend, may_skip

Ends = tuple[float, float]

# ---- greedy_decode -----------------------------------------------------------------------------------------


def _label_of_best_path(log_probs: Tensor) -> list[int]:
    """(T, V) -> the label of the most probable of all V**T paths."""
    frames, classes = log_probs.shape
    paths = itertools.product(range(classes), repeat=frames)
    return collapse(max(paths, key=lambda path: log_probs[range(frames), list(path)].sum().item()))


def _peaks(path: list[int], classes: int = 4) -> Tensor:
    """(T, V) log-probabilities whose most probable path is ``path``."""
    logits = torch.zeros(len(path), classes, dtype=torch.float64)
    logits[range(len(path)), path] = 2.0
    return logits.log_softmax(-1)


def greedy_decode(function: Callable) -> None:
    """function(log_probs (T, B, V), lengths (B,)) -> B lists of labels."""
    cases = [  # paths of equal length, lengths, what a failure here points at
        ([[1, 2, 3]], [3], "Which class is most probable in each frame? The classes are the last axis."),
        ([[1, 1, 2, 2]], [4], "Equal neighbors are one character."),
        ([[0, 1, 0, 0, 2, 0]], [6], "Blanks are no characters: drop them."),
        ([[1, 0, 1, 1, 2]], [5], "A blank between two equal labels keeps them apart: join before you drop."),
        ([[1, 2, 1, 0, 1]], [5], "Only equal *neighbors* are joined: a label may come back later."),
        ([[0, 0, 0]], [3], "A path of blanks spells nothing: an empty list."),
        ([[1, 2, 3], [3, 0, 3]], [3, 3], "One list of labels for each of the B clips, in their order."),
        ([[1, 2, 3, 3], [3, 3, 2, 1]], [2, 4], "Frames past a clip's length are padding: do not read them."),
    ]
    tensors = [
        (torch.stack([_peaks(path) for path in paths], dim=1), lengths, hint, paths)
        for paths, lengths, hint in cases
    ]
    generator = torch.Generator().manual_seed(0)
    for _ in range(6):
        logits = 2 * torch.randn(5, 3, 3, generator=generator, dtype=torch.float64)  # (T, B, V)
        hint = "Compare with every path: is yours the most probable one, collapsed?"
        tensors.append((logits.log_softmax(-1), [5, 3, 4], hint, None))
    for log_probs, lengths, hint, paths in tensors:
        expected = [_label_of_best_path(log_probs[:n, b]) for b, n in enumerate(lengths)]
        found = call(function, log_probs, torch.tensor(lengths))
        shown = f"the most probable paths {paths}" if paths else f"log_probs {tuple(log_probs.shape)}"
        name = f"greedy_decode for {shown} and lengths {lengths}"
        if not isinstance(found, list | tuple) or not all(isinstance(x, list | tuple) for x in found):
            raise AssertionError(f"{name} gave {found!r}, expected a list of {len(lengths)} lists")
        labels = [[expect_whole(label, name, tensor=True) for label in labels] for labels in found]
        if labels != expected:
            raise AssertionError(f"{name} gave {labels}, which is wrong. {hint}")


# ---- extend_beams ------------------------------------------------------------------------------------------


def _by_paths(frames: list[dict[str, float]], through: tuple[int, set[str]] | None = None) -> dict[str, Ends]:
    """Prefix -> (p of its paths that end in a blank, p of the others), by walking every path.

    ``through`` = (t, prefixes) counts only paths that spell one of the prefixes after t frames: what a beam
    can know that dropped the others.
    """
    ends: dict[str, list[float]] = {}
    for path in itertools.product(*frames):  # the symbols of each frame
        if through and _spell(path[: through[0]]) not in through[1]:
            continue
        p = math.prod(frame[symbol] for frame, symbol in zip(frames, path, strict=True))
        in_blank = not path or path[-1] == "-"
        ends.setdefault(_spell(path), [0.0, 0.0])[0 if in_blank else 1] += p
    return {prefix: (blank, label) for prefix, (blank, label) in ends.items()}


def _spell(path: tuple[str, ...]) -> str:
    return "".join(symbol for symbol, _ in itertools.groupby(path) if symbol != "-")


def _random_frame(rng: random.Random, symbols: str) -> dict[str, float]:
    weights = [rng.uniform(0.1, 1.0) for _ in symbols]
    return {symbol: weight / sum(weights) for symbol, weight in zip(symbols, weights, strict=True)}


def extend_beams(function: Callable) -> None:
    """function(beams, frame) -> every prefix one frame later, with its two probabilities."""
    frame = {"-": 0.6, "a": 0.4}
    two = {"-": 0.5, "a": 0.3, "b": 0.2}
    cases = [  # frames before, the frame, prefixes kept before it (None: all), hint
        ([], frame, None, "At the start there is one path, the empty one; it ends “in a blank”."),
        ([{"-": 1.0, "a": 0.0}], frame, None,
         "A blank leaves the prefix as it is, and its paths now end in a blank."),
        ([{"-": 0.0, "a": 1.0}], frame, None,
         "Paths that end in a, and then a again: the letter is held, the prefix stays “a”. What arrives "
         "at the same prefix adds up: does your code overwrite something?"),
        ([{"-": 0.0, "a": 1.0}, {"-": 1.0, "a": 0.0}], frame, None,
         "Paths that end in a blank, and then a: after a blank the same letter is a new one."),
        ([frame], frame, None, "Two ways lead to “a”: held from “a”, grown from “”. Their paths add up."),
        ([{"-": 0.0, "a": 1.0, "b": 0.0}], two, None, "Another letter always makes the prefix longer."),
        ([{"-": 0.0, "a": 1.0, "b": 0.0}, {"-": 0.0, "a": 0.0, "b": 1.0}], two, None,
         "Only the *last* letter can be held: one that came before it makes the prefix longer."),
        ([frame, frame, frame], frame, None, "Held letters, new letters and blanks, three frames in."),
        ([two, two, two], two, {"a", "ab"},
         "The beam may lack some prefixes: extend those that it has, and only those."),
    ]  # fmt: skip
    rng = random.Random(0)
    for n_frames in (1, 2, 3, 4):
        frames = [_random_frame(rng, "-abc"[: rng.randint(2, 4)]) for _ in range(n_frames)]
        frames = [_random_frame(rng, frames[0]) for _ in frames]
        hint = "Give each prefix every symbol in turn: where does it lead, and does it end in a blank?"
        cases.append((frames[:-1], frames[-1], None, hint))
    for before, now, only, hint in cases:
        beams = {prefix: ends for prefix, ends in _by_paths(before).items() if sum(ends) > 0}
        if only:
            beams = {prefix: ends for prefix, ends in beams.items() if prefix in only}
        expected = _by_paths([*before, now], (len(before), set(beams)))
        given = dict(beams)
        found = call(function, given, dict(now))
        shown = {prefix: tuple(round(p, 3) for p in ends) for prefix, ends in beams.items()}
        name = f"extend_beams({shown}, { {k: round(v, 3) for k, v in now.items()} })"
        if given != beams:
            raise AssertionError(f"{name} changed the beams that it was given: make a new dictionary")
        _compare_beams(found, expected, name, hint)


def _compare_beams(found: Any, expected: dict[str, Ends], name: str, hint: str) -> None:
    if not isinstance(found, dict):
        raise AssertionError(f"{name} gave a {type(found).__name__}, expected a dictionary")
    for prefix, ends in found.items():
        good = isinstance(prefix, str) and isinstance(ends, tuple | list) and len(ends) == 2
        if not good or not all(isinstance(p, int | float) for p in ends):
            raise AssertionError(
                f"{name} holds {prefix!r}: {ends!r}, expected prefix: (in a blank, in its last letter)"
            )
    for prefix in sorted(set(found) | set(expected), key=lambda prefix: (len(prefix), prefix)):
        ours, theirs = found.get(prefix, (0.0, 0.0)), expected.get(prefix, (0.0, 0.0))
        for p, q, which in zip(ours, theirs, ("in a blank", "in its last letter"), strict=True):
            if not math.isclose(p, q, rel_tol=0, abs_tol=1e-12):  # NaN is close to nothing
                raise AssertionError(
                    f"{name}: the paths of “{prefix}” that end {which} have {p:.4g}; by all paths it is "
                    f"{'more' if q > p else 'less'}. {hint}"
                )


# ---- edit_distance -----------------------------------------------------------------------------------------


def _distance_by_pairings(said: str, read: str) -> int:
    """The cheapest of all ways to pair units in order; what is not paired is deleted or inserted."""
    best = len(said) + len(read)
    for k in range(1, min(len(said), len(read)) + 1):
        for left in itertools.combinations(said, k):
            for right in itertools.combinations(read, k):
                wrong = sum(a != b for a, b in zip(left, right, strict=True))
                best = min(best, len(said) + len(read) - 2 * k + wrong)
    return best


def edit_distance(function: Callable) -> None:
    """function(said, read) -> fewest insertions, deletions and substitutions; two strings or lists."""
    cases = [
        ("bin", "bin", "Equal characters cost nothing."),
        ("bin", "pin", "One character in place of another is one edit, not two."),
        ("bin", "bi", "A character that was not read is one edit."),
        ("bi", "bin", "A character too many is one edit."),
        ("", "bin", "Nothing was said: all that was read is insertions. What is in the table's first row?"),
        ("bin", "", "Nothing was read: all that was said is deletions. What is in its first column?"),
        ("", "", "Two empty texts are equal."),
        ("abc", "bc", "When the first is lost, the rest moves up: place by place is not enough."),
        ("ab", "ba", "Two neighbors that change places cost two edits here."),
        ("place", "lazce", "The fewest edits are not found from the left: take the smallest of three."),
        (["at", "b", "two"], ["at", "two", "by"], "The units may be words: take lists, too."),
    ]
    rng = random.Random(0)
    for _ in range(40):
        said, read = ("".join(rng.choices("abc", k=rng.randint(0, 6))) for _ in range(2))
        cases.append((said, read, "Each cell is the cheapest of three ways: from above, left, and across."))
    for said, read, hint in cases:
        name = f"edit_distance({said!r}, {read!r})"
        found = expect_whole(call(function, said, read), name, tensor=True)
        expected = _distance_by_pairings(said, read)
        if found != expected:
            raise AssertionError(f"{name} gave {found}, which is wrong. {hint}")


# ---- walk_back ---------------------------------------------------------------------------------------------


def _forward(log_probs: Tensor, states: list[int]) -> tuple[Tensor, Tensor]:
    """The table that the learner walks back through: best (T, S) and step (T, S)."""
    n_frames, n_states = len(log_probs), len(states)
    skip = may_skip(states)
    best = torch.full((n_frames, n_states), -math.inf, dtype=log_probs.dtype)
    step = torch.zeros(n_frames, n_states, dtype=torch.long)
    best[0, :2] = log_probs[0, states[:2]]
    for t in range(1, n_frames):
        for s in range(n_states):
            ways = [best[t - 1, s - d].item() for d in range(min(s, 2 if skip[s] else 1) + 1)]
            step[t, s] = max(range(len(ways)), key=ways.__getitem__)
            best[t, s] = max(ways) + log_probs[t, states[s]]
    return best, step


def _best_states(log_probs: Tensor, states: list[int]) -> list[int]:
    """The most probable legal way through the states, by trying all of them."""
    n_frames, n_states = len(log_probs), len(states)
    skip = may_skip(states)
    ways = [[s] for s in range(min(2, n_states))]
    for _ in range(n_frames - 1):
        ways = [
            [*way, s]
            for way in ways
            for s in range(way[-1], min(way[-1] + 3, n_states))
            if s - way[-1] < 2 or skip[s]
        ]
    ways = [way for way in ways if way[-1] >= n_states - 2]
    return max(ways, key=lambda way: sum(log_probs[t, states[s]].item() for t, s in enumerate(way)))


def walk_back(function: Callable) -> None:
    """function(best (T, S), step (T, S)) -> the T states of the most probable path."""
    generator = torch.Generator().manual_seed(0)
    cases = [  # frames, target, class favored at the end or None, hint
        (4, [1], 1, "The path may end in the last label: the last blank is not the only place to stop."),
        (4, [1], 0, "The path may end in the last blank as well: which of the last two is better?"),
        (3, [1, 2, 3], None, "A step of 2 skips a blank: step[t, s] is how far to go back."),
        (5, [1, 1], None, "step[t, s] leads from frame t to frame t - 1: look it up in the row of frame t."),
        (3, [], None, "An empty target has one state only: there is no last label."),
    ]
    cases += [
        (6, target, None, "Follow step back from the end, one frame at a time, then turn it round.")
        for target in ([1, 2], [2, 2], [3, 1, 3], [1, 2, 2])
        for _ in range(3)
    ]
    for n_frames, target, at_end, hint in cases:
        logits = 2 * torch.randn(n_frames, 4, generator=generator, dtype=torch.float64)
        if at_end is not None:
            logits[-1, at_end] += 8
        log_probs = logits.log_softmax(-1)  # (T, V)
        states = extend(target)
        best, step = _forward(log_probs, states)
        found = call(function, best.clone(), step.clone())
        name = f"walk_back for T = {n_frames}, S = {len(states)} (target {target})"
        if isinstance(found, Tensor):
            found = found.tolist()
        if not isinstance(found, list | tuple) or len(found) != n_frames:
            size = f" of {len(found)}" if isinstance(found, list | tuple) else ""
            raise AssertionError(
                f"{name} gave a {type(found).__name__}{size}, expected {n_frames} states, one a frame"
            )
        way = [expect_whole(state, name, tensor=True) for state in found]
        expected = _best_states(log_probs, states)
        if way != expected:
            where = [t for t in range(n_frames) if way[t] != expected[t]]
            if at_end is not None and way[-1] == expected[-1]:
                hint = "The end is right: step[t, s] leads from state s of frame t to frame t - 1."
            raise AssertionError(f"{name} gave {way}: wrong at frames {where}. {hint}")


CHECKS: dict[str, Callable[[Callable], None]] = {
    "greedy_decode": greedy_decode,
    "extend_beams": extend_beams,
    "edit_distance": edit_distance,
    "walk_back": walk_back,
}
