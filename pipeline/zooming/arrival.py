"""How a zoom arrives: the picture that it leads to grows out of what is there, and shows no edge.

That picture is larger than a frame. As it comes nearer, ever more of it takes the place of what is
there, from its middle outwards: its broad light first, its detail last (the splines of Burt &
Adelson, 1983, over time).
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
LEAST_FALL = 0.03
INLAY = 0.7  # of a frame's height: the edge of a picture on its dream, while it is far
WAVES = ((3, 0.3, 0.06), (5, 1.9, 0.04), (8, 4.0, 0.03))  # of its outline: count, phase, size


def arrived(
    canvas: Tensor, goal: Tensor, back: Tensor, unit: int, began: float, before: float
) -> Tensor:
    """`canvas` (1, 3, H, W), of frames `unit` pixels high, with more of the `goal`, still far away,
    in its place: where the homography `back` leads from a frame's coordinates to the goal's own.

    `before`: its scale a frame before, of which the canvas has its share already; it `began` to be
    headed for at that scale.
    """
    scale = apparent_scale(back)
    emerging = [nearness(one, max(EMERGES[0], began), EMERGES[1]) ** 2 for one in (before, scale)]
    if emerging[1] == 0:
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
        fall = FALL[min(number, len(FALL) - 1)]
        had, has = (
            share * opacity(there.grid, whole, unit, at, fall)
            for share, at in zip(emerging, (before, scale), strict=True)
        )
        # What was opaque to `had` is, by this, opaque to `has`.
        more = ((has - had) / (1 - had).clamp_min(1e-3)).clamp(0, 1) * there.seen
        more = torch.where(has > 0.999, there.seen, more)
        mixed.append(one.lerp(other, F.interpolate(more, one.shape[2:], mode="bilinear")))
    return join(mixed[:-1], mixed[-1]).clamp(0, 1)


def inlaid(goal: Tensor, image: Tensor, scale: float) -> Tensor:
    """`goal`, dreamed, with `image` (1, 3, H, W), which it was dreamed of, in its middle: nothing
    of the one passes into the other abruptly, and at the scale 1 `image` is all there."""
    height, width = image.shape[2:]
    down, across = (
        torch.minimum(place, side - place)
        for side, place in ((side, torch.arange(side) + 0.5) for side in (height, width))
    )
    inside = torch.minimum(down[:, None], across[None]).to(image) / height
    share = (inside / max(INLAY * (1 - scale), 0.5 / height)).clamp(0, 1)
    margins = [(goal.shape[axis] - image.shape[axis]) // 2 for axis in (3, 3, 2, 2)]
    return goal.lerp(F.pad(image, margins), F.pad(share[None, None], margins))


def opacity(grid: Tensor, size: tuple[int, int], unit: int, scale: float, fall: float) -> Tensor:
    """How much of the goal is there, (1, 1, H, W) from 0 to 1, at the places of it, of `size`
    (height, width), that `grid` (1, H, W, 2) shows, where it is of that `scale`."""
    height, width = size
    aspect = (width - (height - unit)) / unit  # of a frame, around which there is as much each way
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
    """How many pixels of picture there are around what frames, `unit` pixels high, arrive at."""
    return 2 * math.ceil(AROUND * unit / 2)
