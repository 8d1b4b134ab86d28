"""The work of the command `live`: a source, a dream of it, and the screens that show it."""

import math
import sys
import time
from collections import deque
from contextlib import ExitStack, closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from dreamreel.pipeline.app.arguments import LIVE_PORT
from dreamreel.pipeline.app.options import Given
from dreamreel.pipeline.app.terminal import print_json, print_result, terminal
from dreamreel.pipeline.config.values import parse_fps
from dreamreel.pipeline.errors import Stopped, UserError, expanded
from dreamreel.pipeline.jobs.report import Progress, Report

if TYPE_CHECKING:  # it imports OpenCV
    from dreamreel.pipeline.live.showing import Screen

TOLD_OF = 240  # frames of which the median delay is told
STDOUT = "-"


@dataclass(frozen=True)
class LiveOptions:
    """The options that only `live` has, as they were given."""

    source: str
    out: str | None
    port: int | None
    fps: str
    seconds: float | None
    when_still: bool
    json: bool

    @property
    def path(self) -> Path | None:
        """The file that is written; None for none, and for standard output."""
        return None if self.out in (None, STDOUT) else expanded(Path(self.out or ""))


def live_command(options: LiveOptions, given: Given) -> None:
    """Dream the source of `options` as it plays, until Ctrl-C, or for so many seconds. Raises
    UserError if that cannot be, before torch is imported where it can be told."""
    settings, rate = given.settings(), parse_fps("--fps", options.fps)
    _check(options, given)
    from dreamreel.pipeline.jobs.preparation import ready_network
    from dreamreel.pipeline.live.dreaming import WIDTH, check_live, dream_live
    from dreamreel.pipeline.live.source import Newest, playing_of

    check_live(settings)
    width = settings.width or WIDTH
    playing = playing_of(options.source, settings.source, width)
    quiet, figures = given.quiet or options.out == STDOUT, _Figures()
    with terminal("frames", quiet, stoppable=True, as_json=options.json) as report:
        network = ready_network(settings, (width * 9 // 16, width), report)
        with ExitStack() as stack:
            screens = _screens(options, rate, given.overwrite, stack, report)
            newest = stack.enter_context(closing(Newest(playing)))
            ends = math.inf if options.seconds is None else time.monotonic() + options.seconds
            seen = newest.frames(lambda: report.is_stopping() or time.monotonic() > ends)
            for shown in dream_live(seen, network, settings, options.when_still):
                for screen in screens:
                    screen.show(shown.frame)
                figures.tell(shown.delay)
                report.on_progress(Progress(figures.count, None))
        if figures.count == 0:
            raise Stopped("stopped before the first frame")
        report.on_notice(figures.told())
    if options.json:
        print_json({"event": "done", **figures.table()})
    elif options.path is not None:
        print_result(options.path)


def _check(options: LiveOptions, given: Given) -> None:
    if options.seconds is not None and not 0 < options.seconds < math.inf:
        raise UserError(f"--seconds {options.seconds:g} must be more than 0")
    if options.port is not None and not 0 <= options.port < 65536:
        raise UserError(f"--port {options.port} is not between 0 and 65535")
    if options.json and options.out == STDOUT:
        raise UserError("--json-progress and -o - both write to standard output; give one of them")
    if options.path is not None:
        from dreamreel.pipeline.live.showing import check_file

        check_file(options.path, given.overwrite)


def _screens(
    options: LiveOptions, rate: Fraction, replace: bool, stack: ExitStack, report: Report
) -> "list[Screen]":
    """What shows the dream, until `stack` ends."""
    from dreamreel.pipeline.live.showing import Page, Stream, file_screen

    screens: list[Screen] = []
    if options.out == STDOUT:
        screens.append(Stream(sys.stdout.buffer))
    elif options.path is not None:
        screens.append(stack.enter_context(file_screen(options.path, rate, replace)))
    if options.out is None or options.port is not None:
        port = LIVE_PORT if options.port is None else options.port
        page = stack.enter_context(closing(Page(port)))
        report.on_notice(f"the dream is at {page.address}; Ctrl-C ends it")
        screens.append(page)
    return screens


class _Figures:
    """How many frames were shown, how fast, and how late."""

    def __init__(self) -> None:
        self.count = 0
        self._delays: deque[float] = deque(maxlen=TOLD_OF)
        self._times: deque[float] = deque(maxlen=TOLD_OF)

    def tell(self, delay: float) -> None:
        self.count += 1
        self._delays.append(delay)
        self._times.append(time.monotonic())

    @property
    def delay(self) -> float:
        """The median delay, in seconds."""
        return round(median(self._delays), 3)

    @property
    def rate(self) -> float:
        """Frames a second."""
        passed = self._times[-1] - self._times[0]
        return round((len(self._times) - 1) / passed, 1) if passed > 0 else 0.0

    def table(self) -> dict[str, float]:
        """The figures by name."""
        return {"frames": self.count, "rate": self.rate, "delay": self.delay}

    def told(self) -> str:
        """The figures in a line."""
        return (
            f"{self.count} frames, {self.rate:g} a second, each {1000 * self.delay:.0f} ms after "
            "it was seen"
        )
