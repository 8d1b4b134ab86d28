"""A file made again from its record."""

from pathlib import Path

from dreamreel.pipeline.clips import check_readable
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.files import Target, digest
from dreamreel.pipeline.jobs import QUIET, Report
from dreamreel.pipeline.pictures import find_series
from dreamreel.pipeline.record import read_record, span_of, versions, zoom_of
from dreamreel.pipeline.render import render_video
from dreamreel.pipeline.unfinished import Threads
from dreamreel.pipeline.zooms import Flight, render_zoom


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
