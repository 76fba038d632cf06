"""The detector: targets and loss by hand, decoding undoes targets, frame by frame is the whole video."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from lessons.data.synthetic.moving import moving_clips
from lessons.detection.boxes import iou
from lessons.detection.center_points import STRIDE, decode, detection_loss, focal_loss, targets
from lessons.detection.detector import MEMORIES, Averaging, Detector, NoMemory, to_input
from lessons.measure.counting import count

SIZE = (64, 64)
WITH_STATE = [memory for memory in MEMORIES if memory != "none"]


def make(memory: str = "none", **settings) -> Detector:
    torch.manual_seed(0)
    return Detector(**({"classes": 3, "memory": memory, "hidden_channels": 8} | settings)).eval()


def boxes(*rows) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32)[None]  # (1, objects, 4)


# Targets


def test_targets_by_hand():
    found = targets(boxes([16, 24, 40, 36]), torch.tensor([[1]]), 3, SIZE)
    assert found.heat.shape == (1, 3, 8, 8)
    # center (x, y) = (28, 30) pixels = (3.5, 3.75) cells; 24 x 12 pixels = 3 x 1.5 cells
    assert (found.frame.item(), found.row.item(), found.column.item()) == (0, 3, 3)
    expected = [0.75, 0.5, math.log(1.5), math.log(3)]
    assert found.numbers[0].tolist() == pytest.approx(expected)
    assert found.heat[0, 1, 3, 3] == 1 and (found.heat == 1).sum() == 1
    assert found.heat[0, 0].sum() == found.heat[0, 2].sum() == 0
    # one cell to the right: 4.5 - 3.5 = 1 cell away, sigma 3 / 6; 3.75 - 3.5 = 1 / 4 down, sigma 1.5 / 6
    assert found.heat[0, 1, 3, 4].item() == pytest.approx(math.exp(-0.5 * 2**2) * math.exp(-0.5 * 1**2))


def test_where_bells_meet_the_higher_counts():
    pair = targets(boxes([16, 16, 32, 32], [24, 16, 40, 32]), torch.tensor([[0, 0]]), 1, SIZE)
    alone = [
        targets(boxes(b), torch.tensor([[0]]), 1, SIZE).heat for b in ([16, 16, 32, 32], [24, 16, 40, 32])
    ]
    torch.testing.assert_close(pair.heat, torch.maximum(*alone))
    assert len(pair.frame) == 2


def test_a_frame_without_boxes_has_no_heat():
    for b, labels in (
        (torch.zeros(2, 0, 4), torch.zeros(2, 0, dtype=torch.long)),
        (torch.zeros(2, 3, 4), torch.full((2, 3), -1)),
    ):
        found = targets(b, labels, 3, SIZE)
        assert found.heat.shape == (2, 3, 8, 8) and found.heat.sum() == 0 and len(found.frame) == 0
        maps = torch.zeros(2, 7, 8, 8, requires_grad=True)
        loss = detection_loss(maps, found)
        loss.backward()
        assert torch.isfinite(loss) and torch.isfinite(maps.grad).all() and maps.grad[:, :3].min() > 0


def test_boxes_over_the_border_count_by_what_is_inside():
    over = targets(boxes([-8, 50, 16, 90]), torch.tensor([[0]]), 1, SIZE)
    inside = targets(boxes([0, 50, 16, 64]), torch.tensor([[0]]), 1, SIZE)
    torch.testing.assert_close(over.heat, inside.heat)
    torch.testing.assert_close(over.numbers, inside.numbers)
    outside = targets(boxes([70, 70, 90, 90]), torch.tensor([[0]]), 1, SIZE)
    assert len(outside.frame) == 0 and outside.heat.sum() == 0
    edge = targets(boxes([63, 63, 64, 64]), torch.tensor([[0]]), 1, SIZE)  # the last pixel
    assert (edge.row.item(), edge.column.item()) == (7, 7)


@pytest.mark.parametrize(
    ("b", "labels", "message"),
    [
        (boxes([0, 0, math.nan, 4]), torch.tensor([[0]]), "NaN"),
        (boxes([8, 0, 4, 4]), torch.tensor([[0]]), "x0 <= x1"),
        (boxes([0, 0, 4, 4]), torch.tensor([[3]]), "expected -1 to 2"),
        (boxes([0, 0, 4, 4]), torch.tensor([[-2]]), "expected -1 to 2"),
        (boxes([0, 0, 4, 4]), torch.tensor([0]), r"\(frames, objects\)"),
        (torch.zeros(1, 1, 5), torch.tensor([[0]]), "expected .*x0, y0, x1, y1"),
        (boxes([0, 0, 4, 4]), torch.tensor([[0.0]]), "labels is torch.float32, expected integers"),
        (boxes([0, 0, 4, 4]), torch.zeros(1, 1, dtype=torch.long, device="meta"), "labels is on meta"),
    ],
)
def test_bad_boxes_are_named(b, labels, message):
    with pytest.raises(ValueError, match=message):
        targets(b, labels, 3, SIZE)


def test_targets_of_any_number_type_are_the_same():
    b, labels = boxes([16, 24, 40, 36]), torch.tensor([[1]])
    wanted = targets(b, labels, 3, SIZE)
    for dtype in (torch.uint8, torch.int64, torch.float16):
        found = targets(b.to(dtype), labels.to(torch.int8), 3, (64, 400))
        torch.testing.assert_close(found.heat[..., :8], wanted.heat)
        torch.testing.assert_close(found.numbers, wanted.numbers)


def test_a_picture_without_pixels_has_no_targets():
    with pytest.raises(ValueError, match=r"size=\(0, 64\), expected \(H, W\) of 1 pixel or more"):
        targets(boxes([0, 0, 4, 4]), torch.tensor([[0]]), 1, (0, 64))


# Loss


def test_focal_loss_is_its_formula():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    heat = torch.rand(2, 3, 4, 4, dtype=torch.float64) * 0.9
    heat[0, 1, 2, 3] = heat[1, 0, 0, 0] = 1
    total = 0.0
    for y, wanted in zip(logits.flatten().sigmoid(), heat.flatten(), strict=True):
        if wanted == 1:
            total -= (1 - y) ** 2 * y.log()
        else:
            total -= (1 - wanted) ** 4 * y**2 * (1 - y).log()
    loss = focal_loss(logits, heat)
    torch.testing.assert_close(loss, total / 2, rtol=1e-10, atol=1e-10)
    ours, theirs = (torch.autograd.grad(value, logits, retain_graph=True)[0] for value in (loss, total / 2))
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_focal_loss_bears_wild_logits():
    logits = torch.tensor([[[[200.0, -200.0]]]], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([[[[0.0, 1.0]]]]))
    loss.backward()
    assert loss.item() == pytest.approx(400) and torch.isfinite(logits.grad).all()


def perfect(found) -> torch.Tensor:
    """Maps that say exactly what the targets want."""
    maps = torch.cat([torch.where(found.heat == 1, 12.0, -12.0), torch.zeros(len(found.heat), 4, 8, 8)], 1)
    maps[found.frame, found.heat.shape[1] :, found.row, found.column] = found.numbers
    return maps


def test_the_loss_of_the_truth_is_nothing_and_counts_centers_only():
    found = targets(boxes([16, 24, 40, 36], [40, 40, 60, 60]), torch.tensor([[1, 2]]), 3, SIZE)
    maps = perfect(found)
    assert detection_loss(maps, found) < 1e-3
    elsewhere = maps.clone()
    elsewhere[0, 3:, 0, 0] = 99.0  # the box numbers of an empty cell mean nothing
    assert detection_loss(elsewhere, found) == detection_loss(maps, found)
    moved = maps.clone()
    moved[0, 3, found.row[0], found.column[0]] += 0.5
    assert (detection_loss(moved, found) - detection_loss(maps, found)).item() == pytest.approx(0.5 / 2)
    with pytest.raises(ValueError, match=r"expected \(1, 7, 8, 8\)"):
        detection_loss(maps[:, :6], found)
    with pytest.raises(ValueError, match="maps is on meta, the targets on cpu"):
        detection_loss(maps.to("meta"), found)
    with pytest.raises(ValueError, match=r"logits has shape \(1, 3, 8, 8\), heat \(1, 1, 8, 8\)"):
        focal_loss(found.heat, found.heat[:, :1])  # which torch would repeat


# Decoding


@pytest.mark.parametrize("seed", range(5))
def test_decoding_undoes_targets(seed):
    clips = moving_clips(4, np.random.default_rng(seed), 1)
    b, labels = torch.from_numpy(clips.boxes[:, 0]), torch.from_numpy(clips.labels)
    wanted = targets(b, labels, 6, SIZE)
    for i, found in enumerate(decode(perfect(wanted), SIZE, least=0.5)):
        there = labels[i] >= 0
        cells = {
            (r.item(), c.item())
            for r, c, f in zip(wanted.row, wanted.column, wanted.frame, strict=True)
            if f == i
        }
        if len(cells) < there.sum():
            continue  # two centers in one cell: the map has room for one
        best = (iou(b[i][there], found.boxes) * (labels[i][there][:, None] == found.labels)).amax(1)
        assert best.min() > 0.5  # a twin of the same class that overlaps too much is what NMS removes
        assert (best > 0.999).sum() >= len(found) - 1
        assert (found.scores.diff() <= 0).all()


def test_decoding_keeps_to_the_picture_and_to_its_threshold():
    maps = torch.full((2, 5, 8, 8), -9.0)
    maps[:, 1:] = 0
    maps[0, 0, 0, 0] = 3
    maps[0, 3:, 0, 0] = 99  # an absurd size
    (first, second) = decode(maps, SIZE, least=0.5)
    assert first.boxes.tolist() == [[0, 0, 64, 64]] and first.scores[0] == torch.tensor(3.0).sigmoid()
    assert len(second) == 0 and second.boxes.shape == (0, 4)
    assert decode(maps[:0], SIZE) == []


def test_neighbors_that_found_the_same_thing_become_one():
    maps = torch.full((1, 5, 8, 8), -9.0)
    maps[0, 1:] = 0
    maps[0, 3:] = math.log(2)
    maps[0, 0, 3, 3], maps[0, 0, 3, 4] = 3.0, 2.0
    maps[0, 2, 3, 3], maps[0, 2, 3, 4] = 0.9, 0.1  # x: 3.9 and 4.1 cells
    (found,) = decode(maps, SIZE, least=0.5)
    assert len(found) == 1 and found.scores[0] > 0.95


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        (torch.zeros(1, 4, 8, 8), r"classes \+ 4"),
        (torch.zeros(1, 1, 5, 8, 8), r"classes \+ 4"),
        (torch.full((1, 5, 8, 8), math.nan), "NaN"),
        (torch.zeros(1, 5, 8, 9), "8 x 9 cells, expected 8 x 8 for pictures of size"),
        (torch.zeros(1, 5, 0, 8), "0 x 8 cells, expected 8 x 8"),
    ],
)
def test_maps_that_cannot_be_read(maps, message):
    with pytest.raises(ValueError, match=message):
        decode(maps, SIZE)


@pytest.mark.parametrize("settings", [dict(least=math.nan), dict(most=0), dict(threshold=1.5)])
def test_decoding_refuses_numbers_out_of_range(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"{name}="):
        decode(torch.zeros(1, 5, 8, 8), SIZE, **settings)


def test_maps_in_half_precision_give_boxes_in_single():
    """640 pixels: between two numbers that float16 has there, half a pixel lies."""
    wanted = targets(boxes([600.3, 8, 630.3, 40]), torch.tensor([[0]]), 1, (64, 640))
    maps = torch.full((1, 5, 8, 80), -9.0)
    maps[0, 0, wanted.row, wanted.column] = 9
    maps[0, 1:, wanted.row, wanted.column] = wanted.numbers.T
    (found,) = decode(maps.half(), (64, 640), least=0.5)
    assert found.boxes.dtype == torch.float32
    assert (found.boxes - torch.tensor([600.3, 8, 630.3, 40])).abs().max() < 0.05


# The network


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("size", [(64, 64), (40, 33), (1, 1)])
def test_shapes(memory, size):
    rows, columns = (-(-n // STRIDE) for n in size)
    maps, _ = make(memory)(torch.randn(2, 3, 1, *size))
    assert maps.shape == (2, 3, 7, rows, columns)
    (found,) = decode(maps[0, :1], size)
    assert (found.boxes[:, 2:] <= torch.tensor([size[1], size[0]])).all()


@pytest.mark.parametrize("memory", MEMORIES)
def test_frame_by_frame_is_the_whole_film(memory):
    model = make(memory).double()
    x = torch.randn(5, 2, 1, 24, 32, dtype=torch.float64)
    with torch.no_grad():
        whole, last = model(x)
        state, pieces = None, []
        for frame in x:
            maps, state = model(frame[None], state)
            pieces.append(maps)
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(state, last, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("memory", MEMORIES)
def test_memory_is_what_joins_frames_and_films_stay_apart(memory):
    model = make(memory).double()
    x = torch.randn(3, 2, 1, 16, 16, dtype=torch.float64, requires_grad=True)
    maps, _ = model(x)
    (gradient,) = torch.autograd.grad(maps[1, 0].square().sum(), x)
    moved = gradient.flatten(2).abs().sum(-1)  # (T, B)
    assert moved[1, 0] > 0 and moved[2].sum() == 0 and moved[:, 1].sum() == 0
    assert (moved[0, 0] > 0) == (memory != "none")


@pytest.mark.parametrize("memory", WITH_STATE)
def test_nothing_is_kept_between_calls(memory):
    model, x = make(memory), torch.randn(3, 1, 1, 16, 16)
    with torch.no_grad():
        first, state = model(x)
        again, _ = model(x)
        later, _ = model(x, state)
    assert torch.equal(first, again) and not torch.allclose(first, later)
    assert not any("state" in name for name in model.state_dict())


def test_averaging_by_hand():
    torch.manual_seed(0)
    memory = Averaging(2, 3)
    x = torch.randn(3, 1, 2, 4, 4)
    mean = x[0]
    for frame in x[1:]:
        mean = 0.75 * mean + 0.25 * frame
    out, state = memory(x)
    torch.testing.assert_close(state, mean)
    torch.testing.assert_close(out[-1], memory.conv(mean).relu())
    plain = NoMemory(2, 3)
    plain.load_state_dict(memory.state_dict())
    torch.testing.assert_close(plain(x)[0][0], out[0])  # of one frame, the mean is the frame


def test_the_two_trained_memories_begin_by_remembering_alike():
    biases = {
        memory: make(memory).memory.cell.update.forget_bias for memory in ("conv_lstm", "bottleneck_lstm")
    }
    assert biases == {"conv_lstm": 1.0, "bottleneck_lstm": 1.0}


def test_sizes():
    memories = {memory: Detector(6, memory).memory for memory in MEMORIES}
    filters = {n: sum(p.numel() for p in m.parameters() if p.dim() == 4) for n, m in memories.items()}
    expected = {"none": 8_192, "stack": 22_208, "averaging": 8_192}
    assert filters == {**expected, "conv_lstm": 442_368, "bottleneck_lstm": 30_400}
    model = Detector(6)
    rows = count(model, torch.zeros(1, 1, 1, 64, 64)).rows
    assert sum(row.weights for row in rows) == sum(p.numel() for p in model.parameters())


def test_a_frozen_backbone_stays_as_it_is():
    first = make(hidden_channels=8).train()
    first(torch.randn(4, 2, 1, 32, 32))  # moves the batch statistics
    second = make("bottleneck_lstm").train()
    second.use_backbone(first)
    before = {name: value.clone() for name, value in second.backbone.state_dict().items()}
    second.train()
    optimizer = torch.optim.SGD([p for p in second.parameters() if p.requires_grad], 0.1)
    maps, _ = second(torch.randn(2, 2, 1, 32, 32))
    maps.square().mean().backward()
    optimizer.step()
    for name, value in second.backbone.state_dict().items():
        assert torch.equal(value, before[name]) and torch.equal(value, first.backbone.state_dict()[name])
    assert second.head.training and not second.backbone.training and first.backbone.training


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 1, 3, 16, 16), "C = 1"),
        ((2, 1, 16, 16), r"expected \(T, B, C, H, W\)"),
        ((0, 1, 1, 16, 16), "at least one frame"),
        ((2, 1, 1, 0, 16), "one pixel"),
    ],
)
def test_clips_that_do_not_fit_are_refused(shape, message):
    with pytest.raises(ValueError, match=message):
        make()(torch.zeros(shape))


def test_no_film_is_no_error():
    maps, _ = make("bottleneck_lstm")(torch.zeros(2, 0, 1, 16, 16))
    assert maps.shape == (2, 0, 7, 2, 2)


def test_nan_is_refused_before_a_memory_keeps_it():
    x = torch.zeros(2, 1, 1, 16, 16)
    x[1, 0, 0, 3, 3] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        make("averaging")(x)


@pytest.mark.parametrize("memory", WITH_STATE)
@pytest.mark.parametrize("shape", [(1, 3, 1, 16, 16), (1, 2, 1, 24, 16)])
def test_the_state_of_another_batch_or_size_is_refused(memory, shape):
    model = make(memory)
    _, state = model(torch.randn(1, 2, 1, 16, 16))
    with pytest.raises(ValueError, match="shape"):
        model(torch.randn(shape), state)


@pytest.mark.parametrize("memory", MEMORIES)
def test_the_state_of_another_memory_is_refused(memory):
    x = torch.randn(1, 2, 1, 16, 16)
    wrong = (
        (torch.zeros(2, 8, 2, 2),) * 2
        if memory in ("none", "stack", "averaging")
        else torch.zeros(2, 8, 2, 2)
    )
    with pytest.raises(ValueError, match="state is a"):
        make(memory)(x, wrong)


def test_another_device_or_type_than_the_weights_is_refused():
    x = torch.zeros(1, 1, 1, 16, 16)
    with pytest.raises(ValueError, match="x is on meta, the parameters on cpu"):
        make()(x.to("meta"))
    with pytest.raises(ValueError, match=r"float64, the parameters are torch.float32"):
        make()(x.double())
    with pytest.raises(ValueError, match="x is a ndarray, expected a tensor"):
        make()(x.numpy())
    with pytest.raises(ValueError, match="state is on meta"):
        make("averaging")(x, torch.zeros(1, 128, 2, 2, device="meta"))


@pytest.mark.parametrize("memory", MEMORIES)
def test_features_that_no_backbone_makes_are_refused(memory):
    for features in (torch.zeros(2, 128, 2, 2), torch.zeros(1, 2, 64, 2, 2)):
        with pytest.raises(ValueError, match=r"expected \(T, B, 128, H', W'\)"):
            make(memory).join(features)
    with pytest.raises(ValueError, match="features is on meta"):
        make(memory).join(torch.zeros(1, 2, 128, 2, 2, device="meta"))


def test_the_backbone_for_other_frames_is_refused_and_a_part_of_it_is_a_network():
    with pytest.raises(ValueError, match="other reads frames of 3 channels, expected 1"):
        make().use_backbone(make(in_channels=3))
    backbone = make().backbone
    assert backbone[:4](torch.zeros(1, 1, 16, 16)).shape == (1, 32, 4, 4) and len(backbone[4:]) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [(dict(memory="gru"), "'gru', expected one of none"), (dict(classes=0), "classes=0")],
)
def test_impossible_detectors_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        make(**settings)


def test_input_is_bytes_of_film():
    frames = torch.tensor([0, 128, 255], dtype=torch.uint8).reshape(1, 3, 1, 1)
    assert to_input(frames).shape == (3, 1, 1, 1, 1)
    assert to_input(frames).flatten().tolist() == [-2, 0, 127 / 64]
    with pytest.raises(ValueError, match="uint8"):
        to_input(frames.float())
    with pytest.raises(ValueError, match=r"\(B, T, H, W\)"):
        to_input(frames[0])
    with pytest.raises(ValueError, match=r"frames is a ndarray, expected a tensor: use torch.from_numpy"):
        to_input(frames.numpy())


def test_a_stack_is_a_window_of_three_frames():
    torch.manual_seed(0)
    layer = MEMORIES["stack"](3, 4)
    x = torch.randn(6, 2, 3, 5, 5)
    whole, _ = layer(x)
    state, parts = None, []
    for frames in x.split([1, 3, 2]):
        out, state = layer(frames, state)
        parts.append(out)
    torch.testing.assert_close(torch.cat(parts), whole)
    changed = x.clone()
    changed[2] += 1
    reaches = [not torch.equal(a, b) for a, b in zip(layer(changed)[0], whole, strict=True)]
    assert reaches == [False, False, True, True, True, False]
