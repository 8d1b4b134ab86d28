"""One job from its source to one whole, verified file."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch

from dreamreel.pipeline.animate import (
    begin_shot,
    dream_video,
    infinite_zoom,
    mixed,
    noise,
    still_ascent,
)
from dreamreel.pipeline.dream import dream, octave_sizes
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.images import (
    KEEPS_ALPHA,
    Frame,
    Picture,
    check_picture_name,
    crop_to,
    fitted_size,
    load_picture,
    partial_path,
    resize,
    save_picture,
    to_frame,
    to_image,
)
from dreamreel.pipeline.motion import MovingFrame, follow_motion
from dreamreel.pipeline.networks import Network, load_network
from dreamreel.pipeline.preview import draw_motion
from dreamreel.pipeline.settings import Settings
from dreamreel.pipeline.video import (
    CONTAINERS,
    Clip,
    Encoder,
    add_sound,
    check_readable,
    count_frames,
    prefetch,
    probe,
    read_frames,
    resized,
    still_at,
    usable,
)

DEFAULT_CANVAS = (360, 640)  # height, width of a zoom that starts from noise


@dataclass(frozen=True)
class Progress:
    """How far a job is: `done` of `total` (None where nobody knows) frames, or steps."""

    done: int
    total: int | None


@dataclass(frozen=True)
class Report:
    """Where a job tells of itself: its progress, and what the user should know."""

    on_progress: Callable[[Progress], None] = lambda progress: None
    on_notice: Callable[[str], None] = lambda line: None


@dataclass(frozen=True)
class Target:
    """Where a result goes, and whether it may replace what is there."""

    path: Path
    overwrite: bool = False


QUIET = Report()


def render_video(
    source: Path,
    out: Target,
    settings: Settings,
    span: tuple[int, int | None] = (0, None),
    report: Report = QUIET,
) -> Path:
    """Dream the frames `span` (first, one past the last) of the video `source` into `out.path`.

    Rate, size and sound are the source's. Raises UserError before anything is written where
    something given cannot work.
    """
    clip = _checked_clip(source, out)
    network = ready_network(settings, fitted_size(clip.height, clip.width, settings.width))
    with _moving_frames(clip, settings, span, report) as moving:
        images = dream_video(moving, network, settings)
        frames = (to_frame(image) for image in images)
        return _write_video(
            frames, out.path, settings, clip.rate, _expected(clip, span), report, clip, span
        )


def preview_flow(
    source: Path,
    out: Target,
    settings: Settings,
    span: tuple[int, int | None] = (0, None),
    report: Report = QUIET,
) -> Path:
    """Draw the motion, the doubts and the cuts of the frames `span` of the video `source`, which a
    render would follow, into the video `out.path`; nothing is dreamed."""
    if settings.flow.method == "none":
        raise UserError("flow.method = none follows no motion: there is nothing to preview")
    clip = _checked_clip(source, out)
    cuts: list[int] = []
    with _moving_frames(clip, settings, span, report) as moving:
        frames = draw_motion(moving, cuts.append)
        path = _write_video(
            frames, out.path, settings, clip.rate, _expected(clip, span), report, clip, span
        )
    where = f"cuts at frames {', '.join(map(str, cuts))}" if cuts else "no cuts"
    report.on_notice(f"{where}; red: not carried, yellow: newly seen")
    return path


def render_zoom(
    photo: Path | None,
    out: Target,
    settings: Settings,
    seconds: float,
    rate: Fraction,
    size: tuple[int, int] | None = None,
    report: Report = QUIET,
) -> Path:
    """Zoom into `photo`, or into noise, for `seconds` at `rate`, dreaming, into `out.path`.

    `size` (height, width) is the canvas, to which a photo is cropped; without it the photo's own.
    """
    if photo is not None:
        check_source(photo, out)
    check_video_name(out.path)
    check_output(out)
    frames = max(1, round(seconds * rate))
    device = torch.device("cpu")
    picture = load_picture(photo, device) if photo is not None else None
    if picture is not None and picture.alpha is not None:
        report.on_notice(f"{photo} has transparent parts: a video keeps none")
    canvas = size or (tuple(picture.image.shape[2:]) if picture is not None else DEFAULT_CANVAS)
    canvas = fitted_size(canvas[0], canvas[1], settings.width)
    network = ready_network(settings, canvas)
    if picture is None:
        image = noise(canvas, settings.seed, network.device)
    else:
        image = crop_to(picture.image, canvas).to(network.device)
    images = infinite_zoom(image, network, settings, frames, rate)
    pictures = (to_frame(image) for image in images)
    return _write_video(pictures, out.path, settings, rate, frames, report)


def render_image(source: Path, out: Target, settings: Settings, report: Report = QUIET) -> Path:
    """Dream the picture `source` into `out.path`, upright, its alpha kept."""
    check_source(source, out)
    check_picture_name(out.path)
    picture = load_picture(source, torch.device("cpu"))
    check_output(out)
    height, width = fitted_size(picture.image.shape[2], picture.image.shape[3], settings.width)
    network = ready_network(settings, (height, width))
    image = resize(picture.image, (height, width)).to(network.device)
    alpha = picture.alpha
    if alpha is not None:
        alpha = resize(alpha[None, None], (height, width))[0, 0]
        if out.path.suffix.lower() not in KEEPS_ALPHA:
            report.on_notice(f"{out.path.suffix} keeps no transparency: written without")
    ascent = still_ascent(settings)
    total = ascent.steps * len(octave_sizes((height, width), network, settings.dream))
    done = itertools.count(1)
    dreamed = dream(
        image,
        network,
        settings.dream,
        ascent,
        seed=settings.seed,
        on_step=lambda: report.on_progress(Progress(next(done), total)),
    )
    save_picture(out.path, Picture(mixed(image, dreamed, settings), alpha))
    return out.path


def render_still(
    source: Path, out: Target, settings: Settings, seconds: float, report: Report = QUIET
) -> Path:
    """Dream the frame of the video `source` shown at `seconds`, as a shot that began with it would
    be, into the picture `out.path`."""
    check_source(source, out)
    check_picture_name(out.path)
    clip = probe(source)
    check_output(out)
    network = ready_network(settings, fitted_size(clip.height, clip.width, settings.width))
    number, frame = still_at(clip, seconds)
    image = to_image(next(resized([frame], settings.width)), network.device)
    done = itertools.count(1)
    total = settings.dream.steps * len(octave_sizes(image.shape[2:], network, settings.dream))
    shot = begin_shot(
        image,
        network,
        settings,
        number,
        on_step=lambda: report.on_progress(Progress(next(done), total)),
    )
    save_picture(out.path, Picture(mixed(image, image + shot.detail, settings)))
    return out.path


def ready_network(settings: Settings, size: tuple[int, int]) -> Network:
    """The network of `settings`, sure to have its layers and to see a picture of `size`."""
    network, _ = loaded_network(settings)
    octave_sizes(size, network, settings.dream)
    return network


def loaded_network(settings: Settings) -> tuple[Network, dict[str, float]]:
    """The network of `settings` and the layers it is to dream, which it is sure to have."""
    layers = settings.dream.layers
    if layers and not any(layers.values()):
        raise UserError("dream.layers gives every layer weight 0; one must have another")
    network = load_network(settings.network, settings.weights, settings.device, settings.precision)
    layers = layers or network.default_layers()
    network.check(layers)
    return network, layers


def check_source(source: Path, out: Target) -> None:
    """Raise UserError where `source` cannot be read, or is what would be written."""
    check_readable(source)
    with usable(out.path):
        if out.path.exists() and out.path.samefile(source):
            raise UserError(f"{out.path} is the source itself; give another name with -o")


def check_video_name(path: Path) -> None:
    """Raise UserError unless `path` ends as a container that can be written does."""
    if path.suffix.lower() not in CONTAINERS:
        given = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise UserError(f"{path} {given}; {', '.join(CONTAINERS)} would work")


def check_output(out: Target) -> None:
    """Raise UserError unless `out.path` can be written."""
    path = out.path
    with usable(path):
        if path.is_dir():
            raise UserError(f"{path} is a folder; name a file in it")
        if not path.parent.is_dir():
            raise UserError(f"there is no folder {path.parent} to write {path.name} into")
        if os.path.lexists(path) and not out.overwrite:
            raise UserError(f"{path} exists; --overwrite replaces it")
    probe_file = partial_path(path)
    try:
        probe_file.touch()
        probe_file.unlink()
    except OSError as error:
        raise UserError(f"{path.parent} cannot be written to ({error.strerror})") from error


def _checked_clip(source: Path, out: Target) -> Clip:
    """What the video `source` holds. Raises UserError where it cannot become `out`."""
    check_source(source, out)
    check_video_name(out.path)
    clip = probe(source)
    check_output(out)
    return clip


@contextmanager
def _moving_frames(
    clip: Clip, settings: Settings, span: tuple[int, int | None], report: Report
) -> Iterator[Iterator[MovingFrame]]:
    """The frames `span` of `clip` with their motion, read and followed ahead by threads."""
    start, stop = span
    frames = resized(read_frames(clip.path, start, stop), settings.width)
    first = next(frames, None)
    if first is None:
        raise UserError(f"{clip.path} ends before frame {start}")
    if clip.irregular:
        report.on_notice(
            f"{clip.path} has a variable frame rate: made constant, {float(clip.rate):.3f}"
        )
    sources = prefetch(itertools.chain([first], frames))
    moving = prefetch(follow_motion(sources, clip.rate, settings, start))
    with closing(sources), closing(moving):
        yield moving


def _write_video(
    frames: Iterator[Frame],
    path: Path,
    settings: Settings,
    rate: Fraction,
    total: int | None,
    report: Report,
    clip: Clip | None = None,
    span: tuple[int, int | None] = (0, None),
) -> Path:
    """Encode `frames` under a partial name, add the sound, count, and rename."""
    pictures = partial_path(path, "pictures")
    whole = partial_path(path)
    try:
        first = next(frames)
        report.on_progress(Progress(1, total))
        size, shape = first.shape[:2], clip.pixel_shape if clip else Fraction(1)
        out = settings.output
        with Encoder(pictures, size, rate, out.crf, out.speed, shape) as encoder:
            encoder.write(first)
            for done, frame in enumerate(frames, 2):
                encoder.write(frame)
                report.on_progress(Progress(done, total))
        seconds = None
        if clip is not None:
            _tell_missing(clip, span, encoder.frames, report)
            seconds = _seconds(clip, span, encoder.frames)
        add_sound(pictures, clip, whole, seconds, report.on_notice)
        written = count_frames(whole)
        if written != encoder.frames:
            raise RuntimeError(f"{encoder.frames} frames went in, {written} came out")
        whole.replace(path)
        return path
    finally:
        pictures.unlink(missing_ok=True)
        whole.unlink(missing_ok=True)


def _expected(clip: Clip, span: tuple[int, int | None]) -> int | None:
    """How many frames `span` of `clip` should have, if anyone knows."""
    start, stop = span
    ends = [end for end in (stop, clip.frames) if end is not None]
    return max(1, min(ends) - start) if ends else None


def _seconds(
    clip: Clip, span: tuple[int, int | None], frames: int
) -> tuple[Fraction, Fraction] | None:
    """Where in the source, in seconds, the dreamed frames lie; None for all of it."""
    start, stop = span
    if start == 0 and (stop is None or frames < stop or frames == clip.frames):
        return None
    return start / clip.rate, (start + frames) / clip.rate


def _tell_missing(clip: Clip, span: tuple[int, int | None], frames: int, report: Report) -> None:
    start, stop = span
    if stop is not None and frames < stop - start:
        report.on_notice(
            f"{clip.path} has {start + frames} frames: dreamed {start}:{start + frames}"
        )
    elif stop is None and clip.frames is not None and start + frames < clip.frames - 1:
        report.on_notice(
            f"{clip.path} promises {clip.frames} frames; {start + frames} could be read"
        )
