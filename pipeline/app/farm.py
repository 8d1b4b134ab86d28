"""The work of `dreamreel job`: one job file, rendered for a farm."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dreamreel.pipeline.app.options import Given
from dreamreel.pipeline.app.terminal import json_report, print_json, stop_signals, terminal
from dreamreel.pipeline.durable import write_whole
from dreamreel.pipeline.errors import PassingError, Stopped, UserError
from dreamreel.pipeline.jobs.checks import check
from dreamreel.pipeline.jobs.job import Job, Piece, Shots, as_table
from dreamreel.pipeline.jobs.paths import JOB_BYTES, Target
from dreamreel.pipeline.jobs.pieces import pieces_of
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.jobs.run import run
from dreamreel.pipeline.media.sequences import place_of
from dreamreel.pipeline.opening import read_text


@dataclass(frozen=True)
class FarmTask:
    """What is done with a job: "render" it, find its "shots", render a "piece", or "join" them."""

    do: str
    piece: int | None = None


def do_job(file: Path, task: FarmTask, given: Given, as_json: bool) -> int:
    """Do `task` with the job in `file`, and return the exit code: 0 if done, 1 if it failed and may
    be tried again, 130 if it was stopped. Raises UserError for a mistake of the user's."""
    job = read_job(file)
    came: list[int] = []
    with stop_signals(came) as is_stopping, _reporting(as_json) as shown:
        report = Report(shown.on_progress, shown.on_notice, is_stopping)
        try:
            told = _do(job, task, given, report)
        except Stopped as error:
            return _ended(as_json, {"event": "stopped", "line": str(error)}, 130)
        except PassingError as error:
            return _ended(as_json, {"event": "failed", "fault": "passing", "error": str(error)}, 1)
        except UserError as error:
            if as_json:
                print_json({"event": "failed", "fault": "user", "error": str(error)})
            raise
    return _ended(as_json, {"event": "done", **told}, 0)


def read_job(file: Path) -> Job:
    """The job in `file`: a job alone, an entry of a batch's queue, or a record. Raises UserError if
    there is none."""
    try:
        found = json.loads(read_text(file, JOB_BYTES))
        table = found.get("job", found) if isinstance(found, dict) else found
        job = Job.model_validate_json(json.dumps(table))
    except (ValueError, RecursionError) as error:
        why = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise UserError(f"{file} is no job file ({why})") from error
    if not job.output.is_absolute():
        job = job.model_copy(update={"output": file.absolute().parent / job.output})
    return job


def write_job(file: Path, job: Job) -> None:
    """Write `job` to `file`, whole or not at all."""
    data = (json.dumps(as_table(job), indent=2) + "\n").encode()
    write_whole(file, lambda opened: opened.write(data))


def _do(job: Job, task: FarmTask, given: Given, report: Report) -> dict[str, Any]:
    overwrite, restart = given.overwrite, given.restart
    if task.do == "render":
        path = run(job, report, overwrite=overwrite, restart=restart)
        return {"output": str(path)}
    if job.kind != "video":
        raise UserError(f"only a video has shots, and this is the job of a {job.kind}")
    # Imported here because it imports torch, which takes seconds.
    from dreamreel.pipeline.jobs.shots import find_shots, join_pieces

    checked = check(job, Target(job.output, overwrite, restart), report)
    if task.do == "shots":
        shots = find_shots(checked, report)
        _write_shots(job, shots)
        return {"pieces": len(pieces_of(shots, _folder(job))), "cuts": list(shots.cuts)}
    shots, pieces = _pieces(job)
    if task.do == "join":
        path = join_pieces(checked, shots, pieces, report)
        _shots_file(job).unlink(missing_ok=True)
        return {"output": str(path)}
    number = task.piece or 0
    if not 0 <= number < len(pieces):
        raise UserError(f"--piece {number}: there are pieces 0 to {len(pieces) - 1}")
    piece = pieces[number]
    run(job.model_copy(update={"piece": piece}), report, overwrite=overwrite, restart=restart)
    return {"piece": number, "frames": [piece.first, piece.stop]}


def _folder(job: Job) -> Path:
    return place_of(job.output).parent


def _shots_file(job: Job) -> Path:
    return place_of(job.output).with_name(f"{place_of(job.output).name}.shots.json")


def _pieces(job: Job) -> tuple[Shots, list[Piece]]:
    try:
        shots = Shots.model_validate_json(read_text(_shots_file(job), JOB_BYTES))
    except (ValidationError, ValueError, UserError) as error:
        raise UserError(f"the shots of {job.output} are not known; give --shots first") from error
    name = place_of(job.output).name
    pieces = [
        piece.model_copy(update={"place": piece.place.with_name(f"{name}.{piece.place.name}")})
        for piece in pieces_of(shots, _folder(job))
    ]
    return shots, pieces


def _write_shots(job: Job, shots: Shots) -> None:
    text = json.dumps(shots.model_dump(mode="json", exclude_none=True)) + "\n"
    write_whole(_shots_file(job), lambda file: file.write(text.encode()))


@contextmanager
def _reporting(as_json: bool) -> Iterator[Report]:
    if as_json:
        yield json_report()
        return
    with terminal("frames", quiet=False) as report:
        yield report


def _ended(as_json: bool, table: dict[str, Any], code: int) -> int:
    if as_json:
        print_json(table)
    elif code:
        print(f"dreamreel: {table.get('error') or table.get('line')}", file=sys.stderr)
    else:
        print(table.get("output") or json.dumps({k: v for k, v in table.items() if k != "event"}))
    return code
