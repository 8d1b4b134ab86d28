"""States from the disk, checked against the render that they are of: the sizes of all pictures, and
numbers that the next frame can be made with. A damaged one is told of, rather than shown."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dreamreel.pipeline.dreaming.carrying import BLEND_FRAMES, VideoState
from dreamreel.pipeline.dreaming.control import (
    Controller,
    CrispnessLoop,
    Reference,
    StrengthLoop,
    VarietyLoop,
)
from dreamreel.pipeline.dreaming.enlarging import shrunk
from dreamreel.pipeline.dreaming.masks import Painted
from dreamreel.pipeline.frames import Box
from dreamreel.pipeline.motion.flow import working_size
from dreamreel.pipeline.motion.following import Followed
from dreamreel.pipeline.zooming.endless import ZoomState
from dreamreel.pipeline.zooming.palette import PLACES

Size = tuple[int, int]  # height, width


def check_video(
    state: VideoState, size: Size, side: int | None, masks: int = 0, scale: float = 1.0
) -> None:
    """Raise ValueError unless `state` is that of a video after its first frame. `size` is that of
    the dreamed frames, `side` the `flow.height` at which motion is followed; None if it is not. The
    video has so many `masks`; `scale` is that at which frames are dreamed."""
    if state.box is None:
        raise ValueError("it has no picture")
    _check_box(state.box, size)
    if state.carried is None and (state.since or state.awakening.contrast):
        raise ValueError("its dream is lost")
    small = shrunk(state.box, scale).size
    for name, carried in (("carried", state.carried), ("newborn", state.awakening.newborn)):
        if carried is not None:
            _check_picture(f"{name}.detail", carried.detail, 3, small)
            _check_picture(f"{name}.direction", carried.direction, 3, small)
            _check_picture(f"{name}.level", carried.level, 1, small)
    check_painted(state.painted, masks, state.box.size)
    _check_controllers(strength=state.strength.control)
    _check_crispness(state.crispness)
    _check_measured(state.strength)
    _check_reference(state.strength.reference)
    if state.strength.reference.source == 0:
        raise ValueError("its source had no response")
    _check_least(0, since=state.since, share=state.strength.share, first=state.fullness.first)
    _check_least(-1, shortage=state.strength.shortage)
    _check_least(1, free=state.strength.free)
    young = state.awakening
    _check_least(0, contrast=young.contrast, most=young.most, blended=young.blended)
    _check_least(0, number=state.first, waited=young.waited or 0)
    if young.newborn is not None and young.blended >= BLEND_FRAMES:
        raise ValueError(f"a dream is blended in for {young.blended} frames")
    check_followed(state.followed, size, side)
    if state.followed is not None and state.followed.box != state.box:
        raise ValueError(f"the picture is in {state.box} and in {state.followed.box}")


def check_painted(found: list[Painted | None], masks: int, size: Size) -> None:
    """Raise ValueError unless `found` are the states of so many `masks` that follow a picture of
    `size`."""
    if len(found) != masks:
        raise ValueError(f"it follows {len(found)} masks of {masks}")
    for painted in found:
        if painted is not None:
            _check_picture("painted.moved", painted.moved, 2, size)
            _check_least(0, painted=painted.number)


def check_followed(followed: Followed | None, size: Size, side: int | None) -> None:
    """Raise ValueError unless `followed` is the state of following frames of `size` at the
    `flow.height` `side`; None if motion is not followed."""
    if (followed is None) != (side is None):
        raise ValueError("it follows motion where none is followed, or the other way round")
    if followed is None or side is None:
        return
    _check_box(followed.box, size)
    working = working_size(followed.box.size, side)
    _check_array("previous", followed.previous, np.uint8, (*working, 3))
    for motion in followed.shared:
        _check_array("flow", motion.flow, np.float32, (*working, 2))
        _check_array("visible", motion.visible, np.float32, working)
        _check_array("carried", motion.carried, np.float32, working)
        _check_array("uncovered", motion.uncovered, np.bool_, working)
    if not followed.contrasts or min(followed.contrasts) < 0:
        raise ValueError(f"contrasts are {followed.contrasts}")
    last = 0 if followed.last_cut is None else followed.last_cut
    if not 0 <= last < followed.judged:
        raise ValueError(f"a cut at {last} of {followed.judged} frames")


def _check_box(box: Box, size: Size) -> None:
    rises = 0 <= box.left < box.right <= size[1] and 0 <= box.top < box.bottom <= size[0]
    if not rises:
        raise ValueError(f"{box} is not in a frame of {size}")


def check_cuts(cuts: list[int], first: int, stop: int) -> None:
    """Raise ValueError unless the numbers `cuts` rise, and lie between those of the frames `first`
    and `stop`."""
    if [first, *cuts, stop] != sorted({first, *cuts, stop}):
        raise ValueError(f"cuts at {cuts} in frames {first} to {stop}")


def check_zoom(state: ZoomState, size: Size) -> None:
    """Raise ValueError unless `state` is that of a zoom after its first frame; `size` is that of
    its frames."""
    if state.canvas is None or state.grown is None or state.palette is None:
        raise ValueError("it has no picture")
    around = _margin(state.canvas, size)
    _check_picture("canvas", state.canvas, 3, around)
    _check_picture("grown", state.grown, 1, around)
    if state.lively is not None:
        _check_tensor("lively", state.lively, (1, 1, *state.lively.shape[2:]))
        if state.lively.ndim != 4 or not state.lively.numel() or float(state.lively.min()) < 0:
            raise ValueError("lively holds no response")
    if state.goal is not None:
        _check_picture("goal", state.goal, 3, _margin(state.goal, size))
    for name in ("mean", "spread"):
        _check_tensor(f"palette.{name}", getattr(state.palette, name), (1, 3, 1, 1))
    _check_tensor("palette.light", state.palette.light, (len(PLACES),))
    _check_controllers(evolution=state.evolution.control, detail=state.detail.control)
    if state.evolution.climbed:  # something is dreamed
        _check_reference(state.evolution.reference)
    for energy in state.detail.targets:
        _check_least(0, energy=energy)
    if state.untold is not None:
        _check_tensor("untold.numbers", state.untold.numbers, (3,))
        _check_least(0, untold=float(state.untold.numbers.min()), strength=state.untold.strength)
    variety = state.variety
    _check_least(0, share=state.evolution.share, crisp=state.detail.crisp, usual=variety.usual)
    _check_least(0, told=variety.told, weight=variety.weight)
    if variety.weight > VarietyLoop.MOST:
        raise ValueError(f"variety.weight is {variety.weight}")


def _margin(picture: Tensor, size: Size) -> Size:
    """The size (height, width) of `picture`, which has the same margin on all sides of `size`."""
    height, width = (int(side) for side in picture.shape[-2:]) if picture.ndim == 4 else (0, 0)
    more = height - size[0]
    if more < 0 or more % 2 or width - size[1] != more:
        raise ValueError(f"a picture of {tuple(picture.shape)} around frames of {size}")
    return height, width


def _check_picture(name: str, found: Tensor, channels: int, size: Size) -> None:
    _check_tensor(name, found, (1, channels, *size))


def _check_tensor(name: str, found: Tensor, shape: tuple[int, ...]) -> None:
    if found.dtype != torch.float32 or tuple(found.shape) != shape:
        raise ValueError(f"{name} is {found.dtype} {tuple(found.shape)}, not float32 {shape}")


def _check_array(name: str, found: NDArray[np.generic], kind: type, shape: Iterable[int]) -> None:
    if found.dtype != kind or found.shape != tuple(shape):
        raise ValueError(f"{name} is {found.dtype} {found.shape}, not {kind.__name__} {shape}")


def _check_controllers(**controllers: Controller) -> None:
    """Raise ValueError unless each controller has the gains by whose name it is given, and an
    output within their limits."""
    for name, one in controllers.items():
        if one.name != name or not one.gains.least <= one.steady <= one.gains.most:
            raise ValueError(f"{name} is {one}")


def _check_crispness(loop: CrispnessLoop) -> None:
    _check_tensor("crispness.added", loop.added, ())
    _check_tensor("crispness.learned", loop.learned, ())
    if not loop.gains.least <= float(loop.learned) <= loop.gains.most:
        raise ValueError(f"crispness is {loop}")


def _check_measured(loop: StrengthLoop) -> None:
    for name, found, count in (("untold", loop.untold, 2), ("source", loop.source, 1)):
        if found is not None:
            _check_tensor(f"strength.{name}", found, (count,))
            _check_least(0, **{name: float(found.min())})
    _check_least(0, source_since=loop.source_since, source_contrast=loop.source_contrast)


def _check_reference(reference: Reference) -> None:
    _check_least(0, source=reference.source, strength=reference.strength)
    if reference.strength > 0 and min(reference.source, reference.dreamed) <= 0:
        raise ValueError(f"{reference}")


def _check_least(least: float, **values: float) -> None:
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} is {value}")
