"""The palette of a zoom: the colours and the light that it holds."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamreel.pipeline.tensors import luma

MEAN_PACE = 10  # times as fast as all else that the mean is held: a dream pushes it all the time
PLACES = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0)  # quantiles of light that are held
SAMPLES = 4096  # pixels by which quantiles are found
LEAST_SPREAD = 1e-3  # standard deviation of colour below which a picture counts as grey
LEAST_WIDENING, MOST_WIDENING = 0.5, 2  # times that colour is spread in one step


@dataclass(frozen=True)
class Palette:
    """The colours and the light of a picture.

    `mean` (1, 3, 1, 1): the mean of each channel. `spread` (1, 3, 1, 1): the standard deviation of
    its colour, which is the channel minus luma. `light` (P,): the quantiles of luma at `PLACES`.
    """

    mean: Tensor
    spread: Tensor
    light: Tensor

    @classmethod
    def of(cls, image: Tensor) -> "Palette":
        """The palette of `image` (1, 3, H, W)."""
        light = luma(image)
        spread = (image - light).std((2, 3), keepdim=True)
        return cls(image.mean((2, 3), keepdim=True), spread, quantiles(light))

    def towards(self, other: "Palette", share: float) -> "Palette":
        """The palette that is a `share`, from 0 to 1, of the way to `other`."""
        return Palette(
            self.mean.lerp(other.mean, share),
            self.spread.lerp(other.spread, share),
            self.light.lerp(other.light, share),
        )

    def held(self, image: Tensor, now: "Palette", seconds: float, hold: float) -> Tensor:
        """`image` (1, 3, H, W), whose palette is `now`, brought towards this palette: the share
        `hold` of the difference goes in a second, here for `seconds`. So a dream that feeds on
        itself does not burn out, fade or change colour."""
        share, fast = (1 - (1 - hold) ** (seconds * pace) for pace in (1, MEAN_PACE))
        light = luma(image)
        wider = self.spread / now.spread.clamp_min(LEAST_SPREAD)
        wider = wider.clamp(LEAST_WIDENING, MOST_WIDENING)
        colour = (image - light) * (1 + share * (wider - 1))
        light = light.lerp(as_bright(light, now.light, self.light), share)
        changed = light + colour
        still_off = self.mean - now.mean - (changed - image).mean((2, 3), keepdim=True)
        return (changed + fast * still_off).clamp(0, 1)


def quantiles(light: Tensor) -> Tensor:
    """The quantiles at `PLACES` of `light` (1, 1, H, W): (P,)."""
    values = light.flatten()
    values = values[:: max(1, len(values) // SAMPLES)]
    # torch.quantile waits for the device.
    ordered, last = values.sort().values, len(values) - 1
    below = [math.floor(place * last) for place in PLACES]
    found = [
        torch.lerp(ordered[at], ordered[min(at + 1, last)], place * last - at)
        for at, place in zip(below, PLACES, strict=True)
    ]
    return torch.stack(found)


def as_bright(light: Tensor, now: Tensor, then: Tensor) -> Tensor:
    """`light` (1, 1, H, W) mapped by the piecewise linear curve from the quantiles `now` to `then`,
    (P,) each."""
    now = torch.cummax(now + 1e-5 * torch.arange(len(now), device=now.device), 0).values
    above = torch.bucketize(light, now[1:-1])
    low, high = now[above], now[above + 1]
    share = ((light - low) / (high - low)).clamp(0, 1)
    return then[above] + share * (then[above + 1] - then[above])
