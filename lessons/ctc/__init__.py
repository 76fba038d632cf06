"""Connectionist temporal classification: paths, the loss, decoding, language models, error rates."""

from lessons.ctc.alphabet import Alphabet
from lessons.ctc.decode import beam_search_decode, greedy_decode
from lessons.ctc.loss import (
    NEVER,
    REDUCTIONS,
    Alignment,
    ForwardBackward,
    brute_force_loss,
    collapse,
    count_paths,
    ctc_loss,
    extend,
    forced_align,
    forward_backward,
    may_skip,
    min_frames,
    reduce_losses,
)
from lessons.ctc.metrics import cer, edits, wer

__all__ = [
    "NEVER",
    "REDUCTIONS",
    "Alignment",
    "Alphabet",
    "ForwardBackward",
    "beam_search_decode",
    "brute_force_loss",
    "cer",
    "collapse",
    "count_paths",
    "ctc_loss",
    "edits",
    "extend",
    "forced_align",
    "forward_backward",
    "greedy_decode",
    "may_skip",
    "min_frames",
    "reduce_losses",
    "wer",
]
