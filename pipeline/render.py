"""One job from its source to one whole, verified file."""

import hashlib
import itertools
import math
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dreamreel.pipeline.animate import (
    Memory,
    begin_shot,
    dream_video,
    mixed,
    still_ascent,
)
from dreamreel.pipeline.checkpoint import Tree, flush, publish
from dreamreel.pipeline.clips import (
    Clip,
    check_readable,
    damage,
    prefetch,
    probe,
    read_frames,
    resized,
    still_at,
)
from dreamreel.pipeline.curves import moment_of
from dreamreel.pipeline.decoding import decode, look_of
from dreamreel.pipeline.dream import dream, octave_sizes
from dreamreel.pipeline.encoding import (
    CONTAINERS,
    Encoding,
    alike,
    encoding_for,
    usual_suffix,
)
from dreamreel.pipeline.errors import Stopped, UserError, usable
from dreamreel.pipeline.exports import (
    FASTEST_GIF,
    check_series_name,
    export,
    is_animated,
    is_series,
    lossless_encoding,
    place_of,
    publish_series,
    series_files,
)
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
    with_alpha,
)
from dreamreel.pipeline.motion import Followed, MovingFrame, follow_motion
from dreamreel.pipeline.music import hear
from dreamreel.pipeline.mux import Part, mux, retime, suffix_that_holds
from dreamreel.pipeline.networks import Network, load_network
from dreamreel.pipeline.pictures import find_series, read_series
from dreamreel.pipeline.preview import draw_motion
from dreamreel.pipeline.record import (
    code_digest,
    is_record,
    read_record,
    record_path,
    span_of,
    versions,
    write_record,
    zoom_of,
)
from dreamreel.pipeline.settings import OverTime, Settings, constant
from dreamreel.pipeline.unfinished import Job, Threads, Unfinished, begin
from dreamreel.pipeline.zoom import Journey, ZoomMemory, infinite_zoom, noise

SMALLEST_TOTAL = 8.0  # times that a zoom grows at least, until what it leads to is there
DEFAULT_CANVAS = (360, 640)  # height, width of a zoom that starts from noise


@dataclass(frozen=True)
class Progress:
    """How far a job is: `done` of `total` (None where nobody knows) frames, or steps, of which
    `before` were done when it went on."""

    done: int
    total: int | None
    before: int = 0


@dataclass(frozen=True)
class Report:
    """Where a job tells of itself: its progress, and what the user should know; and asks whether it
    is to stop."""

    on_progress: Callable[[Progress], None] = lambda progress: None
    on_notice: Callable[[str], None] = lambda line: None
    is_stopping: Callable[[], bool] = lambda: False


@dataclass(frozen=True)
class Target:
    """Where a result goes, whether it may replace what is there, and whether to begin anew where
    a render was stopped."""

    path: Path
    overwrite: bool = False
    restart: bool = False


QUIET = Report()


def render_video(
    source: Path,
    out: Target,
    settings: Settings,
    span: tuple[int, int | None] = (0, None),
    report: Report = QUIET,
    threads: Threads | None = None,
    audio: Path | None = None,
) -> Path:
    """Dream the frames `span` (first, one past the last) of the video `source` into `out.path`,
    or into what holds all of it, which is returned.

    Rate, size and sound are the source's. Schedules hear the music of `audio`, or else the clip's
    own. A render that was stopped goes on; its file is, byte for byte, that of one never stopped
    with as many `threads`. Raises UserError before anything is written where something given
    cannot work, and Stopped where the report asks for it, all frames so far saved.
    """
    clip, out = _checked_clip(source, out, settings, report)
    check_record(out)
    encoding, total = _encoding(clip, out, settings, report), _expected(clip, span)
    heard = _heard(settings, audio or (source if clip.is_file else None))
    over_time = _over_time(settings, total or 1, clip.rate, heard, span[0])
    network = ready_network(settings, fitted_size(clip.height, clip.width, settings.width), report)
    more = {"frames": list(span), **_told_audio(audio)}
    job = _job("video", settings, source, network, more)
    with _under_way(out, job, encoding, total, threads) as work:
        memory = Memory.from_tree(work.state, network.device) if work.done else Memory()
        with _moving_frames(clip, settings, span, report, work.done, memory.followed) as moving:
            last, remembered = _remembering(moving)
            images = dream_video(remembered, network, over_time, memory)
            frames = (_shown(last[0].frame, image, encoding, settings) for image in images)
            _make(frames, work, memory.as_tree, total, settings, report, source)
        told = _told(job, settings, source, out, work, network, {"cuts": memory.cuts})
        return _finish(work, encoding, out, report, told, clip, span)


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
    clip, out = _checked_clip(source, out, settings, report)
    job = _job("preview", settings, source, None, {"frames": list(span)})
    plain = replace(clip, look=None, series=None, animation=None)  # drawings, of 8 bits
    encoding, total = _encoding(plain, out, settings, report, abreast=2), _expected(clip, span)
    with _under_way(out, job, encoding, total) as work:
        cuts: list[int] = work.state["cuts"] if work.done else []
        since = Followed.from_tree(work.state["followed"]) if work.done else None
        with _moving_frames(clip, settings, span, report, work.done, since) as moving:
            last, remembered = _remembering(moving)

            def state() -> Tree:
                followed = last[0].followed
                assert followed is not None
                return {"cuts": cuts, "followed": followed.as_tree()}

            frames = draw_motion(remembered, cuts.append)
            _make(frames, work, state, total, settings, report, source)
        path = _finish(work, encoding, out, report, None, clip, span)
    where = f"cuts at frames {', '.join(map(str, cuts))}" if cuts else "no cuts"
    report.on_notice(f"{where}; red: not carried, yellow: newly seen")
    return path


@dataclass(frozen=True)
class Flight:
    """A zoom of so many `seconds`, `rate` frames a second, on a canvas of `size` (height, width),
    to which pictures are cropped; without it the first picture's own. It comes back to its
    beginning in a `loop`, or arrives at the picture `to`; nothing is dreamed where it
    `only_moves`."""

    seconds: float
    rate: Fraction
    size: tuple[int, int] | None = None
    loop: bool = False
    to: Path | None = None
    only_moves: bool = False
    audio: Path | None = None  # what schedules hear; it becomes the sound

    @property
    def frames(self) -> int:
        """How many it has."""
        return max(1, round(self.seconds * self.rate))


def render_zoom(
    photo: Path | None,
    out: Target,
    settings: Settings,
    flight: Flight,
    report: Report = QUIET,
    threads: Threads | None = None,
) -> Path:
    """Zoom into `photo`, or into noise, dreaming, into `out.path`.

    It is stopped, and goes on, as `render_video` does.
    """
    for given in filter(None, (photo, flight.to, flight.audio)):
        check_source(given, out)
    check_video_name(out.path)
    check_output(out)
    check_record(out)
    _refuse_source_settings(settings)
    check_flight(flight, settings)
    loaded = _opaque(photo, report) if photo is not None else None
    canvas = flight.size or (tuple(loaded.shape[2:]) if loaded is not None else DEFAULT_CANVAS)
    canvas = fitted_size(canvas[0], canvas[1], settings.width)
    clip = Clip(out.path, *canvas, flight.rate, flight.frames)
    encoding = _encoding(clip, out, settings, report)
    network = ready_network(settings, canvas, report)
    device = network.device
    image = noise(canvas, settings.seed, device)
    if loaded is not None:
        image = crop_to(loaded, canvas).to(device)
    goal = None
    if flight.to is not None:
        goal = crop_to(_opaque(flight.to, report), canvas).to(device)
    journey = Journey(flight.frames, flight.rate, flight.loop, goal, not flight.only_moves)
    heard = _heard(settings, flight.audio)
    over_time = _over_time(settings, flight.frames, flight.rate, heard)
    sound = None
    if flight.audio is not None and settings.output.audio:
        sound = Clip(flight.audio, *canvas, flight.rate, None, has_audio=True)
    job = _job("zoom", settings, photo, network, _told_of(flight, canvas))
    with _under_way(out, job, encoding, flight.frames, threads) as work:
        memory = ZoomMemory.from_tree(work.state, device) if work.done else ZoomMemory()
        images = infinite_zoom(image, network, over_time, journey, work.done, memory)
        pictures = (to_frame(image, encoding.depth) for image in images)
        _make(pictures, work, memory.as_tree, flight.frames, settings, report, photo)
        told = _told(job, settings, photo, out, work, network, {})
        return _finish(work, encoding, out, report, told, sound)


def check_flight(flight: Flight, settings: Settings) -> None:
    """Raise UserError where a zoom cannot lead where it is to."""
    if flight.loop and flight.to is not None:
        raise UserError("--loop leads back to the beginning, --to to a photo: give one of them")
    if not flight.loop and flight.to is None:
        return
    what = "--loop" if flight.loop else "--to"
    total = settings.camera.zoom**flight.seconds
    if total < SMALLEST_TOTAL:
        needed = math.log(SMALLEST_TOTAL)
        if settings.camera.zoom <= 1:
            raise UserError(
                f"{what}: camera.zoom = {settings.camera.zoom:g} leads nowhere; 1.5 does"
            )
        raise UserError(
            f"{what}: {flight.seconds:g} s at camera.zoom = {settings.camera.zoom:g} grow the "
            f"picture {total:.2g} times, and {SMALLEST_TOTAL:g} are needed: --seconds "
            f"{math.ceil(10 * needed / math.log(settings.camera.zoom)) / 10:g} or camera.zoom="
            f"{math.ceil(100 * math.exp(needed / flight.seconds)) / 100:g} would do"
        )


def _opaque(photo: Path, report: Report) -> Tensor:
    """The picture `photo` (1, 3, H, W), what of it is transparent told of."""
    picture = load_picture(photo, torch.device("cpu"))
    if picture.alpha is not None:
        report.on_notice(f"{photo} has transparent parts: a video keeps none")
    return picture.image


def _told_of(flight: Flight, canvas: tuple[int, int]) -> Job:
    told: Job = {"count": flight.frames, "rate": str(flight.rate), "size": list(canvas)}
    if flight.loop:
        told["loop"] = True
    if flight.to is not None:
        told["to"] = {"path": str(flight.to.absolute()), "sha256": digest(flight.to)}
    if flight.only_moves:
        told["only_moves"] = True
    return told | _told_audio(flight.audio)


def _told_audio(audio: Path | None) -> Job:
    if audio is None:
        return {}
    return {"audio": {"path": str(audio.absolute()), "sha256": digest(audio)}}


def _heard(settings: Settings, audio: Path | None) -> Path | None:
    """The music that schedules hear, if they hear any. Raises UserError where there is none."""
    if not settings.needs_music:
        return None
    if audio is None:
        names = ", ".join(settings.schedules)
        raise UserError(f"a schedule of {names} hears music, and there is none: --audio FILE")
    return audio


def _over_time(
    settings: Settings, frames: int, rate: Fraction, heard: Path | None, first: int = 0
) -> OverTime:
    """The settings of each of so many `frames`, the first of them numbered `first`. Raises
    UserError where a schedule has no value that its setting can have."""
    if not settings.schedules:
        return constant(settings)
    sound = None if heard is None else hear(heard, rate, frames, first / rate)

    @lru_cache(maxsize=4)
    def at(number: int) -> Settings:
        return settings.at(moment_of(number - first, frames, rate, sound))

    for number in range(first, first + frames):
        at(number)
    return at


def render_image(source: Path, out: Target, settings: Settings, report: Report = QUIET) -> Path:
    """Dream the picture `source` into `out.path`, upright, its alpha kept."""
    check_source(source, out)
    check_picture_name(out.path)
    picture = load_picture(source, torch.device("cpu"))
    check_output(out)
    height, width = fitted_size(picture.image.shape[2], picture.image.shape[3], settings.width)
    network = ready_network(settings, (height, width), report)
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
    clip = probe(source, settings.source.stream, settings.source.fps)
    for notice in clip.notices:
        report.on_notice(notice)
    check_output(out)
    network = ready_network(settings, fitted_size(clip.height, clip.width, settings.width), report)
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


def ready_network(settings: Settings, size: tuple[int, int], report: Report) -> Network:
    """The network of `settings`, sure to have its layers and to see a picture of `size`; where
    memory runs out for it, `report` is told."""
    network, layers = loaded_network(settings)
    network.sight.on_notice = report.on_notice
    network.sight.check(settings.dream.tile, [name for name in layers if layers[name]])
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
    """Raise UserError where the file `source` cannot be read, or is what would be written."""
    check_readable(source)
    with usable(out.path):
        if out.path.exists() and out.path.samefile(source):
            raise UserError(f"{out.path} is the source itself; give another name with -o")


def check_video_name(path: Path) -> None:
    """Raise UserError unless `path` ends as something moving that can be written does."""
    if is_series(path):
        check_series_name(path)
    elif path.suffix.lower() not in CONTAINERS and not is_animated(path):
        given = f"ends in {path.suffix}" if path.suffix else "has no ending"
        raise UserError(
            f"{path} {given}; {', '.join(CONTAINERS)}, .gif, .webp or .apng would work, or "
            "frames/%05d.png"
        )


def check_record(out: Target) -> None:
    """Raise UserError unless the record of `out.path` can be written."""
    path = record_path(place_of(out.path))
    if path.exists() and not out.overwrite and not is_record(path):
        raise UserError(f"{path} exists, and is no record of a render; --overwrite replaces it")


def check_output(out: Target) -> None:
    """Raise UserError unless `out.path` can be written."""
    path = place_of(out.path)
    with usable(path):
        if is_series(out.path):
            _check_series(out)
        elif path.is_dir():
            raise UserError(f"{path} is a folder; name a file in it, or {path}/%05d.png")
        if not path.parent.is_dir():
            raise UserError(f"there is no folder {path.parent} to write {path.name} into")
        if os.path.lexists(path) and not path.is_dir() and not out.overwrite:
            raise UserError(f"{path} exists; --overwrite replaces it")
    probe_file = partial_path(path)
    try:
        probe_file.touch()
        probe_file.unlink()
    except OSError as error:
        raise UserError(f"{path.parent} cannot be written to ({error.strerror})") from error


def _check_series(out: Target) -> None:
    place = place_of(out.path)
    if place.exists() and not place.is_dir():
        raise UserError(f"{place} is a file, not a folder to write {out.path.name} into")
    if place.is_dir() and any(place.iterdir()) and not out.overwrite:
        there = len(series_files(out.path))
        raise UserError(
            f"{place} has files in it, {there} of them like {out.path.name}: --overwrite replaces "
            "those, or give a folder of its own"
        )


def usual_output(source: Path, what: str, settings: Settings) -> Path:
    """Where what is made of `source` goes if nobody says: beside it, and named after it."""
    with usable(source):
        series = not source.is_file() and (source.is_dir() or bool({*"%*?["} & {*source.name}))
    if series:
        folder = (source if source.is_dir() else source.parent).resolve()
        return folder.with_name(f"{folder.name}-{what}{usual_suffix(settings.output.codec)}")
    return source.parent / f"{source.stem}-{what}{usual_suffix(settings.output.codec)}"


def _checked_clip(
    source: Path, out: Target, settings: Settings, report: Report
) -> tuple[Clip, Target]:
    """What the video `source` holds that is wanted, and where its dream goes: into another kind of
    file where the one given would not hold all. Raises UserError where it cannot become that."""
    with usable(source):
        one = source.is_file()
    if one:
        check_source(source, out)
    check_video_name(out.path)
    clip = probe(source, settings.source.stream, settings.source.fps)
    with usable(out.path):
        if is_series(out.path) and set(series_files(out.path)) & set(clip.files):
            raise UserError(f"{out.path} is the source itself; give another folder with -o")
    clip = replace(
        clip,
        has_audio=clip.has_audio and settings.output.audio,
        subtitles=clip.subtitles if settings.output.subtitles else (),
    )
    if out.path.suffix.lower() in CONTAINERS:
        suffix = suffix_that_holds(clip, out.path.suffix)
        if suffix != out.path.suffix:
            report.on_notice(
                f"{out.path.suffix} does not hold the source's subtitles, which are pictures: it "
                f"becomes {suffix}; output.subtitles=false leaves them out"
            )
            out = replace(out, path=out.path.with_suffix(suffix))
    check_output(out)
    if settings.source.strict and (fault := damage(clip)) is not None:
        raise UserError(
            f"{source} is damaged ({fault}); what can be read is dreamed without --strict"
        )
    for notice in clip.notices:
        report.on_notice(notice)
    return clip, out


def _refuse_source_settings(settings: Settings) -> None:
    """Raise UserError where settings of a source are given and there is none."""
    for name, value in settings.source:
        if value != type(settings.source).model_fields[name].default:
            raise UserError(f"source.{name} = {value}: a zoom reads no video")


def _job(
    kind: str, settings: Settings, source: Path | None, network: Network | None, more: Job
) -> Job:
    """What tells one render from another."""
    return {
        "dreamreel": version("dreamreel"),
        "code": code_digest(),
        "kind": kind,
        "source": source and digest(source),
        "weights": network and network.digest,
        **more,
        "settings": settings.model_dump(mode="json", exclude_none=True),
    }


def digest(path: Path) -> str:
    """The SHA-256 of the file at `path`; of pictures in files of their own, that of all of them."""
    files = _files_of(path)
    found = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            one = hashlib.file_digest(opened, "sha256")
        if len(files) == 1:
            return one.hexdigest()
        found.update(one.digest())
    return found.hexdigest()


def _files_of(source: Path) -> list[Path]:
    series = find_series(source)
    return [source] if series is None else list(series.files)


def _stamp(source: Path | None) -> list[tuple[int, int]]:
    """What tells whether `source` was changed: the size of its files, and when each was written."""
    if source is None:
        return []
    try:
        stats = [path.stat() for path in _files_of(source)]
    except OSError as error:
        raise UserError(f"{source} is gone ({error.strerror})") from error
    return [(stat.st_size, stat.st_mtime_ns) for stat in stats]


@contextmanager
def _under_way(
    out: Target,
    job: Job,
    encoding: Encoding,
    frames: int | None,
    threads: Threads | None = None,
) -> Iterator[Unfinished]:
    """The render of `job` into `out`, begun or gone on with, and torch with its threads."""
    threads = threads or Threads(torch.get_num_threads(), os.cpu_count() or 1)
    before = torch.get_num_threads()
    with begin(place_of(out.path), job, encoding, threads, out.restart, frames) as work:
        torch.set_num_threads(work.threads.torch)
        try:
            yield work
        finally:
            torch.set_num_threads(before)


def _encoding(
    clip: Clip, out: Target, settings: Settings, report: Report, abreast: int = 1
) -> Encoding:
    """How what is made of `clip` is encoded, so many pictures `abreast`."""
    height, width = fitted_size(clip.height, clip.width, settings.width)
    abreast *= 2 if settings.output.side_by_side else 1
    told = (height, abreast * width), clip.rate, clip.pixel_shape, clip.depth, clip.has_alpha
    suffix = out.path.suffix.lower()
    if suffix in CONTAINERS:
        encoding = encoding_for(settings.output, suffix, *told)
    else:
        encoding = lossless_encoding(settings.output, out.path, *told)
    if clip.has_alpha and not encoding.has_alpha:
        report.on_notice(f"{encoding.told(suffix)} keeps no transparency: written without")
    if clip.depth > encoding.depth == 8:
        more = "; --codec hevc or prores keeps 10" if suffix in CONTAINERS else ""
        report.on_notice(f"{encoding.told(suffix)} keeps 8 bits of the source's {clip.depth}{more}")
    if suffix == ".gif" and clip.rate > FASTEST_GIF:
        report.on_notice(f"players slow down a GIF of more than {FASTEST_GIF} frames a second")
    return encoding


def _remembering(
    moving: Iterator[MovingFrame],
) -> tuple[list[MovingFrame], Iterator[MovingFrame]]:
    """`moving`, and a list that holds the one of them that was given out last."""
    last: list[MovingFrame] = []

    def remembered() -> Iterator[MovingFrame]:
        for one in moving:
            last[:] = [one]
            yield one

    return last, remembered()


def _shown(source: Frame, image: Tensor, encoding: Encoding, settings: Settings) -> Frame:
    """`image`, the dream of the frame `source`, as it is encoded."""
    frame = to_frame(image, encoding.depth)
    if encoding.has_alpha:
        frame = with_alpha(frame, source)
    if settings.output.side_by_side:
        frame = np.hstack([alike(source, encoding), alike(frame, encoding)])
    return frame


@contextmanager
def _moving_frames(
    clip: Clip,
    settings: Settings,
    span: tuple[int, int | None],
    report: Report,
    done: int = 0,
    since: Followed | None = None,
) -> Iterator[Iterator[MovingFrame]]:
    """The frames `span` of `clip` with their motion, but the first `done`, up to which all was
    followed `since`; read and followed ahead by threads."""
    start, stop = span[0] + done, span[1]
    frames = resized(read_frames(clip, start, stop, report.on_notice), settings.width)
    first = list(itertools.islice(frames, 1))
    if not first and not done:
        raise UserError(f"{clip.path} ends before frame {start}")
    sources = prefetch(itertools.chain(first, frames))
    moving = prefetch(follow_motion(sources, clip.rate, settings, start, since))
    with closing(sources), closing(moving):
        yield moving


def _make(
    frames: Iterator[Frame],
    work: Unfinished,
    state: Callable[[], Tree],
    total: int | None,
    settings: Settings,
    report: Report,
    source: Path | None,
) -> None:
    """Have `work` keep all `frames`, and now and then the `state` after the one made last. Raises
    UserError where the `source` has changed since they began: no such frame is kept."""
    stamp = _stamp(source)

    def save() -> None:
        if _stamp(source) != stamp:
            raise UserError(f"{source} was changed while it was rendered: put it back")
        work.save(state())

    before = work.done
    if before:
        report.on_notice(f"going on after {before} frames that were done before")
    for frame in frames:
        work.add(frame)
        report.on_progress(Progress(work.frames, total, before))
        stopping = report.is_stopping()
        if stopping or work.is_due(settings.output.save_seconds):
            save()
        if stopping:
            of = "" if total is None else f" of {total}"
            raise Stopped(f"stopped; {work.done}{of} frames are done: the same command goes on")
    if work.frames > work.done:
        save()


def _finish(
    work: Unfinished,
    encoding: Encoding,
    out: Target,
    report: Report,
    told: dict[str, Any] | None,
    clip: Clip | None = None,
    span: tuple[int, int | None] = (0, None),
) -> Path:
    """Put the file together, add the sound, look whether all is there, and give it its
    name; and what is `told` of it, to its record."""
    place = place_of(out.path)
    if clip is not None:
        _tell_missing(clip, span, work.frames, report)
    parts = [Part(path, frames / encoding.rate) for path, frames in work.segments()]
    last = (work.frames - 1) / encoding.rate
    if clip is not None and clip.times:
        parts = [_retimed(parts, clip, span[0], work, encoding)]
        last = clip.shown_at(span[0] + work.frames - 1) - clip.shown_at(span[0])
    if out.path.suffix.lower() in CONTAINERS:
        sound = clip if clip is not None and clip.is_file else None
        seconds = None if clip is None else _seconds(clip, span, work.frames)
        if clip is not None and clip.frames is None and not clip.shown:  # sound alone, cut to fit
            seconds = (Fraction(0), work.frames / encoding.rate)
        made = work.folder / f"whole.partial{out.path.suffix}"
        mux(parts, sound, made, seconds, report.on_notice)
        check_whole(made, work.frames, last)
    else:
        whole = work.folder / "lossless.partial.mkv"
        mux(parts, None, whole, None, report.on_notice)
        varies = clip is not None and bool(clip.times)
        made = export(whole, out.path, encoding, span[0], varies, work.folder)
        check_exported(made, work.frames, sum(part.seconds for part in parts))
    for path in [made] if made.is_file() else made.iterdir():
        with path.open("rb+") as file:
            flush(file)
    if told is not None:
        write_record(record_path(place), told)
    if is_series(out.path):
        publish_series(made, out.path)
    else:
        publish(made, place)
    return place


def check_whole(video: Path, frames: int, last: Fraction) -> None:
    """Raise RuntimeError unless decoding `video` gives so many `frames`, the last of them shown
    `last` seconds after the first, within two milliseconds."""
    times = [picture.time for picture in decode(video, 0, look_of(video, 0))]
    if len(times) != frames:
        raise RuntimeError(f"{frames} frames went in, {len(times)} came out")
    since = (times[-1] or 0) - (times[0] or 0)
    if abs(since - last) > Fraction(1, 500):
        raise RuntimeError(f"the last frame is shown at {float(since)} s, not {float(last)} s")


def check_exported(made: Path, frames: int, seconds: Fraction | int) -> None:
    """Raise RuntimeError unless the pictures `made`, a folder or one animation, are so many, and
    last so many `seconds`. (WebP joins frames that are alike.)"""
    series = find_series(made)
    came = sum(1 for _ in (read_frames(made) if series is None else read_series(series)))
    joined = made.suffix.lower() == ".webp" and came < frames
    if came != frames and not joined:
        raise RuntimeError(f"{frames} frames went in, {came} came out")
    if series is None:
        lasts = probe(made).shown_at(came)
        # Each frame's time is rounded to centiseconds, and how long the last is shown is a guess.
        if abs(lasts - seconds) > Fraction(1, 50) + seconds / frames:
            raise RuntimeError(f"{float(seconds)} s went in, {float(lasts)} came out")


def _retimed(
    parts: list[Part], clip: Clip, start: int, work: Unfinished, encoding: Encoding
) -> Part:
    """The pictures of `parts`, each at the time at which the source `clip`, of a variable
    rate, shows the frame it is of."""
    suffix = encoding.segment_suffix
    even, own = (work.folder / f"{name}.partial{suffix}" for name in ("even", "own"))
    mux(parts, None, even, None, lambda line: None)
    begins = clip.shown_at(start)
    times = [clip.shown_at(start + number) - begins for number in range(work.frames + 1)]
    retime(even, own, times)
    return Part(own, times[-1])


def _told(
    job: Job,
    settings: Settings,
    source: Path | None,
    out: Target,
    work: Unfinished,
    network: Network,
    more: dict[str, Any],
) -> dict[str, Any]:
    """What the record of a render tells."""
    known = ("dreamreel", "code", "kind", "source", "weights", "settings")
    return {
        "kind": job["kind"],
        "output": str(out.path.relative_to(place_of(out.path).parent)),
        "source": source and {"path": str(source.absolute()), "sha256": job["source"]},
        "network": {"name": network.name, "weights_sha256": job["weights"]},
        "job": {name: value for name, value in job.items() if name not in known},
        "settings": job["settings"],
        "versions": versions(),
        "device": str(network.device),
        "threads": vars(work.threads),
        "frames": work.frames,
        "seconds": round(work.seconds, 1),
        **more,
    }


def reproduce(
    record: Path, out: Target, source: Path | None = None, report: Report = QUIET
) -> Path:
    """Make again, into `out.path`, what the file `record` is of; from `source`, where the file it
    names has moved. Raises UserError where the source is another one by now."""
    told = read_record(record)
    source = source or told.source
    if source is not None and not source.exists():
        source = record.parent / source.name
    if source is not None:
        if find_series(source) is None:
            check_readable(source)
        if digest(source) != told.digest:
            raise UserError(f"{source} is not what {record} was made of: its content differs")
    now = versions()
    for name, before in told.versions.items():
        if now.get(name) != before:
            report.on_notice(f"made with {name} {before}, now {now.get(name)}: may differ")
    threads = Threads(**told.threads)
    audio = _same(told.job.get("audio"), record)
    if told.kind == "video" and source is not None:
        span = span_of(told.job)
        return render_video(source, out, told.settings, span, report, threads, audio)
    frames, rate, size = zoom_of(told.job)
    flight = Flight(
        float(frames / rate), rate, size, bool(told.job.get("loop")),
        _same(told.job.get("to"), record), bool(told.job.get("only_moves")), audio,
    )  # fmt: skip
    return render_zoom(source, out, told.settings, flight, report, threads)


def _same(named: dict[str, str] | None, record: Path) -> Path | None:
    """The file that `record` names beside its source, if it names one. Raises UserError where it
    is gone, or another one by now."""
    if named is None:
        return None
    path = Path(named["path"])
    if not path.exists() or digest(path) != named["sha256"]:
        raise UserError(f"{path}, which {record} was made with, is gone or another one")
    return path


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
    return clip.shown_at(start), clip.shown_at(start + frames)


def _tell_missing(clip: Clip, span: tuple[int, int | None], frames: int, report: Report) -> None:
    start, stop = span
    if stop is not None and frames < stop - start:
        report.on_notice(
            f"{clip.path} has {start + frames} frames: dreamed {start}:{start + frames}"
        )
    elif stop is None and clip.frames is not None and start + frames < clip.frames:
        report.on_notice(
            f"{clip.path} promises {clip.frames} frames; {start + frames} could be read"
        )
