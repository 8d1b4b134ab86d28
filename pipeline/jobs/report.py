"""How a render tells of itself, and is asked to stop."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """How far a render is: `done` of `total` frames, or steps; None where nobody knows how many.
    `before` of them were done when it went on."""

    done: int
    total: int | None
    before: int = 0


@dataclass(frozen=True)
class Report:
    """Where a render reports: its progress, notices for the user, and whether it is to stop."""

    on_progress: Callable[[Progress], None] = lambda progress: None
    on_notice: Callable[[str], None] = lambda line: None
    is_stopping: Callable[[], bool] = lambda: False


QUIET = Report()
