"""The studio's renders: each a job file with a process of its own, which outlives the page.

All that is known of a render is read from its files: the job, the log of its process, the process
itself while it lives, and the record beside a finished result. `dreamreel job FILE` goes on with
any of them from the command line.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import filelock

from dreamreel.pipeline.app.terminal import JSON_EVERY
from dreamreel.pipeline.durable import write_whole
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.job import Job, as_table
from dreamreel.pipeline.jobs.paths import JOB_BYTES, record_path, remove_work
from dreamreel.pipeline.jobs.queue import is_alive
from dreamreel.pipeline.opening import read_json
from dreamreel.pipeline.studio.folder import Studio, free_name

LOG_TAIL = 1 << 14  # bytes at the end of a log that are read
MOST_TRIES = 5  # starts of a process that tells nothing, as after a kill
STOPPED_WITHIN = 30.0  # seconds for which a render that was asked to stop is waited for
State = Literal["waiting", "running", "done", "failed", "stopped"]


@dataclass(frozen=True)
class Render:
    """A render: its `name`, its `state`, the frames or steps `done` of `total`, how many come in a
    second, the `error` of one that failed, and the name of its `output` in the renders."""

    name: str
    state: State
    output: str
    done: int = 0
    total: int | None = None
    rate: float = 0.0
    error: str = ""
    at: float = 0.0  # its place in the queue, seconds since 1970 unless it was moved

    @property
    def left(self) -> float | None:
        """The seconds that it still takes; None if that is not known."""
        if self.state != "running" or self.total is None or self.rate <= 0:
            return None
        return (self.total - self.done) / self.rate


class Renders:
    """The renders of a `studio`. They run one after the other, each on all cores."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio

    def add(self, job: Job) -> str:
        """Add `job`, whose output gets a free name among the renders, and return its name."""
        with self._locked():
            output = self._free(job.output.name)
            job = job.model_copy(update={"output": self._studio.renders / output})
            self._write(output, {"job": as_table(job), "at": time.time(), "wanted": True})
        return output

    def all(self) -> list[Render]:
        """All renders: those that run or wait in their order, then the others, the newest first."""
        found = [self.of(path.stem) for path in self._studio.jobs.glob("*.json")]
        known = [one for one in found if one is not None]
        ahead = [one for one in known if one.state in ("running", "waiting")]
        behind = [one for one in known if one not in ahead]
        order = {"running": 0, "waiting": 1}
        return [
            *sorted(ahead, key=lambda one: (order[one.state], one.at)),
            *sorted(behind, key=lambda one: -one.at),
        ]

    def of(self, name: str) -> Render | None:
        """The render called `name`; None if there is none."""
        table = self._read(name)
        if table is None:
            return None
        output = Path(str(table["job"].get("output", ""))).name
        told, at = self._told(name), float(table.get("at", 0))
        steps = [one for one in told if one.get("event") == "progress"]
        done = int(steps[-1]["done"]) if steps else 0
        total = steps[-1].get("total") if steps else None
        last = told[-1] if told else {}
        if self._process(name) is not None:
            return Render(name, "running", output, done, total, _rate(steps), "", at)
        if last.get("event") == "done" and (self._studio.renders / output).exists():
            return Render(name, "done", output, done, total, at=at)
        if last.get("event") == "failed":
            return Render(name, "failed", output, done, total, 0.0, str(last.get("error")), at)
        if int(table.get("tries", 0)) >= MOST_TRIES:
            error = f"its process has ended {MOST_TRIES} times without a word"
            return Render(name, "failed", output, done, total, 0.0, error, at)
        if table.get("wanted"):
            return Render(name, "waiting", output, done, total, at=at)
        return Render(name, "stopped", output, done, total, at=at)

    def advance(self) -> None:
        """Start the first render that waits, if none runs. One whose process was killed goes on."""
        with self._locked():
            renders = self.all()
            if any(one.state == "running" for one in renders):
                return
            waiting = next((one for one in renders if one.state == "waiting"), None)
            if waiting is not None:
                self._start(waiting.name)

    def stop(self, name: str) -> None:
        """Let the render stop; what it has made is kept."""
        self._change(name, wanted=False)
        if (process := self._process(name)) is not None:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGINT)

    def go_on(self, name: str) -> None:
        """Let a render that stopped or failed go on, once it is its turn."""
        self._change(name, wanted=True, at=time.time(), tries=0, retried=True)

    def first(self, name: str) -> None:
        """Let a render that waits be the next."""
        waiting = [one.at for one in self.all() if one.state == "waiting"]
        self._change(name, at=min(waiting, default=time.time()) - 1)

    def forget(self, name: str) -> None:
        """Forget the render, and discard what it has not finished. A result stays."""
        self.stop(name)
        ends = time.monotonic() + STOPPED_WITHIN
        while self._process(name) is not None and time.monotonic() < ends:
            time.sleep(0.1)
        table = self._read(name)
        if table is not None and not record_path(self._studio.renders / name).exists():
            remove_work(self._studio.renders / name)
        for ending in (".json", ".log", ".process"):
            (self._studio.jobs / f"{name}{ending}").unlink(missing_ok=True)

    def file_of(self, name: str) -> Path:
        """The job file of the render."""
        return self._studio.jobs / f"{name}.json"

    def _start(self, name: str) -> None:
        log = self._studio.jobs / f"{name}.log"
        table = self._read(name) or {}
        self._change(name, tries=int(table.get("tries", 0)) + 1)
        command = [sys.executable, "-m", "dreamreel.cli", "job", str(self.file_of(name))]
        with log.open("ab") as file:
            process = subprocess.Popen(
                [*command, "--json-progress"],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # it outlives the page
                cwd=self._studio.root,
            )
        mark = {"process": process.pid, "began": _began(process.pid)}
        self._write_own(f"{name}.process", mark)

    def _process(self, name: str) -> int | None:
        """The number of the process of the render; None if it does not live."""
        try:
            table = read_json(self._studio.jobs / f"{name}.process", JOB_BYTES)
            number, began = int(table["process"]), table["began"]
        except (UserError, ValueError, KeyError, TypeError):
            return None
        with suppress(ChildProcessError, OSError):
            os.waitpid(number, os.WNOHANG)  # a child of ours that has ended
        return number if began is not None and _began(number) == began else None

    def _told(self, name: str) -> list[dict[str, Any]]:
        """The last lines of the render's log."""
        path = self._studio.jobs / f"{name}.log"
        try:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - LOG_TAIL))
                lines = file.read().splitlines()
        except OSError:
            return []
        return list(_tables(lines))

    def _change(self, name: str, **changes: Any) -> None:
        table = self._read(name)
        if table is None:
            return
        if changes.pop("retried", False):
            # What it told before says nothing of the coming try.
            (self._studio.jobs / f"{name}.log").unlink(missing_ok=True)
        self._write(name, {**table, **changes})

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            found = read_json(self.file_of(name), JOB_BYTES)
        except (UserError, ValueError):
            return None
        usable = isinstance(found, dict) and isinstance(found.get("job"), dict)
        return found if usable else None

    def _write(self, name: str, table: dict[str, Any]) -> None:
        self._write_own(f"{name}.json", table)

    def _write_own(self, name: str, table: dict[str, Any]) -> None:
        data = (json.dumps(table, indent=2) + "\n").encode()
        write_whole(self._studio.jobs / name, lambda file: file.write(data))

    def _free(self, name: str) -> str:
        while True:
            found = free_name(self._studio.renders, name)
            if not self.file_of(found).exists():
                return found
            stem, _, ending = found.rpartition(".")
            name = f"{stem}-again.{ending}"

    def _locked(self) -> filelock.BaseFileLock:
        return filelock.FileLock(self._studio.jobs / ".lock", timeout=STOPPED_WITHIN)


def _rate(steps: list[dict[str, Any]]) -> float:
    """Frames a second, by the `steps` of a log, of which one comes every `JSON_EVERY` seconds."""
    done = [int(one["done"]) for one in steps]
    return (done[-1] - done[0]) / (JSON_EVERY * (len(done) - 1)) if len(done) > 1 else 0.0


def _tables(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    for line in lines:
        with suppress(ValueError):
            table = json.loads(line)
            if isinstance(table, dict):
                yield table


def _began(process: int) -> str | None:
    """When the process of that number began, in the system's own units, by which it is told from a
    later one; empty where the system does not tell; None if it does not run."""
    if not is_alive(process):
        return None
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
