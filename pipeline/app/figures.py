"""The work of the commands `schedule` and `measure`: figures and curves, printed or plotted."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from json import dumps
from pathlib import Path
from typing import Any

from dreamreel.pipeline.app.options import Flag, Given
from dreamreel.pipeline.app.terminal import print_result, print_table, terminal
from dreamreel.pipeline.config.fields import GROWTH
from dreamreel.pipeline.config.values import (
    MANY_FRAMES,
    check_seconds,
    parse_fps,
    parse_span,
    told_of_many,
)
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.checks import Checked, check_settings
from dreamreel.pipeline.jobs.job import Job, NamedFile
from dreamreel.pipeline.jobs.kinds import checked_clip
from dreamreel.pipeline.jobs.paths import PICTURE, Target, check_target, record_path
from dreamreel.pipeline.jobs.record import read_record, record_of_zoom
from dreamreel.pipeline.jobs.report import Progress
from dreamreel.pipeline.media.sequences import names_series
from dreamreel.pipeline.media.stills import check_picture_name
from dreamreel.pipeline.opening import check_readable

# Frames that `schedule` shows: it takes 15 to 30 microseconds for each setting in each of them.
MOST_SHOWN = 200_000


@dataclass(frozen=True)
class Judge:
    """The second network that measures strength: its name, weights and layers, as given."""

    network: str | None
    weights: Path | None
    layers: str | None


def show_schedule(
    given: Given, seconds: float, fps: str, audio: Path | None, plot: Path | None
) -> None:
    """Print the values of scheduled settings over time, or plot them into the picture `plot`."""
    settings, rate = given.settings(), parse_fps("--fps", fps)
    check_seconds("--seconds", seconds)
    frames = max(1, round(seconds * rate))
    if frames > MOST_SHOWN:
        raise UserError(
            f"--seconds {seconds:g} at {float(rate):g} frames a second are {frames:,} frames, and "
            f"schedule shows at most {MOST_SHOWN:,}: --seconds {float(MOST_SHOWN / rate):.6g} works"
        )
    _check_pictures(given, [audio], plot)
    from dreamreel.pipeline.config import timeline
    from dreamreel.pipeline.media.sound import hear

    sound = None if audio is None else hear(audio, rate, frames)
    with terminal("frames", given.quiet) as report:
        for line in given.notices():
            report.on_notice(line)
        if frames > MANY_FRAMES:
            report.on_notice(told_of_many(frames))
        found = timeline.curves(settings, frames, rate, sound)
        if timeline.without_beat(settings, sound):
            report.on_notice(f"no beat found in {audio}: beat is 0 throughout")
        faint = timeline.faint_zoom(settings, found.get(GROWTH, ()))
        if faint is not None:
            report.on_notice(faint)
    if plot is None:
        rows = timeline.table(found, settings, rate, sound)
        print_table(rows)
        if any(timeline.SPAN in cell for row in rows[1:] for cell in row):
            print("A row has the least and the most until the next; --plot FILE.png draws all.")
        return
    from dreamreel.pipeline.judging.charts import plot_curves

    beats = [beat for beat in sound.beats if beat < frames / rate] if sound else ()
    plot_curves(found, rate, plot, beats, given.overwrite)
    print_result(plot)


def measure_dream(
    source: Path,
    dream: Path,
    given: Given,
    frames: str | None,
    layers: str | None,
    judge: Judge,
    json: bool,
    plot: Path | None,
) -> None:
    """Print the figures of `dream` against its `source`; plot them into the picture `plot`, if any.

    `frames` and `layers` are the values of --frames and --layers. Raises UserError, before anything
    is measured, if a file or an option cannot be used.
    """
    sets = [*given.set, *([f"dream.terms={layers}"] if layers else [])]
    settings = replace(given, set=sets).settings(*_crop_of(dream))
    span = (0, None) if frames is None else parse_span("--frames", frames)
    if judge.network is None and (judge.weights or judge.layers):
        raise UserError("--judge-weights and --judge-layers need --judge NETWORK")
    read = [source, dream, settings.weights, settings.flow.weights, judge.weights]
    _check_pictures(given, read, plot)
    check_settings(settings)
    judging = _judging(given, judge).settings()
    check_settings(judging)
    from dreamreel.pipeline.jobs.preparation import loaded_network
    from dreamreel.pipeline.judging import video_figures as figures

    network = loaded_network(settings)
    seer, other = (network, settings), None
    if judge.network is not None:
        judges = loaded_network(judging)
        other = (judges, judging)
    with terminal("frames", given.quiet) as report:
        found = figures.measure(
            source,
            dream,
            seer,
            settings,
            span,
            other,
            lambda done, total: report.on_progress(Progress(done, total)),
        )
    if plot is not None:
        figures.plot(found, plot, given.overwrite)
    print(dumps(figures.as_table(found), indent=2) if json else figures.describe(found))


def measure_zoom(
    path: Path, given: Given, json: bool, plot: Path | None, sheet: Path | None
) -> None:
    """Print the figures of the zoom at `path`; plot them into the picture `plot`, and write 24 of
    its frames onto the picture `sheet`, if any."""
    record = record_path(path)
    _check_pictures(given, [path, record if os.path.exists(record) else None], plot, sheet)
    record_of_zoom(path)
    from dreamreel.pipeline.jobs.preparation import loaded_network
    from dreamreel.pipeline.judging import zoom_figures as figures

    flags = {flag.setting: (name, value) for name, (flag, value) in given.flags.items()}
    more = [(name, {setting: value}) for setting, (name, value) in flags.items()]
    zoom = figures.find_zoom(path, *more)
    network = loaded_network(zoom.settings)
    with terminal("frames", given.quiet) as report:
        found = figures.measure_zoom(
            zoom, network, lambda done, total: report.on_progress(Progress(done, total))
        )
    if plot is not None:
        figures.plot(found, plot, given.overwrite)
    if sheet is not None:
        figures.sheet(zoom, sheet, given.overwrite)
    print(dumps(figures.as_table(found), indent=2) if json else figures.describe(found))


def _crop_of(dream: Path) -> list[tuple[str, dict[str, Any]]]:
    """The crop with which `dream` was made, by the record beside it, as a table with its source;
    none where there is no such record."""
    path = record_path(dream)
    try:
        source = read_record(path).job.settings.source
    except UserError:
        return []
    return [(str(path), {"source": {"crop": source.crop, "crop_at": source.crop_at}})]


def _judging(given: Given, judge: Judge) -> Given:
    """The options with which the judge's settings are built: its own, and those of the machine."""
    own = {name: pair for name, pair in given.flags.items() if name in ("--device", "--precision")}
    if judge.network is not None:
        own["--judge"] = (Flag("--judge", "network", ""), judge.network)
    if judge.weights is not None:
        own["--judge-weights"] = (Flag("--judge-weights", "weights", ""), str(judge.weights))
    layers = [f"dream.terms={judge.layers}"] if judge.layers else []
    return Given(own, set=layers)


def _check_pictures(given: Given, reads: Sequence[Path | None], *paths: Path | None) -> None:
    """Raise UserError if a file of `reads` cannot be read, or if one of `paths` cannot be written
    as a picture, is given twice, or is a file that the command reads."""
    for read in reads:
        if read is not None and not names_series(read):
            check_readable(read)
    wanted = [path for path in paths if path is not None]
    if len({*wanted}) < len(wanted):
        raise UserError(f"{wanted[0]} is given for two pictures: give each its own name")
    for path in wanted:
        check_picture_name(path)
        check_target(
            Target(path, given.overwrite, picture=True), (), [*reads, *given.reads()], PICTURE
        )


def run_bench(
    given: Given,
    sizes: str,
    repeats: int,
    as_json: bool,
    plot: Path | None,
    against: Path | None,
) -> None:
    """Measure this machine, and print the figures, compare them with those in the file `against`,
    and draw them into the picture `plot`, where these are given.

    Raises UserError, before anything is measured, if an option or a file cannot be used.
    """
    settings = given.settings()
    from dreamreel.pipeline.judging.bench import course
    from dreamreel.pipeline.judging.bench.showing import bench

    asked = course.Course(
        course.parse_sizes(sizes),
        settings.network if given.has_set("network") else course.NETWORK,
        settings.weights,
        settings.device,
        settings.precision,
        repeats,
    )
    bench(asked, as_json, plot, against, given.overwrite)


def show_shots(source: Path, given: Given, as_json: bool) -> None:
    """Print the shots of the video `source`: their frames, times and lengths. Raises UserError if
    it cannot be read."""
    settings = given.settings()
    clip = checked_clip(source, settings.source)
    # Imported here because it imports torch, which takes seconds.
    from dreamreel.pipeline.jobs.shots import find_shots

    job = Job(kind="video", source=NamedFile(path=source), output=source, settings=settings)
    with terminal("frames", given.quiet) as report:
        shots = find_shots(Checked(job, Target(source), (source,), clip), report)
    rows = [
        {
            "shot": number,
            "first": first,
            "stop": stop,
            "start": round(float(clip.shown_at(first)), 3),
            "end": round(float(clip.shown_at(stop)), 3),
        }
        for number, (first, stop) in enumerate(shots.spans, 1)
    ]
    if as_json:
        print(dumps(rows, indent=2))
        return
    head = ("shot", "frames", "start", "end", "seconds")
    print_table(
        [head]
        + [
            (
                str(row["shot"]),
                f"{row['first']}:{row['stop']}",
                f"{row['start']:.3f}",
                f"{row['end']:.3f}",
                f"{row['end'] - row['start']:.3f}",
            )
            for row in rows
        ]
    )
