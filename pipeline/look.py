"""The colours and the light that a zoom keeps."""

from dataclasses import dataclass

import torch
from torch import Tensor

from dreamreel.pipeline.images import luma

MEAN_PACE = 10  # times as fast as all else, the mean is held
PLACES = (0.0, 0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98, 1.0)  # quantiles of light that are held
SAMPLES = 4096  # pixels by which quantiles are told


@dataclass
class Look:
    """The colours and the light that a zoom keeps: the mean of its channels, and the spread of its
    colour, which is what they have beyond the light, (1, 3, 1, 1) both; the quantiles of light."""

    mean: Tensor
    spread: Tensor
    light: Tensor

    @classmethod
    def of(cls, image: Tensor) -> "Look":
        """That of `image` (1, 3, H, W)."""
        light = luma(image)
        spread = (image - light).std((2, 3), keepdim=True)
        return cls(image.mean((2, 3), keepdim=True), spread, quantiles(light))

    def towards(self, other: "Look", share: float) -> "Look":
        """A `share`, from 0 to 1, of the way to the `other`."""
        pairs = ((vars(self)[name], vars(other)[name]) for name in ("mean", "spread", "light"))
        return Look(*(one.lerp(another, share) for one, another in pairs))

    def held(self, image: Tensor, now: "Look", seconds: float, hold: float) -> Tensor:
        """`image` (1, 3, H, W), which looks like `now`, drawn to this for some `seconds`, by `hold`
        (0 to 1) in one; its mean, which a dream pushes all the time, far faster. A dream that feeds
        on itself so does not burn out, fade or change its colour."""
        share, fast = (1 - (1 - hold) ** (seconds * pace) for pace in (1, MEAN_PACE))
        light = luma(image)
        wider = (self.spread / now.spread.clamp_min(1e-3)).clamp(0.5, 2)
        colour = (image - light) * (1 + share * (wider - 1))
        light = light.lerp(as_bright(light, now.light, self.light), share)
        changed = light + colour
        still_off = self.mean - now.mean - (changed - image).mean((2, 3), keepdim=True)
        return (changed + fast * still_off).clamp(0, 1)


def quantiles(light: Tensor) -> Tensor:
    """Those of `light` (1, 1, H, W) at `PLACES`, (P,)."""
    values = light.flatten()
    values = values[:: max(1, len(values) // SAMPLES)]
    return torch.quantile(values, torch.tensor(PLACES, device=light.device))


def as_bright(light: Tensor, now: Tensor, then: Tensor) -> Tensor:
    """`light` on the curve that leads its quantiles `now` to those of `then`."""
    now = torch.cummax(now + 1e-5 * torch.arange(len(now), device=now.device), 0).values
    above = torch.bucketize(light, now[1:-1])
    low, high = now[above], now[above + 1]
    share = ((light - low) / (high - low)).clamp(0, 1)
    return then[above] + share * (then[above + 1] - then[above])
