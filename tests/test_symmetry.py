"""Dreams whose edges meet, and dreams that are alike in every part of a turn."""

import numpy as np
import pytest
import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Dream
from dreamreel.pipeline.dreaming.ascent import Ascent, turned_alike
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import blur
from rendering import dreamed as dream


def tile_of(size: int) -> Tensor:
    """A picture (1, 3, size, size) whose edges meet."""
    random = torch.Generator().manual_seed(4)
    noise = torch.randn(1, 3, size, size, generator=random)
    smooth = blur(noise.repeat(1, 1, 3, 3), 2.0)[:, :, size : 2 * size, size : 2 * size]
    return (0.5 + 0.3 * smooth / smooth.std()).clamp(0.05, 0.95)


def seam(detail: Tensor, axis: int) -> float:
    """The mean step across the edges of `detail` that meet along `axis`, over that between
    neighbours within it."""
    steps = (detail - detail.roll(1, axis)).abs().mean([one for one in range(4) if one != axis])
    return float(steps[0] / steps[1:].mean())


@pytest.mark.parametrize(("wrap", "seamless"), [("x", (3,)), ("y", (2,)), ("both", (2, 3))])
def test_edges_that_meet_have_no_seam(
    dreamnet: Network, wrap: str, seamless: tuple[int, ...]
) -> None:
    tile = tile_of(96)
    look = {"terms": {"textures": 1.0}, "coarsest": 64, "octaves": 2, "jitter": 0}
    ascent = Ascent(6, 2.0)
    detail, plain = (
        dream(tile, dreamnet, Dream(**look, wrap=edges), ascent) - tile  # type: ignore[arg-type]
        for edges in (wrap, "none")
    )
    for axis in seamless:
        assert seam(detail, axis) < 1.35 < seam(plain, axis)


@pytest.mark.parametrize("turns", [2, 3, 4, 6])
def test_a_picture_turned_alike_stays_when_it_is_turned(turns: int) -> None:
    image = blur(torch.rand(1, 3, 97, 97, generator=torch.Generator().manual_seed(1)), 3.0)
    alike = turned_alike(image, turns)
    again = turned_alike(alike, turns)
    y, x = np.mgrid[-48:49, -48:49]
    inside = torch.from_numpy(np.hypot(x, y) < 44)
    assert float((alike - again)[:, :, inside].abs().mean()) < 0.05 * float(
        (image - alike)[:, :, inside].abs().mean()
    )
    if turns in (2, 4):
        turned = alike.rot90(4 // turns, (2, 3))
        assert torch.allclose(alike[:, :, inside], turned[:, :, inside], atol=1e-5)


def test_a_dream_of_a_flat_picture_has_the_symmetry(dreamnet: Network) -> None:
    ground = turned_alike(tile_of(96), 2)
    look = Dream(terms={"textures": 1.0}, octaves=1, symmetry=2)
    dreamed = dream(ground, dreamnet, look, Ascent(4, 2.0))
    assert torch.allclose(dreamed, dreamed.flip(2, 3), atol=1e-4)
    assert float((dreamed - ground).abs().mean()) > 2 / 255
