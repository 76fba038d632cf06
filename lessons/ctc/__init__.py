"""Connectionist temporal classification: paths, the loss, decoding, language models, error rates."""

from lessons.ctc.alphabet import Alphabet
from lessons.ctc.decode import beam_search_decode, greedy_decode
from lessons.ctc.forward_backward import (
    Alignment,
    ForwardBackward,
    brute_force_loss,
    forced_align,
    forward_backward,
)
from lessons.ctc.loss import REDUCTIONS, ctc_loss, reduce_losses
from lessons.ctc.metrics import cer, edits, wer
from lessons.ctc.paths import NEVER, collapse, count_paths, min_frames
from lessons.ctc.trellis import extend, may_skip

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
