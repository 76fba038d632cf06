"""What learners write by mistake in the exercises of notebook 01 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import math
from itertools import accumulate

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils.rnn import pad_sequence

from lessons.checks.video_tensors import CHECKS
from tests.checks.exercises import answer_tests, sizes_that_never_vary

# ---- change_layout -----------------------------------------------------------------------------------------


def permuted(x, old, new):
    return x.permute([old.index(axis) for axis in new])


def by_swaps(x, old, new):
    letters = list(old)
    for k, axis in enumerate(new):
        j = letters.index(axis)
        x = x.transpose(k, j)
        letters[k], letters[j] = letters[j], letters[k]
    return x


def by_movedim(x, old, new):
    return x.movedim(tuple(range(x.dim())), tuple(new.index(axis) for axis in old))


def by_sorting(x, old, new):
    return x.permute(sorted(range(x.dim()), key=lambda axis: new.index(old[axis])))


def element_by_element(x, old, new):
    y = x.new_zeros([x.shape[old.index(axis)] for axis in new])
    for index in np.ndindex(*x.shape):
        y[tuple(index[old.index(axis)] for axis in new)] = x[index]
    return y


def one_swap(x, old, new):
    k = next((k for k in range(x.dim()) if old[k] != new[k]), 0)
    return x.transpose(k, old.index(new[k]))


def in_place(x, old, new):
    y = permuted(x, old, new).clone()
    x.mul_(0)
    return y


def through_numpy(x, old, new):
    return torch.from_numpy(np.transpose(x.detach().numpy(), [old.index(axis) for axis in new]))


def half_detached(x, old, new):
    return (permuted(x, old, new) + permuted(x, old, new).detach()) / 2 if x.is_floating_point() else x


# ---- to_batch ----------------------------------------------------------------------------------------------


def batch_by(one=lambda clip: clip.permute(3, 0, 1, 2), pad=0.0, dtype=None, counted=None, lengths=None):
    """A to_batch in which ``one`` turns a clip (T, H, W, C) into (C, T, H, W)."""

    def function(clips, n_frames):
        _, H, W, C = clips[0].shape
        x = torch.full((len(clips), C, n_frames, H, W), pad, dtype=dtype or clips[0].dtype)
        valid = [min(len(clip), n_frames) for clip in clips]
        for i, (clip, n) in enumerate(zip(clips, valid, strict=True)):
            x[i, :, :n] = one(clip[:n])
        return x, torch.tensor(lengths(clips, n_frames) if lengths else valid)

    return function


def row_by_row(clips, n_frames):
    x = torch.zeros(len(clips), clips[0].shape[-1], n_frames, *clips[0].shape[1:3], dtype=clips[0].dtype)
    for row, clip in zip(x, clips, strict=True):
        row[:, : len(clip)] = clip[:n_frames].permute(3, 0, 1, 2)
    return x, torch.tensor([min(n_frames, len(clip)) for clip in clips])


def padded_sequence(clips, n_frames):
    cut = [clip[:n_frames] for clip in clips]
    x = pad_sequence(cut, batch_first=True)  # (B, T, H, W, C)
    x = F.pad(x, (0, 0, 0, 0, 0, 0, 0, n_frames - x.shape[1]))
    return [x.permute(0, 4, 1, 2, 3), torch.tensor([len(clip) for clip in cut])]


def with_cat(clips, n_frames):
    rows, lengths = [], []
    for clip in clips:
        clip = clip.movedim(3, 0)[:, :n_frames]
        zeros = clip.new_zeros(clip.shape[0], n_frames - clip.shape[1], *clip.shape[2:])
        rows.append(torch.cat([clip, zeros], 1))
        lengths.append(clip.shape[1])
    return torch.stack(rows), torch.as_tensor(lengths, dtype=torch.int64)


def frame_by_frame(clips, n_frames):
    _, H, W, C = clips[0].shape
    x = clips[0].new_zeros(len(clips), C, n_frames, H, W)
    for b, clip in enumerate(clips):
        for t in range(min(n_frames, len(clip))):
            for c in range(C):
                x[b, c, t] = clip[t, :, :, c]
    return x, torch.tensor([len(clip) for clip in clips]).clamp(max=n_frames)


def by_indices(clips, n_frames):
    long = torch.stack([torch.cat([c, c.new_zeros(n_frames, *c.shape[1:])])[:n_frames] for c in clips])
    return long.movedim(-1, 1), torch.LongTensor([min(len(c), n_frames) for c in clips])


def to_the_longest(clips, n_frames):
    return batch_by()(clips, max(map(len, clips)))


def to_the_longest_that_fits(clips, n_frames):
    return batch_by()(clips, min(n_frames, max(map(len, clips))))


def padded_in_front(clips, n_frames):
    x, lengths = batch_by()(clips, n_frames)
    rolled = [clip.roll(n_frames - int(n), 1) for clip, n in zip(x, lengths, strict=True)]
    return torch.stack(rolled), lengths


def last_frames_kept(clips, n_frames):
    return batch_by()([clip[-n_frames:] for clip in clips], n_frames)


def last_frame_repeated(clips, n_frames):
    x, lengths = batch_by()(clips, n_frames)
    for clip, n in zip(x, lengths.tolist(), strict=True):
        clip[:, n:] = clip[:, n - 1 : n]
    return x, lengths


def cut_to_the_shortest(clips, n_frames):
    return batch_by()([clip[: min(map(len, clips))] for clip in clips], n_frames)


def first_clip_everywhere(clips, n_frames):
    x, lengths = batch_by()(clips, n_frames)
    return x[:1].expand_as(x), lengths


def sorted_by_length(clips, n_frames):
    return batch_by()(sorted(clips, key=len, reverse=True), n_frames)


def changes_its_clips(clips, n_frames):
    answer = batch_by()(clips, n_frames)
    clips[0].zero_()
    return answer


def changes_its_list(clips, n_frames):
    answer = batch_by()(clips, n_frames)
    clips.append(clips[0])
    return answer


def squeezed(clips, n_frames):
    x, lengths = batch_by()(clips, n_frames)
    return x.squeeze(), lengths


def other_axes(axes):
    def function(clips, n_frames):
        x, lengths = batch_by()(clips, n_frames)
        return x.permute(axes), lengths

    return function


# ---- standardize -------------------------------------------------------------------------------------------


def valid_frames(x, lengths):
    return (torch.arange(x.shape[2]) < lengths[:, None])[:, None, :, None, None]  # (B, 1, T, 1, 1)


def standardize_by(
    axes=(1, 2, 3, 4),
    mask=valid_frames,
    counted=None,
    correction=0,
    eps=1e-5,
    variance_eps=0.0,
    zeroed=True,
    of_bytes=torch.float32,
    std=lambda v: v.sqrt(),
    detach=False,
):
    def function(x, lengths):
        x = x if x.is_floating_point() else x.to(of_bytes)
        m = mask(x, lengths).to(x.dtype).expand_as(x)
        n = counted(x, lengths) if counted else m.sum(axes, keepdim=True)
        mean = (x * m).sum(axes, keepdim=True) / n
        variance = ((x - mean) * m).square().sum(axes, keepdim=True) / (n - correction)
        scale = std(variance + variance_eps) + eps
        y = (x - mean) / (scale.detach() if detach else scale)
        return y * m if zeroed else y

    return function


def per_clip_loop(x, lengths):
    x = x.float() if x.dtype == torch.uint8 else x
    rows = []
    for clip, n in zip(x, lengths.tolist(), strict=True):
        own = clip[:, :n]
        own = (own - own.mean()) / (own.std(correction=0) + 1e-5)
        rows.append(F.pad(own, (0, 0, 0, 0, 0, clip.shape[1] - n)))
    return torch.stack(rows)


def with_where(x, lengths):
    x = x.float() if not x.is_floating_point() else x
    mask = valid_frames(x, lengths).expand_as(x)
    flat = torch.where(mask, x, torch.nan).flatten(1)
    mean = flat.nanmean(1)[:, None, None, None, None]
    centered = torch.where(mask, x - mean, 0.0)
    variance = torch.where(mask, centered.square(), torch.nan).flatten(1).nanmean(1)
    return centered / (variance.sqrt() + 1e-5)[:, None, None, None, None]


def by_indexing(x, lengths):
    if not torch.is_floating_point(x):
        x = x.to(torch.float32)
    y = torch.zeros_like(x)
    for i in range(len(x)):
        n = lengths[i]
        own = x[i, :, :n]
        y[i, :, :n] = (own - own.mean()) / (own.var(unbiased=False) ** 0.5 + 1e-5)
    return y


def by_einsum(x, lengths):
    x = x.float() if x.dtype == torch.uint8 else x
    m = (torch.arange(x.shape[2])[None] < lengths[:, None]).to(x.dtype)  # (B, T)
    n = lengths.to(x.dtype) * x[0, :, 0].numel()  # (B,)
    mean = torch.einsum("bcthw,bt->b", x, m) / n
    x = torch.einsum("bcthw,bt->bcthw", x - mean.view(-1, 1, 1, 1, 1), m)
    std = (torch.einsum("bcthw,bcthw->b", x, x) / n).sqrt()
    return x / (std.view(-1, 1, 1, 1, 1) + 1e-5)


def wrapped_bytes(x, lengths):
    if x.dtype != torch.uint8:
        return standardize_by()(x, lengths)
    m = valid_frames(x, lengths)
    mean = (x.float() * m).sum((1, 2, 3, 4), keepdim=True) / (m.expand_as(x).sum((1, 2, 3, 4), keepdim=True))
    return standardize_by()(x, lengths) + ((x - mean.to(torch.uint8)).float() * m) * 0.01


def writes_zeros_into_x(x, lengths):
    x.mul_(valid_frames(x, lengths))
    return standardize_by()(x, lengths)


def without_gradient(x, lengths):
    with torch.no_grad():
        return standardize_by()(x, lengths)


def float32(x, lengths):
    return standardize_by()(x.float(), lengths)


def float32_back(x, lengths):
    return standardize_by()(x.float(), lengths).to(x.dtype if x.is_floating_point() else torch.float32)


def padding_counted(x, lengths):
    everything = standardize_by(mask=lambda x, lengths: torch.ones_like(x))
    return everything(x, lengths) * valid_frames(x, lengths)


def one_pass(x, lengths):
    x = x if x.is_floating_point() else x.float()
    m = valid_frames(x, lengths).to(x.dtype).expand_as(x)
    n, axes = m.sum((1, 2, 3, 4), keepdim=True), (1, 2, 3, 4)
    mean = (x * m).sum(axes, keepdim=True) / n
    variance = (x.square() * m).sum(axes, keepdim=True) / n - mean.square()
    return (x - mean) * m / (variance.clamp(min=0).sqrt() + 1e-5)


def nan_for_flat_gray(x, lengths):
    m = valid_frames(x, lengths)
    x = x if x.is_floating_point() else x.float()
    own = torch.where(m, x, torch.nan).flatten(1)
    flat = own.nan_to_num(-1e9).amax(1) == own.nan_to_num(1e9).amin(1)
    return standardize_by()(x, lengths) / torch.where(flat, 0.0, 1.0).view(-1, 1, 1, 1, 1)


def mask_along_columns(x, lengths):
    return (torch.arange(x.shape[4]) < lengths[:, None])[:, None, None, None]


def one_more_frame(x, lengths):
    return valid_frames(x, (lengths + 1).clamp(max=x.shape[2]))


def longest_of_the_batch(x, lengths):
    return valid_frames(x, lengths.max().expand_as(lengths))


# ---- strides_of --------------------------------------------------------------------------------------------


def right_strides(shape):
    return tuple(math.prod(shape[k + 1 :]) for k in range(len(shape)))


WRONG = {
    "change_layout": [
        ("the size of each element", lambda x, o, n: permuted(x if x.dtype == torch.bool else x.abs(), o, n),
         "gradient at x|of any size"),
        ("by floats", lambda x, o, n: torch.einsum(f"{o}->{n}", x.double()).to(x.dtype), "float|of any size"),
        ("all but floats to bytes", lambda x, o, n: (lambda y: y if y.is_floating_point() else y.byte())(
            permuted(x, o, n)), "is wrong|True and False"),
        ("the inverse permutation", lambda x, o, n: x.permute([n.index(a) for a in o]), "gave shape"),
        ("a new shape only", lambda x, o, n: x.reshape([x.shape[o.index(a)] for a in n]), "moves none"),
        ("always channels first", lambda x, o, n: x.movedim(-1, -4) if x.dim() > 3 else x, "gave shape"),
        ("as it is", lambda x, o, n: x, "gave shape"),
        ("one swap of two axes", one_swap, "gave shape"),
        ("axes reversed", lambda x, o, n: x.permute(*reversed(range(x.dim()))), "gave shape"),
        ("sizes of 1 squeezed", lambda x, o, n: permuted(x, o, n).squeeze(), "gave shape"),
        ("letters of this course only", lambda x, o, n: permuted(x, o, n) if set(o) <= set("BTCHW") else x,
         "gave shape"),
        ("mirrored in time", lambda x, o, n: permuted(x, o, n).flip(n.index("T")), "values are wrong"),
        ("float32", lambda x, o, n: permuted(x, o, n).float(), "float32"),
        ("floats of bytes", lambda x, o, n: permuted(x, o, n).double(), "expected integers"),
        ("bytes as int64", lambda x, o, n: permuted(x, o, n).to(torch.promote_types(x.dtype, torch.int64)),
         "asks for torch.uint8"),
        ("0 … 1", lambda x, o, n: permuted(x, o, n) / 255, "values are wrong"),
        ("detached", lambda x, o, n: permuted(x, o, n).detach(), "no gradient reaches x"),
        ("through NumPy", through_numpy, "no gradient reaches x"),
        ("half of the gradient", half_detached, "gradient at x is off|gave shape"),
        ("changes x", in_place, "changed x"),
        ("transposed in place", lambda x, o, n: x.t_() if x.dim() == 2 else x.transpose_(0, -1), "changed x"),
        ("the shape", lambda x, o, n: tuple(permuted(x, o, n).shape), "expected a tensor"),
        ("an array", lambda x, o, n: permuted(x, o, n).detach().numpy(), "expected a tensor"),
        ("no return", lambda x, o, n: None, "gave None"),
    ],
    "to_batch": [
        ("view for permute", batch_by(lambda f: f.reshape(f.shape[3], *f.shape[:3])), "follow one pixel"),
        ("rows and columns swapped",
         batch_by(lambda f: f.permute(3, 0, 2, 1).reshape(f.shape[3], *f.shape[:3])),
         "follow one pixel"),
        ("blue first", batch_by(lambda f: f.permute(3, 0, 1, 2).flip(0)), "follow one pixel"),
        ("channels and time swapped where equal",
         batch_by(lambda f: f.permute(0, 3, 1, 2) if f.shape[0] == f.shape[3] else f.permute(3, 0, 1, 2)),
         "Equal axes"),
        ("to the longest clip", to_the_longest, "has n_frames frames|gave shape"),
        ("never longer than the longest", to_the_longest_that_fits, "even if no clip is so long"),
        ("padded in front", padded_in_front, "starts at frame 0"),
        ("padded with ones", batch_by(pad=1.0), "zeros follow"),
        ("NaN in the padding", batch_by(pad=math.nan, dtype=torch.float64), "holds NaN"),
        ("the last frames kept", last_frames_kept, "first n_frames are kept"),
        ("last frame repeated", last_frame_repeated, "zeros follow its last frame"),
        ("cut to the shortest", cut_to_the_shortest, "zeros follow its last frame"),
        ("first clip in every row", first_clip_everywhere, "its own row"),
        ("sorted by length", sorted_by_length, "starts at frame 0"),
        ("(B, T, C, H, W)", other_axes((0, 2, 1, 3, 4)), "gave shape"),
        ("the decoder's order", other_axes((0, 2, 3, 4, 1)), "gave shape"),
        ("sizes of 1 squeezed", squeezed, "gave shape"),
        ("0 … 1", batch_by(lambda f: f.permute(3, 0, 1, 2) / 255), "255 times too small"),
        ("always float32", batch_by(dtype=torch.float32), "float32"),
        ("always float64", batch_by(dtype=torch.float64), "expected integers"),
        ("bytes as int64", lambda c, n: (lambda x, k: (x if x.is_floating_point() else x.long(), k))(
            *batch_by()(c, n)), "asks for torch.uint8"),
        ("lengths of the batch", batch_by(lengths=lambda c, n: [n] * len(c)), "counts the padding"),
        ("lengths before the cut", batch_by(lengths=lambda c, n: [len(f) for f in c]), "has n_frames valid"),
        ("lengths as floats", batch_by(lengths=lambda c, n: [float(min(len(f), n)) for f in c]),
         "expected integers"),
        ("lengths as a list", lambda c, n: (batch_by()(c, n)[0], [min(len(f), n) for f in c]),
         "lengths gave .* expected a tensor"),
        ("lengths by light", lambda c, n: (lambda x: (x, (x != 0).any(1).flatten(2).any(2).sum(1)))(
            batch_by()(c, n)[0]), "black frame of a clip is valid"),
        ("lengths as bytes", lambda c, n: (lambda x, k: (x, k.to(torch.uint8)))(*batch_by()(c, n)),
         "lengths are torch.uint8"),
        ("lengths as int32", lambda c, n: (lambda x, k: (x, k.int()))(*batch_by()(c, n)),
         "asks for torch.int64"),
        ("changes its clips", changes_its_clips, "changed clips"),
        ("changes its list", changes_its_list, "changed clips"),
        ("no lengths", lambda c, n: batch_by()(c, n)[0], "expected a list or tuple of length 2"),
        ("no return", lambda c, n: None, "gave None"),
    ],
    "standardize": [
        ("cut at 10 deviations", lambda x, n: standardize_by()(x, n).clamp(-10, 10), "very bright pixel"),
        ("n - 1", standardize_by(correction=1), "n, as the formula says"),
        ("no epsilon", standardize_by(eps=0.0), "10⁻⁵ added"),
        ("epsilon under the root", standardize_by(eps=0.0, variance_eps=1e-5), "values are wrong"),
        ("the mean only", standardize_by(std=torch.ones_like, eps=0.0), "values are wrong"),
        ("divided by the variance", standardize_by(std=lambda v: v), "values are wrong"),
        ("not centered", lambda x, n: standardize_by()(x, n) + x * valid_frames(x, n), "values are wrong"),
        ("all clips together", standardize_by(axes=(0, 1, 2, 3, 4)), "All clips share"),
        ("per channel", standardize_by(axes=(2, 3, 4)), "Each channel"),
        ("per frame", standardize_by(axes=(1, 3, 4)), "Each frame"),
        ("padding counted", padding_counted, "padding was counted"),
        ("divided by all pixels", standardize_by(counted=lambda x, n: x[0].numel()), "Which frames enter"),
        ("divided by frames", standardize_by(counted=lambda x, n: n.view(-1, 1, 1, 1, 1)), "are wrong"),
        ("channels forgotten in n", standardize_by(counted=lambda x, n: n.view(-1, 1, 1, 1, 1)
         * x.shape[3] * x.shape[4]), "share one mean"),
        ("one frame too many", standardize_by(mask=one_more_frame), "Which frames enter"),
        ("the longest length for all", standardize_by(mask=longest_of_the_batch), "Which frames enter"),
        ("mask along the columns", standardize_by(mask=mask_along_columns), "values are wrong|stopped with"),
        ("outliers clamped", lambda x, n: standardize_by()(x, n).clamp(-3, 3), "very bright pixel"),
        ("bytes to 0 … 1 first", lambda x, n: standardize_by()(x / 255 if x.dtype == torch.uint8 else x, n),
         "at the scale of x"),
        ("mean of the squares less the squared mean", one_pass, "little contrast"),
        ("padding not zeroed", standardize_by(zeroed=False), "padding is not 0"),
        ("bytes wrap around", wrapped_bytes, "values are wrong"),
        ("bytes to float64", standardize_by(of_bytes=torch.float64), "asks for torch.float32"),
        ("float32 throughout", float32, "wrong dtype"),
        ("float32 inside", float32_back, "wrong dtype"),
        ("writes into x", writes_zeros_into_x, "changed x"),
        ("no gradient", without_gradient, "no gradient reaches x"),
        ("standard deviation detached", standardize_by(detach=True), "gradient at x is off"),
        ("batch of one squeezed", lambda x, n: standardize_by()(x, n).squeeze(0), "gave shape"),
        ("channel of one squeezed", lambda x, n: standardize_by()(x, n).squeeze(1), "gave shape"),
        ("flat gray is NaN", nan_for_flat_gray, "flat gray"),
        ("a pair", lambda x, n: (standardize_by()(x, n), n), "expected a tensor"),
        ("no return", lambda x, n: None, "gave None"),
    ],
    "strides_of": [
        ("the shape itself", lambda shape: shape, "one axis"),
        ("first axis fastest", lambda s: tuple(math.prod(s[:k]) for k in range(len(s))), "row by row"),
        ("its own axis counted", lambda s: tuple(math.prod(s[k:]) for k in range(len(s))), "one axis"),
        ("all ones", lambda s: (1,) * len(s), "row by row"),
        ("the next size only", lambda s: (*s[1:], 1), "everything that the axes after it"),
        ("sums for products", lambda s: (*(sum(s[k + 1 :]) for k in range(len(s) - 1)), 1), "axes after it"),
        ("bytes of a float", lambda s: tuple(4 * n for n in right_strides(s)), "one axis"),
        ("the next two sizes only", lambda s: tuple(math.prod(s[k + 1 : k + 3]) for k in range(len(s))),
         "last axis and work"),
        ("of one fixed shape", lambda s: (20, 5, 1), "3 values, expected 1"),
        ("one entry: stride 0",
         lambda s: tuple(n * (a > 1) for n, a in zip(right_strides(s), s, strict=True)), "one entry"),
        ("reversed", lambda s: right_strides(s)[::-1], "row by row"),
        ("floats", lambda s: tuple(float(n) for n in right_strides(s)), "an integer"),
        ("one axis missing", lambda s: right_strides(s)[1:], "gave 0 values"),
        ("one number", lambda s: right_strides(s)[0], "expected a list or tuple"),
        ("NaN", lambda s: (math.nan,) * len(s), "an integer"),
        ("no return", lambda s: None, "gave None"),
    ],
}  # fmt: skip

RIGHT = {
    "change_layout": [
        permuted,
        by_swaps,
        by_movedim,
        by_sorting,
        element_by_element,
        lambda x, old, new: torch.einsum(f"{old}->{new}", x),
        lambda x, old, new: permuted(x, old, new).contiguous(),
    ],
    "to_batch": [batch_by(), row_by_row, padded_sequence, with_cat, frame_by_frame, by_indices],
    "standardize": [standardize_by(), per_clip_loop, with_where, by_indexing, by_einsum],
    "strides_of": [
        right_strides,
        lambda s: list(right_strides(s)),
        lambda s: torch.empty(s).stride(),
        lambda s: [np.prod(s[k + 1 :], dtype=int) for k in range(len(s))],
        lambda s: torch.tensor(right_strides(s)),
        lambda s: np.cumprod([*s[1:], 1][::-1])[::-1],
        lambda s: list(accumulate(s[:0:-1], lambda a, b: a * b, initial=1))[::-1],
    ],
}


TestAnswers = answer_tests("01", WRONG, RIGHT)


@pytest.mark.parametrize("exercise", CHECKS)
def test_no_size_is_the_same_in_all_cases(exercise):
    never = sizes_that_never_vary(CHECKS[exercise])
    # A fourth and a fifth clip are in few cases; they have the sizes of the clips before them.
    assert [size for size in never if not size.startswith(("argument (0, 3)", "argument (0, 4)"))] == []
