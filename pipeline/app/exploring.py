"""The work of the commands that explore: tour, sweep, visualize and activations."""

from pathlib import Path

from dreamreel.pipeline.app.jobs import NOISE, image_job, still_of_video
from dreamreel.pipeline.app.options import Given
from dreamreel.pipeline.app.terminal import print_result, terminal
from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.config.terms import parse_sum
from dreamreel.pipeline.config.values import check_seconds, parse_fps
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.exploring.sweep import split_values
from dreamreel.pipeline.jobs.checks import check_picture
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.jobs.kinds import checked_clip, kind_of_file
from dreamreel.pipeline.jobs.paths import Target, usual_output
from dreamreel.pipeline.media.stills import read_header

EXPLORED_WIDTH = 480  # pixels of a picture, where none is given: as wide as a cell, or little more


def tour_command(
    source: Path,
    given: Given,
    layers: str | None,
    still: str | None,
    film: tuple[float | None, str],
) -> None:
    """Make the tour of `source` that the options ask for, and print the path of the result. `film`
    holds the values of --seconds and --fps. Raises UserError if it cannot be made."""
    from dreamreel.pipeline.exploring.tour import Tour, make_tour, usual_stops

    settings = given.settings()
    if film[0] is not None:
        check_seconds("--seconds", film[0])
    stops = usual_stops(settings.network) if layers is None else terms_in("--layers", layers)
    job = explored_job(source, settings, still)
    tour = Tour(job, stops, film[0], parse_fps("--fps", film[1]))
    out = target(given, usual_output(source, "tour", ".png"))
    with terminal("pictures", given.quiet, stoppable=True) as report:
        path = make_tour(tour, out, report)
    print_result(path)


def target(given: Given, usual: Path) -> Target:
    """Where the result of a command goes: the output that was `given`, or else `usual`."""
    path = given.output or usual
    return Target(path, given.overwrite, given.restart, given.reads(), picture=True)


def explored_job(source: Path, settings: Settings, still: str | None) -> Job:
    """The job of a picture of `source`: of what it shows at the time `still`, if it is a video.
    Where `settings` give no width, it is small. Raises UserError if there is no such picture."""
    if still is not None:
        job = still_of_video(source, Path("still.png"), settings, still, None)
        return _small(job, checked_clip(source, settings.source).width)
    if source == NOISE and not source.exists():
        return image_job(source, None, settings)
    if kind_of_file(source) == "film":
        raise UserError(f"{source} is a film; give the moment to explore, as in --still 2.5")
    check_picture(source)
    return _small(image_job(source, None, settings), read_header(source).size[1])


def terms_in(option: str, text: str) -> tuple[str, ...]:
    """The terms, each once, in the value `text` of `option`, with commas between them. Raises
    UserError where one is malformed."""
    found = []
    for part in split_values(option, text):
        try:
            found += list(parse_sum(part))
        except ValueError as error:
            raise UserError(f"{option}: {part} {error}") from error
    return tuple(dict.fromkeys(found))


def _small(job: Job, width: int) -> Job:
    """`job`, of a picture of that `width`, no wider than `EXPLORED_WIDTH` unless that is set."""
    if job.settings.width is not None or width <= EXPLORED_WIDTH:
        return job
    settings = job.settings.model_copy(update={"width": EXPLORED_WIDTH})
    return job.model_copy(update={"settings": settings})
