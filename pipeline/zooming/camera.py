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
    (1, 1, H, W), 0 to 1: whether it was inside the picture before, as all places were if it is
    `whole`. `taken`: the shares of the finest detail, across and down, that resampling takes there,
    (1, 1, H, W) each.
    """

    grid: Tensor
    seen: Tensor
    taken: tuple[Tensor, Tensor]
    whole: bool

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
    rows: list[list[float]] = motion.tolist()
    exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
    y, x = ((torch.arange(side, dtype=exact, device=device) + 0.5 - side / 2) / unit
            for side in size)  # fmt: skip
    column, row, edge = _seen_at(rows, x, y[:, None], unit, source or size)
    height, width = source or size
    grid = torch.stack([2 * column / width - 1, 2 * row / height - 1], -1)[None].float()
    across, down = (_taken(place - 0.5)[None, None].float() for place in (column, row))
    seen = (edge[None, None].float() + 0.5).clamp(0, 1)
    # Straight lines stay straight: where the corners are seen, all is.
    corners = (torch.tensor([0.5 - side / 2, side / 2 - 0.5], dtype=torch.float64) / unit
               for side in size)  # fmt: skip
    y, x = corners
    whole = bool((_seen_at(rows, x, y[:, None], unit, source or size)[2] >= 0.5).all())
    return View(grid, seen, (across, down), whole)


def _seen_at(
    motion: list[list[float]], x: Tensor, y: Tensor, unit: int, source: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels from the left and from the upper edge of a picture of the size `source` at which
    the places (`x`, `y`), in frame heights, are seen after `motion`, and those to its nearest
    edge."""
    # Term by term, because a matrix product may round differently from process to process.
    from_x, from_y, depth = (row[0] * x + (row[1] * y + row[2]) for row in motion)
    column = from_x / depth * unit + source[1] / 2
    row = from_y / depth * unit + source[0] / 2
    edge = torch.stack([column, source[1] - column, row, source[0] - row]).amin(0)
    return column, row, edge


def _taken(place: Tensor) -> Tensor:
    """The share of the finest detail that is lost at `place`, in pixels: 0 on a pixel's centre, 1
    midway between two."""
    between = place % 1
    return 4 * between * (1 - between)
