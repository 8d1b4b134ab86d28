"""The work of the commands that explore: tour, sweep, visualize and activations."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from dreamreel.pipeline.app.arguments import RATE
from dreamreel.pipeline.app.jobs import (
    NOISE,
    ZoomOptions,
    image_job,
    still_of_video,
    video_job,
    zoom_job,
)
from dreamreel.pipeline.app.options import (
    CROP,
    DREAM,
    HARDWARE,
    NETWORK,
    READING,
    WIDTH,
    Given,
    refuse,
    table_of,
)
from dreamreel.pipeline.app.terminal import print_result, terminal
from dreamreel.pipeline.app.unused import unused_line
from dreamreel.pipeline.config.grammar import flatten, parse_assignment
from dreamreel.pipeline.config.terms import parse_sum
from dreamreel.pipeline.config.values import check_seconds, parse_fps
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.exploring.about import about
from dreamreel.pipeline.exploring.axes import (
    Axis,
    check_axes,
    combinations,
    parse_axis,
    split_values,
)
from dreamreel.pipeline.exploring.cells import Wanted
from dreamreel.pipeline.exploring.layers import parse_channels, usual_stops
from dreamreel.pipeline.exploring.sheets import file_name
from dreamreel.pipeline.exploring.sweep import make_sweep
from dreamreel.pipeline.jobs.checks import check_picture
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.jobs.kinds import checked_clip, kind_of_file
from dreamreel.pipeline.jobs.paths import Target, usual_output
from dreamreel.pipeline.media.stills import read_header

EXPLORED_WIDTH = 480  # pixels of a picture, where none is given: as wide as a cell, or little more

PRESET = "preset"  # the axis of looks
# Axes that are called like options, by name.
SWEPT = {
    flag.name.removeprefix("--"): flag
    for group in (READING, CROP, DREAM, NETWORK, WIDTH, HARDWARE)
    for flag in group
}


def tour_command(
    source: Path,
    given: Given,
    layers: str | None,
    still: str | None,
    film: tuple[float | None, str],
) -> None:
    """Make the tour of `source` that the options ask for, and print the path of the result. `film`
    holds the values of --seconds and --fps. Raises UserError if it cannot be made."""
    from dreamreel.pipeline.exploring.tour import Tour, make_tour

    settings = given.settings()
    if film[0] is not None:
        check_seconds("--seconds", film[0])
    stops = usual_stops(settings.network) if layers is None else terms_in("--layers", layers)
    job = explored_job(source, given, still)
    tour = Tour(job, stops, film[0], parse_fps("--fps", film[1]))
    out = target(given, usual_output(source, "tour", ".png"))
    with terminal("pictures", given.quiet, stoppable=True) as report:
        path = make_tour(tour, out, report)
    print_result(path)


def sweep_command(
    source: Path,
    given: Given,
    over: Sequence[str],
    moment: tuple[str | None, float | None],
    detail: str | None,
) -> None:
    """Make the sweep of `source` that the options ask for, and print the path of the result.
    `moment` holds the values of --still and --zoom. Raises UserError if it cannot be made."""
    axes = [parse_axis(text) for text in over]
    check_axes(axes)
    _check_apart(axes, given)
    place = None if detail is None else _place(detail)
    for axis in axes:  # each value must be one; combinations may fail alone
        for value in axis.values:
            explored_job(source, _swept(given, [(axis, value)]), *moment)
    wanted = list(_combined(axes, source, given, moment))
    usual = Path("noise-sweep.png") if _is_noise(source) else usual_output(source, "sweep", ".png")
    out = target(given, usual)
    base = explored_job(source, given, *moment)
    some = next((one.job for one in wanted if one.job is not None), base)
    told = about("sweep", base, {"over": {axis.name: list(axis.values) for axis in axes}})
    first = next(combinations(axes))
    line = unused_line(_swept(given, list(zip(axes, first, strict=True))), some)
    with terminal("pictures", given.quiet, stoppable=True) as report:
        if line is not None:
            report.on_notice(line)
        path = make_sweep(axes, wanted, out, source.name, told, report, place)
    print_result(path)


def visualize_command(
    network: str, layer: str | None, classes: str | None, photos: Path | None, given: Given
) -> None:
    """Make the sheet of what channels or classes of `network` look for, and print its path. Raises
    UserError if it cannot be made."""
    from dreamreel.pipeline.exploring.visualize import Looks, visualize

    if (layer is None) == (classes is None):
        raise UserError(
            "give what to visualize: a LAYER, as dreamreel layers lists them, or --classes"
        )
    named = replace(given, tables=[*given.tables, ("NETWORK", {"network": network})])
    names = () if classes is None else tuple(split_values("--classes", classes))
    term = None if layer is None else parse_channels(layer)
    looks = Looks(image_job(None, None, named.settings()), term, names, photos)
    out = target(given, Path(f"{file_name(f'{network}-{layer or classes}')}.png"))
    with terminal("pictures", given.quiet, stoppable=True) as report:
        path = visualize(looks, out, report)
    print_result(path)


def activations_command(
    source: Path,
    layer: str,
    given: Given,
    span: tuple[str | None, str | None, str | None],
    still: str | None,
) -> None:
    """Show what `source` excites in `layer`, and print the path of the result. `span` holds the
    values of --frames, --start and --end. Raises UserError if it cannot be made."""
    from dreamreel.pipeline.exploring.activations import Sight, map_activations

    term, settings = parse_channels(layer), given.settings()
    spans = dict(zip(("--frames", "--start", "--end"), span, strict=True))
    ending = file_name(layer)
    if still is None and kind_of_file(source) in ("film", "folder"):
        clip = checked_clip(source, settings.source)
        job = _small(video_job(source, Path("film.mp4"), settings, span, None, False), clip.width)
        sight = Sight(job, term, clip, job.span)
        out = replace(target(given, usual_output(source, ending, ".mp4")), picture=False)
    else:
        why = "they are of a video" if still is None else "--still makes one picture"
        refuse(spans, why)
        moving = None if still is None else checked_clip(source, settings.source)
        sight = Sight(explored_job(source, given, still), term, moving)
        out = target(given, usual_output(source, ending, ".png"))
    with terminal("frames", given.quiet, stoppable=True) as report:
        path = map_activations(sight, out, report)
    print_result(path)


def _combined(
    axes: Sequence[Axis], source: Path, given: Given, moment: tuple[str | None, float | None]
) -> Iterator[Wanted]:
    """The picture of each combination of the values of `axes`."""
    for values in combinations(axes):
        pairs = list(zip(axes, values, strict=True))
        label = ", ".join(axis.label(value) for axis, value in pairs)
        facts = {"over": {axis.name: value for axis, value in pairs}}
        try:
            job = explored_job(source, _swept(given, pairs), *moment)
        except UserError as error:
            yield Wanted(label, None, str(error), facts)
        else:
            yield Wanted(label, job, facts=facts)


def _swept(given: Given, pairs: Sequence[tuple[Axis, str]]) -> Given:
    """`given` with the value of each axis in `pairs`, which wins."""
    presets, tables = list(given.preset), list(given.tables)
    for axis, value in pairs:
        source = f"--over {axis.name}={value}"
        if axis.name == PRESET:
            presets.append(value)
        elif axis.name in SWEPT:
            tables.append((source, table_of(SWEPT[axis.name], value)))
        else:
            tables.append((source, parse_assignment(f"{axis.name}={value}")))
    return replace(given, preset=presets, tables=tables)


def _check_apart(axes: Sequence[Axis], given: Given) -> None:
    """Raise UserError if two of `axes`, or one and a flag that was given, set the same setting, or
    if one is no setting."""
    set_by = {flag.setting: name for name, (flag, _) in given.flags.items()}
    for axis in axes:
        name = f"--over {axis.name}"
        if axis.name == PRESET:
            settings = [PRESET]
        elif axis.name in SWEPT:
            settings = [SWEPT[axis.name].setting]
        else:
            table = parse_assignment(f"{axis.name}={axis.values[0]}")
            settings = [setting for setting, _ in flatten(table, "--over")]
        for setting in settings:
            if setting in set_by:
                raise UserError(
                    f"{set_by[setting]} and {name} both set {setting}; give one of them"
                )
            set_by[setting] = name


def _place(text: str) -> tuple[float, float]:
    """The place (across, down) in `text`, a value of --detail."""
    found = re.fullmatch(r"(\d*\.?\d+):(\d*\.?\d+)", text, re.ASCII)
    across, down = (float(found[1]), float(found[2])) if found else (-1.0, -1.0)
    if not (0 <= across <= 1 and 0 <= down <= 1):
        raise UserError(
            f"--detail {text!r:.40} is no place; 0.5:0.3 is the middle, a third from the top"
        )
    return across, down


def target(given: Given, usual: Path) -> Target:
    """Where the result of a command goes: the output that was `given`, or else `usual`."""
    path = given.output or usual
    return Target(path, given.overwrite, given.restart, given.reads(), picture=True)


def explored_job(
    source: Path, given: Given, still: str | None = None, zoom: float | None = None
) -> Job:
    """The job of a picture of `source`: of what it shows at the time `still`, if it is a video, or
    of a zoom that began with it `zoom` seconds before.

    Where no width is `given`, it is small. Raises UserError if there is no such picture.
    """
    settings = given.settings()
    if zoom is not None:
        refuse({"--still": still}, "--zoom begins with a picture")
        return _zoomed(source, given, zoom)
    if still is not None:
        job = still_of_video(source, Path("still.png"), settings, still, None)
        return _small(job, checked_clip(source, settings.source).width)
    if _is_noise(source):
        return image_job(source, None, settings)
    if kind_of_file(source) == "film":
        raise UserError(f"{source} is a film; give the moment to explore, as in --still 2.5")
    check_picture(source)
    return _small(image_job(source, None, settings), read_header(source).size[1])


def _zoomed(source: Path, given: Given, seconds: float) -> Job:
    """The job of the zoom of so many `seconds` that begins with `source`, without loss."""
    photo = None if _is_noise(source) else source
    options = ZoomOptions(
        seconds, RATE, None, None, False, None, reverse=False, motion_only=False, audio=None
    )
    job = zoom_job(photo, options, given)
    output = job.settings.output.model_copy(update={"codec": "ffv1", "keep_state": False})
    job = job.model_copy(update={"settings": job.settings.model_copy(update={"output": output})})
    if photo is None:
        return job
    check_picture(photo)
    return _small(job, read_header(photo).size[1])


def _is_noise(source: Path) -> bool:
    return source == NOISE and not source.exists()


def terms_in(option: str, text: str) -> tuple[str, ...]:
    """The terms, each once, in the value `text` of `option`, with commas between them. Raises
    UserError where one is malformed."""
    found = []
    for part in split_values(option, text):
        try:
            terms = parse_sum(part)
        except ValueError as error:
            raise UserError(f"{option} {error}") from error
        if len(terms) > 1 or set(terms.values()) != {1.0}:
            raise UserError(f"{option}: {part!r:.80} is no single term without a weight")
        found += list(terms)
    return tuple(dict.fromkeys(found))


def _small(job: Job, width: int) -> Job:
    """`job`, of a picture of that `width`, no wider than `EXPLORED_WIDTH` unless that is set."""
    if job.settings.width is not None or width <= EXPLORED_WIDTH:
        return job
    settings = job.settings.model_copy(update={"width": EXPLORED_WIDTH})
    return job.model_copy(update={"settings": settings})
