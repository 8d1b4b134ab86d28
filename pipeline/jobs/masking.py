"""Masks of a render: their files, the checks before the first frame, and what makes them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamreel.pipeline.config.fields import Mask, Settings
from dreamreel.pipeline.config.keys import Key, parse_key
from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.media.clips import Clip
from dreamreel.pipeline.media.mattes import (
    MatteReader,
    Mattes,
    check_length,
    check_shape,
    find_mattes,
    same_times,
)

if TYPE_CHECKING:
    from torch import device

    from dreamreel.pipeline.dreaming.masks import Masking


def mask_files(settings: Settings) -> list[Path]:
    """The files and folders of the masks of `settings`, one for each that has some."""
    return [mask.file for mask in settings.masks if mask.file is not None]


def with_mask_files(settings: Settings, files: Sequence[Path]) -> Settings:
    """`settings` with `files`, in the order of `mask_files`, as the files of their masks."""
    coming = iter(files)

    def of(mask: Mask) -> Mask:
        return mask if mask.file is None else mask.model_copy(update={"file": next(coming)})

    regions = tuple(
        region.model_copy(update={"mask": of(region.mask)}) for region in settings.region
    )
    changed: Settings = settings.model_copy(update={"region": regions, "mask": of(settings.mask)})
    return changed.following(dict(settings.schedules))


def has_masks(settings: Settings) -> bool:
    """Whether a dream by `settings` has a mask, or regions."""
    return bool(settings.region) or not settings.mask.is_everywhere


def masks_in(settings: Settings) -> int:
    """How many masks a state of a video by `settings` follows."""
    return len(settings.masks) if has_masks(settings) else 0


def check_video_masks(job: Job, clip: Clip, report: Report) -> None:
    """Raise UserError unless the masks of the video `job` have the shape of `clip` and last as
    long. A notice goes to `report` for each that has another rate."""
    settings, (first, stop) = job.settings, job.span
    for mask in settings.masks:
        _check_key(mask, settings, clip.has_alpha, has_motion=True)
        if mask.carry and settings.flow.method == "none":
            raise UserError("mask.carry needs the flow, and flow.method = none finds none")
        if mask.file is None:
            continue
        mattes = _mattes_of(mask, settings, clip)
        check_length(mattes, clip, first, stop)
        _check_painted(mattes, job)
        if mattes.numbers is None and not same_times(mattes.clip, clip):
            report.on_notice(
                f"{mask.file} has {float(mattes.clip.rate):.6g} masks a second, the source "
                f"{float(clip.rate):.6g} frames: each frame takes the mask shown at its time"
            )


def check_frame_masks(settings: Settings, number: int, clip: Clip) -> None:
    """Raise UserError unless the masks of `settings` suit the frame `number` of `clip`, which is
    dreamed as a still."""
    for mask in settings.masks:
        _check_key(mask, settings, clip.has_alpha, has_motion=False)
        if mask.file is not None:
            mattes = _mattes_of(mask, settings, clip)
            check_length(mattes, clip, number, number + 1)
            if mask.carry and number not in (mattes.numbers or ()):
                raise UserError(f"mask.carry: {mask.file} has no mask painted for frame {number}")


def check_picture_masks(settings: Settings, size: tuple[int, int], has_alpha: bool) -> None:
    """Raise UserError unless the masks of `settings` suit a picture of `size` (height, width)."""
    for mask in settings.masks:
        _check_key(mask, settings, has_alpha, has_motion=False)
        if mask.file is not None:
            mattes = find_mattes(mask.file, settings.source, mask.carry)
            if mattes.numbers != (0,):
                raise UserError(f"{mask.file} has many masks, and a picture takes one: a picture")
            check_shape(mattes, size)


def refuse_masks(settings: Settings) -> None:
    """Raise UserError if the dream of a zoom has a mask or regions."""
    if has_masks(settings):
        raise UserError(
            "mask and region: a zoom moves its picture past every mask; they work in dreamreel "
            "image and dreamreel video"
        )


@contextmanager
def masks_of(settings: Settings, clip: Clip | None, on: "device") -> Iterator["Masking | None"]:
    """What makes the masks of a dream of `clip`, or of a picture (None), by `settings` on the
    device `on`; None if it has none. Raises UserError if the weights that a class needs cannot be
    loaded."""
    if not has_masks(settings):
        yield None
        return
    from dreamreel.pipeline.dreaming.masks import Masking

    readers = [
        None
        if mask.file is None
        else MatteReader(find_mattes(mask.file, settings.source, mask.carry), clip)
        for mask in settings.masks
    ]
    masking = Masking(readers, on, _segmenter(settings, on))
    try:
        yield masking
    finally:
        masking.close()


def _segmenter(settings: Settings, on: "device") -> Any:
    """What finds classes; None if no mask of `settings` needs it."""
    needing = [mask for mask in settings.masks if (key := _key(mask)) and key.kind == "class"]
    if not needing:
        return None
    from dreamreel.pipeline.networks.segmentation import load_segmenter

    given = next((mask.weights for mask in needing if mask.weights is not None), None)
    return load_segmenter(given, on)


def _key(mask: Mask) -> Key | None:
    return None if mask.key is None else parse_key(mask.key)


def _check_key(mask: Mask, settings: Settings, has_alpha: bool, has_motion: bool) -> None:
    if mask.carry and mask.file is None:
        raise UserError("mask.carry carries the mask of mask.file, and there is none; leave it out")
    key = _key(mask)
    if key is None:
        return
    if key.kind == "alpha" and not has_alpha:
        raise UserError(
            "mask.key = alpha: the source has no transparency; give mask.file, or light"
        )
    if key.kind == "motion" and not has_motion:
        raise UserError(f"mask.key = {mask.key}: a picture has no motion; dreamreel video takes it")
    if key.kind == "motion" and settings.flow.method == "none":
        raise UserError(f"mask.key = {mask.key} needs the flow, and flow.method = none finds none")


def _mattes_of(mask: Mask, settings: Settings, clip: Clip) -> Mattes:
    """The mattes of the file of `mask`, which have the shape of `clip`."""
    assert mask.file is not None
    with usable(mask.file):
        mattes = find_mattes(mask.file, settings.source, mask.carry)
    shape = Fraction(1) if clip.square else clip.pixel_shape
    check_shape(mattes, clip.size, shape)
    return mattes


def _check_painted(mattes: Mattes, job: Job) -> None:
    """Raise UserError if carried `mattes` have none for the first frame of `job`, or of its
    piece."""
    if not mattes.painted:
        return
    piece, first, path = job.piece, job.span[0], mattes.clip.path
    if piece is not None and not piece.after_cut and piece.first != first:
        raise UserError("mask.carry follows a shot from its begin; leave --preroll out")
    if first not in (mattes.numbers or ()):
        raise UserError(
            f"mask.carry: {path} has no mask painted for frame {first}, the first that is dreamed; "
            "paint one, or begin with a frame that has one"
        )
