"""The shape of gradients: bands and frequencies."""

import math

import pytest
import torch
from torch import Tensor

from dreamreel.pipeline.dreaming.gradients import equal_bands, weighed_frequencies
from dreamreel.pipeline.tensors import blur, resize


def waves(height: int, width: int, cycles: int, along: int) -> Tensor:
    """So many cycles of a cosine along a dimension, (1, 3, height, width)."""
    length = (height, width)[along - 2]
    phase = torch.arange(length) * (2 * math.pi * cycles / length)
    shape = (-1, 1) if along == 2 else (1, -1)
    return phase.cos().view(1, 1, *shape).expand(1, 3, height, width).clone()


@pytest.mark.parametrize("along", [2, 3])
@pytest.mark.parametrize("cycles", [1, 4, 16])
def test_a_frequency_is_divided_by_its_power(cycles: int, along: int) -> None:
    given = waves(64, 96, cycles, along)
    found = weighed_frequencies(given, 1.5)
    per_side = cycles * (64 / 96 if along == 3 else 1)
    assert torch.allclose(found, given / max(1, per_side) ** 1.5, atol=1e-5)


def test_exponent_0_changes_nothing() -> None:
    given = torch.randn(1, 3, 33, 47)
    assert torch.allclose(weighed_frequencies(given, 0.0), given, atol=1e-5)


def test_bands_of_very_different_size_become_equal() -> None:
    torch.manual_seed(3)
    fine = torch.randn(1, 3, 64, 96)
    broad = resize(torch.randn(1, 3, 4, 6), (64, 96))

    def share_of_broad(gradient: Tensor) -> float:
        low = blur(gradient, 6.0)
        return float(low.square().mean() / gradient.square().mean())

    found = [share_of_broad(equal_bands(fine + size * broad, 4)) for size in (0.01, 1.0, 100.0)]
    given = [share_of_broad(fine + size * broad) for size in (0.01, 1.0, 100.0)]
    assert max(given) / min(given) > 50 and max(found) / min(found) < 4


def test_a_gradient_of_nothing_stays_nothing() -> None:
    nothing = torch.zeros(1, 3, 40, 50)
    assert not equal_bands(nothing, 5).any() and not weighed_frequencies(nothing, 1).any()
