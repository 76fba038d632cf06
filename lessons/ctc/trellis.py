"""The trellis of CTC: the states of the extended label, and the moves that a path may make between frames.

The states of a label are its characters with a blank before, between and after them. From frame to frame a
path stays in its state, steps to the next, or skips a blank; :func:`may_skip` is the one rule that says
where.

Source: Graves, Fernandez, Gomez, Schmidhuber, "Connectionist temporal classification", ICML 2006, section
4.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lessons.ctc.inputs import as_integers


def extend(target: Tensor | Iterable[int], blank: int = 0) -> list[int]:
    """Return the extended label of S = 2L+1 states: a blank before, between and after the labels."""
    states = [blank]
    for label in as_integers(target):
        states += [label, blank]
    return states


def extend_batch(targets: Tensor, blank: int) -> Tensor:
    """Return the extended labels (B, S) of padded targets (B, Lmax), S = 2 Lmax + 1."""
    states = torch.full((len(targets), 2 * targets.shape[1] + 1), blank, device=targets.device)  # (B, S)
    states[:, 1::2] = targets
    return states


def may_skip(states: Tensor | Sequence[int]) -> Tensor:
    """Return for each state s of extended labels (..., S) whether a path may step into it straight from s-2.

    The skip leaves out the blank between them, which is allowed only between different labels: equal ones
    would merge without it. A skip from blank to blank is not allowed, since it would leave out a label.
    """
    states = torch.as_tensor(states)
    allowed = torch.zeros_like(states, dtype=torch.bool)  # (..., S)
    allowed[..., 2:] = states[..., 2:] != states[..., :-2]
    return allowed


def start_and_end_states(states: Tensor, target_lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return where paths may start and end, both (B, S) bool; past a target's own states no path ends."""
    position = torch.arange(states.shape[1], device=states.device)  # (S,)
    last = 2 * target_lengths[:, None]  # (B, 1)
    return (position < 2).expand_as(states), (position >= last - 1) & (position <= last)
