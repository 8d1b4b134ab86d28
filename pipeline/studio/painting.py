"""Masks that are painted on frames: kept in a folder of numbered pictures for each source."""

import base64
import binascii
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dreamreel.pipeline.config.fields import Mask, Settings
from dreamreel.pipeline.durable import write_whole
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.studio.folder import Studio

LARGEST = (
    4 << 20
)  # bytes of a painted picture as the page sends it: far above any of black and white
MOST_SIDE = 4096  # pixels of a side of it
HEAD = "data:image/png;base64,"


def painted_of(text: str) -> NDArray[np.uint8]:
    """The mask (H, W), 0 to 255, in `text`, a PNG as a data URL. Raises UserError if it is none."""
    if not text.startswith(HEAD) or len(text) > LARGEST:
        raise UserError("the painted mask is no PNG of a usual size")
    try:
        data = np.frombuffer(base64.b64decode(text[len(HEAD) :], validate=True), np.uint8)
    except (binascii.Error, ValueError) as error:
        raise UserError("the painted mask is no PNG") from error
    # The header first: a small file may claim an enormous picture.
    sides = data[16:24].tobytes()
    width, height = (int.from_bytes(sides[at : at + 4], "big") for at in (0, 4))
    if len(data) < 33 or not (0 < width <= MOST_SIDE and 0 < height <= MOST_SIDE):
        raise UserError("the painted mask is no PNG of a usual size")
    found = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if found is None or found.ndim != 3 or found.shape[2] != 4 or found.dtype != np.uint8:
        raise UserError("the painted mask is no PNG with transparency")
    return np.ascontiguousarray(found[..., 3])


def folder_for(studio: Studio, source: str) -> Path:
    """The folder of the masks painted on `source`."""
    return studio.masks / source


def keep_painted(
    studio: Studio, source: str, frame: int, mask: NDArray[np.uint8], size: tuple[int, int]
) -> Path:
    """Keep `mask` for the frame of that number of `source`, whose frames have `size` (height,
    width), and return the file of a picture, or the folder of a film's masks.

    Nothing is dreamed before the first frame that has a mask.
    """
    folder = folder_for(studio, source)
    studio.check_inside([folder])
    folder.mkdir(parents=True, exist_ok=True)
    path, first = file_for(folder, frame), file_for(folder, 0)
    _write(path, cv2.resize(mask, size[::-1], interpolation=cv2.INTER_LINEAR))
    if not first.exists():
        _write(first, np.zeros(size, np.uint8))
    return folder


def file_for(folder: Path, frame: int) -> Path:
    """The file of the mask of the frame of that number in `folder`."""
    return folder / f"{frame + 1:06}.png"


def frames_in(folder: Path) -> list[int]:
    """The numbers of the frames with a mask in `folder`, in order."""
    found = [path.stem for path in folder.glob("*.png") if path.stem.isdecimal()]
    return sorted(int(stem) - 1 for stem in found)


def forget_painted(studio: Studio, source: str) -> None:
    """Delete all masks that were painted on `source`."""
    folder = folder_for(studio, source)
    if folder.is_dir() and not folder.is_symlink():
        for frame in frames_in(folder):
            file_for(folder, frame).unlink(missing_ok=True)


def nearest_painted(settings: Settings, frame: int) -> Settings:
    """`settings` for a still of the frame of that number: in place of masks that are carried, the
    last that was painted up to it, as it was painted."""

    def of(mask: Mask) -> Mask:
        found = _painted_before(mask, frame)
        return mask if found is None else mask.model_copy(update={"file": found[1], "carry": False})

    regions = tuple(
        region.model_copy(update={"mask": of(region.mask)}) for region in settings.region
    )
    changed = settings.model_copy(update={"region": regions, "mask": of(settings.mask)})
    return changed.following(dict(settings.schedules))


def first_painted(settings: Settings, frame: int) -> int:
    """The number of the frame from which masks are to be followed, to be known at the frame of that
    number: `frame` itself where none is carried."""
    found = [_painted_before(mask, frame) for mask in settings.masks if mask.carry]
    return min([frame, *(0 if one is None else one[0] for one in found)])


def _painted_before(mask: Mask, frame: int) -> tuple[int, Path] | None:
    """The number of the last frame up to `frame` for which `mask`, which is carried, was painted,
    and the file; None if there is none, or the mask is not carried. Numbers count from the
    first."""
    if not mask.carry or mask.file is None or not mask.file.is_dir():
        return None
    files = [path for path in mask.file.glob("*.png") if path.stem.isdecimal()]
    numbers = {int(path.stem): path for path in files}
    first = min(numbers, default=0)
    before = [number for number in numbers if number - first <= frame]
    return (max(before) - first, numbers[max(before)]) if before else None


def _write(path: Path, mask: NDArray[np.uint8]) -> None:
    encoded, data = cv2.imencode(".png", mask)
    if not encoded:
        raise RuntimeError(f"{path} could not be encoded")
    write_whole(path, lambda file: file.write(data.tobytes()))
