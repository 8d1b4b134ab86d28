"""Cropping: the part of a picture that is kept, by `source.crop` and `source.crop_at`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np

from dreamreel.pipeline.config.fields import Source
from dreamreel.pipeline.config.values import parse_crop
from dreamreel.pipeline.frames import Frame


@dataclass(frozen=True)
class Crop:
    """The part of a picture that is kept, in pixels: its top left corner, its height and width, and
    the `size` (height, width) to which it is then resized."""

    top: int
    left: int
    height: int
    width: int
    size: tuple[int, int]

    @property
    def part(self) -> tuple[slice, slice]:
        """The rows and the columns that are kept."""
        across = slice(self.left, self.left + self.width)
        return slice(self.top, self.top + self.height), across


def crop_of(
    size: tuple[int, int], settings: Source, pixel_shape: Fraction = Fraction(1)
) -> Crop | None:
    """The crop that `settings` ask for of pictures of `size` (height, width), whose pixels are
    `pixel_shape` times as wide as high. None if nothing is cut away or resized."""
    if settings.crop is None:
        return None
    shape, exact = parse_crop(settings.crop)
    height, width = size
    kept = shape / pixel_shape  # width over height, in pixels of the source
    rows, columns = height, width
    if kept * height < width:
        columns = _even(kept * height, width)
    else:
        rows = _even(width / kept, height)
    top = (height - rows) * {"top": 0, "bottom": 2}.get(settings.crop_at, 1) // 2
    left = (width - columns) * {"left": 0, "right": 2}.get(settings.crop_at, 1) // 2
    crop = Crop(top, left, rows, columns, exact or (rows, columns))
    return None if (rows, columns) == size == crop.size else crop


def cropped(frames: Iterable[Frame], crop: Crop | None) -> Iterator[Frame]:
    """`frames` cropped and resized as `crop` says; unchanged where it is None."""
    for frame in frames:
        yield frame if crop is None else scaled(frame[crop.part], crop.size)


def scaled(frame: Frame, size: tuple[int, int]) -> Frame:
    """`frame` resized to `size` (height, width)."""
    height, width = frame.shape[:2]
    if size == (height, width):
        return np.ascontiguousarray(frame)
    way = cv2.INTER_AREA if size[0] * size[1] < height * width else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(frame, size[::-1], interpolation=way), frame.dtype)


def _even(wanted: Fraction, most: int) -> int:
    """The even number nearest to `wanted` from 2 on, or `most` where that is less: most codecs take
    even sides only."""
    return min(max(2, 2 * round(wanted / 2)), most)
