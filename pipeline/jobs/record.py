"""Records: the job that made a file, and how the render went, so that it can be made again."""

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from dreamreel.pipeline.durable import write_whole
from dreamreel.pipeline.errors import UserError, address_error
from dreamreel.pipeline.jobs.job import Count, FrameNumber, Job, Model, as_table, fault_of
from dreamreel.pipeline.jobs.kinds import check_kind
from dreamreel.pipeline.jobs.paths import JOB_BYTES, RECORD_FORMAT, record_path
from dreamreel.pipeline.media.sequences import place_of
from dreamreel.pipeline.opening import misnamed, read_json


class Made(Model):
    """How a render went.

    `versions` are those of Dreamreel and its libraries, and `network` and `device` those that
    dreamed. `frames` is the number of frames of the film, and `seconds` is the time that the render
    took. `cuts` are the numbers of the frames at which shots begin. `exact_from` is the number of
    the frame from which PyAV decoded the source instead of OpenCV; None if it did not.
    """

    versions: dict[str, str]
    network: str
    device: str
    frames: Count
    seconds: float = Field(ge=0)
    cuts: tuple[FrameNumber, ...] = ()
    exact_from: FrameNumber | None = None


class Record(Model):
    """The content of OUT.json: the format number `record`, the `job`, whose output is a plain name
    beside the record, and how it was `made`."""

    record: Literal[2] = 2
    job: Job
    made: Made


def write_record(path: Path, job: Job, made: Made) -> None:
    """Write the record of `job` to `path`, whole or not at all."""
    named = job.model_copy(update={"output": _name_of(job)})
    table = {
        "record": RECORD_FORMAT,
        "job": as_table(named),
        "made": made.model_dump(mode="json", exclude_none=True),
    }
    text = json.dumps(table, indent=2) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def read_record(path: Path, output: Path | None = None) -> Record:
    """The record at `path`, with the output of its job replaced by `output` or, if that is None, by
    the path beside the record.

    Raises UserError if there is no record, if it has another format number, or if anything in it is
    missing or not valid.
    """
    found = _json(path)
    if "record" in found and found["record"] != RECORD_FORMAT:
        raise UserError(
            f"{path} is a record of format {found['record']!r:.20}, and this version of Dreamreel "
            f"reads format {RECORD_FORMAT}; render the file again"
        )
    if found.get("record") != RECORD_FORMAT:
        raise UserError(f"{path} is no record of a render")
    try:
        record = Record.model_validate_json(json.dumps(found))
    except (ValidationError, UserError) as error:  # UserError: of its settings
        fault = fault_of(error) if isinstance(error, ValidationError) else str(error)
        raise UserError(f"{path} is a record that makes no sense: {fault}") from error
    if record.job.piece is not None:
        raise UserError(f"{path} is a record that makes no sense: it is that of a piece")
    if output is None:
        output = path.parent / _checked_name(path, record.job)
    return record.model_copy(update={"job": record.job.model_copy(update={"output": output})})


def record_of_zoom(path: Path) -> Record:
    """The record beside the zoom `path`, a file or pictures. Raises UserError if there is none, or
    that of another kind of render."""
    record = record_path(place_of(path))
    if not os.path.exists(record):
        if not os.path.lexists(path) and (address := address_error(path)) is not None:
            raise address
        raise UserError(
            f"{path} has no record {record.name} beside it, so it cannot be measured as a zoom; "
            "a video is measured with its source: dreamreel measure SOURCE DREAM"
        )
    found = read_record(record)
    if found.job.kind != "zoom":
        source = "SOURCE" if found.job.source is None else found.job.source.path
        raise UserError(
            f"{path} is a {found.job.kind} by its record, not a zoom; give its source as well: "
            f"dreamreel measure {source} {path}"
        )
    return found


def _json(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path, JOB_BYTES)
    except (ValueError, UserError) as error:
        if not os.path.isfile(path):
            raise
        beside = record_path(path)
        if os.path.isfile(beside):
            raise UserError(f"{path} is no record; its record is {beside}") from error
        check_kind(path, "record")
        other = misnamed(path, "a record", ("json", "text"))
        raise UserError(other or f"{path} is no record that can be read ({error})") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is no record of a render")
    return found


def _name_of(job: Job) -> Path:
    """The output of `job` as its record holds it: a plain name, or folder/pattern for pictures."""
    output = job.output
    return Path(output.name) if job.place == output else Path(*output.parts[-2:])


def _checked_name(path: Path, job: Job) -> Path:
    """The output of `job`, which the record at `path` names. Raises UserError if it would not lie
    beside the record."""
    output = job.output
    names = str(output).split("/")
    plain = all(_is_plain_name(name) for name in names)
    if not plain or len(names) != (1 if job.place == output else 2):
        raise UserError(
            f"{path} names {str(output)!r:.80} as its output, which is no plain name of a file "
            "beside it; give another with -o"
        )
    return output


def _is_plain_name(name: str) -> bool:
    """Whether `name` names a file in a folder, without leading out of it."""
    others = {"\0", "/"} | ({"\\", ":"} if os.name == "nt" else set())
    return name not in ("", ".", "..") and not set(name) & others
