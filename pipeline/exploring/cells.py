"""The pictures of a sheet, each rendered as a job of its own and kept until the sheet is whole.

A picture is a file in the sheet's work folder, named by the digest of its job's identity. An
unfinished sheet goes on with the pictures that it has; those whose job has changed are made anew.
"""

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2

from dreamreel.pipeline.durable import write_whole
from dreamreel.pipeline.errors import PassingError, Stopped, UserError
from dreamreel.pipeline.exploring.sheets import Cell, picture_in
from dreamreel.pipeline.jobs.identity import digest, identity_of, named_in, named_masks
from dreamreel.pipeline.jobs.job import Job, NamedFile, Threads
from dreamreel.pipeline.jobs.making import current_threads
from dreamreel.pipeline.jobs.paths import Target, WorkFolder, folder_of, work_folder
from dreamreel.pipeline.jobs.preparation import kept_network
from dreamreel.pipeline.jobs.report import Progress, Report
from dreamreel.pipeline.jobs.run import run
from dreamreel.pipeline.media.clips import probe
from dreamreel.pipeline.media.reading import read_frames
from dreamreel.pipeline.memory import is_out_of_memory


@dataclass(frozen=True)
class Wanted:
    """A picture that is asked for: its `label`, the `job` that makes it, whatever its output is, or
    `why` there can be none, and the `facts` about it that stand in the index."""

    label: str
    job: Job | None
    why: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@contextmanager
def rendered(
    wanted: Sequence[Wanted], out: Target, report: Report
) -> Iterator[tuple[list[Cell], WorkFolder]]:
    """The cells of the pictures that are `wanted`, and the work folder of `out`, which is locked,
    and removed at the end of the context.

    A picture that cannot be made is a cell that says why. Raises UserError if none can be, and
    Stopped, with the finished pictures saved, if `report` asks to stop.
    """
    with sheet_folder(out) as (work, threads), kept_network():
        files = _Digests()
        jobs = [one.job and files.identified(one.job) for one in wanted]
        before = sum(job is not None and _path(work, job).exists() for job in jobs)
        if before:
            report.on_notice(f"going on after {before} pictures that are done already")
        cells: list[Cell] = []
        inner = Report(on_notice=_once(report.on_notice), is_stopping=report.is_stopping)
        for number, (one, found) in enumerate(zip(wanted, jobs, strict=True)):
            if one.job is None or found is None:
                cells.append(Cell(one.label, why=one.why, facts=one.facts))
                continue
            path = _path(work, found)
            job = one.job.model_copy(update={"output": path, "threads": threads})
            try:
                cells.append(_made(one, job, path, inner))
            except Stopped:
                told = f"stopped; {number} of {len(wanted)} pictures are done; the same command "
                raise Stopped(f"{told}goes on") from None
            if any(cell.picture is not None for cell in cells):
                report.on_progress(Progress(number + 1, len(wanted), min(before, number)))
        if all(cell.picture is None for cell in cells):
            work.remove_pieces()
            raise UserError(cells[0].why)
        yield cells, work


def _made(one: Wanted, job: Job, path: Path, report: Report) -> Cell:
    """The cell of the picture that is wanted as `one`, from the file `path` if it is done."""
    if _is_whole(path):
        return Cell(one.label, path, facts=one.facts)
    if report.is_stopping():
        raise Stopped("stopped")
    try:
        if job.kind == "zoom":
            _last_frame_of(job, path, report)
        else:
            run(job, report, overwrite=True)
    except UserError as error:
        cause = error.__cause__ or error
        if isinstance(error, PassingError) and not is_out_of_memory(cause):
            raise  # a full disk, say, is no fault of this picture alone
        return Cell(one.label, why=str(error).replace(str(path), "it"), facts=one.facts)
    return Cell(one.label, path, facts=one.facts)


def _last_frame_of(job: Job, path: Path, report: Report) -> None:
    """Render the zoom of `job`, and write its last frame to `path`."""
    film = path.with_suffix(".mkv")
    run(job.model_copy(update={"output": film}), report, overwrite=True)
    frame = deque(read_frames(probe(film)), 1)[0]
    data = cv2.imencode(".png", frame[..., :3])[1].tobytes()
    write_whole(path, lambda file: file.write(data))
    film.unlink()


@contextmanager
def sheet_folder(out: Target) -> Iterator[tuple[WorkFolder, Threads]]:
    """The work folder of `out`, new or found, with the thread counts of its pictures. It is kept if
    the work inside the context is stopped and there are pictures in it."""
    threads = current_threads()
    job_file = {
        "job": {"dreamreel": version("dreamreel"), "kind": "sheet"},
        "threads": threads.model_dump(),
    }
    with work_folder(out.place, job_file) as work:
        if work.job_file["job"].get("kind") != "sheet":
            raise UserError(
                f"{folder_of(out.place)} is that of an unfinished render of another kind; finish "
                "that, or give another name with -o"
            )
        if out.restart:
            work.clear(job_file)
        try:
            yield work, Threads.model_validate(work.job_file["threads"])
        except BaseException:
            if not any(work.path.glob("cell-*")):
                work.remove()
            raise
        work.remove()


def parts_in(work: WorkFolder, job: Job, what: object) -> Callable[[int, str], Path]:
    """The files in `work` of the parts of a film of `job` that shows `what`, by the number of a
    part and its ending."""
    identified = _Digests().identified(job)
    return lambda number, suffix: _path(work, identified, repr((what, number)), suffix)


def _path(work: WorkFolder, job: Job, what: str = "", suffix: str = ".png") -> Path:
    """The file in `work` of the picture of `job`, which has the digests of its files; or of `what`
    else comes of it."""
    text = json.dumps(identity_of(job), sort_keys=True) + what
    return work.path / f"cell-{hashlib.sha256(text.encode()).hexdigest()[:16]}{suffix}"


def _is_whole(path: Path) -> bool:
    """Whether the picture in the file `path` is there and whole; else it is made anew."""
    try:
        picture_in(path)
    except OSError:
        return False
    return True


class _Digests:
    """The digests of the files that jobs name, each computed once."""

    def __init__(self) -> None:
        self._digest = cache(digest)

    def identified(self, job: Job) -> Job:
        """`job` with the digests of its files; of those that can be read."""
        try:
            changes: dict[str, Any] = {
                "source": self._named(job.source),
                "audio": self._named(job.audio),
                "files": named_in(job.settings),
                "masks": named_masks(job.settings),
            }
            if job.settings.weights is not None:
                changes["weights_sha256"] = self._digest(job.settings.weights)
        except UserError:  # the job's own check tells it
            return job
        return job.model_copy(update=changes)

    def _named(self, file: NamedFile | None) -> NamedFile | None:
        if file is None:
            return None
        return NamedFile(path=file.path, sha256=self._digest(file.path))


def _once(on_notice: Callable[[str], None]) -> Callable[[str], None]:
    """A callback that passes each line on to `on_notice` once, however many pictures tell it."""
    told: set[str] = set()

    def tell(line: str) -> None:
        if line not in told:
            told.add(line)
            on_notice(line)

    return tell
