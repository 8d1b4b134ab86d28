"""Where in each frame the dream is: mattes, keys of the frame itself, and masks that follow the
flow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dreamreel.pipeline.config.fields import Mask, Settings
from dreamreel.pipeline.config.keys import Key, parse_key
from dreamreel.pipeline.frames import Box, Frame
from dreamreel.pipeline.media.mattes import LUMA, Matte, MatteReader, shaped
from dreamreel.pipeline.motion.following import MovingFrame
from dreamreel.pipeline.motion.visibility import Motion
from dreamreel.pipeline.motion.warping import flow_at, warp
from dreamreel.pipeline.tensors import resize

# Chroma in OKLab above which a key's colour is one, so that its lightness hardly counts: a screen
# has lights and shadows. The pure green of a screen has 0.29, and a grey has 0.
COLOURFUL, LIGHTNESS_COUNTS = 0.08, 0.25
# Motion in a frame, in shorter sides: from the first on, a place moves in part, from the second on
# wholly. 0.4 and 1.0 pixels at the 240 at which flow is estimated, which errs by about 0.2.
MOVES = (0.0017, 0.0042)

# From linear sRGB to the responses of cones, and from their cube roots to OKLab.
TO_CONES = np.array(
    [
        [0.4122214708, 0.2119034982, 0.0883024619],
        [0.5363325363, 0.6806995451, 0.2817188376],
        [0.0514459929, 0.1073969566, 0.6299787005],
    ],
    np.float32,
)
TO_LAB = np.array(
    [
        [0.2104542553, 1.9779984951, 0.0259040371],
        [0.7936177850, -2.4285922050, 0.7827717662],
        [-0.0040720468, 0.4505937099, -0.8086757660],
    ],
    np.float32,
)
Segmenter = Callable[[Frame], NDArray[np.float32]]  # the share (C, H, W) of each class in a frame


@dataclass
class Painted:
    """A mask that follows the flow from the frame of the number `number`, for which it was painted.

    `moved` (1, 2, H, W): from each place of the picture now to its place then, in pixels. The mask
    itself is resampled once, however far it has come, and stays as sharp as it was painted.
    """

    number: int
    moved: Tensor

    def along(self, motion: Motion) -> "Painted":
        """The same for the next frame."""
        size = (self.moved.shape[2], self.moved.shape[3])
        flow = flow_at(motion.flow, size, self.moved.device)
        return Painted(self.number, flow + warp(self.moved, flow))

    def refitted(self, box: Box, to: Box) -> "Painted":
        """The same, of the picture in `box` of a frame, for the picture in the box `to`."""
        if box == to:
            return self
        rows = (torch.arange(to.top, to.bottom) - box.top).clamp(0, box.size[0] - 1)
        columns = (torch.arange(to.left, to.right) - box.left).clamp(0, box.size[1] - 1)
        return Painted(self.number, self.moved[:, :, rows][:, :, :, columns].contiguous())


@dataclass(frozen=True)
class Masks:
    """The masks of a picture, (1, 1, H, W) each, 0 to 1: those of the `regions`, if there are any,
    and the `whole`, outside of which nothing is dreamed."""

    whole: Tensor
    regions: tuple[Tensor, ...] = ()

    def at(self, size: tuple[int, int]) -> "Masks":
        """These masks at `size` (height, width)."""
        whole, *regions = (resize(one, size) for one in (self.whole, *self.regions))
        return Masks(whole, tuple(regions))


@dataclass(frozen=True)
class Masking:
    """What makes the masks of a render: for each of `settings.masks`, the reader of its mattes, if
    it has some. `segment` finds classes, if some mask needs them."""

    readers: Sequence[MatteReader | None]
    device: torch.device
    segment: Segmenter | None = None

    def follow(
        self, painted: Sequence[Painted | None], moving: MovingFrame, settings: Settings
    ) -> list[Painted | None]:
        """The masks that follow the flow at the frame `moving`: for each of `settings.masks`, that
        painted for it, or the one of `painted` that it had in the frame before, moved on. None for
        one that is not carried, or not painted in this shot yet."""
        found: list[Painted | None] = []
        for at, (mask, reader) in enumerate(zip(settings.masks, self.readers, strict=True)):
            before = painted[at] if painted else None
            if reader is None or not mask.carry:
                found.append(None)
            elif reader.painted_at(moving.number) == moving.number:
                still = torch.zeros(1, 2, *moving.box.size, device=self.device)
                found.append(Painted(moving.number, still))
            elif before is None or moving.motion is None:
                found.append(None)
            else:
                found.append(before.along(moving.motion))
        return found

    def of(
        self, moving: MovingFrame, settings: Settings, painted: Sequence[Painted | None] = ()
    ) -> Masks:
        """The masks of the picture of `moving`, by the `settings` of its frame. `painted` are the
        masks that follow the flow, as `follow` gives them."""
        *regions, whole = (
            self._mask(mask, reader, moving, painted[at] if painted else None)
            for at, (mask, reader) in enumerate(zip(settings.masks, self.readers, strict=True))
        )
        inner = tuple(region * whole for region in regions)
        return Masks(torch.stack(inner).amax(0) if inner else whole, inner)

    def close(self) -> None:
        """End reading."""
        for reader in self.readers:
            if reader is not None:
                reader.close()

    def _mask(
        self, mask: Mask, reader: MatteReader | None, moving: MovingFrame, painted: Painted | None
    ) -> Tensor:
        """The mask (1, 1, H, W) of the picture of `moving`."""
        found: Matte | None = np.ones(moving.box.size, np.float32)
        if reader is not None and mask.carry:
            found = None if painted is None else _moved(reader, painted, moving)
        elif reader is not None:
            found = moving.box.of(reader.at(moving.number, _size(moving.frame)))
        if mask.key is not None and found is not None:
            keyed = self._keyed(parse_key(mask.key), mask.tolerance, moving)
            found = None if keyed is None else found * keyed
        if found is None:  # nothing is known of this frame
            shape = np.zeros(moving.box.size, np.float32)
        else:
            shape = shaped(found, mask.invert, mask.grow, mask.feather)
        return torch.from_numpy(shape)[None, None].to(self.device)

    def _keyed(self, key: Key, tolerance: float, moving: MovingFrame) -> Matte | None:
        """The matte of `key` of the picture of `moving`; None where nothing can be told."""
        picture = moving.picture
        match key.kind:
            case "alpha":
                return _alpha(picture)
            case "colour":
                return like_colour(picture, key.colour, tolerance)
            case "light":
                return as_light_as(picture, key.span, tolerance)
            case "motion" if moving.motion is None:
                return None
            case "motion":
                assert moving.motion is not None
                moves = moving_in(moving.motion, moving.box.size)
                return moves if key.moves else 1 - moves
            case _:
                assert self.segment is not None
                return np.ascontiguousarray(self.segment(picture)[key.number])


def like_colour(picture: Frame, colour: tuple[int, int, int], tolerance: float) -> Matte:
    """How far each place of `picture` (H, W, 3 or 4) has the `colour` (red, green, blue): 1 up to
    the distance `tolerance` in OKLab, 0 from twice that on. Lightness hardly counts, unless the
    colour is a grey."""
    wanted = oklab(np.array(colour[::-1], np.uint8).reshape(1, 1, 3))
    chroma = float(np.hypot(wanted[0, 0, 1], wanted[0, 0, 2]))
    lightness = 1 - (1 - LIGHTNESS_COUNTS) * min(chroma / COLOURFUL, 1)
    away = (oklab(picture) - wanted) * np.array([lightness, 1, 1], np.float32)
    return _falling(np.sqrt(np.square(away).sum(2)), tolerance, 2 * tolerance)


def as_light_as(picture: Frame, span: tuple[float, float], tolerance: float) -> Matte:
    """How far the luma of each place of `picture` (H, W, 3 or 4) lies in `span`, 0 to 1: 1 inside,
    falling to 0 within `tolerance` beyond either end."""
    light = _unit(picture) @ np.array(LUMA, np.float32)
    return _falling(np.maximum(span[0] - light, light - span[1]), 0.0, tolerance)


def moving_in(motion: Motion, size: tuple[int, int]) -> Matte:
    """How far each place moves by `motion`, from 0 to 1, in a picture of `size` (height, width)."""
    side = min(motion.flow.shape[:2])
    way = np.sqrt(np.square(motion.flow).sum(2)) / side
    moves = 1 - _falling(cv2.GaussianBlur(way, (0, 0), 1.0), *MOVES)
    return np.asarray(cv2.resize(moves, size[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def oklab(picture: Frame) -> NDArray[np.float32]:
    """`picture` (H, W, 3 or 4), BGR in sRGB, in OKLab (Ottosson, 2020): lightness, and how red and
    how yellow, (H, W, 3)."""
    shown = _unit(picture)[..., ::-1]
    light = np.where(shown <= 0.04045, shown / 12.92, ((shown + 0.055) / 1.055) ** 2.4)
    return np.asarray(np.cbrt(light @ TO_CONES) @ TO_LAB, np.float32)


def _falling(distance: NDArray[np.float32], full: float, none: float) -> Matte:
    """1 up to the distance `full`, 0 from `none` on, and smooth between."""
    share = np.clip((none - distance) / (none - full), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def _unit(picture: Frame) -> NDArray[np.float32]:
    """The colours of `picture`, (H, W, 3), from 0 to 1."""
    return picture[..., :3].astype(np.float32) / np.float32(np.iinfo(picture.dtype).max)


def _alpha(picture: Frame) -> Matte:
    if picture.shape[2] == 3:
        return np.ones(picture.shape[:2], np.float32)
    return picture[..., 3].astype(np.float32) / np.float32(np.iinfo(picture.dtype).max)


def _moved(reader: MatteReader, painted: Painted, moving: MovingFrame) -> Matte:
    """The matte that was `painted`, where it is now."""
    matte = reader.at(painted.number, _size(moving.frame))
    dx, dy = painted.moved[0].cpu().numpy()
    rows, columns = moving.box.size
    x = dx + (np.arange(columns, dtype=np.float32) + moving.box.left)
    y = dy + (np.arange(rows, dtype=np.float32) + moving.box.top)[:, None]
    return np.asarray(cv2.remap(matte, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _size(frame: Frame) -> tuple[int, int]:
    return frame.shape[0], frame.shape[1]
