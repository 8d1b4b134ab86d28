"""The camera of the endless zoom: all its motions in one homography, and one resampling a frame.

The camera's velocity is a generator of homographies, and its motion over a time is the matrix
exponential. A second of motion is therefore the same, to rounding, at every frame rate.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Camera
from dreamreel.pipeline.tensors import sample

FOCAL = 1.2  # frame heights: the lens, which perspective alone depends on


@dataclass(frozen=True)
class Velocity:
    """The velocity of the camera, per second.

    The picture grows `zoom` times. The camera rolls by `rotation` degrees, moves right by `pan_x`
    frame widths and down by `pan_y` frame heights, tips up by `tilt` and turns right by `yaw`
    degrees. Zoom and roll keep in place the point `pivot_x` frame widths and `pivot_y` frame
    heights from the centre.
    """

    zoom: float = 1.0
    rotation: float = 0.0
    pan_x: float = 0.0
    pan_y: float = 0.0
    tilt: float = 0.0
    yaw: float = 0.0
    pivot_x: float = 0.0
    pivot_y: float = 0.0

    @classmethod
    def of(cls, settings: Camera) -> "Velocity":
        """The velocity in `settings`."""
        return cls(**{name: getattr(settings, name) for name in cls.__dataclass_fields__})

    def during(self, seconds: float, aspect: float) -> Tensor:
        """The homography (3, 3), float64, from places after `seconds` of this motion to where they
        were before.

        Coordinates are (x, y, 1) from the centre, in frame heights; `aspect` is the frame's width
        over its height.
        """
        return torch.linalg.matrix_exp(seconds * self._generator(aspect))

    def _generator(self, aspect: float) -> Tensor:
        grow, turn = math.log(self.zoom), math.radians(self.rotation)
        tilt, yaw = math.radians(self.tilt), math.radians(self.yaw)
        about = torch.tensor([[-grow, -turn, 0], [turn, -grow, 0], [0, 0, 0]], dtype=torch.float64)
        pivot = torch.tensor([self.pivot_x * aspect, self.pivot_y], dtype=torch.float64)
        about[:2, 2] = -about[:2, :2] @ pivot
        along = torch.zeros(3, 3, dtype=torch.float64)
        along[0, 2], along[1, 2] = self.pan_x * aspect, self.pan_y
        # The lens turned: K [w]x K^-1 (Hartley & Zisserman, 2004, section 8.4), K = diag(f, f, 1).
        lens = torch.tensor(
            [[0, 0, yaw * FOCAL], [0, 0, -tilt * FOCAL], [-yaw / FOCAL, tilt / FOCAL, 0]],
            dtype=torch.float64,
        )
        return about + along + lens


@dataclass(frozen=True)
class View:
    """How a picture is resampled after a motion.

    `grid` (1, H, W, 2): where each place comes from, in grid_sample's coordinates. `seen`
    (1, 1, H, W), 0 to 1: whether it was inside the picture before. `taken`: the shares of the
    finest detail, across and down, that resampling takes there, (1, 1, H, W) each.
    """

    grid: Tensor
    seen: Tensor
    taken: tuple[Tensor, Tensor]

    def of(self, image: Tensor) -> Tensor:
        """`image` (1, C, H, W), resampled by `tensors.sample`; its edge is repeated outwards."""
        return sample(image, self.grid, "border")


def view(
    motion: Tensor,
    size: tuple[int, int],
    unit: int,
    device: torch.device,
    source: tuple[int, int] | None = None,
) -> View:
    """The view of `size` (height, width) after `motion`, a homography from `Velocity.during`.

    The picture that is seen has the size `source` (height, width); None: `size`. A frame is `unit`
    pixels high.
    """
    height, width = size
    y = (torch.arange(height, dtype=torch.float64) + 0.5 - height / 2) / unit
    x = (torch.arange(width, dtype=torch.float64) + 0.5 - width / 2) / unit
    # Term by term, because a matrix product may round differently from process to process.
    from_x, from_y, depth = (
        float(row[0]) * x + (float(row[1]) * y + float(row[2]))[:, None] for row in motion
    )
    height, width = source or size
    column = from_x / depth * unit + width / 2  # pixels from the left edge
    row = from_y / depth * unit + height / 2
    grid = torch.stack([2 * column / width - 1, 2 * row / height - 1], -1)[None]
    edge = torch.stack([column, width - column, row, height - row]).amin(0)
    taken = tuple(_taken(place - 0.5)[None, None].float().to(device) for place in (column, row))
    edge = edge[None, None].float().to(device)
    seen = (edge + 0.5).clamp(0, 1)
    return View(grid.float().to(device), seen, (taken[0], taken[1]))


def _taken(place: Tensor) -> Tensor:
    """The share of the finest detail that is lost at `place`, in pixels: 0 on a pixel's centre, 1
    midway between two."""
    between = place % 1
    return 4 * between * (1 - between)
