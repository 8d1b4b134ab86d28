"""What a worker does with a task of the queue, whoever started it: `perform`.

The same function renders a job in this process, in a worker process and on a cluster.
"""

import errno
import json
import os
import shutil
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dreamreel.pipeline.durable import open_own, take_name, write_whole
from dreamreel.pipeline.errors import OtherRenderError, PassingError, Stopped, UserError
from dreamreel.pipeline.jobs.checks import Checked, check
from dreamreel.pipeline.jobs.identity import digest
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.jobs.paths import (
    JOB_BYTES,
    Target,
    check_replaceable,
    folder_of,
    is_record,
    record_path,
)
from dreamreel.pipeline.jobs.pieces import pieces_of
from dreamreel.pipeline.jobs.queue import (
    LEASE,
    RENEWED,
    Entry,
    Held,
    Outcome,
    Problem,
    Queue,
    Step,
    Task,
    job_of_piece,
    pieces_folder,
)
from dreamreel.pipeline.jobs.record import Record, read_record, write_record
from dreamreel.pipeline.jobs.report import Progress, Report
from dreamreel.pipeline.jobs.run import run
from dreamreel.pipeline.media.sequences import place_of
from dreamreel.pipeline.memory import is_out_of_memory
from dreamreel.pipeline.opening import read_json

STEP_EVERY = 0.5  # seconds between writings of progress: what is watched changes no faster
# Parts of messages of errors that are not the render's fault: a lost or full device.
PASSING = ("CUDA", "cuda", "device-side", "MPS", "cuDNN")
# Options of a batch that decide how a video is split; see `shots.pieces_of`.
Split = tuple[int, int | None]


def perform(
    queue: Queue,
    task: Task,
    split: Split,
    is_stopping: Callable[[], bool] = lambda: False,
    lease: float = LEASE,
) -> Outcome:
    """Do `task`, unless somebody else is at it, and say how it ended. It raises no error of a
    render: those are part of the outcome, and in the job's log.

    `split` are the least frames and the preroll with which videos are split. The task is stopped,
    with its work saved, once `is_stopping()`, once the queue is paused, and once the claim on it
    was lost, as after a long sleep of this machine.
    """
    try:
        held = queue.claim(task.id, lease)
    except OSError as error:  # a full disk, or a folder that is read-only
        return Outcome(task=task, state="failed", error=_problem(error))
    if held is None:
        return Outcome(task=task, state="lost")
    with _renewing(held) as claim:
        watch = _Watch(queue, task, is_stopping, claim)
        outcome = _outcome(queue, task, split, watch)
    if claim.is_lost:
        return Outcome(task=task, state="lost")
    return outcome.model_copy(update={"notices": tuple(watch.notices)})


def _outcome(queue: Queue, task: Task, split: Split, watch: "_Watch") -> Outcome:
    began = time.monotonic()
    try:
        outcome = _done(queue, task, split, watch.report)
    except Stopped:
        return Outcome(task=task, state="stopped")
    except Exception as error:
        problem = _problem(error)
        detail = "" if isinstance(error, UserError) else traceback.format_exc()
        queue.note(task.name, f"failed: {problem.message}\n{detail}")
        return Outcome(task=task, state="failed", error=problem)
    seconds = outcome.seconds or time.monotonic() - began
    return outcome.model_copy(update={"seconds": round(seconds, 2)})


def _done(queue: Queue, task: Task, split: Split, report: Report) -> Outcome:
    entry = queue.entry(task.name)
    if (before := already_made(queue, entry)) is not None:
        return before.model_copy(update={"task": task})
    if task.do == "render":
        path = _rendered(queue, entry, report)
        return _finished(task, entry, path)
    # Imported here because it imports torch, which takes seconds.
    from dreamreel.pipeline.jobs.shots import find_shots, join_pieces

    if task.do == "shots":
        so_far = partial(queue.write_shots, entry.name)
        so_far(find_shots(_checked(entry, report), report, so_far))
        return Outcome(task=task, state="done")
    shots = queue.shots(entry.name)
    if shots is None:
        raise PassingError(f"the shots of {entry.name} are not known")
    folder = pieces_folder(queue, entry.name)
    folder.mkdir(parents=True, exist_ok=True)
    pieces = pieces_of(shots, folder, *split)
    if task.do == "piece":
        piece = pieces[task.piece or 0]
        _run(job_of_piece(entry, piece), entry, report)
        return Outcome(task=task, state="done", frames=piece.stop - piece.first)
    path = join_pieces(_checked(entry, report), shots, pieces, report)
    with suppress(OSError):
        folder.rmdir()
    return _finished(task, entry, path)


def already_made(queue: Queue, entry: Entry) -> Outcome | None:
    """How the job of `entry` ended, if its output is there and was made by this very job; None
    otherwise. A picture that is finished and has not got its name yet gets it."""
    task = Task(do="render", name=entry.name)
    if entry.job.kind == "still":
        return _made_still(queue, entry, task)
    found = record_of(entry.job, entry.output)
    if found is None:
        return None
    place = place_of(entry.output or entry.job.output)
    return _outcome_of(task, place, found.made.frames, found.made.seconds)


def record_of(job: Job, output: Path | None = None) -> Record | None:
    """The record of the finished result of this very `job`, which must have a key; None if there is
    none. `output` is its path, if its suffix is not the job's."""
    place = place_of(output or job.output)
    if job.key is None or not os.path.exists(place) or os.path.exists(folder_of(place)):
        return None
    with suppress(UserError):
        record = read_record(record_path(place), job.output)
        if record.job.key == job.key:
            return record
    return None


def _rendered(queue: Queue, entry: Entry, report: Report) -> Path:
    if entry.job.kind != "still":
        return _run(entry.job, entry, report)
    # A picture has no work folder that tells whether it is finished: its digest is noted first.
    out = entry.job.output
    made = queue.path("made", entry.name, out.suffix)
    run(entry.job.model_copy(update={"output": made}), report, overwrite=True)
    note = {"key": entry.job.key, "sha256": digest(made)}
    write_whole(_note_of(queue, entry), lambda file: file.write(json.dumps(note).encode()))
    report.before_publishing()
    _publish_still(made, entry)
    return out


def _made_still(queue: Queue, entry: Entry, task: Task) -> Outcome | None:
    out, made = entry.job.output, queue.path("made", entry.name, entry.job.output.suffix)
    try:
        note = read_json(_note_of(queue, entry), JOB_BYTES)
        if note["key"] != entry.job.key or entry.job.key is None:
            return None
        if made.is_file() and digest(made) == note["sha256"]:
            _publish_still(made, entry)
        if not out.is_file() or digest(out) != note["sha256"]:
            return None
    except (OSError, ValueError, LookupError, TypeError, UserError):
        return None
    return _outcome_of(task, out, 1, 0.0)


def _publish_still(made: Path, entry: Entry) -> None:
    out = entry.job.output
    _move_record(made, out, entry.replaces)
    try:
        take_name(made, out, entry.replaces)
    except FileExistsError as error:
        raise UserError(f"{entry.job.output} exists by now; --overwrite replaces it") from error
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with open_own(made) as file:  # the result goes to another file system
            write_whole(out, lambda copy: shutil.copyfileobj(file, copy), entry.replaces)
        made.unlink()


def _move_record(made: Path, out: Path, replaces: bool) -> None:
    """Bring the record of the picture `made`, if it has one, beside `out`, as that of `out`."""
    if not record_path(made).is_file():
        return
    record = read_record(record_path(made), out)
    check_replaceable(record_path(out), is_record, "record of a render", replaces)
    write_record(record_path(out), record.job, record.made)
    record_path(made).unlink()


def _note_of(queue: Queue, entry: Entry) -> Path:
    return queue.path("made", entry.name)


def _run(job: Job, entry: Entry, report: Report) -> Path:
    try:
        return run(job, report, overwrite=entry.replaces)
    except OtherRenderError as error:
        if not error.only_version and job.piece is None:
            raise
        report.on_notice("begins anew: another version, or another split, made the frames so far")
        return run(job, report, overwrite=entry.replaces, restart=True)


def _checked(entry: Entry, report: Report) -> Checked:
    return check(entry.job, Target(entry.job.output, entry.replaces), report)


def _finished(task: Task, entry: Entry, path: Path) -> Outcome:
    place = path if entry.job.kind == "still" else place_of(path)
    if entry.job.kind == "still":
        return _outcome_of(task, place, 1, 0.0)
    record_file = record_path(place)
    if not record_file.exists():  # a preview has none
        return _outcome_of(task, place, entry.frames or 0, 0.0)
    record = read_record(record_file, entry.job.output)
    return _outcome_of(task, place, record.made.frames, record.made.seconds)


def _outcome_of(task: Task, place: Path, frames: int, seconds: float) -> Outcome:
    size = bytes_of(place)
    return Outcome(
        task=task, state="done", output=place, frames=frames, seconds=seconds, bytes=size
    )


def bytes_of(place: Path) -> int:
    """The bytes of the result at `place`, a file or a folder of pictures."""
    files = list(place.iterdir()) if place.is_dir() else [place]
    return sum(file.lstat().st_size for file in files)


def _problem(error: Exception) -> Problem:
    """Whose fault `error` is, and what it says in one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, UserError):
        return Problem(fault="passing" if isinstance(error, PassingError) else "user", message=text)
    if is_out_of_memory(error):
        text = f"memory ran out ({text[:200]}); a smaller width or fewer workers may work"
        return Problem(fault="passing", message=text)
    text = f"{type(error).__name__}: {text}"
    passes = isinstance(error, OSError) or any(part in text for part in PASSING)
    return Problem(fault="passing" if passes else "ours", message=text[:500])


@contextmanager
def _renewing(held: Held) -> Iterator[Held]:
    """Renew the claim `held` by a thread, and release it at the end."""
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(held.lease * RENEWED) and held.renew():
            pass

    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield held
    finally:
        ended.set()
        thread.join()
        held.release()


@dataclass
class _Watch:
    """Reports a task's progress to the queue, and asks it to stop."""

    queue: Queue
    task: Task
    is_stopping: Callable[[], bool]
    claim: Held
    notices: list[str] = field(default_factory=list)
    began: float = field(default_factory=time.time)
    last: float = 0.0

    @property
    def report(self) -> Report:
        """The callbacks for the render."""
        self._write(Progress(0, None))
        return Report(self._on_progress, self._on_notice, self._asks, self._check_claim)

    def _on_progress(self, progress: Progress) -> None:
        if time.time() - self.last >= STEP_EVERY or progress.done == progress.total:
            self._write(progress)

    def _write(self, progress: Progress) -> None:
        self.last = time.time()
        step = Step(
            done=progress.done,
            total=progress.total,
            before=progress.before,
            began=self.began,
            at=self.last,
            worker=f"{socket.gethostname()}:{os.getpid()}",
        )
        self.queue.write_step(self.task.id, step)

    def _on_notice(self, line: str) -> None:
        self.notices.append(line)
        self.queue.note(self.task.name, line)

    def _check_claim(self) -> None:
        """Raise Stopped unless the claim is still held: somebody else may publish by now."""
        if not self.claim.renew():
            raise Stopped("the claim on the task was lost")

    def _asks(self) -> bool:
        return self.is_stopping() or self.claim.is_lost or self.queue.is_paused
