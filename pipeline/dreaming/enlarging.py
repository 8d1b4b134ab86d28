"""Dreaming small and showing large: detail is dreamed at `dream.width`, enlarged, and added to the
source in its full size."""

import torch.nn.functional as F
from torch import Tensor

from dreamreel.pipeline.config.fields import Dream
from dreamreel.pipeline.frames import Box
from dreamreel.pipeline.tensors import blur

# Detail varies from pixel to pixel by chance, which shows as a mesh once it is enlarged: it is
# blurred by MESH_SIGMA pixels. Then edges are sharpened by the share SHARPER, SHARP_SIGMA pixels
# wide.
MESH_SIGMA, SHARPER, SHARP_SIGMA = 0.6, 0.6, 1.5


def scale_of(settings: Dream, width: int) -> float:
    """The size at which frames of that `width` are dreamed, over their own; at most 1."""
    return 1.0 if settings.width is None else min(1.0, settings.width / width)


def shrunk(box: Box, scale: float) -> Box:
    """`box` of a frame, in the frame at that `scale`."""
    sides = (round(side * scale) for side in (box.left, box.top, box.right, box.bottom))
    return box if scale == 1 else Box(*sides)


def enlarged(detail: Tensor, size: tuple[int, int]) -> Tensor:
    """`detail` (1, 3, h, w), a dream minus its source, at the larger `size` (height, width)."""
    if tuple(detail.shape[2:]) == size:
        return detail
    calm = blur(detail, MESH_SIGMA)
    sharp = calm + SHARPER * (calm - blur(calm, SHARP_SIGMA))
    return F.interpolate(sharp, size, mode="bicubic", align_corners=False)
