import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lessons.ctc import (
    brute_force_loss,
    collapse,
    count_paths,
    ctc_loss,
    extend,
    forced_align,
    forward_backward,
    min_frames,
)

labels = st.lists(st.integers(1, 3), max_size=4)
seeds = st.integers(0, 2**31 - 1)


def random_log_probs(seed: int, *shape: int, scale: float = 2.0, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(*shape, generator=generator, dtype=dtype)).log_softmax(-1)


def logits_gradient(loss, logits: torch.Tensor, *args, **kwargs) -> tuple[torch.Tensor, torch.Tensor]:
    logits = logits.clone().requires_grad_()
    value = loss(logits.log_softmax(-1), *args, **kwargs)
    value.sum().backward()
    return value.detach(), logits.grad


# ---- paths and labels --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ([], []),
        ([0, 0, 0], []),
        ([2, 2, 0, 3, 0, 4], [2, 3, 4]),
        ([2, 2, 2], [2]),
        ([2, 0, 2], [2, 2]),  # only a blank keeps two equal labels apart
        ([1, 2, 1, 1], [1, 2, 1]),
    ],
)
def test_collapse(path, label):
    assert collapse(path) == label
    assert collapse(torch.tensor(path, dtype=torch.long)) == label


def test_collapse_with_another_blank():
    assert collapse([0, 0, 3, 0, 1], blank=3) == [0, 0, 1]


@pytest.mark.parametrize(
    ("target", "frames"), [([], 0), ([1], 1), ([1, 2, 1], 3), ([1, 1], 3), ([1, 1, 1], 5), ([1, 1, 2, 2], 6)]
)
def test_min_frames_is_where_paths_begin(target, frames):
    assert min_frames(target) == frames
    assert count_paths(frames, target) > 0
    assert frames == 0 or count_paths(frames - 1, target) == 0


def test_extended_label():
    assert extend([5, 5, 7]) == [0, 5, 0, 5, 0, 7, 0]
    assert extend([]) == [0]


@given(st.integers(0, 4), labels)
@settings(max_examples=25, deadline=None)
def test_count_paths_counts_them(frames, target):
    walked = sum(collapse(path) == target for path in itertools.product(range(4), repeat=frames))
    assert count_paths(frames, target) == walked


@given(st.integers(0, 80), st.integers(0, 30))
def test_count_paths_of_distinct_labels_is_a_binomial(frames, length):
    expected = math.comb(frames + length, frames - length) if frames >= length else 0
    assert count_paths(frames, range(1, length + 1)) == expected


def test_count_paths_refuses_a_negative_number_of_frames():
    with pytest.raises(ValueError, match="frames is -1"):
        count_paths(-1, [1])


def test_the_paths_of_a_grid_sentence():
    # 24 characters without adjacent repeats over 75 frames: the figure that rules out the brute force.
    assert math.log10(count_paths(75, range(1, 25))) == pytest.approx(28.7, abs=0.05)


# ---- one label ---------------------------------------------------------------------------------------------


@given(seeds, st.integers(1, 4), labels, st.integers(0, 3))
@settings(max_examples=20, deadline=None)
def test_forward_backward_is_the_sum_over_paths(seed, frames, target, blank):
    target = [0 if label == blank else label for label in target]
    target = [label for label in target if label != blank]
    log_probs = random_log_probs(seed, frames, 4).requires_grad_()
    loss = brute_force_loss(log_probs, target, blank)
    found = forward_backward(log_probs, target, blank)
    torch.testing.assert_close(found.log_likelihood, -loss.detach(), rtol=1e-10, atol=1e-10)
    if frames < min_frames(target):
        assert found.log_likelihood == float("-inf")
        assert found.posteriors.abs().sum() == 0
        return
    loss.backward()  # autograd through the definition: the derivative is minus the occupancy
    torch.testing.assert_close(found.occupancy, -log_probs.grad, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(found.posteriors.sum(1), torch.ones(frames, dtype=torch.float64))
    for t in range(frames):  # all paths pass some state of every frame
        torch.testing.assert_close((found.alpha + found.beta)[t].logsumexp(0), found.log_likelihood)


def test_forward_backward_by_hand():
    # Two frames, two classes, the label (1): paths 11, 01, 10 of probability .6*.3, .4*.3, .6*.7.
    log_probs = torch.tensor([[0.4, 0.6], [0.7, 0.3]], dtype=torch.float64).log()
    found = forward_backward(log_probs, [1])
    total = 0.18 + 0.12 + 0.42
    assert found.log_likelihood.exp().item() == pytest.approx(total)
    expected = torch.tensor([[0.4, 0.6, 0], [0, 0.3, 0.42]], dtype=torch.float64)
    torch.testing.assert_close(found.alpha.exp()[0], expected[0])
    torch.testing.assert_close(found.alpha.exp()[1], torch.tensor([0.28, 0.30, 0.42], dtype=torch.float64))
    torch.testing.assert_close(found.beta.exp()[0], torch.tensor([0.3, 1.0, 0.7], dtype=torch.float64))
    torch.testing.assert_close(
        found.posteriors, torch.tensor([[0.12, 0.6, 0], [0, 0.3, 0.42]], dtype=torch.float64) / total
    )


@given(seeds, st.integers(1, 5), labels)
@settings(max_examples=20, deadline=None)
def test_forced_align_finds_the_best_path(seed, frames, target):
    log_probs = random_log_probs(seed, frames, 4)
    if frames < min_frames(target):
        with pytest.raises(ValueError, match=f"needs {min_frames(target)} frames"):
            forced_align(log_probs, target)
        return
    found = forced_align(log_probs, target)
    scores = {
        path: log_probs[range(frames), path].sum().item()
        for path in itertools.product(range(4), repeat=frames)
        if collapse(path) == target
    }
    best = max(scores, key=scores.get)
    assert found.path.tolist() == list(best)
    assert found.log_probability.item() == pytest.approx(scores[best])
    assert len(found.spans()) == len(target)
    for label, (start, end) in zip(target, found.spans(), strict=True):
        assert found.path[start:end].tolist() == [label] * (end - start)


def test_forced_align_spans():
    path = [0, 2, 2, 0, 2, 3]
    log_probs = F.one_hot(torch.tensor(path), 4).mul(9.0).log_softmax(-1)
    found = forced_align(log_probs, [2, 2, 3])
    assert found.path.tolist() == path
    assert found.states.tolist() == [0, 1, 1, 2, 3, 5]
    assert found.spans() == [(1, 3), (4, 5), (5, 6)]


def test_forced_align_refuses_an_impossible_target():
    log_probs = torch.tensor([[0.0, float("-inf")], [0.0, float("-inf")]])
    with pytest.raises(ValueError, match="probability 0"):
        forced_align(log_probs, [1])


# ---- the batch against torch -------------------------------------------------------------------------------


@st.composite
def batches(draw, feasible: bool):
    """A ragged batch: logits (T, B, V), a list of targets, input lengths."""
    frames, classes = draw(st.integers(1, 12)), draw(st.integers(2, 5))
    input_lengths = draw(st.lists(st.integers(0, frames), min_size=1, max_size=4))
    targets = []
    for length in input_lengths:
        target = draw(st.lists(st.integers(1, classes - 1), max_size=7))
        while feasible and min_frames(target) > length:
            target = target[:-1]
        targets.append(target)
    generator = torch.Generator().manual_seed(draw(seeds))
    logits = draw(st.sampled_from([0.1, 1.0, 10.0])) * torch.randn(
        frames, len(targets), classes, generator=generator, dtype=torch.float64
    )
    return logits, targets, input_lengths


def padded(targets: list[list[int]], filler: int) -> torch.Tensor:
    width = max(map(len, targets))
    return torch.tensor([target + [filler] * (width - len(target)) for target in targets], dtype=torch.long)


@given(batches(feasible=True), st.sampled_from(["none", "mean", "sum"]))
@settings(max_examples=25, deadline=None)
def test_values_and_gradients_are_torchs(batch, reduction):
    logits, targets, input_lengths = batch
    lengths = torch.tensor(input_lengths), torch.tensor([len(target) for target in targets])
    expected = logits_gradient(F.ctc_loss, logits, padded(targets, 1), *lengths, reduction=reduction)
    joined = torch.tensor([label for target in targets for label in target], dtype=torch.long)
    for layout in (padded(targets, -7), joined):  # padding may be anything
        found = logits_gradient(ctc_loss, logits, layout, *lengths, reduction=reduction)
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
        single = logits_gradient(ctc_loss, logits.float(), layout, *lengths, reduction=reduction)
        assert single[0].dtype == single[1].dtype == torch.float32
        torch.testing.assert_close(single[0].double(), expected[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(single[1].double(), expected[1], rtol=1e-4, atol=1e-4)


@given(batches(feasible=False), st.sampled_from(["none", "mean", "sum"]))
@settings(max_examples=25, deadline=None)
def test_infeasible_targets(batch, reduction):
    logits, targets, input_lengths = batch
    lengths = torch.tensor(input_lengths), torch.tensor([len(target) for target in targets])
    args = (padded(targets, 1), *lengths)
    expected = logits_gradient(F.ctc_loss, logits, *args, reduction=reduction, zero_infinity=True)
    found = logits_gradient(ctc_loss, logits, *args, reduction=reduction, zero_infinity=True)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)

    losses, gradient = logits_gradient(ctc_loss, logits, *args, reduction="none")
    torch.testing.assert_close(losses, F.ctc_loss(logits.log_softmax(-1), *args, reduction="none"))
    infeasible = [min_frames(t) > n for t, n in zip(targets, input_lengths, strict=True)]
    assert losses.isinf().tolist() == infeasible
    assert gradient.isfinite().all()
    assert (gradient[:, infeasible] == 0).all()


@given(batches(feasible=True))
@settings(max_examples=25, deadline=None)
def test_the_batch_is_its_samples(batch):
    logits, targets, input_lengths = batch
    target_lengths = [len(target) for target in targets]
    log_probs = logits.log_softmax(-1).requires_grad_()
    losses = ctc_loss(log_probs, padded(targets, 1), input_lengths, target_lengths, reduction="none")
    losses.sum().backward()
    for i, (target, frames) in enumerate(zip(targets, input_lengths, strict=True)):
        assert (log_probs.grad[frames:, i] == 0).all()
        if frames == 0:
            assert losses[i] == 0
            continue
        alone = forward_backward(log_probs[:frames, i], target)
        torch.testing.assert_close(losses[i].detach(), -alone.log_likelihood, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(log_probs.grad[:frames, i], -alone.occupancy, rtol=1e-10, atol=1e-10)


def test_the_gradient_at_the_logits_is_softmax_minus_occupancy():
    logits = torch.randn(9, 1, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    args = (torch.tensor([[1, 1, 4]]), [9], [3])
    _, gradient = logits_gradient(ctc_loss, logits, *args, reduction="sum")
    occupancy = forward_backward(logits[:, 0].log_softmax(-1), [1, 1, 4]).occupancy
    torch.testing.assert_close(gradient[:, 0], logits[:, 0].softmax(-1) - occupancy)
    torch.testing.assert_close(gradient.sum(-1), torch.zeros(9, 1, dtype=torch.float64))

    # At a log_probs leaf ours is the true derivative; torch's is larger by exactly softmax, as documented.
    leaves = [logits.log_softmax(-1).requires_grad_() for _ in range(2)]
    ctc_loss(leaves[0], *args, reduction="sum").backward()
    F.ctc_loss(leaves[1], args[0], torch.tensor([9]), torch.tensor([3]), reduction="sum").backward()
    torch.testing.assert_close(leaves[0].grad[:, 0], -occupancy)
    torch.testing.assert_close(leaves[1].grad - leaves[0].grad, logits.softmax(-1))


@pytest.mark.parametrize("scale", [1.0, 10.0, 50.0])
def test_float32_stays_right_when_logits_are_large(scale):
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(75, 4, 28, generator=generator)
    args = (torch.randint(1, 28, (4, 31), generator=generator), [75, 75, 60, 70], [31, 20, 25, 0])
    expected = logits_gradient(F.ctc_loss, logits.double(), args[0], *map(torch.tensor, args[1:]))
    found = logits_gradient(ctc_loss, logits, *args)
    torch.testing.assert_close(found[0].double(), expected[0], rtol=1e-6, atol=0)
    torch.testing.assert_close(found[1].double(), expected[1], rtol=0, atol=2e-6)


def test_a_path_through_the_improbable_does_not_underflow():
    # Every frame is sure of class 1, the others have probability exp(-800): the loss of 2 2 is over 1000.
    logits = torch.tensor([800.0, 0.0, 0.0], dtype=torch.float64).expand(6, 1, 3).roll(1, dims=2)
    args = (torch.tensor([[2, 2]]), torch.tensor([6]), torch.tensor([2]))
    expected = logits_gradient(F.ctc_loss, logits, *args)
    found = logits_gradient(ctc_loss, logits, *args)
    assert found[0] > 1000
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_a_class_of_probability_zero():
    log_probs = torch.tensor([0.5, 0.5, 0.0]).log().expand(4, 2, 3).clone().requires_grad_()
    losses = ctc_loss(log_probs, torch.tensor([[1], [2]]), [4, 4], [1, 1], reduction="none")
    losses.sum().backward()
    assert losses[0].item() == pytest.approx(-math.log(count_paths(4, [1]) / 2**4))
    assert losses[1] == float("inf")
    assert log_probs.grad.isfinite().all()
    assert (log_probs.grad[:, 1] == 0).all()


def test_smallest_batches():
    log_probs = random_log_probs(0, 1, 2, 3)
    losses = ctc_loss(log_probs, torch.tensor([[2], [1]]), [1, 0], [1, 0], reduction="none")
    torch.testing.assert_close(losses, torch.stack((-log_probs[0, 0, 2], torch.zeros(()).double())))
    no_labels = ctc_loss(log_probs, torch.zeros(2, 0, dtype=torch.long), [1, 1], [0, 0], reduction="none")
    torch.testing.assert_close(no_labels, -log_probs[0, :, 0])
    assert ctc_loss(log_probs, torch.tensor([1]), [1, 0], [0, 1], reduction="none")[1] == float("inf")


def test_what_lies_past_a_length_is_never_read():
    log_probs = random_log_probs(1, 6, 2, 4)
    args = (torch.tensor([[1, 2, 99], [3, 3, 2]]), [4, 6], [2, 3])
    expected = ctc_loss(log_probs, *args, reduction="none")
    spoilt = log_probs.clone()
    spoilt[4:, 0] = float("nan")
    spoilt.requires_grad_()
    found = ctc_loss(spoilt, *args, reduction="none")
    found.sum().backward()
    torch.testing.assert_close(found.detach(), expected)
    assert spoilt.grad.isfinite().all()
    assert (spoilt.grad[4:, 0] == 0).all()


# ---- bad input ---------------------------------------------------------------------------------------------


def good() -> dict:
    return {
        "log_probs": random_log_probs(0, 5, 2, 4),
        "targets": torch.tensor([[1, 2], [3, 0]]),
        "input_lengths": [5, 4],
        "target_lengths": [2, 1],
    }


def changed(log_probs: torch.Tensor, index: tuple, value: float) -> torch.Tensor:
    log_probs = log_probs.clone()
    log_probs[index] = value
    return log_probs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"targets": torch.tensor([[1, 2], [4, 0]])},
            "label 4 of sample 1, position 0 is outside the classes",
        ),
        ({"targets": torch.tensor([[1, -1], [3, 0]])}, "label -1 of sample 0, position 1 is outside"),
        ({"targets": torch.tensor([[1, 0], [3, 0]])}, "label 0 of sample 0, position 1 is the blank"),
        ({"targets": torch.tensor([1, 2, 9])}, "label 9 of sample 1, position 0 is outside the classes"),
        ({"targets": torch.tensor([1, 2])}, "targets holds 2 labels, target_lengths sum to 3"),
        ({"targets": torch.tensor([[1, 2]])}, r"shape \(1, 2\): expected integers of shape \(2, L\)"),
        ({"targets": torch.tensor([[1.0, 2.0], [3.0, 0.0]])}, "targets is torch.float32"),
        ({"target_lengths": [3, 1]}, "target_lengths of sample 0 is 3: expected 0 to 2"),
        ({"target_lengths": [2, -1]}, "target_lengths of sample 1 is -1"),
        ({"input_lengths": [5, 6]}, "input_lengths of sample 1 is 6: expected 0 to 5"),
        ({"input_lengths": [5]}, "input_lengths is torch.int64 of shape .*: expected 2 integers"),
        (
            {"log_probs": good()["log_probs"].transpose(0, 1)},
            r"expected 5 integers, one per sample; B is the second axis of \(T, B",
        ),
        ({"input_lengths": [5.0, 4.0]}, "input_lengths is torch.float32"),
        ({"blank": 4}, "blank is 4: expected one of the 4 classes"),
        ({"reduction": "avg"}, "reduction is 'avg'"),
        ({"log_probs": torch.zeros(5, 2)}, r"shape \(5, 2\): expected 3 dimensions \(T, B, V\)"),
        ({"log_probs": torch.zeros(0, 2, 4)}, "is empty"),
        ({"log_probs": good()["log_probs"].half()}, "log_probs is torch.float16"),
        ({"log_probs": torch.zeros(5, 2, 4)}, "sample 0, frame 0 holds probabilities that sum to 4"),
        ({"log_probs": good()["log_probs"].exp()}, "apply log_softmax"),
        ({"log_probs": changed(good()["log_probs"], (3, 1, 2), float("nan"))}, "sample 1, frame 3 holds NaN"),
        (
            {"log_probs": changed(good()["log_probs"], (2, 0, 1), 0.5)},
            "sample 0, frame 2 holds probabilities",
        ),
    ],
)
def test_bad_batches(change, message):
    ctc_loss(**good())
    with pytest.raises(ValueError, match=message):
        ctc_loss(**(good() | change))


@pytest.mark.parametrize("function", [brute_force_loss, forward_backward, forced_align])
@pytest.mark.parametrize(
    ("log_probs", "target", "message"),
    [
        (random_log_probs(0, 4, 3), [1, 3], "label 3 of sample 0, position 1 is outside the classes"),
        (random_log_probs(0, 4, 3), [0], "position 0 is the blank"),
        (random_log_probs(0, 4, 1, 3), [1], "expected 2 dimensions"),
        (torch.zeros(4, 3), [1], "frame 0 holds probabilities that sum to 3"),
        (torch.zeros(0, 3), [1], "is empty"),
    ],
)
def test_bad_single_labels(function, log_probs, target, message):
    with pytest.raises(ValueError, match=message):
        function(log_probs, target)


def test_brute_force_refuses_what_would_take_forever():
    with pytest.raises(ValueError, match="over a million paths"):
        brute_force_loss(random_log_probs(0, 75, 28), [1])


# ---- second derivatives ------------------------------------------------------------------------------------


def second_derivative_case():
    """A ragged batch: a repeated label, an infeasible target, no label, no frame."""
    logits = torch.randn(7, 5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets = torch.tensor([[1, 1, 2], [3, 1, 0], [1, 1, 1], [0, 0, 0], [2, 0, 0]])
    return logits, targets, torch.tensor([7, 5, 4, 3, 0]), torch.tensor([3, 2, 3, 0, 1])


def test_gradients_of_gradients_are_right():
    logits, *rest = second_derivative_case()

    def losses(x):
        return ctc_loss(x.log_softmax(-1), *rest, reduction="none", zero_infinity=True)

    assert torch.autograd.gradgradcheck(
        losses, (logits.requires_grad_(),), torch.ones(5, dtype=torch.float64)
    )


def test_a_hessian_vector_product_is_the_difference_of_two_gradients():
    """Neither the arriving gradient nor anything but log_probs needs a gradient: nothing warns autograd."""
    logits, *rest = second_derivative_case()
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(logits.shape, generator=generator, dtype=torch.float64)

    def gradient(x, create_graph=False):
        loss = ctc_loss(x.log_softmax(-1), *rest, reduction="sum", zero_infinity=True)
        return torch.autograd.grad(loss, x, create_graph=create_graph)[0]

    x = logits.clone().requires_grad_()
    (product,) = torch.autograd.grad((gradient(x, create_graph=True) * direction).sum(), x)
    step = 1e-6
    above, below = (gradient((logits + sign * step * direction).requires_grad_()) for sign in (1, -1))
    torch.testing.assert_close(product, (above - below) / (2 * step), rtol=1e-6, atol=1e-8)
    assert product.abs().max() > 0.01


def test_the_gradient_with_create_graph_is_the_gradient():
    logits, targets, lengths, target_lengths = second_derivative_case()
    logits = logits.clone()
    logits[5:, 1] = math.nan  # past the second clip's end
    x = logits.log_softmax(-1).requires_grad_()
    gradients = [
        torch.autograd.grad(
            ctc_loss(x, targets, lengths, target_lengths, reduction="sum", zero_infinity=True),
            x,
            create_graph=create,
        )[0]
        for create in (False, True)
    ]
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-10, atol=1e-12)
