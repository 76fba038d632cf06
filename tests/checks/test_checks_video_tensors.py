"""What learners write by mistake in the exercises of notebook 01 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lessons.checks import check
from tests.checks.exercises import each_wrong_answer


def right_strides(shape):
    return tuple(math.prod(shape[k + 1 :]) for k in range(len(shape)))


def nothing_for_one_entry(shape):
    return tuple(n * (a > 1) for n, a in zip(right_strides(shape), shape, strict=True))


def right_address(index, shape):
    (b, c, t, h, w), (_, C, T, H, W) = index, shape
    return (((b * T + t) * H + h) * W + w) * C + c


def batch_by(one, pad=0.0, dtype=torch.float32, scale=255.0, lengths=lambda films: [len(f) for f in films]):
    """A to_batch in which ``one`` turns a film (T, H, W, C) into (C, T, H, W)."""

    def function(films):
        longest, (_, H, W, C) = max(map(len, films)), films[0].shape
        x = torch.full((len(films), C, longest, H, W), pad, dtype=dtype)
        for clip, film in zip(x, films, strict=True):
            clip[:, : len(film)] = (one(film).float() / scale).to(dtype)
        return x, torch.tensor(lengths(films))

    return function


def by_permute(film):
    return film.permute(3, 0, 1, 2)


def time_for_channels(film):
    right = by_permute(film)
    return right.transpose(0, 1) if len(film) == 3 and film.shape[1] == 4 else right


def first_film_only(films):
    x, lengths = batch_by(by_permute)(films)
    return x[:1].expand_as(x), lengths


def padded_in_front(films):
    x, lengths = batch_by(by_permute)(films)
    return torch.stack(
        [clip.roll(x.shape[2] - int(n), 1) for clip, n in zip(x, lengths, strict=True)]
    ), lengths


def cut_to_the_shortest(films):
    return batch_by(by_permute)([film[: min(map(len, films))] for film in films])


def changes_its_films(films):
    answer = batch_by(by_permute)(films)
    films[0].zero_()
    return answer


def repeats_its_last_frame(films):
    x, lengths = batch_by(by_permute)(films)
    for clip, n in zip(x, lengths, strict=True):
        clip[:, n:] = clip[:, n - 1 : n]
    return x, lengths


def always_75_frames(films):
    x, lengths = batch_by(by_permute)(films)
    return torch.nn.functional.pad(x, (0, 0, 0, 0, 0, 75 - x.shape[2])), lengths


def decoder_order(films):
    x, lengths = batch_by(by_permute)(films)
    return x.permute(0, 2, 3, 4, 1), lengths


def torch_order(films):
    x, lengths = batch_by(by_permute)(films)
    return x.transpose(1, 2), lengths


def mean_by(change_mask=lambda m: m, pixels=None, sum_over=(2, 3, 4), shape=lambda y: y):
    """A masked_mean with a slip in the mask, in the number of pixels or in the axes."""

    def function(x, lengths):
        mask = change_mask(torch.arange(x.shape[2]) < lengths[:, None]).to(x.dtype)[:, None, :, None, None]
        count = pixels(x, lengths) if pixels else mask.sum((2, 3, 4)) * x.shape[3] * x.shape[4]
        return shape((x * mask).sum(sum_over) / count)

    return function


def nonzero_pixels(x, lengths):
    return x.sum((2, 3, 4)) / (x != 0).sum((2, 3, 4))


def per_batch(x, lengths):
    return mean_by()(x, lengths).mean(0, keepdim=True).expand(x.shape[:2])


def mask_along_the_columns(x, lengths):
    mask = (torch.arange(x.shape[4]) < lengths[:, None]).to(x.dtype)[:, None, None, None]  # (B, 1, 1, 1, W)
    return (x * mask).sum((2, 3, 4)) / (mask.sum((2, 3, 4)) * x.shape[2] * x.shape[3])


def loses_its_gradient(x, lengths):
    return torch.from_numpy(np.asarray(mean_by()(x, lengths).detach()))


WRONG = {
    "strides_of": [
        ("the shape itself", lambda shape: shape, "one axis"),
        ("first axis fastest", lambda s: tuple(math.prod(s[:k]) for k in range(len(s))), "line by line"),
        ("its own axis counted", lambda s: tuple(math.prod(s[k:]) for k in range(len(s))), "one axis"),
        ("all ones", lambda s: (1,) * len(s), "line by line"),
        ("the next size only", lambda s: (*s[1:], 1), "everything that the axes after it"),
        ("sums for products", lambda s: (*(sum(s[k + 1 :]) for k in range(len(s) - 1)), 1), "axes after it"),
        ("bytes of a float", lambda s: tuple(4 * n for n in right_strides(s)), "one axis"),
        ("the next two sizes only", lambda s: tuple(math.prod(s[k + 1 : k + 3]) for k in range(len(s))),
         "last axis and work"),
        ("of one fixed shape", lambda s: (20, 5, 1), "expected 1 whole number"),
        ("one entry: stride 0", nothing_for_one_entry, "one entry"),
        ("turned round", lambda s: right_strides(s)[::-1], "line by line"),
        ("floats", lambda s: tuple(float(n) for n in right_strides(s)), "whole numbers"),
        ("a tensor", lambda s: torch.tensor(right_strides(s)), "whole numbers, one for each"),
        ("one axis missing", lambda s: right_strides(s)[1:], "one for each axis"),
        ("NaN", lambda s: (math.nan,) * len(s), "whole numbers"),
        ("no return", lambda s: None, "gave None"),
    ],
    "address": [
        ("contiguous (B, C, T, H, W)", lambda i, s: int(np.ravel_multi_index(i, s)), "Red, green and blue"),
        ("channels forgotten", lambda i, s: right_address((i[0], 0, *i[2:]), s), "Red, green and blue"),
        ("channel step of a picture", lambda i, s: right_address((i[0], 0, *i[2:]), s) + i[1] * s[3] * s[4],
         "Red, green and blue"),
        ("pixels one apart", lambda i, s: right_address((*i[:4], 0), s) + i[4], "on its right"),
        ("rows of W places", lambda i, s: right_address((*i[:3], 0, i[4]), s) + i[3] * s[4], "below it"),
        ("rows and columns swapped", lambda i, s: right_address((*i[:3], i[4], i[3]), (*s[:3], s[4], s[3])),
         "on its right"),
        ("height for width", lambda i, s: right_address(i, (*s[:3], s[4], s[3])), "below it"),
        ("each index times its own size", lambda i, s: sum(a * n for a, n in zip(i, s, strict=True)),
         "Red, green and blue"),
        ("frames of H W places", lambda i, s: right_address((*i[:2], 0, *i[3:]), s) + i[2] * s[3] * s[4],
         "From one frame"),
        ("clips forgotten", lambda i, s: right_address((0, *i[1:]), s), "one clip to the next"),
        ("counts from one", lambda i, s: right_address(i, s) + 1, "first element"),
        ("bytes of a float", lambda i, s: 4 * right_address(i, s), "Red, green and blue"),
        ("float", lambda i, s: float(right_address(i, s)), "a whole number"),
        ("a tensor", lambda i, s: torch.tensor(right_address(i, s)), "a whole number"),
        ("NaN", lambda i, s: math.nan, "a whole number"),
        ("no return", lambda i, s: None, "gave None"),
    ],
    "to_batch": [
        ("view for permute", batch_by(lambda f: f.reshape(3, *f.shape[:3])), "follow one pixel"),
        ("rows and columns swapped", batch_by(lambda f: f.permute(3, 0, 2, 1).reshape(3, *f.shape[:3])),
         "follow one pixel"),
        ("blue first", batch_by(lambda f: by_permute(f).flip(0)), "follow one pixel"),
        ("channels and time swapped where equal", batch_by(time_for_channels), "Equal axes"),
        ("first film in every place", first_film_only, "its own place"),
        ("padded in front", padded_in_front, "several lengths"),
        ("padded with ones", batch_by(by_permute, pad=1.0), "several lengths"),
        ("cut to the shortest", cut_to_the_shortest, "has shape"),
        ("still bytes' scale", batch_by(by_permute, scale=1.0), "largest byte"),
        ("divided by 256", batch_by(by_permute, scale=256.0), "0.9961 times what it should be"),
        ("to half the range", batch_by(by_permute, scale=510.0), "0.5 times what it should be"),
        ("last frame repeated", repeats_its_last_frame, "zeros follow its last frame"),
        ("always 75 frames", always_75_frames, "has shape"),
        ("float64", batch_by(by_permute, dtype=torch.float64), "torch.float32"),
        ("the decoder's order", decoder_order, "The axes are"),
        ("(B, T, C, H, W)", torch_order, "The axes are"),
        ("lengths of the batch", batch_by(by_permute, lengths=lambda fs: [max(map(len, fs))] * len(fs)),
         "before the padding"),
        ("lengths as floats", batch_by(by_permute, lengths=lambda fs: [float(len(f)) for f in fs]),
         "whole numbers"),
        ("changes its films", changes_its_films, "work on a copy"),
        ("no lengths", lambda films: batch_by(by_permute)(films)[0], "expected a pair"),
        ("NaN in the padding", batch_by(by_permute, pad=math.nan), "NaN"),
        ("no return", lambda films: None, "gave None"),
    ],
    "masked_mean": [
        ("over all frames", lambda x, lengths: x.mean((2, 3, 4)), "By what is the sum divided"),
        ("divided by all frames", mean_by(pixels=lambda x, n: x[0, 0].numel()), "By what is the sum divided"),
        ("frames counted, not pixels", mean_by(pixels=lambda x, n: n[:, None]), "without padding"),
        ("one frame too many", lambda x, n: mean_by()(x, (n + 1).clamp(max=x.shape[2])), "By what is"),
        ("one frame too few", lambda x, n: mean_by()(x, (n - 1).clamp(min=1)), "without padding"),
        ("pixels that are not zero", nonzero_pixels, "padding may hold anything"),
        ("mask only below the line", lambda x, n: x.sum((2, 3, 4)) / (n[:, None] * x.shape[3] * x.shape[4]),
         "padding may hold anything"),
        ("the last frames", mean_by(change_mask=lambda m: m.flip(1)), "By what is"),
        ("all channels together", lambda x, n: mean_by()(x, n).mean(1, keepdim=True).expand(x.shape[:2]),
         "Each channel"),
        ("all clips together", per_batch, "Each clip"),
        ("divided by the batch's pixels", mean_by(pixels=lambda x, n: n.sum() * x.shape[3] * x.shape[4]),
         "Each clip"),
        ("rounded", lambda x, n: mean_by()(x, n).round(decimals=3), "without padding"),
        ("mask along the columns", mask_along_the_columns, "By what is the sum divided"),
        ("lengths of the first clip", lambda x, n: mean_by()(x, n[:1].expand_as(n)), "By what is"),
        ("keeps the axes", mean_by(shape=lambda y: y[:, :, None, None, None]), r"\(B, C\)"),
        ("one number a clip", mean_by(shape=lambda y: y.mean(1)), r"\(B, C\)"),
        ("detached", loses_its_gradient, "lost its gradient"),
        ("sum over frames only", mean_by(sum_over=(2,)), "has shape|stopped with"),
        ("NaN", lambda x, n: mean_by()(x, n) * math.nan, "NaN"),
        ("no return", lambda x, n: None, "gave None"),
        ("a list", lambda x, n: mean_by()(x, n).tolist(), "expected a tensor"),
    ],
}  # fmt: skip


@each_wrong_answer(WRONG)
def test_a_wrong_answer_is_told_where_to_look(exercise, wrong, message):
    with pytest.raises(AssertionError, match=message):
        check(f"01.{exercise}", wrong)


@pytest.mark.parametrize(
    ("exercise", "other"),
    [
        ("strides_of", lambda s: list(right_strides(s))),
        ("strides_of", lambda s: torch.empty(s).stride()),
        ("address", right_address),
        ("to_batch", batch_by(by_permute)),
        ("to_batch", batch_by(lambda film: torch.einsum("thwc->cthw", film.float()))),
        ("masked_mean", mean_by()),
        (
            "masked_mean",
            lambda x, n: torch.stack([a[:, :k].mean((1, 2, 3)) for a, k in zip(x, n, strict=True)]),
        ),
    ],
)
def test_other_right_answers_pass(exercise, other):
    check(f"01.{exercise}", other)
