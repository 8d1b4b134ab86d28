"""Records: what a file was made of, and how, so that it can be made again."""

import json
import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from dreamreel.pipeline.durable import write_whole
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.job import Count, FrameNumber, Job, Model, as_table
from dreamreel.pipeline.jobs.paths import JOB_BYTES, RECORD_FORMAT, record_path
from dreamreel.pipeline.media.sequences import is_series
from dreamreel.pipeline.opening import read_text


class Made(Model):
    """How a file came to be: the `versions` of what made it, the `network` and the `device` that
    dreamed it, how many `frames` it has, the `seconds` that it took, the frames at which shots
    begin, and the frame from which PyAV decoded the source in OpenCV's place."""

    versions: dict[str, str]
    network: str
    device: str
    frames: Count
    seconds: float = Field(ge=0)
    cuts: tuple[FrameNumber, ...] = ()
    exact_from: FrameNumber | None = None


class Record(Model):
    """What OUT.json tells of OUT: its format, the `job`, whose output is a plain name, and how it
    was `made`."""

    record: Literal[2] = 2
    job: Job
    made: Made


def write_record(path: Path, job: Job, made: Made) -> None:
    """Write the record of `job` to `path`, whole or not at all."""
    told = job.model_copy(update={"output": _name_of(job.output)})
    table = {
        "record": RECORD_FORMAT,
        "job": as_table(told),
        "made": made.model_dump(mode="json", exclude_none=True),
    }
    text = json.dumps(table, indent=2) + "\n"
    write_whole(path, lambda file: file.write(text.encode()))


def read_record(path: Path, output: Path | None = None) -> Record:
    """The record at `path`; its job's output is `output`, or the file beside it that it names.

    Raises UserError where there is none, where it is of another format, and where anything in it is
    missing or makes no sense.
    """
    told = _json(path)
    if "record" in told and told["record"] != RECORD_FORMAT:
        raise UserError(
            f"{path} is a record of format {told['record']!r:.20}, and this Dreamreel reads "
            f"{RECORD_FORMAT}: make the file again"
        )
    if told.get("record") != RECORD_FORMAT:
        raise UserError(f"{path} is no record of a render")
    try:
        record = Record.model_validate_json(json.dumps(told))
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"]))
        raise UserError(
            f"{path} is a record that makes no sense: {where}: {found['msg']}"
        ) from error
    if output is None:
        output = path.parent / _checked_name(path, record.job.output)
    return record.model_copy(update={"job": record.job.model_copy(update={"output": output})})


def _json(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(read_text(path, JOB_BYTES))
    except (OSError, ValueError, RecursionError, UserError) as error:
        beside = record_path(path)
        more = f"; its record is {beside.name}, beside it" if beside.is_file() else ""
        raise UserError(f"{path} is no record that can be read ({error}){more}") from error
    if not isinstance(told, dict):
        raise UserError(f"{path} is no record of a render")
    return told


def _name_of(output: Path) -> Path:
    """`output` as its record names it: a plain name, or folder/pattern for pictures."""
    return Path(*output.parts[-2:]) if is_series(output) else Path(output.name)


def _checked_name(path: Path, output: Path) -> Path:
    """`output`, which the record at `path` names. Raises UserError where it would not stand beside
    the record."""
    names = str(output).split("/")
    plain = all(_is_plain_name(name) for name in names)
    if not plain or len(names) != (2 if is_series(output) else 1):
        raise UserError(
            f"{path} names {str(output)!r:.80} as its output, and only a plain name would be a "
            "file beside it; give one with -o"
        )
    return output


def _is_plain_name(name: str) -> bool:
    """Whether `name` is that of a file in the folder at hand."""
    others = {"\0", "/"} | ({"\\", ":"} if os.name == "nt" else set())
    return name not in ("", ".", "..") and not set(name) & others
