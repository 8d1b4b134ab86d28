"""The render of a still: a picture, or one frame of a video, dreamed into a picture file."""

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.values import Bars, parse_crop
from dreamreel.pipeline.dreaming.ascent import check_finite
from dreamreel.pipeline.dreaming.carrying import begin_shot
from dreamreel.pipeline.dreaming.colour import coloured
from dreamreel.pipeline.dreaming.detail import mixed
from dreamreel.pipeline.dreaming.enlarging import enlarged, scale_of, shrunk
from dreamreel.pipeline.dreaming.imagining import imagine
from dreamreel.pipeline.dreaming.masks import Masking, Masks
from dreamreel.pipeline.dreaming.subject import Subject
from dreamreel.pipeline.errors import Stopped
from dreamreel.pipeline.frames import Box, Frame, fitted_size
from dreamreel.pipeline.jobs.checks import Checked, bars_at
from dreamreel.pipeline.jobs.identity import (
    named,
    named_again,
    named_in,
    named_masks,
    palette_digest,
    versions,
)
from dreamreel.pipeline.jobs.job import NOISE_CANVAS, Job, source_of
from dreamreel.pipeline.jobs.making import threads_of
from dreamreel.pipeline.jobs.masking import check_frame_masks, check_picture_masks, masks_of
from dreamreel.pipeline.jobs.paths import check_replaceable, is_record, make_folder_of, record_path
from dreamreel.pipeline.jobs.preparation import (
    heard_by,
    imagining_network,
    palette_of,
    ready_network,
    settings_over_time,
    told_bars,
    with_decoder,
)
from dreamreel.pipeline.jobs.record import Made, write_record
from dreamreel.pipeline.jobs.report import Progress, Report
from dreamreel.pipeline.media.clips import Clip
from dreamreel.pipeline.media.cropping import Crop, crop_of, scaled
from dreamreel.pipeline.media.reading import still_at
from dreamreel.pipeline.media.stills import (
    KEEPS_ALPHA,
    Picture,
    load_picture,
    save_picture,
)
from dreamreel.pipeline.motion.bars import picture_of
from dreamreel.pipeline.motion.content import contrast, share_seen
from dreamreel.pipeline.motion.flow import working_frame
from dreamreel.pipeline.motion.following import MovingFrame
from dreamreel.pipeline.networks.devices import torch_threads
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import inside, pasted, resize, to_frame, to_image


@dataclass(frozen=True)
class _Dreamed:
    """A finished dream: its picture, the job as it was run, and the network that dreamed it."""

    picture: Picture
    job: Job
    network: Network


def render_still(checked: Checked, report: Report) -> Path:
    """Dream the job's source, a picture or the frame that a clip shows at the time `job.at`, into
    the job's output, with a record beside it, and return the path of the output.

    Steps and notices go to `report`. Raises UserError if the network, the source or the output
    cannot be used, and Stopped, with nothing written, if `report` asks to stop.
    """
    began, threads = time.monotonic(), threads_of(checked.job)
    with torch_threads(threads.torch):
        if checked.job.source is None:
            dream = _from_noise(checked, report)
        else:
            dream = (_from_picture if checked.clip is None else _from_clip)(checked, report)
    out = checked.out
    made = Made(
        versions=versions(),
        network=dream.network.name,
        device=str(dream.network.device),
        frames=1,
        seconds=round(time.monotonic() - began, 1),
    )
    changes = {
        "output": out.path,
        "threads": threads,
        "weights_sha256": dream.network.digest,
        "palette_sha256": palette_digest(checked.job.settings),
    }
    make_folder_of(out.path)
    check_replaceable(record_path(out.path), is_record, "record of a render", out.overwrite)
    write_record(record_path(out.path), dream.job.model_copy(update=changes), made)
    save_picture(out.path, dream.picture, out.overwrite)
    return out.path


def _from_picture(checked: Checked, report: Report) -> _Dreamed:
    """Dream the picture, keeping its alpha if the output's format can."""
    job, suffix = checked.job, checked.out.path.suffix
    settings = job.settings
    source = named(source_of(job))
    picture = load_picture(source.path, torch.device("cpu"))
    whole = (picture.image.shape[2], picture.image.shape[3])
    if (crop := crop_of(whole, settings.source)) is not None:
        whole = crop.size
    size = fitted_size(*whole, settings.width)
    check_picture_masks(settings, whole, picture.alpha is not None)
    network = ready_network(settings, size, report, checked.chosen)
    image = _fitted(picture.image, crop, size).to(network.device)
    alpha = picture.alpha
    if alpha is not None:
        alpha = _fitted(alpha[None, None], crop, size)[0, 0]
        if suffix.lower() not in KEEPS_ALPHA:
            report.on_notice(f"{suffix} keeps no transparency; it is left out")
    bars = bars_at(settings, whole, size)
    with masks_of(settings, None, network.device) as masking:
        scene = _Scene(image, 0, bars, network, settings, report, masking, alpha)
        shown = scene.dreamed(_as_picture)
    files, masks = named_in(settings), named_masks(settings)
    job = job.model_copy(update={"source": source, "files": files, "masks": masks})
    return _Dreamed(Picture(shown, alpha), job, network)


def _from_noise(checked: Checked, report: Report) -> _Dreamed:
    """Imagine a picture."""
    job, settings = checked.job, checked.job.settings
    size = canvas_of(settings)
    network = imagining_network(settings, size, report)
    image = imagine(size, network, settings, _counting(settings.imagine.steps, report))
    check_finite(image, network)
    job = job.model_copy(update={"files": named_in(settings)})
    return _Dreamed(Picture(image), job, network)


def canvas_of(settings: Settings) -> tuple[int, int]:
    """The size (height, width) of a picture that begins with noise: that of `source.crop`, or its
    shape, at `settings.width`."""
    shape, size = parse_crop(settings.source.crop or "1:1")
    height, width = size or NOISE_CANVAS
    if size is None:
        height, width = (
            (height, round(height * shape)) if shape >= 1 else (round(width / shape), width)
        )
    return fitted_size(height, width, settings.width)


def _fitted(image: Tensor, crop: Crop | None, size: tuple[int, int]) -> Tensor:
    """`image` (1, C, H, W), cropped and resized to `size` (height, width)."""
    if crop is not None:
        image = image[:, :, *crop.part].contiguous(memory_format=torch.channels_last)
    return resize(image, size)


def _from_clip(checked: Checked, report: Report) -> _Dreamed:
    """Dream the frame like the first frame of a shot, with the settings of its moment."""
    job, clip = checked.job, checked.clip
    assert clip is not None
    changes = {
        "source": named(source_of(job)),
        "audio": named_again(job.audio),
        "files": named_in(job.settings),
        "masks": named_masks(job.settings),
        "settings": with_decoder(job.settings, clip),
    }
    size = clip.raster.size_at(job.settings.width)
    number, frame = still_at(clip, job.at or 0.0)
    settings = _settings_at(number, job, clip, report)
    check_frame_masks(settings, number, clip)
    network = ready_network(settings, size, report, checked.chosen)
    frame = scaled(frame, size)
    image, alpha = to_image(frame, network.device), _alpha_of(frame)
    bars = bars_at(settings, clip.size, size)
    with masks_of(settings, clip, network.device) as masking:
        scene = _Scene(image, number, bars, network, settings, report, masking, alpha)
        shown = scene.dreamed(_as_shot)
    return _Dreamed(Picture(shown), job.model_copy(update=changes), network)


def _settings_at(number: int, job: Job, clip: Clip, report: Report) -> Settings:
    """The settings of the frame of that `number`, as a render of the whole `clip` has them."""
    own = clip.path if clip.is_file else None
    heard = heard_by(job.settings, own if job.audio is None else job.audio.path)
    frames = max(number + 1, clip.frames or 1)
    return settings_over_time(job.settings, frames, clip.rate, heard, report=report)(number)


def _alpha_of(frame: Frame) -> Tensor | None:
    """The alpha (H, W) of `frame`, 0 to 1; None if it has none."""
    if frame.shape[2] == 3:
        return None
    return torch.from_numpy(frame[..., 3].astype(np.float32) / np.iinfo(frame.dtype).max)


@dataclass(frozen=True)
class _Scene:
    """The `image` (1, 3, H, W) that is dreamed, the frame `number` of its source, with `bars`, its
    masks and its `alpha` (H, W), if it has some."""

    image: Tensor
    number: int
    bars: Bars
    network: Network
    settings: Settings
    report: Report
    masking: Masking | None = None
    alpha: Tensor | None = None

    def dreamed(self, detail_of: Callable[[Subject, Report], Tensor]) -> Tensor:
        """The image with the detail that `detail_of` adds to the picture inside its bars. The whole
        stays as it is where there is nothing to see."""
        frame = to_frame(self.image)
        box = picture_of(frame, self.bars)
        if box != Box.whole(frame):
            self.report.on_notice(told_bars(self.number, frame, box))
        seen = share_seen(contrast(working_frame(box.of(frame), self.settings.flow.height)))
        if seen == 0:
            self.report.on_notice("there is nothing to see in the picture; it stays as it is")
            return self.image
        source = inside(self.image, box)
        scale = scale_of(self.settings.dream, frame.shape[1])
        small = resize(source, shrunk(box, scale).size)
        masks = self._masks(box)
        inner = None if masks is None else masks.at((small.shape[2], small.shape[3]))
        subject = Subject.of(small, self.number, self.network, self.settings, inner)
        if not subject.is_anywhere:
            self.report.on_notice("the mask is empty here; the picture stays as it is")
            return self.image
        subject = subject.calibrate()
        detail = enlarged(detail_of(subject, self.report), box.size)
        dreamed = (source + seen * detail).clamp(0, 1)
        look, palette = self.settings.dream, palette_of(self.settings)
        dreamed = coloured(source, dreamed, look, palette, seen)
        shown = mixed(source, dreamed, look.mix, None if masks is None else masks.whole)
        check_finite(shown, self.network)
        return pasted(self.image, shown, box)

    def _masks(self, box: Box) -> Masks | None:
        """The masks of the picture in `box`."""
        if self.masking is None:
            return None
        frame = to_frame(self.image, depth=16)
        if self.alpha is not None:
            alpha = (self.alpha.cpu().numpy() * 65535).round().astype(np.uint16)
            frame = np.dstack([frame, alpha])
        moving = MovingFrame(self.number, frame, None, box, 0.0)
        return self.masking.of(
            moving, self.settings, self.masking.follow((), moving, self.settings)
        )


def _as_picture(subject: Subject, report: Report) -> Tensor:
    """The detail of a picture."""
    return subject.dreamed(subject.source, subject.first, _steps(subject, report)) - subject.source


def _as_shot(subject: Subject, report: Report) -> Tensor:
    """The detail of the first frame of a shot."""
    return begin_shot(subject, on_step=_steps(subject, report)).detail


def _steps(subject: Subject, report: Report) -> Callable[[], None]:
    """The callback that reports each step of a still to `report`, and ends it where that asks."""

    return subject.counting(lambda done, total: _tell(done, total, report))


def _counting(total: int, report: Report) -> Callable[[], None]:
    """The callback that reports each of `total` steps to `report`, as `_steps` does."""
    done = itertools.count(1)
    return lambda: _tell(next(done), total, report)


def _tell(done: int, total: int, report: Report) -> None:
    report.on_progress(Progress(done, total))
    if report.is_stopping():
        raise Stopped("stopped; no picture was written, and the same command begins it anew")
