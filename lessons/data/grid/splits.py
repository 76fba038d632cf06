"""Which clips are held out: a rule by sentence, the two published splits, or your own file.

A rule takes the clips of a set, id -> speaker, and returns id -> the name of its split.

Source of the published splits: Assael et al., "LipNet", arXiv 1611.01599, section 4.1.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from lessons.ctc.grammar import COLORS, DIGITS, LETTERS, sentence_from_id
from lessons.data.grid.mouth_set import SPLITS, MouthSetError, read_rows

HELD_OUT_SPEAKERS = frozenset({"s1", "s2", "s20", "s22"})
HELD_OUT_SENTENCES = 255  # of each speaker


def by_sentence(clips: Mapping[str, str]) -> dict[str, str]:
    """Hold out every tenth combination of color, letter and digit: a clip's split depends on its name alone.

    A GRID speaker says each combination once, 4 x 25 x 10 = 1000 clips. With each word counted by its
    position in its slot, a clip is for validation when (5 color + letter + digit) mod 10 is 0. That takes
    100 of the 1000: each color 25 times, each letter 4 times and each digit 10 times.
    """

    def split(clip_id: str) -> str:
        _, color, _, letter, digit, _ = sentence_from_id(clip_id).split()
        place = 5 * COLORS.index(color) + LETTERS.index(letter) + DIGITS.index(digit)
        return "val" if place % 10 == 0 else "train"

    return {clip_id: split(clip_id) for clip_id in clips}


def overlapped(clips: Mapping[str, str]) -> dict[str, str]:
    """Hold out 255 random sentences of each speaker: the faces are known from training.

    Of a speaker with fewer than 510 clips, half of them. Random, yet the same on every machine: the first in
    the order of a hash of their names. (Which ones the authors drew was not published.)
    """
    by_speaker = defaultdict(list)
    for clip_id, speaker in clips.items():
        by_speaker[speaker].append(clip_id)
    held_out = {
        clip_id
        for ids in by_speaker.values()
        for clip_id in sorted(ids, key=lambda name: hashlib.sha256(name.encode()).digest())[
            : min(HELD_OUT_SENTENCES, len(ids) // 2)
        ]
    }
    return {clip_id: "val" if clip_id in held_out else "train" for clip_id in clips}


def unseen(clips: Mapping[str, str]) -> dict[str, str]:
    """Hold out four speakers, two of them women: s1, s2, s20 and s22."""
    return {clip_id: "val" if speaker in HELD_OUT_SPEAKERS else "train" for clip_id, speaker in clips.items()}


RULES: dict[str, Callable[[Mapping[str, str]], dict[str, str]]] = {
    "by-sentence": by_sentence,
    "overlapped": overlapped,
    "unseen": unseen,
}


def assign(clips: Mapping[str, str], rule: str | Path) -> dict[str, str]:
    """Return id -> split by a rule of ``RULES``, or by a CSV file of ``name,split`` rows.

    In a file, ``name`` is a clip or a speaker; a clip's own row counts before its speaker's.

    Raises:
        MouthSetError: neither a rule nor a file, a row that does not fit, or a clip that no row names.
    """
    if str(rule) in RULES:
        return RULES[str(rule)](clips)
    named = _read_splits(Path(rule))
    missing = [clip_id for clip_id, speaker in clips.items() if clip_id not in named and speaker not in named]
    if missing:
        raise MouthSetError(
            f"{rule}: no row for clip {missing[0]} nor for its speaker {clips[missing[0]]} "
            f"({len(missing)} of {len(clips)} clips have none)"
        )
    return {clip_id: named.get(clip_id, named.get(speaker)) for clip_id, speaker in clips.items()}


def strange_names(clips: Mapping[str, str], rule: str | Path) -> list[str]:
    """Return the names in a file of splits that are no clip and no speaker here; a rule has none."""
    known = {*clips, *clips.values()}
    return [] if str(rule) in RULES else [name for name in _read_splits(Path(rule)) if name not in known]


def _read_splits(path: Path) -> dict[str, str]:
    """Return the rows of a file of splits, name -> split."""
    if not path.is_file():
        raise MouthSetError(
            f"splits={str(path)!r}: expected {', '.join(RULES)}, or a CSV file of name,split rows"
        )
    named: dict[str, str] = {}
    for number, row in enumerate(read_rows(path), start=1):
        where = f"{path}, line {number}"
        if row in ([], ["name", "split"]):
            continue
        if len(row) != 2 or not all(row):
            raise MouthSetError(f"{where}: {','.join(row)!r}; expected name,split")
        name, split = row
        if split not in SPLITS:
            raise MouthSetError(f"{where}: split {split!r}; expected {', '.join(SPLITS)}")
        if named.setdefault(name, split) != split:
            raise MouthSetError(
                f"{where}: {name!r} is {split!r}, in an earlier line {named[name]!r}; keep one"
            )
    return named
