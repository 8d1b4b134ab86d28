"""`bench`: figures of this machine, measured, and printed, compared or plotted."""

import sys
from collections.abc import Sequence
from pathlib import Path

from dreamreel.pipeline.errors import UserError
from dreamreel.pipeline.judging.bench.course import Course
from dreamreel.pipeline.judging.bench.figures import (
    as_json,
    compared,
    described,
    differing,
    read_figures,
    told_machine,
)
from dreamreel.pipeline.judging.bench.measuring import measure


def bench(
    course: Course,
    json: bool = False,
    plot: Path | None = None,
    against: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Measure by `course`, and print the figures: as a table, or as JSON; with the file `against`,
    also a table of ratios to the figures in it, on standard error where the figures are JSON.
    `plot` is the picture that is drawn of them, if any.

    Raises UserError, before anything is measured, if an option or a file cannot be used.
    """
    if course.repeats < 1:
        raise UserError(f"--repeats {course.repeats} is too few: at least 1")
    before = None if against is None else read_figures(against)
    if plot is not None:
        _check_plot(plot, overwrite)
    figures = measure(course, lambda line: print(line, file=sys.stderr, flush=True))
    if json:
        print(as_json(figures), flush=True)
    else:
        print(told_machine(figures))
        print("\n".join(_aligned(described(figures))))
    for line in figures.left_out:
        print(f"left out {line}", file=sys.stderr)
    if before is not None:
        told = [*differing(figures, before), *_aligned(compared(figures, before))]
        print("\n".join(told), file=sys.stderr if json else sys.stdout)
    if plot is not None:
        from dreamreel.pipeline.judging.bench.plot import plot_figures

        plot_figures(figures, plot, overwrite)


def _check_plot(path: Path, overwrite: bool) -> None:
    """Raise UserError if the picture `path` cannot be drawn."""
    from dreamreel.pipeline.media.stills import check_picture_name

    check_picture_name(path)
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists; --overwrite replaces it")
    if not path.absolute().parent.is_dir():
        raise UserError(f"there is no folder {path.parent} for {path.name}")


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """The lines of a table of text cells."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
