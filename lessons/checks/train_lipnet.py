"""Checks of notebook 08, training. Torch and lessons.ctc.metrics say what is right."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

import torch
import torch.nn.functional as F

from lessons.checks.tools import call, expect_close, expect_number, expect_tensor
from lessons.ctc.metrics import edit_distance


def _log_probs_of(paths: list[list[int]], classes: int) -> torch.Tensor:
    """(T, B, V) log-probabilities whose most probable classes are ``paths``, B lists of T."""
    logits = 4.0 * F.one_hot(torch.tensor(paths).T, classes).double()  # (T, B, V)
    return logits.log_softmax(-1)


def blank_share(function: Callable) -> None:
    """function(log_probs (T, B, V), lengths (B,)) -> share of valid frames whose best class is the blank."""
    cases = [
        (
            [[0, 3, 0, 0, 5, 1]],
            [6],
            "Which class is most probable in each frame? The classes are the last axis.",
        ),
        ([[0, 0, 0, 0]], [4], "A path of blanks only has a share of 1."),
        ([[2, 2, 3, 3], [1, 1, 1, 4]], [4, 4], "The blank is class 0; the space is class 1, a character."),
        (
            [[3, 3, 3, 0, 0, 0], [0, 0, 3, 3, 3, 3]],
            [6, 6],
            "Count in frames of the path as it is, not collapsed.",
        ),
        ([[3, 3, 0, 0, 0, 0]], [2], "Frames past a clip's length are padding: do not count them."),
        (
            [[3, 0, 0, 0, 0, 0], [4, 4, 4, 4, 4, 4]],
            [1, 6],
            "Frames past a clip's length are padding, in any clip.",
        ),
        (
            [[0, 0, 3, 3, 3, 3], [0, 3, 3, 3, 3, 3]],
            [2, 6],
            "Of all valid frames of the batch together: not of each clip.",
        ),
    ]
    for paths, lengths, hint in cases:
        log_probs = _log_probs_of(paths, classes=7)
        valid = [c for path, length in zip(paths, lengths, strict=True) for c in path[:length]]
        expected = valid.count(0) / len(valid)
        name = f"blank_share for the paths {paths} of lengths {lengths}"
        found = expect_number(call(function, log_probs, torch.tensor(lengths)), name)
        if not math.isclose(found, expected, abs_tol=1e-6):
            raise AssertionError(f"{name} gave {found:.3g}, expected {expected:.3g}. {hint}")


def clip_gradients(function: Callable) -> None:
    """function(gradients, limit) -> the gradients, shortened together to a length of at most ``limit``."""
    cases = [
        ([[3.0, 4.0]], 1.0, "The gradient (3, 4) is 5 long: the square root of the sum of squares."),
        (
            [[0.3, 0.4]],
            1.0,
            "A gradient that is short enough stays as it is: clipping never makes it longer.",
        ),
        ([[3.0, -4.0]], 1.0, "The direction stays: every value is multiplied by the same number."),
        ([[3.0], [4.0]], 1.0, "All tensors together are one long vector, with one length."),
        ([[0.1, 0.1], [30.0, 40.0]], 5.0, "All tensors shrink by the same factor, the small ones too."),
        ([[0.0, 0.0], [0.0]], 1.0, "What does your code do when the gradient is 0 long?"),
    ]
    generator = torch.Generator().manual_seed(0)
    tensors = [
        ([torch.tensor(values, dtype=torch.float64) for values in case], limit, hint)
        for case, limit, hint in cases
    ]
    matrices = [
        torch.randn(shape, generator=generator, dtype=torch.float64) for shape in [(4, 3), (2, 3, 5), (6,)]
    ]
    tensors.append((matrices, 2.0, "Tensors may have any number of axes."))
    for gradients, limit, hint in tensors:
        parameters = [torch.nn.Parameter(torch.zeros_like(g)) for g in gradients]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.clone()
        before = [g.clone() for g in gradients]
        torch.nn.utils.clip_grad_norm_(parameters, limit)
        found = call(function, gradients, limit)
        shown = [g.tolist() if g.numel() < 4 else tuple(g.shape) for g in before]
        name = f"clip_gradients({shown}, {limit:g})"
        if not isinstance(found, list | tuple) or len(found) != len(before):
            raise AssertionError(
                f"{name}: expected a list of {len(before)} tensors, found {type(found).__name__}"
            )
        for i, (ours, parameter) in enumerate(zip(found, parameters, strict=True)):
            ours = expect_tensor(ours, tuple(parameter.shape), f"{name}, tensor {i},", hint)
            expect_close(ours, parameter.grad, f"{name}, tensor {i},", hint, tolerance=1e-5)


def mended_loss(function: Callable) -> None:
    """function(logits (B, T, V), frames (B,), labels (B, Lmax) padded with 0) -> the batch's CTC loss."""
    generator = torch.Generator().manual_seed(0)
    cases = [  # (frames), (labels), T, what a failure here points at
        (
            [9],
            [[3, 1, 4]],
            9,
            "What does F.ctc_loss expect: logits or log-probabilities, and in which order of axes?",
        ),
        (
            [7, 7],
            [[3, 1, 4], [2, 5, 1]],
            7,
            "(B, T, V) becomes (T, B, V) by a transpose: a reshape mixes the clips.",
        ),
        (
            [4] * 4,
            [[3, 1], [2, 5], [1, 4], [5, 5]],
            4,
            "B = T here, and nothing crashes: which axis is time?",
        ),
        ([9], [[3, 1, 4, 0, 0]], 9, "The zeros are padding. How long is the label without them?"),
        ([9, 9], [[3, 1, 4, 2], [2, 0, 0, 0]], 9, "Each clip has a label length of its own."),
        ([9, 5], [[3, 1], [2, 4]], 9, "A clip ends after its own number of frames, not after T."),
        (
            [9, 6],
            [[3, 1, 3, 3], [2, 0, 0, 0]],
            9,
            "Each loss over its label's length, then the mean of the clips.",
        ),
    ]
    for frames, padded, n_frames, hint in cases:
        logits = 2 * torch.randn(len(frames), n_frames, 6, generator=generator, dtype=torch.float64)
        logits.requires_grad_()
        labels = [[c for c in label if c != 0] for label in padded]
        each = [  # one clip at a time: nothing to mix up
            F.ctc_loss(x[:t, None].log_softmax(-1), torch.tensor([y]), [t], [len(y)], reduction="sum")
            / len(y)
            for x, t, y in zip(logits, frames, labels, strict=True)
        ]
        expected = torch.stack(each).mean()
        (wanted,) = torch.autograd.grad(expected, logits)
        name = f"mended_loss for logits {tuple(logits.shape)}, frames {frames}, labels {padded}"
        found = call(function, logits, torch.tensor(frames), torch.tensor(padded))
        found = expect_tensor(found, (), name, "It is one number: the mean over the batch.")
        if not torch.isclose(found.double(), expected, rtol=1e-4):
            raise AssertionError(f"{name} gave {found.item():.4g}, expected {expected.item():.4g}. {hint}")
        if not found.requires_grad:
            raise AssertionError(
                f"{name} has the right value but no gradient: was it made by .item() or float()?"
            )
        (gradient,) = torch.autograd.grad(found, logits)
        expect_close(gradient, wanted, f"The gradient of {name}", hint, tolerance=1e-5)


def align_words(function: Callable) -> None:
    """function(said, read) -> pairs (word said or None, word read or None) with the fewest differences."""
    cases = [
        ("set red", "set red", "Equal words are paired and cost nothing."),
        ("set red", "lay blue", "Another word in its place is one pair (said, read)."),
        ("bin blue at", "bin at", "A word that was not read is paired with None: (said, None)."),
        ("bin at", "bin blue at", "A word too many is paired with None: (None, read)."),
        ("red", "", "Nothing was read: every word said is paired with None."),
        ("", "red", "Words before the first one said count too."),
        (
            "place blue at b two now",
            "lace at b two two now",
            "The fewest edits are not found greedily from the left.",
        ),
    ]
    rng = random.Random(0)
    for _ in range(60):
        said, read = (" ".join(rng.choices("abc", k=rng.randint(0, 6))) for _ in range(2))
        cases.append((said, read, "Fill the table of edit distances, then walk back from its last corner."))
    for said, read, hint in cases:
        pairs = call(function, said, read)
        name = f"align_words({said!r}, {read!r})"
        if not isinstance(pairs, list | tuple) or not all(
            isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
        ):
            raise AssertionError(f"{name} gave {pairs!r}, expected a list of pairs (said, read)")
        if any(a is None and b is None for a, b in pairs):
            raise AssertionError(f"{name} gave {pairs!r}: a pair of None and None says nothing")
        for side, text, what in ((0, said, "said"), (1, read, "read")):
            words = [pair[side] for pair in pairs if pair[side] is not None]
            if words != text.split():
                raise AssertionError(
                    f"{name} gave {pairs!r}: the words {what} are {words}, expected {text.split()}. {hint}"
                )
        cost, least = sum(a != b for a, b in pairs), edit_distance(said.split(), read.split())
        if cost != least:
            raise AssertionError(f"{name} gave {pairs!r}: {cost} differences, {least} are enough. {hint}")


CHECKS: dict[str, Callable[[Callable], None]] = {
    "clip_gradients": clip_gradients,
    "blank_share": blank_share,
    "mended_loss": mended_loss,
    "align_words": align_words,
}
