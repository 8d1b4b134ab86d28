"""The detail of a dream, which is the dream minus its source, and how it flows on."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamreel.pipeline.motion.visibility import Motion
from dreamreel.pipeline.motion.warping import flow_at, share_at, warp
from dreamreel.pipeline.tensors import blur, resize

BROAD_CELLS = 9  # cells in a frame's shorter side; coarser light and colour is broad
TINY = 1e-30  # keeps a mean over nothing at nothing


@dataclass(frozen=True)
class Carried:
    """What flows on from a frame to the next.

    `detail` (1, 3, H, W): the dream minus the source. `direction` (1, 3, H, W): the direction of
    ascent, as a change in [0, 1] per level of climb. `level` (1, 1, H, W): the share of its
    dreaming that each place has had, from 0 to 1.
    """

    detail: Tensor
    direction: Tensor
    level: Tensor

    def fullness(self) -> float:
        """The mean size of the detail, where there is some."""
        size = (self.level * self.detail.abs()).mean()
        return float(size / self.level.mean().clamp_min(TINY))

    def along(self, motion: Motion) -> "Carried":
        """This, warped onto the next frame's grid; nothing where that was not seen before."""
        size, device = (self.detail.shape[2], self.detail.shape[3]), self.detail.device
        flow = flow_at(motion.flow, size, device)
        seen = share_at(motion.carried, size, device)
        warped = seen * warp(torch.cat([self.detail, self.direction, self.level], 1), flow)
        return Carried(warped[:, :3], warped[:, 3:6], warped[:, 6:].clamp(0, 1))


def hold_light(dreamed: Tensor, source: Tensor, share: float) -> Tensor:
    """`dreamed` less a `share` of the broad light and colour that it added to `source`."""
    if share == 0:
        return dreamed
    size = (dreamed.shape[2], dreamed.shape[3])
    cell = max(1, round(min(size) / BROAD_CELLS))
    cells = (math.ceil(size[0] / cell), math.ceil(size[1] / cell))
    broad = blur(resize(dreamed - source, cells), 1.0)
    return (dreamed - share * resize(broad, size)).clamp(0, 1)


def mixed(source: Tensor, dreamed: Tensor, mix: float) -> Tensor:
    """The picture that is shown: `mix` of `dreamed`, the rest `source`."""
    return dreamed if mix == 1 else source.lerp(dreamed, mix)
