"""Images resampled, blurred and measured by compiled functions: what PyTorch's operations give."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamreel.pipeline import pixels, tensors
from dreamreel.pipeline.dreaming.detail import Carried, Keeps, begun, climbed_on
from dreamreel.pipeline.motion.visibility import Motion
from dreamreel.pipeline.motion.warping import carried_along

pytestmark = pytest.mark.skipif(pixels.compiled() is None, reason="no C compiler here")
SIZES = ((3, 3), (5, 7), (37, 53), (64, 33))  # the second has no four places inside
Made = Tensor | tuple[Tensor, ...]


def random(channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Noise (1, C, H, W) about 0."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, channels, height, width, generator=generator)
    return noise.contiguous(memory_format=torch.channels_last)


def moving(height: int, width: int) -> Motion:
    """A motion that leads out of the picture in places."""
    numbers = np.random.default_rng(0)
    flow = numbers.normal(0, 9, (height, width, 2)).astype(np.float32)
    share = numbers.random((height, width)).astype(np.float32)
    return Motion(flow, share, share, share < 0)


def both_ways(make: Callable[[], Made], monkeypatch: pytest.MonkeyPatch) -> list[list[Tensor]]:
    """What `make` gives with compiled functions, and without."""
    found = []
    for functions in (pixels.compiled(), None):
        with monkeypatch.context() as patched:
            patched.setattr(pixels, "compiled", lambda functions=functions: functions)
            made = make()
        found.append(list(made) if isinstance(made, tuple) else [made])
    return found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7, 8])
def test_an_image_is_resampled_and_blurred_as_by_pytorch(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], channels: int
) -> None:
    image = random(channels, *size)
    grid = torch.rand(1, size[0] + 3, size[1], 2) * 3 - 1.5  # a third of the points lie outside
    makes: list[Callable[[], Tensor]] = [lambda: tensors.sample(image, grid, "border")]
    makes += [lambda sigma=sigma: tensors.blur(image, sigma) for sigma in (0.3, 0.6, 2, 30)]
    for make in makes:
        (ours,), (theirs,) = both_ways(make, monkeypatch)
        assert torch.allclose(ours, theirs, atol=1e-5)
        assert ours.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size", SIZES)
def test_an_image_is_measured_and_leaves_as_by_pytorch(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    image = random(3, *size) + 0.5  # beyond 0 and 1 as well
    levels = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)

    def made() -> tuple[Tensor, ...]:
        frame = torch.from_numpy(tensors.to_frame(image).astype(np.int32))
        there = tensors.to_image(levels, image.device)
        return tensors.luma(image), tensors.sharpness(image), frame, there

    ours, theirs = both_ways(made, monkeypatch)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-5, rtol=1e-5)
    assert torch.equal(ours[2], theirs[2]) and torch.equal(ours[3], theirs[3])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("shrunk", [1, 2])
def test_detail_is_carried_as_by_pytorch(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], shrunk: int
) -> None:
    detail, direction, level = random(3, *size), random(3, *size, 1), random(1, *size, 2) + 0.5
    motion = moving(-(-size[0] // shrunk), -(-size[1] // shrunk))
    made = both_ways(lambda: carried_along(motion, detail, direction, level), monkeypatch)
    for one, other in zip(*made, strict=True):
        # A point's place is rounded otherwise, which noise makes the most of.
        assert torch.allclose(one, other, atol=1e-3)
    assert made[0][2].min() >= 0 and made[0][2].max() <= 1


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_is_carried_on_as_by_pytorch(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int]
) -> None:
    source, way = (random(3, *size, 1) / 3 + 0.5).clamp(0, 1), random(1, *size, 2).abs() / 9
    arrived = Carried(random(3, *size, 3) / 2, random(3, *size, 4), random(1, *size, 5).abs())
    climb = random(3, *size, 6) / 50

    def made() -> Made:
        start = begun(source, arrived.detail, 0.9)
        pair = start.clone(), (start + climb).clamp(0, 1)
        return start, *climbed_on(source, arrived, pair, way, Keeps(0.9, 0.4, 0.7), None)

    for ours, theirs in zip(*both_ways(made, monkeypatch), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-4, rtol=1e-5)
        assert ours.is_contiguous(memory_format=torch.channels_last)


def test_a_frame_without_a_step_keeps_what_arrived() -> None:
    source = torch.full((1, 3, 36, 64), 0.5).contiguous(memory_format=torch.channels_last)
    detail = random(3, 36, 64) / 9
    arrived = Carried(detail, torch.zeros_like(detail), torch.ones(1, 1, 36, 64))
    start = begun(source, arrived.detail, 1.0)
    way = torch.zeros(1, 1, 36, 64).contiguous(memory_format=torch.channels_last)
    found, direction = climbed_on(source, arrived, (start, start), way, Keeps(1, 0.4, 0), None)
    assert torch.allclose(found, detail, atol=1e-6) and direction.abs().max() == 0


def test_any_number_of_threads_gives_the_same_bytes() -> None:
    image, grid = random(3, 61, 45), torch.rand(1, 61, 45, 2) * 2 - 1
    motion, level = moving(61, 45), random(1, 61, 45)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            made = (
                *(tensors.sample(image, grid, "border"), tensors.blur(image, 2.0)),
                *(tensors.luma(image), tensors.sharpness(image)),
                *carried_along(motion, image, image, level),
            )
            found.append(made)
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_what_is_not_finite_is_told(wrong: float) -> None:
    image = random(3, 40, 50)
    assert tensors.Leaving(image).is_finite
    image[0, 1, 20, 30] = wrong
    assert not tensors.Leaving(image).is_finite
    assert not tensors.blur(image, 1.0).isfinite().all()
    assert not tensors.sharpness(image).isfinite()


def test_a_flow_that_is_not_finite_reads_nothing_beyond_the_picture() -> None:
    detail, motion = random(3, 40, 50), moving(40, 50)
    motion.flow[::2, ::3] = np.nan
    motion.flow[1::2, ::3] = 1e30
    for one in carried_along(motion, detail, detail, random(1, 40, 50)):
        assert one.isfinite().all() and one.abs().max() < 2 * detail.abs().max()


def test_gradients_flow_through_what_wants_them() -> None:
    image = random(3, 20, 30).requires_grad_()
    (gradient,) = torch.autograd.grad(tensors.blur(image, 1.0).square().sum(), image)
    assert gradient.abs().sum() > 0
