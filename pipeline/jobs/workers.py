"""Workers: processes of this machine that do the tasks of a queue.

Each is `python -m dreamreel.pipeline.jobs.workers`. It reads tasks from its standard input, a line
of JSON each, and answers each with a line on its standard output. It stops, with its work saved,
once its input ends: also if the process that started it dies.
"""

import faulthandler
import json
import os
import queue as queues
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from dreamreel.pipeline.durable import open_own
from dreamreel.pipeline.jobs.queue import LEASE, Outcome, Problem, Queue, Task
from dreamreel.pipeline.jobs.tasks import Split, perform

# Tasks after which a process is replaced by a new one, against leaks: starting one takes some 3
# seconds, little beside so many tasks. A round number.
TASKS_AT_MOST = 100
KILLED = getattr(signal, "SIGKILL", 9)  # Windows has no such name


@dataclass
class _Worker:
    process: "subprocess.Popen[bytes]"
    task: Task | None = None
    done: int = 0  # tasks


class LocalEngine:
    """An engine of so many `workers`: processes of this machine, each with so many `threads`.

    `devices` are the numbers of the GPUs, of which each worker sees one.
    """

    def __init__(
        self,
        queue: Queue,
        split: Split,
        workers: int,
        threads: int,
        devices: list[str] | None = None,
        lease: float = LEASE,
    ) -> None:
        self.workers = workers
        self._queue, self._threads, self._devices = queue, threads, devices or []
        self._config = {"folder": str(queue.folder), "split": split, "lease": lease}
        self._slots: list[_Worker | None] = [None] * workers
        self._answers: queues.Queue[tuple[int, subprocess.Popen[bytes], Outcome | None]]
        self._answers = queues.Queue()
        self._stopping = False

    @property
    def free(self) -> int:
        """How many more tasks it can take now."""
        return 0 if self._stopping else sum(one is None or one.task is None for one in self._slots)

    def start(self, task: Task) -> None:
        """Begin `task` in a worker that is free, or in a new one."""
        # An idle process first: it may have the network loaded already.
        order = sorted(range(self.workers), key=lambda slot: self._slots[slot] is None)
        for slot in order:
            worker = self._slots[slot] or self._spawn(slot)
            self._slots[slot] = worker
            if worker.task is None:
                worker.task = task
                with suppress(OSError):  # it has died; `outcomes` will tell
                    _send(worker.process, task.model_dump())
                return
        raise RuntimeError("no worker is free")

    def outcomes(self) -> list[Outcome]:
        """How the tasks ended that ended since the last call."""
        found = []
        with suppress(queues.Empty):
            while True:
                slot, process, outcome = self._answers.get_nowait()
                worker = self._slots[slot]
                if worker is None or worker.process is not process:
                    continue
                if outcome is None:
                    outcome = self._died(worker)
                    self._slots[slot] = None
                if worker.task is not None and outcome is not None:
                    worker.task = None
                    worker.done += 1
                    found.append(outcome)
                    if _is_spent(worker, outcome):
                        self._slots[slot] = None
                        _close(worker)
        return found

    def stop(self) -> None:
        """Have all tasks save and stop, and begin no other."""
        self._stopping = True
        for worker in self._slots:
            if worker is not None:
                _close(worker)

    def kill(self) -> None:
        """End all workers at once."""
        self._stopping = True
        for worker in self._slots:
            if worker is not None:
                _kill_group(worker.process)
                worker.process.wait()

    def _spawn(self, slot: int) -> _Worker:
        environment = dict(os.environ)
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            environment[name] = str(self._threads)
        if self._devices:
            environment["CUDA_VISIBLE_DEVICES"] = self._devices[slot % len(self._devices)]
        log = self._queue.path("logs", f"worker-{slot + 1}", ".log")
        if log.is_symlink():  # whatever it leads to is not ours
            log.unlink()
        with open_own(log, "ab") as errors:
            process = subprocess.Popen(
                [sys.executable, "-m", "dreamreel.pipeline.jobs.workers"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                # A group of its own: Ctrl-C is for the process that gives out work.
                start_new_session=True,
            )
        with suppress(OSError):
            _send(process, {**self._config, "threads": self._threads})
        thread = threading.Thread(target=self._listen, args=(slot, process), daemon=True)
        thread.start()
        return _Worker(process)

    def _listen(self, slot: int, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            with suppress(ValueError):
                self._answers.put((slot, process, Outcome.model_validate_json(line)))
        process.wait()
        _kill_group(process)  # an ffmpeg that it left
        self._answers.put((slot, process, None))

    def _died(self, worker: _Worker) -> Outcome | None:
        if worker.task is None:
            return None
        code = worker.process.returncode
        if self._stopping and code == 0:
            return Outcome(task=worker.task, state="stopped")
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        perhaps = ": perhaps the machine ran out of memory" if code == -KILLED else ""
        message = f"its worker died {how}{perhaps}"
        self._queue.note(worker.task.name, message)
        problem = Problem(fault="passing", message=message)
        return Outcome(task=worker.task, state="failed", error=problem)


def _is_spent(worker: _Worker, outcome: Outcome) -> bool:
    """Whether the process of `worker` is not to be used again, after that `outcome`: an error that
    is not the user's may have broken it, as a lost GPU does."""
    failed = outcome.error is not None and outcome.error.fault != "user"
    return failed or worker.done >= TASKS_AT_MOST


def _close(worker: _Worker) -> None:
    """Let the process of `worker` end once its task is saved or done."""
    if worker.process.stdin is not None:
        with suppress(OSError):
            worker.process.stdin.close()


def main() -> None:
    """Do the tasks that come on standard input, until it ends."""
    faulthandler.enable()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever libraries print goes to the log
    lines = iter(sys.stdin.buffer.readline, b"")
    config = json.loads(next(lines))
    _use_threads(int(config["threads"]))
    queue, least = Queue(Path(config["folder"])), config["split"]
    ended = threading.Event()
    tasks = _read_ahead(lines, ended)
    for task in tasks:
        split = (int(least[0]), None if least[1] is None else int(least[1]))
        outcome = perform(queue, task, split, ended.is_set, float(config["lease"]))
        with suppress(OSError):
            answers.write(outcome.model_dump_json().encode() + b"\n")
            answers.flush()


def _read_ahead(lines: Iterator[bytes], ended: threading.Event) -> Iterator[Task]:
    """The tasks in `lines`, read by a thread, which notes at once when they have `ended`."""
    waiting: queues.Queue[Task | None] = queues.Queue()

    def read() -> None:
        for line in lines:
            waiting.put(Task.model_validate_json(line))
        ended.set()
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    while (task := waiting.get()) is not None and not ended.is_set():
        yield task


def _use_threads(count: int) -> None:
    import cv2

    from dreamreel.pipeline.jobs.preparation import keep_network

    cv2.setNumThreads(count)
    keep_network()


def _send(process: "subprocess.Popen[bytes]", table: dict[str, Any]) -> None:
    pipe: IO[bytes] | None = process.stdin
    assert pipe is not None
    pipe.write(json.dumps(table).encode() + b"\n")
    pipe.flush()


def _kill_group(process: "subprocess.Popen[bytes]") -> None:
    with suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


if __name__ == "__main__":
    main()
