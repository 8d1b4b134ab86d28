"""The colours of a dream: its own, those of its source, or those of a palette.

A picture is recoloured by the linear map in Oklab (Ottosson, 2020) that takes the mean and the
covariance of its colours to those of another, and moves colours least: the optimal transport of
Monge and Kantorovich between Gaussians (Pitie & Kokaram, 2007).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Dream
from dreamreel.pipeline.tensors import luma

LEAST_SPREAD = 0.01  # standard deviation in Oklab, added to all: a grey picture gets no wild gain
TINY = 1e-6  # keeps the division by a grey pixel's colour finite
# Linear sRGB to the responses of the eye's cones, and their cube roots to Oklab.
TO_CONES = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
TO_LAB = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


@dataclass(frozen=True)
class Colours:
    """The `mean` (3,) and the `covariance` (3, 3) of a picture's colours in Oklab, float64."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, image: Tensor) -> "Colours":
        """The colours of `image` (1, 3, H, W)."""
        return _colours_of(to_oklab(image))


def coloured(
    source: Tensor, dreamed: Tensor, settings: Dream, palette: Colours | None, share: float = 1.0
) -> Tensor:
    """`dreamed`, the dream of `source`, (1, 3, H, W) both, in the colours that `settings` ask for.
    `palette` has those of the picture `settings.palette`, if there is one; the `share` of the way
    to a palette is gone."""
    if settings.colour == "keep":
        dreamed = with_colour_of(source, dreamed)
    target = Colours.of(source) if palette is None and settings.colour == "source" else palette
    if target is None:
        return dreamed
    return dreamed.lerp(recoloured(dreamed, target), share)


def with_colour_of(source: Tensor, dreamed: Tensor) -> Tensor:
    """The luma of `dreamed` with the colour of `source`, (1, 3, H, W) both; paler where no screen
    shows it so light or dark."""
    light = luma(dreamed).clamp(0, 1)
    colour = source - luma(source)
    room = torch.where(colour > 0, 1 - light, light) / colour.abs().clamp_min(TINY)
    return (light + colour * room.amin(1, keepdim=True).clamp(0, 1)).clamp(0, 1)


def recoloured(image: Tensor, target: Colours) -> Tensor:
    """`image` (1, 3, H, W) with colours of the mean and covariance of `target`."""
    lab = to_oklab(image)
    now = _colours_of(lab)
    spread = LEAST_SPREAD**2 * torch.eye(3, dtype=torch.float64)
    own, wanted = now.covariance + spread, target.covariance + spread
    root, back = _power(own, 0.5), _power(own, -0.5)
    change = (back @ _power(root @ wanted @ root, 0.5) @ back).to(lab)
    mean, to = (colours.mean.to(lab)[:, None, None] for colours in (now, target))
    return from_oklab(_by(change, lab - mean) + to)


def to_oklab(image: Tensor) -> Tensor:
    """`image` (1, 3, H, W), sRGB in [0, 1], in Oklab: L, a, b."""
    linear = torch.where(image > 0.04045, ((image.clamp_min(0) + 0.055) / 1.055) ** 2.4,
                         image / 12.92)  # fmt: skip
    cones = _by(_matrix(TO_CONES, image), linear).clamp_min(0)
    return _by(_matrix(TO_LAB, image), cones ** (1 / 3))


def from_oklab(lab: Tensor) -> Tensor:
    """The inverse of `to_oklab`, clipped to [0, 1]."""
    cones = _by(_matrix(TO_LAB, lab, inverse=True), lab) ** 3
    linear = _by(_matrix(TO_CONES, lab, inverse=True), cones).clamp(0, 1)
    curve = 1.055 * linear.clamp_min(0.0031308) ** (1 / 2.4) - 0.055
    return torch.where(linear > 0.0031308, curve, 12.92 * linear).contiguous(
        memory_format=torch.channels_last
    )


def _colours_of(lab: Tensor) -> Colours:
    places = lab[0].flatten(1).double().cpu()
    return Colours(places.mean(1), torch.cov(places, correction=0))


def _power(matrix: Tensor, power: float) -> Tensor:
    """The `power` of a symmetric, positive `matrix`."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp_min(TINY**2) ** power) @ vectors.T


def _matrix(rows: tuple[tuple[float, ...], ...], like: Tensor, inverse: bool = False) -> Tensor:
    matrix = torch.tensor(rows, dtype=torch.float64)
    return (matrix.inverse() if inverse else matrix).to(like)


def _by(matrix: Tensor, image: Tensor) -> Tensor:
    """`matrix` (3, 3) times the colour at each place of `image` (1, 3, H, W)."""
    return torch.einsum("ij,njhw->nihw", matrix, image)
