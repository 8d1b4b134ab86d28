"""The checks of a job that need no torch, whose import takes seconds."""

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dreamreel.pipeline.config.fields import Settings, Source
from dreamreel.pipeline.config.terms import files_in, parse_term
from dreamreel.pipeline.config.values import (
    MANY_FRAMES,
    SMALLEST_SIDE,
    Bars,
    Span,
    check_frames,
    parse_bars,
    told_of_many,
)
from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.jobs.identity import stamp
from dreamreel.pipeline.jobs.job import Job, as_table, flight_of, source_of
from dreamreel.pipeline.jobs.kinds import check_kind, checked_clip
from dreamreel.pipeline.jobs.masking import check_video_masks, refuse_masks
from dreamreel.pipeline.jobs.paths import (
    KEPT_ZOOM,
    PREVIEW,
    RENDER,
    STILL,
    Target,
    check_target,
    check_video_name,
    record_path,
    state_path,
)
from dreamreel.pipeline.jobs.report import QUIET, Report
from dreamreel.pipeline.media.animations import moves, told_of_scan
from dreamreel.pipeline.media.clips import Clip, Raster, guiding_clip
from dreamreel.pipeline.media.encoding import CONTAINERS, Encoding, encoding_for
from dreamreel.pipeline.media.exports import FASTEST_GIF, LONGEST_IN_GIF, lossless_encoding
from dreamreel.pipeline.media.mux import never_kept, suffix_that_holds
from dreamreel.pipeline.media.reading import damage
from dreamreel.pipeline.media.sound import check_sound
from dreamreel.pipeline.media.stills import check_picture_name, no_picture
from dreamreel.pipeline.networks.classes import find_class, imagenet_names
from dreamreel.pipeline.networks.dreamnet_layers import dreamnet_layers
from dreamreel.pipeline.networks.files import file_of
from dreamreel.pipeline.networks.names import check_layer, check_network_name, is_listed
from dreamreel.pipeline.opening import check_readable


@dataclass(frozen=True)
class Checked:
    """A job that passed the checks.

    `out` is where its result goes, `reads` are the files that were given as its input, and `clip`
    is its source if that is a clip; None for a picture or no source. `chosen` is as for `run`.
    """

    job: Job
    out: Target
    reads: tuple[Path, ...]
    clip: Clip | None = None
    chosen: frozenset[str] = frozenset()


def check(job: Job, out: Target, report: Report) -> Checked:
    """`job` after all checks of its kind. `out` may get another suffix on the way.

    Raises UserError if the job cannot work. Notices about what the result will lack or change go to
    `report`.
    """
    check_settings(job.settings)
    match job.kind:
        case "zoom":
            return _checked_zoom(job, out, report)
        case "still" if job.at is None:
            return _checked_picture(job, replace(out, picture=True), report)
        case "still":
            return _checked_frame(job, replace(out, picture=True), report)
        case _:
            return _checked_video(job, out, report)


def check_settings(settings: Settings) -> None:
    """Raise UserError if the network is unknown, or a layer of `dreamnet` or a class of a network
    with its own weights, or if a file that the settings name cannot be read."""
    check_network_name(settings.network)
    terms = [text for dream in settings.dreams for text in dream.terms]
    for term in map(parse_term, terms):
        if settings.network == "dreamnet" and term.layer:
            check_layer(term.layer, [row.name for row in dreamnet_layers()], "dreamnet")
        own = settings.weights is None and is_listed(settings.network)
        if term.kind == "class" and own:
            find_class(imagenet_names(), term.what)
    for guide in files_in(terms):
        guiding_clip(guide)
    masks = [mask.weights for mask in settings.masks]
    for path in (settings.weights, settings.flow.weights, *masks):
        if path is not None:
            check_readable(path)
    if settings.dream.palette is not None:
        if settings.dream.colour == "source":
            raise UserError(
                "dream.colour = source and dream.palette ask for two palettes; leave one out"
            )
        check_picture(settings.dream.palette)


def bars_at(settings: Settings, size: tuple[int, int], at: tuple[int, int]) -> Bars:
    """The bars of `source.bars` in frames of the size `at` (height, width), of a source of `size`.
    Raises UserError where they leave too little of it."""
    bars = parse_bars(settings.source.bars)
    if isinstance(bars, str):
        return bars
    height, width = at
    across, down = width / size[1], height / size[0]
    left, top, right, bottom = (
        round(side * scale) for side, scale in zip(bars, (across, down, across, down), strict=True)
    )
    if min(width - left - right, height - top - bottom) < SMALLEST_SIDE:
        raise UserError(
            f"source.bars = {settings.source.bars} leaves no picture of {SMALLEST_SIDE}x"
            f"{SMALLEST_SIDE} pixels of a source of {size[1]}x{size[0]}"
        )
    return left, top, right, bottom


def files_of(job: Job) -> list[Path]:
    """The files that `job` reads besides its source: music, a goal, weights, guides, masks, a
    palette."""
    named = [job.audio, job.flight.to if job.flight is not None else None]
    return [*(file.path for file in named if file), *named_by(job.settings)]


def named_by(settings: Settings) -> list[Path]:
    """The files that `settings` name: weights, guides, masks, a palette."""
    masks = [path for mask in settings.masks for path in (mask.file, mask.weights)]
    weights = [file_of(settings.network), settings.weights, settings.flow.weights]
    paths = [*weights, settings.dream.palette, *masks]
    guides = [path for dream in settings.dreams for path in files_in(dream.terms)]
    return [*(path for path in paths if path), *guides]


def key_of(job: Job) -> str:
    """The digest of all that `job` says but its own key, and of the sizes and times of the files
    that it reads. A file that is not there counts as such."""
    stamps: dict[str, Any] = {}
    for path in (*([job.source.path] if job.source else []), *files_of(job)):
        with suppress(UserError):
            stamps[str(path)] = stamp(path)
    table = as_table(job.model_copy(update={"key": None}))
    text = json.dumps([table, stamps], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def may_continue(job: Job, out: Target) -> bool:
    """Whether the zoom of `job` keeps the state that --continue needs beside its film."""
    flight = flight_of(job)
    ends = flight.loop or flight.reverse or out.path.suffix.lower() not in CONTAINERS
    return job.settings.output.keep_state and not ends


def check_picture(path: Path) -> None:
    """Raise UserError if the file at `path` is no picture. The message names the command that takes
    it, if there is one."""
    if check_kind(path, "picture") is None:
        raise no_picture(path)


def _checked_picture(job: Job, out: Target, report: Report) -> Checked:
    check_picture_name(out.path)
    if job.source is None:
        views = job.settings.imagine
        if views.least > views.most:
            raise UserError(
                f"imagine.least = {views.least:g} is more than imagine.most = {views.most:g}: the "
                "closest view shows least"
            )
        check_target(out, [], files_of(job), STILL)
        return Checked(job, out, ())
    source = source_of(job)
    check_picture(source)
    check_target(out, [source], files_of(job), STILL)
    if moves(source):
        report.on_notice(f"{source} moves: its first picture is dreamed; dreamreel video takes all")
    return Checked(job, out, (source,))


def _checked_frame(job: Job, out: Target, report: Report) -> Checked:
    source, settings = source_of(job), job.settings.source
    if job.audio is not None:
        _check_music(job.audio.path)
    check_picture_name(out.path)
    clip = _probed(source, settings, report)
    bars_at(job.settings, clip.size, clip.raster.size_at(job.settings.width))
    check_target(out, [source, *clip.files], files_of(job), STILL)
    for notice in clip.notices:
        report.on_notice(notice)
    return Checked(job, out, (source,), _with_square_pixels(clip, job, out, report))


def _checked_video(job: Job, out: Target, report: Report) -> Checked:
    """The check of a video or preview. The clip loses the sound or subtitles that the settings
    leave out, and `out` gets another suffix if its container cannot hold the subtitles."""
    source, settings = source_of(job), job.settings
    if job.kind == "preview" and settings.flow.method == "none":
        raise UserError(
            "flow.method = none follows no motion, so there is nothing to preview; leave it out"
        )
    with usable(source):
        if source.is_file():
            check_readable(source)
    if job.audio is not None:
        _check_music(job.audio.path)
    check_video_name(out.path)
    clip = _probed(source, settings.source, report)
    _check_span(job, clip)
    clip = replace(
        clip,
        has_audio=clip.has_audio and settings.output.audio,
        subtitles=clip.subtitles if settings.output.subtitles else (),
    )
    out = _fitting_container(clip, out, report)
    bars_at(settings, clip.size, clip.raster.size_at(settings.width))
    check_video_masks(job, clip, report)
    if job.kind == "video":
        encoding_of(clip.raster, out, settings, QUIET)
    parts = PREVIEW if job.kind == "preview" else RENDER
    check_target(out, [source, *clip.files], files_of(job), parts)
    if settings.source.strict and (fault := damage(clip)) is not None:
        raise UserError(
            f"{source} is damaged ({fault}); without --strict, what can be read is dreamed"
        )
    for notice in clip.notices:
        report.on_notice(notice)
    clip = _with_square_pixels(clip, job, out, report)
    suffix = out.path.suffix
    tracks = clip.tracks if suffix.lower() in CONTAINERS else None
    if tracks is not None and (lost := never_kept(tracks, suffix)) is not None:
        report.on_notice(lost)
    if suffix.lower() == ".png" and not out.is_series:
        frames = out.path.with_suffix("") / "%05d.png"
        report.on_notice(
            f"{out.path} becomes one animated PNG; -o {frames} makes a picture of each frame, "
            "--still TIME one picture"
        )
    if clip.series is not None and len(clip.series.files) == 1:
        report.on_notice(
            f"{source} is one picture, and so is the film; dreamreel image makes a picture of it, "
            "dreamreel zoom a film"
        )
    return Checked(job, out, (source,), clip)


def _check_span(job: Job, clip: Clip) -> None:
    """Raise UserError if the span of `job` begins behind the last frame of `clip`."""
    if clip.frames is not None and job.span[0] >= clip.frames:
        raise UserError(
            f"{clip.path} ends before frame {job.span[0]}: it has {clip.frames}; give an earlier "
            "start"
        )


def _check_music(path: Path) -> None:
    """Raise UserError if the file at `path` is of a kind without sound, or has none."""
    check_kind(path, "sound", "film")
    check_sound(path)


def _probed(path: Path, settings: Source, report: Report) -> Clip:
    """The clip at `path`; if it takes a while to find its frames, with a notice before."""
    if (told := told_of_scan(path)) is not None:
        report.on_notice(told)
    return checked_clip(path, settings)


def _with_square_pixels(clip: Clip, job: Job, out: Target, report: Report) -> Clip:
    """`clip`, its pixels made square if `out` does not keep their shape."""
    shape, width = clip.pixel_shape, job.settings.width
    if shape == 1 or out.path.suffix.lower() in CONTAINERS:
        return clip
    square = replace(clip, square=True)
    (high, wide), (height, width) = clip.raster.size_at(width), square.raster.size_at(width)
    report.on_notice(
        f"{out.path.suffix} keeps no shape of pixels: those of {shape.numerator}:"
        f"{shape.denominator} are made square, so that {wide}x{high} becomes {width}x{height}"
    )
    return square


def _fitting_container(clip: Clip, out: Target, report: Report) -> Target:
    """`out`, with the suffix of a container that holds the subtitles of `clip`."""
    if out.path.suffix.lower() not in CONTAINERS:
        return out
    suffix = suffix_that_holds(clip.subtitles, out.path.suffix)
    if suffix == out.path.suffix:
        return out
    report.on_notice(
        f"{out.path.suffix} cannot hold the source's subtitles, which are pictures: the output "
        f"becomes {suffix}; output.subtitles=false leaves them out"
    )
    return replace(out, path=out.path.with_suffix(suffix))


def _checked_zoom(job: Job, out: Target, report: Report) -> Checked:
    flight = flight_of(job)
    check_frames(flight.frames)
    film = None if flight.earlier is None else flight.earlier.film.path
    named = [file for file in (job.source, flight.to, job.audio) if file is not None]
    given = [*(file.path for file in named), *([] if film is None else [film])]
    for path in given:
        check_readable(path)
    for file in (job.source, flight.to):
        if file is not None:
            check_picture(file.path)
    if job.audio is not None:
        _check_music(job.audio.path)
    check_video_name(out.path)
    _refuse_source_settings(job.settings)
    refuse_masks(job.settings)
    if job.settings.dream.width is not None:
        raise UserError(
            f"dream.width = {job.settings.dream.width}: all of a zoom's picture is dreamed, so "
            "there is no larger source; --width makes the zoom smaller"
        )
    if film is None:
        smallest = Raster(SMALLEST_SIDE, SMALLEST_SIDE, flight.rate, flight.own_frames)
        encoding_of(smallest, out, job.settings, QUIET)
    if flight.loop and flight.to is not None:
        raise UserError("--loop ends at the beginning, --to at a photo; give only one of them")
    if job.source is not None and flight.colour is not None:
        raise UserError(f"a zoom begins with {job.source.path} or with --colour; give only one")
    if flight.frames > MANY_FRAMES:
        report.on_notice(told_of_many(flight.frames))
    beside = [] if film is None else [record_path(film), state_path(film)]
    parts = KEPT_ZOOM if may_continue(job, out) else RENDER
    check_target(out, given, [*beside, *files_of(job)], parts)
    return Checked(job, out, tuple(given))


def _refuse_source_settings(settings: Settings) -> None:
    """Raise UserError if a setting of a video's source is given, since a zoom has none."""
    for name, value in settings.source:
        if name != "bars" and value != type(settings.source).model_fields[name].default:
            instead = "give --size instead" if name.startswith("crop") else "leave it out"
            raise UserError(f"source.{name} = {value}: a zoom reads no video; {instead}")


def encoding_of(
    raster: Raster, out: Target, settings: Settings, report: Report, abreast: int = 1
) -> Encoding:
    """The encoding of the dream of a clip with `raster` into `out`. A frame holds `abreast`
    pictures side by side. Notices about lost alpha, bits or speed go to `report`.

    Raises UserError if the codec and the container of `out` do not go together.
    """
    height, width = raster.size_at(settings.width)
    abreast *= 2 if settings.output.side_by_side else 1
    size = (height, abreast * width)
    about = size, raster.rate, raster.shown_shape, raster.depth, raster.has_alpha
    suffix = out.path.suffix.lower()
    if suffix in CONTAINERS:
        encoding = encoding_for(settings.output, suffix, *about)
    else:
        encoding = lossless_encoding(settings.output, out.path, *about)
    if settings.output.encoder == "auto" and encoding.hardware is None:
        report.on_notice(f"no encoder in hardware works here for {encoding.codec}: software does")
    if raster.has_alpha and not encoding.has_alpha:
        report.on_notice(f"{encoding.told(suffix)} keeps no transparency; it is left out")
    if raster.depth > encoding.depth == 8:
        more = "; --codec hevc or prores keeps 10" if suffix in CONTAINERS else ""
        report.on_notice(
            f"{encoding.told(suffix)} keeps 8 bits of the source's {raster.depth}{more}"
        )
    if suffix == ".gif" and raster.rate < 1 / LONGEST_IN_GIF:
        raise UserError(
            f"a GIF shows no frame for {float(1 / raster.rate):g} s: {float(LONGEST_IN_GIF):g} s "
            "at most; .webp, .apng and .mp4 do"
        )
    if suffix == ".gif" and raster.rate > FASTEST_GIF:
        report.on_notice(f"players slow down a GIF of more than {FASTEST_GIF} frames a second")
    return encoding


def expected_frames(clip: Clip, span: Span) -> int | None:
    """The number of frames of `clip` in `span`, by what its file says; None if unknown."""
    start, stop = span
    ends = [end for end in (stop, clip.frames) if end is not None]
    return max(1, min(ends) - start) if ends else None
