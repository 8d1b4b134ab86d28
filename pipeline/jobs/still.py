"""The render of a still: a picture, or one frame of a video, dreamed into a picture file."""

import itertools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from dreamreel.pipeline.dreaming.ascent import check_finite, octave_sizes
from dreamreel.pipeline.dreaming.carrying import begin_shot
from dreamreel.pipeline.dreaming.detail import mixed
from dreamreel.pipeline.dreaming.subject import Subject
from dreamreel.pipeline.frames import fitted_size
from dreamreel.pipeline.jobs.checks import Checked
from dreamreel.pipeline.jobs.job import source_of
from dreamreel.pipeline.jobs.paths import Target
from dreamreel.pipeline.jobs.preparation import ready_network
from dreamreel.pipeline.jobs.report import Progress, Report
from dreamreel.pipeline.media.cropping import Crop, crop_of
from dreamreel.pipeline.media.reading import resized, still_at
from dreamreel.pipeline.media.stills import (
    KEEPS_ALPHA,
    Picture,
    load_picture,
    save_picture,
)
from dreamreel.pipeline.networks.devices import torch_threads
from dreamreel.pipeline.tensors import resize, to_image


def render_still(checked: Checked, report: Report) -> Path:
    """Dream the job's source, a picture or the frame that a clip shows at the time `job.at`, into
    the job's output, and return the path of the output.

    Steps and notices go to `report`. Raises UserError if the network, the source or the output
    cannot be used.
    """
    threads = checked.job.threads
    with torch_threads(None if threads is None else threads.torch):
        return (_from_picture if checked.clip is None else _from_clip)(checked, report)


def _from_picture(checked: Checked, report: Report) -> Path:
    """Dream the picture, keeping its alpha if the output's format can."""
    settings, out = checked.job.settings, checked.out
    picture = load_picture(source_of(checked.job), torch.device("cpu"))
    whole = (picture.image.shape[2], picture.image.shape[3])
    crop = crop_of(whole, settings.source)
    size = fitted_size(*(whole if crop is None else crop.size), settings.width)
    network = ready_network(settings, size, report)
    image = _fitted(picture.image, crop, size).to(network.device)
    alpha = picture.alpha
    if alpha is not None:
        alpha = _fitted(alpha[None, None], crop, size)[0, 0]
        if out.path.suffix.lower() not in KEEPS_ALPHA:
            report.on_notice(f"{out.path.suffix} keeps no transparency; it is left out")
    subject = Subject.of(image, 0, network, settings)
    dreamed = subject.dreamed(image, subject.still, _steps(subject, report))
    return _saved(subject, dreamed, out, alpha)


def _fitted(image: Tensor, crop: Crop | None, size: tuple[int, int]) -> Tensor:
    """`image` (1, C, H, W), cropped and resized to `size` (height, width)."""
    if crop is not None:
        image = image[:, :, *crop.part].contiguous(memory_format=torch.channels_last)
    return resize(image, size)


def _from_clip(checked: Checked, report: Report) -> Path:
    """Dream the frame like the first frame of a shot."""
    settings, clip = checked.job.settings, checked.clip
    assert clip is not None
    network = ready_network(settings, fitted_size(clip.height, clip.width, settings.width), report)
    number, frame = still_at(clip, checked.job.at or 0.0)
    image = to_image(next(resized([frame], settings.width)), network.device)
    subject = Subject.of(image, number, network, settings)
    shot = begin_shot(subject, on_step=_steps(subject, report))
    return _saved(subject, image + shot.detail, checked.out, None)


def _steps(subject: Subject, report: Report) -> Callable[[], None]:
    """The callback that reports each step of a still to `report`."""
    sizes = octave_sizes(
        subject.source.shape[2:], subject.network, subject.terms, subject.settings.dream
    )
    done, total = itertools.count(1), subject.still.steps * len(sizes)
    return lambda: report.on_progress(Progress(next(done), total))


def _saved(subject: Subject, dreamed: Tensor, out: Target, alpha: Tensor | None) -> Path:
    shown = mixed(subject.source, dreamed, subject.settings.dream.mix)
    check_finite(shown, subject.network)
    save_picture(out.path, Picture(shown, alpha), out.overwrite)
    return out.path
