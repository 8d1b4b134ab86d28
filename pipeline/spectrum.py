"""The energy of a picture's detail, band by band from fine to coarse, and how it is held.

A zoom resamples its picture thousands of times: what each resampling takes from the finest band is
given back where it was taken, and each coarser band is kept as strong as it was.
"""

import math

import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline.images import blur, luma, sharpness

BANDS = 4
SMALLEST = 12  # pixels of the shorter side, below which there is no band
FALL = 0.6  # share of a band's energy that the next finer one may have, as in natural pictures
MOVED_SIGMA = 0.6  # pixels: about what is lost of the finest once a picture moves
# Of a band in a frame, at 30 a second. What is short of detail is left to the dream to fill:
# amplified, whatever chance there is in an empty place grows into a weave.
LEAST_GAIN, MOST_GAIN = 0.87, 1.02
USUAL_RATE = 30  # frames a second, at which a zoom's steps have just the size that is set
TINY = 1e-9

Bands = list[Tensor]


def split(image: Tensor, most: int = BANDS) -> tuple[Bands, Tensor]:
    """`image` (1, C, H, W) as a Laplacian pyramid (Burt & Adelson, 1983): its bands, at `most` so
    many, the finest first, and what is left."""
    bands: Bands = []
    while len(bands) < most and min(image.shape[2:]) >= SMALLEST:
        half = F.avg_pool2d(blur(image, 1.0), 2, ceil_mode=True)
        bands.append(image - _enlarged(half, image))
        image = half
    return bands, image


def join(bands: Bands, rest: Tensor) -> Tensor:
    """The image (1, C, H, W) that `split` gave these of."""
    for band in reversed(bands):
        rest = _enlarged(rest, band) + band
    return rest


def energies(bands: Bands) -> list[float]:
    """The mean square of the light of each of `bands`."""
    return [float(luma(band).square().mean()) for band in bands]


def within(image: Tensor, margin: int) -> Tensor:
    """What of `image` (1, C, H, W) lies `margin` pixels from its edges."""
    height, width = image.shape[2] - 2 * margin, image.shape[3] - 2 * margin
    return image[:, :, margin : margin + height, margin : margin + width]


class DetailLoop:
    """Keeps a zoom's detail as strong, in each band, as its first frame's; of the finest band a PI
    controller gives back what resampling takes."""

    PROPORTIONAL, INTEGRAL = 2.5, 0.05
    LEAST, MOST = -0.8, 0.8  # of what is given back, in what one resampling takes at most

    def __init__(self) -> None:
        self.targets: list[float] = []
        self.crisp = 0.0  # the sharpness that the finest band is to have
        self.steady = 0.2  # what is given back when all is well; learned
        self.short = 0.0  # of sharpness: a logarithm

    @property
    def room(self) -> float:
        """How much room there is for more detail: from 1, enough, to 0, all of it is taken away."""
        return min(max(1 - self.steady / self.LEAST, 0.0), 1.0) if self.steady < 0 else 1.0

    def begin(self, image: Tensor, margin: int = 0) -> Tensor:
        """A zoom begins with `image` (1, 3, H, W), dreamed: it, as detailed as it will stay. Stills
        bristle more than anything that moves can: no band is to have more than its share of the
        next coarser one. What counts lies `margin` pixels from its edges."""
        bands, rest = split(blur(image, MOVED_SIGMA))
        found = _energies_within(bands, margin)
        self.targets = list(found)
        for number in reversed(range(len(bands) - 1)):
            self.targets[number] = min(found[number], FALL * self.targets[number + 1])
        pairs = zip(found, self.targets, strict=True)
        gains = [math.sqrt(target / max(now, TINY)) for now, target in pairs]
        calmer = join([band * gain for band, gain in zip(bands, gains, strict=True)], rest)
        self.crisp = sharpness(within(calmer, margin))
        return calmer

    def held(self, image: Tensor, taken: tuple[Tensor, Tensor], rate: float, margin: int) -> Tensor:
        """`image` (1, 3, H, W), resampled, as strong in all bands as it was; `taken`: how much of
        the finest detail across and down was lost at each place, from 0 to 1. What counts lies
        `margin` pixels from its edges."""
        bands, rest = split(image, len(self.targets))
        now = _energies_within(bands, margin)
        least, most = (gain ** (USUAL_RATE / rate) for gain in (LEAST_GAIN, MOST_GAIN))
        for number in range(1, len(bands)):
            gain = math.sqrt(self.targets[number] / max(now[number], TINY))
            bands[number] = bands[number] * min(max(gain, least), most)
        if bands:
            amount = self._limited(self.steady + self.PROPORTIONAL * self.short)
            bands[0] = bands[0] + amount * _lost(image, taken)
        return join(bands, rest)

    def tell(self, image: Tensor) -> None:
        """A frame has become `image` (1, 3, H, W)."""
        self.short = math.log(max(self.crisp, TINY) / max(sharpness(image), TINY))
        self.steady = self._limited(self.steady + self.INTEGRAL * self.short)

    def _limited(self, amount: float) -> float:
        return min(max(amount, self.LEAST), self.MOST)


def _energies_within(bands: Bands, margin: int) -> list[float]:
    return energies([within(band, margin >> number) for number, band in enumerate(bands)])


def _lost(image: Tensor, taken: tuple[Tensor, Tensor]) -> Tensor:
    """The finest light of `image`, across and down, where it was `taken`."""
    light = luma(image)
    wide = F.pad(light, (1, 1, 1, 1), mode="replicate")
    across = light / 2 - (wide[:, :, 1:-1, :-2] + wide[:, :, 1:-1, 2:]) / 4
    down = light / 2 - (wide[:, :, :-2, 1:-1] + wide[:, :, 2:, 1:-1]) / 4
    return taken[0] * across + taken[1] * down


def _enlarged(image: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(image, like.shape[2:], mode="bilinear", align_corners=False)
