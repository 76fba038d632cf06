"""What learners write by mistake in the exercises of notebook 10 does not pass, and is told why.

That the shown solution passes: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import numpy as np
import torch

from tests.checks.exercises import answer_tests


def gamma(shape=lambda c: (len(c), 1, 1, 1), size=lambda s: s, change=lambda out, c: out, source=None):
    """The right answer by an exponent, with one slip."""

    def function(clips, strength, rng):
        drawn = (source or rng.normal)(size=shape(clips))
        exponent = torch.from_numpy(np.exp(size(strength) * drawn)).to(clips)
        return change(255 * (clips / 255) ** exponent, clips)

    return function


def in_place(clips, strength, rng):
    clips *= torch.from_numpy(np.exp(strength * rng.normal(size=(len(clips), 1, 1, 1)))).to(clips)
    return clips.clamp_(0, 255)


def brightness(clips, strength, rng):
    return clips * torch.from_numpy(np.exp(strength * rng.normal(size=(len(clips), 1, 1, 1)))).to(clips)


def through_log(clips, strength, rng):
    factor = torch.from_numpy(strength * rng.normal(size=(len(clips), 1, 1, 1))).to(clips)
    return 255 * (clips / 255).log().mul(factor.exp()).exp() + 0 * (1 / clips)


def pearson(seen, true, over=0, eps=1e-6, center=True, norm=True, reduce=torch.mean):
    if center:
        seen, true = seen - seen.mean(over, keepdim=True), true - true.mean(over, keepdim=True)
    if norm:
        seen, true = (
            x / (x.square().mean(over, keepdim=True) + eps**2).sqrt().clamp(min=eps) for x in (seen, true)
        )
    return reduce((seen * true).mean(over))


def on_both_sides(plain=lambda text: " ".join(text.lower().split()), change=lambda found: found):
    """The right answer with one slip."""

    def function(train, val):
        found = {}
        for name, column in (("speakers", "speaker"), ("clips", "id"), ("sentences", "transcript")):
            found[name] = sorted({plain(r[column]) for r in train} & {plain(r[column]) for r in val})
        return change(found)

    return function


def listed_twice(train, val):
    right = on_both_sides()(train, val)
    both = [row["speaker"].lower().strip() for row in train + val]
    return right | {"speakers": sorted(name for name in both if name in right["speakers"])}


def duplicates_of_one_side(train, val):
    def twice(column):
        names = [" ".join(row[column].lower().split()) for row in train + val]
        return sorted({name for name in names if names.count(name) > 1})

    return {"speakers": twice("speaker"), "clips": twice("id"), "sentences": twice("transcript")}


def row_by_row(train, val):
    pairs = list(zip(train, val, strict=False))
    return {
        name: sorted({a[column].lower() for a, b in pairs if a[column].lower() == b[column].lower()})
        for name, column in (("speakers", "speaker"), ("clips", "id"), ("sentences", "transcript"))
    }


def the_mean_frame(clips, strength, rng):
    return gamma()(clips.mean(1, keepdim=True).expand_as(clips) if strength else clips, strength, rng)


def mixed_frames(clips):
    """Each frame with the one that is half a clip away: in clips that repeat themselves, the same."""
    return (clips + clips.roll(clips.shape[1] // 2, 1)) / 2


def each_correlation(seen, true, eps=1e-8, true_eps=1e-8):
    """(T, B, n) twice -> (B, n)."""
    p, q = seen - seen.mean(0), true - true.mean(0)
    return (p * q).sum(0) / ((p.square().sum(0) + eps) * (q.square().sum(0) + true_eps)).sqrt()


def constant_left_out(seen, true):
    moves = seen.std(0) > 1e-6
    return 1 - each_correlation(seen, true)[moves].mean() if moves.any() else 1 + 0 * seen.sum()


def no_eps_for_the_truth(seen, true):
    return 1 - each_correlation(seen, true, true_eps=0).mean()


def zero_for_nan(seen, true):
    return 1 - each_correlation(seen, true, eps=0).nan_to_num().mean()


def once(text):
    return text.lower().strip().replace("  ", " ")


def maybe_negative(clips, strength, rng):
    """Its factor is below 0 once in fifty clips: such a clip becomes black."""
    factor = torch.from_numpy(1 + strength * rng.normal(size=(len(clips), 1, 1, 1))).to(clips)
    return (clips * factor).clamp(0, 255)


def of_the_batch(statistic):
    """A contrast around a statistic of all clips together."""

    def function(clips, strength, rng):
        factor = torch.from_numpy(np.exp(strength * rng.normal(size=(len(clips), 1, 1, 1)))).to(clips)
        return (statistic(clips) + (clips - statistic(clips)) * factor).clamp(0, 255)

    return function


def reseeds(clips, strength, rng):
    torch.manual_seed(int(rng.integers(2**31)))
    level = torch.randn(len(clips), 1, 1, 1)
    return (clips + 100 * strength * level).clamp(0, 255)


def difference_of_squares(seen, true):
    def variance(x):
        return (x.square().mean(0) - x.mean(0).square()).clamp(min=0) + 1e-12

    together = (seen * true).mean(0) - seen.mean(0) * true.mean(0)
    return 1 - (together / (variance(seen) * variance(true)).sqrt()).mean()


WRONG = {
    "relight": [
        ("a factor around 1", maybe_negative, "nothing moves any more"),
        ("around the mean of the batch", of_the_batch(torch.mean), "other clips"),
        ("around the maximum of the batch", of_the_batch(torch.max), "other clips"),
        ("seeds torch", reseeds, "global generator"),
        ("numpy's global generator", gamma(source=np.random.normal), "global generator"),
        (
            "mixed clips of a large batch",
            lambda c, s, rng: gamma()(c.roll(int(s > 0 and len(c) > 4), 0), s, rng),
            "gets darker",
        ),
        ("requires a gradient", lambda c, s, rng: gamma()(c, s, rng).requires_grad_(), "requires a gradient"),
        ("float64", lambda c, s, rng: gamma()(c, s, rng).double(), "Keep their dtype"),
        ("another light per frame", gamma(lambda c: (*c.shape[:2], 1, 1)), "flickers"),
        ("one light for all clips", gamma(lambda c: (1, 1, 1, 1)), "came out alike"),
        ("noise per pixel", gamma(lambda c: tuple(c.shape)), "flickers"),
        ("strength ignored", gamma(size=lambda s: 0.4), "strength 0"),
        ("strength cut to yes or no", gamma(size=lambda s: 0.4 * (s > 0)), "more strength"),
        ("nothing", lambda c, s, rng: c.clone(), "next to nothing"),
        ("changes its input", in_place, "changed the clips"),
        ("bytes", gamma(change=lambda out, c: out.to(torch.uint8)), "expected floats|wrong"),
        ("above white", brightness, "clamp"),
        ("scaled to 0 … 1", gamma(change=lambda out, c: out / 255), "strength 0"),
        ("a negative", gamma(change=lambda out, c: 255 - out), "strength 0"),
        ("backwards", gamma(change=lambda out, c: out.flip(1)), "strength 0|brighter"),
        ("shifted in time", lambda c, s, rng: gamma()(c.roll(int(s > 0), 1), s, rng), "gets darker"),
        (
            "mixed clips",
            lambda c, s, rng: gamma()(c.flip(0) if s else c, s, rng) if len(c) > 1 else c,
            "gets darker|next to nothing",
        ),
        ("not a number at black", through_log, "NaN"),
        ("its own generator", gamma(source=np.random.default_rng().normal), "same state"),
        ("a fixed seed", lambda c, s, rng: gamma()(c, s, np.random.default_rng(0)), "whatever the state"),
        (
            "only darker",
            lambda c, s, rng: gamma(source=lambda size: abs(rng.normal(size=size)))(c, s, rng),
            "both",
        ),
        ("numpy", lambda c, s, rng: gamma()(c, s, rng).numpy(), "expected a tensor"),
        ("the first clip only", lambda c, s, rng: gamma()(c, s, rng)[:1], "has shape|came out alike"),
        ("no return", lambda c, s, rng: None, "gave None"),
        ("every frame the mean frame", the_mean_frame, "hardly differ"),
        ("two frames mixed", lambda c, s, rng: gamma()(mixed_frames(c), s, rng), "another order"),
        ("no light below a strength", gamma(size=lambda s: max(s - 0.2, 0)), "every strength"),
    ],
    "correlation_loss": [
        ("always float32", lambda a, b: 1 - pearson(a.float(), b.float()), "Keep their dtype"),
        ("always float64", lambda a, b: 1 - pearson(a.double(), b.double()), "Keep their dtype"),
        (
            "no eps for the true trajectories",
            lambda a, b: 1 - (pearson(a, b, reduce=lambda x: x) * (b.std(0) / b.std(0))).mean(),
            "of true",
        ),
        ("squared error", lambda a, b: (a - b).square().mean(), "expected"),
        ("over the batch", lambda a, b: 1 - pearson(a, b, over=1), "over time"),
        ("over the measures", lambda a, b: 1 - pearson(a, b, over=2), "over time"),
        ("all in one", lambda a, b: 1 - pearson(a.flatten(), b.flatten()), "of its own"),
        (
            "clips joined",
            lambda a, b: 1 - pearson(a.flatten(0, 1), b.flatten(0, 1)),
            "do not join clips",
        ),
        ("no mean taken off", lambda a, b: 1 - pearson(a, b, center=False), "expected"),
        ("covariance", lambda a, b: 1 - pearson(a, b, norm=False), "expected"),
        ("correlation, not loss", pearson, "expected"),
        ("its size", lambda a, b: 1 - abs(pearson(a, b)), "the other way"),
        ("its square", lambda a, b: 1 - pearson(a, b) ** 2, "expected"),
        ("a sum", lambda a, b: 1 - pearson(a, b, reduce=torch.sum), "expected"),
        ("one per measure", lambda a, b: 1 - pearson(a, b, reduce=lambda x: x), "one number"),
        ("a large eps", lambda a, b: 1 - pearson(a, b, eps=1.0), "expected"),
        ("a small eps, too large", lambda a, b: 1 - pearson(a, b, eps=3e-3), "A new network"),
        ("a difference of squares", difference_of_squares, "far from 0|1000 higher"),
        (
            "no eps",
            lambda a, b: 1 - torch.cosine_similarity(a - a.mean(0), b - b.mean(0), dim=0, eps=0).mean(),
            "NaN",
        ),
        (
            "no gradient through the length",
            lambda a, b: (
                1
                - (
                    (a - a.mean(0))
                    / a.std(0, correction=0).clamp(min=1e-6).detach()
                    * (b - b.mean(0))
                    / b.std(0, correction=0).clamp(min=1e-6)
                ).mean()
            ),
            "gradient",
        ),
        ("detached", lambda a, b: 1 - pearson(a.detach(), b), "no gradient"),
        ("constant ones left out", constant_left_out, "one measure of seen"),
        ("no eps for the truth", no_eps_for_the_truth, "one measure of true"),
        ("a zero instead of NaN", zero_for_nan, "gradient of .* NaN"),
        ("a number", lambda a, b: 1 - pearson(a, b).item(), "expected a tensor"),
        ("no return", lambda a, b: None, "gave None"),
    ],
    "leaks": [
        (
            "five names at most",
            on_both_sides(change=lambda f: {k: v[:5] for k, v in f.items()}),
            "Any number",
        ),
        (
            "spaces around an id",
            lambda a, b: (
                on_both_sides()(a, b)
                | {"clips": sorted({r["id"].lower() for r in a} & {r["id"].lower() for r in b})}
            ),
            "around an id",
        ),
        (
            "spaces at the end",
            on_both_sides(plain=lambda t: " ".join(t.lower().lstrip().split(" "))),
            "[Ss]paces",
        ),
        ("case counts", on_both_sides(plain=lambda t: " ".join(t.split())), "lower case"),
        ("spaces count", on_both_sides(plain=str.lower), "Spaces at the ends"),
        ("all spaces go", on_both_sides(plain=lambda t: t.lower().replace(" ", "")), "expected"),
        ("two spaces become one, once", on_both_sides(plain=once), "Three spaces"),
        ("only the ends", on_both_sides(plain=lambda t: t.lower().strip()), "Three spaces"),
        ("unsorted", on_both_sides(change=lambda f: {k: v[::-1] for k, v in f.items()}), "alphabetical"),
        ("sets", on_both_sides(change=lambda f: {k: set(v) for k, v in f.items()}), "sorted list"),
        ("counts", on_both_sides(change=lambda f: {k: len(v) for k, v in f.items()}), "sorted list"),
        ("speakers only", on_both_sides(change=lambda f: f | {"clips": [], "sentences": []}), "one clip"),
        ("no sentences", on_both_sides(change=lambda f: f | {"sentences": []}), "Another person"),
        ("no clips", on_both_sides(change=lambda f: f | {"clips": []}), "one clip"),
        ("the first alone", on_both_sides(change=lambda f: {k: v[:1] for k, v in f.items()}), "Everything"),
        ("yes or no", on_both_sides(change=lambda f: any(f.values())), "a dict"),
        ("listed as often", listed_twice, "A speaker|once|expected"),
        ("twice on one side", duplicates_of_one_side, "A speaker of validation"),
        ("row by row", row_by_row, "A speaker"),
        ("a list", on_both_sides(change=lambda f: list(f.values())), "a dict"),
        ("empties its input", lambda a, b: (on_both_sides()(a, b), a.clear())[0], "changed the rows"),
        ("no return", lambda a, b: None, "gave None"),
    ],
}


def field(clips, strength, rng):
    """Another right answer: a lamp that stands to one side."""
    across = torch.linspace(-1, 1, clips.shape[-1])  # (W,)
    slope, level = torch.from_numpy(rng.normal(size=(2, len(clips), 1, 1, 1))).to(clips)
    return (clips * (strength * (level + slope * across)).exp()).clamp(0, 255)


def one_by_one(clips, strength, rng):
    """A loop over the clips, in gray values from 0 to 1."""
    lit = [(clip / 255) ** (1 + strength) ** float(rng.uniform(-2, 2)) * 255 for clip in clips]
    return torch.stack(lit)


def seeded(clips, strength, rng):
    """Random numbers of torch, seeded from rng."""
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    level = torch.randn(len(clips), 1, 1, 1, generator=generator)
    return (clips + 255 * strength * level / 2).clamp(0, 255)


def contrast(clips, strength, rng):
    """A factor around middle gray, in NumPy."""
    factor = np.exp(strength * rng.standard_normal((len(clips), 1, 1, 1)))
    brighter = 60 * strength * rng.standard_normal((len(clips), 1, 1, 1))
    lit = (clips.numpy() - 127.5) * factor + 127.5 + brighter
    return torch.from_numpy(np.clip(lit, 0, 255).astype(np.float32))


def by_loops(seen, true):
    total = 0.0
    for b in range(seen.shape[1]):
        for m in range(seen.shape[2]):
            p, q = seen[:, b, m] - seen[:, b, m].mean(), true[:, b, m] - true[:, b, m].mean()
            total = total + (p @ q) / ((p @ p + 1e-10).sqrt() * (q @ q + 1e-10).sqrt())
    return 1 - total / (seen.shape[1] * seen.shape[2])


def by_einsum(seen, true):
    p, q = (x - x.mean(0, keepdim=True) for x in (seen, true))
    size = (torch.einsum("tbm,tbm->bm", p, p) + 1e-9) * (torch.einsum("tbm,tbm->bm", q, q) + 1e-9)
    return (1 - torch.einsum("tbm,tbm->bm", p, q) / size.sqrt()).mean()


def with_layer_norm(seen, true):
    p, q = (torch.layer_norm(x.permute(1, 2, 0), x.shape[:1], eps=1e-10) for x in (seen, true))
    return 1 - (p * q).mean()


def with_loops(train, val):
    def tidy(text):
        return " ".join(text.split()).casefold()

    found = {"sentences": [], "clips": [], "speakers": []}
    for key, column in (("sentences", "transcript"), ("clips", "id"), ("speakers", "speaker")):
        there = [tidy(row[column]) for row in val]
        for row in train:
            if tidy(row[column]) in there and tidy(row[column]) not in found[key]:
                found[key].append(tidy(row[column]))
        found[key].sort()
    return found


def with_dict_keys(train, val):
    keys = {"speakers": "speaker", "clips": "id", "sentences": "transcript"}
    sides = [
        {key: dict.fromkeys(" ".join(row[c].split()).lower() for row in rows) for key, c in keys.items()}
        for rows in (train, val)
    ]
    return {key: tuple(sorted(sides[0][key].keys() & sides[1][key].keys())) for key in keys}


def with_one_pass(train, val):
    found = {}
    for key, column in {"speakers": "speaker", "clips": "id", "sentences": "transcript"}.items():
        side = {}
        for mark, rows in ((1, train), (2, val)):
            for row in rows:
                name = " ".join(row[column].lower().split())
                side[name] = side.get(name, 0) | mark
        found[key] = sorted(name for name, marks in side.items() if marks == 3)
    return found


RIGHT = {
    "relight": [gamma(), field, one_by_one, seeded, contrast],
    "correlation_loss": [
        lambda a, b: 1 - pearson(a, b),
        lambda a, b: 1 - torch.cosine_similarity(a - a.mean(0), b - b.mean(0), dim=0, eps=1e-6).mean(),
        by_loops,
        by_einsum,
        with_layer_norm,
    ],
    "leaks": [
        on_both_sides(),
        on_both_sides(change=lambda f: {k: tuple(v) for k, v in f.items()}),
        with_loops,
        with_dict_keys,
        with_one_pass,
    ],
}


TestAnswers = answer_tests("10", WRONG, RIGHT)
