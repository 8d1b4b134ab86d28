"""The render of a still: a picture, or one frame of a video, dreamed into a picture file."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.dreaming.ascent import check_finite
from dreamreel.pipeline.dreaming.carrying import begin_shot
from dreamreel.pipeline.dreaming.detail import mixed
from dreamreel.pipeline.dreaming.subject import Subject
from dreamreel.pipeline.errors import Stopped
from dreamreel.pipeline.frames import Frame, fitted_size
from dreamreel.pipeline.jobs.checks import Checked
from dreamreel.pipeline.jobs.identity import named, named_again, versions
from dreamreel.pipeline.jobs.job import Job, source_of
from dreamreel.pipeline.jobs.making import threads_of
from dreamreel.pipeline.jobs.paths import check_replaceable, is_record, make_folder_of, record_path
from dreamreel.pipeline.jobs.preparation import (
    heard_by,
    ready_network,
    settings_over_time,
    with_decoder,
)
from dreamreel.pipeline.jobs.record import Made, write_record
from dreamreel.pipeline.jobs.report import Progress, Report
from dreamreel.pipeline.media.clips import Clip
from dreamreel.pipeline.media.cropping import Crop, crop_of
from dreamreel.pipeline.media.reading import resized, still_at
from dreamreel.pipeline.media.stills import (
    KEEPS_ALPHA,
    Picture,
    load_picture,
    save_picture,
)
from dreamreel.pipeline.networks.devices import torch_threads
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import resize, to_image


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
        dream = (_from_picture if checked.clip is None else _from_clip)(checked, report)
    out = checked.out
    made = Made(
        versions=versions(),
        network=dream.network.name,
        device=str(dream.network.device),
        frames=1,
        seconds=round(time.monotonic() - began, 1),
    )
    changes = {"output": out.path, "threads": threads, "weights_sha256": dream.network.digest}
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
    crop = crop_of(whole, settings.source)
    size = fitted_size(*(whole if crop is None else crop.size), settings.width)
    network = ready_network(settings, size, report, checked.chosen)
    image = _fitted(picture.image, crop, size).to(network.device)
    alpha = picture.alpha
    if alpha is not None:
        alpha = _fitted(alpha[None, None], crop, size)[0, 0]
        if suffix.lower() not in KEEPS_ALPHA:
            report.on_notice(f"{suffix} keeps no transparency; it is left out")
    subject = Subject.of(image, 0, network, settings)
    dreamed = subject.dreamed(image, subject.still, _steps(subject, report))
    job = job.model_copy(update={"source": source})
    return _Dreamed(Picture(_shown(subject, dreamed), alpha), job, network)


def _from_clip(checked: Checked, report: Report) -> _Dreamed:
    """Dream the frame like the first frame of a shot, with the settings of its moment."""
    job, clip = checked.job, checked.clip
    assert clip is not None
    changes = {
        "source": named(source_of(job)),
        "audio": named_again(job.audio),
        "settings": with_decoder(job.settings, clip),
    }
    size = fitted_size(clip.height, clip.width, job.settings.width)
    number, frame = still_at(clip, job.at or 0.0)
    settings = _settings_at(number, job, clip)
    network = ready_network(settings, size, report, checked.chosen)
    subject = _subject(frame, number, network, settings)
    shot = begin_shot(subject, on_step=_steps(subject, report))
    shown = _shown(subject, subject.source + shot.detail)
    return _Dreamed(Picture(shown), job.model_copy(update=changes), network)


def _settings_at(number: int, job: Job, clip: Clip) -> Settings:
    """The settings of the frame of that `number`, as a render of the whole `clip` has them."""
    own = clip.path if clip.is_file else None
    heard = heard_by(job.settings, own if job.audio is None else job.audio.path)
    frames = max(number + 1, clip.frames or 1)
    return settings_over_time(job.settings, frames, clip.rate, heard)(number)


def _subject(frame: Frame, number: int, network: Network, settings: Settings) -> Subject:
    image = to_image(next(resized([frame], settings.width)), network.device)
    return Subject.of(image, number, network, settings)


def _fitted(image: Tensor, crop: Crop | None, size: tuple[int, int]) -> Tensor:
    """`image` (1, C, H, W), cropped and resized to `size` (height, width)."""
    if crop is not None:
        image = image[:, :, *crop.part].contiguous(memory_format=torch.channels_last)
    return resize(image, size)


def _steps(subject: Subject, report: Report) -> Callable[[], None]:
    """The callback that reports each step of a still to `report`, and ends it where that asks."""

    def on_steps(done: int, total: int) -> None:
        report.on_progress(Progress(done, total))
        if report.is_stopping():
            raise Stopped("stopped; no picture was written, and the same command begins it anew")

    return subject.counting(on_steps)


def _shown(subject: Subject, dreamed: Tensor) -> Tensor:
    shown = mixed(subject.source, dreamed, subject.settings.dream.mix)
    check_finite(shown, subject.network)
    return shown
