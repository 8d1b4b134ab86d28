"""Short ways to make jobs, renders, dreams and responses in tests."""

from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from dreamreel.pipeline.config.fields import Dream, Settings
from dreamreel.pipeline.config.values import Colour, Size, Span
from dreamreel.pipeline.dreaming.ascent import Ascent, dream
from dreamreel.pipeline.dreaming.objectives.activations import L2
from dreamreel.pipeline.dreaming.objectives.objective import Objective
from dreamreel.pipeline.dreaming.terms import Term, response_of
from dreamreel.pipeline.dreaming.vocabulary import Seen, terms_of
from dreamreel.pipeline.jobs.job import Flight, Job, NamedFile, flight_of
from dreamreel.pipeline.jobs.report import QUIET, Report
from dreamreel.pipeline.jobs.run import run
from dreamreel.pipeline.jobs.zoom import earlier_zoom, music_of
from dreamreel.pipeline.networks.network import Network


def file_of(path: Path | None) -> NamedFile | None:
    """`path` as a `NamedFile`; None for None."""
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
    """Dream the frames `span` of the video `source` into `out`; `how` is for `run`."""
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
    """A flight that lasts `seconds`; `more` is passed to `Flight`."""
    frames = max(1, round(seconds * rate))
    return Flight(frames=frames, rate=rate, size=size, to=file_of(to), colour=colour, **more)


def going_on(film: Path, seconds: float, to: Path | None = None) -> Flight:
    """The flight that continues the zoom `film` for `seconds` more."""
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
    """The job that dreams `flight` into `out`, from `photo` or from a colour, noise or zoom."""
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
    """Dream `flight` into `out`, as by `zoom_job`; `how` is for `run`."""
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
    """The dream of `image` by `objective` on the layers of `settings`; `more` is for `dream`."""
    terms = terms_of(Settings(dream=settings), network, Seen(image, 0), objective=objective)
    return dream(image, network, terms, settings, ascent, **more)


def terms(layers: dict[str, float], objective: Objective = L2) -> list[Term]:
    """The terms of `objective` on each of `layers` (name to weight)."""
    return [Term(name, objective, weight) for name, weight in layers.items()]


def response(
    images: Tensor,
    network: Network,
    layers: dict[str, float],
    where: Tensor | None = None,
    tile: int | None = None,
) -> Tensor:
    """The response of `layers` (name to weight) to each of `images`; see `response_of`."""
    return response_of(images, network, terms(layers), where, tile)
