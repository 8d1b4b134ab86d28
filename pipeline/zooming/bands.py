"""Bands of a picture's detail, from fine to coarse, and the loop that holds their energy in a zoom.

A zoom resamples its picture thousands of times. The loop gives back the finest detail that each
resampling takes, where it was taken, and holds the energy of each coarser band.
"""

import math
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline.dreaming.control import Controller
from dreamreel.pipeline.tensors import blur, luma, sharpness

BANDS = 4
SMALLEST = 12  # pixels of the shorter side, below which there is no band
FALL = 0.6  # most energy of a band, in shares of the next coarser one's, as in natural pictures
MOVED_SIGMA = 0.6  # pixels of blur: about what motion takes of a still's finest detail
# Least and most gain of a band in a frame, at 30 a second. Missing detail is left to the dream:
# amplified by 15 % a frame, chance in empty places grew into weaves.
LEAST_GAIN, MOST_GAIN = 0.87, 1.02
USUAL_RATE = 30  # frames a second, at which a zoom's steps have just the size that is set
TINY = 1e-9  # energy below which a band counts as empty

Bands = list[Tensor]


def split(image: Tensor, most: int = BANDS) -> tuple[Bands, Tensor]:
    """`image` (1, C, H, W) as a Laplacian pyramid (Burt & Adelson, 1983): (bands, rest).

    There are at most `most` bands, the finest first, each half as large as the one before.
    """
    bands: Bands = []
    while len(bands) < most and min(image.shape[2:]) >= SMALLEST:
        half = F.avg_pool2d(blur(image, 1.0), 2, ceil_mode=True)
        bands.append(image - _enlarged(half, image))
        image = half
    return bands, image


def join(bands: Bands, rest: Tensor) -> Tensor:
    """The image (1, C, H, W) that `split` made `bands` and `rest` of."""
    for band in reversed(bands):
        rest = _enlarged(rest, band) + band
    return rest


def energies(bands: Bands) -> list[Tensor]:
    """The energy of each of `bands`, a scalar: the mean square of its luma."""
    return [luma(band).square().mean() for band in bands]


def within(image: Tensor, margin: int) -> Tensor:
    """`image` (1, C, H, W) without a `margin` of so many pixels on each side."""
    height, width = image.shape[2] - 2 * margin, image.shape[3] - 2 * margin
    return image[:, :, margin : margin + height, margin : margin + width]


@dataclass
class DetailLoop:
    """Holds the energy of each band of a zoom's detail at the first frame's. In the finest band, a
    PI controller sets the share of what resampling takes that is given back."""

    targets: list[float] = field(default_factory=list)  # wanted energy of each band
    crisp: float = 0.0  # wanted sharpness
    control: Controller = field(default_factory=lambda: Controller("detail", 0.2))
    short: float = 0.0  # log(wanted / found sharpness) in the last frame

    @property
    def room(self) -> float:
        """The room for more detail, from 1 to 0: none where the loop softens as much as it may."""
        steady = self.control.steady
        return min(max(1 - steady / self.control.gains.least, 0.0), 1.0) if steady < 0 else 1.0

    def begin(self, image: Tensor, margin: int = 0) -> Tensor:
        """The dreamed still `image` (1, 3, H, W), calmed to the detail that the zoom will hold.

        A still has more fine detail than a moving picture can keep, so the finest goes and no band
        keeps more than `FALL` of the next coarser one's energy. A `margin` of so many pixels is not
        measured.
        """
        bands, rest = split(blur(image, MOVED_SIGMA))
        found = [float(energy) for energy in _energies_within(bands, margin)]
        self.targets = list(found)
        for number in reversed(range(len(bands) - 1)):
            self.targets[number] = min(found[number], FALL * self.targets[number + 1])
        pairs = zip(found, self.targets, strict=True)
        gains = [math.sqrt(target / max(now, TINY)) for now, target in pairs]
        calmer = join([band * gain for band, gain in zip(bands, gains, strict=True)], rest)
        self.crisp = float(sharpness(within(calmer, margin)))
        return calmer

    def held(
        self,
        image: Tensor,
        taken: tuple[Tensor, Tensor],
        rate: float,
        margin: int,
        lively: Tensor | None = None,
    ) -> Tensor:
        """`image` (1, 3, H, W), just resampled, with its bands brought towards their energies.

        `taken`: the shares of the finest detail, across and down, that resampling took at each
        place, (1, 1, H, W) each. `rate`: frames a second. A `margin` of so many pixels is not
        measured. `lively` (1, 1, H, W): the share of what is missing that is given at each place;
        in dull ground, it would grow into a weave. None: all of it everywhere.
        """
        bands, rest = split(image, len(self.targets))
        now = _energies_within(bands, margin)
        least, most = (gain ** (USUAL_RATE / rate) for gain in (LEAST_GAIN, MOST_GAIN))
        for number in range(1, len(bands)):
            gain = (self.targets[number] / now[number].clamp_min(TINY)).sqrt()
            bands[number] = bands[number] * _local(gain.clamp(least, most), lively, number)
        if bands:
            share = self.control.output(self.short)
            given = share if lively is None or share < 0 else share * lively
            bands[0] = bands[0] + given * _lost(image, taken)
        return join(bands, rest)

    def tell(self, crisp: float) -> None:
        """Learn from a finished frame whose sharpness is `crisp`."""
        self.short = math.log(max(self.crisp, TINY) / max(crisp, TINY))
        self.control.learn(self.short)


def _local(gain: Tensor, lively: Tensor | None, number: int) -> Tensor:
    """The `gain`, a scalar, of the band of that `number`; what is more than 1 only as far as places
    are `lively`."""
    if lively is None:
        return gain
    for _ in range(number):
        lively = F.avg_pool2d(lively, 2, ceil_mode=True)
    return gain.clamp_max(1) + (gain - 1).clamp_min(0) * lively


def _energies_within(bands: Bands, margin: int) -> list[Tensor]:
    return energies([within(band, margin >> number) for number, band in enumerate(bands)])


def _lost(image: Tensor, taken: tuple[Tensor, Tensor]) -> Tensor:
    """The finest luma of `image`, across and down, times the shares of it that were `taken`."""
    light = luma(image)
    wide = F.pad(light, (1, 1, 1, 1), mode="replicate")
    across = light / 2 - (wide[:, :, 1:-1, :-2] + wide[:, :, 1:-1, 2:]) / 4
    down = light / 2 - (wide[:, :, :-2, 1:-1] + wide[:, :, 2:, 1:-1]) / 4
    return taken[0] * across + taken[1] * down


def _enlarged(image: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(image, like.shape[2:], mode="bilinear", align_corners=False)
