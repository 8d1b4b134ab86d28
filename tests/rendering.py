"""Dreams and renders as tests ask for them."""

from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from dreamreel.pipeline.config.fields import Dream, Settings
from dreamreel.pipeline.config.values import Colour, Size, Span
from dreamreel.pipeline.dreaming.ascent import Ascent, dream
from dreamreel.pipeline.dreaming.objectives.activations import L2
from dreamreel.pipeline.dreaming.objectives.objective import Objective
from dreamreel.pipeline.dreaming.terms import Term, response_of, terms_of
from dreamreel.pipeline.jobs.job import Flight, Job, NamedFile, flight_of
from dreamreel.pipeline.jobs.report import QUIET, Report
from dreamreel.pipeline.jobs.run import run
from dreamreel.pipeline.jobs.zoom import earlier_zoom, music_of
from dreamreel.pipeline.networks.network import Network


def file_of(path: Path | None) -> NamedFile | None:
    """`path`, if there is one, as a job names it."""
    return None if path is None else NamedFile(path=path)


def render_video(
    source: Path,
    out: Path,
    settings: Settings,
    span: Span = (0, None),
    report: Report = QUIET,
    audio: Path | None = None,
    kind: Literal["video", "preview"] = "video",
    **how: Any,
) -> Path:
    """Dream the frames `span` of the video `source` into `out`; `how` is as for `run`."""
    job = Job(
        kind=kind,
        source=NamedFile(path=source),
        output=out,
        span=span,
        audio=file_of(audio),
        settings=settings,
    )
    return run(job, report, **how)


def flight(
    seconds: float,
    rate: Fraction,
    size: Size | None = None,
    to: Path | None = None,
    colour: Colour | None = None,
    **more: bool,
) -> Flight:
    """A flight of so many `seconds`."""
    frames = max(1, round(seconds * rate))
    return Flight(frames=frames, rate=rate, size=size, to=file_of(to), colour=colour, **more)


def going_on(film: Path, seconds: float, to: Path | None = None) -> Flight:
    """The flight that continues that of `film` for so many `seconds`."""
    earlier = earlier_zoom(film)
    before = flight_of(earlier.job)
    frames = before.frames + max(1, round(seconds * before.rate))
    return Flight(
        frames=frames,
        rate=before.rate,
        to=file_of(to),
        motion_only=before.motion_only,
        earlier=earlier,
    )


def zoom_job(
    out: Path,
    settings: Settings,
    flight: Flight,
    photo: Path | None = None,
    audio: Path | None = None,
) -> Job:
    """The job that dreams the `flight` from `photo`, or as it says, into `out`."""
    return Job(
        kind="zoom",
        source=file_of(photo),
        output=out,
        flight=flight,
        audio=file_of(audio),
        settings=settings,
    )


def render_zoom(
    photo: Path | None,
    out: Path,
    settings: Settings,
    flight: Flight,
    report: Report = QUIET,
    audio: Path | None = None,
    **how: Any,
) -> Path:
    """Dream the `flight` from `photo`, or as it says, into `out`; `how` is as for `run`."""
    if flight.earlier is not None:
        audio = music_of(flight.earlier, audio)
    return run(zoom_job(out, settings, flight, photo, audio), report, **how)


def dreamed(
    image: Tensor,
    network: Network,
    settings: Dream,
    ascent: Ascent,
    objective: Objective = L2,
    **more: Any,
) -> Tensor:
    """`image`, dreamed by `objective` on the layers of `settings`; `more` is as for `dream`."""
    return dream(image, network, terms_of(settings, network, objective), settings, ascent, **more)


def terms(layers: dict[str, float], objective: Objective = L2) -> list[Term]:
    """`objective` on each of `layers`, by its weight."""
    return [Term(name, objective, weight) for name, weight in layers.items()]


def response(
    images: Tensor,
    network: Network,
    layers: dict[str, float],
    where: Tensor | None = None,
    tile: int | None = None,
) -> Tensor:
    """The response of `layers` to each of `images`, as `response_of` has it."""
    return response_of(images, network, terms(layers), where, tile)
