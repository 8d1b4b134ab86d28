"""Many renders: jobs are planned into a queue, checked, and driven to their end by an engine.

An engine gives tasks to workers: processes of this machine (`workers`) or of a cluster
(`cluster`). All that is known of a batch lies in the files of its `Queue`.
"""

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Protocol

from dreamreel.pipeline.config.values import SMALLEST_SIDE
from dreamreel.pipeline.durable import partial_path
from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.frames import fitted_size
from dreamreel.pipeline.jobs.checks import Checked, check, expected_frames, files_of, key_of
from dreamreel.pipeline.jobs.job import DEFAULT_CANVAS, Job, NamedFile, Piece, Threads
from dreamreel.pipeline.jobs.paths import Target, folder_of, remove_work
from dreamreel.pipeline.jobs.pieces import LEAST_FRAMES, finished_piece, pieces_of
from dreamreel.pipeline.jobs.queue import Entry, Outcome, Problem, Queue, Task, pieces_folder
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.jobs.segments import CODED, CODED_ELSE
from dreamreel.pipeline.jobs.tasks import Split, already_made, bytes_of
from dreamreel.pipeline.media.clips import probe
from dreamreel.pipeline.media.cropping import crop_of
from dreamreel.pipeline.media.stills import read_header

# A network's name, the file of its weights if one was given, and their digest.
Weights = tuple[str, Path | None, str | None]
BACKOFF, LONGEST_BACKOFF = 2.0, 300.0  # seconds before the first retry, doubled until the longest
# Seconds before a task that somebody else has claimed is tried again: little beside a lease.
CLAIMED_AGAIN = 3.0
LOOK_EVERY = 0.5  # seconds between looks at shots that are being found; a round number
TICK = 0.1  # seconds between looks at the engine; jobs take seconds at least
# Frames above which a video is split at its cuts where there is more than one worker: 10 seconds at
# 24 a second. Finding the cuts takes some 2 % of the render. A round number.
SPLIT_ABOVE = 240
PAGES = ("report.html", "matrix.jpg")  # what a batch writes beside its results


@dataclass(frozen=True)
class Options:
    """How a batch runs.

    `retry`: times that a failure which may pass is tried again. `only` and `first` are patterns of
    jobs' names: those that run, and those that run first. `stop_after` is in seconds. `split_above`
    is the least number of frames of a video that is split at its cuts; `preroll` frames are dreamed
    before pieces that begin within a shot, None: there are none.
    """

    retry: int
    only: str | None = None
    first: str | None = None
    stop_after: float | None = None
    split_above: int = SPLIT_ABOVE
    least: int = LEAST_FRAMES
    preroll: int | None = None

    @property
    def split(self) -> Split:
        """What workers must know to split videos alike."""
        return self.least, self.preroll


class Engine(Protocol):
    """Whatever does tasks."""

    workers: int

    @property
    def free(self) -> int:
        """How many more tasks it can take now."""

    def start(self, task: Task) -> None:
        """Begin `task`."""

    def outcomes(self) -> list[Outcome]:
        """How the tasks ended that ended since the last call."""

    def stop(self) -> None:
        """Have all tasks save and stop, and begin no other."""

    def kill(self) -> None:
        """End all workers at once."""


@dataclass
class Plan:
    """The queue's entries as planned, in order, and lines for the user."""

    entries: list[Entry]
    notices: list[str] = field(default_factory=list)

    @property
    def waiting(self) -> list[Entry]:
        """The entries that are still to be done."""
        return [entry for entry in self.entries if entry.state == "waiting" and not entry.held]


def plan(queue: Queue, entries: Sequence[Entry], threads: Threads, overwrite: bool) -> Plan:
    """The `entries` of a batch, with what the queue knows of them from before. Nothing is written.

    Jobs that are done stay so; jobs that were changed, in their settings or files, are done again;
    jobs that failed by no fault of the user's, too. `threads` are those of new jobs. A source that
    cannot be read makes its job fail, and no other. Raises UserError for any other mistake.
    """
    before = {entry.name: entry for entry in queue.entries()} if queue.exists() else {}
    planned = Plan([])
    _check_outputs(queue, entries)
    for entry in entries:
        old = before.get(entry.name)
        kept = threads if old is None or old.job.threads is None else old.job.threads
        key = key_of(entry.job)  # which says nothing of threads
        entry = entry.but(job=entry.job.model_copy(update={"threads": kept, "key": key}))
        entry = _merged(queue, entry, old, overwrite)
        if old is not None and old.job.key != key and _has_begun(old):
            planned.notices.append(f"{entry.name} was changed: its unfinished frames are discarded")
        if entry.state == "waiting":
            entry = _checked(entry, planned)
        planned.entries.append(entry)
    _check_room(planned, queue.folder.parent)
    return planned


def plan_again(queue: Queue) -> Plan:
    """The plan of what the `queue` holds, as it stands. Jobs that failed by no fault of the user's
    are tried again; one that cannot be done fails, and no other."""
    planned = Plan([])
    for entry in queue.entries():
        passes = entry.state == "failed" and entry.error is not None and entry.error.fault != "user"
        if entry.state == "running" or passes:
            entry = entry.but(state="waiting", tries=0, not_before=0.0)
        if entry.state == "waiting" and not entry.held and not already_made(queue, entry):
            try:
                entry = _checked(entry, planned)
            except UserError as error:
                message = str(error).removeprefix(f"{entry.name}: ")
                entry = entry.but(state="failed", error=Problem(fault="user", message=message))
        planned.entries.append(entry)
    _check_room(planned, queue.folder.parent)
    return planned


def write_plan(queue: Queue, planned: Plan) -> None:
    """Write the entries of `planned` to the `queue`, without those that the batch has no more, and
    make the folders of their results. What is left of renders of jobs that were changed is
    discarded."""
    before = {entry.name: entry for entry in queue.entries()}
    for entry in planned.entries:
        old = before.pop(entry.name, None)
        if old is not None and old.job.key != entry.job.key:
            _discard(queue, old)
        if entry.state == "waiting":
            entry.job.place.parent.mkdir(parents=True, exist_ok=True)
        if old != entry:
            queue.write(entry)
    for old in before.values():
        queue.remove(old)


def check_dreams(entries: Iterable[Entry], report: Report) -> list[Weights]:
    """The networks of `entries`, each with the file and the digest of its weights.

    Raises UserError if the network or the layers of one of them cannot dream its size, if a
    schedule gives a value out of bounds, and if a zoom cannot reach its goal.
    """
    # Imported here because it imports torch, which takes seconds.
    from dreamreel.pipeline.jobs.preparation import fitting_network, keep_network

    keep_network()
    seen = set()
    found: dict[tuple[str, Path | None], str | None] = {}
    for entry in entries:
        settings, size = entry.job.settings, entry.size or (0, 0)
        try:
            _check_course(entry)
        except UserError as error:
            raise UserError(f"{entry.name}: {error}") from error
        about = settings.model_dump_json(include={"network", "weights", "dream", "precision"})
        if (about, size) in seen or not all(size):
            continue
        seen.add((about, size))
        try:
            network = fitting_network(settings, size, report)
            found[settings.network, settings.weights] = network.digest
        except UserError as error:
            raise UserError(f"{entry.name}: {error}") from error
    return [(name, path, digest) for (name, path), digest in found.items()]


def _check_course(entry: Entry) -> None:
    """Raise UserError if the settings of `entry` cannot be followed over time."""
    from dreamreel.pipeline.jobs.preparation import heard_by, settings_over_time

    job, settings = entry.job, entry.job.settings
    if job.kind == "zoom":
        from dreamreel.pipeline.jobs.zoom import check_course

        check_course(job, entry.size or (SMALLEST_SIDE, SMALLEST_SIDE))
    elif job.kind == "video" and job.source is not None and settings.schedules:
        clip = probe(job.source.path, settings.source)
        music = job.source.path if job.audio is None else job.audio.path
        heard = heard_by(settings, music if job.audio is not None or clip.is_file else None)
        settings_over_time(settings, entry.frames or 1, clip.rate, heard, job.span[0])


def drive(
    queue: Queue,
    engine: Engine,
    options: Options,
    is_stopping: Callable[[], bool],
    on_change: Callable[[list[Entry], Outcome | None], None],
) -> list[Entry]:
    """Have `engine` do all that waits in the `queue`, and return the entries at the end.

    Ends early, with all work saved, once `is_stopping()`, once the queue is paused, or after
    `options.stop_after` seconds. `on_change` is called with all entries after each tick, with the
    outcome of a task if one has just ended.
    """
    drive = _Drive(queue, engine, options, queue.entries())
    ends = None if options.stop_after is None else time.monotonic() + options.stop_after
    while True:
        for outcome in engine.outcomes():
            drive.take(outcome)
            on_change(drive.all, outcome)
        late = ends is not None and time.monotonic() >= ends
        if not drive.stopping and (is_stopping() or queue.is_paused or late):
            drive.stopping = True
            engine.stop()
        if not drive.stopping:
            drive.give_out()
        on_change(drive.all, None)
        if not drive.running and (drive.stopping or not drive.is_waiting()):
            return drive.all
        time.sleep(TICK)


@dataclass
class _Drive:
    """The state of `drive`: what waits and what runs."""

    queue: Queue
    engine: Engine
    options: Options
    all: list[Entry]
    running: dict[str, Task] = field(default_factory=dict)
    stopping: bool = False
    paused_until: dict[str, float] = field(default_factory=dict)  # of tasks that others claimed
    pieces: dict[str, list[Piece]] = field(default_factory=dict)  # of videos with known shots
    so_far: dict[str, list[Piece]] = field(default_factory=dict)  # of those with some known
    looked: dict[str, float] = field(default_factory=dict)  # when their shots were looked at
    whole: set[tuple[str, int]] = field(default_factory=set)  # pieces known to be finished

    def __post_init__(self) -> None:
        only, first = self.options.only, self.options.first
        free = [entry for entry in self.all if not entry.held]
        order = [entry for entry in free if only is None or fnmatch(entry.name, only)]
        self._order = [entry.name for entry in order]
        if first is not None:
            self._order.sort(key=lambda name: not fnmatch(name, first))
        self._places = {entry.name: place for place, entry in enumerate(self.all)}

    def entry(self, name: str) -> Entry:
        return self.all[self._places[name]]

    def is_waiting(self) -> bool:
        return any(self.entry(name).state in ("waiting", "running") for name in self._order)

    def give_out(self) -> None:
        """Give the engine as many tasks as it takes."""
        free, now = self.engine.free, time.time()
        for name in self._order:
            if free <= 0:
                return
            entry = self.entry(name)
            if entry.state in ("done", "failed") or entry.not_before > now:
                continue
            for task in self._tasks(entry):
                if free <= 0:
                    return
                if task.id in self.running or self.paused_until.get(task.id, 0) > now:
                    continue
                self.running[task.id] = task
                if entry.state != "running":
                    entry = self._put(entry.but(state="running", error=None))
                self.engine.start(task)
                free -= 1

    def take(self, outcome: Outcome) -> None:
        """Take note of how a task ended."""
        task = outcome.task
        self.running.pop(task.id, None)
        entry = self.entry(task.name)
        if outcome.state == "lost":
            self.paused_until[task.id] = time.time() + CLAIMED_AGAIN
        elif outcome.state == "stopped":
            if entry.state == "running":  # another of its pieces may have failed
                self._put(entry.but(state="waiting"))
        elif outcome.state == "failed":
            self._put(self._failed(entry, outcome.error or Problem(fault="ours", message="?")))
        elif task.do in ("render", "join") or outcome.output is not None:
            self._put(
                entry.but(
                    state="done",
                    error=None,
                    output=outcome.output,
                    done_frames=outcome.frames,
                    seconds=outcome.seconds,
                    bytes=outcome.bytes,
                    notices=outcome.notices,
                    replaces=False,
                )
            )
        elif task.piece is not None:
            self.whole.add((task.name, task.piece))
        else:
            self.looked.pop(task.name, None)

    def _failed(self, entry: Entry, problem: Problem) -> Entry:
        again = problem.fault == "passing" and entry.tries < self.options.retry
        if not again:
            return entry.but(state="failed", error=problem)
        wait = min(BACKOFF * 2**entry.tries, LONGEST_BACKOFF)
        self.queue.note(entry.name, f"tried again in {wait:g} s: {problem.message}")
        return entry.but(
            state="waiting", error=problem, tries=entry.tries + 1, not_before=time.time() + wait
        )

    def _put(self, entry: Entry) -> Entry:
        self.all[self._places[entry.name]] = entry
        # A full disk: memory knows, and the next process finds out anew.
        with suppress(OSError):
            self.queue.write(entry)
        return entry

    def _tasks(self, entry: Entry) -> Iterator[Task]:
        """The tasks of `entry` that can be done now."""
        name = entry.name
        if not self._is_split(entry):
            yield Task(do="render", name=name)
            return
        is_whole, pieces = self._pieces(name)
        if not is_whole:
            yield Task(do="shots", name=name)
        elif len(pieces) == 1:
            yield Task(do="render", name=name)
            return
        left = [
            number for number, piece in enumerate(pieces) if not self._is_whole(name, number, piece)
        ]
        for number in left:
            yield Task(do="piece", name=name, piece=number)
        if is_whole and not left:
            yield Task(do="join", name=name)

    def _pieces(self, name: str) -> tuple[bool, list[Piece]]:
        """The pieces of a video, and whether they are all: its shots may still be looked for."""
        if name not in self.pieces:
            if self.looked.get(name, 0.0) > time.monotonic() - LOOK_EVERY:
                return False, self.so_far.get(name, [])
            self.looked[name] = time.monotonic()
            shots = self.queue.shots(name)
            if shots is None:
                return False, []
            pieces = pieces_of(shots, pieces_folder(self.queue, name), *self.options.split)
            if not shots.is_whole:
                self.so_far[name] = pieces
                return False, pieces
            self.pieces[name] = pieces
        return True, self.pieces[name]

    def _is_whole(self, name: str, number: int, piece: Piece) -> bool:
        if (name, number) not in self.whole and finished_piece(piece) is not None:
            self.whole.add((name, number))
        return (name, number) in self.whole

    def _is_split(self, entry: Entry) -> bool:
        if entry.job.kind != "video" or self.engine.workers < 2:
            return False
        if entry.job.settings.flow.method == "none":  # it has no shots
            return False
        begun = folder_of(entry.job.place).exists()
        known = entry.name in self.pieces or self.queue.shots(entry.name) is not None
        # Machines may encode by different hardware, whose segments do not make one film.
        alike = entry.job.settings.output.encoder == "software"
        return known or (alike and not begun and (entry.frames or 0) > self.options.split_above)


def _check_outputs(queue: Queue, entries: Sequence[Entry]) -> None:
    """Raise UserError if a result would stand where the batch has files of its own, or where a
    source of another job is."""
    sources = {os.path.realpath(one.job.source.path) for one in entries if one.job.source}
    read = {os.path.realpath(path) for one in entries for path in files_of(one.job)} | sources
    top, own = os.path.realpath(queue.folder.parent), os.path.realpath(queue.folder)
    for entry in entries:
        place = Path(os.path.realpath(entry.job.place))
        if place.is_relative_to(own) or str(place) in {os.path.join(top, name) for name in PAGES}:
            raise UserError(f"{entry.name}: {place} is the batch's own; give another name")
        if str(place) in read:
            raise UserError(f"{entry.name}: {place} is a source of this batch; give another name")


def _merged(queue: Queue, entry: Entry, old: Entry | None, overwrite: bool) -> Entry:
    """`entry` with what is known of it from before. Raises UserError if there is a file in its
    place that this batch did not make."""
    place = entry.job.place
    there = os.path.lexists(place)
    if old is not None and old.job.key == entry.job.key:
        fails = old.state == "failed" and old.error is not None and old.error.fault == "user"
        if fails or (old.state == "done" and there):
            return old.but(index=entry.index, shown=entry.shown)
    if not there:
        return entry.but(replaces=overwrite)
    size = bytes_of(place)
    made = old is not None and (old.state == "done" or old.replaces) and size == old.bytes
    if not (made or overwrite or already_made(queue, entry) is not None):
        why = "is not the file that this batch made there" if old is not None else "exists"
        raise UserError(f"{place} {why}; --overwrite replaces it, or give another output folder")
    return entry.but(replaces=True, bytes=size)


def _has_begun(old: Entry) -> bool:
    """Whether the unfinished render in the place of `old` is the batch's. One that made the job
    fail is the user's own."""
    fails = old.error is not None and old.error.fault == "user"
    return not fails and folder_of(old.job.place).exists()


def _checked(entry: Entry, planned: Plan) -> Entry:
    """`entry` after all checks that need no network, with its frames and size."""
    job = entry.job
    out = Target(_ahead(job), entry.replaces)
    seen: list[str] = []
    try:
        checked = check(
            job.model_copy(update={"output": out.path}), out, Report(on_notice=seen.append)
        )
    except UserError as error:
        if (fault := _fault_of_source(job)) is None:
            raise UserError(f"{entry.name}: {error}") from error
        return entry.but(state="failed", error=Problem(fault="user", message=fault))
    planned.notices += [f"{entry.name}: {line}" for line in seen]
    frames, size = expected(checked)
    return entry.but(frames=frames, size=size)


def _ahead(job: Job) -> Path:
    """The path that stands for the output of `job` in checks: as long as its folder is not made,
    one with a name that nothing has, in the nearest folder that is."""
    output, folder = job.output, job.place.parent
    above = folder
    while not folder.is_dir():
        folder = folder.parent
    first, *more = output.relative_to(above).parts
    return output if folder == above else folder.joinpath(f"{secrets.token_hex(8)}-{first}", *more)


def _fault_of_source(job: Job) -> str | None:
    """What is wrong with the source of `job` itself; None if it can be read."""
    if job.source is None:
        return None
    path = job.source.path
    try:
        if job.kind == "zoom" or (job.kind == "still" and job.at is None):
            read_header(path)
        else:
            probe(path, job.settings.source)
    except UserError as error:
        return str(error)
    except (OSError, ValueError, SyntaxError) as error:
        return f"{path} is no picture that can be read ({error})"
    return None


def expected(checked: Checked) -> tuple[int | None, tuple[int, int] | None]:
    """The number of frames and the size that the result of a `checked` job will have."""
    job, clip = checked.job, checked.clip
    width = job.settings.width
    if clip is not None:
        frames = 1 if job.kind == "still" else expected_frames(clip, job.span)
        return frames, clip.raster.size_at(width)
    if job.flight is not None:
        size = job.flight.size or (_size_of(job.source) if job.source else None) or DEFAULT_CANVAS
        return job.flight.own_frames, fitted_size(*size, width)
    found = _size_of(job.source) if job.source else None
    crop = None if found is None else crop_of(found, job.settings.source)
    found = found if crop is None else crop.size
    return 1, None if found is None else fitted_size(*found, width)


def _size_of(file: NamedFile) -> tuple[int, int] | None:
    try:
        return read_header(file.path).size
    except (OSError, ValueError, SyntaxError, UserError):
        return None


def _discard(queue: Queue, old: Entry) -> None:
    """Delete what is left of the render of `old`, whose job was changed."""
    if _has_begun(old):
        remove_work(old.job.place)
    shots = queue.shots(old.name)
    folder = pieces_folder(queue, old.name)
    if shots is not None and folder.is_dir():
        for path in sorted(folder.glob("*.unfinished")):
            remove_work(path.with_name(path.name.removesuffix(".unfinished")))
        with suppress(OSError):
            folder.rmdir()
    queue.path("shots", old.name).unlink(missing_ok=True)


def _check_room(planned: Plan, folder: Path) -> None:
    """Raise UserError if the disk has too little room for all that waits, or the folder of an
    output cannot be made."""
    for place in {entry.job.place.parent for entry in planned.waiting}:
        inside = place
        while not os.path.lexists(inside):
            inside = inside.parent
        if not inside.is_dir():
            raise UserError(f"{inside} is a file, not a folder to write results into")
        probe_ = partial_path(inside / "probe")
        try:
            probe_.touch(exist_ok=False)
            probe_.unlink()
        except OSError as error:
            raise UserError(f"{inside} cannot be written to ({error.strerror})") from error
    while not folder.is_dir():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    needed = sum(least_bytes(entry) for entry in planned.waiting)
    if free < needed:
        raise UserError(
            f"{folder} has {free >> 20} MB of room, and the batch needs at least "
            f"{int(needed) >> 20} MB; free some, or give another output folder"
        )


def least_bytes(entry: Entry) -> float:
    """The bytes that the result of `entry` will take, at least."""
    height, width = entry.size or (0, 0)
    share = CODED.get(entry.job.settings.output.codec, CODED_ELSE)
    return 3 * height * width * (entry.frames or 0) * share
