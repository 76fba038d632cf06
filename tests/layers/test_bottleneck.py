"""The bottleneck's arithmetic: the published sums, the blog's slips, ResNet-50, and modules that agree."""

from fractions import Fraction

import pytest
import torch
import torchinfo
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lessons.layers.bottleneck import (
    RESNET50,
    Bottleneck,
    Conv,
    DepthwiseSeparable,
    bottleneck,
    depthwise,
    multiply_adds,
    resnet50,
    separable,
    weights,
)
from lessons.measure.counting import count

# 589,824 and 69,632


def test_the_bottleneck_of_the_figure():
    whole, squeezed = Conv(256, 256, 3), bottleneck(256, 64, 256)
    assert whole.weights == 589_824
    assert [conv.weights for conv in squeezed] == [16_384, 36_864, 16_384]
    assert weights(*squeezed) == 69_632
    assert round(whole.weights / weights(*squeezed), 2) == 8.47  # the blog says 9


def test_the_slips_of_the_blog():
    as_printed = 256 * 64 + 3 * 3 * 64 * 63 + 64 * 256  # 63 where 64 is meant
    assert as_printed == 69_056 != 69_632
    reduce, conv, _ = bottleneck(256, 64, 256)
    in_its_prose = weights(reduce, conv, Conv(64, 256, 3))  # the last layer 3x3
    assert in_its_prose == 200_704
    assert round(589_824 / in_its_prose, 2) == 2.94


@pytest.mark.parametrize(
    ("module", "plan"),
    [
        (Conv(256, 256, 3).build(), (Conv(256, 256, 3),)),
        (Bottleneck(256, 64, 256), bottleneck(256, 64, 256)),
        (Bottleneck(6, 2, 5), bottleneck(6, 2, 5)),
        (DepthwiseSeparable(256, 256), separable(256, 256)),
        (DepthwiseSeparable(6, 4, 5), separable(6, 4, 5)),
        (depthwise(6).build(), (depthwise(6),)),
    ],
    ids=str,
)
def test_modules_have_the_weights_and_multiply_adds_on_paper(module, plan):
    height, width = 4, 7
    x = torch.zeros(1, plan[0].in_channels, height, width)
    assert module(x).shape == (1, plan[-1].out_channels, height, width)
    counted = count(module, x)
    assert counted.weights == weights(*plan)
    assert counted.multiply_adds == multiply_adds(*plan, height=height, width=width)
    theirs = torchinfo.summary(module, input_data=x, verbose=0)
    assert (theirs.total_params, theirs.total_mult_adds) == (counted.weights, counted.multiply_adds)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 3, 5]), st.integers(1, 3))
def test_a_convolution_on_paper_has_the_weights_of_the_one_built(c, o, kernel_size, groups):
    conv = Conv(c * groups, o * groups, kernel_size, groups)
    built = conv.build(bias=True)
    assert conv.weights == built.weight.numel()
    assert built.bias.numel() == o * groups
    assert built(torch.zeros(2, c * groups, 1, 6)).shape == (2, o * groups, 1, 6)  # the map keeps its size


# Values


def by_loops(x, weight, groups):
    """A padded convolution as it is defined: (B, C, H, W) -> (B, O, H, W)."""
    n_out, n_in, k, _ = weight.shape
    padded = nn.functional.pad(x, (k // 2,) * 4)
    out = x.new_zeros(x.shape[0], n_out, *x.shape[2:])
    for o in range(n_out):
        first = o // (n_out // groups) * n_in
        for h in range(x.shape[2]):
            for w in range(x.shape[3]):
                window = padded[:, first : first + n_in, h : h + k, w : w + k]
                out[:, o, h, w] = (window * weight[o]).sum((1, 2, 3))
    return out


def test_a_bottleneck_is_three_convolutions_with_a_relu_between():
    torch.manual_seed(0)
    block = Bottleneck(4, 2, 3).double()
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    y = by_loops(x, block.reduce.weight, 1).clamp(min=0)
    y = by_loops(y, block.conv.weight, 1).clamp(min=0)
    torch.testing.assert_close(block(x), by_loops(y, block.expand.weight, 1), rtol=1e-10, atol=1e-10)


def test_a_separable_convolution_is_one_whole_convolution_of_a_special_kind():
    torch.manual_seed(0)
    pair = DepthwiseSeparable(4, 3).double()
    x = torch.randn(2, 4, 3, 5, dtype=torch.float64)
    y = by_loops(x, pair.depthwise.weight, groups=4)
    torch.testing.assert_close(pair(x), by_loops(y, pair.pointwise.weight, 1), rtol=1e-10, atol=1e-10)
    # filter o of the whole one is, channel by channel, the depthwise filter times one number
    whole = torch.einsum("oc,chw->ochw", pair.pointwise.weight[:, :, 0, 0], pair.depthwise.weight[:, 0])
    torch.testing.assert_close(pair(x), by_loops(x, whole, groups=1), rtol=1e-10, atol=1e-10)


# MobileNet's ratio


@given(st.integers(1, 2000), st.integers(1, 2000), st.sampled_from([1, 3, 5, 7]))
def test_the_share_of_a_separable_convolution(c, o, k):
    share = Fraction(weights(*separable(c, o, k)), Conv(c, o, k).weights)
    assert share == Fraction(1, o) + Fraction(1, k * k)
    cost = [multiply_adds(*convs, height=5, width=9) for convs in (separable(c, o, k), [Conv(c, o, k)])]
    assert Fraction(*cost) == share


def test_separable_beside_the_bottleneck():
    assert weights(*separable(256, 256)) == 2_304 + 65_536 == 67_840
    assert round(589_824 / 67_840, 2) == 8.69


# ResNet-50


def test_the_bottlenecks_of_resnet50():
    stem, *stages = resnet50()
    assert weights(*stem) == 9_408 == 7 * 7 * 3 * 64
    assert [weights(*stage) for stage in stages] == [212_992, 1_212_416, 7_077_888, 14_942_208]
    # the blog's block is the second of the first stage, to the number
    assert stages[0][4:7] == bottleneck(256, 64, 256)
    for (_, narrow, _), stage in zip(RESNET50, stages, strict=True):
        inner = bottleneck(4 * narrow, narrow, 4 * narrow)
        assert stage[-3:] == inner
        assert weights(*inner) == 17 * narrow**2  # 4 + 9 + 4
        assert Fraction(Conv(4 * narrow, 4 * narrow, 3).weights, weights(*inner)) == Fraction(144, 17)  # 8.47
    layers_with_weights = 1 + 3 * sum(blocks for blocks, _, _ in RESNET50) + 1  # and the linear one
    assert layers_with_weights == 50


def test_resnet50_has_the_published_number_of_parameters():
    convs = [conv for stage in resnet50() for conv in stage]
    normalization = 2 * sum(conv.out_channels for conv in convs)
    linear = 2048 * 1000 + 1000
    assert weights(*convs) == 23_454_912
    assert weights(*convs) + normalization + linear == 25_557_032  # torchvision.models.resnet50


def test_resnet50_has_the_published_multiply_adds():
    """Table 1 of He et al. gives 3.8 billion. (Torchvision strides in the 3x3, so it needs 4.1.)"""
    stem, *stages = resnet50()
    total = multiply_adds(*stem, height=112, width=112) + 2048 * 1000
    for (_, _, side), stage in zip(RESNET50, stages, strict=True):
        total += multiply_adds(*stage, height=side, width=side)
    assert 3.8 <= total / 1e9 < 3.9


def test_later_networks_lean_on_the_1x1():
    convs = [conv for stage in resnet50() for conv in stage]
    ones = [conv for conv in convs if conv.kernel_size == 1]
    assert (len(ones), len(convs)) == (36, 53)
    assert weights(*ones) == 12_128_256
    assert round(100 * weights(*ones) / weights(*convs), 1) == 51.7


def test_resnet50_as_built_has_the_weights_on_paper():
    with torch.device("meta"):
        built = [conv.build() for stage in resnet50() for conv in stage]
    assert sum(p.numel() for conv in built for p in conv.parameters()) == 23_454_912


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4), "in_channels=0: expected 1 or more"),
        ((4, -1), "out_channels=-1: expected 1 or more"),
        ((4, 4, 0), "kernel_size=0: expected 1 or more"),
        ((4, 4, 2), "kernel_size=2 is even"),
        ((4, 6, 3, 4), "groups=4 must divide in_channels=4 and out_channels=6"),
        ((6, 4, 3, 4), "groups=4 must divide in_channels=6 and out_channels=4"),
        ((256, 0.35 * 256), r"out_channels=89.6: expected one integer"),
        ((4, float("nan")), "out_channels=nan: expected one integer"),
        ((4, "4"), "out_channels='4': expected one integer"),
    ],
)
def test_a_convolution_that_cannot_be_is_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        Conv(*arguments)


def test_modules_refuse_what_the_paper_refuses():
    with pytest.raises(ValueError, match="out_channels=0"):
        Bottleneck(4, 0, 4)
    with pytest.raises(ValueError, match="kernel_size=4 is even"):
        DepthwiseSeparable(4, 4, 4)
    for (height, width), named in {(0, 4): "height=0", (4, -1): "width=-1", (2.5, 4): "height=2"}.items():
        with pytest.raises(ValueError, match=named):
            multiply_adds(Conv(4, 4), height=height, width=width)


@pytest.mark.parametrize("block", [Bottleneck(4, 2, 3), DepthwiseSeparable(4, 3)])
def test_torch_names_wrong_channels_and_types(block):
    with pytest.raises(RuntimeError, match="to have 4 channels, but got 5 channels"):
        block(torch.zeros(1, 5, 3, 3))
    with pytest.raises(RuntimeError, match=r"(?i)double"):
        block(torch.zeros(1, 4, 3, 3).double())


@pytest.mark.parametrize("block", [Bottleneck(4, 2, 3), DepthwiseSeparable(4, 3)])
@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (2, 4, 1, 7), (0, 4, 3, 5)])
def test_any_batch_and_any_map(block, shape):
    assert block(torch.zeros(shape)).shape == (shape[0], 3, *shape[2:])


def test_a_part_of_a_block_is_a_plain_sequence():
    block = Bottleneck(4, 2, 3)
    x = torch.randn(2, 4, 3, 5)
    part = block[:4]
    assert type(part) is nn.Sequential and list(dict(part.named_children())) == [
        "reduce",
        "relu1",
        "conv",
        "relu2",
    ]
    torch.testing.assert_close(block[4:](part(x)), block(x))
    assert block[0] is block.reduce and block[-1] is block.expand and len(block[5:]) == 0
    torch.testing.assert_close(DepthwiseSeparable(4, 3)[:1](x).shape, x.shape)
