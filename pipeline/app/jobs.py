"""Jobs made of the options of a command line."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from dreamreel.pipeline.app.options import Given
from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.values import (
    Span,
    check_seconds,
    parse_colour,
    parse_fps,
    parse_size,
    parse_span,
    parse_time,
)
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.job import Flight, Job, NamedFile, as_table, flight_of
from dreamreel.pipeline.jobs.kinds import check_kind, checked_clip
from dreamreel.pipeline.jobs.paths import record_path, usual_output
from dreamreel.pipeline.media.encoding import usual_suffix
from dreamreel.pipeline.media.reading import frames_between
from dreamreel.pipeline.media.stills import can_be_written

NOISE = Path("noise")  # what a picture begins with that has no source


@dataclass(frozen=True)
class ZoomOptions:
    """The options that only `zoom` has, as they were given."""

    seconds: float
    fps: str
    size: str | None
    colour: str | None
    loop: bool
    to: Path | None
    reverse: bool
    motion_only: bool
    audio: Path | None


def video_job(
    source: Path,
    output: Path | None,
    settings: Settings,
    span: tuple[str | None, str | None, str | None],
    audio: Path | None,
    is_preview: bool,
) -> Job:
    """The job that dreams the video `source`, or previews its motion. `span` holds the values of
    --frames, --start and --end. Raises UserError if they name no span."""
    ending = "flow" if is_preview else "dream"
    return Job(
        kind="preview" if is_preview else "video",
        source=NamedFile(path=source),
        output=output or usual_output(source, ending, usual_suffix(settings.output.codec)),
        span=_span(source, settings, *span),
        audio=None if audio is None or is_preview else NamedFile(path=audio),
        settings=settings,
    )


def still_of_video(
    source: Path, output: Path | None, settings: Settings, time: str, audio: Path | None
) -> Job:
    """The job that dreams the frame of the video `source` that is shown at `time`, as given.
    Raises UserError if `time` is no time."""
    at = parse_time("--still", time)
    moment = f"{at:.3f}".rstrip("0").rstrip(".")
    return Job(
        kind="still",
        source=NamedFile(path=source),
        output=output or usual_output(source, f"dream-{moment}s", ".png"),
        at=at,
        audio=None if audio is None else NamedFile(path=audio),
        settings=settings,
    )


def image_job(source: Path | None, output: Path | None, settings: Settings) -> Job:
    """The job that dreams the picture `source`; without one, or for the word `noise` where no file
    has that name, it imagines a picture."""
    if source is None or (source == NOISE and not source.exists()):
        return Job(kind="still", output=output or Path("noise-dream.png"), settings=settings)
    suffix = source.suffix if can_be_written(source) else ".png"
    return Job(
        kind="still",
        source=NamedFile(path=source),
        output=output or source.parent / f"{source.stem}-dream{suffix}",
        settings=settings,
    )


def zoom_job(photo: Path | None, options: ZoomOptions, given: Given) -> Job:
    """The job of a zoom that begins with `photo` or, without one, with a colour or noise.

    Raises UserError if an option has no valid value.
    """
    check_seconds("--seconds", options.seconds)
    rate = parse_fps("--fps", options.fps)
    size, colour, to = options.size, options.colour, options.to
    settings = given.settings()
    flight = Flight(
        frames=_frames(options.seconds, rate),
        rate=rate,
        size=None if size is None else parse_size("--size", size),
        colour=None if colour is None else parse_colour("--colour", colour),
        loop=options.loop,
        to=None if to is None else NamedFile(path=to),
        reverse=options.reverse,
        motion_only=options.motion_only,
        raises_zoom=not given.has_set("camera.zoom"),
    )
    name = f"{photo.stem}-zoom" if photo else "zoom"
    usual = Path(photo.parent if photo else ".") / (name + usual_suffix(settings.output.codec))
    return Job(
        kind="zoom",
        source=None if photo is None else NamedFile(path=photo),
        output=given.output or usual,
        flight=flight,
        audio=None if options.audio is None else NamedFile(path=options.audio),
        settings=settings,
    )


def continued_zoom_job(film: Path, options: ZoomOptions, given: Given) -> Job:
    """The job that continues the zoom in the file `film` from its end.

    Raises UserError if `film` cannot be continued.
    """
    check_seconds("--seconds", options.seconds)
    check_kind(film, "film", "picture")  # an animation is a picture
    # Imported here because it imports torch, which takes seconds.
    from dreamreel.pipeline.jobs.zoom import earlier_zoom, music_of

    earlier = earlier_zoom(film)
    before, audio = flight_of(earlier.job), music_of(earlier, options.audio)
    flight = Flight(
        frames=before.frames + _frames(options.seconds, before.rate),
        rate=before.rate,
        to=None if options.to is None else NamedFile(path=options.to),
        motion_only=before.motion_only,
        earlier=earlier,
    )
    base: Mapping[str, Any] = as_table(earlier.job)["settings"]
    return Job(
        kind="zoom",
        output=given.output or film.with_name(f"{film.stem}-longer{film.suffix}"),
        flight=flight,
        audio=None if audio is None else NamedFile(path=audio),
        settings=given.settings((str(record_path(film)), base)),
    )


def _frames(seconds: float, rate: Fraction) -> int:
    return max(1, round(seconds * rate))


def _span(
    source: Path, settings: Settings, frames: str | None, start: str | None, end: str | None
) -> Span:
    if start is None and end is None:
        return (0, None) if frames is None else parse_span("--frames", frames)
    if frames is not None:
        raise UserError(
            "--frames counts frames, --start and --end count seconds: give one or the other"
        )
    begins = None if start is None else parse_time("--start", start)
    ends = None if end is None else parse_time("--end", end)
    clip = checked_clip(source, settings.source)
    return frames_between(clip, begins, ends)
