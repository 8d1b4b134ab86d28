"""Progress and notices on the terminal; Ctrl-C; tables."""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from dreamreel.pipeline.errors import Stopped, shortened, visible
from dreamreel.pipeline.jobs.report import Progress, Report

JSON_EVERY = 0.5  # seconds between objects of progress; a round number
FIRST = "steps: dreaming the first frame, the slowest"
LINES_EVERY = 5.0  # seconds between lines of progress; a round number, not tuned


@contextmanager
def terminal(
    unit: str, quiet: bool, stoppable: bool = False, as_json: bool = False
) -> Iterator[Report]:
    """A report that shows progress and notices on standard error, unless `quiet`.

    Progress counts in `unit`: a bar on a terminal, elsewhere a line every few seconds. With
    `stoppable`, the first Ctrl-C only asks the job to stop; `Stopped` then ends the process. With
    `as_json`, progress and notices are JSON on standard output instead.
    """
    if as_json:
        with _ending_when_stopped() if stoppable else nullcontext(lambda: False) as is_stopping:
            yield json_report(is_stopping)
        return
    from rich.console import Console

    console = Console(stderr=True, quiet=quiet)

    def tell(line: str) -> None:
        note = f"note: {printable(from_here(line))}"
        if console.is_terminal:
            console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)
        elif not quiet:
            print_line(note)

    def estimate(line: str) -> None:
        if console.is_terminal:
            console.print(printable(line), style="dim", markup=False, highlight=False)
        elif not quiet:
            print_line(line)

    show = _bar(console, unit) if console.is_terminal and not quiet else _lines(quiet, unit)
    stop = _ending_when_stopped() if stoppable else nullcontext(lambda: False)
    with show as (on_progress, on_first), stop as is_stopping:
        yield Report(on_progress, tell, is_stopping, on_first=on_first, on_estimate=estimate)


def json_report(is_stopping: Callable[[], bool] = lambda: False) -> Report:
    """A report that prints one JSON object a line on standard output: progress, at most twice a
    second and of the first frame, and notices."""
    last = 0.0

    def on_progress(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        begins = progress.done - progress.before == 1
        if begins or now - last >= JSON_EVERY or progress.done == progress.total:
            last = now
            step = {"done": progress.done, "total": progress.total, "before": progress.before}
            print_json({"event": "progress", **step})

    def on_notice(line: str) -> None:
        print_json({"event": "notice", "line": line})

    def on_first(progress: Progress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= JSON_EVERY:
            last = now
            print_json({"event": "first-frame", "done": progress.done, "total": progress.total})

    return Report(on_progress, on_notice, is_stopping, on_first=on_first, on_estimate=on_notice)


def from_here(text: str) -> str:
    """`text`, in which the paths of what lies in the working folder begin there."""
    try:
        folder = os.path.join(os.getcwd(), "")
    except OSError:  # it is gone
        return text
    return text if folder == os.sep else re.sub(rf"(?<![\w./-]){re.escape(folder)}\b", "", text)


def printable(text: str) -> str:
    """`text` as one line for a terminal: see `errors.visible` and `errors.shortened`."""
    return shortened(visible(text))


def print_error(message: str) -> None:
    """Print the `message` of an error on standard error."""
    print_line(f"dreamreel: {from_here(message)}")


def print_line(line: str) -> None:
    """Print `line` on standard error."""
    print(printable(line), file=sys.stderr, flush=True)


def print_result(path: Path | str) -> None:
    """Print the `path` of a result: for a program that reads it as it is, on a terminal as a line
    that can be printed."""
    print(printable(str(path)) if sys.stdout.isatty() else path)


def print_json(table: dict[str, Any]) -> None:
    """Print `table` as one line of JSON."""
    print(json.dumps(table), flush=True)


@contextmanager
def stop_signals(came: list[int]) -> Iterator[Callable[[], bool]]:
    """A function that tells whether SIGINT, SIGTERM or SIGHUP has come. The first is only noted in
    `came`, the second ends the process. A terminal that is closed may send several SIGHUP."""
    hang_up = getattr(signal, "SIGHUP", None)  # Windows has none

    def note(number: int, frame: Any) -> None:
        came.append(number)
        if len(came) > 1 and number != hang_up:
            raise SystemExit(128 + number)

    numbers = [signal.SIGINT, signal.SIGTERM]
    if hang_up is not None and signal.getsignal(hang_up) != signal.SIG_IGN:  # as under nohup
        numbers.append(hang_up)
    before = [signal.signal(number, note) for number in numbers]
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


@contextmanager
def _ending_when_stopped() -> Iterator[Callable[[], bool]]:
    """As `stop_signals`; `Stopped` ends the process with the exit code of the first signal."""
    came: list[int] = []
    try:
        with stop_signals(came) as is_stopping:
            yield is_stopping
    except Stopped as error:
        print_error(str(error))
        raise SystemExit(128 + came[0] if came else 130) from None


@contextmanager
def _bar(console: Any, unit: str) -> Iterator[Any]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Bars(*columns, console=console) as bars:
        task = bars.add_task("", total=None, rate=unit)
        began = time.monotonic()

        def on_progress(progress: Progress) -> None:
            made = progress.done - progress.before
            if made == 1:  # frames of an earlier run say nothing about the speed of this one
                bars.reset(task, total=progress.total, completed=progress.before, rate=unit)
            rate = f"{unit}  {made / max(1e-9, time.monotonic() - began):.1f}/s"
            bars.update(task, completed=progress.done, total=progress.total, rate=rate)

        def on_first(progress: Progress) -> None:
            bars.update(task, completed=progress.done, total=progress.total, rate=FIRST)

        yield on_progress, on_first


@contextmanager
def _lines(quiet: bool, unit: str) -> Iterator[Any]:
    began = last = time.monotonic()
    told: Progress | None = None
    newest: Progress | None = None

    def on_progress(progress: Progress) -> None:
        nonlocal last, newest
        newest = progress
        now = time.monotonic()
        if now - last >= LINES_EVERY or progress.done == progress.total:
            last = now
            tell(progress)

    def tell(progress: Progress) -> None:
        nonlocal told
        told, now = progress, time.monotonic()
        rate = (progress.done - progress.before) / max(1e-9, now - began)
        left = ""
        if progress.total is not None and progress.done < progress.total:
            minutes, seconds = divmod(round((progress.total - progress.done) / rate), 60)
            left = f", {minutes}:{seconds:02} left"
        total = "" if progress.total is None else f"/{progress.total}"
        if not quiet:
            print_line(f"{progress.done}{total} {unit}, {rate:.1f}/s{left}")

    def on_first(progress: Progress) -> None:
        nonlocal last
        if not quiet and time.monotonic() - last >= LINES_EVERY:
            last = time.monotonic()
            print_line(f"{progress.done}/{progress.total} {FIRST}")

    yield on_progress, on_first
    if newest is not None and newest != told:
        tell(newest)


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Print `rows`, at least one, of text cells in aligned columns."""
    rows = [tuple(map(printable, row)) for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
