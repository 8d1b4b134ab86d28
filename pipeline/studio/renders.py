"""The studio's renders: a queue of `dreamreel batch`, of which each render is a process of its own
that outlives the page.

All that is known of a render is read from the queue's files, in the folder of results. `dreamreel
batch FOLDER --status` shows them too, and `dreamreel batch FOLDER` goes on with them.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.batch import expected
from dreamreel.pipeline.jobs.checks import check, key_of
from dreamreel.pipeline.jobs.job import Job
from dreamreel.pipeline.jobs.paths import Target, record_path, remove_work
from dreamreel.pipeline.jobs.queue import Entry, Problem, Queue, Step, is_alive, queue_of
from dreamreel.pipeline.jobs.report import QUIET
from dreamreel.pipeline.studio.folder import Studio, free_name

MOST_TRIES = 5  # starts of a process that tells nothing, as after a kill
STOPPED_WITHIN = 30.0  # seconds for which a render that was asked to stop is waited for
BEGINS_WITHIN = 60.0  # seconds from the start of a process to its claim: it imports torch meanwhile
PATIENCE = 5.0  # seconds for which the queue's lock, which others hold for moments, is waited for
RENDER = (sys.executable, "-m", "dreamreel.pipeline.studio.rendering")
State = Literal["waiting", "running", "done", "failed", "stopped"]


@dataclass(frozen=True)
class Render:
    """A render: its `name`, its `state`, the frames or steps `done` of `total`, how many come in a
    second, the `error` of one that failed, the name of its `output` in the renders, and the `job`.
    """

    name: str
    state: State
    output: str
    job: Job
    done: int = 0
    total: int | None = None
    rate: float = 0.0
    error: str = ""
    place: int = 0  # in the queue
    size: tuple[int, int] | None = None  # height, width of its frames

    @property
    def left(self) -> float | None:
        """The seconds that it still takes; None if that is not known."""
        if self.state != "running" or self.total is None or self.rate <= 0:
            return None
        return (self.total - self.done) / self.rate


class Renders:
    """The renders of a `studio`. They run one after the other, each on all cores. Raises UserError
    if the folder of results cannot hold a queue."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._queue = queue_of(studio.renders)
        self._queue.make(studio.renders)
        self._known: dict[str, tuple[tuple[int, int], Entry]] = {}  # by their files' stamps
        self._begun: list[subprocess.Popen[bytes]] = []

    def add(self, job: Job) -> str:
        """Add `job`, whose output gets a free name among the renders, and return its name. Raises
        UserError if it cannot be done, as far as that can be told at once."""
        with changing(self._queue):
            output = self._free(job.output.name)
            job = job.model_copy(update={"output": self._studio.renders / output})
            checked = check(job, Target(job.output), QUIET)
            frames, size = expected(checked)
            job = job.model_copy(update={"key": key_of(job)})
            index = self._last() + 1
            entry = Entry(name=output, index=index, job=job, frames=frames, size=size)
            self._queue.write(entry)
        return output

    def all(self) -> list[Render]:
        """All renders: those that run or wait in their order, then the others, the newest first."""
        known = [self._seen(entry) for entry in self._entries()]
        ahead = [one for one in known if one.state in ("running", "waiting")]
        behind = [one for one in known if one not in ahead]
        order = {"running": 0, "waiting": 1}
        return [
            *sorted(ahead, key=lambda one: (order[one.state], one.place)),
            *sorted(behind, key=lambda one: -one.place),
        ]

    def of(self, name: str) -> Render | None:
        """The render called `name`; None if there is none."""
        entry = self._entry(name)
        return None if entry is None else self._seen(entry)

    def advance(self) -> None:
        """Start the first render that waits, if none runs. One whose process was killed goes on."""
        self._begun = [one for one in self._begun if one.poll() is None]
        # Another batch that holds the queue does the same.
        with suppress(UserError), changing(self._queue, patience=0.0):
            renders = self.all()
            if any(one.state == "running" for one in renders):
                return
            waiting = next((one for one in renders if one.state == "waiting"), None)
            if waiting is not None:
                self._start(waiting.name)

    def stop(self, name: str) -> None:
        """Let the render stop; what it has made is kept."""
        self._change(name, lambda entry: entry.but(held=entry.state not in ("done", "failed")))

    def go_on(self, name: str) -> None:
        """Let a render that stopped or failed go on, once it is its turn."""
        self._queue.unpause()
        last = self._last() + 1
        self._change(
            name,
            lambda entry: entry.but(held=False, state="waiting", tries=0, error=None, index=last),
        )

    def first(self, name: str) -> None:
        """Let a render that waits be the next."""
        waiting = [one for one in self.all() if one.state == "waiting"]
        order = sorted(waiting, key=lambda one: (one.name != name, one.place))
        places = sorted(one.place for one in waiting)
        with changing(self._queue):
            for one, place in zip(order, places, strict=True):
                if (entry := self._entry(one.name)) is not None:
                    self._queue.write(entry.but(index=place))

    def forget(self, name: str) -> None:
        """Forget the render, and discard what it has not finished. A result stays."""
        self.stop(name)
        ends = time.monotonic() + STOPPED_WITHIN
        while self._is_running(name) and time.monotonic() < ends:
            time.sleep(0.1)
        place = self._studio.renders / name
        with changing(self._queue):
            if (entry := self._entry(name)) is not None:
                if not record_path(place).exists():
                    remove_work(place)
                self._queue.remove(entry)

    def _entries(self) -> list[Entry]:
        """The entries that can be read, in their order."""
        names = [path.stem for path in (self._queue.folder / "jobs").glob("*.json")]
        found = [entry for name in names if (entry := self._entry(name)) is not None]
        for gone in self._known.keys() - set(names):
            self._known.pop(gone, None)
        return sorted(found, key=lambda entry: (entry.index, entry.name))

    def _entry(self, name: str) -> Entry | None:
        """The entry called `name`; None if there is none that can be read. It is read again only
        when its file has changed: the page asks each second."""
        try:
            status = self._queue.path("jobs", name).stat()
            stamp = status.st_mtime_ns, status.st_ino
            known = self._known.get(name)  # several threads read and write it
            if known is None or known[0] != stamp:
                known = self._known[name] = stamp, self._queue.entry(name)
            return known[1]
        except (OSError, UserError):
            return None

    def _seen(self, entry: Entry) -> Render:
        step, state = self._queue.step(entry.name), self._state(entry)
        error = entry.error.message if state == "failed" and entry.error is not None else ""
        done, total, rate = entry.done_frames, entry.frames, 0.0
        if state != "done" and step is not None:
            done, total, spent = step.done, step.total or entry.frames, step.at - step.began
            rate = (step.done - step.before) / spent if spent > 0 else 0.0
        if state == "waiting" and step is None:
            done, total = 0, None
        about = entry.name, state, entry.job.output.name, entry.job
        return Render(*about, done, total, rate, error, entry.index, entry.size)

    def _state(self, entry: Entry) -> State:
        if entry.state in ("done", "failed"):
            return "done" if entry.state == "done" else "failed"
        if self._is_running(entry.name):
            return "running"
        return "stopped" if entry.held or self._queue.is_paused else "waiting"

    def _is_running(self, name: str) -> bool:
        if self._queue.claimed(name) is not None:
            return True
        step = self._queue.step(name)  # of a process that has not claimed it yet
        begins = step is not None and step.total is None and step.done == 0
        if step is None or not begins or time.time() - step.at > BEGINS_WITHIN:
            return False
        process = step.worker.rpartition(":")[2]
        return process.isdecimal() and is_alive(int(process))

    def _start(self, name: str) -> None:
        entry = self._entry(name)
        assert entry is not None
        if entry.tries >= MOST_TRIES:
            message = f"its process has ended {MOST_TRIES} times without a word"
            error = Problem(fault="passing", message=message)
            self._queue.write(entry.but(state="failed", error=error))
            return
        self._queue.write(entry.but(state="running", tries=entry.tries + 1))
        process = subprocess.Popen(
            [*RENDER, str(self._queue.folder), name],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # it outlives the page
            cwd=self._studio.root,
        )
        self._begun.append(process)
        now = time.time()
        self._queue.write_step(name, Step(began=now, at=now, worker=f":{process.pid}"))

    def _change(self, name: str, change: Callable[[Entry], Entry]) -> None:
        with changing(self._queue):
            if (entry := self._entry(name)) is not None:
                self._queue.write(change(entry))

    def _last(self) -> int:
        return max((entry.index for entry in self._entries()), default=0)

    def _free(self, name: str) -> str:
        while True:
            found = free_name(self._studio.renders, name)
            if not os.path.lexists(self._queue.path("jobs", found)):
                return found
            stem, _, ending = found.rpartition(".")
            name = f"{stem}-again.{ending}"


@contextmanager
def changing(queue: Queue, patience: float = PATIENCE) -> Iterator[None]:
    """Hold the lock of `queue` for a moment, to change entries. Raises UserError if another
    process has held it for `patience` seconds, as a batch does."""
    ends = time.monotonic() + patience
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(queue.locked())
                break
            except UserError:
                if time.monotonic() >= ends:
                    raise
                time.sleep(0.05)
        yield
