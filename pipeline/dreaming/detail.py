"""Detail, the dream minus its source, carried from frame to frame."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline import pixels
from dreamreel.pipeline.frames import Box
from dreamreel.pipeline.motion.visibility import Motion
from dreamreel.pipeline.motion.warping import carried_along
from dreamreel.pipeline.stages import timed
from dreamreel.pipeline.tensors import blur, resize

BROAD_CELLS = 9  # cells in a frame's shorter side; coarser light and colour is broad
SMALLEST_CLIMB = 0.05  # levels of 255: the least that a direction is divided by
SMALL = 1e-3  # floor of the share of a mask in a cell
TINY = 1e-30  # floor of divisors: a mean over no place at all is 0


@dataclass(frozen=True)
class Carried:
    """The tensors carried from one frame to the next.

    `detail` (1, 3, H, W): the dream minus the source. `direction` (1, 3, H, W): the direction of
    ascent, as the change in [0, 1] for a climb of one level of 255. `level` (1, 1, H, W): how far
    each place is dreamed, from 0, newly seen, to 1, in full.
    """

    detail: Tensor
    direction: Tensor
    level: Tensor

    @timed("loops")
    def fullness(self) -> Tensor:
        """The mean absolute detail, weighed by `level`: a scalar."""
        size = (self.level * self.detail.abs()).mean()
        return size / self.level.mean().clamp_min(TINY)

    def inside(self, mask: Tensor | None) -> "Carried":
        """The same, 0 where `mask` (1, 1, H, W), if given, is."""
        if mask is None:
            return self
        there = mask > 0
        return Carried(self.detail * there, self.direction * there, self.level * there)

    def refitted(self, box: Box, to: Box) -> "Carried":
        """The same, of the picture in `box` of a frame, for the picture in the box `to`: cropped,
        and not dreamed where it is new."""
        if box == to:
            return self
        more = (box.left - to.left, to.right - box.right, box.top - to.top, to.bottom - box.bottom)
        return Carried(*(F.pad(one, more) for one in (self.detail, self.direction, self.level)))

    def towards(self, other: "Carried", share: float) -> "Carried":
        """The blend with the share `share` of `other`."""
        return Carried(
            self.detail.lerp(other.detail, share),
            self.direction.lerp(other.direction, share),
            self.level.lerp(other.level, share),
        )

    @timed("warp")
    def along(self, motion: Motion) -> "Carried":
        """The same, warped along `motion` onto the next frame's grid; 0 where that was occluded."""
        return Carried(*carried_along(motion, self.detail, self.direction, self.level))


def clipped(image: Tensor) -> tuple[Tensor, Tensor]:
    """`image` (1, 3, H, W) in [0, 1], and what a screen cannot show of it: the dream remembers it
    until the light changes."""
    shown = image.clamp(0, 1)
    return shown, image - shown


def begun(source: Tensor, arrived: Tensor, carry: float) -> Tensor:
    """What a frame's ascent begins with: `source` with `carry` times the detail that `arrived`,
    (1, 3, H, W) each, in [0, 1]."""
    if pixels.takes(source, arrived):
        return pixels.begun(source, arrived, carry)
    return (source + carry * arrived).clamp_(0, 1)


def climbed_on(
    source: Tensor,
    arrived: Carried,
    pair: tuple[Tensor, Tensor],
    way: Tensor,
    keeps: "Keeps",
    mask: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """The detail and the direction of a frame (`source`) after its ascent, images (1, 3, H, W).

    `pair` is what the ascent began with and what came of it; both are used up. The climb went `way`
    (1, 1, H, W) levels. What a screen cannot show of the detail that `arrived` is remembered.
    """
    start, dreamed = pair
    images = (source, arrived.detail, arrived.direction, start, dreamed)
    fits = mask is None and keeps.light > 0 and dreamed is not start  # as after no step at all
    if fits and pixels.takes(*images) and pixels.takes(way, arrived.level):
        about = source, way, arrived.level, keeps.momentum, SMALLEST_CLIMB
        pixels.climb(dreamed, start, arrived.direction, *about)
        broad = resize(_broad(start), _size(source))
        pixels.settle(start, source, broad, arrived.detail, keeps.light, keeps.carry)
        return start, dreamed
    unseen = clipped(source + keeps.carry * arrived.detail)[1]
    # In place, as far as nobody else has them: frames may be large.
    found = (dreamed - start).div_(way.clamp_min(SMALLEST_CLIMB))
    direction = found.lerp_(arrived.direction, keeps.momentum * arrived.level)
    climbed = torch.addcmul(start, way, direction).clamp_(0, 1)
    return hold_light(climbed, source, keeps.light, mask) - source + unseen, direction


@dataclass(frozen=True)
class Keeps:
    """How much a frame keeps: the share `carry` of the detail that arrived, the share `momentum` of
    the direction, and the share `light` of broad light that is held."""

    carry: float
    momentum: float
    light: float


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[2], image.shape[3]


def _broad(added: Tensor) -> Tensor:
    """The broad light and colour of what is `added` (1, 3, H, W): (1, 3, h, w)."""
    size = _size(added)
    cell = max(1, round(min(size) / BROAD_CELLS))
    return blur(resize(added, (math.ceil(size[0] / cell), math.ceil(size[1] / cell))), 1.0)


def hold_light(dreamed: Tensor, source: Tensor, share: float, mask: Tensor | None = None) -> Tensor:
    """`dreamed` minus `share` times the broad light and colour that it added to `source`: images
    (1, 3, H, W), in [0, 1]. With a `mask` (1, 1, H, W), both are those of the places inside."""
    if share == 0:
        return dreamed
    size = _size(dreamed)
    if mask is None:
        return (dreamed - share * resize(_broad(dreamed - source), size)).clamp(0, 1)
    there = (mask > 0).float()
    broad = resize(_broad((dreamed - source) * there), size)
    broad = broad / resize(_broad(there), size).clamp_min(SMALL)
    return (dreamed - share * there * broad).clamp(0, 1)


def mixed(source: Tensor, dreamed: Tensor, mix: float, mask: Tensor | None = None) -> Tensor:
    """The image that is shown: `mix` times `dreamed`, the rest `source`, (1, 3, H, W) each. Where
    there is a `mask` (1, 1, H, W), it is `mix` times the mask: outside, `source` to the last
    bit."""
    if mask is not None:
        return torch.where(mask > 0, source.lerp(dreamed, mix * mask), source)
    return dreamed if mix == 1 else source.lerp(dreamed, mix)
