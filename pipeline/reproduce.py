"""A file made again from its record."""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.files import digest, found_again
from dreamreel.pipeline.jobs import QUIET, Report
from dreamreel.pipeline.opening import check_readable
from dreamreel.pipeline.paths import Target, record_path
from dreamreel.pipeline.pictures import find_series
from dreamreel.pipeline.record import (
    Record,
    read_record,
    result_path,
    span_of,
    versions,
    zoom_of,
)
from dreamreel.pipeline.render import render_video
from dreamreel.pipeline.unfinished import Threads
from dreamreel.pipeline.zooms import Flight, earlier_zoom, render_zoom


def reproduce(
    record: Path, out: Target, source: Path | None = None, report: Report = QUIET
) -> Path:
    """Make again, into `out.path`, what the file `record` is of; from `source`, where the file it
    names has moved. A record is replaced only by that of the very file it is of. Raises UserError
    where the source is another one by now."""
    told = read_record(record)
    if not _is_of(record, out):
        out = replace(out, reads=(*out.reads, record))
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
    audio = found_again(told.job.get("audio"), record)
    if told.kind == "video" and source is not None:
        span = span_of(told.job)
        return render_video(source, out, told.settings, span, report, threads, audio)
    flight = _flight(told, record, audio)
    return render_zoom(source, out, told.settings, flight, report, threads)


def _is_of(record: Path, out: Target) -> bool:
    """Whether `record` is the one that `out` is to have, by its place and by what it says."""
    with suppress(UserError):
        there = record.absolute() == record_path(out.place).absolute()
        return there and result_path(record).absolute() == out.path.absolute()
    return False


def _flight(told: Record, record: Path, audio: Path | None) -> Flight:
    (frames, rate, size), job = zoom_of(told.job), told.job
    film, colour = found_again(job.get("earlier"), record), job.get("colour")
    earlier = None if film is None else earlier_zoom(film)
    before = 0 if earlier is None else earlier.frames
    return Flight(
        seconds=float((frames - before) / rate),
        rate=rate,
        size=size,
        loop=bool(job.get("loop")),
        to=found_again(job.get("to"), record),
        only_moves=bool(job.get("only_moves")),
        audio=audio,
        reverse=bool(job.get("reverse")),
        colour=None if colour is None else (int(colour[0]), int(colour[1]), int(colour[2])),
        earlier=earlier,
    )
