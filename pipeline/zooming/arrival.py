"""The arrival of a zoom at its goal, which is blended into the canvas without a visible edge.

The goal, with picture around it, is larger than a frame. As the camera comes nearer, more and more
of it replaces the canvas, from its middle outwards: coarse bands first and finest last (multiband
blending, Burt & Adelson, 1983, spread over time).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline.tensors import resize
from dreamreel.pipeline.zooming.bands import join, split
from dreamreel.pipeline.zooming.camera import view
from dreamreel.pipeline.zooming.journey import apparent_scale, nearness

AROUND = 0.35  # of a frame's height: how much picture there is around what is arrived at
# The size, in frames, at which it begins to show, and at which its middle is there.
EMERGES = (0.05, 0.25)
LIKE_IT = (0.025, 0.4)  # and that at which light and colour begin to be its own, and are
# How far from its middle it is all there, in halves of a frame: as it emerges, and in the end.
INNER = (0.2, 1.9)
FALL = (0.2, 0.35, 0.55, 0.8, 1.0)  # and over how much more it ends, from the finest band on
# Times as large as its light, at which its detail emerges, from the finest band on. Until then the
# dream draws its own: else the goal would be a small picture inside the picture.
LATER = (3.4, 3.0, 2.2, 1.5, 1.0)
LEAST_FALL = 0.03
INLAY = 0.7  # of a frame's height: the edge of a picture on its dream, while it is far
WAVES = ((3, 0.3, 0.06), (5, 1.9, 0.04), (8, 4.0, 0.03))  # of its outline: count, phase, size


def arrived(
    canvas: Tensor, goal: Tensor, back: Tensor, unit: int, began: float, before: float
) -> Tensor:
    """`canvas` (1, 3, H, W), with the share of `goal` (1, 3, H', W') that this frame adds to it.

    A frame is `unit` pixels high. The homography `back` leads from the frame's coordinates to the
    goal's. `before` is the goal's scale one frame earlier: what was opaque then is in the canvas
    already. `began` is its scale in the first frame of the way there.
    """
    scale = apparent_scale(back)
    if nearness(scale, max(EMERGES[0], began), EMERGES[1]) == 0:
        return canvas
    size, whole = (canvas.shape[2], canvas.shape[3]), (goal.shape[2], goal.shape[3])
    there = view(back, size, unit, canvas.device, whole)
    small = (max(2, round(whole[0] * scale)), max(2, round(whole[1] * scale)))
    near = there.of(resize(goal, small) if scale < 0.75 else goal)
    bands, rest = split(canvas)
    near_bands, near_rest = split(near)
    mixed = []
    layers = zip([*bands, rest], [*near_bands, near_rest], strict=True)
    for number, (one, other) in enumerate(layers):
        fall, later = FALL[min(number, len(FALL) - 1)], LATER[min(number, len(LATER) - 1)]
        first, last = later * max(EMERGES[0], began), max(later * EMERGES[1], 1.5 * began)
        had, has = (
            nearness(at, first, min(last, 0.9)) ** 2 * opacity(there.grid, whole, unit, at, fall)
            for at in (before, scale)
        )
        # Blending `more` over what is opaque to `had` makes it opaque to `has`.
        more = ((has - had) / (1 - had).clamp_min(1e-3)).clamp(0, 1) * there.seen
        more = torch.where(has > 0.999, there.seen, more)
        mixed.append(one.lerp(other, F.interpolate(more, one.shape[2:], mode="bilinear")))
    return join(mixed[:-1], mixed[-1]).clamp(0, 1)


def inlaid(goal: Tensor, image: Tensor, scale: float) -> Tensor:
    """`goal` (1, 3, H', W'), a dream, with `image` (1, 3, H, W), from which it was dreamed, blended
    into its middle. The seam between them is soft; at `scale` 1, all of `image` shows."""
    height, width = image.shape[2:]
    down, across = (
        torch.minimum(place, side - place)
        for side, place in (
            (side, torch.arange(side, device=image.device) + 0.5) for side in (height, width)
        )
    )
    inside = torch.minimum(down[:, None], across[None]).to(image) / height
    share = (inside / max(INLAY * (1 - scale), 0.5 / height)).clamp(0, 1)
    margins = [(goal.shape[axis] - image.shape[axis]) // 2 for axis in (3, 3, 2, 2)]
    return goal.lerp(F.pad(image, margins), F.pad(share[None, None], margins))


def opacity(grid: Tensor, size: tuple[int, int], unit: int, scale: float, fall: float) -> Tensor:
    """The opacity of the goal, (1, 1, H, W) from 0 to 1, at its places `grid` (1, H, W, 2), which
    are in grid_sample's coordinates.

    The goal has that `size` (height, width) and is seen at that `scale`; a frame is `unit` pixels
    high. `fall` is the width of its soft edge while it is far, in halves of a frame.
    """
    height, width = size
    aspect = (width - (height - unit)) / unit  # of a frame: the goal has equal margins on all sides
    x, y = grid[..., 0] * (width / unit / aspect), grid[..., 1] * (height / unit)
    far = min(max((1 - scale) / (1 - EMERGES[1]), 0.0), 1.0)
    angle = torch.atan2(y, x)
    waves = sum(high * torch.sin(count * angle + phase) for count, phase, high in WAVES)
    distance = torch.hypot(x, y) * (1 + far * waves)
    inner = INNER[1] - (INNER[1] - INNER[0]) * far**0.8
    soft = LEAST_FALL + fall * far
    share = ((inner + soft - distance) / soft).clamp(0, 1)
    return (share * share * (3 - 2 * share))[:, None]


def around(unit: int) -> int:
    """The margin around a goal, in pixels, for frames `unit` pixels high; an even number."""
    return 2 * math.ceil(AROUND * unit / 2)
