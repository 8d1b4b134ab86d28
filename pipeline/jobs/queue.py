"""The queue of a batch: small files in `renders/.batch`, one for each job.

Whoever reads the folder sees all there is to know, and any process may die at any moment. The
folder holds:

    batch.json          what makes the folder ours
    lock                held by the one process that gives out work
    jobs/NAME.json      a job, its state, its tries and its last error: an `Entry`
    shots/NAME.json     the shots of a video that is rendered in pieces
    pieces/NAME/        the work folders of its pieces
    claims/ID.json      who is at work on a task, and until when that is believed
    progress/ID.json    how far a task is
    made/NAME...        a picture that is finished, until it has its name
    logs/NAME.log       notices and errors of a job
    pause               where it exists, running jobs save and stop

Only the process with the lock writes entries. A worker writes the files of the tasks that it has
claimed.
"""

import json
import os
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import filelock
from pydantic import BaseModel, Field, ValidationError

from dreamreel.pipeline.config.fields import FilePath
from dreamreel.pipeline.durable import create, open_own, partial_path, take_name, write_whole
from dreamreel.pipeline.errors import UserError, usable
from dreamreel.pipeline.jobs.job import Count, Job, Model, Piece, Shots
from dreamreel.pipeline.jobs.paths import JOB_BYTES
from dreamreel.pipeline.opening import read_json

QUEUE_FORMAT = 1
FOLDERS = ("jobs", "shots", "pieces", "claims", "progress", "made", "logs")
# Seconds for which a claim is believed after it was last renewed. A worker that was cut off must be
# waited for that long; one whose disk stalls for longer is taken for dead. A round number.
LEASE = 60.0
LARGEST_PROCESS = 2**31 - 1  # number of a process: what os.kill takes
RENEWED = 0.25  # of a lease, between renewals: three may fail before it runs out

Doing = Literal["render", "shots", "piece", "join"]
State = Literal["waiting", "running", "done", "failed"]
# Whose fault an error is: the user's, which no retry mends; one that may pass; or our own.
Fault = Literal["user", "passing", "ours"]
Read = TypeVar("Read", bound=BaseModel)


class Problem(Model):
    """Why a task failed: whose `fault` it is, in one line."""

    fault: Fault
    message: str


class Entry(Model):
    """A job in the queue.

    `name` is unique in the queue and the name of its files. `index` is its place in the batch, from
    1. `shown` holds what its row in a table of all jobs shows: the settings in which the jobs
    differ. `frames` and `size` (height, width) are what is expected. `replaces` tells that its
    output may replace a file that the batch made before, or that the user lets it replace. One that
    is `held` is not begun, and stops if it runs.

    `tries` counts those since the batch was last started, `not_before` is the time, in seconds
    since 1970, before which it is not tried again. `done_frames`, `seconds` of work and `bytes` are
    those of the finished output.
    """

    format: Literal[1] = 1
    name: str
    index: Count
    job: Job
    shown: dict[str, str] = Field(default_factory=dict)
    frames: Count | None = None
    size: tuple[int, int] | None = None
    replaces: bool = False
    held: bool = False
    state: State = "waiting"
    tries: int = Field(0, ge=0)
    not_before: float = 0.0
    error: Problem | None = None
    output: FilePath | None = None
    done_frames: int = Field(0, ge=0)
    seconds: float = Field(0.0, ge=0)
    bytes: int = Field(0, ge=0)
    notices: tuple[str, ...] = ()

    def but(self, **changes: Any) -> "Entry":
        """This entry with `changes`."""
        return self.model_copy(update=changes)


class Task(Model):
    """What a worker does at a time: `render` a job whole; or find the `shots` of a video, render
    the `piece` with that number, or `join` the pieces."""

    do: Doing
    name: str
    piece: int | None = None

    @property
    def id(self) -> str:
        """The name of its files in `claims` and `progress`."""
        return self.name if self.piece is None else f"{self.name}.{self.piece:05}"


class Outcome(Model):
    """How a task ended. `lost` tells that it was not worked on: somebody else has claimed it."""

    task: Task
    state: Literal["done", "failed", "stopped", "lost"]
    error: Problem | None = None
    output: FilePath | None = None
    frames: int = 0
    seconds: float = 0.0
    bytes: int = 0
    notices: tuple[str, ...] = ()


class Step(Model):
    """How far a task is: `done` of `total` frames or steps, `before` of them in an earlier run;
    `began` and `at` are seconds since 1970."""

    done: int = 0
    total: int | None = None
    before: int = 0
    began: float = 0.0
    at: float = 0.0
    worker: str = ""


class Claim(Model):
    """Who works on a task: a secret `token` of the claim, the host and process, and the time, in
    seconds since 1970, until which it is believed."""

    token: str
    host: str
    process: int = Field(ge=1, le=LARGEST_PROCESS)
    until: float

    def is_dead(self) -> bool:
        """Whether the claim is not to be believed any more."""
        if self.until < time.time():
            return True
        return self.host == socket.gethostname() and not is_alive(self.process)


@dataclass(frozen=True)
class Queue:
    """The queue in `folder`, which is called `.batch`."""

    folder: Path

    @property
    def _lock(self) -> Path:
        return self.folder / "lock"

    @property
    def _lock_of_claims(self) -> Path:
        return self.folder / "claims" / "lock"

    def path(self, kind: str, name: str, suffix: str = ".json") -> Path:
        """The path of a file of that `kind`, one of `FOLDERS`, for the job or task `name`."""
        return self.folder / kind / f"{name}{suffix}"

    def exists(self) -> bool:
        """Whether there is a queue. Raises UserError if something else is in its place."""
        if not os.path.lexists(self.folder):
            return False
        found = _json(self.folder / "batch.json")
        if self.folder.is_symlink() or not isinstance(found, dict) or "dreamreel" not in found:
            raise UserError(
                f"{self.folder} is no folder of a batch; move it, or give another output folder"
            )
        if found["dreamreel"] != QUEUE_FORMAT:
            raise UserError(
                f"{self.folder} is a queue of format {found['dreamreel']!r:.20}, and this version "
                f"of Dreamreel reads format {QUEUE_FORMAT}; finish it with that version, or give "
                "another output folder"
            )
        return True

    @property
    def batch(self) -> Path:
        """The file or folder of the batch whose queue it is."""
        found = _json(self.folder / "batch.json")
        told = found.get("batch") if isinstance(found, dict) else None
        return Path(told) if isinstance(told, str) else self.folder.parent

    def check_of(self, batch: Path) -> None:
        """Raise UserError if the queue is that of another batch than that of the file or folder
        `batch`."""
        found = _json(self.folder / "batch.json") if self.exists() else {"batch": str(batch)}
        if found.get("batch") != str(batch):
            raise UserError(
                f"{self.folder.parent} holds the results of {found.get('batch')}, and this is "
                f"{batch}; give another output folder, or --overwrite to take it over"
            )

    def make(self, batch: Path) -> None:
        """Make the folder for the batch of the file or folder `batch`, unless there is one. Raises
        UserError if one of its folders is a link."""
        if not self.exists():
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            # By one rename: a folder without its file would count as somebody else's.
            new = partial_path(self.folder)
            new.mkdir()
            Queue(new).take_over(batch)
            with suppress(FileExistsError):
                new.rename(self.folder)
        for name in FOLDERS:
            (self.folder / name).mkdir(exist_ok=True)
            if (self.folder / name).is_symlink():
                raise UserError(f"{self.folder / name} is a link; the queue's folders must be real")
        for path in (self._lock, self._lock_of_claims):
            if os.path.lexists(path) and not stat.S_ISREG(path.lstat().st_mode):
                raise UserError(f"{path} is no file, and must be one, to be locked; delete it")

    def take_over(self, batch: Path) -> None:
        """Make the queue that of the batch of the file or folder `batch`."""
        self._write(self.folder / "batch.json", {"dreamreel": QUEUE_FORMAT, "batch": str(batch)})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of whoever gives out work. Raises UserError if another process has it."""
        lock = filelock.FileLock(self._lock)
        with usable(self._lock):
            try:
                lock.acquire(timeout=0)
            except filelock.Timeout as error:  # an OSError too
                raise UserError(
                    f"{self.folder.parent} is being rendered already by another dreamreel batch; "
                    "--status shows how far it is, --pause stops it"
                ) from error
        try:
            yield
        finally:
            lock.release()

    @property
    def is_running(self) -> bool:
        """Whether a process gives out work now."""
        if not self._lock.is_file():
            return False
        lock = filelock.FileLock(self._lock)
        try:
            lock.acquire(timeout=0)
        except (filelock.Timeout, PermissionError):  # somebody else's, which may be held
            return True
        except OSError:  # a link, say, which nobody can hold
            return False
        lock.release()
        return False

    @property
    def is_paused(self) -> bool:
        """Whether running jobs are to save and stop."""
        return (self.folder / "pause").exists()

    def pause(self) -> None:
        """Have running jobs save and stop. Raises UserError if the folder cannot be written."""
        with usable(self.folder):
            self._write(self.folder / "pause", {})

    def unpause(self) -> None:
        """Let jobs run again."""
        (self.folder / "pause").unlink(missing_ok=True)

    def entries(self) -> list[Entry]:
        """All entries, in the order of the batch. Raises UserError if one cannot be read."""
        found = [self.entry(path.stem) for path in (self.folder / "jobs").glob("*.json")]
        return sorted(found, key=lambda entry: (entry.index, entry.name))

    def entry(self, name: str) -> Entry:
        """The entry called `name`. Raises UserError if it cannot be read."""
        path = self.path("jobs", name)
        found = self._read(path, Entry)
        if found is None or found.name != name:
            raise UserError(
                f"{path}, a job of the batch, cannot be read; delete it, and the job is done anew"
            )
        return found

    def write(self, entry: Entry) -> None:
        """Write `entry`."""
        self._write(self.path("jobs", entry.name), _table(entry))

    def remove(self, entry: Entry) -> None:
        """Delete the files of `entry`, but its log."""
        for kind in ("jobs", "shots", "progress", "claims"):
            self.path(kind, entry.name).unlink(missing_ok=True)

    def shots(self, name: str) -> Shots | None:
        """The shots of the video of the entry `name`; None if they are not known yet."""
        return self._read(self.path("shots", name), Shots)

    def write_shots(self, name: str, shots: Shots) -> None:
        """Write the `shots` of the video of the entry `name`."""
        self._write(self.path("shots", name), _table(shots))

    def step(self, id_: str) -> Step | None:
        """How far the task with that id is; None if it has not begun."""
        return self._read(self.path("progress", id_), Step)

    def write_step(self, id_: str, step: Step) -> None:
        """Write how far the task with that id is."""
        self._write(self.path("progress", id_), _table(step), safe=False)

    def note(self, name: str, line: str) -> None:
        """Add a `line`, or several, to the log of the entry `name`."""
        stamp = time.strftime("%Y-%m-%d %H:%M:%S")
        text = "".join(f"{stamp} {one}\n" for one in line.splitlines())
        with suppress(OSError), open_own(self.path("logs", name, ".log"), "ab") as file:
            file.write(text.encode())

    def claim(self, id_: str, lease: float = LEASE) -> "Held | None":
        """Claim the task with that id; None if somebody is at work on it."""
        path = self.path("claims", id_)
        with filelock.FileLock(self._lock_of_claims):
            before = self._read(path, Claim)
            if before is not None and not before.is_dead():
                return None
            held = Held(self, id_, secrets.token_hex(16), lease)
            held.write()
        return held

    def claimed(self, id_: str) -> Claim | None:
        """The claim on the task with that id, if it is to be believed."""
        found = self._read(self.path("claims", id_), Claim)
        return None if found is None or found.is_dead() else found

    def _read(self, path: Path, kind: type[Read]) -> Read | None:
        found = _json(path)
        if found is None:
            return None
        try:
            return kind.model_validate_json(json.dumps(found))
        except (ValidationError, UserError):  # UserError: of a job's settings
            return None

    def _write(self, path: Path, table: Any, safe: bool = True) -> None:
        data = (json.dumps(table, indent=1) + "\n").encode()
        if safe:
            write_whole(path, lambda file: file.write(data))
            return
        partial = partial_path(path)
        with suppress(OSError):  # lost progress is written again in a moment
            with os.fdopen(create(partial), "wb") as file:
                file.write(data)
            take_name(partial, path)


@dataclass
class Held:
    """A claim that this process holds on the task with that `id`."""

    queue: Queue
    id: str
    token: str
    lease: float
    is_lost: bool = field(default=False)

    def write(self) -> None:
        """Write the claim, believed for another lease from now."""
        claim = Claim(
            token=self.token,
            host=socket.gethostname(),
            process=os.getpid(),
            until=time.time() + self.lease,
        )
        self.queue._write(self.queue.path("claims", self.id), _table(claim))

    def renew(self) -> bool:
        """Renew the claim; False if it was lost to somebody else meanwhile."""
        try:
            found = self.queue._read(self.queue.path("claims", self.id), Claim)
            self.is_lost = self.is_lost or found is None or found.token != self.token
            if not self.is_lost:
                self.write()
        except OSError:  # a full or stalled disk: the lease runs on meanwhile
            return not self.is_lost
        return not self.is_lost

    def release(self) -> None:
        """Give the claim back, unless it was lost."""
        if self.renew():
            self.queue.path("claims", self.id).unlink(missing_ok=True)


def queue_of(output: Path) -> Queue:
    """The queue of a batch that renders into the folder `output`."""
    return Queue(output / ".batch")


def pieces_folder(queue: Queue, name: str) -> Path:
    """The folder for the pieces of the entry `name`."""
    return queue.folder / "pieces" / name


def job_of_piece(entry: Entry, piece: Piece) -> Job:
    """The job that renders `piece` of the video of `entry`."""
    return entry.job.model_copy(update={"piece": piece})


def _table(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json", exclude_none=True)


def _json(path: Path) -> Any:
    try:
        return read_json(path, JOB_BYTES)
    except (UserError, ValueError):
        return None


def is_alive(process: int) -> bool:
    """Whether a process of that number runs; on Windows, which cannot be asked, always."""
    if os.name == "nt":  # there, os.kill would end the process: its lease must run out
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return not _is_zombie(process)


def _is_zombie(process: int) -> bool:
    """Whether the process has ended and its parent has not noticed (Linux)."""
    try:
        told = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    return told.rpartition(")")[2].split()[:1] == ["Z"]
