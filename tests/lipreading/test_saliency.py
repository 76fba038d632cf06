"""The gradient of a reading with respect to its pixels, held against differences of the reading itself."""

import pytest
import torch

from lessons.lipreading import LipNet
from lessons.lipreading.build import from_config
from lessons.lipreading.saliency import saliency

PATH = [0, 3, 3, 0, 5, 1]  # a blank, a character over two frames, a blank, two characters


def tiny(upsample: int = 1, channels: int = 1, compact: bool = True, dtype=torch.float64) -> LipNet:
    torch.manual_seed(0)
    sizes = {"hidden_size": 4, "num_classes": 6, "projection": 5, "upsample": upsample}
    sizes |= {"in_channels": channels, "frame_size": (16, 16), "channels": (2, 3, 2)}
    model = from_config(compact, **sizes)
    return model.to(dtype).eval()


def clip(channels: int = 1, dtype=torch.float64) -> torch.Tensor:
    return torch.randn(channels, 6, 16, 16, generator=torch.Generator().manual_seed(1), dtype=dtype)


def score(model: LipNet, x: torch.Tensor, path: list[int]) -> float:
    """The sum of the characters' log-probabilities, frame by frame as the definition says."""
    with torch.no_grad():
        log_probs = model(x[None])[:, 0].log_softmax(-1)
    return sum(log_probs[t, c].item() for t, c in enumerate(path) if c != 0)


@pytest.mark.parametrize("compact", [True, False])
def test_each_pixel_has_the_slope_that_moving_it_shows(compact):
    model, x, step = tiny(compact=compact), clip(), 1e-5
    found = saliency(model, x, PATH)
    assert found.shape == (6, 16, 16) and (found >= 0).all()
    generator = torch.Generator().manual_seed(2)
    for place in torch.randint(0, x.numel(), (40,), generator=generator).tolist():
        up, down = x.clone(), x.clone()
        up.view(-1)[place] += step
        down.view(-1)[place] -= step
        slope = (score(model, up, PATH) - score(model, down, PATH)) / (2 * step)
        assert found.view(-1)[place].item() == pytest.approx(abs(slope), rel=1e-5, abs=1e-8)
    assert found.max() > 1e-4  # so that the comparison was not between zeros


def test_of_several_channels_the_largest_counts():
    model, x = tiny(channels=3), clip(channels=3)
    variable = x.clone().requires_grad_()
    log_probs = model(variable[None])[:, 0].log_softmax(-1)
    sum(log_probs[t, c] for t, c in enumerate(PATH) if c).backward()
    torch.testing.assert_close(saliency(model, x, PATH), variable.grad.abs().amax(0))


def test_frames_with_the_blank_do_not_count():
    model, x = tiny(), clip()
    whole, first, rest = (saliency(model, x, path) for path in (PATH, [0, 3, 0, 0, 0, 0], [0, 0, 3, 0, 5, 1]))
    assert (whole <= first + rest + 1e-12).all()  # |a + b| <= |a| + |b|: the two parts make the whole
    assert not torch.allclose(first, rest) and not torch.allclose(whole, rest)


def test_a_path_longer_than_the_clip_when_the_model_shows_frames_twice():
    model, x = tiny(upsample=2), clip()
    path = [c for c in PATH for _ in range(2)]
    assert saliency(model, x, torch.tensor(path)).shape == (6, 16, 16)
    with pytest.raises(ValueError, match=r"path has shape \(6,\), expected \(12,\)"):
        saliency(model, x, PATH)


def test_under_noise_it_is_the_mean_gradient_and_seeded():
    model, x = tiny(), clip()
    torch.testing.assert_close(saliency(model, x, PATH, samples=3, noise=0.0), saliency(model, x, PATH))
    one, again, other = (saliency(model, x, PATH, samples=4, seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one, again) and not torch.allclose(one, other)
    generator = torch.Generator().manual_seed(0)
    gradients = []
    for _ in range(4):
        noisy = x + 0.1 * torch.randn(x.shape, generator=generator, dtype=x.dtype)
        noisy.requires_grad_()
        log_probs = model(noisy[None])[:, 0].log_softmax(-1)
        sum(log_probs[t, c] for t, c in enumerate(PATH) if c).backward()
        gradients.append(noisy.grad)
    torch.testing.assert_close(one, torch.stack(gradients).mean(0).abs().amax(0))


def test_it_leaves_the_model_and_the_clip_as_they_were():
    model, x = tiny(dtype=torch.float32), clip(dtype=torch.float32)
    before = x.clone()
    with torch.no_grad():  # as in a notebook that only reads
        assert saliency(model, x, PATH).max() > 0
    assert torch.equal(x, before) and not x.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": tiny().train()}, "training mode"),
        ({"clip": clip()[None]}, r"clip has shape \(1, 1, 6, 16, 16\)"),
        ({"path": [0] * 6}, "blank alone"),
        ({"path": [0, 0, 0, 0, 0, 6]}, "path holds 6, expected classes from 0 to 5"),
        ({"path": [0, 3]}, r"path has shape \(2,\), expected \(6,\)"),
        ({"samples": 0}, "samples is 0"),
    ],
)
def test_what_cannot_be_explained_is_refused(change, message):
    arguments = {"model": tiny(), "clip": clip(), "path": PATH} | change
    with pytest.raises(ValueError, match=message):
        saliency(**arguments)
