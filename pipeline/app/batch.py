"""The work of `dreamreel batch`: plan, show, drive, and tell how it went."""

import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from dreamreel.pipeline.app.arguments import ENGINE
from dreamreel.pipeline.app.batchfile import (
    BatchFile,
    batch_of_folder,
    dreams_of,
    entries_of,
    read_batch,
)
from dreamreel.pipeline.app.options import Given
from dreamreel.pipeline.app.terminal import (
    from_here,
    print_error,
    print_json,
    print_line,
    print_result,
    print_table,
    printable,
    stop_signals,
)
from dreamreel.pipeline.config.tables import shown
from dreamreel.pipeline.config.values import parse_time
from dreamreel.pipeline.errors import UserError, nearest, usable
from dreamreel.pipeline.jobs.batch import (
    PAGES,
    SPLIT_ABOVE,
    Engine,
    Options,
    Plan,
    Weights,
    check_dreams,
    drive,
    least_bytes,
    plan,
    plan_again,
    write_plan,
)
from dreamreel.pipeline.jobs.job import Threads
from dreamreel.pipeline.jobs.kinds import check_kind
from dreamreel.pipeline.jobs.queue import Entry, Outcome, Queue, Step, queue_of
from dreamreel.pipeline.jobs.report import Report
from dreamreel.pipeline.jobs.segments import CODED

LINES_EVERY = 10.0  # seconds between lines of progress of a batch that is piped; a round number
HEAD = ("job", "state", "frames", "time", "rate", "size", "error")
MOST_ROWS = 30  # of jobs under way that a terminal shows at once
AMOUNT = r"(\d{1,9}(?:\.\d{1,9})?)"
DURATION = re.compile(rf"(?:{AMOUNT}h)?(?:{AMOUNT}m(?:in)?)?(?:{AMOUNT}s?)?", re.ASCII)
MOST_WORKERS = 1024  # a bound against a slip of the finger

# Makes an engine for a queue, with the networks that the jobs need.
MakeEngine = Callable[[Queue, list[Weights]], Engine]


@dataclass(frozen=True)
class Display:
    """How a batch is shown: with `json`, as one object a line on standard output; with `quiet`,
    only the path of its page at the end."""

    json: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class BatchOptions:
    """The options that only `batch` has, as they were given."""

    workers: int | None
    threads: int | None
    engine: str
    address: str | None
    retry: int
    only: str | None
    first: str | None
    stop_after: str | None
    preroll: int | None
    split_above: int | None


def batch_command(source: Path, given: Given, options: BatchOptions, asks: str, json: bool) -> int:
    """Do what `dreamreel batch` asks for: "run", "status", "pause", "plan" or "dry-run".

    Returns the exit code. Raises UserError for a mistake of the user's, before anything is begun.
    """
    _check(options)
    if asks in ("status", "pause"):
        output = _output_of(source, given)
        if asks == "pause":
            pause_batch(output)
            return 0
        return show_status(output, json)
    threads = options.threads or threads_of(_workers(options)[0])
    if holds_queue(source) and not (given.flags or given.preset or given.set or given.output):
        batch, found = going_on(source)
    else:
        batch = find_batch(source, given, given.output)
        found = planned(batch, threads, given.overwrite)
    for pattern in (options.only, options.first):
        if pattern is not None and not any(fnmatch(one.name, pattern) for one in found.entries):
            raise UserError(f"no job is named like {pattern!r}; --dry-run lists the names")
    if asks == "plan":
        return _write_jobs(batch, found)
    if asks == "dry-run":
        from dreamreel.pipeline.jobs.estimate import estimated_seconds

        found.entries = _chosen(found.entries, options.only, options.first)
        show_plan(found, estimated_seconds(found.waiting, threads))
        return int(any(entry.state == "failed" for entry in found.entries))
    running = Options(
        retry=options.retry,
        only=options.only,
        first=options.first,
        stop_after=None if options.stop_after is None else parse_duration(options.stop_after),
        split_above=SPLIT_ABOVE if options.split_above is None else options.split_above,
        preroll=options.preroll,
    )

    def make_engine(queue: Queue, networks: list[Weights]) -> Engine:
        return ENGINES[options.engine](queue, running, options, threads, networks)

    return run_batch(batch, found, running, make_engine, Display(json, given.quiet))


def _local(
    queue: Queue, running: Options, options: BatchOptions, threads: int, networks: list[Weights]
) -> Engine:
    from dreamreel.pipeline.jobs.workers import LocalEngine

    workers, devices = _workers(options)
    return LocalEngine(queue, running.split, workers, threads, devices)


def _ray(
    queue: Queue, running: Options, options: BatchOptions, threads: int, networks: list[Weights]
) -> Engine:
    from dreamreel.pipeline.jobs.cluster import RayEngine

    about = options.workers, threads, options.address
    return RayEngine(queue, running.split, *about, networks)


ENGINES = {ENGINE: _local, "ray": _ray}  # by the name that --engine gives


def _write_jobs(batch: BatchFile, found: Plan) -> int:
    """Write the job files of the plan `found`, and print their paths."""
    check_dreams(found.waiting, Report())
    queue = queue_of(batch.output)
    queue.make(batch.source)
    with queue.locked():
        queue.take_over(batch.source)
        write_plan(queue, found)
    for entry in found.entries:
        print_result(queue.path("jobs", entry.name))
    return int(any(entry.state == "failed" for entry in found.entries))


def _check(options: BatchOptions) -> None:
    for name in ("workers", "threads"):
        value = getattr(options, name)
        if value is not None and not 1 <= value <= MOST_WORKERS:
            raise UserError(f"--{name} {value}: give a number from 1 to {MOST_WORKERS}")
    if options.retry < 0 or (options.preroll or 0) < 0 or (options.split_above or 0) < 0:
        raise UserError("--retry, --preroll and --split-above take numbers from 0")
    if options.engine not in ENGINES:
        known = f"there are {', '.join(ENGINES)}{nearest(options.engine, ENGINES)}"
        raise UserError(f"--engine {options.engine} is none; {known}")
    if options.address is not None and options.engine != "ray":
        raise UserError("--address is that of a Ray cluster: give --engine ray too")


def _output_of(source: Path, given: Given) -> Path:
    """The output folder of the batch of `source`, which need not be valid."""
    if given.output is not None:
        return given.output.absolute()
    if holds_queue(source):
        return source.absolute()
    with usable(source):
        if source.is_dir():
            return dreams_of(source)
    return read_batch(source).output


def holds_queue(source: Path) -> bool:
    """Whether `source` is the folder of the results of a batch, such as the studio's renders.
    Raises UserError if it looks like one and is none."""
    with usable(source):
        return queue_of(source).exists()


def going_on(folder: Path) -> tuple[BatchFile, Plan]:
    """The batch whose results are in `folder`, with the jobs as its queue has them."""
    queue = queue_of(folder.absolute())
    batch = BatchFile(queue.batch, folder.absolute(), folder.absolute(), None, [])
    return batch, plan_again(queue)


def _workers(options: BatchOptions) -> tuple[int, list[str]]:
    """The number of workers, and the GPUs that they use in turn: those that this machine has."""
    devices = gpus()
    return options.workers or max(1, len(devices)), devices


def gpus() -> list[str]:
    """The numbers of the NVIDIA GPUs that this process may use, asked without torch."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [one for one in given.split(",") if one.strip() not in ("", "-1")]
    return [path.name.removeprefix("nvidia") for path in sorted(Path("/dev").glob("nvidia[0-9]*"))]


def parse_duration(text: str) -> float:
    """The seconds in `text`: 90, 90s, 45m, 7h30m or 7:30:00. Raises UserError for anything else."""
    found = DURATION.fullmatch(text.strip())
    if found is not None and any(found.groups()):
        hours, minutes, seconds = (float(part or 0) for part in found.groups())
        total = 3600 * hours + 60 * minutes + seconds
    else:
        try:
            total = parse_time("--stop-after", text)
        except UserError as error:
            raise UserError(f"--stop-after {shown(text)} is no time; 7h30m or 45m is") from error
    if total <= 0:
        raise UserError(f"--stop-after {shown(text)} is no time; 7h30m or 45m is")
    return total


def find_batch(source: Path, given: Given, output: Path | None) -> BatchFile:
    """The batch in the file, or of the folder, `source`. Raises UserError if there is none."""
    with usable(source):
        if source.is_dir():
            return batch_of_folder(source, given, output)
    if source.suffix.lower() != ".toml":
        check_kind(source, "batch file", "preset")
        raise UserError(f"{source} is neither a folder nor a batch file, which ends in .toml")
    if given.flags or given.preset or given.set:
        raise UserError(
            f"options of jobs belong in {source.name}; on the command line they go with a folder"
        )
    found = read_batch(source)
    if output is not None:
        found.output = output.absolute()
    return found


def threads_of(workers: int) -> int:
    """The threads of a job of each of so many workers: they share the cores of this machine."""
    return max(1, cores() // workers)


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def planned(batch: BatchFile, threads: int, overwrite: bool) -> Plan:
    """The plan of `batch`, after every check that needs no network. Writes nothing."""
    queue = queue_of(batch.output)
    if not overwrite:
        queue.check_of(batch.source)
        for name in () if queue.exists() else PAGES:
            if os.path.lexists(batch.output / name):
                raise UserError(
                    f"{batch.output / name} exists, and the batch writes its own there; "
                    "--overwrite replaces it, or give another output folder"
                )
    found = plan(queue, entries_of(batch), Threads(torch=threads, encoder=threads), overwrite)
    found.notices[:0] = batch.notices
    return found


def run_batch(
    batch: BatchFile,
    found: Plan,
    options: Options,
    make_engine: MakeEngine,
    display: Display,
) -> int:
    """Do what waits of the plan `found` of `batch`, and return the exit code: 0 if all is done, 1
    if a job failed, 130 if it was stopped."""
    queue = queue_of(batch.output)
    networks = check_dreams(found.waiting, Report())
    queue.make(batch.source)
    with queue.locked():
        queue.take_over(batch.source)
        queue.unpause()
        write_plan(queue, found)
        view = _view(queue, display)
        for line in found.notices:
            view.note(line)
        engine = make_engine(queue, networks)
        came: list[int] = []
        try:
            with stop_signals(came) as is_stopping, view.showing():
                entries = drive(queue, engine, options, is_stopping, view.change)
        finally:
            engine.kill()
        _write_pages(batch, entries, view)
        view.end(entries)
    code = _exit_code(entries, options, bool(came) or queue.is_paused)
    if code == 130:
        print_error("stopped, with all work saved; the same command goes on")
    return code


def _exit_code(entries: Sequence[Entry], options: Options, stopped: bool) -> int:
    chosen = _chosen(entries, options.only, options.first)
    unfinished = any(entry.state in ("waiting", "running") for entry in chosen)
    if unfinished and (stopped or options.stop_after is not None):
        return 130
    return 1 if any(entry.state == "failed" for entry in entries) else 0


def _chosen(entries: Sequence[Entry], only: str | None, first: str | None) -> list[Entry]:
    """Those of `entries` named like `only`, those named like `first` before the others."""
    chosen = [entry for entry in entries if only is None or fnmatch(entry.name, only)]
    return sorted(chosen, key=lambda entry: first is not None and not fnmatch(entry.name, first))


def _write_pages(batch: BatchFile, entries: list[Entry], view: "View") -> None:
    from dreamreel.pipeline.judging.batch_page import write_matrix, write_page

    try:
        page, matrix = (batch.output / name for name in PAGES)
        write_page(entries, page, f"Dreamreel: {batch.output.name}")
        write_matrix(entries, matrix)
    except OSError as error:
        view.note(f"report.html could not be written ({error.strerror})")


def show_status(output: Path, json: bool) -> int:
    """Print how far the batch into `output` is. Returns 1 if a job failed, else 0."""
    queue = queue_of(output)
    if not queue.exists():
        raise UserError(f"{output} holds no batch yet; dreamreel batch without --status begins it")
    entries = queue.entries()
    if not queue.is_running:  # if it was killed, nothing runs but what a process has claimed
        entries = [_as_claimed(one, queue) for one in entries]
    if json:
        for entry in entries:
            print_json(_about(entry, queue))
        return int(any(entry.state == "failed" for entry in entries))
    print_table([HEAD, *(_row(entry, _step_of(queue, entry)) for entry in entries)])
    running = "under way" if _is_under_way(queue, entries) else "not under way"
    paused = ", paused" if queue.is_paused else ""
    print(f"{_counts(entries)}; {running}{paused}")
    return int(any(entry.state == "failed" for entry in entries))


def _is_under_way(queue: Queue, entries: Sequence[Entry]) -> bool:
    """Whether a batch gives out work, or a process of its own is at one of the `entries`."""
    return queue.is_running or any(queue.claimed(entry.name) is not None for entry in entries)


def _as_claimed(entry: Entry, queue: Queue) -> Entry:
    """`entry`, which runs if a process has claimed it."""
    if entry.state not in ("running", "waiting"):
        return entry
    return entry.but(state="running" if queue.claimed(entry.name) is not None else "waiting")


def pause_batch(output: Path) -> None:
    """Have the batch into `output` save and stop."""
    queue = queue_of(output)
    if not queue.exists() or not _is_under_way(queue, queue.entries()):
        raise UserError(f"no batch into {output} is under way, so there is nothing to pause")
    queue.pause()
    print("running jobs finish their frame and save; dreamreel batch again goes on")


def show_plan(found: Plan, estimates: dict[str, float]) -> None:
    """Print the jobs of the plan `found` as a table, with `estimates` of their seconds."""
    keys = list(dict.fromkeys(key for entry in found.entries for key in entry.shown))
    rows = [("job", "kind", *keys, "frames", "size", "time", "disk")]
    disk = 0.0
    for entry in found.entries:
        size = "" if entry.size is None else f"{entry.size[1]}x{entry.size[0]}"
        seconds = estimates.get(entry.name)
        disk += usual_bytes(entry)
        state = {"done": "done already", "failed": "cannot be done"}.get(entry.state)
        time_ = state or ("unknown" if seconds is None else f"about {_time(seconds)}")
        rows.append(
            (
                *(entry.name, entry.job.kind, *(entry.shown.get(key, "") for key in keys)),
                *(str(entry.frames or "unknown"), size, time_, _size(usual_bytes(entry))),
            )
        )
    print_table(rows)
    for entry in found.entries:
        if entry.error is not None:
            print(printable(f"{entry.name}: {entry.error.message}"))
    total = sum(estimates.values())
    print(
        f"{len(found.entries)} jobs, {len(found.waiting)} to do: about {_time(total)} of one "
        f"worker's time, about {_size(disk)}"
    )


def usual_bytes(entry: Entry) -> float:
    """The bytes that the result of `entry` will take, about, by the least that it may take."""
    if entry.job.kind == "still":
        return 100 * least_bytes(entry)
    fixed = entry.job.settings.output.codec in CODED  # whose least is near the usual
    return (1.3 if fixed else 7) * least_bytes(entry)


@dataclass
class View:
    """Shows a batch: nothing of what happens, and a table at the end."""

    queue: Queue

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Show what happens, inside the `with`."""
        yield

    def note(self, line: str) -> None:
        """Show a line for the user."""

    def change(self, entries: list[Entry], outcome: Outcome | None) -> None:
        """Show the `entries` as they are now; a task ended with `outcome`, if there is one."""

    def end(self, entries: list[Entry]) -> None:
        """Show how all jobs went."""
        print_table([HEAD, *(_row(entry, None) for entry in entries)])
        page = printable(from_here(str(self.queue.folder.parent / "report.html")))
        print(f"{_counts(entries)}; see {page}")


class _Quiet(View):
    """Nothing but the page at the end."""

    def end(self, entries: list[Entry]) -> None:
        print_result(self.queue.folder.parent / PAGES[0])


@dataclass
class _Lines(View):
    """A line for each job that begins or ends, and one every few seconds."""

    last: float = field(default_factory=time.monotonic)
    states: dict[str, str] = field(default_factory=dict)

    def note(self, line: str) -> None:
        print_line(f"note: {line}")

    def change(self, entries: list[Entry], outcome: Outcome | None) -> None:
        if outcome is not None:
            for line in outcome.notices:
                self.note(f"{outcome.task.name}: {line}")
        if not self.states:
            self.states = _states_before(entries)
            for entry in entries:
                if entry.state == "failed":
                    self._tell(entry)
        for entry in entries:
            before = self.states.get(entry.name, "waiting")
            if entry.state != before and not (before == "running" and entry.state == "waiting"):
                self._tell(entry)
            elif entry.state == "waiting" and before == "running" and entry.error is not None:
                self.note(f"{entry.name} is tried again: {entry.error.message}")
            self.states[entry.name] = entry.state
        if time.monotonic() - self.last >= LINES_EVERY:
            self.last = time.monotonic()
            for entry in entries:
                if entry.state == "running":
                    print_line(f"{entry.name}: {_far(_step_of(self.queue, entry), entry)}")

    def _tell(self, entry: Entry) -> None:
        more = ""
        if entry.state == "done":
            more = f", {entry.done_frames} frames in {_time(entry.seconds)}"
        if entry.state == "failed" and entry.error is not None:
            more = f": {entry.error.message}"
        print_line(f"{entry.name}: {entry.state}{more}")


@dataclass
class _Json(View):
    """One object a line on standard output; see `samples/cluster/README.md`."""

    states: dict[str, str] = field(default_factory=dict)
    steps: dict[str, float] = field(default_factory=dict)

    def note(self, line: str) -> None:
        print_json({"event": "notice", "line": line})

    def change(self, entries: list[Entry], outcome: Outcome | None) -> None:
        if outcome is not None:
            for line in outcome.notices:
                print_json({"event": "notice", "job": outcome.task.name, "line": line})
        if not self.states:
            self.states = _states_before(entries)
            for entry in entries:
                if entry.state == "failed":
                    print_json(_about(entry, self.queue))
        for entry in entries:
            if entry.state != self.states.get(entry.name, "waiting"):
                print_json(_about(entry, self.queue))
            self.states[entry.name] = entry.state
            if entry.state != "running":
                continue
            step = _step_of(self.queue, entry)
            if step is not None and step.at != self.steps.get(entry.name):
                self.steps[entry.name] = step.at
                print_json({"event": "progress", "job": entry.name, **_progress(step)})

    def end(self, entries: list[Entry]) -> None:
        states = [entry.state for entry in entries]
        counts = {state: states.count(state) for state in ("done", "failed", "waiting")}
        print_json({"event": "end", **counts})


class _Live(View):
    """A table on the terminal that changes in place."""

    def __init__(self, queue: Queue) -> None:
        from rich.console import Console

        super().__init__(queue)
        self._console = Console(stderr=True)
        self._live: Any = None
        self._entries: list[Entry] = []

    @contextmanager
    def showing(self) -> Iterator[None]:
        from rich.live import Live

        with Live(console=self._console, get_renderable=self._table, refresh_per_second=4) as live:
            self._live = live
            yield

    def note(self, line: str) -> None:
        note = f"note: {printable(from_here(line))}"
        self._console.print(note, style="yellow", markup=False, highlight=False)

    def change(self, entries: list[Entry], outcome: Outcome | None) -> None:
        self._entries = entries
        if outcome is not None:
            for line in outcome.notices:
                self.note(f"{outcome.task.name}: {line}")
            if outcome.state == "failed" and outcome.error is not None:
                self.note(f"{outcome.task.name}: {outcome.error.message}")

    def _table(self) -> Any:
        from rich.table import Table

        table = Table(box=None, pad_edge=False)
        for title in ("job", "", "frames"):
            table.add_column(title)
        running = [entry for entry in self._entries if entry.state == "running"]
        for entry in running[:MOST_ROWS]:
            step = _step_of(self.queue, entry)
            total = step.total if step is not None and step.total else entry.frames
            share = step.done / total if step is not None and total else 0.0
            bar = "█" * round(20 * share) + "░" * (20 - round(20 * share))
            table.add_row(_escaped(entry.name), bar, _far(step, entry))
        table.add_row(_counts(self._entries), "", "")
        return table


def _states_before(entries: list[Entry]) -> dict[str, str]:
    """The states that need not be told at the first look: those of jobs that are done already."""
    states = {entry.name: entry.state for entry in entries}
    return {name: "waiting" if state == "running" else state for name, state in states.items()}


def _view(queue: Queue, display: Display) -> View:
    if display.json:
        return _Json(queue)
    if display.quiet:
        return _Quiet(queue)
    return _Live(queue) if sys.stderr.isatty() else _Lines(queue)


def _escaped(text: str) -> Any:
    from rich.text import Text

    return Text(printable(text))


def _row(entry: Entry, step: Step | None) -> tuple[str, ...]:
    done = entry.state == "done"
    frames = str(entry.done_frames) if done else _far(step, entry) if step is not None else ""
    rate = f"{entry.done_frames / entry.seconds:.2f}/s" if done and entry.seconds else ""
    error = "" if entry.error is None or done else entry.error.message
    time_ = _time(entry.seconds) if done else ""
    return entry.name, entry.state, frames, time_, rate, _size(entry.bytes) if done else "", error


def _step_of(queue: Queue, entry: Entry) -> Step | None:
    """How far `entry` is; of a video in pieces, all of them together."""
    if entry.state != "running":
        return None
    steps = []
    with suppress(OSError):
        for path in (queue.folder / "progress").glob(f"{_plain_glob(entry.name)}.[0-9]*.json"):
            step = queue.step(path.name.removesuffix(".json"))
            if step is not None:
                steps.append(step)
    if not steps:
        return queue.step(entry.name)
    latest = max(steps, key=lambda step: step.at)
    return latest.model_copy(
        update={
            "done": min(sum(step.done for step in steps), entry.frames or sys.maxsize),
            "total": entry.frames,
            "before": sum(step.before for step in steps),
            "began": min(step.began for step in steps),
        }
    )


def _plain_glob(name: str) -> str:
    from glob import escape

    return escape(name)


def _far(step: Step | None, entry: Entry) -> str:
    if step is None:
        return f"of {entry.frames}" if entry.frames else ""
    total = step.total or entry.frames
    of = f"/{total}" if total else ""
    spent = step.at - step.began
    rate = (step.done - step.before) / spent if spent > 0 else 0.0
    left = f", {_time((total - step.done) / rate)} left" if total and rate > 0 else ""
    return f"{step.done}{of} {rate:.2f}/s{left}"


def _progress(step: Step) -> dict[str, Any]:
    return {"done": step.done, "total": step.total, "before": step.before}


def _about(entry: Entry, queue: Queue) -> dict[str, Any]:
    table: dict[str, Any] = {"event": entry.state, "job": entry.name}
    if entry.state == "done":
        table |= {"output": str(entry.output), "frames": entry.done_frames}
        table |= {"seconds": entry.seconds, "bytes": entry.bytes}
    elif entry.error is not None:
        table |= {"fault": entry.error.fault, "error": entry.error.message, "tries": entry.tries}
    if entry.state == "running" and (step := _step_of(queue, entry)) is not None:
        table |= _progress(step)
    return table


def _counts(entries: Sequence[Entry]) -> str:
    states = [entry.state for entry in entries]
    named = ("done", "failed", "running", "waiting")
    return ", ".join(f"{states.count(state)} {state}" for state in named if state in states)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _size(count: float) -> str:
    if count < 1e6:
        return f"{count / 1e3:.0f} kB"
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
