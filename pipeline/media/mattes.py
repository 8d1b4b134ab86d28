"""Mattes: pictures, films and series that say where in a source something is."""

import math
from bisect import bisect_right
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dreamreel.pipeline.config.fields import Source
from dreamreel.pipeline.config.keys import parse_key
from dreamreel.pipeline.errors import UserError, missing, usable
from dreamreel.pipeline.frames import Frame
from dreamreel.pipeline.media.clips import Clip, probe
from dreamreel.pipeline.media.exr import exr_pixels
from dreamreel.pipeline.media.reading import read_frames
from dreamreel.pipeline.media.sequences import numbers_of
from dreamreel.pipeline.media.stills import UNREADABLE

Matte = NDArray[np.float32]  # (H, W), from 0, outside, to 1, inside
LUMA = (0.114, 0.587, 0.299)  # weights of blue, green and red (ITU-R BT.601)
# Levels of 255 from black and from white that count as these: what encoders leave in flat places.
ENCODED = 2.5
UNLIKE = 0.01  # share by which the shape of a matte may differ from its source's; sides are rounded


@dataclass(frozen=True)
class Mattes:
    """The mattes in the file or files of `clip`: their alpha, if `by_alpha`, or their luma.

    `numbers` are the frames of the source that they are for, of a series; those of a film are for
    the source's frames at the same time. A single picture is for all frames, unless it is
    `painted` for the first.
    """

    clip: Clip
    by_alpha: bool
    numbers: tuple[int, ...] | None
    painted: bool = False

    @property
    def is_still(self) -> bool:
        """Whether there is one matte, for all frames."""
        return self.numbers == (0,) and not self.painted

    def matte(self, frame: Frame) -> Matte:
        """The matte in a `frame` of the clip."""
        levels = np.float32(255 if frame.dtype == np.uint8 else 65535)
        if self.by_alpha:
            found = frame[..., 3] / levels
        else:
            found = frame[..., :3] @ np.array(LUMA, np.float32) / levels
        found[found < ENCODED / 255] = 0
        found[found > 1 - ENCODED / 255] = 1
        return np.asarray(found, np.float32)

    def number_at(self, number: int, source: Clip) -> int:
        """The number of the matte for the frame `number` of `source`."""
        if self.is_still:
            return 0
        if self.numbers is not None or same_times(self.clip, source):
            return number
        return shown_number(self.clip, source.shown_at(number))


def find_mattes(path: Path, settings: Source, painted: bool = False) -> Mattes:
    """The mattes at `path`: a picture, a film, an animation, or a folder or pattern of numbered
    pictures. Pictures are cropped as `settings` say. With `painted`, they are for single frames.

    Raises UserError where there are none, where numbers are missing, and where a film is `painted`.
    """
    with usable(path):
        if not path.exists() and not any(one in path.name for one in "%*?["):
            raise _no_file(path)
    clip = probe(path, Source(crop=settings.crop, crop_at=settings.crop_at))
    if clip.series is None:
        if painted:
            raise UserError(
                f"mask.carry: {path} has a mask for every frame already; leave mask.carry out, or "
                "give a picture, or a folder of numbered ones"
            )
        return Mattes(clip, _by_alpha(clip), None)
    numbers = numbers_of(clip.series)
    if numbers is None or len(set(numbers)) < len(numbers):
        raise UserError(f"{path} holds no one series of numbered masks, such as 0001.png, 0002.png")
    numbers = tuple(number - numbers[0] for number in numbers)
    if not painted and (lost := clip.series.missing):
        raise UserError(
            f"{path} has no mask of number {lost[0]}; --set mask.carry=true carries each along the "
            "flow to the next"
        )
    return Mattes(clip, _by_alpha(clip), numbers, painted)


def check_shape(mattes: Mattes, size: tuple[int, int], shape: Fraction = Fraction(1)) -> None:
    """Raise UserError unless `mattes` have the shape of a source of `size` (height, width), whose
    pixels are `shape` times as wide as high."""
    height, width = size
    clip = mattes.clip
    own, shown = clip.width / clip.height, clip.width / clip.height * float(clip.pixel_shape)
    wanted = width / height
    near = (abs(own / wanted - 1), abs(shown / (wanted * float(shape)) - 1))
    if min(near) > UNLIKE:
        raise UserError(
            f"{clip.path} is {clip.width}x{clip.height}, and the source {width}x{height}: a mask "
            "needs the source's shape, at any size"
        )


def check_length(mattes: Mattes, source: Clip, first: int, stop: int | None) -> None:
    """Raise UserError unless `mattes` reach from the frame `first` of `source` to the frame before
    `stop`, or to its end."""
    numbers, clip = mattes.numbers, mattes.clip
    if mattes.is_still or mattes.painted:
        return
    ends = [end for end in (stop, source.frames) if end is not None]
    have = clip.frames if numbers is None else numbers[-1] + 1
    if not ends or have is None:
        return
    last = mattes.number_at(min(ends) - 1, source)
    if last >= have:
        raise UserError(
            f"{clip.path} has {have} masks, and the dream needs {last + 1}; a longer mask works, "
            f"or fewer frames"
        )


def same_times(one: Clip, other: Clip) -> bool:
    """Whether frames of the same number are shown at the same time in the two."""
    return one.rate == other.rate and not one.times and not other.times


def shown_number(clip: Clip, time: Fraction) -> int:
    """The number of the frame of `clip` shown `time` seconds after the first; past its end, that
    which it would have."""
    early = time + Fraction(1, 2000)  # a time stamp is rounded to a thousandth of a second
    if clip.times and early < clip.times[-1]:
        return bisect_right(clip.times, early) - 1
    if clip.times:
        beyond = early - clip.times[-1]
        return len(clip.times) - 1 + math.floor(beyond * clip.rate)
    return math.floor(early * clip.rate)


class MatteReader:
    """Reads `mattes` of a `source`, or of a picture (None), in the order of its frames."""

    def __init__(self, mattes: Mattes, source: Clip | None) -> None:
        self._mattes, self._source = mattes, source
        self._frames: Generator[Frame, None, None] | None = None
        self._number, self._last = -1, np.zeros((1, 1), np.float32)

    def painted_at(self, number: int) -> int | None:
        """The frame, not after the frame `number`, that the last matte until then is for; None if
        there is none."""
        numbers = self._mattes.numbers or ()
        at = bisect_right(numbers, number) - 1
        return numbers[at] if at >= 0 else None

    def at(self, number: int, size: tuple[int, int]) -> Matte:
        """The matte for the frame `number`, resized to `size` (height, width). Raises UserError
        where there is none."""
        mattes = self._mattes
        wanted = number if self._source is None else mattes.number_at(number, self._source)
        if mattes.numbers is not None:
            wanted = 0 if mattes.is_still else mattes.numbers.index(wanted)
        return fitted(self._read(wanted), size)

    def close(self) -> None:
        """End reading."""
        if self._frames is not None:
            self._frames.close()

    def _read(self, wanted: int) -> Matte:
        if wanted == self._number:
            return self._last
        if self._frames is None or wanted < self._number:
            self.close()
            self._frames, self._number = read_frames(self._mattes.clip, wanted), wanted - 1
        frame = None
        while self._number < wanted:
            frame, self._number = next(self._frames, None), self._number + 1
            if frame is None:
                raise UserError(f"{self._mattes.clip.path} has no mask of number {self._number}")
        assert frame is not None
        light = self._light(wanted)
        self._last = self._mattes.matte(frame) if light is None else light
        return self._last

    def _light(self, number: int) -> Matte | None:
        """The matte in an OpenEXR file, whose values are shares, not light; None for others."""
        clip = self._mattes.clip
        if clip.series is None or clip.crop is not None:
            return None
        path = clip.series.files[number]
        return linear_matte(path, self._mattes.by_alpha) if path.suffix.lower() == ".exr" else None


def linear_matte(path: Path, by_alpha: bool) -> Matte | None:
    """The matte in the OpenEXR file at `path`, as its values are: alpha, or luma. None where it
    cannot be read."""
    try:
        values = exr_pixels(path.read_bytes())
    except UNREADABLE:
        return None
    if by_alpha:
        found = values[..., -1]
    else:
        colours = values[..., :3] if values.shape[2] >= 3 else values[..., :1]
        found = colours @ np.array(LUMA, np.float32) if colours.shape[2] == 3 else colours[..., 0]
    return np.clip(np.nan_to_num(found, nan=0.0, posinf=1.0), 0, 1).astype(np.float32)


def fitted(matte: Matte, size: tuple[int, int]) -> Matte:
    """`matte` resized to `size` (height, width)."""
    if matte.shape == size:
        return matte
    shrinks = size[0] * size[1] < matte.size
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(matte, size[::-1], interpolation=way), np.float32)


def shaped(matte: Matte, invert: bool, grow: float, feather: float) -> Matte:
    """`matte` inverted, then grown, below 0 shrunk, then feathered; both in shorter sides."""
    side = min(matte.shape)
    found: Any = 1 - matte if invert else matte
    radius = round(abs(grow) * side)
    if radius:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
        found = (cv2.dilate if grow > 0 else cv2.erode)(
            found, disc, borderType=cv2.BORDER_REPLICATE
        )
    sigma = feather * side
    if sigma > 0:
        kernel = 2 * math.ceil(3 * sigma) + 1  # it ends, so that what is far stays outside
        found = cv2.GaussianBlur(found, (kernel, kernel), sigma, borderType=cv2.BORDER_REFLECT_101)
        found = np.where(found < 1 / 512, 0, np.where(found > 1 - 1 / 512, 1, found))
    return np.ascontiguousarray(found, np.float32)


def _by_alpha(clip: Clip) -> bool:
    """Whether the mattes of `clip` are in its alpha: it has some that is not opaque."""
    if not clip.has_alpha:
        return False
    with closing(read_frames(clip)) as frames:
        return any(int(frame[..., 3].min()) < np.iinfo(frame.dtype).max for frame in frames)


def _no_file(path: Path) -> UserError:
    try:
        parse_key(str(path))
    except ValueError:
        return missing(path, "mask file")
    return UserError(f"there is no mask file {path}; a key is given by mask.key")
