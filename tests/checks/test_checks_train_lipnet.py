"""What learners write by mistake in the exercises of notebook 09 does not pass, and is told why.

That the shown solutions pass: tests/checks/test_solutions.py.
"""

from __future__ import annotations

import copy
import math
import re
from difflib import SequenceMatcher
from functools import cache
from itertools import zip_longest

import pytest
import torch
import torch.nn.functional as F

from lessons.checks import check
from lessons.checks.train_lipnet import CHECKS, SLIPS, _step
from lessons.ctc import ctc_loss
from lessons.ctc.metrics import edits
from tests.checks.exercises import answer_tests, sizes_that_never_vary


def step(
    before=lambda model, optimizer, batch: optimizer.zero_grad(),
    log_probs_of=lambda model, batch: model(batch.x, batch.lengths).log_softmax(-1),
    loss_of=lambda p, batch: F.ctc_loss(p, batch.targets, batch.lengths, batch.target_lengths),
    total_of=lambda loss, p, extra: loss + extra(p) if extra else loss,
    backward=lambda total, model: total.backward(),
    clip=lambda model, c: torch.nn.utils.clip_grad_norm_(model.parameters(), c),
    update=lambda optimizer, model: optimizer.step(),
    result=lambda loss, norm, p: (loss.item(), norm.item(), p.detach()),
):
    """A training step, with one part exchanged. Note: here the extra loss sees what log_probs_of gives."""

    def train_step(model, batch, optimizer, clip_norm, extra_loss=None):
        before(model, optimizer, batch)
        kept = []
        hook = model.register_forward_hook(lambda module, arguments, logits: kept.append(logits))
        p = log_probs_of(model, batch)
        hook.remove()
        loss = loss_of(p, batch)
        total = total_of(loss, kept[-1], extra_loss)
        backward(total, model)
        norm = clip(model, clip_norm)
        update(optimizer, model)
        return result(loss, norm, p)

    return train_step


def slip(name):
    return lambda model, batch, optimizer, clip_norm, extra_loss=None: _step(
        model, batch, optimizer, clip_norm, extra_loss, name
    )


def scaled(factor_of):
    """Clip with the factor that ``factor_of(gradients, limit)`` gives; the norm returned is right."""

    def clip(model, c):
        gradients = [p.grad for p in model.parameters()]
        norm = torch.stack([g.norm() for g in gradients]).norm()
        factor = factor_of(gradients, c)
        for g in gradients:
            g.mul_(factor)
        return norm

    return clip


def after_the_update(model, batch, optimizer, clip_norm, extra_loss=None):
    optimizer.zero_grad()
    logits = model(batch.x, batch.lengths)
    p = logits.log_softmax(-1)
    loss = F.ctc_loss(p, batch.targets, batch.lengths, batch.target_lengths)
    (loss + extra_loss(logits) if extra_loss else loss).backward()
    optimizer.step()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    return loss.item(), norm.item(), p.detach()


def clips_a_copy(model, c):
    copies = [p.grad.clone() for p in model.parameters()]
    norm = torch.stack([g.norm() for g in copies]).norm()
    for g in copies:
        g *= min(1.0, c / norm.item())
    return norm


def trains_a_copy(model, batch, optimizer, clip_norm, extra_loss=None):
    other = copy.deepcopy(model)
    return step()(other, batch, torch.optim.SGD(other.parameters(), lr=0.5), clip_norm, extra_loss)


def by_hand(model, batch, optimizer, clip_norm, extra_loss=None):
    """Plain gradient descent instead of the optimizer."""

    def update(optimizer, model):
        with torch.no_grad():
            for p in model.parameters():
                p -= 1e-3 * p.grad

    return step(update=update)(model, batch, optimizer, clip_norm, extra_loss)


def changes_the_clips(model, optimizer, batch):
    optimizer.zero_grad()
    batch.x.sub_(batch.x.mean())


def clipped_before_the_extra_loss(model, batch, optimizer, clip_norm, extra_loss=None):
    optimizer.zero_grad()
    logits = model(batch.x, batch.lengths)
    p = logits.log_softmax(-1)
    loss = F.ctc_loss(p, batch.targets, batch.lengths, batch.target_lengths)
    loss.backward(retain_graph=True)
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    if extra_loss is not None:
        extra_loss(logits).backward()
    optimizer.step()
    return loss, norm, p


def seen_after_the_update(model, batch, optimizer, clip_norm, extra_loss=None):
    """Loss and log-probabilities as the new weights give them."""
    _, norm, _ = step()(model, batch, optimizer, clip_norm, extra_loss)
    with torch.no_grad():
        p = model(batch.x, batch.lengths).log_softmax(-1)
    return F.ctc_loss(p, batch.targets, batch.lengths, batch.target_lengths), norm, p


def evaluates(model, optimizer, batch):
    optimizer.zero_grad()
    model.eval()


def through_a_float32_loss(p, batch):
    return F.ctc_loss(p.float(), batch.targets, batch.lengths, batch.target_lengths)


# Right answers in other styles.


def by_autograd_grad(model, batch, optimizer, clip_norm, extra_loss=None):
    parameters = list(model.parameters())
    logits = model(batch.x, batch.lengths)
    log_probs = F.log_softmax(logits, dim=2)
    loss = ctc_loss(log_probs, batch.targets, batch.lengths, batch.target_lengths)
    total = loss if extra_loss is None else extra_loss(logits) + loss
    gradients = torch.autograd.grad(total, parameters)
    norm = math.sqrt(sum(g.square().sum().item() for g in gradients))
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = g * clip_norm / norm if norm > clip_norm else g
    optimizer.step()
    return [loss, norm, log_probs]


def zero_at_the_end(model, batch, optimizer, clip_norm, extra_loss=None):
    logits = model(batch.x, batch.lengths)
    log_probs = logits - logits.logsumexp(-1, keepdim=True)
    each = F.ctc_loss(log_probs, batch.targets, batch.lengths, batch.target_lengths, reduction="none")
    loss = (each / batch.target_lengths).mean()
    total = loss + (extra_loss(logits) if extra_loss is not None else 0)
    total.backward()
    norm = torch.cat([p.grad.flatten() for p in model.parameters()]).norm()
    if norm > clip_norm:
        for p in model.parameters():
            p.grad.mul_(clip_norm / norm)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach(), norm, log_probs.detach()


def in_a_closure(model, batch, optimizer, clip_norm, extra_loss=None):
    """All but the update inside the closure that an optimizer may be given."""
    kept = []

    def closure():
        model.zero_grad(set_to_none=False)
        logits = model(batch.x, lengths=batch.lengths)
        log_probs = torch.nn.LogSoftmax(dim=-1)(logits)
        loss = torch.nn.CTCLoss()(log_probs, batch.targets, batch.lengths, batch.target_lengths)
        loss.backward(retain_graph=extra_loss is not None)
        if extra_loss is not None:
            extra_loss(logits).backward()
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        torch._foreach_mul_(gradients, min(1.0, clip_norm / norm.item()))
        kept.extend((loss, norm, log_probs))
        return loss

    optimizer.step(closure)
    return tuple(kept)


def clip_by_parameter_data(model, c):
    norm = sum((p.grad**2).sum() for p in model.parameters()) ** 0.5
    for p in model.parameters():
        p.grad = p.grad * min(1.0, c / norm.item())
    return norm


def by_model_zero_grad(model, optimizer, batch):
    model.train()
    for p in model.parameters():
        p.grad = None


RIGHT_STEPS = [
    by_autograd_grad,
    zero_at_the_end,
    in_a_closure,
    step(),
    step(clip=clip_by_parameter_data, before=by_model_zero_grad),
    step(
        loss_of=lambda p, b: F.ctc_loss(
            p, b.targets.tolist() and b.targets, b.lengths.tolist(), b.target_lengths.tolist()
        ),
        result=lambda loss, norm, p: (loss.detach(), norm, p),
    ),
    step(clip=scaled(lambda gs, c: (c / torch.stack([g.norm() for g in gs]).norm()).clamp(max=1))),
    slip(""),
]


def ctc(change_logits=lambda x: x.transpose(0, 1), length_of=None, frames_of=lambda f, x: f, **options):
    """The right loss with one slip."""

    def function(logits, frames, labels):
        lengths = length_of(labels) if length_of else (labels != 0).sum(1)
        log_probs = change_logits(logits).log_softmax(-1)
        return F.ctc_loss(log_probs, labels, frames_of(frames, logits), lengths, **options)

    return function


def one_clip_at_a_time(logits, frames, labels):
    losses = []
    for x, t, y in zip(logits, frames.tolist(), labels, strict=True):
        y = y[y > 0]
        p = x[:t].log_softmax(-1)[:, None]  # (T, 1, V)
        losses.append(F.ctc_loss(p, y[None], torch.tensor([t]), torch.tensor([len(y)])))
    return sum(losses) / len(losses)


def concatenated_targets(logits, frames, labels):
    lengths = torch.tensor([int((row != 0).sum()) for row in labels])
    log_probs = torch.stack([clip.log_softmax(dim=1) for clip in logits], dim=1)  # (T, B, V)
    return ctc_loss(log_probs, labels[labels != 0], frames, lengths)


def mean_by_hand(logits, frames, labels):
    lengths = (labels > 0).sum(dim=-1)
    log_probs = (logits - logits.logsumexp(2, keepdim=True)).permute(1, 0, 2)
    each = F.ctc_loss(log_probs, labels, frames, lengths, reduction="none")
    return torch.mean(each / lengths)


def changes_its_labels(logits, frames, labels):
    lengths = (labels != 0).sum(1)
    labels[labels == 0] = 1
    return F.ctc_loss(logits.transpose(0, 1).log_softmax(-1), labels, frames, lengths)


def log_of_softmax(logits, frames, labels):
    return F.ctc_loss(logits.transpose(0, 1).softmax(-1).log(), labels, frames, (labels != 0).sum(1))


def pairs(change):
    """The true pairs of words, with one slip."""
    return lambda said, read: change(edits(said.split(), read.split()))


def recursive(said, read):
    """Distances by recursion, from the left."""

    @cache
    def best(a, b):
        if not a or not b:
            return len(a) + len(b), tuple((x, None) for x in a) + tuple((None, y) for y in b)
        options = []
        for pair, rest in (
            ((a[0], b[0]), best(a[1:], b[1:])),
            ((a[0], None), best(a[1:], b)),
            ((None, b[0]), best(a, b[1:])),
        ):
            options.append((rest[0] + (pair[0] != pair[1]), (pair, *rest[1])))
        return min(options, key=lambda option: option[0])

    return best(tuple(said.split()), tuple(read.split()))[1]


def by_longest_match(said, read):
    """difflib's matching blocks, which is not the fewest edits."""
    a, b, pairs = said.split(), read.split(), []
    for _, i1, i2, j1, j2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        pairs += zip_longest(a[i1:i2], b[j1:j2])
    return pairs


def deletions_first(said, read):
    a, b = said.split(), read.split()
    cost = [[max(i, j) if 0 in (i, j) else 0 for j in range(len(b) + 1)] for i in range(len(a) + 1)]
    for i, x in enumerate(a, 1):
        for j, y in enumerate(b, 1):
            cost[i][j] = min(cost[i - 1][j - 1] + (x != y), cost[i - 1][j] + 1, cost[i][j - 1] + 1)
    i, j, found = len(a), len(b), []
    while i or j:
        if i and cost[i][j] == cost[i - 1][j] + 1:
            i, pair = i - 1, (a[i - 1], None)
        elif j and cost[i][j] == cost[i][j - 1] + 1:
            j, pair = j - 1, (None, b[j - 1])
        else:
            i, j, pair = i - 1, j - 1, (a[i - 1], b[j - 1])
        found.insert(0, pair)
    return found


WRONG = {
    "train_step": [
        *((name, slip(name), re.escape(SLIPS[name])) for name in SLIPS if name != "swapped"),
        ("swapped", slip("swapped"), "input_lengths must be of size|Time and batch changed places"),
        ("clipped after the update", after_the_update, "reached the optimizer unclipped"),
        ("a copy of the gradients is clipped", step(clip=clips_a_copy), "reached the optimizer unclipped"),
        ("a copy of the model is trained", trains_a_copy, "weights did not move"),
        ("a rate of its own", by_hand, "needed no clipping: is the update"),
        (
            "the square of the norm",
            step(clip=scaled(lambda gs, c: min(1, c / sum(g.square().sum() for g in gs)))),
            "scaled by one factor",
        ),
        (
            "the largest value for the norm",
            step(clip=scaled(lambda gs, c: min(1, c / max(g.abs().max() for g in gs)))),
            "one factor|With an extra|Three steps",
        ),
        (
            "the sum of all sizes for the norm",
            step(clip=lambda m, c: torch.nn.utils.clip_grad_norm_(m.parameters(), c, norm_type=1)),
            "root of the sum of the squares",
        ),
        ("clipped before the extra loss", clipped_before_the_extra_loss, r"CTC's loss \+ extra_loss"),
        (
            "the extra loss of log-probabilities",
            step(total_of=lambda loss, x, e: loss + e(x.log_softmax(-1)) if e else loss),
            r"CTC's loss \+ extra_loss",
        ),
        ("seen after the update", seen_after_the_update, "is it from before the update"),
        ("left in eval mode", step(before=evaluates), "left the model in eval mode"),
        ("the clips change in place", step(before=changes_the_clips), "changed x, which belongs"),
        ("in float32", step(loss_of=through_a_float32_loss), "wrong dtype"),
        ("a detached loss", step(total_of=lambda loss, p, e: loss.detach()), "does not require grad"),
        (
            "a detached extra",
            step(total_of=lambda loss, p, e: loss + e(p.detach()) if e else loss),
            "extra_loss is not part",
        ),
        (
            "the blank is the last class",
            step(
                loss_of=lambda p, b: F.ctc_loss(
                    p, b.targets, b.lengths, b.target_lengths, blank=p.shape[-1] - 1
                )
            ),
            "loss gave|stopped",
        ),
        ("no return", step(result=lambda loss, norm, p: None), "expected three values: loss, norm"),
        ("two values", step(result=lambda loss, norm, p: (loss.item(), norm.item())), "gave 2 values"),
        ("the order swapped", step(result=lambda loss, norm, p: (norm, loss, p.detach())), "loss gave"),
        (
            "probabilities returned",
            step(result=lambda loss, norm, p: (loss, norm, p.exp().detach())),
            "log_probs has the right shape",
        ),
        (
            "batch first returned",
            step(result=lambda loss, norm, p: (loss, norm, p.transpose(0, 1).detach())),
            "log_probs gave shape",
        ),
        (
            "batch of one squeezed",
            step(result=lambda loss, norm, p: (loss, norm, p.squeeze(1).detach())),
            "log_probs gave shape",
        ),
        ("a list of losses", step(result=lambda loss, norm, p: ([loss], norm, p)), "expected a number"),
        (
            "a mixing reshape",
            step(
                log_probs_of=lambda m, b: (
                    m(b.x, b.lengths).reshape(len(b.x), b.x.shape[2], -1).log_softmax(-1).transpose(0, 1)
                )
            ),
            "loss gave",
        ),
        (
            "one label too few",
            step(loss_of=lambda p, b: F.ctc_loss(p, b.targets, b.lengths, b.target_lengths - 1)),
            "loss gave|stopped",
        ),
    ],
    "mended_loss": [
        ("batch first", ctc(change_logits=lambda x: x), "order of axes|which axis|stopped"),
        ("a reshape", ctc(change_logits=lambda x: x.reshape(x.shape[1], x.shape[0], -1)), "not be mixed"),
        ("padding is spelled", ctc(length_of=lambda y: torch.full((len(y),), y.shape[1])), "padding"),
        (
            "the longest label's length",
            ctc(length_of=lambda y: (y != 0).sum(1).max().expand(len(y))),
            "own|padding|has one",
        ),
        ("the first label's length", ctc(length_of=lambda y: (y[0] != 0).sum().expand(len(y))), "own"),
        ("all frames", ctc(frames_of=lambda f, x: torch.full_like(f, x.shape[1])), "own number of frames"),
        (
            "no log_softmax",
            lambda x, f, y: F.ctc_loss(x.transpose(0, 1), y, f, (y != 0).sum(1)),
            "logits themselves",
        ),
        ("the sum", ctc(reduction="sum"), "mean over the clips"),
        ("one loss per clip", ctc(reduction="none"), r"gave shape \(1,\), expected \(\)"),
        ("not per character", lambda x, f, y: ctc(reduction="none")(x, f, y).mean(), "number of characters"),
        (
            "over all characters",
            lambda x, f, y: ctc(reduction="none")(x, f, y).sum() / (y != 0).sum(),
            "each clip has its own",
        ),
        (
            "softmax over time",
            lambda x, f, y: F.ctc_loss(x.log_softmax(1).transpose(0, 1), y, f, (y != 0).sum(1)),
            "order of axes",
        ),
        ("the blank is the last class", ctc(blank=5), "which is wrong|wrong|stopped|is inf"),
        ("without a gradient", lambda x, f, y: ctc()(x, f, y).detach(), "no gradient reaches logits"),
        ("a number", lambda x, f, y: ctc()(x, f, y).item(), "expected a tensor"),
        ("in float32", lambda x, f, y: ctc()(x.float(), f, y), "wrong dtype"),
        ("labels changed in place", changes_its_labels, "changed labels"),
        ("log of softmax", log_of_softmax, "Logits of hundreds"),
        ("infinity to zero", ctc(zero_infinity=True), "By default its loss is inf, not 0"),
        ("up to the first zero", ctc(length_of=lambda y: y.argmin(1)), "contains no 0: how long"),
        (
            "the number of different characters",
            ctc(length_of=lambda y: torch.tensor([len(set(row.tolist()) - {0}) for row in y])),
            "repeated counts each time",
        ),
        ("no return", lambda x, f, y: None, "gave None"),
    ],
    "align_words": [
        ("place by place", lambda a, b: list(zip_longest(a.split(), b.split())), "differences"),
        ("stops at the shorter", lambda a, b: list(zip(a.split(), b.split(), strict=False)), "words are"),
        ("only those that agree", pairs(lambda p: [(a, b) for a, b in p if a == b]), "words are"),
        ("insertions dropped", pairs(lambda p: [(a, b) for a, b in p if a is not None]), "hypothesis words"),
        ("deletions dropped", pairs(lambda p: [(a, b) for a, b in p if b is not None]), "reference words"),
        ("back to front", pairs(lambda p: p[::-1]), "reference words"),
        ("sides swapped", pairs(lambda p: [(b, a) for a, b in p]), "reference words"),
        (
            "no substitutions",
            pairs(
                lambda p: [
                    q
                    for a, b in p
                    for q in ([(a, b)] if a == b or None in (a, b) else [(a, None), (None, b)])
                ]
            ),
            "one pair",
        ),
        ("letters, not words", lambda a, b: edits(a, b), "reference words"),
        ("matching blocks", by_longest_match, "differences, . are enough"),
        (
            "the number of edits",
            lambda a, b: sum(x != y for x, y in edits(a.split(), b.split())),
            "list of pairs",
        ),
        ("empty strings for None", pairs(lambda p: [(a or "", b or "") for a, b in p]), "words are"),
        ("pairs of nothing", pairs(lambda p: [*p, (None, None)]), "aligns nothing"),
        ("triples", pairs(lambda p: [(a, b, a == b) for a, b in p]), "list of pairs"),
        ("no return", lambda a, b: None, "gave None"),
    ],
}

RIGHT = {
    "train_step": RIGHT_STEPS,
    "mended_loss": [
        ctc(),
        ctc(change_logits=lambda x: x.permute(1, 0, 2)),
        one_clip_at_a_time,
        concatenated_targets,
        mean_by_hand,
        ctc(length_of=lambda y: y.sign().sum(-1).tolist(), frames_of=lambda f, x: f.tolist()),
    ],
    "align_words": [
        pairs(lambda p: p),
        pairs(tuple),
        pairs(lambda p: [list(pair) for pair in p]),
        recursive,
        deletions_first,
        lambda a, b: edits(a.split()[::-1], b.split()[::-1])[::-1],  # where two ways cost the same
    ],
}


TestAnswers = answer_tests("09", WRONG, RIGHT)


@pytest.mark.parametrize("exercise", ["train_step", "mended_loss"])
def test_every_size_varies(exercise):
    assert sizes_that_never_vary(CHECKS[exercise]) == []


def test_a_step_that_is_not_solved_is_no_mistake(capsys):
    def train_step(model, batch, optimizer, clip_norm, extra_loss=None):
        raise NotImplementedError

    check("09.train_step", train_step)
    assert capsys.readouterr().out == "09.train_step: not solved yet\n"
