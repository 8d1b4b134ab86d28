"""`reproduce`: a file rendered again from its record."""

from contextlib import suppress
from pathlib import Path

from dreamreel.pipeline.config.fields import Settings
from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.jobs.identity import digest, found_again, mask_digest, versions
from dreamreel.pipeline.jobs.job import Earlier, Flight, Job, NamedFile
from dreamreel.pipeline.jobs.masking import with_mask_files
from dreamreel.pipeline.jobs.paths import record_path
from dreamreel.pipeline.jobs.record import read_record
from dreamreel.pipeline.jobs.report import QUIET, Report
from dreamreel.pipeline.jobs.run import run
from dreamreel.pipeline.media.sequences import find_series
from dreamreel.pipeline.opening import check_readable


def reproduce(
    record: Path,
    output: Path | None = None,
    source: Path | None = None,
    report: Report = QUIET,
    *,
    overwrite: bool = False,
    restart: bool = False,
) -> Path:
    """Render the file of the record at `record` again, and return its path: `output`, or the path
    beside the record.

    `source` is the job's source if that has moved; its content must be the same. `report`,
    `overwrite` and `restart` are as in `run`. The record itself is replaced only if the output is
    the file that it belongs to. Raises UserError if the record cannot be read, or if a file that it
    names is gone or has changed, and otherwise as `run` does.
    """
    found = read_record(record, output)
    now = versions()
    for name, before in found.made.versions.items():
        if now.get(name) != before:
            report.on_notice(
                f"made with {name} {before}, now {now.get(name)}; the result may differ"
            )
    job = _found(found.job, record, source)
    reads = () if _is_own(record, job) else (record,)
    return run(job, report, overwrite=overwrite, restart=restart, reads=reads)


def _found(job: Job, record: Path, source: Path | None) -> Job:
    """`job` with the present paths of all its files."""
    changes = {
        "source": _found_source(job.source, record, source),
        "audio": _found_file(job.audio, record),
        "flight": _found_flight(job.flight, record),
        "weights_sha256": None,
        "files": (),
        "palette_sha256": None,
        "settings": _with_found_masks(job, record, _found_settings(job, record)),
        "masks": None,
    }
    for file in job.files:
        _found_file(file, record)
    return job.model_copy(update=changes)


def _found_settings(job: Job, record: Path) -> Settings:
    """The settings of `job` with the present path of its palette."""
    dream = job.settings.dream
    if dream.palette is None or job.palette_sha256 is None:
        return job.settings
    path = found_again(NamedFile(path=dream.palette, sha256=job.palette_sha256), record)
    dream = dream.model_copy(update={"palette": path})
    return job.settings.model_copy(update={"dream": dream})


def _found_source(file: NamedFile | None, record: Path, given: Path | None) -> NamedFile | None:
    if file is None:
        return None
    path = given or file.path
    with usable(path):
        if not path.exists():
            path = record.parent / path.name
        if find_series(path) is None:
            check_readable(path)
    if digest(path) != file.sha256:
        raise UserError(f"{path} is not what {record} was made of; its content differs")
    return NamedFile(path=path)


def _found_file(file: NamedFile | None, record: Path) -> NamedFile | None:
    path = found_again(file, record)
    return None if path is None else NamedFile(path=path)


def _with_found_masks(job: Job, record: Path, settings: Settings) -> Settings:
    """`settings`, those of `job`, with the present paths of its masks."""
    found = []
    for file in job.masks or ():
        places = [file.path, record.parent / file.path.name]
        there = [one for one in places if one.exists() and mask_digest(one) == file.sha256]
        if not there:
            raise UserError(f"{file.path}, which {record} was made with, is gone or has changed")
        found.append(there[0])
    return with_mask_files(settings, found) if found else settings


def _found_flight(flight: Flight | None, record: Path) -> Flight | None:
    if flight is None:
        return None
    earlier = flight.earlier
    if earlier is not None:
        film = found_again(earlier.film, record)
        assert film is not None
        earlier = Earlier(film=NamedFile(path=film, sha256=earlier.film.sha256), job=earlier.job)
    changes = {"to": _found_file(flight.to, record), "earlier": earlier}
    return flight.model_copy(update=changes)


def _is_own(record: Path, job: Job) -> bool:
    """Whether the record at `record` belongs to the output of `job`, by its path and by its own
    content."""
    with suppress(UserError):
        there = record.absolute() == record_path(job.place).absolute()
        return there and read_record(record).job.output.absolute() == job.output.absolute()
    return False
