"""All that can be refused of a job before torch is imported, which takes seconds."""

from dataclasses import dataclass, replace
from pathlib import Path

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.jobs.job import Job, flight_of, source_of
from dreamreel.pipeline.jobs.paths import (
    KEPT_ZOOM,
    PICTURE,
    PREVIEW,
    RENDER,
    Target,
    check_target,
    check_video_name,
    record_path,
    state_path,
)
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.media.clips import Clip, kind_of, probe
from dreamreel.pipeline.media.encoding import CONTAINERS
from dreamreel.pipeline.media.mux import suffix_that_holds
from dreamreel.pipeline.media.reading import damage
from dreamreel.pipeline.media.stills import check_picture_name
from dreamreel.pipeline.networks.names import check_network_name
from dreamreel.pipeline.opening import check_readable


@dataclass(frozen=True)
class Checked:
    """A job that can be tried: where its result goes, the files that it reads, and the `clip` that
    its source is; None where that is a picture, or there is none."""

    job: Job
    out: Target
    reads: tuple[Path, ...]
    clip: Clip | None = None


def check(job: Job, out: Target, report: Report) -> Checked:
    """`job`, with what is known of it by now. Raises UserError where it cannot work, and tells
    `report` what will be otherwise than one might think."""
    check_settings(job.settings)
    match job.kind:
        case "zoom":
            return _checked_zoom(job, out)
        case "still" if job.at is None:
            return _checked_picture(job, out)
        case "still":
            return _checked_frame(job, out, report)
        case _:
            return _checked_video(job, out, report)


def check_settings(settings: Settings) -> None:
    """Raise UserError for an unknown network, and for weights that are not there."""
    check_network_name(settings.network)
    for path in (settings.weights, settings.flow.weights):
        if path is not None:
            check_readable(path)


def files_of(job: Job) -> list[Path]:
    """The files besides its source that `job` reads: music, a goal, weights."""
    named = [job.audio, job.flight.to if job.flight is not None else None]
    settings = [job.settings.weights, job.settings.flow.weights]
    return [*(file.path for file in named if file), *(path for path in settings if path)]


def may_continue(job: Job, out: Target) -> bool:
    """Whether the state that --continue needs is kept beside the film of a zoom's `job`."""
    flight = flight_of(job)
    ends = flight.loop or flight.reverse or out.path.suffix.lower() not in CONTAINERS
    return job.settings.output.keep_state and not ends


def check_picture(path: Path) -> None:
    """Raise UserError where the file at `path`, which is to be a picture, is none, and say what
    else would do with it."""
    check_readable(path)
    match kind_of(path):
        case "film":
            raise UserError(
                f"{path} is a film, not a picture: dreamreel video dreams it, with --still TIME "
                "one frame of it"
            )
        case "sound":
            raise UserError(f"{path} is a sound, not a picture: --audio has video and zoom hear it")


def _checked_picture(job: Job, out: Target) -> Checked:
    source = source_of(job)
    check_picture(source)
    check_picture_name(out.path)
    check_target(out, [source], files_of(job), PICTURE)
    return Checked(job, out, (source,))


def _checked_frame(job: Job, out: Target, report: Report) -> Checked:
    source, settings = source_of(job), job.settings.source
    clip = probe(source, settings)
    check_picture_name(out.path)
    check_target(out, [source, *clip.files], files_of(job), PICTURE)
    for notice in clip.notices:
        report.on_notice(notice)
    return Checked(job, out, (source,), clip)


def _checked_video(job: Job, out: Target, report: Report) -> Checked:
    """Less is kept of the clip where less is wanted of it; another kind of file is written where
    the one asked for would not hold all."""
    source, settings = source_of(job), job.settings
    if job.kind == "preview" and settings.flow.method == "none":
        raise UserError("flow.method = none follows no motion: there is nothing to preview")
    with usable(source):
        if source.is_file():
            check_readable(source)
    check_video_name(out.path)
    clip = probe(source, settings.source)
    clip = replace(
        clip,
        has_audio=clip.has_audio and settings.output.audio,
        subtitles=clip.subtitles if settings.output.subtitles else (),
    )
    out = _holding(clip, out, report)
    parts = PREVIEW if job.kind == "preview" else RENDER
    check_target(out, [source, *clip.files], files_of(job), parts)
    if settings.source.strict and (fault := damage(clip)) is not None:
        raise UserError(
            f"{source} is damaged ({fault}); what can be read is dreamed without --strict"
        )
    for notice in clip.notices:
        report.on_notice(notice)
    if clip.series is not None and len(clip.series.files) == 1:
        report.on_notice(f"{source} is one picture: dreamreel image makes a picture of it")
    return Checked(job, out, (source,), clip)


def _holding(clip: Clip, out: Target, report: Report) -> Target:
    """`out`, or another kind of file that holds the subtitles of `clip`."""
    if out.path.suffix.lower() not in CONTAINERS:
        return out
    suffix = suffix_that_holds(clip.subtitles, out.path.suffix)
    if suffix == out.path.suffix:
        return out
    report.on_notice(
        f"{out.path.suffix} does not hold the source's subtitles, which are pictures: it becomes "
        f"{suffix}; output.subtitles=false leaves them out"
    )
    return replace(out, path=out.path.with_suffix(suffix))


def _checked_zoom(job: Job, out: Target) -> Checked:
    flight = flight_of(job)
    film = None if flight.earlier is None else flight.earlier.film.path
    named = [file for file in (job.source, flight.to, job.audio) if file is not None]
    given = [*(file.path for file in named), *([] if film is None else [film])]
    for path in given:
        check_readable(path)
    for file in (job.source, flight.to):
        if file is not None:
            check_picture(file.path)
    check_video_name(out.path)
    beside = [] if film is None else [record_path(film), state_path(film)]
    parts = KEPT_ZOOM if may_continue(job, out) else RENDER
    check_target(out, given, [*beside, *files_of(job)], parts)
    _refuse_source_settings(job.settings)
    if flight.loop and flight.to is not None:
        raise UserError("--loop leads back to the beginning, --to to a photo: give one of them")
    if job.source is not None and flight.colour is not None:
        raise UserError(f"a zoom begins with {job.source.path} or with --colour: give one of them")
    return Checked(job, out, tuple(given))


def _refuse_source_settings(settings: Settings) -> None:
    """Raise UserError where settings of a source are given and there is none."""
    for name, value in settings.source:
        if value != type(settings.source).model_fields[name].default:
            raise UserError(f"source.{name} = {value}: a zoom reads no video")
