"""The camera of the endless zoom: one transform, one resampling a frame."""

from dataclasses import dataclass
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline import settings
from dreamreel.pipeline.images import sample


@dataclass(frozen=True)
class Camera:
    """A motion: `zoom` times nearer, turned by `rotation` degrees, moved right and down by
    `pan_x` frame widths and `pan_y` frame heights."""

    zoom: float = 1.0
    rotation: float = 0.0
    pan_x: float = 0.0
    pan_y: float = 0.0

    @classmethod
    def from_settings(cls, chosen: settings.Camera) -> "Camera":
        """The motion of one second."""
        return cls(chosen.zoom, chosen.rotation, chosen.pan_x, chosen.pan_y)

    def during(self, seconds: Fraction) -> "Camera":
        """This motion, of one second, kept up for `seconds`."""
        share = float(seconds)
        return Camera(
            self.zoom**share, self.rotation * share, self.pan_x * share, self.pan_y * share
        )


def move(image: Tensor, camera: Camera) -> Tensor:
    """What the camera sees of `image` (1, 3, H, W) after its motion; see `images.sample`.

    Where it looks past the edge, by a turn or a pan that the zoom does not cover, the picture
    goes on mirrored, so that no border shows.
    """
    height, width = image.shape[2:]
    turn = torch.deg2rad(torch.tensor(camera.rotation))
    cos, sin = float(turn.cos()) / camera.zoom, float(turn.sin()) / camera.zoom
    # In grid_sample's coordinates both sides span -1 to 1, whatever the shape.
    transform = torch.tensor(
        [
            [cos, -sin * height / width, 2 * camera.pan_x],
            [sin * width / height, cos, 2 * camera.pan_y],
        ],
        device=image.device,
    )
    grid = F.affine_grid(transform[None], list(image.shape), align_corners=False)
    return sample(image, grid, "reflection").clamp(0, 1)


def hold_colours(image: Tensor, reference: Tensor, share: float) -> Tensor:
    """`image` with each channel's mean and spread drawn by `share` (0 to 1) to those of
    `reference`: a dream that feeds on itself does not burn out or fade."""
    mean, spread = image.mean((2, 3), keepdim=True), image.std((2, 3), keepdim=True)
    to_mean, to_spread = reference.mean((2, 3), keepdim=True), reference.std((2, 3), keepdim=True)
    held = (image - mean) * (to_spread / spread.clamp_min(1e-3)) + to_mean
    return image.lerp(held, share).clamp(0, 1)
