"""The render of a still: a picture, or one frame of a video, dreamed into a picture file."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.values import Bars
from dreamreel.pipeline.dreaming.ascent import check_finite, octave_sizes
from dreamreel.pipeline.dreaming.carrying import begin_shot
from dreamreel.pipeline.dreaming.detail import mixed
from dreamreel.pipeline.dreaming.subject import Subject
from dreamreel.pipeline.frames import Box, fitted_size
from dreamreel.pipeline.jobs.checks import Checked, bars_at
from dreamreel.pipeline.jobs.job import source_of
from dreamreel.pipeline.jobs.paths import Target
from dreamreel.pipeline.jobs.preparation import ready_network, told_bars
from dreamreel.pipeline.jobs.report import Progress, Report
from dreamreel.pipeline.media.reading import at_size, still_at
from dreamreel.pipeline.media.stills import (
    KEEPS_ALPHA,
    Picture,
    load_picture,
    save_picture,
)
from dreamreel.pipeline.motion.bars import picture_of
from dreamreel.pipeline.motion.content import contrast, share_seen
from dreamreel.pipeline.motion.flow import working_frame
from dreamreel.pipeline.networks.devices import torch_threads
from dreamreel.pipeline.networks.network import Network
from dreamreel.pipeline.tensors import inside, pasted, resize, to_frame, to_image


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
    size = fitted_size(picture.image.shape[2], picture.image.shape[3], settings.width)
    network = ready_network(settings, size, report)
    image = resize(picture.image, size).to(network.device)
    alpha = picture.alpha
    if alpha is not None:
        alpha = resize(alpha[None, None], size)[0, 0]
        if out.path.suffix.lower() not in KEEPS_ALPHA:
            report.on_notice(f"{out.path.suffix} keeps no transparency; it is left out")
    bars = bars_at(settings, (picture.image.shape[2], picture.image.shape[3]), size)
    scene = _Scene(image, 0, bars, network, settings, report)
    return _saved(scene.dreamed(_as_picture), out, alpha)


def _from_clip(checked: Checked, report: Report) -> Path:
    """Dream the frame like the first frame of a shot."""
    settings, clip = checked.job.settings, checked.clip
    assert clip is not None
    size = clip.raster.size_at(settings.width)
    network = ready_network(settings, size, report)
    number, frame = still_at(clip, checked.job.at or 0.0)
    image = to_image(at_size(frame, size), network.device)
    bars = bars_at(settings, clip.size, size)
    scene = _Scene(image, number, bars, network, settings, report)
    return _saved(scene.dreamed(_as_shot), checked.out, None)


@dataclass(frozen=True)
class _Scene:
    """The `image` (1, 3, H, W) that is dreamed, the frame `number` of its source, with `bars`."""

    image: Tensor
    number: int
    bars: Bars
    network: Network
    settings: Settings
    report: Report

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
        subject = Subject.of(source, self.number, self.network, self.settings)
        dreamed = (source + seen * detail_of(subject, self.report)).clamp(0, 1)
        shown = mixed(source, dreamed, self.settings.dream.mix)
        check_finite(shown, self.network)
        return pasted(self.image, shown, box)


def _as_picture(subject: Subject, report: Report) -> Tensor:
    """The detail of a picture."""
    return subject.dreamed(subject.source, subject.still, _steps(subject, report)) - subject.source


def _as_shot(subject: Subject, report: Report) -> Tensor:
    """The detail of the first frame of a shot."""
    return begin_shot(subject, on_step=_steps(subject, report)).detail


def _steps(subject: Subject, report: Report) -> Callable[[], None]:
    """The callback that reports each step of a still to `report`."""
    sizes = octave_sizes(
        subject.source.shape[2:], subject.network, subject.terms, subject.settings.dream
    )
    done, total = itertools.count(1), subject.still.steps * len(sizes)
    return lambda: report.on_progress(Progress(next(done), total))


def _saved(image: Tensor, out: Target, alpha: Tensor | None) -> Path:
    save_picture(out.path, Picture(image, alpha), out.overwrite)
    return out.path
