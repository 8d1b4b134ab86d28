"""The callbacks by which a render reports its progress and is asked to stop."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a render is: `done` of `total` frames, or steps for a still. `total` is None if
    unknown. `before` of them were done already when the render was resumed."""

    done: int
    total: int | None
    before: int = 0


@dataclass(frozen=True)
class Report:
    """The callbacks of a render: `on_progress` gets its progress, `on_first` that of a film's first
    frame, the slowest, in steps, `on_notice` a line for the user; `is_stopping` says whether the
    render should save and stop. `before_publishing` is called just before the result gets its name,
    and raises Stopped if it must not. `on_estimate` gets a line, before the first frame, about what
    the render will take."""

    on_progress: Callable[[Progress], None] = lambda progress: None
    on_notice: Callable[[str], None] = lambda line: None
    is_stopping: Callable[[], bool] = lambda: False
    before_publishing: Callable[[], None] = lambda: None
    on_first: Callable[[Progress], None] = lambda progress: None
    on_estimate: Callable[[str], None] = lambda line: None


QUIET = Report()


def on_first(report: Report) -> Callable[[int, int], None]:
    """The callback that gives `report` the steps, done and in all, of a film's first frame."""
    return lambda done, total: report.on_first(Progress(done, total))
