"""Stills for the page, dreamed by a process of their own, the most urgent first."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import cv2
import numpy as np

from dreamreel.pipeline.config.grammar import build
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.checks import key_of as job_key
from dreamreel.pipeline.jobs.identity import code_digest
from dreamreel.pipeline.jobs.job import Job, NamedFile, as_table
from dreamreel.pipeline.studio.folder import Studio, key_of

SMALL, SETTLED, THUMBNAIL = 192, 640, 192  # pixels, the widths of a first, a settled, a small still
URGENT, USUAL, IDLE = 0, 1, 2  # what is asked for first


@dataclass(frozen=True)
class Wish:
    """A still: the `job` that makes it, whose output is its file, and how urgent it is."""

    job: Job
    urgency: int
    number: int


class Previews:
    """Dreams stills in a process that is begun at the first, and again if it ends."""

    def __init__(self, studio: Studio) -> None:
        self._studio = studio
        self._changed = threading.Condition()
        self._wishes: dict[Path, Wish] = {}
        self._errors: dict[Path, str] = {}
        self._making: Path | None = None
        self._count, self._ends, self._dropped = 0, False, False
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def named(self, job: Job, ending: str) -> Job:
        """`job` with an output among the stills that is named by all that it says, and by the times
        of the files that it reads."""
        key = key_of(job_key(job), code_digest())
        return job.model_copy(update={"output": self._studio.stills / f"{key}{ending}"})

    def ask(self, job: Job, urgency: int = USUAL) -> str | None:
        """Ask for the still of `job`, if it is not there yet. Returns why it cannot be made, if
        that is known."""
        path = job.output
        with self._changed:
            error = self._errors.get(path)
            waits = path in self._wishes and self._wishes[path].urgency <= urgency
            if error is None and not waits and path != self._making and not path.exists():
                self._count += 1
                self._wishes[path] = Wish(job, urgency, self._count)
                self._changed.notify_all()
        return error

    def drop(self, but: set[Path]) -> None:
        """Forget all that was asked for and is not begun, `but` these."""
        with self._changed:
            self._wishes = {path: one for path, one in self._wishes.items() if path in but}
            self._errors = {}
            making, process = self._making, self._process
            if making is not None and making not in but and making.suffix == ".mp4" and process:
                self._dropped = True  # it may take long, and others wait
                process.kill()

    def close(self) -> None:
        """End the process."""
        with self._changed:
            self._ends = True
            self._changed.notify_all()
        if self._process is not None:
            self._process.kill()

    def _work(self) -> None:
        self._begun()  # what it imports takes longer than a still
        while True:
            with self._changed:
                while not self._wishes and not self._ends:
                    self._changed.wait()
                if self._ends:
                    return
                wish = min(self._wishes.values(), key=lambda one: (one.urgency, one.number))
                del self._wishes[wish.job.output]
                self._making = wish.job.output
            error = self._made(wish.job)
            with self._changed:
                self._making = None
                if error is not None:
                    self._errors[wish.job.output] = error

    def _made(self, job: Job) -> str | None:
        """Have the process make `job`. Returns why it failed, or None."""
        try:
            process = self._begun()
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(json.dumps(as_table(job)).encode() + b"\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            error: str | None = json.loads(answer)["error"]
        except (OSError, ValueError, LookupError, TypeError) as fault:
            if self._ends or self._dropped:
                return None
            why = f" ({fault.strerror})" if isinstance(fault, OSError) and fault.strerror else ""
            return f"the process that dreams stills has ended{why}; the next change tries again"
        finally:
            self._dropped = False
        return error

    def _begun(self) -> "subprocess.Popen[bytes]":
        """The process, which is begun if it does not live."""
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        return self._process


def main() -> None:
    """Dream each job that comes in a line of standard input, and answer in a line."""
    from dreamreel.pipeline.jobs.preparation import keep_network
    from dreamreel.pipeline.jobs.run import run

    keep_network()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is no answer
    with tempfile.TemporaryDirectory() as folder:
        run(_first(Path(folder)))  # it takes longer than all others
    _lines(lambda job: run(job, overwrite=True, restart=True), answers)


def _first(folder: Path) -> Job:
    """The job of a grey still in `folder`."""
    source = folder / "grey.png"
    cv2.imwrite(str(source), np.full((SETTLED * 9 // 16, SETTLED, 3), 128, np.uint8))
    settings = build(("a first still", {"width": SETTLED, "dream": {"steps": 1}}))
    named = NamedFile(path=source)
    return Job(kind="still", source=named, output=folder / "dream.png", settings=settings)


def _lines(make: Callable[[Job], object], answers: TextIO) -> None:
    for line in sys.stdin:
        try:
            make(Job.model_validate_json(line))
            error = None
        except UserError as mistake:
            error = str(mistake)
        except Exception as fault:  # told on the page: a still must not end all others
            error = " ".join(f"{type(fault).__name__}: {fault}".split())
        print(json.dumps({"error": error}), file=answers, flush=True)


if __name__ == "__main__":
    main()
