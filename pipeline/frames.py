"""Frames: pictures as OpenCV has them.

A frame is an array of shape (H, W, 3), BGR, or (H, W, 4), with alpha; uint8, or uint16 of the full
range, 0 to 65535, where its source is deeper.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[Any]


def to_8_bits(frame: Frame) -> Frame:
    """`frame` with 8 bits a colour, rounded."""
    if frame.dtype == np.uint8:
        return frame
    return ((frame.astype(np.uint32) + 128) // 257).astype(np.uint8)


def with_alpha(frame: Frame, source: Frame) -> Frame:
    """`frame` (H, W, 3), as transparent as `source` (H, W, 4), or as it is where that has none."""
    if source.shape[2] == 3:
        return frame
    alpha = source[..., 3]
    if alpha.dtype != frame.dtype:
        deeper = frame.dtype == np.uint16
        alpha = alpha.astype(np.uint16) * 257 if deeper else to_8_bits(alpha)
    return np.dstack([frame, alpha])


def fitted_size(height: int, width: int, new_width: int | None) -> tuple[int, int]:
    """(height, width) at `new_width`, keeping the shape; unchanged where none is asked for."""
    if new_width is None:
        return height, width
    return max(1, round(height * new_width / width)), new_width
