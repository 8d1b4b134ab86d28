"""The work of `dreamreel job`: one job file, rendered for a farm."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from dreamreel.pipeline.app.options import Given
from dreamreel.pipeline.app.terminal import (
    json_report,
    print_error,
    print_json,
    print_result,
    stop_signals,
    terminal,
)
from dreamreel.pipeline.durable import write_whole
from dreamreel.pipeline.errors import PassingError, Stopped, UserError
from dreamreel.pipeline.jobs.checks import Checked, check, key_of
from dreamreel.pipeline.jobs.identity import versions
from dreamreel.pipeline.jobs.job import Job, Model, Piece, Shots, as_table, fault_of
from dreamreel.pipeline.jobs.paths import (
    JOB_BYTES,
    Target,
    check_replaceable,
    is_shots,
    make_folder_of,
    remove_shots,
    remove_work,
    shots_path,
)
from dreamreel.pipeline.jobs.pieces import pieces_of
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.jobs.run import run
from dreamreel.pipeline.jobs.tasks import record_of
from dreamreel.pipeline.opening import misnamed, read_json


@dataclass(frozen=True)
class FarmTask:
    """What is done with a job: "render" it, find its "shots", render a "piece", or "join" them."""

    do: str
    piece: int | None = None


class FoundShots(Model):
    """The content of OUT.shots.json: the `shots` of a video, the digest `job` of the job and the
    files that they are of, and the `versions` with which they were found."""

    format: Literal[1] = 1
    job: str
    versions: dict[str, str]
    shots: Shots


def do_job(file: Path, task: FarmTask, given: Given, as_json: bool) -> int:
    """Do `task` with the job in `file`, and return the exit code: 0 if done, 1 if it failed and may
    be tried again, 130 if it was stopped. Raises UserError for a mistake of the user's."""
    came: list[int] = []
    with stop_signals(came) as is_stopping, _reporting(as_json) as shown:
        report = Report(shown.on_progress, shown.on_notice, is_stopping)
        try:
            told = _do(read_job(file), task, given, report)
        except Stopped as error:
            return _ended(as_json, {"event": "stopped", "line": str(error)}, 130)
        except PassingError as error:
            return _ended(as_json, {"event": "failed", "fault": "passing", "error": str(error)}, 1)
        except UserError as error:
            if as_json:
                print_json({"event": "failed", "fault": "user", "error": str(error)})
            raise
        except Exception as error:
            if as_json:
                fault = "passing" if isinstance(error, OSError) else "ours"
                line = " ".join(f"{type(error).__name__}: {error}".split())
                print_json({"event": "failed", "fault": fault, "error": line})
            raise
    return _ended(as_json, {"event": "done", **told}, 0)


def read_job(file: Path) -> Job:
    """The job in `file`: a job alone, an entry of a batch's queue, or a record. Raises UserError if
    there is none."""
    try:
        found = read_json(file, JOB_BYTES)
        table = found.get("job", found) if isinstance(found, dict) else None
        if not isinstance(table, dict):
            raise ValueError("it holds no table of a job")
        job = Job.model_validate_json(json.dumps(table))
    except (ValueError, UserError) as error:
        other = misnamed(file, "a job file", ("json", "text"))
        fault = fault_of(error) if isinstance(error, ValidationError) else str(error)
        raise UserError(other or f"{file} is no job file ({fault})") from error
    if not job.output.is_absolute():
        job = job.model_copy(update={"output": file.absolute().parent / job.output})
    return job


def write_job(file: Path, job: Job) -> None:
    """Write `job` to `file`, whole or not at all."""
    data = (json.dumps(as_table(job), indent=2) + "\n").encode()
    write_whole(file, lambda opened: opened.write(data))


def _do(job: Job, task: FarmTask, given: Given, report: Report) -> dict[str, Any]:
    overwrite, restart = given.overwrite, given.restart
    if not (overwrite or restart) and record_of(job) is not None:  # a farm may ask twice
        return {"output": str(job.place)}
    if task.do == "render":
        path = run(job, report, overwrite=overwrite, restart=restart)
        return {"output": str(path)}
    if job.kind != "video":
        raise UserError(f"only a video has shots, and this is the job of a {job.kind}")
    # Imported here because it imports torch, which takes seconds.
    from dreamreel.pipeline.jobs.shots import join_pieces

    if task.do == "shots":
        shots = _shots(job, check(job, Target(job.output, overwrite, restart), report), report)
        return {"pieces": len(_pieces(job, shots)), "cuts": list(shots.cuts)}
    shots = _known_shots(job)
    pieces = _pieces(job, shots)
    if task.do == "join":
        checked = check(job, Target(job.output, overwrite, restart), report)
        path = join_pieces(checked, shots, pieces, report)
        remove_shots(job.place)
        return {"output": str(path)}
    number = task.piece or 0
    if not 0 <= number < len(pieces):
        raise UserError(f"--piece {number}: there are pieces 0 to {len(pieces) - 1}")
    piece = pieces[number]
    if restart:
        remove_work(piece.place)  # a finished one too, which is not rendered again otherwise
    run(job.model_copy(update={"piece": piece}), report, overwrite=overwrite, restart=restart)
    return {"piece": number, "frames": [piece.first, piece.stop]}


def _shots(job: Job, checked: Checked, report: Report) -> Shots:
    """The shots of the video of `job`: those that are known, or found now. Pieces of what the job
    was before are then discarded."""
    from dreamreel.pipeline.jobs.shots import find_shots

    known, digest = _read_shots(job), key_of(job)
    same = known is not None and (known.job, known.versions) == (digest, versions())
    if known is not None and same and not checked.out.restart:
        return known.shots
    place = shots_path(checked.out.place)
    check_replaceable(place, is_shots, "list of shots", checked.out.overwrite)
    shots = find_shots(checked, report)
    for one in (shots, *([known.shots] if known else [])):
        for piece in _pieces(job, one):
            remove_work(piece.place)
    _write_shots(job, FoundShots(job=digest, versions=versions(), shots=shots))
    return shots


def _known_shots(job: Job) -> Shots:
    """The shots of the video of `job`. Raises UserError unless they were found for this very job
    and with the versions of this machine."""
    known = _read_shots(job)
    if known is None:
        raise UserError(f"the shots of {job.output} are not known; give --shots first")
    ours = versions()
    differ = [f"{name} {one}" for name, one in known.versions.items() if ours.get(name) != one]
    if differ:
        raise UserError(
            f"the shots of {job.output} were found with {', '.join(differ)}, which this machine "
            "has not; install the same here, or give --shots again"
        )
    if known.job != key_of(job):
        raise UserError(
            f"the job of {job.output}, or a file that it reads, was changed since its shots were "
            "found; give --shots again"
        )
    return known.shots


def _folder(job: Job) -> Path:
    return job.place.parent


def _pieces(job: Job, shots: Shots) -> list[Piece]:
    name = job.place.name
    return [
        piece.model_copy(update={"place": piece.place.with_name(f"{name}.{piece.place.name}")})
        for piece in pieces_of(shots, _folder(job))
    ]


def _read_shots(job: Job) -> FoundShots | None:
    try:
        found = read_json(shots_path(job.place), JOB_BYTES)
        return FoundShots.model_validate_json(json.dumps(found))
    except (ValueError, UserError):
        return None


def _write_shots(job: Job, found: FoundShots) -> None:
    text = json.dumps(found.model_dump(mode="json", exclude_none=True)) + "\n"
    make_folder_of(job.place)
    write_whole(shots_path(job.place), lambda file: file.write(text.encode()))


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
        print_error(table.get("error") or table["line"])
    else:
        told = {name: value for name, value in table.items() if name != "event"}
        print_result(table.get("output") or json.dumps(told))
    return code
