"""The process of one of the studio's renders: `python -m` this module, FOLDER NAME, where FOLDER
is that of a queue. It stops, with its work saved, once the render is held."""

import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.jobs.pieces import LEAST_FRAMES
from dreamreel.pipeline.jobs.queue import Entry, Outcome, Queue, Task
from dreamreel.pipeline.jobs.tasks import perform
from dreamreel.pipeline.studio.renders import changing

LOOK_EVERY = 0.3  # seconds between looks at whether the render is held


class Stopping:
    """Tells whether the render `name` of `queue` is to stop."""

    def __init__(self, queue: Queue, name: str) -> None:
        self._queue, self._name = queue, name
        self._looked, self._told = 0.0, False

    def __call__(self) -> bool:
        """Whether it is held, or this process was asked to end."""
        now = time.monotonic()
        if not self._told and now - self._looked >= LOOK_EVERY:
            self._looked = now
            with suppress(UserError):
                self._told = self._queue.entry(self._name).held
        return self._told

    def end(self) -> None:
        """Have it stop."""
        self._told = True


def main() -> None:
    """Do the render, and note in the queue how it ended."""
    queue, name = Queue(Path(sys.argv[1])), sys.argv[2]
    stopping = Stopping(queue, name)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *about: stopping.end())
    outcome = perform(queue, Task(do="render", name=name), (LEAST_FRAMES, None), stopping)
    # A batch that holds the queue finds out by itself.
    with suppress(UserError, OSError), changing(queue):
        queue.write(ended(queue.entry(name), outcome))


def ended(entry: Entry, outcome: Outcome) -> Entry:
    """`entry` after that `outcome` of its render."""
    if outcome.state == "lost":
        return entry
    if outcome.state == "failed":
        return entry.but(state="failed", error=outcome.error, tries=0)
    if outcome.state == "stopped":
        return entry.but(state="waiting", tries=0)
    return entry.but(
        state="done",
        error=None,
        tries=0,
        output=outcome.output,
        done_frames=outcome.frames,
        seconds=outcome.seconds,
        bytes=outcome.bytes,
        notices=outcome.notices,
    )


if __name__ == "__main__":
    main()
