"""Frames, in OpenCV's layout.

A frame is an array of shape (H, W, 3), BGR, or (H, W, 4), BGR and alpha. It is uint8, or uint16
from 0 to 65535 if its source has more than 8 bits.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[Any]


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels in a frame or image: from `top` to before `bottom`, and from
    `left` to before `right`."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def whole(cls, frame: Frame) -> "Box":
        """All of `frame`."""
        return cls(0, 0, frame.shape[1], frame.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.bottom - self.top, self.right - self.left

    @property
    def rows(self) -> slice:
        """The rows of an array."""
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        """The columns of an array."""
        return slice(self.left, self.right)

    def around(self, frame: Frame) -> tuple[int, int, int, int]:
        """How many pixels of `frame` lie at the left, the top, the right and the bottom of it."""
        height, width = frame.shape[:2]
        return self.left, self.top, width - self.right, height - self.bottom

    def of(self, frame: Frame) -> Frame:
        """The part of `frame` (H, W, C) in this box, as a view."""
        return frame[self.rows, self.columns]


def to_8_bits(frame: Frame) -> Frame:
    """`frame` as uint8, rounded to the nearest level."""
    if frame.dtype == np.uint8:
        return frame
    return ((frame.astype(np.uint32) + 128) // 257).astype(np.uint8)


def with_alpha(frame: Frame, source: Frame) -> Frame:
    """`frame` (H, W, 3) with the alpha of `source` (H, W, 4), as (H, W, 4); unchanged if `source`
    has no alpha."""
    if source.shape[2] == 3:
        return frame
    alpha = source[..., 3]
    if alpha.dtype != frame.dtype:
        deeper = frame.dtype == np.uint16
        alpha = alpha.astype(np.uint16) * 257 if deeper else to_8_bits(alpha)
    return np.dstack([frame, alpha])


def fitted_size(
    height: int, width: int, new_width: int | None, pixel_shape: Fraction = Fraction(1)
) -> tuple[int, int]:
    """The size (height, width) at `new_width`, with the same aspect ratio; unchanged for None.

    Pixels of another `pixel_shape` (width over height) than 1 are then made square: the side that
    has too many is made shorter.
    """
    if new_width is not None:
        height, width = max(1, round(height * new_width / width)), new_width
    if pixel_shape < 1:
        return height, max(1, round(width * pixel_shape))
    return max(1, round(height / pixel_shape)), width


def upright(pixels: Frame, orientation: int) -> Frame:
    """`pixels` turned upright by the EXIF `orientation`, 1 to 8 (Exif 2.3, 4.6.4 A)."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    down, across = ((1, 1), (1, -1), (-1, -1), (-1, 1))[(orientation - 1) % 4]
    return pixels[::down, ::across]
